# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Converted checkpoints, compiled, against the reference model and against what they were converted from.

`rondo convert recursive` makes a folder of a small random Llama; rondoc compiles it. The reference reads the same folder.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT, Tools, write_llama
from safetensors import safe_open

from rondo.cli import main
from rondo.reference import load_model

LAYERS, VOCABULARY = 8, 160
LENGTHS = (1, 9, 64, 140)
TOLERANCE = 1e-5  # of the largest logit
FULL_RANK = 512  # clamped to what a matrix has


def convert(tmp_path: Path, share: str, visits: int, *options: str) -> Path:
    """A converted folder; its source is `llama` beside it."""
    source = tmp_path / "llama"
    if not source.exists():
        write_llama(source, layers=LAYERS, vocabulary=VOCABULARY, tied=False)
    target = tmp_path / "recursive"
    command = ["convert", "recursive", str(source), str(target), f"--share={share}", f"--visits={visits}", *options]
    assert main(command) == 0
    return target


def sequences() -> list[list[int]]:
    rng = np.random.default_rng(5)
    return [rng.integers(0, VOCABULARY, length).tolist() for length in LENGTHS]


def worst_difference(got: list[np.ndarray], folder: Path) -> float:
    """Largest difference to the reference of a folder, as a part of its largest logit."""
    model = load_model(folder, np.float64)
    wanted = [model.logits(tokens) for tokens in sequences()]
    reach = max(float(np.abs(want).max()) for want in wanted)
    return max(float(np.abs(one - want).max()) for one, want in zip(got, wanted, strict=True)) / reach


@pytest.mark.parametrize(("share", "visits"), [("cycle", 2), ("sequence", 4), ("middle-cycle", 3),
                                               ("middle-sequence", 2)])
@pytest.mark.parametrize("options", [
    ["--init=average", "--norms=shared", "--rank=0"],
    ["--init=stepwise", "--norms=per-depth", "--rank=5"],
    ["--init=lower", "--norms=shared", "--rank=40", "--lora-targets=q,v,down", "--lora-scale=0.5"],
], ids=["bare", "rank5", "some"])
def test_equals_reference(tools: Tools, tmp_path: Path, share: str, visits: int, options: list[str]) -> None:
    folder = convert(tmp_path, share, visits, *options)
    bundle = tools.compile(folder, tmp_path / "model.rondo", "--exact")
    assert worst_difference(tools.logits(bundle, sequences()), folder) < TOLERANCE


def test_gemma(tools: Tools, tmp_path: Path) -> None:
    source = ROOT / "test" / "oracles" / "gemma" / "mqa"
    folder = tmp_path / "recursive"
    assert main(["convert", "recursive", str(source), str(folder), "--share=cycle", "--visits=3", "--init=average",
                 "--norms=per-depth", "--rank=4"]) == 0
    bundle = tools.compile(folder, tmp_path / "model.rondo", "--exact")
    assert worst_difference(tools.logits(bundle, sequences()), folder) < TOLERANCE


@pytest.mark.parametrize("options", [[], ["--lora-targets=qkv"], ["--rank=40", "--lora-scale=0.5"]],
                         ids=["rank4", "qkv", "rank40"])
def test_gpt_neox(tools: Tools, tmp_path: Path, options: list[str]) -> None:
    """q, k and v are parts of one matrix with one delta: they share A and have parts of B. Norms have biases."""
    source = ROOT / "test" / "oracles" / "gpt_neox" / "parallel"
    folder = tmp_path / "recursive"
    assert main(["convert", "recursive", str(source), str(folder), "--share=cycle", "--visits=3", "--init=average",
                 "--norms=per-depth", "--rank=4", *options]) == 0
    bundle = tools.compile(folder, tmp_path / "model.rondo", "--exact")
    want = tools.logits(bundle, sequences())
    assert worst_difference(want, folder) < TOLERANCE
    for how in (["--batch=one", "--threads=1"], ["--chunk=7"], ["--depthwise"]):
        for one, other in zip(want, tools.logits(bundle, sequences(), *how), strict=True):
            assert one.tobytes() == other.tobytes(), how


def test_full_rank_is_the_source(tools: Tools, tmp_path: Path) -> None:
    folder = convert(tmp_path, "cycle", 4, "--init=average", "--norms=per-depth", f"--rank={FULL_RANK}")
    bundle = tools.compile(folder, tmp_path / "model.rondo", "--exact")
    assert worst_difference(tools.logits(bundle, sequences()), tmp_path / "llama") < 10 * TOLERANCE


@pytest.mark.parametrize("weights", ["keep", "bf16", "q8_0", "q4_0,lora=f32", "q4_1"])
def test_same_bits_whatever_the_batch(tools: Tools, tmp_path: Path, weights: str) -> None:
    folder = convert(tmp_path, "cycle", 4, "--init=average", "--norms=per-depth", "--rank=5")
    bundle = tools.compile(folder, tmp_path / "model.rondo", f"--weights={weights}")
    want = tools.logits(bundle, sequences())
    for options in (["--batch=one"], ["--threads=1"], ["--chunk=3"], ["--chunk=50", "--batch=one"]):
        for one, other in zip(want, tools.logits(bundle, sequences(), *options), strict=True):
            assert one.tobytes() == other.tobytes(), options


def test_code_does_not_grow_with_visits(tools: Tools, tmp_path: Path) -> None:
    """The same block, with deltas, visited twice and twenty times: the same operations, and code within 2 %."""
    counts, sizes = [], []
    for visits in (2, 20):
        folder = tmp_path / str(visits)
        write_llama(folder / "llama", layers=2 * visits, vocabulary=VOCABULARY)
        recursive = convert(folder, "cycle", visits, "--init=average", "--norms=per-depth", "--rank=8")
        text = tools.run("rondoc", recursive, "--compile-to=target", "-o", "-")
        lines = [line.lstrip() for line in text.splitlines()]
        counts.append(sum(line.startswith(("%", "func", "scf", "llvm", "vector")) for line in lines))
        bundle = tools.compile(recursive, folder / "m.rondo")
        with safe_open(bundle, "np") as file:
            sizes.append(file.get_slice("code.cpu").get_shape()[0])
    assert counts[0] == counts[1]
    assert abs(sizes[1] - sizes[0]) <= 0.02 * sizes[0], sizes
