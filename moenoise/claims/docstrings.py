"""Part of the claims on real activations: docstrings of Python's standard library, labelled by package.

They are read from the sources by `ast`; nothing is imported. Every CPython from 3.11 on has them, but each version has
its own: numbers of a run compare with those of the same version only.
"""

import ast
import os
import sysconfig
import warnings
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

# Not the library itself: what is installed into it, tests of it, programs that come with it, generated files.
OTHERS = {"site-packages", "dist-packages", "test", "tests", "idlelib", "turtledemo", "lib2to3", "pydoc_data",
          "ensurepip", "lib-dynload", "__pycache__", "__phello__"}

# Where a statement has statements in it.
BODIES = ("body", "handlers", "orelse", "finalbody", "cases")

DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


class Docstrings(NamedTuple):
    """First paragraphs of docstrings, each once, those of one file side by side."""

    sentences: tuple
    """(n,) str, one line each."""
    labels: np.ndarray
    """(n,) int: which of `names`."""
    names: tuple
    """(classes,) str: top-level packages and modules, in alphabetical order."""
    documents: np.ndarray
    """(n,) int: which of `files`."""
    files: tuple
    """str, relative to the library's folder."""


def missing():
    """None where the sources are there; otherwise a sentence: what is missing."""
    if not sources():
        return f"the standard library's sources are not in {sysconfig.get_path('stdlib')}: this Python lacks them"
    return None


def load(at_least=100, at_most=None, packages=None):
    """The `Docstrings` of all packages that have at least that many, of each `at_most`, evenly spread over its files.

    `packages`: names of top-level packages and modules, if not all are wanted; less has to be read then. Paragraphs of
    fewer than three words are dropped, and those that were there before, in the same package or an earlier one.

    FileNotFoundError where the sources are `missing`.
    """
    problem = missing()
    if problem:
        raise FileNotFoundError(problem)
    found = read(None if packages is None else frozenset(packages))
    found = {name: evenly(pairs, at_most) for name, pairs in found.items() if len(pairs) >= at_least}
    places, sentences = zip(*(pair for pairs in found.values() for pair in pairs)) if found else ((), ())
    files = sorted(set(places))
    number = {file: i for i, file in enumerate(files)}
    return Docstrings(sentences, np.repeat(np.arange(len(found)), [len(pairs) for pairs in found.values()]),
                      tuple(found), np.array([number[file] for file in places], dtype=np.intp), tuple(files))


def evenly(items, at_most):
    """`at_most` of the items, in their order, with gaps as equal as can be; all where there are no more, or None."""
    if at_most is None or len(items) <= at_most:
        return items
    return [items[i * len(items) // at_most] for i in range(at_most)]


@cache
def read(packages):
    """package -> pairs (file, sentence), in the files' order; of equal sentences the first."""
    found, seen = {}, set()
    for package, file, path in sources():
        if packages is None or package in packages:
            for sentence in paragraphs(path):
                if sentence not in seen:
                    seen.add(sentence)
                    found.setdefault(package, []).append((file, sentence))
    return found


@cache
def sources():
    """Triples (package, file, path), in alphabetical order."""
    root = Path(sysconfig.get_path("stdlib"))
    found = []
    for folder, subfolders, files in os.walk(root):
        subfolders[:] = [name for name in subfolders if name not in OTHERS]  # not even walked
        parts = Path(folder).relative_to(root).parts
        for name in files:
            if name.endswith(".py"):
                package = parts[0] if parts else name.removesuffix(".py")
                found.append((package, "/".join((*parts, name)), Path(folder, name)))
    return sorted(found)


def paragraphs(path):
    """The first paragraph of each docstring of a file, on one line; of three words at least."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of escapes in other people's strings
        try:
            tree = ast.parse(path.read_bytes())
        except (SyntaxError, ValueError, OSError):  # some files are bad on purpose
            return
    for node in statements(tree):
        docstring = ast.get_docstring(node) if isinstance(node, DOCUMENTED) else None
        words = docstring.strip().split("\n\n")[0].split() if docstring else []
        if len(words) >= 3:
            yield " ".join(words)


def statements(node):
    """The node and all statements in it, in the file's order; `ast.walk` would visit each expression as well."""
    yield node
    for field in BODIES:
        for child in getattr(node, field, ()):
            yield from statements(child)
