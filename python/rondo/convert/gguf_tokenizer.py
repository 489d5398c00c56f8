# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""tokenizer.json from the metadata of a GGUF file, as rondoc makes it (`lib/Import/GGUFTokenizer.cpp`).

GGUF stores vocabulary and merges of a byte-level BPE but only the name of the rule that splits text before it,
`tokenizer.ggml.pre`. What other tokenizers need is not in the file.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from rondo.convert.errors import ConversionError
from rondo.reference.gguf_file import Fields

# GPT-2's split: contractions, words, numbers, signs, spaces.
_GPT2_SPLIT = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
# By `tokenizer.ggml.pre`: what is split off before the words, and whether words are split as GPT-2 does after that.
_DEFAULT_SPLITS = ((r"[\p{P}\$\+<=>\^~\|]+", _GPT2_SPLIT, r"\p{N}+", "[0-9][0-9][0-9]"), False)
_SPLITS: Mapping[str, tuple[tuple[str, ...], bool]] = {
    "": _DEFAULT_SPLITS,
    "default": _DEFAULT_SPLITS,
    "gpt-2": ((), True),
    "smollm": ((r"\p{N}",), True),
}
# `tokenizer.ggml.token_type` of tokens that are found in a text before it is split.
_UNKNOWN, _CONTROL, _USER_DEFINED = 2, 3, 4
# Texts of tokens that end a turn, in files from before `tokenizer.ggml.eot_token_id`.
_TURN_ENDS = ("<|eot_id|>", "<|im_end|>", "<|end|>", "<end_of_turn>")


def tokenizer_json(fields: Fields) -> tuple[str, str]:
    """The text of a tokenizer.json, or "" and a note why there is none. ConversionError for malformed metadata."""
    kind, rule = fields.get("tokenizer.ggml.model", ""), fields.get("tokenizer.ggml.pre", "")
    if not kind:
        return "", "the file has no tokenizer; put a tokenizer.json into the result to use it with text"
    if kind != "gpt2" or rule not in _SPLITS:
        return "", (
            f"tokenizer '{kind}' with the split '{rule}' cannot be carried over (known: gpt2 with default, gpt-2, "
            "smollm); put the tokenizer.json of the original model into the result"
        )
    tokens = _tokens(fields)
    content = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": _added_tokens(fields, tokens),
        "normalizer": None,
        "pre_tokenizer": _pre_tokenizer(*_SPLITS[rule]),
        "post_processor": _post_processor(fields, tokens),
        "decoder": _byte_level(True),
        "model": _model(tokens, _merges(fields, set(tokens))),
    }
    return json.dumps(content, ensure_ascii=False), ""


def chat_template(fields: Fields) -> str:
    """The chat template; "" if there is none."""
    return fields.get("tokenizer.chat_template", "")


def stop_tokens(fields: Fields) -> list[int]:
    """Ids that end a sequence or a turn."""
    keys = [f"tokenizer.ggml.{name}_token_id" for name in ("eos", "eot", "eom")]
    ids = [int(id_) for key in keys if (id_ := fields.get(key)) is not None]
    types = fields.get("tokenizer.ggml.token_type")
    if fields.get("tokenizer.ggml.eot_token_id") is None and types:
        tokens = fields.get("tokenizer.ggml.tokens", [])
        ids += [id_ for id_, token in enumerate(tokens) if types[id_] == _CONTROL and token in _TURN_ENDS]
    return list(dict.fromkeys(ids))


def _tokens(fields: Fields) -> list[str]:
    # Tokens without a text are called as llama.cpp calls them.
    tokens = [token or f"[EMPTY_{id_}]" for id_, token in enumerate(fields.get("tokenizer.ggml.tokens", []))]
    if len(set(tokens)) != len(tokens):
        raise ConversionError("'tokenizer.ggml.tokens' holds a token twice; take the model folder instead")
    return tokens


def _merges(fields: Fields, tokens: set[str]) -> list[str]:
    merges = fields.get("tokenizer.ggml.merges")
    if merges is None:
        raise ConversionError("'tokenizer.ggml.merges' is missing; take the model folder instead")
    for merge in merges:
        left, _, right = merge.partition(" ")
        if not {left, right, left + right} <= tokens:
            raise ConversionError(
                f"merge '{merge}' of 'tokenizer.ggml.merges' is not of two tokens to one; take the model folder instead"
            )
    return merges


def _added_tokens(fields: Fields, tokens: list[str]) -> list[dict[str, Any]]:
    types = fields.get("tokenizer.ggml.token_type") or [0] * len(tokens)
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    return [
        {"id": id_, "content": tokens[id_], **flags, "special": type_ != _USER_DEFINED}
        for id_, type_ in enumerate(types)
        if type_ in (_UNKNOWN, _CONTROL, _USER_DEFINED)
    ]


def _byte_level(use_regex: bool) -> dict[str, Any]:
    return {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": use_regex}


def _pre_tokenizer(patterns: tuple[str, ...], use_regex: bool) -> dict[str, Any]:
    steps = [
        {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
        for pattern in patterns
    ]
    return {"type": "Sequence", "pretokenizers": [*steps, _byte_level(use_regex)]}


def _end(fields: Fields, tokens: list[str], name: str) -> int | None:
    """The token that is put at an end of a text, if there is one."""
    if not fields.get(f"tokenizer.ggml.add_{name}_token", False):
        return None
    id_ = fields.get(f"tokenizer.ggml.{name}_token_id")
    if id_ is None or not 0 <= id_ < len(tokens):
        raise ConversionError(
            f"'tokenizer.ggml.add_{name}_token' is set, but 'tokenizer.ggml.{name}_token_id' names no token; "
            "take the model folder instead"
        )
    return int(id_)


def _post_processor(fields: Fields, tokens: list[str]) -> dict[str, Any]:
    begin, end = _end(fields, tokens, "bos"), _end(fields, tokens, "eos")
    if begin is None and end is None:
        return _byte_level(True)

    def special(id_: int | None) -> list[dict[str, Any]]:
        return [] if id_ is None else [{"SpecialToken": {"id": tokens[id_], "type_id": 0}}]

    def framed(text: str) -> list[dict[str, Any]]:
        return [*special(begin), {"Sequence": {"id": text, "type_id": 0}}, *special(end)]

    return {
        "type": "TemplateProcessing",
        "single": framed("A"),
        "pair": [*framed("A"), *framed("B")],
        "special_tokens": {
            tokens[id_]: {"id": tokens[id_], "ids": [id_], "tokens": [tokens[id_]]}
            for id_ in (begin, end)
            if id_ is not None
        },
    }


def _model(tokens: list[str], merges: list[str]) -> dict[str, Any]:
    return {
        "type": "BPE",
        **dict.fromkeys(("dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix")),
        **dict.fromkeys(("fuse_unk", "byte_fallback", "ignore_merges"), False),
        "vocab": {token: id_ for id_, token in enumerate(tokens)},
        "merges": merges,
    }
