"""Discovering, checking, executing and refreshing notebooks: tiny ones, without R."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import nbformat
import pytest

from concord.display.media import MEDIA_TYPE
from concord.errors import InputError
from concord.reports import execution as execution_module
from concord.reports import notebooks, tidying
from support.notebooks import execute, notebook
from support.processes import kernels, until

pytestmark = pytest.mark.usefixtures("scratch")

# Parameters


def test_a_notebooks_parameters_are_the_literals_of_its_tagged_cell():
    source = """
        method = "REML"  # or "ML"
        level: float = 0.95
        start = [1, -2.5]
        today = compute()
    """
    assert notebooks.parameters(notebook(source)) == {"method": "REML", "level": 0.95, "start": [1, -2.5], "today": ...}


def test_a_notebook_without_the_cell_has_no_parameters():
    plain = notebook("method = 'REML'")
    plain.cells[0].metadata["tags"] = []
    assert notebooks.parameters(plain) == {}


def test_a_parameters_cell_that_is_not_python_is_an_error_that_names_the_line():
    with pytest.raises(InputError, match="line 2"):
        notebooks.parameters(notebook("a = 1\nb = = 2"))


def test_imports_are_told_as_they_are_written():
    """Once each, of whole modules and of names in them, and extensions, which are modules too."""
    cells = [
        "import a.b as c\n%load_ext d.e\n%R library(f)",
        "from g import h\nimport a.b as c; i = 1",
        "%%R\nimport <- 1",
    ]
    assert notebooks.imports(notebook(*cells)) == ["import a.b as c", "import d.e", "from g import h"]


OWN = {"method": "REML", "level": 0.95, "count": 3, "quick": False, "terms": ["a"], "pair": (1, 2), "seed": None}


@pytest.mark.parametrize(
    "given",
    [{"method": "ML"}, {"level": 1}, {"count": 4}, {"quick": True}, {"terms": []}, {"pair": [3, 4]}, {"seed": "x"}, {}],
)
def test_a_value_of_the_defaults_type_is_taken(given):
    notebooks.check(given, OWN, "tiny")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"metod": "ML"}, "tiny has no parameter `metod`: did you mean `method`"),
        ({"zzz": 1}, "tiny has no parameter `zzz`: it has method, level"),
        ({"method": "reml"}, "`method` is 'reml': give one of REML, ML"),
        ({"level": "0.9"}, "`level` is '0.9', of type str: give a float, like its default 0.95"),
        ({"level": True}, "`level` is True"),
        ({"count": 3.5}, "`count` is 3.5, of type float: give a int"),
        ({"count": True}, "`count` is True"),
        ({"quick": 1}, "`quick` is 1"),
        ({"pair": 3}, "`pair` is 3, of type int: give a list"),
        ({"seed": (1, 2)}, "`seed` is a tuple, which a notebook cannot take"),
        ({"seed": Path(".")}, "`seed` is a PosixPath"),
    ],
)
def test_a_wrong_parameter_is_one_clear_error(given, message):
    with pytest.raises(InputError) as error:
        notebooks.check(given, OWN, "tiny")
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_numpy_integer_is_refused_because_papermill_would_write_it_as_text():
    import numpy as np

    with pytest.raises(InputError, match="int64, which a notebook cannot take"):
        notebooks.check({"count": np.int64(3)}, OWN, "tiny")


# Finding and reading


def test_notebooks_are_discovered_by_name_in_order(tmp_path):
    for name in ("b", "a", ".hidden"):
        nbformat.write(notebook("1"), tmp_path / f"{name}.ipynb")
    assert list(notebooks.discover(tmp_path)) == ["a", "b"]


def test_an_empty_folder_is_an_error(tmp_path):
    with pytest.raises(InputError, match="no notebook"):
        notebooks.discover(tmp_path)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", '{"nbformat": 4, "nbformat_minor": 5, "metadata": {}}', "\udcff"]
)
def test_a_file_that_is_no_notebook_is_one_clear_error(tmp_path, text):
    path = tmp_path / "broken.ipynb"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(InputError) as error:
        notebooks.read(path)
    assert str(path) in str(error.value) and "\n" not in str(error.value)


def test_ids_that_a_notebook_lacks_are_the_same_at_every_reading(tmp_path):
    path = tmp_path / "old.ipynb"
    old = json.loads(nbformat.writes(notebook("1", "2")))
    old["nbformat_minor"] = 4
    for cell in old["cells"]:
        del cell["id"]
    path.write_text(json.dumps(old))
    first, second = ([cell.id for cell in notebooks.read(path).cells] for _ in range(2))
    assert first == second and len(set(first)) == 2


# Executing


def test_a_notebook_runs_with_the_parameters_given_and_one_thread_for_linear_algebra():
    execution, executed = execute(
        'method = "REML"',
        "import os; print(method, [os.environ[k] for k in ('OMP_NUM_THREADS', 'MKL_NUM_THREADS')])",
        given={"method": "ML"},
    )
    assert (execution.status, execution.error, execution.cell) == ("completed", "", None)
    assert executed.cells[-1].outputs[0].text == "ML ['1', '1']\n"
    assert not kernels()


def test_an_executed_notebook_keeps_no_claim_of_papermills():
    _, executed = execute("1", "2")
    assert "papermill" not in executed.metadata
    assert all("papermill" not in cell.metadata and "execution" not in cell.metadata for cell in executed.cells)


def test_a_failing_cell_is_named_as_counted_in_the_notebook_as_written():
    execution, executed = execute("a = 1", "'fine'", "raise ValueError('no\\nluck')", "'never'", given={"a": 2})
    assert (execution.status, execution.cell, execution.anchor) == ("failed", 3, "cell-2")
    assert execution.error == "ValueError: no\nluck"
    banner = executed.cells[0]
    assert 'href="#cell-id=cell-2"' in banner.source and "ValueError: no / luck" in banner.source
    assert sum(output.output_type == "error" for cell in executed.cells for output in cell.get("outputs", [])) == 1


def test_an_error_that_is_tagged_as_meant_is_no_failure():
    execution, executed = execute("1", "raise ValueError('meant')", tags=("raises-exception",))
    assert execution.status == "completed"
    assert len(executed.cells) == 2


def test_a_notebook_that_ends_itself_early_did_not_complete():
    execution, _ = execute("1", "import sys; sys.exit(0)", "'never'")
    assert (execution.status, execution.cell) == ("failed", 2)


def test_a_notebook_that_takes_too_long_is_stopped_and_says_so():
    execution, executed = execute("1", "print('so far'); import time; time.sleep(60)", "'never'", timeout=5)
    assert (execution.status, execution.cell) == ("timed out", 2)
    assert 5 <= execution.seconds < 50
    guilty = executed.cells[2]
    assert guilty.outputs[0].text == "so far\n"
    assert (guilty.outputs[1].output_type, guilty.outputs[1].evalue) == ("error", "stopped after 5 s")
    assert "ran out of time in" in executed.cells[0].source
    assert executed.cells[3].execution_count is None
    assert not kernels()


def test_the_time_is_that_of_the_whole_notebook():
    sleeps = ["import time; time.sleep(1.5)"] * 4
    execution, _ = execute("1", *sleeps, timeout=3.5)
    assert execution.status == "timed out" and execution.cell in (2, 3, 4)


def test_a_killed_kernel_is_told_from_a_failure():
    execution, executed = execute("1", "import os; os.kill(os.getpid(), 9)", "'never'")
    assert (execution.status, execution.cell) == ("died", 2)
    assert "DeadKernelError" in executed.cells[2].outputs[-1].ename
    assert "died in" in executed.cells[0].source


def test_an_unknown_kernel_is_a_failure_that_names_it():
    lost = notebook("1")
    lost.metadata.kernelspec["name"] = "fortran77"
    execution = execution_module.execute(nbformat.writes(lost))
    assert execution.status == "failed" and "fortran77" in execution.error


def test_a_stopped_execution_returns_and_leaves_no_process():
    threading.Timer(2, execution_module.stop, [["mine"]]).start()
    execution, _ = execute("1", "import time; time.sleep(60)", token="mine")
    assert execution.status == "died" and execution.seconds < 10
    assert not kernels()


def test_a_kernel_does_not_outlive_a_killed_parent():
    source = nbformat.writes(notebook("1", "import time; time.sleep(60)"))
    code = f"from concord.reports import execution; execution.execute({source!r})"
    parent = subprocess.Popen([sys.executable, "-c", code])
    until(lambda: kernels())
    time.sleep(1.5)  # the kernel looks for its parent from its start-up on
    parent.kill()
    parent.wait()
    until(lambda: not kernels())


def test_each_cell_is_told_as_soon_as_it_is_done_and_the_failing_one_by_the_execution():
    """Told in order, with outputs and the index as written, before the next cell runs; the error by name and text."""
    told = []

    def done(cell, index):
        printed = "".join(output.text for output in cell.outputs if output.output_type == "stream")
        told.append((index, cell.id, printed, threading.get_ident()))
        (folder / f"told-{index}").touch()

    folder = Path(tempfile.mkdtemp())
    seen = f"from pathlib import Path; print([path.name for path in sorted(Path({str(folder)!r}).iterdir())])"
    error = "class SourceError(Exception): pass\nraise SourceError('pigs.csv: no such file')"
    execution, _ = execute("a = 1", "", seen, error, "'never'", given={"a": 2}, done=done)
    assert told == [(0, "cell-0", "", threading.get_ident()), (2, "cell-2", "['told-0']\n", threading.get_ident())]
    assert (execution.status, execution.error, execution.cell) == ("failed", "SourceError: pigs.csv: no such file", 4)


@pytest.mark.parametrize(
    "error", [ValueError("mine"), execution_module.DeadKernelError("mine"), KeyboardInterrupt("mine")]
)
def test_what_the_caller_raises_while_cells_are_told_ends_the_kernel_and_is_raised(error):
    """It is neither swallowed nor taken for a failure of the notebook."""

    def done(cell, index):
        raise error

    with pytest.raises(type(error), match="mine") as raised:
        execute("1", "import time; time.sleep(60)", done=done)
    assert raised.value is error
    assert not kernels()


# Tidying and refreshing


def test_pieces_of_printed_output_are_joined_between_displayed_outputs():
    def stream(name, text):
        return nbformat.v4.new_output("stream", name=name, text=text)

    shown = nbformat.v4.new_output("display_data", {"text/plain": "table"})
    node = notebook("1")
    node.cells[0].outputs = [
        stream("stdout", "a"),
        stream("stderr", "w"),
        stream("stdout", "b"),
        shown,
        stream("stderr", "x"),
        stream("stdout", "c"),
    ]
    tidying.merge_streams(node)
    assert [output.get("text", "table") for output in node.cells[0].outputs] == ["ab", "w", "table", "c", "x"]


def test_paths_of_this_machine_become_plain():
    warning = "/home/me/.venv/lib/python3.11/site-packages/x/y.py:3: W\n  /tmp/a/ipykernel_17/209.py:1: W"
    assert tidying.plain_paths(warning) == "site-packages/x/y.py:3: W\n  ipykernel/209.py:1: W"


@pytest.mark.parametrize("part", ["x", "/", "/ipykernel_1", "/site-packages", "'", "\x1b["])
def test_no_printed_line_takes_long_to_tidy(part):
    line = part * (300_000 // len(part))
    began = time.process_time()
    assert tidying.plain_paths(tidying.ANSI.sub("", line)) and time.process_time() - began < 2


VOLATILE = """
    import warnings
    from IPython.display import display
    from concord.display import records
    print("a", end="", flush=True); warnings.warn("from here"); print("b", flush=True)
    display({"text/plain": "table", records.MEDIA_TYPE: {"estimates": [], "fits": []}}, raw=True)
"""


def test_refreshing_twice_gives_no_difference(tmp_path, scratch):
    path = tmp_path / "tiny.ipynb"
    nbformat.write(notebook("method = 'REML'", VOLATILE, "1 + 1"), path)
    path.chmod(0o640)
    assert execution_module.refresh(path).status == "completed"
    first = path.read_text()
    assert execution_module.refresh(path).status == "completed"
    assert path.read_text() == first
    assert path.stat().st_mode & 0o777 == 0o640
    assert [cell.execution_count for cell in notebooks.read(path).cells] == [1, 2, 3]
    for volatile in ("papermill", 'execution"', "iopub", MEDIA_TYPE, '"version": "', "/tmp/", "ipykernel_"):
        assert volatile not in first
    assert not list(scratch.iterdir())
    assert "table" in first and "from here" in first
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("cell", ["1/0", "import os; os._exit(1)"])
def test_a_failed_refresh_leaves_the_file_untouched(tmp_path, cell):
    path = tmp_path / "tiny.ipynb"
    nbformat.write(notebook("1", cell), path)
    before = path.read_bytes(), path.stat().st_mtime_ns
    assert execution_module.refresh(path).status in ("failed", "died")
    assert (path.read_bytes(), path.stat().st_mtime_ns) == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    "code",
    [
        "raise MemoryError",
        "held = [bytearray(10**9) for _ in range(2)]",
        "import numpy; numpy.zeros(10**14)",
        "raise ImportError('Advice.\\nOriginal error was: libx.so: failed to map segment from shared object')",
    ],
)
def test_memory_that_runs_out_in_a_kernel_is_told_as_that(code):
    limit = "import resource; resource.setrlimit(resource.RLIMIT_AS, (2 * 10**9, resource.RLIM_INFINITY))\n"
    result, _ = execute(limit + code)
    assert result.status == "failed" and result.unusable
    assert result.error.startswith("MemoryError: memory ran out") and "\n" not in result.error
