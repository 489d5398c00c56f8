# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Where the tests find the package, the oracle cases and the built tools.

The installed package is tested if there is one; otherwise the sources in `python/`, without the compiled extension.
RONDO_BIN names the folder of `rondoc` and `rondo-run`; the default is `build/bin` of this checkout.
"""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
if importlib.util.find_spec("rondo") is None:
    sys.path.insert(0, str(ROOT / "python"))

sys.path.insert(0, str(ROOT / "scripts"))
from oracles import IMPORTED_FAMILIES, ORACLES  # noqa: E402

# Whoever started the tests in the background may have made them, and so their children, ignore Ctrl-C.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_report_header() -> str:
    import rondo

    return f"rondo {rondo.__version__} from {Path(rondo.__file__).parent}, tools in {tools_folder()}"


def tools_folder() -> Path:
    """Folder of the compiler and the runner."""
    return Path(os.environ.get("RONDO_BIN", ROOT / "build" / "bin"))


def oracle_cases() -> list[Path]:
    """Folders of all oracle cases in this repository."""
    return sorted(file.parent for file in ORACLES.glob("*/*/expected.safetensors"))


def decoder_cases() -> list[Path]:
    """Folders of the cases of decoders; encoders have no greedy tokens."""
    return [case for case in oracle_cases() if (case / "greedy.json").exists()]


def case_name(case: Path) -> str:
    """Test id of a case."""
    return f"{case.parent.name}/{case.name}"


@pytest.fixture(params=oracle_cases(), ids=case_name)
def case(request: pytest.FixtureRequest) -> Path:
    """Every oracle case in turn."""
    return request.param


@pytest.fixture(params=decoder_cases(), ids=case_name)
def decoder_case(request: pytest.FixtureRequest) -> Path:
    """Every oracle case of a decoder in turn."""
    return request.param


@pytest.fixture
def llama_case() -> Path:
    """One llama case: grouped-query attention, untied."""
    return ORACLES / "llama" / "gqa4_v5config"


@pytest.fixture(scope="session")
def bundles() -> dict[Path, Path]:
    """Bundles compiled so far, by case."""
    return {}


@pytest.fixture
def compiled(case: Path, bundles: dict[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The case as an exact CPU bundle; skips where rondoc is not built or does not import the family yet."""
    if case.parent.name not in IMPORTED_FAMILIES:
        pytest.skip(f"rondoc does not import {case.parent.name} yet")
    return compile_once(case, bundles, tmp_path_factory)


def compile_once(case: Path, bundles: dict[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The case as an exact CPU bundle; skips where the compiler is not built."""
    rondoc = tools_folder() / "rondoc"
    if not rondoc.exists():
        pytest.skip(f"{rondoc} is not built")
    if case not in bundles:
        bundle = tmp_path_factory.mktemp(case.name) / "model.rondo"
        subprocess.run([rondoc, case, "--exact", "-o", bundle], check=True)
        bundles[case] = bundle
    return bundles[case]
