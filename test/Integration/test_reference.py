# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Compiled models in every storage type against the NumPy reference on the same rounded weights.

The weights are rounded by the `gguf` package, widened again and given to the reference, which computes in f64. Hence
`--exact` may differ by f32 rounding alone, and a fault in quantising, packing or widening stands out. Each model has
several traits at once; together they cover what the importer of Llama knows.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import Tools, write_llama
from gguf import GGMLQuantizationType, quants
from safetensors.numpy import load_file, save_file

from rondo.reference import Loop, load_model

SEED = 11
LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
          "original_max_position_embeddings": 64}
MODELS = {
    "plain": ({}, []),
    "biases-heads40-llama3-untied-loop": (
        {"biases": True, "head_dim": 40, "rope": LLAMA3, "tied": False, "layers": 3}, ["0:1:3"]),
    "mqa-linear-two-loops": (
        {"kv_heads": 1, "head_dim": 32, "rope": {"rope_type": "linear", "factor": 4.0}, "layers": 4},
        ["0:0:2", "2:3:3"]),
    "head-norms40-two-loops": ({"head_norms": True, "head_dim": 40, "tied": False}, []),
}
STORAGE = ["f32", "f16", "bf16", "q8_0", "q4_0", "q4_1"]
LENGTHS = [1, 9, 70, 300]

# Largest difference, as a part of the largest logit. Weights are the same on both sides whatever their type, so one
# bound serves all of them in `--exact`.
EXACT = 3e-6
# Default modes also round activations (int8-dynamic: to 8 bits for each block of 32; bf16-dot: to 8 significant bits)
# and K and V to bf16.
DEFAULT = {"f32": EXACT, "f16": 0.01, "bf16": 0.02, "q8_0": 0.05, "q4_0": 0.05, "q4_1": 0.05}


def round_weights(source: Path, target: Path, storage: str) -> Path:
    """A copy of a model whose matrices hold the values that they have after storing them."""
    kind = GGMLQuantizationType[storage.upper()]
    shutil.copytree(source, target)
    tensors = load_file(source / "model.safetensors")
    rounded = {name: quants.dequantize(quants.quantize(value, kind), kind) if value.ndim == 2 else value
               for name, value in tensors.items()}
    save_file(rounded, target / "model.safetensors")
    return target


def part_of_reach(got: np.ndarray, want: np.ndarray) -> float:
    return float(np.abs(got - want).max() / np.abs(want).max())


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("storage", STORAGE)
def test_equals_reference(tools: Tools, tmp_path: Path, storage: str, name: str) -> None:
    traits, loops = MODELS[name]
    model = write_llama(tmp_path / "model", seed=SEED, **traits)
    rounded = round_weights(model, tmp_path / "rounded", storage)
    reference = load_model(rounded, np.float64, [Loop.parse(loop) for loop in loops])
    rng = np.random.default_rng(SEED)
    sequences = [rng.integers(0, 160, length).tolist() for length in LENGTHS]
    expected = [reference.logits(tokens) for tokens in sequences]
    for mode, tolerance in ((["--exact"], EXACT), ([], DEFAULT[storage])):
        options = [f"--weights={storage}", *(f"--loop={loop}" for loop in loops), *mode]
        bundle = tools.compile(model, tmp_path / "model.rondo", *options)
        errors = [part_of_reach(*pair) for pair in zip(tools.logits(bundle, sequences), expected, strict=True)]
        assert max(errors) <= tolerance, f"{' '.join(options)}, seed {SEED}: {errors} of the largest logit"
