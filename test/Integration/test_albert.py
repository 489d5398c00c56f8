# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""ALBERT, from a checkpoint to its outputs: against the NumPy reference and the interpreter, and the same bits whoever
shares a step. A sequence is one step: what would cut it is refused.
"""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from conftest import Tools
from safetensors.numpy import load_file, save_file

from rondo.reference import load_model
from rondo.reference.inputs import Inputs

SEED = 29
VOCABULARY, POSITIONS, TYPES = 90, 150, 3
# The scale of heads of 16 is exact in f32, as which the module has it.
EMBEDDING, HIDDEN, WIDTH, HEADS = 40, 80, 100, 5
# Across the limit of few rows (8), a block of rows (48) and a KV page (128).
LENGTHS = [1, 7, 9, 48, 63, 129]
# Largest difference as a part of the largest value; both sides have the same f32 weights.
EXACT = 5e-6
F64 = 1e-12


@dataclass(frozen=True)
class Model:
    """What a checkpoint is like."""

    visits: int = 5
    groups: int = 1
    inner: int = 1
    activation: str = "gelu_new"
    head: bool = False
    pooler: bool = True


MODELS = {
    "encoder": Model(),
    "encoder-without-pooler-erf": Model(pooler=False, activation="gelu"),
    "head": Model(head=True, pooler=False),
    "head-and-pooler-groups-relu": Model(visits=7, groups=2, inner=2, activation="relu", head=True),
    "five-groups": Model(visits=12, groups=5),
}


def write_albert(folder: Path, model: Model, changes: dict | None = None) -> Path:
    """A Hugging Face folder of a small ALBERT with random f32 weights; `changes` to its configuration, None: remove."""
    rng = np.random.default_rng(SEED)
    folder.mkdir(parents=True, exist_ok=True)
    tensors: dict[str, np.ndarray] = {}

    def linear(name: str, rows: int, columns: int) -> None:
        tensors[f"{name}.weight"] = (rng.standard_normal((rows, columns)) * 1.5 / np.sqrt(columns)).astype(np.float32)
        tensors[f"{name}.bias"] = (0.3 * rng.standard_normal(rows)).astype(np.float32)

    def norm(name: str, width: int) -> None:
        tensors[f"{name}.weight"] = (1 + 0.2 * rng.standard_normal(width)).astype(np.float32)
        tensors[f"{name}.bias"] = (0.2 * rng.standard_normal(width)).astype(np.float32)

    prefix = "albert." if model.head else ""
    tables = {"word": VOCABULARY, "position": POSITIONS, "token_type": TYPES}
    for name, entries in tables.items():
        table = rng.standard_normal((entries, EMBEDDING)).astype(np.float32)
        tensors[f"{prefix}embeddings.{name}_embeddings.weight"] = table
    norm(f"{prefix}embeddings.LayerNorm", EMBEDDING)
    linear(f"{prefix}encoder.embedding_hidden_mapping_in", HIDDEN, EMBEDDING)
    for group in range(model.groups):
        for layer in range(model.inner):
            name = f"{prefix}encoder.albert_layer_groups.{group}.albert_layers.{layer}."
            for part in ("query", "key", "value", "dense"):
                linear(f"{name}attention.{part}", HIDDEN, HIDDEN)
            norm(f"{name}attention.LayerNorm", HIDDEN)
            linear(f"{name}ffn", WIDTH, HIDDEN)
            linear(f"{name}ffn_output", HIDDEN, WIDTH)
            norm(f"{name}full_layer_layer_norm", HIDDEN)
    if model.pooler:
        linear(f"{prefix}pooler", HIDDEN, HIDDEN)
    if model.head:
        linear("predictions.dense", EMBEDDING, HIDDEN)
        norm("predictions.LayerNorm", EMBEDDING)
        tensors["predictions.bias"] = rng.standard_normal(VOCABULARY).astype(np.float32)
        tensors["predictions.decoder.weight"] = tensors["albert.embeddings.word_embeddings.weight"]
        tensors["predictions.decoder.bias"] = tensors["predictions.bias"]
    save_file({name: value.copy() for name, value in tensors.items()}, folder / "model.safetensors")
    config = {
        "architectures": ["AlbertForMaskedLM" if model.head else "AlbertModel"], "model_type": "albert",
        "vocab_size": VOCABULARY, "max_position_embeddings": POSITIONS, "type_vocab_size": TYPES,
        "embedding_size": EMBEDDING, "hidden_size": HIDDEN, "intermediate_size": WIDTH, "num_attention_heads": HEADS,
        "num_hidden_layers": model.visits, "num_hidden_groups": model.groups, "inner_group_num": model.inner,
        "hidden_act": model.activation, "layer_norm_eps": 1e-12, "gap_size": 0, "net_structure_type": 0,
        "num_memory_blocks": 0, "down_scale_factor": 1, "hidden_dropout_prob": 0, "initializer_range": 0.02}
    config |= changes or {}
    (folder / "config.json").write_text(json.dumps({k: v for k, v in config.items() if v is not None}))
    return folder


def draw(lengths: list[int] = LENGTHS) -> tuple[list[list[int]], list[list[int]]]:
    """Tokens and their types."""
    rng = np.random.default_rng(SEED)
    return ([rng.integers(0, VOCABULARY, length).tolist() for length in lengths],
            [rng.integers(0, TYPES, length).tolist() for length in lengths])


def write_inputs(path: Path, sequences: list[list[int]], types: list[list[int]] | None = None) -> str:
    """The option of a tokens file."""
    path.write_text(json.dumps({"sequences": sequences} | ({"token_type_ids": types} if types else {})))
    return f"--tokens-file={path}"


def outputs(tools: Tools, bundle: Path, sequences: list[list[int]], types: list[list[int]] | None,
            *options: object) -> dict[str, np.ndarray]:
    """Everything that a bundle returns."""
    tokens = write_inputs(bundle.with_suffix(".json"), sequences, types)
    out = bundle.with_suffix(".logits")
    tools.run("rondo-run", bundle, tokens, f"--logits={out}", *options)
    return load_file(out)


def refuse(tools: Tools, program: str, *arguments: object) -> str:
    """What a program says that exits with status 1."""
    command = [str(tools.folder / program), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 1, f"{' '.join(command)}\n{done.stderr}{done.stdout}"
    return done.stderr


# --- Against the reference ------------------------------------------------------


@pytest.mark.parametrize("name", MODELS)
def test_equals_reference(tools: Tools, tmp_path: Path, name: str) -> None:
    model = write_albert(tmp_path / "model", MODELS[name])
    reference = load_model(model, np.float64)
    sequences, types = draw()
    bundle = tools.compile(model, tmp_path / "model.rondo", "--exact")
    got = outputs(tools, bundle, sequences, types)
    want = {f"{output}.{number}": value for number in range(len(sequences))
            for output, value in reference.outputs(Inputs(sequences, token_type_ids=types), number).items()}
    assert got.keys() == want.keys()
    for output, value in want.items():
        assert got[output].shape == value.shape
        assert np.abs(got[output] - value).max() <= EXACT * np.abs(value).max(), output


def test_types_are_zeros_where_none_are_given(tools: Tools, tmp_path: Path) -> None:
    bundle = tools.compile(write_albert(tmp_path / "model", Model()), tmp_path / "model.rondo")
    sequences, types = draw()
    zeros = [[0] * len(sequence) for sequence in sequences]
    plain, zero, other = (outputs(tools, bundle, sequences, given) for given in (None, zeros, types))
    assert all(np.array_equal(plain[name], zero[name]) for name in plain)
    assert not np.array_equal(plain["last_hidden_state.5"], other["last_hidden_state.5"])


@pytest.mark.parametrize("name", ["encoder", "head-and-pooler-groups-relu"])
def test_interpreter_equals_reference(tools: Tools, tmp_path: Path, name: str) -> None:
    """The module as imported, in f64; the interpreter gives the pooler's output for every row."""
    model = write_albert(tmp_path / "model", MODELS[name])
    reference = load_model(model, np.float64)
    module = tools.compile(model, tmp_path / "input.mlir", "--compile-to=input")
    sequences, types = draw([1, 9, 20])
    rows = {"tokens": np.concatenate(sequences), "token_types": np.concatenate(types),
            "sequences": np.repeat(range(3), [len(s) for s in sequences])}
    save_file({key: value.astype(np.int32) for key, value in rows.items()}, tmp_path / "in")
    tools.run("rondo-interp", module, f"--inputs={tmp_path / 'in'}", f"--outputs={tmp_path / 'out'}")
    got = load_file(tmp_path / "out")
    for number in range(3):
        expected = reference.outputs(Inputs(sequences, token_type_ids=types), number)
        for output, value in expected.items():
            own = got[output][rows["sequences"] == number]
            own = own[0] if value.ndim == 1 else own
            assert np.abs(own - value).max() < F64 * 100, output


# --- The same bits --------------------------------------------------------------


def as_bytes(tensors: dict[str, np.ndarray]) -> dict[str, bytes]:
    return {name: value.tobytes() for name, value in tensors.items()}


@pytest.mark.parametrize("mode", [("--weights=f32", "--exact"), ("--weights=bf16",), ("--weights=f16",)],
                         ids=lambda mode: mode[0][10:])
def test_same_bits_whoever_shares_a_step(tools: Tools, tmp_path: Path, mode: tuple[str, ...]) -> None:
    """Alone or in a batch of any order, in steps of any size that holds a sequence, with 1 or 2 threads, traced or not."""
    model = write_albert(tmp_path / "model", MODELS["head-and-pooler-groups-relu"])
    sequences, types = draw()
    bundle = tools.compile(model, tmp_path / "model.rondo", *mode)
    small = tools.compile(model, tmp_path / "small.rondo", *mode, "--rows=130", "--trace-points")
    want = as_bytes(outputs(tools, bundle, sequences, types, "--batch=one", "--threads=1"))
    for what, options in ((bundle, ["--threads=2"]), (bundle, ["--threads=1"]), (small, ["--threads=2"]),
                          (small, ["--threads=1", f"--trace={tmp_path / 'trace'}"])):
        assert as_bytes(outputs(tools, what, sequences, types, *options)) == want, (what.name, options)
    rng = np.random.default_rng(SEED)
    for _ in range(4):
        order = rng.permutation(len(sequences)).tolist()
        got = outputs(tools, bundle, [sequences[i] for i in order], [types[i] for i in order], "--threads=2")
        for place, number in enumerate(order):
            for output in ("logits", "pooler_output"):
                assert got[f"{output}.{place}"].tobytes() == want[f"{output}.{number}"], (order, output)


def test_same_bundle_from_every_phase(tools: Tools, tmp_path: Path) -> None:
    model = write_albert(tmp_path / "model", Model(visits=2))
    straight = tools.compile(model, tmp_path / "model.rondo", "-O0", f"--dump-phases={tmp_path / 'phases'}")
    for dump in sorted((tmp_path / "phases").glob("*.mlir")):
        again = tools.compile(dump, tmp_path / "again.rondo", "-O0", f"--archive={model / 'model.safetensors'}")
        assert again.read_bytes() == straight.read_bytes(), f"{dump.name} compiles to another bundle"


def test_visits_cost_no_code(tools: Tools, tmp_path: Path) -> None:
    """The loop over visits stays a loop, and groups share their code."""
    sizes = []
    for name, model in (("few", Model(visits=2)), ("many", Model(visits=60)), ("groups", Model(visits=60, groups=4))):
        bundle = tools.compile(write_albert(tmp_path / name, model), tmp_path / f"{name}.rondo")
        manifest = json.loads(tools.run("rondo-run", bundle, "--describe=json"))
        assert manifest["kv"]["slots"] == 1
        sizes.append(next(t["bytes"] for t in manifest["tensors"] if t["name"] == "code.cpu"))
    assert sizes[0] == sizes[1]
    assert sizes[2] <= sizes[1] * 1.1


# --- What is refused ------------------------------------------------------------


@pytest.fixture(scope="module")
def bundle(tools: Tools, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("albert")
    return tools.compile(write_albert(folder / "model", Model()), folder / "model.rondo", "--rows=20")


REFUSED_RUNS = [
    (["--generate=2"], "--generate: all positions of this model's sequences see each other, so that no token comes"),
    (["--chunk=2"], "--chunk: all positions of this model's sequences see each other, so that prompts cannot be cut"),
    (["--depthwise"], "--depthwise: all positions of this model's sequences see each other, so that its rows cannot"),
    (["--bench=prefill:4"], "--bench: this version measures decoders only"),
]


@pytest.mark.parametrize(("options", "message"), REFUSED_RUNS, ids=[options[0] for options, _ in REFUSED_RUNS])
def test_refused_runs(tools: Tools, bundle: Path, options: list[str], message: str) -> None:
    tokens = [] if options[0].startswith("--bench") else ["--tokens=1,2,3"]
    assert message in refuse(tools, "rondo-run", bundle, *tokens, *options)


def test_sequence_longer_than_a_step(tools: Tools, bundle: Path) -> None:
    tokens = "--tokens=" + ",".join(["1"] * 21)
    assert ("sequence 0: all positions of a sequence see each other and need one step, but there are 21 tokens and a "
            "step has 20 rows; compile with --rows=21 or give fewer tokens") in refuse(tools, "rondo-run", bundle, tokens)


REFUSED_TYPES = [
    ([[0, 1], [0]], "token_type_ids[0] has 2 types for 3 tokens; give one for each"),
    ([[0, 1, 0]], "token_type_ids must be an array of 2 arrays, one for each sequence"),
    ([[0, 1, 3], [0]], "token_type_ids[0] has type 3, the model knows types below 3"),
    ([[0, 1, -1], [0]], "token_type_ids[0][2] must be a token id, got -1"),
]


@pytest.mark.parametrize(("types", "message"), REFUSED_TYPES, ids=["short", "missing", "unknown", "negative"])
def test_refused_types(tools: Tools, bundle: Path, tmp_path: Path, types: list[list[int]], message: str) -> None:
    tokens = write_inputs(tmp_path / "tokens.json", [[1, 2, 3], [4]], types)
    assert message in refuse(tools, "rondo-run", bundle, tokens)


REFUSED_COMPILATIONS = [
    ({}, ["--context=151"], "looks positions up in 150 entries of 'embed_positions', but sequences may have 151; "
                            "compile with --context=150 or less"),
    ({}, ["--loop=0:0:2"], "--loop: the loops of ALBERT are those of its configuration; leave the option out"),
    ({}, ["--kv-policy=per-depth"], "--kv-policy=per-depth: ALBERT keeps no keys and values"),
    ({"hidden_act": None}, [], "required key 'hidden_act' is missing"),
    ({"hidden_act": "silu"}, [], "activation 'silu' of 'hidden_act' is not supported; known: gelu, gelu_new"),
    ({"num_hidden_groups": 6}, [], "'num_hidden_groups' is 6, expected at most 'num_hidden_layers' 5"),
    ({"num_attention_heads": 3}, [], "'hidden_size' is 80, expected a multiple of 'num_attention_heads' 3"),
    ({"position_embedding_type": "relative_key"}, [], "'position_embedding_type' is 'relative_key', only 'absolute'"),
    ({"tie_word_embeddings": False}, [], "'tie_word_embeddings' is false, but the head of ALBERT is its table"),
    ({"embedding_size": None}, [], "required key 'embedding_size' is missing"),
    ({"memory": 3}, [], "key 'memory' has the value 3, expected it to be absent"),
    ({"architectures": ["AlbertForPreTraining"]}, [], "expected 'AlbertForMaskedLM' or 'AlbertModel'"),
    ({"architectures": ["AlbertForMaskedLM"]}, [], "tensor 'predictions.dense.weight' of shape [40, 80] is missing"),
    ({"num_hidden_groups": 2}, [], "albert_layer_groups.1.albert_layers.0.attention.query.weight' of shape [80, 80] is"),
]


@pytest.mark.parametrize(("changes", "options", "message"), REFUSED_COMPILATIONS,
                         ids=[str(number) for number in range(len(REFUSED_COMPILATIONS))])
def test_refused_compilations(tools: Tools, tmp_path: Path, changes: dict, options: list[str], message: str) -> None:
    model = write_albert(tmp_path / "model", Model(), changes)
    assert message in refuse(tools, "rondoc", model, "-o", tmp_path / "model.rondo", *options)


def test_refused_copy_of_the_head(tools: Tools, tmp_path: Path) -> None:
    model = write_albert(tmp_path / "model", Model(head=True))
    tensors = load_file(model / "model.safetensors")
    tensors["predictions.decoder.bias"] += 1
    save_file(tensors, model / "model.safetensors")
    assert "'predictions.decoder.bias'" in (said := refuse(tools, "rondoc", model, "-o", tmp_path / "model.rondo"))
    assert "differs from 'predictions.bias', but both are the head's bias; remove the wrong one" in said


def test_class_by_tensors_where_the_configuration_is_silent(tools: Tools, tmp_path: Path) -> None:
    for name, head, said in (("with", True, "head: predictions.* are stored"),
                             ("without", False, "head: none, predictions.* are not stored")):
        model = write_albert(tmp_path / name, Model(head=head), {"architectures": None, "layer_norm_eps": None})
        log = tools.run("rondo-import", model, "--print=log")
        assert said in log
        assert "layer_norm_eps = 1e-12 (absent: the class's default)" in log
