"""Sampling: the right distribution, and random numbers that are a function of request and position alone."""

import numpy as np
import torch

from phidelity.completion import SamplingParams
from phidelity.engine.sampling import sample, stream_key, uniforms

LOGITS = torch.tensor([0.5, 2.0, 1.0, -1.0, 0.0, 9.0])
N_KNOWN = 5


def frequencies(params: SamplingParams, n: int = 40_000) -> torch.Tensor:
    u = (np.arange(n) + 0.5) / n
    drawn = sample(LOGITS.expand(n, -1), params, u, N_KNOWN)
    expected = LOGITS.log_softmax(-1)[torch.from_numpy(drawn.tokens)]
    assert torch.allclose(expected, torch.from_numpy(drawn.logprobs)), "logprobs are the model's, at temperature 1"
    return torch.bincount(torch.from_numpy(drawn.tokens), minlength=N_KNOWN) / n


def test_tokens_follow_the_tempered_distribution_of_known_ids() -> None:
    for temperature in (0.5, 1.0, 2.0):
        expected = (LOGITS[:N_KNOWN] / temperature).softmax(-1)
        assert torch.allclose(frequencies(SamplingParams(temperature=temperature)), expected, atol=1e-4)


def test_greedy_takes_the_best_known_id() -> None:
    assert frequencies(SamplingParams()).tolist() == [0, 1, 0, 0, 0]


def test_top_k_keeps_the_k_best() -> None:
    expected = torch.where(torch.tensor([False, True, True, False, False]), LOGITS[:N_KNOWN].exp(), 0.0)
    assert torch.allclose(frequencies(SamplingParams(temperature=1, top_k=2)), expected / expected.sum(), atol=1e-4)


def test_top_p_keeps_the_fewest_that_reach_it() -> None:
    p = LOGITS[:N_KNOWN].softmax(-1)
    reach = float(p[1] + p[2])
    for top_p, n_kept in ((reach - 0.01, 2), (reach + 0.01, 3), (0.01, 1)):
        kept = frequencies(SamplingParams(temperature=1, top_p=top_p)) > 0
        assert kept.sum() == n_kept
        assert kept[1]


def test_uniform_numbers_are_uniform_and_differ_by_key_and_position() -> None:
    keys = np.array([stream_key(0, (n,), 0) for n in range(200)], dtype=np.uint64)
    numbers = np.stack([uniforms(keys, np.full(200, position)) for position in range(200)])
    assert numbers.min() >= 0
    assert numbers.max() < 1
    assert np.unique(numbers).size == numbers.size
    assert abs(numbers.mean() - 0.5) < 0.005
    assert abs(numbers.var() - 1 / 12) < 0.002
    assert abs(np.corrcoef(numbers[:-1].ravel(), numbers[1:].ravel())[0, 1]) < 0.02


def test_the_random_stream_of_a_request_is_fixed_for_all_time() -> None:
    keys = np.array([stream_key(7, (1, 2, 3), 1)], dtype=np.uint64)
    assert keys[0] == stream_key(7, (1, 2, 3), 1) != stream_key(7, (1, 2, 3), 0)
    assert uniforms(np.array([0], dtype=np.uint64), np.array([0]))[0] == (0xE220A8397B1DCDAF >> 11) * 2.0**-53
