# Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What is measured: the models and lengths of a TOML file, and model shapes."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gguf

KV_BYTES = {"f32": 4, "f16": 2, "bf16": 2}


@dataclass(frozen=True)
class Lengths:
    """Tokens of one measurement."""

    prefill: int
    decode: int
    at: int
    context: int

    @property
    def mean_position(self) -> float:
        return self.at + (self.decode - 1) / 2


@dataclass(frozen=True)
class Model:
    """One GGUF file and what follows from it.

    Rondo may run another form of the model: a folder with fewer weights that
    are visited more often.
    """

    type: str
    label: str
    path: Path
    rondo_source: Path | None
    rondo_options: tuple[str, ...]
    head_type: str
    matrix_bytes: int  # read by every token: layers and head
    body_weights: int  # in the layers
    head_weights: int
    layers: int
    heads: int
    kv_heads: int
    head_size: int

    def kv_bytes(self, position: float, kv: str) -> float:
        """Bytes of K and V that a token at `position` reads."""
        size = self.kv_heads * self.head_size * KV_BYTES[kv]
        return 2 * self.layers * size * (position + 1)

    def attention_ops(self, position: float) -> float:
        """Multiplications and additions of a token's attention."""
        return 4 * self.layers * self.heads * self.head_size * (position + 1)

    def decode_ops(self, position: float) -> float:
        weights = self.body_weights + self.head_weights
        return 2 * weights + self.attention_ops(position)

    def prefill_ops(self, tokens: int) -> float:
        """All tokens through the layers, the last one through the head."""
        each = 2 * self.body_weights + self.attention_ops((tokens - 1) / 2)
        return tokens * each + 2 * self.head_weights


@dataclass(frozen=True)
class Config:
    name: str
    lengths: Lengths
    models: tuple[dict[str, Any], ...]  # keys of load_model
    rondo_repeat: int
    rondo: dict[str, str]
    llama: dict[str, str]


def load_config(path: Path) -> Config:
    data = tomllib.loads(path.read_text())
    names = ("prefill", "decode", "at", "context")
    return Config(
        name=data["name"],
        lengths=Lengths(**{name: data[name] for name in names}),
        models=tuple(data["model"]),
        rondo_repeat=data["rondo_repeat"],
        rondo=data["rondo"],
        llama=data["llama"],
    )


def _number(reader: gguf.GGUFReader, key: str) -> int:
    architecture = reader.fields["general.architecture"].contents()
    return int(reader.fields[f"{architecture}.{key}"].contents())


def load_model(entry: dict[str, Any], folder: Path) -> Model:
    """Reads sizes and shape from the file's header.

    Keys of an entry: type, file; label (default the type); rondo, the folder
    that Rondo compiles instead, and rondo_options for it.
    """
    path = folder / entry["file"]
    reader = gguf.GGUFReader(path)
    matrices = {t.name: t for t in reader.tensors if len(t.shape) > 1}
    embedding = matrices["token_embd.weight"]
    head = matrices.get("output.weight", embedding)
    body = [t for t in matrices.values() if t.name.startswith("blk.")]
    heads = _number(reader, "attention.head_count")
    return Model(
        type=entry["type"],
        label=entry.get("label", entry["type"]),
        path=path,
        rondo_source=folder / entry["rondo"] if "rondo" in entry else None,
        rondo_options=tuple(entry.get("rondo_options", ())),
        head_type=head.tensor_type.name.lower(),
        matrix_bytes=sum(int(t.n_bytes) for t in [*body, head]),
        body_weights=sum(int(t.n_elements) for t in body),
        head_weights=int(head.n_elements),
        layers=_number(reader, "block_count"),
        heads=heads,
        kv_heads=_number(reader, "attention.head_count_kv"),
        head_size=_number(reader, "embedding_length") // heads,
    )
