"""Pictures say what they show, and carry the numbers that they are drawn from, through a real kernel."""

import base64
import io

import nbformat
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from concord import notebooks, plots
from concord.pictures import MEDIA_TYPE, ROWS, Picture, described

DRAWN = """
import pandas as pd
from concord import pictures, plots
figure, axes = plots.subplots(figsize=(3, 2))
table = pd.DataFrame({"x": [0.1, 1 / 3], "who": ["a, b", None]})
axes.plot(table["x"], [1, 2])
pictures.described(figure, "Line chart.  It\\n rises.", table)
"""


@pytest.fixture(scope="module")
def output():
    """What a kernel gives for a figure in the last line of a cell."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(DRAWN)])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    execution = notebooks.execute(nbformat.writes(notebook))
    assert execution.status == "completed", execution.error
    (output,) = nbformat.reads(execution.notebook, as_version=4).cells[-1].outputs
    return output


def test_a_notebook_shows_the_picture_once_with_its_words(output):
    """One PNG of matplotlib's own making; the words are metadata of this type, where converters look for them."""
    assert base64.b64decode(output.data["image/png"]).startswith(b"\x89PNG")
    assert output.metadata["image/png"]["alt"] == "Line chart. It rises."
    assert set(output.data) == {"image/png", "text/plain", MEDIA_TYPE}
    assert output.data["text/plain"] == "<Figure size 300x200 with 1 Axes>"


def test_the_numbers_travel_with_the_picture_and_lose_nothing(output):
    """They read back as the same doubles; what is missing is empty; a comma in a name parts nothing."""
    (table,) = output.data[MEDIA_TYPE]["tables"]
    back = pd.read_csv(io.StringIO(table["csv"]))
    assert back["x"].tolist() == [0.1, 1 / 3] and back["who"][0] == "a, b" and back["who"].isna()[1]
    assert table["rows"] == 2 and table["title"]


def test_of_a_long_table_rows_evenly_spread_travel_and_their_number_is_told():
    figure, _ = plots.subplots()
    record = described(figure, "Long.", pd.DataFrame({"i": np.arange(3 * ROWS)})).record()
    kept = [int(line) for line in record["tables"][0]["csv"].split()[1:]]
    assert record["tables"][0]["rows"] == 3 * ROWS and len(kept) == ROWS
    assert kept[0] == 0 and kept[-1] == 3 * ROWS - 1 and max(np.diff(kept)) <= 4


def test_a_picture_without_words_or_numbers_is_refused():
    figure, _ = plots.subplots()
    table = pd.DataFrame({"x": [1]})
    with pytest.raises(ValueError, match="text alternative"):
        described(figure, "  ", table)
    with pytest.raises(ValueError, match="data"):
        described(figure, "Nothing.", table.iloc[:0])
    with pytest.raises(TypeError, match="subplots"):
        described(Figure(), "Foreign.", table)
    assert isinstance(figure, Picture) and not figure.alt


def test_a_figure_that_nobody_has_described_is_shown_as_matplotlib_shows_it():
    figure, _ = plots.subplots()
    assert figure._repr_mimebundle_() == ({}, {}) and repr(figure).startswith("<Figure size ")
