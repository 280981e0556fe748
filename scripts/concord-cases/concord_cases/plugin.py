"""A plugin for pytest: every test that asks for ``concord_case`` runs on every case by REML and by ML.

A package's author writes the fixture ``concord_fit``, a function of a case and a method that gives the arguments of
`concord_cases.check`, and imports the tests of `concord_cases.grid`.
"""

from __future__ import annotations

import fnmatch
import warnings

import pytest

import concord_cases

METHODS = ("REML", "ML")
_KEPT = pytest.StashKey[dict]()


def pytest_addoption(parser):
    """The options of the grid."""
    group = parser.getgroup("concord", "certified linear mixed models")
    group.addoption("--concord-cases", default="*", metavar="PATTERN", help="cases whose id matches: 'sitka-*'")
    group.addoption(
        "--concord-difficulty", default="", choices=["lower", "average", "higher"], help="cases of one difficulty"
    )
    group.addoption("--concord-kind", default="", metavar="KIND", help="cases of one kind: 'two optima'")
    group.addoption("--concord-strict", action="store_true", help="a fit that is imprecise fails, too")


def pytest_configure(config):
    """Refuses what no case is."""
    option = config.getoption
    kind = option("concord_kind")
    if kind and kind not in concord_cases.kinds():
        raise pytest.UsageError(f"--concord-kind {kind!r}: it is one of {', '.join(map(repr, concord_cases.kinds()))}")
    if (kind or option("concord_difficulty") or option("concord_cases") != "*") and not _chosen(option):
        raise pytest.UsageError("no case is what --concord-cases, --concord-difficulty and --concord-kind ask for")


def _chosen(option):
    """The ids of the cases that the options ask for."""
    ids = concord_cases.names(option("concord_difficulty"), option("concord_kind"))
    return fnmatch.filter(ids, option("concord_cases"))


def pytest_generate_tests(metafunc):
    """One test a case and method."""
    if "concord_case" not in metafunc.fixturenames:
        return
    ids = _chosen(metafunc.config.getoption)
    grid = [(id, method) for id in ids for method in METHODS]
    metafunc.parametrize(("concord_case", "concord_method"), grid, ids=["-".join(pair) for pair in grid], indirect=True)


@pytest.fixture
def concord_case(request):
    """A case, its numbers as floats."""
    return concord_cases.load(request.param)


@pytest.fixture
def concord_method(request):
    """``REML`` or ``ML``."""
    return request.param


@pytest.fixture
def concord_record(request, concord_case, concord_method, concord_fit):
    """What `concord_cases.check` says of the package's fit of this case, fitted once for all tests of a run."""
    kept = request.config.stash.setdefault(_KEPT, {})
    key = (request.path, concord_case["id"], concord_method)
    if key not in kept:
        kept[key] = _record(concord_case, concord_method, concord_fit, request.config.getoption("concord_strict"))
    if isinstance(kept[key], concord_cases.CannotExpress):
        pytest.skip(f"cannot express {concord_case['formula']}: {kept[key]}")
    if isinstance(kept[key], Exception):
        raise kept[key]
    return kept[key]


def _record(case, method, fit, strict):
    """The record of a fit; what it raised, to raise it in every test."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            given = fit(case, method)
        except Exception as error:  # a package may raise anything, and CannotExpress is for its adapter to raise
            return error
    return concord_cases.check(concord_cases.load(case["id"], True), **given, method=method, strict=strict)
