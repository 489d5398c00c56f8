# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The parts of layers as modules. Their parameters are named as in files, so that a state dict is a file's content.

Every part takes the depth r beside its input: what varies with it is kept by depth, all else is shared by all visits.
B is the number of sequences, T of positions; other letters of shapes are those of `rondo.reference.layers`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

Activation = Callable[[Tensor], Tensor]
# Cosines and sines of rope, each [T, 1, pairs].
Angles = tuple[Tensor, Tensor]
# lora_A [rank, in] and lora_B [out, rank].
Factors = tuple[nn.Parameter, nn.Parameter]


class Table(nn.Module):
    """A weight alone: an embedding or head [V, d], or a factor of a delta."""

    def __init__(self, weight: nn.Parameter) -> None:
        super().__init__()
        self.weight = weight


class Linear(nn.Module):
    """y = W x + scale * B_r (A_r x) + bias; depths without a pair have no delta.

    Source: arXiv 2410.20672, section 2.4.
    """

    def __init__(
        self,
        weight: nn.Parameter,  # [out, in]
        bias: nn.Parameter | None = None,  # [out]
        deltas: Mapping[int, Factors] | None = None,  # by depth
        scale: float = 1.0,
    ) -> None:
        super().__init__()
        self.weight = weight
        self.bias = bias
        self.scale = scale
        self.lora_A = nn.ModuleDict({str(depth): Table(a) for depth, (a, _) in (deltas or {}).items()})
        self.lora_B = nn.ModuleDict({str(depth): Table(b) for depth, (_, b) in (deltas or {}).items()})

    def forward(self, x: Tensor, depth: int) -> Tensor:
        """x [..., in] -> [..., out]."""
        y = functional.linear(x, self.weight, self.bias)
        if str(depth) not in self.lora_A:
            return y
        a, b = self.lora_A[str(depth)].weight, self.lora_B[str(depth)].weight
        return y + self.scale * functional.linear(functional.linear(x, a), b)


class RmsNorm(nn.Module):
    """x [..., d] over its root mean square, times offset + weight [d]. Source: arXiv 1910.07467."""

    def __init__(self, weight: nn.Parameter, eps: float, offset: float = 0.0) -> None:
        super().__init__()
        self.weight = weight
        self.eps = eps
        self.offset = offset

    def forward(self, x: Tensor, _: int) -> Tensor:
        normed = x * torch.rsqrt(x.square().mean(-1, keepdim=True) + self.eps)
        return (self.offset + self.weight) * normed


class LayerNorm(nn.Module):
    """x [..., d] centred and over its deviation, times weight [d], plus bias [d]. Source: arXiv 1607.06450."""

    def __init__(self, weight: nn.Parameter, bias: nn.Parameter, eps: float) -> None:
        super().__init__()
        self.weight = weight
        self.bias = bias
        self.eps = eps

    def forward(self, x: Tensor, _: int) -> Tensor:
        return functional.layer_norm(x, self.weight.shape, self.weight, self.bias, self.eps)


class NormByDepth(nn.ModuleDict):
    """A norm of its own for each visit."""

    def __init__(self, norms: Sequence[nn.Module]) -> None:
        super().__init__({str(depth): norm for depth, norm in enumerate(norms)})

    def forward(self, x: Tensor, depth: int) -> Tensor:
        return self[str(depth)](x, depth)


def rotate(x: Tensor, angles: Angles) -> Tensor:
    """Rotate pairs (i, i + pairs) of the first 2 * pairs dimensions of x [B, T, heads, D]; the rest stays."""
    cos, sin = angles
    pairs = cos.shape[-1]
    low, high, rest = x[..., :pairs], x[..., pairs : 2 * pairs], x[..., 2 * pairs :]
    return torch.cat([low * cos - high * sin, high * cos + low * sin, rest], dim=-1)


def attend(q: Tensor, k: Tensor, v: Tensor, angles: Angles) -> Tensor:
    """Causal grouped-query attention with rope: q [B, T, H, D], k and v [B, T, G, D] -> [B, T, H * D]."""
    batch, length, heads, head_dim = q.shape
    shared = heads // k.shape[2]
    q, k = rotate(q, angles), rotate(k, angles)
    q, k, v = (part.transpose(1, 2) for part in (q, k, v))  # [B, heads, T, D]
    k, v = (part.repeat_interleave(shared, dim=1) if shared > 1 else part for part in (k, v))
    scores = q @ k.transpose(-1, -2) * head_dim**-0.5
    future = torch.ones(length, length, dtype=torch.bool, device=q.device).triu(1)
    weights = scores.masked_fill(future, -torch.inf).softmax(-1)
    return (weights @ v).transpose(1, 2).reshape(batch, length, heads * head_dim)


class LlamaAttention(nn.Module):
    """q, k and v apart."""

    def __init__(self, q: Linear, k: Linear, v: Linear, o: Linear, head_dim: int) -> None:
        super().__init__()
        self.q_proj, self.k_proj, self.v_proj, self.o_proj = q, k, v, o
        self.head_dim = head_dim

    def forward(self, x: Tensor, depth: int, angles: Angles) -> Tensor:
        """x [B, T, d] -> [B, T, d]."""
        q, k, v = (
            linear(x, depth).unflatten(-1, (-1, self.head_dim)) for linear in (self.q_proj, self.k_proj, self.v_proj)
        )
        return self.o_proj(attend(q, k, v, angles), depth)


class LlamaMlp(nn.Module):
    """down(act(gate(x)) * up(x)). Source: arXiv 2002.05202."""

    def __init__(self, gate: Linear, up: Linear, down: Linear, activation: Activation) -> None:
        super().__init__()
        self.gate_proj, self.up_proj, self.down_proj = gate, up, down
        self.activation = activation

    def forward(self, x: Tensor, depth: int) -> Tensor:
        """x [B, T, d] -> [B, T, d]."""
        return self.down_proj(self.activation(self.gate_proj(x, depth)) * self.up_proj(x, depth), depth)


class LlamaLayer(nn.Module):
    """x += attention(n1(x)); x += mlp(n2(x)). Gemma's is the same with other norms and another activation."""

    def __init__(self, norms: tuple[nn.Module, nn.Module], attention: LlamaAttention, mlp: LlamaMlp) -> None:
        super().__init__()
        self.input_layernorm, self.post_attention_layernorm = norms
        self.self_attn = attention
        self.mlp = mlp

    def forward(self, x: Tensor, depth: int, angles: Angles) -> Tensor:
        """x [B, T, d] -> [B, T, d]."""
        x = x + self.self_attn(self.input_layernorm(x, depth), depth, angles)
        return x + self.mlp(self.post_attention_layernorm(x, depth), depth)


class NeoxAttention(nn.Module):
    """q, k and v in one matrix whose rows are ordered [H][q, k, v][D]."""

    def __init__(self, fused: Linear, dense: Linear, head_dim: int) -> None:
        super().__init__()
        self.query_key_value, self.dense = fused, dense
        self.head_dim = head_dim

    def forward(self, x: Tensor, depth: int, angles: Angles) -> Tensor:
        """x [B, T, d] -> [B, T, d]."""
        q, k, v = self.query_key_value(x, depth).unflatten(-1, (-1, 3, self.head_dim)).unbind(-2)
        return self.dense(attend(q, k, v, angles), depth)


class NeoxMlp(nn.Module):
    """down(act(up(x)))."""

    def __init__(self, up: Linear, down: Linear, activation: Activation) -> None:
        super().__init__()
        self.dense_h_to_4h, self.dense_4h_to_h = up, down
        self.activation = activation

    def forward(self, x: Tensor, depth: int) -> Tensor:
        """x [B, T, d] -> [B, T, d]."""
        return self.dense_4h_to_h(self.activation(self.dense_h_to_4h(x, depth)), depth)


class NeoxLayer(nn.Module):
    """x += attention(n1(x)) + mlp(n2(x)), both from the same x if `side_by_side`, else one after the other."""

    def __init__(
        self, norms: tuple[nn.Module, nn.Module], attention: NeoxAttention, mlp: NeoxMlp, side_by_side: bool
    ) -> None:
        super().__init__()
        self.input_layernorm, self.post_attention_layernorm = norms
        self.attention = attention
        self.mlp = mlp
        self.side_by_side = side_by_side

    def forward(self, x: Tensor, depth: int, angles: Angles) -> Tensor:
        """x [B, T, d] -> [B, T, d]."""
        attended = x + self.attention(self.input_layernorm(x, depth), depth, angles)
        before_mlp = x if self.side_by_side else attended
        return attended + self.mlp(self.post_attention_layernorm(before_mlp, depth), depth)
