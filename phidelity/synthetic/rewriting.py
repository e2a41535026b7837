"""Pipeline d: passages rewritten for an audience in a form: the group of web rewrites (phi-4 §2.2, Table 5).

Every excerpt meets another cell of the grid. What comes back must be in the passage's language, neither a copy of it
nor much shorter or longer, and must not state numbers that the passage does not.
"""

import re
from collections.abc import Iterator, Sequence
from itertools import product

from phidelity.data.dedup import shingles
from phidelity.language import UNKNOWN, identify
from phidelity.records import Document
from phidelity.synthetic.desk import Desk, Excerpt, Job

AUDIENCES = (
    "a child of ten", "a pupil who prepares for an examination", "a student of another subject",
    "a practitioner in a hurry", "somebody who doubts it", "a teacher who plans a lesson",
)  # fmt: skip
FORMS = (
    "a short lesson", "a dialogue between two people", "a list of questions with answers",
    "a chain of reasoning, step by step", "a letter", "an encyclopedia entry", "a set of notes with headings",
)  # fmt: skip
GRID = tuple(product(AUDIENCES, FORMS))
LEAST_RATIO, MOST_RATIO, MOST_COPIED, MOST_NEW_NUMBERS = 0.3, 3.0, 0.5, 0.34
"""Length to the passage's, share of five-word runs taken over, share of numbers that are new (*ours*)."""
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")


def rewriting(desk: Desk, excerpts: Sequence[Excerpt], n: int) -> Iterator[Document]:
    """Rewrites that say in other words what their passages say."""
    jobs = desk.jobs("rewriting", (excerpt for excerpt in excerpts if not excerpt.is_code), n)
    for job in jobs:
        job.notes["audience"], job.notes["form"] = GRID[(job.index * 11 + desk.seed) % len(GRID)]
    for job, reply in desk.one(jobs, "rewrite", lambda job: {"passage": job.excerpt.text, **job.notes}):
        job.verdicts = {"copied": _copied(job, reply), "length": round(len(reply) / len(job.excerpt.text), 3)}
        if reason := _fault(job, reply):
            desk.drop(job, reason)
        else:
            yield desk.document(job, reply, "web_rewrites", **job.notes)


def _fault(job: Job, reply: str) -> str:
    source = job.excerpt.text
    if not LEAST_RATIO <= len(reply) / len(source) <= MOST_RATIO:
        return "length"
    if job.verdicts["copied"] > MOST_COPIED:
        return "copied"
    numbers = _NUMBER.findall(reply)
    new = [number for number in numbers if number not in set(_NUMBER.findall(source)) and len(number) > 1]
    if len(new) > MOST_NEW_NUMBERS * max(3, len(numbers)):
        return "new_numbers"
    spoken = identify(reply).code
    return "language" if spoken not in (job.excerpt.language, UNKNOWN) else ""


def _copied(job: Job, reply: str) -> float:
    """The share of the reply's five-word runs that the passage has, by the shingles of `data/dedup.py`."""
    mine, theirs = shingles(reply), shingles(job.excerpt.text)
    return round(sum(one in theirs for one in mine) / max(1, len(mine)), 4)
