"""The tables that were made for the reference data, free of any licence: one seed, the same bytes each time.

This writes datasets/*/{dataset.toml,*.csv} beside this file; certify_datasets.py proves their optima. With --largest it
writes what is too large to be kept, large/*/{dataset.toml,*.csv}: of it, only the certificates are kept.

Each family asks one thing of an optimizer; the same model in other units and from other origins is a family, too.
"""

from __future__ import annotations

import hashlib
import json
import random
import sys
from collections.abc import Callable, Iterator, Sequence
from itertools import product
from pathlib import Path

PLACE = Path(__file__).resolve().parent / "datasets"
LARGE = PLACE.parent / "large"
SEED = 20261129

Row = dict[str, object]
Table = tuple[str, list[Row], dict[str, str]]
"""A table's title, its rows, and the formulas on it by name."""


def _draw(name: str) -> random.Random:
    return random.Random(f"{SEED} {name}")


def _round(value: float, digits: int = 4) -> str:
    return f"{value:.{digits}f}"


# ---- growth: the same subjects in many units --------------------

UNITS: dict[str, tuple[str, Callable[[int], int | str], Callable[[str], str]]] = {
    "growth": ("days from 0 to 10", str, str),
    "growth_thousandfold": ("the response in units a thousand times smaller", str, lambda y: _shifted(y, 3)),
    "growth_thousandth": ("the response in units a thousand times larger", str, lambda y: _shifted(y, -3)),
    "growth_fast": ("days in units a thousand times smaller", lambda x: 1000 * x, str),
    "growth_slow": ("days in units a thousand times larger", lambda x: _round(x / 1000, 3), str),
    "growth_late": ("days counted from 1000 days before", lambda x: x + 1000, str),
    "growth_seconds": ("days as Unix seconds of 2026", lambda x: 1767225600 + 86400 * x, str),
    "growth_high": ("the response with a million added", str, lambda y: f"{1000000 + float(y):.3f}"),
}


def _shifted(number: str, places: int) -> str:
    """A decimal of three places with its point moved, exactly."""
    whole = int(number.replace(".", ""))
    digits = 3 - places
    return str(whole) if digits == 0 else f"{'-' if whole < 0 else ''}{_pointed(abs(whole), digits)}"


def _pointed(whole: int, digits: int) -> str:
    text = f"{whole:0{digits + 1}d}"
    return f"{text[:-digits]}.{text[-digits:]}"


def growth() -> Iterator[tuple[str, Table]]:
    """Twenty subjects on six days, with an intercept and a slope each, in eight units."""
    rows = []
    draw = _draw("growth")
    for subject in range(1, 21):
        intercept, slope = draw.gauss(0, 4), draw.gauss(0, 0.5)
        for day in (0, 2, 4, 6, 8, 10):
            y = 50 + intercept + (2 + slope) * day + draw.gauss(0, 2)
            rows.append((f"s{subject:02d}", day, _round(y, 3)))
    models = {
        "intercept": "y ~ x + (1 | g)",
        "slope": "y ~ x + (1 + x | g)",
        "uncorrelated": "y ~ x + (1 | g) + (0 + x | g)",
    }
    for name, (title, of_x, of_y) in UNITS.items():
        in_units: list[Row] = [{"g": g, "x": of_x(x), "y": of_y(y)} for g, x, y in rows]
        yield name, (f"Growth of 20 subjects, {title}", in_units, models)


# ---- one way --------------------

ONE_WAY = [
    (4, 3, 0.5),
    (4, 3, 0.99),
    (6, 2, 0.3),
    (6, 10, 0.1),
    (10, 5, 0.5),
    (10, 5, 0.9),
    (10, 20, 0.02),
    (25, 2, 0.5),
]
ONE_WAY += [(25, 4, 0.05), (25, 4, 0.999), (40, 3, 0.2), (40, 3, 0.8)]


def one_way() -> Iterator[tuple[str, Table]]:
    """Groups and replicates, from hardly any to hardly anything but variance between groups."""
    for number, (groups, size, share) in enumerate(ONE_WAY, 1):
        name = f"oneway_{number:02d}"
        draw, rows = _draw(name), []
        for g in range(1, groups + 1):
            effect = draw.gauss(0, share**0.5)
            rows += [
                {"g": f"g{g:02d}", "y": _round(10 + effect + draw.gauss(0, (1 - share) ** 0.5))} for _ in range(size)
            ]
        title = f"{groups} groups of {size}, with a share of {share:g} of the variance between them"
        yield name, (title, rows, {"intercept": "y ~ 1 + (1 | g)"})


# ---- boundary --------------------


def _slopes(name: str, groups: int, of: Callable[[random.Random], Sequence[float]], noise: float = 1.0) -> list[Row]:
    """Groups on seven values of x from -3 to 3, with an intercept and a slope that `of` draws."""
    draw, rows = _draw(name), []
    for g in range(1, groups + 1):
        intercept, slope = of(draw)
        errors = [draw.gauss(0, noise) for _ in range(7)]
        # Noise without a level and a trend of its own: what groups have in common is theirs alone.
        level, trend = sum(errors) / 7, sum(e * x for e, x in zip(errors, range(-3, 4), strict=True)) / 28
        for x, error in zip(range(-3, 4), errors, strict=True):
            y = 5 + intercept + (1 + slope) * x + error - level - trend * x
            rows.append({"g": f"g{g:02d}", "x": x, "y": _round(y)})
    return rows


def boundary() -> Iterator[tuple[str, Table]]:
    """Variances that are zero, alone or among others, and correlations of 1 and -1."""
    shapes: dict[str, tuple[str, Callable[[random.Random], Sequence[float]]]] = {
        "zero_all": ("No variance between groups", lambda draw: (0.0, 0.0)),
        "zero_slope": ("Groups differ in their level only", lambda draw: (draw.gauss(0, 2), 0.0)),
        "zero_level": ("Groups differ in their slope only", lambda draw: (0.0, draw.gauss(0, 2))),
        "plus_one": ("Slopes rise with levels, exactly", lambda draw: 2 * [draw.gauss(0, 1.5)]),
        "minus_one": ("Slopes fall with levels, exactly", lambda draw: (lambda u: (u, -u / 2))(draw.gauss(0, 1.5))),
    }
    models = {
        "intercept": "y ~ x + (1 | g)",
        "slope": "y ~ x + (1 + x | g)",
        "uncorrelated": "y ~ x + (1 | g) + (0 + x | g)",
    }
    for name, (title, of) in shapes.items():
        yield f"boundary_{name}", (title, _slopes(name, 12, of), models)


# ---- difficult numbers --------------------


def perfect() -> Iterator[tuple[str, Table]]:
    """Residuals of next to nothing."""
    for name, noise in (("perfect_3", 1e-3), ("perfect_6", 1e-6)):
        draw, rows = _draw(name), []
        for g in range(1, 13):
            intercept, slope = draw.gauss(0, 2), draw.gauss(0, 1)
            rows += [
                {"g": f"g{g:02d}", "x": x, "y": _round(5 + intercept + (1 + slope) * x + draw.gauss(0, noise), 9)}
                for x in range(6)
            ]
        models = {"slope": "y ~ x + (1 + x | g)", "uncorrelated": "y ~ x + (1 | g) + (0 + x | g)"}
        yield name, (f"Twelve lines with residuals of {noise:g}", rows, models)


def collinear() -> Iterator[tuple[str, Table]]:
    """Two predictors that are nearly one."""
    for name, apart in (("collinear_2", 1e-2), ("collinear_4", 1e-4), ("collinear_6", 1e-6)):
        draw, rows = _draw(name), []
        for g in range(1, 16):
            effect = draw.gauss(0, 1)
            for _ in range(5):
                x = round(draw.gauss(0, 1), 3)
                z = x + apart * draw.gauss(0, 1)
                y = 1 + x + effect + draw.gauss(0, 0.7)
                rows.append({"g": f"g{g:02d}", "x": _round(x, 3), "z": _round(z, 9), "y": _round(y)})
        yield name, (f"Two predictors, {apart:g} apart", rows, {"intercept": "y ~ x + z + (1 | g)"})


TWO_OPTIMA = """9.61 9.99 10.43 9.61 9.97 10.42 9.67 10.05 10.36 9.54 9.97 10.40
9.48 9.99 10.34 9.56 9.97 10.38 9.62 10.05 10.39 9.67 9.97 10.42"""


def two_optima() -> Iterator[tuple[str, Table]]:
    """A slope within groups and none between them, so that the trend is given to either."""
    rows = [
        {"g": f"g{1 + k // 3}", "x": _round(0.8 + k // 3 + 0.2 * (k % 3), 1), "y": y}
        for k, y in enumerate(TWO_OPTIMA.split())
    ]
    models = {"intercept": "y ~ x + (1 | g)", "slope": "y ~ x + (1 + x | g)", "uncorrelated": "y ~ x + (1 + x || g)"}
    yield "two_optima", ("A trend within groups that is not there between them", rows, models)


# ---- many effects --------------------


def correlated() -> Iterator[tuple[str, Table]]:
    """Three, four and six correlated effects."""
    for effects, groups, size in ((3, 30, 8), (4, 40, 9)):
        name = f"effects_{effects}"
        draw, rows = _draw(name), []
        predictors = [f"x{k}" for k in range(1, effects)]
        for g in range(1, groups + 1):
            common = draw.gauss(0, 1)
            own = [0.6 * common + draw.gauss(0, 0.8) for _ in range(effects)]
            for _ in range(size):
                x = [round(draw.gauss(0, 1), 2) for _ in predictors]
                y = 3 + own[0] + sum((0.5 + u) * value for u, value in zip(own[1:], x, strict=True)) + draw.gauss(0, 1)
                rows.append({"g": f"g{g:02d}", **dict(zip(predictors, x, strict=True)), "y": _round(y)})
        columns = " + ".join(predictors)
        models = {"correlated": f"y ~ {columns} + (1 + {columns} | g)", "intercept": f"y ~ {columns} + (1 | g)"}
        yield name, (f"{effects} correlated effects of {groups} groups", rows, models)
    yield "effects_6", _six("effects_6", [0] * 40)
    yield "effects_6_mixed", _six("effects_6_mixed", [g % 3 for g in range(45)])


def _six(name: str, schedules: Sequence[int]) -> Table:
    """Groups with an intercept and five slopes each, on the schedule of ten rows that each group is given."""
    draw, rows = _draw(name), []
    predictors = [f"x{k}" for k in range(1, 6)]
    plans = [[[round(draw.gauss(0, 1), 1) for _ in predictors] for _ in range(10)] for _ in set(schedules)]
    for g, schedule in enumerate(schedules, 1):
        common = draw.gauss(0, 1)
        own = [0.6 * common + draw.gauss(0, 0.8) for _ in range(6)]
        for x in plans[schedule]:
            y = 3 + own[0] + sum((0.5 + u) * value for u, value in zip(own[1:], x, strict=True)) + draw.gauss(0, 1)
            rows.append({"g": f"g{g:02d}", **dict(zip(predictors, x, strict=True)), "y": _round(y)})
    columns = " + ".join(predictors)
    title = f"6 correlated effects of {len(schedules)} groups, {len(plans)} kinds of them by their predictors"
    return title, rows, {"correlated": f"y ~ {columns} + (1 + {columns} | g)", "intercept": f"y ~ {columns} + (1 | g)"}


# ---- groups of all sizes --------------------


def unbalanced() -> Iterator[tuple[str, Table]]:
    """Groups of one row to many."""
    sizes = {
        "unbalanced": ("Groups of 1 to 12 rows", [1 + (5 * k) % 12 for k in range(18)]),
        "single_rows": ("Forty groups, thirty of them of one row", [1] * 30 + [4] * 10),
        "one_large": ("One group of sixty rows among groups of two", [60] + [2] * 15),
    }
    for name, (title, counts) in sizes.items():
        draw, rows = _draw(name), []
        for g, size in enumerate(counts, 1):
            intercept, slope = draw.gauss(0, 1.5), draw.gauss(0, 0.6)
            for _ in range(size):
                x = round(draw.uniform(0, 5), 2)
                y = 2 + intercept + (1 + slope) * x + draw.gauss(0, 1)
                rows.append({"g": f"g{g:02d}", "x": _round(x, 2), "y": _round(y)})
        models = {"intercept": "y ~ x + (1 | g)", "slope": "y ~ x + (1 + x | g)"}
        yield name, (title, rows, models)


def several() -> Iterator[tuple[str, Table]]:
    """Crossed and nested factors."""
    yield "crossed_full", _crossed("crossed_full", 6, 8, 1.0, 1.0)
    yield "crossed_part", _crossed("crossed_part", 8, 10, 0.5, 1.0)
    yield "crossed_sparse", _crossed("crossed_sparse", 10, 12, 0.3, 0.4)
    yield "crossed_zero", _crossed_zero("crossed_zero", 8, 6)
    yield "crossed_three", _crossed_three("crossed_three", (6, 5, 5))
    for name, spreads in (("nested_three", (1.0, 0.8, 0.5)), ("nested_middle", (1.0, 0.0, 0.7))):
        draw, rows = _draw(name), []
        for a in range(1, 7):
            of_a = draw.gauss(0, spreads[0])
            for b in range(1, 4):
                of_b = draw.gauss(0, spreads[1])
                for c in range(1, 4):
                    of_c = draw.gauss(0, spreads[2])
                    for _ in range(2):
                        y = _round(of_a + of_b + of_c + draw.gauss(0, 0.5))
                        rows.append({"a": f"a{a}", "b": f"b{b}", "c": f"c{c}", "y": y})
        models = {"deep": "y ~ 1 + (1 | a/b/c)", "two": "y ~ 1 + (1 | a/b)", "one": "y ~ 1 + (1 | a)"}
        yield name, ("Three factors, nested", rows, models)


def _crossed(name: str, a: int, b: int, kept: float, spread: float) -> Table:
    draw, rows = _draw(name), []
    of_a, of_b = [draw.gauss(0, 1) for _ in range(a)], [draw.gauss(0, spread) for _ in range(b)]
    for i in range(a):
        for j in range(b):
            if kept < 1 and draw.random() > kept and i != j:
                continue
            x = round(draw.gauss(0, 1), 2)
            y = _round(4 + 0.5 * x + of_a[i] + of_b[j] + draw.gauss(0, 0.8))
            rows.append({"a": f"a{i + 1:02d}", "b": f"b{j + 1:02d}", "x": _round(x, 2), "y": y})
    models = {"both": "y ~ x + (1 | a) + (1 | b)", "mean": "y ~ 1 + (1 | a) + (1 | b)"}
    return f"Two crossed factors, {len(rows)} of {a * b} cells", rows, models


def _crossed_zero(name: str, a: int, b: int) -> Table:
    """Columns of a table that differ in nothing: the errors of each add up to zero, to rounding."""
    draw = _draw(name)
    of_a = [draw.gauss(0, 1) for _ in range(a)]
    errors = [[draw.gauss(0, 0.8) for _ in range(a)] for _ in range(b)]
    rows: list[Row] = [
        {"a": f"a{i + 1:02d}", "b": f"b{j + 1:02d}", "y": _round(4 + of_a[i] + errors[j][i] - sum(errors[j]) / a)}
        for i in range(a)
        for j in range(b)
    ]
    models = {"both": "y ~ 1 + (1 | a) + (1 | b)"}
    return "Two crossed factors, nothing between the levels of one", rows, models


def _crossed_three(name: str, levels: tuple[int, int, int]) -> Table:
    draw = _draw(name)
    effects = [
        [draw.gauss(0, spread) for _ in range(count)] for count, spread in zip(levels, (1, 0.7, 0.9), strict=True)
    ]
    rows: list[Row] = []
    for places in product(*map(range, levels)):
        if draw.random() < 0.7:
            x = round(draw.gauss(0, 1), 2)
            y = 4 + 0.5 * x + sum(of[k] for of, k in zip(effects, places, strict=True)) + draw.gauss(0, 0.8)
            rows.append(
                {f: f"{f}{k + 1}" for f, k in zip("abc", places, strict=True)} | {"x": _round(x, 2), "y": _round(y)}
            )
    models = {"all": "y ~ x + (1 | a) + (1 | b) + (1 | c)", "two": "y ~ x + (1 | a) + (1 | b)"}
    return f"Three crossed factors, {len(rows)} of {levels[0] * levels[1] * levels[2]} cells", rows, models


# ---- designs --------------------


def designs() -> Iterator[tuple[str, Table]]:
    """Fixed parts of all kinds, weights and offsets."""
    draw, rows = _draw("designs"), []
    for g in range(1, 19):
        treatment, effect, slope = "abc"[g % 3], draw.gauss(0, 1), draw.gauss(0, 0.3)
        for x in range(1, 7):
            y = 20 + "abc".index(treatment) + effect + (0.8 + slope) * x - 0.05 * x * x + draw.gauss(0, 0.7)
            rows.append({
                "g": f"g{g:02d}",
                "treatment": treatment,
                "x": x,
                "exposure": _round(draw.uniform(0, 2), 2),
                "w": draw.choice((1, 2, 4)),
                "y": _round(y),
            })  # fmt: skip
    models = {
        "treatments": "y ~ treatment + (1 | g)",
        "interaction": "y ~ treatment * x + (1 | g)",
        "interaction_slope": "y ~ treatment * x + (1 + x | g)",
        "cells": "y ~ 0 + treatment + (1 | g)",
        "sums": 'y ~ C(treatment, "contr.sum") + x + (1 | g)',
        "square": "y ~ x + I(x^2) + (1 | g)",
        "polynomial": "y ~ poly(x, 2) + (1 | g)",
        "polynomial_slope": "y ~ poly(x, 2) + (1 + x | g)",
        "logarithm": "log(y) ~ x + (1 | g)",
        "offset": "y ~ x + offset(exposure) + (1 | g)",
        "offset_slope": "y ~ x + offset(exposure) + (1 + x | g)",
        "weighted": "y ~ x + (1 | g); weights w",
        "weighted_slope": "y ~ x + (1 + x | g); weights w",
        "weighted_uncorrelated": "y ~ x + (1 | g) + (0 + x | g); weights w",
    }
    yield "designs", ("Three treatments of eighteen groups, six times each", rows, models)


def large() -> Iterator[tuple[str, Table]]:
    """A thousand and ten thousand rows."""
    yield "rows_1000", _rows("rows_1000", 100, 10)
    yield "rows_10000", _rows("rows_10000", 500, 20)


def largest() -> Iterator[tuple[str, Table]]:
    """A hundred thousand rows: a table that is made where it is wanted."""
    yield "rows_100000", _rows("rows_100000", 4000, 25)


def _rows(name: str, groups: int, size: int) -> Table:
    draw, rows, width = _draw(name), [], len(str(groups))
    for g in range(1, groups + 1):
        intercept, slope = draw.gauss(0, 1), draw.gauss(0, 0.2)
        for x in range(size):
            y = _round(1 + intercept + (0.3 + slope) * x + draw.gauss(0, 1), 2)
            rows.append({"g": f"g{g:0{width}d}", "x": x, "y": y})
    models = {"intercept": "y ~ x + (1 | g)", "slope": "y ~ x + (1 + x | g)"}
    return f"{groups * size} rows in {groups} groups", rows, models


FAMILIES = (growth, one_way, boundary, perfect, collinear, two_optima, correlated, unbalanced, several, designs, large)


# ---- files --------------------


def write(place: Path = PLACE, families: Sequence[Callable[[], Iterator[tuple[str, Table]]]] = FAMILIES) -> list[Path]:
    """Write every table of the families and its description; the folders."""
    folders = []
    for family in families:
        for name, (title, rows, models) in family():
            folder = place / name
            folder.mkdir(parents=True, exist_ok=True)
            lines = [",".join(rows[0]), *(",".join(map(str, row.values())) for row in rows)]
            csv = ("\n".join(lines) + "\n").encode()
            (folder / f"{name}.csv").write_bytes(csv)
            (folder / "dataset.toml").write_text(_described(name, title, rows, models, csv), encoding="utf-8")
            folders.append(folder)
    return folders


def _described(name: str, title: str, rows: list[Row], models: dict[str, str], csv: bytes) -> str:
    def said(key: str, value: object) -> str:
        return f"{key} = {json.dumps(value, ensure_ascii=False)}"

    lines = [
        said("title", title),
        said("source", f"concord::{name}"),
        said("version", "1.0"),
        said("citation", "Made by the seeded script scripts/concord-cases/make_datasets.py of Concord."),
        said("licence", "CC0-1.0"),
        said("rows", len(rows)),
        said("sha256", hashlib.sha256(csv).hexdigest()),
    ]
    for column in rows[0]:
        values = [row[column] for row in rows]
        lines += ["", f"[columns.{column}]", *_column(column, values, said)]
    for model, formula in models.items():
        formula, _, weights = formula.partition("; weights ")
        lines += ["", f"[models.{model}]", said("formula", formula), said("title", f"{model.replace('_', ' ')}")]
        lines += [said("weights", weights)] if weights else []
    return "\n".join(lines) + "\n"


MEANINGS = {"y": "Response", "w": "Weight", "exposure": "Offset", "treatment": "Treatment"}


def _column(name: str, values: list[object], said: Callable[[str, object], str]) -> list[str]:
    if name in ("g", "a", "b", "c", "treatment"):
        levels = sorted({str(value) for value in values})
        return [said("type", "factor"), said("meaning", MEANINGS.get(name, "Group")), said("levels", levels)]
    whole = all(str(value).lstrip("-").isdigit() for value in values)
    return [said("type", "integer" if whole else "number"), said("meaning", MEANINGS.get(name, "Predictor"))]


if __name__ == "__main__":
    print(*(write(LARGE, [largest]) if "--largest" in sys.argv[1:] else write()), sep="\n")
