"""Pictures as SVG that stands in a page and takes its colours: what is black in a figure is the page's ink."""

from __future__ import annotations

import io
import re
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

# Names in it do not change from one run to the next, and texts stay texts.
_STYLE: Any = {"svg.hashsalt": "concord", "svg.fonttype": "none"}


def vector(figure: Figure) -> str:
    """A figure as one ``<svg>`` element without a ground, as wide as there is room; for who cannot see it the page has
    its words.
    """
    file = io.StringIO()
    with mpl.rc_context(_STYLE):
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    content = file.getvalue()
    svg = re.sub(r"\s*<metadata>.*?</metadata>", "", content[content.index("<svg") :], flags=re.DOTALL)
    # matplotlib writes no colour where it is black
    svg = re.sub(r"#000000\b", "currentColor", svg)
    svg = svg.replace("<svg ", '<svg fill="currentColor" aria-hidden="true" focusable="false" ', 1)
    return re.sub(r"\n\s*", "\n", svg).strip()
