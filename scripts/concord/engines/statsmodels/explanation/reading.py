"""What a call of MixedLM fits, as an lme4 formula, and what its author probably meant where that is another one.

MixedLM has one grouping factor, and evaluates every variance component within each of its groups: an effect of the
levels of ``f`` there is one of ``group:f``, whatever the author had in mind.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

import pandas as pd

from concord.engines.calls import CallError, Meant, Reading
from concord.engines.statsmodels.explanation.components import component
from concord.engines.statsmodels.explanation.draft import Draft, Term, codes_of, columns_in_r, formula_of, is_category
from concord.engines.statsmodels.explanation.free import DEAF, by_free
from concord.engines.statsmodels.explanation.notation import Terms, in_r, terms
from concord.engines.statsmodels.explanation.written_call import MixedLMCall
from concord.models.syntax import quoted

CALLED = "this call of MixedLM"


def read(call: MixedLMCall, frame: pd.DataFrame | None = None) -> Reading:
    """What a call fits.

    Parameters
    ----------
    call : the call
    frame : its table, which tells numbers from categories and whether factors are nested; None where there is none

    Raises
    ------
    CallError : a formula of it cannot be read, or names a column that the table does not have
    """
    if barred := _barred(call, frame):
        return barred
    _check_columns(call, frame)
    one = call.groups if constant(call, frame) else ()
    fixed = in_r(call.formula, codes_of(call, frame))
    draft = Draft(replace(call, groups=()) if one else call, fixed, frame, [], [], [], [], [], [], [], [])
    _about_fixed(draft)
    if call.several:
        return _several(draft)
    _about_groups(draft, one)
    _correlated(draft)
    for number, (name, text) in enumerate(sorted(call.vc_formula.items())):
        if number in call.held:
            draft.problems.append(
                f"free= holds the variance of the component {name!r} where the search starts, at the residual "
                "variance; in lme4 no variance is held"
            )
        component(draft, name, text)
    _about_the_rest(draft)
    return _reading(draft)


def _barred(call: MixedLMCall, frame: pd.DataFrame | None) -> Reading | None:
    """Of a call with lme4's bars in its formulas: what they are there, and what was meant by them."""
    if "|" in call.formula:
        text = call.formula
        meant = text.replace("**", "^")
        if bare := re.fullmatch(r"([^~|]*~[^|()]*)\|([^|()]*)", meant):  # y ~ x | g
            meant = f"{bare[1].strip()} + (1 | {bare[2].strip()})"
    elif "|" in (call.re_formula or ""):
        text = (call.re_formula or "").strip().removeprefix("~").strip()
        meant = f"{in_r(call.formula)} + ({text})"
    else:
        return None
    meant = re.sub(r"\(\s*1\s*\|\|", "(1 |", meant)  # an intercept alone has nothing to be held apart from
    notes = _of_bars(text, frame, "fixed effect" if text is call.formula else "random effect")
    if not call.grouped:
        notes.append("the call has no groups=, without which MixedLM stops: it takes the groups there")
    problem = f"{text!r} has a bar, which in MixedLM's formulas is Python's bitwise or and no random term"
    if text is not call.formula:
        problem = f"re_formula={text!r} has a bar, which is Python's bitwise or there: groups= has the groups"
    because = "the bars as lme4 reads them"
    method = "REML" if call.reml else "ML"
    outcome = f"{CALLED} is not what its formula would be in lme4"
    return Reading(CALLED, None, method, problem, outcome, tuple(notes), (Meant(meant, because),))


def _of_bars(text: str, frame: pd.DataFrame | None, effect: str) -> list[str]:
    """What patsy makes of every bar of a formula, a sentence each."""
    if "||" in text:
        return ["|| is no operator of Python's, and the call stops with a SyntaxError"]
    told: dict[str, None] = {}
    for before, after in re.findall(r"([^~|()]+)\|([^|()]+)", text):
        sides = re.split(r"[-+*/:]", before)[-1].strip(), re.split(r"[-+*/:]", after)[0].strip()
        read = f"patsy reads {' | '.join(sides)!r} as Python's bitwise or"
        columns = [side for side in sides if not side.isdigit()]
        known = frame is not None and set(columns) <= set(frame.columns)
        other = [name for name in columns if known and frame is not None and frame[name].dtype.kind not in "iub"]
        if other:
            told[f"{read}, and the call stops: {other[0]} does not hold whole numbers"] = None
        else:
            where = "" if known else ", or stops, where a column does not hold whole numbers"
            told[f"{read} of whole numbers, and makes one more {effect} of it{where}"] = None
    return list(told)


def constant(call: MixedLMCall, frame: pd.DataFrame | None) -> bool:
    """Whether the grouping columns of a call are the same in every row of its table."""
    if frame is None or not call.groups or not set(call.groups) <= set(frame.columns):
        return False
    return len(frame[list(call.groups)].drop_duplicates()) == 1


def _reading(draft: Draft) -> Reading:
    formula = formula_of(draft.fixed, draft.random)
    problem = "; ".join(draft.problems)
    if not draft.random:
        problem = problem or "the call has no random effect that could be told from the fixed ones"
    meant = [] if not draft.random and not draft.meant else _meant(draft)
    if problem and draft.random:
        because = next((one.because for one in meant if one.formula == formula), "the nearest that lme4 can fit")
        meant = [Meant(formula, because), *(one for one in meant if one.formula != formula)]
    return Reading(
        called=CALLED,
        formula=None if problem else formula,
        method="REML" if draft.call.reml else "ML",
        problem=problem,
        notes=tuple(dict.fromkeys(draft.notes)),
        stops=draft.call.joined,
        meant=tuple(one for one in meant if problem or one.formula != formula),
    )


def _about_fixed(draft: Draft) -> None:
    right = terms(draft.call.formula)
    if draft.call.arrays and not right.intercept:
        draft.notes.append("exog has no column of ones, and MixedLM adds none: the fixed part has no intercept")
        draft.reasons.append("sm.add_constant was left out")
    for factor in right.every:
        if factor.coding and not factor.r.startswith("C("):
            treated = factor.coding.startswith("Treatment")
            told = (
                "with another baseline"
                if treated
                else "with other fixed effects, and a REML log-likelihood moved by a constant"
            )
            draft.notes.append(f"{factor.code} is another coding of {factor.r}: the same model, {told}")
        if factor.stateful in ("standardize", "scale"):
            draft.notes.append(f"{factor.code} divides by the deviation with n; scale() of R by that with n - 1")
    for column in draft.call.made & codes_of(draft.call, draft.frame) & {factor.column for factor in right.every}:
        draft.notes.append(f"the code makes {column} categories first: a factor, though the table here holds numbers")
    _about_empty_levels(draft, right)


def _about_empty_levels(draft: Draft, right: Terms) -> None:
    """Categories without a row, of which patsy makes columns of zeros."""
    for column in {} if draft.frame is None else {factor.column: None for factor in right.every if factor.column}:
        values = draft.frame[column] if draft.frame is not None else pd.Series()
        if isinstance(values.dtype, pd.CategoricalDtype) and column not in draft.call.made:
            gone = [str(level) for level in values.cat.categories if not (values == level).any()]
            if gone:
                draft.notes.append(
                    f"{column} has no row of {', '.join(gone)}: patsy makes columns of zeros of it, and MixedLM stops "
                    f"at a singular matrix; df[{column!r}].cat.remove_unused_categories() takes it out, as R does"
                )


def _several(draft: Draft) -> Reading:
    columns = draft.call.groups
    joint = f"{columns[0]} and {columns[1]}" if len(columns) == 2 else f"all {len(columns)}"
    told = ", ".join(map(repr, columns))
    crossed = [Term("1", (column,)) for column in columns]
    because = f"{' and '.join(columns)} crossed, each with effects of its own"
    return Reading(
        called=CALLED,
        formula=None,
        method="REML" if draft.call.reml else "ML",
        stops=True,
        problem=f"MixedLM takes one grouping column, and stops at {len(columns)}: groups=[{told}]",
        notes=tuple(draft.notes),
        meant=(
            Meant(formula_of(draft.fixed, crossed), because),
            Meant(formula_of(draft.fixed, [Term("1", columns)]), f"one group for every combination of {joint}"),
        ),
    )


def _about_groups(draft: Draft, one: Sequence[str]) -> None:
    if draft.group:
        if len(draft.group) > 1:
            told = ":".join(map(quoted, draft.group))
            draft.notes.append(f"the groups are the combinations of {' and '.join(draft.group)}, in R {told}")
        if draft.call.joined:
            told = ":".join(draft.group)
            draft.notes.append(
                f"MixedLM knows no {told} as groups, and stops with a KeyError: make a column of it first, as below"
            )
        return
    named = f"the column {one[0]} is the same in every row" if one else "groups are the same in every row"
    told = "so that every variance component is over the whole table, and their factors are crossed"
    draft.notes.append(
        f"{named}: MixedLM has one group, {told if draft.call.vc_formula else 'and nothing to tell apart'}"
    )


def _correlated(draft: Draft) -> None:
    """The effects of `re_formula`, which are correlated unless `free` says otherwise."""
    call = draft.call
    if call.re_formula is None and call.vc_formula:
        if draft.group:
            _intercept_left_out(draft)
        return
    text = call.re_formula or "1"
    described = terms(text)
    if not described.intercept and not described.factors:
        draft.notes.append(f"re_formula={text!r} has no correlated effects at all")
        if draft.group and call.vc_formula:
            _intercept_left_out(draft)
        return
    columns = columns_in_r(draft, text, described)
    if not draft.group:
        shown = "the random intercept" if columns == "1" else f"the random effects {columns}"
        draft.notes.append(f"{shown} of the one group cannot be told from the fixed effects")
        if call.vc_formula:
            draft.problems.append(f"lme4 takes no grouping factor of one level, which {shown} would be of")
            draft.reasons.append("re_formula is left out, as it has to be with one group")
        return
    whole = [Term(columns, draft.group)]
    pieces = by_free(draft, described, whole)
    draft.random += pieces
    draft.meant += pieces
    if described.intercept or not described.factors:
        return
    given = "exog_re has no column of ones, and MixedLM adds none" if call.arrays else "re_formula begins with 0"
    draft.notes.append(f"{given}: there is no random intercept")
    if call.arrays:
        draft.meant[-len(pieces) :] = [
            Term(columns_in_r(draft, f"1 + {text.removeprefix('0 + ')}", terms(text)), draft.group)
        ]
        draft.reasons.append("a slope alone, without a random intercept, is rarely wanted: add ones to exog_re")


def _intercept_left_out(draft: Draft) -> None:
    if any(_is_intercept(draft, described) for described in map(terms, draft.call.vc_formula.values())):
        return
    group = ":".join(map(quoted, draft.group))
    draft.notes.append(
        f"re_formula is left out beside vc_formula: MixedLM then has no random intercept of {group}; with "
        're_formula="1" it has'
    )
    draft.meant.append(Term("1", draft.group))
    draft.reasons.append(f"the random intercept of {group} was left out")


def _is_intercept(draft: Draft, described: Terms) -> bool:
    """Whether a variance component is the random intercept of the groups."""
    if not described.factors:
        return described.intercept
    levels = [factor.column for factor in described.every if is_category(draft, factor)]
    alone = not described.intercept and len(described.factors) == 1 and len(levels) == len(described.every)
    return alone and set(levels) <= set(draft.group)


def _about_the_rest(draft: Draft) -> None:
    call = draft.call
    if not call.use_sqrt:
        draft.notes.append(
            "use_sqrt=False searches over covariances in place of their Cholesky factor: another search, the same model"
        )
    known = set() if draft.frame is None else set(draft.frame.columns) - set(call.groups)
    for column in columns_of(call):
        if column in call.anew and column in known:
            draft.notes.append(
                f"the code makes {column} of {call.anew[column]} first: here the table's own {column} is taken"
            )
    if call.table and draft.frame is not None:
        draft.notes.append(f"the call takes {call.table}, and what is said and compared here is of the whole table")
    if call.penalized:
        draft.problems.append("the likelihood is penalized, as lme4 has no way to do it")
    if call.ignored:
        draft.notes.append("exog_re is ignored beside a formula: MixedLM takes re_formula there, and nothing else")
    if call.methods and not (call.free is not None and call.methods[0] in DEAF):
        draft.notes.append(f"method={', '.join(map(repr, call.methods))} is another search, and the same model")
    if draft.frame is not None and call.missing != "drop":
        lost = int(draft.frame[columns_of(call)].isna().any(axis=1).sum())
        if lost:
            draft.notes.append(f'{lost} rows have missing values: MixedLM stops there, without missing="drop"')


def _meant(draft: Draft) -> list[Meant]:
    """What was probably meant, the likeliest first."""
    fixed = draft.fixed
    if draft.call.arrays and not terms(draft.call.formula).intercept:
        fixed = fixed.replace("~ 0 + ", "~ 1 + ", 1).replace("~ 0", "~ 1", 1)
    because, meant = "; ".join(dict.fromkeys(draft.reasons)), []
    if draft.crossed:
        outer = ":".join(map(quoted, draft.group))
        crossed = [_uncrossed(draft, term) for term in draft.meant]
        if not any(term.group == draft.group and term.columns.split()[0] == "1" for term in crossed):
            crossed.insert(0, Term("1", draft.group))
        inner = " and ".join(dict.fromkeys(draft.crossed))
        seen = "occur" if draft.frame is not None else "may occur"
        told = (
            f"the same levels of {inner} {seen} in several groups of {outer}: where a level is the same thing in each, "
            "the factors are crossed"
        )
        told = f"{outer} is nested in {' and '.join(draft.outer)}, and not the other way round" if draft.outer else told
        meant.append(Meant(formula_of(fixed, crossed), told, probable=bool(draft.reasons)))
    if draft.reasons and draft.meant and not draft.outer:
        told = f"{because}; for levels of {' and '.join(dict.fromkeys(draft.crossed))} that are others in each group"
        meant.append(Meant(formula_of(fixed, draft.meant), told if draft.crossed else because))
    if draft.call.ignored and draft.group:
        columns = columns_in_r(draft, draft.call.ignored, terms(draft.call.ignored))
        others = [term for term in draft.random if term != Term("1", draft.group)]
        meant.append(Meant(formula_of(fixed, [Term(columns, draft.group), *others]), "exog_re asks for these effects"))
    if draft.apart:
        (term, *_) = draft.random
        apart = f"{fixed} + ({term.columns} || {':'.join(map(quoted, term.group))})"
        meant.append(Meant(apart, "free= asks for uncorrelated effects"))
    return list({one.formula: one for one in meant}.values())


def _uncrossed(draft: Draft, term: Term) -> Term:
    """A term within the groups as one over all of them, where its factor is crossed with the groups."""
    inner = tuple(column for column in term.group if column not in draft.group)
    return term._replace(group=inner) if inner and ":".join(map(quoted, inner)) in draft.crossed else term


def columns_of(call: MixedLMCall) -> list[str]:
    """The columns that a call names, as far as they are columns alone."""
    texts = [call.formula, *call.vc_formula.values(), *([call.re_formula] if call.re_formula else [])]
    factors = [factor for text in texts for factor in terms(text).every]
    factors += list(terms(call.formula, left=True).every)
    return list(dict.fromkeys([*call.groups, *(factor.column for factor in factors if factor.column)]))


def _check_columns(call: MixedLMCall, frame: pd.DataFrame | None) -> None:
    if frame is None:
        return
    for column in columns_of(call):
        if column not in frame.columns:
            known = ", ".join(map(str, frame.columns))
            made = "; where the code makes it first, give the table with it"
            raise CallError(f"the table has no column {column!r}, which the call names; its columns are {known}{made}")
