# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Edited copies of oracle checkpoints, for tests of reference models."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from safetensors.numpy import load_file, save_file


def edited(
    source: Path, target: Path, changes: Mapping[str, Any], tensors: Mapping[str, np.ndarray | None] | None = None
) -> Path:
    """A copy of a case's checkpoint with changed configuration keys and tensors (None: removed)."""
    target.mkdir()
    config = json.loads((source / "config.json").read_text()) | changes
    (target / "config.json").write_text(json.dumps({key: value for key, value in config.items() if value is not None}))
    weights = load_file(source / "model.safetensors") | (tensors or {})
    save_file({name: value for name, value in weights.items() if value is not None}, target / "model.safetensors")
    return target


def edited_case(
    source: Path,
    target: Path,
    train: dict[str, Any] | None = None,
    adapter: dict[str, Any] | None = None,
    config: dict[str, Any] | None = None,
) -> Path:
    """A copy of a case with other values; keys of `train` are dotted."""
    shutil.copytree(source, target)
    if train:
        content = yaml.safe_load((target / "train_config.yaml").read_text())
        for key, value in train.items():
            section = content
            *outer, last = key.split(".")
            for part in outer:
                section = section.setdefault(part, {})
            section[last] = value
        (target / "train_config.yaml").write_text(yaml.safe_dump(content))
    for name, changes in (("adapter_config.json", adapter), ("config.json", config)):
        if changes:
            (target / name).write_text(json.dumps(json.loads((target / name).read_text()) | changes))
    return target


def edited_tensors(folder: Path, changes: Mapping[str, np.ndarray | None]) -> Path:
    """The folder with changed tensors, in float32 (None: removed)."""
    weights = load_file(folder / "model.safetensors") | changes
    kept = {name: value.astype(np.float32) for name, value in weights.items() if value is not None}
    save_file(kept, folder / "model.safetensors")
    return folder
