"""Reading activations: any source of rows as chunks of bounded size."""

import functools
import os
from collections.abc import Iterable, Mapping

import numpy as np

from .._validation import as_plain_tensor, tensor_to_numpy
from .files import check_kind, check_shape, cut, find_stored, read_stored, rows_per_chunk


def read_chunks(source, *, key=None, name="activations"):
    """The rows of `source`, chunk by chunk.

    Parameters
    ----------
    source : array-like (n, d), path, or iterable of array-like (rows, d)
        - An array, a `numpy.memmap`, a PyTorch tensor on the CPU (bfloat16 too), a data frame, a list of rows.
        - A path to a ``.npy``, ``.npz`` or ``.safetensors`` file. It is read piece by piece and never unpickled.
        - An iterable of 2-d pieces of any lengths: a generator, or a list or tuple whose first item has two
          dimensions. (A list whose items are rows is an array; as an array, one of 2-d items would have three
          dimensions and be no source, so the two cannot be confused.) Pieces are copied: one may be overwritten once
          the next one is asked for.
    key : str, optional
        Which array of a ``.npz`` or ``.safetensors`` file; required where there are several.
    name : str, optional
        What errors call the source.

    Yields
    ------
    (rows, d) C-contiguous array
        Read-only, finite, in the machine's byte order: float32 where the source is float32, float16 or bfloat16 (the
        latter two exactly), float64 where it is anything else (integers above 2**53 are rounded). Every chunk but the
        last has the same number of rows, however the source is cut up: as many as take 32 MB in float64, at most
        65536. A chunk of an array is a view of it where no conversion is needed; it keeps its values as long as the
        array does, any other chunk for good.

    Raises
    ------
    TypeError
        Where the source is none of these, or its entries are not real numbers (Python objects included).
    ValueError
        Where an entry is NaN or infinite (the message names the row), there is no row or no column, the number of
        columns changes, there are not two dimensions; where a file is truncated, damaged or of another format; where
        `key` is missing, unknown, or given for a source without names. What can be known without reading rows is
        raised by the call, the rest when the chunk is asked for. Of what is damaged in a file's rows, only a ``.npz``
        tells, by its sums, at the end of the array.
    FileNotFoundError, IsADirectoryError, PermissionError
        Where a path does not lead to a file that can be read.

    Notes
    -----
    In memory are at most about three chunks at a time, beside the source's own pieces. Two sources cannot be read in
    parts: a ``.npz`` member in Fortran order, which is loaded whole, and what NumPy can only convert whole (a data
    frame, a list). The pages of a `numpy.memmap` are the operating system's: it counts those that were read as the
    process's memory but takes them back when it needs them; a path to the same file avoids that.

    Several files in a row: ``itertools.chain.from_iterable(map(read_chunks, paths))``.

    Examples
    --------
    >>> import numpy as np
    >>> from moenoise.activations import read_chunks
    >>> [chunk.shape for chunk in read_chunks(np.ones((3, 2)))]
    [(3, 2)]
    >>> pieces = (np.full((rows, 2), rows, dtype=np.float16) for rows in (1, 2))
    >>> [chunk.tolist() for chunk in read_chunks(pieces)]
    [[[1.0, 1.0], [2.0, 2.0], [2.0, 2.0]]]
    """
    pieces, are_lent = _open(source, key, name)
    return _checked(_regrouped(_floats(pieces, are_lent), name), name)


def _open(source, key, name):
    """An iterable of pieces (rows, d), of any real dtype, and whether their owner may overwrite one after the next."""
    if isinstance(source, (str, os.PathLike)):
        return read_stored(find_stored(source, key, name), name), False
    if key is not None:
        raise ValueError(f"key is for files with named arrays, but {name} is no path")
    if isinstance(source, (Mapping, bytes, bytearray)):
        hint = "pass one of its values" if isinstance(source, Mapping) else "a path is a str or a PathLike"
        kind = type(source).__name__
        raise TypeError(f"{name} must be an array, a path or an iterable of chunks, got {kind}: {hint}")
    if _is_iterable_of_chunks(source):
        return (part for piece in source for part in cut(_as_table(piece, f"each chunk of {name}"))), True
    return cut(_as_table(source, name)), False


def _is_iterable_of_chunks(source):
    if isinstance(source, (list, tuple)):
        return len(source) > 0 and _n_dimensions(source[0]) == 2
    return isinstance(source, Iterable) and not hasattr(source, "__array__") and not hasattr(source, "toarray")


def _n_dimensions(item):
    if hasattr(item, "ndim"):
        return item.ndim
    try:
        return np.ndim(item)
    except ValueError:  # a ragged list: `_as_table` says so
        return None


def _as_table(value, name):
    """`value` as an array of real numbers or a PyTorch tensor, with two dimensions."""
    tensor = as_plain_tensor(value, name)
    table = _as_plain_array(value, name) if tensor is None else tensor
    check_shape(tuple(table.shape), name)
    return table


def _as_plain_array(value, name):
    if isinstance(value, np.ma.MaskedArray):
        raise TypeError(f"{name} must be a plain array, got a masked array: fill or drop its masked entries first")
    if hasattr(value, "toarray"):
        raise TypeError(f"{name} must be a dense array, got {type(value).__name__}: call .toarray() first")
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise ValueError(f"{name} must be a rectangular array of real numbers: {error}") from error
    check_kind(array.dtype, name, type(value).__name__)
    return array


def _floats(pieces, are_lent):
    """Each piece in float32 or float64, and in memory of its own where they are lent."""
    convert = functools.partial(np.array, order="C") if are_lent else np.ascontiguousarray
    for piece in pieces:
        if not isinstance(piece, np.ndarray):  # a tensor, of which no more than a piece is converted at once
            piece = tensor_to_numpy(piece)
        if piece.dtype.kind == "f" and piece.dtype.itemsize <= 4:  # of either byte order
            yield convert(piece, dtype=np.float32)
        else:
            with np.errstate(over="ignore"):  # of what has more range than float64; `_checked` finds the infinity
                yield convert(piece, dtype=np.float64)


def _regrouped(pieces, name):
    """The pieces' rows in chunks of equal length, as views where a piece is one."""
    held, n_held, d = [], 0, None
    for piece in pieces:
        d = piece.shape[1] if d is None else d
        if piece.shape[1] != d:
            raise ValueError(f"{name} must have the same number of features throughout, got {d} and {piece.shape[1]}")
        while n_held + len(piece) >= rows_per_chunk(d):
            missing = rows_per_chunk(d) - n_held
            yield np.concatenate([*held, piece[:missing]]) if held else piece[:missing]
            held, n_held, piece = [], 0, piece[missing:]
        if len(piece):
            held.append(piece)
            n_held += len(piece)
    if held:
        yield np.concatenate(held) if len(held) > 1 else held[0]


def _checked(chunks, name):
    """The chunks, finite and read-only; at least one."""
    n_rows = 0
    for chunk in chunks:
        finite = np.isfinite(chunk)
        if not finite.all():
            row, column = np.argwhere(~finite)[0]
            raise ValueError(f"{name} must be finite, got {chunk[row, column]} in row {n_rows + row}, column {column}")
        n_rows += len(chunk)
        chunk = chunk.view()
        chunk.flags.writeable = False
        yield chunk
    if n_rows == 0:
        raise ValueError(f"{name} must have at least one row")
