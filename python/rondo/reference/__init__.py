# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Reference models: each architecture as plain, slow, readable NumPy code, to compare compiled models with.

`python -m rondo.reference MODEL --tokens=1,2,3 --logits=FILE` runs one; needs neither the compiler nor the runtime.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import DTypeLike

from rondo.reference import albert, gemma, gpt_neox, huginn, llama, mor_folder, nanbeige, ouro, recursive, rrt_folder
from rondo.reference.albert import Albert
from rondo.reference.checkpoint import open_checkpoint
from rondo.reference.config import need
from rondo.reference.decoder import Decoder, Trace
from rondo.reference.errors import CheckpointError
from rondo.reference.evaluation import Model, evaluate
from rondo.reference.generation import Generated, greedy
from rondo.reference.huginn import Huginn
from rondo.reference.inputs import Inputs, read_inputs
from rondo.reference.mor import MixtureOfRecursions
from rondo.reference.ouro import ExitRule, Ouro
from rondo.reference.schedule import Loop
from rondo.reference.train_config import TRAIN_CONFIG, TrainConfig

__all__ = [
    "Albert", "CheckpointError", "Decoder", "ExitRule", "Generated", "Huginn", "Inputs", "Loop", "MixtureOfRecursions",
    "Model", "Ouro", "Trace", "evaluate", "greedy", "load_model", "read_inputs",
]  # fmt: skip

_FAMILIES = {
    "albert": albert.build,
    "gemma": gemma.build,
    "gpt_neox": gpt_neox.build,
    "huginn_raven": huginn.build,
    "llama": llama.build,
    "nanbeige": nanbeige.build,
    "ouro": ouro.build,
}


def load_model(path: str | Path, dtype: DTypeLike = np.float32, loops: Sequence[Loop] = ()) -> Model:
    """A reference model from a Hugging Face folder or a GGUF file, computing in `dtype` (float32 or float64).

    `loops` repeats ranges of layers of a Llama. Raises CheckpointError for what cannot be read or is not supported.
    """
    kind = np.dtype(dtype)
    checkpoint = open_checkpoint(Path(path))
    architecture = need(checkpoint.config, "model_type")
    trained_recursive = (Path(path) / TRAIN_CONFIG).exists()
    if loops and (trained_recursive or recursive.is_recursive(checkpoint.config)):
        raise CheckpointError("loops can be given for an ordinary llama only; this one brings its own schedule")
    if trained_recursive:
        train = TrainConfig(Path(path) / TRAIN_CONFIG)
        if train.enabled("mor"):
            return mor_folder.build(train, checkpoint, kind)
        return rrt_folder.build(Path(path), train, checkpoint, kind)
    if recursive.is_recursive(checkpoint.config):
        return recursive.build(checkpoint, kind)
    if architecture not in _FAMILIES:
        raise CheckpointError(f"architecture '{architecture}' is not supported; known: {', '.join(_FAMILIES)}")
    if architecture == "llama":
        return llama.build(checkpoint, kind, loops)
    if loops:
        raise CheckpointError(f"loops can be given for llama only; {architecture} brings its own schedule")
    return _FAMILIES[architecture](checkpoint, kind)
