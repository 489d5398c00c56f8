# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Decides, before any weight is read, where each stored layer comes from.

Source: arXiv 2410.20672, section 2.3 and appendix B, and the code published by its first author
(github.com/raymin0223/mixture_of_recursions, `model/sharing_strategy`), of which `random` is left out. That code drops
layers where they do not divide; here this is an error (`Sharing`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rondo.convert.errors import ConversionError
from rondo.reference.sharing import Sharing

INITIALIZATIONS = ("stepwise", "average", "lower", "upper")
NORMS = ("shared", "per-depth")


@dataclass(frozen=True)
class Plan:
    """What becomes of a model's layers, and how their difference is made up for."""

    sharing: Sharing
    initialization: str  # one of INITIALIZATIONS
    norms: str  # one of NORMS
    rank: int  # of the deltas, before it is cut down to the sides of a matrix; 0: no deltas
    targets: tuple[str, ...]  # module names of the matrices that get deltas
    scale: float  # what a reader multiplies the product of a delta by

    def sources(self, layer: int) -> tuple[int, ...]:
        """The source layers whose mean is stored layer `layer`; a single one is copied."""
        if self.initialization == "average" or self.sharing.place(self.sharing.group(layer)[0]).depth is None:
            return self.sharing.group(layer)
        return (block_sources(self.sharing, self.initialization)[layer - self.sharing.edges],)

    def delta_rank(self, outputs: int, inputs: int) -> int:
        """Rank of the delta of a matrix [outputs, inputs]."""
        return min(self.rank, outputs, inputs)


def block_sources(sharing: Sharing, initialization: str) -> list[int]:
    """The source layers that the block's layers 0 .. K - 1 are copied from, for all initializations but `average`.

    `stepwise` spreads them evenly, both ends included, a half rounded to the even side. The halves are those of
    NumPy's linspace, as in the published code: 30 layers to 15 put 14.500000000000002 at place 7, so that 15 is taken.
    """
    first, last = sharing.edges, sharing.layers - 1 - sharing.edges
    if initialization == "stepwise":
        return [round(float(place)) for place in np.linspace(first, last, sharing.block)]
    if initialization == "lower":
        return list(range(first, first + sharing.block))
    if initialization == "upper":
        return list(range(last + 1 - sharing.block, last + 1))
    raise ConversionError(f"initialization '{initialization}' copies no layers; known: stepwise, lower, upper")
