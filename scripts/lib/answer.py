#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Stream a chat model's answer to one prompt and say how fast it came: answer.py MODEL.rondo PROMPT."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator

import rondo
from rondo.text import ChatTemplate, stream_text, tokenizer_from_bytes

MOST_TOKENS = 128


class Stopwatch:
    """Passes tokens on and notes when each came; the first one waits for the prompt."""

    def __init__(self) -> None:
        self.start = time.perf_counter()
        self.times: list[float] = []

    def watch(self, tokens: Iterable[int]) -> Iterator[int]:
        for token in tokens:
            self.times.append(time.perf_counter())
            yield token

    def summary(self, prompt_tokens: int) -> str:
        first = self.times[0] - self.start
        later = self.times[-1] - self.times[0]
        decode = f"{(len(self.times) - 1) / later:.1f}" if later > 0 else "no further"
        return (
            f"{prompt_tokens} prompt tokens in {first:.2f} s ({prompt_tokens / first:.0f} tokens/s), "
            f"{len(self.times)} new tokens at {decode} tokens/s"
        )


def main() -> int:
    path, prompt = sys.argv[1:3]
    with rondo.load(path) as model:
        tokenizer = tokenizer_from_bytes(model.tensor("tokenizer.json"))
        template = ChatTemplate(model.tensor("chat_template.jinja"), tokenizer, model.stop_tokens)
        text = template.render([{"role": "user", "content": prompt}])
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        stopwatch = Stopwatch()
        new = stopwatch.watch(model.generate(ids, MOST_TOKENS))
        for piece in stream_text((token for token in new if token not in model.stop_tokens), tokenizer.decode):
            print(piece, end="", flush=True)
        print(f"\n\n{stopwatch.summary(len(ids))}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
