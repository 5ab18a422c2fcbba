"""Linear algebra on one thread while blocks are open, and the name of the package's own kernel.

threadpoolctl's own `threadpool_limits` puts back what it saw when it was entered. Where blocks overlap in several
threads, that is right only if they end in the order of a stack, and one that a worker still holds after Ctrl-C may
leave one thread behind for good. Here blocks are counted, and the last one to end puts back what the first one saw.
"""

import contextlib
import functools
import os
import sys
import threading

from . import _core


@contextlib.contextmanager
def one_blas_thread():
    """BLAS computes on one thread in this process while at least one such block is open, in whatever thread.

    A BLAS that counts its threads for each of Python's, as one on OpenMP does, is limited in those with open blocks.
    """
    with _PROCESS.block(_shared_blas), _OF_THREAD.blas.block(_own_blas):
        yield


@contextlib.contextmanager
def one_openmp_thread():
    """Scikit-learn's loops, k-means' for one, run on one thread while such a block is open in this thread of Python."""
    import sklearn  # noqa: F401, for a library that is not loaded cannot be limited

    with _OF_THREAD.openmp.block(_openmp):
        yield


def blas_kernel():
    """The kernel of the package's own BLAS and the instruction set of its own loops: "SkylakeX, avx512"."""
    return f"{_core.blas_info()[1]}, {_core.instruction_set()}"


class _Limit:
    """Limits libraries to one thread each while blocks are open."""

    def __init__(self):
        # A generator that is collected as garbage ends its block in whatever line it finds this thread.
        self.lock, self.open, self.before = threading.RLock(), set(), {}

    @contextlib.contextmanager
    def block(self, libraries):
        block = object()
        try:  # from here on Ctrl-C may come anywhere
            self._enter(block, libraries)
            yield
        finally:
            try:
                self._leave(block)
            except BaseException:  # Ctrl-C once more, halfway
                self._leave(block)
                raise

    def _enter(self, block, libraries):
        with self.lock:
            self.open.add(block)
            for library in libraries():
                threads = library.num_threads
                if threads is not None and threads != 1:  # it is new, or someone else has set it free meanwhile
                    self.before.setdefault(library.filepath, (library, threads))
                    _set_threads(library, 1)

    def _leave(self, block):
        with self.lock:
            self.open.discard(block)
            while self.before and not self.open:
                path, (library, threads) = next(iter(self.before.items()))
                _set_threads(library, threads)
                self.before.pop(path, None)


class _OfThread(threading.local):
    """Limits of libraries that keep a number of threads for each of Python's."""

    def __init__(self):
        self.blas, self.openmp = _Limit(), _Limit()


_PROCESS, _OF_THREAD = _Limit(), _OfThread()
if hasattr(os, "register_at_fork"):  # a child has nobody to release what another thread held
    os.register_at_fork(before=_PROCESS.lock.acquire, after_in_parent=_PROCESS.lock.release,
                        after_in_child=_PROCESS.lock.release)


def _libraries():
    """threadpoolctl's controllers of all that is loaded; looking for them takes a millisecond."""
    return _libraries_at(len(sys.modules))  # libraries come with modules


@functools.lru_cache(maxsize=1)
def _libraries_at(n_modules):
    from threadpoolctl import ThreadpoolController  # scikit-learn's own dependency

    return ThreadpoolController().lib_controllers


def _shared_blas():
    return [library for library in _libraries() if library.user_api == "blas" and not _is_on_openmp(library)]


def _own_blas():
    return [library for library in _libraries() if library.user_api == "blas" and _is_on_openmp(library)]


def _openmp():
    return [library for library in _libraries() if library.user_api == "openmp"]


def _is_on_openmp(library):
    return library.internal_api == "openblas" and library.threading_layer == "openmp"


def _set_threads(library, threads):
    """Set the number, whichever thread of Python has done so before."""
    library.set_num_threads(threads)
    for _ in range(3):  # another thread may come between
        if library.num_threads == threads:
            break
        _give_up_control(force=True)
        library.set_num_threads(threads)
    _give_up_control(force=False)


def _give_up_control(force):
    """From threadpoolctl 3.8 on, one living thread of Python at a time can set OpenBLAS's number, others in vain.

    By force: also where it is another's.
    """
    from threadpoolctl import OpenBLASController

    if hasattr(OpenBLASController, "clear_controlling_thread"):
        OpenBLASController.clear_controlling_thread(force=force)
