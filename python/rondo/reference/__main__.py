# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Command line of the reference models: `python -m rondo.reference MODEL --tokens=1,2,3 [options]`.

Writes the tensor names of `rondo-run`. Exit status: 0 done, 1 the checkpoint or the input is at fault, 2 wrong use.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from rondo import __version__
from rondo.reference import CheckpointError, Decoder, Loop, Trace, greedy, load_model
from rondo.reference.checkpoint import read_json
from rondo.reference.layers import Array


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns its exit status."""
    options = _parser().parse_args(arguments)
    try:
        _run(options)
    except (CheckpointError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m rondo.reference", description="Run a reference model.")
    parser.add_argument("model", type=Path, metavar="MODEL", help="Hugging Face model folder or .gguf file")
    prompts = parser.add_mutually_exclusive_group(required=True)
    prompts.add_argument("--tokens", type=_token_list, metavar="ID,ID", help="token ids of one sequence")
    prompts.add_argument("--tokens-file", type=Path, metavar="FILE", help='JSON: {"sequences": [[1, 2], ...]}')
    parser.add_argument("--logits", type=Path, metavar="FILE", help="write logits.<sequence> [positions, vocabulary]")
    parser.add_argument("--trace", type=Path, metavar="FILE", help="write embedding, layer, hidden and final states")
    parser.add_argument("--generate", type=_count, default=0, metavar="N", help="greedy tokens after each sequence")
    parser.add_argument("--stop", type=_token_list, metavar="ID,ID", help="ids that end a sequence; --stop= for none")
    parser.add_argument("--recompute", action="store_true", help="run everything again for each new token")
    parser.add_argument("--loop", type=_loop, action="append", default=[], metavar="FIRST:LAST:TIMES",
                        help="visit layers FIRST..LAST TIMES times; repeatable")  # fmt: skip
    parser.add_argument("--dtype", choices=["float32", "float64"], default="float32", help="type of all arithmetic")
    parser.add_argument("--version", action="version", version=f"rondo {__version__}")
    return parser


def _token_list(text: str) -> list[int]:
    return [int(part) for part in text.split(",") if part]


def _count(text: str) -> int:
    count = int(text)
    if count < 0:
        raise ValueError
    return count


def _loop(text: str) -> Loop:
    try:
        return Loop.parse(text)
    except CheckpointError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _run(options: argparse.Namespace) -> None:
    sequences = _sequences(options)
    model = load_model(options.model, options.dtype, options.loop)
    if options.logits or options.trace:
        logits, traced = _prefill(model, sequences)
        if options.logits:
            _save(options.logits, logits)
        if options.trace:
            _save(options.trace, traced)
    if options.generate:
        print(json.dumps(_generate(model, sequences, options)))


def _sequences(options: argparse.Namespace) -> list[list[int]]:
    if options.tokens_file is None:
        return [options.tokens]
    content = read_json(options.tokens_file)
    sequences = content.get("sequences") if isinstance(content, dict) else None
    if not isinstance(sequences, list) or not all(
        isinstance(ids, list) and all(type(token) is int for token in ids) for ids in sequences
    ):
        raise CheckpointError(f"{options.tokens_file}: expected 'sequences', a list of lists of token ids")
    return sequences


def _prefill(model: Decoder, sequences: Sequence[Sequence[int]]) -> tuple[dict[str, Array], dict[str, Array]]:
    """Logits and trace of all sequences, under the names of `rondo-run`."""
    logits: dict[str, Array] = {}
    traced: dict[str, Array] = {}
    for number, tokens in enumerate(sequences):
        trace: Trace = {}
        logits[f"logits.{number}"] = model.logits(tokens, trace)
        for name, value in trace.items():
            kind, *index = name.split(".")
            traced[".".join([kind, str(number), *index])] = value
    return logits, traced


def _save(path: Path, tensors: dict[str, Array]) -> None:
    """Write a safetensors file that appears only when it is complete."""
    partial = path.with_name(path.name + ".partial")
    save_file({name: np.ascontiguousarray(value) for name, value in tensors.items()}, partial)
    partial.replace(path)


def _generate(model: Decoder, sequences: Sequence[Sequence[int]], options: argparse.Namespace) -> dict[str, Any]:
    stop = model.stop_tokens if options.stop is None else options.stop
    results = [greedy(model, tokens, options.generate, stop, options.recompute) for tokens in sequences]
    return {
        "sequences": [
            {"tokens": result.tokens, "top2_gaps": result.gaps, "smallest_top2_gap": min(result.gaps)}
            for result in results
        ]
    }


if __name__ == "__main__":
    sys.exit(main())
