# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Text as token ids, split into a part to train on and windows to measure on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import Tokenizer
from torch import Tensor

from rondo.convert.source import Source
from rondo.text import from_outside, tokenizer_from_bytes
from rondo.torch.errors import TrainingError

# The last tenth of the text is for measuring, though not more windows than this.
_HELD_OUT = 10
_MOST_WINDOWS = 32


def tokenizer_of(source: Source) -> Tokenizer | None:
    """The tokenizer of a model folder or GGUF file; None if it has none."""
    content = source.companions.get("tokenizer.json")
    if content is None:
        return None
    return tokenizer_from_bytes(content.read_bytes() if isinstance(content, Path) else content.encode())


def read_tokens(files: Sequence[Path], source: Source) -> list[int]:
    """Token ids of the files, one after the other, without special tokens.

    Raises TrainingError if the model has no tokenizer, TextError for what is not UTF-8, OSError for what is not there.
    """
    tokenizer = tokenizer_of(source)
    if tokenizer is None:
        raise TrainingError(f"{source.path} has no tokenizer.json; put that of the model it was made from there")
    tokens: list[int] = []
    for file in files:
        content = from_outside(file.read_bytes().decode("utf-8", "surrogateescape"), str(file))
        tokens += tokenizer.encode(content, add_special_tokens=False).ids
    return tokens


@dataclass(frozen=True)
class Corpus:
    """Token ids [N] to draw training windows from, and windows [W, T + 1] that are held out."""

    training: Tensor
    validation: Tensor

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """Windows [count, T + 1] from random places."""
        length = self.validation.shape[1]
        starts = torch.randint(len(self.training) - length + 1, (count,), generator=generator)
        return torch.stack([self.training[start : start + length] for start in starts.tolist()])


def split(tokens: Sequence[int], length: int) -> Corpus:
    """A corpus of windows that predict `length` tokens each; its end is held out. TrainingError if it is too short."""
    window = length + 1
    if len(tokens) < 2 * window:
        raise TrainingError(
            f"the text has {len(tokens)} tokens, and windows of {length} need at least {2 * window}, half of them to "
            "measure on; give more text, or a smaller --length"
        )
    windows = min(max(len(tokens) // _HELD_OUT // window, 1), _MOST_WINDOWS)
    ids = torch.tensor(tokens)
    held = windows * window
    return Corpus(ids[:-held], ids[-held:].reshape(windows, window))
