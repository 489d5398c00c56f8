# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Rondo: compiled recursive transformers.

    with rondo.load("model.rondo") as model:
        for token in model.generate([1, 2, 3], max_new_tokens=16):
            ...

The extension module is imported when something of it is first used, so that `rondo.reference` works without it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rondo.errors import (
    BundleIOError,
    CancelledError,
    ExhaustedError,
    InvalidArgumentError,
    InvalidBundleError,
    NumericError,
    OutOfMemoryError,
    RondoError,
    UnsupportedError,
)

if TYPE_CHECKING:
    from rondo.model import Model, load

__version__ = "0.1.0"

__all__ = [
    "BundleIOError",
    "CancelledError",
    "ExhaustedError",
    "InvalidArgumentError",
    "InvalidBundleError",
    "Model",
    "NumericError",
    "OutOfMemoryError",
    "RondoError",
    "UnsupportedError",
    "load",
]


def __getattr__(name: str) -> Any:
    if name in ("Model", "load"):
        from rondo import model

        return getattr(model, name)
    raise AttributeError(f"module 'rondo' has no attribute '{name}'")
