#!/usr/bin/env python3
# Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Does a routed visit cost what its rows cost?

Makes Mixture-of-Recursions folders with random weights that differ in `mor.capacity` alone (the shape of SmolLM2-135M,
four layers that are visited three times between two of their own), and times the prefill of one prompt in alternating
rounds. The prediction scales the time of capacities 1,1,1 by the multiply-adds of the rows that each visit computes:
those of the stages in the bundle's manifest, and the products of attention over the positions that a row sees.

    python3 benchmarks/routed_cost.py --binaries build/bin --scratch FOLDER
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
from pathlib import Path

import ml_dtypes
import numpy as np
from safetensors.numpy import save_file

HIDDEN, HEADS, KV_HEADS, HEAD_DIM, INNER, VOCABULARY = 576, 9, 3, 64, 1536, 8192
BLOCK, VISITS, PROMPT = 4, 3, 512
CAPACITIES = ("1.0,1.0,1.0", "1.0,0.6666666666666666,0.3333333333333333", "1.0,0.3333333333333333,0.3333333333333333")

TRAINING = """
recursive: {{enable: true, base_depth: null, num_recursion: {visits}, sharing: middle_cycle, ln_share: true,
  initialization: stepwise}}
kv_sharing: {{enable: false, base_depth: null, num_recursion: null, sharing: null, update_cache: false}}
mor: {{enable: true, type: expert, capacity: "{capacity}", rand_router: false, router_type: linear, z_loss: false,
  z_coeff: 1.0e-5, temp: 1.0, expert: {{cap_warmup_step: 0, router_func: sigmoid, alpha: 0.1, sampling: aux_loss,
  include_first: true, coeff: 0.001, gating: weighted}}}}
"""


def make_weights() -> dict[str, np.ndarray]:
    """Random weights by the names of the training code; visits have equal copies."""
    rng = np.random.default_rng(0)

    def draw(*shape: int) -> np.ndarray:
        return (rng.standard_normal(shape) / np.sqrt(shape[-1])).astype(ml_dtypes.bfloat16)

    def layer() -> dict[str, np.ndarray]:
        return {
            "self_attn.q_proj.weight": draw(HEADS * HEAD_DIM, HIDDEN),
            "self_attn.k_proj.weight": draw(KV_HEADS * HEAD_DIM, HIDDEN),
            "self_attn.v_proj.weight": draw(KV_HEADS * HEAD_DIM, HIDDEN),
            "self_attn.o_proj.weight": draw(HIDDEN, HEADS * HEAD_DIM),
            "mlp.gate_proj.weight": draw(INNER, HIDDEN),
            "mlp.up_proj.weight": draw(INNER, HIDDEN),
            "mlp.down_proj.weight": draw(HIDDEN, INNER),
            "input_layernorm.weight": np.ones(HIDDEN, ml_dtypes.bfloat16),
            "post_attention_layernorm.weight": np.ones(HIDDEN, ml_dtypes.bfloat16),
        }

    weights = {"model.embed_tokens.weight": draw(VOCABULARY, HIDDEN), "model.norm.weight": np.ones(HIDDEN, ml_dtypes.bfloat16)}
    weights["lm_head.weight"] = weights["model.embed_tokens.weight"].copy()
    for number in (0, VISITS + 1):
        weights |= {f"model.layers.{number}.{name}": values for name, values in layer().items()}
    for j in range(BLOCK):
        shared = layer()
        for r in range(VISITS):
            weights |= {f"model.layers.{1 + r}.block.{j}.{name}": values.copy() for name, values in shared.items()}
    for r in range(VISITS):
        weights[f"model.layers.{1 + r}.mor_router.router.weight"] = draw(1, HIDDEN)
    return weights


def write_folder(folder: Path, capacity: str, weights: dict[str, np.ndarray]) -> None:
    """A folder as the training code leaves it."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file(weights, folder / "model.safetensors")
    config = {
        "architectures": ["MoRLlamaForCausalLM"], "model_type": "llama", "hidden_size": HIDDEN, "hidden_act": "silu",
        "num_attention_heads": HEADS, "num_key_value_heads": KV_HEADS, "head_dim": HEAD_DIM, "intermediate_size": INNER,
        "num_hidden_layers": 2 + BLOCK * VISITS, "vocab_size": VOCABULARY, "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
        "max_position_embeddings": 2048, "tie_word_embeddings": True, "attention_bias": False, "mlp_bias": False,
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "train_config.yaml").write_text(TRAINING.format(visits=VISITS, capacity=capacity))


def count_work(manifest: dict, capacity: str) -> float:
    """Multiply-adds, times two, of a prefill: routed bodies have the rows of their visit, the head has one."""
    rows = [max(1, int(float(share) * PROMPT)) for share in capacity.split(",")]
    work = 0.0
    for stage in manifest["stages"]:
        body = stage["name"].split(".")[0]
        if body == "routed_layer_body":
            work += stage["flops"] * stage["executions"] / VISITS * sum(rows)
        elif stage["executions"] > 1 or body == "prelude":
            work += stage["flops"] * stage["executions"] * PROMPT
        else:
            work += stage["flops"]
    for seen in [PROMPT] * 2 + rows * BLOCK:
        work += 4 * HEADS * HEAD_DIM * seen * (seen + 1) / 2
    return work


def main() -> None:
    """Measures and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--binaries", type=Path, default=Path("build/bin"))
    parser.add_argument("--scratch", type=Path, required=True, help="folder for the models (35 MB)")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--weights", default="keep", help="as of rondoc")
    options = parser.parse_args()
    weights = make_weights()
    bundles, work, times = [], [], [[] for _ in CAPACITIES]
    for number, capacity in enumerate(CAPACITIES):
        folder = options.scratch / f"capacity-{number}"
        write_folder(folder, capacity, weights)
        bundles.append(folder.with_suffix(".rondo"))
        subprocess.run([options.binaries / "rondoc", folder, "-o", bundles[-1], f"--weights={options.weights}"],
                       check=True, capture_output=True)  # fmt: skip
        described = subprocess.run([options.binaries / "rondo-run", bundles[-1], "--describe=json"], check=True,
                                   capture_output=True, text=True)  # fmt: skip
        work.append(count_work(json.loads(described.stdout), capacity))
    for round_number in range(options.rounds):
        for i in range(len(bundles)):
            number = (i + round_number) % len(bundles)
            ran = subprocess.run([options.binaries / "rondo-run", bundles[number], f"--bench=prefill:{PROMPT},repeat:5"],
                                 check=True, capture_output=True, text=True)  # fmt: skip
            times[number].append(PROMPT / json.loads(ran.stdout)["prefill"]["tokens_per_second"]["median"])
    print("| capacity | prefill of 512, ms | to 1,1,1 | predicted by rows | ratio (quartiles) |\n|---|---|---|---|---|")
    for number, capacity in enumerate(CAPACITIES):
        shares = [own / full for own, full in zip(times[number], times[0], strict=True)]
        predicted = work[number] / work[0]
        low, middle, high = statistics.quantiles([share / predicted for share in shares], n=4)
        print(f"| {capacity} | {1e3 * statistics.median(times[number]):.1f} | {statistics.median(shares):.3f} "
              f"| {predicted:.3f} | {middle:.3f} ({low:.3f}-{high:.3f}) |")  # fmt: skip


if __name__ == "__main__":
    main()
