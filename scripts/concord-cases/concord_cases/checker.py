"""Held to a certified case: how far the estimates of a linear mixed model lie below the optimum, in pure Python.

One file, the standard library only: copy it where it is wanted. From the command line::

    python checker.py CASE.json ESTIMATES.json [--strict]

where ESTIMATES.json holds the arguments of `check` by name. The likelihood here is written from the definition. With

    y = X b + Z u + e,    u ~ N(0, G),    e ~ N(0, s W^-1),    V = Z G Z' + s W^-1,    r = y - X b,

it is, by ML and by REML (Harville 1974, Biometrika 61, 383-385, without the term log |X'X| / 2 that some add),

    -(n log 2 pi + log |V| + r'V^-1 r) / 2,
    -((n - p) log 2 pi + log |V| + log |X'V^-1 X| + r'V^-1 r) / 2,

from decimals of fifty digits, so that a near-perfect fit or a large origin costs nothing that counts.
"""

from __future__ import annotations

import json
import sys
from decimal import MAX_EMAX, MIN_EMIN, Context, Decimal, localcontext
from itertools import combinations

SHORT = Decimal("0.01")
"""A gap in log-likelihood units from which on a fit is short of the optimum and not only imprecise."""
TENTH = Decimal("0.1")
"""So many standard errors a fixed effect may be off before a fit is short whatever its gap."""
PRECISE = Decimal("1e-6"), Decimal("1e-10")
"""What the gap of a fit at the optimum may be, and so much more a row."""
STATED = Decimal("1e-6"), Decimal("1e-9")
"""How far a stated log-likelihood may be from the value at the estimates, and so much more relative to that value."""
DIGITS = 15
INDEFINITE = Decimal("1e-7")
PI = Decimal(
    "3.14159265358979323846264338327950288419716939937510582097494459230781640628620899862803482534211706798215"
)
_PRECISION = Context(prec=50, Emax=MAX_EMAX, Emin=MIN_EMIN)


class NotParameters(ValueError):
    """The estimates are no parameters of the model; the message says which, and why."""


class Likelihood:
    """The log-likelihood of one case, at any parameters.

    Parameters
    ----------
    case : as read from its file, numbers as floats or as decimals (`read`)
    """

    def __init__(self, case):
        with localcontext(_PRECISION):
            self.terms = case["Z"]
            self.names = case["X"]["names"]
            y = [_decimal(value) for value in case["y"]]
            self.n, self.p = len(y), len(self.names)
            weights = case["weights"] or [1] * self.n
            self.weights = [_decimal(weight) for weight in weights]
            X = [[_decimal(value) for value in column] for column in case["X"]["columns"]]
            self.mean_squares = []
            self.starts = []
            random, start = [], 0
            for term in self.terms:
                columns = [[_decimal(value) for value in column] for column in term["columns"]]
                self.mean_squares.append([sum(value * value for value in column) / self.n for column in columns])
                self.starts.append(start)
                start += len(term["levels"]) * len(columns)
                random.append(columns)
            self.size = start
            self._gather(list(zip(*X, y, strict=True)) if X else [(value,) for value in y], random)

    def _gather(self, table, random):
        """The cross-products Z'WZ, sparse; Z'W[X y]; and [X y]'W[X y]."""
        width = self.p + 1
        self.inner = [{} for _ in range(self.size)]
        self.border = [[Decimal(0)] * width for _ in range(self.size)]
        self.total = [[Decimal(0)] * width for _ in range(width)]
        for i, (row, weight) in enumerate(zip(table, self.weights, strict=True)):
            entries = []
            for term, start, columns in zip(self.terms, self.starts, random, strict=True):
                first = start + term["codes"][i] * len(columns)
                entries += [(first + k, column[i]) for k, column in enumerate(columns)]
            weighted = [weight * value for value in row]
            for a, value in entries:
                border, inner = self.border[a], self.inner[a]
                for k, other in enumerate(weighted):
                    border[k] += value * other
                for b, other in entries:
                    inner[b] = inner.get(b, 0) + weight * value * other
            for a in range(width):
                for b in range(width):
                    self.total[a][b] += weighted[a] * row[b]

    def at(self, fixed, covariances, residual_variance):
        """The log-likelihoods by REML and ML at values of all parameters, and what they are made of.

        Parameters
        ----------
        fixed : the fixed effects, in the order of the case's X, or by name
        covariances : for every term of the case's Z the covariance matrix of its effects, row by row
        residual_variance : in the squared unit of the response

        Raises
        ------
        NotParameters : a value is missing or not finite, or a matrix is no covariance matrix
        """
        with localcontext(_PRECISION):
            b, matrices, s = self.parameters(fixed, covariances, residual_variance)
            factors = [_factor(_relative(matrix, s)) for matrix in matrices]
            cross, logdet = self._eliminated(factors)
            direction = [-value for value in b] + [Decimal(1)]
            quadratic = sum(u * v * cross[i][j] for i, u in enumerate(direction) for j, v in enumerate(direction)) / s
            logdet -= sum(weight.ln() for weight in self.weights if weight != 1)
            information = _log_determinant([row[: self.p] for row in cross[: self.p]])
            log_2pi = (2 * PI).ln()
            parts = {
                "log 2 pi": log_2pi,
                "log |V|": logdet + self.n * s.ln(),
                "log |X'V^-1X|": information - self.p * s.ln(),
                "log |X'X|": _log_determinant([row[: self.p] for row in self.total[: self.p]]),
            }
            common = parts["log |V|"] + quadratic
            return {
                "ML": -(self.n * log_2pi + common) / 2,
                "REML": -((self.n - self.p) * log_2pi + common + parts["log |X'V^-1X|"]) / 2,
                "parts": parts,
            }

    def parameters(self, fixed, covariances, residual_variance):
        """The values as decimals, in the case's order."""
        if isinstance(fixed, dict):
            missing = [name for name in self.names if name not in fixed]
            if missing or len(fixed) > self.p:
                raise NotParameters(f"fixed: the case has {', '.join(self.names)}")
            fixed = [fixed[name] for name in self.names]
        b = [_finite(value, "fixed") for value in fixed]
        s = _finite(residual_variance, "residual_variance")
        if len(b) != self.p:
            raise NotParameters(f"fixed: {len(b)} values, the case has {self.p}")
        if not s > 0:
            raise NotParameters("residual_variance: it is not above 0")
        if len(covariances) != len(self.terms):
            raise NotParameters(
                f"covariances: {len(covariances)} matrices, the case has {len(self.terms)} random terms"
            )
        matrices = []
        for matrix, term in zip(covariances, self.terms, strict=True):
            q = len(term["names"])
            if len(matrix) != q or any(len(row) != q for row in matrix):
                raise NotParameters(f"covariances: that of ({', '.join(term['names'])} | {term['group']}) is {q} x {q}")
            matrices.append([[_finite(value, "covariances") for value in row] for row in matrix])
        return b, matrices, s

    def _eliminated(self, factors):
        """[X y]'(I + Z F F'Z')^-1[X y] and log |I + Z F F'Z'|, by elimination of the random effects.

        The effects of the factor with the most levels go first: none of them meets another of its own factor.
        """
        places, order = self._places()
        rows = [_spread(factors, places, _combined(factors, place, self.inner)) for place in places]
        width = range(self.p + 1)
        borders = []
        for t, first, k in places:
            column = [(first + r, row[k]) for r, row in enumerate(factors[t]) if row[k]]
            borders.append([sum((value * self.border[i][c] for i, value in column), Decimal(0)) for c in width])
        cross = [list(row) for row in self.total]
        determinant = Decimal(1)
        for i in order:
            row, border = rows[i], borders[i]
            pivot = row.pop(i, Decimal(0)) + 1
            determinant *= pivot
            for j, value in row.items():
                share, target = value / pivot, rows[j]
                del target[i]
                for k, other in row.items():
                    target[k] = target.get(k, 0) - share * other
                borders[j] = [value - share * other for value, other in zip(borders[j], border, strict=True)]
            for a in width:
                share = border[a] / pivot
                cross[a] = [value - share * other for value, other in zip(cross[a], border, strict=True)]
        return cross, determinant.ln()

    def _places(self):
        """For every random effect its term, the first effect of its group, and its number there; and in which order
        they are eliminated.
        """
        places, levels = [], []
        for t, (term, start) in enumerate(zip(self.terms, self.starts, strict=True)):
            q, count = len(term["names"]), len(term["levels"])
            places += [(t, start + level * q, k) for level in range(count) for k in range(q)]
            levels += [count] * (count * q)
        return places, sorted(range(self.size), key=lambda i: (-levels[i], i))


def check(
    case, fixed, covariances, residual_variance, method="REML", stated_loglik=None, std_errors=None, strict=False
):
    """Hold estimates to a case's certified optimum.

    Parameters
    ----------
    case : as read from its file
    fixed, covariances, residual_variance : the estimates; see `Likelihood.at`
    method : ``REML`` or ``ML``: which optimum they are held to
    stated_loglik : the log-likelihood that the package states, where it states one
    std_errors : the standard errors of the fixed effects, in the order of `fixed` or by name, where it states them
    strict : whether a fit that is imprecise counts as a failure

    Returns
    -------
    a record: ``verdict`` (``at the optimum``, ``imprecise``, ``short``, ``no parameters``) with its ``reason``; ``gap``
    in log-likelihood units; ``digits``, correct significant digits of every quantity; ``loglik``, the value at the
    estimates; ``stated``, with its ``error`` and what it was ``recognised`` as; ``status``, 0 where all is well, or 1
    """
    if method not in ("REML", "ML"):
        raise ValueError(f"method {method!r}: it is REML or ML")
    record = {"case": case["id"], "method": method, "strict": strict, "status": 1}
    likelihood = Likelihood(case)
    with localcontext(_PRECISION):
        try:
            values = likelihood.at(fixed, covariances, residual_variance)
        except NotParameters as error:
            return {**record, "verdict": "no parameters", "reason": str(error), "gap": float("inf"), "digits": {}}
        optimum = case["optimum"][method]
        gap = _decimal(optimum["loglik"]) - values[method]
        stated = _stated(stated_loglik, values, method, likelihood)
        digits, farthest = _digits(likelihood, optimum, fixed, covariances, residual_variance, std_errors)
        if stated:
            digits["loglik"] = _lre(_decimal(stated["value"]), _decimal(optimum["loglik"]))
        verdict, reason = _verdict(gap, farthest, likelihood.n)
        well = (verdict == "at the optimum" or (verdict == "imprecise" and not strict)) and (
            not stated or stated["recognised"] == "right"
        )
        return {
            **record,
            "verdict": verdict,
            "reason": reason,
            "gap": float(gap),
            "digits": digits,
            "loglik": float(values[method]),
            "stated": stated,
            "status": 0 if well else 1,
        }


def _verdict(gap, farthest, n):
    if gap >= SHORT:
        return "short", f"{float(gap):.3g} log-likelihood units below the certified optimum"
    if farthest >= TENTH:
        return "short", f"a fixed effect is off by {float(farthest):.2g} of its standard error"
    if gap > PRECISE[0] + PRECISE[1] * n:
        return "imprecise", f"{float(gap):.3g} log-likelihood units below the certified optimum"
    if gap < -(PRECISE[0] + PRECISE[1] * n):
        return "above", f"{float(-gap):.3g} log-likelihood units above the certified optimum: please tell us"
    return "at the optimum", "no more below it than rounding and stopping rules leave"


def _stated(stated, values, method, likelihood):
    """How far a stated log-likelihood is from the value at the estimates, and which other number it is."""
    if stated is None:
        return None
    value = _decimal(stated)
    if not value.is_finite():
        return {"value": float(value), "error": float("nan"), "recognised": "not a number"}
    return {
        "value": float(value),
        "error": float(value - values[method]),
        "recognised": recognised(value, values, method, likelihood) or "not recognised",
    }


def recognised(value, values, method, likelihood):
    """Which number a stated log-likelihood is: ``right``, the criterion of the other method, -2 times it, one without a
    constant, or the like; None where it is none of them.
    """
    other = "ML" if method == "REML" else "REML"
    kinds = [("the log-likelihood", 1), ("-2 log-likelihood (the deviance)", -2), ("minus the log-likelihood", -1)]
    kinds += [
        ("-log-likelihood a row", Decimal(-1) / likelihood.n),
        ("the log-likelihood a row", Decimal(1) / likelihood.n),
    ]
    constants = _constants(values["parts"], likelihood.n, likelihood.p, method)
    choices = [(), *combinations(constants, 1), *combinations(constants, 2)]
    for chosen in choices:
        for criterion in (method, other):
            for kind, factor in kinds:
                moved = factor * (values[criterion] + sum(amount for _, amount in chosen))
                if abs(value - moved) <= STATED[0] + STATED[1] * abs(moved):
                    return _named(kind, criterion if criterion != method else "", [name for name, _ in chosen])
    return None


def _named(kind, criterion, constants):
    if not criterion and not constants and kind == "the log-likelihood":
        return "right"
    by = f" by {criterion}" if criterion else ""
    return f"{kind}{by}" + (", " + " and ".join(constants) if constants else "")


def _constants(parts, n, p, method):
    """The constants that packages add or leave out, each with what it does to the log-likelihood."""
    half = parts["log 2 pi"] / 2
    rows = n - p if method == "REML" else n
    amounts = [(f"without {'(n - p)' if method == 'REML' else 'n'}/2 log 2 pi", rows * half)]
    if p:
        amounts += [
            ("with n in the place of n - p in the constant of 2 pi", -p * half),
            ("without n/2 log 2 pi", n * half) if method == "REML" else ("with n - p in the place of n", p * half),
            ("with + log |X'X| / 2", parts["log |X'X|"] / 2),
            ("with - log |X'X| / 2", -parts["log |X'X|"] / 2),
            ("without - log |X'V^-1 X| / 2", parts["log |X'V^-1X|"] / 2),
        ]
    amounts += [
        (f"without the constant {rows}/2 of the profiled criterion", Decimal(rows) / 2),
        (f"with {rows}/2 subtracted once more", Decimal(-rows) / 2),
    ]
    return [(name, amount) for name, amount in amounts if abs(amount) > 2 * STATED[0]]


def _digits(likelihood, optimum, fixed, covariances, residual_variance, std_errors):
    """Correct significant digits of every estimate, and how many standard errors the farthest fixed effect is off."""
    b, matrices, s = likelihood.parameters(fixed, covariances, residual_variance)
    digits, farthest = {}, Decimal(0)
    certified = optimum["fixed"]
    for name, value in zip(likelihood.names, b, strict=True):
        correct = _decimal(certified[name]["estimate"])
        error = _decimal(certified[name]["std_error"])
        digits[name] = _lre(value, correct, error)
        farthest = max(farthest, abs(value - correct) / error)
    if std_errors is not None:
        errors = [std_errors[name] for name in likelihood.names] if isinstance(std_errors, dict) else std_errors
        for name, value in zip(likelihood.names, errors, strict=True):
            digits[f"std_error {name}"] = _lre(_decimal(value), _decimal(certified[name]["std_error"]))
    variance = _decimal(optimum["residual_variance"])
    triples = zip(likelihood.terms, matrices, optimum["covariances"], likelihood.mean_squares, strict=True)
    for number, (term, matrix, correct, squares) in enumerate(triples):
        names = term["names"]
        # A variance that is zero has no scale of its own: the effect's share in the response gives one.
        scale = [max(_decimal(correct[i][i]), variance / squares[i]).sqrt() for i in range(len(names))]
        for i, one in enumerate(names):
            for j in range(i + 1):
                what = f"var {one}" if i == j else f"cov {names[j]}, {one}"
                key = f"{what} | {term['group']}"
                key = key if key not in digits else f"{key} ({number + 1})"
                digits[key] = _lre(matrix[i][j], _decimal(correct[i][j]), scale[i] * scale[j])
    digits["residual variance"] = _lre(s, variance)
    return digits, farthest


def _lre(value, correct, scale=1):
    """-log10 of the relative error (McCullough 1998, The American Statistician 52, 358-366), from 0 to 15; of a correct
    value of zero that of the error in a scale.
    """
    if not value.is_finite():
        return 0.0
    error = abs(value - correct) / (abs(correct) or _decimal(scale) or 1)
    return float(DIGITS) if error == 0 else float(min(max(-error.log10(), Decimal(0)), Decimal(DIGITS)))


def _combined(factors, place, rows):
    """A row of F'A, for a matrix A in sparse rows."""
    t, first, k = place
    combined = {}
    for r, row in enumerate(factors[t]):
        if row[k]:
            for j, value in rows[first + r].items():
                combined[j] = combined.get(j, 0) + row[k] * value
    return combined


def _spread(factors, places, row):
    """A row of B F, for a row of B that is sparse."""
    spread = {}
    for j, value in row.items():
        t, first, k = places[j]
        for column, entry in enumerate(factors[t][k]):
            if entry:
                spread[first + column] = spread.get(first + column, 0) + value * entry
    return spread


def _relative(matrix, s):
    return [[value / s for value in row] for row in matrix]


def _factor(matrix):
    """F with F F' = matrix, by elimination of the largest variance that is left; columns of zeros for nothing left."""
    q = len(matrix)
    scale = [matrix[i][i].sqrt() if matrix[i][i] > 0 else Decimal(0) for i in range(q)]
    rest = []
    for i in range(q):
        for j in range(q):
            if (not scale[i] or not scale[j]) and matrix[i][j]:
                raise NotParameters("covariances: a variance below zero, or zero with a covariance")
        rest.append(
            [
                (matrix[i][j] + matrix[j][i]) / 2 / (scale[i] * scale[j]) if matrix[i][j] else Decimal(0)
                for j in range(q)
            ]
        )
    factor, left = [[Decimal(0)] * q for _ in range(q)], list(range(q))
    for column in range(q):
        largest = max(left, key=lambda i: rest[i][i])
        if rest[largest][largest] <= 0:
            break
        root = rest[largest][largest].sqrt()
        entries = [rest[i][largest] / root if i in left else Decimal(0) for i in range(q)]
        for i in left:
            factor[i][column] = entries[i] * scale[i]
        left.remove(largest)
        for i in left:
            for j in left:
                rest[i][j] -= entries[i] * entries[j]
    if any(rest[i][i] < -INDEFINITE for i in left):
        raise NotParameters("covariances: a matrix has a negative eigenvalue")
    return factor


def _log_determinant(matrix):
    """Of a positive definite matrix; 0 of one without rows."""
    rest, determinant = [list(row) for row in matrix], Decimal(1)
    for k in range(len(rest)):
        pivot = rest[k][k]
        determinant *= pivot
        for i in range(k + 1, len(rest)):
            share = rest[i][k] / pivot
            for j in range(k + 1, len(rest)):
                rest[i][j] -= share * rest[k][j]
    return determinant.ln()


def _decimal(value):
    """A number as a decimal: one that is written as it stands, a float as its shortest decimals."""
    if isinstance(value, (Decimal, int, str)):
        return Decimal(value)
    return Decimal(repr(float(value)))


def _finite(value, what):
    number = _decimal(value)
    if not number.is_finite():
        raise NotParameters(f"{what}: a value is not finite")
    return number


def read(path):
    """A case from its file, its numbers as the decimals that stand there."""
    with open(path, encoding="utf-8") as file:
        return json.load(file, parse_float=Decimal)


def told(record):
    """A record of `check` in lines to read."""
    lines = [f"{record['case']}, {record['method']}: {record['verdict']}: {record['reason']}"]
    if record["digits"]:
        least = min(record["digits"], key=record["digits"].get)
        lines.append(f"  fewest digits right: {record['digits'][least]:.1f}, of {least}")
    if record.get("stated"):
        stated = record["stated"]
        lines.append(
            f"  stated log-likelihood {stated['value']:.12g}: {stated['recognised']} (off by {stated['error']:.3g})"
        )
    return "\n".join(lines)


def main(arguments):
    """The command line; returns 0 where all is well, 1 where the estimates are not at the optimum or the stated
    log-likelihood is another number, 2 where a file cannot be used.
    """
    strict = "--strict" in arguments
    files = [argument for argument in arguments if argument != "--strict"]
    if len(files) != 2:
        print("usage: checker.py CASE.json ESTIMATES.json [--strict]", file=sys.stderr)
        return 2
    try:
        record = check(read(files[0]), **{**read(files[1]), "strict": strict})
    except (OSError, ValueError, TypeError, KeyError) as error:
        print(f"checker.py: {error}", file=sys.stderr)
        return 2
    print(told(record))
    return record["status"]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
