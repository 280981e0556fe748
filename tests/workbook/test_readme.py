"""README.md does what it says: every command runs, both examples work, the grid is the one that comes out now.

The commands run in copies of the checkout, so that they neither race with other tests for `build` and `notebooks` nor
write over what the reader has there.
"""

from __future__ import annotations

import csv
import json
import re
import shutil
import socket
import time
import tomllib
import urllib.request
import xml.etree.ElementTree
from contextlib import suppress
from pathlib import Path

import nbformat
import pytest
from jupyter_client import BlockingKernelClient

from concord import vocabulary
from concord.commands import refresh
from concord.data import datasets
from support.checkout import IN_CONDA, Checkout
from support.notebooks import notebook
from support.paths import ROOT
from support.processes import kernels, until
from support.readme import CI, README, blocks, commands
from support.releases import brought

METHOD = 'method = "REML"  # "REML" or "ML"'
FITS = """from concord import models
from concord.agreement import compare
from concord.engines import lme4, mixedlm

model = models.get("dietox-random_intercept", method)
compare(mixedlm.fit(model), lme4.fit(model)).check()"""


# Which command is run by which test: `@runs` beside the test, or the reason here.
NOT_RUN = {
    "conda env create -f environment.yml": "needs conda and its channel; workbook/test_setup.py holds its content",
    "conda activate concord": "needs the environment above; workbook/test_setup.py has what make does inside one",
    "python cluster.py &": "needs Slurm; simulation/test_study.py runs studies on a scheduler with workers of its own",
    "make simulate MODEL=grid REPLICATES=1000 SCHEDULER=tcp://$(hostname):8786": "needs the cluster above",
    "make upgrade-check": "asks the package index; commands/test_upgrade.py upgrades to a package made there",
    'make upgrade-check UPGRADE="statsmodels==0.14.4 scipy<1.16"': "as the one before",
    "make versions": "asks the package index and Debian's mirror; commands/test_versions.py runs what needs neither",
}
RUN: list[str] = []
TINY = "| model | default, REML |\n| --- | --- |\n| made-up | **differ** by 0.5 |"


def runs(*given: str):
    """This test runs these commands of README, which it gets as `given`."""
    RUN.extend(given)
    return pytest.mark.parametrize("given", [given], ids=[given[-1]])


# ---- a copy of the checkout, and commands in it


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory) -> Checkout:
    """With two small notebooks under the names of the real ones."""
    return Checkout(
        tmp_path_factory.mktemp("readme") / "concord",
        dietox=notebook(METHOD, FITS),
        sitka=notebook(METHOD, "print(method)"),
        agreement=_with_grid(),
    )


def _with_grid() -> nbformat.NotebookNode:
    """A front page with a grid of its own."""
    made = notebook("shown = 1", f"from IPython.display import Markdown\n\nMarkdown({json.dumps(TINY)})")
    made.cells[-1].metadata["tags"] = [refresh.TAG]
    return made


@pytest.fixture(scope="module")
def refreshed(checkout) -> Checkout:
    """The checkout after `make refresh`: its notebooks have outputs, and README the grid that one of them shows."""
    checkout.refreshing = checkout.run("make refresh")
    return checkout


# ---- the commands


def test_every_command_is_run_or_has_a_reason_not_to_be():
    assert len(commands()) > 10
    assert sorted([*RUN, *NOT_RUN]) == sorted(commands())


@runs("make reports")
def test_reports_runs_every_notebook_by_both_methods(checkout, given):
    shutil.rmtree(checkout.folder / "build", ignore_errors=True)
    checkout.run(*given)
    reports = ["agreement.html", "code.html", "dietox-ML.html", "dietox-REML.html"]
    reports += ["index.html", "sitka-ML.html", "sitka-REML.html", "words.html"]
    assert checkout.built("reports/*.html") == reports
    index = (checkout.folder / "build" / "reports" / "index.html").read_text()
    assert all(f'href="{name}"' in index for name in reports if name != "index.html")
    for table in ("estimates.csv", "fits.csv"):
        rows = list(csv.DictReader((checkout.folder / "build" / table).open()))
        assert {(row["engine"], row["method"]) for row in rows} == {
            (engine, method) for engine in ("statsmodels", "lme4") for method in vocabulary.METHODS
        }
    assert {row["verdict"] for row in rows} == {"agree"}


@runs("make reports NOTEBOOK=sitka METHOD=ML")
def test_reports_of_one_notebook_and_method(checkout, given):
    shutil.rmtree(checkout.folder / "build", ignore_errors=True)
    checkout.run(*given)
    assert checkout.built("reports/*.html") == ["code.html", "index.html", "sitka-ML.html", "words.html"]
    assert checkout.built("notebooks/*") == ["sitka-ML.ipynb"]


@runs(
    ".venv/bin/dask scheduler --host 127.0.0.1 --port 8786",
    ".venv/bin/dask worker tcp://127.0.0.1:8786 --nthreads 1 --nworkers 2",
    "make reports SCHEDULER=tcp://127.0.0.1:8786 NOTEBOOK=sitka METHOD=ML",
)
def test_reports_on_a_scheduler_with_workers(tmp_path, given):
    checkout = Checkout(tmp_path / "concord", sitka=notebook(METHOD, FITS))
    # A free port in place of the usual one, which may be in use
    port = str(free_port())
    scheduler, worker, reports = [command.replace("8786", port) for command in given]
    with checkout.started(scheduler) as first, checkout.started(worker) as second:
        # A reader starts the batch when the workers have said that they are there
        until(lambda: "Registered to" in second.log.read_text(), 60)
        checkout.run(reports)
        # The notebook ran there: a kernel of this machine's own cluster would have left no trace in their logs
        assert re.search(r"Receive client connection", first.log.read_text())
        assert "Registered to" in second.log.read_text()
    kept = nbformat.read(checkout.folder / "build" / "notebooks" / "sitka-ML.ipynb", as_version=4)
    assert kept.metadata.concord.status == "completed"
    rows = list(csv.DictReader((checkout.folder / "build" / "fits.csv").open()))
    assert {(row["engine"], row["method"], row["verdict"]) for row in rows} == {
        (engine, "ML", "agree") for engine in ("statsmodels", "lme4")
    }


@runs("make refresh")
def test_refresh_fills_the_notebooks(refreshed, given):
    assert "README.md: the grid is written" in refreshed.refreshing
    path = refreshed.folder / "notebooks" / "dietox.ipynb"
    cells = nbformat.read(path, as_version=4).cells
    assert all(cell.execution_count for cell in cells)
    assert "dietox-random_intercept, REML, default settings: agree" in cells[1].outputs[0].data["text/plain"]


@runs("make test TESTS=notebooks/sitka.ipynb")
def test_one_notebook_is_held_against_its_outputs(refreshed, given):
    with (refreshed.folder / "tests" / "test_small.py").open("w") as file:
        file.write("def test_small():\n    pass\n")
    # "or any files of tests"
    refreshed.run(given[0].replace("sitka.ipynb", "sitka.ipynb tests/test_small.py").replace("TESTS=", 'TESTS="') + '"')
    cases = list(xml.etree.ElementTree.parse(refreshed.folder / "build" / "junit.xml").iter("testcase"))
    found = sorted(case.get("classname") for case in cases)
    assert found == ["notebooks.sitka.ipynb"] * 2 + ["tests.test_small"]
    assert not [case for case in cases if list(case)]


@runs("make test")
def test_test_runs_all_there_is_unless_told_which(checkout, given):
    # All would be this test too: only what it would run
    (line,) = [
        line for line in checkout.run(f"make -n {given[0].removeprefix('make ')}").splitlines() if "pytest" in line
    ]
    assert re.search(r"-m pytest -n 4 --dist loadfile .*--durations 10 --junit-xml build/junit.xml \$TESTS$", line)
    options = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["pytest"]["ini_options"]
    assert options["testpaths"] == ["notebooks", "tests", "scripts/nbval-tolerance/tests"]


@runs("make lint")
def test_lint_finds_nothing_and_would(checkout, given):
    assert "All checks passed!" in checkout.run(*given)
    bad = checkout.folder / "scripts" / "bad.py"
    bad.write_text("import os\n")
    try:
        with pytest.raises(AssertionError, match="F401"):
            checkout.run(*given)
    finally:
        bad.unlink()


@runs("make lab")
def test_lab_serves_the_notebooks_and_a_kernel_that_has_the_package(checkout, given, tmp_path):
    port, token = free_port(), "a-token"
    own = {"JUPYTER_PORT": str(port), "JUPYTER_TOKEN": token, "JUPYTER_CONFIG_DIR": str(tmp_path / "config")}
    own |= {"JUPYTER_DATA_DIR": str(tmp_path / "data"), "IPYTHONDIR": str(tmp_path / "ipython")}
    own |= {"JUPYTERLAB_SETTINGS_DIR": str(tmp_path / "s"), "JUPYTERLAB_WORKSPACES_DIR": str(tmp_path / "w")}
    with checkout.started(*given, **own, JUPYTER_RUNTIME_DIR=str(tmp_path / "runtime")) as process:
        server = f"http://127.0.0.1:{port}"

        def ask(path: str, **more) -> tuple[int, bytes]:
            request = urllib.request.Request(server + path, headers={"Authorization": f"token {token}"}, **more)
            direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
            with direct.open(request, timeout=20) as answer:
                return answer.status, answer.read()

        def is_up() -> bool:
            assert process.poll() is None, process.log.read_text()
            try:
                return ask("/lab")[0] == 200
            except OSError:
                return False

        until(is_up, 60)
        # Without a browser there is the address to open
        assert f"{server}/lab?token=" in process.log.read_text()
        listed = [entry["name"] for entry in json.loads(ask("/api/contents")[1])["content"]]
        assert sorted(listed) == ["agreement.ipynb", "dietox.ipynb", "sitka.ipynb"]
        # As JupyterLab does when a notebook is opened
        opened = {"path": "sitka.ipynb", "name": "sitka.ipynb", "type": "notebook", "kernel": {"name": "python3"}}
        kernel = json.loads(ask("/api/sessions", method="POST", data=json.dumps(opened).encode())[1])["kernel"]["id"]
        client = BlockingKernelClient(connection_file=str(tmp_path / "runtime" / f"kernel-{kernel}.json"))
        client.load_connection_file()
        client.start_channels()

        def is_ready() -> bool:
            with suppress(RuntimeError):  # a heart that pauses, as while modules are loaded, is taken for a dead one
                client.wait_for_ready(timeout=20)
                return True
            return False

        try:
            until(is_ready, 60)
            said = []
            code = "import os, concord; print(concord.__file__, os.getcwd())"
            reply = client.execute_interactive(code, timeout=60, output_hook=said.append)
        finally:
            client.stop_channels()
        assert reply["content"]["status"] == "ok"
        (text,) = [message["content"]["text"] for message in said if message["msg_type"] == "stream"]
        assert text.split() == [
            str(checkout.folder / "scripts" / "concord" / "__init__.py"),
            str(checkout.folder / "notebooks"),
        ]
        kernel_folder = str(tmp_path / "runtime")
        assert kernels(kernel_folder)
    until(lambda: not kernels(kernel_folder), 10)


def test_lab_starts_for_root_too():
    recipe = re.search(r"^lab:.*\n\t(.*)", (ROOT / "Makefile").read_text(), re.MULTILINE)[1]
    assert "--allow-root" in recipe.split()


@runs("Rscript --vanilla scripts/export_datasets.R")
def test_every_table_is_what_its_r_package_has(checkout, given):
    tables = [Path("datasets") / id / f"{id}.csv" for id in datasets.catalogue()]
    for table in tables:
        (checkout.folder / table).unlink()
    checkout.run(*given)
    assert [(checkout.folder / table).read_bytes() for table in tables] == [
        (ROOT / table).read_bytes() for table in tables
    ]


@runs("make bench BENCH=judge")
def test_bench_prints_the_ratio_asked_for(tmp_path, given):
    checkout = Checkout(tmp_path / "concord", one=notebook("x = 1", "x"))
    written = checkout.run(*given)
    assert re.search(r"^judge: concord .*, plain .*, ratio [\d.]+.*, goal at most [\d.]+$", written, re.MULTILINE)


@runs("make lock")
def test_lock_calls_its_script(checkout, given):
    # It asks the network for every package: not run, only what it would run
    printed = checkout.run(given[0].replace("make", "make -n"))
    script = printed.splitlines()[-1].split()[-1]
    assert script == "scripts/lock.py" and (ROOT / script).is_file()


@runs("make setup")
def test_setup_has_nothing_to_do_when_all_is_there(checkout, given):
    began = time.monotonic()
    assert re.fullmatch(r"==> ready: .*\n", checkout.run(*given))
    assert time.monotonic() - began < 2


@runs("make help")
def test_help_names_every_target_that_readme_does(checkout, given):
    shown = set(re.findall(r"^  make ([\w-]+)", checkout.run(*given), re.MULTILINE))
    assert {command.split()[1] for command in commands() if command.startswith("make ")} <= shown


@pytest.fixture(scope="module")
def asked(tmp_path_factory) -> Checkout:
    """With the notebook of a reader's own model, and no other."""
    return Checkout(tmp_path_factory.mktemp("own") / "concord", compare=ROOT / "notebooks" / "compare.ipynb")


@runs('make compare DATA=datasets/sleepstudy/sleepstudy.csv FORMULA="Reaction ~ Days + (1 + Days | Subject)"')
def test_a_readers_own_model_gets_a_verdict_and_a_report(asked, given):
    assert "sleepstudy-model, REML, default settings: agree" in asked.run(*given)
    made = ["estimates.csv", "fits.csv", "quantities.csv", "sleepstudy-REML.html", "sleepstudy-REML.ipynb"]
    assert asked.built("compare/*") == made


@runs(
    '.venv/bin/python -m concord compare datasets/sitka/sitka.csv "size ~ Time + (1 | tree)" '
    "--method both --sweep 0 --output build/verdicts"
)
def test_the_command_writes_what_readme_says_where_it_says(asked, given):
    # The make command above has the details; commands/test_compare.py has both methods.
    said = asked.run(f"{given[0]} --details 0".replace("both", "ML"))
    assert "sitka-model, ML, default settings: agree" in said
    written = {path.name for path in (asked.folder / "build" / "verdicts").iterdir()}
    assert written == {"sitka-ML.html", "sitka-ML.ipynb", "estimates.csv", "fits.csv", "quantities.csv"}


@runs(
    '.venv/bin/python -m concord translate "y ~ x + (1 + x | g)"',
    '.venv/bin/python -m concord translate "size ~ Time + (1 | tree)" datasets/sitka/sitka.csv --method ML',
)
def test_a_model_is_translated_with_a_table_and_without(asked, given):
    bare, known = (asked.run(command) for command in given)
    assert 'smf.mixedlm("y ~ x", data, groups=data["g"], re_formula="~1 + x")' in bare and "library(lme4)" in bare
    assert 'sitka <- read.csv("sitka.csv"' in known and "REML = FALSE" in known and "reml=False" in known


@runs(
    """.venv/bin/python -m concord explain 'smf.mixedlm("size ~ Time", df, groups="tree", """
    """vc_formula={"t": "0 + Time"})' datasets/sitka/sitka.csv"""
)
def test_a_call_is_explained(asked, given):
    # tests/test_explanation.py has the comparison
    said = asked.run(f"{given[0]} --no-compare")
    assert "size ~ Time + (0 + Time | tree)\n" in said and "size ~ Time + (1 | tree) + (0 + Time | tree)\n" in said


@runs("make reports NOTEBOOK=inference MODEL=pastes-nested METHOD=ML")
def test_a_notebook_is_run_for_the_model_that_is_named(tmp_path, given):
    taking = notebook('method = "REML"\nmodel = "dietox-random_slope"', "print(model, method)")
    checkout = Checkout(tmp_path / "concord", inference=taking)
    checkout.run(*given)
    (made,) = checkout.built("notebooks/*")
    assert made == "inference-pastes-nested-ML.ipynb"
    kept = nbformat.read(checkout.folder / "build" / "notebooks" / made, as_version=4)
    assert kept.cells[-1].outputs[0].text == "pastes-nested ML\n"


@runs(
    "make simulate MODEL=sleepstudy-random_slope REPLICATES=200",
    ".venv/bin/python -m concord simulate grid --grid grid.toml --replicates 100 --settings default",
)
def test_simulations_report_how_often_and_go_on(checkout, given):
    # Fewer than a reader would take
    model, grid = given[0].replace("REPLICATES=200", "REPLICATES=2"), given[1].replace("100", "1") + " --workers 0"
    assert re.search(r"^statsmodels +default", checkout.run(model), re.MULTILINE)
    factors = next(block for block in blocks("toml") if "groups" in block).splitlines()
    assert [line.partition(" = ")[0] for line in factors] == ["groups", "ratio", "scale", "shift"]
    (checkout.folder / "grid.toml").write_text("\n".join([factors[0], factors[2]]))
    assert "4 scenarios, by REML: 4 replicates, seed 1" in checkout.run(grid)


@runs(
    ".venv/bin/python -m concord check concord.toml --junit-xml junit.xml --summary summary.md --record baseline.json"
)
def test_a_teams_models_are_checked_and_kept_for_the_next_time(tmp_path, given):
    checkout = Checkout(tmp_path / "concord")
    (checkout.folder / "concord.toml").write_text(next(block for block in blocks("toml", CI) if "[[models]]" in block))
    (checkout.folder / "data").mkdir()
    shutil.copy(ROOT / "datasets/sitka/sitka.csv", checkout.folder / "data" / "growth.csv")
    shutil.copy(ROOT / "datasets/dietox/dietox.csv", checkout.folder / "data" / "pigs.csv")
    checkout.run(*given)
    cases = list(xml.etree.ElementTree.parse(checkout.folder / "junit.xml").iter("testcase"))
    assert len(cases) == 3 and not [case for case in cases if list(case.iter("failure"))]
    assert "python short" in (checkout.folder / "summary.md").read_text()
    assert json.loads((checkout.folder / "baseline.json").read_text())


@runs("make clean")
def test_clean_removes_what_was_built_and_keeps_the_set_up(checkout, given):
    (checkout.folder / "build" / "reports").mkdir(parents=True, exist_ok=True)
    (checkout.folder / "scripts" / "__pycache__").mkdir(exist_ok=True)
    before = (checkout.folder / "notebooks" / "sitka.ipynb").read_bytes()
    checkout.run(*given)
    assert not (checkout.folder / "build").exists() and not (checkout.folder / "scripts" / "__pycache__").exists()
    assert IN_CONDA or (checkout.folder / ".venv" / "concord-setup").is_file()
    assert (checkout.folder / "notebooks" / "sitka.ipynb").read_bytes() == before


@runs("make certify MODEL=sitka-random_slope")
def test_certify_proves_one_model_again_and_leaves_the_others(checkout, given):
    path = checkout.folder / "datasets" / "sitka" / "reference.json"
    before = json.loads(path.read_text())
    before["random_slope"]["REML"]["loglik"] = "0"
    path.write_text(json.dumps(before))
    said = checkout.run(*given)
    after, committed = json.loads(path.read_text()), json.loads((ROOT / "datasets/sitka/reference.json").read_text())
    assert "sitka-random_slope, REML: logLik -62.48344456196199" in said
    for name, methods in committed.items():
        for method, record in methods.items():
            assert after[name][method]["loglik"] == record["loglik"]
            assert after[name][method]["estimates"] == record["estimates"]


@runs("make versions RESULTS=elsewhere")
def test_versions_takes_the_results_of_another_machine(checkout, given):
    brought(checkout.folder / "elsewhere", "old.json", "1.1-9", gap=14.2)
    brought(checkout.folder / "elsewhere", "new.json", "1.1-37")
    said = checkout.run(*given)
    assert "lme4 1.1-9 was short by 14 (silent); 1.1-37 is at the optimum" in said and "lane" not in said
    rows = list(csv.DictReader((checkout.folder / "notebooks" / "versions" / "runs.csv").open()))
    assert [row["lme4"] for row in rows] == ["1.1-9", "1.1-37"]


# ---- the grid, the links, the first screen


def test_refresh_takes_the_grid_from_the_front_page(refreshed):
    assert refresh.written((refreshed.folder / "README.md").read_text(encoding="utf-8")) == TINY


def test_refresh_writes_the_grid_and_nothing_else(refreshed):
    def around(text: str) -> str:
        return text.replace(refresh.written(text), "")

    assert around((refreshed.folder / "README.md").read_text(encoding="utf-8")) == around(README)
