# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Exit rules: what decides, after each visit of the shared block, that a row is done. One class a rule.

A rule sees values of one row alone: what its visits left, and what the rule itself kept from the visits before. It is
asked after every visit that the row makes, in order, until it says that the row exits:

    memory = None
    decision = rule(visit, memory);  memory = decision.memory

- A row that has exited is not asked again: it never comes back.
- An exit at the last visit is none. Rules are not asked there, but for those that mix states.
- Everything is computed in the type of the state, to which the threshold is rounded. A comparison with NaN fails, so
  that a row with one runs on.

The names of the command line (`--exit=NAME:VALUE`) are `none`, `gate`, `router`, `confidence`, `margin`, `latent-diff`,
`kl`, `entropy`, `stable-argmax` and `act`; the others in `RULES` are here for what published code does beside these.
Sources: arXiv 2510.25741 (Ouro); arXiv 2502.05171 and `raven_modeling_minimal.py` (Huginn); arXiv 2507.10524 (MoR);
arXiv 2605.11011 (LoopUS); arXiv 1807.03819 and tensor2tensor's `universal_transformer_util.py` (ACT).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, ClassVar

import numpy as np

from rondo.reference.errors import CheckpointError
from rondo.reference.layers import Array, softmax

# What `entropy` takes for the entropy before the first visit, in nats.
_FIRST_ENTROPY = 100.0


class Reads(Enum):
    """What a rule wants to know beside the state."""

    STATE = "states alone"
    LOGITS = "logits"
    GATE = "an exit gate"  # sigmoid of a number that the model computes from the state that the visit left
    ROUTER = "a router"  # the number, before any sigmoid, that the next visit's router computes from the same state
    HALTING = "a halting unit"  # sigmoid of a number that the model computes from the state that entered the visit


@dataclass(frozen=True)
class Visit:
    """What a rule may look at when a row comes out of a visit. All values are of one floating type."""

    number: int  # from 0
    state: Array  # [d], as the visit leaves it
    before: Array  # [d], what the visit before left; for the first, what entered the loop
    logits: Array | None = None  # [V], what is read out if the row exits here
    unit: float | None = None  # what a gate, a router or a halting unit says: `Reads`

    @property
    def kind(self) -> type[np.floating]:
        """The type that rules compute in."""
        return self.state.dtype.type


@dataclass(frozen=True)
class Decision:
    """What a rule says after a visit."""

    exits: bool
    value: float  # what is compared with the threshold
    memory: Any = None  # what the rule wants back after the row's next visit
    output: Array | None = None  # [d], read out instead of the state


@dataclass(frozen=True)
class Rule:
    """What is common to all rules."""

    threshold: float
    reads: ClassVar[Reads] = Reads.STATE
    mixes: ClassVar[bool] = False  # whether what is read out is more than the state of one visit

    def __call__(self, visit: Visit, memory: Any) -> Decision:
        """The decision after a visit; `memory` is that of the decision before, None at the first visit."""
        raise NotImplementedError


def exit_visit(rule: Rule, visits: Sequence[Visit]) -> int:
    """The visit after which a row exits: the first where the rule says so, else the last."""
    memory = None
    for visit in visits[:-1]:
        decision = rule(visit, memory)
        if decision.exits:
            return visit.number
        memory = decision.memory
    return visits[-1].number


# --- Rules of the visit's number --------------------------------------------------------------------------------------


class Never(Rule):
    """`none`: every row makes all visits."""

    def __call__(self, visit: Visit, memory: Any) -> Decision:
        return Decision(False, math.nan)


class Step(Rule):
    """`step`: r >= threshold, with visits r from 0. First visit: as any. Threshold: none by default.

    Source: Ouro's `early_exit_step`. Its code ignores a visit that is not made; `early_exit.py` makes that an error.
    """

    def __call__(self, visit: Visit, memory: Any) -> Decision:
        return Decision(visit.number >= self.threshold, visit.number)


# --- Rules of a trained unit ------------------------------------------------------------------------------------------


class Gate(Rule):
    """`gate`: c_r >= threshold, with c_r the sum of the exit distribution, p_i = g_i * prod_{j < i} (1 - g_j), up to r.

    First visit: as any, c_0 = g_0. Threshold: none by default (Ouro's configurations say 1.0); 1 and more never exit,
    where Ouro's code would once g_r rounds to 1. The last visit's gate is not used. Source: Ouro, section 3.
    """

    reads = Reads.GATE

    def __call__(self, visit: Visit, memory: Any) -> Decision:
        reached, left = self._added(visit, memory)
        exits = self.threshold < 1 and reached >= visit.kind(self.threshold)
        return Decision(bool(exits), reached, (reached, left))

    def _added(self, visit: Visit, memory: Any) -> tuple[float, float]:
        """Probabilities of having exited and of not having, after one more gate."""
        one = visit.kind(1)
        reached, left = memory or (visit.kind(0), one)
        return reached + visit.unit * left, left * (one - visit.unit)


class DelayedGate(Gate):
    """`gate-delayed`: one visit after `gate`, so that nothing waits for a decision. First visit: never.

    Source: arXiv 2608.09444, lookahead.
    """

    def __call__(self, visit: Visit, memory: Any) -> Decision:
        earlier, due = memory or (None, False)
        found = super().__call__(visit, earlier)
        return Decision(due, found.value, (found.memory, found.exits))


class HaltSum(Gate):
    """`halt-sum`: c_r > threshold, strictly, with the c_r of `gate`. First visit: as any.

    Default: 0.9. Source: LoopUS, strategy `cdf`.
    """

    def __call__(self, visit: Visit, memory: Any) -> Decision:
        reached, left = self._added(visit, memory)
        return Decision(bool(reached > visit.kind(self.threshold)), reached, (reached, left))


class Halt(Rule):
    """`halt`: g_r > threshold, strictly. First visit: as any.

    Default: 0.9. Source: LoopUS, strategy `threshold`. TRM halts where q_halt > 0 and HRM where q_halt > q_continue:
    that is threshold 0.5 with the sigmoid of q_halt, or of q_halt - q_continue.
    """

    reads = Reads.GATE

    def __call__(self, visit: Visit, memory: Any) -> Decision:
        return Decision(bool(visit.unit > visit.kind(self.threshold)), visit.unit)


class Router(Rule):
    """`router`: a_{r + 1} < threshold, strictly, with a_{r + 1} the number of the router in front of the next visit.

    First visit: as any; the router in front of it is not asked, all rows make it. Default: 0, so that a row goes on
    where sigmoid(a) >= 0.5. Source: MoR, the causal rule of routers trained with an auxiliary loss.
    """

    reads = Reads.ROUTER

    def __call__(self, visit: Visit, memory: Any) -> Decision:
        return Decision(bool(visit.unit < visit.kind(self.threshold)), visit.unit)


@dataclass(frozen=True)
class Act(Rule):
    """`act`, `act-accumulated`: adaptive computation time. With h the sum of the p of the visits before, from 0:

        h + p > threshold (strictly):   exit, with weight w = 1 - h
        else                            go on, with weight w = p;  h = h + p
        basic:         out = w * state + (1 - w) * out        out is 0 at first
        accumulated:   out = out + w * state

    p is computed from the state that enters the visit; `out` is read out. First visit: as any. Default: 0.99, that is
    1 - epsilon. A row that makes the last visit has w = p there, too, and no remainder.
    Source: tensor2tensor, whose `act_type` is basic by default; accumulated is Graves' sum, arXiv 1603.08983.
    """

    accumulated: bool = False
    reads = Reads.HALTING
    mixes = True

    def __call__(self, visit: Visit, memory: Any) -> Decision:
        one = visit.kind(1)
        total, output = memory or (visit.kind(0), np.zeros_like(visit.state))
        reached = total + visit.unit
        exits = bool(reached > visit.kind(self.threshold))
        weight = one - total if exits else visit.unit
        kept = output if self.accumulated else (one - weight) * output
        output = weight * visit.state + kept
        return Decision(exits, reached, (reached, output), output)


# --- Rules of logits --------------------------------------------------------------------------------------------------


class Confidence(Rule):
    """`confidence`: max softmax(logits) >= threshold. First visit: as any.

    Threshold: none by default; at 1 a row exits where the largest probability rounds to 1. Source: arXiv 2004.07453.
    """

    reads = Reads.LOGITS

    def __call__(self, visit: Visit, memory: Any) -> Decision:
        value = np.max(softmax(visit.logits))
        return Decision(bool(value >= visit.kind(self.threshold)), value)


class Margin(Rule):
    """`margin`: largest minus second largest of softmax(logits) >= threshold. First visit: as any.

    Threshold: none by default. Source: arXiv 2207.07061, which calls it softmax response.
    """

    reads = Reads.LOGITS

    def __call__(self, visit: Visit, memory: Any) -> Decision:
        second, first = np.partition(softmax(visit.logits), -2)[-2:]
        return Decision(bool(first - second >= visit.kind(self.threshold)), first - second)


class Kl(Rule):
    """`kl`: sum_v p_{r - 1}[v] * (log p_{r - 1}[v] - log p_r[v]) < threshold, strictly, with p = softmax(logits).

    First visit: p_{-1} is uniform. Default: 5e-4, as Huginn's paper; its code has 1e-3 for `auto`.
    """

    reads = Reads.LOGITS

    def __call__(self, visit: Visit, memory: Any) -> Decision:
        now = log_softmax(visit.logits)
        before = np.full_like(now, -math.log(len(now))) if memory is None else memory
        value = np.sum(np.exp(before) * (before - now))
        return Decision(bool(value < visit.kind(self.threshold)), value, now)


class EntropyDiff(Rule):
    """`entropy`: |H_r - H_{r - 1}| < threshold, strictly, with H = -sum_v p[v] * log p[v] and p = softmax(logits).

    First visit: H_{-1} = 100. Default: 1e-3. Source: Huginn's code, `entropy-diff`, which adds 1e-10 in the logarithm.
    """

    reads = Reads.LOGITS

    def __call__(self, visit: Visit, memory: Any) -> Decision:
        logs = log_softmax(visit.logits)
        now = -np.sum(np.exp(logs) * logs)
        value = abs(now - (visit.kind(_FIRST_ENTROPY) if memory is None else memory))
        return Decision(bool(value < visit.kind(self.threshold)), value, now)


class StableArgmax(Rule):
    """`stable-argmax`: n >= threshold, with n the times in a row that the argmax was that of the visit before.

    Of equal logits the first counts. First visit: n = 0, for there is no argmax before. A change sets n to 0. Default:
    5, so that the sixth visit is the first that can exit. Source: Huginn's code, `argmax-stability`.
    """

    reads = Reads.LOGITS

    def __call__(self, visit: Visit, memory: Any) -> Decision:
        before, count = memory or (-1, 0)
        now = int(np.argmax(visit.logits))
        count = count + 1 if now == before else 0
        return Decision(count >= self.threshold, count, (now, count))


def log_softmax(x: Array) -> Array:
    """Logarithm of softmax over the last axis."""
    shifted = x - np.max(x, axis=-1, keepdims=True)
    return shifted - np.log(np.sum(np.exp(shifted), axis=-1, keepdims=True))


# --- Rules of states --------------------------------------------------------------------------------------------------


class LatentDiff(Rule):
    """`latent-diff`: ||s_r - s_{r - 1}|| / ||s_r|| < threshold, strictly, with states as visits leave them.

    First visit: s_{-1} is what entered the loop. A state of zeros does not exit. Default: 0.03. Source: Huginn's code.
    """

    def __call__(self, visit: Visit, memory: Any) -> Decision:
        norm = np.linalg.norm(visit.state)
        value = np.linalg.norm(visit.state - visit.before) / norm if norm else math.inf
        return Decision(bool(value < visit.kind(self.threshold)), value)


class Cosine(Rule):
    """`cosine`: 1 - s_r . s_{r - 1} / (||s_r|| ||s_{r - 1}||) < threshold, strictly, with the states of `latent-diff`.

    First visit: s_{-1} is what entered the loop. States of zeros do not exit. Default: 1e-3. Source: Huginn's code.
    """

    def __call__(self, visit: Visit, memory: Any) -> Decision:
        norms = np.linalg.norm(visit.state) * np.linalg.norm(visit.before)
        value = visit.kind(1) - visit.state @ visit.before / norms if norms else math.inf
        return Decision(bool(value < visit.kind(self.threshold)), value)


# --- Names ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Range:
    """The thresholds that a rule takes."""

    text: str
    holds: Callable[[float], bool]


_POSITIVE = Range("a number above 0", lambda value: 0 < value < math.inf)
_SHARE = Range("a number above 0 and up to 1", lambda value: 0 < value <= 1)
_FINITE = Range("a finite number", math.isfinite)
_COUNT = Range("a whole number from 1", lambda value: value >= 1 and value.is_integer())
_NUMBER = Range("a whole number from 0", lambda value: value >= 0 and value.is_integer())


@dataclass(frozen=True)
class Entry:
    """A rule by its name: how it is made from a threshold, which ones it takes, and the one it has by default."""

    make: Callable[[float], Rule]
    range: Range
    default: float | None = None  # None: a threshold has to be given


RULES = {
    "gate": Entry(Gate, _POSITIVE),
    "router": Entry(Router, _FINITE, 0.0),
    "confidence": Entry(Confidence, _SHARE),
    "margin": Entry(Margin, _SHARE),
    "latent-diff": Entry(LatentDiff, _POSITIVE, 0.03),
    "kl": Entry(Kl, _POSITIVE, 5e-4),
    "entropy": Entry(EntropyDiff, _POSITIVE, 1e-3),
    "stable-argmax": Entry(StableArgmax, _COUNT, 5.0),
    "act": Entry(Act, _SHARE, 0.99),
    "act-accumulated": Entry(lambda threshold: Act(threshold, accumulated=True), _SHARE, 0.99),
    "cosine": Entry(Cosine, _POSITIVE, 1e-3),
    "gate-delayed": Entry(DelayedGate, _POSITIVE),
    "halt": Entry(Halt, _SHARE, 0.9),
    "halt-sum": Entry(HaltSum, _SHARE, 0.9),
    "step": Entry(Step, _NUMBER),
}


def parse(text: str) -> Rule:
    """From `none`, `NAME:THRESHOLD`, or `NAME` for its default threshold.

    Raises CheckpointError for other names, for thresholds outside the rule's range, and where one is missing.
    """
    if text == "none":
        return Never(math.nan)
    name, separator, value = text.partition(":")
    if name == "none":
        raise CheckpointError(f"exit rule 'none' takes no threshold, got '{value}'; write 'none'")
    if name not in RULES:
        raise CheckpointError(f"exit rule '{name}' is not known; known: none, {', '.join(RULES)}")
    entry = RULES[name]
    if not separator and entry.default is None:
        raise CheckpointError(
            f"exit rule '{name}' has no default threshold; write {name}:VALUE with {entry.range.text}"
        )
    try:
        threshold = float(value) if separator else entry.default
    except ValueError:
        threshold = math.nan
    if not entry.range.holds(threshold):
        raise CheckpointError(f"exit rule '{name}' takes {entry.range.text}, got '{value}'")
    return entry.make(threshold)
