# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The command line of `rondo uptrain`. PyTorch is loaded when the command runs, not when it is described."""

from __future__ import annotations

import argparse
import math
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import rondo.torch
from rondo.arguments import parse_number
from rondo.convert.command import ProgressBar
from rondo.convert.errors import ConversionError
from rondo.torch.errors import TrainingError

if TYPE_CHECKING:
    from rondo.convert.source import Source
    from rondo.torch.model import Decoder
    from rondo.torch.recipe import Recipe

_INTERRUPTED = 130  # 128 + SIGINT, as shells report it


def add_parser(parser: argparse.ArgumentParser) -> None:
    """Add the options of `rondo uptrain`."""
    parser.add_argument("source", type=Path, metavar="FOLDER", help="what 'rondo convert recursive' wrote")
    parser.add_argument("target", type=Path, metavar="OUT", help="folder to write")
    parser.add_argument("--text", type=Path, nargs="+", required=True, metavar="FILE", help="UTF-8 text to train on")
    parser.add_argument("--teacher", type=Path, metavar="MODEL",
                        help="model to learn from: the folder or .gguf file that FOLDER was made from")  # fmt: skip
    parser.add_argument("--steps", type=_count, default=200, metavar="N", help="default 200")
    parser.add_argument("--batch", type=_count, default=8, metavar="N", help="windows of text a step; default 8")
    parser.add_argument("--length", type=_count, default=256, metavar="N", help="tokens of a window; default 256")
    parser.add_argument("--lr", type=_positive, default=3e-4, metavar="X", help="highest learning rate; default 3e-4")
    parser.add_argument("--train", type=_names, default=("all",), metavar="LIST",
                        help="parts to train, of all,lora,norms,block,ends; default all")  # fmt: skip
    parser.add_argument("--exit-weight", type=_weights, default=(), metavar="X[,X...]",
                        help="weight of the loss at the end of each visit but the last, one for all or one for each; "
                        "default 0")  # fmt: skip
    parser.add_argument("--temperature", type=_positive, metavar="X", help="of the teacher's logits; default 1")
    parser.add_argument("--distill-weight", type=_positive, metavar="X", help="of what the teacher says; default 1")
    parser.add_argument("--seed", type=_seed, default=0, metavar="N", help="of the windows' places; default 0")
    parser.set_defaults(command=_uptrain, parser=parser)


def _count(text: str) -> int:
    return parse_number(int, text, lambda count: count >= 1, "at least 1")


def _seed(text: str) -> int:
    return parse_number(int, text, lambda seed: 0 <= seed < 1 << 63, "at least 0 and below 2^63")


def _positive(text: str) -> float:
    return parse_number(float, text, lambda number: 0 < number < math.inf, "above 0 and finite")


def _weights(text: str) -> tuple[float, ...]:
    return tuple(
        parse_number(float, part, lambda weight: 0 <= weight < math.inf, "at least 0 and finite")
        for part in text.split(",")
    )


def _names(text: str) -> tuple[str, ...]:
    return tuple(name for name in text.split(",") if name)


def _uptrain(options: argparse.Namespace) -> int:
    if options.teacher is None:
        for name in ("temperature", "distill_weight"):
            if getattr(options, name) is not None:
                options.parser.error(f"--{name.replace('_', '-')} is about a teacher, but there is no --teacher")
    if options.source.exists() and options.target.exists() and options.target.samefile(options.source):
        options.parser.error(f"OUT {options.target} is FOLDER itself; give a folder that does not exist yet")
    from rondo.reference.errors import CheckpointError

    try:
        rondo.torch.load  # noqa: B018  says how to install PyTorch if it is missing
        return _run(options)
    except ModuleNotFoundError as error:
        if error.name not in ("torch", "gguf"):
            raise
        raise ConversionError(str(error)) from error
    except (CheckpointError, TrainingError) as error:
        raise ConversionError(str(error)) from error


def _run(options: argparse.Namespace) -> int:
    from rondo.convert.folder import appearing_folder
    from rondo.torch import folder, report
    from rondo.torch.corpus import read_tokens
    from rondo.torch.recipe import uptrain

    begin = time.monotonic()
    progress = _Steps()
    try:
        with appearing_folder(options.target) as target:
            source = folder.open_saved(options.source)
            tokens = read_tokens(options.text, source)
            model = folder.load(options.source)
            teacher = _teacher(options, source)
            recipe = _recipe(options, model)
            result = uptrain(
                model,
                tokens,
                recipe,
                teacher,
                progress,
                finish=lambda trained: folder.round_as_stored(trained, source),
            )
            folder.write(model, target, source)
            inputs = {"text": [file.name for file in options.text], "teacher": options.teacher and options.teacher.name}
            report.write(target, result, recipe, inputs)
    except KeyboardInterrupt:
        print(
            f"\nrondo: interrupted after {progress.done} of {options.steps} steps; nothing is written", file=sys.stderr
        )
        return _INTERRUPTED
    print(
        f"rondo: wrote '{options.target}' after {options.steps} steps in {time.monotonic() - begin:.0f} s",
        file=sys.stderr,
    )
    print(report.table(result), file=sys.stderr)
    return 0


def _recipe(options: argparse.Namespace, model: Decoder) -> Recipe:
    from rondo.torch.losses import Objective
    from rondo.torch.recipe import Recipe

    weights = options.exit_weight
    if len(weights) == 1:
        weights *= model.exits - 1
        if options.exit_weight[0] and not weights:
            raise TrainingError(
                "--exit-weight: this model has no exit before its end, since only visits of 'cycle' and 'middle_cycle' "
                "end; leave it out"
            )
    objective = Objective(weights, options.distill_weight or 1.0, options.temperature or 1.0)
    return Recipe(options.steps, options.batch, options.length, options.lr, options.train, objective, options.seed)


def _teacher(options: argparse.Namespace, source: Source) -> Decoder | None:
    """The teacher, whose tokens must be those of the source."""
    if options.teacher is None:
        return None
    from rondo.convert.source import open_source
    from rondo.torch.corpus import tokenizer_of
    from rondo.torch.folder import load

    teacher = open_source(options.teacher)
    ours, theirs = tokenizer_of(source), tokenizer_of(teacher)
    if ours and theirs and ours.get_vocab() != theirs.get_vocab():
        raise TrainingError(
            f"the teacher {options.teacher} has another tokenizer than {options.source}; take the model that this one "
            "was made from"
        )
    return load(options.teacher)


class _Steps(ProgressBar):
    """The bar of `rondo convert` that also remembers how far it is."""

    done = 0

    def __call__(self, done: int, total: int) -> None:
        self.done = done
        super().__call__(done, total)
