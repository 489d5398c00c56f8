# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Recursive models: maps of layers, the two kinds of folder, and what each refuses."""

from __future__ import annotations

import copy
import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ORACLES
from safetensors.numpy import load_file, save_file

from rondo.reference import CheckpointError, load_model
from rondo.reference.schedule import EndVisit, Run
from rondo.reference.sharing import Sharing

from reference_edits import edited_case

TOKENS = [5, 17, 250, 3, 99, 8]
LORA_CASE = ORACLES / "rrt" / "cycle_r2_lora_qv"
KV_CASE = ORACLES / "rrt" / "sequence_r2_kvshare"
ENCODING_CASE = ORACLES / "rrt" / "cycle_r2_recursion_encoding"


def places(kind: str, layers: int, visits: int) -> list[tuple[int, int | None]]:
    sharing = Sharing(kind, layers, visits)
    return [(place.layer, place.depth) for place in map(sharing.place, range(layers))]


# --- Maps -------------------------------------------------------------------------------------------------------------


# Tests the four maps where each can be written down.
def test_maps() -> None:
    assert places("cycle", 6, 2) == [(0, 0), (1, 0), (2, 0), (0, 1), (1, 1), (2, 1)]
    assert places("sequence", 6, 2) == [(0, 0), (0, 1), (1, 0), (1, 1), (2, 0), (2, 1)]
    assert places("middle_cycle", 6, 2) == [(0, None), (1, 0), (2, 0), (1, 1), (2, 1), (3, None)]
    assert places("middle_sequence", 6, 2) == [(0, None), (1, 0), (1, 1), (2, 0), (2, 1), (3, None)]


# Tests the published examples with 32 layers, of which the middle 30 are visited three times.
def test_maps_of_32_layers() -> None:
    cycle = places("middle_cycle", 32, 3)
    assert [cycle[layer][0] for layer in (1, 10, 11, 21, 30, 31)] == [1, 10, 1, 1, 10, 11]
    sequence = places("middle_sequence", 32, 3)
    assert [sequence[layer][0] for layer in (1, 3, 4, 30)] == [1, 1, 2, 10]


@pytest.mark.parametrize(
    "kind, layers, visits, message",
    [
        ("cycle", 6, 4, r"sharing 'cycle': 6 layers do not divide into 4 visits; choose a divisor: 2, 3, 6"),
        ("middle_cycle", 6, 3, r"the 4 layers between the first and the last do not divide into 3 .*: 2, 4"),
        ("middle_cycle", 2, 2, r"the 0 layers .* choose another sharing"),
        ("ring", 6, 2, r"sharing 'ring' is not supported; known: cycle, sequence, middle_cycle, middle_sequence"),
        ("cycle", 6, 0, r"at least once, got 0 visits"),
    ],
)
def test_bad_sharing(kind: str, layers: int, visits: int, message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        Sharing(kind, layers, visits)


# --- Folders of the training code -------------------------------------------------------------------------------------


# Tests that without a cache nothing is shared, and that with one the slot is written at depth 0 only.
def test_shared_kv_slots() -> None:
    model = load_model(KV_CASE)
    runs = [step for step in model.schedule if isinstance(step, Run)]
    assert [(run.slot, run.writes_kv) for run in runs] == [
        (0, True),
        (0, False),
        (1, True),
        (1, False),
        (2, True),
        (2, False),
    ]
    assert np.max(np.abs(model.logits(TOKENS) - model.unshared_kv.logits(TOKENS))) > 1
    assert model.unshared_kv.unshared_kv is None


# Tests that visits end where the block has run.
def test_ends_of_visits() -> None:
    steps = load_model(LORA_CASE).schedule
    assert [at for at, step in enumerate(steps) if isinstance(step, EndVisit)] == [2, 5]


# Tests that scales follow PEFT: patterns before defaults, and rslora's square root.
def test_scales(tmp_path: Path) -> None:
    def scales(**changes: Any) -> tuple[float, float]:
        case = edited_case(LORA_CASE, tmp_path / str(len(list(tmp_path.iterdir()))), adapter=changes)
        attention = load_model(case).weights.layers[0].attention
        return attention.q.delta.scale, attention.v.delta.scale

    assert scales() == (2.0, 2.0)
    assert scales(alpha_pattern={}) == (2.0, 2.0)
    assert scales(alpha_pattern={}, lora_alpha=12) == (3.0, 3.0)
    assert scales(alpha_pattern={"q_proj": 4.0}) == (1.0, 2.0)
    assert scales(alpha_pattern={"layers.0.self_attn.v_proj": 1.0, "v_proj": 9.0}) == (2.0, 0.25)
    assert scales(alpha_pattern={}, use_rslora=True) == (8 / math.sqrt(4), 8 / math.sqrt(4))


# Tests that deltas are found in the adapter's file alone.
def test_adapter_file_alone(tmp_path: Path) -> None:
    case = edited_case(LORA_CASE, tmp_path / "case")
    weights = load_file(case / "model.safetensors")
    save_file({name: value for name, value in weights.items() if "lora_" not in name}, case / "model.safetensors")
    assert np.array_equal(load_model(case).logits(TOKENS), load_model(LORA_CASE).logits(TOKENS))


# Tests that norms may differ where `ln_share` is off, and only there.
def test_norms_of_their_own(tmp_path: Path) -> None:
    case = edited_case(KV_CASE, tmp_path / "case")
    weights = load_file(case / "model.safetensors")
    weights["model.layers.1.input_layernorm.weight"] *= 2
    save_file(weights, case / "model.safetensors")
    with pytest.raises(
        CheckpointError, match=r"'model.layers.0.input_layernorm.weight' and 'model.layers.1.input_l.* differ"
    ):
        load_model(case)
    free = edited_case(case, tmp_path / "free", train={"recursive.ln_share": False})
    assert not np.array_equal(load_model(free).logits(TOKENS), load_model(KV_CASE).logits(TOKENS))


# Tests that a folder whose training shared nothing is the plain model.
def test_training_without_recursion(tmp_path: Path) -> None:
    off = {"recursive.enable": False, "relaxation.enable": False, "kv_sharing.enable": False}
    case = edited_case(KV_CASE, tmp_path / "case", train=off)
    config = json.loads((case / "config.json").read_text())
    del config["kv_sharing"]
    (case / "config.json").write_text(json.dumps(config))
    unshared = load_model(KV_CASE).unshared_kv.logits(TOKENS)
    np.testing.assert_allclose(load_model(case).logits(TOKENS), unshared, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    "source, train, adapter, config, message",
    [
        (LORA_CASE, {"relaxation.method": "dora"}, {}, {}, r"'relaxation.method' is 'dora'; train with one of: lora"),
        (LORA_CASE, {"relaxation.method": "adaption_prompt"}, {}, {}, r"is 'adaption_prompt'; train with one of"),
        (LORA_CASE, {"recursive.sharing": None}, {}, {}, r"'recursive.sharing' is missing; take the file"),
        (LORA_CASE, {"recursive.num_recursion": 3}, {}, {}, r"4 layers do not divide into 3 visits"),
        (LORA_CASE, {"recursive.sharing": "sequence"}, {}, {}, r"'model.layers.0.\S+' and 'model.layers.1.\S+' differ"),
        (LORA_CASE, {"recursive.enable": False}, {}, {}, r"'relaxation' is enabled without 'recursive'"),
        (LORA_CASE, {"relaxation.enable": False}, {}, {}, r"tensor '\S+lora_A.weight' and 15 more has no place"),
        (LORA_CASE, {"kv_sharing.enable": True}, {}, {}, r"and config.json disagree whether 'kv_sharing' is enabled"),
        (LORA_CASE, {}, {"use_dora": True}, {}, r"'use_dora' is True, which is not supported; merge the adapter"),
        (LORA_CASE, {}, {"bias": "all"}, {}, r"'bias' is 'all', which is not supported"),
        (LORA_CASE, {}, {"fan_in_fan_out": True}, {}, r"'fan_in_fan_out' is True"),
        (LORA_CASE, {}, {"modules_to_save": ["lm_head"]}, {}, r"'modules_to_save' is \['lm_head'\]"),
        (LORA_CASE, {}, {"unheard_of": 1}, {}, r"'unheard_of' is 1, which is not supported"),
        (LORA_CASE, {}, {"peft_type": "ADALORA"}, {}, r"'peft_type' is 'ADALORA'; known: LORA"),
        (LORA_CASE, {}, {"r": None}, {}, r"'r' is missing; take the file that PEFT wrote"),
        (LORA_CASE, {}, {"target_modules": "all-linear"}, {}, r"'target_modules' is 'all-linear', expected a list"),
        (LORA_CASE, {}, {"target_modules": ["q_proj"]}, {}, r"v_proj' has a delta, but 'target_modules' does not"),
        (LORA_CASE, {}, {"rank_pattern": {"v_proj": 5}}, {}, r"v_proj' has rank 4, but \S+ says 5"),
        (KV_CASE, {"kv_sharing.num_recursion": 3}, {}, {}, r"'kv_sharing' is sequence with 3 visits and 'recursive'"),
        (KV_CASE, {"kv_sharing.update_cache": True}, {}, {}, r"'kv_sharing.update_cache' is not supported; train"),
        (KV_CASE, {"kv_sharing.enable": False}, {}, {}, r"disagree whether 'kv_sharing' is enabled"),
        (KV_CASE, {}, {}, {"mystery": 3}, r"configuration key 'mystery' with value 3 is not supported"),
        (ENCODING_CASE, {"relaxation.enable": False}, {}, {}, r"recursion_encoding' and 1 more has no place"),
        (KV_CASE, {"relaxation.enable": True, "relaxation.method": "recursion_encoding"}, {}, {},
         r"'model.layers.0.recursion_encoding' is missing"),
        (KV_CASE, {"relaxation.enable": True}, {}, {}, r"adapter_config.json is missing, and nothing else .* copy it"),
    ],
)  # fmt: skip
def test_bad_training_folder(
    tmp_path: Path, source: Path, train: dict, adapter: dict, config: dict, message: str
) -> None:
    with pytest.raises(CheckpointError, match=message):
        load_model(edited_case(source, tmp_path / "case", train, adapter, config))


def test_kv_sharing_with_middle_sequence(tmp_path: Path) -> None:
    shared = {"kv_sharing.enable": True, "kv_sharing.sharing": "middle_sequence", "kv_sharing.num_recursion": 3}
    source = ORACLES / "rrt" / "middle_sequence_r3"
    case = edited_case(source, tmp_path / "case", train=shared, config={"kv_sharing": {"enable": True}})
    with pytest.raises(CheckpointError, match="'kv_sharing' with middle_sequence does not exist"):
        load_model(case)


def test_adapter_that_differs(tmp_path: Path) -> None:
    case = edited_case(LORA_CASE, tmp_path / "case")
    deltas = load_file(case / "adapter_model.safetensors")
    name = "base_model.model.model.layers.2.self_attn.q_proj.lora_B.weight"
    save_file(deltas | {name: deltas[name] + 1}, case / "adapter_model.safetensors")
    with pytest.raises(CheckpointError, match=r"layers.2.self_attn.q_proj.lora_B.weight' differs in the model and in"):
        load_model(case)


def test_no_deltas_at_all(tmp_path: Path) -> None:
    case = edited_case(KV_CASE, tmp_path / "case", train={"relaxation.enable": True})
    shutil.copyfile(LORA_CASE / "adapter_config.json", case / "adapter_config.json")
    with pytest.raises(
        CheckpointError, match=r"'relaxation.method' is lora, but there are no deltas; copy adapter_model"
    ):
        load_model(case)


def test_one_weight_under_two_names(tmp_path: Path) -> None:
    case = edited_case(LORA_CASE, tmp_path / "case")
    weights = load_file(case / "model.safetensors")
    twin = weights["model.layers.0.self_attn.q_proj.base_layer.weight"].copy()
    save_file(weights | {"model.layers.0.self_attn.q_proj.weight": twin}, case / "model.safetensors")
    with pytest.raises(CheckpointError, match="both stand for 'model.layers.0.self_attn.q_proj.weight'"):
        load_model(case)


@pytest.mark.parametrize("text, message", [("a: [", "cannot read"), ("[1]", "not a mapping of sections")])
def test_malformed_train_config(tmp_path: Path, text: str, message: str) -> None:
    case = edited_case(KV_CASE, tmp_path / "case")
    (case / "train_config.yaml").write_text(text)
    with pytest.raises(CheckpointError, match=message):
        load_model(case)


@pytest.mark.parametrize("text, message", [("{", "cannot read"), ("[1]", "not a JSON object")])
def test_malformed_adapter_config(tmp_path: Path, text: str, message: str) -> None:
    case = edited_case(LORA_CASE, tmp_path / "case")
    (case / "adapter_config.json").write_text(text)
    with pytest.raises(CheckpointError, match=message):
        load_model(case)


def test_loops_of_a_recursive_model() -> None:
    from rondo.reference import Loop

    with pytest.raises(CheckpointError, match="loops can be given for an ordinary llama only"):
        load_model(KV_CASE, loops=[Loop(0, 1, 2)])


# --- Recursive folders ------------------------------------------------------------------------------------------------

RECURSIVE = {
    "format_version": 1,
    "sharing": "cycle",
    "num_recursion": 2,
    "norms": "per-depth",
    "initialization": "lower",
    "lora": {"rank": 3, "scale": 0.5, "targets": ["q_proj", "down_proj"]},
}
Tensors = dict[str, np.ndarray]


def recursive_tensors(source: Path) -> Tensors:
    """Layers 0 and 1 of a case as a block visited twice, with norms and some deltas by depth."""
    generator = np.random.default_rng(7)
    tensors = {}
    for name, value in load_file(source / "model.safetensors").items():
        if name.startswith("model.layers.2."):
            continue
        if name.startswith("model.layers.") and "layernorm" in name:
            for depth in range(2):
                varied = value * (1 + depth / 4)
                tensors[name.replace(".weight", f".{depth}.weight")] = varied.astype(np.float32)
            continue
        tensors[name] = value
    for linear, depth in (("0.self_attn.q_proj", 0), ("0.self_attn.q_proj", 1), ("1.mlp.down_proj", 1)):
        outputs, inputs = tensors[f"model.layers.{linear}.weight"].shape
        for factor, size in (("lora_A", (3, inputs)), ("lora_B", (outputs, 3))):
            value = generator.normal(0, 0.2, size).astype(np.float32)
            tensors[f"model.layers.{linear}.{factor}.{depth}.weight"] = value
    return tensors


def write_recursive(source: Path, target: Path, recursive: Any, tensors: Tensors, **config: Any) -> Path:
    target.mkdir()
    content = json.loads((source / "config.json").read_text())
    content |= {"model_type": "recursive_llama", "num_hidden_layers": 4, "recursive": recursive} | config
    (target / "config.json").write_text(json.dumps(content))
    save_file(tensors, target / "model.safetensors")
    return target


# Tests that a recursive folder is the plain model whose layers are the sums, with norms of their own.
def test_recursive_folder(llama_case: Path, tmp_path: Path) -> None:
    tensors = recursive_tensors(llama_case)
    model = load_model(write_recursive(llama_case, tmp_path / "model", RECURSIVE, tensors), np.float64)
    unrolled: Tensors = {name: value for name, value in tensors.items() if ".layers." not in name}
    for layer in range(4):
        stored, depth = layer % 2, layer // 2
        for name, value in tensors.items():
            if name.startswith(f"model.layers.{stored}.") and "lora_" not in name:
                plain = name.replace(f"layers.{stored}.", f"layers.{layer}.")
                if f"layernorm.{1 - depth}." in name:
                    continue
                unrolled[plain.replace(f"layernorm.{depth}.", "layernorm.")] = value.astype(np.float64)
        for name in [
            name for name in tensors if name.startswith(f"model.layers.{stored}.") and f"lora_A.{depth}." in name
        ]:
            linear = name.split(".lora_A")[0]
            delta = tensors[name.replace("lora_A", "lora_B")].astype(np.float64) @ tensors[name]
            unrolled[linear.replace(f"layers.{stored}.", f"layers.{layer}.") + ".weight"] += 0.5 * delta
    plain_folder = write_recursive(llama_case, tmp_path / "plain", None, unrolled, model_type="llama")
    np.testing.assert_allclose(
        model.logits(TOKENS), load_model(plain_folder, np.float64).logits(TOKENS), rtol=0, atol=1e-10
    )
    shared = [layer.attention.v.weight for layer in load_model(tmp_path / "model").weights.layers]
    assert shared[0] is shared[2] and shared[0] is not shared[1]
    assert [step.slot for step in model.schedule if isinstance(step, Run)] == [0, 1, 2, 3]


def lora(**changes: Any) -> dict[str, Any]:
    return {"lora": RECURSIVE["lora"] | changes}


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"format_version": 2}, r"'recursive.format_version' is 2, known: 1; convert the model again"),
        ({"sharing": "ring"}, r"sharing 'ring' is not supported"),
        ({"num_recursion": "2"}, r"'recursive.num_recursion' is '2', expected a number of visits"),
        ({"num_recursion": 3}, r"4 layers do not divide into 3 visits"),
        ({"norms": "own"}, r"'recursive.norms' is 'own', expected shared or per-depth"),
        ({"norms": "shared"}, r"layernorm.0.weight' varies with depth, which it may not"),
        ({"initialization": None}, r"'recursive.initialization' is None, expected a text"),
        ({"depth": 1}, r"'recursive.depth' is not known; expected the keys format_version, initialization, lora"),
        ({"lora": None}, r"lora_A.0.weight' is of a module that 'recursive.lora.targets' does not name"),
        ({"lora": 3}, r"'recursive.lora' is 3, expected an object with the keys rank, scale, targets"),
        (lora(rank=0), r"'recursive.lora.rank' is 0, expected at least 1"),
        (lora(rank=2), r"lora_A.0.weight' has rank 3, expected 1 to the 2"),
        (lora(scale="1"), r"'recursive.lora.scale' is '1', expected a number"),
        (lora(targets="q_proj"), r"'recursive.lora.targets' is 'q_proj', expected a list"),
        (lora(targets=["q_proj"]), r"down_proj.lora_A.1.weight' is of a module that 'recursive.lora.targets' does not"),
        (lora(alpha=1), r"'recursive.lora.alpha' is not known"),
    ],
)
def test_bad_description(llama_case: Path, tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    tensors = recursive_tensors(llama_case)
    with pytest.raises(CheckpointError, match=message):
        load_model(write_recursive(llama_case, tmp_path / "model", RECURSIVE | changes, tensors))


def test_description_without_a_key(llama_case: Path, tmp_path: Path) -> None:
    description = copy.deepcopy(RECURSIVE)
    del description["norms"]
    with pytest.raises(CheckpointError, match="'recursive.norms' is missing"):
        load_model(write_recursive(llama_case, tmp_path / "model", description, recursive_tensors(llama_case)))
    with pytest.raises(CheckpointError, match="'recursive' is missing"):
        load_model(write_recursive(llama_case, tmp_path / "none", None, recursive_tensors(llama_case)))


def test_unknown_family(llama_case: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="'recursive_bert' is not supported; known: recursive_llama"):
        load_model(write_recursive(llama_case, tmp_path / "m", RECURSIVE, {}, model_type="recursive_bert"))


def renamed(old: str, new: str) -> Callable[[Tensors], None]:
    def change(tensors: Tensors) -> None:
        tensors[new] = tensors.pop(old)

    return change


@pytest.mark.parametrize(
    "change, message",
    [
        (renamed("model.layers.1.mlp.up_proj.weight", "model.layers.2.mlp.up_proj.weight"),
         r"'model.layers.2.mlp.up_proj.weight' is of stored layer 2, but there are 2"),
        (renamed("model.layers.1.mlp.down_proj.lora_A.1.weight", "model.layers.1.mlp.down_proj.lora_A.2.weight"),
         r"is of depth 2, but there are 2 visits"),
        (renamed("model.layers.1.input_layernorm.1.weight", "model.layers.1.input_layernorm.weight"),
         r"'model.layers.1.input_layernorm.weight' names no depth; expected 0 to 1"),
        (renamed("model.layers.1.mlp.up_proj.weight", "model.layers.1.mlp.up_proj.0.weight"),
         r"'model.layers.1.mlp.up_proj.0.weight' varies with depth, which it may not"),
        (lambda tensors: tensors.pop("model.layers.1.mlp.down_proj.lora_B.1.weight"),
         r"unrolled linear 'model.layers.3.mlp.down_proj' has 'lora_A' but not 'lora_B'"),
        (lambda tensors: tensors.pop("model.layers.1.mlp.up_proj.weight"),
         r"'model.layers.1.mlp.up_proj.weight' is missing"),
        (lambda tensors: tensors.update({"model.layers.1.mlp.side_proj.weight": np.zeros(3, np.float32)}),
         r"'model.layers.1.mlp.side_proj.weight' and 1 more has no place"),
    ],
)  # fmt: skip
def test_bad_tensor(llama_case: Path, tmp_path: Path, change: Callable[[Tensors], None], message: str) -> None:
    tensors = recursive_tensors(llama_case)
    change(tensors)
    with pytest.raises(CheckpointError, match=message):
        load_model(write_recursive(llama_case, tmp_path / "model", RECURSIVE, tensors))


# Tests that the edge layers of a middle sharing vary with nothing.
def test_norm_of_a_prelude_by_depth(llama_case: Path, tmp_path: Path) -> None:
    tensors = recursive_tensors(llama_case)
    description = RECURSIVE | {"sharing": "middle_cycle"}
    with pytest.raises(CheckpointError, match=r"'model.layers.0.\S+' varies with depth, which it may not"):
        load_model(write_recursive(llama_case, tmp_path / "model", description, tensors))
