"""`phi bench train`: useful floating-point operations of a training step, against the machine and against nanoGPT.

The machine's own figure is the measured fp32 product of 4096x1024 by 1024x1024, taken in turns with the steps, so
that a noisy neighbour slows both. Rows `matmul@D` give our step at width D over that product; rows `nanogpt@D`
(with `--peer nanogpt=PATH`, a checkout of karpathy/nanoGPT at 3adf61e) give our rate over its, at equal depth, width,
heads, sequence, batch and vocabulary. Both sides are credited by one formula, 6 per matmul parameter and token
plus causal attention: a block of ours has 13 d^2 parameters (grouped heads, SwiGLU), one of nanoGPT's 12 d^2.
"""

import contextlib
import importlib.util
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch

from phidelity.data.batch import Batch
from phidelity.model.config import ModelConfig, flop_per_token
from phidelity.model.transformer import Transformer
from phidelity.train.checkpointing import State
from phidelity.train.loop import update
from phidelity.train.optim import OptimConfig
from phidelity.train.tokens import token_objective


class Shape(NamedTuple):
    """One benchmarked shape."""

    d_model: int
    n_layers: int
    n_heads: int
    length: int
    rows: int
    vocab_size: int = 2048


SHAPES = (Shape(192, 6, 4, 256, 16), Shape(512, 4, 8, 256, 16))
NANOGPT_SHAPES = (Shape(128, 4, 4, 64, 12), *SHAPES)
ROUNDS = 7
"""Measurements of each side, taken in turns; medians are reported."""


def run(peers: dict[str, Path] | None = None) -> list[dict[str, Any]]:
    """Rows of the table: what, ours, unit, peer, theirs, ratio."""
    rows = [_matmul_row(shape) for shape in SHAPES]
    path = (peers or {}).get("nanogpt")
    return rows + ([_nanogpt_row(shape, path) for shape in NANOGPT_SHAPES] if path else [])


def _matmul_row(shape: Shape) -> dict[str, Any]:
    step, flop = _our_step(shape)
    a, b = torch.randn(4096, 1024), torch.randn(1024, 1024)
    ours, product = _in_turns(step, lambda: a @ b)
    gflops, peak = flop / ours / 1e9, 2 * 4096 * 1024 * 1024 / product / 1e9
    return _row(f"matmul@{shape.d_model}", gflops, "GFLOP/s", "fp32 4096x1024x1024", peak)


def _nanogpt_row(shape: Shape, path: Path) -> dict[str, Any]:
    our_step, our_flop = _our_step(shape)
    with contextlib.redirect_stdout(sys.stderr):  # it prints, and --json must not
        their_step, their_flop = _nanogpt_step(shape, path)
    ours, theirs = _in_turns(our_step, their_step)
    return _row(f"nanogpt@{shape.d_model}", our_flop / ours / 1e9, "GFLOP/s", "nanoGPT", their_flop / theirs / 1e9)


def _our_step(shape: Shape) -> tuple[Callable[[], Any], float]:
    """One whole update (forward, backward, clip, AdamW) on one full document a row, and its useful operations."""
    config = ModelConfig(
        n_layers=shape.n_layers,
        d_model=shape.d_model,
        n_heads=shape.n_heads,
        n_kv_heads=shape.n_heads // 4,
        d_ff=shape.d_model * 7 // 2,
        vocab_size=shape.vocab_size,
        context_len=shape.length,
        rope_theta=10_000.0,
    )
    model = Transformer(config).initialise(torch.Generator().manual_seed(0)).train()
    state = State.begin(model, OptimConfig(peak_lr=1e-3))
    tokens = torch.randint(0, shape.vocab_size, (shape.rows, shape.length + 1))
    positions = torch.arange(shape.length).expand(shape.rows, -1)
    ones, zeros = torch.ones(shape.rows, shape.length), torch.zeros(shape.rows, shape.length, dtype=torch.long)
    batch = Batch(tokens[:, :-1], tokens[:, 1:], ones, positions, zeros)
    flop = flop_per_token(config, shape.length).causal * shape.rows * shape.length
    return lambda: update(state, token_objective, [batch], lr=1e-3, clip=1.0), flop


def _nanogpt_step(shape: Shape, path: Path) -> tuple[Callable[[], Any], float]:
    """The same update by nanoGPT's own model and optimiser settings, without compilation, as on its CPU path."""
    spec = importlib.util.spec_from_file_location("nanogpt_model", path / "model.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["nanogpt_model"] = module
    spec.loader.exec_module(module)
    model = module.GPT(
        module.GPTConfig(
            block_size=shape.length,
            vocab_size=shape.vocab_size,
            n_layer=shape.n_layers,
            n_head=shape.n_heads,
            n_embd=shape.d_model,
            dropout=0.0,
            bias=False,
        )
    ).train()
    optimizer = model.configure_optimizers(0.1, 1e-3, (0.9, 0.95), "cpu")
    tokens = torch.randint(0, shape.vocab_size, (shape.rows, shape.length + 1))
    inputs, targets = tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous()

    def step() -> None:
        _, loss = model(inputs, targets)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    matmul = 12 * shape.n_layers * shape.d_model**2 + shape.vocab_size * shape.d_model
    attention = 6 * shape.n_layers * shape.length * shape.d_model
    return step, (6 * matmul + attention) * shape.rows * shape.length


def _in_turns(first: Callable[[], Any], second: Callable[[], Any]) -> tuple[float, float]:
    """Median seconds of two functions that are timed alternately, about half a second each time."""
    functions = (first, second)
    repeats = [max(1, round(0.5 / _seconds(function, 2))) for function in functions]
    times: list[list[float]] = [[], []]
    for _ in range(ROUNDS):
        for index, function in enumerate(functions):
            times[index].append(_seconds(function, repeats[index]))
    return statistics.median(times[0]), statistics.median(times[1])


def _seconds(function: Callable[[], Any], repeats: int) -> float:
    began = time.perf_counter()
    for _ in range(repeats):
        function()
    return (time.perf_counter() - began) / repeats


def _row(what: str, ours: float, unit: str, peer: str, theirs: float) -> dict[str, Any]:
    return {"what": what, "ours": ours, "unit": unit, "peer": peer, "theirs": theirs, "ratio": ours / theirs}
