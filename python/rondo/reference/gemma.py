# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Gemma, first generation: Llama with three differences.

Embeddings are multiplied by sqrt(d) (the head, which shares their table, is not), norms multiply by 1 + weight, and the
gate's activation is the tanh form of gelu: also where an old configuration says `gelu` and has no `hidden_activation`.

Source: arXiv 2403.08295; transformers `models/gemma/modeling_gemma.py`.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from rondo.reference import llama
from rondo.reference.checkpoint import Checkpoint
from rondo.reference.config import activation, check_keys, need, rope, stop_tokens
from rondo.reference.decoder import Decoder, Shape, Weights
from rondo.reference.parts import Activation, Layer, RmsNorm, pre_norm
from rondo.reference.schedule import plain

# Keys that this file reads.
KNOWN_KEYS = llama.KNOWN_KEYS | {"hidden_activation"}


def build(checkpoint: Checkpoint, dtype: np.dtype) -> Decoder:
    """A Gemma from a checkpoint."""
    config = checkpoint.config
    check_keys(config, KNOWN_KEYS)
    need(config, "head_dim")  # heads times it need not be the hidden size
    # Releases may leave the key out: the authors' class ties by default.
    config.setdefault("tie_word_embeddings", True)
    sizes = llama.shape(config)
    return Decoder(sizes, _weights(checkpoint, sizes, dtype), rope(config), plain(sizes.layers), stop_tokens(config))


def _weights(checkpoint: Checkpoint, sizes: Shape, dtype: np.dtype) -> Weights:
    embedding, head = llama.tables(checkpoint, sizes, dtype)
    layers = tuple(_layer(checkpoint, sizes, f"model.layers.{index}.", dtype) for index in range(sizes.layers))
    final_norm = _norm(checkpoint, "model.norm", sizes, dtype)
    checkpoint.finish()
    return Weights(embedding, layers, final_norm, head, embedding_scale=math.sqrt(sizes.hidden))


def _layer(checkpoint: Checkpoint, sizes: Shape, prefix: str, dtype: np.dtype) -> Layer:
    before_attention = _norm(checkpoint, prefix + "input_layernorm", sizes, dtype)
    before_mlp = _norm(checkpoint, prefix + "post_attention_layernorm", sizes, dtype)
    attention = llama.attention(checkpoint, sizes, prefix, dtype)
    mlp = llama.mlp(checkpoint, sizes, prefix, dtype, gate_activation(checkpoint.config))
    return Layer(pre_norm, (before_attention, before_mlp), attention, mlp)


def _norm(checkpoint: Checkpoint, name: str, sizes: Shape, dtype: np.dtype) -> RmsNorm:
    stored = llama.norm(checkpoint, name, sizes.hidden, dtype)
    return dataclasses.replace(stored, weight=1 + stored.weight)


def gate_activation(config: Mapping[str, Any]) -> Activation:
    """Of the gate; an old configuration's `gelu` is the tanh form."""
    name = config.get("hidden_activation") or need(config, "hidden_act")
    if name == "gelu" and not config.get("hidden_activation"):
        name = "gelu_pytorch_tanh"
    return activation(name, ["gelu_pytorch_tanh"])
