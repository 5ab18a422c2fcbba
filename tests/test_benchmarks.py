"""The benchmarks: sides in turn, medians, disagreement, and a README that says what results.json says."""

import itertools
import json
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from moenoise import _core

ROOT = Path(__file__).parent.parent
sys.path.append(str(ROOT))  # last, so that moenoise stays the installed one

from benchmarks import __main__ as command_line  # noqa: E402
from benchmarks import figure, growth, least_squares, profile, row, suite, table, threads, timing  # noqa: E402

RESULTS = json.loads(command_line.RESULTS.read_text())
ONCE = row.Effort(seconds=0.0, least=1, most=1)


def test_sides_run_in_turn():
    order = []
    sides = [lambda: order.append("a"), lambda: order.append("b")]
    seconds = timing.interleave(sides, [4, 4])
    assert "".join(order) == "abababab"
    assert [len(own) for own in seconds] == [4, 4]


def test_a_side_of_fewer_repeats_is_spread_over_the_rounds():
    order = []
    sides = [lambda: order.append("a"), lambda: order.append("b")]
    timing.interleave(sides, [6, 2])
    assert "".join(order) == "aaabaaab"


def test_each_side_gets_its_own_seconds():
    ticks = itertools.accumulate([0, 1, 0, 5] * 3)  # between two readings: a's second, nothing, b's five, nothing
    seconds = timing.interleave([lambda: None, lambda: None], [3, 3], clock=lambda: next(ticks))
    np.testing.assert_array_equal(seconds, [[1, 1, 1], [5, 5, 5]])


def test_a_turn_of_several_calls_counts_as_their_mean():
    order = []
    sides = [lambda: order.append("a"), lambda: order.append("b")]
    ticks = itertools.accumulate([0, 6, 0, 5] * 2)
    seconds = timing.interleave(sides, [2, 2], [3, 1], clock=lambda: next(ticks))
    assert "".join(order) == "aaabaaab"
    np.testing.assert_array_equal(seconds, [[2, 2], [5, 5]])


def test_summary_is_median_and_quartiles():
    assert timing.summary([5.0, 1.0, 2.0, 3.0, 4.0]) == {"median": 3.0, "quartiles": [2.0, 4.0], "repeats": 5}


def test_ratio_is_of_medians_inside_its_interval():
    ours = np.array([1.0, 1.1, 0.9, 1.0, 9.0])
    compared = timing.ratio(4 * ours, ours)
    low, high = compared["interval"]
    assert compared["ratio"] == 4.0
    assert low < 4 < high
    assert timing.ratio(np.array([6.0]), np.array([2.0])) == {"ratio": 3.0, "interval": [3.0, 3.0]}


def test_effort_is_within_its_limits():
    effort = row.Effort(seconds=2.0, least=3, most=50)
    assert [effort.repeats(first) for first in (1e-6, 0.1, 10.0)] == [50, 20, 3]
    assert effort.repeats(10.0, least=1) == 1
    assert [effort.calls(first) for first in (1e-3, 4e-3, 10.0)] == [5, 2, 1]


def sleep(seconds, result):
    def run():
        time.sleep(seconds)
        return result

    return run


def slept(theirs=1.0, **rival):
    """A row in which we are done at once, and the rival takes 2 ms."""
    rivals = [row.Rival("rival", sleep(2e-3, np.full(2, theirs)), **rival)]
    floor = row.Floor("half of it", runs=(sleep(1e-3, None), sleep(2e-3, None)), times=0.5, goal=1e-9)
    return row.Row("sleep", "some", "ours", lambda: np.ones(2), rivals, floor)


def test_goals_are_judged_by_the_ratio():
    effort = row.Effort(0.1, 3, 5)
    (met,) = row.measure(slept(goal=1.0), effort)["rivals"]
    (missed,) = row.measure(slept(goal=1e9), effort)["rivals"]
    assert met["ratio"] > 1 and met["met"]
    assert not missed["met"]
    assert row.measure(slept(goal=1.0), effort, judged=False)["rivals"][0]["goal"] is None


def test_parts_and_floors_are_multiplied():
    result = row.measure(slept(times=1000), row.Effort(0.1, 3, 5))
    assert result["rivals"][0]["seconds"]["median"] >= 2.0
    assert 0.5e-3 <= result["floor"]["seconds"] < 2.0
    assert result["floor"]["met"]


def test_sides_that_disagree_raise():
    with pytest.raises(row.Disagreement, match="ours and rival differ by 1"):
        row.measure(slept(theirs=0.5), ONCE)
    with pytest.raises(row.Disagreement):
        row.measure(slept(theirs=np.nan), ONCE)
    row.measure(slept(theirs=0.5, check=lambda: np.ones(2)), ONCE)
    row.measure(slept(theirs=0.5, tolerance=1.5), ONCE)


def test_disagreement_ends_the_command_with_one_line(monkeypatch, capsys):
    monkeypatch.setitem(suite.COMPARISONS, "qda", lambda quick: [slept(theirs=0.5)])
    monkeypatch.setattr("benchmarks.machine.describe", dict)
    assert command_line.run(["qda"], quick=True, out=None) == 1
    assert "sleep, some: ours and rival differ" in capsys.readouterr().err


def test_differences():
    assert row.relative_difference([np.ones(3), np.ones(1)], [np.ones(3), np.zeros(1)]) == pytest.approx(3**-0.5)
    assert row.relative_difference(np.ones(3), np.ones(4)) == np.inf
    assert row.share_different(np.array([0, 1, 1, 1]), np.array([0, 1, 2, 1])) == 0.25
    one_bit_off = np.array([1, np.nextafter(1, 2)])
    assert threads.unequal_results([(np.ones(2), 3)] * 2, [(np.ones(2), 3), (one_bit_off, 3)]) == 1


@pytest.mark.parametrize("name", [name for name in suite.COMPARISONS if name != "normals"])
def test_both_sides_compute_the_same(name):
    rows = [row.measure(each, ONCE) for each in suite.COMPARISONS[name](quick=True)]
    assert rows
    assert all(each["rivals"] for each in rows)


def test_normals_of_another_distribution_disagree():
    (normals,) = suite.COMPARISONS["normals"](quick=True)
    draws = normals.ours()
    assert all(normals.difference(draws, rival.run()) < normals.tolerance for rival in normals.rivals)
    assert normals.difference(draws, normals.rivals[0].run() * 1.1) > normals.tolerance


def test_nested_cholesky_is_the_minimum_norm_fit_of_each_size():
    rng = np.random.default_rng(0)
    X, y, sizes = rng.standard_normal((20, 8)), rng.standard_normal(20), [2, 5, 12, 20]
    each = least_squares.each_size(least_squares.lstsq)(X, y, sizes)
    np.testing.assert_allclose(least_squares.nested_cholesky(X, y, sizes), each, atol=1e-10)


def test_every_kernel_is_called_from_threads():
    functions = {name for name in dir(_core) if callable(getattr(_core, name)) and not name.startswith("_")}
    assert set(threads.calls(quick=True)) == functions - threads.INFORMATION - {"Loader"}


def test_exponent_of_a_power_law():
    values = np.array([1.0, 2.0, 4.0, 8.0])
    fitted = growth.exponent(values, 3 * values**2)
    assert fitted["exponent"] == pytest.approx(2)
    assert fitted["standard_error"] < 1e-6


def test_results_are_complete():
    assert not RESULTS["quick"]
    assert list(RESULTS["rows"]) == list(suite.NAMES)
    assert len(RESULTS["rows"]["normals"]) == len(RESULTS["machine"]["instruction sets"])


def test_readme_says_what_the_results_say():
    readme = command_line.README.read_text()
    assert table.replace_section(readme, table.section(RESULTS)) == readme
    assert command_line.FIGURE.exists()


def test_readme_without_its_marks_is_refused():
    with pytest.raises(ValueError, match="benchmarks: begin"):
        table.replace_section("no marks", "text")


def test_figure_has_a_point_for_every_rival():
    rivals = sum(len(entry["rivals"]) for name, entries in RESULTS["rows"].items()
                 if table.is_compared(entries) and name != "threads" for entry in entries)
    labels = [label.get_text() for label in figure.draw(RESULTS).axes[0].get_yticklabels()]
    headings = sum(len(entries) for name, entries in RESULTS["rows"].items()
                   if table.is_compared(entries) and name != "threads")
    assert len(labels) == rivals + headings


def test_durations_have_a_unit():
    assert [table.duration(value) for value in (2.5, 0.0123, 4.56e-4, 1e-9)] == ["2.5 s", "12.3 ms", "456 µs", "1 ns"]


def test_list_names_every_row(capsys, monkeypatch):
    monkeypatch.setattr(command_line.environment, "prepare", lambda: None)
    assert command_line.main(["--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(suite.NAMES)
    assert all(len(line.split()) > 2 for line in lines)


def test_an_unknown_row_is_wrong_usage(capsys, monkeypatch):
    monkeypatch.setattr(command_line.environment, "prepare", lambda: None)
    with pytest.raises(SystemExit, match="2"):
        command_line.main(["nonsense"])
    assert "no row is called 'nonsense'" in capsys.readouterr().err


def test_partial_and_quick_runs_leave_the_results_alone(tmp_path, monkeypatch, capsys):
    measured = {"quick": True, "machine": RESULTS["machine"], "rows": RESULTS["rows"]}
    monkeypatch.setattr(command_line, "measured", lambda names, quick: measured)
    monkeypatch.setattr(figure, "draw", lambda results: Figure())
    for constant, name in (("RESULTS", "results.json"), ("FIGURE", "benchmarks.png"), ("README", "README.md")):
        monkeypatch.setattr(command_line, constant, tmp_path / name)
    (tmp_path / "README.md").write_text(f"{table.BEGIN}\n{table.END}\n")
    command_line.run(suite.NAMES, quick=True, out=None)
    assert [path.name for path in tmp_path.iterdir()] == ["README.md"]
    command_line.run(suite.NAMES, quick=False, out=tmp_path / "out")
    assert (tmp_path / "README.md").read_text() == f"{table.BEGIN}\n{table.END}\n"
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"results.json", "benchmarks.png", "table.md"}
    measured["rows"] = {"qda": RESULTS["rows"]["qda"]}
    command_line.run(["qda"], quick=False, out=None)
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["README.md", "out"]
    measured["rows"] = RESULTS["rows"]
    command_line.run(suite.NAMES, quick=False, out=None)
    assert table.section(measured) in (tmp_path / "README.md").read_text()
    assert {path.name for path in tmp_path.iterdir()} == {"README.md", "out", "results.json", "benchmarks.png"}
    assert "goals met" in capsys.readouterr().out


def test_samples_are_counted_by_their_owner():
    report = """
# Samples: 20 of event 'cpu-clock'
# Overhead,Samples,Shared Object
 40.00,8,libpython3.11.so.1.0
 25.00,5,_core.abi3.so
 20.00,4,libscipy_openblas-moenoise.so
 10.00,2,libscipy_openblas64_-32a4b2a6.so
  5.00,1,[kernel.kallsyms]
"""
    seen = profile.by_owner(report)
    assert seen == {"interpreter": 8, "core": 9, "others": 3}
    seconds, shares = profile.shares(seen, {"interpreter": 3, "core": 0, "others": 4})
    assert seconds == 14 / profile.FREQUENCY
    assert shares == {"interpreter": 5 / 14, "core": 9 / 14, "others": 0.0}


def test_samples_are_counted_by_function():
    report = "# Overhead,Samples,Shared Object,Symbol\n60%,3,_core.abi3.so,[.] add_gram,-\n40%,2,libc.so.6,[.] copy,-\n"
    assert profile.by_function(report) == {("_core.abi3.so", "add_gram"): 3, ("libc.so.6", "copy"): 2}


def test_shares_of_an_unknown_claim_are_wrong_usage(capsys, monkeypatch):
    monkeypatch.setattr(profile.environment, "prepare", lambda: None)
    with pytest.raises(SystemExit, match="2"):
        profile.main(["nonsense"])
    assert "no claim is called 'nonsense'" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        profile.main(["--row", "nonsense"])
    assert "no row is called 'nonsense'" in capsys.readouterr().err
