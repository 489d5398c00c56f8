# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Folders of Mixture-of-Recursions with drawn weights, as the authors' training code lays them out."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import yaml
from safetensors.numpy import save_file

VOCABULARY = 160
HIDDEN, WIDTH, HEADS, KV_HEADS = 64, 96, 4, 2
BLOCK = 2  # layers
# Routers read states whose size is about 1, so that these scores say yes and no.
ROUTER_DEVIATION = 0.3


@dataclass(frozen=True)
class Routed:
    """What a folder is like; the names are those of train_config.yaml."""

    type: str = "expert"
    sharing: str = "middle_cycle"
    visits: int = 3
    shares_kv: bool = False
    ln_share: bool = True
    own_attention: bool = False
    capacity: str | None = None
    router_type: str = "linear"
    temp: float = 1.0
    router_func: str | None = "sigmoid"
    alpha: float = 0.1
    gating: str = "weighted"
    sampling: str | None = "aux_loss"
    balancing: str = "loss"

    @property
    def edges(self) -> int:
        return 1 if self.sharing == "middle_cycle" else 0

    @property
    def layers(self) -> int:
        """Unrolled ones."""
        return 2 * self.edges + BLOCK * self.visits


TOKEN = Routed(type="token", router_func="softmax", alpha=1.0)

MODELS: dict[str, Routed] = {
    "cycle": Routed(sharing="cycle", visits=2),
    "cycle-shared": Routed(sharing="cycle", shares_kv=True),
    "middle-few": Routed(capacity="1.0,0.4,0.2"),
    "middle-less-at-first": Routed(capacity="0.9, 0.5,0.3"),
    "middle-shared-warm": Routed(shares_kv=True, temp=2.0),
    "mlp": Routed(router_type="mlp"),
    "wide-mlp-shared": Routed(router_type="wide_mlp", shares_kv=True, capacity="1.0,0.4,0.2"),
    "tanh": Routed(router_func="tanh"),
    "no-function": Routed(router_func=None, sharing="cycle", visits=2),
    "additive": Routed(gating="additive"),
    "own-norms": Routed(ln_share=False, sharing="cycle"),
    "own-attention": Routed(own_attention=True, visits=2),
    "second-routers": Routed(sampling="aux_router"),
    "no-sampling": Routed(sampling=None),
    "token": TOKEN,
    "token-shared": replace(TOKEN, shares_kv=True, visits=4),
    "token-sigmoid": replace(TOKEN, router_func="sigmoid", alpha=0.5),
    "token-biases": replace(TOKEN, balancing="loss_free", temp=2.0),
    "token-additive-mlp-own-norms": replace(TOKEN, gating="additive", router_type="mlp", ln_share=False),
}
# Rows of these are routed one by one, whatever stands beside them.
TOKEN_MODELS = [name for name, model in MODELS.items() if model.type == "token"]
EXPERT_MODELS = [name for name, model in MODELS.items() if model.type == "expert"]
CAUSAL_MODELS = [name for name in EXPERT_MODELS
                 if MODELS[name].sampling == "aux_loss" and name != "middle-less-at-first"]


class Writer:
    """Draws the tensors of a folder."""

    def __init__(self, model: Routed, seed: int) -> None:
        self.model, self.rng = model, np.random.default_rng(seed)
        self.tensors: dict[str, np.ndarray] = {}

    def matrix(self, rows: int, columns: int, deviation: float | None = None) -> np.ndarray:
        scale = 1 / np.sqrt(columns) if deviation is None else deviation
        return (self.rng.standard_normal((rows, columns)) * scale).astype(np.float32)

    def norm(self) -> np.ndarray:
        return (1 + 0.2 * self.rng.standard_normal(HIDDEN)).astype(np.float32)

    def attention(self) -> dict[str, np.ndarray]:
        head = HIDDEN // HEADS
        sizes = {"q": (HEADS * head, HIDDEN), "k": (KV_HEADS * head, HIDDEN), "v": (KV_HEADS * head, HIDDEN),
                 "o": (HIDDEN, HEADS * head)}
        return {f"self_attn.{name}_proj.weight": self.matrix(*size) for name, size in sizes.items()}

    def norms(self) -> dict[str, np.ndarray]:
        return {f"{name}_layernorm.weight": self.norm() for name in ("input", "post_attention")}

    def layer(self) -> dict[str, np.ndarray]:
        sizes = {"gate": (WIDTH, HIDDEN), "up": (WIDTH, HIDDEN), "down": (HIDDEN, WIDTH)}
        mlp = {f"mlp.{name}_proj.weight": self.matrix(*size) for name, size in sizes.items()}
        return self.norms() | self.attention() | mlp

    def add(self, prefix: str, tensors: dict[str, np.ndarray]) -> None:
        # A copy for each name: safetensors files have no two names for one tensor.
        self.tensors |= {f"model.layers.{prefix}.{name}": value.copy() for name, value in tensors.items()}

    def add_router(self, module: str, outputs: int) -> None:
        name = f"model.layers.{module}.router"
        if self.model.router_type == "linear":
            self.tensors[f"{name}.weight"] = self.matrix(outputs, HIDDEN, ROUTER_DEVIATION)
            return
        self.tensors[f"{name}.0.weight"] = self.matrix(2 * HIDDEN, HIDDEN)
        self.tensors[f"{name}.2.weight"] = self.matrix(outputs, 2 * HIDDEN, ROUTER_DEVIATION)

    def add_visits(self) -> None:
        model = self.model
        for layer in range(BLOCK):
            shared = self.layer()
            for visit in range(model.visits):
                own = {} if model.ln_share else self.norms()
                own |= self.attention() if model.own_attention else {}
                expert = f"{model.edges + visit}.block.{layer}"
                self.add(expert if model.type == "expert" else f"1.block_list.{visit}.{layer}", shared | own)

    def add_routers(self) -> None:
        model = self.model
        if model.type == "token":
            self.add_router("1.mor_router", model.visits)
            if model.balancing == "loss_free":
                biases = 0.2 * self.rng.standard_normal(model.visits)
                self.tensors["model.layers.1.router_bias"] = biases.astype(np.float32)
            return
        for visit in range(model.visits):
            self.add_router(f"{model.edges + visit}.mor_router", 1)
            if model.sampling == "aux_router":
                self.add_router(f"{model.edges + visit}.mlp_router", 1)

    def write(self) -> dict[str, np.ndarray]:
        # Two tables: with one of them a small model says its last token again.
        for table in ("model.embed_tokens.weight", "lm_head.weight"):
            self.tensors[table] = self.matrix(VOCABULARY, HIDDEN, 1.0)
        self.tensors["model.norm.weight"] = self.norm()
        self.add_visits()
        self.add_routers()
        if self.model.edges:
            self.add("0", self.layer())
            self.add(str(1 + self.model.visits if self.model.type == "expert" else 2), self.layer())
        return self.tensors


def recipe(model: Routed) -> dict[str, dict]:
    """train_config.yaml."""
    loop = {"num_recursion": model.visits, "sharing": model.sharing, "base_depth": None}
    scoring = {"router_func": model.router_func, "alpha": model.alpha, "gating": model.gating}
    choice = {"sampling": model.sampling} if model.type == "expert" else {"balancing": model.balancing}
    return {
        "recursive": {"enable": True, "ln_share": model.ln_share, "initialization": "stepwise"} | loop,
        "kv_sharing": {"enable": model.shares_kv, "update_cache": False} | loop,
        "mor": {"enable": True, "type": model.type, "capacity": model.capacity, "rand_router": False,
                "router_type": model.router_type, "temp": model.temp, "z_loss": False, "z_coeff": 1e-5,
                model.type: scoring | choice | {"coeff": 0.001}}}


def write_mor(folder: Path, model: Routed, seed: int = 1) -> Path:
    """A folder of `model` with random f32 weights."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file(Writer(model, seed).write(), folder / "model.safetensors")
    config = {"architectures": ["MoRLlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu",
              "attention_bias": False, "mlp_bias": False, "hidden_size": HIDDEN, "intermediate_size": WIDTH,
              "num_hidden_layers": model.layers, "num_attention_heads": HEADS, "num_key_value_heads": KV_HEADS,
              "head_dim": HIDDEN // HEADS, "vocab_size": VOCABULARY, "max_position_embeddings": 512,
              "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "rope_scaling": None, "tie_word_embeddings": False,
              "torch_dtype": "float32", "bos_token_id": 1, "eos_token_id": 2}
    train = recipe(model)
    if model.shares_kv:
        config["kv_sharing"] = train["kv_sharing"]
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "train_config.yaml").write_text(yaml.safe_dump(train))
    return folder
