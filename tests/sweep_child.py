"""A sweep in a process of its own, which tests interrupt: python sweep_child.py KIND STORE."""

import sys

import sweep_experiments
from sweep_executors import open_executor

import moenoise as mn

GRID = mn.Grid(k=[1, 2, 3, 4])
REPLICATES = 15


def main(kind, store):
    with open_executor(kind) as executor:
        mn.sweep(sweep_experiments.slow, GRID, REPLICATES, rng=7, executor=executor, store=store, progress=False)


if __name__ == "__main__":
    main(*sys.argv[1:])
