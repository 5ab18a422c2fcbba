"""What is to be predicted: one or several numbers a row, or classes."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from .. import _validation

MOST_CLASSES = 100

CATEGORICAL = "iubUS"
"""Kinds of dtype: integers, booleans and strings."""


class Targets(NamedTuple):
    """Responses of the rows, centred and scaled so that the variances of all columns add up to 1."""

    response: np.ndarray
    """(n, m)"""
    classes: np.ndarray | None
    """(m,) where the targets are classes: one column each, 1 for the row's own before scaling."""


def as_targets(values, n, index):
    """The `Targets` of the rows `index` of n; numbers of a floating type are responses, all else are classes."""
    array = _plain(values, "targets")
    if array.ndim not in (1, 2) or len(array) != n:
        raise ValueError(f"targets must have one entry, or one row of them, for each of the {n} rows of activations, "
                         f"got shape {array.shape}")
    if array.dtype.kind == "f":
        array = _validation.as_array(array, "targets", (1, 2))[index]
        return _scaled(array.reshape(len(array), -1), None)
    if array.dtype.kind not in CATEGORICAL:
        raise TypeError(f"targets must hold numbers, or integers, booleans or strings for classes, got dtype "
                        f"{array.dtype}")
    if array.ndim == 2:
        raise ValueError("targets that are classes must be 1-dimensional; for responses use a floating type")
    classes, codes = np.unique(array[index], return_inverse=True)
    if len(classes) > MOST_CLASSES:
        raise ValueError(f"targets must have at most {MOST_CLASSES} classes, got {len(classes)}; where they are "
                         "numbers to be predicted, give them in a floating type")
    return _scaled(np.eye(len(classes))[codes], classes)


def load_column(path, name):
    """The array of a ``.npy`` file, never unpickled; ValueError or OSError that says `name` where it cannot be read."""
    path = Path(path)
    if path.suffix.lower() != ".npy":
        raise ValueError(f"{name} must be a .npy file, got {path}")
    try:
        return np.load(path, allow_pickle=False)
    except FileNotFoundError:
        raise FileNotFoundError(f"{name}: there is no file {path}") from None
    except (ValueError, EOFError) as error:
        text = "; text is saved as strings of fixed length: np.array(values, dtype=str)"
        hint = text if "pickle" in str(error) else ""
        raise ValueError(f"{name} must be a .npy file that holds numbers or strings: {path}: {error}{hint}") from None


def _scaled(response, classes):
    largest = np.abs(response).max()
    response = response / (largest if largest > 0 else 1.0)  # squares neither overflow nor vanish
    centred = response - response.mean(axis=0)
    scale = float(np.sqrt((centred**2).mean(axis=0).sum()))
    if not scale > 0 or len(np.unique(centred, axis=0)) < 2:
        what = "only one class" if classes is not None else "the same value in every row"
        raise ValueError(f"targets must vary, got {what}: there is nothing to predict")
    return Targets(centred / scale, classes)


def as_groups(values, n, index, name="groups"):
    """(len(index),) int group of each row, from n of any kind; None: every row is a group of its own."""
    if values is None:
        return np.arange(len(index))
    return np.unique(as_categories(values, n, name)[index], return_inverse=True)[1]


def as_categories(values, n, name):
    """(n,) integers, booleans or strings, which can only be equal or not."""
    array = _plain(values, name)
    if array.shape != (n,):
        raise ValueError(f"{name} must have one entry for each of the {n} rows of activations, got shape {array.shape}")
    if array.dtype.kind not in CATEGORICAL:
        raise TypeError(f"{name} must hold integers or strings, got dtype {array.dtype}")
    return array


def _plain(values, name):
    """An array without a mask; strings that are kept as objects, as in a table's column, become strings."""
    if isinstance(values, np.ma.MaskedArray):
        raise TypeError(f"{name} must be a plain array, got a masked array: fill or drop its masked entries first")
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise ValueError(f"{name} must be a rectangular array: {error}") from error
    if array.dtype == object and all(isinstance(item, str) for item in array.flat):
        return array.astype(str)
    return array


def one_of_each(tokens, seed):
    """(n,) bool: one row, at random, of each token (n,) of int."""
    shuffled = np.random.default_rng(seed).permutation(len(tokens))
    _, first = np.unique(tokens[shuffled], return_index=True)
    chosen = np.zeros(len(tokens), dtype=bool)
    chosen[shuffled[first]] = True
    return chosen
