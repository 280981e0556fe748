"""The account of models whose fixed part is rank-deficient, or empty: every section is there, in R's own numbers."""

from __future__ import annotations

import numpy as np
import pytest

from concord import r
from concord.account import SECTIONS
from concord.account.account import Account
from concord.account.marginal_means import contrasts_table, means_table
from concord.agreement.comparison import compare
from concord.engines.lme4 import engine as lme4
from concord.engines.nlme import engine as nlme
from concord.engines.statsmodels import engine as mixedlm
from concord.models.of_table import model_of
from support.prepared import CLEAN

ANOVA = """function(data, type) {
  fit <- suppressMessages(lmerTest::lmer(y ~ f * h + x + (1 | g), data))
  found <- suppressMessages(anova(fit, type = type))
  list(df = found$NumDF, ddf = found$DenDF, statistic = found$`F value`)
}"""
ALONE = """function(data, text, reml) {
  fit <- lme4::lmer(as.formula(text), data, REML = reml)
  list(loglik = as.numeric(logLik(fit)), sigma = sigma(fit), variance = as.data.frame(lme4::VarCorr(fit))$vcov)
}"""


def in_r(text, *arguments):
    r.package("lme4")
    return r.from_r(r.call(r.call("eval", r.call("str2lang", text)), *arguments))


@pytest.fixture(scope="module")
def table():
    """The cell of f = a and h = v is empty."""
    rng = np.random.default_rng(17)
    return CLEAN.assign(h=np.where(CLEAN["f"] == "a", "u", np.where(rng.random(len(CLEAN)) < 0.5, "u", "v")))


@pytest.fixture(scope="module")
def deficient(table):
    model = model_of(table, "y ~ f * h + x + (1 | g)", "REML", None, "data")[0]
    return Account(compare(mixedlm.fit(model, "tuned"), lme4.fit(model, "tuned")))


def test_every_section_of_a_rank_deficient_model_is_explained(deficient):
    """All that both packages say beyond the estimates, of the columns that are kept."""
    assert all(deficient[section].lines for section in SECTIONS if section != "tests of models")
    assert deficient.unexplained == []


@pytest.mark.parametrize("kind", ["I", "III"])
def test_terms_are_tested_as_lmertest_tests_them(kind, deficient, table):
    """Of f:h only what the occupied cells tell: one degree of freedom less."""
    found = deficient.terms(kind, ratios=False).table
    found = found[(found["method"] == "Satterthwaite") & (found["source"] == "lme4")]
    wanted = in_r(ANOVA, table.assign(f=table["f"].astype("category"), h=table["h"].astype("category")), kind)
    assert found["term"].tolist() == ["f", "h", "x", "f:h"] and found["df"].tolist() == [2, 1, 1, 1]
    np.testing.assert_allclose(found["df"], wanted["df"])
    np.testing.assert_allclose(found["statistic"], wanted["statistic"], rtol=1e-4)


def test_a_term_that_others_make_up_is_not_estimable(table):
    """x + copy: neither can be left out, and by type III neither is tested."""
    model = model_of(table.assign(copy=2 * table["x"]), "y ~ x + copy + f + (1 | g)", "REML", None, "data")[0]
    shown = Account(compare(mixedlm.fit(model), lme4.fit(model))).terms()
    assert set(shown.table["term"]) == {"f"}
    assert [note.split(":")[0] for note in shown.notes if "not estimable" in note] == ["x", "copy"]


def test_means_of_empty_cells_are_not_estimable(deficient):
    """As emmeans marks them: a:v, and what is averaged over it; the others are the means of what was observed."""
    cells = means_table(deficient.comparison, ["f", "h"])
    missing = cells[cells["mean"].isna()]
    assert {tuple(row) for row in missing[["f", "h"]].to_numpy()} == {("a", "v")} and missing["std_error"].isna().all()
    assert means_table(deficient.comparison, "f").dropna()["f"].unique().tolist() == ["b", "c"]
    pairs = contrasts_table(deficient.comparison, "f")
    assert pairs.dropna(subset="estimate")["contrast"].unique().tolist() == ["b - c"]
    assert "Not estimable, for want of rows: a - b, a - c." in pairs.attrs["notes"]


@pytest.mark.parametrize("text", ["y ~ 0 + (1 | g)", "y ~ -1 + (1 + x | g)"])
def test_without_fixed_effects_reml_is_ml_and_every_section_is_there(text):
    """As lme4 has it outside of Concord; nlme's effects of the last group are wrong there, and the account says so."""
    logliks = []
    for method in ("REML", "ML"):
        model = model_of(CLEAN, text, method, None, "data")[0]
        fits = [engine.fit(model, "tuned") for engine in (mixedlm, lme4, nlme)]
        alone = in_r(ALONE, CLEAN, text, method == "REML")
        for fit in fits:
            assert fit.stated_loglik == pytest.approx(alone["loglik"][0], rel=0, abs=2e-5)
            assert fit.parameters.fixed.shape == (0,) and len(fit.std_error) == 0
        comparison = compare(*fits)
        assert comparison.verdict.word == "agree"
        logliks.append(comparison.against.loglik)
        account = Account(comparison, profiled=False)
        for section in SECTIONS:
            assert isinstance(account[section].lines, (list, tuple))
        assert account["standard errors"].lines and account["random effects"].lines
        assert not account["tests of fixed effects"].lines
        assert account.terms() == "No tests of terms: the fixed part has no effect."
        assert all("nlme" in breach for breach in account.unexplained)
    assert logliks[0] == pytest.approx(logliks[1], rel=0, abs=1e-8)
