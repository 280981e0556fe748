"""Standard errors and tests: what MixedLM states of a fit, in the model's coding."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np

from concord.engines.fit import Fit
from concord.engines.statements import ErrorOfVariance, Statement, Test, Uncertainty, permutation
from concord.engines.statsmodels.result import as_fitted, layout, results_of
from concord.likelihood.likelihood import Likelihood


@dataclass(frozen=True, eq=False)
class Summary:
    """What MixedLM's result states of its estimates.

    Attributes
    ----------
    conditional : standard errors from the fixed effects' block of minus its Hessian, shape (p,)
    z, p : its tests, shape (p,), NaN where its coding is another
    printed : what it prints as standard errors of variances and covariances, in the order of `Fit.estimates` without
        the residual one, NaN for a combination of several
    raises : what ``bse_re`` raises
    """

    conditional: np.ndarray
    z: np.ndarray
    p: np.ndarray
    printed: np.ndarray
    raises: str


def summary(fit: Fit) -> Summary:
    """What MixedLM's result states; to be asked where the fit is."""
    results = results_of(fit)
    back, places = layout(fit.native, fit.model)
    p = len(back)
    with as_fitted(results) as model:
        hessian = np.asarray(model.hessian(results.params_object)[0])
    block = np.linalg.inv(-hessian[:p, :p])
    with warnings.catch_warnings(), np.errstate(invalid="ignore", divide="ignore"):
        warnings.simplefilter("ignore")  # of a variance's t, which is not asked for
        z, p_values = np.asarray(results.tvalues)[:p], np.asarray(results.pvalues)[:p]
        in_unit, raises = np.asarray(results.bse_re), ""
        try:
            _ = fit.native.bse_re
        except ValueError as error:
            # It names variance components by the random effects' names; its summary prints the numbers all the same.
            raises = f"bse_re raises {type(error).__name__}: {error}"
    printed = [np.nan if place is None else abs(place[1]) * in_unit[place[0]] for place in places]
    order = permutation(back)
    nothing = np.full(p, np.nan)
    return Summary(
        conditional=np.sqrt(np.diag(back @ block @ back.T)),
        z=nothing if order is None else z[order],
        p=nothing if order is None else p_values[order],
        printed=np.array(printed),
        raises=raises,
    )


def uncertainty(fit: Fit, likelihood: Likelihood, lost: float) -> Uncertainty:
    """MixedLM's standard errors and tests; see `concord.engines.statements`."""
    said: Summary = fit.ask(summary)
    none = ["its Hessian is not negative definite: it gives none" if np.isnan(error) else "" for error in fit.std_error]
    profiled_out = "its likelihood has the residual variance profiled out: it has no error of it"
    test = Test(
        kind="z",
        statistic=Statement(said.z, "z_joint"),
        df=Statement(why="it states z, by the normal distribution: there are no degrees of freedom"),
        p=Statement(said.p, "p_normal"),
        std_error=Statement(fit.std_error),
    )
    printed = ErrorOfVariance(
        np.append(said.printed, np.nan),
        "error_of_ratio",
        [*[""] * len(said.printed), profiled_out],
        parameters="ratios",
    )
    return Uncertainty(
        Statement(fit.std_error, "joint_information", none),
        Statement(said.conditional),
        Statement(fit.std_error, why=none),
        (printed,),
        (test,),
    )
