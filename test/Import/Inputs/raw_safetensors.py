# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Writes a safetensors file of a given header, valid or not.

    raw_safetensors.py OUT HEADER DATA_BYTES [HEADER_LENGTH]
"""

import struct
import sys
from pathlib import Path

header = sys.argv[2].encode()
length = int(sys.argv[4]) if len(sys.argv) > 4 else len(header)
Path(sys.argv[1]).write_bytes(struct.pack("<Q", length) + header + bytes(int(sys.argv[3])))
