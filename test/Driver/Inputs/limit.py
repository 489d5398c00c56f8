# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Runs a command that can write no file longer than BYTES, as on a full disk: limit.py BYTES COMMAND..."""

import resource
import signal
import subprocess
import sys


def limit() -> None:
    """Sets the limit in the child; writing beyond it is an error, not a signal."""
    size = int(sys.argv[1])
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)


status = subprocess.run(sys.argv[2:], preexec_fn=limit).returncode
sys.exit(0 if status == 1 else f"exit status {status}, expected 1")
