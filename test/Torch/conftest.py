# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Small models of every family for the tests of `rondo.torch`, made by the converter from oracle checkpoints.

PyTorch is looked for in this Python, then among Debian's packages, behind everything else: its NumPy must not come
first. Without PyTorch each module that needs it is a skip. RONDO_BIN is as in test/Python.
"""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

ROOT = Path(__file__).resolve().parents[2]
ORACLES = ROOT / "test" / "oracles"
SOURCES = {"llama": "llama/gqa4_v5config", "gemma": "gemma/mqa", "gpt_neox": "gpt_neox/parallel"}
LAYERS = 6
DEBIAN = "/usr/lib/python3/dist-packages"

sys.path.insert(0, str(ROOT / "python"))  # the sources, without installing the package
sys.path.insert(0, str(ROOT / "test" / "Python"))
if importlib.util.find_spec("torch") is None:
    sys.path.append(DEBIAN)
# Whoever started the tests in the background may have made them, and so their children, ignore Ctrl-C.
signal.signal(signal.SIGINT, signal.default_int_handler)
MISSING = "no PyTorch: pip install './python[torch]', or apt-get install python3-torch"


def tools_folder() -> Path:
    """Folder of the compiler and the runner."""
    return Path(os.environ.get("RONDO_BIN", ROOT / "build" / "bin"))


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing takes most of a small conversion's time."""
    monkeypatch.setattr("rondo.convert.heat_map.write_heat_map", lambda report, path: None)


def write_source(target: Path, family: str, kind: type = np.float32, **changes: object) -> Path:
    """An ordinary model of LAYERS layers: those of an oracle's checkpoint in turn, each changed a little at random."""
    source = ORACLES / SOURCES[family]
    config = json.loads((source / "config.json").read_text())
    weights = load_file(source / "model.safetensors")
    rng = np.random.default_rng(7)
    tensors = {name: value for name, value in weights.items() if ".layers." not in name}
    for name, value in weights.items():
        if ".layers." not in name:
            continue
        stack, _, rest = name.partition(".layers.")
        number, _, rest = rest.partition(".")
        for layer in range(int(number), LAYERS, config["num_hidden_layers"]):
            noise = 1 + 0.3 * rng.standard_normal(value.shape)
            tensors[f"{stack}.layers.{layer}.{rest}"] = (value * noise).astype(value.dtype)
    target.mkdir()
    changed = config | {"num_hidden_layers": LAYERS} | changes
    (target / "config.json").write_text(json.dumps(changed))
    save_file({name: value.astype(kind) for name, value in tensors.items()}, target / "model.safetensors")
    return target


def write_recursive(source: Path, target: Path, sharing: str = "cycle", visits: int = 2, **options: object) -> Path:
    """A recursive folder of a source."""
    from rondo.convert.recursive import Options, convert
    from rondo.convert.source import open_source

    options.setdefault("initialization", "average")
    convert(open_source(source), target, Options(sharing, visits, **options))
    return target
