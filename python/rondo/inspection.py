# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What a bundle says about itself, for people: `rondo inspect`."""

from __future__ import annotations

import bisect
import html
import itertools
import json
import os
import struct
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rondo import _runtime

# rondo_rt_execution (abi.h): body, layer, side, slot as u16, trace and a reserved word as u32.
_EXECUTION = struct.Struct("<4H2I")

_NEXT_UNIT = 999.95  # from here on a number with one decimal would read 1000.0


@dataclass(frozen=True)
class Execution:
    """One entry of the schedule: a body that runs with the weights of a layer, or one between layers."""

    visit: int  # how often it ran before: the same stored layer, or the same body if it is none
    group: int  # number of the pass through consecutive layers that it is in
    body: str
    is_layer: bool  # false for what stands between visits, such as a norm; then the other numbers mean nothing
    layer: int
    side: int
    slot: int


@dataclass(frozen=True)
class Facts:
    """A bundle's manifest, file size and schedule."""

    path: Path
    manifest: dict[str, Any]
    executions: tuple[Execution, ...]
    cache_bytes: int  # last-level cache of this machine, 0 if unknown


def read(path: str | os.PathLike[str]) -> Facts:
    """Read a bundle, also one for another machine. Raises a `rondo.RondoError` if it is malformed."""
    bundle = _runtime.Model(os.fspath(path), inspect=True)
    manifest = json.loads(bundle.manifest())
    executions = _executions(bundle.tensor("schedule.executions") or b"", manifest["schedule"])
    return Facts(Path(path), manifest, executions, _runtime.machine_cache_bytes())


def _executions(table: bytes, schedule: Mapping[str, Any]) -> tuple[Execution, ...]:
    layer_bodies = {block["name"] for block in schedule["blocks"]}
    rows = [
        (schedule["bodies"][body]["name"], layer, side, slot)
        for body, layer, side, slot, _, _ in _EXECUTION.iter_unpack(table)
    ]
    # Bodies may share layers. If there are as many numbers as stored layers, the number says which layer it is.
    numbers = {layer for name, layer, _, _ in rows if name in layer_bodies}
    shared = len(numbers) == schedule["unique_layers"]
    visits: Counter[tuple[str, int]] = Counter()
    executions = []
    for index, (name, layer, side, slot) in enumerate(rows):
        group = bisect.bisect_right(schedule["visit_begin"], index) - 1
        is_layer = name in layer_bodies
        key = ("" if is_layer and shared else name, layer if is_layer else 0)
        executions.append(Execution(visits[key], group, name, is_layer, layer, side, slot))
        visits[key] += 1
    return tuple(executions)


def machine_features() -> list[str]:
    """Instruction sets of this machine, by the runtime's names."""
    bits = _runtime.machine_features()
    names = (_runtime.machine_feature_name(1 << place) for place in range(64) if bits >> place & 1)
    return [name for name in names if name]


def describe(facts: Facts) -> str:
    """The facts as text of several lines."""
    return "\n".join([*_model_lines(facts), "", *_schedule_lines(facts), "", *_stage_lines(facts)])


def _model_lines(facts: Facts) -> list[str]:
    manifest, kv = facts.manifest, facts.manifest["kv"]
    target = manifest["target"]
    rows = {
        "model": f"{_title(facts)} ({manifest['architecture']})",
        "made by": manifest["producer"],
        "file": f"{facts.path} ({size(facts.path.stat().st_size)})",
        "target": " ".join([target["kind"], target.get("cpu", ""), *target.get("features", [])]),
        "limits": f"context {manifest['context']}, {manifest['sequences']} sequences, {manifest['rows']} rows a step",
        "weights": f"{manifest['weights']}, {size(manifest['weight_bytes'])}, arithmetic {manifest['arithmetic']}",
        "kv": f"{kv['policy']}, {kv['slots']} slots of {kv['heads']} x {kv['head_dim']}, {kv['type']}, "
        f"{size(kv['page_bytes'] / kv['page_positions'])} a position",
        "memory": f"arena {size(manifest['arena_bytes'])}, {size(manifest['scratch_bytes'])} a thread",
        "holds": ", ".join(_extras(manifest)) or "no tokenizer, no chat template, no trace points",
    }
    return [f"{name:9}{value}" for name, value in rows.items()]


def _title(facts: Facts) -> str:
    """What the model is called; a module typed by hand may have no name but its file's."""
    return facts.manifest["name"] or facts.path.stem


def _extras(manifest: Mapping[str, Any]) -> list[str]:
    names = {"tokenizer": "tokenizer", "chat_template": "chat template", "trace_points": "trace points"}
    return [name for key, name in names.items() if manifest[key]] + ["no weights"] * manifest["weightless"]


def _schedule_lines(facts: Facts) -> list[str]:
    schedule = facts.manifest["schedule"]
    counts = f"{_number(schedule['unique_layers'], 'unique layer')}, {schedule['executed_layers']} executed"
    lines = [f"schedule: depth {schedule['depth']}, {counts}"]
    lines += [
        f"  {block['name']}: {_number(block['layers'], 'layer')}, {_number(block['visits'], 'visit')}"
        for block in schedule["blocks"]
    ]
    groups = [_group_text(list(runs)) for _, runs in itertools.groupby(facts.executions, lambda run: run.group)]
    lines += [f"  {text}: {_number(len(list(same)), 'visit')}" for text, same in itertools.groupby(groups)]
    return lines


def _group_text(runs: Sequence[Execution]) -> str:
    layers = ranges([run.layer for run in runs if run.is_layer])
    others = [run.body for run in runs if not run.is_layer]
    word = "layer" if layers.isdigit() else "layers"
    return ", ".join([f"{word} {layers}"] * bool(layers) + others)


def _number(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _stage_lines(facts: Facts) -> list[str]:
    stages = facts.manifest["stages"]
    width = max((len(stage["name"]) for stage in stages), default=0)
    lines = [f"{'stage':{width}}  runs  bytes a run  kflop a row"]
    for stage in stages:
        numbers = f"{stage['executions']:6}{size(stage['bytes']):>13}{stage['flops'] / 1e3:13.1f}"
        lines.append(f"{stage['name']:{width}}{numbers}")
    total = sum(stage["executions"] * stage["bytes"] for stage in stages)
    lines.append(f"one decode step reads {size(total)} of weights")
    lines.append(_residency(facts))
    return lines


def _residency(facts: Facts) -> str:
    """Whether what a repeated block reads can stay in this machine's cache between its visits."""
    if facts.manifest["schedule"]["depth"] <= 1:
        return "residency: no block is visited twice"
    if not facts.cache_bytes:
        return "residency: the size of this machine's last-level cache is unknown"
    read, kept = _bytes_between_visits(facts), _runtime.CACHE_SHARE * facts.cache_bytes
    verdict = "fit" if read <= kept else "do not fit"
    what = f"{size(read)} of weights, read from one visit to the next,"
    return (
        f"residency: {what} {verdict} the {size(kept)} that can be counted on in this machine's last-level cache of "
        f"{size(facts.cache_bytes)}"
    )


def _bytes_between_visits(facts: Facts) -> float:
    """The most weight bytes that are read from one visit of a layer up to its next one, each of them once."""
    shared, varying = _body_bytes(facts)
    last: dict[tuple[str, int], int] = {}
    most = 0.0
    for index, run in enumerate(facts.executions):
        first = last.get((run.body, run.layer))
        if first is not None:
            between = facts.executions[first:index]
            total = sum(shared[body] for body, _ in {(other.body, other.layer) for other in between})
            total += sum(varying[body] for body, _, _ in {(other.body, other.layer, other.side) for other in between})
            most = max(most, total)
        last[run.body, run.layer] = index
    return most


def _body_bytes(facts: Facts) -> tuple[Counter[str], Counter[str]]:
    """Weight bytes that one execution of each body reads: those that all visits share, and those of its depth alone.

    A stage is called after its body. One that some executions skip is spread over all of them.
    """
    executed = Counter(run.body for run in facts.executions)
    shared: Counter[str] = Counter()
    varying: Counter[str] = Counter()
    for stage in facts.manifest["stages"]:
        for body in executed:
            if stage["name"].startswith(f"{body}."):
                share = stage["executions"] / executed[body]
                varying[body] += share * stage["side_bytes"]
                shared[body] += share * (stage["bytes"] - stage["side_bytes"])
    return shared, varying


def size(count: float) -> str:
    """Bytes with a unit, in powers of 1000."""
    if count < 1000:
        return f"{count:.0f} B"
    for unit in ("kB", "MB", "GB"):
        count /= 1000
        if count < _NEXT_UNIT:
            return f"{count:.1f} {unit}"
    return f"{count / 1000:.1f} TB"


def ranges(numbers: Sequence[int]) -> str:
    """Consecutive numbers joined: 0 1 2 5 -> 0-2 5."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return " ".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)


# --- Drawing ----------------------------------------------------------------------------------------------------------

_CELL = 18  # px
_MARGIN = 60  # px, for labels
# Fill of visit 0, 1, ...; repeated where there are more visits (ColorBrewer "Set2").
_COLOURS = ("#66c2a5", "#fc8d62", "#8da0cb", "#e78ac3", "#a6d854", "#ffd92f")

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<style>body {{ font: 14px sans-serif; margin: 2em }} text {{ font: 10px sans-serif }}</style></head>
<body><h1>{title}</h1>
<p>Left to right: executions in order. Bottom to top: stored layers. Colour: visit. Point at a cell for its KV slot.</p>
{drawing}
<pre>{text}</pre></body></html>
"""


def write_html(facts: Facts, path: Path) -> None:
    """Draw the schedule into an HTML file without outside references; it appears only when it is complete."""
    title = html.escape(_title(facts))
    page = _PAGE.format(title=title, drawing=_drawing(facts.executions), text=html.escape(describe(facts)))
    partial = path.with_name(path.name + ".partial")
    partial.write_text(page, encoding="utf-8")
    partial.replace(path)


def _drawing(executions: Sequence[Execution]) -> str:
    """The schedule as SVG: one square an execution; what is no layer has a line for each body above the layers."""
    layers = 1 + max((run.layer for run in executions if run.is_layer), default=-1)
    others = sorted({run.body for run in executions if not run.is_layer})
    labels = [*others, *(f"layer {layer}" for layer in reversed(range(layers)))]
    parts = [f'<svg width="{_MARGIN + _CELL * len(executions)}" height="{_CELL * len(labels)}" role="img">']
    for line, label in enumerate(labels):
        parts.append(f'<text x="0" y="{_CELL * (line + 1) - 5}">{html.escape(label)}</text>')
    for index, run in enumerate(executions):
        line = len(labels) - 1 - run.layer if run.is_layer else others.index(run.body)
        x, y = _MARGIN + _CELL * index, _CELL * line
        fill = _COLOURS[run.visit % len(_COLOURS)]
        what = f"layer {run.layer}, slot {run.slot}" if run.is_layer else html.escape(run.body)
        about = f"execution {index}, visit {run.visit}: {what}"
        place = f'x="{x}" y="{y}" width="{_CELL - 2}" height="{_CELL - 2}"'
        parts.append(f'<rect {place} fill="{fill}"><title>{about}</title></rect>')
    return "\n".join([*parts, "</svg>"])
