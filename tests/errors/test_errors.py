"""The base of every error that an input causes: exit status 2 follows from it, also out of a notebook's kernel."""

from __future__ import annotations

import importlib
import inspect
import pkgutil

import pytest

import concord
from concord.commands.cli import main
from concord.errors import InputError
from support.notebooks import execute

# What a person's table, formula, file or option causes; everything else that the package raises has another base.
BY_INPUT = {
    "CallError",
    "DatasetError",
    "FormulaError",
    "InputError",
    "LikelihoodError",
    "ModelError",
    "PreparationError",
    "ReferenceError",
    "SourceError",
    "UnusableEngine",
}


def errors() -> dict[str, type[Exception]]:
    found = {}
    for module in pkgutil.walk_packages(concord.__path__, "concord."):
        if not module.name.endswith("__main__"):
            members = inspect.getmembers(importlib.import_module(module.name), inspect.isclass)
            found |= {name: each for name, each in members if issubclass(each, Exception) and "concord" in repr(each)}
    return found


def test_every_error_of_an_input_and_no_other_has_the_base():
    found = errors()
    assert len(found) > 20
    assert {name for name, each in found.items() if issubclass(each, InputError)} == BY_INPUT


@pytest.mark.parametrize(
    ("raised", "unusable"),
    [
        ("from concord.data.source import SourceError\nraise SourceError('t.csv: line 3: odd')", True),
        (
            "from concord.errors import InputError\nclass Later(InputError): ...\nraise Later('t.csv: line 3: odd')",
            True,
        ),
        ("class SourceError(ValueError): ...\nraise SourceError('t.csv: line 3: odd')", False),
        ("raise ValueError('InputError: t.csv')", False),
    ],
)
def test_a_kernel_tells_of_the_base_and_not_of_a_name(raised, unusable, scratch):
    """A class that nobody has listed is known by what it is; one that has a known name and another base is not."""
    execution, executed = execute("method = 'REML'", raised)
    assert execution.status == "failed" and execution.unusable is unusable
    name = raised.split("raise ")[1].split("(")[0]
    assert execution.error.startswith(f"{name}: ")
    (output,) = executed.cells[-1].outputs
    assert (output.traceback == ["InputError: t.csv: line 3: odd"]) is unusable


def test_a_subclass_that_no_list_has_gives_exit_status_2(monkeypatch, capsys):
    class Later(InputError):
        """Made after every list was written."""

    def refused(*_: object) -> None:
        raise Later("t.csv: line 3: odd")

    monkeypatch.setattr("concord.reports.batch.plan", refused)
    assert main(["reports"]) == 2
    assert capsys.readouterr().err == "concord: t.csv: line 3: odd\n"
