"""Pictures say what they show, and carry the numbers that they are drawn from, through a real kernel."""

import ast
import base64
import io
import re
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

import concord
from concord.agreement.comparison import compare
from concord.display.media import PICTURE_TYPE
from concord.display.picture import ROWS, TITLE, Picture, described
from concord.engines.answers import answer
from concord.models import model as models
from concord.plots import estimates, profiles, residuals, style, trajectories, verdicts
from concord.reports.execution import execute

DRAWN = """
import pandas as pd
from concord.display import picture as pictures
from concord.plots import style as plots
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
    execution = execute(nbformat.writes(notebook))
    assert execution.status == "completed", execution.error
    (output,) = nbformat.reads(execution.notebook, as_version=4).cells[-1].outputs
    return output


def test_a_notebook_shows_the_picture_once_with_its_words(output):
    """One PNG of matplotlib's own making; the words are metadata of this type, where converters look for them."""
    assert base64.b64decode(output.data["image/png"]).startswith(b"\x89PNG")
    assert output.metadata["image/png"]["alt"] == "Line chart. It rises."
    assert set(output.data) == {"image/png", "text/plain", PICTURE_TYPE}
    assert output.data["text/plain"] == "<Figure size 300x200 with 1 Axes>"


def test_the_numbers_travel_with_the_picture_and_lose_nothing(output):
    """They read back as the same doubles; what is missing is empty; a comma in a name parts nothing."""
    (table,) = output.data[PICTURE_TYPE]["tables"]
    back = pd.read_csv(io.StringIO(table["csv"]))
    assert back["x"].tolist() == [0.1, 1 / 3] and back["who"][0] == "a, b" and back["who"].isna()[1]
    assert table["rows"] == 2 and table["title"]


def test_of_a_long_table_rows_evenly_spread_travel_and_their_number_is_told():
    figure, _ = style.subplots()
    record = described(figure, "Long.", pd.DataFrame({"i": np.arange(3 * ROWS)})).record()
    kept = [int(line) for line in record["tables"][0]["csv"].split()[1:]]
    assert record["tables"][0]["rows"] == 3 * ROWS and len(kept) == ROWS
    assert kept[0] == 0 and kept[-1] == 3 * ROWS - 1 and max(np.diff(kept)) <= 4


def test_a_picture_without_words_or_numbers_is_refused():
    figure, _ = style.subplots()
    table = pd.DataFrame({"x": [1]})
    with pytest.raises(ValueError, match="text alternative"):
        described(figure, "  ", table)
    with pytest.raises(ValueError, match="data"):
        described(figure, "Nothing.", table.iloc[:0])
    with pytest.raises(TypeError, match="subplots"):
        described(Figure(), "Foreign.", table)
    assert isinstance(figure, Picture) and not figure.alt


def test_a_figure_that_nobody_has_described_is_shown_as_matplotlib_shows_it():
    figure, _ = style.subplots()
    assert figure._repr_mimebundle_() == ({}, {}) and repr(figure).startswith("<Figure size ")


def test_every_function_that_draws_describes_what_it_draws():
    """Whatever a module offers as a figure comes with words and data: each of its returns is a described picture."""
    found = []
    for path in sorted(Path(concord.__file__).parent.rglob("*.py")):
        for function in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(function, ast.FunctionDef) and not function.name.startswith("_"):
                if getattr(function.returns, "id", "") not in ("Figure", "Picture"):
                    continue
                returns = [node.value for node in ast.walk(function) if isinstance(node, ast.Return)]
                found.append(function.name)
                undescribed = [ast.unparse(each) for each in returns if not ast.unparse(each).startswith("described(")]
                assert function.name == "described" or not undescribed, f"{path.name}: {function.name}"
    assert len(found) >= 11


@pytest.fixture(scope="module")
def fits():
    """Two fits that stop apart, and the comparison of them."""
    model = models.get("sitka-random_slope", "REML")
    found = [answer(model, engine, "default") for engine in ("statsmodels", "lme4")]
    return found, compare(*found)


def test_words_tell_what_the_data_tell(fits):
    """The main finding of every kind of picture is in its words, as the data under it have it."""
    (python, r), comparison = fits
    size = python.model.frame["size"]
    made = trajectories.trajectories(python.model.frame, "Time", "size", "tree", ("days", "log size"))
    early = size[python.model.frame["Time"] == 152].mean()
    assert "each of 79 levels of tree" in made.alt and f"from {early:.4g} to" in made.alt
    assert made.data["The mean of all"]["mean size"].iloc[0] == pytest.approx(early)
    made = estimates.estimates(python, r)
    assert "lme4 default is furthest off" in made.alt and "(statsmodels) default is within 0.1 %" in made.alt
    assert len(made.data[TITLE]) == 2 * len(python.estimates)
    made = verdicts.grid([comparison])
    assert made.alt.endswith("Of 1 comparisons: 1 r short.")
    assert made.data[TITLE].set_index("engine")["gap"]["lme4"] == pytest.approx(14.2, abs=0.1)
    made = verdicts.contours(comparison, 3)
    assert "lme4 default 14" in made.alt and len(made.data["The surface"]) == 9
    made = residuals.residuals(python)
    assert made.data[TITLE]["residual / sigma"].iloc[0] == pytest.approx(
        (size.iloc[0] - python.fitted[0]) / np.sqrt(python.residual_variance)
    )
    by_size = made.data[TITLE].sort_values("residual / sigma")
    assert by_size["normal quantile"].is_monotonic_increasing
    made = trajectories.fitted(python, r, x="Time", show=2)
    apart = float(re.search(r"further apart than ([\d.e-]+)", made.alt)[1].rstrip("."))
    assert apart == pytest.approx((made.data[TITLE].iloc[:, -1] - made.data[TITLE].iloc[:, -2]).abs().max(), rel=0.05)
    made = estimates.caterpillar(python)
    lines = made.data[TITLE]
    assert len(lines) == 2 * 79 and (lines["lower"] < lines["prediction"]).all()
    made = residuals.groups(python.model)
    assert "60 of 79 levels of tree" in made.alt and len(made.data["The observations"]) == 60 * 5
    curve = np.c_[[1.0, 2.0, 3.0], [-3.0, 0.0, -1.0]]
    assert "reach from 2 to 3" in profiles.profile(curve, 2.0, "variance").alt


def test_the_axis_of_an_estimate_that_all_agree_on_is_not_blown_up():
    """Dyestuff2's variances agree to 1e-8: a point on the line, and tick labels that are short and apart."""
    model = models.get("dyestuff2-random_intercept", "REML")
    figure = estimates.estimates(*(answer(model, engine, "default") for engine in ("statsmodels", "lme4")))
    figure.draw_without_rendering()
    wide = {axes.get_title(): np.ptp(axes.get_xlim()) for axes in figure.axes if axes.get_visible()}
    residual = figure.data[TITLE].set_index("group")["reference"]["Residual"]
    assert wide["Batch var__(Intercept)"] == pytest.approx(2e-3 * residual, rel=1e-5)
    assert wide["Residual var__Observation"] == pytest.approx(2e-3 * residual, rel=1e-5)
    assert wide["(Intercept)"] > 2  # of the whiskers
    for axes in figure.axes[1:3]:
        low, high = axes.get_xlim()
        ticks = zip(axes.get_xticks(), axes.get_xticklabels(), strict=True)
        labels = [label for at, label in ticks if low <= at <= high]
        assert len(labels) >= 2 and max(len(label.get_text()) for label in labels) <= 7
        boxes = [label.get_window_extent() for label in labels]
        assert all(left.x1 < right.x0 for left, right in zip(boxes, boxes[1:], strict=False))
