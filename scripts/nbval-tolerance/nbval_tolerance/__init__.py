"""A pytest plugin: nbval, which runs notebooks against their committed outputs, with a tolerance for numbers.

    pytest --nbval notebooks [--nbval-rtol 1e-6] [--nbval-atol 0]

Modules, each knowing only those above it:

- `numbers`: what is a number, and when two of them are equal
- `texts`: two texts, piece by piece
- `markup`: HTML and SVG, as texts in which names made up for one run may change
- `data`: JSON
- `outputs`: which media type is compared by which of these
- `cells`: what a cell asks for by a tag or a comment
- `versions`: what of it is compared with some versions only
- `plugin`: nbval's notebook and cell, with this comparison
- `strict`: the same with nbval's own holes closed, where `nbval_strict` asks for it
"""

from nbval_tolerance.plugin import pytest_addoption, pytest_collect_file, pytest_configure, pytest_terminal_summary

__all__ = ["pytest_addoption", "pytest_collect_file", "pytest_configure", "pytest_terminal_summary"]
