"""Pipeline i: exercises in filling a gap that reasoning can fill (phi-4 §2.2, App. D.2).

The teacher chooses a span of the passage that follows from the rest. Others then see the passage with the gap: each
gives background, reasoning and a guess, and a further one compares the guess with the span. The text is kept with a
reasoning that reached the span (rejection sampling); a gap that nobody fills goes.
"""

from collections.abc import Iterator, Sequence

from phidelity.grading.answers import normalise
from phidelity.records import Document
from phidelity.synthetic.desk import Desk, Excerpt, Job
from phidelity.synthetic.replies import json_object, marks, sections

TRIES = 3
GAP = "____"
SHORTEST, LONGEST = 8, 200
"""Characters of a span (*ours*)."""
LEAST_GRADE = 8
"""Of 10, for a guess in other words (*ours*)."""


def gaps(desk: Desk, excerpts: Sequence[Excerpt], n: int) -> Iterator[Document]:
    """Passages with a gap, a reasoning towards it, and what stood there."""
    jobs = desk.jobs("gaps", excerpts, n)
    for job, reply in desk.one(jobs, "gap_choose", lambda job: {"passage": job.excerpt.text}):
        span = (json_object(reply) or {}).get("span")
        if not isinstance(span, str) or not SHORTEST <= len(span) <= LONGEST:
            desk.drop(job, "off_format")
        elif job.excerpt.text.count(span) != 1 or job.excerpt.text.startswith(span):
            desk.drop(job, "span_not_in_passage")
        else:
            job.notes |= {"span": span, "gapped": job.excerpt.text.replace(span, GAP)}
    for job, replies in desk.ask(jobs, "gap_fill", lambda job: {"passage": job.notes["gapped"]}, TRIES):
        read = [sections(reply, "background", "reasoning", "guess") for reply in replies]
        job.notes["tries"] = [one for one in read if one]
        if not job.notes["tries"]:
            desk.drop(job, "off_format")
            continue
        key = normalise(job.notes["span"])
        exact = [one for one in job.notes["tries"] if normalise(one["guess"]) == key]
        job.notes["try"], job.verdicts["exact"] = (exact or job.notes["tries"])[0], len(exact)
    inexact = [job for job in jobs if not job.dropped and not job.verdicts["exact"]]
    _compare(desk, inexact)
    for job in jobs:
        if not job.dropped:
            yield desk.document(job, _text(job), "code" if job.excerpt.is_code else "synthetic")


def _compare(desk: Desk, jobs: Sequence[Job]) -> None:
    """Grade guesses that are not the span word for word; those graded low go."""
    graded = desk.one(jobs, "gap_grade", lambda job: {"span": job.notes["span"], "guess": job.notes["try"]["guess"]})
    for job, reply in graded:
        grade = marks(json_object(reply), ("grade",), 10)
        if grade is None:
            desk.drop(job, "no_marks")
        elif grade["grade"] < LEAST_GRADE:
            desk.drop(job, "not_recovered")
        else:
            job.scores = grade


def _text(job: Job) -> str:
    attempt = job.notes["try"]
    reasoned = f"{attempt['background']}\n{attempt['reasoning']}"
    return f"Fill the gap.\n\n{job.notes['gapped']}\n\n{reasoned}\nThe gap holds: {job.notes['span']}"
