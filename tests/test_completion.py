"""Completers by script."""

import pytest

from phidelity.completion import SamplingParams, ScriptedCompleter


def test_a_script_answers_by_prompt_and_occurrence():
    completer = ScriptedCompleter(lambda prompt, n: f"{prompt}/{n}")
    answers = completer.complete(["a", "b", "a"], SamplingParams())
    assert [answer.text for answer in answers] == ["a/0", "b/0", "a/1"]
    assert completer.calls == 3
    with pytest.raises(TypeError):
        completer.logprobs([(1, 2)])
