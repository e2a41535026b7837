"""A block of an adapter in training that keeps nothing but its input, and works through its feed-forward in pieces.

The backward pass computes the inside again: attention whole, then the feed-forward a few tokens at a time, each piece
forward and straight back, so that its 7 widths a token never stand in memory for a whole row. The product that ends the
block is not computed again, since no gradient needs what it gave. Values and gradients are those of the plain block;
gradients of the updates are added where they belong, as checkpoints do that re-enter.
"""

import sys
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function

from phidelity.model.attention import Attend, Rotation, mixed
from phidelity.model.fused import swiglu
from phidelity.model.lora import Adapted, AdaptedBlock, times
from phidelity.model.transformer import Transformer

PIECE = 256
"""Tokens that go through the feed-forward at a time on a CPU (*ours*): 37 MB of gate and up at phi-4's width."""


def thrifty(model: Transformer, piece: int = PIECE) -> Transformer:
    """The same model, of `adapt`, whose blocks keep their inputs alone; on a GPU a piece is all there is."""
    piece = piece if model.embed.weight.device.type == "cpu" else sys.maxsize
    for block in model.blocks:
        assert isinstance(block, AdaptedBlock)
        block.forward = _forward(block, piece)  # pyright: ignore[reportAttributeAccessIssue]
    return model


def _forward(block: AdaptedBlock, piece: int) -> Callable[[Tensor, Rotation, Attend, int], Tensor]:
    parameters = [parameter for parameter in block.parameters() if parameter.requires_grad]

    def forward(x: Tensor, rotation: Rotation, attend: Attend, layer: int) -> Tensor:
        """[B, T, M] -> [B, T, M]."""
        return _Thrifty.apply(x, piece, block, rotation, attend, layer, *parameters)

    return forward


class _Thrifty(Function):
    """The parameters are given so that the result wants a gradient where x, the embedding's, wants none."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, piece: int, *rest: Any) -> Tensor:
        block, rotation, attend, layer = rest[:4]
        ctx.save_for_backward(x)
        kind = x.device.type
        ctx.autocast = kind, torch.get_autocast_dtype(kind), torch.is_autocast_enabled(kind)
        ctx.inside, ctx.piece = (block, rotation, attend, layer), piece
        y = _attended(x, *ctx.inside)
        flat = y.view(-1, y.shape[-1])
        for rows in _pieces(len(flat), piece):
            flat[rows] += block.down(_hidden(flat[rows], block))
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (x,), block, d_y = ctx.saved_tensors, ctx.inside[0], gradients[0]
        kind, dtype, is_on = ctx.autocast
        with torch.autocast(kind, dtype, is_on):
            with torch.enable_grad():
                x = x.detach().requires_grad_(ctx.needs_input_grad[0])
                middle = _attended(x, *ctx.inside)
            d_middle = d_y.clone(memory_format=torch.contiguous_format)
            given, flat, d_flat = (t.detach().reshape(-1, t.shape[-1]) for t in (middle, d_y, d_middle))
            for rows in _pieces(len(given), ctx.piece):
                part = given[rows].requires_grad_()
                with torch.enable_grad():
                    hidden = _hidden(part, block)
                hidden.backward(_pulled(block.down, hidden.detach(), flat[rows]))
                assert part.grad is not None
                d_flat[rows] += part.grad
            if middle.requires_grad:
                middle.backward(d_middle)
        return x.grad, *(None,) * (len(ctx.needs_input_grad) - 1)


def _attended(x: Tensor, block: AdaptedBlock, rotation: Rotation, attend: Attend, layer: int) -> Tensor:
    return x + block.out(mixed(block.qkv(block.attention_norm(x)), rotation, attend, layer, block.config))


def _hidden(x: Tensor, block: AdaptedBlock) -> Tensor:
    return swiglu(block.gate_up(block.feed_forward_norm(x)))


def _pulled(product: nn.Module, x: Tensor, d_y: Tensor) -> Tensor:
    """The gradient with respect to x of a product whose result nobody needs; its updates get theirs."""
    if not isinstance(product, Adapted):
        return times(d_y, product)
    x.requires_grad_()
    for update in product.updates:
        with torch.enable_grad():
            part = update(x)
        part.backward(d_y[:, update.start : update.start + part.shape[-1]])  # pyright: ignore[reportOperatorIssue]
    pulled = times(d_y, product.base)
    return pulled if x.grad is None else pulled.add_(x.grad)


def _pieces(n: int, size: int) -> Iterator[slice]:
    return (slice(start, min(start + size, n)) for start in range(0, n, size))
