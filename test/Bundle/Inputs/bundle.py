# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Writes bundles with rondo-bundle-test and reads them with the public safetensors package.

Checked against docs/Bundle.md: order, alignment, gaps, hashes, manifest; that two runs give the same bytes; and that the
weights in the file are those of the packed region.
"""

from __future__ import annotations

import argparse
import json
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
from packing import Case, Layout
from safetensors import safe_open

PLAN = """rondo.plan = {
  vocabulary = 70 : i64, token_types = 2 : i64, cohort = true, hidden = 64 : i64, arena_bytes = 640 : i64, scratch_bytes = 128 : i64,
  logits_stride = 96 : i64, arithmetic = "exact",
  kv = {slots = 2 : i64, heads = 1 : i64, head_dim = 32 : i64, padded_head_dim = 32 : i64, page_bytes = 65536 : i64,
        chunk_invariant = true},
  bodies = ["layer"], blocks = [{name = "layer", layers = 2 : i64, visits = 1 : i64}],
  unique_layers = 2 : i64, executed_layers = 2 : i64, depth = 1 : i64,
  outputs = [{name = "logits", width = 70 : i64, offset = 0 : i64, first = false}],
  states = [{offset = 0 : i64, row_bytes = 80 : i64}],
  inputs = [{name = "state", state = 0 : i64, width = 20 : i64, init = "normal", deviation = 0.63245553203367599 : f64}],
  routing = [],
  stages = [{name = "layer.\\22norm\\22", executions = 2 : i64, bytes = 64 : i64, side_bytes = 16 : i64, flops = 128 : i64}],
  trace = [{name = "layer", index = 0 : i64, width = 64 : i64, form = "rows"}]}"""
ATTRIBUTES = f"""rondo.phase = "target", rondo.architecture = "llama", rondo.name = "näme \\22quoted\\22",
rondo.kv_policy = "per-depth", rondo.stop_tokens = [2, 5],
rondo.archives = [{{name = "plain.safetensors", hash = ""}}],
rondo.options = {{context = 128 : i64, sequences = 2 : i64, rows = 8 : i64, kv = f32, arithmetic = "exact",
                  trace = false, weightless = WEIGHTLESS}},
rondo.target = {{kind = "cpu", cpu = "znver3", features = ["x86-64-v3"]}},
{PLAN}"""
SCHEDULE = "rondo_rt.schedule bodies [0, 0] layers [0, 1] sides [0, 0] slots [0, 1] traces [-1, 0] visits [0, 2]"


def make_case() -> Case:
    """Matrices of which some are interleaved by layer, and a vector."""
    case = Case(3)
    case.packed(["bf16"], "bf16", 64, [Layout("flat", 70)])
    case.packed(["bf16"] * 2, "q8_0", 64, [Layout("flat", 64)] * 2, layers=2, gap=64)
    case.vector("f32", Layout("flat", 64), 2)
    case.packed(["f32"], "f32", 64, [Layout("flat", 32)], gap=64)
    return case


def write_module(case: Case, folder: Path, weightless: bool) -> tuple[Path, list[Path]]:
    """Writes the module of `case` with everything a bundle needs."""
    module, archives = case.write(folder)
    attributes = ATTRIBUTES.replace("WEIGHTLESS", str(weightless).lower())
    body = "\n".join([SCHEDULE, *case.lines])
    module.write_text(f"module attributes {{{attributes}}} {{\n{body}\n}}\n")
    return module, archives


def run(module: Path, archives: list[Path], output: Path, *extra: str) -> bytes:
    """Writes a bundle and returns its bytes."""
    subprocess.run(
        ["rondo-bundle-test", "bundle", module, "-o", output, *extra, *[f"--archive={path}" for path in archives]],
        check=True,
    )
    return output.read_bytes()


def hash_of(data: bytes) -> str:
    """XXH3-128, if the xxhash package is there; else nothing is compared."""
    try:
        import xxhash
    except ImportError:
        return ""
    return xxhash.xxh3_128(data).hexdigest()


def check_frame(data: bytes, manifest: dict, names: list[str]) -> None:
    """Order, alignment, gaps and hashes of the tensors."""
    length = struct.unpack("<Q", data[:8])[0]
    start = 8 + length
    assert start % 4096 == 0
    text = data[8:start].decode()
    header = json.loads(text)
    assert text.startswith('{"__metadata__"') and text.rstrip(" ").endswith("}")
    end = gaps = 0
    first_weight = True
    for tensor in manifest["tensors"]:
        if tensor["offset"] > end:
            assert header[f"pad.{gaps}"]["data_offsets"] == [end, tensor["offset"]]
            assert not any(data[start + end : start + tensor["offset"]])
            gaps += 1
        weight = tensor["name"].startswith("weight.")
        alignment = 4096 if tensor["name"] == "code.cpu" else 2 << 20 if weight and first_weight else 64
        first_weight &= not weight
        assert (start + tensor["offset"]) % alignment == 0, tensor
        end = tensor["offset"] + tensor["bytes"]
        payload = data[start + tensor["offset"] : start + end]
        assert len(tensor["hash"]) == 32 and hash_of(payload) in ("", tensor["hash"]), tensor
        assert header[tensor["name"]] == {
            "dtype": "U8", "shape": [tensor["bytes"]], "data_offsets": [tensor["offset"], end]
        }  # fmt: skip
    assert start + end == len(data)
    assert sorted(names) == sorted(key for key in header if key != "__metadata__")


def check_manifest(manifest: dict) -> None:
    """Values that come from attributes and operations."""
    assert manifest["name"] == 'näme "quoted"' and manifest["stop_tokens"] == [2, 5]
    assert manifest["schedule"]["visit_begin"] == [0, 2] and manifest["weights"] == "q8_0"
    assert manifest["schedule"]["depth"] == 1
    assert manifest["scope"] == "cohort" and manifest["token_types"] == 2
    assert manifest["outputs"] == [{"name": "logits", "width": 70, "offset": 0, "first": False}]
    assert manifest["states"] == [{"offset": 0, "row_bytes": 80}]
    drawn = {"init": "normal", "deviation": 0.63245553203367599}
    assert manifest["inputs"] == [{"name": "state", "state": 0, "width": 20} | drawn]
    assert manifest["stages"][0]["name"] == 'layer."norm"'
    assert manifest["entries"] == {"full": 64, "prelude": 128, "depth_step": 192, "coda": 256}
    assert manifest["kv"]["type"] == "f32" and manifest["kv"]["policy"] == "per-depth"
    for entry in manifest["packing"]:
        assert entry["entries"] in (1, 2) and entry["offset"] % 64 == 0
        assert entry["bytes"] == entry["entries"] * entry["entry_stride"]
    names = [entry["name"] for entry in manifest["packing"]]
    assert names == [tensor["name"] for tensor in manifest["tensors"] if tensor["name"].startswith("weight.")]
    assert sum(name.endswith((".0", ".1")) for name in names) == 2


def main() -> int:
    """Writes and reads one bundle with weights and one without."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    case = make_case()
    module, archives = write_module(case, folder, weightless=False)
    output = folder / "model.rondo"
    data = run(module, archives, output, "--tokenizer={}")
    assert data == run(module, archives, folder / "again.rondo", "--tokenizer={}", "--pack-threads=1")
    with safe_open(output, "np") as file:
        metadata = file.metadata()
        names = list(file.keys())
        manifest = json.loads(metadata["rondo.manifest"])
        assert hash_of(metadata["rondo.manifest"].encode()) in ("", metadata["rondo.manifest_hash"])
        region = np.zeros(manifest["weight_bytes"], np.uint8)
        for entry in manifest["packing"]:
            region[entry["offset"] : entry["offset"] + entry["bytes"]] = file.get_tensor(entry["name"])
        executions = file.get_tensor("schedule.executions").view("<u4").reshape(-1, 4)
        assert executions.tolist() == [[0, 0, 0xFFFFFFFF, 0], [1 << 16, 1 << 16, 0, 0]]
        assert file.get_tensor("tokenizer.json").tobytes() == b"{}"
    assert (region == case.region).all()
    check_frame(data, manifest, names)
    check_manifest(manifest)

    module, _ = write_module(case, folder, weightless=True)
    run(module, [], output, "--weightless")
    with safe_open(output, "np") as file:
        bare = json.loads(file.metadata()["rondo.manifest"])
        assert not any(name.startswith("weight.") for name in file.keys())
    assert bare["weightless"] and bare["packing"] == manifest["packing"]
    assert not list(folder.glob("*.tmp"))
    print(f"bundle of {len(data)} bytes reads as written")
    return 0


if __name__ == "__main__":
    sys.exit(main())
