# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Loading and running bundles."""

from __future__ import annotations

import json
import operator
import os
import weakref
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, SupportsIndex

import numpy as np
from numpy.typing import NDArray

from rondo import _runtime


def load(
    path: str | os.PathLike[str],
    *,
    threads: int = 0,
    depth: int | None = None,
    inputs: Mapping[str, NDArray[np.floating]] | None = None,
    input_seed: int = 0,
) -> Model:
    """Load a bundle and make it ready to run with `threads` threads (0: the physical cores that may be used).

    A model with one loop over depth visits it `depth` times (None: as often as it is compiled for). `inputs` are rows
    [positions, width] that it takes beside tokens, by name: row t is for position t of every sequence; those that are
    drawn instead come from `input_seed` (docs/Inputs.md). All of this holds for every sequence of the model.

    A bundle is native code: load only those that you trust. Raises a `rondo.RondoError` with the runtime's message if
    the file is damaged, is for another machine, or does not fit the memory.
    """
    model = Model(_runtime.Model(os.fspath(path)), threads)
    try:
        model._prepare(depth, inputs or {}, input_seed)
    except BaseException:
        model.close()
        raise
    return model


class Model:
    """A loaded bundle with the memory and threads to run it; made by `rondo.load`.

    May be used from several Python threads: one step runs at a time, and the interpreter is free meanwhile. Close it,
    or use it in a `with` statement, to give its memory back at once.
    """

    def __init__(self, bundle: _runtime.Model, threads: int) -> None:
        self._bundle: _runtime.Model | None = bundle
        self._session: _runtime.Session | None = _runtime.Session(bundle, threads=_unsigned("threads", threads))
        self._schedulers: weakref.WeakSet[_runtime.Scheduler] = weakref.WeakSet()

    def logits(
        self,
        tokens: Sequence[int] | NDArray[np.integer],
        *,
        token_types: Sequence[int] | NDArray[np.integer] | None = None,
    ) -> NDArray[np.float32]:
        """Logits of every position of `tokens`: float32 [positions, vocabulary].

        `token_types` has one type for each token, for models that take them; default all 0. Raises UnsupportedError
        for a model that returns something else than logits.
        """
        types = [] if token_types is None else _token_list(token_types)
        scheduler = self._new_scheduler()
        try:
            request = scheduler.submit(_token_list(tokens), new_tokens=0, stop=[], all_logits=True, token_types=types)
            while scheduler.step():
                pass
            scheduler.check(request)
            return scheduler.take_logits(request)
        finally:
            scheduler.close()

    def generate(
        self,
        tokens: Sequence[int] | NDArray[np.integer],
        max_new_tokens: int,
        *,
        temperature: float = 0.0,
        top_k: int = 0,
        top_p: float = 1.0,
        seed: int = 0,
        stop: Iterable[int] | None = None,
    ) -> Iterator[int]:
        """Iterate over at most `max_new_tokens` token ids after `tokens`, each as soon as it is known.

        Temperature 0 is greedy; else a token is drawn from the `top_k` best (0: all), cut to the fewest whose
        probability reaches `top_p`, by a generator that depends on `seed` alone. A token of `stop` (default: those of
        the checkpoint) ends the sequence and is the last one given. Wrong arguments raise here, faults of the run
        while iterating. The sequence's memory is released at the end, or when the iterator is closed or dropped.
        """
        scheduler = self._new_scheduler()
        request = scheduler.submit(
            _token_list(tokens),
            new_tokens=_unsigned("max_new_tokens", max_new_tokens),
            stop=self.stop_tokens if stop is None else [_unsigned("stop token", token) for token in stop],
            temperature=temperature,
            top_k=_unsigned("top_k", top_k),
            top_p=top_p,
            seed=_unsigned("seed", seed, bits=64),
        )
        return _new_tokens(scheduler, request)

    @property
    def threads(self) -> int:
        """Threads that run the model."""
        if self._session is None:
            raise ValueError("the model is closed")
        return self._session.threads

    @property
    def vocabulary(self) -> int:
        """Number of token ids."""
        return self._open_bundle().vocabulary

    @property
    def context(self) -> int:
        """Most positions of a sequence, prompt and new tokens together."""
        return self._open_bundle().context

    @property
    def stop_tokens(self) -> list[int]:
        """Token ids that end a sequence, from the checkpoint."""
        return self._open_bundle().stop_tokens

    @property
    def manifest(self) -> dict[str, Any]:
        """What the bundle says about itself (docs/Bundle.md)."""
        return json.loads(self._open_bundle().manifest())

    def tensor(self, name: str) -> bytes | None:
        """Bytes of a tensor of the bundle, such as `tokenizer.json`; None if it has none of that name."""
        return self._open_bundle().tensor(name)

    def verify(self) -> None:
        """Compare the hash of every weight tensor; reads the whole file."""
        self._open_bundle().verify()

    def close(self) -> None:
        """Release memory and threads; iterators that are still open raise ValueError. May be called again."""
        for scheduler in list(self._schedulers):
            scheduler.close()
        self._session = self._bundle = None

    def __enter__(self) -> Model:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _prepare(self, depth: int | None, inputs: Mapping[str, NDArray[np.floating]], seed: int) -> None:
        assert self._session is not None
        self._session.set_input_seed(_unsigned("input_seed", seed, bits=64))
        if depth is not None:
            self._session.set_depth(_unsigned("depth", depth))
        for name, rows in inputs.items():
            values = np.ascontiguousarray(rows, np.float32)
            if values.ndim != 2 or max(values.shape) >= 1 << 32:
                raise ValueError(f"input '{name}' must have the shape [positions, width], got {list(values.shape)}")
            self._session.set_input(name, values)

    def _open_bundle(self) -> _runtime.Model:
        if self._bundle is None:
            raise ValueError("the model is closed")
        return self._bundle

    def _new_scheduler(self) -> _runtime.Scheduler:
        if self._session is None:
            raise ValueError("the model is closed")
        scheduler = _runtime.Scheduler(self._session)
        self._schedulers.add(scheduler)
        return scheduler


def _token_list(tokens: Sequence[int] | NDArray[np.integer]) -> list[int]:
    if isinstance(tokens, np.ndarray) and (tokens.ndim != 1 or tokens.dtype.kind not in "iu"):
        raise TypeError(f"expected token ids as integers [positions], got {tokens.dtype} {list(tokens.shape)}")
    return [_unsigned("token id", token) for token in tokens]


def _unsigned(name: str, value: SupportsIndex, bits: int = 32) -> int:
    """An integer that the runtime can take; TypeError for what is none, ValueError for one out of range."""
    number = operator.index(value)
    if not 0 <= number < 1 << bits:
        raise ValueError(f"{name} must be from 0 to {(1 << bits) - 1}, got {number}")
    return number


def _new_tokens(scheduler: _runtime.Scheduler, request: int) -> Iterator[int]:
    """Steps until the request is done; yields what each step adds."""
    given = 0
    unfinished = 1
    try:
        while unfinished:
            unfinished = scheduler.step()
            scheduler.check(request)
            for token in scheduler.tokens(request, given):
                given += 1
                yield token
    finally:
        scheduler.close()
