"""The checkout that the package runs from: its notebooks, its datasets and its README, which an installed one lacks."""

from __future__ import annotations

from pathlib import Path

from concord.errors import InputError

_ROOT = Path(__file__).resolve().parents[2]


def root() -> Path | None:
    """The folder of the checkout; None where the package is installed without one."""
    return _ROOT if (_ROOT / "pyproject.toml").is_file() and (_ROOT / "notebooks").is_dir() else None


def path(*names: str) -> Path:
    """A file or folder of the checkout.

    Raises
    ------
    InputError : there is no checkout
    """
    here = root()
    if here is None:
        raise InputError(f"{'/'.join(names)}: not installed with the package: run from a checkout of the repository")
    return here.joinpath(*names)
