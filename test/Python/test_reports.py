# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What compiler, runner and `rondo inspect` say of one model agrees in number, word and unit."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

pytest.importorskip("rondo._runtime", reason="the extension module is not installed (pip install ./python)")

from conftest import ORACLES, tools_folder

from rondo import inspection

# Case, options, depth. Loops of a plain model, of a looped one, and one whose visits run other code.
MODELS = [
    ("llama/gqa4_v5config", [], 1),
    ("llama/gqa4_v5config", ["--loop=1:1:3"], 3),
    ("llama/gqa4_v5config", ["--loop=0:1:2"], 2),
    ("nanbeige/loops2", [], 2),
    ("nanbeige/loopsplit_share_kv", [], 3),
]


def tool(name: str, *arguments: str | Path) -> str:
    """What a program writes to both streams; skips where it is not built."""
    path = tools_folder() / name
    if not path.exists():
        pytest.skip(f"{path} is not built")
    return subprocess.run(
        [path, *arguments], check=True, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ).stdout


def value(report: str, key: str) -> str:
    """What stands behind a key of two columns."""
    return re.search(rf"^ *{key} +(.*)$", report, re.MULTILINE)[1]


@pytest.mark.parametrize(("case", "options", "depth"), MODELS)
def test_schedule_and_sizes(case: str, options: list[str], depth: int, tmp_path: Path) -> None:
    bundle = tmp_path / "model.rondo"
    summary = tool("rondoc", ORACLES / case, *options, "-o", bundle)
    check = tool("rondoc", ORACLES / case, *options, "--check")
    described = tool("rondo-run", bundle, "--describe")
    facts = inspection.read(bundle)
    inspected = inspection.describe(facts)

    counts = value(described, "schedule")
    assert counts.startswith(f"depth {depth}, ")
    assert value(summary, "schedule").endswith("; " + counts)
    assert f"schedule: {counts}\n" in inspected
    assert f"\nlayers: {counts}\n" in check
    assert depth == 1 + max(run.visit for run in facts.executions if run.is_layer)
    result = json.loads(tool("rondo-run", bundle, "--tokens=1,2", "--generate=2", "--stop=", "--output=json"))
    assert result["sequences"][0]["depths"] == [depth] * 2

    assert value(summary, "code") == value(described, "code")
    arena, weights = value(summary, "arena"), value(summary, "weights")
    assert arena == value(described, "arena") and value(inspected, "memory").startswith(f"arena {arena}, ")
    assert value(described, "weights").endswith(f", {weights}") and f", {weights}, " in value(inspected, "weights")
    position = re.search(r", (\S+ \S+) a position", value(inspected, "kv"))[1]
    assert f"\nKV: {position} a position, " in check
    estimate = float(re.search(r"\narena: about (\S+) kB", check)[1])
    assert estimate == pytest.approx(float(arena.removesuffix(" kB")), rel=0.5)
    file = inspection.size(bundle.stat().st_size)
    assert f"'{bundle}', {file}\n" in summary and f" ({file})\n" in inspected


@pytest.mark.parametrize(
    ("count", "words"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (999_949, "999.9 kB"), (999_950, "1.0 MB"), (1_048_576, "1.0 MB"),
     (999_949_999, "999.9 MB"), (999_950_000, "1.0 GB"), (1e12, "1.0 TB"), (2.5e15, "2500.0 TB")],
)  # fmt: skip
def test_size(count: float, words: str) -> None:
    assert inspection.size(count) == words


# Tests that residency is about what is read from visit to visit, deltas of the depth included, not about all weights.
@pytest.mark.parametrize(("cache", "verdict"), [(320, "fit"), (319, "do not fit")])
def test_residency(cache: int, verdict: str) -> None:
    stages = [
        {"name": "block.norm.q", "executions": 6, "bytes": 80, "side_bytes": 0},
        {"name": "block.o", "executions": 3, "bytes": 40, "side_bytes": 20},  # a stage of every other layer
        {"name": "norm.head", "executions": 1, "bytes": 5000, "side_bytes": 0},
    ]
    runs = [inspection.Execution(r, r, "block", True, layer, r, 2 * r + layer) for r in range(3) for layer in range(2)]
    head = inspection.Execution(0, 3, "coda", False, 0, 0, 0)
    manifest = {"schedule": {"depth": 3}, "stages": stages, "weight_bytes": 9999}
    facts = inspection.Facts(Path("m.rondo"), manifest, (*runs, head), cache)
    assert inspection._residency(facts) == (
        f"residency: 200 B of weights, read from one visit to the next, {verdict} the {inspection.size(0.625 * cache)} "
        f"that can be counted on in this machine's last-level cache of {cache} B"
    )
