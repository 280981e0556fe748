"""The tests of the grid, to import where the fixture ``concord_fit`` is."""

from __future__ import annotations

import concord_cases

__all__ = ["test_estimates", "test_stated_loglik"]


def test_estimates(concord_record):
    """The estimates are at the certified optimum."""
    verdict = concord_record["verdict"]
    strict = concord_record["strict"]
    assert verdict == "at the optimum" or (verdict == "imprecise" and not strict), concord_cases.told(concord_record)


def test_stated_loglik(concord_record):
    """The log-likelihood that the package states is the one at its own estimates."""
    stated = concord_record.get("stated")
    assert not stated or stated["recognised"] == "right", concord_cases.told(concord_record)
