"""The report as HTML: which statements stand, then each claim with its figures and comparisons; for Jupyter, in short.

What is shown is computed here, how it looks stands in ``templates``.
"""

import base64
import collections
import numbers
from typing import NamedTuple

import jinja2

from .claims.base import DOUBT_RATE, FALSE_ALARM_RATE
from .tables import measured, number

ENVIRONMENT = jinja2.Environment(loader=jinja2.PackageLoader("moenoise"), autoescape=jinja2.select_autoescape(),
                                 trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined)
ENVIRONMENT.filters["number"] = number
ENVIRONMENT.filters["measured"] = lambda record: measured(record).replace("+-", "±")

MOST_SHOWN = 6  # of a setting's values


class Standing(NamedTuple):
    """What became of a statement: the word for it, its colour's class, and how many of its comparisons hold."""

    word: str
    kind: str
    count: str


def standing(records, form, unjudged="nothing stated"):
    """The `Standing` of all comparisons of a form, "printed" or "corrected", together."""
    counts = collections.Counter(getattr(record, f"{form}_verdict") for record in records)
    holds, fails = counts["holds"], counts["fails"]
    judged = holds + fails + counts["undecided"]
    if not judged:
        return Standing(unjudged, "none", "")
    count = f"{holds} of {judged}"
    if holds == judged:
        return Standing("✓ holds" if form == "corrected" else "✓ stands", "holds", count)
    if not fails:
        return Standing("◐ undecided", "undecided", count)
    if form == "corrected":
        return Standing("✗ fails", "fails", count)
    return Standing("✗ falls", "fails", count) if fails == judged else Standing("◐ in part", "partly", count)


def failures_first(records):
    """The records, those that fail as corrected first, then those that fail as printed."""
    def order(record):
        return [("fails", "undecided").index(verdict) if verdict in ("fails", "undecided") else 2
                for verdict in (record.corrected_verdict, record.printed_verdict)]

    return sorted(records, key=order)


def html_page(report, version):
    """The whole report, one self-contained page (str)."""
    claims = [_section(outcome, report.preset) for outcome in report.outcomes.values()]
    return ENVIRONMENT.get_template("page.html").render(
        version=version, preset=report.preset, seed=report.seed, interrupted=report.interrupted, claims=claims,
        overview=_overview(claims), rate=f"{FALSE_ALARM_RATE:g}", quantile=f"{100 * (1 - FALSE_ALARM_RATE / 2):.6f} %",
        doubt=f"{1 / DOUBT_RATE:,.0f}")


def html_fragment(report):
    """The verdict table and, folded away, all comparisons: what Jupyter shows of a report (str)."""
    tables = ENVIRONMENT.get_template("tables.html").module
    style = ENVIRONMENT.get_template("tables.css").render()
    rows = [_row(outcome) for outcome in report.outcomes.values()]
    count = len(report.records)
    return (f"<style>{style}</style>{tables.verdicts(rows, linked=False)}"
            f"<details><summary>All {count} comparisons, failures first</summary>"
            f"{tables.records(failures_first(report.records), named=True)}</details>")


def _overview(claims):
    """How many of the paper's own statements stand, and which corrected forms fail, as text."""
    own = collections.Counter(claim["printed"].kind for claim in claims if not claim["beyond"])
    words = {"holds": "standing", "undecided": "undecided", "partly": "standing in part", "fails": "falling",
             "none": "not to be judged"}
    counts = ", ".join(f"{own[kind]} {word}" for kind, word in words.items() if own[kind])
    printed = f"Of the paper's own {own.total()} statements, as printed: {counts}. " if own else ""
    corrected = collections.defaultdict(list)
    for claim in claims:
        corrected[claim["corrected"].kind].append(claim["name"])
    broken = [f"{word}: {', '.join(corrected[kind])}" for kind, word in (("fails", "fails"), ("undecided", "undecided"))
              if corrected[kind]]
    judged = "all that could be judged hold" if corrected["holds"] else "nothing could be judged"
    return f"{printed}Corrected: {'; '.join(broken) or judged}."


def _row(outcome):
    """A claim's line in the verdict table."""
    claim, records = outcome.claim, outcome.records
    unjudged = "not measured" if outcome.not_measured else "nothing stated"
    return {"name": claim.name, "place": claim.place, "statement": claim.statement, "beyond": claim.beyond,
            "summary": outcome.not_measured or claim.summary,
            "printed": standing(records, "printed", unjudged), "corrected": standing(records, "corrected", unjudged)}


def _section(outcome, preset):
    """A claim's line and all else that its section shows."""
    return _row(outcome) | {
        "finding": outcome.claim.finding,
        "not_measured": outcome.not_measured,
        "setting": ", ".join(f"{name} = {_shown(value)}" for name, value in outcome.claim.presets[preset].items()),
        "images": [(caption, _data_address(image)) for caption, image in outcome.images.items()],
        "timings": outcome.timings,
        "quantities": _quantities(outcome.records),
        "records": failures_first(outcome.records),
    }


def _quantities(records):
    """What was compared, a line a quantity, in the records' order."""
    groups = {}
    for record in records:
        groups.setdefault(record.quantity, []).append(record)
    return [{"quantity": quantity, "comparisons": len(group), "printed": standing(group, "printed", unjudged="-"),
             "corrected": standing(group, "corrected", unjudged="-")} for quantity, group in groups.items()]


def _shown(value):
    """A setting's value as text, a long sequence by its first values and its last."""
    if isinstance(value, dict):
        return "; ".join(f"{name}: {_shown(entry)}" for name, entry in value.items())
    if isinstance(value, (tuple, list)):
        texts = [f"({_shown(entry)})" if isinstance(entry, (tuple, list)) else _shown(entry) for entry in value]
        if len(texts) > MOST_SHOWN:
            texts = [*texts[:MOST_SHOWN - 2], "...", texts[-1]]
        return ", ".join(texts)
    return f"{value:g}" if isinstance(value, numbers.Real) else str(value)


def _data_address(svg):
    return f"data:image/svg+xml;base64,{base64.b64encode(svg).decode()}"
