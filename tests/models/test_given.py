"""What people give for a table: taken for what it is, or one line that says how."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from concord.data.source import SourceError
from concord.models.given import arranged, refuse_mixedlm, table_of
from concord.models.syntax import FormulaError

FRAME = pd.DataFrame({"y": [1.5, 2.0, 2.5], "g": ["a", "a", "b"]})


class Polars:
    """A table of another package, as polars has it: its own class, which pandas does not know."""

    def to_pandas(self) -> pd.DataFrame:
        return FRAME


GIVEN = {
    "a table of another package": Polars(),
    "a table of Arrow": pa.Table.from_pandas(FRAME),
    "a dict of columns": FRAME.to_dict("list"),
    "records": FRAME.to_dict("records"),
    "a structured array": np.array([(1.5, "a"), (2.0, "a"), (2.5, "b")], [("y", float), ("g", "U1")]),
}


@pytest.mark.parametrize("kind", GIVEN)
def test_tables_of_other_kinds_are_tables(kind):
    source, name, frame = table_of(GIVEN[kind])
    assert (source, name) == (None, "data")
    pd.testing.assert_frame_equal(frame, FRAME, check_dtype=False)


REFUSED = {
    "ndarray has no names of columns: give pandas.DataFrame(values, columns=['y', 'x', 'g'])": np.zeros((3, 2)),
    "2 files are 2 tables: read one, or give them as one, by pandas.concat([concord.data.read(": ["a.csv", "b.csv"],
    "2 tables: give them as one, by pandas.concat(tables, ignore_index=True)": [FRAME, FRAME],
    "the columns are no table (All arrays must be of the same length): give every": {"y": [1, 2], "g": ["a"]},
    "NoneType is no table: give a file, pandas.DataFrame, or a dict of columns": None,
}


@pytest.mark.parametrize("message", REFUSED)
def test_what_is_no_table_is_one_line_that_says_how(message):
    with pytest.raises(SourceError) as refused:
        table_of(REFUSED[message])
    assert str(refused.value).startswith(message) and "\n" not in str(refused.value)


def test_the_formula_may_stand_first():
    """As statsmodels has it; a tilde in a path is none in a formula."""
    data, formula = arranged("y ~ x + (1 | g)", FRAME)
    assert data is FRAME and formula == "y ~ x + (1 | g)"
    for data in ("cows.csv", None):
        assert arranged("y ~ (1 | g)", data) == (data, "y ~ (1 | g)") == arranged(data, "y ~ (1 | g)")
    assert arranged("~/cows.csv", "y ~ (1 | g)") == ("~/cows.csv", "y ~ (1 | g)")


def test_arguments_of_mixedlm_are_told_where_they_belong():
    with pytest.raises(FormulaError, match=r"groups is part of a call of MixedLM.*concord\.from_mixedlm"):
        refuse_mixedlm({"groups": "g"})
    with pytest.raises(TypeError, match="no argument 'setings'"):
        refuse_mixedlm({"setings": "tuned"})
