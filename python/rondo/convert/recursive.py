# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""An ordinary decoder made recursive: one block of layers for several, and low-rank deltas for what that loses.

    W'    = a source layer's weight, or the mean over the depths of the layers that W' stands for, rounded once
    E_r   = W_r - W'                     against the rounded W', as a reader will find it
    scale * B_r A_r  ~  E_r              the best approximation of its rank; none where E_r is zero

Source: arXiv 2410.20672, sections 2.3 and 2.4. The result's format: docs/RecursiveFolder.md. Weights are read and
written tensor by tensor; the largest matrix of a layer decides how much memory is needed, not the model.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rondo.convert import families, low_rank
from rondo.convert.errors import ConversionError
from rondo.convert.folder import appearing_folder
from rondo.convert.layout import Layout, Shared, arrange, entries, shared_tensors
from rondo.convert.numbers import decode, encode
from rondo.convert.plan import Plan
from rondo.convert.report import Report, Residual
from rondo.convert.source import Source, Tensor
from rondo.convert.writer import Entry, SafetensorsWriter
from rondo.reference.sharing import Sharing

FORMAT_VERSION = 1

# Called with the work done so far and all of it, both in elements.
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Options:
    """What a conversion is asked for; see `Plan`."""

    sharing: str
    visits: int
    initialization: str
    norms: str = "shared"
    rank: int = 0
    targets: tuple[str, ...] = ()  # as on the command line; empty: all matrices
    scale: float = 1.0
    delta_kind: str = "F32"  # type of the deltas in the file


def convert(source: Source, target: Path, options: Options, progress: Progress = lambda done, total: None) -> Report:
    """Write the recursive folder `target`, which appears when it is complete. Returns what the conversion lost.

    Raises ConversionError or CheckpointError for what cannot be converted as asked, OSError for what cannot be written.
    """
    family = families.family(source.config.get("model_type"))
    plan = make_plan(source, options, family)
    layout = arrange(source.tensors, plan.sharing.layers, family)
    shared = list(shared_tensors(layout, plan, family, options.delta_kind))
    report = Report(source.path.name, family, plan)
    with appearing_folder(target) as folder:
        with SafetensorsWriter(folder / "model.safetensors", entries(layout, shared)) as writer:
            _Converter(writer, plan, report, progress).run(layout, shared)
            report.written_bytes = writer.size
        config = converted_config(source, plan, family)
        (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        _copy_companions(source, folder)
        report.write(folder)
    return report


def make_plan(source: Source, options: Options, family: families.Family) -> Plan:
    """The plan for a source. Raises ConversionError or CheckpointError if the model does not divide as asked."""
    layers = source.config.get("num_hidden_layers")
    if type(layers) is not int or layers < 1:
        raise ConversionError(f"{source.path}: 'num_hidden_layers' is {layers!r}, expected a number of layers")
    return Plan(
        Sharing(options.sharing, layers, options.visits),
        options.initialization,
        options.norms,
        options.rank,
        family.modules(options.targets),
        options.scale,
    )


def converted_config(source: Source, plan: Plan, family: families.Family) -> dict[str, object]:
    """config.json of the result: that of the source, under another model type, and the object `recursive`."""
    targets = [module.rpartition(".")[2] for module in plan.targets]
    return dict(source.config) | {
        "architectures": [family.architecture],
        "model_type": f"recursive_{family.model_type}",
        "recursive": {
            "format_version": FORMAT_VERSION,
            "sharing": plan.sharing.kind,
            "num_recursion": plan.sharing.visits,
            "norms": plan.norms,
            "initialization": plan.initialization,
            "lora": {"rank": plan.rank, "scale": plan.scale, "targets": targets} if plan.rank else None,
        },
    }


def _copy_companions(source: Source, folder: Path) -> None:
    for name, content in source.companions.items():
        if isinstance(content, Path):
            shutil.copyfile(content, folder / name)
        else:
            (folder / name).write_text(content, encoding="utf-8")


@dataclass
class _Converter:
    """Reads, computes, writes, and reports."""

    writer: SafetensorsWriter
    plan: Plan
    report: Report
    progress: Progress

    def run(self, layout: Layout, shared: list[Shared]) -> None:
        total = sum(tensor.work for tensor in shared)
        done = 0
        for tensor in layout.globals:
            self.writer.add(Entry(tensor.name, tensor.kind, tensor.shape), tensor.pieces())
        for tensor in shared:
            self.progress(done, total)
            self._convert(tensor)
            done += tensor.work
        self.progress(total, total)

    def _convert(self, shared: Shared) -> None:
        if shared.entry is None:
            for entry, tensor in zip(shared.by_depth, shared.copies, strict=True):
                self.writer.add(entry, tensor.pieces())
            return
        if not shared.copies:
            self.writer.add(shared.entry, shared.sources[0].pieces())
            return
        data = encode(_mean(shared.sources), shared.entry.kind)
        self.writer.add(shared.entry, [data])
        stored = decode(data, shared.entry.kind).reshape(shared.entry.shape)
        del data
        for depth, tensor in enumerate(shared.copies):
            self._relax(shared, depth, _finite(tensor), stored)

    def _relax(self, shared: Shared, depth: int, weight: NDArray[np.float32], stored: NDArray[np.float32]) -> None:
        """Write the delta of one depth, if it is to have one, and note what is left."""
        size = low_rank.frobenius(weight)
        residual = weight - stored
        before = after = low_rank.frobenius(residual)
        if shared.deltas and before:
            first, second = shared.deltas[depth]
            b, a = low_rank.truncated(residual, first.shape[0])
            a = self._write(first, a)
            b = self._write(second, b / self.plan.scale)
            residual -= np.float32(self.plan.scale) * (b @ a)
            after = low_rank.frobenius(residual)
        unrolled = self.plan.sharing.group(shared.layer)[depth]
        self.report.add(Residual(unrolled, shared.layer, depth, shared.module, shared.field, size, before, after))

    def _write(self, entry: Entry, values: NDArray[np.float64]) -> NDArray[np.float32]:
        """Write a factor of a delta; returns it as it was rounded."""
        data = encode(values, entry.kind)
        self.writer.add(entry, [data])
        return decode(data, entry.kind).reshape(entry.shape)


def _mean(tensors: tuple[Tensor, ...]) -> NDArray[np.floating]:
    """Mean of tensors in float64; a single one is only read."""
    if len(tensors) == 1:
        return _finite(tensors[0])
    total = np.zeros(tensors[0].shape)
    for tensor in tensors:
        total += _finite(tensor)
    return total / len(tensors)


def _finite(tensor: Tensor) -> NDArray[np.float32]:
    values = tensor.read()
    if not np.isfinite(values).all():
        raise ConversionError(f"tensor '{tensor.name}' has values that are not finite; take an undamaged checkpoint")
    return values
