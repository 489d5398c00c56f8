# Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Builds the C programs for this machine, and runs the ceilings.

They are built at the start of every run, since `-march=native` is a promise
about the machine they run on.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
FLAGS = ["-O3", "-march=native", "-pthread"]
DRAM_MILLISECONDS = 150


def compiler() -> str:
    """Clang: the sources use its unrolling pragmas."""
    for name in ("clang-22", "clang"):
        if shutil.which(name):
            return name
    raise SystemExit("no clang found to build the benchmark programs")


def build(program: str, folder: Path) -> Path:
    """Builds ROOT/program/*.c with the shared support code."""
    folder.mkdir(parents=True, exist_ok=True)
    sources = sorted((ROOT / program).glob("*.c"))
    sources.append(ROOT / "support" / "team.c")
    output = folder / program
    command = [compiler(), *FLAGS, *map(str, sources), "-lm", "-o", str(output)]
    subprocess.run(command, check=True)
    return output


class Ceilings:
    """The best figures seen so far; they only ever rise."""

    def __init__(self, program: Path, threads: int) -> None:
        self.program = program
        self.threads = threads
        self.full = self._run([])
        self.bandwidth: float = self.full["read"]["dram"]["gb_per_s"]
        self.bandwidth_source = "ceilings"

    def _run(self, options: list[str]) -> dict[str, Any]:
        command = [str(self.program), f"--threads={self.threads}", *options]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        return json.loads(done.stdout)

    def saw_bandwidth(self, gb_per_s: float, source: str) -> None:
        if gb_per_s > self.bandwidth:
            self.bandwidth = gb_per_s
            self.bandwidth_source = source

    def saw_arithmetic(self, kind: str, gops_per_s: float) -> None:
        entry = self.full["arithmetic"][kind]
        entry["gops_per_s"] = max(entry["gops_per_s"], gops_per_s)

    def measure_dram(self) -> float:
        """DRAM bandwidth right now, in GB/s."""
        options = ["--dram-only", f"--milliseconds={DRAM_MILLISECONDS}"]
        now: float = self._run(options)["read"]["dram"]["gb_per_s"]
        self.saw_bandwidth(now, "ceilings")
        return now

    def measure_again(self) -> None:
        """A second full run, at the end: keeps the larger figures."""
        again = self._run([])
        self.saw_bandwidth(again["read"]["dram"]["gb_per_s"], "ceilings")
        for kind, entry in again["arithmetic"].items():
            self.saw_arithmetic(kind, entry["gops_per_s"])
        for level, entry in again["read"].items():
            if entry["gb_per_s"] > self.full["read"][level]["gb_per_s"]:
                self.full["read"][level] = entry

    def arithmetic(self, weight_type: str) -> float:
        """Operations per second, in 10^9, of a weight type's fast mode."""
        kinds = {"f32": "f32", "f16": "f32", "bf16": "bf16", "q8_0": "int8"}
        kind = kinds.get(weight_type, "int4")
        gops: float = self.full["arithmetic"][kind]["gops_per_s"]
        return gops

    def as_dict(self) -> dict[str, Any]:
        return {
            **self.full,
            "dram_gb_per_s": self.bandwidth,
            "dram_source": self.bandwidth_source,
        }
