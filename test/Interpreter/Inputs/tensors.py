# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Writes and prints safetensors files, with the standard library alone.

    tensors.py write FILE NAME=TYPE[SHAPE]:VALUES...   x=F32[2,2]:1,2,3,4
    tensors.py print FILE                              a line a tensor: name, type, shape, values

The types are F64, F32, F16, I64, I32, U8, and BF16, whose values are given as their 16 bits.
"""

import json
import re
import struct
import sys

CODES = {"F64": "d", "F32": "f", "I64": "q", "I32": "i", "U8": "B", "BF16": "H", "F16": "e"}


def to_bytes(kind: str, text: str) -> bytes:
    """The values of `text`, separated by commas, as they stand in a file."""
    number = float if kind.startswith("F") else int
    values = [number(value) for value in text.split(",") if value]
    return struct.pack(f"<{len(values)}{CODES[kind]}", *values)


def write(path: str, arguments: list[str]) -> None:
    header, data = {}, b""
    for argument in arguments:
        name, kind, shape, text = re.fullmatch(r"(.*)=(\w+)\[([\d,]*)\]:(.*)", argument).groups()
        added = to_bytes(kind, text)
        header[name] = {"dtype": kind, "shape": [int(size) for size in shape.split(",") if size],
                        "data_offsets": [len(data), len(data) + len(added)]}
        data += added
    text = json.dumps(header).encode()
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + data)


def show(path: str) -> None:
    with open(path, "rb") as file:
        data = file.read()
    length = struct.unpack_from("<Q", data)[0]
    for name, entry in json.loads(data[8:8 + length]).items():
        begin, end = (8 + length + offset for offset in entry["data_offsets"])
        code = CODES[entry["dtype"]]
        values = struct.unpack(f"<{(end - begin) // struct.calcsize(code)}{code}", data[begin:end])
        # A negative zero prints as zero: which of them comes out is no matter here.
        print(name, entry["dtype"], entry["shape"], *(f"{round(value, 6) + 0:.6g}" for value in values))


if sys.argv[1] == "write":
    write(sys.argv[2], sys.argv[3:])
else:
    show(sys.argv[2])
