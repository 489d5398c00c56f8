# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What the oracle cases of ALBERT do not reach: groups, files with more or fewer heads, token types, refusals."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from rondo.reference import CheckpointError, Inputs, evaluate, load_model, read_inputs
from rondo.reference.__main__ import main
from rondo.reference.albert import group_of
from rondo.reference.layers import gelu, gelu_tanh

from reference_edits import edited

ORACLES = Path(__file__).parents[1] / "oracles" / "albert"
ENCODER, MASKED, TWO_GROUPS = (ORACLES / name for name in ("encoder_pooled", "mlm_1group", "mlm_2groups"))
TOKENS = (5, 17, 250, 3, 99, 8)
INPUTS = Inputs((TOKENS,))


def logits(folder: Path, inputs: Inputs = INPUTS) -> np.ndarray:
    return evaluate(load_model(folder, np.float64), inputs)[0]["logits.0"]


# Tests which group each visit runs where the groups do not divide the visits.
def test_group_of() -> None:
    assert [group_of(visit, 12, 5) for visit in range(12)] == [0, 0, 0, 1, 1, 2, 2, 2, 3, 3, 4, 4]
    assert [group_of(visit, 7, 2) for visit in range(7)] == [0, 0, 0, 0, 1, 1, 1]


# Tests that a group of two layers, visited three times, is what two groups of one layer are when they alternate.
def test_layers_in_a_group(tmp_path: Path) -> None:
    prefix, weights = "albert.encoder.albert_layer_groups", load_file(TWO_GROUPS / "model.safetensors")
    second = {name: value for name, value in weights.items() if name.startswith(f"{prefix}.1.albert_layers.0.")}
    inner = {
        name.replace(f"{prefix}.1.albert_layers.0.", f"{prefix}.0.albert_layers.1."): v for name, v in second.items()
    }
    changes = {"num_hidden_groups": 1, "inner_group_num": 2, "num_hidden_layers": 3}
    folder = edited(TWO_GROUPS, tmp_path / "model", changes, dict.fromkeys(second) | inner)
    one, two = load_model(folder), load_model(TWO_GROUPS)
    trace: dict[str, np.ndarray] = {}
    x = one.states(TOKENS, [0] * 6, trace)
    assert "layer.5" in trace and "hidden.2" in trace and "hidden.3" not in trace
    two.groups = (two.groups[0] + two.groups[1],)
    two.visits = 3
    assert np.array_equal(two.states(TOKENS, [0] * 6), x)


# Tests that absent token types are zeros, and that types count.
def test_token_types() -> None:
    zeros = logits(MASKED, Inputs((TOKENS,), ((0,) * 6,)))
    assert np.array_equal(zeros, logits(MASKED))
    assert np.abs(zeros - logits(MASKED, Inputs((TOKENS,), ((1,) * 6,)))).max() > 1e-2


# Tests both forms of gelu against the definitions, and that the configuration chooses.
def test_activations(tmp_path: Path) -> None:
    x = np.linspace(-4, 4, 33)
    np.testing.assert_allclose(gelu(x), [v * (1 + math.erf(v / math.sqrt(2))) / 2 for v in x], atol=1e-15)
    tanh = [v / (1 + math.exp(-2 * math.sqrt(2 / math.pi) * (v + 0.044715 * v**3))) for v in x]
    np.testing.assert_allclose(gelu_tanh(x), tanh, atol=1e-15)
    assert 1e-4 < np.abs(gelu(x) - gelu_tanh(x)).max() < 1e-3
    exact = logits(edited(MASKED, tmp_path / "exact", {"hidden_act": "gelu"}))
    assert 1e-5 < np.abs(exact - logits(MASKED)).max() < 1e-1


# Tests a file with pooler and head, with what the head is tied to, and with the buffer of old releases.
def test_file_with_everything(tmp_path: Path) -> None:
    weights = load_file(MASKED / "model.safetensors")
    pooler = {f"albert.{k}": v for k, v in load_file(ENCODER / "model.safetensors").items() if k.startswith("pooler")}
    more = {
        "predictions.decoder.weight": weights["albert.embeddings.word_embeddings.weight"],
        "predictions.decoder.bias": weights["predictions.bias"],
        "albert.embeddings.position_ids": np.arange(64)[None],
    }
    folder = edited(MASKED, tmp_path / "model", {"tie_word_embeddings": None, "layer_norm_eps": None}, pooler | more)
    found, trace = evaluate(load_model(folder, np.float64), INPUTS)
    assert sorted(found) == ["logits.0", "pooler_output.0"]
    assert np.array_equal(found["logits.0"], logits(MASKED))
    w, b = (pooler[f"albert.pooler.{part}"].astype(float) for part in ("weight", "bias"))
    np.testing.assert_allclose(found["pooler_output.0"], np.tanh(w @ trace["hidden.0.5"][0] + b), rtol=0, atol=1e-12)


def test_file_without_heads(tmp_path: Path) -> None:
    folder = edited(ENCODER, tmp_path / "model", {}, {"pooler.weight": None, "pooler.bias": None})
    found, trace = evaluate(load_model(folder), INPUTS)
    assert sorted(found) == ["last_hidden_state.0"]
    assert np.array_equal(found["last_hidden_state.0"], trace["hidden.0.3"])


# Tests the command line on a case's own inputs.
def test_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = [f"--tokens-file={ENCODER / 'inputs.json'}", f"--logits={tmp_path / 'l'}", f"--trace={tmp_path / 't'}"]
    assert main([str(ENCODER), *files]) == 0
    found = load_file(tmp_path / "l")
    assert sorted(found) == [f"{kind}.{n}" for kind in ("last_hidden_state", "pooler_output") for n in (0, 1)]
    want = evaluate(load_model(ENCODER), read_inputs(ENCODER / "inputs.json"))[0]
    assert all(np.array_equal(found[name], want[name]) for name in want)
    assert {"embedding.0", "hidden.1.3"} <= load_file(tmp_path / "t").keys()
    assert main([str(ENCODER), "--tokens=1", "--generate=1"]) == 1
    assert "an encoder generates no tokens; leave out --generate" in capsys.readouterr().err


BAD_INPUTS = [
    ('{"sequences": [[1]], "token_type_ids": [1]}', "'token_type_ids' to be a list of lists of numbers"),
    ('{"sequences": [[1, 2]], "token_type_ids": [[1]]}', "one number for each token"),
    ('{"sequences": [[1]], "token_type_ids": [[2]]}', "token type 2 is outside its vocabulary of 2"),
    ('{"sequences": [[256]]}', "token 256 is outside its vocabulary of 256"),
    ('{"sequences": [[]]}', "expected 1 to 64 tokens in a sequence, got 0"),
    ('{"sequences": [[1]], "num_steps": [1]}', "does not take 'num_steps'"),
]


@pytest.mark.parametrize("content, message", BAD_INPUTS)
def test_bad_inputs(tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str, message: str) -> None:
    (tmp_path / "inputs.json").write_text(content)
    assert main([str(MASKED), f"--tokens-file={tmp_path / 'inputs.json'}", f"--logits={tmp_path / 'l'}"]) == 1
    assert message in capsys.readouterr().err


def test_too_long() -> None:
    with pytest.raises(CheckpointError, match="expected 1 to 64 tokens in a sequence, got 65"):
        logits(MASKED, Inputs(((1,) * 65,)))


# Tests that models of tokens alone refuse token types.
def test_token_types_of_a_decoder(llama_case: Path) -> None:
    with pytest.raises(CheckpointError, match="does not take 'token_type_ids'; leave it out"):
        evaluate(load_model(llama_case), Inputs(((1,),), ((0,),)))


REFUSED = [
    ({"position_embedding_type": "relative_key"}, "position embeddings 'relative_key'"),
    ({"tie_word_embeddings": False}, "'tie_word_embeddings' false"),
    ({"num_hidden_groups": 7}, "7 layer groups cannot share 6 visits"),
    ({"num_hidden_groups": 0}, "0 layer groups cannot share"),
    ({"num_attention_heads": 5}, "not a multiple of 5 attention heads"),
    ({"hidden_act": "silu"}, "activation 'silu'"),
    ({"inner_group_num": 2}, "is missing"),
    ({"num_hidden_layers": None}, "'num_hidden_layers' is missing"),
    ({"is_decoder": True}, "is_decoder"),
]


@pytest.mark.parametrize("changes, message", REFUSED, ids=[message for _, message in REFUSED])
def test_refusals(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        load_model(edited(MASKED, tmp_path / "model", changes))


# Tests that tied tensors with other values, and the head of sentence order, are refused.
@pytest.mark.parametrize(
    "name, shape, message",
    [
        ("predictions.decoder.weight", (256, 24), "'predictions.decoder.weight' differs"),
        ("predictions.decoder.bias", (256,), "'predictions.decoder.bias' differs"),
        ("sop_classifier.classifier.bias", (2,), "'sop_classifier.classifier.bias' has no place"),
    ],
)
def test_refused_tensors(tmp_path: Path, name: str, shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        load_model(edited(MASKED, tmp_path / "model", {}, {name: np.ones(shape, np.float32)}))
