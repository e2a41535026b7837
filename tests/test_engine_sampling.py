"""Sampling: equal to a slow plain reference, in the right distribution, and a function of the request alone."""

import gc
import math
import weakref
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch

from phidelity.completion import HOTTEST, STRONGEST, SamplingParams
from phidelity.config import UserError
from phidelity.engine import sampling
from phidelity.engine.drawing import Settings, draw, stream_key, uniforms
from phidelity.engine.sampling import Sampler, check_ids, score

LOGITS = torch.tensor([0.5, 2.0, 1.0, -1.0, 0.0, 9.0])
N_KNOWN = 5
V = 300


@dataclass(eq=False)
class Asked:
    params: SamplingParams
    prompt: tuple[int, ...] = (1, 2, 3)
    said: tuple[int, ...] = ()
    key: int = 0
    tokens: list[int] = field(default_factory=list)
    allowed: Any = None

    def __post_init__(self) -> None:
        self.key = stream_key(self.params.seed, self.prompt, 0)
        self.tokens = [*self.prompt, *self.said]


def reference(logits: torch.Tensor, one: Asked, n_known: int) -> list[float]:
    """The distribution of the next token, by plain loops over a list; greedy is a distribution of one."""
    p, x = one.params, [float(value) for value in logits[:n_known]]
    said = list(one.tokens[len(one.prompt) :])
    for token in set(one.tokens):
        x[token] = x[token] / p.repetition_penalty if x[token] > 0 else x[token] * p.repetition_penalty
    for token in set(said):
        x[token] -= p.presence_penalty + p.frequency_penalty * said.count(token)
    for token, bias in p.logit_bias:
        x[token] += bias
    order = sorted(range(n_known), key=lambda token: (-x[token], token))
    if p.temperature == 0:
        return [float(token == order[0]) for token in range(n_known)]
    kept = order[: p.top_k or n_known]
    weights = {token: math.exp((x[token] - x[order[0]]) / p.temperature) for token in kept}
    total = sum(weights.values())
    nucleus, mass = [], 0.0
    for token in kept:
        if mass < p.top_p or not nucleus:
            nucleus.append(token)
        mass += weights[token] / total
    nucleus = [token for token in nucleus if weights[token] >= p.min_p]
    total = sum(weights[token] for token in nucleus)
    return [weights[token] / total if token in nucleus else 0.0 for token in range(n_known)]


def random_params(rng: np.random.Generator) -> SamplingParams:
    def maybe(value: float, otherwise: float) -> float:
        return value if rng.random() < 0.5 else otherwise

    return SamplingParams(
        temperature=maybe(float(rng.uniform(0.2, 2)), 1.0),
        top_k=int(maybe(int(rng.integers(1, 40)), 0)),
        top_p=maybe(float(rng.uniform(0.1, 0.99)), 1.0),
        min_p=maybe(float(rng.uniform(0.001, 0.3)), 0.0),
        repetition_penalty=maybe(float(rng.uniform(0.7, 1.6)), 1.0),
        presence_penalty=maybe(float(rng.uniform(-2, 2)), 0.0),
        frequency_penalty=maybe(float(rng.uniform(-2, 2)), 0.0),
        logit_bias=tuple({int(t): float(rng.uniform(-5, 5)) for t in rng.integers(0, V - 5, 4)}.items()),
        seed=int(rng.integers(1000)),
    )


def random_batch(n: int, seed: int) -> tuple[torch.Tensor, list[Asked]]:
    rng = np.random.default_rng(seed)
    logits = torch.from_numpy(rng.normal(0, 3, (n, V))).float()
    ids = [tuple(rng.integers(0, V - 5, rng.integers(1, 30)).tolist()) for _ in range(2 * n)]
    return logits, [Asked(random_params(rng), ids[row], ids[n + row]) for row in range(n)]


def sample(logits: torch.Tensor, params: SamplingParams, u: np.ndarray, n_known: int) -> np.ndarray:
    """Tokens by the same parameters in every row, drawn by the numbers u."""
    if params.temperature == 0:
        return Sampler(n_known)(logits, [Asked(params, (row,)) for row in range(len(logits))]).tokens
    return draw(logits.float()[:, :n_known], Settings.of([params] * len(u), logits.device), u)


def frequencies(params: SamplingParams, n: int = 40_000) -> torch.Tensor:
    u = (np.arange(n) + 0.5) / n
    drawn = sample(LOGITS.expand(n, -1), params, u, N_KNOWN)
    expected = LOGITS.log_softmax(-1)[torch.from_numpy(drawn)]
    logprobs = torch.tensor(score(LOGITS.expand(n, -1), drawn.tolist())[0])
    assert torch.allclose(expected, logprobs), "logprobs are the model's, at temperature 1"
    return torch.bincount(torch.from_numpy(drawn), minlength=N_KNOWN) / n


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


def test_min_p_keeps_what_is_probable_enough_beside_the_best() -> None:
    p = LOGITS[:N_KNOWN].softmax(-1)
    edge = float(p[2] / p[1])
    assert (frequencies(SamplingParams(temperature=1, min_p=edge - 0.01)) > 0).tolist() == [False, True, True] + [
        False
    ] * 2
    assert (frequencies(SamplingParams(temperature=1, min_p=edge + 0.01)) > 0).tolist() == [False, True] + [False] * 3


@pytest.mark.parametrize("seed", range(3))
def test_every_option_and_mixture_equals_the_slow_reference(seed: int) -> None:
    """Each row draws by numbers spread evenly over [0, 1), so that the counts are the distribution."""
    logits, batch = random_batch(12, seed)
    n = 2000
    for row, one in enumerate(batch):
        expected = np.array(reference(logits[row], one, V - 5))
        sampler = Sampler(V - 5)
        requests = [Asked(one.params, one.prompt, one.said) for _ in range(n)]
        counts = np.bincount(spread(sampler, logits[row].expand(n, -1), requests), minlength=V - 5) / n
        assert np.abs(np.cumsum(counts) - np.cumsum(expected)).max() < 1.5 / n + 1e-4
        assert not counts[expected == 0].any()


def spread(sampler: Sampler, logits: torch.Tensor, requests: list[Asked]) -> np.ndarray:
    """Tokens by numbers that are spread evenly: streams of the splitmix64 hash, undone."""
    wanted = (np.arange(len(requests)) + 0.5) / len(requests)
    for request, u in zip(requests, wanted, strict=True):
        request.key = _key_of(u, len(request.tokens) - len(request.prompt))
    return sampler(logits, requests).tokens


def _key_of(u: float, counter: int) -> int:
    """The key whose `counter`-th number is u."""
    mask, x = (1 << 64) - 1, int(u * 2**53) << 11
    x ^= (x >> 31) ^ (x >> 62)
    x = x * pow(0x94D049BB133111EB, -1, 1 << 64) & mask
    x ^= (x >> 27) ^ (x >> 54)
    x = x * pow(0xBF58476D1CE4E5B9, -1, 1 << 64) & mask
    x ^= (x >> 30) ^ (x >> 60)
    return (x - (counter + 1) * 0x9E3779B97F4A7C15) & mask


def test_draws_pass_a_chi_square_test() -> None:
    n, params = 20_000, SamplingParams(temperature=0.8, top_p=0.95, seed=5)
    logits = torch.linspace(-2, 2, 40)
    requests = [Asked(params, (number,)) for number in range(n)]
    counts = np.bincount(Sampler(40)(logits.expand(n, -1), requests).tokens, minlength=40)
    expected = n * np.array(reference(logits, Asked(params, (1,)), 40))
    seen = expected > 0
    assert counts[~seen].sum() == 0
    chi_square = ((counts - expected)[seen] ** 2 / expected[seen]).sum()
    assert chi_square < 70, f"{seen.sum() - 1} degrees of freedom; fixed seed"


@pytest.mark.parametrize("temperature", [0.0, 0.8])
def test_a_row_draws_the_same_bits_alone_and_among_63_others(temperature: float) -> None:
    logits, batch = random_batch(64, seed=11)
    if not temperature:
        batch = [Asked(one.params.model_copy(update={"temperature": 0.0}), one.prompt, one.said) for one in batch]
    together = Sampler(V - 5)(logits, batch)
    for row in range(64):
        alone = Sampler(V - 5)(logits[row : row + 1], batch[row : row + 1])
        assert (alone.tokens[0], alone.logprobs[0]) == (together.tokens[row], together.logprobs[row])


def test_history_is_counted_as_it_grows_and_batches_may_change() -> None:
    params = SamplingParams(frequency_penalty=1.0, repetition_penalty=1.2)
    logits, sampler = torch.tensor([[2.0, 1.9, 1.7, -0.5]]), Sampler(4)
    one, other = Asked(params, prompt=(3,)), Asked(params, prompt=(0,))
    for step in range(12):
        expected = int(np.argmax(reference(logits[0], one, 4)))
        batch = [other, one] if step % 3 else [one]
        token = int(sampler(logits.expand(len(batch), -1), batch).tokens[batch.index(one)])
        assert token == expected
        one.tokens.append(token)


def test_ties_go_to_the_lowest_id_also_at_the_edges_of_top_k_and_top_p() -> None:
    logits = torch.tensor([0.0, 3.0, 1.0, 3.0, 3.0, 3.0]).expand(400, -1)
    u = np.arange(400) / 400
    assert set(sample(logits, SamplingParams(), u, 6)) == {1}
    assert set(sample(logits, SamplingParams(temperature=1, top_k=2), u, 6)) == {1, 3}
    assert set(sample(logits, SamplingParams(temperature=1, top_p=0.6), u, 6)) == {1, 3, 4}
    flat = torch.zeros(400, 1000)
    assert set(sample(flat, SamplingParams(temperature=1, top_p=0.3), u, 1000)) <= set(range(300))


def test_a_nucleus_wider_than_the_first_candidates_is_whole() -> None:
    logits = torch.linspace(1, 0, 2000).expand(4000, -1)
    u = (np.arange(4000) + 0.5) / 4000
    drawn = sample(logits, SamplingParams(temperature=1, top_p=0.5), u, 2000)
    p = logits[0].double().softmax(-1)
    last = int((p.cumsum(-1) - p < 0.5).sum()) - 1
    assert last > 256
    assert drawn.max() == pytest.approx(last, abs=1)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_row_that_is_not_finite_is_told_and_the_others_go_on(bad: float, temperature: float) -> None:
    logits, _ = random_batch(5, seed=2)
    params = SamplingParams(temperature=temperature, top_p=0.9, top_k=7, min_p=0.01, logprobs=2)
    batch = [Asked(params, (row,)) for row in range(5)]
    fine = Sampler(V)(logits, batch)
    logits[2, 17] = bad
    logits[4] = -math.inf
    broken = Sampler(V)(logits, batch)
    assert np.isfinite(broken.logprobs).tolist() == [True, True, False, True, False]
    for row in (0, 1, 3):
        assert broken.tokens[row] == fine.tokens[row]
        assert broken.alternatives[row] == fine.alternatives[row]
    assert broken.alternatives[2] == ()


def test_extreme_logits_and_temperatures_still_give_the_best_token() -> None:
    logits = torch.tensor([[-3e38, 3e38, 0.0, -math.inf]]).expand(50, -1)
    u = np.arange(50) / 50
    for temperature in (0.0, 1e-320, 1e-9, 1.0, 100.0):
        assert set(sample(logits, SamplingParams(temperature=temperature), u, 4)) == {1}
    small = torch.tensor([[1.0, 1.0 + 1e-6, 0.0]]).expand(50, -1)
    assert set(sample(small, SamplingParams(temperature=1e-12), u, 3)) == {1}
    hot = torch.tensor([[0.0, 5.0, -math.inf]]).expand(50, -1)
    assert set(sample(hot, SamplingParams(temperature=100.0), u, 3)) == {0, 1}
    shaped = Asked(SamplingParams(repetition_penalty=0.001, temperature=1.0), prompt=(0,))
    assert Sampler(3)(torch.tensor([[30.0, 5.0, 1.0]]), [shaped]).tokens.tolist() == [0]


def test_alternatives_are_the_most_probable_of_the_unchanged_model() -> None:
    logits = torch.tensor([[1.0, 3.0, 2.0, 2.0, -1.0]])
    one = Asked(SamplingParams(logprobs=3, logit_bias=((4, 100.0),)))
    drawn = Sampler(5)(logits, [one])
    assert drawn.tokens.tolist() == [4]
    expected = logits[0].log_softmax(-1)
    assert [alternative.token for alternative in drawn.alternatives[0]] == [1, 2, 3]
    assert [alternative.logprob for alternative in drawn.alternatives[0]] == pytest.approx(expected[[1, 2, 3]].tolist())
    assert drawn.logprobs[0] == pytest.approx(float(expected[4]))


def test_scores_of_given_tokens_are_log_softmax() -> None:
    logits, _ = random_batch(6, seed=3)
    targets = [5, 299, 0, 7, 7, 100]
    chosen, alternatives = score(logits, targets, 4)
    expected = logits.log_softmax(-1)
    assert chosen == pytest.approx(expected[range(6), targets].tolist(), abs=1e-5)
    for row in range(6):
        assert [one.token for one in alternatives[row]] == expected[row].topk(4).indices.tolist()
    assert score(logits, targets)[1] == []


def test_a_draft_is_right_where_it_is_what_would_have_been_drawn() -> None:
    """Rows ahead of the answer draw by the numbers that the request would have come to."""
    logits, _ = random_batch(3, seed=4)
    one = Asked(SamplingParams(temperature=1.0, seed=8))
    at_once = Sampler(V)(logits, [one, one, one], np.array([0, 1, 2]))
    for row in range(3):
        token = Sampler(V)(logits[row : row + 1], [one]).tokens[0]
        assert token == at_once.tokens[row]
        one.tokens.append(int(token))


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


def test_tokens_that_the_tokenizer_lacks_are_refused() -> None:
    check_ids(SamplingParams(logit_bias=((4, 1.0),), stop_ids=(4,)), 5)
    with pytest.raises(UserError, match="logit_bias names token 5; this model has 0 to 4"):
        check_ids(SamplingParams(logit_bias=((5, 1.0),)), 5)
    with pytest.raises(UserError, match="stop_ids names token 9"):
        check_ids(SamplingParams(stop_ids=(1, 9)), 5)


class Even:
    """Allows even tokens, and in the end token 1 alone."""

    is_broken = False

    def mask(self, said: Sequence[int]) -> np.ndarray:
        return np.arange(V) == 1 if len(said) > 1 else np.arange(V) % 2 == 0


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_only_allowed_tokens_are_said_and_companions_are_free(temperature: float) -> None:
    logits = torch.randn(3, V, generator=torch.Generator().manual_seed(5))
    params = SamplingParams(temperature=temperature)
    batch = [Asked(params), Asked(params, allowed=Even()), Asked(params, said=(2, 4), allowed=Even())]
    free, held, ended = Sampler(V)(logits, batch).tokens.tolist()
    assert held % 2 == 0
    assert ended == 1
    assert free == Sampler(V)(logits[:1], [Asked(params)]).tokens[0]


class Broken:
    """A grammar that cannot say what it allows."""

    is_broken = False

    def __init__(self, mask: np.ndarray | None) -> None:
        self._mask = mask

    def mask(self, said: Sequence[int]) -> np.ndarray:
        if self._mask is None:
            raise ValueError("the grammar is broken")
        return self._mask


@pytest.mark.parametrize(
    ("mask", "message"),
    [(None, "the grammar is broken"), (np.ones(3, dtype=bool), "booleans"), (np.zeros(V, dtype=bool), "one of them")],
)
def test_a_grammar_that_fails_is_told_for_its_row_and_the_others_go_on(mask: np.ndarray | None, message: str) -> None:
    logits = torch.randn(2, V, generator=torch.Generator().manual_seed(5))
    drawn = Sampler(V)(logits, [Asked(SamplingParams()), Asked(SamplingParams(), allowed=Broken(mask))])
    assert drawn.tokens[0] == Sampler(V)(logits[:1], [Asked(SamplingParams())]).tokens[0]
    assert list(drawn.failures) == [1]
    assert message in drawn.failures[1]


def test_the_hottest_draw_keeps_to_the_grammar() -> None:
    logits = torch.randn(1, V, generator=torch.Generator().manual_seed(5))
    for seed in range(20):
        params = SamplingParams(temperature=HOTTEST, repetition_penalty=STRONGEST)
        assert Sampler(V)(logits, [Asked(params.model_copy(update={"seed": seed}), allowed=Even())]).tokens[0] % 2 == 0


def test_many_rows_of_a_large_vocabulary_are_sampled_in_turns_with_the_same_bits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    logits, batch = random_batch(40, seed=9)
    whole = Sampler(V)(logits, batch)
    monkeypatch.setattr(sampling, "AT_ONCE", 7 * logits.shape[1])
    parts = Sampler(V)(logits, batch)
    assert parts.tokens.tolist() == whole.tokens.tolist()
    assert parts.logprobs.tolist() == whole.logprobs.tolist()
    assert parts.alternatives == whole.alternatives
    scored = score(logits, range(40), 2)
    monkeypatch.undo()
    assert scored == score(logits, range(40), 2)


def test_alternatives_are_tokens_that_can_be_spelled() -> None:
    logits = torch.tensor([[0.0, 1.0, 9.0]])
    drawn = Sampler(2)(logits, [Asked(SamplingParams(logprobs=3))])
    assert [one.token for one in drawn.alternatives[0]] == [1, 0]
    assert drawn.alternatives[0][0].logprob == pytest.approx(float(logits[0].log_softmax(-1)[1]))
    assert [one.token for one in score(logits, [0], 3, 2)[1][0]] == [1, 0]


def test_nothing_is_held_of_requests_that_have_gone() -> None:
    sampler, one = Sampler(V), Asked(SamplingParams(repetition_penalty=2.0))
    sampler(torch.zeros(1, V), [one])
    gone = weakref.ref(one)
    sampler.forget()
    del one
    gc.collect()
    assert gone() is None
    assert not sampler._histories
