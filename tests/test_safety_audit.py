"""Fairness by counterfactual pairs, and privacy by canaries and verbatim continuation."""

import re

import pytest

from phidelity.completion import Capabilities, Completion, Prompt, SamplingParams, ScriptedCompleter, Usage
from phidelity.records import Conversation
from phidelity.safety.fairness import KINDS, MEN, WOMEN, bounds, gap, gaps, pairs
from phidelity.safety.privacy import NEXT, PREFIX, Canary, canaries, exposure, extraction, planted, verbatim
from phidelity.tokenizer.bpe import Tokenizer

BYTES = Tokenizer({bytes([byte]): byte for byte in range(256)})


def answering(right) -> ScriptedCompleter:
    """A model that is right where `right(prompt)` says so."""
    known = {one.prompt: one.reference for kind in KINDS for pair in pairs(kind, 40, 0) for one in pair[1:]}

    def reply(prompt: Prompt, occurrence: int) -> str:
        assert isinstance(prompt, Conversation)
        text = prompt.messages[-1].content
        return f"Answer: {known[text] if right(text) else 'no'}"

    return ScriptedCompleter(reply)


@pytest.mark.parametrize("kind", KINDS)
def test_both_sides_of_a_pair_have_one_answer_and_the_same_numbers(kind) -> None:
    for pair in pairs(kind, 40, 0):
        assert pair.first.reference == pair.second.reference
        assert pair.first.prompt != pair.second.prompt
        assert re.findall(r"\d+", pair.first.prompt) == re.findall(r"\d+", pair.second.prompt)
    assert pairs(kind, 40, 0) == pairs(kind, 40, 0) != pairs(kind, 40, 1)


def test_pairs_of_gender_hold_names_of_one_gender_and_as_many_people() -> None:
    for pair in pairs("gender", 40, 0):
        sides = [set(re.findall(rf"\b(?:{'|'.join(MEN + WOMEN)})\b", one.prompt)) for one in pair[1:]]
        assert sides[0] <= set(MEN)
        assert sides[1] <= set(WOMEN)
        assert len(sides[0]) == len(sides[1])


def test_a_model_that_is_fair_has_no_gap_and_an_interval_that_allows_one() -> None:
    for one in gaps(answering(lambda text: True), 40, 0):
        assert (one.first, one.second, one.gap, one.differing) == (1, 1, 0, 0)
        assert one.low < 0 < one.high


def test_a_model_that_fails_women_shows_it_and_swapping_sides_turns_the_sign() -> None:
    target = answering(lambda text: not any(name in text.split() for name in WOMEN))
    asked = pairs("gender", 40, 0)
    found = gap(target, asked, 20)
    assert (found.first, found.gap) == (1, pytest.approx(-found.differing / 40))
    assert found.high < 0
    turned = gap(target, [pair._replace(first=pair.second, second=pair.first) for pair in asked], 20)
    assert (turned.gap, turned.low, turned.high) == pytest.approx((-found.gap, -found.high, -found.low))
    assert bounds([1.0] * 4, [1.0] * 4)[1] > bounds([1.0] * 400, [1.0] * 400)[1] > 0


class Learner:
    """A completer over bytes that knows some texts by heart."""

    name, capabilities = "learner", Capabilities()

    def __init__(self, texts: list[str]) -> None:
        self.texts = texts

    def complete(self, prompts, params: SamplingParams, on_done=None) -> list[Completion]:
        return [self._one(bytes(prompt).decode(), params.max_tokens) for prompt in prompts]

    def _one(self, said: str, n: int) -> Completion:
        rest = next((text[len(said) :] for text in self.texts if text.startswith(said)), "?" * n)[:n]
        return Completion(
            text=rest,
            tokens=tuple(rest.encode()),
            finish_reason="length",
            usage=Usage(prompt_tokens=len(said), completion_tokens=n),
        )

    def logprobs(self, prompts) -> list[tuple[float, ...]]:
        return [(0.0 if bytes(one).decode() in self.texts else -1.0,) for one in prompts]


def test_canaries_are_planted_as_often_as_they_say_and_none_is_twice() -> None:
    made = canaries(0, 4)
    texts = [one.text for one in planted(made)]
    assert [texts.count(one.text) for one in made] == [one.count for one in made]
    assert len(texts) == 4 * (1 + 4 + 16 + 64)
    assert len({one.text for one in made}) == len(made) == 20
    assert canaries(0, 4) == made != canaries(1, 4)


def test_what_was_learnt_is_extracted_and_fully_exposed_and_controls_are_not() -> None:
    made = canaries(0, 2)
    learner = Learner([one.text for one in made if one.count >= 16])
    rows = {row["count"]: row for row in extraction(learner, BYTES, made)}
    assert [rows[count]["extracted"] for count in (0, 1, 4, 16, 64)] == [0, 0, 0, 1, 1]
    assert (rows[64]["exposure"], rows[0]["exposure"]) == (8, 0)
    low, high = rows[64]["extracted_95"]
    assert low < 0.5 < high == 1


def test_exposure_of_a_text_never_seen_is_small_on_average() -> None:
    never = [Canary(id=str(n), prefix="The number is ", secret=f"{n:06d}", count=0) for n in range(20)]

    class Indifferent(Learner):
        def logprobs(self, prompts) -> list[tuple[float, ...]]:
            return [(hash(tuple(one)) % 1009 / 1009,) for one in prompts]

    mean = sum(exposure(Indifferent([]), BYTES, one) for one in never) / len(never)
    assert 0.5 < mean < 3


def test_verbatim_counts_whole_repeats_and_leaves_out_short_texts() -> None:
    known = ["a" * PREFIX + "b" * NEXT, "c" * PREFIX + "d" * NEXT]
    learner = Learner([known[0], "c" * PREFIX + "d" * 8 + "e" * NEXT])
    told = verbatim(learner, BYTES, [*known, "short"])
    assert (told["n"], told["whole"], told["tokens"]) == (2, 0.5, (NEXT + 8) / 2)
