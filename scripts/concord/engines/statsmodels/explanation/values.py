"""Values in code that is parsed and never run: columns, their names, patterns of matrices."""

from __future__ import annotations

import ast

from concord.engines.statsmodels.explanation.notation import name_of

# What leaves groups as they are.
_SAME_GROUPS = {"np.asarray", "np.array", "list", "pd.Series", "pd.factorize", "pd.Categorical", "pd.array"}
_SAME_METHODS = {"astype", "map", "to_numpy", "tolist", "copy", "factorize"}


def same_groups_as(node: ast.expr) -> ast.expr | None:
    """What an expression is made of that groups rows as that does; None where it is no such expression."""
    if isinstance(node, ast.Attribute) and node.attr in ("values", "codes", "cat"):
        return node.value
    if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Call):  # pd.factorize(...)[0]
        return node.value if isinstance(node.slice, ast.Constant) and node.slice.value == 0 else None
    if isinstance(node, ast.Call):
        if ast.unparse(node.func) in _SAME_GROUPS and node.args and not is_constant(node):
            return node.args[0]
        if isinstance(node.func, ast.Attribute) and node.func.attr == "fit_transform" and node.args:  # LabelEncoder
            return node.args[0]
        if isinstance(node.func, ast.Attribute) and node.func.attr in _SAME_METHODS:
            return node.func.value
    return None


def is_none(node: ast.expr) -> bool:
    """Whether it is None."""
    return isinstance(node, ast.Constant) and node.value is None


def is_text(node: ast.expr) -> bool:
    """Whether it is a text as it stands."""
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def is_constant(node: ast.expr) -> bool:
    """Whether a value is the same in every row: a number, or ones."""
    if isinstance(node, ast.Constant):
        return isinstance(node.value, int | float)
    if isinstance(node, ast.Call):
        called = ast.unparse(node.func).rpartition(".")[2]
        of_one = called in ("repeat", "Series") and bool(node.args) and isinstance(node.args[0], ast.Constant)
        full = called == "full" and len(node.args) == 2 and isinstance(node.args[1], ast.Constant)
        return of_one or full or called in ("ones", "zeros", "ones_like", "zeros_like")
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult):  # [1] * len(df)
        return any(isinstance(side, ast.List) and len(side.elts) == 1 for side in (node.left, node.right))
    return False


def is_categorical(node: ast.expr) -> bool:
    """Whether a column is made text or categories."""
    if not isinstance(node, ast.Call):
        return False
    if ast.unparse(node.func).rpartition(".")[2] in ("Categorical", "factorize"):
        return ast.unparse(node.func).endswith("Categorical")
    told = isinstance(node.func, ast.Attribute) and node.func.attr == "astype" and node.args
    return bool(told) and ast.unparse(node.args[0]) in ("str", "'str'", "'category'", "object", "'object'", "'string'")


def column_of(node: ast.expr) -> str | None:
    """The column that ``df["x"]``, ``df[["x"]]``, ``df.x`` or ``df.loc[:, "x"]`` is."""
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.attr not in ("values", "T"):
        return node.attr
    if isinstance(node, ast.Subscript):
        listed = names_in(node.slice)
        return listed[0] if len(listed) == 1 else None
    return name_of(node) if isinstance(node, ast.Call) and not isinstance(node.func, ast.Name) else None


def names_in(node: ast.expr) -> tuple[str, ...]:
    """The names in a text, a list of texts, or the second part of ``.loc[:, ...]``."""
    if isinstance(node, ast.Tuple) and len(node.elts) == 2 and not is_text(node.elts[0]):
        node = node.elts[1]
    parts = node.elts if isinstance(node, ast.List | ast.Tuple) else [node]
    names = [part.value for part in parts if isinstance(part, ast.Constant) and isinstance(part.value, str)]
    return tuple(names) if len(names) == len(parts) else ()


def pattern_of(node: ast.expr) -> tuple[tuple[bool, ...], ...] | None:
    """The pattern of a square matrix: np.eye(2), np.diag([1, 1]), np.ones((2, 2)), np.array([[1, 0], [0, 1]])."""
    if isinstance(node, ast.List | ast.Tuple):
        rows = [numbers_in(row) for row in node.elts]
        if any(row is None or len(row) != len(rows) for row in rows):
            return None
        return tuple(tuple(bool(value) for value in row or ()) for row in rows)
    if not isinstance(node, ast.Call) or not node.args:
        return None
    called, first = ast.unparse(node.func).rpartition(".")[2], node.args[0]
    if called in ("array", "asarray"):
        return pattern_of(first)
    if called == "diag" and (numbers := numbers_in(first)):
        return tuple(tuple(i == j and bool(value) for j in range(len(numbers))) for i, value in enumerate(numbers))
    sizes = numbers_in(first) or numbers_in(ast.List([first]))
    if called in ("eye", "identity") and not sizes:  # np.eye(model.k_re)
        return ()
    if not sizes or sizes[0] != int(sizes[0]) or not 1 <= sizes[0] <= 50:
        return None
    count = range(int(sizes[0]))
    if called in ("eye", "identity"):
        return tuple(tuple(i == j for j in count) for i in count)
    return tuple((True,) * len(count) for _ in count) if called == "ones" and len(sizes) == 2 else None


def numbers_in(node: ast.expr) -> list[float] | None:
    """The numbers of a list; None where it is something else."""
    if not isinstance(node, ast.List | ast.Tuple):
        return None
    constants = [part.value for part in node.elts if isinstance(part, ast.Constant)]
    values = [float(value) for value in constants if isinstance(value, int | float)]
    return values if len(values) == len(node.elts) else None


def held_in(node: ast.expr) -> tuple[int, ...]:
    """The numbers of the variance components that are not free."""
    if isinstance(node, ast.Call) and node.args:
        node = node.args[0]
    return tuple(i for i, value in enumerate(numbers_in(node) or ()) if not value)
