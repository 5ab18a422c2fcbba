"""What a sweep found: a line a cell and replicate, and what is made of them."""

import html
import math
from typing import NamedTuple

import numpy as np

from .. import _validation
from .boundary import crossings
from .grid import cell_text
from .lines import Lines


class Surface(NamedTuple):
    """Means (m, n) and standard errors of a result over axes x (n,) and y (m,); NaN where there is none."""

    xs: np.ndarray
    ys: np.ndarray
    means: np.ndarray
    errors: np.ndarray


class Failure(NamedTuple):
    """A replicate of a cell that raised: the error as in Python's last line, and the traceback."""

    cell: dict
    replicate: int
    error: str
    traceback: str


class Summary(Lines):
    """Means over lines of a `Table`: what was not averaged over, and the results' means, standard errors and counts."""


class Table(Lines):
    """The results of a sweep, in the order of the grid's cells and of the replicates, as far as they are finished.

    Attributes
    ----------
    experiment : str
        The experiment's name.
    axes : dict of str to tuple
        The values on each axis, of all that was run.
    results : tuple of str
        The names of the results.
    records : structured array
        A line a success: the axes, ``replicate``, the results. Axes of whole or real numbers, bools or strings have
        their own dtype, others are objects. A result that only some lines have is NaN in the others.
    timings : structured array
        The same lines: the axes, ``replicate``, and ``seconds`` in the experiment. No two runs have the same.
    failures : list of Failure
        What raised.

    Examples
    --------
    >>> import moenoise as mn
    >>> def experiment(cell, rng):
    ...     return {"mean": rng.normal(scale=cell["scale"], size=cell["n"]).mean()}
    >>> table = mn.sweep(experiment, mn.Grid(scale=[1.0, 2.0], n=[10, 1000]), replicates=50, progress=False)
    >>> table
    <Table of 200 lines: scale, n, replicate, mean>
    >>> summary = table.where(n=1000).summary()
    >>> summary.records.dtype.names
    ('scale', 'n', 'mean_mean', 'mean_standard_error', 'mean_count')
    >>> bool(abs(summary.records["mean_mean"]).max() < 0.3)
    True
    """

    def __init__(self, experiment, cells, records, formula=None):
        self.experiment, self._formula = experiment, formula
        self._cells, self._records = cells, records  # dict: cell's text -> cell; list of records.Record
        self.axes = _axes(cells.values())
        successes = [record for record in records if record.error is None]
        self.results = tuple(dict.fromkeys(name for names in dict.fromkeys(tuple(each.results) for each in successes)
                                           for name in names))
        self.failures = [Failure(dict(cells[record.cell]), record.replicate, record.error, record.traceback)
                         for record in records if record.error is not None]
        lines = {name: _column([cells[record.cell][name] for record in successes]) for name in self.axes}
        lines["replicate"] = np.array([record.replicate for record in successes], dtype=np.int64)
        super().__init__(_structured(lines | {
            name: _column([record.results.get(name, math.nan) for record in successes]) for name in self.results}))
        # NaN that an experiment has found is something else than a result that it has not returned.
        self._has = {name: np.array([name in record.results for record in successes], bool) for name in self.results}
        self.timings = _structured(lines | {"seconds": np.array([record.seconds for record in successes], dtype=float)})

    def where(self, /, **values):
        """The `Table` of the cells with these values on these axes: one each, or a list, range or array of several.

        Raises
        ------
        ValueError
            Where there is no such axis, or no such value on it.
        """
        for name, value in values.items():
            if name not in self.axes:
                raise ValueError(f"where() must be given axes among {', '.join(self.axes) or 'none'}; got {name!r}")
            values[name] = wanted = list(value) if isinstance(value, (list, range, np.ndarray)) else [value]
            for one in wanted:
                if one not in self.axes[name]:
                    raise ValueError(f"{name} must be among {', '.join(map(repr, self.axes[name]))}; got {one!r}")
        cells = {text: cell for text, cell in self._cells.items()
                 if all(cell[name] in wanted for name, wanted in values.items())}
        return Table(self.experiment, cells, [record for record in self._records if record.cell in cells],
                     self._formula)

    def summary(self, over="replicate"):
        """Means over replicates, or over axes too: a line for each combination of the other axes' values.

        Parameters
        ----------
        over : str or list of str, default "replicate"
            What is averaged over: "replicate", axes, or several of them.

        Returns
        -------
        Summary
            ``records`` has the other axes and, for each result, ``<result>_mean``, ``<result>_standard_error`` (the
            standard deviation of the mean, of independent lines; inf for a single one) and ``<result>_count``: how many
            lines have the result, which is what the mean is of. NaN in one of them makes it NaN.

        Raises
        ------
        ValueError
            Where `over` names something else.
        """
        over = [over] if isinstance(over, str) else _validation.as_list(over, "over")
        known = (*self.axes, "replicate")
        for name in over:
            if name not in known:
                raise ValueError(f"over must be among {', '.join(known)}; got {name!r}")
        kept = [name for name in known if name not in over]
        group, first = _groups([self.records[name] for name in kept], len(self))
        columns = {name: self.records[name][first] for name in kept}
        for name in self.results:
            has = self._has[name]
            for part, values in _moments(self.records[name][has], group[has], len(first)).items():
                if f"{name}_{part}" in columns:
                    raise ValueError(f"summary() cannot name the {part} of {name!r}: there is a column {name}_{part}")
                columns[f"{name}_{part}"] = values
        return Summary(_structured(columns))

    def plot(self, x, y, hue=None, *, ax=None):
        """Means of the result `y` against the axis `x`, in a colour for each value of the axis `hue`.

        Bars are two standard errors; lines are theory's (see `theory`); where it knows nothing of the result, means of
        neighbouring cells are joined by dotted lines. Numbers as hues are in their order, more than six in shades from
        dark to light. A legend of more than six entries is beside the axes.

        Parameters
        ----------
        x : str
            An axis, of numbers or words.
        y : str
            A result.
        hue : str, optional
            Another axis.
        ax : matplotlib.axes.Axes, optional
            Default: new ones.

        Returns
        -------
        matplotlib.axes.Axes

        Raises
        ------
        ValueError
            Where a name is unknown, or another axis has several values: choose with `where`.
        """
        from .. import plots

        self.check_drawn(y, x, *([] if hue is None else [hue]))
        ax = plots.default_axes(ax)
        if _are_numbers(self.axes[x]):
            plots.scale_axis(ax, "x", self.axes[x])
        else:
            ax.xaxis.update_units(list(map(str, self.axes[x])))  # in the axis' order, whatever each curve has of it
        hues = () if hue is None else self.axes[hue]
        ordered = _are_numbers(hues)
        parts = [(f"{hue}={value}", self.where(**{hue: [value]})) for value in (sorted(hues) if ordered else hues)]
        parts = parts or [(y, self)]
        stated = [part._plot_one(x, y, ax, label, *style)
                  for (label, part), style in zip(parts, plots.curve_styles(len(parts), ordered))]
        if any(stated):
            ax.plot([], [], color=plots.COLOURS["reference"], label="theory")
        ax.set_xlabel(x.replace("_", " "))
        ax.set_ylabel(y.replace("_", " "))
        plots.legend_beside_where_long(ax)
        return ax

    def _plot_one(self, x, y, ax, label, colour, marker):
        """Means, and theory's line where it has one, else dotted ones; whether there is a theory."""
        from .. import plots

        places, means, errors, stated = self._line(x, y)
        plots.measured(places, means, errors, label=label, colour=colour, marker=marker, ax=ax)
        known = np.isfinite(stated)
        if known.any():
            plots.stated(places, stated, colour=colour, label=None, ax=ax)
        for left in np.flatnonzero(~(known[:-1] & known[1:])):
            ax.plot(places[left:left + 2], means[left:left + 2], ":", color=colour, linewidth=0.8, zorder=2)
        return known.any()

    def _line(self, x, y):
        """Along x, increasing where it holds numbers, else as texts: places, means, their errors, theory; or NaN."""
        found = self.summary().records
        measured = dict(zip(found[x].tolist(), zip(found[f"{y}_mean"], found[f"{y}_standard_error"])))
        expected = {cell[x]: results[y] for cell, results in self.theory() if results.get(y) is not None}
        places = sorted(self.axes[x]) if _are_numbers(self.axes[x]) else self.axes[x]
        means, errors = np.transpose([measured.get(place, (math.nan, math.nan)) for place in places])
        stated = np.array([expected.get(place, math.nan) for place in places], dtype=float)
        errors = np.where(np.isfinite(errors), errors, math.nan)  # a single replicate has none
        return places if _are_numbers(places) else list(map(str, places)), means, errors, stated

    def theory(self):
        """What theory expects of the results in each cell: a built-in experiment's own, or that of `with_theory`.

        Returns
        -------
        list of (dict, dict)
            Cells, and by name those results that theory knows there; empty for an experiment without theory.

        Raises
        ------
        TypeError
            Where the formula of `with_theory` returns something else than a dict.
        """
        if self._formula is None:
            return []
        return [(dict(cell), _dict(self._formula(dict(cell)))) for cell in self._cells.values()]

    def with_theory(self, formula):
        """The same `Table` with a theory of your own, for figures and boundaries.

        Parameters
        ----------
        formula : callable
            ``formula(cell)`` returns a dict of what it expects of results, by their names; those that it does not know
            are left out.

        Returns
        -------
        Table

        Raises
        ------
        TypeError
            Where it is no function.

        Examples
        --------
        >>> import moenoise as mn
        >>> def experiment(cell, rng):
        ...     return {"mean": rng.normal(cell["centre"], size=100).mean()}
        >>> table = mn.sweep(experiment, mn.Grid(centre=[-1.0, 0.0, 2.0]), replicates=20, progress=False)
        >>> table.with_theory(lambda cell: {"mean": cell["centre"]}).theory()[2]
        ({'centre': 2.0}, {'mean': 2.0})
        """
        if not callable(formula):
            raise TypeError(f"formula must be a function of a cell, got {formula!r}")
        return Table(self.experiment, self._cells, self._records, formula)

    def boundary(self, x, y, value, *, level=0.0, stated=False):
        """Where the mean of a result crosses a level, between neighbouring cells of two axes.

        Parameters
        ----------
        x, y : str
            Axes of numbers; on others there must be a single value.
        value : str
            The result.
        level : float, default 0
        stated : bool, default False
            Whether theory's values in the same cells are taken in place of the measured means, so that both boundaries
            are interpolated alike.

        Returns
        -------
        list of Crossing
            Named tuples ``(along, x, y, standard_error)``: points found on lines of cells along x, then along y, by
            linear interpolation, in the logarithm on a positive axis over a factor of ten or more, or in steps of one
            ratio.

        Raises
        ------
        ValueError
            Where a name is unknown, an axis holds no numbers, or a third one has several values; where theory knows
            the result in none of the cells.

        Examples
        --------
        >>> import moenoise as mn
        >>> def experiment(cell, rng):
        ...     return {"lead": cell["a"] - cell["b"] + rng.normal(scale=0.01)}
        >>> table = mn.sweep(experiment, mn.Grid(a=[1.0, 2.0, 3.0], b=[0.5, 2.5]), 20, progress=False)
        >>> point = table.boundary("a", "b", "lead")[0]
        >>> point.along, round(point.x, 1), point.y
        ('a', 2.5, 2.5)
        """
        self.check_drawn(value, x, y)
        surface = self.surface(x, y, value, stated=stated)
        if stated and np.isnan(surface.means).all():
            raise ValueError(f"stated=True takes a theory of {value!r} in some of these cells; {self._known()}")
        return crossings(surface.xs, surface.ys, surface.means, surface.errors, level, (x, y))

    def _known(self):
        """What theory knows in these cells, for a message."""
        expected = self.theory()
        if not expected:
            return f"{self.experiment} has none: give it one by table.with_theory(formula)"
        known = dict.fromkeys(name for _, results in expected for name, mean in results.items() if mean is not None)
        return f"what it knows there is {', '.join(known) or 'nothing'}"

    def surface(self, x, y, value, *, stated=False):
        """The means of a result in the cells of two axes, as a `Surface`; of theory's, where `stated`."""
        xs, ys = (np.sort(_numbers_of(self.axes[name], name)) for name in (x, y))
        means, errors = np.full((2, len(ys), len(xs)), math.nan)
        if stated:
            lines = [(cell[x], cell[y], expected.get(value), 0.0) for cell, expected in self.theory()]
        else:
            found = self.summary().records
            lines = zip(*(found[name].tolist() for name in (x, y, f"{value}_mean", f"{value}_standard_error")))
        for at_x, at_y, mean, error in lines:
            place = np.searchsorted(ys, at_y), np.searchsorted(xs, at_x)
            means[place], errors[place] = math.nan if mean is None else mean, error
        return Surface(xs, ys, means, errors)

    def check_drawn(self, value, *axes):
        """Raise ValueError where a figure of this result over these axes would mix cells, or a name is unknown."""
        if value not in self.results:
            raise ValueError(f"a figure's value must be a result, {', '.join(self.results) or 'none'}; got {value!r}")
        if len(set(axes)) < len(axes):
            raise ValueError(f"a figure must be over different axes, got {', '.join(axes)}")
        for name in axes:
            if name not in self.axes:
                raise ValueError(f"a figure must be over axes among {', '.join(self.axes)}; got {name!r}")
        for name, values in self.axes.items():
            if name not in axes and len(values) > 1:
                raise ValueError(f"{name} has {len(values)} values, which a figure over {', '.join(axes)} would mix: "
                                 f"choose one, as by table.where({name}={values[0]!r})")

    def __repr__(self):
        failed = f", {len(self.failures)} failed" if self.failures else ""
        return f"{super().__repr__()[:-1]}{failed}>"

    def _caption_html(self):
        failed = f", <b>{len(self.failures)} failed</b> (see <code>.failures</code>)" if self.failures else ""
        return f"<p>{html.escape(self.experiment)}: {len(self):,} results{failed}</p>"


def of_grid(experiment, requests, records, formula=None):
    """The `Table` of those cells and replicates of the requests, [(grid, replicates)], that have a record."""
    cells, ordered = {}, {}
    for grid, replicates in requests:
        for cell in grid:
            text = cell_text(cell)
            cells.setdefault(text, cell)
            for replicate in range(replicates):
                record = records.get((text, replicate))
                if record is not None:
                    ordered[text, replicate] = record
    return Table(experiment, cells, list(ordered.values()), formula)


def _dict(expected):
    if not isinstance(expected, dict):
        raise TypeError(f"formula must return a dict of the results that it knows, got {expected!r}")
    return expected


def _axes(cells):
    """dict: the values on each axis, in the order in which they come up."""
    values = {}
    for cell in cells:
        for name, value in cell.items():
            values.setdefault(name, {})[value] = None
    return {name: tuple(each) for name, each in values.items()}


def _numbers_of(values, name):
    """An axis' values as floats; ValueError where they are none."""
    if not _are_numbers(values):
        raise ValueError(f"{name} must hold finite numbers to be an axis of a diagram, got {values}")
    return np.array(values, dtype=float)


def _are_numbers(values):
    """Whether all are finite numbers, which have a place on an axis; no bools."""
    return all(type(value) in (int, float) and math.isfinite(value) for value in values)


def _column(values):
    """Values as an array of the dtype that they share, or of objects."""
    kinds = set(map(type, values))
    if len(kinds) == 1 and kinds <= {bool, int, float, str}:
        return np.array(values)
    if kinds and kinds <= {int, float, bool}:
        return np.array(values, dtype=float if float in kinds else np.int64)
    column = np.empty(len(values), dtype=object)
    column[:] = values
    return column


def _structured(columns):
    """One structured array of the columns, a dict of arrays of one length."""
    records = np.empty(len(next(iter(columns.values()))) if columns else 0,
                       dtype=[(name, column.dtype) for name, column in columns.items()])
    for name, column in columns.items():
        records[name] = column
    return records


def _groups(columns, count):
    """(count,) numbers of the groups of equal lines, in order of appearance, and each one's first line."""
    numbers, first, group = {}, [], np.empty(count, dtype=np.intp)
    for line, values in enumerate(zip(*(column.tolist() for column in columns)) if columns else ((),) * count):
        group[line] = number = numbers.setdefault(values, len(numbers))
        if number == len(first):
            first.append(line)
    return group, np.array(first, dtype=np.intp)


def _moments(values, group, count):
    """Mean, its standard error and the number of lines of each group."""
    values = values.astype(float)
    counts = np.bincount(group, minlength=count)
    with np.errstate(all="ignore"):
        means = np.bincount(group, values, count) / counts
        squares = np.bincount(group, (values - means[group]) ** 2, count)
        errors = np.sqrt(squares / (counts - 1) / counts)
    return {"mean": means, "standard_error": np.where(np.isnan(errors), math.inf, errors), "count": counts}
