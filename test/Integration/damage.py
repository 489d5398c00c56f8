# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Ways to spoil one thing about valid inputs, for the tests of bad input.

Each function makes a `Damage`: a function of the folder with the inputs, which lie there under the names of
`write_inputs`. Whatever the damage does not touch stays valid, so that a refusal has one reason.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import xxhash
from conftest import ROOT, Tools, write_llama

Damage = Callable[[Path], object]

CONTEXT, VOCABULARY = 64, 40
SIZES = (f"--context={CONTEXT}", "--sequences=2", "--rows=8")
OLD = b"what was there before\n"  # content of the output that a failure must not touch
WEIGHTS = "model/model.safetensors"


def write_inputs(tools: Tools, folder: Path) -> Path:
    """A checkpoint, a GGUF file, a module, a bundle, token ids, and an older output."""
    write_llama(folder / "model", layers=1, width=32, vocabulary=VOCABULARY)
    write_gguf()(folder)
    tools.run("rondoc", folder / "model", "-o", folder / "model.mlir", "--compile-to=input", *SIZES)
    tools.run("rondoc", folder / "model", "-o", folder / "step.mlir", "--compile-to=step", *SIZES)
    tools.compile(folder / "model", folder / "model.rondo", "-O0", *SIZES)
    (folder / "tokens.json").write_text('{"sequences": [[1, 2], [3]]}')
    (folder / "out").mkdir()
    (folder / "out" / "old").write_bytes(OLD)
    return folder


def write_gguf(*options: str) -> Damage:
    """model.gguf as the generator of the importers' tests writes it."""
    script = ROOT / "test" / "Import" / "Inputs" / "make_checkpoint.py"
    fixed = ["--gguf", "--layers", "1", "--dtype", "F16"]
    return lambda folder: subprocess.run(
        [sys.executable, str(script), str(folder / "model.gguf"), *fixed, *options], check=True)


# --- Any file -----------------------------------------------------------------


def nothing(folder: Path) -> None:
    """The fault is in the command line."""


def both(*damages: Damage) -> Damage:
    return lambda folder: [damage(folder) for damage in damages]


def write(name: str, content: bytes | str) -> Damage:
    data = content.encode() if isinstance(content, str) else content
    return lambda folder: (folder / name).write_bytes(data)


def change(name: str, edit: Callable[[bytes], bytes]) -> Damage:
    return lambda folder: (folder / name).write_bytes(edit((folder / name).read_bytes()))


def cut(name: str, size: int) -> Damage:
    """Keeps the first `size` bytes, or drops the last -`size`."""
    return change(name, lambda data: data[:size])


def replace(name: str, old: bytes, new: bytes) -> Damage:
    def edit(data: bytes) -> bytes:
        assert old in data, f"{name} has no {old!r}"
        return data.replace(old, new, 1)

    return change(name, edit)


def remove(name: str) -> Damage:
    return lambda folder: (folder / name).unlink()


def make_folder(name: str) -> Damage:
    return lambda folder: ((folder / name).unlink(missing_ok=True), (folder / name).mkdir())


def make_fifo(name: str) -> Damage:
    return lambda folder: os.mkfifo(folder / name)


# --- Checkpoints --------------------------------------------------------------


def config(**values: Any) -> Damage:
    """Sets keys of config.json; None takes a key out."""

    def edit(data: bytes) -> bytes:
        merged = json.loads(data) | values
        return json.dumps({key: value for key, value in merged.items() if value is not None}).encode()

    return change("model/config.json", edit)


def edit_header(edit: Callable[[dict[str, Any]], object]) -> Damage:
    """Changes the header of the safetensors file; the data stays."""

    def rewrite(data: bytes) -> bytes:
        end = 8 + int.from_bytes(data[:8], "little")
        header = json.loads(data[8:end])
        edit(header)
        text = json.dumps(header).encode()
        return len(text).to_bytes(8, "little") + text + data[end:]

    return change(WEIGHTS, rewrite)


def tensor(key: str, **values: Any) -> Damage:
    """Sets fields of one tensor's entry in the safetensors header."""
    return edit_header(lambda header: header[key].update(values))


def raw_header(text: bytes, length: int | None = None) -> Damage:
    """A safetensors file of nothing but this header, with a true or a false length."""
    size = len(text) if length is None else length
    return write(WEIGHTS, size.to_bytes(8, "little") + text)


def patch_gguf(after: bytes, skip: int, new: bytes) -> Damage:
    """Overwrites bytes of model.gguf, `skip` bytes behind the first `after`."""

    def edit(data: bytes) -> bytes:
        at = data.index(after) + len(after) + skip
        return data[:at] + new + data[at + len(new):]

    return change("model.gguf", edit)


# --- Bundles ------------------------------------------------------------------


def read_bundle(data: bytes) -> tuple[dict[str, Any], dict[str, Any], int]:
    """Header, manifest, and where the data begins."""
    start = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:start])
    return header, json.loads(header["__metadata__"]["rondo.manifest"]), start


def pack_bundle(header: dict[str, Any], manifest: dict[str, Any] | str, data: bytes) -> bytes:
    """A bundle whose manifest has the right hash, whatever it says."""
    text = manifest if isinstance(manifest, str) else json.dumps(manifest)
    metadata = {"rondo.manifest": text, "rondo.manifest_hash": xxhash.xxh3_128_hexdigest(text.encode())}
    head = json.dumps(header | {"__metadata__": metadata}).encode()
    head += b" " * (-(8 + len(head)) % 4096)
    return len(head).to_bytes(8, "little") + head + data


def edit_manifest(edit: Callable[[dict[str, Any]], object]) -> Damage:
    def rewrite(data: bytes) -> bytes:
        header, manifest, start = read_bundle(data)
        edit(manifest)
        return pack_bundle(header, manifest, data[start:])

    return change("model.rondo", rewrite)


def manifest_text(text: str) -> Damage:
    """A bundle whose manifest is this text."""

    def rewrite(data: bytes) -> bytes:
        header, _, start = read_bundle(data)
        return pack_bundle(header, text, data[start:])

    return change("model.rondo", rewrite)


def edit_tensor(name: str, at: int, new: bytes) -> Damage:
    """Overwrites bytes of one of the bundle's tensors and hashes it again: what is wrong is what it says."""

    def rewrite(data: bytes) -> bytes:
        header, manifest, start = read_bundle(data)
        entry = next(entry for entry in manifest["tensors"] if entry["name"] == name)
        content = bytearray(data[start:])
        content[entry["offset"] + at:entry["offset"] + at + len(new)] = new
        entry["hash"] = xxhash.xxh3_128_hexdigest(content[entry["offset"]:entry["offset"] + entry["bytes"]])
        return pack_bundle(header, manifest, bytes(content))

    return change("model.rondo", rewrite)
