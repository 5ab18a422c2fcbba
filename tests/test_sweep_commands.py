"""The commands of sweeps, as a shell sees them."""

import csv
import io
import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import moenoise as mn
from moenoise import cli

SPEC = """
experiment = "mine_for_commands.py:experiment"
replicates = 6
store = "store"
[grid]
a = [1, 2, 3]
b = 0.5
"""

EXPERIMENT = """
import os, time

def experiment(cell, rng):
    time.sleep(float(os.environ.get("SLOW", 0)))
    if cell["a"] == 2 and os.environ.get("FAIL"):
        raise ValueError("no twos")
    return {"x": rng.normal(cell["a"])}
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current folder, with a sweep to run in it."""
    (tmp_path / "spec.toml").write_text(SPEC)
    (tmp_path / "mine_for_commands.py").write_text(EXPERIMENT)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield tmp_path
    sys.modules.pop("mine_for_commands", None)


@pytest.fixture
def moenoise(folder, capsys, monkeypatch):
    """``moenoise(*arguments, status=0, **environment)``: (stdout, stderr) of a command that ends with that status."""

    def call(*arguments, status=0, **environment):
        with monkeypatch.context() as patch:
            for name, value in environment.items():
                patch.setenv(name, value)
            try:
                found = cli.main(arguments)
            except SystemExit as error:
                found = error.code
        out, err = capsys.readouterr()
        assert found == status, (out, err)
        return out, err

    return call


def start(*arguments, **environment):
    """A command as a process."""
    return subprocess.Popen([sys.executable, "-m", "moenoise", *arguments], text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=os.environ | environment)


def column(text, name):
    return [line[name] for line in csv.DictReader(io.StringIO(text))]


def test_a_sweep_its_status_and_its_results(folder, moenoise):
    out, _ = moenoise("sweep", "spec.toml")
    assert re.search(r"^a +x$", out, re.M) and re.search(r"^1 +\S+ \+- \S+$", out, re.M)
    assert "<Table of 18 lines: a, b, replicate, x>\nin store; moenoise export store --to csv writes them" in out
    out, _ = moenoise("status", "store")
    assert "finished  18 of 18 (100 %), 0 failed, 0 missing\n" in out and "writers   0 at work" in out
    out, _ = moenoise("export", "store", "--to", "csv")
    table = mn.load_sweep(folder / "store")
    assert list(map(float, column(out, "x"))) == table.records["x"].tolist()
    assert column(out, "replicate") == [str(r) for r in range(6)] * 3
    out, err = moenoise("export", "store", "--to", "csv", "--summary", "--out", "means.csv")
    assert out == "" and "3 lines in means.csv" in err
    means = column((folder / "means.csv").read_text(), "x_mean")
    np.testing.assert_array_equal(list(map(float, means)), table.summary().records["x_mean"])


def test_processes_shards_and_jobs_give_the_same(folder, moenoise):
    moenoise("sweep", "spec.toml")
    for shard in ("2/3", "1/3", "3/3"):
        moenoise("sweep", "spec.toml", "--store", "other", "--shard", shard, "--jobs", "1")
    moenoise("sweep", "spec.toml", "--store", "third", "--processes", "--jobs", "2")
    first, *others = (moenoise("export", store, "--to", "csv")[0] for store in ("store", "other", "third"))
    assert others == [first, first] and len(first) > 300


def test_parquet(folder, moenoise):
    parquet = pytest.importorskip("pyarrow.parquet")
    moenoise("sweep", "spec.toml")
    _, err = moenoise("export", "store", "--to", "parquet")
    assert "18 lines in store.parquet" in err
    read = parquet.read_table(folder / "store.parquet").to_pydict()
    table = mn.load_sweep(folder / "store").records
    assert {name: table[name].tolist() for name in table.dtype.names} == read
    assert sorted(path.name for path in folder.iterdir() if "parquet" in path.name) == ["store.parquet"]


def test_failures_are_told_and_run_again(folder, moenoise):
    out, _ = moenoise("sweep", "spec.toml", status=1, FAIL="yes")
    assert "a=2, b=0.5, replicate 0: ValueError: no twos" in out and "--retry-failed" in out
    out, _ = moenoise("status", "store")
    assert "12 of 18 (66.6 %), 6 failed, 0 missing" in out and "replicate 5: ValueError: no twos" in out
    out, _ = moenoise("status", "store", "--traceback")
    assert 'raise ValueError("no twos")' in out
    moenoise("sweep", "spec.toml", status=1)
    moenoise("sweep", "spec.toml", "--retry-failed")
    assert "18 of 18" in moenoise("status", "store")[0]


def test_ctrl_c_and_on(folder, moenoise):
    child = start("sweep", "spec.toml", "--jobs", "1", SLOW="0.2")
    while child.poll() is None and not (folder / "store" / "segments").is_dir():
        time.sleep(0.01)
    time.sleep(0.7)
    out, _ = moenoise("status", "store")
    child.send_signal(signal.SIGINT)
    _, err = child.communicate(timeout=30)
    assert child.returncode == 130
    done = int(re.search(r"interrupted: (\d+) of 18 are finished and in store; the same call goes on", err)[1])
    assert 0 < done < 18 and "Traceback" not in err
    out, _ = moenoise("status", "store")
    assert f"finished  {done} of 18" in out and f"{18 - done} missing, about" in out
    moenoise("sweep", "spec.toml")
    assert "18 of 18" in moenoise("status", "store")[0]


def test_status_shows_who_is_at_work(folder, moenoise):
    child = start("sweep", "spec.toml", "--jobs", "1", SLOW="0.3")
    deadline = time.monotonic() + 30
    while not any(path.stat().st_size for path in folder.glob("store/segments/*")):
        assert time.monotonic() < deadline and child.poll() is None
        time.sleep(0.01)
    out, _ = moenoise("status", "store")
    assert "1 at work" in out
    child.kill()
    child.communicate()
    assert f"process {child.pid}" in out
    assert "0 at work" in moenoise("status", "store")[0]


def test_status_shows_damage(folder, moenoise):
    moenoise("sweep", "spec.toml")
    segment, = (folder / "store" / "segments").iterdir()
    segment.write_bytes(segment.read_bytes()[:-5])
    out, _ = moenoise("status", "store")
    assert "17 of 18" in out and re.search(r"damage    segments/.*bytes \d+ to \d+", out)


@pytest.mark.parametrize("arguments, message", [
    (["sweep", "none.toml"], "No such file"),
    (["sweep", "spec.toml", "--shard", "0/3"], "expected I/N with I in 1..N"),
    (["sweep", "spec.toml", "--shard", "4/3"], "expected I/N"),
    (["sweep", "spec.toml", "--jobs", "0"], "at least 1"),
    (["sweep", "spec.toml", "--store", "spec.toml"], "is a file"),
    (["sweep", "spec.toml", "--store", "."], "not empty and no sweep's store"),
    (["status", "none"], "store must be a folder that exists"),
    (["status", "."], "no sweep's store"),
    (["export", "none", "--to", "csv"], "store must be a folder that exists"),
    (["export", "none"], "--to"),
    (["export", "none", "--to", "xls"], "invalid choice"),
])
def test_faults_are_one_line_and_status_2(moenoise, arguments, message):
    out, err = moenoise(*arguments, status=2)
    assert message in err and out == ""


def test_help_teaches():
    from moenoise.sweeps.experiments import EXPERIMENTS

    out = subprocess.run([sys.executable, "-m", "moenoise", "sweep", "--help"], capture_output=True, text=True).stdout
    assert all(name in out for name in EXPERIMENTS) and "[grid]" in out and "--shard" in out
    assert max(map(len, out.splitlines())) <= 120
