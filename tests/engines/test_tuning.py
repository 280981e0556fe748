"""Tuned settings: of several optimizers' fits the best is taken, whatever becomes of the others."""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from concord.agreement.judgement import judge
from concord.engines import tuning
from concord.engines.engine import EngineError
from concord.engines.fit import Attempt
from concord.models import model as models
from concord.reference import reference
from support.engines import ENGINES
from support.estimates import changed


def spoil(monkeypatch, engine: str, spoilt: dict[str, object]) -> None:
    """Let some optimizers of an engine give something else: a function of their true fit, or an error."""
    module = sys.modules[ENGINES[engine].fit.__module__]
    run = module._run

    def running(model, *arguments):
        chosen = arguments[-1]["method"] if isinstance(arguments[-1], dict) else arguments[-1]
        change = spoilt.get(chosen, spoilt.get("all"))
        if isinstance(change, Exception):
            raise change
        fit = run(model, *arguments)
        return change(fit) if change else fit

    monkeypatch.setattr(module, "_run", running)


FIRST = {"statsmodels": "lbfgs", "lme4": "nloptwrap", "nlme": "nlminb"}


def zeroed(**more):
    return lambda fit: changed(fit, fixed=0 * fit.fixed, stated_loglik=np.inf, converged=True, **more)


@pytest.mark.parametrize(
    "lie",
    [
        zeroed(),
        zeroed(residual_variance=np.inf),
        zeroed(covariances=(np.full((1, 1), np.nan),)),
        lambda fit: changed(
            fit, residual_variance=2 * fit.residual_variance, stated_loglik=fit.stated_loglik + 5, converged=True
        ),
        lambda fit: replace(fit, violation="constraint ignored", stated_loglik=fit.stated_loglik + 5),
    ],
    ids=["zeroed", "infinite variance", "missing variance", "claims more", "violates"],
)
@pytest.mark.parametrize("engine", ENGINES)
def test_tuned_believes_no_claim(engine, lie, monkeypatch):
    """An attempt that claims llf = inf, or more than it has, is recorded with its claim and never chosen."""
    spoil(monkeypatch, engine, {FIRST[engine]: lie})
    model = models.get("sitka-random_intercept")
    fit = ENGINES[engine].fit(model, "tuned")
    assert abs(judge(fit).gap) < 1e-8 and np.isfinite(fit.loglik)
    liar = next(attempt for attempt in fit.attempts if attempt.optimizer == FIRST[engine])
    assert liar.claimed > fit.loglik + 4 and not liar.loglik > fit.loglik - 1


@pytest.mark.parametrize("method", ["REML", "ML"])
def test_standing_still_below_the_others_is_no_reason_to_ask_no_further(method, make_model):
    """No variance between batches: MixedLM's lbfgs stops at zero, thousands of units down, where no slope is seen."""
    rng, rows = np.random.default_rng(5), []
    for batch in range(9):
        noise = rng.normal(0, 3, rng.integers(2, 9))
        noise = noise - 0.8 * noise.mean()
        for each in noise:
            dose = float(rng.integers(1, 6) * 10)
            rows.append((f"b{batch}", dose, round(30 + 0.2 * dose + each, 2)))
    model = make_model(pd.DataFrame(rows, columns=["batch", "dose", "yield"]), "`yield` ~ dose + (1 | batch)", method)
    fit = ENGINES["statsmodels"].fit(model, "tuned")
    assert fit.loglik == pytest.approx(ENGINES["lme4"].fit(model, "tuned").loglik, abs=1e-8)
    asked = {each.optimizer: each.loglik for each in fit.attempts}
    assert asked["lbfgs"] < fit.loglik - 100 and {"powell", "nm"} <= asked.keys()


@pytest.mark.parametrize("engine", ENGINES)
def test_an_optimizer_that_fails_does_not_stop_the_others(engine, monkeypatch):
    """The error is kept among the attempts, with the optimizer's name, and the best of the rest is taken."""
    spoil(monkeypatch, engine, {FIRST[engine]: EngineError("it burst")})
    fit = ENGINES[engine].fit(models.get("sitka-random_intercept"), "tuned")
    assert abs(judge(fit).gap) < 1e-8
    failed = [attempt for attempt in fit.attempts if attempt.loglik == -np.inf]
    assert [(each.optimizer, each.messages, each.converged) for each in failed] == [
        (FIRST[engine], ("it burst",), False)
    ]


@pytest.mark.parametrize("engine", ENGINES)
def test_nothing_usable_is_an_error_that_lists_what_each_optimizer_said(engine, monkeypatch):
    """When all optimizers fail, one error names each of them with its own."""
    spoil(monkeypatch, engine, {"all": EngineError("it burst")})
    with pytest.raises(EngineError, match=f"no optimizer gave .*{FIRST[engine]}: it burst; "):
        ENGINES[engine].fit(models.get("sitka-random_intercept"), "tuned")


def test_what_mixedlm_raises_is_an_engine_error(monkeypatch):
    """Whatever MixedLM lets through, such as a singular matrix, is one EngineError with its kind and text."""
    from statsmodels.regression.mixed_linear_model import MixedLM

    def burst(self, *_, **__):
        raise np.linalg.LinAlgError("Singular matrix")

    monkeypatch.setattr(MixedLM, "fit", burst)
    with pytest.raises(EngineError, match="^MixedLM stopped with LinAlgError: Singular matrix$"):
        ENGINES["statsmodels"].fit(models.get("sitka-random_intercept"))


@pytest.mark.parametrize("engine", ["lme4", "nlme"])
def test_what_r_stops_with_is_an_engine_error(engine, make_model):
    """A model that R refuses to fit is one EngineError with R's message."""
    model = make_model(pd.DataFrame({"y": [1.0, 2, 3, 5], "g": list("abcd")}), "y ~ 1 + (1 | g)")
    if engine == "nlme":  # which fits even this, so it is given a call that stops
        model = make_model(pd.DataFrame({"y": [1.0, 2, 4], "x": [1.0, 2, 3], "g": list("aab")}), "y ~ x + (x | g)")
    with pytest.raises(EngineError, match="^(lmer|lme) stopped with ") as caught:
        ENGINES[engine].fit(model)
    assert "\n" not in str(caught.value)


def test_every_attempt_of_mixedlm_has_a_model_object_of_its_own(monkeypatch):
    """No optimizer starts where another one stopped: each is given a model that nothing was fitted with."""
    from statsmodels.regression.mixed_linear_model import MixedLM

    used, fit = [], MixedLM.fit

    def noted(self, *arguments, **named):
        used.append((self, named["method"], "start_params" in named))
        return fit(self, *arguments, **named)

    monkeypatch.setattr(MixedLM, "fit", noted)
    ENGINES["statsmodels"].fit(models.get("sitka-random_intercept"), "tuned")
    assert [method for _, method, _ in used] == ["bfgs", "cg", "lbfgs"]
    assert len({id(model) for model, *_ in used}) == 3 and not any(started for *_, started in used)


def test_among_equals_the_one_at_rest_that_says_so_is_taken(numbers):
    """Of fits at one optimum a calm one is preferred to a false alarm; a better one is preferred to both."""
    good = numbers("sitka-random_intercept", "ML", "lme4", "tuned")
    likelihood = reference.of(good.model).likelihood
    alarm = replace(good, converged=False, messages=("false alarm",))
    worse = changed(good, residual_variance=1.01 * good.residual_variance)
    for order in ([alarm, good, worse], [worse, good, alarm]):
        chosen = tuning.best([(str(i), fit) for i, fit in enumerate(order)], [], likelihood)
        assert chosen.converged and chosen.residual_variance == good.residual_variance
    assert not tuning.best([("a", worse), ("b", alarm)], [], likelihood).converged
    chosen = tuning.best([("a", good)], [Attempt("b", -np.inf, np.nan, False, 2.0, ("burst",))], likelihood)
    assert [each.optimizer for each in chosen.attempts] == ["a", "b"] and chosen.seconds == good.seconds + 2.0
