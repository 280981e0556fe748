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
    seed: int,
    groups: int,
    rows: int | list[int],
    within: float,
    between: float,
    noise: float,
    group_noise: float = 0.0,
    gap: float = 1.0,
    width: float = 0.2,
    slope_noise: float = 0.0,
    correlation: float = 0.0,
    formula: str = "y ~ x + (1 | g)",
    digits: int = 3,
    kind: str = "two optima",
) -> Table:
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
    seed: int,
    groups: int,
    rows: int | list[int],
    sd: tuple[float, float],
    correlation: float,
    noise: float,
    origin: float = 0.0,
    formula: str = "y ~ x + (x | g)",
    digits: int = 3,
    kind: str = "correlation",
) -> Table:
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
    seed: int,
    a: int,
    b: int,
    c: int,
    rows: int,
    sd: tuple[float, float, float],
    noise: float,
    slope: float = 0.5,
    conflict: float = 0.0,
    keep: float = 1.0,
    crossed: bool = True,
    formula: str = "y ~ x + (1 | a) + (1 | b)",
    digits: int = 3,
    kind: str = "boundary",
) -> Table:
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


SLOPES = "y ~ x + (x | g)"
APART = "y ~ x + (1 | g) + (0 + x | g)"
THREE = "y ~ x + (1 | a) + (1 | b) + (1 | c)"


def printed_tables() -> dict[str, Table]:
    """Two that were not drawn: groups three rows wide, and a balance's readings, whose fit is analysis of variance."""
    y = """9.61 9.99 10.43 9.61 9.97 10.42 9.67 10.05 10.36 9.54 9.97 10.4
    9.48 9.99 10.34 9.56 9.97 10.38 9.62 10.05 10.39 9.67 9.97 10.42"""
    x = [f"{group + step:.1f}" for group in range(1, 9) for step in (-0.2, 0.0, 0.2)]
    mass = ["100.01", "100.02", "200.03", "200.01", "300.00", "300.02"]
    return {
        "two_modes": Table(
            "y ~ x + (1 | g)", "two optima", y=y.split(), x=x, g=[f"{group}" for group in range(1, 9) for _ in "abc"]
        ),
        "balance": Table("mass ~ 1 + (1 | item)", "near-perfect", mass=mass, item=list("aabbcc")),
    }


def two_optima() -> dict[str, Table]:
    """A mode in which groups take up everything between them, and one near ordinary least squares."""
    inner = {"groups": 8, "rows": 3, "within": 1.02, "between": 0, "noise": 0.1, "group_noise": 0.2}
    return {
        "fallacy_flat": conflict(100, 8, 3, 2, 0, 0.05),
        "fallacy_tight": conflict(101, 8, 3, 2, 0, 0.05, 0.15),
        "fallacy_reml_inside": conflict(102, 8, 3, 2, 0, 0.05, 0.3),
        "fallacy_inside": conflict(103, 6, 4, 2, 0, 0.1, 0.3),
        "fallacy_opposed": conflict(104, 6, 4, -1, 1, 0.1, 0.4),
        "fallacy_pairs_ols_best": conflict(105, 10, 2, -1, 1, 0.05, 0.2),
        "fallacy_sixty_rows": conflict(107, 12, 5, -1, 1, 0.2, 0.5),
        "fallacy_unequal": conflict(108, 6, [2, 5, 1, 7], -2, 1, 0.1, 0.3),
        "fallacy_one_row_groups": conflict(109, 9, [1, 2, 3, 4], 3, 0.5, 0.05, 0.3),
        "methods_apart": conflict(110, 8, 3, 1, 0, 0.05, 0.1),
        "inside_near": conflict(1001, **inner),
        "inside_tie": conflict(1021, **inner),
        "inside_tie_low": conflict(1022, 9, 3, 1.04, 0, 0.07, 0.2),
        "inside_tie_high": conflict(1024, 7, 3, 1.08, 0, 0.07, 0.2),
        "tie_ols": conflict(1032, 7, 3, 1.04, 0, 0.07, 0.2),
        "inside_ml_swaps": conflict(2013, 7, 4, 1, 0, 0.15, 0.5),
        "inside_wide": conflict(2019, 7, 4, 1, 0, 0.15, 0.5),
        "inside_reml_only": conflict(2049, 7, 4, 1, 0, 0.15, 0.5),
        "slopes_ols": conflict(200, 8, 4, 2, 0, 0.05, 0.2, slope_noise=0.3, formula=SLOPES),
        "slopes_ols_wide": conflict(201, 8, 4, 2, 0, 0.05, 0.2, slope_noise=1, formula=SLOPES),
        "slopes_rank_one": conflict(202, 8, 4, 1, 0, 0.05, 0.2, slope_noise=0.5, correlation=0.5, formula=SLOPES),
        "apart_three_optima": conflict(202, 8, 4, 1, 0, 0.05, 0.2, slope_noise=0.5, correlation=0.5, formula=APART),
        "slopes_ml_swaps": conflict(204, 10, 3, -1, 1, 0.1, 0.2, slope_noise=0.3, formula=SLOPES),
        "apart_ml_swaps": conflict(204, 10, 3, -1, 1, 0.1, 0.2, slope_noise=0.3, formula=APART),
        "slopes_unequal": conflict(
            205, 7, [3, 5, 2, 6], -2, 0.5, 0.1, 0.3, slope_noise=0.3, correlation=-0.8, formula=SLOPES
        ),
        "apart_unequal": conflict(
            205, 7, [3, 5, 2, 6], -2, 0.5, 0.1, 0.3, slope_noise=0.3, correlation=-0.8, formula=APART
        ),
        "slopes_few": conflict(
            3000, 6, 3, -1, 0, 0.1, 0.4, width=0.4, slope_noise=0.3, correlation=0.5, formula=SLOPES
        ),
        "slopes_three_optima": conflict(
            3021, 7, 3, -1, 0, 0.1, 0.4, width=0.4, slope_noise=0.6, correlation=0.5, formula=SLOPES
        ),
        "slopes_both_rank_one": conflict(
            3018, 9, 3, -1, 0, 0.1, 0.4, width=0.4, slope_noise=0.3, correlation=0.5, formula=SLOPES
        ),
        "slopes_low_best": conflict(
            3009, 10, 3, -1, 0, 0.1, 0.4, width=0.4, slope_noise=0.6, correlation=0.5, formula=SLOPES
        ),
        "crossed_conflict": components(400, 6, 4, 1, 2, (0.3, 0.2, 0), 0.1, 2, 3, kind="two optima"),
        "crossed_conflict_inside": components(402, 6, 4, 1, 2, (0.3, 0.2, 0), 0.1, 2, 3, kind="two optima"),
        "nested_conflict": components(400, 6, 3, 1, 2, (0.3, 0.2, 0), 0.1, 2, 3, crossed=False, kind="two optima"),
        "nested_conflict_swaps": components(
            401, 6, 3, 1, 2, (0.3, 0.2, 0), 0.1, 2, 3, crossed=False, kind="two optima"
        ),
        "crossed_inside": components(401, 7, 4, 1, 1, (0.1, 1, 0), 0.05, 1, 2, kind="two optima"),
    }


def boundaries() -> dict[str, Table]:
    """Zero variances, among two and three; crossed, nested, with cells left out."""
    nested = {"crossed": False}
    return {
        "crossed_inside_one": components(400, 5, 5, 1, 1, (1, 0, 0), 0.5),
        "crossed_second_zero": components(401, 5, 5, 1, 1, (1, 0, 0), 0.5),
        "three_ml_zero": components(400, 6, 4, 3, 1, (1, 0, 0.5), 0.5, keep=0.8, formula=THREE),
        "three_first_zero": components(400, 6, 4, 3, 1, (0, 0, 0.5), 0.5, formula=THREE),
        "three_second_zero": components(402, 6, 4, 3, 1, (1, 0, 0.5), 0.5, keep=0.8, formula=THREE),
        "nested_second_zero": components(401, 6, 3, 1, 2, (0.1, 0.05, 0), 0.05, 1, 2, **nested),
        "both_zero": components(416, 5, 4, 1, 1, (0, 0, 0), 1.0),
        "both_zero_by_ml": components(413, 5, 4, 1, 1, (0, 0, 0), 1.0),
        "intercept_zero": slopes(410, 6, 4, (0, 0), 0, 1.0, formula="y ~ x + (1 | g)", kind="boundary"),
        "apart_intercept_zero": slopes(411, 6, 4, (0, 0.8), 0, 0.8, formula=APART, kind="boundary"),
        "slope_only": slopes(412, 7, [3, 1, 4], (0, 0.5), 0, 0.5, formula="y ~ x + (0 + x | g)", kind="boundary"),
        "matrix_zero": slopes(300, 6, 4, (0.5, 0.2), -1, 1, kind="boundary"),
    }


def correlations() -> dict[str, Table]:
    """Random slopes whose correlation is 1 or -1 at the optimum, or nearly."""
    return {
        "plus_one": slopes(300, 6, 4, (1, 1), 1, 0.3),
        "plus_one_noisy": slopes(300, 6, 4, (1, 1), 1, 1),
        "minus_one": slopes(300, 6, 4, (1, 1), -1, 0.3),
        "minus_one_small": slopes(300, 6, 4, (0.5, 0.2), -1, 0.3),
        "minus_one_ml_only": slopes(302, 6, 4, (1, 1), -1, 0.3),
        "plus_one_ml_only": slopes(300, 6, 4, (0.5, 0.2), 0.3, 0.3),
        "plus_one_weak_intercept": slopes(302, 6, 4, (1, 1), 1, 1),
        "minus_one_unequal": slopes(411, 8, [1, 3, 5, 2], (1, 0.5), -1, 0.8),
        "plus_one_far_origin": slopes(413, 6, 5, (1, 0.5), 1, 0.8, origin=20),
        "minus_one_far_origin": slopes(428, 6, 5, (1, 0.5), 1, 0.8, origin=20),
        "one_or_zero": slopes(425, 8, [1, 3, 5, 2], (1, 0.5), -1, 0.8),
    }


def near_perfect() -> dict[str, Table]:
    """Groups that differ by up to 1e8 times what is left within them."""
    return {
        "perfect_1e4": perfect(500, 4, 3, 1e4, 5),
        "perfect_1e5_unequal": perfect(501, 5, [2, 4, 1, 3], 1e5, 6),
        "perfect_1e6": perfect(502, 6, 2, 1e6, 7),
        "perfect_1e7_slope": perfect(503, 6, 3, 1e7, 8, predictor=True),
        "perfect_1e8": perfect(504, 6, 2, 1e8, 9),
        "perfect_slopes_1e5": slopes(505, 6, 4, (1, 1), 0.3, 1e-5, digits=7, kind="near-perfect"),
        "perfect_crossed_1e6": components(506, 5, 4, 1, 1, (1, 1, 0), 1e-6, digits=8, kind="near-perfect"),
        "perfect_one_of_two": components(507, 5, 4, 1, 2, (100, 0.001, 0), 1e-3, digits=5, kind="near-perfect"),
    }


def units() -> dict[str, tuple[str, dict[str, str]]]:
    """The tables that are others' in other units and from other origins: their base, and c, d, k, m."""
    return {
        "x_micro": ("fallacy_flat", {"c": "0.000001"}),
        "x_mega": ("fallacy_inside", {"c": "1000000"}),
        "x_far": ("inside_near", {"d": "1000000"}),
        "y_micro": ("fallacy_opposed", {"k": "0.000001"}),
        "y_mega": ("inside_tie", {"k": "1000000"}),
        "y_far": ("fallacy_reml_inside", {"m": "1000000"}),
        "slopes_x_micro": ("slopes_rank_one", {"c": "0.000001"}),
        "slopes_x_mega": ("slopes_ml_swaps", {"c": "1000000"}),
        "slopes_x_far": ("minus_one", {"d": "1000"}),
        "slopes_x_very_far": ("slopes_unequal", {"d": "1000000"}),
        "slopes_both": ("plus_one", {"c": "0.001", "d": "2000", "k": "1000", "m": "-5"}),
        "apart_x_mega": ("apart_three_optima", {"c": "1000000", "k": "0.0001"}),
        "crossed_x_far": ("crossed_conflict_inside", {"c": "0.01", "d": "100000", "m": "12345"}),
    }


def main(target: Path = HERE) -> None:
    """Write the tables and tables.json, which names their formulas, into a folder."""
    tables = {**printed_tables(), **two_optima(), **boundaries(), **correlations(), **near_perfect()}
    listed = {name: {"formula": table.formula, "kind": table.kind} for name, table in tables.items()}
    for name, (base, change) in units().items():
        tables[name] = in_units(tables[base], **change)
        whole = {"c": "1", "d": "0", "k": "1", "m": "0"} | change
        listed[name] = {"formula": tables[name].formula, "kind": "units", "base": base, "change": whole}
    folder = target / "tables"
    folder.mkdir(exist_ok=True)
    for name, table in tables.items():
        table.write(folder / f"{name}.csv")
    (target / "tables.json").write_text(json.dumps(listed, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
