"""The upgrade check, with a statsmodels that differs in what the test made different: real pip and fits, no network."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import zipfile
from importlib.metadata import version
from pathlib import Path

import pytest

from concord.commands import baseline, both_environments
from concord.commands.cli import main
from concord.commands.markdown import upgrade_summary
from concord.errors import InputError
from support.makefile import handed_on, stand_in
from support.processes import session, until

MODEL = "dyestuff-random_intercept"

# The real package under another version, found behind this one on the path.
REAL = """
import sys
from pathlib import Path
__path__ = [str(Path(place) / "statsmodels") for place in sys.path if Path(place, "statsmodels", "api.py").exists()]
__version__ = "99.0"
"""
HASTY = """
from statsmodels.regression import mixed_linear_model
_fit = mixed_linear_model.MixedLM.fit
def fit(self, *words, **options):
    hasty = {} if "method" in options else {"method": "bfgs", "maxiter": 1}
    return _fit(self, *words, **hasty, **options)
mixed_linear_model.MixedLM.fit = fit
"""


def wheel(folder: Path, init: str) -> Path:
    """A wheel of statsmodels 99.0 that holds its first module only."""
    file = folder / "statsmodels-99.0-py3-none-any.whl"
    file.parent.mkdir(parents=True, exist_ok=True)
    info = "statsmodels-99.0.dist-info"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("statsmodels/__init__.py", init)
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: statsmodels\nVersion: 99.0\n")
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: a test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/RECORD", "")
    return file


@pytest.fixture(autouse=True)
def _no_network(monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")


def upgrade(folder: Path, *requirements: str | Path) -> int:
    return main(["upgrade", "--folder", str(folder), "--model", MODEL, "--", *map(str, requirements)])


def test_another_default_changes_a_verdict_and_the_estimates_and_says_so(tmp_path, capfd):
    assert upgrade(tmp_path / "up", wheel(tmp_path, REAL + HASTY)) == 1
    out, said = capfd.readouterr()
    assert f"upgraded: statsmodels {version('statsmodels')} to 99.0" in said
    assert out == (tmp_path / "up" / "summary.md").read_text()
    # By REML and by ML, each at default and at tuned settings; only what asks for no optimizer is another one.
    assert (
        f"## Upgrade check: statsmodels {version('statsmodels')} to 99.0\n\n2 of 4 verdicts change, and 2 comp" in out
    )
    assert "- dyestuff-random\\_intercept, REML, default: was agree, is python short: MixedLM" in out
    assert "MixedLM (statsmodels): was at the optimum, is " in out and "nlme: " not in out
    assert f"| statsmodels | {version('statsmodels')} | **99.0** |" in out and "**" not in out.split("| numpy ")[1]
    before, after = (baseline.read(tmp_path / "up" / f"{side}.json") for side in ("present", "upgraded"))
    assert baseline.versions_changed(before.versions, after.versions) == [
        ("statsmodels", version("statsmodels"), "99.0")
    ]
    assert [each["verdict"] for each in before.entries] == ["agree"] * 4
    assert [each["verdict"] for each in after.entries] == ["python short", "agree"] * 2
    # Where nothing was made different, the two environments give the same to the last bit.
    before, after = (
        baseline.Baseline(side.versions, [each for each in side.entries if each["settings"] == "tuned"])
        for side in (before, after)
    )
    # An intercept with its error, two variances, the log-likelihood; by three engines and two methods.
    assert baseline.changes(before, after) == [] and baseline.nearest(before, after)[:2] == (30, 0.0)
    text = upgrade_summary(before, after, [("statsmodels", "0.15", "99.0")], [])
    assert "0 of 2 verdicts change, and 0 comparisons" in text and "Nothing has changed: no verdict, no gap" in text


def test_where_the_newest_is_the_one_installed_it_says_so_and_compares_nothing(tmp_path, capsys):
    (tmp_path / "summary.md").write_text("of an earlier run")
    assert upgrade(tmp_path, "statsmodels") == 0
    wanted = f"pip finds nothing newer than what is installed: statsmodels {version('statsmodels')}."
    assert wanted in capsys.readouterr().out and wanted in (tmp_path / "summary.md").read_text()
    assert not list(tmp_path.glob("*.json"))


def test_what_cannot_be_compared_is_one_line_with_status_2_and_leaves_no_summary(tmp_path, capfd):
    def told(*requirements: str | Path) -> str:
        (tmp_path / "summary.md").write_text("of an earlier run")
        assert upgrade(tmp_path, *requirements) == 2
        out, said = capfd.readouterr()
        assert out == "" and not (tmp_path / "summary.md").exists()
        return said.splitlines()[-1]

    said = told("statsmodels==99.7")
    assert "statsmodels==99.7: cannot be installed: " in said and "No matching distribution" in said
    assert str(tmp_path / "pip.log") in said
    said = told(wheel(tmp_path / "broken", "raise ImportError('no such thing in scipy')"))
    assert "with statsmodels 99.0 statsmodels cannot be imported: ImportError: no such thing in scipy; " in said


def test_an_environment_that_dies_is_told_by_its_last_words_and_takes_the_other_with_it(tmp_path):
    dying = tmp_path / "python"
    dying.write_text("#!/bin/sh\necho '[1/4] one' \necho 'out of luck' >&2\nexit 3\n")
    dying.chmod(0o755)
    with pytest.raises(InputError, match="^the upgraded environment ended before .* everything: out of luck$"):
        both_environments.compare(dying, tmp_path, [MODEL])
    assert not (tmp_path / "present.json").exists()
    assert not [pid for pid in session(os.getsid(0)) if str(tmp_path / "present.json").encode() in command_of(pid)]


def command_of(pid: int) -> bytes:
    try:
        return Path("/proc", str(pid), "cmdline").read_bytes()
    except OSError:
        return b""


def test_a_model_that_is_none_is_told_before_anything_is_installed(tmp_path, capsys):
    assert main(["upgrade", "--folder", str(tmp_path / "up"), "--model", "dyestuff-slope"]) == 2
    assert "dataset dyestuff has random_intercept" in capsys.readouterr().err
    assert not (tmp_path / "up").exists()
    (tmp_path / "file").touch()
    assert main(["upgrade", "--folder", str(tmp_path / "file")]) == 2
    assert "is not a folder" in capsys.readouterr().err


def test_ctrl_c_ends_both_environments(tmp_path):
    command = [sys.executable, "-m", "concord", "upgrade", "--folder", tmp_path / "up", "--", wheel(tmp_path, REAL)]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    while not process.stderr.readline().startswith("upgraded"):
        assert process.poll() is None
    until(lambda: len(session(process.pid)) >= 3, 60)
    process.send_signal(signal.SIGINT)  # to the command alone: it ends the others itself
    out, said = process.communicate(timeout=60)
    assert process.returncode == 130 and said.endswith("concord: interrupted\n") and out == ""
    assert not list((tmp_path / "up").glob("*.md")) and not list((tmp_path / "up").glob("*.json"))
    until(lambda: not session(process.pid), 15)


def test_verdicts_writes_nothing_where_it_cannot_compare(tmp_path, capsys):
    assert main(["verdicts", "--output", str(tmp_path / "v.json"), "--model", "nothing-here"]) == 2
    assert not (tmp_path / "v.json").exists() and "nothing" in capsys.readouterr().err


def test_make_hands_on_several_requirements_as_they_are(tmp_path):
    make = stand_in(tmp_path, "MODEL", "UPGRADE", "PRE", "CONFIG")
    assert handed_on(make("upgrade-check")) == ["upgrade", "--"]
    given = handed_on(make("upgrade-check", "UPGRADE=statsmodels==0.14.4 scipy<1.16 *", "PRE=1", "MODEL=a-b"))
    assert given == ["upgrade", "--pre", "--model", "a-b", "--", "statsmodels==0.14.4", "scipy<1.16", "*"]
    assert handed_on(make("check", "CONFIG=my study/concord.toml")) == ["check", "--", "my study/concord.toml"]
    assert handed_on(make("check")) == ["check", "--", "concord.toml"]
