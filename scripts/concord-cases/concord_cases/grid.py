"""The tests of the grid, to import where the fixture ``concord_fit`` is."""

from __future__ import annotations

import pytest

import concord_cases

__all__ = ["test_estimates", "test_stated_loglik"]


def test_estimates(concord_record):
    """The estimates are at the certified optimum."""
    verdict, strict = concord_record["verdict"], concord_record["strict"]
    if verdict != "at the optimum" and (strict or verdict != "imprecise"):
        pytest.fail(concord_cases.told(concord_record), pytrace=False)


def test_stated_loglik(concord_record):
    """The log-likelihood that the package states is the one at its own estimates."""
    stated = concord_record.get("stated")
    if stated and stated["recognised"] != "right":
        pytest.fail(concord_cases.told(concord_record), pytrace=False)
