# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The command line of `rondo convert`."""

from __future__ import annotations

import argparse
import math
import os
import sys
import time
from pathlib import Path

from rondo.arguments import parse_number
from rondo.convert.errors import ConversionError

_BAR = 30  # characters
_DELTA_KINDS = {"f32": "F32", "bf16": "BF16", "f16": "F16"}


def add_parsers(parser: argparse.ArgumentParser) -> None:
    """Add the conversions to the parser of `rondo convert`."""
    conversions = parser.add_subparsers(title="conversions", required=True, metavar="CONVERSION")
    recursive = conversions.add_parser("recursive", help="share layers over depth, with low-rank deltas")
    recursive.add_argument("source", type=Path, metavar="SRC", help="model folder or .gguf: llama, gemma, gpt_neox")
    recursive.add_argument("target", type=Path, metavar="DST", help="folder to write")
    recursive.add_argument("--share", required=True, choices=["cycle", "sequence", "middle-cycle", "middle-sequence"],
                           help="which layers become one; middle-*: all but the first and the last")  # fmt: skip
    recursive.add_argument("--visits", required=True, type=_visits, metavar="R", help="how often the block runs")
    recursive.add_argument("--init", choices=["stepwise", "average", "lower", "upper"],
                           help="weights of the block; default average with deltas, else stepwise")  # fmt: skip
    recursive.add_argument("--norms", choices=["shared", "per-depth"], default="shared", help="default shared")
    recursive.add_argument("--rank", type=_rank, default=0, metavar="N", help="of the deltas; default 0: none")
    recursive.add_argument("--lora-targets", type=_names, metavar="LIST",
                           help="of q,k,v,o,gate,up,down (gpt_neox: qkv,o,up,down); default all")  # fmt: skip
    recursive.add_argument("--lora-scale", type=_scale, metavar="X",
                           help="what readers multiply deltas by, and they are divided by; default 1")  # fmt: skip
    recursive.add_argument("--lora-dtype", choices=_DELTA_KINDS, help="type of the deltas; default f32")
    recursive.set_defaults(command=_recursive, parser=recursive)


def _visits(text: str) -> int:
    return parse_number(int, text, lambda visits: visits >= 2, "at least 2")


def _rank(text: str) -> int:
    return parse_number(int, text, lambda rank: rank >= 0, "at least 0")


def _scale(text: str) -> float:
    return parse_number(float, text, lambda scale: 0 < scale < math.inf, "above 0 and finite")


def _names(text: str) -> tuple[str, ...]:
    return tuple(name for name in text.split(",") if name)


def _recursive(options: argparse.Namespace) -> int:
    if not options.rank:
        for name in ("lora_targets", "lora_scale", "lora_dtype"):
            if getattr(options, name) is not None:
                options.parser.error(
                    f"--{name.replace('_', '-')} says how deltas look, but --rank is 0: there are none"
                )
    # Two threads on matrices of these sizes wait for each other: SmolLM2 took 19 s on one and 54 s on two (see
    # python/README.md). Read by NumPy's BLAS when it is loaded; a value that is set already stays.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from rondo.convert.recursive import Options, convert
    from rondo.convert.source import open_source
    from rondo.reference.errors import CheckpointError

    if options.source.exists() and options.target.exists() and options.target.samefile(options.source):
        options.parser.error(f"DST {options.target} is the source itself; give a folder that does not exist yet")
    begin = time.monotonic()
    try:
        source = open_source(options.source)
        wanted = Options(
            sharing=options.share.replace("-", "_"),
            visits=options.visits,
            initialization=options.init or ("average" if options.rank else "stepwise"),
            norms=options.norms,
            rank=options.rank,
            targets=options.lora_targets or (),
            scale=options.lora_scale or 1.0,
            delta_kind=_DELTA_KINDS[options.lora_dtype or "f32"],
        )
        report = convert(source, options.target, wanted, ProgressBar())
    except CheckpointError as error:
        raise ConversionError(str(error)) from error
    for note in (*source.notes, *report.notes):
        print(f"note: {note}", file=sys.stderr)
    print(report.summary(options.target, time.monotonic() - begin), file=sys.stderr)
    return 0


class ProgressBar:
    """A line on standard error that fills up; nothing at all if that is not a terminal."""

    def __init__(self) -> None:
        self._shown = sys.stderr.isatty()

    def __call__(self, done: int, total: int) -> None:
        if not self._shown:
            return
        full = _BAR * done // max(total, 1)
        end = "\r\x1b[K" if done == total else ""
        line = f"\r[{'#' * full}{'.' * (_BAR - full)}] {100 * done // max(total, 1):3d}%{end}"
        print(line, end="", file=sys.stderr, flush=True)
