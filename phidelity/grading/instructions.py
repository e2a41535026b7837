"""Whether a response follows verifiable instructions: the 25 kinds of IFEval, each a function of (text, arguments).

After Zhou et al. 2023 (arXiv 2311.07911), our own code. Strict judges the response as it is; loose takes the best of
eight variants (without asterisks, without first or last line or both). Kept because scores depend on it: keywords
are regular expressions, a bullet list of any other length fails, an undetectable language counts as followed. Other
than there: sentences and capital words are split by rules (no trained splitter), and language detection has a seed.
"""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import langdetect
from langdetect import DetectorFactory

DetectorFactory.seed = 0

Arguments = Mapping[str, Any]
OPTIONS = ("My answer is yes.", "My answer is no.", "My answer is maybe.")
_ABBREVIATIONS = frozenset((
    "mr", "mrs", "ms", "dr", "prof", "st", "vs", "e.g", "i.e", "a.m", "p.m", "u.s", "u.k", "u.n", "inc", "ltd", "co",
    "corp", "jr", "sr", "no", "vol", "gen", "col", "capt", "lt", "rev", "hon", "sen", "rep", "gov", "jan", "feb", "mar",
    "apr", "aug", "sept", "oct", "nov", "dec", "ave", "blvd", "mt", "cf", "al",
))  # fmt: skip
_SENTENCE_END = re.compile(r"""[.!?]+["')\]}*]*(?=\s)""")
_WORD = re.compile(r"(?:[^\W\d_]\.){2,}|\w+(?:[-./_]\w+)*(?:'\w+)*|'\w+")
_CONTRACTION = re.compile(r"(?i)(n't|'(?:s|m|d|ll|re|ve))$")


class Followed(NamedTuple):
    """Which instructions a response follows, in order, strictly and loosely."""

    strict: list[bool]
    loose: list[bool]


def follow(response: str, names: Sequence[str], arguments: Sequence[Arguments]) -> Followed:
    """Check each instruction; an unknown name is a `KeyError`."""
    pairs = list(zip(names, arguments, strict=True))
    variants = list(dict.fromkeys(_variants(response)))
    strict = [_follows(response, name, given) for name, given in pairs]
    loose = [any(_follows(text, name, given) for text in variants) for name, given in pairs]
    return Followed(strict, loose)


def count_sentences(text: str) -> int:
    """Sentences: each ends at `.`, `!` or `?` before white space, abbreviations and initials apart."""
    text = text.strip()
    ends = [end for end in _SENTENCE_END.finditer(text) if not _is_abbreviation(end, text)]
    return len(ends) + 1 if text else 0


def words(text: str) -> Iterator[str]:
    """Words as a treebank splits them: hyphens hold together, contractions come apart."""
    for found in _WORD.findall(text):
        stem = _CONTRACTION.sub("", found)
        yield from (part for part in (stem, found[len(stem) :]) if part)


def _follows(text: str, name: str, given: Arguments) -> bool:
    return bool(text.strip()) and INSTRUCTIONS[name](text, {key: value for key, value in given.items() if value})


def _variants(response: str) -> Iterator[str]:
    lines = response.split("\n")
    for part in (lines, lines[1:], lines[:-1], lines[1:-1]):
        text = response if part is lines else "\n".join(part).strip()
        yield text
        yield text.replace("*", "")


def _is_abbreviation(end: re.Match[str], text: str) -> bool:
    before = text[max(0, end.start() - 40) : end.start()].split()
    if end.group() != "." or not before or text[end.start() - 1].isspace():
        return False
    word, following = before[-1], text[end.end() : end.end() + 40].lstrip()[:1]
    initial = len(word) == 1 and word.isupper() and word != "I"
    return initial or (word.lower().lstrip("(\"'") in _ABBREVIATIONS and (following.islower() or len(word) < 5))


def _compare(n: int, relation: str, threshold: int) -> bool:
    return n < threshold if relation == "less than" else n >= threshold


def _language(text: str) -> str | None:
    try:
        return langdetect.detect(text)
    except langdetect.LangDetectException:
        return None


def _is_english(text: str) -> bool:
    return _language(text) in ("en", None)


def _bullets(text: str, given: Arguments) -> bool:
    stars = re.findall(r"^\s*\*[^\*].*$", text, re.MULTILINE)
    dashes = re.findall(r"^\s*-.*$", text, re.MULTILINE)
    return len(stars) + len(dashes) == given["num_bullets"]


def _highlights(text: str, given: Arguments) -> bool:
    single = [found.strip("*") for found in re.findall(r"\*[^\n\*]*\*", text)]
    double = [found[2:-2] for found in re.findall(r"\*\*[^\n\*]*\*\*", text)]
    return sum(bool(found.strip()) for found in single + double) >= given["num_highlights"]


def _sections(text: str, given: Arguments) -> bool:
    return len(re.findall(r"\s?" + given["section_spliter"] + r"\s?\d+\s?", text)) >= given["num_sections"]


def _paragraphs(text: str, given: Arguments) -> bool:
    parts = re.split(r"\s?\*\*\*\s?", text)
    inner = parts[1:-1]
    if any(not part.strip() for part in inner):
        return False
    ends = [parts[0], parts[-1]] if len(parts) > 1 else parts
    return len(inner) + sum(bool(part.strip()) for part in ends) == given["num_paragraphs"]


def _nth_paragraph(text: str, given: Arguments) -> bool:
    parts = text.split("\n\n")
    n, nth = sum(bool(part.strip()) for part in parts), given["nth_paragraph"]
    if nth > n or not parts[nth - 1].strip():
        return False
    word = parts[nth - 1].split()[0].lstrip("'").lstrip('"')
    first = re.split(r"[.,?!'\"]", word)[0].lower()
    return n == given["num_paragraphs"] and first == given["first_word"].lower()


def _postscript(text: str, given: Arguments) -> bool:
    marker = str(given["postscript_marker"])
    known = {"P.P.S": r"p\.\s?p\.\s?s", "P.S.": r"p\.\s?s\."}
    pattern = known[marker] if marker in known else marker.lower()
    return bool(re.search(pattern, text.lower()))


def _json(text: str, given: Arguments) -> bool:
    bare = text.strip()
    for opening in ("```json", "```Json", "```JSON", "```"):
        bare = bare.removeprefix(opening)
    try:
        json.loads(bare.removesuffix("```").strip())
    except (ValueError, RecursionError):
        return False
    return True


def _two_responses(text: str, given: Arguments) -> bool:
    parts = text.split("******")
    said = [part.strip() for part in parts if part.strip()]
    holes = any(not part.strip() for part in parts[1:-1])
    return not holes and len(said) == 2 and said[0] != said[1]


def _quotation(text: str, given: Arguments) -> bool:
    bare = text.strip()
    return len(bare) > 1 and bare[0] == bare[-1] == '"'


def _title(text: str, given: Arguments) -> bool:
    return any(found.lstrip("<").rstrip(">").strip() for found in re.findall(r"<<[^\n]+>>", text))


def _capital_words(text: str, given: Arguments) -> bool:
    n = sum(word.isupper() for word in words(text))
    return _compare(n, given["capital_relation"], given["capital_frequency"])


INSTRUCTIONS: dict[str, Callable[[str, Arguments], bool]] = {
    "keywords:existence": lambda text, a: all(re.search(word, text, re.IGNORECASE) for word in a["keywords"]),
    "keywords:frequency": lambda text, a: _compare(
        len(re.findall(a["keyword"].strip(), text, re.IGNORECASE)), a["relation"], a["frequency"]
    ),
    "keywords:forbidden_words": lambda text, a: (
        not any(re.search(rf"\b{word}\b", text, re.IGNORECASE) for word in a["forbidden_words"])
    ),
    "keywords:letter_frequency": lambda text, a: _compare(
        Counter(text.lower())[a["letter"].strip().lower()], a["let_relation"], a["let_frequency"]
    ),
    "language:response_language": lambda text, a: _language(text) in (a["language"], None),
    "length_constraints:number_sentences": lambda text, a: _compare(
        count_sentences(text), a["relation"], a["num_sentences"]
    ),
    "length_constraints:number_paragraphs": _paragraphs,
    "length_constraints:number_words": lambda text, a: _compare(
        len(re.findall(r"\w+", text)), a["relation"], a["num_words"]
    ),
    "length_constraints:nth_paragraph_first_word": _nth_paragraph,
    "detectable_content:number_placeholders": lambda text, a: (
        len(re.findall(r"\[.*?\]", text)) >= a["num_placeholders"]
    ),
    "detectable_content:postscript": _postscript,
    "detectable_format:number_bullet_lists": _bullets,
    "detectable_format:constrained_response": lambda text, a: any(option in text for option in OPTIONS),
    "detectable_format:number_highlighted_sections": _highlights,
    "detectable_format:multiple_sections": _sections,
    "detectable_format:json_format": _json,
    "detectable_format:title": _title,
    "combination:two_responses": _two_responses,
    "combination:repeat_prompt": lambda text, a: text.strip().lower().startswith(a["prompt_to_repeat"].strip().lower()),
    "startend:end_checker": lambda text, a: text.strip().strip('"').lower().endswith(a["end_phrase"].strip().lower()),
    "startend:quotation": _quotation,
    "change_case:capital_word_frequency": _capital_words,
    "change_case:english_capital": lambda text, a: text.isupper() and _is_english(text),
    "change_case:english_lowercase": lambda text, a: text.islower() and _is_english(text),
    "punctuation:no_comma": lambda text, a: "," not in text,
}
