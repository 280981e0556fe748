"""What may stand where in an lme4 formula: the check that its tree passes before R evaluates any of it."""

from __future__ import annotations

from collections.abc import Iterator

from concord.models.syntax import (
    CONTRASTS,
    HOMOGENEOUS,
    STRUCTURES,
    USAGE,
    Call,
    FormulaError,
    Name,
    Node,
    Text,
    Value,
    options,
    quoted,
    variables,
    walk,
    written,
)

_ALGEBRA = frozenset(["+", "-", "*", "/", "^", ":", "("])


def check(formula: Node) -> None:
    """Everything stands where R and lme4 give it a meaning.

    Raises
    ------
    FormulaError : something does not
    """
    if not isinstance(formula, Call):
        raise FormulaError("expected response ~ terms")
    response, right = formula.arguments
    _check_number(response)
    _check_sum(right)


def _check_sum(node: Node) -> None:
    """What is added up on the right-hand side: here, and only here, stand random terms and offsets."""
    if isinstance(node, Call):
        if node.function in ("+", "("):
            for argument in node.arguments:
                _check_sum(argument)
            return
        if node.function in STRUCTURES or node.function in HOMOGENEOUS:
            _check_structure(node)
            return
        if node.function in ("|", "||"):
            _check_terms(node.arguments[0])
            _check_group(node.arguments[1], node.arguments[1])
            for name in variables(node.arguments[1]) if node.function == "||" else ():
                if quoted(name) != name:  # lme4 pastes it into a text and has R parse that
                    raise FormulaError(
                        f"|| wants a grouping column with a plain name, not {name!r}: write the terms out"
                    )
            return
        if node.function == "offset":
            _arity(node, 1)
            _check_number(node.arguments[0])
            return
        if node.function == "-" and len(node.arguments) == 2:
            _check_sum(node.arguments[0])
            _check_terms(node.arguments[1])
            return
    _check_terms(node)


def _check_structure(node: Call) -> None:
    """``us(columns | group)``; ``diag(columns | group)``, where the columns are numbers, one a term; ``cs`` and ``ar1``
    of the same, which may have the option ``hom``.
    """
    bar, *rest = node.arguments or (None,)
    can = node.function in HOMOGENEOUS
    plain = not rest or (can and node.names[1:] == ("hom",) and _truth(rest[0]) is not None)
    if not isinstance(bar, Call) or bar.function != "|" or node.names[0] or not plain:
        option = "hom = TRUE or FALSE" if can else "no option"
        raise FormulaError(f"{node.function} takes one random term here, (columns | group), and {option}")
    columns, group = bar.arguments
    if node.function == "diag":
        for part in walk(columns):
            if isinstance(part, Call) and part.function in ("poly", "factor", "as.factor"):
                raise FormulaError(
                    f"diag takes columns of numbers here, and {part.function} makes several of one: write terms"
                )
    _check_sum(Call("||" if node.function == "diag" else "|", (columns, group), bar.names))


def _truth(node: Node) -> bool | None:
    return node.value if isinstance(node, Value) and isinstance(node.value, bool) else None


def structures(formula: Node) -> tuple[str, ...]:
    """The structure of every random term's covariance matrix, in their order, as `RandomTerm` has it; nothing where no
    term has one.

    Raises
    ------
    FormulaError : a term beside one is not plain, so that lme4 would make several of it
    """
    kinds: list[str] = []
    several: list[str] = []
    for part in _added(formula):
        if part.function in HOMOGENEOUS:
            homogeneous = HOMOGENEOUS[part.function] if len(part.arguments) == 1 else bool(_truth(part.arguments[1]))
            kinds.append(f"{'hom' if homogeneous else ''}{part.function}")
        else:
            kinds.append("")
        bar = part if part.function in ("|", "||") else part.arguments[0]
        group = bar.arguments[1] if isinstance(bar, Call) else bar
        nested = any(isinstance(inner, Call) and inner.function == "/" for inner in walk(group))
        if part.function in ("||", "diag") or nested:
            several.append(written(part))
    if not any(kinds):
        return ()
    if several:
        raise FormulaError(f"{several[0].strip()} stands for several terms: beside cs or ar1 write them out")
    return tuple(kinds)


def put_back(formula: Node) -> Iterator[str]:
    """What lme4 adds although a formula takes it out, a sentence each: what stands behind random terms alone."""
    for part in walk(formula):
        if isinstance(part, Call) and part.function == "-" and len(part.arguments) == 2 and _random(part.arguments[0]):
            term = written(part.arguments[1])
            yield (
                f"lme4 reads - {term} behind random terms alone as + {term}, and so do all here: write + {term}, or, "
                "to take it out, the random terms last"
            )


def _random(node: Node) -> bool:
    """Whether random terms are all that is added up."""
    if not isinstance(node, Call):
        return False
    if node.function in ("|", "||", *STRUCTURES, *HOMOGENEOUS):
        return True
    return node.function in ("+", "(") and all(map(_random, node.arguments))


def _added(node: Node) -> Iterator[Call]:
    """The random terms of a formula that was checked, in their order."""
    if isinstance(node, Call):
        if node.function in ("|", "||", *STRUCTURES, *HOMOGENEOUS):
            yield node
        elif node.function in ("~", "+", "-", "("):
            for argument in node.arguments:
                yield from _added(argument)


def diagonal(formula: Node) -> tuple[str, ...]:
    """The variables of the columns in ``diag``, each once: of a factor every level would have a variance of its own,
    where ``(columns || group)`` has a matrix of all of them.
    """
    terms = [part.arguments[0] for part in walk(formula) if isinstance(part, Call) and part.function == "diag"]
    return tuple(dict.fromkeys(name for bar in terms if isinstance(bar, Call) for name in variables(bar.arguments[0])))


def _check_terms(node: Node) -> None:
    """Terms, which operators combine by the rules of model formulas."""
    if not isinstance(node, Call):
        _check_leaf(node)
        return
    if node.function in ("|", "||"):
        raise FormulaError("a random term, (columns | group), may only be added")
    if node.function == "offset":
        raise FormulaError("an offset may only be added to the fixed part")
    if node.function in _ALGEBRA or node.function == "%in%":
        for argument in node.arguments:
            _check_terms(argument)
        return
    _check_number(node)


def _check_number(node: Node) -> None:
    """Arithmetic: what stands in a function's argument, and every function."""
    if not isinstance(node, Call):
        _check_leaf(node)
        return
    function, arguments = node.function, node.arguments
    if function in ("poly", "scale"):
        _check_options(node)
        _check_number(arguments[0])
        return
    if function == "C":
        _check_contrasts(node)
        return
    if function in ("|", "||", "~", "%in%", ":", "offset", *STRUCTURES, *HOMOGENEOUS):
        raise FormulaError(f"{function} may not stand inside a function or in the response")
    if function == "log" and len(arguments) == 2 and set(node.names) <= {"", "base"}:
        pass
    elif function not in _ALGEBRA:
        _arity(node, 1)
    for argument in arguments:
        _check_number(argument)


def _check_contrasts(node: Call) -> None:
    """``C(x, "contr.sum")``, of a variable or of one in ``factor``."""
    variable, contrasts = (*node.arguments, None)[:2]
    if isinstance(variable, Call) and variable.function == "factor" and len(variable.arguments) == 1:
        variable = variable.arguments[0]
    coded = isinstance(contrasts, Text) and contrasts.text in CONTRASTS
    if len(node.arguments) != 2 or any(node.names) or not isinstance(variable, Name) or not coded:
        raise FormulaError(f"{written(node)}: C takes a column, and one of {', '.join(CONTRASTS)} in quotes")


def _check_leaf(node: Name | Value | Text) -> None:
    """A variable or a number may stand anywhere; a truth value or a string may not."""
    if isinstance(node, Text):
        raise FormulaError(f"{written(node)} may not stand in a formula: names of columns have no quotes, or backticks")
    if isinstance(node, Value) and isinstance(node.value, bool):
        raise FormulaError(f"{str(node.value).upper()} may not stand in a formula")


def _arity(node: Call, count: int) -> None:
    if len(node.arguments) != count or any(node.names):
        raise FormulaError(f"{node.function} takes one argument here, without a name")


def _check_options(node: Call) -> None:
    chosen = options(node)
    if node.function == "poly":
        degree, raw = chosen.get("degree", 1.0), chosen.get("raw", False)
        # R: an unnamed second argument of poly is the degree, a third one would be another variable.
        positional = [name for name in node.names[1:] if not name]
        whole = not isinstance(degree, bool) and degree >= 1 and degree == int(degree)
        if not whole or not isinstance(raw, bool) or len(positional) > 1:
            raise FormulaError(USAGE["poly"])


def _check_group(node: Node, whole: Node) -> None:
    """A grouping factor: a variable, factor(variable), or several joined by ``:`` or ``/``."""
    if isinstance(node, Name):
        return
    if isinstance(node, Call):
        if node.function in (":", "/", "("):
            for argument in node.arguments:
                _check_group(argument, whole)
            return
        if node.function in ("factor", "as.factor"):
            _arity(node, 1)
            if isinstance(node.arguments[0], Name):
                return
    raise FormulaError(
        f"{written(whole)} is not a grouping factor: a column is one, or columns joined by : or / (make one first)"
    )
