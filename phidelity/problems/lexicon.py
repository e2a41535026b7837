"""The small world of words: names and things that all word problems share.

Few words, so that each is one token of a vocabulary of 2,000 and is met hundreds of times.
"""

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


PEOPLE = (
    "Aisha", "Amara", "Anders", "Anika", "Arjun", "Astrid", "Beatriz", "Bilal", "Carmen", "Chen", "Chiara", "Dmitri",
    "Elena", "Elif", "Emeka", "Esther", "Fatima", "Femi", "Freya", "Gabriel", "Grace", "Hana", "Hassan", "Hiroshi",
    "Imani", "Ines", "Ingrid", "Isaac", "Ivan", "Jamal", "Jasper", "Jonas", "Kaito", "Kavya", "Kofi", "Leila",
    "Liam", "Lucia", "Malik", "Marta", "Mateo", "Mei", "Milan", "Miriam", "Nadia", "Naveen", "Nora", "Oluwaseun",
    "Omar", "Pablo", "Priya", "Quentin", "Rafael", "Rania", "Rohan", "Ruth", "Samuel", "Sanjay", "Selma", "Sofia",
    "Stefan", "Tariq", "Thandi", "Tomas", "Uma", "Valentina", "Viktor", "Wei", "Yara", "Yusuf", "Zainab", "Zoe",
)  # fmt: skip
"""First names from many places, for the course."""
