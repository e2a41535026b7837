"""Facts of the real world that do not change with the news: chemical elements, planets, capitals, animals' legs.

Unlike the closed world of `world.py` these are true; an almanac of them (`sentences`) belongs in every corpus that asks
them. Held out are the questions about a fifth of the things; what is told of them is told to all. The checker looks the
other way round: from the answer to the thing.
"""

import random
from collections.abc import Mapping
from typing import Any

from phidelity.problems.topic import Sketch, one_of, part, topic

ELEMENTS = (
    ("hydrogen", "H", 1), ("helium", "He", 2), ("lithium", "Li", 3), ("beryllium", "Be", 4), ("boron", "B", 5),
    ("carbon", "C", 6), ("nitrogen", "N", 7), ("oxygen", "O", 8), ("fluorine", "F", 9), ("neon", "Ne", 10),
    ("sodium", "Na", 11), ("magnesium", "Mg", 12), ("aluminium", "Al", 13), ("silicon", "Si", 14),
    ("phosphorus", "P", 15), ("sulfur", "S", 16), ("chlorine", "Cl", 17), ("argon", "Ar", 18), ("potassium", "K", 19),
    ("calcium", "Ca", 20), ("titanium", "Ti", 22), ("chromium", "Cr", 24), ("manganese", "Mn", 25), ("iron", "Fe", 26),
    ("cobalt", "Co", 27), ("nickel", "Ni", 28), ("copper", "Cu", 29), ("zinc", "Zn", 30), ("bromine", "Br", 35),
    ("krypton", "Kr", 36), ("silver", "Ag", 47), ("tin", "Sn", 50), ("iodine", "I", 53), ("xenon", "Xe", 54),
    ("tungsten", "W", 74), ("platinum", "Pt", 78), ("gold", "Au", 79), ("mercury", "Hg", 80), ("lead", "Pb", 82),
    ("uranium", "U", 92),
)  # fmt: skip
CAPITALS = (
    ("Argentina", "Buenos Aires"), ("Austria", "Vienna"), ("Australia", "Canberra"), ("Belgium", "Brussels"),
    ("Brazil", "Brasília"), ("Bulgaria", "Sofia"), ("Canada", "Ottawa"), ("Chile", "Santiago"), ("China", "Beijing"),
    ("Colombia", "Bogotá"), ("Croatia", "Zagreb"), ("Cuba", "Havana"), ("Denmark", "Copenhagen"), ("Egypt", "Cairo"),
    ("Estonia", "Tallinn"), ("Ethiopia", "Addis Ababa"), ("Finland", "Helsinki"), ("France", "Paris"),
    ("Germany", "Berlin"), ("Ghana", "Accra"), ("Greece", "Athens"), ("Hungary", "Budapest"), ("Iceland", "Reykjavik"),
    ("India", "New Delhi"), ("Iran", "Tehran"), ("Iraq", "Baghdad"), ("Ireland", "Dublin"), ("Italy", "Rome"),
    ("Jamaica", "Kingston"), ("Japan", "Tokyo"), ("Kenya", "Nairobi"), ("Latvia", "Riga"), ("Lithuania", "Vilnius"),
    ("Mexico", "Mexico City"), ("Mongolia", "Ulaanbaatar"), ("Morocco", "Rabat"), ("Nepal", "Kathmandu"),
    ("New Zealand", "Wellington"), ("Nigeria", "Abuja"), ("Norway", "Oslo"), ("Pakistan", "Islamabad"),
    ("Peru", "Lima"), ("Poland", "Warsaw"), ("Portugal", "Lisbon"), ("Romania", "Bucharest"), ("Senegal", "Dakar"),
    ("Slovakia", "Bratislava"), ("Slovenia", "Ljubljana"), ("South Korea", "Seoul"), ("Spain", "Madrid"),
    ("Sweden", "Stockholm"), ("Thailand", "Bangkok"), ("Tunisia", "Tunis"), ("Turkey", "Ankara"), ("Uganda", "Kampala"),
    ("Ukraine", "Kyiv"), ("Uruguay", "Montevideo"), ("Vietnam", "Hanoi"), ("Zambia", "Lusaka"), ("Zimbabwe", "Harare"),
)  # fmt: skip


def sentences() -> tuple[str, ...]:
    """Every fact of this file, one sentence each."""
    told = [
        f"{name.capitalize()} has the symbol {symbol} and the atomic number {number}."
        for name, symbol, number in ELEMENTS
    ]
    return (*told, *(f"The capital of {country} is {city}." for country, city in CAPITALS))


def element(rng: random.Random, held: bool) -> Sketch:
    """The symbol, the atomic number or the name of an element."""
    name, symbol, number = one_of(rng, _ELEMENTS[held])
    kind = one_of(rng, ("symbol", "number", "name"))
    answer = {"symbol": symbol, "number": str(number), "name": name}[kind]
    steps = (f"{name.capitalize()} has the symbol {symbol} and the atomic number {number}.",)
    slots = {"e": name, "y": symbol, "k": number, "E": name.capitalize()}
    given = {"symbol": name, "number": name, "name": symbol}[kind]
    return Sketch(kind, slots, steps, answer, {"kind": kind, "given": given})


def _element(meta: Mapping[str, Any]) -> str:
    back = {"symbol": _BY_SYMBOL, "number": _BY_NUMBER, "name": _BY_NAME}[meta["kind"]]
    return next((answer for answer, name in back.items() if name == meta["given"]), "none")


_ELEMENTS = {held: part(ELEMENTS[::-1], held) for held in (False, True)}
_BY_SYMBOL = {symbol: name for name, symbol, _ in ELEMENTS}
_BY_NUMBER = {str(number): name for name, _, number in ELEMENTS}
_BY_NAME = {name: symbol for name, symbol, _ in ELEMENTS}
ELEMENT = topic(
    "element", "facts", "The chemical elements", draw=element, solve=_element, checker="text",
    lesson=(
        "Everything around us is made of chemical elements. Each has a name, a symbol of one or two letters, and an atomic "
        "number, which counts the protons in the core of its atoms.",
        "Many symbols are the first letters of the name, as C for carbon. Some come from Latin: Fe for iron is short for "
        "ferrum, Au for gold for aurum, and Pb for lead for plumbum.",
    ),
    wordings="""
symbol | What is the chemical symbol of {e}?
symbol | Which symbol stands for {e} in the periodic table?
symbol | {E} is written how in chemical formulas? Give the symbol.
symbol ! By which letter or letters do chemists denote {e}?
number | What is the atomic number of {e}?
number | How many protons does an atom of {e} have?
number | At which number does {e} stand in the periodic table?
number ! How many protons are in the core of each atom of {e}?
name | Which element has the symbol {y}?
name | What is the name of the element whose symbol is {y}?
name | In a formula stands {y}. Which element is meant?
name ! Chemists write {y} for which element?
""",
)  # fmt: skip


def capital(rng: random.Random, held: bool) -> Sketch:
    """The capital of a country, or the country of a capital."""
    country, city = one_of(rng, _CAPITALS[held])
    kind = one_of(rng, ("city", "country"))
    steps = (f"The capital of {country} is {city}.",)
    slots = {"c": country, "t": city}
    given = country if kind == "city" else city
    return Sketch(kind, slots, steps, city if kind == "city" else country, {"kind": kind, "given": given})


def _capital(meta: Mapping[str, Any]) -> str:
    pairs = CAPITALS if meta["kind"] == "country" else [(city, country) for country, city in CAPITALS]
    return next((answer for answer, given in pairs if given == meta["given"]), "none")


_CAPITALS = {held: part(CAPITALS, held) for held in (False, True)}
CAPITAL = topic(
    "capital", "facts", "Capitals", draw=capital, solve=_capital, checker="text",
    lesson=(
        "The capital of a country is the city where its government has its seat. It is often the largest city, but not "
        "always: Canberra, Ottawa, Ankara and Brasília are smaller than other cities of their countries.",
        "To remember capitals, tie each to something you know of the country, and ask in both directions: which city is the "
        "capital of Peru, and which country is governed from Lima?",
    ),
    wordings="""
city | What is the capital of {c}?
city | Which city is the capital of {c}?
city | Name the capital of {c}.
city | In which city does the government of {c} have its seat?
city ! From which city is {c} governed?
city ! {c}: which city is its capital?
country | Of which country is {t} the capital?
country | {t} is the capital of which country?
country | Name the country whose capital is {t}.
country ! Which country is governed from {t}?
""",
)  # fmt: skip

ATLAS = (ELEMENT, CAPITAL)
