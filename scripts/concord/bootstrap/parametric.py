"""The parametric bootstrap: responses drawn from a model at its estimates, and every engine refitted to the same draws.

A replicate that failed is left out of the intervals; one that stopped short of the optimum of its
response stays in, as it does in any bootstrap, but is counted: every replicate is held against the optimum that the
independent likelihood has for the same response. Replicates are computed as those of a study (`concord.simulation`).
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd
import pyarrow as pa
from tqdm import tqdm

from concord.agreement.comparison import Comparison
from concord.bootstrap.result import Bootstrap
from concord.display.progress import shell as _shell
from concord.engines import engine as engine_module
from concord.engines.engine import CannotExpress
from concord.engines.fit import Fit
from concord.engines.replicate import likelihood_of
from concord.models.model import Model
from concord.reference import reference
from concord.simulation.case import Case
from concord.simulation.experiment import schema
from concord.simulation.refitter import refitting
from concord.simulation.store import Plan, Store
from concord.simulation.study import run
from concord.vocabulary import INDEPENDENT


def bootstrap(
    subject: Model | Comparison | Fit,
    replicates: int = 200,
    seed: int = 1,
    engines: Sequence[str] | None = None,
    settings: str | None = None,
    scheduler: str | None = None,
    workers: int | None = None,
    progress: bool = True,
) -> Bootstrap:
    """Draw responses from a model at its estimates and refit every engine to the same ones.

    A replicate has random numbers of its own: the result is the same for any number of workers.

    Parameters
    ----------
    subject : a model or a comparison, to draw from the reference's estimates; or a fit, to draw from its own
    replicates : how many responses
    seed : of all draws
    engines : names of engines, and ``independent``; by default every party to a verdict, and ``independent``
    settings : ``default`` or ``tuned``; by default those of the comparison or fit, and ``default`` for a model
    scheduler : address of a dask scheduler; None for one-thread worker processes on this machine
    workers : how many of them, by default one a core; 0: none, in this process
    progress : whether to show a bar on stderr, in a terminal or in a notebook that somebody looks at

    Raises
    ------
    ValueError : there is no such engine, or nothing to draw
    InputError : no scheduler answers at the address
    LikelihoodError : the model's likelihood is not defined
    StudyStopped : it could not go on: the scheduler or all workers are gone, or replicate after replicate has no result
    """
    known = (*refitting(), INDEPENDENT)
    engines = tuple(dict.fromkeys(known if engines is None else engines))
    if not engines or not set(engines) <= {*known}:
        unknown = next((engine for engine in engines if engine not in known), "")
        raise ValueError(f"engine {unknown!r}: one of {', '.join(known)}")
    if replicates < 1:
        raise ValueError(f"{replicates} replicates: at least one is needed")
    began = time.perf_counter()
    case, origin = _case(subject)
    settings = settings or ("tuned" if getattr(subject, "settings", "") == "tuned" else "default")
    absent = _absent(case.model, engines)
    sources = [engine for engine in engines if engine not in absent]
    pairs = tuple((source, settings) for source in sources if source != INDEPENDENT)
    likelihood_of(case.model, case.response(seed, 0))  # which raises the errors that every replicate would have
    plan = Plan((case,), seed, replicates, pairs, thorough=False)
    with TemporaryDirectory(prefix="concord-bootstrap-") as folder, _bar(replicates, case.model.id, progress) as tell:
        lost = run(plan, Path(folder), scheduler=scheduler, workers=workers, tell=tell).lost
        kept = [schema(case.model.design).empty_table(), *Store(Path(folder)).rows(case.name, plan.manifest)]
    rows = pa.concat_tables(kept).to_pandas()
    if lost:
        named = [INDEPENDENT, *(engine for engine, _ in pairs)]
        nothing = [{"replicate": draw.number, "engine": name, "error": draw.why} for draw in lost for name in named]
        rows = pd.concat([rows, pd.DataFrame(nothing)]).sort_values("replicate", kind="stable")
    return Bootstrap(case, origin, seed, settings, sources, rows, absent, time.perf_counter() - began)


def _absent(model: Model, names: Sequence[str]) -> dict[str, str]:
    """The engines that cannot write the model down, with the reason."""
    absent = {}
    for name in names:
        if name != INDEPENDENT:
            try:
                engine_module.engines()[name].call(model)
            except CannotExpress as error:
                absent[name] = str(error)
    return absent


def _case(subject: Model | Comparison | Fit) -> tuple[Case, str]:
    """The model with the parameters to draw from, and whose estimates these are, in words."""
    if isinstance(subject, Fit):
        origin = f"the estimates of {subject.engine}, {subject.settings} settings"
        return Case("bootstrap", subject.model, subject.parameters), origin
    model = subject if isinstance(subject, Model) else subject.model
    against = subject.against if isinstance(subject, Comparison) else reference.of(model)
    return Case("bootstrap", model, against.parameters), f"the {against.noun}"


@contextmanager
def _bar(total: int, title: str, wanted: bool) -> Iterator[Callable[[int, int], None]]:
    """A bar on stderr, in a terminal or in a notebook that has a front end; gone when it is done.

    A notebook that a program executes is to be read later: there a bar would only be left as output.
    """
    kernel = hasattr(_shell(), "kernel")
    watched = (
        bool(os.environ.get("JPY_SESSION_NAME") or os.environ.get("VSCODE_PID")) if kernel else sys.stderr.isatty()
    )
    shown = wanted and watched
    with tqdm(
        total=total, desc=title, unit="replicate", dynamic_ncols=not kernel, leave=False, disable=not shown
    ) as bar:
        yield lambda done, _: bar.update(done - bar.n)
    if shown and kernel:
        sys.modules["IPython"].display.clear_output()
