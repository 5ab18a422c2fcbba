"""What an experiment is recognised by."""

import dataclasses
import functools
import sys

import numpy as np
import pytest

from moenoise.sweeps.experiments import EXPERIMENTS
from moenoise.sweeps.identity import identify


def version(function):
    return identify(function, {}).version


def one(cell, rng):
    return {"x": 1.0}


def make(number, default=None):
    def inner(cell, rng, default=default):
        return {"x": number}

    return inner


def defined_by(text, tmp_path, name):
    """The function f of a file with this text."""
    path = tmp_path / f"{name}.py"
    path.write_text(text)
    namespace = {}
    exec(compile(text, str(path), "exec"), namespace)
    return namespace["f"]


def test_a_built_in_has_its_name_and_version():
    for name, experiment in EXPERIMENTS.items():
        axes = {name: (4,) for name, parameter in experiment.parameters.items() if parameter.required}
        assert identify(name, axes)[:3] == (experiment.function, name, f"moenoise's {experiment.version}")


def test_a_wrong_name_is_corrected():
    with pytest.raises(ValueError, match="did you mean overlap"):
        identify("overlapp", {})


def test_what_is_no_experiment_is_refused():
    with pytest.raises(TypeError, match="experiment must be a function or the name of one, got 3"):
        identify(3, {})


def test_a_function_is_known_by_its_source_not_its_place(tmp_path):
    text = "def f(cell, rng):\n    return {'x': 1}\n"
    first, second = defined_by(text, tmp_path, "one"), defined_by(text, tmp_path, "two")
    changed = defined_by(text.replace("1", "2"), tmp_path, "three")
    assert identify(first, {})[1:] == identify(second, {})[1:] != identify(changed, {})[1:]
    assert identify(first, {}).version.startswith("source ")


def test_what_is_bound_counts():
    versions = [version(function) for function in (make(1), make(2), make(1, default=3), make(1))]
    assert versions[0] == versions[3] and len(set(versions)) == 3


def test_partials_are_known_by_their_function_and_arguments():
    def general(a, cell, rng, b=0):
        return {"x": a}

    partials = [functools.partial(general, 1), functools.partial(general, 2), functools.partial(general, 1, b=1)]
    assert len(set(map(version, partials))) == 3
    assert identify(partials[0], {}).name.endswith("general")
    assert version(functools.partial(general, 1)) == version(partials[0])


def test_a_version_of_its_own_comes_first():
    function = make(1)
    function.version = 2
    assert version(function) == "2"


def test_what_has_no_source_has_no_version():
    class Callable:
        def __call__(self, cell, rng):
            return {}

    for unseen in (Callable(), Callable().__call__, eval("lambda cell, rng: {}"), divmod):
        assert identify(unseen, {})[2:] == ("", "is no function with a name")
    assert identify(make(iter(())), {}).reason == "depends on number, a tuple_iterator, whose changes cannot be seen"


OFFSET = 1


def helped(cell, rng):
    return {"x": helper() + OFFSET + np.pi}


def helper():
    return 1


def test_constants_and_functions_of_its_module_count(monkeypatch):
    before = version(helped)
    assert before == version(helped)
    monkeypatch.setattr(sys.modules[__name__], "OFFSET", 2)
    after = version(helped)
    monkeypatch.setattr(sys.modules[__name__], "helper", lambda: 2)
    assert len({before, after, version(helped)}) == 3


@dataclasses.dataclass
class Settings:
    a: int
    b: frozenset = frozenset({"x", "y"})


def test_data_of_all_kinds_count():
    values = [{"a": 1}, {"a": 2}, {1, 2}, {1, 3}, Settings(1), Settings(2), Settings(1, frozenset()), None, 1.0, 1, "1"]
    assert len({version(make(value)) for value in values}) == len(values)
    assert version(make(Settings(1))) == version(make(Settings(1)))


def test_arrays_count_whole(monkeypatch):
    first, second = np.zeros(10_000), np.zeros(10_000)
    second[5000] = 1
    assert version(make(first)) != version(make(second)) and version(make(first)) == version(make(first.copy()))


@pytest.mark.parametrize("function", [lambda cell: {}, lambda cell, rng, more: {}, lambda *, cell, rng: {}])
def test_a_function_of_other_arguments_is_refused(function):
    with pytest.raises(TypeError, match=r"experiment must take a cell and a generator, f\(cell, rng\)"):
        identify(function, {})


def test_the_form_for_files_is_not_for_calls():
    with pytest.raises(ValueError, match="import the function"):
        identify("file.py:function", {})
