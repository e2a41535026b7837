"""What the rules of prose, mathematics and questions measure: a function for each score, of a `Measured` text.

The first line of each docstring is the definition that docs/data-rules.md prints. Tools that carry the same names
define them differently, so ours stand here exactly. A word is a run of non-blanks (phidelity/data/measure.py), a
line is one with something on it, a share of characters is one of the characters of words. None means that the
score says nothing of such a text; the rule then lets it pass.
"""

import re
from collections.abc import Callable
from typing import Any

import numpy as np

from phidelity.data import phrases
from phidelity.data.measure import (
    BAD,
    BLANK,
    DIGIT,
    LETTER,
    LOWER,
    NEWLINE,
    SENTENCE_ENDS,
    UPPER,
    Measured,
    ends_sentence,
)

Score = Callable[[Measured], float | None]

_LINE_ENDS = SENTENCE_ENDS | frozenset("\"'”’»")
_BULLETS = ("- ", "* ", "+ ", "– ", "— ", "→ ", *"•‣·▪◦●■□►▶▸❖✓✔➢➤")
_CUT_OFF = re.compile(
    r"(?:\.\.\.|…)[\])]?(?:\W{0,3}(?:(?:read |show |see |view )?more|continue reading|(?:mehr|weiter)\w*|lire la suite"
    r"|en savoir plus|leer más|leggi tutto|ler mais|lees meer|читать далее|подробнее"
    r"|続きを読む|阅读全文|查看更多))?\W{0,3}\Z",
    re.IGNORECASE,
)
"""A line that was cut off, and the link to its rest."""
_TELLS = 6
"""Blanks in an item of a list from which on it may be a sentence (ours)."""
_SHORT_LINE = 16
_GATE, _NOTICE = 200, 20
"""Words of a page that may stand in place of another, and of a notice that need not speak to its reader (ours)."""
_FORMULA = re.compile(
    r"\$\$[^$]{1,2000}\$\$|\$(?<!\\\$)(?![\s$])[^$\n]{1,600}(?<![\s\\])\$(?!\d)"
    r"|\\\[[^$]{1,2000}?\\\]|\\\([^$\n]{1,600}?\\\)"
    r"|\\begin\{((?:align|alignat|displaymath|eqnarray|equation|flalign|gather|math|multline)\*?)\}[^$]{1,4000}?\\end\{\1\}"
    r"|<math>[^<]{1,600}</math>|^```math\n[^`]{1,4000}```",
    re.MULTILINE,
)
"""Set formulas between dollars, TeX's brackets or environments, a wiki's tags, a fence (ours)."""


def n_words(m: Measured) -> float:
    """Words."""
    return m.n_words


def word_length(m: Measured) -> float | None:
    """Mean characters of a word, times 3 over the shortest mean of its language; nothing where blanks part no words."""
    return share(m.ends[-1], m.n_words) * 3 / m.language.shortest_mean_word if m.language.spaced else None


def long_words(m: Measured) -> float | None:
    """Mean characters of a word, times 10 over the longest mean of its language; nothing where blanks part no words."""
    return share(m.ends[-1], m.n_words) * 10 / m.language.longest_mean_word if m.language.spaced else None


def hashes(m: Measured) -> float:
    """Hash signs per word."""
    return share(m.text.count("#"), m.n_words)


def ellipses(m: Measured) -> float:
    """Ellipses ("..." or "…") per word."""
    return share(m.text.count("...") + m.text.count("…"), m.n_words)


def bullets(m: Measured) -> float:
    """Lines that begin with a bullet, over lines; nothing of a list more than half of sentences."""
    items = [line for line in m.lines if line.startswith(_BULLETS)]
    told = sum(line.count(" ") >= _TELLS and ends_sentence(line) for line in items)
    return share(len(items) if 2 * told <= len(items) else 0, len(m.lines))


def ellipsis_lines(m: Measured) -> float:
    """Lines that end in an ellipsis, also before a bracket or a link to the rest ("read more"), over lines."""
    if "..." not in m.text and "…" not in m.text:
        return 0.0
    return share(sum(bool(_CUT_OFF.search(line[-40:])) for line in m.lines), len(m.lines))


def letters(m: Measured) -> float:
    """Words with a letter, over words with a letter or a digit (else the commas of prose would count)."""
    lettered, wordy = m.table.lettered[m.ids], m.table.wordy[m.ids]
    return share(np.count_nonzero(lettered), np.count_nonzero(wordy))


def stop_words(m: Measured) -> float | None:
    """Different function words of the text's language; nothing where we have no list of them."""
    if not m.language.stop_words:
        return None
    wanted = m.table.numbers(sorted(m.language.stop_words))
    return int((m.table.folded[m.ids] == wanted[:, None]).any(axis=1).sum())


def duplicate_lines(m: Measured) -> float:
    """Lines that occurred before, over lines; those under 16 characters, such as brackets and cells, do not count."""
    return _duplicates([line for line in m.lines if len(line) >= _SHORT_LINE])


def duplicate_line_characters(m: Measured) -> float:
    """Characters of lines that occurred before, over those of lines."""
    return _duplicate_characters(m.lines)


def duplicate_paragraphs(m: Measured) -> float:
    """Paragraphs (between blank lines, of several sentences or lines) that occurred before, over paragraphs."""
    return _duplicates(m.paragraphs)


def duplicate_paragraph_characters(m: Measured) -> float:
    """Characters of paragraphs that occurred before, over those of paragraphs."""
    return _duplicate_characters(m.paragraphs)


def top_gram(n: int) -> Score:
    """The score of the commonest n-gram."""

    def score(m: Measured) -> float:
        k = n * m.language.word
        places, grams = m.repeats[k]
        if not len(grams):
            return 0.0
        counts = np.bincount(grams)
        commonest = places[(counts == counts.max())[grams]]
        longest = (m.ends[commonest + k] - m.ends[commonest]).max()
        return float(counts.max() * longest / m.n_characters)

    score.__doc__ = (
        f"Characters of the commonest {n}-gram that occurs twice (of equals the longest), times its uses, over all."
    )
    return score


def duplicate_grams(n: int) -> Score:
    """The score of all n-grams that occurred before."""

    def score(m: Measured) -> float:
        k = n * m.language.word
        places, grams = m.repeats[k]
        if not len(grams):
            return 0.0
        first = np.full(int(grams.max()) + 1, m.n_tokens)
        np.minimum.at(first, grams, places)
        again = places[first[grams] != places]
        edges = np.bincount(again, minlength=m.n_tokens + 1)
        edges[k:] -= np.bincount(again + k, minlength=m.n_tokens + 1)[k:]
        return float(m.lengths[np.cumsum(edges[:-1]) > 0].sum() / m.n_characters)

    score.__doc__ = f"Characters of words inside a {n}-gram that occurred before, each word once, over all."
    return score


def links(m: Measured) -> float:
    """Characters of a page in links, over those outside of its furniture (of Markdown: in links, over all)."""
    return m.link_share


def boilerplate(m: Measured) -> float:
    """Characters of a page's furniture over all of it, where what is left has no sentence; else 0."""
    return m.chrome_share if m.chrome_share and not sentences(m) else 0.0


def lorem_ipsum(m: Measured) -> float:
    """Occurrences of "lorem ipsum"."""
    return m.folded.count("lorem ipsum")


def curly_lines(m: Measured) -> float:
    """Lines with a curly bracket outside of set formulas, code and tables with them, over lines (C4 drops any)."""
    if "{" not in m.whole and "}" not in m.whole:
        return 0.0
    text = _FORMULA.sub(_without_formula, m.whole)
    lines = [line for line in text.split("\n") if line and not line.isspace()]
    return share(sum("{" in line or "}" in line for line in lines), len(lines))


def _without_formula(formula: re.Match[str]) -> str:
    """A sign in its place, where its brackets match: those of a program that has dollars seldom do."""
    return "$" if formula[0].count("{") == formula[0].count("}") else formula[0]


def sentences(m: Measured) -> float | None:
    """Words that end in a sentence's mark; nothing where none is written."""
    if not m.language.marked:
        return None
    if not m.language.spaced:
        return sum(map(m.text.count, SENTENCE_ENDS))
    return int(np.count_nonzero(m.table.ending[m.ids]))


def sentences_beside_policy(m: Measured) -> float | None:
    """The same outside of notices on cookies, terms and privacy (C4's phrases, ours, where they speak to the reader or
    in few words), of pages up to 200 words also on JavaScript, logins and errors; nothing where there is none."""
    asks = "cookie" in m.folded and sum(phrase in m.folded for phrase in phrases.CONSENT) > 1
    told = (*phrases.POLICY, *phrases.CONSENT, "cookie") if asks else phrases.POLICY
    gate = m.n_words <= _GATE and phrases.NOTICE.search(m.folded)
    if not gate and not any(phrase in m.folded for phrase in told):
        return None
    lines = (line for line in m.lines if not _is_notice(line.lower(), told, bool(gate)))
    return sum(ends_sentence(word) for line in lines for word in line.split())


def _is_notice(line: str, told: tuple[str, ...], gate: bool) -> bool:
    if gate and phrases.NOTICE.search(line):
        return True
    short = line.count(" ") < _NOTICE
    return any(phrase in line for phrase in told) and (short or bool(phrases.ADDRESSES.search(line)))


def capital_lines(m: Measured) -> float:
    """Characters in lines of at least 20 letters more than half of which are capitals, over all."""
    capital = m.classes == UPPER
    if 20 * np.count_nonzero(capital) < len(capital) // 2:
        return 0.0  # too few for a twentieth of the text to be half capitals
    starts = m.line_starts
    cased = capital | (m.classes == LOWER) | (m.classes == LETTER)
    capitals = np.add.reduceat(capital, starts, dtype=np.int64)
    lettered = np.add.reduceat(cased, starts, dtype=np.int64)
    loud = (lettered >= 20) & (2 * capitals > lettered)
    return share(np.diff(starts, append=len(capital))[loud].sum(), len(capital))


def end_marks(m: Measured) -> float | None:
    """Lines that end in a mark or a quote, over lines; nothing where sentences have none."""
    if not m.language.marked:
        return None
    return share(sum(line[-1] in _LINE_ENDS for line in m.lines), len(m.lines))


def short_lines(m: Measured) -> float | None:
    """Lines of up to 30 characters, over lines; nothing where blanks part no words."""
    return share(sum(len(line) <= 30 for line in m.lines), len(m.lines)) if m.language.spaced else None


def newlines(m: Measured) -> float:
    """Line breaks per word."""
    return share(m.text.count("\n"), m.n_words)


def sales(m: Measured) -> float:
    """Phrases of advertising (ours, in seven languages) per hundred words; "cheap" and its like only beside others."""
    found = sum(map(m.folded.count, phrases.SALES))
    return 100 * share(found + sum(map(m.folded.count, phrases.WEAK_SALES)), m.n_words) if found else 0.0


def odd_pairs(m: Measured) -> float:
    """Pairs of neighbours where a small letter meets a capital, or a letter and a digit meet, over pairs of both."""
    kinds = m.classes
    pairs = np.bincount(kinds[:-1] * 8 + kinds[1:], minlength=64).reshape(8, 8)
    words = [LOWER, UPPER, LETTER, DIGIT]
    odd = pairs[LOWER, UPPER] + pairs[[LOWER, UPPER], DIGIT].sum() + pairs[DIGIT, [LOWER, UPPER]].sum()
    return share(odd, pairs[np.ix_(words, words)].sum())


def bad_characters(m: Measured) -> float:
    """Characters that belong into no text (control, private, unassigned, replacement), over all but blanks."""
    return share(m.class_counts[BAD], m.class_counts.sum() - m.class_counts[[BLANK, NEWLINE]].sum())


def packed(m: Measured) -> float:
    """Bytes of the first 64 KiB after zstd at level 1, over bytes before; 0.4 for less than 1,000 bytes."""
    return m.packed_share


def quality(m: Measured) -> float | None:
    """How much the text teaches, 0 to 5, by the classifier of data/quality.py; nothing where it does not judge."""
    return m.quality


def share(n: Any, of: Any) -> float:
    """A quotient that is 0 where there is nothing to divide by."""
    return float(n / of) if of else 0.0


def _duplicates(items: list[str]) -> float:
    return share(len(items) - len(set(items)), len(items))


def _duplicate_characters(items: list[str]) -> float:
    distinct = set(items)
    if len(distinct) == len(items):
        return 0.0
    return 1 - share(sum(map(len, distinct)), sum(map(len, items)))
