"""Rendering: a page of the site from one of its own templates and what stands in it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import jinja2
from markupsafe import Markup

from concord.reports import page
from concord.reports.chips import chip
from concord.vocabulary import LETTERS


def render(template: str, title: str, **content: Any) -> str:
    """A page from a template, which has the site's head, frames, chips and script; what else is in it is escaped."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(page.TEMPLATES),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    parts = {"head": Markup(page.head(title)), "script": Markup(page.script()), "made": datetime.now(UTC)}
    parts["chip"], parts["letters"] = chip, LETTERS
    parts["frame"] = lambda label: Markup(page.frame(label))
    return environment.get_template(template).render(**parts, **content)
