# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""States that a recurrence starts from: zeros, given ones, or random ones that depend on seed and position alone."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from rondo.reference.errors import CheckpointError
from rondo.reference.layers import Array

Positions = NDArray[np.integer]
# From the positions [N] of rows and the type of the model to the states [N, d].
InitialState = Callable[[Positions, np.dtype], Array]

# Philox4x32-10 of Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011: rounds, and the constants that
# multiply the counter and are added to the key.
_ROUNDS = 10
_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_KEY_STEPS = (0x9E3779B9, 0xBB67AE85)
_WORD = np.uint64(0xFFFFFFFF)
_WORD_BITS = np.uint64(32)

# Random states are cut off at this many standard deviations.
_CUT = 3.0


@dataclass(frozen=True)
class Zeros:
    """Zero at every position."""

    width: int  # d

    def __call__(self, positions: Positions, dtype: np.dtype) -> Array:
        return np.zeros((len(positions), self.width), dtype)


@dataclass(frozen=True)
class Given:
    """Row t of `rows` [positions, d] at position t."""

    rows: Array

    def __call__(self, positions: Positions, dtype: np.dtype) -> Array:
        if positions[-1] >= len(self.rows):
            raise CheckpointError(
                f"initial_state has rows for {len(self.rows)} positions, but position {positions[-1]} is run; "
                "give more rows or fewer tokens"
            )
        return self.rows[positions].astype(dtype)


@dataclass(frozen=True)
class Seeded:
    """A normal distribution of mean 0 and deviation `deviation`, cut off at three deviations.

    Column j at position t is deviation * Phi^-1(Phi(-3) + u * (Phi(3) - Phi(-3))) with u = `unit(seed, t, j)`, all in
    float64 and then rounded: the same whatever the batch and the chunks.
    """

    seed: int
    width: int  # d
    deviation: float

    def __call__(self, positions: Positions, dtype: np.dtype) -> Array:
        normal = NormalDist()
        lowest, highest = normal.cdf(-_CUT), normal.cdf(_CUT)
        u = unit(self.seed, positions[:, None], np.arange(self.width)[None, :])
        quantile = np.vectorize(normal.inv_cdf, otypes=[np.float64])
        return (self.deviation * quantile(lowest + u * (highest - lowest))).astype(dtype)


def unit(seed: int, request: Positions, index: Positions) -> NDArray[np.float64]:
    """Numbers in [0, 1): the upper 53 of the first 64 bits of Philox4x32-10.

    The key is `seed`, the counter has `index` in its lower half and `request` in the upper one; these two are broadcast
    against one another. The sampler of the runtime draws in the same way.
    """
    request, index = (np.asarray(part).astype(np.uint64) for part in np.broadcast_arrays(request, index))
    counter = [index & _WORD, index >> _WORD_BITS, request & _WORD, request >> _WORD_BITS]
    key = [np.uint64(seed & 0xFFFFFFFF), np.uint64(seed >> 32)]
    for _ in range(_ROUNDS):
        products = [counter[2 * half] * np.uint64(_MULTIPLIERS[half]) for half in range(2)]
        counter = [
            (products[1] >> _WORD_BITS) ^ counter[1] ^ key[0],
            products[1] & _WORD,
            (products[0] >> _WORD_BITS) ^ counter[3] ^ key[1],
            products[0] & _WORD,
        ]
        key = [(word + np.uint64(step)) & _WORD for word, step in zip(key, _KEY_STEPS, strict=True)]
    bits = (counter[0] << _WORD_BITS | counter[1]) >> np.uint64(11)
    return bits.astype(np.float64) * 2.0**-53


def parse(text: str) -> Callable[[int, float], InitialState]:
    """From `zeros` or `seed:NUMBER` to a function of the width and the deviation of random states."""
    kind, _, value = text.partition(":")
    if text == "zeros":
        return lambda width, _: Zeros(width)
    if kind == "seed" and value.isdecimal() and int(value) < 2**64:
        return functools.partial(Seeded, int(value))
    raise CheckpointError(f"expected zeros or seed:NUMBER (64 bits) for an initial state, got '{text}'")
