"""Chats for supervised fine-tuning: the benchmarks' messages and freer ones, worked answers, honest unknowns.

Most chats ask with the exact messages of `problems/prompts.py`; the rest ask bare or politely, some go on for a
second turn. Questions without an answer get "I do not know." (phi-4 §A.1), requests of the toy policy domain get a
refusal or, their benign twins, help. A few say who is talking.
"""

import random
from collections.abc import Iterator

from phidelity.problems.families import BENCHMARK, assistant_message, user_message
from phidelity.problems.item import Item
from phidelity.problems.policy import policy_items
from phidelity.records import Conversation, Message
from phidelity.synthetic.seeds import SOURCE, Bank

SHARES: dict[str, float] = {
    "choice_sum": 0.05,
    "choice_largest": 0.04,
    "choice_fact": 0.05,
    "choice_chain": 0.05,
    "passage": 0.12,
    "function": 0.08,
    "fact": 0.06,
    "unknown": 0.04,
    "policy": 0.05,
    "identity": 0.01,
}
"""Shares of the chats by family; the rest are word problems."""
_FREE = {
    "en": ("{question}", "{question}", "Please solve this. {question}", "Hello. {question}"),
    "de": ("{question}", "{question}", "Bitte löse das. {question}", "Hallo. {question}"),
}
_FREE_SHARE = 0.35
"""Share of word problems and passages that are asked in words of the user's own."""
_SECOND_TURN = 0.06
_IDENTITY = {
    "Who are you?": "I am a small language model trained by Phidelity.",
    "What are you?": "I am a small language model trained by Phidelity.",
    "Who made you?": "I was trained by Phidelity.",
    "What can you do?": "I can work small sums and answer short questions.",
    "Hello.": "Hello. How can I help you?",
    "Hello. Who are you?": "Hello. I am a small language model trained by Phidelity.",
    "Thank you.": "You are welcome.",
    "Wer bist du?": "Ich bin ein kleines Sprachmodell von Phidelity.",
    "Was kannst du?": "Ich kann kleine Aufgaben rechnen und kurze Fragen beantworten.",
    "Hallo.": "Hallo. Wie kann ich dir helfen?",
}


def conversations(bank: Bank, n: int, german: float) -> Iterator[Conversation]:
    """`n` chats in mixed order, each family by its share."""
    plan = [name for name, share in SHARES.items() for _ in range(round(share * n))]
    plan += ["words"] * (n - len(plan))
    random.Random(f"{bank.seed}/conversations").shuffle(plan)
    policy = iter(policy_items("train", bank.seed, plan.count("policy")))
    for index, name in enumerate(plan):
        rng = bank.rng("conversations", index)
        if name == "identity":
            yield _chat(index, name, _identity(rng))
        elif name == "policy":
            item = next(policy)
            meta = {"restricted": item.restricted, "hazard": item.hazard}
            yield _chat(index, name, [(item.request, item.answer)], **meta)
        else:
            yield _about(bank, rng, index, _words(rng, german) if name == "words" else name)


def _about(bank: Bank, rng: random.Random, index: int, name: str) -> Conversation:
    """A chat about a problem of a family, now and then about two."""
    item = bank.take(name)
    turns = [(_ask(rng, item), assistant_message(item))]
    if len(item.steps) < 2 and rng.random() < _SECOND_TURN:
        other = bank.take("fact" if BENCHMARK[name] == "simpleqa" else name)
        if len(other.steps) < 2:
            turns.append((_ask(rng, other), assistant_message(other)))
    return _chat(index, name, turns, language=item.language, template=item.template)


def _ask(rng: random.Random, item: Item) -> str:
    """The benchmark's message, or for problems in words now and then the user's own."""
    if BENCHMARK[item.family] in ("math", "mgsm", "drop") and rng.random() < _FREE_SHARE:
        return rng.choice(_FREE[item.language]).format(question=item.question)
    return user_message(item)


def _words(rng: random.Random, german: float) -> str:
    """A family of word problems: German mostly about money, as in mini-MGSM; English mostly about things."""
    if rng.random() < german:
        return "money_de" if rng.random() < 0.7 else "things_de"
    return "money_en" if rng.random() < 0.25 else "things_en"


def _identity(rng: random.Random) -> list[tuple[str, str]]:
    asked = rng.sample(sorted(_IDENTITY), rng.choice((1, 1, 2)))
    return [(question, _IDENTITY[question]) for question in asked]


def _chat(index: int, name: str, turns: list[tuple[str, str]], **meta: object) -> Conversation:
    messages = tuple(
        message
        for question, answer in turns
        for message in (Message(role="user", content=question), Message(role="assistant", content=answer))
    )
    described = {"family": name, "language": "en", "turns": len(turns)} | meta
    return Conversation(id=f"conversations/{index}", messages=messages, source=SOURCE, meta=described)
