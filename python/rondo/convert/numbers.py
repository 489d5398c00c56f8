# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The number types of weights in files: widening to float32, and rounding once from float64."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# Bytes of an element, by the name that safetensors gives the type.
SIZES = {"F32": 4, "F16": 2, "BF16": 2}


def decode(data: bytes, kind: str) -> NDArray[np.float32]:
    """Little-endian elements of type `kind` as float32, exactly."""
    if kind == "BF16":  # the upper half of a float32
        return (np.frombuffer(data, "<u2").astype(np.uint32) << 16).view(np.float32)
    return np.frombuffer(data, "<f4" if kind == "F32" else "<f2").astype(np.float32)


def encode(values: NDArray[np.floating], kind: str) -> bytes:
    """Values as little-endian elements of type `kind`, each rounded once, a half to the even side."""
    if kind == "BF16":
        return _to_bf16(values).astype("<u2").tobytes()
    return values.astype("<f4" if kind == "F32" else "<f2").tobytes()


def _to_bf16(values: NDArray[np.floating]) -> NDArray[np.uint16]:
    """Upper halves of float32 values, without rounding twice on the way from float64."""
    narrow = values.astype(np.float32)
    bits = narrow.view(np.uint32).copy()
    # What lies in the middle of two bf16 numbers only because float32 rounded it: one unit towards where it came from.
    middle = (bits & 0xFFFF) == 0x8000
    with np.errstate(invalid="ignore"):  # of infinities, which are in no middle
        left = np.abs(values) - np.abs(narrow.astype(values.dtype))
    bits[middle & (left > 0)] += 1
    bits[middle & (left < 0)] -= 1
    rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
    return np.where(np.isnan(narrow), (bits >> 16) | 0x40, rounded).astype(np.uint16)
