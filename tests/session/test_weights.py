"""Rows with weights, from a user's table to the verdict, all that fits say, and the code to paste."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from concord import r
from concord.cases import notation
from concord.commands import team_file
from concord.data.columns import PreparationError
from concord.engines import replicate
from concord.engines.answers import Absence, answer
from concord.engines.engine import EngineError, engines
from concord.engines.lme4 import engine as lme4
from concord.inference import criteria
from concord.listing.listings import Listings
from concord.models import nesting
from concord.models.of_table import model_of
from concord.models.syntax import FormulaError
from concord.session import Inquiry
from concord.simulation.responses import draw
from support.weighed import TABLE

SLOPE = "y ~ x + (1 + x | g)"


@pytest.fixture(scope="module")
def inquiry():
    return Inquiry(TABLE, SLOPE, weights="w")


@pytest.fixture(scope="module")
def comparison(inquiry):
    return inquiry.compare("tuned")


@pytest.fixture(scope="module")
def native():
    """lmer's own fit of the table, by a call that Concord does not write."""
    r.package("lme4")
    return r.call(in_r("function(d) lme4::lmer(y ~ x + (1 + x | g), d, weights = w)"), TABLE)


def in_r(code: str):
    """A value of R, once R has started as Concord starts it."""
    from rpy2 import robjects

    return robjects.r(code)


def of_native(native, code: str) -> np.ndarray:
    return np.asarray(r.from_r(r.call(in_r(f"function(fit) as.numeric({code})"), native)), float)


def test_all_engines_agree_at_the_weighted_optimum(inquiry, comparison):
    """MixedLM on multiplied rows, lme4 and nlme natively: each states the log-likelihood that the judge has."""
    assert comparison.verdict.word == "agree" and not comparison.absent
    for fit in comparison.fits:
        assert fit.loglik == pytest.approx(inquiry.reference.loglik, rel=0, abs=1e-8)


def test_the_judge_is_where_lmer_is(inquiry, native):
    """Log-likelihood, fixed effects, standard errors and variances of a fit by lmer alone."""
    against = inquiry.reference
    assert of_native(native, "logLik(fit)")[0] == pytest.approx(against.loglik, rel=0, abs=1e-6)
    np.testing.assert_allclose(of_native(native, "lme4::fixef(fit)"), against.parameters.fixed, rtol=1e-4)
    np.testing.assert_allclose(of_native(native, "sqrt(diag(as.matrix(vcov(fit))))"), against.std_error, rtol=1e-3)
    assert of_native(native, "sigma(fit)^2")[0] == pytest.approx(against.parameters.residual_variance, rel=1e-3)


def test_fitted_values_and_residuals_are_lmers(comparison, native):
    """Those that pictures show, of every engine: raw residuals, and Pearson's as lme4's over sigma."""
    for fit in comparison.fits:
        np.testing.assert_allclose(fit.fitted, of_native(native, "fitted(fit)"), rtol=0, atol=1e-3)
        np.testing.assert_allclose(fit.residuals, of_native(native, "residuals(fit)"), rtol=0, atol=1e-3)
        pearson = of_native(native, "residuals(fit, type = 'pearson') / sigma(fit)")
        np.testing.assert_allclose(fit.pearson, pearson, rtol=0, atol=1e-3)


def test_everything_else_that_fits_say_is_explained(inquiry, comparison):
    """Standard errors, tests, random effects, predictions, criteria and influence; what pbkrtest says is refused."""
    account = inquiry.account(comparison, profiled=False)
    assert not account.unexplained
    tests = account["tests of fixed effects"]
    assert any("pbkrtest leaves weights out" in str(line.absent) for line in tests.lines)


def test_the_pasted_code_reproduces_the_log_likelihood(inquiry, tmp_path):
    """Both languages, each in a fresh process, on the file."""
    TABLE.to_csv(tmp_path / "weighed.csv", index=False)
    model = model_of(TABLE, "y ~ x + (1 | g) + (0 + x | g)", "ML", "weighed.csv", "weighed", "w")[0]
    listings = Listings(model, "weighed.csv")
    wanted = replicate.likelihood_of(model, TABLE["y"].to_numpy()).optimum().loglik
    python = subprocess.run([sys.executable, "-c", listings.python], cwd=tmp_path, capture_output=True, text=True)
    assert float(python.stdout.splitlines()[-1]) == pytest.approx(wanted, rel=0, abs=1e-4), python.stderr
    code = f"{listings.r}\ncat(as.numeric(logLik(fit)))"
    in_r = subprocess.run(["Rscript", "-e", code], cwd=tmp_path, capture_output=True, text=True)
    assert float(in_r.stdout.splitlines()[-1]) == pytest.approx(wanted, rel=0, abs=1e-4), in_r.stderr


@pytest.mark.parametrize("formula", [SLOPE, "y ~ x + offset(z) + (1 | g) + (1 | h)"])
def test_a_refit_to_another_response_is_at_its_optimum(formula):
    """The bootstrap's and the studies' way, by both parties."""
    model = model_of(TABLE, formula, "REML", None, "data", "w")[0]
    response = TABLE["y"].to_numpy() + TABLE["x"].to_numpy() * np.tile([0.5, -0.3], 36)
    wanted = replicate.likelihood_of(model, response).optimum()
    for engine in ("statsmodels", "lme4"):
        got = engines()[engine].refitters(model, "tuned")[0](response)
        assert got.loglik == pytest.approx(wanted.loglik, rel=0, abs=1e-5)
        np.testing.assert_allclose(got.parameters.fixed, wanted.fixed, rtol=1e-3)


def test_a_drawn_residual_is_divided_by_the_root_of_its_weight():
    """With the same random numbers: with weights of 1 the draw is the unweighted one."""
    formula = "y ~ x + (1 | g)"
    plain = model_of(TABLE, formula, "REML", None, "data")[0]
    heavy = model_of(TABLE.assign(w=4.0), formula, "REML", None, "data", "w")[0]
    at = replicate.likelihood_of(plain, TABLE["y"].to_numpy()).optimum().parameters
    at = type(at)(at.fixed, (np.zeros((1, 1)),), at.residual_variance)
    mean = plain.design.X @ at.fixed
    once, other = (draw(model.design, at, 1, 0) - mean for model in (plain, heavy))
    np.testing.assert_allclose(other, once / 2, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"w": TABLE["w"].where(TABLE.index != 4, 0)}, "the weights 'w' are 0 in 1 row, the first in row 5.*leave"),
        ({"w": TABLE["w"].where(TABLE.index != 4, -1)}, "the weights 'w' are below 0 in 1 row, the first in row 5"),
        ({"w": TABLE["w"].where(TABLE.index != 4, np.inf)}, "column 'w' has 1 infinite value, the first in row 5"),
        ({"w": "much"}, "the weights 'w' are not numbers, but such as 'much'"),
        ({"w": True}, "the weights 'w' are not numbers, but such as 'TRUE'"),
    ],
)
def test_weights_that_divide_no_variance_are_refused_in_one_line(change, line):
    """Zero, negative, infinite, text and truth values, with the row and what to do."""
    with pytest.raises(PreparationError, match=line):
        model_of(TABLE.assign(**change), SLOPE, "REML", None, "data", "w")


def test_a_row_without_a_weight_is_dropped_and_counted():
    """As with any other missing value."""
    model, notes = model_of(TABLE.assign(w=TABLE["w"].where(TABLE.index > 1)), SLOPE, "REML", None, "data", "w")
    assert len(model.design.y) == len(TABLE) - 2 and notes[0] == "2 of 72 rows are dropped: missing in w (2)"


def test_weights_are_named_and_not_given():
    """A column of the table by its name; another name is met by the nearest."""
    with pytest.raises(FormulaError, match="name of a column, such as 'w', not Series: make them a column"):
        model_of(TABLE, SLOPE, "REML", None, "data", TABLE["w"])
    with pytest.raises(FormulaError, match="no column 'W'; did you mean 'w'"):
        model_of(TABLE, SLOPE, "REML", None, "data", "W")


def test_a_fit_with_other_weights_is_none_of_the_model(native):
    """lmer's fit with weights is not one of the model without, and the other way round."""
    plain = model_of(TABLE, SLOPE, "REML", None, "data")[0]
    other = model_of(TABLE.assign(w=TABLE["w"] + 1), SLOPE, "REML", None, "data", "w")[0]
    for model in (plain, other):
        with pytest.raises(EngineError, match="weights or an offset other than those of data-model"):
            lme4.from_native(native, model)
    own = model_of(TABLE, SLOPE, "REML", None, "data", "w")[0]
    assert lme4.from_native(native, own).loglik == pytest.approx(of_native(native, "logLik(fit)")[0], abs=1e-10)


def test_a_guest_is_not_asked(monkeypatch):
    """A guest knows of no weights: it would fit another model."""
    guest = engines()["statsmodels"]
    model = model_of(TABLE, SLOPE, "REML", None, "data", "w")[0]
    monkeypatch.setattr(guest, "role", "guest")
    got = answer(model, "statsmodels", "default")
    assert isinstance(got, Absence) and got.reason == "statsmodels is not asked about weights, here w"


def test_a_model_of_the_catalogue_may_have_weights_too(make_model):
    """Also where no table was prepared: what is not above 0 is refused."""
    frame = TABLE.assign(g=pd.Categorical(TABLE["g"]), w=TABLE["w"] - 1)
    with pytest.raises(ValueError, match="the weights 'w' are not all above 0"):
        _ = make_model(frame, SLOPE, weights="w").design


def test_new_rows_need_no_weights(comparison):
    """A prediction is of the response's mean."""
    new = pd.DataFrame({"x": [1.0, 2.5], "g": ["g0", "g11"]})
    predicted = comparison.predict(new)
    np.testing.assert_array_equal(predicted, comparison.predict(new.assign(w=9.0)))
    assert predicted["difference"].max() < 1e-4


def test_weights_stand_wherever_the_formula_is_named(inquiry):
    """On the sheet of the inquiry, in a page's sentence and formula, and in what a baseline keeps."""
    assert "y ~ x + (1 + x | g), weights w, by REML" in repr(inquiry)
    told = "The residuals of the 72 observations have one variance, divided by each observation's w."
    assert notation.words(inquiry.model)[-1] == told
    assert notation.equations(inquiry.model)[-1].endswith(r"N(0, \sigma^2 / w_i)")


def test_a_teams_file_names_the_column(tmp_path):
    """`weights = "w"` reaches the model."""
    (tmp_path / "concord.toml").write_text(
        '[[models]]\nname = "a"\ndata = "a.csv"\nformula = "y ~ x + (1 | g)"\nweights = "w"\n', encoding="utf-8"
    )
    assert [model.weights for model in team_file.read(tmp_path / "concord.toml")] == ["w"]


def test_models_of_other_weights_are_not_nested(make_model):
    """Their likelihoods are of other residuals; with the same weights the linear model is a special case."""
    one, other = (make_model(TABLE, f"y ~ x + {term}", "ML", weights="w") for term in ("(1 | g)", "(1 + x | g)"))
    bare = criteria.linear(one.design, reml=False)
    assert nesting.restriction(bare.design, one.design).random == 1
    assert nesting.restriction(one.design, other.design).random == 2
    with pytest.raises(nesting.NotNested, match="other weights"):
        nesting.restriction(one.design, make_model(TABLE, "y ~ x + (1 + x | g)", "ML").design)
