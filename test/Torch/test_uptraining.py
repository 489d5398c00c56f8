# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The recipe: what is trained, what gets smaller, that it is the same every time, and what the compiler makes of it."""

from __future__ import annotations

import json
import math
import subprocess
from pathlib import Path

import numpy as np
import pytest
from conftest import MISSING, SOURCES, tools_folder, write_recursive, write_source
from safetensors.numpy import load_file

import rondo.torch
from rondo.reference import load_model

torch = pytest.importorskip("torch", reason=MISSING)

from rondo.torch.corpus import split  # noqa: E402
from rondo.torch.losses import Objective, losses_by_exit  # noqa: E402
from rondo.torch.recipe import PARTS, Recipe, choose, part_of, rate  # noqa: E402

# A text that can be learnt: a walk in which a step of 1 or 2 follows, and a comma every seventh time.
TEXT = [int(token) for token in np.cumsum(1 + np.random.default_rng(2).integers(0, 2, 4000)) % 60]
TEXT[::7] = [61] * len(TEXT[::7])
SMALL = {"steps": 60, "batch": 8, "length": 16, "learning_rate": 3e-3}
LESS = 1.0  # nats by which the small recipe must lower the loss at every exit


def relaxed(tmp_path: Path, family: str = "llama", sharing: str = "cycle", visits: int = 3, **options: object) -> Path:
    options = {"norms": "per-depth", "rank": 2} | options
    source = tmp_path / "source"
    return write_recursive(source if source.exists() else write_source(source, family), tmp_path / "r", sharing, visits,
                           **options)  # fmt: skip


# Tests that the recipe with all its losses lowers the loss at every exit, in every family.
@pytest.mark.parametrize("family", SOURCES)
def test_losses_get_smaller(tmp_path: Path, family: str) -> None:
    folder = relaxed(tmp_path, family)
    model, teacher = rondo.torch.load(folder), rondo.torch.load(tmp_path / "source")
    objective = Objective((0.5, 0.5), distill_weight=0.01, temperature=2.0)
    result = rondo.torch.uptrain(model, TEXT, Recipe(**SMALL, objective=objective), teacher)
    assert len(result.before) == len(result.after) == 3 and len(result.steps) == 60
    assert all(after < before - LESS for before, after in zip(result.before, result.after, strict=True)), result
    assert result.after[-1] < 2.5


# Tests that early exits are left alone without weights for them, and trained with them.
def test_exit_weights(tmp_path: Path) -> None:
    folder = relaxed(tmp_path)
    first = {}
    for weights in ((), (1.0, 0.0), (1.0, 1.0)):
        model = rondo.torch.load(folder)
        recipe = Recipe(**SMALL | {"steps": 30}, objective=Objective(weights))
        first[weights] = rondo.torch.uptrain(model, TEXT, recipe).after
    assert first[1.0, 0.0][0] < first[()][0] - 0.3
    assert first[1.0, 1.0][1] < first[()][1] - 0.05


# Tests that a teacher draws the model to itself: on its own text the student comes nearer to it than without it.
def test_teacher(tmp_path: Path) -> None:
    from rondo.torch.losses import distance

    folder = relaxed(tmp_path)
    teacher = rondo.torch.load(tmp_path / "source")
    windows = split(TEXT, 16).validation[:, :-1]
    away = []
    for weight in (0.0, 5.0):
        model = rondo.torch.load(folder)
        recipe = Recipe(**SMALL | {"steps": 30}, objective=Objective(distill_weight=weight))
        rondo.torch.uptrain(model, TEXT, recipe, teacher)
        with torch.no_grad():
            away.append(distance(teacher(windows), model(windows)).item())
    assert away[1] < 0.5 * away[0]


# Tests that the same seed gives the same bits, and another one others.
def test_deterministic(tmp_path: Path) -> None:
    folder = relaxed(tmp_path)
    found = []
    for seed in (1, 1, 2):
        model = rondo.torch.load(folder)
        rondo.torch.uptrain(model, TEXT, Recipe(**SMALL | {"steps": 5}, seed=seed))
        rondo.torch.save(model, tmp_path / f"o{len(found)}", folder)
        found.append((tmp_path / f"o{len(found)}" / "model.safetensors").read_bytes())
    assert found[0] == found[1] != found[2]


# Tests what each part names, and that nothing else changes when it is trained alone.
@pytest.mark.parametrize("part", PARTS[1:])
def test_parts(tmp_path: Path, part: str) -> None:
    folder = relaxed(tmp_path, "gpt_neox", "middle_cycle", 2)
    model = rondo.torch.load(folder)
    rondo.torch.uptrain(model, TEXT, Recipe(**SMALL | {"steps": 2}, train=(part,)))
    before = dict(rondo.torch.load(folder).named_parameters())
    changed = {name for name, value in model.named_parameters() if not torch.equal(value, before[name])}
    assert changed == {name for name in before if part_of(name, model) == part} and changed


def test_part_names(tmp_path: Path) -> None:
    model = rondo.torch.load(relaxed(tmp_path, "llama", "middle_cycle", 2))
    assert {name: part_of(name, model) for name in (
        "model.embed_tokens.weight", "model.norm.weight", "model.layers.0.mlp.up_proj.weight",
        "model.layers.1.mlp.up_proj.weight", "model.layers.3.mlp.up_proj.weight",
        "model.layers.1.mlp.up_proj.lora_A.0.weight", "model.layers.0.input_layernorm.weight",
    )} == {
        "model.embed_tokens.weight": None, "model.norm.weight": "norms", "model.layers.0.mlp.up_proj.weight": "ends",
        "model.layers.1.mlp.up_proj.weight": "block", "model.layers.3.mlp.up_proj.weight": "ends",
        "model.layers.1.mlp.up_proj.lora_A.0.weight": "lora", "model.layers.0.input_layernorm.weight": "norms",
    }  # fmt: skip
    assert len(choose(model, ("all",))) == len(list(model.parameters()))


# Tests the learning rate: up to its full height at the end of the warm-up, then down to a tenth.
def test_rate() -> None:
    rates = [rate(step, 100) for step in range(100)]
    assert rates[0] == 0.1 and rates[9] == rates[10] == 1.0
    assert sorted(rates[10:], reverse=True) == rates[10:] and rates[-1] == pytest.approx(0.1, abs=1e-3)
    assert rate(0, 1) == 1.0


# Tests that the measured loss is the reference's, at every exit and over all windows, whatever the batch.
def test_losses_by_exit(tmp_path: Path) -> None:
    folder = relaxed(tmp_path)
    windows = split(TEXT[:400], 16).validation
    assert windows.shape == (2, 17)
    reference, totals = load_model(folder, np.float64), np.zeros(3)
    for window in windows.tolist():
        trace: dict[str, np.ndarray] = {}
        reference.logits(window[:-1], trace)
        for visit in range(3):
            logits = reference.head(reference.weights.final_norm(trace[f"hidden.{visit}"]))
            chances = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
            totals[visit] -= np.log(chances[range(16), window[1:]]).mean() / 2
    for batch in (1, 8):
        found = losses_by_exit(rondo.torch.load(folder, torch.float64), windows, batch)
        assert found == pytest.approx(totals.tolist(), 1e-10)


# Tests that what is held out is the end of the text and is not drawn for training.
def test_split() -> None:
    corpus = split(range(1000), 9)
    assert corpus.validation.shape == (10, 10) and corpus.validation[0, 0] == 900
    assert corpus.training.tolist() == list(range(900))
    drawn = corpus.draw(9000, torch.Generator().manual_seed(0))
    assert drawn.shape == (9000, 10) and drawn.min() == 0 and drawn.max() == 899
    assert torch.equal(drawn[:, 1:], drawn[:, :-1] + 1)
    assert split(range(20), 9).validation.tolist() == [list(range(10, 20))]


@pytest.mark.parametrize("changes, message", [
    ({"length": 3000}, "windows of 3000 tokens are longer than the model's context of "),
    ({"objective": Objective((0.1,))}, "there are 1 weights for 2 exits before the last; give one for each$"),
    ({"train": ("lora", "heads")}, "'heads' is no part of a model; --train knows: all, lora, norms, block, ends"),
    ({"train": ("ends",)}, "the model has no ends to train; convert it with --rank for deltas or with another --share"),
])  # fmt: skip
def test_wrong_recipes(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    model = rondo.torch.load(relaxed(tmp_path))
    with pytest.raises(rondo.torch.TrainingError, match=message):
        rondo.torch.uptrain(model, TEXT, Recipe(**SMALL | changes))


# Tests faults of the text, the teacher, and of exits that a sharing does not have.
def test_wrong_inputs(tmp_path: Path) -> None:
    model = rondo.torch.load(relaxed(tmp_path, sharing="sequence"))
    with pytest.raises(
        rondo.torch.TrainingError, match="the text has 33 tokens, and windows of 16 need at least 34, half"
    ):
        rondo.torch.uptrain(model, TEXT[:33], Recipe(**SMALL))
    with pytest.raises(
        rondo.torch.TrainingError, match="the text has token 90000, which is outside the model's vocabulary"
    ):
        rondo.torch.uptrain(model, [*TEXT, 90000], Recipe(**SMALL))
    with pytest.raises(rondo.torch.TrainingError, match="for 0 exits .*: this model has none, since only 'cycle' and"):
        rondo.torch.uptrain(model, TEXT, Recipe(**SMALL, objective=Objective((0.1, 0.1))))
    teacher = rondo.torch.load(write_source(tmp_path / "t", "gemma"))
    with pytest.raises(
        rondo.torch.TrainingError, match="the teacher has a vocabulary of .* and the model one of .*; take"
    ):
        rondo.torch.uptrain(model, TEXT, Recipe(**SMALL), teacher)


# Tests that a loss that is lost ends the training.
def test_not_finite(tmp_path: Path) -> None:
    model = rondo.torch.load(relaxed(tmp_path))
    with torch.no_grad():
        model.embedding.fill_(math.nan)
    with pytest.raises(rondo.torch.TrainingError, match="the loss at step 0 is nan; train with a smaller --lr"):
        rondo.torch.uptrain(model, TEXT, Recipe(**SMALL))


# Tests that what was trained, saved and compiled computes what PyTorch computes.
@pytest.mark.parametrize("family", SOURCES)
def test_compiled(tmp_path: Path, family: str) -> None:
    if not (tools_folder() / "rondoc").exists():
        pytest.skip(f"{tools_folder() / 'rondoc'} is not built")
    folder = relaxed(tmp_path, family)
    model = rondo.torch.load(folder)
    rondo.torch.uptrain(model, TEXT, Recipe(**SMALL | {"steps": 20}))
    rondo.torch.save(model, tmp_path / "trained", folder)
    bundle, out = tmp_path / "model.rondo", tmp_path / "logits.safetensors"
    subprocess.run([tools_folder() / "rondoc", tmp_path / "trained", "--exact", "-o", bundle], check=True)
    prompts = tmp_path / "tokens.json"
    prompts.write_text(json.dumps({"sequences": [TEXT[:40]]}))
    subprocess.run([tools_folder() / "rondo-run", bundle, f"--tokens-file={prompts}", f"--logits={out}"], check=True)
    wanted = np.array(model(torch.tensor([TEXT[:40]]))[0].tolist())
    assert np.abs(load_file(out)["logits.0"] - wanted).max() < 1e-4 * np.abs(wanted).max()
    assert np.abs(wanted - load_model(folder).logits(TEXT[:40])).max() > 0.1  # it has changed
