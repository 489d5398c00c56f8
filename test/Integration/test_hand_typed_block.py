# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""A block that no importer makes, against a NumPy model of it.

Two attentions with different windows over two caches and a gate between them; a pair of carried states; visited five
times. The module is Inputs/two-windows.mlir.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from conftest import Tools
from safetensors.numpy import save_file

MODULE = Path(__file__).parent / "Inputs" / "two-windows.mlir"
SHAPES = {"embed": (96, 64), "norm": (64,), "q": (64, 64), "k": (32, 64), "v": (32, 64), "k2": (32, 64),
          "v2": (32, 64), "gate": (64, 64), "gate_bias": (64,), "o": (64, 64), "mix": (64, 64)}
HEADS, KV_HEADS, DIM, VISITS = 4, 2, 16, 5
TOLERANCE = 2e-4  # absolute, logits reach about 30


def make_weights() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(7)
    weights = {name: (0.15 * rng.standard_normal(shape)).astype(np.float32) for name, shape in SHAPES.items()}
    weights["norm"] += 1
    weights["embed"] *= 7
    return weights


def rms(x: np.ndarray, weight: np.ndarray) -> np.ndarray:
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + 1e-5) * weight


def attend(q: np.ndarray, k: np.ndarray, v: np.ndarray, window: int) -> np.ndarray:
    """Causal attention over the last `window` positions; [T, heads * DIM] and [T, kv_heads * DIM]."""
    length = len(q)
    distance = np.arange(length)[:, None] - np.arange(length)[None, :]
    seen = (distance >= 0) & (distance < window)
    out = np.empty_like(q)
    for head in range(HEADS):
        a, b = slice(head * DIM, (head + 1) * DIM), head // (HEADS // KV_HEADS)
        c = slice(b * DIM, (b + 1) * DIM)
        scores = np.where(seen, 0.25 * (q[:, a] @ k[:, c].T), -np.inf)
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        out[:, a] = weights / weights.sum(-1, keepdims=True) @ v[:, c]
    return out


def reference(tokens: list[int], weights: dict[str, np.ndarray]) -> np.ndarray:
    """Logits [T, 96] in double precision."""
    w = {name: value.astype(np.float64) for name, value in weights.items()}
    a = b = w["embed"][tokens]
    for _ in range(VISITS):
        n = rms(a, w["norm"])
        q, gate = n @ w["q"].T, 1 / (1 + np.exp(-(n @ w["gate"].T + w["gate_bias"])))
        near = attend(q, n @ w["k"].T, n @ w["v"].T, 5)
        far = attend(q, b @ w["k2"].T, b @ w["v2"].T, 40)
        a = a + (gate * near + (1 - gate) * far) @ w["o"].T
        b = b + np.tanh(a @ w["mix"].T)
    return rms(a + b, w["norm"]) @ w["embed"].T


@pytest.mark.parametrize("options", [[], ["-O0"], ["--kv=f32", "--rows=16"]], ids=["default", "O0", "rows16"])
def test_equals_numpy(tools: Tools, tmp_path: Path, options: list[str]) -> None:
    weights = make_weights()
    save_file(weights, tmp_path / "weights.safetensors")
    bundle = tools.compile(MODULE, tmp_path / "model.rondo", f"--archive={tmp_path / 'weights.safetensors'}",
                           "--exact", *options)
    rng = np.random.default_rng(3)
    sequences = [rng.integers(0, 96, length).tolist() for length in (1, 6, 50, 129, 256)]
    for tokens, got in zip(sequences, tools.logits(bundle, sequences), strict=True):
        want = reference(tokens, weights)
        assert np.abs(want).max() > 5
        assert np.abs(got - want).max() < TOLERANCE


def test_stages_are_fused(tools: Tools) -> None:
    text = tools.run("rondoc", MODULE, "--exact", "--compile-to=step", "-o", "-")
    stages = [line.split('"')[1] for line in text.splitlines() if "rondo_rt.stage" in line]
    assert stages == ["embed", "copy", "norm.q.k.v.gate.k2.v2.append.sigmoid", "attend", "attend",
                      "sub.mul.add.o.add", "mix.tanh.add", "add.norm.embed"]
