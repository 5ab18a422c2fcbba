"""Arrays in files: where an entry lies in a .npy, .npz or .safetensors file, and its rows piece by piece."""

import ast
import contextlib
import errno
import json
import math
import stat
import zipfile
from pathlib import Path
from typing import NamedTuple

import numpy as np

# The most that a chunk has, its bytes counted in float64. How many rows that are depends on d alone: whoever adds up
# over chunks gets the same bits from an array, a file and a generator.
CHUNK_BYTES = 2**25
CHUNK_ROWS = 2**16

# The largest headers: the safetensors format's own limit, and NumPy's for what it parses.
_MAX_HEADER_BYTES = 100_000_000
_MAX_NPY_HEADER_BYTES = 10_000

# bfloat16, which NumPy lacks, is the upper half of a float32.
_BFLOAT16 = "BF16"
_SAFETENSORS_TYPES = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", _BFLOAT16: "<u2", "BOOL": "|b1", "I64": "<i8", "I32": "<i4",
    "I16": "<i2", "I8": "|i1", "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "|u1",
}  # fmt: skip


class Stored(NamedTuple):
    """Where an array lies in a file, and what its bytes mean."""

    path: Path
    member: str | None  # of a zip file
    offset: int  # of the first entry, in bytes, in the file or the member
    dtype: np.dtype
    is_bfloat16: bool
    shape: tuple
    fortran_order: bool


def find_stored(path, key, name):
    """The `Stored` array of a file, checked as far as it can be without reading the array."""
    path = Path(path)
    mode = path.stat().st_mode  # FileNotFoundError names the path
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(f"{name} must be a file, got the directory {path}")
    formats = {".npy": _find_in_npy, ".npz": _find_in_npz, ".safetensors": _find_in_safetensors}
    if path.suffix.lower() not in formats or not stat.S_ISREG(mode):
        raise ValueError(f"{name} must be a .npy, .npz or .safetensors file, got {path}")
    if key is not None and not isinstance(key, str):
        raise TypeError(f"key must be a str, got {key!r}")
    stored = formats[path.suffix.lower()](path, key, name)
    check_shape(stored.shape, f"{name} ({path})")
    return stored


def _find_in_npy(path, key, name):
    if key is not None:
        raise ValueError(f"key is for files with named arrays, but {path} holds one array without a name")
    with open(path, "rb") as stream:
        return _read_npy_header(stream, Stored(path, None, 0, None, False, (), False), path.stat().st_size, name)


def _find_in_npz(path, key, name):
    with _open_zip(path, name) as archive:
        names = [member.removesuffix(".npy") for member in archive.namelist() if member.endswith(".npy")]
        key = _choose(names, key, path, name)
        stored = Stored(path, f"{key}.npy", 0, None, False, (), False)
        with _open_member(archive, stored, name) as stream:
            return _read_npy_header(stream, stored, archive.getinfo(stored.member).file_size, name)


def _read_npy_header(stream, stored, size, name):
    """`stored` with what the header says, for an npy file of `size` bytes whose beginning `stream` stands at."""
    where = _describe(stored)
    with _damage(f"{name}: {where} has no valid header of the npy format"):
        shape, fortran_order, dtype = _parse_npy_header(stream)
    if dtype.hasobject:
        raise TypeError(f"{name} must hold real numbers, but {where} holds pickled Python objects, which are not read")
    check_kind(dtype, name, where)
    found, expected = size - stream.tell(), math.prod(shape) * dtype.itemsize
    if found != expected:
        raise ValueError(f"{name}: {where} is {'truncated' if found < expected else 'too long'}: "
                         f"its header says {expected} bytes of data, it has {found}")
    return stored._replace(offset=stream.tell(), dtype=dtype, shape=shape, fortran_order=fortran_order)


def _parse_npy_header(stream):
    """(shape, fortran_order, dtype). NumPy's own parser lets negative and bool lengths pass, and warns of Python 2."""
    version = np.lib.format.read_magic(stream)
    if version not in ((1, 0), (2, 0)):
        raise ValueError(f"unknown version {version}")
    n_bytes = int.from_bytes(stream.read(2 if version == (1, 0) else 4), "little")
    if n_bytes > _MAX_NPY_HEADER_BYTES:
        raise ValueError(f"a header of {n_bytes} bytes")
    try:
        header = ast.literal_eval(stream.read(n_bytes).decode("latin1"))
    except MemoryError as error:  # what is nested too deeply overflows the parser's stack, not the memory
        raise ValueError("nested too deeply") from error
    if header.keys() != {"descr", "fortran_order", "shape"}:
        raise ValueError(f"the keys {list(header)}")
    shape, fortran_order = header["shape"], header["fortran_order"]
    if type(shape) is not tuple or not _are_lengths(shape) or type(fortran_order) is not bool:
        raise ValueError(f"shape {shape}, fortran_order {fortran_order}")
    return shape, fortran_order, np.lib.format.descr_to_dtype(header["descr"])


def _are_lengths(numbers):
    return all(type(number) is int and number >= 0 for number in numbers)


def _find_in_safetensors(path, key, name):
    size = path.stat().st_size
    with open(path, "rb") as stream, _damage(f"{name}: {path} has no valid header of the safetensors format"):
        n_header = int.from_bytes(stream.read(8), "little")
        if size < 8 or n_header > min(size - 8, _MAX_HEADER_BYTES):
            raise ValueError(f"a header of {n_header} bytes in a file of {size}")
        header = json.loads(stream.read(n_header).decode())
        header.pop("__metadata__", None)
        entries = {entry: _as_safetensors_entry(fields) for entry, fields in header.items()}
    expected, found = max((end for *_, end in entries.values()), default=0), size - 8 - n_header
    if found != expected:
        raise ValueError(f"{name}: {path} is {'truncated' if found < expected else 'too long'}: "
                         f"its header says {expected} bytes of data, it has {found}")
    key = _choose(list(entries), key, path, name)
    kind, shape, begin, end = entries[key]
    if kind not in _SAFETENSORS_TYPES:
        raise TypeError(f"{name} must hold real numbers of 16 bits or more, or integers, got {kind} in {path}")
    dtype = np.dtype(_SAFETENSORS_TYPES[kind])
    if end - begin != math.prod(shape) * dtype.itemsize:
        raise ValueError(f"{name}: {key!r} in {path} has {end - begin} bytes, but {kind} of shape {shape}")
    return Stored(path, None, 8 + n_header + begin, dtype, kind == _BFLOAT16, shape, False)


def _as_safetensors_entry(fields):
    """(dtype, shape, begin, end) of one tensor; the offsets count from the end of the header."""
    kind, shape, (begin, end) = fields["dtype"], tuple(fields["shape"]), fields["data_offsets"]
    if type(kind) is not str or not _are_lengths((*shape, begin, end)) or begin > end:
        raise ValueError(f"dtype {kind!r}, shape {shape}, offsets {begin} to {end}")
    return kind, shape, begin, end


def _choose(names, key, path, name):
    """`key`, or the only name."""
    if not names:
        raise ValueError(f"{name}: {path} holds no array")
    if key is None and len(names) > 1:
        raise ValueError(f"key must say which array of {path}: {', '.join(map(repr, names))}")
    if key is not None and key not in names:
        raise ValueError(f"key must be one of {', '.join(map(repr, names))} ({path}), got {key!r}")
    return names[0] if key is None else key


def _describe(stored):
    return str(stored.path) if stored.member is None else f"{stored.member} in {stored.path}"


@contextlib.contextmanager
def _damage(meaning):
    """Whatever parsers and decoders raise of damaged bytes, as ValueError; errors of the system stay what they are."""
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:
        # Decompressors raise OSError without a number; damaged offsets lead to EINVAL.
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
            raise
        raise ValueError(f"{meaning}: {str(error) or repr(error)}") from error


def read_stored(stored, name):
    """Pieces of a stored array."""
    if stored.fortran_order and stored.member is None:
        return _read_columns(stored, name)
    return _read_rows(stored, name)


def _read_columns(stored, name):
    """Of a file in Fortran order, where a row's entries lie apart: for each piece a part of every column.

    Reads rather than a memory map, whose pages would count as the process's memory, and which ends the process where
    the file has become shorter.
    """
    n_rows, d = stored.shape
    rows = rows_per_chunk(d)
    with open(stored.path, "rb", buffering=0) as stream:
        for start in range(0, n_rows, rows):
            columns = np.empty((d, min(rows, n_rows - start)), stored.dtype)
            for i, column in enumerate(columns):
                stream.seek(stored.offset + (i * n_rows + start) * stored.dtype.itemsize)
                if stream.readinto(column.view(np.uint8)) != column.nbytes:
                    raise ValueError(f"{name}: {_describe(stored)} ends before its last row")
            yield columns.T


def _read_rows(stored, name):
    """Of an array whose rows lie one after the other; a member of a zip file in Fortran order is one piece."""
    n_rows, d = stored.shape
    rows = n_rows if stored.fortran_order else rows_per_chunk(d)
    with _open_stored(stored, name) as stream:
        for start in range(0, n_rows, max(1, rows)):
            shape = min(rows, n_rows - start), d
            n_bytes = math.prod(shape) * stored.dtype.itemsize
            with _damage(f"{name}: {_describe(stored)} cannot be read"):
                data = stream.read(n_bytes)
            if len(data) != n_bytes:
                raise ValueError(f"{name}: {_describe(stored)} ends before its last row")
            table = np.frombuffer(data, stored.dtype).reshape(shape, order="F" if stored.fortran_order else "C")
            yield _from_bfloat16(table) if stored.is_bfloat16 else table


def _from_bfloat16(patterns):
    return (patterns.astype(np.uint32) << 16).view(np.float32)


@contextlib.contextmanager
def _open_stored(stored, name):
    """A stream that stands at the array's first entry."""
    if stored.member is None:
        with open(stored.path, "rb") as stream:
            stream.seek(stored.offset)
            yield stream
        return
    with _open_zip(stored.path, name) as archive, _open_member(archive, stored, name) as stream:
        with _damage(f"{name}: {_describe(stored)} cannot be read"):
            stream.read(stored.offset)  # a seek may give up the check of the sum
        yield stream


def _open_zip(path, name):
    with _damage(f"{name}: {path} is not a zip file that can be read"):
        return zipfile.ZipFile(path)


def _open_member(archive, stored, name):
    with _damage(f"{name}: {_describe(stored)} cannot be read"):
        return archive.open(stored.member)


def rows_per_chunk(d):
    """How many rows of d columns a chunk has."""
    return min(CHUNK_ROWS, max(1, CHUNK_BYTES // (8 * d)))


def check_kind(dtype, name, found):
    if dtype.kind not in "iufb":
        raise TypeError(f"{name} must hold real numbers, got {found} of dtype {dtype}")


def check_shape(shape, name):
    """Rows are not counted here: one piece of several may have none."""
    if len(shape) == 3:
        raise ValueError(f"{name} must have two dimensions, rows and features, got shape {shape}: "
                         f"reshape(-1, {shape[2]}) makes every token a row")
    if len(shape) != 2:
        raise ValueError(f"{name} must have two dimensions, rows and features, got shape {shape}")
    if shape[1] == 0:
        raise ValueError(f"{name} must have at least one feature, got shape {shape}")


def cut(table):
    """Parts of the array or tensor, of at most a chunk's rows; an empty one gives its empty self."""
    rows = rows_per_chunk(table.shape[1])
    return (table[start:start + rows] for start in range(0, max(1, len(table)), rows))
