"""Where a party is short the guests that were tried are named, or the command that tries them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from concord.agreement.alternatives import HEADING
from concord.agreement.comparison import compare
from concord.agreement.trials import Remedies
from concord.engines import engine
from concord.engines.answers import Absence
from concord.models import model as models

PARTIES = ("statsmodels", "lme4")
ID = "sitka-random_slope"


@pytest.fixture
def guests(monkeypatch):
    """Three guests that are engines as any other: two copies of a party's, and one that is not installed."""
    lme4 = engine.engines()["lme4"]

    class Guest:
        role, language = "guest", "R"

        def __init__(self, name):
            self.name = self.title = name

        def __getattr__(self, name):
            return getattr(lme4, name)

    known = {**engine.engines(), **{name: Guest(name) for name in ("arrives", "stays", "missing")}}
    monkeypatch.setattr(engine, "_found", lambda folders: known)


def test_guests_that_were_tried_are_named_with_their_calls(guests, numbers):
    """One at the optimum, one that is short as lme4 is, one that is not there."""
    two = [numbers(ID, "REML", name, "default") for name in PARTIES]
    tried = [replace(two[0], engine="arrives", call="arrives(y ~ x)"), replace(two[1], engine="stays")]
    tried.append(
        Absence(models.get(ID), "missing", "default", "failed", "missing is not installed: pip install missing")
    )
    made = Remedies(compare(*two, *tried), ())
    heading, told, code = made.parts[0]
    assert (heading, code) == (HEADING, "")
    assert told == [
        "At the optimum on this table: arrives.",
        "arrives: library(lme4); arrives(y ~ x)",
        "short, 14.2 log-likelihood units below it: stays.",
        "No fit: missing is not installed: pip install missing.",
    ]


def test_without_guests_the_command_that_tries_them_is_told(numbers):
    two = compare(*(numbers(ID, "ML", name, "default") for name in PARTIES))
    ((_, told, _),) = Remedies(two, (), "my table.csv").parts
    assert told == [
        "Not tried; this tries those that are installed, on this table: "
        f'concord compare "my table.csv" "{two.model.record.formula}" --method ML --guests'
    ]


def test_nobody_is_sent_elsewhere_where_both_agree(numbers):
    two = compare(*(numbers("sleepstudy-random_slope", "REML", name, "default") for name in PARTIES))
    assert Remedies(two, ()).parts == []
