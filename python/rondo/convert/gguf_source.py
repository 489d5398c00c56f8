# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""GGUF files as sources: read by tensor, dequantised, with tokenizer and chat template.

Types f32, f16 and bf16 keep their type; blocks become float32, which holds all their values exactly.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import gguf
import numpy as np
from numpy.typing import NDArray

from rondo.convert.errors import ConversionError
from rondo.convert.gguf_tokenizer import chat_template, stop_tokens, tokenizer_json
from rondo.convert.numbers import SIZES, decode, encode
from rondo.convert.source import Source, Tensor, read_pieces
from rondo.reference.gguf_file import ROPE_DIVISORS, GgufFile

# Values that are dequantised at once.
_PIECE_VALUES = 1 << 22


def open_gguf_source(path: Path) -> Source:
    """A GGUF file of the Llama, Gemma or GPT-NeoX family. Raises ConversionError, and CheckpointError as GgufFile."""
    file = GgufFile(path)
    if ROPE_DIVISORS in file.tensors:
        raise ConversionError(
            f"{path}: '{ROPE_DIVISORS}' has no counterpart in config.json; convert the model folder instead"
        )
    tensors: dict[str, Tensor] = {}
    for stored in file.tensors.values():
        name = file.name(stored.name)
        tensors[name] = GgufTensor(path, name, stored, file.restorer(stored.name))
    config = {key: value for key, value in file.config.items() if value is not None}
    if stops := stop_tokens(file.fields):
        config["eos_token_id"] = stops if len(stops) > 1 else stops[0]
    companions: dict[str, Path | str] = {}
    tokenizer, note = tokenizer_json(file.fields)
    if tokenizer:
        companions["tokenizer.json"] = tokenizer
    if template := chat_template(file.fields):
        companions["chat_template.jinja"] = template
    return Source(path, config, tensors, companions, (note,) if note else ())


class GgufTensor:
    """A tensor of a GGUF file under its name in transformers; `restore` undoes what llama.cpp's converter did to it."""

    def __init__(
        self,
        path: Path,
        name: str,
        stored: gguf.ReaderTensor,
        restore: Callable[[NDArray[np.floating]], NDArray[np.floating]] | None,
    ) -> None:
        self.name = name
        self.shape = tuple(int(size) for size in reversed(stored.shape))
        self._type = stored.tensor_type
        plain = self._type.name in SIZES
        self.kind = self._type.name if plain else "F32"
        self._plain = plain and restore is None
        self._path = path
        self._first, self._size = int(stored.data_offset), int(stored.n_bytes)
        self._restore = restore

    def read(self) -> NDArray[np.float32]:
        """The whole tensor, dequantised."""
        values = np.concatenate(list(self._values())).reshape(self.shape)
        return np.ascontiguousarray(self._restore(values) if self._restore else values, np.float32)

    def pieces(self) -> Iterator[bytes]:
        """The tensor's bytes as `kind`."""
        if self._plain:
            yield from read_pieces(self._path, self._first, self._size)
        elif self._restore:
            yield encode(self.read(), self.kind)
        else:
            yield from (encode(values, self.kind) for values in self._values())

    def _values(self) -> Iterator[NDArray[np.float32]]:
        """Dequantised values of some whole rows at a time, [n]."""
        row_bytes = self._size * self.shape[-1] // int(np.prod(self.shape))
        rows = max(1, _PIECE_VALUES // self.shape[-1])
        for first in range(0, self._size, rows * row_bytes):
            size = min(rows * row_bytes, self._size - first)
            data = b"".join(read_pieces(self._path, self._first + first, size))
            if self._type.name in SIZES:
                yield decode(data, self._type.name)
            else:
                blocks = np.frombuffer(data, np.uint8).reshape(-1, row_bytes)
                yield gguf.quants.dequantize(blocks, self._type).reshape(-1)
