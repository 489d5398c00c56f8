# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""A folder that appears under its name only when it is complete."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rondo.convert.errors import ConversionError


@contextmanager
def appearing_folder(target: Path) -> Iterator[Path]:
    """A temporary folder beside `target`, which gets its name at the end; an exception or interrupt removes it.

    Raises ConversionError if `target` is there already with something in it, or if its parent is not.
    """
    target = target.absolute()
    if not target.parent.is_dir():
        raise ConversionError(f"folder {target.parent} does not exist; create it first")
    if target.exists() and not (target.is_dir() and not any(target.iterdir())):
        raise ConversionError(f"{target} exists already; remove it or choose another name")
    folder = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        yield folder
        folder.chmod(0o777 & ~_umask())
        folder.rename(target)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _umask() -> int:
    """The process's mask of permissions, which can be read only by setting it."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
