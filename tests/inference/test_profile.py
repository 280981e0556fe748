"""Profiles and intervals: against lme4's, MixedLM's, published ones, closed forms, and searches that know no Newton."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
import pytest
from scipy import optimize, stats

from concord import r, versions, vocabulary
from concord.inference import profile
from concord.inference.profile_coordinates import Coordinates
from concord.inference.profile_curve import Profile, ProfileError
from concord.likelihood.likelihood import Likelihood
from concord.models import model as models
from concord.models.formula import expression
from support.estimates import changed
from support.profiles import CHI, CORRELATION, brute, of


def ends(found: list[Profile], level: float = 0.95) -> dict[str, tuple[float, float]]:
    return {each.parameter.label: (each.interval(level).lower, each.interval(level).upper) for each in found}


# ---- closed forms: a balanced one-way layout -----------------------------------------------------------------------


@dataclass(frozen=True)
class OneWay:
    """A balanced layout of a groups of k, with its sums of squares between and within, and its mean."""

    a: int
    k: int
    between: float
    within: float
    mean: float

    def deviance(self, reml: bool, *, sigma=None, sd=None, mean=None) -> float:
        """The profile deviance with one of the three held, or none, less what depends on nothing: from two independent
        sums of squares (Searle, Casella and McCulloch 1992, Variance Components, section 3.7).
        """
        between = self.between + (0 if mean is None else self.a * self.k * (mean - self.mean) ** 2)
        inner, outer = self.a * (self.k - 1), self.a - reml

        def at(residual, total):  # total: sigma^2 + k sd^2
            return inner * np.log(residual) + self.within / residual + outer * np.log(total) + between / total

        pooled = (between + self.within) / (inner + outer)
        if sigma is not None:
            return at(sigma**2, max(sigma**2, between / outer))
        if sd is not None:
            found = optimize.minimize_scalar(
                lambda log: at(np.exp(log), np.exp(log) + self.k * sd**2),
                bounds=(np.log(pooled) - 5, np.log(pooled) + 5),
                method="bounded",
                options={"xatol": 1e-12},
            )
            return found.fun
        return at(self.within / inner, between / outer) if between / outer > pooled else at(pooled, pooled)

    def crossing(self, reml: bool, name: str, low: float, high: float) -> float:
        """Where the profile of sigma, sd or mean crosses the quantile."""
        top = self.deviance(reml)
        return optimize.brentq(
            lambda value: self.deviance(reml, **{name: value}) - top - CHI, low, high, xtol=1e-12, rtol=1e-14
        )


@pytest.fixture(scope="module", params=["dyestuff-random_intercept", "dyestuff2-random_intercept"])
def one_way(request):
    """A model's id and its layout: Dyestuff, and simulated data whose best variance between groups is zero."""
    frame = models.get(request.param).frame
    groups = frame.groupby("Batch", observed=True)["Yield"]
    a, mean = groups.ngroups, frame["Yield"].mean()
    k = len(frame) // a
    between = float((k * (groups.mean() - mean) ** 2).sum())
    within = float(((frame["Yield"] - groups.transform("mean")) ** 2).sum())
    return request.param, OneWay(a, k, between, within, mean)


@pytest.mark.parametrize("method", vocabulary.METHODS)
def test_intervals_of_a_balanced_one_way_layout_are_those_of_its_closed_form(method, one_way):
    """Where the deviance is a sum of four terms, its crossings of the quantile are the intervals' ends to 8 digits."""
    id, layout = one_way
    likelihood, optimum = of(id, method)
    found, reml = ends(profile.profiles(likelihood, optimum)), method == "REML"
    sd, sigma = float(np.sqrt(optimum.covariances[0][0, 0])), float(np.sqrt(optimum.residual_variance))
    lower = layout.crossing(reml, "sd", 0.01, sd) if id.startswith("dyestuff-") else 0.0
    expected = {
        "sd_(Intercept)|Batch": (lower, layout.crossing(reml, "sd", sd, 6 * sigma)),
        "sigma": (layout.crossing(reml, "sigma", sigma / 3, sigma), layout.crossing(reml, "sigma", sigma, 3 * sigma)),
    }
    if not reml:
        ahead = layout.crossing(reml, "mean", layout.mean, layout.mean + 3 * sigma)
        expected["(Intercept)"] = (2 * layout.mean - ahead, ahead)
    assert set(found) == set(expected)
    for label, both in expected.items():
        assert found[label] == pytest.approx(both, rel=1e-8), label


def test_the_curves_of_a_one_way_layout_are_the_closed_forms_at_zero_and_far_away(one_way):
    """zeta and log-likelihood are the closed form's, with its sign, also where the variance is zero; and where it must
    leave zero because the residual variance is held too low.
    """
    id, layout = one_way
    likelihood, optimum = of(id)
    deviation, sigma = profile.profiles(likelihood, optimum, ["sd_(Intercept)|Batch", "sigma"])
    for made, name in ((deviation, "sd"), (sigma, "sigma")):
        for share in (0.0, 0.1, 0.6, 0.7, 0.8, 0.95, 1.2, 4.0, 50.0)[name == "sigma" :]:
            value = share * sigma.estimate
            gain = layout.deviance(False, **{name: value}) - layout.deviance(False)
            expected = np.sign(value - made.estimate) * np.sqrt(max(gain, 0.0))
            assert made.zeta(value) == pytest.approx(expected, rel=1e-6, abs=1e-6), (name, value)
            assert made.loglik(value) == pytest.approx(optimum.loglik - gain / 2, rel=1e-12, abs=1e-9)


# ---- lme4 ----------------------------------------------------------------------------------------------------------

LME4 = """function(formula, data, which, scale) {
  fit <- lme4::lmer(formula, data, REML = FALSE, control = lme4::lmerControl(optCtrl = list(xtol_rel = 1e-10)))
  found <- suppressWarnings(stats::profile(fit, which = which, signames = FALSE, prof.scale = scale))
  ends <- suppressWarnings(stats::confint(found))
  points <- as.data.frame(found)
  list(ends = ends, names = rownames(ends), zeta = points$.zeta, value = points$.focal, par = as.character(points$.par))
}"""


def by_lme4(id: str, which: list[str] | None = None, scale: str = "sdcor") -> dict:
    model = models.get(id, "ML")
    r.package("lme4")
    function = r.call("eval", r.call("parse", text=LME4)[0])
    return r.from_r(r.call(function, expression(model.formula), model.frame, which, scale))


# The digits that lme4's points, and its spline through them, have where they were measured against the closed form, or
# against a search in all other parameters from several starts.
@pytest.mark.parametrize(
    ("id", "which", "precision"),
    [
        ("dyestuff-random_intercept", None, 2e-4),
        ("dyestuff2-random_intercept", None, 4e-4),
        ("penicillin-crossed", None, 5e-5),
        ("sleepstudy-random_slope", None, 1e-4),
        ("dietox-random_slope", ["cor_Time.(Intercept)|Pig", "Time"], 1e-4),
    ],
    ids=["one-way", "boundary", "crossed", "slope", "many rows"],
)
def test_lme4s_profile_is_the_same_curve_with_the_same_crossings(id, which, precision):
    """At each of lme4's points ours is as near the optimum, or nearer: lme4's is where its optimizer stopped; and the
    ends of its intervals are ours.
    """
    theirs = by_lme4(id, which)
    found = {each.parameter.label: each for each in profile.profiles(*of(id), which=theirs["names"])}
    for label, both in zip(theirs["names"], theirs["ends"], strict=True):
        got = found[label].interval()
        assert both == pytest.approx((got.lower, got.upper), rel=precision, abs=1e-6), label
    compared = 0
    for label, value, zeta in zip(theirs["par"], theirs["value"], theirs["zeta"], strict=True):
        # Where the farthest points are, lme4's search among correlations near one is a rough one.
        if abs(zeta) < 3.5 and abs(value) != 1.0:
            ours = found[label].zeta(value)
            assert abs(ours) <= abs(zeta) + 1e-4, (label, value)
            assert ours == pytest.approx(zeta, abs=3e-3), (label, value)
            compared += 1
    assert compared >= 15


def test_a_covariance_has_a_profile_of_its_own_and_a_variance_its_deviations_squared():
    """On the variance scale lme4's profile has the same covariance; our variances are squares of our deviations.

    lme4 1.1-31 itself ends the slope's variance at 0 there, where its own standard deviation ends at 3.8. lme4 2.1 ends
    the covariance too early at both ends, with a warning of NAs.
    """
    likelihood, optimum = of("sleepstudy-random_slope")
    plain = ends(profile.profiles(likelihood, optimum))
    squared = ends(profile.profiles(likelihood, optimum, scale="variance"))
    for label in ("sd_(Intercept)|Subject", "sd_Days|Subject", "sigma"):
        assert squared[label] == pytest.approx(np.square(plain[label]), rel=1e-9)
    (theirs,) = by_lme4("sleepstudy-random_slope", ["cov_Days.(Intercept)|Subject"], "varcov")["ends"]
    ours = squared["cor_Days.(Intercept)|Subject"]
    if versions.outside({"lme4": ">=2.0"}):
        assert theirs == pytest.approx(ours, rel=1e-5)
    else:
        assert ours[0] < theirs[0] - 5 and theirs[1] + 5 < ours[1]


# ---- published -----------------------------------------------------------------------------------------------------

PUBLISHED = {
    # lme4/lme4 tests/profile-tst.R, "lme4a reference values" of fm01ML, held there to 1e-6 and to 1.5e-8; the residual
    # one as the logarithm's ends 3.64362 and 4.21446.
    "dyestuff-random_intercept": {
        "sigma": ((np.exp(3.64362), np.exp(4.21446)), 1e-5),
        "(Intercept)": ((1486.451500, 1568.548494), 1e-7),
    },
    # The same file, lme4a_CIpr2 of fm2ML.
    "penicillin-crossed": {
        "sd_(Intercept)|plate": ((0.633565787613112, 1.1821039843372), 1e-6),
        "sd_(Intercept)|sample": ((1.09578224011285, 3.55631937954106), 5e-5),
        "sigma": ((np.exp(-0.721864513060904), np.exp(-0.462903300019305)), 1e-6),
        "(Intercept)": ((21.2666273835452, 24.6778176174587), 1e-6),
    },
    # lme4's ?confint.merMod (1.1-35.5), CI2 of fm2, with 8 points a parameter.
    "sleepstudy-uncorrelated": {
        "sd_(Intercept)|Subject": ((15.25847, 37.78184), 2e-4),
        "sd_Days|Subject": ((3.964157, 8.768238), 2e-4),
        "sigma": ((22.88062, 28.78768), 1e-5),
        "(Intercept)": ((237.5732, 265.2383), 1e-5),
        "Days": ((7.33431, 13.60057), 4e-5),
    },
    # lme4's testdata/confint_ex.rda (1.1-31), fm1P, shown by ?confint.merMod.
    "sleepstudy-random_slope": {
        "sd_(Intercept)|Subject": ((14.3814416698, 37.7159960555), 1e-5),
        "cor_Days.(Intercept)|Subject": ((-0.4815007372, 0.6849859597), 5e-5),
        "sd_Days|Subject": ((3.8011640734, 8.7533831223), 1e-5),
        "sigma": ((22.8982668871, 28.8579965286), 1e-6),
        "(Intercept)": ((237.6806954894, 265.1295146187), 1e-7),
        "Days": ((7.3586532600, 13.5759187522), 1e-6),
    },
}


@pytest.mark.parametrize("id", PUBLISHED)
def test_published_intervals_hold(id):
    """Ends that lme4 has published, of its own splines, are ours to the digits that these have."""
    found = ends(profile.profiles(*of(id)))
    assert set(PUBLISHED[id]) <= set(found)
    for label, (expected, precision) in PUBLISHED[id].items():
        assert found[label] == pytest.approx(expected, rel=precision), label


# ---- searches without derivatives ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("id", "held"), [("orthodont-random_slope", "sd_age|Subject"), ("sleepstudy-random_slope", CORRELATION)]
)
def test_a_search_without_derivatives_finds_nothing_better_at_the_ends(id, held):
    """With the parameter at an end of its interval, a simplex from two starts ends at the quantile, and not below.

    orthodont's slope ends at 0.0063985; lme4 says 0.0064552.
    """
    likelihood, optimum = of(id)
    (made,) = profile.profiles(likelihood, optimum, [held])
    deviations = np.log(np.sqrt(np.diag(optimum.covariances[0])))
    sigma = 0.5 * np.log(optimum.residual_variance)
    starts = [[sigma, *deviations, 0.1], [sigma + 0.1, *(deviations - 0.2), 0.3]]
    for value in (made.interval().lower, made.interval().upper):
        assert brute(likelihood, held, value, starts) + 2 * optimum.loglik == pytest.approx(CHI, abs=2e-6)


# ---- MixedLM -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("index", [0, 1])
def test_mixedlms_profile_re_is_the_curve_of_the_ratio(index, fits):
    """`profile_re` holds the ratio to the residual variance and shows it times the residual variance that goes with it.

    It is another curve than the variance's own profile, which lies above it.
    """
    fit = fits("sleepstudy-random_slope", "REML", "statsmodels", "tuned")
    shown = float(fit.native.cov_re.iloc[index, index])
    given = {"num_low": 1, "dist_low": 0.6 * shown, "num_high": 1, "dist_high": shown}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = fit.native.profile_re(index, "re", **given, method="bfgs", gtol=1e-8)
    likelihood = Likelihood(fit.model.design, True)
    held = profile.ratio_profile(likelihood, 0, index)
    ratios = np.array([0.4, 1, 2]) * held.estimate
    residual = np.array([held.residual_variance(each) for each in ratios])
    np.testing.assert_allclose(ratios * residual, theirs[:, 0], rtol=1e-4)
    np.testing.assert_allclose([held.loglik(each) for each in ratios], theirs[:, 1], rtol=0, atol=1e-7)
    # So far out the residual variance has moved by a tenth of itself.
    assert np.abs(residual / fit.residual_variance - 1)[[0, 2]].min() > 0.04
    (own,) = profile.profiles(
        likelihood, which=[("sd_(Intercept)|Subject", "sd_Days|Subject")[index]], scale="variance"
    )
    above = [own.loglik(value) - loglik for value, loglik in theirs]
    assert abs(above[1]) < 1e-6 and min(above[0], above[2]) > 0.01


# ---- the rest ------------------------------------------------------------------------------------------------------


def test_a_walk_goes_out_to_lme4s_farthest_in_even_steps():
    """Points lie from -cutoff to cutoff of zeta, in eighths, in order; each is the likelihood's largest there."""
    likelihood, optimum = of("dietox-random_slope")
    farthest = np.sqrt(stats.chi2.ppf(0.99, 6))
    for made in profile.profiles(likelihood, optimum):
        made.walk()
        points = made.points
        assert (np.diff(points["value"]) > 0).all() and (np.diff(points["zeta"]) > 0).all()
        assert points["zeta"].iloc[0] < -0.98 * farthest and points["zeta"].iloc[-1] > 0.98 * farthest
        assert np.diff(points["zeta"]).max() < 1.3 * farthest / 8 and 15 <= len(points) <= 25
        np.testing.assert_allclose(points["zeta"] ** 2, 2 * (optimum.loglik - points["loglik"]), atol=1e-8)
        known = {value: made.zeta(value) for value in points["value"].iloc[[0, 5]]}
        for value, zeta in known.items():
            (again,) = profile.profiles(likelihood, optimum, [made.parameter.label])
            assert again.zeta(value) == pytest.approx(zeta, abs=1e-6)


def test_a_point_takes_little_more_than_one_evaluation(monkeypatch):
    """The points before predict where the others' best values are, so that one look and one step are enough."""
    evaluations, expand = [], Coordinates.expand

    def counted(self, z):
        evaluations.append(z)
        return expand(self, z)

    monkeypatch.setattr(Coordinates, "expand", counted)
    found = profile.profiles(*of("dietox-random_slope"))
    for made in found:
        made.walk()
        made.interval()
    assert len(evaluations) < 1.3 * sum(len(made.points) for made in found)


def test_a_sparse_block_has_the_dense_ones_profile(monkeypatch):
    """Crossed factors through the sparse Cholesky, with differences for second derivatives, end at the same values."""
    dense = ends(profile.profiles(*of("penicillin-crossed")))
    monkeypatch.setattr("concord.likelihood.blocks.LARGE", 1)
    likelihood, optimum = of("penicillin-crossed")
    assert not likelihood.dense
    for label, both in ends(profile.profiles(likelihood, optimum)).items():
        assert both == pytest.approx(dense[label], rel=1e-6), label


def test_parameters_are_in_the_order_of_levels_and_named_by_what_they_are(make_model):
    """Terms come by falling numbers of levels, however they are written, and a label goes with its term."""
    frame = models.get("penicillin-crossed").frame
    swapped = make_model(frame, "diameter ~ 1 + (1 | sample) + (1 | plate)", "ML").design
    for design in (swapped, models.get("penicillin-crossed").design):
        named = [each.label for each in profile.parameters(design)]
        assert named == ["sd_(Intercept)|plate", "sd_(Intercept)|sample", "sigma", "(Intercept)"]
    three = [each.term for each in profile.parameters(models.get("machines-unstructured").design)]
    assert three[:6] == [
        "sd__MachineA",
        "cor__MachineA.MachineB",
        "cor__MachineA.MachineC",
        "sd__MachineB",
        "cor__MachineB.MachineC",
        "sd__MachineC",
    ]


def test_intervals_hold_their_estimates():
    """On the scale of variances; under REML of the variances alone."""
    likelihood, optimum = of("sleepstudy-random_slope", "REML")
    found = optimum.estimates.set_index(["effect", "group", "term"])["estimate"]
    made = profile.profiles(likelihood, optimum, scale="variance")
    assert [each.parameter.effect for each in made] == ["ran_pars"] * 4
    for each in made:
        got = each.interval(0.9)
        assert got.lower < each.estimate < got.upper and all(got.reached)
        parameter = each.parameter
        assert each.estimate == pytest.approx(found[parameter.effect, parameter.group, parameter.term], rel=1e-6)
    assert len(repr(profile.profiles(likelihood, optimum)[0])) < 80


@pytest.mark.parametrize(
    ("which", "method", "said"),
    [
        (["Days"], "REML", "Days: the REML criterion is a likelihood of contrasts"),
        (["sd__Dayz"], "ML", r"no parameter is called 'sd__Dayz': sd_\(Intercept\)\|Subject, cor_"),
    ],
)
def test_what_has_no_profile_is_refused_with_the_reason(which, method, said):
    """A fixed effect under REML, and what is not a parameter."""
    with pytest.raises(ProfileError, match=said):
        profile.profiles(*of("sleepstudy-random_slope", method), which=which)


def test_values_and_levels_that_there_are_not_are_refused():
    """A negative deviation, a correlation beyond one, a level of one, an unknown scale."""
    likelihood, optimum = of("sleepstudy-random_slope")
    deviation, correlation, sigma = profile.profiles(
        likelihood, optimum, ["sd_(Intercept)|Subject", CORRELATION, "sigma"]
    )
    for made, value in ((deviation, -1.0), (correlation, 1.5), (sigma, -2.0), (sigma, np.nan)):
        with pytest.raises(ProfileError, match="is not a value that it can have"):
            made.zeta(value)
    with pytest.raises(ProfileError, match="level 1.0"):
        sigma.interval(1.0)
    with pytest.raises(ProfileError, match="one of sd, variance"):
        profile.profiles(likelihood, optimum, scale="log")


def test_an_optimum_that_is_none_is_refused():
    """Estimates from which a search finds a larger log-likelihood are found out, as by lme4's profile."""
    likelihood, optimum = of("sleepstudy-random_slope")
    short = changed(optimum, residual_variance=2 * optimum.residual_variance, loglik=optimum.loglik - 5)
    said = r"sd_\(Intercept\)\|Subject: the log-likelihood is -875.9.* where the optimum is said to have"
    with pytest.raises(ProfileError, match=said):
        profile.profiles(likelihood, short)
