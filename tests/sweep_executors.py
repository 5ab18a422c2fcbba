"""The executors that sweeps are tested on, with two workers each."""

import contextlib
import multiprocessing
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

# What else runs under mpirun: see sweep_mpi.py.
KINDS = ("threads", "processes", "loky", "dask")

# Packages, or commands.
NEEDS = {"loky": ["loky"], "dask": ["distributed"], "mpi": ["mpi4py", "mpirun"]}


@contextlib.contextmanager
def open_executor(kind):
    if kind == "threads":
        with ThreadPoolExecutor(2) as executor:
            yield executor
    elif kind == "processes":
        with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as executor:
            yield executor
    elif kind == "loky":
        import loky

        with loky.ProcessPoolExecutor(2) as executor:
            yield executor
    else:
        from distributed import Client, LocalCluster

        with LocalCluster(processes=True, n_workers=2, threads_per_worker=1, dashboard_address=":0") as cluster, \
                Client(cluster) as client:
            yield client.get_executor()
