"""Whether a mathematical answer equals the reference: text after LaTeX clean-up, then exact rationals.

A ladder: equal strings, then equal numbers (integers, decimals, fractions, mixed numbers, per cent,
powers of ten), tuples and sets element by element. Model text is never evaluated: the number grammar is a regular
expression. A unit word after the number is forgiven; what changes the value (pi, or, dozen, a factorial) is not.
"""

import re
from fractions import Fraction

from phidelity.grading.answers import MAX_ANSWER, normalise, number, undress, ungroup

MAX_DIGITS = 60
"""Longer numbers are compared as text only."""

_SPACING = re.compile(r"\\[,;:!]|\\ |\\quad|\\qquad|~|\\left|\\right|\\displaystyle|\\limits")
_WRAPPED = re.compile(r"\\(?:boxed|text|textbf|mathrm|mathbf|mbox)\s*\{([^{}]*)\}")
_FRACTION = re.compile(r"\\[dt]?frac\s*(?:\{([^{}]*)\}|(\d))\s*(?:\{([^{}]*)\}|(\d))")
_AROUND = re.compile(r"\*\*|__|`|(?<!\\)\$|\\[()]|\\\[|\\\](?!\w)")
_BOX = re.compile(r"\\boxed\s*\{(.*)\}", re.DOTALL)
_BASE = re.compile(r"(?<=\d)_\{?(\d+)")
_ASSIGNED = re.compile(r"^[a-zA-Z](?:_\w)?\s*=\s*")
_MIXED = re.compile(r"(-?)(\d+) +(\d+)/(\d+)")
_POWER = re.compile(
    r"([-+]?\d+(?:\.\d+)?)\s*(?:(?:\\times|\\cdot|×|\*)\s*10\^\{?(-?\d{1,2})\}?|e(-?\d{1,2}))", re.IGNORECASE
)
_PLAIN = re.compile(r"\(?([-+]?(?:\d+(?:\.\d*)?|\.\d+))\)?(?:\s*/\s*\(?([-+]?\d+(?:\.\d+)?)\)?)?")
_PRICED = re.compile(r"[€£]?\s*[-+]?[\d.]+\s*[€£]?")
_UNIT = re.compile(r"(?P<number>[-+]?[\d.,/ ]*\d)\s+(?P<words>[^\W\d_]{2,}(?: [^\W\d_]{2,}){0,2})")
_NO_UNITS = frozenset((
    "pi", "or", "and", "oder", "und", "plus", "minus", "times", "mal", "over", "of", "mod", "sqrt", "factorial",
    "hundred", "thousand", "million", "billion", "hundert", "tausend", "dozen", "dutzend", "percent", "prozent",
    "half", "halves", "third", "thirds", "squared", "cubed",
))  # fmt: skip


def equal(reference: str, answer: str, decimal_comma: bool = False) -> bool:
    """Whether `answer` is the reference: as cleaned text, as an exact number, or element by element."""
    if max(len(reference), len(answer)) > MAX_ANSWER:
        return False
    gold, said = clean(reference), clean(answer)
    if not said:
        return False
    if _squeezed(gold) == _squeezed(said):
        return True
    return _equal_values(gold, said, decimal_comma) or _equal_lists(gold, said)


def clean(text: str) -> str:
    """A LaTeX answer in its plainest spelling: no delimiters, spacing, wrappers or `x =`; fractions as (a)/(b)."""
    plain = text.replace("\\$", "").replace("$", "").replace("\\%", "%").replace("^\\circ", "").replace("^{\\circ}", "")
    plain = _SPACING.sub(" ", plain).replace("\u2212", "-").replace("\\{", "{").replace("\\}", "}")
    for pattern, form in ((_WRAPPED, r" \1 "), (_FRACTION, r" (\1\2)/(\3\4) ")):
        for _ in range(4):
            plain, n = pattern.subn(form, plain)
            if not n:
                break
    plain = _ASSIGNED.sub("", undress(plain))
    return " ".join(plain.split()).rstrip(",;")


def bare(text: str) -> str:
    """A LaTeX answer without what stands around it: bold, dollars, brackets of display math, box, final full stop."""
    plain = _AROUND.sub("", text).strip()
    while found := _BOX.fullmatch(plain):
        plain = found[1].strip()
    return plain.rstrip(" .,;").strip()


def other_base(reference: str, answer: str) -> bool:
    """Whether both name a number base, and not the same (243_6, 243_5)."""
    wanted, said = set(_BASE.findall(reference)), set(_BASE.findall(answer))
    return bool(wanted and said) and wanted != said


def value(text: str, decimal_comma: bool = False) -> Fraction | None:
    """The exact value of a cleaned numeric answer, None for anything else."""
    if sum(char.isdecimal() for char in text) > MAX_DIGITS:
        return None
    percent = text.endswith("%")
    text = ungroup(_without_unit(text.rstrip("% ")), decimal_comma)
    for reader in (_mixed, _power, _ratio):
        found = reader(text)
        if found is not None:
            return found / 100 if percent else found
    found = number(text) if _PRICED.fullmatch(text) else None
    return found / 100 if percent and found is not None else found


def _equal_values(gold: str, said: str, decimal_comma: bool) -> bool:
    wanted, given = value(gold), value(said, decimal_comma)
    if wanted is None or given is None:
        return False
    forgiven = ("%" in said) != ("%" in gold)
    return wanted == given or (forgiven and value(gold.rstrip("% ")) == value(said.rstrip("% "), decimal_comma))


def _equal_lists(gold: str, said: str) -> bool:
    wanted, given = _elements(gold), _elements(said)
    if len(wanted) < 2 or len(wanted) != len(given) or gold[:1] + gold[-1:] != said[:1] + said[-1:]:
        return False
    return all(_squeezed(a) == _squeezed(b) or _same(value(a), value(b)) for a, b in zip(wanted, given, strict=True))


def _same(a: Fraction | None, b: Fraction | None) -> bool:
    return a is not None and a == b


def _elements(text: str) -> list[str]:
    inner = text[1:-1] if text[:1] in "([{" and text[-1:] in ")]}" else ""
    return [part.strip() for part in inner.split(",")] if "," in inner else []


def _squeezed(text: str) -> str:
    """Text without spaces; words are compared without case, single letters (variables) with it."""
    words = normalise(text) if re.fullmatch(r"[^\W\d_]{2,}(?:[ -][^\W\d_]+)*", text) else text
    return "".join(words.split()).replace("{", "").replace("}", "")


def _without_unit(text: str) -> str:
    found = _UNIT.fullmatch(text)
    if not found or any(word in _NO_UNITS for word in found["words"].casefold().split()):
        return text
    return found["number"]


def _mixed(text: str) -> Fraction | None:
    found = _MIXED.fullmatch(text.replace("(", "").replace(")", ""))
    if not found or not int(found[4]):
        return None
    size = int(found[2]) + Fraction(int(found[3]), int(found[4]))
    return -size if found[1] else size


def _power(text: str) -> Fraction | None:
    found = _POWER.fullmatch(text)
    return Fraction(found[1]) * Fraction(10) ** int(found[2] or found[3]) if found else None


def _ratio(text: str) -> Fraction | None:
    found = _PLAIN.fullmatch(text)
    if not found:
        return None
    bottom = Fraction(found[2]) if found[2] else Fraction(1)
    return Fraction(found[1]) / bottom if bottom else None
