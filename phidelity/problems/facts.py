"""Questions about the closed world: single facts, and what the world does not tell.

The fact of a test question stands in the almanac like any other, only its question is asked nowhere in
training: what is tested is recall in a form learnt from other facts. Stratum `range` holds questions without an
answer about names and attributes kept out of training.
"""

import random

from phidelity.problems.item import Draft, Family, Item, Split
from phidelity.problems.prompts import UNKNOWN
from phidelity.problems.world import (
    ENTITIES,
    FACTS,
    NOWHERE,
    UNTOLD,
    attributes,
    fact_split,
    facts_of,
    name,
    unknown,
)

WORDINGS = (
    "What is the {attribute} of {subject}?",
    "Tell me the {attribute} of {subject}.",
    "{Subject} has which {attribute}?",
    "Which {attribute} does {subject} have?",
)
N_TRAIN_WORDINGS = 3

_BY_SPLIT = {split: [fact for fact in FACTS if fact_split(fact) == split] for split in ("train", "development", "test")}


def ask(wording: int, attribute: str, subject: str) -> str:
    """The question for an attribute in one of the wordings."""
    capital = subject[0].upper() + subject[1:]
    return WORDINGS[wording].format(attribute=attribute, subject=subject, Subject=capital)


def draw_fact(rng: random.Random, split: Split) -> Draft:
    """Draw a question that the world answers."""
    stratum = "template" if split == "test" and rng.random() < 0.4 else "seen"
    fact = rng.choice(_BY_SPLIT[split])
    wording = _wording(rng, stratum)
    question = ask(wording, fact.attribute, name(fact.kind, fact.subject))
    meta = {"kind": fact.kind, "subject": fact.subject, "attribute": fact.attribute, "sentence": fact.sentence}
    return Draft(question, (), fact.value, wording, stratum, meta)


def draw_unknown(rng: random.Random, split: Split) -> Draft:
    """Draw a question that has no answer: a name that is nobody's, or an attribute that is not told."""
    stratum = "seen" if split != "test" else rng.choice(("range", "template"))
    wording = _wording(rng, stratum)
    if rng.random() < 0.5:
        attribute = rng.choice(attributes(rng.choice(("town", "person"))))
        subject = rng.choice(unknown(NOWHERE, split))
        kind = "nobody"
    else:
        attribute = rng.choice(unknown(UNTOLD, split))
        kind, subject = rng.choice(ENTITIES)
    meta = {"kind": kind, "subject": subject, "attribute": attribute, "sentence": UNKNOWN}
    return Draft(ask(wording, attribute, name(kind, subject)), (), UNKNOWN, wording, stratum, meta)


def check_fact(item: Item, answer: str) -> bool:
    """Whether `answer` names the world's value of the attribute and no other value it could have."""
    told = [fact.value for fact in facts_of(item.meta["subject"]) if fact.attribute == item.meta["attribute"]]
    words = answer.replace(".", " ").split()
    others = {fact.value for fact in FACTS if fact.attribute == item.meta["attribute"]} - set(told)
    return bool(told) and told[0] in words and not others & set(words)


def check_unknown(item: Item, answer: str) -> bool:
    """Whether the world tells nothing of what is asked and `answer` says that it is not known."""
    told = [fact for fact in facts_of(item.meta["subject"]) if fact.attribute == item.meta["attribute"]]
    return not told and "not know" in answer


def _wording(rng: random.Random, stratum: str) -> int:
    return rng.randrange(N_TRAIN_WORDINGS) if stratum != "template" else len(WORDINGS) - 1


_COUNTS = {"train": N_TRAIN_WORDINGS, "template": len(WORDINGS) - N_TRAIN_WORDINGS}
FACT = Family("fact", "en", "text", draw_fact, check_fact, _COUNTS)
UNKNOWN_FACT = Family("unknown", "en", "text", draw_unknown, check_unknown, _COUNTS)
