"""A call of MixedLM: its arguments, as a text has them that somebody wrote. The text is parsed and never evaluated."""

from __future__ import annotations

import ast
import re
import textwrap
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from concord.engines.calls import CallError, Placed, check_length, instead
from concord.engines.statsmodels.explanation.arrays import Arrays
from concord.engines.statsmodels.explanation.code import LONGEST, LONGEST_FILE, Code, Unread, begin, listed
from concord.engines.statsmodels.explanation.notation import in_python
from concord.engines.statsmodels.explanation.values import (
    column_of,
    held_in,
    is_categorical,
    is_constant,
    is_none,
    is_text,
    pattern_of,
    same_groups_as,
)

# The positional arguments of the two ways to call it, and of fit.
_BY_FORMULA = ("formula", "data", "re_formula", "vc_formula", "subset", "use_sparse", "missing")
_BY_ARRAYS = ("endog", "exog", "groups", "exog_re", "exog_vc", "use_sqrt", "missing")
_FITS = ("fit", "fit_regularized")
# Methods of a table that take some of its rows.
_ROWS = ("dropna", "query", "head", "tail", "sample", "drop_duplicates", "filter", "nlargest", "nsmallest")
_FIT = ("start_params", "reml", "niter_sa", "do_cg", "fe_pen", "cov_pen", "free", "full_output", "method")
_HIDDEN = {"eval_env", "hasconst"}
_HARMLESS = {"data", "use_sparse", "eval_env", "start_params", "niter_sa", "full_output", "hasconst"}
_OPTIONS = {"gtol", "maxiter", "eps", "maxcor", "ftol", "tol", "disp", "maxls", "xtol", "pgtol", "factr"}


@dataclass(frozen=True)
class MixedLMCall:
    """What MixedLM was called with.

    Attributes
    ----------
    formula : response and fixed part, in patsy's notation
    groups : the columns whose combinations are the groups; none where all rows are one group
    grouped : whether groups were given at all
    joined : whether several were given as one text, ``a:b``
    several : whether `groups` were given as so many grouping columns, which MixedLM does not take
    re_formula : the correlated effects; None where it was left out
    vc_formula : the variance components by name
    free : which entries of the random effects' covariance matrix are estimated, row by row; None for all, and nothing
        for the diagonal ones of a matrix of whatever size
    held : the names or numbers of variance components that `free` holds at their start
    use_sqrt, reml, missing : as given
    methods : the optimizers; none where they are MixedLM's own
    options : other arguments of the search, such as ``maxiter``
    arrays : whether it was called with arrays
    made : columns that were made categories or text before
    penalized : whether the likelihood is penalized
    ignored : the effects of ``exog_re`` where it was given beside a formula, by which MixedLM does not see it
    table : the table that the call takes, where that is some rows of another
    anew : what the code has made columns of before, by their names
    """

    formula: str
    groups: tuple[str, ...]
    several: bool = False
    joined: bool = False
    re_formula: str | None = None
    vc_formula: Mapping[str, str] = field(default_factory=dict)
    free: tuple[tuple[bool, ...], ...] | None = None
    held: tuple[int, ...] = ()
    use_sqrt: bool = True
    reml: bool = True
    missing: str = "none"
    methods: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    arrays: bool = False
    made: frozenset[str] = frozenset()
    penalized: bool = False
    ignored: str = ""
    table: str = ""
    anew: Mapping[str, str] = field(default_factory=dict)
    grouped: bool = True

    @property
    def search(self) -> str:
        """The arguments that make the search another one than MixedLM's default; empty where there are none."""
        method: Any = self.methods[0] if len(self.methods) == 1 else list(self.methods)
        given = {**({"method": method} if self.methods else {}), **self.options}
        given |= {} if self.use_sqrt else {"use_sqrt": False}
        return ", ".join(f"{name}={value!r}" for name, value in given.items())


def read(given: str | Placed) -> MixedLMCall | None:
    """The call in a text of Python; None where there is none in it.

    Parameters
    ----------
    given : ``smf.mixedlm(...)``, ``sm.MixedLM(...)`` or ``MixedLM.from_formula(...)``, with its ``fit`` or without, and
        the statements before it that its names come from; or one of the calls in such a text

    Raises
    ------
    CallError : it does not parse, or an argument is not one that can be read without running it
    """
    placed = given if isinstance(given, Placed) else None
    tree, calls = _calls(placed.text if placed else str(given), LONGEST_FILE if placed else LONGEST)
    if not calls:
        return None
    if len(calls) > 1 and not placed:
        raise CallError(f"{len(calls)} calls of MixedLM stand in the code: give one at a time, or the file with them")
    try:
        node, fit = _with_fits(tree, calls)[placed.number] if placed else (calls[0], None)
        return _Reader(tree, node, _kind(node, _others(tree)), fit).call()
    except RecursionError as error:
        raise CallError("the names in the code stand for each other without end") from error


def placed(text: str) -> list[Placed]:
    """Every call of MixedLM in a text of Python, and every fit of one that is fitted several times, in their order.

    Raises
    ------
    CallError : the text does not parse
    """
    tree, calls = _calls(text, LONGEST_FILE)
    bare = _without_prompts(text)
    above = bare[: len(bare) - len(bare.lstrip())].count("\n")
    lines = [(fit or node).lineno for node, fit in _with_fits(tree, calls)]
    return [Placed(text, number, above + line) for number, line in enumerate(lines)]


def _calls(text: str, longest: int) -> tuple[ast.Module, list[ast.Call]]:
    """The code, and the calls of MixedLM in it, in their order."""
    check_length(text, longest)
    try:
        tree = _parsed(_without_prompts(text).strip())
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise CallError(f"the code does not parse as Python: {str(error).splitlines()[0]}") from error
    others = _others(tree)
    return tree, sorted(
        (node for node in ast.walk(tree) if isinstance(node, ast.Call) and _kind(node, others)), key=begin
    )


def _with_fits(tree: ast.Module, calls: Sequence[ast.Call]) -> list[tuple[ast.Call, ast.Call | None]]:
    """The calls, with each fit of one that is fitted several times."""
    code = Code(tree)
    pairs: list[tuple[ast.Call, ast.Call | None]] = []
    for node in calls:
        fits: list[ast.Call] = []
        with suppress(CallError, RecursionError):
            fits = sorted(_fits_of(tree, code, node), key=begin)
        pairs += [(node, fit) for fit in fits] if len(fits) > 1 else [(node, None)]
    return pairs


def _fits_of(tree: ast.Module, code: Code, node: ast.Call) -> list[ast.Call]:
    """The calls of ``fit``, on the call itself or on the name that it was given."""
    calls = [call for call in ast.walk(tree) if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute)]
    fits = [(call, call.func) for call in calls if isinstance(call.func, ast.Attribute) and call.func.attr in _FITS]
    return [call for call, method in fits if code.resolved(method.value) is node]


def _parsed(text: str) -> ast.Module:
    """The code, also where all lines but the first have kept a margin."""
    try:
        return ast.parse(text)
    except IndentationError:
        first, _, rest = text.partition("\n")
        return ast.parse(f"{first}\n{textwrap.dedent(rest)}")


def _without_prompts(text: str) -> str:
    """The code of a session as a page shows it, without IPython's commands, prints of Python 2, and margins."""
    lines = textwrap.dedent(text).splitlines()
    if any(line.startswith(">>> ") for line in lines):
        lines = [line[4:] if line.startswith((">>> ", "... ")) else "" for line in lines]
    if any(re.match(r"In \[\d*\]:", line) for line in lines):
        lines = ["" if line.startswith("Out[") else re.sub(r"^(In \[\d*\]:|\s*\.\.\.+:) ?", "", line) for line in lines]
    lines = ["" if line.startswith(("%", "!")) else line for line in lines]  # every line keeps its number
    return "\n".join(re.sub(r"^(\s*)print [^(].*", r"\1pass", line) for line in lines)


def _others(tree: ast.Module) -> dict[str, str]:
    """The names that code has imported MixedLM or mixedlm by, with their own."""
    imported = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    return {one.asname: one.name for node in imported for one in node.names if one.asname}


def _kind(node: ast.Call, others: Mapping[str, str]) -> str:
    """``formula`` or ``arrays``, where it is a call of MixedLM."""
    name = [others.get(part, part) for part in ast.unparse(node.func).split(".")]
    if name[-1] == "mixedlm" or (name[-1] == "from_formula" and name[-2:-1] == ["MixedLM"]):
        return "formula"
    return "arrays" if name[-1] == "MixedLM" else ""


class _Reader:
    """Reads one call, with what its names were given before it."""

    def __init__(self, tree: ast.Module, node: ast.Call, kind: str, fit: ast.Call | None = None) -> None:
        self._node, self._tree, self._kind, self._fit = node, tree, kind, fit
        self._code = Code(tree)
        inner = any(isinstance(part, ast.FunctionDef) and node in ast.walk(part) for part in ast.walk(tree))
        self._columns = self._code.columns((LONGEST, 0) if inner else begin(node))
        self._arrays = Arrays(self._code, self._columns)

    def call(self) -> MixedLMCall:
        kind = self._kind
        given = self._arguments(self._node, _BY_FORMULA if kind == "formula" else _BY_ARRAYS)
        fitted = self._fitted()
        self._check(given, fitted)
        described = self._by_formula(given) if kind == "formula" else self._by_arrays(given)
        groups, several = self._groups(given.get("groups"))
        free, held = self._free(fitted.get("free"))
        shown = self._resolved(given.get("groups", ast.Constant(None)))
        ignored = self._arrays.terms(given["exog_re"], "exog_re") if kind == "formula" and "exog_re" in given else ""
        made = {column for column, value in self._columns.items() if is_categorical(value)}
        return MixedLMCall(
            **described,
            groups=groups,
            several=several,
            grouped="groups" in given,
            joined=is_text(shown) and len(groups) > 1,
            ignored=ignored,
            free=free,
            held=held,
            use_sqrt=self._flag(given, "use_sqrt", True),
            reml=self._flag(fitted, "reml", True),
            missing=self._text(given["missing"], "missing") if "missing" in given else "none",
            methods=self._methods(fitted.get("method")),
            options=self._options(fitted),
            made=frozenset(made),
            penalized=any(not is_none(fitted[name]) for name in ("fe_pen", "cov_pen") if name in fitted),
            table=self._rows(given.get("data")),
            anew={column: ast.unparse(value)[:80] for column, value in self._columns.items() if column not in made},
        )

    def _rows(self, node: ast.expr | None) -> str:
        """A table that is some rows of another, as it is written."""
        value = None if node is None else self._resolved(node)
        if isinstance(value, ast.Subscript) and not listed(self._code, value.slice):
            return ast.unparse(value)
        taken = isinstance(value, ast.Call) and isinstance(value.func, ast.Attribute) and value.func.attr in _ROWS
        return ast.unparse(value) if value is not None and taken else ""

    # ---- arguments -------------------------------------------------------------------------------------------------

    def _arguments(self, node: ast.Call, names: Sequence[str]) -> dict[str, ast.expr]:
        if any(isinstance(argument, ast.Starred) for argument in node.args) or len(node.args) > len(names):
            raise CallError(f"{ast.unparse(node.func)} has positional arguments that cannot be told apart: name them")
        given = dict(zip(names, node.args, strict=False))
        for word in node.keywords:
            if word.arg is None:
                given |= self._pairs(word.value)
            elif word.arg in given:
                raise CallError(f"{ast.unparse(node.func)} is given {word.arg} twice")
            else:
                given[word.arg] = word.value
        return {name: value for name, value in given.items() if not is_none(value)}

    def _pairs(self, node: ast.expr) -> dict[str, ast.expr]:
        """The arguments in a dictionary, and those that were put into it afterwards."""
        value = self._resolved(node)
        pairs: dict[str, ast.expr] = {}
        if isinstance(value, ast.Dict):
            pairs = {self._text(key, "a name"): one for key, one in zip(value.keys, value.values, strict=True) if key}
        plain = isinstance(value, ast.Dict) and None not in value.keys
        if isinstance(value, ast.Call) and ast.unparse(value.func) == "dict" and not value.args:
            pairs = {word.arg: word.value for word in value.keywords if word.arg}
            plain = len(pairs) == len(value.keywords)
        if not plain:
            raise CallError(f"**{ast.unparse(node)} cannot be read without running it: write it out")
        return {**pairs, **self._code.items(node)}

    def _fitted(self) -> dict[str, ast.expr]:
        """The arguments of ``fit``, on the call itself or on the name that it was given."""
        own = [self._fit] if self._fit else _fits_of(self._tree, self._code, self._node)
        if len(own) > 1:
            raise CallError(f"the model is fitted {len(own)} times in the code: give one fit at a time")
        if not own:
            return {}
        if ast.unparse(own[0].func).endswith("fit_regularized"):
            return {"fe_pen": own[0]}
        return self._arguments(own[0], _FIT)

    def _check(self, given: Mapping[str, ast.expr], fitted: Mapping[str, ast.expr]) -> None:
        known = {*_BY_FORMULA, *_BY_ARRAYS, *_HARMLESS}
        for name in given:
            if name not in known:
                hint = ": it takes no weights, and stops" if name == "weights" else instead(name, known - _HIDDEN)
                raise CallError(f"MixedLM has no argument {name}{hint}")
        for name in ("subset", "exog_vc"):
            if name in given:
                raise CallError(
                    f"{name} cannot be read without running the code: "
                    + ("subset the table first" if name == "subset" else "write it as vc_formula")
                )
        for name in fitted:
            if name not in _FIT and name not in _OPTIONS:
                raise CallError(f"MixedLM's fit has no argument {name}{instead(name, {*_FIT, *_OPTIONS})}")
        barred = "formula" in given and "|" in self._text(given["formula"], "formula")
        if "groups" not in given and not barred:
            raise CallError("the call has no groups: MixedLM asks for them by name")

    def _by_formula(self, given: Mapping[str, ast.expr]) -> dict[str, Any]:
        if "formula" not in given:
            raise CallError("the call has no formula")
        components: dict[str, str] = {}
        if "vc_formula" in given:
            node = given["vc_formula"]
            try:
                components = self._code.literal(node)
            except Unread as error:
                told = ast.unparse(self._resolved(node))
                raise CallError(f"vc_formula={told} cannot be read without running it: write a dictionary") from error
            if not isinstance(components, dict) or not all(isinstance(text, str) for text in components.values()):
                raise CallError("vc_formula is a dictionary of formulas, such as {'a': '0 + C(a)'}")
            components = {str(name): text for name, text in components.items()}
        re_formula = self._text(given["re_formula"], "re_formula") if "re_formula" in given else None
        return {"formula": self._text(given["formula"], "formula"), "re_formula": re_formula, "vc_formula": components}

    def _by_arrays(self, given: Mapping[str, ast.expr]) -> dict[str, Any]:
        if "endog" not in given or "exog" not in given:
            raise CallError("the call has no endog or no exog")
        fixed, response = self._arrays.terms(given["exog"], "exog"), self._response(given["endog"])
        random = self._arrays.terms(given["exog_re"], "exog_re") if "exog_re" in given else None
        return {"formula": f"{response} ~ {fixed}", "re_formula": random, "arrays": True}

    def _response(self, node: ast.expr) -> str:
        named = self._resolved(node)
        if isinstance(named, ast.Name):
            return in_python(named.id)
        return self._arrays.left(named) or in_python(self._arrays.one(node, "endog"))

    # ---- values ----------------------------------------------------------------------------------------------------

    def _resolved(self, node: ast.expr) -> ast.expr:
        return self._code.resolved(node)

    def _text(self, node: ast.expr, what: str) -> str:
        try:
            value = self._code.literal(node)
        except Unread as error:
            raise CallError(
                f"{what} is {ast.unparse(node)}, which is no text that can be read without running it"
            ) from error
        if not isinstance(value, str):
            raise CallError(f"{what} is {ast.unparse(node)}, which is no text")
        return value

    def _flag(self, given: Mapping[str, ast.expr], name: str, otherwise: bool) -> bool:
        if name not in given:
            return otherwise
        value = self._resolved(given[name])
        if not isinstance(value, ast.Constant) or value.value not in (True, False):
            raise CallError(f"{name} is {ast.unparse(given[name])}: expected True or False")
        return bool(value.value)

    def _methods(self, node: ast.expr | None) -> tuple[str, ...]:
        if node is None:
            return ()
        value = self._resolved(node)
        parts = value.elts if isinstance(value, ast.List | ast.Tuple) else [value]
        return tuple(self._text(part, "method") for part in parts)

    def _options(self, fitted: Mapping[str, ast.expr]) -> dict[str, Any]:
        """The arguments of the search beside the optimizers, as far as they are plain values."""
        given = {}
        for name, node in fitted.items():
            if name in _OPTIONS - {"disp"} or name in ("niter_sa", "do_cg"):
                with suppress(Unread):
                    given[name] = self._code.literal(node)
        return given

    def _groups(self, node: ast.expr | None) -> tuple[tuple[str, ...], bool]:
        """The columns of the groups, and whether they are several grouping columns."""
        value = self._resolved(node) if node is not None else None
        if value is None:
            return (), False
        if isinstance(value, ast.List | ast.Tuple) and value.elts and all(map(is_text, value.elts)):
            return tuple(self._text(part, "groups") for part in value.elts), len(value.elts) > 1
        if isinstance(value, ast.Subscript) and len(names := listed(self._code, value.slice)) > 1:
            return names, True
        return self._one(value), False

    def _one(self, value: ast.expr) -> tuple[str, ...]:
        """The columns that one grouping factor is made of, none for a constant."""
        columns = self._joint(value)
        if columns is None:
            raise CallError(f"groups={ast.unparse(value)} is no column that can be read without running the code")
        if len(columns) == 1 and columns[0] in self._columns:  # a column that the code has made
            if isinstance(self._columns[columns[0]], ast.Constant):
                return ()
            made = self._joint(self._columns[columns[0]])
            if made is not None and made != columns:
                return made
        return columns

    def _joint(self, value: ast.expr) -> tuple[str, ...] | None:
        """The columns whose combinations are the groups; None where they cannot be read."""
        value = self._resolved(value)
        while (inner := same_groups_as(value)) is not None:
            value = self._resolved(inner)
        if is_constant(value):
            return ()
        if isinstance(value, ast.Name):  # made elsewhere, of what is called so
            return (value.id,)
        if isinstance(value, ast.Constant) and isinstance(value.value, str):
            return tuple(part.strip() for part in value.value.split(":"))
        if (column := column_of(value)) is not None:
            return (column,)
        if isinstance(value, ast.Subscript) and len(names := listed(self._code, value.slice)) == 1:
            return names
        if isinstance(value, ast.ListComp):
            return self._put_together(value)
        if isinstance(value, ast.BinOp) and isinstance(value.op, ast.Add):
            return self._both(*(side for side in (value.left, value.right) if not is_text(side)))
        return self._combined(value) if isinstance(value, ast.Call) else None

    def _both(self, *parts: ast.expr) -> tuple[str, ...] | None:
        sides = [self._joint(part) for part in parts]
        return None if None in sides else tuple(dict.fromkeys(name for side in sides for name in side or ()))

    def _combined(self, value: ast.Call) -> tuple[str, ...] | None:
        """The columns that a method combines: ``df[["a", "b"]].agg(...)``, ``a.str.cat(b)``, ``ngroup()``."""
        if not isinstance(value.func, ast.Attribute):
            return None
        method, of = value.func.attr, value.func.value
        while isinstance(of, ast.Call) and isinstance(of.func, ast.Attribute) and of.func.attr in ("astype", "map"):
            of = of.func.value
        if method in ("apply", "agg", "sum") and isinstance(of, ast.Subscript):
            return listed(self._code, of.slice) or None
        if method == "cat" and isinstance(of, ast.Attribute) and value.args:
            return self._both(of.value, value.args[0])
        if method == "ngroup" and isinstance(of, ast.Call) and of.args:
            return listed(self._code, of.args[0]) or None
        return None

    def _put_together(self, value: ast.ListComp) -> tuple[str, ...] | None:
        """The columns of ``[f"{a}_{b}" for a, b in zip(df.a, df.b)]``."""
        (loop, *more) = value.generators
        of, target = loop.iter, loop.target
        if not isinstance(of, ast.Call) or ast.unparse(of.func) != "zip" or not isinstance(target, ast.Tuple):
            return None
        if more or loop.ifs or not isinstance(value.elt, ast.JoinedStr | ast.Tuple | ast.BinOp):
            return None
        used = {part.id for part in ast.walk(value.elt) if isinstance(part, ast.Name)}
        names = [part.id for part in target.elts if isinstance(part, ast.Name)]
        sides = [self._joint(part) for part, name in zip(of.args, names, strict=False) if name in used]
        return None if None in sides or not sides else tuple(name for side in sides for name in side or ())

    # ---- free ------------------------------------------------------------------------------------------------------

    def _free(self, node: ast.expr | None) -> tuple[tuple[tuple[bool, ...], ...] | None, tuple[int, ...]]:
        """Which entries of the covariance matrix, and which variance components are held."""
        if node is None:
            return None, ()
        value, covariance, components = self._resolved(node), None, None
        if isinstance(value, ast.Call) and ast.unparse(value.func).endswith("from_components"):
            given = self._arguments(value, ("fe_params", "cov_re", "cov_re_sqrt", "vcomp"))
            covariance, components = given.get("cov_re", given.get("cov_re_sqrt")), given.get("vcomp")
        items = self._code.items(node)
        covariance, components = items.get("cov_re", covariance), items.get("vcomp", components)
        matrix = None if covariance is None else pattern_of(self._resolved(covariance))
        if matrix is None:
            raise CallError(
                f"free={ast.unparse(node)} cannot be read without running the code: write it as "
                "MixedLMParams.from_components(np.ones(p), np.eye(q))"
            )
        held = () if components is None else held_in(self._resolved(components))
        return matrix, held
