"""Long contexts by likelihood: the set's problems, each scored as one pass over prompt and answer must score it."""

import math

import pytest
import torch

from phidelity.engine.llm import LLM
from phidelity.eval.benchmarks.longcontext import problems
from phidelity.eval.likelihood import continuation_logprobs
from phidelity.eval.long_answers import long_answers, scored
from phidelity.model.config import ModelConfig
from phidelity.model.transformer import Transformer
from phidelity.tokenizer.bpe import Tokenizer, train

N = 700


@pytest.fixture(scope="module")
def words() -> Tokenizer:
    return train(
        ["The rain and the cloud had to do with the storm of Arle that year. Answer: the lines below"] * 3, 400
    )


@pytest.fixture(scope="module")
def model(words: Tokenizer) -> Transformer:
    config = ModelConfig(
        n_layers=1, d_model=32, n_heads=4, n_kv_heads=1, d_ff=64, vocab_size=416, context_len=N, rope_theta=1e4
    )
    return Transformer(config).initialise(torch.Generator().manual_seed(0)).requires_grad_(False)


def test_answers_are_scored_as_the_engine_scores_a_continuation(model: Transformer, words: Tokenizer) -> None:
    found = long_answers(model, words, N, per_kind=3)
    pairs = {"recall": [], "rag": [], "icl": []}
    for problem in problems(N, lambda text: len(words.encode(text)), per_kind=3):
        if problem.meta["kind"] in pairs:
            pairs[problem.meta["kind"]].append((problem.prompt + "\nAnswer:", " " + problem.reference))
    assert set(found) == set(pairs)
    llm = LLM(model, words, "digest")
    for kind, asked in pairs.items():
        each = [
            -nats / math.log(2) / len(answer)
            for nats, (_, answer) in zip(continuation_logprobs(llm, words, asked), asked, strict=True)
        ]
        assert found[kind].bits == pytest.approx(sum(each) / 3, rel=1e-4)
        assert found[kind].n == 3
    llm.close()


def test_an_answer_is_right_when_each_of_its_tokens_is_the_most_probable() -> None:
    logits = torch.tensor([[2.0, 1.0, 0.0], [0.0, 3.0, 0.0]])
    bits, is_right = scored(logits, torch.tensor([0, 1]), n_bytes=4)
    nats = -torch.log_softmax(logits, -1)[[0, 1], [0, 1]].sum().item()
    assert (bits, is_right) == (pytest.approx(nats / math.log(2) / 4), True)
    assert scored(logits, torch.tensor([0, 2]), n_bytes=4)[1] is False


def test_what_does_not_fit_is_left_out(model: Transformer, words: Tokenizer) -> None:
    assert long_answers(model, words, 60, per_kind=2) == {}
