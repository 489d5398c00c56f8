# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""`rondo uptrain`: what it writes and says, and every way in which it fails."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import MISSING, ORACLES, ROOT, write_recursive, write_source

import rondo.torch
from rondo.cli import main

from byte_tokenizer import byte_tokenizer

torch = pytest.importorskip("torch", reason=MISSING)

SMALL = ["--steps=3", "--batch=2", "--length=8", "--lr=1e-3"]
# Runs the command with PyTorch where this process found it.
FOUND = str(Path(torch.__file__).parents[1])
CODE = f"import sys; sys.path.append({FOUND!r}); from rondo.cli import main; sys.exit(main())"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A recursive model with a tokenizer, its source `s`, and a text `text` beside it."""
    found = write_recursive(write_source(tmp_path / "s", "llama"), tmp_path / "r", "cycle", 2, rank=2)
    (found / "tokenizer.json").write_bytes(byte_tokenizer())
    (tmp_path / "text").write_text("round and round the theme returns, " * 30)
    return found


def command(folder: Path, *options: str, target: str = "out") -> list[str]:
    text = f"--text={folder.parent / 'text'}"
    return ["uptrain", str(folder), str(folder.parent / target), text, *SMALL, *options]


def fails(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> str:
    """What a command that ends with status 1 says; nothing is left behind."""
    parent = Path(arguments[2]).parent
    before = sorted(path.name for path in parent.iterdir())
    capsys.readouterr()
    assert main(arguments) == 1
    assert sorted(path.name for path in parent.iterdir()) == before
    return capsys.readouterr().err


# Tests that all options reach the recipe, and what the report and the table hold.
def test_writes(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    options = ["--teacher", str(folder.parent / "s"), "--exit-weight=0.1", "--temperature=2", "--distill-weight=0.5"]
    assert main(command(folder, *options, "--train=lora,norms", "--seed=4")) == 0
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith(f"rondo: wrote '{folder.parent / 'out'}' after 3 steps in ")
    written = json.loads((folder.parent / "out" / "uptraining-report.json").read_text())
    losses = written["validation_loss"]
    lines = shown.err.splitlines()
    assert lines[1].split() == ["visit", "loss", "before", "after", "of", "88", "held-out", "tokens,", "in", "nats"]
    assert [line.split() for line in lines[2:]] == [
        [str(visit), f"{losses['before'][visit]:.4f}", f"{losses['after'][visit]:.4f}"] for visit in range(2)
    ]
    assert len(written["training_loss"]) == 3 and losses["tokens"] == 88
    assert (written["text"], written["teacher"]) == (["text"], "s")
    assert written["recipe"] == {
        "steps": 3, "batch": 2, "length": 8, "learning_rate": 1e-3, "train": ["lora", "norms"], "seed": 4,
        "objective": {"exit_weights": [0.1], "distill_weight": 0.5, "temperature": 2.0},
    }  # fmt: skip
    assert (folder.parent / "out" / "tokenizer.json").read_bytes() == byte_tokenizer()
    assert rondo.torch.load(folder.parent / "out").exits == 2


# Tests that the loss that is told is that of the folder that is written, whose weights are rounded.
def test_measures_what_is_written(tmp_path: Path) -> None:
    from rondo.torch.corpus import split
    from rondo.torch.losses import losses_by_exit

    folder = write_recursive(write_source(tmp_path / "s", "llama", "float16"), tmp_path / "r", "cycle", 2)
    (folder / "tokenizer.json").write_bytes(byte_tokenizer())
    text = "round and round the theme returns, " * 30
    (tmp_path / "text").write_text(text)
    assert main(command(folder)) == 0
    written = json.loads((tmp_path / "out" / "uptraining-report.json").read_text())
    windows = split(list(text.encode()), 8).validation
    assert losses_by_exit(rondo.torch.load(tmp_path / "out"), windows, 2) == written["validation_loss"]["after"]


@pytest.mark.parametrize("options, message", [
    (["--length=200"], "the text has 350 tokens, and windows of 200 need at least 402, half of them to measure on; "
                       "give more text, or a smaller --length"),
    (["--train=heads"], "'heads' is no part of a model; --train knows: all, lora, norms, block, ends"),
    (["--exit-weight=0.1,0.2"], "there are 2 weights for 1 exits before the last; give one for each"),
])  # fmt: skip
def test_wrong_options(folder: Path, capsys: pytest.CaptureFixture[str], options: list[str], message: str) -> None:
    (folder.parent / "text").write_text("round and round the theme returns, " * 10)
    assert fails(capsys, command(folder, *options)) == f"rondo: error: {message}\n"


# Tests faults of the files that it is given.
def test_wrong_files(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    parent = folder.parent
    assert "s exists already; remove it or choose another name" in fails(capsys, command(folder, target="s"))
    assert "none is not a model folder; make one with" in fails(capsys, command(parent / "none"))
    assert "model type 'albert' cannot be trained" in fails(capsys, albert(parent))
    other = f"--teacher={ORACLES / 'gemma' / 'mqa'}"
    assert "the teacher has a vocabulary of " in fails(capsys, command(folder, other))
    (parent / "s" / "tokenizer.json").write_bytes(byte_tokenizer().replace(b"<|turn|>", b"<|tune|>"))
    message = (
        f"the teacher {parent / 's'} has another tokenizer than {folder}; take the model that this one was made from"
    )
    assert message in fails(capsys, command(folder, f"--teacher={parent / 's'}"))
    (parent / "text").write_bytes(b"abc\xff")
    assert "text is not UTF-8: byte 0xff at offset 3; convert it" in fails(capsys, command(folder))
    (parent / "text").unlink()
    assert "No such file or directory" in fails(capsys, command(folder))
    (folder / "tokenizer.json").unlink()
    assert "r has no tokenizer.json; put that of the model it was made from there" in fails(capsys, command(folder))


def albert(parent: Path) -> list[str]:
    """A command on an encoder that has got a tokenizer."""
    folder = parent / "albert"
    folder.mkdir()
    for file in ("config.json", "model.safetensors"):
        (folder / file).write_bytes((ORACLES / "albert" / "mlm_1group" / file).read_bytes())
    (folder / "tokenizer.json").write_bytes(byte_tokenizer())
    return command(folder)


# Tests that weights for exits that a sharing has not are refused.
def test_no_exits(tmp_path: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = write_recursive(tmp_path / "s", tmp_path / "sequence", "sequence", 2)
    (target / "tokenizer.json").write_bytes(byte_tokenizer())
    assert "--exit-weight: this model has no exit before its end, since only" in fails(
        capsys, command(target, "--exit-weight=1")
    )
    assert main(command(target, "--exit-weight=0")) == 0
    assert "\n    all  " in capsys.readouterr().err


@pytest.mark.parametrize("option, message", [
    ("--temperature=2", "--temperature is about a teacher, but there is no --teacher"),
    ("--distill-weight=2", "--distill-weight is about a teacher, but there is no --teacher"),
    ("--steps=0", "argument --steps: must be at least 1, got 0"),
    ("--lr=0", "argument --lr: must be above 0 and finite, got 0"),
    ("--seed=-1", "argument --seed: must be at least 0 and below 2^63, got -1"),
    ("--exit-weight=1,x", "argument --exit-weight: must be a number at least 0 and finite, got 'x'"),
])  # fmt: skip
def test_wrong_use(folder: Path, capsys: pytest.CaptureFixture[str], option: str, message: str) -> None:
    with pytest.raises(SystemExit) as caught:
        main(command(folder, option))
    assert caught.value.code == 2
    assert message in capsys.readouterr().err


def test_own_folder(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(command(folder, target="r"))
    assert caught.value.code == 2
    assert f"OUT {folder} is FOLDER itself; give a folder that does not exist yet" in capsys.readouterr().err


# Tests that Ctrl-C in the middle says so, leaves nothing and ends with 130.
def test_interrupt(folder: Path) -> None:
    environment = os.environ | {"PYTHONPATH": str(ROOT / "python")}
    arguments = [sys.executable, "-c", CODE, *command(folder), "--steps=1000000"]
    before = {path.name for path in folder.parent.iterdir()}
    with subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True, env=environment) as process:
        while {path.name for path in folder.parent.iterdir()} == before and process.poll() is None:
            time.sleep(0.05)
        time.sleep(2)
        process.send_signal(signal.SIGINT)
        try:
            _, shown = process.communicate(timeout=60)
        finally:
            process.kill()  # or the test would wait for a million steps
    assert process.returncode == 130, shown
    assert shown.startswith("\nrondo: interrupted after ") and shown.endswith("of 1000000 steps; nothing is written\n")
    assert {path.name for path in folder.parent.iterdir()} == before
