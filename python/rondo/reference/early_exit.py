# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Early exits: a looped decoder whose rows stop looping where an exit rule says so.

    x = prelude(embedding[tokens])
    for each visit r:  rows that have not exited:  x = visit_r(x);  exit with e = r if the rule says so
    logits = head(coda(x))                                             # e = R - 1 for rows that never did

Each position of a sequence is a row that exits by itself (scope `row`), in prompts as in generation. The coda with the
final norm and the head run once for every row, on the state that it exits with (`act`: on its mixed output).

A layer of visit d looks for the keys and values that each earlier token t has left in it. With e_t the visit that t
exited after, `after_exit` says what there is where e_t < d:

    ghost         version d: the row runs on for others to see, and only what is read of it stays as it was
    last-exited   version min(d, e_t): the last one that the row made
    propagate     version d: the layer's keys and values of the state that t exited with, which deeper visits leave as
                  it is (Huginn: of the adapter's output for it)
    absent        none: the token is not seen

These see versions up to d only, so that a prompt can run visit by visit and gives what it gives token by token. Where
the rule reads logits and the coda has layers, the coda's keys and values of tokens before have to be those of the
states that they exit with, and these are known only after their last visit: then positions run one after another.

Sources: arXiv 2502.05171, section 6 and `raven_modeling_minimal.py`; arXiv 2410.20672, section 3.8; arXiv 2207.07061
(`propagate`); arXiv 2608.09444 (`last-exited`).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rondo.reference import exit_rules
from rondo.reference.decoder import Cache, Call, Decoder, Shape, Trace
from rondo.reference.errors import CheckpointError
from rondo.reference.exit_rules import Reads, Rule, Visit
from rondo.reference.huginn import Huginn
from rondo.reference.layers import Array, sigmoid
from rondo.reference.ouro import Ouro
from rondo.reference.parts import Place
from rondo.reference.recursive import RecursiveDecoder
from rondo.reference.schedule import EndVisit, Norm, Run, Step, slots

AFTER_EXIT = ("ghost", "last-exited", "propagate", "absent")

# From the number of a visit and states [N, d] to what a gate, a router or a halting unit says of each [N], before any
# sigmoid. `Reads` says which states, and whether it is that visit's or the next one's.
Unit = Callable[[int, Array], Array]
Mask = NDArray[np.bool_]
Positions = NDArray[np.integer]


class ExitCache(Cache):
    """Keys and values of one sequence, and for each position the visit after which its row exited."""

    def __init__(self, slot_count: int, capacity: int, shape: Shape, dtype: np.dtype) -> None:
        super().__init__(slot_count, capacity, shape, dtype)
        self.exits = np.zeros(capacity, np.int64)


@dataclass(frozen=True, kw_only=True)
class VisitPlace(Place):
    """Where rows stand that run one layer of a visit: any positions, ascending, of those that a call computes."""

    positions: Positions  # [N]
    end: int  # the first position that is not there yet, T
    visit: int
    slots: NDArray[np.integer]  # [R], the layer's KV slots by visit
    cache: ExitCache
    after_exit: str

    def write(self, keys: Array, values: Array) -> None:
        """As in Place."""
        self.keys[self.positions] = keys
        self.values[self.positions] = values

    def read(self, rows: int) -> tuple[Array, Array]:
        """Keys and values [T, G, D], of each position the version that the visit sees."""
        versions = np.full(self.end, self.visit)
        if self.after_exit == "last-exited":
            versions = np.minimum(versions, self.cache.exits[: self.end])
        seen = self.slots[versions], np.arange(self.end)
        return self.cache.keys[seen], self.cache.values[seen]

    def hidden(self, rows: int) -> Mask:
        """[N, T], true where a position comes after a row or is absent."""
        future = np.arange(self.end)[None, :] > self.positions[:, None]
        if self.after_exit != "absent":
            return future
        return future | (self.cache.exits[: self.end] < self.visit)[None, :]


@dataclass
class _Rows:
    """The rows of a call on their way through the visits."""

    state: Array  # [N, d], as the visit before left it
    output: Array  # [N, d], what goes into the coda
    exits: NDArray[np.int64]  # [N], part of the cache
    running: Mask  # [N], true while a row has not exited
    memories: list[Any]  # what the rule keeps of each


class EarlyExit(Decoder):
    """A decoder that runs the visits of another one under an exit rule."""

    def __init__(self, model: Decoder, rule: Rule, after_exit: str, unit: Unit | None = None) -> None:
        """`unit` is what the rule reads beside states and logits; Ouro brings its gate.

        Raises CheckpointError for a model that does not visit a block or shares KV slots, for a rule that reads what
        the model does not have, for a step that is not made, and for an unknown `after_exit`.
        """
        super().__init__(model.shape, model.weights, model.rope, model.schedule, model.stop_tokens)
        if after_exit not in AFTER_EXIT:
            raise CheckpointError(f"after-exit '{after_exit}' is not known; known: {', '.join(AFTER_EXIT)}")
        self.model = model
        self.rule = rule
        self.after_exit = after_exit
        self.prelude, self.visits, self.coda = _segments(model)
        self.slots = _slots(self.visits)
        self.unit = unit
        if unit is None and rule.reads is Reads.GATE and isinstance(model, Ouro):
            self.unit = lambda _, states: model.gate(states)[:, 0]
        self._check_rule()

    def _check_rule(self) -> None:
        reads, visits = self.rule.reads, len(self.visits)
        if self.unit is None and reads not in (Reads.STATE, Reads.LOGITS):
            raise CheckpointError(
                f"the exit rule reads {reads.value}, which this model does not have; take a rule of states or logits"
            )
        if isinstance(self.rule, exit_rules.Step) and self.rule.threshold >= visits:
            raise CheckpointError(
                f"exit at visit {self.rule.threshold:.0f}, but there are visits 0 to {visits - 1} only"
            )

    def new_cache(self, capacity: int) -> ExitCache:
        """As in Decoder."""
        return ExitCache(slots(self.schedule), capacity, self.shape, self.dtype)

    def states(self, tokens: Sequence[int], cache: ExitCache, trace: Trace | None = None) -> Array:
        """As in Decoder: the final states of the rows [N, d].

        Traces `exit.<visit>`, what the rule compared with its threshold [N], NaN for rows that it was not asked about;
        `depth`, the visit after which a row exited [N]; `final`.
        """
        self.model._check(tokens, cache)
        one_by_one = self.rule.reads is Reads.LOGITS and any(isinstance(step, Run) for step in self.coda)
        calls = [[token] for token in tokens] if one_by_one and len(tokens) else [tokens]
        records = [self._run(part, cache) for part in calls]
        record = {name: np.concatenate([part[name] for part in records]) for name in records[0]}
        if trace is not None:
            trace |= record
        return record["final"]

    def _run(self, tokens: Sequence[int], cache: ExitCache) -> Trace:
        """One call of `states`; returns its trace."""
        call = self.model._begin(tokens, cache, None)
        injected = self._through(self.prelude, self._embed(tokens, call), call)
        rows = self._enter_loop(injected, call)
        record: Trace = {}
        for number in range(len(self.visits)):
            before = rows.state
            rows.state = self._visit(number, rows, injected, call)
            rows.output[rows.running] = rows.state[rows.running]
            record[f"exit.{number}"] = self._decide(number, before, rows, call)
        record["depth"] = rows.exits.copy()
        record["final"] = self._end(self._through(self.coda, rows.output, call), call)
        return record

    def _enter_loop(self, injected: Array, call: Call) -> _Rows:
        start = self.model.initial_state(call.positions, self.dtype) if isinstance(self.model, Huginn) else injected
        exits = call.cache.exits[call.positions[0] : call.positions[-1] + 1]
        exits[:] = len(self.visits) - 1
        return _Rows(start, start.copy(), exits, np.full(len(start), True), [None] * len(start))

    def _enter_visit(self, state: Array, injected: Array) -> Array:
        if isinstance(self.model, Huginn):
            return self.model.adapter(np.concatenate([state, injected], axis=-1))
        return state.copy()

    def _visit(self, number: int, rows: _Rows, injected: Array, call: Call) -> Array:
        """States [N, d] after a visit: of rows that have exited, and are no ghosts, what they were."""
        moves = np.full_like(rows.running, True) if self.after_exit == "ghost" else rows.running
        # What else runs does so for its keys and values; the rest of the layer's work on it is dropped.
        chosen = np.flatnonzero(moves | (self.after_exit == "propagate"))
        if not len(chosen):
            return rows.state
        state = self._enter_visit(rows.state, injected)
        layer = 0
        for step in self.visits[number]:
            if isinstance(step, Run):
                result = self.weights.layers[step.layer](state[chosen], self._place(number, layer, chosen, call))
                state[chosen] = np.where(moves[chosen, None], result, state[chosen])
                layer += 1
            elif isinstance(step, Norm):
                state = self.weights.final_norm(state)
        return np.where(moves[:, None], state, rows.state)

    def _place(self, number: int, layer: int, chosen: NDArray[np.integer], call: Call) -> VisitPlace:
        """Where the chosen rows of a call stand in layer `layer` of a visit."""
        slot = self.slots[number, layer]
        return VisitPlace(
            first=call.cache.length,
            cos=call.cos[chosen],
            sin=call.sin[chosen],
            keys=call.cache.keys[slot],
            values=call.cache.values[slot],
            positions=call.positions[chosen],
            end=call.positions[-1] + 1,
            visit=number,
            slots=self.slots[:, layer],
            cache=call.cache,
            after_exit=self.after_exit,
        )

    def _decide(self, number: int, before: Array, rows: _Rows, call: Call) -> Array:
        """Ask the rule about the rows that run; returns what it compared [N]."""
        values = np.full(len(before), math.nan, self.dtype)
        if not rows.running.any() or (number == len(self.visits) - 1 and not self.rule.mixes):
            return values
        logits = self._logits(rows.state, call)
        units = self._units(number, before, rows.state)
        for row in np.flatnonzero(rows.running):
            visit = Visit(number, rows.state[row], before[row], logits[row], units[row])
            decision = self.rule(visit, rows.memories[row])
            values[row], rows.memories[row] = decision.value, decision.memory
            if decision.output is not None:
                rows.output[row] = decision.output
            if decision.exits:
                rows.running[row] = False
                rows.exits[row] = number
        return values

    def _logits(self, states: Array, call: Call) -> Array | list[None]:
        """Logits [N, V] of rows that would exit now, for rules that read them; leaves the coda's keys and values."""
        if self.rule.reads is not Reads.LOGITS:
            return [None] * len(states)
        return self.head(self._through(self.coda, states, call))

    def _units(self, number: int, before: Array, after: Array) -> Array | list[None]:
        """What the rule's gate, router or halting unit says [N]."""
        reads = self.rule.reads
        if reads is Reads.GATE:
            return sigmoid(self.unit(number, after))
        if reads is Reads.ROUTER:
            return self.unit(number + 1, after)
        if reads is Reads.HALTING:
            return sigmoid(self.unit(number, before))
        return [None] * len(after)


def _segments(model: Decoder) -> tuple[tuple[Step, ...], list[tuple[Step, ...]], tuple[Step, ...]]:
    """Steps of the prelude, of each visit, and of the coda with its norm."""
    if isinstance(model, Huginn):
        return model.prelude, model.visits, (Norm(), *model.coda)
    ends = [at + 1 for at, step in enumerate(model.schedule) if isinstance(step, EndVisit)]
    if not ends:
        raise CheckpointError("no visit of a whole block ends in this model; early exits need one that loops")
    length = ends[1] - ends[0] if len(ends) > 1 else ends[0]
    visits = [model.schedule[max(end - length, 0) : end] for end in ends]
    # Those of a RecursiveDecoder run unrolled layers.
    alike = isinstance(model, RecursiveDecoder) or len({_layers(visit) for visit in visits}) == 1
    if not alike or any(end - begin != length for begin, end in itertools.pairwise(ends)):
        raise CheckpointError("visits run different layers; early exits need a single loop")
    return model.schedule[: ends[0] - length], visits, model.schedule[ends[-1] :]


def _layers(visit: Sequence[Step]) -> tuple[int, ...]:
    return tuple(step.layer for step in visit if isinstance(step, Run))


def _slots(visits: Sequence[Sequence[Step]]) -> NDArray[np.integer]:
    """KV slots [R, layers of the block] of the visits; CheckpointError if visits share them."""
    runs = [step for visit in visits for step in visit if isinstance(step, Run)]
    if not all(run.writes_kv for run in runs) or len({run.slot for run in runs}) < len(runs):
        raise CheckpointError("visits share KV slots; early exits need a model that keeps one for each")
    return np.array([run.slot for run in runs]).reshape(len(visits), -1)
