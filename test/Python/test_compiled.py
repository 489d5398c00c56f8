# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Oracle cases compiled by rondoc and run from Python."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from conftest import compile_once
from safetensors.numpy import load_file

import rondo
from rondo.reference import MixtureOfRecursions, load_model, read_inputs
from rondo.reference.initial_state import Given, Seeded

pytest.importorskip("rondo._runtime", reason="the extension module is not installed (pip install ./python)")


def read(case: Path, name: str) -> dict:
    return json.loads((case / name).read_text())


def load(case: Path, compiled: Path) -> rondo.Model:
    """The bundle with what the case gives it beside tokens."""
    tensors = case / "inputs.safetensors"
    return rondo.load(compiled, inputs=load_file(tensors) if tensors.exists() else {})


# Tests logits against the expected ones and against the reference model in float64.
def test_logits(case: Path, compiled: Path) -> None:
    tolerance = read(case, "tolerance.json")["fair_tolerance"]
    expected = load_file(case / "expected.safetensors")
    reference = load_model(case, np.float64)
    if (case / "inputs.safetensors").exists():
        reference = reference.prepared(read_inputs(case / "inputs.json", case / "inputs.safetensors"))
    inputs = read(case, "inputs.json")
    types = inputs.get("token_type_ids")
    with load(case, compiled) as model:
        for number, tokens in enumerate(inputs["sequences"]):
            if "logits.0" not in expected:
                with pytest.raises(rondo.UnsupportedError, match="the model has no logits; rondo-run --logits writes"):
                    model.logits(tokens)
                continue
            logits = model.logits(tokens, token_types=types[number] if types else None)
            np.testing.assert_allclose(logits, expected[f"logits.{number}"], rtol=0, atol=tolerance)
            if types is None:
                np.testing.assert_allclose(logits, reference.logits(tokens), rtol=0, atol=tolerance)


# Tests that token types are given one for each token, and to models that have them.
def test_wrong_token_types(case: Path, compiled: Path) -> None:
    takes_types = "token_type_ids" in read(case, "inputs.json")
    if "logits.0" not in load_file(case / "expected.safetensors"):
        pytest.skip("the model has no logits")
    with load(case, compiled) as model:
        with pytest.raises(ValueError, match="there are 1 token types for 2 tokens; give one for each"):
            model.logits([1, 2], token_types=[0])
        message = "token type 2 at position 1 is not below" if takes_types else "the model has 0 types; give none"
        with pytest.raises(ValueError, match=message):
            model.logits([1, 2], token_types=[0, 2] if takes_types else [0, 0])


def holds_for_one_step(model: object) -> bool:
    """Whether no later step may read the keys and values that the model leaves."""
    return isinstance(model, MixtureOfRecursions) and model.kv_policy == "hybrid"


def skip_encoder(case: Path) -> None:
    if not (case / "greedy.json").exists():
        pytest.skip("an encoder generates nothing")


# Tests that an encoder says why it does not generate.
def test_encoder_generates_nothing(case: Path, compiled: Path) -> None:
    if (case / "greedy.json").exists():
        pytest.skip("a decoder generates")
    with rondo.load(compiled) as model, pytest.raises(rondo.UnsupportedError, match="the model is no decoder"):
        model.generate([1, 2], 1)


def test_greedy_tokens(case: Path, compiled: Path) -> None:
    skip_encoder(case)
    greedy = read(case, "greedy.json")
    with load(case, compiled) as model:
        if holds_for_one_step(load_model(case)):
            with pytest.raises(rondo.UnsupportedError, match="hold for one step, so no new token can read them"):
                next(model.generate(greedy["runs"][0]["prompt"], 1))
            return
        for run in greedy["runs"]:
            assert list(model.generate(run["prompt"], greedy["new_tokens"], stop=())) == run["with_cache"]


# Tests that iterators in turn give what each gives alone: rows of other sequences change nothing.
def test_interleaved(case: Path, compiled: Path) -> None:
    skip_encoder(case)
    if holds_for_one_step(load_model(case)):
        return  # and nothing is generated, as test_greedy_tokens says
    prompts = [run["prompt"] for run in read(case, "greedy.json")["runs"]]
    with load(case, compiled) as model:
        alone = [list(model.generate(prompt, 8, stop=())) for prompt in prompts]
        together = zip(*(model.generate(prompt, 8, stop=()) for prompt in prompts), strict=True)
        assert [list(tokens) for tokens in zip(*together, strict=True)] == alone


HUGINN = Path(__file__).parents[1] / "oracles" / "huginn" / "given_state"


@pytest.fixture
def huginn(bundles: dict[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compile_once(HUGINN, bundles, tmp_path_factory)


# Tests depths, given states and drawn ones.
def test_depth_and_inputs(huginn: Path) -> None:
    tokens = [5, 17, 250, 3]
    given = load_file(HUGINN / "inputs.safetensors")
    reference = load_model(HUGINN, np.float64)
    for depth in (1, 2, 3):
        want = reference.with_steps(depth).with_initial_state(Given(given["initial_state"])).logits(tokens)
        with rondo.load(huginn, depth=depth, inputs=given) as model:
            np.testing.assert_allclose(model.logits(tokens), want, rtol=0, atol=1e-4)
    want = reference.with_initial_state(Seeded(2**63, 40, reference.deviation)).logits(tokens)
    with rondo.load(huginn, input_seed=2**63) as model:
        np.testing.assert_allclose(model.logits(tokens), want, rtol=0, atol=1e-4)


def test_depth_and_inputs_at_fault(huginn: Path) -> None:
    with pytest.raises(ValueError, match="depth 4 is not within 1 to 3"):
        rondo.load(huginn, depth=4)
    with pytest.raises(ValueError, match="model takes no input 'state', beside tokens it takes 'initial_state'"):
        rondo.load(huginn, inputs={"state": np.zeros((2, 40))})
    with pytest.raises(ValueError, match=r"'initial_state' must have the shape \[positions, width\], got \[40\]"):
        rondo.load(huginn, inputs={"initial_state": np.zeros(40)})
    with pytest.raises(ValueError, match="input_seed must be from 0 to"):
        rondo.load(huginn, input_seed=-1)
    message = "comes to position 2, input 'initial_state' has rows for 2 positions"
    with (
        rondo.load(huginn, inputs={"initial_state": np.zeros((2, 40))}) as model,
        pytest.raises(rondo.RondoError, match=message),
    ):
        model.logits([1, 2, 3])


def numbered(names: list[object]) -> list[int]:
    """Each name as the number of its first mention."""
    order = list(dict.fromkeys(names))
    return [order.index(name) for name in names]


# Tests that what the bundle says of its schedule is what the reference model runs. Layers of unlike form have bodies of
# their own, which count their layers from 0; `_reuse` is the body of visits that read the keys and values of another.
def test_schedule(case: Path, compiled: Path) -> None:
    from rondo.inspection import read as inspect
    from rondo.reference.schedule import Run

    skip_encoder(case)  # which has no slots to compare
    model = load_model(case)
    if isinstance(model, MixtureOfRecursions):  # a router decides which rows run, not which layers
        runs = [Run(layer, model.slot(layer)) for layer in range(model.sharing.layers)]
    else:
        runs = [step for step in model.schedule if isinstance(step, Run)]
    sharing = getattr(model, "sharing", None)
    stored = [sharing.place(step.layer).layer if sharing else step.layer for step in runs]
    facts = inspect(compiled)
    executed = [run for run in facts.executions if run.is_layer]
    assert numbered(
        [(run.body.replace("_reuse", "").replace("_first", ""), run.layer) for run in executed]
    ) == numbered(stored)
    if not holds_for_one_step(model):  # its slots stand in another order
        assert [run.slot for run in executed] == [step.slot for step in runs]
    assert facts.manifest["schedule"]["executed_layers"] == len(runs)
