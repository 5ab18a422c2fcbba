"""Capturing activations: what the layers of a PyTorch model put out or take in, row by row into files."""

import contextlib
import difflib
import io
import json
import os
import secrets
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

import numpy as np

from .. import _validation
from .._interrupts import DeferredInterrupts
from .._progress import progress_bar

# Of a safetensors file: eight bytes of length and a JSON text, padded because the number of rows is known last.
_HEADER_BYTES = 256

# What common file systems allow.
_MAX_NAME_BYTES = 255


class Capture(NamedTuple):
    """The files that `capture` has written."""

    paths: dict
    """Layer name -> path of its file: (n, d) rows, which `read_chunks` reads."""
    groups: np.ndarray
    """(n,) int64: the sequence that each row comes from, counted over all batches; also in ``groups.npy``."""
    tokens: np.ndarray | None
    """(n,) int64: the id of each row's token; also in ``tokens.npy``. None: ids are unknown, or rows are sequences."""


def capture(model, inputs, layers, path, *, what="outputs", mask=None, tokens=None, progress=True):
    """Run a PyTorch model and write the activations of some of its layers to files, one row a token.

    The model runs in evaluation mode and without gradients; hooks are removed and every module's mode is put back
    afterwards, also after an error.

    Parameters
    ----------
    model : torch.nn.Module
        Any one, Hugging Face's included. A batch is moved to the device of the model's first parameter or buffer;
        activations are copied to the CPU wherever they are.
    inputs : iterable of batches
        A batch is a tensor, a tuple or list of positional arguments, or a mapping of keyword arguments, such as what
        a tokenizer returns. Without a mask, the first dimension of its first tensor is the number of sequences.
    layers : str or sequence of str
        Names of ``model.named_modules()``; "" is the model itself.
    path : str or PathLike
        The folder to make. It must not exist yet, its parent must.
    what : {"outputs", "inputs"}, optional
        What is captured of a layer: its output or its input, of either the first tensor (where it is a tuple, a
        mapping or a model output of several).
    mask : callable or iterable, optional
        Which tokens count: (sequences, tokens) of bool, or of 1 and 0, where True or 1 is a token and False or 0 is
        padding. A callable gets the batch and returns its mask, or None: all tokens count. An iterable has one mask, or
        None, a batch. Default: the batch's "attention_mask", where it is a mapping that has one.
    tokens : callable or iterable, optional
        The tokens' ids, as the mask is: (sequences, tokens) of integers a batch, or None for every batch: they are not
        known. Default: the batch's "input_ids", where it is a mapping that has them. A decoder's are others.
    progress : bool, optional
        Whether a progress bar over the batches is shown.

    Returns
    -------
    Capture
        ``.paths``: layer name -> file. ``.groups`` (n,): each row's sequence, by which rows of one document can be
        kept together. ``.tokens`` (n,): each row's token id, or None. `moenoise.audit` takes both.

    Raises
    ------
    ImportError
        Where PyTorch is missing.
    TypeError
        Where an argument is of another kind, or a layer a ScriptModule; where a layer yields no dense tensor of
        floating-point numbers.
    ValueError
        Where a layer does not exist (the message names similar ones), has a name too long for a file, is not called in
        a batch, changes its width or dtype, is of width 0, or yields NaN or infinity; where shapes, mask, tokens and
        batch do not fit, or layers differ in their rows; where no rows are left.
    FileExistsError, FileNotFoundError
        Where `path` exists, or its parent does not.

    Notes
    -----
    A layer's tensor may be (sequences, tokens, d), batch first: a row a token that counts; (sequences, d), as of a
    pooler: a row a sequence; or (sequences * tokens, d), as of layers that see tokens only, if there is a mask. The
    latter two look alike in a batch of one token a sequence: where some of these are padding, the layer's earlier
    batches tell, and without such it is an error. A layer that is called several times in a forward pass gives the rows
    of each call, in this order. All layers captured together must give the same rows; others, such as encoder and
    decoder, take one call each.

    Tensors are written when the hook sees them, so what later layers do in place does not show. Rows keep their dtype:
    ``.npy`` files, and ``.safetensors`` where it is bfloat16, which NumPy lacks. A file is named after its layer, with
    all but letters, digits and ``_.-~`` percent-encoded; ``%model`` is the model itself, ``%groups`` a layer "groups",
    ``%tokens`` one "tokens".

    Everything is written to a hidden folder beside `path`, which gets its name at the end: after an error or Ctrl-C
    there is nothing, never half a file. (A Ctrl-C in the last instant may find all there.) A second one waits until all
    is put back. Memory holds one batch and 16 bytes a row. To stop early, cut `inputs` with `itertools.islice`.

    Examples
    --------
    >>> import tempfile, numpy as np, torch  # doctest: +SKIP
    >>> from moenoise.activations.capture import capture  # doctest: +SKIP
    >>> model = torch.nn.Sequential(torch.nn.Embedding(100, 8), torch.nn.Linear(8, 4))  # doctest: +SKIP
    >>> batches = [torch.tensor([[3, 5, 0], [7, 0, 0]]), torch.tensor([[9, 8]])]  # 0: padding  # doctest: +SKIP
    >>> with tempfile.TemporaryDirectory() as folder:  # doctest: +SKIP
    ...     result = capture(model, batches, "1", f"{folder}/out", mask=lambda ids: ids > 0, tokens=lambda ids: ids,
    ...                      progress=False)
    ...     print(result.paths["1"].name, np.load(result.paths["1"]).shape)
    1.npy (5, 4)
    >>> result.groups.tolist(), result.tokens.tolist()  # doctest: +SKIP
    ([0, 0, 1, 2, 2], [3, 5, 7, 9, 8])
    """
    torch = _import_torch()
    modules = _find_modules(model, layers, torch)
    _validation.as_choice(what, "what", ("outputs", "inputs"))
    _validation.as_flag(progress, "progress")
    if isinstance(inputs, (torch.Tensor, Mapping, str)) or not isinstance(inputs, Iterable):
        raise TypeError(f"inputs must be an iterable of batches, got {type(inputs).__name__}; one batch is [batch]")
    masks = _PerBatch(mask, "mask", _attention_mask, _as_mask)
    ids = _PerBatch(tokens, "tokens", _input_ids, _as_ids)
    path = _as_new_folder(path)
    with DeferredInterrupts() as interrupts, _made_at_once(path) as folder:
        recorder = _Recorder(folder, list(modules), torch)
        # inference_mode instead of no_grad would leave caches unfit for later training.
        with recorder.attached(modules, what), _evaluation_mode(model), torch.no_grad():
            _run(model, inputs, masks, ids, recorder, progress, interrupts)
            names, groups, tokens = recorder.finish()
        interrupts.deliver()  # while nothing has its name yet
    return Capture({layer: path / name for layer, name in names.items()}, groups, tokens)


def _import_torch():
    try:
        import torch
    except ImportError as error:
        raise ImportError("capture needs PyTorch: pip install 'moenoise[torch]'") from error
    return torch


def _find_modules(model, layers, torch):
    """Layer name -> module, for names that exist."""
    if not isinstance(model, torch.nn.Module):
        raise TypeError(f"model must be a torch.nn.Module, got {type(model).__name__}")
    if isinstance(model, torch.nn.DataParallel):
        raise TypeError("model must run in one thread for its rows to have an order: pass DataParallel's model.module")
    layers = [layers] if isinstance(layers, str) else _validation.as_list(layers, "layers")
    modules = dict(model.named_modules(remove_duplicate=False))
    for layer in layers:
        if not isinstance(layer, str):
            raise TypeError(f"layers must be names of modules, got {layer!r}")
        if layer not in modules:
            similar = difflib.get_close_matches(layer, modules, n=5) or [name for name in modules if name][:5]
            raise ValueError(f"layers must be names of the model's modules, got {layer!r}; "
                             f"there are, for example, {', '.join(map(repr, similar))}")
        if _is_compiled(modules[layer], torch):
            raise TypeError(f"layers must be modules in Python, but {layer!r} is a ScriptModule, which takes no hooks: "
                            "capture the model that it was made from")
        if len(_file_name(layer, ".safetensors")) > _MAX_NAME_BYTES:
            raise ValueError(f"layers must have names that fit into the name of a file, got {layer!r}")
    if len(set(layers)) < len(layers):
        raise ValueError(f"layers must not be repeated, got {layers}")
    return {layer: modules[layer] for layer in layers}


def _is_compiled(module, torch):
    """Whether no hook of the module is ever called."""
    jit = torch.jit
    return isinstance(module, jit.ScriptModule) and not isinstance(module, jit.TopLevelTracedModule)


def _as_new_folder(path):
    """`path`, absolute: a forward pass may change the working directory."""
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(f"path must be a str or a PathLike, got {path!r}")
    path = Path(path).absolute()
    if not path.parent.is_dir():
        raise FileNotFoundError(f"path must lie in a folder that exists, got {path}")
    if os.path.lexists(path):
        raise FileExistsError(f"path must not exist yet, got {path}")
    return path


@contextlib.contextmanager
def _made_at_once(path):
    """A folder that becomes `path` when the block ends, and vanishes when it fails."""
    folder = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        folder.mkdir()
        yield folder
        folder.rename(path)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


@contextlib.contextmanager
def _evaluation_mode(model):
    """Every module has the mode that it had, afterwards: some may have been in evaluation mode on purpose."""
    with contextlib.ExitStack() as stack:
        for module in model.modules():
            if hasattr(module, "training"):  # a frozen ScriptModule has no mode
                stack.callback(setattr, module, "training", module.training)
        model.eval()
        yield


def _run(model, inputs, masks, ids, recorder, progress, interrupts):
    """The forward passes, with the recorder's hooks."""
    torch = recorder.torch
    device = next((tensor.device for tensors in (model.parameters(), model.buffers()) for tensor in tensors), None)
    try:
        interrupts.allow()
        for batch in progress_bar("capture", shown=progress, items=inputs, unit="batch"):
            interrupts.allow()  # again, where the last one has been swallowed
            recorder.begin(batch, masks, ids)
            _call(model, _moved(batch, device, torch))
            recorder.end()
        masks.end()
        ids.end()
    finally:
        interrupts.forbid()


def _call(model, batch):
    if isinstance(batch, Mapping):
        model(**batch)
    elif isinstance(batch, (tuple, list)):
        model(*batch)
    else:
        model(batch)


def _moved(value, device, torch):
    """`value` with every tensor in it on the device; containers are made anew."""
    if isinstance(value, torch.Tensor):
        return value if device is None else value.to(device)
    if isinstance(value, Mapping):
        return {key: _moved(item, device, torch) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        items = [_moved(item, device, torch) for item in value]
        return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
    return value


def _first_tensor(value, torch):
    """The first tensor in nested tuples, lists and mappings, or None."""
    if isinstance(value, torch.Tensor):
        return value
    if isinstance(value, torch.nn.utils.rnn.PackedSequence):
        raise TypeError("packed sequences are not captured: pad them and give a mask")
    items = value.values() if isinstance(value, Mapping) else value if isinstance(value, (tuple, list)) else ()
    return next((found for item in items if (found := _first_tensor(item, torch)) is not None), None)


class _PerBatch:
    """What belongs to one batch after the other: its mask, or its tokens' ids."""

    def __init__(self, values, name, default, convert):
        self.name, self.convert, self.function, self.iterator = name, convert, default, None
        if callable(values):
            self.function = values
        elif isinstance(values, Iterable) and not isinstance(values, (Mapping, str)):
            self.iterator = iter(values)
        elif values is not None:
            kind = type(values).__name__
            raise TypeError(f"{name} must be a callable or an iterable with one entry a batch, got {kind}")

    def of(self, batch, torch):
        """(sequences, tokens) tensor, or None."""
        if self.iterator is None:
            value = self.function(batch)
        else:
            try:
                value = next(self.iterator)
            except StopIteration:
                raise ValueError(f"{self.name} must have one entry a batch, got fewer") from None
        return None if value is None else self.convert(_as_matrix(value, self.name, torch), torch)

    def end(self):
        """All batches have been."""
        if self.iterator is not None and next(self.iterator, self) is not self:
            raise ValueError(f"{self.name} must have one entry a batch, got more")


def _attention_mask(batch):
    return batch.get("attention_mask") if isinstance(batch, Mapping) else None


def _input_ids(batch):
    """Those of sequences of tokens; what other models call by this name is no matter here."""
    ids = batch.get("input_ids") if isinstance(batch, Mapping) else None
    return ids if getattr(ids, "ndim", None) == 2 else None


def _as_matrix(value, name, torch):
    """A dense tensor (sequences, tokens)."""
    try:
        matrix = value if isinstance(value, torch.Tensor) else torch.from_numpy(np.array(value))
    except (TypeError, ValueError) as error:
        raise TypeError(f"{name} must be an array of numbers or truth values, got {value!r}") from error
    _check_dense(matrix, f"{name} must be", torch)
    if matrix.ndim != 2:
        raise ValueError(f"{name} must be (sequences, tokens) for each batch, got shape {tuple(matrix.shape)}")
    return matrix


def _as_mask(matrix, torch):
    if not ((matrix == 0) | (matrix == 1)).all():
        raise ValueError("mask must be 1 (or True) where a token counts and 0 (or False) elsewhere")
    return matrix == 1


def _as_ids(matrix, torch):
    if matrix.dtype == torch.bool or matrix.is_floating_point() or matrix.is_complex():
        raise TypeError(f"tokens must be integers, got {matrix.dtype}")
    return matrix.to("cpu", torch.int64, copy=True)  # the model may change its input


def _check_dense(tensor, demand, torch):
    if tensor.is_nested:
        raise TypeError(f"{demand} a dense tensor, got a nested one: pad the sequences and give a mask; "
                        "a torch.nn.TransformerEncoder pads with enable_nested_tensor=False")
    if tensor.layout != torch.strided:
        raise TypeError(f"{demand} a dense tensor, got one of layout {tensor.layout}")


class _Recorder:
    """Takes what the hooks see to the layers' files, and keeps track of the sequences."""

    def __init__(self, folder, layers, torch):
        self.folder, self.torch = folder, torch
        self.layers, self.files = layers, {}
        self.forms = {layer: set() for layer in layers}  # whether each row of (rows, d) is a "token" or a "sequence"
        self.mask = self.ids = None  # of the batch
        self.n_batches, self.n_sequences_before, self.groups, self.tokens = 0, 0, [], []

    @contextlib.contextmanager
    def attached(self, modules, what):
        """Hooks on the modules; in the end they are removed and files closed."""
        with contextlib.ExitStack() as stack:
            stack.callback(self._close)
            for layer, module in modules.items():
                stack.callback(self._attach(layer, module, what).remove)
            yield

    def _close(self):
        for file in self.files.values():
            file.close()

    def _attach(self, layer, module, what):
        if what == "outputs":
            return module.register_forward_hook(lambda module, inputs, output: self._take(layer, output))
        return module.register_forward_pre_hook(
            lambda module, positional, named: self._take(layer, (positional, named)), with_kwargs=True)

    def begin(self, batch, masks, ids):
        first = _first_tensor(batch, self.torch)
        if first is None or first.is_nested or first.ndim == 0:
            found = "a nested tensor" if first is not None and first.is_nested else type(batch).__name__
            raise TypeError("inputs must be batches of tensors, (sequences, ...) the first of each, "
                            f"got {found} in batch {self.n_batches}")
        before, self.mask, self.ids = self.ids, masks.of(batch, self.torch), ids.of(batch, self.torch)
        if self.n_batches > 0 and (before is None) != (self.ids is None):
            raise ValueError(f"tokens must be known for every batch or for none, but those of batch {self.n_batches} "
                             f"are{' not' * (self.ids is None)}; tokens=lambda batch: None does without")
        self.n_sequences = len(first if self.mask is None else self.mask)
        self.calls = {layer: [] for layer in self.layers}  # (sequences, ids) of the rows of each call in this batch

    def _take(self, layer, value):
        """A hook: it returns nothing, so that the forward pass goes on unchanged."""
        tensor = _first_tensor(value, self.torch)
        if tensor is None or not tensor.is_floating_point():
            found = type(value).__name__ if tensor is None else f"a tensor of {tensor.dtype}"
            raise TypeError(f"layer {layer!r} must give a tensor of floating-point numbers, got {found}")
        _check_dense(tensor, f"layer {layer!r} must give", self.torch)
        rows, sequences, ids = self._rows(layer, tensor.detach())
        rows = rows.cpu().resolve_neg()
        if not self.torch.isfinite(rows).all():
            raise ValueError(f"layer {layer!r} gives NaN or infinity in batch {self.n_batches}")
        if layer not in self.files:
            self.files[layer] = _RowFile(self.folder, layer, rows, self.torch)
        self.files[layer].append(rows, self.torch)
        self.calls[layer].append((sequences, ids))

    def _rows(self, layer, tensor):
        """(rows, d) that count, the sequence of each within the batch, and its token's id (None: unknown, or none)."""
        shape, mask, n_sequences = tuple(tensor.shape), self.mask, self.n_sequences
        if len(shape) == 2 and self._form(layer, shape) == "sequence":
            return tensor, np.arange(n_sequences), None
        if len(shape) == 2 and mask is not None and shape[0] == mask.numel():
            tensor = tensor.reshape(*mask.shape, shape[1])
        if tensor.ndim != 3 or len(tensor) != n_sequences or mask is not None and tensor.shape[:2] != mask.shape:
            masked = "no mask" if mask is None else f"a mask of shape {tuple(mask.shape)}"
            raise ValueError(
                f"layer {layer!r} gives shape {shape} in batch {self.n_batches}, which is neither (sequences, tokens, "
                f"d), (sequences, d) nor, with a mask, (sequences * tokens, d): there are {n_sequences} sequences and "
                f"{masked}")
        if mask is None:
            mask = self.torch.ones(tensor.shape[:2], dtype=self.torch.bool)
        return tensor[mask.to(tensor.device)], mask.nonzero()[:, 0].cpu().numpy(), self._ids(layer, mask.cpu())

    def _form(self, layer, shape):
        """Whether a row of (rows, d) is a "token" or a "sequence": earlier batches tell where this one does not."""
        n_tokens = None if self.mask is None else self.mask.numel()
        if shape[0] != n_tokens or n_tokens != self.n_sequences:
            form = "sequence" if shape[0] == self.n_sequences else "token"
            self.forms[layer].add(form)
            return form
        if len(self.forms[layer]) == 1:
            return next(iter(self.forms[layer]))
        if not self.mask.all():
            raise ValueError(
                f"layer {layer!r} gives shape {shape} in batch {self.n_batches}, of one token a sequence, some of them "
                "padding, and whether its rows are tokens or sequences no earlier batch tells: leave out sequences "
                "without tokens, or begin with longer ones")
        return "token"

    def _ids(self, layer, mask):
        """The ids of the tokens that count, as an array."""
        if self.ids is None:
            return None
        if self.ids.shape != mask.shape:
            raise ValueError(
                f"tokens must be of the shape of what layer {layer!r} gives in batch {self.n_batches}, "
                f"{tuple(mask.shape)}, got {tuple(self.ids.shape)}; tokens=lambda batch: None does without")
        return self.ids[mask].numpy()

    def end(self):
        """The batch is through: every layer has had the same rows."""
        for layer, calls in self.calls.items():
            if not calls:
                raise ValueError(f"layer {layer!r} is not called in the forward pass of batch {self.n_batches}")
        together = {layer: np.concatenate([sequences for sequences, _ in calls])
                    for layer, calls in self.calls.items()}
        first = together[self.layers[0]]
        for layer, sequences in together.items():
            if not np.array_equal(sequences, first):
                raise ValueError(f"layers must give the same rows, but in batch {self.n_batches} {self.layers[0]!r} "
                                 f"gives {len(first)} and {layer!r} {len(sequences)}: capture them one by one")
        self.groups.append(first + self.n_sequences_before)
        unknown = any(ids is None for calls in self.calls.values() for _, ids in calls)
        self.tokens.append(None if unknown else np.concatenate([ids for _, ids in self.calls[self.layers[0]]]))
        self.n_batches += 1
        self.n_sequences_before += self.n_sequences

    def finish(self):
        """(layer name -> file name, groups, tokens), the files complete."""
        groups = np.concatenate([np.empty(0, dtype=np.int64), *self.groups]).astype(np.int64)
        if len(groups) == 0:
            raise ValueError("inputs must have at least one batch, and a token that counts")
        for file in self.files.values():
            file.finish()
        np.save(self.folder / "groups.npy", groups)
        tokens = None if any(ids is None for ids in self.tokens) else np.concatenate(self.tokens)
        if tokens is not None:
            np.save(self.folder / "tokens.npy", tokens)
        return {layer: self.files[layer].name for layer in self.layers}, groups, tokens


class _RowFile:
    """A file that rows are appended to; its header gets their number at the end."""

    def __init__(self, folder, layer, rows, torch):
        self.layer, self.dtype, self.d, self.n_rows = layer, rows.dtype, rows.shape[1], 0
        if rows.dtype not in (torch.float64, torch.float32, torch.float16, torch.bfloat16):
            raise TypeError(f"layer {layer!r} must give float64, float32, float16 or bfloat16, got {rows.dtype}")
        if self.d == 0:
            raise ValueError(f"layer {layer!r} must give at least one feature, got rows of width 0")
        self.is_bfloat16 = rows.dtype == torch.bfloat16
        self.descr = _as_numpy(rows, torch).dtype.str
        self.name = _file_name(layer, ".safetensors" if self.is_bfloat16 else ".npy")
        self.stream = open(folder / self.name, "xb")
        self.stream.write(self._header())

    def _header(self):
        """For the rows so far; its length does not depend on their number."""
        shape = self.n_rows, self.d
        if self.is_bfloat16:
            entry = {"dtype": "BF16", "shape": shape, "data_offsets": [0, 2 * self.n_rows * self.d]}
            text = json.dumps({"activations": entry}).encode().ljust(_HEADER_BYTES - 8)
            return len(text).to_bytes(8, "little") + text
        header = io.BytesIO()  # NumPy leaves room for the first dimension to grow
        np.lib.format.write_array_header_1_0(header, {"descr": self.descr, "fortran_order": False, "shape": shape})
        return header.getvalue()

    def append(self, rows, torch):
        if rows.shape[1] != self.d or rows.dtype != self.dtype:
            raise ValueError(f"layer {self.layer!r} must keep its width and dtype, {self.d} and {self.dtype}, "
                             f"got {rows.shape[1]} and {rows.dtype}")
        self.stream.write(np.ascontiguousarray(_as_numpy(rows, torch)))
        self.n_rows += len(rows)

    def finish(self):
        self.stream.seek(0)
        self.stream.write(self._header())
        self.stream.close()

    def close(self):
        self.stream.close()


def _as_numpy(rows, torch):
    """The tensor as an array; bfloat16 as little-endian bit patterns."""
    if rows.dtype == torch.bfloat16:
        return rows.view(torch.int16).numpy().astype("<i2", copy=False)
    return rows.numpy()


def _file_name(layer, suffix):
    """A file name for each layer's name; that a bare % cannot come out of `quote` keeps the exceptions apart."""
    exceptions = {"": "%model", "groups": "%groups", "tokens": "%tokens"}
    return exceptions.get(layer, quote(layer, safe="")) + suffix
