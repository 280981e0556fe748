"""Formulas as people of Python write them: the columns are patsy's and R's own, and both listings make them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import patsy
import pytest

from concord import listing, r
from concord.agreement.predicted import predict
from concord.data.columns import PreparationError
from concord.data.tables import read
from concord.engines import lme4, statsmodels
from concord.likelihood.likelihood import Likelihood
from concord.models import formula as formulas
from concord.models.coding import between
from concord.models.computed import of_new
from concord.models.decimals import Columns
from concord.models.factors import factors
from concord.models.grid import grid
from concord.models.matrices import new_rows
from concord.models.of_table import model_of
from concord.models.syntax import FormulaError

N = 96
chance = np.random.default_rng(16)
TABLE = pd.DataFrame(
    {
        "g": np.repeat(list("abcdefgh"), N // 8),
        "f": chance.permutation(np.resize(list("pqr"), N)),
        "k": chance.permutation(np.resize([1, 2, 3, 10], N)),
        "t": chance.permutation(np.resize([False, True], N)),
        "x": chance.uniform(0.5, 9, N).round(2),
        "z": chance.normal(size=N).round(2),
        "my col": chance.uniform(1, 2, N).round(2),
    }
)
TABLE["y"] = TABLE["x"] ** 0.5 + TABLE["g"].map(dict(zip("abcdefgh", chance.normal(size=8), strict=True)))
own = {a + b: chance.normal() for a in "abcdefgh" for b in "pqr"}
TABLE["y"] += (TABLE["g"] + TABLE["f"]).map(own)
TABLE["y"] = (TABLE["y"] + chance.normal(size=N)).round(2)


def model(fixed: str, random: str = "(1 | g)", table: pd.DataFrame = TABLE):
    return model_of(table, f"y ~ {fixed} + {random}", "REML", "data.csv", "data")


# What is typed, which patsy reads by itself, and the fixed part that it becomes.
TYPED = {
    "C(f)": "f",
    "C(k)": "factor(k)",
    "C(f, Treatment('q'))": "f",
    "C(f, Treatment(reference='r')) * z": "f * z",
    "C(f, Treatment(1))": "f",
    "C(f, levels=['r', 'p', 'q'])": "f",
    "C(k, Treatment(1))": "factor(k)",
    "C(k, Treatment(10)) + z": "k_factor + z",
    "C(f, Sum)": 'C(f, "contr.sum")',
    "C(f, Sum) * C(k, Helmert)": 'C(f, "contr.sum") * C(factor(k), "contr.helmert")',
    "C(f, Sum(omit='q'))": 'C(f, "contr.sum")',
    "C(k, Poly):z": 'C(factor(k), "contr.poly"):z',
    "0 + C(f, Sum)": '0 + C(f, "contr.sum")',
    "C(t) + C(g)": "factor(t) + g",
    "C(t, Treatment(True))": "t_factor",
    "np.log(x) + np.exp(z) + np.sqrt(x) + np.log10(4 + z)": "log(x) + exp(z) + sqrt(x) + log10(4 + z)",
    "np.square(x) + np.power(z, 3)": "I(x^2) + I(z^3)",
    "np.sin(2*np.pi*x/24) + np.cos(2*np.pi*x/24)": "sin(2 * 3.141592653589793 * x/24) + "
    "cos(2 * 3.141592653589793 * x/24)",
    "bs(x, df=4):z + bs(x, df=3)": "(bs_x_1 + bs_x_2 + bs_x_3 + bs_x_4):z + bs_x_b_1 + bs_x_b_2 + bs_x_b_3",
    "center(x)": "scale(x, scale = FALSE)",
    "center(np.log(x)) + standardize(z)": "scale(log(x), scale = FALSE) + standardize_z",
    "scale(z) + standardize(x, ddof=1)": "scale(z) + scale(x)",
    'Q("my col") + z:Q("my col")': "`my col` + z:`my col`",
    "x**2": "x**2",
    "(x + z)**2": "(x + z)**2",
    "I(x**2)": "I(x**2)",
    "bs(x, df=4)": "bs_x_1 + bs_x_2 + bs_x_3 + bs_x_4",
    "bs(x, knots=[3, 5], degree=2)": "bs_x_1 + bs_x_2 + bs_x_3 + bs_x_4",
    "f:bs(x, df=3, lower_bound=0, upper_bound=10) + bs(z, df=3)": "f:(bs_x_1 + bs_x_2 + bs_x_3) + bs_z_1 + bs_z_2 + "
    "bs_z_3",
    "0 + bs(x, df=4, include_intercept=True)": "0 + bs_x_1 + bs_x_2 + bs_x_3 + bs_x_4",
    "0 + cr(x, df=4)": "0 + cr_x_1 + cr_x_2 + cr_x_3 + cr_x_4",
    "0 + cr(x, knots=[2, 4], lower_bound=0, upper_bound=10)": "0 + cr_x_1 + cr_x_2 + cr_x_3 + cr_x_4",
    "cr(x, df=3, constraints='center')*f": "(cr_x_1 + cr_x_2 + cr_x_3) * f",
}
# The same space in other columns: R has indicators where patsy has a mean; and its scale() divides by n - 1.
RECODED = ("0 + C(f, Sum)", "scale(z) + standardize(x, ddof=1)", "C(k, Poly):z")


@pytest.mark.parametrize("typed", TYPED)
def test_the_columns_are_those_that_patsy_makes_of_what_was_typed(typed):
    """patsy by what was typed, and R by what Concord made of it, have the same matrix."""
    made, _ = model(typed)
    assert made.formula.text == f"y ~ {TYPED[typed]} + (1 | g)"
    own = np.asarray(patsy.dmatrix(typed, TABLE), float)
    T = between(own, made.design.X)
    assert T is not None, "another space"
    assert np.isin(T, (0.0, 1.0)).all() == (typed not in RECODED)


BY_R = {
    "ns(x, df = 3)": "splines::ns(d$x, df = 3)",
    "splines::ns(x, knots = c(3, 5), Boundary.knots = c(0, 10))": "splines::ns(d$x, knots = c(3, 5), "
    "Boundary.knots = c(0, 10))",
    "0 + ns(x, df = 4, intercept = TRUE)": "splines::ns(d$x, df = 4, intercept = TRUE)",
    "bs(x, df = 5)": "splines::bs(d$x, df = 5)",
    "bs(x)": "splines::bs(d$x)",
    "bs(x, 4, degree = 2)": "splines::bs(d$x, 4, degree = 2)",
    "relevel(factor(k), ref = '3')": "model.matrix(~relevel(factor(d$k), ref = '3'))[, -1]",
    "relevel(f, 'r')": "model.matrix(~relevel(factor(d$f), 'r'))[, -1]",
    "C(f, contr.sum)": "model.matrix(~C(factor(d$f), contr.sum))[, -1]",
    "C(f, contr.helmert)": "model.matrix(~C(factor(d$f), contr.helmert))[, -1]",
}


def by_r(code: str, table: pd.DataFrame = TABLE) -> np.ndarray:
    """A matrix that R makes of the table ``d``."""
    evaluate = r.call("eval", r.call("str2lang", f"function(d) {{{code}}}"))
    return np.array(r.from_r(r.call("as.matrix", r.call(evaluate, table))), float).reshape(len(table), -1)


@pytest.mark.parametrize("typed", BY_R)
def test_the_columns_are_those_that_r_makes_of_what_was_typed(typed):
    """Splines, baselines and codings by R's own functions on R's own table."""
    X = model(typed)[0].design.X
    X = X if typed.startswith("0") else X[:, 1:]
    np.testing.assert_allclose(X, by_r(BY_R[typed]), rtol=0, atol=1e-12)


MADE = [
    "C(k, Treatment(10))",
    "C(t, Treatment(True))",
    "standardize(x)",
    "bs(x, df=4)",
    "bs(x, knots=[3, 5], degree=2, upper_bound=10)",
    "ns(x, df=3)",
    "ns(x, knots=[2, 4], intercept=True) - 1",
    "ns(x, df=3, lower_bound=0, upper_bound=10)",
    "cr(x, df=4) - 1",
    "cr(x, df=4, constraints='center')",
    "cr(k, df=3, lower_bound=1, upper_bound=12, constraints='center')",
]


@pytest.mark.parametrize("typed", MADE)
def test_the_statements_of_r_make_the_columns_that_concord_made(typed):
    """What a listing has R compute is what all engines were given."""
    made, _ = model(typed)
    (computed,) = made.made
    names = ", ".join(f'"{name}"' for name in computed.columns)
    as_number = "function(column) as.numeric(as.logical(column))" if "Treatment(True)" in typed else "as.numeric"
    got = by_r("; ".join([*computed.r("d"), f"as.matrix(sapply(d[c({names})], {as_number}))"]))
    own = made.frame[list(computed.columns)].astype(object).replace({"TRUE": 1, "FALSE": 0}).astype(float)
    np.testing.assert_allclose(got, own, rtol=0, atol=1e-12)


ALL = "C(f, Treatment('q'))*ns(x, df=2) + C(k, Sum) + C(k, Treatment(3)):z + standardize(Q('my col')) + np.sin(np.pi*x)"


def test_both_listings_fit_what_concord_fits(tmp_path, monkeypatch):
    """The code as it is pasted, on a file of the table with gaps, has the log-likelihood of Concord's own fits."""
    table = TABLE.mask(pd.DataFrame(np.arange(N)[:, None] % 31 == np.arange(8) + 3, columns=TABLE.columns))
    table["t"] = TABLE["t"]
    table.to_csv(tmp_path / "data.csv", index=False)
    monkeypatch.chdir(tmp_path)
    made, _ = model(ALL, table=read(Path("data.csv")))
    assert len(made.frame) < N - 5
    code = listing.Listings(made, "data.csv")
    room: dict = {}
    exec(code.python, room)
    by_lmer = r.call("eval", r.call("parse", text=f"local({{{code.r}\nas.numeric(logLik(fit))}})"))
    fits = [statsmodels.fit(made), lme4.fit(made)]
    assert [room["fit"].llf, r.from_r(by_lmer)[0]] == pytest.approx([fit.stated_loglik for fit in fits], abs=1e-8)
    assert fits[0].stated_loglik == pytest.approx(fits[1].stated_loglik, abs=1e-5)


def test_sums_are_compared_term_by_term_in_the_fixed_and_the_random_part():
    """patsy calls them C(f, Sum)[S.p], R C(f, "contr.sum")1: at each package's estimates, in the model's coding, the
    independent likelihood is what the package states, and lmer is given what a person gives it.
    """
    for fixed, random in (("C(f, Sum)", "(1 + C(f, Sum) | g)"), ("0 + C(f, Sum)", "(0 + C(f, Sum) | g)")):
        made, _ = model(fixed, random)
        python, by_lmer = statsmodels.fit(made), lme4.fit(made)
        for fit in (python, by_lmer):
            assert Likelihood(made.design, True).loglik(fit.parameters) == pytest.approx(fit.loglik, abs=1e-6)
        assert list(python.native.model.exog_names)[-2:] == ["C(f, Sum)[S.p]", "C(f, Sum)[S.q]"]
        typed = f"lme4::lmer(y ~ {fixed} + {random}, transform(d, f = factor(f)))".replace("Sum", "contr.sum")
        fixed_by_r = by_r(f"matrix(lme4::fixef({typed}), nrow(d), 3, byrow = TRUE)")[0]
        np.testing.assert_allclose(by_lmer.parameters.fixed, fixed_by_r, rtol=0, atol=1e-6)


def test_exact_columns_know_the_codings_and_the_circular_functions():
    """The numbers that a certificate is of, made of fractions, are the design's to the last digits."""
    made, _ = model("C(f, Sum) * C(k, Helmert) + C(k, Poly):z + np.sin(z) + np.cosh(z)")
    exact = Columns(made.formula, made.frame, made.design)
    for name, column in zip(made.design.names, made.design.X.T, strict=True):
        numbers = [
            float(number) if hasattr(number, "mid") else int(number.p) / int(number.q)
            for number in exact.of(column, name)
        ]
        np.testing.assert_allclose(numbers, column, rtol=1e-12, atol=1e-13)


SAID = {
    "C(f, Treatment('q'))": "f: the baseline is 'q', as C(f, Treatment(\"q\")) says",
    "C(k, Treatment(10))": "k_factor: the baseline is 10, as C(k, Treatment(10)) says",
    "np.log(x)": "np.log(x) is read as log(x)",
    "x**2": "x^2 is x itself, a power of terms; I(x^2) is the power of the number",
    "ns(x, df=2)": "ns(x, df = 2) is read as ns_x_1 + ns_x_2",
}


@pytest.mark.parametrize("typed", SAID)
def test_what_was_read_as_what_is_said(typed):
    assert model(typed)[1] == (SAID[typed],)


def test_the_baseline_is_the_first_level_also_of_an_ordered_factor_and_where_rows_are_left_out():
    """C() is a factor of treatments in Python, whatever the order; a level without rows is no baseline."""
    table = TABLE.assign(f=pd.Categorical(TABLE["f"], list("rpq"), ordered=True))
    assert model("C(f, Treatment('p'))", table=table)[0].design.names == ("(Intercept)", "fr", "fq")
    assert model("C(f)", table=table)[0].design.names == ("(Intercept)", "fp", "fq")
    with pytest.raises(PreparationError, match="factor 'f' has no level 'q': its levels are r, p"):
        model("C(f, Treatment('q'))", table=table.assign(x=TABLE["x"].mask(TABLE["f"] == "q")).dropna())


REFUSED = {
    "C(f, Treatment('s'))": "factor 'f' has no level 's': its levels are p, q, r",
    "C(f, levels=['p', 'q'])": "factor 'f' has a level 'r' that the formula does not list",
    "C(f, Treatment('q')) + C(f, Treatment('r')):z": "f has another order of levels elsewhere: one is for all",
    "C(f, Diff)": "no such coding in both languages; write C(x), C(x, Treatment('level')), C(x, Sum)",
    "C(f + k)": "C takes a column: make one first",
    "C(f, how)": "no such coding in both languages",
    "Q(x)": 'Q takes the name of a column in quotes, as in Q("my column")',
    "bs(f, df=4)": "bs(f, df=4): column 'f' is a factor, where a number is needed",
    "bs(x, df=z)": "write bs(x, df = 4), with knots, degree, intercept and Boundary.knots as numbers",
    "bs(x, df=2)": "write bs(x, df = 4)",
    "bs(x, df=1e9)": "write bs(x, df = 4)",
    "ns(x, df=4, upper_bound=5)": "column 'x' has values outside of the bounds: widen them",
    "ns(x)": "write ns(x, df = 3)",
    "ns(np.log(x), df=3)": "ns takes a column: make one of its argument first",
    "(z + bs(x, df=4))**2": "which is 4 columns, may not stand in a power: write the terms out",
    "np.log(bs(x, df=4))": "which is 4 columns, may not stand inside a function: write the terms out",
    "standardize(x, ddof=2)": "write scale(x, center, scale) for others",
    "np.power(x)": "power takes other arguments; make a column of it first",
    "s(x)": "s may not stand in a formula: a smooth has a penalty, which is another model; write bs, ns or cr",
    "cc(x, df=4)": "a cyclic spline has no like in R's own packages; write sin(2*pi*x/period)",
    "f[T.q]": "[ may not stand in a formula: a column or factor stands there whole",
    "pd.cut(x, 3)": "make a column of it first, a factor in the table",
    "I(x > 3)": "> may not stand in a formula: make a column of it first",
    "np.round(x)": "np.round may not stand in a formula: make a column of it first, or write C, Q, np.log",
    "'x'": '"x" may not stand in a formula: names of columns have no quotes, or backticks',
    "bs(x, df=system('true'))": "write bs(x, df = 4), with knots",
    "C(f, Treatment(system('true')))": "a level is a text in quotes or a number",
}


@pytest.mark.parametrize("typed", REFUSED)
def test_what_is_refused_says_in_one_line_what_to_write(typed):
    with pytest.raises((FormulaError, PreparationError)) as caught:
        model(typed)
    assert REFUSED[typed] in str(caught.value) and "\n" not in str(caught.value)


def test_a_spline_beside_a_double_bar_and_a_name_that_is_taken_are_refused():
    with pytest.raises(FormulaError, match=r"may not stand beside \|\|, which has no correlations"):
        model("x", "(bs(x, df=4) || g)")
    with pytest.raises(FormulaError, match="would make a column 'ns_x_1', which there is: rename that one"):
        model("ns(x, df=2)", table=TABLE.assign(ns_x_1=1.0))
    with pytest.raises(FormulaError, match="a baseline of f would change the order of its levels in a structured"):
        model("x", "ar1(0 + C(f, Treatment('q')) | g)")


def test_without_a_table_what_needs_none_is_read_and_what_needs_one_says_so():
    assert formulas.parse("np.log(y) ~ C(x) + center(z) + (1 | C(g))").fixed == "factor(x) + scale(z, scale = FALSE)"
    for text in ("y ~ bs(x, df=4) + (1 | g)", "y ~ C(f, Treatment('q')) + (1 | g)"):
        with pytest.raises(FormulaError, match="this takes a table, whose columns are made or ordered for it"):
            formulas.parse(text)


def test_names_with_brackets_and_commas_in_them_stay_names():
    """Python's lists become R's vectors in the place of an argument, never inside of quotes."""
    table = TABLE.rename(columns={"my col": "a, [1]"})
    assert model('Q("a, [1]")', table=table)[0].design.names == ("(Intercept)", "`a, [1]`")


def test_the_factors_are_told_with_their_codings_baselines_and_levels():
    """Of what was typed: text and numbers, in treatments with a baseline of choice, and in sums."""
    coded = factors(model("C(f, Treatment('q')) + C(k, Sum) + C(k, Treatment(10)):z + t")[0])
    assert [(one.name, one.baseline, one.levels) for one in coded] == [
        ("f", "q", ("q", "p", "r")),
        ("k", "", ("1", "2", "3", "10")),
        ("k_factor", "10", ("10", "1", "2", "3")),
        ("t", "FALSE", ("FALSE", "TRUE")),
    ]
    assert coded[0].told == "3 levels, in the order q, p, r; treatments, baseline q"
    assert coded[1].told.endswith("; sums: each level but the last is held to the mean of all")


NEW = pd.DataFrame({"g": ["a", "b", "z"], "x": [2.3, 5.55, 7.1], "k": [10, 2, 3], "z": [0.1, -0.7, 1.2]})


@pytest.mark.parametrize(
    "typed",
    [
        "standardize(x)",
        "bs(x, df=5)",
        "bs(x, knots=[3, 5], degree=2, upper_bound=10)",
        "0 + cr(x, df=4)",
        "cr(x, df=3, constraints='center')",
        "C(k, Treatment(10))",
    ],
)
def test_new_rows_have_the_columns_that_patsy_makes_of_them(typed):
    """By the knots, means and deviations of the table that was fitted, which patsy keeps in its own way."""
    made, _ = model(typed)
    table = of_new(made.frame, made.made, NEW)
    rows = new_rows(made.formula, made.design, made.frame, table)
    kept = patsy.dmatrix(typed, TABLE).design_info
    np.testing.assert_allclose(rows.X, patsy.build_design_matrices([kept], NEW)[0], rtol=0, atol=1e-10)


def test_predictions_for_new_rows_and_means_are_those_of_rs_splines():
    """lmer with ns() in its own formula predicts the same; the grid has the spline of the mean, not its mean."""
    made, _ = model("ns(x, df=3)")
    assert list(grid(made).means) == ["x"]
    predicted = predict({"r": lme4.fit(made)}, NEW, random=False)["r"]
    new = f"data.frame(x = c(2.3, 5.55, 7.1, {grid(made).means['x']!r}))"
    fit = "lme4::lmer(y ~ splines::ns(x, df = 3) + (1 | g), d)"
    own = by_r(f"rep(predict({fit}, {new}, re.form = NA), length.out = nrow(d))")[:4, 0]
    np.testing.assert_allclose(predicted, own[:3], rtol=0, atol=1e-6)
    np.testing.assert_allclose(grid(made).rows.X[0] @ lme4.fit(made).parameters.fixed, own[3], rtol=0, atol=1e-6)
    with pytest.raises(PreparationError, match=r"ns\(x, df=3\): 'x' has values outside of"):
        predict({"r": lme4.fit(made)}, NEW.assign(x=99.0))
