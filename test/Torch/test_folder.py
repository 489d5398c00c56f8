# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Reading and writing folders: nothing changes that was not trained, and nothing is taken for what it is not."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import MISSING, ORACLES, ROOT, SOURCES, write_recursive, write_source
from safetensors.numpy import load_file, save_file

import rondo.torch
from rondo.convert.errors import ConversionError
from rondo.convert.source import open_source
from rondo.reference import CheckpointError, load_model

torch = pytest.importorskip("torch", reason=MISSING)


def content(folder: Path) -> dict[str, tuple[str, tuple[int, ...], bytes]]:
    """Type, shape and bytes of every tensor, in the order of the file."""
    return {
        name: (tensor.kind, tensor.shape, b"".join(tensor.pieces()))
        for name, tensor in open_source(folder).tensors.items()
    }


def rewritten(folder: Path, target: Path, dtype: torch.dtype = torch.float32) -> Path:
    rondo.torch.save(rondo.torch.load(folder, dtype), target, folder)
    return target


# Tests that saving what was loaded changes no bit, name, type, order or configuration, and copies what lies beside.
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["f32", "f64"])
@pytest.mark.parametrize("kind, deltas", [("float32", "F32"), ("float16", "BF16")])
@pytest.mark.parametrize("family", SOURCES)
def test_round_trip(tmp_path: Path, family: str, kind: str, deltas: str, dtype: torch.dtype) -> None:
    source = write_source(tmp_path / "s", family, np.dtype(kind))
    options = {"norms": "per-depth", "rank": 3, "initialization": "lower", "delta_kind": deltas}
    folder = write_recursive(source, tmp_path / "r", "middle_cycle", 2, **options)
    (folder / "tokenizer.json").write_text("{}")
    (folder / "chat_template.jinja").write_text("hello")
    saved = rewritten(folder, tmp_path / "saved", dtype)
    assert list(content(saved).items()) == list(content(folder).items())
    for name in ("config.json", "tokenizer.json", "chat_template.jinja"):
        assert (saved / name).read_bytes() == (folder / name).read_bytes()
    assert sorted(file.name for file in saved.iterdir()) == [
        "chat_template.jinja", "config.json", "model.safetensors", "tokenizer.json",
    ]  # fmt: skip


# Tests that ordinary models come back too: with a head stored beside the embedding it is tied to, and with buffers.
def test_round_trip_of_ordinary_models(tmp_path: Path) -> None:
    for case, head, buffer in [
        ("llama/gqa2_tied", "lm_head.weight", "model.layers.0.self_attn.rotary_emb.inv_freq"),
        ("gpt_neox/parallel", None, "gpt_neox.layers.0.attention.bias"),
    ]:
        folder = tmp_path / case.partition("/")[0]
        folder.mkdir()
        shutil.copyfile(ORACLES / case / "config.json", folder / "config.json")
        weights = load_file(ORACLES / case / "model.safetensors")
        if head:
            weights[head] = weights["model.embed_tokens.weight"]
        weights[buffer] = np.arange(4, dtype=np.float32)
        save_file(weights, folder / "model.safetensors")
        saved = rewritten(folder, folder.with_suffix(".saved"))
        assert content(saved) == content(folder)


# Tests that what is changed is saved, rounded to the type that it had, also under both names of a tied head.
def test_changes_are_saved(tmp_path: Path) -> None:
    folder = write_recursive(write_source(tmp_path / "s", "llama", np.float16), tmp_path / "r")
    model = rondo.torch.load(folder)
    with torch.no_grad():
        model.get_parameter("model.layers.0.mlp.up_proj.weight")[0, 0] = 1 + 2**-11  # half way to 1 + 2^-10: to even
        model.get_parameter("model.layers.0.mlp.up_proj.weight")[0, 1] = 1 + 3 * 2**-11
    rondo.torch.save(model, tmp_path / "saved", folder)
    before, after = (load_file(path / "model.safetensors") for path in (folder, tmp_path / "saved"))
    changed = after["model.layers.0.mlp.up_proj.weight"]
    assert changed.dtype == np.float16 and changed[0, :2].tolist() == [1, 1 + 2**-9]
    assert all(np.array_equal(after[name], value) for name, value in before.items() if "0.mlp.up" not in name)
    assert load_model(tmp_path / "saved").logits([1, 2]).shape[0] == 2


# Tests that an existing folder is refused and kept, and that a failure leaves nothing.
def test_target(tmp_path: Path) -> None:
    folder = write_recursive(write_source(tmp_path / "s", "llama"), tmp_path / "r")
    model = rondo.torch.load(folder)
    with pytest.raises(ConversionError, match="exists already; remove it or choose another name"):
        rondo.torch.save(model, folder, folder)
    other = write_source(tmp_path / "other", "llama")
    with pytest.raises(rondo.torch.TrainingError, match="give the folder that the model was loaded from"):
        rondo.torch.save(model, tmp_path / "new", other)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other", "r", "s"]


# Tests that a source with other tensors or shapes, or no folder at all, is refused.
def test_wrong_source(tmp_path: Path) -> None:
    source = write_source(tmp_path / "s", "llama")
    bare, relaxed = (write_recursive(source, tmp_path / f"r{rank}", rank=rank) for rank in (0, 2))
    model = rondo.torch.load(bare)
    with pytest.raises(rondo.torch.TrainingError, match=r"down_proj.lora_A.0.weight' is in .*r2, but"):
        rondo.torch.save(model, tmp_path / "new", relaxed)
    with pytest.raises(rondo.torch.TrainingError, match=r"lora_A.0.weight' is in the model, but not in .*r0; give"):
        rondo.torch.save(rondo.torch.load(relaxed), tmp_path / "new", bare)
    other = write_recursive(source, tmp_path / "r3", rank=3)
    with pytest.raises(rondo.torch.TrainingError, match=r"is \[2, \d+\] in the model and \[3, \d+\] in .*r3; give the"):
        rondo.torch.save(rondo.torch.load(relaxed), tmp_path / "new", other)
    with pytest.raises(rondo.torch.TrainingError, match="none is not a model folder; make one with 'rondo convert rec"):
        rondo.torch.save(model, tmp_path / "new", tmp_path / "none")


# Tests that other families and other types are refused.
def test_wrong_model(tmp_path: Path) -> None:
    known = "llama, gemma, gpt_neox, recursive_llama, recursive_gemma, recursive_gpt_neox"
    with pytest.raises(rondo.torch.TrainingError, match=f"type 'albert' cannot be trained here; known: {known}"):
        rondo.torch.load(ORACLES / "albert" / "mlm_1group")
    with pytest.raises(rondo.torch.TrainingError, match=r"in torch.float32 or torch.float64, not in torch.bfloat16"):
        rondo.torch.load(ORACLES / SOURCES["llama"], torch.bfloat16)


# Tests that a folder is read as strictly as by the reference.
@pytest.mark.parametrize("change, message", [
    ({"model.layers.0.mlp.up_proj.weight": None}, "tensor 'model.layers.0.mlp.up_proj.weight' is missing"),
    ({"model.layers.9.mlp.up_proj.weight": np.zeros((2, 2), np.float32)}, "is of stored layer 9, but there are 3"),
    ({"model.layers.0.mlp.up_proj.lora_A.1.weight": None}, "has 'lora_B' but not 'lora_A'; expected both or none"),
    ({"model.norm.weight": np.zeros(3, np.float32)}, r"'model.norm.weight' has shape \[3\], expected"),
    ({"extra": np.zeros(3, np.float32)}, "tensor 'extra' has no place in this architecture"),
    ({"model.layers.0.mlp.up_proj.lora_C.1.weight": np.zeros((2, 2), np.float32)}, "varies with depth, which it may"),
])  # fmt: skip
def test_strict_tensors(tmp_path: Path, change: dict[str, np.ndarray | None], message: str) -> None:
    folder = write_recursive(write_source(tmp_path / "s", "llama"), tmp_path / "r", rank=2)
    weights = load_file(folder / "model.safetensors") | change
    save_file({name: value for name, value in weights.items() if value is not None}, folder / "model.safetensors")
    with pytest.raises(CheckpointError, match=message):
        rondo.torch.load(folder)


@pytest.mark.parametrize("family, key", [("llama", "sliding_window"), ("gemma", "logit_cap"), ("gpt_neox", "moe")])
def test_strict_configuration(tmp_path: Path, family: str, key: str) -> None:
    folder = write_recursive(write_source(tmp_path / "s", family), tmp_path / "r")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {key: 7}))
    with pytest.raises(CheckpointError, match=f"configuration key '{key}' with value 7 is not supported"):
        rondo.torch.load(folder)


# Tests that PyTorch's complaint about NumPy 2 does not reach the user.
def test_no_noise(tmp_path: Path) -> None:
    code = (
        f"import sys; sys.path.append({str(Path(torch.__file__).parents[1])!r}); import rondo.torch; "
        f"rondo.torch.load({str(ORACLES / SOURCES['llama'])!r})"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={"PYTHONPATH": str(ROOT / "python")}
    )
    assert (done.returncode, done.stderr) == (0, "")
