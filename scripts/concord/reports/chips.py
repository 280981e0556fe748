"""The chip of a verdict, wherever one stands: its letter and its word, and how often it came."""

from __future__ import annotations

from markupsafe import Markup

from concord.vocabulary import LETTERS


def chip(word: str, count: int | None = None, letter: bool = True) -> Markup:
    """A verdict as HTML: colour is never alone. The letter is for pages that have a key to it."""
    often = "" if count is None else Markup(' <span class="count">{}</span>').format(count)
    first = Markup('<b aria-hidden="true">{}</b> ').format(LETTERS.get(word, "?")) if letter else ""
    return Markup('<span class="chip v-{}">{}{}{}</span>').format(word.replace(" ", "-"), first, word, often)
