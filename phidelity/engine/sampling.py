"""Logits to tokens: greedy, temperature, top-k, top-p, by uniform numbers that depend on nothing but the request.

The n-th number of a request is a hash of (its key, n), as in counter-based generators (Salmon et al. 2011; the
mixer is splitmix64), so a whole batch draws in one vectorised call and companions never shift a random stream.
A token is drawn by inverting the cumulative distribution in float64.
"""

import hashlib
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from phidelity.completion import SamplingParams


class Sampled(NamedTuple):
    """One token a row and its log-probability under the model at temperature 1; NaN where the logits hold NaN."""

    tokens: np.ndarray
    logprobs: np.ndarray


def stream_key(seed: int, prompt: tuple[int, ...], occurrence: int) -> int:
    """The 64-bit key of a request's random stream: its seed, its token ids, its how-manieth occurrence."""
    text = f"{seed}/{occurrence}/{','.join(map(str, prompt))}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little")


def uniforms(keys: np.ndarray, counters: np.ndarray) -> np.ndarray:
    """Numbers in [0, 1): the `counters[i]`-th of stream `keys[i]` (uint64), 53 bits each."""
    x = keys + (counters.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return ((x ^ (x >> np.uint64(31))) >> np.uint64(11)) * 2.0**-53


@torch.inference_mode()
def sample(logits: Tensor, params: SamplingParams, u: np.ndarray, n_known: int) -> Sampled:
    """Draw from logits [B, V] by u [B]; only the first `n_known` ids, which the tokenizer can spell, are drawn."""
    logprobs = logits.float().log_softmax(-1)
    known = logprobs[:, :n_known]
    tokens = known.argmax(-1) if params.temperature == 0 else _draw(known, params, torch.from_numpy(u))
    chosen = logprobs.gather(-1, tokens[:, None])[:, 0]
    return Sampled(tokens.numpy(), chosen.numpy())


def _draw(logprobs: Tensor, params: SamplingParams, u: Tensor) -> Tensor:
    scaled = logprobs / params.temperature
    if 0 < params.top_k < scaled.shape[-1]:
        least = scaled.topk(params.top_k).values[:, -1:]
        scaled = scaled.masked_fill(scaled < least, float("-inf"))
    probabilities = scaled.softmax(-1)
    if params.top_p < 1:
        probabilities = _nucleus(probabilities, params.top_p)
    cumulative = probabilities.cumsum(-1, dtype=torch.float64)
    tokens = torch.searchsorted(cumulative, u[:, None] * cumulative[:, -1:], right=True)[:, 0]
    return tokens.clamp_(max=probabilities.shape[-1] - 1)


def _nucleus(probabilities: Tensor, top_p: float) -> Tensor:
    """Zero all but the fewest most probable tokens that together reach `top_p`."""
    ordered, order = probabilities.sort(dim=-1, descending=True, stable=True)
    before = ordered.cumsum(-1, dtype=torch.float64) - ordered
    return probabilities.scatter(-1, order, ordered.masked_fill(before >= top_p, 0.0))
