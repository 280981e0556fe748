"""Whatever profiles and environment files the user of a machine has: the model stays the one that was asked for."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from jupyter_client.manager import start_new_kernel

from concord import r, versions
from concord.engines.lme4 import engine as lme4
from concord.engines.statsmodels import engine as mixedlm
from support.paths import CASES, ROOT

TABLE = CASES / "fac.csv"
FORMULA = "y ~ x * f + (1 | g)"
REML = -97.175
"""The REML log-likelihood with treatment contrasts, by lme4 in an R without profiles; with sums it is -99.372."""

HOSTILE = """
options(contrasts = c("contr.sum", "contr.poly"), na.action = "na.fail", OutDec = ",", warn = 2)
options(digits = 3, scipen = 99)
lmer <- function(...) stop("masked")
vcov <- logLik <- fixef <- sigma <- setNames <- head <- lmer
"""


@pytest.fixture(scope="module")
def hostile(tmp_path_factory) -> tuple[Path, dict[str, str]]:
    """A folder with a profile, an environment file and a workspace, and an environment that names more of them."""
    folder = tmp_path_factory.mktemp("hostile")
    named = {"R_PROFILE": "site", "R_PROFILE_USER": "user", "R_ENVIRON": "environ.site", "R_ENVIRON_USER": "environ"}
    for name in (".Rprofile", named["R_PROFILE"], named["R_PROFILE_USER"]):
        (folder / name).write_text(HOSTILE)
    for name in (".Renviron", named["R_ENVIRON"], named["R_ENVIRON_USER"]):
        (folder / name).write_text("R_DEFAULT_PACKAGES=NULL\nHOSTILE=yes\n")
    saved = 'vcov <- function(...) stop("saved"); save.image(".RData")'
    subprocess.run(["Rscript", "--vanilla", "-e", saved], cwd=folder, check=True)
    environment = {**os.environ, "HOME": str(folder), "PYTHONPATH": str(ROOT / "scripts")}
    return folder, environment | {name: str(folder / file) for name, file in named.items()}


def run(hostile: tuple[Path, dict[str, str]], *words: str) -> str:
    folder, environment = hostile
    done = subprocess.run(
        [sys.executable, *words], cwd=folder, env=environment, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_files_of_this_test_do_change_an_r_that_reads_them(hostile):
    """Else what follows would show nothing."""
    folder, environment = hostile
    code = "cat(getOption('contrasts')[[1]], getOption('OutDec'), Sys.getenv('HOSTILE'), exists('vcov', globalenv()))"
    for names in (("R_PROFILE_USER", "R_ENVIRON_USER"), ("R_PROFILE", "R_ENVIRON"), ()):
        given = {key: value for key, value in environment.items() if key in names or not key.startswith("R_")}
        done = subprocess.run(["Rscript", "-e", code], cwd=folder, env=given, capture_output=True, text=True)
        assert done.stdout == "contr.sum , yes TRUE", done.stderr


def test_compare_finds_the_model_that_was_asked_for(hostile):
    code = (
        "import json, sys\n"
        "from concord import compare_formula, r, versions\n"
        "made = compare_formula(sys.argv[1], sys.argv[2])\n"
        "print(json.dumps({fit.engine: [fit.loglik, *fit.estimates['estimate']] for fit in made.fits}))\n"
        "print(made.verdict)\n"
        "print(versions.versions()['version']['R option contrasts'])\n"
        "print(r.from_r(r.call('Sys.getenv', 'HOSTILE')), list(r.call('ls', r.interface().globalenv)))\n"
    )
    fits, verdict, contrasts, left = run(hostile, "-c", code, str(TABLE), FORMULA).splitlines()
    python, in_r = (np.array(json.loads(fits)[engine]) for engine in ("statsmodels", "lme4"))
    assert python[0] == pytest.approx(REML, abs=5e-4) and in_r[0] == pytest.approx(REML, abs=5e-4)
    np.testing.assert_allclose(python, in_r, rtol=1e-3, atol=1e-4)
    assert verdict.startswith("agree: ")
    assert (contrasts, left) == ("contr.treatment, contr.poly", "[''] []")


def test_the_command_finds_it(hostile):
    said = run(
        hostile,
        "-m",
        "concord",
        "compare",
        "--settings",
        "default",
        "--details",
        "0",
        "--sweep",
        "0",
        str(TABLE),
        FORMULA,
    )
    assert "-97.17" in said and "-99.37" not in said and "masked" not in said


def test_a_kernel_finds_it_where_rpy2_starts_r_itself(hostile):
    """As the stories do: Concord is imported, then rpy2's own extension starts R; lmer is called in R's own code."""
    folder, environment = hostile
    cell = (
        "import pandas as pd\n"
        "from concord import models\n"
        "from rpy2.robjects import globalenv\n"
        "%load_ext rpy2.ipython\n"
        "%R library(lme4)\n"
        f"table = pd.read_csv({str(TABLE)!r})\n"
        "%R -i table\n"
        f"said = %R c(format(logLik(lmer({FORMULA}, data = table)), digits = 5), getOption('contrasts'))\n"
        "print(*said)\n"
    )
    (folder / ".RData").unlink(missing_ok=True)  # of which no environment variable keeps R
    manager, client = start_new_kernel(kernel_name="python3", cwd=str(folder), env=environment, startup_timeout=90)
    said: list[str] = []
    try:
        client.execute_interactive(
            cell, timeout=90, output_hook=lambda message: said.append(str(message["content"].get("text", message)))
        )
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    assert any("-97.17" in each and "contr.treatment contr.poly" in each for each in said), said


def test_a_kernel_of_lab_reads_nothing_where_concord_comes_after_rpy2_or_never(tmp_path, monkeypatch):
    """The kernel that `make lab` names, in a folder with a workspace that runs a function as it is restored."""
    (tmp_path / ".Rprofile").write_text('options(OutDec = ",")\n')
    (tmp_path / ".Renviron").write_text("HOSTILE=yes\n")
    recipe = re.search(r"^lab:.*\n\t(.*)", (ROOT / "Makefile").read_text(), re.MULTILINE)[1]
    assert recipe.startswith('JUPYTER_PATH="$$PWD/scripts/jupyter')
    saved = '.First <- function() file.create("ran"); vcov <- 1; save.image(".RData")'
    subprocess.run(["Rscript", "--vanilla", "-e", saved], cwd=tmp_path, check=True)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("R_", "PYTHON_SESSION"))}
    environment["PYTHONPATH"] = str(ROOT / "scripts")
    asked = "c(ls(all.names = TRUE), getOption('OutDec'), Sys.getenv('HOSTILE'))"
    cell = f'from rpy2.robjects import r\nprint(*r("{asked}"))'
    said: list[str] = []
    for path in ("", str(ROOT / "scripts" / "jupyter")):
        monkeypatch.setenv("JUPYTER_PATH", path)
        manager, client = start_new_kernel(
            kernel_name="python3", cwd=str(tmp_path), env=environment, startup_timeout=90
        )
        try:
            client.execute_interactive(
                cell, timeout=90, output_hook=lambda message: said.append(message["content"].get("text", ""))
            )
        finally:
            client.stop_channels()
            manager.shutdown_kernel(now=True)
        assert (tmp_path / "ran").exists() == (path == "")
        (tmp_path / "ran").unlink(missing_ok=True)
    lines = [line.split() for line in said if line.strip()]
    assert lines[0][-2:] == [",", "yes"] and {".First", "vcov"} < set(lines[0])  # else the rest would show nothing
    assert not {".First", "vcov", ",", "yes"} & set(lines[1])


def test_a_dask_worker_finds_it(hostile):
    code = (
        "import sys\n"
        "from concord import r\n"
        "from concord.processes.cluster import cluster\n"
        "from concord.engines.engine import LOAD_R\n"
        "from concord.simulation.study import IMPORTED\n"
        "def fitted(model):\n"
        "    from concord.engines import lme4\n"
        "    return lme4.fit(model).loglik\n"
        "if __name__ == '__main__':\n"
        "    from concord import session\n"
        "    session.worker = lambda engine: None\n"  # no other process than the cluster's
        "    model = session.Inquiry(*sys.argv[1:]).model\n"
        "    with cluster(None, 1, 0, LOAD_R, IMPORTED) as client:\n"
        "        print(client.submit(fitted, model).result())\n"
    )
    script = hostile[0] / "worker.py"
    script.write_text(code)
    assert float(run(hostile, str(script), str(TABLE), FORMULA)) == pytest.approx(REML, abs=5e-4)


@pytest.fixture
def changed_options():
    """R's options as a notebook's own R code may set them, until the test is over."""
    code = 'options(contrasts = c("contr.sum", "contr.poly"), na.action = "na.fail", OutDec = ",", warn = 2)'
    room = r.interface().globalenv
    had = r.call("eval", r.call("str2lang", code), room)
    yield
    r.call("options", had)


def test_options_set_in_the_same_session_change_no_fit_and_stay_as_they_were(changed_options, make_model):
    """What a reader sets by %R holds for the reader's own code, before and after, and never for Concord's."""
    frame = pd.read_csv(TABLE).astype({"g": "category", "f": "category"})
    model = make_model(frame, FORMULA)
    in_r, python = lme4.fit(model), mixedlm.fit(model)
    assert in_r.loglik == pytest.approx(REML, abs=5e-4) and python.loglik == pytest.approx(REML, abs=5e-4)
    assert versions.versions()["version"]["R option contrasts"] == "contr.treatment, contr.poly"
    for name, value in {"contrasts": ["contr.sum", "contr.poly"], "na.action": ["na.fail"], "OutDec": [","]}.items():
        assert r.from_r(r.call("getOption", name)) == value


def test_r_is_told_by_concord_what_its_own_defaults_are():
    """So that options that are not set are those of a fresh R, by R's own word."""
    names = [name for name in r.OPTIONS if r.OPTIONS[name] is not None]
    code = f"for (n in c({', '.join(map(repr, names))})) cat(n, deparse(getOption(n)), sep = '\\t', fill = 999)"
    done = subprocess.run(["Rscript", "--vanilla", "-e", code], capture_output=True, text=True, check=True)
    fresh = dict(line.split("\t", 1) for line in done.stdout.splitlines())
    for name in names:
        with r._held_options(r.interface()):
            here = r.from_r(r.call("deparse", r.call("getOption", name)))
        # An option of TRUE or FALSE that R leaves unset is FALSE to it; R 4.5 sets these itself.
        expected = "FALSE" if fresh[name] == "NULL" else fresh[name].removesuffix("L")
        assert here[0].removesuffix("L") == expected, name


def test_lme4_is_found_in_the_user_s_own_library(tmp_path):
    """R's default library of the user is searched, though no environment file is read."""
    version = (
        "".join(r.from_r(r.call("R.Version"))["major"]) + "." + r.from_r(r.call("R.Version"))["minor"][0].split(".")[0]
    )
    platform = r.from_r(r.call("R.Version"))["platform"][0]
    library = tmp_path / "R" / f"{platform}-library" / version
    library.mkdir(parents=True)
    given = {key: value for key, value in os.environ.items() if not key.startswith("R_")}
    code = "from concord import r\nprint(r.from_r(r.call('.libPaths'))[0])\nr.package('lme4')\n"
    done = subprocess.run(
        [sys.executable, "-c", code], env=given | {"HOME": str(tmp_path)}, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == str(library)


@pytest.mark.parametrize(
    ("content", "why"), [("kill -9 $$", "SIGKILL"), ("exit 3", "exit status 3"), (None, "No such")]
)
def test_an_r_that_is_missing_or_dies_as_it_starts_is_one_line(tmp_path, content, why):
    if content:
        (tmp_path / "R").write_text(f"#!/bin/sh\n{content}\n")
        (tmp_path / "R").chmod(0o755)
    variables = {name: value for name, value in os.environ.items() if name != "R_HOME"}
    done = subprocess.run(
        [sys.executable, "-P", "-m", "concord", "translate", "y ~ x + (1 | g)"],
        env=variables | {"PATH": str(tmp_path) + ":/bin:/usr/bin" * bool(content)},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert (done.returncode, done.stdout) == (2, "") and done.stderr.count("\n") == 1
    assert done.stderr.startswith("concord: R does not start (") and "run scripts/setup.sh" in done.stderr
    assert why in done.stderr and ("run it again" in done.stderr) == (why == "SIGKILL")
