# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The tensors of a source by their place, and the tensors that a conversion may write: no weight is read here."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from rondo.convert.errors import ConversionError
from rondo.convert.families import Family
from rondo.convert.plan import Plan
from rondo.convert.source import Tensor
from rondo.convert.writer import Entry


@dataclass(frozen=True)
class Layout:
    """Tensors outside the layers, and of each source layer the tensors by (module, field)."""

    globals: Sequence[Tensor]
    layers: Sequence[Mapping[tuple[str, str], Tensor]]


@dataclass(frozen=True)
class Shared:
    """A tensor of a stored layer, and what of it depends on the depth."""

    layer: int  # stored
    module: str
    field: str
    sources: tuple[Tensor, ...]  # the shared weight is their mean
    copies: tuple[Tensor, ...]  # what it stands for, by depth; empty outside the block
    entry: Entry | None  # None: nothing is shared, each depth has its own
    by_depth: tuple[Entry, ...]  # copies written as they are
    deltas: tuple[tuple[Entry, Entry], ...]  # (lora_A, lora_B) by depth, which may be left out

    @property
    def work(self) -> int:
        """Elements to read, for the progress bar."""
        return math.prod(self.sources[0].shape) * max(1, len(self.copies))


def arrange(tensors: Mapping[str, Tensor], layers: int, family: Family) -> Layout:
    """Sort the tensors of a source. ConversionError if one has no place or is missing, or if layers are not alike."""
    outside: list[Tensor] = []
    inside: list[dict[tuple[str, str], Tensor]] = [{} for _ in range(layers)]
    for name, tensor in tensors.items():
        if family.is_buffer(name):
            continue
        if name in (*family.globals, family.head):
            outside.append(tensor)
        elif (place := family.parse(name)) and place.layer < layers:
            inside[place.layer][place.module, place.field] = tensor
        else:
            raise ConversionError(
                f"tensor '{name}' has no place in a {family.model_type} model of {layers} layers; take the checkpoint "
                "that config.json belongs to"
            )
    _check_complete(tensors, layers, family)
    for number, layer in enumerate(inside):
        _check_alike(number, inside[0], layer)
    return Layout(outside, inside)


def _check_complete(tensors: Mapping[str, Tensor], layers: int, family: Family) -> None:
    modules = (*family.matrices.values(), *family.norms)
    inside = [f"{family.layers}.{layer}.{module}.weight" for layer in range(layers) for module in modules]
    for name in (*family.globals, *inside):
        if name not in tensors:
            raise ConversionError(f"tensor '{name}' is missing; take a complete checkpoint")


def _check_alike(number: int, first: Mapping[tuple[str, str], Tensor], layer: Mapping[tuple[str, str], Tensor]) -> None:
    """Layers that are to share weights must have the same tensors in the same shapes."""
    for module, field in sorted(first.keys() ^ layer.keys()):
        have, lack = (number, 0) if (module, field) in layer else (0, number)
        raise ConversionError(
            f"layer {have} has '{module}.{field}' and layer {lack} has not, so that they cannot share weights; only "
            "models of like layers can be converted"
        )
    for place, tensor in layer.items():
        if tensor.shape != first[place].shape:
            raise ConversionError(
                f"'{tensor.name}' is {list(tensor.shape)} and '{first[place].name}' {list(first[place].shape)}, so "
                "that they cannot share weights; only models of like layers can be converted"
            )


def shared_tensors(layout: Layout, plan: Plan, family: Family, delta_kind: str) -> Iterator[Shared]:
    """What becomes of the layers' tensors, stored layer by stored layer."""
    for layer in range(plan.sharing.stored):
        group = plan.sharing.group(layer)
        inner = plan.sharing.place(group[0]).depth is not None
        for module, field in layout.layers[0]:
            sources = tuple(layout.layers[source][module, field] for source in plan.sources(layer))
            copies = tuple(layout.layers[unrolled][module, field] for unrolled in group) if inner else ()
            yield _shared(layer, module, field, sources, copies, plan, family, delta_kind)


def _shared(
    layer: int,
    module: str,
    field: str,
    sources: tuple[Tensor, ...],
    copies: tuple[Tensor, ...],
    plan: Plan,
    family: Family,
    delta_kind: str,
) -> Shared:
    prefix = f"{family.layers}.{layer}.{module}"
    entry = Entry(f"{prefix}.{field}", _common_kind(sources), sources[0].shape)
    deltas: tuple[tuple[Entry, Entry], ...] = ()
    if copies and module in family.norms and plan.norms == "per-depth":
        by_depth = tuple(
            Entry(f"{prefix}.{depth}.{field}", tensor.kind, tensor.shape) for depth, tensor in enumerate(copies)
        )
        return Shared(layer, module, field, sources, copies, None, by_depth, deltas)
    if copies and field == "weight" and module in plan.targets and plan.rank:
        outputs, inputs = entry.shape
        rank = plan.delta_rank(outputs, inputs)
        deltas = tuple(
            (
                Entry(f"{prefix}.lora_A.{depth}.weight", delta_kind, (rank, inputs)),
                Entry(f"{prefix}.lora_B.{depth}.weight", delta_kind, (outputs, rank)),
            )
            for depth in range(len(copies))
        )
    return Shared(layer, module, field, sources, copies, entry, (), deltas)


def _common_kind(tensors: Sequence[Tensor]) -> str:
    """The type of all, or float32, which holds the values of every type."""
    kinds = {tensor.kind for tensor in tensors}
    return kinds.pop() if len(kinds) == 1 else "F32"


def entries(layout: Layout, shared: Sequence[Shared]) -> list[Entry]:
    """All tensors that may be written."""
    found = [Entry(tensor.name, tensor.kind, tensor.shape) for tensor in layout.globals]
    for tensor in shared:
        found += [tensor.entry] if tensor.entry else tensor.by_depth
        found += [entry for pair in tensor.deltas for entry in pair]
    return found
