"""Arrays in code that is parsed and never run: which columns they have, in their order."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from typing import Any

from concord.engines.calls import CallError
from concord.engines.statsmodels.explanation.code import Code, Unread, listed
from concord.engines.statsmodels.explanation.notation import in_python
from concord.engines.statsmodels.explanation.values import column_of, is_constant

ONES = ""
"""What stands for a column of ones among the columns of an array."""

_KEPT = ("to_numpy", "astype", "copy", "reshape", "dropna")
_CONSTANT = ("const", "Intercept", "intercept")


class Arrays:
    """The arrays of a text.

    Parameters
    ----------
    code : the text
    made : what columns of tables were made of
    """

    def __init__(self, code: Code, made: Mapping[str, ast.expr]) -> None:
        self._code, self._made = code, made

    def terms(self, node: ast.expr, what: str) -> str:
        """The columns of an array as terms of a formula.

        Raises
        ------
        CallError : it is none that can be read without running the code
        """
        if (design := self._design(self._code.resolved(node))) is not None:
            return design[1]
        columns = self.columns(node, what)
        named = [in_python(name) for name in columns if name != ONES]
        return " + ".join(["1" if ONES in columns else "0", *dict.fromkeys(named)])

    def left(self, node: ast.expr) -> str:
        """The response of patsy's design matrices, where it is one."""
        design = self._design(node)
        return design[0] if design else ""

    def one(self, node: ast.expr, what: str) -> str:
        """The column of an array that has one."""
        columns = self.columns(node, what)
        if len(columns) != 1 or columns[0] == ONES:
            raise CallError(f"{what} is not one column")
        return columns[0]

    def columns(self, node: ast.expr, what: str) -> list[str]:
        """The columns of an array, `ONES` for one of ones.

        Raises
        ------
        CallError : it is none that can be read without running the code
        """
        columns = self._columns(node)
        if columns is None:
            raise CallError(f"{what}={ast.unparse(node)} is no column that can be read without running the code")
        return columns

    def _columns(self, node: ast.expr) -> list[str] | None:
        if isinstance(node, ast.Name):
            value = self._code.value(node)
            columns = None if value is None else self._columns(value)
            if columns is None:
                return None
            return [*columns, *self._named([name for name in self._code.items(node) if name not in columns])]
        if isinstance(node, ast.Call):
            return self._called(node)
        if isinstance(node, ast.Attribute) and node.attr in ("values", "T"):
            return self._turned(node.value) if node.attr == "T" else self._columns(node.value)
        if isinstance(node, ast.Subscript):
            return self._subscript(node)
        column = column_of(node)
        return None if column is None else self._named([column])

    def _named(self, names: Sequence[str]) -> list[str]:
        """Names of columns; those that were made of one value are ones."""
        constant = {name for name in names if name in self._made and is_constant(self._made[name])}
        return [ONES if name in constant or name in _CONSTANT else name for name in names]

    def _called(self, node: ast.Call) -> list[str] | None:
        called = ast.unparse(node.func).rpartition(".")[2]
        first = node.args[0] if node.args else None
        if called in ("ones", "ones_like"):
            return None if isinstance(first, ast.Tuple) and len(first.elts) > 1 else [ONES]
        if called == "assign" and isinstance(node.func, ast.Attribute):
            before, more = self._columns(node.func.value), [word.arg for word in node.keywords if word.arg]
            return None if before is None else [*before, *self._named([name for name in more if name not in before])]
        if called in _KEPT and isinstance(node.func, ast.Attribute):
            return self._columns(node.func.value)
        if first is None:
            return column_of(node) and self._named([column_of(node) or ""]) or None
        if called == "add_constant":
            return self._with_ones(node, self._columns(first))
        if called in ("asarray", "array", "DataFrame") and not isinstance(first, ast.List | ast.Tuple):
            return self._columns(first)
        across = any(word.arg == "axis" and ast.unparse(word.value) in ("1", "'columns'") for word in node.keywords)
        if called == "column_stack" or (called == "concat" and across):
            return self._joined(first)
        return None

    def _with_ones(self, node: ast.Call, columns: list[str] | None) -> list[str] | None:
        if columns is None or ONES in columns:
            return columns
        told = [*node.args[1:2], *(word.value for word in node.keywords if word.arg == "prepend")]
        last = bool(told) and isinstance(told[0], ast.Constant) and told[0].value is False
        return [*columns, ONES] if last else [ONES, *columns]

    def _joined(self, node: ast.expr) -> list[str] | None:
        """The columns of arrays side by side."""
        parts = node.elts if isinstance(node, ast.List | ast.Tuple) else []
        columns = [self._columns(part) for part in parts]
        return None if not parts or None in columns else [name for part in columns for name in part or ()]

    def _turned(self, node: ast.expr) -> list[str] | None:
        """The columns of what has them as rows."""
        node = self._code.resolved(node)
        if not isinstance(node, ast.Call) or not node.args:
            return None
        stacked = ast.unparse(node.func).rpartition(".")[2] in ("vstack", "array", "stack")
        return self._joined(node.args[0]) if stacked else None

    def _subscript(self, node: ast.Subscript) -> list[str] | None:
        if ast.unparse(node.value).rpartition(".")[2] == "c_":
            return self._joined(node.slice)
        if names := listed(self._code, node.slice):
            return self._named(names)
        of = node.value.value if isinstance(node.value, ast.Attribute) and node.value.attr == "iloc" else node.value
        rows, place = (
            node.slice.elts if isinstance(node.slice, ast.Tuple) and len(node.slice.elts) == 2 else (None, None)
        )
        columns = self._columns(of) if isinstance(rows, ast.Slice) else None
        return None if columns is None or place is None else self._picked(columns, place)

    def _picked(self, columns: list[str], node: ast.expr) -> list[str] | None:
        """Columns by their places."""
        try:
            if isinstance(node, ast.Slice):
                ends = [None if end is None else self._place(end) for end in (node.lower, node.upper, node.step)]
                return columns[slice(*ends)]
            many = node.elts if isinstance(node, ast.List) else [node]
            return [columns[self._place(one)] for one in many]
        except (Unread, IndexError):
            return None

    def _place(self, node: ast.expr) -> int:
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            return -self._place(node.operand)
        value: Any = self._code.literal(node)
        if type(value) is not int:
            raise Unread(ast.unparse(node))
        return value

    def _design(self, node: ast.expr) -> tuple[str, str] | None:
        """Both sides of the formula whose matrices patsy makes: ``dmatrices(...)[i]``, ``dmatrix(...)``."""
        call = node.value if isinstance(node, ast.Subscript) else node
        if not isinstance(call, ast.Call) or not call.args:
            return None
        called = ast.unparse(call.func).rpartition(".")[2]
        if called != ("dmatrices" if call is not node else "dmatrix"):
            return None
        try:
            text = self._code.literal(call.args[0])
        except Unread:
            return None
        if not isinstance(text, str) or ("~" not in text and call is not node):
            return None
        left, _, right = text.rpartition("~")
        return left.strip(), right.strip()
