"""What ``free=`` makes of the effects of ``re_formula``: sets of them that lme4 can write, or nothing that it can."""

from __future__ import annotations

from concord.engines.statsmodels.explanation.draft import Draft, Term, is_category, joined
from concord.engines.statsmodels.explanation.notation import Terms
from concord.models.syntax import quoted

# Optimizers that never ask for the gradient, in which `free=` is written.
DEAF = frozenset(["powell", "nm"])


def by_free(draft: Draft, described: Terms, whole: list[Term]) -> list[Term]:
    """The correlated effects in the pieces that `free` leaves correlated."""
    call = draft.call
    if call.free is None or not _off_diagonal(call.free):
        return _held_variances(draft, call.free, whole)
    deaf = [method for method in call.methods[:1] if method.lower() in DEAF]
    if deaf:
        draft.notes.append(
            f"free= is ignored by method={deaf[0]!r}, which never asks for the gradient: the effects are correlated"
        )
        draft.apart = True
        return whole
    names = (["1"] if described.intercept else []) + [":".join(f.r for f in term) for term in described.factors]
    several = [factor for factor in described.every if is_category(draft, factor)]
    free = call.free or tuple(tuple(i == j for j in range(len(names))) for i in range(len(names)))
    if several or len(free) != len(names):
        if several:
            draft.problems.append(
                f"free= holds effects of the levels of {several[0].r} apart: lme4's || keeps a factor's effects "
                "correlated, and has no other notation for it"
            )
        else:
            draft.problems.append(f"free= is of {len(free)} random effects, and the call has {len(names)}")
        return whole
    _held_variances(draft, free, whole)
    blocks = _blocks(free)
    if blocks is None:
        lost = [
            f"{names[i]} and {names[j]}" for i in range(len(free)) for j in range(i) if not (free[i][j] or free[j][i])
        ]
        draft.problems.append(
            f"free= holds some covariances and leaves others ({', '.join(lost)} held): lme4 can only take whole sets "
            "of effects apart"
        )
        return whole
    group = draft.group
    if len(blocks) == len(names):
        uncorrelated = f"({' + '.join(names)} || {':'.join(map(quoted, group))})"
        draft.notes.append(
            f"free= holds all covariances at zero: uncorrelated effects, which lme4 writes {uncorrelated}"
        )
    else:
        draft.notes.append("free= holds covariances at zero: sets of effects that are not correlated with each other")
    return [Term(joined([names[i] for i in block]), group) for block in blocks]


def _held_variances(draft: Draft, free: tuple[tuple[bool, ...], ...] | None, whole: list[Term]) -> list[Term]:
    if any(not row[i] for i, row in enumerate(free or ())):
        draft.problems.append(
            "free= holds a variance where the search starts, at the residual variance; in lme4 no variance is held"
        )
    return whole


def _off_diagonal(free: tuple[tuple[bool, ...], ...]) -> bool:
    """Whether any covariance is held."""
    return not free or any(not free[i][j] for i in range(len(free)) for j in range(i))


def _blocks(free: tuple[tuple[bool, ...], ...]) -> list[list[int]] | None:
    """The sets of effects that may be correlated; None where within a set some may not."""
    blocks: list[list[int]] = []
    for i in range(len(free)):
        joined = [block for block in blocks if any(free[i][j] for j in block)]
        if len(joined) > 1 or any(not free[i][j] for block in joined for j in block):
            return None
        if joined:
            joined[0].append(i)
        else:
            blocks.append([i])
    return blocks
