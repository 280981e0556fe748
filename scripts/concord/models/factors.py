"""The factors among a model's predictors, and how R codes them, which the effects' meaning hangs on."""

from __future__ import annotations

from typing import NamedTuple

import pandas as pd
from pandas.api.types import is_bool_dtype

from concord.data.columns import level_name
from concord.models.model import Model
from concord.models.syntax import Call, Node, Text, variables, walk

# So many levels are listed.
LISTED = 6
TREATMENTS, POLYNOMIALS = "treatments", "orthogonal polynomials"
_CODINGS: dict[Node, str] = {
    Text("contr.sum"): "sums: each level but the last is held to the mean of all",
    Text("contr.helmert"): "Helmert's contrasts: each level is held to the mean of those before it",
    Text("contr.poly"): POLYNOMIALS,
}


class Factor(NamedTuple):
    """A factor among the predictors: its column, the kind of its coding, and its levels in their order."""

    name: str
    coding: str
    levels: tuple[str, ...]

    @property
    def baseline(self) -> str:
        """The level that the others are held to; empty in a coding that has none."""
        return self.levels[0] if self.coding == TREATMENTS else ""

    @property
    def told(self) -> str:
        """The same in a line, the levels as far as they are few."""
        few = f", in the order {', '.join(self.levels)}" if len(self.levels) <= LISTED else ""
        baseline = f", baseline {self.baseline}" if self.baseline else ""
        return f"{len(self.levels)} levels{few}; {self.coding}{baseline}"


def factors(model: Model) -> list[Factor]:
    """The factors among the predictors, truth values and numbers that are made factors among them."""
    tree = model.formula.tree
    calls = [
        node
        for part in (tree.fixed, *(term.columns for term in tree.random))
        for node in walk(part)
        if isinstance(node, Call) and node.function in ("factor", "as.factor", "C")
    ]
    contrasts = {variables(call)[0]: call.arguments[1] for call in calls if call.function == "C"}
    made = {name for call in calls for name in variables(call)}
    found = []
    for name, uses in model.formula.uses.items():
        column = model.frame[name]
        category = isinstance(column.dtype, pd.CategoricalDtype)
        if "predictor" in uses and (category or name in made or is_bool_dtype(column.dtype)):
            levels = column.cat.categories if category else sorted(column.dropna().unique())
            coding = _CODINGS[contrasts[name]] if name in contrasts else TREATMENTS
            coding = POLYNOMIALS if coding == TREATMENTS and category and column.cat.ordered else coding
            found.append(Factor(name, coding, tuple(map(level_name, levels))))
    return found
