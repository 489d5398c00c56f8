# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Values of options that argparse cannot check itself."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TypeVar

Number = TypeVar("Number", int, float)


def parse_number(kind: type[Number], text: str, valid: Callable[[Number], bool], rule: str) -> Number:
    """The number that `text` is. Raises an ArgumentTypeError that states `rule` if it is none, or not `valid`."""
    try:
        number = kind(text)
    except ValueError:
        name = "a whole number" if kind is int else "a number"
        raise argparse.ArgumentTypeError(f"must be {name} {rule}, got '{text}'") from None
    if not valid(number):
        raise argparse.ArgumentTypeError(f"must be {rule}, got {text}")
    return number
