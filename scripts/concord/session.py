"""A session: one lme4 formula on a user's own table, fitted by the engines and judged.

The engines run in processes of their own, side by side, so that one which would not finish can be stopped and the
other's answer is judged all the same; meanwhile the independent likelihood looks for the optimum in this one.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import scipy.ndimage  # noqa: F401  # loaded here: an interruption in the middle of a search would leave it half loaded

# Rooms, whose modules load when they are first asked for: a verdict needs none of these.
import concord.account
import concord.bootstrap
import concord.plots
import concord.reference
from concord import versions
from concord.agreement import sweep
from concord.agreement.comparison import Comparison, compare
from concord.agreement.gate import Gate
from concord.agreement.sweep import Sweep
from concord.agreement.trials import Remedies, remedies
from concord.display import table as tables
from concord.display.media import REFERENCE_TYPE
from concord.display.progress import progress
from concord.engines.answers import Absence, Answer
from concord.engines.choice import chosen, slow
from concord.engines.engine import engines, parties, title
from concord.engines.fit import Fit
from concord.engines.kept import Kept, Known
from concord.engines.remote import Asked, fingerprint, stop_trials, table_digest, worker
from concord.likelihood.wide_search import Leave
from concord.listing import listings
from concord.models import formula as formulas
from concord.models import stand_in
from concord.models.factors import factors
from concord.models.given import Table, arranged, refuse_mixedlm, table_of
from concord.models.model import Model, ModelError
from concord.models.of_table import model_of
from concord.models.syntax import FormulaError
from concord.reference import reference
from concord.reference.record import told
from concord.vocabulary import AGREE, KEPT_IN, METHODS, SETTINGS

# Seconds that the search for a better optimum may take in all, and that the first verdict waits for it in any case.
SEARCH, PATIENCE = 120.0, 10.0
# So many levels a caterpillar can have.
CATERPILLAR = 200
NOTHING = "No picture: there is no fit to show."
ALL_ONE = "No picture: the fits agree, and so do their predicted random effects, line upon line."


class Inquiry(tables.Shown):
    """One lme4 formula on one table.

    Parameters
    ----------
    data : a file (CSV, TSV, Parquet, Feather, R's .rds), the id of a dataset of the workbook, a table of pandas, polars
        or Arrow, or a dict of columns
    formula : in lme4's notation; it may also stand first, as statsmodels has it
    method : ``REML`` or ``ML``
    engine_timeout : seconds that an engine may take for one fit; None for no limit
    search_seconds : that the independent likelihood may search for a better optimum than those where the engines
        stopped; the first verdict waits for it no longer than `PATIENCE` once the engines are done
    asked : the names of the engines that are asked; None for all
    max_rows, max_bytes : how large the table in a file may be, as for `concord.data.tables.read`
    weights : the column of the rows' weights, by which the variances of their residuals are divided, as lmer's
        ``weights``; None where all weigh the same

    Attributes
    ----------
    model : the formula on the rows that all engines get
    notes : what was done to the table, a sentence each, and which engine will take long
    reference : what fits are judged against, the best that is known so far; None before anything was compared

    Raises
    ------
    SourceError : the file cannot be used
    FormulaError : the formula cannot be used, or not with this table
    PreparationError : the table cannot be used for this formula
    ModelError : there is no such method
    """

    def __init__(
        self,
        data: Table,
        formula: str,
        method: str = "REML",
        *,
        engine_timeout: float | None = None,
        weights: str | None = None,
        search_seconds: float = SEARCH,
        asked: Sequence[str] | None = None,
        max_rows: int | None = None,
        max_bytes: int | None = None,
    ) -> None:
        data, formula = arranged(data, formula)
        _check(formula, method)
        self.engine_timeout, self.search_seconds = engine_timeout, search_seconds
        self._asked = chosen(asked)
        self._searched = 0.0
        folder = os.environ.get(KEPT_IN)
        self._kept = Kept(Path(folder) if folder else None, versions.collect)
        self._answered: dict[str, tuple[Answer, ...]] = {}
        self._remedies: dict[str, Remedies] = {}
        self.reference: reference.Reference | None = None
        for engine in self._first:
            worker(engine)  # imports, and R with its packages, while the table is read and R starts here
        self.source, self.name, table = table_of(data, max_rows, max_bytes)
        self.rows = len(table)
        self.model, self.notes = model_of(table, formula, method, self.source, self.name, weights)
        self._table = table_digest(self.model.frame)
        self.notes += tuple(slow(self.model, self._asked, engine_timeout))

    def compare(self, settings: str = "default") -> Comparison:
        """Fit by every engine that can express the model; judge and compare.

        Parameters
        ----------
        settings : ``default``, as the packages ship; or ``tuned``, the best of several of each engine's optimizers
        """
        names = " and ".join(title(name) for name in self._first)
        with progress(f"fitting by {names}, {settings} settings, and searching for the optimum"):
            return self._compared(settings)

    def _compared(self, settings: str) -> Comparison:
        answers = self._answered[settings] = self.answers(settings)
        if len(self._answered) > 1:
            self._search()
        self.reference = self._better(reference.of(self.model, [fit for fit in answers if isinstance(fit, Fit)]))
        comparison = compare(*answers, notes=self._told, against=self.reference)
        self.reference = self._better(comparison.against)
        return comparison

    def gate(self, *accounts: concord.account.Account) -> Gate:
        """All comparisons made so far, judged against the best that is known by now, with what the fits say beyond
        their estimates.
        """
        with progress("searching for a better optimum"):
            self._search()
        self.reference = self._better(reference.of(self.model))
        for answers in self._answered.values():
            self.reference = self._better(compare(*answers, against=self.reference).against)
        every = self._answered.values()
        compared = (compare(*answers, notes=self._told, against=self.reference) for answers in every)
        return Gate(compared, accounts)

    @property
    def _told(self) -> tuple[str, ...]:
        """The notes, and where the reference is only the best so far, that it is."""
        if self.reference is None or self.reference.searched:
            return self.notes
        near = "the verdict is by the best optimum near where the engines stopped"
        if not self.search_seconds:
            return (*self.notes, f"No wide search for a better optimum was made: {near}.")
        return (
            *self.notes,
            f"The wide search for a better optimum is not through after {self._searched:.0f} s: {near}.",
        )

    @property
    def _first(self) -> list[str]:
        """The engines that begin at once: the parties that are asked, or whoever is."""
        return [name for name in parties() if name in self._asked] or self._asked

    def _search(self, leave: Leave | None = None) -> None:
        """Search for the optimum: until that is through, its time is over, or after `PATIENCE` seconds `leave` says."""
        began, before = time.monotonic(), self._searched

        def over() -> bool:
            self._searched = before + time.monotonic() - began
            return self._searched >= self.search_seconds or bool(
                leave and self._searched - before >= PATIENCE and leave()
            )

        reference.search(self.model, over)

    def _better(self, better: reference.Reference) -> reference.Reference:
        """The better of the reference so far and another one; of the same optimum the one that knows more others."""
        known = self.reference
        if known is None or better.level > known.level + reference.SAME:
            return better
        same = abs(better.level - known.level) <= reference.SAME and better.certified >= known.certified
        more = len(better.optima) > len(known.optima) or better.searched > known.searched
        return better if same and more else known

    def answers(self, settings: str = "default") -> tuple[Answer, ...]:
        """What every engine says, parties first.

        Raises
        ------
        ModelError : there are no such settings
        StrayAnswer : the table is no longer the one that the inquiry began with
        """
        _check_settings(settings)
        first = self._first
        waiting = [name for name in self._asked if name not in first]
        asked: dict[str, Asked | Known] = {}
        by_engine: dict[str, Answer] = {}

        def ask(engine: str) -> None:
            asked[engine] = self._question(engine, settings)

        try:
            for name in first:
                ask(name)
            # Found here, while the parties are at work there.
            self._search(lambda: all(question.arrived(self.engine_timeout) for question in asked.values()))
            # As one is done another one begins; of the parties R's is mostly the first.
            for name in [*reversed(first), *waiting]:
                by_engine[name] = asked[name].answer(self.engine_timeout)
                self._kept.keep(by_engine[name], self._fingerprint(name, settings), self.engine_timeout)
                if waiting:
                    ask(waiting.pop(0))
            return tuple(by_engine.get(name) or self._left_out(name, settings) for name in engines())
        except BaseException:
            for question in asked.values():
                question.abandon()
            raise

    def _question(self, engine: str, settings: str) -> Asked | Known:
        def anew() -> Answer:
            return Asked(self.model, engine, settings, self._table).answer(self.engine_timeout)

        known = self._kept.answer(self.model, self._fingerprint(engine, settings), self.engine_timeout, anew)
        return Asked(self.model, engine, settings, self._table) if known is None else Known(known)

    def _fingerprint(self, engine: str, settings: str) -> str:
        return fingerprint(self.model, engine, settings, self._table)

    def _left_out(self, engine: str, settings: str) -> Absence:
        return Absence(self.model, engine, settings, "left out", "it was not to be asked")

    def certify(self) -> CertifiedReference:
        """Solve the model in high precision and prove the optimum; from then on it is what fits are judged against.

        Raises
        ------
        CertificateError : no optimum could be proved
        """
        with progress("proving the optimum"):
            record = concord.reference.certify(self.model)
        self.reference = reference.from_record(self.model, record)
        return CertifiedReference(self.model, record)

    def sweep(self, limit: float) -> Sweep | str:
        """Every optimizer of every engine; where one finds a better optimum, that is what fits are judged against.

        Parameters
        ----------
        limit : seconds that it may take, by an estimate from the fits at default settings

        Returns
        -------
        what every optimizer gave; or a sentence, where it would take longer
        """
        answers = self._answered["default"] if "default" in self._answered else self.answers("default")
        stopped = [
            title(answer.engine) for answer in answers if isinstance(answer, Absence) and answer.kind == "stopped"
        ]
        if stopped:
            return f"No sweep: {' and '.join(stopped)} did not even end its default fit in the time it had."
        needed = sum(engines()[answer.engine].sweep * answer.seconds for answer in answers if isinstance(answer, Fit))
        if needed > limit:
            return f"No sweep: it would take some {needed:.0f} seconds, and sweep_seconds is {limit:g}."
        with progress("trying every optimizer"):
            swept = sweep.run(self.model, self.reference, without=set(engines()).difference(self._asked))
        self.reference = self._better(swept.against)
        return swept

    def estimates(self, *comparisons: Comparison) -> Any:
        """Every parameter of all fits as a picture; or a sentence, where there is no fit."""
        fits = list({id(fit): fit for comparison in comparisons for fit in comparison.fits}.values())
        return concord.plots.estimates.estimates(*fits, against=self.reference) if fits else NOTHING

    def caterpillar(self, comparison: Comparison) -> Any:
        """The predicted random effects of the engines and the independent ones, as a picture; or a sentence, where none
        could hold them, and where the fits agree: all lines would be one.
        """
        if comparison.verdict.word == AGREE:
            return ALL_ONE
        levels = max(len(term.levels) for term in self.model.design.terms)
        if levels > CATERPILLAR:
            return f"No picture: {levels} levels do not fit into one of at most {CATERPILLAR}."
        return concord.plots.random_effects.caterpillar(comparison) if comparison.fits else NOTHING

    def residuals(self, comparison: Comparison) -> Any:
        """The residuals of the engines' fits as a picture; or a sentence, where there is no fit."""
        fits = [comparison.fits[i] for i in comparison.parties]
        return concord.plots.residuals.residuals(*fits) if fits else NOTHING

    def account(
        self, comparison: Comparison, level: float = 0.95, seconds: float = np.inf, profiled: bool = True
    ) -> concord.account.Account:
        """Everything that the fits say beyond their estimates, section by section.

        Parameters
        ----------
        comparison : one of this inquiry's, tuned ones for profiles
        level : of all confidence intervals
        seconds : a section that would take longer, as estimated, is left out and says so
        profiled : whether there are profile intervals
        """
        return concord.account.Account(comparison, level, seconds, profiled)

    def profiles(self, account: concord.account.Account) -> Any:
        """Twice the fall of every parameter's profile log-likelihood, as a picture; or a sentence, where the account's
        section of intervals has nothing.
        """
        if not account["intervals"].lines:
            return "No picture: there are no intervals."
        curves = concord.account.intervals.curves(account.comparison, scale="sd", level=account.level)
        return concord.plots.profiles.deviance(curves, account.level)

    def bland_altman(self, comparison: Comparison) -> Any:
        """Predicted random effects of two packages, their mean and their difference, as a picture; or a sentence, also
        where the fits agree: the difference would be rounding.
        """
        if comparison.verdict.word == AGREE:
            return ALL_ONE
        if len(comparison.parties) < 2:
            return "No picture: two fits are needed to compare their random effects."
        return concord.plots.random_effects.bland_altman(comparison)

    def bootstrap(self, account: concord.account.Account, replicates: int, seed: int = 1) -> Any:
        """The parametric bootstrap of all packages, with the other intervals beside it; or a sentence."""
        return concord.bootstrap.bootstrapped(account, replicates, seed)

    def remedies(self, comparison: Comparison) -> Remedies:
        """What to write instead, where a verdict is not *agree*; every call was tried on this table, in a process
        beside the engine's own, and all by one engine in the time that it has for one fit.

        Parameters
        ----------
        comparison : one of this inquiry's
        """

        def ask(model: Model, engine: str, settings: str, seconds: float) -> Answer:
            asked = Asked(model, engine, settings, table_digest(model.frame), beside=True)
            try:
                return asked.answer(seconds if np.isfinite(seconds) else None)
            except BaseException:
                asked.abandon()
                raise

        try:
            with progress("trying other calls"):
                found = remedies(comparison, self.source, ask, self.engine_timeout)
        finally:
            stop_trials()
        self._remedies[comparison.settings] = found
        return found

    @property
    def listings(self) -> listings.Listings:
        """The whole way from the file to the fit as code in both languages, ready to paste. Where a default call misses
        the optimum, as far as `remedies` has been asked, the call that reaches it, and the default one after it.
        """
        known = self._remedies.get("default")
        return listings.Listings(self.model, self.source, known.condemned if known else None)

    @property
    def design(self) -> pd.DataFrame:
        """The grouping factors: levels, rows a level, balance; one row a random term."""
        rows = []
        for term in self.model.design.terms:
            sizes = np.bincount(term.codes, minlength=len(term.levels))
            rows.append(
                {
                    "group": term.group,
                    "effects": ", ".join(term.names),
                    "levels": len(term.levels),
                    "rows a level": f"{sizes.min()} to {sizes.max()}" if np.ptp(sizes) else f"{sizes.min()}",
                    "balanced": "yes" if not np.ptp(sizes) else "no",
                }
            )
        return pd.DataFrame(rows)

    @property
    def factors(self) -> pd.DataFrame:
        """The factors among the predictors: how each is coded, its baseline, and its levels in their order."""
        rows = [(one.name, one.coding, one.baseline, ", ".join(one.levels)) for one in factors(self.model)]
        return pd.DataFrame(rows, columns=["factor", "coding", "baseline", "levels"])

    def _rendered(self) -> tables.Rendered:
        design, model = self.design, self.model
        used = len(model.design.y)
        kept = f"all {used} rows" if used == self.rows else f"{used} of {self.rows} rows"
        caption = (
            f"{model.notation}, by {model.method}\n{self.source or self.name}: {kept}; {len(model.design.names)} "
            f"fixed effects, {sum(len(t.names) * len(t.levels) for t in model.design.terms)} random effects"
        )
        coded = (f"factor {one.name}: {one.told}" for one in factors(model))
        return caption, list(design.columns), design.to_numpy().tolist(), 2, (*self.notes, *coded)


class CertifiedReference:
    """A certified reference as it is shown and written.

    Attributes
    ----------
    model : what it is the optimum of
    record : as in a dataset's reference.json
    """

    def __init__(self, model: Model, record: dict[str, Any]) -> None:
        self.model, self.record = model, record

    def __repr__(self) -> str:
        return f"certified: logLik {self.record['loglik']}, {told(self.record['checks'])}"

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        content = {self.model.name: {self.model.method: self.record}}
        return {"text/plain": repr(self), REFERENCE_TYPE: content}


def compare_formula(
    data: Table,
    formula: str,
    method: str = "REML",
    settings: str = "default",
    *,
    engine_timeout: float | None = None,
    weights: str | None = None,
    max_rows: int | None = None,
    max_bytes: int | None = None,
    **mixedlm: Any,
) -> Comparison:
    """Fit one lme4 formula by MixedLM and lme4, judge both and compare; see `Inquiry` for the parameters and errors.

    Parameters
    ----------
    settings : ``default``, as the packages ship; or ``tuned``, the best of several of each engine's optimizers
    mixedlm : arguments of statsmodels' ``mixedlm`` are refused in a line that says where they belong
    """
    refuse_mixedlm(mixedlm)
    _check_settings(settings)
    inquiry = Inquiry(
        data, formula, method, engine_timeout=engine_timeout, weights=weights, max_rows=max_rows, max_bytes=max_bytes
    )
    return inquiry.compare(settings)


def translate(
    formula: str,
    data: Table | None = None,
    method: str = "REML",
    *,
    weights: str | None = None,
    max_rows: int | None = None,
    max_bytes: int | None = None,
) -> listings.Listings:
    """One lme4 formula as code in both languages, ready to paste; nothing is fitted.

    Parameters
    ----------
    data : as for `Inquiry`; None where there is none at hand: then a file ``data.csv`` stands for it, in which groups
        are names and all else is numbers
    weights, max_rows, max_bytes : as for `Inquiry`

    Raises
    ------
    SourceError, FormulaError, PreparationError, ModelError : as for `Inquiry`
    """
    data, formula = arranged(data, formula)
    _check(formula, method)
    if data is None:
        reading = formulas.read(formula)
        if reading.orders:
            raise FormulaError(
                f"formula {formula!r}: name the table, too: which levels {', '.join(reading.orders)} has"
            )
        data = stand_in.table(formulas.parse(reading.sources, weights))
        return listings.Listings(model_of(data, formula, method, "data.csv", "data", weights)[0], "data.csv")
    source, name, table = table_of(data, max_rows, max_bytes)
    return listings.Listings(model_of(table, formula, method, source, name, weights)[0], source)


def _check(formula: str, method: str) -> None:
    if method not in METHODS:
        raise ModelError(f"method {method!r}: it is one of {', '.join(METHODS)}")
    if not isinstance(formula, str):
        raise FormulaError(f"a formula is text, such as 'y ~ x + (1 | g)', not {type(formula).__name__}")


def _check_settings(settings: str) -> None:
    if settings not in SETTINGS:
        raise ModelError(f"settings {settings!r}: they are one of {', '.join(SETTINGS)}")
