"""The commands `moenoise sweep`, `moenoise status` and `moenoise export`."""

import argparse
import concurrent.futures
import contextlib
import math
import multiprocessing
import os
import signal
import sys
import textwrap
import time

from .. import _arguments
from .._validation import as_jobs
from ..tables import aligned
from .grid import cell_from_text, cell_text

SWEEP = """Run an experiment on every cell of a grid, many times over. Stop it with Ctrl-C; the same command goes on
where it was. Results are the same to the last bit for any number of workers, shards and interruptions."""

SWEEP_EXAMPLES = """SPEC.toml, for example:
  experiment = "risk"       # a built-in, see below, or "file.py:function" for your own f(cell, rng) -> dict of numbers
  replicates = 200
  seed = 0
  store = "phase"           # the folder of the results, beside this file; default: this file's name without .toml
  [grid]
  n = [120, 240, 480, 960]
  noise_variance = {from = 0.125, to = 8, count = 13, spacing = "log"}
  k = [2, 4, 8]
  d = 240

examples:
  moenoise sweep phase.toml                                   threads, one a core
  moenoise sweep phase.toml --processes --jobs 32             processes, for experiments written in Python
  moenoise sweep phase.toml --shard $SLURM_ARRAY_TASK_ID/100  in a job of sbatch --array=1-100, all on one store
  moenoise status phase                                       from anywhere, meanwhile
  moenoise export phase --to csv --summary                    means and standard errors

exit status: 0 all finished, 1 something raised (see moenoise status), 2 wrong usage, 130 interrupted
"""

FAILURES_SHOWN = 10
CELLS_SHOWN = 24


def add(commands):
    """The three commands."""
    sweep = _command(commands, "sweep", _sweep, "run an experiment on a grid of settings", SWEEP)
    sweep.epilog = f"{_built_ins()}\n{SWEEP_EXAMPLES}"
    sweep.add_argument("spec", metavar="SPEC.toml", help="what to run")
    sweep.add_argument("--store", metavar="DIR", help="folder for the results, in place of the file's")
    sweep.add_argument("--jobs", type=_arguments.jobs, metavar="N",
                       help="workers; no result depends on it (default: one per core)")
    sweep.add_argument("--processes", action="store_true", help="workers are processes in place of threads")
    sweep.add_argument("--shard", type=_arguments.shard, metavar="I/N", help="only the I-th part of N of everything")
    sweep.add_argument("--retry-failed", action="store_true", help="run again what raised")

    status = _command(commands, "status", _status, "how far a sweep is", "How far a sweep is, what failed, who writes.")
    status.add_argument("store", metavar="DIR", help="the sweep's folder")
    status.add_argument("--traceback", action="store_true", help="show the tracebacks of what failed")

    export = _command(commands, "export", _export, "a sweep's results as a file",
                      "Write the results of a sweep: a line a cell and replicate.")
    export.add_argument("store", metavar="DIR", help="the sweep's folder")
    export.add_argument("--to", choices=("csv", "parquet"), required=True, help="format; parquet needs pyarrow")
    export.add_argument("--out", metavar="FILE", help="default: standard output for csv, DIR.parquet for parquet")
    export.add_argument("--summary", action="store_true", help="a line a cell: means, standard errors, counts")


def _command(commands, name, run, help, description):
    command = commands.add_parser(name, help=help, description=description,
                                  formatter_class=argparse.RawDescriptionHelpFormatter)
    command.set_defaults(run=lambda arguments: _guarded(run, arguments), error=command.error)
    return command


def _guarded(run, arguments):
    """The command's exit status; errors of usage and of files as one line on stderr."""
    try:
        return run(arguments)
    except (TypeError, ValueError, OSError, ImportError) as error:
        if isinstance(error, BrokenPipeError):
            raise
        arguments.error("; ".join([str(error), *getattr(error, "__notes__", ())]))
    except KeyboardInterrupt as interrupt:
        print(f"\n{interrupt or 'interrupted'}", file=sys.stderr, flush=True)
        os._exit(_arguments.INTERRUPTED)  # Python would wait at exit for replicates that nobody wants any more


def _sweep(arguments):
    from .spec import read_spec
    from .sweep import sweep

    spec = read_spec(arguments.spec)
    store = spec.store if arguments.store is None else arguments.store
    with _executor(arguments.processes, arguments.jobs) as executor:
        table = sweep(spec.experiment, spec.grid, spec.replicates, rng=spec.seed, store=store, executor=executor,
                      jobs=arguments.jobs, shard=arguments.shard, retry_failed=arguments.retry_failed)
    _print_means(table)
    print(f"\n{table!r}\nin {store}; moenoise export {store} --to csv writes them")
    if table.failures:
        _print_failures(table.failures, len(table.failures), traceback=False)
        print(f"moenoise status {store} --traceback shows more; --retry-failed runs them again")
    return 1 if table.failures else 0


def _executor(processes, jobs):
    """Processes that leave Ctrl-C to this one; None, for threads."""
    if not processes:
        return contextlib.nullcontext()
    return concurrent.futures.ProcessPoolExecutor(as_jobs(jobs), mp_context=multiprocessing.get_context("spawn"),
                                                  initializer=signal.signal, initargs=(signal.SIGINT, signal.SIG_IGN))


def _print_means(table):
    """The means of the first cells, with their standard errors."""
    records = table.summary().records
    names = [name for name, values in table.axes.items() if len(values) > 1]
    lines = [(*(str(line[name]) for name in names),
              *(f"{line[f'{name}_mean']:.5g} +- {line[f'{name}_standard_error']:.1g}" for name in table.results))
             for line in records[:CELLS_SHOWN]]
    if lines:
        print(aligned([(*names, *table.results), *lines]))
    if len(records) > CELLS_SHOWN:
        print(f"... {len(records) - CELLS_SHOWN:,} cells more")


def _built_ins():
    from .experiments import EXPERIMENTS

    lines = ["built-in experiments, and the axes that they take (* required):"]
    for each in EXPERIMENTS.values():
        axes = ", ".join(f"{name}{'*' if parameter.required else ''}" for name, parameter in each.parameters.items())
        lines += [f"  {each.name:<12}{each.summary}",
                  textwrap.fill(axes, 110, initial_indent=" " * 14, subsequent_indent=" " * 14)]
    return "\n".join(lines) + "\n"


def _status(arguments):
    from .store import read_store

    found = read_store(arguments.store)
    keys = _asked_keys(found.requests)
    records = [found.records[key] for key in keys if key in found.records]
    failed = [record for record in records if record.error is not None]
    print(f"{found.identity.experiment} ({found.identity.experiment_version}), seed {found.identity.seed}, moenoise "
          f"{found.identity.package_version}, BLAS kernel {found.blas_kernel}")
    for grid, replicates in found.requests:
        print(f"  {grid} x {replicates} replicates")
    done = len(records) - len(failed)
    print(f"finished  {done:,} of {len(keys):,} ({_percent(done, len(keys))}), {len(failed):,} failed, "
          f"{len(keys) - len(records):,} missing{_time_left(records, len(keys))}")
    print(f"writers   {_writers(found.segments)}")
    for damage in found.damage:
        print(f"damage    {damage}")
    if failed:
        _print_failures([(cell_from_text(record.cell), *record[1:2], *record[4:]) for record in failed],
                        len(failed), arguments.traceback)
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
    unknown = sum(segment.live is None for segment in segments)
    size = sum(segment.bytes for segment in segments)
    age = max(0.0, time.time() - max(segment.last_change for segment in segments))
    elsewhere = f", {unknown} on other hosts, at work or not" if unknown else ""
    return (f"{len(live)} at work{f' ({chr(59).join(live)})' if live else ''}{elsewhere}; {len(segments)} segments, "
            f"{size / 1e6:.3g} MB, last change {age:.0f} s ago")


def _print_failures(failures, count, traceback):
    """The first failures, a line each, or with their tracebacks."""
    print(f"failed    {count}" + (f", of which the first {FAILURES_SHOWN}:" if count > FAILURES_SHOWN else ":"))
    for cell, replicate, error, trace in failures[:FAILURES_SHOWN]:
        print(f"  {', '.join(f'{name}={value!r}' for name, value in cell.items())}, replicate {replicate}: {error}")
        if traceback:
            print(textwrap.indent(trace.rstrip(), "    "))


def _export(arguments):
    from .export import write_csv, write_parquet
    from .sweep import load_sweep

    table = load_sweep(arguments.store)
    lines = table.summary() if arguments.summary else table
    if arguments.to == "csv" and arguments.out is None:
        write_csv(lines.records, sys.stdout)
        return 0
    out = arguments.out or f"{os.path.normpath(arguments.store)}.parquet"
    if arguments.to == "parquet":
        write_parquet(lines.records, out)
    else:
        with open(out, "w", encoding="utf-8", newline="") as file:
            write_csv(lines.records, file)
    print(f"{len(lines):,} lines in {out}", file=sys.stderr)
    return 0
