# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What a conversion says about itself: report, picture, progress."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import ORACLES
from safetensors.numpy import load_file

from rondo.convert.recursive import Options, convert
from rondo.convert.report import Report, Residual, overall
from rondo.convert.source import open_source

SHARED = ORACLES / "rrt_init" / "share_6layers"


# Tests that the report holds what is left, against the tensors themselves.
def test_report(tmp_path: Path) -> None:
    source = open_source(SHARED)
    report = convert(source, tmp_path / "r", Options("cycle", 2, "stepwise", rank=4, scale=3.0, targets=("gate",)))
    stored, found = (load_file(path / "model.safetensors") for path in (SHARED, tmp_path / "r"))
    entry = next(r for r in report.matrices() if (r.unrolled, r.module) == (4, "mlp.gate_proj"))
    assert (entry.layer, entry.depth) == (1, 1)
    weight = stored["model.layers.4.mlp.gate_proj.weight"].astype(np.float64)
    linear = "model.layers.1.mlp.gate_proj"
    left = weight - found[f"{linear}.weight"]
    assert entry.relative(entry.before) == pytest.approx(np.linalg.norm(left) / np.linalg.norm(weight), rel=1e-5)
    left -= 3 * found[f"{linear}.lora_B.1.weight"].astype(np.float64) @ found[f"{linear}.lora_A.1.weight"]
    assert entry.relative(entry.after) == pytest.approx(np.linalg.norm(left) / np.linalg.norm(weight), rel=1e-5)
    copied = next(r for r in report.matrices() if (r.unrolled, r.module) == (0, "mlp.gate_proj"))
    assert copied.before == copied.after == copied.relative(0.0) == 0
    text = (tmp_path / "r" / "conversion-report.md").read_text()
    assert f"{entry.relative(entry.before):.4f} {entry.relative(entry.after):.4f}" in text
    assert len([line for line in text.splitlines() if line.startswith(tuple(f"| {n} |" for n in range(6)))]) == 6
    assert "Deltas of rank 4 (less where a side is shorter), scale 3: mlp.gate_proj." in text
    assert (tmp_path / "r" / "conversion-report.png").read_bytes().startswith(b"\x89PNG")
    assert {r.module for r in report.vectors()} == {"input_layernorm", "post_attention_layernorm"}


# Tests that norms of their own are no loss, and that the same conversion gives the same bytes.
def test_report_of_norms_and_bytes(tmp_path: Path) -> None:
    options = Options("cycle", 2, "average", norms="per-depth", rank=2)
    assert convert(open_source(SHARED), tmp_path / "a", options).vectors() == []
    convert(open_source(SHARED), tmp_path / "b", options)
    for file in sorted((tmp_path / "a").iterdir()):
        assert file.read_bytes() == (tmp_path / "b" / file.name).read_bytes(), file.name


# Tests that a missing matplotlib is said, and stops nothing.
def test_report_without_matplotlib(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rondo.convert.heat_map", None)
    report: Report = convert(open_source(SHARED), tmp_path / "r", Options("cycle", 2, "average"))
    assert report.notes[0].startswith("no conversion-report.png: ")
    assert not (tmp_path / "r" / "conversion-report.png").exists()
    assert (tmp_path / "r" / "conversion-report.md").exists()


def test_progress(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    convert(open_source(SHARED), tmp_path / "r", Options("cycle", 2, "average"), lambda *place: seen.append(place))
    assert seen[0][0] == 0 and seen[-1][0] == seen[-1][1]
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


# Tests norms of tensors together, and errors of tensors that are zero.
def test_overall() -> None:
    residuals = [Residual(0, 0, 0, "m", "weight", weight, error, error / 2) for weight, error in ((3, 4), (4, 3))]
    assert overall(residuals, lambda residual: residual.before) == 1.0
    assert overall(residuals, lambda residual: residual.after) == 0.5
    assert overall([], lambda residual: residual.before) == 0.0
    nothing = Residual(0, 0, 0, "m", "weight", 0.0, 1.0, 0.0)
    assert (nothing.relative(nothing.before), nothing.relative(nothing.after)) == (float("inf"), 0.0)
