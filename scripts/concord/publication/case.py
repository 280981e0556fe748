"""A case: one model on one table, with its matrices in decimals and what is certified of it by REML and by ML."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Context, Decimal
from typing import Any

import numpy as np
import pandas as pd
from flint import ctx

from concord.arrays import Matrix
from concord.cases import certified
from concord.models.decimals import Columns
from concord.models.design import Design, DesignTerm
from concord.models.model import Model
from concord.models.parameters import Parameters, entries
from concord.models.syntax import Call, Name, Node, Text
from concord.publication import difficulty
from concord.publication.numerals import Numeral, numeral
from concord.reference.record import ParameterRecord, Record

SCHEMA = "1.1"
VERSION = "1.0"
"""Of a case that is not said to have another: it counts up when a number of it changes."""
DIGITS = 20
BITS = 256


def case(models: Sequence[Model], records: Sequence[Record]) -> dict[str, Any]:
    """A model as a record for JSON; see ``schema.json``.

    Parameters
    ----------
    models : the same model by every method that it is certified by
    records : what is certified of each
    """
    model, design = models[0], models[0].design
    return {
        "schema": SCHEMA,
        "id": model.id,
        "version": VERSION,
        "title": f"{model.dataset.title}: {model.record.title}",
        "difficulty": difficulty.grade(design, [(_parameters(design, record), _others(record)) for record in records]),
        "formula": model.record.formula,
        "weights_column": model.record.weights,
        "source": _source(model),
        "columns": _columns(model),
        "data": {name: _data(model.frame[name]) for name in _names(model)},
        "rows": None if len(design.rows) == len(model.frame) else design.rows.tolist(),
        "coding": _coding(model),
        **_matrices(model),
        "optimum": {each.method: _optimum(design, record) for each, record in zip(models, records, strict=True)},
    }


def _names(model: Model) -> list[str]:
    """The columns of the table that the formula and its weights name."""
    named = set(model.formula.variables) | ({model.record.weights} if model.record.weights else set())
    return [name for name in model.frame.columns if name in named]


def _source(model: Model) -> dict[str, str]:
    dataset = model.dataset
    return {
        "dataset": dataset.id,
        "from": dataset.source,
        "version": dataset.version,
        "citation": dataset.citation,
        "licence": dataset.licence,
        "licence_file": f"licences/{dataset.id}.txt",
        "sha256": dataset.sha256,
    }


def _columns(model: Model) -> dict[str, Any]:
    columns = model.dataset.columns
    return {
        name: {
            "type": columns[name].type,
            "unit": columns[name].unit,
            "meaning": columns[name].meaning,
            **({"levels": columns[name].levels} if columns[name].levels is not None else {}),
        }
        for name in _names(model)
    }


def _data(values: pd.Series) -> list[Any]:
    """A column of the table, None where a value is missing."""
    if pd.api.types.is_bool_dtype(values):
        return [bool(value) for value in values]
    numeric = pd.api.types.is_numeric_dtype(values)
    return [
        None if missing else numeral(value) if numeric else str(value)
        for value, missing in zip(values.tolist(), values.isna(), strict=True)
    ]


def _coding(model: Model) -> dict[str, Any]:
    """Every factor of the model with its levels in their order, and the contrasts by R's name."""
    special = dict(_contrasts(model.formula.tree.fixed))
    coding = {}
    for name, levels in model.design.factors.items():
        values = model.frame.get(name)
        ordered = values is not None and isinstance(values.dtype, pd.CategoricalDtype) and values.cat.ordered
        usual = "contr.poly" if ordered else "contr.treatment"
        coding[name] = {"levels": list(levels), "contrasts": special.get(name, usual)}
    return coding


def _contrasts(node: Node) -> list[tuple[str, str]]:
    """The factors that a formula codes by itself, C(x, "contr.sum")."""
    if not isinstance(node, Call):
        return []
    if node.function == "C" and isinstance(node.arguments[0], Name) and isinstance(node.arguments[1], Text):
        return [(node.arguments[0].name, node.arguments[1].text)]
    return [pair for argument in node.arguments for pair in _contrasts(argument)]


def _matrices(model: Model) -> dict[str, Any]:
    """y less its offsets, X and Z, and the weights, in decimals."""
    coded = model.design.as_coded
    kept, ctx.prec = ctx.prec, BITS
    try:
        exact = Columns(model.formula, model.frame, model.design)
        return {
            "exact": exact.source == "decimals",
            "y": [numeral(number) for number in exact.response()],
            "offset": None if coded.offset is None else [numeral(number) for number in coded.offset.tolist()],
            "weights": None if exact.weights is None else [numeral(number) for number in exact.weights],
            "X": {"names": list(coded.names), "columns": _exact(exact, coded.X, coded.names)},
            "Z": [_term(exact, term) for term in coded.terms],
        }
    finally:
        ctx.prec = kept


def _term(exact: Columns, term: DesignTerm) -> dict[str, Any]:
    return {
        "group": term.group,
        "names": list(term.names),
        "columns": _exact(exact, term.matrix, term.names),
        "codes": term.codes.tolist(),
        "levels": list(term.levels),
    }


def _exact(exact: Columns, matrix: Matrix, names: Sequence[str]) -> list[list[Numeral]]:
    return [
        [numeral(number) for number in exact.of(column, name)] for column, name in zip(matrix.T, names, strict=True)
    ]


def _parameters(design: Design, record: Record) -> Parameters:
    """The certified optimum in double precision."""
    return Parameters.from_packed(np.array([float(row.estimate) for row in record.estimates]), design)


def _others(record: Record) -> bool:
    return bool(record.checks.other_optima)


def _optimum(design: Design, record: Record) -> dict[str, Any]:
    """What is certified by one method, to 20 digits."""
    checks = record.checks
    return {
        "loglik": _rounded(record.loglik),
        **_estimates(design, record.estimates),
        "boundary": bool(checks.boundary),
        "proved": checks.proved,
        "statements": certified.proved(record),
        "other_optima": [
            {
                "loglik": _rounded(other.decimals),
                **_estimates(design, other.estimates),
                "proved": "local" if other.proved else "found",
            }
            for other in checks.other_optima
        ],
        "certified": record.provenance.date,
        "checksum": record.checksum,
    }


def _estimates(design: Design, rows: Sequence[ParameterRecord]) -> dict[str, Any]:
    """Fixed effects with standard errors, covariance matrices and residual variance, of the rows of a record."""
    entry = iter(rows)
    fixed = {}
    for name in design.names:
        row = next(entry)
        fixed[name] = {"estimate": _rounded(row.estimate), "std_error": _rounded(row.std_error or "")}
    covariances = []
    for term in design.terms:
        q = len(term.names)
        matrix = [[""] * q for _ in range(q)]
        for i, j in entries(q):
            matrix[i][j] = matrix[j][i] = _rounded(next(entry).estimate)
        covariances.append(matrix)
    return {"fixed": fixed, "covariances": covariances, "residual_variance": _rounded(next(entry).estimate)}


def _rounded(decimal: str) -> str:
    """A certified decimal with 20 significant digits."""
    number = Context(prec=DIGITS).plus(Decimal(decimal))
    if not number:
        return "0"
    return f"{number:f}" if -5 <= number.adjusted() < DIGITS else f"{number:e}"
