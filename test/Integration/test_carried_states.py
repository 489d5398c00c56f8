# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Carried tuples that swap, keep what was before, or give one value to several arguments, against a NumPy model.

The module is Inputs/carried-states.mlir. One block is applied to its arguments in every order, and the loop carries two
states of earlier iterations: each needs places of its own, which the conversion to phase `step` makes by copies.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from conftest import Tools
from safetensors.numpy import load_file, save_file

MODULE = Path(__file__).parent / "Inputs" / "carried-states.mlir"
TOLERANCE = 2e-5  # absolute, logits reach about 12


def make_weights() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(7)
    return {name: (rng.standard_normal(shape) / 8).astype(np.float32)
            for name, shape in {"embed": (96, 64), "q": (64, 64)}.items()}


def reference(tokens: list[int], weights: dict[str, np.ndarray]) -> np.ndarray:
    embed, q = (weights[name].astype(np.float64) for name in ("embed", "q"))

    def mix(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return a @ q.T + b, a - b

    def rms(x: np.ndarray) -> np.ndarray:
        return x / np.sqrt((x * x).mean(-1, keepdims=True) + 1e-5)

    a = b = previous = oldest = embed[tokens]
    for _ in range(3):
        _, z1 = mix(a, b)
        w0, w1 = mix(a, z1)
        v0, _ = mix(w1, w0)
        u0, _ = mix(v0, v0)
        a, b, previous, oldest = rms(u0 + previous), rms(w1), a, previous
    return (a + b + previous + oldest) @ embed.T


@pytest.mark.parametrize("options", [[], ["-O0"], ["--rows=16"]], ids=["default", "O0", "rows16"])
def test_equals_numpy(tools: Tools, tmp_path: Path, options: list[str]) -> None:
    save_file(make_weights(), tmp_path / "weights.safetensors")
    archive = f"--archive={tmp_path / 'weights.safetensors'}"
    bundle = tools.compile(MODULE, tmp_path / "model.rondo", archive, *options)
    sequences = [[5], list(range(20)), list(range(96)) * 2]
    for tokens, got in zip(sequences, tools.logits(bundle, sequences), strict=True):
        want = reference(tokens, make_weights())
        assert np.abs(want).max() > 2
        assert np.abs(got - want).max() < TOLERANCE


def test_interpreter_equals_numpy(tools: Tools, tmp_path: Path) -> None:
    save_file(make_weights(), tmp_path / "weights.safetensors")
    save_file({"tokens": np.arange(20, dtype=np.int32)}, tmp_path / "in.safetensors")
    tools.run("rondo-interp", MODULE, f"--archive={tmp_path / 'weights.safetensors'}",
              f"--inputs={tmp_path / 'in.safetensors'}", f"--outputs={tmp_path / 'out.safetensors'}")
    got = load_file(tmp_path / "out.safetensors")["logits"]
    assert np.abs(got - reference(list(range(20)), make_weights())).max() < 1e-9
