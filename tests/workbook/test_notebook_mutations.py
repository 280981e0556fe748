"""Every number that the committed notebooks show, changed: beyond the tolerance it is found, and within it is not.

What is a number is decided here anew, by `float`, and not by the plugin's own rules.
"""

from __future__ import annotations

import copy
import io
import json
import re
from collections.abc import Callable
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

import matplotlib.figure
import nbformat
import numpy as np
import pandas as pd
import pytest

from concord.data.version_ranges import outside
from nbval_tolerance.cells import tolerances
from nbval_tolerance.outputs import by_kind, differences
from nbval_tolerance.versions import parts
from support import paths
from support.notebooks import made_with

NOTEBOOKS = sorted(paths.NOTEBOOKS.glob("*.ipynb"))
PICTURES = ("image/png", "application/vnd.concord.picture+json", "application/vnd.concord.fits+json")
# What parts words in a text, in HTML and in JSON. An id made up for the run is left out, and what it is to a terminal
_WORD = re.compile(r"""\bid="[^"]*"|\x1b\[[0-9;]*m|(?P<word>[^\s<>"'=(),;{}\[\]\x1b&|]+)""")


@cache
def words(text: str) -> list[tuple[int, int]]:
    """Where each word with a digit begins and ends, without what is attached to a number."""
    places = []
    for match in _WORD.finditer(text):
        if word := match["word"]:
            lead = re.match(r"[a-zA-Z]+:(?=[-.\d])", word)
            start = match.start() + (lead.end() if lead else 0)
            end = match.start() + len(word.rstrip(":.%*"))
            if re.search(r"\d", text[start:end]):
                places.append((start, end))
    return places


def is_number(word: str) -> bool:
    try:
        return bool(re.search(r"[.eE]", word)) and np.isfinite(float(word)) and "_" not in word
    except ValueError:
        return False


def beyond(word: str, rtol: float, atol: float) -> str:
    """Another number, just out of tolerance; of a count, a name or a date another one."""
    if is_number(word):
        value, step = Decimal(word), Decimal("1.01") * (Decimal(str(rtol)) * abs(Decimal(word)) + Decimal(str(atol)))
        return spelt(value + (step or Decimal("1e-30")), word)
    first = re.search(r"\d", word).start()
    return word[:first] + str((int(word[first]) + 1) % 10) + word[first + 1 :]


def within(word: str, rtol: float, atol: float) -> str:
    """The same number as far as the tolerance goes, at nine tenths of it; what is not a number as it is."""
    if not is_number(word):
        return word
    value = Decimal(word)
    return spelt(value + Decimal("0.9") * (Decimal(str(rtol)) * abs(value) + Decimal(str(atol))), word)


def spelt(value: Decimal, like: str) -> str:
    return f"{value:e}" if re.search("[eE]", like) else f"{value:f}"


Change = Callable[[str, float, float], str]


def changed_text(text: str, k: int, change: Change, rtol: float, atol: float) -> tuple[str, int]:
    """The text with the k-th word of each of its lines changed, and how many lines have one."""
    lines, count = text.split("\n"), 0
    for i, line in enumerate(lines):
        for start, end in words(line)[k : k + 1]:
            lines[i] = line[:start] + change(line[start:end], rtol, atol) + line[end:]
            count += 1
    return "\n".join(lines), count


def changed(value: Any, k: int, change: Change, rtol: float, atol: float) -> tuple[Any, int]:
    """A content with the k-th word of each line of its texts changed, its numbers with the first; and how many."""
    if isinstance(value, str):
        return changed_text(value, k, change, rtol, atol)
    if isinstance(value, dict):
        parts = {key: changed(each, k, change, rtol, atol) for key, each in value.items()}
        return {key: part for key, (part, _) in parts.items()}, sum(count for _, count in parts.values())
    if isinstance(value, list):
        parts = [changed(each, k, change, rtol, atol) for each in value]
        return [part for part, _ in parts], sum(count for _, count in parts)
    if k or isinstance(value, bool) or not isinstance(value, int | float) or not np.isfinite(value):
        return value, 0
    return json.loads(change(repr(value), rtol, atol)), 1


def outcome(kind: str, content: Any, rtol: float, atol: float) -> tuple[int, int, list[str]]:
    """How many numbers and names the content has, how many of them were found changed, and what was found in noise."""
    tried = found = k = 0
    noise: list[str] = []
    while True:
        new, count = changed(content, k, beyond, rtol, atol)
        if not count:
            return tried, found, noise
        tried += count
        found += len(differences(kind, content, new, rtol, atol))
        new, _ = changed(content, k, within, rtol, atol)
        noise += differences(kind, content, new, rtol, atol)
        k += 1


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_number_of_a_notebook_is_held(path: Path) -> None:
    """By the tolerance of its cell; in a cell that is not compared, by the default."""
    tried = found = 0
    noise: list[str] = []
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type == "code":
            rtol, atol = tolerances(cell.metadata.get("tags", []), 1e-6, 0)
            for kind, places in by_kind(copy.deepcopy(cell.outputs)).items():
                for holder, key in places if kind not in PICTURES else ():
                    one = outcome(kind, holder[key], rtol, atol)
                    tried, found, noise = tried + one[0], found + one[1], noise + one[2]
    assert tried > 50
    assert (found, noise) == (tried, [])


def svg() -> str:
    figure = matplotlib.figure.Figure(figsize=(3, 2))
    figure.subplots().plot([0.5, 1.5, 1], marker="o")
    file = io.StringIO()
    figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    return re.sub(r"<metadata>.*?</metadata>", "", file.getvalue(), flags=re.DOTALL)


def styled() -> str:
    return pd.DataFrame({"a": [1.25, -2.5], "b": [0.25, 4]}).style.bar(align=0).format(precision=5).to_html()


NUMBERS = np.array([0.5 + 2.25j, -1e-8 + 3j, 4.125 - 1e3j])
MADE = {
    "stderr": "warning: step 0.125 at 3.5e-7, |gradient| = 0.793203 (tol = 0.002, component 1)\n",
    "evalue": "no root between 0.25 and 0.75: f = -1.5e-300\n",
    "stdout": "\x1b[31m1.5\x1b[0m \x1b[1;38;5;196m-2.5e-3\x1b[0m\n\x1b[4m3.2e-12\x1b[24m 12.5%\n2026-11-28 v2.4\n",
    "text/html": styled(),
    "image/svg+xml": svg(),
    "application/vnd.plotly.v1+json": {"data": [{"x": [0.5, 1e-12, 3], "y": [[-2.5, 1e300]], "text": ["p = 3.2e-12"]}]},
}


@pytest.mark.parametrize("kind", MADE)
def test_every_number_of_other_outputs_is_held(kind: str) -> None:
    tried, found, noise = outcome(kind, MADE[kind], 1e-6, 0.0)
    assert tried >= 3
    assert (found, noise) == (tried, [])


def test_every_part_of_complex_numbers_is_held() -> None:
    for part in range(2 * len(NUMBERS)):
        for factor, wanted in ((1 + 1.01e-6, 1), (1 + 0.9e-6, 0)):
            flat = NUMBERS.copy().view(float)
            flat[part] *= factor
            with np.printoptions(precision=17, linewidth=200):
                for show in (lambda array: str(list(map(complex, array))), str, repr):
                    assert len(differences("text/plain", show(NUMBERS), show(flat.view(complex)))) == wanted


@pytest.mark.timeout(20)
@pytest.mark.parametrize("text", ["1" * 200_000, "1." * 100_000, "-" * 200_000, "\x1b[" * 100_000, "1+" * 100_000])
def test_time_grows_with_the_length_only(text: str) -> None:
    assert differences("stdout", text, text + " 2")


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_with_the_versions_that_made_it_all_of_a_notebook_is_compared(path):
    """What is compared with some versions only is compared with those that its own last cell shows."""
    page = nbformat.read(path, as_version=4)
    made = made_with(page)
    assert made.keys() >= {"Python", "R", "lme4", "statsmodels"}
    for cell in page.cells:
        for part in parts(cell.metadata.get("compared_with", [])):
            assert outside(part.versions, made.__getitem__) == [], part
