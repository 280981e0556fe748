"""Variance components, which MixedLM evaluates within each of its groups, as random terms of lme4."""

from __future__ import annotations

from collections.abc import Sequence

from concord.engines.calls import CallError
from concord.engines.statsmodels.explanation.draft import Draft, Refused, Term, is_category
from concord.engines.statsmodels.explanation.notation import Factor, Terms, terms
from concord.models.nesting import within_groups
from concord.models.syntax import quoted

# So many different whole numbers may be codes of categories.
CODES = 20


def component(draft: Draft, name: str, text: str) -> None:
    """One variance component: what it is, and what was meant by it."""
    described = terms(text)
    if not described.factors:
        if not draft.group:
            draft.problems.append(f"the variance component {name!r} is one effect of all rows, as the intercept is")
            return
        _add(draft, Term("1", draft.group))
        draft.meant.append(Term("1", draft.group))
        return
    try:
        term = _single(draft, name, text, described)
    except Refused as refused:
        draft.problems.append(refused.problem)
        draft.random += refused.nearest
        draft.meant += refused.nearest
        draft.reasons.append(refused.because)
        return
    if not term.group:
        draft.problems.append(f"the variance component {name!r} is one slope of all rows, as a fixed effect is")
        draft.meant += _coded(draft, name, described, term)
        return
    inner = ":".join(quoted(column) for column in term.group if column not in draft.group)
    _add(draft, term._replace(group=draft.group) if inner in (*draft.outer, *draft.same) else term)
    meant = term._replace(group=draft.group) if inner in draft.same else term
    draft.meant += _coded(draft, name, described, meant)


def _add(draft: Draft, term: Term) -> None:
    """One more random term that the call fits; not twice the same."""
    if term in draft.random:
        draft.problems.append(f"the call has {term} twice, and no data tell the two variances apart")
    else:
        draft.random.append(term)


def _single(draft: Draft, name: str, text: str, described: Terms) -> Term:
    """The random term that a variance component is, where it is one."""
    several = len(described.factors) > 1 or described.intercept
    categories = [factor for factor in described.every if is_category(draft, factor)]
    if several:
        only = described.factors[0] if len(described.factors) == 1 else None
        shown = ["the intercept"] if described.intercept else []
        shown += [":".join(factor.r for factor in term) for term in described.factors]
        problem = f"vc_formula {name!r}: {text!r} has {' and '.join(shown)} share one variance, as lme4 cannot have it"
        if only and categories:
            problem = (
                f"vc_formula {name!r}: {text!r} without 0 + makes an intercept and contrasts to the first level, all "
                "of one variance, as lme4 cannot have it"
            )
            return _raise(draft, problem, [only], f"0 + {text} gives every level of {only[0].r} an effect")
        nearest = list(described.factors)
        return _raise(draft, problem, nearest, "each with a variance of its own", described.intercept)
    (only,) = described.factors
    for factor in only:
        if factor.coding and "Treatment" not in factor.coding and is_category(draft, factor):
            problem = (
                f"vc_formula {name!r}: {factor.code} codes the levels otherwise than one column each, all of one "
                "variance, as lme4 cannot have it"
            )
            return _raise(draft, problem, [only], f"C({factor.column}) gives every level an effect")
        if factor.stateful and draft.group:
            group = ":".join(map(quoted, draft.group))
            problem = (
                f"vc_formula is evaluated per group: {factor.stateful}(...) in {name!r} takes its mean or its range "
                f"from the rows of one {group}, and lme4 from all rows; make a column of it first"
            )
            return _raise(draft, problem, [only], f"{factor.r} over the whole table")
    return _term(draft, only)


def _raise(
    draft: Draft, problem: str, several: Sequence[tuple[Factor, ...]], because: str, intercept: bool = False
) -> Term:
    nearest = [Term("1", draft.group)] if intercept and draft.group else []
    nearest += [term for term in (_term(draft, one) for one in several) if term.group]
    raise Refused(problem, nearest, because)


def _term(draft: Draft, factors: Sequence[Factor]) -> Term:
    """The random term of one product of factors, within the groups."""
    inner = [factor for factor in factors if is_category(draft, factor)]
    slopes = [factor.r for factor in factors if factor not in inner]
    for factor in inner:
        if factor.column is None:
            raise CallError(f"{factor.code} in vc_formula is no column: make it one of the table first")
    within = [factor.column for factor in inner if factor.column]
    group = (*draft.group, *(column for column in within if column not in draft.group))
    if draft.group and (inside := [column for column in within if column not in draft.group]):
        _about_inner(draft, inside)
    return Term(f"0 + {':'.join(slopes)}" if slopes else "1", group)


def _about_inner(draft: Draft, within: Sequence[str]) -> None:
    """What a factor within the groups comes to, by the data where there are any."""
    group, inner = ":".join(map(quoted, draft.group)), ":".join(map(quoted, within))
    note = f"vc_formula is evaluated per group: {inner} has an effect for each of its levels within each {group}"
    nested = _nested(draft, within)
    if nested == "same":
        note = f"{inner} makes the same groups as {group}"
        draft.same.append(inner)
    elif nested == "finer":
        note += f"; each level of {inner} lies in one {group}, so that ({group}:{inner}) is {inner}"
    elif nested == "coarser":
        note += f"; {inner} has one level in each {group}, so that ({group}:{inner}) is {group} itself"
        draft.outer.append(inner)
        draft.reasons.append(f"{group} is nested in {inner}")
        draft.crossed.append(inner)
    elif inner not in draft.crossed:
        draft.crossed.append(inner)
    draft.notes.append(note)


def _nested(draft: Draft, within: Sequence[str]) -> str:
    """``finer`` or ``coarser``, where a factor is nested in the groups or they in it; ``same`` where both are; empty
    where neither is, or there is no table.
    """
    frame = draft.frame
    if frame is None:
        return ""
    complete = frame[[*draft.group, *within]].dropna()
    outer = complete.groupby(list(draft.group), observed=True).ngroup().to_numpy()
    inner = complete.groupby(list(within), observed=True).ngroup().to_numpy()
    finer, coarser = within_groups(inner, outer), within_groups(outer, inner)
    return "same" if finer and coarser else "finer" if finer else "coarser" if coarser else ""


def _coded(draft: Draft, name: str, described: Terms, term: Term) -> list[Term]:
    """The term that was meant, where a column of codes was taken for a number."""
    for factor in described.every:
        if factor.column is None or factor.categorical or is_category(draft, factor):
            continue
        if not draft.group and draft.frame is None and len(described.every) == 1:
            draft.notes.append(
                f"vc_formula {name!r}: {factor.code} is taken for text or categories; numbers would make one slope of "
                "all rows"
            )
            continue
        if factor in terms(draft.call.formula).every:
            continue  # a fixed slope says that it is meant as a number
        few = _few_codes(draft, factor.column)
        told = f"vc_formula {name!r}: {factor.code} "
        if few:
            draft.notes.append(
                f"{told}holds {few} whole numbers: as numbers they make a slope; codes want C({factor.code})"
            )
        elif draft.frame is None:
            draft.notes.append(
                f"{told}is a slope where the column holds numbers, codes 1, 2, 3 among them; text, or "
                f"C({factor.code}), makes an effect of every level"
            )
        if few or (draft.frame is None and len(described.every) == 1):
            draft.reasons.append(f"{factor.code} may be codes of categories")
            draft.crossed += [quoted(factor.column)] if draft.group and not _nested(draft, [factor.column]) else []
            return [Term("1", (*draft.group, factor.column))]
    return [term] if term.group else []


def _few_codes(draft: Draft, column: str) -> int:
    """How many different whole numbers a column holds, where they are so few that they may be codes; else 0."""
    if draft.frame is None:
        return 0
    values = draft.frame[column].dropna()
    whole = bool((values == values.round()).all())
    count = int(values.nunique())
    return count if whole and count <= CODES else 0
