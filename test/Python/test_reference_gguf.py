# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""GGUF files of Gemma and GPT-NeoX in the reference models; those of Llama are in test_reference_models.py."""

from __future__ import annotations

import json
from pathlib import Path

import gguf
import numpy as np
import pytest
from conftest import ORACLES
from safetensors.numpy import load_file

from rondo.reference import CheckpointError, load_model

TOKENS = [5, 17, 120, 3, 99, 8]


def write_other_gguf(case: Path, path: Path) -> None:
    """A Gemma or GPT-NeoX case as GGUF, with the changes that llama.cpp's converter makes."""
    config = json.loads((case / "config.json").read_text())
    neox = config["model_type"] == "gpt_neox"
    writer = gguf.GGUFWriter(path, "gptneox" if neox else "gemma")
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(heads := config["num_attention_heads"])
    if neox:
        size = config["hidden_size"] // heads
        writer.add_rope_dimension_count(int(size * config["rope_parameters"]["partial_rotary_factor"]))
        writer.add_layer_norm_eps(config["layer_norm_eps"])
        writer.add_parallel_residual(config["use_parallel_residual"])
        names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.GPTNEOX, config["num_hidden_layers"])
    else:
        writer.add_head_count_kv(config["num_key_value_heads"])
        writer.add_key_length(config["head_dim"])
        writer.add_value_length(config["head_dim"])
        writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
        names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.GEMMA, config["num_hidden_layers"])
    for name, value in load_file(case / "model.safetensors").items():
        if "query_key_value" in name:
            value = value.reshape(heads, 3, -1, *value.shape[1:]).swapaxes(0, 1).reshape(value.shape)
        elif not neox and "norm" in name:
            value = value + 1
        writer.add_tensor(names.get_name(name, try_suffixes=(".weight", ".bias")), value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


# Tests that undoing the converter's changes to rows and norms gives the logits of the folder.
@pytest.mark.parametrize("case", ["gemma/mqa", "gpt_neox/parallel"])
def test_other_gguf(tmp_path: Path, case: str) -> None:
    write_other_gguf(ORACLES / case, tmp_path / "model.gguf")
    got, want = load_model(tmp_path / "model.gguf").logits(TOKENS), load_model(ORACLES / case).logits(TOKENS)
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-5)


def test_unknown_architecture(tmp_path: Path) -> None:
    writer = gguf.GGUFWriter(tmp_path / "model.gguf", "bert")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(
        CheckpointError, match="architecture 'bert' is not supported; known: llama, nanbeige, gemma, gptneox"
    ):
        load_model(tmp_path / "model.gguf")
