"""No engine is named outside of its folder, but where the pictures have its colour."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import concord
from concord.engines import FORMERLY, lme4, statsmodels
from concord.engines.answers import answer
from concord.engines.engine import engines
from concord.engines.fit import Fit
from concord.models import model

PACKAGE = Path(concord.__file__).parent
NAMED = {"engines", "guests", "bench", "plots/style.py"}
"""Where engines have names: their room, that of the guests, what times the packages, and the colours."""


def names(source: str) -> Iterator[str]:
    """The engines that a module names in a text of their own, R's packages that it loads left out."""
    tree = ast.parse(source)
    loaded = {
        argument
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "r.package"
        for argument in node.args
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and node not in loaded and node.value in {*engines(), *FORMERLY}:
            yield f"{node.lineno}: {node.value}"


def test_no_module_but_an_engines_own_has_its_name():
    found = {}
    for path in PACKAGE.rglob("*.py"):
        place = path.relative_to(PACKAGE)
        if not NAMED & {place.parts[0], place.as_posix()}:
            found |= {place.as_posix(): list(names(path.read_text(encoding="utf-8")))}
    assert len(found) > 100 and {place: named for place, named in found.items() if named} == {}


def test_a_name_is_found_and_a_package_of_r_is_none():
    source = """r.package("lme4")
if fit.engine == "nlme": style["mixedlm"]"""
    assert sorted(names(source)) == ["2: mixedlm", "2: nlme"]


def test_the_name_that_statsmodels_engine_had_is_still_handed_out():
    """In people's code, which imports it."""
    from concord.engines import mixedlm

    assert mixedlm is statsmodels and mixedlm.fit is statsmodels.fit
    assert {"fit", "from_native", "call"} <= {*dir(mixedlm)} & {*dir(lme4)}
    with pytest.raises(ImportError):
        from concord.engines import mixedlm2  # noqa: F401


@pytest.mark.parametrize(
    "line", ["from concord.engines.mixedlm import fit", "import concord.engines.mixedlm as m; fit = m.fit"]
)
def test_the_former_name_is_a_module_too_but_no_engine(line):
    code = f"{line}\nfrom concord.engines import engines, statsmodels\nassert fit is statsmodels.fit\nprint(*engines())"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.split() == ["statsmodels", "lme4", "nlme"]


def test_the_former_name_is_answered_for():
    found = answer(model.get("sleepstudy-random_intercept"), "mixedlm", "default")
    assert isinstance(found, Fit) and found.engine == "statsmodels"
