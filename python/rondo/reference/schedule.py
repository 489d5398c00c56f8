# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Schedules: the explicit list of what a model runs between the embedding and the head."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rondo.reference.errors import CheckpointError


@dataclass(frozen=True)
class Run:
    """Run the weights of `layer`, attending to KV slot `slot`.

    Without `writes_kv` the execution computes no keys and values of its own and reads what an earlier execution left
    in the slot for the same tokens.
    """

    layer: int
    slot: int
    writes_kv: bool = True


@dataclass(frozen=True)
class Norm:
    """Replace the state by its final norm (`model.norm`)."""


@dataclass(frozen=True)
class EndVisit:
    """Visit `number` (from 0) of the shared block ends here; the state is traced as `hidden.<number>`."""

    number: int


Step = Run | Norm | EndVisit


@dataclass(frozen=True)
class Loop:
    """Visit layers `first` .. `last` (both included) `times` times."""

    first: int
    last: int
    times: int

    @staticmethod
    def parse(text: str) -> Loop:
        """From `FIRST:LAST:TIMES`."""
        try:
            first, last, times = (int(part) for part in text.split(":"))
        except ValueError:
            raise CheckpointError(f"expected FIRST:LAST:TIMES for a loop, got '{text}'") from None
        return Loop(first, last, times)


def plain(layers: int) -> tuple[Step, ...]:
    """Every layer once, then the final norm."""
    return (*(Run(layer, layer) for layer in range(layers)), Norm())


def looped(layers: int, loops: Sequence[Loop]) -> tuple[Step, ...]:
    """Layers 0 .. layers - 1 in order, each range of `loops` repeated where it stands; then the final norm.

    Every execution owns a KV slot, numbered in execution order. Visits of all loops are numbered through. Raises
    CheckpointError for a loop outside the layers, an empty one, or loops that overlap.
    """
    ordered = sorted(loops, key=lambda loop: loop.first)
    _check_loops(layers, ordered)
    steps: list[Step] = []
    slot = visit = next_layer = 0

    def run(first: int, end: int) -> None:
        nonlocal slot
        for layer in range(first, end):
            steps.append(Run(layer, slot))
            slot += 1

    for loop in ordered:
        run(next_layer, loop.first)
        for _ in range(loop.times):
            run(loop.first, loop.last + 1)
            steps.append(EndVisit(visit))
            visit += 1
        next_layer = loop.last + 1
    run(next_layer, layers)
    return (*steps, Norm())


def _check_loops(layers: int, ordered: Sequence[Loop]) -> None:
    free_from = 0
    for loop in ordered:
        name = f"loop {loop.first}:{loop.last}:{loop.times}"
        if not 0 <= loop.first <= loop.last < layers:
            raise CheckpointError(f"{name} is not within layers 0 to {layers - 1}")
        if loop.times < 1:
            raise CheckpointError(f"{name} must visit its layers at least once")
        if loop.first < free_from:
            raise CheckpointError(f"{name} overlaps another loop")
        free_from = loop.last + 1


def slots(steps: Sequence[Step]) -> int:
    """Number of KV slots that a schedule uses."""
    return 1 + max((step.slot for step in steps if isinstance(step, Run)), default=-1)
