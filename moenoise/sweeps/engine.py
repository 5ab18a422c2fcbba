"""Calls a function on items, in batches of about a second, on anything with the protocol of `concurrent.futures`.

Every map of the package over workers is this one. Batches are made as workers become free: a batch is as many items as
the last one's speed promises for `BATCH_SECONDS`, and the worker hands back what it could not do by then. So whatever
items cost, workers are neither idle for long nor asked for each item, and no number depends on any of this.
"""

import concurrent.futures
import contextlib
import math
import queue
import threading
import time

import numpy as np

from .._interrupts import DeferredInterrupts
from .._validation import as_jobs
from . import pools
from .tasks import run_batch

BATCH_SECONDS = 1.0
MOST_ITEMS = 4096  # of a batch, all of which travel to the worker
GRACE_SECONDS = 2.0  # after Ctrl-C, for batches that are running
POLL_SECONDS = 0.02  # how often they are looked for
MOST_DEATHS = 3  # of workers, while nothing but one item ran: it is at fault then
MOST_FUTILE_DEATHS = 8  # of workers, before anything was finished: no worker can run this


class Queue:
    """Indices of items that wait, in order.

    Parameters
    ----------
    indices : sequence of int
    wanted : callable, optional
        Whether an index is still to be run, asked when its turn comes.
    """

    def __init__(self, indices, wanted=None):
        self._indices, self._next = np.asarray(indices, dtype=np.int64), 0
        self._returned, self._wanted = [], wanted

    def __len__(self):
        return len(self._indices) - self._next + len(self._returned)

    def take(self, count):
        """Up to `count` indices that are wanted (list of int)."""
        taken = []
        while len(taken) < count and len(self):
            if self._returned:
                index = self._returned.pop()
            else:
                index = int(self._indices[self._next])
                self._next += 1
            if self._wanted is None or self._wanted(index):
                taken.append(index)
        return taken

    def put_back(self, indices):
        """These are next."""
        self._returned += reversed(indices)


class WorkerDied(RuntimeError):
    """A worker ended while it ran an item, and again when it ran nothing else."""


def run(function, item, indices, receive, *, executor=None, jobs=None, on_death=None, grace=GRACE_SECONDS):
    """Call ``function(item(index))`` for all indices; in this thread ``receive(indices, batch)`` as batches end.

    Parameters
    ----------
    function, item : callable
        `function` runs on the workers, `item` here.
    indices : Queue
    receive : callable
        Gets the indices that a `Batch` has the values of. It is not interrupted by Ctrl-C.
    executor : concurrent.futures.Executor, optional
        Default: threads. Others have to be able to send `function` and items to their workers.
    jobs : int, optional
        Workers; default: the executor's number, or as many as this process may use cores.
    on_death : callable, optional
        ``on_death(index, error)`` is called for an item that ends its worker each time; without it WorkerDied is
        raised.
    grace : float
        How long to wait after Ctrl-C for batches that are running, in seconds.

    Raises
    ------
    KeyboardInterrupt
        On Ctrl-C; batches that ended within the grace have been received.
    Exception
        What `function` raises, or the executor where it cannot run it. Nothing is received any more then.
    """
    _Run(function, item, indices, receive, on_death, grace).run(executor, jobs)


class _Run:
    """The state of one `run`, whose arguments it has."""

    def __init__(self, function, item, waiting, receive, on_death, grace):
        self.function, self.item, self.waiting, self.receive = function, item, waiting, receive
        self.on_death, self.grace = on_death or _raise_death, grace
        self.outstanding = {}  # future -> the indices of its batch
        self.ended = queue.SimpleQueue()  # futures
        self.lost_once = set()  # indices that were lost with a worker, by whose fault is not known
        self.suspects = []  # batches that were lost again: run with nothing beside them, one by one
        self.deaths, self.finished = {}, 0  # of workers: by the one item that ran
        self.futile_deaths = 0
        self.broken = False
        self.sent = 0  # batches
        self.interrupted = False  # a worker, by Ctrl-C
        self.seconds_per_item = None

    def run(self, executor, jobs):
        """All of it; what the executor is left with is no more than before, but for batches that Ctrl-C cut short."""
        own = executor is None
        self.jobs = as_jobs(jobs if jobs is not None else None if own else pools.workers(executor))
        self.executor = concurrent.futures.ThreadPoolExecutor(self.jobs) if own else executor
        # Threads of this process can be told to stop; others end their batch.
        local = isinstance(self.executor, concurrent.futures.ThreadPoolExecutor)
        self.stop = threading.Event() if local else None
        self.sendable = self.function if local else pools.packed(self.function)
        try:
            # Ctrl-C strikes while this thread waits: an executor's locks do not stand it.
            with DeferredInterrupts() as interrupts:
                self._loop(interrupts)
        except BaseException as error:
            self._abandon(isinstance(error, KeyboardInterrupt))
            raise
        finally:
            if self.executor is not executor:  # made here
                self.executor.shutdown(wait=False)  # loky's has no cancel_futures; all are cancelled or over

    def _loop(self, interrupts):
        while True:
            if self.interrupted:
                raise KeyboardInterrupt
            self._submit()
            if self.outstanding:
                interrupts.allow()
                future = self.ended.get()
                interrupts.forbid()
                self._end(future)
            elif not self.suspects and not len(self.waiting):
                return

    def _submit(self):
        """Keep two batches a worker under way, so that none waits for this thread; or one suspect, alone."""
        if self.broken:
            if self.outstanding:
                return  # all will end with an error
            self.executor, self.broken = pools.renewed(self.executor), False
        if self.suspects:
            if not self.outstanding:
                self._send(self.suspects.pop())
            return
        while len(self.outstanding) < 2 * self.jobs and not self.broken:
            indices = self.waiting.take(self._size())
            if not indices:
                return
            self._send(indices)

    def _size(self):
        """How many items the next batch gets: a second's, but no more than leaves something for everyone."""
        if self.seconds_per_item is None:
            return 1
        promised = BATCH_SECONDS / max(self.seconds_per_item, BATCH_SECONDS / MOST_ITEMS)
        share = len(self.waiting) / (2 * self.jobs)
        return math.ceil(max(1, min(promised, share)))

    def _send(self, indices):
        items = [self.item(index) for index in indices]
        self.sent += 1
        arguments = (self.sendable, items, BATCH_SECONDS, self.sent) + ((self.stop,) if self.stop is not None else ())
        try:
            future = self.executor.submit(run_batch, *arguments)
        except concurrent.futures.BrokenExecutor as error:  # it broke since it was last heard of, if it was not before
            self._count_futile(error)
            self.waiting.put_back(indices)
            self.broken = True
            return
        self.outstanding[future] = indices
        future.add_done_callback(self.ended.put)

    def _end(self, future):
        """Take what a batch has brought, and queue again what it has not."""
        indices = self.outstanding.pop(future)
        try:
            batch = future.result()
        except BaseException as error:
            if not pools.is_death(error):
                raise
            self._lost(indices, error)
            return
        done = len(batch.values)
        self.waiting.put_back(indices[done:])
        if done:
            self.seconds_per_item = batch.seconds / done
            self.finished += done
            self.receive(indices[:done], batch)
        self.interrupted = self.interrupted or batch.interrupted

    def _lost(self, indices, error):
        """A batch went with its worker, by its own fault or another's: divide until one item alone is at fault."""
        alone = not self.outstanding and not self.broken
        self.broken = self.broken or isinstance(error, concurrent.futures.BrokenExecutor)
        if not alone and self.lost_once.isdisjoint(indices):  # chance, most likely
            self.lost_once.update(indices)
            self.waiting.put_back(indices)
            return
        if not alone:
            self.suspects.append(indices)
            return
        self._count_futile(error)
        if len(indices) > 1:
            half = len(indices) // 2
            self.suspects += [indices[half:], indices[:half]]
            return
        index, = indices
        self.deaths[index] = self.deaths.get(index, 0) + 1
        if self.deaths[index] < MOST_DEATHS:
            self.suspects.append(indices)
        else:
            self.on_death(index, error)

    def _count_futile(self, error):
        if self.finished:
            return
        self.futile_deaths += 1
        if self.futile_deaths >= MOST_FUTILE_DEATHS:
            raise RuntimeError(
                "no worker lives long enough to finish anything: can processes import the experiment, and the script "
                "that starts them, whose own work stands under if __name__ == '__main__'?") from error

    def _abandon(self, interrupted):
        """Cancel what has not begun; after Ctrl-C receive what ends soon."""
        if self.stop is not None:
            self.stop.set()
        for future in self.outstanding:
            future.cancel()
        deadline = time.monotonic() + self.grace
        while interrupted and self.outstanding and (left := deadline - time.monotonic()) > 0:
            for future in [each for each in self.outstanding if each.done()]:
                if future.cancelled() or future.exception() is not None:
                    del self.outstanding[future]
                else:
                    with DeferredInterrupts():
                        self._end(future)
            with contextlib.suppress(queue.Empty):
                self.ended.get(timeout=min(left, POLL_SECONDS))


def _raise_death(index, error):
    raise WorkerDied(f"a worker ended each time when it ran item {index}") from error
