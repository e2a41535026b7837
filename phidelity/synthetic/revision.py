"""Pipeline e: drafts that are criticised by a numeric rubric and revised until the score stops rising (phi-4 §2.2).

Each round the teacher marks the text on four criteria and says what to mend, then mends it. The best text seen is
kept, so a revision that makes things worse costs a round and nothing else. Criteria and limits are ours; the report
shows criteria with scores and suggestions in its appendix D.1.2.
"""

from collections.abc import Iterator, Sequence

from phidelity.records import Document
from phidelity.synthetic.desk import Desk, Excerpt, Job
from phidelity.synthetic.replies import json_object, marks

CRITERIA = ("accuracy", "clarity", "depth", "independence")
HIGHEST, ROUNDS = 10, 4
LEAST_MEAN = 6.0
"""The mean mark that the best text needs (*ours*)."""


def revision(desk: Desk, excerpts: Sequence[Excerpt], n: int) -> Iterator[Document]:
    """Lessons grown from excerpts, each the best of its revisions."""
    jobs = desk.jobs("revision", excerpts, n)
    for job, reply in desk.one(jobs, "lesson", lambda job: {"passage": job.excerpt.text}):
        job.notes["text"] = reply
    revise(desk, jobs)
    for job in jobs:
        if job.dropped:
            continue
        if job.verdicts["best_mean"] < LEAST_MEAN:
            desk.drop(job, "poor_in_the_end")
        else:
            yield desk.document(job, job.notes["best"], "synthetic")


def revise(desk: Desk, jobs: Sequence[Job], rounds: int = ROUNDS) -> None:
    """Leave the best text of each living job in `notes["best"]`, its marks in `scores` and the course in `verdicts`.

    A job stops at the first score that is no higher than the best before it, at full marks, or after `rounds`
    revisions. A critique that cannot be read ends a job's revision, and drops it where it was the first.
    """
    open_jobs = [job for job in jobs if not job.dropped]
    for job in open_jobs:
        job.verdicts["means"] = []
    for turn in range(rounds + 1):
        open_jobs = _criticise(desk, open_jobs)
        if turn == rounds:
            break
        revised = desk.one(
            open_jobs, "revise", lambda job: {"text": job.notes["text"], "critique": job.notes["critique"]}
        )
        for job, reply in revised:
            job.notes["text"] = reply
        open_jobs = [_saved(desk, job) for job in open_jobs]
        open_jobs = [job for job in open_jobs if job.notes["is_open"]]


def _criticise(desk: Desk, jobs: Sequence[Job]) -> list[Job]:
    """Mark the present text of each job; those whose score rose and can rise further stay open."""
    rising = []
    for job, reply in desk.one(jobs, "critique", lambda job: {"text": job.notes["text"]}):
        value = json_object(reply)
        found = marks(value, CRITERIA, HIGHEST)
        if found is None:
            if "best" not in job.notes:
                desk.drop(job, "no_marks")
            continue
        mean = sum(found.values()) / len(found)
        job.verdicts["means"].append(round(mean, 3))
        if "best" in job.notes and mean <= job.verdicts["best_mean"]:
            continue
        job.notes |= {"best": job.notes["text"], "critique": str((value or {}).get("suggestion", ""))}
        job.scores, job.verdicts["best_mean"] = found, round(mean, 3)
        if mean < HIGHEST:
            rising.append(job)
    for job in jobs:
        if job.dropped and "best" in job.notes:
            _saved(desk, job)
    return rising


def _saved(desk: Desk, job: Job) -> Job:
    """A job whose revision failed keeps its best text: it is no longer dropped, only no longer open."""
    job.notes["is_open"] = not job.dropped
    if job.dropped and "best" in job.notes:
        desk.restore(job)
    return job
