"""Attention that keeps packed documents apart on a GPU, where a mask of T x T values would be most of the work.

Three ways give the same: `CausalAttend` adds a mask (the CPU, where it is cheap at the lengths trained there);
`VarlenAttend` hands the kernel the boundaries (torch 2.13, 16 bits); `FlexAttend` has a kernel compiled that skips the
blocks in which no token may look at another. What they need is made from ids that lie on the CPU, so that no step
waits for the GPU. A document is a run of equal ids: ids do not come back later in a row.
"""

import inspect
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from phidelity.device import sent
from phidelity.model.attention import Attend, CausalAttend

BLOCK = 128
"""Queries and keys that a kernel of FlexAttention takes together, torch's own choice."""


def packed_attend(doc_ids: Tensor, dtype: torch.dtype, device: torch.device) -> Attend:
    """How rows of packed documents `[B, T]` attend on `device`, with weights of `dtype`."""
    is_packed = bool((doc_ids != doc_ids[:, :1]).any()) if device.type == "cuda" else False
    if not is_packed:
        return CausalAttend(doc_ids, dtype, device)
    is_16_bits = dtype in (torch.bfloat16, torch.float16) or torch.is_autocast_enabled("cuda")
    return VarlenAttend(doc_ids, device) if is_16_bits and _varlen() else FlexAttend(doc_ids, device)


class VarlenAttend:
    """All rows as one long one, and where each document begins and ends in it."""

    def __init__(self, doc_ids: Tensor, device: torch.device | str, function: Callable[..., Any] | None = None) -> None:
        self.function = function or _varlen()
        begins = torch.ones_like(doc_ids, dtype=torch.bool)
        begins[:, 1:] = doc_ids[:, 1:] != doc_ids[:, :-1]
        bounds = pad(begins.flatten().nonzero()[:, 0], (0, 1), value=doc_ids.numel())
        self.longest = int(bounds.diff().max())
        self.bounds = sent(bounds.int(), device)

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """[B, H, T, D], [B, K, T, D], [B, K, T, D] -> [B, H, T, D]."""
        rows = (x.transpose(1, 2).flatten(0, 1) for x in (q, k, v))  # [B T, heads, D]
        bounds = (self.bounds, self.bounds, self.longest, self.longest)
        y = self.function(*rows, *bounds, window_size=(-1, 0), enable_gqa=q.shape[1] != k.shape[1])
        return y.unflatten(0, (len(q), -1)).transpose(1, 2)


class FlexAttend:
    """FlexAttention with a document mask; compiled on a GPU, eager (and forward only) on the CPU."""

    def __init__(self, doc_ids: Tensor, device: torch.device | str) -> None:
        self.mask = block_mask(sent(document_numbers(doc_ids), device))

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """[B, H, T, D], [B, K, T, D], [B, K, T, D] -> [B, H, T, D]."""
        return _flex(q.is_cuda)(q, k, v, block_mask=self.mask, enable_gqa=q.shape[1] != k.shape[1])


def document_numbers(doc_ids: Tensor) -> Tensor:
    """Ids [B, T] of any kind -> 0, 1, ... along each row."""
    return pad((doc_ids[:, 1:] != doc_ids[:, :-1]).long().cumsum(1), (1, 0))


def block_mask(numbers: Tensor) -> Any:
    """The BlockMask of `document_numbers`: which blocks to compute, and which of them need no look at single tokens."""
    from torch.nn.attention.flex_attention import BlockMask

    length = numbers.shape[1]
    padded = pad(numbers[:, None].float(), (0, -length % BLOCK), mode="replicate")[:, 0]
    first, last = padded[:, ::BLOCK], padded[:, BLOCK - 1 :: BLOCK]  # [B, blocks]
    at = torch.arange(first.shape[1], device=numbers.device)
    needed = (at[:, None] >= at) & (last[:, None, :] >= first[:, :, None])  # [B, of queries, of keys]
    whole = (at[:, None] > at) & (first[:, None, :] == last[:, :, None])

    def may_look(b: Tensor, h: Tensor, q: Tensor, k: Tensor) -> Tensor:
        return (q >= k) & (numbers[b, q] == numbers[b, k])

    return BlockMask.from_kv_blocks(
        *_listed(needed & ~whole), *_listed(whole), BLOCK_SIZE=BLOCK, mask_mod=may_look, seq_lengths=(length, length)
    )


def _listed(chosen: Tensor) -> tuple[Tensor, Tensor]:
    """[B, n, n] -> how many of each row are chosen [B, 1, n], and which, before the others [B, 1, n, n]."""
    order = chosen.int().argsort(dim=-1, descending=True, stable=True)
    return chosen.sum(-1, dtype=torch.int32)[:, None], order.int()[:, None]


@cache
def _flex(compiled: bool) -> Callable[..., Any]:
    from torch.nn.attention.flex_attention import flex_attention

    return torch.compile(flex_attention, dynamic=False) if compiled else flex_attention


@cache
def _varlen() -> Any:
    """torch's attention over documents of any length, where it knows grouped heads; else None."""
    try:
        from torch.nn.attention.varlen import varlen_attn
    except ImportError:
        return None
    known = inspect.signature(varlen_attn).parameters
    return varlen_attn if {"window_size", "enable_gqa"} <= known.keys() else None
