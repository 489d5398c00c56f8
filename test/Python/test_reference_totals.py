# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Numbers of tensors and parameters that reference models take from the sizes of published models."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rondo.reference import albert, ouro
from rondo.reference.checkpoint import Checkpoint

ORACLES = Path(__file__).parents[1] / "oracles"


class Counting(Checkpoint):
    """A checkpoint that has every tensor, all zero and without memory, and counts what is taken."""

    def __init__(self, config: dict[str, Any], absent: tuple[str, ...] = ()) -> None:
        super().__init__("counting", config, {})
        self.absent = absent
        self.sizes: dict[str, int] = {}

    def __contains__(self, tensor: str) -> bool:
        return not tensor.startswith(self.absent)

    def take(self, tensor: str, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        assert tensor not in self.sizes
        self.sizes[tensor] = math.prod(shape)
        return np.broadcast_to(dtype.type(0), shape)


def config(case: str, **changes: Any) -> dict[str, Any]:
    return json.loads((ORACLES / case / "config.json").read_text()) | changes


# Tests Ouro-1.4B and Ouro-2.6B, whose shapes differ in the number of layers only.
@pytest.mark.parametrize("layers, tensors, parameters", [(24, 269, 1_434_652_673), (48, 533, 2_667_974_657)])
def test_ouro(layers: int, tensors: int, parameters: int) -> None:
    sizes = {"hidden_size": 2048, "intermediate_size": 5632, "vocab_size": 49152, "head_dim": 128, "layer_types": None}
    heads = {"num_attention_heads": 16, "num_key_value_heads": 16, "num_hidden_layers": layers}
    checkpoint = Counting(config("ouro/r4_mha", **sizes, **heads))
    ouro.build(checkpoint, np.dtype(np.float32))
    assert (len(checkpoint.sizes), sum(checkpoint.sizes.values())) == (tensors, parameters)


# Tests albert-base-v2: encoder with pooler, its one layer, and the head with its tied decoder.
def test_albert() -> None:
    sizes = {"embedding_size": 128, "hidden_size": 768, "intermediate_size": 3072, "vocab_size": 30000}
    more = {"num_attention_heads": 12, "num_hidden_layers": 12, "max_position_embeddings": 512}
    checkpoint = Counting(config("albert/mlm_1group", **sizes, **more), absent=("predictions.decoder",))
    albert.build(checkpoint, np.dtype(np.float32))
    total = {
        kind: sum(size for name, size in checkpoint.sizes.items() if kind in name) for kind in ("layers.0", "pred")
    }
    assert total["layers.0"] == 7_087_872
    assert sum(checkpoint.sizes.values()) - total["pred"] == 11_683_584
    assert total["pred"] == 128_688
