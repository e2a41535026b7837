"""Which language a text is in, and what the rules must know of it.

Identification is py3langid's: naive Bayes over byte n-grams, with a model that travels in its wheel, here kept to the
languages with a two-letter code. It was chosen by measurement over fastText's small model and lingua
(docs/benchmarks.md). Only some prose at the head of a text is read.
A `Language` holds what differs between languages for the rules of data/rules.py: function words, whether words are
parted by spaces, whether sentences end in marks, and how long words are. The function words are ours but for
English, whose list is Gopher's (arXiv 2112.11446).
"""

import re
from functools import cache
from typing import Any, NamedTuple

_HEAD = 6000
"""Characters among which prose is looked for."""
_READ = 1200
"""Characters that identification reads: more change nothing on whole documents. Both numbers are ours."""
_NO_PROSE = re.compile(r"[{}<>=;|\\`$]|https?:|^\s{4}")
UNKNOWN = "und"
"""ISO 639's code for an undetermined language."""


class Guess(NamedTuple):
    """A language by its ISO 639-1 code, and how sure the model is, from 0 to 1."""

    code: str
    sureness: float


class Language(NamedTuple):
    """What the rules must know of a language."""

    stop_words: frozenset[str] = frozenset()
    """Frequent function words; empty where we have no list."""
    spaced: bool = True
    """Whether blanks part its words; where not, each character of its script counts as a word."""
    marked: bool = True
    """Whether its sentences end in a mark."""
    word: int = 1
    """Characters that make a word where blanks part none: 2 in Chinese and Japanese, 4 in Thai (ours, roughly)."""
    shortest_mean_word: float = 2.0
    longest_mean_word: float = 15.0
    """Characters between which the mean word lies: Gopher's 3 and 10 for English, ours elsewhere."""


def identify(text: str) -> Guess:
    """The language of a text, by its lines of prose where it has some; `UNKNOWN` for a text without a letter."""
    head = text[:_HEAD]
    prose = "\n".join(line for line in head.split("\n") if not _NO_PROSE.search(line))
    read = (prose if 4 * len(prose) > len(head) or len(prose) > _READ // 2 else head)[:_READ]
    if not any(map(str.isalpha, read)):
        return Guess(UNKNOWN, 0.0)
    code, sureness = _model().classify(read)
    return Guess(str(code), round(float(sureness), 4))


def language_of(code: str) -> Language:
    """The profile of a language; of one without a list of its own, the plain one."""
    return LANGUAGES.get(code, _PLAIN)


@cache
def _model() -> Any:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    model = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    model.set_languages([label for label in model.labels if len(label) == 2])
    return model


def _words(text: str) -> Language:
    return Language(frozenset(text.split()))


_PLAIN = Language()
_CHINESE = Language(spaced=False, word=2)
_INDIC = Language(spaced=False, word=4)
_UNMARKED = Language(spaced=False, word=4, marked=False)

LANGUAGES: dict[str, Language] = {
    "en": Language(frozenset(["the", "be", "to", "of", "and", "that", "have", "with"]), True, True, 1, 3.0, 10.0),
    "de": _words("der die und in den von zu das mit ist nicht ein eine auf für sich des dem als auch"),
    "fr": _words("de la le et les des en un une du que est pour dans qui par sur pas au avec"),
    "es": _words("de la que el en y a los del se las por un para con no una su al es"),
    "it": _words("di e il la che in a per un è del della non una i le con si da dei"),
    "pt": _words("de a o que e do da em um para é com não uma os no se na por mais"),
    "nl": _words("de van een het en in is dat op te zijn voor met die niet aan er om"),
    "sv": _words("och i att det som en på är av för med till den har inte om ett"),
    "da": _words("og i at det er en til på som af for den med de har ikke et"),
    "no": _words("og i det er en til på som av for at den med de har ikke et"),
    "fi": _words("ja on ei se että oli hän joka mutta ovat kun myös tai sen jos kuin"),
    "pl": _words("i w na z do nie się że jest o to jak przez po od za dla są"),
    "cs": _words("a v se na je že s z o do i to k ve pro za by ale jako"),
    "ru": _words("и в не на что с как по это он к из а для от о но все за у"),
    "uk": _words("і в не на що з як до у та за для це від про його або є"),
    "tr": _words("ve bir bu için de da ile olarak olan daha çok gibi her ne ya"),
    "id": _words("yang dan di untuk dengan ini dari dalam tidak itu pada adalah ke atau akan"),
    "vi": _words("và của là có các cho không được trong một người với những này"),
    "ar": _words("في من على إلى أن هذا التي عن مع هذه ما كل أو لا كان الذي"),
    "hi": _words("के में की है और से का को पर यह हैं एक नहीं लिए कि इस या"),
    "el": _words("και το να του η της με που την από για είναι στο οι των"),
    "hu": _words("a az és hogy nem is egy van ez de meg vagy mint csak"),
    "ko": Language(),
    "zh": _CHINESE,
    "ja": _CHINESE,
    "th": _UNMARKED,
    "lo": _UNMARKED,
    "km": _INDIC,
    "my": _INDIC,
    "bo": _INDIC,
    "dz": _INDIC,
}
