"""`moenoise.reproduce` and the report it gives."""

import csv
import dataclasses
import json
import re

import numpy as np
import pytest
import threadpoolctl

import moenoise as mn
from moenoise import claims
from moenoise.claims.base import Claim, Estimate, Record, compare
from moenoise.report import FIELDS, Report, prepare_folder, write_atomically


def claim(name, measure):
    """A claim without figures."""
    return Claim(name, "nowhere", "a < b", "a & b", {"quick": {}, "paper": {}}, measure, lambda data: {})


def one_record(run):
    """A claim's measure that finds one true formula."""
    return [compare("theorem-1", "q", "s", Estimate(1.0, 0.1), corrected=1.0)], {}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A report on two claims, and the folder it was written to."""
    out = tmp_path_factory.mktemp("report")
    return mn.reproduce(["figure-3", "theorem-3"], out=out, rng=5, progress=False), out


def test_files(written):
    _, out = written
    assert {path.name for path in out.iterdir()} == {"report.json", "index.html", "theorem-3.csv", "figure-3.csv"}


def test_json_is_strict_and_complete(written):
    report, out = written

    def refuse(constant):
        raise AssertionError(constant)

    document = json.loads((out / "report.json").read_text(), parse_constant=refuse)
    assert (document["version"], document["preset"], document["seed"]) == (mn.__version__, "quick", 5)
    assert list(document) == ["version", "preset", "seed", "records"]
    assert document["records"] == [dataclasses.asdict(record) for record in report.records]
    assert list(document["records"][0]) == list(FIELDS) == [field.name for field in dataclasses.fields(Record)]


def test_csv(written):
    report, out = written
    with open(out / "figure-3.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    records = report.outcomes["figure-3"].records
    assert [row["quantity"] for row in rows] == [record.quantity for record in records]
    assert [float(row["measured"]) for row in rows] == [record.measured for record in records]
    infinite = next(row for row in rows if "n=120," in row["setting"])
    assert (infinite["corrected"], infinite["corrected_verdict"]) == ("", "none")


def test_page_is_self_contained(written):
    _, out = written
    page = (out / "index.html").read_text()
    assert re.findall(r'(?:src|href)="(?!data:image/svg\+xml;base64,|#)', page) == []
    assert page.count("<img ") == 2
    assert 'id="theorem-3"' in page and 'id="figure-3"' in page
    assert "$" not in re.sub(r'src="[^"]*"', "", page)


def test_page_escapes(tmp_path, monkeypatch):
    monkeypatch.setattr(claims, "get", lambda name: claim(name, one_record))
    mn.reproduce("theorem-1", out=tmp_path, progress=False)
    page = (tmp_path / "index.html").read_text()
    assert "a &lt; b" in page and "a &amp; b" in page


def test_claims_come_in_the_papers_order(written):
    report, _ = written
    assert list(report.outcomes) == ["theorem-3", "figure-3"]


def test_table(written):
    report, _ = written
    lines = report.table().splitlines()
    assert len(lines) == len(report.records) + 2
    assert lines[0].split() == ["claim", "quantity", "setting", "measured", "printed", "corrected"]
    assert sum(" fails" in line for line in lines) >= 1
    assert report.table().isascii()


def test_representations(written):
    report, _ = written
    assert "preset quick, seed 5, 2 claims" in repr(report)
    assert report._repr_html_().count("<tr>") == len(report.records) + 1


def test_ok(monkeypatch):
    def measure(run):
        return [compare("theorem-1", "q", "s", Estimate(1.0, 0.1), printed=1.0, corrected=9.0)], {}

    monkeypatch.setattr(claims, "get", lambda name: claim(name, measure))
    assert mn.reproduce("theorem-1", progress=False).ok is False
    assert Report("quick", 0).ok is True


@pytest.mark.parametrize(
    "options, argument",
    [
        ({"claims": "theorem-6"}, "claims.*theorem-5"),
        ({"claims": ["table-2", 3]}, "claims"),
        ({"preset": "slow"}, "preset"),
        ({"jobs": 0}, "jobs"),
        ({"rng": -1}, "rng"),
    ],
)
def test_bad_arguments(options, argument):
    with pytest.raises(ValueError, match=argument):
        mn.reproduce(**{"claims": "table-2", "progress": False, **options})


def test_unwritable_folder_is_found_before_any_work(tmp_path, monkeypatch):
    monkeypatch.setattr(claims, "get", lambda name: pytest.fail("work was begun"))
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError):
        mn.reproduce("table-2", out=tmp_path / "file" / "report", progress=False)


def test_existing_folder_is_fine(tmp_path):
    assert prepare_folder(tmp_path / "a" / "b") == prepare_folder(tmp_path / "a" / "b")
    assert list((tmp_path / "a" / "b").iterdir()) == []


@pytest.mark.parametrize("rng", [np.random.default_rng(1), np.random.SeedSequence(1), None])
def test_report_names_a_seed_that_repeats_it(rng, monkeypatch):
    monkeypatch.setattr(claims, "get", lambda name: claim(name, seed_record))
    first = mn.reproduce("theorem-1", rng=rng, progress=False)
    assert mn.reproduce("theorem-1", rng=first.seed, progress=False).records == first.records


def seed_record(run):
    """A claim's measure that records what its seed gives."""
    value = float(run.rng(0).generate_state(1)[0])
    return [compare("theorem-1", "q", "s", Estimate.exactly(value))], {}


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_what_is_finished_is_kept(error, tmp_path, monkeypatch):
    def fail(run):
        raise error

    monkeypatch.setattr(claims, "get", lambda name: claim(name, one_record if name == "theorem-1" else fail))
    with pytest.raises(error):
        mn.reproduce(["theorem-1", "theorem-2"], out=tmp_path, progress=False)
    document = json.loads((tmp_path / "report.json").read_text())
    assert document["interrupted"] is True
    assert len(document["records"]) == 1
    assert "Interrupted" in (tmp_path / "index.html").read_text()
    assert {path.name for path in tmp_path.iterdir()} == {"report.json", "index.html", "theorem-1.csv"}


def test_a_file_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_atomically(path, "old")
    monkeypatch.setattr("os.replace", lambda *paths: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        write_atomically(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_blas_threads_are_given_back():
    before = threadpoolctl.threadpool_info()
    mn.reproduce("table-2", progress=False)
    after = {pool["filepath"]: pool["num_threads"] for pool in threadpoolctl.threadpool_info()}
    assert {pool["filepath"]: after[pool["filepath"]] for pool in before} == \
        {pool["filepath"]: pool["num_threads"] for pool in before}


def test_progress_goes_to_stderr(capsys):
    mn.reproduce("table-2", progress=False)
    assert capsys.readouterr() == ("", "")
    mn.reproduce("table-2", progress=True)
    out, err = capsys.readouterr()
    assert out == "" and "1/1" in err
