"""The account: everything that the fits of one model say beyond their estimates, section by section.

Each section is a `Sheet`: a line a quantity, held to the independent value by each package's own definition. What is
here is the order in which a reader meets them, and what they cost; what they say is in the modules of their names.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cached_property

import pandas as pd

from concord.account import anova, checks, effect_tests, marginal_means, model_tests, standard_errors, term_tests
from concord.account import criteria as criteria_module
from concord.account import influence as deletion
from concord.account import line as quantities
from concord.account.intervals import intervals
from concord.account.line import Line, Sheet
from concord.account.predictions import predictions
from concord.agreement.comparison import Comparison
from concord.display import table as tables
from concord.inference import criteria
from concord.inference.influence import Influence
from concord.inference.profile_curve import ProfileError
from concord.likelihood import likelihood
from concord.models.fixed_terms import fixed_terms
from concord.processes.worker import WorkerStopped

# Roughly how often a section fits the model anew, in fits of the slowest package; of intervals, for each parameter,
# and of influence, for each grouping factor.
FITS = {
    "standard errors": 2,
    "tests of fixed effects": 6,
    "intervals": 12,
    "random effects": 1,
    "criteria": 0,
    "tests of models": 10,
    "checks": 2,
    "influence": 6,
}
SECTIONS = tuple(FITS)
SEVERAL = 6


class Account:
    """Everything that the fits of one comparison say beyond their estimates.

    Parameters
    ----------
    comparison : fits of one model; tuned ones, so that a difference is one of definition and not of optimizers
    level : of all confidence intervals
    seconds : a section that would take longer, by an estimate from the fits' own times, is left out and says so
    profiled : whether the section of intervals has profiles, for which lme4 fits the model dozens of times
    """

    def __init__(
        self, comparison: Comparison, level: float = 0.95, seconds: float = math.inf, profiled: bool = True
    ) -> None:
        self.comparison, self.level, self.seconds, self.profiled = comparison, level, seconds, profiled
        self._made: dict[str, Sheet] = {}

    def __getitem__(self, section: str) -> Sheet:
        """One section as a sheet; it is made when it is first asked for.

        Raises
        ------
        KeyError : there is no such section
        """
        if section not in SECTIONS:
            raise KeyError(f"section {section!r}: one of {', '.join(SECTIONS)}")
        if section not in self._made:
            self._made[section] = self._sheet(section)
        return self._made[section]

    @cached_property
    def everything(self) -> Sheet:
        """All sections in one sheet."""
        sheets = [self[section] for section in SECTIONS]
        notes = dict.fromkeys(note for sheet in sheets for note in sheet.notes)
        lines = [line for sheet in sheets for line in sheet.lines]
        return Sheet(f"everything else, {self.comparison.title}", lines, tuple(notes), self.head)

    def as_frame(self) -> pd.DataFrame:
        """The lines of all sections as one table of pandas."""
        return self.everything.as_frame()

    @property
    def summary(self) -> Summary:
        """How many lines of each section came out how."""
        return Summary(self.comparison.title, {section: self[section] for section in SECTIONS})

    @property
    def sheets(self) -> list[Sheet]:
        """The sections that have a line; why another one has none stands under the summary."""
        return [self[section] for section in SECTIONS if self[section].lines]

    @property
    def unexplained(self) -> list[str]:
        """The lines of all sections that nothing explains, a sentence each; they are part of the verdict."""
        return self.summary.unexplained

    @property
    def nothing_beyond(self) -> str:
        """Why there is no section, and no bootstrap, in a sentence; empty where there are."""
        structured = self.comparison.model.formula.structured
        return structured and f"Left out: of {structured} there are no independent values beyond the estimates."

    @property
    def left_out(self) -> list[str]:
        """The sections that have no line: nothing is said of them by the verdict."""
        return self.summary.left_out

    # ---- what stands beside the sheets -------------------------------------------------------------------------------

    @property
    def tests(self) -> pd.DataFrame:
        """Every test of every fixed effect; see `effect_tests.tests_table`."""
        return effect_tests.tests_table(self.comparison)

    def terms(self, kind: str = "III", ratios: bool = True) -> term_tests.TermTests | str:
        """Tests of whole terms of the fixed effects (see `term_tests.term_tests`); or a sentence, where there are none.

        Parameters
        ----------
        kind : ``I``, ``II``, ``II (car)``, ``III`` or ``III (car)``
        ratios : also likelihood ratios, for which the model is fitted by ML, and once more without each term; they are
            left out where that would take longer than a section may
        """
        if self.nothing_beyond:
            return self.nothing_beyond
        if self.estimated("tests of fixed effects") > self.seconds:
            return "No tests of terms: they would take longer than a section may."
        labels = fixed_terms(self.comparison.model).labels
        if not self.comparison.fits or not labels:
            only = "none but the intercept" if self.comparison.model.design.names else "no effect"
            why = f"the fixed part has {only}" if self.comparison.fits else "there is no fit"
            return f"No tests of terms: {why}."
        again = ratios and (1 + len(labels)) * self.estimated("random effects") <= self.seconds
        return term_tests.term_tests(self.comparison, kind, self._ratios if again else ())

    @cached_property
    def _ratios(self) -> list[tuple[str, model_tests.Tested]]:
        return term_tests.ml_ratios(self.comparison)

    def means(self, *factors: str, method: str | None = None) -> pd.DataFrame:
        """Marginal means of a factor, or of the combinations of several; see `marginal_means.means_table`."""
        return marginal_means.means_table(self.comparison, factors, method, self.level)

    def contrasts(self, *factors: str, method: str | None = None) -> pd.DataFrame:
        """The differences of all marginal means; see `marginal_means.contrasts_table`."""
        return marginal_means.contrasts_table(self.comparison, factors, method)

    @cached_property
    def tested(self) -> list[model_tests.Tested]:
        """The likelihood-ratio tests of the model with its relatives, each of which is fitted once."""
        return model_tests.tested(self.comparison)

    @cached_property
    def anova(self) -> anova.RAnova | str:
        """R's own anova() of fits; or a sentence, where there is none."""
        if self.nothing_beyond:
            return self.nothing_beyond
        try:
            r_anova = anova.anova(self.comparison)
            return r_anova or "No anova(): there is no other model, or no fit by a package that has one."
        except criteria.NotComparable as error:
            return f"No anova(): {error}."

    @cached_property
    def influence(self) -> dict[str, Influence]:
        """Of every level of each grouping factor, in the order of the random terms."""
        return {group: deletion.at_reference(self.comparison, group) for group in deletion.groups(self.comparison)}

    @property
    def most_influential(self) -> pd.DataFrame:
        """The levels of each grouping factor that matter most: ``group`` and the columns of `deletion.table`."""
        names = self.comparison.model.design.names
        frames = [deletion.table(influence, names).assign(group=group) for group, influence in self.influence.items()]
        table = pd.concat(frames, ignore_index=True)
        return table[["group", *table.columns.drop("group")]]

    def estimated(self, section: str) -> float:
        """Seconds that a section may take, by how long one fit of each package took."""
        once = [min((attempt.seconds for attempt in fit.attempts), default=fit.seconds) for fit in self.comparison.fits]
        # A package that did not end its fit in the time it had would be fitted again.
        once += [
            math.inf for absence in self.comparison.absent if absence.kind == "stopped" and FITS[section] >= SEVERAL
        ]
        known = [seconds for seconds in once if not math.isnan(seconds)]
        times = {
            "intervals": len(self.comparison.against.estimates),
            "influence": len(deletion.groups(self.comparison)),
        }
        return FITS[section] * times.get(section, 1) * max(known, default=0.0)

    # ---- how a sheet is made -----------------------------------------------------------------------------------------

    def _sheet(self, section: str) -> Sheet:
        title = f"{section}, {self.comparison.title}"
        needed = self.estimated(section)
        if not self.comparison.fits:
            return Sheet(title, [], ("There is no fit.",), self.head)
        if self.nothing_beyond:
            return Sheet(title, [], (self.nothing_beyond,), self.head)
        if needed > self.seconds:
            note = f"Left out: {section} would take some {needed:.0f} seconds, and {self.seconds:g} are allowed."
            if not self.seconds:
                note = "Left out, as asked."
            elif math.isinf(needed):
                note = f"Left out: {section} would fit again what an engine did not end in the time that it had."
            return Sheet(title, [], (note,), self.head)
        try:
            return Sheet(title, self._lines(section), self._notes(section), self.head)
        except WorkerStopped as stop:
            return Sheet(title, [], (f"Not there: an engine's process has ended ({stop}).",), self.head)
        except (likelihood.LikelihoodError, ProfileError) as error:
            return Sheet(title, [], (f"Not there: {error}.",), self.head)

    def _lines(self, section: str) -> list[Line]:
        makers: dict[str, Callable[[], Sequence[Line]]] = {
            "standard errors": lambda: standard_errors.lines(self.comparison),
            "tests of fixed effects": lambda: effect_tests.lines(self.comparison),
            "intervals": lambda: intervals.lines(self.comparison, self.level, with_profile=self.profiled),
            "random effects": lambda: predictions.lines(self.comparison),
            "criteria": lambda: criteria_module.lines(self.comparison),
            "tests of models": lambda: [*model_tests.test_lines(self.tested), *self._anova_lines],
            "checks": lambda: checks.lines(self.comparison),
            "influence": lambda: [
                line for influence in self.influence.values() for line in deletion.lines(self.comparison, influence)
            ],
        }
        return list(makers[section]())

    @property
    def _anova_lines(self) -> Sequence[Line]:
        return self.anova.lines if isinstance(self.anova, anova.RAnova) else ()

    def _notes(self, section: str) -> Sequence[str]:
        if section == "standard errors":
            return standard_errors.notes(self.comparison)
        if section == "tests of fixed effects":
            return tuple(f"{kind}: {assumes}." for kind, assumes in effect_tests.ASSUMES.items())
        if section == "intervals" and not self.profiled:
            return ("Left out, as asked: profile intervals.",)
        if section == "tests of models":
            said = {each.title: f"not tested: {each.refused}" if each.refused else each.remark for each in self.tested}
            notes = [f"{title}: {what}." for title, what in said.items() if what]
            if isinstance(self.anova, anova.RAnova):
                notes += [f"{note.rstrip('.')}." for note in self.anova.notes]
            return tuple(notes)
        return ()

    @property
    def head(self) -> dict[str, str]:
        """Whose the lines are: what stands in every record of a sheet."""
        model = self.comparison.model
        return {
            "dataset": model.dataset.id,
            "model": model.name,
            "method": model.method,
            "settings": self.comparison.settings,
        }


class Summary(tables.Shown):
    """How many lines of each section came out how.

    Attributes
    ----------
    title : whose
    sheets : by section
    """

    WORDS = quantities.VERDICTS

    def __init__(self, title: str, sheets: dict[str, Sheet]) -> None:
        self.title, self.sheets = title, sheets

    @property
    def table(self) -> pd.DataFrame:
        """A row a section, a column an outcome."""
        rows = {
            section: {word: sum(line.verdict == word for line in sheet.lines) for word in self.WORDS}
            for section, sheet in self.sheets.items()
        }
        return pd.DataFrame.from_dict(rows, orient="index", columns=list(self.WORDS))

    @property
    def unexplained(self) -> list[str]:
        """The lines of all sections that nothing explains, a sentence each."""
        return [breach for sheet in self.sheets.values() for breach in sheet.breaches]

    @property
    def left_out(self) -> list[str]:
        """The sections that have no line."""
        return [section for section, sheet in self.sheets.items() if not sheet.lines]

    def check(self) -> Summary:
        """Raise where a line of any section differs.

        Raises
        ------
        Disagreement : lists every such line of the first section that has one
        """
        for sheet in self.sheets.values():
            if sheet.lines:
                sheet.check()
        return self

    def _rendered(self) -> tables.Rendered:
        table = self.table
        rows = [[section, *(count or "" for count in counts)] for section, *counts in table.itertuples() if sum(counts)]
        notes = [f"{breach}." for breach in self.unexplained]
        notes += dict.fromkeys(note for sheet in self.sheets.values() if not sheet.lines for note in sheet.notes)
        if self.left_out:
            notes.append(f"Left out of the verdict: {', '.join(self.left_out)}.")
        differ = int(table[quantities.DIFFER].sum())
        word = f"{quantities.DIFFER}, " if differ else ""
        explained = f"{differ} that nothing explains" if differ else "every one explained"
        head = f"{self.title}: {word}{table.to_numpy().sum()} lines, {explained}"
        return head, ["section", *table.columns] if rows else [], rows, 1, notes
