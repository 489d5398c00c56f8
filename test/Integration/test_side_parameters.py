# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""A block whose parameters vary by depth, against a NumPy model of it.

The module is Inputs/side-parameters.mlir: low-rank deltas of ranks 6 and 40, one of them absent at depth 0, a norm, a
bias, a scale vector and a whole matrix for each depth; two layers, visited three times.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from conftest import Tools
from gguf import GGMLQuantizationType, quants
from safetensors.numpy import save_file
from test_hand_typed_block import attend, rms

MODULE = Path(__file__).parent / "Inputs" / "side-parameters.mlir"
LAYERS, DEPTHS = 2, 3
# Shapes of what every depth shares, and of what each has for itself.
SHARED = {"q": (64, 64), "k": (32, 64), "v": (32, 64)}
VARIES = {"norm": (64,), "v.a": (40, 64), "v.b": (32, 40), "o": (64, 64), "o_bias": (64,)}
ABSENT_FIRST = {"q.a": (6, 64), "q.b": (64, 6)}
TOLERANCE = 2e-4  # absolute, logits reach about 30

Weights = dict[str, np.ndarray]


def make_weights() -> Weights:
    rng = np.random.default_rng(11)
    shapes: dict[str, tuple[int, ...]] = {"embed": (96, 64), "final_norm": (64,)}
    shapes |= {f"step.{r}": (64,) for r in range(DEPTHS)}
    for j in range(LAYERS):
        shapes |= {f"{name}.{j}": shape for name, shape in SHARED.items()}
        shapes |= {f"{name}.{j}.{r}": shape for r in range(DEPTHS) for name, shape in VARIES.items()}
        shapes |= {f"{name}.{j}.{r}": shape for r in range(1, DEPTHS) for name, shape in ABSENT_FIRST.items()}
    weights = {name: (0.15 * rng.standard_normal(shape)).astype(np.float32) for name, shape in shapes.items()}
    for name, weight in weights.items():
        if name.startswith(("norm", "final_norm", "step")):
            weight += 1
    weights["embed"] *= 7
    return weights


def layer(x: np.ndarray, w: Weights, j: int, r: int) -> np.ndarray:
    n = rms(x, w[f"norm.{j}.{r}"])
    q = n @ w[f"q.{j}"].T
    if r > 0:
        q = q + 2 * (n @ w[f"q.a.{j}.{r}"].T @ w[f"q.b.{j}.{r}"].T)
    v = n @ w[f"v.{j}"].T + n @ w[f"v.a.{j}.{r}"].T @ w[f"v.b.{j}.{r}"].T
    o = attend(q, n @ w[f"k.{j}"].T, v, len(x)) @ w[f"o.{j}.{r}"].T + w[f"o_bias.{j}.{r}"]
    return x + 0.5 * o * w[f"step.{r}"]


def reference(tokens: list[int], weights: Weights) -> np.ndarray:
    w = {name: weight.astype(np.float64) for name, weight in weights.items()}
    x = w["embed"][tokens]
    for r in range(DEPTHS):
        for j in range(LAYERS):
            x = layer(x, w, j, r)
    return rms(x, w["final_norm"]) @ w["embed"].T


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


@pytest.mark.parametrize("storage", ["f32", "bf16", "q8_0"])
def test_merged_deltas_equal_numpy(tools: Tools, tmp_path: Path, storage: str) -> None:
    """The reference multiplies by merged matrices, rounded once to the type they are stored as."""
    weights = make_weights()
    save_file(weights, tmp_path / "weights.safetensors")
    bundle = tools.compile(MODULE, tmp_path / "model.rondo", f"--archive={tmp_path / 'weights.safetensors'}",
                           "--exact", "--lora=merge", f"--weights={storage}")
    kind = GGMLQuantizationType[storage.upper()]

    def stored(matrix: np.ndarray) -> np.ndarray:
        return quants.dequantize(quants.quantize(matrix.astype(np.float32), kind), kind)

    for j in range(LAYERS):
        for r in range(DEPTHS):
            q, v = (weights[f"{name}.{j}"].astype(np.float64) for name in "qv")
            if r > 0:
                q = q + 2.0 * (weights[f"q.b.{j}.{r}"].astype(np.float64) @ weights[f"q.a.{j}.{r}"])
            v = v + weights[f"v.b.{j}.{r}"].astype(np.float64) @ weights[f"v.a.{j}.{r}"]
            weights[f"q.{j}.{r}"], weights[f"v.{j}.{r}"] = stored(q), stored(v)
            weights[f"o.{j}.{r}"] = stored(weights[f"o.{j}.{r}"])
        weights[f"k.{j}"] = stored(weights[f"k.{j}"])
    weights["embed"] = stored(weights["embed"])

    tokens = np.random.default_rng(3).integers(0, 96, 50).tolist()
    got = tools.logits(bundle, [tokens])[0]
    assert np.abs(got - merged_reference(tokens, weights)).max() < TOLERANCE


def merged_reference(tokens: list[int], weights: Weights) -> np.ndarray:
    w = {name: weight.astype(np.float64) for name, weight in weights.items()}
    x = w["embed"][tokens]
    for r in range(DEPTHS):
        for j in range(LAYERS):
            n = rms(x, w[f"norm.{j}.{r}"])
            a = attend(n @ w[f"q.{j}.{r}"].T, n @ w[f"k.{j}"].T, n @ w[f"v.{j}.{r}"].T, len(x))
            x = x + 0.5 * (a @ w[f"o.{j}.{r}"].T + w[f"o_bias.{j}.{r}"]) * w[f"step.{r}"]
    return rms(x, w["final_norm"]) @ w["embed"].T


def test_merging_changes_rounding_alone(tools: Tools, tmp_path: Path) -> None:
    save_file(make_weights(), tmp_path / "weights.safetensors")
    archive = f"--archive={tmp_path / 'weights.safetensors'}"
    logits = [tools.logits(tools.compile(MODULE, tmp_path / f"{mode}.rondo", archive, "--exact", f"--lora={mode}"),
                           [[5, 6, 7]])[0] for mode in ("auto", "separate", "merge")]
    assert logits[0].tobytes() == logits[1].tobytes()
    assert 0 < np.abs(logits[2] - logits[0]).max() < TOLERANCE


def test_deltas_need_no_stage_of_their_own(tools: Tools) -> None:
    text = tools.run("rondoc", MODULE, "--exact", "--compile-to=step", "-o", "-")
    stages = [line.split('"')[1] for line in text.splitlines() if "rondo_rt.stage" in line]
    assert stages == ["embed", "norm.a.a.q.k.v.b.scale.add.append", "attend", "o.scale.add", "norm.embed"]
