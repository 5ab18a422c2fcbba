"""Run the paper's claims."""

import difflib
import sys
import time

from . import claims as registry
from ._random import philox_key
from ._validation import as_choice, as_integer, as_jobs, as_list
from .claims.base import Run
from .report import Outcome, Report, prepare_folder

PRESETS = ("quick", "paper")
BAR = "{desc} {n_fmt}/{total_fmt} |{bar:20}| {elapsed}{postfix}"


def reproduce(claims=None, preset="quick", out=None, rng=0, progress=True, *, jobs=None):
    """Simulate the paper's claims and compare them with their formulas, printed and corrected.

    Parameters
    ----------
    claims : str or sequence of str, optional
        Names of claims, as `moenoise list` prints them. Default: all.
    preset : {"quick", "paper"}
        "paper" takes the paper's sizes (minutes), "quick" small ones (seconds).
    out : path-like, optional
        A folder, made if need be, for report.json, one CSV per claim and index.html.
    rng : None, int, SeedSequence or Generator
        What all draws derive from. The same seed gives the same draws on every machine, for any number of jobs.
    progress : bool
        Whether progress bars are shown on stderr.
    jobs : int, optional
        Worker threads; default: as many as this process may use cores. BLAS is limited to one thread meanwhile.

    Returns
    -------
    Report

    Raises
    ------
    ValueError
        Where a claim or a preset is unknown.
    OSError
        Where `out` cannot be written to; before any work.
    KeyboardInterrupt
        On Ctrl-C, at once; the claims finished by then are in `out`.

    Examples
    --------
    >>> import moenoise as mn
    >>> report = mn.reproduce(["table-2"], progress=False)
    >>> print(report.table().splitlines()[0].split()[:3])
    ['claim', 'quantity', 'setting']
    """
    names = claim_names(claims)
    jobs = as_jobs(jobs)
    seed = as_integer(rng, "rng", low=0) if hasattr(rng, "__index__") else philox_key(rng)
    report = Report(as_choice(preset, "preset", PRESETS), seed)
    fill(report, names, None if out is None else prepare_folder(out), jobs, progress)
    return report


def claim_names(claims):
    """The names asked for, in the report's order; ValueError naming the first that is unknown."""
    if claims is None:
        return list(registry.NAMES)
    wanted = [claims] if isinstance(claims, str) else as_list(claims, "claims")
    for name in wanted:
        if name not in registry.NAMES:
            close = difflib.get_close_matches(str(name), registry.NAMES, 1)
            hint = f"; did you mean {close[0]}?" if close else ""
            raise ValueError(f"claims must be names among {', '.join(registry.NAMES)}; got {name!r}{hint}")
    return [name for name in registry.NAMES if name in wanted]


def fill(report, names, out, jobs, progress):
    """Run the claims one by one into `report`; whatever ends it, what is finished is written to `out`."""
    from tqdm.auto import tqdm

    report.interrupted = True  # until all is done
    try:
        # miniters=0: the bar is also redrawn between claims, for the replicates of the present one.
        with (tqdm(total=len(names), desc="claims", bar_format=BAR, miniters=0, disable=not progress) as bar,
              Run(report.seed, jobs, bar) as run):
            for name in names:
                report.outcomes[name] = outcome = _measure(registry.get(name), run, report.preset)
                if out is not None:
                    report.write_records(out)  # so that nothing finished is lost, whatever comes
                    outcome.draw()  # within the run, because theory's lines are computed there: BLAS on one thread
                bar.update()
            bar.set_postfix_str("")
        report.interrupted = False
    finally:
        if out is not None and report.outcomes:
            if report.interrupted and progress:
                print("\nwriting what is finished ...", file=sys.stderr, flush=True)
            report.write(out)


def _measure(claim, run, preset):
    start = time.perf_counter()
    run.begin(claim.name)
    records, data = claim.measure(run, **claim.presets[preset])
    return Outcome(claim, records, data, time.perf_counter() - start)
