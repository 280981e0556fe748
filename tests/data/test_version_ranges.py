"""Ranges of versions: in the order in which R and Python have them, by R's and packaging's own word."""

from __future__ import annotations

import itertools
import subprocess

import pytest
from packaging.specifiers import SpecifierSet

from concord.data.version_ranges import contains, outside

# Of lme4, nlme, Matrix and R, as CRAN and Debian have them.
OF_R = ["0.999375-42", "1.0-4", "1.1-9", "1.1-27.1", "1.1-31", "1.1-35.1", "1.1-36", "1.1-37", "1.1-37.9000", "2.1.0"]
OF_R += ["3.1-162", "3.1-168", "4.2.2", "4.5.0"]
OF_PYTHON = ["0.9.0", "0.13.5", "0.14.6", "0.15.0", "0.15.0.post1", "1.16.3", "2.0", "10.1"]


def test_versions_of_r_are_in_the_order_that_r_has():
    """For every pair of them, all six comparisons."""
    pairs = list(itertools.product(OF_R, OF_R))
    signs = ["<", "<=", ">", ">=", "==", "!="]
    code = "a <- numeric_version(commandArgs(TRUE)); i <- seq_along(a); g <- expand.grid(b = i, a = i); "
    code += "".join(f"cat(a[g$a] {sign} a[g$b], sep = '\\n'); cat('\\n'); " for sign in signs)
    done = subprocess.run(["Rscript", "--vanilla", "-e", code, *OF_R], capture_output=True, text=True, check=True)
    held = [line == "TRUE" for line in done.stdout.split()]
    assert held == [contains(sign + other, one) for sign in signs for one, other in pairs]


@pytest.mark.parametrize("given", ["<0.15.0", ">=0.14, <0.15", "==0.13.5", "!=2.0,>1", ">= 0.9 , <= 1.16.3"])
def test_versions_of_python_are_in_the_order_that_packaging_has(given):
    assert [contains(given, each) for each in OF_PYTHON] == [SpecifierSet(given).contains(each) for each in OF_PYTHON]


def test_a_candidate_is_before_the_release():
    assert contains("<0.15.0", "0.15.0rc1") and contains(">0.14.6", "0.15.0.dev0") and contains(">=0.15", "0.15.0+g1f2")


@pytest.mark.parametrize("given", ["", "1.1", "=1.1", "~=1.1", "<", "<one", "<1.1,", "=>1", "<1.1 >1.0"])
def test_what_is_no_range_is_an_error(given):
    with pytest.raises(ValueError, match="no range|no version"):
        contains(given, "1.1")


def test_of_several_packages_those_outside_are_told():
    versions = {"lme4": "1.1-37", "R": "4.5.0", "numpy": "2.4.6"}
    assert outside({"lme4": "<1.1-37", "R": ">=4.5", "numpy": "<2"}, versions.__getitem__) == [
        "lme4 1.1-37",
        "numpy 2.4.6",
    ]
    assert outside({}, versions.__getitem__) == outside({"R": ">4.2"}, versions.__getitem__) == []


def test_a_python_built_from_its_repository_has_its_version():
    """Which such a Python tells with a plus at the end, and packaging takes for none."""
    assert contains(">=3.14, <3.15", "3.14.0+") and not contains("<3.14.0rc2", "3.14.0rc2+")
