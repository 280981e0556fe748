"""The explain command: a call of MixedLM or of lmer, in the words of the other package, and then compared."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from concord.commands import arguments


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "explain",
        help="say which lme4 formula a MixedLM call really fits, and which MixedLM call an lmer call is",
        description="Say which lme4 formula a call of MixedLM really fits, what its author probably meant if that is "
        "another one, and, with a table, compare both packages on it. Of a call of lmer: the call of MixedLM. Of a "
        "file every call in it, with its line. Code is read and never run. Exit status: 0 explained, and, where it was "
        "compared, agree, or imprecise without --strict; 1 any other verdict; 2 input that cannot be used; of several "
        "calls the highest.",
        epilog="""concord explain 'smf.mixedlm("y ~ x", df, groups="g", vc_formula={"f": "0 + C(f)"})' table.csv""",
    )
    parser.add_argument(
        "given",
        metavar="CALL",
        nargs="*",
        help="the call as text, with the statements before it that it needs; a file with calls (.py, .R, .ipynb, .Rmd, "
        ".qmd), or - for the standard input; then the table, or a dataset's id. With --formula there is no CALL, and "
        "only the table",
    )
    parser.add_argument("--formula", help='as statsmodels reads it: "y ~ x"')
    parser.add_argument(
        "--groups", action="append", metavar="COLUMN", help="a column, or a:b for combinations; may be repeated"
    )
    parser.add_argument("--re-formula", metavar="FORMULA", help='the correlated random effects: "1 + x"')
    parser.add_argument(
        "--vc-formula", action="append", metavar="[NAME=]FORMULA", help='a variance component: "f=0 + C(f)"; repeated'
    )
    parser.add_argument("--exog-re", action="append", metavar="COLUMN", help="as the array exog_re has it; repeated")
    parser.add_argument(
        "--free",
        metavar="PATTERN",
        help="which variances and covariances are estimated: diagonal, as with np.eye, or rows such as 110/110/001",
    )
    parser.add_argument("--use-sqrt", action=argparse.BooleanOptionalAction, default=True, help="as MixedLM has it")
    parser.add_argument("--method", choices=("REML", "ML"), help="of the options; default: REML")
    parser.add_argument("--no-compare", action="store_true", help="only say what it is; fit nothing")
    arguments.add_fits(parser)
    arguments.add_limits(parser)
    parser.set_defaults(command=run)


def run(args: argparse.Namespace) -> int:
    """Explain a call, and compare where there is a table; see `concord.explanation`.

    Returns
    -------
    exit status: 0, or 1 where the verdict is a failure

    Raises
    ------
    InputError : the call, the table or the formula cannot be used
    """
    from concord.engines.remote import stop_workers
    from concord.errors import InputError
    from concord.explanation import explain

    call, data = _given(args)
    calls = _calls(call, data) if isinstance(call, str) else []
    if len(calls) == 1 and isinstance(calls[0][1], InputError):
        raise calls[0][1]
    try:
        if len(calls) < 2:
            return _told(calls[0][1] if calls else explain(_text(call), data), data, args)
        statuses: list[int] = []
        for place, explained in calls:
            print(*([""] if statuses else []), f"{call}, {place}", "", sep="\n")
            told = isinstance(explained, InputError)
            if told:
                print(f"cannot be explained: {explained}", flush=True)
            statuses.append(2 if told else _told(explained, data, args))
        return max(statuses)
    finally:
        stop_workers()


def _calls(given: str, data: str | None) -> list[tuple[str, Any]]:
    """Every call in a file, in their order, by its place: its explanation, or why it has none; nothing where it is no
    file.
    """
    from concord.commands.code_files import is_code_file, scripts
    from concord.engines.calls import CallError
    from concord.explanation import every

    if not is_code_file(given):
        return []
    calls: list[tuple[tuple[int, str], Any]] = []
    for script in scripts(given):
        told = every(script.text, script.language, data)
        calls += [(script.places[min(line, len(script.places)) - 1], explained) for line, explained in told]
    if not calls:
        raise CallError(f"no call of MixedLM or lmer in {given}")
    return [(place, explained) for (_, place), explained in sorted(calls, key=lambda call: call[0])]


def _told(explanation: Any, data: str | None, args: argparse.Namespace) -> int:
    """Print an explanation, and the comparison where there is a table."""
    from concord.vocabulary import passes

    print(explanation, flush=True)
    if data is None or args.no_compare or explanation.formula is None:
        return 0
    comparison = explanation.compare(engine_timeout=args.engine_timeout)
    print(f"\n{comparison}")
    return 0 if passes(comparison.verdict.word, args.strict) else 1


def _given(args: argparse.Namespace) -> tuple[Any, str | None]:
    """The call, as text or by its arguments, and the table."""
    from concord.engines.calls import CallError, Given

    by_name = args.formula is not None
    if not by_name and any(getattr(args, name) for name in ("groups", "re_formula", "vc_formula", "exog_re", "free")):
        raise CallError("the options make a call together with --formula: give it, too")
    wanted = 0 if by_name else 1
    if not wanted <= len(args.given) <= wanted + 1:
        raise CallError(
            "expected a table, or nothing, with --formula" if by_name else "expected a call, and a table or none"
        )
    data = args.given[wanted] if len(args.given) > wanted else None
    return (Given(_arguments(args)) if by_name else args.given[0]), data


def _text(given: Any) -> Any:
    """The call itself, or what the standard input has."""
    return sys.stdin.read() if given == "-" else given


def _pattern(text: str) -> list[list[int]]:
    """The rows of ``free``; none for the diagonal of a matrix of whatever size."""
    from concord.engines.calls import CallError

    rows = [] if text == "diagonal" else [list(row) for row in text.split("/")]
    if any(len(row) != len(rows) or not set(row) <= {"0", "1"} for row in rows):
        raise CallError(f"--free {text}: expected diagonal, or rows of 0 and 1 such as 110/110/001")
    return [list(map(int, row)) for row in rows]


def _arguments(args: argparse.Namespace) -> dict[str, Any]:
    from concord.engines.calls import CallError

    groups = args.groups or []
    if not groups:
        raise CallError("--groups is missing: a column, or a:b for the combinations of several")
    for text in groups:
        if not all(name.strip() for name in text.split(":")):
            raise CallError(f"--groups {text}: a name is missing: a column, or a:b for the combinations of several")
    components = {}
    for number, text in enumerate(args.vc_formula or [], 1):
        name, sign, formula = text.partition("=")
        if sign and not name.strip():
            raise CallError(f"--vc-formula {text}: the component's name is missing before the sign =")
        named = bool(sign) and name.strip().isidentifier()
        components[name.strip() if named else f"vc{number}"] = formula if named else text
    random = args.re_formula
    if args.exog_re:
        if random is not None:
            raise CallError("--re-formula and --exog-re are two ways to say the same: give one")
        random = " + ".join(["0", *args.exog_re])
    return {
        "formula": args.formula,
        "groups": groups[0] if len(groups) == 1 else groups,
        "re_formula": random,
        "vc_formula": components or None,
        "use_sqrt": args.use_sqrt,
        "free": None if args.free is None else _pattern(args.free),
        "reml": args.method != "ML",
    }
