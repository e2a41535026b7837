"""From a response to what it answers: answer lines, letters, numbers, normalised texts.

These are the *corrected* readings: the last answer line counts, bold, dollars, boxes and a final full stop are
dressing, digits of every script are digits, `1,000`, `1 000` and (where the language writes so) `1.000` are a
thousand. Two different numbers in one answer line are a hedge, not an answer. simple-evals' own readings differ
(first match, last number, ASCII only); its profile comes with the official benchmarks.
"""

import re
import unicodedata
from fractions import Fraction

ANSWER_WORDS = {
    "en": "answer", "de": "antwort", "es": "respuesta", "fr": "réponse", "ru": "ответ", "sw": "jibu",
    "bn": "উত্তর", "ja": "答え", "te": "సమాధానం", "th": "คำตอบ", "zh": "答案",
}  # fmt: skip
"""The word that opens an answer line in the languages of MGSM."""

MAX_ANSWER = 2_000
"""Characters of an answer line that are read; more is no answer."""

_DRESSING = re.compile(r"\*\*|__|`|\$|\\\(|\\\)|\\\[|\\\]|\\boxed|\\text(?:bf|rm|it)?|\\math(?:rm|bf)|\\left|\\right")
_LETTER = re.compile(r"\W*(?:[Oo]ption\s+)?\W*([A-Za-z])(?:\W*$|\s*[).:,;–-]|\s+(?=[A-Z0-9]))")
_ANSWER_IS = re.compile(r"answer is:?\s*(\(?[A-Z]\)?)(?!\w)", re.IGNORECASE)
_NUMBER = re.compile(r"(?<![\w.])[-+]?(?:\d+(?:\.\d+)?|\.\d+)(?:\s*/\s*\d+(?:\.\d+)?)?(?!\d)")
_GROUPED = re.compile(r"(?<![\d.,])(\d{1,3}(?:[ ,'’_]\d{3})+)(?!\d)")
_DOT_GROUPED = re.compile(r"(?<![\d.,])(\d{1,3}(?:\.\d{3})+)(?![\d.])")
_ARTICLES = re.compile(r"\b(?:a|an|the)\b")


def answer_line(response: str, words: tuple[str, ...] = tuple(ANSWER_WORDS.values())) -> str | None:
    """What stands after the last "Answer:" (or one of `words`), on that line or the next; None without one."""
    raw = raw_answer_line(response, words)
    line = undress(raw) if raw is not None else ""
    return line if 0 < len(line) <= MAX_ANSWER else None


def raw_answer_line(response: str, words: tuple[str, ...] = tuple(ANSWER_WORDS.values())) -> str | None:
    """The answer line as it was written, dollars and boxes included."""
    pattern = rf"(?<![^\W_])(?:{'|'.join(map(re.escape, words))})[ \t*_]*[:：][ \t*_]*"
    found = list(re.finditer(pattern, response, re.IGNORECASE))
    return response[found[-1].end() :].lstrip().partition("\n")[0] if found else None


def last_box(response: str) -> str | None:
    """What the last `\\boxed{...}` of a response holds; None without a closed one."""
    start = response.rfind("\\boxed{")
    depth = 0
    for place in range(start + 6, min(len(response), start + MAX_ANSWER)) if start >= 0 else ():
        depth += {"{": 1, "}": -1}.get(response[place], 0)
        if depth == 0:
            return response[start + 7 : place]
    return None


def undress(text: str) -> str:
    """Strip bold, dollars, boxes, `\\text{...}` and the final full stop from a line."""
    bare = _DRESSING.sub("", text).strip()
    while bare.startswith("{") and bare.endswith("}") and len(bare) <= MAX_ANSWER:
        bare = bare[1:-1].strip()
    return bare.rstrip(" .。।").strip() if not bare.endswith("...") else bare


def letter(response: str, letters: str = "ABCD") -> str | None:
    """The option that a response chooses: its answer line, else "the answer is (B)", else a lone letter."""
    line = answer_line(response)
    if line is None:
        said = _ANSWER_IS.findall(response)
        line = said[-1] if said else response.strip() if len(response.strip()) <= 4 else ""
    found = _LETTER.match(unicodedata.normalize("NFKC", line))
    if not found and (said := _ANSWER_IS.findall(line)):
        found = _LETTER.match(said[-1])
    chosen = found.group(1).upper() if found else None
    return chosen if chosen and chosen in letters else None


def number(text: str, decimal_comma: bool = False) -> Fraction | None:
    """The one number of a line, exactly; after `=` if there is one; None without a number or with several."""
    plain = ungroup(_ascii_digits(text[:MAX_ANSWER]), decimal_comma)
    found = {value for token in _NUMBER.findall(plain.rpartition("=")[2]) if (value := _fraction(token)) is not None}
    return found.pop() if len(found) == 1 else None


def normalise(text: str) -> str:
    """Casefold, unify Unicode forms, drop punctuation and English articles, unify spaces and number forms."""
    plain = ungroup(_ascii_digits(unicodedata.normalize("NFKC", text)).casefold(), decimal_comma=False)
    plain = re.sub(r"(?<=\d)\.0+(?!\d)", "", plain)
    plain = re.sub(r"(?<!\d)[.]|[.](?!\d)|[^\w\s.]|_", " ", plain)
    return " ".join(_ARTICLES.sub(" ", plain).split())


def _ascii_digits(text: str) -> str:
    """Digits of any script, the minus sign and all spaces in their ASCII forms."""
    if text.isascii():
        return text
    plain = text.replace("\u2212", "-").replace("\u066b", ".").replace("\u066c", ",")
    plain = "".join(" " if char.isspace() and char not in "\r\n" else char for char in plain)
    return "".join(str(unicodedata.decimal(char)) if char.isdecimal() else char for char in plain)


def ungroup(text: str, decimal_comma: bool) -> str:
    """Take out thousands separators; with `decimal_comma` 1.000 is a thousand and 1,5 is three halves."""
    if decimal_comma:
        text = _DOT_GROUPED.sub(lambda found: found.group(1).replace(".", ""), text)
    text = _GROUPED.sub(lambda found: re.sub(r"\D", "", found.group(1)), text)
    return re.sub(r"(?<=\d),(?=\d)", ".", text) if decimal_comma else text


def _fraction(token: str) -> Fraction | None:
    top, _, bottom = token.replace(" ", "").partition("/")
    divisor = Fraction(bottom) if bottom else Fraction(1)
    return Fraction(top) / divisor if divisor else None
