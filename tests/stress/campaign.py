"""A campaign: is there a better optimum than the judge's own search finds, on the tables that R packages ship?

``python tests/stress/campaign.py --minutes 15 --out misses.txt`` (with ``scripts`` on PYTHONPATH) makes mixed models of
the columns of every data set that an installed R package has: random intercepts and random slopes, numbers and factors
as predictors. For each it holds ``Likelihood.optimum()`` against a search of its own from many starts, which it finds
by a grid over the relative covariance matrix, and against lme4's fit. No test runs it: it takes minutes, and what it
finds depends on which packages a machine has.
"""

from __future__ import annotations

import argparse
import itertools
import random
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from concord.data.columns import PreparationError
from concord.likelihood.likelihood import Likelihood, LikelihoodError
from concord.models import formula as formulas
from concord.models import identifiability, matrices, syntax
from concord.models.design import Design

# A better optimum is one by more than this: log-likelihood units.
BETTER = 1e-6
ROWS = 12, 1500
# Every table gives at most so many models a method.
MODELS = 40
FIRST = [("MASS::Boston", "indus ~ crim + (crim | rad)")]

# Writes every data frame of the installed packages as a CSV file, numbers with all their digits.
_EXPORT = r"""
folder <- commandArgs(TRUE)[1]
listed <- suppressWarnings(data(package = .packages(all.available = TRUE)))$results
for (i in seq_len(nrow(listed))) {
  name <- sub(" .*", "", listed[i, "Item"]); package <- listed[i, "Package"]; room <- new.env()
  suppressWarnings(try(data(list = sub(".*\\((.*)\\)", "\\1", listed[i, "Item"]), package = package, envir = room),
                       silent = TRUE))
  if (!exists(name, envir = room, inherits = FALSE)) next
  table <- get(name, envir = room)
  if (!is.data.frame(table)) next
  table <- as.data.frame(table)
  kept <- vapply(table, function(x) (is.numeric(x) || is.factor(x) || is.character(x)) && is.null(dim(x)), NA)
  table <- table[, kept & grepl("^[A-Za-z][A-Za-z0-9_.]*$", names(table)), drop = FALSE]
  if (ncol(table) < 2) next
  for (j in seq_along(table)) if (!is.numeric(table[[j]])) table[[j]] <- paste0("=", table[[j]])
  try(write.csv(format(table, digits = 17, trim = TRUE), file.path(folder, paste0(package, "__", name, ".csv")),
                row.names = FALSE), silent = TRUE)
}
"""

# Fits every line of models.csv by lme4's defaults; writes the log-likelihood and the covariance matrices.
_LMER = r"""
suppressMessages(library(lme4))
folder <- commandArgs(TRUE)[1]
models <- read.csv(file.path(folder, "models.csv"), stringsAsFactors = FALSE)
out <- file(file.path(folder, "fits.csv"), "w")
writeLines("number,method,loglik,a,b,c,whole", out)
for (i in seq_len(nrow(models))) {
  table <- read.csv(models$file[i], stringsAsFactors = TRUE)
  for (method in c("REML", "ML")) {
    fit <- tryCatch(suppressWarnings(suppressMessages(
      lmer(as.formula(models$formula[i]), table, REML = method == "REML",
           control = lmerControl(calc.derivs = FALSE)))), error = function(e) NULL)
    if (is.null(fit)) next
    S <- VarCorr(fit)[[1]] / sigma(fit)^2
    S <- c(S[1, 1], if (nrow(S) > 1) c(S[2, 1], S[2, 2]) else c(NA, NA))
    values <- vapply(c(as.numeric(logLik(fit)), S), format, "", digits = 17)
    writeLines(paste(c(models$number[i], method, values, "end"), collapse = ","), out)
  }
  flush(out)
}
close(out)
"""


def run_r(code: str, folder: Path, seconds: float | None = None) -> None:
    """Run a script of R's in a process of its own, on a folder."""
    script = folder / "script.R"
    script.write_text(code)
    command = ["Rscript", "--vanilla", str(script), str(folder)]
    try:
        subprocess.run(command, check=False, timeout=seconds, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    except subprocess.TimeoutExpired:
        print(f"R was stopped after {seconds:.0f} s")


# ---- models --------------------------------------------------------------------------------------------------------


def candidates(frame: pd.DataFrame) -> Iterator[str]:
    """Formulas on a table: its numbers as responses and predictors, its coarser columns as groups and factors."""
    counts = {name: frame[name].nunique() for name in frame.columns}
    numbers = [name for name in frame.columns if frame[name].dtype.kind in "if" and counts[name] > 5]
    texts = [name for name in frame.columns if frame[name].dtype.kind not in "if"]
    whole = [name for name in frame.columns if frame[name].dtype.kind == "i"]
    groups = [name for name in (*texts, *whole) if 3 <= counts[name] <= min(len(frame) // 3, 150)]
    factors = [name for name in texts if counts[name] == 2]
    for g in groups:
        for y, x in itertools.permutations([*numbers], 2):
            if g not in (x, y):
                yield f"{y} ~ {x} + ({x} | {g})"
                yield f"{y} ~ {x} + (1 | {g})"
        for y, f in itertools.product(numbers, factors):
            if g not in (y, f):
                yield f"{y} ~ {f} + ({f} | {g})"
        for y in numbers:
            if y != g:
                yield f"{y} ~ 1 + (1 | {g})"


def tables(folder: Path) -> Iterator[tuple[str, Path, pd.DataFrame]]:
    """Every exported table of a size that is worth it."""
    for file in sorted(folder.glob("*__*.csv")):
        try:
            frame = pd.read_csv(file, na_values=["NA", "=NA"], keep_default_na=False).dropna()
        except (ValueError, UnicodeDecodeError):
            continue
        frame = frame.reset_index(drop=True)
        if ROWS[0] <= len(frame) <= ROWS[1]:
            clean = file.with_name("clean__" + file.name)
            frame.to_csv(clean, index=False)
            # Texts as Python has them, whatever pandas' own kind of them is.
            texts = {name: frame[name].astype(object) for name in frame if frame[name].dtype.kind not in "if"}
            yield file.stem.replace("__", "::"), clean, frame.assign(**texts)


# ---- the search ----------------------------------------------------------------------------------------------------

SCALES = np.log(10) * np.arange(-3, 6.01, 0.5)
CORRELATIONS = np.tanh([-4, -2, -1, -0.4, 0, 0.4, 1, 2, 4])
ANGLES = np.pi * np.arange(24) / 24


class Scan:
    """The criterion of a model with one random term, at many relative factors at once, from cross-products by group.

    With V = I + Z L L' Z', [X y]' V^-1 [X y] is A less the sum over groups of W' (I + L' C L)^-1 W, W = L' B.
    """

    def __init__(self, design: Design, reml: bool) -> None:
        term, self.reml = design.terms[0], reml
        n, p = design.X.shape
        self.p, self.nu = p, n - p if reml else n
        Q = np.linalg.qr(design.X / np.linalg.norm(design.X, axis=0))[0]
        left = design.y - Q @ (Q.T @ design.y)
        left -= Q @ (Q.T @ left)
        table = np.column_stack([Q, left / np.linalg.norm(left)])
        self.q = term.matrix.shape[1]
        z = term.matrix[:, -1]
        one = self.q == 2 and np.ptp(term.matrix[:, 0]) == 0
        centre = z.mean() if one else 0.0
        spread = np.sqrt(np.mean((z - centre) ** 2))
        # Effects of the centred and scaled columns w are u = T w.
        self.T = np.array([[1.0, -centre / spread], [0.0, 1 / spread]]) if self.q == 2 else np.array([[1 / spread]])
        scaled = np.column_stack([term.matrix[:, 0], (z - centre) / spread]) if self.q == 2 else z[:, None] / spread
        if self.q == 1:
            scaled = np.column_stack([scaled, np.zeros(n)])
        groups = len(term.levels)
        self.A = table.T @ table
        self.C, self.B = np.zeros((groups, 2, 2)), np.zeros((groups, 2, p + 1))
        np.add.at(self.C, term.codes, scaled[:, :, None] * scaled[:, None, :])
        np.add.at(self.B, term.codes, scaled[:, :, None] * table[:, None, :])

    def values(self, L: np.ndarray) -> np.ndarray:
        """The criterion but for a constant at lower factors, shape (k, 2, 2); inf where rounding has eaten it."""
        size = max(1, int(2e6 / (len(self.C) * (self.p + 1) * 2)))
        return np.concatenate([self._values(L[i : i + size]) for i in range(0, len(L), size)])

    def _values(self, L: np.ndarray) -> np.ndarray:
        M = np.einsum("kji,gjl,klm->kgim", L, self.C, L) + np.eye(2)
        det = M[..., 0, 0] * M[..., 1, 1] - M[..., 0, 1] ** 2
        W = np.einsum("kji,gjp->kgip", L, self.B)
        first = (M[..., 1, 1, None] * W[..., 0, :] - M[..., 0, 1, None] * W[..., 1, :]) / det[..., None]
        second = (M[..., 0, 0, None] * W[..., 1, :] - M[..., 0, 1, None] * W[..., 0, :]) / det[..., None]
        cross = self.A - np.einsum("kgp,kgr->kpr", W[..., 0, :], first)
        cross -= np.einsum("kgp,kgr->kpr", W[..., 1, :], second)
        p = self.p
        with np.errstate(all="ignore"):
            whole, fixed = np.linalg.slogdet(cross), np.linalg.slogdet(cross[:, :p, :p])
            value = np.log(det).sum(1) + self.nu * (whole[1] - fixed[1]) + (fixed[1] if self.reml else 0.0)
        return np.where((whole[0] > 0) & (fixed[0] > 0) & np.isfinite(value), value, np.inf)

    def starts(self) -> list[np.ndarray]:
        """Relative covariance matrices of the effects at the grid's low points, the best first."""
        grids = [[SCALES]] if self.q == 1 else [[SCALES, SCALES, CORRELATIONS], [SCALES, ANGLES]]
        found = []
        for number, axes in enumerate(grids):
            points = np.array(list(itertools.product(*axes)))
            L = np.zeros((len(points), 2, 2))
            s = np.exp(points[:, 0])
            if self.q == 1:
                L[:, 0, 0] = s
            elif number == 0:
                t, r = np.exp(points[:, 1]), points[:, 2]
                L[:, 0, 0], L[:, 1, 0], L[:, 1, 1] = s, t * r, t * np.sqrt(1 - r**2)
            else:
                L[:, 0, 0], L[:, 1, 0] = s * np.cos(points[:, 1]), s * np.sin(points[:, 1])
            values = self.values(L).reshape([len(axis) for axis in axes])
            low = np.isfinite(values)
            for axis in range(values.ndim):
                for shift in (1, -1):
                    other = np.roll(values, shift, axis)
                    if not (number == 1 and axis == 1):
                        other[(slice(None),) * axis + (0 if shift == 1 else -1,)] = np.inf
                    low &= values <= other
            for at in np.flatnonzero(low.ravel()):
                relative = (L[at] @ L[at].T)[: self.q, : self.q]
                found.append((values.ravel()[at], self.T @ relative @ self.T.T))
        found.sort(key=lambda each: each[0])
        return [each for _, each in found[:10]]


def shown(S: np.ndarray) -> str:
    """A relative covariance matrix as standard deviations and their correlation."""
    deviations = np.sqrt(np.maximum(np.diag(S), 0))
    text = ", ".join(f"{each:.4g}" for each in deviations)
    if len(S) == 2 and deviations.min() > 0:
        text += f"; {S[0, 1] / deviations.prod():.4g}"
    return f"sd {text}"


def descend(likelihood: Likelihood, S: np.ndarray) -> tuple[float, np.ndarray] | None:
    """Where the judge's own descent ends from a relative covariance matrix: log-likelihood and whitened theta."""
    try:
        # A start on the boundary is moved a little inside, for a descent stays in the face that it begins in.
        inside = S + 1e-6 * np.diag(
            np.maximum(np.diag(S), 1e-6 / np.mean(likelihood.design.terms[0].matrix ** 2, axis=0))
        )
        found = likelihood.optimum([likelihood.theta_of([inside])])
    except (LikelihoodError, np.linalg.LinAlgError):
        return None
    # Where a variance ratio runs away, the model reproduces the response and there is no optimum.
    return (found.loglik, found.theta) if np.abs(found.theta).max() < 1e6 else None


def campaign(minutes: float, out: Path | None, seed: int, lme4: bool) -> None:
    """Run it and print the misses; write them to a file as well."""
    begin = time.monotonic()
    lines: list[str] = []

    def say(text: str) -> None:
        lines.append(text)
        print(text, flush=True)
        if out:
            out.write_text("\n".join(lines) + "\n")

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run_r(_EXPORT, folder)
        chosen: list[tuple[str, Path, pd.DataFrame, str]] = []
        rng = random.Random(seed)
        for dataset, file, frame in tables(folder):
            every = list(candidates(frame))
            pinned = [formula for table, formula in FIRST if table == dataset]
            chosen += [(dataset, file, frame, each) for each in pinned]
            chosen += [(dataset, file, frame, each) for each in rng.sample(every, min(MODELS, len(every)))]
        rng.shuffle(chosen)
        chosen.sort(key=lambda each: (each[0], each[3]) not in FIRST)
        say(f"{len(chosen)} models on {len({each[0] for each in chosen})} tables")
        listed = [(i, each[1], each[3]) for i, each in enumerate(chosen)]
        pd.DataFrame(listed, columns=["number", "file", "formula"]).to_csv(folder / "models.csv", index=False)
        theirs: dict[tuple[int, str], tuple[float, ...]] = {}
        if lme4:
            theirs = _lme4(folder, minutes * 60 / 3)
            say(f"lme4 has fitted {len(theirs)} of them by either method, after {time.monotonic() - begin:.0f} s")
        _search(chosen, theirs, begin + 60 * minutes, say)


def _lme4(folder: Path, seconds: float) -> dict[tuple[int, str], tuple[float, ...]]:
    """lme4's fits of the models that it gets through: log-likelihood and relative covariance matrix."""
    run_r(_LMER, folder, seconds)
    fits = pd.read_csv(folder / "fits.csv")
    # The last line may have been cut off where R was stopped.
    rows = fits[fits["whole"] == "end"].itertuples(index=False)
    return {(int(number), method): tuple(float(each) for each in values) for number, method, *values, _ in rows}


def _search(chosen, theirs, until, say) -> None:
    tried = missed = short = 0
    own = brute = 0.0
    for number, (dataset, _, frame, formula) in enumerate(chosen):
        if time.monotonic() > until:
            say(f"time is up after {number} of {len(chosen)} models")
            break
        try:
            parsed = formulas.parse(formula)
            design = matrices.design(parsed, frame)
            identifiability.check(design, parsed)
            likelihoods = {method: Likelihood(design, method == "REML") for method in ("REML", "ML")}
        except (syntax.FormulaError, PreparationError, LikelihoodError):
            continue
        for method, likelihood in likelihoods.items():
            clock = time.process_time()
            try:
                found = likelihood.optimum()
            except (LikelihoodError, np.linalg.LinAlgError):
                found = None
            own += time.process_time() - clock
            clock = time.process_time()
            scan = Scan(design, method == "REML")
            starts = [(shown(S), S) for S in scan.starts()]
            fit = theirs.get((number, method))
            if fit:
                a, b, c = fit[1:]
                S = np.array([[a]]) if scan.q == 1 else np.array([[a, b], [b, c]])
                starts.append((f"lme4's end, {shown(S)}", S))
            ends = [(where, descend(likelihood, S)) for where, S in starts]
            brute += time.process_time() - clock
            ends = [(*end, where) for where, end in ends if end]
            if not ends:
                continue
            tried += 1
            best = max(end[0] for end in ends)
            loglik, theta, where = next(end for end in ends if end[0] > best - 1e-7)
            level = found.loglik if found else -np.inf
            distinct = sorted({round(end[0], 4) for end in ends}, reverse=True)
            if loglik > level + BETTER:
                missed += 1
                lme4 = f"lme4 {fit[0]:.6f}" if fit else "lme4 no fit"
                say(
                    f"MISS {dataset} | {formula} | {method} | n {len(design.y)} | judge {level:.6f} | "
                    f"best {loglik:.6f} (+{loglik - level:.3g}) | {lme4} | from {where} | "
                    f"to whitened theta {np.array2string(theta, precision=5)} | all ends {distinct[:5]}"
                )
            if fit and fit[0] < max(loglik, level) - 0.01:
                short += 1
    say(
        f"{tried} models and methods tried, {missed} better optima missed by the judge; lme4 is 0.01 or more below "
        f"the best in {short}; CPU of the judge's search {own:.1f} s, of this one {brute:.1f} s"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=15.0)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--seed", type=int, default=12, help="which models are drawn")
    parser.add_argument("--without-lme4", action="store_true")
    given = parser.parse_args()
    campaign(given.minutes, given.out, given.seed, not given.without_lme4)
