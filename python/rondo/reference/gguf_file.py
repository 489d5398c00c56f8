# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""GGUF files as transformers-style checkpoints: names and keys translated, blocks dequantised, rows put back.

Source: the GGUF specification (github.com/ggml-org/ggml, docs/gguf.md) and, for the order of the q and k rows,
llama.cpp's `convert_hf_to_gguf.py`.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np

from rondo.reference.checkpoint import Checkpoint
from rondo.reference.errors import CheckpointError
from rondo.reference.layers import Array

# Architectures, and what transformers calls them.
_MODEL_TYPES = {"llama": "llama", "nanbeige": "nanbeige", "gemma": "gemma", "gptneox": "gpt_neox"}
# The default that the GGUF specification gives.
_ROPE_THETA = 10000.0
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
_NEOX_GLOBAL_NAMES = {
    "token_embd.weight": "gpt_neox.embed_in.weight",
    "output_norm.weight": "gpt_neox.final_layer_norm.weight",
    "output_norm.bias": "gpt_neox.final_layer_norm.bias",
    "output.weight": "embed_out.weight",
}
_NEOX_LAYER_NAMES = {
    "attn_norm": "input_layernorm",
    "attn_qkv": "attention.query_key_value",
    "attn_output": "attention.dense",
    "ffn_norm": "post_attention_layernorm",
    "ffn_up": "mlp.dense_h_to_4h",
    "ffn_down": "mlp.dense_4h_to_h",
}
# Frequency divisors of the llama3 rope rule; they become part of the configuration.
ROPE_DIVISORS = "rope_freqs.weight"


def open_gguf(path: Path) -> Checkpoint:
    """Open a GGUF file of a known architecture. Raises CheckpointError as GgufFile does."""
    file = GgufFile(path)
    readers = {file.name(name): functools.partial(file.read, name) for name in file.tensors if name != ROPE_DIVISORS}
    return Checkpoint(str(path), file.config, readers)


class GgufFile:
    """The header of a GGUF file, and what its tensors are called and how they look in transformers.

    Raises CheckpointError for unknown architectures and tensors, and for configuration keys that are missing.
    """

    def __init__(self, path: Path) -> None:
        try:
            reader = gguf.GGUFReader(path)
        except OSError as error:
            raise CheckpointError(f"cannot read {path}: {error}") from error
        except (ValueError, IndexError) as error:  # NumPy's words about slices of the file
            raise CheckpointError(
                f"{path} is not a GGUF file, or is cut short or damaged; copy or download it again"
            ) from error
        self.path = path
        self.fields = Fields(reader, path)
        self.tensors = {tensor.name: tensor for tensor in reader.tensors}
        self.config = _config(self.fields, self.tensors)

    def name(self, tensor: str) -> str:
        """What transformers calls a tensor of the file."""
        return _transformers_name(tensor, self.path, self.config["model_type"])

    def read(self, tensor: str) -> Array:
        """A tensor, dequantised, as transformers has it."""
        stored = self.tensors[tensor]
        restore = self.restorer(tensor)
        values = gguf.quants.dequantize(stored.data, stored.tensor_type)
        return restore(values) if restore else values

    def restorer(self, tensor: str) -> Callable[[Array], Array] | None:
        """What undoes the change that llama.cpp's converter made to a tensor; None if it made none."""
        heads, kv_heads = self.config["num_attention_heads"], self.config.get("num_key_value_heads")
        architecture = self.config["model_type"]
        if architecture in ("llama", "nanbeige") and ".attn_q." in tensor:
            return functools.partial(half_split_rows, heads=heads)
        if architecture in ("llama", "nanbeige") and ".attn_k." in tensor:
            return functools.partial(half_split_rows, heads=kv_heads)
        if architecture == "gemma" and tensor.endswith("_norm.weight"):
            return lambda values: values - 1
        if ".attn_qkv." in tensor:
            return functools.partial(interleaved_rows, heads=heads)
        return None


class Fields:
    """The key-value part of a GGUF file; keys of the architecture may be given without its name in front."""

    def __init__(self, reader: gguf.GGUFReader, path: Path) -> None:
        self._fields = reader.fields
        self._path = path
        self.architecture = self.get("general.architecture")
        if self.architecture not in _MODEL_TYPES:
            raise CheckpointError(
                f"{path}: architecture '{self.architecture}' is not supported; known: {', '.join(_MODEL_TYPES)}"
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


def _config(fields: Fields, tensors: dict[str, gguf.ReaderTensor]) -> dict[str, Any]:
    """The file's keys under the names that transformers uses in `config.json`."""
    if fields.own("expert_count", 0):
        raise CheckpointError("'expert_count' is set; mixtures of experts are not supported")
    config = {
        "model_type": _MODEL_TYPES[fields.architecture],
        "hidden_size": fields.need("embedding_length"),
        "num_attention_heads": fields.need("attention.head_count"),
        "intermediate_size": fields.need("feed_forward_length"),
        "num_hidden_layers": fields.need("block_count"),
        "max_position_embeddings": fields.need("context_length"),
        "vocab_size": int(tensors["token_embd.weight"].shape[1]) if "token_embd.weight" in tensors else 0,
        "tie_word_embeddings": "output.weight" not in tensors,
        "eos_token_id": fields.get("tokenizer.ggml.eos_token_id"),
    }
    return config | (_neox_keys if fields.architecture == "gptneox" else _llama_keys)(fields, tensors)


def _llama_keys(fields: Fields, tensors: dict[str, gguf.ReaderTensor]) -> dict[str, Any]:
    """What Llama, Nanbeige and Gemma have beside."""
    hidden, heads = fields.need("embedding_length"), fields.need("attention.head_count")
    head_dim = fields.own("attention.key_length", hidden // heads)
    for key in ("attention.value_length", "rope.dimension_count"):
        if fields.own(key, head_dim) != head_dim:
            raise CheckpointError(f"'{key}' is {fields.own(key)}, expected the head size of {head_dim}")
    config = {
        "num_key_value_heads": fields.own("attention.head_count_kv", heads),
        "head_dim": head_dim,
        "rms_norm_eps": fields.need("attention.layer_norm_rms_epsilon"),
        "rope_theta": fields.own("rope.freq_base", _ROPE_THETA),
        "rope_scaling": _rope_scaling(fields, tensors),
        "attention_bias": "blk.0.attn_q.bias" in tensors,
        "mlp_bias": "blk.0.ffn_up.bias" in tensors,
        "hidden_act": "gelu_pytorch_tanh" if fields.architecture == "gemma" else "silu",
    }
    if fields.architecture == "nanbeige":
        config["num_loops"] = fields.need("num_loops")
        config["skip_loop_final_norm"] = fields.need("skip_loop_final_norm")
    return config


def _neox_keys(fields: Fields, tensors: dict[str, gguf.ReaderTensor]) -> dict[str, Any]:
    """What GPT-NeoX has beside. Its activation is in no key: Pythia and GPT-NeoX-20B have gelu."""
    head_dim = fields.need("embedding_length") // fields.need("attention.head_count")
    return {
        "layer_norm_eps": fields.need("attention.layer_norm_epsilon"),
        "use_parallel_residual": fields.need("use_parallel_residual"),
        "rotary_emb_base": fields.own("rope.freq_base", _ROPE_THETA),
        "rotary_pct": fields.need("rope.dimension_count") / head_dim,
        "attention_bias": "blk.0.attn_qkv.bias" in tensors,
        "hidden_act": "gelu",
    }


def _rope_scaling(fields: Fields, tensors: dict[str, gguf.ReaderTensor]) -> dict[str, Any] | None:
    kind = fields.own("rope.scaling.type", "none")
    if kind not in ("none", "linear"):
        raise CheckpointError(f"rope scaling '{kind}' is not supported in GGUF files; known: none, linear")
    if ROPE_DIVISORS in tensors:
        if kind != "none":
            raise CheckpointError(f"both '{ROPE_DIVISORS}' and rope scaling '{kind}' are present; expected one")
        return {"rope_type": "divisors", "divisors": tensors[ROPE_DIVISORS].data.astype(np.float64).tolist()}
    if kind == "linear":
        return {"rope_type": "linear", "factor": fields.need("rope.scaling.factor")}
    return None


def _transformers_name(name: str, path: Path, model_type: str) -> str:
    if model_type == "gpt_neox":
        global_names, layer_names, layers = _NEOX_GLOBAL_NAMES, _NEOX_LAYER_NAMES, "gpt_neox.layers"
    else:
        global_names, layer_names, layers = _GLOBAL_NAMES, _LAYER_NAMES, "model.layers"
    if name in global_names:
        return global_names[name]
    match = re.fullmatch(r"blk\.(\d+)\.(\w+)\.(weight|bias)", name)
    if match and match[2] in layer_names:
        return f"{layers}.{match[1]}.{layer_names[match[2]]}.{match[3]}"
    raise CheckpointError(f"{path}: tensor '{name}' is not known")


def half_split_rows(values: Array, heads: int) -> Array:
    """Undo the converter's permutation: rows (2i, 2i + 1) of each head become rows (i, i + D/2).

    GGUF files of Llama-like models hold the q and k rows for rotation of neighbouring pairs; `layers.rotate` turns
    pairs half a head apart. values [heads * D, ...].
    """
    pairs = values.reshape(heads, -1, 2, *values.shape[1:])
    return pairs.swapaxes(1, 2).reshape(values.shape)


def interleaved_rows(values: Array, heads: int) -> Array:
    """Undo the converter's order of GPT-NeoX' fused rows: all of q, all of k, all of v become q, k, v of each head.

    values [3 * heads * D, ...].
    """
    parts = values.reshape(3, heads, -1, *values.shape[1:])
    return parts.swapaxes(0, 1).reshape(values.shape)
