# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Outputs of a command line that would destroy its inputs, or each other."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path


def find_overwrite(outputs: Mapping[str, Path | None], inputs: Mapping[str, Path | None]) -> str | None:
    """What is wrong if one of `outputs` is the same file as one of `inputs`, or as another output; None if nothing is.

    Keys say what a file is to the user, such as "--logits". A folder among the inputs stands for its files. Same means
    the same device and inode, whatever the name; files that are not there yet, one name in one folder.
    """
    taken = [(role, path) for role, path in inputs.items() if path is not None]
    for role, path in inputs.items():
        if path is not None and path.is_dir():
            taken += [(role, file) for file in path.rglob("*") if file.is_file()]
    for role, output in outputs.items():
        if output is None:
            continue
        for other, path in taken:
            if _is_same(output, path):
                return f"{role} {output} would overwrite {other} {path}; give another file"
        taken.append((role, output))
    return None


def _is_same(first: Path, second: Path) -> bool:
    if first.exists() or second.exists():
        return first.exists() and second.exists() and first.samefile(second)
    return first.name == second.name and first.parent.resolve() == second.parent.resolve()
