# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The reference interpreter: against what others computed, and as the judge of compiled models and of passes.

Interpreted in f64 a module has no rounding to speak of. So passes that only move work must not change a result beyond
the last digits of f64, and a compiled model may differ by the rounding of its arithmetic alone.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT, Tools, write_llama
from gguf import GGMLQuantizationType, GGUFWriter, quants
from safetensors.numpy import load_file, save_file
from test_hand_typed_block import MODULE, make_weights, reference
from test_side_parameters import MODULE as SIDE_MODULE
from test_side_parameters import make_weights as make_side_weights
from test_side_parameters import reference as side_reference

from rondo.reference import load_model

SEED = 5
ORACLES = sorted(path.parent for family in ("llama", "nanbeige")
                 for path in (ROOT / "test" / "oracles" / family).glob("*/config.json"))
# Absolute, logits reach about 40: far more than two orders of summing in f64 differ by, or an eps in f32 makes.
F64 = 1e-9
# The reference's rotary frequencies are f64, those of a module f32.
FREQUENCIES = 5e-6
# As a part of the largest logit: what f32 arithmetic costs.
F32 = 3e-6

Tensors = dict[str, np.ndarray]


class Interpreter:
    """Runs modules in a folder."""

    def __init__(self, tools: Tools, folder: Path) -> None:
        self.tools, self.folder = tools, folder

    def run(self, module: Path, inputs: Tensors, *options: object) -> Tensors:
        """What the interpreter makes of some inputs."""
        save_file(inputs, self.folder / "inputs.safetensors")
        outputs = self.folder / "outputs.safetensors"
        self.tools.run("rondo-interp", module, f"--inputs={self.folder / 'inputs.safetensors'}",
                       f"--outputs={outputs}", *options)
        return load_file(outputs)

    def sequences(self, module: Path, sequences: list[list[int]], *options: object) -> list[Tensors]:
        """All outputs of each sequence, from one step of all rows."""
        lengths = [len(tokens) for tokens in sequences]
        outputs = self.run(module, {
            "tokens": np.concatenate(sequences).astype(np.int32),
            "sequences": np.repeat(np.arange(len(sequences)), lengths).astype(np.int32)}, *options)
        ends = np.cumsum(lengths)
        return [{name: value[end - length:end] for name, value in outputs.items()}
                for length, end in zip(lengths, ends, strict=True)]

    def logits(self, module: Path, sequences: list[list[int]], *options: object) -> list[np.ndarray]:
        return [outputs["logits"] for outputs in self.sequences(module, sequences, *options)]


@pytest.fixture
def interpreter(tools: Tools, tmp_path: Path) -> Interpreter:
    return Interpreter(tools, tmp_path)


def largest_difference(got: list[np.ndarray], want: list[np.ndarray]) -> float:
    return max(float(np.abs(a - b).max()) for a, b in zip(got, want, strict=True))


def draw_sequences(vocabulary: int, lengths: tuple[int, ...] = (1, 7, 20)) -> list[list[int]]:
    rng = np.random.default_rng(SEED)
    return [rng.integers(0, vocabulary, length).tolist() for length in lengths]


# --- Against what others computed ----------------------------------------------


@pytest.mark.parametrize("case", ORACLES, ids=lambda case: f"{case.parent.name}-{case.name}")
def test_equals_oracle(tools: Tools, interpreter: Interpreter, tmp_path: Path, case: Path) -> None:
    tools.compile(case, tmp_path / "input.mlir", "--compile-to=input")
    sequences = json.loads((case / "inputs.json").read_text())["sequences"]
    expected = load_file(case / "expected.safetensors")
    tolerance = json.loads((case / "tolerance.json").read_text())["fair_tolerance"]
    compared = set()
    for number, found in enumerate(interpreter.sequences(tmp_path / "input.mlir", sequences)):
        for name, value in found.items():
            kind, _, index = name.partition(".")
            # Oracles number what is there several times: `layer.SEQUENCE.EXECUTION`.
            key = f"{kind}.{number}" + (f".{index}" if kind in ("layer", "hidden") else "")
            if key in expected:
                assert np.abs(value - expected[key]).max() <= tolerance, key
                compared.add(key)
    assert compared == set(expected)


@pytest.mark.parametrize("case", ORACLES, ids=lambda case: f"{case.parent.name}-{case.name}")
def test_equals_reference(tools: Tools, interpreter: Interpreter, tmp_path: Path, case: Path) -> None:
    tools.compile(case, tmp_path / "input.mlir", "--compile-to=input")
    sequences = json.loads((case / "inputs.json").read_text())["sequences"]
    model = load_model(case, np.float64)
    difference = largest_difference(interpreter.logits(tmp_path / "input.mlir", sequences),
                                    [model.logits(tokens) for tokens in sequences])
    assert difference < FREQUENCIES


def test_hand_typed_block_equals_numpy(interpreter: Interpreter, tmp_path: Path) -> None:
    weights = make_weights()
    save_file(weights, tmp_path / "weights.safetensors")
    sequences = draw_sequences(96, (1, 6, 50))
    got = interpreter.logits(MODULE, sequences, f"--archive={tmp_path / 'weights.safetensors'}")
    want = [reference(tokens, weights) for tokens in sequences]
    assert min(np.abs(logits).max() for logits in want) > 5
    assert largest_difference(got, want) < F64


def test_side_parameters_equal_numpy(interpreter: Interpreter, tmp_path: Path) -> None:
    weights = make_side_weights()
    save_file(weights, tmp_path / "weights.safetensors")
    sequences = draw_sequences(96, (1, 6, 50))
    got = interpreter.logits(SIDE_MODULE, sequences, f"--archive={tmp_path / 'weights.safetensors'}")
    want = [side_reference(tokens, weights) for tokens in sequences]
    assert min(np.abs(logits).max() for logits in want) > 5
    assert largest_difference(got, want) < F64


def test_f32_is_close(interpreter: Interpreter, tmp_path: Path) -> None:
    save_file(make_weights(), tmp_path / "weights.safetensors")
    archive = f"--archive={tmp_path / 'weights.safetensors'}"
    sequences = draw_sequences(96)
    wide = interpreter.logits(MODULE, sequences, archive)
    single = interpreter.logits(MODULE, sequences, archive, "--precision=f32")
    assert {logits.dtype for logits in single} == {np.dtype(np.float32)}
    difference = largest_difference(single, wide)
    assert 0 < difference < F32 * max(np.abs(logits).max() for logits in wide)


# --- Rows, steps and storage ----------------------------------------------------


def test_steps_do_not_matter(tools: Tools, interpreter: Interpreter, tmp_path: Path) -> None:
    """Token by token, on the caches of the steps before, as in one step."""
    tools.compile(write_llama(tmp_path / "model", seed=SEED), tmp_path / "input.mlir", "--compile-to=input",
                  "--loop=0:1:2")
    tokens = np.array([3, 5, 8, 13, 21, 34, 55], np.int32)
    sequences = np.array([0, 1, 0, 0, 1, 0, 1], np.int32)
    inputs = {"tokens": tokens, "sequences": sequences}
    together = interpreter.run(tmp_path / "input.mlir", inputs)
    alone = interpreter.run(tmp_path / "input.mlir", {**inputs, "steps": np.arange(7, dtype=np.int32)})
    assert together.keys() == alone.keys()
    assert len(together) > 3
    for name, value in together.items():
        assert np.array_equal(value, alone[name]), name


@pytest.mark.parametrize("storage", ["F16", "BF16", "Q8_0", "Q4_0", "Q4_1"])
def test_archive_types(interpreter: Interpreter, tmp_path: Path, storage: str) -> None:
    """Weights that a GGUF file stores in any type are those that its own library reads."""
    rng = np.random.default_rng(SEED)
    weights = rng.standard_normal((6, 64)).astype(np.float32)
    kind = GGMLQuantizationType[storage]
    stored = quants.quantize(weights, kind)
    writer = GGUFWriter(tmp_path / "weights.gguf", "llama")
    writer.add_tensor("w", stored, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    element = storage.lower() if "F" in storage else f"!rondo.{storage.lower()}"
    (tmp_path / "linear.mlir").write_text(f"""
        rondo.param @w : tensor<6x64x{element}> from ["w"]
        func.func @product(%x: tensor<?x64xf32>) -> tensor<?x6xf32> {{
          %y = rondo.linear %x, [@w] : tensor<?x64xf32> -> tensor<?x6xf32>
          return %y : tensor<?x6xf32>
        }}""")
    x = rng.standard_normal((3, 64))
    got = interpreter.run(tmp_path / "linear.mlir", {"x": x}, f"--archive={tmp_path / 'weights.gguf'}",
                          "--entry=product")["0"]
    assert np.abs(got - x @ quants.dequantize(stored, kind).astype(np.float64).T).max() < 1e-12


# --- Compiled models ------------------------------------------------------------


def compile_and_interpret(tools: Tools, interpreter: Interpreter, source: Path,
                          options: list[str]) -> tuple[list[np.ndarray], Path, list[list[int]], str]:
    """Logits of the compiled model, its module at phase `rondo`, the sequences, and the option of the archive."""
    save_file(make_weights(), interpreter.folder / "weights.safetensors")
    archive = f"--archive={interpreter.folder / 'weights.safetensors'}"
    options = [archive, "--kv=f32", *options]
    bundle = tools.compile(source, interpreter.folder / "model.rondo", *options)
    module = tools.compile(source, interpreter.folder / "rondo.mlir", *options, "--compile-to=rondo")
    sequences = draw_sequences(96, (1, 6, 50, 129))
    return tools.logits(bundle, sequences), module, sequences, archive


def part_of_reach(got: list[np.ndarray], want: list[np.ndarray]) -> float:
    return largest_difference(got, want) / max(float(np.abs(logits).max()) for logits in want)


@pytest.mark.parametrize("weights", ["f32", "bf16", "f16", "q8_0", "q4_0", "q4_1"])
def test_compiled_equals_interpreted(tools: Tools, interpreter: Interpreter, weights: str) -> None:
    got, module, sequences, archive = compile_and_interpret(tools, interpreter, MODULE,
                                                            ["--exact", f"--weights={weights}"])
    assert part_of_reach(got, interpreter.logits(module, sequences, archive)) < F32


# A number that f32 sums a little differently may round to the next bf16, which has 8 bits, or to the next code; with
# one visit it does not grow.
@pytest.mark.parametrize(("weights", "tolerance"), [("bf16", 2e-4), ("q8_0", 1e-5), ("q4_0", 1e-5), ("q4_1", 1e-5)])
def test_fast_modes(tools: Tools, interpreter: Interpreter, tmp_path: Path, weights: str, tolerance: float) -> None:
    """The modes are interpreted by what they do to activations: exact activations would be far off."""
    source = tmp_path / "once.mlir"
    source.write_text(MODULE.read_text().replace("rondo.loop %d to 5", "rondo.loop %d to 1"))
    got, module, sequences, archive = compile_and_interpret(tools, interpreter, source, [f"--weights={weights}"])
    assert part_of_reach(got, interpreter.logits(module, sequences, archive)) < tolerance
    exact = tmp_path / "exact.mlir"
    exact.write_text(re.sub(r"arithmetic\(\w+\)", "arithmetic(exact)", module.read_text()))
    assert part_of_reach(got, interpreter.logits(exact, sequences, archive)) > 5 * tolerance


# --- Passes ---------------------------------------------------------------------


def unroll(text: str) -> str:
    """The hand-typed model with its five visits spelled out."""
    begin, end = text.index("    %y:2 = rondo.loop"), text.index("    %s = arith.addf %y#0")
    visits, before = [], ("%x", "%x")
    for visit in range(5):
        point = f"layer(0) side({visit}) slot({2 * visit})"
        visits.append(f"    %v{visit}:2 = rondo.apply @step({', '.join(before)}) {point} : "
                      "(tensor<?x64xf32>, tensor<?x64xf32>) -> (tensor<?x64xf32>, tensor<?x64xf32>)\n")
        before = (f"%v{visit}#0", f"%v{visit}#1")
    return text[:begin] + "".join(visits) + text[end:].replace("%y#0, %y#1", "%v4#0, %v4#1")


def add_invariant(text: str) -> str:
    """Adds to each visit what no visit changes."""
    visit = "      %z:2 = rondo.apply @step(%a, %b)"
    constant = ("      %c = rondo.norm rms %x eps 1.0e-5 : tensor<?x64xf32>\n"
                "      %u = arith.addf %b, %c : tensor<?x64xf32>\n")
    return text.replace(visit, constant + visit.replace("%b", "%u"))


def add_trace(text: str) -> str:
    end = "    rondo.yield %a2, %b2"
    return text.replace(end, f'    rondo.trace "state" %a2 : tensor<?x64xf32>\n{end}')


def number_of(pattern: str) -> Callable[[str], int]:
    return lambda text: len(re.findall(pattern, text))


# Pass, what the module is made to give it work, what to count, and the counts before and after.
PASSES = [
    ("rondo-verify-kv-policy", str, number_of("rondo.apply"), 1, 1),
    ("rondo-strip-trace", add_trace, number_of("rondo.trace"), 1, 0),
    ("rondo-reroll-layers", unroll, number_of("rondo.apply"), 5, 1),
    ("rondo-hoist-depth-invariants", add_invariant, number_of("(?s)rondo.loop.*rondo.norm.*rondo.apply"), 1, 0),
    ("rondo-select-arithmetic", str, number_of(r"arithmetic\(exact\)"), 0, 9),
    ("rondo-fuse-projections", str, number_of("rondo.linear"), 9, 5),
    ("rondo-rondo-pipeline", lambda text: add_trace(add_invariant(text)), number_of("rondo.trace"), 1, 0),
    ("rondo-rondo-pipeline", unroll, number_of("rondo.loop"), 0, 1),
]


@pytest.mark.parametrize(("name", "prepare", "count", "before", "after"), PASSES,
                         ids=[f"{name}-{i}" for i, (name, *_) in enumerate(PASSES)])
def test_pass_keeps_the_meaning(tools: Tools, interpreter: Interpreter, tmp_path: Path, name: str,
                                prepare: Callable[[str], str], count: Callable[[str], int], before: int,
                                after: int) -> None:
    save_file(make_weights(), tmp_path / "weights.safetensors")
    archive = f"--archive={tmp_path / 'weights.safetensors'}"
    source, target = tmp_path / "before.mlir", tmp_path / "after.mlir"
    source.write_text(prepare(MODULE.read_text()))
    tools.run("rondo-opt", source, f"--{name}", "-o", target)
    assert (count(source.read_text()), count(target.read_text())) == (before, after), "the pass had no work"
    sequences = draw_sequences(96)
    want = interpreter.logits(source, sequences, archive)
    assert min(np.abs(logits).max() for logits in want) > 1
    assert largest_difference(interpreter.logits(target, sequences, archive), want) < F64


@pytest.mark.parametrize("name", ["rondo-lower-lora", "rondo-rondo-pipeline"])
def test_pass_keeps_side_parameters(tools: Tools, interpreter: Interpreter, tmp_path: Path, name: str) -> None:
    save_file(make_side_weights(), tmp_path / "weights.safetensors")
    archive = f"--archive={tmp_path / 'weights.safetensors'}"
    lowered = tmp_path / "lowered.mlir"
    tools.run("rondo-opt", SIDE_MODULE, f"--{name}", "-o", lowered)
    assert "#rondo.lora" in SIDE_MODULE.read_text()
    assert "#rondo.lora" not in lowered.read_text()
    sequences = draw_sequences(96)
    want = interpreter.logits(SIDE_MODULE, sequences, archive)
    assert largest_difference(interpreter.logits(lowered, sequences, archive), want) < F64


def test_merging_deltas_keeps_the_meaning(tools: Tools, interpreter: Interpreter, tmp_path: Path) -> None:
    """Merged matrices are rounded to f32, the type that they are stored as."""
    save_file(make_side_weights(), tmp_path / "weights.safetensors")
    archive = f"--archive={tmp_path / 'weights.safetensors'}"
    source, merged = tmp_path / "source.mlir", tmp_path / "merged.mlir"
    source.write_text(SIDE_MODULE.read_text().replace("attributes {", 'attributes {rondo.options = {lora = "merge"}, ', 1))
    tools.run("rondo-opt", source, "--rondo-merge-lora", "-o", merged)
    assert "lora [" not in merged.read_text()
    sequences = draw_sequences(96)
    want = interpreter.logits(source, sequences, archive)
    difference = largest_difference(interpreter.logits(merged, sequences, archive), want)
    assert 0 < difference < F32 * max(np.abs(logits).max() for logits in want)


@pytest.mark.parametrize("options", [[], ["-O0"], ["--trace-points"]], ids=["O3", "O0", "traces"])
def test_phase_keeps_the_meaning(tools: Tools, interpreter: Interpreter, tmp_path: Path, options: list[str]) -> None:
    """An imported looped model with biases, before and after all of phase `rondo`."""
    model = write_llama(tmp_path / "model", seed=SEED, biases=True, layers=3)
    loop = ["--exact", "--loop=1:2:3"]
    source = tools.compile(model, tmp_path / "input.mlir", *loop, "--compile-to=input")
    target = tools.compile(model, tmp_path / "rondo.mlir", *loop, *options, "--compile-to=rondo")
    sequences = draw_sequences(160)
    want, got = (interpreter.sequences(module, sequences) for module in (source, target))
    for expected, found in zip(want, got, strict=True):
        assert len(found) > 1 if "--trace-points" in options else found.keys() == {"logits"}
        for name, value in found.items():
            assert np.abs(value - expected[name]).max() < F64, name
