"""Peak memory of a learning curve and of a whole replicate, above the design: a few d x d matrices, whatever n is."""

from pathlib import Path

import moenoise as mn

from . import replicates
from .environment import in_fresh_process


def memory(quick):
    """For twice as many rows as well: what is beside the design must not grow with them."""
    d, k, n = (240, 4, 800) if quick else (900, 12, 3000)
    return [in_fresh_process(peak, work, d, k, rows) for work in WORKS for rows in (n, 2 * n)]


def curve_of(model, n):
    """A learning curve of a design that is there already."""
    X, y, _ = model.sample(n, rng=1, routing="balanced")
    return lambda: mn.learning_curve(X, y, sizes_to(n))


def replicate_of(model, n):
    """A draw, both curves and their risks; the design is made by it."""
    return lambda: replicates.replicate(model, sizes_to(n), 0)


WORKS = {"learning curve": (curve_of, 0), "one replicate": (replicate_of, 1)}
"""What is run, and how many designs it makes."""


def sizes_to(n):
    return range(n // 20, n + 1, n // 20)


def peak(work, d, k, n):
    """Of this process, which has to be a fresh one: the peak above what is in use before the work."""
    make, designs = WORKS[work]
    model = mn.BlockModel.toeplitz(d, k, rng=0)
    replicates.replicate(mn.BlockModel.toeplitz(8, 2, rng=0), range(4, 17, 4), 0)  # loads what is loaded when used
    run = make(model, n)
    before = resident("VmRSS")
    result = run()
    above = resident("VmHWM") - before - designs * n * d * 8
    del result
    return {"work": work, "setting": f"d={d}, k={k}, n={n}", "design": n * d * 8, "above": above,
            "squares": above / (8 * d**2)}


def resident(field):
    """Bytes. Not `getrusage`: what it says of a child process begins with its parent's peak."""
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith(field))
