"""A call of MixedLM of what it was given: an object of it, arrays, or arguments by name; with the table of them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from concord.engines.calls import CallError
from concord.engines.statsmodels.explanation.notation import in_python, terms
from concord.engines.statsmodels.explanation.written_call import MixedLMCall
from concord.models.coding import same_groups, same_numbers

Pattern = tuple[tuple[bool, ...], ...]


def is_native(given: Any) -> bool:
    """Whether this is a model object of MixedLM, or a result of one."""
    made = getattr(getattr(given, "_results", given), "model", given)
    return hasattr(made, "exog_vc") and hasattr(made, "group_labels")


def of_native(native: Any, frame: pd.DataFrame | None = None) -> tuple[MixedLMCall, pd.DataFrame]:
    """The call that an object of MixedLM was made by, and its table.

    Parameters
    ----------
    native : a ``MixedLM``, or a result of its ``fit``
    frame : the table that its arrays are columns of; None for the one that the object holds, or one of its arrays

    Raises
    ------
    CallError : the table has other rows
    """
    results = getattr(native, "_results", native)
    model = getattr(results, "model", results)
    table = _Table(_table(model, frame))
    formula = getattr(model, "formula", None)
    if not isinstance(formula, str):
        response = table.column(model.endog, model.endog_names)
        formula = f"{in_python(response)} ~ {table.sum(model.exog, model.exog_names)}"
    groups = table.groups(model.groups)
    random = None
    if model.k_re:
        names = model.data.exog_re_names
        random = table.sum(model.exog_re, names)
    components = {
        name: _component(columns) for name, columns in zip(model.exog_vc.names, model.exog_vc.colnames, strict=True)
    }
    call = MixedLMCall(
        formula,
        groups,
        re_formula=random,
        vc_formula=components,
        use_sqrt=bool(model.use_sqrt),
        arrays=getattr(model, "formula", None) is None,
        missing="drop",
    )
    if results is not model:
        free = getattr(results, "freepat", None)
        call = replace(call, reml=bool(results.reml), **_free(free))
        if call.free is not None and _ignored(results, call.free):
            call = replace(call, methods=("powell",))
        penalized = any(getattr(model, name, None) is not None for name in ("fe_pen", "cov_pen"))
        call = replace(call, penalized=penalized)
    return call, table.frame


def of_arrays(
    response: Any, exog: Any, groups: Any, exog_re: Any = None, frame: pd.DataFrame | None = None
) -> tuple[MixedLMCall, pd.DataFrame]:
    """The call that arrays make, and a table of them.

    Parameters
    ----------
    response, exog, groups, exog_re : as ``MixedLM`` takes them: shapes (n,), (n, p), (n,) and (n, q)
    frame : the table that they are columns of; None where there is none

    Raises
    ------
    CallError : they are not of one length, or not numbers
    """
    rows = len(response)
    for what, array in (("exog", exog), ("groups", groups), ("exog_re", exog_re)):
        if array is not None and not isinstance(array, str) and len(array) != rows:
            raise CallError(f"{what} has {len(array)} rows, and the response has {rows}")
    table = _Table(pd.DataFrame(index=range(rows)) if frame is None else frame.reset_index(drop=True))
    named = table.column(np.asarray(response), getattr(response, "name", None) or "y")
    columns = groups if isinstance(groups, str) else None
    call = MixedLMCall(
        f"{in_python(named)} ~ {table.sum(_matrix(exog), _names(exog, 'x'))}",
        (columns,) if columns else table.groups(np.asarray(groups), getattr(groups, "name", None)),
        re_formula=None if exog_re is None else table.sum(_matrix(exog_re), _names(exog_re, "z")),
        arrays=True,
    )
    return call, table.frame


def of_arguments(arguments: Mapping[str, Any], frame: pd.DataFrame | None) -> tuple[MixedLMCall, pd.DataFrame | None]:
    """The call that arguments by name make, and its table, where they hold one.

    Parameters
    ----------
    arguments : of ``mixedlm`` and of its ``fit``, as MixedLM has them: ``formula``, ``groups``, ``re_formula``, ...

    Raises
    ------
    CallError : an argument is of another kind than MixedLM takes
    """
    given = {name: value for name, value in arguments.items() if value is not None}
    formula, groups = given.get("formula"), given.get("groups")
    if groups is None:
        raise CallError("groups is missing: a column's name, a list of them, or the groups themselves")
    if not isinstance(formula, str):
        if "exog" not in given:
            raise CallError("formula is missing: text such as 'y ~ x', or endog and exog as arrays")
        call, frame = of_arrays(formula, given["exog"], groups, given.get("exog_re"), frame)
    else:
        columns, several, frame = _by_name(groups, frame)
        random = given.get("re_formula")
        if given.get("exog_re") is not None:
            if frame is None:
                raise CallError("exog_re is an array: give the table, too, that it belongs to")
            table = _Table(frame)
            random, frame = table.sum(_matrix(given["exog_re"]), _names(given["exog_re"], "z")), table.frame
        components = given.get("vc_formula", {})
        if not isinstance(components, Mapping) or not all(isinstance(one, str) for one in components.values()):
            raise CallError("vc_formula is a dictionary of formulas, such as {'a': '0 + C(a)'}")
        if random is not None and not isinstance(random, str):
            raise CallError(f"re_formula is text, such as '~x', not {type(random).__name__}")
        joined = isinstance(groups, str) and len(columns) > 1
        call = MixedLMCall(
            formula, columns, several, joined, random, {str(key): one for key, one in components.items()}
        )
    methods = given.get("method", ())
    return replace(
        call,
        use_sqrt=bool(given.get("use_sqrt", True)),
        reml=bool(given.get("reml", True)),
        missing=str(given.get("missing", "none")),
        methods=(methods,) if isinstance(methods, str) else tuple(methods),
        **_free(given.get("free")),
    ), frame


def _by_name(groups: Any, frame: pd.DataFrame | None) -> tuple[tuple[str, ...], bool, pd.DataFrame | None]:
    """The columns of the groups, whether they are several grouping columns, and the table that has them."""
    if isinstance(groups, str):
        whole = frame is not None and groups in frame.columns
        return (groups,) if whole else tuple(part.strip() for part in groups.split(":")), False, frame
    if isinstance(groups, pd.DataFrame):
        groups = list(groups.columns) if groups.shape[1] > 1 else groups.iloc[:, 0]
    named = isinstance(groups, list | tuple) and all(isinstance(one, str) for one in groups)
    if named and (frame is None or set(groups) <= set(frame.columns)):
        return tuple(groups), len(groups) > 1, frame
    if np.ndim(groups) == 0:
        raise CallError(f"groups is a column's name, a list of them, or the groups themselves, not {groups!r}")
    values, label = np.asarray(groups), getattr(groups, "name", None)
    if frame is None and label is not None:
        return (str(label),), False, None
    if frame is None or len(values) != len(frame):
        told = "there is no table" if frame is None else f"the table has {len(frame)}"
        raise CallError(f"groups has {len(values)} rows, and {told}")
    table = _Table(frame)
    return table.groups(values, label), False, table.frame


def _free(free: Any) -> dict[str, Any]:
    """``free`` and ``held`` of a call, of a ``MixedLMParams``."""
    if free is None:
        return {}
    covariance, components = getattr(free, "cov_re", free), getattr(free, "vcomp", (1,))
    if not np.size(covariance):  # all covariances held, of however many effects
        return {"free": ()}
    pattern = np.atleast_2d(np.asarray(covariance)) != 0
    if pattern.ndim != 2 or pattern.shape[0] != pattern.shape[1]:
        raise CallError("free is a MixedLMParams, whose cov_re is a square matrix of ones and zeros")
    held = tuple(int(i) for i in np.flatnonzero(np.asarray(components) == 0))
    return {"free": tuple(tuple(map(bool, row)) for row in pattern), "held": held}


def _ignored(results: Any, free: Pattern) -> bool:
    """Whether a covariance that should be held at zero is not, as with optimizers that ask for no gradient."""
    covariance = np.asarray(results.cov_re)
    held = ~np.array(free, bool)
    return bool(len(free) == len(covariance) and covariance[held & ~np.eye(len(held), dtype=bool)].any())


def _component(columns: Sequence[Sequence[str]]) -> str:
    """The formula of a variance component, of the names that patsy gave its columns in every group."""
    names = list(dict.fromkeys(name for group in columns for name in group))
    bare = list(dict.fromkeys(re.sub(r"\[[^\]]*\]", "", name) for name in names if name != "Intercept"))
    # A name's brackets tell that the column is one of a factor's, which text makes without a word.
    coded = {re.sub(r"\[[^\]]*\]", "", name) for name in names if "[" in name and ":" not in name}
    shown = [f"C({name})" if name in coded and not name.startswith("C(") else name for name in bare]
    return " + ".join(["1" if "Intercept" in names else "0", *shown])


def _table(model: Any, frame: pd.DataFrame | None) -> pd.DataFrame:
    own = getattr(model.data, "frame", None)
    own = pd.DataFrame(dict(own)) if isinstance(own, Mapping) else own
    table = own if isinstance(own, pd.DataFrame) else pd.DataFrame(index=range(len(model.endog)))
    if frame is not None and not (len(frame) != len(model.endog) == len(table)):  # rows may have been dropped
        if len(frame) != len(model.endog):
            raise CallError(f"the table has {len(frame)} rows, and the MixedLM object has {len(model.endog)}")
        table = frame
    return table.reset_index(drop=True)


def _matrix(array: Any) -> np.ndarray:
    try:
        matrix = np.asarray(array, float)
    except (TypeError, ValueError) as error:
        raise CallError("exog and exog_re are numbers, a column each") from error
    return matrix[:, None] if matrix.ndim == 1 else matrix


def _names(array: Any, prefix: str) -> list[str]:
    named = list(array.columns) if isinstance(array, pd.DataFrame) else [getattr(array, "name", None)]
    count = _matrix(array).shape[1]
    return [str(name) if name is not None else f"{prefix}{i}" for i, name in enumerate(named[:count], 1)] + [
        f"{prefix}{i}" for i in range(len(named) + 1, count + 1)
    ]


class _Table:
    """A table that arrays are looked up in, and which gets those that are not there."""

    def __init__(self, frame: pd.DataFrame) -> None:
        self.frame = frame.copy()

    def column(self, values: np.ndarray, name: str) -> str:
        """The column that has these numbers; a new one, where none has."""
        values = np.asarray(values, float).ravel()
        others = [column for column in self.frame.columns if column != name]
        for column in [*([name] if name in self.frame.columns else []), *others]:
            have = self.frame[column]
            numeric = pd.api.types.is_numeric_dtype(have) and len(have) == len(values) and not have.isna().any()
            if numeric and same_numbers(have.to_numpy(float), values):
                return str(column)
        return self._new(name, values)

    def sum(self, matrix: Any, names: Sequence[str]) -> str:
        """The columns of a matrix as a sum of terms of patsy, the intercept first."""
        matrix = np.asarray(matrix, float)
        intercept = [bool((column == column[0]).all() and column[0] != 0) for column in matrix.T]
        parts = ["1" if any(intercept) else "0"]
        for column, name, constant in zip(matrix.T, names, intercept, strict=False):
            if not constant:
                parts.append(self._part(column, str(name)))
        return " + ".join(dict.fromkeys(parts))

    def _part(self, values: np.ndarray, name: str) -> str:
        """A column as a term: of a factor's columns the factor, of a product its factors, and else the column."""
        bare = re.sub(r"\[[^\]]*\]", "", name)
        if name in self.frame.columns or (bare == name and "(" not in name and ":" not in name):
            return in_python(self.column(values, name))
        described = terms(f"0 + {bare}")
        known = all(one.column in self.frame.columns for one in described.every if one.column)
        return bare if known else in_python(self.column(values, name))

    def groups(self, groups: Any, name: object = None) -> tuple[str, ...]:
        """The columns whose combinations are the groups, none for one group; a new column, where none are."""
        groups = np.asarray(groups).ravel()
        if len(pd.unique(groups)) == 1:
            return ()
        columns = [column for column in self.frame.columns if not self.frame[column].isna().any()]
        same = [column for column in columns if same_groups(self.frame[column].to_numpy(), groups)]
        if same:
            return (str(name) if name in same else self._alike(same, groups),)
        within = [column for column in columns if _coarser(self.frame[column], groups)]
        for i, one in enumerate(within):
            for other in within[:i]:
                joint = self.frame.groupby([other, one], observed=True).ngroup().to_numpy()
                if same_groups(joint, groups):
                    return str(other), str(one)
        return (self._new(str(name or "groups"), groups),)

    def _alike(self, columns: Sequence[str], groups: np.ndarray) -> str:
        """Of columns that make the same groups the one whose values are theirs."""
        written = list(map(str, groups))
        return next((str(one) for one in columns if list(map(str, self.frame[one])) == written), str(columns[0]))

    def _new(self, name: str, values: np.ndarray) -> str:
        while name in self.frame.columns:
            name += "_"
        self.frame[name] = values
        return name


def _coarser(column: pd.Series, groups: np.ndarray) -> bool:
    codes = pd.factorize(groups)[0]
    return bool(1 < column.nunique() < len(column) and len({*zip(codes, column, strict=True)}) == codes.max() + 1)
