"""The rows that an executed notebook carries become two tables."""

from __future__ import annotations

import nbformat
import pandas as pd

from concord.display.media import MEDIA_TYPE
from concord.display.records import ESTIMATES_COLUMNS, FITS_COLUMNS, as_csv, collect


def fit(engine="lme4", **more):
    row = {"dataset": "sitka", "model": "slope", "method": "ML", "settings": "tuned", "engine": engine}
    return row | {"loglik": -1.5, "gap": 0.0, "digits": 9.0, "converged": True, "seconds": 0.1} | more


def estimate(term, value, engine="lme4"):
    row = {key: fit(engine)[key] for key in FITS_COLUMNS[:5]}
    return row | {"effect": "fixed", "group": None, "term": term, "estimate": value, "std_error": 0.5}


def shown(*records):
    """A notebook that shows each of these records in a cell of its own."""
    cells = [nbformat.v4.new_markdown_cell("# Title")]
    for record in records:
        output = nbformat.v4.new_output("display_data", {"text/html": "<table>", MEDIA_TYPE: record})
        cells.append(nbformat.v4.new_code_cell("1", outputs=[output]))
    return nbformat.v4.new_notebook(cells=cells)


def test_records_of_several_notebooks_are_one_table_each_with_the_columns_in_order():
    first = shown({"estimates": [estimate("Time", 2.0)], "fits": [fit()]})
    second = shown({"estimates": [estimate("Time", 2.5, "statsmodels")], "fits": [fit("statsmodels", verdict="agree")]})
    estimates, fits = collect([second, first])
    assert (tuple(estimates.columns), tuple(fits.columns)) == (ESTIMATES_COLUMNS, FITS_COLUMNS)
    assert list(fits.engine) == list(estimates.engine) == ["lme4", "statsmodels"]
    assert list(estimates.estimate) == [2.0, 2.5]


def test_a_fit_shown_twice_is_kept_once_and_the_last_wins():
    notebook = shown(
        {"estimates": [estimate("Time", 2.0)], "fits": [fit(verdict="differ")]},
        {"estimates": [estimate("Time", 3.0)], "fits": [fit(verdict="agree", messages=["a", "b"])]},
    )
    estimates, fits = collect([notebook])
    assert list(estimates.estimate) == [3.0]
    assert list(fits.verdict) == ["agree"] and fits.messages[0] == ["a", "b"]


def test_outputs_without_records_are_passed_over():
    plain = nbformat.v4.new_code_cell("1", outputs=[nbformat.v4.new_output("stream", text="x")])
    estimates, fits = collect([nbformat.v4.new_notebook(cells=[plain])])
    assert estimates.empty and fits.empty
    assert (tuple(estimates.columns), tuple(fits.columns)) == (ESTIMATES_COLUMNS, FITS_COLUMNS)


def test_cells_of_a_csv_are_no_formulas_and_obey_no_terminal():
    """What begins as a spreadsheet's formula has an apostrophe before it, but numbers are numbers."""
    table = pd.DataFrame({"group": ["=1+1|cmd", "@a", "-b", "g"], "term": ["\x1b[31mred", "a\nb", "c", "d"], "x": -1.5})
    rows = as_csv(table).splitlines()[1:]
    assert rows == ["'=1+1|cmd,\\x1b[31mred,-1.5", "'@a,a\\nb,-1.5", "'-b,c,-1.5", "g,d,-1.5"]
