"""The reference: the optimum that fits of a model are judged against."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from concord.likelihood import Likelihood
from concord.models import Model


@dataclass(frozen=True, eq=False)
class Reference:
    """The optimum of a model, with how it is known.

    Attributes
    ----------
    likelihood : the independent likelihood that it maximises
    loglik : log-likelihood there
    estimates : one row per parameter: ``effect, group, term, estimate, std_error``
    kind : how it is known, in words
    """

    likelihood: Likelihood
    loglik: float
    estimates: pd.DataFrame
    kind: str


_known: dict[tuple[str, str], tuple[Model, Reference]] = {}


def of(model: Model) -> Reference:
    """The reference of a model: the optimum of the independent likelihood, found from several starts.

    Raises
    ------
    LikelihoodError : the model's likelihood is not defined, or no optimum was found
    """
    kept = _known.get((model.id, model.method))
    # Two tables may go by one name: what is kept serves only the very table that it was computed from.
    if kept is None or kept[0].dataset is not model.dataset or kept[0].record is not model.record:
        likelihood = Likelihood(model.design, model.reml)
        optimum = likelihood.optimum()
        found = Reference(likelihood, optimum.loglik, optimum.estimates, "optimum in double precision, several starts")
        kept = _known[model.id, model.method] = (model, found)
    return kept[1]
