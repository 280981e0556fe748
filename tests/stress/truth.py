"""The truth of the stress tables: every local optimum of each model's likelihood, to 20 digits, written to truth.json.

Run ``python -m stress.truth`` in ``tests`` (some minutes on one core). It shares no code with the judge that it is
there to hold, nor does the criterion (`criterion.py`).

How the optima are found. The parameters, one relative covariance matrix S a random term, lie in a cone; its faces are
products of the terms' ranks: a variance is zero or positive, a 2 x 2 matrix has rank 0, 1 or 2. Within each face the
criterion is scanned in double precision on a grid: standard deviations over 14 decades (measured by what they add to
the response), angles over the half circle, correlations to 0.999. From every point of the grid that is lower than its
neighbours a search goes down, and Newton's method polishes what it finds, at 80 digits, with differences that are good
to 40. A stationary point of a face is a local optimum of the model where the criterion does not fall from it into the
cone: that is checked by the derivative in the directions that leave the face.
"""

from __future__ import annotations

import itertools
import json
import sys
import time
from fractions import Fraction
from pathlib import Path

import mpmath
import numpy as np
from mpmath import mpf
from scipy import optimize

from stress.criterion import Dense, Term, exact, sandwich

HERE = Path(__file__).resolve().parent
DIGITS = 20
WORKING = 80
# Steps of the differences: their error is the square of it, their rounding the working precision divided by its square.
STEP = mpf(10) ** -20


# ---- faces of the cone ---------------------------------------------------------------------------------------------

SCALES = np.log(10.0) * np.arange(-4, 10.001, 0.05)
COARSE = np.log(10.0) * np.arange(-3, 9.001, 0.25)
ANGLES = np.pi * np.arange(0, 48) / 48
BENDS = np.arctanh([0.0, 0.3, 0.6, 0.8, 0.9, 0.96, 0.99, 0.999])
BENDS = np.concatenate([-BENDS[:0:-1], BENDS])


class Face:
    """The matrices whose terms have these ranks, by coordinates that are free: logarithms of standard deviations, the
    angle of a matrix of rank one, the inverse hyperbolic tangent of a correlation.
    """

    def __init__(self, terms: list[Term], ranks: tuple[int, ...]) -> None:
        self.terms, self.ranks = terms, ranks
        self.kinds = []
        for term, rank in zip(terms, ranks, strict=True):
            self.kinds += {(1, 0): "", (1, 1): "s", (2, 0): "", (2, 1): "sa", (2, 2): "ssb"}[term.q, rank]

    def axes(self) -> list[np.ndarray]:
        """The grid along each coordinate; coarser where there are several."""
        scales = SCALES if len(self.kinds) == 1 else COARSE if len(self.kinds) < 4 else COARSE[::2]
        return [{"s": scales, "a": ANGLES, "b": BENDS}[kind] for kind in self.kinds]

    def factors(self, points: np.ndarray) -> list[np.ndarray]:
        """Lower factors in double precision, shapes (k, q, q), at points of shape (k, coordinates)."""
        made, at = [], 0
        for term, rank in zip(self.terms, self.ranks, strict=True):
            factor = np.zeros((len(points), term.q, term.q))
            if term.q == 1 and rank:
                factor[:, 0, 0] = np.exp(points[:, at])
            elif rank == 1:
                scale = np.exp(points[:, at])
                factor[:, 0, 0], factor[:, 1, 0] = (scale * f(points[:, at + 1]) for f in (np.cos, np.sin))
            elif rank == 2:
                scales, r = np.exp(points[:, at : at + 2]), np.tanh(points[:, at + 2])
                factor[:, 0, 0], factor[:, 1, 0] = scales[:, 0], scales[:, 1] * r
                factor[:, 1, 1] = scales[:, 1] / np.cosh(np.clip(points[:, at + 2], -300, 300))
            made.append(factor)
            at += {(1, 1): 1, (2, 1): 2, (2, 2): 3}.get((term.q, rank), 0)
        return made

    def matrices(self, point: list) -> list:
        """The covariance matrices in the search's coordinates, by mpmath."""
        made, at = [], 0
        for term, rank in zip(self.terms, self.ranks, strict=True):
            if rank == 0:
                made.append([[mpf(0)] * term.q for _ in range(term.q)])
            elif term.q == 1:
                made.append([[mpmath.exp(2 * point[at])]])
                at += 1
            elif rank == 1:
                scale, c, s = mpmath.exp(2 * point[at]), mpmath.cos(point[at + 1]), mpmath.sin(point[at + 1])
                made.append([[scale * c * c, scale * c * s], [scale * c * s, scale * s * s]])
                at += 2
            else:
                a, b, r = mpmath.exp(point[at]), mpmath.exp(point[at + 1]), mpmath.tanh(point[at + 2])
                made.append([[a * a, a * b * r], [a * b * r, b * b]])
                at += 3
        return made

    def kept(self, point) -> bool:
        """Whether a point is within the grid, and not on its way to a smaller face or to infinity."""
        for kind, value in zip(self.kinds, point, strict=True):
            low, high = (SCALES[0], SCALES[-1]) if kind == "s" else (-9.0, 9.0)
            if kind != "a" and not low < float(value) < high:
                return False
        return True


def lows(values: np.ndarray, around: list[bool]) -> np.ndarray:
    """Where a grid's values are lower than all their neighbours along the axes, as indices, shape (k, axes)."""
    low = np.ones(values.shape, bool)
    for axis, whole in enumerate(around):
        for shift in (1, -1):
            other = np.roll(values, shift, axis)
            if not whole:
                edge = [slice(None)] * values.ndim
                edge[axis] = 0 if shift == 1 else -1
                other[tuple(edge)] = np.inf
            low &= values <= other
    return np.argwhere(low)


def starts(model: Dense, face: Face) -> list[np.ndarray]:
    """Where searches within a face end, in double precision."""
    axes = face.axes()
    if not axes:
        return [np.zeros(0)]
    points = np.array(list(itertools.product(*axes)))
    values = np.concatenate(
        [model.scan(face.factors(chunk)) for chunk in np.array_split(points, 1 + len(points) // 2000)]
    ).reshape([len(axis) for axis in axes])
    found: list[np.ndarray] = []
    indices = sorted(lows(values, [kind == "a" for kind in face.kinds]), key=lambda at: values[tuple(at)])
    for at in indices[:40]:
        begin = np.array([axis[i] for axis, i in zip(axes, at, strict=True)])

        def value(point):
            return float(model.scan(face.factors(point[None]))[0])

        size = np.array([{"s": 0.1, "a": 0.05, "b": 0.2}[kind] for kind in face.kinds])
        simplex = np.vstack([begin, begin + np.diag(size)])
        options = {"initial_simplex": simplex, "xatol": 1e-7, "fatol": 1e-11, "maxfev": 2000}
        end = optimize.minimize(value, begin, method="Nelder-Mead", options=options).x
        if face.kept(end) and not any(np.abs(_wrapped(end - each, face)).max() < 1e-3 for each in found):
            found.append(end)
    return found


def _wrapped(difference, face: Face):
    """A difference of coordinates; angles are the same after half a circle."""
    half = np.pi
    return np.array(
        [(d + half / 2) % half - half / 2 if kind == "a" else d for d, kind in zip(difference, face.kinds, strict=True)]
    )


def _same(point: list, other: list, face: Face) -> bool:
    """Whether two searches within a face ended at one point."""
    differences = [float(a - b) for a, b in zip(point, other, strict=True)]
    return bool(np.abs(_wrapped(differences, face)).max(initial=0.0) < 1e-9)


# ---- polishing -----------------------------------------------------------------------------------------------------


def polish(model: Dense, face: Face, begin: np.ndarray) -> list | None:
    """Newton's method to a minimum within a face; None where it leads to none."""
    point, k = [mpf(float(each)) for each in begin], len(begin)
    if not k:
        return point

    def value(at):
        return model.solve([term.own(S) for term, S in zip(model.terms, face.matrices(at), strict=True)])["criterion"]

    def moved(*steps):
        at = list(point)
        for i, step in steps:
            at[i] += step
        return value(at)

    here = value(point)
    for _ in range(30):
        ahead, behind = ([moved((i, s * STEP)) for i in range(k)] for s in (1, -1))
        gradient = mpmath.matrix([(a - b) / (2 * STEP) for a, b in zip(ahead, behind, strict=True)])
        hessian = mpmath.matrix(k, k)
        for i in range(k):
            hessian[i, i] = (ahead[i] - 2 * here + behind[i]) / STEP**2
            for j in range(i):
                both = [moved((i, a * STEP), (j, b * STEP)) for a, b in ((1, 1), (1, -1), (-1, 1), (-1, -1))]
                hessian[i, j] = hessian[j, i] = (both[0] - both[1] - both[2] + both[3]) / (4 * STEP**2)
        try:
            mpmath.cholesky(hessian)
        except ValueError:
            return None
        step = mpmath.lu_solve(hessian, -gradient)
        length = max(abs(each) for each in step)
        step *= min(mpf(1), mpf("0.5") / length) if length else 1
        point = [a + b for a, b in zip(point, step, strict=True)]
        if not face.kept(point):
            return None
        here = value(point)
        if length < mpf(10) ** -35:
            return point
    return None


def inside(model: Dense, face: Face, point: list) -> bool:
    """Whether the criterion does not fall from a point of a face into the cone.

    For a term of rank zero the derivatives with respect to its matrix must be positive semidefinite, and for a matrix
    v v' of rank one the derivative along w w', w orthogonal to v, must not be negative.
    """
    base = face.matrices(point)

    def slope(t: int, w: list) -> mpf:
        def at(step):
            S = [[list(row) for row in each] for each in base]
            for i, a in enumerate(w):
                for j, b in enumerate(w):
                    S[t][i][j] += step * a * b
            return model.solve([term.own(each) for term, each in zip(model.terms, S, strict=True)])["criterion"]

        return (-3 * at(mpf(0)) + 4 * at(STEP) - at(2 * STEP)) / (2 * STEP)

    at = 0
    for t, (term, rank) in enumerate(zip(model.terms, face.ranks, strict=True)):
        if term.q == 1 and rank == 0 and slope(t, [mpf(1)]) < 0:
            return False
        if term.q == 2 and rank == 0:
            a, b = slope(t, [mpf(1), mpf(0)]), slope(t, [mpf(0), mpf(1)])
            both = (slope(t, [mpf(1), mpf(1)]) - a - b) / 2
            if a < 0 or b < 0 or a * b < both**2:
                return False
        if term.q == 2 and rank == 1:
            c, s = mpmath.cos(point[at + 1]), mpmath.sin(point[at + 1])
            if slope(t, [-s, c]) < 0:
                return False
        at += {(1, 1): 1, (2, 1): 2, (2, 2): 3}.get((term.q, rank), 0)
    return True


def optima(model: Dense) -> list[tuple[list, tuple[int, ...]]]:
    """All local optima that are found, the best first: relative covariance matrices, and their ranks."""
    found = []
    for ranks in itertools.product(*(range(term.q + 1) for term in model.terms)):
        face = Face(model.terms, ranks)
        ends: list[list] = []
        for begin in starts(model, face):
            point = polish(model, face, begin)
            if point is None or any(_same(point, each, face) for each in ends):
                continue
            ends.append(point)
            if inside(model, face, point):
                S = [term.own(each) for term, each in zip(model.terms, face.matrices(point), strict=True)]
                found.append((S, ranks))
    return sorted(found, key=lambda each: model.solve(each[0])["criterion"])


# ---- records -------------------------------------------------------------------------------------------------------


def record(model: Dense, S: list, ranks: tuple[int, ...]) -> dict:
    """An optimum in decimals.

    ``theta`` holds for every term the lower triangle of the relative factor, by columns, as lme4 has it.
    """
    solved = model.solve(S)
    variance = solved["residual_variance"]
    text = _text
    return {
        "loglik": text(-solved["criterion"] / 2),
        "theta": [[text(each) for each in triangle(matrix)] for matrix in S],
        "fixed": {name: text(each) for name, each in zip(model.names, solved["fixed"], strict=True)},
        "std_error": {name: text(each) for name, each in zip(model.names, solved["std_error"], strict=True)},
        "covariances": [[[text(variance * each) for each in row] for row in matrix] for matrix in S],
        "residual_variance": text(variance),
        "boundary": any(rank < term.q for rank, term in zip(ranks, model.terms, strict=True)),
        "ranks": list(ranks),
    }


def triangle(S: list) -> list[mpf]:
    """The lower factor of a matrix, by columns; also of a singular one."""
    if len(S) == 1:
        return [mpmath.sqrt(S[0][0])]
    a = mpmath.sqrt(S[0][0])
    b = S[1][0] / a if a else mpf(0)
    rest = S[1][1] - b * b
    return [a, b, mpmath.sqrt(rest) if rest > mpf(10) ** -50 * S[1][1] else mpf(0)]


def _text(value: mpf) -> str:
    return mpmath.nstr(value, DIGITS, min_fixed=-5, max_fixed=15) if value else "0"


def moved(model: Dense, base: Dense, known: list, change: dict[str, str]) -> list[tuple[list, tuple[int, ...]]]:
    """The optima of a table whose predictor x is c x + d and whose response is k y + m of another's, by exact rules.

    u0 + u1 x are the same effects as v0 + v1 (c x + d), so that S' = T S T' with T = [[1, -d/c], [0, 1/c]]; relative
    matrices do not depend on the response's unit. What the table itself gives there is held to the rules: the
    log-likelihood falls by nu log k, and under REML by log c for the fixed effect of x.
    """
    c, d, k, m = (Fraction(change[name]) for name in ("c", "d", "k", "m"))
    made = []
    for S, ranks in known:
        new = []
        for term, matrix in zip(base.terms, S, strict=True):
            single = 1 / c if term.names == ["x"] else Fraction(1)
            new.append(sandwich([[1, -d / c], [0, 1 / c]] if term.q == 2 else [[single]], matrix))
        before, after = base.solve(S), model.solve(new)
        fall = model.nu * mpmath.log(exact(k)) + (mpmath.log(exact(c)) if model.reml else 0)
        slope = exact(k / c) * before["fixed"][1]
        rules = [
            (before["criterion"] + 2 * fall, after["criterion"]),
            (slope, after["fixed"][1]),
            (exact(k) * before["fixed"][0] + exact(m) - slope * exact(d), after["fixed"][0]),
            (exact(k) ** 2 * before["residual_variance"], after["residual_variance"]),
        ]
        for expected, own in rules:
            if abs(expected - own) > mpf(10) ** -30 * (1 + abs(own)):
                raise ArithmeticError(f"{own} is not {expected}, which the change of units gives")
        made.append((new, ranks))
    return made


def _written(known: dict) -> str:
    """JSON with an optimum a line."""
    lines = []
    for name, methods in known.items():
        inner = [
            f"  {json.dumps(method)}: [\n" + ",\n".join(f"   {json.dumps(each)}" for each in best) + "\n  ]"
            for method, best in methods.items()
        ]
        lines.append(f" {json.dumps(name)}: {{\n" + ",\n".join(inner) + "\n }")
    return "{\n" + ",\n".join(lines) + "\n}\n"


def main(names: list[str]) -> None:
    """Write truth.json: all tables, or those of these names anew."""
    mpmath.mp.dps = WORKING
    target = HERE / "truth.json"
    tables = json.loads((HERE / "tables.json").read_text())
    known = json.loads(target.read_text()) if names else {}
    whole = time.process_time()
    found: dict[tuple[str, bool], list] = {}

    def of(name: str, reml: bool) -> tuple[Dense, list]:
        table = tables[name]
        model = Dense(HERE / "tables" / f"{name}.csv", table["formula"], reml)
        if (name, reml) not in found:
            if "base" in table:
                found[name, reml] = moved(model, *of(table["base"], reml), table["change"])
            else:
                found[name, reml] = optima(model)
        return model, found[name, reml]

    for name in names or tables:
        known[name] = {}
        for method in ("REML", "ML"):
            begin = time.process_time()
            model, best = of(name, method == "REML")
            if not best:
                raise ArithmeticError(f"{name}, {method}: no optimum was found")
            known[name][method] = [record(model, *each) for each in best]
            shown = ", ".join(f"{float(each['loglik']):.6f} {each['ranks']}" for each in known[name][method])
            print(f"{name} {method}: {shown} ({time.process_time() - begin:.1f} s)", flush=True)
    target.write_text(_written({name: known[name] for name in tables if name in known}))
    print(f"{time.process_time() - whole:.0f} s in all")


if __name__ == "__main__":
    main(sys.argv[1:])
