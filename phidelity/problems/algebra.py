"""Algebra: an equation with one unknown, two amounts from two statements, sequences."""

import random
from collections.abc import Mapping
from typing import Any

from phidelity.problems.topic import Sketch, between, one_of, people, pick, product, topic


def equation(rng: random.Random, held: bool, *, largest_root: int = 40, largest_factor: int = 12) -> Sketch:
    """`a x + b = c` or `a x - b = c`, as a formula or a story."""
    x, a, b = pick(rng, 2, largest_root, held), between(rng, 2, largest_factor), between(rng, 1, 60)
    kind = "plus" if rng.random() < 0.5 or b >= a * x else "minus"
    c = a * x + b if kind == "plus" else a * x - b
    sign, verb, undo = ("+", "Subtract", "from") if kind == "plus" else ("-", "Add", "to")
    steps = (
        f"Call the unknown number x. Then {a}x {sign} {b} = {c}.",
        f"{verb} {b} {undo} both sides: {a}x = {a * x}.",
        f"Divide both sides by {a}: x = {x}.",
        f"Check: {product(a, x)}, and {a * x} {sign} {b} = {c}.",
    )
    n, m = people(rng, 2)
    return Sketch(kind, {"a": a, "b": b, "c": c, "n": n, "m": m}, steps, str(x), {"kind": kind, "n": (a, b, c)})


def _equation(meta: Mapping[str, Any]) -> str:
    a, b, c = meta["n"]
    b = b if meta["kind"] == "plus" else -b
    low, high = 0, c + abs(b) + 1
    while low < high:
        middle = (low + high) // 2
        low, high = (middle + 1, high) if a * middle + b < c else (low, middle)
    return str(low) if a * low + b == c else "no solution"


EQUATION = topic(
    "equation", "algebra", "Equations with one unknown", draw=equation, solve=_equation,
    lesson=(
        "An equation is a balance: what is done to one side must be done to the other. To find the unknown, undo the "
        "operations one by one, the last one first, and check the result by putting it in.",
        "The unknown is a number we do not know yet, so we give it a name, often x. We write down what is said about it "
        "and then free it: first remove what was added or taken away, then divide by what it was multiplied with.",
    ),
    wordings="""
plus | Solve {a}x + {b} = {c} for x.
plus | {n} thinks of a number, multiplies it by {a} and adds {b}. The result is {c}. What is the number?
plus | A taxi charges {b} euros at the start and {a} euros per kilometre. A ride costs {c} euros. How many kilometres?
plus | {n} buys {a} notebooks and a bag for {b} euros. In all that is {c} euros. What does one notebook cost, in euros?
plus | {a} equal boxes and a parcel of {b} kg weigh {c} kg together. How many kilograms does one box weigh?
plus ! For which value of x is {b} + {a}x equal to {c}?
plus ! After a fee of {b} euros, {n} pays {a} euros per lesson and so spends {c} euros. How many lessons are that?
minus | Solve {a}x - {b} = {c} for x.
minus | {n} thinks of a number, multiplies it by {a} and subtracts {b}. The result is {c}. What is the number?
minus | {a} friends put the same amount into a box. They spend {b} euros, and {c} euros remain. How many euros did each put in?
minus | {n} sold {a} cakes at the same price and paid {b} euros for the stall. {c} euros remained. What did a cake cost, in euros?
minus | {a} full crates hold some apples each. {b} apples were rotten and {c} were good. How many apples does a crate hold?
minus ! Which x makes {a}x - {b} equal to {c}?
minus ! {n} works {a} hours, spends {b} euros of the pay and has {c} euros left. How many euros is the pay per hour?
""",
)  # fmt: skip


def two_unknowns(rng: random.Random, held: bool, *, largest: int = 40) -> Sketch:
    """Two amounts from their sum and difference, or from heads and legs, or from tickets of two prices."""
    kind = one_of(rng, ("difference", "legs", "tickets"))
    x, y = pick(rng, 2, largest, held), between(rng, 2, largest)
    n, m = people(rng, 2)
    if kind == "difference":
        x, y = max(x, y) + 1, min(x, y)
        total, apart = x + y, x - y
        steps = (
            f"If the larger number were as small as the other, the sum would be {total} - {apart} = {total - apart}.",
            f"That is twice the smaller number: {total - apart} / 2 = {y}. The larger one is {y} + {apart} = {x}.",
        )
        return Sketch(
            kind, {"s": total, "d": apart, "n": n, "m": m}, steps, str(x), {"kind": kind, "n": (total, apart)}
        )
    p, q = (4, 2) if kind == "legs" else (between(rng, 7, 12), between(rng, 2, 6))
    count, total = x + y, p * x + q * y
    every, other = ("animal had", "sheep") if kind == "legs" else ("ticket cost", "ticket for adults")
    more, unit = ("legs", "legs") if kind == "legs" else ("euros", "euros")
    steps = (
        f"Suppose every {every} only {q} {unit}: that would be {product(count, q)} {more}.",
        f"But there are {total}, which is {total} - {count * q} = {total - count * q} more.",
        f"Each {other} brings {p} - {q} = {p - q} more, so there are {total - count * q} / {p - q} = {x} of them.",
    )
    slots = {"c": count, "t": total, "p": p, "q": q, "n": n, "m": m}
    return Sketch(kind, slots, steps, str(x), {"kind": kind, "n": (count, total, p, q)})


def _two_unknowns(meta: Mapping[str, Any]) -> str:
    if meta["kind"] == "difference":
        total, apart = meta["n"]
        return str(next(x for x in range(total + 1) if x - (total - x) == apart))
    count, total, p, q = meta["n"]
    return str(next(x for x in range(count + 1) if p * x + q * (count - x) == total))


TWO_UNKNOWNS = topic(
    "two_unknowns", "algebra", "Two unknowns, two statements", draw=two_unknowns, solve=_two_unknowns,
    lesson=(
        "Two unknown numbers need two statements. A good trick is to suppose that all things are of the cheaper or "
        "smaller kind, see how much is missing, and let each thing of the other kind make up its part.",
        "When a sum and a difference are known, take the difference away from the sum: what remains is twice the smaller "
        "number. Half of it is the smaller number, and adding the difference gives the larger one.",
    ),
    wordings="""
difference | Two numbers add up to {s}, and their difference is {d}. What is the larger number?
difference | {n} and {m} have {s} marbles together. {n} has {d} more than {m}. How many marbles does {n} have?
difference | A string of {s} cm is cut into two pieces. One is {d} cm longer. How many centimetres is the longer piece?
difference ! The sum of two numbers is {s}; one exceeds the other by {d}. Find the greater one.
difference ! {n} and {m} scored {s} points in all, {n} {d} points more than {m}. How many points did {n} score?
legs | In a yard there are {c} animals, all sheep or hens. Together they have {t} legs. How many sheep are there?
legs | {n} counts {c} heads and {t} legs among the sheep and hens of a farm. How many sheep does the farm have?
legs ! A farmer keeps only sheep and hens, {c} animals with {t} legs in all. What is the number of sheep?
tickets | Tickets cost {p} euros for adults and {q} euros for children. {c} tickets were sold for {t} euros. How many were for adults?
tickets | A group of {c} people pays {t} euros at the zoo: adults pay {p} euros, children {q} euros. How many adults are there?
tickets ! Adults pay {p} euros and children {q}. If {c} visitors paid {t} euros together, how many of them were adults?
""",
)  # fmt: skip


def sequence(rng: random.Random, held: bool, *, largest_start: int = 40, largest_step: int = 15) -> Sketch:
    """A term of a sequence with equal steps, or the sum of its first terms."""
    start, step, count = pick(rng, 2, largest_start, held), between(rng, 2, largest_step), between(rng, 7, 20)
    kind = one_of(rng, ("term", "sum"))
    last = start + (count - 1) * step
    n = people(rng, 1)[0]
    steps = (
        f"From the first to number {count} there are {count - 1} steps of {step}: {product(count - 1, step)}.",
        f"So number {count} is {start} + {(count - 1) * step} = {last}.",
    )
    value = last
    if kind == "sum":
        value = count * (start + last) // 2
        steps = (
            *steps,
            f"Write the numbers once forwards and once backwards: {count} pairs, each {start} + {last} = {start + last}.",
            f"All pairs are {count} * {start + last} = {2 * value}, and the sum is half of that: {value}.",
        )
    slots = {"a": start, "b": start + step, "c": start + 2 * step, "d": step, "k": count, "n": n}
    return Sketch(kind, slots, steps, str(value), {"kind": kind, "n": (start, step, count)})


def _sequence(meta: Mapping[str, Any]) -> str:
    start, step, count = meta["n"]
    terms = range(start, start + count * step, step)
    return str(sum(terms) if meta["kind"] == "sum" else terms[-1])


SEQUENCE = topic(
    "sequence", "algebra", "Sequences with equal steps", draw=sequence, solve=_sequence,
    lesson=(
        "In an arithmetic sequence each number is the one before plus a fixed step. The tenth number lies nine steps "
        "after the first, so count the steps, not the numbers.",
        "To add many numbers with equal distances, pair the first with the last, the second with the last but one, and "
        "so on: all pairs have the same sum. It is said that young Gauss added the numbers from 1 to 100 in this way.",
    ),
    wordings="""
term | A sequence begins {a}, {b}, {c} and goes on in equal steps. What is its number {k}?
term | {n} saves {a} euros in the first week and in each later week {d} euros more than before. How much in week {k}, in euros?
term | The first row of a theatre has {a} seats, and each row has {d} more than the one before. How many seats has row {k}?
term | Start at {a} and add {d} again and again. Which number stands at place {k} if {a} stands at place 1?
term ! In the sequence {a}, {b}, {c}, ... every step is equal. Which number is at place {k}?
term ! A plant has {a} leaves on day 1 and gains {d} leaves every day. How many leaves does it have on day {k}?
sum | Add the first {k} numbers of the sequence {a}, {b}, {c}, ... with equal steps. What is the sum?
sum | {n} runs {a} km in the first week and {d} km more in every next week. How many kilometres is that in {k} weeks?
sum | A theatre has {k} rows: {a} seats in the first row and {d} more in each following row. How many seats are there?
sum ! What is the total of the first {k} terms when the first is {a} and each later term is larger by {d}?
sum ! {n} stacks bricks in {k} layers, {a} in the top layer and {d} more in each layer below. How many bricks are used?
""",
)  # fmt: skip

ALGEBRA = (EQUATION, TWO_UNKNOWNS, SEQUENCE)
