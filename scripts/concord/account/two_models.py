"""The likelihood-ratio test of two formulas on one table, by every package."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd

from concord.account.model_tests import Tested, of_two, tests_table
from concord.display import table as tables
from concord.engines.answers import answer
from concord.engines.engine import parties
from concord.models import formula as formulas
from concord.models.given import Table, table_of
from concord.models.of_table import model_of
from concord.vocabulary import INDEPENDENT

SETTINGS = "tuned"


class Ratio(tables.Shown):
    """The likelihood-ratio test of two models.

    Attributes
    ----------
    tested : every package's ratio and the independent one
    table : see `model_tests.tests_table`; one row a source
    notes : a sentence each
    """

    def __init__(self, tested: Tested, notes: tuple[str, ...]) -> None:
        self.tested = tested
        self.table: pd.DataFrame = tests_table([tested])
        said = [tested.remark] if tested.remark else []
        said += [f"Not tested: {tested.refused}"] if tested.refused else []
        said += [f"{source}: no fit: {why}" for source, why in tested.absent.items()]
        self.notes = tuple(dict.fromkeys([*(f"{sentence[:1].upper()}{sentence[1:]}." for sentence in said), *notes]))

    def _rendered(self) -> tables.Rendered:
        pair = self.tested
        sources = {**pair.ratios, **({INDEPENDENT: pair.independent} if pair.independent else {})}
        rows = []
        for source, ratio in sources.items():
            low, high = ratio.p_bounds
            p = tables.p_value(ratio.p_value) if ratio.weights else f"{low:.4g} to {high:.4g}"
            rows.append([source, tables.number(ratio.statistic), str(ratio.df), tables.p_value(ratio.naive), p])
        header = ["source", "likelihood ratio", "df", "naive p", "p"]
        return f"{pair.null}\nin {pair.alternative}", header, rows, 1, self.notes


def likelihood_ratio(data: Table, formula: str, other: str, method: str = "REML", weights: str | None = None) -> Ratio:
    """Test two formulas, of which one is a special case of the other, on the rows that both can use.

    By REML models with other fixed parts are not comparable: both are then fitted by ML, and the answer says so.

    Parameters
    ----------
    data : a file, a table, or the id of a dataset of the workbook
    formula, other : in lme4's notation
    method : ``REML`` or ``ML``
    weights : the column of the rows' weights

    Raises
    ------
    SourceError, FormulaError, PreparationError, ModelError : as for `concord.Inquiry`
    """
    source, name, table = table_of(data)
    used = {
        variable
        for text in (formula, other)
        for variable in formulas.parse(formulas.read(text, table).sources, weights).variables
    }
    missing = table[[variable for variable in table.columns if variable in used]].isna().any(axis=1)
    left_out = f"{missing.sum()} of {len(table)} rows left out: missing in one of the two formulas."
    attrs, table = table.attrs, table[~missing].reset_index(drop=True)
    table.attrs = attrs
    one, two = (
        replace(model_of(table, text, method, source, name, weights)[0], name=text) for text in (formula, other)
    )
    return Ratio(
        of_two(one, two, parties(), lambda model, engine: answer(model, engine, SETTINGS)),
        (left_out,) if missing.any() else (),
    )
