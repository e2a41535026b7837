"""What fine-tuning a model takes in memory and time, by what its base is kept as, before anything is loaded.

Memory is counted: the base, the adapter with gradient and both moments, one row's kept values (of an adapter over a big
model the input of every block and the inside of one, else the inside of all), logits in chunks, the process. Time is a
prediction from two stated assumptions: the share of a GPU's peak, and what one CPU thread multiplies a second (both
*ours*).
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from phidelity.checkpoint.adapter import FUSED, places
from phidelity.checkpoint.packed import packed_bytes
from phidelity.config import UserError
from phidelity.model.config import ModelConfig, census
from phidelity.model.lora import OPENED
from phidelity.model.thrifty import PIECE
from phidelity.progress import readable_size
from phidelity.train.choices import BIG
from phidelity.train.frozen import CHUNK
from phidelity.train.plan import ASSUMED_MFU, GPUS, activation_values

SIZES = (8, 16, 24, 48, 80, 141)
"""Gigabytes of the cards that there are."""
PROCESS = {"cpu": 400 << 20, "gpu": 1 << 30}
"""Interpreter and torch; on a GPU its context, too (*ours*)."""
CPU_FLOPS = 110e9
"""Useful operations a second of one thread (*ours*; float32 products with AVX-512, docs/benchmarks.md)."""
BASES = ("q4", "q8", "bf16", "fp32", "all")
WORDS = {
    "q4": "adapter over packed q4 (phi convert --to q4)",
    "q8": "adapter over packed q8 (phi convert --to q8)",
    "bf16": "adapter over bf16, on a GPU",
    "fp32": "adapter over fp32",
    "all": "all parameters, fp32 (--all-parameters)",
}
PLACES = {"q4": ("cpu",), "q8": ("cpu",), "bf16": ("gpu",), "fp32": ("cpu", "gpu"), "all": ("cpu", "gpu")}


class Need(NamedTuple):
    """Bytes by purpose."""

    base: int
    adapter: int
    activations: int
    process: int

    @property
    def total(self) -> int:
        """All of it."""
        return sum(self)


def need(
    model: ModelConfig,
    base: str,
    *,
    rank: int = 8,
    context_len: int = 1024,
    place: str = "cpu",
    recompute: bool | None = None,
) -> Need:
    """Bytes of fine-tuning with one row of `context_len` at a time; the inside of blocks by size where nobody says."""
    parts, size = census(model), 2 if base == "bf16" else 4
    held = {"q4": 0, "q8": 0, "bf16": 2, "fp32": 4, "all": 16}[base] * parts.total
    if base in ("q4", "q8"):
        held = packed_bytes(model, "q4" if base == "q4" else "q8") + 4 * OPENED
    learnt = 0 if base == "all" else 16 * adapter_parameters(model, rank)
    logits = 2 * 4 * min(CHUNK, context_len) * model.vocab_size
    if base == "all" or not (parts.total >= BIG if recompute is None else recompute):
        inside = size * context_len * activation_values(model)  # of a block, and 1.6 times that going back
        return Need(held, learnt, round((model.n_layers + 1.6) * inside) + logits, PROCESS[place])
    # Attention whole, a piece of the feed-forward, and gradients on their way back. Peaks that were measured grow by
    # 1.3 times what is counted for a layer (docs/benchmarks.md).
    piece = min(PIECE, context_len) if place == "cpu" else context_len
    values = context_len * (3 * model.d_qkv + 4 * model.d_model) + piece * 9 * model.d_ff
    kept = round(1.3 * size * context_len * model.n_layers * model.d_model)
    return Need(held, learnt, kept + max(size * values, logits), PROCESS[place])


def adapter_parameters(model: ModelConfig, rank: int, targets: Sequence[str] = FUSED) -> int:
    """Numbers of the updates of all layers."""
    known = places(model)
    return model.n_layers * rank * sum(known[name].n_rows + known[name].n_columns for name in targets)


def flop_per_token(model: ModelConfig, base: str, context_len: int) -> float:
    """Forward, the blocks forward again without their last product, and backward to the input (and the weights)."""
    parts = census(model)
    down = model.n_layers * model.d_model * model.d_ff
    matrices = parts.attention + parts.feed_forward
    again = 2.0 * (matrices - down)
    backward = (4.0 if base == "all" else 2.0) * parts.matmul
    attention = 4.0 * model.n_layers * context_len * model.d_model / 2 * 4
    return 2.0 * parts.matmul + again + backward + attention


def plan_finetune(
    model: ModelConfig, *, rank: int = 8, context_len: int = 1024, cpu_bytes: int | None, threads: int
) -> dict[str, Any]:
    """For every way to keep the base: memory, on which machines it fits, and hours for a million tokens."""
    rows = []
    for base in BASES:
        on_cpu, on_gpu = "cpu" in PLACES[base], "gpu" in PLACES[base]
        sizes = need(model, base, rank=rank, context_len=context_len, place="cpu" if on_cpu else "gpu")
        flop = flop_per_token(model, base, context_len)
        gpu = need(model, base, rank=rank, context_len=context_len, place="gpu").total
        rows.append(
            {
                "base": base,
                "what": WORDS[base],
                "memory": {**sizes._asdict(), "total": sizes.total},
                "fits_gpu": {str(size): on_gpu and gpu <= 0.94 * size * 10**9 for size in SIZES},
                "fits_memory": {str(size): on_cpu and sizes.total <= 0.94 * size * 10**9 for size in SIZES},
                "fits_here": on_cpu and cpu_bytes is not None and sizes.total <= cpu_bytes,
                "hours_per_million_tokens": {
                    **({"cpu": 1e6 * flop / (CPU_FLOPS * threads) / 3600} if on_cpu else {}),
                    **(
                        {n: 1e6 * flop / (ASSUMED_MFU * g.peak_flops) / 3600 for n, g in GPUS.items()} if on_gpu else {}
                    ),
                },
            }
        )
    return {
        "parameters": census(model).total,
        "adapter_parameters": adapter_parameters(model, rank),
        "rank": rank,
        "context_len": context_len,
        "threads": threads,
        "memory_here": cpu_bytes,
        "assumed": {"cpu_flops_per_thread": CPU_FLOPS, "gpu_share_of_peak": ASSUMED_MFU},
        "settings": rows,
    }


def page(facts: dict[str, Any]) -> list[str]:
    """The plan as a table."""
    free = facts["memory_here"]
    here = f", {readable_size(free)} are free here" if free else ""
    lines = [
        f"parameters {facts['parameters']:,}, adapter of rank {facts['rank']} {facts['adapter_parameters']:,}; one row "
        f"of {facts['context_len']:,} tokens at a time{here}",
        f"{'':<46}{'memory':>10}  fits (GB)"
        + " " * 25
        + f"here  hours a million tokens on {facts['threads']} threads / h100",
    ]
    for row in facts["settings"]:
        fits = [size for size in map(str, SIZES) if row["fits_gpu"][size] or row["fits_memory"][size]]
        where = " ".join(f"{size:>4}" if size in fits else f"{'-':>4}" for size in map(str, SIZES))
        hours = row["hours_per_million_tokens"]
        times = " / ".join(f"{hours[name]:.3g}" if name in hours else "-" for name in ("cpu", "h100"))
        is_here = "yes" if row["fits_here"] else "no"
        lines.append(f"{row['what']:<46}{readable_size(row['memory']['total']):>10}  {where}     {is_here:<5} {times}")
    share = facts["assumed"]["gpu_share_of_peak"]
    return [
        *lines,
        f"packed bases are trained on the CPU's memory, bf16 on a GPU's. Hours are predictions: {CPU_FLOPS / 1e9:.0f} "
        f"GFLOP/s a thread, {share:.0%} of a GPU's peak.",
    ]


def check_fits(
    model: ModelConfig, base: str, available: int | None, *, rank: int, context_len: int, recompute: bool | None = None
) -> Need:
    """What a run needs; one that cannot fit is a `UserError` that names a setting which would."""
    asked = need(model, base, rank=rank, context_len=context_len, recompute=recompute)
    if available is None or asked.total <= available:
        return asked
    told = (
        f"Fine-tuning needs {readable_size(asked.total)} ({readable_size(asked.base)} of base, "
        f"{readable_size(asked.adapter)} of adapter, {readable_size(asked.activations)} for rows of {context_len:,} "
        f"tokens); {readable_size(available)} are free"
    )
    again = need(model, base, rank=rank, context_len=context_len, recompute=True).total
    if base != "all" and again < asked.total and again <= available:
        raise UserError(f"{told}. It would fit with --recompute, and be slower.")
    for length in (context_len // 2, context_len // 4, 512):
        if 256 <= length < context_len and need(model, base, rank=rank, context_len=length).total <= available:
            raise UserError(f"{told}. It would fit with --context {length}.")
    for other in [one for one in BASES if "cpu" in PLACES[one] and one != base]:
        if need(model, other, rank=rank, context_len=context_len).total <= min(available, asked.total):
            raise UserError(f"{told}. It would fit as: {WORDS[other]}.")
    least = need(model, "q4", rank=4, context_len=256).total
    raise UserError(f"{told}. The least that would do is {readable_size(least)}: q4, --rank 4 --context 256.")
