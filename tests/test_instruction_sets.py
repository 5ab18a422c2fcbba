"""Every instruction set that this CPU has runs the kernels rightly; the one in use can be chosen."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from moenoise import _core

TESTS = Path(__file__).parent
OTHERS = [name for name in _core.instruction_sets() if name != _core.instruction_set()]


def run(name, *arguments):
    return subprocess.run([sys.executable, *arguments], env={**os.environ, "MOENOISE_ISA": name}, cwd=TESTS.parent,
                          capture_output=True, text=True, timeout=600)  # fmt: skip


def test_the_best_one_is_in_use_by_default():
    child = run("", "-c", "from moenoise import _core; print(_core.instruction_set())")
    assert child.stdout.strip() == _core.instruction_sets()[-1]


@pytest.mark.parametrize("name", _core.instruction_sets())
def test_each_can_be_chosen(name):
    child = run(name, "-c", "from moenoise import _core; print(_core.instruction_set())")
    assert child.stdout.strip() == name, child.stderr


def test_an_unknown_one_is_an_error_that_names_the_others():
    child = run("mmx", "-c", "import moenoise")
    assert child.returncode != 0
    assert f"MOENOISE_ISA must be one of {_core.instruction_sets()} on this CPU, got 'mmx'" in child.stderr


@pytest.mark.parametrize("part", ["linear", "router", "mixture_kernels", "draw_kernels"])
def test_the_others_match_the_twins_too(part):
    for name in OTHERS:
        file = TESTS / f"test_{part}.py"
        child = run(name, "-m", "pytest", "-q", "-k", "twin or every_width or many_columns", str(file))
        assert child.returncode == 0, child.stdout + child.stderr
        assert "passed" in child.stdout


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_all_finite_sees_every_entry(value):
    for count in (1, 7, 8, 31, 32, 33, 100, 257):
        array = np.full(count, -np.finfo(float).max)
        assert _core.all_finite(array)
        for i in range(count):
            array[i] = value
            assert not _core.all_finite(array)
            array[i] = 0.0
