# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""ALBERT: an encoder whose layers are a few groups, each visited several times.

    e = norm(word[tokens] + type[token types] + position[0 .. N - 1])      # width E
    h = mapping(e)
    for visit in range(num_hidden_layers):  h = the layers of group int(visit / (num_hidden_layers / groups)) (h)
    layer(h):   a = norm(h + dense(attend(h)));  norm(a + ffn_output(act(ffn(a))))
    pooler_output = tanh(pooler(h[0]));  logits = word . norm(act(dense(h))) + bias

All positions see each other, and there are no keys and values to keep. A checkpoint with the head of the masked
language model gives `logits`, any other one `last_hidden_state`; both give `pooler_output` if there is a pooler.

Source: arXiv 1909.11942; transformers `models/albert/modeling_albert.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rondo.reference.checkpoint import Checkpoint
from rondo.reference.config import activation, check_keys, need
from rondo.reference.decoder import Trace
from rondo.reference.errors import CheckpointError
from rondo.reference.inputs import Inputs
from rondo.reference.layers import Array, Linear
from rondo.reference.parts import Activation, Attention, Layer, LayerNorm, Place, PlainMlp, post_norm

# Keys that this file reads.
_READ_KEYS = {
    "model_type", "vocab_size", "embedding_size", "hidden_size", "intermediate_size", "num_hidden_layers",
    "num_hidden_groups", "inner_group_num", "num_attention_heads", "hidden_act", "layer_norm_eps",
    "max_position_embeddings", "type_vocab_size", "tie_word_embeddings", "position_embedding_type",
}  # fmt: skip
# Keys of training, and of code that was never released.
_INERT_KEYS = {
    "attention_probs_dropout_prob", "classifier_dropout_prob", "down_scale_factor", "eos_token_id", "gap_size",
    "hidden_dropout_prob", "net_structure_type", "num_memory_blocks",
}  # fmt: skip
# A buffer of old releases: 0, 1, 2, ...
_IGNORED_SUFFIXES = ("embeddings.position_ids",)
# What the authors' class takes where the configuration of a release says nothing.
_EPS = 1e-12


@dataclass(frozen=True)
class Embedding:
    """The tables, each [.., E], their norm, and the mapping to the width of the layers [d, E]."""

    words: Array
    positions: Array
    types: Array
    norm: LayerNorm
    mapping: Linear


@dataclass(frozen=True)
class MaskedHead:
    """The head of the masked language model: its last product is with the word table [V, E]."""

    dense: Linear  # [E, d]
    activation: Activation
    norm: LayerNorm  # over E
    words: Linear  # [V, E]

    def __call__(self, x: Array) -> Array:
        """x [N, d] -> logits [N, V]."""
        return self.words(self.norm(self.activation(self.dense(x))))


class Albert:
    """Token ids in, logits or states out."""

    takes = frozenset({"token_type_ids"})

    def __init__(
        self,
        embedding: Embedding,
        groups: Sequence[Sequence[Layer]],
        visits: int,
        pooler: Linear | None,
        head: MaskedHead | None,
    ) -> None:
        self.embedding = embedding
        self.groups = tuple(tuple(group) for group in groups)
        self.visits = visits
        self.pooler = pooler
        self.head = head
        self.dtype = embedding.words.dtype

    def prepared(self, inputs: Inputs) -> Albert:
        """The model itself. Raises CheckpointError for inputs that it does not take."""
        inputs.check(self.takes)
        return self

    def outputs(self, inputs: Inputs, number: int, trace: Trace | None = None) -> Trace:
        """What the model says of sequence `number`: see the top of this file. `pooler_output` is [d].

        Traces `embedding`, `layer.<execution>` and `hidden.<visit>`, each [N, d].
        """
        tokens = inputs.sequences[number]
        types = inputs.token_type_ids[number] if inputs.token_type_ids else [0] * len(tokens)
        x = self.states(tokens, types, trace)
        found = {"last_hidden_state": x} if self.head is None else {"logits": self.head(x)}
        if self.pooler is not None:
            found["pooler_output"] = np.tanh(self.pooler(x[:1]))[0]
        return found

    def states(self, tokens: Sequence[int], types: Sequence[int], trace: Trace | None = None) -> Array:
        """States after the last visit [N, d] of tokens with their types.

        Raises CheckpointError for ids outside their tables and for more tokens than there are positions.
        """
        record = {} if trace is None else trace
        record["embedding"] = x = self._embed(tokens, types)
        executions = 0
        for visit in range(self.visits):
            for layer in self.groups[group_of(visit, self.visits, len(self.groups))]:
                x = layer(x, Place.alone(len(x), layer.attention, self.dtype))
                record[f"layer.{executions}"] = x
                executions += 1
            record[f"hidden.{visit}"] = x
        return x

    def _embed(self, tokens: Sequence[int], types: Sequence[int]) -> Array:
        tables = self.embedding
        if not 0 < len(tokens) <= len(tables.positions):
            raise CheckpointError(f"expected 1 to {len(tables.positions)} tokens in a sequence, got {len(tokens)}")
        for name, ids, table in (("token", tokens, tables.words), ("token type", types, tables.types)):
            for number in ids:
                if not 0 <= number < len(table):
                    raise CheckpointError(f"{name} {number} is outside its vocabulary of {len(table)}")
        e = tables.words[np.asarray(tokens)] + tables.types[np.asarray(types)] + tables.positions[: len(tokens)]
        return tables.mapping(tables.norm(e))


def group_of(visit: int, visits: int, groups: int) -> int:
    """The group that a visit runs. The division is one of floats: 5 groups share 12 visits as 3, 2, 3, 2, 2."""
    return int(visit / (visits / groups))


def build(checkpoint: Checkpoint, dtype: np.dtype) -> Albert:
    """An ALBERT from a checkpoint."""
    config = checkpoint.config
    _check(config)
    prefix = "albert." if "albert.embeddings.word_embeddings.weight" in checkpoint else ""
    loader = _Loader(checkpoint, dtype)
    embedding = _embedding(loader, prefix)
    groups = [
        [
            _layer(loader, f"{prefix}encoder.albert_layer_groups.{group}.albert_layers.{index}.")
            for index in range(need(config, "inner_group_num"))
        ]
        for group in range(need(config, "num_hidden_groups"))
    ]
    hidden = need(config, "hidden_size")
    pooler = loader.linear(f"{prefix}pooler", hidden, hidden) if f"{prefix}pooler.weight" in checkpoint else None
    head = _head(loader, embedding.words) if "predictions.bias" in checkpoint else None
    checkpoint.finish(_IGNORED_SUFFIXES)
    return Albert(embedding, groups, need(config, "num_hidden_layers"), pooler, head)


def _check(config: Mapping[str, Any]) -> None:
    check_keys(config, _READ_KEYS | _INERT_KEYS)
    if config.get("position_embedding_type", "absolute") != "absolute":
        raise CheckpointError(f"position embeddings '{config['position_embedding_type']}' are not supported")
    if not config.get("tie_word_embeddings", True):
        raise CheckpointError("'tie_word_embeddings' false is not supported: the head of ALBERT is the word table")
    visits, groups = need(config, "num_hidden_layers"), need(config, "num_hidden_groups")
    if not 1 <= groups <= visits:
        raise CheckpointError(f"{groups} layer groups cannot share {visits} visits; need 1 to {visits}")
    if need(config, "hidden_size") % need(config, "num_attention_heads"):
        raise CheckpointError(
            f"hidden_size {config['hidden_size']} is not a multiple of {config['num_attention_heads']} attention heads"
        )


@dataclass(frozen=True)
class _Loader:
    """Takes parts out of a checkpoint by their names; all linears have a bias."""

    checkpoint: Checkpoint
    dtype: np.dtype

    def size(self, key: str) -> int:
        return need(self.checkpoint.config, key)

    def table(self, name: str, rows: str) -> Array:
        return self.checkpoint.take(f"{name}.weight", (self.size(rows), self.size("embedding_size")), self.dtype)

    def linear(self, name: str, outputs: int, inputs: int) -> Linear:
        return self.checkpoint.linear(name, outputs, inputs, self.dtype, biased=True)

    def norm(self, name: str, width: int) -> LayerNorm:
        weight, bias = (self.checkpoint.take(f"{name}.{part}", (width,), self.dtype) for part in ("weight", "bias"))
        eps = self.checkpoint.config.get("layer_norm_eps")
        return LayerNorm(weight, bias, _EPS if eps is None else eps)

    def activation(self) -> Activation:
        return activation(need(self.checkpoint.config, "hidden_act"), ["gelu", "gelu_new", "gelu_pytorch_tanh", "relu"])


def _embedding(loader: _Loader, prefix: str) -> Embedding:
    width, hidden = loader.size("embedding_size"), loader.size("hidden_size")
    return Embedding(
        words=loader.table(f"{prefix}embeddings.word_embeddings", "vocab_size"),
        positions=loader.table(f"{prefix}embeddings.position_embeddings", "max_position_embeddings"),
        types=loader.table(f"{prefix}embeddings.token_type_embeddings", "type_vocab_size"),
        norm=loader.norm(f"{prefix}embeddings.LayerNorm", width),
        mapping=loader.linear(f"{prefix}encoder.embedding_hidden_mapping_in", hidden, width),
    )


def _layer(loader: _Loader, prefix: str) -> Layer:
    hidden, width = loader.size("hidden_size"), loader.size("intermediate_size")
    q, k, v, o = (
        loader.linear(f"{prefix}attention.{name}", hidden, hidden) for name in ("query", "key", "value", "dense")
    )
    return Layer(
        order=post_norm,
        norms=(
            loader.norm(f"{prefix}attention.LayerNorm", hidden),
            loader.norm(f"{prefix}full_layer_layer_norm", hidden),
        ),
        attention=Attention(q, k, v, o, hidden // loader.size("num_attention_heads"), turn=None, causal=False),
        mlp=PlainMlp(
            up=loader.linear(f"{prefix}ffn", width, hidden),
            down=loader.linear(f"{prefix}ffn_output", hidden, width),
            activation=loader.activation(),
        ),
    )


def _head(loader: _Loader, words: Array) -> MaskedHead:
    """The head; the product with the word table may be stored once more, with equal bits."""
    checkpoint = loader.checkpoint
    bias = checkpoint.take("predictions.bias", (len(words),), loader.dtype)
    for part, tied in (("weight", words), ("bias", bias)):
        name = f"predictions.decoder.{part}"
        if name in checkpoint and not np.array_equal(checkpoint.take(name, tied.shape, loader.dtype), tied):
            raise CheckpointError(f"'{name}' differs from what it is tied to")
    width = loader.size("embedding_size")
    return MaskedHead(
        dense=loader.linear("predictions.dense", width, loader.size("hidden_size")),
        activation=loader.activation(),
        norm=loader.norm("predictions.LayerNorm", width),
        words=Linear(words, bias),
    )
