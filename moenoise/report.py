"""What a reproduction found: as a table, as JSON and CSV, as a page."""

import csv
import errno
import functools
import io
import json
import os
import tempfile
from pathlib import Path

import matplotlib

from . import page, plots, tables
from .claims.base import Claim, Record

FIELDS = ("claim", "quantity", "setting", "measured", "standard_error", "printed", "corrected", "printed_verdict",
          "corrected_verdict")


class Outcome:
    """What one claim gave: its records, and its figures, drawn when they are first asked for."""

    def __init__(self, claim: Claim, records: list[Record], data: dict, seconds: float):
        self.claim, self.records, self.seconds = claim, records, seconds
        self._data = data

    @property
    def timings(self):
        """list of dict: wall-clock times of this run, each with its "quantity", "setting" and "seconds"."""
        return self._data.get("timings", [])

    @property
    def not_measured(self):
        """Why nothing was measured (str); empty where it was."""
        return self._data.get("not_measured", "")

    @functools.cached_property
    def figures(self):
        """dict, caption -> `matplotlib.figure.Figure`."""
        with matplotlib.rc_context(plots.STYLE):
            return self.claim.figures(self._data)

    @functools.cached_property
    def images(self):
        """dict, caption -> the figure as SVG (bytes)."""
        return {caption: plots.svg(figure) for caption, figure in self.figures.items()}

    def draw(self):
        """Draw `figures` and `images` now."""
        self.images  # a cached property draws when it is asked for


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
        return tables.record_table(self.records)

    def summary(self):
        """How many printed and corrected formulas hold and fail, a line a claim, as plain text (str)."""
        return tables.summary_table(self.outcomes.values())

    def __repr__(self):
        counts = tables.verdict_counts(self.records, "corrected")
        return (f"<Report: preset {self.preset}, seed {self.seed}, {len(self.outcomes)} claims, "
                f"corrected formulas: {counts}{', interrupted' if self.interrupted else ''}>")

    def _repr_html_(self):
        return page.html_fragment(self)

    def write(self, out):
        """Write `write_records`' files and index.html into the folder `out`; each appears whole or not at all."""
        from . import __version__

        self.write_records(out)
        write_atomically(Path(out) / "index.html", page.html_page(self, __version__))

    def write_records(self, out):
        """Write report.json and one CSV per finished claim into the folder `out`."""
        from . import __version__

        out = Path(out)
        for name, outcome in self.outcomes.items():
            write_atomically(out / f"{name}.csv", _csv_text(outcome.records))
        document = {"version": __version__, "preset": self.preset, "seed": self.seed,
                    "records": [_as_dict(record) for record in self.records],
                    # No two runs take the same time: these are no records, and have no verdicts.
                    "timings": [{"claim": name} | timing for name, outcome in self.outcomes.items()
                                for timing in outcome.timings]}
        if self.interrupted:
            document["interrupted"] = True  # and so not all of the claims that were asked for
        write_atomically(out / "report.json", json.dumps(document, indent=1, allow_nan=False) + "\n")


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


def check_folder(out):
    """Raise OSError where `prepare_folder` would, and make nothing."""
    out = Path(out)
    nearest = next(path for path in (out, *out.absolute().parents) if path.exists())
    if not nearest.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, "not a folder", str(nearest))
    with tempfile.TemporaryFile(dir=nearest):
        pass


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
