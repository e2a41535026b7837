"""Reference works: the almanac of the closed world, sets of questions and answers, and lists for recall.

The almanac tells every fact about equally often, in small groups in mixed order, always by the same sentence; it
never asks. Questions are asked only of facts of the training split, so a test question is new although its fact
is not. Recall lists are long: a question at the end goes back to one of many lines.
"""

import random
from collections.abc import Iterator
from itertools import product

from phidelity.problems.families import user_message
from phidelity.problems.item import Item
from phidelity.problems.lexicon import NAMES, things
from phidelity.problems.world import CHAINS, ENTITIES, FACTS, Fact, chain_split, facts_of
from phidelity.records import Document
from phidelity.synthetic.seeds import Bank, document
from phidelity.synthetic.textbooks import solved

_TRAIN_CHAINS = tuple(pair for pair in CHAINS if chain_split(*pair) == "train")
_KEYS = tuple(product(NAMES, things("en")))
_GROUP = 6
"""Facts in one entry of an almanac; small enough for a context of 128."""


def almanac(bank: Bank, editions: int) -> Iterator[Document]:
    """`editions` almanacs; each tells all facts once, in turn by thing, by attribute, and as chains besides."""
    index = 0
    for edition in range(editions):
        rng = bank.rng("almanac", edition)
        order = _by_thing(rng) if edition % 2 == 0 else _by_attribute(rng)
        entries = [order[start : start + _GROUP] for start in range(0, len(order), _GROUP)]
        chained = [fact for pair in rng.sample(_TRAIN_CHAINS, len(_TRAIN_CHAINS) // 2) for fact in pair]
        entries += [chained[start : start + _GROUP] for start in range(0, len(chained), _GROUP)]
        for facts in entries:
            text = " ".join(fact.sentence for fact in facts)
            yield document("almanac", "acquired", text, bank, index, family="fact")
            index += 1


def question_sets(bank: Bank, n: int) -> Iterator[Document]:
    """Questions with answers: facts and short lists four at a time, and questions with options one at a time."""
    kinds = ("fact", "recall", "choice_sum", "choice_fact", "recall", "choice_chain", "choice_largest")
    for index in range(n):
        kind = kinds[index % len(kinds)]
        if kind == "fact":
            items = [bank.take("fact") for _ in range(3)] + [bank.take("unknown")]
            bank.rng("question_sets", index).shuffle(items)
            text = "\n".join(f"{item.question} {item.meta['sentence']}" for item in items)
        elif kind == "recall":
            text = _list(bank.rng("question_sets", index), n_lines=4, n_asked=4)
        else:
            text = _with_options(bank.take(kind), bank.rng("question_sets", index).random() < 0.5)
        yield document("question_sets", "acquired", text, bank, index, family=kind)


def recall_lists(bank: Bank, n: int) -> Iterator[Document]:
    """Long lists of who has what, with questions about single lines at the end."""
    for index in range(n):
        rng = bank.rng("recall_lists", index)
        text = _list(rng, n_lines=rng.randint(30, 48), n_asked=3)
        yield document("recall_lists", "acquired", text, bank, index, family="recall", long=True)


def _list(rng: random.Random, n_lines: int, n_asked: int) -> str:
    """Lines of who has how many of what, and questions that each go back to one of them."""
    keys = rng.sample(_KEYS, n_lines)
    lines = [f"{person} has {rng.randint(2, 99)} {thing}." for person, thing in keys]
    asked = rng.sample(range(n_lines), n_asked)
    return "\n".join((*lines, *(f"How many {keys[n][1]} does {keys[n][0]} have? {lines[n]}" for n in asked)))


def _with_options(item: Item, labelled: bool) -> str:
    options = user_message(item).rsplit("\n", 1)[0].removeprefix(item.question)
    return solved(item, labelled).replace(item.question, item.question + options, 1)


def _by_thing(rng: random.Random) -> list[Fact]:
    """All facts, the four of a thing together."""
    order: list[Fact] = []
    for _, subject in rng.sample(ENTITIES, len(ENTITIES)):
        facts = facts_of(subject)
        order += rng.sample(facts, len(facts))
    return order


def _by_attribute(rng: random.Random) -> list[Fact]:
    """All facts, those of one attribute together."""
    shuffled = rng.sample(FACTS, len(FACTS))
    return sorted(shuffled, key=lambda fact: (fact.kind, fact.attribute))
