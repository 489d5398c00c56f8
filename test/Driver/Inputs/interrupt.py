# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Interrupts a compilation while it writes: interrupt.py OUTPUT COMMAND..."""

import signal
import subprocess
import sys
import time
from pathlib import Path

output = Path(sys.argv[1])
process = subprocess.Popen(sys.argv[2:], stderr=subprocess.DEVNULL)
seen = False
while process.poll() is None and not seen:
    seen = bool(list(output.parent.glob(output.name + "*.tmp")))
    time.sleep(0.001)
if process.poll() is None:
    process.send_signal(signal.SIGINT)
process.wait()
left = [path.name for path in output.parent.iterdir()]
print("interrupted" if process.returncode == -signal.SIGINT else f"too fast: {process.returncode}")
print("left:", ", ".join(left) or "nothing")
