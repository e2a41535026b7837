"""What the user says in each benchmark: one message, zero-shot, without a system message.

The words are ours, short enough for a model of a million parameters and a context of 256 tokens; the layout of
each follows simple-evals' (question, demand for a last line `Answer: ...`). `synthetic` writes conversations
with the same messages and `eval` asks with them, so they stand here, below both. MATH, GPQA and the others
keep their own words under `--profile parity`.
"""

from collections.abc import Sequence
from typing import Literal

Language = Literal["en", "de"]

MATH = '{question}\nWork step by step. End with "Answer: " and the result.'
MGSM: dict[str, str] = {
    "en": MATH,
    "de": '{question}\nRechne Schritt für Schritt. Schließe mit "Antwort: " und dem Ergebnis.',
    "es": '{question}\nResuelve paso a paso. Termina con "Respuesta: " y el resultado.',
    "fr": '{question}\nRésous pas à pas. Termine par "Réponse: " et le résultat.',
    "ru": '{question}\nРешай по шагам. В конце напиши "Ответ: " и результат.',
    "sw": '{question}\nFanya hatua kwa hatua. Maliza kwa "Jibu: " na matokeo.',
    "bn": '{question}\nধাপে ধাপে সমাধান করো। শেষে "উত্তর: " এবং ফলাফল লেখো।',
    "ja": '{question}\n順を追って計算してください。最後に "答え: " と結果を書いてください。',
    "te": '{question}\nదశలవారీగా లెక్కించండి. చివర "సమాధానం: " మరియు ఫలితం రాయండి.',
    "th": '{question}\nคิดทีละขั้นตอน จบด้วย "คำตอบ: " และผลลัพธ์',
    "zh": '{question}\n请逐步计算。最后写出 "答案: " 和结果。',
}
MULTIPLE_CHOICE = '{question}\n{options}\nEnd with "Answer: " and the letter.'
DROP = '{passage}\n{question}\nEnd with "Answer: " and the answer.'
HUMANEVAL = "Complete this Python function.\n```python\n{prompt}```"
SIMPLEQA = "{question}"

ANSWER_WORD: dict[str, str] = {
    "en": "Answer", "de": "Antwort", "es": "Respuesta", "fr": "Réponse", "ru": "Ответ", "sw": "Jibu", "bn": "উত্তর",
    "ja": "答え", "pt": "Resposta", "it": "Risposta", "hi": "उत्तर", "te": "సమాధానం", "th": "คำตอบ", "zh": "答案",
}  # fmt: skip
"""The word that opens the last line of an answer, in each language."""
UNKNOWN = "I do not know."
"""What is said of a question that has no answer; counts as not attempted."""
LETTERS = "ABCD"


def math(question: str) -> str:
    """The message of a mini-MATH problem."""
    return MATH.format(question=question)


def mgsm(question: str, language: str) -> str:
    """The message of an MGSM problem, in the language of the problem."""
    return MGSM[language].format(question=question)


def multiple_choice(question: str, options: Sequence[str]) -> str:
    """The message of an MMLU or GPQA problem: the question and four options, `A) ...` to `D) ...`."""
    lines = "\n".join(f"{letter}) {option}" for letter, option in zip(LETTERS, options, strict=True))
    return MULTIPLE_CHOICE.format(question=question, options=lines)


def drop(context: str) -> str:
    """The message of a DROP problem, from the `context` of its file: `Passage: ...`, `Question: ...`, `Answer:`."""
    passage, _, rest = context.removeprefix("Passage: ").partition("\nQuestion: ")
    return DROP.format(passage=passage, question=rest.removesuffix("\nAnswer:"))


def humaneval(prompt: str) -> str:
    """The message of a HumanEval problem: the head of a function, to be given back whole in a fenced block."""
    return HUMANEVAL.format(prompt=prompt)


def simpleqa(question: str) -> str:
    """The message of a SimpleQA problem: the bare question."""
    return SIMPLEQA.format(question=question)


def last_line(answer: str, language: str = "en") -> str:
    """The line that closes a worked answer: `Answer: 71`, `Antwort: 71`."""
    return f"{ANSWER_WORD[language]}: {answer}"
