"""Origins: from what a cell shows back to the cells whose Python and R made it."""

import json
import re

import pytest

from concord.reports.cell_origins import origin
from support.paths import NOTEBOOKS

# What a comparison's text begins with, wherever it is shown.
COMPARISON = re.compile(r"\b(REML|ML), (default|tuned) settings\b")


def cells(*sources: str) -> list[dict[str, object]]:
    """Code cells; those whose source begins with ``*`` are tagged as ones that fit."""
    return [
        {"cell_type": "code", "source": each.lstrip("*"), "metadata": {"tags": ["fits"] * each.startswith("*")}}
        for each in sources
    ]


def test_names_are_followed_back_through_both_languages():
    """The last cell that set a name counts, R's names are those that Python asks R for, and prose is passed over."""
    story = cells(
        "*a = smf.mixedlm('y ~ x', d, groups=g).fit()",
        "*%%R -i d\nfit_r <- lmer(y ~ x + (1 | g), data = d)",
        "*a = smf.mixedlm('y ~ 1', d, groups=g).fit()",
        "*%%R\nother_r <- lmer(y ~ 1 + (1 | g), data = d)",
        "natives = (a, globalenv['fit_r'])",
        "shown = compare(*natives)\nshown",
    )
    story.insert(3, {"cell_type": "markdown", "source": "fit_r = text"})
    found = origin(story, 6)
    assert (found.shown, found.python, found.r, found.native) == (6, 2, 1, ("python", "r"))


def test_the_variable_of_a_comprehension_leads_nowhere():
    """It has the name of another one elsewhere, and nothing else in common with it."""
    story = cells(
        "*a = smf.mixedlm('y ~ x', d).fit()",
        "b = [engine.fit(m) for engine in engines]",
        "compare(*(engine.from_native(a) for engine in engines))",
    )
    assert origin(story, 2).python == 0


def test_a_name_that_the_magic_takes_out_of_r_leads_to_where_r_made_it():
    story = cells("*a = smf.mixedlm('y ~ x', d).fit()", "*%%R\nb <- lmer(y ~ x + (1 | g))", "c = %R b\ncompare(a, c)")
    assert (origin(story, 2).python, origin(story, 2).r) == (0, 1)


def test_where_an_engine_runs_both_languages_one_cell_made_both():
    story = cells("model = 1", "*fits = [engine.any_name(model) for engine in engines]", "%matplotlib inline\nfits")
    assert origin(story, 2).python == origin(story, 2).r == 1
    assert origin(cells("x"), 0).python == 0
    assert origin(cells("this is not Python", "x"), 1).python == 1


@pytest.mark.parametrize("name", ["dietox", "sitka"])
def test_the_stories_lead_from_their_default_comparisons_to_native_code(name):
    """Every comparison of native fits leads to a cell that calls MixedLM's class and to one that calls lmer."""
    story = json.loads((NOTEBOOKS / f"{name}.ipynb").read_text(encoding="utf-8"))["cells"]
    native = [i for i, cell in enumerate(story) if ".from_native(" in "".join(cell["source"])]
    assert len(native) >= 2
    for i in native:
        found = origin(story, i)
        assert "ixed" in "".join(story[found.python]["source"]) and found.python < i
        assert "lmer(" in "".join(story[found.r]["source"]) and "".join(story[found.r]["source"]).startswith("%%R")


@pytest.mark.parametrize("path", sorted(NOTEBOOKS.glob("*.ipynb")), ids=lambda path: path.stem)
def test_every_comparison_that_a_notebook_shows_leads_to_a_cell_that_is_tagged_as_fitting(path):
    """However the functions are called by which it fits."""
    story = json.loads(path.read_text(encoding="utf-8"))["cells"]
    code = [i for i, cell in enumerate(story) if cell["cell_type"] == "code"]
    # What `versions` shows was kept of other runs: it fits nothing.
    kept = path.stem == "versions"
    shown = [i for i in code if COMPARISON.search(json.dumps(story[i]["outputs"])) and not kept]
    assert shown or path.stem in ("findings", "optimizers", "simulation", "referee", "speed", "versions")
    for i in shown:
        found = origin(story, i)
        for each in {found.python, found.r}:
            assert "fits" in story[each]["metadata"].get("tags", ()), (i, "".join(story[i]["source"]))
