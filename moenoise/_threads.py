"""A map over worker threads that Ctrl-C ends at once."""

from concurrent.futures import ThreadPoolExecutor, as_completed


def thread_map(function, items, jobs, done=lambda: None):
    """``[function(item) for item in items]``, in that order, by `jobs` threads; `done` is called after each."""
    pool = ThreadPoolExecutor(jobs)
    try:
        futures = [pool.submit(function, item) for item in items]
        for future in as_completed(futures):
            future.result()
            done()
        return [future.result() for future in futures]
    finally:
        pool.shutdown(wait=False, cancel_futures=True)  # after an error nobody wants what is still running
