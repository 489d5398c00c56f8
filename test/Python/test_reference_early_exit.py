# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Early exits of the oracle cases that loop, under every policy of what an exited row leaves."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path

import numpy as np
import pytest
from conftest import ORACLES
from numpy.typing import DTypeLike

from rondo.reference import CheckpointError, Decoder, ExitRule, Loop, greedy, load_model
from rondo.reference.decoder import Trace
from rondo.reference.early_exit import AFTER_EXIT, EarlyExit, ExitCache, VisitPlace
from rondo.reference.exit_rules import Rule, Visit, exit_visit, parse
from rondo.reference.huginn import Huginn
from rondo.reference.initial_state import Zeros
from rondo.reference.layers import Array, Linear, sigmoid, softmax
from rondo.reference.parts import Attention
from rondo.reference.recursive import RecursiveDecoder
from rondo.reference.schedule import Run
from rondo.reference.sharing import Sharing

TOKENS = [5, 17, 250, 3, 99, 8, 77, 131, 12, 240, 6, 64]
RRT = ORACLES / "rrt"
CASES = {
    "cycle": RRT / "cycle_r2_lora_qv",
    "encoding": RRT / "cycle_r2_recursion_encoding",
    "middle": RRT / "middle_cycle_r3_lora_all",
    "huginn": ORACLES / "huginn" / "zeros_state",
    "ouro": ORACLES / "ouro" / "r4_mha",
    "nanbeige": ORACLES / "nanbeige" / "loops2",
}
RRT_CASES = ("cycle", "encoding", "middle")
# Rounding of another order of summation in float64, which chunks of other sizes have; logits are of the order of 1.
ROUNDING = 1e-11


def load(name: str, dtype: DTypeLike = np.float64) -> Decoder:
    """A case; Huginn from zeros, with four visits."""
    model = load_model(CASES[name], dtype)
    if isinstance(model, Huginn):
        return model.with_steps(4).with_initial_state(Zeros(model.shape.hidden))
    return model


def mixed_rule(model: Decoder, name: str, after_exit: str = "ghost") -> Rule:
    """The rule of this name whose threshold lies in the middle of what it compares after the first visit."""
    loosest = {"confidence": 1.0, "margin": 1.0}.get(name, 1e-12)
    trace: Trace = {}
    EarlyExit(model, parse(f"{name}:{loosest}"), after_exit).logits(TOKENS, trace)
    values = np.sort(trace["exit.0"])
    middle = len(values) // 2
    return parse(f"{name}:{(values[middle - 1] + values[middle]) / 2}")


def run(model: EarlyExit, chunks: list[list[int]]) -> tuple[Array, Trace, ExitCache]:
    """Logits [N, V], trace and cache of a sequence given in chunks."""
    cache = model.new_cache(sum(map(len, chunks)))
    traces: list[Trace] = [{} for _ in chunks]
    logits = [model.head(model.states(chunk, cache, trace)) for chunk, trace in zip(chunks, traces, strict=True)]
    return np.concatenate(logits), {k: np.concatenate([t[k] for t in traces]) for k in traces[0]}, cache


# --- No row, every row, some rows -------------------------------------------------------------------------------------


# Tests that where no row exits logits are those of the model itself, bit for bit.
@pytest.mark.parametrize("after_exit", AFTER_EXIT)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", CASES)
def test_no_row_exits(name: str, dtype: DTypeLike, after_exit: str) -> None:
    model = load(name, dtype)
    if name == "ouro":
        model = model.with_exit(ExitRule("none"))
    for rule in ("none", "latent-diff:1e-12"):
        exits = EarlyExit(model, parse(rule), after_exit)
        trace: Trace = {}
        assert np.array_equal(exits.logits(TOKENS, trace), model.logits(TOKENS))
        assert set(trace["depth"]) == {len(exits.visits) - 1}
    assert greedy(exits, TOKENS, 8).tokens == greedy(model, TOKENS, 8).tokens


def with_one_visit(model: Decoder) -> Decoder:
    """The model that makes the first visit only."""
    if isinstance(model, Huginn):
        return model.with_steps(1)
    layers = model.weights.layers
    edges, block = model.sharing.edges, model.sharing.block
    kept = (*layers[: edges + block], *layers[len(layers) - edges :])
    base = Decoder(model.shape, dataclasses.replace(model.weights, layers=kept), model.rope, ())
    return RecursiveDecoder(base, Sharing(model.sharing.kind, len(kept), 1))


# Tests that where every row exits after the first visit the model is the one that makes no other, in its logits bit for
# bit, and in its keys and values unless exited rows leave more of these.
@pytest.mark.parametrize("after_exit", AFTER_EXIT)
@pytest.mark.parametrize("name", [*RRT_CASES, "huginn"])
def test_every_row_exits(name: str, after_exit: str) -> None:
    model = load(name)
    single = with_one_visit(model)
    exits = EarlyExit(model, parse("latent-diff:1e9"), after_exit)
    logits, trace, cache = run(exits, [TOKENS])
    assert np.array_equal(logits, single.logits(TOKENS))
    assert not trace["depth"].any() and not cache.exits.any()
    assert greedy(exits, TOKENS, 8).tokens == greedy(single, TOKENS, 8).tokens

    want = single.new_cache(len(TOKENS))
    single.states(TOKENS, want)
    layers = [step.slot for step in (*exits.prelude, *exits.visits[0], *exits.coda) if isinstance(step, Run)]
    assert np.array_equal(cache.keys[layers], want.keys) and np.array_equal(cache.values[layers], want.values)
    deeper = cache.keys[exits.slots[1:].ravel()]
    assert deeper.any() == (after_exit in ("ghost", "propagate"))


# Tests that a prompt at once, in chunks, and token by token give the same exits, logits, keys and values.
@pytest.mark.parametrize("after_exit", AFTER_EXIT)
@pytest.mark.parametrize(
    "name, rule",
    [
        *itertools.product(CASES, ["latent-diff"]),
        ("cycle", "confidence"),
        ("cycle", "kl"),
        ("middle", "margin"),
        ("huginn", "entropy"),
        ("ouro", "gate"),
    ],
)
def test_prompts_in_parts(name: str, rule: str, after_exit: str) -> None:
    model = load(name)
    exits = EarlyExit(model, parse("gate:0.3") if rule == "gate" else mixed_rule(model, rule), after_exit)
    logits, trace, cache = run(exits, [TOKENS])
    assert len(set(trace["depth"])) > 1
    for chunks in ([TOKENS[:5], TOKENS[5:6], TOKENS[6:]], [[token] for token in TOKENS]):
        part_logits, part_trace, part_cache = run(exits, chunks)
        assert np.array_equal(part_trace["depth"], trace["depth"])
        assert np.array_equal(part_cache.exits, trace["depth"])
        np.testing.assert_allclose(part_logits, logits, rtol=0, atol=ROUNDING)
        np.testing.assert_allclose(part_cache.keys, cache.keys, rtol=0, atol=ROUNDING)
        np.testing.assert_allclose(part_cache.values, cache.values, rtol=0, atol=ROUNDING)


# Tests that policies are four different functions where some rows exit.
@pytest.mark.parametrize("name", [*RRT_CASES, "huginn"])
def test_policies_differ(name: str) -> None:
    model = load(name)
    logits = [
        EarlyExit(model, mixed_rule(model, "latent-diff"), after_exit).logits(TOKENS) for after_exit in AFTER_EXIT
    ]
    for one, other in itertools.combinations(logits, 2):
        assert np.max(np.abs(one - other)) > 1e-4


# --- What each policy leaves ------------------------------------------------------------------------------------------


# Tests that ghosts are the model that runs all visits, of which a state is selected afterwards.
@pytest.mark.parametrize("name, rule", [("cycle", "latent-diff"), ("cycle", "kl"), ("encoding", "confidence")])
def test_ghosts_select_afterwards(name: str, rule: str) -> None:
    model = load(name)
    chosen = mixed_rule(model, rule)
    full: Trace = {}
    model.logits(TOKENS, full)
    states = [full["embedding"], *(full[f"hidden.{number}"] for number in range(model.sharing.visits))]
    logits = [model.head(model.weights.final_norm(state)) for state in states]
    depth = [
        exit_visit(
            chosen,
            [
                Visit(number, states[number + 1][row], states[number][row], logits[number + 1][row])
                for number in range(model.sharing.visits)
            ],
        )
        for row in range(len(TOKENS))
    ]
    trace: Trace = {}
    got = EarlyExit(model, chosen, "ghost").logits(TOKENS, trace)
    assert trace["depth"].tolist() == depth and len(set(depth)) > 1
    selected = np.stack(states)[np.array(depth) + 1, np.arange(len(TOKENS))]
    assert np.array_equal(got, model.head(model.weights.final_norm(selected)))


# Tests that Ouro's own rules, which select afterwards, are ghosts.
@pytest.mark.parametrize("threshold", [0.2, 0.3, 0.5, 0.8])
def test_ghosts_of_ouro(threshold: float) -> None:
    model = load("ouro")
    trace: Trace = {}
    got = EarlyExit(model, parse(f"gate:{threshold}"), "ghost").logits(TOKENS, trace)
    own: Trace = {}
    assert np.array_equal(got, model.with_exit(ExitRule("gate", threshold)).logits(TOKENS, own))
    assert np.array_equal(trace["depth"], own["depth"])


# Tests that a row's keys and values of all deeper visits are those layers' projections of the state it exited with.
@pytest.mark.parametrize("name", ["cycle", "huginn", "ouro"])
def test_propagated_keys(name: str) -> None:
    model = load(name)
    exits = EarlyExit(model, mixed_rule(model, "latent-diff"), "propagate")
    _, trace, cache = run(exits, [TOKENS])
    full: Trace = {}
    model.logits(TOKENS, full)
    row = int(np.argmin(trace["depth"]))  # until the first exit no policy changes anything
    exited = trace["depth"][row]
    state = full[f"hidden.{exited}"][row : row + 1]
    if isinstance(model, Huginn):
        injected = full[f"layer.{model.counts.prelude - 1}"][row : row + 1]
        state = model.adapter(np.concatenate([state, injected], axis=-1))
    cos, sin = model.rope.tables(np.array([row]), model.shape.head_dim, model.dtype)
    for step in itertools.chain(*exits.visits[exited + 1 :]):
        if isinstance(step, Run):
            layer = model.weights.layers[step.layer]
            normed, attend = layer.norms[0](state), layer.attention
            heads = (1, model.shape.kv_heads, model.shape.head_dim)
            keys, values = attend.turn(attend.k(normed).reshape(heads), cos, sin), attend.v(normed).reshape(heads)
            np.testing.assert_allclose(cache.keys[step.slot, [row]], keys, rtol=0, atol=ROUNDING)
            np.testing.assert_allclose(cache.values[step.slot, [row]], values, rtol=0, atol=ROUNDING)


# Tests that rows of `last-exited` and `absent` leave nothing behind the visit that they exit after.
@pytest.mark.parametrize("after_exit", ["last-exited", "absent"])
def test_nothing_left_behind_an_exit(after_exit: str) -> None:
    model = load("huginn")
    exits = EarlyExit(model, mixed_rule(model, "latent-diff"), after_exit)
    _, trace, cache = run(exits, [TOKENS])
    for visit, slots in enumerate(exits.slots):
        written = cache.keys[slots].any(axis=(0, 2, 3))
        assert written.tolist() == (trace["depth"] >= visit).tolist()


# Tests that under `absent` the only row that goes on attends to itself alone.
def test_absent_rows_are_not_seen() -> None:
    model = load("cycle")
    last = len(TOKENS) - 1

    def router(visit: int, states: Array) -> Array:
        return np.where((np.arange(len(states)) == last) & (visit == 1), 1.0, -1.0)

    logits, trace, _ = run(EarlyExit(model, parse("router"), "absent", router), [TOKENS])
    assert trace["depth"].tolist() == [0] * last + [1]

    full: Trace = {}
    model.logits(TOKENS, full)
    state = full["hidden.0"][-1:]
    shared = model.shape.heads // model.shape.kv_heads
    for layer in model.weights.layers[model.sharing.block :]:
        values = layer.attention.v(layer.norms[0](state)).reshape(model.shape.kv_heads, -1)
        state = state + layer.attention.o(np.repeat(values, shared, axis=0).reshape(1, -1))
        state = state + layer.mlp(layer.norms[1](state))
    want = model.head(model.weights.final_norm(state))
    np.testing.assert_allclose(logits[-1:], want, rtol=0, atol=ROUNDING)


# Tests what a row reads at a visit where the token before it left keys 1 and 2 and values 10 and 20, and its own key is
# 1 and its own value 30: scores 1 and 1, 2 and 1, or its own alone.
@pytest.mark.parametrize(
    "after_exit, exited, visit, want",
    [
        ("ghost", 1, 0, 20.0),
        ("last-exited", 1, 0, 20.0),
        ("propagate", 1, 0, 20.0),
        ("absent", 1, 0, 20.0),
        ("ghost", 0, 1, 22.68941421),
        ("last-exited", 0, 1, 20.0),
        ("propagate", 0, 1, 22.68941421),
        ("absent", 0, 1, 30.0),
        ("last-exited", 1, 1, 22.68941421),
        ("absent", 1, 1, 22.68941421),
    ],
)
def test_worked_example(after_exit: str, exited: int, visit: int, want: float) -> None:
    shape = dataclasses.replace(load("cycle").shape, kv_heads=1, head_dim=1)
    cache = ExitCache(2, 2, shape, np.dtype(np.float64))
    cache.keys[:, 0, 0, 0], cache.values[:, 0, 0, 0], cache.exits[:] = [1, 2], [10, 20], [exited, 1]
    one, thirty = Linear(np.ones((1, 1))), Linear(np.full((1, 1), 30.0))
    attend = Attention(q=one, k=one, v=thirty, o=one, head_dim=1, turn=None)
    place = VisitPlace(
        first=1, cos=None, sin=None, keys=cache.keys[visit], values=cache.values[visit], positions=np.array([1]),
        end=2, visit=visit, slots=np.array([0, 1]), cache=cache, after_exit=after_exit,
    )  # fmt: skip
    assert attend(np.ones((1, 1)), place).item() == pytest.approx(want, rel=0, abs=5e-9)


# --- What is read out -------------------------------------------------------------------------------------------------


# Tests that a rule of logits is asked about those that an exit gives, where a coda with attention stands in between.
@pytest.mark.parametrize("after_exit", AFTER_EXIT)
@pytest.mark.parametrize("name", ["middle", "huginn"])
def test_logits_of_the_coda(name: str, after_exit: str) -> None:
    model = load(name)
    logits, trace, _ = run(EarlyExit(model, mixed_rule(model, "confidence"), after_exit), [TOKENS])
    last = max(int(kind.removeprefix("exit.")) for kind in trace if kind.startswith("exit."))
    assert len(set(trace["depth"])) > 1
    for row in np.flatnonzero(trace["depth"] < last):
        compared = trace[f"exit.{trace['depth'][row]}"][row]
        assert compared == pytest.approx(np.max(softmax(logits[row])), rel=0, abs=ROUNDING)
        assert np.isnan(trace[f"exit.{trace['depth'][row] + 1}"][row])


# Tests ACT on ghosts against its published recurrence, in which halted rows go on as well.
@pytest.mark.parametrize("name", ["act", "act-accumulated"])
def test_act(name: str) -> None:
    plain = load_model(ORACLES / "llama" / "gqa4_v5config", np.float64)
    visits = 4
    model = load_model(ORACLES / "llama" / "gqa4_v5config", np.float64, [Loop(0, plain.shape.layers - 1, visits)])
    direction = np.random.default_rng(3).normal(0, 1, model.shape.hidden)

    def unit(_: int, states: Array) -> Array:
        return states @ direction / np.linalg.norm(states, axis=1)

    trace: Trace = {}
    got = EarlyExit(model, parse(f"{name}:0.9"), "ghost", unit).logits(TOKENS, trace)
    full: Trace = {}
    model.logits(TOKENS, full)
    states = [full["embedding"], *(full[f"hidden.{visit}"] for visit in range(visits))]
    total, steps = np.zeros(len(TOKENS)), np.zeros(len(TOKENS))
    output = np.zeros_like(states[0])
    for before, after in itertools.pairwise(states):
        p = sigmoid(unit(0, before))
        still = total < 1
        halt, go_on = still & (total + p > 0.9), still & (total + p <= 0.9)
        total = total + p * go_on
        remainder = halt * (1 - total)
        total = total + remainder
        steps = steps + still
        weight = (p * go_on + remainder)[:, None]
        output = weight * after + (output if name == "act-accumulated" else (1 - weight) * output)
    assert trace["depth"].tolist() == (steps - 1).tolist() and len(set(steps)) > 1
    want = model.head(model.weights.final_norm(output))
    np.testing.assert_allclose(got, want, rtol=0, atol=ROUNDING)


# --- Refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "case, loops, rule, after_exit, message",
    [
        (
            CASES["cycle"],
            [],
            "none",
            "freeze",
            r"after-exit 'freeze' is not known; known: ghost, last-exited, propagate",
        ),
        (
            CASES["cycle"],
            [],
            "gate:0.5",
            "ghost",
            r"reads an exit gate, which this model does not have; take a rule of",
        ),
        (CASES["ouro"], [], "router", "ghost", r"reads a router, which this model does not have"),
        (CASES["ouro"], [], "act", "ghost", r"reads a halting unit, which this model does not have"),
        (CASES["ouro"], [], "step:4", "ghost", r"exit at visit 4, but there are visits 0 to 3 only"),
        (RRT / "middle_sequence_r3", [], "none", "ghost", r"no visit of a whole block ends in this model"),
        (ORACLES / "llama" / "gqa4_v5config", [], "none", "ghost", r"no visit of a whole block ends in this model"),
        (ORACLES / "llama" / "gqa4_v5config", [Loop(0, 0, 2), Loop(1, 1, 2)], "none", "ghost", r"need a single loop"),
        (ORACLES / "llama" / "gqa4_v5config", [Loop(0, 0, 1), Loop(1, 2, 1)], "none", "ghost", r"need a single loop"),
        (ORACLES / "nanbeige" / "loopsplit_share_kv", [], "none", "ghost", r"visits share KV slots; early exits need"),
    ],
)
def test_refusals(case: Path, loops: list[Loop], rule: str, after_exit: str, message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        EarlyExit(load_model(case, loops=loops), parse(rule), after_exit)


def test_shared_slots_of_huginn() -> None:
    with pytest.raises(
        CheckpointError, match=r"visits share KV slots; early exits need a model that keeps one for each"
    ):
        EarlyExit(load("huginn").with_steps(4, shared_slots=4), parse("none"), "ghost")


# Tests that bad input leaves the cache as it was, also where positions run one after another.
@pytest.mark.parametrize("rule", ["latent-diff", "kl"])
def test_bad_tokens(rule: str) -> None:
    exits = EarlyExit(load("huginn"), parse(rule), "absent")
    cache = exits.new_cache(4)
    for tokens, message in (
        ([], "at least one token"),
        ([1, 2, 999], "token 999 is outside the vocabulary"),
        ([1] * 5, "5 tokens after 0 do not fit a cache of 4 positions"),
    ):
        with pytest.raises(CheckpointError, match=message):
            exits.states(tokens, cache)
        assert cache.length == 0 and not cache.keys.any()
    with pytest.raises(CheckpointError, match="129 positions do not fit the context of 128"):
        exits.logits([1] * 129)
