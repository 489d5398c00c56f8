# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Model folders of the training code of Relaxed Recursive Transformers and Mixture-of-Recursions, without routers.

`mor_folder.py` reads those with routers.

`config.json` is that of a Llama with all unrolled layers, and every shared weight is stored once for each of them. What
is shared stands in `train_config.yaml` only (`recursive`, `kv_sharing`, `relaxation`), how deltas are scaled in
`adapter_config.json`. Shared copies must have the same bits: which of two different ones was meant cannot be told.

With `relaxation.method: recursion_encoding` some layers are wrapped (`model.layers.3.block.*`), and their output is
multiplied by `model.layers.3.recursion_encoding`: the last layer of each visit, or every layer with `sequence`.

Source: arXiv 2410.20672; github.com/raymin0223/mixture_of_recursions, `model/{sharing_strategy,relaxation,kv_caches}`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from rondo.reference import llama
from rondo.reference.checkpoint import Checkpoint, safetensors_readers, same_bits
from rondo.reference.decoder import Decoder
from rondo.reference.errors import CheckpointError
from rondo.reference.peft import AdapterConfig
from rondo.reference.recursive import Reader, RecursiveDecoder, scaled_layers
from rondo.reference.sharing import Sharing
from rondo.reference.train_config import TRAIN_CONFIG, TrainConfig

_ADAPTER_CONFIG, _ADAPTER_WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_LAYER_NAME = re.compile(r"model\.layers\.(\d+)\.(.+)")
_NORM_NAME = re.compile(r"(input|post_attention)_layernorm\.weight")
_FACTOR_NAME = re.compile(r"(.+)\.lora_([AB])\.weight")


def build(folder: Path, train: TrainConfig, checkpoint: Checkpoint, dtype: np.dtype) -> Decoder:
    """The model of a folder with the options `train`, whose other files are open as `checkpoint`."""
    config = dict(checkpoint.config)
    stored_kv = config.pop("kv_sharing", None)
    readers = _standard_names(folder, checkpoint)
    if "lm_head.weight" in readers:  # the authors' class does not tie, whatever its configuration says
        config["tie_word_embeddings"] = False
    if not train.enabled("recursive"):
        for section in ("relaxation", "kv_sharing"):
            if train.enabled(section):
                raise CheckpointError(
                    f"{train.path}: '{section}' is enabled without 'recursive'; expected both or none"
                )
        return llama.build(Checkpoint(checkpoint.name, config, readers), dtype)
    sharing = Sharing(
        train.need("recursive.sharing"), llama.shape(config).layers, train.need("recursive.num_recursion")
    )
    _share(readers, sharing, norms_shared=train.need("recursive.ln_share"))
    shares_kv = _shares_kv(train, stored_kv, sharing)
    method = train.relaxation()
    unrolled = Checkpoint(checkpoint.name, config, readers, _scales(folder, readers) if method == "lora" else {})
    vectors = _encodings(unrolled, sharing, dtype) if method == "recursion_encoding" else {}
    base = llama.build(unrolled, dtype)
    base.weights = scaled_layers(base.weights, vectors)
    return RecursiveDecoder(base, sharing, shares_kv)


def _shares_kv(train: TrainConfig, stored: Any, sharing: Sharing) -> bool:
    """Whether depths read the keys and values of depth 0. `stored` is what config.json says of it."""
    shares = train.shares_kv(stored, sharing)
    if shares and train.get("kv_sharing.update_cache"):
        raise CheckpointError(f"{train.path}: 'kv_sharing.update_cache' is not supported; train without it")
    return shares


def _standard_names(folder: Path, checkpoint: Checkpoint) -> dict[str, Reader]:
    """Readers of the folder's weights by the names of a plain Llama; those of an adapter file are among them."""
    readers: dict[str, Reader] = {}
    for name, reader in checkpoint.readers.items():
        standard = re.sub(r"^(model\.layers\.\d+)\.block\.", r"\1.", name)
        standard = standard.replace(".base_layer.", ".").replace(".default.weight", ".weight")
        if standard in readers:
            raise CheckpointError(f"{folder}: tensor '{name}' and another one both stand for '{standard}'")
        readers[standard] = reader
    if (folder / _ADAPTER_WEIGHTS).exists():
        for name, reader in safetensors_readers(folder / _ADAPTER_WEIGHTS).items():
            standard = name.removeprefix("base_model.model.")
            if standard in readers and not same_bits(readers[standard](), reader()):
                raise CheckpointError(
                    f"{folder}: '{standard}' differs in the model and in {_ADAPTER_WEIGHTS}; remove one"
                )
            readers[standard] = reader
    return readers


def _share(readers: dict[str, Reader], sharing: Sharing, norms_shared: bool) -> None:
    """Let the layers of a group have one weight each, after a look at all copies."""
    for name in list(readers):
        match = _LAYER_NAME.fullmatch(name)
        if not match or int(match[1]) >= sharing.layers or not _is_shared(match[2], norms_shared):
            continue
        first = sharing.group(sharing.place(int(match[1])).layer)[0]
        partner = f"model.layers.{first}.{match[2]}"
        if partner == name or partner not in readers:
            continue
        if not same_bits(readers[partner](), readers[name]()):
            raise CheckpointError(
                f"'{partner}' and '{name}' differ, but by 'recursive.sharing' {sharing.kind} they are one weight; "
                f"take the {TRAIN_CONFIG} of this checkpoint"
            )
        readers[name] = readers[partner]


def _is_shared(part: str, norms_shared: bool) -> bool:
    if _FACTOR_NAME.fullmatch(part) or part == "recursion_encoding":
        return False
    return norms_shared or not _NORM_NAME.fullmatch(part)


def _scales(folder: Path, readers: Mapping[str, Reader]) -> dict[str, float]:
    """The scale of each linear with a delta."""
    path = folder / _ADAPTER_CONFIG
    if not path.exists():
        raise CheckpointError(f"{path} is missing, and nothing else says how deltas are scaled; copy it there")
    adapter = AdapterConfig.read(path)
    factors = [match for name in readers if (match := _FACTOR_NAME.fullmatch(name)) and match[2] == "A"]
    if not factors:
        raise CheckpointError(
            f"{folder}: 'relaxation.method' is lora, but there are no deltas; copy {_ADAPTER_WEIGHTS} there"
        )
    return {match[1]: adapter.scale(match[1], len(readers[match[0]]())) for match in factors}


def _encodings(unrolled: Checkpoint, sharing: Sharing, dtype: np.dtype) -> dict[int, np.ndarray]:
    """The vectors [d] that outputs of layers are multiplied by."""
    last = sharing.edges + sharing.block - 1
    wanted = {}
    for layer in range(sharing.layers):
        place = sharing.place(layer)
        if place.depth is not None and (place.layer == last or not sharing.is_cycle):
            name = f"model.layers.{layer}.recursion_encoding"
            wanted[layer] = unrolled.take(name, (unrolled.config["hidden_size"],), dtype)
    return wanted
