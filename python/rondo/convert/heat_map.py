# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""A picture of a conversion report: source layer by matrix, grouped by depth, without and with deltas."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from rondo.convert.report import Report, Residual

_INCHES_PER_ROW = 0.24
_DPI = 120


def write_heat_map(report: Report, path: Path) -> None:
    """Two panels, rows (depth, stored layer), one column a matrix, relative error in colour and in numbers."""
    rows = sorted({(residual.depth, residual.layer) for residual in report.matrices()})
    figure = Figure(figsize=(13, 2.2 + _INCHES_PER_ROW * len(rows)), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    values = [
        _grid(report, rows, lambda residual: residual.relative(residual.before)),
        _grid(report, rows, lambda residual: residual.relative(residual.after)),
    ]
    top = max(float(np.max(values[0])), 1e-9)
    titles = ("without deltas", f"with deltas of rank {report.plan.rank}" if report.plan.rank else "no deltas")
    for panel, grid, title in zip(panels, values, titles, strict=True):
        image = panel.imshow(grid, aspect="auto", cmap="magma", vmin=0, vmax=top)
        panel.set_title(title)
        panel.set_xticks(range(len(report.family.matrices)), list(report.family.matrices))
        panel.set_yticks(range(len(rows)), [f"depth {depth}  layer {layer}" for depth, layer in rows], fontsize=7)
        _write_numbers(panel, grid, top)
        for number in range(1, len(rows)):
            if rows[number][0] != rows[number - 1][0]:
                panel.axhline(number - 0.5, color="white", linewidth=2)
    figure.colorbar(image, ax=panels, label="norm of the difference / norm of the weight")
    figure.suptitle(f"{report.source}: what sharing changes in each matrix")
    figure.savefig(path, dpi=_DPI, format="png")


def _grid(report: Report, rows: list[tuple[int, int]], value: Callable[[Residual], float]) -> NDArray[np.float64]:
    """Values [rows, matrices]."""
    columns = list(report.family.matrices.values())
    grid = np.zeros((len(rows), len(columns)))
    for residual in report.matrices():
        grid[rows.index((residual.depth, residual.layer)), columns.index(residual.module)] = value(residual)
    return grid


def _write_numbers(panel: object, grid: NDArray[np.float64], top: float) -> None:
    for (row, column), value in np.ndenumerate(grid):
        color = "black" if value > top / 2 else "white"
        panel.text(column, row, f"{value:.3f}", ha="center", va="center", color=color, fontsize=6)
