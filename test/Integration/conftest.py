# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Tools and models of the tests that compile and execute.

RONDO_BIN names the folder of the tools; the default is `build/bin` of this checkout. A missing tool fails the tests:
nothing here can be checked without them. The reference models come from this checkout.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "python"))  # the reference models, without installing the package


class Tools:
    """The compiler and the runner, as functions that raise with what the program said."""

    def __init__(self) -> None:
        self.folder = Path(os.environ.get("RONDO_BIN", ROOT / "build" / "bin"))

    def run(self, program: str, *arguments: object) -> str:
        """Runs a tool to success and returns what it printed."""
        command = [str(self.folder / program), *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=600)
        assert done.returncode == 0, f"{' '.join(command)}\n{done.stderr}{done.stdout}"
        return done.stdout

    def compile(self, source: Path, bundle: Path, *options: object) -> Path:
        """Compiles `source` to `bundle`."""
        self.run("rondoc", source, "-o", bundle, *options)
        return bundle

    def logits(self, bundle: Path, sequences: list[list[int]], *options: object) -> list[np.ndarray]:
        """Logits [positions, vocabulary] of each sequence, all in one run."""
        prompts = bundle.with_suffix(".tokens.json")
        prompts.write_text(json.dumps({"sequences": sequences}))
        out = bundle.with_suffix(".logits.safetensors")
        self.run("rondo-run", bundle, f"--tokens-file={prompts}", f"--logits={out}", *options)
        tensors = load_file(out)
        return [tensors[f"logits.{i}"] for i in range(len(sequences))]

    def generate(self, bundle: Path, sequences: list[list[int]], count: int, *options: object) -> list[list[int]]:
        """`count` greedy tokens for each sequence."""
        prompts = bundle.with_suffix(".tokens.json")
        prompts.write_text(json.dumps({"sequences": sequences}))
        out = self.run("rondo-run", bundle, f"--tokens-file={prompts}", f"--generate={count}", "--stop=",
                       "--output=json", *options)
        return [sequence["tokens"] for sequence in json.loads(out)["sequences"]]


@pytest.fixture(scope="session")
def tools() -> Tools:
    return Tools()


def write_llama(folder: Path, *, hidden: int = 64, layers: int = 2, heads: int = 4, kv_heads: int = 2,
                head_dim: int | None = None, width: int = 96, vocabulary: int = 160, biases: bool = False,
                tied: bool = True, rope: dict | None = None, head_norms: bool = False, seed: int = 1) -> Path:
    """A Hugging Face folder of a small Llama with random f32 weights; `rope` is the configuration's `rope_scaling`.

    With `head_norms` it is a Nanbeige of two loops, the family that norms each head of q and k.
    """
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    head = head_dim or hidden // heads

    def matrix(rows: int, columns: int) -> np.ndarray:
        return (rng.standard_normal((rows, columns)) / np.sqrt(columns)).astype(np.float32)

    def norm() -> np.ndarray:
        return (1 + 0.2 * rng.standard_normal(hidden)).astype(np.float32)

    tensors = {"model.embed_tokens.weight": matrix(vocabulary, hidden) * 8, "model.norm.weight": norm()}
    if not tied:
        tensors["lm_head.weight"] = matrix(vocabulary, hidden) * 8
    for layer in range(layers):
        name = f"model.layers.{layer}."
        tensors |= {
            name + "input_layernorm.weight": norm(), name + "post_attention_layernorm.weight": norm(),
            name + "self_attn.q_proj.weight": matrix(heads * head, hidden),
            name + "self_attn.k_proj.weight": matrix(kv_heads * head, hidden),
            name + "self_attn.v_proj.weight": matrix(kv_heads * head, hidden),
            name + "self_attn.o_proj.weight": matrix(hidden, heads * head),
            name + "mlp.gate_proj.weight": matrix(width, hidden), name + "mlp.up_proj.weight": matrix(width, hidden),
            name + "mlp.down_proj.weight": matrix(hidden, width)}
        if head_norms:
            tensors |= {f"{name}self_attn.{which}_layernorm.weight":
                        (1 + 0.2 * rng.standard_normal(head)).astype(np.float32) for which in "qk"}
    if biases:
        tensors |= {name.removesuffix("weight") + "bias": rng.standard_normal(len(value)).astype(np.float32)
                    for name, value in tensors.items() if "_proj." in name}
    save_file(tensors, folder / "model.safetensors")
    config = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "attention_bias": biases,
              "mlp_bias": biases, "hidden_act": "silu", "hidden_size": hidden, "intermediate_size": width,
              "num_hidden_layers": layers, "num_attention_heads": heads, "num_key_value_heads": kv_heads,
              "head_dim": head, "vocab_size": vocabulary, "max_position_embeddings": 2048, "rms_norm_eps": 1e-5,
              "rope_theta": 10000.0, "rope_scaling": rope, "tie_word_embeddings": tied, "torch_dtype": "float32",
              "bos_token_id": 1, "eos_token_id": 2}
    if head_norms:
        config |= {"architectures": ["NanbeigeForCausalLM"], "model_type": "nanbeige", "qk_layernorm": True,
                   "num_loops": 2, "skip_loop_final_norm": False}
    (folder / "config.json").write_text(json.dumps(config))
    return folder
