"""The style that every picture shares: colours and names of engines, units, axes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from concord.display.picture import Picture
from concord.engines.engine import called, engines
from concord.engines.fit import Fit
from concord.models.model import Model
from concord.models.units import effect_unit

STYLE = {"statsmodels": ("#0072B2", "o"), "lme4": ("#D55E00", "s"), "nlme": ("#009E73", "^")}
GREY = "#6b6b6b"
# Of engines that have no colour of their own above, in the order in which they are listed.
_OTHERS = (("#CC79A7", "D"), ("#E69F00", "v"), ("#56B4E9", "P"), ("#8c564b", "X"))
ABSENT = {
    "cannot express": "cannot express",
    "failed": "no fit",
    "stopped": "stopped",
    "too large": "too large",
    "left out": "left out",
}


def mark(engine: str) -> tuple[str, str]:
    """The colour and the marker of an engine."""
    if engine in STYLE:
        return STYLE[engine]
    others = [name for name in engines() if name not in STYLE]
    return _OTHERS[others.index(engine) % len(_OTHERS)] if engine in others else (GREY, "*")


def height_of(levels: int) -> float:
    """The height of a caterpillar of so many levels, in inches: with few there must be room for what stands beside,
    with many it is still to be seen at once.
    """
    return min(7.0, max(3.0, 1.4 + 0.11 * levels))


def gap_text(gap: float) -> str:
    """A gap in log-likelihood units; below a millionth it is rounding."""
    return "no parameters" if not np.isfinite(gap) else "0" if gap < 1e-6 else f"{gap:.2g}"


def plain(name: str) -> str:
    """A name as a label: what stands between two dollar signs in it is not mathematics."""
    return str(name).replace("$", r"\$")


def subplots(*shape: int, **named: Any) -> tuple[Figure, Any]:
    """A figure that a notebook shows where it is displayed, and not a second time because pyplot still holds it."""
    figure, axes = plt.subplots(*shape, layout="constrained", FigureClass=Picture, **named)
    plt.close(figure)
    return figure, axes


def listed(words: Sequence[str]) -> str:
    """Words as a list in a sentence."""
    return " and ".join([*([", ".join(words[:-1])] if words[1:] else []), *words[-1:]])


def bounded(size: float) -> str:
    """A difference in words that do not change with the last rounding."""
    return "1e-6" if size < 1e-6 else f"{size:.2g}"


def fit_label(fit: Fit) -> str:
    """A fit's name in a legend or on an axis."""
    return f"{called(fit.engine)}, {fit.settings}"


def in_unit(name: str, unit: str) -> str:
    """A quantity with its unit, where it has one."""
    return f"{name} ({unit})" if unit else name


def fit_in_words(fit: Fit) -> str:
    """A fit's name in a sentence, where a comma would part it."""
    return called(f"{fit.engine} {fit.settings}")


def effect_text(model: Model, term: str) -> str:
    """A random effect with its unit, as the label of an axis."""
    return axis_text(f"random effect: {term}", effect_unit(model, term))


def axis_text(name: str, unit: str) -> str:
    """A quantity with its unit, as the label of an axis."""
    return plain(in_unit(name, unit))


def label_axes(axes: Axes, x: str, y: str, units: Sequence[str]) -> None:
    """Name both axes."""
    axes.set_xlabel(axis_text(x, units[0]))
    axes.set_ylabel(axis_text(y, units[1]))
