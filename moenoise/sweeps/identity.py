"""Which experiment a sweep runs: its function, its name, and a version that tells when it has changed."""

import difflib
import functools
import hashlib
import inspect
import textwrap
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from .experiments import EXPERIMENTS, check_axes
from .grid import PLAIN


class Identified(NamedTuple):
    """An experiment that can be run: `version` is empty where none could be made out."""

    function: Callable
    name: str
    version: str


def identify(experiment, axes):
    """The `Identified` of a built-in's name, whose axes are checked, or of a function ``f(cell, rng)``."""
    if isinstance(experiment, str):
        if ":" in experiment:
            raise ValueError(f"experiment must be a function or the name of a built-in, got {experiment!r}, the form for a "
                             "file of `moenoise sweep`: import the function")
        if experiment not in EXPERIMENTS:
            close = difflib.get_close_matches(experiment, EXPERIMENTS, 1)
            hint = f"; did you mean {close[0]}?" if close else ""
            raise ValueError(f"experiment must be a function or one of {', '.join(EXPERIMENTS)}, "
                             f"got {experiment!r}{hint}")
        built_in = EXPERIMENTS[experiment]
        check_axes(built_in, axes)
        return Identified(built_in.function, built_in.name, f"moenoise's {built_in.version}")
    if not callable(experiment):
        raise TypeError(f"experiment must be a function or the name of one, got {experiment!r}")
    _check_arguments(experiment)
    return Identified(experiment, _name(experiment), _version(experiment))


def _check_arguments(function):
    """Raise TypeError where it cannot be called with a cell and a generator."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # of some functions in C
        return
    try:
        signature.bind({}, None)
    except TypeError:
        raise TypeError(f"experiment must take a cell and a generator, f(cell, rng), got {_name(function)}{signature}"
                        ) from None


def _name(function):
    """The function's own name, without its module: that differs between a notebook, a script and an import."""
    while isinstance(function, functools.partial):
        function = function.func
    return getattr(function, "__qualname__", type(function).__qualname__)


def _version(function):
    """``function.version`` where there is one, else a digest of all that can be seen of it; empty where that is nothing."""
    if hasattr(function, "version"):
        return str(function.version)
    try:
        content = "\n".join(_content(function, set()))
    except Exception:  # no source, no function, or something bound that has no lasting form
        return ""
    return f"source {hashlib.sha256(content.encode('utf-8', 'surrogatepass')).hexdigest()[:16]}"


def _content(function, seen):
    """Texts that change with the function: its source, what is bound to it, what it reads of its own module.

    Of that: constants, and functions in turn. What it calls of other modules is not looked at.
    """
    while isinstance(function, functools.partial):
        yield _lasting((function.args, function.keywords))
        function = function.func
    if function in seen:
        return
    seen.add(function)
    yield textwrap.dedent(inspect.getsource(function))
    yield _lasting((function.__defaults__, function.__kwdefaults__))
    read = inspect.getclosurevars(function)
    for name, value in sorted((read.nonlocals | read.globals).items()):
        if inspect.isfunction(value) and value.__module__ == function.__module__:
            yield from _content(value, seen)
        elif name in read.nonlocals or isinstance(value, (*PLAIN, tuple, list, dict, np.ndarray)):
            yield f"{name} = {_lasting(value)}"


def _lasting(value):
    """A digest of a value that is the same in every process; TypeError where there is none."""
    if isinstance(value, dict):
        return f"{{{', '.join(f'{_lasting(key)}: {_lasting(each)}' for key, each in value.items())}}}"
    if isinstance(value, (tuple, list)):
        return f"{type(value).__name__}({', '.join(map(_lasting, value))})"
    if isinstance(value, (np.ndarray, np.generic)) and not value.dtype.hasobject:
        return f"{value.dtype.str}{value.shape}{hashlib.sha256(value.tobytes()).hexdigest()}"
    if isinstance(value, PLAIN):
        return repr(value)
    raise TypeError(f"{type(value).__name__} has no form that lasts")
