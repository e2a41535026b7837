"""Which documents are good enough: a table of rules, each a score, a threshold and where both come from.

Scores come first, decisions after: `score` measures everything that the table asks of a document's profile, `decide`
holds scores against thresholds. The first rule of the table that fails names the drop; all that fail are told.
Thresholds are those published by Gopher, C4, RefinedWeb, FineWeb and StarCoder, or ours and marked so; exact
definitions stand at the scores, and docs/data-rules.md is generated from both. phi-4 names no rules; corrupt text
by n-gram statistics and compression ratio is the report's (§2.3). Left out on purpose: C4's end mark on every line.
"""

from collections.abc import Collection, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, Literal, NamedTuple

from phidelity.config import UserError
from phidelity.data import code_scores, scores
from phidelity.data.funnel import Drop
from phidelity.data.measure import Measured
from phidelity.data.scores import Score

Profile = Literal["prose", "mathematics", "qa", "code"]
"""What kind of text a document is: readers say so of their formats (phidelity/data/formats/table.py)."""
PROFILES: tuple[Profile, ...] = ("prose", "mathematics", "qa", "code")

_PROSE: tuple[Profile, ...] = ("prose",)
_SENTENCES: tuple[Profile, ...] = ("prose", "qa")
_LONG: tuple[Profile, ...] = ("prose", "mathematics")
_TEXT: tuple[Profile, ...] = ("prose", "mathematics", "qa")
_CODE: tuple[Profile, ...] = ("code",)


class Rule(NamedTuple):
    """A document of one of these profiles is kept while its score is at least or at most the threshold."""

    name: str
    profiles: tuple[Profile, ...]
    score: Score
    keep: Literal["at least", "at most"]
    threshold: float
    source: str

    def fails(self, value: float) -> bool:
        """Whether a document with this score goes."""
        return value < self.threshold if self.keep == "at least" else value > self.threshold


_GOPHER = "Gopher (arXiv 2112.11446), table A1"
_C4 = "C4 (arXiv 1910.10683)"
_REFINEDWEB = "RefinedWeb (arXiv 2306.01116): 0.05 of words; the lines are those of its capitals rule"
_FINEWEB = "FineWeb (arXiv 2406.17557)"
_STARCODER = "StarCoder (arXiv 2305.06161)"
_OURS = "ours"
_PHI4 = "ours; the kind of rule is phi-4's (§2.3)"

RULES: tuple[Rule, ...] = (
    Rule("ours_bad_characters", (*_TEXT, "code"), scores.bad_characters, "at most", 0.005, _PHI4),
    Rule("ours_odd_pairs", _SENTENCES, scores.odd_pairs, "at most", 0.10, _PHI4),
    Rule("ours_packed_max", _TEXT, scores.packed, "at most", 0.80, _PHI4),
    Rule("ours_links", _TEXT, scores.links, "at most", 0.5, _OURS),
    Rule("ours_boilerplate", _PROSE, scores.boilerplate, "at most", 0.5, _OURS),
    Rule("c4_lorem_ipsum", _TEXT, scores.lorem_ipsum, "at most", 0, _C4),
    Rule("c4_curly_lines", _PROSE, scores.curly_lines, "at most", 0.5, f"ours; {_C4} allows none"),
    Rule("ours_sales", _PROSE, scores.sales, "at most", 3.0, _OURS),
    Rule("gopher_words_min", _PROSE, scores.n_words, "at least", 50, _GOPHER),
    Rule("ours_words_min", ("mathematics", "qa"), scores.n_words, "at least", 20, _OURS),
    Rule("gopher_words_max", _TEXT, scores.n_words, "at most", 100_000, _GOPHER),
    Rule("gopher_word_length_min", _PROSE, scores.word_length, "at least", 3, f"{_GOPHER}; ours but for English"),
    Rule("gopher_word_length_max", _SENTENCES, scores.long_words, "at most", 10, f"{_GOPHER}; ours but for English"),
    Rule("gopher_hashes", _LONG, scores.hashes, "at most", 0.1, _GOPHER),
    Rule("gopher_ellipses", _TEXT, scores.ellipses, "at most", 0.1, _GOPHER),
    Rule("gopher_bullets", _LONG, scores.bullets, "at most", 0.9, _GOPHER),
    Rule("gopher_ellipsis_lines", _TEXT, scores.ellipsis_lines, "at most", 0.3, _GOPHER),
    Rule("gopher_letters", _PROSE, scores.letters, "at least", 0.8, _GOPHER),
    Rule("ours_letters", ("mathematics", "qa"), scores.letters, "at least", 0.5, _OURS),
    Rule(
        "c4_policy_lines",
        _PROSE,
        scores.sentences_beside_policy,
        "at least",
        3,
        f"{_C4}: 3 in the paper, 5 in its code",
    ),
    Rule("refinedweb_capital_lines", _TEXT, scores.capital_lines, "at most", 0.05, _REFINEDWEB),
    Rule("gopher_duplicate_paragraphs", _TEXT, scores.duplicate_paragraphs, "at most", 0.30, _GOPHER),
    Rule(
        "gopher_duplicate_paragraph_characters", _TEXT, scores.duplicate_paragraph_characters, "at most", 0.20, _GOPHER
    ),
    Rule("gopher_duplicate_lines", _TEXT, scores.duplicate_lines, "at most", 0.30, _GOPHER),
    Rule("gopher_duplicate_line_characters", _TEXT, scores.duplicate_line_characters, "at most", 0.20, _GOPHER),
    Rule("gopher_top_2_gram", _LONG, scores.top_gram(2), "at most", 0.20, _GOPHER),
    Rule("gopher_top_3_gram", _LONG, scores.top_gram(3), "at most", 0.18, _GOPHER),
    Rule("gopher_top_4_gram", _LONG, scores.top_gram(4), "at most", 0.16, _GOPHER),
    Rule("gopher_duplicate_5_grams", _PROSE, scores.duplicate_grams(5), "at most", 0.15, _GOPHER),
    Rule("gopher_duplicate_6_grams", _PROSE, scores.duplicate_grams(6), "at most", 0.14, _GOPHER),
    Rule("gopher_duplicate_7_grams", _PROSE, scores.duplicate_grams(7), "at most", 0.13, _GOPHER),
    Rule("gopher_duplicate_8_grams", _PROSE, scores.duplicate_grams(8), "at most", 0.12, _GOPHER),
    Rule("gopher_duplicate_9_grams", _PROSE, scores.duplicate_grams(9), "at most", 0.11, _GOPHER),
    Rule("gopher_duplicate_10_grams", _PROSE, scores.duplicate_grams(10), "at most", 0.10, _GOPHER),
    Rule("gopher_stop_words", _PROSE, scores.stop_words, "at least", 2, _GOPHER),
    Rule("c4_sentences", _PROSE, scores.sentences, "at least", 3, f"{_C4}: 3 in the paper, 5 in its code"),
    Rule("ours_sentences", ("mathematics", "qa"), scores.sentences, "at least", 1, _OURS),
    Rule("ours_duplicate_10_grams", ("mathematics",), scores.duplicate_grams(10), "at most", 0.30, _OURS),
    Rule("ours_packed_min", _TEXT, scores.packed, "at least", 0.10, _PHI4),
    Rule("fineweb_end_marks", _PROSE, scores.end_marks, "at least", 0.12, _FINEWEB),
    Rule("fineweb_short_lines", _PROSE, scores.short_lines, "at most", 0.67, _FINEWEB),
    Rule(
        "fineweb_duplicate_line_characters",
        _PROSE,
        scores.duplicate_line_characters,
        "at most",
        0.10,
        f"{_FINEWEB}: 0.1 as published, 0.01 as coded",
    ),
    Rule("fineweb_newlines", _PROSE, scores.newlines, "at most", 0.3, _FINEWEB),
    Rule(
        "ours_quality",
        _TEXT,
        scores.quality,
        "at least",
        1.0,
        "ours, low as befits a proxy; FineWeb-Edu: 3 of a teacher's 5",
    ),
    Rule("starcoder_longest_line", _CODE, code_scores.longest_line, "at most", 1000, _STARCODER),
    Rule("starcoder_mean_line", _CODE, code_scores.mean_line, "at most", 100, _STARCODER),
    Rule("starcoder_alphanumeric", _CODE, code_scores.alphanumeric, "at least", 0.25, _STARCODER),
    Rule("starcoder_comments_min", _CODE, code_scores.comments, "at least", 0.01, _STARCODER),
    Rule("starcoder_comments_max", _CODE, code_scores.comments, "at most", 0.8, _STARCODER),
    Rule("starcoder_data_min", _CODE, code_scores.data_size, "at least", 50, f"{_STARCODER}: JSON and YAML"),
    Rule("starcoder_data_max", _CODE, code_scores.data_size, "at most", 5000, f"{_STARCODER}: JSON and YAML"),
    Rule("ours_generated", _CODE, code_scores.generated, "at most", 0, _OURS),
    Rule("ours_parses", _CODE, code_scores.parses, "at least", 1, _OURS),
)
"""The first that fails names the drop."""


def select_rules(thresholds: Mapping[str, float] | None = None, without: Sequence[str] = ()) -> tuple[Rule, ...]:
    """The rules in force: the table with some thresholds replaced and some rules left out, "*" all of them."""
    given = thresholds or {}
    _check_names([*given, *(name for name in without if name != "*")], [rule.name for rule in RULES], "rule")
    if "*" in without:
        return ()
    return tuple(
        rule._replace(threshold=given.get(rule.name, rule.threshold)) for rule in RULES if rule.name not in without
    )


def score(text: str, profile: Profile, rules: Sequence[Rule] = RULES, meta: Mapping[str, Any] = {}) -> dict[str, float]:
    """Every score of a text by the name of its rule; those that say nothing of such a text are left out.

    Of `meta`, a document's, are read: language (English without), syntax, link_share, chrome_share, quality.
    """
    measured = Measured(text, meta)
    values = ((rule.name, rule.score(measured)) for rule in rules if profile in rule.profiles)
    return {name: round(float(value), 6) for name, value in values if value is not None}


def decide(values: Mapping[str, float], rules: Sequence[Rule] = RULES) -> Drop | None:
    """The first rule that the scores fail, with its value and the others that fail; None for a text to keep."""
    _check_names(values, {rule.name for rule in rules}, "score")
    failed = [rule for rule in rules if rule.name in values and rule.fails(values[rule.name])]
    if not failed:
        return None
    first, *others = failed
    return Drop(first.name, values[first.name], first.threshold, also=tuple(rule.name for rule in others))


def judge(text: str, profile: Profile, rules: Sequence[Rule] = RULES, meta: Mapping[str, Any] = {}) -> Drop | None:
    """Score and decide in one step."""
    return decide(score(text, profile, rules, meta), rules)


def _check_names(names: Collection[str], known: Collection[str], what: str) -> None:
    if unknown := sorted(set(names) - set(known)):
        close = [name for one in unknown for name in get_close_matches(one, sorted(known), 1, 0.75)]
        meant = f"Did you mean {' or '.join(dict.fromkeys(close))}? " if close else ""
        raise UserError(f"No {what} named {', '.join(unknown)}. {meant}The rules are: {', '.join(sorted(known))}.")
