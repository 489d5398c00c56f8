#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Measure what compiling costs, and check it against its bounds.

    scripts/ci/compile_cost.py [--bin build/bin] [--weights=keep,...] [--repeat 3] CHECKPOINT...

For each checkpoint and type: the median wall time, at most 20 s, and the largest resident memory of the compiler, at
most 1.5 times the checkpoint and 300 MB, mapped pages of the checkpoint included. Prints a table. Exit status: 0 within
the bounds, 1 not, 2 wrong use.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MOST_SECONDS = 20.0
MEMORY_FACTOR = 1.5
MEMORY_BASE = 300_000_000  # bytes
MEGA = 1e6


@dataclass(frozen=True)
class Cost:
    """What one compilation took."""

    seconds: float
    peak_bytes: int


def main() -> int:
    arguments = _parser().parse_args()
    print(f"{'checkpoint':<36}{'weights':<10}{'MB':>8}{'time, s':>9}{'peak, MB':>10}{'bound, MB':>11}")
    within = True
    with tempfile.TemporaryDirectory() as folder:
        for checkpoint in arguments.checkpoints:
            for weights in arguments.weights.split(","):
                command = [arguments.bin / "rondoc", checkpoint, f"--weights={weights}"]
                costs = [compile_once(command, Path(folder) / "model.rondo") for _ in range(arguments.repeat)]
                within &= report(checkpoint, weights, costs)
    return 0 if within else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", type=Path, default=ROOT / "build" / "bin", help="folder of rondoc")
    parser.add_argument("--weights", default="keep", metavar="TYPES", help="as rondoc takes it, several with commas")
    parser.add_argument("--repeat", type=int, default=3, metavar="N", help="compilations of each (3)")
    parser.add_argument("checkpoints", nargs="+", type=Path, metavar="CHECKPOINT")
    return parser


def compile_once(command: list[str | Path], bundle: Path) -> Cost:
    """Compile to `bundle` and remove it; a failure ends the script with the compiler's message."""
    start = time.perf_counter()
    process = subprocess.Popen([*command, "-o", bundle], stderr=subprocess.PIPE)
    assert process.stderr is not None
    message = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.perf_counter() - start
    if process.returncode != 0:
        raise SystemExit(f"compile_cost: {' '.join(map(str, command))}\n{message.decode(errors='replace')}")
    bundle.unlink()
    return Cost(seconds, usage.ru_maxrss * 1024)


def checkpoint_bytes(checkpoint: Path) -> int:
    """Bytes of a file, or of the weights in a folder."""
    files = checkpoint.glob("*.safetensors") if checkpoint.is_dir() else [checkpoint]
    return sum(file.stat().st_size for file in files)


def report(checkpoint: Path, weights: str, costs: list[Cost]) -> bool:
    """Print a line of the table; whether the bounds hold."""
    size = checkpoint_bytes(checkpoint)
    seconds = statistics.median(cost.seconds for cost in costs)
    peak = max(cost.peak_bytes for cost in costs)
    bound = MEMORY_FACTOR * size + MEMORY_BASE
    within = seconds <= MOST_SECONDS and peak <= bound
    numbers = f"{size / MEGA:>8.0f}{seconds:>9.2f}{peak / MEGA:>10.0f}{bound / MEGA:>11.0f}"
    print(f"{checkpoint.name:<36}{weights:<10}{numbers}{'' if within else '  beyond the bound'}", flush=True)
    return within


if __name__ == "__main__":
    sys.exit(main())
