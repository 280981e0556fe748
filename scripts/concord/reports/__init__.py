"""Notebooks executed in batch, their pages and the site; they carry records and know no statistics."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submodules=[
        "batch",
        "answer",
        "beginning",
        "cell_origins",
        "dataset_pages",
        "execution",
        "exporter",
        "folds",
        "front",
        "notebooks",
        "page",
        "places",
        "rendering",
        "site",
        "tidying",
    ],
)
