"""What training needs, before anything is allocated: parameters, floating-point operations, memory, days.

Counting follows the configuration alone (model/config.py). Speed on a GPU is a prediction from one stated
assumption, the share of peak that is reached, and is printed as such; an unknown GPU gives no prediction. What a
run is said to have taken is a *given* figure and stands apart: 21 days on 1,920 H100 are 967,680 GPU-hours and, for
9.8T tokens at 4,096, 2,813 tokens a second and GPU, 25.6 % of the peak with causal credit, restarts included. Both
FLOP conventions are printed, since published utilisation figures differ by which one they use.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from phidelity.config import UserError
from phidelity.model.config import ModelConfig, cache_bytes_per_token, census, flop_per_token
from phidelity.train.failures import Assumptions, best_interval
from phidelity.train.low_memory import Moments, Weights, bytes_per_parameter


class Gpu(NamedTuple):
    """Data sheet of a GPU."""

    peak_flops: float
    """Dense bf16 floating-point operations a second."""
    memory: int
    """Bytes."""


GPUS = {
    "a100": Gpu(312e12, 80 * 10**9),
    "h100": Gpu(989.4e12, 80 * 10**9),
    "h200": Gpu(989.4e12, 141 * 10**9),
}
ASSUMED_MFU = 0.4
"""Share of the peak that a well-run cluster reaches, full credit (ours; published dense runs lie at 0.38 to 0.46)."""
CHOICES: Sequence[tuple[Weights, Moments]] = (
    ("fp32", "fp32"), ("split", "fp32"), ("split", "int8"), ("stochastic", "bf16"), ("stochastic", "int8"),
)  # fmt: skip
"""Optimiser settings whose memory the plan compares (train/low_memory.py)."""
CONTEXTS = (1024, 4096, 16384)
"""Row lengths at which the FLOP of a token are printed."""


def plan(
    model: ModelConfig,
    *,
    tokens: int,
    context_len: int,
    batch_tokens: int,
    gpus: int | None = None,
    gpu: str | None = None,
    days: float | None = None,
    tp: int = 1,
    assumed: Assumptions | None = None,
) -> dict[str, Any]:
    """What `tokens` tokens of training at `context_len` ask for; with a GPU also predicted speed and time.

    `days` is what such a run is said to have taken; with `gpus` and `gpu` it gives what that comes to. A degree `tp` of
    tensor parallelism that the heads do not allow is refused.
    """
    check_tensor_parallel(model, tp)
    if days and not (gpu and gpus):
        raise UserError("--days alone was found; expected --gpus and --gpu with it, to say what took so long.")
    parts, flop = census(model), flop_per_token(model, context_len)
    lengths = sorted({context_len, *(length for length in CONTEXTS if length <= model.context_len)})
    result: dict[str, Any] = {
        "parameters": parts.total,
        "parameters_by_part": parts._asdict(),
        "tokens": tokens,
        "context_len": context_len,
        "batch_tokens": batch_tokens,
        "steps": tokens // batch_tokens,
        "flop_per_token": flop._asdict(),
        "flop_per_token_by_context": {length: flop_per_token(model, length)._asdict() for length in lengths},
        "training_flop": flop.causal * tokens,
        "memory": memory(model, context_len=context_len, batch_tokens=min(batch_tokens, 16 * context_len)),
    }
    if gpu:
        machine, n = _known(gpu), gpus or 1
        result["memory_by_choice"] = memory_by_choice(model, n, machine)
        result |= _prediction(model, tokens, context_len, n, gpu, assumed or Assumptions())
        if days:
            result["given"] = given(model, tokens=tokens, context_len=context_len, gpus=n, gpu=gpu, days=days)
    return result


def check_tensor_parallel(model: ModelConfig, degree: int) -> None:
    """Refuse a degree at which a KV head would lie on two ranks, or on several whole."""
    possible = [n for n in range(1, model.n_kv_heads + 1) if model.n_kv_heads % n == 0]
    if degree not in possible:
        raise UserError(
            f"Tensor parallelism of degree {degree} was asked for; {model.n_kv_heads} KV heads divide by "
            f"{', '.join(map(str, possible))} alone. Else ranks would hold and compute copies of one head: divide by "
            "FSDP (more ranks, scale.shares), which knows no heads."
        )


def memory(model: ModelConfig, *, context_len: int, batch_tokens: int) -> dict[str, int]:
    """Bytes of fp32 training by part, for micro-batches of `batch_tokens`, and of a cache of one full context."""
    n = census(model).total
    parts = bytes_per_parameter("fp32", "fp32")
    return {name: int(n_bytes * n) for name, n_bytes in parts.items()} | {
        "activations": 4 * batch_tokens * model.n_layers * activation_values(model),
        "weights_bf16": 2 * n,
        "cache_bf16": cache_bytes_per_token(model) * context_len,
    }


def memory_by_choice(model: ModelConfig, gpus: int, machine: Gpu) -> dict[str, dict[str, Any]]:
    """For each optimiser setting: bytes a parameter, bytes on each of `gpus` that share it, and what then fits.

    What fits are tokens of activations in bf16: all kept, or one value of the residual stream a block kept and the
    block computed again (full recomputation). A block's weights are gathered whole while it works.
    """
    n, kept = census(model).total, 2 * model.n_layers * activation_values(model)
    recomputed = 2 * (model.n_layers * model.d_model + activation_values(model))
    gathered = 0 if gpus == 1 else 4 * n // model.n_layers
    table = {}
    for weights, moments in CHOICES:
        each = sum(bytes_per_parameter(weights, moments).values())
        room = machine.memory * 0.94 - each * n / gpus - gathered
        table[f"{weights} weights, {moments} moments"] = {
            "bytes_per_parameter": each,
            "bytes_per_gpu": int(each * n / gpus) + gathered,
            "tokens_that_fit": {"all kept": max(0, int(room / kept)), "recomputed": max(0, int(room / recomputed))},
        }
    return table


def activation_values(model: ModelConfig) -> int:
    """Values that one block keeps for one token until its backward pass.

    Two normed inputs and their inputs (4 d), q k v before and after rotation, the attention's output, the two
    halves of the feed-forward network and their product.
    """
    return 5 * model.d_model + 2 * model.d_qkv + 3 * model.d_ff


def given(model: ModelConfig, *, tokens: int, context_len: int, gpus: int, gpu: str, days: float) -> dict[str, Any]:
    """What a whole run of `days` on `gpus` comes to: GPU-hours, tokens a second and GPU, share of the peak."""
    flop, hours = flop_per_token(model, context_len), days * 24 * gpus
    rate = tokens / (hours * 3600)
    peak = _known(gpu).peak_flops
    return {
        "days": days,
        "gpu_hours": hours,
        "tokens_per_second_per_gpu": rate,
        "mfu": {"causal": rate * flop.causal / peak, "full": rate * flop.full / peak},
    }


def _known(gpu: str) -> Gpu:
    if gpu.lower() not in GPUS:
        raise UserError(f"GPU {gpu!r} is unknown; known: {', '.join(GPUS)}. Without --gpu the plan gives no speed.")
    return GPUS[gpu.lower()]


def _prediction(
    model: ModelConfig, tokens: int, context_len: int, gpus: int, gpu: str, assumed: Assumptions
) -> dict[str, Any]:
    flop, peak = flop_per_token(model, context_len), _known(gpu).peak_flops
    rate = ASSUMED_MFU * peak / flop.full
    hours = tokens / rate / 3600
    tolls = best_interval(hours / gpus, gpus, assumed)
    return {
        "assumed": {
            "mfu_full_credit": ASSUMED_MFU,
            "peak_flops": peak,
            "gpus": gpus,
            "gpu": gpu,
            "mtbf_hours": assumed.mtbf_hours,
            "save_seconds": assumed.save_seconds,
            "restart_minutes": assumed.restart_minutes,
        },
        "tokens_per_second_per_gpu": rate,
        "mfu": {"full": ASSUMED_MFU, "causal": ASSUMED_MFU * flop.causal / flop.full},
        "gpu_hours": hours,
        "days": hours / gpus / 24,
        "failures": [found._asdict() for found in tolls],
        "days_with_failures": hours / gpus / 24 / (1 - tolls[0].lost),
    }
