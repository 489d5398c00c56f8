# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What a run is given: token ids, and what some models take beside them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rondo.reference.checkpoint import read_json
from rondo.reference.errors import CheckpointError

# Keys of an inputs file that describe a case and feed nothing.
_DESCRIPTIONS = frozenset({"outer_loops", "layer_order_in_a_loop", "variants"})


@dataclass(frozen=True)
class Inputs:
    """Sequences of token ids, each run alone, with further inputs; `Decoder.takes` says which ones a model reads."""

    sequences: tuple[tuple[int, ...], ...]
    thresholds: tuple[float, ...] = ()  # exit thresholds to try besides the model's own


def read_inputs(path: Path) -> Inputs:
    """Read a JSON file `{"sequences": [[1, 2], ...]}`; CheckpointError says what is wrong with it."""
    content = read_json(path)
    if not isinstance(content, dict):
        raise CheckpointError(f"{path}: expected an object with 'sequences'")
    readers = {"sequences": _sequences, "thresholds": _thresholds}
    for key in content:
        if key not in readers and key not in _DESCRIPTIONS:
            raise CheckpointError(f"{path}: unknown key '{key}'; known: {', '.join(readers)}")
    return Inputs(**{key: read(content, path) for key, read in readers.items() if key in content or key == "sequences"})


def _sequences(content: Mapping[str, Any], path: Path) -> tuple[tuple[int, ...], ...]:
    value = content.get("sequences")
    if not _is_list_of(value, list) or not all(_is_list_of(ids, int) for ids in value):
        raise CheckpointError(f"{path}: expected 'sequences', a list of lists of token ids")
    return tuple(tuple(ids) for ids in value)


def _thresholds(content: Mapping[str, Any], path: Path) -> tuple[float, ...]:
    value = content["thresholds"]
    if not _is_list_of(value, float):
        raise CheckpointError(f"{path}: expected 'thresholds' to be a list of numbers with a decimal point")
    return tuple(value)


def _is_list_of(value: Any, kind: type) -> bool:
    return isinstance(value, list) and all(type(item) is kind for item in value)
