# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Models from folders and back: what is saved has the names, the types and the configuration of what was loaded."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from rondo.convert.folder import appearing_folder
from rondo.convert.source import Source, open_source
from rondo.convert.source import Tensor as StoredTensor
from rondo.convert.writer import Entry, SafetensorsWriter
from rondo.reference.checkpoint import open_checkpoint
from rondo.reference.gpt_neox import IGNORED_SUFFIXES
from rondo.torch.arrays import FILE_TYPES, to_bytes
from rondo.torch.builder import build
from rondo.torch.errors import TrainingError
from rondo.torch.model import Decoder

# What follows from the configuration and has no module; it is copied.
_BUFFERS = ("rotary_emb.inv_freq", *IGNORED_SUFFIXES)


def load(folder: str | Path, dtype: torch.dtype = torch.float32) -> Decoder:
    """A model in float32 or float64 from a recursive folder, or from the folder or GGUF file of a Llama, Gemma
    or GPT-NeoX.

    Raises TrainingError for other families and types, CheckpointError for what cannot be read.
    """
    return build(open_checkpoint(Path(folder)), dtype)


def save(model: Decoder, folder: str | Path, source_folder: str | Path) -> None:
    """Write `model` to `folder`, which appears when it is complete, in the format of the folder that it is from.

    Weights are rounded to the types that they have there; configuration, tokenizer and chat template are copied. Raises
    ConversionError if `folder` is there already, TrainingError if the source has other tensors than the model.
    """
    source = open_saved(source_folder)
    with appearing_folder(Path(folder)) as temporary:
        write(model, temporary, source)


def open_saved(folder: str | Path) -> Source:
    """The tensors of a model folder. Raises TrainingError if it is none, since only a folder can be written again."""
    if not Path(folder).is_dir():
        raise TrainingError(f"{folder} is not a model folder; make one with 'rondo convert recursive'")
    return open_source(Path(folder))


def write(model: Decoder, folder: Path, source: Source) -> None:
    """Write `model` into an existing folder; see `save`."""
    parameters = _parameters(model, source)
    entries = {name: Entry(name, tensor.kind, tensor.shape) for name, tensor in source.tensors.items()}
    with SafetensorsWriter(folder / "model.safetensors", list(entries.values())) as writer:
        for name, entry in entries.items():
            writer.add(entry, _pieces(parameters.get(name), source.tensors[name]))
    shutil.copyfile(source.path / "config.json", folder / "config.json")
    for name, file in source.companions.items():
        shutil.copyfile(file, folder / name)


def round_as_stored(model: Decoder, source: Source) -> None:
    """Round the weights to the types in which `write` stores them, so that the model is what a reader will find."""
    with torch.no_grad():
        for name, parameter in _parameters(model, source).items():
            parameter.copy_(parameter.to(FILE_TYPES[source.tensors[name].kind]))


def _pieces(parameter: Tensor | None, stored: StoredTensor) -> Iterable[bytes]:
    return stored.pieces() if parameter is None else [to_bytes(parameter, stored.kind)]


def _parameters(model: Decoder, source: Source) -> Mapping[str, Tensor]:
    """The model's parameters under the names of the source's tensors, of which buffers are left out."""
    found: dict[str, Tensor] = dict(model.named_parameters())
    head = f"{model.names.head}.weight"
    if head in source.tensors:
        found[head] = model.head  # stored beside the embedding, though it is the same
    stored = {name for name in source.tensors if name in found or not name.endswith(_BUFFERS)}
    for name in sorted(found.keys() ^ stored):
        where, other = ("the model", source.path) if name in found else (source.path, "the model")
        raise TrainingError(
            f"tensor '{name}' is in {where}, but not in {other}; give the folder that the model was loaded from"
        )
    for name, parameter in found.items():
        if tuple(parameter.shape) != source.tensors[name].shape:
            raise TrainingError(
                f"tensor '{name}' is {list(parameter.shape)} in the model and {list(source.tensors[name].shape)} in "
                f"{source.path}; give the folder that the model was loaded from"
            )
    return found
