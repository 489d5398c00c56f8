# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The bits of a row depend on its own sequence alone.

Logits must be equal, not close: alone or in a batch, with one or two threads, a prompt whole or in chunks, with and
without trace points, straight from the checkpoint or from each dumped phase. Lengths cross KV pages (128 positions),
the limit of few rows (8), blocks of rows (48) and the compiled number of rows (512).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from conftest import Tools, write_llama

LENGTHS = [1, 63, 64, 65, 511, 512, 513, 1500]
STORAGE = [
    ("f32", "--exact"), ("bf16", "--exact"), ("bf16", ""), ("f16", ""), ("q8_0", "--exact"), ("q8_0", ""),
    ("q4_0", "--exact"), ("q4_0", ""), ("q4_1", "--exact"), ("q4_1", ""),
]


def prompts() -> list[list[int]]:
    rng = np.random.default_rng(5)
    return [rng.integers(3, 160, length).tolist() for length in LENGTHS]


def assert_same_bits(got: list[np.ndarray], want: list[np.ndarray], what: str) -> None:
    for number, (a, b) in enumerate(zip(got, want, strict=True)):
        assert a.tobytes() == b.tobytes(), f"{what}: sequence of {LENGTHS[number]} tokens differs"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_llama(tmp_path_factory.mktemp("llama"))


@pytest.mark.parametrize(("storage", "mode"), STORAGE, ids=lambda v: str(v).strip("-") or "fast")
def test_same_bits_whatever_the_batch(tools: Tools, model: Path, tmp_path: Path, storage: str, mode: str) -> None:
    options = [f"--weights={storage}", "--loop=0:1:2", *([mode] if mode else [])]
    bundle = tools.compile(model, tmp_path / "model.rondo", *options)
    sequences = prompts()
    want = tools.logits(bundle, sequences, "--batch=one", "--threads=1")
    assert all(np.isfinite(logits).all() for logits in want)
    assert_same_bits(tools.logits(bundle, sequences, "--batch=all", "--threads=2"), want, "batch, 2 threads")
    assert_same_bits(tools.logits(bundle, sequences, "--batch=all", "--threads=1"), want, "batch, 1 thread")
    for chunk in (1 if storage == "f32" else 7, 130):
        some = [s if chunk > 1 else s[:65] for s in sequences]
        got = tools.logits(bundle, some, f"--chunk={chunk}", "--threads=2")
        assert_same_bits(got, [w[: len(s)] for w, s in zip(want, some, strict=True)], f"chunks of {chunk}")


@pytest.mark.parametrize("kv", ["f32", "bf16", "f16"])
def test_same_bits_for_every_kv_type(tools: Tools, model: Path, tmp_path: Path, kv: str) -> None:
    bundle = tools.compile(model, tmp_path / "model.rondo", f"--kv={kv}", "--weights=bf16")
    want = tools.logits(bundle, prompts(), "--batch=one", "--threads=1")
    assert_same_bits(tools.logits(bundle, prompts(), "--chunk=100", "--threads=2"), want, "chunks of 100")


def test_same_bits_with_trace_points(tools: Tools, model: Path, tmp_path: Path) -> None:
    plain = tools.compile(model, tmp_path / "plain.rondo", "--weights=q4_0")
    traced = tools.compile(model, tmp_path / "traced.rondo", "--weights=q4_0", "--trace-points")
    want = tools.logits(plain, prompts())
    assert_same_bits(tools.logits(traced, prompts()), want, "trace points, not written")
    trace = f"--trace={tmp_path / 'trace'}"
    assert_same_bits(tools.logits(traced, prompts(), trace), want, "trace points, written")


def test_same_bundle_from_every_phase(tools: Tools, model: Path, tmp_path: Path) -> None:
    straight = tools.compile(model, tmp_path / "model.rondo", "--weights=bf16", f"--dump-phases={tmp_path / 'phases'}")
    dumps = sorted((tmp_path / "phases").glob("*.mlir"))
    assert [dump.stem[3:] for dump in dumps] == ["input", "rondo", "step", "tiled", "buffers", "target"]
    for dump in dumps:
        again = tools.compile(dump, tmp_path / "again.rondo", f"--archive={model / 'model.safetensors'}")
        assert again.read_bytes() == straight.read_bytes(), f"{dump.name} compiles to another bundle"


def test_same_bytes_twice(tools: Tools, model: Path, tmp_path: Path) -> None:
    first = tools.compile(model, tmp_path / "first.rondo", "--weights=q4_1")
    second = tools.compile(model, tmp_path / "second.rondo", "--weights=q4_1")
    assert first.read_bytes() == second.read_bytes()


def test_greedy_tokens_do_not_depend_on_the_batch(tools: Tools, model: Path, tmp_path: Path) -> None:
    bundle = tools.compile(model, tmp_path / "model.rondo", "--weights=q8_0")
    sequences = [s[:200] for s in prompts()]
    together = tools.generate(bundle, sequences, 20, "--threads=2")
    alone = tools.generate(bundle, sequences, 20, "--batch=one", "--threads=1")
    assert together == alone
