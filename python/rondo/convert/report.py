# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What a conversion lost: the difference that each shared tensor leaves at each depth, without and with its delta."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from rondo.convert.families import Family
from rondo.convert.plan import Plan

TEXT_NAME = "conversion-report.md"
IMAGE_NAME = "conversion-report.png"


@dataclass(frozen=True)
class Residual:
    """One tensor at one depth; sizes are Frobenius norms."""

    unrolled: int  # layer of the source
    layer: int  # stored layer that stands for it
    depth: int
    module: str
    field: str
    weight: float  # of the source's tensor
    before: float  # of what sharing changes
    after: float  # of what is left of that with the delta

    def relative(self, error: float) -> float:
        """An error in proportion to the source's tensor."""
        if error == 0:
            return 0.0
        return error / self.weight if self.weight else math.inf


@dataclass
class Report:
    """Collects residuals, and writes them as text and as a picture."""

    source: str  # name of the file or folder
    family: Family
    plan: Plan
    residuals: list[Residual] = field(default_factory=list)
    written_bytes: int = 0
    notes: list[str] = field(default_factory=list)

    def add(self, residual: Residual) -> None:
        """Note a tensor."""
        self.residuals.append(residual)

    def matrices(self) -> list[Residual]:
        """Residuals of the matrices."""
        modules = set(self.family.matrices.values())
        return [residual for residual in self.residuals if residual.field == "weight" and residual.module in modules]

    def vectors(self) -> list[Residual]:
        """Residuals of shared norms and biases, which get no deltas."""
        matrices = set(self.matrices())
        return [residual for residual in self.residuals if residual not in matrices]

    def write(self, folder: Path) -> None:
        """Write the text, and the picture if matplotlib is there; else a note says so."""
        (folder / TEXT_NAME).write_text(self.text(), encoding="utf-8")
        try:
            from rondo.convert.heat_map import write_heat_map
        except ModuleNotFoundError as error:
            self.notes.append(f"no {IMAGE_NAME}: {error.name} is not installed (pip install './python[convert]')")
            return
        write_heat_map(self, folder / IMAGE_NAME)

    def summary(self, target: Path, seconds: float) -> str:
        """A few lines for the terminal."""
        sharing, matrices = self.plan.sharing, self.matrices()
        lost = f"{overall(matrices, lambda residual: residual.before):.4f} of the matrices by sharing"
        if self.plan.rank:
            lost += f", {overall(matrices, lambda residual: residual.after):.4f} with deltas"
        return "\n".join(
            [
                f"rondo: wrote '{target}', {self.written_bytes / 1e6:.1f} MB",
                f"  schedule      {sharing.kind}: a block of {sharing.block} layers, {sharing.visits} visits",
                f"  layers        {sharing.layers} executed, {sharing.stored} stored",
                f"  lost          {lost}",
                f"  report        {TEXT_NAME}",
                f"  time          {seconds:.1f} s",
            ]
        )

    def text(self) -> str:
        """The report as Markdown."""
        sharing = self.plan.sharing
        lines = [
            f"# Conversion of {self.source}",
            "",
            f"{sharing.layers} layers became {sharing.stored} stored ones: sharing `{sharing.kind}`, {sharing.visits} "
            f"visits of a block of {sharing.block}, initialization `{self.plan.initialization}`, norms "
            f"`{self.plan.norms}`.",
            "",
            self._deltas(),
            "",
            "Numbers are the Frobenius norm of what differs from the source's tensor, divided by that of the tensor: "
            "from sharing alone, then with the delta.",
            "",
            "| | without deltas | with deltas |",
            "|---|---|---|",
            _row("all matrices", self.matrices()),
            _row("norms and biases", self.vectors()),
            "",
            "## Matrices",
            "",
        ]
        return "\n".join([*lines, *self._table(), ""])

    def _deltas(self) -> str:
        if not self.plan.rank:
            return "No deltas."
        targets = ", ".join(self.plan.targets)
        return f"Deltas of rank {self.plan.rank} (less where a side is shorter), scale {self.plan.scale:g}: {targets}."

    def _table(self) -> Iterable[str]:
        modules = list(self.family.matrices.values())
        yield f"| source layer | stored layer, depth | {' | '.join(modules)} |"
        yield "|---|---|" + "---|" * len(modules)
        by_place = {(residual.unrolled, residual.module): residual for residual in self.matrices()}
        for unrolled in sorted({residual.unrolled for residual in self.matrices()}):
            row = [by_place[unrolled, module] for module in modules]
            cells = " | ".join(
                f"{residual.relative(residual.before):.4f} {residual.relative(residual.after):.4f}" for residual in row
            )
            yield f"| {unrolled} | {row[0].layer}, {row[0].depth} | {cells} |"


def overall(residuals: Iterable[Residual], error: Callable[[Residual], float]) -> float:
    """Norm of all errors together over the norm of all tensors together; 0 if there are none."""
    residuals = list(residuals)
    size = math.hypot(*(residual.weight for residual in residuals))
    return math.hypot(*(error(residual) for residual in residuals)) / size if size else 0.0


def _row(name: str, residuals: list[Residual]) -> str:
    before = overall(residuals, lambda residual: residual.before)
    after = overall(residuals, lambda residual: residual.after)
    return f"| {name} | {before:.4f} | {after:.4f} |"
