"""The engine: equal to a plain forward, indifferent to companions, order and history, and exact about endings."""

from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from phidelity.checkpoint.huggingface import save_checkpoint
from phidelity.checkpoint.weights import file_digest
from phidelity.completion import Completion, SamplingParams
from phidelity.config import UserError
from phidelity.engine.llm import LLM, open_model
from phidelity.engine.stream import said_text
from phidelity.model.attention import CausalAttend
from phidelity.model.config import ModelConfig
from phidelity.model.transformer import Transformer
from phidelity.records import Conversation, Message
from phidelity.tokenizer.bpe import train
from phidelity.tokenizer.chat import render

TOKENIZER = train(["the cat sat on the mat and 12 cats sat there with the dog"] * 3, 400)
CONFIG = ModelConfig(
    n_layers=3, d_model=64, n_heads=8, n_kv_heads=2, d_ff=224, vocab_size=416, context_len=160, rope_theta=10_000.0
)
GREEDY = SamplingParams(max_tokens=20)
WARM = SamplingParams(temperature=1.0, max_tokens=20, seed=3)


def random_model(config: ModelConfig = CONFIG, seed: int = 1, scale: float = 3.0) -> Transformer:
    model = Transformer(config).initialise(torch.Generator().manual_seed(seed)).requires_grad_(False)
    for parameter in model.parameters():
        if parameter.ndim == 2:
            parameter.mul_(scale)
    return model


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@cache
def engine(n_slots: int = 64) -> LLM:
    return LLM(random_model(), TOKENIZER, "random", n_running=n_slots)


def random_prompts(n: int, longest: int = 100, seed: int = 0) -> list[tuple[int, ...]]:
    rng = np.random.default_rng(seed)
    return [tuple(rng.integers(0, 256, rng.integers(1, longest)).tolist()) for _ in range(n)]


def plain_logits(model: Transformer, ids: tuple[int, ...]) -> torch.Tensor:
    with torch.inference_mode():
        return model.logits(model(torch.tensor([ids]), torch.arange(len(ids))[None], CausalAttend()))[0]


def without_end(completion: Completion) -> tuple[int, ...]:
    ends = (TOKENIZER.im_end, TOKENIZER.endoftext)
    return completion.tokens[:-1] if completion.tokens[-1:] in [(end,) for end in ends] else completion.tokens


def test_greedy_tokens_and_logprobs_equal_a_plain_forward() -> None:
    prompts = random_prompts(40)
    for prompt, completion in zip(prompts, engine().complete(prompts, GREEDY), strict=True):
        logits = plain_logits(engine().model, prompt + completion.tokens)[len(prompt) - 1 : -1]
        chosen = logits.log_softmax(-1).gather(-1, torch.tensor(completion.tokens)[:, None])[:, 0]
        assert torch.allclose(chosen, torch.tensor(completion.logprobs), atol=1e-4)
        best = logits[:, : TOKENIZER.vocab_size].max(-1).values
        assert (best - logits.gather(-1, torch.tensor(completion.tokens)[:, None])[:, 0]).max() < 1e-4


def test_companions_change_no_bit() -> None:
    prompts = random_prompts(64, seed=5)
    together = engine().complete(prompts, WARM)
    for index in range(0, 64, 7):
        alone = LLM(engine().model, TOKENIZER, "fresh").complete(prompts[index : index + 1], WARM)
        assert alone == together[index : index + 1]


@pytest.mark.parametrize("n_threads", [1, 2])
def test_companions_change_no_bit_where_sums_are_long(n_threads: int) -> None:
    config = CONFIG.model_copy(update={"n_layers": 1, "d_model": 256, "d_ff": 1792})
    torch.set_num_threads(n_threads)
    llm = LLM(random_model(config), TOKENIZER, "wide")
    prompts = random_prompts(64, longest=20, seed=6)
    params = WARM.model_copy(update={"max_tokens": 4})
    together = llm.complete(prompts, params)
    assert [llm.complete([prompt], params)[0] for prompt in prompts[:5]] == together[:5]


def test_companions_change_no_bit_however_long_they_are() -> None:
    config = CONFIG.model_copy(update={"n_layers": 1, "context_len": 640})
    llm = LLM(random_model(config), TOKENIZER, "long")
    prompts = [prompt * 9 for prompt in random_prompts(32, longest=65, seed=7)]
    params = WARM.model_copy(update={"max_tokens": 8})
    together = llm.complete(prompts, params)
    assert [llm.complete([prompt], params)[0] for prompt in prompts] == together


def test_order_number_of_slots_and_history_change_nothing() -> None:
    prompts = random_prompts(50, seed=2) + random_prompts(10, seed=2)
    expected = engine().complete(prompts, WARM)
    backwards = engine(16).complete(prompts[:50][::-1], WARM)[::-1]
    assert backwards == expected[:50]
    assert LLM(engine().model, TOKENIZER, "fresh", n_running=16).complete(prompts, WARM) == expected


def test_nested_and_equal_prompts_share_their_prefill_and_change_nothing() -> None:
    longest = max(random_prompts(30, longest=130, seed=4), key=len)
    nested = [longest[:n] for n in (1, 5, 31, 32, 33, 34, 64, 65, 66, 90, 120)] * 2
    together = engine().complete(nested, GREEDY)
    for prompt, completion in zip(nested, together, strict=True):
        assert LLM(engine().model, TOKENIZER, "fresh").complete([prompt], GREEDY) == [completion]


def test_each_occurrence_of_a_prompt_has_its_own_random_stream() -> None:
    prompt = random_prompts(1)[0]
    eight = engine().complete([prompt] * 8, WARM)
    assert len({completion.tokens for completion in eight}) == 8
    assert engine().complete([prompt] * 3, WARM) == eight[:3]
    other = engine().complete([prompt] * 8, WARM.model_copy(update={"seed": 4}))
    assert not {completion.tokens for completion in eight} & {completion.tokens for completion in other}
    assert len({completion.tokens for completion in engine().complete([prompt] * 8, GREEDY)}) == 1


def test_n_and_earlier_repeats_continue_the_random_streams_of_a_prompt() -> None:
    first, second = random_prompts(2)
    asked = engine().complete([first, second, first, first], WARM)
    pair = engine().complete([first, second], WARM.model_copy(update={"n": 2}))
    assert [one.tokens for one in pair[:3]] == [asked[0].tokens, asked[2].tokens, asked[1].tokens]
    assert [one.index for one in pair] == [0, 1, 0, 1]
    assert engine().complete([first], WARM.model_copy(update={"first_repeat": 2}))[0] == asked[3]


def test_generation_ends_at_either_end_token_and_text_lacks_it() -> None:
    completions = engine().complete(random_prompts(200, longest=8), WARM.model_copy(update={"max_tokens": 150}))
    ended = [completion for completion in completions if completion.finish_reason == "stop"]
    assert {completion.tokens[-1] for completion in ended} == {TOKENIZER.im_end, TOKENIZER.endoftext}
    for completion in completions:
        assert completion.text == said_text(TOKENIZER, without_end(completion))
        assert not any(name in completion.text for name in TOKENIZER.special_ids)
        assert completion.usage.completion_tokens == len(completion.tokens) == len(completion.logprobs)
        assert not {TOKENIZER.im_end, TOKENIZER.endoftext} & set(completion.tokens[:-1])
        assert max(completion.tokens) < TOKENIZER.vocab_size


def test_generation_ends_with_the_context_and_too_long_prompts_are_refused() -> None:
    prompts = [(5,) * n for n in (157, 159, 160, 200)]
    completions = engine().complete(prompts, GREEDY)
    assert [len(completion.tokens) for completion in completions] == [3, 1, 0, 0]
    assert [completion.finish_reason for completion in completions] == ["length"] * 2 + ["context_exceeded"] * 2
    assert completions[2].usage.prompt_tokens == 160
    with pytest.raises(UserError, match="200 tokens; the context holds 160"):
        next(engine().stream(prompts[3], GREEDY))


def test_text_is_cut_before_a_stop_string_wherever_tokens_part() -> None:
    prompts = random_prompts(12, seed=8)
    plain = engine().complete(prompts, WARM)
    for prompt, completion in zip(prompts, plain, strict=True):
        stop = completion.text[4:7]
        (cut,) = engine().complete([prompt], WARM.model_copy(update={"stop": ("never seen", stop)}))
        assert cut.finish_reason == "stop"
        assert cut.text == completion.text[: completion.text.index(stop)]
        assert cut.tokens == completion.tokens[: len(cut.tokens)]


@pytest.mark.parametrize("stop", [(), ("a",), ("he", "t"), ("\ufffd",)])
def test_streamed_text_equals_the_completed_text(stop: tuple[str, ...]) -> None:
    params = WARM.model_copy(update={"stop": stop, "max_tokens": 60})
    for prompt in random_prompts(6, seed=9):
        pieces = list(engine().stream(prompt, params))
        assert "".join(pieces) == engine().complete([prompt], params)[0].text
        assert all(pieces)


def test_every_completion_is_announced_once() -> None:
    announced: dict[int, Completion] = {}
    prompts = [*random_prompts(70), (5,) * 400]
    completions = engine(16).complete(prompts, WARM, lambda index, completion: announced.update({index: completion}))
    assert [announced[index] for index in range(71)] == completions


def test_logprobs_equal_a_plain_forward() -> None:
    prompts = [*random_prompts(60, longest=160), (7,)]
    for prompt, scores in zip(prompts, engine().logprobs(prompts), strict=True):
        logits = plain_logits(engine().model, prompt)[:-1].log_softmax(-1)
        expected = logits.gather(-1, torch.tensor(prompt)[1:, None])[:, 0]
        assert torch.allclose(expected, torch.tensor(scores), atol=1e-4)
    with pytest.raises(UserError, match="161 tokens"):
        engine().logprobs([(1,) * 161])


def test_prompts_are_read_as_chat_document_or_ids() -> None:
    messages = (Message(role="user", content="the cat"),)
    conversation = Conversation(id="1", messages=messages)
    rendered = tuple(render(messages, TOKENIZER, generation_prompt=True).ids)
    text = tuple(TOKENIZER.encode("the cat"))
    assert engine().prompt_ids(conversation) == rendered
    assert engine().complete([conversation], WARM) == engine().complete([rendered], WARM)
    assert engine().complete(["the cat"], WARM) == engine().complete([text], WARM)


def test_an_opened_model_answers_as_the_saved_one(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, engine().model, TOKENIZER)
    opened = open_model(tmp_path)
    assert opened.name == file_digest([tmp_path / "model.safetensors"])
    prompts = random_prompts(64, seed=5)
    together = opened.complete(prompts, WARM)
    assert [open_model(tmp_path).complete([prompt], WARM)[0] for prompt in prompts[:5]] == together[:5]
    saved = engine().complete(prompts, WARM)
    n_equal = sum(one.tokens == other.tokens for one, other in zip(together, saved, strict=True))
    assert n_equal >= 60, "another memory layout may turn a draw by rounding, now and then"


def test_logits_that_are_not_finite_end_that_request_alone() -> None:
    model = random_model()
    model.embed.weight[300] = float("nan")
    llm = LLM(model, TOKENIZER, "broken", n_running=16)
    prompts = [(5, 300, 7) if index % 3 == 0 else (5, 6, index) for index in range(40)]
    params = WARM.model_copy(update={"max_tokens": 3})
    completions = llm.complete(prompts, params)
    fine = engine().complete(prompts, params)
    for index, completion in enumerate(completions):
        if index % 3 == 0:
            assert (completion.finish_reason, completion.tokens) == ("error", ())
        elif 300 not in fine[index].tokens:
            assert completion == fine[index]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"temperature": -1.0}, "temperature is -1.0; expected 0 or more"),
        ({"temperature": float("nan")}, "temperature is nan"),
        ({"top_p": 0.0}, "top_p is 0.0"),
        ({"top_k": -1}, "top_k is -1"),
        ({"max_tokens": 0}, "max_tokens is 0; expected 1 or more"),
        ({"stop": ("",)}, "not empty"),
    ],
)
def test_impossible_parameters_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        engine().complete([(1,)], GREEDY.model_copy(update=changes))


def test_empty_and_foreign_prompts_are_refused_and_no_prompts_are_fine() -> None:
    assert engine().complete([], GREEDY) == []
    assert engine().logprobs([]) == []
    with pytest.raises(UserError, match="no tokens"):
        engine().complete([()], GREEDY)
    with pytest.raises(UserError, match="no tokens"):
        engine().complete([""], GREEDY)
    with pytest.raises(UserError, match="416 were given; the model knows 0 to 415"):
        engine().complete([(1, 416)], GREEDY)
