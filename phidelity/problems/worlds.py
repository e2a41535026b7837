"""Small worlds that change: things that are moved, places that are swapped, a walk on a grid."""

import random
from collections.abc import Mapping
from typing import Any

from phidelity.problems.topic import Sketch, between, listed, one_of, part, people, pick, topic

_OBJECTS = ("ball", "key", "book", "hat", "lamp", "map", "letter", "cup", "drum", "coin", "rope", "bell",
            "scarf", "mirror")  # fmt: skip
_ROOMS = ("kitchen", "garden", "hall", "cellar", "attic", "garage", "study", "bedroom", "barn", "laundry", "library",
          "workshop", "pantry", "tower", "stable")  # fmt: skip


def whereabouts(rng: random.Random, held: bool, *, n_moves: int = 5) -> Sketch:
    """People walk about and carry things; where is one of them at the end?"""
    (n, m), rooms = people(rng, 2), rng.sample(part(_ROOMS, held), 3)
    things = rng.sample(part(_OBJECTS, held), 2)
    at = {n: rooms[0], m: rooms[1]}
    lies = {things[0]: rooms[0], things[1]: rooms[1]}
    holder: dict[str, str | None] = {things[0]: None, things[1]: None}
    events: list[tuple[str, str, str]] = []
    for _ in range(n_moves):
        who = n if rng.random() < 0.5 else m
        held_by = [thing for thing in things if holder[thing] == who]
        near = [thing for thing in things if holder[thing] is None and lies[thing] == at[who]]
        roll = rng.random()
        if near and roll < 0.5:
            thing = one_of(rng, near)
            holder[thing] = who
            events.append((who, "take", thing))
        elif held_by and roll < 0.3:
            thing = one_of(rng, held_by)
            holder[thing], lies[thing] = None, at[who]
            events.append((who, "leave", thing))
        else:
            room = one_of(rng, [room for room in rooms if room != at[who]])
            at[who] = room
            events.append((who, "go", room))
    moved = [thing for _, what, thing in events if what == "take"]
    thing = one_of(rng, moved or things)
    owner = holder[thing]
    answer = at[owner] if owner else lies[thing]
    steps = (*_follow(thing, rooms[things.index(thing)], events), f"So the {thing} is in the {answer}.")
    texts = [_EVENT[what].format(who=who, x=x) for who, what, x in events]
    begin = f"{n} is in the {rooms[0]} with a {things[0]}. {m} is in the {rooms[1]} with a {things[1]}."
    begin2 = f"At first {n} stands in the {rooms[0]}, where a {things[0]} lies, and {m} in the {rooms[1]}, where a {things[1]} lies."
    slots = {"b": begin.replace(" with a ", ", where there is a "), "b2": begin2, "e": " ".join(texts), "x": thing,
             "e2": " ".join(_EVENT_HELD[what].format(who=who, x=x) for who, what, x in events)}  # fmt: skip
    meta = {"people": ((n, rooms[0]), (m, rooms[1])), "things": tuple(zip(things, rooms, strict=False)),
            "events": events, "asked": thing}  # fmt: skip
    return Sketch("where", slots, steps, answer, meta)


_EVENT = {"take": "{who} takes the {x}.", "leave": "{who} puts the {x} down.", "go": "{who} goes to the {x}."}
_EVENT_HELD = {"take": "Next, {who} picks up the {x}.", "leave": "Next, {who} lays the {x} down.",
               "go": "Next, {who} moves to the {x}."}  # fmt: skip


def _follow(thing: str, room: str, events: list[tuple[str, str, str]]) -> list[str]:
    """The events that matter for one thing, in words."""
    told, holder = [f"The {thing} starts in the {room}."], None
    for who, what, x in events:
        if x == thing:
            holder = who if what == "take" else None
            told.append(f"{who} takes it." if holder else f"{who} puts it down.")
        elif what == "go" and who == holder:
            told.append(f"{who} carries it to the {x}.")
    return told if len(told) > 1 else [*told, "Nobody moves it."]


def _whereabouts(meta: Mapping[str, Any]) -> str:
    """Backwards: who had the thing last, and where was that person last?"""
    asked, events = meta["asked"], meta["events"]
    touched = [place for place, (_, what, x) in enumerate(events) if x == asked and what != "go"]
    if not touched:
        return dict(meta["things"])[asked]
    who, what, _ = events[touched[-1]]
    until = events if what == "take" else events[: touched[-1]]
    walks = [x for person, done, x in until if person == who and done == "go"]
    return walks[-1] if walks else dict(meta["people"])[who]


WHEREABOUTS = topic(
    "whereabouts", "world state", "Where things are", draw=whereabouts, solve=_whereabouts, checker="text",
    lesson=(
        "In a story things change their places. Follow one thing from the beginning: as long as nobody takes it, it stays "
        "where it is; when somebody carries it, it goes wherever that person goes.",
        "Read such a story with a small table in mind: for each person a room, for each thing a room or a person. Every "
        "sentence changes one line of the table, and the question asks for one line at the end.",
    ),
    wordings="""
where | {b} {e} Where is the {x} now?
where | {b} {e} In which room is the {x}?
where | {b} {e} In which room would you look for the {x}?
where | Follow the {x}. {b} {e} In which room does it end up?
where ! {b2} {e2} Name the room in which the {x} can be found at last.
where ! {b2} {e2} To which room must one go to see the {x}?
""",
)  # fmt: skip

_CUPS = ("red", "blue", "green", "white", "black", "yellow", "brown", "grey", "pink", "purple")


def swaps(rng: random.Random, held: bool, *, n_swaps: int = 4) -> Sketch:
    """A coin under one of three cups whose places are swapped."""
    cups = rng.sample(part(_CUPS, held) if not held else _CUPS[-4:], 3)
    start = between(rng, 0, 2)
    coin, moves, steps = start, [], []
    for _ in range(n_swaps):
        i, j = sorted(rng.sample(range(3), 2))
        moves.append((i, j))
        before = coin
        coin = j if coin == i else i if coin == j else coin
        went = f"stays {_AT[coin]}" if coin == before else f"goes to the {_PLACE[coin]}"
        steps.append(f"{_PLACE[i].capitalize()} and {_PLACE[j]} change: the coin {went}.")
    n = people(rng, 1)[0]
    told = ". Then ".join(f"the cups {_AT[i]} and {_AT[j]} change places" for i, j in moves)
    held_told = ", then ".join(f"{_PLACE[i]} with {_PLACE[j]}" for i, j in moves)
    kind = one_of(rng, ("place", "colour"))
    answer = _PLACE[coin] if kind == "place" else cups[start]
    if kind == "colour":
        steps = [f"At the beginning the coin is under the cup {_AT[start]}, which is {cups[start]}.",
                 "The coin always moves together with its cup, so the swaps change its place but not its cup."]  # fmt: skip
    slots = {
        "a": cups[0],
        "b": cups[1],
        "c": cups[2],
        "s": _AT[start],
        "s2": _PLACE[start],
        "e": told,
        "e2": held_told,
        "n": n,
    }
    return Sketch(kind, slots, tuple(steps), answer, {"kind": kind, "cups": cups, "start": start, "moves": moves})


_PLACE = ("left", "middle", "right")
_AT = ("on the left", "in the middle", "on the right")


def _swaps(meta: Mapping[str, Any]) -> str:
    row = [False, False, False]
    row[meta["start"]] = True
    if meta["kind"] == "colour":
        return next(cup for cup, coin in zip(meta["cups"], row, strict=True) if coin)
    for i, j in meta["moves"]:
        row[i], row[j] = row[j], row[i]
    return _PLACE[row.index(True)]


SWAPS = topic(
    "swaps", "world state", "Swapping places", draw=swaps, solve=_swaps, checker="text",
    lesson=(
        "When two things change places, only these two move; everything else stays. To follow one thing through many "
        "swaps, ask at each swap: is my thing one of the two? If so, it goes to the other place.",
        "A coin under a cup travels with its cup. The place of the coin changes with every swap that touches it, but the "
        "cup above it remains the same.",
    ),
    wordings="""
place | A {a}, a {b} and a {c} cup stand in a row from left to right. A coin lies under the cup {s}. Now {e}. Where is the coin: left, middle or right?
place | {n} hides a coin under the {s2} one of three cups. Then {e}. At which place is the coin now: left, middle or right?
place | Of three cups the one {s} covers a coin. First {e}. Is the coin now left, middle or right?
place ! Three cups hide one coin, {s}. {n} swaps {e2}. Which place is the coin at in the end: left, middle or right?
colour | From left to right stand a {a}, a {b} and a {c} cup; a coin is under the one {s}. Now {e}. Which colour has the cup with the coin?
colour | {n} puts a coin under the cup {s} of the row {a}, {b}, {c}. Then {e}. What colour is the cup over the coin?
colour ! The cups {a}, {b} and {c} stand in this order from the left, with a coin below the {s2} one. {n} swaps the places {e2}. Under which colour is the coin?
""",
)  # fmt: skip

_TURN = ("north", "east", "south", "west")
_MOVE = ((0, 1), (1, 0), (0, -1), (-1, 0))


def walk(rng: random.Random, held: bool, *, n_legs: int = 4, longest_leg: int = 20) -> Sketch:
    """A walk on a grid; how far north or east of the start does it end?"""
    legs, x, y, last = [], 0, 0, -1
    for _ in range(n_legs):
        turn = one_of(rng, [turn for turn in range(4) if turn != last])
        legs.append((turn, pick(rng, 2, longest_leg, held)))
        last = turn
        x, y = x + _MOVE[turn][0] * legs[-1][1], y + _MOVE[turn][1] * legs[-1][1]
    n = people(rng, 1)[0]
    steps = (
        f"Count north as plus and south as minus: {_signed([k if t == 0 else -k for t, k in legs if t in (0, 2)])}.",
        f"Count east as plus and west as minus: {_signed([k if t == 1 else -k for t, k in legs if t in (1, 3)])}.",
        f"Along the streets the way back is {abs(y)} + {abs(x)} = {abs(x) + abs(y)} blocks.",
    )
    told = listed([f"{length} blocks {_TURN[turn]}" for turn, length in legs])
    told2 = "; ".join(f"{_TURN[turn]} for {length} blocks" for turn, length in legs)
    slots = {"n": n, "e": told, "e2": told2}
    return Sketch("back", slots, steps, str(abs(x) + abs(y)), {"legs": legs})


def _signed(lengths: list[int]) -> str:
    """`14 - 3 = 11`, or a single number."""
    if len(lengths) < 2:
        return str(lengths[0]) if lengths else "no such leg, so 0"
    told = " ".join(f"{'+' if length > 0 else '-'} {abs(length)}" for length in lengths[1:])
    return f"{lengths[0]} {told} = {sum(lengths)}"


def _walk(meta: Mapping[str, Any]) -> str:
    at = 0j
    for turn, length in meta["legs"]:
        at += length * 1j ** (1 - turn)
    return str(round(abs(at.real) + abs(at.imag)))


WALK = topic(
    "walk", "world state", "Walks on a grid", draw=walk, solve=_walk,
    lesson=(
        "In a town whose streets form a grid, a position is two numbers: how far north and how far east of the start. "
        "Each leg of a walk changes only one of them.",
        "Legs in opposite directions cancel. Add up north and south apart from east and west; what remains of both is the "
        "way back.",
    ),
    wordings="""
back | {n} walks {e} in a town with a square grid of streets. How many blocks is it back to the start?
back | A delivery robot drives {e}. How many blocks does it have to drive back, following the grid?
back | Starting at home, {n} goes {e}. How many blocks is the shortest way home along the streets?
back | From the station {n} walks {e}. How many blocks away from the station is that, along the grid?
back ! On a grid of streets {n} cycles like this: {e2}. What is the number of blocks of the shortest way back?
back ! A courier takes this way: {e2}. How many blocks lie between the end and the start of it, going by the streets?
""",
)  # fmt: skip

WORLDS = (WHEREABOUTS, SWAPS, WALK)
