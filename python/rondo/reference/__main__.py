# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Command line of the reference models: `python -m rondo.reference MODEL --tokens=1,2,3 [options]`.

Writes the tensor names of `rondo-run`. Exit status: 0 done, 1 the checkpoint or the input is at fault, 2 wrong use.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import save_file

from rondo import __version__
from rondo.arguments import parse_number
from rondo.overwrites import find_overwrite
from rondo.reference import (
    CheckpointError,
    Decoder,
    ExitRule,
    Huginn,
    Inputs,
    Loop,
    MixtureOfRecursions,
    Model,
    Ouro,
    evaluate,
    greedy,
    initial_state,
    load_model,
    read_inputs,
)
from rondo.reference.inputs import read_tensors
from rondo.reference.layers import Array
from rondo.reference.routing import RULES

Family = TypeVar("Family", bound=Decoder)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns its exit status."""
    parser = _parser()
    options = parser.parse_args(arguments)
    inputs = {"the model": options.model, "--tokens-file": options.tokens_file, "--inputs": options.inputs}
    if fault := find_overwrite({"--logits": options.logits, "--trace": options.trace}, inputs):
        parser.error(fault)
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
    prompts.add_argument(
        "--tokens-file", type=Path, metavar="FILE", help='JSON: {"sequences": [[1, 2], ...]}, and more'
    )
    parser.add_argument(
        "--logits", type=Path, metavar="FILE", help="write logits.<sequence> [positions, vocabulary], or states"
    )
    parser.add_argument("--trace", type=Path, metavar="FILE", help="write embedding, layer, hidden and final states")
    parser.add_argument("--generate", type=_count, default=0, metavar="N", help="greedy tokens after each sequence")
    parser.add_argument("--stop", type=_token_list, metavar="ID,ID", help="ids that end a sequence; --stop= for none")
    parser.add_argument("--recompute", action="store_true", help="run everything again for each new token")
    parser.add_argument("--loop", type=_checked(Loop.parse), action="append", default=[], metavar="FIRST:LAST:TIMES",
                        help="visit layers FIRST..LAST TIMES times; repeatable")  # fmt: skip
    parser.add_argument("--inputs", type=Path, metavar="FILE", help="safetensors file with inputs that are tensors")
    parser.add_argument(
        "--depth", type=_count, metavar="R", help="Huginn: visits of the core; default the checkpoint's"
    )
    parser.add_argument("--initial-state", type=_checked(initial_state.parse), metavar="STATE",
                        help="Huginn: zeros or seed:NUMBER; default seed:0, or what --inputs gives")  # fmt: skip
    parser.add_argument("--exit", type=_checked(ExitRule.parse), metavar="RULE",
                        help="Ouro: none, step:VISIT, gate:THRESHOLD, weighted; default the checkpoint's")  # fmt: skip
    parser.add_argument("--routing", choices=RULES,
                        help="Mixture-of-Recursions with expert choice: top tokens of a call (released, default) or "
                             "each token by itself (causal)")  # fmt: skip
    parser.add_argument("--dtype", choices=["float32", "float64"], default="float32", help="type of all arithmetic")
    parser.add_argument("--version", action="version", version=f"rondo {__version__}")
    return parser


def _token_list(text: str) -> list[int]:
    return [_count(part) for part in text.split(",") if part]


def _count(text: str) -> int:
    return parse_number(int, text, lambda count: count >= 0, "at least 0")


def _checked(parse: Callable[[str], Any]) -> Callable[[str], Any]:
    """The parser of an option's value, as argparse wants it."""

    def parse_option(text: str) -> Any:
        try:
            return parse(text)
        except CheckpointError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return parse_option


def _run(options: argparse.Namespace) -> None:
    inputs = _inputs(options)
    model = _model(options, inputs).prepared(inputs)
    if options.logits or options.trace:
        outputs, traced = evaluate(model, inputs)
        if options.logits:
            _save(options.logits, outputs)
        if options.trace:
            _save(options.trace, traced)
    if options.generate:
        if not isinstance(model, Decoder):
            raise CheckpointError("an encoder generates no tokens; leave out --generate")
        print(json.dumps(_generate(model, inputs, options)))


def _inputs(options: argparse.Namespace) -> Inputs:
    if options.tokens_file is not None:
        return read_inputs(options.tokens_file, options.inputs)
    return Inputs((tuple(options.tokens),), **(read_tensors(options.inputs) if options.inputs else {}))


def _model(options: argparse.Namespace, inputs: Inputs) -> Model:
    """The model with what the options say about its family's recurrence."""
    model = load_model(options.model, options.dtype, options.loop)
    if options.exit is not None:
        model = _of_kind(model, Ouro, "--exit").with_exit(options.exit)
    if options.routing is not None:
        model = _of_kind(model, MixtureOfRecursions, "--routing").with_routing(options.routing)
    if options.depth is not None:
        if inputs.num_steps:
            raise CheckpointError("the inputs file has 'num_steps'; leave out --depth")
        model = _of_kind(model, Huginn, "--depth").with_steps(options.depth)
    if options.initial_state is not None:
        if inputs.initial_state is not None:
            raise CheckpointError("--inputs gives the initial state; leave out --initial-state")
        huginn = _of_kind(model, Huginn, "--initial-state")
        model = huginn.with_initial_state(options.initial_state(huginn.shape.hidden, huginn.deviation))
    return model


def _of_kind(model: Model, kind: type[Family], option: str) -> Family:
    if not isinstance(model, kind):
        raise CheckpointError(f"{option} is for {kind.__name__} models only; leave it out")
    return model


def _save(path: Path, tensors: dict[str, Array]) -> None:
    """Write a safetensors file that appears only when it is complete."""
    partial = path.with_name(path.name + ".partial")
    try:
        save_file({name: np.ascontiguousarray(value) for name, value in tensors.items()}, partial)
        partial.replace(path)
    except (OSError, SafetensorError) as error:
        partial.unlink(missing_ok=True)
        raise CheckpointError(f"cannot write '{path}': {error}; name a file in a folder that can be written") from None


def _generate(model: Decoder, inputs: Inputs, options: argparse.Namespace) -> dict[str, Any]:
    stop = model.stop_tokens if options.stop is None else options.stop
    results = [greedy(model, tokens, options.generate, stop, options.recompute) for tokens in inputs.sequences]
    return {
        "sequences": [
            {"tokens": result.tokens, "top2_gaps": result.gaps, "smallest_top2_gap": min(result.gaps)}
            for result in results
        ]
    }


if __name__ == "__main__":
    sys.exit(main())
