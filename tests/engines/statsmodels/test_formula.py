"""Translation: what MixedLM is given for an lme4 formula, and that it is the same model."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest

from concord.engines.engine import CannotExpress, EngineError
from concord.engines.statsmodels.result import _components
from concord.models.coding import between
from support.translated import LME4, MIXEDLM, NLME, TABLE, N, built, form

HOSTILE = 'x")+__import__("os").system("touch MARKER'


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
    "a factor in a factor": (
        "nlme::Machines",
        "score ~ Machine + (1 | Worker/Machine)",
        ("Worker", "1", {"Machine:Worker": "0 + C(Machine.astype(object))"}),
    ),
    "a factor's effects": ("nlme::Machines", "score ~ Machine + (0 + Machine | Worker)", ("Worker", "0 + Machine", {})),
    "split plot": (
        "nlme::Oats",
        "yield ~ nitro + Variety + (1 | Block/Variety)",
        ("Block", "1", {"Variety:Block": "0 + C(Variety.astype(object))"}),
    ),
    "an interaction": (
        "lme4::cake",
        "angle ~ recipe * temperature + (1 | recipe:replicate)",
        ("recipe_replicate", "1", {}),
    ),
    "slopes of two factors": (
        None,
        "y ~ x + (z || g) + (0 + z | gb)",
        ("g", "1", {"g z": "0 + z", "gb z": "0 + C(gb.astype(object)):z"}),
    ),
    "correlated, and more": (
        None,
        "y ~ z + (z | g) + (0 + log(z) | g:b)",
        ("g", "z", {"g:b np.log(z)": "0 + C(b):np.log(z)"}),
    ),
    "scaled within groups": (
        None,
        "y ~ x + (1 | g) + (0 + scale(z) | gb)",
        ("g", "1", {"gb scale_z": "0 + C(gb.astype(object)):scale_z"}),
    ),
    "crossed, with their interaction": (
        "nlme::Machines",
        "score ~ 1 + (1 | Worker) + (1 | Machine) + (1 | Worker:Machine)",
        (
            None,
            None,
            {"Worker": "0 + C(Worker)", "Machine": "0 + C(Machine)", "Worker:Machine": "0 + C(Worker):C(Machine)"},
        ),
    ),
}


@pytest.mark.parametrize("kind", RANDOM)
def test_random_terms_become_groups_and_components_of_the_same_model(kind, r_table, make_model):
    """The form is the expected one, and tuned fits of both packages reach one log-likelihood and one set of numbers."""
    table, formula, expected = RANDOM[kind]
    model = make_model(TABLE if table is None else r_table(table), formula)
    made = form(model)
    assert (made.group, made.re_formula, made.vc_formula) == expected
    ours, theirs = MIXEDLM.fit(model, "tuned"), LME4.fit(model, "tuned")
    assert ours.loglik == pytest.approx(theirs.loglik, rel=0, abs=1e-6)
    for mine, other in zip(ours.covariances, theirs.covariances, strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(ours.fitted, ours.native.fittedvalues, rtol=1e-10)
    both = ours.random_effects.merge(theirs.random_effects, on=["group", "level", "term"], validate="one_to_one")
    assert len(both) == len(ours.random_effects) == len(theirs.random_effects)
    np.testing.assert_allclose(both["estimate_x"], both["estimate_y"], rtol=1e-3, atol=2e-3)
    np.testing.assert_allclose(both["std_error_x"], both["std_error_y"], rtol=1e-2, atol=1e-3)


SAME_GROUPS = {
    "(1 | number)": "number",
    "(1 | factor(number))": "number",
    "(1 | half)": "half",
    "(1 | no)": "no",
    "(1 | side/g)": "side",
    "(1 | number/b)": "number",
    "(1 | g:b)": "g_b",
    "(1 | gb) + (1 | no)": "no",
    "(1 | side) + (1 | flag)": None,
    "(z || g) + (z || gb)": "g",
    "(f || g)": "g",
    "(1 | g/b) + (1 | k)": None,
    "(x:z - 1 | gb) + (1 | g)": "g",
    "(1 + o | g)": "g",
    "(1 | b:k) + (1 | g)": None,
}


@pytest.mark.parametrize("random", SAME_GROUPS)
def test_groups_of_every_kind_of_column_are_the_designs(random, make_model):
    """Integers, fractions, truth values, strings such as "None" and combinations: each component is the term's."""
    model = make_model(TABLE, f"y ~ x + {random}")
    assert form(model).group == SAME_GROUPS[random]
    made = built(model)
    matched = {each.term for each in _components(made, model)}
    rest = [term for i, term in enumerate(model.design.terms) if i not in matched]
    columns = np.column_stack([np.empty((N, 0)), *(term.matrix for term in rest)])
    given = made.exog_re if made.k_re else columns[:, :0]
    assert between(np.asarray(given), columns) is not None
    assert len(matched) == made.k_vc


def test_a_component_of_something_else_is_refused(make_model):
    """A factor that is split by the groups, other columns, and a component too many are not terms of the model."""
    import statsmodels.formula.api as smf

    model = make_model(TABLE, "y ~ x + (1 | g) + (1 | gb) + (0 + z | gb)")
    right = {"a": "0 + C(b)", "b": "0 + C(b):z"}
    cases = {"a": {**right, "a": "0 + C(h)"}, "b": {**right, "b": "0 + C(b):x"}, "c": {**right, "c": "0 + C(b):x"}}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, components in {"": right, **cases}.items():
            made = smf.mixedlm("y ~ x", TABLE, groups=TABLE["g"], re_formula="1", vc_formula=components)
            if not name:
                assert [each.term for each in _components(made, model)] == [1, 2]
                continue
            with pytest.raises(EngineError, match=f"variance components '{name}' is not a term of made-model"):
                _components(made, model)


def test_a_component_in_another_unit_is_carried_back(make_model):
    """With the slope's predictor in hundredths, variance and effects come out in the model's unit."""
    model = make_model(TABLE, "y ~ x + (1 | g) + (0 + z | gb)", "ML")
    frame = TABLE.assign(z=TABLE["z"] * 100)
    given, scaled = MIXEDLM.fit_by(model, "bfgs"), MIXEDLM.fit_by(model, "bfgs", frame)
    assert scaled.native.vcomp[0] < given.native.vcomp[0] / 1000
    np.testing.assert_allclose(scaled.covariances[1], given.covariances[1], rtol=1e-2)
    assert scaled.loglik == pytest.approx(given.loglik, rel=0, abs=1e-3)
    ours, theirs = (each.random_effects.set_index(["group", "term", "level"])["estimate"] for each in (scaled, given))
    np.testing.assert_allclose(ours, theirs[ours.index], rtol=0, atol=0.02)


# ---- the fixed part ------------------------------------------------------------------------------------------------

FIXED = """
x | f | f + x | x * f | 0 + f | 0 + x | 0 + f + x | 0 + x + f | 0 + f:x | f:x | x + f:x | f * b | 0 + f * b | f/x | x/f
(f + x + b)^2 | (f + x)^2 - f:x | f * x - 1 | -1 + f | x + f - f | 1 | 0 + f:b | f + b %in% f | x + 0 | f * b - f
x + -x | -1 + x | x - z | (x + z)^2 - x:z | x + 0 + 1 | (x - 1) * f | x %in% f | f * b - b - 1 | x + I(2 * x)
s | s * x | flag | 0 + flag | flag * f | o | o * x | o * f | unused | unused * x | x * f * b | x * z + x:z:f
factor(k) | as.factor(k) * x | factor(s) | factor(f) | factor(o) | factor(flag) | factor(unused)
log(x) | log(x, 2) | log(z, base = 10) | log2(x) + log10(x) + log1p(x) + exp(x) + expm1(x) + sqrt(x) + abs(x)
I(x^2) | I(1/x) + I(x/z) | I(2 * x - 1) | I(2^k) | I(k^-1) | I(k^15) | I(k^30) | I(-x^2) | I((x + z)^2) | I(flag + 1)
I(x * flag) | exp(flag) | sqrt(x + z) | log(x) * f | I(x^2) - 1 | I(x)
scale(x) | scale(x, scale = FALSE) | scale(x, center = FALSE) | scale(x, 2, 3) | scale(x, center = -2) | scale(log(x))
scale(x) * f | I(scale(x)^2) | scale(k) + scale(x) + scale(x, FALSE)
poly(x, 2) | poly(x, 3) | poly(x, degree = 2) * f | poly(x, 2, raw = TRUE) | poly(x, 2, raw = TRUE):f | poly(x)
(poly(x, 2) + f)^2 | poly(log(x), 2) | poly(k, 3, raw = TRUE) | poly(x, 2) + poly(z, 2)
"""
FIXED = [each.strip() for each in FIXED.replace("\n", "|").split("|") if each.strip()]


@pytest.mark.parametrize("fixed", FIXED)
def test_fixed_effects_are_the_designs_columns(fixed, make_model):
    """MixedLM's X has R's columns, with R's contrasts and baselines, in another order at most; and R's response."""
    model = make_model(TABLE, f"y ~ {fixed} + (1 | g)")
    made = built(model)
    T = between(np.delete(made.exog, list(form(model).left_out), axis=1), model.design.X)
    assert T is not None and np.isin(T, (0.0, 1.0)).all()
    np.testing.assert_array_equal(made.endog, model.design.y)


@pytest.mark.parametrize("fixed", ["0 + o", "o + 0 + x", "0 + f:o"])
def test_a_coding_that_patsy_has_not_is_carried_back(fixed, make_model):
    """Without an intercept R codes an ordered factor by its levels and patsy by polynomials: the shift is named."""
    model = make_model(TABLE, f"y ~ {fixed} + (1 | g)")
    ours, theirs = MIXEDLM.fit(model, "tuned"), LME4.fit(model, "tuned")
    assert abs(ours.shift) > 0.1
    assert ours.loglik == pytest.approx(theirs.loglik, rel=0, abs=1e-6)
    np.testing.assert_allclose(ours.fixed, theirs.fixed, rtol=1e-4)


@pytest.mark.parametrize(
    "text",
    [
        "log(y + 5) ~ poly(x, 2) + scale(z) + (1 | g)",
        "y ~ o + factor(k) + s + (1 | g)",
        "y ~ 0 + f + I(x^2) + (1 + log(z) | g)",
        "y ~ x + offset(log(z)) + offset(k) + (1 | g/b)",
        "scale(y) ~ (f + x)^2 + (0 + scale(z, center = FALSE) | g) + (1 | g)",
        "y + x ~ b %in% f + f + (1 | g) + (1 | h)",
        "y - x ~ offset(k - z) + (1 | g)",
    ],
)
@pytest.mark.parametrize("method", ["REML", "ML"])
def test_whatever_is_combined_reaches_one_likelihood(text, method, make_model):
    """MixedLM, lme4 and, where it can, nlme reach the same log-likelihood, fixed effects and variances."""
    model = make_model(TABLE, text, method)
    fits = [MIXEDLM.fit(model, "tuned"), LME4.fit(model, "tuned")]
    if len(form(model).vc_formula) < 2:
        fits.append(NLME.fit(model, "tuned"))
    for fit in fits:
        assert fit.loglik == pytest.approx(fits[1].loglik, rel=0, abs=1e-6), fit.engine
        np.testing.assert_allclose(fit.fixed, fits[1].fixed, rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(fit.residual_variance, fits[1].residual_variance, rtol=1e-3)


def test_an_offset_is_taken_from_the_response(make_model):
    """Design.y is the response less all offsets, and an lmer fit with another offset is refused."""
    model, without = (make_model(TABLE, f"y ~ x {offset} + (1 | g)") for offset in ("+ offset(z) + offset(k)", ""))
    np.testing.assert_array_equal(model.design.offset, TABLE["z"] + TABLE["k"])
    np.testing.assert_array_equal(model.design.y, TABLE["y"] - (TABLE["z"] + TABLE["k"]))
    assert without.design.offset is None and form(model).fixed == "I(y - z - k) ~ x"
    for model_, other in ((model, without), (without, model)):
        with pytest.raises(EngineError, match="weights or an offset"):
            LME4.from_native(LME4.fit(other).native, model_)


def test_powers_are_those_of_doubles(make_model):
    """Where integers would overflow or refuse, numpy's power of doubles stands for R's."""
    fixed = [form(make_model(TABLE, f"y ~ I({each}) + (1 | g)")).fixed for each in ("k^2", "k^30", "k^-1", "2^k")]
    assert fixed == [
        "y ~ I(k**2)",
        "y ~ I(np.float_power(k, 30))",
        "y ~ I(np.float_power(k, -1))",
        "y ~ I(np.float_power(2, k))",
    ]


def test_columns_too_many_are_left_out_as_lme4_leaves_them_out(make_model):
    """R codes f:b beside an intercept with one column too many; patsy does not, so that nothing is left out there."""
    model = make_model(TABLE, "y ~ f:b + (1 | g)")
    assert list(model.design.dropped) == ["fb:bx"] and form(model).left_out == ()
    assert MIXEDLM.fit(model).loglik == pytest.approx(LME4.fit(model).loglik, rel=0, abs=1e-6)
    twice = make_model(TABLE.assign(x2=2 * TABLE["x"]), "y ~ x + x2 + z + (1 | g)")
    assert form(twice).left_out == (2,)
    assert MIXEDLM.fit(twice).loglik == pytest.approx(LME4.fit(twice).loglik, rel=0, abs=1e-6)


# ---- names and rows ------------------------------------------------------------------------------------------------

NAMES = [
    "day 1",
    "y.a",
    "größe",
    "class",
    "for",
    "TRUE",
    "None",
    "C",
    "Q",
    "I",
    "np",
    "data",
    "a`b\\'c",
    '"',
    "_x",
    "x + 1",
    HOSTILE,
]


@pytest.fixture(scope="module")
def odd() -> pd.DataFrame:
    """The table with columns of every name beside each other, predictors and factors in turn."""
    return TABLE.assign(**{name: TABLE["x" if i % 2 else "z"] for i, name in enumerate(NAMES)})


def backticked(name: str) -> str:
    return "`" + name.replace("\\", "\\\\").replace("`", "\\`") + "`"


@pytest.mark.parametrize("name", NAMES)
def test_columns_may_have_any_name(name, odd, make_model, tmp_path, monkeypatch):
    """A name is a name in every place of a formula: as predictor, in functions, as group; and nothing of it runs."""
    monkeypatch.chdir(tmp_path)
    quoted = backticked(name)
    model = make_model(odd, f"y ~ {quoted} + log({quoted}) + factor(k) + I(x^2) + (1 | g)")
    made = built(model)
    T = between(made.exog, model.design.X)
    assert T is not None and np.isin(T, (0.0, 1.0)).all()
    grouped = make_model(odd.assign(**{name: TABLE["gb"]}), f"y ~ x + scale(z) + (1 | g) + (1 | {quoted})")
    ours, theirs = MIXEDLM.fit(grouped), LME4.fit(grouped)
    assert ours.loglik == pytest.approx(theirs.loglik, rel=0, abs=1e-3)
    assert ours.estimates["group"].tolist() == theirs.estimates["group"].tolist()
    slope = make_model(odd, f"y ~ 1 + ({quoted} | g)")
    assert between(np.asarray(built(slope).exog_re), slope.design.terms[0].matrix) is not None
    assert not list(tmp_path.iterdir())


def test_a_hostile_name_reaches_neither_language_as_code(make_model, tmp_path, monkeypatch):
    """As a slope's group in ||, which lme4 pastes into text, and in nlme, which pastes all names, it is refused."""
    monkeypatch.chdir(tmp_path)
    from concord.models import formula as formulas
    from concord.models import syntax

    in_r = "g, file.create('MARKER')"
    for name in (HOSTILE, in_r):
        with pytest.raises(syntax.FormulaError, match=r"\|\| wants a grouping column with a plain name"):
            formulas.parse(f"y ~ x + (x || {backticked(name)})")
        model = make_model(TABLE.assign(**{name: TABLE["z"]}), f"y ~ {backticked(name)} + (1 | g)")
        with pytest.raises(CannotExpress, match="nlme cannot express the variable"):
            NLME.fit(model)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("fixed", ["x", "scale(x)", "poly(z, 2)", "log(x - 2)", "unused * z"])
def test_rows_that_r_leaves_out_are_left_out_by_the_setup(fixed, make_model):
    """Missing values, and logarithms that do not exist; what R computes from a column, it does before it drops rows."""
    frame = TABLE.copy()
    frame.loc[[3, 50], "x"] = np.nan
    frame.loc[[7], "y"] = np.nan
    frame.loc[frame["unused"] == "o", "f"] = np.nan
    frame.index = np.repeat(range(N // 2), 2)  # and labels that are no row numbers
    model = make_model(frame, f"y ~ {fixed} + (1 | g) + (0 + x | g:b)")
    assert len(model.design.rows) < N - 2
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of logarithms of negative numbers
        made = built(model)
    T = between(made.exog, model.design.X)
    assert T is not None and np.isin(T, (0.0, 1.0)).all()
    assert [each.term for each in _components(made, model)] == [1]


# ---- nlme ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("random", "code"),
    [
        ("(z | g/b)", "random = list(g = ~z, b = ~z)"),
        ("(1 | gb) + (z || g)", "random = list(g = pdDiag(~1 + z), gb = ~1)"),
        ("(1 | g:b)", "data = transform(made, g_b = interaction(g, b, drop = TRUE)), random = ~1 | g_b"),
        ("(log(z) | g)", "random = ~log(z) | g"),
    ],
)
def test_nlme_fits_nested_factors(random, code, make_model):
    """Levels of grouping come outermost first; likelihood, effects and variances are lme4's."""
    model = make_model(TABLE, f"y ~ x + {random}")
    ours, theirs = NLME.fit(model), LME4.fit(model, "tuned")
    assert code in NLME.call(model) and code in ours.call
    assert ours.loglik == pytest.approx(theirs.loglik, rel=0, abs=1e-4)
    for mine, other in zip(ours.covariances, theirs.covariances, strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-2, atol=1e-3)
    both = ours.random_effects.merge(theirs.random_effects, on=["group", "level", "term"], validate="one_to_one")
    assert len(both) == len(ours.random_effects) == len(theirs.random_effects)
    np.testing.assert_allclose(both["estimate_x"], both["estimate_y"], rtol=0, atol=2e-2)


def test_uncorrelated_effects_at_the_boundary_are_found_as_variance_components(make_model):
    """Held uncorrelated by free=, MixedLM stays 4 units short of two zero variances, and gets there otherwise."""
    frame = TABLE.assign(y=np.random.default_rng(77).normal(size=N))
    model = make_model(frame, "y ~ x + (z || g)", "ML")
    ours, theirs = MIXEDLM.fit(model, "tuned"), LME4.fit(model, "tuned")
    assert ours.loglik == pytest.approx(theirs.loglik, rel=0, abs=1e-6)
    attempts = {each.optimizer: each.loglik for each in ours.attempts}
    assert list(attempts) == ["bfgs", "cg", "lbfgs", "powell on variance components", "nm on variance components"]
    assert max(list(attempts.values())[:3]) < theirs.loglik - 4
    assert 're_formula="1", vc_formula={"g z": "0 + z"}' in ours.call and "free" not in ours.call
