"""The environment that every run has: one BLAS thread, and kernels that the library itself chose."""

import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager

ONE_THREAD = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS")
LEFT_TO_OPENBLAS = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")


def prepare():
    """Set this process's environment; to be called before NumPy is imported, which is when BLAS reads it."""
    os.environ.update(dict.fromkeys(ONE_THREAD, "1"))
    for name in LEFT_TO_OPENBLAS:
        os.environ.pop(name, None)


def in_fresh_process(function, *arguments, **variables):
    """``function(*arguments)`` of a new interpreter whose environment has these variables too.

    `function` is found by its module and name, and what it returns is pickled.
    """
    with _environment(variables):
        spawn = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(1, mp_context=spawn) as pool:
            return pool.submit(function, *arguments).result()


@contextmanager
def _environment(variables):
    before = dict(os.environ)
    os.environ.update(variables)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
