"""How often do quick runs call a right formula wrong, and do they find each known fault? Many seeds tell.

A script beside the suite, because 200 seeds take more than an hour: `python tests/false_alarms.py --help`.
"""

import argparse
import collections
import json
import multiprocessing
import os
import sys
from pathlib import Path

DESCRIPTION = """Run all claims at their small sizes with many seeds, and report every corrected formula that failed,
every fault of a printed formula that seed 0 finds and another seed does not, and how often right exact formulas would
have failed at larger rates than the claims', against what those rates promise."""

EXAMPLES = """examples:
  python tests/false_alarms.py --out /tmp/seeds.jsonl                     200 seeds, more than an hour
  python tests/false_alarms.py --out /tmp/seeds.jsonl                     the same again: goes on where it was ended
  python tests/false_alarms.py --out /tmp/few.jsonl --seeds 20 --workers 1 ridge figure-3

A file belongs to one state of the program: begin a new one after a change. Exit status: 0 no corrected formula failed
and each known fault was found with every seed, 1 otherwise.
"""

LEVELS = (0.05, 1e-2, 1e-3, 1e-4)  # rates at which right formulas fail often enough to be counted

judged = []  # (record, p-value or None, share of the allowance) of each comparison of the present run


def watch_comparisons():
    """From here on `compare` also keeps p-values in `judged`; before any claim is imported, which would bind it."""
    from moenoise.claims import base

    compare = base.compare

    def watched(claim, quantity, setting, estimate, *, corrected=None, margin=0.0, relation="equal", **options):
        record = compare(claim, quantity, setting, estimate, corrected=corrected, margin=margin, relation=relation,
                         **options)
        if record.corrected_verdict != "none" and estimate.standard_error > 0:
            judged.append((record, *distance(estimate, corrected, margin, relation)))
        return record

    base.compare = watched


def distance(estimate, stated, margin, relation):
    """The two-sided p-value of an exact equality, else None; and how much of what is allowed the difference takes."""
    from scipy.special import stdtr

    excess = estimate.mean - stated
    if relation == "at least":
        excess = min(excess, 0.0)
    elif relation == "at most":
        excess = max(excess, 0.0)
    share = abs(excess) / (margin * abs(stated) + estimate.allowance)
    if margin or relation != "equal":
        return None, share
    return 2 * float(stdtr(estimate.degrees_of_freedom, -abs(excess) / estimate.standard_error)), share


def run_seed(task):
    """One seed's line of the file: all verdicts, and the watched comparisons."""
    import moenoise as mn

    seed, names = task
    judged.clear()
    report = mn.reproduce(names, rng=seed, progress=False, jobs=1)
    return {
        "seed": seed,
        "printed": [[*place(record), record.printed_verdict] for record in report.records],
        "corrected": [[*place(record), record.corrected_verdict] for record in report.records],
        "judged": [[*place(record), p_value, share] for record, p_value, share in judged],
    }


def place(record):
    return record.claim, record.quantity, record.setting


def finished(path):
    """The lines of the file by seed; a last line that was not written whole is left out."""
    lines = {}
    if path.exists():
        for text in path.read_text().splitlines():
            try:
                line = json.loads(text)
            except json.JSONDecodeError:
                continue
            lines[line["seed"]] = line
    return lines


def run(path, seeds, workers, names):
    """Append the lines of those seeds that the file does not have."""
    tasks = [(seed, names) for seed in range(seeds) if seed not in finished(path)]
    environment = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    os.environ.update(environment)
    context = multiprocessing.get_context("spawn")  # so that each worker reads the environment
    with context.Pool(workers, watch_comparisons) as pool, open(path, "a", encoding="utf-8") as file:
        for line in pool.imap_unordered(run_seed, tasks):
            file.write("\n" * needs_newline(path) + json.dumps(line) + "\n")
            file.flush()
            print(f"seed {line['seed']}", file=sys.stderr, flush=True)


def needs_newline(path):
    """Whether the file's last line was not written whole."""
    text = path.read_bytes()
    return bool(text) and not text.endswith(b"\n")


def failures(lines):
    """(seed, claim, quantity, setting) of every corrected formula that failed."""
    return [(line["seed"], *place) for line in lines for *place, verdict in line["corrected"] if verdict == "fails"]


def lost_faults(lines):
    """What fails as printed with the first seed and not with each, as a dict: place -> with how many seeds it fails.

    Places are (claim, quantity): a fault is found where the quantity fails in any setting.
    """
    found = [{(claim, quantity) for claim, quantity, _, verdict in line["printed"] if verdict == "fails"}
             for line in lines]
    counts = collections.Counter(fault for faults in found for fault in faults)
    return {fault: counts[fault] for fault in sorted(found[0]) if counts[fault] < len(lines)}


def observed_rates(lines):
    """(level, comparisons, how many of them have a p-value of at most the level), of the exact equalities."""
    p_values = [p_value for line in lines for *_, p_value, _ in line["judged"] if p_value is not None]
    return [(level, len(p_values), sum(p_value <= level for p_value in p_values)) for level in LEVELS]


def frequent(lines, level=1e-2, doubt=1e-4):
    """Exact comparisons whose p-values are too often small: place -> (how often at most `level`, of how many)."""
    from scipy.stats import binom

    p_values = collections.defaultdict(list)
    for line in lines:
        for *where, p_value, _ in line["judged"]:
            if p_value is not None:
                p_values[tuple(where)].append(p_value)
    counts = {where: (sum(p <= level for p in values), len(values)) for where, values in p_values.items()}
    return {where: (count, total) for where, (count, total) in counts.items()
            if binom.sf(count - 1, total, level) <= doubt}


def nearest(lines, count=10):
    """The comparisons that came nearest to failing: (share of what is allowed, seed, claim, quantity, setting)."""
    shares = [(share, line["seed"], *where) for line in lines for *where, _, share in line["judged"]]
    return sorted(shares, reverse=True)[:count]


def summary(lines):
    """The whole report, as text."""
    comparisons = [sum(verdict != "none" for *_, verdict in line["corrected"]) for line in lines]
    text = [f"{len(lines)} seeds, {min(comparisons)} to {max(comparisons)} corrected comparisons each"]
    text += ["", "right exact formulas, two-sided p-value at most:"]
    text += [f"  {level:<7g} {count:6d} of {total}: {count / max(1, total):.2e}"
             for level, total, count in observed_rates(lines)]
    sections = {
        "small p-values too often (1e-2 or less)": [f"{count} of {total}: {' | '.join(where)}"
                                                    for where, (count, total) in frequent(lines).items()],
        "nearest to failing (share of what is allowed)": [f"{share:.2f} seed {seed}: {' | '.join(where)}"
                                                          for share, seed, *where in nearest(lines)],
        "corrected formulas that failed": [f"seed {seed}: {' | '.join(where)}" for seed, *where in failures(lines)],
        "known faults not found with each seed": [f"found with {count}: {' | '.join(fault)}"
                                                  for fault, count in lost_faults(lines).items()],
    }
    for title, entries in sections.items():
        text += ["", f"{title}: {len(entries)}", *(f"  {entry}" for entry in entries)]
    return "\n".join(text)


def main(argv=None):
    """Run the command line and return its exit status."""
    parser = argparse.ArgumentParser(description=DESCRIPTION, epilog=EXAMPLES,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("claims", nargs="*", help="names of claims (default: all)")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="a line of JSON for each seed")
    parser.add_argument("--seeds", type=int, default=200, help="how many, from 0 on (default: %(default)s)")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="processes (default: one per core)")
    arguments = parser.parse_args(argv)
    run(arguments.out, arguments.seeds, arguments.workers, arguments.claims or None)
    lines = [line for seed, line in sorted(finished(arguments.out).items()) if seed < arguments.seeds]
    print(summary(lines))
    return 1 if failures(lines) or lost_faults(lines) else 0


if __name__ == "__main__":
    sys.exit(main())
