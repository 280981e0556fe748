"""A call of MixedLM explained: what it really fits is held to MixedLM's own log-likelihood of the literal call, by the
independent likelihood of the formula that is stated, where MixedLM ended.
"""

from __future__ import annotations

import re
import warnings

import numpy as np
import pandas as pd
import pytest

from concord.engines import statsmodels
from concord.engines.calls import CallError, Given
from concord.engines.tuning import recomputed
from concord.likelihood.likelihood import Likelihood
from concord.models.of_table import model_of


def table() -> pd.DataFrame:
    """Subjects crossed with scenarios; wards, of which subjects lie in one each; casks, numbered anew in each subject;
    tissues as whole numbers; text, categories, a number and a column of ones.
    """
    rng = np.random.default_rng(5)
    rows = [(subject, scenario, repeat) for subject in range(9) for scenario in range(4) for repeat in range(3)]
    frame = pd.DataFrame(rows, columns=["subject", "scenario", "tissue"])
    frame["tissue"] += 1
    effects = (
        rng.normal(size=9),
        rng.normal(size=4),
        rng.normal(size=(9, 4)),
        rng.normal(size=(9, 3)),
        rng.normal(size=9),
    )
    x, z = rng.normal(size=(2, len(frame)))
    subject, scenario, tissue = (frame[name].to_numpy() for name in ("subject", "scenario", "tissue"))
    y = 3 + x + effects[0][subject] + effects[1][scenario] + effects[2][subject, scenario]
    y = (
        y
        + 0.7 * effects[3][subject, tissue - 1]
        + (0.8 * effects[4][subject] + 0.3 * z) * x
        + rng.normal(size=len(x)) / 2
    )
    names = {"subject": [f"s{code}" for code in subject], "scenario": [f"c{code}" for code in scenario]}
    frame = frame.assign(**names, x=x, z=z, y=y, one=1, ward=[f"w{code // 3}" for code in subject])
    frame["code"] = 10 * subject
    frame["arm"] = pd.Categorical(np.where(scenario % 2, "new", "old"), ["old", "new"])
    frame["bed"] = frame["subject"] + frame["tissue"].map({1: "a", 2: "b", 3: "c"})
    return frame


@pytest.fixture(scope="module")
def df():
    return table()


INTERCEPT, NESTED = "(1 | subject)", "(1 | subject:scenario)"
CROSSED = f"{INTERCEPT} + (1 | scenario)"
FREE = "free = MixedLMParams.from_components(np.ones(2), "

# The code of a call and its fit, the random part that it fits, and those that were probably meant.
CALLS = {
    "the default": ('smf.mixedlm("y ~ x", df, groups=df["subject"]).fit()', INTERCEPT, []),
    "a slope": ('smf.mixedlm("y ~ x", df, groups="subject", re_formula="~x").fit(reml=False)', "(1 + x | subject)", []),
    "a slope alone": ('smf.mixedlm("y ~ x", df, groups="subject", re_formula="0 + x").fit()', "(0 + x | subject)", []),
    "a factor's effects": (
        'smf.mixedlm("y ~ x", df, groups="subject", re_formula="0 + C(arm)").fit()',
        "(0 + factor(arm) | subject)",
        [],
    ),
    "use_sqrt": (
        'smf.mixedlm("y ~ x", df, groups="subject", re_formula="1 + x", use_sqrt=False).fit()',
        "(1 + x | subject)",
        [],
    ),
    "a spline and functions": (
        'smf.mixedlm("y ~ x + bs(z, df=4) + np.sin(2*np.pi*x)", df, groups="subject").fit(reml=False)',
        INTERCEPT,
        [],
    ),
    "other codings": ('smf.mixedlm("y ~ x + C(arm, Sum)", df, groups="subject").fit()', INTERCEPT, []),
    "crossed under real groups": (
        'smf.mixedlm("y ~ x", df, groups=df.subject, vc_formula={"scenario": "0 + C(scenario)"}).fit()',
        NESTED,
        [CROSSED, f"{INTERCEPT} + {NESTED}"],
    ),
    "crossed under real groups, with an intercept": (
        'vc = {"scenario": "0 + scenario"}\n'
        'smf.mixedlm("y ~ x", df, groups="subject", re_formula="1", vc_formula=vc).fit()',
        f"{INTERCEPT} + {NESTED}",
        [CROSSED],
    ),
    "crossed": (
        'df["one"] = 1\nvc = dict(a="0 + C(subject)", b="0 + C(scenario)")\n'
        'model = smf.mixedlm("y ~ x", df, groups="one", vc_formula=vc)\nmodel.fit()',
        CROSSED,
        [],
    ),
    "crossed, and combinations": (
        "smf.mixedlm('y ~ x', df, groups=np.ones(len(df)), vc_formula={'a': '0 + C(subject)', "
        "'b': '0 + C(subject):C(scenario)'}).fit()",
        f"{INTERCEPT} + {NESTED}",
        [],
    ),
    "nested": (
        'smf.mixedlm("y ~ x", df, groups="ward", re_formula="1", vc_formula={"s": "0 + C(subject)"}).fit()',
        "(1 | ward) + (1 | ward:subject)",
        [],
    ),
    "nested, without the group's intercept": (
        'smf.mixedlm("y ~ x", df, groups="ward", vc_formula={"s": "0 + C(subject)"}).fit()',
        "(1 | ward:subject)",
        ["(1 | ward) + (1 | ward:subject)"],
    ),
    "groups nested in the component": (
        'smf.mixedlm("y ~ x", df, groups="subject", vc_formula={"ward": "0 + C(ward)"}).fit()',
        INTERCEPT,
        ["(1 | subject) + (1 | ward)"],
    ),
    "the groups under another name": (
        'smf.mixedlm("y ~ x", df, groups="subject", vc_formula={"c": "0 + C(code)"}).fit()',
        INTERCEPT,
        [],
    ),
    "the groups as a component": (
        'vc = {"subject": "0 + C(subject)", "scenario": "0 + C(scenario)"}\n'
        'smf.mixedlm("y ~ x", df, groups="subject", vc_formula=vc).fit()',
        f"{NESTED} + {INTERCEPT}",
        [f"(1 | scenario) + {INTERCEPT}"],
    ),
    "codes as a slope": (
        'smf.mixedlm("y ~ x", df, groups="subject", re_formula="1", vc_formula={"t": "0 + tissue"}).fit()',
        f"{INTERCEPT} + (0 + tissue | subject)",
        [f"{INTERCEPT} + (1 | tissue)", f"{INTERCEPT} + (1 | subject:tissue)"],
    ),
    "codes made text before": (
        'df["tissue"] = df["tissue"].astype(str)\n'
        'smf.mixedlm("y ~ x", df, groups="subject", re_formula="1", vc_formula={"t": "0 + tissue"}).fit()',
        f"{INTERCEPT} + (1 | subject:tissue)",
        [f"{INTERCEPT} + (1 | tissue)"],
    ),
    "a slope's component": (
        'smf.mixedlm("y ~ x", df, groups="subject", re_formula="1", vc_formula={"x": "0 + x"}).fit()',
        f"{INTERCEPT} + (0 + x | subject)",
        [],
    ),
    "slopes within levels": (
        'smf.mixedlm("y ~ x", df, groups="subject", re_formula="1", vc_formula={"x": "0 + C(arm):x"}).fit()',
        f"{INTERCEPT} + (0 + x | subject:arm)",
        [f"{INTERCEPT} + (0 + x | arm)"],
    ),
    "the intercept as a component": (
        'smf.mixedlm("y ~ x", df, groups="subject", vc_formula={"s": "1", "x": "0 + x"}).fit()',
        f"{INTERCEPT} + (0 + x | subject)",
        [],
    ),
    "combinations as groups": (
        'df["pair"] = df["subject"] + "_" + df["scenario"]\nsmf.mixedlm("y ~ x", df, groups=df["pair"]).fit()',
        NESTED,
        [],
    ),
    "uncorrelated": (
        f'{FREE}np.eye(2))\nsmf.mixedlm("y ~ x", df, groups="subject", re_formula="~x").fit(free=free, method="bfgs")',
        f"{INTERCEPT} + (0 + x | subject)",
        [],
    ),
    "free, to which the optimizer is deaf": (
        f'{FREE}np.eye(2))\nmodel = smf.mixedlm("y ~ x", df, groups="subject", re_formula="~x")\n'
        'model.fit(free=free, method="powell")',
        "(1 + x | subject)",
        ["(1 + x || subject)"],
    ),
    "blocks": (
        f"{FREE}np.array([[1, 1, 0], [1, 1, 0], [0, 0, 1]]))\n"
        'smf.mixedlm("y ~ x", df, groups="subject", re_formula="~x + z").fit(free=free, method="bfgs")',
        "(1 + x | subject) + (0 + z | subject)",
        [],
    ),
    "arrays": (
        'X = sm.add_constant(df[["x"]])\nsm.MixedLM(df["y"], X, groups=df["subject"], exog_re=X).fit()',
        "(1 + x | subject)",
        [],
    ),
    "a constant text, no correlated effects, and text as categories": (
        'df["all"] = "all"\n'
        'vc = {"s": "0+subject", "i": "-1 + C(scenario)"}\n'
        'smf.mixedlm("y ~ x", df, groups="all", vc_formula=vc, re_formula="0").fit()',
        "(1 | scenario) + (1 | subject)",
        [],
    ),
    "groups of two columns": (
        'smf.mixedlm("y ~ x", df, groups=df["subject"].str.cat(df["scenario"])).fit()',
        NESTED,
        [],
    ),
    "exog_re beside a formula, which is ignored": (
        'smf.mixedlm("y ~ x", df, groups=pd.factorize(df.subject)[0], exog_re=df[["x"]]).fit()',
        INTERCEPT,
        ["(0 + x | subject)"],
    ),
    "a session with prompts": (
        '>>> df["Intercept"] = 1\n>>> exog = df[["Intercept", "x"]]\n'
        '>>> sm.MixedLM(df["y"], exog, df["subject"], exog_re=exog["Intercept"]).fit()',
        INTERCEPT,
        [],
    ),
    "arrays without ones": (
        'sm.MixedLM(df["y"], sm.add_constant(df["x"]), df["subject"], exog_re=df["x"]).fit()',
        "(0 + x | subject)",
        ["(1 + x | subject)"],
    ),
}


def ran(code: str, df: pd.DataFrame):
    """What the code's last line gives, by MixedLM itself."""
    import statsmodels.api as sm
    import statsmodels.formula.api as smf
    from statsmodels.regression.mixed_linear_model import MixedLMParams

    room = {"df": df.copy(), "np": np, "pd": pd, "sm": sm, "smf": smf, "MixedLMParams": MixedLMParams}
    *before, last = code.replace(">>> ", "").split("\n")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        exec("\n".join(before), room)
        return eval(last, room), room["df"]


FIXED = {
    "a spline and functions": "y ~ x + bs(z, df = 4) + sin(2 * 3.141592653589793 * x)",
    "other codings": "y ~ x + C(factor(arm), contr.sum)",
}


@pytest.mark.parametrize("kind", CALLS)
def test_a_call_fits_the_formula_that_is_stated(kind, df):
    """By its text, and by its result; MixedLM's log-likelihood is that of the formula, at the point where it ended."""
    code, random, meant = CALLS[kind]
    reading = statsmodels.explained(code, df)
    fixed = FIXED.get(kind) or ("y ~ 1 + x" if "sm.MixedLM" in code else "y ~ x")
    assert (reading.formula, reading.problem) == (f"{fixed} + {random}", "")
    assert [one.formula for one in reading.meant] == [f"{fixed} + {one}" for one in meant]

    result, frame = ran(code, df)
    model, _ = model_of(frame, reading.formula, reading.method, None, "data")
    fit = statsmodels.from_native(result, model)
    assert fit.violation is None
    assert recomputed(fit, Likelihood(model.design, model.reml)) == pytest.approx(fit.loglik, rel=0, abs=1e-6)
    assert reading.holds(model)

    other = statsmodels.explained(result, df if "sm.MixedLM" in code else None)
    shown = other.formula.replace("(1 | pair)", NESTED)  # the object has the column that the code made
    assert (sorted(terms(shown)), other.method) == (sorted(terms(reading.formula)), reading.method)
    assert other.holds(model)


def terms(formula: str) -> list[str]:
    """The random terms of a formula."""
    return re.findall(r"\([^()]*(?:\([^()]*\)[^()]*)*\|[^()]*\)", formula)


# Calls that lme4 has no formula for, with words of the reason and the nearest formulas.
REFUSED = {
    'smf.mixedlm("y ~ x", df, groups="subject", re_formula="1", vc_formula={"s": "C(scenario)"})': (
        "without 0 + makes an intercept and contrasts",
        [f"{INTERCEPT} + {NESTED}", CROSSED],
    ),
    'smf.mixedlm("y ~ x", df, groups="subject", vc_formula={"x": "x"})': (
        "the intercept and x share one variance",
        [f"{INTERCEPT} + (0 + x | subject)"],
    ),
    'smf.mixedlm("y ~ x", df, groups="subject", re_formula="1", vc_formula={"x": "0 + center(x)"})': (
        "evaluated per group: center(...) in 'x' takes its mean or its range from the rows of one subject",
        [f"{INTERCEPT} + (0 + scale(x, scale = FALSE) | subject)"],
    ),
    f"{FREE}np.array([[1, 1, 1], [1, 1, 0], [1, 0, 1]]))\n"
    'smf.mixedlm("y ~ x", df, groups="subject", re_formula="~x + z").fit(free=free)': (
        "holds some covariances and leaves others (z and x held)",
        ["(1 + x + z | subject)"],
    ),
    f'{FREE}np.array([[1, 0], [0, 0]]))\nsmf.mixedlm("y ~ x", df, groups="subject", re_formula="~x").fit(free=free)': (
        "holds a variance where the search starts",
        [f"{INTERCEPT} + (0 + x | subject)"],
    ),
    f'{FREE}np.eye(2))\nsmf.mixedlm("y ~ x", df, groups="subject", re_formula="~C(arm)").fit(free=free)': (
        "lme4's || keeps a factor's effects correlated",
        ["(1 + factor(arm) | subject)"],
    ),
    'smf.mixedlm("y ~ x", df, groups=df[["subject", "scenario"]])': (
        "MixedLM takes one grouping column, and stops at 2",
        [CROSSED, NESTED],
    ),
    'smf.mixedlm("y ~ x", df, groups="one", re_formula="1", vc_formula={"s": "0 + C(subject)"})': (
        "lme4 takes no grouping factor of one level",
        [INTERCEPT],
    ),
    'smf.mixedlm("y ~ x + (1|subject)", df, groups="subject")': (
        "Python's bitwise or and no random term",
        ["(1|subject)"],
    ),
    'smf.mixedlm("y ~ x", df, groups="subject", re_formula="~x|subject")': ("groups= has the groups", ["(x|subject)"]),
    'smf.mixedlm("y ~ x", df, groups="subject").fit_regularized()': ("the likelihood is penalized", [INTERCEPT]),
    'smf.mixedlm("y ~ x", df, groups="subject", re_formula="1", vc_formula={"s": "0 + C(subject)"})': (
        "the call has (1 | subject) twice",
        [INTERCEPT],
    ),
    'smf.mixedlm("y ~ x", df, groups=np.ones(len(df)))': ("no random effect that could be told", []),
}


@pytest.mark.parametrize("code", REFUSED)
def test_what_lme4_has_no_formula_for_is_said_by_name_with_the_nearest(code, df):
    words, nearest = REFUSED[code]
    reading = statsmodels.explained(code, df)
    assert reading.formula is None and words in reading.problem
    assert [one.formula for one in reading.meant] == [f"y ~ x + {one}" for one in nearest]


def test_components_that_share_a_variance_are_another_model_than_the_nearest(df):
    """MixedLM's own log-likelihoods: where one is said to be no formula of lme4, it is not the nearest one's either."""
    for code in list(REFUSED)[:3]:
        result, frame = ran(f"{code}.fit(method='bfgs')", df)
        nearest = statsmodels.explained(code, df).meant[0].formula
        model, _ = model_of(frame, nearest, "REML", None, "data")
        top = Likelihood(model.design, True).optimum().loglik
        assert abs(top - result.llf) > 1e-3


UNREADABLE = {
    'smf.mixedlm("y ~ x", df, groups="subject"': "the code does not parse as Python",
    'smf.mixedlm("y ~ x +", df, groups="subject")': "MixedLM's own reader of formulas refuses it",
    'smf.mixedlm(f"y ~ {x}", df, groups="subject")': "no text that can be read without running it",
    'smf.mixedlm("y ~ x", df, groups="subject", re_formula="%")': "refuses it",
    'smf.mixedlm("y ~ x", df, groups="subject", vc_formula={"a": "0 + C(x > 0)"})': "make it one of the table first",
    'smf.mixedlm("y ~ C(class)", df, groups="subject")': "class is a word of Python's, write Q('class')",
    'smf.mixedlm("y ~ Petal.Length", df, groups="subject")': "MixedLM stops: write Q('Petal.Length')",
    'smf.mixedlm("y ~ x", df)': "the call has no groups",
    'smf.mixedlm("y ~ x", df, groups="subjet")': "the table has no column 'subjet'",
    'smf.mixedlm("y ~ x", df, groups="subject", weights=df.z)': "MixedLM has no argument weights",
    'smf.mixedlm("y ~ x", df, groups=pick(df))': "no column that can be read without running the code",
    'smf.mixedlm("y ~ x", df, groups="subject", vc_formula=make())': "cannot be read without running it",
    'smf.mixedlm("y ~ x", df, groups="subject").fit(free=make())': "free=make() cannot be read",
    'smf.mixedlm("y ~ x", df, groups="subject", subset=df.x > 0)': "subset the table first",
    'a = smf.mixedlm("y ~ x", df, groups="subject")\nb = smf.mixedlm("y ~ x", df, groups="ward")': "2 calls of MixedLM",
    "smf.mixedlm(" + "(" * 500: "the code does not parse as Python",
    "mixedlm" + " " * 30_000: "the code is too long",
}


@pytest.mark.parametrize("code", UNREADABLE)
def test_a_call_that_cannot_be_read_is_refused_in_one_line(code, df):
    with pytest.raises(CallError, match=re.escape(UNREADABLE[code])) as error:
        statsmodels.explained(code, df)
    assert "\n" not in str(error.value)


def test_code_is_read_and_never_run(df, tmp_path):
    """Neither the statements, nor a formula, nor a name in one; patsy would run what stands in a formula."""
    marker = tmp_path / "ran"
    run = f"__import__('pathlib').Path({str(marker)!r}).touch()"
    for code in (
        f'{run}\nsmf.mixedlm("y ~ x", df, groups="subject")',
        f'smf.mixedlm("y ~ x + {run}", df, groups="subject")',
        f'smf.mixedlm("y ~ x", df, groups="subject", re_formula="1 + {run}")',
        f'smf.mixedlm("y ~ x + C(arm.astype({run}))", df, groups="subject")',
        f'smf.mixedlm("y ~ x + C(arm, levels={run})", df, groups="subject")',
        f'smf.mixedlm("y ~ x + C(arm, Treatment({run}))", df, groups="subject")',
        f'smf.mixedlm("y ~ x + bs(x, df={run}) + np.log({run})", df, groups="subject")',
        f'smf.mixedlm("y ~ Q(x.astype({run}))", df, groups="subject")',
        f'smf.mixedlm("y ~ x", df, groups="subject", vc_formula={{"x": "0 + {run}"}})',
    ):
        try:
            reading = statsmodels.explained(code, df)
            model, _ = model_of(df, "y ~ x + (1 | subject)", "REML", None, "data")
            reading.holds(model)
        except CallError:
            pass
        assert not marker.exists()


def test_another_formula_does_not_hold(df):
    """The check by numbers sees other groups, columns and components."""
    reading = statsmodels.explained('smf.mixedlm("y ~ x", df, groups="subject", re_formula="~x").fit()', df)
    for random in (INTERCEPT, "(1 + x | ward)", "(1 + z | subject)", f"{INTERCEPT} + (1 | scenario)"):
        assert not reading.holds(model_of(df, f"y ~ x + {random}", "REML", None, "data")[0])


def test_arguments_by_name_are_a_call_too(df):
    """Text, columns, arrays, groups as values, and a pattern of free."""
    from statsmodels.regression.mixed_linear_model import MixedLMParams

    free = MixedLMParams.from_components(np.ones(2), np.eye(2))
    pair = df["subject"] + df["scenario"]
    ones = pd.DataFrame({"const": 1.0, "x": df["x"]})
    given = {
        INTERCEPT: {"groups": "subject"},
        NESTED: {"groups": "subject:scenario"},
        f"{NESTED} ": {"groups": pair},
        "(1 | subject) + (0 + x | subject)": {"groups": df["subject"], "re_formula": "~x", "free": free},
        "(1 + x | subject)": {"groups": df["subject"].to_numpy(), "exog_re": ones},
        "(0 + x | subject)": {"groups": "subject", "exog_re": df["x"].to_numpy()},
        "(1 | scenario)": {"groups": "one", "vc_formula": {"a": "0 + C(scenario)"}},
    }
    for random, arguments in given.items():
        reading = statsmodels.explained(Given({"formula": "y ~ x", **arguments}), df)
        assert reading.formula == f"y ~ x + {random.strip()}"
        assert reading.holds(model_of(reading.frame, reading.formula, "REML", None, "data")[0])
    reading = statsmodels.explained(Given({"formula": df["y"], "exog": ones, "groups": df["ward"], "reml": False}))
    assert (reading.formula, reading.method) == ("y ~ 1 + x + (1 | ward)", "ML")
    for arguments, words in (
        ({"formula": "y ~ x"}, "groups is missing"),
        ({"groups": "subject"}, "formula is missing"),
        ({"formula": "y ~ x", "groups": "subject", "vc_formula": ["0 + x"]}, "vc_formula is a dictionary"),
        ({"formula": "y ~ x", "groups": [1, 2]}, "groups has 2 rows, and the table has 108"),
    ):
        with pytest.raises(CallError, match=words):
            statsmodels.explained(Given(arguments), df)
