"""The shelf of the catalogue's fits: one process makes a fit, and no change of what a fit depends on is missed."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy
import pytest

from support import shelf
from support.paths import ROOT

FITS = f"""
import sys
opened = set()
sys.addaudithook(lambda event, given: opened.add(str(given[0])) if event == "open" else None)
from concord.engines.engine import engines
from concord.models import model
for engine in engines().values():
    for settings in engine.settings:
        engine.fit(model.get("dyestuff-random_intercept"), settings)
opened.update(str(each.__file__) for name, each in sys.modules.items() if name.startswith("concord"))
print(*sorted(each for each in opened if each.startswith({str(ROOT)!r})), sep="\\n")
"""


@pytest.fixture
def checkout(tmp_path):
    """A tiny one: a source of an engine in both languages, a table, and a source of a room above."""
    names = ("engines/lme4/engine.py", "engines/lme4/fit.R", "models/model.py", "r.R", "plots/style.py")
    for file in (*(tmp_path / "scripts/concord" / name for name in names), tmp_path / "datasets/a/a.csv"):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("before")
    return tmp_path


def fit(value: float) -> SimpleNamespace:
    return SimpleNamespace(**dict.fromkeys(shelf.NUMBERS, value), summary="said", random_effects=[value])


def test_all_that_a_fit_reads_is_among_the_sources():
    """Every module that is imported and every file that is opened while all engines fit a model."""
    done = subprocess.run([sys.executable, "-c", FITS], capture_output=True, text=True, check=True)
    read = {Path(line) for line in done.stdout.splitlines() if not line.endswith((".pyc", "/"))}
    read = {each for each in read if each.is_file() and not each.is_relative_to(Path(sys.prefix))}
    assert {"engine.py", "dataset.toml", "dyestuff.csv"} <= {each.name for each in read}
    assert read <= set(shelf.sources())


def test_one_changed_byte_of_a_source_is_another_key(checkout):
    """Of any file but those of the rooms above the engines; so is a file more, another name, and another version."""
    own = shelf.sources(checkout)
    before = shelf.key(own, checkout, ["R 4"])
    assert len(own) == 5 and shelf.key(own, checkout, ["R 4"]) == before
    for file in own:
        file.write_text("Before")
        assert shelf.key(own, checkout, ["R 4"]) != before
        file.write_text("before")
    (checkout / "scripts/concord/plots/style.py").write_text("after")
    assert shelf.key(shelf.sources(checkout), checkout, ["R 4"]) == before
    assert shelf.key(own, checkout, ["R 5"]) != before
    own[0].rename(own[0].with_name("other"))
    assert shelf.key(shelf.sources(checkout), checkout, ["R 4"]) != before
    (checkout / "scripts/concord/new.py").touch()
    assert len(shelf.sources(checkout)) == 6


def test_the_versions_are_of_both_languages_packages():
    """As each of them says itself."""
    lme4 = subprocess.run(
        ["Rscript", "--vanilla", "-e", "cat(packageDescription('lme4')$Version)"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert {f"numpy {numpy.__version__}", "lme4", lme4.stdout} <= set(shelf.versions())


def test_of_two_that_want_a_fit_one_makes_it_and_the_other_waits(tmp_path):
    made = []

    def make():
        made.append(1)
        time.sleep(0.3)
        return fit(2.5)

    with ThreadPoolExecutor() as pool:
        asked = [pool.submit(shelf.Shelf(tmp_path / "key").kept, "a", make) for _ in range(2)]
    assert len(made) == 1
    assert [each.result() for each in asked] == [(dict.fromkeys(shelf.NUMBERS, 2.5), ["said", [2.5]])] * 2


def test_a_fit_that_fails_or_is_not_written_to_its_end_is_made_anew(tmp_path):
    own = shelf.Shelf(tmp_path / "key")
    with pytest.raises(ZeroDivisionError):
        own.kept("a", lambda: 1 / 0)
    assert own.kept("a", lambda: fit(1.0))[0]["stated_loglik"] == 1
    whole = (tmp_path / "key" / "a").read_bytes()
    (tmp_path / "key" / "a").write_bytes(whole[: len(whole) // 2])
    assert own.kept("a", lambda: fit(3.0))[0]["stated_loglik"] == 3
    assert own.kept("a", lambda: 1 / 0)[0]["stated_loglik"] == 3


def test_what_another_state_left_is_removed_after_a_day(tmp_path):
    """And not before: another run may use it."""
    shelf.Shelf(tmp_path / "one").kept("a", lambda: fit(1.0))
    shelf.Shelf(tmp_path / "two")
    assert sorted(each.name for each in tmp_path.iterdir()) == ["one", "two"]
    os.utime(tmp_path / "one", (0, 0))
    shelf.Shelf(tmp_path / "two")
    assert [each.name for each in tmp_path.iterdir()] == ["two"]


def test_a_fit_by_code_that_was_edited_meanwhile_is_not_kept(tmp_path):
    """What this process imported is no longer what the files say."""
    own = shelf.Shelf(tmp_path / "key", "an older state")
    assert own.kept("a", lambda: fit(1.0))[0]["stated_loglik"] == 1
    assert own.kept("a", lambda: fit(2.0))[0]["stated_loglik"] == 2
    now = shelf.Shelf(tmp_path / "key", shelf.AT_START)
    assert now.kept("b", lambda: fit(1.0))[0]["stated_loglik"] == 1
    assert now.kept("b", lambda: 1 / 0)[0]["stated_loglik"] == 1


@pytest.mark.parametrize("first", ["support.sources", "concord"])
def test_the_sources_have_a_state_only_if_it_was_told_before_their_import(first, tmp_path):
    """An edit between the import and the digest would be kept under the key of what was not run."""
    assert shelf.AT_START, "tests/conftest.py, or a plugin, imports the package before the digest is taken"
    code = f"import {first}, concord; from support.sources import AT_START; print(AT_START)"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT / "tests"), str(ROOT / "scripts")])}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert bool(done.stdout.strip()) == (first == "support.sources")
    own = shelf.Shelf(tmp_path / "key", done.stdout.strip())
    own.kept("a", lambda: fit(1.0))
    made = own.kept("a", lambda: fit(2.0))[0]["stated_loglik"]
    assert made == (1 if first == "support.sources" else 2)


def test_the_front_pages_kernel_has_the_same_shelf_and_says_no_where_the_engine_does(_shelf):
    """Its key is that of this run's sources and versions, taken before its imports."""
    code = f"import runpy; own = runpy.run_path({str(ROOT / 'tests/support/shelved.py')!r})['SHELF']\n"
    code += "from concord import models; from concord.agreement import gate\n"
    code += "print(own.folder, own.state)\n"
    code += "print(gate.answer(models.get('penicillin-crossed'), 'nlme', 'default').kind)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [f"{_shelf.folder} {shelf.AT_START}", "cannot express"]
