"""Standard errors of fixed effects and of variance components, as packages state them and each by its own definition.

Each package's number is held to the independent one by that package's definition, at that package's own estimates: what
it states is in its engine's folder (`Uncertainty`), what it should state in `error_definitions`.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import pandas as pd

from concord.account.line import Line
from concord.agreement.comparison import Comparison
from concord.engines.error_definitions import Errors, adjusted
from concord.engines.fit import Fit
from concord.engines.statements import NOT_ASKED, ErrorOfVariance, Statement, Uncertainty, statements
from concord.inference import information
from concord.inference.information import Information, InformationError
from concord.models.parameters import KEY, keys
from concord.reference import reference

ERRORS = "standard errors"

OTHER_CODING = "its columns are the model's in another coding, in which it states no number for this term"
NEAR = (
    "the optimum is on the boundary, where its logarithms have no end: it stops somewhere near, and an error there "
    "depends on where"
)


class Reading:
    """A comparison's fits with what their packages state of errors and tests, and what is expected of them."""

    def __init__(self, comparison: Comparison) -> None:
        self.comparison, self.model = comparison, comparison.model
        self.design = self.model.design
        self.against = comparison.against
        self.likelihood = self.against.likelihood
        self.short = comparison.apart
        self.fits = dict(zip(comparison.labels, comparison.fits, strict=True))
        self.resolved = {
            label: measure.resolution for label, measure in zip(comparison.labels, comparison.measures, strict=True)
        }
        self.expected = {label: Errors(self.likelihood, fit) for label, fit in self.fits.items()}

    @cached_property
    def stated(self) -> dict[str, Uncertainty]:
        """By label, what the fits' packages state; a package that is not asked is not there.

        Raises
        ------
        RError : R, or one of lmerTest and pbkrtest, is missing
        """
        asked = {label: statements(fit.engine).uncertainty for label, fit in self.fits.items()}
        return {
            label: question(self.fits[label], self.likelihood, self.resolved[label].stated)
            for label, question in asked.items()
            if question
        }

    @property
    def absent(self) -> dict[str, str]:
        """By label, why a package states nothing."""
        return {label: NOT_ASKED for label in self.fits if label not in self.stated}

    @cached_property
    def _sources(self) -> dict[tuple[str, str], str]:
        names: dict[tuple[str, str], str] = {}
        for label, said in self.stated.items():
            sources = [*(component.source for component in said.components), *(test.source for test in said.tests)]
            for source in dict.fromkeys(sources):
                name = label.replace(self.fits[label].engine, source, 1) if source else label
                names[label, source] = f"{name} of {label}" if name in names.values() else name
        return names

    def source(self, label: str, source: str) -> str:
        """What a package is called that speaks of a fit: the fit's label, or lmerTest where lme4 is in the label."""
        return self._sources[label, source]

    @cached_property
    def best(self) -> Information | None:
        """The observed information at the reference; None on the boundary."""
        try:
            return information.observed(self.likelihood, self.against.parameters)
        except InformationError:
            return None

    def line(self, section: str, quantity: str, tolerance: str, row: dict[str, Any], **parts: Any) -> Line | None:
        """A line of what is a number and of what is expected of it; None where no source is asked for one."""
        absent = {source: why for source, why in parts.pop("absent", {}).items() if why}
        values = {}
        for source, value in parts.pop("values").items():
            if value is not None and not np.isnan(value):
                values[source] = float(value)
            else:
                absent.setdefault(source, OTHER_CODING)
        if not values and not absent:
            return None
        expected = {s: float(value) for s, value in parts.pop("expected").items() if s in values and value is not None}
        defined = {source: name for source, name in parts.pop("definitions", {}).items() if source in values and name}
        return Line(
            section, quantity, tolerance, values, defined, expected, absent=absent, short=self.short, **row, **parts
        )


@lru_cache(maxsize=8)
def reading(comparison: Comparison) -> Reading:
    """The reading of a comparison; kept, so that the sections ask the packages once."""
    return Reading(comparison)


def lines(comparison: Comparison) -> list[Line]:
    """Standard errors of fixed effects and of variance components, by every definition, each held to its own.

    Raises
    ------
    RError : R, or one of lmerTest and pbkrtest, is missing
    """
    known = reading(comparison)
    return [line for line in (*_of_fixed(known), *_of_components(known)) if line is not None]


def notes(comparison: Comparison) -> tuple[str, ...]:
    """What is to be said of numbers that a package does not print itself, a sentence each.

    Raises
    ------
    RError : R, or one of lmerTest and pbkrtest, is missing
    """
    known = reading(comparison)
    sources = [
        known.source(label, each.source)
        for label, said in known.stated.items()
        for each in said.components
        if each.parameters == "factors" and each.value is not None
    ]
    return tuple(
        f"{source}: it prints no standard error of a variance; what stands here follows by the delta method from the "
        "covariance matrix that it keeps of the relative factors and the residual deviation."
        for source in dict.fromkeys(sources)
    )


def _of_fixed(known: Reading) -> Iterator[Line | None]:
    best, conditional = known.best, known.likelihood.std_error(known.against.parameters)
    for k, term in enumerate(known.design.names):
        lost = {
            label: 2 * float(known.resolved[label].std_error[k] * known.expected[label].conditional[k])
            for label in known.fits
        }
        plain, joint = conditional[k], np.nan if best is None else best.joint[k]
        for quantity, attribute, independent in (
            ("standard error", "fixed", plain),
            ("standard error, conditional on the variances", "conditional", plain),
            ("standard error, joint", "joint", joint),
        ):
            stated: dict[str, Statement] = {s: getattr(statement, attribute) for s, statement in known.stated.items()}
            by_definition = {
                label: ("", known.expected[label].joint)
                if attribute == "joint"
                else _by_definition(known, label, statement)
                for label, statement in stated.items()
            }
            yield known.line(
                ERRORS,
                quantity,
                "std_error",
                {"effect": "fixed", "term": term},
                values={label: statement.entry(k) for label, statement in stated.items()},
                definitions={label: name for label, (name, _) in by_definition.items()},
                expected={label: None if own is None else own[k] for label, (_, own) in by_definition.items()},
                absent={label: statement.reason(k) for label, statement in stated.items() if statement.entry(k) is None}
                | known.absent,
                independent=float(independent),
                rounding=lost,
            )


def _by_definition(known: Reading, label: str, stated: Statement) -> tuple[str, np.ndarray | None]:
    """The definition of a statement of standard errors of fixed effects, and what it gives at the fit's estimates."""
    errors = known.expected[label]
    if stated.definition == "joint_information":
        # Beside the boundary the log-likelihood may bend up: no covariance matrix has such an inverse.
        return "joint_information" if errors.down else "joint_bending_up", errors.joint
    if stated.definition == "adjusted_for_fixed_effects":
        return stated.definition, errors.conditional * adjusted(known.fits[label])
    return stated.definition, errors.conditional


def _of_components(known: Reading) -> Iterator[Line | None]:
    independent = None if known.best is None else known.best.components()["std_error"].to_numpy()
    rows = [dict(zip(KEY, key, strict=True)) for key in keys(known.design)[len(known.design.names) :]]
    for k, row in enumerate(rows):
        values, own, definitions, absent, lost, looser = {}, {}, {}, dict(known.absent), {}, {}
        others = []
        shown = np.nan if independent is None else independent[k]
        for label, component in (
            (label, component) for label, said in known.stated.items() for component in said.components
        ):
            source = known.source(label, component.source)
            expected, why_not = _expected(known, label, component, k)
            if component.quantity:
                if expected is not None and component.value is not None:
                    others.append(
                        known.line(
                            ERRORS,
                            component.quantity,
                            component.tolerance,
                            row,
                            values={source: component.value[k]},
                            definitions={source: component.definition},
                            expected={source: expected},
                            rounding={source: float(component.rounding[k])},
                            independent=shown,
                        )
                    )
                continue
            if component.tolerance:
                looser[source] = component.tolerance
            why = component.reason(k) or why_not
            if why:
                absent[source] = why
                continue
            values[source], own[source], definitions[source] = component.entry(k), expected, component.definition
            if component.rounding is not None:
                lost[source] = float(component.rounding[k])
        yield known.line(
            ERRORS,
            "standard error",
            "error_of_variance",
            row,
            values=values,
            definitions=definitions,
            expected=own,
            absent=absent,
            independent=shown,
            looser=looser,
            rounding=lost,
        )
        yield from others


def _expected(known: Reading, label: str, stated: ErrorOfVariance, k: int) -> tuple[float | None, str]:
    """The error of a variance or covariance, differentiated in the package's parameters; or why there is none."""
    errors = known.expected[label]
    if stated.parameters == "ratios":
        return (None, errors.why) if errors.of_ratios is None else (np.append(errors.of_ratios, np.nan)[k], "")
    if stated.parameters == "factors":
        own, otherwise = errors.by_factors, "the deviance bends down somewhere"
    else:
        own, otherwise = errors.components if known.best else None, NEAR
    return (None, errors.why or otherwise) if own is None else (float(own[k]), "")


def components_table(fit: Fit) -> pd.DataFrame | str:
    """What MixedLM prints beside each variance and covariance, and the way from there to its standard error.

    Parameters
    ----------
    fit : any engine's: what MixedLM would print at these estimates; of MixedLM itself also what it does print

    Returns
    -------
    ``group, term, estimate, ratio, of_ratio, printed, in_unit, from_covariance, from_residual, std_error, factor`` as
    `information.Information.ratios` has them, all independent; for a fit by MixedLM ``stated`` beside ``printed``. Or a
    sentence, where a covariance matrix is singular or the estimates are not near an optimum
    """
    likelihood = reference.of(fit.model).likelihood
    try:
        table = information.observed(likelihood, fit.parameters).ratios
    except InformationError as error:
        return f"No table: {error}."
    question = statements(fit.engine).uncertainty
    for component in question(fit, likelihood, 0.0).components if question else ():
        if component.parameters == "ratios":
            table.insert(list(table.columns).index("printed"), "stated", component.value[:-1])
    return table.reset_index(drop=True)
