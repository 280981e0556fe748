"""What a verdict is decided from: curvature, resolution and broken claims, against closed forms and 60 digits."""

from __future__ import annotations

from dataclasses import replace

import mpmath
import numpy as np
import pandas as pd
import pytest

from concord import versions
from concord.agreement import resolution
from concord.agreement.comparison import compare
from concord.agreement.judgement import judge
from concord.engines.lme4 import engine as lme4
from concord.engines.nlme import engine as nlme
from concord.engines.statsmodels import engine as mixedlm
from concord.inference.curvature import Curvature
from concord.inference.information import observed
from concord.likelihood.likelihood import Likelihood
from concord.models import model as models
from concord.models.parameters import Parameters
from concord.reference import reference
from support.estimates import changed
from support.paths import CASES


def top_of(model) -> Curvature:
    against = reference.of(model)
    return Curvature(against.likelihood, against.parameters, against.level)


def loglik(top: Curvature, values: np.ndarray) -> float:
    """The log-likelihood at values in one vector."""
    return top.likelihood.loglik(Parameters.from_packed(values, top.likelihood.design))


@pytest.fixture(scope="module")
def case(make_model):
    """A model on one of the tables in cases/, with a factor for its groups: ``case("stale", formula, "unit")``."""

    def of(name: str, formula: str, group: str, method: str = "REML"):
        table = pd.read_csv(CASES / f"{name}.csv")
        return make_model(table.assign(**{group: pd.Categorical(table[group].astype(str))}), formula, method)

    return of


# ---- curvature


def test_standard_errors_of_variances_are_those_of_the_analysis_of_variance():
    """Balanced one-way layout by ML (Searle, Casella and McCulloch 1992, Variance Components, section 3.8): closed."""
    model = models.get("dyestuff-random_intercept", "ML")
    top, (groups, size) = top_of(model), (6, 5)
    psi, residual = top.covariances[0][0, 0], top.residual_variance
    of_residual = 2 * residual**2 / (groups * (size - 1))
    of_psi = 2 / size**2 * ((residual + size * psi) ** 2 / groups + residual**2 / (groups * (size - 1)))
    np.testing.assert_allclose(top.std_error[1:], np.sqrt([of_psi, of_residual]), rtol=1e-8)
    bend = groups * size**2 / (2 * (residual + size * psi) ** 2)
    assert top.alone(1e-8)[1] == pytest.approx(np.sqrt(2e-8 / bend), rel=1e-8)


@pytest.mark.parametrize("id", ["sitka-random_slope", "dietox-uncorrelated", "penicillin-crossed"])
def test_one_parameter_alone_may_move_until_the_log_likelihood_has_fallen_by_so_much(id):
    """At the distance that `alone` says, either way, and beside the observed information where that exists."""
    top = top_of(models.get(id))
    information = observed(top.likelihood, top.parameters)
    np.testing.assert_allclose(top.std_error, np.sqrt(np.diag(information.covariance)), rtol=1e-6)
    for place, room in enumerate(top.alone(1e-6)):
        for sign in (1, -1):
            values = top.estimates.copy()
            values[place] += sign * room
            fallen = top.level - loglik(top, values)
            assert fallen == pytest.approx(1e-6, rel=0.02)


def test_estimates_that_lie_so_far_below_are_within_what_a_gap_explains():
    """In random directions, as far as the log-likelihood falls by a millionth; on the boundary too."""
    stream = np.random.default_rng(3)
    for id, method in (("sitka-random_slope", "REML"), ("dyestuff2-random_intercept", "ML")):
        top = top_of(models.get(id, method))
        found = 0
        for _ in range(200):
            step = stream.standard_normal(len(top.estimates)) * np.maximum(top.std_error, 1e-3 * top.residual_variance)
            values = top.estimates + 1e-3 * stream.uniform() * step
            fallen = top.level - loglik(top, values)
            if np.isfinite(fallen):
                found += 1
                assert (np.abs(values - top.estimates) <= top.explained(fallen)).all()
        assert found > 20


def test_on_the_boundary_a_variance_may_move_as_far_as_the_log_likelihood_itself_says():
    """Dyestuff2 by ML: beside a variance of zero the log-likelihood, written out here, falls by that much."""
    model = models.get("dyestuff2-random_intercept", "ML")
    top = top_of(model)
    assert top.covariances[0][0, 0] == 0
    y = model.design.y.reshape(6, 5)
    between, within = 5 * ((y.mean(axis=1) - y.mean()) ** 2).sum(), ((y - y.mean(axis=1)[:, None]) ** 2).sum()

    def loglik(psi: float) -> float:
        residual = top.residual_variance
        spread = residual + 5 * psi
        return -0.5 * (24 * np.log(residual) + 6 * np.log(spread) + within / residual + between / spread)

    room = top.alone(1e-6)[1]
    assert loglik(0.0) - loglik(room) == pytest.approx(1e-6, rel=2e-3)


# ---- rounding


def exact(fit) -> mpmath.mpf:
    """The REML log-likelihood at a fit's own estimates, over n x n matrices, at 60 digits."""
    with mpmath.workdps(60):
        design = fit.model.design
        y, X = mpmath.matrix(design.y.tolist()), mpmath.matrix(design.X.tolist())
        n, p = design.X.shape
        V = mpmath.eye(n) * mpmath.mpf(float(fit.residual_variance))
        for term, covariance in zip(design.terms, fit.covariances, strict=True):
            Z, psi = mpmath.matrix(term.matrix.tolist()), mpmath.matrix(covariance.tolist())
            whole = Z * psi * Z.T
            for i in range(n):
                for j in range(n):
                    if term.codes[i] == term.codes[j]:
                        V[i, j] += whole[i, j]
        inverse = V**-1
        left = y - X * mpmath.matrix(fit.fixed.tolist())
        quadratic = (left.T * inverse * left)[0]
        logdets = mpmath.log(mpmath.det(V)) + mpmath.log(mpmath.det(X.T * inverse * X))
        return -((n - p) * mpmath.log(2 * mpmath.pi) + logdets + quadratic) / 2


@pytest.mark.parametrize("settings", ["default", "tuned"])
def test_nearly_collinear_columns_make_no_verdict(settings, case):
    """Shares rounded to a sum of one: what each states is off by up to 1e-7, as computed, and nobody is to blame."""
    model = case("rounded_shares", "score ~ p1 + p2 + p3 + (1 | place)", "place")
    pair = [engine.fit(model, settings) for engine in (mixedlm, lme4)]
    off = [abs(fit.loglik - float(exact(fit))) for fit in pair]
    comparison = compare(*pair)
    resolved = [each.resolution.stated for each in comparison.measures]
    assert all(error <= bound < 1e-6 for error, bound in zip(off, resolved, strict=True)) and max(off) > 1e-8
    assert comparison.verdict.word == "agree" and "rounding" in comparison.verdict.evidence
    assert "(Intercept), p1, p2, p3 of the fixed effects are nearly collinear" in comparison.verdict.reason
    assert reference.of(model).loglik == pytest.approx(-15.4724357638, abs=2e-10)
    assert float(exact(nlme.fit(model, "tuned"))) == pytest.approx(-15.4724357638, abs=1e-8)
    # What lies beyond is told all the same.
    wrong = replace(pair[1], stated_loglik=pair[1].stated_loglik + 5e-6)
    assert compare(pair[0], wrong).verdict.word == "differ"


def test_a_nearly_singular_matrix_makes_no_verdict_of_tuned_fits_and_a_default_one_is_imprecise(case):
    """MixedLM cannot see the last 2e-8 there, its log-likelihood has an error of 2e-6; it could have seen 0.0036."""
    model = case("stale", "score ~ t + (1 + t | unit)", "unit")
    tuned = compare(mixedlm.fit(model, "tuned"), lme4.fit(model, "tuned"))
    python = tuned.measures[0]
    assert abs(python.fit.loglik - float(exact(python.fit))) <= python.resolution.stated < 1e-4
    assert python.gap > 1e-8 and tuned.verdict.word == "agree" and "all but singular" in tuned.verdict.reason
    assert tuned.table["ok"].all()
    default = compare(mixedlm.fit(model), lme4.fit(model))
    assert default.verdict.word == "python imprecise" and "0.00363" in default.verdict.reason
    assert default.judge.off(default.fits[0]) < 0.1
    assert default.measures[0].resolution.stated < 1e-10


def test_a_better_conditioned_design_has_no_floor_to_hide_under(numbers):
    """In every model of the workbook a fit states its log-likelihood within 1e-10, and is held to that."""
    for model in models.every():
        fit = numbers(model.id, model.method, "lme4", "default")
        likelihood = Likelihood(model.design, model.reml)
        own = likelihood.loglik(fit.parameters)
        found = resolution.of_fit(fit, likelihood, own, fit.loglik - own)
        assert found.stated < 1e-10 and found.gap < 1e-11 and found.cause == "" and found.std_error.max() < 1e-11


def test_numeric_years_side_by_side_agree_where_the_log_likelihoods_do(make_model, r_table):
    """Barley with its years as numbers: 1e-9 apart, in a variance by 3e-5 of itself, as the curvature says."""
    table = r_table("lattice::barley").assign(year=lambda frame: frame["year"].astype(str).astype(int))
    model = make_model(table, "yield ~ year + (0 + year | site) + (1 | variety)")
    comparison = compare(mixedlm.fit(model, "tuned"), lme4.fit(model, "tuned"))
    assert comparison.verdict.word == "agree" and comparison.table["ok"].all()


# ---- what is broken


def test_a_fit_that_states_infinity_is_told_for_what_it_is(case):
    """MixedLM's default: log-likelihood inf, an intercept of 8e-18 with a standard error of 6 million, converged."""
    model = case("peer-singular7051", "Y ~ X + (1 | cls)", "cls")
    python = mixedlm.fit(model)
    assert np.isinf(python.loglik) and abs(python.fixed[0]) < 1e-10 and python.std_error[0] > 1e6
    found = compare(python, lme4.fit(model)).verdict
    assert found.word == "python short" and "broken" in found.evidence
    assert "states a log-likelihood of inf, its estimates have -150.77" in found.reason
    assert "not the generalized least-squares solution at its own variances" in found.reason
    assert "(Intercept) is 8.05e-18, the solution 0.0124" in found.reason.replace("8.053e-18", "8.05e-18")
    assert "standard error of 6221529 for (Intercept)" in found.reason
    assert "stationary point" not in found.reason and "another optimum" not in found.evidence
    # The solution by least squares, over all rows: its only variance is that of the residuals.
    solution = np.linalg.lstsq(model.design.X, model.design.y, rcond=None)[0]
    assert f"the solution {solution[0]:.4g}" in found.reason


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_estimates_that_are_no_parameters_are_named(value, numbers):
    fit = numbers("sitka-random_intercept", "REML", "lme4", "tuned")
    bad = changed(fit, engine="statsmodels", fixed=np.array([fit.fixed[0], value]), stated_loglik=value)
    found = compare(bad, fit).verdict
    assert found.word == "python short" and f"Time is {value:g}" in found.reason
    assert f"it states a log-likelihood of {value:g}" in found.reason
    negative = compare(changed(fit, engine="statsmodels", covariances=(np.array([[-1.0]]),)), fit).verdict
    assert "the covariance matrix of ((Intercept) | tree) has a negative eigenvalue" in negative.reason


def test_a_lower_optimum_is_told_with_the_reference_that_knows_both(numbers):
    """Two optima in the reference: fits at the lower one are short, at another optimum, and the reason says so."""
    pair = [numbers("sitka-random_intercept", "REML", engine, "tuned") for engine in ("statsmodels", "lme4")]
    known = reference.of(pair[0].model)

    class At:
        def __init__(self, loglik: float) -> None:
            self.loglik = loglik

    higher = replace(known, level=known.level + 2, loglik=known.loglik + 2)
    object.__setattr__(higher, "optima", (At(known.loglik + 2), At(known.loglik)))
    found = compare(*pair, against=higher).verdict
    assert found.word == "both short" and "another optimum" in found.evidence
    start = "the likelihood has two optima; MixedLM (statsmodels) and lme4 both stopped at the lower one, 2 below"
    assert found.reason.startswith(start)


def test_most_short_defaults_of_the_workbook_say_so_themselves(numbers):
    """Of the dozen default fits that are short or imprecise all but two warn, or all but one: an optimizer that fails
    ends differently from machine to machine. lme4's of orthodont's interaction by REML, beside MixedLM's, is silent.
    """
    said, declared = [], 0
    for model in models.every():
        if model.record.known_by(model.method, versions.of):
            declared += 1
            comparison = compare(
                *(numbers(model.id, model.method, engine, "default") for engine in ("statsmodels", "lme4"))
            )
            graded = [each for each, given in zip(comparison.judgements, comparison.grades, strict=True) if given]
            said += [each.said_so for each in graded]
            rows = {row["engine"]: row for row in comparison.record()["fits"]}
            assert all(rows[each.fit.engine]["said_so"] == each.said_so for each in comparison.judgements)
            assert "Did the package itself doubt its fit?" in repr(comparison)
            notes = repr(comparison).split("Below the ")[1]
            assert "MixedLM (statsmodels) " in notes and " statsmodels " not in notes
    assert declared >= 10 and len(said) == declared + 1 and 1 <= said.count("silent") <= 2


def test_a_judgement_knows_whether_its_package_doubted(numbers):
    assert judge(numbers("sitka-random_slope", "REML", "lme4", "default")).said_so == "warned"
    assert judge(numbers("orthodont-interaction", "REML", "lme4", "default")).said_so == "silent"


@pytest.mark.parametrize(("method", "below"), [("REML", "12.4"), ("ML", "8.74")])
def test_both_engines_at_the_lower_of_two_optima_are_short_and_the_reason_tells_both(method, below, make_model):
    """24 rows whose likelihood has its optimum at a ratio of standard deviations of 122, where neither engine looks."""
    table = pd.read_csv(CASES / "two_modes_24rows.csv")
    model = make_model(table.assign(g=pd.Categorical(table["g"].astype(str))), "y ~ x + (1 | g)", method)
    found = compare(mixedlm.fit(model, "tuned"), lme4.fit(model, "tuned")).verdict
    both = f"MixedLM (statsmodels) and lme4 both stopped at the lower one, {below} below"
    assert found.word == "both short" and found.reason.startswith(f"the likelihood has two optima; {both}")
    assert "another optimum" in found.evidence and "stopped early" not in found.evidence
