"""Agreement: do fits of one model agree, and if not, who is off and why?"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from concord import reference, tables
from concord.answers import Absence, Answer
from concord.datasets import Tolerance
from concord.error_definitions import Errors
from concord.fits import KEY, Fit
from concord.judgement import OWN, Judgement, judge
from concord.models import Model
from concord.records import ESTIMATES_COLUMNS, FITS_COLUMNS, MEDIA_TYPE, plain

LANGUAGE = {"mixedlm": "python", "lme4": "r", "nlme": "r"}
# What an engine states may differ from the likelihood of its estimates by rounding, and not by more.
STATED = 1e-5
# What the reference is called where it stands in a table beside a single fit.
OPTIMUM = "optimum"
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


@dataclass(frozen=True)
class Verdict:
    """What came of a comparison.

    Attributes
    ----------
    word : ``agree``, ``python short``, ``r short``, ``both short``, ``differ`` or ``cannot express``
    reason : the evidence, in a sentence
    evidence : kinds of evidence: ``no fit``, ``stopped early``, ``another optimum``, ``constraint ignored``,
        ``no parameters``, ``boundary``, ``silent failure``, ``rounding``, ``false alarm``, ``other coding``,
        ``other definition``
    """

    word: str
    reason: str
    evidence: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.word}: {self.reason}"


class QuantityTolerance(Tolerance):
    """Of a quantity beyond the estimates: `rtol` and `atol` hold a package to its own definition at its own estimates;
    between packages `across` is added to `rtol`, for their estimates are not quite the same.
    """

    across: float = 0.0


@cache
def tolerances() -> Mapping[str, Mapping[str, Tolerance]]:
    """The tolerances of every quantity, for default and for tuned settings."""
    content = tomllib.loads(Path(__file__).with_name("tolerances.toml").read_text(encoding="utf-8"))
    made = {"quantities": QuantityTolerance}
    return {
        kind: {name: made.get(kind, Tolerance)(**each) for name, each in table.items()}
        for kind, table in content.items()
    }


def tolerance(quantity: str, settings: str, model: Model) -> Tolerance:
    """The tolerance of one quantity: the model's own, or else the one of the settings (``tuned`` or any other)."""
    return model.record.tolerance.get(quantity) or tolerances()["tuned" if settings == "tuned" else "default"][quantity]


def allowed_gap(settings: str, model: Model) -> float:
    """How many log-likelihood units below the reference a fit may be."""
    allowed = tolerance("loglik", settings, model)
    return allowed.atol + allowed.rtol * len(model.design.y)


class Comparison:
    """Answers to one model side by side.

    Attributes
    ----------
    fits : what is compared
    absent : the engines that gave no fit, with the reason
    notes : what else is to be said with it, a sentence each
    table : one row per quantity, the log-likelihood first: ``effect, group, term``, the value in each fit, the largest
        ``difference`` of two fits, that ``relative`` to the larger value, the ``tolerance`` in the quantity's own unit,
        whether it is ``ok``, and whether that is so only because the two go by another ``definition``; where there is
        one fit only, the reference stands beside it as ``optimum``
    judgements : every fit against the reference
    verdict : what came of it, with the reason

    Beside MixedLM and lme4, nlme is an arbiter: shown in the table and judged, but no party to the verdict.
    """

    def __init__(self, *answers: Answer, notes: Sequence[str] = ()) -> None:
        if len(answers) < 2:
            raise ValueError("compare two fits or more")
        first = answers[0].model
        for each in answers[1:]:
            if (each.model.id, each.model.method) != (first.id, first.method):
                raise ValueError(
                    f"fits of different models: {first.id} by {first.method}, {each.model.id} by {each.model.method}"
                )
        self.fits = fits = tuple(each for each in answers if not isinstance(each, Absence))
        self.absent = tuple(each for each in answers if isinstance(each, Absence))
        self.model, self.notes = first, tuple(notes)
        kinds = list(dict.fromkeys(each.settings for each in answers))
        self.settings = kinds[0] if len(kinds) == 1 else " and ".join(kinds)
        engines = [fit.engine for fit in fits]
        twice = len(set(engines)) < len(engines)
        labels = [f"{fit.engine} {fit.settings}" if twice else fit.engine for fit in fits]
        # Two fits by one engine and settings, such as two native results, are numbered: labels name columns.
        self.labels = [
            f"{label} {labels[: i + 1].count(label)}" if labels.count(label) > 1 else label
            for i, label in enumerate(labels)
        ]
        arbiter = {"mixedlm", "lme4"} <= {each.engine for each in answers}
        self.parties = [i for i, engine in enumerate(engines) if not (arbiter and engine == "nlme")] or [
            *range(len(fits))
        ]
        self.missing = [each for each in self.absent if not (arbiter and each.engine == "nlme")]

    @cached_property
    def against(self) -> reference.Reference:
        """The reference; where it is not certified, after searches from where the fits stopped too."""
        return reference.of(self.model).searched_from([fit for fit in self.fits if self._same_model(fit)])

    @cached_property
    def judgements(self) -> list[Judgement]:
        """Every fit against the reference, in the order of the fits."""
        return [judge(fit, self.against if self._same_model(fit) else reference.of(fit.model)) for fit in self.fits]

    def _same_model(self, fit: Fit) -> bool:
        """Whether a fit is of the very same table and formula, and not only of a model with the same name."""
        return fit.model.dataset is self.model.dataset and fit.model.record is self.model.record

    @cached_property
    def table(self) -> pd.DataFrame:
        """One row per quantity; see the class."""
        shown = [
            (label, fit.loglik + fit.shift, fit.estimates) for label, fit in zip(self.labels, self.fits, strict=True)
        ]
        if self._alone:
            shown.append((OPTIMUM, self.against.loglik, self.against.estimates))
        columns = [_column(*each) for each in shown]
        # By name, and what only one fit has stays in sight.
        joined = pd.concat(columns, axis=1, join="outer", sort=False)
        joined = joined.reindex(sorted(joined.index, key=lambda key: _ORDER[key[0]]))
        values = joined[[*(self.labels[i] for i in self.parties), *([OPTIMUM] if self._alone else [])]]
        joined["difference"] = values.max(axis=1, skipna=False) - values.min(axis=1, skipna=False)
        larger = values.abs().max(axis=1, skipna=False)
        joined["relative"] = joined["difference"] / larger.where(larger > 0, 1.0)
        joined["tolerance"] = [self._allowed(key, values) for key in joined.index]
        # A comparison with NaN is false: a missing or infinite value is never ok.
        within = joined["difference"] <= joined["tolerance"]
        joined["definition"] = [not ok and self._by_definition(key) for key, ok in within.items()]
        joined["ok"] = within | joined["definition"]
        return joined.reset_index()

    @property
    def _alone(self) -> bool:
        """Whether there is nothing but the reference to hold the one fit against."""
        return len(self.parties) < 2

    def _by_definition(self, key: tuple[str, str, str]) -> bool:
        """Whether standard errors differ only because an engine inverts the joint Hessian, where lme4 holds theta.

        Shown, not assumed: at its own estimates the joint Hessian of the independent likelihood gives just what the
        engine states; and the errors conditional on theta, computed at each fit's own covariance matrices, agree with
        each other and with what the others state.
        """
        if key[0] != "std_error":
            return False
        if not all(self._same_model(self.fits[i]) for i in self.parties):
            return False
        place = self.model.design.names.index(key[2])
        allowed = tolerance("std_error", self._kind, self.model)
        conditional = []
        for i in self.parties:
            fit, stated = self.fits[i], self.fits[i].std_error[place]
            own = self._errors[i]
            joint = fit.joint_std_error is not None and stated == fit.joint_std_error[place]
            expected = own.joint if joint else own.conditional
            if expected is None or not abs(stated - expected[place]) <= allowed.atol + allowed.rtol * expected[place]:
                return False
            conditional.append(own.conditional[place])
        return max(conditional) - min(conditional) <= allowed.atol + allowed.rtol * min(conditional)

    @cached_property
    def _errors(self) -> dict[int, Errors]:
        """Each party's standard errors of fixed effects by every definition, at its own estimates."""
        return {i: Errors.at(self.against.likelihood, self.fits[i]) for i in self.parties}

    def _allowed(self, key: tuple[str, str, str], values: pd.DataFrame) -> float:
        """The tolerance of one row in its own unit."""
        effect, group, term = key
        if effect == "loglik":
            return self._allowed_gap
        quantity = {"ran_pars": "covariance" if term.startswith("cov__") else "variance"}.get(effect, effect)
        allowed = tolerance(quantity, self._kind, self.model)
        scale = values.loc[key].abs().min()
        if effect == "ran_pars" and self.against.boundary and group != "Residual":
            # A variance that is zero has no size of its own: measure it by what it would add to the residual variance.
            return allowed.atol + allowed.rtol * max(float(scale), self._share(group, term))
        if quantity == "fixed":
            scale = values.loc[("std_error", group, term)].min()
        if quantity == "covariance":
            scale = self._deviations(key)
        return allowed.atol + allowed.rtol * float(scale)

    def _share(self, group: str, term: str) -> float:
        """The (co)variance at which an effect contributes as much to the response as the residuals do."""
        residual = min(self.fits[i].residual_variance for i in self.parties)
        sizes = {
            name: float(np.mean(column**2))
            for each in self.model.design.terms
            if each.group == group
            for name, column in zip(each.names, each.matrix.T, strict=True)
        }
        kind, _, names = term.partition("__")
        if kind == "var":
            return residual / sizes[names]
        both = [(a, b) for a in sizes for b in sizes if f"{a}.{b}" == names]
        return residual / np.sqrt(sizes[both[0][0]] * sizes[both[0][1]])

    def _deviations(self, key: tuple[str, str, str]) -> float:
        """The smallest product, over the fits, of the standard deviations of a covariance's two effects."""
        products = []
        for fit in (self.fits[i] for i in self.parties):
            for term, covariance in zip(fit.model.design.terms, fit.covariances, strict=True):
                for j, second in enumerate(term.names):
                    for i, first in enumerate(term.names[:j]):
                        if (term.group, f"cov__{first}.{second}") == key[1:]:
                            products.append(np.sqrt(max(covariance[i, i] * covariance[j, j], 0.0)))
        return float(min(products))

    @property
    def breaches(self) -> list[str]:
        """What is out of tolerance, a line each; the log-likelihood first."""
        lines = [f"{each.engine} gave no fit: {each.reason}" for each in self.missing]
        lines += [
            f"{label} is {judgement.gap:.3g} log-likelihood units below the reference ({self.against.kind}), "
            f"{self._allowed_gap:.1g} allowed"
            for label, judgement in self._parties()
            if self.short(judgement)
        ]
        lines += [
            f"{label}: {judgement.fit.violation}" for label, judgement in self._parties() if judgement.fit.violation
        ]
        for row in self.table[~self.table["ok"]].to_dict("records") if self.fits else ():
            values = ", ".join(f"{label} {tables.number(row[label], 10) or 'missing'}" for label in self.labels)
            lines.append(f"{_name(row)}: {values}; difference {row['difference']:.3g}, {row['tolerance']:.3g} allowed")
        return lines

    @property
    def _kind(self) -> str:
        return "tuned" if self.settings == "tuned" else "default"

    @property
    def _allowed_gap(self) -> float:
        return allowed_gap(self._kind, self.model)

    def short(self, judgement: Judgement) -> bool:
        """Whether a fit is farther below the reference than its settings' tolerance allows."""
        return not judgement.gap <= self._allowed_gap

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

    def _parties(self) -> list[tuple[str, Judgement]]:
        """The parties to the verdict."""
        return [(self.labels[i], self.judgements[i]) for i in self.parties]

    @cached_property
    def verdict(self) -> Verdict:
        """Log-likelihood first: whoever is below the optimum is short; at one optimum, all quantities must agree."""
        judged = self._parties()
        short = [(label, judgement) for label, judgement in judged if self.short(judgement)]
        if short or self.missing:
            seen = [(each.engine, ("no fit",), f"gave no fit: {each.reason}") for each in self.missing]
            seen += [(label, *judgement.shortfall) for label, judgement in short]
            kinds = tuple(dict.fromkeys(kind for _, found, _ in seen for kind in found))
            unwritten = [each for each in self.missing if each.kind == "cannot express"]
            if unwritten:
                reasons = [each.reason for each in unwritten]
                reasons += [f"{label} {why}" for label, _, why in seen if label not in {e.engine for e in unwritten}]
                held = [label for label, judgement in judged if not self.short(judgement)]
                reasons += [f"{label} is at the {self.against.noun}" for label in held]
                return Verdict("cannot express", "; ".join(reasons), kinds)
            sides = {LANGUAGE[each.engine] for each in self.missing}
            sides |= {LANGUAGE[judgement.fit.engine] for _, judgement in short}
            word = "both short" if len(sides) > 1 else f"{sides.pop()} short"
            return Verdict(word, "; ".join(f"{label} {why}" for label, _, why in seen), kinds)
        beaten = min(judgement.gap for _, judgement in judged)
        if beaten < -self._allowed_gap:
            return Verdict("differ", f"a fit is {-beaten:.3g} log-likelihood units above the reference: no optimum yet")
        for label, judgement in judged:
            # Two engines could state the same wrong value: each is held to the likelihood of its own estimates.
            own, stated = judgement.against.level - judgement.gap, judgement.fit.loglik + judgement.fit.shift
            if not abs(stated - own) <= STATED:
                claim = f"{label} states a log-likelihood of {stated:.8g}, its estimates have {own:.8g}"
                return self._rounded(Verdict("differ", claim))
        outside = self.table[~self.table["ok"]]
        if len(outside):
            names = ", ".join(_name(row) for row in outside.to_dict("records"))
            return self._rounded(Verdict("differ", f"all are at the optimum, and yet beyond tolerance in {names}"))
        reason, kinds = f"all quantities within tolerance, at the {self.against.noun}", []
        if self.against.boundary:
            kinds.append("boundary")
            reason += ", which lies on the boundary: a covariance matrix is singular there"
        if self.table["definition"].any():
            kinds.append("other definition")
            reason += "; standard errors differ by definition: conditional on theta they agree"
            up = [self.labels[i] for i, each in self._errors.items() if not each.down]
            reason += "".join(f"; those of {label} mean nothing: its Hessian is not negative definite" for label in up)
        for label, judgement in judged:
            fit = judgement.fit
            if fit.shift and abs(fit.loglik + fit.shift - (self.against.level - judgement.gap)) <= OWN:
                kinds.append("other coding")
                reason += (
                    f"; {label} was given X in another coding: its REML log-likelihood, {fit.loglik:.6g}, is shifted "
                    f"by the difference of 0.5 log |X'X|, {fit.shift:.6g}, and by nothing else"
                )
        if any(judgement.alarmed for _, judgement in judged):
            kinds.append("false alarm")
        return Verdict("agree", reason, tuple(dict.fromkeys(kinds)))

    def _rounded(self, verdict: Verdict) -> Verdict:
        """A verdict with what the rounding of an engine's own log-likelihood has to do with it, if anything."""
        said = [f"{label}: {each.rounded}" for label, each in self._parties() if each.rounding > self._allowed_gap]
        if not said:
            return verdict
        return Verdict(verdict.word, "; ".join([verdict.reason, *said]), (*verdict.evidence, "rounding"))

    def check(self) -> Comparison:
        """The gate: raise where the fits do not agree, unless default settings are declared to disagree just so.

        Returns
        -------
        Comparison : this one, to be shown

        Raises
        ------
        Disagreement : lists every breach
        """
        if self.verdict.word != "agree" and not self.known:
            raise Disagreement(f"{self.title}: {self.verdict.word}", self.breaches or [self.verdict.reason])
        return self

    @property
    def known(self) -> str | None:
        """The declared reason, where default settings are declared to disagree just so and do; or where an engine is
        declared to have no way to write the model down, which no settings change.
        """
        known = self.model.record.known_by(self.model.method)
        if known is None or known.verdict != self.verdict.word:
            return None
        return known.reason if self.settings == "default" or known.verdict == "cannot express" else None

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
            judged = {"loglik": fit.loglik, "gap": judgement.gap, "digits": judgement.worst, "seconds": fit.seconds}
            told = {"converged": fit.converged, "messages": list(fit.messages), "verdict": self.verdict.word}
            # The call is no column of fits.csv: it is for the page that shows the code of every fit
            fits.append({**plain({**head, **judged, **told}, FITS_COLUMNS), "call": fit.call})
        for each in self.absent:
            head = {**model, "settings": each.settings, "engine": each.engine, "seconds": each.seconds}
            nothing = {"loglik": np.nan, "gap": np.nan, "digits": np.nan, "converged": False}
            told = {"messages": [each.reason], "verdict": self.verdict.word}
            fits.append(plain({**head, **nothing, **told}, FITS_COLUMNS))
        return {"estimates": estimates, "fits": fits}

    def _rendered(self) -> tuple[str, list[str], list[list[object]], int, list[str]]:
        labels = [*self.labels, *([OPTIMUM] if self._alone else [])]
        rows = []
        for row in self.table.to_dict("records") if self.fits else ():
            # Below its tolerance a difference is the noise of the last steps: it would change from machine to machine.
            within = row["ok"] and not row["definition"]
            shown = f"< {row['tolerance']:.1e}" if within else tables.number(row["difference"], 4) or "missing"
            blank = within or np.isnan(row["relative"]) or row["effect"] == "loglik"
            percent = "" if blank else f"{100 * row['relative']:.3g} %"
            values = [tables.number(row[label]) for label in labels]
            mark = "by definition" if row["definition"] else "✓" if row["ok"] else "✗"
            rows.append([_KIND[row["effect"]], row["group"], row["term"], *values, shown, percent, mark])
        gaps = "; ".join(
            f"{label} {f'< {self._allowed_gap:.0e}' if not self.short(judgement) else f'{judgement.gap:.4g}'}"
            for label, judgement in self.judged
        )
        notes = [f"Below the {self.against.noun}, in log-likelihood units: {gaps}."] if self.fits else []
        notes += [f"{each.engine} gave no fit: {each.reason}." for each in self.absent if each not in self.missing]
        notes += self.notes
        if self.known:
            notes.append(f"Known: {self.known}.")
        header = ["quantity", "group", "term", *labels, "difference", "relative", "ok"]
        return f"{self.title}: {self.verdict.word}\n{self.verdict.reason}.", header, rows, 3, notes

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        rendered = self._rendered()
        return {
            "text/plain": tables.render_text(*rendered),
            "text/html": tables.render_html(*rendered),
            MEDIA_TYPE: self.record(),
        }

    def __repr__(self) -> str:
        return tables.render_text(*self._rendered())


def compare(*answers: Answer, notes: Sequence[str] = ()) -> Comparison:
    """Compare fits of one model, by any engines and settings, quantity by quantity and with the reference.

    Parameters
    ----------
    answers : two or more of one model by one method: fits, or in the place of one the reason why there is none
    notes : what is to be said with the comparison, a sentence each

    Raises
    ------
    ValueError : fewer than two, or fits of different models or methods
    """
    return Comparison(*answers, notes=notes)


_KIND = {"loglik": "log-likelihood", "fixed": "fixed effect", "std_error": "standard error", "ran_pars": "(co)variance"}
_ORDER = {"loglik": 0, "fixed": 1, "std_error": 2, "ran_pars": 3}


def _column(label: str, loglik: float, estimates: pd.DataFrame) -> pd.Series:
    """All quantities of one answer, by effect, group and term."""
    errors = estimates[estimates["effect"] == "fixed"].assign(effect="std_error")
    errors["estimate"] = errors["std_error"]
    first = pd.DataFrame([("loglik", "", "logLik", loglik)], columns=[*KEY, "estimate"])
    return pd.concat([first, estimates, errors])[[*KEY, "estimate"]].set_index(KEY)["estimate"].rename(label)


def _name(row: Mapping[str, Any]) -> str:
    return " ".join(filter(None, [_KIND[row["effect"]], row["group"], row["term"]]))
