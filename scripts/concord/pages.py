"""Pages: an executed notebook as one HTML file that asks the network for nothing, mathematics included."""

from __future__ import annotations

import html
import logging
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import nbformat

TEMPLATES = Path(__file__).parent / "templates"


def page(notebook: nbformat.NotebookNode) -> str:
    """A kept notebook, which says in `metadata.concord` what came of it, as one HTML file with its pictures inside."""
    about = notebook.metadata["concord"]
    title = f"{about['name']}, {about['method']}" if about["method"] else about["name"]
    return _exporter().from_notebook_node(notebook, {"metadata": {"name": title}, "concord": about})[0]


def mathematics(latex: str, display: str = "inline") -> str:
    """LaTeX as MathML, which browsers show by themselves; what cannot be translated is shown as it was written."""
    from latex2mathml.converter import convert

    try:
        return convert(latex, display=display)
    except Exception:  # whatever a parser of LaTeX stumbles over: the page still shows it
        return f"<code>{html.escape(latex)}</code>"


@cache
def _exporter() -> Any:
    # Two seconds to import, and the first notebook is running meanwhile.
    from nbconvert import HTMLExporter
    from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath

    logging.getLogger("traitlets").addHandler(logging.NullHandler())

    class Renderer(IPythonRenderer):
        def block_math(self, body: str) -> str:
            return mathematics(body, "block")

        def inline_math(self, body: str) -> str:
            return mathematics(body)

    def markdown(source: str) -> str:
        return MarkdownWithMath(renderer=Renderer(escape=False, embed_images=True, anchor_link_text="¶")).render(source)

    exporter = HTMLExporter(template_name="report", extra_template_basedirs=[str(TEMPLATES)], embed_images=True)
    exporter.register_filter("markdown2html", markdown)
    return exporter
