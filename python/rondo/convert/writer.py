# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""A safetensors file written tensor by tensor, without knowing beforehand which of them there will be."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from rondo.convert.numbers import SIZES

_LENGTH_BYTES = 8
# Data begin at a multiple of this.
_ALIGNMENT = 64
# Greater than any offset; for the longest header that can come.
_FAR = 10**15


@dataclass(frozen=True)
class Entry:
    """What a header says about a tensor."""

    name: str
    kind: str  # a key of numbers.SIZES
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """Bytes."""
        return math.prod(self.shape) * SIZES[self.kind]


class SafetensorsWriter:
    """Writes tensors one after the other, and the header, into room kept for it, at the end.

    `possible` are all tensors that may be added; some need not come.
    """

    def __init__(self, path: Path, possible: Sequence[Entry]) -> None:
        self._possible = set(possible)
        size = _LENGTH_BYTES + len(_header({entry: _FAR for entry in possible}))
        self._data = -(-size // _ALIGNMENT) * _ALIGNMENT
        self._offsets: dict[Entry, int] = {}
        self._end = 0
        self._file: BinaryIO = path.open("wb")  # closed by __exit__
        self._file.seek(self._data)

    def add(self, entry: Entry, pieces: Iterable[bytes]) -> None:
        """Append a tensor, which must be one of the possible ones."""
        if entry not in self._possible or entry in self._offsets:
            raise ValueError(f"{entry} was not announced, or is there already")
        size = sum(self._file.write(piece) for piece in pieces)
        if size != entry.size:
            raise ValueError(f"{entry} has {entry.size} bytes, got {size}")
        self._offsets[entry] = self._end
        self._end += size

    @property
    def size(self) -> int:
        """Bytes of the file so far."""
        return self._data + self._end

    def __enter__(self) -> SafetensorsWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None) -> None:
        if kind is None:
            length = self._data - _LENGTH_BYTES
            self._file.seek(0)
            self._file.write(length.to_bytes(_LENGTH_BYTES, "little") + _header(self._offsets).ljust(length))
        self._file.close()


def _header(offsets: dict[Entry, int]) -> bytes:
    content: dict[str, object] = {"__metadata__": {"format": "pt"}}
    for entry, first in offsets.items():
        content[entry.name] = {
            "dtype": entry.kind,
            "shape": entry.shape,
            "data_offsets": [first, first + entry.size],
        }
    return json.dumps(content, separators=(",", ":")).encode()
