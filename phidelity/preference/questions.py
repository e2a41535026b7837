"""Which problems are asked, and the chat ids that open their answers.

Fact questions go to the pairs on what the model knows, all others to search and judging. The order is random,
so the first n are a sample. Of problems that read alike the first is kept: rollouts are drawn by prompt ids.
"""

import random
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from phidelity.records import Message, Problem
from phidelity.tokenizer.bpe import Tokenizer
from phidelity.tokenizer.chat import render

FACTS = "simpleqa"
"""The benchmark (`meta["benchmark"]`) in whose manner fact questions are put."""


class Question(NamedTuple):
    """A problem and the chat ids that open its answer."""

    problem: Problem
    prompt: tuple[int, ...]


class Asked(NamedTuple):
    """Questions by problem id, and which are to be reasoned about and which are facts, in the order asked."""

    questions: dict[str, Question]
    reasoning: list[str]
    facts: list[str]


def ask(
    problems: Iterable[Problem],
    tokenizer: Tokenizer,
    *,
    n_reasoning: int,
    n_facts: int,
    allow_code: bool,
    rng: random.Random,
) -> Asked:
    """Draw problems of both sorts; programming problems only where their answers may be run."""
    shuffled = [problem for problem in problems if allow_code or problem.checker != "code"]
    rng.shuffle(shuffled)
    questions: dict[str, Question] = {}
    reasoning: list[str] = []
    facts: list[str] = []
    seen: set[tuple[int, ...]] = set()
    for problem in shuffled:
        ids, n = (facts, n_facts) if problem.meta.get("benchmark") == FACTS else (reasoning, n_reasoning)
        prompt = tuple(render(messages_of(problem), tokenizer, generation_prompt=True).ids)
        if len(ids) < n and prompt not in seen and problem.id not in questions:
            seen.add(prompt)
            questions[problem.id] = Question(problem, prompt)
            ids.append(problem.id)
    return Asked(questions, reasoning, facts)


def messages_of(problem: Problem) -> Sequence[Message]:
    """A problem is one user message."""
    return (Message(role="user", content=problem.prompt),)
