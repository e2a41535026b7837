"""Arithmetic: expressions, percentages, fractions, decimals."""

import math
import random
from collections.abc import Mapping
from decimal import Decimal
from fractions import Fraction
from typing import Any

from phidelity.problems.topic import Sketch, between, one_of, people, pick, product, topic

_WARES = ("jacket", "lamp", "bicycle", "chair", "tent", "radio", "coat", "desk", "mirror", "carpet", "guitar", "camera")
_FOODS = ("pizza", "cake", "pie", "melon", "loaf of bread", "bar of chocolate")


def expression(rng: random.Random, held: bool, *, largest: int = 60, largest_factor: int = 12) -> Sketch:
    """Two operations, the brackets or the order deciding which comes first."""
    a, b, c = pick(rng, 11, largest, held), pick(rng, 5, largest, held), between(rng, 3, largest_factor)
    kind = one_of(rng, ("grouped", "ordered", "lost"))
    if kind == "lost" and a <= b:
        a, b = b + 3, a
    n, m = people(rng, 2)
    if kind == "ordered":
        value = a + b * c
        steps = (f"Multiplication comes before addition: {product(b, c)}.", f"Then add: {a} + {b * c} = {value}.")
    else:
        sign, inner = ("+", a + b) if kind == "grouped" else ("-", a - b)
        value = inner * c
        steps = (
            f"First find one part: {a} {sign} {b} = {inner}.",
            f"There are {c} such parts, so multiply: {product(inner, c)}.",
        )
    return Sketch(kind, {"a": a, "b": b, "c": c, "n": n, "m": m}, steps, str(value), {"kind": kind, "n": (a, b, c)})


def _expression(meta: Mapping[str, Any]) -> str:
    a, b, c = meta["n"]
    total = a if meta["kind"] == "ordered" else 0
    for _ in range(c):
        total += b if meta["kind"] == "ordered" else a + b if meta["kind"] == "grouped" else a - b
    return str(total)


EXPRESSION = topic(
    "expression", "arithmetic", "Which operation comes first", draw=expression, solve=_expression,
    lesson=(
        "When a calculation has several operations, their order matters. Whatever stands in brackets is worked out "
        "first. Without brackets, multiplication comes before addition and subtraction.",
        "Think of brackets as a parcel: open it before you do anything else with it. If there is no parcel, multiply "
        "before you add, because a product such as 3 * 5 stands for 5 + 5 + 5 and belongs together.",
    ),
    wordings="""
grouped | What is ({a} + {b}) * {c}?
grouped | {n} earns {a} euros in the morning and {b} euros in the afternoon. How much does {n} earn in {c} such days?
grouped | Each gift bag holds {a} sweets and {b} nuts. How many pieces are needed for {c} bags?
grouped | A bus carries {a} adults and {b} children on every trip. How many passengers does it carry in {c} trips?
grouped ! Every week {n} swims {a} lengths on Monday and {b} on Friday; after {c} weeks, how many lengths is that?
grouped ! Add {a} and {b}, then multiply the sum by {c}. Which number do you get?
ordered | Work out {a} + {b} * {c}.
ordered | {n} has {a} stickers and buys {c} packs with {b} stickers each. How many stickers does {n} have now?
ordered | A taxi costs {a} cents to start and {b} cents per minute. What does a ride of {c} minutes cost, in cents?
ordered | There are {a} seats on the balcony and {c} rows of {b} seats below. How many seats are there?
ordered ! To {a}, add the product of {b} and {c}. What is the result?
ordered ! With {a} pages already read, {n} reads {b} pages a day for {c} days. How many pages has {n} read by then?
lost | Compute ({a} - {b}) * {c}.
lost | A box holds {a} eggs, and {b} of them are cracked. How many whole eggs are in {c} such boxes?
lost | {n} earns {a} euros a day and spends {b} of them on food. How much does {n} save in {c} days?
lost | Each of {c} shelves had {a} books, and from each shelf {b} were lent out. How many books remain?
lost ! Take {b} away from {a} and multiply what is left by {c}. What do you get?
lost ! From every roll of {a} metres {n} cuts off {b} metres. How many metres remain on {c} rolls together?
""",
)  # fmt: skip


def percent(rng: random.Random, held: bool, *, largest: int = 60, step: int = 5) -> Sketch:
    """A share of a number, or a price after it went down or up."""
    base, p = 20 * pick(rng, 2, largest, held), step * between(rng, 1, 90 // step)
    kind = one_of(rng, ("of", "off", "up"))
    (n, m), ware = people(rng, 2), one_of(rng, _WARES)
    share = base * p // 100
    steps = (
        f"{p} % means {p} out of every 100.",
        f"1 % of {base} is {_decimal(Fraction(base, 100))}, so {p} % of {base} is "
        f"{p} * {_decimal(Fraction(base, 100))} = {share}.",
    )
    value = share if kind == "of" else base - share if kind == "off" else base + share
    if kind != "of":
        sign, change = ("-", "lower") if kind == "off" else ("+", "higher")
        steps = (*steps, f"The new amount is {change} by {share}: {base} {sign} {share} = {value}.")
    slots = {"b": base, "p": p, "n": n, "m": m, "w": ware}
    return Sketch(kind, slots, steps, str(value), {"kind": kind, "n": (base, p)})


def _percent(meta: Mapping[str, Any]) -> str:
    base, p = meta["n"]
    factor = {"of": p, "off": 100 - p, "up": 100 + p}[meta["kind"]]
    return str(Fraction(base) * Fraction(factor, 100))


def _decimal(value: Fraction) -> str:
    return f"{float(value):g}"


PERCENT = topic(
    "percent", "arithmetic", "Percentages", draw=percent, solve=_percent,
    lesson=(
        "Per cent means out of a hundred. To find a share, first find 1 % by dividing by 100, then multiply by the "
        "number of per cents. A price that falls loses its share; a price that rises gains it.",
        "A percentage is a fraction whose denominator is always 100. That is why percentages are easy to compare: 30 % "
        "is more than 25 %, whatever the whole. The share itself depends on the whole, so always ask: per cent of what?",
    ),
    wordings="""
of | What is {p} % of {b}?
of | A school has {b} pupils, and {p} % of them cycle to school. How many pupils cycle?
of | {n} earns {b} euros and pays {p} % of it in rent. How many euros is the rent?
of | Of {b} seeds that were sown, {p} % came up. How many seeds came up?
of ! In a town hall vote with {b} ballots, {p} % said yes. How many ballots said yes?
of ! Find {p} % of the number {b}.
off | A {w} costs {b} euros. In the sale it is {p} % cheaper. What does it cost now, in euros?
off | {n} buys a {w} for {b} euros and gets a discount of {p} %. How many euros does {n} pay?
off | A tank held {b} litres, and {p} % has leaked out. How many litres are left?
off | Reduce {b} by {p} %.
off ! Because a {w} has a scratch, the shop takes {p} % off its price of {b} euros. What is the new price in euros?
off ! Last year {b} people lived in the village; since then their number has fallen by {p} %. How many are there now?
up | A {w} costs {b} euros before tax. The tax is {p} %. What does it cost with tax, in euros?
up | The rent of {b} euros rises by {p} %. How many euros is the new rent?
up | {n} ran {b} metres last week and {p} % more this week. How many metres did {n} run this week?
up | Increase {b} by {p} %.
up ! A club with {b} members grew by {p} % in a year. How many members has it after that year?
up ! To its harvest of {b} kilograms a farm adds {p} % in the next year. How many kilograms is the next harvest?
""",
)  # fmt: skip


def fractions(rng: random.Random, held: bool, *, largest_denominator: int = 15) -> Sketch:
    """Two fractions with different denominators, added or subtracted, in lowest terms."""
    b, d = pick(rng, 2, largest_denominator, held), between(rng, 2, largest_denominator)
    while d == b:
        d = between(rng, 2, largest_denominator)
    a, c = _numerator(rng, b), _numerator(rng, d)
    kind = one_of(rng, ("sum", "difference"))
    if kind == "difference" and a * d == c * b:
        kind = "sum"
    if kind == "difference" and a * d < c * b:
        a, b, c, d = c, d, a, b
    common = b * d // math.gcd(b, d)
    e, f = a * common // b, c * common // d
    top = e + f if kind == "sum" else e - f
    sign, word = ("+", "Add") if kind == "sum" else ("-", "Subtract")
    widened = [f"{x}/{y} = {z}/{common}" for x, y, z in ((a, b, e), (c, d, f)) if y != common]
    steps = [
        f"{b} and {d} both divide {common}, so write the fractions over {common}: {' and '.join(widened)}.",
        f"{word} the numerators: {e} {sign} {f} = {top}, which gives {top}/{common}.",
    ]
    shared = math.gcd(top, common)
    low = (top // shared, common // shared)
    answer = f"{low[0]}/{low[1]}" if low[1] > 1 else str(low[0])
    if shared > 1:
        steps.append(f"Numerator and denominator share the factor {shared}: {top}/{common} = {answer}.")
    n, m = people(rng, 2)
    slots = {"x": f"{a}/{b}", "y": f"{c}/{d}", "n": n, "m": m, "w": one_of(rng, _FOODS)}
    return Sketch(kind, slots, tuple(steps), answer, {"kind": kind, "n": (a, b, c, d)})


def _numerator(rng: random.Random, denominator: int) -> int:
    """So that the fraction is below 1 and in lowest terms."""
    while math.gcd(numerator := between(rng, 1, denominator - 1), denominator) > 1:
        pass
    return numerator


def _fractions(meta: Mapping[str, Any]) -> str:
    a, b, c, d = meta["n"]
    return str(Fraction(a, b) + Fraction(c if meta["kind"] == "sum" else -c, d))


FRACTIONS = topic(
    "fractions", "arithmetic", "Adding and subtracting fractions", draw=fractions, solve=_fractions, checker="text",
    lesson=(
        "Fractions can be added only when they count parts of the same size. Find a number that both denominators "
        "divide, write both fractions with it, then add the numerators and keep the denominator.",
        "A half and a third are pieces of different size, so they cannot simply be counted together. Cut both into "
        "sixths: a half is three sixths, a third is two sixths, and together that is five sixths.",
    ),
    wordings="""
sum | What is {x} + {y}? Give a fraction in lowest terms.
sum | Add {x} and {y}, and write the sum in lowest terms.
sum | One jug holds {x} of a litre and another holds {y}. How many litres is that together, as a fraction?
sum | {n} walks {x} of a kilometre and then {y} more. How far is that, as a fraction of a kilometre in lowest terms?
sum ! A recipe asks for {x} of a cup of milk and {y} of a cup of water. How many cups of liquid is that, as a fraction?
sum ! Write the sum of the fractions {x} and {y} in lowest terms.
difference | What is {x} - {y}? Give a fraction in lowest terms.
difference | Subtract {y} from {x}, and write the difference in lowest terms.
difference | A bottle is {x} full. {n} drinks {y} of a full bottle. What fraction of it is left?
difference | Of a {w}, {x} is left. {n} eats {y} of the whole {w}. What fraction remains?
difference ! By how much is {x} larger than {y}? Answer with a fraction in lowest terms.
difference ! A plank {x} of a metre long loses a piece {y} of a metre long. What fraction of a metre remains?
""",
)  # fmt: skip


def decimals(rng: random.Random, held: bool, *, largest_whole: int = 99) -> Sketch:
    """Which of two decimals is larger: the one with more digits after the point is often the smaller one."""
    whole, tenths, hundredths = pick(rng, 1, largest_whole, held), between(rng, 1, 9), between(rng, 11, 99)
    while hundredths == 10 * tenths or hundredths % 10 == 0:
        hundredths = between(rng, 11, 99)
    short, long = f"{whole}.{tenths}", f"{whole}.{hundredths}"
    x, y = (short, long) if rng.random() < 0.5 else (long, short)
    kind = one_of(rng, ("larger", "smaller"))
    above, below = (short, long) if 10 * tenths > hundredths else (long, short)
    more, less = max(10 * tenths, hundredths), min(10 * tenths, hundredths)
    steps = (
        f"Give both numbers the same number of decimals: {short} = {short}0, and {long} stays as it is.",
        f"The whole parts are equal, so compare the hundredths: {more} is more than {less}.",
        f"So {above} is larger than {below}.",
    )
    n, m = people(rng, 2)
    return Sketch(
        kind, {"x": x, "y": y, "n": n, "m": m}, steps, above if kind == "larger" else below,
        {"kind": kind, "n": (x, y)},
    )  # fmt: skip


def _decimals(meta: Mapping[str, Any]) -> str:
    found = (max if meta["kind"] == "larger" else min)(map(Decimal, meta["n"]))
    return str(found)


DECIMALS = topic(
    "decimals", "arithmetic", "Comparing decimals", draw=decimals, solve=_decimals, checker="text",
    lesson=(
        "The digits after the point are tenths, hundredths, thousandths. To compare two decimals, write them with the "
        "same number of decimals by adding zeros at the end; then compare as with whole numbers.",
        "More digits do not make a decimal larger. In 4.7 there are seven tenths, in 4.65 only six tenths and a "
        "little: 4.70 is more than 4.65.",
    ),
    wordings="""
larger | Which number is larger, {x} or {y}?
larger | {n} says that {x} is larger than {y}. {m} says the opposite. Which of the two numbers is larger?
larger | One parcel weighs {x} kg, the other {y} kg. What does the heavier one weigh, in kg?
larger ! Of the two numbers {x} and {y}, which is the greater?
larger ! {n} jumps {x} m and {m} jumps {y} m. How many metres is the longer jump?
smaller | Which number is smaller, {x} or {y}?
smaller | One pen costs {x} euros and another {y} euros. What does the cheaper one cost, in euros?
smaller | Two runners need {x} s and {y} s. How many seconds does the faster one need?
smaller ! Of the two numbers {x} and {y}, which is the lesser?
smaller ! {n} lives {x} km from the sea and {m} {y} km. How many kilometres is the shorter distance?
""",
)  # fmt: skip

NUMBERS = (EXPRESSION, PERCENT, FRACTIONS, DECIMALS)
