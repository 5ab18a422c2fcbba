"""An experiment's parameters: their defaults, what values they may take, and cells made complete by them."""

import dataclasses
import difflib
import enum
import functools
from collections.abc import Callable, Mapping

import numpy as np

from ... import _validation


class _Required(enum.Enum):
    """An enumeration, so that there is one of it in whatever process it is unpickled."""

    REQUIRED = "required"

    def __repr__(self):
        return "REQUIRED"


REQUIRED = _Required.REQUIRED
"""In the place of a default: every cell has to give a value."""

# Squares of numbers up to this, and sums of them, are within floating point.
LARGEST = 1e100


@dataclasses.dataclass(frozen=True)
class Parameter:
    """One parameter of a cell.

    Attributes
    ----------
    default : object
        What it is where the cell does not say; `REQUIRED` where the cell has to.
    doc : str
        What it is, with its unit.
    check : callable
        ``check(value, name)`` returns the coerced value, or raises TypeError or ValueError naming the parameter.
    """

    default: object
    doc: str
    check: Callable

    @property
    def required(self):
        """Whether every cell has to give it."""
        return self.default is REQUIRED


def checked(cell, rng, parameters):
    """The cell with its values checked and all defaults, a new dict; `rng`, too, is checked."""
    if not isinstance(rng, np.random.Generator):
        # The same draws would come back each time from anything else, test rows like training rows.
        raise TypeError(f"rng must be a NumPy Generator, got {rng!r}")
    return complete(cell, parameters)


def complete(cell, parameters):
    """The cell with its values checked and all defaults, a new dict in the order of the parameters."""
    if not isinstance(cell, Mapping):
        raise TypeError(f"cell must be a dict of parameters, got {cell!r}")
    check_names(cell, parameters, "cell")
    values = {name: cell.get(name, parameter.default) for name, parameter in parameters.items()}
    return {name: parameters[name].check(value, name) for name, value in values.items()}


def check_names(names, parameters, where):
    """Raise ValueError where a name is no parameter, or a required one is missing; `where` is what the names are of."""
    for name in names:
        if name not in parameters:
            close = difflib.get_close_matches(str(name), parameters, 1, 0.5)
            hint = f"; did you mean {close[0]}?" if close else ""
            raise ValueError(f"{where} must be parameters, {', '.join(parameters)}, got {name!r}{hint}")
    missing = [name for name, parameter in parameters.items() if parameter.required and name not in names]
    if missing:
        raise ValueError(f"{where} must include {', '.join(missing)}, which {_have(missing)} no default")


def _have(names):
    return "has" if len(names) == 1 else "have"


def number(**bounds):
    """A check for a real number; `bounds` are those of `_validation.as_scalar`."""
    return functools.partial(_validation.as_scalar, **bounds)


def integer(low):
    """A check for an int of at least `low` that numbers rows or columns, or seeds."""
    return functools.partial(_validation.as_integer, low=low, high=_validation.MAX_DIMENSION)


def choice(*choices):
    """A check for one of some strings."""
    return functools.partial(_validation.as_choice, choices=choices)


def optional(check):
    """A check that lets None pass."""
    return functools.partial(_as_optional, check)


def _as_optional(check, value, name):
    return None if value is None else check(value, name)


NOT_NEGATIVE = number(low=0, high=LARGEST)
POSITIVE = number(low=0, high=LARGEST, open_low=True)

ROWS = Parameter(REQUIRED, "training rows, of all experts together", integer(1))
TEST_ROWS = Parameter(2000, "fresh rows that accuracies and risks are averaged over", integer(1))
