"""What the notebooks' prose says in numbers is so: computed here, or held to the outputs that stand below it."""

from __future__ import annotations

import nbformat
import numpy as np
import pytest
from scipy import stats

from concord.data import datasets
from concord.engines import statsmodels
from concord.inference import degrees_of_freedom, information
from concord.models import model as models
from concord.reference import reference
from support.paths import ROOT


def prose(name):
    """All text of a notebook, a space for every line break."""
    cells = nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4).cells
    return " ".join(" ".join(cell.source.split()) for cell in cells if cell.cell_type == "markdown")


def sweeps():
    """Of optimizers.ipynb's tables: by model, optimizer and coding, whether it is at the optimum, and its gap."""
    (cell,) = [
        cell
        for cell in nbformat.read(ROOT / "notebooks" / "optimizers.ipynb", as_version=4).cells
        if cell.metadata.get("tags") == ["fits"]
    ]
    found = {}
    for text in (output.data["text/plain"] for output in cell.outputs if "every optimizer" in str(output.data)):
        id, *rest = text.split(",")
        for line in text.splitlines():
            words = line.split()
            if words[2:3] and words[2] in ("raw", "centred", "scaled") and words[3] in "✓✗":
                gap = next(word for word in words[4:] if word[0].isdigit())
                found[id, words[1], words[2]] = words[3] == "✓", float(gap)
    return found


def test_what_is_said_of_the_optimizers_is_what_the_tables_show():
    rows = sweeps()
    pigs, trees = "dietox-random_slope", "sitka-random_slope"
    assert len(rows) == 78
    said = prose("agreement")
    assert "by REML cg reaches this optimum, lbfgs and powell come within 0.00001" in said and "nm stops 0.23" in said
    assert rows[pigs, "cg", "raw"][0] and not rows[pigs, "bfgs", "raw"][0]
    assert max(rows[pigs, name, "raw"][1] for name in ("lbfgs", "powell")) < 1e-5
    assert round(rows[pigs, "nm", "raw"][1], 2) == 0.23
    said = prose("optimizers")
    assert "all optimizers but one to the optimum (by REML)" in said
    assert [key[1] for key, (there, _) in rows.items() if key[::2] == (trees, "scaled") and not there] == ["nm"]
    assert "MixedLM's bfgs and lme4's nlminbwrap, then miss it" in said
    for name in ("bfgs", "nlminbwrap"):
        assert rows[trees, name, "raw"][0] and not rows[trees, name, "centred"][0]
    assert "cg is right on the pigs and far off on the raw trees" in said and rows[trees, "cg", "raw"][1] > 1


@pytest.mark.parametrize("name", ["cg", "lbfgs"])
def test_by_ml_cg_and_lbfgs_reach_the_pigs_optimum(name):
    model = models.get("dietox-random_slope", "ML")
    assert "By ML cg and lbfgs reach it" in prose("agreement")
    assert reference.of(model).level - statsmodels.fit_by(model, name).loglik < 1e-6


@pytest.mark.parametrize("method", ["REML", "ML"])
def test_whatever_mixedlm_claims_of_the_uncorrelated_pigs_it_stays_where_bfgs_failed(numbers, method):
    """Whether lbfgs claims to have converged there hangs on the processor; how far off it is does not."""
    found = numbers("dietox-uncorrelated", method, "statsmodels", "default")
    assert reference.of(found.model).level - found.loglik == pytest.approx(2.9, abs=0.3)
    retried = [message.rpartition(" ")[2] for message in found.messages if "Retrying" in message]
    assert retried == (["lbfgs"] if found.converged else ["lbfgs", "cg"])


def test_a_slopes_deviation_is_some_two_hundredths_of_sigma():
    at = reference.of(models.get("sitka-random_slope")).parameters
    assert np.sqrt(at.covariances[0][1, 1] / at.residual_variance) == pytest.approx(0.02, abs=0.005)


@pytest.mark.parametrize("method", ["REML", "ML"])
def test_what_the_straight_line_misses_on_the_trees(method, make_model):
    """Below zero on the first and the last day, above it between, by up to three quarters of sigma."""
    model = models.get("sitka-random_slope", method)
    top = reference.of(model)
    (term,), at = model.design.terms, top.parameters
    V = (term.codes[:, None] == term.codes) * (term.matrix @ at.covariances[0] @ term.matrix.T)
    V += at.residual_variance * np.eye(len(V))
    residuals = at.residual_variance * np.linalg.solve(V, model.design.y - model.design.X @ at.fixed)
    means = [residuals[day == model.design.X[:, 1]].mean() for day in np.unique(model.design.X[:, 1])]
    assert np.sign(means).tolist() == [-1, 1, 1, 1, -1]
    assert np.abs(means).max() / np.sqrt(at.residual_variance) == pytest.approx(0.75, abs=0.05)
    if method == "ML":
        bent = make_model(datasets.load("sitka").frame, "size ~ poly(Time, 2) + (1 + Time | tree)", "ML")
        assert reference.of(bent).level - top.level > 50


def test_shares_and_coverages_of_the_simulation():
    said = prose("simulation")
    assert "cover 93.3 %" in said and f"{1 - 2 * stats.t.sf(stats.norm.ppf(0.975), 17):.1%}" == "93.3%"
    assert "in none of thirty replicates four times out of ten" in said and round(0.97**30, 1) == 0.4


def test_the_joint_error_is_the_conditional_one_where_the_design_is_balanced():
    """And where it is not, the difference is not what Kenward and Roger add."""
    excess = {}
    for id in ("sleepstudy-random_slope", "dietox-random_intercept"):
        top = reference.of(models.get(id))
        conditional = top.likelihood.std_error(top.parameters)
        joint = information.observed(top.likelihood, top.parameters).joint
        adjusted = np.sqrt(np.diag(degrees_of_freedom.kenward_roger(top.likelihood.design, top.parameters)[0]))
        excess[id] = np.array([joint, adjusted]) / conditional - 1
    assert np.abs(excess["sleepstudy-random_slope"]).max() < 1e-9
    joint, adjusted = excess["dietox-random_intercept"]
    assert (joint > 0).all() and (adjusted > 2 * joint).all()
