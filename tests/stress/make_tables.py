"""The stress tables, made anew: ``python tests/stress/make_tables.py`` writes tables/*.csv and tables.json.

Small tables on which the likelihood of a mixed model is hard: two optima and more, zero variances among several,
correlations of 1 and -1, near-perfect fits, predictors and responses in units and from origins over twelve decades,
few, unequal and crossed groups. Every table is drawn from a seed of its own by Python's generator and written in
decimals, so that the files are the same bytes each time. What the optima are, `truth.py` finds.
"""

from __future__ import annotations

import json
import random
from decimal import Decimal
from pathlib import Path

HERE = Path(__file__).resolve().parent


class Table:
    """A table in the making: columns of printed values."""

    def __init__(self, formula: str, kind: str, **columns: list[str]) -> None:
        self.formula, self.kind, self.columns = formula, kind, columns

    def write(self, file: Path) -> None:
        """The table as a CSV file."""
        rows = [",".join(self.columns), *(",".join(row) for row in zip(*self.columns.values(), strict=True))]
        file.write_text("\n".join(rows) + "\n", encoding="utf-8")


def printed(values: list[float], digits: int) -> list[str]:
    """Values in decimals."""
    return [f"{value + 0.0:.{digits}f}" for value in values]


def sizes_of(groups: int, rows: int | list[int]) -> list[int]:
    """How many rows every group has."""
    return [rows] * groups if isinstance(rows, int) else [rows[i % len(rows)] for i in range(groups)]


def conflict(
    seed: int, groups: int, rows: int | list[int], within: float, between: float, noise: float,
    group_noise: float = 0.0, gap: float = 1.0, width: float = 0.2, slope_noise: float = 0.0, correlation: float = 0.0,
    formula: str = "y ~ x + (1 | g)", digits: int = 3, kind: str = "two optima",
) -> Table:  # fmt: skip
    """Groups apart in x, with one slope within them and another between them: an ecological fallacy."""
    rng = random.Random(seed)
    y, x, g = [], [], []
    for i, size in enumerate(sizes_of(groups, rows)):
        centre = gap * (i + 1) + 0.1 * gap * rng.gauss(0, 1)
        effect = rng.gauss(0, 1)
        tilt = correlation * effect + (1 - correlation**2) ** 0.5 * rng.gauss(0, 1)
        for j in range(size):
            place = width * (j - (size - 1) / 2) + 0.1 * width * rng.gauss(0, 1)
            at = round(centre + place, digits)
            x.append(at)
            mean = between * centre + group_noise * effect + (within + slope_noise * tilt) * (at - centre)
            y.append(10 + mean + noise * rng.gauss(0, 1))
            g.append(f"g{i + 1:02d}")
    return Table(formula, kind, y=printed(y, digits), x=printed(x, digits), g=g)


def slopes(
    seed: int, groups: int, rows: int | list[int], sd: tuple[float, float], correlation: float, noise: float,
    origin: float = 0.0, formula: str = "y ~ x + (x | g)", digits: int = 3, kind: str = "correlation",
) -> Table:  # fmt: skip
    """Random intercepts and slopes with a correlation, at x = 0, 1, 2, ... about the origin."""
    rng = random.Random(seed)
    y, x, g = [], [], []
    for i, size in enumerate(sizes_of(groups, rows)):
        first = rng.gauss(0, 1)
        second = correlation * first + (1 - correlation**2) ** 0.5 * rng.gauss(0, 1)
        for j in range(size):
            at = round(origin + j + 0.25 * rng.gauss(0, 1), 2)
            y.append(5 + sd[0] * first + (1 + sd[1] * second) * at + noise * rng.gauss(0, 1))
            x.append(at)
            g.append(f"g{i + 1:02d}")
    return Table(formula, kind, y=printed(y, digits), x=printed(x, 2), g=g)


def components(
    seed: int, a: int, b: int, c: int, rows: int, sd: tuple[float, float, float], noise: float, slope: float = 0.5,
    conflict: float = 0.0, keep: float = 1.0, crossed: bool = True, formula: str = "y ~ x + (1 | a) + (1 | b)",
    digits: int = 3, kind: str = "boundary",
) -> Table:  # fmt: skip
    """Two or three grouping factors, crossed (or b nested in a), some cells left out; x goes with a by `conflict`."""
    rng = random.Random(seed)
    of_a, of_b, of_c = ([rng.gauss(0, size) for _ in range(k)] for size, k in zip(sd, (a, b, c), strict=True))
    y, x, names = [], [], {"a": [], "b": [], "c": []}
    for i in range(a):
        for j in range(b):
            for _ in range(rows):
                k = rng.randrange(c)
                at, error, kept = rng.gauss(0, 1), rng.gauss(0, 1), rng.random()
                if kept > keep:
                    continue
                at = round(at + conflict * i, 2)
                effect = of_b[(i * b + j) % len(of_b)] if not crossed else of_b[j]
                y.append(3 + slope * at - 0.9 * conflict * slope * i + of_a[i] + effect + of_c[k] + noise * error)
                x.append(at)
                names["a"].append(f"a{i + 1}")
                names["b"].append(f"b{j + 1}" if crossed else f"b{i * b + j + 1:02d}")
                names["c"].append(f"c{k + 1}")
    used = {name: levels for name, levels in names.items() if f"| {name})" in formula}
    return Table(formula, kind, y=printed(y, digits), x=printed(x, 2), **used)


def perfect(seed: int, groups: int, rows: int | list[int], ratio: float, digits: int, predictor: bool = False) -> Table:
    """Groups that differ by `ratio` times what is left within them."""
    rng = random.Random(seed)
    y, x, g = [], [], []
    for i, size in enumerate(sizes_of(groups, rows)):
        mean = Decimal(str(round(100 * (i + 1) + 30 * rng.gauss(0, 1), 3)))
        for j in range(size):
            unit = Decimal(str(round(100 / ratio * rng.gauss(0, 1), digits)))
            at = Decimal(str(round(j + 0.3 * rng.gauss(0, 1), 2)))
            y.append(format(mean + unit + (at / 2 if predictor else 0), f".{digits}f"))
            x.append(f"{at}")
            g.append(f"item{i + 1}")
    if predictor:
        return Table("y ~ x + (1 | g)", "near-perfect", y=y, x=x, g=g)
    return Table("y ~ 1 + (1 | g)", "near-perfect", y=y, g=g)


def in_units(base: Table, c: str = "1", d: str = "0", k: str = "1", m: str = "0") -> Table:
    """The table with c x + d for x and k y + m for y, exactly."""
    def changed(cells: list[str], factor: str, origin: str) -> list[str]:
        return [format(Decimal(cell) * Decimal(factor) + Decimal(origin), "f") for cell in cells]

    columns = {**base.columns, "y": changed(base.columns["y"], k, m), "x": changed(base.columns["x"], c, d)}
    return Table(base.formula, "units", **columns)
