"""What all segments of a store hold together, as far as they have been read."""

import collections
import os

from .folder import SEGMENTS
from .records import Record
from .segment import Rewritten, SegmentReader
from .writer import is_live


class Contents:
    """The records of all segments in a store's folder.

    What is in `records` depends on the segments alone, not on the order in which they were read or grew: a success
    rather than a failure; the first success by the segment's name and the place in it, the last failure.

    Parameters
    ----------
    folder : Path
    identity : Identity, optional
        What every writer must have had; default: the same as the first.
    flush : bool, default False
        Whether records have to be on the disk before they count.

    Attributes
    ----------
    versions : container of str
        Other versions of the experiment, whose results count as well.
    found_versions : dict of str to None
        Those that writers had.
    """

    def __init__(self, folder, identity=None, *, flush=False):
        self.folder, self.identity, self._flush = folder / SEGMENTS, identity, flush
        self.versions, self.found_versions = (), {}
        self.records = {}  # (cell, replicate) -> Record
        self._origins = {}  # (cell, replicate) -> the name of the segment that it is from
        self.readers = {}  # name -> SegmentReader

    def read(self, own=None):
        """Read what is new; how many replicates that had no record, or a failure, have one, or a success.

        `own`: name and end of the segment that is written here: what follows may yet be cut off.
        """
        try:
            return self._read(own)
        except Rewritten:
            return self.read_anew(own)

    def read_anew(self, own=None):
        """As `read`, but from the beginning: some of what was read is not there any more."""
        succeeded = {key: record.error is None for key, record in self.records.items()}
        self.records.clear()
        self._origins.clear()
        self.readers.clear()
        self._read(own)
        return sum(key not in succeeded or (record.error is None) > succeeded[key]
                   for key, record in self.records.items())

    def _read(self, own):
        names = self._names()
        for name in self.readers.keys() - set(names):
            raise Rewritten(name)
        added = 0
        for name in names:
            reader = self.readers.get(name) or SegmentReader(self.folder / name)
            limit = own[1] if own and own[0] == name else None
            for value in reader.read(limit, flush=self._flush):
                if isinstance(value, Record):
                    added += self.add(value, name)
                else:
                    self._check(value, name)
            self.readers[name] = reader
        return added

    def _names(self):
        try:
            with os.scandir(self.folder) as entries:
                return sorted(entry.name for entry in entries if entry.name.endswith(".jsonl") and entry.is_file())
        except (FileNotFoundError, NotADirectoryError):
            return []

    def _check(self, header, name):
        if self.identity is None:
            self.identity = header.identity
        check_identity(self.identity, header.identity, self.folder / name, self.versions)
        self.found_versions[header.identity.experiment_version] = None

    def add(self, record, name):
        """Take a record of the segment `name`; whether there was none before, or a failure and this is a success."""
        key = record.cell, record.replicate
        present = self.records.get(key)
        if present is None:
            better = new = True
        elif (present.error is None) != (record.error is None):
            better = new = record.error is None
        else:
            origin, new = self._origins[key], False
            better = name < origin if record.error is None else name >= origin
        if better:
            self.records[key], self._origins[key] = record, name
        return new

    @property
    def damage(self):
        """What cannot be read: a sentence each (list of str)."""
        found = []
        for name, reader in sorted(self.readers.items()):
            found += [f"{SEGMENTS}/{name}: bytes {start} to {end} are no record as it was written"
                      for start, end in reader.damaged]
            if reader.size > reader.end and (live := is_live(reader.path)) is not True:
                found.append(f"{SEGMENTS}/{name}: bytes {reader.end} to {reader.size}, the last, are no whole record"
                             f"{' yet, or its writer was stopped' if live is None else ''}")
        return found

    def counts(self):
        """How many of the records are from each segment (Counter)."""
        return collections.Counter(self._origins.values())


class AnyVersion:
    """A container of all versions."""

    def __contains__(self, version):
        return True


def check_identity(asked, found, place, versions=()):
    """Raise ValueError where what `place` holds is not what is asked for, nor another of these versions of it."""
    if found.experiment_version in versions:
        found = found._replace(experiment_version=asked.experiment_version)
    differing = [field for field in asked._fields if getattr(found, field) != getattr(asked, field)]
    if not differing:
        return
    differences = "; ".join(f"{field.replace('_', ' ')} {getattr(found, field)!r} there, {getattr(asked, field)!r} "
                            "asked for" for field in differing)
    advice = "Choose another folder, or ask for what this one has"
    if differing == ["experiment_version"]:
        advice = ("The experiment has changed, its source or what it reads. Choose another folder; or, where what is "
                  "there is to count as it is, say accept_changes=True (--accept-changes). A function's attribute "
                  "`version` takes the place of its source")
    raise ValueError(f"store must hold the same sweep, but {place} is of another: {differences}. {advice}")
