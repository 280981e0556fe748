"""A pytest plugin: nbval, with a tolerance for numbers and without the holes through which a wrong notebook passes.

    pytest --nbval -p concord.nbval_tolerance notebooks [--nbval-rtol 1e-6] [--nbval-atol 1e-9]

**Numbers.** In text, HTML, Markdown, LaTeX and stdout, two numbers are equal when |new - old| <= atol + rtol * |old|,
reckoned exactly in decimals. Cell tags such as `rtol=1e-4` and `atol=1e-6` override the options for one cell.
Everything else is compared as nbval does, character by character; `differences` has the rules and their reasons.

**Not compared.** `# not compared: <reason>` among the first lines of a cell (under `%%R`, if there is one) runs the
cell, lets its errors fail, and does not compare its outputs. Nothing else switches a comparison off.

**Holes closed.** These fail here and pass, or are skipped, in nbval 0.11:

- a committed cell that was never executed, or whose output or picture is missing;
- a reply with an error that leaves no error output: an unloaded magic, a usage error;
- a cell tagged `raises-exception` that raises nothing; a cell that times out and swallows the interrupt;
- `nbval-skip`, and `nbval-ignore-output` without a reason; the option `--nbval-lax`.

One cell chosen by its id, or cells in another order, see the kernel as in the whole notebook: the cells before it are
executed first, unreported. A dead kernel fails within a second or two, where nbval waits for the cell's time-out. A
result before a `;` is not shown, as it is not in Jupyter; nbval's way to execute shows it.

Left to nbval: pictures' contents (not compared), stderr and SVG (compared exactly; a warning that names a path or a
line differs between machines, so such a cell wants a reason), the relative order of outputs of different kinds.
"""

from __future__ import annotations

import re
import time
from collections import defaultdict
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import groupby, zip_longest
from math import isfinite
from pathlib import Path
from queue import Empty
from typing import Any

import pytest
from nbformat import NotebookNode
from nbval.kernel import RunningKernel
from nbval.plugin import IPyNbCell, IPyNbFile, NbCellError

from concord.records import MEDIA_TYPE, PICTURE_TYPE

RTOL, ATOL = 1e-6, 1e-9
TOLERANT = {"text/plain", "text/html", "text/markdown", "text/latex", "stdout"}
PICTURES = ("image/png", "image/jpeg")
SHOWN = 5


# --- Two texts -------------------------------------------------------------------------------------------------------

_PIECE = re.compile(
    r"""
      (?P<gap>[ ]+)
    | (?P<ruler> (?<! [\w=─━═-] ) ([-=─━═]) \3{2,} (?! \w | \3 ) )
    | (?P<number>
        (?<! [\w.] ) (?<! \w[-+/] ) (?<! [0-9]: )   # not inside x1, 1.1-31, 3.11.2, 2026/08/01, 17:12:07.5
        [-+]?
        (?: [0-9]+ \. [0-9]* [eE] [-+]? [0-9]{1,3}  # 1.2e-05 and numpy's 1.e-12
          | [0-9] [eE] [-+]? [0-9]{1,3}             # 1e-05; not 4512e06, which is no way to print a number but a hash
          | [0-9]* \. [0-9]+
          | [0-9]+ \. (?= [ ]*[],] | [ ]+[-+]?\.?[0-9] )   # numpy's [1. 2.]; not the end of a sentence
          | [0-9]+
        )
        (?! \w ) (?! \.\w ) (?! [-+:/]\w )          # nor 12px, 4601:Time, 1.5.csv, 1.1-31
      )
    """,
    re.VERBOSE,
)
_WHOLE = re.compile(r"[-+]?[0-9]+\.?")
# The number in full, as `concord.tables` puts it around the one that is shown: its last digits are rounding
_DATA = re.compile(r'<data value="[^"]*">|</data>')


@dataclass(frozen=True)
class _Piece:
    """A number, a ruler, a stretch of text or the end of a line, with the width of the white space before it."""

    kind: str
    text: str
    gap: int

    @property
    def fixed(self) -> tuple[str, str]:
        """What must be the same on both sides, whatever the numbers are."""
        return self.kind, "" if self.kind == "number" else self.text[:1] if self.kind == "ruler" else self.text


def _pieces(line: str) -> list[_Piece]:
    """The line, taken apart; the last piece is its end."""
    pieces: list[_Piece] = []
    gap = position = 0

    def add(kind: str, text: str) -> None:
        nonlocal gap
        if text or kind == "end":
            pieces.append(_Piece(kind, text, gap))
            gap = 0

    for match in _PIECE.finditer(line):
        add("text", line[position : match.start()])
        if match["gap"]:
            gap = len(match["gap"])
        else:
            add("ruler" if match["ruler"] else "number", match[0])
        position = match.end()
    add("text", line[position:])
    add("end", "")
    return pieces


def differences(old: str, new: str, rtol: float = RTOL, atol: float = ATOL) -> list[str]:
    """What makes `new` another output than `old`, one sentence each; empty when they agree.

    A number stands by itself: `-0.12`, `1e-05`, `12.5%`. What is part of a name is text: `x1`, `Evit000`, `12px`,
    `4601:Time`, `1.1-31`, `3.11.2`, a date, a hash. (A version of two parts, `2.4`, looks like a number: a cell that
    prints one must not be given a wide tolerance.)

    - Two whole numbers (neither point nor exponent) are counts and must be equal: within rtol, 1000000 rows and
      1000001 would agree. `1` and `0.9999999` are two spellings of a real number, as R prints them.
    - `-0.0` equals `0.0`. `nan`, `inf`, `NA` are words: equal to themselves and to nothing else.
    - `1,234.5` is 1 and 234.5, which is never laxer and cannot mistake a list for a number.

    Text must be the same. White space and rulers (`-----`) may change only in a paragraph where a number changed its
    width, only by as much as all those widths together changed, and never so that two words merge or part: so that
    a padded table follows its numbers and nothing else moves.

    Decimals, not floats, so that 0.1234 and 0.1235 are exactly 0.0001 apart. No unit in the last printed place is
    given away: print enough digits, or tag the cell with the `atol` that its rounding costs.
    """
    if old == new:
        return []
    old_lines, new_lines = old.split("\n"), new.split("\n")
    if len(old_lines) != len(new_lines):
        number, was, now = next((n, a, b) for n, (a, b) in enumerate(zip_longest(old_lines, new_lines), 1) if a != b)
        return [f"{len(old_lines)} lines became {len(new_lines)}; first at line {number}: {was!r} became {now!r}"]
    rows = [(n, _pieces(a), _pieces(b)) for n, (a, b) in enumerate(zip(old_lines, new_lines, strict=True), 1)]
    found: list[str] = []
    for _, paragraph in groupby(rows, key=lambda row: len(row[1]) == 1):
        found += _paragraph_differences(list(paragraph), rtol, atol)
    return found


def _paragraph_differences(
    rows: Sequence[tuple[int, list[_Piece], list[_Piece]]], rtol: float, atol: float
) -> list[str]:
    found: list[str] = []
    same_text = True
    slack = 0
    for number, was, now in rows:
        if [piece.fixed for piece in was] != [piece.fixed for piece in now]:
            same_text = False
            found.append(f"line {number}: {_first_other_text(was, now)}")
            continue
        for a, b in zip(was, now, strict=True):
            if a.kind == "number":
                slack += abs(len(a.text) - len(b.text))
                if breach := _number_difference(a.text, b.text, rtol, atol):
                    found.append(f"line {number}: {breach}")
    if same_text:
        found += [
            f"line {number}: white space or a ruler changed, and no number's width explains it"
            for number, was, now in rows
            if not _same_layout(was, now, slack)
        ]
    return found


def _first_other_text(was: list[_Piece], now: list[_Piece]) -> str:
    a, b = next((a, b) for a, b in zip_longest(was, now) if a is None or b is None or a.fixed != b.fixed)
    before, after = (piece.text if piece and piece.kind != "end" else "the end of the line" for piece in (a, b))
    return f"text {before!r} became {after!r}"


def _number_difference(old: str, new: str, rtol: float, atol: float) -> str | None:
    if old == new:
        return None
    was, now = Decimal(old), Decimal(new)
    if _WHOLE.fullmatch(old) and _WHOLE.fullmatch(new):
        same = was == now and old.lstrip("-") == new.lstrip("-")
        return None if same else f"{old} became {new}: whole numbers must be equal"
    off, allowed = abs(now - was), Decimal(str(atol)) + Decimal(str(rtol)) * abs(was)
    if off <= allowed:
        return None
    relative = f"relative {float(off / abs(was)):.2g}, " if was else ""
    limit = f"allowed {float(allowed):.3g} = {atol:g} + {rtol:g} x |{old}|"
    return f"{old} became {new}: off by {float(off):.3g}, {relative}{limit}"


def _same_layout(was: list[_Piece], now: list[_Piece], slack: int) -> bool:
    """Whether gaps and rulers differ by no more than `slack`; that no words merged or parted, the pieces have shown."""
    return all(
        abs(a.gap - b.gap) <= slack and (a.kind != "ruler" or abs(len(a.text) - len(b.text)) <= slack)
        for a, b in zip(was, now, strict=True)
    )


# --- What a cell asks for --------------------------------------------------------------------------------------------


def tolerance(kind: str, text: str) -> float:
    """The `rtol` or `atol` that `text` spells; ValueError unless finite, not negative, and for rtol below 1."""
    try:
        value = float(text)
    except ValueError:
        raise ValueError(f"{kind}={text}: not a number") from None
    if not isfinite(value) or value < 0 or (kind == "rtol" and value >= 1):
        raise ValueError(f"{kind}={text}: must be finite, not negative, and below 1 if it is rtol")
    return value


def tolerances(tags: object, rtol: float, atol: float) -> tuple[float, float]:
    """`rtol` and `atol` as a cell's tags override them; ValueError for a tag that means to and does not."""
    if not isinstance(tags, list):
        raise ValueError(f"tags must be a list, not {tags!r}")
    given: dict[str, float] = {}
    for tag in tags:
        if re.match(r"\W*[ra]?tol", str(tag), re.IGNORECASE):
            kind, _, text = str(tag).partition("=")
            if kind not in ("rtol", "atol"):
                raise ValueError(f"{tag}: a tolerance is tagged as rtol=1e-4 or atol=1e-6")
            if kind in given:
                raise ValueError(f"{tag}: a second {kind} on one cell")
            given[kind] = tolerance(kind, text)
    return given.get("rtol", rtol), given.get("atol", atol)


def reason_not_compared(source: str) -> str | None:
    """The reason in a cell's `# not compared: <reason>`, empty if it gives none; None without such a comment.

    It counts only above the first line of code, where a reader cannot overlook it.
    """
    for line in source.splitlines():
        text = line.strip()
        if match := re.fullmatch(r"#+\s*not compared\s*:\s*(.*)", text, re.IGNORECASE):
            return match[1]
        if text and not text.startswith(("#", "%%")):
            return None
    return None


# --- The plugin ------------------------------------------------------------------------------------------------------


def pytest_addoption(parser: pytest.Parser) -> None:
    """Two options, in nbval's own group."""
    group = parser.getgroup("nbval")
    group.addoption("--nbval-rtol", default=RTOL, help=f"relative tolerance of numbers in outputs (default {RTOL:g})")
    group.addoption("--nbval-atol", default=ATOL, help=f"absolute tolerance of numbers in outputs (default {ATOL:g})")


def pytest_configure(config: pytest.Config) -> None:
    """Refuse a tolerance that is none, and the option that compares nothing."""
    if config.getoption("nbval_lax", False):
        raise pytest.UsageError("--nbval-lax compares nothing; use --nbval, and give each exempt cell its reason")
    try:
        config.option.nbval_rtol = tolerance("rtol", str(config.option.nbval_rtol))
        config.option.nbval_atol = tolerance("atol", str(config.option.nbval_atol))
    except ValueError as error:
        raise pytest.UsageError(f"--nbval-{error}") from None


@pytest.hookimpl(wrapper=True)
def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> Generator[None, list[Any], list[Any]]:
    """Where nbval collects a notebook, collect it as a `Notebook`."""
    collectors = yield
    return [
        Notebook.from_parent(parent, path=file_path) if type(collector) is IPyNbFile else collector
        for collector in collectors
    ]


class KernelDied(Exception):
    """The kernel's process ended while a reply was due."""


class WatchedKernel:
    """nbval's kernel; keeps the reply that nbval drops, and notices when no reply can come any more."""

    def __init__(self, kernel: RunningKernel) -> None:
        self._kernel = kernel
        self.reply: dict[str, Any] | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._kernel, name)

    def execute_cell_input(self, source: str, allow_stdin: bool | None = None) -> str:
        """Send a cell as Jupyter and papermill do, with history: without, IPython shows the result before a `;`."""
        return self._kernel.kc.execute(source, store_history=True, allow_stdin=allow_stdin, stop_on_error=False)

    def await_reply(self, msg_id: str, timeout: float) -> None:
        """Wait for the reply and keep it; `queue.Empty` after `timeout` seconds, KernelDied as soon as that is so."""
        self.reply = None
        deadline = time.monotonic() + timeout
        while self.reply is None:
            try:
                message = self._kernel.get_message("shell", timeout=max(0.0, min(1.0, deadline - time.monotonic())))
            except Empty:
                if not self._kernel.is_alive():
                    raise KernelDied from None
                if time.monotonic() >= deadline:
                    raise
            else:
                if message["parent_header"].get("msg_id") == msg_id:
                    self.reply = message["content"]

    def failure(self) -> str | None:
        """The last reply's error, in a line; None if it was well."""
        if self.reply is None or self.reply["status"] == "ok":
            return None
        return f"{self.reply.get('ename', self.reply['status'])}: {self.reply.get('evalue', '')}"


class Notebook(IPyNbFile):
    """A notebook whose kernel always stands where the cell about to run expects it."""

    cells: list[Cell]
    reached = 0  # the number of cells that the running kernel has been through

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # The one carries timings, and `make refresh` strips it; the other what a picture shows, which is not compared
        self.skip_compare += (MEDIA_TYPE, PICTURE_TYPE)

    def collect(self) -> Iterator[Cell]:
        """nbval's cells, each as a `Cell`."""
        self.cells = [
            Cell.from_parent(self, name=it.name, cell_num=it.cell_num, cell=it.cell, options=it.options)
            for it in super().collect()
        ]
        yield from self.cells

    def setup(self) -> None:
        """Start a kernel, which has executed nothing yet."""
        super().setup()
        self.kernel = WatchedKernel(self.kernel)
        self.reached = 0

    def catch_up(self, cell: Cell) -> None:
        """Execute what stands before `cell` and has not run, in a fresh kernel if the present one is past it."""
        if self.kernel.is_alive():
            if self.reached > cell.cell_num:
                self.kernel.stop()
                self.setup()
            for earlier in self.cells[self.reached : cell.cell_num]:
                self.reached += 1
                if problem := earlier.execute_unreported():
                    cell.raise_cell_error(f"Cell {earlier.cell_num}, which stands before this one, failed: {problem}")
        self.reached = cell.cell_num + 1


class Cell(IPyNbCell):
    """A code cell: run and reported by nbval, compared with a tolerance, with nbval's holes closed."""

    def __init__(self, name: str, parent: Notebook, cell_num: int, cell: NotebookNode, options: dict[str, bool]):
        super().__init__(name, parent, cell_num, cell, options)
        self.reason = reason_not_compared(cell.source)
        self.unexplained = not options["check"] and self.reason is None
        if self.reason is not None:
            options["check"] = False
        self.skipped = options["skip"]
        options["skip"] = False  # executed, for the sake of the cells after it, and then failed

    def runtest(self) -> None:
        """Execute and compare; whatever is wrong is raised only then, so that later cells find what they need."""
        notebook: Notebook = self.parent
        problems, traceback = list(self.wrong_as_committed()), None
        timed_out_before = notebook.timed_out
        try:
            notebook.catch_up(self)
            super().runtest()
        except KernelDied:
            problems.append("The kernel died while executing this cell")
        except NbCellError as error:
            problems.append(str(error))
            traceback = error.inner_traceback
        else:
            if notebook.timed_out and not timed_out_before:
                limit = self.config.option.nbval_cell_timeout
                problems.append(f"Timeout of {limit:g} seconds exceeded, and the cell swallowed the interrupt")
            else:
                problems += self.wrong_as_executed()
        if problems:
            self.raise_cell_error("\n".join(problems), traceback)

    def wrong_as_committed(self) -> Iterator[str]:
        """What is wrong before the cell runs."""
        if self.cell.source.strip() and self.cell.execution_count is None:
            yield "never executed: run make refresh, so that there is something to compare with"
        if self.skipped:
            yield "nbval-skip hides this cell: let it run, with `# not compared: <reason>` if it must be"
        if self.unexplained:
            yield "its outputs are not compared and it does not say why: write `# not compared: <reason>` instead"
        if self.reason == "":
            yield "`# not compared:` wants its reason after the colon"
        try:
            self.tolerances()
        except ValueError as error:
            yield f"bad tag {error}"

    def wrong_as_executed(self) -> Iterator[str]:
        """What nbval does not see in a run that it finds well."""
        failure = self.parent.kernel.failure()
        if self.options["check_exception"]:
            if not failure:
                yield "tagged to raise an exception, and it raised none"
        elif failure:
            yield f"The kernel answered with an error that nbval does not see: {failure}"
        if self.reason:
            committed, fresh = _has_output(self.cell.outputs), _has_output(self.test_outputs)
            if committed and not fresh:
                yield "its output is not compared, but there was one and this run gives none"
            if fresh and not committed:
                yield "its committed output is missing: run make refresh"

    def tolerances(self) -> tuple[float, float]:
        """This cell's rtol and atol; ValueError for a malformed tag."""
        options = self.config.option
        return tolerances(self.cell.metadata.get("tags", []), options.nbval_rtol, options.nbval_atol)

    def execute_unreported(self) -> str | None:
        """Run the cell for what it leaves in the kernel; the error that it should not have raised, if any."""
        kernel, limit = self.parent.kernel, self.config.option.nbval_cell_timeout
        msg_id = kernel.execute_cell_input(self.cell.source, allow_stdin=False)
        try:
            kernel.await_reply(msg_id, timeout=limit)
            kernel.await_idle(msg_id, self.output_timeout)
        except KernelDied:
            return "the kernel died"
        except Empty:
            kernel.interrupt()
            return f"timeout of {limit:g} seconds exceeded"
        return None if self.options["check_exception"] else kernel.failure()

    def compare_outputs(
        self, test: list[NotebookNode], ref: list[NotebookNode], skip_compare: Sequence[str] | None = None
    ) -> bool:
        """nbval's comparison, after each text that agrees within tolerance has been put equal to the committed one.

        A text is put equal as a whole or not at all, so nbval's diff shows what was really printed.
        """
        try:
            rtol, atol = self.tolerances()
        except ValueError:  # reported by wrong_as_committed
            rtol, atol = self.config.option.nbval_rtol, self.config.option.nbval_atol
        broken: list[str] = []
        committed, fresh = _texts(ref), _texts(test)
        for kind in sorted(TOLERANT & committed.keys() & fresh.keys()):
            if len(committed[kind]) == len(fresh[kind]):  # otherwise nbval says so
                for (old_in, key), (new_in, _) in zip(committed[kind], fresh[kind], strict=True):
                    was, now = (self.sanitize(_DATA.sub("", side[key])) for side in (old_in, new_in))
                    found = differences(was, now, rtol, atol)
                    if found:
                        broken += [f"{kind}, {sentence}" for sentence in found]
                    else:
                        new_in[key] = old_in[key]
        same = super().compare_outputs(test, ref, skip_compare)
        for kind in PICTURES:
            before, after = (sum(kind in output.get("data", {}) for output in side) for side in (ref, test))
            if before != after:
                broken.insert(0, f"{before} {kind} committed, {after} in this run")
                same = False
        if not same and broken:
            more = [f"... and {len(broken) - SHOWN} more"] if len(broken) > SHOWN else []
            self.comparison_traceback[:0] = [*broken[:SHOWN], *more]
        return same


def _texts(outputs: Iterable[NotebookNode]) -> dict[str, list[tuple[NotebookNode, str]]]:
    """Media type or stream name -> where each of its texts is, in order: nbval's own pairing."""
    places: dict[str, list[tuple[NotebookNode, str]]] = defaultdict(list)
    for output in outputs:
        if output.output_type == "stream":
            places[output.name].append((output, "text"))
        for kind in output.get("data", {}):
            places[kind].append((output["data"], kind))
    return places


def _has_output(outputs: Iterable[NotebookNode]) -> bool:
    """Whether there is anything to see; stderr comes and goes with an optimizer's path."""
    kinds = _texts(outputs).keys() | {output.output_type for output in outputs if output.output_type == "error"}
    return bool(kinds - {"stderr", MEDIA_TYPE, PICTURE_TYPE})
