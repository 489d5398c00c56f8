# Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""A process that keeps one model loaded in llama.cpp and times calls of it.

It is a process of its own so that models stay loaded between alternating
measurements and so that a crash of one engine ends one engine. It reads
requests, one a line, on standard input and answers each with a line of JSON:

  info             what runs, and how it was built
  prefill P        P tokens in one llama_decode
  decode N D       D calls of one token each, the first at position N

Flash attention is chosen for each of the two on its own, since neither choice
is the faster one for both; then they have two contexts over one model.

Times are wall-clock seconds of `llama_decode` alone: no sampling and no
tokenizer. Logits are computed for the last token of a prefill only, which is
what a chat needs and what the compiled code is asked for too.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import sys
import time
from typing import Any

import llama_cpp

GGML_TYPE_F32 = 0
GGML_TYPE_F16 = 1
GGML_TYPE_BF16 = 30
KV_TYPES = {"f32": GGML_TYPE_F32, "f16": GGML_TYPE_F16, "bf16": GGML_TYPE_BF16}
# `enum llama_flash_attn_type`
FLASH = {"off": 0, "on": 1}


@llama_cpp.llama_log_callback
def discard_log(level: int, text: bytes, user_data: Any) -> None:
    """Keeps the library's log out of the way of the answers."""


def evaluate(context: Any, tokens: Any, count: int) -> None:
    batch = llama_cpp.llama_batch_get_one(tokens, count)
    if llama_cpp.llama_decode(context, batch) != 0:
        raise SystemExit("llama_decode failed")


def keep_positions(context: Any, count: int) -> None:
    memory = llama_cpp.llama_get_memory(context)
    llama_cpp.llama_memory_seq_rm(memory, 0, count, -1)


def cached_positions(context: Any) -> int:
    memory = llama_cpp.llama_get_memory(context)
    return llama_cpp.llama_memory_seq_pos_max(memory, 0) + 1


class Model:
    """A loaded model with a context for prefill and one for decode."""

    def __init__(self, args: argparse.Namespace) -> None:
        llama_cpp.llama_log_set(discard_log, ctypes.c_void_p(0))
        llama_cpp.llama_backend_init()
        params = llama_cpp.llama_model_default_params()
        params.n_gpu_layers = 0
        self.model = llama_cpp.llama_model_load_from_file(
            args.model.encode(), params
        )
        if not self.model:
            raise SystemExit(f"llama.cpp cannot load {args.model}")
        vocabulary = llama_cpp.llama_model_get_vocab(self.model)
        self.vocabulary_size = llama_cpp.llama_vocab_n_tokens(vocabulary)
        self.args = args
        self.prefill_context = self._make_context(args.prefill_flash)
        self.decode_context = self._make_context(args.decode_flash)

    def _make_context(self, flash: str) -> Any:
        args = self.args
        params = llama_cpp.llama_context_default_params()
        params.n_ctx = args.context
        params.n_batch = args.context
        params.n_ubatch = args.rows
        params.n_threads = args.threads
        params.n_threads_batch = args.threads
        params.flash_attn_type = FLASH[flash]
        params.type_k = KV_TYPES[args.kv]
        params.type_v = KV_TYPES[args.kv]
        params.no_perf = True
        context = llama_cpp.llama_init_from_model(self.model, params)
        if not context:
            raise SystemExit("llama.cpp cannot create this context")
        return context

    def _tokens(self, count: int) -> Any:
        """Ids spread over the vocabulary; their values do not matter."""
        ids = (7919 * i % self.vocabulary_size for i in range(1, count + 1))
        return (llama_cpp.llama_token * count)(*ids)

    def prefill(self, count: int) -> dict[str, Any]:
        keep_positions(self.prefill_context, 0)
        tokens = self._tokens(count)
        start = time.perf_counter()
        evaluate(self.prefill_context, tokens, count)
        return {"tokens": count, "seconds": time.perf_counter() - start}

    def decode(self, at: int, count: int) -> dict[str, Any]:
        context = self.decode_context
        if cached_positions(context) < at:
            keep_positions(context, 0)
            evaluate(context, self._tokens(at), at)
        keep_positions(context, at)
        singles = [self._tokens(1) for _ in range(count)]
        start = time.perf_counter()
        for token in singles:
            evaluate(context, token, 1)
        return {"tokens": count, "seconds": time.perf_counter() - start}

    def info(self) -> dict[str, Any]:
        text = llama_cpp.llama_print_system_info().decode()
        return {
            "version": f"llama-cpp-python {llama_cpp.__version__}",
            "build": text.strip(" |"),
            "kv": self.args.kv,
            "prefill_flash": self.args.prefill_flash,
            "decode_flash": self.args.decode_flash,
            "threads": llama_cpp.llama_n_threads(self.decode_context),
        }

    def answer(self, request: str) -> dict[str, Any]:
        words = request.split()
        if words[0] == "prefill":
            return self.prefill(int(words[1]))
        if words[0] == "decode":
            return self.decode(int(words[1]), int(words[2]))
        return self.info()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--context", type=int, default=1024)
    parser.add_argument("--rows", type=int, default=512, help="n_ubatch")
    parser.add_argument("--kv", choices=KV_TYPES, default="f16")
    parser.add_argument("--prefill-flash", choices=FLASH, default="on")
    parser.add_argument("--decode-flash", choices=FLASH, default="off")
    model = Model(parser.parse_args())
    for line in sys.stdin:
        print(json.dumps(model.answer(line)), flush=True)


if __name__ == "__main__":
    main()
