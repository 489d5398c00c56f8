# Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The engines that are compared, behind one small interface.

An engine that serves (llama.cpp, the yardstick) loads a model once and answers
requests. `rondo-run` measures itself with `--bench`, maps its bundle in
microseconds and is started anew for every round.
"""

from __future__ import annotations

import json
import subprocess
import sys
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .config import Config, Lengths, Model

PHASES = ("prefill", "decode")


@dataclass(frozen=True)
class Rates:
    """Tokens per second of one round."""

    prefill: float
    decode: float


class Session(ABC):
    """One engine with one model, ready to be timed."""

    @abstractmethod
    def round(self, lengths: Lengths) -> Rates:
        """One prefill and one decode."""

    @abstractmethod
    def info(self) -> dict[str, Any]:
        """Version, KV type and whatever explains the figures."""

    def close(self) -> None:
        """Ends processes; called once."""


class Engine(ABC):
    name: str

    @abstractmethod
    def supports(self, model: Model) -> bool:
        """Whether it has this storage type."""

    @abstractmethod
    def open(self, model: Model, threads: int) -> Session:
        """Loads a model."""


class ServedSession(Session):
    """Talks to a process that answers lines with JSON."""

    def __init__(self, command: list[str]) -> None:
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def ask(self, request: str) -> dict[str, Any]:
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(request + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise SystemExit(f"{self.process.args} ended before answering")
        decoded: dict[str, Any] = json.loads(answer)
        if "error" in decoded:
            raise SystemExit(f"{self.process.args}: {decoded['error']}")
        return decoded

    def _rate(self, request: str) -> float:
        answer = self.ask(request)
        return float(answer["tokens"] / answer["seconds"])

    def round(self, lengths: Lengths) -> Rates:
        return Rates(
            prefill=self._rate(f"prefill {lengths.prefill}"),
            decode=self._rate(f"decode {lengths.at} {lengths.decode}"),
        )

    def info(self) -> dict[str, Any]:
        return self.ask("info")

    def close(self) -> None:
        assert self.process.stdin
        self.process.stdin.close()
        self.process.wait()


class LlamaEngine(Engine):
    name = "llama.cpp"

    def __init__(self, config: Config) -> None:
        self.config = config

    def supports(self, model: Model) -> bool:
        return True

    def open(self, model: Model, threads: int) -> Session:
        worker = Path(__file__).with_name("llama_worker.py")
        options = self.config.llama
        return ServedSession(
            [
                sys.executable,
                str(worker),
                str(model.path),
                f"--threads={threads}",
                f"--context={self.config.lengths.context}",
                f"--rows={self.config.lengths.prefill}",
                f"--kv={options['kv']}",
                f"--prefill-flash={options['prefill_flash']}",
                f"--decode-flash={options['decode_flash']}",
            ]
        )


class YardstickEngine(Engine):
    """Hand-written C of the same shape; its weights are random."""

    name = "yardstick"
    types = ("f32", "bf16", "q8_0", "q4_0")

    def __init__(self, program: Path) -> None:
        self.program = program

    def supports(self, model: Model) -> bool:
        return model.type in self.types and model.head_type in self.types

    def open(self, model: Model, threads: int) -> Session:
        return ServedSession(
            [
                str(self.program),
                "--serve",
                f"--threads={threads}",
                f"--type={model.type}",
                f"--head={model.head_type}",
                f"--layers={model.layers}",
            ]
        )


class RondoSession(Session):
    def __init__(
        self,
        program: Path,
        bundle: Path,
        config: Config,
        threads: int,
        has_own_weights: bool,
    ):
        self.program = program
        self.bundle = bundle
        self.config = config
        self.threads = threads
        self.has_own_weights = has_own_weights
        self.probed = 0.0  # best bandwidth of its own probe, GB/s
        self.answers: list[dict[str, Any]] = []

    def round(self, lengths: Lengths) -> Rates:
        bench = (
            f"prefill:{lengths.prefill},decode:{lengths.decode},at:{lengths.at},"
            f"batch:1,repeat:{self.config.rondo_repeat}"
        )
        command = [
            str(self.program),
            str(self.bundle),
            f"--bench={bench}",
            f"--threads={self.threads}",
        ]
        answer = json.loads(run_text(command))
        self.answers.append(answer)
        probed = answer["ceilings"]["memory_bytes_per_second"] * 1e-9
        self.probed = max(self.probed, probed)
        return Rates(
            prefill=answer["prefill"]["tokens_per_second"]["median"],
            decode=answer["decode"]["tokens_per_second"]["median"],
        )

    def info(self) -> dict[str, Any]:
        version = run_text([str(self.program), "--version"]).splitlines()[0]
        info = {
            "version": version,
            "kv": self.config.rondo["kv"],
            "threads": self.threads,
            "probed_gb_per_s": self.probed,
        }
        if self.has_own_weights:
            # What it reads from memory and from the cache, and the bound that
            # follows from the bandwidths it measured: the file says neither.
            info["own"] = {phase: self._best(phase) for phase in PHASES}
        return info

    def _best(self, phase: str) -> dict[str, Any]:
        bound = max(a[phase]["bound_tokens_per_second"] for a in self.answers)
        return {"bound": bound, **self.answers[0][phase]["bytes_per_token"]}


class RondoEngine(Engine):
    name = "rondo"

    def __init__(self, binaries: Path, bundles: Path, config: Config) -> None:
        self.binaries = binaries
        self.bundles = bundles
        self.config = config

    def supports(self, model: Model) -> bool:
        return True

    def open(self, model: Model, threads: int) -> Session:
        """Compiles the model first, unless a newer bundle is there."""
        source = model.rondo_source or model.path
        bundle = self.bundles / (source.stem + ".rondo")
        compiler = self.binaries / "rondoc"
        newest = max(f.stat().st_mtime for f in (compiler, source))
        if not bundle.exists() or bundle.stat().st_mtime < newest:
            self.bundles.mkdir(parents=True, exist_ok=True)
            self._compile(compiler, model, bundle)
        return RondoSession(
            self.binaries / "rondo-run",
            bundle,
            self.config,
            threads,
            has_own_weights=model.rondo_source is not None,
        )

    def _compile(self, compiler: Path, model: Model, bundle: Path) -> None:
        options = [
            f"--kv={self.config.rondo['kv']}",
            f"--context={self.config.lengths.context}",
            *model.rondo_options,
        ]
        source = model.rondo_source or model.path
        run_text([str(compiler), str(source), "-o", str(bundle), *options])


def run_text(command: list[str]) -> str:
    """Standard output of a command that has to succeed."""
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed with {done.returncode}")
    return done.stdout
