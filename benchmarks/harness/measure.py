# Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Times the engines in alternation and relates them to the ceilings."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from .config import Config, Lengths, Model
from .engines import PHASES, Engine, Rates, Session
from .machine import load_average
from .native import Ceilings
from .statistics import paired, summary


@dataclass
class Series:
    """What one engine did with one model, round by round."""

    info: dict[str, Any] = field(default_factory=dict)
    rates: list[Rates] = field(default_factory=list)

    def of(self, phase: str) -> list[float]:
        return [getattr(rates, phase) for rates in self.rates]


@dataclass
class ModelRun:
    """All engines on one model. `dram` and `load` have an entry a round."""

    model: Model
    series: dict[str, Series] = field(default_factory=dict)
    dram: list[float] = field(default_factory=list)
    load: list[float] = field(default_factory=list)


def progress(text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


def rotated(items: Sequence[str], by: int) -> list[str]:
    """Everybody goes first equally often."""
    cut = by % len(items)
    return [*items[cut:], *items[:cut]]


def run_model(
    model: Model,
    engines: Sequence[Engine],
    ceilings: Ceilings,
    config: Config,
    pairs: int,
) -> ModelRun:
    sessions = {
        engine.name: engine.open(model, ceilings.threads)
        for engine in engines
        if engine.supports(model)
    }
    run = ModelRun(model, {name: Series() for name in sessions})
    for session in sessions.values():
        session.round(config.lengths)  # warm-up: page faults and caches
    for index in range(pairs):
        progress(f"{model.label}: round {index + 1} of {pairs}")
        _run_round(run, sessions, ceilings, config.lengths, index)
    progress("")
    for name, session in sessions.items():
        run.series[name].info = session.info()
        session.close()
    return run


def _run_round(
    run: ModelRun,
    sessions: dict[str, Session],
    ceilings: Ceilings,
    lengths: Lengths,
    index: int,
) -> None:
    # The better of before and after: the ceiling that this round could reach.
    before = ceilings.measure_dram()
    for name in rotated(list(sessions), index):
        run.series[name].rates.append(sessions[name].round(lengths))
    run.dram.append(max(before, ceilings.measure_dram()))
    run.load.append(load_average())


def decode_bytes(model: Model, lengths: Lengths, kv: str) -> float:
    return model.matrix_bytes + model.kv_bytes(lengths.mean_position, kv)


def note_ceilings(run: ModelRun, config: Config, ceilings: Ceilings) -> None:
    """An engine that beats the probes has shown a higher ceiling."""
    for name, series in run.series.items():
        if "own" in series.info:
            continue
        kv = series.info["kv"]
        size = decode_bytes(run.model, config.lengths, kv)
        rate = summary(series.of("decode"))["median"]
        ceilings.saw_bandwidth(rate * size * 1e-9, f"{name} decode")
        own = series.info.get("probed_gb_per_s", 0.0)
        ceilings.saw_bandwidth(own, f"{name}'s own probe")


def bounds(
    model: Model, lengths: Lengths, kv: str, ceilings: Ceilings
) -> dict[str, float]:
    """Tokens per second that no engine can exceed with these bytes."""
    bandwidth = ceilings.bandwidth * 1e9
    peak = ceilings.arithmetic(model.type) * 1e9
    decode = max(
        decode_bytes(model, lengths, kv) / bandwidth,
        model.decode_ops(lengths.mean_position) / peak,
    )
    prefill = max(
        model.matrix_bytes / bandwidth, model.prefill_ops(lengths.prefill) / peak
    )
    return {"decode": 1 / decode, "prefill": lengths.prefill / prefill}


def _phase(
    run: ModelRun, series: Series, phase: str, bound: float, size: float
) -> dict[str, Any]:
    rates = series.of(phase)
    result: dict[str, Any] = {
        "tokens_per_second": summary(rates),
        "bound_tokens_per_second": bound,
        "fraction_of_bound": summary(rates)["median"] / bound,
        "rounds": rates,
    }
    if phase == "decode":
        result["bytes_per_token"] = size
        result["gb_per_s"] = summary(rates)["median"] * size * 1e-9
        result["of_dram_in_round"] = paired(
            [rate * size * 1e-9 for rate in rates], run.dram
        )
    return result


def evaluate(run: ModelRun, config: Config, ceilings: Ceilings) -> dict[str, Any]:
    """The result of one model, ready for the report."""
    engines: dict[str, Any] = {}
    for name, series in run.series.items():
        kv = series.info["kv"]
        limits = bounds(run.model, config.lengths, kv, ceilings)
        size = decode_bytes(run.model, config.lengths, kv)
        if own := series.info.get("own"):
            limits = {phase: own[phase]["bound"] for phase in PHASES}
            size = own["decode"]["memory"] + own["decode"]["cache"]
        engines[name] = {"info": series.info} | {
            phase: _phase(run, series, phase, limits[phase], size)
            for phase in PHASES
        }
    return {
        "type": run.model.label,
        "file": run.model.path.name,
        "head": run.model.head_type,
        "engines": engines,
        "ratios": _ratios(run),
        "dram_gb_per_s": summary(run.dram),
        "load_average": summary(run.load),
    }


def _ratios(run: ModelRun) -> dict[str, Any]:
    """Of every engine to every other that was listed after it."""
    names = list(run.series)
    return {
        f"{above} / {below}": {
            phase: paired(run.series[above].of(phase), run.series[below].of(phase))
            for phase in PHASES
        }
        for index, above in enumerate(names)
        for below in names[index + 1 :]
    }
