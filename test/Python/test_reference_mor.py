# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Mixture-of-Recursions beyond the oracle tensors: decoding, causal routing, models that can be worked out by hand."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ORACLES
from safetensors.numpy import load_file

from rondo.reference import CheckpointError, MixtureOfRecursions, greedy, load_model
from rondo.reference.__main__ import main
from rondo.reference.decoder import Shape, Weights
from rondo.reference.layers import Linear, Rope, softmax
from rondo.reference.parts import Place
from rondo.reference.routing import ExpertChoice, Scoring, TokenChoice, count, default_capacities, top
from rondo.reference.sharing import Sharing

from reference_edits import edited_case, edited_tensors

MOR = ORACLES / "mor"
CYCLE, CYCLE_SHARED = MOR / "expert_cycle_r2", MOR / "expert_cycle_r3_kvshare"
MIDDLE, MIDDLE_SHARED = MOR / "expert_middle_cycle_r3", MOR / "expert_middle_cycle_r2_kvshare"
UNSHARED, HYBRID = MOR / "expert_middle_cycle_r2_unshared_attention", MOR / "expert_middle_cycle_r3_kvshare_update"
TOKEN, TOKEN_SHARED = MOR / "token_middle_cycle_r3", MOR / "token_middle_cycle_r2_kvshare"
# With these some tokens stop at each depth of each case.
TOKENS = np.random.default_rng(1).integers(0, 256, 24).tolist()
HIDDEN = 48  # of all cases
Tensors = dict[str, np.ndarray]


# --- Decoding ---------------------------------------------------------------------------------------------------------


# Tests the logits of each step of the authors' cached runs, where they decode what they computed.
@pytest.mark.parametrize("case", sorted(set(MOR.iterdir()) - {HYBRID}), ids=lambda case: case.name)
def test_cached_steps(case: Path) -> None:
    model = load_model(case)
    expected, tolerance = load_file(case / "expected.safetensors"), json.loads((case / "tolerance.json").read_text())
    for number, run in enumerate(json.loads((case / "greedy.json").read_text())["runs"]):
        cache = model.new_cache(len(run["prompt"]) + len(run["with_cache"]))
        parts = [run["prompt"], *([token] for token in run["with_cache"][:-1])]
        logits = np.stack([model.head(model.states(part, cache))[-1] for part in parts])
        want = expected[f"cached_step_logits.{number}"]
        np.testing.assert_allclose(logits, want, rtol=0, atol=tolerance["fair_tolerance"])


# Tests that under the released rule a call with one token runs all depths, and that chunks are not the whole.
def test_released_calls() -> None:
    model = load_model(MIDDLE, np.float64)
    cache, trace = model.new_cache(len(TOKENS)), {}
    whole = model.logits(TOKENS)
    model.states(TOKENS[:-1], cache)
    last = model.head(model.states(TOKENS[-1:], cache, trace))
    assert (trace["depth"].tolist(), trace["selected.2"].tolist()) == ([2], [23])
    assert np.max(np.abs(last - whole[-1])) > 1e-3


# Tests what each policy keeps: slots by unrolled or by stored layer, and in the former only the rows that were there.
def test_slots() -> None:
    caches = {}
    for case in (MIDDLE, MIDDLE_SHARED):
        model = load_model(case)
        caches[case] = model.new_cache(6)
        model.states(TOKENS[:6], caches[case])
    assert (len(caches[MIDDLE].keys), len(caches[MIDDLE_SHARED].keys)) == (8, 4)
    assert caches[MIDDLE].filled[1:7] == [6, 6, 4, 4, 2, 2]
    assert np.all(caches[MIDDLE].keys[5, 2:] == 0) and np.all(caches[MIDDLE].keys[5, :2] != 0)


# Tests that a model that shares slots is another one without a cache, and that this one shares nothing.
@pytest.mark.parametrize("case", [CYCLE_SHARED, HYBRID, TOKEN_SHARED], ids=lambda case: case.name)
def test_unshared_kv(case: Path) -> None:
    model = load_model(case)
    assert model.unshared_kv.kv_policy == "unshared" and model.unshared_kv.unshared_kv is None
    assert len(model.unshared_kv.new_cache(1).keys) == model.sharing.layers
    assert load_model(MIDDLE).unshared_kv is None


# --- Causal routing ---------------------------------------------------------------------------------------------------


def second_routers(case: Path, target: Path) -> Path:
    """The case with routers of its own to choose by, which let through other tokens than its main ones."""
    made = edited_case(case, target, train={"mor.expert.sampling": "aux_router"})
    generator = np.random.default_rng(3)
    routers = [name for name in load_file(case / "model.safetensors") if "mor_router" in name]
    names = [name.replace("mor_router", "mlp_router") for name in routers]
    return edited_tensors(made, {name: generator.normal(0, 0.2, (1, HIDDEN)) for name in names})


def mlp_routers(case: Path, target: Path, outputs: int = 1, kind: str = "mlp") -> Path:
    """The case with routers of two layers."""
    made = edited_case(case, target, train={"mor.router_type": kind})
    generator = np.random.default_rng(4)
    changes: dict[str, np.ndarray | None] = {}
    for name in load_file(case / "model.safetensors"):
        if name.endswith("mor_router.router.weight"):
            changes[name] = None
            changes[name.replace("router.weight", "router.0.weight")] = generator.normal(0, 0.2, (2 * HIDDEN, HIDDEN))
            changes[name.replace("router.weight", "router.2.weight")] = generator.normal(0, 0.2, (outputs, 2 * HIDDEN))
    return edited_tensors(made, changes)


def changed(case: Path, **train: Any) -> Callable[[Path], Path]:
    """A maker of the case with other options of expert choice."""
    return lambda target: edited_case(case, target, train={f"mor.expert.{key}": value for key, value in train.items()})


CAUSAL: dict[str, Callable[[Path], Path]] = {
    "cycle": lambda _: CYCLE,
    "cycle-shared": lambda _: CYCLE_SHARED,
    "middle": lambda _: MIDDLE,
    "middle-shared": lambda _: MIDDLE_SHARED,
    "unshared-attention": lambda _: UNSHARED,
    "second-routers": lambda target: second_routers(MIDDLE, target),
    "second-routers-shared": lambda target: second_routers(MIDDLE_SHARED, target),
    "mlp": lambda target: mlp_routers(MIDDLE, target),
    "tanh": changed(MIDDLE, router_func="tanh"),
    "no-function": changed(CYCLE, router_func=None),
    "additive": changed(MIDDLE, gating="additive"),
    "tested-from-depth-0": lambda target: edited_case(MIDDLE, target, train={"mor.capacity": "0.9,0.5,0.3"}),
    "tested-from-depth-0-cycle": lambda target: edited_case(CYCLE, target, train={"mor.capacity": "0.9,0.5"}),
    "tested-from-depth-0-shared": lambda target: edited_case(MIDDLE_SHARED, target, train={"mor.capacity": "0.9,0.5"}),
}


def in_parts(model: MixtureOfRecursions, tokens: Sequence[int], lengths: Sequence[int]) -> np.ndarray:
    cache, parts, first = model.new_cache(len(tokens)), [], 0
    for length in lengths:
        parts.append(model.head(model.states(tokens[first : first + length], cache)))
        first += length
    return np.concatenate(parts)


# Tests that a prompt gives the same at once, token by token, and in chunks, where some tokens stop early.
@pytest.mark.parametrize("name", CAUSAL)
def test_causal_parts(tmp_path: Path, name: str) -> None:
    model = load_model(CAUSAL[name](tmp_path / "case"), np.float64).with_routing("causal")
    trace: Tensors = {}
    whole = model.logits(TOKENS, trace)
    assert len(set(trace["depth"].tolist())) >= model.sharing.visits
    np.testing.assert_allclose(in_parts(model, TOKENS, [1] * len(TOKENS)), whole, rtol=0, atol=1e-10)
    np.testing.assert_allclose(in_parts(model, TOKENS, [11, 1, 12]), whole, rtol=0, atol=1e-10)


# Tests the same of token choice, which needs no rule for it.
@pytest.mark.parametrize("case", [TOKEN, TOKEN_SHARED], ids=lambda case: case.name)
def test_token_choice_in_parts(case: Path) -> None:
    model = load_model(case, np.float64)
    whole = model.logits(TOKENS)
    np.testing.assert_allclose(in_parts(model, TOKENS, [1] * len(TOKENS)), whole, rtol=0, atol=1e-10)
    np.testing.assert_allclose(in_parts(model, TOKENS, [11, 1, 12]), whole, rtol=0, atol=1e-10)


# Tests that later tokens change earlier logits under the released rule, and only under that.
@pytest.mark.parametrize("case", [CYCLE, CYCLE_SHARED, MIDDLE, HYBRID], ids=lambda case: case.name)
def test_looking_ahead(case: Path) -> None:
    released = load_model(case, np.float64)
    causal = released.with_routing("causal")
    differences = {}
    for name, model in (("released", released), ("causal", causal)):
        whole = model.logits(TOKENS)
        ends = range(8, len(TOKENS), 4)
        differences[name] = max(np.max(np.abs(whole[:end] - model.logits(TOKENS[:end]))) for end in ends)
    assert differences["released"] > 0.1 and differences["causal"] < 1e-10


# Tests that the second routers choose by the state itself, where there are any, and gates stay those of the main ones.
def test_second_routers(tmp_path: Path) -> None:
    folder = edited_case(second_routers(MIDDLE, tmp_path / "a"), tmp_path / "case", train={"mor.temp": 3.0})
    model, trace = load_model(folder, np.float64).with_routing("causal"), {}
    model.logits(TOKENS, trace)
    weights = {name: value.astype(float) for name, value in load_file(folder / "model.safetensors").items()}
    for depth in (1, 2):
        before, active = trace[f"hidden.{depth - 1}"], trace[f"candidates.{depth}"]
        signs = before[active] @ weights[f"model.layers.{1 + depth}.mlp_router.router.weight"][0]
        assert trace[f"selected.{depth}"].tolist() == active[signs >= 0].tolist()
        logits = (before[active] / 3) @ weights[f"model.layers.{1 + depth}.mor_router.router.weight"][0]
        np.testing.assert_allclose(trace[f"router.{depth}"], logits, rtol=0, atol=1e-12)
    released: Tensors = {}
    load_model(folder, np.float64).logits(TOKENS, released)
    assert released["selected.1"].tolist() != trace["selected.1"].tolist()


# --- Models by hand ---------------------------------------------------------------------------------------------------


def layer_that_keeps(calls: list[tuple[int, int]]) -> Callable[[np.ndarray, Place], np.ndarray]:
    """A layer that changes nothing and writes down its first row's entry in the slot and its number of rows."""

    def layer(x: np.ndarray, place: Place) -> np.ndarray:
        calls.append((place.first, len(x)))
        return x

    return layer


def by_hand(
    table: Any, routing: ExpertChoice | TokenChoice, visits: int, calls: list[tuple[int, int]] | None = None
) -> MixtureOfRecursions:
    """A model in float64 whose block and norm change nothing; token t starts as row t of the table."""
    table = np.asarray(table, np.float64)
    shape = Shape(len(table), table.shape[1], visits, heads=1, kv_heads=1, head_dim=2, context=64)
    layers = tuple(layer_that_keeps([] if calls is None else calls) for _ in range(visits))
    weights = Weights(table, layers, final_norm=lambda x: x, head=table)
    return MixtureOfRecursions(shape, weights, Rope(10000.0), Sharing("cycle", visits, visits), routing)


def expert(routers: Any, capacities: tuple[float, ...] | None = None, **scoring: Any) -> ExpertChoice:
    """Expert choice with routers [R, d]; alpha is 0.1, the function the sigmoid."""
    linears = tuple(Linear(np.array([row], np.float64)) for row in routers)
    options = {"function": "sigmoid", "alpha": 0.1, "temperature": 1.0, "weighted": True} | scoring
    return ExpertChoice(linears, capacities or default_capacities(len(linears)), (), Scoring(**options))


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


# Tests the number of rows at three depths with default capacities, and truncation in float64.
def test_counts() -> None:
    capacities = default_capacities(3)
    want = {1: [1, 1, 1], 4: [4, 2, 1], 6: [6, 4, 2], 10: [10, 6, 3], 2048: [2048, 1365, 682]}
    assert {rows: [count(capacity, rows) for capacity in capacities] for rows in want} == want
    assert count(0.29, 100) == 28


# Tests that of equal scores the first ones are taken, in the order of positions.
def test_top() -> None:
    assert top(np.array([1.0, 3.0, 2.0, 3.0, 2.0]), 3).tolist() == [1, 2, 3]
    assert top(np.zeros(4), 2).tolist() == [0, 1]
    assert top(np.arange(400) % 2.0, 150).tolist() == list(range(1, 300, 2))


# Tests a token that goes through three depths with logits of zero: each multiplies it by 1 + 0.1 / 2.
def test_expert_gates_add_the_residual_too() -> None:
    model = by_hand([[2.0, -1.0]], expert(np.zeros((3, 2))), 3)
    np.testing.assert_allclose(model.states([0], model.new_cache(1)), [[2 * 1.157625, -1.157625]], rtol=1e-15)


# Tests equal logits of three depths: the first one, and a third more of the state.
def test_token_gate_of_a_tie() -> None:
    scoring = Scoring("softmax", 1.0, 1.0, weighted=True)
    model = by_hand([[2.0, -1.0]], TokenChoice(Linear(np.zeros((3, 2))), None, scoring), 3)
    trace: Tensors = {}
    np.testing.assert_allclose(model.states([0], model.new_cache(1), trace), [[8 / 3, -4 / 3]], rtol=1e-15)
    assert trace["depth"].tolist() == [0]


# Tests gates of one visit's worth, from a logit of 3 at temperature 2.
@pytest.mark.parametrize(
    "options, gate",
    [
        ({}, 0.1 * sigmoid(1.5)),
        ({"alpha": 2.0}, 2 * sigmoid(1.5)),
        ({"function": "tanh"}, 0.1 * math.tanh(1.5)),
        ({"function": None}, 1.5),
        ({"weighted": False}, 1.0),
        ({"weighted": False, "function": None}, 1.0),
    ],
)
def test_expert_gate(options: dict[str, Any], gate: float) -> None:
    routing = expert([[3.0, 0.0], [0.0, 0.0]], temperature=2.0, capacities=(1.0, 0.5), **options)
    model, trace = by_hand([[1.0, 5.0]], routing, 2), {}
    model.states([0], model.new_cache(1), trace)
    np.testing.assert_allclose(trace["hidden.0"], [[1 + gate, 5 + 5 * gate]], rtol=1e-15)
    assert trace["router.0"].tolist() == [1.5]


# Tests that a bias moves the choice and not the score, and that a state is multiplied once, whatever its depth.
@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize("function", ["softmax", "sigmoid"])
def test_token_choice_with_a_bias(function: str, weighted: bool) -> None:
    logits = np.array([1.0, 0.5, -2.0])
    scores = 0.5 * (softmax(logits) if function == "softmax" else 1 / (1 + np.exp(-logits)))
    for bias, depth in ((None, 0), (np.array([0.0, 0.0, 5.0]), 2), (np.array([0.0, 0.3, 0.0]), 1)):
        routing = TokenChoice(Linear(logits[:, None]), bias, Scoring(function, 0.5, 1.0, weighted))
        model, trace = by_hand([[1.0]], routing, 3), {}
        result = model.states([0], model.new_cache(1), trace)
        np.testing.assert_allclose(result, [[1 + (scores[depth] if weighted else 1.0)]], rtol=1e-15)
        assert trace["depth"].tolist() == [depth]


# What the routers of depths 0, 1, 2 read of tokens 0 to 4. The first is not asked, 0 goes on.
SIGNS = [[1, 1, 1], [1, 1, -1], [1, -1, 1], [-1, 1, 1], [1, 0, 1]]


# Tests which tokens the causal rule lets through, what it multiplies them by, and that their slots have no gaps.
@pytest.mark.parametrize("function", ["sigmoid", "tanh", None])
def test_causal_choice(function: str | None) -> None:
    calls: list[tuple[int, int]] = []
    model = by_hand(SIGNS, expert(np.eye(3), function=function), 3, calls).with_routing("causal")
    trace: Tensors = {}
    states = model.states(range(5), model.new_cache(5), trace)
    selected = [trace[f"selected.{depth}"].tolist() for depth in range(3)]
    assert selected == [[0, 1, 2, 3, 4], [0, 1, 3, 4], [0, 3, 4]]
    assert trace["candidates.2"].tolist() == [0, 1, 3, 4]
    assert trace["depth"].tolist() == [2, 1, 0, 2, 2]
    assert calls == [(0, 5), (0, 4), (0, 3)]
    if function == "sigmoid":
        scale = 1.0
        for _ in range(3):
            scale *= 1 + 0.1 * sigmoid(scale)
        np.testing.assert_allclose(states[0], scale * np.ones(3), rtol=1e-15)


# Tests the same token by token: each takes the next free entry of the slot of each depth that it reaches.
def test_causal_choice_by_token() -> None:
    calls: list[tuple[int, int]] = []
    model = by_hand(SIGNS, expert(np.eye(3)), 3, calls).with_routing("causal")
    cache = model.new_cache(5)
    for token in range(5):
        model.states([token], cache)
    first, second, third, fourth, fifth = [(0, 1)] * 3, [(1, 1)] * 2, [(2, 1)], [(3, 1), (2, 1), (1, 1)], [(4, 1)]
    assert calls == [*first, *second, *third, *fourth, *fifth, (3, 1), (2, 1)]


# Tests that depth 0 asks its router where its capacity is less than all.
def test_causal_choice_at_depth_0() -> None:
    model = by_hand(SIGNS, expert(np.eye(3), capacities=(0.9, 0.5, 0.1)), 3).with_routing("causal")
    trace: Tensors = {}
    states = model.states(range(5), model.new_cache(5), trace)
    assert trace["depth"].tolist() == [2, 1, 0, -1, 2]
    assert states[3].tolist() == SIGNS[3]


# Tests that second routers see states that the temperature has not divided.
def test_second_router_has_no_temperature() -> None:
    def above_two(x: np.ndarray) -> np.ndarray:
        return x[:, :1] - 2

    routing = expert(-np.ones((2, 1)), temperature=2.0, capacities=(0.9, 0.5))
    routing = dataclasses.replace(routing, auxiliary=(above_two, above_two))
    model, trace = by_hand([[3.0], [1.0], [2.0]], routing, 2).with_routing("causal"), {}
    model.states([0, 1, 2], model.new_cache(3), trace)
    assert trace["selected.0"].tolist() == [0, 2]


# --- Routers of two layers --------------------------------------------------------------------------------------------


# Tests their logits, with the exact gelu, and that a wide one is no wider.
@pytest.mark.parametrize("kind", ["mlp", "wide_mlp"])
@pytest.mark.parametrize("case, outputs", [(MIDDLE, 1), (TOKEN, 3)], ids=["expert", "token"])
def test_mlp_router(tmp_path: Path, case: Path, outputs: int, kind: str) -> None:
    folder = mlp_routers(case, tmp_path / "case", outputs, kind)
    trace: Tensors = {}
    load_model(folder, np.float64).logits(TOKENS, trace)
    weights = load_file(folder / "model.safetensors")
    up, down = (weights[f"model.layers.1.mor_router.router.{layer}.weight"].astype(float) for layer in (0, 2))
    for row, x in enumerate(trace["prelude"]):
        inner = [0.5 * value * (1 + math.erf(value / math.sqrt(2))) for value in up @ x]
        logits = [trace["router.0"][row]] if outputs == 1 else [trace[f"router.{depth}"][row] for depth in range(3)]
        np.testing.assert_allclose(logits, down @ inner, rtol=0, atol=1e-12)


# --- Command line -----------------------------------------------------------------------------------------------------


def test_routing_option(tmp_path: Path, capsys: pytest.CaptureFixture[str], llama_case: Path) -> None:
    prompt = "--tokens=" + ",".join(map(str, TOKENS))
    assert main([str(MIDDLE), prompt, "--routing=causal", f"--logits={tmp_path / 'l'}", "--generate=6", "--stop="]) == 0
    causal = load_model(MIDDLE).with_routing("causal")
    assert np.array_equal(load_file(tmp_path / "l")["logits.0"], causal.logits(TOKENS))
    tokens = json.loads(capsys.readouterr().out)["sequences"][0]["tokens"]
    assert tokens == greedy(causal, TOKENS, 6).tokens == greedy(causal, TOKENS, 6, recompute=True).tokens
    assert main([str(TOKEN), prompt, "--routing=causal"]) == 1
    assert main([str(llama_case), prompt, "--routing=causal"]) == 1
    assert main([str(HYBRID), prompt, "--generate=2"]) == 1
    errors = capsys.readouterr().err.splitlines()
    assert errors[0] == "error: with token choice there is one way of routing, which is causal; leave the routing out"
    assert errors[1] == "error: --routing is for MixtureOfRecursions models only; leave it out"
    assert errors[2].startswith("error: with 'kv_sharing.update_cache' keys and values of deeper visits are not kept")
    assert errors[2].endswith("run the whole sequence at once (--recompute)")


# Tests that a rule that was not trained, or that does not exist, is refused.
def test_bad_rule(tmp_path: Path) -> None:
    model = load_model(changed(MIDDLE, sampling=None)(tmp_path / "case"))
    assert np.array_equal(model.with_routing("released").logits(TOKENS), load_model(MIDDLE).logits(TOKENS))
    with pytest.raises(CheckpointError, match=r"'mor.expert.sampling' is null, so no threshold .*; use released"):
        model.with_routing("causal")
    with pytest.raises(CheckpointError, match="routing 'random' is not known; expected one of: released, causal"):
        model.with_routing("random")
