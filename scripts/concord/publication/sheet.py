"""A case as a sheet of plain text, in the manner of NIST's Statistical Reference Datasets."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from typing import Any

WIDTH = 100


def sheet(case: dict[str, Any]) -> str:
    """A case in plain text: what it is, what is certified of it and how, and the data."""
    return "\n".join(line.rstrip() for line in _lines(case)) + "\n"


def _lines(case: dict[str, Any]) -> Iterator[str]:
    source = case["source"]
    yield from _field("Case", f"{case['id']}, version {case['version']}")
    yield from _field("Title", case["title"])
    yield from _field("Source", f"{source['from']} {source['version']}. {source['citation']}")
    yield from _field("Licence", f"{source['licence']}; see {source['licence_file']}")
    yield from _field("Data", f"{len(case['y'])} observations; response and columns in the units below")
    for name, column in case["columns"].items():
        unit = f", {column['unit']}" if column["unit"] else ""
        levels = f": {len(column['levels'])} levels" if "levels" in column else ""
        yield from _field("", f"{name} ({column['type']}{unit}{levels}): {column['meaning']}")
    yield from _field("Model", f"{case['difficulty']} difficulty: {case['formula']}")
    if case["weights_column"]:
        yield from _field("", f"the residual variance of a row is divided by its {case['weights_column']}")
    for term in case["Z"]:
        yield from _field("", f"({', '.join(term['names'])} | {term['group']}): {len(term['levels'])} groups")
    for name, coding in case["coding"].items():
        yield from _field("", f"{name}: {coding['contrasts']}, levels {', '.join(coding['levels'])}")
    for method, optimum in case["optimum"].items():
        yield ""
        yield f"Certified values, {method}"
        yield ""
        yield from _values(case, optimum)
        for statement in optimum["statements"]:
            yield from textwrap.wrap(statement, WIDTH, initial_indent="  ", subsequent_indent="  ")
    yield ""
    yield "Data, a tab between columns"
    yield ""
    yield "\t".join(case["data"])
    for row in zip(*case["data"].values(), strict=True):
        yield "\t".join("" if value is None else str(value) for value in row)


def _field(name: str, text: str) -> Iterator[str]:
    indent = " " * 10
    yield from textwrap.wrap(text, WIDTH, initial_indent=f"{name + ':' if name else '':<10}", subsequent_indent=indent)


def _values(case: dict[str, Any], optimum: dict[str, Any]) -> Iterator[str]:
    rows = [("log-likelihood", optimum["loglik"], "")]
    rows += [(name, value["estimate"], value["std_error"]) for name, value in optimum["fixed"].items()]
    for term, matrix in zip(case["Z"], optimum["covariances"], strict=True):
        for i, one in enumerate(term["names"]):
            rows += [
                (f"covariance {other}, {one} | {term['group']}", matrix[i][j], "")
                for j, other in enumerate(term["names"][:i])
            ]
            rows.append((f"variance {one} | {term['group']}", matrix[i][i], ""))
    rows.append(("residual variance", optimum["residual_variance"], ""))
    widths = [max(len(row[k]) for row in [*rows, ("", "Estimate", "")]) for k in range(2)]
    yield f"  {'Parameter':<{widths[0]}}  {'Estimate':>{widths[1]}}  Standard error"
    for name, value, error in rows:
        yield f"  {name:<{widths[0]}}  {value:>{widths[1]}}  {error}"
    yield ""
