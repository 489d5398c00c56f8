# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What the oracle cases of Gemma and GPT-NeoX do not reach: their other settings, old files, refusals."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from rondo.reference import CheckpointError, load_model

from reference_edits import edited

ORACLES = Path(__file__).parents[1] / "oracles"
GEMMA = ORACLES / "gemma" / "mqa"
NEOX = ORACLES / "gpt_neox" / "parallel"
TOKENS = [5, 17, 250, 3, 99, 8]


def neox_layer_by_definition(weights: dict[str, np.ndarray], x: np.ndarray, side_by_side: bool) -> np.ndarray:
    """Layer 0 of the GPT-NeoX case on x [N, d] in float64, head by head and position by position."""
    heads, size, turned_size = 4, 16, 4  # partial_rotary_factor 0.25
    w = {k.removeprefix("gpt_neox.layers.0."): v.astype(float) for k, v in weights.items()}

    def norm(v: np.ndarray, name: str) -> np.ndarray:
        return (v - v.mean()) / math.sqrt(v.var() + 1e-5) * w[f"{name}.weight"] + w[f"{name}.bias"]

    def linear(v: np.ndarray, name: str) -> np.ndarray:
        return w[f"{name}.weight"] @ v + w.get(f"{name}.bias", 0.0)

    def turned(v: np.ndarray, position: int) -> np.ndarray:
        out, half = v.copy(), turned_size // 2
        for i in range(half):
            turn = np.exp(1j * position * 10000.0 ** (-2 * i / turned_size)) * (v[i] + 1j * v[i + half])
            out[i], out[i + half] = turn.real, turn.imag
        return out

    def mlp(v: np.ndarray) -> np.ndarray:
        up = linear(norm(v, "post_attention_layernorm"), "mlp.dense_h_to_4h")
        return linear(up * [(1 + math.erf(u / math.sqrt(2))) / 2 for u in up], "mlp.dense_4h_to_h")

    fused = [linear(norm(v, "input_layernorm"), "attention.query_key_value").reshape(heads, 3, size) for v in x]
    result = []
    for t, row in enumerate(x):
        parts = []
        for h in range(heads):
            query = turned(fused[t][h, 0], t)
            scores = [math.exp(query @ turned(fused[s][h, 1], s) / math.sqrt(size)) for s in range(t + 1)]
            parts.append(sum(score * fused[s][h, 2] for s, score in enumerate(scores)) / sum(scores))
        attended = linear(np.concatenate(parts), "attention.dense")
        result.append(row + attended + mlp(row if side_by_side else row + attended))
    return np.array(result)


# Tests both orders of the branches, with and without biases of the attention, against the formulas.
@pytest.mark.parametrize("biased", [True, False])
@pytest.mark.parametrize("side_by_side", [True, False])
def test_neox_layer(tmp_path: Path, side_by_side: bool, biased: bool) -> None:
    changes = {"use_parallel_residual": side_by_side, "attention_bias": biased}
    biases = [name for name in load_file(NEOX / "model.safetensors") if ".attention." in name and "bias" in name]
    folder = edited(NEOX, tmp_path / "model", changes, {} if biased else dict.fromkeys(biases))
    trace: dict[str, np.ndarray] = {}
    load_model(folder, np.float64).logits(TOKENS, trace)
    want = neox_layer_by_definition(load_file(folder / "model.safetensors"), trace["embedding"], side_by_side)
    np.testing.assert_allclose(trace["layer.0"], want, rtol=0, atol=1e-11)


# Tests the configuration and the buffers that older releases write: the same model.
def test_neox_of_release_4(tmp_path: Path) -> None:
    changes = {"rope_parameters": None, "rotary_pct": 0.25, "rotary_emb_base": 10000, "attention_bias": None}
    buffers = {
        "gpt_neox.layers.0.attention.bias": np.ones((1, 1, 8, 8), np.bool_),
        "gpt_neox.layers.0.attention.masked_bias": np.float32([-1e9]),
        "gpt_neox.layers.0.attention.rotary_emb.inv_freq": np.ones(2, np.float32),
    }
    folder = edited(NEOX, tmp_path / "model", changes, buffers)
    assert np.array_equal(load_model(folder).logits(TOKENS), load_model(NEOX).logits(TOKENS))


def test_neox_tied(tmp_path: Path) -> None:
    folder = edited(NEOX, tmp_path / "model", {"tie_word_embeddings": True}, {"embed_out.weight": None})
    trace: dict[str, np.ndarray] = {}
    logits = load_model(folder, np.float64).logits(TOKENS, trace)
    table = load_file(NEOX / "model.safetensors")["gpt_neox.embed_in.weight"].astype(float)
    np.testing.assert_allclose(logits, trace["final"] @ table.T, rtol=0, atol=1e-11)


# Tests what older configurations of Gemma say: no key for the tied head, and `gelu` for its tanh form.
@pytest.mark.parametrize(
    "act", [{"hidden_act": "gelu"}, {"hidden_act": "gelu", "hidden_activation": "gelu_pytorch_tanh"}]
)
def test_gemma_of_release_4(tmp_path: Path, act: dict[str, str]) -> None:
    changes = {"tie_word_embeddings": None, "rope_parameters": None, "rope_theta": 10000.0, **act}
    folder = edited(GEMMA, tmp_path / "model", changes)
    assert np.array_equal(load_model(folder).logits(TOKENS), load_model(GEMMA).logits(TOKENS))


REFUSED = [
    (GEMMA, {"hidden_activation": "gelu"}, "activation 'gelu'"),
    (GEMMA, {"use_bidirectional_attention": True}, "use_bidirectional_attention"),
    (GEMMA, {"head_dim": None}, "'head_dim' is missing"),
    (GEMMA, {"tie_word_embeddings": False}, "'lm_head.weight' is missing"),
    (NEOX, {"hidden_act": "relu"}, "activation 'relu'"),
    (NEOX, {"num_attention_heads": 5}, "not a multiple of 5"),
    (NEOX, {"rope_parameters": None}, "'rotary_pct' is missing"),
    (NEOX, {"rope_parameters": {"rope_theta": 1e4}}, "'rotary_pct' is missing"),
    (NEOX, {"is_decoder_of_something": True}, "is_decoder_of_something"),
    (NEOX, {"attention_bias": False}, "has no place"),
    (NEOX, {"tie_word_embeddings": True}, "'embed_out.weight' has no place"),
]


# Tests that what would change the model silently is refused by name.
@pytest.mark.parametrize("source, changes, message", REFUSED, ids=[message for *_, message in REFUSED])
def test_refusals(tmp_path: Path, source: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        load_model(edited(source, tmp_path / "model", changes))


# Tests that loops are refused where the family has no such option.
def test_loops_of_other_families() -> None:
    from rondo.reference import Loop

    with pytest.raises(CheckpointError, match="for llama only; gemma"):
        load_model(GEMMA, loops=[Loop(0, 1, 2)])
