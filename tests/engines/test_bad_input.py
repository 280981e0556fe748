"""Bad input: singular X, lone rows, zero variances, missing values, engines gone wrong: each has a clear outcome."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from statsmodels.regression.mixed_linear_model import MixedLM

from concord.agreement.comparison import Disagreement, compare
from concord.agreement.judgement import judge
from concord.engines.engine import CannotExpress, EngineError, engines
from concord.engines.lme4 import engine as lme4_engine
from concord.engines.statsmodels import engine as mixedlm_engine
from concord.likelihood.certificate import CertificateError
from concord.likelihood.likelihood import Likelihood, LikelihoodError
from concord.reference import certification, reference
from support.estimates import changed

rng = np.random.default_rng(3)
TABLE = pd.DataFrame({"x": np.tile([0.0, 1, 2, 3, 4], 8), "g": pd.Categorical(np.repeat(list("abcdefgh"), 5))})
TABLE["y"] = (10 + 2 * TABLE["x"] + np.repeat(3 * rng.normal(size=8), 5) + rng.normal(size=40)).round(3)
TABLE["alone"] = pd.Categorical([f"a{i:02d}" for i in range(40)])
BOTH = ("statsmodels", "lme4")


def fit(engine: str, model, settings: str = "default"):
    return engines()[engine].fit(model, settings)


def pair(model, settings: str = "tuned"):
    return compare(*(fit(engine, model, settings) for engine in BOTH))


def told(comparison) -> None:
    """A comparison can be shown, recorded and gated, whatever it is of; and what does not agree has a reason."""
    json.dumps(comparison.record(), allow_nan=False)
    assert comparison.verdict.word in repr(comparison) and len(comparison.verdict.reason.split()) > 4
    if comparison.verdict.word != "agree":
        with pytest.raises(Disagreement):
            comparison.check()


# ---- tables --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["REML", "ML"])
def test_dependent_predictors_are_the_model_without_them(method, make_model):
    """The column that others make up is dropped by all but nlme, which cannot; a singular X is refused by the judge."""
    text = "y ~ x + (1 | g)"
    whole, plain = (
        make_model(TABLE.assign(z=2 * TABLE["x"] + 1), "y ~ x + z + (1 | g)", method),
        make_model(TABLE, text, method),
    )
    for engine in ("statsmodels", "lme4"):
        one, other = fit(engine, whole), fit(engine, plain)
        assert one.stated_loglik == pytest.approx(other.stated_loglik, rel=0, abs=1e-8)
        np.testing.assert_allclose(one.fixed, other.fixed, rtol=1e-6)
    with pytest.raises(CannotExpress, match="a fixed part without z: it stops at a singular matrix"):
        fit("nlme", whole)
    assert reference.of(whole).loglik == pytest.approx(reference.of(plain).loglik, rel=0, abs=1e-9)
    assert certification.certify(whole)
    design = whole.design
    singular = replace(design, X=np.column_stack([design.X, whole.frame["z"]]), names=(*design.names, "z"))
    with pytest.raises(LikelihoodError, match="the columns of X are linearly dependent"):
        Likelihood(singular, whole.reml)


@pytest.mark.parametrize("method", ["REML", "ML"])
def test_a_group_with_one_row_is_no_trouble(method, make_model):
    """It says nothing of the variance within groups, and the fits agree at a certified optimum all the same."""
    comparison = pair(make_model(TABLE[4:], "y ~ x + (1 | g)", method))
    assert TABLE[4:]["g"].value_counts().min() == 1
    assert comparison.check().verdict.word == "agree"
    told(comparison)


def test_a_slope_in_a_group_with_one_row_is_no_trouble(make_model):
    """A group too small for a line of its own takes part in a random slope too."""
    slopes = np.repeat(rng.normal(size=8), 5) * TABLE["x"]
    comparison = pair(make_model(TABLE.assign(y=TABLE["y"] + slopes)[4:], "y ~ x + (1 + x | g)", "REML"))
    assert comparison.check().verdict.word == "agree"


@pytest.mark.parametrize("method", ["REML", "ML"])
def test_where_every_group_has_one_row_nothing_is_said_to_agree(method, make_model):
    """The two variances cannot be told apart: lme4 refuses, MixedLM picks some, and there is no optimum to judge by."""
    model = make_model(TABLE, "y ~ x + (1 | alone)", method)
    for settings in ("default", "tuned"):
        with pytest.raises(EngineError, match="number of levels of each grouping factor must be < number of observ"):
            fit("lme4", model, settings)
    with pytest.raises(LikelihoodError, match="do not tell the model's variances apart"):
        reference.of(model)
    with pytest.raises(CertificateError, match="positive definite|no enclosure|Newton"):
        certification.certify(model)
    picked = fit("statsmodels", model)
    for act in (lambda: judge(picked), lambda: compare(picked, replace(picked, engine="lme4")).verdict):
        with pytest.raises(LikelihoodError, match="do not tell the model's variances apart"):
            act()


def test_two_factors_that_are_one_have_no_single_optimum(make_model):
    """Only the sum of their variances is in the data: refused, where a difference of the halves would be noise."""
    model = make_model(TABLE.assign(h=TABLE["g"]), "y ~ x + (1 | g) + (1 | h)")
    with pytest.raises(LikelihoodError, match="do not tell the model's variances apart"):
        reference.of(model)


@pytest.mark.parametrize("method", ["REML", "ML"])
def test_a_variance_of_zero_is_an_optimum_on_the_boundary(method, make_model, r_table):
    """lme4's Dyestuff2: the reference lies on the boundary and says so, tuned fits reach it, short ones are told."""
    model = make_model(r_table("lme4::Dyestuff2"), "Yield ~ 1 + (1 | Batch)", method)
    assert reference.of(model).boundary
    for engine in BOTH:
        judgement = judge(fit(engine, model, "tuned"))
        assert abs(judgement.gap) < 1e-8 and np.isfinite(judgement.digits).all()
    lme4 = fit("lme4", model)
    alone = compare(lme4, replace(lme4, engine="statsmodels")).check()
    assert alone.verdict.word == "agree" and "boundary" in alone.verdict.reason
    assert pair(model).check().verdict.word == "agree"
    default = pair(model, "default")
    told(default)
    if method == "ML":  # MixedLM's default stops at a variance of 1e-4 and says so
        # Whether it warns or says that it has not converged hangs on the machine's last digits.
        assert default.verdict.word == "python imprecise" and default.judgements[0].said_so == "warned"
    # A fit that stays inside is short, whatever it claims.
    inside = changed(lme4, covariances=(np.array([[1.0]]),), engine="statsmodels")
    short = compare(inside, lme4)
    assert short.verdict.word == "python short"
    told(short)


@pytest.mark.parametrize("method", ["REML", "ML"])
def test_rows_with_a_missing_value_are_left_out_alike(method, make_model):
    """NaN in the response, in a predictor, in the group: both engines and the design drop the same rows."""
    frame = TABLE.copy()
    frame.loc[7, "y"] = np.nan
    frame.loc[12, "x"] = np.nan
    frame.loc[20, "g"] = np.nan
    model = make_model(frame, "y ~ x + (1 | g)", method)
    by_hand = make_model(frame.dropna().reset_index(drop=True), "y ~ x + (1 | g)", method)
    assert model.design.rows.tolist() == [i for i in range(40) if i not in (7, 12, 20)]
    assert len(by_hand.design.y) == len(model.design.y) == 37
    comparison = pair(model)
    assert comparison.check().verdict.word == "agree"
    for engine, given in zip(BOTH, comparison.fits, strict=True):
        other = fit(engine, by_hand, "tuned")
        assert given.loglik == pytest.approx(other.loglik, rel=0, abs=1e-9)
        np.testing.assert_allclose(given.estimates["estimate"], other.estimates["estimate"], rtol=1e-6)


def test_a_missing_value_in_a_column_that_is_not_used_drops_nothing(make_model):
    """Only the formula's variables decide which rows are used."""
    frame = TABLE.assign(unused=np.where(np.arange(40) < 30, np.nan, 1.0))
    model = make_model(frame, "y ~ x + (1 | g)")
    assert len(model.design.rows) == 40 and pair(model).check().verdict.word == "agree"


@pytest.mark.parametrize("column", ["y", "x"])
def test_an_infinite_value_is_refused(column, make_model):
    """Infinity is not a missing value: engines stop or give nothing finite, and the judge names the reason."""
    frame = TABLE.copy()
    frame.loc[7, column] = np.inf
    model = make_model(frame, "y ~ x + (1 | g)")
    with pytest.raises(EngineError, match="NA/NaN/Inf"):
        fit("lme4", model)
    with pytest.raises(LikelihoodError, match="not finite"):
        reference.of(model)


# ---- engines that go wrong -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def good(fits):
    """A tuned fit by lme4."""
    return fits("sitka-random_slope", "REML", "lme4", "tuned")


BAD = [np.nan, np.inf, -np.inf]
ESTIMATES = {
    "fixed": lambda good, bad: {"fixed": np.array([bad, good.fixed[1]])},
    "all fixed": lambda good, bad: {"fixed": np.full(2, bad)},
    "variance": lambda good, bad: {"covariances": (np.diag([bad, 1e-6]),)},
    "covariance": lambda good, bad: {"covariances": (np.array([[1.0, bad], [bad, 1e-6]]),)},
    "all covariances": lambda good, bad: {"covariances": (np.full((2, 2), bad),)},
    "residual": lambda good, bad: {"residual_variance": bad},
    "everything": lambda good, bad: {
        "stated_loglik": bad,
        "fixed": np.full(2, bad),
        "std_error": np.full(2, bad),
        "covariances": (np.full((2, 2), bad),),
        "residual_variance": bad,
    },
}


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("case", ESTIMATES)
def test_estimates_that_are_no_numbers_leave_their_engine_short(case, bad, good):
    """NaN or infinity in any estimate: that side is short by infinity, with the reason, and both sides if both are."""
    spoilt = changed(good, **ESTIMATES[case](good, bad))
    judgement = judge(spoilt)
    assert judgement.gap == np.inf and judgement.worst == 0.0
    cases = {
        "python short": compare(replace(spoilt, engine="statsmodels"), good),
        "r short": compare(replace(good, engine="statsmodels"), spoilt),
        "both short": compare(replace(spoilt, engine="statsmodels"), spoilt),
    }
    for word, comparison in cases.items():
        assert comparison.verdict.word == word and "not parameters of the model" in comparison.verdict.reason
        told(comparison)


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("what", ["stated_loglik", "std_error"])
def test_claims_that_are_no_numbers_differ(what, bad, good):
    """NaN or infinity as log-likelihood or standard error, at the right estimates: no shortfall, and no agreement."""
    spoilt = replace(good, **{what: bad if what == "stated_loglik" else np.array([good.std_error[0], bad])})
    for comparison in (
        compare(replace(spoilt, engine="statsmodels"), good),
        compare(replace(spoilt, engine="statsmodels"), spoilt),
    ):
        assert comparison.verdict.word == "differ"
        assert {"stated_loglik": "log-likelihood", "std_error": "standard error Time"}[
            what
        ] in comparison.verdict.reason
        told(comparison)


@pytest.mark.parametrize(
    "covariance",
    [np.diag([-1.0, 1e-6]), np.array([[1.0, 1.0], [1.0, 1e-6]]), np.diag([0.9, -1e-6])],
    ids=["a negative variance", "a correlation beyond one", "a negative slope variance"],
)
def test_matrices_that_are_no_covariance_matrices_leave_their_engine_short(covariance, good):
    """A negative variance or a correlation beyond one is not a parameter of the model."""
    comparison = compare(changed(good, engine="statsmodels", covariances=(covariance,)), good)
    assert comparison.verdict.word == "python short" and "not parameters" in comparison.verdict.reason
    told(comparison)


def test_an_infinite_claim_with_an_intercept_of_zero_is_a_silent_failure(good):
    """What MixedLM's lbfgs can return: llf of infinity, intercept 0.0, converged. The likelihood is not taken in."""
    spoilt = changed(
        good,
        engine="statsmodels",
        stated_loglik=np.inf,
        fixed=np.array([0.0, good.fixed[1]]),
        converged=True,
        messages=(),
    )
    comparison = compare(spoilt, good)
    assert comparison.verdict.word == "python short" and "claims to have converged" in comparison.verdict.reason
    assert np.isfinite(comparison.judgements[0].gap) and comparison.judgements[0].gap > 1
    told(comparison)


def test_a_residual_variance_of_zero_leaves_its_engine_short(good):
    """Zero or below is not a residual variance."""
    for value in (0.0, -0.04):
        comparison = compare(good, changed(good, engine="statsmodels", residual_variance=value))
        assert comparison.verdict.word == "python short"
        told(comparison)


# ---- engines that raise --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [ValueError("a b c"), np.linalg.LinAlgError("Singular matrix"), FloatingPointError()])
def test_whatever_mixedlm_raises_is_one_error_that_names_it(error, make_model, monkeypatch):
    """At default settings the engine's own error comes out as an EngineError; tuned, where none of them fits, too."""

    def broken(*_, **__):
        raise error

    monkeypatch.setattr(MixedLM, "fit", broken)
    model = make_model(TABLE, "y ~ x + (1 | g)")
    with pytest.raises(EngineError, match=f"MixedLM stopped with {type(error).__name__}"):
        fit("statsmodels", model)
    with pytest.raises(EngineError, match=f"no optimizer gave .*bfgs: MixedLM stopped with {type(error).__name__}"):
        fit("statsmodels", model, "tuned")


@pytest.mark.parametrize(
    ("engine", "module", "how"),
    [
        ("statsmodels", mixedlm_engine, "raises"),
        ("statsmodels", mixedlm_engine, "infinity"),
        ("statsmodels", mixedlm_engine, "nan"),
        ("lme4", lme4_engine, "raises"),
        ("lme4", lme4_engine, "infinity"),
        ("lme4", lme4_engine, "nan"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_one_optimizer_that_goes_wrong_does_not_spoil_the_tuned_fit(engine, module, how, make_model, monkeypatch):
    """If one raises, claims infinity or returns NaN, the best of the others is taken and the attempt is on record."""
    run, seen = module._run, []

    def first_is_bad(*arguments, **named):
        seen.append(arguments)
        if len(seen) > 1:
            return run(*arguments, **named)
        if how == "raises":
            raise EngineError("it stopped")
        right = run(*arguments, **named)
        if how == "infinity":
            return changed(right, stated_loglik=np.inf, fixed=np.zeros(2), converged=True)
        return changed(right, stated_loglik=np.nan, fixed=np.full(2, np.nan), residual_variance=np.nan)

    monkeypatch.setattr(module, "_run", first_is_bad)
    found = fit(engine, make_model(TABLE, "y ~ x + (1 | g)"), "tuned")
    assert abs(judge(found).gap) < 1e-8 and np.isfinite(found.loglik) and len(seen) > 1
    assert len(found.attempts) == len(seen)
    spoilt = min(found.attempts, key=lambda each: each.loglik)
    assert spoilt.loglik < found.loglik - 1


def test_an_engine_that_raises_is_no_start_and_no_obstacle_for_a_certificate(make_model, monkeypatch):
    """Certifying goes on with what the other engines say and with the grid."""

    def broken(*_, **__):
        raise RuntimeError("broken")

    model = make_model(TABLE, "y ~ x + (1 | g)")
    whole = certification.certify(model)
    monkeypatch.setattr(MixedLM, "fit", broken)
    record = certification.certify(model)
    assert record["loglik"] == whole["loglik"] and record["estimates"] == whole["estimates"]
    assert record["checks"]["starts"] == whole["checks"]["starts"] - 2
