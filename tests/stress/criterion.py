"""The criterion of a mixed model from dense matrices, by hand and by mpmath: what `truth.py` looks for the optima of.

Formulas are taken apart here, columns are exact rationals, X, Z and the dense n x n matrix V = I + sum Z S Z' are made
by hand, and the criterion (Bates, Mächler, Bolker and Walker 2015, equations 34 and 41) is evaluated from Cholesky's
factor of V.
"""

from __future__ import annotations

import csv
import re
from fractions import Fraction
from pathlib import Path

import mpmath
import numpy as np
from mpmath import mpf

# ---- tables and formulas -------------------------------------------------------------------------------------------


def read(file: Path) -> dict[str, list[str]]:
    """The columns of a CSV file as they are printed."""
    with file.open(newline="") as lines:
        rows = list(csv.reader(lines))
    return {name: [row[i] for row in rows[1:]] for i, name in enumerate(rows[0])}


def numeric(column: list[str]) -> list[Fraction] | None:
    """The exact values of a column of decimals; None where it is a factor."""
    try:
        return [Fraction(cell) for cell in column]
    except ValueError:
        return None


def columns_of(part: str, table: dict[str, list[str]]) -> tuple[list[str], list[list[Fraction]]]:
    """The names and columns of a sum of variables; a factor has treatment contrasts, its first level the base."""
    summands = [each.strip() for each in part.split("+")]
    one = [Fraction(1)] * len(next(iter(table.values())))
    names, made = ([], []) if "0" in summands else (["(Intercept)"], [one])
    for name in summands:
        if name in ("0", "1"):
            continue
        values = numeric(table[name])
        if values is not None:
            names.append(name)
            made.append(values)
            continue
        for level in sorted(set(table[name]))[0 if not names else 1 :]:
            names.append(name + level)
            made.append([Fraction(cell == level) for cell in table[name]])
    return names, made


class Term:
    """One random term: the columns of its effects (rows x q), and the group of every row."""

    def __init__(self, text: str, table: dict[str, list[str]]) -> None:
        left, self.group = (each.strip() for each in text.split("|"))
        self.names, columns = columns_of(left, table)
        self.rows = [list(row) for row in zip(*columns, strict=True)]
        self.q = len(self.names)
        self.levels = table[self.group]
        if self.q > 2:
            raise ValueError(f"({text}): one or two effects")
        # The coordinates of the search: effects at the column's mean, in units of its spread. u = T w for w the effects
        # of the centred and scaled columns, so that S = T S_w T'.
        n = len(self.rows)
        last = [row[-1] for row in self.rows]
        centre = sum(last) / n if self.q == 2 else Fraction(0)
        spread = Fraction(float(np.sqrt(float(sum((each - centre) ** 2 for each in last) / n))))
        self.transform = [[1 / spread]] if self.q == 1 else [[Fraction(1), -centre / spread], [0, 1 / spread]]
        scaled = [[(row[-1] - centre) / spread] for row in self.rows]
        self.scaled = np.array([[float(each) for each in ([1, *row] if self.q == 2 else row)] for row in scaled])
        self.inverse = [[spread]] if self.q == 1 else [[Fraction(1), centre], [0, spread]]

    def own(self, S):
        """The covariance matrix of the effects themselves from that of the search's coordinates."""
        return sandwich(self.transform, S)

    def searched(self, S):
        """The covariance matrix in the search's coordinates from that of the effects themselves."""
        return sandwich(self.inverse, S)


def exact(value: Fraction | int) -> mpf:
    """A rational in the working precision."""
    value = Fraction(value)
    return mpf(value.numerator) / value.denominator


def sandwich(T, S):
    q = range(len(S))
    T = [[exact(each) for each in row] for row in T]
    return [[sum(T[i][k] * S[k][m] * T[j][m] for k in q for m in q) for j in q] for i in q]


# ---- the criterion -------------------------------------------------------------------------------------------------


class Dense:
    """One model on one table, by REML or ML."""

    def __init__(self, file: Path, formula: str, reml: bool) -> None:
        table = read(file)
        self.reml, self.formula = reml, formula
        response, right = (each.strip() for each in formula.split("~"))
        self.terms = [Term(text, table) for text in re.findall(r"\(([^)]*\|[^)]*)\)", right)]
        fixed = re.sub(r"\+?\s*\([^)]*\|[^)]*\)", "", right).strip(" +") or "1"
        self.names, columns = columns_of(fixed, table)
        y = numeric(table[response])
        order = sorted(range(len(y)), key=lambda i: [term.levels[i] for term in self.terms])
        for term in self.terms:
            term.levels = [term.levels[i] for i in order]
            term.rows = [term.rows[i] for i in order]
            term.scaled = term.scaled[order]
        self.n, self.p = len(y), len(columns)
        self.nu = self.n - self.p if reml else self.n
        self.right = [[exact(column[i]) for column in (*columns, y)] for i in order]
        self.exact_rows = [[[exact(each) for each in row] for row in term.rows] for term in self.terms]
        # For every row, the rows before it that share a group with it, and with the first of them V's profile begins.
        self._shared = []
        for i in range(self.n):
            near = [j for j in range(i + 1) if any(t.levels[i] == t.levels[j] for t in self.terms)]
            self._shared.append(near)
        self._doubles(columns, y, order)
        self.evaluations = 0

    def _doubles(self, columns, y, order) -> None:
        """The matrices of the scan: numeric columns centred and scaled, which moves the criterion by a constant."""
        n, made = self.n, []
        constant = "(Intercept)" in self.names
        for name, column in zip(self.names, columns, strict=True):
            mean = sum(column) / n if constant and name != "(Intercept)" else 0
            spread = np.sqrt(float(sum((each - mean) ** 2 for each in column) / n))
            made.append([float(column[i] - mean) / spread for i in order])
        mean = sum(y) / n if constant else 0
        spread = np.sqrt(float(sum((each - mean) ** 2 for each in y) / n))
        made.append([float(y[i] - mean) / spread for i in order])
        self._Xy = np.array(made).T
        self._Z = []
        for term in self.terms:
            found = sorted(set(term.levels))
            member = np.array([[level == each for each in found] for level in term.levels], float)
            self._Z.append((member, term.scaled))

    def scan(self, factors: list[np.ndarray]) -> np.ndarray:
        """The criterion but for a constant, in double precision, shape (k,), by orthogonal triangularization.

        `factors` : for every term k lower factors of its matrix in the search's coordinates, shape (k, q, q)
        """
        k, blocks = len(factors[0]), []
        for (member, columns), factor in zip(self._Z, factors, strict=True):
            effects = np.einsum("iq,kqr->kir", columns, factor)
            blocks += [member[None] * effects[:, :, r, None] for r in range(effects.shape[2])]
        Z = np.concatenate(blocks, axis=2)
        q = Z.shape[2]
        top = np.concatenate([Z, np.broadcast_to(self._Xy, (k, *self._Xy.shape))], axis=2)
        bottom = np.concatenate([np.eye(q), np.zeros((q, self.p + 1))], axis=1)
        whole = np.concatenate([top, np.broadcast_to(bottom, (k, *bottom.shape))], axis=1)
        R = np.abs(np.diagonal(np.linalg.qr(whole, mode="r"), axis1=1, axis2=2))
        value = 2 * np.log(R[:, :q]).sum(1) + 2 * self.nu * np.log(R[:, q + self.p])
        return value + (2 * np.log(R[:, q : q + self.p]).sum(1) if self.reml else 0.0)

    def solve(self, S: list) -> dict:
        """Everything at relative covariance matrices of the effects themselves: criterion, fixed effects and the rest.

        V = L D L', row by row within its profile.
        """
        self.evaluations += 1
        n, columns = self.n, self.p + 1
        effects = []
        for rows, matrix in zip(self.exact_rows, S, strict=True):
            q = range(len(matrix))
            effects.append([[sum(row[k] * matrix[k][j] for k in q) for j in q] for row in rows])
        L: list[dict[int, mpf]] = []
        D, solved = [], []
        logdet = mpf(1)
        for i in range(n):
            start = self._shared[i][0]
            row = dict.fromkeys(range(start, i), mpf(0))
            diagonal = mpf(1)
            for j in self._shared[i]:
                value = mpf(0)
                for term, rows, moved in zip(self.terms, self.exact_rows, effects, strict=True):
                    if term.levels[i] == term.levels[j]:
                        value += sum(a * b for a, b in zip(rows[i], moved[j], strict=True))
                if j == i:
                    diagonal += value
                else:
                    row[j] = value
            # row holds L D until it is divided.
            for j in range(start, i):
                other = L[j]
                total = row[j]
                for k, entry in other.items():
                    if k >= start:
                        total -= row[k] * entry
                row[j] = total
            scaled = {j: value / D[j] for j, value in row.items() if value}
            diagonal -= sum((row[j] * value for j, value in scaled.items()), mpf(0))
            L.append(scaled)
            D.append(diagonal)
            logdet *= diagonal
            right = list(self.right[i])
            for j, value in scaled.items():
                for c in range(columns):
                    right[c] -= value * solved[j][c]
            solved.append(right)
        cross = [
            [sum(solved[i][a] * solved[i][b] / D[i] for i in range(n)) for b in range(columns)] for a in range(columns)
        ]
        return self._profiled(mpmath.log(logdet), cross)

    def _profiled(self, logdet: mpf, cross: list) -> dict:
        p = self.p
        information = mpmath.matrix([row[:p] for row in cross[:p]])
        right = mpmath.matrix([row[p] for row in cross[:p]])
        inverse = information**-1
        fixed = inverse * right
        rss = cross[p][p] - (right.T * fixed)[0]
        variance = rss / self.nu
        value = logdet + self.nu * (1 + mpmath.log(2 * mpmath.pi * variance))
        if self.reml:
            value += mpmath.log(mpmath.det(information))
        errors = [mpmath.sqrt(variance * inverse[i, i]) for i in range(p)]
        return {"criterion": value, "fixed": list(fixed), "std_error": errors, "residual_variance": variance}
