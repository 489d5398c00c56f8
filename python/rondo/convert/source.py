# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Checkpoints to convert: tensors that are read one at a time, and the files beside them.

Nothing is mapped: pages of a mapped file would count as the program's memory.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from rondo.convert.errors import ConversionError
from rondo.convert.numbers import SIZES, decode
from rondo.reference.checkpoint import read_json, weight_files

# Bytes of a piece in which a tensor is copied.
_PIECE_BYTES = 1 << 24
# Bytes of the length in front of a safetensors header, and the most that the header may have
# (github.com/huggingface/safetensors, "Format").
_LENGTH_BYTES = 8
_MAX_HEADER_BYTES = 100_000_000

# What is copied as it is from a model folder, where it is there.
_COMPANIONS = (
    "added_tokens.json", "chat_template.jinja", "chat_template.json", "generation_config.json", "merges.txt",
    "special_tokens_map.json", "tokenizer.json", "tokenizer.model", "tokenizer_config.json", "vocab.json",
)  # fmt: skip


class Tensor(Protocol):
    """A tensor in a file."""

    name: str
    kind: str  # of the elements that `pieces` gives: a key of numbers.SIZES
    shape: tuple[int, ...]

    def read(self) -> NDArray[np.float32]:
        """The whole tensor."""

    def pieces(self) -> Iterator[bytes]:
        """The tensor's bytes as type `kind`, in order, a few megabytes at a time."""


@dataclass(frozen=True)
class Source:
    """A checkpoint under the names and keys of transformers."""

    path: Path
    config: Mapping[str, Any]
    tensors: Mapping[str, Tensor]
    companions: Mapping[str, Path | str]  # name -> file to copy, or text
    notes: tuple[str, ...] = ()  # what could not be carried over


def open_source(path: Path) -> Source:
    """A model folder or a `.gguf` file. Raises ConversionError, or CheckpointError for malformed files."""
    if path.is_dir():
        return _open_folder(path)
    if path.suffix == ".gguf" and path.is_file():
        try:
            from rondo.convert.gguf_source import open_gguf_source
        except ModuleNotFoundError as error:
            raise ConversionError(f"reading {path} needs {error.name}: pip install './python[convert]'") from error
        return open_gguf_source(path)
    raise ConversionError(f"{path} is neither a model folder nor a .gguf file")


def _open_folder(folder: Path) -> Source:
    config = read_json(folder / "config.json")
    if not isinstance(config, dict):
        raise ConversionError(f"{folder / 'config.json'} is not a JSON object")
    for name in ("train_config.yaml", "adapter_config.json"):
        if (folder / name).exists():
            raise ConversionError(
                f"{folder} holds {name}: its layers are shared or adapted already; convert the model it was made from"
            )
    tensors: dict[str, Tensor] = {}
    for file in weight_files(folder):
        for tensor in _safetensors(file):
            if tensor.name in tensors:
                raise ConversionError(f"{folder}: tensor '{tensor.name}' is in more than one file")
            tensors[tensor.name] = tensor
    companions = {name: folder / name for name in _COMPANIONS if (folder / name).is_file()}
    return Source(folder, config, tensors, companions)


@dataclass(frozen=True)
class StoredTensor:
    """A tensor in the bytes `first` .. `first + size` of a safetensors file."""

    name: str
    kind: str
    shape: tuple[int, ...]
    file: Path
    first: int

    @property
    def size(self) -> int:
        """Bytes."""
        return math.prod(self.shape) * SIZES[self.kind]

    def read(self) -> NDArray[np.float32]:
        """The whole tensor."""
        return decode(b"".join(self.pieces()), self.kind).reshape(self.shape)

    def pieces(self) -> Iterator[bytes]:
        """The bytes of the file."""
        return read_pieces(self.file, self.first, self.size)


def read_pieces(file: Path, first: int, size: int) -> Iterator[bytes]:
    """`size` bytes of a file from byte `first`, a few megabytes at a time."""
    with open(file, "rb") as stream:
        stream.seek(first)
        while size:
            piece = stream.read(min(size, _PIECE_BYTES))
            if not piece:
                raise ConversionError(f"{file} ends {size} bytes early")
            size -= len(piece)
            yield piece


def _safetensors(file: Path) -> Iterator[StoredTensor]:
    """The tensors of a file, by its header alone."""
    try:
        with open(file, "rb") as stream:
            end = os.fstat(stream.fileno()).st_size
            size = int.from_bytes(stream.read(_LENGTH_BYTES), "little")
            if size > min(_MAX_HEADER_BYTES, end - _LENGTH_BYTES):
                raise ConversionError(f"{file}: header of {size} bytes does not fit the file")
            header = json.loads(stream.read(size))
    except ValueError as error:
        raise ConversionError(f"cannot read {file}: {error}") from error
    if not isinstance(header, dict):
        raise ConversionError(f"{file}: header is not a JSON object")
    header.pop("__metadata__", None)
    for name, entry in header.items():
        yield _tensor(name, entry, file, _LENGTH_BYTES + size, end)


def _tensor(name: str, entry: Any, file: Path, data: int, end: int) -> StoredTensor:
    """One entry of a header; `data` and `end` are where the data begins and where the file ends."""
    where = f"{file}: '{name}'"
    try:
        first, last = (int(offset) for offset in entry["data_offsets"])
        tensor = StoredTensor(name, entry["dtype"], tuple(int(side) for side in entry["shape"]), file, data + first)
        known = tensor.kind in SIZES
        fits = known and first >= 0 and data + last <= end and last - first == tensor.size
    except (KeyError, TypeError, ValueError):
        raise ConversionError(f"{where} is not an entry of a safetensors header: {entry}") from None
    if not known:
        raise ConversionError(f"{where} is of type {tensor.kind}; known: {', '.join(SIZES)}")
    if not fits:
        raise ConversionError(f"{where} claims bytes {first} to {last}, which do not fit its shape or the file")
    return tensor
