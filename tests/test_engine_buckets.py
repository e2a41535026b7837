"""Decode in buffers of fixed size: equal to a plain forward, with few buckets, and what fills up changes nothing."""

import numpy as np
import torch

from phidelity.engine.buckets import Buckets
from phidelity.engine.cache import BlockCache
from phidelity.model.attention import CausalAttend
from phidelity.model.config import ModelConfig
from phidelity.model.transformer import Transformer

CONFIG = ModelConfig(
    n_layers=2, d_model=64, n_heads=8, n_kv_heads=2, d_ff=96, vocab_size=80, context_len=256, rope_theta=1e4
)
SPARE = 20


def model() -> Transformer:
    made = Transformer(CONFIG).initialise(torch.Generator().manual_seed(0)).requires_grad_(False)
    for parameter in made.parameters():
        if parameter.ndim == 2:
            parameter.mul_(3.0)
    return made


def cache() -> BlockCache:
    return BlockCache(CONFIG, SPARE + 1, torch.float32, torch.device("cpu"))


def decoded(buckets: Buckets, tokens: np.ndarray, tables: np.ndarray) -> torch.Tensor:
    """Logits [T, N, V] of rows of tokens [N, T] that go on one token at a time."""
    n = len(tokens)
    return torch.stack([buckets(column, np.full(n, at), tables).clone() for at, column in enumerate(tokens.T)])


def plain(tokens: np.ndarray) -> torch.Tensor:
    ids = torch.from_numpy(tokens)
    positions = torch.arange(ids.shape[1])[None].expand_as(ids)
    with torch.inference_mode():
        one = model()
        return one.logits(one(ids, positions, CausalAttend())).transpose(0, 1)


TOKENS = np.random.default_rng(0).integers(0, 80, (3, 70))
TABLES = 1 + np.random.default_rng(1).permutation(9).reshape(3, 3)


def test_steps_equal_a_plain_forward_over_the_edges_of_blocks_and_buckets() -> None:
    assert torch.allclose(decoded(Buckets(model(), cache(), SPARE), TOKENS, TABLES), plain(TOKENS), atol=1e-4)


def test_buckets_are_powers_of_two_and_are_made_once() -> None:
    buckets = Buckets(model(), cache(), SPARE)
    for n, position in ((1, 0), (3, 31), (4, 5), (3, 32), (2, 95), (3, 127), (4, 99)):
        tables = np.ones((n, 4), dtype=np.int64) * np.arange(1, n + 1)[:, None]
        assert buckets(np.zeros(n, dtype=np.int64), np.full(n, position), tables).shape == (n, 80)
    assert [*buckets.buckets] == [(1, 1), (4, 1), (4, 2), (2, 4), (4, 4)]


def test_rows_of_one_step_may_be_at_different_places() -> None:
    buckets = Buckets(model(), cache(), SPARE)
    for at in range(50):
        buckets(TOKENS[:1, at], np.array([at]), TABLES[:1])
    for at in range(40):
        both = buckets(np.array([TOKENS[0, 50 + at % 20], TOKENS[1, at]]), np.array([50 + at % 20, at]), TABLES[:2])
    expected = plain(TOKENS)
    assert torch.allclose(both[0], expected[69, 0], atol=1e-4)
    assert torch.allclose(both[1], expected[39, 1], atol=1e-4)


def test_rows_that_fill_up_touch_no_block_but_their_own_and_change_no_result() -> None:
    held = cache()
    buckets = Buckets(model(), held, SPARE)
    held.data[:, SPARE] = 7.0
    result = decoded(buckets, TOKENS, TABLES)
    written = {int(block) for block in TABLES.ravel()}
    untouched = [block for block in range(SPARE) if block not in written]
    assert not held.data[:, untouched].any()
    assert torch.allclose(result, decoded(Buckets(model(), cache(), SPARE), TOKENS, TABLES), atol=1e-6)
