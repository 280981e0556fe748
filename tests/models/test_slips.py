"""One text among numbers is a slip, named with its place; few numbers with a text beside them are levels, said so."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest

from concord.data.columns import PreparationError
from concord.data.tables import read
from concord.models.of_table import model_of

rng = np.random.default_rng(17)
n = 60
TABLE = pd.DataFrame({"x": rng.normal(size=n).round(3), "g": np.repeat([f"g{i}" for i in range(12)], 5)})
TABLE["y"] = (TABLE["x"] + rng.normal(size=12).repeat(5) + rng.normal(size=n)).round(3)
TABLE["w"] = 1 + np.arange(n) % 7
SLIPS = ["abc", "1O", "n/a ", "#DIV/0!", "-", ".", "1,5", "?", "<0.1", "1.2.3", "0x1F", "1e", "½", "１２"]


def asked(table: pd.DataFrame, formula: str = "y ~ x + (1 | g)", weights: str | None = None):
    return model_of(table, formula, "REML", None, "data", weights=weights)


def with_text(name: str, text: str) -> pd.DataFrame:
    column = TABLE[name].astype(str)
    column[4] = text
    return TABLE.assign(**{name: column})


@pytest.mark.parametrize("text", SLIPS)
@pytest.mark.parametrize("name", ["x", "y", "w"])
def test_a_slip_is_named_with_its_row(name, text):
    formula, weights = ("y ~ x + (x | g)", "w" if name == "w" else None)
    told = f"{name!r} is not a number: row 5 has {text!r}"
    if name == "w":
        told = f"the weights 'w' are not numbers, but such as {text!r} in row 5"
    with pytest.raises(PreparationError, match=re.escape(told)):
        asked(with_text(name, text), formula, weights)


def test_of_few_numbers_one_text_is_a_slip_too():
    """Three doses in 60 rows, and one cell that is none: not a fourth level without a word above the verdict."""
    doses = TABLE.assign(x=[*np.tile(["1", "2", "3"], 20)[:-1], "abc"])
    with pytest.raises(PreparationError, match=r"'x' is not a number: row 60 has 'abc'; .* or write factor\(x\) if"):
        asked(doses)


def test_in_a_file_it_has_its_line_too(tmp_path):
    with_text("x", "abc").to_csv(tmp_path / "slip.csv", index=False)
    with pytest.raises(PreparationError, match=r"row 5 \(line 6\) has 'abc'; .* or write factor\(x\) if"):
        asked(read(tmp_path / "slip.csv"))


def test_what_may_be_names_is_taken_for_them_and_said():
    doses = TABLE.assign(x=np.tile(["1", "2", "3", "placebo"], 15))
    _, notes = asked(doses)
    assert "x: numbers but for 15 rows, the first 'placebo' in row 4: taken for a factor of 4 levels" in notes
    ids = with_text("w", "abc")
    names, notes = asked(ids, "y ~ 1 + (1 | g) + (1 | w)")
    assert "abc" in names.design.terms[1].levels and not any("abc" in note for note in notes)
    _, notes = asked(ids, "y ~ factor(w) + (1 | g)")
    assert not any("abc" in note for note in notes)


def test_a_decimal_comma_is_told_from_names():
    commas = TABLE.assign(x=TABLE["x"].astype(str).str.replace(".", ","))
    with pytest.raises(
        PreparationError, match="'x' has numbers with a decimal comma, such as '.*,.*': write them with"
    ):
        asked(commas)


TWINS = {
    ("a", "a ", "b"): ["'a' and 'a ' differ in blanks or capitals only: they stay apart"],
    ("Male", "male", "MALE ", "x y", "x  y"): [
        "'MALE ', 'Male' and 'male' differ in blanks or capitals only, and so does"
    ],
    # The second is Cyrillic; an accent is a letter of its own; a raised digit is another one; two kinds at once
    ("A1", "\u04101", "b"): [
        "'A1' and '\u04101' look alike, but have U+0041 LATIN CAPITAL LETTER A and U+0410 CYRILLIC"
    ],
    ("\u00e9", "e\u0301", "b"): ["'e\u0301' and '\u00e9' look alike, but have U+0065 LATIN SMALL LETTER E and U+00E9"],
    ("m2", "m\u00b2", "b"): [],
    ("x", "X", "\u0445", "b"): ["'X' and 'x' differ in blanks", "'X' and '\u0445' look alike, but have U+0058 LATIN"],
    ("a", "b", "c"): [],
}


@pytest.mark.parametrize("levels", TWINS)
def test_levels_that_only_look_like_one_are_told_and_stay_two(levels):
    """As R and Python have them, but aloud: of a grouping column too."""
    table = TABLE.assign(f=np.resize(np.array(levels, object), n))
    for formula in ("y ~ f + (1 | g)", "y ~ x + (1 | f)"):
        model, notes = asked(table, formula)
        told = [note for note in notes if "to merge them" in note]
        assert [note[: len(wanted) + 3] for note, wanted in zip(told, TWINS[levels], strict=True)] == [
            f"f: {wanted}" for wanted in TWINS[levels]
        ]
        assert len(model.frame["f"].cat.categories) == len(levels)


def test_blanks_that_are_left_out_of_ids_are_told_where_they_merge_two(tmp_path):
    """`` 01`` is the group ``01``, and not silently."""
    TABLE.assign(g=np.resize(["01", " 01", "02", "03"], n)).to_csv(tmp_path / "t.csv", index=False)
    model, notes = asked(read(tmp_path / "t.csv"), "y ~ x + (1 | g)")
    assert list(model.frame["g"].cat.categories) == ["01", "02", "03"]
    assert "g: blanks around numbers are left out, so that ' 01' is one of '01'" in notes
