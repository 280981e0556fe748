"""The catalogue by other releases: what is brought, which lanes a machine has, and what comes of one that fails."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import tomllib
from importlib.metadata import version

from concord import releases
from concord.commands import lanes
from concord.commands.cli import main
from concord.data.version_ranges import contains
from concord.errors import InputError
from support.makefile import handed_on, stand_in
from support.paths import ROOT
from support.releases import brought

MODEL = "dyestuff-random_intercept"
DECLARED = tomllib.loads((ROOT / "scripts/concord/commands/lanes.toml").read_text(encoding="utf-8"))["releases"]


def test_a_brought_folder_is_kept_beside_what_there_is_and_what_changed_is_said(tmp_path, capsys):
    brought(tmp_path / "elsewhere", "old.json", "1.1-9", gap=14.2)
    kept = tmp_path / "kept"
    assert main(["versions", "--results", str(tmp_path / "elsewhere"), "--output", str(kept)]) == 0
    assert "No fit came out in these ways: mended by a newer release; broken" in capsys.readouterr().out
    brought(tmp_path / "later", "new.json", "1.1-37")
    assert main(["versions", "--results", str(tmp_path / "later"), "--output", str(kept)]) == 0
    out, said = capsys.readouterr()
    assert "Mended by a newer release**: 1" in out
    assert "- pigs-slope, REML, default settings: lme4 1.1-9 was short by 14 (silent); 1.1-37 is at the optimum" in out
    assert f"2 runs are in {kept}" in said
    assert list(releases.read(kept).runs["lme4"]) == ["1.1-9", "1.1-37"]


def test_a_bad_folder_is_one_line_with_status_2_and_changes_nothing(tmp_path, capsys):
    kept = tmp_path / "kept"
    (tmp_path / "empty").mkdir()
    brought(tmp_path / "half", "good.json", "1.1-9")
    (tmp_path / "half" / "bad.json").write_text('{"format": 1}')
    for folder in ("empty", "half", "nowhere"):
        assert main(["versions", "--results", str(tmp_path / folder), "--output", str(kept)]) == 2
        out, said = capsys.readouterr()
        assert out == "" and len(said.splitlines()) == 1 and said.startswith(f"concord: {tmp_path / folder}")
    assert not kept.exists()


def test_a_lane_or_a_model_that_there_is_not_is_told_before_anything_runs(tmp_path, capsys):
    for words, said in (
        (["--lane", "potato"], "no lane is called 'potato' on this machine: there are here"),
        (["--model", "dyestuff-slope"], "dataset dyestuff has random_intercept"),
        (["--model", MODEL], "name a folder of their own with --output"),
    ):
        assert main(["versions", "--folder", str(tmp_path / "lanes"), *words]) == 2
        assert said in capsys.readouterr().err
    assert not (tmp_path / "lanes").exists()


def test_lanes_are_what_the_machine_has(monkeypatch, tmp_path, capsys):
    """This environment always; Debians as root with debootstrap; conda's where there is conda."""
    installed = version("statsmodels")
    usual = ["here"] + [
        f"statsmodels-{release['version']}"
        for release in DECLARED
        if release["version"] != installed and contains(release["python"], platform.python_version())
    ]

    def found(*programs: str, root: bool, codename: str = "bookworm") -> list[str]:
        folder = tmp_path / "-".join([*programs, str(root), codename])
        folder.mkdir()
        for name in programs:
            (folder / name).write_text("#!/bin/sh\n")
            (folder / name).chmod(0o755)
        monkeypatch.setenv("PATH", str(folder))
        monkeypatch.setattr(os, "geteuid", lambda: 0 if root else 1000)
        monkeypatch.setattr(platform, "freedesktop_os_release", lambda: {"VERSION_CODENAME": codename})
        return list(lanes.possible())

    debian = ("debootstrap", "unshare", "git")
    assert found(*debian, root=False) == found("debootstrap", root=True) == usual
    assert found(*debian, root=True) == [*usual, "trixie", "sid"]
    assert found(*debian, "conda", root=True, codename="trixie") == [*usual, "bookworm", "sid", "conda"]
    assert main(["versions", "--list"]) == 0
    assert capsys.readouterr().out.split() == [*usual, "bookworm", "sid", "conda"]


def test_every_declared_release_is_among_the_committed_results():
    kept = set(releases.read().runs["statsmodels"])
    assert {release["version"] for release in DECLARED} <= kept


def test_a_lane_that_fails_is_named_and_the_others_are_kept(monkeypatch, tmp_path, capsys):
    def fails(folder, file, words):
        raise InputError("no network")

    def runs(folder, file, words):
        assert words == ["--model", MODEL]
        brought(folder, file.name, "1.1-9")

    monkeypatch.setattr(lanes, "possible", lambda: {"one": fails, "two": runs})
    words = ["--folder", str(tmp_path / "lanes"), "--output", str(tmp_path / "kept"), "--model", MODEL]
    assert main(["versions", *words]) == 1
    assert capsys.readouterr().err.splitlines()[-1] == "concord: lane one: no network"
    assert len(releases.read(tmp_path / "kept").runs) == 1


def test_this_environment_is_a_lane_that_really_runs(tmp_path):
    words = ["--folder", str(tmp_path / "lanes"), "--output", str(tmp_path / "kept"), "--model", MODEL]
    assert main(["versions", "--lane", "here", *words]) == 0
    (about,) = releases.read(tmp_path / "kept").runs.to_dict("records")
    assert about["statsmodels"] == version("statsmodels") and about["Python"] == platform.python_version()


def test_a_bare_debian_gets_the_checkout_and_the_command_and_nothing_stays_mounted(tmp_path):
    """With programs of the same names that note what they are asked, since the real ones want root and a mirror."""
    tools, root = tmp_path / "tools", tmp_path / "sid" / "root"
    tools.mkdir()
    for name, text in {
        "debootstrap": 'mkdir -p "${@: -1}/etc/ssl/certs" && touch "${@: -1}/etc/debian_version"; echo "$@" >>"$NOTED"',
        "unshare": 'printf "%s\\n" "$@" >>"$NOTED"',
    }.items():
        (tools / name).write_text(f"#!/usr/bin/env bash\n{text}\n")
        (tools / name).chmod(0o755)
    place = tmp_path / "checkout"
    (place / "scripts").mkdir(parents=True)
    shutil.copy(ROOT / "scripts" / "chroot.sh", place / "scripts")
    (place / "a file.txt").write_text("as it is now")
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b.invalid", "-C", str(place)]
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "add", "."], check=True)
    noted = tmp_path / "noted"
    environment = os.environ | {
        "PATH": f"{tools}:{os.environ['PATH']}",
        "NOTED": str(noted),
        "https_proxy": "http://proxy",
    }
    for _ in range(2):
        subprocess.run(
            [place / "scripts" / "chroot.sh", "sid", root, "make setup && true"], env=environment, check=True
        )
    assert (root / "root" / "concord" / "a file.txt").read_text() == "as it is now"
    lines = noted.read_text().splitlines()
    assert len([line for line in lines if line.startswith("--variant=minbase")]) == 1  # the second time it is there
    asked = lines[1 : lines.index("--mount", 2)] if lines.count("--mount") > 1 else lines
    # Whatever is mounted is so in a namespace of its own, which ends with the command.
    assert asked[0] == "--mount" and "mount --rbind /proc" in asked[3] and str(root) in asked
    assert "make setup && true" in asked and "https_proxy=http://proxy" in asked and f"NOTED={noted}" not in asked


def test_make_hands_on_lanes_and_results_as_they_are(tmp_path):
    make = stand_in(tmp_path, "MODEL", "RESULTS", "LANES", "OUTPUT")
    assert handed_on(make("versions")) == ["versions"]
    given = handed_on(make("versions", "RESULTS=my results", "LANES=here trixie *", "MODEL=a-b", "OUTPUT=out"))
    lanes_given = ["--lane", "here", "--lane", "trixie", "--lane", "*"]
    assert given == ["versions", "--results", "my results", *lanes_given, "--model", "a-b", "--output", "out"]
    assert "make versions " in make("help")
