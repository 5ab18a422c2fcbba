"""The commands of sweeps, as a shell sees them."""

import csv
import importlib
import io
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import moenoise as mn
from moenoise import cli
from moenoise.sweeps.experiments import EXPERIMENTS

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
    assert "6 times, first in a=2, b=0.5, replicate 0: ValueError: no twos" in out and "--retry-failed" in out
    out, _ = moenoise("status", "store")
    assert "12 of 18 (66.6 %), 6 failed, 0 missing" in out and "failed    6, in 1 ways" in out
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


def test_help_teaches(moenoise):
    out, _ = moenoise("sweep", "--help")
    assert "[grid]" in out and "--shard" in out and max(map(len, out.splitlines())) <= 120


def test_experiments_are_described(moenoise):
    out, _ = moenoise("experiments")
    for name, experiment in EXPERIMENTS.items():
        assert f"\n{name}\n" in f"\n{out}"
        assert all(each in out for each in (*experiment.parameters, *experiment.results))
    part, _ = moenoise("experiments", "overlap")
    assert part in out and "descent" not in part
    _, err = moenoise("experiments", "overlapp", status=2)
    assert "NAME must be among" in err


def test_a_mended_experiment_goes_on(folder, moenoise):
    moenoise("sweep", "spec.toml", status=1, FAIL="yes")
    (folder / "mine_for_commands.py").write_text(EXPERIMENT.replace('and os.environ.get("FAIL")', "and False"))
    sys.modules.pop("mine_for_commands")
    importlib.invalidate_caches()
    _, err = moenoise("sweep", "spec.toml", "--retry-failed", status=2)
    assert "has changed, its source or what it reads" in err and "--accept-changes" in err
    moenoise("sweep", "spec.toml", "--retry-failed", "--accept-changes")
    assert "18 of 18" in moenoise("status", "store")[0]


def test_a_fault_in_the_file_is_named(folder, moenoise):
    (folder / "mine_for_commands.py").write_text("import os\nraise RuntimeError('at import')\n")
    _, err = moenoise("sweep", "spec.toml", status=2)
    assert "mine_for_commands raises RuntimeError: at import" in err and "line 2" in err


def test_a_shard_says_what_is_left(moenoise):
    out, _ = moenoise("sweep", "spec.toml", "--shard", "1/3")
    assert "12 are left to other shards" in out
    assert "left" not in moenoise("sweep", "spec.toml")[0]


def test_sigterm_is_as_ctrl_c(folder):
    child = start("sweep", "spec.toml", "--jobs", "1", SLOW="0.2")
    while child.poll() is None and not any(path.stat().st_size for path in folder.glob("store/segments/*")):
        time.sleep(0.01)
    child.terminate()
    _, err = child.communicate(timeout=30)
    assert child.returncode == 130 and "the same call goes on from there" in err


def until(condition, seconds=30):
    """Wait for the condition; fail where it does not come about."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def children(process):
    """Numbers of the processes that a process has started."""
    return [int(pid) for pid in subprocess.run(["ps", "-o", "pid=", "--ppid", str(process.pid)], capture_output=True,
                                               text=True).stdout.split()]


def is_running(pid):
    """Whether a process is there, and no zombie."""
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True).stdout.strip()
    return bool(state) and not state.startswith("Z")


@pytest.mark.skipif(shutil.which("ps") is None, reason="needs ps, to see processes")
@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_processes_end_with_the_command(folder, end):
    child = start("sweep", "spec.toml", "--processes", "--jobs", "2", SLOW="25")
    until(lambda: len(children(child)) >= 3)  # two workers, and Python's tracker of resources
    time.sleep(0.7)
    workers = children(child)
    child.send_signal(end)
    _, err = child.communicate(timeout=10)
    if end != signal.SIGKILL:
        assert child.returncode == 130 and "interrupted: 0 of 18 are finished" in err and "Traceback" not in err
    until(lambda: not any(map(is_running, workers)), 10)
