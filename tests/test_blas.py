"""Blocks in which linear algebra runs on one thread: what they leave behind, in whatever order they end."""

import contextlib
import gc
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import textwrap
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from threadpoolctl import ThreadpoolController, threadpool_limits

import moenoise as mn
from moenoise import _blas, _core
from moenoise._blas import blas_kernel, one_blas_thread, one_openmp_thread

SEVERAL = 2  # threads


def threads(user_api="blas"):
    """The numbers of threads of all libraries but the package's own, which never has more than one."""
    return {library.num_threads for library in ThreadpoolController().lib_controllers
            if library.user_api == user_api and "-moenoise" not in library.filepath}


@pytest.fixture(autouse=True)
def several_threads():
    """Something to limit, also on a machine of one core."""
    with threadpool_limits(SEVERAL):
        assert threads() == {SEVERAL}
        yield
        assert threads() == {SEVERAL}


class Block(threading.Thread):
    """A block in a thread of its own, from `start` to `end`."""

    def __init__(self, block=one_blas_thread):
        super().__init__()
        self.block, self.begun, self.over = block, threading.Event(), threading.Event()

    def run(self):
        with self.block():
            self.begun.set()
            self.over.wait()

    def start(self):
        super().start()
        self.begun.wait()
        return self

    def end(self):
        self.over.set()
        self.join()


def test_one_block():
    with one_blas_thread():
        assert threads() == {1}
    assert threads() == {SEVERAL}


def test_nested_blocks():
    with one_blas_thread():
        with one_blas_thread():
            assert threads() == {1}
        assert threads() == {1}
    assert threads() == {SEVERAL}


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 0, 2), (1, 2, 0)])
def test_the_last_block_to_end_puts_the_number_back(order):
    blocks = [Block().start() for _ in order]
    for i in order:
        assert threads() == {1}
        blocks[i].end()
    assert threads() == {SEVERAL}


def test_a_block_that_outlives_the_main_threads():
    with one_blas_thread():
        worker = Block().start()
    assert threads() == {1}
    worker.end()
    assert threads() == {SEVERAL}


def test_a_block_within_a_users_own_limit_of_another_thread():
    # threadpoolctl lets one thread at a time set OpenBLAS's number, and ignores the others.
    with one_blas_thread():
        user = Block(lambda: threadpool_limits(1, user_api="blas")).start()
    assert threads() == {SEVERAL}
    with threadpool_limits(SEVERAL, user_api="blas"):
        worker = Block().start()
        assert threads() == {1}
        worker.end()
        assert threads() == {SEVERAL}
    user.end()


def test_who_sets_the_number_free_within_a_block_is_limited_by_the_next():
    with one_blas_thread():
        outer = threadpool_limits(SEVERAL, user_api="blas")
        with outer, one_blas_thread():
            assert threads() == {1}
        assert threads() == {1}


def test_a_limit_that_was_there_stays():
    with threadpool_limits(1, user_api="blas"):
        with one_blas_thread():
            pass
        assert threads() == {1}


def test_errors_end_blocks():
    with pytest.raises(ZeroDivisionError), one_blas_thread():
        1 / 0
    assert threads() == {SEVERAL}


def test_many_threads_at_random():
    def worker(seed):
        for i in range(50):
            with one_blas_thread():
                time.sleep((seed * 7 + i * 3) % 5 * 1e-4)
                if threads() != {1}:
                    return False
        return True

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(worker, range(4)))
    assert threads() == {SEVERAL}


def test_a_library_loaded_within_a_block_is_limited_by_the_next(monkeypatch):
    class Library:
        filepath, user_api, internal_api, threading_layer, num_threads = "new", "blas", "openblas", "pthreads", 7

        def set_num_threads(self, number):
            self.num_threads = number

    library, found = Library(), []
    monkeypatch.setattr(_blas, "_libraries", lambda: found)
    with one_blas_thread():
        found.append(library)
        assert library.num_threads == 7
        with one_blas_thread():
            assert library.num_threads == 1
        assert library.num_threads == 1
    assert library.num_threads == 7


def test_new_modules_have_libraries_looked_for(monkeypatch):
    before = _blas._libraries()
    assert _blas._libraries() is before
    monkeypatch.setitem(sys.modules, "a_new_module", None)
    assert _blas._libraries() is not before


def test_a_blas_on_openmp_is_limited_in_each_thread(monkeypatch):
    class Library:
        filepath, user_api, internal_api, threading_layer = "openmp's", "blas", "openblas", "openmp"

        def __init__(self):
            self.of_thread = threading.local()

        @property
        def num_threads(self):
            return getattr(self.of_thread, "number", 5)

        def set_num_threads(self, number):
            self.of_thread.number = number

    library, numbers = Library(), []

    def worker():
        with one_blas_thread():
            numbers.append(library.num_threads)
        numbers.append(library.num_threads)

    monkeypatch.setattr(_blas, "_libraries", lambda: [library])
    with one_blas_thread():
        thread = threading.Thread(target=worker)
        thread.start()
        thread.join()
        assert library.num_threads == 1
    assert (numbers, library.num_threads) == ([1, 5], 5)


def test_openmp_is_limited_in_this_thread_alone():
    import sklearn  # noqa: F401

    numbers = []

    def worker():
        with threadpool_limits(3, user_api="openmp"):
            numbers.append(threads("openmp"))
            with one_openmp_thread():
                numbers.append(threads("openmp"))
            numbers.append(threads("openmp"))

    with threadpool_limits(SEVERAL, user_api="openmp"), one_openmp_thread():
        thread = threading.Thread(target=worker)
        thread.start()
        thread.join()
        assert threads("openmp") == {1}
        assert threads("blas") == {SEVERAL}
    assert numbers == [{3}, {1}, {3}]


def test_openmp_is_limited_from_the_first_block_of_a_process_on():
    code = """
        from moenoise._blas import one_openmp_thread
        from threadpoolctl import threadpool_info
        with one_openmp_thread():
            import sklearn.cluster
            print({each["num_threads"] for each in threadpool_info() if each["user_api"] == "openmp"})
    """
    assert run(code, OMP_NUM_THREADS="3").stdout.strip() == "{1}"


def test_ctrl_c_at_any_moment():
    """Interrupts at random moments, before, in and after a block: the number is put back each time."""
    def interrupt(number, frame):
        raise KeyboardInterrupt

    struck, moments, previous = 0, random.Random(0), signal.signal(signal.SIGALRM, interrupt)
    try:
        for _ in range(1000):
            try:
                signal.setitimer(signal.ITIMER_REAL, moments.uniform(1e-6, 150e-6))
                for _ in range(5):
                    enter_and_leave()
                signal.setitimer(signal.ITIMER_REAL, 0)
            except KeyboardInterrupt:
                struck += 1
            assert threads() == {SEVERAL} and not _blas._PROCESS.before
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
    assert struck > 100


def test_a_block_that_is_lost_ends():
    block = one_blas_thread()
    block.__enter__()
    assert threads() == {1}
    del block  # Ctrl-C between __enter__ and the block's first line
    gc.collect()
    assert threads() == {SEVERAL}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_fork_while_other_threads_begin_and_end_blocks():
    over = threading.Event()

    def busy():
        while not over.is_set():
            with one_blas_thread():
                pass

    threading.Thread(target=busy).start()
    try:
        for _ in range(20):
            child = multiprocessing.get_context("fork").Process(target=enter_and_leave)
            child.start()
            child.join(20)
            try:
                assert child.exitcode == 0
            finally:
                child.kill()
    finally:
        over.set()
    while threads() != {SEVERAL}:
        time.sleep(0.01)


def enter_and_leave():
    with one_blas_thread():
        pass


def test_beginning_a_block_is_quick():
    with one_blas_thread():
        best = min(duration(enter_and_leave) for _ in range(5))
    assert best < 200e-6  # a few microseconds; to look for libraries takes a thousand


def duration(function, calls=100):
    begin = time.perf_counter()
    for _ in range(calls):
        function()
    return (time.perf_counter() - begin) / calls


def test_modules_found_in_a_worker_that_outlives_ctrl_c():
    """k-means in a worker thread, whose own limit of BLAS ends after the main thread's block has."""
    sample = mn.BlockModel.isotropic(48, 3, variance=9.0, rng=0).sample(2000, rng=1)
    find = ThreadPoolExecutor(2)
    for _ in range(3):
        with contextlib.suppress(KeyboardInterrupt), one_blas_thread():
            futures = [find.submit(mn.activations.find_modules, sample.features, 3, rng=0) for _ in range(4)]
            futures[0].result()
            raise KeyboardInterrupt
        for future in futures:
            future.result()
        assert threads() == {SEVERAL}
    find.shutdown()


def test_ctrl_c_of_probes_gives_threads_back():
    code = """
        import signal, threading, time
        import numpy as np
        import moenoise as mn
        from threadpoolctl import threadpool_info
        def threads():
            return {each["num_threads"] for each in threadpool_info()
                    if each["user_api"] == "blas" and "-moenoise" not in each["filepath"]}
        assert threads() == {2}
        sample = mn.BlockModel.isotropic(48, 3, variance=9.0, rng=0).sample(1500, rng=1)
        threading.Timer(0.7, signal.raise_signal, [signal.SIGINT]).start()
        try:
            mn.probes.compare(sample.features, sample.response > 0, experts=3, seeds=40, rng=0, jobs=2, progress=False)
        except KeyboardInterrupt:
            pass
        else:
            print("too quick")
        while any(thread.name.startswith("ThreadPoolExecutor") for thread in threading.enumerate()):
            time.sleep(0.01)
        print(threads())
    """
    assert run(code, OPENBLAS_NUM_THREADS="2").stdout.strip() == "{2}"


def test_kernel():
    kernel, instruction_set = blas_kernel().split(", ")
    assert kernel == _core.blas_info()[1]
    assert instruction_set in _core.instruction_sets()
    assert all(part.isidentifier() for part in (kernel, instruction_set))


def run(code, **environment):
    """Python code in a process of its own."""
    return subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=60,
                          check=True, env={**os.environ, **environment})
