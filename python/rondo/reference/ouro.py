# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Ouro: the whole stack visited several times, with the final norm in the loop and a gate that says where to exit.

    h = embedding[tokens]
    R times:  for each layer:  h += norm2(o(attend(...)))  from norm1(h);  h += norm4(mlp(norm3(h)))
              h = norm(h);  g[r] = gate(h)                 # KV slot = r * layers + layer; the next visit starts from h
    p[r] = sigmoid(g[r]) * (1 - p[0] - .. - p[r - 1]);     p[R - 1] = the rest
    logits = head(h of the visit where the exit rule stops)

All visits always run and leave keys and values: the rule only chooses, for each position, whose state is read.

Source: arXiv 2510.25741; `modeling_ouro.py` of the ByteDance/Ouro releases. There the threshold is compared in the type
of the model, so that a gate of exactly 1 exits at threshold 1.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rondo.reference import llama
from rondo.reference.checkpoint import Checkpoint
from rondo.reference.config import activation, check_keys, need, rope, stop_tokens
from rondo.reference.decoder import Cache, Decoder, Shape, Trace, Weights
from rondo.reference.errors import CheckpointError
from rondo.reference.inputs import Inputs
from rondo.reference.layers import Array, Linear, sigmoid
from rondo.reference.parts import Layer, sandwich_branch
from rondo.reference.schedule import EndVisit, Norm, Run, Step

# Keys that this file reads, beside Llama's; Ouro has no biases.
_READ_KEYS = (llama.KNOWN_KEYS - {"attention_bias", "mlp_bias"}) | {
    "total_ut_steps", "early_exit_threshold", "early_exit_step", "layer_types",
}  # fmt: skip
# Without effect while `use_sliding_window` is off; how training cut its loss; a switch that only a call can give.
_INERT_KEYS = {"max_window_layers", "sliding_window", "chunk_size", "use_weighted_exit"}
_NORMS = ("input_layernorm", "input_layernorm_2", "post_attention_layernorm", "post_attention_layernorm_2")


@dataclass(frozen=True)
class ExitRule:
    """Which state is read out at each position.

    `none`: that of the last visit; `step`: that of visit `value`; `gate`: that of the first visit where the exit
    distribution adds up to `value` or more, else the last; `weighted`: the mean of all under the exit distribution.
    """

    kind: str
    value: float = 0.0

    @staticmethod
    def parse(text: str) -> ExitRule:
        """From `none`, `step:VISIT`, `gate:THRESHOLD` or `weighted`."""
        kind, _, value = text.partition(":")
        try:
            if kind in ("none", "weighted") and not value:
                return ExitRule(kind)
            if kind == "step":
                return ExitRule(kind, int(value))
            if kind == "gate":
                return ExitRule(kind, float(value))
        except ValueError:
            pass
        raise CheckpointError(f"expected none, step:VISIT, gate:THRESHOLD or weighted for an exit rule, got '{text}'")


class Ouro(Decoder):
    """A decoder whose visits each offer a state to read out."""

    takes = frozenset({"thresholds"})

    def __init__(
        self,
        shape: Shape,
        weights: Weights,
        rope: llama.Rope,
        visits: int,
        gate: Linear,
        rule: ExitRule,
        stop_tokens: Sequence[int],
    ) -> None:
        super().__init__(shape, weights, rope, schedule(shape.layers, visits), stop_tokens)
        self.visits = visits
        self.gate = gate
        self.rule = rule

    def with_exit(self, rule: ExitRule) -> Ouro:
        """The same model with another exit rule. Raises CheckpointError for a visit that is not made."""
        _check_rule(rule, self.visits)
        other = copy.copy(self)
        other.rule = rule
        return other

    def states(self, tokens: Sequence[int], cache: Cache, trace: Trace | None = None) -> Array:
        """As in Decoder: the states that the exit rule chooses [N, d].

        Traces `exit.<visit>`, the gate before the sigmoid [N]; `exit_pdf`, the exit distribution [N, R]; `depth`, the
        visit that is read out [N], -1 where that is a mean.
        """
        record = {} if trace is None else trace
        super().states(tokens, cache, record)
        visits = self._visits(record)
        gates = [self.gate(state)[:, 0] for state in visits]
        record |= {f"exit.{visit}": gate for visit, gate in enumerate(gates)}
        record["exit_pdf"] = exit_distribution(gates)
        record["final"], record["depth"] = read_out(visits, record["exit_pdf"], self.rule)
        return record["final"]

    def outputs(self, inputs: Inputs, number: int, trace: Trace | None = None) -> Trace:
        """As in Decoder; traces what the other exit rules would give, too."""
        record = {} if trace is None else trace
        logits = super().outputs(inputs, number, record)
        if trace is not None:
            self._trace_rules(record, inputs.thresholds)
        return logits

    def _trace_rules(self, record: Trace, thresholds: Sequence[float]) -> None:
        visits, distribution = self._visits(record), record["exit_pdf"]
        for visit, state in enumerate(visits):
            record[f"logits_at_step.{visit}"] = self.head(state)
        record["logits_weighted"] = self.head(read_out(visits, distribution, ExitRule("weighted"))[0])
        for threshold in thresholds:
            state, depth = read_out(visits, distribution, ExitRule("gate", threshold))
            record[f"logits_threshold.{threshold}"] = self.head(state)
            record[f"depth_threshold.{threshold}"] = depth

    def _visits(self, record: Trace) -> list[Array]:
        return [record[f"hidden.{visit}"] for visit in range(self.visits)]


def exit_distribution(gates: Sequence[Array]) -> Array:
    """Probability of exiting at each visit [N, R], from the gates of R visits before their sigmoid, each [N].

    The last gate is not used: what is left exits there. Source: arXiv 2510.25741, section 3.
    """
    left = np.ones_like(gates[0])
    parts = []
    for gate in gates[:-1]:
        hazard = sigmoid(gate)
        parts.append(hazard * left)
        left = left * (1 - hazard)
    return np.stack([*parts, left], axis=-1)


def read_out(visits: Sequence[Array], distribution: Array, rule: ExitRule) -> tuple[Array, NDArray[np.int64]]:
    """States [N, d] that a rule chooses among those of R visits, and the visits they are of [N] (-1: a mean).

    The authors' code mixes logits under `weighted`; the head is linear, so mixing the states is the same.
    """
    if rule.kind == "weighted":
        mixed = sum(distribution[:, visit, None] * state for visit, state in enumerate(visits))
        return mixed, np.full(len(mixed), -1)
    depth = exit_visits(distribution, rule)
    return np.stack(visits)[depth, np.arange(len(depth))], depth


def exit_visits(distribution: Array, rule: ExitRule) -> NDArray[np.int64]:
    """The visit where each position exits [N], under any rule but `weighted`."""
    rows, visits = distribution.shape
    if rule.kind == "step":
        return np.full(rows, int(rule.value))
    last = np.full(rows, visits - 1)
    if rule.kind == "none":
        return last
    reached = np.cumsum(distribution, axis=1) >= distribution.dtype.type(rule.value)
    return np.where(reached.any(axis=1), reached.argmax(axis=1), last)


def build(checkpoint: Checkpoint, dtype: np.dtype) -> Ouro:
    """An Ouro model from a checkpoint."""
    config = checkpoint.config
    check_keys(config, _READ_KEYS | _INERT_KEYS)
    if any(kind != "full_attention" for kind in config.get("layer_types") or []):
        raise CheckpointError("'layer_types' other than full_attention are not supported")
    for key in ("head_dim", "tie_word_embeddings"):  # whose defaults would be silently wrong
        need(config, key)
    visits = need(config, "total_ut_steps")
    if visits < 1:
        raise CheckpointError(f"'total_ut_steps' must be at least 1, got {visits}")
    sizes = llama.shape(config)
    gate = checkpoint.linear("model.early_exit_gate", 1, sizes.hidden, dtype, biased=True)
    weights = llama.weights(checkpoint, sizes, dtype, _layer)
    return Ouro(sizes, weights, rope(config), visits, gate, _rule(config, visits), stop_tokens(config))


def schedule(layers: int, visits: int) -> tuple[Step, ...]:
    """All layers and the final norm, `visits` times; every execution owns a KV slot."""
    steps: list[Step] = []
    for visit in range(visits):
        steps += [Run(layer, visit * layers + layer) for layer in range(layers)]
        steps += [Norm(), EndVisit(visit)]
    return tuple(steps)


def _rule(config: Mapping[str, Any], visits: int) -> ExitRule:
    """The configuration's own rule: a step, else a threshold, else the last visit."""
    rule = ExitRule("none")
    if config.get("early_exit_threshold") is not None:
        rule = ExitRule("gate", config["early_exit_threshold"])
    if config.get("early_exit_step") is not None:
        rule = ExitRule("step", config["early_exit_step"])
    _check_rule(rule, visits)
    return rule


def _check_rule(rule: ExitRule, visits: int) -> None:
    if rule.kind == "step" and not 0 <= rule.value < visits:
        raise CheckpointError(f"exit at visit {rule.value}, but there are visits 0 to {visits - 1} only")


def _layer(checkpoint: Checkpoint, sizes: Shape, index: int, dtype: np.dtype) -> Layer:
    prefix = f"model.layers.{index}."
    return Layer(
        order=sandwich_branch,
        norms=tuple(llama.norm(checkpoint, prefix + name, sizes.hidden, dtype) for name in _NORMS),
        attention=llama.attention(checkpoint, sizes, prefix, dtype),
        mlp=llama.mlp(checkpoint, sizes, prefix, dtype, activation(need(checkpoint.config, "hidden_act"), ["silu"])),
    )
