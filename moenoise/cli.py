"""The command line: `moenoise reproduce`, `list`, `audit`, and the commands of sweeps."""

import argparse
import os
import sys

from . import _arguments
from ._arguments import INTERRUPTED
from .sweeps import commands as sweep_commands

EXAMPLES = """examples:
  moenoise list                                     the claims, and what each says
  moenoise reproduce                                all of them, small sizes, in seconds
  moenoise reproduce theorem-4 figure-3             only these two
  moenoise reproduce --preset paper --out report    the paper's sizes; then open report/index.html

  moenoise audit activations.npy --targets y.npy    the same question, asked of your own activations
  moenoise sweep phase.toml                         an experiment on a grid of settings, stopped and resumed at will

exit status: 0 all corrected formulas hold, 1 one of them fails, 2 wrong usage, 130 interrupted
"""

def main(argv=None):
    """Run the command line and return its exit status."""
    arguments = _parser().parse_args(argv)
    try:
        status = arguments.run(arguments)
        sys.stdout.flush()
    except BrokenPipeError:  # the reader, say `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return status


def _parser():
    from . import __version__

    parser = argparse.ArgumentParser(
        prog="moenoise", epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Does a mixture of experts beat a dense model because its inputs are noisy? Simulates the paper's "
                    "claims and\ncompares them with their formulas, as printed and corrected.")
    parser.add_argument("--version", action="version", version=f"moenoise {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    reproduce = commands.add_parser(
        "reproduce", epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter,
        help="simulate claims and compare them with their formulas",
        description="Simulate claims and print the comparisons and a summary on stdout (progress goes to stderr); with "
                    "--out also write\na report. Ctrl-C ends the run and keeps the claims that are finished.")
    reproduce.add_argument("claims", nargs="*", metavar="CLAIM", help="names as in `moenoise list` (default: all)")
    reproduce.add_argument("--preset", choices=("quick", "paper"), default="quick",
                           help="small sizes, or the paper's (default: %(default)s)")
    reproduce.add_argument("--out", metavar="DIR", help="folder for report.json, one CSV per claim and index.html")
    reproduce.add_argument("--seed", type=_arguments.seed, default=0, metavar="N",
                           help="what all draws derive from (default: %(default)s)")
    reproduce.add_argument("--jobs", type=_arguments.jobs, metavar="N",
                           help="worker threads; no result depends on it (default: one per core)")
    reproduce.set_defaults(run=_reproduce, error=reproduce.error)
    _add_audit(commands)
    sweep_commands.add(commands)
    listing = commands.add_parser("list", help="the claims, their place in the paper, and what they say")
    listing.set_defaults(run=_list)
    return parser


AUDIT_EXAMPLES = """examples:
  moenoise audit layer0.npy                                   do the features come in modules?
  moenoise audit layer0.npy --targets y.npy --out audit       and do experts on them help? then open audit/index.html
  moenoise audit model.safetensors --key h.0 --experts 8      one array of a file that holds several

exit status: 0 the audit was made, whatever it found, 2 wrong usage or a file that cannot be used, 130 interrupted
"""


def _add_audit(commands):
    """The command `audit`."""
    audit = commands.add_parser(
        "audit", epilog=AUDIT_EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter,
        help="test on your own activations whether experts stand noise better",
        description="Do the features come in modules beyond what their correlations explain? Is what lies outside a "
                    "row's own module\nnoise? Does a block model predict the risks? Do experts beat a tuned ridge, and "
                    "random blocks? Four answers, on rows\nheld out, with their numbers. Files are never unpickled.")
    audit.add_argument("activations", metavar="FILE", help=".npy, .npz or .safetensors: rows by features")
    audit.add_argument("--targets", metavar="FILE", help=".npy: what to predict, one entry or row a row of "
                       "activations; floating numbers are responses, integers and strings classes")
    audit.add_argument("--groups", metavar="FILE", help=".npy: which rows belong together (a document's tokens, say)")
    audit.add_argument("--tokens", metavar="FILE", help=".npy: what each row is an activation of; modules are judged "
                       "on one row of each")
    audit.add_argument("--key", metavar="NAME", help="which array of a file that holds several")
    audit.add_argument("--experts", type=_experts, metavar="K", help="modules to look for (default: chosen, 2 to 24)")
    audit.add_argument("--sparsity", type=float, default=0.7, metavar="SHARE",
                       help="share of entries that count as not active (default: %(default)s)")
    audit.add_argument("--noise", type=_numbers, default=(0.0, 0.5, 1.0, 2.0), metavar="S,S,...",
                       help="standard deviations of added noise, in those of the features (default: 0,0.5,1,2)")
    audit.add_argument("--max-rows", type=_rows, default=10_000, metavar="N",
                       help="look at a random sample of so many distinct rows (default: %(default)s)")
    audit.add_argument("--out", metavar="DIR", help="folder for index.html, audit.json and the figures")
    audit.add_argument("--seed", type=_arguments.seed, default=0, metavar="N",
                       help="what all draws derive from (default: %(default)s)")
    audit.add_argument("--jobs", type=_arguments.jobs, metavar="N",
                       help="worker threads; no result depends on it (default: one per core)")
    audit.set_defaults(run=_audit, error=audit.error)


def _experts(text):
    return _arguments.integer_from(2, text)


def _rows(text):
    return _arguments.integer_from(50, text)


def _numbers(text):
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected numbers with commas between them, got {text!r}") from None


def _audit(arguments):
    try:
        _make_audit(arguments)
    except (TypeError, ValueError, OSError) as error:
        arguments.error(str(error))
    except KeyboardInterrupt:
        print("\ninterrupted: nothing was written", file=sys.stderr, flush=True)
        os._exit(INTERRUPTED)  # Python would wait at exit for draws that nobody wants any more
    return 0


def _make_audit(arguments):
    """Audit, print, and write where a folder is given."""
    from .activations.audit import audit
    from .activations.audit_report import write
    from .activations.targets import load_column
    from .report import check_folder

    if arguments.out is not None:
        check_folder(arguments.out)
    given = {name: None if path is None else load_column(path, f"--{name}")
             for name, path in (("targets", arguments.targets), ("groups", arguments.groups),
                                ("tokens", arguments.tokens))}
    found = audit(arguments.activations, given["targets"], groups=given["groups"], tokens=given["tokens"],
                  experts=arguments.experts, sparsity=arguments.sparsity, noise=arguments.noise, key=arguments.key,
                  max_rows=arguments.max_rows, rng=arguments.seed, jobs=arguments.jobs)
    print(found)
    if arguments.out is None:
        print("\n(--out DIR writes a page with figures, and audit.json)")
    else:
        folder = write(found, arguments.out, source=os.path.basename(arguments.activations))
        print(f"\nreport in {folder / 'index.html'}")


def _list(arguments):
    from . import claims

    width = max(map(len, claims.NAMES)) + 2
    for name in claims.NAMES:
        claim = claims.get(name)
        print(f"{name:<{width}}{claim.place}\n{'':<{width}}{claim.statement}")
    return 0


def _reproduce(arguments):
    from ._validation import as_jobs
    from .report import Report, prepare_folder
    from .reproduction import claim_names, fill

    try:
        names = claim_names(arguments.claims or None)
        out = None if arguments.out is None else prepare_folder(arguments.out)
    except ValueError as error:
        arguments.error(str(error))
    except OSError as error:
        arguments.error(f"--out: cannot write to {arguments.out}: {error.strerror or error}")
    report = Report(arguments.preset, arguments.seed)
    try:
        fill(report, names, out, as_jobs(arguments.jobs), progress=True)
    except KeyboardInterrupt:
        _leave_interrupted(report, names, out)
    print(report.table())
    print(f"\n{report.summary()}")
    if out:
        print(f"\nreport in {out / 'index.html'}")
    return 0 if report.ok else 1


def _leave_interrupted(report, names, out):
    """Print what is finished, say so in one line, and end the process without waiting for the worker threads."""
    if report.outcomes:
        print(report.table(), flush=True)
    kept = f", kept in {out}" if out and report.outcomes else ""
    print(f"\ninterrupted: {len(report.outcomes)} of {len(names)} claims finished{kept}", file=sys.stderr, flush=True)
    # Python would wait at exit for replicates that nobody wants any more.
    os._exit(INTERRUPTED)
