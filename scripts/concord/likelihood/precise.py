"""The log-likelihood of given parameters in balls: for tables whose groups are so much larger than what is left within
them that the cross-products of doubles hold no digit of it.
"""

from __future__ import annotations

from flint import arb, arb_mat, ctx

from concord.arrays import Matrix, Vector
from concord.likelihood.certificate import Exact
from concord.likelihood.jets import variables
from concord.models.design import Design
from concord.models.parameters import Parameters

BITS = 320


class Precise:
    """The log-likelihood of one model, of the doubles of its design taken exactly.

    Parameters
    ----------
    design : the model in numbers
    reml : the REML likelihood, or the ordinary one
    """

    def __init__(self, design: Design, reml: bool) -> None:
        kept, ctx.prec = ctx.prec, BITS
        try:
            self._exact = Exact(design, reml)
        finally:
            ctx.prec = kept

    def loglik(self, at: Parameters) -> float:
        """The log-likelihood at values of all parameters.

        Raises
        ------
        ArithmeticError : a matrix is not one of covariances, or no digit is certain
        """
        kept, ctx.prec = ctx.prec, BITS
        try:
            variance = arb(float(at.residual_variance))
            theta = [entry for covariance in at.covariances for entry in _triangle(covariance, variance)]
            return self._at(at.fixed, theta, variance)
        except ValueError as error:
            raise ArithmeticError(str(error)) from error
        finally:
            ctx.prec = kept

    def _at(self, fixed: Vector, theta: list[arb], variance: arb) -> float:
        exact = self._exact
        p = exact.p
        logdet, cross, (pivots, _) = exact.evaluate(variables(theta, 0))
        direction = arb_mat([[-arb(float(effect))] for effect in fixed] + [[arb(1)]])
        products = arb_mat([[cross[max(i, j)][min(i, j)].value for j in range(p + 1)] for i in range(p + 1)])
        value = logdet.value + (direction.transpose() * products * direction)[0, 0] / variance
        value += exact.nu * (2 * arb.pi() * variance).log()
        value -= exact.log_weights
        if exact.reml:
            value += sum((pivot.value.log() for pivot in pivots[:-1]), arb(0))
        if not value.rad() < 1e-12:
            raise ArithmeticError("no digit of the log-likelihood is certain")
        return float(value / -2)


def _triangle(covariance: Matrix, variance: arb) -> list[arb]:
    """The lower triangle of a relative factor, column by column; a pivot that rounding has made negative is zero."""
    q = len(covariance)
    rest = [[arb(float(covariance[i, j])) / variance for j in range(q)] for i in range(q)]
    largest = max(abs(float(covariance[i, i])) for i in range(q)) / float(variance)
    columns = []
    for k in range(q):
        pivot = rest[k][k]
        if pivot > 0:
            root = pivot.sqrt()
            column = [rest[i][k] / root for i in range(k, q)]
        elif pivot > -1e-7 * largest:
            column = [arb(0)] * (q - k)
        else:
            raise ArithmeticError("not a covariance matrix")
        columns += column
        for i in range(k, q):
            for j in range(k, q):
                rest[i][j] -= column[i - k] * column[j - k]
    return columns
