"""A name whose letters only look like a column's, and a term that lme4 adds though it is taken out: said aloud."""

from __future__ import annotations

import unicodedata

import pytest

from concord import r
from concord.models import formula as formulas
from concord.models.letters import alike
from concord.models.syntax import FormulaError, check_variables


@pytest.mark.parametrize(
    ("name", "column", "letter"),
    [
        ("age", "\u0430ge", "U+0430 CYRILLIC SMALL LETTER A"),
        ("\u0445", "x", "U+0078 LATIN SMALL LETTER X"),
        ("\u0397ohe", "Hohe", "U+0048 LATIN CAPITAL LETTER H"),
        ("H\u00f6he", "Ho\u0308he", "U+006F LATIN SMALL LETTER O"),
        ("x", "x\u200b", "U+200B ZERO WIDTH SPACE"),
        ("x1", "\uff581", "U+FF58 FULLWIDTH LATIN SMALL LETTER X"),
    ],
)
def test_a_name_that_looks_like_a_column_says_which_letter_differs(name, column, letter):
    said = alike(name, ["y", column, "other"])
    assert said and repr(column) in said and f"has {letter} where this" in said
    assert alike(name, ["y", name, "Ho", "age2"]) is None


def test_no_two_letters_of_one_alphabet_are_taken_for_the_same():
    """Each letter of the table is drawn as one of another alphabet's, whose name it does not share."""
    for letter in map(chr, range(0x80, 0x530)):
        if (said := alike(letter, map(chr, range(0x21, 0x7F)))) and unicodedata.decomposition(letter) == "":
            assert "LATIN" in said and unicodedata.name(letter).split()[0] in ("CYRILLIC", "GREEK", "LATIN")
            assert letter.isalpha() and not letter.isascii()


def test_the_line_about_an_unknown_column_points_to_it():
    with pytest.raises(FormulaError, match=r"no column 'age'; .* looks like it, but has U\+0430"):
        check_variables(formulas.parse("y ~ age + (1 | g)"), ["y", "\u0430ge", "g"])


@pytest.mark.parametrize(
    ("text", "left", "said"),
    [
        ("y ~ (1 | g) - x", "x", True),
        ("y ~ (1 | g) + (x || h) - x", "x", True),
        ("y ~ (1 | g) - 1", "1", True),
        ("y ~ ((1 | g)) - (x + z)", "(x + z)", True),
        ("y ~ (1 | g) - x - z", "x - z", True),
        ("y ~ x + (1 | g) - x", "x - x", False),
        ("y ~ z - x + (1 | g)", "z - x", False),
        ("y ~ -x + (1 | g)", "-x", False),
    ],
)
def test_what_lme4_adds_although_it_is_taken_out_is_said(text, left, said):
    """What is left is what lme4's own function leaves where it takes the random terms out."""
    without = r.call(r.function("lme4::nobars"), r.call(r.function("stats::as.formula"), text))
    assert r.texts(r.call("deparse", without)) == (f"y ~ {left}",)
    assert any("behind random terms alone" in note for note in formulas.read(text).notes) == said
