"""README's recipes reach lme4's log-likelihood, and what it says of p-values is so."""

from __future__ import annotations

import re
import warnings

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf
from scipy import stats

from concord.data import datasets
from concord.engines.engine import engines
from concord.inference import degrees_of_freedom
from concord.inference.boundary import zero_share
from concord.models import model as models
from concord.reference import reference
from support.paths import ROOT
from support.readme import README, blocks

HEAD, *RECIPES = re.split(r"\n\n(?=# )", blocks("python")[0].strip())


def table(name):
    return pd.read_csv(ROOT / "datasets" / name / f"{name}.csv")


def title(recipe):
    return recipe.partition("\n")[0].removeprefix("# ")


def test_there_is_a_recipe_for_every_kind_of_term():
    assert HEAD.startswith("import numpy as np") and len(RECIPES) == 9
    assert {title(each).partition(":")[0] for each in RECIPES} >= {"nested groups", "crossed groups"}


@pytest.mark.parametrize("recipe", RECIPES, ids=title)
def test_a_recipe_reaches_what_lme4_reaches(recipe, make_model, monkeypatch):
    monkeypatch.chdir(ROOT)
    formula = title(recipe).partition(": ")[2]
    (name,) = set(re.findall(r"mixedlm\([^,]+, (\w+),", recipe))
    code, call = (HEAD + "\n" + recipe).rsplit("\n", 1)
    scope = {name: table(name)}
    with warnings.catch_warnings(record=True):
        exec(code, scope)
        found = eval(call, scope)
    model = make_model(datasets.load(name).frame, formula)
    lme4 = engines()["lme4"].fit(model, "tuned").loglik
    assert found.converged and found.llf == pytest.approx(lme4, abs=1e-5)
    same = [each for each in models.every() if (each.record.formula, each.method) == (formula, "REML")]
    assert bool(same) == (formula != "Reaction ~ Days + (0 + Days | Subject)")
    for each in same:
        assert found.llf == pytest.approx(reference.of(each).level, abs=1e-5)


def test_without_re_formula_the_random_intercept_is_dropped_silently():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        given = smf.mixedlm("Reaction ~ Days", table("sleepstudy"), groups="Subject", vc_formula={"Days": "0 + Days"})
        dropped = given.fit()
    alone = smf.mixedlm("Reaction ~ Days", table("sleepstudy"), groups="Subject", re_formula="~0 + Days").fit()
    assert dropped.llf == pytest.approx(alone.llf, abs=1e-6)


@pytest.mark.parametrize(("id", "engine", "words"), [("dietox", 0, "pigs is 55 %"), ("sitka", 1, "trees 66 %")])
def test_how_far_off_the_variances_are(numbers, id, engine, words):
    model = models.get(f"{id}-random_slope")
    right = reference.of(model).parameters.covariances[0][0, 0]
    fit = numbers(model.id, "REML", ("statsmodels", "lme4")[engine], "default")
    off = fit.parameters.covariances[0][0, 0] / right - 1
    assert f"{words.split()[0]} {'is ' if off > 0 else ''}{abs(off):.0%}".replace("%", " %") == words
    assert words in README


def test_what_is_said_of_p_values():
    said = README[README.index("## Which p-value") :].partition("\n## ")[0]
    assert len([line for line in said.splitlines()[2:] if line]) <= 12
    model = models.get("sleepstudy-random_slope")
    freedom = degrees_of_freedom.satterthwaite(reference.of(model).likelihood, reference.of(model).parameters)[1]
    assert freedom == pytest.approx(17, abs=1e-3) and degrees_of_freedom.inner_outer(model.design)[1] == 161
    assert f"{2 * stats.t.sf(stats.norm.ppf(0.975), freedom):.1%}" == "6.7%" and "6.7 %" in said
    assert f"{zero_share(models.get('dyestuff-random_intercept').design, False):.0%}" == "66%" and "66 %" in said
    design = models.get("dyestuff-random_intercept").design
    assert np.bincount(design.terms[0].codes).tolist() == [5] * 6
