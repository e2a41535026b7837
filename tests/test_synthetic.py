"""Synthetic texts: grown from training problems alone, each with its provenance, nothing twice, nothing of the test."""

import ast
import json

import pytest

from phidelity.pipeline.benchmarks import BenchmarksConfig, benchmarks
from phidelity.pipeline.evaluation_items import evaluation_items
from phidelity.pipeline.synthetic import SyntheticConfig, synthetic
from phidelity.problems.families import check, item
from phidelity.problems.prompts import UNKNOWN
from phidelity.records import Conversation, Document, Problem, read_records, write_records
from phidelity.synthetic.conversations import conversations
from phidelity.synthetic.documents import rewrites
from phidelity.synthetic.questions import almanac, recall_lists
from phidelity.synthetic.seeds import Bank
from phidelity.synthetic.sieve import Sieve
from phidelity.synthetic.textbooks import chapters, drills, exercises, functions

SMALL = SyntheticConfig(
    exercises=300, drills=60, lessons=20, readings=60, functions=60, editions=3, question_sets=60,
    long_documents=20, rewrites=40, conversations=400, problems=100, course=60, aspects=60,
)  # fmt: skip
MODULE = '''"""A module."""


def area(width, height):
    """Return the area of a rectangle with these sides.

    More is said here.
    """
    return width * height


class Box:
    """Hold things until somebody takes them out."""


def _hidden():
    """Return nothing that anybody should ever see."""
'''
PAGE = """Opening files
=============

The function open gives a file object, and the mode says what may be done with it. Other text
follows here, over two lines, and ends like this.
"""


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("synthetic")
    for name in ("benchmarks", "corpus", "one", "two"):
        (root / name).mkdir()
    benchmarks(BenchmarksConfig(), seed=0, out=root / "benchmarks")
    organic = [
        Document(id="m", text=MODULE, source="s", meta={"group": "code", "license": "MIT"}),
        Document(id="p", text=PAGE, source="s", meta={"group": "web"}),
    ]
    write_records(root / "corpus" / "documents.jsonl.zst", organic)
    return root


@pytest.fixture(scope="module")
def made(folders):
    inputs = {"corpus": folders / "corpus", "benchmarks": folders / "benchmarks"}
    summary = synthetic(SMALL, **inputs, seed=0, out=folders / "one")
    return folders / "one", summary


def documents(folder):
    return list(read_records(folder / "documents.jsonl.zst", Document))


def chats(folder):
    return list(read_records(folder / "conversations.jsonl.zst", Conversation))


def test_the_same_seed_gives_the_same_bytes(folders, made):
    inputs = {"corpus": folders / "corpus", "benchmarks": folders / "benchmarks"}
    summary = synthetic(SMALL, **inputs, seed=0, out=folders / "two")
    assert summary == made[1]
    for path in (folders / "one").iterdir():
        assert path.read_bytes() == (folders / "two" / path.name).read_bytes()


def test_every_document_says_where_it_comes_from(made):
    for one in documents(made[0]):
        assert {"pipeline", "family", "language", "group", "seed", "index"} <= set(one.meta)
        assert one.meta["group"] in {"web_rewrites", "synthetic", "code", "acquired"}
        assert one.id == f"{one.meta['pipeline']}/{one.meta['index']}"
    assert {one.meta["group"] for one in documents(made[0])} == {"web_rewrites", "synthetic", "code", "acquired"}


def test_kept_and_dropped_are_what_was_made(made):
    _, summary = made
    dropped = sum(n for key, n in summary.items() if key.startswith("dropped/conversations"))
    assert summary["conversations"] + dropped == 460
    dropped = sum(n for key, n in summary.items() if key.startswith("dropped/problems"))
    assert summary["problems"] + dropped == 100
    json.dumps(summary)


def test_no_text_stands_twice_and_none_repeats_an_evaluation_problem(folders, made):
    texts = [one.text for one in documents(made[0])]
    assert len(set(texts)) == len(texts)
    sieve = Sieve(item.text for item in evaluation_items(folders / "benchmarks"))
    assert [sieve.reason(text) for text in texts] == [""] * len(texts)


def test_an_evaluation_problem_in_a_text_is_found_whether_long_or_short():
    asked = ["What is 23 + 48?", "Tom has 23 apples. Mia gives Tom 48 apples. How many apples does Tom have now?"]
    sieve = Sieve(asked)
    assert sieve.reason("Hello. What is 23 + 48? It is 71.") == "question"
    assert sieve.reason("What is 23 - 48?") == ""
    assert sieve.reason(f"Question: {asked[1]}\nSolution: 71") == "13-gram"
    assert sieve.reason("What is 23 - 48?") == "duplicate"


def test_facts_of_test_questions_are_told_but_never_asked(made):
    texts = "\n".join(one.text for one in documents(made[0]))
    spoken = "\n".join(message.content for chat in chats(made[0]) for message in chat.messages)
    for index in range(40):
        fact = item("fact", "test", 0, index)
        assert fact.meta["sentence"] in texts
        assert fact.question not in texts
        assert fact.question not in spoken


def test_an_edition_of_the_almanac_tells_every_fact():
    told = " ".join(one.text for one in almanac(Bank(0), 1))
    assert all(item("fact", split, 0, n).meta["sentence"] in told for split in ("train", "test") for n in range(100))


def test_chats_end_with_the_assistant_and_alternate(made):
    for chat in chats(made[0]):
        roles = [message.role for message in chat.messages if message.role != "system"]
        assert chat.messages[0].role in ("system", "user")
        assert roles == ["user", "assistant"] * (len(roles) // 2)
        assert all(message.content for message in chat.messages)
        assert sum(len(message.content) for message in chat.messages) < 1800


def test_chats_hold_every_family_identity_unknowns_and_refusals():
    talks = list(conversations(Bank(0), 1000, 0.2))
    assert len(talks) == 1000
    families = {chat.meta["family"] for chat in talks}
    assert {"things_en", "money_de", "passage", "function", "fact", "unknown", "identity", "policy"} <= families
    said = [message.content for chat in talks for message in chat.messages if message.role == "assistant"]
    assert said.count(UNKNOWN) >= 30
    assert any("trained by Phidelity" in text for text in said)
    assert any("cannot help" in text for text in said)
    assert any(len(chat.messages) == 4 for chat in talks)


def test_no_question_is_given_to_two_takers():
    bank = Bank(0)
    taken = [bank.take("things_en").question for _ in range(500)]
    assert len(set(taken)) == 500


def test_preference_prompts_are_new_training_problems_with_a_reference(made):
    problems = list(read_records(made[0] / "problems.jsonl", Problem))
    asked = " ".join(message.content for chat in chats(made[0]) for message in chat.messages)
    words = [one for one in problems if one.meta["family"].startswith(("things", "money"))]
    assert len(words) > len(problems) / 2
    assert all(one.meta["split"] == "train" and one.reference for one in problems)
    assert not [one for one in words if one.meta["question"] in asked]
    assert {one.checker for one in problems} == {"number", "letter", "text", "code"}


def test_functions_in_documents_are_python():
    for one in functions(Bank(0), 60):
        code = one.text[one.text.index("def ") :]
        ast.parse(code)


def test_long_documents_are_marked_and_long():
    bank = Bank(0)
    for one in (*chapters(bank, 10, 0.2), *recall_lists(bank, 10)):
        assert one.meta["long"] is True
        assert len(one.text) > 380
    assert not [one for one in exercises(bank, 20, 0.2) if one.meta.get("long")]


def test_the_share_of_german_is_as_asked():
    assert {one.meta["language"] for one in exercises(Bank(0), 50, 1.0)} == {"de"}
    assert {one.meta["language"] for one in drills(Bank(0), 50, 0.0)} == {"en"}


def test_rewrites_say_only_what_the_source_says(folders):
    sources = list(read_records(folders / "corpus" / "documents.jsonl.zst", Document))
    texts = [one.text for one in rewrites(Bank(0), sources, 100)]
    assert "What does area do?\nReturn the area of a rectangle with these sides." in texts
    assert "What is the class Box?\nHold things until somebody takes them out." in texts
    assert not [text for text in texts if "_hidden" in text]
    reversal = next(text for text in texts if text.startswith("Exercise: Write area."))
    assert reversal.endswith("def area(width, height):\n    return width * height")
    assert any(text.startswith("What does the page say about Opening files?\nThe function open") for text in texts)
    assert any(text.startswith("Fill the gap.") for text in texts)
    licenses = {one.meta["license"] for one in rewrites(Bank(0), sources, 100)}
    assert licenses == {"MIT", ""}


def test_a_source_that_is_not_python_gives_no_rewrite_and_no_error():
    broken = Document(id="b", text="def f(:\n  x", source="s", meta={"group": "code"})
    assert list(rewrites(Bank(0), [broken], 10)) == []


def test_every_solved_exercise_ends_with_the_right_answer():
    families = ("things_en", "things_de", "money_en", "money_de")
    asked = {taken.question: taken for name in families for taken in (item(name, "train", 0, n) for n in range(600))}
    for one in exercises(Bank(0), 200, 0.2):
        sheet = one.text.split("\n\n")
        assert 1 <= len(sheet) <= 3
        for solved in sheet:
            question = solved.split("\n")[0].removeprefix("Question: ").removeprefix("Frage: ")
            assert check(asked[question], solved)
