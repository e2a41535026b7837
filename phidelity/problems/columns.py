"""Sums worked the way a child writes them: column by column from the least digit, the carry in words.

`23 + 48: 3 + 8 = 11, write 1, carry 1. 2 + 4 = 6, 6 + 1 = 7. So 23 + 48 = 71.` Every step is one fact about two
numbers, so a model of a million parameters has some three hundred facts to learn instead of ten thousand sums;
written at once the same model gets one in ten right, so written two in three. Three terms in one step were the
commonest mistake in trials, hence never more than two. One phrase per step, spaces around signs.

The rule that keeps sums apart stands here too: `sum_split` gives each sum of two numbers to one split, whatever
the seed. Sums of two digits are tables, which everybody learns; a number of the band 43-48 is an operand in no
training text.
"""

from typing import Literal, NamedTuple

from phidelity.problems.item import Split, split_of

Operation = Literal["+", "-", "*"]

BAND = frozenset(range(43, 49))
"""Operands never seen in training (as results they are)."""

_WORDS = {
    "en": ("write {}, carry {}", "borrow 1", "So"),
    "de": ("schreibe {}, übertrage {}", "borge 1", "Also"),
}


class Work(NamedTuple):
    """A worked sum and its result."""

    text: str
    value: int


def work(a: int, operation: Operation, b: int, language: str = "en") -> Work:
    """Work `a operation b`; operands of at most two digits, of a product the second of one."""
    if a < 10 and b < 10:
        value = result(a, operation, b)
        return Work(f"{a} {operation} {b} = {value}.", value)
    columns, value = _COLUMNS[operation](a, b, language)
    return Work(f"{a} {operation} {b}: {columns} {_WORDS[language][2]} {a} {operation} {b} = {value}.", value)


def result(a: int, operation: Operation, b: int) -> int:
    """The result of one operation."""
    return {"+": a + b, "-": a - b, "*": a * b}[operation]


def sum_split(a: int, operation: Operation, b: int) -> Split:
    """The split a sum belongs to; order does not matter for + and *, and two digits are everybody's."""
    if a < 10 and b < 10:
        return "train"
    first, second = (a, b) if operation == "-" else sorted((a, b))
    return split_of("sum", first, operation, second)


def in_band(*operands: int) -> bool:
    """Whether one of the operands lies in the band that training never shows."""
    return any(operand in BAND for operand in operands)


def _add(a: int, b: int, language: str) -> tuple[str, int]:
    (a1, a0), (b1, b0) = divmod(a, 10), divmod(b, 10)
    ones = a0 + b0
    if ones < 10:
        return f"{a0} + {b0} = {ones}. {a1} + {b1} = {a1 + b1}.", 10 * (a1 + b1) + ones
    carry = _WORDS[language][0].format(ones % 10, 1)
    tens = a1 + b1
    return (
        f"{a0} + {b0} = {ones}, {carry}. {a1} + {b1} = {tens}, {tens} + 1 = {tens + 1}.",
        10 * (tens + 1) + ones % 10,
    )


def _subtract(a: int, b: int, language: str) -> tuple[str, int]:
    (a1, a0), (b1, b0) = divmod(a, 10), divmod(b, 10)
    if a0 >= b0:
        return f"{a0} - {b0} = {a0 - b0}. {a1} - {b1} = {a1 - b1}.", 10 * (a1 - b1) + a0 - b0
    ones, tens = a0 + 10 - b0, a1 - b1
    borrow = _WORDS[language][1]
    return (
        f"{a0} < {b0}, {borrow}, {a0 + 10} - {b0} = {ones}. {a1} - {b1} = {tens}, {tens} - 1 = {tens - 1}.",
        10 * (tens - 1) + ones,
    )


def _multiply(a: int, b: int, language: str) -> tuple[str, int]:
    a1, a0 = divmod(a, 10)
    ones, tens = a0 * b, a1 * b
    if ones < 10:
        return f"{a0} * {b} = {ones}. {a1} * {b} = {tens}.", 10 * tens + ones
    write, carry = ones % 10, ones // 10
    noted = _WORDS[language][0].format(write, carry)
    total = tens + carry
    return f"{a0} * {b} = {ones}, {noted}. {a1} * {b} = {tens}, {tens} + {carry} = {total}.", 10 * total + write


_COLUMNS = {"+": _add, "-": _subtract, "*": _multiply}
