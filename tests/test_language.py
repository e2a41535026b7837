import json
import os
from collections import Counter
from pathlib import Path

import pytest

from phidelity.language import LANGUAGES, UNKNOWN, identify, language_of

PROBES = Path(os.environ.get("PHI_TEST_DATA", "nowhere")) / "corpus/probes/langid_short.jsonl"
OTHER_NAMES = {
    "arb": "ar",
    "amh": "am",
    "ben": "bn",
    "bul": "bg",
    "cat": "ca",
    "ces": "cs",
    "cmn_hans": "zh",
    "dan": "da",
    "deu_1996": "de",
    "ell_monotonic": "el",
    "eng": "en",
    "eus": "eu",
    "fin": "fi",
    "fra": "fr",
    "heb": "he",
    "hin": "hi",
    "hrv": "hr",
    "hun": "hu",
    "hye": "hy",
    "ind": "id",
    "isl": "is",
    "ita": "it",
    "jpn": "ja",
    "kat": "ka",
    "kor": "ko",
    "lav": "lv",
    "lit": "lt",
    "mlt": "mt",
    "nld": "nl",
    "pes_1": "fa",
    "pol": "pl",
    "por_BR": "pt",
    "ron_2006": "ro",
    "rus": "ru",
    "slk": "sk",
    "slv": "sl",
    "spa": "es",
    "srp_cyrl": "sr",
    "swe": "sv",
    "swh": "sw",
    "tam": "ta",
    "tel": "te",
    "tha": "th",
    "tur": "tr",
    "ukr": "uk",
    "urd": "ur",
    "vie": "vi",
    "yor": "yo",
    "zul": "zu",
}


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("en", "The history of the market town begins with a bridge that the miller built."),
        ("de", "Die Geschichte der kleinen Stadt beginnt mit einer Brücke, die der Müller baute."),
        ("ja", "町の歴史は、粉屋が川にかけた橋から始まります。"),
        ("ru", "История торгового города начинается с моста, который построил мельник."),
    ],
)
def test_a_sentence_is_enough(code, text):
    assert identify(text).code == code
    assert identify(text * 100).sureness > 0.9


def test_what_has_no_letters_has_no_language():
    assert identify("12 + 3 = 15") == (UNKNOWN, 0.0)
    assert identify("") == (UNKNOWN, 0.0)


def test_prose_around_code_decides_and_not_the_code():
    code = "const value = fetch('https://a.example') => { return request; };\n" * 30
    assert (
        identify(f"```js\n{code}```\n" + "Функция возвращает значение, которое получает компонент. " * 12).code == "ru"
    )


def test_languages_without_a_profile_get_the_plain_one():
    assert language_of("xx").spaced
    assert not language_of("xx").stop_words
    assert not LANGUAGES["ja"].spaced


@pytest.mark.skipif(not PROBES.is_file(), reason="PHI_TEST_DATA is not set")
def test_short_passages_in_49_languages_are_told_apart():
    right, total = Counter(), Counter()
    for row in map(json.loads, PROBES.read_text(encoding="utf-8").splitlines()):
        total[row["lang"]] += 1
        right[row["lang"]] += identify(row["text"]).code == OTHER_NAMES[row["lang"]]
    assert sum(right[name] / total[name] for name in total) / len(total) >= 0.95
