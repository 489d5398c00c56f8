# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Rondo: compiled recursive transformers."""

__version__ = "0.1.0"
