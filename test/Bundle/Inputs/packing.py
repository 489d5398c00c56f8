# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Packs random weights with rondo-bundle-test and compares every byte with an implementation in NumPy.

Quantization and dequantization are those of the `gguf` package; the order of weights is written down here once more, by
reshaping whole arrays instead of walking through panels.
"""

from __future__ import annotations

import argparse
import itertools
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from archives import BLOCK_TYPES, TYPES, Tensor, Weights, decode, encode, mlir_type

LANES = 32
# Inputs that stand together in a panel.
LINES = {"f32": 1, "f16": 1, "bf16": 2, "q8_0": 32, "q4_0": 32, "q4_1": 32}
FORMATS = {"f32": "f32", "f16": "f16", "bf16": "bf16_pair", "q8_0": "q8_0", "q4_0": "q4_0", "q4_1": "q4_1"}


@dataclass(frozen=True)
class Layout:
    """`#rondo_rt.layout`: where logical outputs stand in physical lanes."""

    kind: str
    width: int
    heads: int = 1
    rotary: int = 0

    def text(self) -> str:
        """The attribute's parameters."""
        heads = f" heads({self.heads})" if self.heads != 1 else ""
        rotary = f" rotary({self.rotary})" if self.rotary else ""
        return f"<{self.kind}, {self.width}{heads}{rotary}>"

    def lanes(self) -> np.ndarray:
        """For each lane its logical output, -1 for padding."""
        size = self.width // self.heads
        head = []
        pairs = self.rotary
        for chunk in range(0, pairs, LANES // 2):
            numbers = np.arange(chunk, chunk + LANES // 2)
            first = numbers if self.kind == "rope_half" else 2 * numbers
            second = numbers + pairs if self.kind == "rope_half" else 2 * numbers + 1
            head += [np.where(numbers < pairs, first, -1), np.where(numbers < pairs, second, -1)]
        rest = np.arange(2 * pairs, size)
        head.append(np.pad(rest, (0, -len(rest) % LANES), constant_values=-1))
        one = np.concatenate(head)
        return np.concatenate([np.where(one < 0, -1, one + h * size) for h in range(self.heads)])


def arrange(rows: np.ndarray, storage: str, k: int) -> np.ndarray:
    """Panels of 32 rows of bytes each: [panels, bytes]."""
    if storage in BLOCK_TYPES:
        return arrange_blocks(rows.reshape(-1, LANES, k // LANES, BLOCK_TYPES[storage]), storage)
    size = rows.shape[1] // k
    group = 2 if storage == "bf16" else 1
    padded = np.pad(rows, ((0, 0), (0, -k % LINES[storage] * size)))
    lines = padded.reshape(-1, LANES, padded.shape[1] // size // group, group * size)
    return lines.transpose(0, 2, 1, 3).reshape(lines.shape[0], -1)


def arrange_blocks(blocks: np.ndarray, storage: str) -> np.ndarray:
    """Panels of blocks [panels, 32 rows, groups, bytes of a block]."""
    halves = 2 if storage == "q4_1" else 1
    panels, _, groups, _ = blocks.shape
    numbers = blocks[..., : 2 * halves].reshape(panels, LANES, groups, halves, 2)
    head = numbers.transpose(0, 2, 3, 1, 4).reshape(panels, groups, -1)
    codes = blocks[..., 2 * halves :]
    if storage == "q8_0":
        quads = codes.reshape(panels, LANES, groups, 8, 4)
    else:
        values = np.concatenate([codes & 15, codes >> 4], axis=-1).reshape(panels, LANES, groups, 4, 2, 4)
        quads = values[..., 0, :] | values[..., 1, :] << 4
    body = quads.transpose(0, 2, 3, 1, 4).reshape(panels, groups, -1)
    return np.concatenate([head, body], axis=-1).reshape(panels, -1)


def pack_matrix(tensor: Tensor, storage: str, layout: Layout) -> np.ndarray:
    """All panels of one matrix: [panels, bytes]."""
    rows = tensor.rows if tensor.storage == storage else encode(decode(tensor.rows, tensor.storage), storage)
    lanes = layout.lanes()
    chosen = np.where((lanes < 0)[:, None], np.uint8(0), rows[np.maximum(lanes, 0)])
    return arrange(chosen, storage, tensor.shape[1])


class Case:
    """A module with its weights, and the region that it must be packed to."""

    def __init__(self, seed: int):
        self.weights = Weights(np.random.default_rng(seed))
        self.lines: list[str] = []
        self.region = np.zeros(0, np.uint8)
        self.count = 0

    def param(self, storage: str, shape: tuple[int, ...], layers: int, stored: str | None) -> tuple[str, list[Tensor]]:
        """Declares a parameter with new tensors."""
        name = f"p{self.count}"
        self.count += 1
        keys = [f"{name}.{layer}" for layer in range(layers)]
        tensors = [self.weights.add(key, storage, shape) for key in keys]
        stack = f" layers({layers})" if layers > 1 else ""
        dims = "x".join(map(str, shape))
        wanted = f" stored as {mlir_type(stored)}" if stored and stored != storage else ""
        listed = ", ".join(f'"{key}"' for key in keys)
        self.lines.append(f"rondo.param @{name}{stack} : tensor<{dims}x{mlir_type(storage)}>{wanted} from [{listed}]")
        return name, tensors

    def place(self, entries: list[np.ndarray], gap: int = 0) -> str:
        """Puts the layers of one operation into the region; returns where."""
        offset, stride = len(self.region), len(entries[0]) + gap
        parts = [np.pad(entry, (0, gap)) for entry in entries]
        parts[-1] = entries[-1]
        self.region = np.concatenate([self.region, *parts])
        return f"offset({offset}) stride({stride})"

    def packed(
        self, sources: list[str], storage: str, k: int, layouts: list[Layout], layers: int = 1, unit: int = 1,
        gap: int = 0,
    ) -> None:  # fmt: skip
        """Adds a `rondo_rt.packed` of one parameter for each layout."""
        params = [
            self.param(source, (layout.width, k), layers, storage)
            for source, layout in zip(sources, layouts, strict=True)
        ]
        entries = []
        for layer in range(layers):
            panels = [
                pack_matrix(tensors[layer], storage, layout)
                for (_, tensors), layout in zip(params, layouts, strict=True)
            ]
            units = [panel.reshape(-1, unit, panel.shape[1]) for panel in panels]
            entries.append(np.stack(units, axis=1).reshape(-1))
        names = ", ".join(f"@{name}" for name, _ in params)
        rows = ", ".join(f"#rondo_rt.layout{layout.text()}" for layout in layouts)
        padded = -(-k // LINES[storage]) * LINES[storage]
        self.lines.append(
            f"rondo_rt.packed @w{self.count} [{names}] rows [{rows}] format({FORMATS[storage]}) k({padded}) "
            f"layers({layers}) unit_panels({unit}) {self.place(entries, gap)}"
        )

    def vector(self, storage: str, layout: Layout, layers: int, repeat: int = 1) -> None:
        """Adds a `rondo_rt.vector`."""
        name, tensors = self.param(storage, (layout.width,), layers, None)
        lanes = layout.lanes()
        entries = []
        for tensor in tensors:
            values = tensor.values()
            entry = np.where(lanes < 0, np.float32(0), values[np.maximum(lanes, 0)])
            entries.append(np.tile(entry, repeat).view(np.uint8))
        times = f" repeat({repeat})" if repeat != 1 else ""
        self.lines.append(
            f"rondo_rt.vector @v{self.count} @{name} layout {layout.text()} layers({layers}){times} "
            f"{self.place(entries)}"
        )

    def rope_table(self, frequencies: np.ndarray, positions: int, chunks: int) -> None:
        """Adds a `rondo_rt.rope_table`."""
        pairs = np.zeros(chunks * 16, np.float32)
        pairs[: len(frequencies)] = frequencies
        angles = np.arange(positions, dtype=np.float32)[:, None] * pairs
        exact = angles.astype(np.float64).reshape(positions, chunks, 16)
        table = np.stack([np.cos(exact), np.sin(exact)], axis=2).astype(np.float32)
        listed = ", ".join(f"{value:.9e}" for value in frequencies)
        place = self.place([table.reshape(-1).view(np.uint8)]).split(" stride")[0]
        self.lines.append(
            f"rondo_rt.rope_table @t{self.count} frequencies [{listed}] positions({positions}) chunks({chunks}) {place}"
        )
        self.count += 1

    def write(self, folder: Path) -> tuple[Path, list[Path]]:
        """Writes module and archives."""
        folder.mkdir(parents=True, exist_ok=True)
        module = folder / "module.mlir"
        module.write_text("\n".join(self.lines) + "\n")
        return module, self.weights.write(folder)


def conversions(case: Case) -> None:
    """Every source type to every type that a bundle stores."""
    for source, storage in itertools.product(TYPES, FORMATS):
        case.packed([source], storage, 96, [Layout("flat", 70)])


def shapes(case: Case) -> None:
    """Layouts, padding of K, several matrices in one operation, layers, gaps."""
    half, interleaved = Layout("rope_half", 96, 2, 24), Layout("rope_interleaved", 96, 2, 18)
    for storage in FORMATS:
        case.packed([storage], storage, 64, [half], layers=3)
        case.packed([storage], storage, 64, [interleaved])
        case.packed([storage] * 2, storage, 64, [Layout("flat", 128)] * 2, layers=2)
        case.packed([storage] * 2, storage, 64, [Layout("flat", 120)] * 2, unit=2)
        case.packed([storage] * 3, storage, 128, [half, half, Layout("heads", 120, 4)], layers=2, gap=192)
    for storage in ("f32", "f16", "bf16"):
        case.packed([storage], storage, 45, [Layout("flat", 33)])


def vectors(case: Case) -> None:
    """Norm weights, biases and tables."""
    for storage in ("f32", "f16", "bf16"):
        case.vector(storage, Layout("flat", 70), 2)
        case.vector(storage, Layout("rope_half", 80, 2, 12), 1)
        case.vector(storage, Layout("heads", 40), 3, repeat=4)
    frequencies = (10000.0 ** (-np.arange(24) / 24)).astype(np.float32)
    case.rope_table(frequencies, 300, 2)


def large(case: Case) -> None:
    """More than one batch of panels."""
    case.packed(["bf16"] * 2, "bf16", 1024, [Layout("flat", 3200)] * 2, layers=2)
    case.packed(["f32"], "q4_0", 1024, [Layout("flat", 20000)])


CASES = {"conversions": conversions, "shapes": shapes, "vectors": vectors, "large": large}


def main() -> int:
    """Runs one case with one and two threads."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("case", choices=CASES)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    case = Case(options.seed)
    CASES[options.case](case)
    module, archives = case.write(options.folder)
    for threads in (1, 2):
        output = options.folder / "region"
        subprocess.run(
            ["rondo-bundle-test", "region", module, "-o", output, f"--pack-threads={threads}"]
            + [f"--archive={path}" for path in archives],
            check=True,
        )
        packed = np.fromfile(output, np.uint8)
        if packed.shape != case.region.shape or (packed != case.region).any():
            first = int(np.argmax(packed[: len(case.region)] != case.region[: len(packed)]))
            print(f"{len(packed)} bytes packed, {len(case.region)} expected; first difference at {first}")
            print("\n".join(line for line in case.lines if "offset" in line))
            return 1
    print(f"{options.case}: {len(case.region)} bytes equal, seed {options.seed}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
