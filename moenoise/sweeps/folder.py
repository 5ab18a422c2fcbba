"""The folder that a store is: its path, what is made in it and outlives a power cut, errors that say what to do."""

import contextlib
import errno
import os
import re
import secrets
import tempfile
import time
from pathlib import Path

SEGMENTS = "segments"
MANIFEST = "manifest.json"
SEGMENT_NAME = re.compile(r".+-\d{4,}\.jsonl|\.nfs.*")  # or a deleted one that is still open, over a network
TEMPORARY = f".{MANIFEST}."  # the beginning of the names of files that become the manifest
ABANDONED_SECONDS = 3600.0  # a temporary of this age has no writer any more

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
NOT_ALLOWED = (errno.EACCES, errno.EPERM, errno.EROFS)
NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)
NO_SYNC = (errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)  # of folders, on some network file systems


def as_folder(value):
    """A user's path as an absolute Path; whether there is something is not looked at."""
    try:
        path = os.fsdecode(value)
    except TypeError:
        raise TypeError(f"store must be the path of a folder, got {value!r}") from None
    if not path or "\0" in path:
        raise ValueError(f"store must be the path of a folder, not empty and without NUL characters, got {value!r}")
    return Path(path).absolute()


def is_there(folder):
    """Whether there is a folder; OSError where there is something else, or where one cannot look."""
    try:
        os.listdir(folder)
    except FileNotFoundError as error:
        if folder.is_symlink():
            raise FileNotFoundError(error.errno, f"store is a link to what does not exist: {folder}") from None
        return False
    except NotADirectoryError as error:
        raise NotADirectoryError(error.errno, f"store must be a folder, but {folder} is a file, or lies in one; choose "
                                 "another path") from None
    except OSError as error:
        raise OSError(error.errno, f"the store {folder} cannot be read: {error.strerror}") from error
    return True


def foreign_entries(folder):
    """Names in the folder that no store has; a store that has a manifest has segments' folder as well."""
    names = [name for name in os.listdir(folder) if not name.startswith(TEMPORARY)]
    if SEGMENTS not in names or not (folder / SEGMENTS).is_dir():
        return sorted(names)
    inner = [f"{SEGMENTS}/{name}" for name in os.listdir(folder / SEGMENTS) if not SEGMENT_NAME.fullmatch(name)]
    return sorted([name for name in names if name not in (SEGMENTS, MANIFEST)] + inner)


@contextlib.contextmanager
def made(folder):
    """The folder and its subfolder are there, and can be written to; after an OSError only what was there before."""
    new = []
    try:
        for path in (*reversed(folder.parents), folder, folder / SEGMENTS):
            with contextlib.suppress(FileExistsError):
                if not path.is_dir():
                    path.mkdir()
                    new.append(path)
        with tempfile.TemporaryFile(dir=folder / SEGMENTS):  # whether files can be made there
            pass
        # Also where others have made them: these may have been stopped before they came to this.
        sync(folder / SEGMENTS)
        sync(folder)
        for path in {folder.parent, *(path.parent for path in new)}:
            with contextlib.suppress(PermissionError):  # nobody has to be able to list the folders around a store
                sync(path)
        yield
    except OSError:  # any other means that somebody else may be at work there
        for path in reversed(new):
            with contextlib.suppress(OSError):  # others may have put something there
                path.rmdir()
        raise


def sync(folder):
    """Bring the names in a folder to the disk."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in NO_SYNC:
            raise
    finally:
        os.close(handle)


def write_all(handle, data):
    """Write all of `data` (bytes), in as many pieces as the system likes."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(handle, rest):]


def put_manifest(folder, text, *, new):
    """Put a manifest's text into its place, whole or not at all; `new`: FileExistsError where there is one."""
    path, temporary = folder / MANIFEST, folder / f"{TEMPORARY}{secrets.token_hex(8)}"
    try:
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        try:
            write_all(handle, text.encode("ascii"))
            os.fsync(handle)
        finally:
            os.close(handle)
        if not (new and _linked(temporary, path)):
            os.replace(temporary, path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
    sync(folder)
    _remove_abandoned(folder)


def _linked(temporary, path):
    """Whether the file could be given another name; only some file systems have no links."""
    try:
        os.link(temporary, path)
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        return False
    return True


def _remove_abandoned(folder):
    """Remove the temporaries of writers that were stopped long ago."""
    for path in folder.glob(f"{TEMPORARY}*"):
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime > ABANDONED_SECONDS:
                path.unlink()


@contextlib.contextmanager
def explained(folder, verb):
    """An OSError in the block gets a message that says which store cannot be `verb`, and how to go on."""
    try:
        yield
    except OSError as error:
        advice = "put that right"
        if error.errno in NO_ROOM:
            advice = "make room"
        elif error.errno in NOT_ALLOWED:
            advice = f"let it be {verb}, or choose another folder"
        raise OSError(error.errno, f"the store {folder} cannot be {verb}: {error.strerror or error}. What is in it "
                      f"stays: {advice}, and the same call goes on from there") from error
