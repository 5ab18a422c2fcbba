"""Where a result crosses a level between the cells of two axes: the boundary in a phase diagram."""

import math
from typing import NamedTuple

import numpy as np

LOG_FROM = 10  # times the least value: a positive axis that reaches so far is taken by its logarithm
ALIKE = 1.01  # times the least: ratios that differ no more are one, rounded
LEAST_RATIO = 1.1  # the ratios of equal steps are alike only where they are smaller


class Crossing(NamedTuple):
    """A point of the boundary, found between two neighbouring cells along the axis `along`.

    `standard_error` is that of the coordinate on this axis; 0 for theory.
    """

    along: str
    x: float
    y: float
    standard_error: float


def is_log(values):
    """Whether an axis with these values is looked at by its logarithm.

    They are positive, and reach far or are in two or more steps of one ratio.
    """
    values = np.sort(np.asarray(values, dtype=float))
    if values[0] <= 0:
        return False
    if values[-1] >= LOG_FROM * values[0]:
        return True
    ratios = values[1:] / values[:-1]
    return len(ratios) > 1 and bool(LEAST_RATIO <= ratios.min() >= ratios.max() / ALIKE)


def crossings(xs, ys, means, errors, level, names):
    """The list of `Crossing` of a surface, linear between neighbouring cells on axes taken as in `is_log`.

    Parameters
    ----------
    xs, ys : (n,), (m,) arrays, increasing
    means, errors : (m, n) arrays
        Of independent cells; NaN where there is none.
    level : float
    names : (str, str)
        Of the axes x and y.
    """
    found = [Crossing(names[0], position, float(y), error) for row, y in enumerate(ys)
             for position, error in _along(xs, means[row] - level, errors[row])]
    return found + [Crossing(names[1], float(x), position, error) for column, x in enumerate(xs)
                    for position, error in _along(ys, means[:, column] - level, errors[:, column])]


def _along(positions, heights, errors):
    """(position, standard error) of each change of sign on one line of cells."""
    log = is_log(positions)
    scale = np.log(positions) if log else np.asarray(positions, dtype=float)
    for left in range(len(scale) - 1):
        first, second = heights[left], heights[left + 1]
        if not (-math.inf < first < 0 <= second < math.inf or -math.inf < second < 0 <= first < math.inf):
            continue  # nor where either is NaN
        step, rise = scale[left + 1] - scale[left], second - first
        place = float(scale[left] - first / rise * step)
        # A change of either height moves the root in proportion to the root's distance from the other.
        shares = (second / rise, errors[left]), (first / rise, errors[left + 1])
        moved = math.hypot(*(share * error if share else 0.0 for share, error in shares))  # not 0 times infinity
        error = float(abs(step) * moved / abs(rise))
        yield (math.exp(place), math.exp(place) * error) if log else (place, error)
