"""A random sample of the distinct rows of a source, in one pass and bounded memory."""

import hashlib
from typing import NamedTuple

import numpy as np

from .. import _validation
from .._random import philox_key
from .reading import read_chunks

# Up to so many distinct rows are counted exactly, at 8 bytes each; more are estimated.
MOST_COUNTED = 2**20


class RowSample(NamedTuple):
    """A uniform sample of the distinct rows of a source, in the source's order."""

    rows: np.ndarray
    """(m, d) float64."""
    index: np.ndarray
    """(m,) intp, ascending: each row's (first) position in the source."""
    n_rows: int
    """Rows in the source."""
    n_duplicates: int
    """Rows equal to an earlier one: exact for fewer than 2**20 distinct rows, otherwise estimated."""


def sample_rows(source, max_rows, *, key=None, rng=None, name="activations"):
    """A uniform random sample, without replacement, of the distinct rows of `source`, in one pass.

    Every row gets a keyed 64-bit hash of its values; the `max_rows` smallest hashes are kept (a bottom-k sketch: Cohen
    and Kaplan, 2007, "Summarizing data using bottom-k sketches"). Equal rows have equal hashes and count once, at
    their first position. So the sample, as a set of rows, depends on the seed and on the set of rows only: not on
    their order, on how often each occurs, on how the source is cut up, or on the type it is stored in where the values
    are equal (-0.0 equals 0.0).

    Parameters
    ----------
    source, key, name
        As for `read_chunks`.
    max_rows : int
        At least 1. Where the source has fewer distinct rows, all of them are returned.
    rng : None, int, SeedSequence or Generator, optional
        The seed of the hashes; see `moenoise.standard_normal`.

    Returns
    -------
    RowSample
        ``.rows`` (m, d) float64, with 0.0 for -0.0, ``.index`` (m,) intp, ``.n_rows``, ``.n_duplicates``.

    Raises
    ------
    TypeError, ValueError, OSError
        As `read_chunks`, and where `max_rows` or `rng` is not as described.

    Notes
    -----
    Memory: at most ``16 * max_rows * (d + 3)`` bytes (the sample in float64, twice while it is put in order, and its
    hashes), plus 250 MB for chunks, hashes and their merging, whatever the number of rows (more where a single row
    exceeds a chunk). A million rows of 384 features, of which 10,000 are kept, take about 6 seconds of one core, most
    of it for the hashes.

    `n_duplicates` is exact where the source has fewer than 2**20 distinct rows. Beyond, the number of distinct rows is
    estimated from the 2**20 smallest hashes with a relative standard error of 0.1 % (Beyer et al., 2007, "On
    synopses for distinct-value estimation under multiset operations"). That two different rows share a hash, and
    count as one, has probability ``n**2 / 2**65``: 3e-8 for a million rows.

    Examples
    --------
    >>> import numpy as np
    >>> from moenoise.activations import sample_rows
    >>> rows = np.arange(100) // 2  # each number twice
    >>> sample = sample_rows(rows[:, None], 5, rng=0)
    >>> sample.rows.shape, sample.n_rows, sample.n_duplicates, bool((sample.index % 2 == 0).all())
    ((5, 1), 100, 50, True)
    """
    max_rows = _validation.as_integer(max_rows, "max_rows", low=1)
    chunks = read_chunks(source, key=key, name=name)
    hash_key = philox_key(rng).to_bytes(8, "little")
    smallest, distinct, n_rows = _SmallestHashes(max_rows), _DistinctRows(), 0
    for chunk in chunks:
        rows = chunk + np.float64(0)  # in float64, and -0.0 becomes 0.0
        hashes = _hashes(rows, hash_key)
        smallest.add(hashes, rows, n_rows)
        distinct.add(hashes)
        n_rows += len(rows)
    rows, index = smallest.in_order()
    return RowSample(rows, index, n_rows, n_rows - min(distinct.count(), n_rows))


def _hashes(rows, key):
    """(n,) uint64: the hash of each row's bytes, the same on machines of either byte order."""
    blake2b, rows = hashlib.blake2b, rows.astype("<f8", copy=False)
    digests = b"".join([blake2b(row, digest_size=8, key=key).digest() for row in rows])
    return np.frombuffer(digests, dtype="<u8").astype(np.uint64)


class _SmallestHashes:
    """The rows with the `max_rows` smallest hashes so far, each in a slot; that of a row that drops out is used again.
    """

    def __init__(self, max_rows):
        self.max_rows = max_rows
        self.hashes = np.empty(0, dtype=np.uint64)  # ascending: a chunk is merged without sorting all of them again
        self.slots = np.empty(0, dtype=np.intp)  # of each hash
        self.index = self.rows = None  # by slot

    def add(self, hashes, rows, start):
        """Rows start, start + 1, ... of the source."""
        hashes, first = np.unique(hashes, return_index=True)
        places = np.searchsorted(self.hashes, hashes)
        new = places == np.searchsorted(self.hashes, hashes, side="right")
        n_filled, n_slots = len(self.slots), min(len(self.slots) + np.count_nonzero(new), self.max_rows)
        slots = np.insert(self.slots, places[new], -1)
        self.hashes = np.insert(self.hashes, places[new], hashes[new])[:n_slots]
        self.slots, dropped = slots[:n_slots], slots[n_slots:]
        free = np.concatenate([dropped[dropped >= 0], np.arange(n_filled, n_slots)])
        self.slots[self.slots < 0] = free
        self._grow(n_slots, rows.shape[1])
        first = first[new][:len(free)]  # those with the smallest hashes
        self.index[free], self.rows[free] = start + first, rows[first]

    def _grow(self, n_slots, d):
        """Room for `n_slots` rows, which at least doubles, so that few are ever copied."""
        if self.rows is None:
            self.index, self.rows = np.empty(n_slots, dtype=np.intp), np.empty((n_slots, d))
        elif n_slots > len(self.rows):
            length = min(max(n_slots, 2 * len(self.rows)), self.max_rows)
            self.index, self.rows = _lengthened(self.index, length), _lengthened(self.rows, length)

    def in_order(self):
        """(rows, index), in the source's order."""
        slots = np.argsort(self.index[:len(self.slots)])
        return self.rows[slots], self.index[slots]


def _lengthened(array, length):
    longer = np.empty((length, *array.shape[1:]), array.dtype)
    longer[:len(array)] = array
    return longer


class _DistinctRows:
    """How many different hashes there were, from the `MOST_COUNTED` smallest of them."""

    def __init__(self):
        self.smallest = np.empty(0, dtype=np.uint64)
        self.pending, self.n_pending = [], 0

    def add(self, hashes):
        self.pending.append(hashes)
        self.n_pending += len(hashes)
        if self.n_pending >= MOST_COUNTED:
            self._merge()

    def _merge(self):
        self.smallest = np.unique(np.concatenate([self.smallest, *self.pending]))[:MOST_COUNTED].copy()
        self.pending, self.n_pending = [], 0

    def count(self):
        self._merge()
        if len(self.smallest) < MOST_COUNTED:
            return len(self.smallest)
        return (MOST_COUNTED - 1) * 2**64 // (int(self.smallest[-1]) + 1)
