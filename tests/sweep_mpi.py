"""Sweeps on MPI's workers: mpirun -n 3 python -m mpi4py.futures sweep_mpi.py SPEC, of `sweep`'s arguments in JSON.

Each sweep goes to a store, whence the test that has started this reads it.
"""

import json
import sys

import sweep_experiments
from mpi4py.futures import MPIPoolExecutor

import moenoise as mn


def main(specs):
    with MPIPoolExecutor() as executor:
        for spec in specs:
            experiment = getattr(sweep_experiments, spec["experiment"], spec["experiment"])
            mn.sweep(experiment, mn.Grid.from_json(spec["axes"]), spec["replicates"], rng=7, executor=executor,
                     store=spec["store"], progress=False)
        print(f"{executor.num_workers} workers")


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
