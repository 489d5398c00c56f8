# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Numbers from NumPy to PyTorch and to files, through bytes.

PyTorch's own bridge to NumPy is not used: releases before 2.3 are built for NumPy 1 and refuse NumPy 2.
"""

from __future__ import annotations

import contextlib
import ctypes
import io
import warnings

import numpy as np
import torch
from torch import Tensor

from rondo.reference.layers import Array

# Types that models compute in, and those of files by the name that safetensors gives them (convert/numbers.py).
NUMPY_TYPES = {torch.float32: np.dtype(np.float32), torch.float64: np.dtype(np.float64)}
FILE_TYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
_TORCH_TYPES = {kind: dtype for dtype, kind in NUMPY_TYPES.items()}


def to_tensor(array: Array) -> Tensor:
    """A copy of a float32 or float64 array in the same type."""
    return torch.frombuffer(bytearray(array.tobytes()), dtype=_TORCH_TYPES[array.dtype]).reshape(array.shape)


def to_bytes(tensor: Tensor, kind: str) -> bytes:
    """The elements as type `kind` of FILE_TYPES, rounded to the nearest, a half to the even side."""
    stored = tensor.detach().to("cpu", FILE_TYPES[kind]).contiguous()
    return ctypes.string_at(stored.data_ptr(), stored.numel() * stored.element_size())


def _look_for_numpy() -> None:
    """Let PyTorch look for NumPy, which it does once: what it then says of NumPy 2 concerns nobody here."""
    with contextlib.redirect_stderr(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.zeros(1).reshape(1)


_look_for_numpy()
