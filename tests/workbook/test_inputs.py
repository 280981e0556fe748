"""Input that goes wrong, by its kind: inputs.tsv has how many are tried of each, and by which test."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from support import held

TABLE = held.read(Path(__file__).with_name("inputs.tsv"))


def test_hundreds_are_tried_by_tests_that_there_are():
    assert not TABLE["held by"].duplicated().any() and (TABLE != "").all(axis=None)
    assert TABLE["inputs"].astype(int).sum() >= 900 and TABLE["kind"].nunique() >= 15
    assert [each for each in TABLE["held by"] if not held.exists(each)] == []


def test_so_many_are_tried_as_stand_there(request):
    """In a run of all tests, of all; in another one, of the files that it has."""
    tried = Counter(item.nodeid.partition("[")[0] for item in request.session.items)
    files = {nodeid.partition("::")[0] for nodeid in tried}
    wanted = {each: int(n) for each, n in zip(TABLE["held by"], TABLE["inputs"], strict=True)}
    here = {each: n for each, n in wanted.items() if each.partition("::")[0] in files}
    assert {each: tried[each] for each, n in here.items() if tried[each] < n} == {}
