# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Recursive decoders: layers that share their weights over depth, with low-rank deltas and norms of their own by depth.

    for unrolled layer l, which runs stored layer j at depth r (`sharing.py`):
        every linear of j:   y = W_j x + scale * B_{j,r} A_{j,r} x
    KV slot of l: l

Here, the recursive folder that `rondo convert recursive` writes (docs/RecursiveFolder.md); `rrt_folder.py` reads what
the authors' training code writes. Both become an unrolled checkpoint of the family, whose own file builds the layers.

Source: arXiv 2410.20672.
"""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from rondo.reference import gemma, gpt_neox, llama
from rondo.reference.checkpoint import Checkpoint
from rondo.reference.config import need
from rondo.reference.decoder import Cache, Decoder, Trace, Weights
from rondo.reference.errors import CheckpointError
from rondo.reference.inputs import Inputs
from rondo.reference.layers import Array
from rondo.reference.parts import Place
from rondo.reference.schedule import EndVisit, Norm, Run, Step
from rondo.reference.sharing import Sharing

FORMAT_VERSION = 1
_KEYS = {"format_version", "sharing", "num_recursion", "norms", "initialization", "lora"}
_LORA_KEYS = {"rank", "scale", "targets"}
PREFIX = "recursive_"
_BUILDERS = {"llama": llama.build, "gemma": gemma.build, "gpt_neox": gpt_neox.build}
# <layers>.<stored layer>.<module>[.lora_A or .lora_B][.<depth>].<field>
_LAYER_TENSOR = re.compile(
    r"(?P<layers>.+?\.layers)\.(?P<layer>\d+)\.(?P<module>.+?)(\.(?P<factor>lora_[AB]))?(\.(?P<depth>\d+))?"
    r"\.(?P<field>weight|bias)"
)

Reader = Callable[[], Array]


class RecursiveDecoder(Decoder):
    """A decoder whose unrolled layers share weights.

    Its schedule counts unrolled layers. Where there are a first and a last layer of their own, traces hold what they
    leave as `prelude` and `coda`, and `layer.<e>` counts the executions of the block alone.
    `unshared_kv` is the same model with a KV slot for each unrolled layer, if this one shares slots: the authors' code
    computes that other function where it keeps no cache.
    """

    def __init__(self, base: Decoder, sharing: Sharing, shares_kv: bool = False) -> None:
        super().__init__(base.shape, base.weights, base.rope, schedule(sharing, shares_kv), base.stop_tokens)
        self.sharing = sharing
        self.unshared_kv = RecursiveDecoder(base, sharing) if shares_kv else None

    def states(self, tokens: Sequence[int], cache: Cache, trace: Trace | None = None) -> Array:
        """As Decoder.states."""
        result = super().states(tokens, cache, trace)
        if trace is not None and self.sharing.edges:
            layers = [trace.pop(f"layer.{execution}") for execution in range(self.sharing.layers)]
            trace["prelude"], *block, trace["coda"] = layers
            trace |= {f"layer.{execution}": state for execution, state in enumerate(block)}
        return result

    def outputs(self, inputs: Inputs, number: int, trace: Trace | None = None) -> Trace:
        """`logits` [N, V]; with shared KV slots also `nocache_logits`, of `unshared_kv`."""
        found = super().outputs(inputs, number, trace)
        if self.unshared_kv:
            found["nocache_logits"] = self.unshared_kv.logits(inputs.sequences[number])
        return found


def schedule(sharing: Sharing, shares_kv: bool) -> tuple[Step, ...]:
    """Unrolled layers in order, each with a KV slot of its own or, with `shares_kv`, that of its stored layer.

    A shared slot is written at depth 0 and only read at the others. A visit ends where the whole block has run.
    """
    steps: list[Step] = []
    for unrolled in range(sharing.layers):
        place = sharing.place(unrolled)
        if shares_kv:
            steps.append(Run(unrolled, place.layer, place.depth in (None, 0)))
        else:
            steps.append(Run(unrolled, unrolled))
        if sharing.is_cycle and place.depth is not None and place.layer == sharing.edges + sharing.block - 1:
            steps.append(EndVisit(place.depth))
    return (*steps, Norm())


@dataclasses.dataclass(frozen=True)
class Scaled:
    """A layer whose output is multiplied by a vector [d]: the recursion encoding."""

    layer: Callable[[Array, Place], Array]
    vector: Array

    def __call__(self, x: Array, place: Place) -> Array:
        return self.layer(x, place) * self.vector


def scaled_layers(weights: Weights, vectors: Mapping[int, Array]) -> Weights:
    """The weights with the outputs of some layers multiplied by vectors."""
    layers = tuple(
        Scaled(layer, vectors[index]) if index in vectors else layer for index, layer in enumerate(weights.layers)
    )
    return dataclasses.replace(weights, layers=layers)


# --- The recursive folder ---------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Description:
    """The object `recursive` of config.json."""

    sharing: Sharing
    norms_by_depth: bool
    scale: float  # of deltas
    rank: int  # 0: no deltas
    targets: frozenset[str]  # last parts of the names of modules


def is_recursive(config: Mapping[str, Any]) -> bool:
    """Whether a configuration is that of a recursive folder."""
    return str(config.get("model_type")).startswith(PREFIX)


def build(checkpoint: Checkpoint, dtype: np.dtype) -> RecursiveDecoder:
    """A model from a recursive folder. Raises CheckpointError for what the format does not have."""
    family = checkpoint.config["model_type"].removeprefix(PREFIX)
    if family not in _BUILDERS:
        raise CheckpointError(f"'{PREFIX}{family}' is not supported; known: {', '.join(PREFIX + f for f in _BUILDERS)}")
    description = describe(checkpoint.config)
    readers, deltas = unroll(checkpoint, description)
    config = {key: value for key, value in checkpoint.config.items() if key != "recursive"} | {"model_type": family}
    unrolled = Checkpoint(checkpoint.name, config, readers, dict.fromkeys(deltas, description.scale))
    return RecursiveDecoder(_BUILDERS[family](unrolled, dtype), description.sharing)


def describe(config: Mapping[str, Any]) -> Description:
    """The object `recursive` of a configuration. Raises CheckpointError for what the format does not have."""
    content = need(config, "recursive")
    _check_object("recursive", content, _KEYS)
    version, norms, visits = content["format_version"], content["norms"], content["num_recursion"]
    if version != FORMAT_VERSION:
        raise CheckpointError(
            f"'recursive.format_version' is {version!r}, known: {FORMAT_VERSION}; convert the model again"
        )
    if norms not in ("shared", "per-depth"):
        raise CheckpointError(f"'recursive.norms' is {norms!r}, expected shared or per-depth")
    if not isinstance(content["initialization"], str):
        raise CheckpointError(f"'recursive.initialization' is {content['initialization']!r}, expected a text")
    if type(visits) is not int:
        raise CheckpointError(f"'recursive.num_recursion' is {visits!r}, expected a number of visits")
    sharing = Sharing(content["sharing"], need(config, "num_hidden_layers"), visits)
    return Description(sharing, norms == "per-depth", *_describe_lora(content["lora"]))


def _describe_lora(content: Any) -> tuple[float, int, frozenset[str]]:
    """Scale, rank and targets of deltas; rank 0 if there are none."""
    if content is None:
        return 1.0, 0, frozenset()
    _check_object("recursive.lora", content, _LORA_KEYS)
    rank, scale, targets = content["rank"], content["scale"], content["targets"]
    if type(rank) is not int or rank < 1:
        raise CheckpointError(f"'recursive.lora.rank' is {rank!r}, expected at least 1")
    if type(scale) not in (int, float):
        raise CheckpointError(f"'recursive.lora.scale' is {scale!r}, expected a number")
    if not isinstance(targets, list) or not all(isinstance(name, str) for name in targets):
        raise CheckpointError(f"'recursive.lora.targets' is {targets!r}, expected a list of names of modules")
    return float(scale), rank, frozenset(targets)


def _check_object(name: str, content: Any, keys: set[str]) -> None:
    if not isinstance(content, dict):
        raise CheckpointError(f"'{name}' is {content!r}, expected an object with the keys {', '.join(sorted(keys))}")
    for key in sorted(keys ^ content.keys()):
        what = "is missing" if key in keys else "is not known"
        raise CheckpointError(f"'{name}.{key}' {what}; expected the keys {', '.join(sorted(keys))}")


def unroll(checkpoint: Checkpoint, description: Description) -> tuple[dict[str, Reader], set[str]]:
    """Readers under the names of the unrolled model, each weight read once, and the linears that have deltas.

    Raises CheckpointError for names, depths and ranks that the description does not allow.
    """
    readers: dict[str, Reader] = {}
    factors: dict[str, set[str]] = {}  # linear -> which factors it has
    for name, reader in checkpoint.readers.items():
        match = _LAYER_TENSOR.fullmatch(name)
        if not match:
            readers[name] = reader
            continue
        once = functools.cache(reader)
        for unrolled in _unrolled_layers(name, match, description):
            linear = f"{match['layers']}.{unrolled}.{match['module']}"
            if match["factor"]:
                factors.setdefault(linear, set()).add(match["factor"])
                _check_rank(name, match, reader(), description)
                readers[f"{linear}.{match['factor']}.weight"] = once
            else:
                readers[f"{linear}.{match['field']}"] = once
    for linear, found in factors.items():
        if len(found) == 1:
            lacking = ({"lora_A", "lora_B"} - found).pop()
            raise CheckpointError(
                f"unrolled linear '{linear}' has '{found.pop()}' but not '{lacking}'; expected both or none"
            )
    return readers, set(factors)


def _unrolled_layers(name: str, match: re.Match[str], description: Description) -> tuple[int, ...]:
    """The unrolled layers that a stored tensor is for."""
    sharing, layer = description.sharing, int(match["layer"])
    if layer >= sharing.stored:
        raise CheckpointError(f"tensor '{name}' is of stored layer {layer}, but there are {sharing.stored}")
    group = sharing.group(layer)
    inner = sharing.place(group[0]).depth is not None
    is_norm = match["module"].endswith("layernorm")
    varies = inner and (match["factor"] is not None or (is_norm and description.norms_by_depth))
    if varies and match["depth"] is None:
        raise CheckpointError(
            f"tensor '{name}' names no depth; expected 0 to {sharing.visits - 1} before the last part"
        )
    if not varies and (match["depth"] or match["factor"]):
        raise CheckpointError(
            f"tensor '{name}' varies with depth, which it may not under the 'recursive' of config.json"
        )
    if match["factor"] and match["module"].rpartition(".")[2] not in description.targets:
        raise CheckpointError(f"tensor '{name}' is of a module that 'recursive.lora.targets' does not name")
    if match["depth"] is None:
        return group
    if int(match["depth"]) >= sharing.visits:
        raise CheckpointError(f"tensor '{name}' is of depth {match['depth']}, but there are {sharing.visits} visits")
    return (group[int(match["depth"])],)


def _check_rank(name: str, match: re.Match[str], factor: Array, description: Description) -> None:
    rank = factor.shape[0 if match["factor"] == "lora_A" else -1]
    if not 1 <= rank <= description.rank:
        raise CheckpointError(
            f"tensor '{name}' has rank {rank}, expected 1 to the {description.rank} of 'recursive.lora'"
        )
