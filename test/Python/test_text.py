# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Streamed decoding and chat templates."""

from __future__ import annotations

import random

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from rondo.text import ChatTemplate, TextError, stream_text, tokenizer_from_bytes

from byte_tokenizer import STOP, TURN, byte_tokenizer

TEXT = "plain, h\u00e9llo, \u4f60\u597d \U0001f389!\n tail"


def stream(ids: list[int], tokenizer: Tokenizer) -> list[str]:
    return list(stream_text(ids, tokenizer.decode))


# Tests that a character comes out once, when its last byte is known.
def test_characters_over_several_tokens() -> None:
    pieces = stream(list(TEXT.encode()), tokenizer_from_bytes(byte_tokenizer()))
    assert pieces == list(TEXT)


# Tests bytes that never become a character: nothing is lost, what follows comes out.
@pytest.mark.parametrize("raw", [b"\xf0\x9f", b"a\xf0\x9fb", b"\x80\x80\x80", b"ab\xff", b"\xe4\xbd\xa0\xe4"])
def test_broken_utf8(raw: bytes) -> None:
    tokenizer = tokenizer_from_bytes(byte_tokenizer())
    assert "".join(stream(list(raw), tokenizer)) == tokenizer.decode(list(raw))


# Tests that pieces add up to the whole for random bytes (seed printed by the assertion).
def test_pieces_add_up() -> None:
    tokenizer = tokenizer_from_bytes(byte_tokenizer())
    for seed in range(200):
        generator = random.Random(seed)
        ids = [generator.choice([*TEXT.encode(), 0xF0, 0x9F, TURN]) for _ in range(12)]
        assert ("".join(stream(ids, tokenizer)), seed) == (tokenizer.decode(ids), seed)


# Tests a decoder that drops the space in front of the first token only.
def test_leading_spaces() -> None:
    vocabulary = {"\u2581the": 0, "\u2581end": 1, "s": 2}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    assert stream([0, 1, 2, 1], tokenizer) == ["the", " end", "s", " end"]


def test_special_tokens_are_not_shown() -> None:
    assert stream([TURN, ord("a"), STOP], tokenizer_from_bytes(byte_tokenizer())) == ["a"]


@pytest.mark.parametrize("content, message", [(None, "no tokenizer"), (b"{}", "cannot read"), (b"\xff", "cannot read")])
def test_bad_tokenizer(content: bytes | None, message: str) -> None:
    with pytest.raises(TextError, match=message):
        tokenizer_from_bytes(content)


def template(source: str) -> ChatTemplate:
    return ChatTemplate(source.encode(), tokenizer_from_bytes(byte_tokenizer()), [STOP])


# Tests what templates written for transformers rely on: block trimming, names, filters, functions.
def test_template() -> None:
    source = """{%- for message in messages %}
    {%- if loop.first and message.role != 'system' %}
[{{ strftime_now('%Y') | length }}]
    {%- endif %}
{{ bos_token }}<{{ message.role }}>{{ message['content'] | trim }}{{ {'a': '<é>'} | tojson }}{{ eos_token }}
{%- endfor %}
{%- if add_generation_prompt %}
<assistant>
{%- endif %}"""
    rendered = template(source).render([{"role": "user", "content": " hi "}])
    assert rendered == '[4]<user>hi{"a": "<\u00e9>"}<|stop|><assistant>'


def test_template_refuses() -> None:
    with pytest.raises(TextError, match="roles must alternate"):
        template("{{ raise_exception('roles must alternate') }}").render([])


# Tests that a template cannot reach into Python or change what it is given.
@pytest.mark.parametrize(
    "source", ["{{ ''.__class__.__mro__ }}", "{{ messages.append(1) }}", "{% include '/etc/passwd' %}"]
)
def test_template_is_confined(source: str) -> None:
    messages = [{"role": "user", "content": "x"}]
    with pytest.raises(TextError):
        template(source).render(messages)
    assert messages == [{"role": "user", "content": "x"}]


@pytest.mark.parametrize(
    "source, message", [(None, "no chat template"), (b"{% if %}", "cannot read"), (b"\xff", "cannot read")]
)
def test_bad_template(source: bytes | None, message: str) -> None:
    with pytest.raises(TextError, match=message):
        ChatTemplate(source, tokenizer_from_bytes(byte_tokenizer()), [])
