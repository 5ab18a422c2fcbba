"""`moenoise.reproduce` and the report it gives."""

import csv
import dataclasses
import html
import html.parser
import json
import re

import numpy as np
import pytest
import threadpoolctl

import moenoise as mn
from moenoise import claims
from moenoise.claims.base import Claim, Estimate, Record, compare
from moenoise.page import failures_first, standing
from moenoise.report import FIELDS, Report, prepare_folder, write_atomically


def claim(name, measure):
    """A claim without figures."""
    return Claim(name, "nowhere", "a < b", "b > a", "a & b", {"quick": {}, "paper": {}}, measure, lambda data: {})


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
    assert list(document) == ["version", "preset", "seed", "records", "timings"]
    assert document["timings"] == []
    assert document["records"] == [dataclasses.asdict(record) for record in report.records]
    assert list(document["records"][0]) == list(FIELDS) == [field.name for field in dataclasses.fields(Record)]


def test_csv(written):
    report, out = written
    with open(out / "figure-3.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    records = report.outcomes["figure-3"].records
    assert [row["quantity"] for row in rows] == [record.quantity for record in records]
    assert [row["measured"] for row in rows] == ["" if r.measured is None else str(r.measured) for r in records]
    infinite = next(row for row in rows if "n=120," in row["setting"])
    assert (infinite["corrected"], infinite["corrected_verdict"]) == ("", "none")


def test_page_is_self_contained(written):
    report, out = written
    page = (out / "index.html").read_text()
    assert re.findall(r'(?:src|href)="(?!data:image/svg\+xml;base64,|#)', page) == []
    assert page.count("<img ") == sum(len(outcome.figures) for outcome in report.outcomes.values()) >= 2
    assert 'id="theorem-3"' in page and 'id="figure-3"' in page
    assert "$" not in re.sub(r'src="[^"]*"', "", page)


class Headings(html.parser.HTMLParser):
    """What stands in which order on a page: ids, badges' classes, whether details are open; tags have to match."""

    def __init__(self, text):
        super().__init__()
        self.ids, self.badges, self.details, self.open_tags = [], [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        if tag not in ("meta", "img", "br"):
            self.open_tags.append(tag)
        if "id" in attributes:
            self.ids.append(attributes["id"])
        if (attributes.get("class") or "").startswith("badge "):
            self.badges.append(attributes["class"].split()[1])
        if tag == "details":
            self.details.append("open" in attributes)

    def handle_endtag(self, tag):
        assert self.open_tags.pop() == tag


def test_page_opens_with_what_stands(written):
    _, out = written
    page = (out / "index.html").read_text()
    parsed = Headings(page)
    assert parsed.open_tags == []
    assert parsed.ids == ["top", "theorem-3", "figure-3"]
    assert parsed.badges[:4] == ["partly", "holds", "partly", "holds"]  # of theorem-3 and figure-3, before any section
    assert page.index('class="badge') < page.index("<section") < page.index("<img")
    assert parsed.details == [False, False]
    overview = "Of the paper's own 2 statements, as printed: 2 standing in part. Corrected: all that could be judged hold."
    assert overview in html.unescape(page)
    assert "d = 120, k = 4" in page  # figure-3's small size


@pytest.mark.parametrize(
    "verdicts, printed, corrected",
    [
        (["holds", "holds", "none"], ("✓ stands", "holds", "2 of 2"), ("✓ holds", "holds", "2 of 2")),
        (["holds", "fails", "none"], ("◐ in part", "partly", "1 of 2"), ("✗ fails", "fails", "1 of 2")),
        (["fails", "none"], ("✗ falls", "fails", "0 of 1"), ("✗ fails", "fails", "0 of 1")),
        (["none"], ("nothing stated", "none", ""), ("nothing stated", "none", "")),
        (["holds", "undecided"], ("◐ undecided", "undecided", "1 of 2"), ("◐ undecided", "undecided", "1 of 2")),
        (["undecided", "fails"], ("◐ in part", "partly", "0 of 2"), ("✗ fails", "fails", "0 of 2")),
    ],
)
def test_standing(verdicts, printed, corrected):
    records = [Record("c", "q", "s", 1.0, 0.1, 1.0, 1.0, verdict, verdict) for verdict in verdicts]
    assert (standing(records, "printed"), standing(records, "corrected")) == (printed, corrected)


def test_failures_come_first():
    verdicts = [("holds", "holds"), ("fails", "holds"), ("holds", "fails"), ("none", "holds"), ("fails", "fails")]
    records = [Record("c", f"q{i}", "s", 1.0, 0.1, 1.0, 1.0, *pair) for i, pair in enumerate(verdicts)]
    assert [record.quantity for record in failures_first(records)] == ["q4", "q2", "q1", "q0", "q3"]


def test_page_shows_what_fails_as_corrected(tmp_path, monkeypatch):
    def measure(run):
        return [compare("theorem-1", "q", "s", Estimate(1.0, 0.1), corrected=9.0)], {}

    monkeypatch.setattr(claims, "get", lambda name: claim(name, measure))
    mn.reproduce("theorem-1", out=tmp_path, progress=False)
    page = (tmp_path / "index.html").read_text()
    assert Headings(page).details == [True]
    assert "Corrected: fails: theorem-1." in page


def test_timings_stand_beside_the_records(tmp_path, monkeypatch):
    timing = {"quantity": "time to residual < 1e-3", "setting": "n=3", "seconds": 0.125}

    def measure(run):
        return one_record(run)[0], {"timings": [timing]}

    monkeypatch.setattr(claims, "get", lambda name: claim(name, measure))
    report = mn.reproduce("theorem-1", out=tmp_path, progress=False)
    assert report.outcomes["theorem-1"].timings == [timing]
    document = json.loads((tmp_path / "report.json").read_text())
    assert document["timings"] == [{"claim": "theorem-1", **timing}]
    assert "time to residual &lt; 1e-3" in (tmp_path / "index.html").read_text()
    for text in (json.dumps(document["records"]), (tmp_path / "theorem-1.csv").read_text(), report.table(),
                 report.summary()):
        assert "time to residual" not in text


def test_page_says_what_was_not_measured(tmp_path, monkeypatch):
    def measure(run):
        return [compare("theorem-1", "q", "s", Estimate.exactly(0))], {"not_measured": "no <engine> is installed"}

    monkeypatch.setattr(claims, "get", lambda name: claim(name, measure))
    mn.reproduce("theorem-1", out=tmp_path, progress=False)
    page = (tmp_path / "index.html").read_text()
    assert "Not measured: no &lt;engine&gt; is installed." in page and "not measured" in page
    assert "1 not to be judged. Corrected: nothing could be judged." in page
    assert "b &gt; a" not in page  # the summary of a run that did measure


def test_overview_counts_the_papers_own_statements(tmp_path, monkeypatch):
    def beyond(name):
        return dataclasses.replace(claim(name, one_record), beyond=name != "theorem-1")

    monkeypatch.setattr(claims, "get", beyond)
    mn.reproduce(["theorem-1", "theorem-2"], out=tmp_path, progress=False)
    assert "Of the paper's own 1 statements, as printed" in html.unescape((tmp_path / "index.html").read_text())


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
    shown = report._repr_html_()
    assert Headings(shown).open_tags == []
    assert shown.count("<tr>") == len(report.records) + len(report.outcomes) + 2  # and the headings of both tables
    assert shown.index("◐ in part") < shown.index("<details>")


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


def test_records_depend_on_seed_and_claim_only():
    """Not on the claims that run before, on how many workers there are, or on the order in which claims are named."""
    names = ["theorem-2", "theorem-4", "figure-3", "case-study-a63", "table-2"]
    together = mn.reproduce(names, rng=7, progress=False, jobs=2)
    backwards = mn.reproduce(names[::-1], rng=7, progress=False, jobs=1)
    assert list(backwards.outcomes) == list(together.outcomes) == names
    assert backwards.records == together.records
    for name in names:
        alone = mn.reproduce(name, rng=7, progress=False, jobs=1)
        assert alone.records == together.outcomes[name].records
        other = mn.reproduce(name, rng=8, progress=False).records
        assert [record.measured for record in other] != [record.measured for record in alone.records]


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
