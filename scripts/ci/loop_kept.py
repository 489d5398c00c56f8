#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Check that the depth loop is never unrolled: ten times the visits must not cost code, operations or compile time.

    scripts/ci/loop_kept.py [--bin build/bin] [--loop 10:19] [--times 3 30] [--repeat 5] CHECKPOINT

Compiles the checkpoint with the layers visited a few and many times, and demands

- code of the same size within 2 %,
- the same number of operations, by kind, in each dumped phase,
- the same compile time within 15 %: medians of `--repeat` runs that take turns (`--any-time` only reports them, for
  machines that do other work meanwhile).

Prints a table and what differs. Exit status: 0 all of it holds, 1 not, 2 wrong use.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CODE_TOLERANCE = 0.02
TIME_TOLERANCE = 0.15
TOOL_SECONDS = 300


@dataclass
class Variant:
    """The model with one number of visits."""

    times: int
    option: str
    code_bytes: int = 0
    executed_layers: int = 0
    operations: dict[str, Counter[str]] = field(default_factory=dict)  # by phase
    seconds: list[float] = field(default_factory=list)


def main() -> int:
    arguments = _parser().parse_args()
    variants = [Variant(times, f"--loop={arguments.loop}:{times}") for times in arguments.times]
    with tempfile.TemporaryDirectory() as folder:
        for variant in variants:
            measure_code(arguments.bin, arguments.checkpoint, variant, Path(folder))
        for _ in range(arguments.repeat):
            for variant in variants:
                variant.seconds.append(compile_seconds(arguments.bin, arguments.checkpoint, variant, Path(folder)))
    few, many = variants
    print_table(few, many)
    findings = differences(few, many, check_time=not arguments.any_time)
    for finding in findings:
        print(f"loop_kept: {finding}", file=sys.stderr)
    return 1 if findings else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", type=Path, default=ROOT / "build" / "bin", help="folder of rondoc and its companions")
    parser.add_argument("--loop", default="10:19", metavar="FIRST:LAST", help="layers to visit again (10:19)")
    parser.add_argument("--times", type=int, nargs=2, default=[3, 30], metavar=("FEW", "MANY"), help="visits (3 30)")
    parser.add_argument("--repeat", type=int, default=5, metavar="N", help="timed compilations of each (5)")
    parser.add_argument("--any-time", action="store_true", help="report compile times without judging them")
    parser.add_argument("checkpoint", type=Path)
    return parser


def run_tool(command: list[str | Path]) -> subprocess.CompletedProcess[str]:
    """Run a tool; a failure ends the script with the tool's message."""
    result = subprocess.run(command, text=True, capture_output=True, timeout=TOOL_SECONDS, check=False)
    if result.returncode != 0:
        raise SystemExit(f"loop_kept: {' '.join(map(str, command))}\n{result.stderr}")
    return result


def measure_code(tools: Path, checkpoint: Path, variant: Variant, folder: Path) -> None:
    """Compile once with dumps; fill in size of code and operations of the phases."""
    bundle, dumps = folder / f"{variant.times}.rondo", folder / f"phases-{variant.times}"
    run_tool([tools / "rondoc", checkpoint, variant.option, f"--dump-phases={dumps}", "-o", bundle])
    manifest = json.loads(run_tool([tools / "rondo-run", bundle, "--describe=json"]).stdout)
    bundle.unlink()
    variant.code_bytes = next(tensor["bytes"] for tensor in manifest["tensors"] if tensor["name"] == "code.cpu")
    variant.executed_layers = manifest["schedule"]["executed_layers"]
    for dump in sorted(dumps.iterdir()):
        variant.operations[dump.stem.partition("-")[2]] = count_operations(tools, dump)


def count_operations(tools: Path, dump: Path) -> Counter[str]:
    """Operations of a module by name, as MLIR itself counts them."""
    result = run_tool([tools / "rondo-opt", dump, "--print-op-stats=json=true", "-o", "/dev/null"])
    return Counter(json.loads(result.stderr or result.stdout))


def compile_seconds(tools: Path, checkpoint: Path, variant: Variant, folder: Path) -> float:
    """Wall time of one compilation from checkpoint to bundle."""
    bundle = folder / "timed.rondo"
    start = time.perf_counter()
    run_tool([tools / "rondoc", checkpoint, variant.option, "-o", bundle])
    seconds = time.perf_counter() - start
    bundle.unlink()
    return seconds


def print_table(few: Variant, many: Variant) -> None:
    rows = [("", f"x {few.times}", f"x {many.times}")]
    rows.append(("executed layers", str(few.executed_layers), str(many.executed_layers)))
    rows.append(("code, bytes", str(few.code_bytes), str(many.code_bytes)))
    for phase in few.operations:
        count = many.operations.get(phase, Counter())
        rows.append((f"operations, {phase}", str(few.operations[phase].total()), str(count.total())))
    if few.seconds:
        medians = [statistics.median(variant.seconds) for variant in (few, many)]
        rows.append(("compile time, s", *(f"{median:.2f}" for median in medians)))
    for label, left, right in rows:
        print(f"{label:<22}{left:>12}{right:>12}")


def differences(few: Variant, many: Variant, *, check_time: bool) -> list[str]:
    """What does not hold, a sentence each."""
    found = []
    if many.executed_layers <= few.executed_layers:
        found.append(f"{many.option} executes {many.executed_layers} layers, not more than {few.option}")
    growth = many.code_bytes / few.code_bytes - 1
    if abs(growth) > CODE_TOLERANCE:
        found.append(f"the code differs by {growth:+.1%}, more than {CODE_TOLERANCE:.0%}")
    if few.operations.keys() != many.operations.keys() or not few.operations:
        found.append(f"phases differ: {', '.join(few.operations)} and {', '.join(many.operations)}")
    for phase, count in few.operations.items():
        other = many.operations.get(phase, Counter())
        names = sorted(name for name in count | other if count[name] != other[name])
        if names:
            details = ", ".join(f"{name} {count[name]} and {other[name]}" for name in names[:5])
            found.append(f"operations of phase {phase} differ: {details}")
    if check_time and few.seconds:
        ratio = statistics.median(many.seconds) / statistics.median(few.seconds) - 1
        if abs(ratio) > TIME_TOLERANCE:
            found.append(f"the compile time differs by {ratio:+.1%}, more than {TIME_TOLERANCE:.0%}")
    return found


if __name__ == "__main__":
    sys.exit(main())
