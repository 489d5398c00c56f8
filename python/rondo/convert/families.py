# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The architectures that can be converted: which tensors a layer has, and what each of them is."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rondo.convert.errors import ConversionError


@dataclass(frozen=True)
class LayerTensor:
    """A tensor of a layer by its name, `<layers>.<layer>.<module>.<field>`."""

    layer: int
    module: str  # self_attn.q_proj
    field: str  # weight or bias


@dataclass(frozen=True)
class Family:
    """Names of a model type; modules without the layer in front."""

    model_type: str
    architecture: str  # of the recursive model, for config.json
    layers: str  # what stands before the layer's number
    matrices: Mapping[str, str]  # name on the command line -> module
    norms: Sequence[str]  # modules
    globals: Sequence[str]  # tensors outside the layers
    head: str  # another one, which a tied model need not have
    buffers: Sequence[str]  # ends of names of what follows from the configuration and is not carried over

    def parse(self, name: str) -> LayerTensor | None:
        """The tensor of a layer that has this name; None if it is not one. ConversionError for an unknown module."""
        match = re.fullmatch(re.escape(self.layers) + r"\.(\d+)\.(.+)\.(weight|bias)", name)
        if not match:
            return None
        if match[2] not in (*self.matrices.values(), *self.norms):
            raise ConversionError(
                f"tensor '{name}' has no place in a {self.model_type} layer; adapters and quantised weights have to be "
                "merged into plain weights first"
            )
        return LayerTensor(int(match[1]), match[2], match[3])

    def is_buffer(self, name: str) -> bool:
        """Whether a tensor follows from the configuration."""
        return name.endswith(tuple(self.buffers))

    def modules(self, targets: Sequence[str]) -> tuple[str, ...]:
        """Modules of matrices by their names on the command line, in the order of a layer; all if none is given."""
        for target in targets:
            if target not in self.matrices:
                raise ConversionError(
                    f"'{target}' is not a matrix of {self.model_type}; --lora-targets knows: {','.join(self.matrices)}"
                )
        return tuple(module for name, module in self.matrices.items() if not targets or name in targets)


_LLAMA_MATRICES = {
    "q": "self_attn.q_proj",
    "k": "self_attn.k_proj",
    "v": "self_attn.v_proj",
    "o": "self_attn.o_proj",
    "gate": "mlp.gate_proj",
    "up": "mlp.up_proj",
    "down": "mlp.down_proj",
}
_LLAMA_GLOBALS = ("model.embed_tokens.weight", "model.norm.weight")

_FAMILIES = {
    family.model_type: family
    for family in (
        Family(
            "llama",
            "RecursiveLlamaForCausalLM",
            "model.layers",
            _LLAMA_MATRICES,
            ("input_layernorm", "post_attention_layernorm"),
            _LLAMA_GLOBALS,
            "lm_head.weight",
            ("rotary_emb.inv_freq",),
        ),
        Family(
            "gemma",
            "RecursiveGemmaForCausalLM",
            "model.layers",
            _LLAMA_MATRICES,
            ("input_layernorm", "post_attention_layernorm"),
            _LLAMA_GLOBALS,
            "lm_head.weight",
            ("rotary_emb.inv_freq",),
        ),
        Family(
            "gpt_neox",
            "RecursiveGPTNeoXForCausalLM",
            "gpt_neox.layers",
            # q, k and v are one matrix, interleaved by head: one delta for the three.
            {
                "qkv": "attention.query_key_value",
                "o": "attention.dense",
                "up": "mlp.dense_h_to_4h",
                "down": "mlp.dense_4h_to_h",
            },
            ("input_layernorm", "post_attention_layernorm"),
            (
                "gpt_neox.embed_in.weight",
                "gpt_neox.final_layer_norm.weight",
                "gpt_neox.final_layer_norm.bias",
            ),
            "embed_out.weight",
            ("rotary_emb.inv_freq", ".attention.bias", ".attention.masked_bias"),
        ),
    )
}


def family(model_type: object) -> Family:
    """The family of a `model_type`. Raises ConversionError for one that cannot be converted."""
    if isinstance(model_type, str) and model_type.startswith("recursive_"):
        raise ConversionError(f"'{model_type}' is recursive already; convert the model it was made from")
    if model_type not in _FAMILIES:
        raise ConversionError(f"model type {model_type!r} cannot be converted; known: {', '.join(_FAMILIES)}")
    return _FAMILIES[model_type]
