# Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Facts about the machine that explain a figure, and none that identify it."""

from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path
from typing import Any

from .native import FLAGS, compiler

# Instruction sets that kernels or compared engines choose by.
INSTRUCTION_SETS = ("avx", "avx2", "fma", "f16c", "avx_vnni")
PREFIXES = ("avx512", "amx")


def _cpu_info() -> dict[str, str]:
    entries: dict[str, str] = {}
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        name, _, value = line.partition(":")
        entries.setdefault(name.strip(), value.strip())
    return entries


def _caches() -> dict[str, str]:
    caches = {}
    for folder in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        level = (folder / "level").read_text().strip()
        kind = (folder / "type").read_text().strip()
        if kind != "Instruction":
            caches[f"L{level}"] = (folder / "size").read_text().strip()
    return caches


def _first_line(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True)
    return done.stdout.splitlines()[0] if done.stdout else "unknown"


def _memory_gib() -> int:
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return round(pages / 2**30)


def facts() -> dict[str, Any]:
    cpu = _cpu_info()
    flags = cpu.get("flags", "").split()
    wanted = [f for f in flags if f in INSTRUCTION_SETS or f.startswith(PREFIXES)]
    revision = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    return {
        "cpu": cpu.get("model name", platform.machine()),
        "cpu_family": cpu.get("cpu family"),
        "cpu_model": cpu.get("model"),
        "virtual": "hypervisor" in flags,
        "flags": wanted,
        "cores": len(os.sched_getaffinity(0)),
        "caches": _caches(),
        "memory_gib": _memory_gib(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "compiler": _first_line([compiler(), "--version"]),
        "compiler_flags": " ".join(FLAGS),
        "revision": _first_line(revision),
    }


def load_average() -> float:
    """Processes that wanted to run in the last minute."""
    return os.getloadavg()[0]
