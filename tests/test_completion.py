"""How to sample, what is answered, and completers by script."""

import pytest

from phidelity.completion import Completion, SamplingParams, ScriptedCompleter, Usage, asked, check
from phidelity.config import UserError
from phidelity.records import Conversation, Message

ASK = Conversation(id="a", messages=(Message(role="user", content="2+2?"),))


def test_a_script_answers_by_prompt_and_occurrence():
    completer = ScriptedCompleter(lambda prompt, n: f"{prompt}/{n}")
    answers = completer.complete(["a", "b", "a"], SamplingParams())
    assert [answer.text for answer in answers] == ["a/0", "b/0", "a/1"]
    assert completer.calls == 3
    with pytest.raises(TypeError):
        completer.logprobs([(1, 2)])


IMPOSSIBLE = [
    ({"temperature": -1.0}, "temperature is -1.0; expected 0 or more"),
    ({"temperature": float("inf")}, "temperature is inf"),
    ({"top_p": 0.0}, "top_p is 0.0; expected above 0 and at most 1"),
    ({"top_p": float("nan")}, "top_p is nan"),
    ({"temperature": 1e39}, "temperature is 1e\\+39; expected 0 or more, and at most 100"),
    ({"top_k": -1}, "top_k is -1"),
    ({"top_k": 10**400}, r"top_k is 10{79}\.\.\.; expected 0"),
    ({"repetition_penalty": 1e39}, "repetition_penalty is 1e\\+39; expected 0.001 to 1000"),
    ({"repetition_penalty": 1e-46}, "repetition_penalty is 1e-46"),
    ({"max_tokens": 10**40}, "max_tokens is 1"),
    ({"logit_bias": ((2**31, 1.0),)}, "logit_bias is"),
    ({"stop_ids": (10**30,)}, "stop_ids is"),
    ({"n": 10**7}, "n is 10000000; expected 1 or more, and at most 65536"),
    ({"first_repeat": 2**31}, "first_repeat is"),
    ({"logprobs": 10**30}, "logprobs is"),
    ({"prompt_logprobs": 10**30}, "prompt_logprobs is"),
    ({"min_p": 1.5}, "min_p is 1.5; expected 0 to 1"),
    ({"repetition_penalty": 0.0}, "repetition_penalty is 0.0"),
    ({"repetition_penalty": float("inf")}, "repetition_penalty is inf"),
    ({"presence_penalty": 3.0}, "presence_penalty is 3.0; expected -2 to 2"),
    ({"frequency_penalty": float("nan")}, "frequency_penalty is nan"),
    ({"logit_bias": ((5, float("nan")),)}, "logit_bias is"),
    ({"logit_bias": ((-1, 1.0),)}, "token ids of 0 or more"),
    ({"logit_bias": ((1, 1.0), (1, 2.0))}, "each once"),
    ({"max_tokens": 0}, "max_tokens is 0; expected 1 or more"),
    ({"max_tokens": -1, "prompt_logprobs": 1}, "max_tokens is -1"),
    ({"stop": ("a", "")}, "strings that are not empty"),
    ({"stop_ids": (-5,)}, "stop_ids is"),
    ({"n": 0}, "n is 0"),
    ({"first_repeat": -1}, "first_repeat is -1"),
    ({"logprobs": -1}, "logprobs is -1"),
    ({"prompt_logprobs": -1}, "prompt_logprobs is -1"),
]


@pytest.mark.parametrize(("values", "message"), IMPOSSIBLE)
def test_impossible_parameters_are_refused_when_made_and_when_used(values, message):
    with pytest.raises(UserError, match=message):
        SamplingParams(**values)
    with pytest.raises(UserError, match=message):
        check(SamplingParams().model_copy(update=values))


def test_parameters_are_written_as_before_until_a_new_one_is_set():
    before = {"temperature": 0.5, "top_p": 1.0, "top_k": 0, "max_tokens": 9, "seed": 3, "stop": ["x"]}
    params = SamplingParams(temperature=0.5, max_tokens=9, seed=3, stop=("x",))
    assert params.model_dump(mode="json") == before
    full = SamplingParams(logit_bias={7: 1.5, 2: -100}, n=3, logprobs=0)  # pyright: ignore[reportArgumentType]
    assert full.logit_bias == ((7, 1.5), (2, -100.0))
    assert SamplingParams.model_validate_json(full.model_dump_json()) == full
    assert SamplingParams(max_tokens=0, prompt_logprobs=0).max_tokens == 0
    assert SamplingParams.model_validate({"stop": "b"}).stop == ("b",)


def test_a_completion_is_written_as_before_until_a_new_field_holds_something():
    usage = Usage(prompt_tokens=1, completion_tokens=2)
    short = Completion(text="a", finish_reason="stop", usage=usage)
    assert set(short.model_dump()) == {"text", "tokens", "logprobs", "finish_reason", "usage"}
    full = Completion(
        text="a", tokens=(1,), finish_reason="error", usage=usage, error="NaN", alternatives=(((1, -0.5),),)
    )
    assert Completion.model_validate_json(full.model_dump_json()) == full
    assert full.alternatives[0][0].logprob == -0.5


def test_n_completions_are_the_same_prompt_asked_n_times():
    four = asked(["a", "b", "a"], SamplingParams(n=2, first_repeat=5))
    assert [(one.prompt, one.repeat, one.choice) for one in four] == [
        ("a", 5, 0), ("a", 6, 1), ("b", 5, 0), ("b", 6, 1), ("a", 7, 0), ("a", 8, 1),
    ]  # fmt: skip
    completer = ScriptedCompleter(lambda prompt, n: f"{prompt}/{n}")
    answers = completer.complete(["a", "b"], SamplingParams(n=2))
    assert [(answer.text, answer.index) for answer in answers] == [("a/0", 0), ("a/1", 1), ("b/0", 0), ("b/1", 1)]


def test_conversations_that_read_alike_are_one_prompt():
    other = ASK.model_copy(update={"id": "b", "meta": {"x": 1}})
    assert [one.repeat for one in asked([ASK, other], SamplingParams())] == [0, 1]


def test_what_a_completer_cannot_do_is_refused():
    with pytest.raises(UserError, match="scripted cannot take prompt_logprobs = 0"):
        ScriptedCompleter(lambda *_: "").complete(["a"], SamplingParams(prompt_logprobs=0))
