# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Huginn (Raven): a core of layers that runs any number of times between a prelude and a coda.

    e = prelude(embedding[tokens] * embed_scale)
    s = initial state
    R times:  s = core(adapter([s, e]))
    logits = head(norm(coda(norm(s))))            # both times the same norm

A layer norms its sums: h = norm2(o(attend(...)) + h) from norm1(h); h = norm4(mlp(norm3(h)) + h). Rope turns pairs of
neighbours. The authors draw the initial state anew in each run; here it is
zero, given, or a function of a seed and the position (`initial_state.py`).

KV slots: the prelude has the first, each execution of the core its own, the coda the last. With `shared_slots` n, the
authors' `compress-s<n>`, an execution with index i > 1 of prelude and core uses slot (i - 2) mod n + 2 instead and
overwrites what a visit before left there: then chunks of a prompt and the whole of it are not the same any more.

Source: arXiv 2502.05171; `raven_modeling_minimal.py` in github.com/seal-rg/recurrent-pretraining.
"""

from __future__ import annotations

import copy
import dataclasses
import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rondo.reference.checkpoint import Checkpoint
from rondo.reference.config import check_keys, need, stop_tokens
from rondo.reference.decoder import Cache, Decoder, Shape, Trace, Weights
from rondo.reference.errors import CheckpointError
from rondo.reference.initial_state import Given, InitialState, Seeded
from rondo.reference.inputs import Inputs
from rondo.reference.layers import Array, Linear, Rope, rotate_neighbours, silu
from rondo.reference.parts import Attention, GatedMlp, Layer, RmsNorm, sandwich_sum
from rondo.reference.schedule import EndVisit, Norm, Run, Step, slots

# Keys that this file reads.
_READ_KEYS = {
    "model_type", "vocab_size", "padded_vocab_size", "n_embd", "intermediate_size", "n_layers", "n_layers_in_prelude",
    "n_layers_in_recurrent_block", "n_layers_in_coda", "n_heads", "num_attention_heads", "num_key_value_heads",
    "head_dim", "block_size", "norm_eps", "rope_base", "qk_bias", "tie_embeddings", "mean_recurrence", "init_values",
    "eos_token_id",
}  # fmt: skip
# Keys of training. `tie_word_embeddings` repeats `tie_embeddings`; the type of noise means nothing without noise.
_INERT_KEYS = {
    "activation_checkpoint_impl", "effective_expected_depth", "init_orthogonal", "init_strategy",
    "mean_backprop_depth", "padding_multiple", "sampling_scheme", "test_time_noise_type", "tie_word_embeddings",
}  # fmt: skip
# Keys that name parts, and the only value that is known here.
_PARTS = {
    "architecture_class_name": "RecurrentGPT",
    "block_class_name": "SandwichBlock",
    "injection_type": "linear",
    "mlp_class_name": "GatedMLP",
    "nonlin_name": "SiLU",
    "norm_class_name": "RMSNorm_llama",
    "state_init": "like-init",
}
# What the authors' class takes where the configuration of the release says nothing.
_ROPE_BASE = 50000
# Angles are at most `block_size` radians, so that cosines computed in float32 elsewhere differ by about this much.
_ROPE_TABLE_TOLERANCE = 1e-3


@dataclass(frozen=True)
class Counts:
    """Numbers of stored layers."""

    prelude: int
    core: int
    coda: int


class Huginn(Decoder):
    """A decoder with a core that runs `num_steps` times from an initial state."""

    takes = frozenset({"num_steps", "initial_state"})

    def __init__(
        self,
        shape: Shape,
        weights: Weights,
        rope: Rope,
        counts: Counts,
        adapter: Linear,
        num_steps: int,
        initial_state: InitialState,
        deviation: float,
        stop_tokens: Sequence[int],
    ) -> None:
        """`adapter` is [d, 2 d], state columns first; `deviation` is that of a random initial state."""
        super().__init__(shape, weights, rope, (), stop_tokens)
        self.counts = counts
        self.adapter = adapter
        self.initial_state = initial_state
        self.deviation = deviation
        self._set_steps(num_steps, None)

    def _set_steps(self, num_steps: int, shared_slots: int | None) -> None:
        for name, value in (("num_steps", num_steps), ("shared_slots", shared_slots)):
            if value is not None and value < 1:
                raise CheckpointError(f"'{name}' must be at least 1, got {value}")
        self.num_steps, self.shared_slots = num_steps, shared_slots
        self.prelude, self.visits, self.coda = segments(self.counts, num_steps, shared_slots)
        self.schedule = (*self.prelude, *itertools.chain(*self.visits), Norm(), *self.coda)

    def with_steps(self, num_steps: int, shared_slots: int | None = None) -> Huginn:
        """The same model with `num_steps` visits of its core, in `shared_slots` KV slots if that is given."""
        other = copy.copy(self)
        other._set_steps(num_steps, shared_slots)
        return other

    def with_initial_state(self, state: InitialState) -> Huginn:
        """The same model with another initial state."""
        other = copy.copy(self)
        other.initial_state = state
        return other

    def prepared(self, inputs: Inputs) -> Huginn:
        """With the inputs' initial state and the largest of their numbers of steps."""
        inputs.check(self.takes)
        model = self
        if inputs.initial_state is not None:
            if inputs.initial_state.ndim != 2 or inputs.initial_state.shape[1] != self.shape.hidden:
                raise CheckpointError(
                    f"initial_state has shape {list(inputs.initial_state.shape)}, "
                    f"expected [positions, {self.shape.hidden}]"
                )
            model = model.with_initial_state(Given(inputs.initial_state))
        return model.with_steps(max(inputs.num_steps), self.shared_slots) if inputs.num_steps else model

    def outputs(self, inputs: Inputs, number: int, trace: Trace | None = None) -> Trace:
        """As in Decoder; traces `logits_at_steps.<n>` and `latent_at_steps.<n>` for each of the inputs' `num_steps`."""
        if trace is not None:
            for steps in inputs.num_steps:
                record: Trace = {}
                logits = self.with_steps(steps, self.shared_slots).logits(inputs.sequences[number], record)
                trace[f"logits_at_steps.{steps}"] = logits
                trace[f"latent_at_steps.{steps}"] = record["latent"]
        return super().outputs(inputs, number, trace)

    def states(self, tokens: Sequence[int], cache: Cache, trace: Trace | None = None) -> Array:
        """As in Decoder. Traces `hidden.<visit>`, the state after each visit, and `latent`, the last one normed."""
        call = self._begin(tokens, cache, trace)
        injected = self._through(self.prelude, self._embed(tokens, call), call)
        state = self.initial_state(call.positions, self.dtype)
        for visit in self.visits:
            state = self._through(visit, self.adapter(np.concatenate([state, injected], axis=-1)), call)
        call.trace["latent"] = self.weights.final_norm(state)
        return self._end(self._through(self.coda, call.trace["latent"], call), call)

    def _check(self, tokens: Sequence[int], cache: Cache) -> None:
        super()._check(tokens, cache)
        end = cache.length + len(tokens)
        if end > self.shape.context:
            raise CheckpointError(f"{end} positions do not fit the context of {self.shape.context}; run fewer tokens")


def segments(
    counts: Counts, num_steps: int, shared_slots: int | None = None
) -> tuple[tuple[Step, ...], list[tuple[Step, ...]], tuple[Step, ...]]:
    """Steps of the prelude, of each visit of the core, and of the coda with its norm.

    Layers are numbered through prelude, core and coda as they are stored.
    """

    def slot(index: int) -> int:
        return index if shared_slots is None or index < 2 else (index - 2) % shared_slots + 2

    first_coda = counts.prelude + counts.core
    prelude = tuple(Run(layer, slot(layer)) for layer in range(counts.prelude))
    visits = []
    for visit in range(num_steps):
        runs = [Run(layer, slot(layer + visit * counts.core)) for layer in range(counts.prelude, first_coda)]
        visits.append((*runs, EndVisit(visit)))
    free = slots([*prelude, *itertools.chain(*visits)])
    coda = tuple(Run(first_coda + place, free + place) for place in range(counts.coda))
    return prelude, visits, (*coda, Norm())


def build(checkpoint: Checkpoint, dtype: np.dtype) -> Huginn:
    """A Huginn model from a checkpoint, with states from seed 0 and the checkpoint's mean number of steps."""
    config = checkpoint.config
    _check(config)
    counts = Counts(*(need(config, f"n_layers_in_{part}") for part in ("prelude", "recurrent_block", "coda")))
    sizes = _shape(config, counts)
    scale, deviation = _initial_values(config, sizes.hidden)
    rope = _rope(checkpoint, sizes)
    adapter = checkpoint.linear("transformer.adapter", sizes.hidden, 2 * sizes.hidden, dtype)
    weights = _weights(checkpoint, sizes, counts, scale, dtype)
    state = Seeded(0, sizes.hidden, deviation)
    steps = need(config, "mean_recurrence")
    return Huginn(sizes, weights, rope, counts, adapter, steps, state, deviation, stop_tokens(config))


def _check(config: Mapping[str, Any]) -> None:
    check_keys(config, _READ_KEYS | _INERT_KEYS | _PARTS.keys())
    for key, known in _PARTS.items():
        if config.get(key, known) != known:
            raise CheckpointError(f"'{key}' {config[key]!r} is not supported; known: {known}")


def _shape(config: Mapping[str, Any], counts: Counts) -> Shape:
    hidden, heads = need(config, "n_embd"), need(config, "n_heads")
    layers = counts.prelude + counts.core + counts.coda
    for key, value in (("n_layers", layers), ("num_attention_heads", heads), ("head_dim", hidden // heads)):
        if config.get(key, value) != value:
            raise CheckpointError(f"'{key}' is {config[key]}, but other keys say {value}; one of them is wrong")
    if hidden % heads or hidden // heads % 2:
        raise CheckpointError(f"n_embd {hidden} must be an even multiple of n_heads {heads}")
    return Shape(
        vocabulary=config.get("padded_vocab_size") or need(config, "vocab_size"),
        hidden=hidden,
        layers=layers,
        heads=heads,
        kv_heads=config.get("num_key_value_heads") or heads,
        head_dim=hidden // heads,
        context=need(config, "block_size"),
    )


def _initial_values(config: Mapping[str, Any], hidden: int) -> tuple[float, float]:
    """Scale of the embedding, and deviation of a random state: both are scaled alike."""
    values = config.get("init_values") or {}
    scale = values.get("embed_scale", math.sqrt(hidden))
    return scale, scale * values.get("std", math.sqrt(2 / (5 * hidden)))


def _rope(checkpoint: Checkpoint, sizes: Shape) -> Rope:
    """From the base; a table that the checkpoint stores must be the same but for rounding."""
    rope = Rope(checkpoint.config.get("rope_base") or _ROPE_BASE)
    if "freqs_cis" in checkpoint:
        kind = np.dtype(np.float64)
        stored = checkpoint.take("freqs_cis", (1, sizes.context, 1, sizes.head_dim // 2, 2), kind)[0]
        computed = np.stack(rope.tables(np.arange(sizes.context), sizes.head_dim, kind), axis=-1)
        if not np.max(np.abs(stored - computed)) <= _ROPE_TABLE_TOLERANCE:
            raise CheckpointError(f"'freqs_cis' is not the table of 'rope_base' {rope.theta}; one of them is wrong")
    return rope


def _weights(checkpoint: Checkpoint, sizes: Shape, counts: Counts, scale: float, dtype: np.dtype) -> Weights:
    table = (sizes.vocabulary, sizes.hidden)
    embedding = checkpoint.take("transformer.wte.weight", table, dtype)
    head = embedding
    tied = need(checkpoint.config, "tie_embeddings")
    if not tied or "lm_head.weight" in checkpoint:
        head = checkpoint.take("lm_head.weight", table, dtype)
    if tied and not np.array_equal(head, embedding):
        raise CheckpointError("'tie_embeddings' is set, but 'lm_head.weight' differs from the embedding")
    stored = (("prelude", counts.prelude), ("core_block", counts.core), ("coda", counts.coda))
    prefixes = [f"transformer.{part}.{index}." for part, count in stored for index in range(count)]
    layers = tuple(_layer(checkpoint, sizes, prefix, dtype) for prefix in prefixes)
    final_norm = _norm(checkpoint, "transformer.ln_f", sizes, dtype)
    checkpoint.finish()
    return Weights(embedding, layers, final_norm, head, embedding_scale=scale)


def _norm(checkpoint: Checkpoint, name: str, sizes: Shape, dtype: np.dtype) -> RmsNorm:
    return RmsNorm(checkpoint.take(f"{name}.weight", (sizes.hidden,), dtype), need(checkpoint.config, "norm_eps"))


def _layer(checkpoint: Checkpoint, sizes: Shape, prefix: str, dtype: np.dtype) -> Layer:
    hidden, width = sizes.hidden, need(checkpoint.config, "intermediate_size")
    fused = checkpoint.linear(f"{prefix}mlp.fc", 2 * width, hidden, dtype)
    return Layer(
        order=sandwich_sum,
        norms=tuple(_norm(checkpoint, f"{prefix}norm_{number}", sizes, dtype) for number in range(1, 5)),
        attention=_attention(checkpoint, sizes, f"{prefix}attn.", dtype),
        mlp=GatedMlp(
            gate=fused.rows(np.arange(width)),
            up=fused.rows(np.arange(width, 2 * width)),
            down=checkpoint.linear(f"{prefix}mlp.proj", hidden, width, dtype),
            activation=silu,
        ),
    )


def _attention(checkpoint: Checkpoint, sizes: Shape, prefix: str, dtype: np.dtype) -> Attention:
    hidden, query, key_value = sizes.hidden, sizes.heads * sizes.head_dim, sizes.kv_heads * sizes.head_dim
    fused = checkpoint.linear(f"{prefix}Wqkv", query + 2 * key_value, hidden, dtype)
    ends = np.cumsum([0, query, key_value, key_value])
    q, k, v = (fused.rows(np.arange(first, end)) for first, end in itertools.pairwise(ends))
    if checkpoint.config.get("qk_bias", True):  # of each head, in front of rope
        biases = checkpoint.take(f"{prefix}qk_bias", (2, 1, sizes.heads, sizes.head_dim), dtype)
        q, k = (dataclasses.replace(part, bias=bias.reshape(-1)) for part, bias in zip((q, k), biases, strict=True))
    o = checkpoint.linear(f"{prefix}proj", hidden, query, dtype)
    return Attention(q, k, v, o, sizes.head_dim, turn=rotate_neighbours)
