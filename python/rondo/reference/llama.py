# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Llama: grouped-query attention, SwiGLU, RMSNorm before each branch.

    h = embedding[tokens]
    for each layer:  h += o(attend(rope(q(a)), rope(k(a)), v(a)))  with a = rms(h)
                     h += down(silu(gate(m)) * up(m))              with m = rms(h)
    logits = head(rms(h))

Source: arXiv 2302.13971; transformers `models/llama/modeling_llama.py`, configuration styles of releases 4 and 5.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from rondo.reference.checkpoint import Checkpoint
from rondo.reference.decoder import Decoder, Layer, Shape, Weights
from rondo.reference.errors import CheckpointError
from rondo.reference.layers import Linear, Rope
from rondo.reference.schedule import Loop, looped, plain

# Keys that this file reads.
_READ_KEYS = {
    "model_type", "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
    "num_key_value_heads", "head_dim", "max_position_embeddings", "rms_norm_eps", "rope_theta", "rope_scaling",
    "rope_parameters", "tie_word_embeddings", "attention_bias", "mlp_bias", "eos_token_id", "hidden_act",
}  # fmt: skip
# Keys that change nothing in inference with this code: bookkeeping, training, and how sums are split.
_INERT_KEYS = {
    "architectures", "attention_dropout", "auto_map", "bos_token_id", "dtype", "initializer_range", "is_llama_config",
    "_name_or_path", "pad_token_id", "pretraining_tp", "torch_dtype", "transformers_version", "transformers.js_config",
    "unsloth_version", "use_cache",
}  # fmt: skip
KNOWN_KEYS = frozenset(_READ_KEYS | _INERT_KEYS)


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
        need(config, "rms_norm_eps"),
        schedule,
        stop_tokens(config),
    )


def need(config: Mapping[str, Any], key: str) -> Any:
    """The value of a key that has no safe default."""
    if config.get(key) is None:
        raise CheckpointError(f"configuration key '{key}' is missing")
    return config[key]


def check_keys(config: Mapping[str, Any], known: Collection[str]) -> None:
    """Raise CheckpointError for a key that is set and that nobody reads: it may change what the model computes."""
    for key, value in config.items():
        if value and key not in known:
            raise CheckpointError(f"configuration key '{key}' with value {value!r} is not supported")
    if need(config, "hidden_act") != "silu":
        raise CheckpointError(f"activation '{config['hidden_act']}' is not supported; known: silu")


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


def rope(config: Mapping[str, Any]) -> Rope:
    """From `rope_parameters` (transformers 5), or `rope_theta` with `rope_scaling` (transformers 4)."""
    parameters = config.get("rope_parameters") or {}
    scaling = parameters or config.get("rope_scaling") or {}
    theta = need(parameters, "rope_theta") if parameters else need(config, "rope_theta")
    kind = scaling.get("rope_type") or scaling.get("type") or "default"
    if scaling.get("partial_rotary_factor", 1.0) != 1.0:
        raise CheckpointError("'partial_rotary_factor' other than 1 is not supported")
    if kind == "default":
        return Rope(theta)
    if kind == "linear":
        return Rope(theta, kind, factor=need(scaling, "factor"))
    if kind == "divisors":
        return Rope(theta, kind, divisors=tuple(need(scaling, "divisors")))
    if kind == "llama3":
        return Rope(
            theta,
            kind,
            factor=need(scaling, "factor"),
            low_freq_factor=need(scaling, "low_freq_factor"),
            high_freq_factor=need(scaling, "high_freq_factor"),
            original_context=need(scaling, "original_max_position_embeddings"),
        )
    raise CheckpointError(f"rope type '{kind}' is not supported; known: default, linear, llama3")


def stop_tokens(config: Mapping[str, Any]) -> tuple[int, ...]:
    """Token ids that end a sequence; none if the checkpoint names none."""
    ids = config.get("eos_token_id")
    if ids is None:
        return ()
    return tuple(ids) if isinstance(ids, list) else (ids,)


def weights(checkpoint: Checkpoint, sizes: Shape, dtype: np.dtype) -> Weights:
    """Take all weights, and check that none is left. A tied head that is stored all the same must be bit-equal."""
    table = (sizes.vocabulary, sizes.hidden)
    embedding = checkpoint.take("model.embed_tokens.weight", table, dtype)
    head = embedding
    if not checkpoint.config.get("tie_word_embeddings", False):
        head = checkpoint.take("lm_head.weight", table, dtype)
    elif "lm_head.weight" in checkpoint and not np.array_equal(
        checkpoint.take("lm_head.weight", table, dtype), embedding
    ):
        raise CheckpointError("'tie_word_embeddings' is set, but 'lm_head.weight' differs from the embedding")
    layers = tuple(_layer(checkpoint, sizes, index, dtype) for index in range(sizes.layers))
    final_norm = checkpoint.take("model.norm.weight", (sizes.hidden,), dtype)
    checkpoint.finish()
    return Weights(embedding, layers, final_norm, head)


def _layer(checkpoint: Checkpoint, sizes: Shape, index: int, dtype: np.dtype) -> Layer:
    config = checkpoint.config
    hidden, width = sizes.hidden, need(config, "intermediate_size")
    query, key_value = sizes.heads * sizes.head_dim, sizes.kv_heads * sizes.head_dim
    prefix = f"model.layers.{index}."

    def vector(name: str, size: int) -> np.ndarray:
        return checkpoint.take(f"{prefix}{name}.weight", (size,), dtype)

    def linear(name: str, out: int, inputs: int, bias_key: str) -> Linear:
        return checkpoint.linear(f"{prefix}{name}", out, inputs, dtype, bool(config.get(bias_key)))

    normed = bool(config.get("qk_layernorm"))  # Nanbeige; not a key of Llama
    return Layer(
        attention_norm=vector("input_layernorm", hidden),
        q=linear("self_attn.q_proj", query, hidden, "attention_bias"),
        k=linear("self_attn.k_proj", key_value, hidden, "attention_bias"),
        v=linear("self_attn.v_proj", key_value, hidden, "attention_bias"),
        o=linear("self_attn.o_proj", hidden, query, "attention_bias"),
        mlp_norm=vector("post_attention_layernorm", hidden),
        gate=linear("mlp.gate_proj", width, hidden, "mlp_bias"),
        up=linear("mlp.up_proj", width, hidden, "mlp_bias"),
        down=linear("mlp.down_proj", hidden, width, "mlp_bias"),
        q_norm=vector("self_attn.q_layernorm", sizes.head_dim) if normed else None,
        k_norm=vector("self_attn.k_layernorm", sizes.head_dim) if normed else None,
    )
