"""Rotary positions, grouped-query attention, and the seam where its behaviour is passed in.

Attention projects and rotates; *what attends to what* is an `Attend` handed to the forward pass: `CausalAttend`
keeps packed documents apart in training, the engine's own reads and writes a cache. There is no mode and no
`if cache is None`.
"""

from typing import NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from phidelity.device import sent
from phidelity.model.config import ModelConfig
from phidelity.model.fused import rotate


class Attend(Protocol):
    """Mixes values by queries and keys; called once a layer with the layer's number."""

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """[B, H, T, D], [B, K, T, D], [B, K, T, D] -> [B, H, T, D]."""
        ...


class CausalAttend:
    """Every token attends to itself and earlier tokens, of its own document when `doc_ids` [B, T] are given.

    Where no row holds two documents there is no mask, and the masked half of the square is not computed. Ids on the
    CPU are looked at there, so that a GPU (`device`) is not waited for.
    """

    def __init__(
        self,
        doc_ids: Tensor | None = None,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str | None = None,
    ) -> None:
        is_packed = doc_ids is not None and bool((doc_ids != doc_ids[:, :1]).any())
        self.mask = document_mask(sent(doc_ids, device), dtype) if doc_ids is not None and is_packed else None

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """[B, H, T, D], [B, K, T, D], [B, K, T, D] -> [B, H, T, D]."""
        return F.scaled_dot_product_attention(
            q, k, v, attn_mask=self.mask, is_causal=self.mask is None, enable_gqa=q.shape[1] != k.shape[1]
        )


def document_mask(doc_ids: Tensor, dtype: torch.dtype) -> Tensor:
    """[B, T] -> additive [B, 1, T, T]: 0 where a token may look, -inf elsewhere."""
    n = doc_ids.shape[1]
    same = doc_ids[:, :, None] == doc_ids[:, None, :]
    causal = torch.ones(n, n, dtype=torch.bool, device=doc_ids.device).tril()
    mask = torch.zeros(same.shape, dtype=dtype, device=doc_ids.device)
    return mask.masked_fill_(~(same & causal), float("-inf"))[:, None]


class Rotation(NamedTuple):
    """Cosines and sines of the rotary angles, [B, 1, T, D/2] each, shared by all layers of one forward pass."""

    cos: Tensor
    sin: Tensor

    @classmethod
    def at(cls, positions: Tensor, config: ModelConfig, dtype: torch.dtype) -> "Rotation":
        """Angles in fp32: position times theta^(-2i/D); the first half of a head pairs with the second."""
        exponents = torch.arange(0, config.head_dim, 2, dtype=torch.float32, device=positions.device)
        frequencies = 1.0 / config.rope_theta ** (exponents / config.head_dim)
        angles = positions[:, None, :, None].float() * frequencies  # [B, 1, T, D/2]
        return cls(angles.cos().to(dtype), angles.sin().to(dtype))

    def __call__(self, x: Tensor) -> Tensor:
        """Rotate [B, H, T, D]."""
        return rotate(x, self.cos, self.sin)


class Attention(nn.Module):
    """Grouped-query attention with one fused projection: rows of all queries, then all keys, then all values."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.qkv = nn.Linear(config.d_model, config.d_qkv, bias=False)
        self.out = nn.Linear(config.d_model, config.d_model, bias=False)

    def forward(self, x: Tensor, rotation: Rotation, attend: Attend, layer: int) -> Tensor:
        """[B, T, M] -> [B, T, M]."""
        return self.out(mixed(self.qkv(x), rotation, attend, layer, self.config))


def mixed(qkv: Tensor, rotation: Rotation, attend: Attend, layer: int, config: ModelConfig) -> Tensor:
    """What lies between the two products: all queries, then keys, then values, [B, T, (H + 2K) D] -> [B, T, H D]."""
    heads = qkv.unflatten(-1, (-1, config.head_dim)).transpose(1, 2)  # [B, H + 2K, T, D]
    qk, v = heads.split((config.n_heads + config.n_kv_heads, config.n_kv_heads), dim=1)
    q, k = rotation(qk).split((config.n_heads, config.n_kv_heads), dim=1)
    return attend(layer, q, k, v).transpose(1, 2).flatten(2)
