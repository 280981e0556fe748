"""Notebooks: which there are, the parameters each takes, and what comes of executing one.

`execute` takes a notebook as text and gives the executed notebook back as text, so that it runs as well on another
machine as here. `refresh` executes a committed notebook in place and leaves nothing in it that changes by itself.
"""

from __future__ import annotations

import ast
import difflib
import hashlib
import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode

from concord import checkout
from concord.errors import InputError, one_line
from concord.vocabulary import METHODS

# The notebook of a person's own table, which has no model of the catalogue.
OWN_TABLE = "compare"

# Finding and reading ---------------------------------------------------------------------------------------------


def discover(folder: Path | None = None) -> dict[str, Path]:
    """Every notebook of the folder (default: the repository's `notebooks/`), by name, sorted.

    Raises InputError where the folder has no notebook, and where the package was installed without its repository.
    """
    folder = checkout.path("notebooks") if folder is None else Path(folder)
    paths = {path.stem: path for path in sorted(folder.glob("*.ipynb")) if not path.name.startswith(".")}
    if not paths:
        raise InputError(f"no notebook (*.ipynb) in {folder}")
    return paths


def choose(name: str, names: Mapping[str, Path]) -> str:
    """The discovered notebook that a user means by `sitka`, `sitka.ipynb` or `notebooks/sitka.ipynb`.

    Raises InputError, with the nearest name, where there is none.
    """
    stem = Path(name).name.removesuffix(".ipynb")
    if stem in names:
        return stem
    near = difflib.get_close_matches(stem, names, n=1, cutoff=0.5)
    advice = f"did you mean {near[0]}?" if near else f"there are {', '.join(names)}"
    raise InputError(f"no notebook is called {name!r}: {advice}")


def read(path: Path) -> NotebookNode:
    """The notebook in a file, as nbformat 4.5 with an id for every cell; ids it lacks are made from their position.

    Raises InputError for a file that is not there or is not a notebook.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read: {error}") from error
    try:
        return parse(text)
    except Exception as error:  # nbformat raises many kinds, for JSON, for the schema and for the version
        raise InputError(f"{path}: is not a Jupyter notebook: {one_line(str(error))}") from error


def parse(text: str) -> NotebookNode:
    """The notebook in a text, see `read`; raises what nbformat raises for other text."""
    notebook: NotebookNode = nbformat.reads(text, as_version=4, capture_validation_error={})
    if not isinstance(notebook.get("cells"), list):
        raise ValueError("it has no list of cells")
    seen: set[str] = set()
    for index, cell in enumerate(notebook.cells):
        if not cell.get("id") or cell.id in seen or notebook.nbformat_minor < 5:
            # nbformat would draw a random one at every reading
            cell["id"] = hashlib.sha256(f"{index}".encode()).hexdigest()[:8]
        seen.add(cell.id)
    notebook.nbformat_minor = max(5, notebook.nbformat_minor)
    return notebook


# Parameters ------------------------------------------------------------------------------------------------------


def parameters(notebook: NotebookNode) -> dict[str, Any]:
    """The notebook's own parameters and their defaults: the assignments of its first cell tagged `parameters`.

    A default that is not a literal is given as `...`: its type is not known. Raises InputError for a cell that is
    not Python.
    """
    cell = next((cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", ())), None)
    if cell is None:
        return {}
    try:
        statements = ast.parse(cell.source).body
    except SyntaxError as error:
        raise InputError(f"the cell tagged `parameters`, line {error.lineno}: {error.msg}") from error
    assigned: dict[str, Any] = {}
    for statement in statements:
        targets = statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
        for target in targets:
            if isinstance(target, ast.Name) and getattr(statement, "value", None) is not None:
                try:
                    assigned[target.id] = ast.literal_eval(statement.value)
                except ValueError:
                    assigned[target.id] = ...
    return assigned


def imports(notebook: NotebookNode) -> list[str]:
    """The statements by which the notebook's code cells import modules, loading an extension among them."""
    unparsed: list[str] = []
    for cell in notebook.cells:
        if cell.cell_type == "code":
            source = re.sub(r"^%load_ext +", "import ", cell.source, flags=re.MULTILINE)
            source = re.sub(r"^[%!].*", "", source, flags=re.MULTILINE)
            with suppress(SyntaxError):  # not Python
                statements = ast.parse(source).body
                unparsed += [ast.unparse(line) for line in statements if isinstance(line, ast.Import | ast.ImportFrom)]
    return list(dict.fromkeys(unparsed))


def check(values: Mapping[str, Any], own: Mapping[str, Any], name: str) -> None:
    """Hold given parameters against a notebook's own.

    Papermill only warns of an unknown parameter and then runs the defaults; this raises InputError for a name the
    notebook does not have, for a value of another type than its default, and for a `method` other than REML or ML.
    """
    for key, value in values.items():
        if key not in own:
            near = difflib.get_close_matches(key, own, n=1, cutoff=0.5)
            advice = f"did you mean `{near[0]}`?" if near else f"it has {', '.join(own) or 'none'}"
            raise InputError(f"notebook {name} has no parameter `{key}`: {advice}")
        if key == "method" and value not in METHODS:
            raise InputError(f"notebook {name}: `method` is {value!r}: give one of {', '.join(METHODS)}")
        default = own[key]
        if not _plain(value):
            raise InputError(
                f"notebook {name}: `{key}` is a {type(value).__name__}, which a notebook cannot take: "
                "give a number, text, truth value, None, list or dict of Python's own"
            )
        if not _alike(value, default):
            raise InputError(
                f"notebook {name}: `{key}` is {value!r}, of type {type(value).__name__}: "
                f"give a {'list' if type(default) is tuple else type(default).__name__}, like its default {default!r}"
            )


def _plain(value: Any) -> bool:
    # exact types: papermill writes tuples and numpy's integers into the notebook as text
    if type(value) is list:
        return all(map(_plain, value))
    if type(value) is dict:
        return all(type(key) is str and _plain(item) for key, item in value.items())
    return value is None or type(value) in (bool, int, float, str)


def _alike(value: Any, default: Any) -> bool:
    if default is None or default is ...:
        return True
    if type(default) is float:
        return type(value) in (int, float)
    if type(default) is tuple:
        return type(value) is list
    return type(value) is type(default)
