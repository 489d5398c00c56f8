# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What is said where there is no PyTorch; this much is tested everywhere."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from conftest import ORACLES

import rondo.torch
from rondo.cli import main

HOW = (
    "training needs PyTorch, which is not installed: pip install './python[torch]' (without CUDA: PyTorch has an "
    "index of its own for CPUs), or apt-get install python3-torch for Debian's own Python"
)


@pytest.fixture(autouse=True)
def no_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if PyTorch were not installed, and nothing of the package loaded."""
    monkeypatch.setitem(sys.modules, "torch", None)
    for name in list(sys.modules):
        if name.startswith("rondo.torch.") and name not in ("rondo.torch.command", "rondo.torch.errors"):
            monkeypatch.delitem(sys.modules, name)


def test_library() -> None:
    with pytest.raises(ModuleNotFoundError) as caught:
        rondo.torch.load  # noqa: B018
    assert str(caught.value) == HOW
    with pytest.raises(AttributeError, match="module 'rondo.torch' has no attribute 'lode'"):
        rondo.torch.lode  # noqa: B018


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = ORACLES / "llama" / "gqa2_tied"
    assert main(["uptrain", str(source), str(tmp_path / "out"), f"--text={__file__}"]) == 1
    assert capsys.readouterr().err == f"rondo: error: {HOW}\n"
    assert not list(tmp_path.iterdir())


def test_other_commands(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["uptrain", "--help"])
    assert caught.value.code == 0 and "--exit-weight" in capsys.readouterr().out
