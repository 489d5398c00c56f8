# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What conversions read: sharded folders in all types, GGUF files, their tokenizers, and damaged files."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from conftest import ORACLES, tools_folder
from safetensors import safe_open
from safetensors.numpy import load_file
from test_reference_gguf import write_other_gguf
from test_reference_models import to_bf16, write_gguf, write_safetensors
from tokenizers import Tokenizer

from rondo.convert.errors import ConversionError
from rondo.convert.recursive import Options, convert
from rondo.convert.source import Source, open_source
from rondo.reference import CheckpointError, load_model

TOKENS = [5, 17, 120, 3, 99, 8]
SHARED = ORACLES / "rrt_init" / "share_6layers"


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing takes most of a small conversion's time."""
    monkeypatch.setattr("rondo.convert.heat_map.write_heat_map", lambda report, path: None)


def converted(source: Path, target: Path, visits: int = 3, **options: Any) -> Path:
    options.setdefault("initialization", "average")
    convert(open_source(source), target, Options("cycle", visits, **options))
    return target


def raw(folder: Path) -> dict[str, tuple[str, bytes]]:
    """Type and bytes of each tensor of a folder's only file."""
    data = (folder / "model.safetensors").read_bytes()
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    del header["__metadata__"]
    begin = 8 + size
    spans = {name: (entry["dtype"], *entry["data_offsets"]) for name, entry in header.items()}
    return {name: (kind, data[begin + first : begin + end]) for name, (kind, first, end) in spans.items()}


# --- Folders ----------------------------------------------------------------------------------------------------------


# Tests that shards in half precision keep their type, copies their bits, and means are rounded once.
@pytest.mark.parametrize("kind", ["BF16", "F16"])
def test_shards_in_half_precision(tmp_path: Path, kind: str) -> None:
    weights = load_file(SHARED / "model.safetensors")
    stored = {name: to_bf16(value) if kind == "BF16" else value.astype(np.float16) for name, value in weights.items()}
    source = tmp_path / "source"
    source.mkdir()
    shutil.copyfile(SHARED / "config.json", source / "config.json")
    names, index = sorted(stored), {}
    for number, part in enumerate((names[:20], names[20:])):
        file = f"model-{number + 1:05}-of-00002.safetensors"
        write_safetensors(source / file, {name: (kind, stored[name]) for name in part})
        index |= dict.fromkeys(part, file)
    (source / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))
    found = raw(converted(source, tmp_path / "r", rank=2, norms="per-depth"))
    assert {k for name, (k, _) in found.items() if "lora_" not in name} == {kind}
    assert {k for name, (k, _) in found.items() if "lora_" in name} == {"F32"}
    for name, original in (
        ("lm_head.weight", "lm_head.weight"),
        ("model.layers.1.input_layernorm.2.weight", "model.layers.5.input_layernorm.weight"),
    ):
        assert found[name][1] == stored[original].tobytes()
    name = "model.layers.{}.mlp.up_proj.weight"
    wide = [
        (value.astype(np.uint32) << 16).view(np.float32) if kind == "BF16" else value
        for value in (stored[name.format(layer)] for layer in (0, 2, 4))
    ]
    mean = np.mean(np.array(wide, np.float64), axis=0)
    got = np.frombuffer(found[name.format(0)][1], np.uint16 if kind == "BF16" else np.float16).reshape(mean.shape)
    got = (got.astype(np.uint32) << 16).view(np.float32) if kind == "BF16" else got.astype(np.float32)
    spacing = np.abs(mean) * (2.0**-9 if kind == "BF16" else 2.0**-12) + 1e-7  # half a unit in the last place, at most
    assert (np.abs(got - mean) <= 2 * spacing).all()
    lowered = converted(source, tmp_path / "lower", initialization="lower")
    assert raw(lowered)[name.format(1)][1] == stored[name.format(1)].tobytes()
    with safe_open(lowered / "model.safetensors", "np") as file:
        assert file.metadata() == {"format": "pt"}


# Tests that what lies beside the weights comes along, and that other files do not.
def test_companions(tmp_path: Path) -> None:
    source = tmp_path / "source"
    shutil.copytree(SHARED, source)
    for name in ("tokenizer.json", "chat_template.jinja", "generation_config.json", "tokenizer_config.json"):
        (source / name).write_text("{}")
    (source / "notes.txt").write_text("private")
    found = {path.name for path in converted(source, tmp_path / "r").iterdir()}
    assert found == {
        "config.json", "model.safetensors", "conversion-report.md", "tokenizer.json", "chat_template.jinja",
        "generation_config.json", "tokenizer_config.json",
    }  # fmt: skip


# Tests that buffers of old releases are left behind.
def test_buffers(tmp_path: Path) -> None:
    source = tmp_path / "source"
    shutil.copytree(SHARED, source)
    weights = load_file(source / "model.safetensors")
    entries = {name: ("F32", value) for name, value in weights.items()}
    entries["model.layers.3.self_attn.rotary_emb.inv_freq"] = ("F32", np.ones(3, np.float32))
    write_safetensors(source / "model.safetensors", entries)
    assert raw(converted(source, tmp_path / "r")) == raw(converted(SHARED, tmp_path / "same"))


# Tests that tensors of different types get a mean in float32.
def test_mixed_types(tmp_path: Path) -> None:
    source = tmp_path / "source"
    shutil.copytree(SHARED, source)
    weights = load_file(source / "model.safetensors")
    entries = {name: ("F16", value.astype(np.float16)) for name, value in weights.items()}
    name = "model.layers.0.mlp.up_proj.weight"
    entries[name] = ("F32", weights[name])
    write_safetensors(source / "model.safetensors", entries)
    found = raw(converted(source, tmp_path / "r"))
    assert (found[name][0], found["model.layers.1.mlp.up_proj.weight"][0]) == ("F32", "F16")


def header_file(path: Path, header: Any, data: bytes = b"\0" * 16) -> None:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)


def entry(**changes: Any) -> dict[str, Any]:
    return {"x": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]} | changes}


@pytest.mark.parametrize(
    "header, message",
    [
        (b"{", r"cannot read \S+model.safetensors: "),
        ([1], r"header is not a JSON object"),
        (entry(dtype="F64"), r"'x' is of type F64; known: F32, F16, BF16"),
        (entry(shape=["wide"]), r"'x' is not an entry of a safetensors header"),
        ({"x": {}}, r"'x' is not an entry of a safetensors header: \{\}"),
        (entry(shape=[5]), r"'x' claims bytes 0 to 16, which do not fit its shape or the file"),
        (entry(data_offsets=[16, 32]), r"'x' claims bytes 16 to 32, which do not fit"),
    ],
)
def test_damaged_safetensors(tmp_path: Path, header: Any, message: str) -> None:
    (tmp_path / "config.json").write_text("{}")
    header_file(tmp_path / "model.safetensors", header)
    with pytest.raises(ConversionError, match=message):
        open_source(tmp_path)


def test_huge_header(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes((1 << 40).to_bytes(8, "little") + b"{}")
    with pytest.raises(ConversionError, match=r"header of 1099511627776 bytes does not fit the file"):
        open_source(tmp_path)


# Tests a file that is cut off after it was opened.
def test_file_that_shrinks(tmp_path: Path) -> None:
    source = tmp_path / "source"
    shutil.copytree(SHARED, source)
    opened = open_source(source)
    size = (source / "model.safetensors").stat().st_size
    with (source / "model.safetensors").open("r+b") as file:
        file.truncate(size // 2)
    with pytest.raises(ConversionError, match=r"model.safetensors ends \d+ bytes early"):
        convert(opened, tmp_path / "r", Options("cycle", 3, "average"))
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_tensor_in_two_shards(tmp_path: Path) -> None:
    source = tmp_path / "source"
    shutil.copytree(SHARED, source)
    for name in ("a", "b"):
        shutil.copyfile(source / "model.safetensors", source / f"{name}.safetensors")
    (source / "model.safetensors").unlink()
    index = {"weight_map": {"x": "a.safetensors", "y": "b.safetensors"}}
    (source / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(ConversionError, match=r"tensor '\S+' is in more than one file"):
        open_source(source)


@pytest.mark.parametrize("name", ["train_config.yaml", "adapter_config.json"])
def test_recursive_already(tmp_path: Path, name: str) -> None:
    source = tmp_path / "source"
    shutil.copytree(SHARED, source)
    (source / name).write_text("{}")
    with pytest.raises(
        ConversionError, match=rf"source holds {name}: its layers .* convert the model it was made from"
    ):
        open_source(source)


def test_no_model(tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match="is neither a model folder nor a .gguf file"):
        open_source(tmp_path / "none")
    with pytest.raises(CheckpointError, match="cannot read"):
        open_source(tmp_path)
    (tmp_path / "config.json").write_text("[]")
    with pytest.raises(ConversionError, match="config.json is not a JSON object"):
        open_source(tmp_path)


# --- GGUF files -------------------------------------------------------------------------------------------------------


# Tests that a GGUF file of the same weights is converted to the same tensors.
def test_gguf(llama_case: Path, tmp_path: Path) -> None:
    write_gguf(llama_case, tmp_path / "model.gguf", gguf.GGMLQuantizationType.F32)
    found = raw(converted(tmp_path / "model.gguf", tmp_path / "a", rank=3))
    assert found == raw(converted(llama_case, tmp_path / "b", rank=3))
    folder, source = load_model(tmp_path / "a"), load_model(tmp_path / "b")
    np.testing.assert_allclose(folder.logits(TOKENS), source.logits(TOKENS), rtol=0, atol=1e-6)


# Tests that blocks become float32 without a change, and half precision stays.
@pytest.mark.parametrize("block, kind", [("Q8_0", "F32"), ("F16", "F16"), ("BF16", "BF16")])
def test_gguf_types(llama_case: Path, tmp_path: Path, block: str, kind: str) -> None:
    write_gguf(llama_case, tmp_path / "model.gguf", gguf.GGMLQuantizationType[block])
    options = {"initialization": "lower", "norms": "per-depth", "rank": 1 << 20}
    folder = converted(tmp_path / "model.gguf", tmp_path / "r", **options)
    assert raw(folder)["model.layers.0.mlp.up_proj.weight"][0] == raw(folder)["model.embed_tokens.weight"][0] == kind
    want = load_model(tmp_path / "model.gguf").logits(TOKENS)
    np.testing.assert_allclose(load_model(folder).logits(TOKENS), want, rtol=0, atol=1e-4)


# Tests that large tensors are read piece by piece.
def test_gguf_pieces(llama_case: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_gguf(llama_case, tmp_path / "model.gguf", gguf.GGMLQuantizationType.Q8_0)
    whole = raw(converted(tmp_path / "model.gguf", tmp_path / "a"))
    monkeypatch.setattr("rondo.convert.gguf_source._PIECE_VALUES", 200)
    monkeypatch.setattr("rondo.convert.source._PIECE_BYTES", 64)
    assert raw(converted(tmp_path / "model.gguf", tmp_path / "b")) == whole


# Tests GGUF files of the other families.
@pytest.mark.parametrize("case", ["gemma/mqa", "gpt_neox/parallel"])
def test_other_gguf(tmp_path: Path, case: str) -> None:
    write_other_gguf(ORACLES / case, tmp_path / "model.gguf")
    one = load_model(converted(tmp_path / "model.gguf", tmp_path / "a", rank=4)).logits(TOKENS)
    other = load_model(converted(ORACLES / case, tmp_path / "b", rank=4)).logits(TOKENS)
    np.testing.assert_allclose(one, other, rtol=0, atol=1e-5)


def edited_gguf(source: Path, target: Path, edit: Callable[[gguf.GGUFWriter], None]) -> Path:
    """A llama GGUF with more keys or tensors."""
    reader = gguf.GGUFReader(source)
    writer = gguf.GGUFWriter(target, "llama")
    for field in reader.fields.values():
        if not field.name.startswith("GGUF.") and field.name != "general.architecture":
            value_type, *sub = field.types
            writer.add_key_value(field.name, field.contents(), value_type, sub[0] if sub else None)
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
    edit(writer)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return target


@pytest.fixture
def plain_gguf(llama_case: Path, tmp_path: Path) -> Path:
    write_gguf(llama_case, tmp_path / "plain.gguf", gguf.GGMLQuantizationType.F32)
    return tmp_path / "plain.gguf"


def test_rope_divisors(plain_gguf: Path, tmp_path: Path) -> None:
    def add(writer: gguf.GGUFWriter) -> None:
        writer.add_tensor("rope_freqs.weight", np.ones(4, np.float32))

    with pytest.raises(
        ConversionError, match="'rope_freqs.weight' has no counterpart in config.json; convert the model"
    ):
        open_source(edited_gguf(plain_gguf, tmp_path / "m.gguf", add))


def test_without_gguf(plain_gguf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "rondo.convert.gguf_source", raising=False)
    monkeypatch.setitem(sys.modules, "gguf", None)
    monkeypatch.delitem(sys.modules, "rondo.reference.gguf_file", raising=False)
    monkeypatch.delitem(sys.modules, "rondo.convert.gguf_tokenizer", raising=False)
    with pytest.raises(ConversionError, match=r"plain.gguf needs gguf: pip install './python\[convert\]'"):
        open_source(plain_gguf)


# --- Tokenizers -------------------------------------------------------------------------------------------------------


# Tests that a file that is cut short is called so, in our words.
@pytest.mark.parametrize("size", [2, 100, 3000])
def test_cut_gguf(plain_gguf: Path, tmp_path: Path, size: int) -> None:
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(plain_gguf.read_bytes()[:size])
    message = rf"{cut} is not a GGUF file, or is cut short or damaged; copy or download it again"
    with pytest.raises(CheckpointError, match=message):
        open_source(cut)


def byte_letters() -> list[str]:
    """GPT-2's printable letters for the 256 bytes, by byte."""
    kept = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    moved = iter(range(256, 512))
    return [chr(byte) if byte in kept else chr(next(moved)) for byte in range(256)]


def add_tokenizer(writer: gguf.GGUFWriter, rule: str | None, ends: bool = False, **changes: Any) -> None:
    tokens = [*byte_letters(), "ab", "abc", "<|im_end|>", "<tool>", "", *(f"<unused{number}>" for number in range(39))]
    types = [1] * 258 + [3, 4, 1] + [5] * 39
    writer.add_tokenizer_model(changes.get("model", "gpt2"))
    if rule is not None:
        writer.add_tokenizer_pre(rule)
    writer.add_token_list(changes.get("tokens", tokens))
    writer.add_token_types(types)
    writer.add_token_merges(changes.get("merges", ["a b", "ab c"]))
    writer.add_eos_token_id(changes.get("eos", 7))
    writer.add_bos_token_id(changes.get("bos", 1))
    writer.add_chat_template("{{ messages }}")
    if ends:
        writer.add_add_bos_token(True)
        writer.add_add_eos_token(True)


def opened(plain: Path, target: Path, *arguments: Any, **changes: Any) -> Source:
    return open_source(edited_gguf(plain, target, lambda writer: add_tokenizer(writer, *arguments, **changes)))


# Tests that the tokenizer is the one that rondoc puts into a bundle.
@pytest.mark.parametrize("rule, ends", [(None, False), ("default", False), ("gpt-2", True), ("smollm", False)])
def test_tokenizer_of_rondoc(plain_gguf: Path, tmp_path: Path, rule: str | None, ends: bool) -> None:
    rondoc = tools_folder() / "rondoc"
    if not rondoc.exists():
        pytest.skip(f"{rondoc} is not built")
    source = opened(plain_gguf, tmp_path / "m.gguf", rule, ends)
    subprocess.run([rondoc, tmp_path / "m.gguf", "-o", tmp_path / "m.rondo"], check=True)
    with safe_open(tmp_path / "m.rondo", "np") as bundle:
        want, template = (
            bundle.get_tensor(name).tobytes().decode() for name in ("tokenizer.json", "chat_template.jinja")
        )
    assert json.loads(source.companions["tokenizer.json"]) == json.loads(want)
    assert source.companions["chat_template.jinja"] == template


# Tests that the tokenizer works, and which tokens end a sequence.
def test_tokenizer(plain_gguf: Path, tmp_path: Path) -> None:
    source = opened(plain_gguf, tmp_path / "m.gguf", "smollm", True)
    tokenizer = Tokenizer.from_str(source.companions["tokenizer.json"])
    assert tokenizer.encode("abc a1<tool>").ids == [1, 257, 32, 97, 49, 259, 7]
    assert source.config["eos_token_id"] == [7, 258]
    assert source.notes == ()


# Tests that what cannot be carried over is said.
def test_other_tokenizer(plain_gguf: Path, tmp_path: Path) -> None:
    source = opened(plain_gguf, tmp_path / "m.gguf", "smollm", model="llama")
    assert "tokenizer.json" not in source.companions
    assert source.notes[0].startswith(
        "tokenizer 'llama' with the split 'smollm' cannot be carried over (known: gpt2 with"
    )
    assert (
        open_source(plain_gguf).notes[0].startswith("the file has no tokenizer; put a tokenizer.json into the result")
    )


@pytest.mark.parametrize(
    "changes, message",
    [
        (
            {"merges": ["a b", "b z"]},
            r"merge 'b z' of 'tokenizer.ggml.merges' is not of two tokens to one; take the model",
        ),
        ({"tokens": ["a"] * 300}, r"'tokenizer.ggml.tokens' holds a token twice; take the model folder"),
        (
            {"bos": 999},
            r"'tokenizer.ggml.add_bos_token' is set, but 'tokenizer.ggml.bos_token_id' names no token; take",
        ),
    ],
)
def test_bad_tokenizer(plain_gguf: Path, tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConversionError, match=message):
        opened(plain_gguf, tmp_path / "m.gguf", "smollm", True, **changes)


def test_tokenizer_without_merges(plain_gguf: Path, tmp_path: Path) -> None:
    def add(writer: gguf.GGUFWriter) -> None:
        writer.add_tokenizer_model("gpt2")
        writer.add_token_list(["a", "b"])

    with pytest.raises(ConversionError, match="'tokenizer.ggml.merges' is missing; take the model folder instead"):
        open_source(edited_gguf(plain_gguf, tmp_path / "m.gguf", add))
