"""Small Python functions in HumanEval's form: signature, one line of docstring, an example, a body, a test.

A pattern with a parameter (`add_7`, `count_e`) gives a function for each of its values; some values are kept
for the test, and so is one wording of every docstring. Patterns without a parameter are for training alone. The
examples and the test come from a second statement of what the function does (`result`), never from the body.
"""

import ast
import random
from collections.abc import Callable
from typing import Any, NamedTuple

from phidelity.problems.item import Draft, Family, Item, Split, Stratum, draw_stratum, split_of

WORDS = (
    "orange", "letter", "garden", "summer", "window", "yellow", "bottle", "planet", "market", "rocket", "button",
    "silver", "dinner", "pepper", "tunnel", "banana", "cotton", "ribbon", "carpet", "puzzle",
)  # fmt: skip


class Pattern(NamedTuple):
    """A function with a blank `{k}`."""

    name: str
    arguments: str
    wordings: tuple[str, ...]
    """The docstring; the last one is held out."""
    body: str
    result: Callable[..., Any]
    """What the function returns, from its arguments and k."""
    parameters: tuple[Any, ...] = ()
    band: tuple[Any, ...] = ()
    """Values of k that training never sees."""


_NUMBERS, _NUMBER_BAND = tuple(n for n in range(2, 41) if n not in (23, 24, 25)), (23, 24, 25)
_LETTERS, _LETTER_BAND = tuple("abcdefghijklmnoprstuvw"), ("x", "y", "z")
_SMALL, _SMALL_BAND = (2, 3, 4, 6), (5,)

PATTERNS = (
    Pattern("add_{k}", "n", ("Return n plus {k}.", "Add {k} to n.", "Return the sum of n and {k}."),
            "return n + {k}", lambda n, k: n + k, _NUMBERS, _NUMBER_BAND),
    Pattern("subtract_{k}", "n", ("Return n minus {k}.", "Subtract {k} from n.", "Return n less {k}."),
            "return n - {k}", lambda n, k: n - k, _NUMBERS, _NUMBER_BAND),
    Pattern("times_{k}", "n", ("Return n times {k}.", "Multiply n by {k}.", "Return the product of n and {k}."),
            "return n * {k}", lambda n, k: n * k, _NUMBERS, _NUMBER_BAND),
    Pattern("double_and_add_{k}", "n", ("Double n and add {k}.", "Return twice n plus {k}.", "Add {k} to twice n."),
            "return 2 * n + {k}", lambda n, k: n + n + k, _NUMBERS, _NUMBER_BAND),
    Pattern("at_least_{k}", "n",
            ("Return n or {k}, the larger one.", "Return the larger of n and {k}.", "Return the largest of n and {k}."),
            "return max(n, {k})", lambda n, k: n if n > k else k, _NUMBERS, _NUMBER_BAND),
    Pattern("distance_to_{k}", "n",
            ("Return the distance from n to {k}.", "Return how far n is from {k}.",
             "Return the distance of n and {k}."),
            "return abs(n - {k})", lambda n, k: n - k if n > k else k - n, _NUMBERS, _NUMBER_BAND),
    Pattern("is_multiple_of_{k}", "n",
            ("Return whether n is a multiple of {k}.", "Tell whether n is a multiple of {k}.",
             "Return True if n is a multiple of {k}."),
            "return n % {k} == 0", lambda n, k: n // k * k == n, _NUMBERS, _NUMBER_BAND),
    Pattern("sum_plus_{k}", "numbers",
            ("Return the sum of the numbers plus {k}.", "Add {k} to the sum of the numbers.",
             "Return {k} plus the sum of the numbers."),
            "return sum(numbers) + {k}", lambda numbers, k: numbers[0] + sum(numbers[1:], k), _NUMBERS, _NUMBER_BAND),
    Pattern("larger_than_{k}", "numbers",
            ("Return the numbers larger than {k}.", "Keep the numbers larger than {k}.",
             "Return all numbers larger than {k}."),
            "return [n for n in numbers if n > {k}]", lambda numbers, k: list(filter(lambda n: n > k, numbers)),
            _NUMBERS, _NUMBER_BAND),
    Pattern("count_{k}", "text",
            ("Return how often {k} occurs in text.", "Count the letter {k} in text.",
             "Return the count of the letter {k} in text."),
            'return text.count("{k}")', lambda text, k: sum(letter == k for letter in text), _LETTERS, _LETTER_BAND),
    Pattern("reverse_and_add_{k}", "text",
            ("Reverse text and add {k}.", "Return text reversed with {k} added.", "Return the reversed text plus {k}."),
            'return text[::-1] + "{k}"', lambda text, k: "".join(reversed(text)) + k, _LETTERS, _LETTER_BAND),
    Pattern("first_{k}", "text",
            ("Return the first {k} letters of text.", "Keep the first {k} letters of text.",
             "Return the {k} first letters of text."),
            "return text[:{k}]", lambda text, k: "".join(text[place] for place in range(k)), _SMALL, _SMALL_BAND),
    Pattern("last_{k}", "text",
            ("Return the last {k} letters of text.", "Keep the last {k} letters of text.",
             "Return the {k} last letters of text."),
            "return text[-{k}:]", lambda text, k: "".join(text[place - k] for place in range(k)), _SMALL, _SMALL_BAND),
    Pattern("larger", "a, b", ("Return the larger of a and b.", "", ""), "return max(a, b)",
            lambda a, b, k: a if a > b else b),
    Pattern("difference", "a, b", ("Return the distance from a to b.", "", ""), "return abs(a - b)",
            lambda a, b, k: a - b if a > b else b - a),
    Pattern("total", "numbers", ("Return the sum of the numbers.", "", ""), "return sum(numbers)",
            lambda numbers, k: numbers[0] + sum(numbers[1:])),
    Pattern("is_even", "n", ("Return whether n is even.", "", ""), "return n % 2 == 0", lambda n, k: n // 2 * 2 == n),
    Pattern("reverse", "text", ("Return text reversed.", "", ""), "return text[::-1]",
            lambda text, k: "".join(reversed(text))),
    Pattern("join", "words", ("Join the words with a space.", "", ""), 'return " ".join(words)',
            lambda words, k: words[0] + "".join(" " + word for word in words[1:])),
)  # fmt: skip


def _choices(split: Split) -> list[tuple[Pattern, Any]]:
    """Pattern and value of k that a split may draw; patterns without a parameter have None, in training."""
    pairs = [(pattern, k) for pattern in PATTERNS for k in pattern.parameters]
    chosen = [pair for pair in pairs if split_of("function", pair[0].name, pair[1]) == split]
    return chosen + [(pattern, None) for pattern in PATTERNS if split == "train" and not pattern.parameters]


_CHOICES = {split: _choices(split) for split in ("train", "development", "test")}
_BAND = [(pattern, k) for pattern in PATTERNS for k in pattern.band]


def draw(rng: random.Random, split: Split) -> Draft:
    """Draw a function with its example, solution and test."""
    stratum = draw_stratum(rng, split)
    pattern, k = rng.choice(_BAND if stratum == "range" else _CHOICES[split])
    wording = _wording(rng, pattern, stratum)
    calls = [_arguments(rng, pattern) for _ in range(4)]
    results = [pattern.result(*arguments, k=k) for arguments in calls]
    name = pattern.name.format(k=k)
    head = (
        f'def {name}({pattern.arguments}):\n    """{pattern.wordings[wording].format(k=k)}\n\n'
        f'    >>> {name}({", ".join(map(repr, calls[0]))})\n    {results[0]!r}\n    """\n'
    )
    body = f"    {pattern.body.format(k=k)}\n"
    meta = {
        "prompt": head, "entry_point": name, "canonical_solution": body, "test": _test(calls, results),
        "signature": f"def {name}({pattern.arguments}):\n", "doc": pattern.wordings[wording].format(k=k),
        "pattern": pattern.name, "k": k,
    }  # fmt: skip
    return Draft(head, (), f"{meta['signature']}{body}", wording, stratum, meta)


def check(item: Item, answer: str) -> bool:
    """Whether `answer` has the syntax tree of the pattern's function; whether other code works, grading finds out."""
    pattern = next(pattern for pattern in PATTERNS if pattern.name == item.meta["pattern"])
    body = f"def {item.meta['entry_point']}({pattern.arguments}):\n    {pattern.body.format(k=item.meta['k'])}\n"
    try:
        given = ast.parse(answer.removeprefix("```python\n").removesuffix("```"))
    except SyntaxError:
        return False
    return ast.dump(given) == ast.dump(ast.parse(body))


def _wording(rng: random.Random, pattern: Pattern, stratum: Stratum) -> int:
    if stratum == "template":
        return len(pattern.wordings) - 1
    return rng.randrange(len(pattern.wordings) - 1) if pattern.parameters else 0


def _arguments(rng: random.Random, pattern: Pattern) -> tuple[Any, ...]:
    """Arguments for one call, by the names of the parameters."""
    if pattern.arguments == "n":
        return (rng.randint(1, 50),)
    if pattern.arguments == "a, b":
        return (rng.randint(1, 50), rng.randint(1, 50))
    if pattern.arguments == "numbers":
        return ([rng.randint(1, 50) for _ in range(3)],)
    return (rng.sample(WORDS, 2),) if pattern.arguments == "words" else (rng.choice(WORDS),)


def _test(calls: list[tuple[Any, ...]], results: list[Any]) -> str:
    """A unit test as HumanEval writes it."""
    lines = [
        f"    assert candidate({', '.join(map(repr, arguments))}) == {result!r}\n"
        for arguments, result in zip(calls, results, strict=True)
    ]
    return "\n\ndef check(candidate):\n" + "".join(lines)


FUNCTION = Family("function", "en", "code", draw, check, {"train": 2, "template": 1})
