"""A fourth engine, from a folder outside of the package: asked, judged, shown and kept wherever the others are."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from textwrap import dedent

import nbformat
import numpy as np
import pandas as pd
import pytest

import concord.engines
from concord.account.account import SECTIONS, Account
from concord.agreement import gate
from concord.agreement.comparison import compare
from concord.agreement.trials import remedies
from concord.bootstrap import bootstrap
from concord.commands import baseline
from concord.data import datasets
from concord.engines import remote
from concord.engines.answers import answer
from concord.engines.engine import EngineError, deciding, engines, parties, title
from concord.models import model
from concord.plots import estimates, random_effects, residuals, trajectories, verdicts
from concord.plots.style import STYLE, mark
from concord.session import compare_formula
from concord.simulation.case import Case
from concord.simulation.experiment import pairs
from concord.simulation.findings import Findings
from concord.simulation.store import Plan
from concord.simulation.study import run
from support.notebooks import notebook

GUEST = '''
"""lme4's fits under another name."""

from dataclasses import replace

from concord.engines import lme4
from concord.engines.lme4 import call, imports, statements

name, title, language, role = "copycat", "The copycat", "R", "guest"
settings = ("default", "tuned")
packages, companions, preload = ("lme4",), (), ("concord.engines.lme4.engine",)
orthogonal, inverts, sweep = False, False, 0
optimizers = fit_by = None


def fit(model, settings="default"):
    return replace(lme4.fit(model, settings), engine=name)


def from_native(native, model, **more):
    return replace(lme4.from_native(native, model, **more), engine=name)


def refitters(model, settings, **options):
    def renamed(way):
        return lambda response: replace(way(response), engine=name)

    return [renamed(way) for way in lme4.refitters(model, settings, **options)]
'''
SLOPE = "Reaction ~ Days + (1 + Days | Subject)"
EVERY = ["statsmodels", "lme4", "nlme", "copycat"]


def written(folder: Path, name: str, text: str) -> Path:
    (folder / name).mkdir()
    (folder / name / "__init__.py").write_text(text)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return written(tmp_path_factory.mktemp("engines"), "copycat", GUEST)


@pytest.fixture(scope="module")
def guest(folder):
    """The engine in this process and in those that it starts, and afterwards in none of them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CONCORD_ENGINES", str(folder))
        remote.stop_workers()
        yield engines()["copycat"]
        remote.stop_workers()
    concord.engines.__path__.remove(str(folder))
    del sys.modules["concord.engines.copycat"], concord.engines.copycat
    assert "copycat" not in engines()


@pytest.fixture(scope="module")
def slopes(guest):
    """What all four say of sleepstudy's random slope, tuned."""
    found = model.get("sleepstudy-random_slope")
    return compare(*(answer(found, name, "tuned") for name in engines()))


# ---- found ---------------------------------------------------------------------------------------------------------


def test_it_stands_behind_the_parties_and_the_arbiter(guest):
    assert list(engines()) == EVERY and parties() == ("statsmodels", "lme4")
    assert deciding(EVERY) == {"statsmodels", "lme4"} and deciding(["lme4", "copycat"]) == {"lme4", "copycat"}
    assert title("copycat tuned") == "The copycat tuned"


# What is in the folder, and what is said of it. A third party would be named by a verdict that has words for two.
NO_ENGINE = {
    "no engine": ('name = "other"', "is not an engine: it states no title, language"),
    "twice": (GUEST.replace('"copycat"', '"lme4"'), "there is an engine of the name lme4 already"),
    "third party": (GUEST.replace('"guest"', '"party"'), "R has a party already: its role is guest"),
    "former name": (GUEST.replace('"copycat"', '"mixedlm"'), "there is an engine of the name mixedlm already"),
    "role": (GUEST.replace('"guest"', '"visitor"'), "its role is 'visitor', not one of party, arbiter, guest"),
    "language": (GUEST.replace('"R"', '"Julia"'), "its language is 'Julia', not one of Python, R"),
    "no fit": (GUEST.replace("def fit(", "def fitted("), "is not an engine: it states no fit"),
    "import": ("1 / 0", "other: cannot be imported: ZeroDivisionError: division by zero"),
}
# For each folder a process in which nothing of Concord's is imported, forked where what that imports itself is there.
ASKED = """
import os, sys
import pandas, scipy.linalg, scipy.ndimage, scipy.optimize, scipy.sparse.linalg
for folder in sys.argv[1:]:
    if not os.fork():
        os.environ["CONCORD_ENGINES"] = folder
        from concord.engines.engine import EngineError, engines
        try: engines()
        except EngineError as e: print(e, flush=True)
        os._exit(0)
    print("status", os.wait()[1], flush=True)
"""


@pytest.fixture(scope="module")
def told(tmp_path_factory) -> dict[str, str]:
    """What is said of each folder, by its case."""
    folders = [written(tmp_path_factory.mktemp("other"), "other", text) for text, _ in NO_ENGINE.values()]
    done = subprocess.run([sys.executable, "-c", ASKED, *folders], capture_output=True, text=True, check=True)
    said = done.stdout.split("status 0\n")
    assert len(said) == len(folders) + 1 and said[-1] == ""
    return dict(zip(NO_ENGINE, said, strict=False))


@pytest.mark.parametrize("case", NO_ENGINE)
def test_what_is_no_engine_is_told(case, told):
    assert NO_ENGINE[case][1] in told[case]


def test_a_folder_of_engines_that_is_not_there_is_told(tmp_path):
    """A wrong path would else leave the engine out without a word; the commands end with one line and status 2."""
    words = [sys.executable, "-m", "concord", "compare", "t.csv", "y ~ x + (1 | g)"]
    (tmp_path / "t.csv").write_text("y,x,g\n1,2,a\n")
    environment = os.environ | {"CONCORD_ENGINES": str(tmp_path / "typo")}
    done = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 2 and "typo: there is no such folder" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize(("name", "text"), [("lme4", GUEST), ("fit", GUEST), ("broken", "import no_such_module")])
def test_a_command_tells_in_one_line_of_an_engine_that_it_cannot_use(tmp_path, name, text):
    """A folder called like a module of Concord's own would else be left out without a word."""
    words = [sys.executable, "-m", "concord", "compare", "t.csv", "y ~ x + (1 | g)"]
    (tmp_path / "t.csv").write_text("y,x,g\n1,2,a\n")
    environment = os.environ | {"CONCORD_ENGINES": str(written(tmp_path, name, text))}
    done = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=600)
    said = "cannot be imported: ModuleNotFoundError" if name == "broken" else f"{name}: that name is taken"
    assert done.returncode == 2 and said in done.stderr and len(done.stderr.splitlines()) == 1


def test_two_folders_with_one_name_are_told(tmp_path):
    folders = [tmp_path / "a", tmp_path / "b"]
    for each in folders:
        each.mkdir()
        written(each, "copycat", GUEST)
    code = "from concord.engines.engine import EngineError, engines\ntry: engines()\nexcept EngineError as e: print(e)"
    environment = os.environ | {"CONCORD_ENGINES": os.pathsep.join(map(str, folders))}
    told = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert f"{folders[1] / 'copycat'}: that name is taken" in told.stdout


def test_a_relative_folder_holds_in_another_working_directory(tmp_path, folder):
    """As a kernel has, which starts in the notebook's folder."""
    child = "from concord.engines.engine import engines; print(*engines())"
    code = f"import os, subprocess, sys, concord.engines\nos.chdir({str(tmp_path)!r})\n"
    code += f"subprocess.run([sys.executable, '-c', {child!r}], check=True)"
    environment = os.environ | {"CONCORD_ENGINES": folder.name, "PYTHONPATH": os.pathsep.join(sys.path)}
    ran = [sys.executable, "-c", code]
    told = subprocess.run(ran, cwd=folder.parent, env=environment, capture_output=True, text=True, check=True)
    assert told.stdout.split() == EVERY


def test_an_installed_package_brings_an_engine_by_an_entry_point(tmp_path):
    """Under its own module's name, which no folder of Concord's has."""
    written(tmp_path, "their_engine", GUEST)
    (tmp_path / "theirs-1.dist-info").mkdir()
    (tmp_path / "theirs-1.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1\n")
    (tmp_path / "theirs-1.dist-info" / "entry_points.txt").write_text("[concord.engines]\ncopycat = their_engine\n")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path]), "CONCORD_ENGINES": ""}
    code = "from concord.engines.engine import engines; e = engines(); print(*e, e['copycat'].__name__)"
    told = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert told.stdout.split() == [*EVERY, "their_engine"]


# ---- judged --------------------------------------------------------------------------------------------------------


def test_it_is_fitted_and_judged_beside_the_others(slopes):
    assert slopes.labels == EVERY and slopes.verdict.word == "agree" and len(slopes.parties) == 2
    assert np.isfinite(slopes.judgements[3].gap) and slopes.judgements[3].gap < 1e-8
    shown = repr(slopes)
    assert " nlme  guest The copycat  " in shown and "; guest The copycat < 1e-0" in shown
    assert "The verdict is about MixedLM (statsmodels) and lme4 only. Judged alike, and no part of it: nlme, g" in shown


def test_at_fault_it_is_named_and_moves_no_verdict_of_the_parties(slopes):
    """Alone with one party it is a party; beside both it is shown, graded, and decides nothing."""
    python, lmer, _, own = slopes.fits
    worse = replace(own, parameters=replace(own.parameters, residual_variance=1.2 * own.residual_variance))
    alone = compare(python, worse).verdict
    assert alone.word == "r short" and "The copycat is short: it stopped 1.15 log-likelihood units" in alone.reason
    beside = compare(python, lmer, worse)
    assert beside.verdict.word == "agree" and beside.grades == ["", "", "short"] and beside.breaches == []
    assert "copycat 1.149" in repr(beside)


def test_without_a_fit_it_is_told_and_moves_no_verdict(slopes, guest, monkeypatch):
    def burst(*_):
        raise EngineError("it burst")

    monkeypatch.setattr(guest, "fit", burst)
    absent = answer(slopes.model, "copycat", "tuned")
    found = compare(*slopes.fits[:2], absent)
    assert found.verdict.word == "agree" and "copycat gave no fit: it burst" in repr(found)


def test_whatever_it_raises_is_an_absence_but_a_partys_own_error_is_raised(slopes, guest, monkeypatch):
    def burst(*_):
        raise KeyError("theta")

    monkeypatch.setattr(guest, "fit", burst)
    absent = answer(slopes.model, "copycat", "tuned")
    assert (absent.kind, absent.reason) == ("failed", "KeyError: 'theta'")
    assert compare(*slopes.fits[:2], absent).verdict.word == "agree"
    monkeypatch.setattr(engines()["lme4"], "fit", burst)
    with pytest.raises(KeyError):
        answer(slopes.model, "lme4", "tuned")


def test_the_gate_asks_it_of_every_model(guest):
    default, tuned = gate.everything([model.get("sleepstudy-random_intercept")])
    for found in (default, tuned):
        assert [fit.engine for fit in found.fits] == EVERY and found.verdict.word == "agree"


# ---- in every section, picture and record --------------------------------------------------------------------------


def test_every_section_of_the_account_has_it(slopes):
    """With a number of its own, judged as lme4's is."""
    account = Account(slopes)
    for section in SECTIONS:
        lines = account[section].lines
        values = [line.values["copycat"] for line in lines if "copycat" in line.values]
        assert any(value is not None for value in values), section
    assert account.unexplained == []


def test_every_picture_has_it_in_a_colour_of_its_own(slopes):
    color, marker = mark("copycat")
    assert (color, marker) not in STYLE.values()
    drawn = {
        "estimates": estimates.estimates(*slopes.fits),
        "residuals": residuals.residuals(*slopes.fits),
        "random effects": random_effects.caterpillar(slopes),
        "fitted": trajectories.fitted(*slopes.fits, x="Days"),
        "contours": verdicts.contours(slopes),
    }
    for what, figure in drawn.items():
        used = {line.get_color() for axes in figure.axes for line in axes.lines}
        assert color in used or what == "random effects", what


def test_records_and_a_baseline_keep_it(slopes):
    fits = slopes.record()["fits"]
    assert [(row["engine"], row["language"], row["role"]) for row in fits][2:] == [
        ("nlme", "R", "arbiter"),
        ("copycat", "R", "guest"),
    ]
    assert list(baseline.entry("sleep", slopes)["fits"]) == EVERY


def test_without_other_calls_it_is_tried_on_rescaled_tables_only(guest):
    """lme4's default misses the optimum, and so does its copy, which decides beside it and has no remedies."""
    assert not hasattr(guest, "remedies")
    found = model.get("sitka-random_slope")
    made = remedies(compare(*(answer(found, name, "default") for name in ("lme4", "copycat"))))
    mine, theirs = made.remedies
    assert (mine.engine, theirs.engine) == ("lme4", "copycat") and mine.call is not None and theirs.call is None
    assert [str(each.rescaling) for each in theirs.tried] == ["divide Time by 100"]
    assert theirs.told[0].startswith("Divide Time by 100, ") and "+14.2 log-likelihood units" in theirs.told[0]


# ---- in other processes --------------------------------------------------------------------------------------------


def test_a_formula_on_a_table_of_ones_own_is_fitted_by_it_in_a_process_of_its_own(guest):
    found = compare_formula(datasets.load("sleepstudy").frame, SLOPE)
    assert found.labels == EVERY and found.fits[3].elsewhere is not None
    assert "Subject" in found.fits[3].summary and len(found.fits[3].random_effects) == 36


def test_a_study_and_a_bootstrap_refit_it_in_worker_processes(guest, tmp_path):
    case = Case.of(model.get("sleepstudy-random_intercept"))
    plan = Plan((case,), 1, 2, pairs(("default",)))
    assert [engine for engine, _ in plan.pairs] == ["statsmodels", "lme4", "copycat"]
    run(plan, tmp_path / "study", workers=1)
    rows = Findings(tmp_path / "study").by()
    assert rows.set_index("engine")["replicates"].to_dict() == {"statsmodels": 2, "lme4": 2, "copycat": 2}
    assert "copycat" in bootstrap(case.model, 2, workers=0).sources


def test_a_forked_kernel_and_the_site_have_it(folder, tmp_path):
    """Its fit is on the front page, and its code on the page of all code; also where it is at fault."""
    cells = (
        "from concord.agreement import gate",
        "from concord.models import model",
        'gate.Gate(gate.everything([model.get("sleepstudy-random_intercept")]))',
    )
    (tmp_path / "notebooks").mkdir()
    nbformat.write(notebook(*cells), tmp_path / "notebooks" / "four.ipynb")
    command = [sys.executable, "-m", "concord", "reports", "--folder", "notebooks", "--output", "build"]
    environment = os.environ | {"CONCORD_ENGINES": str(folder)}
    ran = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=600)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    fits = pd.read_csv(tmp_path / "build" / "fits.csv")
    assert fits["engine"].value_counts().to_dict() == dict.fromkeys(EVERY, 2)
    front, code = ((tmp_path / "build" / "reports" / f"{page}.html").read_text() for page in ("index", "code"))
    assert "copycat" in front and 'id="sleepstudy-random_intercept-default-REML-copycat"' in code


def test_the_check_command_counts_it_and_is_not_moved_by_it(folder, tmp_path):
    datasets.load("sleepstudy").frame.to_csv(tmp_path / "sleep.csv", index=False)
    (tmp_path / "concord.toml").write_text(
        dedent(f"""
        details = false

        [[models]]
        name = "sleep"
        data = "sleep.csv"
        formula = "{SLOPE}"
        method = "ML"
        """)
    )
    command = [sys.executable, "-m", "concord", "check", "--record", "baseline.json"]
    environment = os.environ | {"CONCORD_ENGINES": str(folder)}
    ran = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=600)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    kept = baseline.read(tmp_path / "baseline.json")
    assert all(list(entry["fits"]) == EVERY for entry in kept.entries)
