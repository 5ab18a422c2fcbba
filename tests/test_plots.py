"""The drawing functions: what they put on axes, and that they leave Matplotlib's global state alone."""

import dataclasses

import matplotlib
import numpy as np
import pytest
from scipy.stats import rankdata

from moenoise import BlockModel, plots
from moenoise.activations import find_modules
from moenoise.claims.base import Estimate, compare

ROWS = BlockModel.isotropic(12, 3, variance=25.0, rng=0).sample(90, rng=1).features
MODULES = find_modules(ROWS, 3, rng=0)
RECORD = compare("c", "q", "s", Estimate(2.0, 0.1), printed=3.0, corrected=2.2)
CALLS = {
    "measured": lambda ax: plots.measured([1, 2], [3.0, 4.0], [0.1, 0.2], label="l", colour="red", ax=ax),
    "stated": lambda ax: plots.stated([1, 2], [3.0, 4.0], label="l", colour="red", ax=ax),
    "band": lambda ax: plots.band([1, 2], [3.0, 4.0], [4.0, 6.0], label="l", colour="red", ax=ax),
    "confusion": lambda ax: plots.confusion([[0.5, 0.5], [0.0, 1.0]], ax=ax),
    "activation_blocks": lambda ax: plots.activation_blocks(ROWS, MODULES, ax=ax),
    "agreement": lambda ax: plots.agreement([RECORD], ax=ax),
}


@pytest.mark.parametrize("name", CALLS)
def test_axes_go_in_and_come_out(name):
    _, ax = plots.new_axes()
    assert CALLS[name](ax) is ax
    made = CALLS[name](None)
    assert isinstance(made, matplotlib.axes.Axes) and made is not ax


@pytest.mark.parametrize("name", CALLS)
def test_global_state_is_left_alone(name):
    import matplotlib.pyplot as plt

    before = dict(matplotlib.rcParams)
    plots.svg(CALLS[name](None).figure)
    assert plt.get_fignums() == []
    assert dict(matplotlib.rcParams) == before


def test_svg_is_the_same_each_time():
    first, second = (plots.svg(CALLS["measured"](None).figure) for _ in range(2))
    assert first == second != plots.svg(CALLS["stated"](None).figure)


def test_bars_are_two_standard_errors():
    ax = plots.measured([1.0], [3.0], [0.25], label="l", colour="red")
    assert ax.containers[0].lines[2][0].get_segments()[0][:, 1].tolist() == [2.5, 3.5]


def test_printed_forms_are_dashed():
    lines = [plots.stated([1, 2], [3, 4], label="l", colour="red", form=form).lines[0].get_linestyle()
             for form in ("corrected", "printed")]
    assert lines == ["-", "--"]


def test_band_lies_between_its_edges_and_breaks_where_one_is_not_finite():
    x, low = np.arange(6.0), np.array([1.0, 1.0, 1.0, np.inf, 1.0, 1.0])
    ax = plots.band(x, low, np.full(6, 2.0), label="l", colour="red")
    corners = [path.vertices for path in ax.collections[0].get_paths()]
    assert [(part[:, 0].min(), part[:, 0].max()) for part in corners] == [(0.0, 2.0), (4.0, 5.0)]
    assert all((part[:, 1].min(), part[:, 1].max()) == (1.0, 2.0) for part in corners)


def test_confusion_has_the_true_experts_in_rows():
    ax = plots.confusion([[0.9, 0.1], [0.25, 0.75]])
    shares = {(text.get_position()[1], text.get_position()[0]): text.get_text() for text in ax.texts}
    assert shares == {(0, 0): "90", (0, 1): "10", (1, 0): "25", (1, 1): "75"}
    np.testing.assert_array_equal(ax.images[0].get_array(), [[0.9, 0.1], [0.25, 0.75]])


def test_large_confusion_is_shaded_only():
    k = plots.MOST_NUMBERED + 1
    assert [len(plots.confusion(np.eye(size)).texts) for size in (k - 1, k)] == [(k - 1) ** 2, 0]


@pytest.mark.parametrize("matrix", [[[0.5, 0.5]], [[2.0, 0.0], [0.0, 1.0]], [[np.nan]], [0.5], np.zeros((0, 0))])
def test_confusion_refuses_what_is_none(matrix):
    with pytest.raises(ValueError, match="matrix"):
        plots.confusion(matrix)


def shown(A, modules=None, **options):
    return np.asarray(plots.activation_blocks(A, modules, **options).images[0].get_array())


def test_activations_are_shown_as_ranks_of_magnitudes_in_their_columns():
    A = np.array([[1.0, -30.0], [-3.0, 10.0], [2.0, 20.0], [0.0, 40.0]])
    np.testing.assert_array_equal(4 * shown(A, sparsity=0.0), [[2, 3], [4, 1], [3, 2], [0, 4]])
    np.testing.assert_array_equal(4 * shown(A, sparsity=0.5), [[0, 3], [0, 1], [0, 2], [0, 4]])
    np.testing.assert_array_equal(4 * shown(A, sparsity=0.6), [[0, 3], [0, 0], [0, 2], [0, 4]])


def test_pruned_is_white_and_larger_is_darker():
    colours = plots.RANKS(np.linspace(0, 1, plots.RANKS.N))[:, :3]
    assert colours[0].tolist() == [1, 1, 1]
    luminance = colours @ [0.2126, 0.7152, 0.0722]
    assert (np.diff(luminance) < -0.01).all()


def test_planted_blocks_lie_on_the_diagonal_once_ordered():
    ordered = shown(ROWS, MODULES)
    expected = rankdata(np.abs(ROWS), axis=0) / 90 * (np.abs(ROWS) > MODULES.threshold)
    np.testing.assert_array_equal(ordered, expected[MODULES.row_order][:, MODULES.feature_order])
    rows, columns = np.cumsum(MODULES.counts), np.cumsum(MODULES.block_sizes)
    assert len(rows) == 3
    blocks = [[part.mean() for part in np.split(strip, columns[:-1], axis=1)]
              for strip in np.split(ordered, rows[:-1], axis=0)]
    assert np.diag(blocks).min() > 2 * (np.array(blocks) - np.diag(np.diag(blocks))).max()
    lines = plots.activation_blocks(ROWS, MODULES).collections
    assert [segment[0][1] for segment in lines[0].get_segments()] == rows[:-1].tolist()
    assert [segment[0][0] for segment in lines[1].get_segments()] == columns[:-1].tolist()
    assert not plots.activation_blocks(ROWS).collections


def test_features_in_no_module_come_last_behind_a_line():
    A = np.insert(ROWS, 5, 0.0, axis=1)
    modules = find_modules(A, 3, rng=0)
    ax = plots.activation_blocks(A, modules)
    assert not ax.images[0].get_array()[:, -1].any()
    assert [segment[0][0] for segment in ax.collections[1].get_segments()] == np.cumsum(modules.block_sizes).tolist()


def test_many_entries_are_averaged_in_tiles():
    A = np.random.default_rng(0).standard_normal((101, 7))
    small, whole = shown(A, most_pixels=5), shown(A)
    assert small.shape == (5, 5) and whole.shape == (101, 7)
    np.testing.assert_allclose(small[0, 0], whole[:20, :1].mean(), rtol=1e-12)
    np.testing.assert_allclose(small[4, 4], whole[80:, 5:].mean(), rtol=1e-12)
    assert shown(A, most_pixels=1).item() == pytest.approx(whole.mean())


def test_sample_of_rows_may_be_given_alone_or_with_the_others():
    modules = find_modules(ROWS, 3, max_rows=60, rng=0)
    np.testing.assert_array_equal(shown(ROWS, modules), shown(ROWS[modules.index], modules))


def test_file_of_a_large_heatmap_stays_small():
    A = np.random.default_rng(0).standard_normal((3000, 800))
    assert len(plots.svg(plots.activation_blocks(A).figure)) < 300_000


@pytest.mark.parametrize("kind", [np.float16, np.float32, "strided", "read-only", "list"])
def test_activations_of_any_kind_are_left_as_they_are(kind):
    exact = np.round(ROWS * 8) / 8  # so that float16 holds them
    A = exact.astype(kind) if isinstance(kind, type) else exact.copy()
    if kind == "strided":
        A = np.repeat(A, 2, axis=1)[:, ::2]
    before = A.copy()
    A.flags.writeable = False
    np.testing.assert_array_equal(shown(A.tolist() if kind == "list" else A, MODULES), shown(exact, MODULES))
    np.testing.assert_array_equal(A, before)


@pytest.mark.parametrize(("A", "options", "error", "message"), [
    (ROWS[0], {}, ValueError, "A must be 2-dimensional"),
    (np.full((3, 3), np.nan), {}, ValueError, "A must be finite"),
    (np.zeros((0, 3)), {}, ValueError, "A must not be empty"),
    (ROWS.astype(str), {}, TypeError, "A must hold real numbers"),
    (ROWS, {"sparsity": 1.0}, ValueError, "sparsity must be a finite number in"),
    (ROWS, {"sparsity": "all"}, TypeError, "sparsity must be a real number"),
    (ROWS, {"most_pixels": 0}, ValueError, "most_pixels must be at least 1"),
    (ROWS, {"most_pixels": 2.5}, TypeError, "most_pixels must be an integer"),
    (ROWS, {"modules": MODULES.features}, TypeError, "modules must be what moenoise.activations.find_modules returns"),
    (ROWS[:, 1:], {"modules": MODULES}, ValueError, "modules must be of the 11 features of A, got 12"),
    (ROWS[:50], {"modules": MODULES}, ValueError, "modules must be of the 50 rows of A, got one of row 89"),
    (ROWS[:50], {"modules": dataclasses.replace(MODULES, index=MODULES.index + 1)}, ValueError, "one of row 90"),
])
def test_activation_blocks_refuses_what_does_not_fit(A, options, error, message):
    with pytest.raises(error, match=message):
        plots.activation_blocks(A, **options)


def test_agreement_leaves_out_what_was_not_measured():
    infinite = compare("c", "q", "s", Estimate(np.inf, np.nan), corrected=1.0)
    ax = plots.agreement([infinite, RECORD])
    points = {line.get_label(): line.get_xdata() for line in ax.lines if not line.get_label().startswith("_")}
    assert {label: values.tolist() for label, values in points.items()} == {"corrected": [1.1], "printed": [1.5]}


def test_a_label_shows_once_below():
    figure, axes = plots.new_axes(2)
    for ax in axes:
        plots.stated([1, 2], [3, 4], label="same", colour="red", ax=ax)
    plots.legend_below(figure, axes)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["same"]
