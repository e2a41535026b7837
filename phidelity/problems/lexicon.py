"""The small world of words: names and things that all word problems share.

Few words, so that each is one token of a vocabulary of 2,000 and is met hundreds of times.
"""

import random
from typing import NamedTuple

from phidelity.problems.item import Split

NAMES = (
    "Tom", "Mia", "Ben", "Anna", "Max", "Lisa", "Paul", "Emma", "Leo", "Nina",
    "Tim", "Sara", "Jan", "Eva", "Karl", "Lena", "Otto", "Rosa", "Hans", "Ida",
    "Felix", "Clara", "Oskar", "Marie", "Emil", "Julia", "Anton", "Laura", "Simon", "Ella",
)  # fmt: skip

THINGS: tuple[tuple[str, str], ...] = (
    ("apples", "Äpfel"), ("pears", "Birnen"), ("plums", "Pflaumen"), ("cherries", "Kirschen"),
    ("lemons", "Zitronen"), ("nuts", "Nüsse"), ("eggs", "Eier"), ("cakes", "Kuchen"),
    ("books", "Bücher"), ("pens", "Stifte"), ("cards", "Karten"), ("stamps", "Marken"),
    ("coins", "Münzen"), ("stones", "Steine"), ("shells", "Muscheln"), ("marbles", "Murmeln"),
    ("balls", "Bälle"), ("toys", "Spiele"), ("cups", "Tassen"), ("plates", "Teller"),
    ("bottles", "Flaschen"), ("candles", "Kerzen"), ("flowers", "Blumen"), ("seeds", "Samen"),
    ("leaves", "Blätter"), ("birds", "Vögel"), ("fish", "Fische"), ("ducks", "Enten"),
    ("buttons", "Knöpfe"), ("keys", "Schlüssel"),
)  # fmt: skip
"""Plurals, in English and German."""


def things(language: str) -> tuple[str, ...]:
    """The things in one language."""
    return tuple(english if language == "en" else german for english, german in THINGS)


CLASSES = 8
"""Names and things fall into so many classes by place; which two meet says of which split a word problem is (*ours*)."""


class Cast(NamedTuple):
    """Two people and two things of one word problem."""

    people: tuple[str, str]
    things: tuple[str, str]


def cast(rng: random.Random, split: Split, language: str) -> Cast:
    """Draw people and things that meet in this split only: no name stands with the same thing in two splits, nor do
    two things of one class in training."""
    known = things(language)
    apart = {"test": 0, "development": CLASSES // 2}
    if split == "train":
        while True:
            people, objects = rng.sample(range(len(NAMES)), 2), rng.sample(range(len(known)), 2)
            if (objects[0] - objects[1]) % CLASSES == 0:
                continue
            if not {(n - t) % CLASSES for n in people for t in objects} & set(apart.values()):
                break
    else:
        first = rng.randrange(len(known))
        people = rng.sample([n for n in range(len(NAMES)) if (n - first) % CLASSES == apart[split]], 2)
        others = [t for t in range(len(known)) if t != first and (t - first) % CLASSES == 0]
        objects = [first, rng.choice(others)]
    return Cast((NAMES[people[0]], NAMES[people[1]]), (known[objects[0]], known[objects[1]]))


PEOPLE = (
    "Aisha", "Amara", "Anders", "Anika", "Arjun", "Astrid", "Beatriz", "Bilal", "Carmen", "Chen", "Chiara", "Dmitri",
    "Elena", "Elif", "Emeka", "Esther", "Fatima", "Femi", "Freya", "Gabriel", "Grace", "Hana", "Hassan", "Hiroshi",
    "Imani", "Ines", "Ingrid", "Isaac", "Ivan", "Jamal", "Jasper", "Jonas", "Kaito", "Kavya", "Kofi", "Leila",
    "Liam", "Lucia", "Malik", "Marta", "Mateo", "Mei", "Milan", "Miriam", "Nadia", "Naveen", "Nora", "Oluwaseun",
    "Omar", "Pablo", "Priya", "Quentin", "Rafael", "Rania", "Rohan", "Ruth", "Samuel", "Sanjay", "Selma", "Sofia",
    "Stefan", "Tariq", "Thandi", "Tomas", "Uma", "Valentina", "Viktor", "Wei", "Yara", "Yusuf", "Zainab", "Zoe",
)  # fmt: skip
"""First names from many places, for the course."""
