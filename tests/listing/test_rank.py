"""The pasted code of fixed parts that are rank-deficient, empty, rewritten or of names that patsy has for its own gives
what lme4 gives of the formula.
"""

from __future__ import annotations

import contextlib
import io
import warnings

import numpy as np
import pytest

from concord.data.tables import read
from concord.engines.lme4 import engine as lme4
from concord.listing.listings import Listings
from concord.models.of_table import model_of
from support.prepared import CLEAN

WRITTEN = [
    ("y ~ f * h + x + (1 | g)", None),
    ("y ~ x + copy + (x || g)", "w"),
    ("y ~ 0 + (1 | g)", "w"),
    ("log(y + 10) ~ (1 | g)", None),
    ("y ~ x * f - x - 1 + (1 | g)", None),
    ("y ~ factor(k) * factor(h) + (1 | g)", None),
    ("log(y + 10) ~ I(x^2) + f + (1 | g)", None),
    ("y ~ nan + inf + Intercept + (1 | g)", None),
    ("y ~ 0 + Intercept + (1 | g)", None),
]


@pytest.mark.parametrize(("text", "weights"), WRITTEN)
def test_the_python_listing_runs_and_finds_lme4s_optimum(text, weights, tmp_path, monkeypatch):
    """Columns are left out whatever their levels are called, weights multiply what is left, and other columns of the
    table are in nobody's way.
    """
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(17)
    h = np.where(CLEAN["f"] == "a", "u", np.where(rng.random(len(CLEAN)) < 0.5, "u", "v"))
    k = np.where(h == "u", rng.integers(0, 2, len(CLEAN)), rng.integers(0, 3, len(CLEAN)))
    numbers = {name: rng.normal(size=len(CLEAN)) for name in ("I", "np", "nan", "inf", "Intercept")}
    more = {"h": h, "k": k, "copy": 2 * CLEAN["x"], "w": rng.integers(1, 5, len(CLEAN)), **numbers}
    CLEAN.assign(**more).to_csv("table.csv", index=False)
    model = model_of(read("table.csv"), text, "REML", "table.csv", "table", weights)[0]
    room, said = {}, io.StringIO()
    with contextlib.redirect_stdout(said), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        exec(Listings(model, "table.csv").python, room)
    loglik = float(said.getvalue().split()[-1]) if weights else room["fit"].llf
    assert loglik == pytest.approx(lme4.fit(model).stated_loglik, rel=0, abs=1e-4)
