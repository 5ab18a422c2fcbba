"""What the documentation says is run: every docstring's example, the README's code, its list of claims."""

import doctest
import importlib
import pkgutil
import re
from pathlib import Path

import pytest

import moenoise
from moenoise import claims

README = (Path(__file__).parent.parent / "README.md").read_text()
NAMESPACES = ("activations", "probes", "text", "theory")
MODULES = sorted({m.name for m in pkgutil.walk_packages(moenoise.__path__, "moenoise.")} - {"moenoise.__main__"})


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings(name):
    result = doctest.testmod(importlib.import_module(name), optionflags=doctest.NORMALIZE_WHITESPACE)
    assert result.failed == 0


def public_objects():
    for name in moenoise.__all__:
        value = getattr(moenoise, name)
        if callable(value):
            yield f"mn.{name}", value
            if isinstance(value, type):
                methods = [(m, f) for m, f in vars(value).items() if callable(f) and not m.startswith("_")]
                yield from ((f"mn.{name}.{m}", f) for m, f in methods)
    for module in NAMESPACES:
        for name in getattr(moenoise, module).__all__:
            value = getattr(getattr(moenoise, module), name)
            if callable(value) and not isinstance(value, type):  # the types are results
                yield f"mn.{module}.{name}", value


@pytest.mark.parametrize(("name", "value"), list(public_objects()), ids=lambda v: v if isinstance(v, str) else "")
def test_every_public_name_is_documented(name, value):
    assert value.__doc__, name
    if name.count(".") == 1 + (name.split(".")[1] in NAMESPACES):
        assert ">>>" in value.__doc__, f"{name} has no example"
        assert "Parameters" in value.__doc__, f"{name} does not describe its parameters"


def test_readmes_python_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"^```python\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)
    assert blocks
    namespace = {}
    for block in blocks:
        exec(compile(block, "README.md", "exec"), namespace)


def test_readme_lists_every_claim():
    rows = re.findall(r"^\| `([a-z0-9-]+)` \|.*\| ([^|]*) \|$", README, flags=re.MULTILINE)
    assert rows == [(name, claims.get(name).summary) for name in claims.NAMES]


def test_readme_names_its_own_commands():
    makefile = (Path(__file__).parent.parent / "Makefile").read_text()
    for target in re.findall(r"^    make (\w+)", README, flags=re.MULTILINE):
        assert f"\n{target}:" in makefile
