"""Weights in 8 or 4 bits on a GPU, by torchao: an extra (`pip install "phidelity[gpu]"`) that nothing on a CPU needs.

The products of the blocks are lowered; embedding, norms and head stay as they are. fp8 rounds activations too, token by
token, and wants a GPU with fp8 products (H100 and later); int8 and int4 round weights alone. Not run by us on a GPU;
int8 was run on a CPU.
"""

from typing import Any, Literal, get_args

from phidelity.config import UserError
from phidelity.model.transformer import Transformer

Lowered = Literal["fp8", "int8", "int4"]


def lower(model: Transformer, kind: Lowered) -> Transformer:
    """Round the matrices of the blocks in place; a `UserError` without torchao, or for another kind."""
    if kind not in get_args(Lowered):
        raise UserError(f"weights are {kind!r}; expected one of {', '.join(get_args(Lowered))}.")
    try:
        from torchao import quantization  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise UserError(f'{kind} weights need torchao ({error}). Install "phidelity[gpu]".') from None
    quantization.quantize_(model.blocks, _config(quantization, kind))
    return model


def _config(quantization: Any, kind: Lowered) -> Any:
    if kind == "fp8":
        return quantization.Float8DynamicActivationFloat8WeightConfig(granularity=quantization.PerRow())
    return quantization.Int8WeightOnlyConfig() if kind == "int8" else quantization.Int4WeightOnlyConfig()
