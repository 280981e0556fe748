"""Pictures of data sets: every observation is there, once, and in the page's colours."""

from __future__ import annotations

import pytest

from concord.data import datasets
from concord.display.vector import vector
from concord.models import model
from concord.plots.observations import PAGE, observations


@pytest.mark.parametrize("id", datasets.catalogue())
def test_every_observation_is_drawn_once(id):
    dataset = datasets.load(id)
    models = [model.get(f"{id}-{name}") for name in dataset.models]
    figure = observations(models)
    (axes,) = figure.axes
    drawn = [value for line in axes.lines for value in (line.get_xdata() if axes.get_ylabel() == row(models) else ())]
    drawn = drawn or [value for line in axes.lines for value in line.get_ydata()]
    summary = axes.lines[-1] if axes.lines[-1].get_label().startswith("mean") else None
    mean = (
        []
        if summary is None
        else list(summary.get_xdata() if axes.get_ylabel() == row(models) else summary.get_ydata())
    )
    response = dataset.frame[models[0].formula.response]
    assert sorted(drawn) == sorted([*response, *mean])
    unit = dataset.columns[response.name].unit
    assert any(label == (f"{response.name} ({unit})" if unit else response.name) for label in labels(axes))
    (table,) = figure.data.values()
    assert len(table) == len(response) and str(response.name) in figure.alt


def row(models):
    """What stands at the rows of a picture of dots: the first grouping column."""
    return next(name for name, uses in models[0].formula.uses.items() if "group" in uses)


def labels(axes):
    return axes.get_xlabel(), axes.get_ylabel()


def test_a_drawing_takes_the_colours_of_its_page():
    svg, again = (vector(observations([model.get("orthodont-random_intercept")]), PAGE) for _ in range(2))
    assert svg.startswith("<svg ") and svg == again
    assert "currentColor" in svg and "#000000" not in svg and "<metadata" not in svg
    assert "var(--python, #0072B2)" in svg and "var(--r, #D55E00)" in svg
