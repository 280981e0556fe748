"""The verdict as a pure function of facts: precedence, grades, and what the reason names."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from concord import vocabulary
from concord.agreement.verdict import Fact, Facts, Gone, decide, grade
from concord.engines.engine import title
from concord.vocabulary import VERDICTS, passes, side

GOOD = Fact("MixedLM (statsmodels)", "statsmodels", gap=0.0, off=0.0, digits=7.2, slope=1e-6)
OTHER = replace(GOOD, name="lme4", engine="lme4", language="R")
ALLOWED = 1e-6


def word(*facts: Fact, **more) -> str:
    return decide(Facts(facts, allowed=ALLOWED, **more)).word


@pytest.mark.parametrize(
    ("gap", "off", "expected"),
    [
        (-1e-9, 0.0, ""),
        (1e-6, 0.0, ""),
        (1.01e-6, 0.0, "imprecise"),
        (0.0099, 0.0999, "imprecise"),
        (0.0099, 0.1001, "short"),
        (0.0099, np.nan, "imprecise"),
        (0.01, 0.0, "short"),
        (np.inf, np.nan, "short"),
        (np.nan, np.nan, "short"),
    ],
)
def test_short_is_what_could_matter_to_a_reader(gap, off, expected):
    """0.01 log-likelihood units, or a tenth of a standard error; below that a fit is imprecise."""
    assert grade(replace(GOOD, gap=gap, off=off), ALLOWED) == expected


def test_rounding_excuses_a_want_of_precision_and_never_a_shortfall():
    """What arithmetic cannot resolve is the floor of the tolerance; what could matter is short all the same."""
    for gap, rounding, expected in ((1e-4, 2e-4, ""), (1e-4, 1e-5, "imprecise"), (0.02, 1.0, "short")):
        assert grade(replace(GOOD, gap=gap, rounding=rounding), ALLOWED) == expected
    assert grade(replace(GOOD, gap=0.009, off=0.2, rounding=1.0), ALLOWED) == "short"


def test_the_word_is_that_of_the_worst_and_the_reason_names_every_engine():
    short, weak = replace(GOOD, gap=1.37, slope=26.0, gained=1.37), replace(OTHER, gap=2.78e-6, slope=0.021)
    found = decide(Facts([short, weak], allowed=ALLOWED, noun="certified optimum"))
    assert found.word == "python short"
    assert "MixedLM (statsmodels) is short: it stopped 1.37 log-likelihood units below" in found.reason
    assert "lme4 is imprecise: it stopped 2.78e-06 log-likelihood units below the certified optimum" in found.reason
    assert word(replace(short, language="R"), replace(weak, language="Python")) == "r short"
    assert word(short, replace(OTHER, gap=1.0)) == "both short"
    assert word(GOOD, weak) == "r imprecise" and word(replace(GOOD, gap=1e-5), weak) == "both imprecise"


def test_what_cannot_be_written_comes_first_then_no_fit_then_short_then_differ_then_imprecise():
    """Each beside everything that stands behind it."""
    cannot = Gone("nlme", "statsmodels", "cannot express", "no way to write it")
    stopped = Gone("MixedLM (statsmodels)", "statsmodels", "stopped", "stopped after 60 s")
    short, weak = replace(OTHER, gap=1.0), replace(GOOD, gap=1e-5)
    wrong = replace(GOOD, broken=("states a log-likelihood of 1, its estimates have 2",))
    assert word(short, weak, gone=[stopped, cannot], beyond=["x"]) == "cannot express"
    for kind in ("stopped", "failed"):
        assert word(short, weak, gone=[replace(stopped, kind=kind)], beyond=["x"]) == "no fit"
    assert word(short, weak, beyond=["x"]) == "r short"
    assert word(weak, OTHER, beyond=["x"]) == "differ" == word(wrong, replace(OTHER, gap=1e-5))
    assert word(replace(GOOD, gap=-1e-3), OTHER) == "differ"
    assert word(weak, OTHER) == "python imprecise" and word(GOOD, OTHER) == "agree"
    assert word(GOOD, OTHER, judged=False) == "unjudged"
    told = decide(Facts([OTHER], gone=[stopped], allowed=ALLOWED, noun="certified optimum"))
    assert told.reason == "MixedLM (statsmodels) gave no fit: stopped after 60 s; lme4 is at the certified optimum"


def test_a_fit_above_the_reference_by_more_than_is_allowed_is_no_agreement():
    """As much as a fit may be below it."""
    assert word(replace(GOOD, gap=-1.01 * ALLOWED), OTHER) == "differ"
    assert word(replace(GOOD, gap=-ALLOWED), OTHER) == "agree"


def test_a_singular_fit_is_evidence_only_where_the_optimum_is_not_singular():
    lost = replace(GOOD, gap=1.0, singular=True)
    inside, at = (decide(Facts([lost, OTHER], allowed=ALLOWED, boundary=each)) for each in (False, True))
    assert "boundary" in inside.evidence and "the optimum's is not" in inside.reason
    assert "boundary" not in at.evidence and "the optimum's is not" not in at.reason


def test_fits_at_a_lower_optimum_are_told_with_all_that_are_known():
    """Both at the lower one of two; one of them at the third of three."""
    both = [replace(each, gap=12.4345, slope=1e-7) for each in (GOOD, OTHER)]
    found = decide(Facts(both, allowed=ALLOWED, optima=[0.7945, -11.64]))
    start = "the likelihood has two optima; MixedLM (statsmodels) and lme4 both stopped at the lower one, 12.4 below"
    assert found.word == "both short" and found.reason.startswith(start) and "another optimum" in found.evidence
    assert "not the best one" not in found.reason
    # Near it, with a last slope left, it is that optimum all the same.
    near = decide(
        Facts([replace(each, slope=3e-4, gained=1e-9) for each in both], allowed=ALLOWED, optima=[0.7945, -11.64])
    )
    assert near.evidence == ("another optimum", "silent failure")
    third = decide(Facts([GOOD, replace(OTHER, gap=5.0, slope=0.0)], allowed=ALLOWED, optima=[3.0, 1.0, -2.0]))
    assert "the likelihood has three optima; lme4 stopped at number 3 of them, 5 below" in third.reason
    # The derivative can be small because the parameter is large: what a search gains decides.
    far = decide(Facts([GOOD, replace(OTHER, gap=0.009, slope=1e-6, gained=0.009)], allowed=ALLOWED))
    assert far.word == "r imprecise" and "stopped early" in far.evidence and "another optimum" not in far.evidence
    alone = decide(Facts([GOOD, replace(OTHER, gap=5.0, slope=0.0)], allowed=ALLOWED))
    assert "a stationary point, and not the best one" in alone.reason and "another optimum" in alone.evidence


def test_what_is_broken_is_named_and_takes_the_place_of_another_optimum():
    """Fixed effects that cost the whole gap are the reason, and no stationary point is."""
    broken = replace(GOOD, gap=0.5, slope=0.0, cost=0.49, broken=("states a log-likelihood of inf",))
    found = decide(Facts([broken, OTHER], allowed=ALLOWED))
    assert found.word == "python short" and "it states a log-likelihood of inf" in found.reason
    assert "another optimum" not in found.evidence and "broken" in found.evidence
    assert "stationary" not in found.reason


def test_doubt_is_a_false_alarm_only_at_the_reference_and_its_want_a_silent_failure():
    warned = replace(GOOD, doubted=True, converged=False)
    assert decide(Facts([warned, OTHER], allowed=ALLOWED)).evidence == ("false alarm",)
    assert "silent failure" not in decide(Facts([replace(warned, gap=1.0), OTHER], allowed=ALLOWED)).evidence
    silent = decide(Facts([replace(GOOD, gap=1.0, slope=1.0), OTHER], allowed=ALLOWED))
    assert "silent failure" in silent.evidence and "claims to have converged all the same" in silent.reason
    assert (warned.said, GOOD.said) == ("warned", "silent")


def test_every_word_has_a_letter_of_its_own_and_only_agreement_and_imprecision_pass():
    assert set(vocabulary.LETTERS) == set(VERDICTS) and len(set(vocabulary.LETTERS.values())) == len(VERDICTS)
    assert [each for each in VERDICTS if passes(each)] == ["agree", *vocabulary.IMPRECISES]
    assert [each for each in VERDICTS if passes(each, strict=True)] == ["agree"]
    assert side("both imprecise") == ("python", "r") and side("r short") == ("r",) and side("differ") == ()
    assert title("statsmodels default 2") == "MixedLM (statsmodels) default 2" and title("x 2") == "x 2"
