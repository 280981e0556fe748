"""A finding as people read it: its section as HTML for a page and as Markdown for a terminal."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping
from typing import Any

from concord.findings.record import Finding

_SAYS_SO = {"no": "No", "partly": "In part", "yes": "Yes"}
_CODE = re.compile(r"`([^`]+)`")


class Shown:
    """Text to be shown: as Markdown or plain words, and by other media types for pages.

    Parameters
    ----------
    text : what a terminal shows
    media : by type, what a page shows, and records for it
    """

    def __init__(self, text: str, media: Mapping[str, Any]) -> None:
        self.text, self.media = text, media

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        return {"text/plain": self.text, **self.media}

    def __repr__(self) -> str:
        return self.text


def section(finding: Finding, state: str, printed: str | None, unfolded: bool) -> Shown:
    """What is said of a finding, under its heading.

    Parameters
    ----------
    finding : its record
    state : the sentence on its state here
    printed : what its reproduction printed; None where it was not run
    unfolded : whether the page shows the code at once
    """
    before = {
        "Who is affected.": finding.affects,
        "What to do.": finding.remedy,
        f"Does {finding.package} say so itself?": f"{_SAYS_SO[finding.says_so]}. {finding.words}",
    }
    after = {
        "Cause.": f"{finding.cause} (`{finding.function}`)",
        "What we propose to change.": finding.mend,
        "State.": state,
        "Tried with": "; ".join(_tried(finding)) + ".",
        "Upstream.": "" if finding.links else "We know of no issue about it.",
    }
    summary = f"The code, to be pasted ({finding.language})"
    text = [*_words(before)]
    page = [*_paragraphs(before)]
    if printed is not None:
        heading = "What the code prints here, the mend at its end:"
        text += [heading, printed]
        page += [f"<p><strong>{heading}</strong></p>", f"<pre><code>{html.escape(printed)}</code></pre>"]
    links = [f"{words}: {address}" for words, address in finding.links.items()]
    text += [f"{summary}:", finding.code, *_words(after), *links]
    code = f"<pre><code>{html.escape(finding.code)}</code></pre>"
    opened = " open" if unfolded or printed is None else ""
    page += [f"<details{opened}><summary>{summary}</summary>{code}</details>", *_paragraphs(after)]
    if links:
        pairs = [(html.escape(words), html.escape(address)) for words, address in finding.links.items()]
        items = [f'<li><a href="{address}">{words}</a></li>' for words, address in pairs]
        page.append(f"<ul>{''.join(items)}</ul>")
    return Shown("\n\n".join(text), {"text/html": "\n".join(page)})


def _words(parts: Mapping[str, str]) -> list[str]:
    return [f"{head} {words}".strip() for head, words in parts.items()]


def _paragraphs(parts: Mapping[str, str]) -> list[str]:
    """As HTML, with what stands between backticks as code."""
    shown = {head: _CODE.sub(r"<code>\1</code>", html.escape(words)) for head, words in parts.items()}
    return [f"<p><strong>{html.escape(head)}</strong> {words}</p>" for head, words in shown.items()]


def _tried(finding: Finding) -> list[str]:
    """With which versions, when, and what came of it."""
    return [
        f"{', '.join(f'{name} {version}' for name, version in tried.versions.items())} on {tried.on}: "
        + tried.came.rstrip(".")
        for tried in finding.tried
    ]
