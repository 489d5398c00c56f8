# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Ouro, with every exit: against the authors' outputs and the NumPy model, and the same bits however rows are run."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest
from conftest import Tools
from edited_cases import LENGTHS, ORACLES, check_invariance, edit, interpret, make_prompts
from runtime_library import Library, Model, Session
from safetensors.numpy import load_file
from test_mixed_depths import SEQUENCES, check_scheduler, check_walk
from test_mixed_depths import make_prompts as make_short_prompts

from rondo.reference import load_model

CASES = ["r2_gqa_tied", "r4_mha", "r4_threshold"]
THRESHOLDS = [0.35, 0.6, 0.85]


def run_case(tools: Tools, model: Path, folder: Path, sequences: list[list[int]]) -> dict[str, np.ndarray]:
    """Logits and traces of the sequences."""
    bundle = tools.compile(model, folder / "model.rondo", "--exact", "--trace-points")
    (folder / "tokens.json").write_text(json.dumps({"sequences": sequences}))
    tools.run("rondo-run", bundle, f"--tokens-file={folder / 'tokens.json'}", f"--logits={folder / 'logits'}",
              f"--trace={folder / 'trace'}")
    return load_file(folder / "logits") | load_file(folder / "trace")


def read_case(case: str) -> tuple[list[list[int]], dict[str, np.ndarray], float]:
    folder = ORACLES / "ouro" / case
    sequences = json.loads((folder / "inputs.json").read_text())["sequences"]
    tolerance = json.loads((folder / "tolerance.json").read_text())["fair_tolerance"]
    return sequences, load_file(folder / "expected.safetensors"), tolerance


@pytest.mark.parametrize("threshold", THRESHOLDS)
@pytest.mark.parametrize("case", CASES)
def test_thresholds_of_the_authors(tools: Tools, tmp_path: Path, case: str, threshold: float) -> None:
    sequences, expected, tolerance = read_case(case)
    got = run_case(tools, edit(f"ouro/{case}", tmp_path / "model", {"early_exit_threshold": threshold}), tmp_path,
                   sequences)
    compared = 0
    for number in range(len(sequences)):
        if f"logits_threshold.{number}.{threshold}" not in expected:
            continue
        compared += 1
        assert np.array_equal(got[f"depth.{number}"], expected[f"depth_threshold.{number}.{threshold}"])
        assert got[f"depth.{number}"].dtype == np.int64
        distance = np.abs(got[f"logits.{number}"] - expected[f"logits_threshold.{number}.{threshold}"])
        assert distance.max() <= tolerance
    assert compared


@pytest.mark.parametrize("step", range(4))
def test_steps_of_the_authors(tools: Tools, tmp_path: Path, step: int) -> None:
    sequences, expected, tolerance = read_case("r4_threshold")
    got = run_case(tools, edit("ouro/r4_threshold", tmp_path / "model", {"early_exit_step": step}), tmp_path, sequences)
    for number in range(len(sequences)):
        assert np.abs(got[f"logits.{number}"] - expected[f"logits_at_step.{number}.{step}"]).max() <= tolerance
        assert (got[f"depth.{number}"] == step).all()
        assert f"hidden.{number}.{step + 1}" not in got


@pytest.mark.parametrize("threshold", [0.3, 0.7])
def test_interpreter_and_reference(tools: Tools, tmp_path: Path, threshold: float) -> None:
    """A longer sequence, compiled, interpreted and by the NumPy model."""
    model = edit("ouro/r4_threshold", tmp_path / "model", {"early_exit_threshold": threshold})
    tokens = make_prompts()[2]
    trace: dict[str, np.ndarray] = {}
    want = load_model(model, np.float64).logits(tokens, trace)
    meant = interpret(tools, model, tmp_path, tokens)
    got = run_case(tools, model, tmp_path, [tokens])
    assert np.array_equal(meant["depth"], trace["depth"])
    assert np.array_equal(got["depth.0"], trace["depth"])
    assert len(set(trace["depth"].tolist())) > 1
    assert np.abs(meant["logits"] - want).max() <= 2e-5
    assert np.abs(got["logits.0"] - want).max() <= 2e-4
    for visit in range(4):
        assert np.abs(meant[f"exit.{visit}"] - trace[f"exit.{visit}"]).max() <= 2e-5
        assert np.abs(got[f"exit.0.{visit}"] - trace[f"exit.{visit}"]).max() <= 2e-4


@pytest.mark.parametrize(("case", "options"), [
    ("r4_threshold", ["--exact"]), ("r4_threshold", ["--weights=bf16"]), ("r2_gqa_tied", ["--weights=f16"])])
def test_same_bits_however_it_is_run(tools: Tools, tmp_path: Path, case: str, options: list[str]) -> None:
    check_invariance(tools, edit(f"ouro/{case}", tmp_path / "model", {"early_exit_threshold": 0.6}), tmp_path, *options)


@pytest.mark.parametrize("changes", [{}, {"early_exit_threshold": 1.0}], ids=["threshold", "all-visits"])
def test_rows_at_mixed_depths(tools: Tools, tmp_path: Path, changes: dict) -> None:
    """What a row has chosen, and its record, travel with it."""
    model = edit("ouro/r4_threshold", tmp_path / "model", changes)
    for seed, rows in enumerate((8, 64)):
        bundle = tools.compile(model, tmp_path / f"{rows}.rondo", f"--rows={rows}", f"--sequences={SEQUENCES}")
        rng = random.Random(seed)
        with Model(Library(tools.folder), bundle) as loaded, Session(loaded, threads=1 + seed) as session:
            check_scheduler(session, rng, make_short_prompts(rng, SEQUENCES + 2))
            assert check_walk(session, rng, make_short_prompts(rng, SEQUENCES)) > 5


def test_gates_cost_nothing_at_fixed_depth(tools: Tools, tmp_path: Path) -> None:
    """Without trace points nothing of the gate is left; with them it is, and the logits are the same bits."""
    model = ORACLES / "ouro" / "r4_mha"
    plain, traced = tmp_path / "plain.mlir", tmp_path / "traced.mlir"
    tools.run("rondoc", model, "--compile-to=rondo", "-o", plain)
    tools.run("rondoc", model, "--compile-to=rondo", "--trace-points", "-o", traced)
    assert "linear %" in plain.read_text()
    assert "[@exit_gate]" not in plain.read_text()
    assert "rondo.fill" not in plain.read_text()
    assert "[@exit_gate]" in traced.read_text()


def test_gate_keeps_its_type(tools: Tools, tmp_path: Path) -> None:
    module = tmp_path / "module.mlir"
    tools.run("rondoc", ORACLES / "ouro" / "r4_threshold", "--weights=bf16", "--compile-to=rondo", "-o", module)
    (gate,) = [line for line in module.read_text().splitlines() if "rondo.param @exit_gate " in line]
    assert "stored as" not in gate
    assert "[@exit_gate] bias [@exit_gate_bias] arithmetic(exact)" in module.read_text()


def test_kept_keys_of_the_first_visit(tools: Tools, tmp_path: Path) -> None:
    """Another KV policy by force: one slot for all visits of a layer, compiled against the interpreter."""
    model = ORACLES / "ouro" / "r4_threshold"
    options = ["--kv-policy=first-step", "--force-kv-policy"]
    tokens = make_prompts()[1]
    want = interpret(tools, model, tmp_path, tokens, *options)
    bundle = tools.compile(model, tmp_path / "model.rondo", "--exact", *options)
    assert len(tokens) == LENGTHS[1]
    assert np.abs(tools.logits(bundle, [tokens])[0] - want["logits"]).max() <= 2e-4
    assert len(set(want["depth"].tolist())) > 1
