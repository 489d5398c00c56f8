# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Oracle cases compiled by rondoc and run from Python."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

import rondo
from rondo.reference import load_model

pytest.importorskip("rondo._runtime", reason="the extension module is not installed (pip install ./python)")


def read(case: Path, name: str) -> dict:
    return json.loads((case / name).read_text())


# Tests logits against the expected ones and against the reference model in float64.
def test_logits(case: Path, compiled: Path) -> None:
    tolerance = read(case, "tolerance.json")["fair_tolerance"]
    expected = load_file(case / "expected.safetensors")
    reference = load_model(case, np.float64)
    with rondo.load(compiled) as model:
        for number, tokens in enumerate(read(case, "inputs.json")["sequences"]):
            logits = model.logits(tokens)
            np.testing.assert_allclose(logits, expected[f"logits.{number}"], rtol=0, atol=tolerance)
            np.testing.assert_allclose(logits, reference.logits(tokens), rtol=0, atol=tolerance)


def test_greedy_tokens(case: Path, compiled: Path) -> None:
    greedy = read(case, "greedy.json")
    with rondo.load(compiled) as model:
        for run in greedy["runs"]:
            assert list(model.generate(run["prompt"], greedy["new_tokens"], stop=())) == run["with_cache"]


# Tests that iterators in turn give what each gives alone: rows of other sequences change nothing.
def test_interleaved(case: Path, compiled: Path) -> None:
    prompts = [run["prompt"] for run in read(case, "greedy.json")["runs"]]
    with rondo.load(compiled) as model:
        alone = [list(model.generate(prompt, 8, stop=())) for prompt in prompts]
        together = zip(*(model.generate(prompt, 8, stop=()) for prompt in prompts), strict=True)
        assert [list(tokens) for tokens in zip(*together, strict=True)] == alone


def numbered(names: list[object]) -> list[int]:
    """Each name as the number of its first mention."""
    order = list(dict.fromkeys(names))
    return [order.index(name) for name in names]


# Tests that what the bundle says of its schedule is what the reference model runs. Layers of unlike form have bodies of
# their own, which count their layers from 0; `_reuse` is the body of visits that read the keys and values of another.
def test_schedule(case: Path, compiled: Path) -> None:
    from rondo.inspection import read as inspect
    from rondo.reference.schedule import Run

    model = load_model(case)
    runs = [step for step in model.schedule if isinstance(step, Run)]
    sharing = getattr(model, "sharing", None)
    stored = [sharing.place(step.layer).layer if sharing else step.layer for step in runs]
    facts = inspect(compiled)
    executed = [run for run in facts.executions if run.is_layer]
    assert numbered([(run.body.replace("_reuse", ""), run.layer) for run in executed]) == numbered(stored)
    assert [run.slot for run in executed] == [step.slot for step in runs]
    assert facts.manifest["schedule"]["executed_layers"] == len(runs)
