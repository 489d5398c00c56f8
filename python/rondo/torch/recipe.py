# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Uptraining: a converted model is trained on until its shared layers do what the source's layers did.

AdamW (arXiv 1711.05101) with a linear warm-up, then half a cosine down to a tenth; gradients are cut to norm 1. The
same seed, text and number of threads give the same weights. Source of the method: arXiv 2410.20672, section 3.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from rondo.torch.corpus import split
from rondo.torch.errors import TrainingError
from rondo.torch.losses import Objective, losses_by_exit
from rondo.torch.model import Decoder

# Parts of a model that `Recipe.train` can name. `ends` are prelude and coda; embeddings, head and biases of linears are
# trained with all only.
PARTS = ("all", "lora", "norms", "block", "ends")
_BETAS = (0.9, 0.95)
_MOST_GRADIENT = 1.0  # norm
_WARM_UP = 0.1  # of the steps
_LAST_RATE = 0.1  # of the learning rate

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Recipe:
    """How a model is trained."""

    steps: int = 200
    batch: int = 8  # windows a step
    length: int = 256  # tokens that a window predicts
    learning_rate: float = 3e-4  # the highest
    train: Sequence[str] = ("all",)  # of PARTS
    objective: Objective = Objective()
    seed: int = 0  # of the windows that are drawn


@dataclass(frozen=True)
class Result:
    """Losses on the held-out windows in nats, by exit, and on the training windows by step."""

    before: list[float]
    after: list[float]
    steps: list[float]
    training_tokens: int  # in the text
    validation_tokens: int  # predicted


def uptrain(
    model: Decoder,
    tokens: Sequence[int],
    recipe: Recipe,
    teacher: Decoder | None = None,
    progress: Progress = lambda done, total: None,
    finish: Callable[[Decoder], None] = lambda model: None,
) -> Result:
    """Train `model` in place on a text of token ids.

    `progress` hears of every step, `finish` gets the model before it is measured for the last time. Raises
    TrainingError for a recipe that does not fit model, text or teacher, and for a loss that is not finite any more.
    """
    _check(model, tokens, recipe, teacher)
    corpus = split(tokens, recipe.length)
    chosen = choose(model, recipe.train)
    device = model.embedding.device
    validation = corpus.validation.to(device)
    before = losses_by_exit(model, validation, recipe.batch)
    optimizer = torch.optim.AdamW(chosen, lr=recipe.learning_rate, betas=_BETAS, weight_decay=0.0)
    generator = torch.Generator().manual_seed(recipe.seed)
    steps: list[float] = []
    for step in range(recipe.steps):
        progress(step, recipe.steps)
        for group in optimizer.param_groups:
            group["lr"] = recipe.learning_rate * rate(step, recipe.steps)
        windows = corpus.draw(recipe.batch, generator).to(device)
        steps.append(_step(recipe.objective(model, windows, teacher), optimizer, chosen, step))
    progress(recipe.steps, recipe.steps)
    finish(model)
    after = losses_by_exit(model, validation, recipe.batch)
    return Result(before, after, steps, len(corpus.training), validation[:, 1:].numel())


def rate(step: int, steps: int) -> float:
    """What the learning rate is multiplied by at a step from 0."""
    warm = max(1, round(_WARM_UP * steps))
    if step < warm:
        return (step + 1) / warm
    done = (step - warm) / max(1, steps - warm)
    return _LAST_RATE + (1 - _LAST_RATE) * 0.5 * (1 + math.cos(math.pi * done))


def choose(model: Decoder, parts: Sequence[str]) -> list[nn.Parameter]:
    """The parameters of some PARTS; gradients of the others are turned off. TrainingError if there are none."""
    for part in parts:
        if part not in PARTS:
            raise TrainingError(f"'{part}' is no part of a model; --train knows: {', '.join(PARTS)}")
    chosen = []
    for name, parameter in model.named_parameters():
        parameter.requires_grad_("all" in parts or part_of(name, model) in parts)
        if parameter.requires_grad:
            chosen.append(parameter)
    if not chosen:
        raise TrainingError(
            f"the model has no {' and no '.join(parts)} to train; convert it with --rank for deltas or with another "
            "--share, or train other parts"
        )
    return chosen


def part_of(name: str, model: Decoder) -> str | None:
    """Which of PARTS but `all` a parameter of this name belongs to."""
    if re.search(r"\.lora_[AB]\.", name):
        return "lora"
    if "norm" in name:
        return "norms"
    layer = re.search(r"\.layers\.(\d+)\..*\.weight$", name)
    if not layer:
        return None
    edges, stored = model.sharing.edges, model.sharing.stored
    return "block" if edges <= int(layer[1]) < stored - edges else "ends"


def _check(model: Decoder, tokens: Sequence[int], recipe: Recipe, teacher: Decoder | None) -> None:
    if tokens and max(tokens) >= model.shape.vocabulary:
        raise TrainingError(
            f"the text has token {max(tokens)}, which is outside the model's vocabulary of {model.shape.vocabulary}; "
            "the tokenizer.json is that of another model"
        )
    if recipe.length > model.shape.context:
        raise TrainingError(
            f"windows of {recipe.length} tokens are longer than the model's context of {model.shape.context}; "
            "give a smaller --length"
        )
    weights = recipe.objective.exit_weights
    if weights and len(weights) != model.exits - 1:
        raise TrainingError(
            f"there are {len(weights)} weights for {model.exits - 1} exits before the last; give one for each"
            + ("" if model.exits > 1 else ": this model has none, since only 'cycle' and 'middle_cycle' visits end")
        )
    if teacher is not None and teacher.shape.vocabulary != model.shape.vocabulary:
        raise TrainingError(
            f"the teacher has a vocabulary of {teacher.shape.vocabulary} tokens and the model one of "
            f"{model.shape.vocabulary}; take the model that it was made from"
        )


def _step(loss: Tensor, optimizer: torch.optim.Optimizer, chosen: Sequence[nn.Parameter], step: int) -> float:
    """One step down; returns the loss before it."""
    value = float(loss.detach())
    if not math.isfinite(value):
        raise TrainingError(f"the loss at step {step} is {value}; train with a smaller --lr")
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    nn.utils.clip_grad_norm_(chosen, _MOST_GRADIENT)
    optimizer.step()
    return value
