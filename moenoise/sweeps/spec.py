"""A sweep written down in a TOML file."""

import importlib
import sys
import tomllib
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from .. import _validation
from .grid import Grid, as_tuples

KEYS = ("experiment", "replicates", "seed", "store", "grid")
SPAN = {"from", "to", "count"}
SPACINGS = ("linear", "log")


class Spec(NamedTuple):
    """What `moenoise.sweep` is called with."""

    experiment: str | Callable
    grid: Grid
    replicates: int
    seed: int
    store: Path


def read_spec(path):
    """The `Spec` in a file.

    Raises
    ------
    OSError
        Where it cannot be read.
    ValueError, TypeError
        Where it is no TOML, or a key is missing, unknown or has a value of the wrong kind.
    """
    path = Path(path)
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} must be TOML: {error}") from error
    for key in document:
        if key not in KEYS:
            raise ValueError(f"{path} must have keys among {', '.join(KEYS)}; got {key!r}")
    for key, kind in (("experiment", str), ("grid", dict)):
        if not isinstance(document.get(key), kind):
            what = "experiment, a built-in's name or 'file.py:function'" if kind is str else "[grid], a table of axes"
            raise ValueError(f"{path} must have {what}")
    store = document.get("store", path.stem)
    if not isinstance(store, str) or not store:
        raise ValueError(f"store must be the name of a folder, got {store!r}")
    for key in KEYS:
        if key in document["grid"]:
            raise ValueError(f"{path} must have {key} above [grid]: below it is an axis")
    return Spec(_experiment(document["experiment"], path.parent),
                Grid(**{name: _axis(value, name) for name, value in document["grid"].items()}),
                _validation.as_integer(document.get("replicates", 200), "replicates", low=1),
                _validation.as_integer(document.get("seed", 0), "seed", low=0), path.parent / Path(store).expanduser())


def _experiment(text, folder):
    """A built-in's name as it is; the function that "file.py:function" or "package.module:function" names."""
    place, colon, name = text.rpartition(":")
    if not colon:
        return text
    module = _file_module(folder / place) if place.endswith(".py") else _imported(place)
    if not callable(getattr(module, name, None)):
        raise ValueError(f"experiment must name a function of {place}, which has no {name!r}")
    return getattr(module, name)


def _file_module(path):
    """The module in a file, imported in the way in which worker processes will: by its name, from its folder."""
    path = path.resolve()
    if not path.is_file():
        raise FileNotFoundError(f"experiment must be in a file, but there is no {path}")
    sys.path.insert(0, str(path.parent))
    module = _imported(path.stem)
    if Path(module.__file__ or "").resolve() != path:
        raise ValueError(f"experiment must be in a file that can be imported, but {path.stem} is {module.__file__}: "
                         "give it another name")
    return module


def _imported(name):
    """The module of that name; ValueError that says where what it raises comes from."""
    try:
        return importlib.import_module(name)
    except Exception as error:
        *_, last = traceback.extract_tb(error.__traceback__)
        at = f" ({last.filename}, line {last.lineno})" if "importlib" not in last.filename else ""
        raise ValueError(f"experiment must be in a module that can be imported, but {name} raises "
                         f"{type(error).__name__}: {error}{at}") from error


def _axis(value, name):
    """An axis: values, a single one, or a span ``{from, to, count, spacing}``; inner lists become tuples."""
    if isinstance(value, dict):
        return _span(value, name)
    return [as_tuples(each) for each in value] if isinstance(value, list) else value


def _span(span, name):
    """Equally spaced values, ends included: whole numbers where both ends are, else floats of 12 digits."""
    if not SPAN <= span.keys() <= SPAN | {"spacing"}:
        raise ValueError(f"{name} must be a list or have from, to, count and perhaps spacing, got {', '.join(span)}")
    count = _validation.as_integer(span["count"], f"{name}.count", low=2)
    spacing = _validation.as_choice(span.get("spacing", "linear"), f"{name}.spacing", SPACINGS)
    low, high = (_validation.as_scalar(span[key], f"{name}.{key}") for key in ("from", "to"))
    if spacing == "log" and not (low > 0 and high > 0):
        raise ValueError(f"{name} must be positive for spacing = 'log', got {low:g} to {high:g}")
    values = (np.geomspace if spacing == "log" else np.linspace)(low, high, count)
    whole = all(isinstance(span[key], int) for key in ("from", "to"))
    # A cell is known by all digits of its values, of which the last ones depend on the machine here.
    found = [round(each) if whole else float(f"{each:.12g}") for each in values.tolist()]
    if len(set(found)) < count:
        raise ValueError(f"{name} must have {count} different values from {low:g} to {high:g}, but there are not as "
                         "many whole numbers: write 1.0 for 1 to have others")
    return found
