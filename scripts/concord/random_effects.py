"""What fits predict, line by line: random effects and their conditional covariances, fitted values and residuals,
predictions for new rows, and the variance explained.

Every package's statements are its own functions' (``random_effects_cov``, ``ranef``, ``fitted``, ``predict``, ...),
asked where its result is; beside each stands what the mixed-model equations give at that package's estimates
(`concord.prediction`), in the order of the model's terms, levels and rows.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from concord import r
from concord.agreement import Comparison
from concord.coding import between, same_groups
from concord.engines import lme4
from concord.fits import Fit
from concord.formulas import Design, DesignTerm
from concord.models import Model
from concord.prediction import Solution, new_rows
from concord.quantities import INDEPENDENT, Line
from concord.reference import parameters
from concord.translation import for_mixedlm, levels

SECTIONS = ("random effects", "fitted values", "predictions", "explained variance")

# One of two effects of a level: the number of its term, and of its column there.
Effect = tuple[int, int]

_R = Path(__file__).with_suffix(".R")

_ONLY_FIXED = "predict() of MixedLM knows the fixed effects only"
_NO_SPREAD = "nlme gives no conditional variances of random effects"


# ---- what a package says --------------------------------------------------------------------------------------------


class _Nothing(Exception):
    """That a package says nothing of something, and why."""


@dataclass(frozen=True)
class Said:
    """What a package says of one fit.

    Attributes
    ----------
    values : by name, in the model's order: ``random`` (a table as `Fit.random_effects`), ``conditional`` (by pair of
        effects of one level, shape (levels,)), ``standardized`` (by effect, shape (levels,)), ``fitted``,
        ``fitted_fixed``, ``predicted``, ``residual``, ``pearson``, ``scaled`` (a number a row), ``new_fixed``, ``new``
        (a number a new row), ``variances`` (a dict of ``fixed, random, residual``)
    absent : by name, why it says nothing
    """

    values: Mapping[str, Any] = field(default_factory=dict)
    absent: Mapping[str, str] = field(default_factory=dict)


def said(fit: Fit, new: pd.DataFrame) -> Said:
    """What the package says; a question for `Fit.ask`.

    Parameters
    ----------
    fit : with the package's own result
    new : new rows, as `new_table` makes them
    """
    values: dict[str, Any] = {}
    absent: dict[str, str] = {}
    for names, question in _QUESTIONS[fit.engine]:
        if isinstance(question, str):
            absent |= dict.fromkeys(names, question)
            continue
        try:
            got = question(fit, new)
        except _Nothing as reason:
            absent |= dict.fromkeys(names, str(reason))
            continue
        except Exception as error:  # whatever a package stops with is what it has to say
            first = (str(error).strip().splitlines() or [type(error).__name__])[0]
            absent |= dict.fromkeys(names, f"it stopped with: {first}")
            continue
        values |= got if isinstance(got, dict) and names != ("conditional",) else {names[0]: got}
    return Said(values, absent)


def _asked(name: str, *more: str) -> Callable[[Fit, pd.DataFrame], Any]:
    """An R function of a native fit; `more` are what lme4's own file has and the function needs."""

    def question(fit: Fit, new: pd.DataFrame) -> Any:
        arguments = [r.source(Path(lme4.__file__).with_suffix(".R"))[each] for each in more]
        if name.endswith("_new"):
            arguments.append(new)
        return r.from_r(r.call(r.source(_R)[name], fit.native, *arguments))

    return question


def _random(fit: Fit, new: pd.DataFrame) -> pd.DataFrame:
    if fit.engine == "mixedlm":
        # Where it cannot predict it says why; its covariances, which the table holds too, stop there without a reason.
        _ = fit.native.random_effects
    return fit.random_effects


def _of_whole_rows(question: Callable[[Fit, pd.DataFrame], Any]) -> Callable[[Fit, pd.DataFrame], Any]:
    """Predictions for the rows that have all predictors, and missing numbers for the others, which some packages drop
    without a word.
    """

    def asked(fit: Fit, new: pd.DataFrame) -> Any:
        uses = fit.model.formula.uses
        whole = new[[name for name in new if "predictor" in uses.get(name, ())]].notna().all(axis=1).to_numpy()
        if not whole.any():
            raise _Nothing("every new row lacks a predictor")
        got = question(fit, new[whole].reset_index(drop=True))
        return {name: _spread(values, whole) for name, values in got.items()}

    return asked


def _spread(values: np.ndarray, whole: np.ndarray) -> np.ndarray:
    all_rows = np.full(len(whole), np.nan)
    all_rows[whole] = values
    return all_rows


def _variances_of(name: str, *more: str) -> Callable[[Fit, pd.DataFrame], Any]:
    def question(fit: Fit, new: pd.DataFrame) -> Any:
        return {"variances": {part: float(value[0]) for part, value in _asked(name, *more)(fit, new).items()}}

    return question


# -- lme4


def _lme4_conditional(fit: Fit, new: pd.DataFrame) -> dict[tuple[Effect, Effect], np.ndarray]:
    """Within every term; in the model's coding."""
    got = _asked("lme4_conditional", "columns_of")(fit, new)
    found, left = {}, list(range(len(got["groups"])))
    for t, term in enumerate(fit.model.design.terms):
        for place in left:
            matrix = np.asarray(got["matrices"][place]).reshape(len(term.codes), -1)
            back = between(matrix, term.matrix)
            if back is not None and same_groups(got["codes"][place], term.codes):
                break
        else:
            raise _Nothing(f"the lmer fit has no term ({', '.join(term.names)} | {term.group})")
        left.remove(place)
        codes = np.asarray(got["codes"][place], int) - 1
        spread = np.moveaxis(np.asarray(got["spreads"][place]), 2, 0)[codes[_first_rows(term)]]
        found |= _pairs([(t, j) for j in range(len(term.names))], back @ spread @ back.T)
    return found


# -- MixedLM


def _mixedlm_conditional(fit: Fit, new: pd.DataFrame) -> dict[tuple[Effect, Effect], np.ndarray]:
    """Of the correlated effects with each other, in the model's coding; of variance components, each alone."""
    design, results = fit.model.design, getattr(fit.native, "_results", fit.native)
    made, spreads = results.model, results.random_effects_cov
    found: dict[tuple[Effect, Effect], np.ndarray] = {}
    table = fit.random_effects
    for effect, errors in _by_effect(table, design, "std_error").items():
        found[effect, effect] = errors**2
    if made.k_re:
        given = np.asarray(made.exog_re).reshape(len(design.y), -1)
        candidates = [t for t, term in enumerate(design.terms) if same_groups(made.groups, term.codes)]
        for terms in _subsets(candidates):
            columns = np.column_stack([design.terms[t].matrix for t in terms])
            back = between(given, columns)
            if back is not None:
                labels = np.asarray(made.groups)[_first_rows(design.terms[terms[0]])]
                here = slice(0, made.k_re)
                spread = np.stack([np.asarray(spreads[label])[here, here] for label in labels])
                effects = [(t, j) for t in terms for j in range(len(design.terms[t].names))]
                found |= _pairs(effects, back @ spread @ back.T)
                break
    return found


def _mixedlm_new(fit: Fit, new: pd.DataFrame) -> dict[str, np.ndarray]:
    made = getattr(fit.native, "_results", fit.native).model
    if not hasattr(made, "formula"):
        raise _Nothing("MixedLM, fitted from arrays, has no formula to make columns of new rows with")
    form = for_mixedlm(fit.model.formula, fit.model.design, fit.model.frame)
    if not form.setup:
        return {"new_fixed": np.asarray(fit.native.predict(new), float)}
    if {"scale", "poly"} & set(fit.model.formula.functions):
        raise _Nothing("MixedLM was given scale() or poly() as columns that were made of the whole table before")
    # The steps keep rows and levels of the table that was fitted: the new rows are put below it, and taken off again.
    frame = fit.model.frame
    below = new.assign(**{name: frame[name].iloc[fit.model.design.rows[0]] for name in set(frame) - set(new)})
    data = pd.concat([frame, below[list(frame)]], ignore_index=True)
    for name in new:
        if isinstance(new[name].dtype, pd.CategoricalDtype) and "predictor" in fit.model.formula.uses[name]:
            data[name] = data[name].astype(frame[name].dtype)
    room = {"np": np, "data": data}
    exec("\n".join(form.setup), room)  # written by `concord.notation` from the checked tree, as in the engine
    return {"new_fixed": np.asarray(fit.native.predict(room["data"].tail(len(new))), float)}


def _mixedlm_variances(fit: Fit, new: pd.DataFrame) -> dict[str, Any]:
    results = getattr(fit.native, "_results", fit.native)
    made = results.model
    n, random = len(made.endog), 0.0
    if made.k_re:
        given = np.asarray(made.exog_re).reshape(n, -1)
        random += float(np.einsum("ij,jk,ik->", given, np.asarray(results.cov_re), given)) / n
    for variance, matrices in zip(results.vcomp, made.exog_vc.mats, strict=True):
        squares = (each.power(2) if hasattr(each, "power") else np.asarray(each) ** 2 for each in matrices)
        random += float(variance) * sum(float(each.sum()) for each in squares) / n
    fixed = float(np.var(np.asarray(made.exog) @ np.asarray(results.fe_params), ddof=1))
    return {"variances": {"fixed": fixed, "random": random, "residual": float(results.scale)}}


# -- nlme


def _nlme_standardized(fit: Fit, new: pd.DataFrame) -> dict[str, Any]:
    """As the engine has the random effects themselves: by the names that nlme has for its groups."""
    design, found = fit.model.design, {}
    got = _asked("nlme_standardized")(fit, new)
    groups = r.from_r(r.call(r.source(Path(lme4.__file__).with_name("nlme.R"))["describe"], fit.native))["groups"]
    for terms, table, names in zip(levels(design) or ((0,),), got, groups, strict=True):
        for t in terms:
            term = design.terms[t]
            places = [table["level"].index(names[row]) for row in _first_rows(term)]
            for j, name in enumerate(term.names):
                found[t, j] = table["estimate"][places, table["term"].index(name)]
    return {"standardized": found}


def _value(name: str) -> Callable[[Fit, pd.DataFrame], np.ndarray]:
    return lambda fit, new: np.asarray(getattr(fit.native, name), float)


_ROWS = ("fitted", "fitted_fixed", "predicted", "residual", "pearson", "scaled")
_QUESTIONS: dict[str, list[tuple[tuple[str, ...], Callable[[Fit, pd.DataFrame], Any] | str]]] = {
    "mixedlm": [
        (("random",), _random),
        (("conditional",), _mixedlm_conditional),
        (("standardized",), "MixedLM has no standardized random effects"),
        (("fitted",), _value("fittedvalues")),
        (("fitted_fixed",), lambda fit, new: np.asarray(fit.native.predict(), float)),
        (("predicted",), lambda fit, new: np.asarray(fit.native.predict(), float)),
        (("residual",), _value("resid")),
        (("pearson", "scaled"), "MixedLM has raw residuals only"),
        (("new_fixed",), _of_whole_rows(_mixedlm_new)),
        (("new",), _ONLY_FIXED),
        (("variances",), _mixedlm_variances),
    ],
    "lme4": [
        (("random",), _random),
        (("conditional",), _lme4_conditional),
        (("standardized",), "lme4 has no standardized random effects"),
        (_ROWS, _asked("lme4_rows")),
        (("new_fixed", "new"), _of_whole_rows(_asked("lme4_new"))),
        (("variances",), _variances_of("lme4_variances", "columns_of")),
    ],
    "nlme": [
        (("random",), _random),
        (("conditional",), _NO_SPREAD),
        (("standardized",), _nlme_standardized),
        (_ROWS, _asked("nlme_rows")),
        (("new_fixed", "new"), _of_whole_rows(_asked("nlme_new"))),
        (("variances",), _variances_of("nlme_variances")),
    ],
}


def _first_rows(term: DesignTerm) -> np.ndarray:
    """For every level a row that belongs to it."""
    return np.unique(term.codes, return_index=True)[1]


def _subsets(items: Sequence[int]) -> list[tuple[int, ...]]:
    return [each for size in range(1, len(items) + 1) for each in itertools.combinations(items, size)]


def _pairs(effects: Sequence[Effect], matrices: np.ndarray) -> dict[tuple[Effect, Effect], np.ndarray]:
    """The entries of covariance matrices, shape (levels, w, w), by pair of effects."""
    every = itertools.combinations_with_replacement(enumerate(effects), 2)
    return {(one, other): matrices[:, a, b] for (a, one), (b, other) in every}


def _by_effect(table: pd.DataFrame, design: Design, column: str) -> dict[Effect, np.ndarray]:
    """A column of a table of random effects, for every effect in the order of its levels."""
    found = {}
    for t, term in enumerate(design.terms):
        for j, name in enumerate(term.names):
            mine = table[(table["group"] == term.group) & (table["term"] == name)]
            found[t, j] = mine.set_index("level")[column].reindex(list(term.levels)).to_numpy(float)
    return found


# ---- new rows -------------------------------------------------------------------------------------------------------


def new_table(model: Model) -> pd.DataFrame:
    """New rows to predict at: the first row of one level and the last of the next, and the same of unknown levels.

    Columns that only group get a level that is not in the table; a column that is a predictor too keeps its own, for no
    package predicts at an unknown level of a predictor. The response is left out.

    Returns
    -------
    pandas.DataFrame : two to four rows, all columns of the formula but the response
    """
    uses, design = model.formula.uses, model.design
    codes = design.terms[0].codes
    others = codes[codes != codes[0]][:1]
    chosen = design.rows[[0, *(np.flatnonzero(codes == other)[-1] for other in others)]]
    names = [name for name in model.formula.variables if uses[name] != {"response"}]
    known = model.frame[names].iloc[chosen].reset_index(drop=True)
    unknown = known.copy()
    for name in names:
        if uses[name] == {"group"}:
            known[name], unknown[name] = _beyond(model.frame[name], known[name])
    return pd.concat([known, unknown], ignore_index=True)


def _beyond(column: pd.Series, known: pd.Series) -> tuple[pd.Series, pd.Series]:
    """Some of a column's values, and as many of a level that it does not have, in one type."""
    if isinstance(column.dtype, pd.CategoricalDtype):
        fresh = _unheard({str(level) for level in column.cat.categories})
        both = pd.CategoricalDtype([*map(str, column.cat.categories), fresh])
        return known.astype(str).astype(both), pd.Series([fresh] * len(known), dtype=both)
    if pd.api.types.is_numeric_dtype(column.dtype) and not pd.api.types.is_bool_dtype(column.dtype):
        return known, pd.Series([column.max() + 1] * len(known), dtype=column.dtype)
    if pd.api.types.is_bool_dtype(column.dtype):
        return known.map({True: "TRUE", False: "FALSE"}), pd.Series(["new"] * len(known))
    return known, pd.Series([_unheard(set(column.dropna().map(str)))] * len(known), dtype=known.dtype)


def _unheard(levels: set[str]) -> str:
    name, count = "new", 1
    while name in levels:
        name, count = f"new {count + 1}", count + 1
    return name


# ---- the lines ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Source:
    """One fit of a comparison: what its package says, and the solution at its estimates."""

    label: str
    fit: Fit
    said: Said
    solution: Solution


class _Sources:
    """All fits of a comparison that can be asked, and why the others cannot."""

    def __init__(self, comparison: Comparison, new: pd.DataFrame) -> None:
        self.all: list[_Source] = []
        self.absent = {each.engine: f"no fit: {each.reason}" for each in comparison.absent}
        for label, fit in zip(comparison.labels, comparison.fits, strict=True):
            if fit.violation:
                self.absent[label] = f"its fit is of another model: {fit.violation}"
                continue
            try:
                solution = Solution.of(fit)
            except ValueError as error:
                self.absent[label] = f"its estimates are no parameters of the model: {error}"
                continue
            self.all.append(_Source(label, fit, fit.ask(said, new), solution))
        self.short = comparison.apart

    def line(
        self,
        section: str,
        quantity: str,
        tolerance: str,
        given: Callable[[Said], Any],
        name: str,
        expected: Callable[[_Source], Any],
        definition: Callable[[_Source], str | None] = lambda source: None,
        otherwise: Mapping[str, str] | None = None,
        **more: Any,
    ) -> list[Line]:
        """The line of what every package says by one name; none where nobody says it.

        Parameters
        ----------
        given : takes it out of what a package says; None where it does not say this part
        name : its name in `Said`
        expected : the solution's at a source's estimates, by that source's definition
        definition : a source's definition, where it is not the common one
        otherwise : by engine, why it says nothing here, where that is not what it said itself
        """
        values, wanted, definitions, absent = {}, {}, {}, dict(self.absent)
        for source in self.all:
            value = given(source.said) if name in source.said.values else None
            if value is None:
                why = source.said.absent.get(name, f"{source.fit.engine} does not give it")
                absent[source.label] = (otherwise or {}).get(source.fit.engine, why)
                continue
            values[source.label], wanted[source.label] = value, expected(source)
            named = definition(source)
            if named:
                definitions[source.label] = named
        if not values:
            return []
        made = Line(section, quantity, tolerance, values, definitions, wanted, absent=absent, short=self.short, **more)
        return [made]


def lines(comparison: Comparison, new: pd.DataFrame | None = None) -> list[Line]:
    """Everything that the fits of one model predict.

    Parameters
    ----------
    comparison : fits of one model
    new : new rows to predict at; by default `new_table`

    Returns
    -------
    list of Line : sections ``random effects``, ``fitted values``, ``predictions`` and ``explained variance``
    """
    new = new_table(comparison.model) if new is None else new
    sources = _Sources(comparison, new)
    if not sources.all:
        return []
    found = _effect_lines(sources, comparison.model.design)
    found += _row_lines(sources, comparison.model.design)
    found += _new_lines(sources, comparison.model, new)
    return found + _variance_lines(sources, comparison)


def _effect_lines(sources: _Sources, design: Design) -> list[Line]:
    section, found = SECTIONS[0], []
    units = {effect: unit(design, effect, _deviation(sources) ** 2) for effect in _effects(design)}
    for t, j in units:
        of = {"effect": "ran_vals", "group": design.terms[t].group, "term": design.terms[t].names[j]}
        found += sources.line(
            section, "predicted effects", "random_effect",
            lambda each, t=t, j=j: _by_effect(each.values["random"], design, "estimate")[t, j], "random",
            lambda source, t=t, j=j: source.solution.modes[t][:, j], scale=units[t, j], **of,
        )  # fmt: skip
    wanted = [_conditional(source.solution) for source in sources.all]
    expected = {source.label: each for source, each in zip(sources.all, wanted, strict=True)}
    for one, other in wanted[0]:
        first, second = (design.terms[t].names[j] for t, j in (one, other))
        same = one == other
        found += sources.line(
            section, "conditional variances" if same else "conditional covariances", "conditional_variance",
            lambda each, pair=(one, other): each.values["conditional"].get(pair), "conditional",
            lambda source, pair=(one, other): expected[source.label][pair],
            effect="ran_vals", group=design.terms[one[0]].group, term=first if same else f"{first}.{second}",
            scale=units[one] * units[other],
            otherwise={
                "lme4": "ranef() of lme4 has the covariances within a term only",
                "mixedlm": "random_effects_cov of MixedLM, of a variance component, is taken for its variances only",
            } if one[0] != other[0] else {},
        )  # fmt: skip
    for t, j in units:
        of = {"effect": "ran_vals", "group": design.terms[t].group, "term": design.terms[t].names[j]}
        if all(source.fit.covariances[t][j, j] > 0 for source in sources.all if source.fit.engine == "nlme"):
            found += sources.line(
                section, "standardized effects", "standardized_effect",
                lambda each, t=t, j=j: each.values["standardized"][t, j], "standardized",
                lambda source, t=t, j=j: source.solution.modes[t][:, j] / np.sqrt(source.fit.covariances[t][j, j]),
                lambda source: "standardized_by_deviation", **of,
            )  # fmt: skip
    return found


def _effects(design: Design) -> list[Effect]:
    return [(t, j) for t, term in enumerate(design.terms) for j in range(len(term.names))]


def unit(design: Design, effect: Effect, residual_variance: float) -> float:
    """How large an effect is that moves the response by one residual standard deviation, in the mean square over rows.

    What is small beside it is small whatever the effect's units, and also where its variance is zero.
    """
    column = design.terms[effect[0]].matrix[:, effect[1]]
    return float(np.sqrt(residual_variance / np.mean(column**2)))


def _conditional(solution: Solution) -> dict[tuple[Effect, Effect], np.ndarray]:
    """The solution's conditional covariances by pair of effects of one level, shape (levels,)."""
    found = {}
    for terms, given, _ in solution.by_group:
        found |= _pairs([(t, j) for t in terms for j in range(len(solution.design.terms[t].names))], given)
    return dict(sorted(found.items(), key=lambda each: (each[0][0] != each[0][1], each[0])))


_WITHOUT_OFFSET = ("mixedlm", "nlme")
"""Engines that have no offsets, and are given the response less its offset."""


def _row_lines(sources: _Sources, design: Design) -> list[Line]:
    deviation = _deviation(sources)
    offset = np.zeros(len(design.y)) if design.offset is None else design.offset

    def without(source: _Source) -> bool:
        return design.offset is not None and source.fit.engine in _WITHOUT_OFFSET

    def marginal(source: _Source) -> np.ndarray:
        return design.X @ source.fit.fixed + (0.0 if without(source) else offset)

    def conditional(source: _Source) -> np.ndarray:
        return source.solution.fitted - (offset if without(source) else 0.0)

    def predicted(source: _Source) -> np.ndarray:
        return (marginal if source.fit.engine == "mixedlm" else conditional)(source)

    def residual(source: _Source) -> np.ndarray:
        return source.solution.residuals

    def scaled(source: _Source) -> np.ndarray:
        return source.solution.residuals / np.sqrt(source.fit.residual_variance)

    def pearson(source: _Source) -> np.ndarray:
        return (residual if source.fit.engine == "lme4" else scaled)(source)

    def common(source: _Source) -> str | None:
        return None

    def of_fitted(source: _Source) -> str | None:
        return "fitted_without_offset" if without(source) else None

    def of_predicted(source: _Source) -> str | None:
        if source.fit.engine != "mixedlm":
            return of_fitted(source)
        return "predict_fixed_without_offset" if without(source) else "predict_fixed"

    def of_pearson(source: _Source) -> str | None:
        return "pearson_not_scaled" if source.fit.engine == "lme4" else None

    found = []
    for quantity, name, expected, definition, scale in (
        ("fitted values, fixed and random effects", "fitted", conditional, of_fitted, deviation),
        ("fitted values, fixed effects only", "fitted_fixed", marginal, of_fitted, deviation),
        ("what predict() gives", "predicted", predicted, of_predicted, deviation),
        ("residuals", "residual", residual, common, deviation),
        # In units of the residual deviation, or in two different ones.
        ("residuals over their deviation", "scaled", scaled, common, np.nan),
        ("residuals called Pearson's", "pearson", pearson, of_pearson, np.nan),
    ):
        found += sources.line(
            SECTIONS[1], quantity, "fitted_value", lambda each, name=name: each.values[name], name, expected,
            definition, scale=scale,
        )  # fmt: skip
    return found


def _deviation(sources: _Sources) -> float:
    """The largest residual standard deviation of the fits."""
    return float(np.sqrt(max(each.fit.residual_variance for each in sources.all)))


def _new_lines(sources: _Sources, model: Model, new: pd.DataFrame) -> list[Line]:
    rows = new_rows(model.formula, model.design, model.frame, new)
    deviation = _deviation(sources)
    known = np.all([codes >= 0 for codes in rows.codes], axis=0)

    def expected(random: bool, which: np.ndarray) -> Callable[[_Source], np.ndarray]:
        def at(source: _Source) -> np.ndarray:
            values = source.solution.predict(rows, random, errors=False)["estimate"].to_numpy()
            return (values - (rows.offset if source.fit.engine in _WITHOUT_OFFSET else 0.0))[which]

        return at

    def meant(source: _Source) -> str | None:
        without = model.design.offset is not None and source.fit.engine in _WITHOUT_OFFSET
        return "fitted_without_offset" if without else None

    def where(which: np.ndarray, name: str) -> Callable[[Said], np.ndarray | None]:
        def of(each: Said) -> np.ndarray | None:
            values = each.values[name][which]
            return None if np.isnan(values).all() else values

        return of

    # A row that lacks a number has no prediction.
    whole = sources.all[0].solution.predict(rows, errors=False)["estimate"].notna().to_numpy()
    found = []
    for quantity, name, random, which in (
        ("predictions, fixed effects only", "new_fixed", False, whole),
        ("predictions, known levels", "new", True, whole & known),
        ("predictions, unknown levels", "new", True, whole & ~known),
    ):
        if not which.any():
            continue
        found += sources.line(
            SECTIONS[2], quantity, "fitted_value", where(which, name), name, expected(random, which), meant,
            scale=deviation,
            otherwise={"nlme": "predict() of nlme gives NA where a level is unknown"} if not known[which].any() else {},
        )  # fmt: skip
    return found


def _variance_lines(sources: _Sources, comparison: Comparison) -> list[Line]:
    """R-squared and ICC of the parts that a package's own result holds: no package computes them itself."""
    against = at_reference(comparison)
    found = []
    for place, name in enumerate(("marginal R-squared", "conditional R-squared")):
        found += sources.line(
            SECTIONS[3], name, "explained_variance", lambda each, i=place: shares(**each.values["variances"])[i],
            "variances", lambda source, i=place: source.solution.r_squared[i],
            independent=against.r_squared[place] if against else np.nan, scale=1.0,
        )  # fmt: skip
    for place, name in enumerate(("ICC, adjusted", "ICC, unadjusted")):
        found += sources.line(
            SECTIONS[3], name, "explained_variance", lambda each, i=place: shares(**each.values["variances"])[2 + i],
            "variances", lambda source, i=place: source.solution.icc[i],
            independent=against.icc[place] if against else np.nan, scale=1.0,
        )  # fmt: skip
    return found


def shares(fixed: float, random: float, residual: float) -> tuple[float, float, float, float]:
    """Marginal and conditional R-squared, adjusted and unadjusted ICC, of three variances; see `Solution.r_squared`.

    What fixed effects share without a covariate is the rounding of a constant's variance: below a double's precision of
    the total it is zero.
    """
    if fixed < np.finfo(float).eps * (random + residual):
        fixed = 0.0
    total = fixed + random + residual
    return fixed / total, (fixed + random) / total, random / (random + residual), random / total


# ---- to read --------------------------------------------------------------------------------------------------------


def at_reference(comparison: Comparison) -> Solution | None:
    """The solution at the reference's estimates; None where those are no parameters of the model."""
    design = comparison.model.design
    try:
        return Solution(design, *parameters(comparison.against.estimates, design))
    except ValueError:
        return None


def effects_table(comparison: Comparison) -> pd.DataFrame:
    """Random effects of every level from all sources, with both kinds of the independent solution's standard errors.

    Returns
    -------
    pandas.DataFrame : one row a level and term, ``group, level, term``, for every fit its estimate under its label and
        its conditional standard error under ``label, std_error``; ``independent``, the solution at the reference, with
        ``independent, std_error`` (fixed effects taken for known) and ``independent, prediction error`` (estimated)
    """
    key = ["group", "level", "term"]
    solution = at_reference(comparison)
    tables = []
    if solution:
        given, predicted = solution.random_effects(), solution.random_effects(uncertain_fixed=True)
        named = {"estimate": INDEPENDENT, "std_error": f"{INDEPENDENT}, std_error"}
        tables.append(given.rename(columns=named).set_index(key))
        tables.append(predicted.set_index(key)["std_error"].rename(f"{INDEPENDENT}, prediction error").to_frame())
    for label, fit in zip(comparison.labels, comparison.fits, strict=True):
        try:
            mine = fit.random_effects
        except Exception:  # a singular matrix, at which MixedLM predicts nothing: `lines` says so
            continue
        tables.append(mine.rename(columns={"estimate": label, "std_error": f"{label}, std_error"}).set_index(key))
    joined = pd.concat(tables, axis=1).reset_index()
    first = [name for label in comparison.labels for name in (label, f"{label}, std_error") if name in joined]
    return joined[[*key, *first, *(name for name in joined if name.startswith(INDEPENDENT))]]


def predictions_table(comparison: Comparison, new: pd.DataFrame | None = None) -> pd.DataFrame:
    """Predictions for new rows from all sources, beside the independent ones with their standard errors.

    Parameters
    ----------
    comparison : fits of one model
    new : new rows; by default `new_table`

    Returns
    -------
    pandas.DataFrame : two rows a new row, first of the fixed effects only, then with the random ones: the new row's
        columns, ``random`` (``none``, ``known``, or ``unknown`` where a level is not the model's), every fit's
        prediction under its label (missing where it gives none), ``independent`` at the reference's estimates, and
        `concord.prediction.PREDICTIONS`' three standard errors
    """
    model = comparison.model
    new = new_table(model) if new is None else new
    rows = new_rows(model.formula, model.design, model.frame, new)
    sources = _Sources(comparison, new)
    known = np.all([codes >= 0 for codes in rows.codes], axis=0)
    solution = at_reference(comparison)
    halves = []
    for name, random in (("new_fixed", False), ("new", True)):
        table = new.copy()
        table["random"] = np.where(known, "known", "unknown") if random else "none"
        for source in sources.all:
            given = np.asarray(source.said.values.get(name, np.full(len(new), np.nan)), float)
            table[source.label] = given + (rows.offset if source.fit.engine in _WITHOUT_OFFSET else 0.0)
        if solution:
            errors = solution.predict(rows, random)
            table[INDEPENDENT] = errors.pop("estimate").to_numpy()
            table[list(errors)] = errors.to_numpy()
        halves.append(table)
    return pd.concat(halves).sort_index(kind="stable").reset_index(drop=True)
