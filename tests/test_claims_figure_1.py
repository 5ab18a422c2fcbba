"""The claim on blocks in activations: rows, nulls, verdicts, and a measurement that knows planted blocks from none."""

import functools

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from moenoise import plots
from moenoise.activations.modules import find_modules
from moenoise.claims import docstrings, figure_1, minilm
from moenoise.claims.base import Run
from moenoise.claims.figure_1 import INPUT, NEURONS, THROUGH, Place, Pruning, Scores, judged

MISSING = minilm.missing() or docstrings.missing()
needs_model = pytest.mark.skipif(MISSING is not None, reason=str(MISSING))

SMALL = {"layers": (0, 1), "kinds": (INPUT, NEURONS, THROUGH), "greedy_layers": (1,), "sparsities": (0.4, 0.7),
         "seeds": 2, "draws": 2, "rows": 150, "width": 40, "modules": 3}


@functools.cache
def small(jobs):
    with Run(0, jobs) as run:
        run.begin(figure_1.NAME)
        return figure_1.measure(run, **SMALL)


@pytest.fixture
def without_model(monkeypatch):
    monkeypatch.setattr(figure_1.minilm, "missing", lambda: "the model is not here")
    with Run(1, 2) as run:
        run.begin(figure_1.NAME)
        return figure_1.measure(run, **figure_1.CLAIM.presets["quick"])


@functools.cache
def read(n=300, key=5):
    return figure_1.read_rows(minilm.load(), docstrings.load(at_least=1), (0, 1), n, key)


# ---- the measurement where the answer is known -----------------------------------------------------------------------


def test_planted_modules_are_found_and_correlations_are_none(without_model):
    records, data = without_model
    assert data == {"not_measured": "the model is not here"}
    assert figure_1.figures(data) == {}
    assert {record.setting.split(", s")[0] for record in records} == set(figure_1.CONTROLS)
    verdicts = [record.corrected_verdict for record in records]
    assert verdicts.count("holds") == 9 and set(verdicts) == {"holds", "none"}
    assert {record.printed_verdict for record in records} == {"none"}


def test_controls_fail_where_they_are_taken_for_each_other():
    planted = Scores(np.array([[0.08, 1, 0, 0], [0.081, 1, 0, 0]]), np.array([[[0.04, 0, 0, 0], [0.041, 0, 0, 0]]] * 2))
    none = Scores(planted.null[:, 0], planted.null)
    right, wrong = ({record.quantity: record.corrected_verdict for record in figure_1.control_records(
        {name: {Pruning(0.7): found} for name, found in zip(figure_1.CONTROLS, pair)})}
        for pair in ((planted, none), (none, planted)))
    assert set(right.values()) == {"holds", "none"}
    assert {word for quantity, word in wrong.items() if quantity != "agreement of halves (ARI)"} == {"fails"}


def test_z_is_in_the_spread_of_draws_around_their_own_seeds_mean():
    null = np.zeros((2, 3, 4))
    null[:, :, 0] = [[0.1, 0.2, 0.3], [10.1, 10.2, 10.3]]  # seeds differ, which is no spread of the draws
    own = np.zeros((2, 4))
    own[:, 0] = [0.4, 10.5]
    found = Scores(own, null)
    assert_allclose(found.z, [2.0, 3.0])
    assert_allclose(found.ratio, [2.0, 10.5 / 10.2])


def test_contrast_is_that_of_densities_inside_and_outside():
    rows = np.random.default_rng(0).standard_normal((60, 8))
    modules = find_modules(rows, 2, sparsity=0.5, rng=0)
    inside, outside = [], []
    for i in range(60):
        for j in range(8):
            side = inside if modules.features[j] == modules.experts[i] else outside
            side.append(abs(rows[i, j]) > modules.threshold)
    assert np.mean(inside) > 1.1 * np.mean(outside)
    assert figure_1.contrast(rows, modules) == pytest.approx(np.mean(inside) / np.mean(outside))


# ---- verdicts --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("values", "options", "expected"), [
    ([1.0, 1.1, 1.2], {}, "holds"),  # 1.1 +- 4.30 * 0.058
    ([0.8, 0.9, 1.0], {}, "undecided"),
    ([0.3, 0.4, 0.5], {}, "fails"),
    ([0.3, 0.4, 0.5], {"relation": "at most"}, "holds"),
    ([1.0, 1.1, 1.2], {"relation": "at most"}, "fails"),
    ([0.8, 0.9, 1.0], {"interval": False}, "holds"),
    ([0.7, 0.8, 0.9], {"interval": False}, "fails"),
    ([5.0], {}, "undecided"),
    ([np.nan, 1.0], {}, "fails"),
])
def test_verdict_is_by_the_interval_over_seeds(values, options, expected):
    for form, other in (("printed", "corrected"), ("corrected", "printed")):
        record = judged("q", "s", values, 0.82, form=form, **options)
        assert getattr(record, f"{form}_verdict") == expected and getattr(record, form) == 0.82
        assert getattr(record, f"{other}_verdict") == "none" and getattr(record, other) is None


def test_order_is_first_layer_less_last_and_high_sparsity_less_low():
    def scores(ratio):
        return Scores(np.full((3, 4), ratio) + np.arange(3)[:, None] * 1e-3, np.ones((3, 2, 4)))

    found = {Place(INPUT, layer): {Pruning(sparsity): scores(10 * layer + sparsity) for sparsity in (0.4, 0.5, 0.7)}
             for layer in (0, 2, 5)}
    records = {(record.quantity, record.setting): record for record in figure_1.order_records(found)}
    assert len(records) == 3 + 3
    assert records["modularity / null's, layer 0 - layer 5, at least 0", "input, sparsity 40 %"].measured == \
        pytest.approx(-50)
    record = records["modularity / null's, sparsity 70 % - 40 %, at least 0", "input, layer 2"]
    assert record.measured == pytest.approx(0.3) and record.printed_verdict == "holds"


# ---- rows of the network ---------------------------------------------------------------------------------------------


@needs_model
class TestRows:
    def test_one_row_a_token_and_documents_on_one_side(self, monkeypatch):
        network, seen = minilm.load(), {}
        activations, folds = minilm.MiniLM.activations, figure_1.folds

        def recorded(self, sentences, layers, what):
            seen["read"], seen["sentences"] = activations(self, sentences, layers, what), sentences
            return seen["read"]

        def recorded_folds(documents, count, key):
            seen["documents"] = documents
            return folds(documents, count, key)

        monkeypatch.setattr(minilm.MiniLM, "activations", recorded)
        monkeypatch.setattr(figure_1, "folds", recorded_folds)
        found = docstrings.load(at_least=1)
        rows = figure_1.read_rows(network, found, (0, 1), 300, 5)
        _, first = np.unique(seen["read"].ids, return_index=True)
        first = np.sort(first)
        assert len(first) >= 300  # the last sentence may bring more
        assert first[299] >= np.flatnonzero(seen["read"].sentence == len(seen["sentences"]) - 1)[0]
        assert_array_equal(rows.inputs[1], seen["read"].layers[1][first[:300]])
        places = {sentence: document for sentence, document in zip(found.sentences, found.documents)}
        own = [places[seen["sentences"][i]] for i in seen["read"].sentence[first[:300]]]
        assert_array_equal(seen["documents"], own)
        assert not set(np.array(own)[rows.halves]) & set(np.array(own)[~rows.halves])
        assert 0.4 < rows.halves.mean() < 0.6

    def test_seeds_give_other_sentences(self):
        assert not np.array_equal(read().inputs[0], read(key=6).inputs[0])

    def test_columns_of_inputs_and_neurons(self):
        network, rows = minilm.load(), read()
        whole, _ = figure_1.features_and_null(network, Place(INPUT, 1), rows, 384, 1)
        assert_array_equal(whole, rows.inputs[1])
        neurons, null = figure_1.features_and_null(network, Place(NEURONS, 1), rows, 30, 2)
        every = figure_1.neurons(network, 1, rows.inputs[1])
        assert neurons.shape == (300, 30) and every.shape == (300, 1536)
        assert all((column == every.T).all(axis=1).any() for column in neurons.T)
        for draw in null:  # the columns' own values, in another order
            assert_array_equal(np.sort(draw, axis=0), np.sort(neurons, axis=0))
            assert not np.array_equal(draw, neurons)

    def test_other_null_of_neurons_is_the_layer_of_null_inputs(self):
        network, rows = minilm.load(), read()
        neurons, _ = figure_1.features_and_null(network, Place(NEURONS, 1), rows, 1536, 1)
        same, null = figure_1.features_and_null(network, Place(THROUGH, 1), rows, 1536, 2)
        assert_array_equal(neurons, same)
        _, inputs = figure_1.features_and_null(network, Place(INPUT, 1), rows, 384, 2)
        W_in, b_in, _, _ = network.feed_forward(1)
        for draw, drawn in zip(null, inputs):
            before = drawn @ W_in + b_in
            assert_allclose(draw, minilm.gelu(before), atol=1e-5)

    def test_greedy_thresholds_share_the_budget(self):
        network, rows = minilm.load(), read()
        low, high = figure_1.greedy_shares(network, 1, rows, (0.4, 0.7)).values()
        assert low < high
        # What the inputs do not take the neurons do, of as many weights; both within what a share can be.
        assert all(0 <= 2 * wanted - own <= 1 for wanted, own in ((0.4, low), (0.7, high)))
        assert abs(low - 0.4) > 0.04 or abs(high - 0.7) > 0.04


# ---- the claim as a whole --------------------------------------------------------------------------------------------


@needs_model
class TestClaim:
    def test_does_not_depend_on_the_number_of_workers(self):
        assert small(1)[0] == small(2)[0]

    def test_records(self):
        records, data = small(2)
        assert len({(record.quantity, record.setting) for record in records}) == len(records)
        settings = {record.setting for record in records}
        for place in ("input, layer 0", "neurons, layer 1", "neurons (null: of null inputs), layer 1"):
            assert {f"{place}, sparsity 40 %", f"{place}, sparsity 70 %"} < settings
        greedy = [setting for setting in settings if "greedy (" in setting]
        assert len(greedy) == 2 and all(setting.startswith("input, layer 1") for setting in greedy)
        measured = [record.measured for record in records]
        assert None not in measured
        assert all(record.printed is None for record in records if record.corrected is not None)

    def test_neurons_stand_beside_both_nulls(self):
        scores = small(2)[1]["scores"]
        for layer, pruning in ((0, Pruning(0.4)), (1, Pruning(0.7))):
            one, other = (scores[Place(kind, layer)][pruning] for kind in (NEURONS, THROUGH))
            assert_array_equal(one.own, other.own)
            assert (one.null != other.null).all(axis=(1, 2)).all()

    def test_figures(self):
        found = figure_1.figures(small(2)[1])
        assert len(found) == 3
        for caption, figure in found.items():
            assert caption.endswith(".") and len(plots.svg(figure)) < 300_000
        by_paper, by_modularity, layers = found.values()
        titles = [[ax.get_title() for ax in figure.axes] for figure in (by_paper, by_modularity)]
        assert titles[0] == [f"{name}, {sparsity} %" for name in ("activations", "no modules")
                             for sparsity in (0, 40, 70)]
        assert titles[1][::3] == ["activations, as given, 70 %", "no modules, as given, 70 %"]
        assert len(layers.axes) == 6
