"""Does a sweep's store keep what it acknowledged when its writers are killed, again and again? Counted, not believed.

A script beside the suite, which runs it with few kills: `python tests/sweep_crashes.py --help`.
"""

import argparse
import collections
import json
import os
import random
import selectors
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from pathlib import Path

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # before it is loaded: a process that forks should have no threads

import moenoise as mn
from moenoise.sweeps import engine, sweep
from moenoise.sweeps.grid import cell_from_text, cell_text, generator

DESCRIPTION = """Two processes run the same sweep on one store; each is killed with SIGKILL at random moments and
started again, until there were enough kills. A writer tells what it stored only after the store has acknowledged it.
After each kill everything that was told has to be in the store, with the right value, and in its table once. When a
sweep is finished its table has to be that of a sweep that was never interrupted, and a new one begins in a new folder.
"""

EXAMPLES = """examples:
  python tests/sweep_crashes.py                        1,000 kills, a few minutes
  python tests/sweep_crashes.py --kills 100            as the suite does
  python tests/sweep_crashes.py --out /tmp/crashes     keeps the store of the last sweep there, for a look

Exit status: 0 nothing was lost, twice or wrong; 1 otherwise. A run is ended after --limit seconds, whatever it has.
"""

WRITERS = 2
SEED = 2**70 + 1  # a seed that no machine's integer holds
REPLICATES = 150
LONGEST_DELAY = 0.3  # seconds before a kill; most are far shorter
BATCH_SECONDS = 0.002  # so that most moments are in an append
WORK_SECONDS = 0.0003  # of a replicate
EXIT_FAILED = 3  # of a writer that raised


def experiment(cell, rng):
    """A draw, or in one cell of three sometimes an error."""
    time.sleep(WORK_SECONDS)
    value = float(rng.standard_normal())
    if cell["k"] == 3 and value > 1:
        raise ValueError(f"too large: {value}")
    return {"value": value * cell["n"], "positive": value > 0}


experiment.version = "1"


class Broken(AssertionError):
    """The store has broken its promise."""


class Writer:
    """A process that runs the sweep, and what it has told: a line before each append, one for each record after it."""

    def __init__(self, folder, grid):
        self.reading, telling = os.pipe()
        self.process = os.fork()
        if self.process == 0:
            run_writer(folder, grid, telling)
        os.close(telling)
        os.set_blocking(self.reading, False)
        self.text = b""

    def listen(self):
        """Read what it has told since; whether it is still there."""
        try:
            while chunk := os.read(self.reading, 1 << 16):
                self.text += chunk
        except BlockingIOError:
            return True
        return False

    def lines(self):
        """What it told; without a last line that was not told whole."""
        return [json.loads(line) for line in self.text.split(b"\n")[:-1]]

    def end(self):
        """Wait for its end; the exit status, negative for a signal's."""
        os.set_blocking(self.reading, True)
        self.listen()
        os.close(self.reading)
        return os.waitstatus_to_exitcode(os.waitpid(self.process, 0)[1])


def run_writer(folder, grid, telling):
    """All of a writer's process."""
    status = EXIT_FAILED
    try:
        class TellingStore(sweep.Store):
            def append(self, records):
                os.write(telling, b"null\n")
                super().append(records)
                for record in records:  # a line each: a pipe takes short ones whole
                    os.write(telling, json.dumps(key(cell_from_text(record.cell), record.replicate)).encode() + b"\n")

        sweep.Store = TellingStore
        sweep.REFRESH_SECONDS = 0.05
        warnings.simplefilter("ignore")  # some replicates raise, as they should
        engine.BATCH_SECONDS = BATCH_SECONDS
        sweep.sweep(experiment, grid, REPLICATES, rng=SEED, store=folder, jobs=1, progress=False)
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)  # nothing of the parent's is to be run here


def key(cell, replicate):
    return int(cell["n"]), int(cell["k"]), int(replicate)


def outcome(cell, replicate):
    """What comes of a replicate, without a sweep."""
    try:
        return tuple(experiment(cell, generator(SEED, cell_text(cell), replicate)).values())
    except ValueError as error:
        return f"ValueError: {error}"


def outcomes(table):
    """[(key, results or error)] of all lines of a table."""
    successes = [(key(line, line["replicate"]), (float(line["value"]), bool(line["positive"])))
                 for line in table.records]
    return successes + [(key(failure.cell, failure.replicate), failure.error) for failure in table.failures]


class Crashes:
    """Rounds of one sweep each, and what was counted in them."""

    def __init__(self, kills, seed, folder, scratch, limit):
        self.wanted, self.random, self.folder = kills, random.Random(seed), folder
        self.deadline = time.monotonic() + limit
        self.grid = mn.Grid(n=[1, 10, 100, 1000], k=[2, 3, 4])
        self.expected = {key(cell, replicate): outcome(cell, replicate)
                         for cell in self.grid for replicate in range(REPLICATES)}
        # Not in this process: it would have threads and locks then, which those that are forked from it would share.
        if Writer(scratch / "uninterrupted", self.grid).end() != 0:
            raise Broken("the uninterrupted sweep failed: it says why above")
        self.uninterrupted = outcomes(mn.load_sweep(scratch / "uninterrupted"))
        if dict(self.uninterrupted) != self.expected:
            raise Broken("the uninterrupted sweep is wrong")
        self.counts = collections.Counter(kills=0)
        self.most_segments = 0

    def run(self):
        """All rounds."""
        while self.counts["kills"] < self.wanted:
            shutil.rmtree(self.folder, ignore_errors=True)
            self._round()
            self.counts["rounds"] += 1

    def _round(self):
        """One sweep until it is finished, after the last kill in peace."""
        acknowledged = set()
        writers = [Writer(self.folder, self.grid) for _ in range(WRITERS)]
        try:
            while writers:
                self._listen(writers)
                for writer in [writer for writer in writers if not writer.listen()]:
                    writers.remove(writer)
                    self._bury(writer, acknowledged, killed=False)
                if writers and self.counts["kills"] < self.wanted:
                    writer = writers.pop(self.random.randrange(len(writers)))
                    os.kill(writer.process, signal.SIGKILL)
                    self._bury(writer, acknowledged, killed=True)
                    self._check(acknowledged)
                    writers.append(Writer(self.folder, self.grid))
        finally:
            for writer in writers:
                os.kill(writer.process, signal.SIGKILL)
                writer.end()
        self._check(acknowledged)
        if outcomes(mn.load_sweep(self.folder)) != self.uninterrupted:
            raise Broken("the finished table is not the uninterrupted one")

    def _listen(self, writers):
        """Take in what the writers tell, for a random time, or until all have ended."""
        if time.monotonic() > self.deadline:
            raise TimeoutError(f"the time of --limit was over after {self.counts['kills']} kills")
        until = time.monotonic() + LONGEST_DELAY * self.random.random() ** 3
        with selectors.DefaultSelector() as selector:
            for writer in writers:
                selector.register(writer.reading, selectors.EVENT_READ, writer)
            while selector.get_map() and (left := until - time.monotonic()) > 0:
                for entry, _ in selector.select(left):
                    if not entry.data.listen():
                        selector.unregister(entry.fileobj)

    def _bury(self, writer, acknowledged, *, killed):
        """Wait for a writer's end, and count what it told."""
        status = writer.end()
        lines = writer.lines()
        if status != 0 and not (killed and status == -signal.SIGKILL):
            raise Broken(f"a writer ended with status {status}: it says why above")
        told = [tuple(line) for line in lines if line]
        acknowledged.update(told)
        self.counts["acknowledged"] += len(told)
        if status != 0:
            self.counts["kills"] += 1
            self.counts["before the first append" if not lines else
                        "in an append" if lines[-1] is None else "between appends"] += 1

    def _check(self, acknowledged):
        """Everything that was told is there, everything that is there is right, and nothing is there twice."""
        if not acknowledged and not (self.folder / "manifest.json").exists():
            return
        found = outcomes(mn.load_sweep(self.folder))
        if len(dict(found)) != len(found):
            raise Broken("a replicate is in the table twice")
        lost = acknowledged - dict(found).keys()
        if lost:
            raise Broken(f"{len(lost)} of {len(acknowledged)} acknowledged records are lost, {min(lost)} is one")
        wrong = [(place, value) for place, value in found if value != self.expected[place]]
        if wrong:
            raise Broken(f"{len(wrong)} records are wrong, {wrong[0]} is one")
        self.most_segments = max(self.most_segments, len(list(self.folder.glob("segments/*"))))

    def report(self):
        """What was counted (str)."""
        counts = self.counts
        return (f"{counts['kills']} kills: {counts['before the first append']} before a writer's first append, "
                f"{counts['in an append']} in an append, {counts['between appends']} between two; "
                f"{counts['rounds']} sweeps of {len(self.expected)} finished, {counts['acknowledged']} records "
                f"acknowledged; at most {self.most_segments} segments a store")


def main(arguments=None):
    parser = argparse.ArgumentParser(description=DESCRIPTION, epilog=EXAMPLES,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=1000, help="how many at least (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the moments (default: %(default)s)")
    parser.add_argument("--limit", type=float, default=1200.0, help="seconds after which it gives up "
                                                                    "(default: %(default)s)")
    parser.add_argument("--out", type=Path, help="a folder that is new or empty, for the store of the last sweep")
    options = parser.parse_args(arguments)
    if options.out is not None and options.out.exists() and any(options.out.iterdir()):
        parser.error(f"--out must be a folder that is new or empty, and {options.out} is not")
    with tempfile.TemporaryDirectory() as scratch:
        start = time.monotonic()
        scratch = Path(scratch)
        crashes = Crashes(options.kills, options.seed, options.out or scratch / "store", scratch, options.limit)
        try:
            crashes.run()
        except (Broken, TimeoutError) as error:
            print(f"{crashes.report()}\nFAILED: {error}")
            return 1
        print(f"{crashes.report()}; {time.monotonic() - start:.0f} s\nnothing acknowledged was lost, twice or wrong")
        return 0


if __name__ == "__main__":
    sys.exit(main())
