"""JSON outputs."""

from __future__ import annotations

from typing import Any

import pytest

from nbval_tolerance.data import differences
from nbval_tolerance.outputs import differences as output_differences

INF, NAN = float("inf"), float("nan")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ({"a": {"b": [1, 0.5]}}, {"a": {"b": [1, 0.5000001]}}),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
        ([1, 2.0], [1.0, 2]),
        ([NAN, INF, None, True], [NAN, INF, None, True]),
        ({"csv": "a,b\n0.5,1\n"}, {"csv": "a,b\n0.5000001,1\n"}),
        (1e-300, 1.0000001e-300),
        (0.0, -0.0),
        (1e16, 1.000000001e16),
    ],
)
def test_equal_within_tolerance(old: Any, new: Any) -> None:
    assert differences(old, new) == []
    assert differences(new, old) == []


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ({"a": {"b": [1, 0.5]}}, {"a": {"b": [1, 0.51]}}, "$.a.b[1]: 0.5 became 0.51"),
        ({"a": 1000000}, {"a": 1000001}, "$.a: 1000000 became 1000001: whole numbers must be equal"),
        ({"p": 3.2e-12}, {"p": 9.9e-10}, "$.p: 3.2e-12 became 9.9e-10"),
        ({"a": 1}, {"a": True}, "$.a: 1 became true"),
        ({"a": 0}, {"a": None}, "$.a: 0 became null"),
        ({"a": 0.5}, {"a": NAN}, "$.a: 0.5 became NaN"),
        ({"a": INF}, {"a": -INF}, "$.a: Infinity became -Infinity"),
        ({"a": 0.5}, {"a": "0.5"}, '$.a: 0.5 became "0.5"'),
        ({"a": []}, {"a": {}}, "$.a: [] became {}"),
        ({"a": 1}, {}, "$.a is gone"),
        ({}, {"a": 1}, "$.a is new"),
        ([1, 2], [2, 1], "$[0]: 1 became 2"),
        ([1], [1, 2], "$: 1 items became 2"),
        ({"day": "2026-11-28"}, {"day": "2026-11-29"}, "$.day, line 1: text"),
        ({"csv": "a\n0.5\n"}, {"csv": "a\n0.51\n"}, "$.csv, line 2: 0.5 became 0.51"),
    ],
)
def test_differs(old: Any, new: Any, why: str) -> None:
    assert why in "\n".join(differences(old, new))
    assert differences(new, old)


@pytest.mark.parametrize("kind", ["application/json", "application/geo+json", "application/vnd.plotly.v1+json"])
def test_every_type_of_json_is_compared_so(kind: str) -> None:
    assert output_differences(kind, {"a": 0.5}, {"a": 0.5000001}) == []
    assert output_differences(kind, {"a": 0.5}, {"a": 0.51})
    assert output_differences(kind, '{"a": 0.5}', '{"a": 0.5000001}') == []
