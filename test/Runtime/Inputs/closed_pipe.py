"""Runs a command whose standard output nobody reads; it must end by SIGPIPE, silently: closed_pipe.py COMMAND..."""

import os
import signal
import subprocess
import sys

reader, writer = os.pipe()
os.close(reader)
done = subprocess.run(sys.argv[1:], stdout=writer, stderr=subprocess.PIPE)
if (done.returncode, done.stderr) != (-signal.SIGPIPE, b""):
    sys.exit(f"exit status {done.returncode}, standard error {done.stderr}")
