# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What the oracle cases do not reach: biases, rope kinds, schedules, file formats, refusals."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from conftest import case_name, decoder_cases
from safetensors.numpy import load_file, save_file

from rondo.reference import CheckpointError, Loop, greedy, load_model, nanbeige
from rondo.reference.checkpoint import Checkpoint
from rondo.reference.layers import Rope
from rondo.reference.schedule import EndVisit, Norm, Run, looped

from reference_edits import edited

TOKENS = [5, 17, 250, 3, 99, 8]


def layer_by_definition(folder: Path, x: np.ndarray, index: int) -> np.ndarray:
    """One layer of the checkpoint on x [N, d] in float64, head by head and position by position, from the formulas."""
    config = json.loads((folder / "config.json").read_text())
    prefix = f"model.layers.{index}."
    w = {
        k[len(prefix) :]: v.astype(float)
        for k, v in load_file(folder / "model.safetensors").items()
        if k.startswith(prefix)
    }
    heads, groups, size = config["num_attention_heads"], config["num_key_value_heads"], config["head_dim"]
    scaling = config.get("rope_scaling") or {"factor": 1.0}

    def norm(v: np.ndarray, name: str) -> np.ndarray:
        return w[name] * v / math.sqrt((v @ v) / v.size + config["rms_norm_eps"])

    def linear(v: np.ndarray, name: str) -> np.ndarray:
        return w[f"{name}.weight"] @ v + w.get(f"{name}.bias", 0.0)

    def turned(v: np.ndarray, position: int, name: str) -> np.ndarray:
        v = norm(v, name) if name in w else v
        out = v.copy()
        for i in range(size // 2):
            angle = position / scaling["factor"] * config["rope_theta"] ** (-2 * i / size)
            out[i] = v[i] * math.cos(angle) - v[i + size // 2] * math.sin(angle)
            out[i + size // 2] = v[i] * math.sin(angle) + v[i + size // 2] * math.cos(angle)
        return out

    normed = [norm(row, "input_layernorm.weight") for row in x]
    q = [linear(row, "self_attn.q_proj").reshape(heads, size) for row in normed]
    k = [linear(row, "self_attn.k_proj").reshape(groups, size) for row in normed]
    v = [linear(row, "self_attn.v_proj").reshape(groups, size) for row in normed]
    result = []
    for t, row in enumerate(x):
        parts = []
        for h in range(heads):
            g = h * groups // heads
            query = turned(q[t][h], t, "self_attn.q_layernorm.weight")
            keys = [turned(k[s][g], s, "self_attn.k_layernorm.weight") for s in range(t + 1)]
            weight = np.array([math.exp(query @ key / math.sqrt(size)) for key in keys])
            parts.append(sum(a * v[s][g] for s, a in enumerate(weight / weight.sum())))
        row = row + linear(np.concatenate(parts), "self_attn.o_proj")
        m = norm(row, "post_attention_layernorm.weight")
        gate = linear(m, "mlp.gate_proj")
        result.append(row + linear(gate / (1 + np.exp(-gate)) * linear(m, "mlp.up_proj"), "mlp.down_proj"))
    return np.array(result)


def random_vectors(folder: Path, names: dict[str, int], seed: int) -> dict[str, np.ndarray]:
    """For each layer of a checkpoint one vector of each name and size, from a seed."""
    layers = json.loads((folder / "config.json").read_text())["num_hidden_layers"]
    generator = np.random.default_rng(seed)
    return {
        f"model.layers.{layer}.{name}": generator.normal(1, 0.3, size).astype(np.float32)
        for layer in range(layers)
        for name, size in names.items()
    }


# Tests biases of all projections and linear rope scaling against the formulas.
def test_biases_and_linear_rope(llama_case: Path, tmp_path: Path) -> None:
    sizes = {"self_attn.q_proj": 64, "self_attn.k_proj": 16, "self_attn.v_proj": 16, "self_attn.o_proj": 64}
    sizes |= {"mlp.gate_proj": 160, "mlp.up_proj": 160, "mlp.down_proj": 64}
    biases = random_vectors(llama_case, {f"{name}.bias": size for name, size in sizes.items()}, seed=1)
    changes = {"attention_bias": True, "mlp_bias": True, "rope_parameters": None, "rope_theta": 500.0}
    changes["rope_scaling"] = {"type": "linear", "factor": 4.0}
    folder = edited(llama_case, tmp_path / "model", changes, biases)
    trace: dict[str, np.ndarray] = {}
    load_model(folder, np.float64).logits(TOKENS, trace)
    want = layer_by_definition(folder, trace["embedding"], 0)
    np.testing.assert_allclose(trace["layer.0"], want, rtol=0, atol=1e-11)


# Tests the norms of q and k per head against the formulas.
def test_qk_layernorm(tmp_path: Path) -> None:
    source = Path(__file__).parents[1] / "oracles" / "nanbeige" / "loops2"
    norms = {"self_attn.q_layernorm.weight": 16, "self_attn.k_layernorm.weight": 16}
    folder = edited(source, tmp_path / "model", {"qk_layernorm": True}, random_vectors(source, norms, seed=2))
    trace: dict[str, np.ndarray] = {}
    load_model(folder, np.float64).logits(TOKENS, trace)
    want = layer_by_definition(folder, trace["embedding"], 0)
    np.testing.assert_allclose(trace["layer.0"], want, rtol=0, atol=1e-11)


# Tests that chunks of a prompt give the logits of the whole; test_reference_mor.py says where routing lets them.
@pytest.mark.parametrize("decoder_case", [case for case in decoder_cases() if case.parent.name != "mor"], ids=case_name)
def test_chunks(decoder_case: Path) -> None:
    model = load_model(decoder_case, np.float64)
    cache = model.new_cache(len(TOKENS))
    tokens = [token % 256 for token in TOKENS]
    parts = [model.head(model.states(chunk, cache)) for chunk in (tokens[:1], tokens[1:4], tokens[4:])]
    np.testing.assert_allclose(np.concatenate(parts), model.logits(tokens), rtol=0, atol=1e-11)


# Tests that a looped Llama equals a checkpoint in which the repeated layers are copied out.
def test_loop_equals_copied_layers(llama_case: Path, tmp_path: Path) -> None:
    order = [0, 1, 2, 1, 2, 1, 2]
    weights = load_file(llama_case / "model.safetensors")
    copies = {k: v for k, v in weights.items() if "layers" not in k}
    for place, layer in enumerate(order):
        prefix = f"model.layers.{layer}."
        copies |= {k.replace(prefix, f"model.layers.{place}."): v for k, v in weights.items() if k.startswith(prefix)}
    folder = edited(llama_case, tmp_path / "model", {"num_hidden_layers": len(order)})
    save_file(copies, folder / "model.safetensors")
    loops = [Loop.parse("1:2:3")]
    model, unrolled = load_model(llama_case, loops=loops), load_model(folder)
    assert np.array_equal(model.logits(TOKENS), unrolled.logits(TOKENS))
    assert greedy(model, TOKENS, 8).tokens == greedy(unrolled, TOKENS, 8, recompute=True).tokens


# Tests the schedule of two loops: order of layers, slots and visits.
def test_two_loops() -> None:
    steps = looped(4, [Loop(3, 3, 2), Loop(0, 1, 2)])
    runs = [(step.layer, step.slot) for step in steps if isinstance(step, Run)]
    assert runs == list(zip([0, 1, 0, 1, 2, 3, 3], range(7), strict=True))
    assert [step.number for step in steps if isinstance(step, EndVisit)] == [0, 1, 2, 3]
    assert steps[-1] == Norm()


@pytest.mark.parametrize("text", ["1:2", "a:b:c", "0:3:2", "2:1:2", "-1:1:2", "0:1:0"])
def test_bad_loop(llama_case: Path, text: str) -> None:
    with pytest.raises(CheckpointError, match="loop"):
        load_model(llama_case, loops=[Loop.parse(text)])


def test_overlapping_loops(llama_case: Path) -> None:
    with pytest.raises(CheckpointError, match="overlaps"):
        load_model(llama_case, loops=[Loop(0, 1, 2), Loop(1, 2, 2)])


# Tests loop splits of other sizes than the oracle's: order, slots, and which executions write.
def test_loop_split_sizes() -> None:
    def runs(*arguments: Any) -> list[tuple[int, int, bool]]:
        steps = nanbeige.split_schedule(*arguments)
        return [(step.layer, step.slot, step.writes_kv) for step in steps if isinstance(step, Run)]

    assert [layer for layer, _, _ in runs(6, 3, False)] == [0, 1, 2, 3, 1, 2, 3, 1, 2, 3, 4, 5]
    assert [slot for _, slot, _ in runs(6, None, False)] == list(range(12))
    assert runs(3, 3, True) == [(0, 0, True), (1, 1, True), (2, 2, True), (0, 0, False), (1, 1, False), (2, 2, False)]
    with pytest.raises(CheckpointError, match="divide"):
        nanbeige.split_schedule(6, 4, False)
    with pytest.raises(CheckpointError, match="loop_middle_layers"):
        nanbeige.split_schedule(5, None, False)


# Tests that loop_loss_weights, if there are any, decide the number of loops.
def test_loop_loss_weights() -> None:
    steps = nanbeige.schedule({"num_loops": 2, "loop_loss_weights": [0.5, 0.5]}, 2)
    assert [step for step in steps if isinstance(step, Norm)] == [Norm()] * 3
    assert len([step for step in steps if isinstance(step, Run)]) == 6


# Tests that the frequency divisors of GGUF files say the same as the llama3 parameters.
def test_llama3_as_divisors() -> None:
    kind = np.dtype(np.float64)
    rule = Rope(5e5, "llama3", 8.0, 1.0, 4.0, 32)
    divisors = tuple(Rope(5e5).frequencies(16, kind) / rule.frequencies(16, kind))
    np.testing.assert_allclose(
        Rope(5e5, "divisors", divisors=divisors).frequencies(16, kind), rule.frequencies(16, kind)
    )
    assert divisors[0] == pytest.approx(1.0) and divisors[-1] == pytest.approx(8.0)


def to_bf16(values: np.ndarray) -> np.ndarray:
    """Upper halves of float32 values."""
    return (values.view(np.uint32) >> 16).astype(np.uint16)


def write_safetensors(path: Path, tensors: dict[str, tuple[str, np.ndarray]]) -> None:
    """A safetensors file of raw arrays with the type names given."""
    header, data = {}, b""
    for name, (kind, values) in tensors.items():
        raw = values.tobytes()
        header[name] = {"dtype": kind, "shape": values.shape, "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)


# Tests sharded files in half precision: the logits are those of the same values in float32.
@pytest.mark.parametrize("kind", ["BF16", "F16"])
def test_shards_in_half_precision(llama_case: Path, tmp_path: Path, kind: str) -> None:
    weights = load_file(llama_case / "model.safetensors")
    if kind == "BF16":
        stored = {k: to_bf16(v) for k, v in weights.items()}
        rounded = {k: (v.astype(np.uint32) << 16).view(np.float32) for k, v in stored.items()}
    else:
        stored = {k: v.astype(np.float16) for k, v in weights.items()}
        rounded = {k: v.astype(np.float32) for k, v in stored.items()}
    plain = edited(llama_case, tmp_path / "plain", {}, rounded)
    sharded = edited(llama_case, tmp_path / "sharded", {})
    (sharded / "model.safetensors").unlink()
    names = sorted(stored)
    index = {}
    for number, part in enumerate((names[:7], names[7:])):
        file = f"model-{number + 1:05}-of-00002.safetensors"
        write_safetensors(sharded / file, {name: (kind, stored[name]) for name in part})
        index |= dict.fromkeys(part, file)
    (sharded / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))
    assert np.array_equal(load_model(sharded).logits(TOKENS), load_model(plain).logits(TOKENS))


def write_gguf(folder: Path, path: Path, block: gguf.GGMLQuantizationType) -> None:
    """The checkpoint as GGUF, q and k rows permuted as llama.cpp's converter does, matrices stored as `block`."""
    config = json.loads((folder / "config.json").read_text())
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_rope_freq_base(config["rope_parameters"]["rope_theta"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config["num_hidden_layers"])
    for name, values in load_file(folder / "model.safetensors").items():
        for part, heads in (("q_proj", "num_attention_heads"), ("k_proj", "num_key_value_heads")):
            if part in name:
                head, half = config[heads], values.shape[0] // config[heads] // 2
                values = values.reshape(head, 2, half, -1).swapaxes(1, 2).reshape(values.shape)
        kind = block if values.ndim == 2 else gguf.GGMLQuantizationType.F32
        writer.add_tensor(
            names.get_name(name, try_suffixes=(".weight",)), gguf.quants.quantize(values, kind), raw_dtype=kind
        )
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


# Tests that a GGUF file of the same weights gives the same logits.
def test_gguf(llama_case: Path, tmp_path: Path) -> None:
    write_gguf(llama_case, tmp_path / "model.gguf", gguf.GGMLQuantizationType.F32)
    # The file holds rms_norm_eps as float32, so that bits may differ.
    got, want = load_model(tmp_path / "model.gguf").logits(TOKENS), load_model(llama_case).logits(TOKENS)
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-6)


# Tests that blocks are dequantised: Q8_0 moves logits, but little.
def test_gguf_blocks(llama_case: Path, tmp_path: Path) -> None:
    write_gguf(llama_case, tmp_path / "model.gguf", gguf.GGMLQuantizationType.Q8_0)
    got, want = load_model(tmp_path / "model.gguf").logits(TOKENS), load_model(llama_case).logits(TOKENS)
    assert 1e-4 < np.max(np.abs(got - want)) < 0.5


REFUSED = [
    ({"enable_mhc": True}, "enable_mhc"),
    ({"hidden_act": "gelu"}, "activation 'gelu'"),
    ({"rms_norm_eps": None}, "rms_norm_eps"),
    ({"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e4}}, "rope type 'yarn'"),
    ({"num_key_value_heads": 3}, "not a multiple"),
    ({"model_type": "mamba"}, "architecture 'mamba'"),
    ({"num_hidden_layers": 2}, "has no place"),
    ({"num_hidden_layers": 4}, "is missing"),
    ({"intermediate_size": 96}, "has shape"),
]


# Tests that what would change the model silently is refused by name.
@pytest.mark.parametrize("changes, message", REFUSED, ids=[message for _, message in REFUSED])
def test_refusals(llama_case: Path, tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        load_model(edited(llama_case, tmp_path / "model", changes))


def with_length(text: bytes) -> bytes:
    return len(text).to_bytes(8, "little") + text


MALFORMED = [b"", b"\xff" * 64, b"\2" + bytes(7) + b"{", with_length(b"nope"), with_length(b"[]")]
MALFORMED += [with_length(b'{"model.norm.weight": 1}'), with_length(b'{"model.embed_tokens.weight": {"dtype": "I8"}}')]
MALFORMED += [with_length(b'{"model.embed_tokens.weight": {"dtype": "F32", "shape": [9], "data_offsets": [0, 36]}}')]


@pytest.mark.parametrize("content", MALFORMED)
def test_malformed_safetensors(llama_case: Path, tmp_path: Path, content: bytes) -> None:
    folder = edited(llama_case, tmp_path / "model", {})
    (folder / "model.safetensors").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"model\.safetensors|missing"):
        load_model(folder)


def test_input_errors(llama_case: Path, tmp_path: Path) -> None:
    model = load_model(llama_case)
    with pytest.raises(CheckpointError, match="token 300 is outside"):
        model.logits([300])
    with pytest.raises(CheckpointError, match="at least one token"):
        model.logits([])
    with pytest.raises(CheckpointError, match="do not fit"):
        model.states([1, 2], model.new_cache(1))
    with pytest.raises(CheckpointError, match="neither a model folder nor"):
        load_model(tmp_path / "nothing")


# Tests that a stop token ends a sequence and is returned.
def test_stop_token(llama_case: Path) -> None:
    model = load_model(llama_case)
    free = greedy(model, TOKENS, 6).tokens
    assert greedy(model, TOKENS, 6, stop={free[2]}).tokens == free[: free.index(free[2]) + 1]


# Tests that generation_config.json has the last word on stop tokens.
def test_stop_tokens_of_the_checkpoint(llama_case: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(llama_case, tmp_path / "model")
    assert load_model(folder).stop_tokens == (2,)
    (folder / "generation_config.json").write_text('{"eos_token_id": [7, 8]}')
    assert load_model(folder).stop_tokens == (7, 8)


# Tests that a linear with a low-rank delta is the linear of the summed weight, and that only named linears have one.
def test_low_rank_delta() -> None:
    generator = np.random.default_rng(4)
    tensors = {"l.weight": (5, 7), "l.bias": (5,), "l.lora_A.weight": (2, 7), "l.lora_B.weight": (5, 2)}
    values = {name: generator.normal(size=size) for name, size in tensors.items()}
    readers = {name: lambda value=value: value for name, value in values.items()}
    kind, x = np.dtype(np.float64), generator.normal(size=(3, 7))
    checkpoint = Checkpoint("tiny", {}, readers, {"l": 0.5})
    summed = values["l.weight"] + 0.5 * values["l.lora_B.weight"] @ values["l.lora_A.weight"]
    want = x @ summed.T + values["l.bias"]
    np.testing.assert_allclose(checkpoint.linear("l", 5, 7, kind, biased=True)(x), want, rtol=0, atol=1e-14)
    checkpoint.finish()
    plain = Checkpoint("tiny", {}, readers)
    assert np.array_equal(plain.linear("l", 5, 7, kind)(x), x @ values["l.weight"].T)
    with pytest.raises(CheckpointError, match=r"'l.bias' and 2 more has no place"):
        plain.finish()
    del readers["l.lora_B.weight"]
    with pytest.raises(CheckpointError, match=r"'l.lora_B.weight' is missing"):
        Checkpoint("tiny", {}, readers, {"l": 0.5}).linear("l", 5, 7, kind)
