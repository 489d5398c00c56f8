# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Llama: grouped-query attention, SwiGLU, RMSNorm before each branch.

    h = embedding[tokens]
    for each layer:  h += o(attend(rope(q(a)), rope(k(a)), v(a)))  with a = rms(h)
                     h += down(silu(gate(m)) * up(m))              with m = rms(h)
    logits = head(rms(h))

Source: arXiv 2302.13971; transformers `models/llama/modeling_llama.py`, configuration styles of releases 4 and 5.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from rondo.reference.checkpoint import Checkpoint
from rondo.reference.config import activation, check_keys, need, rope, stop_tokens
from rondo.reference.decoder import Decoder, Shape, Weights
from rondo.reference.errors import CheckpointError
from rondo.reference.layers import Linear
from rondo.reference.parts import Activation, Attention, GatedMlp, Layer, RmsNorm, pre_norm
from rondo.reference.schedule import Loop, looped, plain

# Keys that this file reads.
KNOWN_KEYS = frozenset({
    "model_type", "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
    "num_key_value_heads", "head_dim", "max_position_embeddings", "rms_norm_eps", "rope_theta", "rope_scaling",
    "rope_parameters", "tie_word_embeddings", "attention_bias", "mlp_bias", "eos_token_id", "hidden_act",
})  # fmt: skip


# How a family makes one stored layer: from (checkpoint, sizes, index, type).
MakeLayer = Callable[[Checkpoint, Shape, int, np.dtype], Layer]


def build(checkpoint: Checkpoint, dtype: np.dtype, loops: Sequence[Loop] = ()) -> Decoder:
    """A Llama from a checkpoint, optionally with ranges of layers repeated."""
    config = checkpoint.config
    check_keys(config, KNOWN_KEYS)
    sizes = shape(config)
    schedule = looped(sizes.layers, loops) if loops else plain(sizes.layers)
    return Decoder(
        sizes,
        weights(checkpoint, sizes, dtype),
        rope(config),
        schedule,
        stop_tokens(config),
    )


def shape(config: Mapping[str, Any]) -> Shape:
    """Sizes, with transformers' own defaults for `num_key_value_heads` and `head_dim`."""
    hidden, heads = need(config, "hidden_size"), need(config, "num_attention_heads")
    sizes = Shape(
        vocabulary=need(config, "vocab_size"),
        hidden=hidden,
        layers=need(config, "num_hidden_layers"),
        heads=heads,
        kv_heads=config.get("num_key_value_heads") or heads,
        head_dim=config.get("head_dim") or hidden // heads,
        context=need(config, "max_position_embeddings"),
    )
    if sizes.heads % sizes.kv_heads:
        raise CheckpointError(f"{sizes.heads} attention heads are not a multiple of {sizes.kv_heads} key/value heads")
    if sizes.head_dim % 2:
        raise CheckpointError(f"rope needs an even head_dim, got {sizes.head_dim}")
    return sizes


def weights(checkpoint: Checkpoint, sizes: Shape, dtype: np.dtype, make: MakeLayer | None = None) -> Weights:
    """Take all weights, layer by layer with `make` if that is not Llama's own, and check that none is left."""
    embedding, head = tables(checkpoint, sizes, dtype)
    layers = tuple((make or layer)(checkpoint, sizes, index, dtype) for index in range(sizes.layers))
    final_norm = norm(checkpoint, "model.norm", sizes.hidden, dtype)
    checkpoint.finish()
    return Weights(embedding, layers, final_norm, head)


def tables(checkpoint: Checkpoint, sizes: Shape, dtype: np.dtype) -> tuple[np.ndarray, np.ndarray]:
    """Embedding and head, each [V, d]. A tied head that is stored all the same must be bit-equal."""
    shape = (sizes.vocabulary, sizes.hidden)
    embedding = checkpoint.take("model.embed_tokens.weight", shape, dtype)
    if not checkpoint.config.get("tie_word_embeddings", False):
        return embedding, checkpoint.take("lm_head.weight", shape, dtype)
    if "lm_head.weight" in checkpoint and not np.array_equal(
        checkpoint.take("lm_head.weight", shape, dtype), embedding
    ):
        raise CheckpointError("'tie_word_embeddings' is set, but 'lm_head.weight' differs from the embedding")
    return embedding, embedding


def norm(checkpoint: Checkpoint, name: str, size: int, dtype: np.dtype) -> RmsNorm:
    """The norm of this name."""
    return RmsNorm(checkpoint.take(f"{name}.weight", (size,), dtype), need(checkpoint.config, "rms_norm_eps"))


def layer(checkpoint: Checkpoint, sizes: Shape, index: int, dtype: np.dtype) -> Layer:
    """One stored layer."""
    return layer_at(checkpoint, sizes, f"model.layers.{index}.", dtype)


def layer_at(checkpoint: Checkpoint, sizes: Shape, prefix: str, dtype: np.dtype) -> Layer:
    """The layer whose tensors have names that begin with `prefix`."""
    norms = tuple(
        norm(checkpoint, prefix + name, sizes.hidden, dtype) for name in ("input_layernorm", "post_attention_layernorm")
    )
    act = activation(need(checkpoint.config, "hidden_act"), ["silu"])
    return Layer(
        pre_norm, norms, attention(checkpoint, sizes, prefix, dtype), mlp(checkpoint, sizes, prefix, dtype, act)
    )


def attention(checkpoint: Checkpoint, sizes: Shape, prefix: str, dtype: np.dtype) -> Attention:
    """The projections of a layer, with biases and with norms of q and k where the configuration has them."""
    hidden, query, key_value = sizes.hidden, sizes.heads * sizes.head_dim, sizes.kv_heads * sizes.head_dim
    biased = bool(checkpoint.config.get("attention_bias"))
    normed = bool(checkpoint.config.get("qk_layernorm"))  # Nanbeige; not a key of Llama

    def linear(name: str, out: int, inputs: int) -> Linear:
        return checkpoint.linear(f"{prefix}self_attn.{name}", out, inputs, dtype, biased)

    def head_norm(name: str) -> RmsNorm | None:
        return norm(checkpoint, f"{prefix}self_attn.{name}", sizes.head_dim, dtype) if normed else None

    return Attention(
        q=linear("q_proj", query, hidden),
        k=linear("k_proj", key_value, hidden),
        v=linear("v_proj", key_value, hidden),
        o=linear("o_proj", hidden, query),
        head_dim=sizes.head_dim,
        q_norm=head_norm("q_layernorm"),
        k_norm=head_norm("k_layernorm"),
    )


def mlp(checkpoint: Checkpoint, sizes: Shape, prefix: str, dtype: np.dtype, act: Activation) -> GatedMlp:
    """The gated MLP of a layer."""
    hidden, width = sizes.hidden, need(checkpoint.config, "intermediate_size")
    biased = bool(checkpoint.config.get("mlp_bias"))

    def linear(name: str, out: int, inputs: int) -> Linear:
        return checkpoint.linear(f"{prefix}mlp.{name}", out, inputs, dtype, biased)

    return GatedMlp(
        gate=linear("gate_proj", width, hidden),
        up=linear("up_proj", width, hidden),
        down=linear("down_proj", hidden, width),
        activation=act,
    )
