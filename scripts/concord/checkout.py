"""The checkout that the package runs from: its notebooks, its datasets and its README, which an installed one lacks."""

from __future__ import annotations

from pathlib import Path

from concord.errors import InputError

_SCRIPTS = Path(__file__).resolve().parents[1]
_ROOT = _SCRIPTS.parent


def root() -> Path | None:
    """The folder of the checkout; None where the package is installed without one."""
    # Installed into a folder of another project, the package may stand two folders below a pyproject.toml as well.
    held = (_ROOT / "pyproject.toml").is_file() and all((_ROOT / name).is_dir() for name in ("notebooks", "datasets"))
    return _ROOT if held and _SCRIPTS.name == "scripts" else None


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
