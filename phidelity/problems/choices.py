"""Questions with four options: small sums, comparisons, single facts, and chains of two facts.

A worked answer first finds the value, then goes through the options until one is it (`A) 61 no. B) 71 yes.`), then
gives its letter: naming the letter at once is a step too large for a miniature, which then always says A.
`meta["options"]` holds the options in the order drawn; evaluation may show them in its own.
"""

import random

from phidelity.problems.arithmetic import TINY, draw_operands
from phidelity.problems.columns import Operation, result, work
from phidelity.problems.facts import ask
from phidelity.problems.item import Draft, Family, Item, Split, Stratum, draw_stratum, split_of
from phidelity.problems.lexicon import NAMES
from phidelity.problems.prompts import LETTERS
from phidelity.problems.world import CHAINS, FACTS, chain_split, fact_split, facts_of, name, values

_SUMS = ("What is {a} {sign} {b}?", "Find {a} {sign} {b}.", "{a} {sign} {b} is which number?")
_LARGEST = ("Who has the most?", "Which of them has the most?", "Who has more than all others?")
_CHAINS = (
    "What is the {second} of {subject}'s {first}?",
    "Tell me the {second} of {subject}'s {first}.",
    "{subject}'s {first} has which {second}?",
)
_SPLITS: tuple[Split, ...] = ("train", "development", "test")
_FACTS = {split: [fact for fact in FACTS if fact_split(fact) == split] for split in _SPLITS}
_PAIRS = {split: [pair for pair in CHAINS if chain_split(*pair) == split] for split in _SPLITS}


def draw_sum(rng: random.Random, split: Split) -> Draft:
    """Draw `What is 23 + 48?` with four numbers to choose from."""
    stratum = draw_stratum(rng, split)
    operation: Operation = rng.choice(("+", "-", "*"))
    a, b = draw_operands(rng, (operation,), split, "range" if stratum == "range" else "seen", TINY)
    value = result(a, operation, b)
    near = [value + step for step in (-20, -10, -2, -1, 1, 2, 10, 20) if value + step > 0]
    wording = _wording(rng, _SUMS, stratum)
    question = _SUMS[wording].format(a=a, sign=operation, b=b)
    meta = {"subject": "elementary_mathematics", "operands": [a, b], "operations": [operation]}
    return _draft(rng, question, (work(a, operation, b).text,), str(value), near, wording, stratum, meta)


def draw_largest(rng: random.Random, split: Split) -> Draft:
    """Draw four people with so many things each: who has the most?"""
    stratum: Stratum = "template" if split == "test" and rng.random() < 0.4 else "seen"
    while True:
        people, counts = rng.sample(NAMES, 4), rng.sample(range(11, 100), 4)
        if split_of("largest", *sorted(counts)) == split:
            break
    wording = _wording(rng, _LARGEST, stratum)
    said = ", ".join(f"{person} has {count}" for person, count in zip(people, counts, strict=True))
    best = max(counts)
    winner = people[counts.index(best)]
    meta = {"subject": "number_comparison", "counts": dict(zip(people, counts, strict=True))}
    others = [person for person in people if person != winner]
    step = f"The largest number is {best}. {winner} has {best}."
    return _draft(rng, f"{said}. {_LARGEST[wording]}", (step,), winner, others, wording, stratum, meta)


def draw_fact_choice(rng: random.Random, split: Split) -> Draft:
    """Draw a question for a fact of the closed world, with four values to choose from."""
    stratum: Stratum = "template" if split == "test" and rng.random() < 0.4 else "seen"
    fact = rng.choice(_FACTS[split])
    wording = 3 if stratum == "template" else rng.randrange(3)
    question = ask(wording, fact.attribute, name(fact.kind, fact.subject))
    others = [value for value in values(fact.kind, fact.attribute) if value != fact.value]
    meta = {"subject": f"world_{_PLURAL[fact.kind]}", "chain": [[fact.subject, fact.attribute]]}
    return _draft(rng, question, (fact.sentence,), fact.value, others, wording, stratum, meta)


def draw_chain(rng: random.Random, split: Split) -> Draft:
    """Draw a question that needs two facts, one after the other."""
    stratum: Stratum = "template" if split == "test" and rng.random() < 0.4 else "seen"
    first, second = rng.choice(_PAIRS[split])
    wording = _wording(rng, _CHAINS, stratum)
    question = _CHAINS[wording].format(first=first.attribute, second=second.attribute, subject=first.subject)
    others = [value for value in values(second.kind, second.attribute) if value != second.value]
    steps = (f"{first.sentence} {second.sentence}",)
    meta = {
        "subject": "world_chains",
        "chain": [[first.subject, first.attribute], [second.subject, second.attribute]],
    }
    return _draft(rng, question, steps, second.value, others, wording, stratum, meta)


def check(item: Item, answer: str) -> bool:
    """Whether the last letter of `answer` marks the option that the item's meta leads to."""
    letters = [word for word in answer.replace(".", " ").replace(")", " ").split() if word in LETTERS]
    return bool(letters) and item.meta["options"][LETTERS.index(letters[-1])] == _value(item)


def _value(item: Item) -> str:
    meta = item.meta
    if "operands" in meta:
        (a, b), (operation,) = meta["operands"], meta["operations"]
        return str(a + b if operation == "+" else a - b if operation == "-" else a * b)
    if "counts" in meta:
        return max(meta["counts"], key=lambda person: meta["counts"][person])
    subject = meta["chain"][0][0]
    for _, attribute in meta["chain"]:
        subject = next(fact.value for fact in facts_of(subject) if fact.attribute == attribute)
    return subject


def _draft(
    rng: random.Random,
    question: str,
    steps: tuple[str, ...],
    value: str,
    others: list[str] | list[int],
    wording: int,
    stratum: Stratum,
    meta: dict[str, object],
) -> Draft:
    options = [value, *map(str, rng.sample(others, 3))]
    rng.shuffle(options)
    place = options.index(value)
    letter = LETTERS[place]
    wrong = [f"{LETTERS[n]}) {options[n]} no." for n in range(place)]
    steps = (*steps, " ".join((*wrong, f"{letter}) {value} yes.")))
    return Draft(question, steps, letter, wording, stratum, {**meta, "options": options, "value": value})


def _wording(rng: random.Random, wordings: tuple[str, ...], stratum: Stratum) -> int:
    return len(wordings) - 1 if stratum == "template" else rng.randrange(len(wordings) - 1)


_PLURAL = {"town": "towns", "person": "people", "river": "rivers"}
CHOICES = (
    Family("choice_sum", "en", "letter", draw_sum, check, {"train": 2, "template": 1}),
    Family("choice_largest", "en", "letter", draw_largest, check, {"train": 2, "template": 1}),
    Family("choice_fact", "en", "letter", draw_fact_choice, check, {"train": 3, "template": 1}),
)
CHAIN = Family("choice_chain", "en", "letter", draw_chain, check, {"train": 2, "template": 1})
