# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""`scripts/oracles.py`, with tools that replay prepared outputs: it must accept right ones and reject each fault."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import IMPORTED_FAMILIES
from safetensors.numpy import load_file, save_file

ROOT = Path(__file__).resolve().parents[2]
CASE = ROOT / "test" / "oracles" / "nanbeige" / "loops2"

# Stands for rondo-run: copies prepared files to where the options ask for them. Stands for rondoc: writes the options.
REPLAY = """#!{python}
import pathlib, shutil, sys
here = pathlib.Path(__file__).parent
options = dict(argument.split("=", 1) for argument in sys.argv[1:] if "=" in argument)
if "-o" in sys.argv:
    pathlib.Path(sys.argv[sys.argv.index("-o") + 1]).write_text(" ".join(sys.argv))
    sys.exit(0)
traced = "--trace-points" in pathlib.Path(sys.argv[1]).read_text()
for option, file in (("--logits", "traced-logits" if traced else "logits"), ("--trace", "trace")):
    if option in options:
        shutil.copy(here / file, options[option])
if "--generate" in options:
    print((here / "greedy").read_text())
"""


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    """Tools that replay the case's own expected outputs."""
    for tool in ("rondoc", "rondo-run"):
        (tmp_path / tool).write_text(REPLAY.format(python=sys.executable))
        (tmp_path / tool).chmod(0o755)
    expected = load_file(CASE / "expected.safetensors")
    logits = {name: value for name, value in expected.items() if name.startswith("logits")}
    save_file(logits, tmp_path / "logits")
    save_file(logits, tmp_path / "traced-logits")
    save_file({name: value for name, value in expected.items() if name not in logits}, tmp_path / "trace")
    runs = json.loads((CASE / "greedy.json").read_text())["runs"]
    (tmp_path / "greedy").write_text(json.dumps({"sequences": [{"tokens": run["with_cache"]} for run in runs]}))
    return tmp_path


def check(tools: Path, *options: str) -> tuple[int, str]:
    """Status and output of the script on the case."""
    command = [sys.executable, str(ROOT / "scripts" / "oracles.py"), f"--bin={tools}", *options, str(CASE)]
    done = subprocess.run(command, capture_output=True, text=True)
    return done.returncode, done.stdout


def change(file: Path, name: str, value: np.ndarray | None) -> None:
    """Replace a tensor of a safetensors file, or take it out."""
    tensors = load_file(file)
    del tensors[name]
    save_file(tensors if value is None else tensors | {name: value}, file)


def test_accepts_the_expected(tools: Path) -> None:
    status, output = check(tools)
    assert (status, output.splitlines()[-1]) == (0, "1 passed, 0 failed")
    assert "9 of 9 tensors, worst 0 of 4.6e-05; 3 greedy runs" in output


def rejected(tools: Path, message: str) -> None:
    status, output = check(tools)
    assert (status, output.splitlines()[-1]) == (1, "0 passed, 1 failed")
    assert message in output


# Tests that one logit a little beyond the tolerance is seen, in both bundles alike.
def test_rejects_a_wrong_logit(tools: Path) -> None:
    logits = load_file(tools / "logits")["logits.1"]
    logits[3, 7] += 5e-5
    for file in ("logits", "traced-logits"):
        change(tools / file, "logits.1", logits)
    rejected(tools, "logits.1 at [3, 7]")


def test_rejects_nan(tools: Path) -> None:
    hidden = load_file(tools / "trace")["hidden.2.0"]
    hidden[0, 0] = np.nan
    change(tools / "trace", "hidden.2.0", hidden)
    rejected(tools, "hidden.2.0 at [0, 0] is nan")


# Tests that the two bundles are compared bit by bit.
def test_rejects_other_bits_with_trace_points(tools: Path) -> None:
    logits = load_file(tools / "logits")["logits.0"]
    change(tools / "traced-logits", "logits.0", np.nextafter(logits, np.float32(9)))
    rejected(tools, "logits.0 has other bits")


def test_rejects_missing_logits(tools: Path) -> None:
    for file in ("logits", "traced-logits"):
        change(tools / file, "logits.2", None)
    rejected(tools, "no tensor logits.2")


def test_rejects_another_shape(tools: Path) -> None:
    change(tools / "trace", "hidden.1.1", load_file(tools / "trace")["hidden.1.1"][1:])
    rejected(tools, "hidden.1.1 has shape [8, 48], expected [9, 48]")


# Tests that a kind of trace may be absent only when that is asked for.
def test_absent_kind(tools: Path) -> None:
    save_file({}, tools / "trace")
    rejected(tools, "nothing came out to compare hidden with")
    assert check(tools, "--without=hidden")[0] == 0


def test_rejects_another_token(tools: Path) -> None:
    output = json.loads((tools / "greedy").read_text())
    output["sequences"][2]["tokens"][-1] ^= 1
    (tools / "greedy").write_text(json.dumps(output))
    rejected(tools, "greedy run 2 gave")


def test_reports_a_failing_tool(tools: Path) -> None:
    (tools / "rondoc").write_text(f"#!{sys.executable}\nimport sys\nsys.exit('config.json: no')\n")
    rejected(tools, "rondoc exited with status 1: config.json: no")


# Tests that a run without any case does not count as success.
def test_no_cases(tools: Path) -> None:
    command = [sys.executable, str(ROOT / "scripts" / "oracles.py"), f"--bin={tools}", str(tools)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "0 passed, 0 failed\n")


# Tests that without a path every case of the repository runs that the compiler has an importer for; others are counted.
def test_runs_all_without_a_path(tools: Path) -> None:
    (tools / "rondoc").write_text(f"#!{sys.executable}\nimport sys\nsys.exit('no')\n")
    command = [sys.executable, str(ROOT / "scripts" / "oracles.py"), f"--bin={tools}"]
    done = subprocess.run(command, capture_output=True, text=True)
    lines = done.stdout.splitlines()
    tried = {line.split()[1].rstrip(":") for line in lines if line.startswith("FAIL  ")}
    cases = {path.parent for path in (ROOT / "test" / "oracles").glob("*/*/expected.safetensors")}
    assert done.returncode == 1
    skipped = [line for line in lines if line.startswith("skip ")]
    wanted = {case for case in cases if case.parent.name in IMPORTED_FAMILIES}
    assert tried == {f"{case.parent.name}/{case.name}" for case in wanted}
    assert len(skipped) == sum(case.parent.name not in IMPORTED_FAMILIES | {"rrt_init"} for case in cases)
    assert lines[-1] == f"0 passed, {len(tried)} failed" + (f", {len(skipped)} skipped" if skipped else "")
