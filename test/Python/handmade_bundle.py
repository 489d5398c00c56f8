# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Bundles made without the compiler, for tests of everything above it.

The model in them is a script: after position p the best next token is `script[p]`, whatever came before; the other
logits depend on token and position, so that a wrong row or offset shows. Written from docs/Bundle.md and abi.h alone,
so it is a second writer of the format too.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xxhash

from byte_tokenizer import STOP

ROOT = Path(__file__).resolve().parents[2]
PAGE = 4096  # alignment of code and of the data section, bytes
ALIGNMENT = 64  # of the other tensors, bytes

CONTEXT = 128
VOCABULARY = 258  # of byte_tokenizer.py
LOGITS_STRIDE = 272

# Every thread calls it; the first does the work. SPIN delays each row, NAN_TOKEN spoils the logits after it.
SOURCE = """
#include "rondo_rt/abi.h"
void full(rondo_rt_context *context, uint32_t thread);
__attribute__((section(".head"), used)) const rondo_rt_code_header header = {
    RONDO_RT_CODE_MAGIC, RONDO_RT_ABI_VERSION, FEATURES, IMAGE_SIZE, sizeof(rondo_rt_context), RONDO_RT_ENTRY_COUNT,
    {(uint64_t)&full, (uint64_t)&full, (uint64_t)&full, (uint64_t)&full}};
static const uint16_t script[] = {SCRIPT};
__attribute__((aligned(64))) void full(rondo_rt_context *context, uint32_t thread) {
  if (thread != 0)
    return;
  for (volatile uint64_t i = 0; i < (uint64_t)SPIN * context->row_count; ++i)
    ;
  for (uint32_t output = 0; output < context->output_count; ++output) {
    const rondo_rt_row *row = &context->rows[context->output_rows[output]];
    float *logits = context->logits + (uint64_t)output * STRIDE;
    for (uint32_t v = 0; v < VOCABULARY; ++v)
      logits[v] = -(float)((v * 7 + row->token * 3 + row->position) % 11);
    logits[script[row->position]] = row->token == NAN_TOKEN ? __builtin_nanf("") : 5.0f;
  }
}
"""
LINKER_SCRIPT = """
SECTIONS {
  . = 0;
  .image : { *(.head) *(.text .text.*) *(.rodata .rodata.*) }
  /DISCARD/ : { *(.comment) *(.note .note.*) *(.eh_frame) }
}
"""


def expected_logits(script: Sequence[int], tokens: Sequence[int]) -> np.ndarray:
    """What SOURCE computes, [positions, vocabulary]."""
    v, position = np.arange(VOCABULARY)[None, :], np.arange(len(tokens))[:, None]
    logits = -((v * 7 + np.asarray(tokens)[:, None] * 3 + position) % 11).astype(np.float32)
    logits[np.arange(len(tokens)), np.asarray(script)[: len(tokens)]] = 5
    return logits


def script_for(prompt_length: int, answer: bytes) -> list[int]:
    """A script that answers a prompt of so many tokens with `answer` and the stop token."""
    script = [ord("?")] * (prompt_length - 1) + [*answer, STOP]
    return script + [ord("!")] * (CONTEXT - len(script))


def write_bundle(
    path: Path,
    script: Sequence[int],
    *,
    tokenizer: bytes | None = None,
    template: str | None = None,
    spin: int = 0,
    nan_token: int = VOCABULARY,
    features: int = 0,
    changes: dict[str, Any] | None = None,
) -> Path:
    """Write a bundle that runs `script`; `changes` replaces keys of its manifest,
    `features` are the RONDO_RT_CPU_* bits that its code claims to need."""
    code = _compile(path.parent, script, {"SPIN": spin, "NAN_TOKEN": nan_token, "FEATURES": features})
    tensors = {"code.cpu": code, "schedule.executions": bytes(8) + b"\xff" * 4 + bytes(4)}
    if tokenizer is not None:
        tensors["tokenizer.json"] = tokenizer
    if template is not None:
        tensors["chat_template.jinja"] = template.encode()
    entry = int.from_bytes(code[32:40], "little")  # rondo_rt_code_header.entries
    manifest = _manifest(entry) | {"tokenizer": tokenizer is not None, "chat_template": template is not None}
    _write(path, tensors, manifest | (changes or {}))
    return path


def _compile(folder: Path, script: Sequence[int], settings: dict[str, int]) -> bytes:
    """The code image. Compiled twice, because the header holds its size."""
    compiler = shutil.which("cc") or shutil.which("clang")
    if compiler is None:
        pytest.skip("no C compiler to make a bundle by hand")
    (folder / "model.c").write_text(SOURCE)
    (folder / "model.ld").write_text(LINKER_SCRIPT)
    image = folder / "model.image"
    for _ in range(2):
        values = settings | {"SCRIPT": ",".join(map(str, script)), "STRIDE": LOGITS_STRIDE, "VOCABULARY": VOCABULARY}
        values["IMAGE_SIZE"] = image.stat().st_size if image.exists() else 0
        options = ["-O1", "-ffreestanding", "-fPIE", "-fno-stack-protector", "-fno-asynchronous-unwind-tables"]
        options += [
            "-nostdlib",
            "-static",
            "-Wl,--oformat=binary",
            "-Wl,--build-id=none",
            f"-Wl,-T,{folder / 'model.ld'}",
        ]
        options += [f"-I{ROOT / 'runtime' / 'include'}", *(f"-D{name}={value}" for name, value in values.items())]
        subprocess.run([compiler, *options, str(folder / "model.c"), "-o", str(image)], check=True)
    return image.read_bytes()


def _manifest(entry: int) -> dict[str, Any]:
    return {
        "format": 1,
        "abi": 2,
        "producer": "handmade_bundle.py",
        "target": {"kind": "cpu", "cpu": "any", "features": []},
        "architecture": "script",
        "name": "a <script>",
        "vocabulary": VOCABULARY,
        "context": CONTEXT,
        "sequences": 2,
        "rows": 8,
        "hidden": 16,
        "arena_bytes": 64,
        "scratch_bytes": 64,
        "logits_stride": LOGITS_STRIDE,
        "token_types": 0,
        "scope": "row",
        "outputs": [{"name": "logits", "width": VOCABULARY, "offset": 0, "first": False}],
        "kv": {
            "type": "f32",
            "slots": 1,
            "heads": 1,
            "head_dim": 16,
            "padded_head_dim": 16,
            "page_positions": 128,
            "page_bytes": 16384,
            "policy": "per-depth",
            "chunk_invariant": True,
        },  # fmt: skip
        "arithmetic": "exact",
        "weights": "f32",
        "stop_tokens": [STOP],
        "schedule": {
            "executions": 1,
            "visit_begin": [0, 1],
            "bodies": [{"name": "layer"}],
            "blocks": [{"name": "layer", "layers": 1, "visits": 1}],
            "unique_layers": 1,
            "executed_layers": 1,
            "depth": 1,
        },  # fmt: skip
        "entries": dict.fromkeys(("full", "prelude", "depth_step", "coda"), entry),
        "states": [],
        "inputs": [],
        "routing": [],
        "stages": [{"name": "layer.all", "executions": 1, "bytes": 0, "side_bytes": 0, "flops": 2000}],
        "trace": [],
        "weight_bytes": 0,
        "packing": [],
        "archives": [],
        "weightless": False,
        "trace_points": False,
    }


def _write(path: Path, tensors: dict[str, bytes], manifest: dict[str, Any]) -> None:
    """Lay the tensors out, with gaps as `pad.*`, and write header and data."""
    data, header, table = b"", {}, []
    for name, content in tensors.items():
        gap = -len(data) % (PAGE if name == "code.cpu" else ALIGNMENT)
        if gap:
            pads = sum(key.startswith("pad.") for key in header)
            header[f"pad.{pads}"] = _entry(len(data), gap)
            data += bytes(gap)
        header[name] = _entry(len(data), len(content))
        digest = xxhash.xxh3_128_hexdigest(content)
        table.append({"name": name, "offset": len(data), "bytes": len(content), "hash": digest})
        data += content
    text = json.dumps(manifest | {"tensors": table})
    metadata = {"rondo.manifest": text, "rondo.manifest_hash": xxhash.xxh3_128_hexdigest(text.encode())}
    head = json.dumps({"__metadata__": metadata} | header).encode()
    head += b" " * (-(8 + len(head)) % PAGE)
    path.write_bytes(len(head).to_bytes(8, "little") + head + data)


def _entry(offset: int, size: int) -> dict[str, Any]:
    return {"dtype": "U8", "shape": [size], "data_offsets": [offset, offset + size]}
