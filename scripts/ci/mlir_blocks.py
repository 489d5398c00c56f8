#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Parses every ```mlir block of the given files with rondo-opt.

Documentation that no longer parses is wrong documentation. Blocks that are not
whole modules (sketches with `...`) use a plain ``` fence.
"""

import argparse
import re
import subprocess
import sys
import textwrap

BLOCK = re.compile(r"^[ \t]*```mlir\n(.*?)^[ \t]*```", re.MULTILINE | re.DOTALL)


def blocks(path):
    """Yields (line number, text) of each block of a file."""
    with open(path, encoding="utf-8") as file:
        text = file.read()
    for match in BLOCK.finditer(text):
        line = text.count("\n", 0, match.start(1)) + 1
        yield line, textwrap.dedent(match.group(1))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rondo-opt", required=True, help="the program to parse with")
    parser.add_argument("files", nargs="+")
    arguments = parser.parse_args()

    count = failures = 0
    for path in arguments.files:
        for line, text in blocks(path):
            count += 1
            result = subprocess.run(
                [arguments.rondo_opt, "-verify-roundtrip", "-o", "/dev/null"],
                input=text,
                text=True,
                capture_output=True,
                check=False,
            )
            if result.returncode != 0:
                failures += 1
                print(f"{path}:{line}: the block does not parse\n{result.stderr}", file=sys.stderr)
    print(f"mlir_blocks: {count} blocks, {failures} failed")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
