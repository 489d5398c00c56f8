# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""KV policies that keep fewer versions than a loop has visits, against the reference model with the same slots.

A layer visited R times writes version d, d mod S, min(d, S - 1) or 0 of its keys and values; the reference is told the
slots and nothing else. Policies that overwrite a version depend on how a prompt is cut: chunks of `--rows` tokens.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import Tools, write_llama
from safetensors import safe_open

from rondo.reference import Loop, load_model
from rondo.reference.decoder import Decoder
from rondo.reference.schedule import Run

LAYERS, LOOP, ROWS = 3, Loop(1, 2, 5), 16
TOLERANCE = 3e-6  # as a part of the largest logit

# Version of visit d.
POLICIES: dict[str, Callable[[int], int]] = {
    "per-depth": lambda d: d,
    "last-exited": lambda d: d,
    "first-step": lambda d: 0,
    "final-shared": lambda d: 0,
    "modulo:1": lambda d: 0,
    "modulo:2": lambda d: d % 2,
    "modulo:9": lambda d: d,
    "first-then-shared:1": lambda d: 0,
    "first-then-shared:3": lambda d: min(d, 2),
    "first-then-shared:9": lambda d: d,
}
OVERWRITING = [name for name in POLICIES if name.startswith(("final", "modulo", "first-then"))]


def make_reference(folder: Path, policy: str) -> Decoder:
    """The model of this folder with the slots of a policy: one for each layer and version."""
    model = load_model(folder, np.float64, [LOOP])
    visits = dict.fromkeys(range(LAYERS), 0)
    slots: dict[tuple[int, int], int] = {}
    steps = []
    for step in model.schedule:
        if isinstance(step, Run):
            visit, version = visits[step.layer], POLICIES[policy](visits[step.layer])
            slot = slots.setdefault((step.layer, version), len(slots))
            step = Run(step.layer, slot, writes_kv=policy != "first-step" or visit == 0)  # noqa: PLW2901
            visits[step.layer] += 1
        steps.append(step)
    model.schedule = tuple(steps)
    return model


def run_in_chunks(model: Decoder, tokens: list[int], chunk: int) -> np.ndarray:
    cache = model.new_cache(len(tokens))
    return np.concatenate([model.head(model.states(tokens[first:first + chunk], cache))
                           for first in range(0, len(tokens), chunk)])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_llama(tmp_path_factory.mktemp("kv") / "model", layers=LAYERS, seed=4)


@pytest.fixture(scope="module")
def bundles(folder: Path) -> Callable[[str], Path]:
    """The bundle of a policy, compiled when it is first asked for."""

    @functools.cache
    def compile_policy(policy: str) -> Path:
        return Tools().compile(folder, folder.parent / f"{policy.replace(':', '-')}.rondo", "--exact",
                               f"--loop={LOOP.first}:{LOOP.last}:{LOOP.times}", f"--rows={ROWS}",
                               f"--kv-policy={policy}", "--force-kv-policy")

    return compile_policy


def read_kv(bundle: Path) -> dict:
    """What the manifest says of keys and values."""
    with safe_open(bundle, "np") as file:
        return json.loads(file.metadata()["rondo.manifest"])["kv"]


def draw(length: int) -> list[int]:
    return np.random.default_rng(length).integers(0, 160, length).tolist()


@pytest.mark.parametrize("policy", POLICIES)
def test_equals_reference(tools: Tools, folder: Path, bundles: Callable[[str], Path], policy: str) -> None:
    bundle = bundles(policy)
    model = make_reference(folder, policy)
    sequences = [draw(length) for length in (1, 15, 16, 17, 50, 150)]
    got = tools.logits(bundle, sequences)
    for tokens, logits in zip(sequences, got, strict=True):
        want = run_in_chunks(model, tokens, ROWS)
        assert np.abs(logits - want).max() <= TOLERANCE * np.abs(want).max()
    alone = tools.logits(bundle, [sequences[4]], "--threads=1")[0]
    assert alone.tobytes() == got[4].tobytes()


@pytest.mark.parametrize("policy", ["first-step", "final-shared", "modulo:2", "first-then-shared:3"])
def test_generated_tokens_equal_reference(tools: Tools, folder: Path, bundles: Callable[[str], Path],
                                          policy: str) -> None:
    bundle = bundles(policy)
    model = make_reference(folder, policy)
    tokens, cache, want = draw(20), model.new_cache(64), []
    chunks = [tokens[:ROWS], tokens[ROWS:]]
    while len(want) < 24:
        for chunk in chunks:
            logits = model.head(model.states(chunk, cache))[-1]
        want.append(int(logits.argmax()))
        chunks = [[want[-1]]]
    assert tools.generate(bundle, [tokens], 24) == [want]


def test_overwriting_is_another_function(folder: Path) -> None:
    tokens = draw(50)
    logits = {policy: run_in_chunks(make_reference(folder, policy), tokens, ROWS) for policy in POLICIES}
    for policy in ("first-step", "final-shared", "modulo:2", "first-then-shared:3"):
        assert np.abs(logits[policy] - logits["per-depth"]).max() > 0.01
        chunked = run_in_chunks(make_reference(folder, policy), tokens, 1)
        assert (np.abs(chunked - logits[policy]).max() > 0.01) == (policy in OVERWRITING)


@pytest.mark.parametrize("policy", POLICIES)
def test_bundle_says_whether_chunks_matter(bundles: Callable[[str], Path], policy: str) -> None:
    bundle = bundles(policy)
    assert read_kv(bundle)["policy"] == policy
    assert read_kv(bundle)["chunk_invariant"] == (policy not in OVERWRITING)


@pytest.mark.parametrize(("option", "reason"), [
    ("--chunk=5", "only the default chunk of 16 tokens is allowed"),
    ("--depthwise", "cannot be at different depths"),
])
def test_what_cuts_prompts_otherwise_is_refused(tools: Tools, bundles: Callable[[str], Path], option: str,
                                                reason: str) -> None:
    with pytest.raises(AssertionError, match=reason):
        tools.run("rondo-run", bundles("modulo:2"), "--tokens=1,2,3", "--generate=2", option)


@pytest.mark.parametrize(("policy", "versions"), [
    ("per-depth", 5), ("modulo:2", 2), ("final-shared", 1), ("first-then-shared:3", 3), ("first-step", 1),
])
def test_slots_are_as_many_as_versions(bundles: Callable[[str], Path], policy: str, versions: int) -> None:
    assert read_kv(bundles(policy))["slots"] == 1 + 2 * versions
