# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The error of training."""


class TrainingError(Exception):
    """A model cannot be trained or saved as asked; the message says why and what can be done."""
