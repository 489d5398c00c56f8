# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What the families read alike from a configuration: a closed world of keys, rope, activation, stop tokens."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

from rondo.reference.errors import CheckpointError
from rondo.reference.layers import Array, Rope, gelu, gelu_tanh, relu, silu

# By their names in transformers.
ACTIVATIONS: Mapping[str, Callable[[Array], Array]] = {
    "silu": silu,
    "gelu": gelu,
    "gelu_new": gelu_tanh,
    "gelu_pytorch_tanh": gelu_tanh,
    "relu": relu,
}

# Keys that change nothing in inference with this code: bookkeeping, training, and how sums are split.
INERT_KEYS = frozenset({
    "architectures", "attention_dropout", "auto_map", "bos_token_id", "dtype", "initializer_range", "is_llama_config",
    "_name_or_path", "pad_token_id", "pretraining_tp", "torch_dtype", "transformers_version", "transformers.js_config",
    "unsloth_version", "use_cache",
})  # fmt: skip


def need(config: Mapping[str, Any], key: str) -> Any:
    """The value of a key that has no safe default."""
    if config.get(key) is None:
        raise CheckpointError(f"configuration key '{key}' is missing")
    return config[key]


def check_keys(config: Mapping[str, Any], known: Collection[str]) -> None:
    """Raise CheckpointError for a key that is set and that nobody reads: it may change what the model computes."""
    for key, value in config.items():
        if value and key not in known and key not in INERT_KEYS:
            raise CheckpointError(f"configuration key '{key}' with value {value!r} is not supported")


def activation(name: str, known: Collection[str]) -> Callable[[Array], Array]:
    """The function of an activation's name in transformers, if the family has it among `known`."""
    if name not in known:
        raise CheckpointError(f"activation '{name}' is not supported; known: {', '.join(known)}")
    return ACTIVATIONS[name]


def rope(config: Mapping[str, Any]) -> Rope:
    """From `rope_parameters` (transformers 5), or `rope_theta` with `rope_scaling` (transformers 4)."""
    parameters = config.get("rope_parameters") or {}
    scaling = parameters or config.get("rope_scaling") or {}
    theta = need(parameters, "rope_theta") if parameters else need(config, "rope_theta")
    kind = scaling.get("rope_type") or scaling.get("type") or "default"
    if scaling.get("partial_rotary_factor", 1.0) != 1.0:
        raise CheckpointError("'partial_rotary_factor' other than 1 is not supported")
    if kind == "default":
        return Rope(theta)
    if kind == "linear":
        return Rope(theta, kind, factor=need(scaling, "factor"))
    if kind == "divisors":
        return Rope(theta, kind, divisors=tuple(need(scaling, "divisors")))
    if kind == "llama3":
        return Rope(
            theta,
            kind,
            factor=need(scaling, "factor"),
            low_freq_factor=need(scaling, "low_freq_factor"),
            high_freq_factor=need(scaling, "high_freq_factor"),
            original_context=need(scaling, "original_max_position_embeddings"),
        )
    raise CheckpointError(f"rope type '{kind}' is not supported; known: default, linear, llama3")


def stop_tokens(config: Mapping[str, Any]) -> tuple[int, ...]:
    """Token ids that end a sequence; none if the checkpoint names none."""
    ids = config.get("eos_token_id")
    if ids is None:
        return ()
    return tuple(ids) if isinstance(ids, list) else (ids,)
