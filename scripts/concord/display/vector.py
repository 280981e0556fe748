"""Pictures as SVG that stands in a page and takes its colours: what is black in a figure is the page's ink, and other
colours may be the page's too.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

# Names in it do not change from one run to the next, and texts stay texts.
_STYLE: Any = {"svg.hashsalt": "concord", "svg.fonttype": "none"}


def vector(figure: Figure, names: Mapping[str, str] | None = None) -> str:
    """A figure as one ``<svg>`` element without a ground, as wide as there is room; for who cannot see it the page has
    its words.

    Parameters
    ----------
    names : by a colour of the figure, such as ``#0072B2``, the page's name of the colour to have in its place
    """
    file = io.StringIO()
    with mpl.rc_context(_STYLE):
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    content = file.getvalue()
    svg = re.sub(r"\s*<metadata>.*?</metadata>", "", content[content.index("<svg") :], flags=re.DOTALL)
    # matplotlib writes no colour where it is black
    svg = re.sub(r"#000000\b", "currentColor", svg)
    for colour, name in (names or {}).items():
        svg = svg.replace(colour.lower(), f"var(--{name}, {colour})")
    svg = svg.replace("<svg ", '<svg fill="currentColor" aria-hidden="true" focusable="false" ', 1)
    return re.sub(r"\n\s*", "\n", svg).strip()
