"""The command line `python -m benchmarks.profile`: where the time goes, in claims and in what the benchmarks time.

Linux's `perf` looks ever so often at which library, or which function, runs.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from . import environment

FREQUENCY = 499
"""Looks a second."""

OWNERS = {
    "interpreter": ("libpython", "python"),
    "core": ("_core", "libscipy_openblas-moenoise", "libopenblas"),
}
"""How the names of their libraries begin; all others are of other packages, of C or of the kernel."""

SECONDS = 3.0
"""For which a row's own side is called over and over."""
REPEAT = "from benchmarks import profile; profile.repeat({!r}, {}, {})"
SMALLEST_SHARE = 0.01
"""Of a function that is printed."""

DESCRIPTION = """Claims: run each by itself, on one thread, and print how much of its time is the interpreter's,
how much the compiled core's with its BLAS, and how much other libraries' and the system's. What starting the program
takes is left out; what a claim loads, such as scikit-learn, is not. Rows of the benchmarks: print the functions that
take most of the time. Needs Linux's perf."""

EXAMPLES = """examples:
  python -m benchmarks.profile                       all claims at the paper's sizes, a quarter of an hour
  python -m benchmarks.profile figure-3 digits       only these two
  python -m benchmarks.profile --row experts         what the experts' fits spend their time on
"""


def main(argv=None):
    """Run the command line and return its exit status."""
    environment.prepare()
    from moenoise.claims import NAMES

    from . import suite

    arguments = parser().parse_args(argv)
    unknown = set(arguments.claims).difference(NAMES)
    if unknown:
        parser().error(f"no claim is called {min(unknown)!r}; `moenoise list` has their names")
    if arguments.row is not None and arguments.row not in suite.COMPARISONS:
        parser().error(f"no row is called {arguments.row!r}; the rows are {', '.join(suite.COMPARISONS)}")
    if shutil.which("perf") is None:
        parser().error("perf is not installed (Debian: linux-perf)")
    if arguments.row is None:
        print_claims(arguments.claims or NAMES, arguments.preset)
    else:
        print_row(arguments.row)
    return 0


def parser():
    result = argparse.ArgumentParser(prog="python -m benchmarks.profile", description=DESCRIPTION, epilog=EXAMPLES,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    result.add_argument("claims", nargs="*", metavar="CLAIM", help="names as in `moenoise list` (default: all)")
    result.add_argument("--preset", choices=("quick", "paper"), default="paper", help="the claims' sizes")
    result.add_argument("--row", help="a row of the benchmarks instead, by the name that their --list prints")
    return result


def print_claims(claims, preset):
    """The shares of each claim, as Markdown."""
    start = by_owner(profiled("dso", "-m", "moenoise", "list"))
    print("| claim                | seconds | interpreter | core | others |\n"
          "| -------------------- | ------- | ----------- | ---- | ------ |")
    for claim in claims:
        report = profiled("dso", "-m", "moenoise", "reproduce", claim, "--preset", preset, "--jobs", "1")
        seconds, share = shares(by_owner(report), start)
        print(f"| {claim:<20} | {seconds:7.1f} | {share['interpreter']:11.0%} | {share['core']:4.0%} | "
              f"{share['others']:6.0%} |", flush=True)


def print_row(name):
    """The functions that take most of the row's own side, as Markdown: one table a row of that name."""
    from . import suite

    for index, row in enumerate(suite.COMPARISONS[name](False)):
        start, seen = (by_function(profiled("dso,symbol", "-c", REPEAT.format(name, index, seconds)))
                       for seconds in (0, SECONDS))
        seen.subtract(start)
        total = sum(count for count in seen.values() if count > 0)
        print(f"\n{row.work}, {row.setting}\n\n| share | library                          | function |\n"
              "| ----- | -------------------------------- | -------- |")
        for (library, function), count in seen.most_common():
            if count >= SMALLEST_SHARE * total:
                print(f"| {count / total:5.0%} | {library:<32} | {function} |", flush=True)


def repeat(name, index, seconds):
    """Call the own side of one of the rows of that name for so long, over and over; nothing but its making for 0."""
    environment.prepare()
    from . import suite

    row = list(suite.COMPARISONS[name](False))[index]
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        row.ours()


def profiled(what, *arguments):
    """perf's report on a run of Python with these arguments, a line each `what`, its fields between commas."""
    with tempfile.TemporaryDirectory() as folder:
        data = str(Path(folder, "perf.data"))
        record = ["perf", "record", "--quiet", "--freq", str(FREQUENCY), "--event", "cpu-clock", "--output", data]
        run = subprocess.run([*record, sys.executable, *arguments], check=False, capture_output=True, text=True)
        if run.returncode > 1 or "Traceback" in run.stderr:  # 1 alone: a formula of the claim fails
            sys.exit(f"this could not be profiled: {' '.join(arguments)}\n{run.stderr}")
        report = ["perf", "report", "--stdio", "--input", data, "--sort", what, "--show-nr-samples",
                  "--field-separator", ","]
        return subprocess.run(report, check=True, capture_output=True, text=True).stdout


def fields(report):
    """(samples, library, ...) of each line of a report."""
    for line in report.splitlines():
        if line.strip() and not line.startswith("#"):
            _, count, *names = (field.strip() for field in line.split(","))
            yield int(count), *names


def by_owner(report):
    """dict, owner -> samples of it."""
    seen = dict.fromkeys([*OWNERS, "others"], 0)
    for count, library, *_ in fields(report):
        owners = [owner for owner, names in OWNERS.items() if library.startswith(names)]
        seen[owners[0] if owners else "others"] += count
    return seen


def by_function(report):
    """Counter, (library, function) -> samples of it."""
    return Counter({(library, function[4:]): count  # behind [.] or [k]
                    for count, library, function, *_ in fields(report)})


def shares(seen, start):
    """(seconds, dict owner -> share), without those of the start."""
    left = {owner: max(0, count - start[owner]) for owner, count in seen.items()}
    total = max(1, sum(left.values()))
    return total / FREQUENCY, {owner: count / total for owner, count in left.items()}


if __name__ == "__main__":
    sys.exit(main())
