"""The course: textbook lessons in eight languages that explain, work an example, set exercises and answer them.

Each lesson is grown from one family of `problems/` (what it explains is the family's own method) or from the world of
facts. Languages share the tokens: `multilingual` of them are not English, 8 % by default as in phi-4's data (model
card), the seven other languages in equal parts. A stage has no tokenizer yet, so tokens are reckoned from bytes.
"""

import random
from collections.abc import Iterator

from phidelity.problems.atlas import sentences
from phidelity.problems.facts import ask
from phidelity.problems.families import COURSE, assistant_message
from phidelity.problems.item import Family, Item
from phidelity.problems.polyglot import HEADS, LANGUAGES
from phidelity.problems.prompts import last_line
from phidelity.problems.world import ENTITIES, Fact, fact_split, facts_of, name
from phidelity.records import Document
from phidelity.synthetic.seeds import Bank, document

BYTES_PER_TOKEN = {
    "en": 3.48, "de": 3.03, "es": 2.96, "fr": 2.98, "pt": 2.9, "it": 2.71, "hi": 2.43, "ja": 2.75,
}  # fmt: skip
"""Of these lessons under cl100k, which phi-4's vocabulary is made from; measured, *ours*."""
_BY_LANGUAGE = {language: tuple(family for family in COURSE if family.language == language) for language in LANGUAGES}
_OPENINGS = (
    "# {title}", "Lesson: {title}", "{title}\n{line}", "Chapter {n}: {title}", "## {title}", "Today's subject: {title}",
)  # fmt: skip
_EXAMPLES = (
    "Here is an example.", "Example", "Let us work through one problem together.", "A worked example:",
    "See how it is done.", "Take this problem.",
)  # fmt: skip
_SECOND = ("Another way to see it:", "Put differently:", "It helps to remember this.", "One more thought.", "Note.")
_TASKS = ("Exercises", "Now you:", "Try these yourself.", "Problems", "For practice")
_ANSWERS = ("Answers", "Solutions", "Check your results:", "Answers to the exercises")
_WORLD_SHARE = 0.1
"""Share of the English lessons that are about a place or person of the closed world, or about true facts."""


def course(bank: Bank, n: int, multilingual: float = 0.08) -> Iterator[Document]:
    """`n` lessons; the share of other languages holds at every point of the order, within a lesson."""
    spent: dict[str, float] = dict.fromkeys(LANGUAGES, 0.0)
    for index in range(n):
        rng = bank.rng("course", index)
        language = _next_language(spent, multilingual)
        if language == "en" and rng.random() < _WORLD_SHARE:
            family, text = "world", _world(rng) if rng.random() < 0.6 else _facts(rng)
        else:
            of = rng.choice(_BY_LANGUAGE[language])
            family, text = of.name, lesson(of, bank, rng, index)
        spent[language] += len(text.encode()) / BYTES_PER_TOKEN[language]
        yield document("course", "synthetic", text, bank, index, family=family, language=language)


def lesson(family: Family, bank: Bank, rng: random.Random, number: int) -> str:
    """Explanation, one or two worked examples, exercises with the answers apart."""
    n_shown, n_set = rng.choice((1, 1, 2)), rng.choice((2, 3, 3, 4))
    taken = _different(bank, family.name, n_shown + n_set)
    shown, set_ = taken[:n_shown], taken[n_shown:]
    parts = _told(family, shown, rng, number) if family.language == "en" else _told_plainly(family, shown)
    tasks, answers = (rng.choice(_TASKS), rng.choice(_ANSWERS)) if family.language == "en" else _heads(family.language)
    asked = "\n".join(f"{place}. {item.question}" for place, item in enumerate(set_, 1))
    answered = "\n".join(f"{place}. {_short(item, rng)}" for place, item in enumerate(set_, 1))
    return "\n\n".join((*parts, f"{tasks}\n{asked}", f"{answers}\n{answered}"))


def _different(bank: Bank, name: str, n: int) -> list[Item]:
    """The next `n` problems of a family, none asked twice."""
    taken: dict[str, Item] = {}
    while len(taken) < n:
        item = bank.take(name)
        taken[item.question] = item
    return list(taken.values())


def _told(family: Family, shown: list[Item], rng: random.Random, number: int) -> list[str]:
    first, *others = family.lesson
    head = rng.choice(_OPENINGS).format(title=family.title, line="-" * len(family.title), n=number % 30 + 1)
    parts = [head, first]
    for item in shown:
        parts.append(f"{rng.choice(_EXAMPLES)}\n{item.question}\n{assistant_message(item)}")
        if others and rng.random() < 0.7:
            parts.append(f"{rng.choice(_SECOND)} {others.pop()}")
    return parts


def _told_plainly(family: Family, shown: list[Item]) -> list[str]:
    heads = HEADS[family.language]
    examples = [
        f"{heads['example']} {n}\n{item.question}\n{assistant_message(item)}" for n, item in enumerate(shown, 1)
    ]
    return [f"{heads['lesson']}: {family.title}", family.lesson[0], *examples]


def _heads(language: str) -> tuple[str, str]:
    return HEADS[language]["exercise"], HEADS[language]["answers"]


def _short(item: Item, rng: random.Random) -> str:
    """The bare answer, or with its steps where they are few."""
    if 0 < len(item.steps) < 4 and rng.random() < 0.5:
        return f"{' '.join(item.steps)} {last_line(item.answer, item.language)}"
    return item.answer


def _world(rng: random.Random) -> str:
    """A page about one thing of the closed world, with questions of the training split and their answers."""
    kind, subject = rng.choice(ENTITIES)
    facts = facts_of(subject)
    linked = [fact for one in facts for fact in facts_of(one.value)]
    text = " ".join(fact.sentence for fact in rng.sample(facts, len(facts)))
    more = " ".join(fact.sentence for fact in rng.sample(linked, min(2, len(linked))))
    asked = [fact for fact in facts if fact_split(fact) == "train"]
    questions = "\n".join(f"{n}. {_question(fact, rng)}" for n, fact in enumerate(asked, 1))
    answers = "\n".join(f"{n}. {fact.sentence}" for n, fact in enumerate(asked, 1))
    parts = [f"# {name(kind, subject)[0].upper()}{name(kind, subject)[1:]}", f"{text} {more}".strip()]
    if asked:
        parts += [
            f"{rng.choice(('Questions', 'What do you remember?'))}\n{questions}",
            f"{rng.choice(_ANSWERS)}\n{answers}",
        ]
    return "\n\n".join(parts)


def _question(fact: Fact, rng: random.Random) -> str:
    return ask(rng.randrange(3), fact.attribute, name(fact.kind, fact.subject))


def _facts(rng: random.Random) -> str:
    """A page of true facts about the real world."""
    told = rng.sample(sentences(), 6)
    return f"{rng.choice(('Facts to know', 'Good to know', 'From the almanac'))}\n\n" + "\n".join(told)


def _next_language(spent: dict[str, float], multilingual: float) -> str:
    """English, unless the others are behind their share; then the one with the fewest tokens."""
    others = {language: spent[language] for language in LANGUAGES if language != "en"}
    if sum(others.values()) >= multilingual * sum(spent.values()):
        return "en"
    return min(others, key=lambda language: others[language])
