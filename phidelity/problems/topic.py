"""How a family of the course is made: wordings, a draw, worked steps, and an answer found a second time.

A family draws a `Sketch` and the kit puts it into words. What is held out is so twice: a test problem has a
held-out wording and takes its principal numbers from a band that training never uses; a development problem has the
band and training's wordings. So no thirteen words in a row are shared with training, whatever the seed (measured:
docs/problems.md). `solve` finds the answer from `meta` by another method than the steps do (it searches, simulates or
looks the other way round), and the checker compares with that alone.
"""

import inspect
import random
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

from phidelity.config import UserError
from phidelity.problems.item import Checker, Draft, Family, Item, Split, Stratum
from phidelity.problems.lexicon import PEOPLE
from phidelity.problems.prompts import ANSWER_WORD

Solve = Callable[[Mapping[str, Any]], str]


class Sketch(NamedTuple):
    """A problem before it is put into words."""

    kind: str
    """Which wordings fit."""
    slots: Mapping[str, Any]
    steps: tuple[str, ...]
    """Worked lines; `{n}` and the like in them are not filled: write them out."""
    answer: str
    meta: Mapping[str, Any]
    """What `solve` starts from."""


class Phrase(NamedTuple):
    """A wording and its number within the family."""

    number: int
    text: str


class Phrases(NamedTuple):
    """The wordings of one kind."""

    train: tuple[Phrase, ...]
    held_out: tuple[Phrase, ...]


def topic(
    name: str,
    area: str,
    title: str,
    *,
    draw: Callable[..., Sketch],
    solve: Solve,
    wordings: str,
    lesson: tuple[str, ...],
    checker: Checker = "number",
    language: str = "en",
) -> Family:
    """A family from its table of wordings: lines `kind | text`, held out `kind ! text`.

    The keyword arguments of `draw` after `rng` and `held` are the family's difficulty.
    """
    phrases = read(wordings)
    counts = {
        "train": sum(len(of.train) for of in phrases.values()),
        "template": sum(len(of.held_out) for of in phrases.values()),
    }
    signature = inspect.signature(draw).parameters.values()
    difficulty = {one.name: one.default for one in signature if one.kind is one.KEYWORD_ONLY and one.name != "words"}
    drawn = partial(_draft, draw=draw, phrases=phrases)
    return Family(
        name, language, checker, drawn, partial(_agrees, solve=solve), counts, area, title, lesson, difficulty
    )


def at(family: Family, **difficulty: Any) -> Family:
    """The same family at another difficulty; unknown names are a `UserError`."""
    if unknown := sorted(set(difficulty) - set(family.difficulty)):
        known = ", ".join(family.difficulty) or "none"
        raise UserError(f"{family.name} has no difficulty {', '.join(unknown)}; expected some of: {known}.")
    assert isinstance(family.draw, partial)
    harder = partial(family.draw, **difficulty)
    return Family(
        family.name, family.language, family.checker, harder, family.check, family.wordings, family.area,
        family.title, family.lesson, {**family.difficulty, **difficulty},
    )  # fmt: skip


def read(table: str) -> dict[str, Phrases]:
    """Wordings by kind, numbered from the top; `\\n` in a line is a line end."""
    train: dict[str, list[Phrase]] = {}
    held_out: dict[str, list[Phrase]] = {}
    for number, line in enumerate(table.strip().splitlines()):
        kind, mark, text = line.split(maxsplit=2)
        (train if mark == "|" else held_out).setdefault(kind, []).append(Phrase(number, text.replace("\\n", "\n")))
    return {kind: Phrases(tuple(found), tuple(held_out[kind])) for kind, found in train.items()}


def pick(rng: random.Random, low: int, high: int, held: bool) -> int:
    """A number of low..high: held out from the band in its third fifth, else from outside of it."""
    width = high - low + 1
    size = max(1, width // 5)
    start = low + width // 2
    if held:
        return start + int(rng.random() * size)
    number = low + int(rng.random() * (width - size))
    return number if number < start else number + size


def between(rng: random.Random, low: int, high: int) -> int:
    """A number of low..high, ends included."""
    return low + int(rng.random() * (high - low + 1))


def one_of(rng: random.Random, choices: tuple[Any, ...] | list[Any]) -> Any:
    """One of the choices."""
    return choices[int(rng.random() * len(choices))]


def part(choices: tuple[Any, ...], held: bool) -> tuple[Any, ...]:
    """The choices that training uses, or the last fifth, which is held out."""
    cut = len(choices) - max(1, len(choices) // 5)
    return choices[cut:] if held else choices[:cut]


def people(rng: random.Random, n: int) -> list[str]:
    """Different people's names."""
    return rng.sample(PEOPLE, n)


def final(answer: str, language: str) -> str:
    """The answer proper: what stands after the last `Answer:`, without a closing point."""
    return answer.rpartition(f"{ANSWER_WORD[language]}:")[2].strip().rstrip(".。।").strip()


def listed(words: list[str]) -> str:
    """`A, B and C`."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def product(a: int, b: int) -> str:
    """A product as one works it in the head: `27 * 4 = 80 + 28 = 108`."""
    large, small = max(a, b), min(a, b)
    tens, ones = large // 10 * 10, large % 10
    if large < 11 or small == 1 or small == 10 or not ones or large > 99 or small > 12:
        return f"{a} * {b} = {a * b}"
    return f"{a} * {b} = {tens} * {small} + {ones} * {small} = {tens * small} + {ones * small} = {a * b}"


def _draft(
    rng: random.Random, split: Split, draw: Callable[..., Sketch], phrases: Mapping[str, Phrases], **difficulty: Any
) -> Draft:
    held = split != "train"
    sketch = draw(rng, held, **difficulty)
    of = phrases[sketch.kind]
    phrase = one_of(rng, of.held_out if split == "test" else of.train)
    stratum: Stratum = "both" if split == "test" else "range" if held else "seen"
    question = phrase.text.format_map(sketch.slots)
    return Draft(question, sketch.steps, sketch.answer, phrase.number, stratum, sketch.meta)


def _agrees(item: Item, answer: str, solve: Solve) -> bool:
    return bool(answer) and final(answer, item.language) == solve(item.meta)
