"""Intervals: against lme4's confint and nlme's intervals, called here as a user calls them, closed forms and print."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from concord import r
from concord.account import line as quantities
from concord.account.intervals import interval_lines, interval_values, intervals
from concord.account.intervals.interval_table import COLUMNS
from concord.account.intervals.interval_values import IntervalError
from concord.agreement.comparison import compare
from concord.engines.answers import Absence, answer
from concord.engines.lme4.statements.confidence import profiles_by
from concord.engines.nlme import statements as nlme_says
from concord.models import model as models

Z = stats.norm.ppf(0.975)
FINER, WIDER = "lme4, finer steps", "nlme, wider steps"

CONFINT = """function(fit, which) {
  fit@optinfo$optimizer <- "nloptwrap"
  fit@optinfo$control <- list(xtol_rel = 1e-10)
  ends <- suppressMessages(suppressWarnings(stats::confint(stats::profile(fit, which = which, signames = FALSE))))
  list(names = rownames(ends), ends = unname(ends))
}"""


def in_r(code: str, *arguments):
    r.package("lme4")
    r.package("nlme")
    return r.from_r(r.call(r.call("eval", r.call("parse", text=code)[0]), *arguments))


@pytest.fixture(scope="module")
def compared(fits):
    """A comparison, made once: lines and tables then ask the packages once too. Tuned fits; where MixedLM is not among
    the engines, default ones, which are at the optimum in the models that are asked for.
    """
    kept = {}

    def of(id: str, method: str = "ML", *engines: str):
        key = (id, method, engines)
        if key not in kept:
            settings = "tuned" if "statsmodels" in engines else "default"
            answers = [fits(id, method, engine, settings) for engine in engines]
            if settings == "default":
                model = models.get(id, method)
                answers.append(Absence(model, "statsmodels", settings, "stopped", "it was not asked"))
            kept[key] = compare(*answers)
        return kept[key]

    return of


def profile_of(comparison, source: str = "lme4", method: str = "ML", **given) -> pd.DataFrame:
    table = intervals.table(comparison, **given)
    chosen = (table["kind"] == "profile") & (table["source"] == source) & (table["method"] == method)
    return table[chosen].set_index(["group", "term"])


# ---- profiles ------------------------------------------------------------------------------------------------------


CASES = [
    ("dietox-random_slope", "REML", ["cor_Time.(Intercept)|Pig"]),
    ("sitka-random_intercept", "ML", ["sd_(Intercept)|tree", "Time"]),
    ("sleepstudy-random_slope", "REML", ["sd_(Intercept)|Subject"]),
    ("penicillin-crossed", "ML", ["sd_(Intercept)|plate", "sigma"]),
    ("pastes-nested", "REML", ["sd_(Intercept)|batch", "(Intercept)"]),
    ("dyestuff2-random_intercept", "ML", ["sd_(Intercept)|Batch", "sigma", "(Intercept)"]),
]


@pytest.mark.parametrize(("id", "method", "labels"), CASES, ids=[case[0] for case in CASES])
def test_lme4s_profile_intervals_are_confints_and_agree_with_the_independent_ones(id, method, labels, compared):
    """What the table says that lme4 says is what confint() gives; every line of a profile agrees to four digits of the
    interval's width, or does so in finer steps, with the spline of the wider ones explained.
    """
    comparison = compared(id, method, "lme4")
    made = intervals.of(comparison)
    theirs = in_r(CONFINT, made.fits["lme4"].native, labels)
    order = {each.label: (each.group, each.term) for each in made.parameters}
    own = profile_of(comparison, which=labels)
    assert set(theirs["names"]) == set(labels)
    for label, ends in zip(theirs["names"], theirs["ends"], strict=True):
        stated = own.loc[order[label]]
        assert [stated["lower"], stated["upper"]] == pytest.approx(list(ends), rel=1e-5, abs=1e-9), label
    independent = profile_of(comparison, "independent", which=labels)
    lines = [line for line in intervals.lines(comparison, which=labels) if line.quantity.startswith("profile")]
    assert len(lines) == 2 * len(labels)
    for line in lines:
        assert line.verdict in ("agree", "by definition"), line.reason
        ours = independent.loc[(line.group, line.term)]
        width = ours["upper"] - ours["lower"]
        best = line.values.get(FINER, line.values["lme4"])
        assert abs(best - ours[line.quantity.split()[-1]]) <= 1e-4 * width, line.title
        assert (line.verdict == "by definition") == (
            FINER in line.values or not np.isnan(line.independent) and method == "REML"
        )
        assert ("profile_by_ml" in line.definitions.values()) == (method == "REML")


def test_a_spline_through_too_few_points_is_told_from_another_profile(compared):
    """dyestuff2's mean: its profile bends where the variance leaves zero, and lme4's spline in its own steps is off by
    more than four digits there; the same spline through independent points is off by the same.
    """
    lines = intervals.lines(compared("dyestuff2-random_intercept", "ML", "lme4"), which=["(Intercept)"])
    mean = [line for line in lines if line.effect == "fixed" and line.quantity.startswith("profile")]
    for line in mean:
        width = line.scale
        assert abs(line.values["lme4"] - line.values[FINER]) > 2e-4 * width
        assert line.values["lme4"] == pytest.approx(line.expected["lme4"], abs=1e-8 * width)
        assert line.definitions["lme4"] == "profile_spline" and line.verdict == "by definition"


def test_an_interval_that_ends_at_zero_says_that_nothing_is_crossed(compared):
    """Where the best variance is zero, and where it is near: the lower end is 0, and is not reached."""
    for id, method, label, key in (
        ("dyestuff2-random_intercept", "ML", "sd_(Intercept)|Batch", ("Batch", "sd__(Intercept)")),
        ("pastes-nested", "REML", "sd_(Intercept)|batch", ("batch", "sd__(Intercept)")),
    ):
        for source in ("lme4", "independent"):
            row = profile_of(compared(id, method, "lme4"), source, which=[label]).loc[key]
            assert (row["lower"], row["lower_reached"], row["upper_reached"]) == (0.0, False, True)


def test_a_search_that_stops_above_the_profile_is_left_out_with_the_evidence(compared, monkeypatch):
    """Points that are not at the smallest deviance for the value held are not a profile: the line says where and by how
    much, and is not agreement; a value that no excess explains differs.
    """
    comparison = compared("sitka-random_intercept", "ML", "lme4")
    made = interval_values.Intervals(comparison)
    each = made.parameters[0]
    found = intervals.of(comparison).stated_profile("lme4", each.label)
    zeta = np.where(found.zeta < -1, found.zeta * 1.1, found.zeta)
    wrong = [replace(found, zeta=zeta, ends=found.ends + [0.02, 0])]
    monkeypatch.setattr(made, "stated_profile", lambda engine, label, fine=False: wrong[-1])
    absent: dict[str, str] = {}
    assert interval_lines._held(made, "lme4", each, absent) == {}
    assert absent["lme4"].startswith("with sd_(Intercept)|tree held at 0.")
    # Where a deviance came out below the fit's own, as lme4's do of fixed effects with weights
    none = replace(found, zeta=np.where(found.zeta == 0, 0, np.nan), ends=np.array([np.nan, np.nan]))
    wrong.append(none)
    assert interval_lines._held(made, "lme4", each, absent) == {}
    assert absent["lme4"].startswith(f"at {np.isnan(none.zeta).sum()} of its {len(none.zeta)} points it has no zeta")
    wrong.append(replace(wrong[0], zeta=found.zeta))
    monkeypatch.setattr(made, "ask_profiles", lambda labels, fine=False: None)
    lower, upper = (
        line for line in interval_lines.lines(made, ["sd_(Intercept)|tree"]) if line.quantity.startswith("profile")
    )
    assert (lower.verdict, upper.verdict) == ("differ", "agree")


def test_a_default_fit_that_is_short_has_no_profile_and_r_says_why(compared):
    """From lme4's default fit of Sitka's slope the profile finds a better point and stops."""
    comparison = compared("sitka-random_slope", "ML", "lme4")
    made = intervals.of(comparison)
    lines = [
        line for line in intervals.lines(comparison, which=["sd_Time|tree"]) if line.quantity.startswith("profile")
    ]
    assert {line.verdict for line in lines} == {"not compared"} and "lower deviance" in lines[0].absent["lme4"]
    row = profile_of(comparison, which=["sd_Time|tree"]).iloc[0]
    assert np.isnan(row["lower"]) and "profiling detected new, lower deviance" in row["note"]
    with pytest.raises(IntervalError, match="new, lower deviance"):
        made.stated_profile("lme4", "sd_Time|tree")


def test_sitkas_slope_has_its_profile_in_nloptrs_tightened_steps_and_not_in_bobyqas(fits):
    """Time is far from zero: with bobyqa's defaults the profile of the intercept's deviation loses its lower end."""
    fit = fits("sitka-random_slope", "ML", "lme4", "tuned")
    (good,) = fit.ask(profiles_by, ["sd_Time|tree"], 0.95).values()
    absent = Absence(fit.model, "statsmodels", "tuned", "stopped", "it was not asked")
    made = intervals.of(compare(fit, absent))
    (slope,) = (each for each in made.parameters if each.label == "sd_Time|tree")
    ours = made.interval(slope, "ML")
    assert good.ends == pytest.approx([ours.lower, ours.upper], rel=1e-5)
    assert good.note.startswith("optimizer nloptwrap,") and not good.said


# ---- MixedLM's own profile -----------------------------------------------------------------------------------------


def test_the_interval_of_mixedlms_curve_is_that_of_the_ratio_by_its_own_method(compared):
    """Its nine points, interpolated, end where the independent profile of the ratio does; which is another interval
    than the variance's own, and than the ratio's by ML.
    """
    comparison = compared("sitka-random_intercept", "REML", "statsmodels", "lme4")
    made = intervals.of(comparison)
    lower, upper = (
        line
        for line in intervals.lines(comparison, which=["sd_(Intercept)|tree"], with_profile_re=True)
        if line.quantity.startswith("profile")
    )
    for line in (lower, upper):
        assert line.verdict == "by definition", line.reason
        assert line.definitions == {"lme4": "profile_by_ml", "statsmodels": "ratio_held"}
        assert line.values["statsmodels"] == pytest.approx(line.expected["statsmodels"], abs=1e-4 * line.scale)
        assert abs(line.values["statsmodels"] - line.independent) > 3e-3 * line.scale
    # On the variance's scale, by hand: twice the fall at the ends, refitted with the ratio there, is the quantile.
    row = profile_of(
        comparison, "statsmodels", "REML", which=["sd_(Intercept)|tree"], with_profile_re=True, scale="variance"
    )
    row = row.iloc[0]
    assert row["lower"] == pytest.approx(lower.values["statsmodels"] ** 2)
    native, fit = made.fits["statsmodels"].native, made.fits["statsmodels"]
    shown = float(native.cov_re.iloc[0, 0])
    # profile_re's arguments are distances of the ratio times the estimated residual variance.
    own, ends = made.ratio(made.parameters[0])
    below = shown - ends.lower * fit.residual_variance
    curve = native.profile_re(0, "re", num_low=1, dist_low=below, num_high=1, dist_high=0.1)
    assert 2 * (curve[1, 1] - curve[0, 1]) == pytest.approx(Z**2, abs=1e-5)
    assert curve[0, 0] == pytest.approx(row["lower"], rel=1e-4)
    assert own.parameter.term == "ratio__(Intercept)"


# ---- Wald ----------------------------------------------------------------------------------------------------------


def wald(comparison) -> dict[tuple[str, str, str], tuple[float, float]]:
    table = intervals.table(comparison, with_profile=False, scale="variance")
    table = table[table["source"] != "independent"]
    return {(row.source, row.group, row.term): (row.lower, row.upper) for row in table.itertuples()}


def test_wald_intervals_are_what_each_package_says(compared):
    """MixedLM's conf_int (ratios, times the residual variance), lme4's confint and nlme's intervals, by their names."""
    comparison = compared("orthodont-interaction", "REML", "statsmodels", "lme4", "nlme")
    made, found = intervals.of(comparison), wald(comparison)
    python, lmer, lme = (made.fits[engine] for engine in ("statsmodels", "lme4", "nlme"))
    ends = python.native.conf_int()
    p, scale = len(python.fixed), python.residual_variance
    for name, both in zip(comparison.model.design.names, ends.to_numpy()[:p], strict=True):
        assert found["statsmodels", "", name] == pytest.approx(tuple(both))
    group = comparison.model.design.terms[0].group
    first, both, second = ends.to_numpy()[p:] * scale
    for term, pair in (("var__(Intercept)", first), ("cov__(Intercept).age", both), ("var__age", second)):
        assert found["statsmodels", group, term] == pytest.approx(tuple(pair))
    named = in_r("function(f) { e <- confint(f, method = 'Wald', parm = 'beta_'); list(rownames(e), e) }", lmer.native)
    for name, pair in zip(*named, strict=True):
        assert found["lme4", "", name] == pytest.approx(tuple(pair))
    text = "function(f) { i <- nlme::intervals(f); list(i$fixed[, c(1, 3)], as.matrix(i$reStruct[[1]])[, c(1, 3)]) }"
    fixed, random = in_r(text, lme.native)
    for name, pair in zip(comparison.model.design.names, fixed, strict=True):
        assert found["nlme", "", name] == pytest.approx(tuple(pair))
    for term, pair in zip(("var__(Intercept)", "var__age"), random[:2], strict=True):
        assert found["nlme", group, term] == pytest.approx(tuple(np.square(pair)))
    assert found["nlme", group, "cor__(Intercept).age"] == pytest.approx(tuple(random[2]))


@pytest.mark.parametrize(
    ("id", "method"), [("orthodont-interaction", "REML"), ("pastes-nested", "REML"), ("sleepstudy-uncorrelated", "ML")]
)
def test_every_wald_line_is_explained(id, method, compared):
    """Joint, conditional, Student's t, ratio, logarithm: each end is what its definition gives at the fit's estimates;
    to six digits of the width, but for nlme's differences; and where a definition differs, it says so.
    """
    comparison = compared(id, method, "statsmodels", "lme4", "nlme")
    lines = intervals.lines(comparison, with_profile=False)
    assert {line.verdict for line in lines} <= {"agree", "by definition"}, quantities.Sheet("", lines).breaches
    for line in lines:
        for source, value in line.values.items():
            tight = 1e-6 if source in ("statsmodels", "lme4") or line.effect == "fixed" else 3e-3
            assert abs(value - line.expected[source]) <= tight * line.scale, (line.title, source)
    fixed = [line for line in lines if line.effect == "fixed"]
    assert len(fixed) == 2 * len(comparison.model.design.names)
    assert all(line.definitions == {"statsmodels": "interval_joint", "nlme": "interval_student"} for line in fixed)


def test_in_an_unbalanced_table_joint_and_conditional_intervals_are_two(make_model):
    """Few and unequal groups: MixedLM's interval of the slope is wider than lme4's, each by its own definition."""
    rng = np.random.default_rng(7)
    frame = pd.DataFrame({"g": pd.Categorical(list("aaaabbbbbcccdddddeefffghhhh")), "x": np.arange(27.0) ** 2 % 7})
    slopes = np.array([1.5, -1, 0.5, -2, 2, 0, 1, -1.0])[frame["g"].cat.codes]
    frame["y"] = 50 + (3 + slopes) * frame["x"] + 4 * rng.normal(size=8)[frame["g"].cat.codes] + rng.normal(size=27)
    model = make_model(frame, "y ~ x + (1 + x | g)", "REML")
    comparison = compare(*(answer(model, engine, "tuned") for engine in ("statsmodels", "lme4")))
    lines = [line for line in intervals.lines(comparison, with_profile=False) if line.term == "x"]
    lower, upper = lines
    assert lower.verdict == upper.verdict == "by definition"
    assert lower.values["statsmodels"] < lower.values["lme4"] - 1e-4 * lower.scale
    assert upper.values["statsmodels"] > upper.values["lme4"] + 1e-4 * upper.scale


def test_what_nlme_loses_in_rounding_its_own_wider_steps_give_back(compared):
    """dietox's correlation: nlme's own interval is off by more than its width's third digit, with .relStep = 1e-4 by
    less than a tenth of that.
    """
    comparison = compared("dietox-random_slope", "REML", "lme4", "nlme")
    lines = intervals.lines(comparison, with_profile=False)
    (lower, upper) = (line for line in lines if line.term.startswith("cor__"))
    own = wald(comparison)["nlme", "Pig", "cor__(Intercept).Time"]
    for line, stated in ((lower, own[0]), (upper, own[1])):
        off, left = abs(stated - line.expected[WIDER]), abs(line.values[WIDER] - line.expected[WIDER])
        assert off > 1e-3 * line.scale > 3 * left and off > 10 * left
        assert line.values["nlme"] == stated and line.verdict == "differ: lost in rounding"
        assert "lost in rounding" in line.reason and not line.unexplained
    note = intervals.table(comparison, with_profile=False)["note"]
    assert note.str.contains("lost in rounding").any()


# Fifteen patients in four visits, one of them missed; slopes that hardly vary, so that the log-likelihood hardly bends.
SCORES = """11.53 16 16.51 18.13 7.55 10.84 11.7 17.39 10.1 11.67 12.78 13.9 9.7 10.48 nan 13.52 11.59 12.09 12.54 14.37
    13.02 12.31 13.84 16.58 7.94 10.61 11.81 12.82 8.51 13.86 13.38 14.17 11.25 11.61 12.48 15.08 11.3 12.14 13.09 15.51
    8.66 11.67 13.17 13.87 8.66 7.44 12.12 13.43 6.78 7.26 10.48 9.19 8.88 10.83 9.01 12.17 10.05 13.75 12.46 15.51"""


def test_wider_steps_too_lose_digits_where_the_likelihood_hardly_bends(make_model):
    """By as much as nlme itself shows in steps that are a little wider or narrower: that is rounding, and explained."""
    frame = pd.DataFrame({"score": list(map(float, SCORES.split())), "visit": np.tile(np.arange(4.0), 15)})
    frame["patient"] = pd.Categorical(np.repeat([f"P{i}" for i in range(15)], 4))
    model = make_model(frame.dropna().reset_index(drop=True), "score ~ visit + (1 + visit | patient)", "REML")
    comparison = compare(*(answer(model, engine, "tuned") for engine in ("statsmodels", "lme4", "nlme")))
    lines = intervals.lines(comparison, with_profile=False)
    assert not [line.reason for line in lines if line.unexplained]
    fit, key, width = comparison.fits[-1], ("patient", "sd__visit"), 2 * Z

    def error(step: float) -> float:
        """nlme's standard error of the logarithm, from the ends of its interval."""
        ((lower, upper),) = (each.value for each in nlme_says._intervals(fit, 0.95, step).components[key])
        return math.log(upper / lower) / width

    _, wider = nlme_says.intervals(fit, 0.95, 0.0).components[key]
    steps = np.linspace(0.8, 1.2, 9) * nlme_says.WIDE
    errors = np.array([error(step) for step in steps])
    # What the width of a step leaves changes with the step; what scatters about that is rounding.
    scatter = np.abs(errors - np.polyval(np.polyfit(steps, errors, 1), steps)).max()
    assert scatter < wider.rounding < 100 * scatter


def test_on_the_boundary_wald_intervals_are_left_out_with_the_reason(compared):
    """dyestuff2: a Hessian at a variance of zero bounds no variance; the fixed effects' intervals still stand."""
    lines = intervals.lines(compared("dyestuff2-random_intercept", "ML", "statsmodels", "lme4"))
    (lower, _) = (line for line in lines if line.quantity.startswith("Wald") and line.effect == "fixed")
    assert set(lower.values) == set(lower.expected) == {"statsmodels", "lme4"} and lower.verdict == "by definition"
    variances = [line for line in lines if line.quantity.startswith("Wald") and line.effect == "ran_pars"]
    assert variances and {line.verdict for line in variances} == {"not compared"}


def test_an_interval_that_reaches_to_infinity_can_be_asked_whether_it_is_rounded():
    """As nlme's of a variance of zero may, from machine to machine; in wider steps too it bounds nothing."""
    for own in ((0.0, np.inf), (1e-218, 2e209)):
        with np.errstate(all="raise"):
            assert not nlme_says.is_lost(own, (0.0, np.inf))
    assert nlme_says.is_lost((1.0, 2.1), (1.0, 2.0)) and not nlme_says.is_lost((1.0, 2.0001), (1.0, 2.0))


# ---- published -----------------------------------------------------------------------------------------------------

# By group and term: kind, source, ends as printed, and half a unit of their last digit.
PUBLISHED = {
    # Bates, Maechler, Bolker and Walker 2015, JSS 67(1), section 5.1: confint of fm1, by profile.
    ("sleepstudy-random_slope", "REML"): [
        ("profile", "lme4", "Subject", "sd__(Intercept)", 14.381, 37.716, 5e-4),
        ("profile", "lme4", "Subject", "cor__(Intercept).Days", -0.482, 0.685, 5e-4),
        ("profile", "lme4", "Subject", "sd__Days", 3.801, 8.753, 5e-4),
        ("profile", "lme4", "Residual", "sd__Observation", 22.898, 28.858, 5e-4),
        ("profile", "lme4", "", "(Intercept)", 237.681, 265.130, 5e-4),
        ("profile", "lme4", "", "Days", 7.359, 13.576, 5e-4),
    ],
    # Bates 2010, lme4: Mixed-effects modeling with R, section 1.5: confint of the profile of fm1ML; sigma as exp of
    # the ends of its logarithm.
    ("dyestuff-random_intercept", "ML"): [
        ("profile", "lme4", "Batch", "sd__(Intercept)", 12.197461, 84.063361, 2e-3),
        ("profile", "lme4", "Residual", "sd__Observation", np.exp(3.643624), np.exp(4.214461), 2e-4),
        ("profile", "lme4", "", "(Intercept)", 1486.451500, 1568.548494, 2e-5),
    ],
    # Pinheiro and Bates 2000, section 1.1: intervals(fm1Rail.lme).
    ("rail-random_intercept", "REML"): [
        ("Wald", "nlme", "", "(Intercept)", 44.339, 88.661, 5e-4),
        ("Wald", "nlme", "Rail", "sd__(Intercept)", 13.274, 46.353, 2e-2),
        ("Wald", "nlme", "Residual", "sd__Observation", 2.695, 5.9988, 2e-3),
    ],
}


@pytest.mark.parametrize("key", PUBLISHED, ids=lambda key: key[0])
def test_published_intervals_are_in_the_table(key, compared):
    """Printed ends are those of the package that printed them, and of the independent interval of that kind."""
    nlme = any(source == "nlme" for _, source, *_ in PUBLISHED[key])
    comparison = compared(*key, "lme4", *(("nlme",) if nlme else ()))
    table = intervals.table(comparison, with_profile=not nlme)
    for kind, source, group, term, lower, upper, half in PUBLISHED[key]:
        own = table[(table["kind"] == kind) & (table["group"] == group) & (table["term"] == term)]
        (stated,) = own[own["source"] == source].to_dict("records")
        assert (stated["lower"], stated["upper"]) == pytest.approx((lower, upper), abs=1.01 * half), term
        method = "ML" if kind == "profile" else key[1]
        ours = own[(own["source"] == "independent") & (own["method"] == method)]
        if source == "nlme" and group == "":
            continue  # Student's t is nlme's alone
        close = (ours["lower"] - lower).abs() + (ours["upper"] - upper).abs()
        assert close.min() <= 4.04 * half, term


# ---- the table -----------------------------------------------------------------------------------------------------


def test_the_table_has_a_row_for_every_interval_on_one_scale(compared):
    """Columns as told; variances are squares of deviations; a bootstrap's table is set beside the others."""
    comparison = compared("sitka-random_intercept", "REML", "statsmodels", "lme4")
    boot = pd.DataFrame(
        {
            "effect": ["ran_pars", "fixed"],
            "group": ["tree", ""],
            "term": ["var__(Intercept)", "Time"],
            "source": "lme4",
            "lower": [0.25, 0.0122],
            "upper": [0.49, 0.0132],
        }
    )
    plain, squared = (intervals.table(comparison, bootstrap=boot, scale=scale) for scale in ("sd", "variance"))
    assert list(plain.columns) == COLUMNS and len(plain) == len(squared)
    assert set(plain["kind"]) == {"Wald", "profile", "bootstrap"}
    assert set(plain["scale"]) == {"sd", "as is"} and set(squared["scale"]) == {"variance", "as is"}
    both = plain[(plain["group"] == "tree") & (plain["lower"] >= 0)]
    np.testing.assert_allclose(both["upper"] ** 2, squared.loc[both.index, "upper"], rtol=1e-12)
    (row,) = plain[(plain["kind"] == "bootstrap") & (plain["group"] == "tree")].to_dict("records")
    assert (row["lower"], row["upper"], row["scale"]) == (0.5, 0.7, "sd")
    order = list(dict.fromkeys(plain["term"]))
    assert order == ["sd__(Intercept)", "sd__Observation", "(Intercept)", "Time"]
    for wrong in ({"scale": "log"}, {"level": 1.5}):
        with pytest.raises(IntervalError):
            intervals.table(comparison, **wrong)


def test_a_wald_interval_of_a_variance_that_goes_below_zero_says_so(compared):
    """On the scale of standard deviations it ends at 0, and the note keeps the variance's own end."""
    table = intervals.table(compared("pastes-nested", "REML", "statsmodels", "lme4", "nlme"), with_profile=False)
    row = table[(table["source"] == "statsmodels") & (table["group"] == "batch")].iloc[0]
    assert row["lower"] == 0 and not row["lower_reached"] and "lower end is -" in row["note"]


def test_a_missing_package_is_an_absence_with_its_reason(fits):
    """nlme has no crossed factors: its lines say so, and the others' stand."""
    model = models.get("penicillin-crossed", "ML")
    reason = Absence(model, "nlme", "default", "cannot express", "crossed grouping factors")
    lines = intervals.lines(compare(fits("penicillin-crossed", "ML", "lme4", "default"), reason), with_profile=False)
    assert all("nlme" not in line.values for line in lines)
    assert [bool(line.values) for line in lines] == [line.effect == "fixed" for line in lines]
    assert all("crossed" in line.absent["nlme"] for line in lines if line.effect == "fixed")


def test_where_nlme_stops_the_first_line_says_why_like_every_other(compared, monkeypatch):
    """The reason is known before the lines of the first parameter are made, whichever that is."""

    def stopped(function, *arguments, **named):
        if function is wald:
            raise r.RError("no second derivatives")
        return call(function, *arguments, **named)

    wald, call = nlme_says._room()["wald"], r.call
    monkeypatch.setattr(nlme_says, "_room", lambda: {"wald": wald})
    monkeypatch.setattr(r, "call", stopped)
    made = interval_values.Intervals(compared("pastes-nested", "REML", "statsmodels", "lme4", "nlme"))
    lines = interval_lines.lines(made, [made.parameters[0].label, "sigma"], with_profile=False)
    assert lines
    assert {line.absent.get("nlme") for line in lines} == {"R stopped with: no second derivatives"}
