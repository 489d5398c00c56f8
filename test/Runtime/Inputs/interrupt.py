"""Sends SIGINT to a command once a file in a folder appears: interrupt.py FOLDER COMMAND...

Exits with the command's status."""

import os
import signal
import subprocess
import sys
import time

folder, command = sys.argv[1], sys.argv[2:]
process = subprocess.Popen(command)
while not any(".partial." in name for name in os.listdir(folder)):
    if process.poll() is not None:
        sys.exit("the command ended before it could be interrupted")
    time.sleep(0.001)
time.sleep(0.05)
process.send_signal(signal.SIGINT)
sys.exit(process.wait())
