"""concord-cases as its user has it: a wheel in a folder, an adapter of ten lines, and real packages under pytest."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
import zipfile
from pathlib import Path

import pytest

from concord.publication import folder
from support.paths import ROOT

HERE = ROOT / "scripts" / "concord-cases"
EXAMPLES = ("statsmodels", "glmm", "mixedlm", "mixedlm_rs")
# What is known of them elsewhere: statsmodels' default stops 3.3 below the optimum of dietox, the others reach it.
SHORT = {("statsmodels", "dietox-random_slope-REML"): "3.34", ("statsmodels", "dietox-random_slope-ML"): "3.7"}


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """A folder with the wheel of a few cases in it, and nothing else of the checkout."""
    place = tmp_path_factory.mktemp("package")
    folder.write(place / "build" / "cases", lambda line: None, lambda id: id.startswith(("dietox", "sitka", "two_")))
    left_out = shutil.ignore_patterns("datasets", "__pycache__")
    shutil.copytree(HERE, place / "scripts" / "concord-cases", ignore=left_out)
    built = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", place / "wheels"]
    subprocess.run(built, cwd=place / "scripts" / "concord-cases", check=True, capture_output=True)
    (wheel,) = (place / "wheels").glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(place / "site")
    return place / "site"


def environment(installed):
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "PYTEST", "CONCORD"))}
    return {**kept, "PYTHONPATH": str(installed)}


@pytest.fixture(scope="module")
def outcomes(installed, tmp_path_factory):
    """What pytest says of every package's fits of three models, by package and test."""
    place = tmp_path_factory.mktemp("author")
    for name in EXAMPLES:
        shutil.copy(HERE / "examples" / f"test_{name}.py", place)
    (place / "pytest.ini").write_text("[pytest]\n")
    words = ["-q", "-p", "no:cacheprovider", "--concord-cases", "dietox-*", "--junit-xml", "out.xml"]
    run = [sys.executable, "-m", "pytest", *words]
    done = subprocess.run(run, cwd=place, env=environment(installed), capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stdout + done.stderr  # something is short, nothing breaks
    cases = ET.parse(place / "out.xml").iter("testcase")
    return {
        (case.get("classname").removeprefix("test_"), case.get("name")): {
            child.tag: child.get("message") for child in case if child.tag in ("failure", "skipped", "error")
        }
        for case in cases
    }


def test_every_package_is_asked_about_every_case_by_both_methods_and_judged(outcomes):
    models = ("random_intercept", "random_slope", "uncorrelated")
    ids = [f"dietox-{model}-{method}" for model in models for method in ("REML", "ML")]
    tests = [f"{test}[{id}]" for test in ("test_estimates", "test_stated_loglik") for id in ids]
    assert set(outcomes) == {(name, test) for name in EXAMPLES for test in tests}
    for (name, test), said in outcomes.items():
        id = test.partition("[")[2].rstrip("]")
        if "uncorrelated" in test:
            assert "cannot express" in said["skipped"]
        elif test.startswith("test_estimates") and (name, id) in SHORT:
            assert f"short: {SHORT[name, id]} log-likelihood units below" in said["failure"]
        else:
            assert not said, (name, test, said)


def test_the_wheel_has_the_cases_and_needs_nothing(installed):
    code = (
        "import sys, concord_cases as c; case = c.load('sitka-random_slope', exact=True); "
        "names = c.names(); o = case['optimum']['ML']; fixed = {k: v['estimate'] for k, v in o['fixed'].items()}; "
        "r = c.check(case, fixed, o['covariances'], o['residual_variance'], 'ML'); print(len(names), r['verdict'])"
    )
    run = [sys.executable, "-S", "-c", code]
    done = subprocess.run(run, env=environment(installed), capture_output=True, text=True, check=True)
    assert done.stdout.split(maxsplit=1) == ["9", "at the optimum\n"]
    licences = {path.name for path in (installed / "concord_cases" / "data" / "licences").iterdir()}
    assert licences == {"dietox.txt", "sitka.txt", "two_optima.txt", "GPL-2.txt", "GPL-3.txt"}


def test_cases_of_one_kind_are_chosen_and_a_kind_that_there_is_not_is_named(installed, tmp_path):
    shutil.copy(HERE / "examples" / "test_glmm.py", tmp_path)
    refused = "ERROR: --concord-kind 'three optima': it is one of '2 correlated effects', "
    for kind, status, said in (("two optima", 0, "12 tests collected"), ("three optima", 4, refused)):
        words = ["-q", "-p", "no:cacheprovider", "--collect-only", "--concord-kind", kind]
        done = subprocess.run(
            [sys.executable, "-m", "pytest", *words],
            cwd=tmp_path,
            env=environment(installed),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == status and said in done.stdout + done.stderr, done.stdout + done.stderr


def test_without_cases_it_says_where_to_have_them(tmp_path):
    code = "import concord_cases; concord_cases.names()"
    run = [sys.executable, "-S", "-c", code]
    env = {**environment(HERE), "CONCORD_CASES": str(tmp_path)}
    done = subprocess.run(run, env=env, capture_output=True, text=True, check=False)
    assert "FileNotFoundError: no cases in" in done.stderr and "CONCORD_CASES" in done.stderr
