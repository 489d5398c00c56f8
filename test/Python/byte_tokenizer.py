# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""A tokenizer whose tokens are bytes, and two special ones."""

from __future__ import annotations

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

TURN, STOP = 256, 257  # ids of <|turn|> and <|stop|>


def byte_tokenizer() -> bytes:
    """A tokenizer.json in which token i is byte i: characters beyond ASCII are spread over several tokens."""
    printable = [c for c in range(256) if 33 <= c <= 126 or 161 <= c <= 172 or c >= 174]
    hidden = [c for c in range(256) if c not in printable]
    names = {c: chr(c) for c in printable} | {c: chr(256 + place) for place, c in enumerate(hidden)}
    tokenizer = Tokenizer(models.BPE(vocab={name: byte for byte, name in names.items()}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken("<|turn|>"), AddedToken("<|stop|>")])
    return tokenizer.to_str().encode()
