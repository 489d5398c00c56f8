# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Which stored layer an unrolled layer runs, and at which depth: the four ways to share layers over depth.

With K layers in the block and R visits, l from 0 (K = L / R, or (L - 2) / R for `middle_*`, whose first and last layers
are not shared):

    cycle            layer l mod K                  depth l div K             0 1 2 0 1 2
    sequence         layer l div R                  depth l mod R             0 0 1 1 2 2
    middle_cycle     0, 1 + (l - 1) mod K, K + 1    depth (l - 1) div K       0 1 2 1 2 3
    middle_sequence  0, 1 + (l - 1) div R, K + 1    depth (l - 1) mod R       0 1 1 2 2 3

Source: arXiv 2410.20672, section 2.2; arXiv 2507.10524, section 2.2.
"""

from __future__ import annotations

from dataclasses import dataclass

from rondo.reference.errors import CheckpointError

KINDS = ("cycle", "sequence", "middle_cycle", "middle_sequence")


@dataclass(frozen=True)
class StoredPlace:
    """Stored layer and depth of an unrolled layer; `depth` is None outside the shared block."""

    layer: int
    depth: int | None


@dataclass(frozen=True)
class Sharing:
    """`layers` unrolled layers that run a block `visits` times. Raises CheckpointError if they do not divide."""

    kind: str  # one of KINDS
    layers: int  # unrolled, L
    visits: int  # R

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise CheckpointError(f"sharing '{self.kind}' is not supported; known: {', '.join(KINDS)}")
        if self.visits < 1:
            raise CheckpointError(f"the block must be visited at least once, got {self.visits} visits")
        shared = self.layers - 2 * self.edges
        if shared < 1 or shared % self.visits:
            raise CheckpointError(self._not_divisible(shared))

    def _not_divisible(self, shared: int) -> str:
        which = f"the {shared} layers between the first and the last" if self.edges else f"{shared} layers"
        divisors = [str(visits) for visits in range(2, shared + 1) if shared % visits == 0]
        ways = f"choose a divisor: {', '.join(divisors)}" if divisors else "choose another sharing"
        return f"sharing '{self.kind}': {which} do not divide into {self.visits} visits; {ways}"

    @property
    def edges(self) -> int:
        """Unshared layers on each side: 1 for `middle_*`, else 0."""
        return 1 if self.kind.startswith("middle_") else 0

    @property
    def block(self) -> int:
        """Layers in the block, K."""
        return (self.layers - 2 * self.edges) // self.visits

    @property
    def stored(self) -> int:
        """Layers with weights of their own: prelude, block, coda."""
        return self.block + 2 * self.edges

    @property
    def is_cycle(self) -> bool:
        """Whether a visit runs the whole block, rather than one layer of it."""
        return self.kind.endswith("cycle")

    def place(self, unrolled: int) -> StoredPlace:
        """Where unrolled layer 0 .. layers - 1 has its weights."""
        if self.edges and unrolled == 0:
            return StoredPlace(0, None)
        if self.edges and unrolled == self.layers - 1:
            return StoredPlace(self.stored - 1, None)
        index = unrolled - self.edges
        if self.is_cycle:
            return StoredPlace(self.edges + index % self.block, index // self.block)
        return StoredPlace(self.edges + index // self.visits, index % self.visits)

    def group(self, layer: int) -> tuple[int, ...]:
        """The unrolled layers that run a stored layer, by depth."""
        return tuple(unrolled for unrolled in range(self.layers) if self.place(unrolled).layer == layer)
