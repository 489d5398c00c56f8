# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What the oracle tensors of Huginn do not reach: initial states, KV slots, other configurations, refusals."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from rondo.reference import CheckpointError, Huginn, Inputs, greedy, load_model, read_inputs
from rondo.reference.__main__ import main
from rondo.reference.huginn import Counts, segments
from rondo.reference.initial_state import Given, Seeded, Zeros, parse, unit
from rondo.reference.layers import rotate_neighbours
from rondo.reference.schedule import Run

from reference_edits import edited

ORACLES = Path(__file__).parents[1] / "oracles" / "huginn"
CASE = ORACLES / "given_state"  # 2 layers of prelude, 4 of core, 2 of coda, width 40
TOKENS = [5, 17, 250, 3, 99, 8]


def prepared(case: Path) -> Huginn:
    """The model of a case with its initial state and its largest number of steps."""
    return load_model(case).prepared(read_inputs(case / "inputs.json", case / "inputs.safetensors"))


def with_seed(seed: int) -> Huginn:
    model = load_model(CASE, np.float64)
    return model.with_initial_state(Seeded(seed, model.shape.hidden, model.deviation))


# Tests the greedy tokens of the authors' cache that folds the slots of the core.
@pytest.mark.parametrize("case", ["given_state", "zeros_state"])
def test_shared_slots(case: str) -> None:
    model = prepared(ORACLES / case)
    shared = model.with_steps(model.num_steps, shared_slots=model.counts.core)
    recorded = json.loads((ORACLES / case / "greedy.json").read_text())
    key = f"with_cache_compress_s{model.counts.core}"
    for run in recorded["runs"]:
        result = greedy(shared, run["prompt"], recorded["new_tokens"])
        assert result.tokens == run[key]
        assert min(result.gaps) == pytest.approx(run[f"smallest_top2_gap_{key}"], abs=1e-4)


def slots_of(*arguments: Any) -> list[int]:
    prelude, visits, coda = segments(*arguments)
    steps = [*prelude, *(step for visit in visits for step in visit), *coda]
    return [step.slot for step in steps if isinstance(step, Run)]


# Tests layers and slots of two visits, and what folding makes of the slots; two layers of a short prelude escape it.
def test_segments() -> None:
    prelude, visits, coda = segments(Counts(2, 4, 2), 2)
    layers = [[step.layer for step in part if isinstance(step, Run)] for part in (prelude, *visits, coda)]
    assert layers == [[0, 1], [2, 3, 4, 5], [2, 3, 4, 5], [6, 7]]
    assert slots_of(Counts(2, 4, 2), 2) == list(range(12))
    assert slots_of(Counts(2, 4, 2), 3, 4) == [0, 1, *[2, 3, 4, 5] * 3, 6, 7]
    assert slots_of(Counts(1, 2, 1), 3, 2) == [0, 1, 2, 3, 2, 3, 2, 4]


# Tests the published vectors of Philox4x32-10: all bits zero, all bits one.
def test_unit() -> None:
    ones = np.array([2**64 - 1], np.uint64)
    assert unit(0, np.array([0]), np.array([0]))[0] == (0x6627E8D5E169C58D >> 11) * 2.0**-53
    assert unit(2**64 - 1, ones, ones)[0] == (0x408F276D41C83B0E >> 11) * 2.0**-53


# Tests that a random state depends on seed, position and column, and is a normal distribution that is cut off.
def test_seeded_state() -> None:
    kind = np.dtype(np.float64)
    state = Seeded(7, 50, 2.0)
    whole = state(np.arange(200), kind)
    assert np.array_equal(state(np.arange(30, 40), kind), whole[30:40])
    assert not np.any(whole == Seeded(8, 50, 2.0)(np.arange(200), kind))
    u = unit(7, np.array([3]), np.array([11]))[0]
    normal = NormalDist()
    assert whole[3, 11] == 2 * normal.inv_cdf(normal.cdf(-3) + u * (normal.cdf(3) - normal.cdf(-3)))
    assert np.abs(whole).max() < 6 and np.abs(whole).max() > 5.5
    assert abs(whole.mean()) < 0.06 and whole.std() == pytest.approx(2 * 0.9865775, rel=0.02)  # of a normal cut at 3


# Tests that the deviation is the configuration's times the embedding's scale, and derived where it says nothing.
def test_deviation(tmp_path: Path) -> None:
    assert load_model(CASE).deviation == pytest.approx(0.1 * 40**0.5)
    folder = edited(CASE, tmp_path / "model", {"init_values": None})
    assert load_model(folder).deviation == pytest.approx(0.1 * 40**0.5)
    assert np.allclose(load_model(folder).logits(TOKENS), load_model(CASE).logits(TOKENS), rtol=0, atol=1e-5)


# Tests that zeros are what a given state of zeros is, and that states of another kind or seed are not.
def test_kinds_of_states() -> None:
    model = load_model(ORACLES / "zeros_state")
    zeros = model.with_initial_state(Zeros(48)).logits(TOKENS)
    assert np.array_equal(zeros, model.with_initial_state(Given(np.zeros((6, 48)))).logits(TOKENS))
    assert np.abs(zeros - model.logits(TOKENS)).max() > 1e-3
    assert np.abs(with_seed(0).logits(TOKENS) - with_seed(1).logits(TOKENS)).max() > 1e-3
    assert np.array_equal(with_seed(0).logits(TOKENS), load_model(CASE, np.float64).logits(TOKENS))


# Tests that new tokens start from states of their own positions.
def test_state_of_new_tokens() -> None:
    assert greedy(with_seed(3), TOKENS, 8).tokens == greedy(with_seed(3), TOKENS, 8, recompute=True).tokens


def test_rotate_neighbours() -> None:
    x = np.array([[[3.0, 4.0, 1.0, 0.0]]])
    cos, sin = np.array([[[0.0, 0.6]]]), np.array([[[1.0, 0.8]]])
    np.testing.assert_allclose(rotate_neighbours(x, cos, sin), [[[-4.0, 3.0, 0.6, 0.8]]], atol=1e-15)


# Tests that keys whose defaults are known, the table of angles and a repeated tied head may be absent or present.
def test_same_model(tmp_path: Path) -> None:
    want = load_model(CASE).logits(TOKENS)
    head = load_file(CASE / "model.safetensors")["transformer.wte.weight"]
    changes = {"rope_base": None, "qk_bias": None, "num_key_value_heads": None, "padded_vocab_size": None}
    folder = edited(CASE, tmp_path / "model", changes, {"freqs_cis": None, "lm_head.weight": head})
    assert np.array_equal(load_model(folder).logits(TOKENS), want)


def test_untied_head_and_no_bias(tmp_path: Path) -> None:
    weights = load_file(CASE / "model.safetensors")
    biases = [name for name in weights if name.endswith("qk_bias")]
    tensors = {"lm_head.weight": 2 * weights["transformer.wte.weight"]}
    zeros = edited(CASE, tmp_path / "zeros", {}, {name: np.zeros_like(weights[name]) for name in biases})
    changes = {"tie_embeddings": False, "qk_bias": False}
    folder = edited(CASE, tmp_path / "model", changes, tensors | dict.fromkeys(biases))
    assert np.array_equal(load_model(folder).logits(TOKENS), 2 * load_model(zeros).logits(TOKENS))


# Tests the command line: the file of the case, a depth, and the kinds of states.
def test_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = [f"--tokens-file={CASE / 'inputs.json'}", f"--inputs={CASE / 'inputs.safetensors'}"]
    assert main([str(CASE), *files, f"--logits={tmp_path / 'l'}", f"--trace={tmp_path / 't'}", "--generate=3"]) == 0
    expected, trace = load_file(CASE / "expected.safetensors"), load_file(tmp_path / "t")
    assert sorted(load_file(tmp_path / "l")) == ["logits.0", "logits.1"]
    assert {"latent_at_steps.1.1", "logits_at_steps.0.3", "hidden.0.2"} <= trace.keys()
    np.testing.assert_allclose(trace["logits_at_steps.1.1"], expected["logits_at_steps.1.1"], rtol=0, atol=1.6e-4)
    tokens = [item["tokens"] for item in json.loads(capsys.readouterr().out)["sequences"]]
    assert tokens[0] == json.loads((CASE / "greedy.json").read_text())["runs"][0]["with_cache"][:3]
    assert main([str(CASE), "--tokens=5,17", "--depth=2", "--initial-state=zeros", f"--logits={tmp_path / 'z'}"]) == 0
    model = load_model(CASE).with_steps(2).with_initial_state(Zeros(40))
    assert np.array_equal(load_file(tmp_path / "z")["logits.0"], model.logits([5, 17]))
    assert main([str(CASE), "--tokens=5,17", "--initial-state=seed:9", f"--logits={tmp_path / 's'}"]) == 0
    seeded = load_model(CASE).with_initial_state(Seeded(9, 40, 0.1 * 40**0.5))
    np.testing.assert_allclose(load_file(tmp_path / "s")["logits.0"], seeded.logits([5, 17]), rtol=0, atol=1e-5)
    assert main([str(CASE), "--tokens=5,17", files[1], f"--logits={tmp_path / 'g'}"]) == 0
    given = prepared(CASE).with_steps(3).logits([5, 17])
    assert np.array_equal(load_file(tmp_path / "g")["logits.0"], given)


@pytest.mark.parametrize("text", ["zero", "seed", "seed:", "seed:-1", "seed:x", f"seed:{2**64}", "zeros:1", ""])
def test_bad_state(text: str) -> None:
    with pytest.raises(CheckpointError, match="zeros or seed:NUMBER"):
        parse(text)
    with pytest.raises(SystemExit) as exit_:
        main(["model", "--tokens=1", f"--initial-state={text}"])
    assert exit_.value.code == 2


# Tests combinations of options and inputs that contradict one another or the model.
def test_inputs_at_fault(llama_case: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tokens_file, inputs = f"--tokens-file={CASE / 'inputs.json'}", f"--inputs={CASE / 'inputs.safetensors'}"
    (tmp_path / "steps.json").write_text('{"sequences": [[1]], "num_steps": [0]}')
    (tmp_path / "two.json").write_text('{"sequences": [[1]], "num_steps": [2]}')
    save_file({"state": np.zeros((2, 40), np.float32)}, tmp_path / "unknown")
    save_file({"initial_state": np.zeros((2, 41), np.float32)}, tmp_path / "wide")
    for arguments, message in [
        ([str(CASE), tokens_file], "'initial_state' is a tensor; give a safetensors file that has it by --inputs=FILE"),
        ([str(CASE), tokens_file, inputs, "--depth=2"], "the inputs file has 'num_steps'; leave out --depth"),
        ([str(CASE), "--tokens=1", inputs, "--initial-state=zeros"], "leave out --initial-state"),
        ([str(CASE), f"--tokens-file={tmp_path / 'steps.json'}"], "'num_steps' to be a list of numbers from 1"),
        ([str(CASE), "--tokens=1", f"--inputs={tmp_path / 'unknown'}"], "unknown tensor 'state'"),
        ([str(CASE), "--tokens=1", f"--inputs={tmp_path / 'wide'}"], "shape [2, 41], expected [positions, 40]"),
        ([str(CASE), "--tokens=1", "--depth=0"], "'num_steps' must be at least 1, got 0"),
        ([str(llama_case), "--tokens=1", inputs], "does not take 'initial_state'; leave it out"),
        ([str(llama_case), f"--tokens-file={tmp_path / 'two.json'}"], "does not take 'num_steps'; leave it out"),
        ([str(llama_case), "--tokens=1", "--depth=2"], "--depth is for Huginn models only; leave it out"),
        ([str(llama_case), "--tokens=1", "--initial-state=zeros"], "--initial-state is for Huginn models only"),
    ]:
        assert main([*arguments, "--generate=1"]) == 1
        assert message in capsys.readouterr().err


def test_too_many_positions() -> None:
    with pytest.raises(CheckpointError, match="rows for 36 positions, but position 36 is run"):
        prepared(CASE).logits([1] * 37)
    with pytest.raises(CheckpointError, match="129 positions do not fit the context of 128"):
        load_model(CASE).logits([1] * 129)
    with pytest.raises(CheckpointError, match="'shared_slots' must be at least 1"):
        load_model(CASE).with_steps(1, shared_slots=0)


REFUSED = [
    ({"block_class_name": "TransformerPreNormBlock"}, "'block_class_name'"),
    ({"injection_type": "add"}, "'injection_type' 'add'"),
    ({"test_time_noise": 0.1}, "test_time_noise"),
    ({"bias": True}, "'bias'"),
    ({"n_layers": 9}, "'n_layers' is 9, but other keys say 8"),
    ({"head_dim": 12}, "'head_dim' is 12, but other keys say 10"),
    ({"n_heads": 3, "head_dim": None}, "even multiple of n_heads 3"),
    ({"rope_base": 10000}, "'freqs_cis' is not the table of 'rope_base' 10000"),
    ({"tie_embeddings": None}, "'tie_embeddings' is missing"),
    ({"tie_embeddings": False}, "'lm_head.weight' is missing"),
    ({"mean_recurrence": 0}, "at least 1, got 0"),
]


@pytest.mark.parametrize("changes, message", REFUSED, ids=[message for _, message in REFUSED])
def test_refusals(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        load_model(edited(CASE, tmp_path / "model", changes))


def test_tied_head_that_differs(tmp_path: Path) -> None:
    head = 2 * load_file(CASE / "model.safetensors")["transformer.wte.weight"]
    with pytest.raises(CheckpointError, match="'lm_head.weight' differs from the embedding"):
        load_model(edited(CASE, tmp_path / "model", {}, {"lm_head.weight": head}))


def test_prepared_keeps_a_model_without_inputs() -> None:
    model = load_model(CASE)
    assert model.prepared(Inputs(((1,),))) is model
