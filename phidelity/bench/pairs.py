"""`phi bench pairs`: what a DPO step on token pairs costs by two logits, against chosen and rejected concatenated.

The peer is the usual way: both answers as rows of one batch, log-probabilities of the whole vocabulary (100,352 ids,
phi-4's) at the answers' positions, or at all of them as older trainers have it. `step` is the processor's time for
forward and backward, without the optimiser; `head` the most memory that head and loss hold at a time beyond their
inputs, forward and backward, without the gradient of the head, which is the same for all; summed up from the
profiler's allocations.
"""

import statistics
import time
from collections.abc import Callable
from itertools import accumulate
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from phidelity.model.attention import CausalAttend
from phidelity.model.config import ModelConfig
from phidelity.model.transformer import Transformer
from phidelity.records import PreferencePair
from phidelity.train.objectives import margin_loss
from phidelity.train.pair_logprobs import Row, sides

VOCAB_SIZE = 100_352
N_PAIRS, N_PREFIX = 4, 256
"""Pairs of a step and tokens of a prefix (ours)."""
ROUNDS = 5
"""Turns of each side, alternating; medians are reported."""


def run(peers: dict[str, Path] | None = None) -> list[dict[str, Any]]:
    """Rows of the table: seconds of the processor a step, and megabytes at the head."""
    model = _model()
    rows = _rows()
    steps: dict[str, Callable[[], Tensor]] = {
        "ours": lambda: _loss(*sides(model, rows)[:2]),
        "concatenated": lambda: _loss(*_concatenated(model, rows, everywhere=False)),
        "concatenated, all positions": lambda: _loss(*_concatenated(model, rows, everywhere=True)),
    }
    seconds = {name: [] for name in steps}
    for _ in range(ROUNDS):
        for name, step in steps.items():
            model.zero_grad()
            begin = time.process_time()
            step().backward()
            seconds[name].append(time.process_time() - begin)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    bytes_ = _peaks(model.head.weight.detach())
    names = [name for name in steps if name != "ours"]
    return [_row("step", medians["ours"], "s", name, medians[name]) for name in names] + [
        _row("head", bytes_["ours"], "MB", name, bytes_[name]) for name in names
    ]


def _row(what: str, ours: float, unit: str, peer: str, theirs: float) -> dict[str, Any]:
    ratio = round(theirs / ours, 2)
    return {
        "what": what,
        "ours": round(ours, 4),
        "unit": unit,
        "peer": peer,
        "theirs": round(theirs, 4),
        "ratio": ratio,
    }


def _model() -> Transformer:
    config = ModelConfig(
        vocab_size=VOCAB_SIZE,
        context_len=N_PREFIX + 8,
        d_model=512,
        n_layers=8,
        n_heads=8,
        n_kv_heads=2,
        d_ff=1536,
        rope_theta=10_000.0,
    )
    return Transformer(config).initialise(torch.Generator().manual_seed(0))


def _rows() -> list[Row]:
    generator = torch.Generator().manual_seed(1)
    prefixes = torch.randint(VOCAB_SIZE, (N_PAIRS, N_PREFIX), generator=generator).tolist()
    pair = PreferencePair(id="", kind="token", prompt=(), chosen=(1,), rejected=(2,), tokenizer="")
    return [Row(pair.model_copy(update={"chosen": (i,), "rejected": (i + 99,)}), ids) for i, ids in enumerate(prefixes)]


def _loss(chosen: Tensor, rejected: Tensor) -> Tensor:
    return margin_loss(chosen - rejected, torch.zeros_like(chosen), beta=0.1).sum()


def _concatenated(model: Transformer, rows: list[Row], *, everywhere: bool) -> tuple[Tensor, Tensor]:
    """log pi of both sides from [2 B, T] rows that end in the chosen and the rejected token."""
    ids = torch.tensor([[*r.context, *r.pair.chosen] for r in rows] + [[*r.context, *r.pair.rejected] for r in rows])
    positions = torch.arange(ids.shape[1] - 1).expand(len(ids), -1)
    hidden = model(ids[:, :-1], positions, CausalAttend())
    chosen, rejected = _by_softmax(hidden, model.head.weight, ids[:, 1:], everywhere).chunk(2)
    return chosen, rejected


def _by_softmax(hidden: Tensor, head: Tensor, targets: Tensor, everywhere: bool) -> Tensor:
    if not everywhere:
        hidden, targets = hidden[:, -1:], targets[:, -1:]
    logprobs = (hidden @ head.T).log_softmax(-1).gather(2, targets[..., None])[..., 0]
    return logprobs[:, -1]


def _peaks(head: Tensor) -> dict[str, float]:
    """Megabytes that head and loss take in both directions, on four pairs of prefixes of `N_PREFIX` tokens."""
    n, width = 4, head.shape[1]
    hidden = torch.randn(2 * n, N_PREFIX, width, requires_grad=True)
    last = torch.randn(2 * n, 1, width, requires_grad=True)  # what reaches the head where answers alone are scored
    targets = torch.randint(VOCAB_SIZE, (2 * n, N_PREFIX))

    def two_logits() -> Tensor:
        ids, x = targets[:, -1], last[:n, 0]
        values = (head[ids].float() * torch.cat([x, x])).sum(-1)
        return _loss(*values.chunk(2))

    ways: dict[str, Callable[[], Tensor]] = {
        "ours": two_logits,
        "concatenated": lambda: _loss(*_by_softmax(last, head, targets[:, -1:], False).chunk(2)),
        "concatenated, all positions": lambda: _loss(*_by_softmax(hidden, head, targets, True).chunk(2)),
    }
    found = {}
    for name, way in ways.items():
        hidden.grad, last.grad = torch.zeros_like(hidden), torch.zeros_like(last)
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
            way().backward()
        recorded = profiled.profiler.kineto_results.events()  # pyright: ignore[reportOptionalMemberAccess]
        named: list[Any] = [event for event in recorded if event.name() == "[memory]"]
        events = sorted((event.start_ns(), event.nbytes()) for event in named)
        changes = [n_bytes for _, n_bytes in events]
        found[name] = max(accumulate(changes), default=0) / 2**20
    return found
