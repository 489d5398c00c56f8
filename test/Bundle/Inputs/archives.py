# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Random weights in every storage type, and archives of them written by the public packages."""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass, field
from pathlib import Path

import gguf
import numpy as np

TYPES = {
    "f32": gguf.GGMLQuantizationType.F32,
    "f16": gguf.GGMLQuantizationType.F16,
    "bf16": gguf.GGMLQuantizationType.BF16,
    "q8_0": gguf.GGMLQuantizationType.Q8_0,
    "q4_0": gguf.GGMLQuantizationType.Q4_0,
    "q4_1": gguf.GGMLQuantizationType.Q4_1,
}
BLOCK_TYPES = {"q8_0": 34, "q4_0": 18, "q4_1": 20}


def mlir_type(storage: str) -> str:
    """Spelling of a storage type as an element type."""
    return f"!rondo.{storage}" if storage in BLOCK_TYPES else storage


def encode(values: np.ndarray, storage: str) -> np.ndarray:
    """Rows of f32 values as rows of bytes."""
    return np.ascontiguousarray(gguf.quants.quantize(values.astype(np.float32), TYPES[storage])).view(np.uint8)


def decode(rows: np.ndarray, storage: str) -> np.ndarray:
    """Rows of bytes as rows of f32 values."""
    if storage == "f32":
        return rows.view(np.float32)
    if storage == "f16":
        return rows.view(np.float16).astype(np.float32)
    return gguf.quants.dequantize(rows, TYPES[storage])


@dataclass
class Tensor:
    """A stored tensor: its bytes by row and how they are meant."""

    storage: str
    shape: tuple[int, ...]
    rows: np.ndarray

    def values(self) -> np.ndarray:
        """The weights in f32."""
        return decode(self.rows, self.storage).reshape(self.shape)


@dataclass
class Weights:
    """Tensors by key; block types go to a GGUF file, the others to a safetensors file."""

    rng: np.random.Generator
    tensors: dict[str, Tensor] = field(default_factory=dict)

    def add(self, key: str, storage: str, shape: tuple[int, ...]) -> Tensor:
        """Makes a random tensor, with zeros, denormals and outliers in it."""
        values = self.rng.standard_normal(shape).astype(np.float32)
        flat = values.reshape(-1)
        flat[:: 97] = 0
        flat[5 :: 131] *= 1e-7
        flat[7 :: 211] *= 50
        if values.size >= 64:
            flat[32:64] = 0  # a whole group
        rows = encode(values.reshape(-1, shape[-1]), storage)
        self.tensors[key] = Tensor(storage, shape, rows)
        return self.tensors[key]

    def write(self, folder: Path) -> list[Path]:
        """Writes the archives and returns their paths."""
        plain = {k: t for k, t in self.tensors.items() if t.storage not in BLOCK_TYPES}
        blocks = {k: t for k, t in self.tensors.items() if t.storage in BLOCK_TYPES}
        paths = []
        if plain:
            paths.append(folder / "plain.safetensors")
            write_safetensors(paths[-1], plain)
        if blocks:
            paths.append(folder / "blocks.gguf")
            write_gguf(paths[-1], blocks)
        return paths


def write_safetensors(path: Path, tensors: dict[str, Tensor]) -> None:
    """Writes a safetensors file by hand, since NumPy has no bf16."""
    header, data = {}, b""
    for key, tensor in tensors.items():
        payload = tensor.rows.tobytes()
        header[key] = {
            "dtype": tensor.storage.upper(),
            "shape": list(tensor.shape),
            "data_offsets": [len(data), len(data) + len(payload)],
        }
        data += payload
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def write_gguf(path: Path, tensors: dict[str, Tensor]) -> None:
    """Writes a GGUF file."""
    writer = gguf.GGUFWriter(path, "test")
    for key, tensor in tensors.items():
        writer.add_tensor(key, tensor.rows, raw_dtype=TYPES[tensor.storage])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
