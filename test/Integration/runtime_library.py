# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The runtime's C interface in this process, for tests that drive steps themselves.

Structures are those of runtime.h and abi.h; a call that fails raises RuntimeError with the message of its status. The
library is `lib/librondo_rt.so` beside the folder of the tools.
"""

from __future__ import annotations

import ctypes as c
from pathlib import Path

import numpy as np

NONE = 0xFFFFFFFF
FULL, KV_ONLY, GHOST = range(3)
OVERSUBSCRIBE = 1
ALL_LOGITS = 1
DEPTHWISE = 1


class Row(c.Structure):
    _fields_ = [("token", c.c_uint32), ("position", c.c_uint32), ("sequence", c.c_uint32), ("visible", c.c_uint32),
                ("visit", c.c_uint16), ("kind", c.c_uint8), ("flags", c.c_uint8), ("token_type", c.c_uint32),
                ("place", c.c_uint32), ("reserved", c.c_uint32)]


class ModelInfo(c.Structure):
    _fields_ = [("vocabulary", c.c_uint32), ("context", c.c_uint32), ("sequences", c.c_uint32), ("rows", c.c_uint32),
                ("depth", c.c_uint32), ("trace_point_count", c.c_uint32), ("logits_stride", c.c_uint64),
                ("weight_bytes", c.c_uint64), ("kv_page_bytes", c.c_uint64), ("stop_tokens", c.c_void_p),
                ("stop_token_count", c.c_uint32), ("execution_count", c.c_uint32), ("executions", c.c_void_p),
                ("visit_count", c.c_uint32), ("rows_in_flight", c.c_uint32),
                ("visit_classes", c.POINTER(c.c_uint32)), ("token_types", c.c_uint32), ("cohort", c.c_uint32),
                ("outputs", c.c_void_p), ("output_count", c.c_uint32)]


class SessionOptions(c.Structure):
    _fields_ = [("threads", c.c_uint32), ("flags", c.c_uint32), ("kv_bytes_limit", c.c_uint64)]


class Sampling(c.Structure):
    _fields_ = [("temperature", c.c_float), ("top_p", c.c_float), ("top_k", c.c_uint32), ("seed", c.c_uint64)]


class RequestOptions(c.Structure):
    _fields_ = [("tokens", c.POINTER(c.c_uint32)), ("token_count", c.c_uint32), ("new_tokens", c.c_uint32),
                ("stop_tokens", c.c_void_p), ("stop_token_count", c.c_uint32), ("flags", c.c_uint32),
                ("sampling", Sampling), ("token_types", c.POINTER(c.c_uint32))]


class StepView(c.Structure):
    _fields_ = [("rows", c.POINTER(Row)), ("requests", c.POINTER(c.c_uint32)), ("row_count", c.c_uint32),
                ("output_count", c.c_uint32), ("output_rows", c.POINTER(c.c_uint32)), ("logits", c.POINTER(c.c_float))]


OBSERVER = c.CFUNCTYPE(None, c.c_void_p, c.POINTER(StepView))


class SchedulerOptions(c.Structure):
    _fields_ = [("chunk", c.c_uint32), ("observer", OBSERVER), ("observer_user", c.c_void_p), ("flags", c.c_uint32)]


def row(sequence: int, position: int, token: int, visit: int = 0, kind: int = FULL) -> Row:
    """A row that sees everything before it."""
    return Row(token, position, sequence, position + 1, visit, kind, 0)


class Library:
    """The loaded library."""

    def __init__(self, tools: Path) -> None:
        self.c = c.CDLL(str(tools.parent / "lib" / "librondo_rt.so"))
        self.c.rondo_rt_status_message.restype = c.c_char_p
        self.c.rondo_rt_status_message.argtypes = self.c.rondo_rt_status_free.argtypes = [c.c_void_p]
        self.c.rondo_rt_model_get_info.restype = c.POINTER(ModelInfo)
        self.c.rondo_rt_session_logits.restype = c.POINTER(c.c_float)
        self.c.rondo_rt_scheduler_tokens.restype = c.POINTER(c.c_uint32)

    def check(self, name: str, *arguments: object) -> None:
        """Calls a function that returns a status."""
        function = getattr(self.c, f"rondo_rt_{name}")
        function.restype = c.c_void_p
        status = function(*arguments)
        if status:
            message = self.c.rondo_rt_status_message(status).decode()
            self.c.rondo_rt_status_free(status)
            raise RuntimeError(message)

    def create(self, name: str, *arguments: object) -> c.c_void_p:
        """Calls a function whose last argument receives a handle."""
        handle = c.c_void_p()
        self.check(name, *arguments, c.byref(handle))
        return handle


class Model:
    """A loaded bundle; a context manager."""

    def __init__(self, library: Library, bundle: Path) -> None:
        self.library = library
        self.handle = library.create("model_load", str(bundle).encode(), None)
        self.info: ModelInfo = library.c.rondo_rt_model_get_info(self.handle).contents

    def __enter__(self) -> Model:
        return self

    def __exit__(self, *_: object) -> None:
        self.library.c.rondo_rt_model_free(self.handle)


class Session:
    """Memory and threads to run a model; a context manager."""

    def __init__(self, model: Model, threads: int) -> None:
        self.model, self.library = model, model.library
        options = SessionOptions(threads, OVERSUBSCRIBE, 0)
        self.handle = self.library.create("session_create", model.handle, c.byref(options))

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self.library.c.rondo_rt_session_free(self.handle)

    def open(self) -> int:
        """A new sequence."""
        sequence = c.c_uint32()
        self.library.check("sequence_create", self.handle, c.byref(sequence))
        return sequence.value

    def close(self, sequence: int) -> None:
        self.library.c.rondo_rt_sequence_free(self.handle, sequence)

    def _call(self, name: str, rows: list[Row], outputs: list[int] | None) -> np.ndarray:
        arguments: list[object] = [(Row * len(rows))(*rows), len(rows)]
        if outputs is not None:
            arguments += [(c.c_uint32 * len(outputs))(*outputs), len(outputs)]
        self.library.check(f"session_{name}", self.handle, *arguments)
        info, count = self.model.info, len(outputs or [])
        if not count:
            return np.empty((0, info.vocabulary), np.float32)
        logits = np.ctypeslib.as_array(self.library.c.rondo_rt_session_logits(self.handle), (count, info.logits_stride))
        return logits[:, : info.vocabulary].copy()

    def step(self, rows: list[Row], outputs: list[int]) -> np.ndarray:
        """A whole step; logits of the output rows."""
        return self._call("step", rows, outputs)

    def prelude(self, rows: list[Row]) -> None:
        self._call("prelude", rows, None)

    def depth_step(self, rows: list[Row]) -> None:
        self._call("depth_step", rows, None)

    def coda(self, rows: list[Row], outputs: list[int]) -> np.ndarray:
        return self._call("coda", rows, outputs)

    def next_visit(self, sequence: int, position: int) -> int:
        """The visit that a row in flight comes to next."""
        return self.library.c.rondo_rt_session_next_visit(self.handle, sequence, position)

    @property
    def rows_in_flight(self) -> int:
        return self.library.c.rondo_rt_session_rows_in_flight(self.handle)


class Scheduler:
    """Requests on a session; keeps the logits of all rows that were read out. A context manager."""

    def __init__(self, session: Session, chunk: int, flags: int) -> None:
        self.session, self.library = session, session.library
        self.logits: dict[tuple[int, int], bytes] = {}
        self.options = SchedulerOptions(chunk, OBSERVER(self._observe), None, flags)
        self.handle = self.library.create("scheduler_create", session.handle, c.byref(self.options))

    def __enter__(self) -> Scheduler:
        return self

    def __exit__(self, *_: object) -> None:
        self.library.c.rondo_rt_scheduler_free(self.handle)

    def _observe(self, _: object, pointer: object) -> None:
        view, info = pointer.contents, self.session.model.info
        for i in range(view.output_count):
            number = view.output_rows[i]
            start = i * info.logits_stride
            values = np.array(view.logits[start : start + info.vocabulary], np.float32)
            self.logits[view.requests[number], view.rows[number].position] = values.tobytes()

    def submit(self, tokens: list[int], new_tokens: int) -> int:
        """Queues a request whose every position is read out."""
        prompt = (c.c_uint32 * len(tokens))(*tokens)
        options = RequestOptions(prompt, len(tokens), new_tokens, None, 0, ALL_LOGITS, Sampling(0, 1, 0, 0))
        request = c.c_uint32()
        self.library.check("scheduler_submit", self.handle, c.byref(options), c.byref(request))
        return request.value

    def step(self) -> int:
        """Runs a step; how many requests are left."""
        unfinished = c.c_uint32()
        self.library.check("scheduler_step", self.handle, c.byref(unfinished))
        return unfinished.value

    def cancel(self, request: int) -> None:
        """Ends one request."""
        self.library.check("scheduler_cancel_request", self.handle, request)

    def tokens(self, request: int) -> list[int]:
        count = c.c_uint32()
        tokens = self.library.c.rondo_rt_scheduler_tokens(self.handle, request, c.byref(count))
        return tokens[: count.value]
