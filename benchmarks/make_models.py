#!/usr/bin/env python3
# Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Writes one checkpoint in several storage types, for a fair comparison.

Every engine must multiply the same numbers by weights of the same type, so the
models are all made from one GGUF: its tensors are dequantised and quantised
again with the public rounding rules of the `gguf` package. Metadata and
tokenizer are copied as they are. A tensor that has the wanted type already is
copied bit for bit.

The type of the (tied) embedding is a choice of its own, since at 135 M
parameters the head is a quarter of the bytes of a token:

  --head=published   Q8_0 under a 4-bit body, else the body's type (default;
                     what llama.cpp's quantiser does for this model)
  --head=body        the body's type everywhere ("pure")
  --head=TYPE        that type
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Type

# llama.cpp's `general.file_type`, which it prints as the model's type.
FILE_TYPES = {
    Type.F32: gguf.LlamaFileType.ALL_F32,
    Type.F16: gguf.LlamaFileType.MOSTLY_F16,
    Type.BF16: gguf.LlamaFileType.MOSTLY_BF16,
    Type.Q8_0: gguf.LlamaFileType.MOSTLY_Q8_0,
    Type.Q4_0: gguf.LlamaFileType.MOSTLY_Q4_0,
    Type.Q4_1: gguf.LlamaFileType.MOSTLY_Q4_1,
}
HEAD_NAMES = ("token_embd.weight", "output.weight")
HEAD_KEY = "rondo.benchmark.head_type"


@dataclass(frozen=True)
class Recipe:
    """One output file: where it goes and what its matrices become."""

    path: Path
    body: Type
    head: Type

    def type_of(self, tensor: gguf.ReaderTensor) -> Type:
        """Vectors stay f32: norms are a rounding error of the bytes."""
        if len(tensor.shape) < 2:
            return Type.F32
        return self.head if tensor.name in HEAD_NAMES else self.body


def head_type(choice: str, body: Type) -> Type:
    if choice == "body":
        return body
    if choice == "published":
        return Type.Q8_0 if body in (Type.Q4_0, Type.Q4_1) else body
    return Type[choice.upper()]


def same_types(reader: gguf.GGUFReader, recipe: Recipe) -> bool:
    return all(t.tensor_type == recipe.type_of(t) for t in reader.tensors)


def copy_metadata(reader: gguf.GGUFReader, writer: gguf.GGUFWriter) -> None:
    """Copies every key but those the writer makes itself."""
    made_here = {"general.architecture", "general.file_type", HEAD_KEY}
    for name, field in reader.fields.items():
        if name.startswith("GGUF.") or name in made_here:
            continue
        kind = field.types[0]
        inner = field.types[-1] if kind == gguf.GGUFValueType.ARRAY else None
        writer.add_key_value(name, field.contents(), kind, sub_type=inner)


def converted(tensor: gguf.ReaderTensor, wanted: Type) -> np.ndarray:
    """The tensor's payload in type `wanted`, in the writer's array form."""
    if tensor.tensor_type == wanted:
        return tensor.data
    values = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
    return gguf.quants.quantize(values.astype(np.float32), wanted)


def write_model(reader: gguf.GGUFReader, recipe: Recipe) -> None:
    partial = recipe.path.with_suffix(".partial")
    architecture = reader.fields["general.architecture"].contents()
    writer = gguf.GGUFWriter(partial, architecture)
    copy_metadata(reader, writer)
    writer.add_file_type(FILE_TYPES[recipe.body])
    writer.add_string(HEAD_KEY, recipe.head.name)
    for tensor in reader.tensors:
        wanted = recipe.type_of(tensor)
        data = converted(tensor, wanted)
        writer.add_tensor(tensor.name, data, raw_dtype=wanted)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    partial.rename(recipe.path)


def make(reader: gguf.GGUFReader, source: Path, recipe: Recipe) -> None:
    if same_types(reader, recipe):
        shutil.copyfile(source, recipe.path)
    else:
        write_model(reader, recipe)


def largest_error(reader: gguf.GGUFReader, path: Path) -> float:
    """Largest |change| of a matrix relative to its largest |value|."""
    made = {t.name: t for t in gguf.GGUFReader(path).tensors}
    worst = 0.0
    for tensor in reader.tensors:
        other = made[tensor.name]
        if other.tensor_type == tensor.tensor_type:
            continue
        before = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        after = gguf.quants.dequantize(other.data, other.tensor_type)
        change = np.abs(after - before).max() / np.abs(before).max()
        worst = max(worst, float(change))
    return worst


def table_row(name: str, reader: gguf.GGUFReader, note: str) -> str:
    kinds = Counter(t.tensor_type.name for t in reader.tensors)
    head = next(t for t in reader.tensors if t.name in HEAD_NAMES)
    total = sum(int(t.n_bytes) for t in reader.tensors)
    types = " ".join(f"{kind}:{count}" for kind, count in sorted(kinds.items()))
    return (
        f"{name:28} {total / 1e6:8.1f} MB  head {head.tensor_type.name:5}"
        f" {types:32} {note}"
    )


def recipes(args: argparse.Namespace) -> Iterator[Recipe]:
    for name in args.types.split(","):
        body = Type[name.upper()]
        head = head_type(args.head, body)
        if args.head == "published":
            suffix = ""
        elif head == body:
            suffix = "-pure"
        else:
            suffix = f"-head-{head.name.lower()}"
        yield Recipe(args.out / f"{args.name}-{name}{suffix}.gguf", body, head)


def parse(argv: list[str]) -> argparse.Namespace:
    summary = "write one GGUF checkpoint in several storage types"
    parser = argparse.ArgumentParser(description=summary)
    parser.add_argument("source", type=Path, help="GGUF file to start from")
    parser.add_argument("out", type=Path, help="folder for the results")
    parser.add_argument(
        "--types",
        default="bf16,q8_0,q4_0,q4_1",
        help="comma-separated: f32 f16 bf16 q8_0 q4_0 q4_1 (default: %(default)s)",
    )
    parser.add_argument(
        "--head",
        default="published",
        help="type of embedding and head: published, body or a type",
    )
    parser.add_argument(
        "--name", default="smollm2", help="file name prefix (default: %(default)s)"
    )
    parser.add_argument(
        "--check", action="store_true", help="also print the largest rounding error"
    )
    return parser.parse_args(argv)


def main(argv: list[str]) -> int:
    args = parse(argv)
    args.out.mkdir(parents=True, exist_ok=True)
    reader = gguf.GGUFReader(args.source)
    print(table_row("(source)", reader, ""))
    for recipe in recipes(args):
        make(reader, args.source, recipe)
        note = ""
        if args.check:
            note = f"largest change {largest_error(reader, recipe.path):.2e}"
        print(table_row(recipe.path.name, gguf.GGUFReader(recipe.path), note))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
