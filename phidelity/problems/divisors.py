"""Number theory: common divisors, last digits of powers, counting divisors."""

import math
import random
from collections.abc import Mapping
from typing import Any

from phidelity.problems.topic import Sketch, between, people, pick, topic


def common_divisor(rng: random.Random, held: bool, *, largest_divisor: int = 24, largest_factor: int = 15) -> Sketch:
    """The greatest common divisor by Euclid's algorithm."""
    shared, p, q = pick(rng, 2, largest_divisor, held), between(rng, 2, largest_factor), between(rng, 2, largest_factor)
    while q == p:
        q = between(rng, 2, largest_factor)
    a, b = shared * max(p, q), shared * min(p, q)
    x, y, steps = a, b, []
    while y:
        steps.append(f"{x} = {x // y} * {y} + {x % y}")
        x, y = y, x % y
    worked = (
        "Divide the larger number by the smaller one, then the divisor by the remainder, until nothing remains: "
        f"{'; '.join(steps)}.",
        f"The last divisor is {x}, so the greatest common divisor of {a} and {b} is {x}.",
    )
    n, m = people(rng, 2)
    if rng.random() < 0.5:
        a, b = b, a
    return Sketch("gcd", {"a": a, "b": b, "n": n, "m": m}, worked, str(x), {"n": (a, b)})


def _common_divisor(meta: Mapping[str, Any]) -> str:
    a, b = meta["n"]
    return str(next(d for d in range(min(a, b), 0, -1) if a % d == 0 and b % d == 0))


COMMON_DIVISOR = topic(
    "common_divisor", "number theory", "The greatest common divisor", draw=common_divisor, solve=_common_divisor,
    lesson=(
        "The greatest common divisor of two numbers is the largest number that divides both. Whatever divides two "
        "numbers also divides the remainder of their division, so the numbers can be made smaller step by step.",
        "Euclid's method is more than two thousand years old: divide, keep the divisor and the remainder, and start "
        "again. When the remainder is 0, the last divisor is the answer.",
    ),
    wordings="""
gcd | What is the greatest common divisor of {a} and {b}?
gcd | Find the largest whole number that divides both {a} and {b}.
gcd | {n} has {a} red and {b} blue beads and wants identical bags with none left over. How many bags at most?
gcd | Two ropes of {a} and {b} metres are cut into equal pieces without waste. How many metres has each piece at most?
gcd | A floor of {a} by {b} decimetres is laid with equal square tiles. How many decimetres long can a tile be at most?
gcd | {a} girls and {b} boys form teams that are all alike. What is the largest possible number of teams?
gcd ! Which number is the greatest divisor that {a} and {b} have in common?
gcd ! A baker packs {a} rolls and {b} buns into as many equal baskets as possible. How many baskets are there?
gcd ! Into how many equal bunches, at most, can {n} bind {a} tulips and {b} roses so that no flower is left?
""",
)  # fmt: skip


def last_digit(rng: random.Random, held: bool, *, largest_base: int = 99, largest_exponent: int = 60) -> Sketch:
    """The last digit of a power, from the cycle of last digits."""
    base, exponent = pick(rng, 2, largest_base, held), between(rng, 5, largest_exponent)
    while base % 10 < 2:
        base = pick(rng, 2, largest_base, held)
    first = base % 10
    cycle, digit = [first], first * first % 10
    while digit != first:
        cycle.append(digit)
        digit = digit * first % 10
    length = len(cycle)
    place = exponent % length or length
    if length == 1:
        steps = (
            f"{first} * {first} = {first * first} ends in {first} again, so every power of {base} ends in {first}.",
        )
    else:
        steps = (
            f"Only the last digit of {base} matters, which is {first}. Its powers end in "
            f"{', '.join(map(str, cycle))}, and then it starts again: the cycle has length {length}.",
            f"{exponent} = {(exponent - place) // length} * {length} + {place}, "
            f"so the power stands at place {place} of the cycle.",
            f"The digit there is {cycle[place - 1]}.",
        )
    slots = {"a": base, "b": exponent}
    return Sketch("power", slots, steps, str(cycle[place - 1]), {"n": (base, exponent)})


def _last_digit(meta: Mapping[str, Any]) -> str:
    base, exponent = meta["n"]
    return str(base**exponent)[-1]


LAST_DIGIT = topic(
    "last_digit", "number theory", "Last digits of powers", draw=last_digit, solve=_last_digit,
    lesson=(
        "Powers grow quickly, but their last digits repeat. The last digit of a product depends only on the last digits "
        "of its factors, so it is enough to follow one digit until it comes back.",
        "Write down the last digits of the first few powers. As soon as the first one returns, you know the cycle, and "
        "division with remainder tells where in the cycle a large exponent lies.",
    ),
    wordings="""
power | What is the last digit of {a}^{b}?
power | Find the ones digit of {a} to the power {b}.
power | The number {a} is multiplied by itself until {b} factors stand in the product. In which digit does it end?
power | In which digit does {a}^{b} end?
power | Which remainder does {a}^{b} leave when it is divided by 10?
power ! If {a}^{b} were written out, which digit would stand at the very end?
power ! Give the final digit of the power with base {a} and exponent {b}.
""",
)  # fmt: skip


def divisors(rng: random.Random, held: bool, *, largest: int = 360) -> Sketch:
    """How many divisors a number has, from its prime factors."""
    number = pick(rng, 12, largest, held)
    rest, powers, p = number, [], 2
    while p * p <= rest:
        exponent = 0
        while rest % p == 0:
            rest, exponent = rest // p, exponent + 1
        if exponent:
            powers.append((p, exponent))
        p += 1
    if rest > 1:
        powers.append((rest, 1))
    count = math.prod(exponent + 1 for _, exponent in powers)
    written = " * ".join(f"{p}^{exponent}" if exponent > 1 else str(p) for p, exponent in powers)
    factors = " * ".join(f"({exponent} + 1)" for _, exponent in powers)
    if written == str(number):
        steps = (f"{number} is a prime number: only 1 and {number} divide it.",)
    else:
        steps = (
            f"Break {number} into primes: {number} = {written}.",
            "A divisor takes each prime from zero times up to as often as it occurs, so the number of choices is "
            f"the product of each exponent plus one: {factors} = {count}.",
        )
    return Sketch("count", {"a": number, "n": people(rng, 1)[0]}, steps, str(count), {"n": (number,)})


def _divisors(meta: Mapping[str, Any]) -> str:
    (number,) = meta["n"]
    small = [d for d in range(1, math.isqrt(number) + 1) if number % d == 0]
    return str(2 * len(small) - (small[-1] ** 2 == number))


DIVISORS = topic(
    "divisors", "number theory", "Counting divisors", draw=divisors, solve=_divisors,
    lesson=(
        "Every whole number is a product of primes in exactly one way. Its divisors are the products of some of these "
        "primes, so they can be counted without being listed: add one to each exponent and multiply.",
        "Take 12 = 2^2 * 3. A divisor of 12 contains the factor 2 zero, one or two times and the factor 3 zero times "
        "or once. That makes 3 * 2 = 6 divisors: 1, 2, 3, 4, 6 and 12.",
    ),
    wordings="""
count | How many divisors does {a} have, counting 1 and {a} itself?
count | Count the positive divisors of {a}.
count | {n} wants to lay {a} tiles in a full rectangle. In how many ways can the number of rows be chosen?
count | By how many positive whole numbers can {a} be divided without remainder?
count | In how many ways can {a} pupils be split into groups of equal size, from single pupils to one large group?
count ! How many whole numbers from 1 to {a} divide {a} exactly?
count ! {n} writes down every number by which {a} is divisible, 1 and {a} included. How many numbers is that?
""",
)  # fmt: skip

DIVISIBILITY = (COMMON_DIVISOR, LAST_DIGIT, DIVISORS)
