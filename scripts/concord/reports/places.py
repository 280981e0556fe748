"""Places: where in the site the page of a data set stands, and on it every model, relative to the front page; and where
the site leads to elsewhere.
"""

from __future__ import annotations

import csv
import html
import io
import re
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import quote

from concord import checkout
from concord.data import datasets

FOLDER = "datasets"


def dataset_page(dataset: str) -> str:
    """The address of a data set's page: ``datasets/sitka.html``."""
    return f"{FOLDER}/{quote(dataset, safe='')}.html"


def model_page(model: str) -> str:
    """The address of a model, whose id is its anchor: ``datasets/sitka.html#sitka-random_slope``."""
    return f"{dataset_page(model.partition('-')[0])}#{quote(model, safe='')}"


def models() -> list[str]:
    """The ids of the models that have a place: those of the checkout's catalogue, if there is one."""
    if checkout.root() is None:
        return []
    return [f"{id}-{name}" for id in datasets.catalogue() for name in datasets.load(id).models]


def linked(content: str, models: Iterable[str]) -> str:
    """A page that leads from a model to its place: from a heading and from a table's cell that is its id, and from a
    caption that begins with it.

    Parameters
    ----------
    content : HTML
    models : the ids of those that have a place
    """
    places = {html.escape(model): model_page(model) for model in models}
    ids = "|".join(map(re.escape, sorted(places, key=len, reverse=True)))
    if not ids:
        return content

    def link(match: re.Match[str]) -> str:
        return f'{match[1]}<a href="{places[match[2]]}">{match[2]}</a>'

    content = re.sub(rf"(<(?:t[hd]|h2)[^>]*>)({ids})(?=</(?:t[hd]|h2)>)", link, content)
    return re.sub(rf"(<caption[^>]*><strong>)({ids})(?=[,<])", link, content)


def outside(folder: Path) -> str:
    """The addresses elsewhere that the pages in a folder lead to, as CSV: ``address, pages``, a row an address."""
    pages = defaultdict(list)
    for path in sorted(folder.rglob("*.html")):
        for address in sorted(set(re.findall(r'<a[^>]* href="(https?://[^"]*)"', path.read_text(encoding="utf-8")))):
            pages[html.unescape(address)].append(path.relative_to(folder).as_posix())
    with io.StringIO(newline="") as written:
        table = csv.writer(written, lineterminator="\n")
        table.writerow(["address", "pages"])
        table.writerows([address, " ".join(pages[address])] for address in sorted(pages))
        return written.getvalue()
