"""A campaign of kills: whatever ends a command, nothing is lost, nothing runs on, and the next run is clean.

``python tests/stress/kills.py --tries 500 --out tests/stress/kills.tsv`` (with ``scripts`` on PYTHONPATH) runs every
command on tiny tables, ends it at a random moment in a random way, and looks at what is left: processes that the
command started (they are known by a mark in their environment), temporary files, half-written files, a traceback, the
exit status; then the same user's next run, which must be clean. Moments are drawn from a seed, but what a command is at
then depends on the machine. The tally adds to the one that is there; `test_kills.py` reads it, and tries one anew.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

MARK = "CONCORD_KILLED"
DONE = 1.0
"""A command that ends well in so many seconds after a signal had done all when it came."""
PATIENCE = 20.0
# A shell says 130 for both: Python ends by the signal itself where it came in code that was made of a text, as that of
# data classes is while modules are imported.
INTERRUPTED = (130, -signal.SIGINT)
WAYS = {
    "SIGINT": (signal.SIGINT, "parent"),
    "SIGINT, group": (signal.SIGINT, "group"),
    "SIGINT, twice": (signal.SIGINT, "twice"),
    "SIGTERM": (signal.SIGTERM, "parent"),
    "SIGHUP": (signal.SIGHUP, "parent"),
    "SIGKILL": (signal.SIGKILL, "parent"),
    "SIGKILL, group": (signal.SIGKILL, "group"),
    "SIGKILL, a child": (signal.SIGKILL, "child"),
}
TABLE = "y,x,g\n" + "".join(
    f"{1 + 0.9 * x + 0.3 * g + 0.1 * ((7 * x + 3 * g) % 5)},{x},{'abcde'[g]}\n" for g in range(5) for x in range(4)
)
FORMULA = "y ~ x + (1 | g)"
BARE = ["--details", "0", "--search", "0", "--sweep", "0"]
NOTEBOOK = {
    "cells": [
        {
            "cell_type": "code",
            "execution_count": None,
            "id": id,
            "metadata": {"tags": tags},
            "outputs": [],
            "source": text,
        }
        for id, tags, text in (
            ("a", ["parameters"], 'method = "REML"'),
            ("b", [], "from concord import r"),
            ("c", [], 'import time\ntime.sleep(1)\nr.call("sum", 1.0)'),
        )
    ],
    "metadata": {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}},
    "nbformat": 4,
    "nbformat_minor": 5,
}


ROOT = Path(__file__).resolve().parents[2]
OF_A_CHECKOUT = ("cases", "certify", "upgrade", "versions")
"""The commands that are of the catalogue: they run in a checkout of their own, with one data set."""


def commands(place: Path) -> dict[str, tuple[list[str], float]]:
    """The commands, run in a folder with what they need, and about how many seconds they take."""
    (place / "t.csv").write_text(TABLE)
    (place / "concord.toml").write_text(f'[[models]]\nname = "m"\ndata = "t.csv"\nformula = "{FORMULA}"\n')
    (place / "books").mkdir(exist_ok=True)
    (place / "books" / "small.ipynb").write_text(json.dumps(NOTEBOOK, indent=1) + "\n")
    model = ["--model", "dietox-random_intercept"]
    small = ["--model", "dyestuff-random_intercept"]
    return {
        "translate": (["translate", FORMULA, "t.csv"], 2),
        "explain": (["explain", "--formula", "y ~ x", "--groups", "g"], 2),
        "check": (["check", "--record", "out/b.json", "--junit-xml", "out/j.xml"], 8),
        "compare": (["compare", "t.csv", FORMULA, "--output", "out", *BARE], 12),
        "simulate": (
            ["simulate", "sleepstudy-random_intercept", "--replicates", "20", "--workers", "1", "--output", "out"],
            15,
        ),
        "reports": (["reports", "--folder", "books", "--output", "out"], 10),
        "refresh": (["refresh", "--folder", "books"], 6),
        "verdicts": (["verdicts", "--output", "out/v.json", *model], 8),
        "cases": (["cases", "--output", "out"], 5),
        "certify": (["certify", *small], 8),
        "versions": (["versions", "--lane", "here", "--folder", "lanes", "--output", "out", *small], 10),
        "upgrade": (["upgrade", "--folder", "out", *small, "--", f"numpy=={version('numpy')}"], 8),
    }


def checkout(place: Path) -> Path:
    """A checkout in a folder: the code, whose files are links to these, and one data set; its folder for PYTHONPATH."""
    shutil.copytree(ROOT / "scripts", place / "scripts", copy_function=os.link)
    shutil.copytree(ROOT / "datasets" / "dyestuff", place / "datasets" / "dyestuff")
    (place / "notebooks").mkdir()
    shutil.copy(ROOT / "pyproject.toml", place)
    for others in (place / "scripts" / "concord-cases" / "datasets").iterdir():
        shutil.rmtree(others)
    return place / "scripts"


@dataclass
class Run:
    """A command that runs in a folder of its own."""

    place: Path
    words: list[str]

    def __post_init__(self) -> None:
        self.mark = f"{MARK}={self.place}"
        self.process = self.start(self.words)

    def start(self, words: list[str]) -> subprocess.Popen[bytes]:
        environment = os.environ | {MARK: str(self.place), "TMPDIR": str(self.place / "tmp")}
        if (code := self.place / "scripts").is_dir():
            environment["PYTHONPATH"] = str(code)
        # In a file: an orphan that has a pipe would keep this waiting
        with (self.place / "said").open("wb") as said:
            return subprocess.Popen(
                [sys.executable, "-m", "concord", *words],
                cwd=self.place,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                start_new_session=True,
            )

    @property
    def said(self) -> str:
        return (self.place / "said").read_text(errors="replace")

    def others(self) -> list[int]:
        """The processes of this run, without its first."""
        running = []
        for folder in Path("/proc").iterdir():
            if folder.name.isdigit() and int(folder.name) != self.process.pid:
                with suppress(OSError):
                    state = (folder / "stat").read_text().rpartition(")")[2].split()[0]
                    if state != "Z" and self.mark.encode() in (folder / "environ").read_bytes().split(b"\0"):
                        running.append(int(folder.name))
        return running

    @property
    def begun(self) -> bool:
        """Whether it catches signals of its own: while Python starts, no program can say what they do."""
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        caught = next((line.split()[1] for line in lines if line.startswith("SigCgt")), "0")
        return bool(int(caught, 16) & 1 << (signal.SIGHUP - 1))

    def end(self, way: str, chance: random.Random) -> bool:
        """End it in one way; whether there was something to end."""
        number, whom = WAYS[way]
        if self.process.poll() is not None:
            return False
        children = self.others()
        if whom == "child" and not children:
            return False
        with suppress(ProcessLookupError):
            if whom == "child":
                os.kill(chance.choice(children), number)
            elif whom == "group":
                os.killpg(self.process.pid, number)
            else:
                os.kill(self.process.pid, number)
                if whom == "twice":
                    time.sleep(chance.choice((0, 0.01, 0.3)))
                    self.process.send_signal(number)
        return True


def left(run: Run) -> list[str]:
    """Processes that still run some seconds after the end; they are ended. What imports notices only afterwards."""
    deadline = time.monotonic() + PATIENCE
    while (orphans := run.others()) and time.monotonic() < deadline:
        time.sleep(0.1)
    said = []
    for pid in orphans:
        with suppress(OSError):
            said.append("orphan: " + Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()[:90])
            os.kill(pid, signal.SIGKILL)
    return said


def files_wrong(place: Path) -> list[str]:
    """Files under their final names that are not whole, and what was written beside them."""
    said = []
    for path in [path for name in ("out", "books", "datasets") for path in (place / name).rglob("*")]:
        if path.name.endswith((".json", ".ipynb")) and not path.name.startswith("."):
            try:
                json.loads(path.read_text())
            except ValueError:
                said.append(f"half written: {path.name}")
        if path.suffix == ".html" and "</html>" not in path.read_text():
            said.append(f"half written: {path.name}")
    return said


def trial(command: str, way: str, chance: random.Random, base: Path, again: bool = False) -> list[str] | None:
    """One kill: what was wrong; None where the command had ended before.

    Parameters
    ----------
    again : run the same command after it too, to its end
    """
    place = Path(tempfile.mkdtemp(prefix="k", dir=base))
    try:
        (place / "tmp").mkdir()
        words, seconds = commands(place)[command]
        if command in OF_A_CHECKOUT:
            checkout(place)
        run = Run(place, words)
        wait = chance.uniform(0, seconds)
        with suppress(subprocess.TimeoutExpired):
            run.process.wait(wait)
        early = run.process.poll() is None and not run.begun
        if not run.end(way, chance):
            run.process.wait(120)
            left(run)
            return None
        wrong: list[str] = []
        signalled = time.monotonic()
        try:
            status = run.process.wait(120 if "child" in way else PATIENCE)
        except subprocess.TimeoutExpired:
            wrong.append("does not end")
            run.process.kill()
            status = run.process.wait()
        wrong += left(run) + files_wrong(place)
        killed = WAYS[way][0] == signal.SIGKILL
        if status == 0 and not wrong and not killed and time.monotonic() - signalled < DONE:
            return None
        if "Traceback" in run.said and not early:
            wrong.append("traceback: " + run.said[-1500:])
        if not killed and not early:
            if status not in INTERRUPTED or "concord: interrupted" not in run.said:
                wrong.append(f"exit status {status}: {run.said[-300:]}")
            wrong += [f"temporary: {path.name}" for path in (place / "tmp").iterdir()]
        wrong += after(run, words if again else None)
        return wrong
    finally:
        shutil.rmtree(place, ignore_errors=True)


def after(run: Run, words: list[str] | None) -> list[str]:
    """What the next run leaves in the same place, and what of its own is wrong."""
    wrong = []
    if run.start(["translate", FORMULA, "t.csv"]).wait(120):
        wrong.append(f"the next run: {run.said[-300:]}")
    if words:
        if (status := run.start(words).wait(300)) not in (0, 1) or "Traceback" in run.said:
            wrong.append(f"the same command again: {status}: {run.said[-300:]}")
        wrong += files_wrong(run.place)
    names = [path.name for path in (run.place / "tmp").iterdir()]
    asides = [path.name for path in (run.place / "out").rglob("*.aside")] if words else []
    return wrong + [f"after the next run: {name}" for name in names + asides]


def main() -> None:
    """Try, and add to the tally."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--tries", type=int, default=500)
    options.add_argument("--seconds", type=float, default=1e9)
    options.add_argument("--seed", type=int, default=int(time.time()))
    options.add_argument("--command", action="append")
    options.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".tsv"))
    args = options.parse_args()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # what is started in the background would ignore it
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # and what is started by nohup this one
    chance, began, tries = random.Random(args.seed), time.monotonic(), 0
    tally: dict[tuple[str, str], list[int]] = {}
    if args.out.exists():
        with args.out.open(newline="") as rows:
            for row in csv.DictReader(rows, delimiter="\t"):
                tally[row["command"], row["signal"]] = [int(row["tries"]), int(row["failures"])]
    with tempfile.TemporaryDirectory(prefix="kills-", dir="/tmp") as folder:
        names = args.command or list(commands(Path(folder)))
        while tries < args.tries and time.monotonic() - began < args.seconds:
            command, way = chance.choice(names), chance.choice(list(WAYS))
            wrong = trial(command, way, chance, Path(folder), again=tries % 10 == 9)
            if wrong is None:
                continue
            tries += 1
            counts = tally.setdefault((command, way), [0, 0])
            counts[0] += 1
            counts[1] += bool(wrong)
            for line in wrong:
                print(f"{command}, {way}: {line}", flush=True)
            lines = [f"{name}\t{how}\t{n}\t{failed}\n" for (name, how), (n, failed) in sorted(tally.items())]
            args.out.write_text("".join(["command\tsignal\ttries\tfailures\n", *lines]))


if __name__ == "__main__":
    main()
