# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Parameters that are parts of tensors: the same values as tensors of their own, so the same bits out.

The module is that of test_side_parameters.py, whose NumPy model says what is right. Keys and values are stored head by
head in one matrix, q in the last columns of a wider one, a bias inside a tensor of rank 3.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from conftest import Tools
from safetensors.numpy import load_file, save_file
from test_side_parameters import DEPTHS, LAYERS, MODULE, TOLERANCE, make_weights, reference

PARTS = {
    "q": "#rondo.part<of = [70, 96], first = 6, run = 64, step = 1, column = 32>",
    "k": "#rondo.part<of = [64, 64], first = 0, run = 16, step = 32>",
    "v": "#rondo.part<of = [64, 64], first = 16, run = 16, step = 32>",
    "o_bias": "#rondo.part<of = [2, 2, 48], first = 8, run = 16, step = 48>",
}
TOKENS = np.random.default_rng(3).integers(0, 96, 70).tolist()


def fuse(weights: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The same weights as tensors that hold more than one parameter, or more than a parameter needs."""
    rest = np.random.default_rng(5)
    out = dict(weights)
    for j in range(LAYERS):
        wide = rest.standard_normal((70, 96)).astype(np.float32)
        wide[6:, 32:] = out.pop(f"q.{j}")
        out[f"q.{j}"] = wide
        heads = [out.pop(f"{name}.{j}").reshape(2, 16, 64) for name in "kv"]
        out[f"kv.{j}"] = np.stack(heads, axis=1).reshape(64, 64)
        for r in range(DEPTHS):
            spread = rest.standard_normal((4, 48)).astype(np.float32)
            spread[:, 8:24] = out[f"o_bias.{j}.{r}"].reshape(4, 16)
            out[f"o_bias.{j}.{r}"] = spread.reshape(2, 2, 48)
    return out


def write_fused_module(path: Path) -> Path:
    text = MODULE.read_text()
    for name, part in PARTS.items():
        text, count = re.subn(rf"(rondo\.param @{name} .*)", rf"\1 part {part}", text)
        assert count == 1
    path.write_text(re.sub(r'"[kv]\.(\d)"', r'"kv.\1"', text))
    return path


@pytest.fixture
def fused(tmp_path: Path) -> tuple[Path, Path]:
    weights = tmp_path / "fused.safetensors"
    save_file(fuse(make_weights()), weights)
    return write_fused_module(tmp_path / "fused.mlir"), weights


@pytest.mark.parametrize("storage", ["keep", "bf16", "q8_0"])
def test_same_bits_as_tensors_of_their_own(tools: Tools, tmp_path: Path, fused: tuple[Path, Path], storage: str) -> None:
    save_file(make_weights(), tmp_path / "plain.safetensors")
    options = ["--exact", f"--weights={storage}"]
    plain = tools.compile(MODULE, tmp_path / "a.rondo", f"--archive={tmp_path / 'plain.safetensors'}", *options)
    part = tools.compile(fused[0], tmp_path / "b.rondo", f"--archive={fused[1]}", *options)
    want, got = (tools.logits(bundle, [TOKENS])[0] for bundle in (plain, part))
    assert got.tobytes() == want.tobytes()
    if storage == "keep":
        assert np.abs(got - reference(TOKENS, make_weights())).max() < TOLERANCE


def test_interpreter_reads_parts(tools: Tools, tmp_path: Path, fused: tuple[Path, Path]) -> None:
    save_file({"tokens": np.array(TOKENS, np.int32)}, tmp_path / "in.safetensors")
    tools.run("rondo-interp", fused[0], f"--archive={fused[1]}", f"--inputs={tmp_path / 'in.safetensors'}",
              f"--outputs={tmp_path / 'out.safetensors'}")
    got = load_file(tmp_path / "out.safetensors")["logits"]
    assert np.abs(got - reference(TOKENS, make_weights())).max() < TOLERANCE


def test_part_outside_of_its_tensor_is_an_error(tools: Tools, tmp_path: Path, fused: tuple[Path, Path]) -> None:
    tensors = load_file(fused[1])
    tensors["kv.1"] = tensors["kv.1"][:63].copy()
    save_file(tensors, tmp_path / "short.safetensors")
    with pytest.raises(AssertionError, match=r"tensor 'kv\.1' is stored as F32 \[63, 64\], declared as F32 \[64, 64\]"):
        tools.compile(fused[0], tmp_path / "c.rondo", f"--archive={tmp_path / 'short.safetensors'}")
