# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The error of conversions."""


class ConversionError(Exception):
    """The checkpoint cannot be converted as asked; the message says why and what can be done."""
