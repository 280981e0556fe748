"""The chip of a verdict, wherever one stands: its letter and its word, and how often it came."""

from __future__ import annotations

from markupsafe import Markup

from concord.vocabulary import LETTERS


def chip(word: str, count: int | None = None) -> Markup:
    """A verdict as HTML: colour is never alone."""
    often = "" if count is None else Markup(' <span class="count">{}</span>').format(count)
    return Markup('<span class="chip v-{}"><b aria-hidden="true">{}</b> {}{}</span>').format(
        word.replace(" ", "-"), LETTERS.get(word, "?"), word, often
    )
