"""Jets: value, gradient and Hessian of what formulas are made of, against 50 digits by other means, and enclosed."""

from __future__ import annotations

import itertools

import mpmath
import pytest
from flint import arb, fmpq

from concord.likelihood.jets import Jet, variables
from support.dense import precision

POINT = ("0.75", "1.3", "2.2")
# Written once for jets, once for mpmath: `log` is the only name that differs.
FUNCTIONS = {
    "a sum and a difference": lambda x, y, z, log: x + y - z + 1 - x,
    "a product": lambda x, y, z, log: x * y * z,
    "a square": lambda x, y, z, log: x * x,
    "a quotient": lambda x, y, z, log: (x + y) / (z - x),
    "a rational function": lambda x, y, z, log: (x * y - 3) / (x * x + y * z + 1) - z / y,
    "a logarithm": lambda x, y, z, log: log(x * y + z),
    "a composition": lambda x, y, z, log: log(1 + log(z * z + x) * y) / (1 + x * log(y + 2)),
    "numbers on the left": lambda x, y, z, log: 3 * x - (2 - y) * z,
    "numbers on the right": lambda x, y, z, log: (x * 7 - 5) / 3 + y / z,
    "of one variable only": lambda x, y, z, log: log(y) / y,
}
PLACES = [(i, j) for i in range(3) for j in range(i + 1)]


precise = precision(200, 50)


def number(ball: arb) -> mpmath.mpf:
    with mpmath.workdps(80):
        return mpmath.mpf(ball.mid().str(70, radius=False))


def jet(name: str, order: int = 2, point: tuple[arb, ...] | None = None) -> Jet:
    return FUNCTIONS[name](*variables(point or [arb(each) for each in POINT], order), Jet.log)


def derivative(name: str, counts: tuple[int, int, int]) -> mpmath.mpf:
    """By differences, in more digits than are compared."""
    with mpmath.workdps(120):
        point = tuple(mpmath.mpf(each) for each in POINT)

        def function(x, y, z):
            return FUNCTIONS[name](x, y, z, mpmath.log)

        return mpmath.diff(function, point, counts) if any(counts) else function(*point)


def counts(*indices: int) -> tuple[int, int, int]:
    return tuple(indices.count(i) for i in range(3))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_value_gradient_and_hessian_are_those_of_differences_in_120_digits(name):
    """Every derivative up to the second agrees with mpmath's differences to 40 digits."""
    found = jet(name)
    given = [found.value, *found.gradient, *found.hessian]
    wanted = [(), *((i,) for i in range(3)), *PLACES]
    assert len(given) == 10
    for ball, indices in zip(given, wanted, strict=True):
        assert mpmath.almosteq(number(ball), derivative(name, counts(*indices)), rel_eps=1e-40, abs_eps=1e-40), indices


def test_a_rational_functions_derivatives_by_hand_lie_in_the_balls():
    """Of x y / (x + y) at 1/3 and 1/7, all six numbers are known as fractions, and every ball holds its own."""
    x, y = variables([arb(fmpq(1, 3)), arb(fmpq(1, 7))], 2)
    found = x * y / (x + y)
    # f = xy/s, fx = (y/s)^2, fy = (x/s)^2, fxx = -2 y^2/s^3, fxy = 2 x y/s^3, fyy = -2 x^2/s^3 with s = 10/21.
    a, b, s = fmpq(1, 3), fmpq(1, 7), fmpq(10, 21)
    wanted = [a * b / s, (b / s) ** 2, (a / s) ** 2, -2 * b * b / s**3, 2 * a * b / s**3, -2 * a * a / s**3]
    for ball, exact in zip([found.value, *found.gradient, *found.hessian], wanted, strict=True):
        assert ball.contains(arb(exact).mid()) and abs(ball - exact) < arb("1e-55") and ball.rad() > 0
        assert (ball - exact).contains(0)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_on_a_box_the_balls_hold_what_every_point_of_it_has(name):
    """On a box, value and derivatives at its corners, its middle and between lie in the balls on the box."""
    radius = arb("0.001")
    whole = jet(name, point=[arb(each) + arb(0, 0.001) for each in POINT])
    for shifts in itertools.product((-1, 0, arb("0.3"), 1), repeat=3):
        there = jet(name, point=[arb(each) + shift * radius for each, shift in zip(POINT, shifts, strict=True)])
        for wide, narrow in zip(
            [whole.value, *whole.gradient, *whole.hessian], [there.value, *there.gradient, *there.hessian], strict=True
        ):
            assert wide.overlaps(narrow) and wide.contains(narrow.mid())


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_lower_order_gives_the_same_numbers_without_the_higher_derivatives(name):
    """Order 1 carries no Hessian, order 0 no derivative at all; what is left is the same."""
    full, first, zeroth = jet(name), jet(name, 1), jet(name, 0)
    assert (len(full.gradient), len(full.hessian)) == (3, 6)
    assert (len(first.gradient), first.hessian) == (3, ())
    assert (zeroth.gradient, zeroth.hessian) == ((), ())
    assert full.value.overlaps(first.value) and full.value.overlaps(zeroth.value)
    assert number(full.value) == number(first.value) == number(zeroth.value)
    assert all(number(a) == number(b) for a, b in zip(full.gradient, first.gradient, strict=True))


@pytest.mark.parametrize("order", [0, 1, 2])
def test_a_constant_adds_no_derivatives(order):
    """A jet without derivatives acts as the number that it holds, on either side of every operation."""
    x, y = variables([arb("0.75"), arb("1.3")], order)
    five, constant = arb(5), Jet(arb(5))
    pairs = [
        (x + five, x + constant),
        (five + x, constant + x),
        (x - five, x - constant),
        (five - x, constant - x),
        (x * five, x * constant),
        (five * x, constant * x),
        (x / five, x / constant),
        (five * x.inverse(), constant / x),
        (x * y + five, constant + x * y),
    ]
    for plain, wrapped in pairs:
        assert len(plain.gradient) == len(wrapped.gradient) == len(x.gradient)
        assert len(plain.hessian) == len(wrapped.hessian) == len(x.hessian)
        for a, b in zip(
            [plain.value, *plain.gradient, *plain.hessian],
            [wrapped.value, *wrapped.gradient, *wrapped.hessian],
            strict=True,
        ):
            assert mpmath.almosteq(number(a), number(b), rel_eps=1e-55, abs_eps=1e-55)
    alone = (constant * constant - constant).log()
    assert (alone.gradient, alone.hessian) == ((), ()) and alone.value.contains(arb(20).log().mid())


def test_an_integer_divides_in_balls_and_not_in_doubles():
    """A third of a variable is a third to 200 bits, value and derivative."""
    (x,) = variables([arb(2)], 2)
    assert abs((x / 3).value - fmpq(2, 3)) < arb("1e-55") and abs((x / 3).gradient[0] - fmpq(1, 3)) < arb("1e-55")
    assert ((x / 3).value - fmpq(2, 3)).contains(0)


def test_where_a_function_is_not_defined_nothing_finite_is_claimed():
    """One over a ball that holds zero, and the logarithm of one that reaches below it, have no finite ball."""
    (x,) = variables([arb(0, 1)], 2)
    (touching,) = variables([arb(1, 1.5)], 2)
    for bad in (x.inverse(), touching.log(), x / x):
        assert not any(each.is_finite() for each in (bad.value, *bad.gradient, *bad.hessian))
