"""Reading a segment: the file that one writer of a store appends to, perhaps at this moment."""

import datetime
import os
from typing import NamedTuple

from .manifest import FORMAT, Identity, check_format
from .records import as_record, encode_line, scan

CHUNK = 1 << 16  # bytes that are read at a time
MARK = 64  # last bytes of what was read, by which the file is known again; records end in seconds, hardly two alike


class Header(NamedTuple):
    """What each writer begins with."""

    identity: Identity
    blas_kernel: str
    host: str
    process: int
    started: str

    @classmethod
    def of_this_process(cls, identity, blas_kernel):
        started = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        return cls(identity, blas_kernel, os.uname().nodename, os.getpid(), started)

    def encode(self):
        """Its line (bytes)."""
        values = self._asdict()
        return encode_line({"header": {"format": FORMAT, **values.pop("identity")._asdict(), **values}})


def as_header(values, path):
    """The `Header` of a line's dict; None where it is of no header. ValueError where it is of a newer format."""
    values = values.get("header")
    if not isinstance(values, dict):
        return None
    if isinstance(values.get("format"), int):
        check_format(values["format"], path)
    try:
        return Header(Identity(*(values[field] for field in Identity._fields)),
                      *(values[field] for field in Header._fields[1:]))
    except KeyError:
        return None


class Rewritten(Exception):
    """A segment no longer holds what was read from it: it is read again from its beginning."""


class SegmentReader:
    """Reads what is new in a segment each time.

    Attributes
    ----------
    end : int
        Where the last line that was read ends: whole lines only are read, what follows may still be growing.
    size : int
        Of the file, when it was last looked at.
    damaged : list of (int, int)
        Ranges of bytes before `end` that hold no line as it was written.
    header : Header or None
        Of the last writer.
    """

    def __init__(self, path):
        self.path, self.name = path, path.name
        self.end, self.size, self.damaged, self.header = 0, 0, [], None
        self._mark, self._state = b"", None

    def read(self, limit=None, *, flush=False):
        """Yield the `Header`s and `Record`s that are new, up to the position `limit` where one is given.

        With `flush` they have reached the disk before: their writer may have been stopped between the two.
        """
        if self._state == _state(os.stat(self.path), limit):  # over a network far cheaper than to open it
            return
        with open(self.path, "rb", buffering=0) as file:
            status = os.fstat(file.fileno())
            self._check_mark(file)
            if flush:
                os.fsync(file.fileno())
            yield from self._read_again(file)
            self.size = status.st_size
            yield from self._read_new(file, status.st_size if limit is None else min(limit, status.st_size))
            self._state = _state(status, limit)

    def _check_mark(self, file):
        """Raise `Rewritten` where what was read last is not there any more."""
        if os.pread(file.fileno(), len(self._mark), self.end - len(self._mark)) != self._mark:
            raise Rewritten(self.path)

    def _read_again(self, file):
        """What was damaged may have been on its way: over a network, parts of a file come in any order."""
        still_damaged = []
        for start, end in self.damaged:
            yield from self._values(os.pread(file.fileno(), end - start, start), start, still_damaged)
        self.damaged = still_damaged

    def _read_new(self, file, limit):
        """Whole lines up to `limit`, in chunks."""
        file.seek(self.end)
        position, pending = self.end, []  # the pieces of a line so far
        while position < limit and (chunk := file.read(min(CHUNK, limit - position))):
            position += len(chunk)
            last = chunk.rfind(b"\n") + 1
            if not last:
                pending.append(chunk)
                continue
            lines = b"".join((*pending, chunk[:last]))
            pending = [chunk[last:]]
            damaged = []
            yield from self._values(lines, self.end, damaged)
            self.damaged += damaged
            self._mark = (self._mark + lines[-MARK:])[-MARK:]
            self.end += len(lines)

    def _values(self, data, offset, damaged):
        """Yield what is intact, and add to `damaged` what is not, neighbours as one range."""
        extend = False
        for (start, end), values in scan(data, offset):
            value = None if values is None else as_record(values) or self._header(values)
            if value is None:
                start = damaged.pop()[0] if extend else start
                damaged.append((start, end))
            else:
                yield value
            extend = value is None

    def _header(self, values):
        header = as_header(values, self.path)
        self.header = header or self.header
        return header


def _state(status, limit):
    """What changes whenever there is something new to read up to `limit`."""
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, limit
