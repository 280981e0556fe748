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

import pytest
import yaml

from support.paths import ROOT

IN_CONDA = (Path(sys.prefix) / "conda-meta").is_dir()

# conda's names for what pip calls otherwise.
CONDA_NAMES = {"matplotlib": "matplotlib-base", "nbconvert": "nbconvert-core"}
# conda builds rpy2 for its own R: environment.yml holds it to the range in pyproject.toml only.
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
    del pinned["python"]
    assert pinned == wanted


def test_every_way_to_set_up_brings_the_same_r_packages():
    """Debian, conda and the job that checks a pull request; R and its own Matrix come along."""
    setup = (ROOT / "scripts" / "setup.sh").read_text()
    listed = {
        name: re.search(rf"^{name}=\((.*)\)$", setup, re.MULTILINE)[1].split() for name in ("r_packages", "debian_r")
    }
    wanted = {name.lower() for name in listed["r_packages"]}
    assert {"lme4", "nlme", "lmertest", "pbkrtest"} <= wanted
    assert {name.removeprefix("r-cran-") for name in listed["debian_r"]} - {"r-base-core"} == wanted
    entries = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    conda = {entry.removeprefix("r-") for entry in entries if isinstance(entry, str) and entry.startswith("r-")}
    assert conda - {"base"} == wanted
    job = (ROOT / ".github" / "workflows" / "check.yml").read_text()
    assert {name.lower() for name in re.findall(r"any::(\w+)", job)} == wanted


def test_conda_environment_ends_with_the_package_itself():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    assert environment["channels"] == ["conda-forge", "nodefaults"]
    assert environment["dependencies"][-1] == {"pip": ["-e .[browser]"]}


def constraints() -> dict[str, str]:
    lines = (ROOT / "scripts" / "constraints.txt").read_text().splitlines()
    return dict(line.split("==") for line in lines if line and not line.startswith("#"))


def test_constraints_keep_the_rpy2_that_runs_with_the_r_of_debian():
    assert {name: v for name, v in constraints().items() if name.startswith("rpy2")} == {
        "rpy2": "3.6.6",
        "rpy2-rinterface": "3.6.5",
        "rpy2-robjects": "3.6.6",
    }


def test_constraints_agree_with_pyproject():
    exact = {
        normalized(name): specifier.removeprefix("==")
        for name, specifier in python_requirements().items()
        if name not in RANGES
    }
    assert exact == {name: version for name, version in constraints().items() if name in exact}


@pytest.mark.skipif(IN_CONDA, reason="constraints.txt is pip's: conda resolves its own packages")
def test_constraints_pin_all_that_the_workbook_pulls_in():
    pins = constraints()
    pulled_in, waiting = {}, ["concord[test,browser]"]
    seen = set()
    while waiting:
        name, extras = re.fullmatch(r"([\w.-]+)(?:\[(.*)\])?", waiting.pop()).groups()
        if (name, extras) in seen:
            continue
        seen.add((name, extras))
        if name != "concord":
            pulled_in[normalized(name)] = importlib.metadata.version(name)
        for requirement in importlib.metadata.requires(name) or []:
            waiting += requirement_that_applies(requirement, (extras or "").split(","))
    assert len(pulled_in) > 80
    assert pulled_in == {name: pins.get(name) for name in pulled_in}


def requirement_that_applies(text: str, extras: list[str]) -> list[str]:
    from packaging.requirements import Requirement

    requirement = Requirement(text)
    if requirement.marker and not any(requirement.marker.evaluate({"extra": extra}) for extra in extras):
        return []
    return [f"{requirement.name}[{','.join(sorted(requirement.extras))}]" if requirement.extras else requirement.name]


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
        pattern = rf"(?<![\w.$}}/-])/(?:{'|'.join(folders)})/\w+|{re.escape(str(ROOT))}(?!\w)"
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
    assert out.splitlines()[2:] == [
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
        "tail",
        "tee",
        "true",
    ]

    def __init__(self, folder: Path):
        self.checkout, self.bin, self.calls = folder / "a checkout", folder / "bin", folder / "calls"
        for path in ("pyproject.toml", "scripts/setup.sh", "scripts/constraints.txt"):
            (self.checkout / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / path, self.checkout / path)
        self.bin.mkdir()
        for tool in self.TOOLS:
            (self.bin / tool).symlink_to(shutil.which(tool))
        self.add("id", "echo 1000")
        self.add("sudo", "exit 1")
        self.add("apt-get", "exit 0")
        self.add("apt-cache", "exit 0")

    def add(self, name: str, script: str) -> None:
        write_command(self.bin / name, f'echo "{name} $*" >>"{self.calls}"\n{script}')

    def add_all_that_is_needed(self, *, pip: str = "exit 0") -> None:
        """R with its packages, a compiler, and a Python whose virtual environments have this pip."""
        self.add("Rscript", "echo 'Rscript 4.2.2'")
        self.add("R", "exit 0")
        self.add("cc", "exit 0")
        self.set_pip(pip)
        made = 'mkdir -p "${!#}/bin" && cp "$0.venv" "${!#}/bin/python"'
        self.add("python3.11", f'case "$1 $2" in "-m venv") {made};; esac')
        (self.bin / "cp").symlink_to(shutil.which("cp"))

    def set_pip(self, script: str) -> None:
        write_command(
            self.bin / "python3.11.venv", f'case "$1 $2" in "-m pip") echo pip "$@" >>"{self.calls}"; {script};; esac'
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


def test_only_what_is_missing_is_named(machine):
    machine.add_all_that_is_needed()
    (machine.bin / "cc").unlink()
    lines = machine.set_up().stderr.splitlines()
    assert lines[1].endswith("--no-install-recommends r-base-dev libtirpc-dev")


def test_only_tests_want_a_browser(machine):
    machine.add_all_that_is_needed()
    assert machine.set_up().returncode == 0
    lines = machine.set_up(WITH_BROWSER="yes").stderr.splitlines()
    assert lines[1].endswith("--no-install-recommends chromium")
    machine.add("chromium", "exit 0")
    assert machine.set_up(WITH_BROWSER="yes").stdout == "==> ready: .venv\n"
    makefile = (ROOT / "Makefile").read_text()
    assert "\ntest: export WITH_BROWSER := yes\n" in makefile and makefile.count("WITH_BROWSER :=") == 1


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
    with (machine.checkout / "scripts/constraints.txt").open("a") as file:
        file.write("another==1.0\n")
    assert machine.set_up().returncode == 0
    assert len(machine.called("pip")) == 2


def test_a_changed_r_or_a_moved_folder_starts_from_nothing(machine):
    machine.add_all_that_is_needed()
    machine.set_up()
    machine.add("Rscript", "echo 'Rscript 4.3.1'")
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
    pins = machine.checkout / "scripts/constraints.txt"
    unchanged = pins.read_text()
    pins.write_text(unchanged + "another==1.0\n")
    write_command(machine.checkout / ".venv/bin/python", 'case "$1 $2" in "-m pip") exit 1;; esac')
    assert machine.set_up().returncode != 0
    pins.write_text(unchanged)
    assert "Making .venv" in machine.set_up().stdout


def test_an_rpy2_that_fell_back_to_abi_mode_is_not_believed(machine):
    machine.add_all_that_is_needed()
    (machine.bin / "python3.11.venv").write_text("""#!/usr/bin/env bash
        case "$1 $2" in "-c "*openrlib.cffi_mode*) exit 1;; esac""")
    for _ in range(2):
        run = machine.set_up()
        assert run.returncode != 0
        assert "Making .venv" in run.stdout


def test_an_active_conda_environment_is_used_and_left_alone(machine, tmp_path):
    prefix = tmp_path / "conda"
    write_command(prefix / "bin" / "python", "exit 0")
    write_command(prefix / "bin" / "Rscript", "exit 0")
    run = machine.set_up(CONDA_PREFIX=str(prefix), CONDA_DEFAULT_ENV="concord")
    assert (run.returncode, run.stdout) == (0, "==> ready: conda environment concord\n")
    assert machine.calls.read_text() == ""
    assert not (machine.checkout / ".venv").exists()


@pytest.mark.parametrize("lacking", ["python", "Rscript"])
def test_a_conda_environment_without_the_packages_is_told_in_three_lines(machine, tmp_path, lacking):
    prefix = tmp_path / "conda"
    for command in ("python", "Rscript"):
        write_command(prefix / "bin" / command, f"exit {int(command == lacking)}")
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
