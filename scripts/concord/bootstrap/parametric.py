"""The parametric bootstrap: responses drawn from a model at its estimates, and every engine refitted to the same draws.

An interval is what its replicates are. One that failed is left out; one that stopped short of the optimum of its
response stays in, as it does in any bootstrap, but is counted: every replicate is held against the optimum that the
independent likelihood has for the same response.
"""

from __future__ import annotations

import os
import sys
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from tqdm import tqdm

from concord.account.line import INDEPENDENT
from concord.agreement.comparison import Comparison
from concord.bootstrap.replicates import Judged, Plan, computed
from concord.bootstrap.result import Bootstrap
from concord.engines import engine
from concord.engines.engine import CannotExpress
from concord.engines.fit import Fit
from concord.models.model import Model
from concord.reference import reference
from concord.simulation.refitter import sources


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
    engines : names of engines, and ``independent``; by default every one that refits, and that
    settings : ``default`` or ``tuned``; by default those of the comparison or fit, and ``default`` for a model
    scheduler : address of a dask scheduler; None for one-thread worker processes on this machine
    workers : how many of them, by default one a core; 0: none, in this process
    progress : whether to show a bar on stderr, in a terminal or in a notebook that somebody looks at

    Raises
    ------
    ValueError : there is no such engine, or nothing to draw
    InputError : no scheduler answers at the address
    LikelihoodError : the model's likelihood is not defined
    """
    known = sources()
    engines = known if engines is None else engines
    unknown = [each for each in engines if each not in known]
    if unknown or not engines:
        raise ValueError(f"engine {unknown[0] if unknown else ''!r}: one of {', '.join(known)}")
    if replicates < 1:
        raise ValueError(f"{replicates} replicates: at least one is needed")
    began = time.perf_counter()
    model = subject if isinstance(subject, Model) else subject.model
    settings = settings or (subject.settings if getattr(subject, "settings", "") == "tuned" else "default")
    if isinstance(subject, Fit):
        truth = subject.parameters
        origin = f"the estimates of {subject.engine}, {subject.settings} settings"
    else:
        against = subject.against if isinstance(subject, Comparison) else reference.of(model)
        truth, origin = against.parameters, f"the {against.noun}"
    absent = {}
    for name in engines:
        if name != INDEPENDENT:
            try:
                engine.engines()[name].call(model)
            except CannotExpress as error:
                absent[name] = str(error)
    present = tuple(each for each in dict.fromkeys(engines) if each not in absent)
    plan = Plan(uuid.uuid4().hex, model, truth, seed, present, settings)
    found: dict[int, Judged] = {}
    with _bar(replicates, model.id, progress) as tell:
        for number, outcome in computed(plan, replicates, scheduler, workers):
            found[number] = outcome
            tell()
    outcomes = {source: [found[number][0][source] for number in range(replicates)] for source in present}
    judging = np.array([found[number][1] for number in range(replicates)])
    seconds = time.perf_counter() - began
    return Bootstrap(model, origin, truth.packed, seed, settings, outcomes, judging, absent, seconds)


@contextmanager
def _bar(total: int, title: str, wanted: bool) -> Iterator[Any]:
    """A bar on stderr, in a terminal or in a notebook that has a front end; gone when it is done.

    A notebook that a program executes is to be read later: there a bar would only be left as output.
    """
    kernel = "ipykernel" in sys.modules and hasattr(_shell(), "kernel")
    watched = (
        bool(os.environ.get("JPY_SESSION_NAME") or os.environ.get("VSCODE_PID")) if kernel else sys.stderr.isatty()
    )
    shown = wanted and watched
    with tqdm(
        total=total, desc=title, unit="replicate", dynamic_ncols=not kernel, leave=False, disable=not shown
    ) as bar:
        yield bar.update
    if shown and kernel:
        from IPython.display import clear_output

        clear_output()


def _shell() -> Any:
    from IPython import get_ipython

    return get_ipython()
