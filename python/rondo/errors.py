# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Exceptions of the runtime: one class for each status code, the message as the runtime wrote it.

Each is also the built-in exception of its kind, where there is one, so that `except MemoryError` works too.
"""

from __future__ import annotations


class RondoError(Exception):
    """Any failure that the runtime reports; the message names the cause and the way out."""


class InvalidArgumentError(RondoError, ValueError):
    """A value that the caller gave is at fault."""


class InvalidBundleError(RondoError, ValueError):
    """The bundle is malformed or damaged."""


class UnsupportedError(RondoError, NotImplementedError):
    """Valid, but not for this machine or this model."""


class BundleIOError(RondoError, OSError):
    """The system could not read the file."""


class OutOfMemoryError(RondoError, MemoryError):
    """Memory, or the limit set on it, is used up."""


class ExhaustedError(RondoError):
    """Sequences or context are used up."""


class CancelledError(RondoError):
    """The work was cancelled from another thread."""


class NumericError(RondoError, ArithmeticError):
    """The model computed a NaN."""


# In the order of rondo_rt_status_code (runtime.h), from 1.
_BY_CODE = (
    InvalidArgumentError,
    InvalidBundleError,
    UnsupportedError,
    BundleIOError,
    OutOfMemoryError,
    ExhaustedError,
    CancelledError,
    NumericError,
)


def from_status(code: int, message: str) -> RondoError:
    """The exception for a status code of the runtime; called by the extension module."""
    return _BY_CODE[code - 1](message) if 1 <= code <= len(_BY_CODE) else RondoError(message)
