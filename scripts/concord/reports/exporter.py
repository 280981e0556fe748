"""What a page asks of nbconvert: Markdown with its formulas as MathML, and the exporter with a page's own filters."""

from __future__ import annotations

import html
import logging
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from xml.etree import ElementTree

from latex2mathml.converter import convert
from nbconvert import HTMLExporter
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath

from concord.errors import InputError, one_line


def exporter(template: str, folder: Path, filters: Mapping[str, Callable[..., str]]) -> HTMLExporter:
    """The exporter of notebooks to HTML by a template of a folder, which uses these filters.

    Raises
    ------
    InputError : nbconvert does not find the folder of a template
    """
    logging.getLogger("traitlets").addHandler(logging.NullHandler())
    try:
        html_exporter = HTMLExporter(template_name=template, extra_template_basedirs=[str(folder)], embed_images=True)
    except ValueError as error:  # as nbconvert says that none of its folders holds a template
        raise InputError(
            f"no page can be written: nbconvert finds no template {template!r} ({one_line(str(error))}); install "
            "nbconvert anew, or name the folder that holds nbconvert/templates in JUPYTER_PATH"
        ) from error
    for name, function in {"markdown2html": markdown, **filters}.items():
        html_exporter.register_filter(name, function)
    return html_exporter


def markdown(source: str) -> str:
    """A cell's Markdown as HTML."""
    renderer = _Renderer(escape=False, embed_images=True, exclude_anchor_links=True)
    return MarkdownWithMath(renderer=renderer).render(source)


# Words in LaTeX, and what stands in their place while it is translated, which escapes nothing in them.
_TEXT = re.compile(r"\\text\w*\{[^{}]*\}")
_MASKED = {ord("<"): "\ue000", ord(">"): "\ue001", ord("&"): "\ue002"}
_ELEMENT = re.compile(
    r"(\{http://www\.w3\.org/1998/Math/MathML\})?"
    r"(math|semantics|annotation|m(row|i|n|o|s|text|space|sub|sup|subsup|under|over|underover|multiscripts|prescripts|frac"
    r"|sqrt|root|style|padded|phantom|enclose|fenced|error|table|tr|td|labeledtr))"
)


def mathematics(latex: str, display: str = "inline") -> str:
    """LaTeX as MathML, which browsers show by themselves; what cannot be translated is shown as it was written."""
    try:
        mathml = convert(_TEXT.sub(lambda text: text[0].translate(_MASKED), latex), display=display)
        for mask, letter in _MASKED.items():
            mathml = mathml.replace(letter, html.escape(chr(mask)))
        # Beyond such texts the translation leaves what is in LaTeX as it is: what is no mathematics is not let through.
        if not all(_ELEMENT.fullmatch(element.tag) for element in ElementTree.fromstring(mathml).iter()):
            raise ValueError("an element that is not MathML")
    except Exception:  # whatever a parser of LaTeX stumbles over: the page still shows it
        return f"<code>{html.escape(latex)}</code>"
    # As the relation that it stands for, with a relation's space around it
    mathml = mathml.replace("<mi>&#x0007E;</mi>", "<mo>&#x0223C;</mo>")
    return mathml.replace("<math ", f'<math alttext="{html.escape(" ".join(latex.split()))}" ', 1)


class _Renderer(IPythonRenderer):
    def block_math(self, body: str) -> str:
        shown = mathematics(body, "block")
        return f'<div class="formula" tabindex="0" role="group" aria-label="Formula">{shown}</div>\n'

    def latex_environment(self, name: str, body: str) -> str:
        return self.block_math(f"\\begin{{{name}}}{body}\\end{{{name}}}")

    def inline_math(self, body: str) -> str:
        return mathematics(body)
