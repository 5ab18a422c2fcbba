"""The drawing functions: what they put on axes, and that they leave Matplotlib's global state alone."""

import matplotlib
import numpy as np
import pytest

from moenoise import plots
from moenoise.claims.base import Estimate, compare

RECORD = compare("c", "q", "s", Estimate(2.0, 0.1), printed=3.0, corrected=2.2)
CALLS = {
    "measured": lambda ax: plots.measured([1, 2], [3.0, 4.0], [0.1, 0.2], label="l", colour="red", ax=ax),
    "stated": lambda ax: plots.stated([1, 2], [3.0, 4.0], label="l", colour="red", ax=ax),
    "band": lambda ax: plots.band([1, 2], [3.0, 4.0], [4.0, 6.0], label="l", colour="red", ax=ax),
    "confusion": lambda ax: plots.confusion([[0.5, 0.5], [0.0, 1.0]], ax=ax),
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
