"""A structured array with what it takes to be looked at and handed on."""

import html

from .. import tables
from .export import write_csv

LINES_SHOWN = 24, 12  # as text, in Jupyter


class Lines:
    """Lines of named columns.

    Attributes
    ----------
    records : structured array
    """

    def __init__(self, records):
        self.records = records

    def __len__(self):
        return len(self.records)

    def __getitem__(self, name):
        """The column of that name, an array; a list of names gives a structured array of these."""
        return self.records[name]

    def to_pandas(self):
        """The records as a `pandas.DataFrame`; ImportError without pandas."""
        try:
            import pandas
        except ImportError as error:
            raise ImportError("to_pandas needs pandas: pip install pandas; .records is a NumPy array") from error
        return pandas.DataFrame({name: self.records[name] for name in self.records.dtype.names})

    def to_csv(self, path):
        """Write the records as CSV, floats to the last bit, in the place of what may be there."""
        write_csv(self.records, path)

    def __repr__(self):
        count = len(self)
        return f"<{type(self).__name__} of {count} line{'s' * (count != 1)}: {', '.join(self.records.dtype.names)}>"

    def __str__(self):
        if not len(self):
            return repr(self)
        most = LINES_SHOWN[0]
        text = tables.aligned([self.records.dtype.names, *self._shown(most)])
        return f"{text}\n... {len(self) - most:,} lines more" if len(self) > most else text

    def _repr_html_(self):
        most, names = LINES_SHOWN[1], self.records.dtype.names
        head = "".join(f"<th>{html.escape(name)}</th>" for name in names)
        body = "".join("<tr>" + "".join(f"<td>{html.escape(text)}</td>" for text in line) + "</tr>"
                       for line in self._shown(most))
        more = f"<tr><td colspan='{len(names)}'>... {len(self):,} lines</td></tr>" if len(self) > most else ""
        return f"{self._caption_html()}<table><thead><tr>{head}</tr></thead><tbody>{body}{more}</tbody></table>"

    def _caption_html(self):
        return ""

    def _shown(self, most):
        """The first lines as texts."""
        return [[f"{value:.6g}" if isinstance(value, float) else str(value) for value in line]
                for line in self.records[:most].tolist()]
