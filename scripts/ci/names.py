#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Checks that one name has its many spellings, and that no file is an orphan.

From a pass's definition in a Passes.td follow its flag, its source file, its
DEBUG_TYPE and its test; from a rule label of an operation the verifier and the
test that name it. Prints one line for each finding; exit status 1 if there are
any. Run from anywhere, without arguments.
"""

import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
MAX_LINES = 700
SOURCES = (
    "include",
    "lib",
    "tools",
    "runtime",
    "unittests",
    "python",
    "scripts",
    "benchmarks",
    "test",
)
CODE = {".cpp", ".h", ".c", ".td", ".py", ".sh"}
# Tests of a dialect that belong to no pass.
DIALECT_TESTS = re.compile(r"(ops|types|effects|canonicalize|invalid(-[a-z]+)*)$")
# Where passes are defined: folder of Passes.td -> (flag prefix, folder of tests).
PASS_FOLDERS = {
    "include/rondo/Dialect/Rondo/Transforms": ("rondo-", "test/Dialect/Rondo"),
    "include/rondo/Dialect/RondoRT/Transforms": ("rondo-rt-", "test/Dialect/RondoRT"),
    "include/rondo/Conversion": ("", "test/Conversion"),
    "include/rondo/Pipelines": ("rondo-", "test/Pipelines"),
}

findings = []


def report(path, text):
    """Records a finding about a file or folder of the repository."""
    findings.append(f"{path.relative_to(ROOT)}: {text}")


def read(path):
    return path.read_text(encoding="utf-8", errors="replace")


def files(*suffixes):
    """The files of the source folders with one of the suffixes."""
    for folder in SOURCES:
        for path in sorted((ROOT / folder).rglob("*")):
            if path.suffix in suffixes and path.is_file() and "__pycache__" not in path.parts:
                yield path


def kebab(name):
    """HoistDepthInvariants -> hoist-depth-invariants, VerifyKVPolicy ->
    verify-kv-policy, ConvertRondoRTToCPU -> convert-rondo-rt-to-cpu."""
    name = re.sub(r"([a-z0-9])([A-Z])", r"\1-\2", name)
    return re.sub(r"([A-Z]+)([A-Z][a-z])", r"\1-\2", name).lower()


def passes():
    """Yields (Passes.td, name without `Pass`, flag)."""
    for path in sorted((ROOT / "include/rondo").rglob("Passes.td")):
        for name, flag in re.findall(r'^def (\w+)Pass\s*:\s*Pass<"([^"]+)"', read(path), re.MULTILINE):
            yield path, name, flag


def check_pass(path, name, flag):
    """One pass: flag, source file, DEBUG_TYPE, test."""
    folder = path.parent.relative_to(ROOT).as_posix()
    if folder not in PASS_FOLDERS:
        report(path, f"no rule for the passes of '{folder}': add it to PASS_FOLDERS")
        return
    prefix, tests = PASS_FOLDERS[folder]
    if flag != prefix + kebab(name):
        report(path, f"pass {name} has flag '{flag}', expected '{prefix + kebab(name)}'")
    sources = list((ROOT / folder.replace("include/rondo", "lib")).rglob(f"{name}.cpp"))
    if folder.endswith("Conversion"):
        sources = list((ROOT / "lib/Conversion" / name.removeprefix("Convert")).glob("*.cpp"))
    if not sources:
        report(path, f"pass {name} has no source file {name}.cpp")
    for source in sources:
        debug_type = re.search(r'#define DEBUG_TYPE "([^"]+)"', read(source))
        if debug_type and debug_type.group(1) != flag:
            report(source, f"DEBUG_TYPE is '{debug_type.group(1)}', expected '{flag}'")
    stem = kebab(name)
    if not list((ROOT / tests).rglob(f"{stem}*.mlir")):
        report(path, f"pass {name} has no test {tests}/{stem}.mlir")


def check_dialect_tests():
    """Tests of dialects are named by a pass or are the common ones."""
    stems = [kebab(name) for _, name, _ in passes()]
    for path in sorted((ROOT / "test/Dialect").rglob("*.mlir")):
        if DIALECT_TESTS.match(path.stem) or any(path.stem == s or path.stem.startswith(s + "-") for s in stems):
            continue
        report(path, "named by no pass")


def check_rules():
    """Each rule (op_cN) of an operation stands in code and in a test."""
    code = "".join(read(p) for p in files(".cpp", ".td"))
    tests = "".join(read(p) for p in files(".mlir"))
    for path in sorted((ROOT / "include/rondo/Dialect").rglob("*.td")):
        for label in re.findall(r"^\s+- \((\w+_c\d+)\)", read(path), re.MULTILINE):
            if len(re.findall(rf"\b{label}\b", code)) < 2:
                report(
                    path,
                    f"rule {label} is enforced nowhere: name it in the trait or verifier",
                )
            if not re.search(rf"\b{label}(_|\b)", tests):
                report(path, f"rule {label} has no test")


def check_lit_tests():
    """Tests run something, and CHECK lines are read by FileCheck."""
    for path in files(".mlir", ".test"):
        if "Inputs" in path.parts or "test" not in path.relative_to(ROOT).parts[0]:
            continue
        text = read(path)
        runs = "\n".join(re.findall(r"RUN:(.*)", text))
        if not runs:
            report(path, "no RUN line")
        if re.search(r"^\s*(//|#)\s*CHECK", text, re.MULTILINE) and "FileCheck" not in runs:
            report(path, "CHECK lines, but no FileCheck")
        if path.suffix == ".mlir" and not re.search(r"FileCheck|verify-diagnostics|verify-roundtrip|diff|cmp", runs):
            report(path, "cannot fail: neither FileCheck nor diagnostics nor a comparison")


def check_sources():
    """Every library source is built, carries its license, and is not too long."""
    for path in files(*CODE, ".mlir", ".test"):
        text = read(path)
        if text.count("\n") > MAX_LINES:
            report(path, f"{text.count(chr(10))} lines, more than {MAX_LINES}: split it")
        if (
            "Inputs" not in path.parts
            and path.suffix in CODE - {".sh"}
            and "SPDX-License-Identifier" not in text
            and text.strip()
        ):
            report(path, "no SPDX-License-Identifier")
        if path != pathlib.Path(__file__).resolve() and re.search(r"\b(FIXME|XXX)\b|\bTODO\b(?!\(\d+\))", text):
            report(path, "a marker of unfinished work without an issue number")
    for path in sorted((ROOT / "lib").rglob("*.cpp")):
        lists = [p / "CMakeLists.txt" for p in path.parents if (p / "CMakeLists.txt").is_file()]
        if not lists or not any(re.search(rf"\b{re.escape(path.name)}\b", read(file)) for file in lists[:2]):
            report(path, "built by no CMakeLists.txt")


def main():
    for found in passes():
        check_pass(*found)
    check_dialect_tests()
    check_rules()
    check_lit_tests()
    check_sources()
    print("\n".join(findings) if findings else "names.py: no findings")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
