#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Check compiled code on a real model: SmolLM2-135M-Instruct as GGUF.

    scripts/ci/real_model.py [--bin build/bin] [--json OUT] [--only ROW,...] MODEL.gguf

- tokens: `--exact` chooses the 64 greedy tokens of the NumPy reference for eight prompts. Choices that were near ties
  are listed; only at one of them may a token differ, and then what follows it cannot be compared and does not count.
- logits: `--exact` logits of the prompts and of a text of 1500 tokens are those of the reference.
- default: where the default mode first chooses another token, and how far its logits are; reported, not judged.
- batch: the same bits alone or in a batch, on one thread or two, whole or in chunks, for every storage type; with
  trace points written.
- loop: layers 10 to 19 visited three times, `--exact`, against the reference with the same schedule.
- bytes: two compilations give the same bytes, as does each dumped phase.

The reference (python/rondo/reference) computes in f32 on the same dequantised weights. Prints a Markdown table; takes
about ten minutes on two cores and 2 GB in the folder for temporary files. Exit status: 0 all rows hold, 1 one does not,
2 wrong use.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "python"))

from rondo.reference import Decoder, Generated, Loop, greedy, load_model  # noqa: E402
from rondo.text import ChatTemplate, tokenizer_from_bytes  # noqa: E402

NEW_TOKENS = 64
NEAR_TIE = 1e-3  # distance of the two best logits of the reference, which reach about 40
LOGITS_TOLERANCE = 1e-3  # absolute; both sides round in f32, in different orders, through 30 or 50 layers
LOOP = "10:19:3"
LENGTHS = [1, 63, 64, 65, 511, 512, 513, 1500]  # KV pages have 128 positions, a step at most 512 rows
SHORT = 65  # longest prompt that is also fed in very small chunks
STORAGE = [["keep"], ["keep", "--exact"], ["q8_0"], ["q4_0"], ["bf16"], ["f16"], ["f32"]]
HASH_BLOCK = 1 << 22  # bytes
ROW_BLOCK = 128  # positions whose logits are compared at once
TOOL_SECONDS = 600


@dataclass(frozen=True)
class Prompt:
    """A text and what the checkpoint's tokenizer makes of it; `chat` texts are a user's turn in the chat template."""

    text: str
    ids: list[int]
    chat: bool = False


PROMPTS = [
    Prompt("Gravity", [22007, 6463]),
    Prompt("The capital of France is", [504, 3575, 282, 4649, 314]),
    Prompt("Once upon a time, in a small village by the sea,",
           [6403, 1980, 253, 655, 28, 281, 253, 1165, 6560, 411, 260, 3426, 28]),
    Prompt("def fibonacci(n):\n    if n < 2:\n        return n\n    return",
           [1604, 3987, 46477, 24, 94, 727, 472, 585, 304, 2067, 216, 34, 42, 448, 1003, 304, 472, 1003]),
    Prompt("Water boils at 100 degrees Celsius at sea level. On a high mountain the air is thinner, so water boils at",
           [12615, 36411, 418, 216, 33, 32, 32, 5027, 20590, 418, 3426, 1106, 30, 1985, 253, 904, 6740, 260, 1512, 314,
            24210, 28, 588, 913, 36411, 418]),
    Prompt("Die Katze sitzt auf dem Dach und schaut den Vögeln zu. Übersetzung ins Englische:",
           [42703, 14075, 2404, 1396, 38315, 253, 15094, 1877, 422, 554, 3423, 11659, 1648, 4017, 717, 7466, 18801, 94,
            47316, 30, 5549, 246, 1344, 26840, 2280, 973, 43746, 27988, 42]),
    Prompt("Question: A train leaves at 9:15 and arrives at 11:40. How long does the journey take?\nAnswer:",
           [17872, 42, 330, 4445, 3711, 418, 216, 41, 42, 33, 37, 284, 20623, 418, 216, 33, 33, 42, 36, 32, 30, 1073,
            986, 1072, 260, 3444, 1188, 47, 198, 21350, 42]),
    Prompt("Why is the sky blue? Answer in two sentences.",
           [1, 9690, 198, 2683, 359, 253, 5356, 5646, 11173, 3365, 3511, 308, 34519, 28, 7018, 411, 407, 19712, 8182, 2,
            198, 1, 4093, 198, 4898, 314, 260, 6376, 4461, 47, 19842, 281, 827, 8545, 30, 2, 198, 1, 520, 9531, 198],
           chat=True),
]  # fmt: skip


@dataclass
class Row:
    """A line of the table; `holds` is None for what is only reported."""

    claim: str
    figure: str
    holds: bool | None
    notes: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def verdict(self) -> str:
        return {True: "holds", False: "FAILS", None: "reported"}[self.holds]


@dataclass(frozen=True)
class Difference:
    """Absolute differences of logits."""

    largest: float
    mean: float
    reach: float  # largest magnitude in the reference


class Workplace:
    """The tools, the model, a folder for what they write, and the reference's answers."""

    def __init__(self, tools: Path, model: Path, folder: Path) -> None:
        self._tools = tools
        self.model = model
        self.folder = folder

    def run(self, program: str, *arguments: object) -> str:
        """Run a tool to success and return its output; a failure ends the script with the tool's message."""
        command = [str(self._tools / program), *map(str, arguments)]
        done = subprocess.run(command, text=True, capture_output=True, timeout=TOOL_SECONDS, check=False)
        if done.returncode != 0:
            raise SystemExit(f"real_model: {' '.join(command)}\n{done.stderr}")
        return done.stdout

    def compile(self, name: str, *options: str, source: Path | None = None) -> Path:
        bundle = self.folder / f"{name}.rondo"
        self.run("rondoc", source or self.model, "-o", bundle, *options)
        return bundle

    def execute(self, bundle: Path, sequences: Sequence[Sequence[int]], *options: object) -> str:
        """Run sequences of token ids; two threads, even where there is one core, unless `options` say otherwise."""
        tokens = self.folder / "tokens.json"
        tokens.write_text(json.dumps({"sequences": [list(ids) for ids in sequences]}))
        threads = [] if any(str(option).startswith("--threads") for option in options) else ["--threads=2"]
        return self.run("rondo-run", bundle, f"--tokens-file={tokens}", "--oversubscribe", *threads, *options)

    def logits(self, bundle: Path, sequences: Sequence[Sequence[int]], *options: object) -> Iterator[np.memmap]:
        """Logits [positions, vocabulary] of each sequence, mapped; the file is deleted after the last."""
        path = self.folder / "logits.safetensors"
        self.execute(bundle, sequences, f"--logits={path}", *options)
        tensors = map_tensors(path)
        for number in range(len(sequences)):
            yield tensors[f"logits.{number}"]
        path.unlink()

    def generate(self, bundle: Path, sequences: Sequence[Sequence[int]]) -> list[list[int]]:
        """Greedy tokens after each sequence."""
        out = self.execute(bundle, sequences, f"--generate={NEW_TOKENS}", "--stop=", "--output=json")
        return [sequence["tokens"] for sequence in json.loads(out)["sequences"]]

    @cached_property
    def reference(self) -> Decoder:
        return load_model(self.model)

    @cached_property
    def expected(self) -> list[Generated]:
        """What the reference chooses after each prompt."""
        return [greedy(self.reference, prompt.ids, NEW_TOKENS) for prompt in PROMPTS]

    @cached_property
    def exact(self) -> Path:
        return self.compile("exact", "--exact")


def main() -> int:
    arguments = _parser().parse_args()
    with tempfile.TemporaryDirectory() as folder:
        place = Workplace(arguments.bin, arguments.model, Path(folder))
        rows = [row for name in arguments.only.split(",") for row in CHECKS[name](place)]
        facts = {"model": arguments.model.name, "sha256": sha256(arguments.model),
                 "tools": place.run("rondo-run", "--version").strip()}  # fmt: skip
    print_table(rows, facts)
    if arguments.json:
        arguments.json.write_text(json.dumps({**facts, "rows": [asdict(row) for row in rows]}, indent=1) + "\n")
    return 1 if any(row.holds is False for row in rows) else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", type=Path, default=ROOT / "build" / "bin", help="folder of rondoc and its companions")
    parser.add_argument("--json", type=Path, metavar="OUT", help="also write the figures there")
    parser.add_argument("--only", type=_checks, default=",".join(CHECKS), metavar="ROW,...",
                        help=f"some of {', '.join(CHECKS)}")  # fmt: skip
    parser.add_argument("model", type=Path, metavar="MODEL.gguf")
    return parser


def _checks(text: str) -> str:
    for name in text.split(","):
        if name not in CHECKS:
            raise argparse.ArgumentTypeError(f"'{name}' is none of {', '.join(CHECKS)}")
    return text


def print_table(rows: Sequence[Row], facts: dict[str, str]) -> None:
    print(f"{facts['model']}, sha256 {facts['sha256'][:16]}...\n\n{facts['tools']}\n")
    print("| claim | figure | verdict | time |\n|---|---|---|--:|")
    for row in rows:
        print(f"| {row.claim} | {row.figure} | {row.verdict()} | {row.seconds:.0f} s |")
    for row in rows:
        if row.notes:
            print(f"\n{row.claim}:\n\n" + "\n".join(f"- {note}" for note in row.notes))


# --------------------------------------------------------------------------------------------------------------------
# Files
# --------------------------------------------------------------------------------------------------------------------


def map_tensors(path: Path) -> dict[str, np.memmap]:
    """The tensors of a safetensors file of f32 or bytes, without reading them."""
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(size))
    header.pop("__metadata__", None)
    types = {"F32": np.float32, "U8": np.uint8}
    return {
        name: np.memmap(path, types[entry["dtype"]], "r", 8 + size + entry["data_offsets"][0], tuple(entry["shape"]))
        for name, entry in header.items()
        if entry["dtype"] in types and 0 not in entry["shape"]
    }


def digest(values: np.ndarray) -> str:
    """A hash of the bits."""
    state = hashlib.blake2b()
    data = values.reshape(-1).view(np.uint8)
    for first in range(0, data.size, HASH_BLOCK):
        state.update(data[first : first + HASH_BLOCK])
    return state.hexdigest()


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# --------------------------------------------------------------------------------------------------------------------
# Right on real input
# --------------------------------------------------------------------------------------------------------------------


def check_prompts(place: Workplace) -> Iterator[Row]:
    """The token ids above are what the checkpoint's own tokenizer and template make of the texts."""
    tensors = map_tensors(place.exact)
    tokenizer = tokenizer_from_bytes(tensors["tokenizer.json"].tobytes())
    template = ChatTemplate(tensors["chat_template.jinja"].tobytes(), tokenizer, place.reference.stop_tokens)
    wrong = []
    for prompt in PROMPTS:
        text = template.render([{"role": "user", "content": prompt.text}]) if prompt.chat else prompt.text
        if tokenizer.encode(text).ids != prompt.ids:
            wrong.append(f"{prompt.text!r} is now {tokenizer.encode(text).ids}")
    lengths = ", ".join(str(len(prompt.ids)) for prompt in PROMPTS)
    yield Row("prompts are what the tokenizer makes of their texts", f"{len(PROMPTS)} of {lengths} tokens",
              not wrong, wrong)  # fmt: skip


def check_tokens(place: Workplace) -> Iterator[Row]:
    got = place.generate(place.exact, [prompt.ids for prompt in PROMPTS])
    notes = [note for result, prompt in zip(place.expected, PROMPTS, strict=True) for note in near_ties(result, prompt)]
    equal, holds = 0, True
    for tokens, want, prompt in zip(got, place.expected, PROMPTS, strict=True):
        first = first_difference(tokens, want.tokens)
        equal += first
        if first < NEW_TOKENS:
            holds &= want.gaps[first] < NEAR_TIE
            notes.append(f"{prompt.text!r}: token {first} is another one; top-2 gap {want.gaps[first]:.2g}")
    smallest = min(gap for result in place.expected for gap in result.gaps)
    figure = f"{equal} of {len(PROMPTS) * NEW_TOKENS} equal; smallest top-2 gap {smallest:.2g}"
    yield Row(f"`--exact`: {NEW_TOKENS} greedy tokens for each prompt are the reference's", figure, holds, notes)


def near_ties(result: Generated, prompt: Prompt) -> Iterator[str]:
    """Choices that rounding may decide, also where it did not."""
    for position, gap in enumerate(result.gaps):
        if gap < NEAR_TIE:
            yield f"{prompt.text!r}: token {position} was a near tie, top-2 gap {gap:.2g}"


def first_difference(some: Sequence[int], others: Sequence[int]) -> int:
    """Index of the first element that differs; the length if none does."""
    return next((i for i, (a, b) in enumerate(zip(some, others, strict=True)) if a != b), len(some))


def check_logits(place: Workplace) -> Iterator[Row]:
    prompts = [prompt.ids for prompt in PROMPTS]
    for what, sequences in (("the prompts", prompts), (f"{LENGTHS[-1]} tokens", [long_text(LENGTHS[-1])])):
        found = compare_logits(place, place.exact, place.reference, sequences)
        yield Row(f"`--exact`: logits of {what} are the reference's, within {LOGITS_TOLERANCE:g}",
                  figure_of(found), found.largest <= LOGITS_TOLERANCE)  # fmt: skip


def check_default(place: Workplace) -> Iterator[Row]:
    bundle = place.compile("default")
    got = place.generate(bundle, [prompt.ids for prompt in PROMPTS])
    same, notes = 0, []
    for tokens, want, prompt in zip(got, place.expected, PROMPTS, strict=True):
        first = first_difference(tokens, want.tokens)
        same += first == NEW_TOKENS
        told = f"first at token {first}, top-2 gap {want.gaps[first]:.2g}" if first < NEW_TOKENS else "none"
        notes.append(f"{prompt.text!r}: {told}")
    found = compare_logits(place, bundle, place.reference, [prompt.ids for prompt in PROMPTS])
    yield Row("default mode: differences from the reference",
              f"{same} of {len(PROMPTS)} prompts the same; logits: {figure_of(found)}", None, notes)  # fmt: skip
    bundle.unlink()


def compare_logits(
    place: Workplace, bundle: Path, reference: Decoder, sequences: Sequence[Sequence[int]]
) -> Difference:
    """Over all positions of all sequences; the reference's head runs on a block of positions at a time."""
    largest = reach = total = 0.0
    count = 0
    for tokens, got in zip(sequences, place.logits(bundle, sequences), strict=True):
        states = reference.states(tokens, reference.new_cache(len(tokens)))
        for first in range(0, len(tokens), ROW_BLOCK):
            want = reference.head(states[first : first + ROW_BLOCK])
            apart = np.abs(got[first : first + ROW_BLOCK] - want)
            largest = float(np.maximum(largest, apart.max()))  # keeps a NaN, which then is in no tolerance
            reach = max(reach, float(np.abs(want).max()))
            total += float(apart.sum(dtype=np.float64))
            count += apart.size
    return Difference(largest, total / count, reach)


def figure_of(found: Difference) -> str:
    return f"max {found.largest:.2g}, mean {found.mean:.2g}, of up to {found.reach:.1f}"


def long_text(length: int, first: int = 0) -> list[int]:
    """Token ids of real text: the prompts one after the other, again and again, from the given one on."""
    once = [token for i in range(len(PROMPTS)) for token in PROMPTS[(first + i) % len(PROMPTS)].ids]
    return (once * (length // len(once) + 1))[:length]


# --------------------------------------------------------------------------------------------------------------------
# The same whatever the batch
# --------------------------------------------------------------------------------------------------------------------


def check_batch(place: Workplace) -> Iterator[Row]:
    sequences = [long_text(length, first) for first, length in enumerate(LENGTHS)]
    for storage, *mode in STORAGE:
        bundle = place.compile("batch", f"--weights={storage}", *mode)
        notes, logits = compare_batches(place, bundle, sequences)
        name = " ".join([storage, *mode])
        yield Row(f"same bits alone, in a batch, on 1 or 2 threads, in chunks: `{name}`",
                  f"{logits} logits of {len(sequences)} prompts compared", not notes, notes)  # fmt: skip
        bundle.unlink()
    yield compare_traced(place, sequences[3:7])


def compare_batches(place: Workplace, bundle: Path, sequences: Sequence[list[int]]) -> tuple[list[str], str]:
    """What differs from each prompt run alone on one thread, and how many logits were compared."""
    short = [ids for ids in sequences if len(ids) <= SHORT]
    runs: list[tuple[Sequence[list[int]], list[str]]] = [
        (sequences, ["--batch=all"]), (sequences, ["--batch=all", "--threads=1"]), (sequences, ["--chunk=130"]),
        (short, ["--chunk=7"]), (short, ["--chunk=1", "--batch=one"]),
    ]  # fmt: skip
    alone = ["--batch=one", "--threads=1"]
    want = [digest(values) for values in place.logits(bundle, sequences, *alone)]
    notes, count = [], 0
    for some, options in runs:
        for number, values in enumerate(place.logits(bundle, some, *options)):
            count += values.size
            if digest(values) != want[number]:
                notes.append(f"{' '.join(options)}: the prompt of {len(some[number])} tokens differs")
    return notes, f"{count / 1e6:.0f} million"


def compare_traced(place: Workplace, sequences: Sequence[list[int]]) -> Row:
    """Logits while hidden states are written, against a bundle that cannot write them."""
    plain = [digest(values) for values in place.logits(place.compile("plain"), sequences)]
    bundle, trace = place.compile("traced", "--trace-points"), place.folder / "trace.safetensors"
    traced = [digest(values) for values in place.logits(bundle, sequences, f"--trace={trace}")]
    tensors = len(map_tensors(trace))
    trace.unlink()
    return Row("same bits with trace points", f"{len(sequences)} prompts, {tensors} tensors traced",
               plain == traced and tensors > 0)  # fmt: skip


# --------------------------------------------------------------------------------------------------------------------
# The loop, and the bytes
# --------------------------------------------------------------------------------------------------------------------


def check_loop(place: Workplace) -> Iterator[Row]:
    bundle = place.compile("loop", "--exact", f"--loop={LOOP}")
    reference = load_model(place.model, loops=[Loop.parse(LOOP)])
    found = compare_logits(place, bundle, reference, [PROMPTS[-1].ids, long_text(600)])
    yield Row(f"`--loop={LOOP} --exact`: logits of 2 prompts are the reference's, within {LOGITS_TOLERANCE:g}",
              figure_of(found), found.largest <= LOGITS_TOLERANCE)  # fmt: skip
    bundle.unlink()


def check_bytes(place: Workplace) -> Iterator[Row]:
    phases = place.folder / "phases"
    straight = sha256(place.compile("first", f"--dump-phases={phases}"))
    again = sha256(place.compile("second"))
    yield Row("two compilations give the same bytes", f"sha256 {straight[:16]}...", straight == again)
    dumps = sorted(phases.glob("*.mlir"))
    other = [dump.name for dump in dumps
             if sha256(place.compile("second", f"--archive={place.model}", source=dump)) != straight]  # fmt: skip
    names = ", ".join(dump.stem.partition("-")[2] for dump in dumps)
    yield Row("each dumped phase compiles to these bytes", f"{len(dumps) - len(other)} of {len(dumps)}: {names}",
              len(dumps) == 6 and not other, [f"{name} gives other bytes" for name in other])  # fmt: skip


def timed(check: Callable[[Workplace], Iterator[Row]]) -> Callable[[Workplace], Iterator[Row]]:
    """The rows of a check, each with the time it took, told on standard error as they come."""

    def rows(place: Workplace) -> Iterator[Row]:
        start = time.perf_counter()
        for row in check(place):
            row.seconds = time.perf_counter() - start
            print(f"{row.seconds:6.0f} s  {row.verdict():9} {row.claim}: {row.figure}", file=sys.stderr, flush=True)
            yield row
            start = time.perf_counter()

    return rows


CHECKS = {
    name: timed(check)
    for name, check in {
        "prompts": check_prompts, "tokens": check_tokens, "logits": check_logits, "default": check_default,
        "batch": check_batch, "loop": check_loop, "bytes": check_bytes,
    }.items()
}  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
