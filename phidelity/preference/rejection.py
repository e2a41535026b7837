"""Rejection sampling: of several answers to a question the best goes on to fine-tuning, by a judge's marks.

Each answer is marked alone. The most accurate wins, then the higher mean of the three marks, then the shorter; a
question whose best answer is less accurate than 4 of 5 has none (thresholds *ours*; phi-4 report §4.1 picks the best of
several generations by a language model).
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from phidelity.completion import Completer, SamplingParams
from phidelity.grading.judge import Verdict, judge_prompt, parse_verdict
from phidelity.preference.judged import Response
from phidelity.preference.oracles import RIGHT
from phidelity.preference.questions import messages_of
from phidelity.records import Conversation, Message

SOURCE = "rejection"


class Best(NamedTuple):
    """A chat for each question with a good answer, and what became of the others."""

    chats: list[Conversation]
    counts: Counter[str]


def best_answers(responses: Mapping[str, Sequence[Response]], judge: Completer, params: SamplingParams) -> Best:
    """Have every answer marked and keep the best of each question."""
    every = [(question, one) for question, answers in responses.items() for one in answers]
    replies = judge.complete([_prompt(one) for _, one in every], params)
    marked: dict[str, list[tuple[Response, Verdict]]] = {question: [] for question in responses}
    counts: Counter[str] = Counter(kept=0)
    for (question, one), reply in zip(every, replies, strict=True):
        verdict = parse_verdict(reply.text)
        if verdict:
            marked[question].append((one, verdict))
        counts["marked" if verdict else "off format"] += 1
    chats = []
    for answers in marked.values():
        found = max(answers, key=_rank, default=None)
        if not found or found[1].accuracy < RIGHT:
            counts["question without a good answer" if answers else "question without an answer"] += 1
            continue
        counts["kept"] += 1
        counts["kept and right by the checker"] += found[0].success is True
        chats.append(_chat(*found))
    return Best(chats, counts)


def _rank(one: tuple[Response, Verdict]) -> tuple[int, int, int]:
    response, verdict = one
    return verdict.accuracy, verdict.accuracy + verdict.style + verdict.detail, -len(response.tokens)


def _chat(response: Response, verdict: Verdict) -> Conversation:
    messages = (*messages_of(response.problem), Message(role="assistant", content=response.text))
    meta = {"family": SOURCE, "model": response.model, **verdict.model_dump()}
    return Conversation(id=f"{SOURCE}/{response.problem.id}", messages=messages, source=SOURCE, meta=meta)


def _prompt(response: Response) -> Conversation:
    problem = response.problem
    if problem.checker == "code":
        return judge_prompt(problem.meta["code"], problem.meta["test"], "code", response.text)
    return judge_prompt(problem.prompt, problem.reference, problem.checker, response.text)
