"""The notebooks run from the first cell to the last, in an empty home, say nothing on stderr, and draw."""

import re
from pathlib import Path

import jupytext
import pytest
from nbclient import NotebookClient

NOTEBOOKS = sorted((Path(__file__).parent.parent / "notebooks").glob("*.py"))
EACH_NOTEBOOK = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)

NAMES = [
    "is-my-network-modular",
    "phase-diagram",
    "sample-complexity",
    "theorem-1-routing",
    "theorem-2-generalization",
    "theorem-3-robustness",
    "theorem-4-misrouting",
    "theorem-5-convergence",
    "when-do-experts-win",
    "which-predictor-should-i-use",
]


@pytest.fixture
def empty_home(tmp_path, monkeypatch):
    """A home without anybody's settings, for Jupyter, IPython and Matplotlib."""
    for name in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "MPLCONFIGDIR",
                 "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_RUNTIME_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "1")  # NumPy's: where cores are busy, its threads wait for each other
    return tmp_path


def code(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def test_all_notebooks_are_there():
    assert [path.stem for path in NOTEBOOKS] == NAMES
    assert not list(NOTEBOOKS[0].parent.glob("*.ipynb")), "outputs are not kept: see .py beside it"


@EACH_NOTEBOOK
def test_notebook_is_text_in_the_percent_format(path):
    """A notebook that is saved from Jupyter changes nothing that was not edited."""
    notebook = jupytext.read(path)
    assert notebook.metadata["jupytext"]["text_representation"]["format_name"] == "percent"
    assert notebook.metadata["kernelspec"]["name"] == "python3"
    body = re.compile(r"\n# %%.*", re.DOTALL)
    assert body.search(jupytext.writes(notebook, fmt="py:percent"))[0] == body.search(path.read_text())[0]


@EACH_NOTEBOOK
def test_notebook_asks_first_and_ends_with_exercises(path):
    texts = [cell.source for cell in jupytext.read(path).cells if cell.cell_type == "markdown"]
    assert texts[0].startswith("# ") and "?" in texts[0]
    exercises = [text for text in texts if re.search("^## .*Exercises", text, re.MULTILINE)]
    assert len(exercises) == 1
    assert 2 <= "\n".join(texts[texts.index(exercises[0]):]).count("<details>") <= 3


@EACH_NOTEBOOK
def test_notebook_uses_public_names_only(path):
    """What a reader copies from a notebook is what the package promises to keep."""
    for cell in code(jupytext.read(path)):
        assert "moenoise.claims" not in cell.source and "import claims" not in cell.source
        assert not re.search(r"(?<=\.)_(?!_)\w+|import _\w+", cell.source), cell.source


@EACH_NOTEBOOK
def test_notebook_runs(path, empty_home):
    notebook = jupytext.read(path)
    NotebookClient(notebook, kernel_name="python3", timeout=300, resources={"metadata": {"path": empty_home}}).execute()
    outputs = [output for cell in code(notebook) for output in cell.outputs]
    assert [output.text for output in outputs if output.get("name") == "stderr"] == []
    drawn = ["image/png" in output.get("data", {}) for output in outputs]
    assert sum(drawn) == sum(cell.source.endswith("\nfigure") for cell in code(notebook)) > 0
