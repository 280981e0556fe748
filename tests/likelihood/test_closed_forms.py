"""Certified optima of balanced designs are those of the analysis of variance, in exact arithmetic."""

from __future__ import annotations

import itertools
from fractions import Fraction

import pandas as pd
import pytest
from flint import arb, ctx, fmpq, fmpq_mat

from concord import vocabulary
from concord.data.source import DECIMALS
from concord.likelihood.certificate import certify
from concord.models import model as models
from concord.models.decimals import Columns
from concord.reference import reference
from support.dense import METHODS, certified, precision, squared

precise = precision(240, 60)


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
    """The columns' means over the levels of a factor; over all rows where it is not a factor."""
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


# Crossed factors leave the mean a stratum of its own. Under ML its variance, which is not a free one, joins the others.
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
