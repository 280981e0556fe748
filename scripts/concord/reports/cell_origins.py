"""Origins: which cells of a notebook ran the Python and the R code behind what another cell shows.

Cells that fit are tagged ``fits``, in either language.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

TAG = "fits"
# statsmodels' own names for its model.
_NATIVE = re.compile(r"\b(mixedlm|MixedLM)\(")
_ASSIGNED_IN_R = re.compile(r"^\s*([A-Za-z.][\w.]*)\s*(?:<-|=(?!=))", re.MULTILINE)


@dataclass(frozen=True)
class Origin:
    """Where the fits that a cell shows were made, as indices into the notebook's cells.

    Attributes
    ----------
    shown : the cell itself
    python, r : the tagged cell that ran the code of that language, the last one before it where there are several; the
        cell itself where it is tagged, or where none is found
    native : of ``python`` and ``r``, the languages whose own code stands there, not only Concord's engine
    """

    shown: int
    python: int
    r: int
    native: tuple[str, ...] = ()


def origin(cells: Sequence[Mapping[str, Any]], index: int) -> Origin:
    """What the cell at `index` was made by: names are followed back, from the ones that it uses to where they were set.

    Parameters
    ----------
    cells : of a notebook (nbformat 4)
    index : of a code cell
    """
    path, wanted = [index], _used(_source(cells[index]))
    for i in range(index - 1, -1, -1):
        if cells[i]["cell_type"] == "code":
            source = _source(cells[i])
            bound = _made(source)
            if bound & wanted:
                path.append(i)
                wanted = (wanted - bound) | _used(source)
    tagged = [i for i in path if TAG in cells[i].get("metadata", {}).get("tags", ())]
    python = [i for i in tagged if not _is_r(_source(cells[i]))]
    first = (python or path)[0]
    if not _NATIVE.search(_source(cells[first])):  # an engine of Concord's runs both languages
        return Origin(index, first, first)
    r = [i for i in tagged if _is_r(_source(cells[i]))]
    return Origin(index, first, r[0], ("python", "r")) if r else Origin(index, first, first, ("python",))


def _source(cell: Mapping[str, Any]) -> str:
    source = cell["source"]
    return source if isinstance(source, str) else "".join(source)


def _is_r(source: str) -> bool:
    return source.lstrip().startswith("%%R")


def _parsed(source: str) -> ast.Module | None:
    """The Python of a cell without its magics, what it asks R for as a name; None where it is not Python."""
    source = re.sub(r"= *%R +", "= ", source)
    lines = ["" if line.lstrip().startswith(("%", "!")) else line for line in source.splitlines()]
    try:
        return ast.parse("\n".join(lines))
    except SyntaxError:
        return None


def _used(source: str) -> set[str]:
    """The names that a cell reads, those among them that it takes out of R by a text."""
    if _is_r(source):
        return set(re.findall(r"(?:-i|--input)[ =]([\w,]+)", source.splitlines()[0]))
    tree = _parsed(source)
    if tree is None:
        return set()
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}
    texts = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    return (names - _inner(tree)) | {text for text in texts if re.fullmatch(r"[A-Za-z.][\w.]*", text)}


def _made(source: str) -> set[str]:
    """The names that a cell sets, in its own language."""
    if _is_r(source):
        return set(_ASSIGNED_IN_R.findall(source.partition("\n")[2]))
    tree = _parsed(source)
    if tree is None:
        return set()
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    return names - _inner(tree)


def _inner(tree: ast.Module) -> set[str]:
    """The variables of comprehensions, which no other cell sees."""
    targets = [node.target for node in ast.walk(tree) if isinstance(node, ast.comprehension)]
    return {node.id for target in targets for node in ast.walk(target) if isinstance(node, ast.Name)}
