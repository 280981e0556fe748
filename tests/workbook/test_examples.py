"""README.md's examples, its grid, its links and its first screen are what they say."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib

import nbformat
import pytest

from concord import vocabulary
from concord.agreement.comparison import compare
from concord.commands import refresh
from concord.engines.engine import engines
from concord.errors import InputError
from concord.models import model as models
from support.notebooks import made_with, notebook
from support.paths import ROOT
from support.readme import CI, CLUSTER, README, blocks, commands

# ---- the examples


def test_the_python_examples_print_what_readme_says():
    _, own, workbook, account = blocks("python")  # the first is run by test_recipes.py
    (slurm,) = blocks("python", CLUSTER)
    compile(slurm, "cluster.py", "exec")  # it needs a cluster
    id, method = re.search(r'models\.get\("([\w-]+)", method="(\w+)"\)', workbook).groups()
    assert verdict(own) == "agree"
    assert verdict(workbook) == grid(README)[id, f"default, {method}"][0]
    said = output(account)
    assert "5 same; 3 differ by definition; 2 defined otherwise, same number here" in said and "Kenward-Roger" in said


def verdict(code: str) -> str:
    """The word that an example prints last."""
    return output(code).splitlines()[-1].partition(": ")[0]


def output(code: str) -> str:
    """What an example prints, run where README stands."""
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def test_the_example_of_a_model_is_one_and_its_tuned_fits_agree(tmp_path, monkeypatch):
    toml = next(block for block in blocks("toml") if "[models." in block and "[[" not in block)
    place = shutil.copytree(ROOT / "datasets" / "sitka", tmp_path / "sitka")
    with (place / "dataset.toml").open("a") as file:
        file.write(f"\n{toml}")
    monkeypatch.setenv("CONCORD_DATASETS", str(tmp_path))
    (name,) = tomllib.loads(toml)["models"]
    for method in vocabulary.METHODS:
        model = models.get(f"sitka-{name}", method)
        comparison = compare(*(engine.fit(model, "tuned") for engine in engines().values())).check()
        assert comparison.verdict.word == "agree"
        assert ("fixed", "", "Time:treatozone") in set(
            comparison.table[["effect", "group", "term"]].itertuples(index=False, name=None)
        )


# ---- the grid, the links, the first screen


def grid(text: str) -> dict[tuple[str, str], tuple[str, float]]:
    """Verdict and gap by model and column."""
    header, _, *rows = [line[2:-2].split(" | ") for line in refresh.written(text).splitlines() if line.startswith("|")]
    cells = {}
    for id, *values in rows:
        for column, value in zip(header[1:], values, strict=True):
            if column == "said so?":
                assert (value == "") == (id.split()[-1] == "models"), id
                continue
            # What comes after the first gap is another engine's.
            word, _, gap = value.replace("**", "").partition(", ")[0].partition(" by ")
            cells[id, column] = (word, float(gap or 0))
    return cells


def test_the_grid_is_the_one_that_the_front_page_shows():
    """agreement.ipynb's own grid, which nbval holds against a new run, has every model by every method."""
    page = nbformat.read(ROOT / "notebooks" / "agreement.ipynb", as_version=4)
    assert refresh.written(README) == refresh.shown(page)
    told = grid(README)
    assert all(word == "agree" for (_, column), (word, _) in told.items() if column.startswith("tuned"))
    every = list(models.every())
    declared = {model.id for model in every if model.record.known}
    calm = len({model.id for model in every} - declared)
    rest = f"{calm} of {calm + len(declared)} models"
    assert {id for id, _ in told} == declared | {rest}
    assert all(word == "agree" for (id, _), (word, _) in told.items() if id == rest)
    for model in every:
        if model.record.known:
            word, gap = told[model.id, f"default, {model.method}"]
            known = model.record.known_by(model.method, made_with(page).__getitem__)
            assert word == (known.verdict if known else "agree")
            assert (gap > 0) == (word != "agree")


def test_a_front_page_without_a_grid_is_one_clear_error(tmp_path):
    with pytest.raises(InputError, match="no cell tagged 'grid'"):
        refresh.shown(notebook("shown = 1"))
    with pytest.raises(InputError, match="put them where the grid belongs"):
        refresh.written("no markers")


PAGES = {"README.md": README, "scripts/cluster.md": CLUSTER, "scripts/ci.md": CI}


@pytest.mark.parametrize("page", PAGES)
def test_every_relative_link_leads_somewhere(page):
    links = [link for link in re.findall(r"\]\(([^)\s]+)\)", PAGES[page]) if not re.match(r"[a-z]+:", link)]
    assert len(links) >= 4 or page != "README.md"
    for link in links:
        file, _, anchor = link.partition("#")
        path = (ROOT / page).parent / file if file else None
        assert path is None or path.exists(), link
        text = PAGES[page] if path is None else path.read_text(encoding="utf-8") if path.suffix == ".md" else ""
        titles = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
        anchors = {re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in titles}
        assert not anchor or anchor in anchors, link


@pytest.mark.parametrize("page", PAGES)
def test_every_file_that_a_page_names_is_there(page):
    # In backticks, with a folder before it; what `make` builds is not in a checkout
    found = re.findall(r"`([\w.]+/[\w./]+)`", PAGES[page])
    named = [path for path in found if not path.startswith(("build/", ".venv/", "elsewhere/"))]
    assert named and [path for path in named if not (ROOT / path).exists()] == []


def test_the_first_screen_has_the_question_the_grid_and_both_commands():
    screen = "\n".join(README.splitlines()[:50])
    assert "**Do statsmodels and lme4 agree on this mixed model, and if not, which one is right?**" in screen
    assert refresh.END in screen
    assert {"make reports", "make test"} <= set(commands(screen))
    # Words of the grid are told where the grid stands
    assert all(f"*{word}*" in screen for word in ("short", "imprecise", "default", "tuned", "REML", "ML"))
