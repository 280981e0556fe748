"""The checkers, which have a likelihood of their own: it is Concord's on every case, in Python and in R."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import sys
from decimal import Decimal
from itertools import product

import numpy as np
import pandas as pd
import pytest
from flint import arb, ctx

from concord.data import datasets
from concord.likelihood.certificate import Exact
from concord.likelihood.likelihood import Likelihood
from concord.models.decimals import Columns
from concord.models.parameters import Parameters
from concord.publication import folder
from concord.reference import reference
from concord.reference.factors import factored
from concord.vocabulary import METHODS
from support.paths import ROOT

PACKAGE = ROOT / "scripts" / "concord-cases" / "concord_cases"
HELD = 1e-10
# Where double precision, Concord's or R's, holds less: predictors that are 1e-6 apart, residuals of 1e-6.
ILL_CONDITIONED = {"collinear_6-intercept": 1e-9, "perfect_6-slope": 2e-8, "perfect_6-uncorrelated": 2e-8}
# Beside the optimum, where nothing is stationary: fixed effects off by so many standard errors, all else by factors.
BESIDE = (0.3, 1.2, 0.9)


def certified(case, method):
    """The certified optimum as arguments of `check`."""
    optimum = case["optimum"][method]
    fixed = {name: row["estimate"] for name, row in optimum["fixed"].items()}
    return {"fixed": fixed, "covariances": optimum["covariances"], "residual_variance": optimum["residual_variance"]}


def beside(case, method):
    """Parameters beside the optimum, in doubles. Where an origin is far away, fixed effects that move one by one leave
    residuals that doubles do not resolve: there they stay.
    """
    optimum, (errors, factor, residual) = case["optimum"][method], BESIDE
    errors = errors if case["source"]["dataset"] in datasets.catalogue() else 0.0
    fixed = {k: float(row["estimate"]) + errors * float(row["std_error"]) for k, row in optimum["fixed"].items()}
    covariances = [(factor * np.array(matrix, float)).tolist() for matrix in optimum["covariances"]]
    return {
        "fixed": fixed,
        "covariances": covariances,
        "residual_variance": residual * float(optimum["residual_variance"]),
    }


@pytest.fixture(scope="module")
def in_r(written, cases, tmp_path_factory):
    """What the R checker says of the certified optimum and of a point beside it, of every case by both methods."""
    if shutil.which("Rscript") is None:
        pytest.skip("no Rscript")
    place = tmp_path_factory.mktemp("r")
    script = [f"source({str(PACKAGE / 'checker.R')!r})", "sink_to <- commandArgs(TRUE)[1]", "rows <- character()"]
    for id, case in cases.items():
        script.append(f"case <- read_case({str(written / 'cases' / f'{id}.json')!r})")
        for method in METHODS:
            for kind, point in (("certified", certified(case, method)), ("beside", beside(case, method))):
                given = place / f"{id}-{method}-{kind}.json"
                given.write_text(json.dumps({**point, "stated_loglik": float(case["optimum"][method]["loglik"])}))
                script += [
                    f"record <- do.call(check, c(list(case), read_case({str(given)!r}), method = {method!r}))",
                    f"rows <- c(rows, sprintf('%s\\t%s\\t%s\\t%.17g\\t%.17g\\t%d', {id!r}, {method!r}, {kind!r}, "
                    "record[['loglik']], record[['gap']], record[['status']]))",
                ]
    (place / "all.R").write_text("\n".join([*script, "writeLines(rows, sink_to)"]) + "\n")
    subprocess.run(["Rscript", "--vanilla", place / "all.R", place / "rows.tsv"], check=True)
    rows = [line.split("\t") for line in (place / "rows.tsv").read_text().splitlines()]
    return {tuple(row[:3]): tuple(map(float, row[3:])) for row in rows}


@pytest.fixture(scope="module")
def concords():
    """Concord's own log-likelihood of every case, by method."""
    return {(model.id, model.method): model for models in folder.certified() for model in models}


def close(value, expected, id=""):
    return math.isclose(value, expected, rel_tol=HELD / 10, abs_tol=ILL_CONDITIONED.get(id, HELD))


def test_python_has_the_certified_loglik_of_every_case_to_fifteen_decimals(cases, checker):
    for id, case in cases.items():
        likelihood = checker.Likelihood(case)
        for method in METHODS:
            error = likelihood.at(**certified(case, method))[method] - Decimal(case["optimum"][method]["loglik"])
            assert abs(error) < Decimal("1e-15"), (id, method)


def test_python_has_concords_loglik_beside_every_optimum(cases, checker, concords):
    for (id, method), model in concords.items():
        point = beside(cases[id], method)
        at = Parameters(
            np.array(list(point["fixed"].values())),
            tuple(map(np.array, point["covariances"])),
            point["residual_variance"],
        )
        expected = Likelihood(model.design, model.reml).loglik(at)
        assert close(float(checker.Likelihood(cases[id]).at(**point)[method]), expected, id), (id, method)


def test_python_has_concords_criterion_in_balls_where_doubles_hold_less(cases, checker, concords):
    """At a theta that is a tenth larger than the certified one, with the estimates that belong to it."""
    least = [*ILL_CONDITIONED, *(id for id in cases if id.startswith(("growth_high", "growth_seconds")))]
    for id, method in product(least, METHODS):
        model = concords[id, method]
        parameters = Parameters.from_table(certified_table(model), model.design)
        design, places, theta = factored(model.design, parameters)
        kept, ctx.prec = ctx.prec, 400
        try:
            exact = Exact(design, model.reml, Columns(model.formula, model.frame, model.design))
            larger = [arb("1.1") * arb(entry) for entry in theta]
            expected = decimal(exact(larger, 0).value / -2)
            balls = exact.estimates(larger)
        finally:
            ctx.prec = kept
        covariances = [
            [[decimal(matrix[i][j]) for j in place] for i in place]
            for matrix, place in zip(balls["covariances"], places, strict=True)
        ]
        likelihood = checker.Likelihood(cases[id])
        value = likelihood.at(list(map(decimal, balls["fixed"])), covariances, decimal(balls["residual_variance"]))
        assert abs(value[method] - expected) < Decimal("1e-20"), (id, method)
        assert value[method] < Decimal(cases[id]["optimum"][method]["loglik"]) - Decimal("1e-3")


def decimal(ball):
    return Decimal(ball.str(60, radius=False))


def certified_table(model):
    record = reference.written(model)
    return pd.DataFrame([row.model_dump() for row in record.estimates]).astype({"estimate": float})


def test_r_has_the_certified_loglik_of_every_case_and_pythons_beside_it(cases, checker, in_r):
    off = {}
    for id, case in cases.items():
        likelihood = checker.Likelihood(case)
        for method in METHODS:
            for point in (certified, beside):
                loglik, gap, status = in_r[id, method, point.__name__]
                expected = float(likelihood.at(**point(case, method))[method])
                if not close(loglik, expected, id):
                    off[id, method, point.__name__] = loglik - expected
                assert status == (point is beside) and (gap > 1e-5) == (point is beside), (id, method)
    assert not off


def test_the_certified_optimum_passes_and_a_point_beside_it_is_short(cases, checker):
    case = cases["sleepstudy-random_slope"]
    record = checker.check(case, **certified(case, "ML"), method="ML", stated_loglik=case["optimum"]["ML"]["loglik"])
    assert record["verdict"] == "at the optimum" and record["status"] == 0 and min(record["digits"].values()) == 15
    record = checker.check(case, **beside(case, "ML"), method="ML")
    assert record["verdict"] == "short" and record["status"] == 1 and record["gap"] > 0.01
    assert math.isclose(record["digits"]["residual variance"], 1.0)  # off by a tenth


def test_less_than_a_hundredth_of_a_unit_is_imprecise_and_a_failure_only_where_that_is_asked(cases, checker):
    case = cases["rail-random_intercept"]
    point = certified(case, "REML")
    point["residual_variance"] = float(point["residual_variance"]) * 1.01
    for strict, status in ((False, 0), (True, 1)):
        record = checker.check(case, **point, strict=strict)
        assert record["verdict"] == "imprecise" and record["status"] == status


CASE, N, P = "dietox-random_slope", 861, 2
HALF = math.log(2 * math.pi) / 2


@pytest.mark.parametrize(
    ("of", "expected"),
    [
        (lambda reml, ml, gram: reml, "right"),
        (lambda reml, ml, gram: -2 * reml, "-2 log-likelihood (the deviance)"),
        (lambda reml, ml, gram: -reml, "minus the log-likelihood"),
        (lambda reml, ml, gram: ml, "the log-likelihood by ML"),
        (lambda reml, ml, gram: -2 * ml, "-2 log-likelihood (the deviance) by ML"),
        (lambda reml, ml, gram: reml + gram / 2, "the log-likelihood, with + log |X'X| / 2"),
        (lambda reml, ml, gram: reml + (N - P) * HALF, "the log-likelihood, without (n - p)/2 log 2 pi"),
        (lambda reml, ml, gram: reml + N * HALF, "the log-likelihood, without n/2 log 2 pi"),
        (
            lambda reml, ml, gram: reml - P * HALF,
            "the log-likelihood, with n in the place of n - p in the constant of 2 pi",
        ),
        (
            lambda reml, ml, gram: -2 * (reml + (N - P) * HALF + gram / 2),
            "-2 log-likelihood (the deviance), without (n - p)/2 log 2 pi and with + log |X'X| / 2",
        ),
        (lambda reml, ml, gram: reml + 19.8, "not recognised"),
        (lambda reml, ml, gram: math.nan, "not a number"),
    ],
)
def test_what_else_a_stated_loglik_is_gets_its_name(cases, checker, concords, of, expected):
    case = cases[CASE]
    point = certified(case, "REML")
    X = concords[CASE, "REML"].design.X
    gram = np.linalg.slogdet(X.T @ X)[1]
    # by definition, of the covariance matrix of all rows and not of any factor of it
    ml = dense(concords[CASE, "REML"].design, point)
    stated = of(float(case["optimum"]["REML"]["loglik"]), ml, gram)
    record = checker.check(case, **point, stated_loglik=stated)
    assert record["stated"]["recognised"] == expected
    assert record["verdict"] == "at the optimum" and record["status"] == int(expected != "right")


def dense(design, point):
    """The log-likelihood by ML as scipy has it, of the whole covariance matrix."""
    from scipy.stats import multivariate_normal

    V = np.eye(len(design.y)) * float(point["residual_variance"])
    for term, matrix in zip(design.terms, point["covariances"], strict=True):
        same = term.codes[:, None] == term.codes[None, :]
        V += same * (term.matrix @ np.array(matrix, float) @ term.matrix.T)
    return multivariate_normal(design.X @ [float(b) for b in point["fixed"].values()], V).logpdf(design.y)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"residual_variance": -1.0}, "residual_variance"),
        ({"covariances": [[[1.0, 2.0], [2.0, 1.0]]]}, "negative eigenvalue"),
        ({"covariances": [[[0.0, 1.0], [1.0, 4.0]]]}, "variance below zero, or zero with a covariance"),
        ({"covariances": [[[1.0]]]}, "2 x 2"),
        ({"fixed": [1.0]}, "1 values"),
        ({"fixed": {"(Intercept)": 1.0, "time": 2.0}}, "Time"),
        ({"fixed": [math.nan, 1.0]}, "not finite"),
    ],
)
def test_what_is_no_parameter_is_no_fit(cases, checker, changed, said):
    record = checker.check(cases[CASE], **{**certified(cases[CASE], "REML"), **changed})
    assert record["verdict"] == "no parameters" and said in record["reason"] and record["status"] == 1


@pytest.mark.parametrize("language", ["python", "r"])
def test_the_command_line_needs_nothing_else_and_ends_with_the_status(written, cases, tmp_path, language):
    program = [sys.executable, "-I", "-S", written / "checker.py"]
    if language == "r":
        program = ["Rscript", "--vanilla", written / "checker.R"]
    file = written / "cases" / "dietox-random_slope.json"
    given = tmp_path / "estimates.json"
    for method, status in (("REML", 0), ("ML", 1)):  # by ML the estimates are other ones
        stated = cases[CASE]["optimum"]["REML"]["loglik"]
        given.write_text(json.dumps({**certified(cases[CASE], "REML"), "method": method, "stated_loglik": stated}))
        done = subprocess.run([*program, file, given], capture_output=True, text=True, check=False)
        assert done.returncode == status, done.stderr
        assert f"{CASE}, {method}" in done.stdout
    assert subprocess.run([*program, file, tmp_path / "none"], capture_output=True, check=False).returncode == 2
