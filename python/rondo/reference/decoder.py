# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""A pre-norm decoder that runs a schedule over shared layer weights, with a KV cache.

Llama and Nanbeige are this decoder with different configurations and schedules (`llama.py`, `nanbeige.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rondo.reference.errors import CheckpointError
from rondo.reference.layers import Array, Linear, Rope, attention, rms_norm, rotate, silu
from rondo.reference.schedule import EndVisit, Norm, Run, Step, slots

# What the model passes through on its way, by name: `embedding`, `layer.<execution>`, `hidden.<visit>`, `final`.
# Each is [N, d].
Trace = dict[str, Array]


@dataclass(frozen=True)
class Shape:
    """Sizes of a decoder; see `layers.py` for the letters."""

    vocabulary: int
    hidden: int  # d
    layers: int  # stored, not executed
    heads: int  # H
    kv_heads: int  # G
    head_dim: int  # D
    context: int  # positions


@dataclass(frozen=True)
class Layer:
    """Weights of one stored layer."""

    attention_norm: Array  # [d]
    q: Linear  # [H * D, d]
    k: Linear  # [G * D, d]
    v: Linear  # [G * D, d]
    o: Linear  # [d, H * D]
    mlp_norm: Array  # [d]
    gate: Linear  # [I, d]
    up: Linear  # [I, d]
    down: Linear  # [d, I]
    q_norm: Array | None = None  # [D], before rope
    k_norm: Array | None = None  # [D], before rope


@dataclass(frozen=True)
class Weights:
    """All weights of a decoder, in one floating type."""

    embedding: Array  # [V, d]
    layers: tuple[Layer, ...]
    final_norm: Array  # [d]
    head: Array  # [V, d]


class Cache:
    """Keys and values of one sequence: per KV slot [capacity, G, D], of which the first `length` are filled."""

    def __init__(self, slot_count: int, capacity: int, shape: Shape, dtype: np.dtype) -> None:
        size = (slot_count, capacity, shape.kv_heads, shape.head_dim)
        self.keys = np.zeros(size, dtype)
        self.values = np.zeros(size, dtype)
        self.length = 0

    @property
    def capacity(self) -> int:
        """Positions that fit."""
        return self.keys.shape[1]


class Decoder:
    """Token ids in, logits out."""

    def __init__(
        self,
        shape: Shape,
        weights: Weights,
        rope: Rope,
        eps: float,
        schedule: Sequence[Step],
        stop_tokens: Sequence[int] = (),
    ) -> None:
        self.shape = shape
        self.weights = weights
        self.rope = rope
        self.eps = eps
        self.schedule = tuple(schedule)
        self.stop_tokens = tuple(stop_tokens)
        self.dtype = weights.embedding.dtype

    def new_cache(self, capacity: int) -> Cache:
        """An empty cache for `capacity` positions."""
        return Cache(slots(self.schedule), capacity, self.shape, self.dtype)

    def states(self, tokens: Sequence[int], cache: Cache, trace: Trace | None = None) -> Array:
        """Run `tokens` after what the cache holds and append to it; returns the normed final states [N, d].

        Raises CheckpointError for token ids outside the vocabulary and for more positions than the cache has.
        """
        self._check(tokens, cache)
        x = self.weights.embedding[np.asarray(tokens)]
        first = cache.length
        positions = np.arange(first, first + len(tokens))
        cos, sin = self.rope.tables(positions, self.shape.head_dim, self.dtype)
        record = {} if trace is None else trace
        record["embedding"] = x
        executions = 0
        for step in self.schedule:
            if isinstance(step, Run):
                x = self._layer(x, step, cache, cos, sin)
                record[f"layer.{executions}"] = x
                executions += 1
            elif isinstance(step, Norm):
                x = rms_norm(x, self.weights.final_norm, self.eps)
            elif isinstance(step, EndVisit):
                record[f"hidden.{step.number}"] = x
        record["final"] = x
        cache.length += len(tokens)
        return x

    def head(self, states: Array) -> Array:
        """States [N, d] to logits [N, V]."""
        return states @ self.weights.head.T

    def logits(self, tokens: Sequence[int], trace: Trace | None = None) -> Array:
        """Logits [N, V] of a whole sequence in one call."""
        return self.head(self.states(tokens, self.new_cache(len(tokens)), trace))

    def _check(self, tokens: Sequence[int], cache: Cache) -> None:
        if not len(tokens):
            raise CheckpointError("expected at least one token")
        for token in tokens:
            if not 0 <= token < self.shape.vocabulary:
                raise CheckpointError(f"token {token} is outside the vocabulary of {self.shape.vocabulary}")
        if cache.length + len(tokens) > cache.capacity:
            raise CheckpointError(
                f"{len(tokens)} tokens after {cache.length} do not fit a cache of {cache.capacity} positions"
            )

    def _layer(self, x: Array, run: Run, cache: Cache, cos: Array, sin: Array) -> Array:
        layer = self.weights.layers[run.layer]
        normed = rms_norm(x, layer.attention_norm, self.eps)
        x = x + self._attend(normed, layer, run, cache, cos, sin)
        normed = rms_norm(x, layer.mlp_norm, self.eps)
        return x + layer.down(silu(layer.gate(normed)) * layer.up(normed))

    def _attend(self, x: Array, layer: Layer, run: Run, cache: Cache, cos: Array, sin: Array) -> Array:
        rows, head_dim = len(x), self.shape.head_dim
        first, end = cache.length, cache.length + rows
        keys, values = cache.keys[run.slot], cache.values[run.slot]
        if run.writes_kv:
            k = self._head_norm(layer.k(x).reshape(rows, -1, head_dim), layer.k_norm)
            keys[first:end] = rotate(k, cos, sin)
            values[first:end] = layer.v(x).reshape(rows, -1, head_dim)
        q = rotate(self._head_norm(layer.q(x).reshape(rows, -1, head_dim), layer.q_norm), cos, sin)
        return layer.o(attention(q, keys[:end], values[:end], first).reshape(rows, -1))

    def _head_norm(self, x: Array, weight: Array | None) -> Array:
        return x if weight is None else rms_norm(x, weight, self.eps)
