# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The arithmetic of transformer layers on NumPy arrays, one function a formula.

Every function computes in the type of its input (float32 or float64). N is the number of rows (tokens), H the number
of query heads, G of key/value heads (H is a multiple of G), D the head dimension, T the number of visible positions.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rondo.reference.errors import CheckpointError

Array = NDArray[np.floating]


@dataclass(frozen=True)
class LowRank:
    """A delta of a weight as a product of two thin matrices: scale * b @ a. Source: arXiv 2106.09685, section 4.1."""

    a: Array  # [rank, in]
    b: Array  # [out, rank]
    scale: float

    def __call__(self, x: Array) -> Array:
        """x [N, in] -> [N, out]."""
        return x.dtype.type(self.scale) * ((x @ self.a.T) @ self.b.T)


@dataclass(frozen=True)
class Linear:
    """Weight [out, in], optional bias [out], as PyTorch's `nn.Linear` stores them, and an optional low-rank delta."""

    weight: Array
    bias: Array | None = None
    delta: LowRank | None = None

    def __call__(self, x: Array) -> Array:
        """x [N, in] -> [N, out]."""
        y = x @ self.weight.T
        if self.delta is not None:
            y = y + self.delta(x)
        return y if self.bias is None else y + self.bias

    def rows(self, chosen: NDArray[np.integer]) -> Linear:
        """The linear that gives only the `chosen` outputs, in that order."""
        bias = None if self.bias is None else self.bias[chosen]
        delta = self.delta and LowRank(self.delta.a, self.delta.b[chosen], self.delta.scale)
        return Linear(self.weight[chosen], bias, delta)


@dataclass(frozen=True)
class Rope:
    """Rotary position embedding with its frequency scaling.

    `kind` is `default`, `linear` (all frequencies divided by `factor`), `llama3` (low frequencies divided, high ones
    kept, a smooth ramp between; the wavelengths that separate them are `original_context` divided by
    `low_freq_factor` and `high_freq_factor`) or `divisors` (one divisor [D / 2] for each frequency, as GGUF stores
    the llama3 rule). Only the first `fraction` of each head is turned. Source: arXiv 2104.09864; transformers
    `modeling_rope_utils.py`.
    """

    theta: float
    kind: str = "default"
    factor: float = 1.0
    low_freq_factor: float = 1.0
    high_freq_factor: float = 1.0
    original_context: int = 0
    divisors: tuple[float, ...] = ()
    fraction: float = 1.0

    def frequencies(self, head_dim: int, dtype: np.dtype) -> Array:
        """Radians per position, [D / 2]."""
        exponent = np.arange(0, head_dim, 2, dtype=dtype) / dtype.type(head_dim)
        base = dtype.type(1) / dtype.type(self.theta) ** exponent
        if self.kind == "default":
            return base
        if self.kind == "linear":
            return base / dtype.type(self.factor)
        if self.kind == "llama3":
            return self._llama3(base)
        if self.kind == "divisors":
            if len(self.divisors) != base.size:
                raise CheckpointError(
                    f"expected {base.size} rope divisors for head_dim {head_dim}, got {len(self.divisors)}"
                )
            return base / np.asarray(self.divisors, dtype=dtype)
        raise CheckpointError(f"rope type '{self.kind}' is not supported; known: default, linear, llama3")

    def _llama3(self, base: Array) -> Array:
        kind = base.dtype.type
        wavelength = kind(2 * np.pi) / base  # positions
        slow = base / kind(self.factor)
        ramp = (kind(self.original_context) / wavelength - kind(self.low_freq_factor)) / kind(
            self.high_freq_factor - self.low_freq_factor
        )
        mixed = (1 - ramp) * slow + ramp * base
        longest_kept = self.original_context / self.high_freq_factor
        shortest_slowed = self.original_context / self.low_freq_factor
        return np.where(wavelength < longest_kept, base, np.where(wavelength > shortest_slowed, slow, mixed))

    def tables(self, positions: NDArray[np.integer], head_dim: int, dtype: np.dtype) -> tuple[Array, Array]:
        """Cosines and sines of the angles at `positions` [N], each [N, 1, D / 2]; fewer with a `fraction`."""
        angles = positions.astype(dtype)[:, None] * self.frequencies(int(head_dim * self.fraction), dtype)
        return np.cos(angles)[:, None, :], np.sin(angles)[:, None, :]


def rotate(x: Array, cos: Array, sin: Array) -> Array:
    """Rotate pairs (i, i + D/2) of x [N, heads, D]: the half-split layout of transformers' `rotate_half`.

    If there are fewer angles than D / 2, only the first part of the head is D in this sense, and the rest stays.
    """
    pairs = cos.shape[-1]
    low, high, rest = x[..., :pairs], x[..., pairs : 2 * pairs], x[..., 2 * pairs :]
    return np.concatenate([low * cos - high * sin, high * cos + low * sin, rest], axis=-1)


def rotate_neighbours(x: Array, cos: Array, sin: Array) -> Array:
    """Rotate pairs (2i, 2i + 1) of x [N, heads, D]."""
    even, odd = x[..., 0::2], x[..., 1::2]
    return np.stack([even * cos - odd * sin, odd * cos + even * sin], axis=-1).reshape(x.shape)


def rms_norm(x: Array, weight: Array, eps: float) -> Array:
    """x [..., d] over its root mean square, times weight [d]. Source: arXiv 1910.07467."""
    mean_square = np.mean(x * x, axis=-1, keepdims=True)
    return weight * (x / np.sqrt(mean_square + x.dtype.type(eps)))


def layer_norm(x: Array, weight: Array, bias: Array, eps: float) -> Array:
    """x [..., d] less its mean, over its deviation, times weight [d], plus bias [d]. Source: arXiv 1607.06450."""
    centred = x - np.mean(x, axis=-1, keepdims=True)
    variance = np.mean(centred * centred, axis=-1, keepdims=True)
    return centred / np.sqrt(variance + x.dtype.type(eps)) * weight + bias


def relu(x: Array) -> Array:
    """Elementwise x where it is positive, else 0."""
    return np.maximum(x, 0)


def gelu(x: Array) -> Array:
    """x * Phi(x) with Phi from the error function, which is evaluated in float64. Source: arXiv 1606.08415."""
    erf = np.vectorize(math.erf, otypes=[np.float64])(x.astype(np.float64) * math.sqrt(0.5))
    return x * (0.5 * (1 + erf)).astype(x.dtype)


def gelu_tanh(x: Array) -> Array:
    """The tanh form of gelu, in transformers `gelu_new` or `gelu_pytorch_tanh`. Source: arXiv 1606.08415, section 2."""
    kind = x.dtype.type
    inner = kind(math.sqrt(2 / math.pi)) * (x + kind(0.044715) * x * x * x)
    return kind(0.5) * x * (1 + np.tanh(inner))


def sigmoid(x: Array) -> Array:
    """1 / (1 + exp(-x)), written so that neither sign of x overflows."""
    small = np.exp(-np.abs(x))
    return np.where(x >= 0, 1, small) / (1 + small)


def silu(x: Array) -> Array:
    """x * sigmoid(x), written so that neither sign of x overflows."""
    small = np.exp(-np.abs(x))
    return x * np.where(x >= 0, 1, small) / (1 + small)


def softmax(x: Array) -> Array:
    """Over the last axis; -inf entries get weight 0."""
    weights = np.exp(x - np.max(x, axis=-1, keepdims=True))
    return weights / np.sum(weights, axis=-1, keepdims=True)


def attention(q: Array, keys: Array, values: Array, hidden: NDArray[np.bool_] | None) -> Array:
    """Grouped-query attention of q [N, H, D] over keys and values [T, G, D].

    `hidden` [N, T] is true where a row does not see a position; None: it sees all. Query head h reads key/value head
    h // (H / G). Returns [N, H, D].
    """
    rows, heads, head_dim = q.shape
    visible, groups, _ = keys.shape
    shared = heads // groups
    # [G, H/G * N, D] so that one matrix product serves all query heads of a group.
    queries = q.reshape(rows, groups, shared, head_dim).transpose(1, 2, 0, 3).reshape(groups, shared * rows, head_dim)
    scores = queries @ keys.transpose(1, 2, 0) * q.dtype.type(head_dim**-0.5)  # [G, H/G * N, T]
    scores = scores.reshape(groups, shared, rows, visible)
    if hidden is not None:
        scores = np.where(hidden, q.dtype.type(-np.inf), scores)
    mixed = softmax(scores).reshape(groups, shared * rows, visible) @ values.transpose(1, 0, 2)
    return mixed.reshape(groups, shared, rows, head_dim).transpose(2, 0, 1, 3).reshape(rows, heads, head_dim)
