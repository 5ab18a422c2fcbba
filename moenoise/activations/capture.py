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
from .._progress import progress_bar

# Of a safetensors file: eight bytes of length and a JSON text, padded because the number of rows is known last.
_HEADER_BYTES = 256


class Capture(NamedTuple):
    """The files that `capture` has written."""

    paths: dict
    """Layer name -> path of its file: (n, d) rows, which `read_chunks` reads."""
    groups: np.ndarray
    """(n,) int64: the sequence that each row comes from, counted over all batches; also in ``groups.npy``."""


def capture(model, inputs, layers, path, *, what="outputs", mask=None, progress=True):
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
    progress : bool, optional
        Whether a progress bar over the batches is shown.

    Returns
    -------
    Capture
        ``.paths``: layer name -> file. ``.groups`` (n,): each row's sequence, by which rows of one document can be
        kept together.

    Raises
    ------
    ImportError
        Where PyTorch is missing.
    TypeError
        Where an argument is of another kind; where a layer yields no tensor of floating-point numbers.
    ValueError
        Where a layer does not exist (the message names similar ones), is not called in a batch, changes its width or
        dtype, or yields NaN or infinity; where shapes, mask and batch do not fit, or layers differ in their rows; where
        no rows are left.
    FileExistsError, FileNotFoundError
        Where `path` exists, or its parent does not.

    Notes
    -----
    A layer's tensor may be (sequences, tokens, d), batch first: a row a token that counts; (sequences, d), as of a
    pooler: a row a sequence; or (sequences * tokens, d), as of layers that see tokens only, if there is a mask. A layer
    that is called several times in a forward pass gives the rows of each call, in this order. All layers captured
    together must give the same rows; others, such as encoder and decoder, take one call each.

    Tensors are written when the hook sees them, so what later layers do in place does not show. Rows keep their dtype:
    ``.npy`` files, and ``.safetensors`` where it is bfloat16, which NumPy lacks. A file is named after its layer, with
    all but letters, digits and ``_.-~`` percent-encoded; ``%model`` is the model itself, ``%groups`` a layer "groups".

    Everything is written to a hidden folder beside `path`, which gets its name at the end: after an error or Ctrl-C
    there is nothing, never half a file. Memory holds one batch and 8 bytes a row. To stop early, cut `inputs` with
    `itertools.islice`.

    Examples
    --------
    >>> import tempfile, numpy as np, torch  # doctest: +SKIP
    >>> from moenoise.activations.capture import capture  # doctest: +SKIP
    >>> model = torch.nn.Sequential(torch.nn.Embedding(100, 8), torch.nn.Linear(8, 4))  # doctest: +SKIP
    >>> batches = [torch.tensor([[3, 5, 0], [7, 0, 0]]), torch.tensor([[9, 8]])]  # 0: padding  # doctest: +SKIP
    >>> with tempfile.TemporaryDirectory() as folder:  # doctest: +SKIP
    ...     result = capture(model, batches, "1", f"{folder}/out", mask=lambda ids: ids > 0, progress=False)
    ...     print(result.paths["1"].name, np.load(result.paths["1"]).shape, result.groups.tolist())
    1.npy (5, 4) [0, 0, 1, 2, 2]
    """
    torch = _import_torch()
    modules = _find_modules(model, layers, torch)
    _validation.as_choice(what, "what", ("outputs", "inputs"))
    _validation.as_flag(progress, "progress")
    if isinstance(inputs, (torch.Tensor, Mapping, str)) or not isinstance(inputs, Iterable):
        raise TypeError(f"inputs must be an iterable of batches, got {type(inputs).__name__}; one batch is [batch]")
    masks = _Masks(mask)
    path = _as_new_folder(path)
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(_made_at_once(path))
        recorder = _Recorder(folder, list(modules), torch)
        stack.enter_context(recorder.attached(modules, what))
        stack.enter_context(_evaluation_mode(model))
        stack.enter_context(torch.no_grad())  # inference_mode would leave caches unfit for later training
        _run(model, inputs, masks, recorder, progress)
        names, groups = recorder.finish()
    return Capture({layer: path / name for layer, name in names.items()}, groups)


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
    if len(set(layers)) < len(layers):
        raise ValueError(f"layers must not be repeated, got {layers}")
    return {layer: modules[layer] for layer in layers}


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
    modes = [(module, module.training) for module in model.modules()]
    try:
        model.eval()
        yield
    finally:
        for module, training in modes:
            module.training = training


def _run(model, inputs, masks, recorder, progress):
    """The forward passes, with the recorder's hooks."""
    torch = recorder.torch
    device = next((tensor.device for tensors in (model.parameters(), model.buffers()) for tensor in tensors), None)
    for batch in progress_bar("capture", shown=progress, items=inputs, unit="batch"):
        recorder.begin(batch, masks.of(batch, torch))
        batch = _moved(batch, device, torch)
        if isinstance(batch, Mapping):
            model(**batch)
        elif isinstance(batch, (tuple, list)):
            model(*batch)
        else:
            model(batch)
        recorder.end()
    masks.end()


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


class _Masks:
    """The mask of one batch after the other."""

    def __init__(self, mask):
        if not (mask is None or callable(mask) or isinstance(mask, Iterable)) or isinstance(mask, (Mapping, str)):
            raise TypeError(f"mask must be a callable or an iterable with one mask a batch, got {type(mask).__name__}")
        self.mask = mask
        self.iterator = None if mask is None or callable(mask) else iter(mask)

    def of(self, batch, torch):
        """(sequences, tokens) bool tensor, or None."""
        if self.iterator is not None:
            try:
                value = next(self.iterator)
            except StopIteration:
                raise ValueError("mask must have one entry a batch, got fewer") from None
        elif self.mask is not None:
            value = self.mask(batch)
        else:
            value = batch.get("attention_mask") if isinstance(batch, Mapping) else None
        return None if value is None else _as_mask(value, torch)

    def end(self):
        """All batches have been."""
        if self.iterator is not None and next(self.iterator, self) is not self:
            raise ValueError("mask must have one entry a batch, got more")


def _as_mask(value, torch):
    try:
        mask = value if isinstance(value, torch.Tensor) else torch.from_numpy(np.array(value))
    except (TypeError, ValueError) as error:
        raise TypeError(f"mask must be an array of truth values, got {value!r}") from error
    if mask.ndim != 2:
        raise ValueError(f"mask must be (sequences, tokens) for each batch, got shape {tuple(mask.shape)}")
    if not ((mask == 0) | (mask == 1)).all():
        raise ValueError("mask must be 1 (or True) where a token counts and 0 (or False) elsewhere")
    return mask == 1


class _Recorder:
    """Takes what the hooks see to the layers' files, and keeps track of the sequences."""

    def __init__(self, folder, layers, torch):
        self.folder, self.torch = folder, torch
        self.layers, self.files = layers, {}
        self.n_batches, self.n_sequences_before, self.groups = 0, 0, []

    @contextlib.contextmanager
    def attached(self, modules, what):
        """Hooks on the modules; in the end they are removed and files closed."""
        handles = []
        try:
            for layer, module in modules.items():
                handles.append(self._attach(layer, module, what))
            yield
        finally:
            for handle in handles:
                handle.remove()
            for file in self.files.values():
                file.close()

    def _attach(self, layer, module, what):
        if what == "outputs":
            return module.register_forward_hook(lambda module, inputs, output: self._take(layer, output))
        return module.register_forward_pre_hook(
            lambda module, positional, named: self._take(layer, (positional, named)), with_kwargs=True)

    def begin(self, batch, mask):
        first = _first_tensor(batch, self.torch)
        if first is None or first.ndim == 0:
            raise TypeError("inputs must be batches of tensors, (sequences, ...) the first of each, "
                            f"got {type(batch).__name__} in batch {self.n_batches}")
        self.n_sequences, self.mask = len(first if mask is None else mask), mask
        self.sequences = {layer: [] for layer in self.layers}  # of each row of this batch, call by call

    def _take(self, layer, value):
        """A hook: it returns nothing, so that the forward pass goes on unchanged."""
        tensor = _first_tensor(value, self.torch)
        if tensor is None or not tensor.is_floating_point():
            found = type(value).__name__ if tensor is None else f"a tensor of {tensor.dtype}"
            raise TypeError(f"layer {layer!r} must give a tensor of floating-point numbers, got {found}")
        rows, sequences = self._rows(layer, tensor.detach())
        if not self.torch.isfinite(rows).all():
            raise ValueError(f"layer {layer!r} gives NaN or infinity in batch {self.n_batches}")
        if layer not in self.files:
            self.files[layer] = _RowFile(self.folder, layer, rows, self.torch)
        self.files[layer].append(rows, self.torch)
        self.sequences[layer].append(sequences)

    def _rows(self, layer, tensor):
        """(rows, d) that count, on the CPU, and (rows,) the sequence of each within the batch."""
        shape, mask, n_sequences = tuple(tensor.shape), self.mask, self.n_sequences
        if len(shape) == 2 and shape[0] == n_sequences:
            return tensor.cpu(), np.arange(n_sequences)
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
        return tensor[mask.to(tensor.device)].cpu(), mask.nonzero()[:, 0].cpu().numpy()

    def end(self):
        """The batch is through: every layer has had the same rows."""
        for layer, sequences in self.sequences.items():
            if not sequences:
                raise ValueError(f"layer {layer!r} is not called in the forward pass of batch {self.n_batches}")
        together = {layer: np.concatenate(sequences) for layer, sequences in self.sequences.items()}
        first = together[self.layers[0]]
        for layer, sequences in together.items():
            if not np.array_equal(sequences, first):
                raise ValueError(f"layers must give the same rows, but in batch {self.n_batches} {self.layers[0]!r} "
                                 f"gives {len(first)} and {layer!r} {len(sequences)}: capture them one by one")
        self.groups.append(first + self.n_sequences_before)
        self.n_batches += 1
        self.n_sequences_before += self.n_sequences

    def finish(self):
        """(layer name -> file name, groups), the files complete."""
        groups = np.concatenate([np.empty(0, dtype=np.int64), *self.groups]).astype(np.int64)
        if len(groups) == 0:
            raise ValueError("inputs must have at least one batch, and a token that counts")
        for file in self.files.values():
            file.finish()
        np.save(self.folder / "groups.npy", groups)
        return {layer: self.files[layer].name for layer in self.layers}, groups


class _RowFile:
    """A file that rows are appended to; its header gets their number at the end."""

    def __init__(self, folder, layer, rows, torch):
        self.layer, self.dtype, self.d, self.n_rows = layer, rows.dtype, rows.shape[1], 0
        if rows.dtype not in (torch.float64, torch.float32, torch.float16, torch.bfloat16):
            raise TypeError(f"layer {layer!r} must give float64, float32, float16 or bfloat16, got {rows.dtype}")
        self.is_bfloat16 = rows.dtype == torch.bfloat16
        self.descr = _as_numpy(rows, torch).dtype.str
        self.name = _file_name(layer) + (".safetensors" if self.is_bfloat16 else ".npy")
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


def _file_name(layer):
    """A file name for each layer's name; that a bare % cannot come out of `quote` keeps the two exceptions apart."""
    return {"": "%model", "groups": "%groups"}.get(layer, quote(layer, safe=""))
