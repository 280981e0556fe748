"""Places: where in the site the page of a data set stands, and on it every model; relative to the front page."""

from __future__ import annotations

from urllib.parse import quote

FOLDER = "datasets"


def dataset_page(dataset: str) -> str:
    """The address of a data set's page: ``datasets/sitka.html``."""
    return f"{FOLDER}/{quote(dataset, safe='')}.html"


def model_page(model: str) -> str:
    """The address of a model, whose id is its anchor: ``datasets/sitka.html#sitka-random_slope``."""
    return f"{dataset_page(model.partition('-')[0])}#{quote(model, safe='')}"
