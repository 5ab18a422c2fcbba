"""Which experiment a sweep runs: its function, its name, and a version that tells when it has changed."""

import difflib
import functools
import hashlib
import inspect
import pickle
import textwrap
from collections.abc import Callable
from typing import NamedTuple

from .experiments import EXPERIMENTS, check_axes


class Identified(NamedTuple):
    """An experiment that can be run: `version` is empty where none could be made out."""

    function: Callable
    name: str
    version: str


def identify(experiment, axes):
    """The `Identified` of a built-in's name, whose axes are checked, or of a function ``f(cell, rng)``."""
    if isinstance(experiment, str):
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
    return Identified(experiment, _name(experiment), _version(experiment))


def _name(function):
    """The function's own name, without its module: that differs between a notebook, a script and an import."""
    while isinstance(function, functools.partial):
        function = function.func
    return getattr(function, "__qualname__", type(function).__qualname__)


def _version(function):
    """``function.version`` where there is one, else a digest of its source and of what is bound to it.

    What the function calls is not looked at.
    """
    if hasattr(function, "version"):
        return str(function.version)
    bound = []
    try:
        while isinstance(function, functools.partial):
            bound.append((function.args, sorted(function.keywords.items())))
            function = function.func
        source = textwrap.dedent(inspect.getsource(function))
        closed_over = inspect.getclosurevars(function).nonlocals
        bound.append((function.__defaults__, function.__kwdefaults__, sorted(closed_over.items())))
        content = source.encode() + pickle.dumps(bound, protocol=4)  # of this process's own objects
    except Exception:  # no source, no function, or something bound that cannot be pickled
        return ""
    return f"source {hashlib.sha256(content).hexdigest()[:16]}"
