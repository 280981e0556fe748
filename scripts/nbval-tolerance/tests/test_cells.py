"""What a cell asks for by its tags and its first lines."""

from __future__ import annotations

import pytest

from nbval_tolerance.cells import reason_not_compared, tolerance, tolerances


def test_tags_override_one_tolerance_each() -> None:
    assert tolerances(["hide-input", "rtol=1e-4"], 1e-6, 1e-9) == (1e-4, 1e-9)
    assert tolerances(["atol=1e-3", "rtol=0"], 1e-6, 1e-9) == (0, 1e-3)
    assert tolerances([], 1e-6, 1e-9) == (1e-6, 1e-9)


@pytest.mark.parametrize(
    "tags",
    [
        ["rtol=abc"],
        ["rtol=nan"],
        ["rtol=-1"],
        ["rtol=1"],
        ["atol=inf"],
        ["rtol:1e-4"],
        ["rtol = 1e-4"],
        ["RTOL=1e-4"],
        ["rtol_1e-4"],
        ["tol=1e-4"],
        ["tolerance=1e-4"],
        ["rtol="],
        ["rtol"],
        ["rtol=1e-4", "rtol=0"],
        "rtol=1e-4",
    ],
)
def test_malformed_tag_is_an_error(tags: object) -> None:
    with pytest.raises(ValueError, match="tol"):
        tolerances(tags, 1e-6, 1e-9)


def test_tolerance_zero_is_allowed() -> None:
    assert tolerance("rtol", "0") == 0


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("# not compared: its layout", "its layout"),
        ("#Not compared : why\nx", "why"),
        ("%%R -w 800\n# not compared: R's layout\nsummary(fit)", "R's layout"),
        ("\n# a heading\n\n# not compared: why", "why"),
        ("# not compared:\nx", ""),
        ("x = 1\n# not compared: too late", None),
        ("import x\n%%R\n# not compared: too late", None),
        ("# not compared, why", None),
        ("'# not compared: why'", None),
        ("", None),
    ],
)
def test_reason_stands_above_the_code(source: str, reason: str | None) -> None:
    assert reason_not_compared(source) == reason
