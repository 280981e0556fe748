"""Standard errors of fixed effects and of variance components, as packages state them and each by its own definition.

Each package's number is held to the independent one by that package's definition, at that package's own estimates
(`quantities`): what it states is in `error_questions`, what it should state in `error_definitions`.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pandas as pd

from concord.account.line import Line
from concord.agreement.comparison import Comparison
from concord.engines.error_definitions import Errors, adjusted, from_logs, lost_by_lmertest, rounding
from concord.engines.error_questions import LMERTEST, asked
from concord.engines.fit import Fit
from concord.inference import information
from concord.inference.information import Information, InformationError
from concord.likelihood.likelihood import Likelihood
from concord.models.design import Design
from concord.reference import reference

ERRORS = "standard errors"

NEAR = (
    "the optimum is on the boundary, where its logarithms have no end: it stops somewhere near, and an error there "
    "depends on where"
)
WHY_NOT = (
    "it gives no standard errors of variances by design: their estimators are far from normal, so that such an error "
    "would tell little; it profiles the likelihood instead"
)
OTHER_CODING = "its columns are the model's in another coding, in which it states no number for this term"


class Reading:
    """A comparison's fits with what their packages state and what is expected of them."""

    def __init__(self, comparison: Comparison) -> None:
        self.comparison, self.model = comparison, comparison.model
        self.design = self.model.design
        self.likelihood = reference.of(self.model).likelihood
        self.short = comparison.apart
        self.fits = dict(zip(comparison.labels, comparison.fits, strict=True))
        self.resolved = {
            label: each.resolution for label, each in zip(comparison.labels, comparison.measures, strict=True)
        }
        self.expected = {label: Errors.at(self.likelihood, fit) for label, fit in self.fits.items()}

    def of(self, engine: str) -> dict[str, Fit]:
        """The fits of one engine by their labels."""
        return {label: fit for label, fit in self.fits.items() if fit.engine == engine}

    def lost_by_lmertest(self, label: str) -> tuple[np.ndarray, np.ndarray]:
        """What rounding can do to lmerTest's differences of a fit; see `error_definitions.lost_by_lmertest`."""
        return lost_by_lmertest(self.likelihood, self.fits[label], self.resolved[label].stated)

    def line(self, section: str, quantity: str, tolerance: str, row: dict[str, str], **given: Any) -> Line | None:
        """A line of what is a number and of what is expected of it; None where no source is asked for one."""
        absent = {source: why for source, why in given.pop("absent", {}).items() if why}
        values = {}
        for source, value in given.pop("values").items():
            if value is not None and not np.isnan(value):
                values[source] = float(value)
            else:
                absent.setdefault(source, OTHER_CODING)
        if not values and not absent:
            return None
        expected = {s: float(value) for s, value in given.pop("expected").items() if s in values and value is not None}
        defined = {source: name for source, name in given.pop("definitions", {}).items() if source in values and name}
        return Line(
            section, quantity, tolerance, values, defined, expected, absent=absent, short=self.short, **row, **given
        )


@cache
def _optimum(likelihood: Likelihood) -> Any:
    return likelihood.optimum()


def _information(likelihood: Likelihood) -> Information | None:
    try:
        return information.at(likelihood, _optimum(likelihood))
    except InformationError:
        return None


def lines(comparison: Comparison) -> list[Line]:
    """Standard errors of fixed effects and of variance components, by every definition, each held to its own.

    Raises
    ------
    RError : R, or one of lmerTest and pbkrtest, is missing
    """
    reading = Reading(comparison)
    found = [*_of_fixed(reading), *_of_components(reading)]
    return [line for line in found if line is not None]


def _of_fixed(reading: Reading) -> list[Line | None]:
    optimum = _optimum(reading.likelihood)
    best = _information(reading.likelihood)
    made: list[Line | None] = []
    for k, term in enumerate(reading.design.names):
        row = {"effect": "fixed", "term": term}
        stated, own, given = {}, {}, {}
        conditional, of_conditional, joint, of_joint = {}, {}, {}, {}
        absent: dict[str, str] = {}
        absent_joint: dict[str, str] = {}
        for label, fit in reading.fits.items():
            expected = reading.expected[label]
            of_conditional[label] = expected.conditional[k]
            if fit.engine == "statsmodels":
                stated[label] = joint[label] = fit.std_error[k]
                conditional[label] = asked(fit)["conditional"][k]
                given[label] = "joint_information" if expected.down else "joint_bending_up"
                if np.isnan(fit.std_error[k]):
                    absent[label] = absent_joint[label] = "its Hessian is not negative definite: it gives none"
                if expected.joint is not None:
                    own[label] = of_joint[label] = expected.joint[k]
                continue
            conditional[label] = fit.std_error[k]
            absent_joint[label] = "it states none: its own holds the variances"
            if fit.engine == "nlme":
                stated[label] = asked(fit)["std_error"][k]
                own[label] = expected.conditional[k] * adjusted(fit)
                given[label] = "" if fit.model.reml else "adjusted_for_fixed_effects"
            else:
                stated[label], own[label] = fit.std_error[k], expected.conditional[k]
        lost = {
            label: 2 * float(reading.resolved[label].std_error[k] * reading.expected[label].conditional[k])
            for label in reading.fits
        }
        made += [
            reading.line(
                ERRORS,
                "standard error",
                "std_error",
                row,
                values=stated,
                definitions=given,
                expected=own,
                absent=absent,
                independent=float(optimum.std_error[k]),
                rounding=lost,
            ),
            reading.line(
                ERRORS,
                "standard error, conditional on the variances",
                "std_error",
                row,
                values=conditional,
                expected=of_conditional,
                independent=float(optimum.std_error[k]),
                rounding=lost,
            ),
            reading.line(
                ERRORS,
                "standard error, joint",
                "std_error",
                row,
                values=joint,
                expected=of_joint,
                absent=absent_joint,
                independent=np.nan if best is None else float(best.joint[k]),
                rounding=lost,
            ),
        ]
    return made


def _of_components(reading: Reading) -> list[Line | None]:
    best = _information(reading.likelihood)
    table = _component_rows(reading.design)
    independent = None if best is None else best.components()["std_error"].to_numpy()
    made: list[Line | None] = []
    by_lmertest = {label: reading.lost_by_lmertest(label)[0] for label in reading.of("lme4")}
    for k, row in enumerate(table):
        last = k == len(table) - 1
        values, own, given, absent, lost = {}, {}, {}, {}, {}
        differenced: dict[str, tuple[float, float, float]] = {}
        for label, fit in reading.fits.items():
            expected, said = reading.expected[label], asked(fit)
            if fit.engine == "statsmodels":
                if last:
                    absent[label] = "its likelihood has the residual variance profiled out: it has no error of it"
                elif expected.printed is None:
                    absent[label] = expected.why
                else:
                    values[label], own[label] = said["printed"][k], expected.printed[k]
                    given[label] = "error_of_ratio"
            elif fit.engine == "lme4":
                absent[label] = WHY_NOT
                name = label.replace("lme4", LMERTEST, 1)
                if said["components"] is None or expected.components is None:
                    absent[name] = said["why_satterthwaite"] or expected.why or "the deviance bends down somewhere"
                else:
                    values[name], own[name] = said["components"][k], expected.components[k]
                    lost[name] = float(by_lmertest[label][k])
            elif said["stated"] is None or expected.components is None or best is None:
                absent[label] = said["why"] or expected.why or NEAR
            else:
                jacobian, as_stated = from_logs(said["at"], said["stated"], reading.design)
                off = rounding(said["at"], said["stated"], jacobian, fit, reading.resolved[label].stated)
                differenced[label] = as_stated[k], expected.components[k], off[k]
                if said["wide"] is None:
                    absent[label] = said["why_wide"]
                else:
                    values[label] = from_logs(said["at"], said["wide"], reading.design)[1][k]
                    own[label] = expected.components[k]
        made.append(
            reading.line(
                ERRORS,
                "standard error",
                "error_of_variance",
                row,
                values=values,
                definitions=given,
                expected=own,
                absent=absent,
                independent=np.nan if independent is None else independent[k],
                looser=dict.fromkeys(reading.of("nlme"), "error_by_differences"),
                rounding=lost,
            )
        )
        for label, (value, expected_value, off) in differenced.items():
            made.append(
                reading.line(
                    ERRORS,
                    "standard error by nlme's own steps",
                    "error_by_differences",
                    row,
                    values={label: value},
                    definitions={label: "differenced_likelihood"},
                    expected={label: expected_value},
                    rounding={label: float(off)},
                    independent=np.nan if independent is None else independent[k],
                )
            )
    return made


def _component_rows(design: Design) -> list[dict[str, str]]:
    """``effect, group, term`` of variances and covariances, in the order of `Fit.estimates`, the residual one last."""
    rows = []
    for term in design.terms:
        names = term.names
        rows += [(term.group, f"var__{name}") for name in names]
        rows += [(term.group, f"cov__{names[i]}.{names[j]}") for j in range(len(names)) for i in range(j)]
    rows.append(("Residual", "var__Observation"))
    return [{"effect": "ran_pars", "group": group, "term": term} for group, term in rows]


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
        table = information.observed(likelihood, fit.fixed, fit.covariances, fit.residual_variance).ratios
    except InformationError as error:
        return f"No table: {error}."
    if fit.engine == "statsmodels":
        table.insert(list(table.columns).index("printed"), "stated", asked(fit)["printed"])
    return table.reset_index(drop=True)
