"""Reading activations: every kind of source gives the same chunks, damaged ones are refused, samples are uniform."""

import itertools
import json
import pickle
import subprocess
import sys
import time
import zipfile

import numpy as np
import pytest
from scipy import stats

from moenoise.activations import files, sampling
from moenoise.activations import read_chunks, sample_rows


def write_safetensors(path, **tensors):
    """Each tensor is (dtype, shape, bytes)."""
    header, end = {"__metadata__": {"format": "np"}}, 0
    for name, (dtype, shape, data) in tensors.items():
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [end, end + len(data)]}
        end += len(data)
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + b"".join(data for *_, data in tensors.values()))
    return path


def in_pieces(array, lengths):
    """The array in pieces of these lengths, over and over, all in one buffer that is overwritten."""
    start, lengths = 0, itertools.cycle(lengths)
    buffer = np.empty((1000, array.shape[1]), array.dtype)
    while start < len(array):
        piece = array[start:start + next(lengths)]
        buffer[:len(piece)] = piece
        yield buffer[:len(piece)]
        start += len(piece)
        buffer[:] = np.nan


def sources(array, folder):
    """Every way to give the same rows."""
    np.save(folder / "c.npy", array)
    np.save(folder / "fortran.npy", np.asfortranarray(array))
    np.savez(folder / "stored.npz", array=array, other=array[:1])
    np.savez_compressed(folder / "packed.npz", np.asfortranarray(array))
    kind = {"float64": "F64", "float32": "F32", "float16": "F16"}[array.dtype.name]
    data = (kind, array.shape, array.astype(array.dtype.newbyteorder("<")).tobytes())
    write_safetensors(folder / "one.safetensors", a=data)
    write_safetensors(folder / "two.safetensors", b=("U8", (3,), b"123"), a=data)
    strided = np.zeros((2 * len(array), 3 * array.shape[1]), array.dtype)
    strided[::2, ::3] = array
    yield from {
        "array": array, "strided": strided[::2, ::3], "fortran": np.asfortranarray(array),
        "reversed": array[::-1].copy()[::-1], "other byte order": array.astype(array.dtype.newbyteorder()),
        "list of arrays": [array[:7], array[7:]],
        "list of rows": list(array), "tuple": (array[:1], array[1:1], array[1:]),
        "small pieces": in_pieces(array, [1, 2, 0, 5]), "large pieces": in_pieces(array, [800, 3]),
        "memmap": np.load(folder / "c.npy", mmap_mode="r"), "npy": folder / "c.npy", "str": str(folder / "c.npy"),
        "fortran npy": folder / "fortran.npy", "packed npz": folder / "packed.npz", "one": folder / "one.safetensors",
    }.items()
    yield "npz", (folder / "stored.npz", "array")
    yield "two", (folder / "two.safetensors", "a")


def split(source):
    """(source, key)"""
    return source if isinstance(source, tuple) and isinstance(source[1], str) else (source, None)


@pytest.fixture
def small_chunks(monkeypatch):
    monkeypatch.setattr(files, "CHUNK_BYTES", 8 * 6 * 100)


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16"])
def test_every_source_gives_the_same_chunks(dtype, tmp_path, small_chunks):
    array = np.random.default_rng(0).standard_normal((1234, 6)).astype(dtype)
    expected = [array[start:start + 100].astype("float64" if dtype == "float64" else "float32")
                for start in range(0, 1234, 100)]
    for name, source in sources(array, tmp_path):
        source, key = split(source)
        chunks = [chunk.copy() for chunk in read_chunks(source, key=key)]
        assert [chunk.dtype for chunk in chunks] == [chunk.dtype for chunk in expected], name
        assert [chunk.tobytes() for chunk in chunks] == [chunk.tobytes() for chunk in expected], name


@pytest.mark.parametrize("dtype", ["int8", "uint16", "int64", "bool", "longdouble", ">i4"])
def test_other_real_numbers_become_float64(dtype, tmp_path):
    array = np.array([[0, 1, 1], [1, 0, 100]]).astype(dtype)
    np.save(tmp_path / "a.npy", array)
    for source in (array, tmp_path / "a.npy"):
        (chunk,) = read_chunks(source)
        assert chunk.dtype == np.float64 and chunk.tolist() == array.astype(float).tolist()


@pytest.mark.parametrize(("kind", "dtype"), [("I8", "i1"), ("I16", "<i2"), ("I32", "<i4"), ("I64", "<i8"), ("U8", "u1"),
                                             ("U16", "<u2"), ("U32", "<u4"), ("U64", "<u8"), ("BOOL", "?")])
def test_integers_in_safetensors(kind, dtype, tmp_path):
    array = np.array([[0, 1], [1, 100]]).astype(dtype)
    (chunk,) = read_chunks(write_safetensors(tmp_path / "a.safetensors", a=(kind, (2, 2), array.tobytes())))
    assert chunk.dtype == np.float64 and chunk.tolist() == array.astype(float).tolist()


def bfloat16_patterns():
    """(uint16 patterns, their values) of every finite bfloat16, by the definition of the format."""
    patterns = np.arange(2**16, dtype=np.uint16)
    sign, exponent, fraction = (patterns >> 15).astype(float), (patterns >> 7 & 0xFF).astype(int), patterns & 0x7F
    significand = np.where(exponent == 0, 0, 1) + fraction / 128
    values = (1 - 2 * sign) * np.ldexp(significand, np.maximum(exponent, 1) - 127)
    return patterns[exponent < 255], values[exponent < 255]


def test_bfloat16_in_safetensors_is_exact(tmp_path):
    patterns, values = bfloat16_patterns()
    path = write_safetensors(tmp_path / "a.safetensors", a=("BF16", (len(patterns) // 2, 2), patterns.tobytes()))
    chunk = np.concatenate(list(read_chunks(path)))
    assert chunk.dtype == np.float32 and len(values) == 65280
    assert chunk.ravel().astype(float).tobytes() == values.tobytes()  # the sign of zero too


def test_non_finite_bfloat16_is_found(tmp_path):
    patterns = np.array([[0, 1], [0x7F80, 0]], dtype="<u2")
    path = write_safetensors(tmp_path / "a.safetensors", a=("BF16", (2, 2), patterns.tobytes()))
    with pytest.raises(ValueError, match="activations must be finite, got inf in row 1, column 0"):
        list(read_chunks(path))


def test_float16_is_exact():
    values = np.arange(2**16, dtype=np.uint16).view(np.float16)
    values = values[np.isfinite(values)]
    (chunk,) = read_chunks(values[:, None])
    assert (chunk[:, 0].astype(np.float16).view(np.uint16) == values.view(np.uint16)).all()
    assert (chunk[:, 0] == [float(value) for value in values]).all()


def test_torch_tensors():
    torch = pytest.importorskip("torch")
    patterns, values = bfloat16_patterns()
    tensor = torch.from_numpy(patterns.view(np.int16)).view(torch.bfloat16)[:, None]
    chunk = np.concatenate(list(read_chunks(tensor)))
    assert chunk.dtype == np.float32 and chunk.ravel().astype(float).tobytes() == values.tobytes()
    weight = torch.nn.Parameter(torch.arange(6.0).reshape(2, 3))
    for source in (weight, weight.detach().half(), [weight[:1], weight[1:]], iter([weight])):
        (chunk,) = read_chunks(source)
        assert chunk.dtype == np.float32 and chunk.tolist() == [[0, 1, 2], [3, 4, 5]]
    (chunk,) = read_chunks(weight.detach().T.double())
    assert chunk.dtype == np.float64 and chunk.tolist() == [[0, 3], [1, 4], [2, 5]]
    for wrong, match in ((weight.detach().to_sparse(), "dense tensor"), (weight.detach().to("meta"), r"call \.cpu"),
                         (weight.detach() + 1j, "real numbers")):
        with pytest.raises(TypeError, match=match):
            read_chunks(wrong)
    with pytest.raises(ValueError, match=r"reshape\(-1, 3\)"):
        read_chunks(weight[None])


def test_chunks_are_read_only_views_and_the_source_stays():
    array = np.random.default_rng(0).standard_normal((files.CHUNK_ROWS + 1, 2))
    array[::3] = -0.0
    before = array.tobytes()
    first, last = read_chunks(array)
    assert len(last) == 1 and np.shares_memory(first, array)
    with pytest.raises(ValueError, match="read-only"):
        first[0] = 1
    array.flags.writeable = False
    sample_rows(array, 10, rng=0)
    assert array.tobytes() == before


def test_chunks_stay_when_their_source_overwrites_its_pieces(small_chunks):
    """Also where a piece is as long as a chunk and needs no conversion."""
    array = np.random.default_rng(0).standard_normal((1000, 6))
    for dtype, lengths in itertools.product((np.float64, np.float32, np.int16), ([100], [250], [99, 1, 30])):
        expected = (100 * array).astype(dtype)
        buffer = np.empty((1000, 6), dtype)

        def pieces():
            start = 0
            for length in itertools.cycle(lengths):
                piece = buffer[:len(expected[start:start + length])]
                piece[:] = expected[start:start + length]
                start += length
                yield piece
                piece[:] = 0
                if start >= len(expected):
                    return

        assert (np.concatenate(list(read_chunks(pieces()))) == expected).all()


def test_chunks_are_bounded():
    for d in (1, 3, 64, 65, 384, 4096, 10**7):
        rows = files.rows_per_chunk(d)
        assert rows == 1 or 8 * d * rows <= 2**25 and rows <= 2**16
        assert rows == 2**16 or 8 * d * (rows + 1) > 2**25  # and not needlessly short


@pytest.mark.parametrize(("source", "error", "match"), [
    (np.ones(3), ValueError, "two dimensions"), (np.ones((2, 3, 4)), ValueError, r"reshape\(-1, 4\)"),
    (np.float64(1), ValueError, "two dimensions"), (1, ValueError, "two dimensions"), (None, TypeError, "real numbers"),
    (np.ones((0, 3)), ValueError, "at least one row"), (np.ones((3, 0)), ValueError, "at least one feature"),
    ([], ValueError, "two dimensions"), (iter([]), ValueError, "at least one row"),
    (iter([np.ones((0, 2))]), ValueError, "at least one row"), ([[1, 2], [3]], ValueError, "rectangular"),
    (np.ones((2, 2), dtype=complex), TypeError, "real numbers"), (np.array([["a"]]), TypeError, "real numbers"),
    (np.array([[1, None]]), TypeError, "real numbers"), (np.ma.ones((2, 2)), TypeError, "masked"),
    (np.zeros((2, 2), "datetime64[s]"), TypeError, "real numbers"), ({"a": np.ones((2, 2))}, TypeError, "its values"),
    (b"a.npy", TypeError, "a path is"), ("", IsADirectoryError, "directory"), (["a.npy"], TypeError, "real numbers"),
    (iter(["a.npy"]), TypeError, "each chunk"), (iter([np.ones(3)]), ValueError, "each chunk .* two dimensions"),
    ([np.ones((2, 3)), np.ones((2, 4))], ValueError, "same number of features throughout, got 3 and 4"),
    ([np.ones((2, 3)), np.ones(3)], ValueError, "two dimensions"),
    ([[1, np.inf]], ValueError, "got inf in row 0, column 1"),
    ([np.ones((3, 1)), [[1], [np.nan]]], ValueError, "got nan in row 4, column 0"),
    (np.full((1, 1), np.longdouble("1e4000")), ValueError, "got inf"),
])  # fmt: skip
def test_bad_sources(source, error, match):
    with pytest.raises(error, match=match) as caught:
        list(read_chunks(source, name="A"))
    assert "A" in str(caught.value)


def test_sparse_matrices_are_refused():
    scipy_sparse = pytest.importorskip("scipy.sparse")
    with pytest.raises(TypeError, match="toarray"):
        read_chunks(scipy_sparse.eye_array(3))


def test_the_row_of_a_nan_far_into_a_source(small_chunks):
    array = np.zeros((1000, 6), dtype=np.float32)
    array[777, 5] = np.nan
    for source in (array, in_pieces(array, [9])):
        with pytest.raises(ValueError, match="got nan in row 777, column 5"):
            list(read_chunks(source))


def test_errors_come_with_the_call_where_they_can(tmp_path):
    with pytest.raises(ValueError, match="two dimensions"):
        read_chunks(np.ones(3))
    with pytest.raises(FileNotFoundError, match="missing.npy"):
        read_chunks(tmp_path / "missing.npy")


def test_keys(tmp_path):
    array = np.ones((2, 2))
    np.savez(tmp_path / "a.npz", left=array, right=array)
    data = ("F64", (2, 2), array.tobytes())
    write_safetensors(tmp_path / "a.safetensors", left=data, right=data)
    for path in (tmp_path / "a.npz", tmp_path / "a.safetensors"):
        with pytest.raises(ValueError, match="key must say which array of .*: 'left', 'right'"):
            read_chunks(path)
        with pytest.raises(ValueError, match="key must be one of 'left', 'right' .*, got 'up'"):
            read_chunks(path, key="up")
        with pytest.raises(TypeError, match="key must be a str"):
            read_chunks(path, key=0)
    np.save(tmp_path / "a.npy", array)
    for source in (array, tmp_path / "a.npy", [array]):
        with pytest.raises(ValueError, match="key is for files with named arrays"):
            read_chunks(source, key="left")
    np.savez(tmp_path / "none.npz")
    write_safetensors(tmp_path / "none.safetensors")
    for path in (tmp_path / "none.npz", tmp_path / "none.safetensors"):
        with pytest.raises(ValueError, match="holds no array"):
            read_chunks(path)


def test_files_that_are_none(tmp_path):
    with pytest.raises(IsADirectoryError, match="directory"):
        read_chunks(tmp_path)
    for name in ("a.pt", "a.pkl", "a", "a.csv"):
        (tmp_path / name).write_bytes(b"1,2")
        with pytest.raises(ValueError, match=r"must be a \.npy, \.npz or \.safetensors file, got"):
            read_chunks(tmp_path / name)
    contents = {"empty": b"", "zeros": bytes(1000), "text": b"1,2\n3,4\n" * 9, "pickle": pickle.dumps([[1.0]]),
                "short": b"\x93NUMPY", "version": b"\x93NUMPY\x09\x00" + bytes(99), "deep": b"[" * 10**5}
    contents["deep"] = len(contents["deep"]).to_bytes(8, "little") + contents["deep"]
    for name, suffix in itertools.product(contents, (".npy", ".npz", ".safetensors")):
        path = (tmp_path / name).with_suffix(suffix)
        path.write_bytes(contents[name])
        with pytest.raises(ValueError, match=name):
            read_chunks(path)


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".safetensors"])
def test_truncated_files(suffix, tmp_path):
    array = np.random.default_rng(0).standard_normal((20, 3))
    whole, part = tmp_path / f"whole{suffix}", tmp_path / f"part{suffix}"
    if suffix == ".safetensors":
        write_safetensors(whole, a=("F64", array.shape, array.tobytes()))
    else:
        np.save(whole, array) if suffix == ".npy" else np.savez_compressed(whole, array)
    data = whole.read_bytes()
    assert sum(len(chunk) for chunk in read_chunks(whole)) == 20
    for length in [*range(0, len(data), 7), len(data) - 1]:
        part.write_bytes(data[:length])
        with pytest.raises(ValueError, match="part"):
            read_chunks(part)
    if suffix != ".npz":  # a zip file may have a comment behind it
        part.write_bytes(data + b"x")
        with pytest.raises(ValueError, match="too long"):
            read_chunks(part)


@pytest.mark.parametrize("order", ["C", "F"])
def test_a_file_that_shrinks_between_call_and_reading(order, tmp_path):
    np.save(tmp_path / "a.npy", np.ones((10, 2), order=order))
    chunks = read_chunks(tmp_path / "a.npy")
    with open(tmp_path / "a.npy", "r+b") as stream:
        stream.truncate(200)
    with pytest.raises(ValueError, match="ends before its last row"):
        next(chunks)


def undamaged_files(folder):
    """One of each format and compression, with the same 20 rows in each."""
    array = np.random.default_rng(0).standard_normal((20, 3))
    np.save(folder / "rows.npy", array)
    np.save(folder / "columns.npy", np.asfortranarray(array))
    other = "F32", (3,), bytes(12)
    write_safetensors(folder / "two.safetensors", a=("F64", array.shape, array.tobytes()), b=other)
    for name in ("STORED", "DEFLATED", "BZIP2", "LZMA"):
        with zipfile.ZipFile(folder / f"{name}.npz", "w", getattr(zipfile, f"ZIP_{name}")) as archive:
            archive.write(folder / "rows.npy", "a.npy")
    return array, sorted(folder.iterdir())


def write_byte(stream, place, byte):
    stream.seek(place)
    stream.write(bytes([byte]))


@pytest.mark.filterwarnings("error")
def test_flipped_bits(tmp_path):
    """Of each format 500 files with a flipped bit: an error that names the file or, of what has no sums, other numbers.

    Half of the bits are in the first 200 bytes, where the headers are.
    """
    array, paths = undamaged_files(tmp_path)
    rng, n_errors, n_read = np.random.default_rng(0), 0, 0
    assert len(paths) == 7
    for path in paths:
        key, data = "a" if path.suffix == ".safetensors" else None, path.read_bytes()
        assert [chunk.tobytes() for chunk in read_chunks(path, key=key)] == [array.tobytes()]
        with open(path, "r+b", buffering=0) as stream:
            for trial in range(500):
                place = rng.integers(200 if trial % 2 else len(data))
                write_byte(stream, place, data[place] ^ 1 << rng.integers(8))
                try:
                    (chunk,) = read_chunks(path, key=key)
                except (ValueError, TypeError) as error:
                    assert str(path) in str(error) or "must be finite" in str(error)
                    n_errors += 1
                else:
                    assert path.suffix != ".npz" or chunk.tobytes() == array.tobytes()
                    n_read += 1
                write_byte(stream, place, data[place])
        assert path.read_bytes() == data
    assert n_errors > 2000 and n_read > 500


@pytest.mark.parametrize("kind", ["STORED", "DEFLATED", "BZIP2", "LZMA"])
def test_a_flipped_bit_in_the_rows_of_an_npz_is_found(kind, tmp_path):
    """At the latest at the end of the rows; the archive's directory is as it was."""
    np.save(tmp_path / "a.npy", np.random.default_rng(0).standard_normal((1000, 3)))
    with zipfile.ZipFile(tmp_path / "a.npz", "w", getattr(zipfile, f"ZIP_{kind}")) as archive:
        archive.write(tmp_path / "a.npy", "a.npy")
    data = (tmp_path / "a.npz").read_bytes()
    for place in np.linspace(1000, len(data) - 1000, 20).astype(int):
        changed = bytearray(data)
        changed[place] ^= 1
        (tmp_path / "a.npz").write_bytes(changed)
        with pytest.raises(ValueError, match=r"activations: (a.npy in )?.*a.npz"):
            list(read_chunks(tmp_path / "a.npz"))


@pytest.mark.parametrize("header", [
    "{'descr': '<f8', 'fortran_order': False, 'shape': (2L, 2L)}", "{'descr': '<f8', 'fortran_order': False, 'shape': (",
    "{'descr': '<f8', 'fortran_order': True, 'shape': (-2, -2)}", "{'descr': '<f8', 'fortran_order': 0, 'shape': (2, 2)}",
    "{'descr': '<f8', 'fortran_order': True, 'shape': (True, 4)}", "{'descr': '<f8', 'fortran_order': True, 'shape': 4}",
    "{'descr': (), 'fortran_order': False, 'shape': (2, 2)}", "{'descr': '<Q8', 'fortran_order': False, 'shape': (2, 2)}",
    "{'descr': None, 'fortran_order': False, 'shape': (2, 2)}", "{'descr': '<f8', 'fortran_order': False}",
    "('descr',)", "-" * 9000, "(" * 9000, "\0", "", "{[]: 1}", " " * 20_000,
])  # fmt: skip
@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_headers_that_are_none(suffix, header, tmp_path):
    """NumPy reads the first, which Python 2 has written, with a warning, and the two with lengths that are none."""
    text = header.encode("latin1")
    data = b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + bytes(32)
    path = tmp_path / f"a{suffix}"
    if suffix == ".npy":
        path.write_bytes(data)
    else:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("a.npy", data)
    with pytest.raises(ValueError, match=rf"activations: .*a{suffix} has no valid header of the npy format"):
        read_chunks(path)


def test_errors_of_the_system_stay_what_they_are(tmp_path):
    """A file that is gone is not damaged."""
    np.savez(tmp_path / "a.npz", np.ones((2, 2)))
    np.save(tmp_path / "a.npy", np.ones((2, 2), order="F"))
    for path in (tmp_path / "a.npz", tmp_path / "a.npy"):
        chunks = read_chunks(path)
        path.unlink()
        with pytest.raises(FileNotFoundError, match=path.name):
            next(chunks)


@pytest.mark.parametrize(("change", "match"), [
    ({"shape": [2, 3]}, "bytes"), ({"shape": [-2, -2]}, "valid header"), ({"shape": [2.0, 2]}, "valid header"),
    ({"shape": [True, 4]}, "valid header"), ({"shape": 4}, "valid header"), ({"shape": [4]}, "two dimensions"),
    ({"shape": [1, 2, 2]}, "reshape"), ({"data_offsets": [0, 40]}, "truncated"),
    ({"data_offsets": [0, 24]}, "too long"), ({"data_offsets": [32, 0]}, "valid header"),
    ({"data_offsets": [-32, 0]}, "valid header"), ({"dtype": ["F64"]}, "valid header"), ({"dtype": None}, "valid header"),
    ({"data_offsets": [0]}, "valid header"), ({"data_offsets": [8, 32]}, "bytes"), ({"dtype": "F32"}, "bytes"),
])  # fmt: skip
def test_headers_that_contradict_the_file(change, match, tmp_path):
    entry = {"dtype": "F64", "shape": [2, 2], "data_offsets": [0, 32]} | change
    text = json.dumps({"a": entry}).encode()
    (tmp_path / "a.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + bytes(32))
    with pytest.raises(ValueError, match=match):
        read_chunks(tmp_path / "a.safetensors")


@pytest.mark.parametrize("kind", ["F8_E4M3", "C64"])
def test_unknown_types_of_safetensors(kind, tmp_path):
    with pytest.raises(TypeError, match="real numbers"):
        read_chunks(write_safetensors(tmp_path / "a.safetensors", a=(kind, (2, 2), bytes(4))))


class Trap:
    """What unpickling would run."""

    def __reduce__(self):
        return pytest.fail, ("unpickled",)


def test_pickles_are_refused_and_not_run(tmp_path):
    array = np.array([[Trap()]], dtype=object)
    np.save(tmp_path / "a.npy", array)
    np.savez(tmp_path / "a.npz", array)
    with pytest.raises(pytest.fail.Exception):  # the trap works
        np.load(tmp_path / "a.npy", allow_pickle=True)
    for path in (tmp_path / "a.npy", tmp_path / "a.npz"):
        with pytest.raises(TypeError, match="pickled Python objects"):
            read_chunks(path)
    with zipfile.ZipFile(tmp_path / "b.npz", "w") as archive:
        archive.writestr("a.npy", pickle.dumps(Trap()))
    with pytest.raises(ValueError, match="no valid header"):
        read_chunks(tmp_path / "b.npz")


def test_the_sample_depends_on_seed_and_rows_alone(tmp_path, small_chunks):
    array = np.random.default_rng(0).integers(-2, 3, (1234, 6)).astype(np.float16)
    expected = sample_rows(array.astype(float), 50, rng=3)
    for dtype in ("float64", "float32", "float16"):
        for name, source in sources(array.astype(dtype), tmp_path):
            source, key = split(source)
            sample = sample_rows(source, 50, key=key, rng=3)
            assert sample.rows.tobytes() == expected.rows.tobytes() and sample.rows.dtype == np.float64, name
            assert (sample.index == expected.index).all() and sample[2:] == expected[2:], name
    order = np.random.default_rng(1).permutation(1234)
    shuffled = sample_rows(np.repeat(array[order], 3, axis=0), 50, rng=3)
    assert sorted(shuffled.rows.tolist()) == sorted(expected.rows.tolist())
    assert sample_rows(array, 50, rng=4).index.tolist() != expected.index.tolist()
    assert sample_rows(array, 50, rng=np.random.SeedSequence(3)).index.tolist() == expected.index.tolist()


def test_the_sample_in_figures():
    """Would change with the hash, the key or the conversion: then the samples of a seed are others."""
    sample = sample_rows(np.arange(1000, dtype=np.int64)[:, None], 5, rng=0)
    assert sample.index.tolist() == [149, 220, 406, 530, 542]


def test_index_and_duplicates(small_chunks):
    rng = np.random.default_rng(0)
    array = rng.integers(0, 3, (2000, 6)).astype(float)
    array[array == 0] = rng.choice([-0.0, 0.0], (array == 0).sum())
    distinct, first = np.unique(array, axis=0, return_index=True)
    assert len(distinct) < 729 + 1 < len(array)
    sample = sample_rows(array, 10**6, rng=0)
    assert (sample.index == np.sort(first)).all() and (sample.rows == array[sample.index]).all()
    assert (sample.n_rows, sample.n_duplicates) == (2000, 2000 - len(distinct))
    part = sample_rows(array, 40, rng=0)
    assert len(part.rows) == 40 and (np.diff(part.index) > 0).all() and (part.rows == array[part.index]).all()
    assert set(part.index) < set(sample.index) and part.n_duplicates == sample.n_duplicates
    assert not np.signbit(part.rows[part.rows == 0]).any()


def test_one_row_and_equal_rows():
    assert sample_rows([[1, 2]], 1, rng=0).rows.tolist() == [[1, 2]]
    sample = sample_rows(np.ones((100, 2)), 7, rng=0)
    assert sample.rows.tolist() == [[1, 1]] and sample.index.tolist() == [0] and sample[2:] == (100, 99)


def test_a_large_sample_costs_little_more_than_a_small_one(monkeypatch):
    """Hashing takes most of the time; sorting all that is kept at each of the 200 chunks would take ten times it."""
    monkeypatch.setattr(files, "CHUNK_ROWS", 250)
    array = np.random.default_rng(0).standard_normal((50_000, 1))

    def seconds(max_rows):
        start = time.process_time()
        assert len(sample_rows(array, max_rows, rng=0).rows) == max_rows
        return time.process_time() - start

    assert min(seconds(50_000) for _ in range(3)) < 4 * min(seconds(10) for _ in range(3))


def test_samples_are_the_smallest_hashes(small_chunks):
    """Against sorting all at once, over sources with many and few equal rows, of all sizes."""
    rng = np.random.default_rng(0)
    for seed in range(60):
        array = rng.integers(0, rng.choice([2, 4, 10**9]), (rng.integers(1, 900), 6)).astype(float)
        max_rows = int(rng.integers(1, 1000))
        key = np.random.SeedSequence(seed)
        hashes = sampling._hashes(array, sampling.philox_key(key).to_bytes(8, "little"))
        _, first = np.unique(hashes, return_index=True)
        sample = sample_rows(array, max_rows, rng=key)
        assert sample.index.tolist() == sorted(first[:max_rows].tolist())
        assert (sample.rows == array[sample.index]).all() and sample.n_duplicates == len(array) - len(first)


def test_a_smaller_sample_is_part_of_a_larger_one():
    array = np.random.default_rng(0).standard_normal((500, 2))
    small, large = (set(sample_rows(array, m, rng=0).index) for m in (20, 60))
    assert small < large and len(large) == 60


def test_the_sample_is_uniform(small_chunks):
    """False-alarm rates: 1e-4 for how often each row is drawn, and for how often each pair of neighbours is.

    With m of n rows each row is drawn with probability m / n, each pair with m (m - 1) / (n (n - 1)). The counts of all
    rows sum to a constant; their covariance matrix is m (n - m) / (n (n - 1)) times a projection on n - 1 dimensions.
    """
    n, m, repeats = 200, 20, 2000
    array = np.repeat(np.arange(n), 1 + np.arange(n) % 3)[:, None]  # rows that occur more often are drawn no more often
    drawn = np.zeros((repeats, n), dtype=bool)
    for seed in range(repeats):
        drawn[seed, sample_rows(array, m, rng=seed).rows[:, 0].astype(int)] = True
    assert (drawn.sum(axis=1) == m).all()
    share = m / n
    deviations = drawn.sum(axis=0) - repeats * share
    statistic = (deviations**2).sum() / (repeats * share * (1 - share)) * (n - 1) / n
    assert stats.chi2(n - 1).cdf(statistic) == pytest.approx(0.5, abs=0.49995)
    pairs = (drawn[:, ::2] & drawn[:, 1::2]).sum()
    expected = repeats * n / 2 * share * (m - 1) / (n - 1)
    assert stats.poisson(expected).cdf(pairs) == pytest.approx(0.5, abs=0.49995)


def test_the_estimated_number_of_duplicates(monkeypatch):
    """Two in three rows are duplicates; the estimate from 1000 hashes is within 4.9 standard errors (1e-6)."""
    monkeypatch.setattr(sampling, "MOST_COUNTED", 1000)
    array = np.tile(np.arange(20_000.0), 3)[:, None]
    sample = sample_rows(array, 10, rng=0)
    assert abs(sample.n_rows - sample.n_duplicates - 20_000) < 4.9 * 20_000 / np.sqrt(998)
    assert sample.n_duplicates != 40_000  # an estimate indeed
    assert sample_rows(in_pieces(array, [999, 13]), 10, rng=0).n_duplicates == sample.n_duplicates
    assert 0 <= sample_rows(np.arange(2000.0)[:, None], 10, rng=0).n_duplicates < 300


@pytest.mark.parametrize(("arguments", "error", "match"), [
    ({"max_rows": 0}, ValueError, "max_rows must be at least 1"), ({"max_rows": 2.0}, TypeError, "max_rows"),
    ({"max_rows": True}, TypeError, "max_rows"), ({"rng": -1}, ValueError, "rng"), ({"rng": 1.5}, TypeError, "rng"),
    ({"source": np.ones(3)}, ValueError, "A must have two"),
    ({"source": [[1, np.nan]]}, ValueError, "A must be finite"),
])  # fmt: skip
def test_bad_arguments_of_the_sample(arguments, error, match):
    with pytest.raises(error, match=match):
        sample_rows(**{"source": np.ones((3, 2)), "max_rows": 2, "name": "A"} | arguments)


def test_a_generator_is_advanced():
    rng = np.random.default_rng(0)
    array = np.arange(100.0)[:, None]
    assert sample_rows(array, 5, rng=rng).index.tolist() != sample_rows(array, 5, rng=rng).index.tolist()


MEMORY = """
import sys
import numpy as np
from moenoise.activations import read_chunks, sample_rows

def peak():
    with open("/proc/self/status") as status:  # what getrusage says counts the parent's pages from before exec
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) / 1024

before = peak()
"""

SAMPLE = """
sample = sample_rows(sys.argv[1], 2000, rng=0)
assert sample.rows.shape == (2000, 384) and sample[2:] == (150_000, 50_000)
print(peak() - before)
"""

COLUMNS = """
assert sum(np.count_nonzero(chunk == 0) for chunk in read_chunks(sys.argv[1])) == 200_000 * 256
print(peak() - before)
"""


def megabytes(code, path):
    command = [sys.executable, "-c", MEMORY + code, path]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def test_memory_is_bounded(tmp_path):
    """220 MB are read; had they been loaded, they and a chunk's work would be above the bound, 262 MB."""
    with open(tmp_path / "a.npy", "wb") as stream:
        header = {"descr": "<f4", "fortran_order": False, "shape": (150_000, 384)}
        np.lib.format.write_array_header_1_0(stream, header)
        piece = np.random.default_rng(0).random((50_000, 384), dtype=np.float32)
        for factor in (1, 2, 1):
            (factor * piece).tofile(stream)
    assert 2 * 2000 * 384 * 8 / 2**20 < megabytes(SAMPLE, tmp_path / "a.npy") < 250 + 16 * 2000 * 384 / 2**20


def test_a_path_in_fortran_order_adds_no_pages(tmp_path):
    """Of 195 MB, three chunks of 16 MB; the pages of a memory map would count until the end."""
    with open(tmp_path / "a.npy", "wb") as stream:
        header = {"descr": "<f4", "fortran_order": True, "shape": (200_000, 256)}
        np.lib.format.write_array_header_1_0(stream, header)
        stream.truncate(stream.tell() + 4 * 200_000 * 256)  # zeros
    assert 16 < megabytes(COLUMNS, tmp_path / "a.npy") < 100
