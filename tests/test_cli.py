"""The command line, as a process where its exit matters."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import moenoise as mn
from moenoise import claims, cli
from moenoise.claims.base import Claim, Estimate, compare

COMMAND = [sys.executable, "-m", "moenoise"]

# theorem-2 at next to no size, then theorem-5 at the paper's. SIGINT is ignored by default in background shells.
SLOW_RUN = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from moenoise import claims, cli
claims.get("theorem-2").presets["paper"].update(sizes=(16, 20), rows=1000, replicates=8)
sys.exit(cli.main(["reproduce", "theorem-2", "theorem-5", "--preset", "paper", "--out", sys.argv[1]]))
"""


def run(*arguments):
    return subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, timeout=60)


def test_version():
    result = run("--version")
    assert (result.returncode, result.stdout) == (0, f"moenoise {mn.__version__}\n")


@pytest.mark.parametrize("arguments", [["--help"], ["reproduce", "--help"]])
def test_help_teaches_by_example(arguments, capsys):
    with pytest.raises(SystemExit) as exit_:
        cli.main(arguments)
    assert exit_.value.code == 0
    assert "moenoise reproduce --preset paper --out report" in capsys.readouterr().out


def test_list(capsys):
    assert cli.main(["list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 * len(claims.NAMES)
    for name, first, second in zip(claims.NAMES, lines[::2], lines[1::2]):
        claim = claims.get(name)
        assert first.split(maxsplit=1) == [name, claim.place]
        assert second.strip() == claim.statement


def test_reproduce(tmp_path):
    result = run("reproduce", "table-2", "--out", str(tmp_path / "report"), "--seed", "7", "--jobs", "1")
    assert result.returncode == 0
    assert result.stdout.startswith("claim")
    assert "index.html" in result.stdout
    document = json.loads((tmp_path / "report" / "report.json").read_text())
    assert document["seed"] == 7
    assert document["records"] == [dataclasses.asdict(record)
                                   for record in mn.reproduce("table-2", rng=7, progress=False).records]


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["reproduce", "theorem-6"], "theorem-5"),
        (["reproduce", "--preset", "slow"], "paper"),
        (["reproduce", "--seed", "-1"], "--seed"),
        (["reproduce", "--seed", "x"], "--seed"),
        (["reproduce", "--jobs", "0"], "--jobs"),
        (["reproduce", "table-2", "--out", os.devnull + "/report"], "--out"),
        (["repeat"], "reproduce"),
        ([], "COMMAND"),
    ],
)
def test_wrong_usage(arguments, message, capsys):
    with pytest.raises(SystemExit) as exit_:
        cli.main(arguments)
    assert exit_.value.code == 2
    assert message in capsys.readouterr().err


def test_exit_status_where_a_corrected_formula_fails(monkeypatch, capsys):
    def measure(run):
        return [compare("theorem-1", "q", "s", Estimate(1.0, 0.1), corrected=9.0)], {}

    wrong = Claim("theorem-1", "p", "s", "in short", "f", {"quick": {}}, measure, lambda data: {})
    monkeypatch.setattr(claims, "get", lambda name: wrong)
    assert cli.main(["reproduce", "theorem-1"]) == 1
    assert "fails" in capsys.readouterr().out


def test_interrupt_ends_at_once_and_keeps_what_is_finished(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", SLOW_RUN, str(tmp_path)], stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE)
    shown = b""
    while b"theorem-5" not in shown:
        shown += os.read(process.stderr.fileno(), 4096)
        assert process.poll() is None
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    start = time.monotonic()
    out, err = process.communicate(timeout=30)
    assert time.monotonic() - start < 10  # the replicates under way would take longer
    assert process.returncode == 130
    assert err.decode().splitlines()[-1] == f"interrupted: 1 of 2 claims finished, kept in {tmp_path}"
    assert "Traceback" not in err.decode()
    assert "theorem-2" in out.decode() and "theorem-5" not in out.decode()
    document = json.loads((tmp_path / "report.json").read_text())
    assert document["interrupted"] is True
    assert {record["claim"] for record in document["records"]} == {"theorem-2"}
    assert {path.name for path in tmp_path.iterdir()} == {"report.json", "index.html", "theorem-2.csv"}


@pytest.fixture
def planted(tmp_path):
    """Paths of activations with modules and of their response."""
    sample = mn.BlockModel.isotropic(48, 3, variance=4.0, rng=0).sample(900, rng=1)
    np.save(tmp_path / "a.npy", sample.features.astype(np.float32))
    np.save(tmp_path / "y.npy", sample.response)
    return tmp_path / "a.npy", tmp_path / "y.npy"


def test_audit(tmp_path, planted, capsys):
    activations, targets = map(str, planted)
    out = tmp_path / "new" / "audit"
    assert cli.main(["audit", activations, "--targets", targets, "--experts", "3", "--noise", "0,0.5", "--out",
                     str(out)]) == 0
    printed = capsys.readouterr().out
    assert printed.count(" yes: ") == 4 and str(out / "index.html") in printed
    document = json.loads((out / "audit.json").read_text())
    assert document["verdict"]["experts_help"] is True and document["settings"]["seed"] is not None
    assert "a.npy" in (out / "index.html").read_text()
    assert cli.main(["audit", activations, "--experts", "3"]) == 0
    assert "without targets" in capsys.readouterr().out


@pytest.mark.parametrize(("content", "arguments", "message"), [
    (np.zeros((100, 4)), [], "activations must not be all zeros"),
    (np.array([[1.0, np.nan]] * 50), [], "activations must be finite"),
    (np.random.default_rng(0).random((100, 6)), ["--experts", "50"], "at least 400 distinct rows for 50 experts"),
    (np.random.default_rng(0).random((100, 6)), ["--targets", "none.npy"], "--targets: there is no file none.npy"),
    (np.random.default_rng(0).random((100, 6)), ["--noise", "0;1"], "expected numbers with commas"),
    (np.random.default_rng(0).random((100, 6)), ["--experts", "1"], "expected an integer of at least 2"),
])
def test_audit_of_what_cannot_be_used_exits_with_2_and_writes_nothing(content, arguments, message, tmp_path, capsys):
    path, out = tmp_path / "a.npy", tmp_path / "out"
    np.save(path, content)
    with pytest.raises(SystemExit) as exit_:
        cli.main(["audit", str(path), "--out", str(out), *arguments])
    assert exit_.value.code == 2 and message in capsys.readouterr().err
    assert not out.exists()


def test_audit_into_a_file_fails_before_any_work(planted, capsys):
    activations, targets = map(str, planted)
    with pytest.raises(SystemExit):
        cli.main(["audit", activations, "--out", f"{targets}/deeper"])
    assert "not a folder" in capsys.readouterr().err


def test_audit_is_interrupted_at_once(tmp_path, planted):
    program = "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); " \
              "from moenoise import cli; sys.exit(cli.main(sys.argv[1:]))"
    arguments = ["audit", str(planted[0]), "--targets", str(planted[1]), "--out", str(tmp_path / "out")]
    process = subprocess.Popen([sys.executable, "-c", program, *arguments, "--noise", ",".join(map(str, range(40)))],
                               stderr=subprocess.PIPE, stdout=subprocess.PIPE)
    seen = b""
    while b"folds" not in seen:
        seen += os.read(process.stderr.fileno(), 1000)
    process.send_signal(signal.SIGINT)
    start = time.monotonic()
    _, error = process.communicate(timeout=30)
    assert time.monotonic() - start < 5 and process.returncode == 130
    assert error.decode().splitlines()[-1] == "interrupted: nothing was written"
    assert not (tmp_path / "out").exists()
