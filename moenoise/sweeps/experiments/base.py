"""What every built-in experiment is made of.

How to write an experiment
--------------------------
One file, listed in ``__init__.py``, with two functions and one constant:

``measure(cell, rng)``
    One replicate of a cell, a dict of parameters. It begins with ``cell = checked(cell, rng, PARAMETERS)``, hands
    `rng`, a NumPy Generator, to the package's own draws, which take one key each from it, and returns a dict of
    Python numbers. Nothing else may have a say: same cell, same generator, same bits.

``theory(cell)``
    A dict of the expectations of those results that a formula knows, made by `known`; under ``@no_theory_on_error``.

``EXPERIMENT = Experiment(...)``
    Raise its version whenever a result changes: stores of the old one are then refused.
"""

import dataclasses
import functools
import math
from collections.abc import Callable

import numpy as np

from .parameters import check_names


@dataclasses.dataclass(frozen=True)
class Experiment:
    """A built-in experiment.

    Attributes
    ----------
    name : str
    version : int
        Another one where a result has changed.
    summary : str
        What it measures, in one line.
    function : callable
        ``function(cell, rng) -> dict of numbers``: one replicate of a cell.
    parameters : dict of str to Parameter
        What a cell may hold.
    results : dict of str to str
        What each result is.
    theory : callable
        ``theory(cell) -> dict`` of the expectations of those results that are known for the cell: of the very model
        that is simulated. A result that is not in it has no known, or no finite, expectation; a cell that `function`
        refuses has none at all.
    """

    name: str
    version: int
    summary: str
    function: Callable
    parameters: dict
    results: dict
    theory: Callable


def check_axes(experiment, axes):
    """Raise TypeError or ValueError where axes, {name: values}, are not as the `Experiment` wants them.

    That is where a name is no parameter, one that it needs is missing, or a value is none that the parameter can have.
    Whether values go together shows in each cell.
    """
    check_names(axes, experiment.parameters, f"axes of the experiment {experiment.name!r}")
    for name, values in axes.items():
        for value in values:
            experiment.parameters[name].check(value, name)


def no_theory_on_error(theory):
    """The function `theory` of a cell, empty where the experiment or a formula refuses the cell's values.

    One cell of a grid that cannot be is no reason to draw nothing of the others.
    """

    @functools.wraps(theory)
    def expectations(cell):
        try:
            with np.errstate(all="ignore"):  # what is not finite is left out
                return theory(cell)
        except (TypeError, ValueError, ArithmeticError, RuntimeError):
            return {}

    return expectations


def known(**values):
    """A dict of those values, Python's floats, that are neither None, NaN nor infinite."""
    return {name: float(value) for name, value in values.items() if value is not None and math.isfinite(value)}


def difference(minuend, subtrahend):
    """Of two expectations, NaN where both are infinite; None where one of them is None."""
    return None if minuend is None or subtrahend is None else float(minuend) - float(subtrahend)
