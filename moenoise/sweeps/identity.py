"""Which experiment a sweep runs: its function, its name, and a version that tells when it has changed."""

import dataclasses
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
    """An experiment that can be run: `version` is empty where none could be made out, for a `reason`."""

    function: Callable
    name: str
    version: str
    reason: str = ""


def identify(experiment, axes):
    """The `Identified` of a built-in's name, whose axes are checked, or of a function ``f(cell, rng)``."""
    if isinstance(experiment, str):
        if ":" in experiment:
            raise ValueError(f"experiment must be a function or the name of a built-in, got {experiment!r}, which is "
                             "for files of `moenoise sweep`: import the function")
        if experiment not in EXPERIMENTS:
            close = difflib.get_close_matches(experiment, EXPERIMENTS, 1)
            hint = f"; did you mean {close[0]}?" if close else ""
            raise ValueError(f"experiment must be a function or one of {', '.join(EXPERIMENTS)}, "
                             f"got {experiment!r}{hint}")
        built_in = EXPERIMENTS[experiment]
        check_axes(built_in, axes)
        return Identified(built_in.function, built_in.name, _built_in_version(built_in))
    if not callable(experiment):
        raise TypeError(f"experiment must be a function or the name of one, got {experiment!r}")
    _check_arguments(experiment)
    return Identified(experiment, _name(experiment), *_version(experiment))


def theory_of(name, version):
    """The theory of a built-in experiment; None for one of the user's own, though it may have the same name."""
    built_in = EXPERIMENTS.get(name)
    return built_in.theory if built_in is not None and version == _built_in_version(built_in) else None


def _built_in_version(built_in):
    return f"moenoise's {built_in.version}"


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
    """(version, why there is none): ``function.version``, else a digest of all that can be seen of it."""
    if hasattr(function, "version"):
        return str(function.version), ""
    try:
        content = "\n".join(_content(function, set()))
    except _Unseen as unseen:
        return "", str(unseen)
    return f"source {hashlib.sha256(content.encode('utf-8', 'surrogatepass')).hexdigest()[:16]}", ""


class _Unseen(Exception):
    """Something that a function's results may depend on has no form that is the same in every process."""


def _content(function, seen):
    """Texts that change with the function: its source, what is bound to it, what it reads of its own module.

    Functions in turn. What it calls of other modules is not looked at.
    """
    while isinstance(function, functools.partial):
        yield _lasting((function.args, function.keywords), "an argument that is bound to it")
        function = function.func
    if function in seen:
        return
    seen.add(function)
    yield _source(function)
    yield _lasting((function.__defaults__, function.__kwdefaults__), "a default")
    read = inspect.getclosurevars(function)
    for name, value in sorted((read.nonlocals | read.globals).items()):
        if inspect.isfunction(value) and (value.__module__ == function.__module__ or name in read.nonlocals):
            yield from _content(value, seen)
        elif not (inspect.ismodule(value) or isinstance(value, type) or callable(value)):
            yield f"{name} = {_lasting(value, name)}"


def _source(function):
    """A function's text; that of a lambda is not to be told from what stands beside it on the line."""
    if not inspect.isfunction(function) or function.__name__ == "<lambda>":
        raise _Unseen("is no function with a name")
    try:
        return textwrap.dedent(inspect.getsource(function))
    except (OSError, TypeError):
        raise _Unseen("has no source to be found") from None


def _lasting(value, name):
    """A text of a value that is the same in every process."""
    if isinstance(value, PLAIN):
        return repr(value)
    if isinstance(value, (np.ndarray, np.generic)) and not value.dtype.hasobject:
        return f"{value.dtype.str}{value.shape}{hashlib.sha256(value.tobytes()).hexdigest()}"
    if dataclasses.is_dataclass(value):
        value = type(value).__name__, {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, dict):
        value = list(value.items())
    if isinstance(value, (tuple, list)):
        return f"({', '.join(_lasting(each, name) for each in value)})"
    if isinstance(value, (set, frozenset)):
        return f"{{{', '.join(sorted(_lasting(each, name) for each in value))}}}"
    raise _Unseen(f"depends on {name}, a {type(value).__name__}, whose changes cannot be seen")
