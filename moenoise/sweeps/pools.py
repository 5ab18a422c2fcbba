"""What differs between executors: how many workers they have, how they report a dead one, how to have them anew.

A process pool of Python's or loky's breaks as a whole when a worker dies: every batch under way is lost, and the pool
is of no use any more. Dask starts a new worker and runs the batch again, and gives up after some times. Under MPI
nothing survives the death of a process: there the store has to help.
"""

import multiprocessing
import os
import pickle
import signal
import threading
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor


def follow_parent():
    """In a worker process: leave Ctrl-C to the parent, and end when that has ended, however it did."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    threading.Thread(target=lambda: (parent.join(), os._exit(1)), daemon=True).start()


def workers(executor):
    """How many tasks the executor runs at once; None where it does not say."""
    if isinstance(executor, type) or not callable(getattr(executor, "submit", None)):
        raise TypeError(f"executor must have the protocol of concurrent.futures.Executor, got {executor!r}")
    for name in ("num_workers", "_max_workers"):
        count = getattr(executor, name, None)
        if isinstance(count, int) and count > 0:
            return count
    client = getattr(executor, "_client", None)
    if hasattr(client, "ncores"):  # dask's
        return sum(client.ncores().values()) or None  # none yet, perhaps
    return None


def is_death(error):
    """Whether a batch was lost because a worker died."""
    return isinstance(error, BrokenExecutor) or type(error).__name__ == "KilledWorker"  # dask's


def renewed(executor):
    """A pool like the broken one, for this run; RuntimeError where that cannot be made.

    There is no public way to ask a pool how it was made.
    """
    executor.shutdown(wait=False)
    if isinstance(executor, ProcessPoolExecutor):
        return ProcessPoolExecutor(executor._max_workers, mp_context=executor._mp_context,
                                   initializer=executor._initializer, initargs=executor._initargs,
                                   max_tasks_per_child=executor._max_tasks_per_child)
    if type(executor).__module__.startswith("loky"):
        import loky

        return loky.ProcessPoolExecutor(executor._max_workers, timeout=executor._timeout, context=executor._context,
                                        initializer=executor._initializer, initargs=executor._initargs,
                                        env=getattr(executor, "_env", None))
    raise RuntimeError(f"a worker died and took the {type(executor).__name__} with it, which cannot be made anew here: "
                       "make another and call again")


def packed(function):
    """The function pickled, or itself where the executor has to find a means of its own to send it.

    What workers cannot import is an error of the batch then. Else it is one of what reads the call: process pools break
    by it, and dask's workers die one after the other.
    """
    try:
        data = pickle.dumps(function)
    except Exception:
        return function
    return function if b"__main__" in data else data  # a script is another module at the workers


def check_picklable(function, executor, name):
    """Raise TypeError where the executor's processes could not be sent the function.

    Those of Python's pool are asked for; others have means of their own to send functions that cannot be imported.
    """
    if not isinstance(executor, ProcessPoolExecutor):
        return
    try:
        pickle.dumps(function)
    except Exception as error:
        raise TypeError(f"{name} must be a function at the top of a module, for processes to import it: {error}"
                        ) from error
