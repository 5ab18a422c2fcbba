"""What ran, on what; and what this hardware can do at most: its dgemm rate, and how fast it reads an array."""

import functools
import importlib.metadata
import os
import platform
import time
from pathlib import Path

import numpy as np
import scipy.linalg  # noqa: F401  loads SciPy's own BLAS, which is asked about below
from threadpoolctl import threadpool_info

from moenoise import _core

PACKAGES = ("moenoise", "numpy", "scipy", "scikit-learn", "torch")
GEMM_SIDE = 1200


def describe():
    """CPU, instruction sets, BLAS, threads and versions, ready for JSON."""
    configuration, kernel = _core.blas_info()
    return {
        "cpu": _cpu(),
        "cores": len(os.sched_getaffinity(0)),
        "caches": _caches(),
        "load": os.getloadavg()[0],
        "instruction set": _core.instruction_set(),
        "instruction sets": list(_core.instruction_sets()),
        "blas": {"configuration": configuration, "kernel": kernel},
        "libraries": libraries(),
        "versions": {"python": platform.python_version(), "linux": platform.release(), **_versions()},
        "dgemm": {"what": "GFLOP/s, one thread, NumPy", "rate": gemm_rate(np.float64) / 1e9},
    }


@functools.cache
def gemm_rate(dtype):
    """Floating-point operations a second of the best of some matrix products."""
    a = np.full((GEMM_SIDE, GEMM_SIDE), 0.5, dtype)
    return 2 * GEMM_SIDE**3 / min(seconds_of(lambda: a @ a) for _ in range(8))


def flops(count, dtype=np.float64):
    """Seconds that so many floating-point operations take at the rate of dgemm, or of sgemm."""
    return count / gemm_rate(dtype)


def reads(array):
    """Several ways to read an array once; which is the fastest depends on the CPU and on the size."""
    flat = array.ravel()
    return (lambda: _core.all_finite(array)), (lambda: np.dot(flat, flat)), flat.sum, flat.max


def seconds_of(run):
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def _cpu():
    """As Linux names it; the architecture where, as on many an ARM, it names none."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _caches():
    """{"L1 Data": "32K", ...} of the first core; empty where Linux does not say."""
    folders = sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*"))

    def read(folder, name):
        return (folder / name).read_text().strip()

    return {f"L{read(folder, 'level')} {read(folder, 'type')}": read(folder, "size") for folder in folders}


def libraries():
    """The BLAS and OpenMP libraries in this process; raises where one would run on several threads."""
    libraries = []
    for library in threadpool_info():
        path = Path(library["filepath"])
        if library["num_threads"] != 1:
            raise RuntimeError(f"{path} runs on {library['num_threads']} threads, not on one: it was loaded before "
                               "the environment was set")
        libraries.append({"file": str(Path(*path.parts[-2:])), "interface": library["internal_api"],
                          "version": library["version"], "kernel": library.get("architecture")})
    return libraries


def _versions():
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = None
    return versions
