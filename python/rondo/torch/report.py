# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What training has changed, as a table and as JSON."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rondo.torch.recipe import Recipe, Result

FILE = "uptraining-report.json"


def table(result: Result) -> str:
    """Losses on the held-out text by visit, before and after."""
    lines = [
        f"  {'visit':>5}  {'loss before':>11}  {'after':>8}    of {result.validation_tokens} held-out tokens, in nats"
    ]
    for visit, (before, after) in enumerate(zip(result.before, result.after, strict=True)):
        name = str(visit) if len(result.before) > 1 else "all"
        lines.append(f"  {name:>5}  {before:>11.4f}  {after:>8.4f}")
    return "\n".join(lines)


def write(folder: Path, result: Result, recipe: Recipe, inputs: Mapping[str, Any]) -> None:
    """Write FILE: the losses, the recipe, and what it was given."""
    content = {
        "validation_loss": {"before": result.before, "after": result.after, "tokens": result.validation_tokens},
        "training_loss": result.steps,
        "training_tokens": result.training_tokens,
        "recipe": dataclasses.asdict(recipe),
        **inputs,
    }
    (folder / FILE).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
