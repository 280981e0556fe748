"""The proof of the global optimum on the stress tables: every optimum of the truth is handed to it as the candidate.

The truth is by a program that shares no code with the proof (`stress/truth.py`). The best optimum is proved, from the
decimals of the file, and every lower one is refused with a better one beside it.
"""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from flint import arb, ctx

from concord.data import delimited
from concord.likelihood.certificate import CertificateError, Exact, certify
from concord.models import formula as formulas
from concord.models import matrices, preparation
from concord.models.decimals import Columns
from concord.models.formula import parse
from concord.models.parameters import Parameters
from concord.proof import covering, stationary
from concord.proof.global_proof import BetterOptimumError, prove_model
from concord.reference import reference
from support.paths import STRESS

TABLES = json.loads((STRESS / "tables.json").read_text(encoding="utf-8"))
TRUTH = json.loads((STRESS / "truth.json").read_text(encoding="utf-8"))
# One variance: at the boundary and inside, nearly tied, at a ratio of 1e8; two and three: crossed, nested, with three
# optima; slopes with a correlation inside, of 1 and of -1, and without any variance.
BEST = [
    ("two_modes", "REML"),
    ("inside_tie", "ML"),
    ("inside_reml_only", "REML"),
    ("perfect_1e8", "REML"),
    ("apart_three_optima", "ML"),
    ("nested_conflict_swaps", "REML"),
    ("crossed_second_zero", "ML"),
    ("matrix_zero", "REML"),
    ("plus_one_noisy", "REML"),
    ("minus_one_small", "ML"),
    ("both_zero_by_ml", "REML"),
]
LOWER = [
    ("two_modes", "ML"),
    ("fallacy_tight", "REML"),
    ("inside_tie", "REML"),
    ("tie_ols", "ML"),
    ("methods_apart", "ML"),
    ("apart_three_optima", "REML"),
    ("nested_conflict_swaps", "ML"),
    ("crossed_conflict", "REML"),
    ("slopes_unequal", "ML"),
    ("slopes_rank_one", "REML"),
    ("slopes_low_best", "ML"),
    ("slopes_both_rank_one", "REML"),
]


@pytest.fixture
def candidate(make_model):
    """The model of a table, and an optimum of the truth certified from the file's decimals."""

    def of_(name: str, method: str, k: int):
        frame = delimited.parse((STRESS / "tables" / f"{name}.csv").read_bytes(), f"{name}.csv")
        formula = TABLES[name]["formula"]
        model = make_model(preparation.prepare(frame, parse(formula)).frame, formula, method, id=name)
        optimum = TRUTH[name][method][k]
        covariances = tuple(np.array(each, float) for each in optimum["covariances"])
        found = Parameters(np.empty(0), covariances, float(optimum["residual_variance"]))
        design, _, theta = reference.factored(model.design, found)
        columns = Columns(model.formula, model.frame, model.design)
        assert columns.source == "decimals"
        certificate = certify(design, model.reml, theta, columns)
        assert float(abs(certificate.loglik - arb(optimum["loglik"]))) < 1e-12 * (1 + abs(float(optimum["loglik"])))
        return design, model.reml, certificate.theta, columns

    return of_


@pytest.mark.parametrize(("name", "method"), BEST)
def test_the_best_optimum_is_proved(name, method, candidate):
    """It is the global one, and where all stationary points are isolated they hold all optima of the truth."""
    design, reml, theta, columns = candidate(name, method, 0)
    proof, known = prove_model(design, reml, theta, 100.0, columns), TRUTH[name][method]
    assert proof.optima[0][1] == pytest.approx(float(known[0]["loglik"]), abs=1e-9)
    if proof.stationary:
        wanted = [float(each["loglik"]) for each in known]
        assert [level for _, level in proof.optima] == pytest.approx(wanted, abs=1e-9)


@pytest.mark.parametrize(("name", "method"), LOWER)
def test_a_lower_optimum_is_refused_with_a_better_one(name, method, candidate):
    """What is named is better than the candidate, and no better than the best there is."""
    known = [float(each["loglik"]) for each in TRUTH[name][method]]
    for k in range(1, len(known)):
        design, reml, theta, columns = candidate(name, method, k)
        with pytest.raises(BetterOptimumError) as refused:
            prove_model(design, reml, theta, 100.0, columns)
        assert known[k] + 1e-6 < refused.value.loglik <= known[0] + 1e-6


@pytest.mark.parametrize("reml", [True, False])
def test_the_derivatives_lie_between_their_bounds(reml):
    """On intervals of every width, and of groups that are nearly but not quite alike; the derivatives are those of the
    dense criterion.
    """
    table = pd.read_csv(STRESS / "tables" / "fallacy_inside.csv")
    rng, seen = np.random.default_rng(6), 0
    table = table.assign(z=np.round(rng.normal(3, 0.004, len(table)), 4))
    kept, ctx.prec = ctx.prec, 200
    try:
        for formula in ("y ~ x + (1 | g)", "y ~ x + (0 + z | g)"):
            design = matrices.design(formulas.parse(formula), table)
            line = stationary.Line(Exact(design, reml))
            for _ in range(60):
                a, b = np.exp(np.sort(rng.uniform(-9, 9, 2)))
                low, high = line.at(arb(a)), line.at(arb(b))
                slopes, bends = stationary._slopes(low, high), stationary._bends(low, high)
                for share in rng.uniform(size=4):
                    here = line.at(arb(a + (b - a) * share**4))
                    bend = here.bend + here.nu * (here.turn / here.rss - (here.fall / here.rss) ** 2)
                    assert slopes[0] <= here.slope <= slopes[1] and bends[0] <= bend <= bends[1]
                    seen += bool(bends[0] > 0 or bends[1] < 0)
            for gamma in (0.02, 1.0, 30.0):
                ahead, behind = (deviance(design, reml, gamma * each) for each in (1.0001, 0.9999))
                assert float(line.at(arb(gamma)).slope.mid()) == pytest.approx(
                    (ahead - behind) / (0.0002 * gamma), rel=1e-5, abs=1e-6
                )
    finally:
        ctx.prec = kept
    assert seen > 20


def deviance(design, reml: bool, gamma: float) -> float:
    """The criterion of one variance, but for a constant, by dense matrices."""
    term = design.terms[0]
    V = np.eye(len(design.y)) + gamma * (term.codes[:, None] == term.codes) * (term.matrix @ term.matrix.T)
    VX = np.linalg.solve(V, design.X)
    left = design.y - design.X @ np.linalg.solve(design.X.T @ VX, VX.T @ design.y)
    nu = len(design.y) - reml * design.X.shape[1]
    value = np.linalg.slogdet(V)[1] + nu * np.log(left @ np.linalg.solve(V, left))
    return value + reml * np.linalg.slogdet(design.X.T @ VX)[1]


def test_an_optimum_at_the_edge_of_intervals_is_proved_or_refused_and_never_lost(monkeypatch):
    """By the analysis of variance it lies at 1 / 2 exactly, where Z'Z = 2: where an interval ends that is cut there."""
    # Mean squares of 2 between and 1 within.
    table = pd.DataFrame({"y": [-1.0, 1, -1, 1, 0, 0, 2, 2], "g": list("aabbccdd")})
    design = matrices.design(formulas.parse("y ~ 1 + (1 | g)"), table)
    proof = prove_model(design, True, [np.sqrt(0.5)])
    assert proof.optima[0][0][0] == pytest.approx(np.sqrt(0.5), rel=1e-15)
    monkeypatch.setattr(stationary, "FIRST", 1.0)
    with pytest.raises(CertificateError, match="is not settled"):
        prove_model(design, True, [np.sqrt(0.5)])


def test_random_slopes_of_decimals_have_a_limit(candidate):
    """x lies in the span of its own slopes, which a ball around 0.1 would not tell."""
    for name in ("slopes_few", "apart_unequal"):
        design, reml, theta, columns = candidate(name, "REML", 1)
        with pytest.raises(BetterOptimumError):
            prove_model(design, reml, theta, 100.0, columns)


@pytest.mark.parametrize("bound", ["nan", "wide", "none", "equal"])
def test_a_bound_that_does_not_tell_excludes_nothing(bound, candidate, monkeypatch):
    """No number, a ball around the level, no bound at all, the level itself: then nothing is proved."""
    design, reml, theta, columns = candidate("nested_conflict_swaps", "REML", 0)

    def undecided(cover, cell):
        return {"nan": arb("nan"), "wide": arb(cover.best.mid(), 1e6), "none": None, "equal": cover.best}[bound]

    monkeypatch.setattr(covering._Cover, "_bound", undecided)
    with pytest.raises(CertificateError, match="gave up"):
        prove_model(design, reml, theta, 0.4, columns)


@pytest.mark.parametrize("what", ["_slopes", "_bends"])
def test_derivatives_that_are_no_numbers_exclude_nothing(what, candidate, monkeypatch):
    design, reml, theta, columns = candidate("two_modes", "REML", 0)
    monkeypatch.setattr(stationary, what, lambda low, high: (arb("nan"), arb("nan")))
    with pytest.raises(CertificateError, match="is not settled|gave up"):
        prove_model(design, reml, theta, 1.0, columns)


def test_a_limit_that_is_not_proved_positive_is_refused(candidate, monkeypatch):
    for name in ("two_modes", "nested_conflict_swaps"):
        design, reml, theta, columns = candidate(name, "REML", 0)
        for module in (covering, stationary):
            monkeypatch.setattr(module, "limit", lambda exact: arb(0, 1))
        with pytest.raises(CertificateError, match="limit is not bounded"):
            prove_model(design, reml, theta, 5.0, columns)
