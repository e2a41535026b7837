"""Probability and counting: one draw, two draws, dice, choices."""

import math
import random
from collections.abc import Mapping
from fractions import Fraction
from itertools import combinations, permutations, product
from typing import Any

from phidelity.problems.topic import Sketch, between, one_of, people, pick, topic

_THINGS = ("marbles", "balls", "beads", "tokens", "buttons", "counters")
_WORD = {2: "two", 3: "three"}


def _reduced(top: int, bottom: int) -> str:
    low = Fraction(top, bottom)
    return "." if low.denominator == bottom else f" = {low}."


def urn(rng: random.Random, held: bool, *, largest: int = 15) -> Sketch:
    """One draw from a bag of two colours, or two draws without putting back."""
    a, b = pick(rng, 2, largest, held), between(rng, 2, largest)
    kind, total = one_of(rng, ("one", "both")), a + b
    n, w = people(rng, 1)[0], one_of(rng, _THINGS)
    red, blue = rng.sample(("red", "blue", "green", "white", "black", "yellow"), 2)
    if kind == "one":
        value = Fraction(a, total)
        steps = (
            f"There are {a} + {b} = {total} {w}, and each is equally likely to be drawn.",
            f"{a} of them are {red}, so the probability is {a}/{total}{_reduced(a, total)}",
        )
    else:
        value = Fraction(a * (a - 1), total * (total - 1))
        steps = (
            f"At the first draw {a} of {total} {w} are {red}: {a}/{total}.",
            f"If it was {red}, then {a - 1} of the remaining {total - 1} are {red}: {a - 1}/{total - 1}.",
            f"Both must happen, so multiply: {a}/{total} * {a - 1}/{total - 1} = {a * (a - 1)}/{total * (total - 1)}"
            f"{_reduced(a * (a - 1), total * (total - 1))}",
        )
    slots = {"a": a, "b": b, "n": n, "w": w, "red": red, "blue": blue}
    return Sketch(kind, slots, steps, str(value), {"kind": kind, "n": (a, b)})


def _urn(meta: Mapping[str, Any]) -> str:
    a, b = meta["n"]
    if meta["kind"] == "one":
        return str(1 - Fraction(b, a + b))
    return str(Fraction(math.comb(a, 2), math.comb(a + b, 2)))


URN = topic(
    "urn", "probability", "Drawing from a bag", draw=urn, solve=_urn, checker="text",
    lesson=(
        "If all outcomes are equally likely, the probability of an event is the number of outcomes that belong to it, "
        "divided by the number of all outcomes. It always lies between 0 and 1.",
        "When something is drawn and not put back, the bag changes: at the second draw there is one thing less. To find "
        "the probability that two things both happen, multiply the first probability by the second, given the first.",
    ),
    wordings="""
one | A bag holds {a} {red} and {b} {blue} {w}. One is drawn at random. What is the probability that it is {red}?
one | {n} draws one of {a} {red} and {b} {blue} {w} without looking. How likely is {red}? Give a fraction in lowest terms.
one | In a drawer lie {a} {red} and {b} {blue} {w}. If you take one blindly, with which probability is it {red}?
one ! Among the {w} in a jar, {a} are {red} and the other {b} are {blue}. What is the chance of picking a {red} one?
one ! Blindfolded, {n} takes one from {b} {blue} and {a} {red} {w}. Give the probability of {red} as a fraction.
both | A bag holds {a} {red} and {b} {blue} {w}. Two are drawn without putting back. What is the probability that both are {red}?
both | {n} takes two of {a} {red} and {b} {blue} {w} at random. With which probability are both {red}?
both | From {a} {red} and {b} {blue} {w} two are drawn, one after the other, and none is put back. How likely are two {red} ones?
both ! What is the chance that two {w}, taken together from {a} {red} and {b} {blue} ones, are both {red}?
both ! Two of the {w} in a jar, {a} of them {red} and {b} {blue}, fall out. Give the probability that both are {red}.
""",
)  # fmt: skip


def dice(rng: random.Random, held: bool, *, largest_faces: int = 12) -> Sketch:
    """Two fair dice with any number of faces: the probability of a total, or of at least one."""
    faces = pick(rng, 4, largest_faces, held)
    total = between(rng, faces - 1, faces + 3)
    first = max(1, total - faces)
    pairs = [(one, total - one) for one in range(first, min(faces, total - 1) + 1)]
    steps = (
        f"Two dice with {faces} faces can fall in {faces} * {faces} = {faces * faces} equally likely ways.",
        f"The total is {total} for {' '.join(f'({x}, {y})' for x, y in pairs)}: "
        f"{len(pairs)} {'way' if len(pairs) == 1 else 'ways'}.",
        f"The probability is {len(pairs)}/{faces * faces}{_reduced(len(pairs), faces * faces)}",
    )
    slots = {"f": faces, "t": total, "n": people(rng, 1)[0]}
    return Sketch("total", slots, steps, str(Fraction(len(pairs), faces * faces)), {"n": (faces, total)})


def _dice(meta: Mapping[str, Any]) -> str:
    faces, total = meta["n"]
    hits = sum(x + y == total for x, y in product(range(1, faces + 1), repeat=2))
    return str(Fraction(hits, faces * faces))


DICE = topic(
    "dice", "probability", "Two dice", draw=dice, solve=_dice, checker="text",
    lesson=(
        "Two dice must be told apart: a 2 and then a 5 is another outcome than a 5 and then a 2. So two ordinary dice "
        "have 6 * 6 = 36 equally likely outcomes, and totals in the middle are the likeliest.",
        "To find the probability of a total, list the pairs that give it and divide their number by the number of all "
        "pairs. List them in order, by the first die, so that none is forgotten.",
    ),
    wordings="""
total | Two fair dice with {f} faces each, numbered from 1, are thrown. What is the probability of a total of {t}?
total | {n} throws two dice that each show 1 to {f}. How likely is it that they add up to {t}? Give a fraction.
total | Two dice have faces from 1 to {f}. With which probability is the sum of both {t}?
total | In a game two dice with {f} faces are thrown, and {n} wins with a total of {t}. What is the probability of winning?
total | A die with the numbers 1 to {f} is thrown twice. What is the chance that both throws together make {t}?
total ! Throwing a pair of {f}-sided dice, how likely is a sum of {t}? Answer with a fraction in lowest terms.
total ! {n} needs exactly {t} with two {f}-sided dice. What is the chance?
""",
)  # fmt: skip


def choices(rng: random.Random, held: bool, *, largest: int = 12) -> Sketch:
    """Choosing some of many, with or without order."""
    n, k = pick(rng, 5, largest, held), between(rng, 2, 3)
    kind = one_of(rng, ("order", "group"))
    ordered = math.perm(n, k)
    factors = " * ".join(str(n - place) for place in range(k))
    steps = (f"For the first place there are {n} choices, for the next one fewer each time: {factors} = {ordered}.",)
    value = ordered
    if kind == "group":
        value = ordered // math.factorial(k)
        down = " * ".join(str(k - place) for place in range(k))
        steps = (
            *steps,
            f"The order does not count, and each group of {_WORD[k]} was counted {down} = {math.factorial(k)} times.",
            f"{ordered} / {math.factorial(k)} = {value}.",
        )
    slots = {"a": n, "k": _WORD[k], "n": people(rng, 1)[0]}
    return Sketch(kind, slots, steps, str(value), {"kind": kind, "n": (n, k)})


def _choices(meta: Mapping[str, Any]) -> str:
    n, k = meta["n"]
    return _COUNTED[meta["kind"], n, k] if (meta["kind"], n, k) in _COUNTED else _count(meta["kind"], n, k)


def _count(kind: str, n: int, k: int) -> str:
    return str(sum(1 for _ in (permutations if kind == "order" else combinations)(range(n), k)))


_COUNTED = {(kind, n, k): _count(kind, n, k) for kind in ("order", "group") for n in range(5, 13) for k in (2, 3)}
CHOICES_COUNTED = topic(
    "choices", "probability", "Counting choices", draw=choices, solve=_choices,
    lesson=(
        "If one decision can be made in several ways and each time the next can be made in several ways, the numbers are "
        "multiplied. When people fill different posts, the order counts.",
        "When only the group matters and not the order, divide by the number of orders in which the same group can be "
        "arranged: 2 for pairs, 6 for groups of three.",
    ),
    wordings="""
order | From {a} runners, medals of {k} different kinds are won, one each. How many results are possible?
order | A club of {a} people chooses {k} people for {k} different posts. In how many ways can that be done?
order | How many ways are there to put {k} of {a} different books side by side on a shelf?
order ! {n} owns {a} flags and hoists {k} of them one above the other. How many signals are possible?
order ! In how many orders can the first {k} places be taken if {a} horses run?
group | In how many ways can {n} choose {k} of {a} books for a journey?
group | A team of {k} is chosen from {a} players. How many teams are possible?
group | A shop sells {a} kinds of ice cream. How many cups with {k} different kinds are possible, if the order does not count?
group ! How many groups of {k} can be formed from {a} children?
group ! Out of {a} colours {n} mixes {k} in equal parts. How many mixtures are there?
""",
)  # fmt: skip

CHANCE = (URN, DICE, CHOICES_COUNTED)
