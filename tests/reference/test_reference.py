"""The reference: one optimum a model, every committed digit held, and no record believed that was tampered with."""

from __future__ import annotations

import csv
import errno
import itertools
import json
import math
import os
import re
import shutil
import subprocess
import sys
from functools import cache

import mpmath
import numpy as np
import pytest
from flint import arb, arb_mat, ctx

from concord.commands.cli import main
from concord.data import datasets
from concord.likelihood.certificate import Exact
from concord.likelihood.likelihood import Likelihood
from concord.models import model as models
from concord.models.decimals import Columns
from concord.models.parameters import ESTIMATES
from concord.reference import certification as certifying
from concord.reference import record as record_file
from concord.reference import reference
from concord.reference.record import ReferenceError
from support.paths import PUBLISHED
from support.references import committed

OPTIMA = list(csv.DictReader((PUBLISHED / "optima.csv").open(encoding="utf-8")))
EVERY = [pytest.param(model.id, model.method, id=f"{model.id}-{model.method}") for model in models.every()]


@pytest.fixture
def precise():
    """Balls of 300 bits."""
    kept, ctx.prec = ctx.prec, 300
    yield
    ctx.prec = kept


# Whose best variance is zero; everywhere else the optimum lies inside.
ON_BOUNDARY = ["dyestuff2-random_intercept"]


@pytest.mark.parametrize(("id", "method"), EVERY)
def test_it_is_stationary_and_has_every_estimate(id, method):
    """The criterion has no slope there, and all parameters with their names and finite values."""
    model = models.get(id, method)
    found = reference.of(model)
    kinds, terms = found.estimates["effect"], found.estimates["term"]
    assert list(found.estimates.columns) == ESTIMATES and np.isfinite(found.estimates["estimate"]).all()
    assert terms[kinds == "fixed"].tolist() == list(model.design.names)
    variances = found.estimates.loc[terms.str.startswith("var__"), "estimate"]
    assert len(variances) == 1 + sum(len(term.names) for term in model.design.terms)
    assert found.boundary == (id in ON_BOUNDARY)
    assert (variances == 0).sum() == found.boundary and (variances >= 0).all()
    optimum = found.likelihood.optimum()
    assert optimum.gradient < 1e-5
    assert found.likelihood.loglik(optimum.parameters) == pytest.approx(found.loglik, rel=0, abs=1e-9)


@pytest.mark.parametrize(("id", "method"), EVERY)
def test_far_starts_lead_to_the_same_optimum(id, method):
    """From factors far from its own starts it ends in the same place: no better optimum nearby."""
    found = reference.of(models.get(id, method))
    likelihood = found.likelihood
    far = likelihood.theta_of([100.0 * np.eye(len(term.names)) for term in likelihood.design.terms])
    for start in (far, 0.01 * far):
        assert likelihood.optimum([start]).loglik == pytest.approx(found.loglik, rel=0, abs=1e-9)


def test_it_is_found_once():
    """Asking again for the same model and method gives the very same reference; another method another one."""
    assert reference.of(models.get("sitka-random_intercept")) is reference.of(models.get("sitka-random_intercept"))
    ml = reference.of(models.get("sitka-random_intercept", "ML"))
    assert ml is not reference.of(models.get("sitka-random_intercept")) and ml.loglik > -82.3


def test_another_table_of_the_same_name_has_its_own(make_model):
    """A reference serves only the table that it was found from, whatever the two are called."""
    model = models.get("sitka-random_intercept")
    made = make_model(model.frame[1:], model.record.formula, id="sitka", name="random_intercept")
    twin = models.Model(made.dataset, made.name, model.record, model.method)
    assert twin.id == model.id and twin.record is model.record
    first, second = reference.of(model), reference.of(twin)
    assert second.likelihood.n == first.likelihood.n - 1 and second.loglik != first.loglik
    assert reference.of(model).loglik == first.loglik


# ---- the committed records -----------------------------------------------------------------------------------------


def test_every_model_has_a_record_and_no_record_is_without_a_model():
    """Both methods of every model are certified, and nothing else stands in the files."""
    for id in datasets.catalogue():
        content = json.loads((datasets.folder() / id / "reference.json").read_text(encoding="utf-8"))
        assert {name: list(methods) for name, methods in content.items()} == {
            name: ["REML", "ML"] for name in datasets.load(id).models
        }


@pytest.mark.parametrize(("id", "method"), EVERY)
def test_a_fresh_quick_solve_gives_the_committed_optimum(id, method):
    """Log-likelihood, estimates and standard errors of a solve in doubles are the record's, within 1e-8 of each."""
    record, model = committed(id, method), models.get(id, method)
    found = Likelihood(model.design, model.reml).optimum()
    assert found.loglik == pytest.approx(float(record["loglik"]), rel=0, abs=1e-8)
    table = found.estimates
    assert len(table) == len(record["estimates"])
    for row, kept in zip(table.itertuples(), record["estimates"], strict=True):
        assert (row.effect, row.group, row.term) == (kept["effect"], kept["group"], kept["term"])
        # A variance of zero has no size of its own.
        zero = 1e-8 * found.residual_variance if id in ON_BOUNDARY and row.group in model.frame else 0.0
        assert row.estimate == pytest.approx(float(kept["estimate"]), rel=1e-8, abs=zero)
        if row.effect == "fixed":
            assert row.std_error == pytest.approx(float(kept["std_error"]), rel=1e-8)


@pytest.mark.parametrize("row", OPTIMA, ids=[row["model"] for row in OPTIMA])
def test_the_records_are_the_optima_of_another_program(row):
    """The REML values from a 60-digit Newton iteration elsewhere are the records', to their last digit."""
    value = mpmath.mpf(row["value"])
    unit = mpmath.mpf(10) ** -len(row["value"].partition(".")[2])
    with mpmath.workdps(40):
        assert abs(mpmath.mpf(committed(row["model"], row["method"])["loglik"]) - value) <= 0.5001 * unit


@pytest.mark.parametrize(("id", "method"), EVERY)
def test_every_record_has_thirty_digits_and_twentyfive_of_them_proved(id, method):
    """Every number is written to 30 significant digits, and the proof leaves no doubt in the first 25."""
    record = committed(id, method)
    numbers = [record["loglik"], *record["theta"], *(each["estimate"] for each in record["estimates"])]
    numbers += [each["std_error"] for each in record["estimates"] if each["effect"] == "fixed"]
    for text in numbers:
        mantissa = re.sub(r"e.*$", "", text).replace("-", "").replace(".", "").lstrip("0")
        assert len(mantissa) == 30 or (text == "0" and id in ON_BOUNDARY), text
    checks = record["checks"]
    assert checks["boundary"] == [i for i, each in enumerate(record["theta"]) if each == "0"]
    assert bool(checks["boundary"]) == (id in ON_BOUNDARY)
    assert all(checks["radius"] < 1e-25 * abs(float(each)) for each in record["theta"] if each != "0")
    assert checks["digits_agreed"] >= 30 and checks["bits"] == sorted(checks["bits"]) and checks["starts"] >= 8
    assert checks["other_optima"] == []
    assert "starts" in checks["not_proved"] if checks.get("proved") != "global" else "not_proved" not in checks
    assert set(record["provenance"]["versions"]) >= {"numpy", "scipy", "python-flint"}
    assert reference.of(models.get(id, method)).kind.startswith("certified: ")


@pytest.mark.parametrize(("id", "method"), EVERY)
def test_theta_gives_every_committed_digit(id, method):
    """All numbers recomputed in balls at the committed theta are those committed, in the 28th digit and before."""
    record, model = committed(id, method), models.get(id, method)
    kept, ctx.prec = ctx.prec, 300
    try:
        exact, theta = (
            Exact(model.design, model.reml, Columns(model.formula, model.frame, model.design)),
            [arb(each) for each in record["theta"]],
        )
        found = exact.estimates(theta)
        terms = {}
        for term, matrix in zip(model.design.terms, found["covariances"], strict=True):
            for j, second in enumerate(term.names):
                terms[term.group, f"var__{second}"] = matrix[j][j]
                for i, first in enumerate(term.names[:j]):
                    terms[term.group, f"cov__{first}.{second}"] = matrix[i][j]
        terms["Residual", "var__Observation"] = found["residual_variance"]
        pairs = [(exact(theta, 0).value / -2, record["loglik"])]
        for each in record["estimates"]:
            if each["effect"] == "fixed":
                i = model.design.names.index(each["term"])
                pairs += [(found["fixed"][i], each["estimate"]), (found["std_error"][i], each["std_error"])]
            else:
                pairs.append((terms[each["group"], each["term"]], each["estimate"]))
        for ball, text in pairs:
            assert abs(ball / arb(text) - 1) < arb("1e-28") if text != "0" else ball == 0, text
    finally:
        ctx.prec = kept


RESPONSES = {
    "cake": "angle",
    "dietox": "Weight",
    "dyestuff": "Yield",
    "dyestuff2": "Yield",
    "ergostool": "effort",
    "machines": "score",
    "oats": "yield",
    "orthodont": "distance",
    "oxboys": "height",
    "pastes": "strength",
    "penicillin": "diameter",
    "rail": "travel",
    "sitka": "size",
    "sleepstudy": "Reaction",
}


@cache
def rows_of(dataset: str) -> list[dict[str, str]]:
    return list(csv.DictReader((datasets.folder() / dataset / f"{dataset}.csv").open(encoding="utf-8")))


def coded(rows: list[dict[str, str]], name: str) -> list[arb]:
    """The column that R calls by this name: an intercept, a number, a dummy, a polynomial, or a product of such."""
    if ":" in name:
        parts = [coded(rows, part) for part in name.split(":")]
        return [math.prod(values, start=arb(1)) for values in zip(*parts, strict=True)]
    if name == "(Intercept)":
        return [arb(1)] * len(rows)
    if name in rows[0]:
        return [arb(row[name]) for row in rows]  # the decimals as they are printed
    column = max((column for column in rows[0] if name.startswith(column)), key=len)
    contrast = name.removeprefix(column)
    if contrast not in (".L", ".Q", ".C", "^4", "^5"):
        return [arb(int(row[column] == contrast)) for row in rows]
    # Orthonormal polynomials on equally spaced levels, by Gram and Schmidt.
    levels, degree = sorted({row[column] for row in rows}), {".L": 1, ".Q": 2, ".C": 3, "^4": 4, "^5": 5}[contrast]
    basis: list[list[arb]] = []
    for power in range(degree + 1):
        values = [arb(k) ** power for k in range(len(levels))]
        for other in basis:
            share = sum((a * b for a, b in zip(values, other, strict=True)), arb(0))
            values = [a - share * b for a, b in zip(values, other, strict=True)]
        length = sum((a * a for a in values), arb(0)).sqrt()
        basis.append([a / length for a in values])
    return [basis[degree][levels.index(row[column])] for row in rows]


class ByHand:
    """The (restricted) log density of a table in dense matrices, block by block, from the CSV and a record's names."""

    def __init__(self, dataset: str, record: dict, reml: bool) -> None:
        self.rows, self.record, self.reml = rows_of(dataset), record, reml
        self.keys = [(each["effect"], each["group"], each["term"]) for each in record["estimates"]]
        fixed = [term for effect, _, term in self.keys if effect == "fixed"]
        self.X = list(zip(*(coded(self.rows, name) for name in fixed), strict=True))
        self.y = coded(self.rows, RESPONSES[dataset])
        # A random term is a run of variances of one factor's effects and their covariances: `||` makes two of one.
        self.terms: list[tuple[str, list[str]]] = []
        for effect, group, term in self.keys:
            if effect == "ran_pars" and group != "Residual" and term.startswith("var__"):
                self.terms.append((group, term.removeprefix("var__")))
        self.Z = [coded(self.rows, name) for _, name in self.terms]
        self.levels = [[tuple(row[part] for part in group.split(":")) for row in self.rows] for group, _ in self.terms]
        # Rows that share a level of any factor belong together, and so do those that share one with them.
        owner = list(range(len(self.rows)))
        for levels in self.levels:
            first: dict[tuple, int] = {}
            for i, level in enumerate(levels):
                old, new = owner[i], owner[first.setdefault(level, i)]
                owner = [new if each == old else each for each in owner]
        self.blocks = [[i for i, each in enumerate(owner) if each == block] for block in sorted(set(owner))]
        # Blocks that look alike in Z have one V: the columns' values and which rows share a level.
        alike: dict[tuple, int] = {}
        self.likeness = []
        for block in self.blocks:
            key = []
            for column, levels in zip(self.Z, self.levels, strict=True):
                seen: dict[tuple, int] = {}
                key += [(float(column[i]), seen.setdefault(levels[i], len(seen))) for i in block]
            self.likeness.append(alike.setdefault((len(block), *key), len(alike)))

    def loglik(self, values: list[arb]) -> arb:
        given = dict(zip(self.keys, values, strict=True))
        beta, residual = values[: len(self.X[0])], given["ran_pars", "Residual", "var__Observation"]

        def covariance(a: int, b: int) -> arb:
            (group, first), (other, second) = self.terms[a], self.terms[b]
            name = f"var__{first}" if a == b else f"cov__{first}.{second}"
            return given.get(("ran_pars", group, name), arb(0)) if group == other else arb(0)

        size, p = range(len(self.terms)), len(beta)
        psi = [[covariance(min(a, b), max(a, b)) for b in size] for a in size]
        total, information = arb(0), arb_mat(p, p)
        known: dict[int, tuple[arb, arb_mat]] = {}
        for block, key in zip(self.blocks, self.likeness, strict=True):
            if key not in known:
                V = [[residual * (i == j) for j in block] for i in block]
                for a, b in itertools.product(size, size):
                    if self.terms[a][0] == self.terms[b][0]:
                        for k, i in enumerate(block):
                            for m, j in enumerate(block):
                                if self.levels[a][i] == self.levels[b][j]:
                                    V[k][m] += self.Z[a][i] * psi[a][b] * self.Z[b][j]
                known[key] = arb_mat(V).det().log(), arb_mat(V).inv()
            logdet, inverse = known[key]
            X = arb_mat([list(self.X[i]) for i in block])
            left = arb_mat([[self.y[i]] for i in block]) - X * arb_mat([[each] for each in beta])
            total += logdet + (left.transpose() * inverse * left)[0, 0]
            information += X.transpose() * inverse * X
        nu = len(self.rows) - p * self.reml
        return -(total + nu * (2 * arb.pi()).log() + (information.det().log() if self.reml else 0)) / 2


@pytest.mark.parametrize(("id", "method"), EVERY)
def test_the_committed_digits_are_stationary_in_a_density_written_by_hand(id, method, precise):
    """From the CSV and the JSON alone: the density is the record's to 26 digits, and no parameter has a slope left."""
    record = committed(id, method)
    density = ByHand(id.partition("-")[0], record, method == "REML")
    values = [arb(each["estimate"]).mid() for each in record["estimates"]]
    top = density.loglik(values)
    assert abs(top / arb(record["loglik"]) - 1) < arb("1e-26")
    for i, value in enumerate(values):
        if value == 0:
            # A variance of zero, on the boundary: more of it makes the table less likely.
            assert density.keys[i][2].startswith("var__") and record["checks"]["boundary"]
            more = [v + arb("1e-6") * values[-1] * (i == j) for j, v in enumerate(values)]
            assert density.loglik(more) < top
            continue
        h = abs(value) * arb("1e-20")
        ahead, behind = (density.loglik([v + sign * h * (i == j) for j, v in enumerate(values)]) for sign in (1, -1))
        # The slope against a change of the whole parameter: 30 digits leave at most about n x 1e-29 of it.
        assert abs(ahead - behind) / 2 * arb("1e20") < arb("1e-23"), record["estimates"][i]
        assert ahead + behind < 2 * top


def test_certifying_anew_gives_the_same_record():
    """All digits, checks and names come out as they are committed; only the date and versions may be others."""
    model = models.get("sitka-random_intercept", "ML")
    record, kept = certifying.certify(model), committed(model.id, "ML")
    for key in ("formula", "data_sha256", "loglik", "theta", "estimates"):
        assert record[key] == kept[key], key
    assert set(record) == set(kept) and record["checksum"] == record_file.checksum(record)
    for key in ("bits", "digits_agreed", "krawczyk_box", "hessian", "boundary", "other_optima"):
        assert record["checks"][key] == kept["checks"][key], key
    checks = record["checks"]
    assert checks["proved"] == "global" and checks["stationary"] == 1 and "not_proved" not in checks
    assert 10 < checks["boxes"] < 200 and checks["seconds"] < 60 and "isolated" in checks["method"]
    assert record["checks"]["radius"] < 1e-60


# ---- the command ---------------------------------------------------------------------------------------------------


def test_the_command_certifies_one_model_into_the_named_folder(tmp_path):
    """`certify --model rail-random_intercept` proves both methods and writes them where CONCORD_DATASETS says."""
    shutil.copytree(datasets.folder(), tmp_path / "data")
    file = tmp_path / "data/rail/reference.json"
    before = json.loads(file.read_text(encoding="utf-8"))
    file.write_text("{}", encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "concord", "certify", "--model", "rail-random_intercept"],
        env={**os.environ, "CONCORD_DATASETS": str(tmp_path / "data")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [line.partition(":")[0] for line in lines[:2]] == [f"rail-random_intercept, {m}" for m in ("REML", "ML")]
    assert "logLik -61.088500404298" in lines[0] and lines[2] == str(file)
    after = json.loads(file.read_text(encoding="utf-8"))
    assert list(after) == ["random_intercept"]
    for method in ("REML", "ML"):
        for key in ("loglik", "theta", "estimates"):
            assert after["random_intercept"][method][key] == before["random_intercept"][method][key]


def test_a_command_that_cannot_certify_is_one_line(monkeypatch, capsys, tmp_path):
    """An unknown model is status 2, a proof that fails is status 1, a full disk is status 1: a line each."""
    assert main(["certify", "--model", "dietox-no_such"]) == 2
    assert capsys.readouterr().err.startswith("concord: model 'dietox-no_such': dataset dietox has random_intercept")
    assert main(["certify", "--model", "pigs-random_slope"]) == 2
    assert capsys.readouterr().err.startswith("concord: dataset 'pigs': not found")

    def unproved(model):
        raise ReferenceError(f"{model.id}, {model.method}: no start led to an optimum")

    monkeypatch.setattr(certifying, "certify", unproved)
    assert main(["certify", "--model", "sitka-random_slope"]) == 1
    assert capsys.readouterr().err.splitlines() == [
        f"concord: sitka-random_slope, {method}: no start led to an optimum" for method in ("REML", "ML")
    ]

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(certifying, "certify", lambda model: committed(model.id, model.method))
    monkeypatch.setattr(certifying, "write", full)
    assert main(["certify", "--model", "sitka-random_slope"]) == 1
    assert capsys.readouterr().err == "concord: No space left on device\n"


def test_a_spoilt_reference_reaches_the_terminal_as_one_line(monkeypatch, capsys):
    """Whichever command meets it: status 2 and the message, as for any other file of a dataset."""

    def spoilt(*_):
        raise ReferenceError("datasets/sitka/reference.json: not a reference file: run `make certify`")

    monkeypatch.setattr(certifying, "renew", spoilt)
    assert main(["certify", "--model", "sitka-random_slope"]) == 2
    assert (
        capsys.readouterr().err == "concord: datasets/sitka/reference.json: not a reference file: run `make certify`\n"
    )
