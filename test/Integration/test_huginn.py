# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Huginn compiled: against the NumPy model, in every way to cut the work, at every depth, and what is refused.

The oracle cases (scripts/oracles.py) compare with the authors' code; here are drawn states, storage types, promises of
equal bits, the command line, and the interpreter.
"""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ROOT, Tools, write_llama
from gguf import GGMLQuantizationType, quants
from safetensors.numpy import load_file, save_file

from rondo.reference import Loop, load_model
from rondo.reference.initial_state import Given, Seeded

CASE = ROOT / "test" / "oracles" / "huginn" / "given_state"  # 2 layers of prelude, 4 of core, 2 of coda, width 40
WIDTH, VISITS = 40, 3
LENGTHS = [1, 9, 50, 127]
TOLERANCE = 4e-5  # of the largest logit: what the oracle case allows for f32 against f64


def prompts() -> list[list[int]]:
    rng = np.random.default_rng(17)
    return [rng.integers(0, 256, length).tolist() for length in LENGTHS]


def worst(got: list[np.ndarray], want: list[np.ndarray]) -> float:
    return max(float(np.abs(a - b).max() / np.abs(b).max()) for a, b in zip(got, want, strict=True))


def same_bits(got: list[np.ndarray], want: list[np.ndarray]) -> bool:
    return all(a.tobytes() == b.tobytes() for a, b in zip(got, want, strict=True))


@pytest.fixture(scope="module")
def bundle(tools: Tools, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tools.compile(CASE, tmp_path_factory.mktemp("huginn") / "model.rondo", "--exact")


@pytest.fixture(scope="module")
def traced(tools: Tools, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tools.compile(CASE, tmp_path_factory.mktemp("huginn") / "traced.rondo", "--exact", "--trace-points")


def edited(folder: Path, changes: dict[str, Any], tensors: dict[str, np.ndarray | None] | None = None) -> Path:
    """A copy of the case with other keys and tensors; None removes one."""
    shutil.copytree(CASE, folder, copy_function=shutil.copyfile)
    config = json.loads((CASE / "config.json").read_text()) | changes
    (folder / "config.json").write_text(json.dumps({k: v for k, v in config.items() if v is not None}))
    stored = load_file(CASE / "model.safetensors") | (tensors or {})
    save_file({k: v for k, v in stored.items() if v is not None}, folder / "model.safetensors")
    return folder


# Tests drawn states of two seeds and every depth.
def test_equals_reference(tools: Tools, bundle: Path) -> None:
    model = load_model(CASE, np.float64)
    for seed in (0, 5):
        seeded = model.with_initial_state(Seeded(seed, WIDTH, model.deviation))
        for depth in range(1, VISITS + 1):
            want = [seeded.with_steps(depth).logits(tokens) for tokens in prompts()]
            assert worst(tools.logits(bundle, prompts(), f"--seed={seed}", f"--depth={depth}"), want) < TOLERANCE


def write_huginn(folder: Path, seed: int) -> Path:
    """Random weights, sizes that every type of storage can have, and another number of layers in each part."""
    hidden, wide, heads, vocabulary = 64, 96, 4, 160
    rng = np.random.default_rng(seed)

    def matrix(*shape: int) -> np.ndarray:
        return (rng.standard_normal(shape) / np.sqrt(shape[-1])).astype(np.float32)

    def norm() -> np.ndarray:
        return (1 + 0.2 * rng.standard_normal(hidden)).astype(np.float32)

    tensors = {"transformer.wte.weight": matrix(vocabulary, hidden), "transformer.ln_f.weight": norm(),
               "transformer.adapter.weight": matrix(hidden, 2 * hidden)}
    counts = {"prelude": 1, "core_block": 2, "coda": 3}
    for part, count in counts.items():
        for index in range(count):
            name = f"transformer.{part}.{index}."
            tensors |= {f"{name}norm_{i}.weight": norm() for i in range(1, 5)}
            tensors |= {
                name + "attn.Wqkv.weight": matrix(3 * hidden, hidden), name + "attn.proj.weight": matrix(hidden, hidden),
                name + "attn.qk_bias": matrix(2, 1, heads, hidden // heads),
                name + "mlp.fc.weight": matrix(2 * wide, hidden), name + "mlp.proj.weight": matrix(hidden, wide)}
    folder.mkdir()
    save_file(tensors, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({
        "model_type": "huginn_raven", "architectures": ["RavenForCausalLM"], "n_embd": hidden, "n_heads": heads,
        "intermediate_size": wide, "vocab_size": vocabulary, "block_size": 512, "norm_eps": 1e-6,
        "tie_embeddings": True, "mean_recurrence": 3, "n_layers_in_prelude": 1, "n_layers_in_recurrent_block": 2,
        "n_layers_in_coda": 3}))
    return folder


# Tests types of storage against the reference on weights that are rounded to them, and the default arithmetic, which
# also rounds activations, K and V.
@pytest.mark.parametrize(("storage", "loose"), [("bf16", 0.05), ("f16", 0.02), ("q8_0", 0.1), ("q4_0", 0.1)])
def test_other_storage(tools: Tools, tmp_path: Path, storage: str, loose: float) -> None:
    model = write_huginn(tmp_path / "model", seed=23)
    kind = GGMLQuantizationType[storage.upper()]
    tensors = load_file(model / "model.safetensors")
    rounded = Path(shutil.copytree(model, tmp_path / "rounded"))
    save_file({name: quants.dequantize(quants.quantize(value, kind), kind) if value.ndim == 2 else value
               for name, value in tensors.items()}, rounded / "model.safetensors")
    tokens = [[token % 160 for token in prompt] for prompt in prompts()]
    reference = load_model(rounded, np.float64)
    want = [reference.logits(prompt) for prompt in tokens]
    for options, tolerance in ((["--exact"], TOLERANCE), ([], loose)):
        bundle = tools.compile(model, tmp_path / "model.rondo", f"--weights={storage}", *options)
        assert worst(tools.logits(bundle, tokens), want) < tolerance, f"{storage} {options}, seed 23"


# Tests all ways to cut the work, also at a depth below the compiled one.
@pytest.mark.parametrize("depth", [[], ["--depth=2"]], ids=["whole", "2"])
def test_same_bits(tools: Tools, bundle: Path, traced: Path, tmp_path: Path, depth: list[str]) -> None:
    want = tools.logits(bundle, prompts(), "--batch=one", "--threads=1", *depth)
    for options in (["--threads=2", "--oversubscribe"], ["--chunk=1"], ["--chunk=13"], ["--depthwise"],
                    ["--depthwise", "--chunk=7"]):
        assert same_bits(tools.logits(bundle, prompts(), *options, *depth), want), options
    assert same_bits(tools.logits(traced, prompts(), *depth), want)
    assert same_bits(tools.logits(traced, prompts(), f"--trace={tmp_path / 'trace'}", *depth), want)
    tokens = [prompt[:20] for prompt in prompts()]
    once = tools.generate(bundle, tokens, 12, *depth)
    for options in (["--recompute"], ["--batch=one"], ["--depthwise"]):
        assert tools.generate(bundle, tokens, 12, *options, *depth) == once


@pytest.mark.parametrize("level", [0, 1])
def test_optimization_changes_rounding_only(tools: Tools, bundle: Path, tmp_path: Path, level: int) -> None:
    other = tools.compile(CASE, tmp_path / "model.rondo", "--exact", f"-O{level}")
    assert worst(tools.logits(other, prompts()), tools.logits(bundle, prompts())) < TOLERANCE


# Tests that fewer visits of a deeper bundle are those of a shallower one.
def test_maximum_depth(tools: Tools, bundle: Path, tmp_path: Path) -> None:
    deep = tools.compile(CASE, tmp_path / "deep.rondo", "--exact", "--loop=2:5:7")
    want = tools.logits(bundle, prompts())
    assert same_bits(tools.logits(deep, prompts(), "--depth=3"), want)
    reference = load_model(CASE, np.float64).with_steps(7)
    assert worst(tools.logits(deep, prompts()), [reference.logits(tokens) for tokens in prompts()]) < TOLERANCE
    out = tools.run("rondo-run", deep, "--tokens=1,2", "--generate=2", "--depth=4", "--output=json", "--stop=")
    assert json.loads(out)["sequences"][0]["depths"] == [4, 4]


# Tests that the code does not grow with the number of visits.
def test_code_does_not_grow(tools: Tools, tmp_path: Path) -> None:
    def code_bytes(visits: int) -> int:
        bundle = tools.compile(CASE, tmp_path / f"{visits}.rondo", "--exact", f"--loop=2:5:{visits}")
        manifest = json.loads(tools.run("rondo-run", bundle, "--describe=json"))
        return next(t["bytes"] for t in manifest["tensors"] if t["name"] == "code.cpu")

    # Offsets are part of the code, and some instructions are longer for large ones.
    assert abs(code_bytes(2) - code_bytes(200)) < 1024


# Tests that the adapter's product with the prelude's output leaves the loop, and that the loop stays one.
def test_injection_leaves_the_loop(tools: Tools, tmp_path: Path) -> None:
    text = tools.run("rondoc", CASE, "--compile-to=rondo", "-o", "-")
    before, loop = text[text.index("func.func @model") :].split("rondo.loop %d to 3", 1)
    assert "[@adapter.injected]" in before and "[@adapter.injected]" not in loop
    assert "[@adapter.state]" in loop
    plain = tools.run("rondoc", CASE, "--compile-to=rondo", "-O0", "-o", "-")
    assert "[@adapter.injected]" in plain[plain.index("func.func @model") :].split("rondo.loop %d to 3", 1)[1]


@pytest.mark.parametrize("phase", ["input", "rondo"])
def test_interpreter(tools: Tools, bundle: Path, tmp_path: Path, phase: str) -> None:
    dump = tmp_path / "model.mlir"
    tools.run("rondoc", CASE, "--exact", f"--compile-to={phase}", "-o", dump)
    tokens = prompts()[1]
    state = np.random.default_rng(4).standard_normal((len(tokens), WIDTH)).astype(np.float32)
    save_file({"initial_state": state, "tokens": np.array(tokens, np.int32)}, tmp_path / "in")
    tools.run("rondo-interp", dump, f"--archive={CASE / 'model.safetensors'}", f"--inputs={tmp_path / 'in'}",
              f"--outputs={tmp_path / 'out'}")
    want = load_file(tmp_path / "out")["logits"]
    reference = load_model(CASE, np.float64).with_initial_state(Given(state))
    assert np.abs(want - reference.logits(tokens)).max() < 1e-5  # frequencies of rope are f32 in one of them
    save_file({"initial_state": state}, tmp_path / "state")
    got = tools.logits(bundle, [tokens], f"--inputs={tmp_path / 'state'}")
    assert worst(got, [want]) < TOLERANCE


# Tests depths of a tokens file: what they write, and that each is what --depth gives.
def test_num_steps(tools: Tools, traced: Path, tmp_path: Path) -> None:
    sequences = prompts()[:2]
    (tmp_path / "in.json").write_text(json.dumps({"sequences": sequences, "num_steps": [3, 1]}))
    files = [f"--logits={tmp_path / 'logits'}", f"--trace={tmp_path / 'trace'}"]
    tools.run("rondo-run", traced, f"--tokens-file={tmp_path / 'in.json'}", *files)
    trace = load_file(tmp_path / "trace")
    logits = load_file(tmp_path / "logits")
    for depth in (1, 3):
        want = tools.logits(traced, sequences, f"--depth={depth}", f"--trace={tmp_path / 'one'}")
        one = load_file(tmp_path / "one")
        assert {name for name in one if name.startswith("hidden.0.")} == {f"hidden.0.{r}" for r in range(depth)}
        for s in range(2):
            assert trace[f"logits_at_steps.{s}.{depth}"].tobytes() == want[s].tobytes()
            assert trace[f"latent_at_steps.{s}.{depth}"].tobytes() == one[f"latent.{s}"].tobytes()
            assert depth == 1 or logits[f"logits.{s}"].tobytes() == want[s].tobytes()


# Tests depths of other looped models.
def test_depth_of_loops(tools: Tools, tmp_path: Path) -> None:
    model = write_llama(tmp_path / "llama", layers=4)
    tokens = [prompt[:40] for prompt in prompts()]
    tokens = [[t % 160 for t in prompt] for prompt in tokens]
    bundle = tools.compile(model, tmp_path / "loop.rondo", "--exact", "--loop=1:2:4")
    for depth in (1, 2, 3, 4):
        reference = load_model(model, np.float64, [Loop.parse(f"1:2:{depth}")])
        want = [reference.logits(prompt) for prompt in tokens]
        assert worst(tools.logits(bundle, tokens, f"--depth={depth}"), want) < TOLERANCE
    for loops, reason in [(["--loop=0:0:2", "--loop=2:2:3"], "it has several loops"), ([], "it visits every layer once")]:
        other = tools.compile(model, tmp_path / "other.rondo", *loops)
        with pytest.raises(AssertionError, match=f"--depth: the depth of this model cannot be chosen: {reason}"):
            tools.logits(other, tokens, "--depth=2")


@pytest.mark.parametrize("case", ["loops2", "loops3_skip_norm", "loopsplit_share_kv"])
def test_depth_of_nanbeige(tools: Tools, tmp_path: Path, case: str) -> None:
    source = ROOT / "test" / "oracles" / "nanbeige" / case
    bundle = tools.compile(source, tmp_path / "model.rondo", "--exact")
    whole = tools.logits(bundle, [[1, 2, 3, 4]])
    depth = json.loads(tools.run("rondo-run", bundle, "--describe=json"))["schedule"]["depth"]
    assert same_bits(tools.logits(bundle, [[1, 2, 3, 4]], f"--depth={depth}"), whole)
    shallow = tools.logits(bundle, [[1, 2, 3, 4]], f"--depth={depth - 1}")
    if case == "loopsplit_share_kv":  # layers, not visits, are what its configuration counts
        assert not same_bits(shallow, whole) and np.isfinite(shallow[0]).all()
        return
    folder = tmp_path / "shallow"
    shutil.copytree(source, folder, copy_function=shutil.copyfile)
    config = json.loads((source / "config.json").read_text()) | {"num_loops": depth - 1}
    (folder / "config.json").write_text(json.dumps(config))
    want = tools.logits(tools.compile(folder, tmp_path / "shallow.rondo", "--exact"), [[1, 2, 3, 4]])
    assert worst(shallow, want) == 0


def test_run_time_refusals(tools: Tools, bundle: Path, tmp_path: Path) -> None:
    def fails(content: dict[str, Any], *options: str) -> str:
        (tmp_path / "in.json").write_text(json.dumps({"sequences": [[1, 2]]} | content))
        with pytest.raises(AssertionError) as failure:
            tools.run("rondo-run", bundle, f"--tokens-file={tmp_path / 'in.json'}", *options)
        return str(failure.value)

    assert "num_steps: depth 4 is not within 1 to 3" in fails({"num_steps": [4]})
    assert "num_steps must be numbers of visits of at least 1, got 0" in fails({"num_steps": [0]})
    assert "says the depths by 'num_steps' already" in fails({"num_steps": [2]}, "--depth=2")
    assert "--depth: depth 9 is not within 1 to 3, which the model is compiled for" in fails({}, "--depth=9")
    assert "'initial_state' is a tensor; give the safetensors file that has it by --inputs=FILE" in fails(
        {"initial_state": "row t"})
    save_file({"initial_state": np.zeros((2, WIDTH), np.float32)}, tmp_path / "two")
    assert "comes to position 2, input 'initial_state' has rows for 2 positions" in fails(
        {}, f"--inputs={tmp_path / 'two'}", "--generate=3", "--stop=")


# Tests what may be absent or present without another model.
def test_same_model(tools: Tools, bundle: Path, tmp_path: Path) -> None:
    table = load_file(CASE / "model.safetensors")["transformer.wte.weight"]
    absent = dict.fromkeys(["rope_base", "qk_bias", "num_key_value_heads", "padded_vocab_size", "head_dim"])
    folder = edited(tmp_path / "model", absent, {"freqs_cis": None, "lm_head.weight": table})
    log = tools.run("rondoc", folder, "--check")
    assert "rope_base = 50000 (absent: as the authors' class)" in log
    assert "qk_bias = true (absent: as the authors' class)" in log
    other = tools.compile(folder, tmp_path / "model.rondo", "--exact")
    assert same_bits(tools.logits(other, prompts()), tools.logits(bundle, prompts()))


def test_untied_without_bias(tools: Tools, tmp_path: Path) -> None:
    weights = load_file(CASE / "model.safetensors")
    tensors = dict.fromkeys(name for name in weights if name.endswith("qk_bias"))
    tensors["lm_head.weight"] = 2 * weights["transformer.wte.weight"]
    changes = {"tie_embeddings": False, "qk_bias": False, "init_values": None}
    folder = edited(tmp_path / "model", changes, tensors)
    bundle = tools.compile(folder, tmp_path / "model.rondo", "--exact")
    want = [load_model(folder, np.float64).logits(tokens) for tokens in prompts()]
    assert worst(tools.logits(bundle, prompts()), want) < TOLERANCE


REFUSED = [
    ({"block_class_name": "TransformerPreNormBlock"}, "'block_class_name' is 'TransformerPreNormBlock', which is not "),
    ({"injection_type": "add"}, "'injection_type' is 'add', which is not supported; known: linear"),
    ({"test_time_noise": 0.1}, "key 'test_time_noise' has the value 0.1"),
    ({"bias": True}, "key 'bias' has the value true"),
    ({"n_layers": 9}, "'n_layers' is 9, but other keys say 8; correct the wrong one"),
    ({"head_dim": 12}, "'head_dim' is 12, but other keys say 10"),
    ({"num_key_value_heads": 2}, "'num_key_value_heads' is 2, but other keys say 4"),
    ({"n_heads": 3, "head_dim": None}, "'n_embd' is 40, expected an even multiple of the 3 'n_heads'"),
    ({"tie_embeddings": None}, "required key 'tie_embeddings' is missing"),
    ({"tie_embeddings": False}, "tensor 'lm_head.weight' of shape [256, 40] is missing"),
    ({"mean_recurrence": 0}, "key 'mean_recurrence' has the value 0, expected an integer from 1 to 65535"),
    ({"n_layers_in_prelude": 0}, "key 'n_layers_in_prelude' has the value 0"),
    ({"padded_vocab_size": 9}, "'padded_vocab_size' is 9, below 'vocab_size' 256"),
    ({"qk_bias": False}, "the configuration has no place for 8 tensors of the checkpoint"),
    ({"init_values": {"std": 0.1, "gain": 2}}, "key 'gain' has the value 2"),
]


@pytest.mark.parametrize("changes, message", REFUSED, ids=[" ".join(changes) for changes, _ in REFUSED])
def test_refused_configurations(tools: Tools, tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    folder = edited(tmp_path / "model", changes)
    with pytest.raises(AssertionError, match=re.escape(message)):
        tools.run("rondoc", folder, "--check")


# Tests the authors' cache with one slot for each layer of the core, which every visit overwrites. Their arithmetic of
# slots supposes a prelude of two layers: with the one of `zeros_state` it keeps a slot more for the first core layer.
@pytest.mark.parametrize("policy", ["final-shared", "modulo:1"])
def test_compressed_cache_equals_the_authors(tools: Tools, tmp_path: Path, policy: str) -> None:
    greedy = json.loads((CASE / "greedy.json").read_text())
    bundle = tools.compile(CASE, tmp_path / "m.rondo", "--exact", f"--kv-policy={policy}", "--force-kv-policy")
    for run in greedy["runs"]:
        want = run["with_cache_compress_s4"]
        assert want != run["with_cache"]
        new = tools.generate(bundle, [run["prompt"]], greedy["new_tokens"], f"--inputs={CASE / 'inputs.safetensors'}")
        assert new == [want]


# Tests that slots enough for all visits are no compression.
def test_wide_modulo_is_per_depth(tools: Tools, bundle: Path, tmp_path: Path) -> None:
    wide = tools.compile(CASE, tmp_path / "m.rondo", "--exact", f"--kv-policy=modulo:{VISITS}", "--force-kv-policy")
    assert same_bits(tools.logits(wide, prompts()), tools.logits(bundle, prompts()))


def test_refused_tensors_and_options(tools: Tools, tmp_path: Path) -> None:
    table = load_file(CASE / "model.safetensors")["transformer.wte.weight"]
    other = edited(tmp_path / "tied", {}, {"lm_head.weight": 2 * table})
    name = "transformer.core_block.1.attn.proj.weight"
    half = edited(tmp_path / "half", {}, {name: load_file(CASE / "model.safetensors")[name].astype(np.float16)})
    for folder, options, message in [
        (other, [], "differs from 'transformer.wte.weight', but it is tied by the configuration"),
        (half, [], "are of layers that share their code and must have one type; convert the checkpoint so"),
        (CASE, ["--loop=0:1:2"], "--loop can only change how often the core runs; give --loop=2:5:3 with another"),
        (CASE, ["--loop=2:5:20000"], "must visit its layers at least once and run at most 65535 layers"),
        (CASE, ["--kv-policy=first-step", "--force-kv-policy"], "KV policy 'first-step' is not supported for this "
         "family, whose visits are all alike; use per-depth, final-shared or modulo:S"),
    ]:
        with pytest.raises(AssertionError, match=re.escape(message)):
            tools.run("rondoc", folder, "--check", *options)


def test_description(tools: Tools, bundle: Path) -> None:
    text = tools.run("rondo-run", bundle, "--describe")
    assert re.search(r"^input +initial_state, 40 numbers a position, normal unless given$", text, re.MULTILINE)
