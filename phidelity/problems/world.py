"""A closed world of facts: towns, people and rivers that exist nowhere else.

Sixty things with four facts each, the same in every run (it is drawn once, from a fixed seed). A fact always
reads `The river of Belmor is the Tarn.`, so the answer to a question is the very sentence a reader of the almanac has
met before. People live in towns and towns lie on rivers, so two facts make a chain. What the world does not
tell (other names, other attributes) is known too: a good answer says so (phi-4 §A.1).
"""

import random
from typing import NamedTuple

from phidelity.problems.item import Split, split_of


class Fact(NamedTuple):
    """One attribute of one thing. `value` is bare (`Tarn`), `sentence` says it (`... is the Tarn.`)."""

    kind: str
    subject: str
    attribute: str
    value: str
    sentence: str


TOWNS = (
    "Belmor", "Tarvik", "Ostral", "Lunden", "Kesra", "Marlow", "Pintor", "Velden", "Sorrel", "Grenna", "Hollin",
    "Dorvan", "Ambril", "Nestor", "Ravik", "Selmar", "Torvald", "Ulmen", "Wexin", "Yarrow", "Zeltan", "Corvel",
    "Fennick", "Joslin",
)  # fmt: skip
PEOPLE = (
    "Alaric", "Brenna", "Cedrin", "Dalia", "Edric", "Farah", "Gorin", "Hedda", "Ilmar", "Jorun", "Kalin", "Lorna",
    "Merek", "Nadira", "Orlin", "Petra", "Quill", "Runa", "Sorin", "Thea", "Ulric", "Vesna", "Wilmar", "Ysolde",
)  # fmt: skip
RIVERS = ("Tarn", "Issel", "Morava", "Brent", "Aldra", "Lune", "Vesk", "Nair", "Ombra", "Rill", "Sava", "Dorn")

_VALUES: dict[tuple[str, str], tuple[str, ...]] = {
    ("town", "river"): RIVERS,
    ("town", "flag"): ("red", "blue", "green", "white", "black", "yellow", "brown", "grey"),
    ("town", "fruit"): ("apple", "pear", "plum", "cherry", "lemon", "fig", "grape", "melon"),
    ("town", "animal"): ("bear", "fox", "wolf", "swan", "hare", "goat", "bull", "owl"),
    ("person", "town"): TOWNS,
    ("person", "trade"): ("baking", "fishing", "weaving", "teaching", "mining", "sewing", "trading", "farming"),
    ("person", "pet"): ("cat", "dog", "crow", "mouse", "horse", "snake", "frog", "sheep"),
    ("person", "instrument"): ("drum", "flute", "harp", "horn", "bell", "violin", "lute", "piano"),
    ("river", "lake"): ("Onda", "Kiru", "Sael", "Talun", "Besk", "Verin"),
    ("river", "fish"): ("trout", "pike", "eel", "carp", "perch", "salmon"),
    ("river", "bridge"): ("stone", "wood", "iron", "brick", "steel", "rope"),
    ("river", "tree"): ("oak", "pine", "birch", "willow", "elm", "ash"),
}
_SUBJECTS = {"town": TOWNS, "person": PEOPLE, "river": RIVERS}
_WITH_THE = frozenset({"river"})
"""Kinds of things, and attributes whose values, are named with the article."""

NOWHERE = (
    "Ardal", "Bolvin", "Carrow", "Delmor", "Estrin", "Falken", "Garvik", "Hestor", "Inwald", "Jarrin", "Kelmar",
    "Lorvik", "Mastral", "Norden", "Orvel", "Pellin", "Roswin", "Salden", "Torrel", "Ulvar", "Vandor", "Wistral",
    "Yelden", "Zorvan", "Kordal", "Brisna", "Alvora", "Mendik", "Sterra", "Polwin", "Hesper", "Tamrin", "Gildor",
    "Ferrow", "Norvik", "Lastor", "Cambrel", "Ardin", "Welmar", "Osgar", "Rendal", "Vintra", "Zorbin", "Emrik",
)  # fmt: skip
"""Names of nothing in this world."""
UNTOLD = (
    "song", "age", "sister", "school", "doctor", "market", "clock", "brother", "ship", "church", "museum", "street",
    "hero", "dance", "hat", "tower", "garden", "king", "book", "hill",
)  # fmt: skip
"""Attributes that the world never tells."""


def unknown(names: tuple[str, ...], split: Split) -> tuple[str, ...]:
    """The part of `NOWHERE` or `UNTOLD` that a split asks about: the last quarter is the test's."""
    test, development = len(names) * 3 // 4, len(names) * 2 // 3
    return {"train": names[:development], "development": names[development:test], "test": names[test:]}[split]


def name(kind: str, subject: str) -> str:
    """How a thing is called in a sentence: rivers have the article."""
    return f"the {subject}" if kind in _WITH_THE else subject


def stated(kind: str, subject: str, attribute: str, value: str) -> str:
    """The one sentence that tells a fact."""
    article = "the " if attribute in _WITH_THE else ""
    return f"The {attribute} of {name(kind, subject)} is {article}{value}."


def attributes(kind: str) -> tuple[str, ...]:
    """The four attributes of a kind of thing."""
    return tuple(attribute for of, attribute in _VALUES if of == kind)


def values(kind: str, attribute: str) -> tuple[str, ...]:
    """All values an attribute takes."""
    return _VALUES[kind, attribute]


def fact_split(fact: Fact) -> Split:
    """The split whose questions may ask for a fact. The sentence itself is in the almanac for all."""
    return split_of("fact", fact.subject, fact.attribute, test=30, development=8)


def chain_split(first: Fact, second: Fact) -> Split:
    """The split whose questions may ask for a chain of two facts."""
    return split_of("chain", first.subject, second.attribute, test=30, development=8)


def _draw_facts() -> tuple[Fact, ...]:
    facts = []
    for (kind, attribute), choices in _VALUES.items():
        subjects = _SUBJECTS[kind]
        rng = random.Random(f"world/{kind}/{attribute}")
        dealt = [choices[number % len(choices)] for number in range(len(subjects))]
        rng.shuffle(dealt)
        for subject, value in zip(subjects, dealt, strict=True):
            facts.append(Fact(kind, subject, attribute, value, stated(kind, subject, attribute, value)))
    return tuple(facts)


FACTS = _draw_facts()
"""All facts, each value of an attribute about equally often."""
ENTITIES = tuple((kind, subject) for kind, subjects in _SUBJECTS.items() for subject in subjects)


def facts_of(subject: str) -> tuple[Fact, ...]:
    """The four facts of one thing."""
    return tuple(fact for fact in FACTS if fact.subject == subject)


CHAINS = tuple(
    (first, second) for first in FACTS if first.attribute in ("town", "river") for second in facts_of(first.value)
)
"""Pairs of facts where the second tells of the first's value: person to town, town to river."""
