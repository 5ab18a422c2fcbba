"""A map over worker threads that Ctrl-C ends at once."""

from .sweeps import engine


def thread_map(function, items, jobs, done=lambda: None, *, executor=None):
    """``[function(item) for item in items]``, in that order, by `jobs` threads; `done` is called after each.

    A pool of threads that is there already may be given as `executor`. BLAS runs on one thread inside.
    """
    items = list(items)
    values = [None] * len(items)

    def receive(indices, batch):
        for index, value in zip(indices, batch.values):
            values[index] = value
            done()

    engine.run(function, items.__getitem__, engine.Queue(range(len(items))), receive, executor=executor, jobs=jobs,
               grace=0)
    return values
