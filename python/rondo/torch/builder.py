# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Modules from a checkpoint. Configurations, names and shapes are read by the reference package, as strictly."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from rondo.reference import gemma, gpt_neox, layers, llama, recursive
from rondo.reference.checkpoint import Checkpoint
from rondo.reference.config import activation, check_keys, need, rope
from rondo.reference.decoder import Shape
from rondo.reference.recursive import Description
from rondo.reference.sharing import Sharing
from rondo.torch.arrays import NUMPY_TYPES, to_tensor
from rondo.torch.errors import TrainingError
from rondo.torch.model import Decoder, Names
from rondo.torch.parts import (
    Activation,
    Factors,
    LayerNorm,
    Linear,
    LlamaAttention,
    LlamaLayer,
    LlamaMlp,
    NeoxAttention,
    NeoxLayer,
    NeoxMlp,
    NormByDepth,
    RmsNorm,
)

_LLAMA_NAMES = Names("model", "embed_tokens", "norm", "lm_head")
_NEOX_NAMES = Names("gpt_neox", "embed_in", "final_layer_norm", "embed_out")
# Of the reference's functions.
_ACTIVATIONS: Mapping[Callable, Activation] = {
    layers.silu: functional.silu,
    layers.gelu: functional.gelu,
    layers.gelu_tanh: lambda x: functional.gelu(x, approximate="tanh"),
}


def build(checkpoint: Checkpoint, dtype: torch.dtype) -> Decoder:
    """A model in float32 or float64 from a recursive folder or from a source of one.

    Raises TrainingError for another family, CheckpointError for what the reference models would not read either.
    """
    kind = need(checkpoint.config, "model_type")
    family = str(kind).removeprefix(recursive.PREFIX)
    if family not in _FAMILIES:
        raise TrainingError(
            f"{checkpoint.name}: model type '{kind}' cannot be trained here; known: "
            f"{', '.join(_FAMILIES)}, {', '.join(recursive.PREFIX + name for name in _FAMILIES)}"
        )
    if dtype not in NUMPY_TYPES:
        raise TrainingError(f"models compute in torch.float32 or torch.float64, not in {dtype}")
    if recursive.is_recursive(checkpoint.config):
        description = recursive.describe(checkpoint.config)
        recursive.unroll(checkpoint, description)  # for its checks of names, depths and ranks
    else:
        once = Sharing("cycle", need(checkpoint.config, "num_hidden_layers"), 1)
        description = Description(once, norms_by_depth=False, scale=1.0, rank=0, targets=frozenset())
    config = {key: value for key, value in checkpoint.config.items() if key != "recursive"}
    return _FAMILIES[family](_Parts(checkpoint, config, description, dtype))


@dataclass
class _Parts:
    """Takes parameters out of a checkpoint and makes parts of them."""

    checkpoint: Checkpoint
    config: dict[str, Any]
    description: Description
    dtype: torch.dtype

    def parameter(self, name: str, *shape: int) -> nn.Parameter:
        return nn.Parameter(to_tensor(self.checkpoint.take(name, shape, NUMPY_TYPES[self.dtype])))

    def linear(self, name: str, outputs: int, inputs: int, biased: bool) -> Linear:
        """The linear of this name with its deltas, at those depths that have one."""
        weight = self.parameter(f"{name}.weight", outputs, inputs)
        bias = self.parameter(f"{name}.bias", outputs) if biased else None
        deltas = {
            depth: self._factors(name, depth, outputs, inputs)
            for depth in range(self.description.sharing.visits)
            if f"{name}.lora_A.{depth}.weight" in self.checkpoint
        }
        return Linear(weight, bias, deltas, self.description.scale)

    def _factors(self, name: str, depth: int, outputs: int, inputs: int) -> Factors:
        first, second = (f"{name}.lora_{factor}.{depth}.weight" for factor in "AB")
        rank = self.checkpoint.readers[first]().shape[0]
        return self.parameter(first, rank, inputs), self.parameter(second, outputs, rank)

    def layer_norm(self, layer: int, name: str, make: Callable[[str], nn.Module]) -> nn.Module:
        """A norm of a stored layer, made by `make` from its name: one, or one for each visit."""
        sharing = self.description.sharing
        if not self.description.norms_by_depth or sharing.place(sharing.group(layer)[0]).depth is None:
            return make(name)
        return NormByDepth([make(f"{name}.{depth}") for depth in range(sharing.visits)])

    @property
    def stored(self) -> range:
        """Numbers of the stored layers."""
        return range(self.description.sharing.stored)


# --- Llama and Gemma --------------------------------------------------------------------------------------------------


def _llama(parts: _Parts) -> Decoder:
    check_keys(parts.config, llama.KNOWN_KEYS)
    act = activation(need(parts.config, "hidden_act"), ["silu"])
    return _llama_like(parts, _ACTIVATIONS[act], norm_offset=0.0)


def _gemma(parts: _Parts) -> Decoder:
    check_keys(parts.config, gemma.KNOWN_KEYS)
    need(parts.config, "head_dim")
    # As the reference: releases may leave the key out.
    for config in (parts.config, parts.checkpoint.config):
        config.setdefault("tie_word_embeddings", True)
    act = gemma.gate_activation(parts.config)
    scale = math.sqrt(need(parts.config, "hidden_size"))
    return _llama_like(parts, _ACTIVATIONS[act], norm_offset=1.0, embedding_scale=scale)


def _llama_like(parts: _Parts, act: Activation, norm_offset: float, embedding_scale: float = 1.0) -> Decoder:
    sizes = llama.shape(parts.config)
    eps = need(parts.config, "rms_norm_eps")

    def norm(name: str) -> nn.Module:
        return RmsNorm(parts.parameter(f"{name}.weight", sizes.hidden), eps, norm_offset)

    embedding, head = _tables(parts, sizes)
    stored = [_llama_layer(parts, sizes, layer, norm, act) for layer in parts.stored]
    final_norm = norm("model.norm")
    parts.checkpoint.finish()
    return Decoder(
        _LLAMA_NAMES,
        sizes,
        rope(parts.config),
        parts.description.sharing,
        embedding,
        stored,
        final_norm,
        head,
        embedding_scale,
    )


def _tables(parts: _Parts, sizes: Shape) -> tuple[nn.Parameter, nn.Parameter | None]:
    """Embedding and head [V, d]; None for a tied head, which may be stored all the same if it is equal."""
    embedding, head = llama.tables(parts.checkpoint, sizes, NUMPY_TYPES[parts.dtype])
    tied = head is embedding
    return nn.Parameter(to_tensor(embedding)), None if tied else nn.Parameter(to_tensor(head))


def _llama_layer(
    parts: _Parts, sizes: Shape, layer: int, norm: Callable[[str], nn.Module], act: Activation
) -> LlamaLayer:
    prefix = f"model.layers.{layer}."
    hidden, width = sizes.hidden, need(parts.config, "intermediate_size")
    query, key_value = sizes.heads * sizes.head_dim, sizes.kv_heads * sizes.head_dim
    biased = {"self_attn": bool(parts.config.get("attention_bias")), "mlp": bool(parts.config.get("mlp_bias"))}

    def linear(module: str, outputs: int, inputs: int) -> Linear:
        return parts.linear(prefix + module, outputs, inputs, biased[module.partition(".")[0]])

    return LlamaLayer(
        (
            parts.layer_norm(layer, f"{prefix}input_layernorm", norm),
            parts.layer_norm(layer, f"{prefix}post_attention_layernorm", norm),
        ),
        LlamaAttention(
            linear("self_attn.q_proj", query, hidden),
            linear("self_attn.k_proj", key_value, hidden),
            linear("self_attn.v_proj", key_value, hidden),
            linear("self_attn.o_proj", hidden, query),
            sizes.head_dim,
        ),
        LlamaMlp(
            linear("mlp.gate_proj", width, hidden),
            linear("mlp.up_proj", width, hidden),
            linear("mlp.down_proj", hidden, width),
            act,
        ),
    )


# --- GPT-NeoX ---------------------------------------------------------------------------------------------------------


def _gpt_neox(parts: _Parts) -> Decoder:
    check_keys(parts.config, gpt_neox.KNOWN_KEYS)
    sizes = gpt_neox.shape(parts.config)
    eps = need(parts.config, "layer_norm_eps")

    def norm(name: str) -> nn.Module:
        weight, bias = (parts.parameter(f"{name}.{field}", sizes.hidden) for field in ("weight", "bias"))
        return LayerNorm(weight, bias, eps)

    tied = parts.config.get("tie_word_embeddings", False)
    embedding = parts.parameter("gpt_neox.embed_in.weight", sizes.vocabulary, sizes.hidden)
    head = None if tied else parts.parameter("embed_out.weight", sizes.vocabulary, sizes.hidden)
    stored = [_neox_layer(parts, sizes, layer, norm) for layer in parts.stored]
    final_norm = norm("gpt_neox.final_layer_norm")
    parts.checkpoint.finish(gpt_neox.IGNORED_SUFFIXES)
    turning = gpt_neox.rotary(parts.config)
    return Decoder(_NEOX_NAMES, sizes, turning, parts.description.sharing, embedding, stored, final_norm, head)


def _neox_layer(parts: _Parts, sizes: Shape, layer: int, norm: Callable[[str], nn.Module]) -> NeoxLayer:
    prefix = f"gpt_neox.layers.{layer}."
    hidden, width = sizes.hidden, need(parts.config, "intermediate_size")
    biased = parts.config.get("attention_bias", True)
    act = activation(need(parts.config, "hidden_act"), gpt_neox.ACTIVATIONS)
    return NeoxLayer(
        (
            parts.layer_norm(layer, f"{prefix}input_layernorm", norm),
            parts.layer_norm(layer, f"{prefix}post_attention_layernorm", norm),
        ),
        NeoxAttention(
            parts.linear(f"{prefix}attention.query_key_value", 3 * hidden, hidden, biased),
            parts.linear(f"{prefix}attention.dense", hidden, hidden, biased),
            sizes.head_dim,
        ),
        NeoxMlp(
            parts.linear(f"{prefix}mlp.dense_h_to_4h", width, hidden, biased=True),
            parts.linear(f"{prefix}mlp.dense_4h_to_h", hidden, width, biased=True),
            _ACTIVATIONS[act],
        ),
        side_by_side=parts.config.get("use_parallel_residual", True),
    )


_FAMILIES: Mapping[str, Callable[[_Parts], Decoder]] = {"llama": _llama, "gemma": _gemma, "gpt_neox": _gpt_neox}
