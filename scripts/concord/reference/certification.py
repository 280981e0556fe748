"""Certifying: a model's optimum found, solved and proved, as a record for its dataset's reference.json."""

from __future__ import annotations

import contextlib
import datetime
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from concord.arrays import Integers, Vector
from concord.engines.answers import answer
from concord.engines.engine import engines
from concord.engines.fit import Fit
from concord.likelihood.certificate import Certificate, CertificateError
from concord.likelihood.certificate import certify as prove
from concord.likelihood.likelihood import Likelihood, LikelihoodError
from concord.likelihood.optimum import Optimum
from concord.models.decimals import Columns
from concord.models.design import Design
from concord.models.model import Model
from concord.models.parameters import KEY, Parameters, keys
from concord.models.syntax import FormulaError
from concord.proof import global_proof
from concord.reference.factors import factored, factors
from concord.reference.record import NOT_PROVED, ReferenceError, checksum, told, write
from concord.reference.reference import FLAT, SAME

DIGITS = 30
# Bits and the half-width of the box in theta, one after the other until the optimum is proved. Where an origin is far
# away, as that of Unix seconds, theta has entries of 1e-10 beside some of 1e4, and the first box is too wide.
PRECISIONS = ((400, 1e-40), (800, 1e-60))
# A proof that finds a better optimum is begun anew from there, so often.
ANEW = 3


def answers(model: Model) -> Iterator[Fit]:
    """What every engine says, by every settings, as far as it can."""
    for name, engine in engines().items():
        for settings in engine.settings:
            got = answer(model, name, settings)
            if isinstance(got, Fit):
                yield got


def certify(model: Model, seconds: float = 600.0, asked: bool = True) -> dict[str, Any]:
    """Find, solve and prove the optimum of a model; the record for reference.json.

    The starts are those of the wide search, a grid over theta, and every engine's answer at every settings.

    Parameters
    ----------
    seconds : the proof that no better optimum exists is given up after this time, which is said in the record
    asked : whether the engines' answers are starts, too

    Raises
    ------
    CertificateError : no optimum could be proved; the message says which step failed
    """
    if model.formula.structured:
        raise CertificateError(f"{model.id}, {model.method}: {model.formula.structured} has a structure: no proof here")
    likelihood = Likelihood(model.design, model.reml)
    starts = [*likelihood.starts(), *grid(likelihood)]
    for fit in answers(model) if asked else ():
        with contextlib.suppress(LikelihoodError):  # an answer that is not a parameter of the model is no start either
            starts.append(likelihood.theta_at(fit.parameters))
    try:
        optima = likelihood.optima(starts, along=True)
        for _ in range(ANEW):
            proof = _proved(model, optima[0], seconds)
            if proof.better is None:
                break
            optima = likelihood.merged([*optima, *likelihood.optima([proof.better])])
        else:
            raise CertificateError("the proof goes on finding better optima")
    except (LikelihoodError, CertificateError) as error:
        raise CertificateError(f"{model.id}, {model.method}: {error}") from error
    others = [
        other for other in optima[1:] if other.loglik < optima[0].loglik - SAME and _is_minimum(likelihood, other)
    ]
    proved = proof.certificate
    record = {
        "formula": model.record.formula,
        "data_sha256": model.dataset.sha256,
        **_numbers(model, proved, proof.places),
        "checks": {
            "starts": len(starts),
            "other_optima": [_other(model, other) for other in others],
            "bits": list(proved.bits),
            "digits_agreed": proved.agreed,
            "krawczyk_box": proved.box,
            "radius": proved.radius,
            "hessian": "positive definite on the box",
            "boundary": list(proved.boundary),
            **proof.extent,
            "double_precision": _apart(optima[0], proved),
        },
        "provenance": {
            "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
            "versions": {name: version(name) for name in ("concord", "numpy", "scipy", "python-flint")},
        },
    }
    return {**record, "checksum": checksum(record)}


@dataclass(frozen=True, eq=False)
class _Proof:
    """What is proved of an optimum.

    Attributes
    ----------
    certificate : that it is a strict local optimum
    places : for every term the place of each effect in the order that the certificate is for, shape (q,)
    extent : how far it is proved, as entries of the record's checks
    better : whitened theta, shape (m,), of a better optimum that the proof found; None where it found none
    """

    certificate: Certificate
    places: list[Integers]
    extent: dict[str, Any]
    better: Vector | None = None


def _proved(model: Model, optimum: Optimum, seconds: float) -> _Proof:
    """An optimum solved and proved from the table's exact numbers."""
    columns = Columns(model.formula, model.frame, model.design)
    proved, design, places = _local(model, optimum, columns)
    try:
        proof = global_proof.prove_model(design, model.reml, proved.theta, seconds, columns)
    except global_proof.BetterOptimumError as error:
        relative = [
            factor @ factor.T for factor in factors(error.theta, [np.argsort(place).tolist() for place in places])
        ]
        return _Proof(proved, places, {}, Likelihood(model.design, model.reml).theta_of(relative))
    except CertificateError as error:
        return _Proof(proved, places, {"proved": "reference", "not_proved": f"{NOT_PROVED}: {error}"})
    extent = {"proved": "global", "boxes": proof.boxes, "seconds": round(proof.seconds, 2), "method": proof.method}
    return _Proof(proved, places, {**extent, **({"stationary": proof.stationary} if proof.stationary else {})})


def _local(model: Model, optimum: Optimum, columns: Columns) -> tuple[Certificate, Design, list[Integers]]:
    """The certificate that an optimum is a strict local one; the design and the places of its effects there."""
    design, places, theta = factored(model.design, optimum.parameters)
    proved = _solved(model, design, theta, columns)
    if proved.agreed < DIGITS:
        raise CertificateError(f"two precisions agree to {proved.agreed} digits only")
    if abs(float(proved.loglik) - optimum.loglik) > SAME * max(1.0, abs(optimum.loglik) / 1e3):
        raise CertificateError("the exact criterion led away from the optimum that was found")
    return proved, design, places


def _other(model: Model, optimum: Optimum) -> dict[str, Any]:
    """What a record says of a lower optimum."""
    searched = {"loglik": optimum.loglik, "theta": optimum.theta.tolist()}
    try:
        proved, _, places = _local(model, optimum, Columns(model.formula, model.frame, model.design))
    except CertificateError:
        packed, errors = optimum.parameters.packed.tolist(), optimum.std_error.tolist()
        estimates = _rows(model.design, map(repr, packed), map(repr, errors))
        return {**searched, "proved": False, "decimals": repr(float(optimum.loglik)), "estimates": estimates}
    numbers = _numbers(model, proved, places)
    return {**searched, "proved": True, "decimals": numbers["loglik"], "estimates": numbers["estimates"]}


def _solved(model: Model, design: Design, theta: Sequence[float], columns: Columns) -> Certificate:
    """The certificate by the least precision that gives one."""
    *tried, last = PRECISIONS
    for bits, box in tried:
        with contextlib.suppress(CertificateError):
            return prove(design, model.reml, theta, columns, bits, box)
    return prove(design, model.reml, theta, columns, *last)


def _numbers(model: Model, proved: Certificate, places: Sequence[Integers]) -> dict[str, Any]:
    """What a record says of the optimum itself, in decimals."""

    def decimal(value: Any) -> str:
        return str(value.str(DIGITS, radius=False))

    covariances = [
        np.array([[matrix[at[i]][at[j]] for j in range(len(at))] for i in range(len(at))], dtype=object)
        for matrix, at in zip(proved.estimates["covariances"], places, strict=True)
    ]
    fixed = np.array(proved.estimates["fixed"], dtype=object)
    balls = Parameters(fixed, tuple(covariances), proved.estimates["residual_variance"]).packed
    rows = _rows(model.design, map(decimal, balls), map(decimal, proved.estimates["std_error"]))
    orders = [np.argsort(place).tolist() for place in places]
    return {
        "data": proved.data,
        "loglik": decimal(proved.loglik),
        "theta": [decimal(value) for value in proved.theta],
        **({"order": orders} if any(order != sorted(order) for order in orders) else {}),
        "estimates": rows,
    }


def _rows(design: Design, values: Iterable[str], errors: Iterable[str]) -> list[dict[str, str]]:
    """The estimates row by row: the parameters' values, and standard errors of the first of them."""
    rows = [dict(zip(KEY, key, strict=True), estimate=value) for key, value in zip(keys(design), values, strict=True)]
    for row, error in zip(rows, errors, strict=False):
        row["std_error"] = error
    return rows


def _apart(optimum: Optimum, proved: Certificate) -> dict[str, float]:
    """How far the optimum in double precision is from the certified one."""
    fixed = np.array([float(estimate) for estimate in proved.estimates["fixed"]])
    farthest = np.abs((optimum.fixed - fixed) / optimum.std_error).max(initial=0.0)
    return {"loglik": float(optimum.loglik - float(proved.loglik)), "standard_errors": float(farthest)}


def renew(chosen: Sequence[Model], tell: Callable[[str], None]) -> list[str]:
    """Certify models and write what was proved of each at once into its dataset's reference.json; a failure stops no
    other model.

    Returns
    -------
    what failed, a line each

    Raises
    ------
    OSError : it cannot be written; what was proved before is
    """
    failed = []
    written: dict[Path, None] = {}
    for model in chosen:
        try:
            record = certify(model)
        except FormulaError as error:
            failed.append(f"{model.id}, {model.method}: {error}")
            continue
        except (ReferenceError, CertificateError, LikelihoodError) as error:
            failed.append(str(error))
            continue
        checks = record["checks"]
        tell(f"{model.id}, {model.method}: logLik {record['loglik'][:20]}, {told(checks)}")
        written[write(model.dataset, {(model.name, model.method): record})] = None
    for file in written:
        tell(str(file))
    return failed


def grid(likelihood: Likelihood) -> list[Vector]:
    """Starts over whitened theta: every term's effects from small to large, their correlations from low to high."""
    choices = []
    for term in likelihood.design.terms:
        q = len(term.names)
        # A common correlation of q effects cannot be below -1 / (q - 1).
        lowest = -0.9 / (q - 1) if q > 1 else 0.0
        shapes = [np.eye(q) + c * (1 - np.eye(q)) for c in ((lowest, 0.0, 0.9) if q > 1 else (0.0,))]
        roots = [np.linalg.cholesky(shape).T[np.triu_indices(q)] for shape in shapes]
        choices.append([scale * root for scale in (0.03, 0.3, 1.0, 3.0) for root in roots])
    return [np.concatenate(parts) for parts in itertools.product(*choices)]


def _is_minimum(likelihood: Likelihood, optimum: Optimum) -> bool:
    """Whether a search has settled, and not on a saddle."""
    bends = np.linalg.eigvalsh(likelihood.hessian(optimum.theta))
    return optimum.gradient < SAME and bends.min(initial=1.0) >= -FLAT * max(1.0, np.abs(bends).max(initial=1.0))
