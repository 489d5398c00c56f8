# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""`rondo convert recursive`, in processes of their own."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import ORACLES
from safetensors.numpy import save_file

import rondo
from rondo.reference import load_model

SHARED = ORACLES / "rrt_init" / "share_6layers"


def command(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "rondo", "convert", "recursive", *map(str, arguments)]


ENVIRONMENT = os.environ | {"PYTHONPATH": str(Path(rondo.__file__).parents[1])}


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*arguments), capture_output=True, text=True, env=ENVIRONMENT)


def description(folder: Path) -> dict:
    return json.loads((folder / "config.json").read_text())["recursive"]


# Tests the defaults without and with deltas, the summary, and that a pipe sees no progress.
def test_defaults(tmp_path: Path) -> None:
    done = run(SHARED, tmp_path / "a", "--share=cycle", "--visits=2")
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr.startswith(
        f"rondo: wrote '{tmp_path / 'a'}', 0.1 MB\n  schedule      cycle: a block of 3 layers"
    )
    assert "\r" not in done.stderr and "[#" not in done.stderr
    assert "of the matrices by sharing\n" in done.stderr
    assert (description(tmp_path / "a")["initialization"], description(tmp_path / "a")["lora"]) == ("stepwise", None)
    assert run(SHARED, tmp_path / "b", "--share=cycle", "--visits=2", "--rank=4").returncode == 0
    assert description(tmp_path / "b")["initialization"] == "average"
    assert description(tmp_path / "b")["lora"]["scale"] == 1.0
    assert load_model(tmp_path / "b").logits([1, 2, 3]).shape == (3, 128)


# Tests that every option reaches the result.
def test_options(tmp_path: Path) -> None:
    options = ["--init=upper", "--norms=per-depth", "--rank=5", "--lora-targets=up,q", "--lora-scale=2.5"]
    done = run(SHARED, tmp_path / "r", "--share=middle-sequence", "--visits=4", "--lora-dtype=bf16", *options)
    assert done.returncode == 0, done.stderr
    assert description(tmp_path / "r") == {
        "format_version": 1,
        "sharing": "middle_sequence",
        "num_recursion": 4,
        "norms": "per-depth",
        "initialization": "upper",
        "lora": {"rank": 5, "scale": 2.5, "targets": ["q_proj", "up_proj"]},
    }


# Tests that BLAS runs on one thread unless told otherwise.
def test_threads(tmp_path: Path) -> None:
    code = "import os, sys; from rondo.cli import main; main(sys.argv[1:]); print(os.environ['OPENBLAS_NUM_THREADS'])"
    for number, (given, expected) in enumerate([({}, "1"), ({"OPENBLAS_NUM_THREADS": "3"}, "3")]):
        environment = {name: value for name, value in ENVIRONMENT.items() if name != "OPENBLAS_NUM_THREADS"} | given
        arguments = ["convert", "recursive", str(SHARED), str(tmp_path / str(number)), "--share=cycle", "--visits=2"]
        done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, env=environment)
        assert done.stdout.strip() == expected


# Tests that a terminal sees a bar that is gone at the end.
def test_progress_on_a_terminal(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    arguments = command(SHARED, tmp_path / "r", "--share=cycle", "--visits=2")
    with subprocess.Popen(arguments, stderr=theirs, env=ENVIRONMENT) as process:
        os.close(theirs)
        shown = b""
        while piece := read_terminal(ours):
            shown += piece
    os.close(ours)
    assert process.returncode == 0
    bar, _, rest = shown.decode().rpartition("\r\x1b[K")
    assert "\r[..............................]   0%" in bar and "[###" in bar and "100%" in bar
    assert rest.startswith("rondo: wrote")


def read_terminal(descriptor: int) -> bytes:
    """What a process wrote to a terminal; nothing when it has left."""
    try:
        return os.read(descriptor, 4096)
    except OSError:
        return b""


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--visits=2"], "the following arguments are required: --share"),
        (["--share=cycle"], "the following arguments are required: --visits"),
        (["--share=cycle", "--visits=1"], "must be at least 2, got 1"),
        (["--share=cycle", "--visits=2", "--rank=-1"], "must be at least 0, got -1"),
        (["--share=cycle", "--visits=2", "--rank=2", "--lora-scale=0"], "must be above 0 and finite, got 0"),
        (["--share=cycle", "--visits=two"], "argument --visits: must be a whole number at least 2, got 'two'"),
        (["--share=cycle", "--visits=2", "--rank=2", "--lora-scale=x"], "must be a number above 0 and finite, got 'x'"),
        (["--share=cycle", "--visits=2", "--lora-targets=q"], "--lora-targets says how deltas look, but --rank is 0"),
        (["--share=cycle", "--visits=2", "--lora-scale=2"], "--lora-scale says how deltas look, but --rank is 0"),
        (["--share=cycle", "--visits=2", "--lora-dtype=f16"], "--lora-dtype says how deltas look, but --rank is 0"),
        (["--share=ring", "--visits=2"], "invalid choice: 'ring'"),
    ],
)
def test_wrong_use(tmp_path: Path, arguments: list[str], message: str) -> None:
    done = run(SHARED, tmp_path / "r", *arguments)
    assert done.returncode == 2 and message in done.stderr
    assert list(tmp_path.iterdir()) == []


# Tests the status and the form of errors of both kinds.
def test_errors(tmp_path: Path) -> None:
    done = run(SHARED, tmp_path / "r", "--share=cycle", "--visits=4")
    assert done.returncode == 1
    assert done.stderr.startswith(
        "rondo: error: sharing 'cycle': 6 layers do not divide into 4 visits; choose a divisor:"
    )
    done = run(tmp_path / "none", tmp_path / "r", "--share=cycle", "--visits=4")
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
    assert list(tmp_path.iterdir()) == []


def large_source(folder: Path) -> Path:
    """A model whose deltas take seconds to compute."""
    folder.mkdir()
    config = json.loads((SHARED / "config.json").read_text())
    config |= {"hidden_size": 1024, "intermediate_size": 1024, "head_dim": 256, "num_key_value_heads": 4}
    (folder / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 4}))
    square = np.random.default_rng(9).normal(size=(1024, 1024)).astype(np.float32)
    stored = {"model.embed_tokens.weight": square[:128], "lm_head.weight": square[:128], "model.norm.weight": square[0]}
    linears = [f"self_attn.{name}_proj" for name in "qkvo"] + [f"mlp.{name}_proj" for name in ("gate", "up", "down")]
    for layer in range(4):
        stored |= {f"model.layers.{layer}.{name}.weight": square + layer for name in linears}
        stored |= {f"model.layers.{layer}.{name}_layernorm.weight": square[0] for name in ("input", "post_attention")}
    save_file({name: np.ascontiguousarray(value) for name, value in stored.items()}, folder / "model.safetensors")
    return folder


# Tests that an interrupt in the middle leaves nothing behind.
def test_interrupt(tmp_path: Path) -> None:
    source, place = large_source(tmp_path / "source"), tmp_path / "place"
    place.mkdir()
    arguments = command(source, place / "r", "--share=cycle", "--visits=2", "--rank=8")
    with subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT) as process:
        deadline = time.monotonic() + 60
        while not any(place.glob(".r.*/model.safetensors")):
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        errors = process.communicate()[1]
    assert process.returncode == 130
    assert "Traceback" not in errors
    assert list(place.iterdir()) == []


# Tests that the advice for a folder that exists is not to remove the source.
def test_target_is_the_source(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(SHARED)
    done = run(SHARED, tmp_path / "link", "--share=cycle", "--visits=2")
    assert done.returncode == 2
    assert "link is the source itself; give a folder that does not exist yet" in done.stderr
