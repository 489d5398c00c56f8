# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Folders of Mixture-of-Recursions: which copies are one weight, what is read from the options, and what is refused."""

from __future__ import annotations

import functools
import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from conftest import ORACLES
from safetensors.numpy import load_file

from rondo.reference import CheckpointError, load_model
from rondo.reference.mor_folder import prefix, tie
from rondo.reference.routing import Scoring
from rondo.reference.sharing import Sharing

from reference_edits import edited_case, edited_tensors

MOR = ORACLES / "mor"
CYCLE, CYCLE_SHARED = MOR / "expert_cycle_r2", MOR / "expert_cycle_r3_kvshare"
MIDDLE, MIDDLE_SHARED = MOR / "expert_middle_cycle_r3", MOR / "expert_middle_cycle_r2_kvshare"
UNSHARED, HYBRID = MOR / "expert_middle_cycle_r2_unshared_attention", MOR / "expert_middle_cycle_r3_kvshare_update"
TOKEN, TOKEN_SHARED = MOR / "token_middle_cycle_r3", MOR / "token_middle_cycle_r2_kvshare"
TOKENS = [5, 17, 250, 3, 99, 8]
HIDDEN = 48  # of all cases


# --- Copies -----------------------------------------------------------------------------------------------------------


# Tests where unrolled layers are stored, and which of 32 run the same layer at three depths.
def test_prefixes() -> None:
    middle = Sharing("middle_cycle", 8, 3)
    expert = [prefix(layer, middle, "expert") for layer in range(8)]
    blocks = [f"model.layers.{1 + depth}.block.{layer}." for depth in range(3) for layer in range(2)]
    assert expert == ["model.layers.0.", *blocks, "model.layers.4."]
    token = [prefix(layer, middle, "token") for layer in (0, 1, 4, 7)]
    lists = ["model.layers.1.block_list.0.0.", "model.layers.1.block_list.1.1."]
    assert token == ["model.layers.0.", *lists, "model.layers.2."]
    assert prefix(5, Sharing("cycle", 6, 2), "expert") == "model.layers.1.block.2."
    whole = Sharing("middle_cycle", 32, 3)
    assert [whole.group(whole.place(layer).layer)[0] for layer in (1, 10, 11, 21, 30, 31)] == [1, 10, 1, 1, 10, 31]


# Tests the parameters beside the embedding of models of 360M with 2, 3 and 4 visits, stored once for each.
@pytest.mark.parametrize("layers, visits, millions", [(32, 2, 167.1), (32, 3, 118.0), (34, 4, 98.3)])
def test_parameters(layers: int, visits: int, millions: float) -> None:
    width, inner, kv = 960, 2560, 320
    shapes = {
        "self_attn.q_proj.weight": (width, width),
        "self_attn.k_proj.weight": (kv, width),
        "self_attn.v_proj.weight": (kv, width),
        "self_attn.o_proj.weight": (width, width),
        "mlp.gate_proj.weight": (inner, width),
        "mlp.up_proj.weight": (inner, width),
        "mlp.down_proj.weight": (width, inner),
        "input_layernorm.weight": (width,),
        "post_attention_layernorm.weight": (width,),
    }
    sharing = Sharing("middle_cycle", layers, visits)
    readers = {
        prefix(layer, sharing, "expert") + part: functools.partial(np.zeros, shape, np.int8)
        for layer in range(layers)
        for part, shape in shapes.items()
    }
    tied, by_depth = tie(readers, sharing, "expert", norms_shared=True)
    different = {id(reader): math.prod(reader().shape) for reader in tied.values()}
    assert round(sum(different.values()) / 1e6, 1) == millions
    assert not by_depth


# Tests that copies become one array, and that the attention of the first release stays apart.
def test_shared_and_unshared_attention() -> None:
    shared, unshared = (load_model(case).weights.layers for case in (MIDDLE_SHARED, UNSHARED))
    assert shared[1].attention.q.weight is shared[3].attention.q.weight is not shared[2].attention.q.weight
    assert unshared[1].attention.q.weight is not unshared[3].attention.q.weight
    for layers in (shared, unshared):
        assert layers[1].mlp.up.weight is layers[3].mlp.up.weight
        assert layers[2].norms[0].weight is layers[4].norms[0].weight
    names = {f"{layer}.self_attn.{part}_proj.weight" for layer in range(2) for part in "qkvo"}
    assert load_model(UNSHARED).by_depth == names
    assert load_model(MIDDLE_SHARED).by_depth == load_model(TOKEN).by_depth == set()


# Tests that each tensor is compared by itself, and each depth: 0 and 2 stay one weight where 1 differs.
def test_one_depth_of_its_own(tmp_path: Path) -> None:
    case = edited_case(MIDDLE, tmp_path / "case")
    name = "model.layers.2.block.1.self_attn.k_proj.weight"
    edited_tensors(case, {name: load_file(case / "model.safetensors")[name] * 2})
    model = load_model(case)
    keys = [model.weights.layers[layer].attention.k.weight for layer in (2, 4, 6)]
    assert keys[0] is keys[2] is not keys[1]
    assert model.by_depth == {"1.self_attn.k_proj.weight"}


# Tests that norms may differ where `ln_share` is off.
def test_norms_of_their_own(tmp_path: Path) -> None:
    case = edited_case(TOKEN, tmp_path / "case")
    name = "model.layers.1.block_list.1.0.input_layernorm.weight"
    edited_tensors(case, {name: load_file(case / "model.safetensors")[name] * 2})
    with pytest.raises(CheckpointError, match=r"block_list.0.0.input_layernorm.weight' and 'model.layers.1.block_list"):
        load_model(case)
    free = load_model(edited_case(case, tmp_path / "free", train={"recursive.ln_share": False}))
    assert free.by_depth == {"0.input_layernorm.weight"}
    assert not np.array_equal(free.logits(TOKENS), load_model(TOKEN).logits(TOKENS))


@pytest.mark.parametrize(
    "source, first, other",
    [
        (CYCLE, "model.layers.0.block.2.mlp.up_proj.weight", "model.layers.1.block.2.mlp.up_proj.weight"),
        (MIDDLE, "model.layers.1.block.0.input_layernorm.weight", "model.layers.3.block.0.input_layernorm.weight"),
        (TOKEN, "model.layers.1.block_list.0.1.self_attn.q_proj.weight",
         "model.layers.1.block_list.2.1.self_attn.q_proj.weight"),
    ],
)  # fmt: skip
def test_copies_that_differ(tmp_path: Path, source: Path, first: str, other: str) -> None:
    case = edited_case(source, tmp_path / "case")
    edited_tensors(case, {other: load_file(case / "model.safetensors")[other] + 1})
    with pytest.raises(CheckpointError, match=f"'{first}' and '{other}' differ, but .* take the train_config.yaml"):
        load_model(case)


# Tests that a head that is stored counts, whatever `tie_word_embeddings` says.
def test_stored_head(tmp_path: Path) -> None:
    case = edited_case(MIDDLE, tmp_path / "case")
    edited_tensors(case, {"lm_head.weight": load_file(case / "model.safetensors")["lm_head.weight"] * 2})
    np.testing.assert_array_equal(load_model(case).logits(TOKENS), 2 * load_model(MIDDLE).logits(TOKENS))
    edited_tensors(case, {"lm_head.weight": None})
    np.testing.assert_array_equal(load_model(case).logits(TOKENS), load_model(MIDDLE).logits(TOKENS))


# --- Options ----------------------------------------------------------------------------------------------------------


def without(source: Path, target: Path, key: str) -> Path:
    """A copy of a case whose train_config.yaml lacks an option."""
    case = edited_case(source, target)
    content = yaml.safe_load((case / "train_config.yaml").read_text())
    *sections, last = key.split(".")
    functools.reduce(dict.get, sections, content).pop(last)
    (case / "train_config.yaml").write_text(yaml.safe_dump(content))
    return case


# Tests what is read into routings: numbers also as the text that YAML takes them for.
def test_read_options(tmp_path: Path) -> None:
    changes = {"mor.temp": "2e0", "mor.capacity": "1, 0.5,0.25", "mor.expert.alpha": 3, "mor.expert.gating": "additive"}
    routing = load_model(edited_case(MIDDLE, tmp_path / "case", train=changes)).routing
    assert (routing.capacities, routing.scoring) == ((1, 0.5, 0.25), Scoring("sigmoid", 3.0, 2.0, weighted=False))
    assert load_model(MIDDLE).routing.capacities == (1.0, 0.6666666666666666, 0.3333333333333333)
    default = edited_case(MIDDLE, tmp_path / "default", train={"mor.capacity": None})
    assert load_model(default).routing.capacities == load_model(MIDDLE).routing.capacities


# Tests the values that the authors' code has for options that are not there.
def test_default_options(tmp_path: Path) -> None:
    case = TOKEN
    for number, key in enumerate(("mor.token.gating", "mor.token.alpha", "mor.token.router_func")):
        case = without(case, tmp_path / str(number), key)
    assert load_model(case).routing.scoring == Scoring("softmax", 1.0, 1.0, weighted=True)
    sigmoid = edited_case(case, tmp_path / "sigmoid", train={"mor.token.router_func": "sigmoid"})
    assert load_model(sigmoid).routing.scoring == Scoring("sigmoid", 0.1, 1.0, weighted=True)
    expert = without(MIDDLE, tmp_path / "expert", "mor.expert.gating")
    assert load_model(expert).routing.scoring.weighted


# Tests that alpha means nothing without a function, and that the options of the other choice are not read.
def test_options_without_effect(tmp_path: Path) -> None:
    changes = {"mor.expert.router_func": None, "mor.expert.alpha": None, "mor.token": 3, "mor.z_loss": True}
    assert load_model(edited_case(MIDDLE, tmp_path / "case", train=changes)).routing.scoring.function is None


# Tests that the bias of loss_free balancing is read and changes depths.
def test_router_bias(tmp_path: Path) -> None:
    case = edited_case(TOKEN, tmp_path / "case", train={"mor.token.balancing": "loss_free"})
    with pytest.raises(CheckpointError, match="tensor 'model.layers.1.router_bias' is missing"):
        load_model(case)
    edited_tensors(case, {"model.layers.1.router_bias": np.array([0.0, 9.0, 0.0])})
    trace: dict[str, np.ndarray] = {}
    load_model(case).logits(TOKENS, trace)
    assert trace["depth"].tolist() == [1] * len(TOKENS)


@pytest.mark.parametrize(
    "source, train, config, message",
    [
        (CYCLE, {"mor.type": "both"}, {}, r"'mor.type' is 'both'; known: expert, token"),
        (CYCLE, {"mor.rand_router": True}, {}, r"'mor.rand_router' is set, which routes at random; train with"),
        (CYCLE, {"mor.dropout": 0.1}, {}, r"'mor.dropout' is not supported; known: capacity, enable, expert"),
        (CYCLE, {"mor.expert.noise": 1}, {}, r"'mor.expert.noise' is not supported; known: alpha"),
        (TOKEN, {"mor.token.top": 2}, {}, r"'mor.token.top' is not supported; known: alpha"),
        (CYCLE, {"recursive.order": 1}, {}, r"'recursive.order' is not supported; known: base_depth"),
        (CYCLE, {"kv_sharing.window": 4}, {}, r"'kv_sharing.window' is not supported; known: base_depth"),
        (CYCLE, {"mor.expert": 3}, {}, r"'mor.expert' is 3, expected a mapping of options"),
        (CYCLE, {"recursive.enable": False}, {}, r"'mor' is enabled without 'recursive'; expected both or none"),
        (CYCLE, {"relaxation.enable": True}, {}, r"'relaxation.enable' is set beside 'mor.enable', .* without it"),
        (CYCLE, {"recursive.sharing": "sequence"}, {}, r"'recursive.sharing' is 'sequence'; known: cycle, middle_cyc"),
        (CYCLE, {"recursive.num_recursion": 1}, {}, r"'recursive.num_recursion' is 1, expected at least 2 with rou"),
        (CYCLE, {"recursive.num_recursion": "2"}, {}, r"'recursive.num_recursion' is '2', expected at least 2"),
        (CYCLE, {"recursive.num_recursion": 4}, {}, r"6 layers do not divide into 4 visits"),
        (CYCLE, {"recursive.ln_share": None}, {}, r"'recursive.ln_share' is missing; take the file"),
        (TOKEN, {"recursive.sharing": "cycle"}, {}, r"'mor.type' token does not exist with 'recursive.sharing' cycle"),
        (CYCLE, {"mor.capacity": "1.0"}, {}, r"'mor.capacity' is '1.0', expected 2 numbers from 1 to 0 with commas"),
        (CYCLE, {"mor.capacity": "0.5,1.0"}, {}, r"is '0.5,1.0', expected 2 .* none greater than the one before it"),
        (CYCLE, {"mor.capacity": "1.5,0.5"}, {}, r"is '1.5,0.5', expected 2 numbers"),
        (CYCLE, {"mor.capacity": "1.0,-0.5"}, {}, r"is '1.0,-0.5', expected 2 numbers"),
        (CYCLE, {"mor.capacity": "1.0,nan"}, {}, r"is '1.0,nan', expected 2 numbers"),
        (CYCLE, {"mor.capacity": "1.0,half"}, {}, r"is '1.0,half', expected 2 numbers"),
        (CYCLE, {"mor.capacity": [1.0, 0.5]}, {}, r"is \[1.0, 0.5\], expected 2 numbers"),
        (CYCLE, {"mor.router_type": "deep"}, {}, r"'mor.router_type' is 'deep'; known: linear, mlp, wide_mlp"),
        (CYCLE, {"mor.temp": 0}, {}, r"'mor.temp' is 0.0, expected a number above 0"),
        (CYCLE, {"mor.temp": "warm"}, {}, r"'mor.temp' is 'warm', expected a number"),
        (CYCLE, {"mor.temp": True}, {}, r"'mor.temp' is True, expected a number"),
        (CYCLE, {"mor.temp": None}, {}, r"'mor.temp' is None, expected a number"),
        (CYCLE, {"mor.expert.alpha": "inf"}, {}, r"'mor.expert.alpha' is 'inf', expected a number"),
        (CYCLE, {"mor.expert.router_func": "softmax"}, {}, r"router_func' is 'softmax'; known: null, sigmoid, tanh"),
        (CYCLE, {"mor.expert.sampling": "coin"}, {}, r"sampling' is 'coin'; known: null, aux_loss, aux_router"),
        (CYCLE, {"mor.expert.gating": "sum"}, {}, r"'mor.expert.gating' is 'sum'; known: weighted, additive"),
        (TOKEN, {"mor.token.router_func": "tanh"}, {}, r"'mor.token.router_func' is 'tanh'; known: softmax, sigmoid"),
        (TOKEN, {"mor.token.balancing": None}, {}, r"'mor.token.balancing' is None; known: loss, loss_free"),
        (MIDDLE_SHARED, {"kv_sharing.enable": False}, {}, r"disagree whether 'kv_sharing' is enabled"),
        (MIDDLE_SHARED, {"kv_sharing.num_recursion": 4}, {}, r"'kv_sharing' is middle_cycle with 4 visits and 'recurs"),
        (HYBRID, {"kv_sharing.update_cache": False}, {}, r"disagree about 'kv_sharing.update_cache'; take files of"),
        (MIDDLE_SHARED, {}, {"kv_sharing": True}, r"'kv_sharing' of config.json is True, expected an object"),
        (TOKEN_SHARED, {"kv_sharing.update_cache": True}, {"kv_sharing": {"update_cache": True}},
         r"'kv_sharing.update_cache' exists with expert choice and middle_cycle only, here 'mor.type' is token"),
        (CYCLE_SHARED, {"kv_sharing.update_cache": True}, {"kv_sharing": {"update_cache": True}},
         r"is expert and 'recursive.sharing' cycle; train without it"),
        (CYCLE, {}, {"model_type": "gemma"}, r"'mor.enable' is set for a model of type 'gemma'; expected llama"),
        (CYCLE, {}, {"mystery": 3}, r"configuration key 'mystery' with value 3 is not supported"),
    ],
)  # fmt: skip
def test_bad_options(tmp_path: Path, source: Path, train: dict, config: dict, message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        load_model(edited_case(source, tmp_path / "case", train, config=config))


@pytest.mark.parametrize("key", ["mor.capacity", "mor.rand_router", "mor.expert.router_func", "mor.expert.sampling"])
def test_option_that_is_missing(tmp_path: Path, key: str) -> None:
    with pytest.raises(CheckpointError, match=f"'{key}' is missing; take the file that the training wrote"):
        load_model(without(CYCLE, tmp_path / "case", key))


@pytest.mark.parametrize(
    "train, tensors, message",
    [
        ({}, {"model.layers.1.mor_router.router.weight": None}, r"'\S+layers.1.mor_router.router.weight' is missing"),
        ({}, {"model.layers.1.mor_router.router.weight": np.zeros((2, HIDDEN))}, r"has shape \[2, 48\], expected \[1"),
        ({}, {"model.layers.1.block.0.mlp.up_proj.weight": None}, r"'\S+.1.block.0.mlp.up_proj.weight' is missing"),
        ({}, {"model.layers.0.block.0.mlp.up_proj.weight": None}, r"'\S+.0.block.0.mlp.up_proj.weight' is missing"),
        ({}, {"model.layers.0.mlp_router.router.weight": np.zeros((1, HIDDEN))}, r"'\S+mlp_router.\S+' has no place"),
        ({}, {"model.layers.0.mlp.up_proj.weight": np.zeros(3)}, r"'model.layers.0.mlp.up_proj.weight' has no place"),
        ({"mor.expert.sampling": "aux_router"}, {}, r"'model.layers.0.mlp_router.router.weight' is missing"),
        ({"mor.router_type": "mlp"}, {}, r"'model.layers.0.mor_router.router.0.weight' is missing"),
    ],
)  # fmt: skip
def test_bad_tensors(tmp_path: Path, train: dict, tensors: dict[str, Any], message: str) -> None:
    case = edited_tensors(edited_case(CYCLE, tmp_path / "case", train), tensors)
    with pytest.raises(CheckpointError, match=message):
        load_model(case)


# Tests that the options decide: without them the folder is no Mixture-of-Recursions.
def test_without_options(tmp_path: Path) -> None:
    case = tmp_path / "case"
    shutil.copytree(CYCLE, case)
    (case / "train_config.yaml").unlink()
    assert json.loads((case / "config.json").read_text())["model_type"] == "llama"
    with pytest.raises(CheckpointError, match="'model.layers.0.input_layernorm.weight' is missing"):
        load_model(case)
