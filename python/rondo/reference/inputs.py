# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What a run is given: token ids, and what some models take beside them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rondo.reference.checkpoint import read_json, safetensors_readers
from rondo.reference.errors import CheckpointError
from rondo.reference.layers import Array

# Keys of an inputs file that describe a case and feed nothing.
_DESCRIPTIONS = frozenset({"outer_loops", "layer_order_in_a_loop", "variants"})
# Keys of an inputs file that say of which kind a tensor is; its values are in a safetensors file.
_TENSORS = frozenset({"initial_state"})


@dataclass(frozen=True)
class Inputs:
    """Sequences of token ids, each run alone, with further inputs; `Decoder.takes` says which ones a model reads."""

    sequences: tuple[tuple[int, ...], ...]
    token_type_ids: tuple[tuple[int, ...], ...] = ()  # one for each token of each sequence
    num_steps: tuple[int, ...] = ()  # visits of a recurrence to try; the largest counts
    thresholds: tuple[float, ...] = ()  # exit thresholds to try besides the model's own
    initial_state: Array | None = None  # [positions, d]

    def check(self, takes: frozenset[str]) -> None:
        """Raise CheckpointError if there is an input that a model does not take and that is no mere description."""
        for name in ("token_type_ids", "num_steps", "initial_state"):
            value = getattr(self, name)
            if value is not None and len(value) and name not in takes:
                raise CheckpointError(f"this model does not take '{name}'; leave it out")


def read_inputs(path: Path, tensors: Path | None = None) -> Inputs:
    """Read a JSON file `{"sequences": [[1, 2], ...]}` and a safetensors file with the inputs that are tensors.

    Raises CheckpointError that says what is wrong with them.
    """
    content = read_json(path)
    if not isinstance(content, dict):
        raise CheckpointError(f"{path}: expected an object with 'sequences'")
    readers = {
        "sequences": _sequences,
        "token_type_ids": _token_types,
        "num_steps": _num_steps,
        "thresholds": _thresholds,
    }
    for key in content:
        if key not in readers and key not in _DESCRIPTIONS and key not in _TENSORS:
            raise CheckpointError(f"{path}: unknown key '{key}'; known: {', '.join(readers)}")
    read = {key: reader(content, path) for key, reader in readers.items() if key in content or key == "sequences"}
    arrays = {} if tensors is None else read_tensors(tensors)
    for key in _TENSORS & content.keys() - arrays.keys():
        raise CheckpointError(f"{path}: '{key}' is a tensor; give a safetensors file that has it by --inputs=FILE")
    return Inputs(**read, **arrays)


def read_tensors(path: Path) -> dict[str, Array]:
    """Inputs that are tensors, from a safetensors file."""
    readers = safetensors_readers(path)
    for name in readers.keys() - _TENSORS:
        raise CheckpointError(f"{path}: unknown tensor '{name}'; known: {', '.join(_TENSORS)}")
    return {name: reader() for name, reader in readers.items()}


def _sequences(content: Mapping[str, Any], path: Path) -> tuple[tuple[int, ...], ...]:
    value = content.get("sequences")
    if not _is_list_of(value, list) or not all(_is_list_of(ids, int) for ids in value):
        raise CheckpointError(f"{path}: expected 'sequences', a list of lists of token ids")
    return tuple(tuple(ids) for ids in value)


def _token_types(content: Mapping[str, Any], path: Path) -> tuple[tuple[int, ...], ...]:
    value = content["token_type_ids"]
    lengths = [len(ids) for ids in _sequences(content, path)]
    if not _is_list_of(value, list) or not all(_is_list_of(ids, int) for ids in value):
        raise CheckpointError(f"{path}: expected 'token_type_ids' to be a list of lists of numbers")
    if [len(ids) for ids in value] != lengths:
        raise CheckpointError(f"{path}: expected 'token_type_ids' to have one number for each token of 'sequences'")
    return tuple(tuple(ids) for ids in value)


def _num_steps(content: Mapping[str, Any], path: Path) -> tuple[int, ...]:
    value = content["num_steps"]
    if not _is_list_of(value, int) or not value or min(value) < 1:
        raise CheckpointError(f"{path}: expected 'num_steps' to be a list of numbers from 1")
    return tuple(value)


def _thresholds(content: Mapping[str, Any], path: Path) -> tuple[float, ...]:
    value = content["thresholds"]
    if not _is_list_of(value, float):
        raise CheckpointError(f"{path}: expected 'thresholds' to be a list of numbers with a decimal point")
    return tuple(value)


def _is_list_of(value: Any, kind: type) -> bool:
    return isinstance(value, list) and all(type(item) is kind for item in value)
