"""What has to be set before anything is imported, here and in what the tests start."""

import os
import signal

# More BLAS threads only compete on matrices of the tests' size.
os.environ["OPENBLAS_NUM_THREADS"] = "1"
# The tests are of the installed package, not of the folder they are started in.
os.environ["PYTHONSAFEPATH"] = "1"
# A shell's background job ignores SIGINT, and so would all that it starts: the tests of Ctrl-C need it.
signal.signal(signal.SIGINT, signal.default_int_handler)
