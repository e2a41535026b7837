"""Units, and distance, time and speed."""

import random
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from phidelity.problems.topic import Sketch, between, one_of, people, pick, product, topic

_UNITS = (
    ("kilometres", "metres", 1000), ("metres", "centimetres", 100), ("centimetres", "millimetres", 10),
    ("kilograms", "grams", 1000), ("tonnes", "kilograms", 1000), ("litres", "millilitres", 1000),
    ("hours", "minutes", 60), ("minutes", "seconds", 60), ("days", "hours", 24), ("weeks", "days", 7),
)  # fmt: skip
_SIZE = {
    "millimetres": 1, "centimetres": 10, "metres": 1000, "kilometres": 10**6, "grams": 1, "kilograms": 1000,
    "tonnes": 10**6, "millilitres": 1, "litres": 1000, "seconds": 1, "minutes": 60, "hours": 3600, "days": 86400,
    "weeks": 604800,
}  # fmt: skip
"""Of each unit in the smallest of its kind."""


def units(rng: random.Random, held: bool, *, largest: int = 60) -> Sketch:
    """From a larger unit to a smaller one, back, or a mixed amount."""
    large, small, factor = one_of(rng, _UNITS)
    a, b = pick(rng, 2, largest, held), between(rng, 2, factor - 1)
    kind = one_of(rng, ("down", "up", "mixed"))
    n = people(rng, 1)[0]
    if kind == "down":
        value, slots = a * factor, {"a": a}
        steps = (f"One of the {large} makes {factor} {small}.", f"So multiply: {a} * {factor} = {value}.")
    elif kind == "up":
        value, slots = a, {"a": a * factor}
        steps = (f"It takes {factor} {small} to make one of the {large}.", f"So divide: {a * factor} / {factor} = {a}.")
    else:
        value, slots = a * factor + b, {"a": a, "b": b}
        steps = (
            f"The {a} {large} are {a} * {factor} = {a * factor} {small}.",
            f"Add the remaining {b}: {a * factor} + {b} = {value}.",
        )
    meta = {"kind": kind, "n": tuple(slots.values()), "units": (large, small)}
    return Sketch(kind, {**slots, "l": large, "s": small, "n": n}, steps, str(value), meta)


def _units(meta: Mapping[str, Any]) -> str:
    large, small = meta["units"]
    sizes = (small, small) if meta["kind"] == "up" else (large, small)
    total = sum(amount * _SIZE[unit] for amount, unit in zip(meta["n"], sizes, strict=False))
    return str(Fraction(total, _SIZE[large if meta["kind"] == "up" else small]))


UNITS = topic(
    "units", "units and dates", "Converting units", draw=units, solve=_units,
    lesson=(
        "To go from a larger unit to a smaller one, multiply by how many small units make a large one; to go the other "
        "way, divide. The quantity stays the same, only the words for it change.",
        "Small units give large numbers: 3 kilometres are 3000 metres. If your result has become smaller on the way to "
        "a smaller unit, you have divided where you should have multiplied.",
    ),
    wordings="""
down | How many {s} are {a} {l}?
down | Convert {a} {l} to {s}.
down | {n} measures {a} {l}. Express this in {s}.
down ! Write {a} {l} as a number of {s}.
up | How many {l} are {a} {s}?
up | Convert {a} {s} to {l}.
up | {n} measures {a} {s}. Express this in {l}.
up ! Write {a} {s} as a number of {l}.
mixed | How many {s} are {a} {l} and {b} {s}?
mixed | Convert {a} {l} and {b} {s} to {s} alone.
mixed | {n} notes down {a} {l} and {b} {s}. How many {s} is that in all?
mixed ! Expressed in {s} only, how much are {a} {l} plus {b} {s}?
""",
)  # fmt: skip

_VEHICLES = ("train", "bus", "car", "ship", "truck", "cyclist", "tram", "ferry")


def speed(rng: random.Random, held: bool, *, fastest: int = 120) -> Sketch:
    """Distance, time or speed from the two others, or when two who approach each other meet."""
    v, t = pick(rng, 12, fastest, held), between(rng, 2, 9)
    kind = one_of(rng, ("distance", "time", "speed", "meet"))
    w, (n, m) = one_of(rng, _VEHICLES), people(rng, 2)
    slots = {"v": v, "t": t, "d": v * t, "w": w, "n": n, "m": m}
    given: dict[str, tuple[int, ...]] = {"distance": (v, t), "time": (v * t, v), "speed": (v * t, t)}
    if kind == "distance":
        value = v * t
        steps = (f"In each hour {v} kilometres are covered.", f"In {t} hours it is {product(v, t)} kilometres.")
    elif kind == "time":
        value = t
        steps = (f"Each hour covers {v} of the {v * t} kilometres.", f"{v * t} / {v} = {t}, so it takes {t} hours.")
    elif kind == "speed":
        value = v
        steps = (
            f"Speed is distance per hour, so divide the distance by the hours: {v * t} / {t} = {v}.",
            f"Check: {product(v, t)}.",
        )
    else:
        u, value = between(rng, 10, 60), t
        slots |= {"u": u, "d": (u + v) * t}
        given["meet"] = ((u + v) * t, u, v)
        steps = (
            f"Every hour the distance between them shrinks by {u} + {v} = {u + v} kilometres.",
            f"{(u + v) * t} / {u + v} = {t}, so they meet after {t} hours.",
        )
    return Sketch(kind, slots, steps, str(value), {"kind": kind, "n": given[kind]})


def _speed(meta: Mapping[str, Any]) -> str:
    kind, n = meta["kind"], meta["n"]
    if kind == "distance":
        return str(sum(n[0] for _ in range(n[1])))
    if kind == "speed":
        return str(next(v for v in range(1, n[0] + 1) if v * n[1] == n[0]))
    left, hours = n[0], 0
    while left > 0:
        left, hours = left - sum(n[1:]), hours + 1
    return str(hours) if left == 0 else "between two hours"


SPEED = topic(
    "speed", "units and dates", "Distance, time and speed", draw=speed, solve=_speed,
    lesson=(
        "Speed says how far something goes in one hour. Distance is speed times time; time is distance divided by speed; "
        "speed is distance divided by time. If one knows two of them, one knows the third.",
        "When two travellers move towards each other, the gap between them closes at the sum of their speeds. It is as "
        "if one stood still and the other came with both speeds together.",
    ),
    wordings="""
distance | A {w} travels at {v} km/h for {t} hours. How many kilometres does it cover?
distance | {n} drives for {t} hours at a steady {v} km/h. How far is that, in kilometres?
distance | At {v} km/h, how many kilometres does a {w} go in {t} hours?
distance ! How far, in kilometres, does a {w} come in {t} hours if its speed is {v} km/h throughout?
time | A {w} travels {d} km at {v} km/h. How many hours does it take?
time | {n} has {d} km to go at {v} km/h. How many hours will that take?
time | How many hours does a {w} with a speed of {v} km/h need for {d} km?
time ! The road is {d} km long and the {w} does {v} km/h. For how many hours is it on the way?
speed | A {w} covers {d} km in {t} hours. What is its average speed in km/h?
speed | {n} drives {d} km in {t} hours. How fast is that on average, in km/h?
speed | At what speed in km/h does a {w} go {d} km in {t} hours?
speed ! What average speed, in km/h, brings a {w} over {d} km in {t} hours?
meet | Two towns are {d} km apart. {n} starts from one at {v} km/h, {m} from the other at {u} km/h. After how many hours do they meet?
meet | Two trains {d} km apart drive towards each other at {v} and {u} km/h. In how many hours do they meet?
meet ! From the ends of a road of {d} km, a van doing {v} km/h and a bicycle doing {u} km/h start towards each other. How many hours pass until they meet?
""",
)  # fmt: skip

MEASURES = (UNITS, SPEED)
