"""Certificates: the exact criterion against dense matrices, proved optima against closed forms, and what is refused."""

from __future__ import annotations

import itertools
from fractions import Fraction
from functools import cache

import mpmath
import numpy as np
import pandas as pd
import pytest
from flint import arb, ctx, fmpq, fmpq_mat

from concord import vocabulary
from concord.data.source import DECIMALS
from concord.likelihood.certificate import CertificateError, Exact, _prove, certify
from concord.likelihood.likelihood import Likelihood
from concord.models import model as models
from concord.models.decimals import Columns
from concord.reference import certification as certifying
from concord.reference import reference
from support.tables import LINE, MIRROR

METHODS = [pytest.param(True, id="REML"), pytest.param(False, id="ML")]
rng = np.random.default_rng(71)
TABLE = pd.DataFrame(
    {
        "x": [0.0, 1, 2, 3, 0.5, 1, 2, 0, 4, 2, 1, 3],
        "w": [1.0, -1, 2, 0, 1, 3, -2, 0.25, 1, 1, -1, 2],
        "g": pd.Categorical(list("aaaabbbcdddd")),  # c has one row
        "h": pd.Categorical(list("uvwuuvwvwuvw")),
        "k": pd.Categorical(list("ppqqppqpppqq")),
    }
)
TABLE["y"] = (
    50
    + 3 * TABLE["x"]
    + np.array([5, -3, 2, 8])[TABLE["g"].cat.codes]
    + np.array([0, 2, -4])[TABLE["h"].cat.codes]
    + rng.normal(size=len(TABLE)).round(2)
)
ONE = np.ones(len(TABLE))
NESTED = TABLE["k"].astype(str) + ":" + TABLE["g"].astype(str)
# For every random term, written out by hand: the group of every row and the columns.
CASES = {
    "intercept": ("y ~ x + (1 | g)", [(TABLE["g"], [ONE])]),
    "slope": ("y ~ x + (1 + x | g)", [(TABLE["g"], [ONE, TABLE["x"]])]),
    "uncorrelated": ("y ~ x + (x || g)", [(TABLE["g"], [ONE]), (TABLE["g"], [TABLE["x"]])]),
    "nested": ("y ~ x + (1 | g/k)", [(NESTED, [ONE]), (TABLE["g"], [ONE])]),
    "crossed": ("y ~ x + (1 | g) + (1 | h)", [(TABLE["g"], [ONE]), (TABLE["h"], [ONE])]),
    "crossed slopes": (
        "y ~ 1 + (1 + x | g) + (0 + w | h)",
        [(TABLE["g"], [ONE, TABLE["x"]]), (TABLE["h"], [TABLE["w"]])],
    ),
    "three effects": ("y ~ x + (1 + x + w | h)", [(TABLE["h"], [ONE, TABLE["x"], TABLE["w"]])]),
    "no fixed effects": ("y ~ 0 + (1 | g)", [(TABLE["g"], [ONE])]),
}


@pytest.fixture(autouse=True)
def precise():
    """Balls of 240 bits, numbers of 60 digits."""
    kept, ctx.prec = ctx.prec, 240
    with mpmath.workdps(60):
        yield
    ctx.prec = kept


def number(ball: arb) -> mpmath.mpf:
    return mpmath.mpf(ball.mid().str(65, radius=False))


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


def dense(y, X, terms, relative, reml: bool) -> mpmath.mpf:
    """ML deviance or REML criterion from n x n matrices, with fixed effects and residual variance profiled out."""
    n, p = len(y), X.shape[1]
    V = mpmath.eye(n)
    for (groups, columns), covariance in zip(terms, relative, strict=True):
        codes = pd.factorize(np.asarray(groups))[0]
        Z = np.column_stack(columns)
        for i in range(n):
            for j in range(i + 1):
                if codes[i] == codes[j]:
                    V[i, j] += mpmath.fsum(
                        mpmath.mpf(Z[i, a]) * covariance[a][b] * mpmath.mpf(Z[j, b])
                        for a, b in itertools.product(range(Z.shape[1]), repeat=2)
                    )
                    V[j, i] = V[i, j]
    root = mpmath.cholesky(V)
    right = [[mpmath.mpf(float(value)) for value in column] for column in (*X.T, y)]
    whitened = []
    for column in right:
        solved = []
        for i in range(n):
            solved.append((column[i] - mpmath.fdot((root[i, k], solved[k]) for k in range(i))) / root[i, i])
        whitened.append(solved)
    cross = mpmath.matrix(p + 1)
    for a, b in itertools.product(range(p + 1), repeat=2):
        cross[a, b] = mpmath.fdot(whitened[a], whitened[b])
    pivots = mpmath.cholesky(cross)
    nu = n - p if reml else n
    value = 2 * mpmath.fsum(mpmath.log(root[i, i]) for i in range(n))
    value += nu * (1 + mpmath.log(2 * mpmath.pi * pivots[p, p] ** 2 / nu))
    return value + (2 * mpmath.fsum(mpmath.log(pivots[i, i]) for i in range(p)) if reml else 0)


def fixed_part(formula: str) -> np.ndarray:
    return {"y ~ x": np.column_stack([ONE, TABLE["x"]]), "y ~ 1": ONE[:, None], "y ~ 0": np.zeros((len(TABLE), 0))}[
        formula.partition(" + (")[0]
    ]


def dense_case(case: str, theta, reml: bool) -> mpmath.mpf:
    formula, terms = CASES[case]
    sizes = [len(columns) for _, columns in terms]
    return dense(TABLE["y"], fixed_part(formula), terms, squared([mpmath.mpf(t) for t in theta], sizes), reml)


def entries(case: str) -> int:
    return sum(len(columns) * (len(columns) + 1) // 2 for _, columns in CASES[case][1])


# ---- the criterion -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reml", METHODS)
@pytest.mark.parametrize("case", CASES)
def test_the_criterion_is_the_dense_one_to_forty_digits(case, reml, make_model):
    """At arbitrary thetas, with entries negative, small and zero among them, its ball holds the dense value."""
    exact = Exact(make_model(TABLE, CASES[case][0]).design, reml)
    thetas = [rng.normal(size=entries(case)), 30 * rng.normal(size=entries(case)), np.zeros(entries(case))]
    for theta in thetas:
        ball = exact([arb(float(each)) for each in theta], 0).value
        assert abs(number(ball) - dense_case(case, theta, reml)) < mpmath.mpf("1e-40")
        assert ball.rad() < arb("1e-40")


@pytest.mark.parametrize("reml", METHODS)
@pytest.mark.parametrize("case", ["slope", "crossed", "nested", "uncorrelated"])
def test_gradient_and_hessian_are_those_of_the_dense_criterion(case, reml, make_model):
    """Every first and second derivative agrees with differences of the dense criterion to 15 digits."""
    m, h = entries(case), mpmath.mpf("1e-12")
    theta = [mpmath.mpf(float(each)) for each in 0.5 + rng.random(m)]
    found = Exact(make_model(TABLE, CASES[case][0]).design, reml)([arb(float(each)) for each in theta])

    @cache
    def value(shift: tuple[int, ...]) -> mpmath.mpf:
        return dense_case(case, [t + s * h for t, s in zip(theta, shift, strict=True)], reml)

    def unit(*signed: tuple[int, int]) -> tuple[int, ...]:
        shift = [0] * m
        for place, sign in signed:
            shift[place] += sign
        return tuple(shift)

    place = 0
    for i in range(m):
        slope = (value(unit((i, 1))) - value(unit((i, -1)))) / (2 * h)
        assert mpmath.almosteq(number(found.gradient[i]), slope, rel_eps=1e-15, abs_eps=1e-15)
        for j in range(i + 1):
            bend = (
                value(unit((i, 1), (j, 1)))
                - value(unit((i, 1), (j, -1)))
                - value(unit((i, -1), (j, 1)))
                + value(unit((i, -1), (j, -1)))
            ) / (4 * h * h)
            assert mpmath.almosteq(number(found.hessian[place]), bend, rel_eps=1e-15, abs_eps=1e-15)
            place += 1


def double(likelihood: Likelihood, theta, sizes) -> float:
    return likelihood.criterion(likelihood.theta_of([np.array(each, float) for each in squared(theta, sizes)]))


@pytest.mark.parametrize("reml", METHODS)
@pytest.mark.parametrize("case", CASES)
def test_in_doubles_the_likelihood_gives_the_same(case, reml, make_model):
    """At random thetas the likelihood in double precision is the exact criterion within 1e-12."""
    design = make_model(TABLE, CASES[case][0]).design
    exact, likelihood, sizes = Exact(design, reml), Likelihood(design, reml), [len(c) for _, c in CASES[case][1]]
    for _ in range(5):
        theta = [float(each) for each in 2 * rng.normal(size=entries(case))]
        assert double(likelihood, theta, sizes) == pytest.approx(
            float(exact([arb(each) for each in theta], 0).value), rel=1e-12
        )


@pytest.mark.parametrize("model", [pytest.param(each, id=f"{each.id}-{each.method}") for each in models.every()])
def test_in_doubles_the_likelihood_gives_the_same_on_the_real_tables(model):
    """On hundreds of rows, at random thetas as large as 5 and as small as 0.001, they agree within 1e-9."""
    exact, likelihood = Exact(model.design, model.reml), Likelihood(model.design, model.reml)
    sizes = [len(term.names) for term in model.design.terms]
    for scale in (0.001, 0.1, 5.0):
        theta = [float(each) for each in scale * rng.normal(size=likelihood.m)]
        assert double(likelihood, theta, sizes) == pytest.approx(
            float(exact([arb(each) for each in theta], 0).value), rel=1e-9
        )


# ---- closed forms --------------------------------------------------------------------------------------------------


def rational(value: float) -> fmpq:
    """The decimal that a table prints."""
    return fmpq(*Fraction(repr(float(value))).as_integer_ratio())


def holds(ball: arb, exact: fmpq | arb) -> bool:
    """Whether a proved ball holds the exact number, and is no wider than its 50th digit."""
    ctx.prec = 1200
    exact = arb(exact)
    return ball.contains(exact) and ball.rad() <= abs(exact) * arb("1e-50")


def balanced(y: list[list[fmpq]], x: list[fmpq] | None, slopes: bool, reml: bool) -> dict:
    """Estimates and log-likelihood of a balanced layout, groups of k rows with the same Z, without any iteration.

    With every group's own least-squares coefficients b_i for Z = [1] or [1, x], the criterion splits: the residual
    variance is the mean square left within the groups (with common slopes where Z = [1]), and W = D + s2 (Z'Z)^-1,
    the variance of the b_i, is their cross-product about their mean over a - 1 under REML and over a under ML
    (Lange and Laird 1989, Annals of Statistics 17(4), 1614-1628).
    """
    a, k = len(y), len(y[0])
    Z = fmpq_mat([[fmpq(1), each] if slopes else [fmpq(1)] for each in (x or [fmpq(0)] * k)])
    X = fmpq_mat([[fmpq(1), each] for each in x]) if x else fmpq_mat([[fmpq(1)]] * k)
    q, p = Z.ncols(), X.ncols()
    inverse = (Z.transpose() * Z).inv()
    b = [inverse * Z.transpose() * fmpq_mat([[each] for each in row]) for row in y]
    mean = sum(b[1:], b[0]) * fmpq(1, a)
    scatter = sum(((each - mean) * (each - mean).transpose() for each in b), fmpq_mat(q, q))
    pooled = fmpq_mat([[sum(column, fmpq(0)) / a] for column in zip(*y, strict=True)])
    fixed = (X.transpose() * X).inv() * X.transpose() * pooled
    within = fmpq(0)
    for row, each in zip(y, b, strict=True):
        residual = fmpq_mat([[value] for value in row]) - Z * each
        if p > q:  # the common slope
            residual -= X * fixed - Z * mean
        within += (residual.transpose() * residual)[0, 0]
    variance = within / (a * (k - q) - (p - q if reml else 0))
    W = scatter * fmpq(1, a - 1 if reml else a)
    D = W - inverse * variance
    # Of fixed effects: those with a random effect of the same column vary with W, the others within groups.
    spread = arb(fmpq(1))
    if p > q:
        centre = sum(x, fmpq(0)) / k
        sxx = sum(((each - centre) ** 2 for each in x), fmpq(0))
        slope = variance / (a * sxx)
        errors = [W[0, 0] / a + centre * centre * slope, slope]
        spread = arb(a * sxx)
    else:
        errors = [W[i, i] / a for i in range(q)]
    ctx.prec = 1200
    determinant = arb(W.det())
    criterion = a * arb((Z.transpose() * Z).det()).log() + (a - 1 if reml else a) * determinant.log()
    if reml:
        nu = a * k - p
        criterion += (a * (k - q) - (p - q)) * arb(variance).log() + q * arb(a).log() + spread.log()
    else:
        nu = a * k
        criterion += a * (k - q) * arb(variance).log()
    criterion += nu * (1 + (2 * arb.pi()).log())
    return {
        "D": D,
        "variance": variance,
        "fixed": [fixed[i, 0] for i in range(p)],
        "errors": errors,
        "loglik": -criterion / 2,
    }


def rows_by_group(frame: pd.DataFrame, y: str, group: str) -> list[list[fmpq]]:
    return [[rational(each) for each in part[y]] for _, part in frame.groupby(group, observed=True)]


def certified(model: models.Model):
    """The certificate of the decimals, from the optimum that the likelihood finds in double precision."""
    optimum = Likelihood(model.design, model.reml).optimum()
    design, order, theta = reference.factored(model.design, optimum.parameters)
    return certify(design, model.reml, theta, Columns(model.formula, model.frame, model.design)), order


def held_to(proved, wanted: dict, sizes: list[int]) -> None:
    """Every enclosure holds what the closed form gives."""
    (relative,) = squared(proved.theta, sizes)
    q = sizes[0]
    for i, j in itertools.product(range(q), repeat=2):
        assert holds(proved.estimates["covariances"][0][i][j], wanted["D"][i, j])
        assert holds(relative[i][j], wanted["D"][i, j] / wanted["variance"])
    assert holds(proved.estimates["residual_variance"], wanted["variance"])
    for ball, exact in zip(proved.estimates["fixed"], wanted["fixed"], strict=True):
        assert holds(ball, exact)
    for ball, exact in zip(proved.estimates["std_error"], wanted["errors"], strict=True):
        assert holds(ball * ball, exact)
    ctx.prec = 1200
    assert abs(proved.loglik - wanted["loglik"]) < arb("1e-50") and proved.loglik.overlaps(wanted["loglik"])


@pytest.mark.parametrize("reml", METHODS)
def test_a_balanced_one_way_layout_holds_the_analysis_of_variance(reml, make_model, r_table):
    """lme4's Dyestuff: the residual mean square, and (MSA - MSE) / 5 as textbooks have it, to 50 digits and more."""
    frame = r_table("lme4::Dyestuff")
    proved, _ = certified(make_model(frame, "Yield ~ 1 + (1 | Batch)", "REML" if reml else "ML"))
    y = rows_by_group(frame, "Yield", "Batch")
    held_to(proved, balanced(y, None, False, reml), [1])
    # The same once more, as the table of an analysis of variance has it.
    means = [sum(row, fmpq(0)) / 5 for row in y]
    grand = sum(means, fmpq(0)) / 6
    mse = sum(((v - mean) ** 2 for row, mean in zip(y, means, strict=True) for v in row), fmpq(0)) / 24
    msa = 5 * sum(((mean - grand) ** 2 for mean in means), fmpq(0)) / (5 if reml else 6)
    assert holds(proved.estimates["residual_variance"], mse) and mse == fmpq(245125, 100) or not reml
    assert holds(proved.estimates["covariances"][0][0][0], (msa - mse) / 5)
    assert proved.boundary == () and proved.agreed >= 80 and proved.radius < 1e-60


# Every group measured at the same points: what the groups are, and at which points.
GROWTH = {
    "sitka-random_intercept": ("tree", "Time"),
    "sitka-random_slope": ("tree", "Time"),
    "sleepstudy-random_intercept": ("Subject", "Days"),
    "sleepstudy-random_slope": ("Subject", "Days"),
    "orthodont-random_slope": ("Subject", "age"),
}


@pytest.mark.parametrize("id", GROWTH)
@pytest.mark.parametrize("reml", METHODS)
def test_balanced_growth_curves_hold_the_closed_form(reml, id):
    """Groups measured at the same points: all parameters and the log-likelihood to 50 digits, not iterated for."""
    model, (group, x) = models.get(id, "REML" if reml else "ML"), GROWTH[id]
    y = model.record.formula.partition(" ~ ")[0]
    frame = model.frame.sort_values([group, x])
    points = [part[x].tolist() for _, part in frame.groupby(group, observed=True)]
    assert all(each == points[0] for each in points)
    slopes = id.endswith("slope")
    wanted = balanced(rows_by_group(frame, y, group), [rational(each) for each in points[0]], slopes, reml)
    proved, _ = certified(model)
    held_to(proved, wanted, [2 if slopes else 1])
    # And the committed digits are those of the same closed form.
    assert reference.of(model).loglik == float(wanted["loglik"])


@pytest.mark.parametrize("reml", METHODS)
def test_a_matrix_of_three_effects_holds_the_closed_form(reml):
    """nlme's Machines: the cell means' own covariance matrix less what the residuals add to it, to 50 digits."""
    model = models.get("machines-unstructured", "REML" if reml else "ML")
    a, k, q = 6, 3, 3
    cells = [
        [[rational(each) for each in cell["score"]] for _, cell in part.groupby("Machine", observed=True)]
        for _, part in model.frame.groupby("Worker", observed=True)
    ]
    means = [fmpq_mat([[sum(cell, fmpq(0)) / k] for cell in worker]) for worker in cells]
    mean = sum(means[1:], means[0]) * fmpq(1, a)
    within = sum(
        (
            (value - means[i][j, 0]) ** 2
            for i, worker in enumerate(cells)
            for j, cell in enumerate(worker)
            for value in cell
        ),
        fmpq(0),
    )
    variance = within / (a * q * (k - 1))
    nu = a - 1 if reml else a
    W = sum(((each - mean) * (each - mean).transpose() for each in means), fmpq_mat(q, q)) * fmpq(1, nu)
    residual = fmpq_mat([[variance / k * (i == j) for j in range(q)] for i in range(q)])
    # Against the first machine, as R codes it: the variances of the mean and of two differences.
    errors = [W[0, 0] / a, *((W[0, 0] + W[j, j] - 2 * W[0, j]) / a for j in (1, 2))]
    ctx.prec = 1200
    criterion = a * q * arb(k).log() + nu * arb(W.det()).log() + a * q * (k - 1) * arb(variance).log()
    criterion += (q * arb(a).log() if reml else 0) + (a * q * k - q * reml) * (1 + (2 * arb.pi()).log())
    fixed = [mean[0, 0], *(mean[j, 0] - mean[0, 0] for j in (1, 2))]
    wanted = {"D": W - residual, "variance": variance, "fixed": fixed, "errors": errors, "loglik": -criterion / 2}
    proved, _ = certified(model)
    held_to(proved, wanted, [3])
    assert reference.of(model).loglik == float(wanted["loglik"])


# Balanced designs whose fixed effects lie in one stratum each: the random factors from the outermost to the innermost.
STRATA = {
    "cake-split_plot_linear": [("recipe", "replicate")],
    "dyestuff-random_intercept": [("Batch",)],
    "ergostool-random_intercept": [("Subject",)],
    "machines-nested": [("Worker",), ("Worker", "Machine")],
    "machines-random_intercept": [("Worker",)],
    "oats-split_plot": [("Block",), ("Block", "Variety")],
    "orthodont-random_intercept": [("Subject",)],
    "pastes-nested": [("batch",), ("batch", "cask")],
    "pastes-random_intercept": [("sample",)],
    "penicillin-crossed": [("plate",), ("sample",)],
    "rail-random_intercept": [("Rail",)],
    "sleepstudy-random_intercept": [("Subject",)],
}


CROSSED_ML = ("penicillin-crossed", "ML")


def averaged(columns: list[list[fmpq]], frame: pd.DataFrame, factor: tuple[str, ...]) -> list[list[fmpq]]:
    """The columns' means over the levels of a factor; over all rows where it is no factor."""
    groups = list(zip(*(frame[name].astype(str) for name in factor), strict=True)) if factor else [()] * len(frame)
    made = []
    for column in columns:
        sums: dict[tuple, tuple[fmpq, int]] = {}
        for group, value in zip(groups, column, strict=True):
            total, count = sums.get(group, (fmpq(0), 0))
            sums[group] = total + value, count + 1
        assert len({count for _, count in sums.values()}) == 1
        made.append([sums[group][0] / sums[group][1] for group in groups])
    return made


def less(columns: list[list[fmpq]], *others: list[list[fmpq]]) -> list[list[fmpq]]:
    return [
        [value - sum(parts, fmpq(0)) for value, *parts in zip(column, *same, strict=True)]
        for column, *same in zip(columns, *others, strict=True)
    ]


# Crossed factors leave the mean a stratum of its own. Under ML its variance, which is no free one, joins the others.
@pytest.mark.parametrize(
    ("id", "method"), [(id, method) for id in STRATA for method in vocabulary.METHODS if (id, method) != CROSSED_ML]
)
def test_a_balanced_design_holds_its_analysis_of_variance(id, method):
    """One-way, nested, split-plot and crossed: every stratum's mean square, and what follows from them, to 50 digits.

    Where every fixed effect belongs to one stratum, the least-squares coefficients are the best ones, and a stratum's
    variance is its residual sum of squares over its dimension, under REML less the number of its fixed effects (Nelder
    1965, Proceedings of the Royal Society A 283, 147-178).
    """
    model, factors = models.get(id, method), STRATA[id]
    design, frame, reml, crossed = model.design, model.frame, model.reml, id == CROSSED_ML[0]
    n, p = design.X.shape
    columns = [[rational(each) for each in column] for column in (*design.X.T, design.y)]
    means = [averaged(columns, frame, factor) for factor in factors]
    if crossed:
        mean = averaged(columns, frame, ())
        parts = [mean, *(less(each, mean) for each in means)]
        dimensions = [1, *(frame[factor].nunique() - 1 for (factor,) in factors)]
    else:
        parts = [means[0], *(less(inner, outer) for outer, inner in itertools.pairwise(means))]
        counts = [frame.groupby(list(factor), observed=True).ngroups for factor in factors]
        dimensions = [counts[0], *(inner - outer for outer, inner in itertools.pairwise(counts))]
    parts.append(less(columns, *parts))
    dimensions.append(n - sum(dimensions))

    # Cross-products of X and y in every stratum, in fractions.
    crosses = [fmpq_mat(part) * fmpq_mat(part).transpose() for part in parts]
    whole = sum(crosses[1:], crosses[0])
    normal = fmpq_mat([[whole[i, j] for j in range(p)] for i in range(p)])
    fixed = normal.inv() * fmpq_mat([[whole[i, p]] for i in range(p)])
    direction = fmpq_mat([[-fixed[i, 0]] for i in range(p)] + [[fmpq(1)]])
    squares = [(direction.transpose() * cross * direction)[0, 0] for cross in crosses]
    ranks = [fmpq_mat([[cross[i, j] for j in range(p)] for i in range(p)]).rref()[1] for cross in crosses]
    assert sum(ranks) == p, "a fixed effect lies across two strata"

    first = int(crossed)  # where the mean has a stratum of its own, it takes no part
    assert not crossed or squares[0] == 0
    free = [d - r * reml for d, r in zip(dimensions, ranks, strict=True)]
    spectral = [square / nu for square, nu in zip(squares[first:], free[first:], strict=True)]
    sizes = [n // frame.groupby(list(factor), observed=True).ngroups for factor in factors]
    if crossed:
        variances = [(each - spectral[-1]) / size for each, size in zip(spectral, sizes, strict=False)]
        spectral.insert(0, spectral[0] + spectral[1] - spectral[2])
    else:
        variances = [(a - b) / size for (a, b), size in zip(itertools.pairwise(spectral), sizes, strict=True)]
    assert min(variances) > 0
    information = sum(
        (cross * (1 / each) for cross, each in zip(crosses[1:], spectral[1:], strict=True)),
        crosses[0] * (1 / spectral[0]),
    )
    inverse = fmpq_mat([[information[i, j] for j in range(p)] for i in range(p)]).inv()

    proved, _ = certified(model)
    assert proved.boundary == ()
    found = [(term.group, matrix) for term, matrix in zip(design.terms, proved.estimates["covariances"], strict=True)]
    for factor, variance in zip(factors, variances, strict=True):
        (ball,) = [matrix[0][0] for group, matrix in found if set(group.split(":")) == set(factor)]
        assert holds(ball, variance)
    assert holds(proved.estimates["residual_variance"], spectral[-1])
    for i in range(p):
        ball, error = proved.estimates["fixed"][i], proved.estimates["std_error"][i]
        assert holds(ball, fixed[i, 0]) and holds(error * error, inverse[i, i])
    ctx.prec = 1200
    criterion = sum((nu * arb(each).log() for nu, each in zip(free, spectral, strict=True)), arb(0))
    criterion += sum(free) * (1 + (2 * arb.pi()).log()) + (arb(normal.det()).log() if reml else 0)
    assert abs(proved.loglik + criterion / 2) < arb("1e-50")
    assert reference.of(model).loglik == float(-criterion / 2)


@pytest.mark.parametrize("reml", METHODS)
def test_a_variance_of_zero_is_proved_on_the_boundary(reml, make_model, r_table):
    """lme4's Dyestuff2: the variance is exactly zero, and the rest is that of one sample's mean and variance."""
    frame = r_table("lme4::Dyestuff2").copy()
    frame.attrs[DECIMALS] = frozenset(["Yield"])
    model = make_model(frame, "Yield ~ 1 + (1 | Batch)", "REML" if reml else "ML")
    y = [value for row in rows_by_group(frame, "Yield", "Batch") for value in row]
    mean = sum(y, fmpq(0)) / 30
    variance = sum(((each - mean) ** 2 for each in y), fmpq(0)) / (29 if reml else 30)
    assert balanced(rows_by_group(frame, "Yield", "Batch"), None, False, reml)["D"][0, 0] < 0
    proved, _ = certified(model)
    assert proved.boundary == (0,) and proved.theta == [0] and proved.radius == 0.0
    assert proved.estimates["covariances"][0][0][0] == 0
    assert holds(proved.estimates["residual_variance"], variance) and holds(proved.estimates["fixed"][0], mean)
    ctx.prec = 1200
    loglik = -((29 if reml else 30) * (1 + (2 * arb.pi() * arb(variance)).log()) + (arb(30).log() if reml else 0)) / 2
    assert abs(proved.loglik - loglik) < arb("1e-60")
    # From an interior start it is led to the same place, and never proves another one.
    inside = certify(model.design, reml, [0.3], Columns(model.formula, model.frame, model.design))
    assert inside.theta[0].contains(0) and inside.loglik.overlaps(proved.loglik)


# ---- roots found otherwise -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("reml", METHODS)
@pytest.mark.parametrize("case", ["crossed", "intercept"])
def test_the_box_holds_the_root_that_mpmath_finds(case, reml, make_model):
    """A root of the dense criterion's differences, sought by mpmath from elsewhere, lies within 1e-28 of the ball."""
    model = make_model(TABLE, CASES[case][0], "REML" if reml else "ML")
    proved, _ = certified(model)
    assert proved.boundary == () and proved.agreed >= 60
    h, m = mpmath.mpf("1e-18"), entries(case)

    def slope(*theta):
        return [
            (
                dense_case(case, [t + h * (i == j) for j, t in enumerate(theta)], reml)
                - dense_case(case, [t - h * (i == j) for j, t in enumerate(theta)], reml)
            )
            / (2 * h)
            for i in range(m)
        ]

    start = [mpmath.mpf(round(float(each), 1)) for each in proved.theta]
    root = mpmath.findroot(slope if m > 1 else lambda t: slope(t)[0], start if m > 1 else start[0], tol=1e-60)
    for ball, each in zip(proved.theta, root if m > 1 else [root], strict=True):
        assert abs(number(ball) - each) < mpmath.mpf("1e-28")


def check_dense(design, reml: bool, proved) -> None:
    """The log-likelihood is the dense one at the enclosures' middles, and has no slope along two directions."""
    sizes = [len(term.names) for term in design.terms]
    terms = [(term.codes, list(term.matrix.T)) for term in design.terms]
    theta = [number(each) for each in proved.theta]

    def value(shift):
        moved = [t + s for t, s in zip(theta, shift, strict=True)]
        return dense(design.y, design.X, terms, squared(moved, sizes), reml)

    top = value([0] * len(theta))
    assert abs(top + 2 * number(proved.loglik)) < mpmath.mpf("1e-40")
    for direction in np.eye(len(theta))[[0, -1]]:
        h = mpmath.mpf("1e-15")
        ahead, behind = value([h * d for d in direction]), value([-h * d for d in direction])
        assert abs(ahead - behind) / (2 * h) < mpmath.mpf("1e-25") and ahead + behind > 2 * top


REAL = {
    "three by three": ("nlme::Machines", "score ~ Machine + (Machine | Worker)", 54),
    "nested": ("lme4::Pastes", "strength ~ 1 + (1 | batch/cask)", 60),
    "crossed": ("lme4::Penicillin", "diameter ~ 1 + (1 | plate) + (1 | sample)", 36),
}


@pytest.mark.parametrize("case", REAL)
def test_larger_models_are_proved_and_are_the_dense_optimum(case, make_model, r_table):
    """A covariance matrix of three effects, nested and crossed groups: proved to 60 digits, stationary in n x n."""
    table, formula, rows = REAL[case]
    frame = pd.DataFrame(r_table(table))[:rows]
    for column in frame.select_dtypes("category"):
        frame[column] = frame[column].cat.remove_unused_categories()
    model = make_model(frame, formula)
    proved, _ = certified(model)
    assert proved.boundary == () and proved.agreed >= 60 and proved.radius < 1e-60
    ctx.prec = 240
    check_dense(model.design, True, proved)


# ---- singular covariance matrices ----------------------------------------------------------------------------------


def loglik_with(frame: pd.DataFrame, covariance, reml: bool) -> mpmath.mpf:
    X = np.column_stack([np.ones(len(frame)), frame["x"]])
    return dense(frame["y"], X, [(frame["g"], list(X.T))], [covariance], reml) / -2


def perturbations(covariance):
    """Covariance matrices nearby: a little more variance in each of many directions, a little less where there is."""
    small = mpmath.mpf("1e-6")
    for angle in range(12):
        a, b = mpmath.cos(angle * mpmath.pi / 12), mpmath.sin(angle * mpmath.pi / 12)
        yield [[covariance[i][j] + small * (a, b)[i] * (a, b)[j] for j in range(2)] for i in range(2)]
    for factor in (1 - small, 1 + small):
        yield [[factor * covariance[i][j] for j in range(2)] for i in range(2)]


@pytest.mark.parametrize("reml", METHODS)
def test_a_correlation_of_one_is_proved_on_the_boundary(reml, make_model):
    """Effects on one line: the covariance matrix is singular exactly, and no covariance matrix nearby does better."""
    model = make_model(LINE, "y ~ x + (x | g)", "REML" if reml else "ML")
    proved, (order,) = certified(model)
    assert proved.boundary == (2,) and order.tolist() == [0, 1] and proved.agreed >= 80
    (relative,) = squared([number(each) for each in proved.theta], [2])
    assert relative[0][0] * relative[1][1] == relative[0][1] ** 2 and relative[1][1] > 0.1
    top = loglik_with(LINE, relative, reml)
    assert abs(top - number(proved.loglik)) < mpmath.mpf("1e-40")
    assert all(loglik_with(LINE, each, reml) < top for each in perturbations(relative))


@pytest.mark.parametrize("reml", METHODS)
def test_a_first_effect_without_variance_is_proved_on_the_boundary(reml, make_model, monkeypatch):
    """Where slopes vary and intercepts do not, the factor begins with the slope, and the record says so."""
    model = make_model(MIRROR, "y ~ x + (x | g)", "REML" if reml else "ML")
    proved, (order,) = certified(model)
    assert proved.boundary == (2,) and order.tolist() == [1, 0]
    # That the covariance is zero is proved, not assumed: its entry was free, and its ball holds zero.
    assert proved.theta[0] > 1 and proved.theta[1].contains(0) and proved.theta[1].rad() < arb("1e-60")
    assert proved.agreed >= 80
    slope = number(proved.theta[0]) ** 2
    relative = [[mpmath.mpf(0), mpmath.mpf(0)], [mpmath.mpf(0), slope]]
    top = loglik_with(MIRROR, relative, reml)
    assert abs(top - number(proved.loglik)) < mpmath.mpf("1e-40")
    assert all(loglik_with(MIRROR, each, reml) < top for each in perturbations(relative))
    monkeypatch.setattr(certifying, "answers", lambda model: [])  # engines are slow here: the grid finds it
    record = certifying.certify(model)
    assert record["order"] == [[1, 0]]
    estimates = {each["term"]: float(each["estimate"]) for each in record["estimates"]}
    assert abs(estimates["var__(Intercept)"]) < 1e-30 and abs(estimates["cov__(Intercept).x"]) < 1e-30
    assert estimates["var__x"] == pytest.approx(float(slope) * estimates["var__Observation"], rel=1e-14)


# ---- what is refused -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("id", "start"),
    [
        ("sitka-random_intercept", [0.0]),  # the lowest likelihood there is
        ("sitka-uncorrelated", [3.44, 0.0]),  # a saddle: best without random slopes
        ("sitka-random_slope", [3.0907, 0.0, 0.0]),
        ("sitka-random_slope", [4.94, -0.0107, 0.0]),  # on the boundary, and better inside
        ("sitka-random_slope", [0.0, 0.0, 0.01]),
        ("sitka-random_intercept", [1e9]),
        ("sitka-random_slope", [1e5, 1e5, 1e5]),
        ("sitka-random_intercept", [float("nan")]),
        ("sitka-random_intercept", [float("inf")]),
    ],
)
def test_what_is_no_minimum_is_not_proved(id, start):
    """A maximum, a saddle, a start without end: an error that names the step, and the precision as it was."""
    before = ctx.prec
    with pytest.raises(CertificateError, match=r"positive definite|did not settle|no enclosure|Krawczyk"):
        certify(models.get(id).design, True, start)
    assert ctx.prec == before


@pytest.mark.parametrize("start", [[1.0], [-3.0], [5.0], [0.2], [30.0]])
def test_from_another_start_it_is_the_same_optimum_or_none(start):
    """A start that is far away is led to the optimum or refused, never proved to be one where it stands."""
    best = mpmath.mpf("-82.38840318347")
    try:
        proved = certify(models.get("sitka-random_intercept").design, True, start)
    except CertificateError:
        return
    assert abs(number(proved.loglik) - best) < 1e-10


def test_a_zero_beside_other_entries_is_no_constraint():
    """From an off-diagonal entry of zero the proved optimum is the correlated one, not the uncorrelated one."""
    design = models.get("dietox-random_slope").design
    proved = certify(design, True, [1.83, 0.0, 0.26])
    assert proved.boundary == () and abs(number(proved.loglik) - mpmath.mpf("-2217.0474591455")) < 1e-9
    with pytest.raises(CertificateError, match="positive definite"):
        certify(design, True, [0.0, 0.01, 0.26])


@pytest.mark.parametrize("box", [1e-2, 1.0, 100.0])
def test_a_box_that_is_too_large_is_refused(box):
    """On a box on which the Hessian is not known well enough nothing is claimed."""
    with pytest.raises(CertificateError, match=r"positive definite|Krawczyk"):
        certify(models.get("sitka-random_slope").design, True, [4.94, -0.0107, 0.0127], box=box)


def test_a_box_beside_the_optimum_is_refused():
    """Around a point that is not the optimum, a box that does not reach it is not proved; one that does, is."""
    model = models.get("sitka-random_slope")
    exact, theta = Exact(model.design, True), [arb(each) for each in certify_once().theta]
    moved = [(each + arb("1e-20")).mid() for each in theta]
    with pytest.raises(CertificateError, match="Krawczyk"):
        _prove(exact, moved, [0, 1, 2], 1e-21)
    enclosed = _prove(exact, moved, [0, 1, 2], 1e-16)
    for ball, each in zip(enclosed, theta, strict=True):
        assert ball.contains(each.mid()) and ball.rad() < arb("1e-16")


@cache
def certify_once():
    return certify(models.get("sitka-random_slope").design, True, [4.94, -0.0107, 0.0127])


def test_too_few_bits_prove_nothing():
    """With 20 bits the data's own digits are lost, and that is an error."""
    with pytest.raises(CertificateError):
        certify(models.get("sitka-random_slope").design, True, [4.94, -0.0107, 0.0127], bits=20)
