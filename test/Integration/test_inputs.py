# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Inputs beside tokens, typed by hand: rows that are given, zeros, and rows drawn from a seed, to the bit.

The model returns its input times the identity, so that logits are the rows that the runtime filled in.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from conftest import Tools
from safetensors.numpy import load_file, save_file

from rondo.reference.initial_state import Seeded, unit

WIDTH = 40
DEVIATION = 0.75
MODULE = """
module attributes {{rondo.phase = "input", rondo.kv_policy = "per-depth", rondo.trained_kv = ["per-depth"],
                   rondo.context_limit = 64 : i64}} {{
  rondo.param @table : tensor<{width}x{width}xf32> from ["table"]
  rondo.param @one : tensor<{width}x{width}xf32> from ["one"]
  func.func @model(%tokens: tensor<?xi32>, %s: tensor<?x{width}xf32> {{rondo.input = #rondo.input<"state", {init}>}})
      -> tensor<?x{width}xf32> {{
    %x = rondo.embed %tokens, @table : tensor<?xi32> -> tensor<?x{width}xf32>
    %z = rondo.scale %x by 0.0 : tensor<?x{width}xf32>
    %h = rondo.loop %d to 1 carries(%c = %s) : tensor<?x{width}xf32> {{
      %a = arith.addf %c, %z : tensor<?x{width}xf32>
      rondo.yield %a : tensor<?x{width}xf32>
    }}
    %l = rondo.linear %h, [@one] : tensor<?x{width}xf32> -> tensor<?x{width}xf32>
    return %l : tensor<?x{width}xf32>
  }}
}}
"""
NORMAL = f"init = normal, deviation = {DEVIATION}"
SEQUENCES = [[1, 2, 3, 4, 5, 6, 7], [3], [9] * 30]
# As docs/Inputs.md gives them.
LOWEST, HIGHEST = float.fromhex("0x1.61de1f985b5d7p-10"), float.fromhex("0x1.ff4f10f033d25p-1")
MIDDLE = ([2509.0809287301227, 33430.57558358813, 67265.7709270087, 45921.95393154987, 13731.69376550946,
           1971.5909503065514, 133.14166789178438, 3.3871328727963665],
          [5226.495278852854, 28729.085735721943, 39307.89580009271, 21213.794301586597, 5394.1960214247511,
           687.1870074920579, 42.31333070160091, 1.0])
TAIL = ([7.745450142783414e-04, 0.022723844989269184, 0.2417807251774506, 1.2704582524523684, 3.6478483247632045,
         5.769497221460691, 4.630337846156546, 1.4234371107496835],
        [1.0507500716444169e-09, 0.0005475938084995345, 0.015198666563616457, 0.14810397642748008,
         0.6897673349851, 1.6763848301838038, 2.053191626637759, 1.0])


def inverse(p: float) -> float:
    q = p - 0.5
    if abs(q) <= 0.425:
        return horner(MIDDLE[0], 0.180625 - q * q) * q / horner(MIDDLE[1], 0.180625 - q * q)
    r = math.sqrt(-math.log(p if q <= 0 else 1 - p)) - 1.6
    return math.copysign(horner(TAIL[0], r) / horner(TAIL[1], r), q)


def horner(coefficients: list[float], x: float) -> float:
    value = coefficients[0]
    for coefficient in coefficients[1:]:
        value = value * x + coefficient
    return value


def drawn(seed: int, positions: int) -> np.ndarray:
    u = unit(seed, np.arange(positions)[:, None], np.arange(WIDTH)[None, :])
    rows = [[DEVIATION * inverse(LOWEST + float(value) * (HIGHEST - LOWEST)) for value in row] for row in u]
    return np.array(rows, np.float32)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "w.safetensors"
    save_file({"table": np.eye(WIDTH, dtype=np.float32), "one": np.eye(WIDTH, dtype=np.float32)}, path)
    return path


def compile_module(tools: Tools, tmp_path: Path, weights: Path, init: str) -> Path:
    source = tmp_path / "model.mlir"
    source.write_text(MODULE.format(width=WIDTH, init=init))
    return tools.compile(source, tmp_path / "model.rondo", f"--archive={weights}", "--exact")


def give(path: Path, rows: np.ndarray, name: str = "state") -> str:
    save_file({name: rows}, path)
    return f"--inputs={path}"


@pytest.mark.parametrize("seed", [0, 7, 2**64 - 1])
def test_drawn_rows_to_the_bit(tools: Tools, tmp_path: Path, weights: Path, seed: int) -> None:
    bundle = compile_module(tools, tmp_path, weights, NORMAL)
    want = drawn(seed, 30)
    assert np.abs(want).max() < 3 * DEVIATION
    for options in (["--threads=2", "--oversubscribe"], ["--threads=3", "--oversubscribe", "--chunk=3"],
                    ["--batch=one", "--threads=1"], ["--depthwise"]):
        for got, tokens in zip(tools.logits(bundle, SEQUENCES, f"--seed={seed}", *options), SEQUENCES, strict=True):
            assert got.tobytes() == want[: len(tokens)].tobytes()
    reference = Seeded(seed, WIDTH, DEVIATION)(np.arange(30), np.dtype(np.float32))
    np.testing.assert_array_max_ulp(want, reference, maxulp=1)


def test_zeros_and_given_rows(tools: Tools, tmp_path: Path, weights: Path) -> None:
    rows = np.random.default_rng(2).standard_normal((30, WIDTH)).astype(np.float32)
    for init in ("init = zeros", "init = given", NORMAL):
        bundle = compile_module(tools, tmp_path, weights, init)
        file = give(tmp_path / "in.safetensors", rows)
        for got, tokens in zip(tools.logits(bundle, SEQUENCES, file), SEQUENCES, strict=True):
            assert got.tobytes() == rows[: len(tokens)].tobytes()
    bundle = compile_module(tools, tmp_path, weights, "init = zeros")
    assert not tools.logits(bundle, [[1, 2]])[0].any()


def test_what_is_wrong_with_inputs(tools: Tools, tmp_path: Path, weights: Path) -> None:
    bundle = compile_module(tools, tmp_path, weights, "init = given")
    rows = np.ones((4, WIDTH), np.float32)
    damaged = tmp_path / "damaged"
    give(damaged, rows)
    header = damaged.read_bytes()
    damaged.write_bytes(header.replace(b"[0,640]", b"[0,644]"))
    (tmp_path / "text").write_text("no tensors")
    (tmp_path / "json").write_bytes((8).to_bytes(8, "little") + b"{nothing")
    for options, message in [
        ([], "model needs the input 'state', of which nobody gives rows"),
        ([give(tmp_path / "a", rows)], "sequence 0 comes to position 4, input 'state' has rows for 4 positions"),
        ([give(tmp_path / "b", rows[:, 1:].copy())], "has rows of 39 numbers, the model takes 40"),
        ([give(tmp_path / "c", rows, "mood")], "model takes no input 'mood', beside tokens it takes 'state'"),
        ([give(tmp_path / "d", rows.astype(np.float16))], "has a tensor 'state' of type \"F16\" and shape [4,40]"),
        ([give(tmp_path / "e", rows[0])], "and shape [40]; inputs are F32 [positions, width]"),
        ([f"--inputs={damaged}"], "does not lie inside of the file as its shape says"),
        ([f"--inputs={tmp_path / 'text'}"], "is not a safetensors file"),
        ([f"--inputs={tmp_path / 'json'}"], "has a damaged header"),
        ([f"--inputs={tmp_path / 'missing'}"], "cannot read"),
        (["--depth=2"], "--depth: the depth of this model cannot be chosen: it visits every layer once"),
    ]:
        with pytest.raises(AssertionError) as failure:
            tools.logits(bundle, [[1, 2, 3, 4, 5]], *options)
        assert message in str(failure.value)


def test_interpreter(tools: Tools, tmp_path: Path, weights: Path) -> None:
    source = tmp_path / "model.mlir"
    rows = np.random.default_rng(3).standard_normal((3, WIDTH)).astype(np.float32)
    tokens = {"tokens": np.array([1, 2, 3], np.int32)}

    def interpret(init: str, tensors: dict[str, np.ndarray]) -> np.ndarray:
        source.write_text(MODULE.format(width=WIDTH, init=init))
        save_file(tokens | tensors, tmp_path / "in")
        tools.run("rondo-interp", source, f"--archive={weights}", f"--inputs={tmp_path / 'in'}",
                  f"--outputs={tmp_path / 'out'}")
        return load_file(tmp_path / "out")["logits"]

    assert np.array_equal(interpret("init = given", {"state": rows}), rows)
    assert np.array_equal(interpret("init = zeros", {"state": rows}), rows)
    assert not interpret("init = zeros", {}).any()
    with pytest.raises(AssertionError, match="argument 1 has no input; put a tensor called 'state' or 's' or '1'"):
        interpret(NORMAL, {})


# Tests that a dump whose inputs were changed by hand is refused.
@pytest.mark.parametrize("change", [("state = 0", "state = 77"), ('input = #rondo.input<"state", init = zeros>', "input = 3")])
def test_changed_dump(tools: Tools, tmp_path: Path, weights: Path, change: tuple[str, str]) -> None:
    source = tmp_path / "model.mlir"
    source.write_text(MODULE.format(width=WIDTH, init="init = zeros"))
    dump = tmp_path / "tiled.mlir"
    tools.run("rondoc", source, f"--archive={weights}", "--compile-to=tiled", "-o", dump)
    text = dump.read_text()
    assert text.count(change[0]) >= 1
    line = next(line for line in text.splitlines() if "rondo_rt.inputs" in line)
    dump.write_text(text.replace(line, line.replace(*change)))
    with pytest.raises(AssertionError, match="'rondo_rt.inputs' expected an input with a state that a body reads"):
        tools.compile(dump, tmp_path / "model.rondo", f"--archive={weights}")
