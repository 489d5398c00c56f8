# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What is made small: the loss on the next token, the distance to a teacher, and both at earlier exits.

    total = CE(z_last) + w * D_t(teacher, z_last) + sum over earlier exits r of c_r * (CE(z_r) + D_1(stop(z_last), z_r))
    D_t(p, z) = t^2 * KL(softmax(p / t) || softmax(z / t))          forward: from the one who knows

Sources: arXiv 2410.20672, sections 3.7 and 3.8 (forward KL from the teacher; exits with a small weight of their own,
and distilled from the last one's logits, through which no gradient flows); arXiv 1503.02531 (temperature).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from rondo.torch.model import Decoder


def cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean over all positions in nats: logits [B, T, V] against token ids [B, T]."""
    return functional.cross_entropy(logits.flatten(0, 1), targets.flatten())


def distance(teacher: Tensor, student: Tensor, temperature: float = 1.0) -> Tensor:
    """D_t above: mean over all positions in nats, from logits [B, T, V] each."""
    wanted, got = (functional.log_softmax(logits / temperature, -1) for logits in (teacher, student))
    divergence = (wanted.exp() * (wanted - got)).sum(-1)
    return temperature**2 * divergence.mean()


@dataclass(frozen=True)
class Objective:
    """The weights of the parts; with the defaults the loss on the next token alone."""

    exit_weights: Sequence[float] = ()  # c_r of the exits before the last; none: they are not trained
    distill_weight: float = 1.0  # w, if there is a teacher
    temperature: float = 1.0  # t

    def __call__(self, model: Decoder, windows: Tensor, teacher: Decoder | None = None) -> Tensor:
        """The loss on windows [B, T + 1] of token ids, of which every one but the last predicts the next."""
        tokens, targets = windows[:, :-1], windows[:, 1:]
        *earlier, last = model.states(tokens)
        logits = model.logits(last)
        total = cross_entropy(logits, targets)
        if teacher is not None:
            with torch.no_grad():
                wanted = teacher(tokens)
            total = total + self.distill_weight * distance(wanted, logits, self.temperature)
        known = logits.detach()
        for weight, states in zip(self.exit_weights, earlier, strict=False):
            if weight:
                exit_logits = model.logits(states)
                total = total + weight * (cross_entropy(exit_logits, targets) + distance(known, exit_logits))
        return total


@torch.no_grad()
def losses_by_exit(model: Decoder, windows: Tensor, batch: int) -> list[float]:
    """Loss on the next token at every exit in nats, a mean over all positions of windows [W, T + 1]."""
    totals = [0.0] * model.exits
    for part in windows.split(batch):
        for number, states in enumerate(model.states(part[:, :-1])):
            totals[number] += len(part) * float(cross_entropy(model.logits(states), part[:, 1:]))
    return [total / len(windows) for total in totals]
