"""Prints name, shape and values of every tensor of an f32 safetensors file."""

import json
import struct
import sys

with open(sys.argv[1], "rb") as file:
    data = file.read()
length = struct.unpack_from("<Q", data)[0]
header = json.loads(data[8:8 + length])
start = 8 + length
end = 0
for name, entry in header.items():
    begin, stop = entry["data_offsets"]
    assert entry["dtype"] == "F32" and begin == end, name
    end = stop
    values = struct.unpack_from(f"<{(stop - begin) // 4}f", data, start + begin)
    print(name, entry["shape"], *(f"{value:g}" for value in values))
assert start + end == len(data), "bytes behind the last tensor"
