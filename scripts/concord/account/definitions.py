"""Definitions: where packages mean different things by one name, what each number is, and how one leads to another."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pandas as pd


@dataclass(frozen=True)
class Definition:
    """What a number is, so that two of them can be told to be numbers of one thing or of two.

    Attributes
    ----------
    title : in a few words
    formula : what it is, in the notation of the tables
    latex : the same in LaTeX; empty where it is words only
    conversion : how to come from here to the definition that the others have; empty where this is the common one
    source : where it is written down
    """

    title: str
    formula: str
    conversion: str = ""
    source: str = ""
    latex: str = ""


@cache
def definitions() -> Mapping[str, Definition]:
    """All definitions by name, from ``definitions.toml``."""
    content = tomllib.loads(Path(__file__).with_name("definitions.toml").read_text(encoding="utf-8"))
    return {name: Definition(**entry) for name, entry in content.items()}


def conversions(names: Iterable[str] | None = None) -> pd.DataFrame:
    """How every definition that is not the common one leads to it: ``title, formula, conversion, source``, by name.

    Parameters
    ----------
    names : of definitions; by default all
    """
    chosen = {name: definitions()[name] for name in (definitions() if names is None else names)}
    rows = {name: vars(definition) for name, definition in chosen.items() if definition.conversion}
    return pd.DataFrame.from_dict(rows, orient="index", columns=["title", "formula", "conversion", "source"])
