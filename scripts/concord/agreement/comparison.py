"""Comparisons: do fits of one model agree, and if not, who is off and why?"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from concord import versions
from concord.agreement import predicted, saved
from concord.agreement import table as agreement_table
from concord.agreement.judgement import Judgement, correct_digits
from concord.agreement.measures import Judge, Measure, definitions_told, undefined, unexplained
from concord.agreement.table import OPTIMUM, name_of
from concord.agreement.tolerances import QuantityTolerance, allowed_gap, tolerances
from concord.agreement.verdict import Fact, Facts, Gone, Verdict, decide, grade
from concord.display import table as tables
from concord.display.media import MEDIA_TYPE
from concord.display.records import ESTIMATES_COLUMNS, FITS_COLUMNS, plain
from concord.engines.answers import Absence, Answer
from concord.engines.engine import called, deciding, engines, title
from concord.engines.fit import Fit
from concord.errors import escaped
from concord.inference.curvature import Curvature
from concord.models.model import Model
from concord.models.parameters import KEY
from concord.reference import reference
from concord.reference.reference import Reference
from concord.vocabulary import AGREE, CANNOT_EXPRESS, SHORT

__all__ = [
    "Comparison",
    "Disagreement",
    "OPTIMUM",
    "QuantityTolerance",
    "Verdict",
    "allowed_gap",
    "compare",
    "tolerances",
]

_LEFT_OUT = "was left out"
QUANTITIES = ("loglik", "fixed", "std_error", "variance", "covariance")


class Disagreement(AssertionError):
    """Fits that should agree do not; the message lists every breach.

    Attributes
    ----------
    breaches : one line each
    """

    def __init__(self, what: str, breaches: list[str]) -> None:
        super().__init__("\n".join([what, *(f"  {breach}" for breach in breaches)]))
        self.breaches = breaches


class Comparison(tables.Shown):
    """Answers to one model side by side.

    All that decides is fixed where it is made: two equal comparisons have equal verdicts, whenever they are read.

    Attributes
    ----------
    fits : what is compared
    absent : the engines that gave no fit, with the reason
    notes : what else is to be said with it, a sentence each
    against : the reference; where it is not certified and one of the fits is better, that fit
    judgements : every fit against the reference
    grades : of every fit: ``short``, ``imprecise`` or empty, in the same order
    verdict : what came of it, with the reason
    table : one row per quantity, the log-likelihood first; see `agreement_table`

    Beside the parties all other engines are shown in the table and judged, but are not parties to the verdict.
    """

    def __init__(self, *answers: Answer, notes: Sequence[str] = (), against: Reference | None = None) -> None:
        if len(answers) < 2:
            raise ValueError("compare two fits or more")
        first = answers[0].model
        for answer in answers[1:]:
            if ((other := answer.model).id, other.method) != (first.id, first.method):
                unlike = f"{first.id} by {first.method}, {other.id} by {other.method}"
                raise ValueError(f"fits of different models: {unlike}")
        self.fits = fits = tuple(answer for answer in answers if not isinstance(answer, Absence))
        self.absent = tuple(answer for answer in answers if isinstance(answer, Absence))
        self.model, self.notes = first, tuple(notes)
        kinds = list(dict.fromkeys(answer.settings for answer in answers))
        self.settings = kinds[0] if len(kinds) == 1 else " and ".join(kinds)
        engines = [fit.engine for fit in fits]
        twice = len(set(engines)) < len(engines)
        labels = [f"{fit.engine} {fit.settings}" if twice else fit.engine for fit in fits]
        # Two fits by one engine and settings, such as two native results, are numbered: labels name columns.
        self.labels = [
            f"{label} {labels[: i + 1].count(label)}" if labels.count(label) > 1 else label
            for i, label in enumerate(labels)
        ]
        decides = deciding(answer.engine for answer in answers)
        self.parties = [i for i, engine in enumerate(engines) if engine in decides] or [*range(len(fits))]
        self.missing = [gone for gone in self.absent if gone.engine in decides and gone.kind != "left out"]
        self.allowed_gap = allowed_gap("tuned" if self.settings == "tuned" else "default", first)
        self.against = self._best_known(against or reference.of(first))
        self.judge = self._judge_of(first, self.against)
        self.measures = [self._measured(fit) for fit in fits]
        self.judgements = [self._judgement(measure) for measure in self.measures]
        self._facts = [self._fact(i) for i in range(len(fits))]
        self.grades = [grade(fact, self.allowed_gap) for fact in self._facts]
        self.verdict = self._decided()

    def _best_known(self, known: Reference) -> Reference:
        """The reference, or what searches from where the fits stopped too have found in its place."""
        return known.searched_from([fit for fit in self.fits if self.same_model(fit)])

    def _judge_of(self, model: Model, against: Reference) -> Judge:
        best = against.parameters
        top = Curvature(against.likelihood, best, against.level)
        return Judge(model, top, self.allowed_gap)

    def _measured(self, fit: Fit) -> Measure:
        if self.same_model(fit):
            return self.judge.measure(fit)
        return self._judge_of(fit.model, reference.of(fit.model)).measure(fit)

    def _judgement(self, measured: Measure) -> Judgement:
        against = self.against if self.same_model(measured.fit) else reference.of(measured.fit.model)
        digits = correct_digits(measured.fit, against)
        return Judgement(measured.fit, against, measured.gap, digits, measured.slope)

    def same_model(self, fit: Fit) -> bool:
        """Whether a fit is of the very same table and formula, and not only of a model with the same name."""
        return fit.model.dataset is self.model.dataset and fit.model.record is self.model.record

    def _fact(self, i: int) -> Fact:
        measured, fit = self.measures[i], self.fits[i]
        by = self.judge if self.same_model(fit) else self._judge_of(fit.model, reference.of(fit.model))
        fact = by.fact(measured, title(self.labels[i]), self.judgements[i].worst, search=True)
        if not fit.shift or measured.stated is None or not measured.stated.loglik_holds:
            return fact
        recoded = (
            f"was given X in another coding: its REML log-likelihood, {fit.stated_loglik:.6g}, is shifted by the "
            f"difference of 0.5 log |X'X|, {fit.shift:.6g}, and by nothing else"
        )
        return replace(fact, recoded=recoded)

    def _decided(self) -> Verdict:
        parties = [self._facts[i] for i in self.parties] if self.fits else []
        facts = Facts(
            fits=parties,
            gone=[
                Gone(title(absence.engine), absence.engine, absence.kind, absence.reason) for absence in self.missing
            ],
            allowed=self.allowed_gap,
            noun=self.against.noun,
            boundary=self.against.boundary,
            optima=self._optima(),
        )
        if any(grade(fact, self.allowed_gap) == SHORT for fact in parties):
            return decide(facts)
        measured = [self.measures[i] for i in self.parties] if self.fits else []
        told = definitions_told(measured, [fact.name for fact in parties])
        return decide(replace(facts, beyond=self._beyond(measured), by_definition=told))

    def _beyond(self, measured: Sequence[Measure]) -> list[str]:
        """The quantities in which fits that are not short are apart for no reason."""
        if not all(self.same_model(measure.fit) for measure in measured):
            return [name_of(row) for row in self.table[~self.table["ok"]].to_dict("records")]
        if not measured:
            return []
        rows = measured[0].fit.estimates.to_dict("records")
        names = [name_of(row) for row, far in zip(rows, unexplained(self.judge, measured), strict=True) if far]
        errors = [name_of({**row, "effect": "std_error"}) for row in rows if row["effect"] == "fixed"]
        return names + [name for name, missing in zip(errors, undefined(measured), strict=True) if missing]

    def _optima(self) -> list[float]:
        """Log-likelihoods of all distinct optima that are known, the best first."""
        known = [optimum.loglik for optimum in self.against.optima]
        lower = sorted((level for level in known if level < self.against.level - reference.SAME), reverse=True)
        return [self.against.level, *lower] if lower else []

    @cached_property
    def table(self) -> pd.DataFrame:
        """One row per quantity; see `agreement_table`. Beside a single fit the reference stands as ``optimum``."""
        parties = [self.measures[i] for i in self.parties] if self.fits else []
        rows = agreement_table.Rows(
            parties,
            self.judge,
            self.against.estimates[KEY].itertuples(index=False, name=None),
            comparable=all(self.same_model(party.fit) for party in parties),
            within=bool(self.fits) and not any(self.grades[i] for i in self.parties),
        )
        shown = [(label, fit.loglik, fit.estimates) for label, fit in zip(self.labels, self.fits, strict=True)]
        labels = [self.labels[i] for i in self.parties]
        if self.alone:
            shown.append((OPTIMUM, self.against.loglik, self.against.estimates))
            labels.append(OPTIMUM)
        return agreement_table.build(shown, labels, rows, (self.against.loglik, self.against.estimates))

    def room(self, i: int, key: tuple[str, str, str]) -> tuple[float, float]:
        """How far one number of a fit at the reference may move down, and up, all others as they are, before the fit is
        no more in agreement.

        Parameters
        ----------
        i : which of `fits`
        key : ``effect, group, term``, as in `table`
        """
        measured, (effect, _, term) = self.measures[i], key
        stated = measured.stated
        if stated is None:
            raise ValueError(measured.invalid)
        if effect == "loglik":
            return stated.loglik - stated.low, stated.high - stated.loglik
        if effect == "std_error":
            place = self.model.design.names.index(term)
            off = stated.std_error[place] - stated.expected[place]
            return float(stated.error_allowed[place] + off), float(stated.error_allowed[place] - off)
        keys = list(self.against.estimates[KEY].itertuples(index=False, name=None))
        return self.judge.sides(measured, keys.index(key))

    @property
    def alone(self) -> bool:
        """Whether there is nothing but the reference to hold the one fit against."""
        return len(self.parties) < 2

    @property
    def breaches(self) -> list[str]:
        """What is out of tolerance, a line each; the log-likelihood first."""
        lines = [f"{title(absence.engine)} gave no fit: {absence.reason}" for absence in self.missing]
        for i in self.parties if self.fits else ():
            fact = self._facts[i]
            if self.grades[i] and not fact.invalid:
                lines.append(
                    f"{fact.name} is {fact.gap:.3g} log-likelihood units below the reference ({self.against.kind}), "
                    f"{self.allowed_gap:.1g} allowed"
                )
            lines += [f"{fact.name}: {fact.invalid}"] if fact.invalid else []
            lines += [f"{fact.name} {clause}" for clause in fact.broken]
        for row in self.table[~self.table["ok"]].to_dict("records") if self.fits else ():
            values = ", ".join(f"{title(label)} {tables.number(row[label], 10) or 'missing'}" for label in self.labels)
            line = f"{name_of(row)}: {values}; difference {row['difference']:.3g}, {row['tolerance']:.3g} allowed"
            lines.append(line)
        return lines

    def broken(self, i: int) -> tuple[str, ...]:
        """What the i-th fit states and does not hold at its own estimates, a clause each."""
        return self._facts[i].broken

    def reaches(self, fit: Fit) -> bool:
        """Whether another fit of the same model is at the optimum, and what it states holds there."""
        fact = self.judge.fact(self.judge.measure(fit), title(fit.engine))
        return not grade(fact, self.allowed_gap) and not fact.broken

    def below(self, judgement: Judgement) -> bool:
        """Whether a fit, one of `judgements`, is short or imprecise."""
        return bool(self.grade_of(judgement))

    def grade_of(self, judgement: Judgement) -> str:
        """``short``, ``imprecise`` or empty, of one of `judgements`."""
        return next(lack for listed, lack in zip(self.judgements, self.grades, strict=True) if listed is judgement)

    @cached_property
    def apart(self) -> bool:
        """Whether a fit is farther below the reference than tuned ones may be: then what follows from the estimates may
        differ because these do, though all be at the optimum by the tolerance of their settings.
        """
        allowed = allowed_gap("tuned", self.model)
        return any(not judgement.gap <= allowed for _, judgement in self.judged)

    @property
    def judged(self) -> list[tuple[str, Judgement]]:
        """Every fit by its label, the arbiter's too."""
        return list(zip(self.labels, self.judgements, strict=True))

    def predict(self, new: pd.DataFrame | Mapping[str, Any], random: bool | Collection[str] = True) -> pd.DataFrame:
        """What every fit predicts at new rows, with or without random effects; see `predicted.predict`."""
        fits = dict(zip(self.labels, self.fits, strict=True))
        if not fits:
            raise ValueError("there is no fit to predict from")
        return predicted.predict(fits, new, random)

    def check(self) -> Comparison:
        """The gate: raise where the fits do not agree, unless default settings are declared to disagree just so.

        Returns
        -------
        Comparison : this one, to be shown

        Raises
        ------
        Disagreement : lists every breach
        """
        if self.verdict.word != AGREE and not self.known:
            raise Disagreement(f"{self.title}: {self.verdict.word}", self.breaches or [self.verdict.reason])
        return self

    @property
    def known(self) -> str | None:
        """The declared reason, where default settings are declared to disagree just so and do; or where an engine is
        declared to have no way to write the model down, which no settings change.
        """
        known = self.model.record.known_by(self.model.method, versions.of, by_rounding=True)
        if known is None or known.verdict != self.verdict.word:
            return None
        return known.reason if self.settings == "default" or known.verdict == CANNOT_EXPRESS else None

    @property
    def title(self) -> str:
        """``dietox-random_slope, REML, default settings``."""
        return f"{self.model.id}, {self.model.method}, {self.settings} settings"

    def record(self) -> dict[str, list[dict[str, Any]]]:
        """The rows of estimates.csv and fits.csv."""
        estimates, fits = [], []
        model = {"dataset": self.model.dataset.id, "model": self.model.name, "method": self.model.method}
        for fit, judgement in zip(self.fits, self.judgements, strict=True):
            head = {**model, "settings": fit.settings, "engine": fit.engine}
            estimates += [plain({**head, **row}, ESTIMATES_COLUMNS) for row in fit.estimates.to_dict("records")]
            judged = {
                "loglik": fit.stated_loglik,
                "gap": judgement.gap,
                "digits": judgement.worst,
                "seconds": fit.seconds,
            }
            told = {"converged": fit.converged, "said_so": judgement.said_so, "messages": list(fit.messages)}
            row = {**head, **judged, **told, "verdict": self.verdict.word}
            # What is not a column of fits.csv is for the site, which knows no engines.
            fits.append({**plain(row, FITS_COLUMNS), **_kind(fit.engine), "call": fit.call})
        for absence in self.absent:
            head = {**model, "settings": absence.settings, "engine": absence.engine}
            numbers = {"loglik": np.nan, "gap": np.nan, "digits": np.nan, "seconds": absence.seconds}
            told = {"converged": False, "said_so": "", "messages": [absence.reason], "verdict": self.verdict.word}
            fits.append({**plain({**head, **numbers, **told}, FITS_COLUMNS), **_kind(absence.engine)})
        return {"estimates": estimates, "fits": fits}

    def to_html(self, whole: bool = False) -> str:
        """The table as HTML; or a whole page, which needs no other file, with each fit's call and summary."""
        table = super().to_html()
        return saved.page(f"{self.title}: {self.verdict.word}", table, self.fits) if whole else table

    def save(self, folder: str | os.PathLike[str]) -> tuple[Path, ...]:
        """Write ``comparison.html``, a page that needs no other file, ``comparison.csv``, the table, ``estimates.csv``
        and ``fits.csv`` into a folder, which is made where there is none.

        Returns
        -------
        the files

        Raises
        ------
        InputError : the folder is a file
        OSError : a file cannot be written
        """
        contents = {"comparison.html": self.to_html(whole=True), **saved.tables(self.record(), self.as_frame())}
        return saved.save(folder, contents)

    def _rendered(self) -> tables.Rendered:
        labels = [*self.labels, *([OPTIMUM] if self.alone else [])]
        header, rows = agreement_table.rendered(self.table if self.fits else None, labels)
        notes = []
        if self.fits:
            gaps = [
                f"{called(label)} {f'{judgement.gap:.4g}' if lack else f'< {self.allowed_gap:.0e}'}"
                for (label, judgement), lack in zip(self.judged, self.grades, strict=True)
            ]
            notes.append(f"Below the {self.against.noun}, in log-likelihood units: {'; '.join(gaps)}.")
            # At the optimum what a package doubts is a matter of its last steps, which change from machine to machine.
            graded = [pair for pair, lack in zip(self.judged, self.grades, strict=True) if lack]
            said = [f"{called(label)} {judgement.said_so}" for label, judgement in graded]
            notes += [f"Did the package itself doubt its fit? {'; '.join(said)}."] if said else []
        notes += [
            f"{called(absence.engine)} {_LEFT_OUT if absence.kind == 'left out' else 'gave no fit'}: {absence.reason}."
            for absence in self.absent
            if absence not in self.missing
        ]
        notes += self._beside
        notes += self.notes
        if self.known:
            notes.append(f"Known: {self.known}.")
        return f"{self.title}: {self.verdict.word}\n{escaped(self.verdict.reason)}.", header, rows, 3, notes

    @property
    def _beside(self) -> list[str]:
        """Where guests are among the fits, whom the verdict is about."""
        about = [title(self.labels[i]) for i in self.parties]
        others = [called(label) for i, label in enumerate(self.labels) if i not in self.parties]
        if not any(engines()[fit.engine].role == "guest" for fit in self.fits):
            return []
        return [
            f"The verdict is about {' and '.join(about)} only. Judged alike, and no part of it: {', '.join(others)}."
        ]

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        return {**super()._repr_mimebundle_(), MEDIA_TYPE: self.record()}


def _kind(engine: str) -> dict[str, str]:
    """An engine's language, its role and what it is called."""
    return {"language": engines()[engine].language, "role": engines()[engine].role, "title": called(engine)}


def compare(*answers: Answer, notes: Sequence[str] = (), against: Reference | None = None) -> Comparison:
    """Compare fits of one model, by any engines and settings, quantity by quantity and with the reference.

    Parameters
    ----------
    answers : two or more of one model by one method: fits, or in the place of one the reason why there is none
    notes : what is to be said with the comparison, a sentence each
    against : the reference that they are judged against; by default the model's own

    Raises
    ------
    ValueError : fewer than two, or fits of different models or methods
    """
    return Comparison(*answers, notes=notes, against=against)
