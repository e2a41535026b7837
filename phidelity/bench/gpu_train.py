"""Training all of 14.66B on one GPU, in a call under nine minutes: `PYTHONPATH=. python -m phidelity.bench.gpu_train`.

Rows: `train@T` is the full-parameter step of phi-4's shape in rows of T tokens with the low-memory optimiser
(stochastic rounding, 8-bit moments), many micro-batches a step, clipping and spike check included; `float8@T` the same
with float8 products where torchao is installed; `parity` the final losses of that optimiser and of fp32 masters on
a 100M model over three seeds. Utilisation is given in both conventions, against the data sheet's 989 TFLOP/s and
against a matrix product measured here. These are rates of a single GPU's step: no whole run, no network, no restarts.
torch and numpy suffice. `--tiny` runs every part on the CPU at a tiny shape, to show that they run; its figures mean
nothing.
"""

import statistics
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

from phidelity.bench.bare import stand_in

STANDING_IN = stand_in()

import torch  # noqa: E402 (the stand-ins come first)

from phidelity.bench.gpu import Rows, command, in_order, timed  # noqa: E402
from phidelity.data.batch import Batch  # noqa: E402
from phidelity.model.config import PHI_4, FlopPerToken, ModelConfig, flop_per_token  # noqa: E402
from phidelity.model.transformer import Transformer  # noqa: E402
from phidelity.train.checkpointing import State  # noqa: E402
from phidelity.train.loop import update  # noqa: E402
from phidelity.train.optim import OptimConfig  # noqa: E402
from phidelity.train.scale import ScaleConfig, prepare  # noqa: E402
from phidelity.train.tokens import token_objective  # noqa: E402

DEADLINE = 8.0 * 60
"""Seconds after which no further part begins."""
PEAK = 989.4e12
"""Dense bf16 operations a second of an H100 or H200, by its data sheet."""
SMALL = ModelConfig(
    n_layers=12, d_model=768, n_heads=12, n_kv_heads=3, d_ff=2688, vocab_size=8192, context_len=1024, rope_theta=1e4
)
"""97M parameters, for the parity of the optimisers."""
TINY = ModelConfig(
    n_layers=1, d_model=16, n_heads=2, n_kv_heads=1, d_ff=32, vocab_size=64, context_len=32, rope_theta=1e4
)
LOW_MEMORY = OptimConfig(peak_lr=6e-4, weights="stochastic", moments="int8")


class Setting(NamedTuple):
    """What is measured, where."""

    config: ModelConfig
    small: ModelConfig
    device: torch.device
    lengths: tuple[int, ...]
    """Tokens a row."""
    micro_tokens: int
    n_micro: int
    """Micro-batches a step."""
    parity_steps: int
    compile: bool


SETTING = Setting(PHI_4, SMALL, torch.device("cuda"), (4096, 1024), 16384, 8, 300, compile=True)
TINY_SETTING = Setting(TINY, TINY, torch.device("cpu"), (16, 8), 32, 2, 3, compile=False)


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    """Measure, print a table and one JSON line."""
    return command(
        "gpu_train", __doc__, arguments, lambda tiny: measure(TINY_SETTING if tiny else SETTING), STANDING_IN
    )


def measure(setting: Setting) -> Rows:
    """All parts in order."""
    product = matrix_product(setting)
    parts = [(f"train@{length}", partial(full_step, setting, length, product)) for length in setting.lengths]
    parts.append(("parity", partial(parity, setting)))
    length = setting.lengths[0]
    parts.append((f"float8@{length}", partial(full_step, setting, length, product, float8=True)))
    row = {"what": "product", "ours": float(f"{product / 1e12:.3g}"), "unit": "TFLOP/s"}
    return [row, *in_order(parts, DEADLINE)]


def matrix_product(setting: Setting) -> float:
    """Floating-point operations a second of a large bf16 product, the best of eight."""
    n = 8192 if setting.device.type == "cuda" else 256
    a, b = (torch.randn(n, n, device=setting.device, dtype=torch.bfloat16) for _ in range(2))
    return max(2 * n**3 / timed(setting.device, lambda: a @ b) for _ in range(8))


def full_step(setting: Setting, length: int, product: float, *, float8: bool = False) -> Rows:
    """Tokens a second of whole updates, the median of three after two that warm up."""
    scale = ScaleConfig(recompute="full", compile=setting.compile, float8=float8)
    state = State.begin(prepare(fresh(setting.config, setting.device), scale), LOW_MEMORY)
    if setting.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    batches = [
        random_batch(setting.config, max(1, setting.micro_tokens // length), length, n) for n in range(setting.n_micro)
    ]
    n_tokens = sum(batch.tokens.numel() for batch in batches)

    def step() -> None:
        update(state, token_objective, batches, lr=1e-5, clip=1.0)

    seconds = statistics.median([timed(setting.device, step) for _ in range(5)][2:])
    speed, flop = n_tokens / seconds, flop_per_token(setting.config, length)
    memory = torch.cuda.max_memory_allocated() if setting.device.type == "cuda" else 0
    row = {
        "what": f"{'float8' if float8 else 'train'}@{length}",
        "ours": round(speed, 1),
        "unit": "tokens/s",
        "tokens_a_step": n_tokens,
        "tflops": _both(speed, flop, 1e12),
        "mfu_of_989": _both(speed, flop, PEAK),
        "mfu_of_product": _both(speed, flop, product),
        "peak_gib": round(memory / 2**30, 1),
    }
    return [row]


def _both(speed: float, flop: FlopPerToken, unit: float) -> dict[str, float]:
    """Operations a second over `unit`, with causal and with full credit, to three figures."""
    return {name: float(f"{speed * value / unit:.3g}") for name, value in flop._asdict().items()}


def parity(setting: Setting) -> Rows:
    """Mean final losses over three seeds, of fp32 masters and of the low-memory path, and the spread between seeds."""
    finals: dict[str, list[float]] = {"fp32": [], "low_memory": []}
    for seed in range(3):
        for name, optim in (("fp32", OptimConfig(peak_lr=6e-4)), ("low_memory", LOW_MEMORY)):
            finals[name].append(_final_loss(setting, optim, seed))
    spread = statistics.stdev(finals["fp32"])
    gaps = [low - exact for low, exact in zip(finals["low_memory"], finals["fp32"], strict=True)]
    row = {
        "what": "parity",
        "ours": round(statistics.mean(finals["low_memory"]), 4),
        "unit": "nats",
        "peer": "fp32 masters",
        "theirs": round(statistics.mean(finals["fp32"]), 4),
        "gap": round(statistics.mean(gaps), 4),
        "gap_by_seed": [round(gap, 4) for gap in gaps],
        "deviation_between_seeds": round(spread, 4),
    }
    return [row]


def _final_loss(setting: Setting, optim: OptimConfig, seed: int) -> float:
    """Mean loss of the last tenth of the steps on text from a random second-order chain, equal for both paths."""
    state = State.begin(fresh(setting.small, setting.device, seed, torch.float32), optim)
    length = min(512, setting.small.context_len)
    losses = []
    for step in range(setting.parity_steps):
        batch = chained_batch(setting.small, 16, length, seed * 100_003 + step)
        lr = optim.peak_lr * min(1.0, (step + 1) / 20)
        taken = update(state, token_objective, [batch], lr=lr, clip=1.0)
        losses.append(taken[0] / taken[1])
    tail = max(1, setting.parity_steps // 10)
    return float(torch.stack(losses[-tail:]).mean())


def fresh(config: ModelConfig, device: torch.device, seed: int = 0, dtype: torch.dtype = torch.bfloat16) -> Transformer:
    """Weights made where they stay."""
    with torch.device("meta"):
        model = Transformer(config)
    model = model.to(dtype).to_empty(device=device)
    return model.initialise(torch.Generator(device).manual_seed(seed)).train()


def random_batch(config: ModelConfig, rows: int, length: int, seed: int) -> Batch:
    """Rows of one random document each."""
    tokens = torch.randint(0, config.vocab_size, (rows, length + 1), generator=torch.Generator().manual_seed(seed))
    return _as_batch(tokens)


def chained_batch(config: ModelConfig, rows: int, length: int, seed: int) -> Batch:
    """Rows in which each token is one of eight that its two predecessors allow: something to be learnt."""
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(0, config.vocab_size, (rows, length + 1), generator=generator)
    choice = torch.randint(0, 8, (rows, length + 1), generator=generator)
    for at in range(2, length + 1):
        mixed = tokens[:, at - 1] * 31 + tokens[:, at - 2] % 16 * 977 + choice[:, at] * 7919
        tokens[:, at] = mixed % config.vocab_size
    return _as_batch(tokens)


def _as_batch(tokens: torch.Tensor) -> Batch:
    rows, length = tokens.shape[0], tokens.shape[1] - 1
    positions = torch.arange(length).expand(rows, -1)
    ones, zeros = torch.ones(rows, length), torch.zeros(rows, length, dtype=torch.long)
    return Batch(tokens[:, :-1], tokens[:, 1:], ones, positions, zeros)


if __name__ == "__main__":
    main()
