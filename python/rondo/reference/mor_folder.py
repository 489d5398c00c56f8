# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Model folders of the training code of Mixture-of-Recursions.

`config.json` is that of a Llama with all unrolled layers; sharing, routing and the KV policy stand in
`train_config.yaml` only (`recursive`, `mor`, `kv_sharing`). Each weight of the block is stored once for each depth r:

    expert choice  model.layers.{e + r}.block.{j}.*, routers .mor_router.router, with aux_router also .mlp_router.router
    token choice   model.layers.1.block_list.{r}.{j}.*, .mor_router.router, with loss_free balancing .router_bias

With middle_cycle e is 1, and layer 0 and the last number are the first and the last layer; with cycle e is 0.

Copies with the same bits are one weight. With expert choice the attention of each depth may be its own: the code before
revision 82c97f2 replaced it after the layers had been shared. Norms may where `ln_share` is off. Any other difference
is an error, since which copy was meant cannot be told.

Options that are not named here are errors, as are those that this code does not have: `rand_router`, `relaxation`.
Where the authors' code has a default for a missing option, it is taken: `gating` weighted, and of token choice
`router_func` softmax and `alpha` 1 (0.1 with sigmoid).

Source: github.com/raymin0223/mixture_of_recursions, `model/mor_model`, `util/config.py`.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from rondo.reference import llama
from rondo.reference.checkpoint import Checkpoint, same_bits
from rondo.reference.config import check_keys, rope, stop_tokens
from rondo.reference.decoder import Shape
from rondo.reference.errors import CheckpointError
from rondo.reference.layers import gelu
from rondo.reference.mor import MixtureOfRecursions
from rondo.reference.parts import Layer, PlainMlp
from rondo.reference.recursive import Reader
from rondo.reference.routing import (
    EXPERT_FUNCTIONS,
    TOKEN_FUNCTIONS,
    ExpertChoice,
    Router,
    Scoring,
    TokenChoice,
    default_capacities,
)
from rondo.reference.sharing import Sharing
from rondo.reference.train_config import TRAIN_CONFIG, TrainConfig

# Options of each section that are read, and those that only change how a model is trained.
_READ = {
    "recursive": {"enable", "num_recursion", "sharing", "ln_share"},
    "kv_sharing": {"enable", "num_recursion", "sharing", "update_cache"},
    "mor": {"enable", "type", "capacity", "router_type", "temp", "rand_router", "expert", "token"},
    "mor.expert": {"router_func", "alpha", "sampling", "gating"},
    "mor.token": {"router_func", "alpha", "balancing", "gating"},
}
_INERT = {
    "recursive": {"base_depth", "initialization"},
    "kv_sharing": {"base_depth"},
    "mor": {"z_loss", "z_coeff"},
    "mor.expert": {"cap_warmup_step", "coeff", "include_first"},
    "mor.token": {"bal_warmup_step", "coeff", "u"},
}
_SHARINGS = ("cycle", "middle_cycle")
_NORM_NAME = re.compile(r"(input|post_attention)_layernorm\.weight")


def build(train: TrainConfig, checkpoint: Checkpoint, dtype: np.dtype) -> MixtureOfRecursions:
    """The model of a folder whose options `train` enable `mor`, and whose other files are open as `checkpoint`."""
    choice = train.choice("mor.type", ("expert", "token"))
    check_options(train, choice)
    config = dict(checkpoint.config)
    if config["model_type"] != "llama":
        raise CheckpointError(f"'mor.enable' is set for a model of type '{config['model_type']}'; expected llama")
    stored_kv = config.pop("kv_sharing", None)
    check_keys(config, llama.KNOWN_KEYS)
    sizes = llama.shape(config)
    sharing = read_sharing(train, choice, sizes.layers)
    readers, by_depth = tie(checkpoint.readers, sharing, choice, bool(train.need("recursive.ln_share")))
    if "lm_head.weight" in readers:  # the authors' class does not tie, whatever its configuration says
        config["tie_word_embeddings"] = False
    shared = Checkpoint(checkpoint.name, config, readers)
    kv_policy = read_kv_policy(train, stored_kv, sharing, choice)
    read = read_expert_choice if choice == "expert" else read_token_choice
    routing = read(train, shared, sharing, sizes.hidden, dtype)

    def layer(of: Checkpoint, sizes: Shape, index: int, dtype: np.dtype) -> Layer:
        return llama.layer_at(of, sizes, prefix(index, sharing, choice), dtype)

    weights = llama.weights(shared, sizes, dtype, layer)
    stop = stop_tokens(config)
    return MixtureOfRecursions(sizes, weights, rope(config), sharing, routing, kv_policy, by_depth, stop)


def check_options(train: TrainConfig, choice: str) -> None:
    """Raise CheckpointError for options that are not known, or known and not supported."""
    for section in ("recursive", "kv_sharing", "mor", f"mor.{choice}"):
        train.check_keys(section, _READ[section] | _INERT[section])
    if not train.enabled("recursive"):
        raise CheckpointError(f"{train.path}: 'mor' is enabled without 'recursive'; expected both or none")
    if train.enabled("relaxation"):
        raise CheckpointError(
            f"{train.path}: 'relaxation.enable' is set beside 'mor.enable', which is not supported; train without it"
        )
    if train.need("mor.rand_router"):
        raise CheckpointError(
            f"{train.path}: 'mor.rand_router' is set, which routes at random; train with a router of weights"
        )


def read_sharing(train: TrainConfig, choice: str, layers: int) -> Sharing:
    """The visits of the block."""
    kind, visits = train.choice("recursive.sharing", _SHARINGS), train.need("recursive.num_recursion")
    if type(visits) is not int or visits < 2:
        raise CheckpointError(
            f"{train.path}: 'recursive.num_recursion' is {visits!r}, expected at least 2 with routers"
        )
    if choice == "token" and kind == "cycle":
        raise CheckpointError(
            f"{train.path}: 'mor.type' token does not exist with 'recursive.sharing' cycle; expected middle_cycle"
        )
    return Sharing(kind, layers, visits)


def read_kv_policy(train: TrainConfig, stored: Any, sharing: Sharing, choice: str) -> str:
    """One of mor.KV_POLICIES. `stored` is what config.json says of it."""
    if not train.shares_kv(stored, sharing):
        return "recursion-wise"
    if not isinstance(stored, Mapping):
        raise CheckpointError(f"'kv_sharing' of config.json is {stored!r}, expected an object")
    updates = bool(train.get("kv_sharing.update_cache"))
    if updates != bool(stored.get("update_cache")):
        raise CheckpointError(
            f"{train.path} and config.json disagree about 'kv_sharing.update_cache'; take files of one run"
        )
    if not updates:
        return "shared"
    if choice == "token" or sharing.kind == "cycle":
        raise CheckpointError(
            f"{train.path}: 'kv_sharing.update_cache' exists with expert choice and middle_cycle only, here 'mor.type' "
            f"is {choice} and 'recursive.sharing' {sharing.kind}; train without it"
        )
    return "hybrid"


def prefix(unrolled: int, sharing: Sharing, choice: str) -> str:
    """What the names of the tensors of an unrolled layer begin with."""
    place = sharing.place(unrolled)
    if place.depth is None:
        modules = sharing.visits if choice == "expert" else 1
        return f"model.layers.{0 if unrolled == 0 else modules + 1}."
    layer = place.layer - sharing.edges
    if choice == "token":
        return f"model.layers.1.block_list.{place.depth}.{layer}."
    return f"model.layers.{sharing.edges + place.depth}.block.{layer}."


def tie(
    readers: Mapping[str, Reader], sharing: Sharing, choice: str, norms_shared: bool
) -> tuple[dict[str, Reader], frozenset[str]]:
    """Readers in which copies with the same bits are read once, and the tensors of the block that vary with depth.

    Raises CheckpointError for copies that differ and may not.
    """
    tied = {name: functools.cache(reader) for name, reader in readers.items()}
    by_depth = set()
    for layer in range(sharing.block):
        prefixes = [prefix(unrolled, sharing, choice) for unrolled in sharing.group(sharing.edges + layer)]
        for name in [name for name in readers if name.startswith(prefixes[0])]:
            part = name.removeprefix(prefixes[0])
            copies = [copy for copy in (before + part for before in prefixes) if copy in tied]
            if not _tie_copies(tied, copies):
                by_depth.add(f"{layer}.{part}")
                _check_may_vary(tied, copies, part, choice, norms_shared)
    return tied, frozenset(by_depth)


def _tie_copies(tied: dict[str, Reader], copies: list[str]) -> bool:
    """Let each copy be read as the first one with its bits; whether one reader is left."""
    kept: list[Reader] = []
    for copy in copies:
        equal = next((reader for reader in kept if same_bits(reader(), tied[copy]())), None)
        if equal is None:
            kept.append(tied[copy])
        else:
            tied[copy] = equal
    return len(kept) == 1


def _check_may_vary(tied: Mapping[str, Reader], copies: list[str], part: str, choice: str, norms_shared: bool) -> None:
    if choice == "expert" and part.startswith("self_attn."):
        return
    if not norms_shared and _NORM_NAME.fullmatch(part):
        return
    other = next(copy for copy in copies if tied[copy] is not tied[copies[0]])
    raise CheckpointError(
        f"'{copies[0]}' and '{other}' differ, but the visits of a block share them; take the {TRAIN_CONFIG} of this "
        "checkpoint"
    )


def read_expert_choice(
    train: TrainConfig, checkpoint: Checkpoint, sharing: Sharing, hidden: int, dtype: np.dtype
) -> ExpertChoice:
    """The routers of all depths and how they choose."""
    train.need_keys("mor.expert", ("router_func", "sampling"))
    function = train.choice("mor.expert.router_func", (None, *EXPERT_FUNCTIONS))
    sampling = train.choice("mor.expert.sampling", (None, "aux_loss", "aux_router"))
    alpha = 1.0 if function is None else train.number("mor.expert.alpha")
    scoring = _scoring(train, "mor.expert", function, alpha)

    def routers(module: str) -> tuple[Router, ...]:
        names = [f"model.layers.{sharing.edges + depth}.{module}.router" for depth in range(sharing.visits)]
        return tuple(read_router(train, checkpoint, name, 1, hidden, dtype) for name in names)

    auxiliary = routers("mlp_router") if sampling == "aux_router" else ()
    capacities = read_capacities(train, sharing.visits)
    return ExpertChoice(routers("mor_router"), capacities, auxiliary, scoring, has_threshold=sampling is not None)


def read_token_choice(
    train: TrainConfig, checkpoint: Checkpoint, sharing: Sharing, hidden: int, dtype: np.dtype
) -> TokenChoice:
    """The router and how it chooses."""
    function = train.choice("mor.token.router_func", tuple(TOKEN_FUNCTIONS), default="softmax")
    balancing = train.choice("mor.token.balancing", ("loss", "loss_free"))
    alpha = train.number("mor.token.alpha", default=0.1 if function == "sigmoid" else 1.0)
    router = read_router(train, checkpoint, "model.layers.1.mor_router.router", sharing.visits, hidden, dtype)
    bias = None
    if balancing == "loss_free":
        bias = checkpoint.take("model.layers.1.router_bias", (sharing.visits,), dtype)
    return TokenChoice(router, bias, _scoring(train, "mor.token", function, alpha))


def _scoring(train: TrainConfig, section: str, function: str | None, alpha: float) -> Scoring:
    temperature = train.number("mor.temp")
    if temperature <= 0:
        raise CheckpointError(f"{train.path}: 'mor.temp' is {temperature}, expected a number above 0")
    gating = train.choice(f"{section}.gating", ("weighted", "additive"), default="weighted")
    return Scoring(function, alpha, temperature, weighted=gating == "weighted")


def read_router(
    train: TrainConfig, checkpoint: Checkpoint, name: str, outputs: int, hidden: int, dtype: np.dtype
) -> Router:
    """The router of this name. The authors' `wide_mlp` is no wider than `mlp`."""
    if train.choice("mor.router_type", ("linear", "mlp", "wide_mlp")) == "linear":
        return checkpoint.linear(name, outputs, hidden, dtype)
    up = checkpoint.linear(f"{name}.0", 2 * hidden, hidden, dtype)
    return PlainMlp(up, checkpoint.linear(f"{name}.2", outputs, 2 * hidden, dtype), gelu)


def read_capacities(train: TrainConfig, visits: int) -> tuple[float, ...]:
    """The part of the rows that each depth computes, from decimal text."""
    train.need_keys("mor", ("capacity",))
    text = train.get("mor.capacity")
    if text is None:
        return default_capacities(visits)
    try:
        capacities = tuple(float(part) for part in text.split(","))
    except (AttributeError, ValueError):
        capacities = ()
    bounds = (1.0, *capacities)
    if len(capacities) != visits or not all(0 <= low <= high for low, high in zip(capacities, bounds, strict=False)):
        raise CheckpointError(
            f"{train.path}: 'mor.capacity' is {text!r}, expected {visits} numbers from 1 to 0 with commas between, "
            "none greater than the one before it"
        )
    return capacities
