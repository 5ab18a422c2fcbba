"""What runs on a worker: a batch of items, and one replicate of one cell."""

import numbers
import pickle
import time
import traceback
from typing import NamedTuple

import numpy as np

from .._blas import blas_kernel, one_blas_thread
from .grid import RESERVED, generator
from .records import Record


class Batch(NamedTuple):
    """What a worker hands back: values of the first items of those it was given, and what it took."""

    values: list
    seconds: float
    blas_kernel: str
    interrupted: bool


def run_batch(function, items, budget, number, stop=None):
    """`function` of one item after the other, on one BLAS thread, until the budget (seconds) is used up: a `Batch`.

    The first item is always run, but where `stop`, an Event, is set, or on Ctrl-C, which reaches worker processes too.
    The function may be pickled (`pools.packed`). No two batches have the same number: dask takes equal calls for one,
    and would answer one that is sent again with the death of a worker long ago.
    """
    if isinstance(function, bytes):
        function = pickle.loads(function)
    start, values, interrupted = time.perf_counter(), [], False
    try:
        with one_blas_thread():
            for item in items:
                if stop is not None and stop.is_set():
                    break
                values.append(function(item))
                if time.perf_counter() - start > budget:
                    break
    except KeyboardInterrupt:
        interrupted = True  # the caller takes what is finished, and stops, whether or not it was interrupted as well
    return Batch(values, time.perf_counter() - start, blas_kernel(), interrupted)


def run_replicate(experiment, seed, item):
    """The `Record` of one replicate of one cell, (cell, its text, replicate); what the experiment raises is in it."""
    cell, text, replicate = item
    start = time.perf_counter()
    try:
        results = _plain_results(experiment(dict(cell), generator(seed, text, replicate)), cell)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        message = "".join(traceback.format_exception_only(error)).strip()
        trace = "".join(traceback.format_exception(error.with_traceback(error.__traceback__.tb_next)))
        return Record(text, replicate, None, time.perf_counter() - start, message, trace)
    return Record(text, replicate, results, time.perf_counter() - start, None, None)


def _plain_results(results, cell):
    """The experiment's results with Python's own numbers, which JSON keeps to the last bit."""
    if not isinstance(results, dict):
        raise TypeError(f"an experiment must return a dict of numbers, got {type(results).__name__}")
    return {_name(name, cell): _number(value, name) for name, value in results.items()}


def _name(name, cell):
    if not isinstance(name, str):
        raise TypeError(f"an experiment must name its results by strings, got {name!r}")
    if name in cell or name in RESERVED or not name:
        raise ValueError(f"an experiment must not name a result like an axis or {', '.join(RESERVED)}, got {name!r}")
    return name


def _number(value, name):
    if isinstance(value, np.ndarray) and value.ndim == 0:
        value = value[()]
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    if isinstance(value, numbers.Integral):
        if not -2**63 <= value < 2**63:
            raise ValueError(f"an experiment must return whole numbers of 64 bits at most, got another for {name}")
        return int(value)
    if isinstance(value, numbers.Real):
        return float(value)
    raise TypeError(f"an experiment must return numbers, got {name} of type {type(value).__name__}")
