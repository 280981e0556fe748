"""Who may import whom: each contract in pyproject.toml holds, and is broken by an import that it forbids."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import grimp
import pytest

from support.paths import ROOT

PACKAGE = ROOT / "scripts" / "concord"
CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]["contracts"]
LINT = "from importlinter.cli import lint_imports_command as lint; lint()"
# What breaks a contract: in which file, and what is imported there.
BREACHES = [
    ("direction", "files.py", "import concord.session"),
    ("circles", "agreement/tolerances.py", "import concord.agreement.verdict, concord.agreement.comparison"),
    ("independence", "models/design.py", "import concord.r"),
    ("independence", "inference/effects.py", "from concord.processes import worker"),
    ("roundabout", "likelihood/newton.py", "from concord.models import get"),
    ("roundabout", "inference/effects.py", "import concord"),
    ("roundabout", "proof/surface.py", "import concord as whole"),
    ("whole", "data/tables.py", "import concord"),
    ("whole", "reports/page.py", "from concord import compare_formula"),
    ("room", "engines/nlme/engine.py", "from concord import engines"),
    ("room", "engines/lme4/statements/optimum.py", "import concord"),
    ("data", "data/source.py", "import rpy2.rinterface"),
    ("processes", "processes/cluster.py", "import scipy.stats"),
    ("reports", "reports/tidying.py", "from concord.models.parameters import KEY"),
    ("engines", "engines/lme4/engine.py", "import concord.engines.nlme.engine"),
]


def lint(place: Path) -> str:
    """What the linter says of the package in a folder, without colours."""
    paths = f"{place}{os.pathsep}{ROOT}"  # the package's, and that of the contract in tests/support
    environment = os.environ | {"PYTHONPATH": paths, "NO_COLOR": "1", "COLUMNS": "200"}
    words = [sys.executable, "-c", LINT, "--no-cache", "--config", str(ROOT / "pyproject.toml")]
    return subprocess.run(words, cwd=place, env=environment, capture_output=True, text=True).stdout


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """The package where it can be changed."""
    place = tmp_path_factory.mktemp("package")
    shutil.copytree(PACKAGE, place / "concord", ignore=shutil.ignore_patterns("__pycache__"))
    return place


def test_every_contract_has_its_breach():
    assert [contract["id"] for contract in CONTRACTS] == list(dict.fromkeys(id for id, *_ in BREACHES))


def test_every_contract_is_kept(copy):
    said = lint(copy)
    assert all(f"{contract['name']} KEPT" in said for contract in CONTRACTS) and "BROKEN" not in said


@pytest.mark.parametrize(("id", "file", "line"), BREACHES)
def test_a_contract_is_broken_by_what_it_forbids(id, file, line, copy):
    """One import more, and the linter names the contract."""
    (name,) = (contract["name"] for contract in CONTRACTS if contract["id"] == id)
    path = copy / "concord" / file
    before = path.read_text(encoding="utf-8")
    try:
        path.write_text(f"{before}\n{line}\n", encoding="utf-8")
        assert f"{name} BROKEN" in lint(copy)
    finally:
        path.write_text(before, encoding="utf-8")


FRESH = '''"""An engine that fits nothing."""

name, title, language, role = "fresh", "The fresh one", "R", "guest"
settings = ("default",)
packages, companions, preload = ("lme4",), (), ()
orthogonal, inverts, sweep = False, False, 0
optimizers = fit_by = refitters = statements = None


def fit(model, settings="default"): ...


def from_native(native, model, *, settings="default"): ...


def imports(model): ...


def call(model): ...
'''
ASKED = """
import concord.engines
from concord.engines.engine import engines
assert concord.engines.fresh is engines()["fresh"], "reached by its room, and found"
assert "fresh" in dir(concord.engines)
print(*engines())
"""


@pytest.fixture
def fresh(copy):
    """The folder of one more engine in the package."""
    folder = copy / "concord" / "engines" / "fresh"
    folder.mkdir()
    (folder / "__init__.py").write_text(FRESH, encoding="utf-8")
    yield folder
    shutil.rmtree(folder)


def test_one_more_engine_needs_its_folder_and_nothing_else(fresh, copy):
    """It is found, asked for by its room, and held to the contracts."""
    environment = os.environ | {"PYTHONPATH": str(copy)}
    asked = subprocess.run([sys.executable, "-c", ASKED], env=environment, capture_output=True, text=True)
    assert asked.stdout.split() == ["statsmodels", "lme4", "nlme", "fresh"], asked.stderr
    said = lint(copy)
    assert all(f"{contract['name']} KEPT" in said for contract in CONTRACTS) and "BROKEN" not in said


@pytest.mark.parametrize(
    ("id", "line"),
    [
        ("engines", "from concord.engines.lme4 import call"),
        ("engines", "from concord.engines import mixedlm"),
        ("room", "import concord.engines"),
    ],
)
@pytest.mark.parametrize("file", ["__init__.py", "engine.py"])
def test_one_more_engine_knows_no_other(id, line, file, fresh, copy):
    """Neither itself, nor through its room or the name that another had."""
    (name,) = (contract["name"] for contract in CONTRACTS if contract["id"] == id)
    with (fresh / file).open("a", encoding="utf-8") as held:
        held.write(f"\n{line}\n")
    assert f"{name} BROKEN" in lint(copy)


def test_no_file_imports_itself_through_others():
    """A file in a circle cannot be read without all the others in it."""
    graph = grimp.build_graph("concord", cache_dir=None)
    left = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    while leaves := [module for module, imported in left.items() if not imported & left.keys()]:
        for module in leaves:
            del left[module]
    assert not left, f"in or above a circle: {sorted(left)}"


def test_a_room_alone_loads_nothing_heavy():
    """A command that needs no table answers at once: a room's modules load when they are first asked for."""
    rooms = sorted(path.parent.name for path in PACKAGE.glob("*/__init__.py"))
    code = f"import sys, {', '.join(f'concord.{room}' for room in rooms)}; print(*sys.modules)"
    environment = os.environ | {"PYTHONPATH": str(PACKAGE.parent)}
    loaded = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    heavy = {"numpy", "pandas", "scipy", "matplotlib", "statsmodels", "rpy2", "pyarrow", "papermill", "distributed"}
    assert not heavy & set(loaded.stdout.split())


def test_the_packages_readme_has_every_room_in_the_contracts_order():
    """The rooms that there are, from the top to the ground, and a sentence at the head of each folder."""
    (layers,) = (contract["layers"] for contract in CONTRACTS if contract["id"] == "direction")
    rooms = [room for layer in layers for room in layer.split(" | ")]
    listed = (PACKAGE / "README.md").read_text(encoding="utf-8").partition("\n## The way")[0]
    assert re.findall(r"^\| `(\w+)", listed, re.MULTILINE) == rooms
    folders = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert folders | {path.stem for path in PACKAGE.glob("*.py")} - {"__init__"} == set(rooms)
    for folder in folders:
        assert ast.get_docstring(ast.parse((PACKAGE / folder / "__init__.py").read_text(encoding="utf-8"))), folder


def test_the_independent_side_loads_nothing_by_name():
    """What is imported by its name in a string is seen by no contract."""
    for room in ("likelihood", "inference", "proof"):
        for path in (PACKAGE / room).rglob("*.py"):
            assert not re.search(r"importlib|lazy_loader|__import__|\bexec\(", path.read_text(encoding="utf-8")), path


def unseen(source: str) -> set[str]:
    """What a source reaches through the package's name, and has not imported under that name: no contract sees it."""
    nodes = list(ast.walk(ast.parse(source)))
    imported = {each.name for node in nodes if isinstance(node, ast.Import) for each in node.names if not each.asname}
    reached = {ast.unparse(node) for node in nodes if isinstance(node, ast.Attribute)}
    reached = {each for each in reached if each.startswith("concord.")}
    return {each for each in reached if not any(f"{each}.".startswith(f"{name}.") for name in imported)} - {
        name.rsplit(".", depth)[0] for name in imported for depth in range(1, name.count(".") + 1)
    }


def test_what_is_reached_through_the_packages_name_was_imported():
    """``import concord.reports`` binds ``concord``, and with it every room."""
    assert unseen("import concord.reports\nconcord.engines.engine.engines()") > {"concord.engines.engine"}
    assert unseen("import concord.engines.lme4\nconcord.engines.nlme.fit") == {
        "concord.engines.nlme",
        "concord.engines.nlme.fit",
    }
    assert not unseen("import concord.engines.lme4\nconcord.engines.lme4.engine.fit")
    for path in FILES:
        assert not unseen(path.read_text(encoding="utf-8")), path


FILES = sorted([*PACKAGE.rglob("*.py"), *(ROOT / "scripts" / "nbval-tolerance" / "nbval_tolerance").rglob("*.py")])


def test_a_name_with_an_underscore_is_its_files_own():
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [each.name for each in node.names] if isinstance(node, ast.ImportFrom) else []
            assert not [name for name in names if name.startswith("_")], path


def test_no_file_is_longer_than_a_reader_holds_in_mind():
    long = {path.name: count for path in FILES if (count := len(path.read_text(encoding="utf-8").splitlines())) > 500}
    assert not long
