"""A model in words and in mathematics (LaTeX), made from its design and not from its formula's text."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import pandas as pd

from concord.models.design import Design, DesignTerm
from concord.models.factors import TREATMENTS, factors
from concord.models.model import Model
from concord.models.parameters import entries
from concord.plots.style import listed

Key = tuple[str, str, str]

INTERCEPT = "(Intercept)"
WRITTEN = 6
"""So many fixed effects are written out; more are written as a sum."""
_LETTERS = "uvwabcd"


def equations(model: Model) -> list[str]:
    """The model: of every observation, of every random term, and of the residuals; a formula in LaTeX each."""
    design = model.design
    parts = [_mean(design.names), *(_effects(letter, term) for letter, term in _lettered(design)), r"\varepsilon_i"]
    response = rf"{_text(model.formula.response)}_i"
    return [
        f"{response} = {' + '.join(parts)}",
        *(_distribution(letter, term) for letter, term in _lettered(design)),
        rf"\varepsilon_i \sim N(0, \sigma^2{' / w_i' if model.formula.weights else ''})",
    ]


def symbols(design: Design) -> dict[Key, tuple[str, str]]:
    """The sign of every quantity in the equations, and what it is called, by its effect, group and term."""
    signs: dict[Key, tuple[str, str]] = {("loglik", "", "logLik"): (r"\log L", "log-likelihood")}
    for k, name in enumerate(design.names):
        signs["fixed", "", name] = rf"\beta_{{{k}}}", name
        signs["std_error", "", name] = rf"\mathrm{{SE}}(\hat\beta_{{{k}}})", f"standard error of {name}"
    for letter, term in _lettered(design):
        by = ("ran_pars", term.group)
        for i, j in entries(len(term.names)):
            one, other = term.names[i], term.names[j]
            if i == j:
                at = _at(letter, i, term)
                signs[*by, f"var__{one}"] = rf"\sigma_{{{at}}}^2", f"variance of {one} by {term.group}"
                signs[*by, f"sd__{one}"] = rf"\sigma_{{{at}}}", f"standard deviation of {one} by {term.group}"
            else:
                at, what = f"{letter}{i}{j}", f"of {one} and {other} by {term.group}"
                signs[*by, f"cov__{one}.{other}"] = rf"\sigma_{{{at}}}", f"covariance {what}"
                signs[*by, f"cor__{one}.{other}"] = rf"\rho_{{{at}}}", f"correlation {what}"
    residual = ("ran_pars", "Residual")
    signs[*residual, "var__Observation"] = r"\sigma^2", "residual variance"
    signs[*residual, "sd__Observation"] = r"\sigma", "residual standard deviation"
    return signs


def words(model: Model) -> list[str]:
    """The model in a sentence for its mean, one for the coding of each factor in it, one for every random term, and one
    for the residuals.
    """
    design = model.design
    others = [name for name in design.names if name != INTERCEPT]
    start = ["an intercept"] if INTERCEPT in design.names else []
    effects = [f"the effect{'s' * (len(others) > 1)} of {listed(others)}"] if others else []
    sentences = [f"The mean of {model.formula.response} is {' plus '.join([*start, *effects])}."]
    sentences += _codings(model)
    sentences += [_random(term) for term in design.terms]
    if len(design.terms) > 1:
        sentences.append("Effects of different random terms are uncorrelated.")
    weights = model.formula.weights
    divided = f"one variance, divided by each observation's {weights}" if weights else "one variance"
    sentences.append(f"The residuals of the {len(design.y)} observations have {divided}.")
    return sentences


def _codings(model: Model) -> Iterator[str]:
    """How R codes the factors of the fixed part, which the effects' meaning hangs on."""
    for factor in factors(model) if INTERCEPT in model.design.names else ():
        dtype = model.frame[factor.name].dtype
        if isinstance(dtype, pd.CategoricalDtype) and factor.coding == TREATMENTS:
            yield f"{factor.name} is coded by treatments: each level is held to {factor.baseline}."
        elif isinstance(dtype, pd.CategoricalDtype):
            yield f"{factor.name} is {'ordered, and ' if dtype.ordered else ''}coded by {factor.coding}."


def _random(term: DesignTerm) -> str:
    own = ["the intercept" if name == INTERCEPT else f"the effect of {name}" for name in term.names]
    whose = f"Each of the {len(term.levels)} levels of {term.group} has"
    if len(own) == 1:
        return f"{whose} a deviation of its own from {own[0]}."
    pairs = _count(len(own) * (len(own) - 1) // 2, "covariance")
    return f"{whose} deviations of its own from {listed(own)}, correlated in any way ({pairs})."


def _count(count: int, noun: str) -> str:
    return f"{count} {noun}{'s' * (count != 1)}"


def _lettered(design: Design) -> list[tuple[str, DesignTerm]]:
    return list(zip(_LETTERS, design.terms, strict=False))


def _mean(names: Sequence[str]) -> str:
    if len(names) > WRITTEN:
        return rf"\sum_{{k=0}}^{{{len(names) - 1}}} \beta_{{k}} x_{{ik}}"
    return " + ".join(rf"\beta_{{{k}}}{_times(name)}" for k, name in enumerate(names))


def _effects(letter: str, term: DesignTerm) -> str:
    place = rf"{_text(term.group)}[i]"
    return " + ".join(
        rf"{letter}_{{{f'{k},' if len(term.names) > 1 else ''}{place}}}{_times(name)}"
        for k, name in enumerate(term.names)
    )


def _times(name: str) -> str:
    """A column as a factor of its effect; an interaction is a product."""
    if name == INTERCEPT:
        return ""
    return r"\," + r"\,".join(rf"{_text(part)}_i" for part in name.split(":"))


def _text(name: str) -> str:
    plain = re.sub(r"([\\{}$&#^_%~])", r"\\\1", name)
    return rf"\text{{{plain}}}"


def _at(letter: str, place: int, term: DesignTerm) -> str:
    return f"{letter}{place}" if len(term.names) > 1 else letter


def _distribution(letter: str, term: DesignTerm) -> str:
    q = len(term.names)
    if q == 1:
        return rf"{letter}_j \sim N(0, \sigma_{letter}^2), \quad j = 1, \dots, {len(term.levels)}"
    matrix = r" \\ ".join(
        " & ".join(
            rf"\sigma_{{{letter}{i}}}^2" if i == j else rf"\sigma_{{{letter}{min(i, j)}{max(i, j)}}}" for j in range(q)
        )
        for i in range(q)
    )
    vector = r" \\ ".join(rf"{letter}_{{{i},j}}" for i in range(q))
    zero = r" \\ ".join("0" * q)
    return (
        rf"\begin{{pmatrix}} {vector} \end{{pmatrix}} \sim N\left( \begin{{pmatrix}} {zero} \end{{pmatrix}}, "
        rf"\begin{{pmatrix}} {matrix} \end{{pmatrix}} \right), \quad j = 1, \dots, {len(term.levels)}"
    )
