# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Whatever is wrong with an input, a command or an output ends in one clause and leaves everything as it was.

`bad_inputs.py` lists the kinds. Each has an exact status, a message with the cause and a way out, and no effect on
any file: no temporary, no part of an output, and an older output keeps its bytes. Beside them: bits that flip, and
files that end early.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from bad_inputs import CASES, Case
from conftest import Tools
from damage import CONTEXT, SIZES, VOCABULARY, WEIGHTS, read_bundle, write_inputs

# What a program says that broke instead of refusing.
BROKEN = re.compile(r"LLVM ERROR|Stack dump|PLEASE submit|Assertion|Sanitizer|runtime error:|terminate called|"
                    r"Segmentation|internal error", re.IGNORECASE)
TIMEOUT = 120  # seconds, for builds with sanitizers
FLIPS = 120  # in each part of a file


@pytest.fixture(scope="module")
def originals(tools: Tools, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_inputs(tools, tmp_path_factory.mktemp("originals"))


@pytest.fixture
def folder(originals: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(originals, tmp_path / "in"))


def execute(tools: Tools, command: str, folder: Path) -> subprocess.CompletedProcess[bytes]:
    """Runs a tool in `folder`; `> FILE` at the end is where standard output goes."""
    words, _, target = command.partition(" > ")
    program, *arguments = shlex.split(words.replace("(", r"\("))
    with open(target or os.devnull, "wb") as out:
        return subprocess.run([str(tools.folder / program), *arguments], cwd=folder, stdin=subprocess.DEVNULL,
                              stdout=out if target else subprocess.PIPE, stderr=subprocess.PIPE, timeout=TIMEOUT)


def contents(folder: Path) -> dict[str, bytes | str]:
    """Every path below a folder: the bytes of a file, else what it is."""
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else oct(path.stat().st_mode)
            for path in folder.rglob("*")}


def assert_refused(done: subprocess.CompletedProcess[bytes], status: int) -> str:
    """What the program said; fails if it did anything but refuse."""
    text = done.stderr.decode()
    assert done.returncode == status, f"status {done.returncode}, expected {status}\n{text}"
    assert not BROKEN.search(text), text
    assert not done.stdout, done.stdout
    errors = [line for line in text.splitlines() if re.match(r"(rondoc|rondo-run): error: \S", line)]
    assert errors, text
    assert not any(re.search(r"[^.]\.$", line) for line in errors), text
    return text


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.kind.replace(" ", "-"))
def test_refused_without_a_trace(tools: Tools, folder: Path, case: Case) -> None:
    case.damage(folder)
    before = contents(folder)
    text = assert_refused(execute(tools, case.command, folder), case.status)
    assert contents(folder) == before
    cause = re.search(case.cause, text)
    assert cause, text
    assert re.search(case.way_out, text[cause.start():]), text


def test_kinds_are_many_and_distinct() -> None:
    kinds = [case.kind for case in CASES]
    assert len(kinds) == len(set(kinds)) >= 50


# --- A disk that fills up -------------------------------------------------------


@pytest.mark.parametrize("command", ["rondoc model -o out/old -O0",
                                     "rondo-run model.rondo --tokens=1,2,3,4,5,6,7,8 --logits=out/old"])
def test_full_disk_leaves_the_old_output(tools: Tools, folder: Path, command: str) -> None:
    before = contents(folder)
    program, *arguments = shlex.split(command)
    limited = ["sh", "-c", 'ulimit -f 1; exec "$@"', "sh", str(tools.folder / program), *arguments]
    ignore = lambda: signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # noqa: E731: an error then, as of a full disk
    done = subprocess.run(limited, cwd=folder, capture_output=True, timeout=TIMEOUT, preexec_fn=ignore,
                          restore_signals=False)
    text = assert_refused(done, 1)
    assert "cannot write 'out/old': File too large" in text
    assert contents(folder) == before


# --- Bits that flip, files that end early ---------------------------------------


def sample(begin: int, end: int, count: int) -> list[int]:
    """`count` places from begin to end, evenly."""
    return sorted({begin + i * (end - begin) // count for i in range(count)})


class Damaged:
    """Copies of the inputs in which one file is spoiled at a time, for several threads."""

    def __init__(self, tools: Tools, originals: Path, scratch: Path, name: str) -> None:
        self.tools, self.originals, self.scratch, self.name = tools, originals, scratch, name
        self.data = (originals / name).read_bytes()

    def run(self, command: str, versions: list[bytes]) -> Iterator[tuple[int, bytes]]:
        """Runs `command` on each version of the file; its status and message."""
        lanes = os.cpu_count() or 1
        with ThreadPoolExecutor(lanes) as pool:
            for part in pool.map(lambda lane: self._lane(lane, command, versions[lane::lanes]), range(lanes)):
                yield from part

    def _lane(self, lane: int, command: str, versions: list[bytes]) -> list[tuple[int, bytes]]:
        folder = Path(shutil.copytree(self.originals, self.scratch / str(lane), dirs_exist_ok=True))
        before = {path for path in folder.rglob("*")}
        results = []
        for version in versions:
            (folder / self.name).write_bytes(version)
            done = execute(self.tools, command, folder)
            assert not BROKEN.search(done.stderr.decode()), done.stderr.decode()
            assert done.returncode in (0, 1), f"status {done.returncode}\n{done.stderr.decode()}"
            assert {path for path in folder.rglob("*")} == before
            results.append((done.returncode, done.stderr))
        return results

    def flipped(self, places: list[int]) -> list[bytes]:
        """The file with one bit of each place flipped."""
        return [self.data[:at] + bytes([self.data[at] ^ 1 << at % 8]) + self.data[at + 1:] for at in places]

    def cut(self, count: int) -> list[bytes]:
        return [self.data[:size] for size in sample(0, len(self.data), count)]


def header_end(data: bytes) -> int:
    return 8 + int.from_bytes(data[:8], "little")


# A flip may spell another valid model, such as one with another rope base: then it must compile.


def test_flips_in_safetensors_headers(tools: Tools, originals: Path, tmp_path: Path) -> None:
    file = Damaged(tools, originals, tmp_path, WEIGHTS)
    versions = file.flipped(sample(0, header_end(file.data), FLIPS))
    accepted = sum(status == 0 for status, _ in file.run("rondoc model -o out/old -O0", versions))
    assert accepted < FLIPS / 10


def test_flips_in_gguf_headers(tools: Tools, originals: Path, tmp_path: Path) -> None:
    file = Damaged(tools, originals, tmp_path, "model.gguf")
    end = file.data.index(b"output.weight")
    versions = file.flipped(sample(0, end, FLIPS // 2))  # most spell another vocabulary, which takes a compilation
    refused = sum(status == 1 for status, _ in file.run("rondoc model.gguf -o out/old -O0 --context=64", versions))
    assert refused > FLIPS / 8


@pytest.mark.parametrize("part", ["header", "code.cpu", "schedule.executions", "pad.0"])
def test_every_flip_in_a_bundle_is_refused(tools: Tools, originals: Path, tmp_path: Path, part: str) -> None:
    file = Damaged(tools, originals, tmp_path, "model.rondo")
    header, _, start = read_bundle(file.data)
    begin, end = (0, start) if part == "header" else (start + at for at in header[part]["data_offsets"])
    count = 4 * FLIPS if part == "header" else FLIPS
    results = list(file.run("rondo-run model.rondo --tokens=1", file.flipped(sample(begin, end, count))))
    assert {status for status, _ in results} == {1}
    assert all(b"cannot load 'model.rondo'" in message for _, message in results)


def test_every_flip_in_weights_is_found_by_verify(tools: Tools, originals: Path, tmp_path: Path) -> None:
    file = Damaged(tools, originals, tmp_path, "model.rondo")
    _, manifest, start = read_bundle(file.data)
    places = [start + tensor["offset"] + tensor["bytes"] - 1 for tensor in manifest["tensors"]]
    results = list(file.run("rondo-run model.rondo --verify", file.flipped(places)))
    assert {status for status, _ in results} == {1}
    assert all(b"does not match its hash" in message for _, message in results)


@pytest.mark.parametrize(("name", "command"), [
    (WEIGHTS, "rondoc model --check"),
    ("model/config.json", "rondoc model --check"),
    ("model.gguf", "rondoc model.gguf --check"),
    ("model.mlir", "rondoc model.mlir -o out/new --compile-to=step"),
    ("model.rondo", "rondo-run model.rondo --describe"),
    ("tokens.json", "rondo-run model.rondo --tokens-file=tokens.json"),
])
def test_files_that_end_early_are_refused(tools: Tools, originals: Path, tmp_path: Path, name: str,
                                          command: str) -> None:
    file = Damaged(tools, originals, tmp_path, name)
    file.data = file.data.rstrip() if name.endswith(("json", "mlir")) else file.data
    results = list(file.run(command, file.cut(40)))
    assert {status for status, _ in results} == {1}


def test_the_undamaged_inputs_are_good(tools: Tools, folder: Path) -> None:
    tools.run("rondoc", folder / "model.gguf", "-o", folder / "out" / "old", "-O0", *SIZES)
    prompt = ",".join(str(i % VOCABULARY) for i in range(CONTEXT))
    tools.run("rondo-run", folder / "out" / "old", f"--tokens={prompt}")
    tools.run("rondo-run", folder / "model.rondo", "--verify")
