"""Records and verdicts as plain text."""

import collections
import math


def number(value):
    """A stated number to four digits; nothing where it is None."""
    return "" if value is None else f"{value:.4g}"


def measured(record):
    """A record's measured mean to the second digit of its standard error, and that."""
    mean, error = record.measured, record.standard_error
    if mean is None:
        return "not finite"
    if not error:
        return number(mean) if error == 0 else f"{number(mean)} +- ?"
    if not 1e-4 <= abs(mean) < 1e6:
        return f"{mean:.3e} +- {error:.1e}"
    digits = max(0, 1 - math.floor(math.log10(error)))
    return f"{mean:.{digits}f} +- {error:.{digits}f}"


def verdict_counts(records, form):
    """How many records' verdicts on that form hold, are undecided and fail, as text."""
    counts = collections.Counter(getattr(record, f"{form}_verdict") for record in records)
    parts = [f"{counts[verdict]} {verdict if counts[verdict] == 1 else plural}"
             for verdict, plural in (("holds", "hold"), ("undecided", "undecided"), ("fails", "fail"))
             if counts[verdict]]
    return ", ".join(parts) or "nothing stated"


def record_table(records):
    """All comparisons, a line each, under one line of headings (str)."""
    headings = ("claim", "quantity", "setting", "measured", "printed", "", "corrected", "")
    return aligned([headings, *map(_record_cells, records)])


def summary_table(outcomes):
    """How many printed and corrected formulas hold and fail, a line a claim (str)."""
    headings = ("claim", "in the paper", "printed", "corrected", "seconds")
    return aligned([headings, *map(_summary_cells, outcomes)])


def aligned(rows):
    """Rows of texts in aligned columns, the first row ruled off (str)."""
    widths = [max(map(len, column)) for column in zip(*rows)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows]
    return "\n".join([lines[0], "  ".join("-" * width for width in widths), *lines[1:]])


def _record_cells(record):
    return (record.claim, record.quantity, record.setting, measured(record),
            number(record.printed), "" if record.printed_verdict == "none" else record.printed_verdict,
            number(record.corrected), "" if record.corrected_verdict == "none" else record.corrected_verdict)


def _summary_cells(outcome):
    verdicts = ["not measured" if outcome.not_measured else verdict_counts(outcome.records, form)
                for form in ("printed", "corrected")]
    return (outcome.claim.name, outcome.claim.place, *verdicts, f"{outcome.seconds:.1f}")
