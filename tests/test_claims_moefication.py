"""The claim on a transformer split into experts: its task, its rules, and that a wrong split is caught."""

import functools
import itertools
import platform

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from moenoise.claims import docstrings, minilm
from moenoise.claims import moefication as claim
from moenoise.claims.base import Estimate, Run
from moenoise.claims.moefication import DENSE, HEADS, NOISE, PACKAGES, Model, Scores

PROBLEM = minilm.missing() or docstrings.missing()
needs_network = pytest.mark.skipif(PROBLEM is not None, reason=str(PROBLEM))


@functools.cache
def quick_with_heads(jobs):
    """What the quick preset measures, and the embeddings that heads are fitted to, with one job in their order."""
    fitted, fit = [], claim.fit_head
    with Run(0, jobs) as run, pytest.MonkeyPatch.context() as patch:
        patch.setattr(claim, "fit_head", lambda *args: fitted.append(args[0]) or fit(*args))
        run.begin(claim.NAME)
        return claim.measure(run, **claim.CLAIM.presets["quick"]), fitted


def quick(jobs):
    return quick_with_heads(jobs)[0]


SPLIT = Model("learned", 40, HEADS[0])


def simulated(rng, clean, noisy, n=4000, seeds=3, split=SPLIT):
    """Data as of `measure`, with 40 of 96 experts: independent sentences, whose packages are found that often."""
    scores = {}
    for model in (DENSE, split):
        found = (rng.random(n) < clean[model], *(rng.random((seeds, n)) < noisy[model] for _ in NOISE))
        first, *others = (values.astype(float) for values in found)
        scores[model] = Scores(first, dict(zip(NOISE, others)))
    return {"experts": 96, "accuracy": scores, "log-probability": scores}


def verdicts(data):
    return {record.quantity: record.printed_verdict for record in claim.difference_records(data)
            if record.printed is not None}


ACCURACY, GAP = "accuracy under noise, experts - dense, above 0", "gap of accuracy, dense - experts, above 0"


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize(("noisy", "expected"), [
    ((0.6, 0.7), {ACCURACY: "holds", GAP: "holds"}),
    ((0.7, 0.6), {ACCURACY: "fails", GAP: "fails"}),
])
def test_a_direction_holds_or_fails_where_it_is_beyond_two_standard_errors(noisy, expected, head):
    models = (DENSE, SPLIT._replace(head=head))
    data = simulated(np.random.default_rng(0), dict.fromkeys(models, 0.8), dict(zip(models, noisy)), split=models[1])
    assert verdicts(data) == expected
    assert all(head in record.setting for record in claim.difference_records(data))


def test_a_direction_is_undecided_between():
    estimates = {"holds": 0.021, "undecided": 0.019, "fails": -0.021}
    for verdict, mean in estimates.items():
        record = claim.better("a", "b", Estimate(mean, 0.01), stated=True)
        assert (record.printed_verdict, record.printed, record.measured) == (verdict, 0.0, mean)
    assert claim.better("a", "b", Estimate(0.019, 0.01), stated=False).printed_verdict == "none"


def test_only_intermediate_sparsity_is_stated():
    models = (DENSE, SPLIT)
    data = simulated(np.random.default_rng(0), dict.fromkeys(models, 0.8), dict.fromkeys(models, 0.7))
    for active, stated in ((20, False), (40, True), (60, False)):
        for name in ("accuracy", "log-probability"):
            data[name] = {DENSE: data[name][DENSE], SPLIT._replace(active=active): list(data[name].values())[1]}
        assert bool(verdicts(data)) == stated


def test_an_equal_share_lost_above_chance_is_no_difference():
    # Both lose a quarter of what they have above chance, 0.2: the gap is smaller where accuracy is.
    models, rng = (DENSE, SPLIT), np.random.default_rng(0)
    data = simulated(rng, dict(zip(models, (0.8, 0.6))), dict(zip(models, (0.65, 0.5))), n=40_000)
    dense, experts = data["accuracy"].values()
    estimate = claim.relative_difference(dense, experts, "words", 0.2)
    assert abs(estimate.mean) < 4 * estimate.standard_error < 0.1
    assert Estimate.of(dense.gap("words") - experts.gap("words")).mean == pytest.approx(0.05, abs=0.02)


def test_standard_error_of_the_share_is_that_of_resampled_sentences():
    models, rng = (DENSE, SPLIT), np.random.default_rng(0)
    data = simulated(rng, dict(zip(models, (0.8, 0.6))), dict(zip(models, (0.65, 0.5))), n=500)
    both = list(data["accuracy"].values())
    values = []
    for _ in range(400):
        rows = rng.integers(0, 500, 500)
        drawn = [Scores(each.clean[rows], {"words": each.noisy["words"][:, rows]}) for each in both]
        values.append(claim.relative_difference(*drawn, "words", 0.2).mean)
    estimate = claim.relative_difference(*both, "words", 0.2)
    assert estimate.standard_error == pytest.approx(np.std(values), rel=0.15)
    ratios = [each.gap("words").mean() / (each.clean.mean() - 0.2) for each in both]
    assert estimate.mean == pytest.approx(ratios[0] - ratios[1])


def test_a_share_of_nothing_is_open():
    scores = [Scores(np.full(9, clean), {"words": np.full((2, 9), 0.1)}) for clean in (0.8, 0.2)]
    estimate = claim.relative_difference(*scores, "words", 0.2)
    record = claim.better("a", "b", estimate, stated=False)
    assert record.measured is None and record.printed_verdict == "none"


def test_head_records_are_what_keeping_the_head_costs():
    rng, scores = np.random.default_rng(0), {}
    for head, noisy in zip(HEADS, (0.4, 0.55)):
        models = (DENSE, SPLIT._replace(head=head))
        clean, noisy = dict.fromkeys(models, 0.8), dict.fromkeys(models, noisy)
        scores |= simulated(rng, clean, noisy, split=models[1])["accuracy"]
    records = claim.head_records({"experts": 96, "accuracy": scores})
    found = {record.setting.rpartition(", ")[2]: record for record in records}
    assert list(found) == ["clean", *NOISE] and all("own head - dense's head" in each.setting for each in records)
    assert abs(found["clean"].measured) < 4 * found["clean"].standard_error
    for noise in NOISE:
        assert found[noise].measured == pytest.approx(0.15, abs=0.03)


def test_nothing_is_measured_without_the_network(monkeypatch):
    monkeypatch.setattr(minilm, "missing", lambda: "it is not installed: pip install it")
    with Run(0) as run:
        records, data = claim.measure(run, **claim.CLAIM.presets["quick"])
    assert records == [] and data == {"not_measured": "it is not installed: pip install it"}
    assert claim.figures(data) == {}


@needs_network
def test_nothing_is_measured_where_sentences_are_missing(monkeypatch):
    monkeypatch.setattr(claim, "PACKAGES", ("asyncio", "no_such_package"))
    with Run(0) as run:
        records, data = claim.measure(run, **claim.CLAIM.presets["quick"])
    assert records == [] and data["not_measured"].startswith("no_such_package has 0 short docstrings")


@pytest.mark.skipif(docstrings.missing() is not None, reason="no sources")
def test_sentences_are_as_many_of_each_package_and_shared_by_none():
    task = claim.draw_task(0, 30, 10)
    k = len(PACKAGES)
    assert_array_equal(np.bincount(task.training_labels), np.full(k, 30))
    assert_array_equal(np.bincount(task.test_labels), np.full(k, 10))
    assert len({*task.training, *task.test}) == 40 * k
    assert {len(sentence.split()) for sentence in task.training} <= set(range(4, 13))
    found = docstrings.load(1, packages=PACKAGES)
    label = dict(zip(found.sentences, found.labels))
    assert [found.names[label[sentence]] for sentence in task.test] == [PACKAGES[i] for i in task.test_labels]
    assert claim.draw_task(1, 30, 10).test != task.test == claim.draw_task(0, 30, 10).test


@pytest.mark.skipif(docstrings.missing() is not None, reason="no sources")
def test_every_preset_has_sentences_enough():
    for preset in claim.CLAIM.presets.values():
        assert claim.missing_sentences(preset["training"] + preset["test"]) is None
    least = min(map(len, claim.short_sentences().values()))
    assert least > 100 and claim.missing_sentences(least) is None
    assert f"has {least} short docstrings" in claim.missing_sentences(least + 1)


def test_scores_are_of_the_network_the_head_and_the_noise_that_they_are_named_after(monkeypatch):
    heads = {DENSE[:2]: 0, ("learned", 20): 1, ("learned", 40): 2}
    numbers = {("clean", 0): 0, ("words", 0): 1, ("words", 1): 2, ("characters", 0): 3, ("characters", 1): 4}
    monkeypatch.setattr(claim, "noisy", lambda run, sentences, *condition: numbers[condition])
    monkeypatch.setattr(claim, "blocks", lambda layers, *network: heads[network])
    monkeypatch.setattr(claim, "judged", lambda head, embeddings, labels: ([head, head + 100], embeddings))
    task = claim.Task([], np.array([]), ["a", "b"], np.array([0, 1]))

    class Network:
        def encode(self, text, feed_forward):
            return [10 * feed_forward + text, -feed_forward]

    with Run(0, 2) as run:
        found = claim.scores_by_measure(run, Network(), task, None, heads, 2)
    assert len(found["accuracy"]) == len(found["log-probability"]) == 5
    for model, scores in found["log-probability"].items():
        network = heads[model[:2]]
        assert_array_equal(scores.clean, [10 * network, -network])
        assert_array_equal(scores.noisy["words"], [[10 * network + 1, -network], [10 * network + 2, -network]])
        assert_array_equal(scores.noisy["characters"], [[10 * network + 3, -network], [10 * network + 4, -network]])
        head = network if model.head == HEADS[1] else 0
        assert_array_equal(found["accuracy"][model].noisy["words"], [[head, head + 100]] * 2)


@needs_network
def test_all_active_experts_are_the_dense_network():
    records, data = quick(2)
    exact, = (record for record in records if record.corrected is not None)
    assert exact.corrected_verdict == "holds" and exact.measured < 1e-6
    assert {record.corrected_verdict for record in records} == {"holds", "none"}
    assert list(data["accuracy"]) == [DENSE, *(Model(selection, 10, head) for selection in claim.SELECTIONS
                                               for head in HEADS)]
    assert data["python"] == platform.python_version()


@needs_network
def test_records_are_told_apart_and_do_not_depend_on_the_number_of_jobs():
    records, data = quick(2)
    assert quick(1)[0] == records
    assert len({(record.quantity, record.setting) for record in records}) == len(records)
    assert set(claim.CLAIM.presets["quick"]) == set(claim.CLAIM.presets["paper"])


@needs_network
def test_figures_show_every_model():
    for caption, figure in claim.figures(quick(2)[1]).items():
        assert f"9 sentences of Python {platform.python_version()}, 2 seeds" in caption
        kept, own, gap = figure.axes
        for ax in (kept, own):
            assert len(ax.get_legend_handles_labels()[1]) == 6 and len(ax.containers) == 2
        assert len(gap.containers) == 4


@needs_network
def test_a_head_of_its_own_makes_up_for_any_change_that_is_one_to_one():
    # Embeddings turned about: dense's head knows nothing of them, a head of their own all that it knew before.
    model, task = minilm.load(), claim.draw_task(0, 12, 12)
    embeddings, new = model.encode(task.training), model.encode(task.test)
    turned = np.linalg.qr(np.random.default_rng(0).standard_normal((384, 384)))[0].astype(np.float32)
    head, own = (claim.fit_head(rows, task.training_labels) for rows in (embeddings, embeddings @ turned))
    straight, lost, kept = (claim.judged(*each, task.test_labels) for each in
                            ((head, new), (head, new @ turned), (own, new @ turned)))
    assert straight[0].mean() > 4 / len(PACKAGES) > 2 / len(PACKAGES) > lost[0].mean()
    np.testing.assert_allclose(kept[1], straight[1], atol=0.01)
    assert (straight[1] < 0).all() and lost[1].mean() < straight[1].mean() - 0.3


@needs_network
def test_own_heads_are_fitted_to_their_own_networks_embeddings():
    dense, *others = quick_with_heads(1)[1]
    with Run(0) as run:
        run.begin(claim.NAME)
        task = claim.draw_task(run.rng(0), 6, 1)
    np.testing.assert_allclose(dense, minilm.load().encode(task.training), atol=1e-5)
    assert len(others) == 2
    assert all(each.shape == dense.shape and np.abs(each - dense).max() > 0.05 for each in others)
    assert np.abs(others[0] - others[1]).max() > 0.01


@needs_network
def test_a_split_that_loses_something_is_caught(monkeypatch):
    model, task = minilm.load(), claim.draw_task(0, 1, 1)
    _, inputs = claim.encode_and_record(model, task.training)
    whole = claim.moefy

    def layers(**changes):
        monkeypatch.setattr(claim, "moefy", lambda *args, **settings: whole(*args, **{**settings, **changes}))
        with Run(0) as run:
            return [claim.split(run, model, layer, 4, inputs[layer]) for layer in range(2)]

    right = layers()
    assert claim.exact_record(model, right, task).corrected_verdict == "holds"
    assert claim.exact_record(model, layers(b_out=None), task).corrected_verdict == "fails"
    assert claim.exact_record(model, layers(activation="relu"), task).corrected_verdict == "fails"
    some = claim.blocks(right, "ground truth", 2)
    assert np.abs(model.encode(task.test, feed_forward=some) - model.encode(task.test)).max() > 0.01


@needs_network
def test_what_is_recorded_enters_the_layers():
    model = minilm.load()
    sentences = ["A short sentence of words.", "Another one."]
    embeddings, inputs = claim.encode_and_record(model, sentences)
    np.testing.assert_allclose(embeddings, model.encode(sentences), atol=1e-6)
    expected = model.activations(sentences, [4], "input").layers[4]
    assert len(inputs[4]) == len(expected) + 2 * len(sentences)  # special tokens too
    nearest = np.abs(inputs[4][:, None] - expected).max(axis=2).min(axis=0)
    assert nearest.max() < 1e-4


@needs_network
def test_every_model_sees_the_same_noise():
    with Run(0) as run:
        run.begin(claim.NAME)
        sentences = ["one two three four five", "six seven eight nine ten"]
        texts = [claim.noisy(run, sentences, noise, seed) for noise, seed in itertools.product(NOISE, range(2))]
        assert texts == [claim.noisy(run, sentences, *each) for each in itertools.product(NOISE, range(2))]
    assert len({*map(tuple, texts)}) == 4
    assert claim.noisy(None, sentences, "clean", 0) == sentences
