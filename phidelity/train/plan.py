"""What training needs, before anything is allocated: parameters, floating-point operations, memory, days.

Counting follows the configuration alone (model/config.py). Speed on a GPU is a prediction from one stated
assumption, the share of peak that is reached, and is printed as such; an unknown GPU gives no prediction. Both
FLOP conventions are given, since published utilisation figures differ by which one they use (phi-4 at 4,096
tokens: 89.9 GFLOP a token with causal credit, 94.9 with full).
"""

from typing import Any

from phidelity.config import UserError
from phidelity.model.config import ModelConfig, cache_bytes_per_token, census, flop_per_token

PEAK_FLOPS = {"a100": 312e12, "h100": 989.4e12, "h200": 989.4e12}
"""Dense bf16 floating-point operations a second, by GPU (vendors' data sheets)."""
ASSUMED_MFU = 0.4
"""Share of the peak that a well-run cluster reaches, full credit (ours; published dense runs lie at 0.38 to 0.46)."""


def plan(
    model: ModelConfig,
    *,
    tokens: int,
    context_len: int,
    batch_tokens: int,
    gpus: int | None = None,
    gpu: str | None = None,
) -> dict[str, Any]:
    """What `tokens` tokens of training at `context_len` ask for; with a GPU also predicted speed and time."""
    parts, flop = census(model), flop_per_token(model, context_len)
    result: dict[str, Any] = {
        "parameters": parts.total,
        "parameters_by_part": parts._asdict(),
        "tokens": tokens,
        "steps": tokens // batch_tokens,
        "flop_per_token": {"causal": flop.causal, "full": flop.full},
        "training_flop": flop.causal * tokens,
        "memory": memory(model, context_len=context_len, batch_tokens=min(batch_tokens, 16 * context_len)),
    }
    if gpu:
        result |= _prediction(flop.full, flop.causal, tokens, gpus or 1, gpu)
    return result


def memory(model: ModelConfig, *, context_len: int, batch_tokens: int) -> dict[str, int]:
    """Bytes of fp32 training by part, for micro-batches of `batch_tokens`, and of a cache of one full context."""
    n = census(model).total
    return {
        "weights": 4 * n,
        "gradients": 4 * n,
        "optimizer": 8 * n,
        "activations": 4 * batch_tokens * model.n_layers * activation_values(model),
        "weights_bf16": 2 * n,
        "cache_bf16": cache_bytes_per_token(model) * context_len,
    }


def activation_values(model: ModelConfig) -> int:
    """Values that one block keeps for one token until its backward pass.

    Two normed inputs and their inputs (4 d), q k v before and after rotation, the attention's output, the two
    halves of the feed-forward network and their product.
    """
    return 5 * model.d_model + 2 * model.d_qkv + 3 * model.d_ff


def _prediction(full: float, causal: float, tokens: int, gpus: int, gpu: str) -> dict[str, Any]:
    if gpu.lower() not in PEAK_FLOPS:
        raise UserError(
            f"GPU {gpu!r} is unknown; known: {', '.join(PEAK_FLOPS)}. Without --gpu the plan gives no speed."
        )
    rate = ASSUMED_MFU * PEAK_FLOPS[gpu.lower()] / full
    hours = tokens / rate / 3600
    return {
        "assumed": {"mfu_full_credit": ASSUMED_MFU, "peak_flops": PEAK_FLOPS[gpu.lower()], "gpus": gpus, "gpu": gpu},
        "tokens_per_second_per_gpu": rate,
        "mfu": {"full": ASSUMED_MFU, "causal": ASSUMED_MFU * causal / full},
        "gpu_hours": hours,
        "days": hours / gpus / 24,
    }
