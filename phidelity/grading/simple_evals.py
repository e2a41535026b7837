"""How openai/simple-evals reads answers, bugs kept: the *parity* profile.

After its revisions a8e85cc (November 2024) and ee3b031 (July 2025), described in our own words and code. What is
notable: the first match counts, not the last; letters match in any case but are compared with it; nothing ends the
letter, so `Answer: Because` is B; until January 2025 the letter might stand on the next line; GPQA's answers are not
stripped of bold or dollars, MMLU's are; MGSM takes the last number after the last answer word; HumanEval's program is
cut behind the first `:` that a newline and four spaces follow.
"""

import random
import re
from collections.abc import Sequence
from typing import Literal

Revision = Literal["2024", "2025"]

DRESSING = (
    "**", "$\\boxed{", "}$", "\\$", "$\\text{", "$", "\\mathrm{", "\\{", "\\text", "\\(", "\\mathbf{", "{", "\\boxed",
)  # fmt: skip
"""Taken out of MMLU's responses, one after the other."""

_SPACED = (  # word, spaces, colon
    ("Answer", ":"), ("Answer", ":" + 6 * "\u200b"), ("উত্তর", ":"), ("उत्तर", ":"), ("উত্তরঃ", ""), ("Antwort", ":"),
    ("답변", ":"), ("정답", ":"), ("답", ":"), ("答案", "："), ("答案", ":"), ("答", "："), ("答", ":"), ("答复", "："),
    ("答曰", "："), ("الإجابة:", ""), ("الجواب:", ""), ("إجابة:", ""), ("الإجابة النهائية:", ""),
    ("الإجابة الصحيحة:", ""), ("الإجابة الصحيحة هي:", ""), ("الإجابة هي:", ""), ("الجواب النهائي:", ""),
    ("Respuesta", ":"), ("Risposta", ":"), ("答え", ":"), ("答え", "："), ("回答", ":"), ("回答", "："), ("解答", ":"),
    ("Jawaban", ":"), ("Réponse", ":"), ("Resposta", ":"), ("Jibu", ":"), ("Idahun", ":"), ("Ìdáhùn", ":"),
    ("Idáhùn", ":"), ("A\u0300m\u1ecd\u0300na\u0300", ":"), ("Àdáhùn", ":"),
    ("A\u0300nu\u0301go\u0323", ":"), ("Àṣàyàn", ":"),
)  # fmt: skip
ONLY_2025 = "الجواب النهائي:"
"""The one answer word that came after November 2024."""
LETTERS = {
    "أ": "A", "ب": "B", "ج": "C", "د": "D", "অ": "A", "ব": "B", "ড": "C", "ঢ": "D", "Ａ": "A", "Ｂ": "B", "Ｃ": "C",
    "Ｄ": "D",
}  # fmt: skip
_CHOICE = "([A-D]|[أ-د]|[অ]|[ব]|[ড]|[ঢ]|[Ａ]|[Ｂ]|[Ｃ]|[Ｄ])"


def _patterns(revision: Revision) -> tuple[re.Pattern[str], ...]:
    gap = r"\s*" if revision == "2024" else r"[ \t]*"
    words = [pair for pair in _SPACED if revision == "2025" or pair[0] != ONLY_2025]
    heads = [word + (rf"\s*{colon}" if colon else "") for word, colon in words]
    return tuple(re.compile(f"(?i){head}{gap}{_CHOICE}") for head in heads)


_ANY_LETTER = {"2024": _patterns("2024"), "2025": _patterns("2025")}
_LETTER = {
    "2024": re.compile(r"(?i)Answer\s*:\s*([A-D])"),
    "2025": re.compile(r"(?i)Answer[ \t]*:[ \t]*\$?([A-D])\$?"),
}
_ANSWER = re.compile(r"(?i)Answer\s*:\s*([^\n]+)")
_NUMBER = re.compile(r"\d+\.?\d*")
_FENCE = re.compile(r"```python\n(.*?)```", re.DOTALL)
MISSING = frozenset((
    "", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A", "NA",
    "NULL", "NaN", "None", "n/a", "nan", "null",
))  # fmt: skip
"""What pandas reads as a missing value, and prints as `nan`."""


def mmlu_letter(response: str, revision: Revision) -> str | None:
    """MMLU's reading: dressing out, the first answer word of the list that matches, its first match."""
    for token in DRESSING:
        response = response.replace(token, "")
    found = next((match for one in _ANY_LETTER[revision] if (match := one.search(response))), None)
    if found is None:
        return None
    letter = found.group(1)
    return LETTERS.get(letter, letter)


def gpqa_letter(response: str, revision: Revision) -> str | None:
    """GPQA's reading: the first English answer word with a letter, nothing stripped."""
    found = _LETTER[revision].search(response)
    return found.group(1) if found else None


def answer(response: str) -> str | None:
    """MATH's and DROP's reading: the rest of the line after the first answer word."""
    found = _ANSWER.search(response)
    return found.group(1) if found else None


def mgsm_number(response: str, word: str) -> str:
    """MGSM's reading: the last number after the last answer word of the language; empty without either."""
    if word not in response:
        return ""
    numbers = _NUMBER.findall(response.split(word)[-1].strip().replace(",", ""))
    return numbers[-1].rstrip(".") if numbers else ""


def mgsm_equal(target: str, prediction: str) -> bool:
    """MGSM's comparison: as text, without commas and a decimal tail of zeros."""
    if "." in prediction:
        prediction = prediction.rstrip("0").rstrip(".")
    return target.replace(",", "") == prediction.replace(",", "")


def humaneval_completion(response: str) -> str:
    """HumanEval's reading: the first ```python block, else all, behind the first colon, newline and four spaces.

    Without such a place the search gives -1, and the cut takes the first character away.
    """
    blocks = _FENCE.findall(response)
    text = blocks[0] if blocks else response
    return text[text.find(":\n    ") + 2 :]


def simpleqa_letter(reply: str) -> str:
    """SimpleQA's reading of its judge: the first A, B or C anywhere, else C. (CORRECT is C, NOT_ATTEMPTED is A.)"""
    found = re.search("[ABC]", reply)
    return found.group() if found else "C"


def says_yes(reply: str) -> bool:
    """MATH's reading of its judge: exactly yes, in any case."""
    return reply.lower().strip() == "yes"


def as_pandas(text: str) -> str:
    """A cell as simple-evals prints it after pandas has read it: what looks like a missing value is `nan`."""
    return "nan" if text in MISSING else text


def option_orders(n: int, repeats: int) -> Sequence[Sequence[int]]:
    """GPQA's option orders: one generator, one draw per (repeat, row) in order; `repeats` x `n` permutations."""
    rng = random.Random(0)
    return [rng.sample(range(4), 4) for _ in range(n * repeats)]
