"""Lines of fitted values, residuals and predictions: of the rows that were fitted, and of new ones."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from concord.account.line import Line
from concord.account.predictions.sources import Source, Sources
from concord.models.matrices import new_rows

FITTED, PREDICTED = "fitted values", "predictions"


def fitted_lines(sources: Sources) -> list[Line]:
    """Fitted values and residuals of every kind, all rows in a line."""
    design = sources.comparison.model.design.as_coded
    offset = np.zeros(len(design.y)) if design.offset is None else design.offset

    def marginal(source: Source) -> np.ndarray:
        return design.X @ source.fit.fixed + (0.0 if source.without_offset else offset)

    def conditional(source: Source) -> np.ndarray:
        return source.solution.fitted - (offset if source.without_offset else 0.0)

    def predicted(source: Source) -> np.ndarray:
        fixed_only = source.said.definitions.get("predicted", "").startswith("predict_fixed")
        return (marginal if fixed_only else conditional)(source)

    def residual(source: Source) -> np.ndarray:
        return source.solution.residuals

    def scaled(source: Source) -> np.ndarray:
        if source.said.definitions.get("scaled") == "scaled_without_weights":
            residuals: np.ndarray = residual(source) / np.sqrt(source.fit.residual_variance)
            return residuals
        return _over_deviation(source)

    def pearson(source: Source) -> np.ndarray:
        not_scaled = source.said.definitions.get("pearson") == "pearson_not_scaled"
        return (_of_one_variance if not_scaled else _over_deviation)(source)

    lines = []
    for quantity, name, expected, scale in (
        ("fitted values, fixed and random effects", "fitted", conditional, sources.deviation),
        ("fitted values, fixed effects only", "fitted_fixed", marginal, sources.deviation),
        ("what predict() gives", "predicted", predicted, sources.deviation),
        ("residuals", "residual", residual, sources.deviation),
        # In units of the residual deviation, or in two different ones.
        ("residuals over their deviation", "scaled", scaled, np.nan),
        ("residuals called Pearson's", "pearson", pearson, np.nan),
    ):
        lines += sources.line(FITTED, quantity, "fitted_value", name, expected, scale=scale)
    return lines


def _of_one_variance(source: Source) -> np.ndarray:
    return source.solution.residuals_of_one_variance


def _over_deviation(source: Source) -> np.ndarray:
    residuals: np.ndarray = _of_one_variance(source) / np.sqrt(source.fit.residual_variance)
    return residuals


def new_lines(sources: Sources) -> list[Line]:
    """Predictions at the new rows: of the fixed effects, and with the random ones where levels are known or not."""
    model = sources.comparison.model
    rows = new_rows(model.formula, model.design, model.frame, sources.new)

    def expected(random: bool, which: np.ndarray) -> Callable[[Source], np.ndarray]:
        def at(source: Source) -> np.ndarray:
            values = source.solution.predict(rows, random, errors=False)["estimate"].to_numpy()
            shown: np.ndarray = (values - (rows.offset if source.without_offset else 0.0))[which]
            return shown

        return at

    def where(which: np.ndarray) -> Callable[[np.ndarray], np.ndarray | None]:
        def of(values: np.ndarray) -> np.ndarray | None:
            return None if np.isnan(values[which]).all() else values[which]

        return of

    # A row that lacks a number has no prediction.
    whole = sources.all[0].solution.predict(rows, errors=False)["estimate"].notna().to_numpy()
    lines = []
    for quantity, name, random, which in (
        ("predictions, fixed effects only", "new_fixed", False, whole),
        ("predictions, known levels", "new", True, whole & rows.known),
        ("predictions, unknown levels", "new", True, whole & ~rows.known),
    ):
        if not which.any():
            continue
        lines += sources.line(
            PREDICTED,
            quantity,
            "fitted_value",
            name,
            expected(random, which),
            part=where(which),
            scale=sources.deviation,
            otherwise="" if rows.known[which].any() else "new, unknown levels",
        )
    return lines
