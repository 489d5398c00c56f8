# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""`python -m rondo.reference`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from rondo.reference import greedy, load_model
from rondo.reference.__main__ import main


# Tests that files hold the names of rondo-run and the values of the model.
def test_files(llama_case: Path, tmp_path: Path) -> None:
    (tmp_path / "prompts.json").write_text('{"sequences": [[1, 2, 3], [4]]}')
    prompts = f"--tokens-file={tmp_path / 'prompts.json'}"
    assert main([str(llama_case), prompts, f"--logits={tmp_path / 'l'}", f"--trace={tmp_path / 't'}"]) == 0
    logits, trace = load_file(tmp_path / "l"), load_file(tmp_path / "t")
    assert sorted(logits) == ["logits.0", "logits.1"]
    assert np.array_equal(logits["logits.0"], load_model(llama_case).logits([1, 2, 3]))
    assert {"embedding.0", "layer.1.2", "final.1"} <= trace.keys()
    assert sorted(file.name for file in tmp_path.iterdir()) == ["l", "prompts.json", "t"]


# Tests greedy tokens, their gaps, loops and stop tokens.
def test_generate(llama_case: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(llama_case), "--tokens=1,2", "--generate=5", "--loop=0:1:2", "--dtype=float64", "--stop="]) == 0
    (sequence,) = json.loads(capsys.readouterr().out)["sequences"]
    assert len(sequence["tokens"]) == 5
    assert sequence["smallest_top2_gap"] == min(sequence["top2_gaps"]) > 0
    assert sequence["tokens"] != greedy(load_model(llama_case), [1, 2], 5).tokens


def test_input_at_fault(llama_case: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path / "none"), "--tokens=1"]) == 1
    assert main([str(llama_case), "--tokens=999", "--generate=1"]) == 1
    (tmp_path / "bad.json").write_text('{"sequences": [["a"]]}')
    assert main([str(llama_case), f"--tokens-file={tmp_path / 'bad.json'}", "--generate=1"]) == 1
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 3 and all(line.startswith("error: ") for line in errors)


@pytest.mark.parametrize(
    "arguments", [[], ["m"], ["m", "--tokens=a"], ["m", "--tokens=1", "--loop=1"], ["m", "--tokens=1", "--generate=-1"]]
)
def test_wrong_use(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    assert exit_.value.code == 2


# Tests that the command runs every case of test/oracles from the case's own files, and that nothing expected is absent.
def test_every_case(case: Path, tmp_path: Path) -> None:
    tensors = case / "inputs.safetensors"
    inputs = [f"--tokens-file={case / 'inputs.json'}", *([f"--inputs={tensors}"] if tensors.exists() else [])]
    assert main([str(case), *inputs, f"--logits={tmp_path / 'l'}", f"--trace={tmp_path / 't'}"]) == 0
    found = load_file(tmp_path / "l").keys() | load_file(tmp_path / "t").keys()
    expected = load_file(case / "expected.safetensors").keys()
    assert {name for name in expected if not name.startswith("cached_step_logits")} <= found


# Tests that an output that cannot be written is one line and leaves nothing behind.
def test_unwritable_output(llama_case: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(llama_case), "--tokens=1,2", f"--logits={tmp_path / 'nowhere' / 'l'}"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: cannot write '")
    assert error.endswith("; name a file in a folder that can be written\n")
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())


# Tests that no output is a file of the model, another input, or the other output, under any name.
def test_overwrites(llama_case: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = Path(shutil.copytree(llama_case, tmp_path / "model"))
    (tmp_path / "prompts.json").write_text('{"sequences": [[1]]}')
    (tmp_path / "link").symlink_to(model / "model.safetensors")
    prompts = f"--tokens-file={tmp_path / 'prompts.json'}"
    new = tmp_path / "new"
    for options, reason in [
        ([f"--logits={model / 'model.safetensors'}"], "would overwrite the model"),
        ([f"--trace={tmp_path / 'link'}"], "would overwrite the model"),
        ([f"--logits={tmp_path / 'prompts.json'}"], "would overwrite --tokens-file"),
        ([f"--logits={new}", f"--trace={tmp_path / '..' / tmp_path.name / 'new'}"], "would overwrite --logits"),
    ]:
        with pytest.raises(SystemExit) as exit_:
            main([str(model), prompts, *options])
        assert exit_.value.code == 2
        assert reason in (errors := capsys.readouterr().err) and "give another file" in errors
    assert not new.exists() and load_model(model)
