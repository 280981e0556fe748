"""Marginal means and contrasts: emmeans' of unbalanced tables, and the closed forms of a balanced split plot."""

from __future__ import annotations

import csv
from functools import cache

import numpy as np
import pandas as pd
import pytest

from concord.account import marginal_means
from concord.agreement.comparison import compare
from concord.engines.engine import engines
from concord.models.model import ModelError
from concord.vocabulary import INDEPENDENT
from support import paths, unbalanced

EMMEANS = pd.DataFrame(
    list(csv.DictReader((paths.PUBLISHED / "terms" / "means_of_emmeans.csv").open(encoding="utf-8")))
)
BY = {"kenward-roger": "Kenward-Roger", "satterthwaite": "Satterthwaite", "asymptotic": "z"}


@pytest.fixture(scope="module")
def compared(make_model):
    """A comparison of both packages' tuned fits on an unbalanced table, made once."""

    @cache
    def of(name):
        model = make_model(unbalanced.table(name), unbalanced.FORMULAS[name])
        return compare(*(engines()[engine].fit(model, "tuned") for engine in ("statsmodels", "lme4")))

    return of


ASKED = sorted(set(zip(EMMEANS["table"], EMMEANS["factors"], EMMEANS["df_by"], strict=True)))


@pytest.mark.parametrize(("name", "factors", "df_by"), ASKED)
def test_means_and_contrasts_are_those_of_emmeans(name, factors, df_by, compared):
    """By both packages' estimates: with a covariate at its mean, an interaction, an ordered factor, a slope."""
    printed = EMMEANS.query("table == @name and factors == @factors and df_by == @df_by")
    means = marginal_means.means_table(compared(name), factors.split(), BY[df_by])
    contrasts = marginal_means.contrasts_table(compared(name), factors.split(), BY[df_by])
    # emmeans puts a factor's name before levels that look like numbers.
    printed = printed.assign(level=printed["level"].str.replace("temperature", ""))
    for source in ("statsmodels", "lme4", INDEPENDENT):
        made, expected = means[means["source"] == source], printed.query("what == 'mean'")
        labels = made[factors.split()].astype(str).agg(" ".join, axis=1)
        assert list(labels) == list(expected["level"])
        for column, theirs in (
            ("mean", "estimate"),
            ("std_error", "std_error"),
            ("df", "df"),
            ("low", "low"),
            ("high", "high"),
        ):
            np.testing.assert_allclose(made[column], expected[theirs].astype(float), rtol=1e-5)
        made, expected = contrasts[contrasts["source"] == source], printed.query("what == 'contrast'")
        if len(expected):
            assert list(made["contrast"]) == list(expected["level"])
            scale = expected["std_error"].astype(float)
            off = np.abs(made["estimate"].to_numpy() - expected["estimate"].astype(float).to_numpy()) / scale
            assert off.max() < 1e-5
            for column in ("std_error", "df"):
                np.testing.assert_allclose(made[column], expected[column].astype(float), rtol=1e-5)
            for column in ("p", "p_tukey"):
                np.testing.assert_allclose(made[column], expected[column].astype(float), atol=1e-6, rtol=1e-4)


def test_a_balanced_split_plot_has_its_closed_forms(fits):
    """Means are the rows' own; a difference of two recipes has the variance 2 (s^2 / 6 + replicates' variance) / 15."""
    comparison = compare(*(fits("cake-split_plot", "REML", engine, "tuned") for engine in ("statsmodels", "lme4")))
    frame = comparison.model.frame
    means = marginal_means.means_table(comparison, "recipe")
    contrasts = marginal_means.contrasts_table(comparison, "recipe")
    for source in ("statsmodels", "lme4"):
        own = means[means["source"] == source]
        np.testing.assert_allclose(own["mean"], frame.groupby("recipe", observed=True)["angle"].mean(), rtol=1e-6)
        fit = next(fit for fit in comparison.fits if fit.engine == source)
        between, within = float(fit.covariances[0][0, 0]), fit.residual_variance
        made = contrasts[contrasts["source"] == source]
        np.testing.assert_allclose(made["std_error"], np.sqrt(2 * (within / 6 + between) / 15), rtol=1e-6)
        np.testing.assert_allclose(made["df"], 42, rtol=1e-4)
    assert means.attrs["notes"][0] == "Averaged over the levels of temperature, all of equal weight."


def test_what_is_no_factor_of_the_fixed_effects_is_told(compared):
    with pytest.raises(ModelError, match=r"no factor temp among the fixed effects: their factors are recipe, warm"):
        marginal_means.means_table(compared("additive"), "temp")
    with pytest.raises(ModelError, match="method 'exact'"):
        marginal_means.means_table(compared("additive"), "warm", "exact")
