"""The store of a sweep: a folder that several processes add to, and that a killed one leaves intact.

    manifest.json                      what it is about, replaced as a whole
    segments/<host>-<start>-0001.jsonl what one process after the other has appended: `records`

Nothing in it is ever unpickled, locked for more than a writer's own segment, or shared for writing. So it works on
network file systems as well.
"""

import datetime
import errno
import warnings
from typing import NamedTuple

from .contents import AnyVersion, Contents, check_identity
from .folder import MANIFEST, as_folder, explained, foreign_entries, is_there, made
from .grid import Grid, cell_from_text
from .manifest import Identity, Manifest, read_manifest, write_manifest
from .records import encode_record
from .segment import Header
from .writer import Intruded, is_live, take_segment

__all__ = ["Identity", "SegmentState", "Store", "StoreView", "read_store"]

ATTEMPTS = 100  # at what only other writers' coming in between can make fail


class Store:
    """A store that this process may append to. Close it, or use it as a context manager.

    Attributes
    ----------
    folder : Path
    records : dict of (str, int) to Record
        What is stored, by the cell's text and replicate.
    manifest : Manifest
    """

    is_shared = True  # with other writers

    def __init__(self, folder, identity, request, blas_kernel, accept_changes):
        self.folder, self._identity, self._request, self._blas_kernel = folder, identity, request, blas_kernel
        self._accepted = AnyVersion() if accept_changes else ()
        self._contents = Contents(folder, identity, flush=True)
        self.records = self._contents.records
        self.manifest, self._writer, self._header = None, None, b""

    @classmethod
    def open(cls, folder, identity, grid, replicates, blas_kernel, *, accept_changes=False):
        """Open the store in a folder, or make it; add what is asked for to what the store is asked for.

        Parameters
        ----------
        folder : path-like
        identity : Identity
        grid : Grid
        replicates : int
        blas_kernel : str
            What this process computes with.
        accept_changes : bool, default False
            Whether what other versions of the experiment have stored counts, from now on.

        Returns
        -------
        Store

        Raises
        ------
        TypeError, ValueError
            Where `folder` is no path, has files but no store, or a store of another sweep or a newer format. Nothing
            in the folder is changed.
        OSError
            Where it cannot be read or written to.

        Warns
        -----
        UserWarning
            Where the manifest had to be rebuilt, or results are of another BLAS kernel.
        """
        store = cls(as_folder(folder), identity, (grid, replicates), blas_kernel, accept_changes)
        found = store._look()
        kernel = found.blas_kernel if found else store._first_kernel()
        if kernel not in (None, blas_kernel):
            warnings.warn(f"the store {store.folder} was begun with the BLAS kernel {kernel}, and this is "
                          f"{blas_kernel}: results agree but for rounding", stacklevel=3)
        with explained(store.folder, "written to"), made(store.folder):
            store._agree()
        return store

    def _look(self):
        """Read the folder, and its `Manifest` where there is one; ValueError where it is not to be used."""
        if not is_there(self.folder):
            return None
        found, _ = self._checked_manifest()
        self._contents.versions = self._accepted or (found.earlier_versions if found else ())
        with explained(self.folder, "read"):
            self._contents.read()
        if found is None:
            check_is_store(self.folder, self._contents)
            self._check_axes([cell_from_text(record.cell) for record in list(self.records.values())[:1]])
        return found

    def _checked_manifest(self):
        """As `read_manifest`; ValueError where it is of another sweep."""
        found, exists = read_manifest(self.folder)
        if found is not None:
            check_identity(self._identity, found.identity, self.folder, self._accepted)
            self._check_axes([grid.axes for grid, _ in found.requests])
            self._check_types(found.requests)
        return found, exists

    def _check_axes(self, others):
        asked = self._request[0].axes.keys()
        for other in others:
            if other.keys() != asked:
                raise ValueError(f"grid must have the axes that the store {self.folder} has, "
                                 f"{', '.join(sorted(other))}; got {', '.join(sorted(asked))}: choose another folder, "
                                 "or the same axes")

    def _check_types(self, requests):
        """Tables would take values that are equal for one, but an experiment may tell them apart."""
        for grid, _ in requests:
            if retyped := grid.retyped(self._request[0]):
                name, there, asked = retyped
                raise ValueError(f"{name} must have {there!r} as the store {self.folder} has it, got {asked!r}: the "
                                 "two types are different cells; choose another folder, or the same type")

    def _agree(self):
        """Have this call's request in the manifest, with those that other writers may put there at the same time."""
        if not self.folder.is_dir():
            raise FileNotFoundError(errno.ENOENT, "it has been removed")
        for _ in range(ATTEMPTS):
            found, exists = self._checked_manifest()
            wanted = (found or self._rebuilt(exists)).with_request(*self._request)
            wanted = wanted.with_version(self._identity.experiment_version)
            if found == wanted:
                self.manifest = found
                return
            try:
                write_manifest(self.folder, wanted, new=not exists)
            except FileExistsError:
                continue
        raise OSError(errno.EBUSY, f"{MANIFEST} was replaced by others each time this process had written it")

    def _rebuilt(self, exists):
        """A manifest from what is known here, with a warning where there was one before, which may be there yet."""
        if exists or self.manifest is not None or self._contents.readers:
            warnings.warn(f"{self.folder / MANIFEST} was missing or damaged, and is rebuilt from this call: other "
                          "grids that the store was asked for are known again when they are asked for again",
                          stacklevel=5)
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        kernel, earlier = self._first_kernel() or self._blas_kernel, tuple(self._contents.found_versions)
        return Manifest(self._identity, kernel, now, earlier_versions=earlier)

    def _first_kernel(self):
        return first_header(self._contents, "blas_kernel")

    def append(self, records):
        """Store a list of records: when this returns, they are on the disk, and in `records`.

        Raises
        ------
        OSError
            Where they cannot be written; none of them is stored then, and all that was stays.
        """
        data = b"".join(map(encode_record, records))
        if not data:
            return
        with explained(self.folder, "written to"):
            name = self._write(data)
        for record in records:
            self._contents.add(record, name)

    def _write(self, data):
        """Append to the own segment; its name."""
        adopt = True
        for _ in range(ATTEMPTS):
            try:
                if self._writer is None or not self._writer.is_own:
                    self._take(adopt)
                self._writer.append(self._header + data)
            except FileNotFoundError:
                self.close()
                self._contents.read_anew()
                raise
            except Intruded:
                self.close()
                adopt = False
                continue
            self._header = b""
            return self._writer.name
        raise OSError(errno.EBUSY, "other processes write to the segments that this one makes")

    def _take(self, adopt):
        """Have a segment, and know what is in it."""
        self.close()
        self._agree()
        writer = take_segment(self._contents.folder, adopt=adopt)
        try:
            self._contents.read()
            if writer.name not in self._contents.readers:
                raise FileNotFoundError(errno.ENOENT, f"{writer.name} was removed")
            writer.begin_at(self._contents.readers[writer.name].end)
            self._header = Header.of_this_process(self._identity, self._blas_kernel).encode()
        except BaseException:
            writer.close()
            raise
        self._writer = writer

    def refresh(self):
        """Read what other writers have appended; how many replicates have a record, or a success, that had not."""
        own = (self._writer.name, self._writer.end) if self._writer is not None and self._writer.is_own else None
        with explained(self.folder, "read"):
            added = self._contents.read(own)
        with explained(self.folder, "written to"):
            self._agree()
        return added

    @property
    def damage(self):
        """What cannot be read, by file and bytes (list of str); all else was."""
        return self._contents.damage

    def close(self):
        """Let another process go on with the segment; nothing more is to be written for that."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.close()


class SegmentState(NamedTuple):
    """What can be said of a segment."""

    name: str
    writer: str
    """Host and process of the last one; empty where that cannot be read."""
    live: bool | None
    """Whether that process still has it; None where one cannot know."""
    bytes: int
    last_change: float
    """Seconds since 1970."""
    records: int
    """Of those in `StoreView.records`."""


class StoreView:
    """A store as it was when it was read; nothing in it is changed.

    Attributes
    ----------
    folder : Path
    identity : Identity
    requests : list of (Grid, int)
        What it was asked for. Where the manifest is lost: what there is of each cell.
    blas_kernel : str
    created : str
        ISO 8601; empty where it is lost.
    records : dict of (str, int) to Record
    damage : list of str
    segments : list of SegmentState
    """

    def __init__(self, folder, manifest, contents):
        self.folder, self.records, self.identity = folder, contents.records, contents.identity
        self.damage = contents.damage
        if manifest is None:
            self.damage.insert(0, f"{MANIFEST} is missing or damaged: the same call that made the store rebuilds it")
            manifest = Manifest(contents.identity, first_header(contents, "blas_kernel"), "", _requests(self.records))
        self.requests, self.blas_kernel, self.created = list(manifest.requests), manifest.blas_kernel, manifest.created
        counts = contents.counts()
        self.segments = [_state(reader, counts[name]) for name, reader in sorted(contents.readers.items())]


def read_store(folder):
    """Read a store, which others may be writing to.

    Parameters
    ----------
    folder : path-like

    Returns
    -------
    StoreView

    Raises
    ------
    TypeError, ValueError
        Where `folder` is no path, or holds no store, or one of a newer format.
    OSError
        Where there is no such folder, or it cannot be read.
    """
    folder = as_folder(folder)
    if not is_there(folder):
        raise FileNotFoundError(f"store must be a folder that exists, and {folder} does not")
    manifest, _ = read_manifest(folder)
    contents = Contents(folder, manifest and manifest.identity)
    contents.versions = AnyVersion() if manifest is None else manifest.earlier_versions
    with explained(folder, "read"):
        contents.read()
    if manifest is None:
        check_is_store(folder, contents)
    if contents.identity is None:
        raise ValueError(f"store must be the folder of a sweep, but nothing in {folder} says of which")
    return StoreView(folder, manifest, contents)


def check_is_store(folder, contents):
    """Raise ValueError where a folder without a readable manifest may be somebody else's."""
    entries = [] if first_header(contents, "host") else foreign_entries(folder)
    if entries:
        raise ValueError(f"store must be a new or an empty folder or a sweep's store, but {folder} is not empty and no "
                         f"sweep's store: it has {entries[0]!r}; choose another")


def first_header(contents, field):
    """A field of the first segment's header; None where there is no header."""
    headers = [reader.header for _, reader in sorted(contents.readers.items()) if reader.header]
    return getattr(headers[0], field) if headers else None


def _requests(records):
    """[(grid, replicates)]: each cell that has records, and as many replicates as it takes to have them all."""
    replicates = {}
    for cell, replicate in records:
        replicates[cell] = max(replicates.get(cell, 0), replicate + 1)
    return tuple((Grid.from_json({name: [value] for name, value in cell_from_text(cell).items()}), count)
                 for cell, count in replicates.items())


def _state(reader, count):
    header, status = reader.header, reader.path.stat()
    writer = f"{header.host}, process {header.process}" if header else ""
    return SegmentState(reader.name, writer, is_live(reader.path), status.st_size, status.st_mtime, count)
