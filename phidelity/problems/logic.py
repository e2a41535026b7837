"""Logic: truth-tellers and liars, and orders."""

import random
from collections.abc import Mapping
from itertools import pairwise, permutations, product
from typing import Any

from phidelity.problems.lexicon import PEOPLE
from phidelity.problems.topic import Sketch, listed, one_of, part, people, topic

Claim = tuple[int, str, int]
"""Who says of whom what: `truth`, `liar`, or `same` (we two are of the same kind)."""


def knights(rng: random.Random, held: bool) -> Sketch:
    """Three people who always lie or always tell the truth; one is known, each speaks of another."""
    names = rng.sample(part(PEOPLE, held), 3)
    truth = [rng.random() < 0.5 for _ in names]
    order = rng.sample(range(3), 3)
    told = []
    for who, of in ((order[0], order[1]), (order[1], order[2])):
        same = truth[who] == truth[of]
        kind = one_of(rng, ("truth", "liar"))
        if rng.random() < 0.5 or same != (kind == "truth"):
            kind = "truth" if same else "liar"
        told.append((who, kind, of))
    known = (order[0], truth[order[0]])
    word = {True: "a truth-teller", False: "a liar"}
    steps, (first, is_true) = [], known
    for who, kind, of in told:
        believed = "true" if truth[who] else "false"
        steps.append(
            f"{names[who]} is {word[truth[who]]}, so the claim that {names[of]} is "
            f"{word[kind == 'truth']} is {believed}: {names[of]} is {word[truth[of]]}."
        )
    asked = order[2]
    slots = {
        "k": f"{names[first]} is {word[is_true]}", "c": _claims(names, told), "c2": _claims(names, told, "According to {0}, {1} is {2}."), "q": names[asked],
        "l": listed(sorted(names)), "place": one_of(rng, part(_PLACES, held)),
    }  # fmt: skip
    meta = {"names": names, "known": known, "told": told, "asked": asked}
    return Sketch("who", slots, tuple(steps), "truth-teller" if truth[asked] else "liar", meta)


def _claims(names: list[str], told: list[Claim], how: str = '{0} says: "{1} is {2}."') -> str:
    word = {"truth": "a truth-teller", "liar": "a liar"}
    return " ".join(how.format(names[who], names[of], word[kind]) for who, kind, of in told)


def _knights(meta: Mapping[str, Any]) -> str:
    known, value = meta["known"]
    worlds = [
        world
        for world in product((True, False), repeat=3)
        if world[known] == value
        and all(world[who] == (world[of] == (kind == "truth")) for who, kind, of in meta["told"])
    ]
    answers = {"truth-teller" if world[meta["asked"]] else "liar" for world in worlds}
    return answers.pop() if len(answers) == 1 else "undecided"


_PLACES = ("On an island", "In a village", "At a castle", "In a valley", "On a ship", "In a far country",
           "On a mountain", "In an old tale", "At a fair", "In a forest")  # fmt: skip
KNIGHTS = topic(
    "knights", "logic", "Truth-tellers and liars", draw=knights, solve=_knights, checker="text",
    lesson=(
        "Where some people always tell the truth and the others always lie, start with someone you are sure about. What a "
        "truth-teller says is true; what a liar says is false, so the opposite holds.",
        "In such puzzles every statement ties two people together: if A calls B a truth-teller, both are of the same "
        "kind; if A calls B a liar, they are of different kinds. From one known person you can go along the statements.",
    ),
    wordings="""
who | {place} live truth-tellers, who never lie, and liars, who always lie. {k}. {c} Is {q} a truth-teller or a liar?
who | {place}, everyone either always tells the truth or always lies. {c} You know that {k}. What is {q}, a truth-teller or a liar?
who | Some always lie, the others never do. {l} talk. {c} It is known that {k}. Is {q} a truth-teller or a liar?
who | You meet {l}. Each is a truth-teller or a liar. {k}. {c} Which of the two is {q}?
who ! {place} you find people of two sorts, truth-tellers and liars. One thing is certain: {k}. Then you hear this. {c2} To which sort does {q} belong: truth-teller or liar?
who ! {c2} Each of the speakers lies always or never, and {k}. Decide whether {q} is a truth-teller or a liar.
""",
)  # fmt: skip

_QUALITIES = (
    ("taller", "tallest", "shortest"), ("older", "oldest", "youngest"), ("faster", "fastest", "slowest"),
    ("heavier", "heaviest", "lightest"), ("stronger", "strongest", "weakest"), ("richer", "richest", "poorest"),
    ("louder", "loudest", "quietest"), ("busier", "busiest", "least busy"), ("kinder", "kindest", "least kind"),
    ("braver", "bravest", "least brave"),
)  # fmt: skip


def ordering(rng: random.Random, held: bool, *, n_people: int = 4) -> Sketch:
    """An order from comparisons of neighbours, told in mixed order; who is at its end, or second?"""
    names = people(rng, n_people)
    more, most, least = one_of(rng, part(_QUALITIES, held))
    facts = [f"{a} is {more} than {b}." for a, b in pairwise(names)]
    kind = one_of(rng, ("most", "least", "second"))
    answer = names[{"most": 0, "least": -1, "second": 1}[kind]]
    said = rng.sample(facts, len(facts))
    steps = (
        f"Put the statements in a row: {', '.join(f'{a} before {b}' for a, b in pairwise(names))}.",
        f"From the {most} on, the order is {', '.join(names)}.",
        f"So {answer} is {'the ' + most if kind == 'most' else 'the ' + least if kind == 'least' else 'second'}.",
    )
    q = {"most": f"Who is the {most}", "least": f"Who is the {least}",
         "second": f"Who comes second, counted from the {most}"}[kind]  # fmt: skip
    slots = {"f": " ".join(said), "q": q, "l": listed(sorted(names)), "q2": q[0].lower() + q[1:]}
    return Sketch("order", slots, steps, answer, {"kind": kind, "names": sorted(names), "facts": [
        (a, b) for a, b in (one.removesuffix(".").split(f" is {more} than ") for one in said)]})  # fmt: skip


def _ordering(meta: Mapping[str, Any]) -> str:
    place = {"most": 0, "least": -1, "second": 1}[meta["kind"]]
    fits = {
        order[place]
        for order in permutations(meta["names"])
        if all(order.index(a) < order.index(b) for a, b in meta["facts"])
    }
    return fits.pop() if len(fits) == 1 else "undecided"


ORDERING = topic(
    "ordering", "logic", "Putting things in order", draw=ordering, solve=_ordering, checker="text",
    lesson=(
        "If A is taller than B and B is taller than C, then A is taller than C. Such statements can be joined like links "
        "of a chain, however mixed their order is.",
        "To order people from comparisons, look for the one who is never on the smaller side: that is the first. Take "
        "away the statements about that person and look again.",
    ),
    wordings="""
order | {f} {q}?
order | Here is what we know of {l}. {f} {q}?
order | {q} of {l}, if the following is true? {f}
order | Read carefully. {f} Now tell: {q2}?
order ! All of these statements hold: {f} {q} among {l}?
order ! {l} compare themselves and find this. {f} Tell {q2}.
""",
)  # fmt: skip

LOGIC = (KNIGHTS, ORDERING)
