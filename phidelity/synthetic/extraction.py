"""Pipeline c: deduction chains in books, papers and code turned into problems (phi-4 §2.2).

The teacher names the steps of an argument by quoting them, and makes a question that needs them. Quotes must stand in
the passage word for word, the question must be understood without it, and a second answer, given from the passage by
somebody who has not seen the first, must agree.
"""

import re
from collections.abc import Iterator, Sequence

from phidelity.grading.answers import answer_line, normalise
from phidelity.records import Document
from phidelity.synthetic.desk import Desk, Excerpt
from phidelity.synthetic.replies import sections

_LEANS = re.compile(
    r"\b(?:the|this) (?:passage|text|excerpt|author|article|chapter|snippet)\b|\babove\b", re.IGNORECASE
)
LEAST_STEPS = 2


def extraction(desk: Desk, excerpts: Sequence[Excerpt], n: int) -> Iterator[Document]:
    """Problems with their chain of steps and an answer that two readings share."""
    jobs = desk.jobs("extraction", excerpts, n)
    for job, reply in desk.one(jobs, "extract", lambda job: {"passage": job.excerpt.text}):
        found = sections(reply, "steps", "question", "solution", "answer")
        if found is None:
            desk.drop(job, "off_format")
        elif len(quotes := _quotes(found["steps"])) < LEAST_STEPS:
            desk.drop(job, "no_chain")
        elif not all(_flat(quote) in _flat(job.excerpt.text) for quote in quotes):
            desk.drop(job, "not_in_passage")
        elif _LEANS.search(found["question"]):
            desk.drop(job, "leans_on_passage")
        else:
            job.notes, job.verdicts = found, {"quotes": len(quotes)}
    for job, reply in desk.one(
        jobs, "answer_from", lambda job: {"passage": job.excerpt.text, "question": job.notes["question"]}
    ):
        second = answer_line(reply)
        if second is None:
            desk.drop(job, "off_format")
        elif normalise(second) != normalise(job.notes["answer"]):
            desk.drop(job, "answers_differ")
        else:
            job.verdicts["second_reading"] = "agrees"
            text = f"{job.notes['question']}\n\n{job.notes['solution']}\nAnswer: {job.notes['answer']}"
            yield desk.document(job, text, "synthetic")


def _quotes(steps: str) -> list[str]:
    """What stands in quotation marks, one step a line."""
    return [quote for line in steps.splitlines() for quote in re.findall(r'"([^"]{8,})"', line)[:1]]


def _flat(text: str) -> str:
    return " ".join(text.split()).casefold()
