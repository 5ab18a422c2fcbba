"""What a sweep is over: named axes, their cells, and each cell's own random numbers."""

import hashlib
import json
import math
import types

import numpy as np

PLAIN = (bool, int, float, str, type(None))

RESERVED = ("replicate", "seconds")  # columns of a sweep's tables


class Grid:
    """All combinations of the values on named axes: the cells of a sweep.

    Parameters
    ----------
    **axes
        An axis each, under its name: a list, tuple, range or one-dimensional array of different values, or a single
        value, the same in all cells. Values are numbers (no NaN), strings, bools, None, or tuples of those; NumPy's
        scalars become Python's. To fix a tuple write a list of one: ``block_sizes=[(4, 8)]``.

    Attributes
    ----------
    axes : mapping of str to tuple
        The values on each axis, in the order given.
    shape : tuple of int
        How many there are on each.

    Raises
    ------
    TypeError, ValueError
        Where an axis is empty, holds a value twice or one of another kind, or has the name of a column that every
        table has (replicate, seconds).

    Notes
    -----
    A cell is known by its values and their types, not by its place: a larger grid has the cells of a smaller one, with
    the same random numbers. The experiment gets 1 or 1.0 as it was given, so these are two values, of which an axis,
    and a store, can have one. Two floats that differ in their last digit are two values as well, and the last digits of
    ``numpy.geomspace`` may depend on the machine: round them.

    Examples
    --------
    >>> import moenoise as mn
    >>> grid = mn.Grid(noise_variance=[0.5, 1.0], k=[2, 4, 8], d=240)
    >>> grid
    <Grid of 6 cells: noise_variance (2), k (3); d=240>
    >>> grid.cell(5)
    {'noise_variance': 1.0, 'k': 8, 'd': 240}
    >>> [cell["k"] for cell in grid]
    [2, 4, 8, 2, 4, 8]
    """

    def __init__(self, /, **axes):
        for name in axes:
            if name in RESERVED or not name:
                raise ValueError(f"grid must have axes of other names than {', '.join(RESERVED)}, got {name!r}")
        self.axes = types.MappingProxyType({name: _values(value, name) for name, value in axes.items()})
        self.shape = tuple(map(len, self.axes.values()))
        self._texts = {name: tuple(map(_text, values)) for name, values in self.axes.items()}

    def __len__(self):
        return math.prod(self.shape)

    def cell(self, index):
        """Cell number `index` in 0..len(grid) - 1, a dict; the last axis changes fastest."""
        if not 0 <= index < len(self):
            raise IndexError(f"index must be in 0..{len(self) - 1}, got {index}")
        places = np.unravel_index(index, self.shape) if self.shape else ()
        return {name: values[place] for (name, values), place in zip(self.axes.items(), places)}

    def __iter__(self):
        return map(self.cell, range(len(self)))

    def contains(self, other):
        """Whether all cells of the grid `other` are cells of this one."""
        return self._texts.keys() == other._texts.keys() and all(
            set(texts) <= set(self._texts[name]) for name, texts in other._texts.items())

    def retyped(self, other):
        """(axis, value, the other's value) where a value that both grids have on an axis is of two types; else None."""
        for name in self.axes.keys() & other.axes.keys():
            own = {value: _text(value) for value in self.axes[name]}
            for value in other.axes[name]:
                if own.get(value, _text(value)) != _text(value):
                    return name, next(each for each in own if each == value), value
        return None

    def __eq__(self, other):
        return isinstance(other, Grid) and self._texts == other._texts

    __hash__ = None

    def __reduce__(self):
        return _restored, (dict(self.axes),)

    def to_json(self):
        """dict of str to list: what JSON keeps of the axes."""
        return {name: list(values) for name, values in self.axes.items()}

    @classmethod
    def from_json(cls, axes):
        """The grid that `to_json` was made of."""
        return cls(**{name: [as_tuples(value) for value in values] for name, values in axes.items()})

    def __repr__(self):
        varied = ", ".join(f"{name} ({len(values)})" for name, values in self.axes.items() if len(values) > 1)
        fixed = ", ".join(f"{name}={values[0]!r}" for name, values in self.axes.items() if len(values) == 1)
        cells = f"{len(self)} cell{'' if len(self) == 1 else 's'}"
        return f"<Grid of {cells}{': ' if varied or fixed else ''}{'; '.join(filter(None, (varied, fixed)))}>"


def cell_text(cell):
    """A cell as JSON that does not depend on the order of its axes: what it is known by."""
    return json.dumps(cell, sort_keys=True, separators=(",", ":"))


def cell_from_text(text):
    """The cell, a dict, that `cell_text` was made of, but for the order of its axes."""
    return {name: as_tuples(value) for name, value in json.loads(text).items()}


def generator(seed, text, replicate):
    """The random numbers of a cell, given as `cell_text`, and replicate: a function of these three alone."""
    words = np.frombuffer(hashlib.sha256(text.encode()).digest()[:16], "<u4").tolist()
    # PCG64 by name: what default_rng() takes may change.
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed, spawn_key=(*words, replicate))))


def _restored(axes):
    return Grid(**axes)


def _values(value, name):
    """An axis as a tuple of different plain values."""
    if isinstance(value, (list, tuple, range)) or isinstance(value, np.ndarray) and value.ndim == 1:
        values = tuple(_plain(entry, name) for entry in value)
    else:
        values = (_plain(value, name),)
    if not values:
        raise ValueError(f"{name} must have at least one value, got none")
    seen = set()
    for entry in values:
        if entry in seen:  # 1 and 1.0, too: they would share a line in every table
            raise ValueError(f"{name} must have different values, got {entry!r} twice")
        seen.add(entry)
    return values


def _plain(value, name):
    """A value that JSON keeps, types included, but for tuples, which come back by `_tuples`."""
    if isinstance(value, np.generic) or isinstance(value, np.ndarray) and value.ndim == 0:
        value = value.item()
    if isinstance(value, tuple):
        return tuple(_plain(entry, name) for entry in value)
    if type(value) not in PLAIN:
        raise TypeError(f"{name} must be a value or a list of values, each a number, a string, a bool, None or a tuple "
                        f"of those, got {value!r}")
    if value != value:
        raise ValueError(f"{name} must not be NaN")
    if type(value) is int and abs(value) >= 2**63:
        raise ValueError(f"{name} must have whole numbers of 64 bits at most, got one of {value.bit_length()}")
    return value


def as_tuples(value):
    """Lists, as JSON and TOML have them, as tuples, inner ones too."""
    return tuple(map(as_tuples, value)) if isinstance(value, list) else value


def _text(value):
    return json.dumps(value)
