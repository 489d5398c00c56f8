# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Copies a Hugging Face folder (one safetensors file) with changes to its configuration, training options and tensors.

Standard library only. What make_checkpoint.py does for Llama's relatives, for families whose cases are in test/oracles.
"""

import argparse
import json
import math
import struct
from pathlib import Path


def read_tensors(path: Path) -> dict:
    """key -> (type, shape, bytes)."""
    data = path.read_bytes()
    (length,) = struct.unpack_from("<Q", data)
    header = json.loads(data[8 : 8 + length])
    header.pop("__metadata__", None)
    start = 8 + length
    return {
        key: (entry["dtype"], entry["shape"], data[start + entry["data_offsets"][0] : start + entry["data_offsets"][1]])
        for key, entry in header.items()
    }


def write_tensors(path: Path, tensors: dict) -> None:
    header, offset = {}, 0
    for key, (name, shape, data) in tensors.items():
        header[key] = {"dtype": name, "shape": shape, "data_offsets": [offset, offset + len(data)]}
        offset += len(data)
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(data for *_, data in tensors.values()))


def edit_options(text: str, key: str, value: str | None) -> str:
    """A train_config.yaml whose option of this dotted key has another value (None: is removed, with what is below)."""
    path: list[str] = []
    lines, found = [], False
    for line in text.splitlines():
        depth = (len(line) - len(line.lstrip())) // 2
        path[depth:] = [line.strip().partition(":")[0]]
        if ".".join(path[: key.count(".") + 1]) != key:
            lines.append(line)
        elif not found and value is not None:
            lines.append(f"{line.partition(':')[0]}: {value}")
            found = True
        else:
            found = True
    if not found:
        raise SystemExit(f"train_config.yaml has no option '{key}'")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--set", nargs=2, action="append", default=[], metavar=("KEY", "JSON"))
    parser.add_argument("--unset", action="append", default=[], metavar="KEY")
    parser.add_argument("--drop", action="append", default=[], metavar="END", help="tensors whose keys end so")
    parser.add_argument("--add", nargs=2, action="append", default=[], metavar=("KEY", "SHAPE"), help="zeros of f32")
    parser.add_argument("--train", nargs=2, action="append", default=[], metavar=("KEY", "YAML"), help="dotted key")
    parser.add_argument("--untrain", action="append", default=[], metavar="KEY")
    options = parser.parse_args()
    config = json.loads((options.source / "config.json").read_text())
    config |= {key: json.loads(value) for key, value in options.set}
    for key in options.unset:
        del config[key]
    tensors = read_tensors(options.source / "model.safetensors")
    dropped = tuple(options.drop)
    tensors = {key: tensor for key, tensor in tensors.items() if not (dropped and key.endswith(dropped))}
    for key, text in options.add:
        shape = json.loads(text)
        tensors[key] = ("F32", shape, bytes(4 * math.prod(shape)))
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "config.json").write_text(json.dumps(config, indent=2))
    write_tensors(options.out / "model.safetensors", tensors)
    train = options.source / "train_config.yaml"
    if train.exists():
        text = train.read_text()
        for key, value in [*options.train, *((key, None) for key in options.untrain)]:
            text = edit_options(text, key, value)
        (options.out / train.name).write_text(text)


if __name__ == "__main__":
    main()
