"""Figures, in one style: measured points over the formulas' lines.

Markers are measured, solid lines are the corrected formula, dashed lines the printed one. Colours
(Okabe and Ito's, told apart by colour-blind readers) stand for the estimator.
Every function that draws takes an ``ax`` and returns it. Figures are made without pyplot: nothing keeps them alive
but their user, and Jupyter shows them as they are after ``%matplotlib inline``.
"""

import io
import math

import matplotlib
import numpy as np
from contourpy import contour_generator
from matplotlib.colors import LinearSegmentedColormap, to_hex
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.ticker import NullLocator

from . import _validation
from .activations.modules import Modules, magnitude_threshold
from .sweeps.boundary import is_log
from .sweeps.table import Table

COLOURS = {
    "dense": "#0072B2",
    "experts": "#D55E00",
    "printed": "#CC79A7",
    "corrected": "#009E73",
    "other": "#56B4E9",
    "reference": "#555555",
}
CYCLE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
MARKERS = ("o", "s", "^", "D", "v", "P")

# Of ranks: 0, where an entry is pruned, is white; from there on lightness falls, whatever colours one sees. Few levels,
# since files are small then: noise hardly compresses.
RANKS = LinearSegmentedColormap.from_list("ranks", ["white", "#56B4E9", "#0072B2", "#001A33"], N=16)

# Confusion matrices of more experts than this are shaded only: their numbers would not be readable.
MOST_NUMBERED = 12

# What a digit, and a line, of the numbers on an axis take of its length at least, for these not to touch.
DIGIT, LINE = 0.03, 0.07

# A linear axis of more values than this has ticks at round numbers, not at the values.
MOST_TICKED = 9

# Curves that are more than there are colours to tell apart: from dark to as light as is still seen on white.
SEQUENCE, LIGHTEST = "plasma", 0.8

# Entries of a legend: how many there may be within axes, and how many below each other beside them.
MOST_WITHIN, MOST_BELOW_EACH_OTHER = 6, 18

# Rings around cells that are not decided, in points: the largest, and all of a row or column together.
RING, RINGS = 6.5, 150

STYLE = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 9,
    "axes.titlelocation": "left",
    "lines.linewidth": 1.4,
    "lines.markersize": 4,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "svg.fonttype": "path",
    "svg.hashsalt": "moenoise",
}


def new_axes(columns=1, *, width=3.6, height=2.9, **subplots):
    """A figure with one row of axes, in the house style.

    Parameters
    ----------
    columns : int
    width, height : float
        Of each of the axes, in inches.
    **subplots
        Passed to `matplotlib.figure.Figure.subplots`, e.g. ``sharey=True``.

    Returns
    -------
    figure : matplotlib.figure.Figure
    axes : Axes, or array of Axes where ``columns > 1``
    """
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(width * columns, height), layout="constrained")
        return figure, figure.subplots(1, columns, **subplots)


def default_axes(ax):
    """`ax`, or the axes of a new figure where it is None."""
    return new_axes(width=5.5, height=3.6)[1] if ax is None else ax


def curve_styles(count, ordered):
    """`count` pairs of colour and marker: those of the cycle, or for many curves that have an order shades of one map.

    Markers move on against the colours after each cycle, so that 36 curves without an order differ.
    """
    if ordered and count > len(CYCLE):
        shades = matplotlib.colormaps[SEQUENCE](np.linspace(0, LIGHTEST, count))
        return [(to_hex(shade), MARKERS[0]) for shade in shades]
    places = [divmod(place, len(CYCLE)) for place in range(count)]
    return [(CYCLE[place], MARKERS[(place + cycles) % len(MARKERS)]) for cycles, place in places]


def measured(x, mean, standard_error=None, *, label, colour, marker="o", ax=None):
    """Measured means as markers, with bars of two standard errors."""
    ax = default_axes(ax)
    bars = None if standard_error is None else 2 * np.asarray(standard_error)
    ax.errorbar(x, mean, bars, fmt=marker, color=colour, label=label, markersize=4, elinewidth=1, capsize=2, zorder=3)
    return ax


def stated(x, y, *, label, colour, form="corrected", ax=None):
    """A formula's line: solid where it is the corrected form, dashed where it is the printed one."""
    ax = default_axes(ax)
    ax.plot(x, y, {"corrected": "-", "printed": "--"}[form], color=colour, label=label, linewidth=1.4, zorder=2)
    return ax


def band(x, low, high, *, label, colour, ax=None):
    """A shaded band between two curves, behind points and lines: quantiles, or a range.

    Parameters
    ----------
    x, low, high : (n,) array_like
        The band breaks where one of them is not finite.
    label : str or None
        For the legend.
    colour : str
        That of the curve which the band belongs to; the band is lighter.
    ax : matplotlib.axes.Axes, optional
        Default: new ones.

    Returns
    -------
    matplotlib.axes.Axes

    Examples
    --------
    Where nine of ten draws of an expert's excess risk lie (its law, with n rows and d features; residual variance 1):

    >>> import numpy as np
    >>> from moenoise import plots
    >>> from scipy.stats import f
    >>> d, n = 10, np.arange(12, 60)
    >>> low, high = d / (n - d + 1) * f(d, n - d + 1).ppf([[0.05], [0.95]])
    >>> ax = plots.band(n, low, high, label="90 %", colour=plots.COLOURS["experts"])
    >>> ax.get_legend_handles_labels()[1]
    ['90 %']
    """
    ax = default_axes(ax)
    x, low, high = (np.ma.masked_invalid(np.asarray(values, dtype=float)) for values in (x, low, high))
    ax.fill_between(x, low, high, color=colour, alpha=0.2, linewidth=0, label=label, zorder=1)
    return ax


def confusion(matrix, *, ax=None):
    """A router's confusion matrix, as shaded squares with their numbers in per cent.

    Parameters
    ----------
    matrix : (k, k) array_like
        Row i, column j: the share of expert i's inputs that are sent to expert j, between 0 and 1.
    ax : matplotlib.axes.Axes, optional
        Default: new ones.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    ValueError
        Where the matrix is not square, or an entry is not between 0 and 1.

    Examples
    --------
    >>> from moenoise import plots
    >>> ax = plots.confusion([[0.9, 0.1], [0.25, 0.75]])
    >>> [text.get_text() for text in ax.texts]
    ['90', '10', '25', '75']
    """
    matrix = np.asarray(matrix, dtype=float)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or matrix.size == 0:
        raise ValueError(f"matrix must be square, got shape {matrix.shape}")
    if not ((matrix >= 0) & (matrix <= 1)).all():
        raise ValueError("matrix must hold shares, between 0 and 1")
    ax = default_axes(ax)
    ax.imshow(matrix, cmap="Blues", vmin=0, vmax=1)
    experts = range(len(matrix))
    if len(matrix) <= MOST_NUMBERED:
        for i in experts:
            for j in experts:
                ax.text(j, i, f"{100 * matrix[i, j]:.0f}", ha="center", va="center", fontsize=7,
                        color="white" if matrix[i, j] > 0.5 else "black")
        ax.set_xticks(experts)
        ax.set_yticks(experts)
    ax.set_xlabel("sent to expert (shares in %)")
    ax.set_ylabel("belongs to expert")
    return ax


def activation_blocks(A, modules=None, *, sparsity=0.7, most_pixels=400, ax=None):
    """Activations as a heatmap of ranks, pruned entries white: as given, or ordered by module with lines between.

    As in the paper's Figures 1 and 7 to 10 (Appendix B.1) an entry shows the percentile rank of its magnitude in its
    column, in (0, 1], or 0 where the magnitude is at most the one that a share `sparsity` of all entries do not exceed.
    Where there are more entries than pixels, a pixel is the mean of a tile of them. Shades are 16; the first, for all
    below 1/16, is white.

    Ordering makes blocks appear in anything: draw the same of rows without modules beside it, as in the example.

    Parameters
    ----------
    A : (n, d) array_like
        Rows by features.
    modules : Modules, optional
        From `moenoise.activations.find_modules` on A, or on more rows of which A are those that it looked at. These
        rows are shown, by expert, and the features by module, those in none last. Without it everything is as given.
    sparsity : float in [0, 1), default 0.7
        The share of entries that are pruned.
    most_pixels : int, default 400
        Of the heatmap, each way. An SVG file takes up to 260 kB then, and 50 kB where it is 150.
    ax : matplotlib.axes.Axes, optional
        Default: new ones.

    Returns
    -------
    matplotlib.axes.Axes
        ``ax.images[0]`` is the heatmap; its ``set_clim`` sets which ranks are white and which are darkest.

    Raises
    ------
    TypeError, ValueError
        Where an argument has the wrong kind, shape or range, or where the modules are of other activations.

    Examples
    --------
    Three planted modules, and beside them a draw with the same columns and correlations, but no modules:

    >>> import moenoise as mn
    >>> from moenoise.activations.copula import GaussianCopula
    >>> rows = mn.BlockModel.isotropic(24, 3, variance=9.0, rng=0).sample(600, rng=1).features
    >>> figure, axes = mn.plots.new_axes(2)
    >>> for A, ax in zip((rows, GaussianCopula(rows).draw(0, 0)), axes):
    ...     ax = mn.plots.activation_blocks(A, mn.activations.find_modules(A, 3, rng=0), ax=ax)
    >>> axes[0].images[0].get_array().shape
    (400, 24)
    """
    A = _validation.as_array(A, "A", 2)
    sparsity = _validation.as_scalar(sparsity, "sparsity", low=0, high=1, open_high=True)
    most_pixels = _validation.as_integer(most_pixels, "most_pixels", low=1)
    if modules is not None:
        A = _rows_of(modules, A)
    ranks = _pruned_ranks(np.abs(A), sparsity)
    if modules is not None:
        ranks = ranks[np.ix_(modules.row_order, modules.feature_order)]
    ax = default_axes(ax)
    n, d = ranks.shape
    ax.imshow(_tile_means(ranks, most_pixels), cmap=RANKS, vmin=0, vmax=1, aspect="auto", extent=(0, d, n, 0),
              interpolation="none")  # stored in an SVG file as it is, and neither smoothed nor enlarged
    if modules is not None:
        line = {"color": COLOURS["experts"], "linewidth": 0.4}
        ax.hlines(np.cumsum(modules.counts)[:-1], 0, d, **line)
        ax.vlines(np.cumsum(modules.block_sizes)[: -1 if modules.block_sizes.sum() == d else None], 0, n, **line)
    ax.set_xlabel("features")
    ax.set_ylabel("rows")
    return ax


def _rows_of(modules, A):
    """The rows that the modules were found in: of A, or A itself where it has no others."""
    if not isinstance(modules, Modules):
        raise TypeError(f"modules must be what moenoise.activations.find_modules returns, got {type(modules).__name__}")
    if len(modules.features) != A.shape[1]:
        raise ValueError(f"modules must be of the {A.shape[1]} features of A, got {len(modules.features)}")
    if len(modules.index) == len(A):
        return A
    if modules.index.max() >= len(A):
        raise ValueError(f"modules must be of the {len(A)} rows of A, got one of row {modules.index.max()}")
    return A[modules.index]


def _pruned_ranks(magnitudes, sparsity):
    """(n, d) percentile ranks within columns, 0 where pruned."""
    from scipy.stats import rankdata

    pruned = magnitudes <= magnitude_threshold(magnitudes, sparsity)
    return np.where(pruned, 0, rankdata(magnitudes, axis=0) / len(magnitudes))


def _tile_means(values, most):
    """The matrix, or where it has more than `most` rows or columns the means of so many tiles, of equal size but 1."""
    for axis, length in enumerate(values.shape):
        if length > most:
            edges = np.arange(most + 1) * length // most
            shape = (-1, 1) if axis == 0 else (1, -1)
            values = np.add.reduceat(values, edges[:-1], axis=axis) / np.diff(edges).reshape(shape)
    return values


def agreement(records, *, ax=None):
    """Each record's stated numbers as multiples of the measured one: 1 is agreement.

    Records without a positive measured number are left out. The grey bars are two standard errors of what was measured.
    """
    ax = default_axes(ax)
    shown = [record for record in records if record.measured and record.measured > 0]
    rows = np.arange(len(shown))
    for row, record in zip(rows, shown):
        error = 2 * record.standard_error / record.measured
        ax.plot([1 - error, 1 + error], [row, row], color="#BBBBBB", linewidth=5, solid_capstyle="butt", zorder=1)
    for form, marker, size in (("corrected", "o", 4), ("printed", "D", 8)):
        points = [(getattr(record, form) / record.measured, row) for row, record in zip(rows, shown)
                  if getattr(record, form) is not None]
        if points:
            ax.plot(*zip(*points), marker, color=COLOURS[form], markersize=size, label=form, zorder=3,
                    fillstyle="none" if form == "printed" else "full")
    ax.axvline(1, color=COLOURS["reference"], linewidth=0.8, zorder=0)
    ax.set_yticks(rows, [f"{record.quantity}\n{record.setting}" for record in shown], fontsize=7)
    ax.invert_yaxis()
    ax.set_xlabel("stated / measured")
    ax.legend()
    return ax


def phase(table, x, y, value, *, level=0.0, limit=None, label=None, bar=True, ax=None):
    """A phase diagram: where a sweep's mean result is above a level, and where below.

    Colours are the means: orange above the level (of a "lead": experts win), purple below (dense wins). Markers are the
    measured boundary, between cells in each row and each column of them, with bars of two standard errors, which end at
    the centres of the two neighbouring cells even where the errors are larger; the line is theory's, interpolated
    between the same cells. Cells with a ring are within two standard errors of the level: not decided. White cells have
    no finite mean.

    Parameters
    ----------
    table : moenoise.sweeps.table.Table
        From `moenoise.sweep` or `moenoise.load_sweep`. Choose by its ``where`` on axes other than x and y; for an
        experiment of your own give it a theory by ``with_theory``, without which there is no line.
    x, y : str
        Axes of numbers; a positive one over a factor of ten or more, or in steps of one ratio, is drawn in its
        logarithm.
    value : str
        The result, say "lead": by how much the experts' risk is below dense's.
    level : float, default 0
        The boundary's.
    limit : float, optional
        How far from the level colours are told apart. Default: the 90 % quantile of the cells.
    label : str, optional
        Of the colour bar. Default: the result's name, and what the colours mean.
    bar : bool, default True
        Whether there is a colour bar. One for several diagrams: ``colour_bar(ax.collections[0], axes, label)``.
    ax : matplotlib.axes.Axes, optional
        Default: new ones, with a legend below. To axes of your own no legend is added: ``legend_below(figure, axes)``.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    TypeError, ValueError
        Where `table` is something else, say a summary; where a name is unknown, an axis holds no numbers or has a
        single value, or a third axis has several; where no mean is finite; where a number is not as described.

    Examples
    --------
    >>> import moenoise as mn
    >>> grid = mn.Grid(wrong_routes=[0.0, 0.2, 0.4, 0.6], noise_variance=[0.5, 1.0, 2.0], n=400, d=40, k=4)
    >>> table = mn.sweep("misrouting", grid, replicates=8, progress=False)
    >>> ax = mn.plots.phase(table, x="wrong_routes", y="noise_variance", value="lead")
    >>> [text.get_text() for text in ax.figure.legends[0].get_texts()]
    ['theory', 'measured']
    """
    if not isinstance(table, Table):
        raise TypeError(f"table must be what moenoise.sweep or moenoise.load_sweep returned, got "
                        f"{type(table).__name__}")
    table.check_drawn(value, x, y)
    level = _validation.as_scalar(level, "level")
    if limit is not None:
        limit = _validation.as_scalar(limit, "limit", low=0, open_low=True)
    bar = _validation.as_flag(bar, "bar")
    surface = table.surface(x, y, value)
    if min(surface.means.shape) < 2:
        raise ValueError(f"x and y must be two axes with several values each, got {x}: {len(surface.xs)} and "
                         f"{y}: {len(surface.ys)}")
    if not np.isfinite(surface.means).any():
        raise ValueError(f"value must be a result with a finite mean in some cell, got {value!r}, which has none")
    expected, own = table.surface(x, y, value, stated=True), ax is None
    ax = default_axes(ax)
    scale_axis(ax, "x", surface.xs)
    scale_axis(ax, "y", surface.ys)
    image = _shade(ax, surface, level, limit)
    if bar:
        meaning = f"{value.replace('_', ' ')} (orange: above {level:g}, purple: below)"
        colour_bar(image, ax, meaning if label is None else label)
    _trace(ax, expected, level)
    _ring(ax, surface, level)
    _mark(ax, surface, table.boundary(x, y, value, level=level), x)
    ax.set_xlabel(x.replace("_", " "))
    ax.set_ylabel(y.replace("_", " "))
    if own:
        legend_below(ax.figure, ax)
    return ax


def colour_bar(image, axes, label, **where):
    """A bar of an image's colours, which go on beyond both its ends, beside one or several axes, or `where` it is put.

    `where` are arguments of `matplotlib.figure.Figure.colorbar`: ``location="bottom"``, ``shrink=0.5``.
    """
    with matplotlib.rc_context(STYLE):
        bar = np.ravel(axes)[0].figure.colorbar(image, ax=axes, label=label, extend="both", **where)
    bar.outline.set_visible(False)
    return bar


def scale_axis(ax, which, values):
    """Make an axis, "x" or "y", logarithmic where `is_log` of its values; ticks are at those of them that have room.

    On a linear axis of many values ticks are left as they are.
    """
    log = is_log(values)
    if log:
        getattr(ax, f"set_{which}scale")("log")
    if log or len(values) <= MOST_TICKED:
        axis = getattr(ax, f"{which}axis")
        axis.set_ticks(*_apart(np.sort(np.asarray(values, dtype=float)), which))
        axis.set_minor_locator(NullLocator())


def _apart(values, which):
    """Those of the increasing values, from the first one on, that have room beside each other; and their numerals."""
    scale, texts, shown = _scaled(values), _numerals(values), [0]
    for place in range(1, len(values)):
        digits = 1 + (len(texts[place]) + len(texts[shown[-1]])) / 2
        room = (scale[-1] - scale[0]) * (DIGIT * digits if which == "x" else LINE)
        if scale[place] - scale[shown[-1]] >= room:
            shown.append(place)
    return values[shown], [texts[place] for place in shown]


def _numerals(values):
    """Different numbers as different texts, of six digits or as many more as it takes."""
    texts = ([f"{value:.{digits}g}" for value in values] for digits in range(6, 18))
    return next(each for each in texts if len(set(each)) == len(values))


def _shade(ax, surface, level, limit):
    """The means as colours about the level."""
    away = np.abs(surface.means - level)
    if limit is None:
        limit = float(np.quantile(away[np.isfinite(away)], 0.9)) or 1.0
    xs, ys = _edges(surface.xs), _edges(surface.ys)
    image = ax.pcolormesh(xs, ys, np.ma.masked_invalid(surface.means), cmap="PuOr_r", vmin=level - limit,
                          vmax=level + limit, zorder=0)
    ax.set(xlim=(xs[0], xs[-1]), ylim=(ys[0], ys[-1]))
    return image


def _ring(ax, surface, level):
    """A ring in each cell whose mean is not told from the level; it stays in sight around a point of the boundary."""
    near = np.abs(surface.means - level) <= 2 * surface.errors
    rows, columns = np.nonzero(near & np.isfinite(surface.means))
    if len(rows):
        ax.plot(surface.xs[columns], surface.ys[rows], "o", fillstyle="none", color=COLOURS["reference"],
                markersize=min(RING, RINGS / max(surface.means.shape)), markeredgewidth=0.8, zorder=3.5,
                label="not decided (two standard errors)")


def _edges(centres):
    """Borders of cells half way between their centres, on the scale on which the axis is drawn."""
    scale = _scaled(centres)
    middle = (scale[1:] + scale[:-1]) / 2
    edges = np.concatenate([[2 * scale[0] - middle[0]], middle, [2 * scale[-1] - middle[-1]]])
    return np.exp(edges) if is_log(centres) else edges


def _scaled(values):
    """Values of an axis on the scale on which it is drawn."""
    return np.log(values) if is_log(values) else values


def _trace(ax, expected, level):
    """Theory's boundary: straight between neighbouring cells on the scale on which they are drawn."""
    heights = np.ma.masked_invalid(expected.means)
    lines = contour_generator(_scaled(expected.xs), _scaled(expected.ys), heights).lines(level)
    label = "theory"
    for xs, ys in (line.T for line in lines):
        ax.plot(np.exp(xs) if is_log(expected.xs) else xs, np.exp(ys) if is_log(expected.ys) else ys,
                color=COLOURS["corrected"], linewidth=1.8, label=label, zorder=3,
                path_effects=[withStroke(linewidth=3.6, foreground="white")])
        label = None


def _mark(ax, surface, boundary, x):
    """The measured boundary's points, with bars along the axis on which they were found."""
    label = "measured"
    for along_x in (True, False):
        points = [point for point in boundary if (point.along == x) == along_x]
        if points:
            _, xs, ys, errors = map(np.array, zip(*points))
            bars = _bars(surface.xs if along_x else surface.ys, xs if along_x else ys, errors)
            ax.errorbar(xs, ys, **{"xerr" if along_x else "yerr": bars}, fmt="o", color="black", markersize=3.5,
                        markeredgecolor="white", elinewidth=1, markeredgewidth=0.5, zorder=4, label=label)
            label = None


def _bars(centres, places, errors):
    """(2, p): how far down and up the bars of the p places between cells go, two errors but not beyond the cells."""
    bars = 2 * np.where(np.isfinite(errors), errors, np.nan)  # a single replicate has none
    below = centres[np.searchsorted(centres, places, side="left").clip(1) - 1]
    above = centres[np.searchsorted(centres, places, side="right").clip(max=len(centres) - 1)]
    return np.minimum(bars, [places - below, above - places])


def legend_below(figure, axes, columns=3):
    """One legend for all axes, under the figure, each label once."""
    entries = {}
    for ax in np.ravel(axes):
        for handle, label in zip(*ax.get_legend_handles_labels()):
            entries.setdefault(label, handle)
    if not entries:
        return
    figure.legend(entries.values(), entries.keys(), loc="outside lower center", ncols=columns,
                  frameon=False, fontsize=8)


def legend_beside_where_long(ax):
    """The axes' legend: within them up to `MOST_WITHIN` entries, else to their right."""
    entries = len(ax.get_legend_handles_labels()[1])
    beside = {"loc": "upper left", "bbox_to_anchor": (1.01, 1), "borderaxespad": 0,
              "ncols": math.ceil(entries / MOST_BELOW_EACH_OTHER)}
    with matplotlib.rc_context(STYLE):
        ax.legend(**(beside if entries > MOST_WITHIN else {}))


def svg(figure):
    """A figure as SVG, the same bytes each time.

    Parameters
    ----------
    figure : matplotlib.figure.Figure

    Returns
    -------
    bytes

    Examples
    --------
    >>> from moenoise import plots
    >>> figure, ax = plots.new_axes()
    >>> plots.svg(figure).startswith(b"<?xml")
    True
    """
    buffer = io.BytesIO()
    with matplotlib.rc_context(STYLE):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()
