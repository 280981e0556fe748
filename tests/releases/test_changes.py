"""What differs between releases, in results that were made up for it."""

from __future__ import annotations

import pytest

from concord.display.media import RELEASES_TYPE
from concord.errors import InputError
from concord.releases import changes
from support.releases import fit, results, run

SHORT = {"gap": 14.2, "grade": "short", "said_so": "warned", "verdict": "python short"}
RUNS = [run("0.9", "1.1-9"), run("0.15", "1.1-9")]


def told(*fits, runs=RUNS) -> list[tuple[str, str]]:
    return [(change.kind, str(change)) for change in changes.changes(results(runs, list(fits)))]


def test_a_fit_that_the_next_release_brings_to_the_optimum_is_mended():
    assert told(fit("0.9", **SHORT), fit("0.15")) == [
        (
            "mended",
            "pigs-slope, REML, default settings: statsmodels 0.9 was short by 14 (warned); 0.15 is at the optimum",
        )
    ]


def test_releases_follow_each_other_by_number_so_what_was_there_first_is_what_breaks():
    assert told(fit("0.9"), fit("0.15", **SHORT)) == [
        (
            "broke",
            "pigs-slope, REML, default settings: statsmodels 0.9 was at the optimum; 0.15 is short by 14 (warned)",
        )
    ]


@pytest.mark.parametrize(
    ("then", "now", "kind"),
    [
        ({}, {}, None),
        (SHORT, SHORT, None),
        (SHORT, {**SHORT, "gap": 14.9}, None),
        (SHORT, {**SHORT, "gap": 30.0}, "moved"),
        (SHORT, {**SHORT, "said_so": "silent"}, "said"),
        (SHORT, {**SHORT, "grade": "imprecise", "gap": 0.003}, "mended"),
        ({"gap": 0.003, "grade": "imprecise", "said_so": "silent"}, SHORT, "broke"),
        ({}, {"gap": float("nan"), "said_so": ""}, "broke"),
        ({"gap": float("nan")}, SHORT, "mended"),
        ({"gap": float("nan")}, {"gap": float("nan"), "message": "nlme cannot express (1 | a)"}, "broke"),
        ({"gap": float("inf"), "grade": "short"}, {"gap": float("inf"), "grade": "short"}, None),
        # At the optimum the gap is rounding, and a word of doubt is a matter of the last steps.
        ({"gap": 1e-12}, {"gap": 3e-9, "said_so": "warned"}, None),
    ],
)
def test_a_change_is_of_one_kind(then, now, kind):
    assert [found for found, _ in told(fit("0.9", **then), fit("0.15", **now))] == ([kind] if kind else [])


def test_each_package_is_held_against_its_own_releases():
    """Another statsmodels changes nothing of lme4: where lme4 differs then, it is not a release that did it."""
    runs = [run("0.15", "1.1-9", run="a"), run("0.15", "1.1-37", run="b", system="Debian GNU/Linux 13 (t)")]
    lme4 = [fit("a", "lme4", **SHORT), fit("b", "lme4")]
    ((kind, line),) = told(*lme4, runs=runs)
    assert kind == "mended" and "lme4 1.1-9 was short by 14 (warned); 1.1-37 is at the optimum" in line
    ((kind, line),) = told(fit("a", **SHORT), fit("b"), runs=runs)
    assert kind == "otherwise"
    assert "statsmodels 0.15 on Debian 12 was short by 14 (warned); 0.15 on Debian 13 is at the optimum" in line


def test_no_release_mends_what_the_catalogue_declares_to_hang_on_the_last_bits():
    """So orthodont's interaction by ML with lme4's default; not by REML, not with MixedLM, not tuned."""
    runs = [run("0.15", "1.1-31", run="a"), run("0.16", "1.1-37", run="b")]
    mine = {"model": "orthodont-interaction", "method": "ML"}
    for engine, more, kind in [
        ("lme4", mine, "rounding"),
        ("lme4", {**mine, "method": "REML"}, "mended"),
        ("lme4", {**mine, "settings": "tuned"}, "mended"),
        ("lme4", {**mine, "model": "orthodont-other"}, "mended"),
        ("statsmodels", mine, "mended"),
    ]:
        ((found, line),) = told(fit("a", engine, **more, **SHORT), fit("b", engine, **more), runs=runs)
        assert found == kind and "was short by 14 (warned)" in line, (engine, more)


def test_the_sentences_count_what_is_of_every_kind_and_say_nothing_where_there_is_none():
    text = changes.sentences(
        results(RUNS, [fit("0.9", **SHORT), fit("0.15"), fit("0.9", method="ML"), fit("0.15", method="ML")])
    )
    assert "**Mended by a newer release**: 1.\n\n- pigs-slope, REML" in text
    assert "No fit came out in these ways: broken by a newer release; still below" in text and text.count("- pigs") == 1


def test_what_differs_is_shown_by_release_the_newest_first_and_the_rest_is_counted():
    runs = [*RUNS, run("0.8", "1.1-9")]
    fits = [
        fit("0.8"),
        fit("0.9", **SHORT),
        fit("0.15"),
        *(fit(name, model="oats-a") for name in ("0.8", "0.9", "0.15")),
    ]
    sheet = changes.differing(results(runs, fits), "statsmodels")
    assert list(sheet.header) == ["model", "method", "settings", "0.15", "0.9", "0.8"]
    states = ["at the optimum", "short by 14 (warned)", "at the optimum"]
    assert sheet.rows == [["pigs-slope", "REML", "default", *states]]
    assert "1 of 2 fits are alike" in sheet.caption


def test_what_no_release_mends_is_shown_as_lasting():
    fits = [fit(name, model=model, **how) for name in ("0.9", "0.15") for model, how in (("a-b", SHORT), ("c-d", {}))]
    sheet = changes.lasting(results(RUNS, [*fits, fit("0.9", model="e-f", **SHORT), fit("0.15", model="e-f")]))
    assert sheet.rows == [["a-b", "REML", "default", "statsmodels", "short by 14 (warned)"]]
    assert changes.differing(results(RUNS, fits), "statsmodels").rows == []


def test_a_message_is_the_same_with_other_numbers_and_another_one_when_it_is_worded_anew():
    fits = [fit("0.9", message="|grad| = 0.5 (tol = 2e-3) / old words"), fit("0.15", message="|grad| = 12 (tol = 1)")]
    sheet = changes.messages(results(RUNS, fits), "statsmodels")
    assert [list(map(str, row)) for row in sheet.rows] == [["old words", "0", "1"], ["|grad| = … (tol = …)", "1", "1"]]


def test_estimates_are_other_ones_where_right_digits_are_few_and_not_the_same():
    few = [("a-b", 5.2, 7.4), ("c-d", 5.2, 5.4), ("e-f", 8.0, 12.0), ("g-h", 9.0, 1.4)]
    fits = [
        fit(name, model=model, digits=digits[i]) for model, *digits in few for i, name in enumerate(("0.9", "0.15"))
    ]
    sheet = changes.digits(results(RUNS, [*fits, fit("0.9", model="i-j", digits=float("nan"))]), "statsmodels")
    assert [[row[0], *map(str, row[3:])] for row in sheet.rows] == [["a-b", "7.4", "5.2"], ["g-h", "1.4", "9"]]
    assert "2 of 4 fits have as many right digits" in sheet.caption


def test_of_one_model_every_release_is_a_row_and_a_message_that_stays_is_not_said_twice():
    fits = [fit("0.9", message="near"), fit("0.15", message="near", seconds=2.0)]
    rows = changes.of_model(results(RUNS, fits), "pigs-slope").rows
    assert [(row[3], row[7], row[9]) for row in rows] == [("0.15", "2", "near"), ("0.9", "1", "as above")]
    with pytest.raises(InputError, match="there are results of pigs-slope"):
        changes.of_model(results(RUNS, fits), "pigs")


def test_the_front_page_is_given_every_run_the_newest_first():
    runs = [run("0.15", "2.0.1", run="new"), run("0.9", "1.1-9", run="old"), run("0.15", "1.1-9", run="mid")]
    fits = [fit(name, **({} if name == "new" else SHORT)) for name in ("old", "mid", "new")]
    record = changes.Newest(results(runs, fits))._repr_mimebundle_()[RELEASES_TYPE]
    assert [dict(each["versions"])["lme4"] for each in record] == ["2.0.1", "1.1-9", "1.1-9"]
    assert [dict(each["versions"])["statsmodels"] for each in record] == ["0.15", "0.15", "0.9"]
    assert [each["agree"]["default"] for each in record] == [[1, 1], [0, 1], [0, 1]]
    assert record[0]["off"] == [] and record[1]["off"][0]["verdict"] == "python short"
    assert record[0]["finished"] == "2026-01-02" and record[0]["system"] == "Debian 12"


def test_seconds_are_summed_by_engine_and_settings_and_divided_within_a_run():
    fits = [
        fit("0.9", seconds=6.0),
        fit("0.9", "lme4", seconds=2.0),
        fit("0.15", seconds=1.0),
        fit("0.15", "lme4", seconds=4.0),
    ]
    rows = changes.seconds(results(RUNS, fits)).rows
    assert [(row[1], row[2], row[-2]) for row in rows] == [("1", "4", "0.25"), ("6", "2", "3")]
