"""Formulas: taken apart as lme4 does, never evaluated before they are checked, and coded as lme4 codes them."""

from __future__ import annotations

import pickle

import numpy as np
import pandas as pd
import pytest

from concord import r
from concord.data import datasets
from concord.engines.engine import CannotExpress
from concord.models import formula as formulas
from concord.models import matrices, syntax
from concord.models import model as models
from concord.models.design import DesignTerm
from concord.models.formula import expression
from concord.models.syntax import FormulaError

MODELS = [model.id for model in models.every() if model.reml]

PARTS = {
    "y ~ x + (1 | g)": ("y", "x", ["(1 | g)"]),
    "y~x+(1+x|g)": ("y", "x", ["(1 + x | g)"]),
    "y ~ (1 | g)": ("y", "1", ["(1 | g)"]),
    "y ~ x + (x || g)": ("y", "x", ["(1 | g)", "(0 + x | g)"]),
    "y ~ x + (1 + x + z || g)": ("y", "x", ["(1 | g)", "(0 + x | g)", "(0 + z | g)"]),
    "y ~ 1 + (1 | a/b)": ("y", "1", ["(1 | b:a)", "(1 | a)"]),
    "y ~ x + (1 | a) + (0 + x | b)": ("y", "x", ["(1 | a)", "(0 + x | b)"]),
    "y ~ x*z + (1 | a:b)": ("y", "x * z", ["(1 | a:b)"]),
    "log(y) ~ poly(x, 2) + I(z^2) + (1 | g)": ("log(y)", "poly(x, 2) + I(z^2)", ["(1 | g)"]),
    "y ~ 0 + x + (x - 1 | g)": ("y", "0 + x", ["(x - 1 | g)"]),
    "größe ~ x + `day 1` + (1 | g)": ("größe", "x + `day 1`", ["(1 | g)"]),
    "`a b` ~ `c d` + (`c d` | g)": ("`a b`", "`c d`", ["(`c d` | g)"]),
    "y ~ x + (1 | factor(g)) + (1 | as.factor(a)/b)": ("y", "x", ["(1 | g)", "(1 | b:a)", "(1 | a)"]),
    "y ~ x + us(1 + x | g)": ("y", "x", ["(1 + x | g)"]),
    "y ~ x + diag(1 + x | g) + us(1 | h)": ("y", "x", ["(1 | g)", "(0 + x | g)", "(1 | h)"]),
    "y ~ factor(x) + offset(log(z)) + (1 | g)": ("y", "factor(x) + offset(log(z))", ["(1 | g)"]),
}


@pytest.mark.parametrize("text", PARTS)
def test_a_formula_is_taken_apart(text):
    """Response, fixed part and random terms come out as lme4 reads them; || and / are expanded."""
    response, fixed, random = PARTS[text]
    formula = formulas.parse(text)
    assert (formula.response, formula.fixed, [str(term) for term in formula.random]) == (response, fixed, random)
    assert str(formula) == text


def test_diag_of_numbers_is_the_double_bar_and_of_a_factor_refused():
    """In lme4 1 ``(f || g)`` has a matrix of all levels of f, and in lme4 2 ``diag(f | g)`` a variance of each."""
    frame = models.get("sleepstudy-random_slope").frame.assign(
        phase=lambda t: (t["Days"] > 4).map({True: "b", False: "a"})
    )
    one, other = (matrices.design(formulas.parse(f"Reaction ~ Days + {term}"), frame) for term in SAME)
    assert [(term.group, term.names) for term in one.terms] == [(term.group, term.names) for term in other.terms]
    assert all(np.array_equal(a.matrix, b.matrix) for a, b in zip(one.terms, other.terms, strict=True))
    for column in (frame["phase"], frame["phase"].astype("category"), frame["phase"] == "a"):
        with pytest.raises(
            FormulaError, match="'phase' is a factor, and diag would give each of its levels a variance"
        ):
            matrices.design(formulas.parse("Reaction ~ Days + diag(phase | Subject)"), frame.assign(phase=column))


SAME = ("diag(Days | Subject)", "(Days || Subject)")


def test_structured_terms_keep_their_columns_and_their_order():
    """What R makes the columns of is the plain term; the structure stands beside it, as lme4 2 has it by default."""
    parsed = formulas.parse("y ~ x + (1 | h) + cs(0 + f | factor(g), hom = TRUE) + ar1(x | k) + cs(x | l)")
    assert [term.structure for term in parsed.random] == ["", "homcs", "homar1", "cs"]
    assert parsed.structured == "cs(0 + f | g, hom = TRUE) + ar1(x | k) + cs(x | l)"
    assert formulas.parse("y ~ ar1(x | g, hom = FALSE)").random[0].structure == "ar1"
    assert formulas.parse("y ~ x + us(x | g)").structured == ""

    def written(structured):
        return r.from_r(r.call("deparse", formulas.expression(parsed, structured), **{"width.cutoff": 500}))[0]

    assert written(False) == "y ~ x + (1 | h) + (0 + f | g) + (x | k) + (x | l)"
    assert written(True) == "y ~ x + (1 | h) + cs(0 + f | g, hom = TRUE) + ar1(x | k) + cs(x | l)"


def test_a_formula_lists_the_columns_that_it_uses_once_each():
    """Variables are those of response, fixed and random part, functions and numbers not among them."""
    assert formulas.parse("log(y) ~ poly(x, 2) + x:z + (1 + x | a/b)").variables == ("y", "x", "z", "a", "b")


UNUSABLE = {
    "y ~ x": "it has no random term, such as (1 | group)",
    "y ~ x + (1 | g": "it does not parse: unexpected end of input",
    "y ~ x + (1 || )": "it does not parse: unexpected ')'",
    "y ~ x + (1 || g)": "(1 || g): || takes apart an intercept and slopes, and no slope is there: write (1 | g)",
    "": "it does not parse: expected one formula",
    "y ~ x + toep(x | g)": "toep structures a random term's covariance matrix: neither MixedLM nor lme4 can express it",
    "y ~ x + homcs(x | g)": "homcs structures a random term's covariance matrix: neither MixedLM nor lme4 can express",
    "y ~ x + cs(x | g, het = TRUE)": "cs takes one random term here, (columns | group), and hom = TRUE or FALSE",
    "y ~ x + ar1(x | g, TRUE)": "ar1 takes one random term here, (columns | group), and hom = TRUE or FALSE",
    "y ~ x + cs(x | g, hom = 1)": "cs takes one random term here, (columns | group), and hom = TRUE or FALSE",
    "y ~ x + cs(x) + (1 | g)": "cs takes one random term here",
    "y ~ x * ar1(1 | g)": "ar1 may not stand inside a function",
    "y ~ x + cs(x | g) + (x || h)": "x || h stands for several terms: beside cs or ar1 write them out",
    "y ~ x + cs(x | g) + diag(x | h)": "diag(x | h) stands for several terms: beside cs or ar1 write them out",
    "y ~ x + ar1(x | g/h)": "ar1(x | g/h) stands for several terms: beside cs or ar1 write them out",
    "y ~ x + diag(x | g, hom = TRUE)": "diag takes one random term here, (columns | group), and no option",
    "y ~ x + us(x) + (1 | g)": "us takes one random term here",
    "y ~ x * us(1 | g)": "us may not stand inside a function",
    "y ~ x + diag(poly(x, 2) | g)": "diag takes columns of numbers here, and poly makes several of one",
    "y": "it does not parse: expected response ~ terms",
    "~ x + (1 | g)": "it does not parse: expected response ~ terms",
    "y ~ x + (1 | g); z": "it does not parse: expected one formula",
    "y ~ I() + (1 | g)": "I takes one argument here",
    "y ~ poly(x, ) + (1 | g)": "an empty argument may not stand in a formula",
    "y ~ poly(x, z) + (1 | g)": "poly takes a number, degree = a whole number",
    "y ~ poly(x, 1.5) + (1 | g)": "poly takes a number, degree = a whole number",
    "y ~ poly(x, 2, simple = TRUE) + (1 | g)": "poly takes a number, degree = a whole number",
    "y ~ poly(x, degree = log(2)) + (1 | g)": "poly takes a number, degree = a whole number",
    "y ~ scale(x, center = z) + (1 | g)": "scale takes a number, center and scale",
    "y ~ scale(x, TRUE, TRUE, TRUE) + (1 | g)": "scale takes a number, center and scale",
    "y ~ factor(x, levels = 3) + (1 | g)": "factor takes one argument here, without a name",
    "y ~ . + (1 | g)": "the dot, for all other columns, may not stand in a formula: write the columns out",
    "y ~ x + weights(w) + (1 | g)": "weights may not stand in a formula: lmer takes prior weights in an argument",
    "y ~ x + (1 | interaction(a, b))": "interaction may not stand in a formula: write a:b",
    "y ~ x + (1 | a * b)": "a * b is not a grouping factor",
    "y ~ x + (1 | log(g))": "log(g) is not a grouping factor",
    "y ~ x + (1 | factor(a:b))": "factor(a:b) is not a grouping factor",
    "y ~ x * (1 | g)": "a random term, (columns | group), may only be added",
    "y ~ x - (1 | g)": "a random term, (columns | group), may only be added",
    "y ~ I((1 | g)) + x": "| may not stand inside a function",
    "y ~ x + ((1 | h) | g)": "a random term, (columns | group), may only be added",
    "y ~ x ~ z + (1 | g)": "~ may not stand",
    "y ~ x * offset(z) + (1 | g)": "an offset may only be added to the fixed part",
    "y ~ x - offset(z) + (1 | g)": "an offset may only be added to the fixed part",
    "y ~ x + (offset(z) | g)": "an offset may only be added to the fixed part",
    "offset(y) ~ x + (1 | g)": "offset may not stand inside a function or in the response",
    f"y ~ {'(' * 60}x{')' * 60} + (1 | g)": "it does not parse: contextstack overflow",
    f"y ~ {' + '.join(f'x{i}' for i in range(300))} + (1 | g)": ": it is nested too deeply: more than 250 levels",
    f"y ~ {'log(' * 45}x{')' * 45} + {'+'.join('x' * 230)} + (1 | g)": ": it is nested too deeply: more than 250",
    f"y ~ {' + '.join(['x'] * 3000)} + (1 | g)": "it is too long: 12011 characters, where 5000 are enough",
}


@pytest.mark.parametrize("text", UNUSABLE)
def test_a_formula_that_cannot_be_used_is_one_error_that_shows_it(text):
    """What does not parse, or has no random term, is refused on one line with the formula in it."""
    with pytest.raises(FormulaError) as caught:
        formulas.parse(text)
    message = str(caught.value)
    shown = text if len(text) <= 200 else text[:150] + " ..."
    assert message.startswith(f"formula {shown!r}: ") and UNUSABLE[text] in message and "\n" not in message


# CODE stands for a call that would leave a file behind.
HOSTILE = [
    "y ~ CODE + (1 | g)",
    "CODE ~ x + (1 | g)",
    "y ~ x + (1 | CODE)",
    "y ~ x + (CODE | g)",
    "y ~ x + (CODE || g)",
    "y ~ x + (1 | g/CODE)",
    "y ~ x + (1 | g); CODE",
    "CODE",
    "{CODE; y} ~ x + (1 | g)",
    "y ~ `file.create`('FILE') + (1 | g)",
    "y ~ base::file.create(x) + (1 | g)",
    "y ~ (base::file.create)('FILE') + (1 | g)",
    "y ~ (function() CODE)() + (1 | g)",
    "y ~ (\\(q) CODE)(x) + (1 | g)",
    "y ~ function(q = CODE) q + (1 | g)",
    "y ~ I(get('file.create')('FILE')) + (1 | g)",
    "y ~ factor(x, levels = CODE) + (1 | g)",
    "y ~ poly(x, CODE) + (1 | g)",
    "y ~ do.call('file.create', 'FILE') + (1 | g)",
    'y ~ eval(parse(text = "CODE")) + (1 | g)',
    "y ~ x$CODE + (1 | g)",
    "y ~ x[[CODE]] + (1 | g)",
    "y ~ if (CODE) x else z + (1 | g)",
    "y ~ (z <- CODE) + (1 | g)",
    "y ~ 'file' + (1 | g)",
    "y ~ TRUE + (1 | g)",
    "y ~ g(x) + (1 | g)",
    "y ~ lme4::factorize + (1 | g)",
    "y ~ 2i + (1 | g)",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_code_in_a_formula_is_refused_and_never_runs(text, tmp_path):
    """Calls, strings, functions and assignments in any place are refused, and what they would do does not happen."""
    marker = tmp_path / "marker"
    code = text.replace("CODE", "file.create('FILE')").replace("FILE", str(marker))
    with pytest.raises(FormulaError, match="may not stand in a formula|it does not parse: expected"):
        formulas.parse(code)
    assert not marker.exists()


def test_the_marker_that_hostile_formulas_would_leave_is_one_that_r_can_leave(tmp_path):
    """The test above can fail: the same code, given to R itself, does create the file."""
    marker = tmp_path / "marker"
    r.call("eval", r.call("str2lang", f"file.create('{marker}')"))
    assert marker.exists()


def test_a_name_that_the_data_have_not_comes_with_the_nearest_that_they_have():
    """A misspelt column is named with the column that was meant, another one with the list of columns."""
    frame = datasets.load("dietox").frame
    with pytest.raises(FormulaError, match="no column 'Wieght'; did you mean 'Weight'?"):
        matrices.design(formulas.parse("Wieght ~ Time + (1 | Pig)"), frame)
    with pytest.raises(FormulaError, match="no column 'WEIHGT'; did you mean 'Weight'?"):
        matrices.design(formulas.parse("Weight ~ WEIHGT + (1 | Pig)"), frame)
    with pytest.raises(FormulaError, match="no column 'zz'; the columns are Pig, Evit, Cu, "):
        matrices.design(formulas.parse("Weight ~ zz + (1 | Pig)"), frame[["Pig", "Evit", "Cu", "Weight"]])


UNCODABLE = {
    "Evit ~ Time + (1 | Pig)": "the response Evit is not a number",
    "poly(Weight, 2) ~ Time + (1 | Pig)": "the response poly",
    "Weight ~ log(Evit) + (1 | Pig)": "calculated of numbers, and .Evit. is a factor",
    "Weight ~ poly(Feed, 2) + (1 | Pig)": "missing values are not allowed",
}


@pytest.mark.parametrize("text", UNCODABLE)
def test_a_formula_that_r_cannot_code_is_one_error_that_shows_it(text):
    """A response that is not a number, a group that is not a factor and whatever else R refuses name the formula."""
    with pytest.raises(FormulaError, match=UNCODABLE[text]) as caught:
        matrices.design(formulas.parse(text), datasets.load("dietox").frame)
    assert str(caught.value).startswith("formula ") and "\n" not in str(caught.value)


def dense(term: DesignTerm) -> np.ndarray:
    """A random term's columns of Z, level by level, shape (n, levels x q)."""
    indicator = (term.codes[:, None] == np.arange(len(term.levels))).astype(float)
    return np.einsum("il,iq->ilq", indicator, term.matrix).reshape(len(term.matrix), -1)


def as_matrix(value) -> np.ndarray:
    return r.from_r(r.call(r.function("Matrix::as.matrix"), value))


@pytest.mark.parametrize("id", MODELS)
def test_the_matrices_of_every_model_are_those_of_its_lmer_fit(id, fits):
    """X, Z, y, the names and the levels equal what lme4's getME takes out of the fitted model."""
    fit = fits(id, "REML", "lme4", "default")
    design, get = fit.model.design, r.function("lme4::getME")
    np.testing.assert_array_equal(design.X, as_matrix(r.call(get, fit.native, "X")))
    Z = np.hstack([dense(term) for term in design.terms])
    np.testing.assert_array_equal(Z, as_matrix(r.call(get, fit.native, "Z")))
    np.testing.assert_array_equal(design.y, r.from_r(r.call(get, fit.native, "y")))
    groups, columns = _named(r.call(get, fit.native, "cnms"))
    assert [list(term.names) for term in design.terms] == [r.from_r(each) for each in columns]
    assert [term.group for term in design.terms] == groups
    for term in design.terms:
        levels = r.call("levels", r.call("[[", r.call(get, fit.native, "flist"), term.group))
        assert list(term.levels) == r.from_r(levels)


@pytest.mark.parametrize(
    "text",
    [
        "Weight ~ Time * Cu + poly(Start, 2) + (1 | Litter/Pig)",
        "Weight ~ Time + (1 | Pig) + (1 | Evit:Cu) + (1 | Litter)",
        "log(Weight) ~ factor(Time) + (Time || Pig)",
        "Weight ~ Feed + (0 + Evit | Litter) + (1 + Feed | Pig)",
        "Weight ~ 0 + Evit:Time + I(Time^2) + (scale(Time) | Pig)",
    ],
)
def test_the_matrices_of_any_formula_are_those_that_lmer_would_fit(text):
    """X and Z equal lme4's also with factors, interactions, transformed, nested, crossed and missing values."""
    frame = datasets.load("dietox").frame
    made = matrices.design(formulas.parse(text), frame)
    formula = r.call(r.function("stats::as.formula"), text)
    got = dict(zip(*_named(r.call(r.function("lme4::lFormula"), formula, data=frame)), strict=True))
    terms = dict(zip(*_named(got["reTrms"]), strict=True))
    np.testing.assert_array_equal(made.X, as_matrix(got["X"]))
    assert list(made.names) == r.from_r(r.call("colnames", got["X"]))
    # lmer sorts the terms by their number of levels.
    order = sorted(made.terms, key=lambda term: -len(term.levels))
    np.testing.assert_array_equal(np.hstack([dense(term) for term in order]), as_matrix(terms["Zt"]).T)
    assert len(made.rows) == len(made.y) == len(made.X)
    left_out = frame[list(formulas.parse(text).variables)].isna().any(axis=1).to_numpy()
    np.testing.assert_array_equal(made.rows, np.flatnonzero(~left_out))


def _named(value) -> tuple[list[str], list]:
    return r.from_r(r.call("names", value)), list(value)


def test_levels_without_rows_are_left_out():
    """A level that only occurs where a value is missing is neither a group nor a fixed effect, as in lmer."""
    frame = pd.DataFrame({"y": [1.0, 2, 4, 8, None], "g": pd.Categorical(list("bbcca"), ["a", "b", "c", "d"])})
    design = matrices.design(formulas.parse("y ~ g + (1 | g)"), frame)
    assert design.terms[0].levels == ("b", "c") and design.terms[0].codes.tolist() == [0, 0, 1, 1]
    assert design.names == ("(Intercept)", "gc")


def test_the_nearest_formula_is_part_of_the_message():
    """An engine that knows a formula nearby says it."""
    error = CannotExpress("MixedLM", "this", nearest="y ~ x + (1 | g)")
    assert str(error) == "MixedLM cannot express this; the nearest that it can is y ~ x + (1 | g)"
    assert error.nearest == "y ~ x + (1 | g)"


def test_a_formula_knows_its_parts_as_trees():
    """Offsets stand apart, and a random term's columns are those of R's algebra: 1, x, z and x:z for x * z."""
    tree = formulas.parse("y ~ x + (offset(log(z)) + z) + (x * z | g) + (0 + x | h)").tree
    assert syntax.written(tree.fixed) == "x + (z)" and [syntax.written(each) for each in tree.offsets] == ["log(z)"]
    first, second = tree.random
    assert first.intercept and [":".join(map(syntax.written, each)) for each in first.terms] == ["x", "z", "x:z"]
    assert not second.intercept and second.terms == ((syntax.Name("x"),),) and second.group == syntax.Name("h")


@pytest.mark.parametrize(
    "text",
    [
        "a + b * c^2",
        "-x + (y - 1)/z",
        "poly(x, degree = 2, raw = TRUE)",
        "`a b`:c %in% d",
        "log(x, base = 2)",
        "`if`",
        "`\\``",
    ],
)
def test_a_tree_is_written_as_r_reads_it(text):
    """What a tree is written as is, to R's parser, the expression that it was made of."""
    room = r.source(formulas._R)
    tree = syntax.read(r.from_r(r.call(room["tree_of"], text)))
    again = syntax.read(r.from_r(r.call(room["tree_of"], syntax.written(tree))))
    assert again == tree


def test_an_expression_is_made_anew_where_there_is_none():
    """A formula that was sent without R's object has it again, and sees R's functions and not the workspace's."""
    text = "y ~ poly(x, 2) + (1 | factor(g))"
    sent = pickle.loads(pickle.dumps(formulas.parse(text)))
    assert sent == formulas.parse(text) and sent.tree == formulas.parse(text).tree
    assert r.from_r(r.call("deparse", expression(sent))) == ["y ~ poly(x, 2) + (1 | g)"]
    home = r.call("environmentName", r.call("environment", expression(sent)))
    assert r.from_r(home) == ["stats"]
