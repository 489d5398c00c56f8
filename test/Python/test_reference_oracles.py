# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Reference models against what the authors' code computed (test/oracles/README.md)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from oracles import decodes_wrongly_with_cache
from safetensors.numpy import load_file

from rondo.reference import CheckpointError, Inputs, evaluate, greedy, load_model, read_inputs


def read(case: Path, name: str) -> Any:
    return json.loads((case / name).read_text())


def inputs_of(case: Path) -> Inputs:
    tensors = case / "inputs.safetensors"
    return read_inputs(case / "inputs.json", tensors if tensors.exists() else None)


def differences(case: Path, dtype: type) -> dict[str, float]:
    """Largest absolute difference of each expected tensor; fails if one is not produced or not of this type.

    Integers have to be equal.
    """
    outputs, traced = evaluate(load_model(case, dtype), inputs_of(case))
    found = outputs | traced
    worst = {}
    for name, want in load_file(case / "expected.safetensors").items():
        if name.startswith("cached_step_logits"):  # of a greedy run, in test_reference_mor.py
            continue
        kind = dtype if want.dtype.kind == "f" else want.dtype
        assert (found[name].dtype, found[name].shape) == (kind, want.shape), name
        worst[name] = float(np.max(np.abs(found[name] - want)))
        assert kind == dtype or worst[name] == 0, name
    return worst


# Tests that logits and every traced tensor stay within the case's tolerance.
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_tensors(case: Path, dtype: type, record_property: Any) -> None:
    worst = differences(case, dtype)
    record_property("worst_difference", max(worst.values()))
    tolerance = read(case, "tolerance.json")["fair_tolerance"]
    assert {name: error for name, error in worst.items() if not error <= tolerance} == {}


# Tests that in float64 the distance to the recorded f32 outputs is the one that the authors' code has in float64: then
# the two float64 computations agree far better than the tolerance of float32 can say.
def test_float64_is_the_authors_float64(case: Path) -> None:
    kinds = ("logits", "last_hidden_state", "pooler_output")
    worst = max(error for name, error in differences(case, np.float64).items() if name.startswith(kinds))
    assert worst == pytest.approx(read(case, "tolerance.json")["logits_f32_vs_f64"], abs=1e-9)


# Tests greedy decoding with and without a cache against both recorded runs.
@pytest.mark.parametrize("recompute, recorded", [(False, "with_cache"), (True, "without_cache")])
def test_greedy_tokens(decoder_case: Path, recompute: bool, recorded: str) -> None:
    model = load_model(decoder_case).prepared(inputs_of(decoder_case))
    expected = read(decoder_case, "greedy.json")
    if recorded == "with_cache" and decodes_wrongly_with_cache(decoder_case):
        with pytest.raises(CheckpointError, match="run the whole sequence at once"):
            greedy(model, expected["runs"][0]["prompt"], 2)
        return
    for run in expected["runs"]:
        result = greedy(model, run["prompt"], expected["new_tokens"], recompute=recompute)
        assert result.tokens == run[recorded]
        assert min(result.gaps) == pytest.approx(run[f"smallest_top2_gap_{recorded}"], abs=1e-4)
