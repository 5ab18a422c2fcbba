"""What a reproduction found: as a table, as JSON and CSV, as a page."""

import base64
import collections
import csv
import functools
import html
import io
import json
import math
import os
import tempfile
from pathlib import Path
from string import Template

import matplotlib

from . import plots
from .claims.base import FALSE_ALARM_RATE, Claim, Record

FIELDS = ("claim", "quantity", "setting", "measured", "standard_error", "printed", "corrected", "printed_verdict",
          "corrected_verdict")
HEADINGS = ("claim", "quantity", "setting", "measured", "printed", "", "corrected", "")
SUMMARY_HEADINGS = ("claim", "in the paper", "printed", "corrected", "seconds")


class Outcome:
    """What one claim gave: its records, and its figures, drawn when they are first asked for."""

    def __init__(self, claim: Claim, records: list[Record], data: dict, seconds: float):
        self.claim, self.records, self.seconds = claim, records, seconds
        self._data = data

    @functools.cached_property
    def figures(self):
        """dict, caption -> `matplotlib.figure.Figure`."""
        with matplotlib.rc_context(plots.STYLE):
            return self.claim.figures(self._data)


class Report:
    """The result of `moenoise.reproduce`.

    Attributes
    ----------
    preset : str
        "quick" or "paper".
    seed : int
        ``reproduce(..., rng=seed)`` gives the same numbers again.
    outcomes : dict of str to Outcome
        The finished claims' records and figures: ``report.outcomes["figure-3"].figures``.
    interrupted : bool
        Whether the run ended before all claims were finished.

    Examples
    --------
    >>> import moenoise as mn
    >>> report = mn.reproduce("table-2", progress=False)
    >>> report.ok
    True
    >>> report.records[0].claim
    'table-2'
    """

    def __init__(self, preset, seed):
        self.preset, self.seed = preset, seed
        self.outcomes = {}
        self.interrupted = False

    @property
    def records(self):
        """All comparisons, a list of `moenoise.claims.base.Record`, in the order of the claims."""
        return [record for outcome in self.outcomes.values() for record in outcome.records]

    @property
    def ok(self):
        """Whether no corrected formula failed."""
        return all(record.corrected_verdict != "fails" for record in self.records)

    def table(self):
        """All comparisons as plain text, a line each, under one line of headings (str)."""
        return _plain_table([HEADINGS, *map(_cells, self.records)])

    def summary(self):
        """How many printed and corrected formulas hold and fail, a line a claim, as plain text (str)."""
        return _plain_table([SUMMARY_HEADINGS, *map(_summary_cells, self.outcomes.values())])

    def __repr__(self):
        counts = verdict_counts(self.records, "corrected")
        return (f"<Report: preset {self.preset}, seed {self.seed}, {len(self.outcomes)} claims, "
                f"corrected formulas: {counts}{', interrupted' if self.interrupted else ''}>")

    def _repr_html_(self):
        return f"<style>{_VERDICT_STYLE}</style>{_html_table(self.records)}"

    def write(self, out):
        """Write `write_records`' files and index.html into the folder `out`; each appears whole or not at all."""
        from . import __version__

        self.write_records(out)
        write_atomically(Path(out) / "index.html", _page(self, __version__))

    def write_records(self, out):
        """Write report.json and one CSV per finished claim into the folder `out`."""
        from . import __version__

        out = Path(out)
        for name, outcome in self.outcomes.items():
            write_atomically(out / f"{name}.csv", _csv_text(outcome.records))
        document = {"version": __version__, "preset": self.preset, "seed": self.seed,
                    "records": [_as_dict(record) for record in self.records]}
        if self.interrupted:
            document["interrupted"] = True  # and so not all of the claims that were asked for
        write_atomically(out / "report.json", json.dumps(document, indent=1, allow_nan=False) + "\n")


def verdict_counts(records, form):
    """How many records' verdicts on that form hold and fail, as text."""
    counts = collections.Counter(getattr(record, f"{form}_verdict") for record in records)
    parts = [f"{counts[verdict]} {verdict.replace('holds', 'hold').replace('fails', 'fail')}"
             for verdict in ("holds", "fails") if counts[verdict]]
    return ", ".join(parts) or "nothing stated"


def prepare_folder(out):
    """`out` as a Path to a folder that exists and can be written to; OSError where that cannot be."""
    try:
        out = Path(out)
    except TypeError:
        raise TypeError(f"out must be a path, got {out!r}") from None
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=out):
        pass
    return out


def write_atomically(path, text):
    """Write a text file (UTF-8) so that under its name there is never a part of it."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with open(handle, "w", encoding="utf-8", newline="") as file:
            file.write(text)
        os.chmod(temporary, 0o644)  # mkstemp's own mode shuts other readers out
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def _as_dict(record):
    return {field: getattr(record, field) for field in FIELDS}


def _csv_text(records):
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, FIELDS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(map(_as_dict, records))
    return buffer.getvalue()


def _plain_table(rows):
    """Rows of texts in aligned columns, the first row ruled off."""
    widths = [max(map(len, column)) for column in zip(*rows)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows]
    return "\n".join([lines[0], "  ".join("-" * width for width in widths), *lines[1:]])


def _summary_cells(outcome):
    return (outcome.claim.name, outcome.claim.place, verdict_counts(outcome.records, "printed"),
            verdict_counts(outcome.records, "corrected"), f"{outcome.seconds:.1f}")


def _number(value):
    return "" if value is None else f"{value:.4g}"


def _measured(record):
    """The mean to the second digit of its standard error."""
    mean, error = record.measured, record.standard_error
    if mean is None:
        return "not finite"
    if not error:
        return _number(mean) if error == 0 else f"{_number(mean)} +- ?"
    if not 1e-4 <= abs(mean) < 1e6:
        return f"{mean:.3e} +- {error:.1e}"
    digits = max(0, 1 - math.floor(math.log10(error)))
    return f"{mean:.{digits}f} +- {error:.{digits}f}"


def _cells(record):
    return (record.claim, record.quantity, record.setting, _measured(record),
            _number(record.printed), "" if record.printed_verdict == "none" else record.printed_verdict,
            _number(record.corrected), "" if record.corrected_verdict == "none" else record.corrected_verdict)


# The page

_VERDICT_STYLE = """
.moenoise {border-collapse: collapse; font-size: 0.85rem; font-variant-numeric: tabular-nums}
.moenoise th {text-align: left; font-weight: 600; border-bottom: 1.5px solid #444; padding: 0.25rem 0.7rem 0.25rem 0}
.moenoise td {text-align: left; min-width: 3.2rem; border-bottom: 1px solid #e4e4e4; padding: 0.15rem 0.7rem 0.15rem 0}
.moenoise .number {white-space: nowrap}
.moenoise .holds {color: #00694b; font-weight: 600}
.moenoise .fails {color: #b3261e; font-weight: 600}
.moenoise .none {color: #767676}
"""

_PAGE = Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>moenoise: mixtures of experts under feature noise</title>
<style>
body {font: 16px/1.5 system-ui, sans-serif; color: #1c1c1c; max-width: 78rem; margin: 2rem auto; padding: 0 1.2rem}
h1 {font-size: 1.7rem; margin-bottom: 0.2rem} h2 {font-size: 1.25rem; margin: 2.6rem 0 0.3rem}
.place, .run, figcaption {color: #5a5a5a; font-size: 0.9rem} p {margin: 0.4rem 0; max-width: 48rem}
.wide {overflow-x: auto; margin: 0.9rem 0} figure {margin: 1rem 0} img {max-width: 100%}
.notice {background: #fff3d6; padding: 0.5rem 0.8rem}
$verdict_style
</style>
</head>
<body>
<h1>Mixtures of experts under feature noise</h1>
<p>Each claim of the paper (arXiv:2601.14792) was simulated, and compared
with its formula as printed and as corrected.</p>
<p class="run">moenoise $version &middot; preset $preset &middot; seed $seed</p>
$notice
<div class="wide">$summary</div>
<p class="run">An exact formula holds where it is within the $quantile quantile of Student's t from the simulated
mean, in standard errors: nominally a true one fails with probability $rate per comparison. A formula that is a limit is
allowed a relative margin on top, which its setting names; both forms are judged by the same rule. "Holds" means not
refuted. No verdict: nothing is stated there, or the mean is infinite or its tail too heavy to test. &plusmn; is one
standard error.</p>
$sections
</body>
</html>
""")

_SECTION = Template("""<section id="$name">
<h2>$name</h2>
<p class="place">$place</p>
<p><b>Stated:</b> $statement</p>
<p><b>Finding (preset paper, seed 0):</b> $finding</p>
$figures
<div class="wide">$table</div>
</section>
""")


def _verdict_cell(value, verdict):
    """A stated number and its verdict, in the verdict's colour."""
    return f'<td>{_number(value)}</td><td class="{verdict}">{"" if verdict == "none" else verdict}</td>'


def _html_table(records):
    """All records; the claim's name is left out where they are all of one claim."""
    first = 1 if len({record.claim for record in records}) == 1 else 0
    rows = []
    for record in records:
        texts = (record.claim, record.quantity, record.setting)[first:]
        cells = "".join(f"<td>{html.escape(text)}</td>" for text in texts)
        cells += f'<td class="number">{html.escape(_measured(record).replace("+-", "±"))}</td>'
        cells += _verdict_cell(record.printed, record.printed_verdict)
        cells += _verdict_cell(record.corrected, record.corrected_verdict)
        rows.append(cells)
    return _ruled_table(HEADINGS[first:], rows)


def _html_summary(outcomes):
    rows = []
    for outcome in outcomes:
        name, place, *counts, seconds = _summary_cells(outcome)
        kinds = ["none" if "stated" in count else "fails" if "fail" in count else "holds" for count in counts]
        rows.append(f'<td><a href="#{name}">{name}</a></td><td>{html.escape(place)}</td>'
                    + "".join(f'<td class="{kind}">{count}</td>' for kind, count in zip(kinds, counts))
                    + f"<td>{seconds}</td>")
    return _ruled_table(SUMMARY_HEADINGS, rows)


def _ruled_table(headings, rows):
    heads = "".join(f"<th>{heading}</th>" for heading in headings)
    body = "".join(f"<tr>{row}</tr>" for row in rows)
    return f'<table class="moenoise"><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table>'


def _image(caption, figure):
    buffer = io.BytesIO()
    with matplotlib.rc_context(plots.STYLE):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    source = base64.b64encode(buffer.getvalue()).decode()
    caption = html.escape(caption)
    return (f'<figure><img alt="{caption}" src="data:image/svg+xml;base64,{source}">'
            f"<figcaption>{caption}</figcaption></figure>")


def _section(outcome):
    claim = outcome.claim
    return _SECTION.substitute(
        name=claim.name,
        place=html.escape(claim.place),
        statement=html.escape(claim.statement),
        finding=html.escape(claim.finding),
        figures="".join(_image(caption, figure) for caption, figure in outcome.figures.items()),
        table=_html_table(outcome.records),
    )


def _page(report, version):
    notice = '<p class="notice">Interrupted: only the claims finished until then are shown.</p>'
    return _PAGE.substitute(
        version=html.escape(version),
        preset=report.preset,
        seed=report.seed,
        notice=notice if report.interrupted else "",
        verdict_style=_VERDICT_STYLE,
        summary=_html_summary(report.outcomes.values()),
        quantile=f"{100 * (1 - FALSE_ALARM_RATE / 2):.4f} %",
        rate=f"{FALSE_ALARM_RATE:g}",
        sections="".join(map(_section, report.outcomes.values())),
    )
