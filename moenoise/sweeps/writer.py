"""Writing a segment: one process has it to itself, and what it acknowledges is on the disk.

A process takes over a segment of its host that nobody has, and makes one where there is none. Who has one holds a lock
on it, which ends with the process, however that ends. Where locks do not work every process makes its own. The name of
a segment says which start of which host it is of, so that hosts never share one, even where locks, or the names of
hosts, do not reach beyond one of them.
"""

import contextlib
import errno
import fcntl
import functools
import os
import re
import time
import uuid
import weakref
from pathlib import Path

from .folder import sync, write_all

PROBE_SECONDS = 0.002  # longer than `is_live` holds a lock

_held = weakref.WeakValueDictionary()  # (device, inode) -> the open file: some locks do not exclude the own process


class Intruded(Exception):
    """Somebody else has written to the segment: its lock is not worth anything."""


class SegmentWriter:
    """Appends to a segment that this process has to itself.

    Attributes
    ----------
    name : str
    end : int
        Where what is acknowledged ends.
    """

    def __init__(self, path, file):
        self.path, self.name, self.end = path, path.name, 0
        self._file, self._owner = file, os.getpid()
        self._settled = False  # whether nothing follows what is acknowledged

    @property
    def is_own(self):
        """False in a process that was forked from the writer's."""
        return self._owner == os.getpid()

    def begin_at(self, end):
        """Take all before `end` as acknowledged; the first append cuts off the part of a line that may follow."""
        handle = self._file.fileno()
        if b"\n" in os.pread(handle, os.fstat(handle).st_size - end, end):  # more than that: whoever read it missed it
            raise Intruded(self.path)
        self.end = end

    def append(self, data):
        """Write `data`, whole lines; they are on the disk when this returns, and cut off where it raises."""
        handle = self._file.fileno()
        if not self._settled:
            os.ftruncate(handle, self.end)
        elif os.fstat(handle).st_size != self.end:
            raise Intruded(self.path)
        self._settled = False
        try:
            write_all(handle, data)
            os.fsync(handle)
            self._check_place()
        except BaseException:
            with contextlib.suppress(OSError):  # it is tried again before the next lines
                os.ftruncate(handle, self.end)
            raise
        self.end += len(data)
        self._settled = True

    def _check_place(self):
        """A deleted file takes everything and keeps nothing."""
        if not _is_at(self._file, self.path):
            raise FileNotFoundError(errno.ENOENT, f"{self.path} was removed while it was written, and with it what had "
                                                  "been stored there")

    def close(self):
        """Let others have the segment."""
        if self.is_own and not self._file.closed:
            with contextlib.suppress(OSError):  # by name, for a forked process has the same lock
                fcntl.flock(self._file, fcntl.LOCK_UN)
        self._file.close()


def take_segment(folder, *, adopt=True):
    """A `SegmentWriter` in the folder of segments: of one that nobody has, where `adopt`, or of a new one."""
    names = sorted(name for name in os.listdir(folder) if _is_of_this_host(name))
    adopted = filter(None, (_adopt(folder / name) for name in names)) if adopt else iter(())
    writer = next(adopted, None) or _make(folder, names)
    sync(folder)
    return writer


def is_live(path):
    """Whether a process has the segment for writing; None where one cannot know: on another host, or without locks."""
    if not _is_of_this_host(path.name):
        return None
    try:
        with open(path, "rb") as file:
            if _is_held(file):
                return True
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return False
    except BlockingIOError:
        return True
    except OSError:
        return None


def _adopt(path):
    """The writer of an existing segment; None where another process has it, or that cannot be known."""
    try:
        file = open(path, "ab+", buffering=0)
    except OSError:  # gone, or another user's
        return None
    if not _is_held(file) and _lock(file) and _is_at(file, path):
        _held[_key(file)] = file
        return SegmentWriter(path, file)
    file.close()
    return None


def _make(folder, names):
    """The writer of a new segment."""
    number = 1 + max((int(Path(name).stem.rpartition("-")[2]) for name in names), default=0)
    while True:
        path = folder / f"{_host()}-{number:04}.jsonl"
        number += 1
        with contextlib.suppress(FileExistsError):
            file = open(path, "xb+", buffering=0, opener=_append_opener)
            if _lock(file) is not False:  # else another process was faster to adopt it
                _held[_key(file)] = file
                return SegmentWriter(path, file)
            file.close()


def _append_opener(path, flags):
    return os.open(path, flags | os.O_APPEND, 0o666)


def _lock(file):
    """True: the file is locked for this process; False: another one has it; None: locks do not work here."""
    locked = _try_lock(file)
    if locked is False:  # perhaps for no longer than a look takes
        time.sleep(PROBE_SECONDS)
        locked = _try_lock(file)
    return locked


def _try_lock(file):
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def _is_at(file, path):
    """Whether the open file is the one under that name."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), os.stat(path))
    except FileNotFoundError:
        return False


def _is_held(file):
    """Whether a `SegmentWriter` of this process has the file."""
    held = _held.get(_key(file))
    return held is not None and not held.closed


def _key(file):
    status = os.fstat(file.fileno())
    return status.st_dev, status.st_ino


@functools.cache
def _host():
    """The host's name, as far as files can have it, and digits of this start of it."""
    try:
        start = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii")
    except OSError:
        start = f"{uuid.getnode():x}"
    return f"{re.sub('[^A-Za-z0-9.]', '_', os.uname().nodename)[:64]}-{start.strip()[:8]}"


def _is_of_this_host(name):
    return re.fullmatch(re.escape(_host()) + r"-\d{4,}\.jsonl", name) is not None
