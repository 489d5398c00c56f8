"""Runs a command and checks its exit status: expect_status.py STATUS COMMAND..."""

import subprocess
import sys

wanted, command = int(sys.argv[1]), sys.argv[2:]
got = subprocess.run(command).returncode
if got != wanted:
    sys.exit(f"expected exit status {wanted}, got {got}")
