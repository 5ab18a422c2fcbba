"""Blocks in a trained network's activations, as in the paper's heatmaps: on rows held out, beside draws that have none.

The paper shows pictures; what is judged here is what they are said to show. Rows are tokens of docstrings in MiniLM,
one row a token of the vocabulary: one that comes again has nearly the same activations in early layers. The null is a
Gaussian copula with the rows' own columns and correlations, since a finder finds blocks in anything. Neurons have a
second one: what the layer makes of inputs drawn from the copula of its inputs. The magnitude of a GELU falls before it
rises, so that neurons of inputs without modules are no copula themselves.

Verdicts have rules of their own (see `judged`). A number that differs from seed to seed, other sentences and other
columns, holds where its `CONFIDENCE` interval over seeds lies on the right side of the bound, fails where it lies on
the other, and is undecided between. So it is about other rows of this network, and no other network. A z is in standard
errors as it stands, and needs no interval.
"""

import dataclasses
import itertools
from typing import NamedTuple

import numpy as np

from .._random import philox_key
from ..activations.copula import GaussianCopula
from ..activations.folds import folds
from ..activations.modularity import LEAST_RATIO, LEAST_Z, cross_score
from ..activations.modules import Modules, modules_of
from ..activations.sparsity import thresholds
from ..designs import standard_normal
from ..model import BlockModel
from . import docstrings, minilm
from .base import Claim, Estimate, compare

NAME = "figure-1"

CONFIDENCE = 0.95

LEAST_ARI = 0.9
"""Agreement of the halves that planted modules have to reach."""

METHODS = ("cosine", "modularity")
"""The paper's finder, and ours."""

# Rows that greedy thresholds are found on.
CALIBRATION_ROWS = 500

# Signal in a planted block, in units of the noise everywhere; correlation of neighbours, of features without modules.
PLANTED_VARIANCE, DECAY = 16.0, 0.9

INPUT, NEURONS, THROUGH = "input", "neurons", "neurons (null: of null inputs)"
"""What enters a feed-forward block, as in the paper's figures; its neurons after the GELU, beside the one null; and
beside the other."""

CONTROLS = ("planted modules", "correlations, no modules")

# Streams of a seed beside the null's draws: the sentences' order, and the columns'.
SENTENCES, COLUMNS = 1_000_000, 1_000_001

PIXELS = 140


class Place(NamedTuple):
    """Where activations were looked at."""

    kind: str
    """`INPUT`, `NEURONS` or `THROUGH`."""
    layer: int

    def __str__(self):
        return f"{self.kind}, layer {self.layer}"


class Pruning(NamedTuple):
    """How many entries are pruned: the wanted share, and how it is spread over a layer's two projections."""

    sparsity: float
    greedy: bool = False

    def __str__(self):
        return f"sparsity {100 * self.sparsity:.0f} %" + ", greedy" * self.greedy


class Rows(NamedTuple):
    """Of one seed."""

    inputs: dict
    """layer -> (n, 384) float32, what enters its feed-forward block."""
    halves: np.ndarray
    """(n,) bool; a document is on one side."""
    key: int
    """The seed's."""


class Scores(NamedTuple):
    """Of one place, one pruning, all seeds; each ``(..., 4)``: what `cross_score` returns."""

    own: np.ndarray
    """(seeds, 4)"""
    null: np.ndarray
    """(seeds, draws, 4)"""

    @property
    def z(self):
        """(seeds,) in standard deviations of the draws around their own seed's mean."""
        spread = np.sqrt(self.null[:, :, 0].var(axis=1, ddof=1).mean())
        return (self.own[:, 0] - self.null[:, :, 0].mean(axis=1)) / spread

    @property
    def ratio(self):
        """(seeds,)"""
        return self.own[:, 0] / self.null[:, :, 0].mean(axis=1)


def measure(run, *, layers, kinds, greedy_layers, sparsities, seeds, draws, rows, width, modules):
    """Modularity of controls and of the network's activations, and what the paper's finder makes of the inputs.

    `rows`: tokens, and `draws`: of the null, a seed each. `width`: that many columns are looked at, at random: paper's
    384 are all inputs, and of the 1536 neurons as many, so that one compares with the other.
    """
    shares = {Pruning(sparsity): sparsity for sparsity in sparsities}
    keys = [philox_key(run.rng(seed)) for seed in range(seeds)]

    def control(item):
        name, key = item
        features = control_rows(name, rows, width, modules, key)
        return scores(features, null_draws(features, draws, key), np.arange(rows) % 2 == 0, modules, shares, key)

    controls = joined(CONTROLS, run.map(control, list(itertools.product(CONTROLS, keys)), "controls"), seeds)
    missing = minilm.missing() or docstrings.missing()
    if missing:
        return control_records(controls), {"not_measured": missing}
    network, sentences = minilm.load(), docstrings.load(at_least=1)
    places = [Place(kind, layer) for kind in kinds for layer in layers]
    read = run.map(lambda key: read_rows(network, sentences, layers, rows, key), keys, "activations")
    greedy = dict(zip(greedy_layers, run.map(lambda layer: greedy_shares(network, layer, read[0], sparsities),
                                             greedy_layers, "greedy thresholds")))

    def one_place(item):
        place, rows = item
        features, null = features_and_null(network, place, rows, width, draws)
        own = shares | (greedy.get(place.layer, {}) if place.kind == INPUT else {})
        return (scores(features, null, rows.halves, modules, own, rows.key),
                contrasts((features, null[0]), modules, sparsities, rows.key) if place.kind == INPUT else None)

    found, seen = zip(*run.map(one_place, list(itertools.product(places, read)), "modules"))
    pictures = {place: np.array(seen[i * seeds:(i + 1) * seeds]) for i, place in enumerate(places)
                if place.kind == INPUT}
    network_scores = joined(places, found, seeds)
    drawn = features_and_null(network, places[0], read[0], width, 1)
    data = {"scores": network_scores, "controls": controls, "pictures": pictures, "modules": modules,
            "place": places[0], "panels": panels(run, (drawn[0], *drawn[1]), modules, sparsities, keys[0])}
    return [*control_records(controls), *place_records(network_scores, greedy), *order_records(network_scores),
            *picture_records(pictures, sparsities)], data


def joined(names, parts, seeds):
    """name -> pruning -> `Scores`, from the parts of each name's seeds in turn."""
    return {name: {pruning: Scores(*map(np.array, zip(*(part[pruning] for part in parts[i * seeds:(i + 1) * seeds]))))
                   for pruning in parts[i * seeds]}
            for i, name in enumerate(names)}


def control_rows(name, n, width, k, key):
    """(n, about width) rows with k planted modules, or with correlations between neighbours and no modules."""
    if name == "planted modules":
        model = BlockModel.isotropic(width - width % k, k, variance=PLANTED_VARIANCE, rng=key)
    else:
        model = BlockModel.toeplitz(width, 1, decay=DECAY, noise_variance=0.0, rng=key)
    return model.sample(n, rng=key).features


def read_rows(network, found, layers, n, key):
    """The `Rows` of random sentences, until they hold n distinct tokens: of each token the first occurrence."""
    order = shuffled(len(found.sentences), key, SENTENCES)
    tokens = network.tokens([found.sentences[i] for i in order])
    words = np.flatnonzero(~tokens.special)
    first = np.sort(np.unique(tokens.ids[words], return_index=True)[1])[:n]
    order = order[:1 + tokens.sentence[words[first[-1]]]]
    read = network.activations([found.sentences[i] for i in order], layers, "input")
    documents = found.documents[order[read.sentence[first]]]
    return Rows({layer: inputs[first] for layer, inputs in read.layers.items()}, folds(documents, 2, key) == 0, key)


def features_and_null(network, place, rows, width, draws):
    """((n, width) float64, a list of as many rows without modules)."""
    inputs = rows.inputs[place.layer]
    columns = network.width if place.kind == INPUT else len(network.feed_forward(place.layer)[1])
    chosen = np.sort(shuffled(columns, rows.key, COLUMNS)[:width])
    if place.kind == INPUT:
        features = inputs[:, chosen].astype(float)
        return features, null_draws(features, draws, rows.key)

    def features_of(inputs):
        return neurons(network, place.layer, inputs)[:, chosen].astype(float)

    features = features_of(inputs)
    if place.kind == NEURONS:
        return features, null_draws(features, draws, rows.key)
    return features, [features_of(drawn.astype(np.float32))
                      for drawn in null_draws(inputs.astype(float), draws, rows.key)]


def shuffled(n, key, stream):
    """(n,) the integers below n in random order."""
    return np.argsort(standard_normal(n, rng=key, stream=stream))


def neurons(network, layer, inputs):
    """(n, 1536) neurons after the GELU."""
    W_in, b_in, _, _ = network.feed_forward(layer)
    return minilm.gelu(minilm.affine(inputs, W_in, b_in))


def greedy_shares(network, layer, rows, sparsities):
    """`Pruning` -> the share of the inputs that greedy thresholds prune.

    The block's two projections share the budget; attention's four, over which the paper's spread it too, are left out.
    """
    inputs = rows.inputs[layer][:CALIBRATION_ROWS]
    W_in, _, W_out, _ = network.feed_forward(layer)
    projections = {"input": inputs, "intermediate": neurons(network, layer, inputs)}
    weights = {"input": W_in, "intermediate": W_out}
    return {Pruning(sparsity, True): thresholds(projections, sparsity, method="greedy", weights=weights,
                                                progress=False).sparsity["input"] for sparsity in sparsities}


def null_draws(features, draws, key):
    """Rows with the same columns and correlations, and without modules."""
    copula = GaussianCopula(features)
    return [copula.draw(key, number) for number in range(draws)]


def scores(features, null, halves, k, shares, key):
    """pruning -> (own (4,), null (draws, 4)); the draws are the same for all sparsities."""
    return {pruning: (cross_score(features, halves, k, share, key),
                      [cross_score(draw, halves, k, share, key) for draw in null])
            for pruning, share in shares.items()}


def contrasts(own_and_null, k, sparsities, key):
    """(sparsities, 2) how much denser the paper's finder's blocks are than what is outside."""
    return [[contrast(rows, modules_of(rows, k, sparsity, seed=key, method="cosine")) for rows in own_and_null]
            for sparsity in sparsities]


def contrast(rows, modules):
    """Share of active entries in the diagonal blocks over that outside, of the rows that the modules were found in."""
    active, own = np.abs(rows) > modules.threshold, modules.features == modules.experts[:, None]
    return active[own].mean() / active[~own].mean()


class Panel(NamedTuple):
    """One heatmap."""

    rows: np.ndarray
    modules: Modules | None
    sparsity: float


def panels(run, both, k, sparsities, key):
    """method -> two lists of `Panel`, of the activations and of a draw of the null.

    The paper's finder begins at sparsity 0. Ours knows active entries only, and there all are: it begins unordered.
    """

    def one(item):
        rows, method, sparsity = item
        if method == "modularity" and sparsity == 0:
            return Panel(rows, None, sparsities[-1])
        return Panel(rows, modules_of(rows, k, sparsity, seed=key, method=method), sparsity)

    found = iter(run.map(one, [(rows, method, sparsity) for method in METHODS for rows in both
                               for sparsity in (0.0, *sparsities)], "pictures"))
    return {method: [[next(found) for _ in range(1 + len(sparsities))] for _ in both] for method in METHODS}


def judged(quantity, setting, values, bound, *, relation="at least", form="printed", interval=True):
    """The `Record` of a mean over seeds with a bound, by the rule of this claim; without an interval by the mean."""
    estimate = Estimate.of(values)
    reach = estimate.reach(1 - CONFIDENCE) if interval else 0.0
    excess = (estimate.mean - bound) * (1 if relation == "at least" else -1)
    verdict = "holds" if excess > reach else "undecided" if excess >= -reach else "fails"  # NaN fails
    record = compare(NAME, f"{quantity}, {relation} {bound:g}", setting, estimate, relation=relation, **{form: bound})
    return dataclasses.replace(record, **{f"{form}_verdict": verdict})


def shown(quantity, setting, values):
    """The `Record` of a mean over seeds of which nothing is stated."""
    return compare(NAME, quantity, setting, Estimate.of(values))


def control_records(controls):
    """What the measurement has to say where the answer is known.

    The ratio of planted modules is stated at the highest sparsity only. With k equal modules none exceeds
    ``s / (k (1 - s))``, where all that is active lies within them: at s = 0.4 little more than draws without modules
    have, however strong the modules are.
    """
    records = []
    for name, by_pruning in controls.items():
        planted = name == CONTROLS[0]
        relation = "at least" if planted else "at most"
        for pruning, found in by_pruning.items():
            setting = f"{name}, {pruning}"
            records.append(judged("z of modularity", setting, found.z, LEAST_Z, relation=relation, form="corrected",
                                  interval=False))
            if not planted or pruning == max(by_pruning):
                records.append(judged("modularity / null's", setting, found.ratio, LEAST_RATIO, relation=relation,
                                      form="corrected"))
            else:
                records.append(shown("modularity / null's", setting, found.ratio))
            agreement = "agreement of halves (ARI)", setting, found.own[:, 1]
            records.append(judged(*agreement, LEAST_ARI, form="corrected") if planted else shown(*agreement))
    return records


def place_records(network_scores, greedy):
    """Is there structure beyond the null, is it strong, do two halves agree on it; and how dense the blocks are."""
    records = []
    for place, by_pruning in network_scores.items():
        for pruning, found in by_pruning.items():
            setting = f"{place}, {pruning}"
            if pruning.greedy:
                setting += f" ({100 * greedy[place.layer][pruning]:.0f} % of the inputs)"
            records += [judged("z of modularity", setting, found.z, LEAST_Z, interval=False),
                        judged("modularity / null's", setting, found.ratio, LEAST_RATIO),
                        shown("agreement of halves (ARI), null", setting, found.null[:, :, 1].mean(axis=1))]
            if place.kind != THROUGH:  # there the activations are those beside the other null
                records += [shown("agreement of halves (ARI)", setting, found.own[:, 1]),
                            shown("share of active entries in the blocks", setting, found.own[:, 2]),
                            shown("share of active entries outside", setting, found.own[:, 3])]
    return records


def order_records(network_scores):
    """Is the structure clearer in the first layer than in the last, and at the highest sparsity than at the lowest?"""
    records = []
    for kind in dict.fromkeys(place.kind for place in network_scores):
        places = [place for place in network_scores if place.kind == kind]
        first, last = network_scores[places[0]], network_scores[places[-1]]
        for pruning in first:
            records.append(judged(f"modularity / null's, layer {places[0].layer} - layer {places[-1].layer}",
                                  f"{kind}, {pruning}", first[pruning].ratio - last[pruning].ratio, 0.0))
    for place, by_pruning in network_scores.items():
        for greedy in (False, True):
            own = [pruning for pruning in by_pruning if pruning.greedy == greedy]
            if len(own) > 1:
                low, high = own[0], own[-1]
                quantity = f"modularity / null's, sparsity {100 * high.sparsity:.0f} % - {100 * low.sparsity:.0f} %"
                records.append(judged(quantity, str(place) + ", greedy" * greedy,
                                      by_pruning[high].ratio - by_pruning[low].ratio, 0.0))
    return records


def picture_records(pictures, sparsities):
    """How much denser the paper's finder's blocks are than what lies outside, and how much of it a null has as well."""
    records = []
    for place, values in pictures.items():
        for sparsity, (own, null) in zip(sparsities, values.transpose(1, 2, 0)):
            setting = f"{place}, {Pruning(sparsity)}"
            quantity = "paper's finder, same rows: density in / outside the blocks"
            records += [shown(quantity, setting, own), shown(f"{quantity}, null", setting, null),
                        judged(f"{quantity}, activations / null", setting, own / null, 1.0)]
    return records


def figures(data):
    """Heatmaps by both finders, and modularity beside its null; none where nothing was measured."""
    if "not_measured" in data:
        return {}
    k, place = data["modules"], data["place"]
    return {
        f"Percentile ranks of activations ({place}), pruned entries white, ordered by {k} modules that the paper's "
        "recipe finds in these very entries. Below: a draw with the same columns and correlations, and no modules.":
        panel_figure(data["panels"]["cosine"]),
        f"The same by modularity: not ordered, then by {k} modules found at each sparsity.":
        panel_figure(data["panels"]["modularity"]),
        "Above: modularity on rows that the modules were not found on; bands: from the lowest to the highest of the "
        "null's draws, all seeds. Below: agreement of the modules of two halves of the rows (adjusted Rand index); "
        "open markers: the null's. Bars: two standard errors, over seeds.": layer_figure(data["scores"]),
    }


def panel_figure(rows_of_panels):
    """Two rows of heatmaps: activations above, null below."""
    from .. import plots

    figure, axes = new_grid(len(rows_of_panels[0]), width=2.4, height=2.4, sharex=True, sharey=True)
    for name, row, row_axes in zip(("activations", "no modules"), rows_of_panels, axes):
        for panel, ax in zip(row, row_axes):
            plots.activation_blocks(panel.rows, panel.modules, sparsity=panel.sparsity, most_pixels=PIXELS, ax=ax)
            order = "as given, " if panel.modules is None else ""
            ax.set_title(f"{name}, {order}{100 * panel.sparsity:.0f} %", fontsize=9)
            ax.label_outer()
    return figure


def new_grid(columns, *, width, height, **subplots):
    """A figure with two rows of axes, (2, columns), in the house style."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    from .. import plots

    with rc_context(plots.STYLE):
        figure = Figure(figsize=(width * columns, 2 * height), layout="constrained")
        return figure, figure.subplots(2, columns, squeeze=False, **subplots)


def layer_figure(network_scores):
    """Two panels a kind: modularity, and agreement of halves, over layers."""
    from .. import plots

    kinds = list(dict.fromkeys(place.kind for place in network_scores))
    figure, axes = new_grid(len(kinds), width=3.0, height=2.5, sharey="row")
    for kind, (top, bottom) in zip(kinds, axes.T):
        places = [place for place in network_scores if place.kind == kind]
        layers = [place.layer for place in places]
        uniform = [pruning for pruning in network_scores[places[0]] if not pruning.greedy]
        for pruning, colour, marker in zip(uniform, plots.CYCLE, plots.MARKERS):
            found = [network_scores[place][pruning] for place in places]
            null = [each.null[:, :, 0] for each in found]
            plots.band(layers, [values.min() for values in null], [values.max() for values in null],
                       label=f"null, {pruning}", colour=colour, ax=top)
            for ax, column in ((top, 0), (bottom, 1)):
                estimates = [Estimate.of(each.own[:, column]) for each in found]
                plots.measured(layers, [e.mean for e in estimates], [e.standard_error for e in estimates],
                               label=str(pruning), colour=colour, marker=marker, ax=ax)
            bottom.plot(layers, [each.null[:, :, 1].mean() for each in found], marker, fillstyle="none", color=colour)
        top.set_title(kind, fontsize=9)
        bottom.set_xlabel("layer")
        for ax in (top, bottom):
            ax.set_xticks(layers)
    axes[0, 0].set_ylim(0, None)
    axes[0, 0].set_ylabel("modularity, held out")
    axes[1, 0].set_ylabel("agreement of halves (ARI)")
    plots.legend_below(figure, axes, columns=4 if len(kinds) > 1 else 2)
    return figure


CLAIM = Claim(
    name=NAME,
    place="Figures 1, 7 to 10; Appendix B.1",
    statement="Activations of a trained network, pruned by magnitude, have modular, block-diagonal structure, more "
              "pronounced in earlier layers and at higher sparsity.",
    summary="Not in MiniLM. Inputs of its first layer are as modular as draws without modules (ratio 1.00 at sparsity "
            "70 %), those of its last more so (1.32); the paper's heatmap of the first is that of the draws. Neurons' "
            "blocks are there for inputs without modules too.",
    finding="Ordering draws a diagonal of blocks in anything: for the inputs of MiniLM's layer 0 the paper's own "
            "recipe gives blocks 1.33 and 1.59 times as dense as what lies outside, at sparsity 40 and 70 %, and in "
            "draws without modules 1.31 and 1.60 times. Blocks that get clearer at higher sparsity are therefore no "
            "evidence. Over the three layers the two differ by 2.2 % at most. On rows that the modules were not found "
            "on, inputs of layer 0 are within 2 % of the draws (ratio 1.02 and 1.00, z 1.6 and 0.1), and two halves "
            "of the rows do not agree on modules at all (adjusted Rand index 0.00). In layer 2 there is a trace (1.05 "
            "and 1.07, z 4 and 6, of which rounding is worth one or two: other draws), in layer 5 structure (1.16 and "
            "1.32, z 15 and 18, index 0.11 and 0.12), below the audit's 1.5. So it is clearer in later layers, not in "
            "earlier ones: layer 0 less layer 5 is -0.14 +- 0.02 and -0.32 +- 0.02. Higher sparsity makes it clearer "
            "for sure in layer 5 only, and does the same to planted modules (1.23 at 40 %, 2.15 at 70 %): where most "
            "entries are active, 20 equal modules can hold few of them. Greedy thresholds (they prune 55 and 80 % of "
            "layer 0's inputs, 35 and 55 % of layer 5's) say the same: 1.00 and 1.01, 1.12 and 1.28. Neurons (384 of "
            "1536) stand out beside their own copula, most in layers 2 (1.80 and 1.52) and 5 (1.09 and 1.60). But so "
            "do those that the layer makes of inputs without modules, and beside these little is left: 0.97 and 1.01 "
            "in layer 0, 1.08 and 1.12 in layer 2 (z 3.0 and 4.5), 1.03 and 1.01 in layer 5. Their blocks come from "
            "the layer's weights and the inputs' correlations. The measurement finds planted modules (index 0.98 and "
            "1.00) and none in correlated features (z 0.3 and 0.5), though there too the halves agree (0.32 and "
            "0.60): agreement alone says nothing. Differences and ratios are judged by 95 % intervals over 4 seeds, z "
            "by its mean. All this is one network, of 384 features; the paper's have 4096.",
    presets={
        "quick": {"layers": (0, 5), "kinds": (INPUT,), "greedy_layers": (), "sparsities": (0.4, 0.7), "seeds": 3,
                  "draws": 7, "rows": 300, "width": 96, "modules": 4},
        "paper": {"layers": (0, 2, 5), "kinds": (INPUT, NEURONS, THROUGH), "greedy_layers": (0, 5),
                  "sparsities": (0.4, 0.7), "seeds": 4, "draws": 5, "rows": 2_000, "width": 384,
                  "modules": 20},
    },
    measure=measure,
    figures=figures,
)
