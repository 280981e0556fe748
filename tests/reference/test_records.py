"""Records of the reference: none is believed that was tampered with, and all or nothing is written."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from concord.data import datasets
from concord.models import model as models
from concord.reference import certification as certifying
from concord.reference import record as record_file
from concord.reference import reference
from concord.reference.record import ReferenceError
from support.references import committed
from support.tables import LINE, MIRROR

# ---- records that are not what they should be ----------------------------------------------------------------------

NAME, METHOD = "random_slope", "REML"


@pytest.fixture
def place(tmp_path):
    """A copy of Sitka's folder."""
    return Path(shutil.copytree(datasets.folder() / "sitka", tmp_path / "sitka"))


def model_in(place: Path, name: str = NAME, method: str = METHOD) -> models.Model:
    dataset = datasets.read(place)
    return models.Model(dataset, name, dataset.models[name], method)


def refused(place: Path) -> str:
    """What is said of the record, without the file, which is named first, and without what to do, which stands last."""
    with pytest.raises(ReferenceError) as caught:
        reference.of(model_in(place))
    message = str(caught.value)
    assert message.startswith(f"{place / 'reference.json'}: ") and "\n" not in message
    assert "make certify" in message or "certify anew" in message
    return message.removeprefix(f"{place / 'reference.json'}: ")


def edit(place: Path, change, sign: bool = False) -> None:
    file = place / "reference.json"
    content = json.loads(file.read_text(encoding="utf-8"))
    change(content[NAME][METHOD])
    if sign:
        content[NAME][METHOD]["checksum"] = record_file.checksum(content[NAME][METHOD])
    file.write_text(json.dumps(content), encoding="utf-8")


def test_an_untouched_copy_is_believed(place):
    """The copied folder itself gives the certified reference, and so it does rewritten with its checksum anew."""
    assert reference.of(model_in(place)).kind.startswith("certified")
    edit(place, lambda record: None, sign=True)
    assert reference.of(model_in(place)).kind.startswith("certified")


BROKEN = {
    "cut off": (lambda text: text[:5000], "not a reference file"),
    "empty": (lambda text: "", "not a reference file"),
    "no text": (lambda text: b"\xff\xfe\x00", "not a reference file"),
    "a list": (lambda text: "[]", "it is not a table of models"),
    "a number": (lambda text: "3", "it is not a table of models"),
    "a list of methods": (lambda text: '{"random_slope": ["REML"]}', "random_slope: it is not a table of methods"),
    "an unknown model": (
        lambda text: text.replace('"uncorrelated"', '"uncorelated"'),
        "uncorelated: the dataset has no",
    ),
    "an unknown method": (lambda text: text.replace('"ML"', '"MLE"', 1), "random_intercept.MLE: a method is one of"),
    "nothing": (lambda text: '{"random_slope": {"REML": null}}', "random_slope.REML: Input should be"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_file_that_is_no_reference_file_is_named(case, place):
    """Cut off, empty, of another shape, with names that nothing has: one line that names the file and the key."""
    change, message = BROKEN[case]
    file = place / "reference.json"
    spoilt = change(file.read_text(encoding="utf-8"))
    file.write_bytes(spoilt if isinstance(spoilt, bytes) else spoilt.encode())
    assert message in refused(place)


def put(*path_and_value):
    """A change of one entry of a record."""
    *keys, last, value = path_and_value

    def change(record):
        for key in keys:
            record = record[key]
        record[last] = value

    return change


def take(*keys):
    def change(record):
        for key in keys[:-1]:
            record = record[key]
        del record[keys[-1]]

    return change


def claim(**said):
    """A change of what a record says to be proved."""

    def change(record):
        for key in ("boxes", "seconds", "method", "stationary", "not_proved"):
            record["checks"].pop(key, None)
        record["checks"].update({"proved": "global", **said})

    return change


SHAPES = {
    "unknown key": (put("colour", "red"), "random_slope.REML.colour: unknown key"),
    "unknown check": (put("checks", "colour", "red"), "random_slope.REML.checks.colour: unknown key"),
    "no loglik": (take("loglik"), "random_slope.REML.loglik: this key is missing"),
    "no checksum": (take("checksum"), "random_slope.REML.checksum: this key is missing"),
    "no radius": (take("checks", "radius"), "random_slope.REML.checks.radius: this key is missing"),
    "a number for digits": (put("loglik", -62.48), "random_slope.REML.loglik: Input should be a valid string"),
    "words for digits": (put("theta", 0, "about 5"), "random_slope.REML.theta.0: String should match"),
    "nan": (put("estimates", 0, "estimate", "nan"), "random_slope.REML.estimates.0.estimate: String should match"),
    "a radius of nan": (put("checks", "radius", float("nan")), "random_slope.REML.checks.radius: "),
    "a word for a list": (put("theta", "none"), "random_slope.REML.theta: Input should be a valid list"),
    "another proof": (put("checks", "hessian", "fine"), "random_slope.REML.checks.hessian: "),
}


@pytest.mark.parametrize("sign", [True, False], ids=["with its checksum made anew", "as it is"])
@pytest.mark.parametrize("case", SHAPES)
def test_a_record_of_another_shape_is_refused_by_its_key(case, sign, place):
    """An unknown key, a missing one, a value of another type: the message names just that key."""
    change, message = SHAPES[case]
    edit(place, change, sign=sign and case != "no checksum")
    assert message in refused(place)


def digit(text: str, position: int) -> str:
    """The number with one significant digit changed."""
    places = [i for i, letter in enumerate(text) if letter.isdigit()]
    first = next(k for k, i in enumerate(places) if text[i] != "0")
    at = places[first + position]
    return text[:at] + str((int(text[at]) + 1) % 10) + text[at + 1 :]


def changed(*keys, position: int):
    def change(record):
        for key in keys[:-1]:
            record = record[key]
        record[keys[-1]] = digit(record[keys[-1]], position)

    return change


NUMBERS = {
    "loglik": ("loglik",),
    **{f"theta {i}": ("theta", i) for i in range(3)},
    **{f"estimate {i}": ("estimates", i, "estimate") for i in range(6)},
    **{f"std_error {i}": ("estimates", i, "std_error") for i in range(2)},
}


@pytest.mark.parametrize("position", [0, 29])
@pytest.mark.parametrize("case", NUMBERS)
def test_a_digit_changed_by_hand_is_noticed(case, position, place):
    """The first digit or the thirtieth of any number: the record was changed after it was certified."""
    edit(place, changed(*NUMBERS[case], position=position))
    assert refused(place).startswith("random_slope.REML: the record was changed after it was certified")


@pytest.mark.parametrize("position", [0, 7])
@pytest.mark.parametrize("case", NUMBERS)
def test_a_digit_changed_with_its_checksum_made_anew_is_noticed(case, position, place):
    """Theta, estimates, standard errors and log-likelihood belong together to what doubles can tell."""
    edit(place, changed(*NUMBERS[case], position=position), sign=True)
    key = NUMBERS[case][0]
    assert re.match(r"random_slope\.REML\.(theta|estimates|loglik): ", refused(place))
    if key == "loglik":
        assert refused(place).startswith("random_slope.REML.loglik: ")


def test_a_record_of_another_place_that_is_whole_in_itself_is_noticed(place):
    """Another model's numbers, each consistent with the others and yet no optimum of this one, are refused."""

    def other(record):
        twin = committed("sitka-random_slope", "ML")
        record.update({key: twin[key] for key in ("loglik", "theta", "estimates")})

    edit(place, other, sign=True)
    assert refused(place).startswith("random_slope.REML.")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (put("estimates", 1, "term", "Tyme"), "estimates: they are not those of the model's parameters"),
        (lambda record: record["estimates"].pop(), "estimates: they are not those of the model's parameters"),
        (lambda record: record["theta"].pop(), "theta: 2 numbers, the model has 3"),
        (take("estimates", 0, "std_error"), "estimates: the standard errors are not"),
        (put("order", [[0]]), "order: it is not an order of the terms' effects"),
        (put("order", [[1, 0]]), "theta: the criterion is not stationary there"),
        (put("checks", "boundary", [2]), "checks.boundary: it is not where theta is zero"),
        (claim(), "checks.proved: a proof is not a proof without its method"),
        (
            claim(boxes=7, method="by fiat", not_proved="the rest"),
            "checks.proved: a proof is not a proof without its method",
        ),
        (claim(boxes=7, method="by fiat", stationary=1), "checks.proved: a proof is not a proof without its method"),
        (claim(proved="reference"), "checks.proved: what is not proved is not said"),
        (claim(proved="reference", not_proved="the rest", boxes=3), "checks.proved: what is not proved is not said"),
    ],
)
def test_a_signed_record_of_other_parameters_is_refused(change, message, place):
    """Other names, too few numbers, another order: a line that says so, and no accident further on."""
    edit(place, change, sign=True)
    assert refused(place).startswith(f"random_slope.REML.{message}")


def test_a_record_says_how_far_it_is_proved(place):
    """A proof of the global optimum is part of what the reference is called; without it, it is a certified optimum."""
    edit(place, claim(boxes=7, method="by hand", seconds=0.5), sign=True)
    found = reference.of(model_in(place))
    assert (found.proved, found.boxes, found.noun) == ("global", 7, "global optimum (proved)")
    assert found.kind.startswith("certified: the global optimum, proved to lie within") and found.certified
    reference._kept.clear()
    edit(place, claim(proved="reference", not_proved="the rest"), sign=True)
    found = reference.of(model_in(place))
    assert (found.proved, found.boxes, found.noun) == ("reference", 0, "certified optimum")
    better = replace(found, proved="global", boxes=7).surpassed(found.level + 1, found, "all")
    assert (better.proved, better.boxes) == ("", 0) and "not certified" in better.kind


def test_a_changed_formula_or_table_is_noticed(place):
    """A record certified for another formula, or on another table, is not believed."""
    toml = place / "dataset.toml"
    text = toml.read_text(encoding="utf-8")
    toml.write_text(text.replace("size ~ Time + (1 + Time | tree)", "size ~ 1 + (1 + Time | tree)"), encoding="utf-8")
    assert refused(place).startswith(f"{NAME}.{METHOD}: certified for 'size ~ Time + (1 + Time | tree)', not 'size ~ 1")
    toml.write_text(text, encoding="utf-8")
    table = place / "sitka.csv"
    lines = table.read_text(encoding="utf-8").splitlines(keepends=True)
    table.write_text("".join([lines[0], *lines[:1:-1], lines[1]]), encoding="utf-8")
    digest = hashlib.sha256(table.read_bytes()).hexdigest()
    toml.write_text(re.sub('sha256 = ".*"', f'sha256 = "{digest}"', text), encoding="utf-8")
    assert refused(place).startswith(f"{NAME}.{METHOD}: certified on another table")


def test_without_a_record_the_optimum_is_found_and_said_to_be_not_certified(place):
    """No file, and no entry for the model or the method, mean a search in double precision, and `kind` says so."""
    file = place / "reference.json"
    content = json.loads(file.read_text(encoding="utf-8"))
    del content[NAME][METHOD]
    file.write_text(json.dumps(content), encoding="utf-8")
    found = reference.of(model_in(place))
    assert found.kind.startswith("not certified") and np.isnan(found.radius)
    assert found.loglik == pytest.approx(-62.483444561962, rel=0, abs=1e-9)
    assert reference.of(model_in(place, method="ML")).kind.startswith("certified")
    file.unlink()
    assert reference.of(model_in(place)).kind.startswith("not certified")


def test_a_singular_optimums_record_is_believed_when_read_again(tmp_path, make_model, monkeypatch):
    """A record whose factor begins with the second effect is whole: what was certified is what is read."""
    from dataclasses import replace

    monkeypatch.setattr(certifying, "answers", lambda model: [])  # engines are slow here: the grid finds it
    for frame, order, terms in ((MIRROR, [[1, 0]], 1), (LINE, None, 1)):
        made = make_model(frame, "y ~ x + (x | g)")
        model = models.Model(replace(made.dataset, place=tmp_path), "model", made.record, "REML")
        record = certifying.certify(model)
        assert record.get("order") == order and len(record["checks"]["boundary"]) == terms
        record_file.write(model.dataset, {("model", "REML"): record})
        found = reference.of(model)
        assert found.kind.startswith("certified") and found.boundary
        (tmp_path / "reference.json").unlink()


# ---- writing -------------------------------------------------------------------------------------------------------


def test_a_table_without_a_folder_of_its_own_has_no_place_for_records(make_model):
    dataset = replace(make_model(LINE, "y ~ x + (x | g)").dataset, place=None)
    with pytest.raises(ReferenceError, match="has no references"):
        record_file.write(dataset, {})


def test_writing_one_record_keeps_the_others(place):
    """The other models' records stay as they are, in the dataset's order, and what no model has goes."""
    file, dataset = place / "reference.json", datasets.read(place)
    before = json.loads(file.read_text(encoding="utf-8"))
    record = {**before[NAME][METHOD], "checksum": "new"}
    file.write_text(json.dumps({"gone": {"REML": {}}, **dict(reversed(before.items()))}), encoding="utf-8")
    assert record_file.write(dataset, {(NAME, METHOD): record}) == file
    after = json.loads(file.read_text(encoding="utf-8"))
    assert list(after) == list(dataset.models) and after[NAME][METHOD] == record
    before[NAME][METHOD] = record
    assert after == before


@pytest.mark.parametrize("spoilt", ["{", "[]", '{"random_slope": []}', '"\\ud800"', ""])
def test_what_cannot_be_read_is_written_anew(spoilt, place):
    """A file that is not a reference file is no obstacle to certifying."""
    file = place / "reference.json"
    record = json.loads(file.read_text(encoding="utf-8"))[NAME][METHOD]
    file.write_text(spoilt, encoding="utf-8")
    record_file.write(datasets.read(place), {(NAME, METHOD): record})
    assert json.loads(file.read_text(encoding="utf-8")) == {NAME: {METHOD: record}}
    assert reference.of(model_in(place)).kind.startswith("certified")


def test_what_fails_leaves_the_old_file(place, monkeypatch):
    """The old records stand there untouched and nothing is left beside them."""

    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    before, record = (place / "reference.json").read_bytes(), committed("sitka-random_slope", METHOD)
    beside = sorted(place.iterdir())
    dataset = datasets.read(place)
    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="No space left"):
        record_file.write(dataset, {(NAME, METHOD): record})
    assert (place / "reference.json").read_bytes() == before and sorted(place.iterdir()) == beside


def test_a_new_record_takes_the_place_of_what_was_read_before(place):
    """Once a record is written, the reference of a model that was asked for earlier is read anew."""
    model = model_in(place)
    (place / "reference.json").rename(place / "kept.json")
    assert reference.of(model).kind.startswith("not certified")
    record = json.loads((place / "kept.json").read_text(encoding="utf-8"))[NAME][METHOD]
    record_file.write(model.dataset, {(NAME, METHOD): record})
    assert reference.of(model).kind.startswith("certified")


def test_a_model_that_fails_stops_no_other(place, monkeypatch):
    """What cannot be certified is a line each; what was proved is written all the same."""
    record = committed("sitka-random_slope", METHOD)

    def certify(model):
        if model.method == "ML":
            raise ReferenceError(f"{model.id}, ML: no proof")
        return record

    monkeypatch.setattr(certifying, "certify", certify)
    (place / "reference.json").unlink()
    told = []
    failed = certifying.renew([model_in(place, method=method) for method in ("ML", "REML")], told.append)
    assert failed == ["sitka-random_slope, ML: no proof"]
    assert told[-1] == str(place / "reference.json") and "proved within" in told[0]
    assert json.loads((place / "reference.json").read_text(encoding="utf-8")) == {NAME: {METHOD: record}}
