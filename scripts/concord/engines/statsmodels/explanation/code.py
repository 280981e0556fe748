"""Code that is parsed and never run: what its names were given before a place, and the plain values that it writes."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from string import Formatter
from typing import Any

from concord.engines.calls import CallError
from concord.engines.statsmodels.explanation.values import column_of, names_in

LONGEST, LONGEST_FILE = 20_000, 500_000
# Steps in following what names stand for, beyond which a text is made to be long.
STEPS = 20_000
# Methods that change what a name stands for.
_CHANGES = ("update", "insert", "append", "extend", "pop", "setdefault", "remove", "clear")

Place = tuple[int, int]


class Unread(Exception):
    """What stands there is no plain value."""


def begin(node: ast.AST) -> Place:
    """Where a node begins."""
    return getattr(node, "lineno", 0), getattr(node, "col_offset", 0)


def end(node: ast.AST) -> Place:
    """Where a node ends."""
    return getattr(node, "end_lineno", 0), getattr(node, "end_col_offset", 0)


class Code:
    """The statements of a text, in their order."""

    def __init__(self, tree: ast.Module) -> None:
        self._names: list[tuple[Place, str, ast.expr]] = []
        self._items: list[tuple[Place, str, str, ast.expr]] = []  # free.cov_re = ..., vc["b"] = ...
        self._changes: list[tuple[Place, str, ast.expr]] = []
        self._branches: list[tuple[Place, Place]] = []  # what may run, or not, or several times
        self._columns: list[tuple[Place, str, ast.expr]] = []  # what a column of a table was made of
        self._steps = 0
        for node in ast.walk(tree):
            self._statement(node)
        for told in (self._names, self._items, self._columns):
            told.sort(key=lambda one: one[0])

    def _statement(self, node: ast.AST) -> None:
        if isinstance(node, ast.Assign):
            for target in node.targets:
                self._assigned(target, node.value)
        elif isinstance(node, ast.If | ast.For | ast.While):
            self._branches.append((begin(node), end(node)))
        elif isinstance(node, ast.AnnAssign | ast.NamedExpr) and node.value is not None:
            self._assigned(node.target, node.value)
        elif isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Name):
            before = ast.copy_location(ast.Name(node.target.id), node.target)
            self._assigned(node.target, ast.copy_location(ast.BinOp(before, node.op, node.value), node))
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            if node.func.attr == "assign":
                self._columns += [(end(node), word.arg, word.value) for word in node.keywords if word.arg]
            elif node.func.attr in _CHANGES and isinstance(node.func.value, ast.Name):
                self._changes.append((end(node), node.func.value.id, node))

    def _assigned(self, target: ast.expr, value: ast.expr) -> None:
        place = end(value)
        if isinstance(target, ast.Tuple | ast.List):
            parts = value.elts if isinstance(value, ast.Tuple | ast.List) else []
            for i, one in enumerate(target.elts):
                part = ast.copy_location(ast.Subscript(value, ast.Constant(i)), value)
                self._assigned(one, parts[i] if len(parts) == len(target.elts) else part)
        elif isinstance(target, ast.Name):
            self._names.append((place, target.id, value))
        elif isinstance(target, ast.Attribute) and isinstance(target.value, ast.Name):
            self._items.append((place, target.value.id, target.attr, value))
            self._columns.append((place, target.attr, value))
        elif (column := column_of(target)) is not None and isinstance(target, ast.Subscript):
            self._columns.append((place, column, value))
            if isinstance(target.value, ast.Name):
                self._items.append((place, target.value.id, column, value))
        elif isinstance(target, ast.Subscript) and isinstance(target.value, ast.Name):  # X[:, 1] = ...
            self._changes.append((place, target.value.id, target))

    # ---- names -----------------------------------------------------------------------------------------------------

    def _given(self, node: ast.Name, at: Place | None = None) -> tuple[Place, ast.expr] | None:
        self._steps += 1
        if self._steps > STEPS:
            raise CallError("the names in the code stand for each other without end: give the call and what it needs")
        place = at or begin(node)
        told = [(given, value) for given, name, value in self._names if name == node.id]
        before = [one for one in told if one[0] <= place]
        after = [one for one in told if begin(one[1]) > place]  # in a function that is called later
        given = before[-1] if before else after[0] if len(after) == 1 else None
        for first, last in self._branches:
            if given and first < given[0] <= last and not first < place <= last:
                raise CallError(f"what {node.id} is depends on how the code runs: write it out")
        return given

    def value(self, node: ast.Name, at: Place | None = None) -> ast.expr | None:
        """What a name was last given before it stands there; None where that is not in the code."""
        given = self._given(node, at)
        return given[1] if given else None

    def resolved(self, node: ast.expr, at: Place | None = None) -> ast.expr:
        """What an expression is, where it is a name; itself, where it is none or was given nothing."""
        while isinstance(node, ast.Name) and (value := self.value(node, at)) is not None:
            node, at = value, None
        return node

    def items(self, node: ast.expr, at: Place | None = None) -> dict[str, ast.expr]:
        """What the items and attributes of a name were given, after the name itself.

        Raises
        ------
        CallError : a method has changed it
        """
        if not isinstance(node, ast.Name):
            return {}
        given, place = self._given(node, at), at or begin(node)
        since = given[0] if given else (0, 0)
        for changed, name, call in self._changes:
            if name == node.id and since < changed <= place:
                raise CallError(f"{ast.unparse(call)} cannot be read without running it: write out what {name} is")
        return {key: value for changed, name, key, value in self._items if name == node.id and since < changed <= place}

    def columns(self, before: Place) -> dict[str, ast.expr]:
        """What the columns of tables were made of, before a place."""
        return {column: value for place, column, value in self._columns if place <= before}

    # ---- plain values ----------------------------------------------------------------------------------------------

    def literal(self, node: ast.expr, local: Mapping[str, Any] | None = None, at: Place | None = None) -> Any:
        """A text, a number, a truth value, None, or a list or dictionary of such, as code writes it.

        Raises
        ------
        Unread : it is none, or cannot be read without running the code
        CallError : a method has changed it
        """
        self._steps += 1
        if self._steps > STEPS:
            raise CallError("the code is too long to be followed: write the formula out")
        value = self._literal(node, local or {}, at)
        if isinstance(value, str | list) and len(value) > LONGEST:
            raise CallError(f"a text in the code is too long: {len(value)} characters")
        return value

    def _literal(self, node: ast.expr, local: Mapping[str, Any], at: Place | None) -> Any:
        if isinstance(node, ast.Constant):
            return node.value
        if isinstance(node, ast.Name):
            return local[node.id] if node.id in local else self._named(node, at)
        if isinstance(node, ast.List | ast.Tuple):
            return [self.literal(part, local, at) for part in node.elts]
        if isinstance(node, ast.Dict):
            pairs = zip(node.keys, node.values, strict=True)
            return {self._key(key, local, at): self.literal(value, local, at) for key, value in pairs}
        if isinstance(node, ast.JoinedStr):  # whose parts do not always know where they stand
            return "".join(self._formatted(part, local, at or begin(node)) for part in node.values)
        if isinstance(node, ast.BinOp | ast.Subscript):
            return (self._operated if isinstance(node, ast.BinOp) else self._part)(node, local, at)
        if isinstance(node, ast.ListComp | ast.GeneratorExp):
            return [self.literal(node.elt, one, at) for one in self._rounds(node.generators, local, at)]
        if isinstance(node, ast.DictComp):
            rounds = self._rounds(node.generators, local, at)
            return {self._key(node.key, one, at): self.literal(node.value, one, at) for one in rounds}
        if isinstance(node, ast.Call):
            return self._called(node, local, at)
        raise Unread(ast.unparse(node))

    def _key(self, node: ast.expr | None, local: Mapping[str, Any], at: Place | None) -> Any:
        key = None if node is None else self.literal(node, local, at)
        if not isinstance(key, str | int):
            raise Unread("a key")
        return key

    def _named(self, node: ast.Name, at: Place | None) -> Any:
        value = self.value(node, at)
        if value is None:
            raise Unread(node.id)
        written, items = self.literal(value), self.items(node, at)
        if items and not isinstance(written, dict):
            raise Unread(node.id)
        return {**written, **{key: self.literal(one) for key, one in items.items()}} if items else written

    def _part(self, node: Any, local: Mapping[str, Any], at: Place | None) -> Any:
        """One of a list, or several."""
        whole = self.literal(node.value, local, at)
        ends = [node.slice.lower, node.slice.upper] if isinstance(node.slice, ast.Slice) else [node.slice]
        places = [None if end is None else self.literal(end, local, at) for end in ends]
        one = isinstance(whole, dict) and len(ends) == 1 and places[0] in whole
        if not one and not (isinstance(whole, list) and all(type(place) in (int, type(None)) for place in places)):
            raise Unread(ast.unparse(node))
        try:
            return whole[places[0]] if len(ends) == 1 else whole[slice(*places)]
        except (IndexError, TypeError) as error:
            raise Unread(ast.unparse(node)) from error

    def _formatted(self, part: ast.expr, local: Mapping[str, Any], at: Place) -> str:
        if isinstance(part, ast.FormattedValue):
            if part.format_spec is not None or part.conversion not in (-1, ord("s")):
                raise Unread(ast.unparse(part))
            part = part.value
        return _text(self.literal(part, local, at))

    def _operated(self, node: Any, local: Mapping[str, Any], at: Place | None) -> Any:
        left, right = self.literal(node.left, local, at), self.literal(node.right, local, at)
        if isinstance(node.op, ast.Add) and type(left) is type(right) and isinstance(left, str | list):
            return left + right
        if isinstance(node.op, ast.Mod) and isinstance(left, str):
            given = right if isinstance(right, list) else [right]
            parts = left.split("%s")
            if len(parts) == len(given) + 1 and not any("%" in part for part in parts):
                return "".join(part + one for part, one in zip(parts, [*map(_text, given), ""], strict=True))
        raise Unread(ast.unparse(node))

    def _rounds(
        self, generators: list[ast.comprehension], local: Mapping[str, Any], at: Place | None
    ) -> Iterator[dict[str, Any]]:
        """The values of a comprehension's names, of one loop without a condition."""
        (loop, *more) = generators
        if more or loop.ifs or not isinstance(loop.target, ast.Name):
            raise Unread("a loop")
        values = self.literal(loop.iter, local, at)
        if not isinstance(values, list):
            raise Unread("a loop")
        for value in values:
            yield {**local, loop.target.id: value}

    def _called(self, node: ast.Call, local: Mapping[str, Any], at: Place | None) -> Any:
        called = node.func
        positional = [self.literal(argument, local, at) for argument in node.args]
        named = {self._word(word): self.literal(word.value, local, at) for word in node.keywords}
        if isinstance(called, ast.Name) and called.id in ("dict", "list", "str") and self.value(called) is None:
            return self._made(called.id, positional, named)
        if isinstance(called, ast.Attribute) and called.attr in ("join", "format", "strip"):
            text = self.literal(called.value, local, at)
            if isinstance(text, str):
                return _applied(text, called.attr, positional, named)
        raise Unread(ast.unparse(node))

    def _word(self, word: ast.keyword) -> str:
        if word.arg is None:
            raise Unread("**")
        return word.arg

    def _made(self, kind: str, positional: list[Any], named: dict[str, Any]) -> Any:
        if kind == "dict" and (not positional or isinstance(positional[0], dict)):
            return {**(positional[0] if positional else {}), **named}
        if len(positional) == 1 and not named and kind == "list" and isinstance(positional[0], list):
            return positional[0]
        if len(positional) == 1 and not named and kind == "str":
            return _text(positional[0])
        raise Unread(kind)


def _text(value: Any) -> str:
    if isinstance(value, str) or type(value) is int:
        return str(value)
    raise Unread(repr(value))


def _applied(text: str, method: str, positional: list[Any], named: dict[str, Any]) -> str:
    """A method of a text: its pieces put together, its gaps filled, its blanks taken off."""
    if method == "strip" and not positional and not named:
        return text.strip()
    if method == "join" and len(positional) == 1 and isinstance(positional[0], list):
        return text.join(map(_text, positional[0]))
    if method == "format":
        return "".join(_filled(text, positional, named))
    raise Unread(method)


def _filled(text: str, positional: list[Any], named: dict[str, Any]) -> Iterator[str]:
    count = 0
    try:
        gaps = list(Formatter().parse(text))
    except ValueError as error:
        raise Unread(text) from error
    for before, name, spec, conversion in gaps:
        yield before
        if name is None:
            continue
        known: dict[str, Any] = {**{str(i): one for i, one in enumerate(positional)}, **named}
        key = name or str(count)
        count += not name
        if spec or conversion or key not in known:
            raise Unread(text)
        yield _text(known[key])


def listed(code: Code, node: ast.expr) -> tuple[str, ...]:
    """The names in a text, a list of texts, or the last part of ``.loc[..., ...]``, also where names stand for them."""
    if names := names_in(node):
        return names
    if isinstance(node, ast.Tuple) and len(node.elts) == 2:
        node = node.elts[1]
    try:
        value = code.literal(node)
    except Unread:
        return ()
    value = value if isinstance(value, list) else [value]
    return tuple(value) if value and all(isinstance(one, str) for one in value) else ()
