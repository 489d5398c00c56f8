# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Property test: a rerolled model computes what the unrolled one computes.

Makes random straight-line models (repeated ranges of layers, norms between them,
one or two carried values, repeated keys), runs passes on them, and executes the
text before and after with symbols for numbers: the value of an operation is its
name and the values it reads. The results and the order of executions must agree.
"""

import random
import re
import subprocess
import sys

ROWS = "tensor<?x8xf32>"


def make_model(rng):
    """The text of a random unrolled model."""
    layers = rng.randint(1, 4)
    repeats = [rng.choice([layers, rng.randint(1, layers)]) for _ in range(rng.randint(1, 4))]
    order = []
    for count in repeats:
        first = rng.randint(0, layers - count)
        order += list(range(first, first + count)) * rng.randint(1, 3)
    stacked = rng.random() < 0.5
    entries = order if stacked else list(range(layers))
    keys = ", ".join(f'"{entry}"' for entry in entries)
    carried = rng.randint(1, 2)
    norm_every = rng.choice([0, layers, 2])
    inject = rng.random() < 0.3

    arguments = ", ".join(f"%x{i}: {ROWS}" for i in range(carried))
    types = ", ".join([ROWS] * carried)
    result_types = f"({types})"
    lines = [f"rondo.param @w layers({len(entries)}) : tensor<8x8xf32> from [{keys}]",
             f"rondo.block @b({arguments}) -> {result_types} caches(1) {{",
             f"  %y = rondo.linear %x0, [@w] : {ROWS} -> {ROWS}",
             "  rondo.yield " + ", ".join(["%y"] + [f"%x{i}" for i in range(1, carried)]) + f" : {types}",
             "}",
             f"func.func @model({arguments}) -> {result_types} {{"]
    state = [f"%x{i}" for i in range(carried)]
    for number, layer in enumerate(order):
        index = number if stacked else layer
        suffix = f":{carried}" if carried > 1 else ""
        lines.append(f"  %a{number}{suffix} = rondo.apply @b({', '.join(state)}) layer({index}) "
                     f"side({number // layers}) slot({number}) : ({types}) -> {result_types}")
        state = [f"%a{number}" + (f"#{i}" if carried > 1 else "") for i in range(carried)]
        if rng.random() < 0.1:
            state.reverse()
        if norm_every and number % norm_every == norm_every - 1:
            lines.append(f"  %n{number} = rondo.norm rms {state[0]} eps 1.0e-5 : {ROWS}")
            state[0] = f"%n{number}"
            if inject:
                lines.append(f"  %s{number} = arith.addf {state[0]}, %x0 : {ROWS}")
                state[0] = f"%s{number}"
    lines += [f"  return {', '.join(state)} : {types}", "}"]
    return "\n".join(lines) + "\n"


class Model:
    """Executes the text of one model."""

    def __init__(self, text):
        self.keys = re.findall(r'"([^"]*)"', re.search(r"rondo\.param @w .*from (\[.*\])", text).group(1))
        header, body = re.search(r"func\.func @model\((.*?)\) -> .*?\{\n(.*)\n  return", text, re.DOTALL).group(1, 2)
        self.values = {name: (("argument", i),) for i, name in enumerate(re.findall(r"(%\w+):", header))}
        self.trace = []
        returned = re.search(r"^\s*return (.*?) :", text, re.MULTILINE).group(1)
        self.run(body.split("\n"))
        self.results = [self.value(name) for name in returned.split(", ")]

    def value(self, name):
        base, _, number = name.partition("#")
        return self.values[base][int(number or 0)]

    def evaluate(self, expression, indices):
        expression = expression.replace("floordiv", "//").replace("mod", "%")
        return eval(expression, {}, {f"d{i}": value for i, value in enumerate(indices)})  # pylint: disable=eval-used

    def run(self, lines):
        """Executes lines up to a yield; returns the yielded values."""
        at = 0
        while at < len(lines):
            line = lines[at].strip()
            at += 1
            if line.startswith("rondo.yield"):
                return [self.value(name) for name in line.split(" : ")[0].removeprefix("rondo.yield ").split(", ")]
            match = re.match(r"(%\w+)(?::\d+)? = (\S+) (.*)", line)
            if not match:
                continue
            name, op, rest = match.groups()
            if op == "rondo.loop":
                end = self.find_end(lines, at)
                self.values[name] = self.run_loop(rest, lines[at:end])
                at = end + 1
            elif op == "rondo.apply":
                self.values[name] = self.run_apply(rest)
            else:
                operands = [self.value(operand) for operand in re.findall(r"%\w+(?:#\d+)?", rest)]
                self.values[name] = ((op, *operands),)
        return []

    @staticmethod
    def find_end(lines, at):
        indent = len(lines[at - 1]) - len(lines[at - 1].lstrip())
        while lines[at] != " " * indent + "}":
            at += 1
        return at

    def run_loop(self, header, body):
        induction, count = re.match(r"(%\w+) to (\d+)", header).groups()
        carried = re.findall(r"(%\w+) = (%\w+(?:#\d+)?)", re.search(r"carries\((.*?)\)", header).group(1))
        state = [self.value(init) for _, init in carried]
        for i in range(int(count)):
            self.values[induction] = (i,)
            for (argument, _), value in zip(carried, state):
                self.values[argument] = (value,)
            state = self.run(body)
        return state

    def run_apply(self, rest):
        operands = [self.value(operand) for operand in re.search(r"@b\((.*?)\)", rest).group(1).split(", ")]
        at = re.search(r" at\((.*?)\)", rest)
        indices = [self.value(index) for index in at.group(1).split(", ")] if at else []
        layer, side, slot = (self.evaluate(re.search(rf" {name}\((.*?)\)", rest).group(1), indices)
                             for name in ("layer", "side", "slot"))
        visit = (self.keys[layer], side, slot)
        self.trace.append(visit)
        # A number for the visit keeps values from growing with depth.
        return [("apply", visit, i, hash(tuple(operands))) for i in range(len(operands))]


def main():
    seed, count, passes = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
    rng = random.Random(seed)
    models = [make_model(rng) for _ in range(count)]
    separator = "\n// -----\n"
    output = subprocess.run(["rondo-opt", "-split-input-file", *passes], input=separator.join(models),
                            text=True, capture_output=True, check=True).stdout
    loops = 0
    results = re.split(r"^// -----$", output, flags=re.MULTILINE)
    assert len(results) == count, f"{len(results)} models came back, not {count}"
    for number, (before, after) in enumerate(zip(models, results)):
        # Models are printed inside of a module.
        after = "\n".join(line.removeprefix("  ") for line in after.strip().split("\n")[1:-1])
        loops += after.count("rondo.loop")
        expected, got = Model(before), Model(after)
        if expected.results != got.results or expected.trace != got.trace:
            print(f"model {number} of seed {seed} differs:\n{before}\n{after}", file=sys.stderr)
            return 1
    print(f"{count} models of seed {seed} agree, {loops} loops")
    return 0


if __name__ == "__main__":
    sys.exit(main())
