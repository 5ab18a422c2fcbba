"""Run an experiment on every cell of a grid, many times over; go on where an earlier call has stopped."""

import functools
import os
import time
import warnings

import numpy as np

from .. import _validation
from .._blas import blas_kernel
from .._progress import progress_bar
from .._random import philox_key
from .._version import __version__
from . import engine, pools
from .grid import Grid, cell_text
from .identity import identify, theory_of
from .records import Record
from .store import Identity, Store, read_store
from .table import of_grid
from .tasks import run_replicate

REFRESH_SECONDS = 5.0  # how often other writers of the same store are looked at
PARTS = 256  # of all that is missing: what several writers may do twice is some of these


def sweep(experiment, grid, replicates=200, *, rng=0, executor=None, store=None, progress=True, jobs=None, shard=None,
          retry_failed=False, accept_changes=False):
    """Run an experiment on every cell of a grid, many times over.

    With a `store` it can be stopped at any time, by Ctrl-C, a crash or a cluster's time limit: the same call goes on
    where that left off. Results are the same to the last bit for any executor, number of workers, order, split into
    shards and number of interruptions, on one BLAS kernel.

    Parameters
    ----------
    experiment : str or callable
        The name of a built-in experiment, "risk", "routing", "misrouting", "descent" or "overlap" (`moenoise
        experiments` in a shell shows what they take and give), or a function ``f(cell, rng)`` that returns a dict of
        numbers: `cell` is a dict of the axes' values, `rng` a `numpy.random.Generator` that depends on the seed, the
        cell and the replicate only. It runs with BLAS on one thread. Processes import it: it has to be at the top of a
        module.
    grid : Grid
        The cells.
    replicates : int, default 200
        How often each is run.
    rng : None, int, SeedSequence or Generator, default 0
        What all draws derive from; for a store to go on from, an int.
    executor : concurrent.futures.Executor, optional
        Where to run: a ProcessPoolExecutor, loky's, dask's ``client.get_executor()``, mpi4py's MPIPoolExecutor. It is
        left open; a pool of processes that breaks is replaced by one like it for the rest of the call. Default:
        threads, as many as this process may use cores.
    store : path-like, optional
        A folder for the results; made where there is none. Several processes may write to one at the same time.
    progress : bool or callable, default True
        Whether a progress bar is shown on stderr; or what is called in its place, ``progress(done, total)``.
    jobs : int, optional
        How many workers to keep busy. Default: those that the executor has.
    shard : (int, int), optional
        ``(i, m)``, i in 1..m: run only the i-th part of m of everything, for machines that share nothing but the
        store, or not even that: copies of stores' segments can be put into one folder.
    retry_failed : bool, default False
        Whether to run again what raised in an earlier call.
    accept_changes : bool, default False
        Whether what the store has of another version of the experiment counts as of this one, which the store is of
        from then on. For changes that leave results as they are, and for mending an experiment that raised.

    Returns
    -------
    Table
        All that is finished, by whomever. What raised is in its `failures`, and did not stop the rest.

    Raises
    ------
    TypeError, ValueError
        Where an argument has the wrong kind or value, or where the store holds another experiment, another version of
        it, another seed, or was written by another version of this package; before any work.
    OSError
        Where the store cannot be written to; nothing that was stored is lost.
    KeyboardInterrupt
        On Ctrl-C: batches that end within two seconds are stored, and the message says how to go on.

    Warns
    -----
    UserWarning
        Where something raised; where parts of the store cannot be read, or were computed on another BLAS kernel.

    Notes
    -----
    A function is recognised by its name and its source, with what is bound to it and the constants and functions of its
    own module that it reads; not by what it calls of others. An attribute ``version`` takes the place of all that.

    Where an experiment returns NaN, means are NaN; a result that a replicate does not return is left out of them.

    A script that starts processes does its own work under ``if __name__ == "__main__":``, for they import it. With MPI
    it is started by ``mpirun -n N python -m mpi4py.futures script.py``, and a process that dies takes all others with
    it: what is stored remains. Elsewhere a dead worker costs the batches that were running, which are run again; a
    replicate whose worker dies three times, with nothing beside it, is recorded as a failure.

    Seeds, batches and the store together cost some 50 microseconds a replicate, 5 % of one that takes a millisecond or
    two; in memory a replicate with its results takes about a kilobyte.

    Examples
    --------
    >>> import moenoise as mn
    >>> grid = mn.Grid(n=[60, 240], k=4, d=40, noise_variance=[0.5, 2.0])
    >>> table = mn.sweep("risk", grid, replicates=8, progress=False)
    >>> [round(float(lead), 2) > 0 for lead in table.summary().records["lead_mean"]]
    [True, True, True, True]

    A million cells on a cluster, the shell's way: ``moenoise sweep --help``.
    """
    if not isinstance(grid, Grid):
        raise TypeError(f"grid must be a moenoise.Grid, got {type(grid).__name__}")
    replicates = _validation.as_integer(replicates, "replicates", low=1, high=2**31 - 1)
    identified = identify(experiment, grid.axes)
    seed = _validation.as_integer(rng, "rng", low=0) if hasattr(rng, "__index__") else philox_key(rng)
    retry_failed = _validation.as_flag(retry_failed, "retry_failed")
    accept_changes = _validation.as_flag(accept_changes, "accept_changes")
    if jobs is not None:
        _validation.as_integer(jobs, "jobs", low=1)
    if executor is not None:
        pools.workers(executor)
        pools.check_picklable(identified.function, executor, "experiment")
    asked = _Asked(grid, replicates, *_as_shard(shard))
    if store is None:
        kept = _Memory()
    else:
        if not identified.version:
            raise ValueError(f"experiment must be recognised when the store is opened again, but {identified.name} "
                             f"{identified.reason}: give it an attribute, as by f.version = '1'")
        identity = Identity(identified.name, identified.version, seed, __version__)
        kept = Store.open(store, identity, grid, replicates, blas_kernel(), accept_changes=accept_changes)
    with kept:
        _warn_of_damage(kept.damage, store, "what they held is run again")
        _Sweep(identified, seed, asked, kept, retry_failed).run(executor, jobs, progress, store)
    table = of_grid(identified.name, [(grid, replicates)], kept.records, theory_of(*identified[1:3]))
    if table.failures:
        cell, replicate, error, _ = table.failures[0]
        warnings.warn(f"{len(table.failures)} of {len(table) + len(table.failures)} replicates raised; the first, "
                      f"replicate {replicate} of {cell}: {error}. All are in table.failures", stacklevel=2)
    return table


def load_sweep(store):
    """The results in a sweep's store, without running anything.

    Parameters
    ----------
    store : path-like
        The folder.

    Returns
    -------
    Table
        Everything that was asked for and is finished, in all calls on this store.

    Raises
    ------
    OSError, ValueError
        Where there is no such folder, or it is no sweep's store.

    Warns
    -----
    UserWarning
        Where parts of it cannot be read.

    Examples
    --------
    >>> import tempfile
    >>> import moenoise as mn
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     ran = mn.sweep("risk", mn.Grid(n=50, k=2, d=10), 4, store=folder, progress=False)
    ...     loaded = mn.load_sweep(folder)
    >>> bool((loaded.records == ran.records).all())
    True
    """
    found = read_store(store)
    _warn_of_damage(found.damage, store, "the same call of sweep runs again what they held")
    return of_grid(found.identity.experiment, found.requests, found.records, theory_of(*found.identity[:2]))


def _warn_of_damage(damage, store, consequence):
    if damage:
        parts = "a part" if len(damage) == 1 else f"{len(damage)} parts"
        warnings.warn(f"the store {os.fspath(store)} has {parts} that cannot be read, and {consequence}: {damage[0]}",
                      stacklevel=3)


class _Asked:
    """Cells by replicates, numbered: replicate r of cell c is item ``c * replicates + r``."""

    def __init__(self, grid, replicates, shard, shards):
        self.cells = list(grid)
        self.texts = [cell_text(cell) for cell in self.cells]
        self.replicates, self.shard, self.shards = replicates, shard, shards

    def key(self, index):
        """What a store knows the item by."""
        number, replicate = divmod(index, self.replicates)
        return self.texts[number], replicate

    def item(self, index):
        """What a worker needs."""
        number, replicate = divmod(index, self.replicates)
        return self.cells[number], self.texts[number], replicate

    def indices(self):
        """The shard's items, in order: every m-th, so that all shards take about the same time."""
        return np.arange(self.shard, len(self.cells) * self.replicates, self.shards)


class _Memory:
    """What stands in for a `Store` where nothing is stored."""

    damage, is_shared = (), False

    def __init__(self):
        self.records = {}

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass

    def append(self, records):
        self.records.update(((record.cell, record.replicate), record) for record in records)

    def refresh(self):
        return 0


class _Sweep:
    """One call: what is asked for, what is kept, and the bar in between."""

    def __init__(self, identified, seed, asked, kept, retry_failed):
        self.function = functools.partial(run_replicate, identified.function, seed)
        self.asked, self.kept = asked, kept
        self.failed = {key for key, record in kept.records.items() if record.error is not None}
        self.retried = set(self.failed) if retry_failed else set()
        self.refreshed = time.monotonic()
        self.kernels = [blas_kernel()]  # in use; that another one was before has been said when the store was opened

    def run(self, executor, jobs, progress, store):
        """All that is missing."""
        asked = self.asked.indices()
        missing = self._missing(asked)
        with progress_bar("sweep", shown=progress, total=len(asked), unit="replicate") as self.bar:
            self.bar.update(len(asked) - len(missing))
            try:
                while len(missing):
                    engine.run(self.function, self.asked.item, engine.Queue(missing, self._is_wanted), self._receive,
                               executor=executor, jobs=jobs, on_death=self._die)
                    self.kept.refresh()
                    missing = self._missing(asked)  # what another writer had, and could not keep
            except KeyboardInterrupt:
                whole = f"{len(asked)}{' of this shard' if self.asked.shards > 1 else ''}"
                raise KeyboardInterrupt(_farewell(self.bar.n, whole, store)) from None
            except Exception as error:
                if store is not None:
                    error.add_note(f"what is finished is in {os.fspath(store)}; the same call goes on from there")
                raise

    def _missing(self, asked):
        """(m,) indices of what is still to be run."""
        missing = np.array([index for index in asked if self._is_missing(index)], dtype=np.int64)
        return _in_parts(missing) if self.kept.is_shared and self.asked.shards == 1 and len(missing) else missing

    def _is_missing(self, index):
        key = self.asked.key(index)
        record = self.kept.records.get(key)
        return record is None or record.error is not None and key in self.retried

    def _is_wanted(self, index):
        """Whether it is still missing when its turn comes; else another writer has done it."""
        wanted = self._is_missing(index)
        if not wanted:
            self.bar.update()
        return wanted

    def _receive(self, indices, batch):
        self._keep(batch.values)
        if batch.blas_kernel not in self.kernels:
            warnings.warn(f"a worker computes with the BLAS kernel {batch.blas_kernel}, and others with "
                          f"{', '.join(self.kernels)}: results agree but for rounding", stacklevel=2)
            self.kernels.append(batch.blas_kernel)
        if time.monotonic() - self.refreshed > REFRESH_SECONDS:
            self.kept.refresh()
            self.refreshed = time.monotonic()

    def _keep(self, records):
        self.kept.append(records)
        for record in records:
            key = record.cell, record.replicate
            self.retried.discard(key)
            (self.failed.discard if record.error is None else self.failed.add)(key)
        if self.failed:
            self.bar.set_postfix(failed=len(self.failed), refresh=False)
        self.bar.update(len(records))

    def _die(self, index, error):
        """Record an item that no worker survives."""
        message = f"the worker died each time this was run: {error}"
        self._keep([Record(*self.asked.key(index), None, 0.0, message, message)])


def _in_parts(missing):
    """The indices (m,) in parts whose order is this writer's own: others of the same store are seldom at the same."""
    parts = np.array_split(missing, min(len(missing), PARTS))
    return np.concatenate([parts[number] for number in np.random.default_rng().permutation(len(parts))])


def _as_shard(shard):
    """(number, how many), counted from 0."""
    if shard is None:
        return 0, 1
    pair = _validation.as_list(shard, "shard")
    if len(pair) != 2:
        raise ValueError(f"shard must be a pair (i, m), i in 1..m, got {shard!r}")
    shards = _validation.as_integer(pair[1], "shard's second number", low=1)
    return _validation.as_integer(pair[0], "shard's first number", low=1, high=shards) - 1, shards


def _farewell(done, asked, store):
    if store is None:
        return f"interrupted: {done} of {asked} were finished, and are lost; with store= the sweep could go on"
    return f"interrupted: {done} of {asked} are finished and in {os.fspath(store)}; the same call goes on from there"
