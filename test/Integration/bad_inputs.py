# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The kinds of bad input: what is done, which program meets it, and what it must say."""

from __future__ import annotations

import json
from dataclasses import dataclass

from damage import (
    CONTEXT,
    OLD,
    VOCABULARY,
    WEIGHTS,
    Damage,
    both,
    change,
    config,
    cut,
    edit_header,
    edit_manifest,
    edit_tensor,
    make_fifo,
    make_folder,
    manifest_text,
    nothing,
    patch_gguf,
    raw_header,
    remove,
    replace,
    tensor,
    write,
    write_gguf,
)


@dataclass(frozen=True)
class Case:
    """One kind of bad input. The message must match `cause` and, behind it, `way_out`."""

    kind: str
    command: str  # its words; run in the folder of the inputs
    status: int
    damage: Damage
    cause: str
    way_out: str


Row = tuple[str, Damage, str, str]  # kind, damage, cause, way out
UseRow = tuple[str, str, str, str]  # kind, options, cause, way out


def cases(command: str, rows: list[Row]) -> list[Case]:
    """Faults of the input: status 1."""
    return [Case(kind, command, 1, damage, cause, way_out) for kind, damage, cause, way_out in rows]


def uses(status: int, command: str, rows: list[UseRow]) -> list[Case]:
    """Faults of the command line alone."""
    return [Case(kind, f"{command} {options}", status, nothing, cause, way_out)
            for kind, options, cause, way_out in rows]


COMPILE = "rondoc model -o out/old -O0"
COMPILE_GGUF = "rondoc model.gguf -o out/old -O0"
LOWER = "rondoc model.mlir -o out/old -O0"
RUN = "rondo-run model.rondo --tokens=1,2 --logits=out/old"
RUN_FILE = "rondo-run model.rondo --tokens-file=tokens.json --logits=out/old"

Q, NORM, EMBED = "model.layers.0.self_attn.q_proj.weight", "model.norm.weight", "model.embed_tokens.weight"
DEEP = 200_000  # levels; a parser that recurses over them ends the process


INDEX = "model/model.safetensors.index.json"


def sharded(shard: str) -> Damage:
    """The index of a checkpoint that lies in one other file."""
    return both(remove(WEIGHTS), write(INDEX, json.dumps({"weight_map": {"a": shard}})))


# --- rondoc: Hugging Face folders -----------------------------------------------

CONFIGS = cases(COMPILE, [
    ("config absent", remove("model/config.json"), r"cannot read 'model/config\.json'", "No such file"),
    ("config a folder", make_folder("model/config.json"), r"'model/config\.json' is a folder", "expected a file"),
    ("config empty", write("model/config.json", ""), r"config\.json' is not valid JSON", "EOF|end|input"),
    ("config cut", cut("model/config.json", 100), r"config\.json' is not valid JSON", r"\[\d+:\d+"),
    ("config no object", write("model/config.json", "[1]"), r"config\.json' does not hold", "a JSON object"),
    ("config too deep", write("model/config.json", "[" * DEEP), r"config\.json' nests deeper", "than 64 levels"),
    ("config not UTF-8", write("model/config.json", b'{"a": "\xff\xfe"}'), r"config\.json' is not", "UTF-8"),
    ("config key twice", replace("model/config.json", b"{", b'{"vocab_size": 40, '), "repeats the key",
     "'vocab_size'"),
    ("config key missing", config(rms_norm_eps=None), "required key 'rms_norm_eps' is missing", "add the model's"),
    ("config key unknown", config(sliding_window=4096), "key 'sliding_window' has the value 4096",
     "expected it to be absent"),
    ("family unknown", config(model_type="mamba"), "'model_type' is 'mamba'", "known: llama"),
    ("class unknown", config(architectures=["LlamaForSequenceClassification"]), "'architectures' is",
     "expected 'LlamaForCausalLM'"),
    ("activation unknown", config(hidden_act="gelu"), "activation 'gelu' of 'hidden_act'", "known: silu"),
    ("heads odd", config(num_key_value_heads=3), "'num_attention_heads' is 4", "expected a multiple of .* 3"),
    ("heads no divisor", config(num_attention_heads=3, num_key_value_heads=3, head_dim=None),
     "required key 'head_dim' is missing", "64 is not a multiple of 3 heads"),
    ("head dimension odd", config(head_dim=15), "'head_dim' is 15", "rope needs an even number"),
    ("size negative", config(hidden_size=-64), "'hidden_size' has the value -64", "expected an integer from 1"),
    ("size zero", config(num_hidden_layers=0), "'num_hidden_layers' has the value 0", "expected an integer from 1"),
    ("size fraction", config(num_hidden_layers=1.5), "'num_hidden_layers' has the value 1.5", "expected an integer"),
    ("size text", config(vocab_size="40"), "'vocab_size' has the value \"?'?40", "expected an integer"),
    ("size overflows", config(intermediate_size=2**64), "'intermediate_size' has the value 18446744073709551616|1.8",
     "expected an integer from 1 to"),
    ("size product overflows", config(vocab_size=2**24, hidden_size=2**20, head_dim=16),
     r"tensor 'model\.embed_tokens\.weight'", r"asks for \[16777216, 1048576\]"),
    ("layers more than tensors", config(num_hidden_layers=65535), "tensor 'model.layers.1", "is missing"),
    ("number not finite", replace("model/config.json", b"1e-05", b"NaN"), r"config\.json' is not valid JSON",
     r"\[\d+:\d+"),
    ("number not positive", config(rope_theta=-1.0), "'rope_theta' has the value -1", "expected a number above 0"),
    ("rope scaling unknown", config(rope_scaling={"rope_type": "spiral", "factor": 2.0}), "'spiral'",
     "known: .*linear"),
    ("vocabulary other than table", config(vocab_size=41), f"'{EMBED}'", r"\[41, 64\]"),
    ("stop token no id", config(eos_token_id="</s>"), "'eos_token_id' has the value \"</s>\"", "expected token ids"),
    ("tokenizer not UTF-8", write("model/tokenizer.json", b"ab\xff"), r"tokenizer\.json' is not UTF-8", "at byte 2"),
    ("training recipe with routers alone", write("model/train_config.yaml", "mor: {enable: true}"),
     "'mor' is enabled without 'recursive'", "expected both or none"),
    ("routers without a training recipe", config(architectures=["MoRLlamaForCausalLM"]),
     "'architectures' is of a model with a router", "add that file"),
    ("training recipe no YAML", write("model/train_config.yaml", "a: ["), r"train_config\.yaml' is not the YAML",
     "take the file"),
    ("adapter of another kind", write("model/adapter_config.json", '{"peft_type": "IA3"}'), "'peft_type' is 'IA3'",
     "merge others"),
])

SAFETENSORS = cases(COMPILE, [
    ("weights absent", remove(WEIGHTS), r"'model' has no \*\.safetensors file", "convert the weights"),
    ("weights empty", write(WEIGHTS, b""), r"model\.safetensors' is not a safetensors file", "0 bytes"),
    ("weights shorter than length", write(WEIGHTS, b"1234567"), "is not a safetensors file", "7 bytes"),
    ("header past end", raw_header(b"{}", 3), "is truncated", "a header of 3 bytes in a file of 10"),
    ("header length overflows", raw_header(b"{}", 2**64 - 1), "is truncated", "header of 18446744073709551615"),
    ("header no JSON", raw_header(b'{"a"'), r"model\.safetensors' .*is not valid JSON", "write it again"),
    ("header not UTF-8", raw_header(b'{"\xff": 1}'), r"model\.safetensors' ", "UTF-8"),
    ("header too deep", raw_header(b"[" * DEEP), r"model\.safetensors' .*nests deeper", "than 64 levels"),
    ("header key twice", replace(WEIGHTS, b'"model.norm.weight"', b'"%s"' % EMBED.encode()),
     "repeats the key", f"'{EMBED}'"),
    ("metadata no text", edit_header(lambda h: h.update(__metadata__={"a": 1})), "'__metadata__' entry 'a'",
     "not a string"),
    ("data cut", cut(WEIGHTS, -100), "has a malformed tensor", r"is not within the \d+ bytes of data"),
    ("data surplus", change(WEIGHTS, lambda data: data + b"\0" * 5), "has 5 bytes after", "the last tensor"),
    ("shape negative", tensor(Q, shape=[-64, 64]), f"malformed tensor '{Q}'", "dimension -64"),
    ("shape fraction", tensor(Q, shape=[64.5, 64]), f"malformed tensor '{Q}'", "dimension 64.5"),
    ("shape overflows", tensor(Q, shape=[2**32, 2**32]), f"malformed tensor '{Q}'", "overflows"),
    ("shape wrong size", tensor(Q, shape=[64, 65]), f"malformed tensor '{Q}'", r"shape \[64, 65\] takes 16640 bytes"),
    ("shape other rank", tensor(Q, shape=[64 * 64]), f"'{Q}'", r"expected.*\[64, 64\]|\[64, 64\]"),
    ("type unknown", tensor(Q, dtype="Q4"), f"malformed tensor '{Q}'", "unknown dtype 'Q4'"),
    ("type of no matrix", tensor(Q, dtype="F64", shape=[64, 32]), f"'{Q}'", r"\[64, 64\]|known: F32"),
    ("type of no vector", tensor(NORM, dtype="I32"), f"'{NORM}' .*has type I32", "known: F32, F16, BF16"),
    ("offsets overlap", edit_header(lambda h: h[Q].update(data_offsets=[n - 64 for n in h[Q]["data_offsets"]])),
     "malformed tensor", "inside another tensor"),
    ("offsets reversed", edit_header(lambda h: h[Q]["data_offsets"].reverse()), f"malformed tensor '{Q}'",
     "is not within"),
    ("offsets past end", tensor(Q, data_offsets=[10**9, 10**9 + 16384]), f"malformed tensor '{Q}'", "is not within"),
    ("offsets negative", tensor(Q, data_offsets=[-16384, 0]), f"malformed tensor '{Q}'", "not two numbers"),
    ("offsets overflow", tensor(Q, data_offsets=[2**64 - 16384, 2**64]), f"malformed tensor '{Q}'",
     "not two numbers|is not within"),
    ("offsets three", tensor(Q, data_offsets=[0, 8, 16]), f"malformed tensor '{Q}'", "not two numbers"),
    ("entry field unknown", tensor(Q, stride=1), f"malformed tensor '{Q}'", "expected 'dtype', 'shape' and"),
    ("entry field missing", edit_header(lambda h: h[Q].pop("shape")), f"malformed tensor '{Q}'", "expected 'dtype'"),
    ("tensor renamed", edit_header(lambda h: h.update({"other": h.pop(Q)})), f"tensor '{Q}' of shape", "is missing"),
    ("tensor surplus", edit_header(lambda h: h.update(
        {"extra": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}})), "has no place for", "'extra'"),
    ("tensors hidden", config(num_hidden_layers=1, tie_word_embeddings=False), "'lm_head.weight'", "is missing"),
    ("index cut", both(remove(WEIGHTS), write(INDEX, '{"weight_map": {')), r"index\.json' is not valid JSON",
     r"\[\d+:\d+"),
    ("shard absent", sharded("b.safetensors"), r"cannot read 'model/b\.safetensors'", "No such file"),
    ("shard outside", sharded("../b"), r"maps 'a' to \"\.\./b\"", "expected the name of a file beside it"),
    ("two files, no index", both(remove(WEIGHTS), write("model/a.safetensors", b""), write("model/b.safetensors", b"")),
     "has 2 .*files but no",
     r"'model\.safetensors\.index\.json'"),
])


# --- rondoc: GGUF ---------------------------------------------------------------


def key_of(name: str) -> bytes:
    return name.encode()


GGUF = cases(COMPILE_GGUF, [
    ("GGUF empty", write("model.gguf", b""), r"'model\.gguf' is ", "not a GGUF file|truncated"),
    ("GGUF other magic", patch_gguf(b"", 0, b"GGML"), r"'model\.gguf' is not", "a GGUF file"),
    ("GGUF old version", write_gguf("--version", "1"), "has version 1", "versions 2 and 3"),
    ("GGUF big-endian", write_gguf("--version", str(3 << 24)), r"big-endian\?", "little-endian, can be read"),
    ("GGUF cut in header", cut("model.gguf", 20), r"'model\.gguf' is truncated", "in its header"),
    ("GGUF cut in metadata", cut("model.gguf", 300), r"'model\.gguf' is truncated", "in its metadata"),
    ("GGUF cut in data", cut("model.gguf", -100), r"'model\.gguf' is truncated", r"ends past the \d+ bytes"),
    ("GGUF tensor count overflows", patch_gguf(b"GGUF", 4, b"\xff" * 8), r"'model\.gguf' has tensor ''", "download or convert it again"),
    ("GGUF key count overflows", patch_gguf(b"GGUF", 12, b"\xff" * 8), r"'model\.gguf' ", "truncated|metadata"),
    ("GGUF text length overflows", patch_gguf(key_of("general.name"), 4, b"\xff" * 8), "is truncated in metadata",
     "'general.name'"),
    ("GGUF array length overflows", patch_gguf(key_of("tokenizer.ggml.merges"), 8, b"\xff" * 8),
     "is truncated in metadata", "'tokenizer.ggml.merges'"),
    ("GGUF value type unknown", patch_gguf(key_of("llama.block_count"), 0, b"\x63\0\0\0"), "'llama.block_count'",
     "99"),
    ("GGUF array in array", patch_gguf(key_of("tokenizer.ggml.merges"), 4, b"\x09\0\0\0"),
     "'tokenizer.ggml.merges'", "array"),
    ("GGUF key missing", write_gguf("--unset", "llama.block_count"), "'llama.block_count' is missing", "add the model"),
    ("GGUF key unknown", write_gguf("--set", "llama.attention.sliding_window", "u32=128"),
     "'llama.attention.sliding_window' has the value 128", "expected it to be absent"),
    ("GGUF family unknown", write_gguf("--family", "mamba"), "architecture 'mamba'", "known: llama"),
    ("GGUF heads odd", write_gguf("--set", "llama.attention.head_count_kv", "u32=3"), "'attention.head_count' is 4",
     "expected a multiple of"),
    ("GGUF size negative", write_gguf("--set", "llama.embedding_length", "i32=-64"),
     "'llama.embedding_length' has the value -64", "expected an integer from 1"),
    ("GGUF number not finite", write_gguf("--set", "llama.rope.freq_base", "f32=NaN"),
     "'llama.rope.freq_base' has the value nan", "expected a number above 0"),
    ("GGUF alignment", write_gguf("--set", "general.alignment", "u32=24"), "'general.alignment' 24",
     "expected a power of two"),
    ("GGUF parts", write_gguf("--set", "split.count", "u32=2"), "is one of 2 parts", "merge them"),
    ("GGUF vocabulary", write_gguf("--set", "llama.vocab_size", "u32=41"), "'vocab_size' is 41",
     "the embedding has 40 rows"),
    ("GGUF tensor missing", write_gguf("--drop", "blk.0.ffn_up.weight"), r"'blk\.0\.ffn_up\.weight'", "is missing"),
    ("GGUF tensor surplus", write_gguf("--add", "extra", "[32]"), "has no place for", "'extra'"),
    ("GGUF tensor type", write_gguf("--type", "ffn_up", "Q5_0"), "has type Q5_0", "known: F32"),
    ("GGUF tensor type unknown", patch_gguf(key_of("blk.0.attn_q.weight"), 20, b"\x7f\0\0\0"),
     r"'blk\.0\.attn_q\.weight'", "127"),
    ("GGUF rank", write_gguf("--add", "odd", "[1, 1, 1, 1, 1]"), "'odd' of rank 5", "convert it again"),
    ("GGUF rank overflows", patch_gguf(key_of("blk.0.attn_q.weight"), 0, b"\xff" * 4),
     r"'blk\.0\.attn_q\.weight' of rank", "4294967295"),
    ("GGUF shape zero", patch_gguf(key_of("blk.0.attn_q.weight"), 4, bytes(8)),
     r"'blk\.0\.attn_k\.weight' at byte \d+", "expected"),
    ("GGUF shape overflows", patch_gguf(key_of("blk.0.attn_q.weight"), 4, b"\xff" * 16), r"'blk\.0\.attn_q\.weight'",
     "overflow|past|dimension|shape"),
    ("GGUF blocks not whole", write_gguf("--add", "odd", "[2, 33]", "--type", "odd", "Q8_0"), r"'odd' of shape",
     "not whole Q8_0 blocks of 32"),
    ("GGUF offset", patch_gguf(key_of("blk.0.attn_q.weight"), 24, b"\x40" + bytes(7)),
     r"'blk\.0\.attn_q\.weight' at byte 64", "expected"),
    ("GGUF offset overflows", patch_gguf(key_of("blk.0.attn_q.weight"), 24, b"\xff" * 8),
     r"'blk\.0\.attn_q\.weight' at byte", "expected"),
])


# --- rondoc: modules ------------------------------------------------------------

ARCHIVES = b"rondo.archives = ["

MODULES = cases(LOWER, [
    ("module empty", write("model.mlir", ""), r"'model\.mlir' holds no model", "give a module"),
    ("module cut", cut("model.mlir", -40), r"model\.mlir:\d+:\d+: ", "expected"),
    ("module binary", write("model.mlir", bytes(range(256)) * 8), r"model\.mlir:\d+:\d+: ", "unexpected character"),
    ("module bytecode", write("model.mlir", b"ML\xefR\x06" + b"\xff" * 40), r"'model\.mlir' is MLIR bytecode",
     "give a module as text"),
    ("module too deep", write("model.mlir", "module {" * DEEP), r"'model\.mlir' nests deeper", "give a module"),
    ("attribute too deep", write("model.mlir", "module attributes {a = " + "[" * DEEP), "nests deeper",
     "give a module"),
    ("type too deep", write("model.mlir", "func.func private @f(" + "tuple<" * DEEP), "nests deeper", "give a module"),
    ("operation unknown", replace("model.mlir", b"rondo.norm rms", b"rondo.norn rms"), r"model\.mlir:\d+:\d+: ",
     "rondo.norn"),
    ("dialect unknown", write("model.mlir", '"tosa.add"() : () -> ()'), r"model\.mlir:1:\d+: ", "unregistered dialect"),
    ("shape negative in module", replace("model.mlir", b"tensor<64x64xf32>", b"tensor<64x-4xf32>"),
     r"model\.mlir:\d+:\d+: ", "expected"),
    ("shape other than stored", replace("model.mlir", b"tensor<40x64xf32>", b"tensor<40x32xf32>"),
     r"model\.mlir:\d+:\d+: |parameter 'embed'", "expected|declared|stored"),
    ("parameter unknown", replace("model.mlir", b"rondo.param @final_norm", b"rondo.param @last_norm"),
     r"model\.mlir:\d+:\d+: ", "final_norm"),
    ("phase unknown", replace("model.mlir", b'rondo.phase = "input"', b'rondo.phase = "solid"'),
     r"model\.mlir:1:1: attribute 'rondo.phase'", "expected the name of a phase"),
    ("phase untrue", replace("model.mlir", b'rondo.phase = "input"', b'rondo.phase = "buffers"'),
     r"model\.mlir:\d+:\d+: ", "buffers|phase"),
    ("options malformed", replace("model.mlir", b"rows = 8 : i64", b'rows = "x"'), "'rondo.options' has no valid 'rows'",
     'got "x"'),
    ("archive absent", replace("model.mlir", b"model.safetensors\"}]", b"gone.safetensors\"}]"),
     "archive 'model.safetensors' of the module: cannot read", "say where it is with --archive"),
    ("archive changed", both(change(WEIGHTS, lambda data: data[:-1] + b"\x55"),
                             replace("model.mlir", b'path = "', b'path = "gone')), "cannot read", "--archive"),
    ("archive record malformed", replace("model.mlir", b'name = "model.safetensors", ', b""),
     "entry of 'rondo.archives'", "without a name"),
]) + [
    Case("archive other", f"{LOWER} --archive={WEIGHTS}", 1, change(WEIGHTS, lambda data: data[:-1] + b"\x55"),
         "has the hash", "give the right file with --archive"),
    Case("weights under another name", "rondoc weights -o out/old", 1,
         lambda folder: (folder / "weights").write_bytes((folder / WEIGHTS).read_bytes()),
         "'weights' is a safetensors file", "give the folder"),
    Case("standard input empty", "rondoc - -o out/old", 1, nothing, "holds no model", "give a module"),
    Case("standard output full", "rondoc model -o - --compile-to=input > /dev/full", 1, nothing,
         "cannot write standard output", "redirect it elsewhere"),
    Case("standard output of check full", "rondoc model --check > /dev/full", 1, nothing,
         "cannot write standard output", "redirect it elsewhere"),
]


# --- rondoc: options and outputs --------------------------------------------------

OPTIONS = uses(1, COMPILE, [
    ("loop past last layer", "--loop=0:7:2", "loop 0:7:2", "within layers 0 to 0"),
    ("loop reversed", "--loop=3:0:2", "loop 3:0:2", "within layers 0 to 0"),
    ("policy unknown", "--kv-policy=mine", "'mine' is not a KV policy", "known: per-depth"),
    ("routing of a plain model", "--routing=causal", "--routing is for models with a router", "leave it out"),
    ("archive of a checkpoint", "--archive=x", "--archive is for a module", "has its parameters"),
    ("phase of a checkpoint", "--compile-from=step", "--compile-from=step is for a module", "is a checkpoint"),
    ("dumps below a file", "--dump-phases=tokens.json/a", "cannot make folder 'tokens.json/a'", "give another folder"),
    ("temporaries below a file", "--save-temps=tokens.json/a", "cannot make folder", "give another folder"),
]) + uses(1, LOWER, [
    ("option against a dump", "--context=32", f"made with --context={CONTEXT}", "leave the option out"),
    ("loop of a module", "--loop=0:0:2", "--loop, --kv-policy and --routing change the import",
     "has its schedule"),
    ("routing of a module", "--routing=causal", "--loop, --kv-policy and --routing change the import",
     "has its schedule"),
]) + uses(1, "rondoc", [
    ("input absent", "gone -o out/old --dump-phases=out/dumps --save-temps=out/temps", "no file or folder 'gone'",
     "give a model folder"),
    ("input a weights file", f"{WEIGHTS} -o out/old", "holds weights only", "give the folder"),
    ("input no model", "tokens.json -o out/old", r"'tokens\.json' is JSON", "give the folder"),
    ("input a bundle", "model.rondo -o out/old", r"'model\.rondo' is a compiled bundle", "give the checkpoint"),
    ("input behind phase", "step.mlir -o out/old --compile-to=input", "is at phase 'step'", "behind --compile-to"),
    ("check behind phase", "step.mlir --check", "--check reads a model", "is at phase 'step'"),
    ("output folder absent", "model -o gone/old", "cannot write 'gone/old'", "there is no folder 'gone'"),
    ("output a folder", "model -o out", "cannot write 'out'", "give a file name"),
    ("output below a file", "model -o out/old/x", "cannot write 'out/old/x'", "there is no folder 'out/old'"),
    ("output a device", "model -o /dev/null", "cannot write '/dev/null'", "not a regular file"),
    ("output name too long", f"model -O0 -o out/{'x' * 300}", "cannot write 'out/xxx", "too long"),
]) + [
    Case("output a pipe", "rondoc model -o out/pipe", 1, make_fifo("out/pipe"), "cannot write 'out/pipe'",
         "not a regular file"),
    Case("symbols a folder", f"{COMPILE} --perf-map", 1, make_folder("out/old.map"), r"cannot write 'out/old\.map'",
         "give a file name"),
] + uses(2, COMPILE, [
    ("option unknown", "--no-such-option", "--no-such-option", "rondoc --help"),
    ("option misspelt", "--contxt=9", "--contxt=9", "rondoc --help"),
    ("option without value", "--kv=", "--kv", "rondoc --help"),
    ("option twice", "--context=8 --context=9", "--context", "rondoc --help"),
    ("input twice", "model.gguf", r"model\.gguf", "rondoc --help"),
    ("size zero given", "--rows=0", "--rows", "range|[1-9]"),
    ("size negative given", "--sequences=-1", "--sequences", "range|[1-9]"),
    ("size overflows given", "--context=99999999999999999999", "--context", "range|[1-9]"),
    ("size no number", "--context=many", "--context", "many"),
    ("level unknown", "-O4", "-O", "4"),
    ("target unknown", "--target=gpu", "unknown target 'gpu'", "use cpu"),
    ("CPU unknown", "--target=cpu:i386x", "unknown CPU 'i386x'", "use cpu:native"),
    ("CPU too old", "--target=cpu:nehalem", "CPU 'nehalem' is below x86-64-v3", "name a newer one"),
    ("target of another version", "--target=nvptx:sm_80", "'nvptx:sm_80' is not in this version", "use --target"),
    ("storage unknown", "--weights=q5_0", "wrong --weights item 'q5_0'", "write one of keep"),
    ("storage of an unknown part", "--weights=tail=f16", "wrong --weights item 'tail=f16'", "write one of keep"),
    ("loop malformed", "--loop=1:2", "got '1:2'", "rondoc --help"),
    ("loop overflows", "--loop=0:0:99999999999999999999", "expected FIRST:LAST:TIMES", "rondoc --help"),
    ("regular expression", "--remarks=(", "wrong regular expression in --remarks", "rondoc --help"),
    ("phase unknown given", "--compile-to=solid", "--compile-to", "solid"),
    ("policy forced without one", "--force-kv-policy", "--force-kv-policy needs", "--kv-policy=NAME"),
]) + uses(2, "rondoc", [
    ("nothing to compile", "-o out/old", "no input", "give a model folder"),
    ("nowhere to write", "model", "no output", "name a file with -o"),
    ("bundle to standard output", "model -o -", "cannot be written to standard output", "name a file"),
])


# --- rondo-run: bundles -----------------------------------------------------------

AGAIN = "copy or compile the bundle again"
FOREIGN = "compile a checkpoint with rondoc and give its bundle"

BUNDLES = cases(RUN, [
    ("bundle absent", remove("model.rondo"), r"cannot open 'model\.rondo'", "No such file"),
    ("bundle a folder", make_folder("model.rondo"), r"cannot load 'model\.rondo'", "give the path of a .rondo"),
    ("bundle empty", write("model.rondo", b""), r"cannot load 'model\.rondo'", "the file is empty"),
    ("bundle text", write("model.rondo", "not a bundle at all"), "does not begin as a bundle does", FOREIGN),
    ("bundle cut in header", cut("model.rondo", 1000), "header length", AGAIN),
    ("bundle cut in data", cut("model.rondo", -1), "the manifest needs", AGAIN),
    ("bundle surplus", change("model.rondo", lambda data: data + b"\0"), "the manifest needs", AGAIN),
    ("bundle a checkpoint", lambda folder: (folder / "model.rondo").write_bytes((folder / WEIGHTS).read_bytes()),
     "no bundle", FOREIGN),
    ("bundle a GGUF", lambda folder: (folder / "model.rondo").write_bytes((folder / "model.gguf").read_bytes()),
     "this is a GGUF checkpoint", FOREIGN),
    ("manifest changed", replace("model.rondo", b"per-depth", b"per-dEpth"), "manifest does not match its hash", AGAIN),
    ("manifest no JSON", manifest_text("{"), "manifest is not valid JSON", AGAIN),
    ("manifest too deep", manifest_text("[" * DEEP + "]" * DEEP), "manifest is malformed", "nested deeper than 16"),
    ("manifest key unknown", edit_manifest(lambda m: m.update(colour="red")), "'manifest.*colour|unknown key",
     "colour|unknown"),
    ("manifest key missing", edit_manifest(lambda m: m.pop("context")), "'manifest.context'", "missing|integer"),
    ("manifest number negative", edit_manifest(lambda m: m.update(rows=-1)), "'manifest.rows'", "not negative, got -1; .*again"),
    ("manifest number overflows", edit_manifest(lambda m: m.update(vocabulary=2**64 - 1)), "'manifest.vocabulary'",
     r"must be in \[1, \d+\]"),
    ("manifest page too small", edit_manifest(lambda m: m["kv"].update(page_bytes=64)), "'manifest.kv.page_bytes'",
     "which need"),
    ("bundle of another version", edit_manifest(lambda m: m.update(format=2)), "format 2", "compile the model again"),
    ("bundle of another ABI", edit_manifest(lambda m: m.update(abi=99)), "ABI 99", "compile the model again"),
    ("bundle for a GPU", edit_manifest(lambda m: m["target"].update(kind="nvptx")), "target 'nvptx'",
     "compile with --target=cpu"),
    ("tensor offsets overlap", edit_manifest(lambda m: m["tensors"][1].update(offset=0)), "overlaps", AGAIN),
    ("tensor offset overflows", edit_manifest(lambda m: m["tensors"][-1].update(offset=2**48)), "manifest", AGAIN),
    ("tensor unknown", edit_manifest(lambda m: m["tensors"][0].update(name="code.gpu")), "'code.gpu'", AGAIN),
    ("tensor missing", edit_manifest(lambda m: m["tensors"].pop(1)), "tensor|schedule", AGAIN),
    ("tensor twice", edit_manifest(lambda m: m["tensors"].insert(1, m["tensors"][1])), "out of order|overlaps|name",
     AGAIN),
    ("code magic", edit_tensor("code.cpu", 0, b"ELF!"), "code image has magic", "expected"),
    ("code for another CPU", edit_tensor("code.cpu", 8, b"\xff" * 8), "needs a CPU with", "compile with --target=cpu"),
    ("code entry outside", edit_tensor("code.cpu", 32, b"\xf0" + b"\xff" * 7), "entry points", "of the manifest"),
    ("code changed", change("model.rondo", lambda data: data.replace(b"\xc3", b"\xc2")), "tensor 'code.cpu'|hash",
     AGAIN),
    ("schedule body outside", edit_tensor("schedule.executions", 0, b"\xff\xff"), "names body 65535",
     "which the manifest lacks"),
    ("schedule slot outside", edit_tensor("schedule.executions", 6, b"\xff\xff"), "slot 65535",
     "which the manifest lacks"),
]) + [
    Case("weights changed", "rondo-run model.rondo --verify", 1,
         change("model.rondo", lambda data: data[:-1] + bytes([data[-1] ^ 1])), "does not match its hash", AGAIN),
    Case("described bundle cut", "rondo-run model.rondo --describe=json", 1, cut("model.rondo", -1),
         "the manifest needs", AGAIN),
]


# --- rondo-run: tokens, options, outputs --------------------------------------------


def tokens(value: object) -> Damage:
    return write("tokens.json", json.dumps(value))


TOKENS = cases(RUN_FILE, [
    ("tokens absent", remove("tokens.json"), r"cannot read 'tokens\.json'", "give a readable file"),
    ("tokens a folder", make_folder("tokens.json"), r"cannot read 'tokens\.json'", "give a readable file"),
    ("tokens cut", write("tokens.json", '{"sequences": [[1'), r"'tokens\.json' is not valid JSON", "column"),
    ("tokens not UTF-8", write("tokens.json", b'{"sequences": [["\xff"]]}'), "is not valid JSON", "UTF-8"),
    ("tokens no object", tokens([1, 2]), r"'tokens\.json' must be", r"\{\"sequences\": \[\[\.\.\.\]"),
    ("tokens no sequences", tokens({"sequences": []}), r"'tokens\.json' must be", "at least one sequence"),
    ("tokens no array", tokens({"sequences": [7]}), r"sequences\[0\] must be an array of token ids", "got 7"),
    ("tokens key unknown", tokens({"sequences": [[1]], "sequence": 1}), "unknown key 'sequence'", "only 'sequences'"),
    ("tokens key of another model", tokens({"sequences": [[1]], "prefix_lengths": [1]}), "gives 'prefix_lengths'",
     "remove it"),
    ("depths of none", tokens({"sequences": [[1]], "num_steps": [0]}), "num_steps must be numbers of visits", "at least 1"),
    ("depths of a fixed model", tokens({"sequences": [[1]], "num_steps": [2]}), "num_steps: .*visits every layer once",
     "leave the depth out"),
    ("token negative", tokens({"sequences": [[1], [2, -1]]}), r"sequences\[1\]\[1\] must be a token id", "got -1"),
    ("token fraction", tokens({"sequences": [[1.5]]}), r"sequences\[0\]\[0\] must be a token id", "got 1.5"),
    ("token text", tokens({"sequences": [["a"]]}), "must be a token id", 'got "a"'),
    ("token overflows", tokens({"sequences": [[2**70]]}), "must be a token id", "got 1.18"),
    ("token too deep", write("tokens.json", '{"sequences":[' + "[" * DEEP + "]" * DEEP + "]}"),
     "must be a token id", "got an array"),
    ("token past vocabulary", tokens({"sequences": [[1], [VOCABULARY]]}),
     f"sequence 1: token {VOCABULARY} at position 0 is outside the vocabulary", "use the tokenizer"),
    ("sequence empty", tokens({"sequences": [[1], []]}), "sequence 1 has no tokens", "at least one"),
    ("prompt past context", tokens({"sequences": [[1] * (CONTEXT + 1)]}), f"context of {CONTEXT + 1}",
     f"compile with --context={CONTEXT + 1}"),
])

RUN_OPTIONS = uses(1, RUN, [
    ("generation past context", f"--generate={CONTEXT}", f"the bundle has {CONTEXT}", "ask for fewer"),
    ("stop token past vocabulary", "--stop=999", "--stop: token 999 is outside", "leave it out"),
    ("threads too many", "--threads=4294967295", "4294967295 threads", "at most"),
    ("device absent", "--device=cuda:1", "--device=cuda:1", "leave the option out"),
    ("depth of a fixed model", "--depth=2", "--depth: .*visits every layer once", "leave the depth out"),
    ("exit of a fixed model", "--exit=gate:0.5", "--exit: a bundle has the exit rule that it was compiled with", "leave the option out"),
    ("inputs absent", "--inputs=gone", r"cannot read 'gone'", "give a readable file"),
    ("inputs no tensors", "--inputs=tokens.json", r"--inputs: 'tokens\.json' is not a safetensors file", "write one"),
    ("inputs of a plain model", "--inputs=model/model.safetensors",
     r"--inputs: 'model/model\.safetensors': model takes no input 'model\.", "leave the others out"),
    ("trace not compiled", "--trace=out/trace", "keeps no trace", "compile with --trace-points"),
]) + uses(1, "rondo-run model.rondo", [
    ("bench past context", "--bench=prefill:1000", "needs 1000 positions", "measure fewer or compile with"),
    ("bench batch too large", "--bench=decode:4,batch:9", "batch of 9", "measure a smaller one or compile with"),
    ("logits folder absent", "--tokens=1 --logits=gone/x", "cannot write 'gone/x'", "give another file"),
    ("logits a folder", "--tokens=1 --logits=out", "cannot write 'out': it is a folder", "give another file"),
    ("logits below a file", "--tokens=1 --logits=out/old/x", "cannot write 'out/old/x'", "give another file"),
    ("logits a device", "--tokens=1 --logits=/dev/null", "cannot write '/dev/null': it is not a regular file",
     "give another file"),
    ("logits name too long", f"--tokens=1 --logits=out/{'x' * 300}", "cannot write 'out/xxx", "give another file"),
    ("standard output of run full", "--tokens=1 --generate=2 > /dev/full", "cannot write standard output",
     "redirect it elsewhere"),
    ("description to full disk", "--describe=json > /dev/full", "cannot write standard output",
     "redirect it elsewhere"),
]) + [
    Case("logits a pipe", "rondo-run model.rondo --tokens=1 --logits=out/pipe", 1, make_fifo("out/pipe"),
         "cannot write 'out/pipe': it is not a regular file", "give another file"),
] + uses(2, RUN, [
    ("run option unknown", "--no-such-option", "--no-such-option", "--help lists"),
    ("tokens twice", "--tokens-file=tokens.json", "--tokens", "--help lists"),
    ("temperature negative", "--temperature=-1", "--temperature", "must be finite and not negative"),
    ("temperature not finite", "--temperature=nan", "--temperature", "must be finite and not negative"),
    ("nucleus empty", "--top-p=0", "--top-p", "must be above 0 and at most 1"),
    ("best negative", "--top-k=-1", "--top-k", "--help lists"),
    ("seed negative", "--seed=-1", "--seed", "--help lists"),
    ("generation overflows", "--generate=99999999999", "--generate", "--help lists"),
    ("chunk zero", "--chunk=0", "--chunk", "--help lists"),
    ("threads zero", "--threads=0", "--threads", "--help lists"),
    ("batch unknown", "--batch=two", "--batch", "--help lists"),
    ("output form unknown", "--output=yaml", "--output", "--help lists"),
    ("stop no id", "--stop=1,x", "--stop: 'x' is not a token id", "give ids such as"),
    ("trace and logits one file", "--trace=out/old", "--trace: 'out/old' would overwrite --logits 'out/old'", "give another file"),
]) + uses(2, "rondo-run", [
    ("no bundle given", "--tokens=1", "model is required", "--help lists"),
    ("value empty", "model.rondo --tokens= --generate=3", "--tokens has an empty value", "leave the option out"),
    ("device unknown", "model.rondo --tokens=1 --device=gpu", "unknown device 'gpu'", "use cpu"),
    ("nothing to run", "model.rondo", "nothing to do", "give --tokens"),
    ("token no number", "model.rondo --tokens=1,x", "--tokens: 'x' is not a token id", "give ids such as"),
    ("token number overflows", "model.rondo --tokens=4294967296", "'4294967296' is not a token id", "give ids"),
    ("bench part unknown", "model.rondo --bench=speed:1", "unknown part 'speed'", "use prefill:P"),
    ("bench of nothing", "model.rondo --bench=batch:1", "nothing to measure", "give prefill:P"),
    ("description form unknown", "model.rondo --describe=xml", "--describe", "--help lists"),
])

CASES = [*CONFIGS, *SAFETENSORS, *GGUF, *MODULES, *OPTIONS, *BUNDLES, *TOKENS, *RUN_OPTIONS]
