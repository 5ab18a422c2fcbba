"""The command line `python -m benchmarks.interpreter`: how much of each claim's time Python's interpreter takes.

Linux's `perf` looks ever so often at which library runs. What starting the program takes is left out.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from . import environment

FREQUENCY = 199
"""Looks a second."""

OWNERS = {
    "interpreter": ("libpython", "python"),
    "core": ("_core", "libscipy_openblas-moenoise", "libopenblas"),
}
"""How the names of their libraries begin; all others are of other packages, of C or of the kernel."""

HEADER = """| claim                | seconds | interpreter | core | others |
| -------------------- | ------- | ----------- | ---- | ------ |"""

DESCRIPTION = """Run each claim by itself, on one thread, and print how much of its time is the interpreter's, how much
the compiled core's with its BLAS, and how much other libraries' and the system's. What a claim loads, such as
scikit-learn, counts. Needs Linux's perf. All claims at the paper's sizes take a quarter of an hour."""


def main(argv=None):
    """Run the command line and return its exit status."""
    environment.prepare()
    from moenoise.claims import NAMES

    arguments = parser().parse_args(argv)
    unknown = set(arguments.claims).difference(NAMES)
    if unknown:
        parser().error(f"no claim is called {min(unknown)!r}; `moenoise list` has their names")
    if shutil.which("perf") is None:
        parser().error("perf is not installed (Debian: linux-perf)")
    start = samples("list")
    print(HEADER)
    for claim in arguments.claims or NAMES:
        print(line(claim, shares(samples("reproduce", claim, "--preset", arguments.preset, "--jobs", "1"), start)),
              flush=True)
    return 0


def parser():
    result = argparse.ArgumentParser(prog="python -m benchmarks.interpreter", description=DESCRIPTION)
    result.add_argument("claims", nargs="*", metavar="CLAIM", help="names as in `moenoise list` (default: all)")
    result.add_argument("--preset", choices=("quick", "paper"), default="paper", help="sizes (default: paper)")
    return result


def samples(*arguments):
    """dict, owner -> how often it was seen at work during this command of moenoise."""
    with tempfile.TemporaryDirectory() as folder:
        data = str(Path(folder, "perf.data"))
        record = ["perf", "record", "--quiet", "--freq", str(FREQUENCY), "--event", "cpu-clock", "--output", data]
        subprocess.run([*record, sys.executable, "-m", "moenoise", *arguments], check=False, capture_output=True)
        report = ["perf", "report", "--stdio", "--input", data, "--sort", "dso", "--show-nr-samples",
                  "--field-separator", ","]
        return by_owner(subprocess.run(report, check=True, capture_output=True, text=True).stdout)


def by_owner(report):
    """The samples of a report, whose lines are: share,samples,library."""
    seen = dict.fromkeys([*OWNERS, "others"], 0)
    for row in report.splitlines():
        if row.strip() and not row.startswith("#"):
            _, count, library = (field.strip() for field in row.split(",", 2))
            owners = [owner for owner, names in OWNERS.items() if library.startswith(names)]
            seen[owners[0] if owners else "others"] += int(count)
    return seen


def shares(seen, start):
    """(seconds, dict owner -> share), without those of the start."""
    left = {owner: max(0, count - start[owner]) for owner, count in seen.items()}
    total = max(1, sum(left.values()))
    return total / FREQUENCY, {owner: count / total for owner, count in left.items()}


def line(claim, measured):
    seconds, share = measured
    return (f"| {claim:<20} | {seconds:7.1f} | {share['interpreter']:11.0%} | {share['core']:4.0%} | "
            f"{share['others']:6.0%} |")


if __name__ == "__main__":
    sys.exit(main())
