"""Which documents are good enough: a table of rules, each a score, a threshold and where both come from.

A document is tokenised once (`Measured`) and every rule reads that. Scores come first, decisions after: the first
rule of the table that fails names the drop. Thresholds are those published by Gopher, C4, FineWeb and StarCoder;
definitions differ between the tools that carry those names, so ours stand here exactly. A word is a run of
non-blanks, a line is one with text in it, characters are those of words. Rules left out on purpose: C4's curly
brackets and end marks per line, which drop all documentation of code. phi-4 names no rules (report §2.3).
"""

import ast
import re
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Literal, NamedTuple

import numpy as np

from phidelity.config import UserError
from phidelity.data.funnel import Drop

Profile = Literal["prose", "code"]

STOP_WORDS = {
    "en": frozenset(("the", "be", "to", "of", "and", "that", "have", "with")),
    "de": frozenset(("der", "die", "und", "in", "den", "von", "zu", "das", "mit", "ist")),
}
"""Gopher's for English; for German ours. A document is held against the language it fits best."""


class Measured:
    """A text and what the rules read of it, each computed once."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.words = text.split()
        self.lines = [line.strip() for line in text.split("\n") if line.strip()]
        self.paragraphs = [part.strip() for part in re.split(r"\n{2,}", text) if part.strip()]
        self.lengths = np.fromiter(map(len, self.words), dtype=np.int64, count=len(self.words))
        self.n_characters = max(1, int(self.lengths.sum()))

    @cached_property
    def grams(self) -> dict[int, np.ndarray]:
        """For n from 1 to 10 the number of the n-gram at each place; equal n-grams have equal numbers."""
        numbers = {word: number for number, word in enumerate(dict.fromkeys(self.words))}
        ones = np.fromiter(map(numbers.__getitem__, self.words), dtype=np.int64, count=len(self.words))
        grams = {1: ones}
        for n in range(2, 11):
            joined = grams[n - 1][:-1] * len(numbers) + ones[n - 1 :]
            grams[n] = np.unique(joined, return_inverse=True)[1]
        return grams

    @cached_property
    def python(self) -> ast.Module | None:
        """The parsed module; None when it is not valid Python."""
        try:
            return ast.parse(self.text)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return None


class Rule(NamedTuple):
    """A document of this profile is kept while its score is at least or at most the threshold."""

    name: str
    profile: Profile
    score: Callable[[Measured], float]
    keep: Literal["at least", "at most"]
    threshold: float
    source: str


def select_rules(thresholds: Mapping[str, float] | None = None, without: Sequence[str] = ()) -> tuple[Rule, ...]:
    """The rules in force: the table with some thresholds replaced and some rules left out."""
    known = {rule.name for rule in RULES}
    unknown = [name for name in (*(thresholds or {}), *without) if name not in known]
    if unknown:
        raise UserError(f"No rule named {', '.join(unknown)}. The rules are: {', '.join(sorted(known))}.")
    given = thresholds or {}
    return tuple(
        rule._replace(threshold=given.get(rule.name, rule.threshold)) for rule in RULES if rule.name not in without
    )


def judge(text: str, profile: Profile, rules: Sequence[Rule]) -> Drop | None:
    """The first rule that `text` fails, with the deciding value; None for a text to keep."""
    measured = Measured(text)
    for rule in rules:
        if rule.profile == profile:
            value = float(rule.score(measured))
            if value < rule.threshold if rule.keep == "at least" else value > rule.threshold:
                return Drop(rule.name, round(value, 6), rule.threshold)
    return None


def scores(text: str, profile: Profile, rules: Sequence[Rule]) -> dict[str, float]:
    """Every score of a text, for looking at what thresholds would do."""
    measured = Measured(text)
    return {rule.name: float(rule.score(measured)) for rule in rules if rule.profile == profile}


def _share(n: float, of: float) -> float:
    return n / of if of else 0.0


def _n_words(m: Measured) -> float:
    return len(m.words)


def _word_length(m: Measured) -> float:
    return _share(int(m.lengths.sum()), len(m.words))


def _hashes(m: Measured) -> float:
    return _share(m.text.count("#"), len(m.words))


def _ellipses(m: Measured) -> float:
    return _share(m.text.count("...") + m.text.count("…"), len(m.words))


def _bullets(m: Measured) -> float:
    return _share(sum(line.startswith(("- ", "* ", "• ", "‣ ", "+ ")) for line in m.lines), len(m.lines))


def _ellipsis_lines(m: Measured) -> float:
    return _share(sum(line.endswith(("...", "…")) for line in m.lines), len(m.lines))


def _letters(m: Measured) -> float:
    """Words with a letter, of words that are more than punctuation (else commas in prose would count)."""
    wordy = [word for word in m.words if any(map(str.isalnum, word))]
    return _share(sum(any(map(str.isalpha, word)) for word in wordy), len(wordy))


def _stop_words(m: Measured) -> float:
    present = {word.lower() for word in m.words}
    return max(len(present & stop_words) for stop_words in STOP_WORDS.values())


def _duplicates(items: list[str]) -> float:
    return _share(len(items) - len(set(items)), len(items))


def _duplicate_characters(items: list[str]) -> float:
    return 1 - _share(sum(map(len, set(items))), sum(map(len, items))) if items else 0.0


def _top_gram(n: int) -> Callable[[Measured], float]:
    """Characters in the commonest n-gram that occurs at all twice, over all."""

    def score(m: Measured) -> float:
        grams = m.grams[n]
        counts = np.bincount(grams) if len(grams) else np.zeros(1, dtype=np.int64)
        if counts.max() < 2:
            return 0.0
        first = int(np.argmax(grams == counts.argmax()))
        return float(counts.max() * m.lengths[first : first + n].sum() / m.n_characters)

    return score


def _duplicate_grams(n: int) -> Callable[[Measured], float]:
    """Characters of words inside an n-gram that occurred before, each word counted once, over all."""

    def score(m: Measured) -> float:
        grams = m.grams[n]
        if not len(grams):
            return 0.0
        _, first, inverse = np.unique(grams, return_index=True, return_inverse=True)
        again = np.flatnonzero(first[inverse] != np.arange(len(grams)))
        edges = np.zeros(len(m.words) + 1, dtype=np.int64)
        np.add.at(edges, again, 1)
        np.add.at(edges, again + n, -1)
        return float(m.lengths[np.cumsum(edges)[:-1] > 0].sum() / m.n_characters)

    return score


def _lorem_ipsum(m: Measured) -> float:
    return m.text.lower().count("lorem ipsum")


def _sentences(m: Measured) -> float:
    return len(re.findall(r"[.!?:]['\")\]”’]*(?=\s|$)", m.text))


def _end_marks(m: Measured) -> float:
    return _share(sum(line.endswith((".", "!", "?", '"', "'", "”", "’", ":")) for line in m.lines), len(m.lines))


def _short_lines(m: Measured) -> float:
    return _share(sum(len(line) <= 30 for line in m.lines), len(m.lines))


def _newlines(m: Measured) -> float:
    return _share(m.text.count("\n"), len(m.words))


def _longest_line(m: Measured) -> float:
    return max(map(len, m.text.split("\n")))


def _mean_line(m: Measured) -> float:
    return _share(len(m.text), m.text.count("\n") + 1)


def _alphanumeric(m: Measured) -> float:
    return _share(sum(map(str.isalnum, m.text)), len(m.text))


def _comments(m: Measured) -> float:
    """Characters of comment lines and docstrings over all of the lines."""
    n = sum(len(line) for line in m.lines if line.startswith("#"))
    if m.python:
        described = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
        nodes = (node for node in ast.walk(m.python) if isinstance(node, described))
        n += sum(len("".join((ast.get_docstring(node, clean=False) or "").split("\n"))) for node in nodes)
    return _share(n, sum(map(len, m.lines)))


def _generated(m: Measured) -> float:
    head = "\n".join(m.lines[:5]).lower()
    return sum(mark in head for mark in ("auto-generated", "autogenerated", "automatically generated", "do not edit"))


def _parses(m: Measured) -> float:
    return 1.0 if m.python else 0.0


def _prose(name: str, score: Callable[[Measured], float], keep: Literal["at least", "at most"], value: float) -> Rule:
    return Rule(name, "prose", score, keep, value, _CITED[name.split("_")[0]])


def _code(name: str, score: Callable[[Measured], float], keep: Literal["at least", "at most"], value: float) -> Rule:
    return Rule(name, "code", score, keep, value, _CITED[name.split("_")[0]])


_CITED = {
    "gopher": "Gopher, Rae et al. 2021 (arXiv 2112.11446)",
    "c4": "C4, Raffel et al. 2020 (arXiv 1910.10683); the paper's 3 sentences, not the 5 of its code",
    "fineweb": "FineWeb, Penedo et al. 2024 (arXiv 2406.17557); 0.1 of duplicate lines as published, not 0.01 as coded",
    "starcoder": "StarCoder, Li et al. 2023 (arXiv 2305.06161)",
    "ours": "ours",
}

RULES: tuple[Rule, ...] = (
    _prose("gopher_words_min", _n_words, "at least", 50),
    _prose("gopher_words_max", _n_words, "at most", 100_000),
    _prose("gopher_word_length_min", _word_length, "at least", 3),
    _prose("gopher_word_length_max", _word_length, "at most", 10),
    _prose("gopher_hashes", _hashes, "at most", 0.1),
    _prose("gopher_ellipses", _ellipses, "at most", 0.1),
    _prose("gopher_bullets", _bullets, "at most", 0.9),
    _prose("gopher_ellipsis_lines", _ellipsis_lines, "at most", 0.3),
    _prose("gopher_letters", _letters, "at least", 0.8),
    _prose("gopher_stop_words", _stop_words, "at least", 2),
    _prose("gopher_duplicate_lines", lambda m: _duplicates(m.lines), "at most", 0.30),
    _prose("gopher_duplicate_line_characters", lambda m: _duplicate_characters(m.lines), "at most", 0.20),
    _prose("gopher_duplicate_paragraphs", lambda m: _duplicates(m.paragraphs), "at most", 0.30),
    _prose("gopher_duplicate_paragraph_characters", lambda m: _duplicate_characters(m.paragraphs), "at most", 0.20),
    _prose("gopher_top_2_gram", _top_gram(2), "at most", 0.20),
    _prose("gopher_top_3_gram", _top_gram(3), "at most", 0.18),
    _prose("gopher_top_4_gram", _top_gram(4), "at most", 0.16),
    _prose("gopher_duplicate_5_grams", _duplicate_grams(5), "at most", 0.15),
    _prose("gopher_duplicate_6_grams", _duplicate_grams(6), "at most", 0.14),
    _prose("gopher_duplicate_7_grams", _duplicate_grams(7), "at most", 0.13),
    _prose("gopher_duplicate_8_grams", _duplicate_grams(8), "at most", 0.12),
    _prose("gopher_duplicate_9_grams", _duplicate_grams(9), "at most", 0.11),
    _prose("gopher_duplicate_10_grams", _duplicate_grams(10), "at most", 0.10),
    _prose("c4_lorem_ipsum", _lorem_ipsum, "at most", 0),
    _prose("c4_sentences", _sentences, "at least", 3),
    _prose("fineweb_end_marks", _end_marks, "at least", 0.12),
    _prose("fineweb_short_lines", _short_lines, "at most", 0.67),
    _prose("fineweb_duplicate_line_characters", lambda m: _duplicate_characters(m.lines), "at most", 0.10),
    _prose("fineweb_newlines", _newlines, "at most", 0.3),
    _code("starcoder_longest_line", _longest_line, "at most", 1000),
    _code("starcoder_mean_line", _mean_line, "at most", 100),
    _code("starcoder_alphanumeric", _alphanumeric, "at least", 0.25),
    _code("starcoder_comments_min", _comments, "at least", 0.01),
    _code("starcoder_comments_max", _comments, "at most", 0.8),
    _code("ours_generated", _generated, "at most", 0),
    _code("ours_parses", _parses, "at least", 1),
)
"""The first that fails names the drop."""
