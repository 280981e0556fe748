"""The algebra of terms: what R would refuse in words of its own, and what would never end."""

from __future__ import annotations

import time

import numpy as np
import pandas as pd
import pytest

from concord.errors import InputError
from concord.models import algebra
from concord.models import formula as formulas
from concord.models.of_table import model_of
from concord.models.syntax import FormulaError
from support.prepared import CLEAN

LETTERS = "abcdefghijklmno"
REFUSED = {
    "y ~ y + (1 | g)": "the response 'y' stands on the right-hand side too, in y: no column explains itself",
    "y ~ log(y) + (1 | g)": "the response 'y' stands on the right-hand side too, in log(y)",
    "log(y) ~ x * y + (1 | g)": "the response 'y' stands on the right-hand side too, in x * y",
    "y ~ x + (y | g)": "the response 'y' stands on the right-hand side too, in (y | g)",
    "y ~ x + (1 | y)": "the response 'y' stands on the right-hand side too, in (1 | y)",
    "y ~ x + (1 | g:y)": "the response 'y' stands on the right-hand side too, in (1 | g:y)",
    "y ~ x + offset(2 * y) + (1 | g)": "the response 'y' stands on the right-hand side too, in offset(2 * y)",
    "y ~ x - y + (1 | g)": "the response 'y' stands on the right-hand side too, in y",
    "y ~ I(x + y) + (1 | g)": "the response 'y' stands on the right-hand side too, in I(x + y)",
    "y ~ poly(y, 2) + (1 | g)": "the response 'y' stands on the right-hand side too, in poly(y, 2)",
    "y - x ~ x + y + (1 | g)": "the response y - x stands on the right-hand side too",
    "I(y/2) ~ I(y/2) + (1 | g)": "the response 'y' stands on the right-hand side too, in I(y/2)",
    "1 ~ x + (1 | g)": "the response 1 has no column in it",
    "log(2) ~ x + (1 | g)": "the response log(2) has no column in it",
    "y ~ 2*x + (1 | g)": "2 * x: * combines terms, and the number 2 is none; I(2 * x) is what is calculated",
    "y ~ x/2 + (1 | g)": "x/2: / combines terms, and the number 2 is none; I(x/2) is what is calculated",
    "y ~ x + 2 + (1 | g)": "the number 2 is no term: 1 is the intercept, 0 leaves it out",
    "y ~ x - 2 + (1 | g)": "the number 2 is no term",
    "y ~ x:3 + (1 | g)": "the number 3 is no term",
    "y ~ x + (2 | g)": "the number 2 is no term",
    "y ~ x + (x*2 | g)": "x * 2: * combines terms, and the number 2 is none",
    "y ~ Inf + (1 | g)": "the number inf is no term",
    "y ~ x^x + (1 | g)": "x^x: a power of terms is a whole number from 1 to 20, as in (a + b)^2; I(x^x) is the power",
    "y ~ x^2.5 + (1 | g)": "x^2.5: a power of terms is a whole number",
    "y ~ x^0 + (1 | g)": "x^0: a power of terms is a whole number",
    "y ~ (x + z)^1e9 + (1 | g)": "a power of terms is a whole number from 1 to 20",
    "y ~ x + (0 | g)": "random term (0 | g) has no column, and so no effect: write (1 | g) for an intercept",
    "y ~ x + (0 + 1 - 1 | g)": "random term (0 + 1 - 1 | g) has no column",
    "y ~ x + (x - x - 1 | g)": "random term (x - x - 1 | g) has no column",
    "y ~ x + (0 || g)": "(0 || g): || takes apart an intercept and slopes",
    "y ~ x + log(2) + (1 | g)": "log(2) has no column in it: it is the same in every row",
    "y ~ x y + (1 | g)": "unexpected symbol at character 7: an operator is missing there, such as + or :",
    "y ~ x +": "unexpected end of input: a bracket is not closed, or something is missing after the last sign",
    "y ~ (x | g": "unexpected end of input: a bracket is not closed",
    "y = x + (1 | g)": "expected response ~ terms, such as y ~ x + (1 | group), with one ~ between them, and no =",
    "y ~ x, (1 | g)": "unexpected ',' at character 6: terms are added, with +",
    "df$y ~ x + (1 | g)": "$ may not stand in a formula: a column stands there by its name alone",
    "cbind(y, x) ~ z + (1 | g)": "cbind may not stand in a formula: several columns are no number",
    "y ~ NA + (1 | g)": "NA may not stand in a formula",
    f"y ~ ({' + '.join(LETTERS)})^15 + (1 | g)": "it stands for up to 32768 terms, where 1000 are enough",
    f"y ~ {' * '.join(LETTERS)} + (1 | g)": "it stands for up to 32768 terms",
    f"y ~ x + ({' * '.join(LETTERS)} | g)": "it stands for up to 32767 terms",
    f"y ~ {'/'.join(f'({a} + {a}1)' for a in LETTERS)} + (1 | g)": "it stands for up to",
    f"y ~ {':'.join(f'({a} + {a}1)' for a in LETTERS)} + (1 | g)": "it stands for up to 32769 terms",
}


@pytest.mark.parametrize("text", REFUSED)
def test_what_is_no_formula_of_terms_is_one_line_of_its_own(text):
    """What is wrong, where, and what to write; nothing in R's words alone, and at once."""
    started = time.perf_counter()
    with pytest.raises(FormulaError) as caught:
        formulas.parse(text)
    assert REFUSED[text] in str(caught.value) and "\n" not in str(caught.value)
    assert time.perf_counter() - started < 5


def test_a_change_may_be_explained_by_where_it_began():
    """Of a response of several columns one may be a predictor: what is left of it varies."""
    assert formulas.parse("y - x ~ x + (1 | g)").response == "y - x"


def test_columns_beyond_what_can_be_held_are_refused_before_they_are_made():
    """Six factors of 20 levels are 19^6 columns."""
    rng = np.random.default_rng(5)
    factors = {name: pd.Series(rng.integers(0, 20, len(CLEAN))).map("l{:02d}".format) for name in "abcdef"}
    started = time.perf_counter()
    with pytest.raises(FormulaError, match=r"47045881 of them of a:b:c:d:e:f: more than can be held; take terms out"):
        model_of(CLEAN.drop(columns="f").assign(**factors), "y ~ a*b*c*d*e*f + (1 | g)", "REML", None, "data")
    assert time.perf_counter() - started < 5


CALCULATED = {
    "y ~ log(f) + (1 | g)": "log(f) is calculated of numbers, and 'f' is a factor: name a column of numbers",
    "y ~ scale(f) + (1 | g)": "scale(f) is calculated of numbers",
    "y ~ poly(f, 2) + (1 | g)": "poly(f, 2) is calculated of numbers",
    "y ~ I(2 * f) + (1 | g)": "I(2 * f) is calculated of numbers",
    "y ~ x + (I(-f) | g)": "I(-f) is calculated of numbers",
    "y ~ poly(x, 1000) + (1 | g)": "poly takes a degree below the number of its column's distinct values",
    "y ~ factor(k) + (1 | g)": "a factor has one level only in the rows that are used: take it out of the formula",
    "y ~ x + offset(f) + (1 | g)": "an offset is a number: name a column of numbers in it",
    "y ~ scale(k) + (1 | g)": "scale(k) has no value in 120 rows of 120",
}


@pytest.mark.parametrize("text", CALCULATED)
def test_what_cannot_be_calculated_is_said_in_words_of_its_own(text):
    """With the call and the column, and before any package is asked."""
    with pytest.raises(InputError) as caught:
        model_of(CLEAN.assign(k=3.0), text, "REML", None, "data")
    assert CALCULATED[text] in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "same"),
    {
        "x + z": True,
        "x * z - 1": True,
        "0 + x": True,
        "(x + z)^2": True,
        "x / z + 1": True,
        "x:z": True,
        "x - z": False,
        "x + -x": False,
        "0 + x + 1": False,
        "(x - 1) + z": False,
        "-1 + x": False,
        "x %in% z": False,
        "1 * x": False,
        "x - 0": False,
        "(x + 1)^2": False,
        "+x": False,
    }.items(),
)
def test_what_both_languages_read_alike_is_left_as_it_stands(text, same):
    """Everything else is written out as its terms."""
    right = formulas._tree(f"y ~ {text}").arguments[1]
    assert algebra.as_it_stands(right) == same


@pytest.mark.parametrize(
    ("text", "intercept", "terms"),
    [
        ("y ~ x + -x + (1 | g)", True, ["x"]),
        ("y ~ -1 + x + (1 | g)", False, ["x"]),
        ("y ~ x - z + (1 | g)", True, ["x"]),
        ("y ~ (x + z)^2 - x:z + (1 | g)", True, ["x", "z"]),
        ("y ~ x * z - x + (1 | g)", True, ["z", "x:z"]),
        ("y ~ x + 0 + 1 + (1 | g)", True, ["x"]),
        ("y ~ (1 | g)", True, []),
        ("log(y) ~ (x | g)", True, []),
        ("y ~ 0 + (1 | g)", False, []),
    ],
)
def test_the_terms_of_the_fixed_part_are_rs(text, intercept, terms):
    """As R's own terms() has them."""
    tree = formulas.parse(text).tree
    assert tree.intercept is intercept
    assert [":".join(node.name for node in term) for term in tree.terms] == terms
