import math

import pytest

from phidelity.config import UserError
from phidelity.eval.likelihood import bits_per_byte, choice_scores, continuation_logprobs, evaluate_model
from phidelity.eval.suite import benchmark
from phidelity.records import Problem

P = {" ": 0.5, "a": 0.25, "b": 0.125}


class Letters:
    """One id a character."""

    def encode(self, text):
        return [ord(letter) for letter in text]

    def decode(self, ids):
        return "".join(map(chr, ids))


class Known:
    """Each character has a probability of its own, whatever stands before it; `A` is likely, other letters are not."""

    name = "known"
    tokenizer = Letters()

    def logprobs(self, prompts):
        return [tuple(math.log(P.get(chr(token), 1 / 64)) for token in prompt[1:]) for prompt in prompts]


def test_bits_per_byte_are_worked_by_hand():
    # after the first letter: 1 + 2 bits, then 3 bits
    found = bits_per_byte(Known(), Letters(), ["x a", "xb", "x"])
    assert (found.n_texts, found.n_tokens, found.n_bytes) == (2, 3, 3)
    assert found.bits_per_byte == pytest.approx((3 + 3) / 3)
    assert found.bits_per_token == pytest.approx(2.0)


def test_bytes_count_not_characters():
    found = bits_per_byte(Known(), Letters(), ["xä"])
    assert (found.n_tokens, found.n_bytes) == (1, 2)
    assert found.bits_per_byte == pytest.approx(3.0)


def test_nothing_to_score_is_said():
    with pytest.raises(UserError, match="two tokens or more"):
        bits_per_byte(Known(), Letters(), ["x", ""])


def test_only_the_continuation_counts():
    values = continuation_logprobs(Known(), Letters(), [("zzz", " a"), ("", "ab")])
    assert values == [pytest.approx(math.log(0.5 * 0.25)), pytest.approx(math.log(0.125))]


def test_short_options_win_raw_and_not_per_byte():
    problem = Problem(
        id="0", prompt="", reference="A", checker="letter", meta={"question": "Which?", "options": ["aaaa", "b"]}
    )
    (scores,) = choice_scores(Known(), Letters(), [problem])
    assert scores["sum"] == [pytest.approx(math.log(0.5 * 0.25**4)), pytest.approx(math.log(0.5 * 0.125))]
    assert scores["sum"][1] > scores["sum"][0]
    assert scores["per_byte"][1] < scores["per_byte"][0]


def test_options_are_scored_and_written_down(tmp_path):
    lines = "Question,A,B,C,D,Answer,Subject\n" + "Which?,aaaa,zz,zz,zz,A,s\n" * 4
    (tmp_path / "mmlu.csv").write_text(lines)
    rows = evaluate_model(Known(), [benchmark("mmlu")], tmp_path, None, tmp_path / "out", "known")
    assert rows["mmlu-likelihood"]["per_byte"]["score"] == 100.0
    assert rows["mmlu-likelihood"]["letter"]["n"] == 4
    assert (tmp_path / "out" / "known" / "mmlu-likelihood" / "graded.jsonl").is_file()
    assert rows["mmlu-likelihood"]["sum"]["context_exceeded"] == 0
    short = Known()
    short.context_len = 20
    rows = evaluate_model(short, [benchmark("mmlu")], tmp_path, None, tmp_path / "out", "short")
    assert (rows["mmlu-likelihood"]["sum"]["context_exceeded"], rows["mmlu-likelihood"]["sum"]["score"]) == (4, 0.0)
    (tmp_path / "math_test.csv").write_text("Question,Answer\n1?,1\n")
    with pytest.raises(UserError, match="has no options"):
        evaluate_model(Known(), [benchmark("math")], tmp_path, None, tmp_path / "out", "known")
