"""What a big model asks of its device: recomputation, compilation, 8-bit products. None of it changes the model.

Applied block by block before the model is divided (parallel.py), in the order of torchtitan: float8, recomputation,
compilation. A block's call is wrapped in place, so names in checkpoints stay as they are, and a model that is trained
under one setting goes on under another.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any, Literal

import torch
from pydantic import Field
from torch.utils.checkpoint import CheckpointPolicy, checkpoint, create_selective_checkpoint_contexts

from phidelity.config import Config, UserError
from phidelity.model.transformer import Transformer

_PRODUCTS = (torch.ops.aten.mm.default, torch.ops.aten.addmm.default)
_ATTENTION = (
    torch.ops.aten._scaled_dot_product_flash_attention.default,
    torch.ops.aten._scaled_dot_product_efficient_attention.default,
    torch.ops.aten._scaled_dot_product_cudnn_attention.default,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu.default,
)


class ScaleConfig(Config):
    """Memory and speed of a big model; a small one needs none of it."""

    recompute: Literal["none", "selective", "full"] = "none"
    """What the backward pass computes again: nothing; all but attention and every other product; whole blocks."""
    compile: bool = False
    """Compile each block; worth its minutes on a GPU (on two CPU cores it was not, docs/benchmarks.md)."""
    float8: bool = False
    """Products of the blocks in float8, by torchao (the extra `float8`) on GPUs that have it."""
    shares: int = Field(default=0, ge=0)
    """Ranks that hold one copy of the model together; 0: those of a machine. As many as all ranks: plain FSDP."""


def prepare(model: Transformer, config: ScaleConfig) -> Transformer:
    """Wrap the blocks of `model` in place, and return it."""
    if config.float8:
        _to_float8(model)
    for block in model.blocks:
        if config.recompute != "none":
            block.forward = _recomputed(block.forward, config.recompute)
        if config.compile:
            block.compile()
    return model


def mixed_precision(model: Transformer) -> AbstractContextManager[Any]:
    """On a GPU, products of fp32 weights in bf16; elsewhere, and for bf16 weights, what the weights say."""
    weight = model.head.weight
    is_fp32_on_gpu = weight.device.type == "cuda" and weight.dtype == torch.float32
    return torch.autocast("cuda", torch.bfloat16) if is_fp32_on_gpu else nullcontext()


def _recomputed(forward: Callable[..., Any], how: str) -> Callable[..., Any]:
    if how == "full":
        return partial(checkpoint, forward, use_reentrant=False)
    contexts = lambda: create_selective_checkpoint_contexts(_Policy())  # noqa: E731
    return partial(checkpoint, forward, use_reentrant=False, context_fn=contexts)


class _Policy:
    """Keep what attention gives and every second product; the rest is cheap, or half as dear as it is large."""

    def __init__(self) -> None:
        self.products = {False: 0, True: 0}

    def __call__(self, ctx: Any, op: Any, *args: Any, **kwargs: Any) -> CheckpointPolicy:
        if op in _ATTENTION:
            return CheckpointPolicy.MUST_SAVE
        if op in _PRODUCTS:
            again = bool(ctx.is_recompute)
            self.products[again] += 1
            if self.products[again] % 2:
                return CheckpointPolicy.MUST_SAVE
        return CheckpointPolicy.PREFER_RECOMPUTE


def _to_float8(model: Transformer) -> None:
    try:
        from torchao.float8 import convert_to_float8_training  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        found = f"float8 = true needs torchao ({error})"
        raise UserError(f"{found}; expected the extra: pip install 'phidelity[float8]', or leave float8 out.") from None
    if not torch.cuda.is_available() or torch.cuda.get_device_capability() < (8, 9):
        raise UserError("float8 = true was found; expected a GPU that multiplies in float8 (H100, H200). Leave it out.")
    for block in model.blocks:
        convert_to_float8_training(block)
