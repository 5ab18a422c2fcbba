"""One finished replicate of a cell, and its line in a segment.

A line is a newline, the CRC-32 of the payload in 8 hexadecimal digits, a space, the payload (JSON in ASCII), and a
newline. A record has a newline of its own on both sides: so one wrong byte, be it a newline, costs no more than the
record it is in.
"""

import json
import sys
import zlib
from typing import NamedTuple


class Record(NamedTuple):
    """What came of one replicate of a cell: results, or an error."""

    cell: str
    """`grid.cell_text` of the cell."""
    replicate: int
    results: dict | None
    """Names to bools, ints or floats; None: it failed."""
    seconds: float
    error: str | None = None
    """"ValueError: message"; None: it did not fail."""
    traceback: str | None = None


def encode_line(values):
    """A dict as a line (bytes)."""
    payload = json.dumps(values, separators=(",", ":")).encode("ascii")
    return b"\n%08x %b\n" % (zlib.crc32(payload), payload)


def encode_record(record):
    """The line of a `Record`, to the last bit of its numbers."""
    values = record._asdict()
    return encode_line(values if record.error is not None else {name: values[name] for name in Record._fields[:4]})


def as_record(values):
    """The `Record` of a line's dict; None where it is of no record. Those of a cell share its text."""
    try:
        return Record(sys.intern(values["cell"]), values["replicate"], values["results"], values["seconds"],
                      values.get("error"), values.get("traceback"))
    except (KeyError, TypeError):
        return None


def scan(data, offset=0):
    """((start, end), dict) of each line that is not blank, an iterator; None for the dict of a damaged one.

    `data` are whole lines, the bytes from `offset` on of a file, whose positions start and end are.
    """
    ranges, payloads = [], []
    for line in data.split(b"\n"):
        end = offset + len(line)
        if line:
            payload = line[9:]
            ranges.append((offset, end))
            payloads.append(payload if line[:9] == b"%08x " % zlib.crc32(payload) else b"null")
        offset = end + 1
    return zip(ranges, _decode(payloads))


def _decode(payloads):
    """A dict each, or None where there is none; all at once where that can be done, for it takes half the time."""
    values = _loads(b"[%b]" % b",".join(payloads))
    if not isinstance(values, list) or len(values) != len(payloads):  # one is no JSON, although its checksum is right
        values = map(_loads, payloads)
    return [value if isinstance(value, dict) else None for value in values]


def _loads(text):
    try:
        return json.loads(text.decode("ascii"))
    except ValueError:
        return None
