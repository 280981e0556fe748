"""Translation: what MixedLM is given for an lme4 formula, and that it is the same model."""

from __future__ import annotations

import pickle
import subprocess
import sys

import numpy as np
import pytest

from concord import r
from concord.engines import engines
from concord.formulas import CannotExpress
from concord.translation import for_mixedlm

MIXEDLM, LME4 = engines()["mixedlm"], engines()["lme4"]


def form(model):
    return for_mixedlm(model.formula, model.design, model.frame)


# ---- the random part -----------------------------------------------------------------------------------------------

# Table, formula, and what MixedLM is given: groups, re_formula, vc_formula.
RANDOM = {
    "crossed": (
        "lme4::Penicillin",
        "diameter ~ 1 + (1 | plate) + (1 | sample)",
        (None, None, {"plate": "0 + C(plate)", "sample": "0 + C(sample)"}),
    ),
    "nested": (
        "lme4::Pastes",
        "strength ~ 1 + (1 | batch/cask)",
        ("batch", "1", {"cask:batch": "0 + C(cask.astype(object))"}),
    ),
    "nested by the data": (
        "lme4::Pastes",
        "strength ~ 1 + (1 | sample) + (1 | batch)",
        ("batch", "1", {"sample": "0 + C(sample.astype(object))"}),
    ),
    "a factor's effects": ("nlme::Machines", "score ~ Machine + (0 + Machine | Worker)", ("Worker", "0 + Machine", {})),
}


@pytest.mark.parametrize("kind", RANDOM)
def test_random_terms_become_groups_and_components_of_the_same_model(kind, r_table, make_model):
    """The form is the expected one, and tuned fits of both packages reach one log-likelihood and one set of numbers."""
    table, formula, expected = RANDOM[kind]
    model = make_model(r_table(table), formula)
    made = form(model)
    assert (made.group, made.re_formula, made.vc_formula) == expected
    ours, theirs = MIXEDLM.fit(model, "tuned"), LME4.fit(model, "tuned")
    assert ours.loglik + ours.shift == pytest.approx(theirs.loglik, rel=0, abs=1e-6)
    for mine, other in zip(ours.covariances, theirs.covariances, strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-3)
    np.testing.assert_allclose(ours.fitted, ours.native.fittedvalues, rtol=1e-10)
    both = ours.random_effects.merge(theirs.random_effects, on=["group", "level", "term"], validate="one_to_one")
    assert len(both) == len(ours.random_effects) == len(theirs.random_effects)
    np.testing.assert_allclose(both["estimate_x"], both["estimate_y"], rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(both["std_error_x"], both["std_error_y"], rtol=1e-2)


# ---- without R -----------------------------------------------------------------------------------------------------


def test_a_model_is_fitted_by_mixedlm_where_there_is_no_r(tmp_path, r_table, make_model):
    """Pickled with its formula and design, a process that cannot import rpy2 fits it, and the fit comes back."""
    model = make_model(r_table("lme4::Pastes"), "strength ~ 1 + (1 | batch/cask)")
    assert model.formula and model.design
    given, taken = tmp_path / "model", tmp_path / "fit"
    given.write_bytes(pickle.dumps(model))
    code = f"""
import pathlib, pickle, sys
sys.modules["rpy2"] = None
from concord.engines import mixedlm
model = pickle.loads(pathlib.Path({str(given)!r}).read_bytes())
pathlib.Path({str(taken)!r}).write_bytes(pickle.dumps(mixedlm.fit(model)))
try:
    model.formula.expression
except Exception as error:
    print(type(error).__name__)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "RError\n"
    fit = pickle.loads(taken.read_bytes())
    assert fit.loglik == pytest.approx(LME4.fit(model).loglik, rel=0, abs=1e-5)
    assert "Mixed Linear Model" in fit.summary and len(fit.random_effects) == 40
    variables = r.from_r(r.call("all.vars", pickle.loads(given.read_bytes()).formula.expression))
    assert variables == ["strength", "batch", "cask"]


def test_what_cannot_be_expressed_comes_out_of_another_process_whole():
    """The error keeps its engine, what it is of and the nearest formula when it is sent."""
    error = pickle.loads(pickle.dumps(CannotExpress("MixedLM", "this", "y ~ x + (1 | g)")))
    assert str(error) == "MixedLM cannot express this; the nearest that it can is y ~ x + (1 | g)"
    assert (error.engine, error.what, error.nearest) == ("MixedLM", "this", "y ~ x + (1 | g)")
