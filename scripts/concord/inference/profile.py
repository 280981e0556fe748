"""Profile likelihoods of a model's parameters, and of what lme4 and MixedLM profile, with the intervals that follow.

The profile of one parameter is a `profile_curve.Profile`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from concord.inference import profile_coordinates
from concord.inference.profile_coordinates import Coordinates
from concord.inference.profile_curve import Parameter, Profile, ProfileError
from concord.likelihood.likelihood import Likelihood
from concord.likelihood.optimum import Optimum
from concord.models.design import Design
from concord.models.parameters import ZERO, Parameters

SCALES = ("sd", "variance")


def parameters(design: Design, scale: str = "sd") -> list[Parameter]:
    """Every parameter of a model: of each term's factor column by column, the terms with most groups first; then sigma,
    then the fixed effects.

    Parameters
    ----------
    design : the model in numbers
    scale : ``sd``, standard deviations and correlations, as lme4's `profile` has them; or ``variance``, variances and
        covariances. A variance has the standard deviation's profile with squared values; a covariance has its own.
    """
    if scale not in SCALES:
        raise ProfileError(f"scale {scale!r}: one of {', '.join(SCALES)}")
    squared = scale == "variance"
    deviation, both = ("var", "cov") if squared else ("sd", "cor")
    listed: list[Parameter] = []
    for number in _order(design):
        term = design.terms[number]
        for j, first in enumerate(term.names):
            for i, second in enumerate(term.names[j:], j):
                if i == j:
                    label, name, make = f"sd_{first}", f"{deviation}__{first}", _deviation(number, j, squared)
                else:
                    label, name = f"cor_{second}.{first}", f"{both}__{first}.{second}"
                    make = _pair(number, j, i, squared)
                listed.append(Parameter("ran_pars", term.group, name, f"{label}|{term.group}", make))
    listed.append(Parameter("ran_pars", "Residual", f"{deviation}__Observation", "sigma", _residual(squared)))
    for index, name in enumerate(design.names):
        listed.append(Parameter("fixed", "", name, name, _fixed(index)))
    return listed


def profiles(
    likelihood: Likelihood, optimum: Optimum | None = None, which: Iterable[str] | None = None, scale: str = "sd"
) -> list[Profile]:
    """The profiles of a model's parameters.

    Parameters
    ----------
    likelihood : the ML deviance, which lme4's profiles are of whatever the fit; or the REML criterion
    optimum : where it is largest; by default it is looked for
    which : labels or terms; by default all parameters, under REML those that are not fixed effects
    scale : see `parameters`

    Raises
    ------
    ProfileError : a fixed effect is asked for under REML; there is no such parameter; a correlation is asked for
        where a standard deviation is zero; or the optimum given is not an optimum
    LikelihoodError : no optimum was found
    """
    optimum = optimum or likelihood.optimum()
    every = parameters(likelihood.design, scale)
    if which is None:
        chosen = [parameter for parameter in every if parameter.effect != "fixed" or not likelihood.reml]
        chosen = [parameter for parameter in chosen if not _undefined(parameter, likelihood, optimum)]
    else:
        chosen = []
        for name in which:
            named = [parameter for parameter in every if name in (parameter.label, parameter.term)]
            if not named:
                raise ProfileError(
                    f"no parameter is called {name!r}: {', '.join(parameter.label for parameter in every)}"
                )
            chosen += named
    for parameter in chosen:
        if likelihood.reml and parameter.effect == "fixed":
            raise ProfileError(
                f"{parameter.label}: the REML criterion is a likelihood of contrasts that are free of the fixed "
                "effects, so it has no profile of one; take ML, as lme4's profile does"
            )
        if _undefined(parameter, likelihood, optimum):
            raise ProfileError(
                f"{parameter.label}: at the optimum a standard deviation is zero, and no correlation defined"
            )
    return [Profile(parameter, likelihood, optimum) for parameter in chosen]


def ratio_profile(likelihood: Likelihood, term: int = 0, index: int = 0, optimum: Optimum | None = None) -> Profile:
    """The profile of the ratio of a variance to the residual one, which is what MixedLM's `profile_re` holds.

    Parameters
    ----------
    term, index : the random term and the effect in it, counted from 0
    """

    def make(likelihood: Likelihood, at: Parameters) -> Coordinates:
        return profile_coordinates.ratio(likelihood, at, term, index)

    factor = likelihood.design.terms[term]
    name = f"ratio__{factor.names[index]}"
    parameter = Parameter("ran_pars", factor.group, name, name, make)
    return Profile(parameter, likelihood, optimum or likelihood.optimum())


def _order(design: Design) -> list[int]:
    """The terms by falling numbers of levels: as they are if these do not rise."""
    levels = np.array([len(term.levels) for term in design.terms])
    order = np.arange(len(levels))
    if (np.diff(levels) > 0).any():
        order = np.argsort(levels, kind="stable")[::-1]
    return [int(place) for place in order]


def _undefined(parameter: Parameter, likelihood: Likelihood, optimum: Optimum) -> bool:
    """Whether it is a correlation or covariance beside a variance of zero."""
    if not parameter.term.startswith(("cor__", "cov__")):
        return False
    design = likelihood.design
    for term, shares in zip(design.terms, optimum.parameters.shares(design), strict=True):
        for i, second in enumerate(term.names):
            for j, first in enumerate(term.names[:i]):
                if (parameter.group, parameter.term[5:]) == (term.group, f"{first}.{second}"):
                    return bool(min(shares[i], shares[j]) < ZERO)
    return False


def _deviation(term: int, index: int, squared: bool) -> Callable[[Likelihood, Parameters], Coordinates]:
    def make(likelihood: Likelihood, at: Parameters) -> Coordinates:
        coordinates = profile_coordinates.deviation(likelihood, at, term, index)
        return profile_coordinates.squared(coordinates) if squared else coordinates

    return make


def _pair(term: int, first: int, second: int, squared: bool) -> Callable[[Likelihood, Parameters], Coordinates]:
    kind = profile_coordinates.covariance if squared else profile_coordinates.correlation

    def make(likelihood: Likelihood, at: Parameters) -> Coordinates:
        return kind(likelihood, at, term, first, second)

    return make


def _residual(squared: bool) -> Callable[[Likelihood, Parameters], Coordinates]:
    def make(likelihood: Likelihood, at: Parameters) -> Coordinates:
        coordinates = profile_coordinates.residual_deviation(likelihood, at)
        return profile_coordinates.squared(coordinates) if squared else coordinates

    return make


def _fixed(index: int) -> Callable[[Likelihood, Parameters], Coordinates]:
    def make(likelihood: Likelihood, at: Parameters) -> Coordinates:
        return profile_coordinates.fixed_effect(likelihood, at, index)

    return make
