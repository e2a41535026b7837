"""Run by datatrove's own Python: which texts of a file of JSON strings each of its rules, alone, keeps."""

import json
import sys

from datatrove.data import Document
from datatrove.pipeline.filters import (
    C4QualityFilter,
    FineWebQualityFilter,
    GopherQualityFilter,
    GopherRepetitionFilter,
)

REPETITION = ("dup_line_frac", "dup_para_frac", "dup_line_char_frac", "dup_para_char_frac")
QUALITY = (
    *("min_doc_words", "max_doc_words", "min_avg_word_length", "max_avg_word_length", "min_stop_words"),
    *("max_symbol_word_ratio", "max_bullet_lines_ratio", "max_ellipsis_lines_ratio", "max_non_alpha_words_ratio"),
)
LIMITS = ("min_num_sentences", "min_words_per_line", "max_word_length")
SWITCHES = ("no_terminal_punct", "lorem_ipsum", "javascript", "curly_bracket", "policy")


def repetition(**one):
    return GopherRepetitionFilter(**{**dict.fromkeys(REPETITION), "top_n_grams": (), "dup_n_grams": (), **one})


def quality(**one):
    return GopherQualityFilter(**{**dict.fromkeys(QUALITY), **one})


def c4(**one):
    off = dict.fromkeys(LIMITS, -1) | {f"filter_{name}": False for name in SWITCHES} | {"remove_citations": False}
    return C4QualityFilter(**{**off, **one})


def fineweb(**one):
    off = {"line_punct_thr": -1, "short_line_thr": 2, "char_duplicates_ratio": 2, "new_line_ratio": 1e9}
    return FineWebQualityFilter(**{**off, **one})


RULES = {
    "gopher_words_min": quality(min_doc_words=50),
    "gopher_word_length_min": quality(min_avg_word_length=3),
    "gopher_word_length_max": quality(max_avg_word_length=10),
    "gopher_symbols": quality(max_symbol_word_ratio=0.1),
    "gopher_bullets": quality(max_bullet_lines_ratio=0.9),
    "gopher_ellipsis_lines": quality(max_ellipsis_lines_ratio=0.3),
    "gopher_letters": quality(max_non_alpha_words_ratio=0.8),
    "gopher_stop_words": quality(min_stop_words=2),
    "gopher_duplicate_lines": repetition(dup_line_frac=0.3),
    "gopher_duplicate_line_characters": repetition(dup_line_char_frac=0.2),
    "gopher_duplicate_paragraphs": repetition(dup_para_frac=0.3),
    "gopher_duplicate_paragraph_characters": repetition(dup_para_char_frac=0.2),
    **{f"gopher_top_{n}_gram": repetition(top_n_grams=((n, t),)) for n, t in ((2, 0.2), (3, 0.18), (4, 0.16))},
    **{f"gopher_duplicate_{n}_grams": repetition(dup_n_grams=((n, 0.2 - n / 100),)) for n in range(5, 11)},
    "c4_lorem_ipsum": c4(filter_lorem_ipsum=True),
    "c4_sentences": c4(min_num_sentences=3),
    "fineweb_end_marks": fineweb(line_punct_thr=0.12),
    "fineweb_short_lines": fineweb(short_line_thr=0.67),
    "fineweb_duplicate_line_characters": fineweb(char_duplicates_ratio=0.1),
    "fineweb_newlines": fineweb(new_line_ratio=0.3),
}


def keeps(rule, text):
    try:
        return rule.filter(Document(text=text, id="0")) is True
    except ZeroDivisionError:
        return False


if __name__ == "__main__":
    with open(sys.argv[1], encoding="utf-8") as file:
        for line in file:
            text = json.loads(line)
            print(json.dumps({name: keeps(rule, text) for name, rule in RULES.items()}))
