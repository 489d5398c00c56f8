# Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Writes results as JSON, as Markdown and as a picture."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402  (the backend comes first)

COLOURS = {"rondo": "#b5432e", "llama.cpp": "#4a6f8a", "yardstick": "#8f9a5b"}


def write_all(result: dict[str, Any], folder: Path, name: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(result, indent=1) + "\n"
    (folder / f"{name}.json").write_text(text)
    (folder / f"{name}.md").write_text(markdown(result, name))
    draw(result, folder / f"{name}.png")


def _spread(entry: dict[str, float], digits: int) -> str:
    return (
        f"{entry['median']:.{digits}f}"
        f" ({entry['q1']:.{digits}f}-{entry['q3']:.{digits}f})"
    )


def _engine_rows(result: dict[str, Any], phase: str) -> list[str]:
    rows = []
    for model in result["models"]:
        for name, engine in model["engines"].items():
            entry = engine[phase]
            cells = [
                model["type"],
                model["head"],
                name,
                engine["info"]["kv"],
                _spread(entry["tokens_per_second"], 1),
                f"{entry['bound_tokens_per_second']:.0f}",
                f"{entry['fraction_of_bound']:.2f}",
            ]
            if phase == "decode":
                cells.append(f"{entry['gb_per_s']:.1f}")
                cells.append(_spread(entry["of_dram_in_round"], 2))
            rows.append("| " + " | ".join(cells) + " |")
    return rows


def _ratio_rows(result: dict[str, Any]) -> list[str]:
    return [
        f"| {model['type']} | {pair} | {_spread(phases['prefill'], 2)} |"
        f" {_spread(phases['decode'], 2)} |"
        for model in result["models"]
        for pair, phases in model["ratios"].items()
    ]


def _table(head: list[str], rows: list[str]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head), *rows]
    return "\n".join(lines) + "\n"


def _machine_lines(result: dict[str, Any]) -> str:
    machine = result["machine"]
    caches = ", ".join(f"{k} {v}" for k, v in machine["caches"].items())
    versions = {
        engine["info"].get("version", "built from this revision"): name
        for model in result["models"]
        for name, engine in model["engines"].items()
    }
    lines = [
        f"- {machine['cpu']} (family {machine['cpu_family']}, model"
        f" {machine['cpu_model']}), {machine['cores']} cores"
        f"{' of a virtual machine' if machine['virtual'] else ''}, {caches},"
        f" {machine['memory_gib']} GiB",
        f"- {' '.join(machine['flags'])}",
        f"- Linux {machine['kernel']}, {machine['compiler']},"
        f" `{machine['compiler_flags']}`, Python {machine['python']}",
        f"- revision {machine['revision']}",
        *(f"- {name}: {version}" for version, name in versions.items()),
    ]
    return "\n".join(lines) + "\n"


def _ceiling_rows(result: dict[str, Any]) -> list[str]:
    ceilings = result["ceilings"]
    rows = [
        f"| read {level.upper()} | {entry['gb_per_s']:.1f} GB/s |"
        f" {entry['loop']}, {entry['bytes'] / 2**20:.1f} MiB |"
        for level, entry in ceilings["read"].items()
    ]
    rows.append(
        f"| DRAM, used for bounds | {ceilings['dram_gb_per_s']:.1f} GB/s |"
        f" {ceilings['dram_source']} |"
    )
    rows += [
        f"| {kind} | {entry['gops_per_s']:.0f} Gop/s | {entry['form']} |"
        for kind, entry in ceilings["arithmetic"].items()
    ]
    return rows


def markdown(result: dict[str, Any], name: str) -> str:
    lengths = result["lengths"]
    decode_head = ["type", "head", "engine", "KV", "tokens/s", "bound", "of bound"]
    loads = [m["load_average"]["max"] for m in result["models"]]
    return "\n".join(
        [
            f"# {result['config']}, {result['threads']} threads\n",
            f"Medians (quartiles) of {result['pairs']} alternating rounds;"
            f" prompt {lengths['prefill']}, {lengths['decode']} new tokens from"
            f" position {lengths['at']}. Highest load average while measuring:"
            f" {max(loads):.1f}.\n",
            f"```\n{result['command']}\n```\n",
            f"![tokens per second]({name}.png)\n",
            "## Decode\n",
            _table(
                [*decode_head, "GB/s", "of DRAM in the round"],
                _engine_rows(result, "decode"),
            ),
            "## Prefill\n",
            _table(decode_head, _engine_rows(result, "prefill")),
            "## Ratios within a round\n",
            _table(["type", "of", "prefill", "decode"], _ratio_rows(result)),
            "## Ceilings\n",
            _table(["what", "rate", "by"], _ceiling_rows(result)),
            "## Machine\n",
            _machine_lines(result),
        ]
    )


def draw(result: dict[str, Any], path: Path) -> None:
    """Bars for every type and engine, with the bound as a line above them."""
    figure, axes = plt.subplots(1, 2, figsize=(11, 4.2), layout="constrained")
    for axis, phase in zip(axes, ("decode", "prefill"), strict=True):
        _draw_phase(axis, result["models"], phase)
    axes[0].legend(frameon=False, fontsize=9)
    figure.suptitle(
        f"{result['config']}, {result['machine']['cpu']},"
        f" {result['threads']} threads",
        fontsize=11,
    )
    figure.savefig(path, dpi=110, metadata={"Software": None})
    plt.close(figure)


def _draw_phase(axis: Any, models: list[dict[str, Any]], phase: str) -> None:
    names = [n for n in COLOURS if any(n in m["engines"] for m in models)]
    width = 0.8 / len(names)
    labelled: set[str] = set()
    for index, model in enumerate(models):
        for place, name in enumerate(names):
            if name not in model["engines"]:
                continue
            entry = model["engines"][name][phase]
            rate = entry["tokens_per_second"]
            x = index + (place - (len(names) - 1) / 2) * width
            label = name if name not in labelled else None
            labelled.add(name)
            errors = [[rate["median"] - rate["q1"]], [rate["q3"] - rate["median"]]]
            axis.bar(x, rate["median"], width * 0.92, color=COLOURS[name], label=label)
            axis.errorbar(x, rate["median"], errors, color="black", linewidth=1)
            bound = entry["bound_tokens_per_second"]
            axis.plot([x - width / 2, x + width / 2], [bound, bound], color="black")
    axis.set_xticks(range(len(models)), [m["type"] for m in models])
    axis.set_title(f"{phase}: tokens per second (line: bound)", fontsize=10)
    axis.spines[["top", "right"]].set_visible(False)
