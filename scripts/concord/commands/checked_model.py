"""One of a team's models, compared by one method and held to the verdict that the team expects."""

from __future__ import annotations

import math
import sys
import time
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tqdm import tqdm

from concord.agreement.comparison import Comparison
from concord.commands import baseline
from concord.commands.team_file import TeamModel
from concord.engines.remote import stop_workers
from concord.errors import InputError, escaped, shorten
from concord.session import Inquiry
from concord.vocabulary import AGREE, SETTINGS, SHORT, passes

# Seconds that a section of everything else may take, as estimated.
DETAILS = 300.0


@dataclass
class CheckedModel:
    """A team's model with its comparisons by one method.

    Attributes
    ----------
    model : with what is expected of it
    comparisons : by settings; empty where the table or the formula cannot be used
    entries : what a baseline keeps of each
    unexplained : the lines of everything else that the tuned fits say which nothing explains, a sentence each
    left_out : what of everything else was not looked at, and why, in a few words; empty where all was
    error : why they cannot, in a sentence
    trace : where Concord itself failed, its traceback
    seconds : wall time
    strict : whether a fit that is imprecise fails where agreement is expected
    """

    model: TeamModel
    comparisons: Mapping[str, Comparison] = field(default_factory=dict)
    entries: Sequence[Mapping[str, Any]] = ()
    unexplained: Sequence[str] = ()
    left_out: str = ""
    error: str = ""
    trace: str = ""
    seconds: float = math.nan
    strict: bool = False

    @property
    def failures(self) -> dict[str, str]:
        """What is not as expected: the reason, by settings."""
        return {
            settings: self._better(settings) if comparison.verdict.word == AGREE else comparison.verdict.reason
            for settings, comparison in self.comparisons.items()
            if not self._as_expected(settings, comparison.verdict.word)
        }

    def _as_expected(self, settings: str, word: str) -> bool:
        """Whether a verdict is the expected one.

        A fit that is imprecise passes, but with `strict`, where agreement is expected, or where a file older than the
        word *imprecise* says that the same engine is short.
        """
        expected = self.model.expected[settings]
        mild = word != AGREE and passes(word, self.strict)
        return word == expected or (mild and (expected == AGREE or expected == f"{word.split()[0]} {SHORT}"))

    def _better(self, settings: str) -> str:
        key = "expect" if settings == "default" else "expect_tuned"
        return f"better than declared, so take {key} out; the reason there was: {self.model.reason}"

    @property
    def passed(self) -> bool:
        """Whether all is as expected, and every line of everything else explained."""
        return not self.error and not self.wrong

    @property
    def wrong(self) -> dict[str, str]:
        """What is not as expected, and what nothing explains: the reason, by what it is about."""
        reasons = {self.told(settings): why for settings, why in self.failures.items()}
        if self.unexplained:
            reasons[self._counted] = "; ".join(self.unexplained)
        return reasons

    @property
    def _counted(self) -> str:
        count = len(self.unexplained)
        return f"{count} {'lines' if count > 1 else 'line'} that nothing explains"

    def verdict(self, settings: str) -> str:
        """The verdict by settings; empty where nothing was compared."""
        return self.comparisons[settings].verdict.word if settings in self.comparisons else ""

    def told(self, settings: str) -> str:
        """Settings and verdict, and what was expected where that is another one."""
        expected = self.model.expected[settings]
        other = f" (expected {expected})" if settings in self.failures else ""
        return f"{settings} {self.verdict(settings)}{other}"

    @property
    def line(self) -> str:
        """The case on one line: verdicts and reason."""
        head = f"{self.model.name}, {self.model.method}: "
        if self.error:
            return f"{head}error: {self.error}"
        told = [*map(self.told, self.comparisons), *([self._counted] if self.unexplained else [])]
        verdicts, left = ", ".join(told), f"; {self.left_out}" if self.left_out else ""
        if self.wrong:
            return f"{head}not as expected: {verdicts}: {'; '.join(dict.fromkeys(self.wrong.values()))}{left}"
        declared = f" ({self.model.reason})" if self.model.reason else ""
        return f"{head}as expected: {verdicts}{declared}: {self.comparisons['default'].verdict.reason}{left}"

    @property
    def sentences(self) -> list[str]:
        """What is not as expected, a sentence each."""
        return [f"{what}: {why}" for what, why in self.wrong.items()]


def compared(chosen: Sequence[TeamModel], engine_timeout: float, strict: bool = False) -> list[CheckedModel]:
    """The cases of all models, each told on stdout as soon as it is done."""
    cases = []
    try:
        with tqdm(
            total=len(chosen), unit="model", dynamic_ncols=True, leave=False, disable=not sys.stderr.isatty()
        ) as bar:
            for number, model in enumerate(chosen, 1):
                bar.set_postfix_str(f"{model.name}, {model.method}")
                cases.append(case := judged(model, engine_timeout, strict))
                bar.clear()
                print(f"[{number}/{len(chosen)}] {escaped(case.line)}", flush=True)
                bar.update()
    finally:
        stop_workers()
    return cases


def judged(model: TeamModel, engine_timeout: float, strict: bool = False) -> CheckedModel:
    """One model compared at both settings; whatever stops it is told in its case."""
    started = time.perf_counter()
    case = CheckedModel(model, strict=strict)
    try:
        weights = model.weights
        inquiry = Inquiry(model.data, model.formula, model.method, engine_timeout=engine_timeout, weights=weights)
        for settings in SETTINGS:
            inquiry.compare(settings)
        # Once more, all against the best optimum that is known by now.
        comparisons = inquiry.gate().comparisons
        case.entries = [baseline.entry(model.name, comparison) for comparison in comparisons]
        case.comparisons = dict(zip(SETTINGS, comparisons, strict=True))
        _look_closer(case, inquiry)
    except InputError as error:
        case.error = shorten(str(error))
    except Exception as error:  # one model's failure must not stop the others
        case.error = shorten(f"{type(error).__name__}: {error}")
        case.trace = traceback.format_exc()
    case.seconds = time.perf_counter() - started
    return case


def _look_closer(case: CheckedModel, inquiry: Inquiry) -> None:
    """Everything that the tuned fits say beyond their estimates, profile intervals excepted, for a line that nothing
    explains.
    """
    if not case.model.details:
        case.left_out = "details left out, as concord.toml says"
        return
    try:
        account = inquiry.account(case.comparisons["tuned"], seconds=DETAILS, profiled=False)
        case.unexplained = account.unexplained
        case.left_out = f"details left out: {', '.join(account.left_out)}" if account.left_out else ""
    except Exception as error:  # the verdicts stand all the same
        case.unexplained = [shorten(f"details could not be looked at: {type(error).__name__}: {error}")]


def headline(cases: Sequence[CheckedModel], models: int) -> str:
    """How many cases there are of all models, and how many of them are as expected."""
    if not cases:
        return "no model's table is among the changed files: nothing to compare"
    unusable = sum(bool(case.error) for case in cases)
    failed = sum(bool(case.wrong) for case in cases)
    parts = [f"{len(cases) - unusable - failed} of {len(cases)} comparisons as expected"]
    parts += [f"{failed} not"] if failed else []
    parts += [f"{unusable} without a verdict"] if unusable else []
    left = models - len(cases)
    parts += [f"{left} left out, whose tables have not changed"] if left else []
    return ", ".join(parts)
