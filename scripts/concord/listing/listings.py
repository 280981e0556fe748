"""Listings: the whole way from a file to the fit and its summary as code, in both languages, ready to paste."""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from concord.data.written import WRITTEN
from concord.engines.engine import CannotExpress, party
from concord.errors import one_line
from concord.listing import readers
from concord.models.model import Model
from concord.models.syntax import literal, r_literal
from concord.vocabulary import LANGUAGES

# So many levels are listed; of more, sorted ones, the code says that they are sorted.
LISTED = 12
# A call of R that is longer is broken before its control, so that a page shows it whole.
WIDTH = 90
_PANDAS = "import pandas as pd"


@dataclass(frozen=True)
class Written:
    """A fit as it is written in one language.

    Attributes
    ----------
    call : the code of the fit, its last line the fit itself; None for the default call of the language's party
    steps : statements on the table that run before it
    """

    call: str | None = None
    steps: Sequence[str] = ()


@dataclass(frozen=True)
class Condemned:
    """A default call that misses the optimum: what is to be said of it, and what to write in its place, if anything."""

    reason: str
    instead: Written | None = None


class Listings:
    """The code that fits one model, by language.

    Attributes
    ----------
    python, r : ready to paste; a comment with the reason where Python's party cannot express the model
    condemned : by language the default code, where `python` or `r` is another call because that misses the optimum

    Parameters
    ----------
    model : on rows without missing values
    source : the file's name; None for a table in memory
    condemned : by language what is known of its default call, where that misses the optimum
    """

    def __init__(self, model: Model, source: str | None, condemned: Mapping[str, Condemned] | None = None) -> None:
        codes: dict[str, str] = {}
        self.condemned: dict[str, str] = {}
        for language in LANGUAGES:
            known = (condemned or {}).get(language)
            default = code(language, model, source)
            codes[language] = default
            if known is not None:
                marked = f"# The default call: {one_line(known.reason)}.\n{default}"
                codes[language] = code(language, model, source, known.instead) if known.instead else marked
                if known.instead:
                    self.condemned[language] = marked
        self.python, self.r = (codes[language] for language in LANGUAGES)

    @property
    def _titled(self) -> list[tuple[str, str]]:
        first = list(zip(LANGUAGES, (self.python, self.r), strict=True))
        return first + [(f"{language}, as it ships", text) for language, text in self.condemned.items()]

    def __repr__(self) -> str:
        return "\n\n".join(f"# {title}\n{text}" for title, text in self._titled)

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        # Names of columns stand in the code, and whatever they hold is text.
        shown = [f"<h3>{title}</h3>\n{as_html(text)}" for title, text in self._titled]
        return {"text/plain": repr(self), "text/html": "\n".join(shown)}


def as_html(text: str) -> str:
    """Code as HTML shows it."""
    return f"<pre><code>{html.escape(text)}</code></pre>"


def code(language: str, model: Model, source: str | None, written: Written = Written()) -> str:
    """The whole way from a file to a fit and its summary in one language; a comment with the reason, where its party
    cannot express the model.

    Parameters
    ----------
    language : ``Python`` or ``R``
    model : on rows without missing values
    source : the file's name; None for a table in memory
    written : the fit, by default the party's call as it ships
    """
    try:
        call = written.call or party(language).call(model)
        before = party(language).imports(model)
    except CannotExpress as error:
        return _nearest(model, error, lambda nearest: code(language, nearest, source))
    *setup, fitted = call.split("\n")
    name, kept = model.dataset.id, "fit" if model.dataset.id != "fit" else "result"
    if language == "Python":
        read = readers.python(model, source)
        made = (line for one in model.made for line in one.imports)
        before = _sorted({_PANDAS, *before, *read.imports, *made})
        table, shown = _python(model, read), [f"{kept} = {fitted}", f"print({kept}.summary())"]
        if model.formula.weights is not None:  # the roots that MixedLM's rows were multiplied by
            shown.append(f"print({kept}.llf + np.log(roots).sum())  # the log-likelihood of the rows as they are")
    else:
        before_control, comma, control = fitted.rpartition(", control = ")  # R writes that argument last
        if len(fitted) > WIDTH and comma and "`" not in control:
            fitted = f"{before_control},\n  control = {control}"
        read = readers.r(model, source)
        table, shown = _r(model, read), [f"{kept} <- {fitted}", f"print(summary({kept}))"]
    if source is None:
        table.insert(0, f"# {name}: the table")
    return "\n".join([*before, "", *table, *written.steps, *setup, *shown])


def fit_code(language: str, model: Model, alone: bool = False) -> str:
    """The call alone that fits a model in one language, after the statements that compute columns for it; where its
    party cannot express the model, the reason, what is lost by the nearest one that it can, and the call for that.

    Parameters
    ----------
    alone : whether it is to run by itself, on a table that is called like the dataset: with what it imports
    """
    name = model.dataset.id
    made = [line for one in model.made for line in (one.python(name) if language == "Python" else one.r(name))]
    try:
        call, before = party(language).call(model), party(language).imports(model) if alone else []
    except CannotExpress as error:
        return _nearest(model, error, lambda nearest: fit_code(language, nearest, alone))
    if alone and language == "Python":
        used = [_PANDAS] if "pd." in "\n".join([*made, call]) else []
        before = _sorted({*before, *used, *(line for one in model.made for line in one.imports)})
    return "\n".join([*before, *([""] if before else []), *made, call])


def _sorted(imports: set[str]) -> list[str]:
    """Imports as Python people write them: modules first."""
    return sorted(imports, key=lambda line: (line.startswith("from"), line))


def _nearest(model: Model, error: CannotExpress, write: Callable[[Model], str]) -> str:
    """The reason as a comment, and below it the code of the nearest model that can be expressed, if there is one."""
    lines = [f"# {one_line(str(error))}"]  # names of columns stand in it, which may have line ends
    if error.nearest is None:
        return lines[0]
    if error.lost:
        lines.append(f"# lost by that: {one_line(error.lost)}")
    nearest = replace(model, record=model.record.model_copy(update={"formula": error.nearest}))
    return "\n".join([*lines, write(nearest)])


def _python(model: Model, read: readers.Statements) -> list[str]:
    """The statements that read and prepare the table."""
    name = model.dataset.id
    columns = ", ".join(map(literal, model.columns))
    lines = [*read.read, f"{name} = {name}.dropna(subset=[{columns}])", *read.mend]
    lines += [line for one in model.made for line in one.python(name)]
    for factor in _factors(model):
        levels = readers.levels(model, factor)[0]
        column = f"{name}[{literal(factor)}]"
        of = f"[{', '.join(map(literal, levels))}]" if _stated(model, factor) else f"sorted(set({column}.astype(str)))"
        ordered = ", ordered=True" if model.frame[factor].cat.ordered else ""
        lines.append(f"{column} = pd.Categorical({column}.astype(str), {of}{ordered})")
    return lines


def _r(model: Model, read: readers.Statements) -> list[str]:
    """The same statements in R."""
    name = model.dataset.id
    columns = ", ".join(map(r_literal, model.columns))
    lines = [*read.read, f"{name} <- na.omit({name}[c({columns})])", *read.mend]
    lines += [line for one in model.made for line in one.r(name)]
    for factor in _factors(model):
        levels = readers.levels(model, factor)[1]
        if WRITTEN in model.frame.attrs:
            levels = [re.sub("\r\n?", "\n", level) for level in levels]  # as R reads the end of a line within a field
        column = f"{name}[[{r_literal(factor)}]]"
        of = f"c({', '.join(map(r_literal, levels))})"
        if not _stated(model, factor):
            of = f'sort(unique(as.character({column})), method = "radix")'
        ordered = ", ordered = TRUE" if model.frame[factor].cat.ordered else ""
        lines.append(f"{column} <- factor({column}, levels = {of}{ordered})")
    return lines


def _factors(model: Model) -> list[str]:
    """The factors whose levels' order matters: they are more than groups, and a file does not tell it."""
    return [
        name
        for name, uses in model.formula.uses.items()
        if isinstance(model.frame[name].dtype, pd.CategoricalDtype) and not uses <= {"group"}
    ]


def _stated(model: Model, factor: str) -> bool:
    """Whether the levels are to be listed: they are few, or not in the order of their code points."""
    levels = readers.levels(model, factor)[1]
    return len(levels) <= LISTED or levels != sorted(levels)
