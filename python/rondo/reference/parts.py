# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The parts that a layer of a transformer is put together from: norms, attention, MLP, and the order they run in.

A family says which parts it has by building them (`llama.py` is the plainest); the decoder only calls the layer. Parts
hold their weights and compute in the type of these. Letters of shapes are those of `layers.py`; I is an MLP's width.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rondo.reference.layers import Array, Linear, attention, layer_norm, rms_norm, rotate


@dataclass(frozen=True)
class RmsNorm:
    """x [..., d] over its root mean square, times weight [d]."""

    weight: Array
    eps: float

    def __call__(self, x: Array) -> Array:
        return rms_norm(x, self.weight, self.eps)


@dataclass(frozen=True)
class LayerNorm:
    """x [..., d] centred and over its deviation, times weight [d], plus bias [d]."""

    weight: Array
    bias: Array
    eps: float

    def __call__(self, x: Array) -> Array:
        return layer_norm(x, self.weight, self.bias, self.eps)


Norm = RmsNorm | LayerNorm


Activation = Callable[[Array], Array]


@dataclass(frozen=True)
class GatedMlp:
    """down(act(gate(x)) * up(x)); with silu this is SwiGLU. Source: arXiv 2002.05202."""

    gate: Linear  # [I, d]
    up: Linear  # [I, d]
    down: Linear  # [d, I]
    activation: Activation

    def __call__(self, x: Array) -> Array:
        return self.down(self.activation(self.gate(x)) * self.up(x))


@dataclass(frozen=True)
class PlainMlp:
    """down(act(up(x)))."""

    up: Linear  # [I, d]
    down: Linear  # [d, I]
    activation: Activation

    def __call__(self, x: Array) -> Array:
        return self.down(self.activation(self.up(x)))


Mlp = GatedMlp | PlainMlp


@dataclass(frozen=True)
class Place:
    """Where the rows of a call stand in their sequence, and the KV slot that they use.

    Rows are entries `first` .. `first + N - 1` of the slot, their positions unless the slot leaves some out. Without
    `writes_kv` it holds their keys and values already; with `writers` it does for all rows but these.
    """

    first: int
    cos: Array | None  # [N, 1, D / 2], as sin; None for attention without rope
    sin: Array | None
    keys: Array  # [capacity, G, D], filled up to `first`; as values
    values: Array
    writes_kv: bool = True
    writers: NDArray[np.integer] | None = None

    def write(self, keys: Array, values: Array) -> None:
        """Leave keys and values of the rows [N, G, D] in the slot."""
        end = self.first + len(keys)
        rows = slice(None) if self.writers is None else self.writers
        self.keys[self.first : end][rows] = keys[rows]
        self.values[self.first : end][rows] = values[rows]

    def read(self, rows: int) -> tuple[Array, Array]:
        """Keys and values [T, G, D] of all positions up to the last of `rows` rows."""
        end = self.first + rows
        return self.keys[:end], self.values[:end]

    def hidden(self, rows: int) -> NDArray[np.bool_]:
        """[N, T], true where a position comes after a row."""
        return np.arange(self.first + rows)[None, :] > self.first + np.arange(rows)[:, None]

    @staticmethod
    def alone(rows: int, attention: Attention, dtype: np.dtype) -> Place:
        """All rows of a sequence at once, without rope and without a slot that anything else reads."""
        heads = len(attention.k.weight) // attention.head_dim
        keys, values = (np.empty((rows, heads, attention.head_dim), dtype) for _ in range(2))
        return Place(0, None, None, keys, values)


# From heads [N, heads, D], cosines and sines to the turned heads.
Turn = Callable[[Array, Array, Array], Array]


@dataclass(frozen=True)
class Attention:
    """Grouped-query attention over a KV slot, with rotary positions unless `turn` is None."""

    q: Linear  # [H * D, d]
    k: Linear  # [G * D, d]
    v: Linear  # [G * D, d]
    o: Linear  # [d, H * D]
    head_dim: int
    q_norm: Norm | None = None  # over D, before rope
    k_norm: Norm | None = None
    turn: Turn | None = rotate  # how rope pairs the dimensions of a head
    causal: bool = True

    def __call__(self, x: Array, place: Place) -> Array:
        """x [N, d] -> [N, d]; leaves keys and values of the rows in the slot."""
        if place.writes_kv:
            place.write(self._turned(self.k(x), self.k_norm, place), self._heads(self.v(x)))
        q = self._turned(self.q(x), self.q_norm, place)
        mixed = attention(q, *place.read(len(x)), place.hidden(len(x)) if self.causal else None)
        return self.o(mixed.reshape(len(x), -1))

    def _heads(self, x: Array) -> Array:
        return x.reshape(len(x), -1, self.head_dim)

    def _turned(self, x: Array, norm: Norm | None, place: Place) -> Array:
        heads = self._heads(x) if norm is None else norm(self._heads(x))
        return heads if self.turn is None else self.turn(heads, place.cos, place.sin)


# The order in which the parts of a layer run: (x [N, d], attention at its place, MLP, norms) to the layer's output.
Branch = Callable[[Array], Array]
Order = Callable[[Array, Branch, Branch, tuple[Norm, ...]], Array]


def pre_norm(x: Array, attend: Branch, mlp: Branch, norms: tuple[Norm, ...]) -> Array:
    """x += attend(n1(x)); x += mlp(n2(x))."""
    before_attention, before_mlp = norms
    x = x + attend(before_attention(x))
    return x + mlp(before_mlp(x))


def post_norm(x: Array, attend: Branch, mlp: Branch, norms: tuple[Norm, ...]) -> Array:
    """x = n1(x + attend(x)); x = n2(x + mlp(x))."""
    after_attention, after_mlp = norms
    x = after_attention(x + attend(x))
    return after_mlp(x + mlp(x))


def parallel(x: Array, attend: Branch, mlp: Branch, norms: tuple[Norm, ...]) -> Array:
    """x += attend(n1(x)) + mlp(n2(x)), both from the same x."""
    before_attention, before_mlp = norms
    return x + attend(before_attention(x)) + mlp(before_mlp(x))


def sandwich_branch(x: Array, attend: Branch, mlp: Branch, norms: tuple[Norm, ...]) -> Array:
    """x += n2(attend(n1(x))); x += n4(mlp(n3(x)))."""
    before_attention, after_attention, before_mlp, after_mlp = norms
    x = x + after_attention(attend(before_attention(x)))
    return x + after_mlp(mlp(before_mlp(x)))


def sandwich_sum(x: Array, attend: Branch, mlp: Branch, norms: tuple[Norm, ...]) -> Array:
    """x = n2(x + attend(n1(x))); x = n4(x + mlp(n3(x)))."""
    before_attention, after_attention, before_mlp, after_mlp = norms
    x = after_attention(x + attend(before_attention(x)))
    return after_mlp(x + mlp(before_mlp(x)))


@dataclass(frozen=True)
class Layer:
    """One stored layer. Any callable of (x, place) can stand in its place in a decoder."""

    order: Order
    norms: tuple[Norm, ...]
    attention: Attention
    mlp: Mlp

    def __call__(self, x: Array, place: Place) -> Array:
        """x [N, d] -> [N, d]."""
        return self.order(x, lambda normed: self.attention(normed, place), self.mlp, self.norms)
