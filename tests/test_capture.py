"""Capturing activations of PyTorch models: the right rows, exactly, and nothing left behind after an error."""

import builtins
import doctest
import sys
from collections import namedtuple

import numpy as np
import pytest

from moenoise.activations.capture import Capture, capture
from moenoise.activations import read_chunks

torch = pytest.importorskip("torch")
nn = torch.nn


class Block(nn.Module):
    """A layer with a dictionary for its output, as Hugging Face's have."""

    def __init__(self, width):
        super().__init__()
        self.up, self.act, self.dropout = nn.Linear(width, 5), nn.ReLU(inplace=True), nn.Dropout(0.5)
        self.down, self.norm = nn.Linear(5, width), nn.BatchNorm1d(width)

    def forward(self, hidden_states):
        down = self.down(self.dropout(self.act(self.up(hidden_states))))
        normal = self.norm(down.flatten(0, 1)).view_as(down)
        return {"hidden": hidden_states + normal, "other": down}


class Encoder(nn.Module):
    def __init__(self, width=4):
        super().__init__()
        self.embed, self.pooler = nn.Embedding(50, width), nn.Linear(width, 3)
        self.blocks = nn.ModuleList([Block(width), Block(width)])
        self.unused = nn.Linear(1, 1)

    def forward(self, input_ids, attention_mask=None, scale=1.0):
        hidden = self.embed(input_ids) * scale
        for block in self.blocks:
            hidden = block(hidden_states=hidden)["hidden"]
        return self.pooler(hidden[:, 0]), hidden


def encoder(dtype=torch.float32):
    torch.manual_seed(0)
    return Encoder().to(dtype)


IDS = [torch.tensor([[3, 5, 7], [9, 0, 0]]), torch.tensor([[1, 2], [0, 0], [0, 4]])]
MASKS = [ids > 0 for ids in IDS]
GROUPS = [0, 0, 0, 1, 2, 2, 4]
BATCHES = [{"input_ids": ids, "attention_mask": mask.long()} for ids, mask in zip(IDS, MASKS)]


def rows(path):
    return np.concatenate(list(read_chunks(path)))


def expected(model, layer, what="outputs", masks=MASKS):
    """Token by token, from one sequence after the other, without hooks: the blocks are called one by one."""
    model.eval()
    found = []
    with torch.no_grad():
        for ids, mask in zip(IDS, masks):
            hidden = model.embed(ids)
            for i, block in enumerate(model.blocks):
                values = {f"blocks.{i} inputs": hidden, f"blocks.{i}.up outputs": block.up(hidden)}
                hidden = block(hidden)["hidden"]
                values[f"blocks.{i} outputs"] = hidden
                values["embed outputs"] = model.embed(ids)
                if f"{layer} {what}" in values:
                    value = values[f"{layer} {what}"]
                    found += [value[s, t] for s in range(len(ids)) for t in range(ids.shape[1]) if mask[s, t]]
                    break
    return torch.stack(found)


@pytest.mark.parametrize("what", ["outputs", "inputs"])
def test_rows_are_the_tokens_that_count(what, tmp_path):
    model = encoder()
    layers = ["blocks.1", "blocks.0"] + ["blocks.0.up", "embed"] * (what == "outputs")
    result = capture(model, BATCHES, layers, tmp_path / "out", what=what)
    assert isinstance(result, Capture) and list(result.paths) == layers
    for layer, path in result.paths.items():
        assert path == tmp_path / "out" / f"{layer}.npy"
        array = np.load(path, allow_pickle=False)
        assert array.dtype == np.float32 and (array == expected(model, layer, what).numpy()).all()
        assert (rows(path) == array).all()
    assert result.groups.dtype == np.int64 and result.groups.tolist() == GROUPS
    assert (np.load(tmp_path / "out/groups.npy") == result.groups).all()
    assert {path.name for path in (tmp_path / "out").iterdir()} == {f"{name}.npy" for name in [*layers, "groups"]}
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_dtypes_are_kept(dtype, tmp_path):
    model = encoder(dtype)
    path = capture(model, BATCHES, "blocks.0", tmp_path / "out").paths["blocks.0"]
    assert path.suffix == (".safetensors" if dtype == torch.bfloat16 else ".npy")
    values = expected(model, "blocks.0")
    assert values.abs().min() > 0
    read = rows(path)
    assert read.dtype == (np.float64 if dtype == torch.float64 else np.float32)
    assert torch.equal(torch.from_numpy(read).to(dtype), values) and (read == values.double().numpy()).all()
    if dtype == torch.float16:
        assert np.load(path).dtype == np.float16


def test_bfloat16_files_are_read_by_safetensors_too(tmp_path):
    safetensors = pytest.importorskip("safetensors.torch")
    model = encoder(torch.bfloat16)
    path = capture(model, BATCHES, "blocks.0", tmp_path / "out").paths["blocks.0"]
    assert torch.equal(safetensors.load_file(path)["activations"], expected(model, "blocks.0"))


def test_masks(tmp_path):
    model = encoder()
    of_callable = capture(model, IDS, "embed", tmp_path / "callable", mask=lambda ids: ids > 0)
    of_iterable = capture(model, [(ids,) for ids in IDS], "embed", tmp_path / "iterable",
                          mask=(mask.numpy().astype(float) for mask in MASKS))
    of_batch = capture(model, iter(BATCHES), "embed", tmp_path / "batch")
    for result in (of_callable, of_iterable, of_batch):
        assert (rows(result.paths["embed"]) == expected(model, "embed").numpy()).all()
        assert result.groups.tolist() == GROUPS
    everything = [torch.ones_like(mask) for mask in MASKS]
    for name, inputs, mask in [("a", IDS, None), ("b", BATCHES, lambda batch: None), ("c", IDS, [None, everything[1]])]:
        result = capture(model, inputs, "embed", tmp_path / name, mask=mask)
        assert (rows(result.paths["embed"]) == expected(model, "embed", masks=everything).numpy()).all()
        assert result.groups.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 3, 3, 4, 4]


def test_the_mask_is_asked_for_before_the_model_runs_and_padding_may_be_nan(tmp_path):
    """What padding holds is not looked at."""
    model = nn.Identity()
    batch = torch.tensor([[[1.0], [np.nan]], [[2.0], [np.inf]]])
    result = capture(model, [batch], "", tmp_path / "out", mask=[[[1, 0], [1, 0]]])
    assert rows(result.paths[""]).tolist() == [[1], [2]] and result.paths[""].name == "%model.npy"
    with pytest.raises(ValueError, match="layer '' gives NaN or infinity in batch 1"):
        capture(model, [batch[:, :1], batch], "", tmp_path / "all")


def test_a_row_a_sequence(tmp_path):
    model = encoder()
    result = capture(model, BATCHES, "pooler", tmp_path / "out")
    assert rows(result.paths["pooler"]).shape == (5, 3) and result.groups.tolist() == [0, 1, 2, 3, 4]
    model.eval()
    assert np.allclose(rows(result.paths["pooler"])[:2], model(IDS[0])[0].detach(), atol=1e-6)


def test_layers_that_see_tokens_in_one_row_after_the_other(tmp_path):
    """The batch norm gets (sequences * tokens, d)."""
    model = encoder()
    result = capture(model, BATCHES, ["blocks.0.norm", "blocks.0"], tmp_path / "out", what="inputs")
    assert rows(result.paths["blocks.0.norm"]).shape == (7, 4) and result.groups.tolist() == GROUPS
    down = capture(model, BATCHES, "blocks.0.down", tmp_path / "down")
    assert (rows(down.paths["blocks.0.down"]) == rows(result.paths["blocks.0.norm"])).all()
    with pytest.raises(ValueError, match="'blocks.0.norm' gives shape .6, 4. in batch 0, which is neither"):
        capture(model, IDS, "blocks.0.norm", tmp_path / "without")


def test_what_happens_in_place_later_does_not_show(tmp_path):
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(inplace=True))
    batch = torch.randn(20, 3)
    with torch.no_grad():
        linear = model[0](batch)
    assert linear.min() < 0
    for mask, inputs in ((None, [batch]), (lambda batch: torch.ones(batch.shape[:2]), [batch[:, None]])):
        folder = tmp_path / f"{mask is None}"
        result = capture(model, inputs, ["0", "1"], folder, mask=mask)
        assert (rows(result.paths["0"]) == linear.numpy()).all()
        assert (rows(result.paths["1"]) == linear.clamp(min=0).numpy()).all()
        relu = capture(model, inputs, "1", folder / "inputs", what="inputs", mask=mask)
        assert (rows(relu.paths["1"]) == linear.numpy()).all()


class Twice(nn.Module):
    def __init__(self):
        super().__init__()
        self.shared, self.once = nn.Linear(2, 2), nn.Identity()

    def forward(self, x):
        return self.once(self.shared(self.shared(x)))


def test_a_layer_that_is_called_twice(tmp_path):
    model, batches = Twice(), [torch.randn(2, 3, 2), torch.randn(1, 1, 2)]
    result = capture(model, batches, "shared", tmp_path / "out")
    with torch.no_grad():
        calls = [model.shared(batches[0]), model(batches[0]), model.shared(batches[1]), model(batches[1])]
    assert np.allclose(rows(result.paths["shared"]), torch.cat([call.flatten(0, 1) for call in calls]), atol=1e-6)
    assert result.groups.tolist() == [0, 0, 0, 1, 1, 1] * 2 + [2, 2]
    with pytest.raises(ValueError, match="layers must give the same rows.* batch 0 'shared' gives 12 and 'once' 6"):
        capture(model, batches, ["shared", "once"], tmp_path / "both")


def test_two_names_of_one_module(tmp_path):
    layer = nn.Linear(2, 2)
    model = nn.Sequential(layer, nn.Identity(), layer)
    result = capture(model, [torch.randn(3, 2)], ["0", "2"], tmp_path / "out")
    assert (rows(result.paths["0"]) == rows(result.paths["2"])).all() and len(result.groups) == 6


def test_names_that_are_no_file_names(tmp_path):
    model = nn.Sequential()
    for name in ("groups", "a/b", "../c", "%groups", "é"):
        model._modules[name] = nn.Identity()
    result = capture(model, [torch.ones(2, 1)], ["", *model._modules], tmp_path / "out")
    names = sorted(path.name for path in result.paths.values())
    assert names == ["%25groups.npy", "%C3%A9.npy", "%groups.npy", "%model.npy", "..%2Fc.npy", "a%2Fb.npy"]
    assert all(rows(path).tolist() == [[1], [1]] for path in result.paths.values())
    assert [path.name for path in tmp_path.iterdir()] == ["out"] and len(list((tmp_path / "out").iterdir())) == 7


Pair = namedtuple("Pair", "input_ids attention_mask")


def test_kinds_of_batches(tmp_path):
    model = encoder()
    kinds = {"tensor": IDS[0], "tuple": (IDS[0], MASKS[0]), "list": [IDS[0]], "named tuple": Pair(IDS[0], MASKS[0]),
             "mapping": {"input_ids": IDS[0], "scale": 1.0}}
    for name, batch in kinds.items():
        result = capture(model, [batch], "blocks.1", tmp_path / name, mask=[MASKS[0]])
        assert (rows(result.paths["blocks.1"]) == expected(model, "blocks.1").numpy()[:4]).all(), name


def test_batches_are_moved_to_the_models_device(tmp_path):
    """The meta device stands for another one: tensors arrive there, and cannot come back, which is the error."""
    model = encoder().to("meta")
    seen = []
    model.register_forward_pre_hook(lambda module, args, named: seen.append(named["input_ids"].device),
                                    with_kwargs=True)
    with pytest.raises((RuntimeError, NotImplementedError)):
        capture(model, BATCHES, "embed", tmp_path / "out")
    assert [device.type for device in seen] == ["meta"] and list(tmp_path.iterdir()) == []
    assert BATCHES[0]["input_ids"].device.type == "cpu"


def test_modes_are_restored_and_hooks_removed(tmp_path):
    model = encoder().train()
    model.blocks[1].eval()
    modes = [module.training for module in model.modules()]
    before = {name: value.clone() for name, value in model.state_dict().items()}

    def fails(batch):
        assert not any(module.training for module in model.modules()) and not torch.is_grad_enabled()
        assert any(module._forward_hooks for module in model.modules())
        raise KeyboardInterrupt

    capture(model, BATCHES, ["blocks.0", "blocks.1.up"], tmp_path / "out")
    with pytest.raises(KeyboardInterrupt):
        capture(model, BATCHES, ["blocks.0"], tmp_path / "again", mask=fails)
    assert [module.training for module in model.modules()] == modes and torch.is_grad_enabled()
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError, OSError])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_nothing_is_left_after_an_interruption(error, dtype, tmp_path):
    model = encoder(dtype)

    def batches():
        yield BATCHES[0]
        (folder,) = tmp_path.iterdir()  # there is a file, under another name
        assert folder.name.startswith(".out.") and len(list(folder.iterdir())) == 1
        raise error("no more")

    with pytest.raises(error, match="no more"):
        capture(model, batches(), "embed", tmp_path / "out")
    assert list(tmp_path.iterdir()) == [] and not model.embed._forward_hooks


def test_nothing_is_left_when_a_model_fails(tmp_path):
    model = encoder()
    with pytest.raises(IndexError):
        capture(model, [*BATCHES, {"input_ids": torch.tensor([[999]])}], "pooler", tmp_path / "out")
    assert list(tmp_path.iterdir()) == [] and not model.pooler._forward_hooks


@pytest.mark.parametrize(("arguments", "error", "match"), [
    ({"model": len}, TypeError, "model must be a torch.nn.Module"),
    ({"model": nn.DataParallel(nn.Identity())}, TypeError, "DataParallel's model.module"),
    ({"layers": "block.0"}, ValueError, "got 'block.0'; there are, for example, 'blocks.0'"),
    ({"layers": ["embed", "zzz"]}, ValueError, "got 'zzz'; there are, for example, 'embed', 'pooler', 'blocks'"),
    ({"layers": []}, ValueError, "layers must not be empty"), ({"layers": [0]}, TypeError, "layers must be names"),
    ({"layers": 0}, TypeError, "layers must be a sequence"), ({"layers": ["embed"] * 2}, ValueError, "repeated"),
    ({"layers": "unused"}, ValueError, "'unused' is not called in the forward pass of batch 0"),
    ({"layers": "embed", "what": "inputs"}, TypeError, "'embed' must give a tensor of floating-point.* torch.int64"),
    ({"layers": ["embed", "pooler"]}, ValueError, "layers must give the same rows"),
    ({"what": "both"}, ValueError, "what must be one of"), ({"progress": 1}, TypeError, "progress must be True"),
    ({"inputs": IDS[0]}, TypeError, r"inputs must be an iterable of batches, got Tensor; one batch is \[batch\]"),
    ({"inputs": BATCHES[0]}, TypeError, "inputs must be an iterable"), ({"inputs": 1}, TypeError, "inputs must be"),
    ({"inputs": "text"}, TypeError, "inputs must be an iterable"),
    ({"inputs": ["text"]}, TypeError, "got str in batch 0"),
    ({"inputs": [{"input_ids": torch.tensor(3)}]}, TypeError, "inputs must be batches of tensors"),
    ({"inputs": []}, ValueError, "at least one batch"), ({"mask": 1}, TypeError, "mask must be a callable or"),
    ({"mask": [torch.zeros(2, 3), torch.zeros(3, 2)]}, ValueError, "a token that counts"),
    ({"mask": {}}, TypeError, "mask must be a callable"), ({"mask": MASKS[:1]}, ValueError, "got fewer"),
    ({"mask": [*MASKS, None]}, ValueError, "got more"), ({"mask": MASKS[0]}, ValueError, r"mask must be \(sequences"),
    ({"mask": lambda batch: "no"}, TypeError, "truth values"), ({"mask": lambda batch: [[2]]}, ValueError, "must be 1"),
    ({"mask": lambda batch: [[1, np.nan, 0]] * 2}, ValueError, "must be 1"),
    ({"mask": lambda batch: [[1] * 4] * 2}, ValueError, r"2 sequences and a mask of shape \(2, 4\)"),
    ({"mask": lambda batch: [[1] * 3] * 3}, ValueError, r"3 sequences and a mask of shape \(3, 3\)"),
    ({"path": 1}, TypeError, "path must be a str"), ({"path": "no/such/out"}, FileNotFoundError, "path must lie in"),
])  # fmt: skip
def test_bad_arguments(arguments, error, match, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    good = {"model": encoder(), "inputs": BATCHES, "layers": ["blocks.0"], "path": "out", "progress": False}
    with pytest.raises(error, match=match):
        capture(**good | arguments)
    assert list(tmp_path.iterdir()) == []


def test_a_path_that_exists_is_not_touched(tmp_path):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("nowhere")
    for name in ("file", "folder", "link"):
        with pytest.raises(FileExistsError, match=f"path must not exist yet, got .*{name}"):
            capture(encoder(), BATCHES, "embed", tmp_path / name)
    assert (tmp_path / "file").read_text() == "mine" and len(list(tmp_path.iterdir())) == 3


class Changing(nn.Module):
    """Gives what it gets, in a container."""

    def __init__(self, wrap):
        super().__init__()
        self.layer = nn.Identity()
        self.layer.forward = wrap

    def forward(self, x):
        return self.layer(x)


@pytest.mark.parametrize(("wrap", "error", "match"), [
    (lambda x: x[..., :len(x)], ValueError, "'layer' must keep its width and dtype, 2 and torch.float32, got 3 and"),
    (lambda x: x.double() if len(x) == 3 else x, ValueError, "must keep its width and dtype"),
    (lambda x: x[None, None], ValueError, r"gives shape \(1, 1, 2, 4, 5\)"),
    (lambda x: x.sum(), ValueError, r"gives shape \(\)"),
    (lambda x: None, TypeError, "got NoneType"), (lambda x: ({}, "no"), TypeError, "got tuple"),
    (lambda x: x > 0, TypeError, "torch.bool"), (lambda x: x + 1j, TypeError, "torch.complex64"),
    (lambda x: x.to(torch.float8_e5m2), (TypeError, NotImplementedError), "float8|Float8"),
    (lambda x: nn.utils.rnn.pack_padded_sequence(x, [1] * len(x), batch_first=True), TypeError, "packed sequences"),
])  # fmt: skip
def test_layers_that_cannot_be_captured(wrap, error, match, tmp_path):
    model = Changing(wrap)
    with pytest.raises(error, match=match):
        capture(model, [torch.ones(2, 4, 5), torch.ones(3, 4, 5)], "layer", tmp_path / "out")
    assert list(tmp_path.iterdir()) == [] and not model.layer._forward_hooks


@pytest.mark.parametrize("wrap", [lambda x: (x, None), lambda x: [None, (x, x + 1)], lambda x: {"a": None, "b": x}])
def test_the_first_tensor_of_an_output_is_taken(wrap, tmp_path):
    batch = torch.randn(2, 3, 4)
    result = capture(Changing(wrap), [batch], "layer", tmp_path / "out")
    assert (rows(result.paths["layer"]) == batch.flatten(0, 1).numpy()).all()


def test_many_rows_have_a_header_that_fits(tmp_path):
    batch = torch.arange(3 * 4001, dtype=torch.float32).reshape(1, -1, 3)
    for dtype in (torch.float32, torch.bfloat16):
        data = batch.to(dtype)
        result = capture(nn.Identity(), [data] * 30, "", tmp_path / str(dtype))
        assert (rows(result.paths[""]) == data[0].float().numpy()[None].repeat(30, 0).reshape(-1, 3)).all()
        assert len(result.groups) == 120_030 and result.groups[-1] == 29


def test_without_torch(tmp_path, monkeypatch):
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name.partition(".")[0] == "torch":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match=r"pip install 'moenoise\[torch\]'"):
        capture(None, [], [], tmp_path / "out")


def test_the_example_of_the_docstring():
    """It is skipped where all examples are run, because PyTorch may be missing there."""
    module = sys.modules[capture.__module__]
    text = capture.__doc__.replace("# doctest: +SKIP", "")
    test = doctest.DocTestParser().get_doctest(text, vars(module).copy(), "capture", None, None)
    assert len(test.examples) == 5 and doctest.DocTestRunner().run(test).failed == 0
