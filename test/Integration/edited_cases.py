# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Edited copies of oracle checkpoints, and what is asked of every family that is compiled from one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from conftest import ROOT, Tools
from safetensors.numpy import load_file, save_file

ORACLES = ROOT / "test" / "oracles"
# Lengths cross blocks of rows (48) and KV pages (128 positions).
LENGTHS = [1, 9, 49, 140, 230]


def edit(
    case: str, target: Path, changes: Mapping[str, Any], tensors: Mapping[str, np.ndarray | None] | None = None
) -> Path:
    """A copy of a case's checkpoint with changed configuration keys and tensors (None: removed)."""
    target.mkdir()
    source = ORACLES / case
    config = json.loads((source / "config.json").read_text()) | changes
    (target / "config.json").write_text(json.dumps({key: value for key, value in config.items() if value is not None}))
    weights = load_file(source / "model.safetensors") | (tensors or {})
    save_file({name: value for name, value in weights.items() if value is not None}, target / "model.safetensors")
    return target


def make_prompts(seed: int = 5, vocabulary: int = 256) -> list[list[int]]:
    rng = np.random.default_rng(seed)
    return [rng.integers(0, vocabulary, length).tolist() for length in LENGTHS]


def interpret(tools: Tools, model: Path, folder: Path, tokens: list[int], *options: str) -> dict[str, np.ndarray]:
    """What the interpreter makes of the imported module: logits and traces of one sequence."""
    module = folder / "module.mlir"
    tools.run("rondoc", model, "--compile-to=input", "--exact", "--trace-points", "-o", module, *options)
    save_file({"tokens": np.array(tokens, np.int32)}, folder / "in.safetensors")
    tools.run("rondo-interp", module, f"--archive={model / 'model.safetensors'}",
              f"--inputs={folder / 'in.safetensors'}", f"--outputs={folder / 'out.safetensors'}")
    return load_file(folder / "out.safetensors")


def check_invariance(tools: Tools, model: Path, folder: Path, *options: str) -> None:
    """The same bits alone, in a batch, in chunks, on two threads, by depth, and with trace points."""
    prompts = make_prompts()
    bundle = tools.compile(model, folder / "plain.rondo", *options)
    traced = tools.compile(model, folder / "traced.rondo", "--trace-points", *options)
    want = tools.logits(bundle, prompts, "--batch=one", "--threads=1")
    assert all(np.isfinite(logits).all() for logits in want)
    runs = [(bundle, "--batch=all", "--threads=2"), (bundle, "--chunk=7", "--threads=1"),
            (bundle, "--chunk=130", "--threads=2"), (bundle, "--depthwise", "--threads=2"), (traced,),
            (traced, f"--trace={folder / 'trace'}")]
    for source, *how in runs:
        for number, (a, b) in enumerate(zip(tools.logits(source, prompts, *how), want, strict=True)):
            assert a.tobytes() == b.tobytes(), f"{source.name} {how}: sequence of {LENGTHS[number]} tokens differs"
