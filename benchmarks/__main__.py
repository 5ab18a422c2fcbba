"""The command line: `python -m benchmarks`."""

import argparse
import json
import sys
from pathlib import Path

from . import environment

HERE = Path(__file__).parent
RESULTS = HERE / "results.json"
FIGURE = HERE.parent / "docs" / "benchmarks.png"
README = HERE.parent / "README.md"

INTERRUPTED = 130  # 128 + SIGINT, as shells have it

DESCRIPTION = """Time moenoise against what one would use instead, in turn, after checking that both compute the same.
A complete run, of some minutes, writes benchmarks/results.json, docs/benchmarks.png and the README's section."""

EXAMPLES = """examples:
  python -m benchmarks --list                  the rows, and what each is
  python -m benchmarks                         all of them; rewrites the results, the figure and the README's section
  python -m benchmarks --quick                 all of them at small sizes, under a minute; writes nothing
  python -m benchmarks qda descent             only these two; writes nothing
  python -m benchmarks --quick --out /tmp/b    results.json, table.md and, if all rows ran, benchmarks.png there
  MOENOISE_ISA=sse2 python -m benchmarks       as on an older CPU

exit status: 0 done, whether or not goals are met; 1 two sides disagree, 2 wrong usage, 130 interrupted
"""


def main(argv=None):
    """Run the command line and return its exit status."""
    environment.prepare()
    from . import suite  # brings NumPy, which reads the environment

    arguments = parser().parse_args(argv)
    if arguments.list:
        for name in suite.NAMES:
            print(f"{name:<20}{suite.description(name)}")
        return 0
    unknown = [name for name in arguments.rows if name not in suite.NAMES]
    if unknown:
        parser().error(f"no row is called {unknown[0]!r}; the rows are {', '.join(suite.NAMES)}")
    return run(arguments.rows or suite.NAMES, arguments.quick, arguments.out)


def parser():
    result = argparse.ArgumentParser(prog="python -m benchmarks", description=DESCRIPTION, epilog=EXAMPLES,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    result.add_argument("rows", nargs="*", metavar="ROW", help="names as --list prints them (default: all)")
    result.add_argument("--quick", action="store_true", help="small sizes and few repetitions")
    result.add_argument("--list", action="store_true", help="print the rows' names, and end")
    result.add_argument("--out", type=Path, metavar="DIR", help="write the results there, and nowhere else")
    return result


def run(names, quick, out):
    """Measure, print, and store; returns the exit status."""
    from . import suite, table
    from .row import Disagreement

    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
    try:
        results = measured([name for name in suite.NAMES if name in names], quick)
    except Disagreement as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ninterrupted: nothing is written", file=sys.stderr)
        return INTERRUPTED
    met, judged = table.goals(results)
    print(table.text(results) + f"\n\n{met} of {judged} goals met" * (judged > 0))
    complete = list(results["rows"]) == list(suite.NAMES)
    if out is not None:
        store(results, out / "results.json", out / "benchmarks.png" if complete else None)
        (out / "table.md").write_text(table.section(results) + "\n")
    elif complete and not quick:
        store(results, RESULTS, FIGURE)
        README.write_text(table.replace_section(README.read_text(), table.section(results)))
    return 0


def measured(names, quick):
    """The results of these rows, and what they ran on."""
    from tqdm.auto import tqdm

    from . import machine, suite

    results = {"quick": quick, "machine": machine.describe(), "rows": {}}
    with tqdm(names, bar_format="{n_fmt}/{total_fmt} |{bar:20}| {elapsed} {desc}", miniters=0) as bar:
        for name in names:
            bar.set_description_str(name)
            results["rows"][name] = suite.run(name, quick)
            bar.update()
        bar.set_description_str("")
    results["machine"]["libraries"] = machine.libraries()  # some come with a row
    return results


def store(results, path, figure_path):
    """Write results.json and, if its path is given, the figure."""
    from . import figure

    path.write_text(json.dumps(results, indent=1) + "\n")
    if figure_path is not None:
        figure.draw(results).savefig(figure_path, dpi=160, metadata={"Software": None})


if __name__ == "__main__":
    sys.exit(main())
