"""A program in which packages say something else: a ``sitecustomize`` that every Python process of a command reads."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

# By what is wrong: the module, a change to it once it is imported, and the words of the lines that must be named.
WRONG = {
    "a random effect of lme4 + 10 %": (
        "concord.engines.lme4.engine",
        "old = module._random_effects\n"
        "def _random_effects(*given):\n"
        "    table = old(*given)\n"
        "    table.loc[0, 'estimate'] *= 1.1\n"
        "    return table\n"
        "module._random_effects = _random_effects",
        ["random effects, predicted effects"],
    ),
    "two levels of nlme's random effects swapped": (
        "concord.engines.nlme.engine",
        "old = module._random_effects\n"
        "def _random_effects(*given):\n"
        "    table = old(*given)\n"
        "    table['level'] = [table['level'][1], table['level'][0], *table['level'][2:]]\n"
        "    return table\n"
        "module._random_effects = _random_effects",
        ["random effects, predicted effects"],
    ),
    "a row of MixedLM's random effects dropped": (
        "concord.engines.statsmodels.engine",
        "old = module.random_effects\nmodule.random_effects = lambda *given: old(*given).drop(index=2)",
        ["random effects, predicted effects"],
    ),
    "lmerTest's p and df + 50 %": (
        "concord.engines.lme4.statements.standard_errors",
        "old = module.summary\n"
        "def summary(fit):\n"
        "    said = old(fit)\n"
        "    said.satterthwaite[:, [2, 4]] *= 1.5\n"
        "    return said\n"
        "module.summary = summary",
        ["tests, degrees of freedom", "tests, p-value"],
    ),
    "AIC + 1 %": (
        "concord.engines.lme4.statements.optimum",
        "from dataclasses import replace\n"
        "old = module._criteria\n"
        "def _criteria(fit):\n"
        "    said = old(fit)\n"
        "    return replace(said, aic=replace(said.aic, value=1.01 * said.aic.value))\n"
        "module._criteria = _criteria",
        ["criteria, AIC"],
    ),
    "R-squared + 10 %": (
        "concord.account.predictions.explained",
        "old = module.shares\nmodule.shares = lambda **given: tuple(1.1 * each for each in old(**given))",
        ["explained variance, marginal R-squared", "explained variance, conditional R-squared"],
    ),
    "standard errors of lme4 + 50 %": (
        "concord.engines.lme4.engine",
        "from dataclasses import replace\n"
        "made = module.from_native\n"
        "def from_native(*given, **named):\n"
        "    fit = made(*given, **named)\n"
        "    return replace(fit, std_error=1.5 * fit.std_error)\n"
        "module.from_native = from_native",
        ["standard errors, standard error"],
    ),
    "standard errors of MixedLM + 50 %": (
        "concord.engines.statsmodels.engine",
        "from dataclasses import replace\n"
        "made = module.from_native\n"
        "def from_native(*given, **named):\n"
        "    fit = made(*given, **named)\n"
        "    joint = None if fit.joint_std_error is None else 1.5 * fit.joint_std_error\n"
        "    return replace(fit, std_error=1.5 * fit.std_error, joint_std_error=joint)\n"
        "module.from_native = from_native",
        ["standard errors, standard error"],
    ),
}

# MixedLM does not come to an end, and has a small part of the time that an engine is given; the others have all of it.
ENDLESS = {
    "concord.engines.remote": [
        "import time\n"
        "answered, waited = module._answer, module.Asked.answer\n"
        "def _answer(model, engine, settings):\n"
        "    if engine == 'statsmodels':\n"
        "        time.sleep(600)\n"
        "    return answered(model, engine, settings)\n"
        "def answer(asked, timeout=None):\n"
        "    return waited(asked, timeout / 200 if asked.engine == 'statsmodels' else timeout)\n"
        "module._answer, module.Asked.answer = _answer, answer"
    ]
}

# The tuned fits do not come to an end.
ENDLESS_TUNED = {
    "concord.engines.remote": [
        "import time\n"
        "answered = module._answer\n"
        "def _answer(model, engine, settings):\n"
        "    if settings == 'tuned':\n"
        "        time.sleep(600)\n"
        "    return answered(model, engine, settings)\n"
        "module._answer = _answer"
    ]
}

_SITE = """
import importlib.util, sys

CHANGES = {changes!r}

class Finder:
    def find_spec(self, name, path, target=None):
        if name not in CHANGES:
            return None
        sys.meta_path.remove(self)
        try:
            spec = importlib.util.find_spec(name)
        finally:
            sys.meta_path.insert(0, self)
        execute = spec.loader.exec_module
        def changed(module):
            execute(module)
            for change in CHANGES[name]:
                room = {{"module": module, "__name__": name}}
                exec(change, room)
        spec.loader.exec_module = changed
        return spec

sys.meta_path.insert(0, Finder())
"""


def environment(folder: Path, wrong: Sequence[str]) -> dict[str, str]:
    """What a command must have in its environment for packages to be wrong so."""
    changes: dict[str, list[str]] = {}
    for each in wrong:
        changes.setdefault(WRONG[each][0], []).append(WRONG[each][1])
    return changed(folder, changes)


def changed(folder: Path, changes: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """What a command must have in its environment for modules to be changed so once they are imported."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "sitecustomize.py").write_text(_SITE.format(changes=dict(changes)))
    paths = [str(folder), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {"PYTHONPATH": os.pathsep.join(paths)}
