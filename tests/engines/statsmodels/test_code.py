"""The code that MixedLM is given: what runs where it is pasted, and what cannot be written."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys

import numpy as np
import pytest

from concord import r
from concord.engines.engine import CannotExpress
from concord.engines.statsmodels.result import _components
from concord.models import formula
from support.translated import LME4, MIXEDLM, TABLE, built, form

# ---- the code ------------------------------------------------------------------------------------------------------

PASTED = [
    "y ~ x + (1 | g)",
    "y ~ x + (z || g)",
    "y ~ x + (1 | g/b)",
    "y ~ z + (1 | b) + (1 | h)",
    "log(y + 5) ~ poly(x, 2) + scale(z) * o + unused + (1 | g:b)",
    "y ~ s + C + factor(k) + offset(z) + (scale(x) | g)",
    "missing ~ `day 1` + (1 | g) + (0 + scale(missing2) | gb)",
]


def test_the_code_runs_where_it_is_pasted(make_model, tmp_path):
    """In a fresh Python and a fresh R, with nothing but the imports and the table, it gives the fits' likelihoods."""
    frame = TABLE.assign(
        C=TABLE["f"], missing=TABLE["y"].where(TABLE["k"] > 1), missing2=TABLE["x"].where(TABLE["k"] < 8)
    )
    frame["day 1"] = frame["z"]
    models = [make_model(frame, text, id="cows") for text in PASTED]
    frame.to_pickle(tmp_path / "table.pickle")
    r.call("saveRDS", frame, str(tmp_path / "table.rds"))
    python, code_in_r = ["import pandas as pd, warnings", "warnings.simplefilter('ignore')"], ["library(lme4)"]
    for model in models:
        *before, last = MIXEDLM.call(model).splitlines()
        python += MIXEDLM.imports(model)
        python += [f"cows = pd.read_pickle({str(tmp_path / 'table.pickle')!r})", *before, f"print(repr({last}.llf))"]
        python += [
            f"del {name}" for name in ("np", "MixedLMParams") if any(name in each for each in MIXEDLM.imports(model))
        ]
        code_in_r += [f"cows <- readRDS('{tmp_path / 'table.rds'}')"]
        code_in_r += [f"cat(format(as.numeric(logLik({LME4.call(model)})), digits = 15), '\\n')"]
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = {
        MIXEDLM: subprocess.run(
            [sys.executable, "-c", "\n".join(python)], capture_output=True, text=True, env=environment, cwd=tmp_path
        ),
        LME4: subprocess.run(
            ["Rscript", "--vanilla", "-e", "\n".join(code_in_r)], capture_output=True, text=True, cwd=tmp_path
        ),
    }
    for engine, run in done.items():
        assert run.returncode == 0, run.stderr
        told = [float(each.removeprefix("np.float64(").rstrip(") ")) for each in run.stdout.splitlines()]
        expected = [engine.fit(model).loglik for model in models]
        np.testing.assert_allclose(told, expected, rtol=1e-10)


# ---- what it cannot ------------------------------------------------------------------------------------------------

INEXPRESSIBLE = {
    "(z | g) + (1 | h)": (
        "(z | g): correlated effects of a factor that is crossed with h",
        "y ~ x + (1 | g) + (0 + z | g) + (1 | h)",
    ),
    "(z | gb) + (1 | g)": (
        "(z | gb): correlated effects of a factor that is nested in g",
        "y ~ x + (1 | gb) + (0 + z | gb) + (1 | g)",
    ),
    "(z | g/b)": (
        "(z | b:g): correlated effects of a factor that is nested in g",
        "y ~ x + (1 | b:g) + (0 + z | b:g) + (z | g)",
    ),
    "(1 + z | g) + (0 + x + k | g)": (
        "(1 + z | g) + (0 + x + k | g): it has one set of correlated effects, not several",
        "y ~ x + (1 + z | g) + (0 + x | g) + (0 + k | g)",
    ),
    "(1 + f + z | h) + (1 | g)": (
        "(1 + f + z | h): correlated effects of a factor that is crossed with g",
        "y ~ x + (1 | h) + (1 | h:f) + (0 + z | h) + (1 | g)",
    ),
    "(0 + f | h) + (1 | g)": (
        "(0 + f | h): correlated effects of a factor that is crossed with g",
        "y ~ x + (1 | h) + (1 | h:f) + (1 | g)",
    ),
    "(poly(z, 2) | h) + (1 | g)": ("(poly(z, 2) | h): correlated effects of a factor that is crossed with g", None),
    "(1 | g) + (1 | g)": ("(1 | g) + (1 | g): the effect (Intercept) of g twice", "y ~ x + (1 | g)"),
    "(z | g) + (z || g)": ("(z | g) + (1 | g) + (0 + z | g): the effect (Intercept) of g twice", "y ~ x + (z | g)"),
    "(z | g) + (k | g)": ("(z | g) + (k | g): the effect (Intercept) of g twice", None),
    "(z | `day 1`) + (1 | h)": (
        "(z | `day 1`): correlated effects of a factor that is crossed with h",
        "y ~ x + (1 | `day 1`) + (0 + z | `day 1`) + (1 | h)",
    ),
}


@pytest.mark.parametrize("random", INEXPRESSIBLE)
def test_what_mixedlm_cannot_express_is_said_with_the_nearest_that_it_can(random, make_model):
    """The verdict names the term and its reason, and the formula that it offers is one that can be translated."""
    what, nearest = INEXPRESSIBLE[random]
    frame = TABLE.assign(**{"day 1": TABLE["g"]})
    model = make_model(frame, f"y ~ x + {random}")
    for ask in (lambda: MIXEDLM.fit(model), lambda: MIXEDLM.call(model), lambda: form(model)):
        with pytest.raises(CannotExpress) as caught:
            ask()
        assert (caught.value.engine, caught.value.what, caught.value.nearest) == ("MixedLM", what, nearest)
    if nearest:
        near = make_model(frame, nearest)
        assert len(_components(built(near), near)) == len(form(near).vc_formula)


def test_a_product_with_one_is_the_term_itself(make_model):
    """As R has it; patsy by itself refuses the number."""
    one, other = (MIXEDLM.fit(make_model(TABLE, f"y ~ (1 | g) + {fixed}")) for fixed in ("x * 1", "x"))
    assert one.loglik == pytest.approx(other.loglik, abs=1e-8)


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
from concord.models.formula import expression
model = pickle.loads(pathlib.Path({str(given)!r}).read_bytes())
pathlib.Path({str(taken)!r}).write_bytes(pickle.dumps(mixedlm.fit(model)))
try:
    expression(model.formula)
except Exception as error:
    print(type(error).__name__)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "NoRError\n"
    fit = pickle.loads(taken.read_bytes())
    assert fit.loglik == pytest.approx(LME4.fit(model).loglik, rel=0, abs=1e-5)
    assert "Mixed Linear Model" in fit.summary and len(fit.random_effects) == 40
    variables = r.from_r(r.call("all.vars", formula.expression(pickle.loads(given.read_bytes()).formula)))
    assert variables == ["strength", "batch", "cask"]


def test_what_cannot_be_expressed_comes_out_of_another_process_whole():
    """The error keeps its engine, what it is of and the nearest formula when it is sent."""
    error = pickle.loads(pickle.dumps(CannotExpress("MixedLM", "this", "y ~ x + (1 | g)")))
    assert str(error) == "MixedLM cannot express this; the nearest that it can is y ~ x + (1 | g)"
    assert (error.engine, error.what, error.nearest) == ("MixedLM", "this", "y ~ x + (1 | g)")
