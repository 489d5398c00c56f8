# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The training options that the code of RRT and MoR leaves beside a checkpoint, `train_config.yaml`.

What layers share, how they differ over depth and how tokens are routed stands there and nowhere else.

Source: github.com/raymin0223/mixture_of_recursions, `conf/pretrain` and `util/config.py`.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from rondo.reference.errors import CheckpointError
from rondo.reference.sharing import Sharing

TRAIN_CONFIG = "train_config.yaml"


class TrainConfig:
    """A train_config.yaml; of its many sections only those that shape the model are read."""

    def __init__(self, path: Path) -> None:
        try:
            import yaml
        except ModuleNotFoundError:
            raise CheckpointError(f"reading {path} needs PyYAML: pip install './python[convert]'") from None
        self.path = path
        try:
            content = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise CheckpointError(f"cannot read {path}: {error}") from error
        if not isinstance(content, dict):
            raise CheckpointError(f"{path} is not a mapping of sections")
        self._content: Mapping[str, Any] = content

    def get(self, key: str) -> Any:
        """The value at `section.key`, None if there is none."""
        value: Any = self._content
        for part in key.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        return value

    def need(self, key: str) -> Any:
        """A value that has no safe default."""
        value = self.get(key)
        if value is None:
            raise CheckpointError(f"{self.path}: '{key}' is missing; take the file that the training wrote")
        return value

    def choice(self, key: str, known: Sequence[str | None], default: str | None = None) -> Any:
        """A value that is one of some words; `default`, if that is not None, where there is none."""
        value = default if default is not None and self.get(key) is None else self.get(key)
        if value not in known:
            words = ", ".join("null" if word is None else word for word in known)
            raise CheckpointError(f"{self.path}: '{key}' is {value!r}; known: {words}")
        return value

    def number(self, key: str, default: float | None = None) -> float:
        """A value that is a finite number; `default`, if that is not None, where there is none."""
        value = default if default is not None and self.get(key) is None else self.get(key)
        try:  # YAML 1.1 takes 1e-3 for a text
            number = math.nan if isinstance(value, bool) else float(value)
        except (TypeError, ValueError):
            number = math.nan
        if not math.isfinite(number):
            raise CheckpointError(f"{self.path}: '{key}' is {value!r}, expected a number")
        return number

    def check_keys(self, section: str, known: Collection[str]) -> None:
        """Raise CheckpointError for a key of a section that nobody reads: it may change what the model computes."""
        for key in self._section(section):
            if key not in known:
                raise CheckpointError(
                    f"{self.path}: '{section}.{key}' is not supported; known: {', '.join(sorted(known))}"
                )

    def need_keys(self, section: str, keys: Collection[str]) -> None:
        """Raise CheckpointError for keys that a section lacks. They may be null, which is not the same."""
        for key in keys:
            if key not in self._section(section):
                raise CheckpointError(
                    f"{self.path}: '{section}.{key}' is missing; take the file that the training wrote"
                )

    def _section(self, section: str) -> Mapping[str, Any]:
        content = self.get(section)
        if content is not None and not isinstance(content, dict):
            raise CheckpointError(f"{self.path}: '{section}' is {content!r}, expected a mapping of options")
        return content or {}

    def enabled(self, section: str) -> bool:
        """Whether a section is there and switched on."""
        return bool(self.get(f"{section}.enable"))

    def relaxation(self) -> str | None:
        """The method by which layers differ over depth, None if they do not."""
        if not self.enabled("relaxation"):
            return None
        method = self.need("relaxation.method")
        if method not in ("lora", "recursion_encoding"):
            raise CheckpointError(
                f"{self.path}: 'relaxation.method' is {method!r}; train with one of: lora, recursion_encoding"
            )
        return method

    def shares_kv(self, stored: Any, sharing: Sharing) -> bool:
        """Whether depths read keys and values of depth 0, with the visits of `sharing`.

        `stored` is what config.json says of it. Raises CheckpointError where the two disagree.
        """
        enabled = self.enabled("kv_sharing")
        if enabled != bool(stored):
            raise CheckpointError(
                f"{self.path} and config.json disagree whether 'kv_sharing' is enabled; take files of one run"
            )
        if not enabled:
            return False
        kind, visits = self.need("kv_sharing.sharing"), self.need("kv_sharing.num_recursion")
        if (kind, visits) != (sharing.kind, sharing.visits):
            raise CheckpointError(
                f"{self.path}: 'kv_sharing' is {kind} with {visits} visits and 'recursive' {sharing.kind} with "
                f"{sharing.visits}; only the same for both is supported"
            )
        if kind == "middle_sequence":
            raise CheckpointError(
                f"{self.path}: 'kv_sharing' with middle_sequence does not exist; expected another sharing"
            )
        return True
