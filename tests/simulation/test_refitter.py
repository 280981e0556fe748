"""Refits: each is what the package gives a user who fits the response anew."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from concord import r
from concord.engines.lme4 import engine as lme4
from concord.engines.replicate import likelihood_of
from concord.engines.statsmodels import engine as mixedlm
from concord.models import model as models
from concord.models.parameters import Parameters
from concord.reference import reference
from concord.simulation import refitter as replicates
from concord.simulation.refitter import Refitter, best_known, gap, refitting
from concord.simulation.responses import draw
from support.estimates import changed

SEED = 20


def truth(model):
    return reference.of(model).parameters


def with_response(model, response):
    """The model's table with another response, for whoever fits it anew."""
    frame = model.frame.copy()
    frame[model.formula.response] = response
    return frame


def anew(make_model, model, response):
    """The same model on a table of its own, with another response."""
    return make_model(with_response(model, response), model.record.formula, model.method)


@pytest.fixture(scope="module")
def sleepstudy():
    return models.get("sleepstudy-random_slope")


@pytest.fixture(scope="module")
def pastes():
    return models.get("pastes-nested", "ML")


# Refits -----------------------------------------------------------------------------------------------------------


def agree_exactly(replicate, fit):
    """The same numbers to the last bits as a fit from scratch, whatever path the optimizer took."""
    assert replicate.error is None
    assert replicate.converged == fit.converged
    np.testing.assert_allclose(replicate.loglik, fit.loglik, rtol=1e-13)
    np.testing.assert_allclose(replicate.parameters.packed, fit.estimates["estimate"], rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(replicate.std_error, fit.std_error, rtol=1e-9)
    assert set(replicate.messages) == set(fit.messages)


@pytest.mark.parametrize(("id", "method"), [("sleepstudy-random_slope", "REML"), ("pastes-nested", "ML")])
def test_lme4s_default_refit_is_lmer_on_a_table_with_that_response(id, method, make_model):
    """Also where lmer stops short, warns or calls the fit singular: what it says is the same too."""
    model = models.get(id, method)
    refitter = Refitter(model, "lme4")
    for k in range(4):
        response = draw(model.design, truth(model), SEED, k)
        agree_exactly(refitter.refit(response), lme4.fit(anew(make_model, model, response)))


@pytest.mark.parametrize(
    ("id", "method"), [("sleepstudy-random_slope", "REML"), ("pastes-nested", "ML"), ("sitka-uncorrelated", "ML")]
)
def test_mixedlms_default_refit_is_mixedlm_on_a_table_with_that_response(id, method, make_model):
    """With correlated effects, with variance components, and with effects held uncorrelated."""
    model = models.get(id, method)
    refitter = Refitter(model, "statsmodels")
    response = draw(model.design, truth(model), SEED, 1)
    fit = mixedlm.fit(anew(make_model, model, response))
    agree_exactly(refitter.refit(response), fit)


def test_a_warm_refit_is_lme4s_own(pastes):
    """By hand in R, `refit(lmer(...), y)` gives the same numbers."""
    response = draw(pastes.design, truth(pastes), SEED, 2)
    found = Refitter(pastes, "lme4", warm=True).refit(response)
    room = r.call("new.env", parent=r.interface().globalenv)
    r.call("assign", "d", pastes.frame, envir=room)
    r.call("assign", "y", response, envir=room)
    code = """{
        again <- lme4::refit(lme4::lmer(strength ~ 1 + (1 | batch/cask), d, REML = FALSE), y)
        error <- sqrt(diag(as.matrix(vcov(again))))
        c(logLik(again), lme4::fixef(again), error, as.data.frame(lme4::VarCorr(again))$vcov)
    }"""
    by_hand = r.from_r(r.call("eval", r.call("parse", text=code), envir=room))
    own = [found.loglik, found.fixed[0], found.std_error[0]]
    np.testing.assert_allclose(own, by_hand[:3], rtol=1e-13)
    np.testing.assert_allclose(np.sort(found.parameters.packed[1:]), np.sort(by_hand[3:]), rtol=1e-12, atol=1e-12)


def test_what_refit_states_under_reml_is_a_criterion_of_its_own_degrees_of_freedom(sleepstudy):
    """lme4 1.1-31 forgets the number of fixed effects: the criterion has n - 1 where n - p are right. Whatever the
    version keeps (`resp$REML`), what it states is the criterion with as many, at its estimates.
    """
    design = sleepstudy.design
    response = draw(design, truth(sleepstudy), SEED, 0)
    found = Refitter(sleepstudy, "lme4", warm=True).refit(response)
    room = r.call("new.env", parent=r.interface().globalenv)
    r.call("assign", "d", with_response(sleepstudy, response), envir=room)
    code = "lme4::refit(lme4::lmer(Reaction ~ Days + (Days | Subject), d))@resp$REML"
    kept = int(r.from_r(r.call("eval", r.call("parse", text=code), envir=room))[0])
    # The criterion from its definition: dense matrices, nothing of the likelihood under test.
    Z = np.zeros((len(response), 36))
    for i, code in enumerate(design.terms[0].codes):
        Z[i, 2 * code : 2 * code + 2] = design.terms[0].matrix[i]
    relative = found.covariances[0] / found.residual_variance
    V = Z @ np.kron(np.eye(18), relative) @ Z.T + np.eye(len(response))
    inner = design.X.T @ np.linalg.solve(V, design.X)
    rest = response - design.X @ np.linalg.solve(inner, design.X.T @ np.linalg.solve(V, response))
    rss, free = rest @ np.linalg.solve(V, rest), len(response) - kept
    criterion = np.linalg.slogdet(V)[1] + np.linalg.slogdet(inner)[1] + free * (1 + np.log(2 * np.pi * rss / free))
    np.testing.assert_allclose(found.loglik, -criterion / 2, rtol=1e-9)
    # Another criterion has another optimum; the right one has the right one.
    likelihood = likelihood_of(sleepstudy, response)
    below = gap(found, likelihood, likelihood.optimum())
    assert below > 1e-4 if kept != 2 else below < 1e-6


def test_a_saddle_is_no_rest():
    """At a variance of zero the slope in its root is zero; where the optimum has that variance, none may stay there."""
    model = models.get("dyestuff-random_intercept", "ML")
    y = model.design.y
    likelihood = likelihood_of(model, y)
    optimum = Refitter(model, "lme4", "tuned").refit(y)
    zero = changed(optimum, fixed=np.array([y.mean()]), covariances=(np.zeros((1, 1)),), residual_variance=y.var())
    assert np.abs(likelihood.gradient_at(zero.parameters)).max() < 1e-12
    assert gap(zero, likelihood, likelihood.optimum()) > 1
    assert replicates._at_rest(optimum, likelihood) and not replicates._at_rest(zero, likelihood)


@pytest.mark.parametrize("engine", ["statsmodels", "lme4"])
def test_tuned_refits_reach_the_optimum(engine, pastes):
    """Of every response, also where a variance is zero at the optimum."""
    refitter = Refitter(pastes, engine, "tuned")
    gaps = []
    for k in range(5 if engine == "lme4" else 3):
        response = draw(pastes.design, truth(pastes), 1, k)
        likelihood = likelihood_of(pastes, response)
        gaps.append(gap(refitter.refit(response, likelihood), likelihood, likelihood.optimum()))
    assert max(gaps) < 2e-7
    assert min(gaps) > -1e-9


def test_the_best_known_is_the_optimum_and_where_a_fit_is_better_that(pastes):
    """No point beside it has a higher likelihood; and a search that leads to a lower one is not believed."""
    response = draw(pastes.design, truth(pastes), SEED, 3)
    likelihood = likelihood_of(pastes, response)
    found = best_known(likelihood, [])
    for factor in (0.98, 1.02):
        moved = changed(found, covariances=tuple(each * factor for each in found.covariances))
        assert likelihood.loglik(moved.parameters) < found.loglik
    fit = Refitter(pastes, "lme4", "tuned").refit(response)
    lower = SimpleNamespace(n=likelihood.n, loglik=likelihood.loglik, theta_at=likelihood.theta_at)
    stuck = changed(found, fixed=found.fixed + 1.0)
    lower.optimum = lambda starts=None: likelihood.optimum(starts) if starts else stuck
    assert gap(fit, likelihood, stuck) < -1
    assert best_known(lower, [fit]).loglik == pytest.approx(found.loglik, abs=1e-9)


def test_the_offset_is_part_of_the_response(make_model):
    """A draw has it, and a refit takes it off: with an offset, and with it subtracted by hand, one fit."""
    stream = np.random.default_rng(3)
    frame = pd.DataFrame({"w": 50 + 9 * stream.standard_normal(60), "x": stream.standard_normal(60)})
    frame["g"] = pd.Categorical([f"g{k % 10}" for k in range(60)])
    frame["y"] = frame["w"] + stream.standard_normal(60) + stream.standard_normal(10)[frame["g"].cat.codes]
    model = make_model(frame, "y ~ x + offset(w) + (1 | g)")
    plain = make_model(frame.assign(y=frame["y"] - frame["w"]), "y ~ x + (1 | g)")
    parameters = Parameters(np.array([1.0, -2.0]), (np.array([[0.5]]),), 1.5)
    response = draw(model.design, parameters, SEED, 0)
    np.testing.assert_allclose(response - frame["w"], draw(plain.design, parameters, SEED, 0), atol=1e-12)
    for engine in refitting():
        one = Refitter(model, engine).refit(response)
        other = Refitter(plain, engine).refit(response - frame["w"].to_numpy())
        np.testing.assert_allclose(one.parameters.packed, other.parameters.packed, rtol=1e-6)
        np.testing.assert_allclose(one.loglik, other.loglik, rtol=1e-10)


def test_what_fails_says_why_and_stops_nothing(pastes):
    """A response that no engine can fit: NaN estimates of the right shapes, an infinite gap, and the next one goes."""
    response = draw(pastes.design, truth(pastes), SEED, 0)
    broken = response.copy()
    broken[3] = np.nan
    likelihood = likelihood_of(pastes, response)
    optimum = likelihood.optimum()
    for engine in refitting():
        refitter = Refitter(pastes, engine)
        before = refitter.refit(response)
        failed = refitter.refit(broken)
        # MixedLM says nothing and returns NaN; that is no error of its making, and no estimate either.
        assert (engine == "statsmodels") == (failed.error is None)
        assert not failed.finite and not failed.converged
        assert failed.parameters.packed.shape == (4,) and np.isnan(failed.parameters.packed).all()
        assert gap(failed, likelihood, optimum) == np.inf
        assert refitter.refit(response).parameters.packed.tolist() == before.parameters.packed.tolist()


def test_an_unknown_engine_or_settings_is_refused(pastes):
    """Before anything is made."""
    with pytest.raises(ValueError, match="engine 'lmer'"):
        Refitter(pastes, "lmer")
    with pytest.raises(ValueError, match="settings 'best'"):
        Refitter(pastes, "lme4", "best")
    with pytest.raises(ValueError, match="warm"):
        Refitter(pastes, "statsmodels", warm=True)
