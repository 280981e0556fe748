"""The likelihood from n x n matrices, in as many digits as wanted."""

from __future__ import annotations

import mpmath
import pytest
from flint import ctx

from concord.likelihood.certificate import certify
from concord.likelihood.likelihood import Likelihood
from concord.models import model as models
from concord.models.decimals import Columns
from concord.reference import reference

METHODS = [pytest.param(True, id="REML"), pytest.param(False, id="ML")]


def precision(bits: int, digits: int):
    """A fixture for every test of a file: balls of so many bits, numbers of so many digits."""

    @pytest.fixture(autouse=True)
    def precise():
        with ctx.workprec(bits), mpmath.workdps(digits):
            yield

    return precise


def factors(theta, sizes) -> list[list[list]]:
    """The lower triangles that theta holds column by column, as square lists."""
    entries, found = iter(theta), []
    for q in sizes:
        factor = [[0 * theta[0]] * q for _ in range(q)]
        for column in range(q):
            for row in range(column, q):
                factor[row][column] = next(entries)
        found.append(factor)
    return found


def squared(theta, sizes) -> list[list[list]]:
    """The relative covariance matrices of theta."""
    return [
        [[sum(a * b for a, b in zip(first, second, strict=True)) for second in factor] for first in factor]
        for factor in factors(theta, sizes)
    ]


def certified(model: models.Model):
    """The certificate of the decimals, from the optimum that the likelihood finds in double precision."""
    optimum = Likelihood(model.design, model.reml).optimum()
    design, order, theta = reference.factored(model.design, optimum.parameters)
    return certify(design, model.reml, theta, Columns(model.formula, model.frame, model.design)), order
