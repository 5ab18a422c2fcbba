"""The store of a sweep: what it acknowledges stays, what is damaged is told, and nobody else's folder is touched."""

import contextlib
import errno
import fcntl
import json
import math
import os
import re
import resource
import stat
import subprocess
import sys
import time
import warnings
import zlib
from pathlib import Path

import pytest

from moenoise import Grid
from moenoise.sweeps import segment as segments
from moenoise.sweeps import store as stores
from moenoise.sweeps import writer as writers
from moenoise.sweeps.grid import cell_text
from moenoise.sweeps.records import Record, encode_line, encode_record, scan
from moenoise.sweeps.store import Identity, Store, read_store

IDENTITY = Identity("risk", "1", 7, "0.5")
GRID = Grid(n=[1, 2], name="a b")
KERNEL = "SkylakeX, avx512"


def record(replicate, n=1, value=0.1):
    return Record(cell_text({"n": n, "name": "a b"}), replicate, {"risk": value, "fits": True}, 0.25, None, None)


def failure(replicate, n=1, message="bad"):
    return Record(cell_text({"n": n, "name": "a b"}), replicate, None, 0.5, f"ValueError: {message}", "line\nline\n")


def opened(folder, identity=IDENTITY, grid=GRID, replicates=3, kernel=KERNEL):
    return Store.open(folder, identity, grid, replicates, kernel)


def by_key(*records):
    return {(each.cell, each.replicate): each for each in records}


def segment_files(folder):
    return sorted((Path(folder) / "segments").iterdir())


def snapshot(folder):
    """All that is under a folder, with contents and times."""
    return {path: (path.lstat().st_mtime_ns, path.read_bytes() if path.is_file() else None)
            for path in sorted([Path(folder), *Path(folder).rglob("*")])}


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "store"


@pytest.fixture
def without_disk(monkeypatch):
    """For tests of what is written, not of when it has arrived; many thousand files."""
    monkeypatch.setattr(os, "fsync", lambda handle: None)


def python(code, *arguments):
    """A process that runs code, with what this file has."""
    start = "import signal\nfrom test_sweep_store import *\n"
    return subprocess.Popen([sys.executable, "-c", start + code, *map(str, arguments)], text=True,
                            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                            env=os.environ | {"PYTHONPATH": str(Path(__file__).parent)})


def finished(process):
    """The exit status and stderr of a process."""
    errors = process.communicate(timeout=60)[1]
    return process.returncode, errors


# --- What goes in comes out


def test_records_come_back_to_the_last_bit(folder):
    results = {"tiny": 5e-324, "third": 1 / 3, "large": 1.7976931348623157e308, "minus": -0.0, "infinite": math.inf,
               "count": 2**80, "whole": 3, "one": 1.0, "yes": True}
    first = Record(cell_text({"n": 1, "name": 'q"\\\n\u00e9\u2028'}), 0, results, 1e-7, None, None)
    empty = Record(first.cell, 1, {}, 0.0, None, None)
    failed = Record(first.cell, 2, None, 0.0, "E: \ud800 \0 \n", "\u00e9\r\n  File")
    with opened(folder) as store:
        store.append([first, empty])
        store.append([failed])
        assert store.records == by_key(first, empty, failed)
    found = read_store(folder)
    assert found.records == by_key(first, empty, failed)
    assert found.damage == []
    read = found.records[first.cell, 0].results
    assert list(read) == list(results)
    assert {name: (type(value), repr(value)) for name, value in read.items()} == {
        name: (type(value), repr(value)) for name, value in results.items()}


def test_nan_comes_back(folder):
    with opened(folder) as store:
        store.append([record(0, value=math.nan)])
    assert math.isnan(read_store(folder).records[record(0).cell, 0].results["risk"])


@pytest.mark.parametrize("results", [{"risk": object()}, {"risk": 1j}, {"risk": b"1"}])
def test_what_is_no_number_is_refused_before_anything_is_written(folder, results):
    with opened(folder) as store:
        with pytest.raises(TypeError):
            store.append([record(0), record(1)._replace(results=results)])
        assert store.records == {} and segment_files(folder) == []
        store.append([record(0)])
    assert read_store(folder).records == by_key(record(0))


def test_nothing_is_made_for_nothing(folder):
    with opened(folder) as store:
        store.append([])
        assert segment_files(folder) == []
    assert read_store(folder).records == {}


def test_records_share_the_text_of_their_cell(folder):
    with opened(folder) as store:
        store.append([record(replicate) for replicate in range(3)])
    assert len({id(each.cell) for each in read_store(folder).records.values()}) == 1


@pytest.mark.parametrize("chunk", [1, 7, 100, 1 << 16])
def test_reading_in_pieces_of_any_size(folder, monkeypatch, chunk):
    kept = [record(0), failure(1), record(2, value=1 / 3)]
    with opened(folder) as store:
        for each in kept:
            store.append([each])
    path, = segment_files(folder)
    path.write_bytes(path.read_bytes() + b"torn")
    monkeypatch.setattr(segments, "CHUNK", chunk)
    found = read_store(folder)
    assert found.records == by_key(*kept)
    assert len(found.damage) == 1


def test_a_line_whose_checksum_fits_what_is_no_record(folder):
    lines = [encode_line({"risk": 1}), encode_line([1]), encode_line({"header": 3})]
    for payload in (b"1,2", b"", b"{", b"\xff", b"null"):
        lines.append(b"\n%08x %b\n" % (zlib.crc32(payload), payload))
    with opened(folder) as store:
        store.append([record(0)])
        path, = segment_files(folder)
        path.write_bytes(path.read_bytes() + b"".join(lines) + encode_record(record(1)))
        store.refresh()
    found = read_store(folder)
    assert found.records == by_key(record(0), record(1))
    assert len(found.damage) == 1 and str(path.name) in found.damage[0]


# --- Which record counts


def test_a_record_twice_counts_once(folder):
    with opened(folder) as store:
        store.append([record(0), record(0)])
        store.append([record(0)])
        assert store.records == by_key(record(0))
    assert read_store(folder).records == by_key(record(0))
    assert segment_files(folder)[0].read_bytes().count(b'"replicate":0') == 3


def test_which_of_several_counts_does_not_depend_on_who_reads_when(folder):
    first, second = opened(folder), opened(folder)
    with first, second:
        first.append([record(9)])  # so that the first one has the first segment
        second.append([record(0, value=2.0), failure(1, message="second"), record(2, value=2.0)])
        first.refresh()
        first.append([record(0, value=1.0), failure(1, message="first"), failure(2)])
        first.append([record(0, value=1.5), failure(1, message="first again"), failure(3), record(3), failure(3)])
        second.refresh()
        second.append([failure(4), failure(4, message="again")])
        first.refresh()
        expected = by_key(record(9), record(0, value=1.0), failure(1, message="second"), record(2, value=2.0),
                          record(3), failure(4, message="again"))
        assert first.records == expected
        assert second.records == expected
    assert read_store(folder).records == expected


def test_refresh_counts_what_is_new(folder):
    first, second = opened(folder), opened(folder)
    with first, second:
        first.append([failure(0), record(1)])
        assert second.refresh() == 2
        assert second.refresh() == 0
        first.append([record(0), record(1), record(2)])
        assert second.refresh() == 2
        assert second.records == by_key(record(0), record(1), record(2))


# --- Damage


@pytest.fixture
def damaged(tmp_path, without_disk):
    """A store, the lines of its one segment, and the records in them."""
    folder, kept = tmp_path / "store", [record(0), failure(1), record(2, value=1 / 3)]
    with opened(folder) as store:
        store.append(kept)
    path, = segment_files(folder)
    lines = [line + b"\n" for line in re.findall(rb"\n[^\n]+", path.read_bytes())]
    assert b"".join(lines) == path.read_bytes() and len(lines) == 4  # the header, too
    return folder, path, lines, kept


def check_that_it_goes_on(folder, intact, also_allowed=()):
    """Open, append, read back."""
    with opened(folder) as store:
        assert store.records == by_key(*intact)
        store.append([record(0, n=2), failure(1, n=2)])
        store.append([record(2, n=2)])
    assert read_store(folder).records == by_key(*intact, record(0, n=2), failure(1, n=2), record(2, n=2))


def test_a_segment_cut_at_every_byte(damaged):
    folder, path, lines, kept = damaged
    whole = path.read_bytes()
    ends = [sum(map(len, lines[: count + 1])) for count in range(len(lines))]
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        intact = [each for each, end in zip(kept, ends[1:]) if end <= size]
        found = read_store(folder)
        assert found.records == by_key(*intact), size
        # The newline before a line belongs to nothing, as long as it is the last byte.
        assert len(found.damage) == (0 if size in (0, *ends) or size - 1 in (0, *ends) else 1), size
        assert all(str(size) in damage and path.name in damage for damage in found.damage)
        check_that_it_goes_on(folder, intact)
        assert read_store(folder).damage == [], size  # the torn tail was cut off
        assert segment_files(folder) == [path]


@pytest.mark.parametrize("change", [lambda byte: byte ^ 0xFF, lambda byte: byte ^ 1, lambda byte: byte ^ 0x20,
                                    lambda byte: 10, lambda byte: 0], ids=["all", "last", "case", "newline", "nul"])
def test_a_segment_with_every_byte_flipped(damaged, change):
    folder, path, lines, kept = damaged
    whole = path.read_bytes()
    line_of = [number for number, line in enumerate(lines) for _ in line]
    for position, byte in enumerate(whole):
        if change(byte) == byte:
            continue
        path.write_bytes(whole[:position] + bytes([change(byte)]) + whole[position + 1:])
        intact = [each for number, each in enumerate(kept, 1) if number != line_of[position]]
        found = read_store(folder)
        assert found.records == by_key(*intact), position
        assert len(found.damage) == 1, position
        start, end = map(int, re.search(r"bytes (\d+) to (\d+)", found.damage[0]).groups())
        assert start <= position + 1 and position <= end and end - start <= len(lines[line_of[position]]), position
        with opened(folder) as store:
            assert len(store.damage) == 1
        check_that_it_goes_on(folder, intact)
        assert segment_files(folder) == [path]


@pytest.mark.parametrize("tail", [b"\0" * 5000, b"\n" + b"\0" * 5000, b"\0" * 4096 + b"\n00000000 {}", b"\n\n\n1234",
                                  b"x" * 200_000])
def test_a_tail_as_a_power_cut_leaves_it(folder, tail):
    with opened(folder) as store:
        store.append([record(0)])
    path, = segment_files(folder)
    path.write_bytes(path.read_bytes() + tail)
    assert len(read_store(folder).damage) in (1, 2)
    check_that_it_goes_on(folder, [record(0)])
    assert segment_files(folder) == [path]


def test_damage_within_is_told_again_and_again(folder):
    kept = list(map(record, range(5)))
    with opened(folder) as store:
        store.append(kept)
    path, = segment_files(folder)
    path.write_bytes(path.read_bytes().replace(b'"replicate":1', b'"replicate";1').replace(b'"replicate":3', b"\n"))
    damage = read_store(folder).damage
    assert len(damage) == 2
    with opened(folder) as store, opened(folder) as reader:
        assert store.damage == damage
        store.append(kept[1:2])
        assert store.damage == damage
        reader.refresh()
        store.append(kept[3:4])
        store.refresh()
        reader.refresh()
        assert store.damage == reader.damage == read_store(folder).damage == damage
        assert store.records == reader.records == read_store(folder).records == by_key(*kept)


def test_what_was_on_its_way_is_read_when_it_has_arrived(folder):
    """Over a network a part of a file may be missing, as zeros, while what follows is there."""
    with opened(folder) as reader, opened(folder) as store:
        store.append([record(0), record(1)])
        path, = segment_files(folder)
        whole = path.read_bytes()
        path.write_bytes(whole.replace(encode_record(record(0)), b"\0" * len(encode_record(record(0)))))
        reader.refresh()
        assert reader.records == by_key(record(1)) and len(reader.damage) == 1
        path.write_bytes(whole)
        os.utime(path, ns=(1, 1))
        assert reader.refresh() == 1
        assert reader.records == by_key(record(0), record(1)) and reader.damage == []


def test_half_a_record_of_a_living_writer_is_no_damage(folder):
    with opened(folder) as reader, opened(folder) as store:
        store.append([record(0)])
        path, = segment_files(folder)
        line = encode_record(record(1))
        with open(path, "ab") as file:
            file.write(line[:40])
        reader.refresh()
        assert reader.records == by_key(record(0)) and reader.damage == []
        assert read_store(folder).damage == []
        with open(path, "ab") as file:
            file.write(line[40:])
        assert reader.refresh() == 1
        assert reader.records == by_key(record(0), record(1)) and reader.damage == []


def test_a_segment_cut_behind_a_reader_is_read_anew(folder):
    """What a writer could not store after all is cut off again, when others may have read it already."""
    with opened(folder) as reader, opened(folder) as store:
        store.append([record(0)])
        path, = segment_files(folder)
        before = path.read_bytes()
        path.write_bytes(before + encode_record(record(1)) + encode_record(record(2)))
        assert reader.refresh() == 3
        path.write_bytes(before + encode_record(failure(1, message="long" * 100)))
        assert reader.refresh() == 0
        assert reader.records == by_key(record(0), failure(1, message="long" * 100)) and reader.damage == []
        path.unlink()
        assert reader.refresh() == 0 and reader.records == {}


def test_what_is_no_segment_is_left_alone(folder):
    with opened(folder) as store:
        store.append([record(0)])
    inner = folder / "segments"
    (inner / "notes.txt").write_text("mine")
    (inner / "directory.jsonl").mkdir()
    os.mkfifo(inner / "pipe.jsonl")  # would be waited for
    (inner / "copied-0001.jsonl").write_bytes(encode_record(record(1)))  # from another machine
    check_that_it_goes_on(folder, [record(0), record(1)])
    assert (inner / "notes.txt").read_text() == "mine"
    assert (inner / "copied-0001.jsonl").read_bytes() == encode_record(record(1))


# --- Several writers


def test_two_writers_in_one_process_have_a_segment_each(folder):
    with opened(folder) as first, opened(folder) as second:
        first.append([record(0)])
        second.append([record(1)])
        first.append([record(2)])
        assert len(segment_files(folder)) == 2
        assert [segment.live for segment in read_store(folder).segments] == [True, True]
        assert first.refresh() == 1 and second.refresh() == 1  # it took in the first when it made its own
        assert first.records == second.records == by_key(record(0), record(1), record(2))
    assert [segment.live for segment in read_store(folder).segments] == [False, False]


def test_two_writers_in_one_process_where_locks_do_not_exclude_it(folder, monkeypatch):
    """As the locks of some network file systems."""
    monkeypatch.setattr(fcntl, "flock", lambda file, operation: None)
    test_two_writers_in_one_process_have_a_segment_each(folder)


def test_several_processes_at_once(folder):
    code = """
with opened(sys.argv[1]) as store:
    for replicate in range(int(sys.argv[2]), 200, 3):
        store.append([record(replicate), record(replicate, n=2)])
"""
    running = [python(code, folder, number) for number in range(3)]
    assert [finished(process) for process in running] == [(0, "")] * 3
    found = read_store(folder)
    assert found.records == by_key(*(record(replicate, n=n) for replicate in range(200) for n in (1, 2)))
    assert found.damage == []
    assert 1 <= len(found.segments) <= 3
    assert sum(segment.records for segment in found.segments) == 400


def test_a_killed_writers_segment_is_taken_over(folder):
    code = """
store = opened(sys.argv[1])
store.append([record(0), record(1)])
os.write(store._writer._file.fileno(), b"\\n1234 torn")
os.kill(os.getpid(), signal.SIGKILL)
"""
    assert finished(python(code, folder)) == (-9, "")
    path, = segment_files(folder)
    assert len(read_store(folder).damage) == 1
    with opened(folder) as store:
        assert store.records == by_key(record(0), record(1))
        assert path.read_bytes().endswith(b"torn")  # nothing is done before there is something to append
        store.append([record(2)])
        assert store.damage == []
        state, = read_store(folder).segments
        assert state.live and state.writer == f"{os.uname().nodename}, process {os.getpid()}" and state.records == 3
        assert state.bytes == path.stat().st_size and state.last_change == path.stat().st_mtime
    assert segment_files(folder) == [path]
    assert b"torn" not in path.read_bytes()


def test_a_living_writers_segment_is_not_taken_over(folder):
    code = """
store = opened(sys.argv[1])
store.append([record(0)])
print("stored", flush=True)
sys.stdin.read()
"""
    with python(code, folder) as other:
        assert other.stdout.readline() == "stored\n"
        assert read_store(folder).segments[0].live is True
        with opened(folder) as store:
            store.append([record(1)])
            assert len(segment_files(folder)) == 2
            other.kill()
            other.wait()
            with opened(folder) as third:
                third.append([record(2)])
                assert len(segment_files(folder)) == 2
    assert read_store(folder).records == by_key(record(0), record(1), record(2))


def test_a_look_does_not_keep_a_writer_from_a_segment(folder):
    with opened(folder) as store:
        store.append([record(0)])
    path, = segment_files(folder)
    with opened(folder) as store, open(path, "rb") as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        real, times = fcntl.flock, []

        def flock(target, operation):
            times.append(operation)
            if len(times) == 2:
                real(file, fcntl.LOCK_UN)  # the look is over when the writer tries again
            return real(target, operation)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(fcntl, "flock", flock)
            store.append([record(1)])
    assert segment_files(folder) == [path]


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL])
def test_without_locks_everybody_has_a_segment(folder, monkeypatch, number):
    def flock(file, operation):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", flock)
    for replicate in range(2):
        with opened(folder) as store:
            store.append([record(replicate)])
            store.append([record(replicate, n=2)])
    found = read_store(folder)
    assert len(found.segments) == 2 and [segment.live for segment in found.segments] == [None, None]
    assert found.records == by_key(*(record(replicate, n=n) for replicate in range(2) for n in (1, 2)))


def test_another_hosts_segment_is_never_taken_over(folder, monkeypatch):
    with opened(folder) as store:
        store.append([record(0)])
    path, = segment_files(folder)
    before = path.read_bytes()
    monkeypatch.setattr(writers, "_host", lambda: "elsewhere-00000000")
    with opened(folder) as store:
        store.append([record(1)])
    assert path.read_bytes() == before and len(segment_files(folder)) == 2
    assert sorted((segment.name.split("-")[0], segment.live) for segment in read_store(folder).segments) == sorted(
        [(path.name.split("-")[0], None), ("elsewhere", False)])


def test_a_segment_that_somebody_else_writes_to_is_left(folder):
    with opened(folder) as store:
        store.append([record(0)])
        path, = segment_files(folder)
        with open(path, "ab") as file:
            file.write(encode_record(record(1)))
        store.append([record(2)])
        assert len(segment_files(folder)) == 2
        store.refresh()
        assert store.records == by_key(record(0), record(1), record(2))
    assert read_store(folder).records == by_key(record(0), record(1), record(2))


def test_what_was_missed_by_whoever_takes_a_segment_over_is_not_cut_off(folder, monkeypatch):
    """As where a network file system shows an older state of the file."""
    with opened(folder) as store:
        store.append([record(0)])
    real = segments.SegmentReader.read

    def read(self, limit=None, *, flush=False):
        yield from () if self.end else real(self, limit, flush=flush)

    with opened(folder) as late:
        with opened(folder) as store:
            store.append([record(1)])
        monkeypatch.setattr(segments.SegmentReader, "read", read)
        late.append([record(2)])
    monkeypatch.undo()
    assert len(segment_files(folder)) == 2
    assert read_store(folder).records == by_key(*map(record, range(3)))


def test_a_forked_process_writes_elsewhere(folder):
    code = """
store = opened(sys.argv[1])
store.append([record(0)])
child = os.fork()
if not child:
    store.append([record(1)])
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
store.append([record(2)])
assert store.refresh() == 1
store.append([record(3)])
store.close()
"""
    assert finished(python(code, folder)) == (0, "")
    found = read_store(folder)
    assert found.records == by_key(*map(record, range(4)))
    assert [segment.records for segment in found.segments] == [3, 1] and found.damage == []


def test_a_closed_store_frees_its_segment_although_a_forked_process_lives(folder):
    code = """
store = opened(sys.argv[1])
store.append([record(0)])
reading, writing = os.pipe()
child = os.fork()
if not child:
    os.close(writing)
    os.read(reading, 1)
    os._exit(0)
store.close()
with opened(sys.argv[1]) as other:
    other.append([record(1)])
os.close(writing)
assert os.waitpid(child, 0)[1] == 0
"""
    assert finished(python(code, folder)) == (0, "")
    assert len(segment_files(folder)) == 1


def test_a_store_that_is_not_closed_frees_its_segment_when_it_is_gone(folder):
    store = opened(folder)
    store.append([record(0)])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        del store
    with opened(folder) as store:
        store.append([record(1)])
    assert len(segment_files(folder)) == 1


def test_a_new_segment_that_another_process_is_faster_to_take(folder, monkeypatch):
    real = writers._lock

    with opened(folder) as store:
        monkeypatch.setattr(writers, "_lock", lambda file: "-0001" not in str(file.name) and real(file))
        store.append([record(0)])
    assert [path.name[-10:] for path in segment_files(folder)] == ["0001.jsonl", "0002.jsonl"]
    assert read_store(folder).records == by_key(record(0))


# --- Durability


def test_what_is_acknowledged_is_on_the_disk(folder, monkeypatch):
    """At each fsync, what the file or folder has; names and bytes that came later do not count."""
    safe, real = {}, os.fsync

    def fsync(handle):
        real(handle)
        path = Path(os.readlink(f"/proc/self/fd/{handle}"))
        safe[path] = set(os.listdir(path)) if path.is_dir() else path.read_bytes()

    monkeypatch.setattr(os, "fsync", fsync)
    with opened(folder / "deep" / "er") as store:
        for path in (folder.parent, folder, folder / "deep"):
            assert {child.name for child in path.iterdir()} <= safe[path]
        top = folder / "deep" / "er"
        assert safe[top] >= {"segments", "manifest.json"}
        assert any(content == (top / "manifest.json").read_bytes() for content in safe.values())
        for each in (record(0), failure(1)):
            store.append([each])
            path, = segment_files(top)
            assert path.name in safe[top / "segments"]
            assert encode_record(each) in safe[path]


def test_folders_that_a_killed_writer_made_are_on_the_disk_before_they_are_used(folder, monkeypatch):
    opened(folder).close()
    seen, real = set(), os.fsync
    monkeypatch.setattr(os, "fsync", lambda handle: (seen.add(os.readlink(f"/proc/self/fd/{handle}")), real(handle)))
    opened(folder).close()
    assert seen >= {str(folder / "segments"), str(folder), str(folder.parent)}


def test_what_a_killed_writer_did_not_acknowledge_counts_only_from_the_disk(folder, monkeypatch):
    with opened(folder) as store:
        store.append([record(0)])
    path, = segment_files(folder)
    with open(path, "ab") as file:
        file.write(encode_record(record(1)))  # killed before its fsync
    seen, real = [], os.fsync
    monkeypatch.setattr(os, "fsync", lambda handle: (seen.append(os.readlink(f"/proc/self/fd/{handle}")), real(handle)))
    with opened(folder) as store:
        assert store.records == by_key(record(0), record(1))
        assert str(path) in seen


class Interrupted:
    """os.write or os.fsync, which Ctrl-C or an error meets at the n-th call."""

    def __init__(self, real, error, *, after, part=None):
        self.real, self.error, self.after, self.part = real, error, after, part

    def __call__(self, handle, *data):
        self.after -= 1
        if self.after:
            return self.real(handle, *data)
        if self.part is not None:
            self.real(handle, *(bytes(piece)[: self.part] for piece in data))
        raise self.error


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(errno.ENOSPC, "No space left on device"),
                                   OSError(errno.EIO, "Input/output error")], ids=["ctrl-c", "full", "broken"])
@pytest.mark.parametrize("call", ["write", "fsync"])
@pytest.mark.parametrize("first", [True, False], ids=["first", "later"])
@pytest.mark.parametrize("part", [0, 50, 100_000])
def test_an_append_that_fails_stores_nothing_and_the_next_goes_on(folder, monkeypatch, error, call, first, part):
    with opened(folder) as store:
        stored = [] if first else [record(0)]
        store.append(stored)
        before = [path.read_bytes() for path in segment_files(folder)] or [b""]
        with monkeypatch.context() as patch:
            if first:  # the manifest, and what is read, are on the disk before the first append
                store._take(adopt=True)
            patch.setattr(os, call, Interrupted(getattr(os, call), error, after=1, part=part))
            with pytest.raises(type(error)) as raised:
                store.append([record(1), record(2)])
        if isinstance(error, OSError):
            assert raised.value.errno == error.errno and str(folder) in str(raised.value)
            assert "goes on from there" in str(raised.value)
        assert store.records == by_key(*stored)
        assert [path.read_bytes() for path in segment_files(folder)] == before
        store.refresh()
        assert store.records == by_key(*stored)
        store.append([record(2)])
        assert store.records == by_key(*stored, record(2))
    found = read_store(folder)
    assert found.records == by_key(*stored, record(2)) and found.damage == []


def test_what_could_not_be_cut_off_is_before_the_next_append(folder, monkeypatch):
    """Ctrl-C strikes twice: in the write, and in putting it right."""
    with opened(folder) as store:
        store.append([record(0)])
        path, = segment_files(folder)
        with monkeypatch.context() as patch:
            patch.setattr(os, "write", Interrupted(os.write, KeyboardInterrupt(), after=1, part=400))
            patch.setattr(os, "ftruncate", Interrupted(os.ftruncate, KeyboardInterrupt(), after=1))
            with pytest.raises(KeyboardInterrupt):
                store.append([record(1), record(2), record(3)])
        assert encode_record(record(1)) in path.read_bytes()
        store.refresh()
        assert store.records == by_key(record(0))  # what may be cut off does not count
        store.append([record(3)])
    found = read_store(folder)
    assert found.records == by_key(record(0), record(3)) and found.damage == []


def test_writes_that_are_cut_short_go_on(folder, monkeypatch):
    real = os.write
    monkeypatch.setattr(os, "write", lambda handle, data: real(handle, bytes(data)[:7]))
    with opened(folder) as store:
        store.append([record(0), failure(1)])
    found = read_store(folder)
    assert found.records == by_key(record(0), failure(1)) and found.damage == []
    assert found.requests == [(GRID, 3)]


@pytest.mark.parametrize("replaced", [False, True])
def test_a_segment_deleted_under_the_writer(folder, replaced):
    with opened(folder) as store:
        store.append([record(0)])
        path, = segment_files(folder)
        path.unlink()
        if replaced:
            path.write_bytes(b"")
        with pytest.raises(FileNotFoundError, match="removed while it was written"):
            store.append([record(1)])
        assert store.records == {}
        store.append([record(2)])
        assert store.records == by_key(record(2))
    assert read_store(folder).records == by_key(record(2))


def test_a_store_deleted_under_the_writer(folder):
    with opened(folder) as store:
        store.append([record(0)])
        for path in sorted(folder.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        folder.rmdir()
        for _ in range(2):
            with pytest.raises(FileNotFoundError, match=f"{re.escape(str(folder))}.*removed"):
                store.append([record(1)])
            assert store.records == {}
    assert not folder.exists()


@contextlib.contextmanager
def largest_file(size):
    """No file can be longer than so many bytes: what is beyond is refused, after a short write."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_file_that_can_grow_no_more(folder):
    with opened(folder) as store:
        store.append([record(0)])
        path, = segment_files(folder)
        before = path.read_bytes()
        for room in (1, 200):
            with largest_file(len(before) + room), pytest.raises(OSError, match="make room") as raised:
                store.append([record(replicate) for replicate in range(1, 10)])
            assert raised.value.errno == errno.EFBIG
            assert path.read_bytes() == before and store.records == by_key(record(0))
        store.append([record(1)])
    assert read_store(folder).records == by_key(record(0), record(1))


def test_a_manifest_that_can_grow_no_more(folder):
    with largest_file(50), pytest.raises(OSError, match="make room"):
        opened(folder)
    assert not folder.exists()
    opened(folder).close()
    before = snapshot(folder)
    with largest_file(50), pytest.raises(OSError, match="make room"):
        opened(folder, replicates=4)
    assert {path: content for path, (_, content) in snapshot(folder).items()} == {
        path: content for path, (_, content) in before.items()}


@pytest.fixture
def mounted(tmp_path):
    """A function that mounts something on a new folder, until the test ends; skipped where that is not allowed."""
    places = []

    def mount(*arguments):
        place = tmp_path / f"mounted-{len(places)}"
        place.mkdir()
        done = subprocess.run(["mount", *map(str, arguments), str(place)], capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"nothing can be mounted here: {done.stderr.strip()}")
        places.append(place)
        return place

    yield mount
    for place in reversed(places):
        subprocess.run(["umount", str(place)], check=True)


def test_a_full_disk(mounted):
    folder = mounted("-t", "tmpfs", "-o", "size=64k", "tmpfs") / "store"
    with opened(folder) as store:
        stored = []
        with pytest.raises(OSError, match="make room") as raised:
            for replicate in range(1000):
                store.append([record(replicate), failure(replicate, n=2)])
                stored += [record(replicate), failure(replicate, n=2)]
        assert raised.value.errno == errno.ENOSPC and stored
        assert store.records == by_key(*stored)
        found = read_store(folder)
        assert found.records == by_key(*stored) and found.damage == []
        subprocess.run(["mount", "-o", "remount,size=256k", str(folder.parent)], check=True)
        store.append([record(2000)])
    assert read_store(folder).records == by_key(*stored, record(2000))


def test_a_read_only_disk(mounted, folder):
    with opened(folder) as store:
        store.append([record(0)])
    place = mounted("--bind", folder)
    subprocess.run(["mount", "-o", "remount,bind,ro", str(place)], check=True)
    with pytest.raises(OSError, match="or choose another folder") as raised:
        opened(place)
    assert raised.value.errno == errno.EROFS
    with pytest.raises(OSError, match="or choose another folder"):
        opened(place / "new", identity=IDENTITY)
    assert read_store(place).records == by_key(record(0))
    assert read_store(place).segments[0].live is False


def test_a_folder_without_the_right_to_write(folder, monkeypatch):
    """The superuser has every right, so it is told by the system's own function."""
    with opened(folder) as store:
        store.append([record(0)])
    before, real = snapshot(folder), os.open

    def refuse(path, flags, *arguments, **options):
        if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT) and str(folder) in str(path):
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return real(path, flags, *arguments, **options)

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(PermissionError, match=f"{re.escape(str(folder))} cannot be written to: Permission denied.*"
                                              "choose another folder"):
        opened(folder, replicates=100)
    assert snapshot(folder) == before
    assert read_store(folder).records == by_key(record(0))


# --- Paths


@pytest.mark.parametrize(("path", "error"), [(3, TypeError), (None, TypeError), (True, TypeError), (["a"], TypeError),
                                             ("", ValueError), ("a\0b", ValueError), (b"a\0", ValueError)])
@pytest.mark.parametrize("function", [opened, read_store])
def test_what_is_no_path(path, error, function):
    with pytest.raises(error, match="store must be the path"):
        function(path)


@pytest.mark.parametrize("function", [opened, read_store])
def test_paths_where_no_folder_can_be(tmp_path, function):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    before = snapshot(tmp_path)
    for path, error, message in [(tmp_path / "file", NotADirectoryError, "must be a folder"),
                                 (tmp_path / "file" / "in" / "it", NotADirectoryError, "must be a folder"),
                                 (tmp_path / "link", FileNotFoundError, "link"),
                                 (tmp_path / "link" / "beyond", FileNotFoundError, "beyond"),
                                 (tmp_path / "loop", OSError, "loop"),
                                 (tmp_path / ("n" * 300), OSError, "name too long")]:
        with pytest.raises(error, match=f"(?s){message}") as raised:
            function(path)
        assert str(path) in str(raised.value)
    assert snapshot(tmp_path) == before


def test_bytes_links_and_dots_are_paths(tmp_path, monkeypatch):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    monkeypatch.chdir(tmp_path)
    with opened(os.fsencode(tmp_path / "link")) as store:
        monkeypatch.chdir("/")
        store.append([record(0)])
    monkeypatch.chdir(tmp_path)
    assert read_store("link/../real").records == by_key(record(0))
    with opened("here") as store:
        monkeypatch.chdir("/")
        store.append([record(1)])
    assert read_store(tmp_path / "here").records == by_key(record(1))


def test_reading_where_there_is_nothing(folder):
    with pytest.raises(FileNotFoundError, match="does not"):
        read_store(folder)
    folder.mkdir()
    with pytest.raises(ValueError, match="nothing in .* says of which"):
        read_store(folder)
    assert list(folder.iterdir()) == []


def foreign(name):
    """What somebody else may have in a folder: paths and texts."""
    return {
        "file": {"thesis.tex": "mine"},
        "hidden": {".git/config": "mine"},
        "manifest": {"manifest.json": '{"name": "an app of the web"}'},
        "broken manifest": {"manifest.json": "{"},
        "both": {"manifest.json": '{"name": "an app of the web"}', "segments/0.ts": "film"},
        "segments": {"segments/0.ts": "film"},
        "records": {"segments/0.jsonl": '{"a": 1}\n', "manifest.json": "{}"},
        "no folder": {"segments": "mine"},
    }[name]


@pytest.mark.parametrize("name", ["file", "hidden", "manifest", "broken manifest", "both", "segments", "records",
                                  "no folder"])
@pytest.mark.parametrize("function", [opened, read_store])
def test_somebody_elses_folder_is_not_touched(folder, name, function):
    for path, text in foreign(name).items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    before = snapshot(folder)
    with pytest.raises(ValueError, match="not empty and no sweep's store"):
        function(folder)
    assert snapshot(folder) == before


def test_an_empty_folder_and_an_unfinished_one_become_a_store(folder):
    folder.mkdir()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        opened(folder).close()
        (folder / "manifest.json").unlink()
        (folder / ".manifest.json.0123").write_text("{")  # killed when it was making it
        opened(folder).close()
    assert read_store(folder).identity == IDENTITY


def test_a_store_with_other_files_is_a_store(folder):
    opened(folder).close()
    (folder / "table.csv").write_text("mine")
    check_that_it_goes_on(folder, [])
    (folder / "manifest.json").unlink()
    with pytest.warns(UserWarning, match="rebuilt"):
        check_that_it_goes_on(folder, [record(0, n=2), failure(1, n=2), record(2, n=2)])
    assert (folder / "table.csv").read_text() == "mine"


def test_temporaries_of_the_dead_are_removed_in_time(folder):
    opened(folder).close()
    for name, age in (("old", 4000), ("new", 10)):
        (folder / f".manifest.json.{name}").write_text("{")
        os.utime(folder / f".manifest.json.{name}", (time.time() - age,) * 2)
    opened(folder, replicates=5).close()
    assert sorted(path.name for path in folder.iterdir()) == [".manifest.json.new", "manifest.json", "segments"]


# --- The manifest


def test_the_manifest_says_what_the_store_is_about(folder):
    opened(folder).close()
    text = (folder / "manifest.json").read_text()
    values = json.loads(text)
    assert values.pop("created").startswith("20") and re.fullmatch("[0-9a-f]{8}", values.pop("crc32"))
    assert values == {"format": 1, "kind": "sweep of moenoise", "experiment": "risk", "experiment_version": "1",
                      "seed": 7, "package_version": "0.5", "blas_kernel": KERNEL, "earlier_versions": [],
                      "requests": [{"replicates": 3, "grid": {"n": [1, 2], "name": ["a b"]}}]}
    assert '\n "seed": 7,\n' in text
    assert stat.S_IMODE((folder / "manifest.json").stat().st_mode) == 0o666 & ~umask()
    found = read_store(folder)
    assert (found.identity, found.blas_kernel, found.requests) == (IDENTITY, KERNEL, [(GRID, 3)])
    assert found.created == json.loads(text)["created"] and found.segments == []


def umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_any_grid_and_any_seed_come_back(folder):
    grid = Grid(sizes=[(1, (2, 3)), (4,)], x=[1, 2.0, -0.0, math.inf], name=["\u00e9", None, True])
    identity = Identity("f", "source 1", 2**200 + 1, "1")
    opened(folder, identity, grid).close()
    found = read_store(folder)
    assert found.identity == identity and found.requests == [(grid, 3)]
    assert list(found.requests[0][0].axes) == ["sizes", "x", "name"]
    opened(folder, identity, grid).close()
    with pytest.raises(ValueError, match="seed"):
        opened(folder, identity._replace(seed=2**200), grid)


def test_what_was_asked_for_grows_and_never_shrinks(folder):
    small, large, other = Grid(n=[1], name="a b"), Grid(n=[2, 1, 3], name="a b"), Grid(n=[9], name="a b")
    for grid, replicates, expected in [(GRID, 3, [(GRID, 3)]), (small, 2, [(GRID, 3)]), (GRID, 3, [(GRID, 3)]),
                                       (GRID, 5, [(GRID, 5)]), (small, 9, [(GRID, 5), (small, 9)]),
                                       (large, 5, [(small, 9), (large, 5)]), (other, 1, [(small, 9), (large, 5),
                                                                                         (other, 1)]),
                                       (large, 9, [(other, 1), (large, 9)])]:
        opened(folder, grid=grid, replicates=replicates).close()
        assert read_store(folder).requests == expected


def test_a_call_that_asks_for_nothing_more_changes_nothing(folder):
    with opened(folder) as store:
        store.append([record(0)])
    before = snapshot(folder / "manifest.json")
    opened(folder, grid=Grid(n=2, name="a b"), replicates=1).close()
    assert snapshot(folder / "manifest.json") == before


@pytest.mark.parametrize(("field", "value"), [("experiment", "routing"), ("experiment_version", "2"), ("seed", 8),
                                              ("package_version", "0.6")])
@pytest.mark.parametrize("lost", [False, True], ids=["by the manifest", "by the segment"])
def test_another_sweep_in_the_same_folder(folder, field, value, lost):
    with opened(folder) as store:
        store.append([record(0)])
    if lost:
        (folder / "manifest.json").unlink()
    before = snapshot(folder)
    with pytest.raises(ValueError) as raised:
        opened(folder, IDENTITY._replace(**{field: value}))
    message = str(raised.value)
    assert f"{field.replace('_', ' ')} {getattr(IDENTITY, field)!r} there, {value!r} asked for" in message
    assert str(folder) in message and "another folder" in message
    assert message.count("asked for") == 1  # nothing else differs
    assert snapshot(folder) == before


@pytest.mark.parametrize("grid", [Grid(n=[1, 2]), Grid(n=[1, 2], name="a b", d=3), Grid(n=[1, 2], nome="a b")])
@pytest.mark.parametrize("lost", [False, True], ids=["by the manifest", "by the segment"])
def test_other_axes_in_the_same_folder(folder, grid, lost):
    with opened(folder) as store:
        store.append([record(0)])
    if lost:
        (folder / "manifest.json").write_text("{")
    before = snapshot(folder)
    with pytest.raises(ValueError, match="grid must have the axes that the store .* has, n, name; got"):
        opened(folder, grid=grid)
    assert snapshot(folder) == before


def test_axes_in_another_order_are_the_same(folder):
    opened(folder).close()
    opened(folder, grid=Grid(name="a b", n=[1, 2])).close()
    assert read_store(folder).requests == [(GRID, 3)]


def test_a_segment_of_another_sweep_among_a_stores_own(folder, tmp_path):
    for path, identity in ((folder, IDENTITY), (tmp_path / "other", IDENTITY._replace(seed=8))):
        with opened(path, identity) as store:
            store.append([record(0)])
    other, = segment_files(tmp_path / "other")
    (folder / "segments" / "copied-0001.jsonl").write_bytes(other.read_bytes())
    before = snapshot(folder)
    for function in (opened, read_store):
        with pytest.raises(ValueError, match="copied-0001.jsonl is of another: seed 8 there, 7 asked for"):
            function(folder)
    assert snapshot(folder) == before


def test_a_manifest_with_every_byte_flipped(folder, without_disk):
    with opened(folder) as store:
        store.append([record(0)])
    path = folder / "manifest.json"
    whole, values = path.read_bytes(), json.loads(path.read_text())
    rebuilt = 0
    for position, byte in enumerate(whole):
        for changed in {byte ^ 0xFF, byte ^ 1, 10} - {byte}:
            path.write_bytes(whole[:position] + bytes([changed]) + whole[position + 1:])
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                opened(folder).close()
            assert [each.category for each in caught] in ([], [UserWarning])
            rebuilt += len(caught)
            again = json.loads(path.read_text())
            assert {name: again[name] for name in values if name not in ("created", "crc32")} == {
                name: values[name] for name in values if name not in ("created", "crc32")}, position
    assert rebuilt > 2 * len(whole)  # all but spaces that became other spaces


@pytest.mark.parametrize("text", [None, b"", b"{", b"\0" * 500, b"[]", b"3", b"null", b"\xff\xfe", b'{"format": 1}',
                                  b'{"kind": "sweep of moenoise"}', b'{"kind": "sweep of moenoise", "format": "1"}',
                                  b'{"kind": "sweep of moenoise", "format": 1, "crc32": "00000000"}'])
def test_a_lost_manifest_is_rebuilt_and_said_to_be(folder, text):
    with opened(folder, kernel="first") as store:
        store.append([record(0), record(1, n=2)])
    path = folder / "manifest.json"
    path.unlink() if text is None else path.write_bytes(text)
    found = read_store(folder)
    assert "missing or damaged" in found.damage[0]
    assert (found.identity, found.blas_kernel, found.created) == (IDENTITY, "first", "")
    assert found.requests == [(Grid(n=1, name="a b"), 1), (Grid(n=2, name="a b"), 2)]
    with pytest.warns(UserWarning, match="manifest.json was missing or damaged, and is rebuilt from this call"):
        opened(folder, kernel="first").close()
    found = read_store(folder)
    assert (found.requests, found.blas_kernel, found.damage) == ([(GRID, 3)], "first", [])


def test_a_newer_format_is_left_alone(folder):
    with opened(folder) as store:
        store.append([record(0)])
    path = folder / "manifest.json"
    text = path.read_text()
    path.write_text(text.replace('"format": 1', '"format": 2'))
    before = snapshot(folder)
    for function in (opened, read_store):
        with pytest.raises(ValueError, match="manifest.json is of format 2: use a newer version"):
            function(folder)
    path.write_text(text)
    header = next(values for _, values in scan(segment_files(folder)[0].read_bytes()))
    header["header"] = {"format": 2, "novel": True}
    (folder / "segments" / "newer-0001.jsonl").write_bytes(encode_line(header))
    for function in (opened, read_store):
        with pytest.raises(ValueError, match="newer-0001.jsonl is of format 2: use a newer version"):
            function(folder)
    assert {each.name for each in before} | {"newer-0001.jsonl"} == {each.name for each in snapshot(folder)}


def test_another_kernel_is_said(folder):
    opened(folder).close()
    with pytest.warns(UserWarning, match="begun with the BLAS kernel SkylakeX, avx512, and this is Haswell"):
        opened(folder, kernel="Haswell").close()
    assert read_store(folder).blas_kernel == KERNEL


def test_an_error_made_of_a_warning_changes_nothing(folder):
    with opened(folder) as store:
        store.append([record(0)])
    before = snapshot(folder)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UserWarning):
            opened(folder, kernel="Haswell", replicates=9)
        assert snapshot(folder) == before
        (folder / "manifest.json").unlink()
        before = snapshot(folder)
        with pytest.raises(UserWarning):
            opened(folder)
    assert snapshot(folder) == before


def between(monkeypatch, action):
    """Have `action` done by another process' hand just before this one's next manifest is put in its place."""
    real = stores.write_manifest

    def write(folder, manifest, *, new):
        monkeypatch.setattr(stores, "write_manifest", real)
        action()
        return real(folder, manifest, new=new)

    monkeypatch.setattr(stores, "write_manifest", write)


def test_two_that_make_the_same_store_at_once(folder, monkeypatch):
    other = Grid(n=[5], name="a b")
    between(monkeypatch, lambda: opened(folder, grid=other).close())
    opened(folder).close()
    assert read_store(folder).requests == [(other, 3), (GRID, 3)]


def test_two_that_make_different_stores_in_one_folder_at_once(folder, monkeypatch):
    between(monkeypatch, lambda: opened(folder, IDENTITY._replace(seed=8)).close())
    with pytest.raises(ValueError, match="seed 8 there, 7 asked for"):
        opened(folder)
    assert read_store(folder).identity.seed == 8


def test_a_store_that_another_makes_between_two_looks(folder, monkeypatch):
    real = stores.read_manifest

    def read(path):
        monkeypatch.setattr(stores, "read_manifest", real)
        found = real(path)
        opened(folder, IDENTITY._replace(seed=8)).close()
        return found

    monkeypatch.setattr(stores, "read_manifest", read)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ValueError, match="seed 8 there, 7 asked for"):
            opened(folder)
    assert read_store(folder).identity.seed == 8 and (folder / "segments").is_dir()


def test_what_another_has_overwritten_is_asked_for_again(folder, monkeypatch):
    opened(folder, replicates=1).close()
    other = Grid(n=[5], name="a b")
    first = []
    between(monkeypatch, lambda: first.append(opened(folder, grid=other)))
    with opened(folder) as second:  # replaces what it had read before the first one wrote
        assert read_store(folder).requests == [(GRID, 3)]
        first[0].refresh()
        assert read_store(folder).requests == [(GRID, 3), (other, 3)]
        second.refresh()
        assert read_store(folder).requests == [(GRID, 3), (other, 3)]


def test_a_file_system_without_links(folder, monkeypatch):
    def link(*arguments, **options):
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", link)
    check_that_it_goes_on(folder, [])


def test_reading_changes_nothing(folder):
    with opened(folder) as store:
        store.append([record(0)])
        before = snapshot(folder)
        read_store(folder)
        assert snapshot(folder) == before
    path, = segment_files(folder)
    path.write_bytes(path.read_bytes() + b"torn")
    (folder / "manifest.json").write_text("{")
    before = snapshot(folder)
    read_store(folder)
    assert snapshot(folder) == before


# --- Killed again and again


def test_a_hundred_kills():
    """In a process of its own: this one may have threads, with locks that would be forked as they are."""
    script = Path(__file__).with_name("sweep_crashes.py")
    done = subprocess.run([sys.executable, script, "--kills", "100", "--limit", "100"], capture_output=True, text=True,
                          timeout=120)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    kills, in_append = re.search(r"^(\d+) kills: .* (\d+) in an append", done.stdout).groups()
    assert int(kills) >= 100 and int(in_append) >= 5
