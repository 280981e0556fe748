"""Newton's search: minima, saddles, places without a value, and when it stops."""

from __future__ import annotations

import numpy as np
import pytest

from concord.likelihood import newton


def bowl(x):
    """(x - 1)^2 + 10 y^2, with a quartic."""
    a, b = x - [1.0, 0.0]
    return a * a + a**4 + 10 * b * b, np.array([2 * a + 4 * a**3, 20 * b]), np.diag([2 + 12 * a * a, 20.0])


def saddle(x):
    """Even in y, with minima at y = -1 and 1 and a saddle between."""
    a, b = x
    return a * a + (b * b - 1) ** 2, np.array([2 * a, 4 * b * (b * b - 1)]), np.diag([2.0, 12 * b * b - 4])


def test_it_comes_to_rest_at_the_minimum():
    """To rounding, with the derivatives there."""
    found = newton.descend(bowl, np.array([5.0, -3.0]), 1)
    np.testing.assert_allclose(found.point, [1, 0], atol=1e-6)
    assert found.value < 1e-12 and found.hessian[1, 1] == 20


@pytest.mark.parametrize("enough", [0.0, 1e-7])
def test_a_saddle_is_no_end(enough):
    """Where the slope vanishes and only curvature shows the way down, it goes down, also if little is enough."""
    found = newton.descend(saddle, np.array([0.3, 0.0]), 1, enough)
    assert abs(found.point[1]) == pytest.approx(1.0, abs=1e-4) and found.value == pytest.approx(0.0, abs=1e-9)


def test_coordinates_that_are_not_free_stay():
    """They keep their values, and their derivatives are told all the same."""
    found = newton.descend(bowl, np.array([4.0, 2.0]), 1, free=slice(-1))
    assert found.point[1] == 2.0 and found.point[0] == pytest.approx(1.0, abs=1e-6)
    assert found.gradient[1] == 40.0


def test_little_to_gain_is_taken_on_trust():
    """Where the quadratic model promises less than is enough, its step and its derivatives are taken, unseen."""
    seen = []

    def watched(x):
        seen.append(x)
        return bowl(x)

    found = newton.descend(watched, np.array([1 + 1e-4, 0.0]), 1, enough=1e-6)
    assert len(seen) == 1 and found.value < 1e-15 and abs(found.gradient[0]) < 1e-15
    assert abs(found.point[0] - 1) < 1e-10


def test_a_step_to_where_there_is_no_value_is_shortened():
    """LinAlgError on the way is a wall, at the start an error."""

    def walled(x):
        if x[0] > 1.5:
            raise np.linalg.LinAlgError
        return bowl(x)

    assert newton.descend(walled, np.array([-9.0, 1.0]), 1).point[0] == pytest.approx(1.0, abs=1e-6)
    with pytest.raises(np.linalg.LinAlgError):
        newton.descend(walled, np.array([2.0, 0.0]), 1)


def test_a_hessian_that_costs_much_is_made_anew_only_where_the_point_has_moved():
    """Relative to what is beyond 1; also back to where it was before the last one."""
    made = []

    def hessian(x):
        made.append(x)
        return bowl(x)[2]

    expand = newton.sparing(lambda x: bowl(x)[:2], hessian)
    for x, count in ((1.0, 1), (1.009, 1), (1.02, 2), (1.0, 3), (50.0, 4), (50.4, 4), (51.0, 5)):
        value, gradient, kept = expand(np.array([x, 0.0]))
        assert len(made) == count, x
        np.testing.assert_array_equal(kept, bowl(made[-1])[2])
        assert value == bowl(np.array([x, 0.0]))[0] and gradient[0] == bowl(np.array([x, 0.0]))[1][0]
