# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""GPT-NeoX in its variants: compiled and interpreted against the NumPy model, and the same bits however it is run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from conftest import Tools
from edited_cases import check_invariance, edit, interpret, make_prompts

from rondo.reference import load_model

CASE = "gpt_neox/parallel"
# Largest difference of logits from the f64 model, which reach about 12.
TOLERANCE = 5e-5
BIASES = [f"gpt_neox.layers.{layer}.attention.{name}.bias" for layer in range(3) for name in ("query_key_value", "dense")]
VARIANTS = {
    "parallel": ({}, {}),
    "sequential": ({"use_parallel_residual": False}, {}),
    "no-attention-bias-tied": (
        {"attention_bias": False, "tie_word_embeddings": True},
        dict.fromkeys([*BIASES, "embed_out.weight"])),
    "all-of-each-head-tanh": (
        {"rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 1.0},
         "hidden_act": "gelu_new"}, {}),
    "old-style-half-of-each-head": (
        {"rope_parameters": None, "rotary_pct": 0.5, "rotary_emb_base": 5000}, {}),
}  # fmt: skip


@pytest.mark.parametrize("name", VARIANTS)
def test_equals_reference(tools: Tools, tmp_path: Path, name: str) -> None:
    model = edit(CASE, tmp_path / "model", *VARIANTS[name])
    reference = load_model(model, np.float64)
    bundle = tools.compile(model, tmp_path / "model.rondo", "--exact")
    prompts = make_prompts()
    for tokens, got in zip(prompts, tools.logits(bundle, prompts), strict=True):
        assert np.abs(got - reference.logits(tokens)).max() <= TOLERANCE
    got = interpret(tools, model, tmp_path, prompts[1])["logits"]
    assert np.abs(got - reference.logits(prompts[1])).max() <= TOLERANCE / 10


@pytest.mark.parametrize("name", ["parallel", "sequential"])
@pytest.mark.parametrize("options", [["--exact"], ["--weights=q8_0"]], ids=["exact", "q8_0"])
def test_same_bits_however_it_is_run(tools: Tools, tmp_path: Path, name: str, options: list[str]) -> None:
    check_invariance(tools, edit(CASE, tmp_path / "model", *VARIANTS[name]), tmp_path, *options)


def test_loop_over_layers(tools: Tools, tmp_path: Path) -> None:
    """Layers that are visited again, compiled against the interpreter."""
    model = edit(CASE, tmp_path / "model", {})
    bundle = tools.compile(model, tmp_path / "model.rondo", "--exact", "--loop=1:2:3")
    tokens = make_prompts()[1]
    want = interpret(tools, model, tmp_path, tokens, "--loop=1:2:3")["logits"]
    assert np.abs(tools.logits(bundle, [tokens])[0] - want).max() <= TOLERANCE
