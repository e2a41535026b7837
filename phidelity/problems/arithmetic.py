"""Word problems with one or two operations, English and German, worked column by column.

Difficulty is `Difficulty`: the defaults suit a model of a million parameters. A training problem contains no sum
of the test split and no operand of the band, in its second operation neither; a test problem of stratum `seen` asks
for a sum that no training problem asks for (a few, such as 13 - 4, occur as a step inside worked sums), `range` has
an operand of the band, `template` a held-out wording. People and things meet in one split only, so that no thirteen
words in a row are those of a training problem.
"""

import random
import re
from dataclasses import dataclass
from functools import partial

from phidelity.problems.columns import BAND, Operation, in_band, result, sum_split, work
from phidelity.problems.item import Draft, Family, Item, Split, Stratum, draw_stratum
from phidelity.problems.lexicon import cast
from phidelity.problems.wordings import (
    MONEY_DE,
    MONEY_EN,
    THINGS_DE,
    THINGS_EN,
    Wording,
    Wordings,
)


@dataclass(frozen=True, slots=True)
class Difficulty:
    """How hard word problems are."""

    largest_operand: int = 99
    largest_result: int = 200
    small_operand: float = 0.25
    """Share of second operands of one digit."""
    two_operations: float = 0.3
    """Share of problems with two operations, where the family has any."""


TINY = Difficulty()


def draw(rng: random.Random, split: Split, wordings: Wordings, language: str, difficulty: Difficulty = TINY) -> Draft:
    """Draw a word problem of `split`."""
    stratum = draw_stratum(rng, split)
    wording = _wording(rng, wordings, stratum, difficulty)
    operands = draw_operands(rng, wording.operations, split, stratum, difficulty)
    (n, m), (t, s) = cast(rng, split, language)
    slots = dict(zip("abc", operands, strict=False))
    question = wording.text.format(n=n, m=m, t=t, s=s, **slots)
    steps, value = solve(operands, wording.operations, language)
    numbered = (*wordings.one, *wordings.two, *wordings.held_out)
    meta = {"operands": list(operands), "operations": list(wording.operations)}
    return Draft(question, steps, str(value), numbered.index(wording), stratum, meta)


def solve(operands: tuple[int, ...], operations: tuple[Operation, ...], language: str) -> tuple[tuple[str, ...], int]:
    """A worked line for each operation, and the result."""
    value, steps = operands[0], []
    for operation, operand in zip(operations, operands[1:], strict=True):
        done = work(value, operation, operand, language)
        steps.append(done.text)
        value = done.value
    return tuple(steps), value


def draw_operands(
    rng: random.Random,
    operations: tuple[Operation, ...],
    split: Split,
    stratum: Stratum = "seen",
    difficulty: Difficulty = TINY,
) -> tuple[int, ...]:
    """Draw operands until they are possible and belong to the split and the stratum."""
    while True:
        operands = tuple(_operand(rng, place, operations, stratum, difficulty) for place in range(len(operations) + 1))
        sums = _sums(operands, operations)
        if _possible(sums, difficulty) and _belongs(sums, split, stratum):
            return operands


def check(item: Item, answer: str) -> bool:
    """Whether the last number of `answer` is what the operands and operations of the item give."""
    numbers = re.findall(r"-?\d+", answer)
    value = item.meta["operands"][0]
    for operation, operand in zip(item.meta["operations"], item.meta["operands"][1:], strict=True):
        value = value + operand if operation == "+" else value - operand if operation == "-" else value * operand
    return bool(numbers) and int(numbers[-1]) == value


def _wording(rng: random.Random, wordings: Wordings, stratum: Stratum, difficulty: Difficulty) -> Wording:
    if stratum == "template":
        return rng.choice(wordings.held_out)
    return rng.choice(wordings.two if rng.random() < difficulty.two_operations else wordings.one)


def _operand(
    rng: random.Random, place: int, operations: tuple[Operation, ...], stratum: Stratum, difficulty: Difficulty
) -> int:
    if place > 0 and operations[place - 1] == "*":
        return rng.randint(2, 9)
    if stratum == "range" and place == 0:
        return rng.choice(sorted(BAND))
    if place > 0 and rng.random() < difficulty.small_operand:
        return rng.randint(2, 9)
    return rng.randint(11, difficulty.largest_operand)


def _sums(operands: tuple[int, ...], operations: tuple[Operation, ...]) -> list[tuple[int, Operation, int]]:
    value, sums = operands[0], []
    for operation, operand in zip(operations, operands[1:], strict=True):
        sums.append((value, operation, operand))
        value = result(value, operation, operand)
    return sums


def _possible(sums: list[tuple[int, Operation, int]], difficulty: Difficulty) -> bool:
    if any(a > difficulty.largest_operand for a, _, _ in sums):
        return False
    return all(2 <= result(*one) <= difficulty.largest_result for one in sums)


def _belongs(sums: list[tuple[int, Operation, int]], split: Split, stratum: Stratum) -> bool:
    if sum_split(*sums[0]) != split:
        return False
    if in_band(*(operand for a, _, b in sums for operand in (a, b))) != (stratum == "range"):
        return False
    return split == "test" or all(sum_split(*one) in ("train", split) for one in sums)


def _family(name: str, language: str, wordings: Wordings) -> Family:
    counts = {"train": len(wordings.one) + len(wordings.two), "template": len(wordings.held_out)}
    drawn = partial(draw, wordings=wordings, language=language)
    return Family(name, language, "number", drawn, check, counts)


THINGS = (_family("things_en", "en", THINGS_EN), _family("things_de", "de", THINGS_DE))
MONEY = (_family("money_en", "en", MONEY_EN), _family("money_de", "de", MONEY_DE))
