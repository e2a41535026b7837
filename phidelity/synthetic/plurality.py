"""Pipeline b: question seeds with the plurality filter (phi-4 §2.2).

The teacher poses a question on an excerpt and answers it several times without seeing the excerpt again. The answer
that most tries agree on is the key. Questions on which all agree are too easy, those without agreement too hard:
both go. A solution is taken from the tries that reached the key (rejection sampling). Window and tries are ours.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from phidelity.grading.answers import answer_line, normalise
from phidelity.records import Document
from phidelity.synthetic.desk import Desk, Excerpt
from phidelity.synthetic.replies import sections

TRIES = 7
LEAST_SHARE, UNANIMOUS = 0.4, 1.0
"""The share of the tries that the key needs, and the one at which a question is too easy (*ours*)."""


class Vote(NamedTuple):
    """What several tries agreed on."""

    key: str
    share: float
    reason: str
    """Why the question goes: `unanimous`, `incoherent`, `tied`; empty for one to keep."""


def plurality(answers: Sequence[str | None], least: float = LEAST_SHARE, unanimous: float = UNANIMOUS) -> Vote:
    """The most frequent answer among tries; None is a try without an answer, which counts against the share."""
    counts = Counter(answer for answer in answers if answer)
    ranked = counts.most_common(2)
    if not ranked:
        return Vote("", 0.0, "incoherent")
    key, n = ranked[0]
    share = n / len(answers)
    if len(ranked) == 2 and ranked[1][1] == n:
        return Vote(key, share, "tied")
    reason = "incoherent" if share < least else "unanimous" if share >= unanimous else ""
    return Vote(key, share, reason)


def question_seeds(desk: Desk, excerpts: Sequence[Excerpt], n: int) -> Iterator[Document]:
    """Questions of middling difficulty with a worked solution that ends in the key."""
    jobs = desk.jobs("question_seeds", excerpts, n)
    for job, reply in desk.one(jobs, "question", lambda job: {"passage": job.excerpt.text}):
        found = sections(reply, "question")
        if found is None or "?" not in found["question"]:
            desk.drop(job, "off_format")
        else:
            job.notes["question"] = found["question"]
    asked = desk.ask(jobs, "solve", lambda job: {"question": job.notes["question"]}, TRIES)
    for job, replies in asked:
        read = [normalise(line) if (line := answer_line(reply)) else None for reply in replies]
        vote = plurality(read + [None] * (TRIES - len(replies)))
        job.verdicts = {"plurality": {"key": vote.key, "share": round(vote.share, 4), "tries": TRIES}}
        if vote.reason:
            desk.drop(job, vote.reason)
            continue
        solution = next(reply for reply, answer in zip(replies, read, strict=True) if answer == vote.key)
        yield desk.document(job, f"{job.notes['question']}\n\n{solution}", "synthetic")
