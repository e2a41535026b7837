"""Pipeline j: trajectories of an agent in a small text environment (phi-4 §2.2, App. D.3).

Each step the teacher sees goal, history and the present view, and writes analysis, plan and action; the environment
answers. Only trajectories that reach the goal are kept, and not those that wander far beyond the shortest way.
"""

from collections.abc import Iterator

from phidelity.records import Document
from phidelity.synthetic.desk import NOWHERE, Desk, Job
from phidelity.synthetic.replies import sections
from phidelity.synthetic.rooms import State, draw

SLACK = 2.0
"""Steps allowed, as a multiple of the shortest way (*ours*)."""
MOST_INVALID = 2
"""Actions that may do nothing (*ours*)."""


def trajectories(desk: Desk, n: int) -> Iterator[Document]:
    """Successful walks, each step with its thoughts."""
    jobs = desk.jobs("trajectories", [NOWHERE] * n)
    for job in jobs:
        house, state = draw(job.rng), State()
        shortest = len(house.solve())
        job.notes = {"house": house, "state": state, "view": house.look(state), "text": [], "acted": [], "invalid": 0}
        job.verdicts = {"shortest": shortest, "most": round(shortest * SLACK)}
    while open_jobs := [job for job in jobs if not job.dropped and not job.notes["state"].is_done]:
        for job, reply in desk.one(open_jobs, "act", _values):
            _act(desk, job, reply)
    for job in jobs:
        if not job.dropped:
            job.verdicts["steps"] = len(job.notes["acted"])
            text = "\n\n".join(
                (f"Goal: {job.notes['house'].goal}", *job.notes["text"], f"Observation: {job.notes['view']}")
            )
            yield desk.document(job, text, "synthetic")


def _act(desk: Desk, job: Job, reply: str) -> None:
    """Let one step happen, or give the trajectory up."""
    found, notes = sections(reply, "analysis", "plan", "action"), job.notes
    if found is None or "\n" in found["action"]:
        return desk.drop(job, "off_format")
    before = notes["state"]
    notes["text"].append(
        f"Observation: {notes['view']}\nAnalysis: {found['analysis']}\nPlan: {found['plan']}\nAction: {found['action']}"
    )
    notes["acted"].append(found["action"])
    notes["state"], notes["view"] = notes["house"].step(before, found["action"])
    notes["invalid"] += notes["state"] == before
    if notes["invalid"] > MOST_INVALID:
        return desk.drop(job, "invalid_actions")
    if len(notes["acted"]) >= job.verdicts["most"] and not notes["state"].is_done:
        return desk.drop(job, "goal_not_reached")
    return None


def _values(job: Job) -> dict[str, str | int]:
    done = "; ".join(job.notes["acted"]) or "nothing yet"
    return {"goal": job.notes["house"].goal, "done": done, "view": job.notes["view"]}
