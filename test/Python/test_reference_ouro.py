# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What the oracle cases of Ouro do not reach: exit rules by hand, their command line, refusals."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from rondo.reference import CheckpointError, ExitRule, greedy, load_model
from rondo.reference.__main__ import main
from rondo.reference.ouro import exit_distribution, exit_visits, read_out, schedule
from rondo.reference.schedule import Run

from reference_edits import edited

CASE = Path(__file__).parents[1] / "oracles" / "ouro" / "r4_mha"
TOKENS = [5, 17, 250, 3, 99, 8]


def gates(*hazards: float) -> list[np.ndarray]:
    """Gates before the sigmoid of one position that exits with these probabilities at each visit it reaches."""
    return [np.array([np.log(hazard / (1 - hazard))]) for hazard in hazards]


# Tests exit distributions worked out by hand; the last gate says nothing.
def test_exit_distribution() -> None:
    np.testing.assert_allclose(exit_distribution(gates(0.3, 0.3, 0.3, 0.9)), [[0.3, 0.21, 0.147, 0.343]], atol=1e-15)
    np.testing.assert_allclose(exit_distribution(gates(0.1, 0.6, 0.2, 0.5)), [[0.1, 0.54, 0.072, 0.288]], atol=1e-15)


@pytest.mark.parametrize(
    "hazards, exits",
    [
        ((0.3, 0.3, 0.3), {0.2: 0, 0.5: 1, 0.6: 2, 0.7: 3, 1.0: 3}),
        ((0.1, 0.6, 0.2), {0.5: 1, 0.7: 2, 0.75: 3}),
    ],
)
def test_thresholds(hazards: tuple[float, ...], exits: dict[float, int]) -> None:
    distribution = exit_distribution(gates(*hazards, 0.5))
    for threshold, visit in exits.items():
        assert exit_visits(distribution, ExitRule("gate", threshold)).tolist() == [visit]


# Tests that a sum that equals the threshold exits, and that a gate of exactly 1 exits at threshold 1.
def test_threshold_is_reached() -> None:
    assert exit_visits(np.array([[0.25, 0.25, 0.5]]), ExitRule("gate", 0.5)).tolist() == [1]
    saturated = exit_distribution([np.float32([20.0]), np.float32([0.0])])
    assert exit_visits(saturated, ExitRule("gate", 1.0)).tolist() == [0]
    assert exit_visits(saturated, ExitRule("none")).tolist() == [1]


# Tests that each position gets the state of its own visit, and the mean under the weighted rule.
def test_read_out() -> None:
    visits = [np.array([[1.0], [2.0]]), np.array([[10.0], [20.0]])]
    distribution = np.array([[0.75, 0.25], [0.25, 0.75]])
    state, depth = read_out(visits, distribution, ExitRule("gate", 0.5))
    assert (state.tolist(), depth.tolist()) == ([[1.0], [20.0]], [0, 1])
    state, depth = read_out(visits, distribution, ExitRule("weighted"))
    assert (state.tolist(), depth.tolist()) == ([[3.25], [15.5]], [-1, -1])


def test_schedule() -> None:
    runs = [(step.layer, step.slot) for step in schedule(2, 3) if isinstance(step, Run)]
    assert runs == [(0, 0), (1, 1), (0, 2), (1, 3), (0, 4), (1, 5)]


# Tests that a rule of the configuration, of a call and of the command line give the same logits.
def test_rule_from_everywhere(tmp_path: Path) -> None:
    want = load_file(CASE / "expected.safetensors")["logits_at_step.1.2"]
    tokens = json.loads((CASE / "inputs.json").read_text())["sequences"][1]
    by_key = load_model(edited(CASE, tmp_path / "model", {"early_exit_step": 2})).logits(tokens)
    by_call = load_model(CASE).with_exit(ExitRule("step", 2)).logits(tokens)
    prompt = "--tokens=" + ",".join(map(str, tokens))
    assert main([str(CASE), prompt, "--exit=step:2", f"--logits={tmp_path / 'logits'}"]) == 0
    by_option = load_file(tmp_path / "logits")["logits.0"]
    np.testing.assert_allclose(by_key, want, rtol=0, atol=1e-4)
    assert np.array_equal(by_key, by_call) and np.array_equal(by_key, by_option)


# Tests that without a threshold the last visit is read, and that generation follows the rule.
def test_no_threshold(tmp_path: Path) -> None:
    model = load_model(edited(CASE, tmp_path / "model", {"early_exit_threshold": None}))
    assert model.rule == ExitRule("none")
    assert greedy(model, TOKENS, 8).tokens == greedy(model.with_exit(ExitRule("step", 3)), TOKENS, 8).tokens
    assert greedy(model, TOKENS, 8).tokens != greedy(model.with_exit(ExitRule("step", 0)), TOKENS, 8).tokens


# Tests that thresholds of an inputs file are traced.
def test_thresholds_of_inputs(tmp_path: Path) -> None:
    (tmp_path / "inputs.json").write_text('{"sequences": [[1, 2]], "thresholds": [0.25]}')
    assert main([str(CASE), f"--tokens-file={tmp_path / 'inputs.json'}", f"--trace={tmp_path / 'trace'}"]) == 0
    trace = load_file(tmp_path / "trace")
    assert trace["logits_threshold.0.0.25"].shape == (2, 256)
    assert trace["depth_threshold.0.0.25"].dtype == np.int64


@pytest.mark.parametrize("text", ["step", "step:a", "gate", "gate:x", "none:1", "weighted:1", "act:1", ""])
def test_bad_rule(text: str) -> None:
    with pytest.raises(CheckpointError, match=r"gate:THRESHOLD or weighted for an exit rule, got"):
        ExitRule.parse(text)
    with pytest.raises(SystemExit) as exit_:
        main(["model", "--tokens=1", f"--exit={text}"])
    assert exit_.value.code == 2


# Tests that a visit that is not made, and a model without a gate, are refused.
def test_rule_that_does_not_fit(llama_case: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(CASE), "--tokens=1", "--exit=step:4", "--generate=1"]) == 1
    assert main([str(llama_case), "--tokens=1", "--exit=none", "--generate=1"]) == 1
    errors = capsys.readouterr().err.splitlines()
    assert errors[0] == "error: exit at visit 4, but there are visits 0 to 3 only"
    assert errors[1] == "error: --exit is for Ouro models only; leave it out"


REFUSED = [
    ({"early_exit_step": 4}, "exit at visit 4"),
    ({"layer_types": ["full_attention", "sliding_attention", "full_attention"]}, "layer_types"),
    ({"use_sliding_window": True}, "use_sliding_window"),
    ({"total_ut_steps": None}, "'total_ut_steps' is missing"),
    ({"total_ut_steps": 0}, "at least 1, got 0"),
    ({"rope_theta": None}, "'rope_theta' is missing"),
    ({"tie_word_embeddings": None}, "'tie_word_embeddings' is missing"),
    ({"head_dim": None}, "'head_dim' is missing"),
    ({"attention_bias": True}, "attention_bias"),
    ({"hidden_act": "gelu"}, "activation 'gelu'"),
]


@pytest.mark.parametrize("changes, message", REFUSED, ids=[message for _, message in REFUSED])
def test_refusals(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        load_model(edited(CASE, tmp_path / "model", changes))


BAD_INPUTS = [
    ("[]", "expected an object with 'sequences'"),
    ("{}", "expected 'sequences'"),
    ('{"sequences": [1]}', "expected 'sequences'"),
    ('{"sequences": [[true]]}', "expected 'sequences'"),
    ('{"sequences": [[1]], "prefix": [1]}', "unknown key 'prefix'"),
    ('{"sequences": [[1]], "thresholds": ["a"]}', "'thresholds'"),
]


@pytest.mark.parametrize("content, message", BAD_INPUTS)
def test_bad_inputs(tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str, message: str) -> None:
    (tmp_path / "inputs.json").write_text(content)
    assert main([str(CASE), f"--tokens-file={tmp_path / 'inputs.json'}", "--generate=1"]) == 1
    assert message in capsys.readouterr().err
