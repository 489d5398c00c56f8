# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Checkpoints on disk: a configuration and named weights, whatever the file format.

`open_checkpoint` reads Hugging Face folders (`config.json`, one or several `*.safetensors`) here and GGUF files through
`gguf_file.py`. Either way the names, the layout of the rows and the configuration keys are those of transformers.
"""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from rondo.reference.errors import CheckpointError
from rondo.reference.layers import Array, Linear, LowRank

# Bytes of the length field in front of a safetensors header, and the most that such a header may have
# (github.com/huggingface/safetensors, "Format").
_LENGTH_BYTES = 8
_MAX_HEADER_BYTES = 100_000_000

# Buffers that some releases store although they follow from the configuration.
_IGNORED_SUFFIXES = ("rotary_emb.inv_freq",)


class Checkpoint:
    """Configuration and weights; remembers which weights were taken, so that none is dropped unnoticed.

    `scales` names the linears that have a low-rank delta, `<linear>.lora_A.weight` and `<linear>.lora_B.weight`, and
    says what its product is multiplied by.
    """

    def __init__(
        self,
        name: str,
        config: Mapping[str, Any],
        readers: Mapping[str, Callable[[], Array]],
        scales: Mapping[str, float] | None = None,
    ) -> None:
        self.name = name
        self.config = dict(config)
        self._readers = dict(readers)
        self._scales = dict(scales or {})
        self._taken: set[str] = set()

    @property
    def readers(self) -> Mapping[str, Callable[[], Array]]:
        """Functions that read the weights as they are stored, by name."""
        return self._readers

    def __contains__(self, tensor: str) -> bool:
        return tensor in self._readers

    def take(self, tensor: str, shape: tuple[int, ...], dtype: np.dtype) -> Array:
        """The named weight, widened to `dtype`. Raises CheckpointError if it is missing or has another shape."""
        if tensor not in self._readers:
            raise CheckpointError(f"{self.name}: tensor '{tensor}' is missing")
        value = self._readers[tensor]()
        if value.shape != shape:
            raise CheckpointError(f"{self.name}: '{tensor}' has shape {list(value.shape)}, expected {list(shape)}")
        self._taken.add(tensor)
        return np.ascontiguousarray(value, dtype=dtype)

    def linear(self, name: str, outputs: int, inputs: int, dtype: np.dtype, biased: bool = False) -> Linear:
        """The linear [outputs, inputs] of this name, with its bias if `biased`, and with its delta if it has one."""
        weight = self.take(f"{name}.weight", (outputs, inputs), dtype)
        bias = self.take(f"{name}.bias", (outputs,), dtype) if biased else None
        return Linear(weight, bias, self._delta(name, outputs, inputs, dtype))

    def _delta(self, name: str, outputs: int, inputs: int, dtype: np.dtype) -> LowRank | None:
        if name not in self._scales:
            return None
        first = self._readers.get(f"{name}.lora_A.weight")
        rank = first().shape[0] if first else 0
        a = self.take(f"{name}.lora_A.weight", (rank, inputs), dtype)
        b = self.take(f"{name}.lora_B.weight", (outputs, rank), dtype)
        return LowRank(a, b, self._scales[name])

    def finish(self, ignored_suffixes: tuple[str, ...] = ()) -> None:
        """Raise CheckpointError if a weight was never taken, unless its name has one of the suffixes."""
        ignored = _IGNORED_SUFFIXES + ignored_suffixes
        left = sorted(name for name in self._readers.keys() - self._taken if not name.endswith(ignored))
        if left:
            more = f" and {len(left) - 1} more" if len(left) > 1 else ""
            raise CheckpointError(f"{self.name}: tensor '{left[0]}'{more} has no place in this architecture")


def open_checkpoint(path: Path) -> Checkpoint:
    """Open a Hugging Face folder or a `.gguf` file; weights are read when they are taken."""
    if path.is_dir():
        return _open_folder(path)
    if path.suffix == ".gguf" and path.is_file():
        from rondo.reference.gguf_file import open_gguf  # needs the gguf package, which folders do not

        return open_gguf(path)
    raise CheckpointError(f"{path} is neither a model folder nor a .gguf file")


def read_json(path: Path) -> Any:
    """Parse a JSON file; CheckpointError names the file and the place if it is malformed or absent."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise CheckpointError(f"cannot read {path}: {error}") from error


def _open_folder(folder: Path) -> Checkpoint:
    config = read_json(folder / "config.json")
    if not isinstance(config, dict):
        raise CheckpointError(f"{folder / 'config.json'} is not a JSON object")
    generation = folder / "generation_config.json"
    if generation.is_file():
        stop = read_json(generation).get("eos_token_id")
        if stop is not None:
            config["eos_token_id"] = stop
    readers: dict[str, Callable[[], Array]] = {}
    for file in weight_files(folder):
        for name, reader in safetensors_readers(file).items():
            if name in readers:
                raise CheckpointError(f"{folder}: tensor '{name}' is in more than one file")
            readers[name] = reader
    return Checkpoint(str(folder), config, readers)


def weight_files(folder: Path) -> list[Path]:
    """`model.safetensors`, else the shards that the index names, else the only safetensors file there is."""
    single, index = folder / "model.safetensors", folder / "model.safetensors.index.json"
    if single.is_file():
        return [single]
    if index.is_file():
        weight_map = read_json(index).get("weight_map")
        if not isinstance(weight_map, dict):
            raise CheckpointError(f"{index} has no 'weight_map'")
        files = [folder / name for name in sorted(set(weight_map.values()))]
    else:
        files = sorted(folder.glob("*.safetensors"))
        if len(files) != 1:
            raise CheckpointError(f"{folder}: expected {single.name}, {index.name} or one safetensors file")
    absent = [file.name for file in files if not file.is_file()]
    if absent:
        raise CheckpointError(f"{folder}: {index.name} names {absent[0]}, which is not there")
    return files


def safetensors_readers(path: Path) -> dict[str, Callable[[], Array]]:
    """For each tensor of a safetensors file a function that reads it as F64, F32, or F32 widened from F16 or BF16."""
    try:
        data = np.memmap(path, np.uint8, mode="r")
        header_bytes = int.from_bytes(data[:_LENGTH_BYTES].tobytes(), "little")
        begin = _LENGTH_BYTES + header_bytes
        if header_bytes > min(_MAX_HEADER_BYTES, data.size - _LENGTH_BYTES):
            raise CheckpointError(f"{path}: header of {header_bytes} bytes does not fit the file")
        header = json.loads(data[_LENGTH_BYTES:begin].tobytes())
    except (OSError, ValueError) as error:
        raise CheckpointError(f"cannot read {path}: {error}") from error
    if not isinstance(header, dict):
        raise CheckpointError(f"{path}: header is not a JSON object")
    header.pop("__metadata__", None)
    return {
        name: functools.partial(_decode, f"{path}: '{name}'", entry, data[begin:]) for name, entry in header.items()
    }


def same_bits(one: Array, other: Array) -> bool:
    """Whether two arrays are one weight: the same type, shape and bits."""
    return one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes()


def _decode(where: str, entry: Mapping[str, Any], data: np.ndarray) -> Array:
    kinds = {"F64": np.float64, "F32": np.float32, "F16": np.float16, "BF16": np.uint16}
    try:
        first, end = entry["data_offsets"]
        count = math.prod(entry["shape"])
        kind = np.dtype(kinds[entry["dtype"]])
    except (KeyError, TypeError, ValueError):
        raise CheckpointError(f"{where} is not a tensor of type {', '.join(kinds)}: {entry}") from None
    if not 0 <= first <= end <= data.size or end - first != count * kind.itemsize:
        raise CheckpointError(f"{where} claims bytes {first} to {end}, which do not fit its shape or the file")
    values = np.frombuffer(data[first:end].tobytes(), kind).reshape(entry["shape"])
    if entry["dtype"] == "BF16":  # the upper half of a float32
        return (values.astype(np.uint32) << 16).view(np.float32)
    return values.astype(np.float32) if kind == np.float16 else values
