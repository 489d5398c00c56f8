# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Making models recursive: what is decided, what is computed, and what comes out."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from conftest import ORACLES
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from rondo.convert import families, low_rank
from rondo.convert.errors import ConversionError
from rondo.convert.layout import arrange, entries, shared_tensors
from rondo.convert.numbers import decode, encode
from rondo.convert.plan import INITIALIZATIONS, Plan, block_sources
from rondo.convert.recursive import Options, convert
from rondo.convert.source import open_source
from rondo.convert.writer import Entry, SafetensorsWriter
from rondo.reference import CheckpointError, Loop, load_model
from rondo.reference.sharing import KINDS, Sharing

TOKENS = [5, 17, 120, 3, 99, 8]
ALL = 1 << 20  # a rank that is cut down to the sides of every matrix
SHARED = ORACLES / "rrt_init" / "share_6layers"


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing takes most of a small conversion's time; test_convert_report.py looks at pictures."""
    monkeypatch.setattr("rondo.convert.heat_map.write_heat_map", lambda report, path: None)


def converted(source: Path, target: Path, *, sharing: str = "cycle", visits: int = 2, **options: Any) -> Path:
    """The folder that a conversion writes."""
    options.setdefault("initialization", "average")
    convert(open_source(source), target, Options(sharing, visits, **options))
    return target


def tensors(folder: Path) -> dict[str, np.ndarray]:
    return load_file(folder / "model.safetensors")


def variants(name: str) -> list[Any]:
    """Conversions that the authors' code made, as pytest parameters."""
    case = ORACLES / "rrt_init" / name
    found = json.loads((case / "inputs.json").read_text())["variants"]
    return [pytest.param(case, variant, id=variant["name"]) for variant in found]


# --- Plan -------------------------------------------------------------------------------------------------------------


# Tests the published examples of stepwise: ends included, halves to the even side.
@pytest.mark.parametrize(
    "layers, visits, expected",
    [
        (6, 2, [0, 2, 5]),
        (18, 2, [0, 2, 4, 6, 8, 11, 13, 15, 17]),
        (18, 3, [0, 3, 7, 10, 14, 17]),
        (22, 2, [0, 2, 4, 6, 8, 10, 13, 15, 17, 19, 21]),
        (16, 2, [0, 2, 4, 6, 9, 11, 13, 15]),
        (3, 3, [0]),
    ],
)
def test_stepwise(layers: int, visits: int, expected: list[int]) -> None:
    assert block_sources(Sharing("cycle", layers, visits), "stepwise") == expected
    assert block_sources(Sharing("sequence", layers, visits), "stepwise") == expected


# Tests the other copies, and that the middle sharings draw from the layers between the first and the last.
def test_block_sources() -> None:
    assert block_sources(Sharing("cycle", 6, 2), "lower") == [0, 1, 2]
    assert block_sources(Sharing("cycle", 6, 2), "upper") == [3, 4, 5]
    middle = Sharing("middle_cycle", 8, 2)
    assert [block_sources(middle, name) for name in ("stepwise", "lower", "upper")] == [[1, 4, 6], [1, 2, 3], [4, 5, 6]]
    with pytest.raises(
        ConversionError, match="initialization 'average' copies no layers; known: stepwise, lower, upper"
    ):
        block_sources(middle, "average")


# Tests what each stored layer is made of, the unshared ones among them.
def test_sources() -> None:
    def sources(kind: str, layers: int, initialization: str) -> list[tuple[int, ...]]:
        sharing = Sharing(kind, layers, 2)
        plan = Plan(sharing, initialization, "shared", 0, (), 1.0)
        return [plan.sources(layer) for layer in range(sharing.stored)]

    assert sources("cycle", 6, "average") == [(0, 3), (1, 4), (2, 5)]
    assert sources("sequence", 6, "average") == [(0, 1), (2, 3), (4, 5)]
    assert sources("middle_cycle", 6, "average") == [(0,), (1, 3), (2, 4), (5,)]
    assert sources("middle_sequence", 6, "upper") == [(0,), (3,), (4,), (5,)]


# Tests the number of parameters in the deltas of Gemma 2B as published: 78.4, 156.9, 313.8 and 606.3 millions.
@pytest.mark.parametrize("rank, millions", [(64, 78.4), (128, 156.9), (256, 313.8), (512, 606.3)])
def test_deltas_of_gemma_2b(rank: int, millions: float) -> None:
    gemma = families.family("gemma")
    shapes = {"q": (2048, 2048), "k": (256, 2048), "v": (256, 2048), "o": (2048, 2048)}
    shapes |= {"gate": (16384, 2048), "up": (16384, 2048), "down": (2048, 16384)}
    modules = {gemma.matrices[name]: shape for name, shape in shapes.items()} | dict.fromkeys(gemma.norms, (2048,))
    stored = {name: (256000, 2048) for name in gemma.globals}
    stored |= {f"model.layers.{i}.{module}.weight": shape for i in range(18) for module, shape in modules.items()}
    fake = {name: SimpleNamespace(name=name, kind="BF16", shape=shape) for name, shape in stored.items()}
    plan = Plan(Sharing("cycle", 18, 2), "average", "shared", rank, gemma.modules(()), 1.0)
    layout = arrange(fake, 18, gemma)
    deltas = [
        entry for entry in entries(layout, list(shared_tensors(layout, plan, gemma, "F32"))) if "lora_" in entry.name
    ]
    assert len(deltas) == 18 * 7 * 2
    assert round(sum(math.prod(entry.shape) for entry in deltas) / 1e6, 1) == millions


# --- Arithmetic -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "shape, rank", [((40, 24), 5), ((24, 40), 5), ((30, 30), 30), ((1500, 33), 33), ((7, 2000), 7)]
)
def test_truncated(shape: tuple[int, int], rank: int) -> None:
    matrix = np.random.default_rng(1).normal(size=shape).astype(np.float32)
    b, a = low_rank.truncated(matrix, rank)
    u, s, vt = np.linalg.svd(matrix.astype(np.float64), full_matrices=False)
    assert (b.shape, a.shape) == ((shape[0], rank), (rank, shape[1]))
    np.testing.assert_allclose(np.linalg.norm(b, axis=0), s[:rank], rtol=1e-5)
    np.testing.assert_allclose(b @ a, (u[:, :rank] * s[:rank]) @ vt[:rank], rtol=0, atol=1e-9)
    np.testing.assert_allclose(a @ a.T, np.eye(rank), rtol=0, atol=1e-12)


# Tests values spread over six orders of magnitude, of which the Gram matrix squares the distance.
def test_truncated_with_small_singular_values() -> None:
    generator = np.random.default_rng(2)
    u, v = (np.linalg.qr(generator.normal(size=(n, 20)))[0] for n in (60, 45))
    matrix = ((u * 10.0 ** -np.linspace(0, 6, 20)) @ v.T).astype(np.float32)
    expected = np.linalg.svd(matrix.astype(np.float64), compute_uv=False)
    for value in (matrix, np.ascontiguousarray(matrix.T)):
        b, a = low_rank.truncated(value, 20)
        np.testing.assert_allclose(np.linalg.norm(b, axis=0), expected[:20], rtol=1e-5)
        assert np.max(np.abs(b @ a - value)) < 1e-7


# Tests a matrix of lower rank than asked for: the rows of A are orthonormal all the same.
@pytest.mark.parametrize("shape", [(12, 9), (9, 12)])
def test_truncated_beyond_the_rank(shape: tuple[int, int]) -> None:
    generator = np.random.default_rng(3)
    matrix = np.outer(generator.normal(size=shape[0]), generator.normal(size=shape[1])).astype(np.float32)
    b, a = low_rank.truncated(matrix, 6)
    np.testing.assert_allclose(a @ a.T, np.eye(6), rtol=0, atol=1e-12)
    np.testing.assert_allclose(b @ a, matrix, rtol=0, atol=1e-6)


def test_frobenius() -> None:
    values = np.random.default_rng(4).normal(size=(3000, 5)).astype(np.float32)
    assert low_rank.frobenius(values) == pytest.approx(np.linalg.norm(values.astype(np.float64)), rel=1e-12)
    assert low_rank.frobenius(values[:, 0]) == pytest.approx(np.linalg.norm(values[:, 0].astype(np.float64)), rel=1e-12)


# Tests that bf16 is rounded once: 1 + 2^-8 lies between two bf16 numbers, and float32 hides on which side a sum lies.
def test_bf16_rounds_once() -> None:
    def rounded(*values: float) -> list[float]:
        return decode(encode(np.array(values), "BF16"), "BF16").tolist()

    middle, step = 1 + 2.0**-8, 2.0**-7
    assert rounded(middle, middle + 1e-12, middle - 1e-12) == [1.0, 1 + step, 1.0]
    assert rounded(middle + step, middle + step - 1e-12, -middle - 1e-12) == [1 + 2 * step, 1 + step, -1 - step]
    assert rounded(0.0, -2.5, 3e38) == [0.0, -2.5, float(decode(encode(np.float32([3e38]), "BF16"), "BF16")[0])]
    assert math.isnan(rounded(math.nan)[0]) and rounded(math.inf) == [math.inf]


@pytest.mark.parametrize("kind", ["F32", "F16", "BF16"])
def test_numbers_survive(kind: str) -> None:
    raw = np.random.default_rng(5).integers(0, 255, 4096, dtype=np.uint8).tobytes()
    values = decode(raw, kind)
    again = decode(encode(values, kind), kind)
    assert values.size == 4096 // {"F32": 4, "F16": 2, "BF16": 2}[kind]
    assert np.array_equal(values, again, equal_nan=True)


# Tests the file that grows tensor by tensor: room for those that may come, none for one that was not announced.
def test_writer(tmp_path: Path) -> None:
    one, two = Entry("one", "F32", (2,)), Entry("two", "BF16", (3,))
    with SafetensorsWriter(tmp_path / "x", [one, two]) as writer:
        writer.add(one, [b"\0\0\x80\x3f", b"\0\0\0\x40"])
        assert writer.size % 64 == 8
        with pytest.raises(ValueError, match="'one'.* was not announced, or is there already"):
            writer.add(one, [])
        with pytest.raises(ValueError, match="'three'.* was not announced"):
            writer.add(Entry("three", "F32", (1,)), [b"1234"])
    assert load_file(tmp_path / "x")["one"].tolist() == [1.0, 2.0]
    with (
        pytest.raises(ValueError, match="'two'.* has 6 bytes, got 1"),
        SafetensorsWriter(tmp_path / "y", [two]) as writer,
    ):
        writer.add(two, [b"1"])


# --- Against the authors' code ----------------------------------------------------------------------------------------


def options_of(variant: dict[str, Any]) -> dict[str, Any]:
    lora = variant.get("lora")
    targets = {"q_proj": "q", "k_proj": "k", "v_proj": "v", "o_proj": "o", "gate_proj": "gate", "up_proj": "up"}
    targets["down_proj"] = "down"
    return {
        "sharing": variant["sharing"],
        "visits": variant["num_recursion"],
        "initialization": variant["initialization"],
        "rank": lora["r"] if lora else 0,
        "targets": tuple(targets[name] for name in lora["target_modules"]) if lora else (),
    }


# Tests logits of the converted model, averaged weights, and products and singular values of deltas.
@pytest.mark.parametrize("case, variant", [*variants("share_6layers"), *variants("svd_lora")])
def test_authors_conversion(tmp_path: Path, case: Path, variant: dict[str, Any]) -> None:
    folder = converted(case, tmp_path / "r", **options_of(variant))
    found, model = tensors(folder), load_model(folder)
    tolerance = json.loads((case / "tolerance.json").read_text())["fair_tolerance"]
    sequences = json.loads((case / "inputs.json").read_text())["sequences"]
    checked = 0
    for name, want in load_file(case / "variants.safetensors").items():
        if not name.startswith(f"{variant['name']}/"):
            continue
        kind, *rest = name.partition("/")[2].split(".")
        checked += 1
        if kind == "logits":
            np.testing.assert_allclose(model.logits(sequences[int(rest[0])]), want, rtol=0, atol=tolerance)
        elif kind == "model":
            place = model.sharing.place(int(rest[1]))
            np.testing.assert_allclose(
                found[".".join(["model.layers", str(place.layer), *rest[2:]])], want, rtol=0, atol=1e-6
            )
        elif kind.startswith("lora_"):
            check_delta(found, model.sharing, kind, rest, want)
        else:
            raise AssertionError(name)
    assert checked > 1


def check_delta(found: dict[str, np.ndarray], sharing: Sharing, kind: str, rest: list[str], want: np.ndarray) -> None:
    place = sharing.place(int(rest[0]))
    linear = f"model.layers.{place.layer}.{'.'.join(rest[1:])}"
    a, b = (found.get(f"{linear}.lora_{factor}.{place.depth}.weight") for factor in "AB")
    if kind == "lora_product":
        assert (a is None) == (not want.any())
        if a is not None:
            np.testing.assert_allclose(b @ a, want, rtol=0, atol=1e-5)
    elif kind == "lora_singular_values" and a is not None:
        sizes = np.linalg.norm(b.astype(np.float64), axis=0)
        np.testing.assert_allclose(sizes, want[: len(sizes)], rtol=0, atol=1e-5)
    elif kind == "lora_scale":
        assert want.tolist() == [1.0]


# --- What a conversion keeps ------------------------------------------------------------------------------------------

EXACT_CASES = [
    (source, sharing, 2, initialization)
    for source in (SHARED, ORACLES / "gemma" / "mqa")
    for sharing in KINDS
    for initialization in INITIALIZATIONS
]


def with_layers(source: Path, target: Path, layers: int) -> Path:
    """A copy of a case with more layers, the later ones with other random weights of the same sizes."""
    generator = np.random.default_rng(8)
    target.mkdir()
    config = json.loads((source / "config.json").read_text())
    stored, own = load_file(source / "model.safetensors"), config["num_hidden_layers"]
    prefix = "gpt_neox.layers" if config["model_type"] == "gpt_neox" else "model.layers"
    for name, value in list(stored.items()):
        for layer in range(own, layers):
            if name.startswith(f"{prefix}.{layer % own}."):
                other = value + generator.normal(0, 0.02, value.shape).astype(np.float32)
                stored[name.replace(f"{prefix}.{layer % own}.", f"{prefix}.{layer}.")] = other
    (target / "config.json").write_text(json.dumps(config | {"num_hidden_layers": layers}))
    save_file(stored, target / "model.safetensors")
    return target


# Tests that full rank with norms by depth gives the source back, whatever the block is made of.
@pytest.mark.parametrize("source, sharing, visits, initialization", EXACT_CASES)
def test_full_rank_is_the_source(tmp_path: Path, source: Path, sharing: str, visits: int, initialization: str) -> None:
    source = with_layers(source, tmp_path / "source", 6)
    options = {"initialization": initialization, "norms": "per-depth", "rank": ALL, "scale": 0.25}
    folder = converted(source, tmp_path / "r", sharing=sharing, visits=visits, **options)
    got, want = load_model(folder).logits(TOKENS), load_model(source).logits(TOKENS)
    assert np.max(np.abs(got - want)) <= 1e-4
    assert np.max(np.abs(want)) > 1


# Tests that GPT-NeoX, whose biases are shared, comes back where they are the same in all layers, and else does not.
def test_full_rank_of_gpt_neox(tmp_path: Path) -> None:
    source = with_layers(ORACLES / "gpt_neox" / "parallel", tmp_path / "source", 6)
    options = {"norms": "per-depth", "rank": ALL}
    folder = converted(source, tmp_path / "r", visits=3, **options)
    assert np.max(np.abs(load_model(folder).logits(TOKENS) - load_model(source).logits(TOKENS))) > 1e-3
    stored = tensors(source)
    for name in stored:
        if name.endswith(".bias") and "layernorm" not in name and ".layers." in name:
            stored[name] = stored["gpt_neox.layers.0." + name.split(".", 3)[3]].copy()
    save_file(stored, source / "model.safetensors")
    folder = converted(source, tmp_path / "alike", visits=3, **options)
    assert np.max(np.abs(load_model(folder).logits(TOKENS) - load_model(source).logits(TOKENS))) <= 1e-4
    assert {
        "gpt_neox.layers.1.input_layernorm.2.bias",
        "gpt_neox.layers.0.attention.query_key_value.lora_A.1.weight",
    } <= (tensors(folder).keys())
    assert json.loads((folder / "config.json").read_text())["recursive"]["lora"]["targets"] == [
        "query_key_value", "dense", "dense_h_to_4h", "dense_4h_to_h"
    ]  # fmt: skip


# Tests that without deltas the result is the plain looped model of the block.
def test_rank_zero_is_a_loop(tmp_path: Path) -> None:
    folder = converted(SHARED, tmp_path / "r", visits=3, initialization="lower")
    loops = tmp_path / "block"
    loops.mkdir()
    config = json.loads((SHARED / "config.json").read_text()) | {"num_hidden_layers": 2}
    (loops / "config.json").write_text(json.dumps(config))
    outer = [f"model.layers.{layer}." for layer in range(2, 6)]
    block = {name: value for name, value in tensors(SHARED).items() if not name.startswith(tuple(outer))}
    save_file(block, loops / "model.safetensors")
    assert np.array_equal(load_model(folder).logits(TOKENS), load_model(loops, loops=[Loop(0, 1, 3)]).logits(TOKENS))
    assert tensors(folder).keys() == block.keys()
    assert json.loads((folder / "config.json").read_text())["recursive"]["lora"] is None


# Tests that two averaged visits get opposite deltas.
def test_average_of_two(tmp_path: Path) -> None:
    found = tensors(converted(SHARED, tmp_path / "r", rank=4))
    for linear, factor in itertools.product(("self_attn.q_proj", "mlp.down_proj"), range(3)):
        products = [
            found[f"model.layers.{factor}.{linear}.lora_B.{depth}.weight"]
            @ found[f"model.layers.{factor}.{linear}.lora_A.{depth}.weight"]
            for depth in range(2)
        ]
        np.testing.assert_allclose(products[0], -products[1], rtol=0, atol=1e-6)
        assert np.max(np.abs(products[0])) > 0.01


# Tests rank, scale, type and places of deltas.
def test_deltas(tmp_path: Path) -> None:
    options = {"initialization": "lower", "rank": 16, "targets": ("down", "k")}
    found = tensors(converted(SHARED, tmp_path / "one", **options))
    halved = tensors(converted(SHARED, tmp_path / "two", scale=2.0, **options))
    deltas = sorted(name.removeprefix("model.layers.") for name in found if "lora_A" in name)
    # Depth 0 is the copied layer itself, which needs none.
    assert deltas == sorted(f"{j}.{m}.lora_A.1.weight" for j in range(3) for m in ("mlp.down_proj", "self_attn.k_proj"))
    assert found["model.layers.0.self_attn.k_proj.lora_B.1.weight"].shape == (12, 12)
    assert found["model.layers.0.mlp.down_proj.lora_A.1.weight"].shape == (16, 40)
    for name in found:
        factor = 0.5 if "lora_B" in name else 1
        assert np.array_equal(halved[name], factor * found[name])
    config = json.loads((tmp_path / "two" / "config.json").read_text())["recursive"]
    assert config["lora"] == {"rank": 16, "scale": 2.0, "targets": ["k_proj", "down_proj"]}
    half = converted(SHARED, tmp_path / "half", delta_kind="BF16", **options)
    assert kinds(half)["model.layers.0.mlp.down_proj.lora_A.1.weight"] == "BF16"
    assert kinds(half)["model.layers.0.mlp.down_proj.weight"] == "F32"


def kinds(folder: Path) -> dict[str, str]:
    with safe_open(folder / "model.safetensors", "np") as file:
        return {name: file.get_slice(name).get_dtype() for name in file.keys()}  # noqa: SIM118


# Tests config.json of the result, key for key.
def test_config(tmp_path: Path) -> None:
    folder = converted(SHARED, tmp_path / "r", sharing="middle_cycle", initialization="stepwise", norms="per-depth")
    config, source = (json.loads((path / "config.json").read_text()) for path in (folder, SHARED))
    assert config.pop("recursive") == {
        "format_version": 1,
        "sharing": "middle_cycle",
        "num_recursion": 2,
        "norms": "per-depth",
        "initialization": "stepwise",
        "lora": None,
    }
    assert config.pop("architectures") == ["RecursiveLlamaForCausalLM"]
    assert config.pop("model_type") == "recursive_llama"
    assert config == {key: value for key, value in source.items() if key not in ("architectures", "model_type")}


# --- Refusals ---------------------------------------------------------------------------------------------------------


def edited(target: Path, config: dict[str, Any], change: dict[str, np.ndarray | None]) -> Path:
    """A copy of a source with other keys and tensors (None: removed)."""
    target.mkdir()
    content = json.loads((SHARED / "config.json").read_text()) | config
    (target / "config.json").write_text(json.dumps(content))
    stored = {name: value for name, value in (tensors(SHARED) | change).items() if value is not None}
    save_file(stored, target / "model.safetensors")
    return target


FLAT = np.ones((4, 24), np.float32)


@pytest.mark.parametrize(
    "config, change, options, message",
    [
        ({}, {}, {"visits": 4}, r"6 layers do not divide into 4 visits; choose a divisor: 2, 3, 6"),
        ({}, {}, {"targets": ("qkv",)}, r"'qkv' is not a matrix of llama; --lora-targets knows: q,k,v,o,gate,up,down"),
        ({"model_type": "bert"}, {}, {}, r"model type 'bert' cannot be converted; known: llama, gemma, gpt_neox"),
        ({"model_type": "recursive_llama"}, {}, {}, r"'recursive_llama' is recursive already; convert the model"),
        ({"num_hidden_layers": "six"}, {}, {}, r"'num_hidden_layers' is 'six', expected a number of layers"),
        ({"num_hidden_layers": 4}, {}, {}, r"tensor 'model.layers.4.\S+' has no place in a llama model of 4 layers"),
        ({"num_hidden_layers": 8}, {}, {}, r"tensor 'model.layers.6.\S+' is missing; take a complete checkpoint"),
        ({}, {"model.norm.weight": None}, {}, r"tensor 'model.norm.weight' is missing"),
        ({}, {"model.layers.0.self_attn.q_proj.qweight": FLAT}, {}, r"'model.layers.0.self_attn.q_proj.qweight' has"),
        ({}, {"model.layers.0.self_attn.q_proj.base.weight": FLAT}, {}, r"q_proj.base.weight' has no .* be merged"),
        ({}, {"model.layers.1.mlp.up_proj.bias": FLAT[0]}, {}, r"layer 1 has 'mlp.up_proj.bias' and layer 0 has not"),
        ({}, {"model.layers.2.mlp.up_proj.weight": FLAT}, {}, r"up_proj.weight' is \[4, 24\] and \S+ \[40, 24\], so"),
        ({}, {"model.layers.2.input_layernorm.weight": np.full(24, np.nan, np.float32)}, {},
         r"'model.layers.2.input_layernorm.weight' has values that are not finite; take an undamaged"),
    ],
)  # fmt: skip
def test_refusals(
    tmp_path: Path, config: dict[str, Any], change: dict[str, Any], options: dict[str, Any], message: str
) -> None:
    source = edited(tmp_path / "source", config, change)
    with pytest.raises((ConversionError, CheckpointError), match=message):
        converted(source, tmp_path / "r", **options)
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


# Tests that nothing is overwritten, and that an empty folder may be filled.
def test_existing_target(tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "precious").write_text("x")
    with pytest.raises(ConversionError, match=r"full exists already; remove it or choose another name"):
        converted(SHARED, tmp_path / "full")
    with pytest.raises(ConversionError, match=r"none does not exist; create it first"):
        converted(SHARED, tmp_path / "none" / "r")
    (tmp_path / "empty").mkdir()
    converted(SHARED, tmp_path / "empty")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "full"]
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["precious"]
