"""One BLAS thread, here and in what the tests start: more only compete on matrices of the tests' size."""

import os

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # read when NumPy is imported, which is after this
