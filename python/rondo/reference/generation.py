# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Greedy decoding that also says how close each choice was."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from rondo.reference.decoder import Decoder
from rondo.reference.layers import Array


@dataclass(frozen=True)
class Generated:
    """New tokens, and for each the distance between the two best logits it was chosen from (0: a tie)."""

    tokens: list[int]
    gaps: list[float]


def greedy(
    model: Decoder, prompt: Sequence[int], count: int, stop: Collection[int] = (), recompute: bool = False
) -> Generated:
    """At most `count` tokens after `prompt`; a token of `stop` ends the sequence and is the last one returned.

    `recompute` runs the whole sequence again for each token instead of keeping keys and values.
    """
    cache = model.new_cache(len(prompt) + count)
    result = Generated([], [])
    pending = list(prompt)
    for _ in range(count):
        if recompute:
            states = model.states([*prompt, *result.tokens], model.new_cache(len(prompt) + count))
        else:
            states = model.states(pending, cache)
        token, gap = best(model.head(states[-1:])[0])
        result.tokens.append(token)
        result.gaps.append(gap)
        if token in stop:
            break
        pending = [token]
    return result


def best(logits: Array) -> tuple[int, float]:
    """The first index of the greatest of logits [V], and its distance to the next greatest."""
    if logits.size == 1:
        return 0, float("inf")
    second, first = np.partition(logits, -2)[-2:]
    return int(np.argmax(logits)), float(first - second)
