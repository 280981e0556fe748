"""Two texts: what counts as a difference."""

from __future__ import annotations

from decimal import Decimal

import pandas as pd
import pytest

from nbval_tolerance.texts import differences


def table(*estimates: float) -> str:
    """As pandas prints it, each number with the digits that it has."""
    frame = pd.DataFrame({"term": ["a", "intercept", "b"], "estimate": estimates, "n": [1, 20, 3]})
    return frame.to_string(float_format=lambda number: repr(float(number)))


PADDED = table(0.5, float("nan"), -1.25)
SUMMARY = """\
       Results
=====================
          Coef.     z
---------------------
(Intercept)  0.123456 x
"""


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("0.5", "0.5000005"),
        ("-0.12", "-0.12000012"),
        ("loglik:-1234.5", "loglik:-1234.5001"),
        ("p = 1e-05", "p = 1.000001e-05"),
        ("1e-05", "0.00001"),
        ("1.5E+10 %", "15000000000.0 %"),
        ("12.5%", "12.50001%"),
        ("-0.0", "0.0"),
        ("1", "0.9999999"),
        ("[ 1.e-12 -5.e-01]", "[ 1.0000001e-12 -5.e-01]"),
        ("[1. 2.]", "[0.9999999 2.]"),
        ("[2., 1.]", "[2., 0.9999999]"),
        ("array([-0., 2.])", "array([0., 2.])"),
        ("<td>0.25</td>", "<td>0.2500001</td>"),
        ('{"sd":.5}', '{"sd":.5000001}'),
        ("np.float64(0.1)", "np.float64(0.10000001)"),
        ("[0.025 0.975] <2e-16 ***", "[0.025 0.975] <2e-16 ***"),
        ("nan inf -inf NA", "nan inf -inf NA"),
        ("\x1b[31m1.5\x1b[0m", "\x1b[31m1.5000001\x1b[0m"),
        ("\x1b[1;38;5;196m-1.5e-3\x1b[0m ok", "\x1b[1;38;5;196m-1.5000001e-3\x1b[0m ok"),
        ("\x1b]8;;http://x/1\x1b\\0.5\x1b]8;;\x1b\\", "\x1b]8;;http://x/1\x1b\\0.5000001\x1b]8;;\x1b\\"),
        ("(1+2j)", "(1.0000001+2j)"),
        ("1.5-2j", "1.5-2.000001j"),
        ("[1.+0.j 2.-1.j]", "[1.+0.j 2.0000001-1.j]"),
        ("2.5e-3j", "2.5000001e-3j"),
        ("0.5-2i", "0.5000001-2i"),
        ("\N{MINUS SIGN}0.5", "\N{MINUS SIGN}0.5000001"),
        ("\N{MINUS SIGN}0.5", "-0.5"),
        ("1.5e-7", "1.50000e-07"),
        ("p=9.9e-10;", "p=9.9000001e-10;"),
        ("1.2e-320", "1.2000001e-320"),
        ("1,234.5", "1,234.50001"),
        ("1.234(5)", "1.2340001(5)"),
        ("0.975\N{EN DASH}1.5", "0.9750001\N{EN DASH}1.5"),
    ],
)
def test_equal_within_tolerance(old: str, new: str) -> None:
    assert differences(old, new) == []
    assert differences(new, old) == []


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ("0.5", "0.500001", "off by 1e-06"),
        ("-0.12", "-0.121", "off by 0.001"),
        ("-0.12", "0.12", "off by 0.24"),
        ("0.0", "1e-300", "allowed 0 = 1e-06 x |0.0|"),
        ("1e-05", "1e-04", "relative 9"),
        ("1e999", "1e998", "off by"),
        ("12.5%", "12.6%", "off by 0.1"),
        ("nan", "0.5", "text 'nan' became '0.5'"),
        ("0.5", "inf", "text '0.5' became 'inf'"),
        ("inf", "-inf", "text"),
        ("nan", "NaN", "text"),
        ("861 rows", "862 rows", "whole numbers"),
        ("n = 1000000", "n = 1000001", "whole numbers"),
        ("There are 1000000. Next", "There are 1000001. Next", "whole numbers"),
        ("[1000000. 2.]", "[1000001. 2.]", "whole numbers"),
        ("007", "7", "whole numbers"),
        ("5", "-5", "whole numbers"),
        ("1,000,000.5", "1,000,001.5", "off by 1"),
        ("1,000,000", "1,000,001", "whole numbers"),
        ("agree", "differ", "text 'agree' became 'differ'"),
        ("a 0.5", "b 0.5", "text 'a' became 'b'"),
        ("0.5 kg", "0.5", "text 'kg' became 'the end of the line'"),
        ("one", "one\ntwo", "1 lines became 2; first at line 2"),
        ("0.05 **", "0.05 ***", "text"),
        ("The gap is 5. Next", "The gap is 5.0 Next", "text '.'"),
        ("1/2", "1/3", "text"),
        ("0.5 - 0.2", "0.5 -0.2", "text"),
        ("p = 3.2e-12", "p = 9.9e-10", "off by 9.87e-10, relative 308"),
        ("1e-300", "1.1e-300", "relative 0.1"),
        ("0", "1e-17", "off by"),
        ("\x1b[31m1.5\x1b[0m", "\x1b[31m1.6\x1b[0m", "1.5 became 1.6"),
        ("\x1b[31m1.5\x1b[0m", "\x1b[32m1.5\x1b[0m", "text"),
        ("\x1b[31m1.5\x1b[0m", "1.5", "text"),
        ("(1+2j)", "(1+2.1j)", "2 became +2.1"),
        ("(1.5+2j)", "(1.51+2j)", "1.5 became 1.51"),
        ("1.5+1e-17j", "1.5+2e-17j", "off by 1e-17"),
        ("1.5+2j", "1.5+2i", "text 'j' became 'i'"),
        ("1.5+2j", "1.5-2j", "whole numbers"),
        ("nan+0j", "nan+1j", "text"),
        ("2026", "2027", "whole numbers"),
        ("12.5 %", "12.5", "text"),
        ("0.125", "12.5%", "text"),
        ("1,234.5", "1,235.5", "234.5 became 235.5"),
        ("0,51", "0,52", "whole numbers"),
    ],
)
def test_differs(old: str, new: str, why: str) -> None:
    assert why.lower() in "\n".join(differences(old, new)).lower()
    assert differences(new, old)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("x1", "x2"),
        ("Evit000", "Evit100"),
        ("4601:Time", "4602:Time"),
        ("lme4 1.1-31", "lme4 1.1-32"),
        ("MASS 7.3-58.2", "MASS 7.3-58.3"),
        ("pandas 3.1.1", "pandas 3.1.2"),
        ("2026-08-01", "2026-08-02"),
        ("17:12:07.5", "17:12:07.6"),
        ("at 0x7f1e5", "at 0x7f1e6"),
        ("commit 4512e06", "commit 4513e06"),
        ("width: 12.5px", "width: 12.6px"),
        ("fit-1.5", "fit-1.6"),
        ("table_1.5.csv", "table_1.6.csv"),
        ("1.5-rc1", "1.6-rc1"),
        ("0.25:Time", "0.26:Time"),
        ("2026-11-28", "2026-11-29"),
        ("2026-11-28T06:00:00.25+00:00", "2026-11-28T06:00:00.26+00:00"),
        ("28.11.2026", "29.11.2026"),
        ("11/28/2026", "11/29/2026"),
        ("28 Nov 2026", "28 Nov 2027"),
        ("20261128", "20261129"),
        ("v2.4", "v2.5"),
        ("192.168.0.1", "192.168.0.2"),
        ("1.5-2.5", "1.5-2.6"),
        ("1_000.5", "1_001.5"),
    ],
)
def test_number_in_a_name_is_text_under_any_tolerance(old: str, new: str) -> None:
    assert "text" in differences(old, new, rtol=0.99, atol=1e9)[0] or "whole" in differences(old, new, 0.99, 1e9)[0]


def test_bounds_are_exact_in_decimals() -> None:
    assert differences("0.1234", "0.1235", rtol=0, atol=1e-4) == []
    assert differences("0.1234", "0.12350000001", rtol=0, atol=1e-4)
    assert Decimal("0.1235") - Decimal("0.1234") == Decimal("1e-4") and 0.1235 - 0.1234 > 1e-4


WIDER = (
    SUMMARY.replace("       Results", "        Results")
    .replace("0.123456 ", "0.1234561 ")
    .replace("=" * 21, "=" * 22)
    .replace("-" * 21, "-" * 22)
)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (PADDED, table(0.5000001, float("nan"), -1.25)),
        (PADDED, table(0.4999999, float("nan"), -1.2500000001)),
        (table(0.0, 0.0, 2.5), table(-0.0, -0.0, 2.5)),
        (SUMMARY, WIDER),
        ("[ 0.e+00\n 0.5 ]", "[-0.e+00\n  0.50000001]"),
    ],
)
def test_padding_and_rulers_follow_a_number(old: str, new: str) -> None:
    assert differences(old, new) == []
    assert differences(new, old) == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (PADDED, PADDED.replace(" estimate", "  estimate")),
        (SUMMARY, SUMMARY.replace("=" * 21, "=" * 22)),
        (SUMMARY, SUMMARY.replace("0.123456", "0.1234561").replace("=" * 21, "=" * 23)),
        (SUMMARY, SUMMARY.replace("0.123456", "0.1234561").replace("Coef.     z", "Coef.z")),
        (SUMMARY, SUMMARY.replace("0.123456", "0.1234561").replace("Coef.  ", "Coef.")),
        (SUMMARY, SUMMARY.replace("0.123456", "0.1234561").replace("-" * 21, "=" * 21)),
        ("a  b\n\n0.5", "a b\n\n0.50"),
        ("a\tb 0.5", "a b 0.50"),
        ("word---- 0.5", "word----- 0.50"),
    ],
)
def test_layout_that_no_number_explains_differs(old: str, new: str) -> None:
    assert old != new
    assert differences(old, new)
    assert differences(new, old)


def test_moved_text_is_told_once() -> None:
    assert differences("a  b\nc 0.5", "a b\nd 0.5") == ["line 2: text 'c' became 'd'"]


def test_report_names_number_tolerance_and_distance() -> None:
    assert differences("a\nb -0.12 c", "a\nb -0.121 c", rtol=1e-3, atol=1e-5) == [
        "line 2: -0.12 became -0.121: off by 0.001, relative 0.00833, allowed 0.00013 = 1e-05 + 0.001 x |-0.12|"
    ]
