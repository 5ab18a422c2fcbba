"""Tables: what is in them, their means, and what they draw."""

import math

import matplotlib
import numpy as np
import pytest

import moenoise as mn
from moenoise import plots
from moenoise.sweeps import boundary
from moenoise.sweeps.grid import cell_text
from moenoise.sweeps.records import Record
from moenoise.sweeps.table import of_grid


def table_of(grid, results, replicates=1):
    """A table of ``results(cell, replicate)``; where that is a string, it failed so."""
    records = {}
    for cell in grid:
        for replicate in range(replicates):
            found = results(cell, replicate)
            failed = isinstance(found, str)
            records[cell_text(cell), replicate] = Record(
                cell_text(cell), replicate, None if failed else found, 0.25, found if failed else None,
                f"Traceback: {found}" if failed else None)
    return of_grid("experiment", [(grid, replicates)], records)


UNDECIDED = "not decided (two standard errors)"

NORMALS = np.random.default_rng(0).standard_normal((3, 2, 40))


@pytest.fixture
def table():
    """Known numbers over two axes."""
    return table_of(mn.Grid(a=[0, 1, 2], b=[0.5, 1.5]),
                    lambda cell, r: {
                        "value": float(cell["a"] + NORMALS[cell["a"], int(cell["b"]), r]), "odd": bool(r % 2)}, 40)


def test_records_are_in_the_order_of_cells_and_replicates(table):
    assert table.records.dtype.names == ("a", "b", "replicate", "value", "odd")
    assert table.axes == {"a": (0, 1, 2), "b": (0.5, 1.5)} and table.results == ("value", "odd")
    np.testing.assert_array_equal(table.records["a"], np.repeat([0, 1, 2], 80))
    np.testing.assert_array_equal(table.records["replicate"], np.tile(np.arange(40), 6))
    np.testing.assert_array_equal(table.records["value"], (NORMALS + np.arange(3)[:, None, None]).ravel())
    assert [table.records[name].dtype.kind for name in table.records.dtype.names] == list("ififb")


def test_timings_are_apart(table):
    assert table.timings.dtype.names == ("a", "b", "replicate", "seconds")
    assert set(table.timings["seconds"]) == {0.25}


@pytest.mark.parametrize("values, dtype", [
    ([1, 2], np.int64), ([1, 2.5], float), ([True, False], bool), (["a", "bc"], "<U2"), ([1, "a"], object),
    ([None, 1], object), ([(1, 2), (3,)], object), ([2**62, 1], np.int64),
])
def test_columns_have_the_dtype_of_their_values(values, dtype):
    column = table_of(mn.Grid(a=values), lambda cell, r: {"value": 1.0}).records["a"]
    assert column.dtype == dtype and column.tolist() == values


def test_a_result_that_only_some_cells_have_is_nan_elsewhere():
    records = table_of(mn.Grid(a=[1, 2]), lambda cell, r: {"x": 1.0} if cell["a"] == 1 else {"y": 2}).records
    assert records.dtype.names == ("a", "replicate", "x", "y")
    np.testing.assert_array_equal([records["x"], records["y"]], [[1, math.nan], [math.nan, 2]])


def test_failures_are_apart():
    table = table_of(mn.Grid(a=[1, 2]), lambda cell, r: {"x": 1.0} if cell["a"] == 1 else "ValueError: no", 2)
    assert len(table) == 2 and "2 failed" in repr(table) and "2 failed" in table._repr_html_()
    assert table.failures[1] == ({"a": 2}, 1, "ValueError: no", "Traceback: ValueError: no")
    assert table.axes == {"a": (1, 2)}


def test_an_empty_table_is_one(table):
    empty = table_of(mn.Grid(a=[1, 2]), lambda cell, r: "ValueError: no")
    assert len(empty) == 0 and empty.results == () and len(empty.summary()) == 0
    assert empty.records.dtype.names == ("a", "replicate")


class TestSummary:
    def test_means_are_numpys(self, table):
        found = table.summary().records
        assert found.dtype.names == ("a", "b", "value_mean", "value_standard_error", "value_count", "odd_mean",
                                     "odd_standard_error", "odd_count")
        values = NORMALS + np.arange(3)[:, None, None]
        np.testing.assert_allclose(found["value_mean"], values.mean(axis=2).ravel(), rtol=1e-13)
        np.testing.assert_allclose(found["value_standard_error"], values.std(axis=2, ddof=1).ravel() / math.sqrt(40),
                                   rtol=1e-12)
        assert set(found["value_count"]) == {40} and set(found["odd_mean"]) == {0.5}

    def test_over_axes_too(self, table):
        found = table.summary(over=["replicate", "b"]).records
        assert found["a"].tolist() == [0, 1, 2] and set(found["value_count"]) == {80}
        np.testing.assert_allclose(found["value_mean"], NORMALS.mean(axis=(1, 2)) + np.arange(3), rtol=1e-12)

    def test_over_an_axis_but_not_replicates(self, table):
        found = table.summary(over="a").records
        assert found.dtype.names[:2] == ("b", "replicate") and len(found) == 80 and set(found["value_count"]) == {3}

    def test_a_single_line_has_no_known_error(self):
        found = table_of(mn.Grid(a=[1, 2]), lambda cell, r: {"x": float(cell["a"])}).summary().records
        assert found["x_mean"].tolist() == [1, 2] and found["x_standard_error"].tolist() == [math.inf] * 2

    def test_infinite_results_stay_infinite(self):
        found = table_of(mn.Grid(a=1), lambda cell, r: {"x": math.inf if r else 1.0}, 3).summary().records
        assert found["x_mean"] == math.inf and found["x_standard_error"] == math.inf

    def test_no_digits_are_lost_to_a_large_mean(self):
        found = table_of(mn.Grid(a=1), lambda cell, r: {"x": 1e9 + r}, 3).summary().records
        assert found["x_standard_error"] == pytest.approx(1 / math.sqrt(3), rel=1e-12)

    def test_values_of_an_axis_need_not_be_numbers(self):
        found = table_of(mn.Grid(a=["x", None, (1, 2)]), lambda cell, r: {"x": r}, 2).summary().records
        assert found["a"].tolist() == ["x", None, (1, 2)] and set(found["x_mean"]) == {0.5}

    def test_unknown_names_are_refused(self, table):
        with pytest.raises(ValueError, match="over must be among a, b, replicate; got 'c'"):
            table.summary(over="c")


class TestWhere:
    def test_cells_are_chosen(self, table):
        part = table.where(a=[0, 2], b=1.5)
        assert part.axes == {"a": (0, 2), "b": (1.5,)} and len(part) == 80
        np.testing.assert_array_equal(part.records, table.records[(table.records["a"] != 1) & (table.records["b"] > 1)])

    @pytest.mark.parametrize("choice, message", [({"c": 1}, "axes among a, b; got 'c'"), ({"a": 3}, "a must be among")])
    def test_what_is_not_there_is_refused(self, table, choice, message):
        with pytest.raises(ValueError, match=message):
            table.where(**choice)


def test_pandas_has_the_columns(table):
    pandas = pytest.importorskip("pandas")
    frame = table.to_pandas()
    assert list(frame.columns) == ["a", "b", "replicate", "value", "odd"] and len(frame) == 240
    pandas.testing.assert_series_equal(frame["value"], pandas.Series(table.records["value"], name="value"))
    assert list(table.summary().to_pandas()["value_count"]) == [40] * 6


def test_without_pandas_the_message_says_what_there_is(table, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pandas", None)
    with pytest.raises(ImportError, match=r"pip install pandas; \.records"):
        table.to_pandas()


def test_html_is_short_and_escaped():
    text = table_of(mn.Grid(a=["<b>"]), lambda cell, r: {"x": 1.0}, 100)._repr_html_()
    assert "&lt;b&gt;" in text and "<b>" not in text and "... 100 lines" in text and text.count("<tr>") < 20


class TestPlot:
    def test_means_and_bars(self, table):
        ax = table.plot("a", "value", hue="b")
        assert [text.get_text() for text in ax.get_legend().get_texts()] == ["b=0.5", "b=1.5"]
        means = table.where(b=0.5).summary().records["value_mean"]
        np.testing.assert_allclose(ax.containers[0].lines[0].get_ydata(), means)

    def test_into_given_axes(self, table):
        _, ax = plots.new_axes()
        assert table.where(b=0.5).plot("a", "value", ax=ax) is ax

    def test_theory_is_a_line_that_breaks_where_nothing_is_known(self, table):
        known = table.where(b=0.5).with_theory(lambda cell: {"value": 7.0 * cell["a"]} if cell["a"] != 1 else {})
        ax = known.plot("a", "value")
        line = next(line for line in ax.lines if line.get_linestyle() == "-" and len(line.get_xdata()) == 3)
        np.testing.assert_array_equal(line.get_data(), [[0, 1, 2], [0, math.nan, 14]])
        assert ax.get_legend_handles_labels()[1] == ["theory", "value"]

    def test_an_axis_of_words_and_a_single_replicate(self):
        words = table_of(mn.Grid(a=["z", "m", "a"]), lambda cell, r: {"x": float(ord(cell["a"]))})
        ax = words.with_theory(lambda cell: {"x": 1.0}).plot("a", "x")
        ax.figure.draw_without_rendering()
        assert [text.get_text() for text in ax.get_xticklabels()] == ["z", "m", "a"]
        np.testing.assert_array_equal(ax.containers[0].lines[0].get_ydata(), [122, 109, 97])

    def test_where_theory_has_no_line_means_are_joined_by_dots(self, table):
        part = table.where(b=0.5)
        means = part.summary().records["value_mean"]
        for known, ends in ((part, [0, 1]), (part.with_theory(lambda cell: {"value": 0.0} if cell["a"] else {}), [0])):
            ax = known.plot("a", "value")
            dotted = [line for line in ax.lines if line.get_linestyle() == ":"]
            assert {line.get_color() for line in dotted} == {plots.CYCLE[0]}
            for line, left in zip(dotted, ends, strict=True):
                np.testing.assert_array_equal(line.get_data(), [[left, left + 1], means[left:left + 2]])

    def test_many_numbers_as_hues_are_in_shades_by_their_order(self):
        values = [8, 1, 2, 3, 5, 4, 6, 7]
        ax = table_of(mn.Grid(a=[1, 2], b=values), lambda cell, r: {"x": float(cell["b"] + r)}, 2).plot("a", "x", "b")
        lines = [container.lines[0] for container in ax.containers]
        lightness = [np.dot(matplotlib.colors.to_rgb(line.get_color()), [0.2126, 0.7152, 0.0722]) for line in lines]
        assert lightness == sorted(lightness) and len(set(lightness)) == 8 and lightness[-1] < 0.8
        assert {line.get_marker() for line in lines} == {"o"}
        assert [line.get_ydata()[0] for line in lines] == [value + 0.5 for value in sorted(values)]

    def test_many_words_as_hues_differ(self):
        ax = table_of(mn.Grid(a=[1, 2], b=list("abcdefghijklmn")), lambda cell, r: {"x": 1.0}).plot("a", "x", "b")
        styles = {(line.get_color(), line.get_marker()) for line in (each.lines[0] for each in ax.containers)}
        assert len(styles) == 14

    @pytest.mark.parametrize("count, beside", [(6, False), (7, True), (40, True)])
    def test_a_long_legend_is_beside_the_axes(self, count, beside):
        ax = table_of(mn.Grid(a=[1, 2], b=list(range(count))), lambda cell, r: {"x": 1.0}).plot("a", "x", "b")
        ax.figure.draw_without_rendering()
        legend, axes = (part.get_window_extent() for part in (ax.get_legend(), ax))
        assert bool(legend.x0 > axes.x1) is beside and legend.x1 <= ax.figure.bbox.x1 and legend.y0 >= 0

    def test_words_are_in_the_axis_order_where_curves_lack_some(self):
        table = table_of(mn.Grid(a=["z", None, "a"], b=[1, 2]), lambda cell, r: "no" if cell == {"a": "z", "b": 1} else
                         {"x": float(cell["b"])}, 2)
        ax = table.plot("a", "x", "b")
        ax.figure.draw_without_rendering()
        assert [text.get_text() for text in ax.get_xticklabels()] == ["z", "None", "a"]
        heights = [container.lines[0].get_ydata() for container in ax.containers]
        np.testing.assert_array_equal(heights, [[math.nan, 1, 1], [2, 2, 2]])

    def test_an_infinite_value_has_a_place(self):
        ax = table_of(mn.Grid(a=[10, 100, math.inf]), lambda cell, r: {"x": 1.0}).plot("a", "x")
        ax.figure.draw_without_rendering()
        assert [text.get_text() for text in ax.get_xticklabels()] == ["10", "100", "inf"]

    @pytest.mark.parametrize("arguments, message", [
        (("a", "value"), r"b has 2 values.*table\.where\(b=0\.5\)"),
        (("a", "nothing", "b"), "a figure's value must be a result, value, odd; got 'nothing'"),
        (("c", "value", "b"), "over axes among a, b; got 'c'"),
    ])
    def test_cells_are_not_mixed(self, table, arguments, message):
        with pytest.raises(ValueError, match=message):
            table.plot(*arguments)


class TestTheory:
    def test_an_experiment_of_ones_own_has_none_until_it_is_given(self, table):
        assert table.theory() == []
        given = table.with_theory(lambda cell: {"value": cell["a"] + cell["b"]})
        assert given.theory()[3] == ({"a": 1, "b": 1.5}, {"value": 2.5}) and table.theory() == []
        np.testing.assert_array_equal(given.records, table.records)
        surface = given.where(b=1.5).surface("a", "b", "value", stated=True)
        np.testing.assert_array_equal(surface.means, [[1.5, 2.5, 3.5]])

    def test_it_replaces_a_built_in_ones(self):
        grid = mn.Grid(n=[60, 80], d=12, k=2, noise_variance=[0.5, 1.0])
        ran = mn.sweep("risk", grid, 2, progress=False)
        assert set(ran.theory()[0][1]) == {"dense", "experts", "lead"}
        assert ran.with_theory(lambda cell: {"lead": 1.0}).theory()[0][1] == {"lead": 1.0}

    def test_a_formula_cannot_change_cells(self, table):
        given = table.with_theory(lambda cell: {"value": cell.pop("a")})
        assert given.theory()[0] == ({"a": 0, "b": 0.5}, {"value": 0}) and given.axes == table.axes

    def test_a_formula_is_a_function(self, table):
        with pytest.raises(TypeError, match="formula must be a function of a cell, got 3"):
            table.with_theory(3)

    def test_a_formula_returns_a_dict(self, table):
        with pytest.raises(TypeError, match="formula must return a dict of the results that it knows, got 3"):
            table.with_theory(lambda cell: 3).theory()


def plane(cell, replicate):
    """Zero where log2(x) = y."""
    return {"height": math.log2(cell["x"]) - cell["y"] + 0.1 * (-1) ** replicate}


@pytest.fixture
def tilted():
    return table_of(mn.Grid(x=[1, 2, 4, 8, 16], y=[0.5, 1.5, 2.5]), plane, 4)


class TestBoundary:
    def test_a_plane_is_crossed_where_it_is_zero(self, tilted):
        found = tilted.boundary("x", "y", "height")
        assert [point.y for point in found if point.along == "x"] == [0.5, 1.5, 2.5]
        assert [point.x for point in found if point.along == "y"] == [2, 4]
        assert all(math.log2(point.x) == pytest.approx(point.y) for point in found)

    def test_errors_are_those_of_the_root(self, tilted):
        error = 0.1 * math.sqrt(4 / 3) / 2  # of each cell's mean
        for point in tilted.boundary("x", "y", "height"):
            # Half way between two cells the errors of both count half: sqrt(1/2) of one. The slope is 1 in log2(x).
            scale = point.x * math.log(2) if point.along == "x" else 1
            assert point.standard_error == pytest.approx(scale * error * math.sqrt(0.5))

    def test_theorys_is_interpolated_alike(self, tilted):
        stated = tilted.with_theory(lambda cell: plane(cell, 0)).boundary("x", "y", "height", level=0.1, stated=True)
        measured = tilted.boundary("x", "y", "height")
        np.testing.assert_allclose([point[1:3] for point in stated], [point[1:3] for point in measured], rtol=1e-12)
        assert {point.standard_error for point in stated} == {0.0}

    @pytest.mark.parametrize("formula, message", [
        (None, "'height' in some of these cells; experiment has none: give it one by table.with_theory"),
        (lambda cell: {"depth": 1.0, "width": 2.0}, "'height' .*; what it knows there is depth, width"),
        (lambda cell: {"height": None}, "'height' .*; what it knows there is nothing"),
    ])
    def test_theorys_is_refused_where_it_knows_nothing(self, tilted, formula, message):
        given = tilted if formula is None else tilted.with_theory(formula)
        with pytest.raises(ValueError, match=message):
            given.boundary("x", "y", "height", stated=True)

    def test_a_theory_without_a_boundary_has_none(self, tilted):
        for height in (1.0, math.inf):
            assert tilted.with_theory(lambda cell: {"height": height}).boundary("x", "y", "height", stated=True) == []

    def test_numbers_near_the_end_of_the_range(self):
        table = table_of(mn.Grid(x=[1, 2], y=[0, 1]), lambda cell, r: {"h": 1e-310 * (cell["x"] - 1.5)}, 2)
        assert [point[1:] for point in table.boundary("x", "y", "h")] == [(1.5, 0, 0), (1.5, 1, 0)]

    def test_the_unknown_error_of_a_cell_without_a_part_in_the_root_does_not_matter(self):
        rows = boundary.crossings(np.array([1.0, 2]), np.array([1.0, 2]), np.array([[-1.0, 0], [-1, 1]]),
                                  np.array([[math.inf, 0.25], [0.1, 0.1]]), 0.0, ("x", "y"))
        assert rows[0] == ("x", 2.0, 1.0, 0.25)

    def test_coordinates_are_plain_numbers(self, tilted):
        assert {type(number) for point in tilted.boundary("x", "y", "height") for number in point[1:]} == {float}

    def test_another_level(self, tilted):
        found = tilted.boundary("x", "y", "height", level=1)
        assert all(math.log2(point.x) == pytest.approx(point.y + 1) for point in found) and found

    def test_nothing_is_crossed_next_to_what_failed(self):
        table = table_of(mn.Grid(x=[1, 2, 3], y=[0, 1]),
                         lambda cell, r: "no" if cell["x"] == 2 else {"height": float(cell["x"] - 2)}, 2)
        assert table.boundary("x", "y", "height") == []

    def test_nothing_is_crossed_next_to_an_infinite_mean(self):
        table = table_of(mn.Grid(x=[1, 2, 3], y=[0, 1]),
                         lambda cell, r: {"height": -math.inf if cell["x"] == 2 else float(cell["x"])}, 2)
        assert table.boundary("x", "y", "height") == []

    def test_roots_scatter_as_their_errors_say(self):
        rng, roots = np.random.default_rng(0), []
        for _ in range(400):
            noise = 0.2 * rng.standard_normal((4, 2, 10))
            table = table_of(mn.Grid(x=[0.0, 1.0, 2.0, 3.0], y=[0.0, 1.0]),
                             lambda cell, r: {"h": cell["x"] - 1.3 + noise[int(cell["x"]), int(cell["y"]), r]}, 10)
            point = table.boundary("x", "y", "h")[0]
            roots.append((point.x, point.standard_error))
        places, errors = np.transpose(roots)
        assert places.std() == pytest.approx(np.sqrt(np.mean(errors**2)), rel=0.15)
        assert abs(places.mean() - 1.3) < 4 * places.std() / 20

    def test_an_axis_of_words_is_refused(self):
        table = table_of(mn.Grid(x=["a", "b"], y=[0, 1]), lambda cell, r: {"h": 1.0})
        with pytest.raises(ValueError, match="x must hold finite numbers"):
            table.boundary("x", "y", "h")

    @pytest.mark.parametrize("values, log", [
        ([1, 10], True), ([1, 9], False), ([0, 10], False), ([-1, 10], False), ([5], False),
        ([2, 4, 8], True), ([8, 2, 4], True), ([120, 240, 480], True), ([100, 141, 200, 283], True),
        ([4, 8], False), ([2, 4, 7], False), ([-8, -4, -2], False), ([3, 4, 5], False),
        ([9, 10, 11], False), ([100, 101, 102], False), ([1000001, 1000002, 1000004], False), ([0.1, 0.2, 0.3], False),
    ])
    def test_positive_axes_that_are_wide_or_geometric_are_logarithmic(self, values, log):
        assert boundary.is_log(values) is log


class TestPhase:
    def test_cells_markers_and_scales(self, tilted):
        ax = plots.phase(tilted, x="x", y="y", value="height")
        assert ax.get_xscale() == "log" and ax.get_yscale() == "linear"
        mesh = ax.collections[0]
        np.testing.assert_allclose(mesh.get_array().reshape(3, 5)[:, 0], [-0.5, -1.5, -2.5])
        low, high = mesh.get_clim()
        assert -low == high > 0
        assert ax.get_legend_handles_labels()[1] == ["measured"]

    def test_cells_that_are_not_decided_have_a_ring(self):
        heights = {0: 0.0, 1: 1.0}
        table = table_of(mn.Grid(x=[0, 1], y=[0, 1]), lambda cell, r: {"h": heights[cell["x"]] + 0.1 * (-1) ** r}, 4)
        rings = plots.phase(table, x="x", y="y", value="h").lines[0]
        assert rings.get_label() == UNDECIDED and rings.get_fillstyle() == "none"
        assert sorted(zip(*rings.get_data())) == [(0, 0), (0, 1)]

    def test_a_diagram_of_its_own_has_a_legend_and_one_in_given_axes_has_none(self, tilted):
        given = tilted.with_theory(lambda cell: plane(cell, 0))
        figure, ax = plots.new_axes()
        assert plots.phase(given, x="x", y="y", value="height", level=0.4, ax=ax) is ax
        assert figure.legends == [] and ax.get_legend() is None
        own = plots.phase(given, x="x", y="y", value="height", level=0.4)
        own.figure.draw_without_rendering()
        legend, = own.figure.legends
        assert [text.get_text() for text in legend.get_texts()] == ["theory", UNDECIDED, "measured"]
        assert legend.get_window_extent().y1 < own.xaxis.label.get_window_extent().y0

    def test_a_diagram_with_nothing_to_explain_has_no_legend(self, tilted):
        ax = plots.phase(tilted, x="x", y="y", value="height", level=-9)
        assert ax.figure.legends == []

    def test_theory_goes_through_its_own_crossings(self, tilted):
        given = tilted.with_theory(lambda cell: {"height": plane(cell, 0)["height"] + 0.3})
        ax = plots.phase(given, x="x", y="y", value="height")
        assert ax.get_legend_handles_labels()[1] == ["theory", "measured"]
        line = next(line for line in ax.lines if line.get_label() == "theory")
        for point in given.boundary("x", "y", "height", stated=True):
            away = np.abs(line.get_xydata() - (point.x, point.y)).max(axis=1)
            assert away.min() < 1e-12, point

    def test_long_bars_do_not_move_the_axes(self):
        heights = {1: -1.0, 2: 1.0}
        table = table_of(mn.Grid(x=[1, 2], y=[1, 2]), lambda cell, r: {"h": heights[cell["x"]] + 500 * (-1) ** r}, 4)
        ax = plots.phase(table, x="x", y="y", value="h")
        assert ax.get_xlim() == ax.get_ylim() == (0.5, 2.5)

    def test_bars_are_of_two_errors_and_end_at_the_next_cells(self):
        def cell_mean(cell, r):
            return {"h": cell["x"] - 2.4 + (0.1 if cell["y"] == 1 else 500) * (-1) ** r}

        table = table_of(mn.Grid(x=[1, 2, 3, 5], y=[1, 2]), cell_mean, 4)
        exact, vague = table.boundary("x", "y", "h")
        bars = plots.phase(table, x="x", y="y", value="h").collections[1].get_segments()
        np.testing.assert_allclose(np.array(bars)[:, :, 0], [
            [exact.x - 2 * exact.standard_error, exact.x + 2 * exact.standard_error], [2, 3]])
        assert vague.standard_error > 100

    def test_bars_of_a_point_on_a_cell_reach_to_both_its_neighbours(self):
        np.testing.assert_array_equal(plots._bars(np.array([1.0, 2, 4]), np.array([1.0, 2, 4, 3]), np.full(4, 9.0)),
                                      [[0, 1, 2, 1], [1, 2, 0, 1]])

    def test_a_single_replicate_decides_nothing(self):
        table = table_of(mn.Grid(x=[1, 2], y=[1, 2]), lambda cell, r: {"h": cell["x"] - 1.5})
        ax = plots.phase(table, x="x", y="y", value="h")
        ax.figure.draw_without_rendering()
        assert len(ax.lines[0].get_xdata()) == 4 and ax.get_legend_handles_labels()[1] == [UNDECIDED, "measured"]

    def test_infinite_means_are_white_and_do_not_set_the_colours(self):
        table = table_of(mn.Grid(x=[1, 2], y=[1, 2]),
                         lambda cell, r: {"h": math.inf if cell["x"] == cell["y"] == 2 else float(cell["x"])}, 2)
        ax = plots.phase(table, x="x", y="y", value="h")
        mesh = ax.collections[0]
        assert np.ma.getmaskarray(mesh.get_array()).sum() == 1 and np.isfinite(mesh.get_clim()).all()
        assert UNDECIDED not in ax.get_legend_handles_labels()[1]  # though their errors are infinite as well

    def test_limit_and_label_and_bar(self, tilted):
        ax = plots.phase(tilted, x="x", y="y", value="height", level=1, limit=2, label="metres")
        assert ax.collections[0].get_clim() == (-1, 3) and ax.figure.axes[1].get_ylabel() == "metres"
        ax = plots.phase(tilted, x="x", y="y", value="height", level=0.5)
        assert ax.figure.axes[1].get_ylabel() == "height (orange: above 0.5, purple: below)"
        assert len(plots.phase(tilted, x="x", y="y", value="height", bar=False).figure.axes) == 1

    def test_ticks_are_at_cells_and_have_room(self):
        _, ax = plots.new_axes()
        plots.scale_axis(ax, "x", [16, 0.0625, 0.125, 0.25, 0.5, 1, 2, 4, 8])
        plots.scale_axis(ax, "y", np.geomspace(1, 1000, 100))
        shown = ax.get_xticks()
        assert [text.get_text() for text in ax.get_xticklabels()] == [f"{value:g}" for value in shown]
        assert set(shown) < set(2.0 ** np.arange(-4, 5)) and 0.0625 in shown and 0.125 not in shown
        assert 8 < len(ax.get_yticks()) < 16

    @pytest.mark.parametrize("values, scale, shown", [
        ([2, 4, 8], "log", ["2", "4", "8"]), ([240, 120, 480], "log", ["120", "240", "480"]),
        ([0.5, 1.5, 2], "linear", ["0.5", "1.5", "2"]), ([1, 1.01, 2, 3], "linear", ["1", "2", "3"]),
        ([1000001, 1000002, 1000004], "linear", ["1000001", "1000002", "1000004"]), ([7], "linear", ["7"]),
    ])
    def test_few_values_have_the_ticks(self, values, scale, shown):
        _, ax = plots.new_axes()
        plots.scale_axis(ax, "x", values)
        assert ax.get_xscale() == scale and [text.get_text() for text in ax.get_xticklabels()] == shown
        np.testing.assert_array_equal(ax.get_xticks(), list(map(float, shown)))

    def test_many_values_on_a_linear_axis_leave_the_ticks_to_matplotlib(self):
        _, (left, right) = plots.new_axes(2)
        plots.scale_axis(left, "x", np.linspace(0, 1, 10))
        np.testing.assert_array_equal(left.get_xticks(), right.get_xticks())

    def test_cells_that_failed_are_left_white(self):
        table = table_of(mn.Grid(x=[1, 2, 3], y=[0, 1]),
                         lambda cell, r: "no" if cell["x"] == 2 else {"h": float(cell["x"])}, 2)
        mesh = plots.phase(table, x="x", y="y", value="h").collections[0]
        assert np.ma.getmaskarray(mesh.get_array()).reshape(2, 3).tolist() == [[False, True, False]] * 2

    @pytest.mark.parametrize("options, message", [
        ({"x": "x", "y": "z", "value": "height"}, "over axes among x, y; got 'z'"),
        ({"x": "x", "y": "y", "value": "depth"}, "must be a result, height; got 'depth'"),
        ({"x": "x", "y": "x", "value": "height"}, "over different axes, got x, x"),
    ])
    def test_what_is_not_there_is_refused(self, tilted, options, message):
        with pytest.raises(ValueError, match=message):
            plots.phase(tilted, **options)

    @pytest.mark.parametrize("options, error, message", [
        ({"limit": 0}, ValueError, "limit must be a finite number"),
        ({"limit": "1"}, TypeError, "limit must be a real number"),
        ({"level": math.nan}, ValueError, "level must be a finite number"),
        ({"bar": 1}, TypeError, "bar must be True or False"),
    ])
    def test_bad_numbers_are_refused(self, tilted, options, error, message):
        with pytest.raises(error, match=message):
            plots.phase(tilted, x="x", y="y", value="height", **options)

    def test_what_is_no_table_is_refused(self, tilted):
        for other, kind in ((tilted.summary(), "Summary"), (tilted.records, "ndarray")):
            with pytest.raises(TypeError, match=f"table must be what moenoise.sweep or .* returned, got {kind}"):
                plots.phase(other, x="x", y="y", value="height")

    @pytest.mark.parametrize("mean", [math.inf, math.nan])
    def test_without_a_finite_mean_there_is_no_diagram(self, mean):
        table = table_of(mn.Grid(x=[1, 2], y=[1, 2]), lambda cell, r: {"h": mean}, 2)
        with pytest.raises(ValueError, match="value must be a result with a finite mean in some cell, got 'h'"):
            plots.phase(table, x="x", y="y", value="h")

    def test_an_infinite_value_has_no_place(self):
        table = table_of(mn.Grid(x=[1, 2, math.inf], y=[1, 2]), lambda cell, r: {"h": 1.0}, 2)
        with pytest.raises(ValueError, match="x must hold finite numbers to be an axis of a diagram"):
            plots.phase(table, x="x", y="y", value="h")

    def test_one_row_is_no_diagram(self, tilted):
        with pytest.raises(ValueError, match="several values each"):
            plots.phase(tilted.where(y=0.5), x="x", y="y", value="height")

    def test_a_draw_is_the_same_each_time(self, tilted):
        first, second = (plots.svg(plots.phase(tilted, x="x", y="y", value="height").figure) for _ in range(2))
        assert first == second
