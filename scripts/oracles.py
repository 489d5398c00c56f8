#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Compile oracle cases, run them, and compare with what the authors' code computed (test/oracles/README.md).

    scripts/oracles.py [--bin build/bin] [--target cpu] [--device cpu] [--keep DIR] [CASE_OR_FOLDER ...]

Demands, for each case, of the bundle that `rondoc --exact` makes and of the one with `--trace-points`:

- logits of every prompt, the same bits from both bundles and within the case's tolerance of the expected ones;
- every other expected tensor that the trace has too, within the tolerance (integers: equal), and at least one tensor
  of each kind that says what the recursion does, where the case has that kind;
- the expected greedy tokens, unless the two best logits came within ten tolerances of each other on the way.

Without a case or folder, those of test/oracles; families that rondoc does not import yet are then skipped and counted.
Prints one line a case and closes with `N passed, N failed`, with `, N skipped` behind it if there are any. Exit
status: 0 all others passed, 1 not, 2 wrong use.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file

ROOT = Path(__file__).resolve().parents[1]

ORACLES = ROOT / "test" / "oracles"

# Folders of test/oracles whose models rondoc imports. The others are expected outputs of the reference models only.
IMPORTED_FAMILIES = frozenset({"albert", "gemma", "gpt_neox", "huginn", "llama", "mor", "nanbeige", "ouro", "rrt"})

# Kinds of tensors (first part of the name) that must be compared where a case expects them.
RECURSION_KINDS = frozenset({"hidden", "layer", "stack", "router", "selected", "depth", "exit"})
# Kinds that a model returns rather than traces: each one expected must be there.
OUTPUT_KINDS = frozenset({"logits", "last_hidden_state", "pooler_output"})
# A greedy run is undecided where the two best logits are closer than this many tolerances.
NEAR_TIE_TOLERANCES = 10
# The longest a tool may take on one of these small cases, seconds.
TOOL_SECONDS = 600

Tensors = Mapping[str, np.ndarray]


class MismatchError(Exception):
    """A case does not give what it must; the message says which part and by how much."""


@dataclass(frozen=True)
class Tools:
    """How to call the compiler and the runner."""

    folder: Path
    target: str
    device: str
    compile_options: tuple[str, ...]

    def compile(self, case: Path, bundle: Path, *options: str) -> None:
        emulation = ["--emulation"] if self.device == "emulated" else []
        fixed = [str(case), f"--target={self.target}", "--exact", "-o", str(bundle)]
        self._call("rondoc", *fixed, *emulation, *self.compile_options, *options)

    def run(self, bundle: Path, *options: str) -> str:
        device = [f"--device={self.device}"] if self.device else []
        return self._call("rondo-run", str(bundle), *device, *options)

    def _call(self, tool: str, *arguments: str) -> str:
        try:
            done = subprocess.run(
                [str(self.folder / tool), *arguments], capture_output=True, text=True, timeout=TOOL_SECONDS
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise MismatchError(f"cannot run {tool}: {error}") from error
        if done.returncode:
            last = (done.stderr or done.stdout).strip().splitlines()[-3:]
            raise MismatchError(f"{tool} exited with status {done.returncode}: {' | '.join(last)}")
        return done.stdout


def main() -> int:
    options = _parser().parse_args()
    tools = Tools(options.bin, options.target, options.device, tuple(options.rondoc))
    found = list(find_cases(options.cases or [ORACLES]))
    skipped = [] if options.cases else [case for case in found if case.parent.name not in IMPORTED_FAMILIES]
    passed = failed = 0

    def judge(case: Path) -> tuple[str, str]:
        name = f"{case.parent.name}/{case.name}"
        if case in skipped:
            return "skip", f"{name}: rondoc does not import {case.parent.name} yet"
        try:
            with work_folder(options.keep, name) as work:
                return "ok", f"{name}: {check_case(case, tools, work, frozenset(options.without))}"
        except (MismatchError, OSError, ValueError, KeyError) as error:
            return "FAIL", f"{name}: {error}"

    with ThreadPoolExecutor(options.jobs) as pool:
        for verdict, text in pool.map(judge, found):
            print(f"{verdict:5} {text}", flush=True)
            passed += verdict == "ok"
            failed += verdict == "FAIL"
    print(f"{passed} passed, {failed} failed" + (f", {len(skipped)} skipped" if skipped else ""))
    return 0 if passed and not failed else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", type=Path, default=ROOT / "build" / "bin", help="folder of rondoc and rondo-run")
    parser.add_argument("--target", default="cpu", help="as rondoc takes it")
    parser.add_argument("--device", default="", help="as rondo-run takes it")
    parser.add_argument("--rondoc", action="append", default=[], metavar="OPTION", help="one more option for rondoc")
    parser.add_argument(
        "--without", action="append", default=[], metavar="KIND", help="kind of tensor that may be absent"
    )
    parser.add_argument(
        "--jobs", type=int, choices=range(1, 1025), default=os.cpu_count(), metavar="N", help="cases at once (cores)"
    )
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep bundles and outputs there")
    parser.add_argument("cases", nargs="*", type=Path, help="default: test/oracles")
    return parser


def find_cases(paths: Sequence[Path]) -> Iterator[Path]:
    """Case folders at or below `paths`; cases that test a converter instead of one model are left out."""
    for path in paths:
        for file in sorted(path.rglob("expected.safetensors")):
            if file.parent.parent.name != "rrt_init":
                yield file.parent


@contextlib.contextmanager
def work_folder(keep: Path | None, name: str) -> Iterator[Path]:
    """A folder for the files of one case, removed afterwards unless it is to be kept."""
    if keep is None:
        with tempfile.TemporaryDirectory() as folder:
            yield Path(folder)
    else:
        folder = keep / name
        folder.mkdir(parents=True, exist_ok=True)
        yield folder


def check_case(case: Path, tools: Tools, work: Path, may_be_absent: frozenset[str]) -> str:
    """Everything that is demanded of one case; returns a summary, raises MismatchError."""
    tolerance = float(read_json(case / "tolerance.json")["fair_tolerance"])
    tools.compile(case, work / "model.rondo")
    tools.compile(case, work / "traced.rondo", "--trace-points")
    inputs = input_options(case, case / "inputs.json")
    tools.run(work / "model.rondo", *inputs, f"--logits={work / 'logits'}")
    tools.run(work / "traced.rondo", *inputs, f"--logits={work / 'traced-logits'}", f"--trace={work / 'trace'}")
    outputs = load_file(work / "logits")
    check_same_bits(outputs, load_file(work / "traced-logits"))
    note = check_tensors(
        load_file(case / "expected.safetensors"), outputs | load_file(work / "trace"), tolerance, may_be_absent
    )
    if (case / "greedy.json").exists():
        note += "; " + check_greedy(case, tools, work, tolerance)
    return note


def input_options(case: Path, prompts: Path) -> list[str]:
    """Options of rondo-run that feed the case: prompts, and tensors where the model takes some."""
    tensors = case / "inputs.safetensors"
    return [f"--tokens-file={prompts}", *([f"--inputs={tensors}"] if tensors.exists() else [])]


def check_same_bits(plain: Tensors, traced: Tensors) -> None:
    """Trace points must not change what comes out."""
    if plain.keys() != traced.keys():
        raise MismatchError(f"with trace points other outputs come out: {sorted(plain.keys() ^ traced.keys())}")
    for name, value in plain.items():
        if value.dtype != traced[name].dtype or value.tobytes() != traced[name].tobytes():
            raise MismatchError(f"{name} has other bits in the bundle with trace points")


def check_tensors(expected: Tensors, got: Tensors, tolerance: float, may_be_absent: frozenset[str]) -> str:
    """Compare what both have; see the top of the file for what both must have."""
    common = [name for name in expected if name in got]
    absent = [name for name in expected if name not in got and kind(name) in OUTPUT_KINDS]
    if absent:
        raise MismatchError(f"no tensor {absent[0]} came out")
    worst = max((difference(name, expected[name], got[name], tolerance) for name in common), default=0.0)
    needed = {kind(name) for name in expected} & RECURSION_KINDS - may_be_absent
    missing = sorted(needed - {kind(name) for name in common})
    if missing or not common:
        raise MismatchError(f"nothing came out to compare {', '.join(missing) or 'at all'} with")
    return f"{len(common)} of {len(expected)} tensors, worst {worst:.2g} of {tolerance:.2g}"


def kind(name: str) -> str:
    """First part of a tensor's name."""
    return name.split(".")[0]


def difference(name: str, want: np.ndarray, got: np.ndarray, tolerance: float) -> float:
    """Largest absolute difference; MismatchError if shapes differ, if it is beyond the tolerance, or NaN."""
    if got.shape != want.shape:
        raise MismatchError(f"{name} has shape {list(got.shape)}, expected {list(want.shape)}")
    if want.dtype.kind not in "f" and not np.array_equal(got, want):
        raise MismatchError(f"{name}: {np.count_nonzero(got != want)} of {want.size} integers differ")
    distance = np.abs(got.astype(np.float64) - want.astype(np.float64))
    within = distance <= tolerance  # false for NaN
    if not np.all(within):
        place = np.unravel_index(int(np.argmin(within)), want.shape)
        raise MismatchError(
            f"{name} at {[int(i) for i in place]} is {got[place]:.6g}, expected {want[place]:.6g}; "
            f"{np.count_nonzero(~within)} of {want.size} beyond the tolerance of {tolerance:.2g}"
        )
    return float(np.max(distance, initial=0.0))


def check_greedy(case: Path, tools: Tools, work: Path, tolerance: float) -> str:
    """Compare greedy tokens with the recorded runs; undecided runs are counted."""
    recorded = read_json(case / "greedy.json")
    prompts = work / "greedy.json"
    prompts.write_text(json.dumps(greedy_inputs(case, recorded)))
    recompute = decodes_wrongly_with_cache(case)
    options = ["--stop=", f"--generate={recorded['new_tokens']}", "--output=json"]
    if recompute:
        options.append("--recompute")
    output = json.loads(tools.run(work / "model.rondo", *input_options(case, prompts), *options))
    undecided = 0
    for number, (run, result) in enumerate(zip(recorded["runs"], output["sequences"], strict=True)):
        names = ["without_cache"] if recompute else ["with_cache", "without_cache"]
        accepted = [run[name] for name in names if run.get(name)]
        if result["tokens"] in accepted:
            continue
        if smallest_gap(run) >= NEAR_TIE_TOLERANCES * tolerance:
            raise MismatchError(f"greedy run {number} gave {result['tokens']}, expected {accepted[0]}")
        undecided += 1
    note = f"{len(recorded['runs'])} greedy runs"
    return f"{note}, {undecided} of them undecided" if undecided else note


def greedy_inputs(case: Path, recorded: Mapping[str, Any]) -> dict[str, Any]:
    """Prompts of the greedy runs with the other inputs of the case cut to them."""
    inputs = read_json(case / "inputs.json")
    prompts: dict[str, Any] = {"sequences": [run["prompt"] for run in recorded["runs"]]}
    if "num_steps" in inputs:
        prompts["num_steps"] = [max(inputs["num_steps"])]
    if "prefix_lengths" in inputs:
        lengths = [len(prompt) for prompt in prompts["sequences"]]
        pairs = zip(inputs["prefix_lengths"], lengths, strict=False)  # the first sequences are the greedy runs'
        prompts["prefix_lengths"] = [min(pair) for pair in pairs]
    return prompts


def decodes_wrongly_with_cache(case: Path) -> bool:
    """Whether the authors' decoding overwrites a KV slot that several depths share: then only full runs count."""
    config = case / "train_config.yaml"
    return config.exists() and "update_cache: true" in config.read_text()


def smallest_gap(run: Mapping[str, Any]) -> float:
    """Smallest recorded distance between the two best logits; infinite where none was recorded."""
    gaps = [value for name, value in run.items() if name.startswith("smallest_top2_gap") and value is not None]
    return min(gaps, default=float("inf"))


def read_json(path: Path) -> Any:
    return json.loads(path.read_text())


if __name__ == "__main__":
    sys.exit(main())
