# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What PEFT's `adapter_config.json` says about low-rank deltas: rank and scale of each linear.

    scale = alpha / rank, or alpha / sqrt(rank) with use_rslora

`rank_pattern` and `alpha_pattern` give a linear, or all linears whose name ends in a key, values of their own; keys are
regular expressions, of which the first that matches counts. Source: PEFT 0.15, `tuners/lora/{config,model,layer}.py`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rondo.reference.checkpoint import read_json
from rondo.reference.errors import CheckpointError

_READ_KEYS = {"peft_type", "r", "lora_alpha", "rank_pattern", "alpha_pattern", "target_modules", "use_rslora"}
# Bookkeeping, training, and where layers got their deltas, which the tensors say themselves.
_INERT_KEYS = {
    "auto_mapping", "base_model_name_or_path", "corda_config", "ensure_weight_tying", "eva_config", "exclude_modules",
    "inference_mode", "init_lora_weights", "layers_pattern", "layers_to_transform", "loftq_config", "lora_dropout",
    "megatron_config", "megatron_core", "peft_version", "revision", "runtime_config", "task_type",
}  # fmt: skip
# Switches that change what a delta is, with the value at which they do not.
_OFF_KEYS = {
    "bias": "none", "fan_in_fan_out": False, "layer_replication": None, "lora_bias": False, "modules_to_save": None,
    "target_parameters": None, "trainable_token_indices": None, "use_dora": False, "use_qalora": False,
}  # fmt: skip


@dataclass(frozen=True)
class AdapterConfig:
    """An `adapter_config.json`."""

    path: Path
    values: Mapping[str, Any]

    @staticmethod
    def read(path: Path) -> AdapterConfig:
        """Read and check a file. Raises CheckpointError for methods and options other than plain LoRA."""
        values = read_json(path)
        if not isinstance(values, dict):
            raise CheckpointError(f"{path} is not a JSON object")
        if values.get("peft_type") != "LORA":
            raise CheckpointError(
                f"{path}: 'peft_type' is {values.get('peft_type')!r}; known: LORA, merge others into the weights"
            )
        for key, value in values.items():
            known = key in _READ_KEYS or key in _INERT_KEYS
            if not known and value and value != _OFF_KEYS.get(key):
                raise CheckpointError(
                    f"{path}: '{key}' is {value!r}, which is not supported; merge the adapter into the weights"
                )
        for key in ("r", "lora_alpha", "target_modules"):
            if not values.get(key):
                raise CheckpointError(f"{path}: '{key}' is missing; take the file that PEFT wrote")
        if not isinstance(values["target_modules"], list):
            raise CheckpointError(
                f"{path}: 'target_modules' is {values['target_modules']!r}, expected a list of names of modules"
            )
        return AdapterConfig(path, values)

    def scale(self, linear: str, rank: int) -> float:
        """What the delta of a linear, named from the model on, is multiplied by; `rank` is that of its tensors."""
        if not any(linear == name or linear.endswith(f".{name}") for name in self.values["target_modules"]):
            raise CheckpointError(f"{self.path}: '{linear}' has a delta, but 'target_modules' does not name it")
        expected = self._of("rank_pattern", linear, self.values["r"])
        if rank != expected:
            raise CheckpointError(f"the delta of '{linear}' has rank {rank}, but {self.path} says {expected}")
        alpha = self._of("alpha_pattern", linear, self.values["lora_alpha"])
        return alpha / math.sqrt(rank) if self.values.get("use_rslora") else alpha / rank

    def _of(self, pattern: str, linear: str, default: float) -> float:
        for key, value in (self.values.get(pattern) or {}).items():
            if re.match(rf"(.*\.)?({key})$", linear):
                return value
        return default
