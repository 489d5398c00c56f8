# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Nanbeige 4.2: Llama layers, the whole stack (or its middle) visited several times.

    h = embedding[tokens]
    num_loops times:  h = layers(h);  h = norm(h)        # KV slot = loop * layers + layer
    logits = head(h)

`skip_loop_final_norm` keeps only the last norm. With `enable_double_loop_split` one pass is made in which the middle m
of n layers runs n / m + 1 times, with no norm in between; KV slots are then numbered by execution, or, with
`loop_share_kv`, by layer: later visits read the keys and values of the first.

Source: `modeling_nanbeige.py` of the Nanbeige4.2-3B release.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from rondo.reference import llama
from rondo.reference.checkpoint import Checkpoint
from rondo.reference.config import check_keys, need, rope, stop_tokens
from rondo.reference.decoder import Decoder
from rondo.reference.errors import CheckpointError
from rondo.reference.schedule import EndVisit, Norm, Run, Step

# Keys that `schedule` and llama.weights read.
_READ_KEYS = {
    "num_loops", "loop_loss_weights", "skip_loop_final_norm", "enable_double_loop_split", "loop_middle_layers",
    "loop_share_kv", "qk_layernorm",
}  # fmt: skip
# Parameters of n-gram embeddings, hyper-connections and depth attention: without effect while the switch of each
# (`emb_neighbor_num`, `enable_hyper_connection`, `enable_mhc`, `enable_depth_attention`) is off, and an error is
# raised when it is on. `kv_channels` repeats `head_dim`.
_INERT_KEYS = {
    "depth_attention_recent_window", "depth_attention_static_anchor_once", "kv_channels", "mhc_init_gating_factor",
    "mhc_sinkhorn_iterations", "ngram_fused_mode", "num_residual_streams",
}  # fmt: skip


def build(checkpoint: Checkpoint, dtype: np.dtype) -> Decoder:
    """A Nanbeige model from a checkpoint."""
    config = checkpoint.config
    check_keys(config, llama.KNOWN_KEYS | _READ_KEYS | _INERT_KEYS)
    sizes = llama.shape(config)
    return Decoder(
        sizes,
        llama.weights(checkpoint, sizes, dtype),
        rope(config),
        schedule(config, sizes.layers),
        stop_tokens(config),
    )


def schedule(config: Mapping[str, Any], layers: int) -> tuple[Step, ...]:
    """What runs, from the configuration. `loop_loss_weights`, if not empty, stands for one loop more than it has."""
    if config.get("enable_double_loop_split"):
        return split_schedule(layers, config.get("loop_middle_layers"), bool(config.get("loop_share_kv")))
    losses = config.get("loop_loss_weights") or []
    loops = len(losses) + 1 if losses else need(config, "num_loops")
    if loops < 1:
        raise CheckpointError(f"'num_loops' must be at least 1, got {loops}")
    steps: list[Step] = []
    for loop in range(loops):
        steps += [Run(layer, loop * layers + layer) for layer in range(layers)]
        if not config.get("skip_loop_final_norm"):
            steps.append(Norm())
        steps.append(EndVisit(loop))
    if config.get("skip_loop_final_norm"):
        steps.append(Norm())
    return tuple(steps)


def split_schedule(layers: int, middle: int | None, share_kv: bool) -> tuple[Step, ...]:
    """Outer layers once, the middle ones layers / middle + 1 times between them; `middle` defaults to half."""
    if middle is None:
        if layers % 2:
            raise CheckpointError(f"a loop split of {layers} layers needs 'loop_middle_layers'")
        middle = layers // 2
    if middle < 1 or layers % middle:
        raise CheckpointError(f"'loop_middle_layers' must divide the {layers} layers, got {middle}")
    begin = (layers - middle) // 2
    end = begin + middle
    steps: list[Step] = []
    slot = 0

    def run(first: int, last: int, repeated: bool) -> None:
        nonlocal slot
        for layer in range(first, last):
            steps.append(Run(layer, layer, not repeated) if share_kv else Run(layer, slot))
            slot += 1

    run(0, begin, False)
    for visit in range(layers // middle + 1):
        run(begin, end, visit > 0)
        steps.append(EndVisit(visit))
    run(end, layers, False)
    return (*steps, Norm())
