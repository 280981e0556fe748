"""Listings: the whole way from a file to the fit as code, in both languages, ready to paste."""

from __future__ import annotations

import html
from typing import Any

import pandas as pd

from concord.engines.engine import CannotExpress, party
from concord.models.model import Model
from concord.models.syntax import literal

# So many levels are listed; of more, sorted ones, the code says that they are sorted.
LISTED = 12

# How each language reads a file, by its suffix; rdata reads what R saved without running R.
_PYTHON = {
    ".csv": "pd.read_csv({file})",
    ".tsv": 'pd.read_csv({file}, sep="\\t")',
    ".parquet": "pd.read_parquet({file})",
    ".feather": "pd.read_feather({file})",
    ".rds": "rdata.read_rds({file})",
}
_R = {
    ".csv": "read.csv({file}, check.names = FALSE, stringsAsFactors = TRUE)",
    ".tsv": "read.delim({file}, check.names = FALSE, stringsAsFactors = TRUE)",
    ".parquet": "as.data.frame(arrow::read_parquet({file}))",
    ".feather": "as.data.frame(arrow::read_feather({file}))",
    ".rds": "readRDS({file})",
}
_SAME = {".tab": ".tsv", ".txt": ".tsv", ".pq": ".parquet", ".arrow": ".feather"}


class Listings:
    """The code that fits one model, by language.

    Attributes
    ----------
    python, r : ready to paste; a comment with the reason where Python's party cannot express the model

    Parameters
    ----------
    model : on rows without missing values
    source : the file's name; None for a table in memory
    """

    def __init__(self, model: Model, source: str | None) -> None:
        self.python, self.r = _python(model, source), _r(model, source)

    def __repr__(self) -> str:
        return f"# Python\n{self.python}\n\n# R\n{self.r}"

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        # Names of columns stand in the code, and whatever they hold is text.
        titled = {"Python": self.python, "R": self.r}.items()
        shown = [f"<h3>{title}</h3>\n<pre><code>{html.escape(code)}</code></pre>" for title, code in titled]
        return {"text/plain": repr(self), "text/html": "\n".join(shown)}


def _python(model: Model, source: str | None) -> str:
    package = party("Python")
    try:
        fitted = package.call(model)
    except CannotExpress as error:
        return f"# {error}"
    suffix = _suffix(source)
    imports = {"import pandas as pd", *package.imports(model), *(["import rdata"] if suffix == ".rds" else [])}
    name = model.dataset.id
    columns = ", ".join(map(literal, model.formula.variables))
    lines = [f"{name} = {_PYTHON[suffix].format(file=literal(source))}"] if source else []
    lines.append(f"{name} = {name}.dropna(subset=[{columns}])")
    for factor in _factors(model):
        levels = model.frame[factor].cat.categories
        column = f"{name}[{literal(factor)}]"
        of = f"[{', '.join(map(literal, levels))}]" if _stated(model, factor) else f"sorted(set({column}.astype(str)))"
        ordered = ", ordered=True" if model.frame[factor].cat.ordered else ""
        lines.append(f"{column} = pd.Categorical({column}.astype(str), {of}{ordered})")
    return "\n".join([*sorted(imports, key=lambda line: (line.startswith("from"), line)), "", *lines, fitted])


def _r(model: Model, source: str | None) -> str:
    name = model.dataset.id
    columns = ", ".join(map(_quoted, model.formula.variables))
    lines = [f"{name} <- {_R[_suffix(source)].format(file=_quoted(source))}"] if source else []
    lines.append(f"{name} <- na.omit({name}[c({columns})])")
    for factor in _factors(model):
        levels = model.frame[factor].cat.categories
        column = f"{name}[[{_quoted(factor)}]]"
        of = f"c({', '.join(map(_quoted, levels))})"
        if not _stated(model, factor):
            of = f'sort(unique(as.character({column})), method = "radix")'
        ordered = ", ordered = TRUE" if model.frame[factor].cat.ordered else ""
        lines.append(f"{column} <- factor({column}, levels = {of}{ordered})")
    package = party("R")
    return "\n".join([*package.imports(model), "", *lines, package.call(model)])


def _factors(model: Model) -> list[str]:
    """The factors whose levels' order matters: they are more than groups, and a file does not tell it."""
    return [
        name
        for name, uses in model.formula.uses.items()
        if isinstance(model.frame[name].dtype, pd.CategoricalDtype) and not uses <= {"group"}
    ]


def _stated(model: Model, factor: str) -> bool:
    """Whether the levels are to be listed: they are few, or not in the order of their code points."""
    levels = list(model.frame[factor].cat.categories)
    return len(levels) <= LISTED or levels != sorted(levels)


def _suffix(source: str | None) -> str:
    """The suffix under which the ways to read stand."""
    parts = [f".{part.lower()}" for part in (source or "").split(".")[1:] if part.lower() != "gz"]
    suffix = _SAME.get(parts[-1], parts[-1]) if parts else ".csv"
    return suffix if suffix in _PYTHON else ".csv"


def _quoted(text: str) -> str:
    """Text as R writes it."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
