"""Capturing activations of PyTorch models: the right rows, exactly, and nothing left behind after an error."""

import builtins
import contextlib
import doctest
import shutil
import signal
import sys
import threading
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
GROUPS, TOKENS = [0, 0, 0, 1, 2, 2, 4], [3, 5, 7, 9, 1, 2, 4]
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
    assert result.tokens.dtype == np.int64 and result.tokens.tolist() == TOKENS
    assert (np.load(tmp_path / "out/tokens.npy") == result.tokens).all()
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {f"{name}.npy" for name in [*layers, "groups", "tokens"]}
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


class Flat(nn.Module):
    """One layer gets (sequences * tokens, d), the other (sequences, d)."""

    def __init__(self):
        super().__init__()
        self.embed, self.flat, self.first = nn.Embedding(50, 4), nn.Identity(), nn.Identity()

    def forward(self, ids):
        hidden = self.embed(ids)
        self.first(hidden[:, 0])
        return self.flat(hidden.reshape(-1, 4)).reshape(hidden.shape)


def test_batches_of_one_token_a_sequence(tmp_path):
    """(sequences * tokens, d) and (sequences, d) are of one shape: what went before tells which it is."""
    model, mask = Flat(), lambda ids: ids > 0
    long, short, full = torch.tensor([[1, 2], [3, 0]]), torch.tensor([[4], [0]]), torch.tensor([[5], [6]])
    result = capture(model, [long, short, full], ["flat", "embed"], tmp_path / "flat", mask=mask, tokens=lambda ids: ids)
    assert result.groups.tolist() == [0, 0, 1, 2, 4, 5] and result.tokens.tolist() == [1, 2, 3, 4, 5, 6]
    weight = model.embed.weight.detach().numpy()
    assert all((rows(path) == weight[[1, 2, 3, 4, 5, 6]]).all() for path in result.paths.values())
    result = capture(model, [long, short], "first", tmp_path / "first", mask=mask, tokens=lambda ids: ids)
    assert result.groups.tolist() == [0, 1, 2, 3] and result.tokens is None
    assert (rows(result.paths["first"]) == weight[[1, 3, 4, 0]]).all()
    for layer in ("flat", "first"):  # nothing is padding: no matter which
        result = capture(model, [full, full], layer, tmp_path / f"full {layer}", mask=mask, tokens=lambda ids: ids)
        assert result.groups.tolist() == [0, 1, 2, 3] and result.tokens.tolist() == [5, 6, 5, 6]
        with pytest.raises(ValueError, match=f"layer '{layer}' gives shape .2, 4. in batch 1, .* no earlier batch tells"):
            capture(model, [full, short], layer, tmp_path / "open", mask=mask)


def test_tokens(tmp_path):
    model = encoder()
    ways = {"callable": (IDS, lambda ids: ids), "iterable": (IDS, (ids.numpy() for ids in IDS)),
            "lists": (IDS, [ids.tolist() for ids in IDS]), "int32": (IDS, [ids.int() for ids in IDS]),
            "other key": ([{"input_ids": ids} for ids in IDS], lambda batch: batch["input_ids"])}
    for name, (inputs, tokens) in ways.items():
        result = capture(model, inputs, ["embed", "blocks.0.norm"], tmp_path / name, mask=MASKS, tokens=tokens)
        assert result.tokens.tolist() == TOKENS and result.tokens.dtype == np.int64, name
    result = capture(model, BATCHES, "embed", tmp_path / "others", tokens=lambda batch: -batch["input_ids"])
    assert (-result.tokens).tolist() == TOKENS
    for name, inputs, layer, tokens in [("unknown", IDS, "embed", None), ("rows are sequences", BATCHES, "pooler", None),
                                        ("unwanted", BATCHES, "embed", lambda batch: None)]:
        result = capture(model, inputs, layer, tmp_path / name, mask=MASKS, tokens=tokens)
        assert result.tokens is None and not (tmp_path / name / "tokens.npy").exists()


def test_tokens_of_a_layer_that_is_called_twice(tmp_path):
    tokens = [[[1, 2, 3], [4, 5, 6]], [[7]]]
    batches = [torch.randn(2, 3, 2), torch.randn(1, 1, 2)]
    result = capture(Twice(), batches, "shared", tmp_path / "out", tokens=tokens)
    assert result.tokens.tolist() == [1, 2, 3, 4, 5, 6] * 2 + [7, 7]


def test_tokens_are_those_before_the_model_changes_its_input(tmp_path):
    class Masking(nn.Identity):
        def forward(self, ids):
            return super().forward(ids.fill_(0)[..., None].float())

    ids = torch.tensor([[1, 2]])
    result = capture(Masking(), [ids], "", tmp_path / "out", tokens=lambda ids: ids)
    assert result.tokens.tolist() == [1, 2] and ids.tolist() == [[0, 0]]


def test_ids_that_are_not_of_sequences_of_tokens(tmp_path):
    """A mapping's "input_ids" may be anything; one id a sequence is as good as none."""

    class Bag(nn.Identity):
        def forward(self, input_ids):
            return torch.ones(len(input_ids), 2)

    result = capture(Bag(), [{"input_ids": torch.arange(3)}], "", tmp_path / "out")
    assert result.tokens is None and result.groups.tolist() == [0, 1, 2]


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
    for name in ("groups", "tokens", "a/b", "../c", "%groups", "é"):
        model._modules[name] = nn.Identity()
    result = capture(model, [torch.ones(2, 1, 1)], ["", *model._modules], tmp_path / "out", tokens=[[[5], [6]]])
    names = sorted(path.name for path in result.paths.values())
    assert names == ["%25groups.npy", "%C3%A9.npy", "%groups.npy", "%model.npy", "%tokens.npy", "..%2Fc.npy",
                     "a%2Fb.npy"]
    assert all(rows(path).tolist() == [[1], [1]] for path in result.paths.values())
    assert np.load(tmp_path / "out/tokens.npy").tolist() == [5, 6]
    assert [path.name for path in tmp_path.iterdir()] == ["out"] and len(list((tmp_path / "out").iterdir())) == 9


@pytest.mark.parametrize("name", ["x" * 300, "é" * 43])  # each é is %C3%A9
def test_names_too_long_for_a_file(name, tmp_path):
    model = nn.Sequential()
    model._modules[name] = nn.Identity()
    with pytest.raises(ValueError, match=f"layers must have names that fit into the name of a file, got '{name}'"):
        capture(model, [torch.ones(2, 1)], name, tmp_path / "out")
    model._modules[name[:20]] = nn.Identity()
    assert len(capture(model, [torch.ones(2, 1)], name[:20], tmp_path / "out").groups) == 2


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


@contextlib.contextmanager
def interrupt_at(n):
    """Ctrl-C before the n-th line that runs in the module of `capture`; the list tells how many there were."""
    lines, file = [], sys.modules[capture.__module__].__file__

    def trace(frame, event, argument):
        if frame.f_code.co_filename != file:
            return None
        if event == "line":
            lines.append(frame.f_lineno)
            if len(lines) == n:
                signal.raise_signal(signal.SIGINT)
        return trace

    sys.settrace(trace)
    try:
        yield lines
    finally:
        sys.settrace(None)


def good_batches():
    yield torch.ones(2, 3)


def failing_batches():
    yield torch.ones(2, 3)
    raise ZeroDivisionError


def interrupted_batches():
    yield torch.ones(2, 3)
    signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize("batches", [good_batches, failing_batches, interrupted_batches])
def test_ctrl_c_at_any_line(batches, tmp_path):
    """Whenever it comes, also during what another error or a first Ctrl-C has begun to put back, all is put back."""
    model, handler = nn.Sequential(nn.Dropout(), nn.Identity()).train(), signal.getsignal(signal.SIGINT)
    model[1].eval()
    alone = {failing_batches: ZeroDivisionError, interrupted_batches: KeyboardInterrupt}.get(batches)
    n, n_lines, n_whole = 0, 1, 0
    while n <= n_lines:  # at last there is none
        n, raised = n + 1, None
        with interrupt_at(n) as lines:
            try:
                capture(model, batches(), "1", tmp_path / "out", progress=False)
            except (KeyboardInterrupt, ZeroDivisionError) as error:
                raised = type(error)
        n_lines = len(lines)
        assert raised is (KeyboardInterrupt if n <= n_lines else alone)
        assert [module.training for module in model.modules()] == [True, True, False] and torch.is_grad_enabled(), n
        assert not any(module._forward_hooks for module in model.modules()), n
        assert signal.getsignal(signal.SIGINT) is handler
        if (tmp_path / "out").exists():
            assert rows(tmp_path / "out/1.npy").shape == (2, 3)
            shutil.rmtree(tmp_path / "out")
            n_whole += 1
        assert list(tmp_path.iterdir()) == [], n
    assert n > 100 and n_whole <= (15 if batches is good_batches else 0)  # the last lines of a run that ends well


def test_ctrl_c_works_again_where_it_was_swallowed(tmp_path):
    def batches():
        for batch in BATCHES * 3:
            try:
                signal.raise_signal(signal.SIGINT)
            except KeyboardInterrupt:
                struck.append(True)
            yield batch

    struck = []
    capture(encoder(), batches(), "embed", tmp_path / "out")
    assert len(struck) == 6


def test_a_handler_of_ones_own_is_called(tmp_path):
    calls, previous = [], signal.getsignal(signal.SIGINT)
    signal.signal(signal.SIGINT, lambda *arguments: calls.append(arguments))
    try:
        capture(nn.Identity(), interrupted_batches(), "", tmp_path / "out")
    finally:
        signal.signal(signal.SIGINT, previous)
    assert len(calls) == 1 and calls[0][0] == signal.SIGINT and calls[0][1] is not None


def test_another_thread(tmp_path):
    """Only the main one may set a handler."""
    results = []
    thread = threading.Thread(target=lambda: results.append(capture(encoder(), BATCHES, "embed", tmp_path / "out")))
    thread.start()
    thread.join()
    assert results[0].groups.tolist() == GROUPS


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
    ({"mask": [torch.eye(2, 3).to_sparse()] * 2}, TypeError, "mask must be a dense tensor, .* torch.sparse_coo"),
    ({"tokens": 1}, TypeError, "tokens must be a callable or"), ({"tokens": IDS[:1]}, ValueError, "tokens .* got fewer"),
    ({"tokens": [*IDS, None]}, ValueError, "tokens .* got more"), ({"tokens": MASKS}, TypeError, "tokens must be integ"),
    ({"tokens": lambda batch: batch["input_ids"] / 2}, TypeError, "tokens must be integers, got torch.float32"),
    ({"tokens": lambda batch: "a"}, TypeError, "tokens must be an array"),
    ({"tokens": lambda batch: [1, 2]}, ValueError, r"tokens must be \(sequences, tokens\) for each batch"),
    ({"tokens": [IDS[0], None]}, ValueError, "for every batch or for none, but those of batch 1 are not"),
    ({"tokens": [None, IDS[0]]}, ValueError, "for every batch or for none, but those of batch 1 are; "),
    ({"tokens": IDS[::-1]}, ValueError, r"layer 'blocks.0' gives in batch 0, \(2, 3\), got \(3, 2\); tokens=lambda"),
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


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
@pytest.mark.parametrize(("wrap", "error", "match"), [
    (lambda x: x[..., :len(x)], ValueError, "'layer' must keep its width and dtype, 2 and torch.float32, got 3 and"),
    (lambda x: x.double() if len(x) == 3 else x, ValueError, "must keep its width and dtype"),
    (lambda x: x[None, None], ValueError, r"gives shape \(1, 1, 2, 4, 5\)"),
    (lambda x: x.sum(), ValueError, r"gives shape \(\)"),
    (lambda x: None, TypeError, "got NoneType"), (lambda x: ({}, "no"), TypeError, "got tuple"),
    (lambda x: x > 0, TypeError, "torch.bool"), (lambda x: x + 1j, TypeError, "torch.complex64"),
    (lambda x: x.to(torch.float8_e5m2), (TypeError, NotImplementedError), "float8|Float8"),
    (lambda x: x[..., :0], ValueError, "layer 'layer' must give at least one feature"),
    (lambda x: x.to_sparse(), TypeError, "layer 'layer' must give a dense tensor, got one of layout torch.sparse_coo"),
    (lambda x: torch.nested.nested_tensor(list(x)), TypeError, "layer 'layer' must give a dense tensor, got a nested"),
    (lambda x: nn.utils.rnn.pack_padded_sequence(x, [1] * len(x), batch_first=True), TypeError, "packed sequences"),
])  # fmt: skip
def test_layers_that_cannot_be_captured(wrap, error, match, tmp_path):
    model = Changing(wrap)
    with pytest.raises(error, match=match):
        capture(model, [torch.ones(2, 4, 5), torch.ones(3, 4, 5)], "layer", tmp_path / "out")
    assert list(tmp_path.iterdir()) == [] and not model.layer._forward_hooks


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_a_transformer_encoder_that_packs_its_sequences(tmp_path):
    def model(nested):
        torch.manual_seed(0)
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        return nn.Sequential(nn.Embedding(50, 8), nn.TransformerEncoder(layer, 2, enable_nested_tensor=nested))

    class Padded(nn.Module):
        def __init__(self, nested):
            super().__init__()
            self.embed, self.encoder = model(nested)

        def forward(self, ids):
            return self.encoder(self.embed(ids), src_key_padding_mask=ids == 0)

    def run(nested, layer):
        return capture(Padded(nested), [IDS[0]], layer, tmp_path / f"{nested} {layer}", mask=MASKS[:1])

    with pytest.raises(TypeError, match="'encoder.layers.0' must give a dense tensor.* enable_nested_tensor=False"):
        run(True, "encoder.layers.0")
    assert run(False, "encoder.layers.0").groups.tolist() == [0, 0, 0, 1]
    whole, padded = (rows(run(nested, "encoder").paths["encoder"]) for nested in (True, False))
    assert whole.std() > 0.1 and np.allclose(whole, padded, atol=1e-5)


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_batches_that_are_sparse_or_nested(tmp_path):
    class Product(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Identity()

        def forward(self, x):
            return self.layer(x @ torch.arange(6.0).reshape(3, 2))

    sparse = torch.tensor([[1.0, 0, 0], [0, 0, 1]]).to_sparse()
    result = capture(Product(), [sparse], "layer", tmp_path / "out")
    assert rows(result.paths["layer"]).tolist() == [[0, 1], [4, 5]] and result.groups.tolist() == [0, 1]
    with pytest.raises(TypeError, match="layer '' must give a dense tensor, got one of layout torch.sparse_coo"):
        capture(Product(), [sparse], "", tmp_path / "in", what="inputs")
    with pytest.raises(TypeError, match="inputs must be batches of tensors, .* got a nested tensor in batch 0"):
        capture(Product(), [torch.nested.nested_tensor([torch.ones(2, 3), torch.ones(1, 3)])], "", tmp_path / "nested")


def test_views_with_a_lazy_sign(tmp_path):
    """The imaginary part of a conjugate is stored with the other sign."""
    values = torch.randn(4, 3)
    lazy = torch.complex(torch.zeros(4, 3), values).conj().imag
    assert lazy.is_neg()
    whole = capture(nn.Identity(), [lazy], "", tmp_path / "whole")
    part = capture(nn.Identity(), [lazy[None]], "", tmp_path / "part", mask=[[[1, 1, 0, 1]]])
    half = capture(nn.Identity(), [torch._neg_view(values.bfloat16())], "", tmp_path / "half")
    assert (rows(whole.paths[""]) == -values.numpy()).all()
    assert (rows(part.paths[""]) == -values[[0, 1, 3]].numpy()).all()
    assert (rows(half.paths[""]) == -values.bfloat16().float().numpy()).all()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_compiled_modules(tmp_path):
    """They take no hooks; the ones around them do, and what was traced as a whole."""
    layers = nn.Sequential(nn.Linear(3, 4), nn.ReLU())
    batch = torch.randn(5, 3)
    frozen = torch.jit.freeze(torch.jit.script(layers.eval()))
    for module in (torch.jit.script(layers), frozen):
        model = nn.Sequential(module, nn.Identity())
        with pytest.raises(TypeError, match="but '0' is a ScriptModule, which takes no hooks"):
            capture(model, [batch], "0", tmp_path / "out")
        result = capture(model.train(), [batch], "1", tmp_path / f"{module is frozen}")
        assert (rows(result.paths["1"]) == layers(batch).detach().numpy()).all() and model.training
    traced = torch.jit.trace(layers, batch)
    assert (rows(capture(traced, [batch], "", tmp_path / "traced").paths[""]) == layers(batch).detach().numpy()).all()
    with pytest.raises(TypeError, match="but '0' is a ScriptModule"):
        capture(traced, [batch], "0", tmp_path / "out")


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
    assert len(test.examples) == 6 and doctest.DocTestRunner().run(test).failed == 0
