"""Certificates: the exact criterion against dense matrices, proved optima against closed forms, and what is refused."""

from __future__ import annotations

import itertools
from functools import cache

import mpmath
import numpy as np
import pandas as pd
import pytest
from flint import arb, ctx

from concord.likelihood.certificate import CertificateError, Exact, _prove, certify
from concord.likelihood.likelihood import Likelihood
from concord.models import model as models
from concord.reference import certification as certifying
from support.dense import METHODS, certified, precision, squared
from support.tables import LINE, MIRROR

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


precise = precision(240, 60)


def number(ball: arb) -> mpmath.mpf:
    return mpmath.mpf(ball.mid().str(65, radius=False))


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
