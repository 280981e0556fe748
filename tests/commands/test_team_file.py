"""concord.toml: a key, a verdict or a path that does not hold is one line that says which."""

from __future__ import annotations

from pathlib import Path

import pytest

from concord.commands import team_file
from concord.commands.cli import main
from concord.files import check_place
from support.team import GROWTH, PIGS

BAD = {
    "no TOML": ("[[models]\n", "not valid TOML: "),
    "no models": ("", "models: this key is missing"),
    "empty": ("models = []\n", "models: List should have at least 1 item"),
    "one table": (GROWTH.replace("[[models]]", "[models]"), "models: Input should be a valid list"),
    "unknown table": (GROWTH + "[settings]\n", "settings: unknown key: there are details, models"),
    "unknown key": (GROWTH + 'formla = "y ~ x"\n', "model 1 (growth): formla: unknown key: did you mean 'formula'?"),
    "missing key": ('[[models]]\nname = "a"\ndata = "data/sleep.csv"\n', "model 1 (a): formula: this key is missing"),
    "no name": ('[[models]]\ndata = "data/sleep.csv"\n', "model 1: name: this key is missing"),
    "name of two lines": (GROWTH.replace('"growth"', '"a\\nb"'), "name: 'a\\nb': a name is one line"),
    "wrong type": (GROWTH.replace('"data/sleep.csv"', "1"), "model 1 (growth): data: Input should be a valid string"),
    "no formula": (GROWTH.replace("| Subject)", "|"), "model 1 (growth): formula: "),
    "method": (GROWTH + 'method = "reml"\n', "model 1 (growth): method: Input should be 'REML', 'ML' or 'both'"),
    "verdict": (GROWTH + 'expect = "agre"\n', "expect: 'agre' is not a verdict: did you mean 'agree'?"),
    "verdict type": (GROWTH + "expect = true\n", "expect: True is not a verdict: it is one of agree, "),
    "verdict by": (GROWTH + 'expect = {reml = "agree"}\n', "expect: 'reml': a table of verdicts has the keys REML and"),
    "verdict of none": (GROWTH + 'expect = {ML = "agree"}\n', "expect.ML: the model is compared by REML only"),
    "no reason": (GROWTH + 'expect = "r short"\n', "model 1 (growth): reason: say why 'r short' is expected"),
    "twice": (GROWTH + PIGS + GROWTH, "model 3 (growth): name: model 1 has it already"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_does_not_hold_is_one_line_with_the_file_and_the_key(case, place, capsys):
    text, what = BAD[case]
    file = place / "bad.toml"
    file.write_text(text)
    assert main(["check", str(file), "--junit-xml", str(place / "bad.xml")]) == 2
    out, said = capsys.readouterr()
    assert out == "" and said.count("\n") == 1 and said.startswith(f"concord: {file}: ") and what in said
    assert not (place / "bad.xml").exists()


@pytest.mark.parametrize("option", ["--junit-xml", "--summary", "--record"])
def test_a_place_where_no_file_can_be_written_is_one_line_before_anything_is_compared(option, place, tmp_path, capsys):
    (tmp_path / "file").write_text("here")
    for path, why in {
        "/proc/x/j": "No such file or directory",
        "/proc/j": "No such file or directory",
        tmp_path / "file" / "sub" / "j": "Not a directory",
        tmp_path / ("j" * 250): "File name too long",
    }.items():
        assert main(["check", str(place / "concord.toml"), option, str(path)]) == 2
        out, said = capsys.readouterr()
        assert (out, said) == ("", f"concord: {path}: cannot be written: {why}: name another file with {option}\n")
    check_place(tmp_path / "new" / ".." / "other" / "j", option)
    assert [each.name for each in tmp_path.iterdir()] == ["file"]


def test_a_model_is_chosen_by_its_table_and_all_by_the_file_that_lists_them(place, monkeypatch):
    monkeypatch.chdir(place)
    file = Path("concord.toml")
    models = team_file.read(file)

    def chosen(*changed: str) -> list[str]:
        return [each.name for each in team_file.touched(models, file, map(Path, changed))]

    assert chosen("data/pigs.csv", "README") == ["pigs"]
    assert chosen("data/../data/sleep.csv") == ["growth", "crossed"]
    assert chosen("./concord.toml") == ["growth", "pigs", "crossed"]
    assert chosen("pigs.csv", "other/concord.toml") == []
