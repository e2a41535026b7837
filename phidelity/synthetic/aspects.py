"""Chats for the four aspects that the model card names: following instructions, honesty, helpfulness, safety.

Instructions are those of `problems/instruction.py`, checked as IFEval checks. Honesty: what can be known is answered,
what cannot is said not to be known, with the reason (phi-4 §4.4, §A.1). Helpfulness: several turns under varied system
messages that change the answer. Safety: the toy policy domain inside longer chats, where a refusal never ends the help.
"""

import random
from collections.abc import Callable, Iterator
from typing import NamedTuple

from phidelity.problems.families import COURSE, assistant_message, family
from phidelity.problems.item import Item
from phidelity.problems.lexicon import PEOPLE
from phidelity.problems.policy import policy_items
from phidelity.problems.prompts import UNKNOWN, last_line
from phidelity.records import Conversation, Message
from phidelity.synthetic.seeds import SOURCE, Bank

SHARES: dict[str, float] = {"instructions": 0.45, "honesty": 0.2, "helpfulness": 0.25, "safety": 0.1}
"""Of the chats (*ours*)."""
_ENGLISH = tuple(one.name for one in COURSE if one.language == "en" and one.area not in ("facts", "Python"))
_PLAIN = (
    "You are a helpful assistant.", "You are a friendly assistant who answers with care.", "Be polite and precise.",
    "You help people with their questions.", "You are an assistant made by Phidelity.", "Answer truthfully.",
)  # fmt: skip
_BRIEF = (
    "Give only the answer.",
    "Be as brief as possible.",
    "Answer with the result alone.",
    "No explanations, please.",
)
_FULL = (
    "Explain every step.",
    "You are a patient teacher.",
    "Show how you found the answer.",
    "Teach while you answer.",
)
_UNKNOWABLE: tuple[tuple[str, str], ...] = (
    ("What did {n} eat yesterday?", "I know nothing about that person."),
    ("Where is {n} at this moment?", "I cannot see where people are."),
    ("What is the name of my sister?", "You have not told me."),
    ("Which number am I thinking of?", "I cannot read thoughts."),
    ("What will the weather be like in {m} weeks?", "Nobody can tell that so long before."),
    ("Who will win the race next year?", "It has not happened yet."),
    ("How many coins are in my pocket?", "I cannot see it."),
    ("What is {n}'s telephone number?", "I do not have such data."),
    ("Which book lies on my table?", "I cannot see your table."),
    ("What will {n} say tomorrow?", "I cannot look into the future."),
)
"""Questions that nobody could answer from here, and why."""
_THANKS = (
    ("Thank you.", "You are welcome."),
    ("Thanks a lot!", "My pleasure."),
    ("That helps.", "I am glad to hear it."),
)
_WHY = ("How did you find that?", "Why?", "Can you show me the steps?", "How does one get there?")
_RULE = ("What is the general rule?", "How do I solve such problems myself?", "Can you explain the method?")
_MORE = ("One more, please: {q}", "And this one? {q}", "Next: {q}", "{q}")


class Chat(NamedTuple):
    """The messages of a chat and what is to be told of it."""

    messages: list[Message]
    meta: dict[str, object]


def aspects(bank: Bank, n: int) -> Iterator[Conversation]:
    """`n` chats, each aspect by its share, in mixed order."""
    plan = [name for name, share in SHARES.items() for _ in range(round(share * n))][:n]
    plan += ["instructions"] * (n - len(plan))
    random.Random(f"{bank.seed}/aspects").shuffle(plan)
    for index, name in enumerate(plan):
        rng = bank.rng("aspects", index)
        chat = _MAKERS[name](bank, rng, index)
        meta = {"family": name, "aspect": name, "language": "en", "turns": len(chat.messages) // 2} | chat.meta
        yield Conversation(id=f"aspects/{index}", messages=tuple(chat.messages), source=SOURCE, meta=meta)


def _instructions(bank: Bank, rng: random.Random, index: int) -> Chat:
    item = bank.take("instruction")
    system = rng.choice(_PLAIN) if rng.random() < 0.3 else ""
    return Chat(_turns(system, [(item.question, item.answer)]), {"instructions": item.meta["instructions"]})


def _honesty(bank: Bank, rng: random.Random, index: int) -> Chat:
    """A question that can be answered and one that cannot, or only one of them."""
    kind = rng.choice(("known", "unknown", "both", "unknowable"))
    turns = []
    if kind in ("known", "both"):
        item = bank.take(rng.choice(("fact", "element", "capital")))
        said = item.meta["sentence"] if item.family == "fact" else item.steps[0]
        turns.append((item.question, str(said)))
    if kind in ("unknown", "both"):
        turns.append((bank.take("unknown").question, UNKNOWN))
    if kind == "unknowable":
        question, reason = rng.choice(_UNKNOWABLE)
        turns.append((question.format(n=rng.choice(PEOPLE), m=rng.randint(5, 40)), f"{UNKNOWN} {reason}"))
    rng.shuffle(turns)
    return Chat(_turns(rng.choice(("", *_PLAIN)), turns), {"kind": kind})


def _helpfulness(bank: Bank, rng: random.Random, index: int) -> Chat:
    """A problem, then what a user may want next: the steps, the rule, another problem, thanks."""
    of = rng.choice(_ENGLISH)
    item = bank.take(of)
    style = rng.choice(("brief", "full", "plain"))
    system = {"brief": rng.choice(_BRIEF), "full": rng.choice(_FULL), "plain": rng.choice(("", *_PLAIN))}[style]
    answer = item.answer if style == "brief" else assistant_message(item)
    turns = [(item.question, answer)]
    follow = rng.choice(("why", "rule", "more", "thanks"))
    if follow == "why" and style == "brief":
        turns.append((rng.choice(_WHY), "\n".join((*item.steps, last_line(item.answer)))))
    elif follow in ("why", "rule"):
        turns.append((rng.choice(_RULE), rng.choice(family(of).lesson)))
    elif follow == "more":
        other = bank.take(of)
        turns.append((rng.choice(_MORE).format(q=other.question), _as(other, style)))
    if follow == "thanks" or rng.random() < 0.2:
        turns.append(rng.choice(_THANKS))
    return Chat(_turns(system, turns), {"style": style, "follow": follow, "problem": of})


def _as(item: Item, style: str) -> str:
    return item.answer if style == "brief" else assistant_message(item)


def _safety(bank: Bank, rng: random.Random, index: int) -> Chat:
    """A restricted request or its benign twin after ordinary talk; then the talk goes on."""
    policy = policy_items("train", bank.seed, index + 1)[index]
    turns = [(policy.request, policy.answer)]
    item = bank.take(rng.choice(("capital", "element")))
    other = (item.question, str(item.steps[0]))
    turns = [other, *turns] if rng.random() < 0.5 else [*turns, other]
    meta: dict[str, object] = {"restricted": policy.restricted, "hazard": policy.hazard}
    return Chat(_turns(rng.choice(("", *_PLAIN)), turns), meta)


def _turns(system: str, turns: list[tuple[str, str]]) -> list[Message]:
    messages = [Message(role="system", content=system)] if system else []
    for question, answer in turns:
        messages += [Message(role="user", content=question), Message(role="assistant", content=answer)]
    return messages


_MAKERS: dict[str, Callable[[Bank, random.Random, int], Chat]] = {
    "instructions": _instructions, "honesty": _honesty, "helpfulness": _helpfulness, "safety": _safety,
}  # fmt: skip
