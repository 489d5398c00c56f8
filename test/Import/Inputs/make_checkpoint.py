# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Writes tiny checkpoints for the tests of the importers: a Hugging Face folder or a GGUF file.

Standard library only. Each option changes one thing about a valid checkpoint, so that a test shows what it is about.
"""

import argparse
import json
import random
import struct
from pathlib import Path

HIDDEN, WIDTH, HEADS, KV_HEADS, HEAD_DIM, VOCABULARY = 64, 96, 4, 2, 32, 40
ELEMENT_BYTES = {"F32": 4, "F16": 2, "BF16": 2, "F64": 8, "I64": 8}
# GGUF: number of the type, weights in a block, bytes of a block.
GGUF_TYPES = {
    "F32": (0, 1, 4), "F16": (1, 1, 2), "Q4_0": (2, 32, 18), "Q4_1": (3, 32, 20), "Q8_0": (8, 32, 34),
    "Q5_0": (6, 32, 22), "BF16": (30, 1, 2),
}  # fmt: skip
UINT32, INT32, FLOAT32, BOOL, STRING, ARRAY = 4, 5, 6, 7, 8, 9


def config(family: str, layers: int) -> dict:
    """A config.json in the style of transformers 4."""
    values = {
        "architectures": ["LlamaForCausalLM" if family == "llama" else "NanbeigeForCausalLM"],
        "attention_bias": False, "bos_token_id": 1, "eos_token_id": 2, "head_dim": HEAD_DIM, "hidden_act": "silu",
        "hidden_size": HIDDEN, "intermediate_size": WIDTH, "max_position_embeddings": 128, "mlp_bias": False,
        "model_type": family, "num_attention_heads": HEADS, "num_hidden_layers": layers,
        "num_key_value_heads": KV_HEADS, "rms_norm_eps": 1e-5, "rope_scaling": None, "rope_theta": 10000.0,
        "tie_word_embeddings": False, "torch_dtype": "bfloat16", "use_cache": True, "vocab_size": VOCABULARY,
    }  # fmt: skip
    if family == "nanbeige":
        values |= {
            "num_loops": 2, "skip_loop_final_norm": False, "loop_loss_weights": [], "num_residual_streams": 4,
            "enable_depth_attention": False,
        }  # fmt: skip
    return values


def shapes(layers: int, gguf: bool, options: argparse.Namespace) -> dict:
    """Keys and shapes of all tensors, in the order of a file."""
    names = {
        "table": "token_embd", "norm": "output_norm", "head": "output", "layer": "blk.{}.", "n1": "attn_norm",
        "q": "attn_q", "k": "attn_k", "v": "attn_v", "o": "attn_output", "n2": "ffn_norm", "gate": "ffn_gate",
        "up": "ffn_up", "down": "ffn_down",
    } if gguf else {
        "table": "model.embed_tokens", "norm": "model.norm", "head": "lm_head", "layer": "model.layers.{}.",
        "n1": "input_layernorm", "q": "self_attn.q_proj", "k": "self_attn.k_proj", "v": "self_attn.v_proj",
        "o": "self_attn.o_proj", "n2": "post_attention_layernorm", "gate": "mlp.gate_proj", "up": "mlp.up_proj",
        "down": "mlp.down_proj",
    }  # fmt: skip
    query, key_value = HEADS * HEAD_DIM, KV_HEADS * HEAD_DIM
    layer = {
        "n1": [HIDDEN], "q": [query, HIDDEN], "k": [key_value, HIDDEN], "v": [key_value, HIDDEN],
        "o": [HIDDEN, query], "n2": [HIDDEN], "gate": [WIDTH, HIDDEN], "up": [WIDTH, HIDDEN], "down": [HIDDEN, WIDTH],
    }  # fmt: skip
    biased = ("q", "k", "v", "o") * options.attention_bias + ("gate", "up", "down") * options.mlp_bias
    result = {names["table"] + ".weight": [VOCABULARY, HIDDEN]}
    for index in range(layers):
        prefix = names["layer"].format(index)
        for role, shape in layer.items():
            result[f"{prefix}{names[role]}.weight"] = shape
            if role in biased:
                result[f"{prefix}{names[role]}.bias"] = shape[:1]
        if options.qk_norm:
            for role in ("q", "k"):
                result[f"{prefix}self_attn.{role}_layernorm.weight"] = [HEAD_DIM]
    result[names["norm"] + ".weight"] = [HIDDEN]
    if not options.tied:
        result[names["head"] + ".weight"] = [VOCABULARY, HIDDEN]
    return result


def type_of(key: str, shape: list, options: argparse.Namespace) -> str:
    """The last --type whose pattern the key contains; vectors of GGUF files are F32."""
    result = "F32" if options.gguf and len(shape) == 1 else options.dtype
    for pattern, name in options.types:
        if pattern in key:
            result = name
    return result


def content(key: str, size: int) -> bytes:
    return random.Random(key).randbytes(size)


def write_safetensors(path: Path, tensors: dict) -> None:
    """`tensors`: key -> (type, shape, bytes)."""
    header, offset = {}, 0
    for key, (name, shape, data) in tensors.items():
        header[key] = {"dtype": name, "shape": shape, "data_offsets": [offset, offset + len(data)]}
        offset += len(data)
    text = json.dumps(header | {"__metadata__": {"format": "pt"}}).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(data for *_, data in tensors.values()))


def write_folder(options: argparse.Namespace) -> None:
    out = options.out
    out.mkdir(parents=True, exist_ok=True)
    values = config(options.family, options.layers)
    values["tie_word_embeddings"] = options.tied
    values["attention_bias"], values["mlp_bias"] = options.attention_bias, options.mlp_bias
    for key, value in options.set:
        values[key] = json.loads(value)
    for key in options.unset:
        del values[key]
    (out / "config.json").write_text(json.dumps(values, indent=2))
    tensors = {}
    for key, shape in tensor_list(options).items():
        name = type_of(key, shape, options)
        count = 1
        for size in shape:
            count *= size
        source = "model.embed_tokens.weight" if key == options.copy_table else key
        tensors[key] = (name, shape, content(source, count * ELEMENT_BYTES[name]))
    write_shards(out, tensors, options.shards)
    for name, text in options.file:
        (out / name).write_text(text)


def write_shards(out: Path, tensors: dict, shards: int) -> None:
    if shards == 1:
        write_safetensors(out / "model.safetensors", tensors)
        return
    weight_map = {}
    for index in range(shards):
        name = f"model-{index + 1:05}-of-{shards:05}.safetensors"
        part = dict(list(tensors.items())[index::shards])
        write_safetensors(out / name, part)
        weight_map |= {key: name for key in part}
    (out / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))


def tensor_list(options: argparse.Namespace) -> dict:
    tensors = shapes(options.layers, options.gguf, options)
    for key in options.drop:
        del tensors[key]
    for key, shape in options.add:
        tensors[key] = json.loads(shape)
    return tensors


def metadata(options: argparse.Namespace) -> dict:
    """key -> (type, value); an array's value is (element type, list)."""
    prefix = options.family + "."
    tokens, merges = vocabulary()
    values = {
        "general.architecture": (STRING, options.family), "general.name": (STRING, "tiny"),
        prefix + "block_count": (UINT32, options.layers), prefix + "context_length": (UINT32, 128),
        prefix + "embedding_length": (UINT32, HIDDEN), prefix + "feed_forward_length": (UINT32, WIDTH),
        prefix + "attention.head_count": (UINT32, HEADS), prefix + "attention.head_count_kv": (UINT32, KV_HEADS),
        prefix + "attention.key_length": (UINT32, HEAD_DIM), prefix + "attention.value_length": (UINT32, HEAD_DIM),
        prefix + "attention.layer_norm_rms_epsilon": (FLOAT32, 1e-5),
        prefix + "rope.dimension_count": (UINT32, HEAD_DIM), prefix + "rope.freq_base": (FLOAT32, 10000.0),
        prefix + "vocab_size": (UINT32, VOCABULARY),
        "tokenizer.ggml.model": (STRING, "gpt2"), "tokenizer.ggml.pre": (STRING, "smollm"),
        "tokenizer.ggml.tokens": (ARRAY, (STRING, tokens)),
        "tokenizer.ggml.token_type": (ARRAY, (INT32, [3, 3, 3, 4] + [1] * (VOCABULARY - 4))),
        "tokenizer.ggml.merges": (ARRAY, (STRING, merges)), "tokenizer.ggml.eos_token_id": (UINT32, 2),
        "tokenizer.ggml.bos_token_id": (UINT32, 1), "tokenizer.chat_template": (STRING, "{{ messages }}"),
    }  # fmt: skip
    if options.family == "nanbeige":
        values |= {prefix + "num_loops": (UINT32, 2), prefix + "skip_loop_final_norm": (BOOL, False)}
    kinds = {"u32": UINT32, "i32": INT32, "f32": FLOAT32, "bool": BOOL, "str": STRING, "strs": ARRAY, "i32s": ARRAY}
    for key, text in options.set:
        kind, value = text.split("=", 1)
        value = json.loads(value)
        if kind in ("strs", "i32s"):
            value = (STRING if kind == "strs" else INT32, value)
        values[key] = (kinds[kind], value)
    for key in options.unset:
        del values[key]
    return values


def vocabulary() -> tuple:
    """Special tokens, letters, and what merges make of them."""
    tokens = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<user>"]
    tokens += [chr(ord("a") + index) for index in range(26)] + ["\u0120", "1", "2", "."]
    merges = [("h", "e"), ("l", "l"), ("he", "ll"), ("hell", "o"), ("\u0120", "a"), ("1", "2")]
    tokens += ["".join(pair) for pair in merges]
    assert len(tokens) == VOCABULARY
    return tokens, [" ".join(pair) for pair in merges]


def pack_text(text: str) -> bytes:
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


def pack_value(kind: int, value) -> bytes:
    if kind == STRING:
        return pack_text(value)
    if kind == ARRAY:
        element, items = value
        return struct.pack("<IQ", element, len(items)) + b"".join(pack_value(element, item) for item in items)
    return struct.pack({UINT32: "<I", INT32: "<i", FLOAT32: "<f", BOOL: "<?"}[kind], value)


def write_gguf(options: argparse.Namespace) -> None:
    values = metadata(options)
    head, offset, parts = b"", 0, []
    tensors = tensor_list(options)
    for key, shape in tensors.items():
        number, block, block_bytes = GGUF_TYPES[type_of(key, shape, options)]
        count = 1
        for size in shape:
            count *= size
        data = content(key, count // block * block_bytes)
        if key == "rope_freqs.weight":
            data = struct.pack(f"<{count}f", *[1.0 + index for index in range(count)])
        data += bytes(-len(data) % 32)
        head += pack_text(key) + struct.pack(f"<I{len(shape)}Q", len(shape), *reversed(shape))
        head += struct.pack("<IQ", number, offset)
        offset += len(data)
        parts.append(data)
    text = b"".join(pack_text(key) + struct.pack("<I", kind) + pack_value(kind, value)
                    for key, (kind, value) in values.items())  # fmt: skip
    start = b"GGUF" + struct.pack("<IQQ", options.version, len(tensors), len(values)) + text + head
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_bytes(start + bytes(-len(start) % 32) + b"".join(parts))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    pair = {"nargs": 2, "action": "append", "default": []}
    parser.add_argument("out", type=Path)
    parser.add_argument("--gguf", action="store_true", help="a GGUF file instead of a folder")
    parser.add_argument("--version", type=int, default=3, help="of a GGUF file")
    parser.add_argument("--family", default="llama")
    parser.add_argument("--layers", type=int, default=3)
    parser.add_argument("--dtype", default="BF16", help="of all tensors")
    parser.add_argument("--type", dest="types", metavar=("PATTERN", "TYPE"), help="of some tensors", **pair)
    parser.add_argument("--tied", action="store_true")
    parser.add_argument("--attention-bias", action="store_true")
    parser.add_argument("--mlp-bias", action="store_true")
    parser.add_argument("--qk-norm", action="store_true")
    parser.add_argument("--copy-table", help="this tensor has the bits of the embedding")
    parser.add_argument("--set", metavar=("KEY", "VALUE"), help="JSON; for GGUF with its type: u32=7", **pair)
    parser.add_argument("--unset", action="append", default=[])
    parser.add_argument("--drop", metavar="TENSOR", action="append", default=[])
    parser.add_argument("--add", metavar=("TENSOR", "SHAPE"), **pair)
    parser.add_argument("--file", metavar=("NAME", "TEXT"), help="another file of the folder", **pair)
    parser.add_argument("--shards", type=int, default=1)
    options = parser.parse_args()
    (write_gguf if options.gguf else write_folder)(options)


if __name__ == "__main__":
    main()
