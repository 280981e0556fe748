"""Printed values, each with its source: they hold to their last digit, or the note says why not.

``tests/published/*.csv``: which model and method a value is of; the fit it describes, ``optimum`` or an engine's
default one; the quantity with group and term; the value as printed, its significant digits, by how many units of the
last digit it may be off (0.5: it is rounded), its source, and a note where it is off by more or is not an estimate of
the optimum.
"""

from __future__ import annotations

import csv
import warnings
from decimal import Decimal

import numpy as np
import pytest

from concord import vocabulary
from concord.agreement.judgement import judge
from concord.likelihood.likelihood import Likelihood
from concord.models import model as models
from concord.models.parameters import KEY, Parameters
from concord.reference import reference
from support.paths import PUBLISHED

COLUMNS = ["model", "method", "fit", "quantity", "group", "term", "value", "printed_digits", "off", "source", "note"]
FILES = sorted(PUBLISHED.glob("*.csv"))
ROWS = [row for file in FILES for row in csv.DictReader(file.open(encoding="utf-8"))]
# The two packages' standard errors are two definitions, equal to this in these models.
RELATIVE = {"std_error": 1e-4, "statistic": 1e-4, "std_error of nlme": 1e-4, "statistic of nlme": 1e-4}


def named(row: dict[str, str]) -> str:
    return " ".join(
        filter(None, [row["model"], row["method"], row["quantity"], row["group"], row["term"], row["value"]])
    )


def unit(row: dict[str, str]) -> float:
    """One in the last printed digit."""
    return float(Decimal(1).scaleb(Decimal(row["value"]).as_tuple().exponent))


def quantity(row: dict[str, str], loglik: float, estimates, model: models.Model) -> float:
    """The quantity that a row names, of a fit or of the optimum."""
    table, term = estimates.set_index(KEY), row["term"]

    def variance(name: str) -> float:
        return float(table.loc[("ran_pars", row["group"], f"var__{name or 'Observation'}"), "estimate"])

    def fixed(column: str) -> float:
        return float(table.loc[("fixed", "", term), column])

    def covariance() -> float:
        return float(table.loc[("ran_pars", row["group"], f"cov__{term}"), "estimate"])

    def nlmes() -> float:
        """What nlme's summary multiplies standard errors by under ML (its argument adjustSigma)."""
        n, p = model.design.X.shape
        return 1.0 if model.reml else np.sqrt(n / (n - p))

    groups = {each.group: len(each.levels) for each in model.design.terms}
    return {
        "loglik": lambda: loglik,
        "criterion": lambda: -2 * loglik,
        "fixed": lambda: fixed("estimate"),
        "std_error": lambda: fixed("std_error"),
        "statistic": lambda: fixed("estimate") / fixed("std_error"),
        "std_error of nlme": lambda: fixed("std_error") * nlmes(),
        "statistic of nlme": lambda: fixed("estimate") / fixed("std_error") / nlmes(),
        "variance": lambda: variance(term),
        "deviation": lambda: np.sqrt(variance(term)),
        "covariance": covariance,
        "correlation": lambda: covariance() / np.sqrt(np.prod([variance(name) for name in term.split(".")])),
        "observations": lambda: len(model.design.y),
        "levels": lambda: groups[row["group"]],
    }[row["quantity"]]()


@pytest.fixture(scope="module")
def fitted(numbers):
    """Model and fit of a row's model by an engine and settings, or its optimum."""

    def of(id: str, method: str, which: str):
        model = models.get(id, method)
        return model, reference.of(model) if which == "optimum" else numbers(id, method, *which.split())

    return of


ESTIMATES = [row for row in ROWS if row["quantity"] != "std_error of a variance"]


@pytest.mark.parametrize("row", ESTIMATES, ids=named)
def test_a_printed_value_holds_to_its_last_digit(row, fitted):
    """Within half a unit of its last digit, or what its note grants, a printed value is that of its fit."""
    model, found = fitted(row["model"], row["method"], row["fit"])
    value = quantity(row, found.loglik, found.estimates, model)
    off = abs(value - float(row["value"])) / unit(row)
    # Doubles carry a log-likelihood of thousands to 13 digits, and some are printed with 14.
    assert off <= float(row["off"]) + 1e-6 + 2e-13 * abs(value) / unit(row)
    if float(row["off"]) > 0.5:
        assert off > 0.5 and row["note"], "the note is not needed"


@pytest.mark.parametrize("row", [row for row in ESTIMATES if row["fit"] == "optimum"], ids=named)
def test_both_packages_tuned_print_it_too(row, fitted):
    """MixedLM and lme4, tuned, have every printed value of the optimum, within the digits that they agree to."""
    for engine in ("statsmodels", "lme4"):
        model, fit = fitted(row["model"], row["method"], f"{engine} tuned")
        value, printed = quantity(row, fit.loglik, fit.estimates, model), float(row["value"])
        allowed = float(row["off"]) * unit(row) + RELATIVE.get(row["quantity"], 1e-5) * abs(printed)
        if row["quantity"] in ("loglik", "criterion"):
            allowed = float(row["off"]) * unit(row) + 2e-8
        assert abs(value - printed) <= allowed, engine


def test_every_row_is_complete_and_tells_its_source():
    """No column is missing, the digits are counted rightly, and what is not a rounded value of its fit has a note."""
    assert {file.stem for file in FILES} == {
        "lme4_reference",
        "lme4_tests",
        "lme4_vignette",
        "mixedmodels_documentation",
        "mixedmodels_tests",
        "nlme_help",
        "nlme_scripts",
        "nlme_tests",
        "optima",
        "statsmodels_documentation",
        "statsmodels_notebook",
        "statsmodels_tests",
    }
    for row in ROWS:
        assert list(row) == COLUMNS and None not in row.values()
        assert row["model"] and row["method"] in vocabulary.METHODS and len(row["source"]) > 20
        digits = Decimal(row["value"]).as_tuple().digits
        assert int(row["printed_digits"]) == len(digits), named(row)
        assert float(row["off"]) == 0.5 or row["note"], named(row)
    assert {row["model"] for row in ROWS} == {model.id for model in models.every()}
    keys = [(*(row[name] for name in COLUMNS[:7]), row["source"]) for row in ROWS]
    assert len(set(keys)) == len(keys)


def test_the_sitka_slope_that_was_printed_as_the_truth_is_14_units_below_the_optimum(fitted):
    """The documentation's lme4 output, taken at its printed digits, has 14.2 units less than the optimum."""
    printed = {
        (row["quantity"], row["group"], row["term"]): float(row["value"])
        for row in ROWS
        if row["model"] == "sitka-random_slope" and row["fit"] == "lme4 default"
    }
    deviations = np.array([printed["deviation", "tree", name] for name in ("(Intercept)", "Time")])
    covariance = np.outer(deviations, deviations)
    covariance[0, 1] = covariance[1, 0] = printed["correlation", "tree", "(Intercept).Time"] * covariance[0, 1]
    model, optimum = fitted("sitka-random_slope", "REML", "optimum")
    likelihood = Likelihood(model.design, True)
    value = likelihood.loglik(
        Parameters(optimum.likelihood.optimum().fixed, (covariance,), printed["variance", "Residual", ""])
    )
    assert value == pytest.approx(-printed["criterion", "", ""] / 2, abs=0.1)
    assert optimum.loglik - value == pytest.approx(14.2, abs=0.1)
    # The engine that printed it knew: its own gradient said so, today as then.
    fit = fitted("sitka-random_slope", "REML", "lme4 default")[1]
    assert "max|grad| = 0.793203" in fit.messages[0] and judge(fit).gap == pytest.approx(14.2, abs=0.05)


def test_the_documentations_correlation_follows_from_its_own_numbers(fitted):
    """0.294 / sqrt(19.493 x 0.416), as the notebook reckons it, is the optimum's correlation to three digits."""
    _, optimum = fitted("dietox-random_slope", "REML", "optimum")
    table = optimum.estimates.set_index("term")["estimate"]
    correlation = table["cov__(Intercept).Time"] / np.sqrt(table["var__(Intercept)"] * table["var__Time"])
    assert correlation == pytest.approx(0.294 / np.sqrt(19.493 * 0.416), abs=5e-4)


def test_holding_the_correlation_at_zero_costs_0_3_units(fitted):
    """The notebook's likelihood-ratio test of the correlation: 2 x 0.30 = 0.60 on one degree of freedom."""
    free, held = (fitted(f"dietox-{name}", "REML", "optimum")[1].loglik for name in ("random_slope", "uncorrelated"))
    assert 2 * (free - held) == pytest.approx(0.60, abs=0.005)


def test_the_printed_standard_error_of_a_variance_is_none(fits):
    """MixedLM prints 2.149 beside the pig variance 40.394; the curvature of the likelihood there gives 6.94."""
    (row,) = [row for row in ROWS if row["quantity"] == "std_error of a variance"]
    fit = fits("dietox-random_intercept", "REML", "statsmodels", "default")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        printed = float(fit.native.bse_re.iloc[0])
    assert printed == pytest.approx(float(row["value"]), abs=0.5 * unit(row))
    assert f"{printed:.3f}" in fit.summary

    found = reference.of(fit.model)
    variances = found.estimates.loc[found.estimates["effect"] == "ran_pars", "estimate"].to_numpy()
    fixed = found.likelihood.optimum().fixed

    def loglik(change) -> float:
        pig, residual = variances * (1 + change)
        return found.likelihood.loglik(Parameters(fixed, (np.array([[pig]]),), residual))

    def mixed(a, b) -> float:
        return loglik(a + b) - loglik(a - b) - loglik(b - a) + loglik(-a - b)

    h = 1e-3
    steps = h * np.eye(2)
    hessian = np.array([[mixed(a, b) for b in steps] for a in steps]) / (4 * h * h) / np.outer(variances, variances)
    assert np.sqrt(np.linalg.inv(-hessian)[0, 0]) == pytest.approx(6.94, abs=0.01)
