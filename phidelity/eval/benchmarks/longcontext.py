"""Long contexts in the manner of HELMET (Yen et al. 2024), made procedurally and graded without a judge.

Four kinds, each filled with distractors up to a budget of tokens: `recall` (the value of one key among many), `rag` (a
fact from one of many alike passages), `rerank` (passages in order of relevance, nDCG@10) and `icl` (a label learned
from the examples alone). What is asked and what is right are drawn before the distractors, so grading does not depend
on the tokenizer that the length was counted with. phi-4's report has 8K and 16K (§5, table 3), of other texts.
"""

import math
import random
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from phidelity.eval.benchmark import Benchmark, GradingContext, Row
from phidelity.eval.folder import grouped
from phidelity.grading.answers import answer_line, normalise
from phidelity.records import Problem, Score

Count = Callable[[str], int]

PER_KIND = 25
"""Problems of each kind (*ours*)."""
ROOM = 192
"""Tokens left for the question, the chat's own tokens and the answer (*ours*)."""
BYTES_PER_TOKEN = 2.5
"""For counting without a tokenizer; low, so that the real count stays within the budget (*ours*)."""
TOP = 10

NAMES = "Adela Boris Carla Davor Edith Fabio Greta Hakon Irena Jonas Katja Luisa Marek Nadia Oskar Petra Runa Sven Ulf"
TRADES = (
    "baker binder carver cooper dyer farrier glazier joiner mason potter roofer saddler tanner turner weaver wright"
)
TOWNS = "Arle Bosk Cumb Dorn Elm Fenn Gorse Hythe Inver Jarl Kelm Loxley Marn Nesk Orton Pell Quarn Rusk Selby Tarn"
THINGS = "lamps barrels boats carts clocks doors drums gates hooks jugs kites looms nets ovens ropes sails"
TOPICS = {
    "weather": "rain cloud storm frost thunder breeze hail fog",
    "music": "violin chorus rhythm melody drum organ tune flute",
    "cooking": "soup oven flour butter spice roast kettle dough",
    "sailing": "mast anchor harbour rudder deck rope tide sail",
    "gardens": "rose hedge seed spade lawn bloom soil orchard",
}


def long_context(name: str, n_tokens: int, count: Count | None = None) -> Benchmark:
    """The set at one length; `count` gives a text's tokens, else they are estimated from its bytes."""

    def load(folder: Path) -> list[Problem]:
        return problems(n_tokens, count or estimated_tokens)

    return Benchmark(
        name=name,
        title=f"long context, {n_tokens:,} tokens",
        load=load,
        graders={"corrected": grade},
        measures=measures,
        source="made here, by seed 0; needs no file",
        deviations="in HELMET's manner, not its texts: none of its question answering and summarising by a judge",
        temperature=0.0,
        max_tokens=96,
        graded=True,
    )


def problems(n_tokens: int, count: Count, seed: int = 0, per_kind: int = PER_KIND) -> list[Problem]:
    """`per_kind` problems of each kind whose messages have at most `n_tokens` tokens less the room for an answer."""
    return [
        make(random.Random(f"{seed}/{kind}/{index}"), f"{kind}/{index}", _filler(n_tokens - ROOM, count))
        for kind, make in KINDS.items()
        for index in range(per_kind)
    ]


def estimated_tokens(text: str) -> int:
    """Tokens of a text by its length."""
    return math.ceil(len(text.encode()) / BYTES_PER_TOKEN)


Fill = Callable[[Callable[[], str]], list[str]]
"""Draws lines until the budget is full."""


def _filler(budget: int, count: Count) -> Fill:
    def fill(draw: Callable[[], str]) -> list[str]:
        lines, left = [], budget
        while left > 0:
            line = draw()
            left -= count(line + "\n")
            if left >= 0:
                lines.append(line)
        return lines

    return fill


def _recall(rng: random.Random, name: str, fill: Fill) -> Problem:
    key, value = _code(rng), _code(rng)
    lines = fill(lambda: f"{_code(rng)} = {_code(rng)}")
    return _problem(name, _hidden(rng, [f"{key} = {value}"], lines), f'What stands after "{key} ="?', value)


def _rag(rng: random.Random, name: str, fill: Fill) -> Problem:
    person, year = f"{rng.choice(NAMES.split())} {_code(rng)[:4].title()}", rng.randint(1700, 1990)
    trade, town = rng.choice(TRADES.split()), rng.choice(TOWNS.split())
    fact = f"{person} was a {trade} in {town} and made {_number(rng)} {rng.choice(THINGS.split())} in {year}."

    def other() -> str:
        who = f"{rng.choice(NAMES.split())} {_code(rng)[:4].title()}"
        made = f"{_number(rng)} {rng.choice(THINGS.split())} in {rng.randint(1700, 1990)}"
        return f"{who} was a {rng.choice(TRADES.split())} in {rng.choice(TOWNS.split())} and made {made}."

    return _problem(name, _hidden(rng, [fact], fill(other)), f"In which town did {person} work?", town)


def _rerank(rng: random.Random, name: str, fill: Fill) -> Problem:
    (wanted, other), town = rng.sample(sorted(TOPICS), 2), rng.choice(TOWNS.split())
    grades = {_code(rng)[:5]: grade for grade in (2, 2, 2, 1, 1, 1)}
    relevant = [f"[{code}] {_passage(rng, wanted, town if grade == 2 else None)}" for code, grade in grades.items()]
    lines = fill(lambda: f"[{_code(rng)[:5]}] {_passage(rng, other, None)}")
    asked = (
        f"Which passages are about {wanted} in {town}? Rank the ten most relevant: first those about {wanted} that "
        f"name {town}, then others about {wanted}. Give their codes, the best first, with > between them."
    )
    reference = " ".join(f"{code}:{grade}" for code, grade in grades.items())
    return _problem(name, _hidden(rng, relevant, lines), asked, reference)


def _icl(rng: random.Random, name: str, fill: Fill) -> Problem:
    labels = dict(zip(sorted(TOPICS), rng.sample(range(10, 100), len(TOPICS)), strict=True))
    topic = rng.choice(sorted(TOPICS))

    def example() -> str:
        kind = rng.choice(sorted(TOPICS))
        return f"{_passage(rng, kind, None)} -> {labels[kind]}"

    shown = [f"{_passage(rng, kind, None)} -> {label}" for kind, label in labels.items()]
    asked = f"Which number follows the last line, as in the examples?\n{_passage(rng, topic, None)} ->"
    return _problem(name, _hidden(rng, shown, fill(example)), asked, str(labels[topic]))


KINDS = {"recall": _recall, "rag": _rag, "rerank": _rerank, "icl": _icl}


def grade(problem: Problem, response: str, context: GradingContext) -> Score:
    """Substring match for recall and rag, nDCG@10 for rerank, the first number of the answer for icl."""
    kind = problem.meta["kind"]
    said = answer_line(response) or response.strip()
    if kind == "rerank":
        return _ndcg(problem.reference, said)
    if kind == "icl":
        found = re.search(r"\d+", said)
        is_right = found is not None and found.group() == problem.reference
        return Score(value=float(is_right), extracted=said[:200], explanation=f"expected {problem.reference}")
    is_right = f" {normalise(problem.reference)} " in f" {normalise(said)} "
    return Score(value=float(is_right), extracted=said[:200], explanation=f"expected {problem.reference} in it")


def measures(rows: Sequence[Row]) -> dict[str, float]:
    """The score of each kind."""
    return grouped([(problem.meta["kind"], score.value or 0.0) for problem, score in rows])


def ndcg(grades: Sequence[int], ideal: Sequence[int], top: int = TOP) -> float:
    """Normalised discounted cumulative gain of grades as ordered: gains 2^grade - 1 over log2(place + 1)."""

    def gain(values: Sequence[int]) -> float:
        return sum((2**value - 1) / math.log2(place + 2) for place, value in enumerate(values[:top]))

    return gain(grades) / gain(sorted(ideal, reverse=True))


def _ndcg(reference: str, said: str) -> Score:
    grades = {code: int(grade) for code, _, grade in (pair.partition(":") for pair in reference.split())}
    order = list(dict.fromkeys(re.findall(r"[a-z]{5}", said.lower())))
    value = ndcg([grades.get(code, 0) for code in order], list(grades.values()))
    return Score(value=value, extracted=" > ".join(order[:TOP]), explanation=f"nDCG@{TOP} {value:.3f} of {reference}")


def _problem(name: str, lines: Sequence[str], asked: str, reference: str) -> Problem:
    text = "\n".join(lines)
    prompt = (
        f'Read the lines and answer the question below them.\n\n{text}\n\n{asked}\nEnd with "Answer: " and the answer.'
    )
    return Problem(
        id=name, prompt=prompt, reference=reference, checker="longcontext", meta={"kind": name.split("/")[0]}
    )


def _hidden(rng: random.Random, needles: Sequence[str], lines: list[str]) -> list[str]:
    """The lines with the needles at places of their own; as many lines fall out as needles come in."""
    lines = lines[: max(len(lines) - len(needles), 0)]
    for needle in needles:
        lines.insert(rng.randint(0, len(lines)), needle)
    return lines


def _passage(rng: random.Random, topic: str, town: str | None) -> str:
    first, second, third = rng.sample(TOPICS[topic].split(), 3)
    return f"The {first} and the {second} had to do with the {third}{f' of {town}' if town else ''} that year."


def _code(rng: random.Random) -> str:
    return "".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=7))


def _number(rng: random.Random) -> int:
    return rng.randint(2, 99)
