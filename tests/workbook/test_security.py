"""A formula is data, never code, and so are column names, levels, TOML and parameters: through every entrance, in both
languages, what would run a command, read a file or leave a mark does none of it.

Every payload leaves a mark where it is evaluated as what it is written in; the first test shows that it does.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest

from concord import listing, r
from concord.commands.cli import main
from concord.data import datasets
from concord.data.columns import PreparationError
from concord.data.datasets import DatasetError
from concord.engines.engine import engines
from concord.errors import InputError
from concord.models import matrices
from concord.models import model as models
from concord.models.syntax import FormulaError
from concord.reports import execution, notebooks
from concord.session import Inquiry
from support.makefile import stand_in
from support.paths import ROOT

# One place for all, since an engine's process may stand in another folder, and one name for all processes of a run.
MARK = Path(tempfile.gettempdir()) / f"mark-{os.environ.get('PYTEST_XDIST_TESTRUNUID', os.getpid())}"
# Each is an expression in its language.
R_CODE = [text.format(MARK) for text in ("file.create('{}')", "system('touch {}')", "base::file.create('{}')")]
PYTHON_CODE = [text.format(MARK) for text in ("open('{}', 'w')", "__import__('os').system('touch {}')")]
SHELL = [text.format(MARK) for text in ("$(touch {})", "`touch {}`", "; touch {}")]
READING = ["readLines('/etc/passwd')", "scan('/etc/passwd', '')", "open('/etc/passwd').read()"]
CODE = [*R_CODE, *PYTHON_CODE, *READING]
# Where in a formula it may stand: y, x and g are columns.
PLACES = [
    "CODE",
    "CODE ~ x + (1 | g)",
    "y ~ CODE + (1 | g)",
    "y ~ x + (CODE | g)",
    "y ~ x + (1 | CODE)",
    "y ~ I(CODE) + (1 | g)",
    "y ~ x + (1 | g); CODE",
    "y ~ x + (1 | g)\nCODE",
    "y ~ poly(x, CODE) + (1 | g)",
    "y ~ scale(x, center = CODE) + (1 | g)",
    "y ~ x + offset(CODE) + (1 | g)",
    "y ~ x[CODE] + (1 | g)",
    "y ~ (function() CODE)() + (1 | g)",
    "y ~ x %in% CODE + (1 | g)",
    "{CODE; y} ~ x + (1 | g)",
    "y ~ `CODE` + (1 | g)",
    "y ~ x + (1 | g) # CODE",
    "y ~ if (TRUE) CODE + (1 | g)",
    "y ~ x + log(CODE) + (1 | g)",
    "y ~ x + factor(CODE) + (1 | g)",
    "y ~ 'CODE' + (1 | g)",
    "y ~ x$CODE + (1 | g)",
]


def table(**columns) -> pd.DataFrame:
    rng = np.random.default_rng(8)
    g = np.repeat(np.arange(8), 5)
    return pd.DataFrame({"y": rng.normal(size=8)[g] + rng.normal(size=40), "x": rng.normal(size=40), "g": g} | columns)


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """A folder to be in; and no test may leave a mark unless it takes it away itself."""
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    left = MARK.exists()
    MARK.unlink(missing_ok=True)
    assert not left


@pytest.mark.parametrize("code", [*R_CODE, *PYTHON_CODE])
def test_each_payload_leaves_its_mark_where_it_is_run(code):
    """Evaluated as R or as Python, as a careless tool would."""
    if code in R_CODE:
        r.call("eval", r.call("str2lang", code))
    else:
        eval(code)
    assert MARK.exists()
    MARK.unlink()


@pytest.mark.parametrize("place", PLACES)
def test_no_formula_runs_anything(place):
    """What stands in a formula and is neither a column nor a function of the list is refused before it is evaluated."""
    for code in CODE:
        text = place.replace("CODE", code.replace("'", '"') if "'CODE'" in place else code)
        try:
            Inquiry(table(), text)
        except (FormulaError, PreparationError) as error:
            assert "\n" not in str(error) and "root:" not in str(error)
        else:
            assert place.endswith("# CODE")  # a comment does not belong to the formula


@pytest.mark.parametrize("code", [*R_CODE, *PYTHON_CODE])
@pytest.mark.parametrize("quote", ["{}", "x'); {}; ('", 'x"); {}; ("', "`); {}; (`", "') + {} + Q('", "{{{}}}"])
def test_no_name_of_a_column_is_run_and_the_fits_are_those_of_a_plain_name(code, quote, plain):
    """In every place of a formula, and in the code that is shown, it is a name; both engines' numbers are the same."""
    name = quote.format(code)
    written = "`" + name.replace("\\", "\\\\").replace("`", "\\`") + "`"
    frame = table().rename(columns={"x": name})
    try:
        made = Inquiry(frame, f"y ~ {written} + (1 | g)")
    except (FormulaError, PreparationError) as error:
        assert "\n" not in str(error)
        return
    for engine in ("statsmodels", "lme4"):
        assert engines()[engine].fit(made.model).loglik == pytest.approx(plain[engine], abs=1e-9)
    assert made.listings.python and made.listings.r


@pytest.fixture(scope="module")
def plain():
    model = Inquiry(table(), "y ~ x + (1 | g)").model
    return {engine: engines()[engine].fit(model).loglik for engine in ("statsmodels", "lme4")}


@pytest.mark.parametrize("code", [*R_CODE, *PYTHON_CODE])
def test_no_level_and_no_group_is_run(code):
    levels = np.where(np.arange(40) % 2, code, "other")
    groups = [f"{code}{number}" for number in np.repeat(np.arange(8), 5)]
    made = Inquiry(table(f=levels, g=groups), "y ~ f + (1 | g)")
    assert made.compare().verdict.word == "agree" and made.listings.python


def test_the_code_that_is_shown_for_hostile_names_runs_as_what_it_says(here):
    """Names, levels and the file's own name are quoted in it: run, it fits the model and does nothing else."""
    name, level = f"x'); {PYTHON_CODE[0]}; ('", f'"); {R_CODE[0]}; ("'
    frame = table(f=np.where(np.arange(40) % 2, level, "other")).rename(columns={"x": name})
    frame.to_csv(here / "it's $(touch x).csv", index=False)
    made = Inquiry(here / "it's $(touch x).csv", f"y ~ `{name}` + f + (1 | g)")
    shown = listing.Listings(made.model, made.source)
    (here / "shown.py").write_text(shown.python)
    (here / "shown.R").write_text(shown.r)
    for command in ([sys.executable, "shown.py"], ["Rscript", "--vanilla", "shown.R"]):
        done = subprocess.run(command, cwd=here, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("code", [R_CODE[0], PYTHON_CODE[1], *SHELL])
@pytest.mark.parametrize("entrance", ["arguments", "environment"])
def test_no_shell_and_no_make_runs_what_is_given_to_compare(code, entrance, here):
    """Data and formula are text for make and for the shell behind it."""
    make_code = code.replace("$(touch", "$(shell touch")
    given = {"DATA": f"{make_code}.csv", "FORMULA": f"y ~ {make_code} + (1 | g)", "OUTPUT": str(here / "out")}
    arguments = [f"{name}={value}" for name, value in given.items()] if entrance == "arguments" else []
    environment = os.environ | (given if entrance == "environment" else {})
    command = ["make", "-C", str(ROOT), *arguments]
    # A recipe gets all of them in its environment, whichever it is; what the one for compare holds is printed
    done = subprocess.run([*command, "help"], cwd=here, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    printed = subprocess.run([*command, "-n", "compare"], env=environment, capture_output=True, text=True)
    assert '"$DATA" "$FORMULA"' in printed.stdout and code not in printed.stdout


def test_no_variable_of_the_makefile_is_run(here):
    """Each that there is, and one that there is not, as an argument and in the environment; by all targets at once."""
    text = (ROOT / "Makefile").read_text()
    lower = re.findall(r"\$\((\w+)\)|^override (\w+) :=|foreach (\w+)", text, re.MULTILINE)
    named = {name for names in lower for name in names if name} | set(re.findall(r"\b[A-Z][A-Z_]+\b", text))
    variables = sorted(named - {"IFS"} | {"UNKNOWN", "SHELL"})  # that is the shell's, and make will not begin with it
    assert {"PRE", "DATA", "PYTHON", "CONDA_PREFIX", "WITH_BROWSER", "OMP_NUM_THREADS", "name", "values"} <= set(
        variables
    )
    make = stand_in(here)
    targets = [target for target in re.findall(r"^([a-z-]+):.*## ", text, re.MULTILINE) if target != "clean"]
    plain = make(*targets, "DATA=a.csv", "FORMULA=y ~ x", "MODEL=m")
    hostile = {name: f'$(shell touch {MARK})$$(touch {MARK})`touch {MARK}`"; touch {MARK}; "\'' for name in variables}
    conda = {name: hostile.pop(name) for name in ("CONDA_PREFIX", "CONDA_DEFAULT_ENV")}
    printed = [
        make(*targets, *(f"{name}={value}" for name, value in hostile.items())),
        make(*targets, environment=hostile | {"DATA": "a.csv", "MODEL": "m"}),
    ]
    with pytest.raises(subprocess.CalledProcessError):  # there is no Python of that name
        make("-k", *targets, *(f"{name}={value}" for name, value in conda.items()))
    with pytest.raises(subprocess.CalledProcessError):
        make("-k", *targets, environment=conda)
    assert len(targets) > 12 and all(len(text.splitlines()) >= len(plain.splitlines()) for text in printed)


def test_the_command_runs_nothing_that_is_given_to_it(here):
    """Data and formula are text for the command line and for the notebook: whichever ran would leave its mark."""
    for code in (R_CODE[0], PYTHON_CODE[1]):
        given = " ".join([code, *SHELL])
        assert main(["compare", f"{given}.csv", f"y ~ {given} + (1 | g)", "--output", str(here / "out")]) == 2
    assert not (here / "out").exists()


@pytest.mark.parametrize("code", [*R_CODE, *PYTHON_CODE])
def test_no_parameter_of_a_notebook_is_run(code):
    """papermill writes them into the notebook as literals: the cell gets the text."""
    cells = [("data = ''", ["parameters"]), ("print(repr(data))", [])]
    node = nbformat.v4.new_notebook()
    for source, tags in cells:
        node.cells.append(nbformat.v4.new_code_cell(source, metadata={"tags": tags}))
    value = f'\'; {code}; \'"""\n{code}\n#'
    notebooks.check({"data": value}, notebooks.parameters(node), "hostile")
    done = execution.execute(nbformat.writes(node), {"data": value})
    assert done.status == "completed"
    (shown,) = [o.text for c in nbformat.reads(done.notebook, 4).cells for o in c.get("outputs", ())]
    assert shown.strip() == repr(value)


def test_no_default_of_a_notebooks_parameter_is_run_to_read_it():
    node = nbformat.v4.new_notebook()
    node.cells.append(nbformat.v4.new_code_cell(f"x = {PYTHON_CODE[0]}", metadata={"tags": ["parameters"]}))
    assert notebooks.parameters(node) == {"x": ...}
    with pytest.raises(InputError):
        notebooks.check({"y": 1}, notebooks.parameters(node), "hostile")


@pytest.mark.parametrize("code", CODE)
def test_no_formula_in_a_toml_is_run(code, here, monkeypatch):
    """A dataset of somebody else's is read, and its formula is refused like any other."""
    place = here / "guest"
    place.mkdir()
    source = ROOT / "datasets" / "sitka"
    (place / "guest.csv").write_bytes((source / "sitka.csv").read_bytes())
    toml = (source / "dataset.toml").read_text("utf-8")
    escaped = code.replace("\\", "\\\\").replace('"', '\\"')
    (place / "dataset.toml").write_text(
        toml.replace("size ~ Time + (1 | tree)", f"size ~ {escaped} + (1 | tree)"), "utf-8"
    )
    monkeypatch.setenv("CONCORD_DATASETS", str(here))
    with pytest.raises((FormulaError, DatasetError)):
        matrices.design(models.get("guest-random_intercept").formula, datasets.load("guest").frame)


# Modules of the library's, of others' and of R's that a start of Concord, of its engines or of its notebooks asks for.
SHADOWED = (
    "argparse json socket numpy pandas scipy statsmodels lazy_loader rpy2 pyarrow tqdm IPython ipykernel papermill"
)


def test_nothing_in_the_folder_is_run_by_a_start_there(here):
    """A file tqdm.py or .Rprofile of whoever made the folder, by the command, its engines' processes and its R."""
    table().to_csv(here / "a.csv", index=False)
    (here / "concord.toml").write_text('[[models]]\nname = "a"\ndata = "a.csv"\nformula = "y ~ x + (1 | g)"\n')
    for name in [*SHADOWED.split(), "sitecustomize", "usercustomize"]:
        (here / f"{name}.py").write_text(PYTHON_CODE[0])
    (here / ".Rprofile").write_text(R_CODE[0])
    (here / ".Renviron").write_text(f"R_PROFILE_USER={here / '.Rprofile'}\n")
    saved = f'.First <- function() file.create("{MARK}"); save(.First, file = ".RData")'
    subprocess.run(["Rscript", "--vanilla", "-e", saved], cwd=here, check=True)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONSAFEPATH"}
    words = [sys.executable, "-m", "concord", "check"]
    done = subprocess.run(words, cwd=here, env=environment, capture_output=True, text=True)
    assert "1 of 1 comparisons" in done.stdout, done.stderr
