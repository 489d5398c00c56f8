# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Small modules of random schedules, as text, with random weights.

A module has one to three layers in one of five schedules: `cycle` (all layers, again and again), `sequence` (each layer
all its visits in turn), `middle` (layers before and behind the loop), `nested` (a low block inside the loop of a high
one) and `first-step` (the first visit appends, later ones read its keys and values). Blocks have attention with or
without a window, carry one or two states, and have side parameters of every kind, some of them absent at some depths.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import numpy as np

WIDTH, HEADS, KV_HEADS, DIM, VOCABULARY, CONTEXT = 64, 4, 2, 16, 96, 256
KV_WIDTH = KV_HEADS * DIM
SCHEDULES = ("cycle", "sequence", "middle", "nested", "first-step")


@dataclass
class Module:
    """A module's text, its weights by key, and its schedule's name."""

    text: str
    weights: dict[str, np.ndarray]
    schedule: str


@dataclass
class Writer:
    """Collects parameters, their weights, and blocks."""

    rng: random.Random
    numbers: np.random.Generator
    lines: list[str] = field(default_factory=list)
    weights: dict[str, np.ndarray] = field(default_factory=dict)

    def param(self, name: str, shape: tuple[int, ...], layers: int, depths: int = 1, *, bare: bool = False) -> str:
        """Declares a parameter; `bare` lets it be absent at some depths. Returns its symbol."""
        keys = []
        absent = set(self.rng.sample(range(depths), self.rng.randrange(depths))) if bare and depths > 1 else set()
        for layer in range(layers):
            for depth in range(depths):
                key = f"{name}.{layer}.{depth}"
                keys.append("unit" if depth in absent else f'"{key}"')
                if depth not in absent:
                    weight = 0.15 * self.numbers.standard_normal(shape)
                    self.weights[key] = (weight + (len(shape) == 1)).astype(np.float32)
        stacks = (f" layers({layers})" if layers > 1 else "") + (f" depths({depths})" if depths > 1 else "")
        shape_text = "x".join(map(str, shape))
        self.lines.append(f"rondo.param @{name}{stacks} : tensor<{shape_text}xf32> from [{', '.join(keys)}]")
        return f"@{name}"

    def maybe(self, depths: int) -> int:
        """All depths, or one, by chance."""
        return depths if self.rng.random() < 0.5 else 1


ROW = f"tensor<?x{WIDTH}xf32>"
KV_ROW = f"tensor<?x{KV_WIDTH}xf32>"


class Block:
    """A layer: its parameters are made once, its text for each way to use it."""

    def __init__(self, writer: Writer, name: str, layers: int, depths: int, states: int) -> None:
        self.name, self.states, self.rng = name, states, writer.rng
        w, d = writer, depths
        self.norm = w.param(f"{name}_norm", (WIDTH,), layers, w.maybe(d))
        shapes = {"q": WIDTH, "k": KV_WIDTH, "v": KV_WIDTH}
        self.qkv = [w.param(f"{name}_{m}", (rows, WIDTH), layers) for m, rows in shapes.items()]
        self.lora = []
        for matrix, rows in shapes.items():
            if d == 1 or w.rng.random() < 0.5:
                self.lora.append("unit")
                continue
            rank = w.rng.choice([2, 6, 32, 40])
            state = w.rng.getstate()  # both halves are absent at the same depths
            a = w.param(f"{name}_{matrix}_a", (rank, WIDTH), layers, d, bare=True)
            w.rng.setstate(state)
            b = w.param(f"{name}_{matrix}_b", (rows, rank), layers, d, bare=True)
            self.lora.append(f"#rondo.lora<{a}, {b}, scale = 1.5 : f32>")
        whole = w.rng.random() < 0.3
        self.o = w.param(f"{name}_o", (WIDTH, WIDTH), layers, d if whole else 1, bare=w.rng.random() < 0.3)
        self.bias = w.param(f"{name}_bias", (WIDTH,), layers, w.maybe(d), bare=True) if w.rng.random() < 0.5 else ""
        self.scale = w.param(f"{name}_scale", (WIDTH,), 1, w.maybe(d), bare=True) if w.rng.random() < 0.5 else ""
        self.mix = w.param(f"{name}_mix", (WIDTH, WIDTH), layers) if states == 2 else ""
        self.window = f" window({w.rng.choice([3, 40, 140])})" if w.rng.random() < 0.4 else ""

    def text(self, symbol: str, *, appends: bool = True) -> list[str]:
        """The block's operation; without `appends` it reads a slot that another one writes."""
        types = ", ".join([ROW] * self.states)
        arguments = f"%x: {ROW}" + (f", %b: {ROW}" if self.states == 2 else "")
        lines = [f"rondo.block {symbol}({arguments}) -> ({types}) caches(1) {{"]
        source = "%x"
        if self.states == 2:
            lines.append(f"  %u = arith.addf %x, %b : {ROW}")
            source = "%u"
        lines.append(f"  %n = rondo.norm rms {source}, {self.norm} eps 1.0e-5 : {ROW}")
        count = 3 if appends else 1
        lora = "" if set(self.lora[:count]) == {"unit"} else f" lora [{', '.join(self.lora[:count])}]"
        results = ", ".join([ROW, KV_ROW, KV_ROW][:count])
        lines.append(f"  {', '.join(['%q', '%k', '%v'][:count])} = rondo.linear %n, [{', '.join(self.qkv[:count])}]"
                     f"{lora} : {ROW} -> {results}")
        if appends:
            lines.append(f"  rondo.append %k, %v cache(0) heads({KV_HEADS}) : {KV_ROW}")
        bias = f" bias [{self.bias}]" if self.bias else ""
        lines += [f"  %a = rondo.attend %q cache(0) heads({HEADS}) kv_heads({KV_HEADS}) scale 0.25 causal{self.window}"
                  f" : {ROW}",
                  f"  %o = rondo.linear %a, [{self.o}]{bias} : {ROW} -> {ROW}"]
        added = "%o"
        if self.scale:
            lines.append(f"  %s = rondo.scale %o, {self.scale} by 0.5 : {ROW}")
            added = "%s"
        lines.append(f"  %y = arith.addf %x, {added} : {ROW}")
        if self.states == 2:
            lines += [f"  %m = rondo.linear %y, [{self.mix}] : {ROW} -> {ROW}",
                      f"  %t = rondo.activation tanh %m : {ROW}", f"  %c = arith.addf %b, %t : {ROW}"]
        lines += [f"  rondo.yield {'%y, %c' if self.states == 2 else '%y'} : {types}", "}"]
        return lines


class Body:
    """Writes loops and applications; `values` are the states as they are now."""

    def __init__(self, states: int) -> None:
        self.states, self.lines, self.count = states, [], 0
        self.values = ["%x0"] * states

    @property
    def types(self) -> str:
        return ", ".join([ROW] * self.states)

    def fresh(self) -> str:
        self.count += 1
        return f"%r{self.count}"

    def take(self, result: str) -> None:
        self.values = [f"{result}#{i}" for i in range(self.states)] if self.states > 1 else [result]

    def head(self, result: str) -> str:
        return f"{result}:{self.states}" if self.states > 1 else result

    def apply(self, symbol: str, indices: list[str], layer: str, side: str, slot: str) -> None:
        result = self.fresh()
        at = f" at({', '.join(indices)})" if indices else ""
        self.lines.append(f"{self.head(result)} = rondo.apply {symbol}({', '.join(self.values)}){at} layer({layer})"
                          f" side({side}) slot({slot}) : ({self.types}) -> ({self.types})")
        self.take(result)

    def loop(self, index: str, count: int, inside) -> None:
        result = self.fresh()
        names = [f"%h{self.count}_{i}" for i in range(self.states)]
        carries = ", ".join(f"{name} = {value}" for name, value in zip(names, self.values, strict=True))
        self.lines.append(f"{self.head(result)} = rondo.loop {index} to {count} carries({carries}) : {self.types} {{")
        self.values = names
        inside()
        self.lines += [f"rondo.yield {', '.join(self.values)} : {self.types}", "}"]
        self.take(result)


def write_schedule(writer: Writer, schedule: str, states: int) -> tuple[list[str], Body]:
    """Blocks, and the body of the model function."""
    layers, depths = writer.rng.randint(1, 3), writer.rng.randint(2, 4)
    body = Body(states)
    if schedule == "nested":
        inner = writer.rng.randint(1, 3)
        low, high = (Block(writer, name, 1, n, states) for name, n in (("low", depths * inner), ("high", depths)))

        def outer() -> None:
            body.loop("%i", inner, lambda: body.apply("@low", ["%d", "%i"], "0", f"d0 * {inner} + d1",
                                                      f"d0 * {inner + 1} + d1"))
            body.apply("@high", ["%d"], "0", "d0", f"d0 * {inner + 1} + {inner}")

        body.loop("%d", depths, outer)
        return low.text("@low") + high.text("@high"), body
    around = 1 if schedule == "middle" else 0
    block = Block(writer, "layer", layers + 2 * around, depths, states)
    if schedule == "first-step":
        body.loop("%k", layers, lambda: body.apply("@first", ["%k"], "d0", "0", "d0"))
        body.loop("%d", depths - 1, lambda: body.loop(
            "%l", layers, lambda: body.apply("@again", ["%d", "%l"], "d1", "d0 + 1", "d1")))
        return block.text("@first") + block.text("@again", appends=False), body
    order = [("%l", layers), ("%d", depths)] if schedule == "sequence" else [("%d", depths), ("%l", layers)]
    if around:
        body.apply("@layer", [], "0", "0", "0")
    body.loop(*order[0], lambda: body.loop(*order[1], lambda: body.apply(
        "@layer", ["%d", "%l"], f"d1 + {around}", "d0", f"d0 * {layers} + d1 + {around}")))
    if around:
        body.apply("@layer", [], str(layers + 1), "0", str(layers * depths + 1))
    return block.text("@layer"), body


def make_module(seed: int) -> Module:
    """The module of a seed."""
    writer = Writer(random.Random(seed), np.random.default_rng(seed))
    schedule = SCHEDULES[seed % len(SCHEDULES)]
    # Layers outside of loops may not read a state that a pair has overwritten.
    states = 1 if schedule == "middle" else writer.rng.choice([1, 1, 2])
    embed = writer.param("embed", (VOCABULARY, WIDTH), 1)
    writer.weights["embed.0.0"] *= 7
    final = writer.param("final_norm", (WIDTH,), 1)
    blocks, body = write_schedule(writer, schedule, states)
    policy = "first-step" if schedule == "first-step" else writer.rng.choice(["per-depth", "last-exited"])
    attributes = (f'rondo.architecture = "hand", rondo.name = "random {seed}", rondo.kv_policy = "{policy}", '
                  f'rondo.trained_kv = ["{policy}"], rondo.stop_tokens = [], rondo.context_limit = {CONTEXT} : i64')
    ends = [f"%n = rondo.norm rms {body.values[-1]}, {final} eps 1.0e-5 : {ROW}",
            f"%logits = rondo.linear %n, [{embed}] : {ROW} -> tensor<?x{VOCABULARY}xf32>",
            f"return %logits : tensor<?x{VOCABULARY}xf32>", "}"]
    if states == 2:
        ends.insert(0, f"%sum = arith.addf {body.values[0]}, {body.values[1]} : {ROW}")
        ends[1] = ends[1].replace(body.values[-1], "%sum")
    model = [f"func.func @model(%tokens: tensor<?xi32>) -> tensor<?x{VOCABULARY}xf32> {{",
             f"%x0 = rondo.embed %tokens, {embed} : tensor<?xi32> -> {ROW}", *body.lines, *ends]
    text = "\n".join([f"module attributes {{{attributes}}} {{", *writer.lines, *blocks, *model, "}"])
    return Module(text + "\n", writer.weights, schedule)
