# Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Medians and quartiles, of figures and of paired ratios.

A shared machine changes its speed within a minute, so engines are compared
round by round: a ratio has both sides from the same few seconds.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence


def summary(values: Sequence[float]) -> dict[str, float]:
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return {
        "median": middle,
        "q1": low,
        "q3": high,
        "min": min(values),
        "max": max(values),
    }


def paired(above: Sequence[float], below: Sequence[float]) -> dict[str, float]:
    """Summary of above[i] / below[i]."""
    return summary([a / b for a, b in zip(above, below, strict=True)])
