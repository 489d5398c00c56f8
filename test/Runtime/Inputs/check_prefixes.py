"""Checks that each line of a file begins the same line of another one, word by word: check_prefixes.py PART ALL"""

import sys
from pathlib import Path

part, all_of_it = ([line.split() for line in Path(name).read_text().splitlines()] for name in sys.argv[1:])
assert len(part) == len(all_of_it), f"{len(part)} lines, expected {len(all_of_it)}"
assert part != all_of_it, "nothing is cut short"
for number, (some, line) in enumerate(zip(part, all_of_it), 1):
    assert line[: len(some)] == some, f"line {number} differs: {some}"
