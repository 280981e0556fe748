"""Certificates are of the decimals that a table prints, through every way in which R makes columns of them."""

from __future__ import annotations

import io
import json
from decimal import Decimal

import mpmath
import numpy as np
import pandas as pd
import pytest
from flint import fmpq

from concord.data import delimited
from concord.data.source import DECIMALS
from concord.likelihood.certificate import certify
from concord.likelihood.likelihood import Likelihood
from concord.models import model as models
from concord.models import preparation
from concord.models.decimals import Columns, InexactError
from concord.models.formula import parse
from concord.reference import record as record_file
from concord.reference import reference

DIGITS = 50

CSV = """y,x,dose,f,g
4.51,0.1,low,a,1
5.12,0.7,mid,b,1
6.33,1.9,high,a,1
3.94,0.2,mid,b,2
4.87,1.1,low,a,2
7.21,2.3,high,b,2
4.06,0.4,low,b,3
5.93,1.3,mid,a,3
6.88,2.9,high,a,3
3.17,0.3,mid,a,4
4.74,0.9,high,b,4
5.05,1.7,low,b,4
"""


def columns_of(model) -> Columns:
    """The exact columns of a model on its own table."""
    return Columns(model.formula, model.frame, model.design)


@pytest.fixture
def made(make_model):
    def of(formula: str, method: str = "REML", text: str = CSV) -> models.Model:
        frame = delimited.parse(text.encode(), "made.csv")
        if "dose" in frame:
            frame["dose"] = pd.Categorical(frame["dose"], ["low", "mid", "high"], ordered=True)
        return make_model(preparation.prepare(frame, parse(formula)).frame, formula, method)

    return of


def certified(model: models.Model):
    optimum = Likelihood(model.design, model.reml).optimum()
    design, _, theta = reference.factored(model.design, optimum.parameters)
    return certify(design, model.reml, theta, columns_of(model))


def dense(X: mpmath.matrix, y: mpmath.matrix, groups: list[str], theta: mpmath.mpf, reml: bool) -> mpmath.mpf:
    """The log-likelihood of a random intercept, profiled, from n x n matrices."""
    n, p = X.rows, X.cols
    V = mpmath.matrix(n, n)
    for i in range(n):
        for j in range(n):
            V[i, j] = (i == j) + (theta**2 if groups[i] == groups[j] else 0)
    inverse = V**-1
    normal = X.T * inverse * X
    left = y - X * mpmath.lu_solve(normal, X.T * inverse * y)
    nu = n - p if reml else n
    value = mpmath.log(mpmath.det(V)) + nu * (1 + mpmath.log(2 * mpmath.pi * (left.T * inverse * left)[0] / nu))
    return -(value + (mpmath.log(mpmath.det(normal)) if reml else 0)) / 2


ROWS = list(csv_row for csv_row in pd.read_csv(io.StringIO(CSV), dtype=str).to_dict("records"))


def polynomials(points: list[mpmath.mpf], degree: int) -> list[list[mpmath.mpf]]:
    """Orthonormal ones by Gram and Schmidt on powers, another way than the code's."""
    basis = [[mpmath.mpf(1) / mpmath.sqrt(len(points))] * len(points)]
    for k in range(1, degree + 1):
        column = [each**k for each in points]
        for other in basis:
            inner = mpmath.fsum(a * b for a, b in zip(column, other, strict=True))
            column = [a - inner * b for a, b in zip(column, other, strict=True)]
        length = mpmath.sqrt(mpmath.fsum(each * each for each in column))
        basis.append([each / length for each in column])
    return basis[1:]


def columns(formula: str) -> tuple[list[list[mpmath.mpf]], list[mpmath.mpf]]:
    """X, column by column, and y of a formula, written by hand."""
    x, y = ([mpmath.mpf(row[name]) for row in ROWS] for name in ("x", "y"))
    one = [mpmath.mpf(1)] * len(ROWS)
    b = [mpmath.mpf(row["f"] == "b") for row in ROWS]
    contrasts = polynomials([mpmath.mpf(each) for each in (1, 2, 3)], 2)
    place = {"low": 0, "mid": 1, "high": 2}
    L, Q = ([contrast[place[row["dose"]]] for row in ROWS] for contrast in contrasts)
    mean = mpmath.fsum(x) / len(x)
    deviation = mpmath.sqrt(mpmath.fsum((each - mean) ** 2 for each in x) / (len(x) - 1))
    made = {
        "y ~ x + (1 | g)": ([one, x], y),
        "y ~ f * x + I(x^2) + (1 | g)": (
            [one, b, x, [each**2 for each in x], [i * j for i, j in zip(b, x, strict=True)]],
            y,
        ),
        "y ~ dose + (1 | g)": ([one, L, Q], y),
        "y ~ poly(x, 2) + f + (1 | g)": ([one, *polynomials(x, 2), b], y),
        "log(y) ~ scale(x) + sqrt(x) + (1 | g)": (
            [one, [(each - mean) / deviation for each in x], [mpmath.sqrt(each) for each in x]],
            [mpmath.log(each) for each in y],
        ),
    }
    return made[formula]


@pytest.mark.parametrize("method", ["REML", "ML"])
@pytest.mark.parametrize(
    "formula",
    [
        "y ~ x + (1 | g)",
        "y ~ f * x + I(x^2) + (1 | g)",
        "y ~ dose + (1 | g)",
        "y ~ poly(x, 2) + f + (1 | g)",
        "log(y) ~ scale(x) + sqrt(x) + (1 | g)",
    ],
)
def test_thirty_digits_are_those_of_the_printed_numbers(made, formula, method):
    found = certified(made(formula, method))
    assert found.data == "decimals"
    with mpmath.workdps(DIGITS):
        X, y = columns(formula)
        groups = [row["g"] for row in ROWS]
        theta = mpmath.mpf(found.theta[0].str(DIGITS, radius=False))
        value = dense(mpmath.matrix(X).T, mpmath.matrix(y), groups, theta, method == "REML")
        assert abs(value - mpmath.mpf(found.loglik.str(DIGITS, radius=False))) < mpmath.mpf(10) ** -38


def test_doubles_have_other_digits_than_decimals(made):
    model = made("y ~ x + (1 | g)")
    model.frame.attrs.clear()
    other = certified(model)
    assert other.data == "doubles"
    decimals = certified(made("y ~ x + (1 | g)"))
    gap = abs(float(other.loglik - decimals.loglik))
    assert 0 < gap < 1e-13


def test_sitkas_digits_are_those_of_an_exact_computation_on_its_csv():
    # by another program, on the decimals: see the catalogue's cases
    found = certified(models.get("sitka-random_slope"))
    assert found.loglik.str(22, radius=False).startswith("-62.4834445619619916718")
    assert found.estimates["fixed"][0].str(22, radius=False).startswith("2.27324429524509729939")


def test_every_model_of_the_catalogue_is_certified_on_decimals():
    for model in models.every():
        source = columns_of(model)
        assert source.source == "decimals", model.id
        for column, name in zip(model.design.X.T, model.design.names, strict=True):
            assert len(source.of(column, name)) == len(model.design.y)


def test_a_column_that_nothing_makes_is_refused(made):
    model = made("y ~ x + (1 | g)")
    with pytest.raises(InexactError, match="column z is no product"):
        columns_of(model).of(np.linspace(0.0, 1.0, 12), "z")


def test_more_digits_than_a_double_holds_are_taken_as_doubles(made):
    text = CSV.replace("4.51", "4.5100000000000000001")
    assert columns_of(made("y ~ x + (1 | g)", text=text)).source == "doubles"


@pytest.mark.parametrize(
    ("first", "source"),
    [("9007199254740991", "decimals"), ("9007199254740993", "doubles"), ("1152921504606846977", "doubles")],
)
def test_whole_numbers_that_are_no_doubles_are_not_called_decimals(made, first, source):
    """Beyond 2^53 a double is the number of several texts."""
    rows = CSV.splitlines()
    text = "\n".join([f"{rows[0]},k", *(f"{row},{first if i == 0 else i}" for i, row in enumerate(rows[1:]))]) + "\n"
    model = made("y ~ k + (1 | g)", text=text)
    columns_ = columns_of(model)
    assert columns_.source == source
    assert columns_.of(model.design.X[:, 1], "k")[0] == int(float(first))


def test_a_constant_of_more_digits_than_a_double_holds_is_no_decimal(made):
    assert columns_of(made("y ~ I(x - 12.5) + (1 | g)")).source == "decimals"
    assert columns_of(made("y ~ I(x - 12.3456789123456789) + (1 | g)")).source == "doubles"


def test_columns_that_doubles_do_not_tell_apart_are_refused(made):
    """log of 1e15 + 1 and of 1e15 + 2 are one double and two numbers; the variables themselves are two doubles."""
    rows = CSV.splitlines()
    pairs = ["1000000000000001,1000000000000002", *(f"{i}e14,{i}e14" for i in range(2, 13))]
    text = "\n".join([f"{rows[0]},v,w", *(f"{row},{pair}" for row, pair in zip(rows[1:], pairs, strict=True))]) + "\n"
    for one, other in (("v", "w"), ("w", "v")):
        model = made(f"y ~ {one} + (0 + {other} | g)", text=text)
        assert columns_of(model).of(model.design.X[:, 1], one)[0] == 10**15 + (1 if one == "v" else 2)
        model = made(f"y ~ log({one}) + (0 + log({other}) | g)", text=text)
        with pytest.raises(InexactError, match="is one of several that doubles do not tell apart"):
            columns_of(model).of(model.design.X[:, 1], f"log({one})")


def test_decimal_commas_and_missing_values_leave_the_decimals(made):
    text = CSV.replace(",", ";").replace(".", ",").replace("5,12", "")
    model = made("y ~ x + (1 | g)", text=text)
    column = columns_of(model)
    assert column.source == "decimals" and len(model.design.y) == 11
    assert column.response()[0] == fmpq(451, 100)


def test_every_record_says_what_it_certifies_and_how_far_double_precision_is():
    for model in models.every():
        record = json.loads(record_file.path(model.dataset).read_text(encoding="utf-8"))[model.name][model.method]
        assert record["data"] == "decimals", model.id
        apart = record["checks"]["double_precision"]
        exact, doubles = Decimal(record["loglik"]), Likelihood(model.design, model.reml).optimum().loglik
        assert abs(apart["loglik"]) < 1e-8 and abs(Decimal(doubles) - exact) < Decimal("1e-8")
        assert 0 <= apart["standard_errors"] < 1e-6


def test_an_inquirys_certificate_is_of_the_files_decimals(tmp_path):
    from concord.session import Inquiry

    (tmp_path / "made.csv").write_text(CSV, encoding="utf-8")
    record = Inquiry(tmp_path / "made.csv", "y ~ x + (1 | g)").certify().record
    assert record["data"] == "decimals" and record["checks"]["proved"] == "global"


def test_a_table_from_memory_is_certified_as_doubles():
    from concord.session import Inquiry

    frame = pd.read_csv(io.StringIO(CSV))
    record = Inquiry(frame, "y ~ x + (1 | g)").certify().record
    assert record["data"] == "doubles"
    assert DECIMALS not in frame.attrs
