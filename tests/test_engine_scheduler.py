"""The laws of the scheduler: whatever it does to a request, the answer is the one it would have had alone."""

import gc
import weakref
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from phidelity.completion import SamplingParams
from phidelity.engine.blocks import BLOCK
from phidelity.engine.engine import Engine
from phidelity.engine.runner import Runner
from phidelity.engine.sequence import Sequence
from phidelity.engine.speculation import Costs, Speculator
from phidelity.engine.spill import Spill
from phidelity.model.attention import CausalAttend
from phidelity.model.config import ModelConfig, cache_bytes_per_token
from phidelity.model.transformer import Transformer

CONFIG = ModelConfig(
    n_layers=2, d_model=64, n_heads=8, n_kv_heads=2, d_ff=224, vocab_size=300, context_len=256, rope_theta=10_000.0
)
GREEDY = SamplingParams()
WARM = SamplingParams(temperature=1.0)
LEAST_BLOCKS = CONFIG.context_len // BLOCK


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@cache
def model() -> Transformer:
    made = Transformer(CONFIG).initialise(torch.Generator().manual_seed(1)).requires_grad_(False).eval()
    for parameter in made.parameters():
        if parameter.ndim == 2:
            parameter.mul_(3.0)
    return made


def engine(n_blocks: int = 600, n_rows: int = 64, budget: int | None = None, **options) -> Engine:
    size = n_blocks * BLOCK * cache_bytes_per_token(CONFIG, 4)
    runner = Runner(model(), n_rows=n_rows, cache_bytes=size, context_len=CONFIG.context_len, step_tokens=budget)
    return Engine(runner, CONFIG.vocab_size, **options)


def sequence(prompt: tuple[int, ...], limit: int = 20, params: SamplingParams = WARM, key: int = 7) -> Sequence:
    return Sequence(prompt, params, key, limit)


def prompt(n: int, seed: int = 0) -> tuple[int, ...]:
    return tuple(np.random.default_rng(seed).integers(0, CONFIG.vocab_size, n).tolist())


def run(one: Engine, *sequences: Sequence) -> list[tuple[list[int], list[float]]]:
    for each in sequences:
        one.add(each)
    while one.is_busy:
        one.step()
    one.scheduler.blocks.check([])
    return [(each.said, each.logprobs) for each in sequences]


@cache
def solo() -> Engine:
    return engine()


@cache
def alone(prompt: tuple[int, ...], limit: int = 20, params: SamplingParams = WARM, key: int = 7):
    """Tokens and log-probabilities of a request that no other and no cached prefix is near."""
    solo().scheduler.blocks.forget_all()
    (said,) = run(solo(), sequence(prompt, limit, params, key))
    return said


@pytest.mark.parametrize("budget", [4, 8, 16, 64])
def test_chunks_of_any_size_change_no_bit(budget: int) -> None:
    prompts = [prompt(n, seed=n) for n in (1, 31, 32, 33, 65, 150)]
    chunked = run(engine(budget=budget, n_rows=4), *(sequence(one) for one in prompts))
    assert chunked == [alone(one) for one in prompts]


def test_a_prefix_hit_changes_no_bit_and_computes_only_the_rest() -> None:
    one = engine()
    shared = prompt(100)
    for n, tail in ((100, ()), (100, ()), (90, (5, 6, 7)), (64, (9,)), (100, prompt(40, 3))):
        asked = sequence(shared[:n] + tail)
        assert run(one, asked) == [alone(shared[:n] + tail)]
    assert asked.n_reused >= 100
    before = one.stats.prompt_tokens - one.stats.prefix_hit_tokens
    run(one, sequence(shared + prompt(40, 3)))
    assert one.stats.prompt_tokens - one.stats.prefix_hit_tokens == before + 1


def test_an_answer_is_found_when_the_talk_goes_on_and_changes_no_bit() -> None:
    one = engine()
    first = sequence(prompt(50), limit=60)
    run(one, first)
    whole = (*first.prompt, *first.said, 1, 2, 3)
    second = sequence(whole)
    assert run(one, second) == [alone(whole)]
    assert second.n_reused >= 109


def test_equal_prompts_are_computed_once_though_they_come_together() -> None:
    one = engine()
    same = [sequence(prompt(100), key=key) for key in range(20)]
    assert run(one, *same) == [alone(prompt(100), key=key) for key in range(20)]
    assert one.stats.prompt_tokens - one.stats.prefix_hit_tokens == 100 + 19


def test_preemption_changes_no_bit() -> None:
    one = engine(n_blocks=LEAST_BLOCKS + 2)
    prompts = [prompt(60, seed=seed) for seed in range(6)]
    crowded = run(one, *(sequence(each, limit=90) for each in prompts))
    assert one.stats.preemptions > 0
    assert crowded == [alone(each, limit=90) for each in prompts]


def test_a_restart_finds_the_cache_on_disk_and_changes_no_bit(tmp_path: Path) -> None:
    def restarted() -> Engine:
        shape = (CONFIG.n_layers, 2, CONFIG.n_kv_heads, BLOCK, CONFIG.head_dim)
        return engine(spill=Spill(tmp_path, "model", shape, torch.float32))

    first = restarted()
    shared = prompt(200)
    run(first, sequence(shared))
    while first.scheduler.save_one():
        pass
    second = restarted()
    asked = sequence(shared[:150] + (3, 4))
    assert run(second, asked) == [alone(shared[:150] + (3, 4))]
    assert second.stats.restored_blocks == 150 // BLOCK
    assert asked.n_reused == 150 // BLOCK * BLOCK


def test_after_a_restart_a_talk_goes_on_without_computing_any_of_it_again(tmp_path: Path) -> None:
    shape = (CONFIG.n_layers, 2, CONFIG.n_kv_heads, BLOCK, CONFIG.head_dim)
    first = engine(spill=Spill(tmp_path, "model", shape, torch.float32))
    talk = sequence(prompt(50))
    run(first, talk)
    while first.scheduler.save_one():
        pass
    second = engine(spill=Spill(tmp_path, "model", shape, torch.float32))
    asked = sequence((*talk.tokens, 5, 6))
    assert run(second, asked) == [alone(asked.prompt)]
    assert asked.n_reused == len(talk.tokens) - 1


def test_evicted_blocks_come_back_from_disk(tmp_path: Path) -> None:
    shape = (CONFIG.n_layers, 2, CONFIG.n_kv_heads, BLOCK, CONFIG.head_dim)
    one = engine(n_blocks=LEAST_BLOCKS, n_rows=1, spill=Spill(tmp_path, "model", shape, torch.float32))
    prompts = [prompt(120, seed=seed) for seed in range(8)]
    expected = [alone(each) for each in prompts]
    assert [run(one, sequence(each))[0] for each in prompts * 2] == expected * 2
    assert one.stats.restored_blocks >= 12


def test_any_draft_changes_no_bit() -> None:
    rng = np.random.default_rng(0)

    def propose(one: Sequence, n_rows: int) -> tuple[int, ...]:
        known = alone(one.prompt, 40)[0][one.n_said :]
        right = int(rng.integers(0, 5))
        return (*known[:right], *rng.integers(0, 300, int(rng.integers(0, 3))).tolist())

    one = engine(propose=propose)
    prompts = [prompt(n, seed=n) for n in (5, 60)]
    assert run(one, *(sequence(each, 40) for each in prompts)) == [alone(each, 40) for each in prompts]
    assert 10 < one.stats.accepted_tokens < one.stats.drafted_tokens
    assert one.stats.steps < 60


def test_prompt_scores_equal_a_plain_forward_and_chunks_change_no_bit() -> None:
    params = SamplingParams(prompt_logprobs=2, max_tokens=0)
    asked = [sequence(prompt(n, seed=n), 0, params) for n in (1, 2, 64, 150)]
    run(engine(budget=16, n_rows=4), *asked)
    for one in asked:
        ids = torch.tensor([one.prompt])
        with torch.inference_mode():
            logits = model().logits(model()(ids, torch.arange(len(one.prompt))[None], CausalAttend()))[0, :-1]
        expected = logits.log_softmax(-1).gather(-1, ids[0, 1:, None])[:, 0]
        assert torch.allclose(torch.tensor(one.prompt_logprobs), expected, atol=1e-4)
        assert [pair[0].token for pair in one.prompt_alternatives] == logits.argmax(-1).tolist()
        again = sequence(one.prompt, 0, params)
        run(engine(), again)
        assert again.prompt_logprobs == one.prompt_logprobs
        assert one.finish_reason == "length"
        assert not one.said


def test_a_prompt_that_is_read_one_token_at_a_time_is_scored_whole() -> None:
    scored = SamplingParams(max_tokens=1, prompt_logprobs=0)
    whole = sequence(prompt(20), params=scored, limit=1)
    run(engine(), whole)
    for n_before in range(8, 17):
        one = sequence(prompt(20), params=scored, limit=1)
        run(engine(budget=16), sequence(prompt(n_before, 1), limit=1), one)
        assert one.prompt_logprobs == whole.prompt_logprobs
        assert len(one.prompt_logprobs) == 19


def test_cancelled_requests_end_and_give_their_blocks_back() -> None:
    one = engine(n_rows=2)
    asked = [sequence(prompt(40, seed=seed), limit=50) for seed in range(4)]
    for each in asked:
        one.add(each)
    for _ in range(5):
        one.step()
    asked[0].is_cancelled = asked[3].is_cancelled = one.has_cancelled = True
    one.step()
    assert (asked[0].finish_reason, asked[3].finish_reason) == ("cancelled", "cancelled")
    assert 0 < asked[0].n_said < 50
    run(one)
    assert [(each.said, each.logprobs) for each in asked[1:3]] == [alone(prompt(40, seed), 50) for seed in (1, 2)]


@pytest.mark.parametrize("seed", range(4))
def test_random_arrivals_lengths_and_cancels_in_a_tiny_pool(seed: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(seed)
    shape = (CONFIG.n_layers, 2, CONFIG.n_kv_heads, BLOCK, CONFIG.head_dim)
    spill = Spill(tmp_path, "model", shape, torch.float32, budget=200_000) if seed % 2 else None
    n_blocks = LEAST_BLOCKS + int(rng.integers(0, 6))
    one = engine(n_blocks=n_blocks, n_rows=int(rng.integers(1, 9)), budget=int(rng.choice([8, 16, 48])), spill=spill)
    stems = [prompt(n, seed=100 + n) for n in (90, 40, 33)]
    coming = []
    for _ in range(30):
        stem = stems[int(rng.integers(3))][: int(rng.integers(1, 91))]
        ids = stem + tuple(rng.integers(0, 300, int(rng.integers(0, 40))).tolist())
        coming.append((ids, int(rng.integers(1, 60)), int(rng.integers(0, 3))))
    under_way: list[Sequence] = []
    asked: list[Sequence] = []
    n_steps = 0
    while coming or one.is_busy:
        while coming and rng.random() < 0.3:
            ids, limit, key = coming.pop()
            asked.append(sequence(ids, limit, WARM if key else GREEDY, key))
            one.add(asked[-1])
        if asked and rng.random() < 0.02:
            asked[int(rng.integers(len(asked)))].is_cancelled = one.has_cancelled = True
        before = [each for each in asked if each.finish_reason]
        ended = one.step()
        assert set(before).isdisjoint(ended)
        assert all(each.finish_reason for each in ended)
        under_way = one.scheduler.running
        one.scheduler.blocks.check([each.blocks for each in under_way])
        assert len({each.row for each in under_way}) == len(under_way) <= one.runner.n_rows
        n_steps += 1
        assert n_steps < 20_000, "some request never ends"
    one.scheduler.blocks.check([])
    assert len(asked) == 30
    reasons = [each.finish_reason for each in asked]
    assert set(reasons) <= {"length", "cancelled"}
    assert reasons.count("length") > 15
    for each in asked:
        said, logprobs = alone(each.prompt, max(each.n_said, 1), each.params, each.key)
        assert (each.said, each.logprobs) == (said[: each.n_said], logprobs[: each.n_said])


def test_a_prompt_whose_numbers_break_leaves_no_nan_behind() -> None:
    broken = Transformer(CONFIG).eval().requires_grad_(False)
    broken.load_state_dict(model().state_dict())
    broken.embed.weight[299] = float("nan")
    size = 20 * BLOCK * cache_bytes_per_token(CONFIG, 4)
    one = Engine(Runner(broken, n_rows=4, cache_bytes=size, context_len=CONFIG.context_len), 299)
    sound = [tuple(token % 299 for token in prompt(70, seed=seed)) for seed in range(4)]
    bad = [sequence((*ids[:k], 299, *ids[k:])) for ids, k in zip(sound, (0, 30, 69, 70), strict=True)]
    good = [sequence(ids) for ids in sound]
    run(one, *(each for pair in zip(bad, good, strict=True) for each in pair))
    assert [each.finish_reason for each in bad] == ["error"] * 4
    assert all("not finite" in each.error for each in bad)
    assert [each.finish_reason for each in good] == ["length"] * 4
    assert bool(one.runner.cache.data.isfinite().all())


def test_a_prompt_is_scored_in_parts_and_without_drafts() -> None:
    scored = SamplingParams(prompt_logprobs=0)
    same = (5, 6, 7) * 11
    one = engine(propose=lambda *_: (5, 6, 7))
    one.runner.most_scored = 8
    asked = [sequence(same, 4, scored), sequence(prompt(30), 4, scored)]
    for each in asked:
        one.add(each)
    while one.is_busy:
        chunks = one.scheduler.plan()
        assert sum(chunk.n for chunk in chunks if chunk.sequence.n_said == 0) <= 9
        logits, is_finite = one.runner.forward(chunks)
        one._receive(chunks, logits, is_finite.tolist())
    for each in asked:
        whole = sequence(each.prompt, 4, scored)
        run(engine(), whole)
        assert each.prompt_logprobs == whole.prompt_logprobs
        assert (each.said, each.logprobs) == (whole.said, whole.logprobs)


def test_waiting_requests_are_looked_through_only_when_one_was_cancelled() -> None:
    one = engine(n_rows=1)
    asked = [sequence(prompt(4, seed=seed), limit=30) for seed in range(3)]
    for each in asked:
        one.add(each)
    one.step()
    asked[2].is_cancelled = True
    assert asked[2] not in one.step()
    one.has_cancelled = True
    assert one.step() == [asked[2]]
    assert list(one.scheduler.waiting) == [asked[1]]


def test_an_engine_at_rest_holds_no_request() -> None:
    one = engine(propose=Speculator(Costs([64], [1.0])))
    asked = sequence((5, 6, 7) * 8, params=SamplingParams())
    run(one, asked)
    gone = weakref.ref(asked)
    del asked
    gc.collect()
    assert gone() is None
