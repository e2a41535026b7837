import json
import os
from pathlib import Path

import pytest

from phidelity.eval.benchmark import GradingContext
from phidelity.eval.benchmarks.ifeval import IFEVAL
from phidelity.grading.instructions import INSTRUCTIONS, count_sentences, follow, words
from phidelity.records import Problem

DATA = Path(os.environ.get("PHI_TEST_DATA", "absent")) / "evals" / "ifeval"

CASES = [  # instruction, arguments, a response that follows it, one that does not
    ("keywords:existence", {"keywords": ["red", "blue"]}, "Red and blue", "red"),
    ("keywords:frequency", {"keyword": "red", "relation": "at least", "frequency": 2}, "red Red", "red"),
    ("keywords:forbidden_words", {"forbidden_words": ["red"]}, "redder", "so Red."),
    ("keywords:letter_frequency", {"letter": "E", "let_relation": "less than", "let_frequency": 2}, "pEn", "eel"),
    ("language:response_language", {"language": "de"}, "Das ist ein ganz einfacher Satz.", "This is a sentence."),
    ("length_constraints:number_sentences", {"relation": "at least", "num_sentences": 2}, "One. Two!", "Dr. No ran."),
    ("length_constraints:number_paragraphs", {"num_paragraphs": 2}, "one\n***\ntwo", "one\n***\n\n***\ntwo"),
    ("length_constraints:number_words", {"relation": "less than", "num_words": 3}, "one two", "one two three"),
    ("length_constraints:nth_paragraph_first_word", {"num_paragraphs": 2, "nth_paragraph": 2, "first_word": "elm"},
     "oak\n\n\"Elm, he said", "elm\n\noak"),
    ("detectable_content:number_placeholders", {"num_placeholders": 2}, "[a] [b]", "[a]"),
    ("detectable_content:postscript", {"postscript_marker": "P.S."}, "end\np. s. more", "end\nPS more"),
    ("detectable_format:number_bullet_lists", {"num_bullets": 2}, "* a\n- b", "* a\n- b\n* c"),
    ("detectable_format:constrained_response", {}, "My answer is no.", "No."),
    ("detectable_format:number_highlighted_sections", {"num_highlights": 1}, "so *this* is", "so ** is"),
    ("detectable_format:multiple_sections", {"section_spliter": "Part", "num_sections": 2}, "Part 1\nPart 2", "Part 1"),
    ("detectable_format:json_format", {}, "```json\n{\"a\": 1}\n```", "{a: 1}"),
    ("detectable_format:title", {}, "<<Title>>\ntext", "<< >>"),
    ("combination:two_responses", {}, "one\n******\ntwo", "one\n******\none"),
    ("combination:repeat_prompt", {"prompt_to_repeat": "Say it"}, "say it\nI say", "I say it"),
    ("startend:end_checker", {"end_phrase": "Bye now."}, "Well, bye now.\"", "Bye now. Or not"),
    ("startend:quotation", {}, '"all of it"', '"part" of it'),
    ("change_case:capital_word_frequency", {"capital_relation": "at least", "capital_frequency": 2}, "NATO, UN", "UN"),
    ("change_case:english_capital", {}, "THIS IS A SIMPLE ENGLISH SENTENCE.", "This is a sentence."),
    ("change_case:english_lowercase", {}, "this is a simple english sentence.", "This is a sentence."),
    ("punctuation:no_comma", {}, "none at all", "one, two"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "given", "good", "bad"), CASES, ids=[case[0] for case in CASES])
def test_each_instruction_tells_a_good_answer_from_a_bad_one(name, given, good, bad):
    assert follow(good, [name], [given]).strict == [True]
    assert follow(bad, [name], [given]).strict == [False]
    assert follow("  \n", [name], [given]).loose == [False]


def test_all_twenty_five_kinds_are_there():
    assert len(INSTRUCTIONS) == len({case[0] for case in CASES}) == 25


def test_loose_forgives_an_opening_line_and_asterisks():
    found = follow("Sure, here it is:\n**<<Title>>**\nno commas", ["punctuation:no_comma"], [{}])
    assert (found.strict, found.loose) == ([False], [True])
    found = follow('**"quoted"**', ["startend:quotation"], [{}])
    assert (found.strict, found.loose) == ([False], [True])


@pytest.mark.parametrize(
    ("text", "n"),
    [("", 0), ("One", 1), ("One. Two? Three!", 3), ("Dr. Smith came. He left.", 2), ("It costs 3.50 in all.", 1),
     ("J. K. Rowling wrote it.", 1), ('He said "no." Then he left.', 2), ("Use e.g. this one.", 1)],
)  # fmt: skip
def test_sentences_end_where_a_reader_ends_them(text, n):
    assert count_sentences(text) == n


def test_words_hold_hyphens_and_part_contractions():
    assert list(words("I DON'T know A-B U.N. it's")) == ["I", "DO", "N'T", "know", "A-B", "U.N.", "it", "'s"]


def test_the_four_numbers_stand_beside_the_score():
    meta = {"instructions": ["punctuation:no_comma", "startend:quotation"], "arguments": [{}, {}]}
    problem = Problem(id="1", prompt="", reference="", checker="instructions", meta=meta)
    scores = [IFEVAL.graders["corrected"](problem, text, GradingContext()) for text in ('"yes"', 'Sure,\n"yes"', "no")]
    assert [score.value for score in scores] == [1.0, 0.0, 0.0]
    assert IFEVAL.measures([(problem, score) for score in scores]) == {
        "prompt_strict": 33.3333, "prompt_loose": 66.6667, "instruction_strict": 50.0, "instruction_loose": 83.3333,
    }  # fmt: skip


def test_an_unknown_instruction_is_undetermined():
    meta = {"instructions": ["new:kind"], "arguments": [{}]}
    problem = Problem(id="1", prompt="", reference="", checker="instructions", meta=meta)
    assert IFEVAL.graders["corrected"](problem, "x", GradingContext()).value is None


@pytest.mark.skipif(not DATA.is_dir(), reason="PHI_TEST_DATA is not set")
def test_every_instruction_of_the_official_file_is_known_and_checked():
    rows = [json.loads(line) for line in (DATA / "input_data.jsonl").read_text(encoding="utf-8").splitlines()]
    names = [name for row in rows for name in row["instruction_id_list"]]
    assert (len(names), set(names)) == (834, set(INSTRUCTIONS))
    for problem in IFEVAL.load(DATA.parent):
        assert IFEVAL.graders["corrected"](problem, "A short answer, no more.", GradingContext()).value is not None
