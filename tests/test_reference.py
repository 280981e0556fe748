"""The reference: one optimum a model, found once, and never that of another table."""

from __future__ import annotations

import numpy as np
import pytest

from concord import models, reference
from concord.fits import ESTIMATES

EVERY = [pytest.param(model.id, model.method, id=f"{model.id}-{model.method}") for model in models.every()]


@pytest.mark.parametrize(("id", "method"), EVERY)
def test_it_is_stationary_and_has_every_estimate(id, method):
    """The criterion has no slope there, and all parameters with their names and finite values."""
    model = models.get(id, method)
    found = reference.of(model)
    variances = found.estimates[found.estimates["effect"] == "ran_pars"]
    assert list(found.estimates.columns) == ESTIMATES and np.isfinite(found.estimates["estimate"]).all()
    assert found.estimates["term"].tolist()[:2] == ["(Intercept)", "Time"]
    assert (variances.loc[variances["term"].str.startswith("var__"), "estimate"] > 0).all()
    optimum = found.likelihood.optimum()
    assert optimum.gradient < 1e-5
    assert found.likelihood.loglik(optimum.fixed, optimum.covariances, optimum.residual_variance) == pytest.approx(
        found.loglik, rel=0, abs=1e-9
    )


@pytest.mark.parametrize(("id", "method"), EVERY)
def test_far_starts_lead_to_the_same_optimum(id, method):
    """From factors far from its own starts it ends in the same place: no better optimum nearby."""
    found = reference.of(models.get(id, method))
    likelihood = found.likelihood
    far = likelihood.theta_at([100.0 * np.eye(len(term.names)) for term in likelihood.design.terms], 1.0)
    for start in (far, 0.01 * far):
        assert likelihood.optimum([start]).loglik == pytest.approx(found.loglik, rel=0, abs=1e-9)


def test_it_is_found_once():
    """Asking again for the same model and method gives the very same reference; another method another one."""
    assert reference.of(models.get("sitka-random_intercept")) is reference.of(models.get("sitka-random_intercept"))
    ml = reference.of(models.get("sitka-random_intercept", "ML"))
    assert ml is not reference.of(models.get("sitka-random_intercept")) and ml.loglik > -82.3


def test_another_table_of_the_same_name_has_its_own(make_model):
    """A reference serves only the table that it was found from, whatever the two are called."""
    model = models.get("sitka-random_intercept")
    made = make_model(model.frame[1:], model.record.formula, id="sitka", name="random_intercept")
    twin = models.Model(made.dataset, made.name, model.record, model.method)
    assert twin.id == model.id and twin.record is model.record
    first, second = reference.of(model), reference.of(twin)
    assert second.likelihood.n == first.likelihood.n - 1 and second.loglik != first.loglik
    assert reference.of(model).loglik == first.loglik
