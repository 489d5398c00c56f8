# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The `rondo` command: compile, convert, uptrain, run, chat and inspect.

Exit status: 0 done; 1 the input or the model is at fault; 2 wrong use of the command line; 130 interrupted.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn, TextIO

from tokenizers import Tokenizer

import rondo
from rondo import text
from rondo.arguments import parse_number
from rondo.convert import command as convert
from rondo.convert.errors import ConversionError
from rondo.overwrites import find_overwrite
from rondo.torch import command as uptrain

_NEW_TOKENS = 256  # unless -n says otherwise
# Lines of a chat that are for us, not for the model.
_EXIT, _CLEAR = "/exit", "/clear"
_INTERRUPTED = 130  # 128 + SIGINT, as shells report it


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns its exit status. When the reader of a pipe leaves, the process ends by SIGPIPE."""
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    sys.stdout.reconfigure(errors="replace")  # an answer may hold what the terminal's encoding lacks
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    try:
        if arguments[:1] == ["compile"]:
            _compile(arguments[1:])
        options = _parser().parse_args(arguments)
        status = options.command(options)
        sys.stdout.flush()  # a full disk shows here, not at exit
        return status
    except KeyboardInterrupt:
        print(file=sys.stderr)
        return _INTERRUPTED
    except (rondo.RondoError, text.TextError, ConversionError, OSError) as error:
        print(f"rondo: error: {error}", file=sys.stderr)
        return 1


# --- Arguments --------------------------------------------------------------------------------------------------------


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="rondo", description="Compile and run recursive transformers.")
    parser.add_argument("--version", action=_Version, nargs=0, help="show versions and this machine's instruction sets")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    commands.add_parser("compile", help="compile a checkpoint; takes the options of rondoc")
    convert.add_parsers(commands.add_parser("convert", help="make another checkpoint of a checkpoint"))
    uptrain.add_parser(commands.add_parser("uptrain", help="train a recursive model on, perhaps from its source"))
    _add_run(commands.add_parser("run", help="continue a text"))
    _add_chat(
        commands.add_parser(
            "chat",
            help="talk to a model with its own chat template",
            epilog=f"A line {_CLEAR} forgets the conversation, {_EXIT} ends it, as the end of input does.",
        )
    )
    _add_inspect(commands.add_parser("inspect", help="show what a model file holds and does"))
    return parser


class _Version(argparse.Action):
    """Prints versions; the extension module is loaded only here."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        from rondo import _runtime, inspection

        features = ", ".join(inspection.machine_features()) or "none that Rondo uses"
        print(f"rondo {rondo.__version__}, runtime {_runtime.version()}, ABI {_runtime.ABI_VERSION}")
        print(f"this machine: {features}")
        parser.exit(0)


def _add_run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-p", "--prompt", required=True, metavar="TEXT", help="text to continue; - reads standard input"
    )
    _add_generation(parser)
    parser.set_defaults(command=_run)


def _add_chat(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--system", metavar="TEXT", help="system message in front of the conversation")
    _add_generation(parser)
    parser.set_defaults(command=_chat)


def _add_inspect(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", type=_bundle_path, metavar="MODEL.rondo")
    parser.add_argument("--html", type=Path, metavar="FILE", help="draw the schedule into an HTML file")
    parser.set_defaults(command=_inspect, parser=parser)


def _add_generation(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", type=_bundle_path, metavar="MODEL.rondo")
    parser.add_argument(
        "-n", "--max-new-tokens", type=_at_least_one, metavar="N", help="default: 256, or what the context leaves"
    )
    parser.add_argument("--temperature", type=_not_negative, default=0.0, metavar="T", help="default 0: greedy")
    parser.add_argument("--top-k", type=_count, default=0, metavar="K", help="draw from the K best; default 0: all")
    parser.add_argument("--top-p", type=_share, default=1.0, metavar="P", help="and from the best whose sum reaches P")
    parser.add_argument("--seed", type=_count, default=0, metavar="N", help="of the random numbers; default 0")
    parser.add_argument("--threads", type=_count, default=0, metavar="N", help="default: the physical cores")
    parser.add_argument("--tokenizer", type=Path, metavar="FILE", help="tokenizer.json instead of the bundle's")


def _bundle_path(value: str) -> Path:
    """The runtime's interface takes names in UTF-8."""
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        raise argparse.ArgumentTypeError(f"the name {value!a} is not UTF-8; rename the file") from None
    return Path(value)


def _count(value: str) -> int:
    return parse_number(int, value, lambda count: count >= 0, "at least 0")


def _at_least_one(value: str) -> int:
    return parse_number(int, value, lambda count: count >= 1, "at least 1")


def _not_negative(value: str) -> float:
    return parse_number(float, value, lambda number: 0 <= number < float("inf"), "at least 0")


def _share(value: str) -> float:
    return parse_number(float, value, lambda number: 0 < number <= 1, "above 0 and at most 1")


# --- Commands ---------------------------------------------------------------------------------------------------------


def _compile(arguments: Sequence[str]) -> NoReturn:
    """Become rondoc: it gets the arguments, the terminal and the signals, and gives the exit status."""
    tool = find_tool("rondoc")
    sys.stdout.flush()
    os.execv(tool, ["rondoc", *arguments])


def find_tool(name: str) -> str:
    """Path of a program of the compiler: in the folder RONDO_BIN names, else beside `rondo`, else in PATH."""
    if folder := os.environ.get("RONDO_BIN"):
        places, where = [folder], f"in RONDO_BIN, {folder}"
    else:
        places = [str(Path(sys.argv[0]).resolve().parent), os.environ.get("PATH", os.defpath)]
        where = "beside rondo or in PATH; build it, or set RONDO_BIN to its folder"
    for place in places:
        if found := shutil.which(name, path=place):
            return found
    raise FileNotFoundError(f"{name} is not {where}")


def _run(options: argparse.Namespace) -> int:
    prompt = text.from_outside(_standard_input().read() if options.prompt == "-" else options.prompt, "the prompt")
    with _load(options) as model:
        writer = _Writer(model, _tokenizer(model, options), options)
        ids = writer.encode(prompt, add_special_tokens=True)
        left = max(1, _room(model, ids))  # the runtime tells what is wrong with a prompt beyond the context
        try:
            for piece in writer.answer(ids, options.max_new_tokens or min(_NEW_TOKENS, left)):
                print(piece, end="", flush=True)
        except KeyboardInterrupt:
            print(flush=True)
            return _INTERRUPTED
        print()
    return 0


def _load(options: argparse.Namespace) -> rondo.Model:
    """The model, ready to run; warns as rondo-run does if it gets fewer threads than asked for."""
    model = rondo.load(options.model, threads=options.threads)
    if model.threads < options.threads:
        _say(f"warning: {options.threads} threads asked for, {model.threads} cores allowed; using {model.threads}")
    return model


def _say(message: str) -> None:
    """Tell the user something beside the model's text."""
    print(f"rondo: {message}", file=sys.stderr, flush=True)


def _chat(options: argparse.Namespace) -> int:
    with _load(options) as model:
        tokenizer = _tokenizer(model, options)
        template = text.ChatTemplate(model.tensor("chat_template.jinja"), tokenizer, model.stop_tokens)
        writer = _Writer(model, tokenizer, options)
        system = text.from_outside(options.system or "", "--system")
        opening = [{"role": "system", "content": system}] if system else []
        messages = opening
        for line in _lines():
            if line.strip() == _EXIT:
                break
            if line.strip() == _CLEAR:
                messages = opening
                _say("the conversation is cleared")
                continue
            question = {"role": "user", "content": text.from_outside(line, "the line")}
            ids = writer.encode(template.render([*messages, question]), add_special_tokens=False)
            if _room(model, ids) > 0:
                messages = [*messages, question, {"role": "assistant", "content": _turn(writer, ids)}]
            else:
                _refuse_line(len(ids), model.context)
    return 0


def _refuse_line(tokens: int, context: int) -> None:
    _say(
        f"the conversation with this line has {tokens} tokens, the context holds {context}; the line is left out: "
        f"shorten it, begin anew with {_CLEAR}, or compile with a larger --context"
    )


def _room(model: rondo.Model, ids: Sequence[int]) -> int:
    """Tokens that the context leaves behind the prompt `ids`; the last one needs no position."""
    return model.context - len(ids) + 1


def _turn(writer: _Writer, ids: Sequence[int]) -> str:
    """Print the answer as it comes and return it; an interrupt cuts it short and leaves the conversation open."""
    answer = ""
    wanted, room = writer.options.max_new_tokens or _NEW_TOKENS, _room(writer.model, ids)
    given: list[int] = []
    try:
        for piece in writer.answer(ids, min(wanted, room), given):
            print(piece, end="", flush=True)
            answer += piece
    except KeyboardInterrupt:
        print(" [interrupted]", end="")
        given.clear()
    print(flush=True)
    if given and given[-1] not in writer.model.stop_tokens:
        way_out = "-n N allows more" if wanted < room else f"the context is full: go on with {_CLEAR}"
        _say(f"the answer is cut at token {len(given)}; {way_out}")
    return answer


def _lines() -> Iterator[str]:
    """What the user writes, line by line without empty ones, until the end of input."""
    prompt = "> " if _standard_input().isatty() else ""
    while True:
        try:
            line = input(prompt)
        except EOFError:
            return
        if line.strip():
            yield line


def _standard_input() -> TextIO:
    """Standard input; what is no text comes through, for `text.from_outside` to refuse."""
    sys.stdin.reconfigure(errors="surrogateescape")
    return sys.stdin


def _inspect(options: argparse.Namespace) -> int:
    from rondo import inspection  # needs the extension module, which other commands do not

    if fault := find_overwrite({"--html": options.html}, {"the model": options.model}):
        options.parser.error(fault)
    facts = inspection.read(options.model)
    print(inspection.describe(facts))
    if options.html:
        inspection.write_html(facts, options.html)
    return 0


# --- Text -------------------------------------------------------------------------------------------------------------


def _tokenizer(model: rondo.Model, options: argparse.Namespace) -> Tokenizer:
    if not options.tokenizer:
        return text.tokenizer_from_bytes(model.tensor("tokenizer.json"))
    try:
        content = options.tokenizer.read_bytes()
    except OSError as error:
        raise text.TextError(
            f"cannot read --tokenizer {options.tokenizer}: {error.strerror}; give a tokenizer.json, or leave it out"
        ) from None
    return text.tokenizer_from_bytes(content)


@dataclass(frozen=True)
class _Writer:
    """A model that answers in text."""

    model: rondo.Model
    tokenizer: Tokenizer
    options: argparse.Namespace

    def encode(self, prompt: str, add_special_tokens: bool) -> list[int]:
        """Token ids of `prompt`, at least one."""
        ids = self.tokenizer.encode(prompt, add_special_tokens=add_special_tokens).ids
        if not ids:
            raise text.TextError("the prompt is empty; give at least one character")
        return ids

    def answer(self, ids: Sequence[int], new_tokens: int, given: list[int] | None = None) -> Iterator[str]:
        """Pieces of text of at most `new_tokens` tokens after the prompt `ids`, without the token that ends it.

        The tokens, with that one, are appended to `given` as they come.
        """
        given = [] if given is None else given
        options = self.options
        tokens = self.model.generate(
            ids,
            new_tokens,
            temperature=options.temperature,
            top_k=options.top_k,
            top_p=options.top_p,
            seed=options.seed,
        )
        stop = set(self.model.stop_tokens)
        return text.stream_text((token for token in _noting(tokens, given) if token not in stop), self.tokenizer.decode)


def _noting(tokens: Iterable[int], given: list[int]) -> Iterator[int]:
    """The tokens, each of which is appended to `given` when it comes."""
    for token in tokens:
        given.append(token)
        yield token


if __name__ == "__main__":
    sys.exit(main())
