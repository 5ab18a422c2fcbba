"""Experiments for the tests of executors: at the top of a module, so that processes can import them."""

import os
import signal
import time

import numpy as np
from threadpoolctl import threadpool_info

import moenoise as mn


def blas_threads():
    """The most threads that a BLAS of this process has, but for the package's own, which never has more than one."""
    return max(library["num_threads"] for library in threadpool_info()
               if library["user_api"] == "blas" and "-moenoise" not in library["filepath"])


BLAS_THREADS_AT_FIRST = blas_threads()


def draws(cell, rng):
    """Numbers of every kind, whose last bits depend on the draws, BLAS's threads and the package's kernels."""
    features = rng.standard_normal((cell["n"], 150))
    product = features.T @ features
    model = mn.BlockModel.isotropic(12, 3, variance=cell["noise_variance"], rng=int(rng.integers(2**31)))
    return {"product": float(np.linalg.norm(product)), "smallest": np.linalg.eigvalsh(product)[0],
            "response": model.sample(50, rng=0).response.sum(), "integer": rng.integers(10**12),
            "positive": features[0, 0] > 0, "infinite": np.inf if cell["n"] == 40 else -0.0}


def raises(cell, rng):
    """In two of five cells."""
    if cell["k"] == 1:
        raise ValueError(f"no k = 1, after {rng.integers(100)}")
    if cell["k"] == 3:
        raise Unpicklable("the second", "argument")
    return {"value": rng.random()}


class Unpicklable(Exception):
    """It can be sent by no process: it is made anew from the one argument that it hands to Exception."""

    def __init__(self, first, second):
        super().__init__(f"{first} {second}")


def dies_once(cell, rng):
    """In the middle of it the worker dies, where nobody has done so before."""
    if cell["k"] == 3 and is_first(cell["marker"]):
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.01)
    return {"value": rng.random()}


def is_first(marker):
    """Whether nobody has made the file before; it is made."""
    try:
        os.close(os.open(marker, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    return True


def dies_always(cell, rng):
    """In some replicates of one cell, whenever they are run: see `is_fatal`."""
    if is_fatal(cell, rng):
        os.kill(os.getpid(), signal.SIGKILL)
    return {"value": rng.random()}


def is_fatal(cell, rng):
    return cell["k"] == 3 and rng.random() < 0.3


def threads(cell, rng):
    """BLAS's threads as the worker began, and now."""
    return {"at_first": BLAS_THREADS_AT_FIRST, "now": blas_threads()}


def slow(cell, rng):
    time.sleep(0.05)
    return {"value": rng.random()}
