"""Sweeps that are written down in a file."""

import sys

import numpy as np
import pytest

import moenoise as mn
from moenoise.sweeps.spec import read_spec

WHOLE = """
experiment = "risk"
replicates = 7
seed = 3
store = "results"
[grid]
n = [10, 20]
noise_variance = {from = 0.125, to = 8, count = 7, spacing = "log"}
rows = {from = 10, to = 30, count = 3}
sizes = [[4, 8], [6, 6]]
d = 24
name = "x"
flag = [true, false]
"""


def write(tmp_path, text, name="spec.toml"):
    path = tmp_path / name
    path.write_text(text)
    return path


def test_everything_is_read(tmp_path):
    spec = read_spec(write(tmp_path, WHOLE))
    assert spec[0] == "risk" and spec[2:] == (7, 3, tmp_path / "results")
    assert spec.grid == mn.Grid(n=[10, 20], noise_variance=2.0 ** np.arange(-3, 4), rows=[10, 20, 30],
                                sizes=[(4, 8), (6, 6)], d=24, name="x", flag=[True, False])


def test_what_is_left_out_has_defaults(tmp_path):
    spec = read_spec(write(tmp_path, 'experiment = "risk"\n[grid]\n', "phase.toml"))
    assert (spec.replicates, spec.seed, spec.store) == (200, 0, tmp_path / "phase") and len(spec.grid) == 1


def test_whole_ends_give_whole_numbers(tmp_path):
    text = 'experiment = "risk"\n[grid]\na = {from = 10, to = 1000, count = 4, spacing = "log"}'
    assert read_spec(write(tmp_path, text)).grid.axes["a"] == (10, 46, 215, 1000)


def test_a_function_in_a_file_beside_it(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    write(tmp_path, "def f(cell, rng):\n    return {'x': 1.0}\n", "my_spec_experiment.py")
    spec = read_spec(write(tmp_path, 'experiment = "my_spec_experiment.py:f"\n[grid]\n'))
    assert spec.experiment({}, None) == {"x": 1.0} and spec.experiment.__module__ == "my_spec_experiment"


def test_a_function_of_an_installed_module(tmp_path):
    spec = read_spec(write(tmp_path, 'experiment = "moenoise.sweeps.spec:read_spec"\n[grid]\n'))
    assert spec.experiment is read_spec


@pytest.mark.parametrize("text, message", [
    ("experiment = ", "must be TOML"),
    ("[grid]\n", "must have experiment"),
    ('experiment = "risk"\n', r"must have \[grid\]"),
    ('experiment = "risk"\ngrid = 3', r"must have \[grid\]"),
    ('experiment = "risk"\nreplicate = 3\n[grid]\n', "keys among .*; got 'replicate'"),
    ('experiment = "risk"\nreplicates = 0\n[grid]\n', "replicates must be at least 1"),
    ('experiment = "risk"\nseed = -1\n[grid]\n', "seed must be at least 0"),
    ('experiment = "risk"\nstore = 3\n[grid]\n', "store must be the name of a folder"),
    ('experiment = "risk"\n[grid]\na = {from = 1, to = 2}', "a must be a list or have from, to, count"),
    ('experiment = "risk"\n[grid]\na = {from = 1, to = 2, count = 1}', "a.count must be at least 2"),
    ('experiment = "risk"\n[grid]\na = {from = 1, to = 2, count = 3, spacing = "cubic"}', "a.spacing must be one of"),
    ('experiment = "risk"\n[grid]\na = {from = 0, to = 2, count = 3, spacing = "log"}', "a must be positive"),
    ('experiment = "risk"\n[grid]\na = {from = 1, to = 3, count = 9}', "a must have 9 different .* write 1.0 for 1"),
    ('experiment = "risk"\n[grid]\nreplicates = 3', "must have replicates above"),
    ('experiment = "nothing.of.this:f"\n[grid]\n', "nothing.of.this raises ModuleNotFoundError"),
    ('experiment = "risk"\n[grid]\na = []', "a must have at least one value"),
    ('experiment = "math:nothing"\n[grid]\n', "has no 'nothing'"),
])
def test_faults_are_named(tmp_path, text, message):
    with pytest.raises(ValueError, match=message):
        read_spec(write(tmp_path, text))


def test_files_that_are_not_there(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_spec(tmp_path / "none.toml")
    with pytest.raises(FileNotFoundError, match="experiment must be in a file, but there is no"):
        read_spec(write(tmp_path, 'experiment = "none.py:f"\n[grid]\n'))


def test_a_file_with_a_name_that_is_taken(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    write(tmp_path, "def f(cell, rng): return {}", "json.py")
    with pytest.raises(ValueError, match="give it another name"):
        read_spec(write(tmp_path, 'experiment = "json.py:f"\n[grid]\n'))
