"""Calls as people write them, run: the formula that each is said to fit has, by the independent likelihood, the
log-likelihood that MixedLM states at its own estimates, and the code is read and never run.
"""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import patsy
import pytest
import statsmodels.api as sm
import statsmodels.formula.api as smf

import concord
from concord.engines.calls import CallError
from concord.likelihood.likelihood import Likelihood

CODE = {
    'X = df[["x", "z"]]\nX = sm.add_constant(X)\nfit = sm.MixedLM(df["y"], X, groups=df["g"]).fit()': (
        "y ~ 1 + x + z + (1 | g)"
    ),
    'X = df[["x", "z"]].copy()\nX["const"] = 1\n'
    'fit = sm.MixedLM(df["y"], X, groups=df["g"], exog_re=X[["const", "x"]]).fit()': "y ~ 1 + x + z + (1 + x | g)",
    'X = sm.add_constant(df[["x", "z"]])\nfit = sm.MixedLM(df.y, X, df.g, X.iloc[:, :2]).fit()': (
        "y ~ 1 + x + z + (1 + x | g)"
    ),
    "X = np.column_stack([np.ones(len(df)), df.x, df.z])\nfit = sm.MixedLM(df.y, X, df.g, X[:, [0, 2]]).fit()": (
        "y ~ 1 + x + z + (1 + z | g)"
    ),
    "X = np.c_[np.ones(len(df)), df.x]\nfit = sm.MixedLM(df.y, X, df.g, X[:, -1]).fit()": "y ~ 1 + x + (0 + x | g)",
    "X = np.vstack([df.x, np.ones(len(df))]).T\nfit = sm.MixedLM(df.y, X, df.g).fit()": "y ~ 1 + x + (1 | g)",
    "X = pd.concat([df.x, df.z], axis=1)\nfit = sm.MixedLM(df.y, sm.add_constant(X), df.g).fit()": (
        "y ~ 1 + x + z + (1 | g)"
    ),
    'y, X = patsy.dmatrices("y ~ x + C(s)", df, return_type="dataframe")\nfit = sm.MixedLM(y, X, df["g"]).fit()': (
        "y ~ x + factor(s) + (1 | g)"
    ),
    'vc = {"a": "0 + C(h)"}\nvc["b"] = "0 + C(s)"\nfit = smf.mixedlm("y ~ x", df, groups="g", vc_formula=vc).fit()': (
        "y ~ x + (1 | g:h) + (1 | g:s)"
    ),
    'vc = {c: f"0 + C({c})" for c in ["h", "s"]}\n'
    'fit = smf.mixedlm("y ~ x", df, groups="g", vc_formula=vc).fit()': "y ~ x + (1 | g:h) + (1 | g:s)",
    'one = dict(groups="g")\none["re_formula"] = "~x"\nfit = smf.mixedlm("y ~ x", df, **one).fit()': (
        "y ~ x + (1 + x | g)"
    ),
    'what, more = "y", ["x", "z"]\nfit = smf.mixedlm(f"{what} ~ {\' + \'.join(more)}", df, groups="g").fit()': (
        "y ~ x + z + (1 | g)"
    ),
    'formula = "{} ~ %s".format("y") % "x"\nformula += " + z"\nfit = smf.mixedlm(formula, df, groups="g").fit()': (
        "y ~ x + z + (1 | g)"
    ),
    'cols = ["x", "z"]\nX = sm.add_constant(df[cols]).assign(s=df["s"])\n'
    "fit = sm.MixedLM(df.y, X, df.g, X[cols[:1]]).fit()": "y ~ 1 + x + z + s + (0 + x | g)",
    'formula = "y ~ x"\nfit = smf.mixedlm(formula, df, groups="g").fit()\nformula = "y ~ z"': "y ~ x + (1 | g)",
    'df["s"] = df["s"].astype("category")\nfit = smf.mixedlm("y ~ x * s", df, groups="g").fit()': (
        "y ~ x * factor(s) + (1 | g)"
    ),
    'fit = smf.mixedlm("y ~ x", df.dropna(), groups=df.dropna()["g"]).fit()': "y ~ x + (1 | g)",
    'fit = smf.mixedlm("y ~ x", df, groups=df.loc[df.x > -9, "g"]).fit()': "y ~ x + (1 | g)",
    'both = df[["g", "h"]].astype(str).agg("-".join, axis=1)\nfit = smf.mixedlm("y ~ x", df, groups=both).fit()': (
        "y ~ x + (1 | g:h)"
    ),
    'fit = smf.mixedlm("y ~ x", df, groups=[f"{a}/{b}" for a, b in zip(df.g, df.h)]).fit()': "y ~ x + (1 | g:h)",
    "from statsmodels.regression.mixed_linear_model import MixedLM as LMM\n"
    'fit = LMM.from_formula("y ~ x", df, groups="g").fit()': "y ~ x + (1 | g)",
    'fit = smf.mixedlm("y ~ C(h, Sum) * x + standardize(z)", df, groups="g").fit()': (
        "y ~ C(factor(h), contr.sum) * x + standardize(z) + (1 | g)"
    ),
    'fit = smf.mixedlm("y ~ C(s, Poly) + C(h, Helmert) + scale(x)", df, groups="g").fit()': (
        "y ~ C(factor(s), contr.poly) + C(factor(h), contr.helmert) + standardize(x) + (1 | g)"
    ),
    'fit = smf.mixedlm("y ~ np.power(z, 2) + np.square(x) + pow(x, 3)", df, groups="g").fit()': (
        "y ~ I(z^2) + I(x^2) + I(x^3) + (1 | g)"
    ),
}


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    draws = np.random.default_rng(5)
    g = np.repeat(np.arange(8), 18)
    table = pd.DataFrame({"g": [f"G{i}" for i in g], "s": np.tile(np.repeat([1, 2, 3], 6), 8)})
    table["h"] = np.array(["u", "v", "w", "q"])[draws.integers(0, 4, 144)]
    table["x"], table["z"] = draws.normal(size=144), draws.uniform(1, 3, 144)
    effects = draws.normal(size=(2, 8))[:, g]
    table["y"] = (
        3 + 0.5 * table["x"] + effects[0] + effects[1] * table["x"] + draws.normal(size=24)[g * 3 + table["s"] - 1]
    )
    table["y"] += table["h"].map({"u": 0, "v": 1, "w": 2, "q": 3}) + draws.normal(size=144) * 0.6
    return table


@pytest.mark.parametrize("code", CODE)
def test_the_formula_of_written_code_has_its_log_likelihood(code, frame):
    explained = concord.from_mixedlm(code, frame)
    assert (explained.formula, explained.checked) == (CODE[code], True)
    room = {"np": np, "pd": pd, "sm": sm, "smf": smf, "patsy": patsy, "df": frame.copy()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        exec(code, room)
    model = explained.model(explained.formula)
    at = concord.engines.statsmodels.from_native(room["fit"], model).parameters
    assert Likelihood(model.design, True).loglik(at) == pytest.approx(room["fit"].llf, rel=0, abs=1e-6)


PASTED = {
    "in a function's margin": '    md = smf.mixedlm("y ~ x", df, groups="g")\n    fit = md.fit(reml=False)',
    "margins but for the first line": 'md = smf.mixedlm("y ~ x", df, groups="g")\n    fit = md.fit(reml=False)',
    "IPython's prompts": 'In [1]: md = smf.mixedlm("y ~ x", df,\n   ...:  groups="g")\nIn [2]: md.fit(reml=False)',
    "Python 2's print": 'fit = smf.mixedlm("y ~ x", df, groups="g").fit(reml=False)\nprint fit.summary()',
}


@pytest.mark.parametrize("code", PASTED.values(), ids=PASTED)
def test_code_is_read_as_it_was_pasted(code, frame):
    explained = concord.from_mixedlm(code, frame)
    assert (explained.formula, explained.method) == ("y ~ x + (1 | g)", "ML")


UNREAD = {
    "vc = {}\nvc.update(f())\nsmf.mixedlm('y ~ x', df, groups='g', vc_formula=vc)": "vc.update(f()) cannot be read",
    "X = df[['x']]\nX.insert(0, 'one', 1)\nsm.MixedLM(df.y, X, df.g)": "write out what X is",
    "X = np.ones((len(df), 2))\nX[:, 1] = df.x\nsm.MixedLM(df.y, X, df.g)": "exog=X is no column",
    "X = np.zeros(5)\nX[1] = 2\nsm.MixedLM(df.y, df.x, df.g, X)": "exog_re=X is no column",
    "f = 'y ~ x'\nif a:\n    f = 'y ~ z'\nsmf.mixedlm(f, df, groups='g')": "what f is depends on how the code runs",
    "f = 'y ~ x'\nfor c in a:\n    f += c\nsmf.mixedlm(f, df, groups='g')": "what f is depends on how the code runs",
    "a = b\nb = a\nsmf.mixedlm(a, df, groups='g')": "stand for each other without end",
    "def f(df):\n    return smf.mixedlm(a, df, groups='g')\na = f'{b}'\nb = f'{a}'": "stand for each other without end",
    "x = ''\n" + "x = x + x\n" * 40 + "smf.mixedlm(x, df, groups='g')": "too long to be followed",
    "smf.mixedlm('{:>99999999}'.format('y'), df, groups='g')": "no text that can be read",
    "smf.mixedlm('{0.__class__}'.format('y'), df, groups='g')": "no text that can be read",
}


@pytest.mark.parametrize("code", UNREAD)
def test_what_cannot_be_followed_is_one_line(code, frame):
    with pytest.raises(CallError) as refused:
        concord.from_mixedlm(code, frame)
    assert UNREAD[code] in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_bar_without_parentheses_is_meant_as_groups(frame):
    explained = concord.from_mixedlm('smf.mixedlm("y ~ x | g", df, groups="g")', frame)
    assert explained.formula is None and [one.formula for one in explained.meant] == ["y ~ x + (1 | g)"]


def test_what_r_has_no_like_of_is_no_formula(frame):
    explained = concord.from_mixedlm('smf.mixedlm("y ~ x + np.maximum(x, 0)", df, groups="g")', frame)
    assert explained.formula is None and "make a column of it first" in explained.problem


def test_rows_that_the_code_takes_and_levels_without_rows_are_said(frame):
    table = frame.assign(h=pd.Categorical(frame["h"], ["u", "v", "w", "q", "never"]))
    said = repr(concord.from_mixedlm('smf.mixedlm("y ~ h", df[df.x > 0], groups="g")', table))
    assert "the call takes df[df.x > 0]" in said and "h has no row of never" in said
    said = repr(concord.from_mixedlm('df["x"] = df["x"] * 2\nsmf.mixedlm("y ~ x", df, groups="g")', frame))
    assert "the code makes x of df['x'] * 2 first" in said
    with pytest.raises(np.linalg.LinAlgError), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        smf.mixedlm("y ~ h", table, groups="g").fit()
