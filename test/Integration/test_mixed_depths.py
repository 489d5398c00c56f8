# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Rows at mixed depths have the bits of whole steps, whatever the schedule.

200 random modules (random_modules.py), each compiled with another storage type and number of rows. What one sequence
alone computes in whole steps is compared, bit for bit, with two ways to run several at mixed depths: the depth-wise
scheduler, with requests that arrive at random and prompts cut in chunks; and calls of the session whose rows, order and
visits are drawn by chance, exited rows among them.
"""

from __future__ import annotations

import random
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT, Tools
from random_modules import SCHEDULES, VOCABULARY, make_module
from runtime_library import DEPTHWISE, FULL, GHOST, Library, Model, Scheduler, Session, row
from safetensors.numpy import save_file

CASES, BATCH = 200, 20
STORAGE = ["f32", "bf16", "q8_0", "q4_0"]
ROWS = [3, 8, 16, 64]  # of a step; up to 8 are few rows for attention
SEQUENCES = 5
NEW_TOKENS = 3


@pytest.fixture(scope="module")
def library(tools: Tools) -> Library:
    return Library(tools.folder)


def compile_case(tools: Tools, folder: Path, seed: int) -> Path:
    module = make_module(seed)
    source, archive = folder / f"{seed}.mlir", folder / f"{seed}.safetensors"
    source.write_text(module.text)
    save_file(module.weights, archive)
    storage, rows = STORAGE[seed // len(SCHEDULES) % len(STORAGE)], ROWS[seed // 20 % len(ROWS)]
    level = "-O1" if seed % 7 == 0 else "-O0"  # which compiles three times faster
    kv = ["f32", "bf16"][seed % 2]
    return tools.compile(source, folder / f"{seed}.rondo", f"--archive={archive}", level, f"--weights={storage}",
                         f"--kv={kv}", f"--rows={rows}", f"--sequences={SEQUENCES}")


def compute_alone(session: Session, tokens: list[int]) -> list[bytes]:
    """Logits of every position of a sequence in whole steps."""
    sequence, logits = session.open(), []
    for begin in range(0, len(tokens), session.model.info.rows):
        part = tokens[begin : begin + session.model.info.rows]
        rows = [row(sequence, begin + i, token) for i, token in enumerate(part)]
        logits += [values.tobytes() for values in session.step(rows, list(range(len(rows))))]
    session.close(sequence)
    return logits


def make_prompts(rng: random.Random, count: int, vocabulary: int = VOCABULARY) -> list[list[int]]:
    """Prompts of mixed lengths; some cross a page of 128 positions."""
    lengths = [rng.choice([1, 2, rng.randint(3, 20), rng.randint(20, 60)]) for _ in range(count - 1)]
    lengths.append(rng.choice([5, 135]))
    rng.shuffle(lengths)
    return [[rng.randrange(vocabulary) for _ in range(length)] for length in lengths]


def check_scheduler(session: Session, rng: random.Random, prompts: list[list[int]]) -> None:
    """Depth-wise, with random arrivals, against whole steps."""
    chunk = rng.choice([0, 1, 3, 7])
    with Scheduler(session, chunk, DEPTHWISE) as scheduler:
        for prompt in prompts:
            scheduler.submit(prompt, NEW_TOKENS)
            for _ in range(rng.randrange(4)):
                scheduler.step()
        while scheduler.step():
            pass
        for request, prompt in enumerate(prompts):
            new = scheduler.tokens(request)
            want = compute_alone(session, prompt + new[:-1])
            assert len(new) == NEW_TOKENS
            assert [scheduler.logits[request, p] for p in range(len(want))] == want, f"chunk {chunk}, {request=}"
            drawn = [int(np.frombuffer(values, np.float32).argmax()) for values in want[len(prompt) - 1 :]]
            assert drawn == new


class Walk:
    """Sequences whose rows enter, run and leave by chance."""

    def __init__(self, session: Session, rng: random.Random, prompts: list[list[int]]) -> None:
        self.session, self.rng, self.info = session, rng, session.model.info
        self.prompts = {session.open(): prompt for prompt in prompts}
        self.visits: dict[int, list[int]] = {sequence: [] for sequence in self.prompts}
        self.kinds = {(s, p): GHOST if rng.random() < 0.05 else FULL
                      for s, prompt in self.prompts.items() for p in range(len(prompt))}
        self.logits: dict[tuple[int, int], bytes] = {}
        self.mixed = 0

    def row(self, sequence: int, position: int, visit: int):
        return row(sequence, position, self.prompts[sequence][position], visit, self.kinds[sequence, position])

    def enter(self) -> None:
        room = min(self.info.rows, self.info.rows_in_flight - self.session.rows_in_flight)
        rows = []
        for sequence, visits in self.visits.items():
            for _ in range(min(self.rng.randrange(8), room - len(rows), len(self.prompts[sequence]) - len(visits))):
                rows.append(self.row(sequence, len(visits), 0))
                visits.append(0)
        self.rng.shuffle(rows)
        if rows:
            self.session.prelude(rows)

    def advance(self) -> None:
        """One step of the class of a row drawn by chance."""
        waiting = sorted({v for visits in self.visits.values() for v in visits if v < self.info.visit_count})
        if not waiting:
            return
        classes = self.info.visit_classes
        chosen, seen, rows = classes[self.rng.choice(waiting)], set(), []
        for sequence, visits in self.visits.items():
            before = self.info.visit_count + 1
            for position, visit in enumerate(visits):
                runs = visit < self.info.visit_count and before > visit and classes[visit] == chosen
                if runs and len(rows) < self.info.rows and self.rng.random() < 0.9:
                    rows.append(self.row(sequence, position, visit))
                    seen.add(visit)
                    visits[position] += 1
                before = visits[position]
        self.mixed += len(seen) > 1
        self.rng.shuffle(rows)
        if rows:
            self.session.depth_step(rows)
        for ran in rows:  # a router may send a row behind the loop
            self.visits[ran.sequence][ran.position] = self.session.next_visit(ran.sequence, ran.position)

    def leave(self) -> None:
        last, gone = self.info.visit_count, self.info.visit_count + 1
        done = [(s, p) for s, visits in self.visits.items() for p, visit in enumerate(visits) if visit == last]
        done = self.rng.sample(done, min(len(done), self.info.rows))
        if not done:
            return
        outputs = [i for i, key in enumerate(done) if self.kinds[key] != GHOST]
        values = self.session.coda([self.row(s, p, last) for s, p in done], outputs)
        for output, logits in zip(outputs, values, strict=True):
            self.logits[done[output]] = logits.tobytes()
        for sequence, position in done:
            self.visits[sequence][position] = gone

    def run(self) -> None:
        while sum(map(len, self.visits.values())) < len(self.kinds) or self.session.rows_in_flight:
            self.enter()
            for _ in range(self.rng.randint(1, 3)):
                self.advance()
            if self.rng.random() < 0.7:
                self.leave()


def check_walk(session: Session, rng: random.Random, prompts: list[list[int]]) -> int:
    """Random calls against whole steps; how many steps mixed depths."""
    walk = Walk(session, rng, prompts)
    walk.run()
    for sequence in walk.prompts:
        session.close(sequence)
    for sequence, prompt in walk.prompts.items():
        want = compute_alone(session, prompt)
        for position, values in enumerate(want):
            if walk.kinds[sequence, position] != GHOST:
                assert walk.logits[sequence, position] == values, f"{sequence=} {position=}"
    return walk.mixed


def run_case(library: Library, seed: int, bundle: Path) -> int:
    rng = random.Random(seed)
    with Model(library, bundle) as model, Session(model, threads=1 + seed % 2) as session:
        check_scheduler(session, rng, make_prompts(rng, SEQUENCES + 2))
        return check_walk(session, rng, make_prompts(rng, SEQUENCES))


@pytest.mark.parametrize("first", range(0, CASES, BATCH))
def test_random_schedules(tools: Tools, library: Library, tmp_path: Path, first: int) -> None:
    mixed = 0
    with ThreadPoolExecutor(2) as pool:
        bundles: dict[int, Future[Path]] = {
            seed: pool.submit(compile_case, tools, tmp_path, seed) for seed in range(first, first + BATCH)}
        for seed, bundle in bundles.items():
            try:
                mixed += run_case(library, seed, bundle.result())
            except (AssertionError, RuntimeError) as error:
                raise AssertionError(f"seed {seed}: {error}") from error
    assert mixed > 5 * BATCH


def test_a_row_may_see_further_than_those_behind_it(tools: Tools, library: Library, tmp_path: Path) -> None:
    """A block of query rows of attention reads what the widest of its rows sees, not what the last one does."""
    bundle = compile_case(tools, tmp_path, 60)  # 64 rows a step
    tokens = random.Random(1).choices(range(VOCABULARY), k=140)
    with Model(library, bundle) as model, Session(model, threads=1) as session:
        logits = []
        for count in (1, 12):
            sequence = session.open()
            rows = [row(sequence, position, token) for position, token in enumerate(tokens)]
            for begin in (0, 64):
                session.step(rows[begin : begin + 64], [])
            last = rows[128 : 128 + count]
            for narrow in last[1:]:
                narrow.visible = 10
            logits.append(session.step(last, [0])[0].tobytes())
        assert logits[0] == logits[1]


@pytest.mark.parametrize(("case", "message"), [
    ("llama/gqa_rope_llama3", "the model visits its layers once, so no step mixes depths"),
    ("rrt/middle_cycle_r3_lora_all", "the visits of this model are of several classes, which no step mixes"),
    ("albert/encoder_pooled", "this model has no steps of one visit"),
])
def test_bench_needs_a_loop_of_one_class(tools: Tools, tmp_path: Path, case: str, message: str) -> None:
    bundle = tools.compile(ROOT / "test" / "oracles" / case, tmp_path / "m.rondo", "-O0", "--sequences=4")
    with pytest.raises(AssertionError, match=f"{message}; leave --depthwise out"):
        tools.run("rondo-run", bundle, "--depthwise", "--bench=decode:2,batch:4")
