# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""A decoder that runs its block once per visit, with an exit at the end of every visit.

    x = embedding_scale * embedding[tokens]
    prelude(x); for r in 0 .. R - 1: for layer in block: x = layer(x; r); coda(x)
    logits = head(final_norm(x))

With `sequence` sharings every layer makes all its visits before the next one begins, so that only the whole model has
an exit. An ordinary model is a block that is visited once. Sources: arXiv 2410.20672, arXiv 2507.10524.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor, nn
from torch.nn import functional

from rondo.reference.decoder import Shape
from rondo.reference.layers import Rope
from rondo.reference.sharing import Sharing
from rondo.torch.arrays import NUMPY_TYPES, to_tensor
from rondo.torch.parts import Angles, Table


@dataclass(frozen=True)
class Names:
    """How a family calls what is outside its layers."""

    stack: str
    embedding: str
    final_norm: str
    head: str


class Decoder(nn.Module):
    """Token ids [B, T], without padding, to logits [B, T, V]. Its state dict has the names of the folder's tensors."""

    def __init__(
        self,
        names: Names,
        shape: Shape,
        rope: Rope,
        sharing: Sharing,
        embedding: nn.Parameter,  # [V, d]
        layers: Sequence[nn.Module],  # stored: prelude, block, coda
        final_norm: nn.Module,
        head: nn.Parameter | None,  # [V, d]; None: the embedding
        embedding_scale: float = 1.0,
    ) -> None:
        super().__init__()
        self.names, self.shape, self.rope, self.sharing = names, shape, rope, sharing
        self.embedding_scale = embedding_scale
        stack = nn.Module()
        stack.add_module(names.embedding, Table(embedding))
        stack.add_module("layers", nn.ModuleList(layers))
        stack.add_module(names.final_norm, final_norm)
        self.add_module(names.stack, stack)
        if head is not None:
            self.add_module(names.head, Table(head))

    @property
    def exits(self) -> int:
        """Places where logits can be had: the end of every visit, or of the whole model alone."""
        return self.sharing.visits if self.sharing.is_cycle else 1

    @property
    def embedding(self) -> nn.Parameter:
        """[V, d]."""
        return self._part(self.names.embedding).weight

    @property
    def head(self) -> nn.Parameter:
        """[V, d]; the embedding if the two are tied."""
        own = getattr(self, self.names.head, None)
        return self.embedding if own is None else own.weight

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits [B, T, V] of the whole model."""
        *_, last = self.states(tokens)
        return self.logits(last)

    def states(self, tokens: Tensor) -> Iterator[Tensor]:
        """States [B, T, d] at every exit, before the final norm. A coda comes after the last visit alone."""
        edges = self.sharing.edges
        layers = self._part("layers")
        angles = self._angles(tokens)
        x = functional.embedding(tokens, self.embedding) * self.embedding_scale
        for layer in layers[:edges]:
            x = layer(x, 0, angles)
        visits = self._visits(x, layers[edges : len(layers) - edges], angles)
        for _ in range(self.exits - 1):
            yield next(visits)
        x = next(visits)
        for layer in layers[len(layers) - edges :]:
            x = layer(x, 0, angles)
        yield x

    def logits(self, states: Tensor) -> Tensor:
        """States [B, T, d] at an exit to logits [B, T, V]."""
        return functional.linear(self._part(self.names.final_norm)(states, 0), self.head)

    def _visits(self, x: Tensor, block: nn.ModuleList, angles: Angles) -> Iterator[Tensor]:
        """The state at the end of every visit, or of all of them where visits have no end of their own."""
        visits = range(self.sharing.visits)
        if self.sharing.is_cycle:
            for visit in visits:
                for layer in block:
                    x = layer(x, visit, angles)
                yield x
        else:
            for layer in block:
                for visit in visits:
                    x = layer(x, visit, angles)
            yield x

    def _angles(self, tokens: Tensor) -> Angles:
        positions = np.arange(tokens.shape[1])
        tables = self.rope.tables(positions, self.shape.head_dim, NUMPY_TYPES[self.embedding.dtype])
        cos, sin = (to_tensor(table).to(tokens.device) for table in tables)
        return cos, sin

    def _part(self, name: str) -> nn.Module:
        return self.get_submodule(f"{self.names.stack}.{name}")
