# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""GGUF files as transformers-style checkpoints: names and keys translated, blocks dequantised, rows put back.

Source: the GGUF specification (github.com/ggml-org/ggml, docs/gguf.md) and, for the order of the q and k rows,
llama.cpp's `convert_hf_to_gguf.py`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np

from rondo.reference.checkpoint import Checkpoint
from rondo.reference.errors import CheckpointError
from rondo.reference.layers import Array

_GLOBAL_NAMES = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output_norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",
}
_LAYER_NAMES = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
# Frequency divisors of the llama3 rope rule; they become part of the configuration.
_ROPE_DIVISORS = "rope_freqs.weight"


def open_gguf(path: Path) -> Checkpoint:
    """Open a GGUF file of architecture `llama` or `nanbeige`.

    Raises CheckpointError for other architectures, for unknown tensors and for configuration keys that are missing.
    """
    try:
        reader = gguf.GGUFReader(path)
    except (OSError, ValueError, IndexError) as error:
        raise CheckpointError(f"cannot read {path}: {error}") from error
    tensors = {tensor.name: tensor for tensor in reader.tensors}
    config = _config(_Fields(reader, path), tensors)
    readers = {}
    for name, tensor in tensors.items():
        if name != _ROPE_DIVISORS:
            readers[_transformers_name(name, path)] = _reader(tensor, config)
    return Checkpoint(str(path), config, readers)


class _Fields:
    """The key-value part of a GGUF file; keys of the architecture may be given without its name in front."""

    def __init__(self, reader: gguf.GGUFReader, path: Path) -> None:
        self._fields = reader.fields
        self._path = path
        self.architecture = self.get("general.architecture")
        if self.architecture not in ("llama", "nanbeige"):
            raise CheckpointError(
                f"{path}: architecture '{self.architecture}' is not supported; known: llama, nanbeige"
            )

    def get(self, key: str, default: Any = None) -> Any:
        field = self._fields.get(key)
        return default if field is None else field.contents()

    def own(self, key: str, default: Any = None) -> Any:
        return self.get(f"{self.architecture}.{key}", default)

    def need(self, key: str) -> Any:
        value = self.own(key)
        if value is None:
            raise CheckpointError(f"{self._path}: key '{self.architecture}.{key}' is missing")
        return value


def _config(fields: _Fields, tensors: dict[str, gguf.ReaderTensor]) -> dict[str, Any]:
    """The file's keys under the names that transformers uses in `config.json`."""
    hidden, heads = fields.need("embedding_length"), fields.need("attention.head_count")
    head_dim = fields.own("attention.key_length", hidden // heads)
    for key in ("attention.value_length", "rope.dimension_count"):
        if fields.own(key, head_dim) != head_dim:
            raise CheckpointError(f"'{key}' is {fields.own(key)}, expected the head size of {head_dim}")
    config = {
        "model_type": fields.architecture,
        "hidden_size": hidden,
        "num_attention_heads": heads,
        "num_key_value_heads": fields.own("attention.head_count_kv", heads),
        "head_dim": head_dim,
        "intermediate_size": fields.need("feed_forward_length"),
        "num_hidden_layers": fields.need("block_count"),
        "max_position_embeddings": fields.need("context_length"),
        "rms_norm_eps": fields.need("attention.layer_norm_rms_epsilon"),
        "rope_theta": fields.own("rope.freq_base", 10000.0),  # the default that the GGUF specification gives
        "rope_scaling": _rope_scaling(fields, tensors),
        "vocab_size": int(tensors["token_embd.weight"].shape[1]) if "token_embd.weight" in tensors else 0,
        "tie_word_embeddings": "output.weight" not in tensors,
        "attention_bias": "blk.0.attn_q.bias" in tensors,
        "mlp_bias": "blk.0.ffn_up.bias" in tensors,
        "eos_token_id": fields.get("tokenizer.ggml.eos_token_id"),
        "hidden_act": "silu",
    }
    if fields.own("expert_count", 0):
        raise CheckpointError("'expert_count' is set; mixtures of experts are not supported")
    if fields.architecture == "nanbeige":
        config["num_loops"] = fields.need("num_loops")
        config["skip_loop_final_norm"] = fields.need("skip_loop_final_norm")
    return config


def _rope_scaling(fields: _Fields, tensors: dict[str, gguf.ReaderTensor]) -> dict[str, Any] | None:
    kind = fields.own("rope.scaling.type", "none")
    if kind not in ("none", "linear"):
        raise CheckpointError(f"rope scaling '{kind}' is not supported in GGUF files; known: none, linear")
    if _ROPE_DIVISORS in tensors:
        if kind != "none":
            raise CheckpointError(f"both '{_ROPE_DIVISORS}' and rope scaling '{kind}' are present; expected one")
        return {"rope_type": "divisors", "divisors": tensors[_ROPE_DIVISORS].data.astype(np.float64).tolist()}
    if kind == "linear":
        return {"rope_type": "linear", "factor": fields.need("rope.scaling.factor")}
    return None


def _transformers_name(name: str, path: Path) -> str:
    if name in _GLOBAL_NAMES:
        return _GLOBAL_NAMES[name]
    match = re.fullmatch(r"blk\.(\d+)\.(\w+)\.(weight|bias)", name)
    if match and match[2] in _LAYER_NAMES:
        return f"model.layers.{match[1]}.{_LAYER_NAMES[match[2]]}.{match[3]}"
    raise CheckpointError(f"{path}: tensor '{name}' is not known")


def _reader(tensor: gguf.ReaderTensor, config: dict[str, Any]) -> Callable[[], Array]:
    def read() -> Array:
        values = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        if ".attn_q." in tensor.name:
            return half_split_rows(values, config["num_attention_heads"])
        if ".attn_k." in tensor.name:
            return half_split_rows(values, config["num_key_value_heads"])
        return values

    return read


def half_split_rows(values: Array, heads: int) -> Array:
    """Undo the converter's permutation: rows (2i, 2i + 1) of each head become rows (i, i + D/2).

    GGUF files of Llama-like models hold the q and k rows for rotation of neighbouring pairs; `layers.rotate` turns
    pairs half a head apart. values [heads * D, ...].
    """
    pairs = values.reshape(heads, -1, 2, *values.shape[1:])
    return pairs.swapaxes(1, 2).reshape(values.shape)
