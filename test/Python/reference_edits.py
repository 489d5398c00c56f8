# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Edited copies of oracle checkpoints, for tests of reference models."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
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
