"""Tables of the results, for the terminal and for the README."""

import re

from .row import FULL

BUSY = 0.5
"""From this load on, before the run begins, other work may have slowed down some of the runs."""

BEGIN, END = "<!-- benchmarks: begin -->", "<!-- benchmarks: end -->"

COMPARED = ("work", "moenoise", "against", "takes", "times faster", "goal", "floor", "of the limit")
UNITS = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns"))


def text(results):
    """Everything, as Markdown: how to read it, the comparisons, memory, growth, what ran; as much as was measured."""
    rows = results["rows"]
    parts = [how_to_read(results["quick"]), comparisons(rows), memory(rows.get("memory", [])),
             growth(rows.get("growth", []), rows.get("dense-over-experts")), ran_on(results["machine"])]
    return "\n\n".join(part for part in parts if part)


def how_to_read(quick):
    return ("All on one thread, unless it says otherwise. Medians of runs in turn, after a check that all sides "
            f"compute the same; what takes less than {FULL.turn * 1000:g} ms is called several times a turn, as by a "
            "loop. In brackets a 95 % bootstrap interval of the ratio. The *floor* is the time that this hardware "
            "needs at least, *of the limit* its share of ours. A *replicate* is a draw, the dense and the experts' "
            "learning curves of it, and their exact risks." +
            " **Small sizes, for a quick look: no goal applies.**" * quick)


def ran_on(machine):
    """CPU, instruction sets, BLAS and versions."""
    blas = "; ".join(f"{owner} {kernel}" for owner, kernel in kernels(machine))
    versions = [f"{name} {version}" if version else f"no {name}, so its row is left out"
                for name, version in machine["versions"].items()]
    return "\n".join((
        f"* CPU: {machine['cpu']}, {machine['cores']} cores; "
        f"{', '.join(f'{name} {size}' for name, size in machine['caches'].items())}. "
        f"Load before the run: {machine['load']:.2f}" + (", **so other work disturbed it**." * busy(machine) or "."),
        f"* Instruction set: {machine['instruction set']}, of {', '.join(machine['instruction sets'])}.",
        f"* BLAS kernels: {blas}; one thread each. dgemm: {machine['dgemm']['rate']:.1f} {machine['dgemm']['what']}.",
        f"* Versions: {', '.join(versions)}.",
    ))


def busy(machine):
    return machine["load"] >= BUSY


def kernels(machine):
    """(whose, library, version and kernel) of each BLAS."""
    yield "moenoise", machine["blas"]["configuration"].split(" DYNAMIC")[0] + " " + machine["blas"]["kernel"]
    for library in machine["libraries"]:
        owner = library["file"].split(".libs")[0]
        if library["kernel"] and owner:  # OpenMP has no kernel; our own library's folder is just .libs
            yield owner, f"{library['interface']} {library['version']} {library['kernel']}"


def comparisons(rows):
    """One line a rival; the threads' kernels in one."""
    lines = [line for name, entries in rows.items() if is_compared(entries) and name != "threads"
             for entry in entries for line in compared(entry)]
    lines += threads(rows.get("threads", []))
    return markdown(COMPARED, lines) if lines else ""


def is_compared(entries):
    return isinstance(entries, list) and all("rivals" in entry for entry in entries)


def compared(entry):
    """The lines of one row of the suite."""
    floor = entry["floor"]
    first = (f"{entry['work']}: {entry['setting']}", duration(entry["seconds"]["median"]))
    last = ("", "") if floor is None else (f"{duration(floor['seconds'])}: {floor['what']}",
                                           f"{floor['share']:.0%}" + floor_goal(floor))
    for rival in entry["rivals"]:
        low, high = rival["interval"]
        part = f" (1/{rival['times']} of it, times {rival['times']})" * (rival["times"] > 1)
        yield (*first, rival["name"] + part, duration(rival["seconds"]["median"]),
               f"{number(rival['ratio'])} [{number(low)}, {number(high)}]", goal(rival), *last)
        first = last = ("", "")  # said once


def threads(entries):
    """All kernels in one line: the range of their ratios, and how many reach the goal."""
    if not entries:
        return []
    ratios = {entry["setting"].split(",")[0]: entry["rivals"][0] for entry in entries}
    slowest = min(ratios, key=lambda name: ratios[name]["ratio"])
    values = [rival["ratio"] for rival in ratios.values()]
    goals = [rival["met"] for rival in ratios.values() if rival["goal"] is not None]
    wanted = f"{number(entries[0]['rivals'][0]['goal'])}: {sum(goals)} of {len(goals)}" if goals else ""
    return [(f"each of {len(entries)} kernels: {entries[0]['name']}", "", entries[0]["rivals"][0]["name"], "",
             f"{number(min(values))} ({slowest}) to {number(max(values))}", wanted, "", "")]


def goal(rival):
    return "" if rival["goal"] is None else number(rival["goal"]) + (": met" if rival["met"] else ": missed")


def floor_goal(floor):
    return "" if floor["goal"] is None else f" (goal {floor['goal']:.0%}: {'met' if floor['met'] else 'missed'})"


def memory(entries):
    """Peak memory beside the design."""
    lines = [(f"{entry['work']}: {entry['setting']}", megabytes(entry["design"]), megabytes(entry["above"]),
              number(entry["squares"])) for entry in entries]
    return markdown(("peak memory", "design", "beside it", "in d x d matrices"), lines) if lines else ""


def growth(entries, ratio):
    """Fitted exponents beside those of the operations counted."""
    lines = [(f"time of {entry['work']}", f"{entry['along']} = {span(entry['values'])}", entry["fixed"], fitted(entry),
              number(entry["expected"])) for entry in entries]
    if ratio is not None:
        lines.append(("time of the dense fit over the experts'", f"k = {span(ratio['values'])}", ratio["fixed"],
                      fitted(ratio), number(ratio["expected"])))
    return markdown(("grows", "along", "at", "exponent", "by counting flops"), lines) if lines else ""


def fitted(entry):
    return f"{entry['exponent']:.2f} ± {entry['standard_error']:.2f}"


def span(values):
    return f"{values[0]:,} to {values[-1]:,}"


def goals(results):
    """(met, all) of the goals that were judged."""
    entries = [entry for part in results["rows"].values() if is_compared(part) for entry in part]
    verdicts = [verdict["met"] for entry in entries for verdict in (*entry["rivals"], entry["floor"] or {})
                if verdict.get("goal") is not None]
    return sum(verdicts), len(verdicts)


def duration(seconds):
    """Three digits and a unit."""
    size, unit = next(((size, unit) for size, unit in UNITS if seconds >= size), UNITS[-1])
    return f"{number(seconds / size)} {unit}"


def megabytes(count):
    return f"{number(count / 1e6)} MB"


def number(value):
    """Two or three digits, without an exponent."""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}" if abs(value) >= 10 else f"{value:.2g}"


def markdown(header, lines):
    """A table whose columns are aligned in plain text too."""
    cells = [list(header), *(list(line) for line in lines)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(header))]
    cells.insert(1, ["-" * width for width in widths])
    return "\n".join("| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths)) + " |" for line in cells)


def replace_section(readme, section):
    """`readme` with the text between the two marks replaced."""
    if readme.count(BEGIN) != 1 or readme.count(END) != 1:
        raise ValueError(f"the README must hold {BEGIN} and {END} once each")
    return re.sub(f"{BEGIN}.*?{END}", lambda _: f"{BEGIN}\n{section}\n{END}", readme, flags=re.DOTALL)


def section(results):
    """What stands between the README's two marks."""
    met, judged = goals(results)
    return ("![How many times faster than each alternative, how close to the hardware's limit, and how time grows]"
            f"(docs/benchmarks.png)\n\n{met} of {judged} goals are met here. {text(results)}")
