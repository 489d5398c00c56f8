# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The error of the reference models."""


class CheckpointError(Exception):
    """The checkpoint, its configuration or the input given for it cannot be run; the message says what and where."""
