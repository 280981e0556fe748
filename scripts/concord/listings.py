"""Listings: the whole way from a file to the fit as code, in both languages, ready to paste."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Any

from concord.engines import lme4, mixedlm
from concord.formulas import CannotExpress
from concord.models import Model

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
    python, r : ready to paste; a comment with the reason where MixedLM cannot express the model

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
        shown = [f"<h4>{title}</h4>\n<pre><code>{html.escape(code)}</code></pre>" for title, code in self._titled]
        return {"text/plain": repr(self), "text/html": "\n".join(shown)}

    @property
    def _titled(self) -> tuple[tuple[str, str], ...]:
        return (("Python", self.python), ("R", self.r))


def _python(model: Model, source: str | None) -> str:
    try:
        fitted = mixedlm.call(model)
    except CannotExpress as error:
        return f"# {error}"
    suffix = _suffix(source)
    imports = [*getattr(mixedlm, 'imports', lambda m: ['import statsmodels.formula.api as smf'])(model), *(["import rdata"] if suffix == ".rds" else [])]
    name = model.dataset.id
    columns = ", ".join(map(repr, model.formula.variables))
    read = [f"{name} = {_PYTHON[suffix].format(file=repr(source))}"] if source else []
    complete = f"{name} = {name}.dropna(subset=[{columns}])"
    return "\n".join([*imports, "", *read, complete, fitted])


def _r(model: Model, source: str | None) -> str:
    name = model.dataset.id
    columns = ", ".join(map(_quoted, model.formula.variables))
    read = [f"{name} <- {_R[_suffix(source)].format(file=_quoted(source))}"] if source else []
    complete = f"{name} <- na.omit({name}[c({columns})])"
    return "\n".join(["library(lme4)", "", *read, complete, lme4.call(model)])


def _suffix(source: str | None) -> str:
    """The suffix under which the ways to read stand."""
    parts = [f".{part.lower()}" for part in (source or "").split(".")[1:] if part.lower() != "gz"]
    suffix = _SAME.get(parts[-1], parts[-1]) if parts else ".csv"
    return suffix if suffix in _PYTHON else ".csv"


def _quoted(text: str) -> str:
    """Text as R writes it."""
    escaped: Sequence[str] = [f"\\{each}" if each in '\\"' else each for each in text]
    return '"' + "".join(escaped) + '"'
