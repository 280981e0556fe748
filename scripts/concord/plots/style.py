"""The style that every picture shares: colours and names of engines, units, axes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from concord.display.picture import Picture
from concord.engines.fit import Fit

STYLE = {"statsmodels": ("#0072B2", "o"), "lme4": ("#D55E00", "s"), "nlme": ("#009E73", "^")}
GREY = "#6b6b6b"
_ABSENT = {"cannot express": "cannot express", "failed": "no fit", "stopped": "stopped"}


def height_of(levels: int) -> float:
    """The height of a caterpillar of so many levels, in inches: with few there must be room for what stands beside."""
    return min(10.0, max(3.0, 1.4 + 0.11 * levels))


def _gap(gap: float) -> str:
    """A gap in log-likelihood units; below a millionth it is rounding."""
    return "no parameters" if not np.isfinite(gap) else "0" if gap < 1e-6 else f"{gap:.2g}"


def plain(name: str) -> str:
    """A name as a label: what stands between two dollar signs in it is no mathematics."""
    return str(name).replace("$", r"\$")


def subplots(*shape: int, **named: Any) -> tuple[Figure, Any]:
    """A figure that a notebook shows where it is displayed, and not a second time because pyplot still holds it."""
    figure, axes = plt.subplots(*shape, layout="constrained", FigureClass=Picture, **named)
    plt.close(figure)
    return figure, axes


def listed(words: Sequence[str]) -> str:
    """Words as a list in a sentence."""
    return " and ".join([*([", ".join(words[:-1])] if words[1:] else []), *words[-1:]])


def _bounded(size: float) -> str:
    """A difference in words that do not change with the last rounding."""
    return "1e-6" if size < 1e-6 else f"{size:.2g}"


def _name(fit: Fit) -> str:
    return f"{fit.engine}, {fit.settings}"


def _quantity(name: str, unit: str) -> str:
    return f"{name} ({unit})" if unit else name


def _said(fit: Fit) -> str:
    """A fit's name in a sentence, where a comma would part it."""
    return f"{fit.engine} ({fit.settings})"


def _with_unit(name: str, unit: str) -> str:
    return plain(_quantity(name, unit))


def _label(axes: Axes, x: str, y: str, units: Sequence[str]) -> None:
    axes.set_xlabel(_with_unit(x, units[0]))
    axes.set_ylabel(_with_unit(y, units[1]))
