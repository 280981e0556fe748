"""TOML and JSON that people name: whatever the file is, it is read or refused in one line."""

from __future__ import annotations

import json
import os

import pytest

from concord.commands import baseline, team_file
from concord.data import datasets
from concord.errors import InputError
from concord.files import read_json, read_toml
from concord.findings import record
from concord.releases import results
from concord.simulation import scenarios
from concord.simulation.store import FORMAT, Store

DEEP = 100_000
CONTENTS = {
    "empty": b"",
    "no UTF-8": b'a = "\xe9"',
    "UTF-16": 'a = "b"'.encode("utf-16"),
    "NUL": b"a = 1\0",
    "twice": b"a = 1\na = 2",
    "deep arrays": b"a = " + b"[" * DEEP + b"]" * DEEP,
    "deep tables": b"a = " + b"{b=" * DEEP + b"1" + b"}" * DEEP,
    "deep JSON": b'{"a":' * DEEP + b"1" + b"}" * DEEP,
    "long number": b"a = " + b"9" * 5000,
    "long number of JSON": b'{"format": ' + b"9" * 5000 + b"}",
    "infinite": b"groups = [inf]\nmodels = [inf]",
    "dates": b"groups = [1979-05-27]\nmodels = [1979-05-27]",
    "lists in lists": b"groups = [[1]]\nmodels = [[1]]\n",
    "hexadecimal": b"groups = [0x" + b"f" * 9000 + b"]\nmodels = [{name = 0x" + b"f" * 9000 + b"}]",
    "list": b"[1, 2]",
    "word": b'"a"',
}
READERS = {
    "concord.toml": team_file.read,
    "dataset.toml": lambda path: datasets.read(path.parent),
    "findings.toml": lambda path: record.read(path.parent),
    "grid.toml": scenarios.read,
    "baseline.json": baseline.read,
    "verdicts.json": results.brought,
    "manifest.json": lambda path: Store(path.parent).manifest,
}


@pytest.fixture(params=READERS)
def reader(request, tmp_path):
    return READERS[request.param], tmp_path / request.param


def refused(read, path) -> str:
    with pytest.raises(InputError) as caught:
        read(path)
    said = str(caught.value)
    assert said.startswith(f"{path}: ") and "\n" not in said and len(said) < 1000
    return said


@pytest.mark.parametrize("content", CONTENTS)
def test_what_is_something_else_is_one_line_that_begins_with_the_file(reader, content):
    read, path = reader
    if content == "empty" and path.name in ("grid.toml", "findings.toml"):  # of these an empty one is a whole one
        path.write_bytes(b"")
        assert len(read(path)) == (path.name == "grid.toml")
        return
    path.write_bytes(CONTENTS[content])
    refused(read, path)


def test_what_is_no_file_is_one_line_and_nothing_is_waited_for(reader, tmp_path):
    read, path = reader
    path.mkdir()
    if path.name != "verdicts.json":  # a folder of several
        assert "Is a directory" in refused(read, path)
    path.rmdir()
    os.mkfifo(path)
    assert "pipe" in refused(read, path)
    path.unlink()
    path.symlink_to(os.devnull)
    assert "device" in refused(read, path)
    path.unlink()
    path.symlink_to(path)
    assert "Too many levels of symbolic links" in refused(read, path)
    path.unlink()
    path.symlink_to(tmp_path / "nowhere")
    assert "there is no such file" in refused(read, path)


@pytest.mark.parametrize(
    "content",
    ["[[1]]", "[0x" + "f" * 9000 + "]", "[{a = 1}]", "[1979-05-27]", "[nan]", "[inf]", "[1, 1]", "[true]", '["a"]'],
)
def test_a_grid_of_something_else_than_numbers_is_one_line(tmp_path, content):
    path = tmp_path / "grid.toml"
    path.write_text(f"groups = {content}")
    refused(scenarios.read, path)


def test_a_grid_of_more_scenarios_than_memory_holds_is_one_line(tmp_path):
    path = tmp_path / "grid.toml"
    path.write_text("\n".join(f"{name} = {[*range(1, 1000)]}" for name in scenarios.DEFAULTS))
    assert "scenarios: give fewer values" in refused(scenarios.read, path)


def test_a_byte_order_mark_is_read_over(tmp_path):
    path = tmp_path / "marked"
    path.write_bytes(b'\xef\xbb\xbfa = "b"')
    assert read_toml(path) == {"a": "b"}
    path.write_bytes(b'\xef\xbb\xbf{"a": "b"}')
    assert read_json(path) == {"a": "b"}


@pytest.mark.parametrize(
    "lost", ["method", "seed", "replicates", "fits", "thorough", "level", "versions", "cases", ("cases", "a", "digest")]
)
@pytest.mark.parametrize("other", [None, 1.5, [[]], "all"])
def test_a_manifest_with_a_key_lost_or_of_another_type_is_one_line_with_the_key(tmp_path, lost, other):
    whole = {"format": FORMAT, "method": "REML", "seed": 1, "replicates": 10, "fits": ["a b"], "thorough": True}
    whole |= {"level": 0.95, "versions": {"R": "4"}}
    whole["cases"] = {"a": {"formula": "y ~ (1 | g)", "digest": "0", "factors": {"size": 5.0}, "truth": {"(1)": 1.0}}}
    path = tmp_path / "manifest.json"
    path.write_text(json.dumps(whole))
    assert Store(tmp_path).manifest == whole
    *above, key = (lost,) if isinstance(lost, str) else lost
    table = whole
    for name in above:
        table = table[name]
    if (key, other) in [("level", 1.5), ("digest", "all"), ("fits", [])]:
        other = {}
    table[key] = other
    path.write_text(json.dumps(whole))
    assert f": {'.'.join((*above, key))}" in refused(lambda path: Store(path.parent).manifest, path)
    del table[key]
    path.write_text(json.dumps(whole))
    assert f": {'.'.join((*above, key))}: this key is missing" in refused(
        lambda path: Store(path.parent).manifest, path
    )
