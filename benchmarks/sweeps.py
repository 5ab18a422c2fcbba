"""Rows about the engine of sweeps: batches, records on the disk and all, against the same calls by a bare pool."""

import functools
import multiprocessing
import tempfile
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import numpy as np

import moenoise as mn
from moenoise._blas import one_blas_thread
from moenoise.sweeps.experiments import EXPERIMENTS
from moenoise.sweeps.grid import cell_text, generator

from .row import Rival, Row, share_different

WORKERS, CHUNK, REPEATS = 2, 8, 5
OVERHEAD = 0.05
"""Of the work, the most that the engine may add."""


def grid(quick):
    """Cells that differ a hundredfold in what they cost, (grid, replicates)."""
    sizes = [60, 240] if quick else [60, 120, 240, 480, 960, 1920, 3840]
    return mn.Grid(n=sizes, noise_variance=[0.5, 2.0], d=120, k=4), 10 if quick else 200


def run_one(function, item):
    """One replicate's lead, with no engine."""
    cell, text, replicate = item
    with one_blas_thread():
        return function(cell, generator(0, text, replicate))["lead"]


def sweeps(quick):
    """A sweep with a store on two workers, threads and processes."""
    cells, replicates = grid(quick)
    items = [(cell, cell_text(cell), replicate) for cell in cells for replicate in range(replicates)]
    for name, pool in pools().items():
        with pool:
            yield row(name, pool, cells, replicates, items)


def pools():
    """dict, name -> a new executor."""
    return {"threads": ThreadPoolExecutor(WORKERS),
            "processes": ProcessPoolExecutor(WORKERS, mp_context=multiprocessing.get_context("spawn"))}


def row(name, pool, cells, replicates, items):
    def ours():
        with tempfile.TemporaryDirectory() as folder:
            table = mn.sweep("risk", cells, replicates, executor=pool, store=folder, progress=False)
        return table.records["lead"]

    def bare():
        one = functools.partial(run_one, EXPERIMENTS["risk"].function)
        return np.array(list(pool.map(one, items, chunksize=CHUNK)))  # threads take one at a time all the same

    sizes = cells.axes["n"]
    return Row(
        work="a sweep",
        setting=f"{len(cells)} cells x {replicates} replicates, n={sizes[0]} to {sizes[-1]}",
        name=f"mn.sweep, {WORKERS} {name}, with a store",
        ours=ours,
        rivals=[Rival(f"the same calls by {type(pool).__name__}.map", bare, 1 / (1 + OVERHEAD), least=REPEATS)],
        difference=share_different,
        tolerance=0,
    )
