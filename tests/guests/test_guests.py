"""Guests fit the model that they are asked for, are judged by the same optimum, and change nobody's verdict."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib

import numpy as np
import pandas as pd
import pytest

from concord import r
from concord.engines.engine import EngineError, engines
from concord.guests.columns import columns, package, symmetric
from concord.models import model
from concord.models.of_table import model_of
from support.paths import ROOT

GUESTS = ("glmm", "glmmtmb", "mixedlm_pypi", "mixedlm_rs")
MODELS = ("sitka-random_slope", "penicillin-crossed", "sleepstudy-uncorrelated", "machines-unstructured")
# In a process of its own: nothing of the guests is left in this one. Each guest's fit by REML and ML, and the words of
# a comparison with and without them.
ASKED = """
import json, sys
from concord import guests, versions
guests.invite(), guests.invite()
from concord.agreement.comparison import compare
from concord.engines.answers import answer
from concord.engines.engine import engines, parties
from concord.models import model
told = {"engines": list(engines()), "versions": list(versions.collect())}
for id in sys.argv[1:]:
    for method in ("REML", "ML"):
        asked = model.get(id, method)
        guests = [answer(asked, name, "default") for name, engine in engines().items() if engine.role == "guest"]
        judged = compare(*guests)
        told[f"{id} {method}"] = {
            j.fit.engine: [j.gap, j.fit.stated_loglik, j.against.loglik, j.fit.converged, j.fit.call,
                           len(j.fit.summary)]
            for j in judged.judgements
        } | {absent.engine: [absent.kind, absent.reason] for absent in judged.absent}
asked = model.get("sitka-random_slope")
two = [answer(asked, name, "default") for name in parties()]
guests = [answer(asked, name, "default") for name in engines() if name not in (*parties(), "nlme")]
tuned = answer(asked, "glmm", "tuned")
told["tuned"] = [tuned.kind, tuned.reason]
told["verdicts"] = [str(compare(*answers).verdict) for answers in (two, two + guests)]
print(json.dumps(told))
"""


@pytest.fixture(scope="module")
def told():
    environment = {key: value for key, value in os.environ.items() if key != "CONCORD_ENGINES"}
    words = [sys.executable, "-c", ASKED, *MODELS]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def test_they_stand_last_and_only_where_they_are_invited(told):
    assert (
        sorted(told["engines"][3:]) == sorted(GUESTS)
        and told["engines"][:3] == list(engines())
        and not set(GUESTS) & set(engines())
    )
    assert {"glmm", "mixedlm", "mixedlm-rs"} <= set(told["versions"])


@pytest.mark.parametrize("method", ["REML", "ML"])
@pytest.mark.parametrize("id", MODELS)
def test_each_is_at_the_certified_optimum_or_says_why_there_is_no_fit(told, id, method):
    """R's glmmTMB is an extra of the machine's, and says so where it is not there."""
    refused = {"glmm": MODELS[2:], "mixedlm_rs": MODELS[1:3]}
    for name, said in told[f"{id} {method}"].items():
        if id in refused.get(name, ()):
            assert said[0] == "cannot express"
        elif name == "glmmtmb" and not r.from_r(r.call("system.file", package="glmmTMB"))[0]:
            assert said[0] == "failed" and "glmmTMB is not installed" in said[1]
        else:
            gap, stated, optimum, converged, call, summary = said
            assert abs(gap) < 1e-6 and abs(stated - optimum) < 1e-5 and converged and summary > 200, name
            assert f"({id.partition('-')[0]}" in call or id.partition("-")[0] in call


def test_the_verdict_is_the_parties(told):
    without, beside = told["verdicts"]
    assert without == beside and "short" in without
    assert told["tuned"] == ["left out", "glmm is asked as it ships only"]


def test_what_is_not_installed_says_what_to_do():
    with pytest.raises(EngineError, match=r"^glimmer is not installed: pip install no-such-package"):
        package("glimmer", "no_such_package")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pinned = [requirement.partition("==")[0] for requirement in project["optional-dependencies"]["guests"]]
    assert pinned == ["glmm", "mixedlm", "mixedlm-rs"]


def test_the_columns_are_the_model_under_plain_names():
    """Held to lme4 on the columns: transformations, factors, interactions, odd names and an offset are all numbers."""
    rng = np.random.default_rng(1)
    n = 60
    table = {"T": rng.normal(size=n), "a b": rng.normal(size=n), "f": np.tile(["u", "v", "w"], n // 3)}
    table |= {"g": np.repeat([f"g{i}" for i in range(10)], 6), "x1": rng.normal(size=n)}
    table["y"] = table["T"] + rng.normal(size=10).repeat(6) + rng.normal(size=n)
    formula = "y ~ T * f + I(x1^2) + `a b` + offset(x1) + (T | g) + (1 | f:g)"
    asked, _ = model_of(pd.DataFrame(table), formula, "REML", None, "data")
    written = columns(asked)
    assert (
        written.formula.startswith("y ~ 1 + x1 + fv + fw + x2 + x3 + x4 + x5 + (1 + x1 | g)")
        and "| g1)" in written.formula
    )
    assert list(written.table) == [*dict.fromkeys(written.table)] and len(written.table) == n
    lmer, loglik = r.function("lme4::lmer"), r.function("stats::logLik")
    values = [
        r.from_r(loglik(lmer(r.function("stats::as.formula")(text), r.to_r(data))))[0]
        for text, data in ((written.formula, written.table), (formula, asked.frame))
    ]
    assert values[0] == pytest.approx(values[1], abs=1e-7)


def test_a_covariance_matrix_is_read_column_by_column():
    np.testing.assert_array_equal(symmetric([1, 2, 3, 4, 5, 6], 3), [[1, 2, 3], [2, 4, 5], [3, 5, 6]])


def test_a_fit_of_another_model_is_refused():
    """In this process, where they are no engines: the folder's own modules."""
    from concord.guests.glmm import engine as glmm  # noqa: PLC0415
    from concord.guests.mixedlm_rs import engine as mixedlm_rs  # noqa: PLC0415

    slope, intercept = (model.get(f"sitka-random_{what}") for what in ("slope", "intercept"))
    for guest in (glmm, mixedlm_rs):
        native = guest.fit(intercept).native
        with pytest.raises(EngineError, match="another model"):
            guest.from_native(native, slope)
        with pytest.raises(EngineError, match="is by REML, the model says ML"):
            guest.from_native(native, model.get("sitka-random_intercept", "ML"))
