"""What fits predict: effects of levels, fitted values, new rows, explained variance."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__, submodules=[], submod_attrs={"predictions": ["lines", "predictions_table"]}
)
