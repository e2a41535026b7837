"""Pipeline h: conversations of several turns grown from a snippet by two agents (phi-4 §2.2, App. D.1.3).

One agent asks in the manner of a profile, the other answers; each sees what was said before. The answering agent sees
the snippet, too, and its answer must be understood without it. A conversation is as long as its turns are good: one
that cannot be used ends it, and two exchanges are the least.
"""

import re
from collections.abc import Iterator, Sequence

from phidelity.records import Conversation, Message
from phidelity.synthetic.desk import Desk, Excerpt, Job
from phidelity.synthetic.replies import sections

PROFILES = (
    "a curious beginner who asks for examples", "an engineer who wants to know the limits of what is said",
    "a pupil who misunderstands one thing and wants it put right", "a journalist who asks for plain words",
    "a student who relates everything to another subject", "a sceptic who asks how one can know",
)  # fmt: skip
EXCHANGES, LEAST = 3, 2
_LEANS = re.compile(r"\b(?:the|this) (?:passage|excerpt|snippet)\b", re.IGNORECASE)


def dialogues(desk: Desk, excerpts: Sequence[Excerpt], n: int) -> Iterator[Conversation]:
    """Chats of `LEAST` to `EXCHANGES` exchanges."""
    jobs = desk.jobs("dialogue", excerpts, n)
    for job in jobs:
        job.notes |= {"profile": PROFILES[(job.index + desk.seed) % len(PROFILES)], "said": [], "open": True}
    for _ in range(EXCHANGES):
        _speak(desk, [job for job in jobs if job.notes["open"]], "ask", "question")
        _speak(desk, [job for job in jobs if job.notes["open"]], "reply", "answer")
    for job in jobs:
        exchanges = len(job.notes["said"]) // 2
        if exchanges < LEAST:
            desk.drop(job, job.notes.get("fault", "too_few_turns"))
            continue
        job.verdicts = {"exchanges": exchanges, "profile": job.notes["profile"], "ended_by": job.notes.get("fault", "")}
        roles = ("user", "assistant") * exchanges
        said = zip(roles, job.notes["said"], strict=False)
        yield desk.chat(job, [Message(role=role, content=text) for role, text in said])


def _speak(desk: Desk, jobs: Sequence[Job], name: str, section: str) -> None:
    """Add one turn to each conversation, or close those whose turn cannot be used."""
    before = {job.index: len(job.notes["said"]) for job in jobs}
    for job, reply in desk.one(jobs, name, _values):
        found = sections(reply, section)
        if found is None:
            job.notes["fault"] = "off_format"
        elif _LEANS.search(found[section]):
            job.notes["fault"] = "leans_on_passage"
        elif found[section] in job.notes["said"]:
            job.notes["fault"] = "repeats_itself"
        else:
            job.notes["said"].append(found[section])
    for job in jobs:
        if len(job.notes["said"]) == before[job.index]:
            job.notes["open"] = False
            if job.dropped and len(job.notes["said"]) // 2 >= LEAST:
                job.notes["fault"] = job.dropped
                desk.restore(job)


def _values(job: Job) -> dict[str, str | int]:
    names = ("Asker", "Answerer")
    said = "\n".join(f"{names[n % 2]}: {text}" for n, text in enumerate(job.notes["said"]))
    return {"passage": job.excerpt.text, "profile": job.notes["profile"], "said": said or "(nothing yet)"}
