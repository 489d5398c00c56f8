# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The modules against the NumPy reference, their exits, and their gradients against differences."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from conftest import MISSING, ORACLES, SOURCES, write_recursive, write_source

import rondo.torch
from rondo.reference import load_model

torch = pytest.importorskip("torch", reason=MISSING)

TOKENS = [[5, 17, 120, 3, 99, 8, 8, 41], [1, 2, 3, 4, 100, 7, 0, 64]]
TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-5}  # of the largest logit
SHARINGS = [("cycle", 2), ("sequence", 3), ("middle_cycle", 2), ("middle_sequence", 2)]
# `lower` copies the first layers, so that the first depth has no pairs; a scale other than 1 is in the first.
DELTAS = {
    "bare": {},
    "rank3": {"rank": 3, "scale": 0.5},
    "absent": {"rank": 1 << 10, "initialization": "lower"},
    "some": {"rank": 2, "targets": ("o", "up")},
}


def array(tensor: torch.Tensor) -> np.ndarray:
    return np.array(tensor.tolist())


def differ(got: torch.Tensor, wanted: np.ndarray) -> float:
    """Largest difference as a part of the largest wanted value."""
    return float(np.abs(array(got) - wanted).max() / np.abs(wanted).max())


# Tests that ordinary models, the teachers, are those of the reference, in both types.
@pytest.mark.parametrize("dtype", TOLERANCE, ids=["f64", "f32"])
@pytest.mark.parametrize("case", [*SOURCES.values(), "llama/gqa2_tied", "llama/gqa_rope_llama3"])
def test_ordinary(case: str, dtype: torch.dtype) -> None:
    got = rondo.torch.load(ORACLES / case, dtype)(torch.tensor(TOKENS))
    model = load_model(ORACLES / case, np.float64)
    for logits, tokens in zip(got, TOKENS, strict=True):
        assert differ(logits, model.logits(tokens)) < TOLERANCE[dtype]


# Tests every family, sharing, kind of norms and kind of deltas, all logits of two sequences at once.
@pytest.mark.parametrize("deltas", DELTAS)
@pytest.mark.parametrize("norms", ["shared", "per-depth"])
@pytest.mark.parametrize("sharing, visits", SHARINGS)
@pytest.mark.parametrize("family", SOURCES)
def test_recursive(tmp_path: Path, family: str, sharing: str, visits: int, norms: str, deltas: str) -> None:
    source = write_source(tmp_path / "source", family)
    folder = write_recursive(source, tmp_path / "r", sharing, visits, norms=norms, **DELTAS[deltas])
    reference = load_model(folder, np.float64)
    for dtype, tolerance in TOLERANCE.items():
        got = rondo.torch.load(folder, dtype)(torch.tensor(TOKENS))
        assert max(differ(one, reference.logits(t)) for one, t in zip(got, TOKENS, strict=True)) < tolerance


# Tests that a GPT-NeoX whose branches follow one another, and one with another activation, are the reference's too.
@pytest.mark.parametrize("change", [{"use_parallel_residual": False}, {"hidden_act": "gelu_new"}])
def test_neox_configurations(tmp_path: Path, change: dict[str, object]) -> None:
    folder = write_recursive(write_source(tmp_path / "s", "gpt_neox", **change), tmp_path / "r", "cycle", 3, rank=2)
    got = rondo.torch.load(folder, torch.float64)(torch.tensor(TOKENS[:1]))[0]
    assert differ(got, load_model(folder, np.float64).logits(TOKENS[0])) < 1e-12


# Tests that exits are the reference's states at the end of each visit, through its norm and head; the last one is the
# whole model's, behind the coda if there is one.
@pytest.mark.parametrize("sharing, visits", [("cycle", 3), ("middle_cycle", 4)])
@pytest.mark.parametrize("family", SOURCES)
def test_exits(tmp_path: Path, family: str, sharing: str, visits: int) -> None:
    folder = write_recursive(write_source(tmp_path / "s", family), tmp_path / "r", sharing, visits, rank=2)
    model, reference = rondo.torch.load(folder, torch.float64), load_model(folder, np.float64)
    trace: dict[str, np.ndarray] = {}
    whole = reference.logits(TOKENS[0], trace)
    exits = [model.logits(states)[0] for states in model.states(torch.tensor(TOKENS[:1]))]
    assert len(exits) == model.exits == visits
    for visit, logits in enumerate(exits[:-1]):
        wanted = reference.head(reference.weights.final_norm(trace[f"hidden.{visit}"]))
        assert differ(logits, wanted) < 1e-12
    assert differ(exits[-1], whole) < 1e-12


# Tests that visits of 'sequence' end nowhere but at the model's end, and those of an ordinary model neither.
def test_single_exit(tmp_path: Path) -> None:
    source = write_source(tmp_path / "s", "llama")
    model = rondo.torch.load(write_recursive(source, tmp_path / "r", "sequence", 2))
    assert model.exits == rondo.torch.load(source).exits == 1
    assert len(list(model.states(torch.tensor(TOKENS)))) == 1


# Tests that a shared parameter exists once, whatever the number of visits, and what varies once for each.
def test_parameters_are_shared(tmp_path: Path) -> None:
    source = write_source(tmp_path / "s", "llama")
    folder = write_recursive(source, tmp_path / "r", "cycle", 3, norms="per-depth", rank=2, targets=("q",))
    names = [name for name, _ in rondo.torch.load(folder).named_parameters() if ".layers.1." in name]
    assert sum("q_proj.weight" in name for name in names) == 1
    assert [name for name in names if "input_layernorm" in name] == [
        f"model.layers.1.input_layernorm.{visit}.weight" for visit in range(3)
    ]
    assert sum("q_proj.lora_A." in name for name in names) == sum("q_proj.lora_B." in name for name in names) == 3


# Tests gradients of the whole objective in float64 against central differences: of shared weights, to which all visits
# contribute, of what one depth has alone, of the norms and of both tables.
@pytest.mark.parametrize("family, names", [
    ("llama", ["model.embed_tokens.weight", "lm_head.weight", "model.norm.weight", "model.layers.0.mlp.up_proj.weight",
               "model.layers.1.self_attn.k_proj.weight", "model.layers.1.input_layernorm.1.weight",
               "model.layers.0.self_attn.q_proj.lora_A.0.weight", "model.layers.0.mlp.down_proj.lora_B.2.weight"]),
    ("gpt_neox", ["gpt_neox.embed_in.weight", "gpt_neox.layers.0.attention.query_key_value.weight",
                  "gpt_neox.layers.1.mlp.dense_h_to_4h.bias", "gpt_neox.layers.1.input_layernorm.2.bias",
                  "gpt_neox.layers.0.attention.query_key_value.lora_B.1.weight"]),
])  # fmt: skip
def test_gradients(tmp_path: Path, family: str, names: list[str]) -> None:
    from rondo.torch.losses import Objective

    source = write_source(tmp_path / "s", family)
    folder = write_recursive(source, tmp_path / "r", "cycle", 3, norms="per-depth", rank=2)
    model, teacher = (rondo.torch.load(path, torch.float64) for path in (folder, source))
    windows, objective = torch.tensor(TOKENS), Objective((0.3, 0.2), 0.7, 1.5)
    objective(model, windows, teacher).backward()
    rng = np.random.default_rng(3)
    parameters = dict(model.named_parameters())
    for name in names:
        flat, gradient = parameters[name].data.view(-1), parameters[name].grad.view(-1)
        steep = gradient.abs().argmax().item()
        for place in [steep, *rng.integers(0, len(flat), 2).tolist()]:
            assert gradient[place].item() == pytest.approx(
                slope(objective, model, windows, teacher, flat, place), 1e-5, 1e-8
            )


def slope(objective, model, windows, teacher, flat: torch.Tensor, place: int, step: float = 1e-5) -> float:
    """Central difference of the loss in one element. The exits' targets, which no gradient passes, are held fixed."""
    from rondo.torch import losses

    fixed = [model.logits(states).detach() for states in model.states(windows[:, :-1])][-1]
    plain, kept = losses.distance, flat[place].item()
    values = []
    for sign in (1, -1):
        flat[place] = kept + sign * step
        losses.distance = lambda known, student, temperature=None: (
            plain(fixed, student) if temperature is None else plain(known, student, temperature)
        )
        try:
            values.append(objective(model, windows, teacher).item())
        finally:
            losses.distance = plain
    flat[place] = kept
    return (values[0] - values[1]) / (2 * step)


# Tests that a shared weight's gradient is the sum over the visits: that of the ordinary model with the same weights.
def test_shared_gradients_are_sums(tmp_path: Path) -> None:
    from rondo.torch.losses import cross_entropy

    source = write_source(tmp_path / "s", "llama")
    shared = rondo.torch.load(write_recursive(source, tmp_path / "r", "cycle", 2), torch.float64)
    unrolled = rondo.torch.load(source, torch.float64)
    with torch.no_grad():
        for name, parameter in unrolled.named_parameters():
            stack, dot, rest = name.partition(".layers.")
            number, _, rest = rest.partition(".")
            like = f"{stack}.layers.{int(number) % 3}.{rest}" if dot else name
            parameter.copy_(shared.get_parameter(like))
    windows = torch.tensor(TOKENS)
    for model in (shared, unrolled):
        cross_entropy(model(windows[:, :-1]), windows[:, 1:]).backward()
    name = "model.layers.{}.self_attn.o_proj.weight"
    parts = [unrolled.get_parameter(name.format(layer)).grad for layer in (1, 4)]
    assert differ(shared.get_parameter(name.format(1)).grad, array(parts[0] + parts[1])) < 1e-10
    assert parts[0].abs().max() > 1e-3 and parts[1].abs().max() > 1e-3


# Tests that the distance is the forward divergence, by hand on two distributions over two tokens.
def test_distance() -> None:
    from rondo.torch.losses import distance

    teacher, student = (torch.tensor([[[p, 1 - p]]], dtype=torch.float64).log() for p in (0.8, 0.5))
    wanted = 0.8 * np.log(0.8 / 0.5) + 0.2 * np.log(0.2 / 0.5)
    assert distance(teacher, student).item() == pytest.approx(wanted)
    warm = 0.8**0.5 / (0.8**0.5 + 0.2**0.5)
    wanted = 4 * (warm * np.log(warm / 0.5) + (1 - warm) * np.log((1 - warm) / 0.5))
    assert distance(teacher, student, temperature=2.0).item() == pytest.approx(wanted)
