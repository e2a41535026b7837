"""Prompt lookup: it guesses what came before, only where that pays, and changes nothing but the time."""

from dataclasses import dataclass, field

import numpy as np
import pytest
import torch

from phidelity.completion import SamplingParams
from phidelity.engine.drawing import stream_key
from phidelity.engine.llm import LLM
from phidelity.engine.sampling import Sampler
from phidelity.engine.speculation import LONGEST, Costs, Speculator, best_length, continuation, measure
from phidelity.model.config import ModelConfig
from phidelity.model.transformer import Transformer
from phidelity.tokenizer.bpe import train

FREE = Costs([64], [1.0])
LINEAR = Costs(list(range(1, 65)), [float(n) for n in range(1, 65)])


@dataclass(eq=False)
class Asked:
    prompt: tuple[int, ...]
    params: SamplingParams = field(default_factory=SamplingParams)
    said: tuple[int, ...] = ()
    finish_reason: str = ""
    key: int = 0
    tokens: list[int] = field(default_factory=list)
    allowed: None = None

    def __post_init__(self) -> None:
        self.tokens = [*self.prompt, *self.said]


def plain_lookup(tokens: list[int], n: int) -> tuple[int, ...]:
    """The slow way: the latest earlier end of the last three tokens, and what follows it, over and over."""
    ends = [end for end in range(3, len(tokens)) if tokens[end - 3 : end] == tokens[-3:]]
    if not ends:
        return ()
    longer = list(tokens)
    for _ in range(n):
        longer.append(longer[ends[-1] + len(longer) - len(tokens)])
    return tuple(longer[len(tokens) :])


def test_a_draft_is_what_followed_the_last_tokens_the_time_before() -> None:
    assert Speculator(FREE)(Asked((1, 2, 3, 4, 5, 9, 1, 2, 3)), 1)[:4] == (4, 5, 9, 1)
    assert Speculator(FREE)(Asked((1, 2, 3, 7, 1, 2, 3, 8, 1, 2, 3)), 1)[0] == 8
    assert Speculator(FREE)(Asked((5, 5, 5, 5)), 1)[:3] == (5, 5, 5)
    for short in ((1,), (1, 2), (1, 2, 3), (1, 2, 3, 4, 1, 2)):
        assert Speculator(FREE)(Asked(short), 1) == ()


def test_the_index_that_grows_equals_the_slow_search() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        request, speculator = Asked(tuple(rng.integers(0, 3, 5).tolist())), Speculator(FREE)
        for _ in range(40):
            draft = speculator(request, 1)
            assert draft == plain_lookup(request.tokens, len(draft))
            request.tokens += rng.integers(0, 3, rng.integers(1, 4)).tolist()


def test_what_repeats_goes_on_repeating() -> None:
    assert continuation([1, 2, 3, 4, 2, 3, 4], 4, 7) == (2, 3, 4, 2, 3, 4, 2)


def test_penalised_requests_get_no_draft() -> None:
    for params in ({"repetition_penalty": 1.1}, {"presence_penalty": 0.1}, {"frequency_penalty": 0.1}):
        assert Speculator(FREE)(Asked((5,) * 9, SamplingParams(**params)), 1) == ()
    assert Speculator(FREE)(Asked((5,) * 9, SamplingParams(temperature=1.0, logit_bias=((1, 2.0),))), 1)


def test_the_gate_drafts_where_rows_are_free_and_not_where_each_costs_its_share() -> None:
    assert best_length(0.5, 1, FREE) == LONGEST
    assert best_length(0.99, 1, LINEAR) == 0
    assert best_length(0.5, 65, FREE) == 0
    tiles = Costs([4, 8, 16], [1.0, 1.6, 2.4])
    assert best_length(0.5, 1, tiles) == 3, "up to the size that is computed anyway"
    assert best_length(0.95, 1, tiles) == 15
    assert best_length(0.5, 4, tiles) == 0
    assert best_length(0.01, 4, FREE) == 0, "promises less than the margin"


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.8, 0.95])
@pytest.mark.parametrize("n_rows", [1, 3, 10])
def test_the_gate_takes_the_length_of_most_tokens_a_second(rate: float, n_rows: int) -> None:
    costs = Costs([4, 8, 16, 32], [1.0, 1.2, 1.9, 3.5])
    speeds = [(n_rows + sum(rate**i for i in range(1, n + 1))) / costs(n_rows + n) for n in range(LONGEST + 1)]
    n = best_length(rate, n_rows, costs)
    assert speeds[n] == max(speeds) if n else max(speeds) <= 1.05 * speeds[0]


def test_requests_earn_long_drafts_and_lose_them() -> None:
    costs = Costs([4, 8, 16, 32], [1.0, 1.5, 2.5, 4.5])
    good, bad, speculator = Asked((1, 2, 3, 4) * 6), Asked((1, 2, 3, 4) * 6), Speculator(costs)
    for step in range(12):
        good_draft, bad_draft = speculator(good, 1), speculator(bad, 1)
        good.tokens += good_draft
        bad.tokens += (100 + step, 1, 2, 3)
    assert len(good_draft) == 15
    assert len(bad_draft) <= 3


def test_costs_grow_with_rows_and_end_with_the_measured_ones() -> None:
    config = ModelConfig(
        n_layers=1, d_model=64, n_heads=4, n_kv_heads=2, d_ff=128, vocab_size=512, context_len=64, rope_theta=1e4
    )
    model = Transformer(config).initialise(torch.Generator().manual_seed(0)).requires_grad_(False)
    measured = measure(model, [4, 8, 64, 512])
    assert 0 < measured(1) == measured(4) <= measured(5) <= measured(64) < measured(65) == float("inf")


def test_ended_requests_are_forgotten() -> None:
    speculator = Speculator(FREE)
    for number in range(50):
        request = Asked((number,) * 5)
        speculator(request, 1)
    assert len(speculator._memories) == 1


def test_sampled_tokens_are_the_same_and_kept_with_their_probability() -> None:
    """A stand-in model: logits depend on the last two tokens. Steps with drafts and steps without give one answer."""
    table = torch.randn(5, 5, 5, generator=torch.Generator().manual_seed(1)) * 2
    n_kept = n_drafted = n_steps = 0
    expected = 0.0
    for number in range(60):
        params = SamplingParams(temperature=0.9, top_p=0.95, seed=number)
        plain, fast = (Asked((0, 1, 2, 0, 1, 2), params, key=stream_key(number, (), 0)) for _ in range(2))
        sampler, speculator = Sampler(5), Speculator(FREE)
        while len(plain.tokens) < 40:
            plain.tokens.append(int(sampler(table[plain.tokens[-2], plain.tokens[-1]][None], [plain]).tokens[0]))
        while len(fast.tokens) < 40:
            n_steps += 1
            draft = speculator(fast, 1)[: 39 - len(fast.tokens)]
            longer = [*fast.tokens, *draft]
            rows = range(len(fast.tokens), len(longer) + 1)
            logits = torch.stack([table[longer[at - 2], longer[at - 1]] for at in rows])
            drawn = Sampler(5)(logits, [fast] * len(rows), np.arange(len(rows))).tokens.tolist()
            for place, token in enumerate(drawn):
                fast.tokens.append(token)
                if place < len(draft):
                    n_drafted += 1
                    expected += float(kept_probability(logits[place], params)[draft[place]])
                    n_kept += token == draft[place]
                if place == len(draft) or token != draft[place]:
                    break
        assert fast.tokens == plain.tokens
    assert n_steps < 0.8 * 60 * 34
    assert n_drafted > 400
    assert abs(n_kept - expected) < 3 * (n_drafted * 0.25) ** 0.5


def kept_probability(logits: torch.Tensor, params: SamplingParams) -> torch.Tensor:
    p, order = (logits / params.temperature).softmax(-1).sort(descending=True)
    p = torch.where(p.cumsum(-1) - p < params.top_p, p, 0.0)
    return torch.zeros(5).scatter(0, order, p / p.sum())


@pytest.mark.parametrize("temperature", [0.0, 0.7])
def test_the_engine_says_the_same_with_and_without(temperature: float) -> None:
    config = ModelConfig(
        n_layers=2, d_model=64, n_heads=8, n_kv_heads=2, d_ff=224, vocab_size=416, context_len=256, rope_theta=1e4
    )
    model = Transformer(config).initialise(torch.Generator().manual_seed(1)).requires_grad_(False)
    for parameter in model.parameters():
        if parameter.ndim == 2:
            parameter.mul_(3.0)
    tokenizer = train(["the cat sat on the mat"] * 3, 400)
    rng = np.random.default_rng(0)
    prompts = [tuple(rng.integers(0, 200, rng.integers(3, 12)).tolist()) * 6 for _ in range(12)]
    params = SamplingParams(temperature=temperature, top_k=3, max_tokens=80, logprobs=1)
    plain = LLM(model, tokenizer, "plain", speculate=False)
    fast = LLM(model, tokenizer, "fast", speculate=True)
    try:
        expected = plain.complete(prompts, params)
        assert fast.complete(prompts, params) == expected
        alone = [fast.complete([prompt], params)[0] for prompt in prompts[:6]]
        assert alone == expected[:6]
        cut = params.model_copy(update={"max_tokens": 7})
        assert [one.tokens for one in fast.complete(prompts, cut)] == [one.tokens[:7] for one in expected]
        stats = fast.stats()
        assert 0 < stats["accepted_tokens"] <= stats["drafted_tokens"]
        assert not plain.stats()["drafted_tokens"]
    finally:
        plain.close()
        fast.close()
