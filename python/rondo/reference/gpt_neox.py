# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""GPT-NeoX and Pythia: LayerNorm, plain MLP, rope over a part of each head, branches side by side.

    h = embed_in[tokens]
    for each layer:  h += dense(attend(rope(q(a)), rope(k(a)), v(a))) + down(gelu(up(m)))
                     with a = norm1(h), m = norm2(h)
    logits = embed_out(norm(h))

Without `use_parallel_residual` the MLP reads the sum of h and the attention's output instead. `query_key_value` holds
q, k and v of the first head, then those of the next.

Source: arXiv 2204.06745; transformers `models/gpt_neox/modeling_gpt_neox.py`, configuration styles of releases 4 and 5.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from rondo.reference.checkpoint import Checkpoint
from rondo.reference.config import activation, check_keys, need, rope, stop_tokens
from rondo.reference.decoder import Decoder, Shape, Weights
from rondo.reference.errors import CheckpointError
from rondo.reference.layers import Linear, Rope
from rondo.reference.parts import Attention, Layer, LayerNorm, PlainMlp, parallel, pre_norm
from rondo.reference.schedule import plain

# Keys that this file reads.
_READ_KEYS = {
    "model_type", "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
    "max_position_embeddings", "layer_norm_eps", "hidden_act", "attention_bias", "use_parallel_residual",
    "tie_word_embeddings", "rope_parameters", "rope_scaling", "rotary_pct", "rotary_emb_base", "eos_token_id",
}  # fmt: skip
# Keys of training.
_INERT_KEYS = {"classifier_dropout", "hidden_dropout"}
KNOWN_KEYS = frozenset(_READ_KEYS | _INERT_KEYS)
ACTIVATIONS = ("gelu", "gelu_new", "gelu_pytorch_tanh")
# Buffers of old releases: the causal mask and the value that it writes.
IGNORED_SUFFIXES = (".attention.bias", ".attention.masked_bias")


def build(checkpoint: Checkpoint, dtype: np.dtype) -> Decoder:
    """A GPT-NeoX from a checkpoint."""
    config = checkpoint.config
    check_keys(config, KNOWN_KEYS)
    sizes = shape(config)
    return Decoder(sizes, _weights(checkpoint, sizes, dtype), rotary(config), plain(sizes.layers), stop_tokens(config))


def shape(config: Mapping[str, Any]) -> Shape:
    """Sizes; every head has keys and values of its own."""
    hidden, heads = need(config, "hidden_size"), need(config, "num_attention_heads")
    if hidden % heads:
        raise CheckpointError(f"hidden_size {hidden} is not a multiple of {heads} attention heads")
    return Shape(
        vocabulary=need(config, "vocab_size"),
        hidden=hidden,
        layers=need(config, "num_hidden_layers"),
        heads=heads,
        kv_heads=heads,
        head_dim=hidden // heads,
        context=need(config, "max_position_embeddings"),
    )


def rotary(config: Mapping[str, Any]) -> Rope:
    """From `rope_parameters`, or from `rotary_pct` and `rotary_emb_base` with `rope_scaling`."""
    parameters = dict(config.get("rope_parameters") or {})
    if parameters:
        fraction = parameters.pop("partial_rotary_factor", None)
        fraction = need(config, "rotary_pct") if fraction is None else fraction
    else:
        fraction = need(config, "rotary_pct")
        parameters = {**(config.get("rope_scaling") or {}), "rope_theta": need(config, "rotary_emb_base")}
    return dataclasses.replace(rope({"rope_parameters": parameters}), fraction=fraction)


def _weights(checkpoint: Checkpoint, sizes: Shape, dtype: np.dtype) -> Weights:
    table = (sizes.vocabulary, sizes.hidden)
    embedding = checkpoint.take("gpt_neox.embed_in.weight", table, dtype)
    if checkpoint.config.get("tie_word_embeddings", False):
        head = embedding
    else:
        head = checkpoint.take("embed_out.weight", table, dtype)
    layers = tuple(_layer(checkpoint, sizes, f"gpt_neox.layers.{index}.", dtype) for index in range(sizes.layers))
    final_norm = _norm(checkpoint, "gpt_neox.final_layer_norm", sizes, dtype)
    checkpoint.finish(IGNORED_SUFFIXES)
    return Weights(embedding, layers, final_norm, head)


def _norm(checkpoint: Checkpoint, name: str, sizes: Shape, dtype: np.dtype) -> LayerNorm:
    weight, bias = (checkpoint.take(f"{name}.{part}", (sizes.hidden,), dtype) for part in ("weight", "bias"))
    return LayerNorm(weight, bias, need(checkpoint.config, "layer_norm_eps"))


def _layer(checkpoint: Checkpoint, sizes: Shape, prefix: str, dtype: np.dtype) -> Layer:
    config = checkpoint.config
    hidden, width = sizes.hidden, need(config, "intermediate_size")
    side_by_side = config.get("use_parallel_residual", True)
    return Layer(
        order=parallel if side_by_side else pre_norm,
        norms=(
            _norm(checkpoint, f"{prefix}input_layernorm", sizes, dtype),
            _norm(checkpoint, f"{prefix}post_attention_layernorm", sizes, dtype),
        ),
        attention=_attention(checkpoint, sizes, f"{prefix}attention.", dtype),
        mlp=PlainMlp(
            up=checkpoint.linear(f"{prefix}mlp.dense_h_to_4h", width, hidden, dtype, biased=True),
            down=checkpoint.linear(f"{prefix}mlp.dense_4h_to_h", hidden, width, dtype, biased=True),
            activation=activation(need(config, "hidden_act"), ACTIVATIONS),
        ),
    )


def _attention(checkpoint: Checkpoint, sizes: Shape, prefix: str, dtype: np.dtype) -> Attention:
    hidden = sizes.hidden
    biased = checkpoint.config.get("attention_bias", True)
    fused = checkpoint.linear(f"{prefix}query_key_value", 3 * hidden, hidden, dtype, biased)
    q, k, v = split_fused(fused, sizes.heads)
    return Attention(q, k, v, checkpoint.linear(f"{prefix}dense", hidden, hidden, dtype, biased), sizes.head_dim)


def split_fused(fused: Linear, heads: int) -> tuple[Linear, Linear, Linear]:
    """q, k and v, each [H * D, d], of a linear whose rows are ordered [H][q, k, v][D]."""
    places = np.arange(len(fused.weight)).reshape(heads, 3, -1)
    return tuple(fused.rows(places[:, part].reshape(-1)) for part in range(3))
