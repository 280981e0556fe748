"""Explanation: a call of a package, in the words of both, and what its author probably meant; then compared."""

from __future__ import annotations

import html
import inspect
import os
import shlex
import textwrap
from collections.abc import Mapping
from contextlib import suppress
from functools import cached_property
from typing import Any, TypeAlias

import pandas as pd

from concord import listing
from concord.agreement.comparison import Comparison, compare
from concord.display.table import number
from concord.engines.calls import CallError, Given, Reading, instead
from concord.engines.engine import EngineError, engines, parties, party
from concord.engines.remote import stop_trials, tried
from concord.errors import InputError, one_line
from concord.models import formula as formulas
from concord.models import stand_in
from concord.models.given import table_of
from concord.models.model import Model
from concord.models.of_table import model_of
from concord.models.syntax import FormulaError, literal
from concord.session import Inquiry
from concord.vocabulary import METHODS

WIDTH = 110
# What a fit is called that was given, beside those that are made.
AS_GIVEN, AS_WRITTEN = "as given", "as written"

Table: TypeAlias = str | os.PathLike[str] | pd.DataFrame
Named: TypeAlias = tuple[str | None, str, pd.DataFrame]
"""A table as it was read: its file, a name that it can have in code, and the table itself."""


class Explanation:
    """What a call fits, as an lme4 formula, and as code of the other package.

    Attributes
    ----------
    formula : the lme4 formula that the call really fits; None where there is none
    method : ``REML`` or ``ML``
    problem : why there is no formula, in a sentence; empty where there is one
    notes : how the call comes to it, a sentence each
    meant : other formulas that the author probably meant, the likeliest first, each with the reason (`Meant`)
    checked : whether the call's own columns and groups, made of the table, are those of the formula, number by number;
        None where that was not tried
    """

    def __init__(self, reading: Reading, language: str, data: Table | None = None, read: Named | None = None) -> None:
        if language == "R":  # the formula is the author's own
            formulas.parse(formulas.read(reading.formula or "").sources)
        self._reading, self._language = reading, language
        self.formula, self.method = reading.formula, reading.method
        self.problem, self.notes, self.meant = reading.problem, reading.notes, reading.meant
        if language == "Python" and self.formula is not None:
            try:
                formulas.parse(formulas.read(self.formula).sources)
            except FormulaError as error:  # what is written as in Python has no like in R
                self.formula, self.problem, self.meant = None, str(error), ()
        self._source: str | None = None
        self._name, self._frame = "data", reading.frame
        self._data: Table | None = reading.frame
        if read is not None:
            self._source, self._name, table = read
            # With the columns that the call's own arrays have added.
            added = reading.frame is not None and set(reading.frame.columns) > set(table.columns)
            self._frame = reading.frame if added else table
            self._data = self._frame if added else data
        self._models: dict[str, Model] = {}
        if self._frame is not None:  # what this table cannot carry was not meant
            self.meant = tuple(meant for meant in self.meant if self._carried(meant.formula)) or self.meant

    @property
    def chosen(self) -> str:
        """The formula that is compared: the one that the call fits, or else the likeliest that was meant.

        Raises
        ------
        CallError : there is neither
        """
        if self.formula is not None:
            return self.formula
        if not self.meant:
            raise CallError(self.problem)
        return self.meant[0].formula

    @cached_property
    def checked(self) -> bool | None:
        """Whether the call's own columns and groups are those of the formula."""
        if self.formula is None or self._frame is None:
            return None
        return self._reading.holds(self.model(self.formula))

    def model(self, formula: str) -> Model:
        """A formula on the table; on a made-up one, where there is none.

        Raises
        ------
        InputError : the formula or the table cannot be used
        """
        if formula not in self._models:
            frame, weights = self._frame, self._reading.weights
            if frame is None:
                frame = stand_in.table(formulas.parse(formulas.read(formula).sources, weights))
            source = "data.csv" if self._frame is None else self._source
            self._models[formula] = model_of(frame, formula, self.method, source, self._name, weights)[0]
        return self._models[formula]

    def _carried(self, formula: str) -> bool:
        with suppress(InputError):
            return bool(self.model(formula))
        return False

    @property
    def listings(self) -> listing.Listings:
        """The whole way from the file to the fit of `chosen`, in both languages."""
        return listing.Listings(self.model(self.chosen), "data.csv" if self._frame is None else self._source)

    def compare(self, settings: str = "default", *, engine_timeout: float | None = None) -> Comparison:
        """Fit `chosen` by every engine and judge; a result that was given is judged with them.

        Raises
        ------
        CallError : there is no table
        InputError : the formula or the table cannot be used
        """
        if self._data is None:
            raise CallError("there is no table to compare on: give it, too")
        inquiry = Inquiry(
            self._data, self.chosen, self.method, engine_timeout=engine_timeout, weights=self._reading.weights
        )
        answers = inquiry.answers(settings)
        notes, reading = list(inquiry.notes), self._reading
        if self.formula is not None and reading.native is not None:
            try:
                native = party(self._language).from_native(reading.native, inquiry.model, settings=AS_GIVEN)
                answers = (*answers, native)
            except EngineError as error:
                notes.append(f"The result that was given is not judged: {error}")
        elif self.formula is not None and reading.own is not None:
            own = party(self._language)
            try:
                answers = (*answers, tried(own.name, AS_WRITTEN, reading.own, inquiry.model, engine_timeout))
            finally:
                stop_trials()
        compared = compare(*answers, notes=notes)
        compared.notes = (*compared.notes, *self._reached(compared))
        return compared

    def _reached(self, comparison: Comparison) -> list[str]:
        """Whether the call's own search reaches the optimum, in a sentence; none where that is not known."""
        reading, name = self._reading, party(self._language).name
        if self.formula is None or (self._language == "R" and reading.search):
            return []
        asked = AS_GIVEN if reading.native is not None else AS_WRITTEN if reading.own is not None else "default"
        said = "as it ships" if asked == "default" else reading.search or asked
        call = f"{reading.called[0].upper()}{reading.called[1:]} ({said})"
        for fit, judgement, grade in zip(comparison.fits, comparison.judgements, comparison.grades, strict=True):
            if (fit.engine, fit.settings) == (name, asked):
                short = f"ends {number(judgement.gap, 2)} log-likelihood units below the optimum: {grade}"
                told = f"{short}, {judgement.said_so}" if grade else "reaches the optimum"
                return [f"{call} {told}."]
        gone = [one for one in comparison.absent if (one.engine, one.settings) == (name, asked)]
        return [f"{call} gives no fit: {one.reason}." for one in gone]

    # ---- shown -----------------------------------------------------------------------------------------------------

    @property
    def parts(self) -> list[tuple[str, list[str], str]]:
        """Headings, each with its sentences and its code."""
        other = "R" if self._language == "Python" else "Python"
        called = self._reading.called
        if self.formula is not None:
            heading = f"{called[0].upper()}{called[1:]} fits, in lme4's notation, by {self.method}:"
            parts = [(heading, [], self.formula), ("", [*self.notes, *self._proof], "")]
            parts.append(self._written(other, self.formula))
            parts += [self._written(self._language, self.formula)] if self._reading.stops else []
            parts.append(self._next(self.formula))
        else:
            outcome = self._reading.outcome or (f"{called} does not run" if self._reading.stops else "")
            told = f"{outcome[0].upper()}{outcome[1:]}" if outcome else f"lme4 cannot express {called}"
            parts = [(f"{told}: {self.problem}.", list(self.notes), "")]
        for i, meant in enumerate(self.meant):
            heading = "Probably meant:" if meant.probable else "Meant, if levels are the same things in every group:"
            heading = "Or:" if i else heading
            if not i and self.formula is None:
                heading = "Meant:" if self._reading.outcome else "The nearest:"
            parts.append((heading, [], meant.formula))
            parts.append(("", [meant.because], ""))
            parts.append(self._written(self._language, meant.formula))
            parts += [self._written(other, meant.formula)] if self._reading.outcome else []
            parts.append(self._next(meant.formula))
        return [part for part in parts if any(part)]

    @property
    def _proof(self) -> list[str]:
        try:
            checked = self.checked
        except InputError:  # the table cannot carry the model, which is said where it is compared
            return []
        if checked is None:
            return []
        if checked:
            return ["the call's own columns and groups, made of this table, are those of the formula, number by number"]
        return ["NOT so on this table: the call's own columns or groups there are others than the formula's"]

    def _written(self, language: str, formula: str) -> tuple[str, list[str], str]:
        """A formula as code of one language, which runs as it is printed: where there is a file, from that on."""
        try:
            model = self.model(formula)
            if self._frame is not None and self._source is not None:
                code = listing.code(language, model, self._file)
            else:
                code = listing.fit_code(language, model, alone=True)
        except InputError as error:
            return f"In {language}: {error}", [], ""
        return f"In {language}:", [], code

    @property
    def _file(self) -> str | None:
        """The file from where the code reads it: as it was given, where it is one and no dataset's id."""
        given = os.fspath(self._data) if isinstance(self._data, str | os.PathLike) else ""
        return given if os.path.basename(given) == self._source else self._source

    def _next(self, formula: str) -> tuple[str, list[str], str]:
        """The line that compares both packages on a formula."""
        weights, method = self._reading.weights, self.method
        if self._data is None or isinstance(self._data, str | os.PathLike):
            table = "TABLE" if self._data is None else shlex.quote(os.fspath(self._data))
            plain = not set(formula) & set('"$`\\!')
            words = ["concord compare", table, f'"{formula}"' if plain else shlex.quote(formula)]
            words += [] if method == "REML" else [f"--method {method}"]
            words += [] if weights is None else [f"--weights {shlex.quote(weights)}"]
            return "To compare both packages on it:", [], " ".join(words)
        if self._reading.frame is not None and self._frame is self._reading.frame and self._source is not None:
            return "", [], ""
        given = "" if method == "REML" else f", {method!r}"
        given += "" if weights is None else f", weights={weights!r}"
        return "To compare both packages on it:", [], f"concord.compare_formula(data, {literal(formula)}{given})"

    def __repr__(self) -> str:
        lines: list[str] = []
        for heading, sentences, code in self.parts:
            lines += ["", heading] if heading else []
            lines += ["", textwrap.indent(code, "    ")] if code else []
            told = [
                textwrap.fill(one_line(text), WIDTH, initial_indent="  - ", subsequent_indent="    ")
                for text in sentences
            ]
            lines += ["", *told] if told else []
        return "\n".join(lines).strip("\n")

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        shown = []
        for heading, sentences, code in self.parts:
            shown += [f"<p>{html.escape(heading)}</p>"] if heading else []
            shown += [listing.as_html(code)] if code else []
            items = "".join(f"<li>{html.escape(text)}</li>" for text in sentences)
            shown += [f"<ul>{items}</ul>"] if items else []
        return {"text/plain": repr(self), "text/html": "\n".join(shown)}


def explain(call: object, data: Table | None = None) -> Explanation:
    """What a call fits, in the words of the other package.

    Parameters
    ----------
    call : the text of a call of MixedLM or of lmer, with the statements that it needs; or an object of MixedLM
    data : as for `Inquiry`; None where there is none at hand, or the object has it

    Raises
    ------
    CallError : the call cannot be read
    SourceError, FormulaError, PreparationError : the table or a formula cannot be used
    """
    explanation = of_call(call, data)
    if explanation is not None:
        return explanation
    shown = f"{call[:60]!r}" if isinstance(call, str) else type(call).__name__
    hint = ": concord translate takes a formula alone" if isinstance(call, str) and "~" in call else ""
    raise CallError(f"no call of MixedLM or lmer in {shown}{hint}")


def of_call(call: object, data: Table | None) -> Explanation | None:
    """The explanation by the package whose call it is; None where it is none; see `explain`."""
    read = None if data is None else table_of(data)
    for name in parties():
        engine = engines()[name]
        reading = getattr(engine, "explained", lambda *_: None)(call, read[2] if read else None)
        if reading is not None:
            return Explanation(reading, engine.language, data, read)
    return None


def every(text: str, language: str, data: Table | None = None) -> list[tuple[int, Explanation | InputError]]:
    """Every call in a text, by the line where it begins: its explanation, or why it has none.

    Parameters
    ----------
    text : a whole script
    language : ``Python`` or ``R``
    data : the table of all the calls, as for `Inquiry`; None where there is none at hand

    Raises
    ------
    CallError : the text does not parse
    SourceError : the table cannot be used
    """
    engine: Any = party(language)
    read = None if data is None else table_of(data)
    told: list[tuple[int, Explanation | InputError]] = []
    for call in engine.calls(text):
        try:
            reading = engine.explained(call, read[2] if read else None)
            told.append((call.line, Explanation(reading, language, data, read)))
        except InputError as error:
            told.append((call.line, error))
    return told


def from_mixedlm(
    model: object,
    data: Any = None,
    re_formula: str | None = None,
    vc_formula: Mapping[str, str] | None = None,
    *,
    groups: Any = None,
    exog: Any = None,
    exog_re: Any = None,
    use_sqrt: bool = True,
    free: Any = None,
    reml: bool = True,
    method: Any = None,
    missing: str = "none",
    **others: Any,
) -> Explanation:
    """The lme4 formula that a call of MixedLM really fits, and the one that its author probably meant.

    Parameters
    ----------
    model : a formula as statsmodels reads it; the text of a whole call; a model object of MixedLM or a result; or the
        response as an array, shape (n,)
    data : the table, a file or a dataset's id; None where there is none, or the object has it; for an array the fixed
        effects' columns, shape (n, p)
    re_formula, vc_formula : as ``mixedlm`` takes them
    groups : a column, ``a:b`` for the combinations of several, a list of columns, or the groups themselves
    exog, exog_re : columns of the fixed and of the random effects, shapes (n, p) and (n, q)
    use_sqrt, missing : as ``MixedLM`` takes them
    others : are none of MixedLM's, and refused with the name that is near
    free, reml, method : as its ``fit`` takes them; ``method`` may be ``REML`` or ``ML`` too

    Raises
    ------
    CallError : the call cannot be read
    SourceError, FormulaError, PreparationError : the table or a formula cannot be used
    """
    for name in others:
        known = set(inspect.signature(from_mixedlm).parameters) - {"model", "data", "others"}
        raise CallError(f"MixedLM has no argument {name}{instead(name, known)}")
    array = hasattr(model, "__len__") and not isinstance(model, str)
    if not (isinstance(model, str) or array):
        return explain(model, data)
    if isinstance(model, str) and groups is None and (whole := of_call(model, data)) is not None:
        return whole
    if array and exog is None:
        data, exog = None, data
    if method in METHODS:  # Concord's own word, where MixedLM has the name of an optimizer
        reml, method = method == "REML", None
    arguments = {
        "formula": model,
        "re_formula": re_formula,
        "vc_formula": vc_formula,
        "groups": groups,
        "exog": exog,
        "exog_re": exog_re,
        "use_sqrt": use_sqrt,
        "free": free,
        "reml": reml,
        "method": method,
        "missing": missing,
    }
    return explain(Given(arguments), data)
