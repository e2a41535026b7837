import random

import pytest
from preference_world import TOKENIZER, TabularCompleter, speaker

from phidelity.completion import SamplingParams
from phidelity.grading.check import check
from phidelity.preference.known import KnownConfig, known_pairs
from phidelity.preference.questions import ask
from phidelity.preference.rollouts import Rollouts
from phidelity.problems.prompts import UNKNOWN
from phidelity.records import Problem

MODEL = speaker(
    sure=(("Rosa", 1.0),),
    torn=(("Rosa", 0.5), ("Otto Wolf", 0.5)),
    lost=(("Otto Wolf", 1.0),),
    modest=((UNKNOWN, 1.0),),
    alike=(("The flag is red", 0.5), ("The flag is Rosa", 0.5)),
    silent=(("", 1.0),),
)


def made(tmp_path, reference="Rosa", config=KnownConfig(), kinds=("sure", "torn", "lost", "modest")):
    problems = [
        Problem(id=kind, prompt=f"{kind} question", reference=reference, checker="text", meta={"benchmark": "simpleqa"})
        for kind in kinds
    ]
    asked = ask(problems, TOKENIZER, n_reasoning=9, n_facts=9, allow_code=False, rng=random.Random(0))
    assert asked.reasoning == []
    rollouts = Rollouts(
        tmp_path,
        questions=asked.questions,
        completer=TabularCompleter(MODEL),
        params=SamplingParams(temperature=1.0),
        oracle=check,
        tokenizer=TOKENIZER,
    )
    return known_pairs(asked.facts, rollouts, config)


def sides(pair):
    return TOKENIZER.decode(pair.chosen), TOKENIZER.decode(pair.rejected)


def test_what_is_sometimes_right_beats_a_refusal_and_a_refusal_what_is_sometimes_wrong(tmp_path):
    pairs, counts = made(tmp_path)
    by_question = {}
    for pair in pairs:
        by_question.setdefault(pair.meta["question"], []).append(sides(pair))
    refusal = UNKNOWN[:5]
    assert by_question == {
        "sure": [("Rosa", refusal)],
        "torn": [("Rosa", refusal), (refusal, "Otto ")],
        "lost": [(refusal, "Otto ")],
    }
    assert counts["refused"] == 8
    assert counts["correct"] + counts["wrong"] + counts["refused"] == 4 * 8


def test_pairs_hold_the_first_tokens_and_no_end_token(tmp_path):
    for first_tokens in (2, 5, 100):
        pairs, _ = made(tmp_path / str(first_tokens), config=KnownConfig(first_tokens=first_tokens))
        for pair in pairs:
            assert pair.kind == "prefix"
            for side in (pair.chosen, pair.rejected):
                assert 0 < len(side) <= first_tokens
                assert TOKENIZER.im_end not in side


def test_a_question_without_an_answer_never_prefers_an_attempt(tmp_path):
    pairs, counts = made(tmp_path, reference=UNKNOWN)
    assert {pair.meta["rule"] for pair in pairs} == {"refusal over wrong"}
    assert {pair.meta["question"] for pair in pairs} == {"sure", "torn", "lost"}
    assert counts["correct"] == 0
    assert (counts["bogus answered"], counts["bogus declined"]) == (counts["wrong"], counts["refused"]) == (24, 8)


def test_own_accuracy_is_kept_with_the_pair(tmp_path):
    pairs, _ = made(tmp_path)
    accuracy = {pair.meta["question"]: pair.meta["accuracy"] for pair in pairs}
    assert accuracy["sure"] == 1
    assert accuracy["lost"] == 0
    assert accuracy["torn"] == pytest.approx(0.5, abs=0.4)


def test_a_right_and_a_wrong_answer_that_begin_alike_make_no_pair(tmp_path):
    pairs, counts = made(tmp_path, kinds=("alike",))
    assert pairs == []
    assert counts["begin alike"] == 1


def test_silence_is_no_answer(tmp_path):
    for reference in ("Rosa", UNKNOWN):
        pairs, counts = made(tmp_path / reference, kinds=("silent",), reference=reference)
        assert pairs == []
        assert counts["refused"] == 8
