"""Prompts are read beside streams as fast as these can bear, learnt from the time of steps."""

import pytest
import torch

from phidelity.completion import SamplingParams
from phidelity.engine.engine import Engine
from phidelity.engine.pace import FIRST, LEAST, SLOWEST, Pace
from phidelity.engine.runner import Runner
from phidelity.engine.sequence import Sequence
from phidelity.model.config import ModelConfig
from phidelity.model.transformer import Transformer


def serve(pace: Pace, n_steps: int, *, decode: float, token: float, budget: int = 508) -> list[float]:
    """Seconds of steps with a prompt beside 4 streams, on a machine that takes `token` for each row of it."""
    taken = []
    for _ in range(n_steps):
        n = pace.limit(4, budget)
        pace.plan(4, n)
        taken.append(decode + n * token)
        pace.learn(taken[-1])
    return taken


def learned(decode: float) -> Pace:
    pace = Pace()
    for _ in range(10):
        pace.plan(4, 0)
        pace.learn(decode)
    return pace


def test_a_slow_model_reads_little_beside_its_streams() -> None:
    taken = serve(learned(0.05), 20, decode=0.05, token=0.01)
    assert taken[-1] == pytest.approx(SLOWEST * 0.05, rel=0.1)
    assert max(taken[2:]) <= 3 * 0.05


def test_a_fast_model_soon_reads_whole_chunks() -> None:
    pace = learned(0.001)
    taken = serve(pace, 8, decode=0.001, token=0.00002)
    assert taken[-1] == pytest.approx(0.001 + 508 * 0.00002)


def test_nothing_is_held_back_where_no_stream_runs() -> None:
    assert Pace().limit(0, 512) == 512
    assert Pace().limit(1, 512) == FIRST


def test_a_prompt_is_always_read_on() -> None:
    pace = learned(0.001)
    serve(pace, 50, decode=0.001, token=10.0)
    assert pace.n_beside == LEAST


def test_a_short_end_of_a_prompt_says_nothing_of_long_ones() -> None:
    pace = learned(0.001)
    serve(pace, 8, decode=0.001, token=0.00002)
    before = pace.n_beside
    pace.plan(4, 3)
    pace.learn(0.0011)
    assert pace.n_beside == before


def test_only_readers_of_streams_hold_prompts_back() -> None:
    config = ModelConfig(
        n_layers=1, d_model=32, n_heads=2, n_kv_heads=1, d_ff=64, vocab_size=50, context_len=512, rope_theta=1e4
    )
    model = Transformer(config).initialise(torch.Generator().manual_seed(0)).requires_grad_(False)
    for is_streamed, expected in ((False, 201), (True, 1 + FIRST)):
        runner = Runner(model, n_rows=2, cache_bytes=1 << 20, context_len=512)
        scheduler = Engine(runner, config.vocab_size).scheduler
        decoding, prompt = (Sequence((7,) * n, SamplingParams(), key=0, limit=9) for n in (1, 200))
        decoding.is_streamed = is_streamed
        scheduler.waiting.append(decoding)
        scheduler.plan()
        scheduler.waiting.append(prompt)
        assert sum(chunk.n for chunk in scheduler.plan()) == expected
