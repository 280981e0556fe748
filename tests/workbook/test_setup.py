"""A newcomer's machine becomes a working environment, and the files that say how agree with each other."""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pandas as pd
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version

from support.paths import ROOT

IN_CONDA = (Path(sys.prefix) / "conda-meta").is_dir()

# conda's names for what pip calls otherwise.
CONDA_NAMES = {"matplotlib": "matplotlib-base", "nbconvert": "nbconvert-core"}
# A lane's rpy2 is the one that fits its R (scripts/lanes.tsv), and conda builds its own for its own R: environment.yml
# holds it to the range in pyproject.toml only.
RANGES = {"rpy2": (">=3.6,<3.7", "3.6")}


def normalized(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def tracked_texts() -> dict[str, str]:
    """Every tracked file that is text, by path."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    texts = {}
    for path in filter(None, listed.split("\0")):
        content = (ROOT / path).read_bytes() if (ROOT / path).is_file() else b""
        if b"\0" not in content:
            texts[path] = content.decode()
    assert "pyproject.toml" in texts
    return texts


# ---- pins


def python_requirements() -> dict[str, str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    requirements = project["dependencies"] + project["optional-dependencies"]["test"]
    return dict(re.fullmatch(r"([\w.-]+)(.*)", requirement).groups() for requirement in requirements)


def test_conda_environment_has_the_pins_of_pyproject():
    wanted = {}
    for name, specifier in python_requirements().items():
        if name in RANGES:
            expected, version = RANGES[name]
            assert specifier == expected
        else:
            assert specifier.startswith("=="), f"{name} has no exact version in pyproject.toml"
            version = specifier.removeprefix("==")
        wanted[CONDA_NAMES.get(name, name)] = version
    entries = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    pinned = dict(entry.split("=") for entry in entries if isinstance(entry, str) and "=" in entry)
    lane = lanes()[lane_of(pinned.pop("r-base"))]
    assert lane["python"].startswith(pinned.pop("python") + ".")
    assert pinned == wanted


def test_every_way_to_set_up_brings_the_same_r_packages():
    """Debian and conda; R and its own Matrix come along."""
    setup = (ROOT / "scripts" / "setup.sh").read_text()
    listed = {
        name: re.search(rf"^{name}=\((.*)\)$", setup, re.MULTILINE)[1].split() for name in ("r_packages", "debian_r")
    }
    wanted = {name.lower() for name in listed["r_packages"]}
    assert {"lme4", "nlme", "lmertest", "pbkrtest"} <= wanted
    assert {name.removeprefix("r-cran-") for name in listed["debian_r"]} - {"r-base-core"} == wanted
    entries = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    conda = {entry.removeprefix("r-") for entry in entries if isinstance(entry, str) and entry.startswith("r-")}
    assert {name for name in conda if not name.startswith("base=")} == wanted


def test_conda_environment_ends_with_the_package_itself():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    assert environment["channels"] == ["conda-forge", "nodefaults"]
    assert environment["dependencies"][-1] == {"pip": ["-e .[browser,guests]"]}


def lanes() -> dict[str, dict[str, str]]:
    """The table, read in another way than scripts/setup.sh and scripts/lock.py do."""
    frame = pd.read_csv(ROOT / "scripts" / "lanes.tsv", sep="\t", comment="#", header=None, dtype=str, index_col=0)
    frame.columns = ["from", "below", "python", "rpy2", "rpy2-rinterface", "rpy2-robjects"]
    return frame.to_dict("index")


def constraints(lane: str) -> dict[str, str]:
    lines = (ROOT / "scripts" / "constraints" / f"{lane}.txt").read_text().splitlines()
    return dict(line.split("==") for line in lines if not line.startswith("#"))


def test_every_lane_has_its_constraints_and_no_other_lane_has_any():
    files = {path.stem for path in (ROOT / "scripts" / "constraints").iterdir()}
    assert files == set(lanes()) == {"bookworm", "trixie", "sid"}


def test_the_lanes_follow_each_other_without_a_gap():
    rows = list(lanes().values())
    assert [row["below"] for row in rows] == [row["from"] for row in rows[1:]] + ["-"]
    for column in ("from", "python"):
        versions = [Version(row[column]) for row in rows]
        assert versions == sorted(set(versions))
    floor = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"]
    assert all(Version(row["python"]) in SpecifierSet(floor) for row in rows)


@pytest.mark.parametrize("lane", lanes())
def test_a_lane_has_the_rpy2_that_fits_its_r(lane):
    """From 3.6.6 on rpy2-rinterface calls R_getVar, new in R 4.5; before it STDVEC_DATAPTR, which R 4.6 has no more."""
    row = lanes()[lane]
    pinned = {name: version for name, version in constraints(lane).items() if name.startswith("rpy2")}
    assert pinned == {name: row[name] for name in ("rpy2", "rpy2-rinterface", "rpy2-robjects")}
    assert (Version(pinned["rpy2-rinterface"]) >= Version("3.6.6")) == (Version(row["from"]) >= Version("4.5"))
    low, high = RANGES["rpy2"][0].split(",")
    assert Version(pinned["rpy2"]) in SpecifierSet(f"{low},{high}")


def test_lanes_differ_in_nothing_else_than_rpy2():
    """So what results differ in by lane is R's, rpy2's or Python's doing."""
    pins = [{name: v for name, v in constraints(lane).items() if not name.startswith("rpy2")} for lane in lanes()]
    assert pins[0] == pins[1] == pins[2]


def test_constraints_agree_with_pyproject():
    exact = {
        normalized(name): specifier.removeprefix("==")
        for name, specifier in python_requirements().items()
        if name not in RANGES
    }
    for lane in lanes():
        assert exact == {name: version for name, version in constraints(lane).items() if name in exact}


@pytest.mark.skipif(IN_CONDA, reason="constraints are pip's: conda resolves its own packages")
@pytest.mark.parametrize("python", [None, "3.11", "3.12", "3.13", "3.14"])
def test_constraints_pin_all_that_the_workbook_pulls_in(python):
    """By what the packages that are installed here say of themselves; for this machine's Python, and for the others."""
    pins = constraints(lane_of(subprocess.run(["R", "--version"], capture_output=True, text=True).stdout))
    environment = {"python_version": python, "python_full_version": f"{python}.9"} if python else {}
    pulled_in, waiting, seen = {}, ["concord[test,browser,guests]"], set()
    while waiting:
        name, extras = re.fullmatch(r"([\w.-]+)(?:\[(.*)\])?", waiting.pop()).groups()
        if (name, extras) in seen:
            continue
        seen.add((name, extras))
        try:
            version, requires = importlib.metadata.version(name), importlib.metadata.requires(name)
        except importlib.metadata.PackageNotFoundError:  # only another Python wants it
            assert python
            version, requires = pins.get(normalized(name), "not pinned"), []
        if name != "concord":
            pulled_in[normalized(name)] = version
        for requirement in requires or []:
            waiting += requirement_that_applies(requirement, (extras or "").split(","), environment)
    assert len(pulled_in) > 80
    assert pulled_in == {name: pins.get(name) for name in pulled_in}


def lane_of(said: str) -> str:
    version = Version(re.search(r"\d+\.\d+(\.\d+)?", said).group())
    return [lane for lane, row in lanes().items() if version >= Version(row["from"])][-1]


def requirement_that_applies(text: str, extras: list[str], environment: dict[str, str]) -> list[str]:
    requirement = Requirement(text)
    if requirement.marker and not any(requirement.marker.evaluate(environment | {"extra": extra}) for extra in extras):
        return []
    return [f"{requirement.name}[{','.join(sorted(requirement.extras))}]" if requirement.extras else requirement.name]


# ---- workflows


def workflows() -> dict[str, str]:
    return {path.name: path.read_text() for path in (ROOT / ".github" / "workflows").iterdir()}


@pytest.mark.parametrize("name", workflows())
def test_a_workflow_takes_others_actions_by_commit(name):
    """A tag can be moved to other code. Behind the commit stands the tag that it had."""
    used = re.findall(r"^ *(?:- )?uses: (.*)$", workflows()[name], re.MULTILINE)
    assert used
    assert [text for text in used if not re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}  # v\d+\.\d+\.\d+", text)] == []


def test_workflows_agree_on_the_commit_of_an_action():
    used = re.findall(r"uses: ([\w/-]+)@(.*)$", "\n".join(workflows().values()), re.MULTILINE)
    assert len(set(used)) == len({action for action, _ in used}) >= 3


@pytest.mark.parametrize("name", ["ci.yml", "upgrade.yml"])
def test_a_workflow_runs_in_every_lane(name):
    jobs = yaml.safe_load(workflows()[name])["jobs"].values()
    (job,) = (job for job in jobs if "container" in job)
    assert job["container"] == "debian:${{ matrix.lane }}"
    assert job["strategy"] == {"fail-fast": False, "matrix": {"lane": list(lanes())}}
    (upload,) = (step for step in job["steps"] if step.get("uses", "").startswith("actions/upload-artifact@"))
    assert "${{ matrix.lane }}" in upload["with"]["name"]


def test_the_workflow_for_others_runs_in_any_lane():
    workflow = yaml.safe_load(workflows()["check.yml"])
    lane = workflow[True]["workflow_call"]["inputs"]["lane"]  # YAML 1.1 takes the key `on` for true
    assert lane["default"] in lanes() and all(name in lane["description"] for name in lanes())
    (job,) = workflow["jobs"].values()
    assert job["container"] == "debian:${{ inputs.lane }}"


# ---- what no file may name


def test_no_file_names_a_package_registry():
    registries = [
        ("pypi", "org"),
        ("pythonhosted", "org"),
        ("cran", "r-project.org"),
        ("deb", "debian.org"),
        ("security", "debian.org"),
        ("archive", "ubuntu.com"),
        ("anaconda", "org"),
        ("anaconda", "com"),
        ("packagemanager", "posit.co"),
        ("packagemanager", "rstudio.com"),
        ("cran", "rstudio.com"),
        ("npmjs", "org"),
        ("npmjs", "com"),
        ("ghcr", "io"),
        ("docker", "io"),
        ("quay", "io"),
    ]
    pattern = re.compile("|".join(re.escape(".".join(parts)) for parts in registries))
    assert [(path, match.group()) for path, text in tracked_texts().items() for match in pattern.finditer(text)] == []


def test_no_file_holds_a_path_of_one_machine():
    found = []
    for path, text in tracked_texts().items():
        # What runs writes real paths into a notebook's outputs; elsewhere a made-up home may well be an example.
        folders = ["root", "work"] + (["home", "Users", "tmp"] if path.endswith(".ipynb") else [])
        pattern = rf"(?<![\w.$}}/-])/(?:{'|'.join(folders)})/\w+|(?<![\w$}}]){re.escape(str(ROOT))}(?!\w)"
        found += [(path, match.group()) for match in re.finditer(pattern, text)]
    assert found == []


# ---- make


def test_make_help_lists_every_target():
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert {"help", "setup", "reports", "test", "lab", "refresh", "bench", "lock", "lint", "clean"} <= targets
    shown = subprocess.run(["make"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    assert set(re.findall(r"^  make ([\w-]+) +\S", shown, re.MULTILINE)) == targets


def test_make_passes_values_with_spaces_and_quotes_whole(tmp_path):
    shutil.copy(ROOT / "Makefile", tmp_path)
    write_command(tmp_path / "scripts" / "setup.sh", "exit 0")
    write_command(tmp_path / ".venv" / "bin" / "python", """printf '%s\\n' "$@" """)
    values = ['NOTEBOOK=it\'s a "b"; exit 3', "METHOD=ML", "SCHEDULER=tcp://host:1"]
    out = subprocess.run(
        ["make", "-s", "reports", *values],
        cwd=tmp_path,
        env=bare_environment(),
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert out.splitlines()[3:] == [
        "reports",
        "--notebook",
        'it\'s a "b"; exit 3',
        "--method",
        "ML",
        "--scheduler",
        "tcp://host:1",
    ]


# ---- scripts/setup.sh, on a machine whose every command is a stand-in that writes down its call


def write_command(path: Path, script: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/usr/bin/env bash\n{script}\n")
    path.chmod(0o755)


def bare_environment(**more: str) -> dict[str, str]:
    """The environment without conda, and without what an outer make hands to an inner one."""
    outer = ("CONDA", "MAKE", "MFLAGS", "WITH_BROWSER", "NOTEBOOK", "METHOD", "SCHEDULER")
    return {name: value for name, value in os.environ.items() if not name.startswith(outer)} | more


class Machine:
    """A copy of the set-up in a folder, with only the commands that a bare machine has."""

    TOOLS = [
        "bash",
        "cat",
        "dirname",
        "env",
        "flock",
        "head",
        "mkdir",
        "mktemp",
        "mv",
        "rm",
        "sha256sum",
        "sort",
        "tail",
        "tee",
        "true",
    ]

    def __init__(self, folder: Path):
        self.checkout, self.bin, self.calls = folder / "a checkout", folder / "bin", folder / "calls"
        (self.checkout / "scripts").mkdir(parents=True)
        for path in ("pyproject.toml", "scripts/setup.sh", "scripts/lanes.tsv"):
            shutil.copy(ROOT / path, self.checkout / path)
        shutil.copytree(ROOT / "scripts" / "constraints", self.checkout / "scripts" / "constraints")
        self.bin.mkdir()
        for tool in self.TOOLS:
            (self.bin / tool).symlink_to(shutil.which(tool))
        self.add("id", "echo 1000")
        self.add("sudo", "exit 1")
        self.add("apt-get", "exit 0")
        self.add("apt-cache", "exit 0")
        self.add("openssl", "exit 0")

    def add(self, name: str, script: str) -> None:
        write_command(self.bin / name, f'echo "{name} $*" >>"{self.calls}"\n{script}')

    def add_all_that_is_needed(self, *, pip: str = "exit 0") -> None:
        """R with its packages, a compiler, and a Python whose virtual environments have this pip."""
        self.add_r("4.2.2")
        self.add("cc", "exit 0")
        self.set_pip(pip)
        (self.bin / "cp").symlink_to(shutil.which("cp"))
        self.add_python("python3.11", "3.11.2")

    def add_r(self, version: str, *, home: str = "/usr/lib/R", lacks: tuple[str, ...] = ()) -> None:
        """An R that answers what the set-up asks it."""
        answers = {"RHOME": home, "--version": f"R version {version}", "--vanilla": "\n".join([version, home, *lacks])}
        cases = " ".join(f"{option}) echo '{answer}';;" for option, answer in answers.items())
        self.add("R", f"case $1 in {cases} esac")

    def add_python(self, name: str, version: str) -> None:
        """A Python that makes virtual environments, and tells whether its version lies between two others."""
        made = 'mkdir -p "${!#}/bin" && cp "$(dirname "$0")/venv-python" "${!#}/bin/python"'
        numbers = version.replace(".", ", ")
        asked = f'{sys.executable} -c "import sys; sys.version_info = ({numbers}); ${{2/import sys/}}" "${{@:3}}"'
        self.add(name, f"""case "$1 $2" in "-m venv") {made};; "-c import sys"*) {asked};; esac""")

    def set_pip(self, script: str) -> None:
        write_command(
            self.bin / "venv-python", f'case "$1 $2" in "-m pip") echo pip "$@" >>"{self.calls}"; {script};; esac'
        )

    def set_up(self, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run the set-up; `calls` then holds what it called this time."""
        self.calls.write_text("")
        return subprocess.run(
            [self.bin / "bash", self.checkout / "scripts/setup.sh"],
            env={"PATH": str(self.bin), "HOME": str(self.checkout), **variables},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )

    def called(self, command: str) -> list[str]:
        return [line for line in self.calls.read_text().splitlines() if line.startswith(command + " ")]


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_without_r_and_without_root_it_says_in_three_lines_what_to_install(machine):
    run = machine.set_up()
    assert run.returncode != 0
    lines = run.stderr.splitlines()
    assert len(lines) == 3
    for package in ("r-base-core", "r-base-dev", "r-cran-lme4", "r-cran-geepack", "libtirpc-dev", "python3-venv"):
        assert package in lines[1]
    assert "environment.yml" in lines[2]
    assert machine.called("apt-get") == []


@pytest.mark.parametrize(
    ("r", "python", "lane"),
    [
        ("4.2.2", "3.11.2", "bookworm"),
        ("4.3.3", "3.12.3", "bookworm"),
        ("4.4.10", "3.11.2", "bookworm"),
        ("4.5.0", "3.13.5", "trixie"),
        ("4.5.3", "3.14.3", "trixie"),
        ("4.5.1", "3.11.2", "trixie"),
        ("4.6.0", "3.14.10", "sid"),
        ("4.10.0", "3.14.10", "sid"),
    ],
)
def test_the_packages_are_those_that_the_version_of_r_wants(machine, r, python, lane):
    machine.add_all_that_is_needed()
    (machine.bin / "python3.11").unlink()
    machine.add_r(r)
    machine.add_python("python3", python)
    run = machine.set_up()
    assert run.returncode == 0, run.stderr
    assert len(machine.called("pip")) == 2
    assert all(f"-c scripts/constraints/{lane}.txt " in call for call in machine.called("pip"))


def test_the_python_of_the_lane_comes_first(machine):
    machine.add_all_that_is_needed()
    machine.add_python("python3", "3.13.5")
    machine.set_up()
    assert any("-m venv" in call for call in machine.called("python3.11"))
    machine.add_r("4.5.0")
    machine.set_up()
    assert any("-m venv" in call for call in machine.called("python3"))


@pytest.mark.parametrize("version", ["3.10.12", "3.11.0", "3.15.0"])
def test_a_python_that_the_pins_are_not_for_is_not_taken(machine, version):
    machine.add_all_that_is_needed()
    (machine.bin / "python3.11").unlink()
    machine.add_python("python3", version)
    machine.add("id", "echo 0")
    run = machine.set_up()
    assert run.returncode != 0
    lines = run.stderr.splitlines()
    assert len(lines) == 3
    assert "Python 3.11.2 to 3.14" in lines[0]
    assert "on the PATH" in lines[1]
    assert machine.called("apt-get") == []


@pytest.mark.parametrize("version", ["4.1.2", "3.6.3"])
def test_an_r_that_is_too_old_is_told_in_three_lines(machine, version):
    machine.add_all_that_is_needed()
    machine.add_r(version)
    machine.add("id", "echo 0")
    run = machine.set_up()
    assert run.returncode != 0
    lines = run.stderr.splitlines()
    assert len(lines) == 3
    assert f"R 4.2 or later (R {version} in /usr/lib/R is older)" in lines[0] and "environment.yml" in lines[2]
    assert machine.called("apt-get") == machine.called("pip") == []


def test_packages_are_looked_for_in_the_r_on_the_path(machine, tmp_path):
    """Debian's packages are of no use to another R: what to install there is told, and nothing is installed."""
    machine.add_all_that_is_needed()
    home = tmp_path / "R-4.5.1" / "lib" / "R"
    machine.add_r("4.5.1", home=str(home), lacks=("lme4", "pbkrtest"))
    machine.add("id", "echo 0")
    write_command(home / "lib" / "libR.so", "")
    run = machine.set_up()
    assert run.returncode != 0
    lines = run.stderr.splitlines()
    assert len(lines) == 3
    assert f"lme4 pbkrtest in R 4.5.1, whose home is {home}" in lines[0]
    assert lines[1].endswith('in that R, install.packages(c("lme4", "pbkrtest"))')
    assert machine.called("apt-get") == []
    machine.add_r("4.5.1", home=str(home))
    assert machine.set_up().returncode == 0
    assert machine.set_up().stdout == "==> ready: .venv\n"
    moved = home.parent.parent.rename(tmp_path / "R")
    machine.add_r("4.5.1", home=str(moved / "lib" / "R"))
    assert "Making .venv" in machine.set_up().stdout
    home.parent.parent.symlink_to(moved)
    machine.add_r("4.5.1", home=str(home))
    (home / "lib" / "libR.so").unlink()
    shutil.rmtree(machine.checkout / ".venv")
    lines = machine.set_up().stderr.splitlines()
    assert "shared library" in lines[0] and "--enable-R-shlib" in lines[1]


def test_only_what_is_missing_is_named(machine):
    machine.add_all_that_is_needed()
    (machine.bin / "cc").unlink()
    lines = machine.set_up().stderr.splitlines()
    assert lines[1].endswith("--no-install-recommends r-base-dev libtirpc-dev")


def test_openssl_is_among_what_is_needed(machine):
    """It makes the secret that the processes of one run share."""
    machine.add_all_that_is_needed()
    (machine.bin / "openssl").unlink()
    lines = machine.set_up().stderr.splitlines()
    assert lines[0].endswith(": openssl") and lines[1].endswith("--no-install-recommends openssl")


def test_only_tests_want_a_browser(machine):
    machine.add_all_that_is_needed()
    assert machine.set_up().returncode == 0
    lines = machine.set_up(WITH_BROWSER="yes").stderr.splitlines()
    assert lines[1].endswith("--no-install-recommends chromium")
    machine.add("chromium", "exit 0")
    assert machine.set_up(WITH_BROWSER="yes").stdout == "==> ready: .venv\n"
    makefile = (ROOT / "Makefile").read_text()
    assert "\ntest: export override WITH_BROWSER := yes\n" in makefile and makefile.count("WITH_BROWSER :=") == 1


def test_as_root_it_installs_what_is_missing_and_looks_again(machine):
    machine.add("id", "echo 0")
    run = machine.set_up()
    (call,) = machine.called("apt-get")
    assert "install --no-install-recommends r-base-core" in call
    # The stand-in brought nothing, and the set-up does not believe that it did.
    assert run.returncode != 0
    assert len(run.stderr.splitlines()) == 3


def test_a_failing_download_refreshes_the_lists_once(machine):
    machine.add("id", "echo 0")
    machine.add("apt-get", '[ "${!#}" = update ]')
    assert machine.set_up().returncode != 0
    verbs = [re.search(r"install|update", call).group() for call in machine.called("apt-get")]
    assert verbs == ["install", "update", "install"]


def test_a_second_run_does_nothing(machine):
    machine.add_all_that_is_needed()
    first = machine.set_up()
    assert first.returncode == 0, first.stderr
    assert len(machine.called("pip")) == 2
    second = machine.set_up()
    assert (second.returncode, second.stdout) == (0, "==> ready: .venv\n")
    assert machine.called("pip") == machine.called("apt-get") == machine.called("python3.11") == []


def test_a_changed_pin_updates_the_environment(machine):
    machine.add_all_that_is_needed()
    machine.set_up()
    with (machine.checkout / "scripts/constraints/bookworm.txt").open("a") as file:
        file.write("another==1.0\n")
    assert machine.set_up().returncode == 0
    assert len(machine.called("pip")) == 2


def test_a_changed_r_or_a_moved_folder_starts_from_nothing(machine):
    machine.add_all_that_is_needed()
    machine.set_up()
    machine.add_r("4.3.1")
    assert "Making .venv" in machine.set_up().stdout
    machine.checkout = machine.checkout.rename(machine.checkout.with_name("elsewhere"))
    assert "Making .venv" in machine.set_up().stdout


def test_a_set_up_that_stops_half_way_is_not_believed(machine):
    machine.add_all_that_is_needed(pip="exit 1")
    assert machine.set_up().returncode != 0
    (machine.checkout / ".venv" / "half-made").touch()
    machine.set_pip("exit 0")
    assert machine.set_up().returncode == 0
    assert not (machine.checkout / ".venv" / "half-made").exists()


def test_an_update_that_stops_half_way_is_not_believed(machine):
    machine.add_all_that_is_needed()
    machine.set_up()
    pins = machine.checkout / "scripts/constraints/bookworm.txt"
    unchanged = pins.read_text()
    pins.write_text(unchanged + "another==1.0\n")
    write_command(machine.checkout / ".venv/bin/python", 'case "$1 $2" in "-m pip") exit 1;; esac')
    assert machine.set_up().returncode != 0
    pins.write_text(unchanged)
    assert "Making .venv" in machine.set_up().stdout


def test_an_rpy2_that_fell_back_to_abi_mode_is_not_believed(machine):
    machine.add_all_that_is_needed()
    (machine.bin / "venv-python").write_text("""#!/usr/bin/env bash
        case "$1 $2" in "-c "*openrlib.cffi_mode*) exit 1;; esac""")
    for _ in range(2):
        run = machine.set_up()
        assert run.returncode != 0
        assert "Making .venv" in run.stdout


def test_an_active_conda_environment_is_used_and_left_alone(machine, tmp_path):
    prefix = tmp_path / "conda"
    write_command(prefix / "bin" / "python", "exit 0")
    write_command(prefix / "bin" / "R", f"echo 4.5.2; echo {prefix}/lib/R")
    run = machine.set_up(CONDA_PREFIX=str(prefix), CONDA_DEFAULT_ENV="concord")
    assert (run.returncode, run.stdout) == (0, "==> ready: conda environment concord\n")
    assert machine.calls.read_text() == ""
    assert not (machine.checkout / ".venv").exists()


@pytest.mark.parametrize(("python", "r"), [("exit 1", "nothing"), ("exit 0", "lme4"), ("exit 0", "R")])
def test_a_conda_environment_without_the_packages_is_told_in_three_lines(machine, tmp_path, python, r):
    prefix = tmp_path / "conda"
    write_command(prefix / "bin" / "python", python)
    lacking = {"nothing": "", "lme4": "echo lme4", "R": "exit 1"}[r]
    write_command(prefix / "bin" / "R", f"echo 4.5.2; echo {prefix}/lib/R; {lacking}")
    run = machine.set_up(CONDA_PREFIX=str(prefix), CONDA_DEFAULT_ENV="concord")
    assert run.returncode != 0
    assert len(run.stderr.splitlines()) == 3
    assert "environment.yml" in run.stderr
    assert machine.calls.read_text() == ""


def test_the_base_environment_of_conda_is_not_used(machine, tmp_path):
    machine.add_all_that_is_needed()
    run = machine.set_up(CONDA_PREFIX=str(tmp_path), CONDA_DEFAULT_ENV="base")
    assert run.stdout.splitlines()[-1].startswith("==> ready: .venv")


# ---- what a person cites


def test_how_to_cite_says_the_version_and_the_licence_of_the_package():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    record = json.loads((ROOT / ".zenodo.json").read_text(encoding="utf-8"))
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert record["license"] == project["license"] and project["description"] in record["title"].replace(": do", ": Do")
    assert f"Version {project['version']}. Software, BSD 3-clause" in readme.replace("\n> ", " ")
    for each in record["related_identifiers"]:
        assert f"https://doi.org/{each['identifier']}" in readme
    changes = (ROOT / ".github" / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.findall(r"^## (.*)$", changes, re.MULTILINE)[0] == project["version"]
