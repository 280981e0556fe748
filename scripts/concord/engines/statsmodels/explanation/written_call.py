"""A call of MixedLM: its arguments, as a text has them that somebody wrote. The text is parsed and never evaluated."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from concord.engines.calls import CallError
from concord.engines.statsmodels.explanation.notation import in_python
from concord.engines.statsmodels.explanation.values import (
    column_of,
    held_in,
    is_categorical,
    is_constant,
    is_none,
    is_text,
    names_in,
    pairs_of,
    pattern_of,
    same_groups_as,
)

LONGEST = 20_000
# The positional arguments of the two ways to call it, and of fit.
_BY_FORMULA = ("formula", "data", "re_formula", "vc_formula", "subset", "use_sparse", "missing")
_BY_ARRAYS = ("endog", "exog", "groups", "exog_re", "exog_vc", "use_sqrt", "missing")
_FITS = ("fit", "fit_regularized")
_FIT = ("start_params", "reml", "niter_sa", "do_cg", "fe_pen", "cov_pen", "free", "full_output", "method")
_HARMLESS = {"data", "use_sparse", "eval_env", "start_params", "niter_sa", "full_output", "hasconst"}
_OPTIONS = {"gtol", "maxiter", "eps", "maxcor", "ftol", "tol", "disp", "maxls", "xtol", "pgtol", "factr"}


@dataclass(frozen=True)
class MixedLMCall:
    """What MixedLM was called with.

    Attributes
    ----------
    formula : response and fixed part, in patsy's notation
    groups : the columns whose combinations are the groups; none where all rows are one group
    joined : whether several were given as one text, ``a:b``
    several : whether `groups` were given as so many grouping columns, which MixedLM does not take
    re_formula : the correlated effects; None where it was left out
    vc_formula : the variance components by name
    free : which entries of the random effects' covariance matrix are estimated, row by row; None for all, and nothing
        for the diagonal ones of a matrix of whatever size
    held : the names or numbers of variance components that `free` holds at their start
    use_sqrt, reml, missing : as given
    methods : the optimizers; none where they are MixedLM's own
    arrays : whether it was called with arrays
    made : columns that were made categories or text before
    penalized : whether the likelihood is penalized
    ignored : the effects of ``exog_re`` where it was given beside a formula, by which MixedLM does not see it
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
    arrays: bool = False
    made: frozenset[str] = frozenset()
    penalized: bool = False
    ignored: str = ""


def read(text: str) -> MixedLMCall | None:
    """The call in a text of Python; None where there is none in it.

    Parameters
    ----------
    text : ``smf.mixedlm(...)``, ``sm.MixedLM(...)`` or ``MixedLM.from_formula(...)``, with its ``fit`` or without, and
        the statements before it that its names come from

    Raises
    ------
    CallError : it does not parse, or an argument is not one that can be read without running it
    """
    if len(text) > LONGEST:
        raise CallError(f"the code is too long: {len(text)} characters; give the call and what it needs")
    try:
        tree = ast.parse(_without_prompts(text).strip())
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise CallError(f"the code does not parse as Python: {str(error).splitlines()[0]}") from error
    found = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and _kind(node)]
    if not found:
        return None
    if len(found) > 1:
        raise CallError(f"{len(found)} calls of MixedLM stand in the code: give one at a time")
    return _Reader(tree, found[0]).call()


def _without_prompts(text: str) -> str:
    """The code of a session as a page shows it, and without IPython's commands."""
    lines = text.splitlines()
    if any(line.startswith(">>> ") for line in lines):
        lines = [line[4:] for line in lines if line.startswith((">>> ", "... "))]
    return "\n".join(line for line in lines if not line.startswith(("%", "!")))


def _kind(node: ast.Call) -> str:
    """``formula`` or ``arrays``, where it is a call of MixedLM."""
    name = ast.unparse(node.func).rpartition(".")
    if name[2] == "mixedlm" or (name[2] == "from_formula" and name[0].endswith("MixedLM")):
        return "formula"
    return "arrays" if name[2] == "MixedLM" else ""


class _Reader:
    """Reads one call, with what its names were given before it."""

    def __init__(self, tree: ast.Module, node: ast.Call) -> None:
        self._node, self._tree = node, tree
        self._names: dict[str, ast.expr] = {}
        self._columns: dict[str, ast.expr] = {}  # what a column of the table was made of
        for statement in ast.walk(tree):
            if isinstance(statement, ast.Assign) and len(statement.targets) == 1:
                self._assigned(statement.targets[0], statement.value)
            elif isinstance(statement, ast.Call) and ast.unparse(statement.func).endswith(".assign"):
                self._columns |= {word.arg: word.value for word in statement.keywords if word.arg}

    def _assigned(self, target: ast.expr, value: ast.expr) -> None:
        if isinstance(target, ast.Name):
            self._names[target.id] = value
        elif isinstance(target, ast.Attribute):  # free.cov_re = np.eye(2)
            self._names[ast.unparse(target)] = value
        elif (column := column_of(target)) is not None:
            self._columns[column] = value

    def call(self) -> MixedLMCall:
        kind = _kind(self._node)
        given = self._arguments(self._node, _BY_FORMULA if kind == "formula" else _BY_ARRAYS)
        fitted = self._fitted()
        self._check(given, fitted)
        described = self._by_formula(given) if kind == "formula" else self._by_arrays(given)
        groups, several = self._groups(given.get("groups"))
        free, held = self._free(fitted.get("free"))
        shown = self._resolved(given["groups"])
        ignored = _sum(*self._array(given["exog_re"], "exog_re")) if kind == "formula" and "exog_re" in given else ""
        made = {column for column, value in self._columns.items() if is_categorical(value)}
        return MixedLMCall(
            **described,
            groups=groups,
            several=several,
            joined=is_text(shown) and len(groups) > 1,
            ignored=ignored,
            free=free,
            held=held,
            use_sqrt=self._flag(given, "use_sqrt", True),
            reml=self._flag(fitted, "reml", True),
            missing=self._text(given["missing"], "missing") if "missing" in given else "none",
            methods=self._methods(fitted.get("method")),
            made=frozenset(made),
            penalized=any(not is_none(fitted[name]) for name in ("fe_pen", "cov_pen") if name in fitted),
        )

    # ---- arguments -------------------------------------------------------------------------------------------------

    def _arguments(self, node: ast.Call, names: Sequence[str]) -> dict[str, ast.expr]:
        if any(isinstance(argument, ast.Starred) for argument in node.args) or len(node.args) > len(names):
            raise CallError(f"{ast.unparse(node.func)} has positional arguments that cannot be told apart: name them")
        given = dict(zip(names, node.args, strict=False))
        for word in node.keywords:
            if word.arg is None:
                value = self._resolved(word.value)
                if not isinstance(value, ast.Dict):
                    raise CallError(f"**{ast.unparse(word.value)} cannot be read without running it: write it out")
                given |= {
                    self._text(key, "a name"): one for key, one in zip(value.keys, value.values, strict=True) if key
                }
            elif word.arg in given:
                raise CallError(f"{ast.unparse(node.func)} is given {word.arg} twice")
            else:
                given[word.arg] = word.value
        return {name: value for name, value in given.items() if not is_none(value)}

    def _fitted(self) -> dict[str, ast.expr]:
        """The arguments of ``fit``, on the call itself or on the name that it was given."""
        calls = [node for node in ast.walk(self._tree) if isinstance(node, ast.Call)]
        fits = [call for call in calls if isinstance(call.func, ast.Attribute) and call.func.attr in _FITS]
        own = [
            call
            for call in fits
            if isinstance(call.func, ast.Attribute) and self._resolved(call.func.value) is self._node
        ]
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
                hint = ": it takes no weights, and stops" if name == "weights" else ""
                raise CallError(f"MixedLM has no argument {name}{hint}")
        for name in ("subset", "exog_vc"):
            if name in given:
                raise CallError(
                    f"{name} cannot be read without running the code: "
                    + ("subset the table first" if name == "subset" else "write it as vc_formula")
                )
        for name in fitted:
            if name not in _FIT and name not in _OPTIONS:
                raise CallError(f"MixedLM's fit has no argument {name}")
        if "groups" not in given:
            raise CallError("the call has no groups: MixedLM asks for them by name")

    def _by_formula(self, given: Mapping[str, ast.expr]) -> dict[str, Any]:
        if "formula" not in given:
            raise CallError("the call has no formula")
        components: dict[str, str] = {}
        if "vc_formula" in given:
            value = self._resolved(given["vc_formula"])
            pairs = pairs_of(value)
            if pairs is None:
                raise CallError(
                    f"vc_formula={ast.unparse(value)} cannot be read without running it: write a dictionary"
                )
            components = {self._text(key, "a name in vc_formula"): self._text(one, "vc_formula") for key, one in pairs}
        re_formula = self._text(given["re_formula"], "re_formula") if "re_formula" in given else None
        return {"formula": self._text(given["formula"], "formula"), "re_formula": re_formula, "vc_formula": components}

    def _by_arrays(self, given: Mapping[str, ast.expr]) -> dict[str, Any]:
        if "endog" not in given or "exog" not in given:
            raise CallError("the call has no endog or no exog")
        named = self._resolved(given["endog"])
        response = (False, (named.id,)) if isinstance(named, ast.Name) else self._array(named, "endog")
        if len(response[1]) != 1:
            raise CallError("endog is not one column")
        fixed = _sum(*self._array(given["exog"], "exog"))
        random = _sum(*self._array(given["exog_re"], "exog_re")) if "exog_re" in given else None
        return {"formula": f"{in_python(response[1][0])} ~ {fixed}", "re_formula": random, "arrays": True}

    # ---- values ----------------------------------------------------------------------------------------------------

    def _resolved(self, node: ast.expr) -> ast.expr:
        seen: set[str] = set()
        while isinstance(node, ast.Name) and node.id in self._names and node.id not in seen:
            seen.add(node.id)
            node = self._names[node.id]
        return node

    def _text(self, node: ast.expr, what: str) -> str:
        value = self._resolved(node)
        if isinstance(value, ast.BinOp) and isinstance(value.op, ast.Add):
            return self._text(value.left, what) + self._text(value.right, what)
        if not isinstance(value, ast.Constant) or not isinstance(value.value, str):
            raise CallError(f"{what} is {ast.unparse(node)}, which is no text that can be read without running it")
        return value.value

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

    def _groups(self, node: ast.expr | None) -> tuple[tuple[str, ...], bool]:
        """The columns of the groups, and whether they are several grouping columns."""
        value = self._resolved(node) if node is not None else None
        if value is None:
            return (), False
        if isinstance(value, ast.List | ast.Tuple) and value.elts and all(map(is_text, value.elts)):
            return tuple(self._text(part, "groups") for part in value.elts), len(value.elts) > 1
        if isinstance(value, ast.Subscript) and (listed := names_in(value.slice)) and len(listed) > 1:
            return listed, True
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
        if method in ("apply", "agg", "sum") and isinstance(of, ast.Subscript):
            return names_in(of.slice) or None
        if method == "cat" and isinstance(of, ast.Attribute) and value.args:
            return self._both(of.value, value.args[0])
        if method == "ngroup" and isinstance(of, ast.Call) and of.args:
            return names_in(of.args[0]) or None
        return None

    def _array(self, node: ast.expr, what: str) -> tuple[bool, tuple[str, ...]]:
        """Whether a column of ones is among the columns of an array, and the others."""
        value = self._resolved(node)
        if isinstance(value, ast.Call):
            called = ast.unparse(value.func).rpartition(".")[2]
            if called == "add_constant" and value.args:
                return True, self._array(value.args[0], what)[1]
            if called in ("ones", "ones_like"):
                return True, ()
            if called in ("to_numpy", "astype", "copy", "reshape") and isinstance(value.func, ast.Attribute):
                return self._array(value.func.value, what)
            if called in ("asarray", "array") and value.args:
                return self._array(value.args[0], what)
            if called == "column_stack" and value.args and isinstance(value.args[0], ast.List | ast.Tuple):
                parts = [self._array(part, what) for part in value.args[0].elts]
                return any(one for one, _ in parts), tuple(name for _, names in parts for name in names)
        if isinstance(value, ast.Attribute) and value.attr in ("values", "T"):
            return self._array(value.value, what)
        listed = names_in(value.slice) if isinstance(value, ast.Subscript) else ()
        names = listed if len(listed) > 1 else (column_of(value),)
        if names == (None,):
            raise CallError(f"{what}={ast.unparse(node)} is no column that can be read without running the code")
        constant = {name for name in names if name in self._columns and is_constant(self._columns[name])}
        constant |= {name for name in names if name in ("const", "Intercept", "intercept")}
        return bool(constant), tuple(name for name in names if name not in constant and name is not None)

    # ---- free ------------------------------------------------------------------------------------------------------

    def _free(self, node: ast.expr | None) -> tuple[tuple[tuple[bool, ...], ...] | None, tuple[int, ...]]:
        """Which entries of the covariance matrix, and which variance components are held."""
        if node is None:
            return None, ()
        value, covariance, components = self._resolved(node), None, None
        if isinstance(value, ast.Call) and ast.unparse(value.func).endswith("from_components"):
            given = self._arguments(value, ("fe_params", "cov_re", "cov_re_sqrt", "vcomp"))
            covariance, components = given.get("cov_re", given.get("cov_re_sqrt")), given.get("vcomp")
        if isinstance(node, ast.Name):
            covariance = self._names.get(f"{node.id}.cov_re", covariance)
            components = self._names.get(f"{node.id}.vcomp", components)
        matrix = None if covariance is None else pattern_of(self._resolved(covariance))
        if matrix is None:
            raise CallError(
                f"free={ast.unparse(node)} cannot be read without running the code: write it as "
                "MixedLMParams.from_components(np.ones(p), np.eye(q))"
            )
        held = () if components is None else held_in(self._resolved(components))
        return matrix, held


def _sum(intercept: bool, columns: Sequence[str]) -> str:
    return " + ".join(["1" if intercept else "0", *map(in_python, columns)])
