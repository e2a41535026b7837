"""Lessons and chats of the course: shares by language, right answers, whole dialogues, the same bytes for a seed."""

import re
from collections import Counter

import pytest

from phidelity.grading.instructions import follow
from phidelity.problems.families import check, family
from phidelity.problems.policy import REFUSAL
from phidelity.problems.polyglot import HEADS, LANGUAGES
from phidelity.problems.prompts import UNKNOWN
from phidelity.synthetic.aspects import SHARES, aspects
from phidelity.synthetic.course import BYTES_PER_TOKEN, course, lesson
from phidelity.synthetic.seeds import Bank


def test_lessons_are_a_function_of_the_seed():
    assert list(course(Bank(3), 40)) == list(course(Bank(3), 40))
    assert [one.text for one in course(Bank(3), 40)] != [one.text for one in course(Bank(4), 40)]


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_eight_per_cent_of_the_tokens_are_not_english_in_seven_equal_parts(seed):
    spent = Counter()
    for one in course(Bank(seed), 1200):
        spent[one.meta["language"]] += len(one.text.encode()) / BYTES_PER_TOKEN[one.meta["language"]]
    foreign = {language: spent[language] for language in LANGUAGES if language != "en"}
    assert abs(sum(foreign.values()) / spent.total() - 0.08) < 0.005
    assert max(foreign.values()) < 1.3 * min(foreign.values())


def test_no_share_means_english_alone():
    assert {one.meta["language"] for one in course(Bank(0), 60, multilingual=0)} == {"en"}


def test_a_lesson_explains_shows_asks_and_answers():
    bank = Bank(0)
    text = lesson(family("shop_es"), bank, bank.rng("x", 0), 0)
    heads = HEADS["es"]
    parts = [text.index(head) for head in (heads["lesson"], heads["example"], heads["exercise"], heads["answers"])]
    assert parts == sorted(parts)
    questions = re.findall(r"^\d\. .*\?$", text, re.MULTILINE)
    assert len(questions) == len(set(questions)) >= 2


@pytest.mark.parametrize("name", ["equation", "trace", "table", "together_ja", "knights"])
def test_the_answers_of_a_lesson_are_those_of_its_exercises(name):
    bank, twin = Bank(1), Bank(1)
    text = lesson(family(name), bank, bank.rng("x", 1), 1)
    drawn = [twin.take(name) for _ in range(8)]
    told = [item for item in drawn if item.question in text]
    assert len(told) >= 3
    assert all(check(item, item.answer) and item.answer in text for item in told)


def test_chats_have_their_shares_and_end_with_the_assistant():
    chats = list(aspects(Bank(0), 400))
    counts = Counter(chat.meta["aspect"] for chat in chats)
    assert {name: counts[name] / 400 for name in SHARES} == pytest.approx(SHARES)
    for chat in chats:
        roles = [message.role for message in chat.messages]
        assert roles[0] == "system" or roles[0] == "user"
        assert [role for role in roles if role != "system"] == ["user", "assistant"] * chat.meta["turns"]
    systems = {chat.messages[0].content for chat in chats if chat.messages[0].role == "system"}
    assert len(systems) >= 12


def test_chats_about_instructions_follow_them():
    for chat in aspects(Bank(1), 200):
        if chat.meta["aspect"] == "instructions":
            asked = chat.messages[-2].content
            drawn = next(
                item
                for item in (family("instruction").item("train", 1, n) for n in range(400))
                if item.question == asked and item.answer == chat.messages[-1].content
            )
            assert follow(chat.messages[-1].content, drawn.meta["instructions"], drawn.meta["arguments"]).strict == [
                True
            ]


def test_what_cannot_be_known_is_said_not_to_be_known_and_safety_refuses_only_the_restricted():
    chats = list(aspects(Bank(2), 400))
    unknowable = [chat for chat in chats if chat.meta.get("kind") == "unknowable"]
    assert unknowable
    assert all(UNKNOWN in chat.messages[-1].content for chat in unknowable)
    safety = [chat for chat in chats if chat.meta["aspect"] == "safety"]
    assert {chat.meta["restricted"] for chat in safety} == {True, False}
    for chat in safety:
        refused = any(message.content == REFUSAL for message in chat.messages)
        assert refused == chat.meta["restricted"]


def test_a_brief_system_message_gets_the_bare_answer():
    brief = [chat for chat in aspects(Bank(0), 600) if chat.meta.get("style") == "brief"]
    assert brief
    assert all("\n" not in chat.messages[2].content for chat in brief)
