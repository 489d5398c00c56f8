# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Recursive models as PyTorch modules, and a short recipe to train them on (`uptrain`); docs/Uptraining.md.

PyTorch is loaded when something of this package is used, and wanted by nothing else in Rondo.
"""

from __future__ import annotations

import importlib
from typing import Any

# Name -> the file that it is in.
_PLACES = {
    "Decoder": "model",
    "Recipe": "recipe",
    "TrainingError": "errors",
    "load": "folder",
    "read_tokens": "corpus",
    "save": "folder",
    "uptrain": "recipe",
}


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'rondo.torch' has no attribute '{name}'")
    try:
        return getattr(importlib.import_module(f"rondo.torch.{_PLACES[name]}"), name)
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise ModuleNotFoundError(
            "training needs PyTorch, which is not installed: pip install './python[torch]' "
            "(without CUDA: PyTorch has an index of its own for CPUs), "
            "or apt-get install python3-torch for Debian's own Python",
            name="torch",
        ) from None
