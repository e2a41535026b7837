"""Bad input of post-training: what is wrong is an error or counted by reason; docs/post-training.md has the table."""

import random

import pytest
from preference_world import TOKENIZER, TabularCompleter, speaker
from test_pivotal import run_stage
from test_sft import chat

from phidelity.completion import SamplingParams, ScriptedCompleter
from phidelity.config import UserError
from phidelity.pipeline.sft import encode
from phidelity.preference.oracles import by_judge
from phidelity.preference.questions import ask
from phidelity.preference.rollouts import Rollouts
from phidelity.preference.screen import screen
from phidelity.records import Problem


@pytest.mark.parametrize(("accuracy", "reason"), [(5, "too easy"), (1, "too hard")])
def test_an_oracle_that_always_says_the_same_leaves_no_question_in_the_window(tmp_path, accuracy, reason):
    problems = [Problem(id=f"{i}", prompt=f"sum {i}", reference="7", checker="number") for i in range(4)]
    asked = ask(problems, TOKENIZER, n_reasoning=9, n_facts=0, allow_code=False, rng=random.Random(0))
    said = ScriptedCompleter(lambda *_: f'{{"accuracy": {accuracy}, "style": 3, "detail": 3}}')
    rollouts = Rollouts(
        tmp_path, questions=asked.questions, completer=TabularCompleter(speaker(sum=(("7", 0.5), ("8", 0.5)))),
        params=SamplingParams(temperature=1.0, max_tokens=8), oracle=by_judge(said), tokenizer=TOKENIZER,
    )  # fmt: skip
    screened = screen(asked.reasoning, rollouts, window=(0.2, 0.8), n=8)
    assert (screened.roots, screened.dropped) == ({}, {reason: 4})


@pytest.mark.parametrize(
    ("hard", "easy", "dropped"),
    [
        (("", 1.0), ("", 1.0), {"too hard": 6}),
        (("Answer: 7", 1.0), ("", 1.0), {"too easy": 3, "too hard": 3}),
    ],
)
def test_empty_answers_and_answers_always_right_give_no_pairs_and_the_reasons(tmp_path, hard, easy, dropped, caplog):
    summary = run_stage(tmp_path, TabularCompleter(speaker(hard=(hard,), easy=(easy,))))
    assert (summary["pairs"], summary["pivots"], summary["questions_dropped"]) == (0, 0, dropped)
    assert "No pivotal pairs: 0 questions inside the window" in caplog.text


def test_chats_that_end_mid_turn_are_dropped_and_counted_and_many_of_them_are_an_error():
    whole = chat()
    open_end = whole.model_copy(update={"messages": whole.messages[:-1]})
    nothing = whole.model_copy(update={"messages": ()})
    rows, dropped = encode([whole] * 200 + [open_end, nothing], TOKENIZER, 99)
    assert (len(rows), dropped["ends mid-turn"]) == (200, 2)
    with pytest.raises(UserError, match="1 end mid-turn"):
        encode([whole, open_end], TOKENIZER, 99)
