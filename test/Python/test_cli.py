# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The `rondo` command, on bundles made by hand."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

import rondo

pytest.importorskip("rondo._runtime", reason="the extension module is not installed (pip install ./python)")
pytest.importorskip("xxhash")

from byte_tokenizer import byte_tokenizer
from handmade_bundle import script_for, write_bundle

TEMPLATE = "{% for m in messages %}<|turn|>{{ m.role }}:{{ m.content }}{% endfor %}<|turn|>"


def run(*arguments: str | Path, stdin: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `python -m rondo` in a process of its own."""
    variables = os.environ | {"PYTHONPATH": str(Path(rondo.__file__).parents[1])} | environment
    command = [sys.executable, "-m", "rondo", *map(str, arguments)]
    return subprocess.run(command, input=stdin, capture_output=True, text=True, env=variables)


def run_bytes(*arguments: str | bytes | Path, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """As `run`, with arguments and streams that may hold anything."""
    variables = os.environ | {"PYTHONPATH": str(Path(rondo.__file__).parents[1])}
    return subprocess.run([sys.executable, "-m", "rondo", *arguments], input=stdin, capture_output=True, env=variables)


def bundle(tmp_path: Path, prompt_length: int, answer: str, **options: object) -> Path:
    """A bundle that answers a prompt of so many tokens."""
    script = script_for(prompt_length, answer.encode())
    options = {"tokenizer": byte_tokenizer(), "template": TEMPLATE} | options
    return write_bundle(tmp_path / "model.rondo", script, **options)


def test_run(tmp_path: Path) -> None:
    path = bundle(tmp_path, 2, "h\u00e9llo \U0001f389")
    assert run("run", path, "-p", "ab").stdout == "h\u00e9llo \U0001f389\n"
    assert run("run", path, "-p", "-", "-n", "3", stdin="ab").stdout == "h\u00e9\n"
    assert run("run", path, "-p", "\u00e9", "--temperature", "1", "--top-k", "1", "--seed", "3").stdout.startswith(
        "h\u00e9"
    )


# Tests that text appears while the model is still running.
def test_run_streams(tmp_path: Path) -> None:
    path = bundle(tmp_path, 1, "a" * 100, spin=10_000_000)
    variables = os.environ | {"PYTHONPATH": str(Path(rondo.__file__).parents[1])}
    command = [sys.executable, "-m", "rondo", "run", str(path), "-p", "x", "--threads", "1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=variables) as process:
        assert process.stdout.read(3) == "aaa"
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        rest, errors = process.communicate()
    assert process.returncode == 130
    assert len(rest) < 98 and rest.endswith("\n")
    assert "Traceback" not in errors


def test_run_without_tokenizer(tmp_path: Path) -> None:
    path = bundle(tmp_path, 1, "yes", tokenizer=None)
    done = run("run", path, "-p", "x")
    assert (done.returncode, done.stdout) == (1, "")
    assert "the bundle has no tokenizer" in done.stderr
    (tmp_path / "tokenizer.json").write_bytes(byte_tokenizer())
    assert run("run", path, "-p", "x", "--tokenizer", tmp_path / "tokenizer.json").stdout == "yes\n"


# Tests two turns: the second prompt holds the first answer.
def test_chat(tmp_path: Path) -> None:
    first = len("<user:hi<")  # the template's turn tokens count as one each
    second = first + len("assistant:ok") + len("<user:and<")
    script = script_for(first, b"ok")
    script[second - 1 :] = script_for(second, b"then")[second - 1 :]
    path = write_bundle(tmp_path / "model.rondo", script, tokenizer=byte_tokenizer(), template=TEMPLATE)
    done = run("chat", path, stdin="hi\n\nand\n")
    assert (done.returncode, done.stdout) == (0, "ok\nthen\n")


def test_chat_with_system_message(tmp_path: Path) -> None:
    path = bundle(tmp_path, len("<system:be kind<user:hi<"), "sure")
    assert run("chat", path, "--system", "be kind", stdin="hi\n").stdout == "sure\n"


def test_chat_without_template(tmp_path: Path) -> None:
    done = run("chat", bundle(tmp_path, 1, "x", template=None), stdin="hi\n")
    assert done.returncode == 1
    assert "no chat template" in done.stderr


# Tests that a line beyond the context is left out, with its size, and that the conversation goes on as if without it.
def test_chat_beyond_the_context(tmp_path: Path) -> None:
    path = bundle(tmp_path, len("<user:hi<"), "ok")
    done = run("chat", path, stdin="h" * 200 + "\nhi\n")
    assert (done.returncode, done.stdout) == (0, "ok\n")
    [message] = done.stderr.splitlines()
    assert f"has {len('<user:<') + 200} tokens, the context holds 128" in message and "shorten it" in message


# Tests that an answer may fill the context, whatever -n asks for.
def test_chat_up_to_the_context(tmp_path: Path) -> None:
    done = run("chat", bundle(tmp_path, 1, ""), "-n", "1000", stdin="h" * (128 - len("<user:<")) + "\n")
    assert (done.returncode, done.stdout) == (0, "!\n")
    assert done.stderr == "rondo: the answer is cut at token 1; the context is full: go on with /clear\n"


# Tests that an answer that reaches its limit is marked, beside the text, and one that ends by itself is not.
def test_chat_cut(tmp_path: Path) -> None:
    path = bundle(tmp_path, len("<user:hi<"), "okay")
    cut = run("chat", path, "-n", "4", stdin="hi\n")
    assert (cut.stdout, cut.stderr) == ("okay\n", "rondo: the answer is cut at token 4; -n N allows more\n")
    whole = run("chat", path, "-n", "5", stdin="hi\n")
    assert (whole.stdout, whole.stderr) == ("okay\n", "")


# Tests the lines that the model does not see: /clear leaves only the system message, after /exit nothing is read.
def test_chat_commands(tmp_path: Path) -> None:
    path = bundle(tmp_path, len("<system:s<user:hi<"), "ok")
    done = run("chat", path, "--system", "s", stdin="hi\n /clear \nhi\n/exit\nhi\n")
    assert (done.returncode, done.stdout) == (0, "ok\nok\n")
    assert done.stderr == "rondo: the conversation is cleared\n"
    assert "/clear forgets the conversation, /exit ends it" in " ".join(run("chat", "--help").stdout.split())


# Tests that a wish for more threads than there are cores is heard and not met, as rondo-run has it.
def test_threads_beyond_the_cores(tmp_path: Path) -> None:
    path = bundle(tmp_path, 1, "ok")
    done = run("run", path, "-p", "x", "--threads", "512")
    assert done.stdout == "ok\n"
    cores = rondo.load(path).threads
    assert done.stderr == f"rondo: warning: 512 threads asked for, {cores} cores allowed; using {cores}\n"
    assert run("run", path, "-p", "x", "--threads", "1").stderr == ""


@pytest.mark.parametrize(
    ("option", "reason"),
    [
        ("--temperature=x", "argument --temperature: must be a number at least 0, got 'x'"),
        ("--temperature=-1", "argument --temperature: must be at least 0, got -1"),
        ("--top-k=1.5", "argument --top-k: must be a whole number at least 0, got '1.5'"),
        ("--top-p=all", "argument --top-p: must be a number above 0 and at most 1, got 'all'"),
        ("-n=0", "argument -n/--max-new-tokens: must be at least 1, got 0"),
    ],
)
def test_wrong_numbers(option: str, reason: str) -> None:
    done = run("run", "model.rondo", "-p", "x", option)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == "rondo run: error: " + reason


def test_tokenizer_absent(tmp_path: Path) -> None:
    done = run("run", bundle(tmp_path, 1, "x"), "-p", "x", "--tokenizer=nope")
    assert done.returncode == 1
    reason = "No such file or directory; give a tokenizer.json, or leave it out"
    assert done.stderr == f"rondo: error: cannot read --tokenizer nope: {reason}\n"


# Tests that what is no bundle is called what it is, with the way to one.
@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"GGUF" + bytes(100), "this is a GGUF checkpoint"),
        (b"# A readme\n" * 9, "the file does not begin as a bundle does"),
    ],
)
def test_no_bundle(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    message = f"cannot load '{path}': {reason}; compile a checkpoint with rondoc and give its bundle"
    for arguments in (["run", path, "-p", "x"], ["inspect", path]):
        done = run(*arguments)
        assert (done.returncode, done.stderr) == (1, f"rondo: error: {message}\n")
    with pytest.raises(rondo.RondoError, match="compile a checkpoint with rondoc"):
        rondo.load(path)


# Tests that bytes that are no text are refused in a line, wherever they come from.
@pytest.mark.parametrize(
    ("arguments", "stdin", "message"),
    [
        (["run", "-p", b"a\xff"], b"", "the prompt is not UTF-8: byte 0xff at offset 1; convert it"),
        (["run", "-p", "-"], b"\xc3\xa9\xff", "the prompt is not UTF-8: byte 0xff at offset 2; convert it"),
        (["chat"], b"\xe9t\xe9\n", "the line is not UTF-8: byte 0xe9 at offset 0; convert it"),
        (["chat", "--system", b"\x80"], b"hi\n", "--system is not UTF-8: byte 0x80 at offset 0; convert it"),
    ],
)
def test_not_utf8(tmp_path: Path, arguments: list[str | bytes], stdin: bytes, message: str) -> None:
    done = run_bytes(*arguments, bundle(tmp_path, 2, "x"), stdin=stdin)
    assert (done.returncode, done.stdout) == (1, b"")
    [line] = done.stderr.decode().splitlines()
    assert line.startswith("rondo: error: " + message)


def test_name_not_utf8() -> None:
    done = run_bytes("run", b"\xff.rondo", "-p", "x")
    assert done.returncode == 2
    assert b"is not UTF-8; rename the file" in done.stderr


# Tests that the encoding of the terminal decides neither what the model reads nor whether there is an answer.
def test_other_encodings(tmp_path: Path) -> None:
    path = bundle(tmp_path, 2, "h\u00e9llo")
    assert run("run", path, "-p", "\u00e9", PYTHONIOENCODING="ascii").stdout == "h?llo\n"
    assert run("run", path, "-p", "-", stdin="\u00e9", PYTHONIOENCODING="ascii").stdout == "h?llo\n"


def test_inspect(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    done = run("inspect", bundle(tmp_path, 1, "x"), "--html", page)
    assert done.returncode == 0
    for words in (
        "a <script> (script)",
        "schedule: depth 1, 1 unique layer, 1 executed",
        "per-depth, 1 slots",
        "layer 0: 1 visit",
        "layer.all",
    ):
        assert words in done.stdout
    assert "a &lt;script&gt;" in page.read_text() and "<script>" not in page.read_text()
    assert "execution 0, visit 0: layer 0, slot 0" in page.read_text()


# Tests that a model without a name is called after its file.
def test_inspect_nameless(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    path = bundle(tmp_path, 1, "x", changes={"name": ""})
    assert run("inspect", path, "--html", page).stdout.startswith("model    model (script)\n")
    assert "<title>model</title>" in page.read_text()


# Tests that the drawing does not take the model's place.
def test_inspect_html_is_the_model(tmp_path: Path) -> None:
    path = bundle(tmp_path, 1, "x")
    content = path.read_bytes()
    done = run("inspect", path, "--html", path)
    assert done.returncode == 2
    assert f"--html {path} would overwrite the model {path}; give another file" in done.stderr
    assert path.read_bytes() == content


# Tests that a bundle for another machine can be inspected although it cannot run.
def test_inspect_needs_no_right_machine(tmp_path: Path) -> None:
    path = bundle(tmp_path, 1, "x", features=1 << 60)
    assert run("run", path, "-p", "x").returncode == 1
    assert run("inspect", path).returncode == 0


# Tests that compile becomes rondoc: same arguments, same status.
def test_compile(tmp_path: Path) -> None:
    tool = tmp_path / "rondoc"
    tool.write_text('#!/bin/sh\necho "$@"\nexit 7\n')
    tool.chmod(tool.stat().st_mode | stat.S_IXUSR)
    done = run("compile", "folder", "-o", "x.rondo", "--help", RONDO_BIN=str(tmp_path))
    assert (done.returncode, done.stdout) == (7, "folder -o x.rondo --help\n")
    done = run("compile", "folder", PATH=str(tmp_path), RONDO_BIN="")
    assert (done.returncode, done.stdout) == (7, "folder\n")


def test_compile_without_rondoc(tmp_path: Path) -> None:
    done = run("compile", "folder", RONDO_BIN=str(tmp_path))
    assert done.returncode == 1
    assert "rondoc is not in RONDO_BIN" in done.stderr


@pytest.mark.parametrize("command", ["run", "chat", "inspect"])
def test_bad_file(tmp_path: Path, command: str) -> None:
    (tmp_path / "bad.rondo").write_bytes(b"nothing")
    for path in (tmp_path / "bad.rondo", tmp_path / "absent.rondo"):
        done = run(command, path, *(["-p", "x"] if command == "run" else []))
        assert done.returncode == 1
        assert done.stderr.startswith("rondo: error: cannot ") and len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    "arguments",
    [[], ["bake"], ["run"], ["run", "m"], ["run", "m", "-p", "x", "--top-p", "0"], ["run", "m", "-p", "x", "-n", "0"],
     ["chat", "m", "--temperature", "-1"], ["inspect", "m", "--what"]],
)  # fmt: skip
def test_wrong_use(arguments: list[str]) -> None:
    done = run(*arguments)
    assert done.returncode == 2
    assert "usage: rondo" in done.stderr


# Tests that a reader that leaves ends the command as other programs end, and without a word.
@pytest.mark.parametrize("arguments", [["run", "-p", "x"], ["inspect"], ["--help"]])
def test_closed_pipe(tmp_path: Path, arguments: list[str]) -> None:
    path = bundle(tmp_path, 1, "a" * 100)
    variables = os.environ | {"PYTHONPATH": str(Path(rondo.__file__).parents[1])}
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "rondo", *arguments, str(path)]
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, env=variables)
    os.close(writer)
    assert (done.returncode, done.stderr) == (-signal.SIGPIPE, b"")


@pytest.mark.parametrize("arguments", [["run", "-p", "x"], ["inspect"]])
def test_full_disk(tmp_path: Path, arguments: list[str]) -> None:
    path = bundle(tmp_path, 1, "x")
    variables = os.environ | {"PYTHONPATH": str(Path(rondo.__file__).parents[1])}
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-m", "rondo", *arguments, str(path)]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, env=variables)
    assert done.returncode == 1
    assert "No space left" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize("command", [[], ["run"], ["chat"], ["inspect"]])
def test_help(command: list[str]) -> None:
    done = run(*command, "--help")
    assert done.returncode == 0 and done.stdout.startswith("usage: rondo")


def test_version() -> None:
    done = run("--version")
    assert done.returncode == 0
    assert (
        done.stdout.startswith(f"rondo {rondo.__version__}")
        and "ABI 2" in done.stdout
        and "this machine" in done.stdout
    )
