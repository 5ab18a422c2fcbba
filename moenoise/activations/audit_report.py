"""An audit as a page, as JSON, as figures, and in short for Jupyter."""

import base64
import json
import math
from pathlib import Path

import matplotlib
import numpy as np

from .. import __version__, plots
from ..page import ENVIRONMENT
from ..report import prepare_folder, write_atomically
from .copula import GaussianCopula
from .fitted import crossover
from .modularity import LEAST_RATIO
from .modules import modules_of
from .verdict import ANSWERS

SHOWN = {"experts": ("experts", "o"), "ridge": ("dense", "s"), "random blocks": ("other", "^"),
         "experts, oracle": ("corrected", "D")}
"""What the figure of risks shows: colour and marker."""

MOST_DRAWN = 2000
"""Rows of the draw that is shown."""

CAPTIONS = {
    "modules": "The activations, rows and features ordered by module: percentile ranks of their magnitudes within each "
               "feature, what is not active in white.",
    "null": "The same of a draw without modules, with modules of its own: ordering makes blocks appear in anything.",
    "modularity": "Modularity on rows that the modules were not found on: of the activations, and of {draws} draws "
                  "that have their {kind}, and no modules. Dotted: {ratio:g} times the draws' mean.",
    "risks": "Risks on rows held out, over the added noise; bars are two standard errors. 1 is the risk of the mean.",
    "predictions": "What the fitted block model predicts for least squares without a penalty (lines), and what was "
                   "measured (markers, with bars of two standard errors).",
}


def as_json(audit):
    """`Audit.to_json`."""
    return json.dumps(as_dict(audit), indent=1, allow_nan=False) + "\n"


def as_dict(audit):
    """Everything but the rows and the covariances, in what JSON knows; None for what is not finite."""
    verdict = audit.verdict
    modules, model = audit.modules, audit.model
    document = {
        "version": __version__,
        "verdict": {"sentence": str(verdict)} | {name: getattr(verdict, name) for name in verdict._fields[:-1]},
        "answers": [answer._asdict() for answer in verdict.answers],
        "modularity": audit.modularity._asdict(),
        "interference": None if audit.interference is None else audit.interference._asdict(),
        "modules": {"features": modules.features, "experts": modules.experts, "index": modules.index,
                    "threshold": modules.threshold, "sparsity": modules.sparsity, "notes": list(modules.notes)},
        "model": None if model is None else {
            "block_sizes": model.block_sizes, "probabilities": model.probabilities,
            "noise_variance": model.noise_variance, "signal_variances": model.signal_variances,
            "crossover_noise": crossover(model)},
        "measurements": audit.measurements,
        "predictions": audit.predictions,
        "settings": audit.settings,
    }
    return plain(document)


def plain(value):
    """`value` in Python's own types."""
    if isinstance(value, dict):
        return {key: plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(entry) for entry in value]
    if isinstance(value, (np.ndarray, np.generic)):
        return plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def panels(audit):
    """{name: function that draws it on axes}, those that there is something to show for."""
    drawn = {"modules": draw_modules, "null": draw_null, "modularity": draw_modularity}
    if audit.measurements:
        drawn |= {"risks": draw_risks, "predictions": draw_predictions}
    return drawn


def plot(audit, axes=None):
    """`Audit.plot`."""
    drawn = panels(audit)
    if axes is None:
        _, axes = plots.new_axes(len(drawn), width=3.0, height=2.9)
    if len(axes) != len(drawn):
        raise ValueError(f"axes must be {len(drawn)} of them, got {len(axes)}")
    with matplotlib.rc_context(plots.STYLE):
        for draw, ax in zip(drawn.values(), axes):
            draw(audit, ax)
    return axes


def figures(audit):
    """{name: (caption, figure)}"""
    found = {}
    with matplotlib.rc_context(plots.STYLE):
        for name, draw in panels(audit).items():
            figure, ax = plots.new_axes(width=4.6, height=3.2)
            draw(audit, ax)
            found[name] = CAPTIONS[name].format(draws=len(audit.modularity.null), ratio=LEAST_RATIO,
                                                 kind=audit.modularity.null_kind), figure
    return found


def draw_modules(audit, ax):
    """Activations by module."""
    plots.activation_blocks(audit.rows, audit.modules, sparsity=audit.settings["sparsity"], ax=ax)
    ax.set_title("activations")


def draw_null(audit, ax):
    """A draw without modules, of some of the rows, by modules of its own."""
    few = audit.rows[:MOST_DRAWN]
    drawn = GaussianCopula(few).draw(0, 0)
    modules = modules_of(drawn, audit.modules.k, audit.settings["sparsity"], seed=0)
    plots.activation_blocks(drawn, modules, sparsity=audit.settings["sparsity"], ax=ax)
    ax.set_title("a draw without modules")


def draw_modularity(audit, ax):
    """The score beside the null's."""
    found = audit.modularity
    ax.plot(found.null, np.zeros(len(found.null)), "|", color=plots.COLOURS["reference"], markersize=14, alpha=0.5,
            label="draws without modules")
    ax.plot([found.score], [0], "o", color=plots.COLOURS["experts"], label="activations", markersize=7)
    ax.axvline(LEAST_RATIO * found.null.mean(), color=plots.COLOURS["reference"], linewidth=0.8, linestyle=":")
    ax.set_ylim(-1, 1)
    ax.set_yticks([])
    ax.spines["left"].set_visible(False)
    ax.set_xlim(0, None)
    ax.set_xlabel("modularity on held-out rows")
    ax.set_title(f"z = {found.z:.1f}, ratio {found.ratio:.2f}, agreement {found.ari:.2f}")
    ax.legend(loc="upper left")


def series(records, quantity, value="value"):
    """(noise, values) of the records of a quantity."""
    chosen = [record for record in records if record["quantity"] == quantity]
    return [record["noise"] for record in chosen], [record[value] for record in chosen]


def draw_risks(audit, ax):
    """Risks over noise: experts and their rivals."""
    for name, (colour, marker) in SHOWN.items():
        noise, risks = series(audit.measurements, name)
        _, errors = series(audit.measurements, name, "standard_error")
        ax.plot(noise, risks, color=plots.COLOURS[colour], linewidth=0.8, alpha=0.6)
        plots.measured(noise, risks, errors, label=name, colour=plots.COLOURS[colour], marker=marker, ax=ax)
    label_risks(ax)


def draw_predictions(audit, ax):
    """Least squares, dense and sparse: predicted and measured."""
    for quantity, name, colour in (("dense", "dense", "dense"), ("sparse", "experts, untuned", "experts")):
        noise, risks = series(audit.measurements, name)
        _, errors = series(audit.measurements, name, "standard_error")
        plots.measured(noise, risks, errors, label=f"{quantity}, measured", colour=plots.COLOURS[colour], ax=ax)
        plots.stated(*series(audit.predictions, quantity, "predicted"), label=f"{quantity}, predicted",
                     colour=plots.COLOURS[colour], ax=ax)
    label_risks(ax)


def label_risks(ax):
    """The axes that risks are drawn on."""
    ax.axhline(1, color=plots.COLOURS["reference"], linewidth=0.8, zorder=0)
    ax.set_xlabel("added noise (standard deviations of a feature)")
    ax.set_ylabel("risk / variance of the response")
    ax.set_ylim(0, None)
    ax.legend()


def write(audit, folder, source="activations"):
    """`Audit.write`; each file appears whole or not at all, the page last."""
    folder = prepare_folder(folder)
    drawn = {name: (caption, plots.svg(figure)) for name, (caption, figure) in figures(audit).items()}
    for name, (_, image) in drawn.items():
        write_atomically(folder / f"{name}.svg", image.decode())
    write_atomically(folder / "audit.json", as_json(audit))
    write_atomically(folder / "index.html", html_page(audit, drawn, source))
    return Path(folder)


def html_page(audit, drawn, source):
    """The whole audit, one self-contained page (str)."""
    images = [(caption, f"data:image/svg+xml;base64,{base64.b64encode(image).decode()}")
              for caption, image in drawn.values()]
    return ENVIRONMENT.get_template("audit.html").render(
        source=source, version=__version__, sentence=str(audit.verdict), answers=answer_rows(audit.verdict),
        notes=audit.modules.notes, images=images, described=described(audit), measurements=audit.measurements,
        predictions=plain(audit.predictions), settings=audit.settings)


def html_fragment(audit):
    """The verdict and the answers, for Jupyter (str)."""
    tables = ENVIRONMENT.get_template("audit_tables.html").module
    style = ENVIRONMENT.get_template("tables.css").render()
    notes = "".join(f"<p>{note}</p>" for note in audit.modules.notes)
    return (f"<style>{style}</style><p><b>{audit.verdict}</b></p>{tables.answers(answer_rows(audit.verdict))}{notes}"
            f"<details><summary>All measurements</summary>{tables.measurements(audit.measurements)}"
            f"{tables.predictions(plain(audit.predictions))}</details>")


def answer_rows(verdict):
    """The answers as the tables want them."""
    kinds = {True: "holds", False: "fails", None: "none"}
    return [{"question": each.question, "reason": each.reason.replace("+-", "±"), "word": ANSWERS[each.answer],
             "kind": kinds[each.answer]} for each in verdict.answers]


def described(audit):
    """What was looked at, as pairs of texts."""
    settings, modules = audit.settings, audit.modules
    dropped = f", {settings['n_duplicates']:,} of them repeated" if settings["n_duplicates"] else ""
    chosen = "as asked for" if settings["experts_given"] else "of the highest held-out modularity"
    pairs = [("Rows", f"{settings['n_rows']:,}{dropped}; {settings['n_rows_used']:,} distinct ones looked at, in "
                      f"{settings['n_groups']:,} groups; modules on {settings['n_rows_different']:,} of them"),
             ("Features", f"{settings['n_features']:,}"),
             ("Experts", f"{modules.k}, {chosen}; features {', '.join(map(str, modules.block_sizes))}; rows "
                         f"{', '.join(map(str, modules.counts))}"),
             ("Sparsity", f"{modules.sparsity:.3g}: active is what is above {modules.threshold:.4g} in magnitude"),
             ("Agreement of two halves", f"adjusted Rand index {audit.modularity.ari:.2f}, of draws without modules "
                                         f"{audit.modularity.null_ari:.2f}"),
             ("Active inside and outside", f"{audit.modularity.density_inside:.1%} and "
                                           f"{audit.modularity.density_outside:.1%}; of draws "
                                           f"{audit.modularity.null_density_inside:.1%} and "
                                           f"{audit.modularity.null_density_outside:.1%}")]
    if audit.model is not None:
        meets = crossover(audit.model)
        when = f"from a standard deviation of {meets:.3g} on" if math.isfinite(meets) else "at no standard deviation"
        pairs.append(("Block model", f"noise variance {audit.model.noise_variance:.3g} of a feature's 1; were noise "
                                     f"added to test rows alone, dense would win {when} (Theorem 3)"))
    if settings["classes"] is not None:
        pairs.append(("Targets", f"{len(settings['classes'])} classes, one response each"))
    elif settings["responses"] is not None:
        count = settings["responses"]
        pairs.append(("Targets", f"{count} response{'s' if count > 1 else ''}"))
    return pairs
