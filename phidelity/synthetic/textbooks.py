"""Textbooks: solved exercises, drills in column work, short lessons, functions, readings, and long chapters.

The form of the work is the same everywhere, here and in chats, so that each step is practised from all
sides; the words around it are few. Whole chapters (`meta.long`) are kept for midtraining, as the report found that
naturally long texts beat short ones glued together (phi-4 §3.3).
"""

import random
from collections.abc import Iterator

from phidelity.problems.arithmetic import draw_operands
from phidelity.problems.columns import Operation, work
from phidelity.problems.families import assistant_message
from phidelity.problems.item import Item
from phidelity.records import Document
from phidelity.synthetic.seeds import Bank, document, word_family

_OPERATIONS: tuple[Operation, ...] = ("+", "-", "*")

RULES: dict[str, dict[Operation, str]] = {
    "en": {
        "+": "To add, add the ones first. If the sum is 10 or more, write the last digit and carry 1. "
        "Then add the tens and the carry.",
        "-": "To subtract, subtract the ones first. If the digit is too small, borrow 1 from the tens. "
        "Then subtract the tens.",
        "*": "To multiply, multiply the ones first. If the result is 10 or more, write the last digit and "
        "carry the rest. Then multiply the tens and add the carry.",
    },
    "de": {
        "+": "Beim Addieren addiere zuerst die Einer. Ist die Summe 10 oder mehr, schreibe die letzte Ziffer "
        "und übertrage 1. Dann addiere die Zehner.",
        "-": "Beim Subtrahieren subtrahiere zuerst die Einer. Ist die Ziffer zu klein, borge 1 von den Zehnern. "
        "Dann subtrahiere die Zehner.",
        "*": "Beim Multiplizieren multipliziere zuerst die Einer. Ist das Ergebnis 10 oder mehr, schreibe die "
        "letzte Ziffer und übertrage den Rest. Dann multipliziere die Zehner.",
    },
}
_HEADS = {"en": ("Lesson", "Example", "Exercise"), "de": ("Lektion", "Beispiel", "Aufgabe")}
_QUESTION = {"en": ("Question", "Solution"), "de": ("Frage", "Lösung")}


def solved(item: Item, labelled: bool) -> str:
    """A question with its worked answer, bare or with `Question:` and `Solution:` before the parts."""
    if not labelled:
        return f"{item.question}\n{assistant_message(item)}"
    asked, answered = _QUESTION[item.language]
    return f"{asked}: {item.question}\n{answered}: {assistant_message(item)}"


def exercises(bank: Bank, n: int, german: float) -> Iterator[Document]:
    """Sheets of one to three solved word problems, laid out alike: how a base model learns to go on from examples."""
    for index in range(n):
        rng = bank.rng("exercises", index)
        items = [bank.take(word_family(rng, german)) for _ in range(2 if index % 8 == 0 else 1)]
        labelled = rng.random() < 0.5
        text = "\n\n".join(solved(item, labelled) for item in items)
        meta = {"family": items[0].family, "language": items[0].language}
        yield document("exercises", "synthetic", text, bank, index, **meta)


def readings(bank: Bank, n: int) -> Iterator[Document]:
    """Passages with a question and its worked answer."""
    for index in range(n):
        text = solved(bank.take("passage"), bank.rng("readings", index).random() < 0.5)
        yield document("readings", "synthetic", text, bank, index, family="passage")


def drills(bank: Bank, n: int, german: float) -> Iterator[Document]:
    """Two bare sums worked in columns; every fourth is a table of digits in mixed order."""
    for index in range(n):
        rng = bank.rng("drills", index)
        language = "de" if rng.random() < german else "en"
        text = _table(rng) if index % 4 == 3 else "\n".join(_sum(rng, language) for _ in range(2))
        yield document("drills", "synthetic", text, bank, index, family="columns", language=language)


def lessons(bank: Bank, n: int, german: float) -> Iterator[Document]:
    """The rule of an operation and one worked example."""
    for index in range(n):
        rng = bank.rng("lessons", index)
        language = "de" if rng.random() < german else "en"
        operation = rng.choice(_OPERATIONS)
        text = _lesson(rng, operation, language)
        yield document("lessons", "synthetic", text, bank, index, family="columns", language=language)


def functions(bank: Bank, n: int) -> Iterator[Document]:
    """Small functions: with their docstring and example, with a sentence about them, or in use."""
    for index in range(n):
        rng = bank.rng("functions", index)
        item = bank.take("function")
        head, name, doc = item.meta["prompt"], item.meta["entry_point"], item.meta["doc"]
        text = rng.choice(
            (
                f"{head}{item.meta['canonical_solution']}",
                f"Exercise: {doc}\n\n{item.answer}",
                f"What does {name} do?\n{doc}\n\n{item.answer}",
                f"{head}{item.meta['canonical_solution']}",
            )
        )
        yield document("functions", "code", text.rstrip("\n"), bank, index, family="function")


def chapters(bank: Bank, n: int, german: float) -> Iterator[Document]:
    """Long texts: a rule, examples and exercises on one operation, or a list to be recalled from."""
    for index in range(n):
        rng = bank.rng("chapters", index)
        language = "de" if rng.random() < german else "en"
        text = _chapter(bank, rng, language) if index % 2 else _workbook(bank, rng, language)
        yield document("chapters", "synthetic", text, bank, index, family="columns", language=language, long=True)


def _sum(rng: random.Random, language: str) -> str:
    operation = rng.choice(_OPERATIONS)
    a, b = draw_operands(rng, (operation,), "train")
    return work(a, operation, b, language).text


def _lesson(rng: random.Random, operation: Operation, language: str) -> str:
    lesson, example, _ = _HEADS[language]
    a, b = draw_operands(rng, (operation,), "train")
    return f"{lesson}: {RULES[language][operation]}\n{example}: {work(a, operation, b, language).text}"


def _table(rng: random.Random) -> str:
    """Ten facts about one digit, in mixed order: what a column needs to know."""
    digit, kind = rng.randrange(10), rng.randrange(5)
    others = rng.sample(range(10), 10)
    if kind == 0:
        facts = [f"{digit} + {other} = {digit + other}." for other in others]
    elif kind == 1:
        facts = [f"{digit + other} + 1 = {digit + other + 1}." for other in others]
    elif kind == 2:
        facts = [f"{digit + other} - {digit} = {other}." for other in others]
    elif kind == 3:
        facts = [f"{other + 10} - {digit} = {other + 10 - digit}." for other in others if other < digit]
    else:
        facts = [f"{other} * {digit} = {other * digit}." for other in others]
    return " ".join(facts)


def _chapter(bank: Bank, rng: random.Random, language: str) -> str:
    """A rule with an example, then solved exercises of any kind."""
    parts = [_lesson(rng, rng.choice(_OPERATIONS), language)]
    exercise = _HEADS[language][2]
    parts += [f"{exercise} {n}: {solved(bank.take(f'things_{language}'), False)}" for n in range(1, 4)]
    return "\n\n".join(parts)


def _workbook(bank: Bank, rng: random.Random, language: str) -> str:
    """Exercises first, then all their answers: each answer lies far from its question."""
    items = [bank.take(word_family(rng, float(language == "de"))) for _ in range(3)]
    exercise = _HEADS[language][2]
    asked = [f"{exercise} {n}: {item.question}" for n, item in enumerate(items, 1)]
    answered = [f"{exercise} {n}: {assistant_message(item)}" for n, item in enumerate(items, 1)]
    return "\n".join((*asked, "", *answered))
