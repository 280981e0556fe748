"""The relatives of a model: models of the same table and response that are special cases of it, or have it as one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from concord import r
from concord.data.datasets import ModelRecord
from concord.inference.criteria import Candidate
from concord.models import nesting
from concord.models.fixed_terms import fixed_terms
from concord.models.model import Model
from concord.models.nesting import NotNested, Restriction
from concord.models.syntax import FormulaError

_R = Path(__file__).with_suffix(".R")


def nested(model: Model) -> list[Model]:
    """Models of the same table and response, by the same method, that are special cases of a model or have it as one.

    The dataset's other models. Where none of them is a special case of it, as with a user's own formula, the model with
    one random term less or with one random effect less; the model without any is `criteria.linear`, and no `Model`.
    """
    others = [
        Model(model.dataset, name, record, model.method)
        for name, record in model.dataset.models.items()
        if record is not model.record
    ]
    relatives = [other for other in others if related(model, other)]
    if not any(relative.size < model.size for relative in relatives):
        relatives = [*(smaller for smaller in reduced(model) if related(model, smaller)), *relatives]
    return relatives


def reduced(model: Model) -> list[Model]:
    """The model with one random term less, and with one random effect less, as new formulas on the same table.

    What another effect is an interaction with is not left out before that one; an intercept is left out with the term.
    """
    formula, room = model.formula, r.source(_R)
    texts: dict[str, str] = {}
    for place, term in enumerate(formula.random):
        others = [f"({term.columns} | {term.group})" for i, term in enumerate(formula.random) if i != place]
        for columns in r.from_r(r.call(room["reduced"], term.columns)) or ():
            if columns != term.columns:
                parts = [*others[:place], f"({columns} | {term.group})", *others[place:]]
                texts.setdefault(_written(model, parts), f"({columns} | {term.group})")
        if others:
            texts.setdefault(_written(model, others), f"without ({term.columns} | {term.group})")
    models = []
    for text, name in texts.items():
        record = ModelRecord(formula=text, title=text, weights=formula.weights)
        models.append(Model(model.dataset, name, record, model.method))
    return models


@dataclass(frozen=True, eq=False)
class _Without:
    """Labels of terms, and the fixed part's text without each."""

    dropped: list[str]
    kept: list[str]


def without_terms(model: Model) -> dict[str, Model]:
    """By the term that is left out, a model without one term of its fixed effects, by ML.

    A term that another one contains is not left out before that one.
    """
    terms = fixed_terms(model)
    pairs = [(part, label) for label, parts in zip(terms.labels, terms.parts, strict=True) for part in parts]
    parts, wholes = ([one[i] for one in pairs] or [""] for i in (0, 1))
    got = r.record(_Without, r.call(r.source(_R)["without_term"], model.formula.fixed, parts, wholes))
    random = [str(term) for term in model.formula.random]
    smaller = {}
    for label, fixed in zip(got.dropped, got.kept, strict=True):
        text = f"{model.formula.response} ~ {' + '.join([fixed, *random])}"
        record = ModelRecord(formula=text, title=text, weights=model.record.weights)
        without = Model(model.dataset, f"without {label}", record, "ML")
        # A term that others make up is not tested by leaving it out.
        if 0 < without.design.X.shape[1] < model.design.X.shape[1]:
            smaller[label] = without
    return smaller


def _written(model: Model, random: Sequence[str]) -> str:
    return f"{model.formula.response} ~ {' + '.join([model.formula.fixed, *random])}"


def related(model: Model, other: Model) -> bool:
    """Whether one of two models is a special case of the other, and not the same."""
    try:
        restricted = restriction(model, other)
    except (NotNested, FormulaError):
        return False
    return bool(restricted.fixed or restricted.random)


def restriction(model: Model, other: Model) -> Restriction:
    """What the smaller of two models holds fixed of the larger.

    Raises
    ------
    NotNested : neither is a special case of the other
    FormulaError : one of them has no design
    """
    null, alternative = sorted((model, other), key=lambda one_model: one_model.size)
    return nesting.restriction(null.design, alternative.design)


def candidate(model: Model, loglik: float) -> Candidate:
    """A model at estimates of this log-likelihood, ready for a test."""
    return Candidate(model.name, model.design, model.reml, loglik, model.formula.text)
