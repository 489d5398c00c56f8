# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Text in and out: the tokenizer of a bundle, streamed decoding, the chat template."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import jinja2
import jinja2.sandbox
from tokenizers import Tokenizer

# What decoders put in place of bytes that are no UTF-8, or not yet.
_REPLACEMENT = "\ufffd"


class TextError(Exception):
    """A text is none, or a bundle has no usable tokenizer or chat template; the message says which."""


def from_outside(value: str, what: str) -> str:
    """`value`, an argument or a line of input in which Python has kept undecodable bytes as surrogates, as text.

    Raises a TextError that names `what` and the first byte that is not UTF-8.
    """
    content = value.encode("utf-8", "surrogateescape")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise TextError(
            f"{what} is not UTF-8: byte 0x{content[error.start]:02x} at offset {error.start}; convert it with iconv"
        ) from None


def tokenizer_from_bytes(content: bytes | None) -> Tokenizer:
    """The tokenizer from the text of a `tokenizer.json`, None if the bundle has none."""
    if content is None:
        raise TextError("the bundle has no tokenizer; compile a checkpoint with one, or give --tokenizer=FILE")
    try:
        return Tokenizer.from_str(content.decode("utf-8"))
    except Exception as error:  # tokenizers raises plain Exception for malformed files
        raise TextError(f"cannot read the tokenizer: {error}") from error


def stream_text(ids: Iterable[int], decode: Callable[[Sequence[int]], str]) -> Iterator[str]:
    """Pieces of text as token ids arrive; together they are `decode` of all ids.

    A character whose bytes are spread over several tokens comes out when it is complete. Each piece is the difference
    of two decodings that begin at the same token, because decoders treat the first token specially (leading spaces).
    Bytes that never become a character come out as U+FFFD at the end.
    """
    known: list[int] = []
    begin = shown = 0  # decodings start at token `begin`; text of tokens before `shown` is out
    for token in ids:
        known.append(token)
        before, now = decode(known[begin:shown]), decode(known[begin:])
        if len(now) > len(before) and not now.endswith(_REPLACEMENT):
            yield now[len(before) :]
            begin, shown = shown, len(known)
    rest = decode(known[begin:])[len(decode(known[begin:shown])) :]
    if rest:
        yield rest


class ChatTemplate:
    """The checkpoint's chat template, run in jinja2's sandbox."""

    def __init__(self, source: bytes | None, tokenizer: Tokenizer, stop_tokens: Sequence[int]) -> None:
        if source is None:
            raise TextError("the bundle has no chat template; use 'rondo run', or a checkpoint with one")
        environment = jinja2.sandbox.ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
        )
        environment.filters["tojson"] = _to_json
        environment.globals["raise_exception"] = _raise
        environment.globals["strftime_now"] = lambda pattern: datetime.now().strftime(pattern)
        self._names = {"bos_token": _first_token(tokenizer), "eos_token": _name_of(tokenizer, stop_tokens)}
        try:
            self._template = environment.from_string(source.decode("utf-8"))
        except (jinja2.TemplateError, UnicodeDecodeError) as error:
            raise TextError(f"cannot read the chat template: {error}") from error

    def render(self, messages: Sequence[Mapping[str, str]]) -> str:
        """The prompt for the assistant's next turn after `messages`, each with `role` and `content`."""
        try:
            return self._template.render(messages=messages, add_generation_prompt=True, **self._names)
        except Exception as error:  # a template is a program: it can fail in any way
            raise TextError(f"the chat template refuses the conversation: {error}") from error


def _to_json(value: Any, indent: int | None = None) -> str:
    """Plain JSON: jinja2's own filter escapes HTML, which templates written for transformers do not expect."""
    return json.dumps(value, ensure_ascii=False, indent=indent)


def _raise(message: str) -> None:
    raise jinja2.TemplateError(message)


def _first_token(tokenizer: Tokenizer) -> str:
    """What the tokenizer puts in front of every text; empty if nothing."""
    return next(iter(tokenizer.encode("", add_special_tokens=True).tokens), "")


def _name_of(tokenizer: Tokenizer, ids: Sequence[int]) -> str:
    """Text of the first id; empty if there is none."""
    return (tokenizer.id_to_token(ids[0]) if ids else None) or ""
