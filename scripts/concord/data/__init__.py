"""Tables from files, as they were written, and the data sets of the catalogue; no model, no formula."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submodules=["arrow", "datasets", "delimited", "description", "rds"],
    submod_attrs={"tables": ["read"], "source": ["SourceError"], "datasets": ["DatasetError"]},
)
