# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""`rondo.load` and the Model, on bundles made by hand."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open

import rondo

pytest.importorskip("rondo._runtime", reason="the extension module is not installed (pip install ./python)")
pytest.importorskip("xxhash")

from byte_tokenizer import STOP
from handmade_bundle import CONTEXT, VOCABULARY, expected_logits, script_for, write_bundle

PROMPT = [1, 2, 3]
SCRIPT = script_for(len(PROMPT), b"answer")
# Iterations of an empty loop that take a few milliseconds.
FEW_MILLISECONDS = 10_000_000


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return write_bundle(tmp_path / "model.rondo", SCRIPT)


# Tests that other readers can list a bundle.
def test_is_a_safetensors_file(bundle: Path) -> None:
    with safe_open(bundle, "numpy") as file:
        assert {"code.cpu", "schedule.executions"} <= set(file.keys())
        assert "rondo.manifest" in file.metadata()


# Tests values, shape and type, with more tokens than one step has rows.
@pytest.mark.parametrize("count", [1, 8, 9, 100])
def test_logits(bundle: Path, count: int) -> None:
    tokens = [(7 * i) % VOCABULARY for i in range(count)]
    with rondo.load(bundle) as model:
        logits = model.logits(tokens)
        assert logits.dtype == np.float32 and logits.shape == (count, VOCABULARY)
        assert np.array_equal(logits, expected_logits(SCRIPT, tokens))
        assert np.array_equal(model.logits(np.array(tokens)), logits)


def test_generate(bundle: Path) -> None:
    with rondo.load(bundle, threads=2) as model:
        assert list(model.generate(PROMPT, 64)) == [*b"answer", STOP]
        assert list(model.generate(PROMPT, 3)) == [*b"ans"]
        assert list(model.generate(PROMPT, 64, stop=[ord("s")])) == [*b"ans"]
        assert list(model.generate(PROMPT, 9, stop=())) == [*b"answer", STOP, *b"!!"]
        assert list(model.generate(PROMPT, 0)) == []


# Tests that draws depend on the seed alone, and on temperature, top_k and top_p as documented.
def test_sampling(bundle: Path) -> None:
    with rondo.load(bundle) as model:
        hot = {"temperature": 50.0, "stop": ()}
        first = list(model.generate(PROMPT, 20, seed=1, **hot))
        assert first == list(model.generate(PROMPT, 20, seed=1, **hot))
        assert first != list(model.generate(PROMPT, 20, seed=2, **hot))
        greedy = list(model.generate(PROMPT, 20, stop=()))
        assert list(model.generate(PROMPT, 20, top_k=1, **hot)) == greedy
        assert list(model.generate(PROMPT, 20, top_p=1e-6, **hot)) == greedy


# Tests iterators that take turns, one that is dropped early, and one too many.
def test_iterators_share_the_model(bundle: Path) -> None:
    with rondo.load(bundle) as model:
        one, two = model.generate(PROMPT, 8), model.generate(PROMPT[:2], 8)
        assert [next(one), next(two), next(one), next(two)] == [*b"a?na"]
        three = model.generate(PROMPT, 8)
        with pytest.raises(rondo.ExhaustedError, match="sequences"):
            next(three)
        one.close()
        assert next(model.generate(PROMPT, 8)) == ord("a")
        assert next(two) == ord("n")


def test_properties(bundle: Path) -> None:
    with rondo.load(bundle) as model:
        assert (model.vocabulary, model.context, model.stop_tokens) == (VOCABULARY, CONTEXT, [STOP])
        assert model.manifest["architecture"] == "script"
        assert model.tensor("tokenizer.json") is None
        assert len(model.tensor("schedule.executions")) == 16
        model.verify()


def test_closed_model(bundle: Path) -> None:
    model = rondo.load(bundle)
    tokens = model.generate(PROMPT, 8)
    next(tokens)
    model.close()
    model.close()
    with pytest.raises(ValueError, match="closed"):
        next(tokens)
    for use in (lambda: model.logits(PROMPT), lambda: model.generate(PROMPT, 1), lambda: model.vocabulary):
        with pytest.raises(ValueError, match="closed"):
            use()


@pytest.mark.parametrize(
    "tokens, error, message",
    [
        ([], rondo.InvalidArgumentError, "at least one token"),
        ([VOCABULARY], rondo.InvalidArgumentError, f"token {VOCABULARY} at position 0"),
        ([0] * (CONTEXT + 1), rondo.ExhaustedError, "context"),
        ([-1], ValueError, "token id must be from 0 to 4294967295, got -1"),
        ([1.5], TypeError, "float"),
        (np.ones(2), TypeError, "float64"),
        (np.ones((1, 2), np.int64), TypeError, r"\[1, 2\]"),
    ],
)
def test_wrong_tokens(bundle: Path, tokens: list[int], error: type[Exception], message: str) -> None:
    with rondo.load(bundle) as model:
        with pytest.raises(error, match=message):
            model.logits(tokens)
        with pytest.raises(error, match=message):
            model.generate(tokens, 1)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"temperature": -1.0}, "temperature"),
        ({"top_p": 0.0, "temperature": 1.0}, "top-p must be in"),
        ({"top_k": -1}, "top_k must be from 0"),
        ({"seed": -1}, "seed must be from 0"),
        ({"stop": [-1]}, "stop token must be from 0"),
    ],
)
def test_wrong_options(bundle: Path, options: dict[str, float], message: str) -> None:
    with rondo.load(bundle) as model, pytest.raises(ValueError, match=message):
        model.generate(PROMPT, 1, **options)


# Tests that a fault of the run raises from the iterator and leaves the model usable.
def test_numeric_fault(tmp_path: Path) -> None:
    path = write_bundle(tmp_path / "model.rondo", SCRIPT, nan_token=ord("n"))
    with rondo.load(path) as model:
        tokens = model.generate(PROMPT, 8)
        assert [next(tokens), next(tokens)] == [*b"an"]
        with pytest.raises(rondo.NumericError):
            next(tokens)
        assert list(model.generate(PROMPT, 1)) == [*b"a"]


# Tests that damage anywhere is found at load, with the runtime's words.
def test_damaged_bundle(bundle: Path) -> None:
    content = bytearray(bundle.read_bytes())
    content[-20] ^= 1
    bundle.write_bytes(content)
    with pytest.raises(rondo.InvalidBundleError, match="cannot load"):
        rondo.load(bundle)
    bundle.write_bytes(content[:100])
    with pytest.raises(ValueError, match="cannot load"):
        rondo.load(bundle)


def test_other_version_and_absent_file(tmp_path: Path) -> None:
    path = write_bundle(tmp_path / "model.rondo", SCRIPT, changes={"abi": 99})
    with pytest.raises(rondo.UnsupportedError, match="ABI 99"):
        rondo.load(path)
    with pytest.raises(OSError, match="nothing.rondo"):
        rondo.load(tmp_path / "nothing.rondo")


def test_too_much_memory(tmp_path: Path) -> None:
    path = write_bundle(tmp_path / "model.rondo", SCRIPT, changes={"arena_bytes": 1 << 46})
    with pytest.raises(MemoryError, match="arena"):
        rondo.load(path)


# Tests that Python runs on while a step does: a counting thread must get on with its work.
def test_steps_run_without_the_gil(tmp_path: Path) -> None:
    path = write_bundle(tmp_path / "model.rondo", SCRIPT, spin=40 * FEW_MILLISECONDS)
    with rondo.load(path, threads=1) as model:
        worker = threading.Thread(target=model.logits, args=([1],))
        worker.start()
        turns = 0
        while worker.is_alive():
            time.sleep(0.001)
            turns += 1
        assert turns > 10


# Tests several Python threads on one model.
def test_threads(bundle: Path) -> None:
    with rondo.load(bundle) as model:
        results: list[list[int]] = []

        def work() -> None:
            for _ in range(20):
                results.append(list(model.generate(PROMPT, 8)))

        workers = [threading.Thread(target=work) for _ in range(2)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    assert results == [[*b"answer", STOP]] * 40


# Tests that closing from another thread while steps run ends the iterator with an error, not a crash.
def test_close_while_running(tmp_path: Path) -> None:
    path = write_bundle(tmp_path / "model.rondo", SCRIPT, spin=FEW_MILLISECONDS)
    model = rondo.load(path, threads=1)
    tokens = model.generate(PROMPT, 100, stop=())
    next(tokens)
    closer = threading.Timer(0.02, model.close)
    closer.start()
    with pytest.raises(ValueError, match="closed"):
        for _ in tokens:
            pass
    closer.join()


# Tests that Ctrl-C ends a generation with KeyboardInterrupt, and that the process ends in order.
def test_interrupt(tmp_path: Path) -> None:
    path = write_bundle(tmp_path / "model.rondo", SCRIPT, spin=FEW_MILLISECONDS)
    program = (
        "import rondo, sys\n"
        "with rondo.load(sys.argv[1], threads=1) as model:\n"
        "    try:\n"
        "        for token in model.generate([1, 2, 3], 120, stop=()):\n"
        "            print(token, flush=True)\n"
        "    except KeyboardInterrupt:\n"
        "        print('interrupted', len(list(model.generate([1], 1))))\n"
    )
    command = [sys.executable, "-c", program, str(path)]
    environment = os.environ | {"PYTHONPATH": str(Path(rondo.__file__).parents[1])}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout.readline() == f"{ord('a')}\n"
        process.send_signal(signal.SIGINT)
        lines = process.stdout.read().splitlines()
    assert lines[-1] == "interrupted 1"
    assert len(lines) < 100
    assert process.returncode == 0
