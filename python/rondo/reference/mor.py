# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Mixture-of-Recursions: a shared block visited several times, by fewer tokens at each depth.

    x = prelude(embedding[tokens])                  # prelude and coda with middle_cycle only, on all rows
    expert choice:  for each depth r:   rows = those of the depth before that router r chooses
                                        x[rows] += gate * block(x[rows])
    token choice:   e = x;  for each r: rows = those whose last depth is r or more;  y = block(x[rows])
                                        out[row] = e[row] + gate * y where r is the last depth, else x[row] = y
                    x = out
    logits = head(norm(coda(x)))

`block` returns the residual stream, so an expert gate scales a row by about 1 + gate. Rows keep their positions in the
sequence: rope turns by these, and a row attends to what stands before it. `routing.py` says how rows are chosen.

What a row at depth r attends to, and which KV slots there are:

    recursion-wise  the rows that reached depth r; a slot for each depth and layer, numbered as unrolled layers
    shared          all rows, by the keys and values of depth 0; a slot for each stored layer
    hybrid          the same, but by keys and values of depth r where a row of this call reached it. Nothing of that is
                    kept for the next call, so there is none
    unshared        all rows, by keys and values of depth r: what the authors compute for a model with shared or hybrid
                    slots where they keep no cache. Slots as for recursion-wise

In all but the first the block runs on all rows and the chosen ones are kept, as in the authors' code. With shared slots
the others influence nothing: they write none from depth 1 on.

Chunks of a prompt give what the whole gives with token choice and under the causal rule of expert choice, not under the
released one. With `cycle` and less than all rows at depth 0 the authors' code takes a wrong position for a new token,
which is not repeated here.

Source: arXiv 2507.10524; github.com/raymin0223/mixture_of_recursions, `model/{mor_model,kv_caches}`. `mor_folder.py`
reads its folders.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Sequence

import numpy as np

from rondo.reference.decoder import Cache, Call, Decoder, Shape, Trace, Weights
from rondo.reference.errors import CheckpointError
from rondo.reference.inputs import Inputs
from rondo.reference.layers import Array, Rope
from rondo.reference.parts import Place
from rondo.reference.routing import ExpertChoice, Rows, TokenChoice
from rondo.reference.schedule import Run
from rondo.reference.sharing import Sharing

KV_POLICIES = ("recursion-wise", "shared", "hybrid", "unshared")


class RoutedCache(Cache):
    """A cache whose recursion-wise slots hold the rows that reached them: slot s the first `filled[s]`."""

    def __init__(self, slot_count: int, capacity: int, shape: Shape, dtype: np.dtype) -> None:
        super().__init__(slot_count, capacity, shape, dtype)
        self.filled = [0] * slot_count


class MixtureOfRecursions(Decoder):
    """A decoder that routes rows through the visits of its block.

    Its weights are those of unrolled layers. `unshared_kv` is the same model with the policy `unshared`, if depths of
    this one share slots. `by_depth` names the tensors of the block that are not the same at all depths
    (`<layer in the block>.<tensor>`).
    """

    def __init__(
        self,
        shape: Shape,
        weights: Weights,
        rope: Rope,
        sharing: Sharing,
        routing: ExpertChoice | TokenChoice,
        kv_policy: str = "recursion-wise",
        by_depth: frozenset[str] = frozenset(),
        stop_tokens: Sequence[int] = (),
    ) -> None:
        super().__init__(shape, weights, rope, (), stop_tokens)
        self.sharing = sharing
        self.routing = routing
        self.kv_policy = kv_policy
        self.by_depth = by_depth

    @property
    def unshared_kv(self) -> MixtureOfRecursions | None:
        """What the authors' code computes without a cache, if that is another model."""
        if self.kv_policy not in ("shared", "hybrid"):
            return None
        other = copy.copy(self)
        other.kv_policy = "unshared"
        return other

    def with_routing(self, rule: str) -> MixtureOfRecursions:
        """The same model with `released` or `causal` expert choice. Raises CheckpointError for another model."""
        if not isinstance(self.routing, ExpertChoice):
            raise CheckpointError(
                "with token choice there is one way of routing, which is causal; leave the routing out"
            )
        other = copy.copy(self)
        other.routing = self.routing.with_rule(rule)
        return other

    def new_cache(self, capacity: int) -> RoutedCache:
        """As in Decoder."""
        slots = 1 + max(self.slot(layer) for layer in range(self.sharing.layers))
        return RoutedCache(slots, capacity, self.shape, self.dtype)

    def states(self, tokens: Sequence[int], cache: RoutedCache, trace: Trace | None = None) -> Array:
        """As in Decoder. Traces `prelude`, `coda`, and for each position the last depth that computed it as `depth`.

        Expert choice traces at each depth r what it leaves of all rows as `hidden.<r>` [N, d], the positions in play as
        `candidates.<r>`, their logits as `router.<r>`, and the positions that were computed as `selected.<r>`; token
        choice the logits of all rows as `router.<r>`, and what the loop leaves as `block`.
        """
        call = self._begin(tokens, cache, trace)
        if self.kv_policy == "hybrid" and cache.length:
            raise CheckpointError(
                "with 'kv_sharing.update_cache' keys and values of deeper visits are not kept, so tokens cannot be run "
                "after others; run the whole sequence at once (--recompute)"
            )
        x = self._embed(tokens, call)
        last = self.sharing.layers - 1
        if self.sharing.edges:
            x = call.trace["prelude"] = self.weights.layers[0](x, call.place(Run(0, self.slot(0))))
        route = self._choose_rows if isinstance(self.routing, ExpertChoice) else self._choose_depths
        x = route(x, call)
        if self.sharing.edges:
            x = call.trace["coda"] = self.weights.layers[last](x, call.place(Run(last, self.slot(last))))
        return self._end(self.weights.final_norm(x), call)

    def outputs(self, inputs: Inputs, number: int, trace: Trace | None = None) -> Trace:
        """`logits` [N, V]; where depths share slots also `nocache_logits`, of `unshared_kv`."""
        found = super().outputs(inputs, number, trace)
        if self.unshared_kv:
            found["nocache_logits"] = self.unshared_kv.logits(inputs.sequences[number])
        return found

    def _choose_rows(self, x: Array, call: Call) -> Array:
        """All visits of the block with expert choice."""
        active = np.arange(len(x))
        call.trace["depth"] = np.full(len(x), -1)
        for depth in range(self.sharing.visits):
            logits = self.routing.logits(depth, x[active])
            chosen, gates = self.routing.choose(depth, x[active], logits, len(x))
            rows = active[chosen]
            call.trace[f"candidates.{depth}"] = call.positions[active]
            call.trace[f"router.{depth}"] = logits
            call.trace[f"selected.{depth}"] = call.positions[rows]
            y = self._block(depth, x, rows, call)
            x = x.copy()
            x[rows] += gates[:, None] * y
            call.trace[f"hidden.{depth}"] = x
            call.trace["depth"][rows] = depth
            active = rows
        return x

    def _choose_depths(self, entry: Array, call: Call) -> Array:
        """All visits of the block with token choice."""
        logits, last, gates = self.routing.choose(entry)
        call.trace["depth"] = last
        x, out = entry.copy(), np.empty_like(entry)
        for depth in range(self.sharing.visits):
            call.trace[f"router.{depth}"] = logits[:, depth]
            rows = np.flatnonzero(last >= depth)
            y = self._block(depth, x, rows, call)
            done = last[rows] == depth
            out[rows[done]] = entry[rows[done]] + gates[rows[done], None] * y[done]
            x[rows[~done]] = y[~done]
        call.trace["block"] = out
        return out

    def _block(self, depth: int, x: Array, rows: Rows, call: Call) -> Array:
        """What a visit of the block makes of some rows of x [N, d], [len(rows), d]."""
        alone = self.kv_policy == "recursion-wise"
        y = x[rows] if alone else x
        if not len(y):
            return y
        first = self.sharing.edges + depth * self.sharing.block
        for layer in range(first, first + self.sharing.block):
            place = self._place_of(rows, layer, call) if alone else self._place_of_all(rows, depth, layer, call)
            y = self.weights.layers[layer](y, place)
        return y if alone else y[rows]

    def _place_of(self, rows: Rows, layer: int, call: Call) -> Place:
        """Where chosen rows stand that attend to those before them in the slot of their depth only."""
        slot, cache = self.slot(layer), call.cache
        first = cache.filled[slot]
        cache.filled[slot] += len(rows)
        return Place(first, call.cos[rows], call.sin[rows], cache.keys[slot], cache.values[slot])

    def _place_of_all(self, rows: Rows, depth: int, layer: int, call: Call) -> Place:
        """Where all rows stand at a depth that was reached by some."""
        place = call.place(Run(layer, self.slot(layer), depth == 0 or self.kv_policy == "unshared"))
        if self.kv_policy == "hybrid" and depth > 0:
            keys, values = place.keys.copy(), place.values.copy()
            return dataclasses.replace(place, keys=keys, values=values, writes_kv=True, writers=rows)
        return place

    def slot(self, layer: int) -> int:
        """KV slot of an unrolled layer."""
        return self.sharing.place(layer).layer if self.kv_policy in ("shared", "hybrid") else layer
