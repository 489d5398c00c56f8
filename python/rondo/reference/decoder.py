# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""A decoder that runs a schedule over shared layers, with a KV cache.

Families are this decoder with other parts (`parts.py`), weights and schedules: `llama.py`,
`gemma.py`, `gpt_neox.py`, `huginn.py`, `mor.py`, `nanbeige.py`, `ouro.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rondo.reference.errors import CheckpointError
from rondo.reference.inputs import Inputs
from rondo.reference.layers import Array, Rope
from rondo.reference.parts import Norm, Place
from rondo.reference.schedule import EndVisit, Run, Step, slots
from rondo.reference.schedule import Norm as FinalNorm

# Tensors by name. What a model passes through on its way is `embedding`, `layer.<execution>`, `hidden.<visit>`,
# `final`, each [N, d], and what its family adds.
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
class Weights:
    """All weights of a decoder, in one floating type. A layer takes (x [N, d], place) to [N, d]: `parts.Layer`."""

    embedding: Array  # [V, d]
    layers: tuple[Callable[[Array, Place], Array], ...]
    final_norm: Norm
    head: Array  # [V, d]
    embedding_scale: float = 1.0


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


@dataclass
class Call:
    """A call of a decoder under way: where its rows stand, and what has been traced and executed so far."""

    cache: Cache
    positions: NDArray[np.integer]  # [N]
    cos: Array  # [N, 1, D / 2], as sin
    sin: Array
    trace: Trace
    executions: int = 0

    def place(self, run: Run) -> Place:
        """Where the rows stand for one execution."""
        keys, values = self.cache.keys[run.slot], self.cache.values[run.slot]
        return Place(self.cache.length, self.cos, self.sin, keys, values, run.writes_kv)


class Decoder:
    """Token ids in, logits out."""

    # Further inputs that change what is computed: fields of Inputs.
    takes: frozenset[str] = frozenset()

    def __init__(
        self,
        shape: Shape,
        weights: Weights,
        rope: Rope,
        schedule: Sequence[Step],
        stop_tokens: Sequence[int] = (),
    ) -> None:
        self.shape = shape
        self.weights = weights
        self.rope = rope
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
        call = self._begin(tokens, cache, trace)
        x = self._through(self.schedule, self._embed(tokens, call), call)
        return self._end(x, call)

    def _begin(self, tokens: Sequence[int], cache: Cache, trace: Trace | None) -> Call:
        self._check(tokens, cache)
        positions = np.arange(cache.length, cache.length + len(tokens))
        cos, sin = self.rope.tables(positions, self.shape.head_dim, self.dtype)
        return Call(cache, positions, cos, sin, {} if trace is None else trace)

    def _embed(self, tokens: Sequence[int], call: Call) -> Array:
        x = self.weights.embedding[np.asarray(tokens)] * self.dtype.type(self.weights.embedding_scale)
        call.trace["embedding"] = x
        return x

    def _through(self, steps: Sequence[Step], x: Array, call: Call) -> Array:
        """Take the states x [N, d] through some steps of the schedule."""
        for step in steps:
            if isinstance(step, Run):
                x = self.weights.layers[step.layer](x, call.place(step))
                call.trace[f"layer.{call.executions}"] = x
                call.executions += 1
            elif isinstance(step, FinalNorm):
                x = self.weights.final_norm(x)
            elif isinstance(step, EndVisit):
                call.trace[f"hidden.{step.number}"] = x
        return x

    def _end(self, x: Array, call: Call) -> Array:
        call.trace["final"] = x
        call.cache.length += len(x)
        return x

    def head(self, states: Array) -> Array:
        """States [N, d] to logits [N, V]."""
        return states @ self.weights.head.T

    def logits(self, tokens: Sequence[int], trace: Trace | None = None) -> Array:
        """Logits [N, V] of a whole sequence in one call."""
        return self.head(self.states(tokens, self.new_cache(len(tokens)), trace))

    def prepared(self, inputs: Inputs) -> Decoder:
        """The model as its inputs want it for all sequences; CheckpointError for inputs that it does not take."""
        inputs.check(self.takes)
        return self

    def outputs(self, inputs: Inputs, number: int, trace: Trace | None = None) -> Trace:
        """What a model prepared for the inputs says of sequence `number`, by name: `logits` [N, V]."""
        return {"logits": self.logits(inputs.sequences[number], trace)}

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
