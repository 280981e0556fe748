"""R's nlme, the arbiter: a third implementation of the same model, where it can express it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from concord import r
from concord.arrays import Matrix, Vector
from concord.engines import engine
from concord.engines.engine import EngineError
from concord.engines.fit import Fit
from concord.engines.tuning import as_model, check, tuned
from concord.models import syntax
from concord.models.coding import same_numbers
from concord.models.model import Model
from concord.models.nesting import levels
from concord.models.parameters import RANDOM_EFFECTS, Parameters
from concord.vocabulary import SETTINGS

_R = Path(__file__).with_name("fit.R")


@dataclass(frozen=True, eq=False)
class Grouping:
    """One level of grouping in an lme fit: for every row the group's name, and the effects' names and covariances."""

    groups: list[str]
    columns: list[str]
    covariance: Matrix


@dataclass(frozen=True, eq=False)
class Described:
    """What an lme fit holds.

    Attributes
    ----------
    reml, loglik : whether it is by REML, and its log-likelihood
    names, fixed, std_error : the fixed effects, shapes (p,)
    y, expected : the response and what the fixed effects make of it, shapes (n,)
    levels : the levels of grouping, outermost first
    weights : the inverses of the residuals' variances relative to `sigma2`, shape (n,)
    plain : whether the residuals are uncorrelated
    sigma2 : variance of the residuals
    call : the call that made it
    """

    reml: bool
    loglik: float
    names: list[str]
    fixed: Vector
    std_error: Vector
    y: Vector
    expected: Vector
    levels: list[Grouping]
    weights: Vector
    plain: bool
    sigma2: float
    call: str


@dataclass(frozen=True, eq=False)
class RandomEffects:
    """The random effects of one level of grouping: a row a group, a column an effect."""

    level: list[str]
    term: list[str]
    estimate: Matrix


def fit(model: Model, settings: str = "default") -> Fit:
    """Fit a model by lme.

    Parameters
    ----------
    model : what to fit
    settings : ``default``, as the package ships; or ``tuned``, the best of its two optimizers, from scratch

    Raises
    ------
    CannotExpress : lme has no way to write the model down, or none that is written here: crossed grouping factors
    RError : R or nlme is missing
    EngineError : lme stopped with an error, or gave nothing that can be used
    """
    if settings not in SETTINGS:
        raise ValueError(f"settings {settings!r}: one of {', '.join(SETTINGS)}")
    if settings == "default":
        return _run(model, None)
    optimizers = dict.fromkeys(r.texts(r.call("names", _room()["controls"])))
    return tuned(model, optimizers, lambda name, _: _run(model, name))


def call(model: Model, optimizer: str | None = None) -> str:
    """The code that fits the model, ready to paste, for a table called like the dataset.

    Raises
    ------
    CannotExpress : lme has no way to write the model down, or none that is written here
    """
    arguments = (*_form(model).arguments(), model.dataset.id, model.method, optimizer, model.formula.weights)
    return r.text(r.call(_room()["call_text"], *arguments))


def imports(model: Model) -> list[str]:
    """The lines that the code of `call` needs before it: the same for every model."""
    return ["library(nlme)"]


# nlme's classes of covariance matrices, by the structure of a term.
_KINDS = {"": "", "homcs": "pdCompSymm"}


@dataclass(frozen=True)
class _Level:
    """The random effects of one level of grouping.

    Attributes
    ----------
    terms : the numbers of the model's terms
    columns : their columns, in R's notation
    group : the grouping column, within the levels outside
    joined : the columns that it is made of, where it is not a column of the table
    kind : nlme's class of their covariance matrix, pdDiag or pdCompSymm; empty for any matrix
    """

    terms: tuple[int, ...]
    columns: str
    group: str
    joined: tuple[str, ...]
    kind: str


@dataclass(frozen=True)
class _Form:
    """What lme needs: the fixed formula, and the levels of grouping, outermost first."""

    fixed: Any
    levels: tuple[_Level, ...]

    def arguments(self) -> tuple[Any, ...]:
        """The same in R's objects."""
        joined = r.call("list", **{level.group: list(level.joined) for level in self.levels if level.joined})
        columns, groups, kinds = (
            [getattr(level, what) for level in self.levels] for what in ("columns", "group", "kind")
        )
        return self.fixed, columns, groups, kinds, joined


def _form(model: Model) -> _Form:
    formula = model.formula
    shown = " + ".join(map(str, formula.random))
    if dropped := model.design.dropped:
        raise engine.CannotExpress("nlme", f"a fixed part without {', '.join(dropped)}: it stops at a singular matrix")
    if any(term.structure not in _KINDS for term in formula.random):
        raise engine.CannotExpress("nlme", f"{formula.structured}, or not in a way that is written here")
    for name in formula.variables:
        # nlme pastes the names of variables into a text and has R run it.
        if not re.fullmatch(r"[^\W\d_][\w.]*", name) or syntax.quoted(name) == f"`{name}`" and name.isascii():
            raise engine.CannotExpress("nlme", f"the variable {name!r}, which is not a plain name")
    nested = levels(model.design)
    if nested is None:
        raise engine.CannotExpress("nlme", f"{shown} with one chain of grouping factors, each nested in the last")
    outside: set[str] = set()
    forms = []
    for terms in nested:
        trees = [formula.tree.random[i] for i in terms]
        names = [variable for variable in syntax.variables(trees[0].group) if variable not in outside]
        group = names[0] if len(names) == 1 else "_".join(names)
        outside |= set(syntax.variables(trees[0].group))
        joined = tuple(names) if len(names) > 1 else ()
        if len(terms) == 1:
            random = formula.random[terms[0]]
            forms.append(_Level(terms, random.columns, group, joined, _KINDS[random.structure]))
            continue
        if any(len(model.design.terms[i].names) > 1 or model.design.terms[i].structure for i in terms):
            raise engine.CannotExpress("nlme", f"{shown}: some effects correlated, some not, on one grouping factor")
        slopes = [":".join(map(syntax.written, tree.terms[0])) for tree in trees if tree.terms]
        columns = " + ".join(["1" if any(tree.intercept for tree in trees) else "0", *slopes])
        forms.append(_Level(terms, columns, group, joined, "pdDiag"))
    # From its text, and not by lme4, which takes longer to load than all of nlme's work here.
    response = syntax.written(formula.tree.response)
    if formula.tree.offsets:  # lme leaves them out without a word
        response = f"I({response}{''.join(f' - ({syntax.written(offset)})' for offset in formula.tree.offsets)})"
    return _Form(r.call(_room()["formula_from"], f"{response} ~ {syntax.written(formula.tree.fixed)}"), tuple(forms))


def _room() -> Any:
    r.package("nlme")
    return r.source(_R)


def _run(model: Model, optimizer: str | None) -> Fit:
    form = _form(model)
    frame = model.frame.iloc[model.design.rows][list(model.formula.variables)]
    arguments = (*form.arguments(), model.dataset.id, frame, model.method, optimizer, model.formula.weights)
    try:
        value, messages, seconds = r.call(_room()["fit"], *arguments)
    except r.RError as error:
        raise EngineError(f"lme stopped with {error}") from error
    return from_native(value, model, messages=r.texts(messages), seconds=float(seconds[0]))


def from_native(
    native: Any,
    model: Model | str,
    data: pd.DataFrame | None = None,
    *,
    settings: str = "default",
    messages: tuple[str, ...] = (),
    seconds: float = np.nan,
    call: str = "",
) -> Fit:
    """A `Fit` of what lme returned.

    lme raises where it does not converge, so a fit that it returns claims to have converged.

    Parameters
    ----------
    native : an ``lme``
    model : the model that it is a fit of, or its formula
    data : the table, with a formula
    settings, messages, seconds, call : what the object itself does not tell

    Raises
    ------
    EngineError : it is a fit of something else: by another method, on other rows, with other terms
    """
    try:
        got = described_by(native)
    except r.RError as error:
        raise EngineError(f"this is not a fit by lme that can be read: {error}") from error
    model = as_model(model, data, got.reml)
    design = model.design.as_coded
    check("lme fit", model, got.reml, got.y)
    nested = levels(design) or ((0,),)
    if len(got.levels) != len(nested):
        raise EngineError(f"the lme fit has other groups than {model.id}: {len(got.levels)} levels of grouping")
    factors = [(design.terms[i], level.groups) for terms, level in zip(nested, got.levels, strict=True) for i in terms]
    check("lme fit", model, got.reml, got.y, factors)
    if not got.plain or not same_numbers(got.weights, model.design.row_weights):
        raise EngineError("the lme fit has other weights or correlations of the residuals, which this model has not")
    columns = [[name for i in terms for name in design.terms[i].names] for terms in nested]
    same = all(sorted(level.columns) == sorted(names) for level, names in zip(got.levels, columns, strict=True))
    if sorted(got.names) != sorted(design.names) or not same:
        raise EngineError(f"the lme fit has other terms than {model.id}: it is {got.call}")
    fixed = [got.names.index(name) for name in design.names]
    if not same_numbers(got.expected, design.X @ got.fixed[fixed]):
        raise EngineError(f"the lme fit has other numbers in its fixed effects than {model.id}: another coding")
    covariances: list[Matrix] = [np.empty(0)] * len(design.terms)
    for terms, level in zip(nested, got.levels, strict=True):
        for i in terms:
            order = [level.columns.index(name) for name in design.terms[i].names]
            covariances[i] = level.covariance[np.ix_(order, order)]
    return Fit(
        model=model,
        engine="nlme",
        settings=settings,
        stated_loglik=got.loglik,
        parameters=Parameters(got.fixed[fixed], tuple(covariances), got.sigma2),
        std_error=got.std_error[fixed],
        converged=True,
        messages=messages,
        seconds=seconds,
        call=call or got.call,
        summarize=lambda: r.text(r.call(_room()["summary_text"], native)),
        predict=partial(_random_effects, native, model, [level.groups for level in got.levels]),
        native=native,
    )


def described_by(native: Any) -> Described:
    """What an lme fit holds.

    Raises
    ------
    RError : it is not an lme fit
    """
    return r.record(Described, r.call(_room()["describe"], native))


def _random_effects(native: Any, model: Model, groups: list[list[str]]) -> pd.DataFrame:
    """Without standard errors: nlme gives none."""
    tables = r.records(RandomEffects, r.call(_room()["random_effects"], native))
    rows = []
    for terms, codes, got in zip(levels(model.design) or ((0,),), groups, tables, strict=True):
        for term in (model.design.terms[i] for i in terms):
            called = dict(zip(codes, (term.levels[code] for code in term.codes), strict=True))
            for name in term.names:
                column = got.estimate[:, got.term.index(name)]
                rows += [
                    (term.group, called[level], name, float(value), np.nan)
                    for level, value in zip(got.level, column, strict=True)
                ]
    return pd.DataFrame(rows, columns=RANDOM_EFFECTS)
