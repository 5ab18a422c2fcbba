"""The commands `moenoise sweep`, `experiments`, `status` and `export`."""

import argparse
import concurrent.futures
import contextlib
import itertools
import math
import multiprocessing
import os
import signal
import sys
import textwrap
import threading
import time
import warnings

from .. import _arguments
from .._validation import as_jobs
from ..tables import aligned
from . import pools
from .grid import cell_from_text, cell_text
from .table import Failure

SWEEP = """Run an experiment on every cell of a grid, many times over. Stop it with Ctrl-C; the same command goes on
where it was. Results are the same to the last bit for any number of workers, shards and interruptions."""

SWEEP_EXAMPLES = """SPEC.toml, for example:
  experiment = "risk"       # a built-in (moenoise experiments) or "file.py:function", f(cell, rng) -> dict of numbers
  replicates = 200
  seed = 0
  store = "phase"           # the folder of the results, beside this file; default: this file's name without .toml
  [grid]                    # the axes: lists, single values, or spans, of whole numbers where both ends are
  n = [120, 240, 480, 960]
  noise_variance = {from = 0.125, to = 8.0, count = 13, spacing = "log"}
  k = [2, 4, 8]
  d = 240

examples:
  moenoise sweep phase.toml                                   threads, one a core
  moenoise sweep phase.toml --processes --jobs 32             processes, for experiments written in Python
  moenoise sweep phase.toml --shard $SLURM_ARRAY_TASK_ID/100  in a job of sbatch --array=1-100, all on one store
  moenoise status phase                                       from anywhere, meanwhile
  moenoise export phase --to csv --summary                    means and standard errors
  moenoise sweep phase.toml --retry-failed --accept-changes   after a fault in "file.py:function" was mended

exit status: 0 nothing raised, 1 something did (see moenoise status), 2 wrong usage, 130 interrupted
"""

EXPERIMENTS = """What the built-in experiments of sweeps measure, what axes they take and what results they give.
Risks are shares of the response's variance: 0 is perfect, 1 is nothing learnt. The signal-to-noise ratio of a feature
is signal_variance / noise_variance."""

FAILURES_SHOWN = 10
REQUESTS_SHOWN = 10
CELLS_SHOWN = 24


def add(commands):
    """The commands of sweeps."""
    sweep = _command(commands, "sweep", _sweep, "run an experiment on a grid of settings", SWEEP)
    sweep.epilog = SWEEP_EXAMPLES
    sweep.add_argument("spec", metavar="SPEC.toml", help="what to run")
    sweep.add_argument("--store", metavar="DIR", help="folder for the results, in place of the file's")
    sweep.add_argument("--jobs", type=_arguments.jobs, metavar="N",
                       help="workers; no result depends on it (default: one per core)")
    sweep.add_argument("--processes", action="store_true", help="workers are processes in place of threads")
    sweep.add_argument("--shard", type=_arguments.shard, metavar="I/N", help="only the I-th part of N of everything")
    sweep.add_argument("--retry-failed", action="store_true", help="run again what raised")
    sweep.add_argument("--accept-changes", action="store_true",
                       help="the experiment has changed: let what the store has count as it is")

    status = _command(commands, "status", _status, "how far a sweep is", "How far a sweep is, what failed, who writes.")
    status.add_argument("store", metavar="DIR", help="the sweep's folder")
    status.add_argument("--traceback", action="store_true", help="show the tracebacks of what failed")

    experiments = _command(commands, "experiments", _experiments, "the built-in experiments of sweeps", EXPERIMENTS)
    experiments.add_argument("names", nargs="*", metavar="NAME", help="only these")

    export = _command(commands, "export", _export, "a sweep's results as a file",
                      "Write the results of a sweep: a line a cell and replicate.")
    export.add_argument("store", metavar="DIR", help="the sweep's folder")
    export.add_argument("--to", choices=("csv", "parquet"), required=True, help="format; parquet needs pyarrow")
    export.add_argument("--out", metavar="FILE", help="default: standard output for csv, DIR's name and .parquet")
    export.add_argument("--summary", action="store_true", help="a line a cell: means, standard errors, counts")


def _command(commands, name, run, help, description):
    command = commands.add_parser(name, help=help, description=description,
                                  formatter_class=argparse.RawDescriptionHelpFormatter)
    command.set_defaults(run=lambda arguments: _guarded(run, arguments), error=command.error)
    return command


def _guarded(run, arguments):
    """The command's exit status; errors of usage and of files, and warnings, as lines on stderr."""
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _show_warning
            return run(arguments)
    except (TypeError, ValueError, OSError, ImportError) as error:
        if isinstance(error, BrokenPipeError):
            raise
        arguments.error("; ".join([str(error), *getattr(error, "__notes__", ())]))
    except RuntimeError as error:  # of the engine: what an experiment raises is recorded
        print("; ".join([f"moenoise: {error}", *getattr(error, "__notes__", ())]), file=sys.stderr)
        return 1
    except KeyboardInterrupt as interrupt:
        print(f"\n{str(interrupt) or 'interrupted'}", file=sys.stderr, flush=True)
        os._exit(_arguments.INTERRUPTED)  # Python would wait at exit for replicates that nobody wants any more


def _show_warning(message, *place, **more):
    print(f"moenoise: {message}", file=sys.stderr)


def _sweep(arguments):
    from .spec import read_spec
    from .sweep import sweep

    warnings.filterwarnings("ignore", ".* replicates raised")  # as is said below
    spec = read_spec(arguments.spec)
    store = spec.store if arguments.store is None else arguments.store
    with _terminated_as_interrupted(), _executor(arguments.processes, arguments.jobs) as executor:
        table = sweep(spec.experiment, spec.grid, spec.replicates, rng=spec.seed, store=store, executor=executor,
                      jobs=arguments.jobs, shard=arguments.shard, retry_failed=arguments.retry_failed,
                      accept_changes=arguments.accept_changes)
    _print_means(table)
    print(f"\n{table!r}\nin {store}; moenoise export {store} --to csv writes them")
    left = len(spec.grid) * spec.replicates - len(table) - len(table.failures)
    if left:
        print(f"{left:,} are left to other shards; means are of what there is")
    if table.failures:
        _print_failures(table.failures, traceback=False)
        print(f"moenoise status {store} --traceback shows more; --retry-failed runs them again")
    return 1 if table.failures else 0


@contextlib.contextmanager
def _terminated_as_interrupted():
    """SIGTERM, a cluster's way to say that time is up, does what Ctrl-C does."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


@contextlib.contextmanager
def _executor(processes, jobs):
    """Processes that leave Ctrl-C to this one, and end with it; None, for threads."""
    if not processes:
        yield None
        return
    pool = concurrent.futures.ProcessPoolExecutor(as_jobs(jobs), mp_context=multiprocessing.get_context("spawn"),
                                                  initializer=pools.follow_parent)
    try:
        yield pool
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        raise
    pool.shutdown()


def _print_means(table):
    """The means of the first cells, with their standard errors."""
    records = table.summary().records
    names = [name for name, values in table.axes.items() if len(values) > 1]
    lines = [(*(str(line[name]) for name in names),
              *(f"{line[f'{name}_mean']:.5g} +- {line[f'{name}_standard_error']:.1g}" if line[f"{name}_count"] else "-"
                for name in table.results))
             for line in records[:CELLS_SHOWN]]
    if lines:
        print(aligned([(*names, *table.results), *lines]))
    if len(records) > CELLS_SHOWN:
        print(f"... {len(records) - CELLS_SHOWN:,} cells more")


def _experiments(arguments):
    from .experiments import EXPERIMENTS

    for name in arguments.names:
        if name not in EXPERIMENTS:
            raise ValueError(f"NAME must be among {', '.join(EXPERIMENTS)}, got {name!r}")
    for name in arguments.names or EXPERIMENTS:
        each = EXPERIMENTS[name]
        print(f"{name}\n  {each.summary}")
        for parameter, values in each.parameters.items():
            default = "required" if values.required else f"default {values.default!r}"
            _print_described(f"{parameter} ({default})", values.doc)
        print("  results:")
        for result, doc in each.results.items():
            _print_described(result, doc)
        print()
    return 0


def _print_described(name, text):
    print(textwrap.fill(text, 110, initial_indent=f"    {name:<36}", subsequent_indent=" " * 40))


def _status(arguments):
    from .store import read_store

    found = read_store(arguments.store)
    keys = _asked_keys(found.requests)
    records = [found.records[key] for key in keys if key in found.records]
    failed = [record for record in records if record.error is not None]
    print(f"{found.identity.experiment} ({found.identity.experiment_version}), seed {found.identity.seed}, moenoise "
          f"{found.identity.package_version}, BLAS kernel {found.blas_kernel}")
    for grid, replicates in found.requests[:REQUESTS_SHOWN]:
        print(f"  {grid} x {replicates} replicates")
    if len(found.requests) > REQUESTS_SHOWN:
        print(f"  ... and {len(found.requests) - REQUESTS_SHOWN:,} grids more")
    done = len(records) - len(failed)
    print(f"finished  {done:,} of {len(keys):,} ({_percent(done, len(keys))}), {len(failed):,} failed, "
          f"{len(keys) - len(records):,} missing{_time_left(records, len(keys))}")
    print(f"writers   {_writers(found.segments)}")
    for damage in found.damage:
        print(f"damage    {damage}")
    if failed:
        _print_failures([Failure(cell_from_text(record.cell), record.replicate, record.error, record.traceback)
                         for record in failed], arguments.traceback)
        print(f"the sweep's command with --retry-failed runs them again"
              f"{'' if arguments.traceback else '; --traceback shows where they raised'}")
    return 0


def _asked_keys(requests):
    """What was asked for: (text of the cell, replicate), each once, in order."""
    return list(dict.fromkeys((text, replicate) for grid, replicates in requests for text in map(cell_text, grid)
                              for replicate in range(replicates)))


def _percent(part, whole):
    return f"{math.floor(1000 * part / whole) / 10:g} %"


def _time_left(records, asked):
    """How long what is missing takes one worker, at the mean of what is finished."""
    if not records or len(records) == asked:
        return ""
    seconds = sum(record.seconds for record in records) / len(records) * (asked - len(records))
    unit, size = next((unit, size) for unit, size in (("h", 3600), ("min", 60), ("s", 0)) if seconds >= size)
    return f", about {seconds / (size or 1):.2g} {unit} for one worker"


def _writers(segments):
    """Who writes, and when something was last stored."""
    if not segments:
        return "none yet"
    live = [segment.writer for segment in segments if segment.live]
    names = f" ({'; '.join(live)})" if live else ""
    unknown = sum(segment.live is None for segment in segments)
    elsewhere = f", {unknown} on other hosts, at work or not" if unknown else ""
    size = sum(segment.bytes for segment in segments)
    age = max(0.0, time.time() - max(segment.last_change for segment in segments))
    plural = "" if len(segments) == 1 else "s"
    return (f"{len(live)} at work{names}{elsewhere}; {len(segments)} segment{plural}, {size / 1e6:.3g} MB, last change "
            f"{age:.0f} s ago")


def _print_failures(failures, traceback):
    """The errors, a line each with the first of its kind, or that one's traceback."""
    kinds = {}
    for failure in failures:
        kinds.setdefault(failure.error, []).append(failure)
    print(f"failed    {len(failures):,}, in {len(kinds):,} ways")
    for error, alike in itertools.islice(kinds.items(), FAILURES_SHOWN):
        cell = ", ".join(f"{name}={value!r}" for name, value in alike[0].cell.items())
        print(f"  {len(alike):,} times, first in {cell}, replicate {alike[0].replicate}: {' '.join(error.split())}")
        if traceback:
            print(textwrap.indent(alike[0].traceback.rstrip(), "    "))
    if len(kinds) > FAILURES_SHOWN:
        print(f"  ... and {len(kinds) - FAILURES_SHOWN:,} ways more")


def _export(arguments):
    from .export import print_csv, write_parquet
    from .sweep import load_sweep

    table = load_sweep(arguments.store)
    lines = table.summary() if arguments.summary else table
    if arguments.to == "csv" and arguments.out is None:
        print_csv(lines.records, sys.stdout)
        return 0
    out = arguments.out or f"{os.path.basename(os.path.abspath(arguments.store))}.parquet"
    if arguments.to == "parquet":
        write_parquet(lines.records, out)
    else:
        lines.to_csv(out)
    print(f"{len(lines):,} lines in {out}", file=sys.stderr)
    return 0
