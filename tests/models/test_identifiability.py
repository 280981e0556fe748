"""What the data cannot carry: a model that the rows do not identify is refused in one line that says why."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from concord import r
from concord.data.columns import PreparationError
from concord.models import formula as formulas
from concord.models import identifiability, matrices
from concord.models import model as models
from concord.models.preparation import check, prepare
from support.prepared import CLEAN, FORMULA, G, design, n, refused, with_value

rng = np.random.default_rng(12)

X = CLEAN["x"]
DATA = {
    "one group": (CLEAN.assign(g="a"), FORMULA, "random term (1 + x | g): g has one group only, 'a': a variance"),
    "one group left": (
        CLEAN.assign(y=CLEAN["y"].where(G == 0)),
        "y ~ x + (1 | g)",
        "random term (1 | g): g has one group only, 'g00': a variance between groups needs two or more; "
        "take the term out",
    ),
    "as many groups as rows": (
        CLEAN.assign(g=np.arange(n)),
        "y ~ x + (1 | g)",
        "random term (1 | g): as many groups as rows (120), so its variance and the residual's cannot be told apart: "
        "name a coarser group",
    ),
    "as many groups as rows, of two factors": (
        CLEAN.assign(h=CLEAN.index % 10),
        "y ~ x + (1 | g:h)",
        "random term (1 | g:h): as many groups as rows (120)",
    ),
    "as many random effects as rows": (
        CLEAN.assign(g=np.arange(n) // 2),
        "y ~ x + (1 + x | g)",
        "random term (1 + x | g): 120 random effects (2 for each of 60 groups) for 120 rows, so their variances and "
        "the residual's cannot be told apart: use fewer effects, or a coarser group",
    ),
    "more random effects than rows": (
        CLEAN.assign(g=np.arange(n) // 2),
        "y ~ x + (1 + x + f | g)",
        "240 random effects (4 for each of 60 groups)",
    ),
    "dependent random effects": (
        CLEAN.assign(z=2 * X + 1),
        "y ~ x + (1 + x + z | g)",
        "random term (1 + x + z | g) is rank-deficient: column z is a combination of (Intercept), x",
    ),
    "a response that is a predictor": (
        CLEAN.assign(y=3 * X - 1),
        "y ~ x + (1 | g)",
        "the fixed part x reproduces the response y exactly: no residual is left to model; is a predictor made from",
    ),
    "a response of the groups": (
        CLEAN.assign(y=rng.normal(size=12)[G]),
        "y ~ 1 + (1 | g)",
        "random term (1 | g) and the fixed part reproduce the response y exactly: no residual is left to model; if it "
        "is the same in all rows of a group, keep one row of each",
    ),
    "a response of the groups, beside predictors of rows and of groups": (
        CLEAN.assign(y=rng.normal(size=12)[G] * 1e6 + X, z=rng.normal(size=12)[G]),
        "y ~ x + z + (1 | g)",
        "random term (1 | g) and the fixed part reproduce the response y exactly",
    ),
    "a line in every group": (
        CLEAN.assign(y=1e3 + rng.normal(size=12)[G] + rng.normal(size=12)[G] * X),
        "y ~ x + (1 + x | g)",
        "random term (1 + x | g) and the fixed part reproduce the response y exactly",
    ),
    "a response of one of two factors": (
        CLEAN.assign(y=rng.normal(size=12)[G], h=CLEAN.index % 7),
        "y ~ 1 + (1 | h) + (1 | g)",
        "random term (1 | g) and the fixed part reproduce the response y exactly",
    ),
    "too few rows": (CLEAN[:4], FORMULA, "4 rows are too few for 4 fixed effects: the model needs more rows"),
    "too few rows are complete": (
        CLEAN.assign(y=CLEAN["y"].where(CLEAN.index.isin([0, 1, 2, 60]))),
        FORMULA,
        "random term (1 + x | g): 4 random effects (2 for each of 2 groups) for 4 rows",
    ),
    "one row": (CLEAN[:1], "y ~ 1 + (1 | g)", "only 1 row is complete: the model needs more rows"),
    "the same term twice": (
        CLEAN.assign(h=CLEAN["g"].str.upper()),
        "y ~ x + (1 | g) + (1 | h)",
        "random terms (1 | g) and (1 | h) have the same groups and a column in common: their variances cannot be told",
    ),
    "an intercept twice": (
        CLEAN,
        "y ~ x + (1 | g) + (1 + x | g)",
        "random terms (1 | g) and (1 + x | g) have the same groups and",
    ),
    "the logarithm of a negative number": (
        CLEAN.assign(x=X - 1),
        "y ~ log(x) + (1 | g)",
        "log(x) has no value in 48 rows of 120, the first in row 1: leave these rows out, or transform otherwise",
    ),
    "the logarithm of a negative number, below dropped rows": (
        CLEAN.assign(x=np.where(CLEAN.index == 9, -1, X + 1), y=CLEAN["y"].where(CLEAN.index > 4)),
        "y ~ log(x) + (1 | g)",
        "log(x) has no value in 1 row of 115, the first in row 10: leave these rows out, or transform otherwise",
    ),
    "the logarithm of zero": (
        CLEAN,
        "y ~ log(x) + (1 | g)",
        "log(x) is not finite in 12 rows of 120, the first in row 1: leave these rows out, or transform otherwise",
    ),
    "the logarithm of a response of zero": (
        with_value("y", 0.0, 5),
        "log(abs(y)) ~ x + (1 | g)",
        "log(abs(y)) is not finite in 1 row of 120, the first in row 6",
    ),
    "an overflow": (
        CLEAN.assign(x=1000 * X),
        "y ~ exp(x) + (1 | g)",
        "exp(x) is not finite in 84 rows of 120, the first in row 4",
    ),
    "an infinite offset": (
        CLEAN,
        "y ~ x + offset(log(x)) + (1 | g)",
        "the offset is not finite in 12 rows of 120, the first in row 1: leave these rows out, or transform otherwise",
    ),
    "an infinite random slope": (
        CLEAN,
        "y ~ x + (0 + log(x) | g)",
        "log(x) is not finite in 12 rows of 120, the first in row 1",
    ),
    "a response that a transformation makes constant": (
        CLEAN.assign(y=np.where(CLEAN.index % 2, 1, -1)),
        "abs(y) ~ x + (1 | g)",
        "the response abs(y) is the same in all 120 rows: nothing varies",
    ),
}


@pytest.mark.parametrize("case", DATA)
def test_data_that_cannot_carry_the_model_are_one_line(case):
    """Before any engine is asked: which term or column, how many of what, and what to do."""
    frame, formula, message = DATA[case]
    assert message in refused(frame, formula)


@pytest.mark.parametrize("case", ["dependent random effects", "a response that is a predictor"])
@pytest.mark.parametrize("unit", [1e-150, 1e-6, 1e6, 1e150])
def test_no_refusal_depends_on_units(case, unit):
    """Whatever x, z and y are measured in."""
    frame, formula, message = DATA[case]
    scaled = frame.assign(x=frame["x"] * unit, y=frame["y"] * (1 if "response" in case else unit))
    assert message in refused(scaled, formula)


@pytest.mark.parametrize("unit", [1e-150, 1e-6, 1e6, 1e150])
def test_a_sound_table_passes_in_any_units(unit):
    """Units alone make no column dependent and no response constant."""
    design(CLEAN.assign(x=unit * CLEAN["x"], y=CLEAN["y"] / unit))


def test_columns_as_close_as_lme4_takes_them_pass():
    """The measure of dependence is lme4's own: a column that it keeps is kept, and one that it leaves out is not."""
    matrices = r.function("lme4::lFormula")
    for distance, kept in ((3e-7, True), (3e-8, False)):
        z = CLEAN["x"] + distance * np.linalg.norm(CLEAN["x"]) * rng.normal(size=n) / n**0.5
        frame = CLEAN.assign(z=z)
        made = r.call(matrices, r.call(r.function("stats::as.formula"), "y ~ x + z + (1 | g)"), frame)
        assert (r.from_r(r.call("getElement", made, "X")).shape[1] == 3) == kept
        if kept:
            design(frame, "y ~ x + z + (1 | g)")
        else:
            assert "almost a combination of x" in design(frame, "y ~ x + z + (1 | g)").dropped["z"]


def test_every_model_of_the_workbook_passes_as_it_is():
    """Preparing changes no number of theirs, drops no row and says nothing."""
    for id in {model.id for model in models.every()}:
        model = models.get(id)
        prepared = prepare(model.frame, model.formula)
        found = matrices.design(model.formula, prepared.frame)
        check(found, model.formula, prepared)
        assert prepared.notes == () and found.names == model.design.names
        np.testing.assert_array_equal(found.y, model.design.y)
        np.testing.assert_array_equal(found.X, model.design.X)
        for one, other in zip(found.terms, model.design.terms, strict=True):
            np.testing.assert_array_equal(one.matrix, other.matrix)
            np.testing.assert_array_equal(one.codes, other.codes)


def test_an_offset_is_a_number_of_both_languages():
    """Also where nothing else uses its variable."""
    found = design(CLEAN.assign(z=G), "y ~ x + offset(z) + (1 | g)")
    np.testing.assert_array_equal(found.y, CLEAN["y"] - G)


def test_levels_with_a_colon_pass_where_they_stay_apart():
    """As R names the groups of a:b."""
    frame = CLEAN.assign(g=CLEAN["g"] + ":", h=pd.Series(CLEAN.index % 3).map({0: "p", 1: "q:r", 2: "q"}))
    assert len(design(frame, "y ~ x + (1 | g/h)").terms[0].levels) == 36


def test_a_response_that_is_almost_one_of_the_groups_passes():
    """A little noise, or one group with two values, is a residual; groups of one row do not matter."""
    of_groups = CLEAN.assign(y=100 + rng.normal(size=12)[G])
    design(of_groups.assign(y=of_groups["y"] + 1e-6 * rng.normal(size=n)), "y ~ x + (1 + x | g)")
    design(of_groups.assign(y=of_groups["y"] + (CLEAN.index == 7)), "y ~ 1 + (1 | g)")
    design(CLEAN.assign(g=np.where(CLEAN.index < 30, CLEAN.index, 99)), "y ~ x + (1 | g)")


def test_calls_are_told_from_names_that_look_like_them():
    """What a message names as a transformation stands in the formula as one."""
    text = "log(y) ~ poly(x, 2) + `log(z)` + I((a + sqrt(b))^2) + (1 | g)"
    assert identifiability._calls(text) == ["log(y)", "poly(x, 2)", "I((a + sqrt(b))^2)"]


def test_without_the_users_table_a_check_counts_rows_of_the_matrices():
    """`check` by itself, on any design."""
    parsed = formulas.parse("y ~ log(x) + (1 | g)")
    with pytest.raises(PreparationError, match=r"^log\(x\) is not finite in 12 rows of 120, the first in row 1"):
        check(matrices.design(parsed, CLEAN), parsed)
