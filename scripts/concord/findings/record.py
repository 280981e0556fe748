"""What is claimed of a finding: a table of ``notebooks/findings/findings.toml``, with its reproduction beside the file.

A reproduction ends by printing a line of JSON, numbers by name. The record says between which bounds they lie while the
finding holds, and between which they lie once it is mended.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, ValidationError

from concord import checkout, files
from concord.data import version_ranges
from concord.data.datasets import StrictRecord, first_mistake
from concord.errors import InputError

FILE = "findings.toml"
LANGUAGES = {".py": "Python", ".R": "R"}
"""Of reproductions, by the ending of the file."""
_BOUND = re.compile(r"(<=|>=|<|>) ?([-+]?\d+(?:\.\d+)?(?:e[-+]?\d+)?)")


def _one_line(text: str) -> str:
    if not text.strip() or text != " ".join(text.split()):
        raise ValueError("must be words on one line")
    return text


def _range(text: str) -> str:
    version_ranges.contains(text, "0")
    return text


def _link(text: str) -> str:
    if not re.fullmatch(r"https://[\w.-]+/\S*", text):
        raise ValueError("must be an address that begins with https://")
    return text


def _bounds(text: str) -> str:
    if not all(_BOUND.fullmatch(part.strip()) for part in text.split(",")):
        raise ValueError(f"{text!r} is no bound, such as '> 1' or '> 0, < 1e-6'")
    return text


Words = Annotated[str, AfterValidator(_one_line)]
Bounds = Annotated[dict[str, Annotated[str, AfterValidator(_bounds)]], Field(min_length=1)]
"""By the name of a number, between what it lies: ``> 1``, or several with commas between."""


class Tried(StrictRecord):
    """One time that a finding was looked for: with which versions, when, and what came of it."""

    versions: Annotated[dict[str, str], Field(min_length=1)]
    on: date
    came: Words


class Finding(StrictRecord):
    """A defect or a trap of a package.

    Attributes
    ----------
    id : its anchor, and the name of its reproduction
    title : what is wrong, in one sentence
    package, function : where: the package, and the function in its source
    affects : who is affected
    says_so, words : whether the package says so itself, and by which words or none
    cause, remedy, mend : why it is so; what to do, in one line; what to change in the package
    links : addresses of issues and of documentation, by what they are
    holds : with which versions, a range by package; empty for all
    defect, mended : the bounds of the reproduction's numbers while it holds, and of those that its mend gives
    tried : with which versions it was looked for
    card : whether it is one of those that matter most
    path : the reproduction
    """

    id: str
    title: Words
    package: Words
    function: Words
    affects: Words
    says_so: Literal["no", "partly", "yes"]
    words: Words
    cause: Words
    remedy: Words
    mend: Words
    links: dict[Words, Annotated[str, AfterValidator(_link)]] = Field(default_factory=dict)
    holds: dict[str, Annotated[str, AfterValidator(_range)]] = Field(default_factory=dict)
    defect: Bounds
    mended: Bounds
    tried: Annotated[list[Tried], Field(min_length=1)]
    card: bool = False
    path: Path

    @property
    def language(self) -> str:
        """Of its reproduction."""
        return LANGUAGES[self.path.suffix]

    @property
    def code(self) -> str:
        """Its reproduction, to be pasted."""
        return self.path.read_text(encoding="utf-8").rstrip()


def read(folder: Path | None = None) -> dict[str, Finding]:
    """The findings of a folder (default: the repository's ``notebooks/findings``), by id, in the order of the file.

    Raises
    ------
    InputError : the file is not there, or is not what it should be; a reproduction is missing, or belongs to nothing
    """
    folder = checkout.path("notebooks", "findings") if folder is None else Path(folder)
    file = folder / FILE
    content = files.read_toml(file)
    findings = {id: _finding(file, id, table) for id, table in content.items()}
    unused = {path.name for path in folder.iterdir() if path.suffix in LANGUAGES and path.stem not in findings}
    if unused:
        raise InputError(f"{file}: no finding is reproduced by {', '.join(sorted(unused))}")
    return findings


def _finding(file: Path, id: str, table: object) -> Finding:
    if not re.fullmatch(r"[a-z][a-z0-9_]*", id) or not isinstance(table, Mapping):
        raise InputError(f"{file}: {id}: must be a table, its name of small letters, digits and _")
    paths = [path for ending in LANGUAGES if (path := file.parent / f"{id}{ending}").is_file()]
    if len(paths) != 1:
        raise InputError(f"{file}: {id}: must have one reproduction, {id}.py or {id}.R; it has {len(paths)}")
    try:
        return Finding.model_validate({**table, "id": id, "path": paths[0]})
    except ValidationError as error:
        loc, what = first_mistake(error)
        raise InputError(f"{file}: {'.'.join(map(str, (id, *loc)))}: {what}") from None


def within(bounds: str, number: float) -> bool:
    """Whether a number lies between bounds, see `Bounds`; no number, nan, lies between none."""
    held = []
    for part in bounds.split(","):
        match = _BOUND.fullmatch(part.strip())
        assert match is not None  # validated when it was read
        sign, bound = match[1], float(match[2])
        held.append({"<": number < bound, "<=": number <= bound, ">": number > bound, ">=": number >= bound}[sign])
    return all(held)
