"""Pipeline f: instructions found for code that exists, and kept only where they lead back to it (phi-4 §2.2).

The teacher describes a function, then writes it anew from the description alone. Both versions run in the sandbox on
the same arguments; a pair is kept if the new one gives every value of the old one. The text is the instruction and then
the original code.
"""

from collections.abc import Iterable, Iterator

from phidelity.records import Document
from phidelity.synthetic.behaviour import Function, agree, functions, observe, says_enough
from phidelity.synthetic.desk import Desk, Excerpt
from phidelity.synthetic.replies import MARKER, code, sections


def reversal(desk: Desk, documents: Iterable[Document], n: int) -> Iterator[Document]:
    """Instructions with their code, for functions of the documents that stand alone."""
    found: dict[str, tuple[Excerpt, Function]] = {}
    for document in documents:
        for function in functions(document.text) if document.meta.get("group") == "code" else ():
            license_ = str(document.meta.get("license", ""))
            excerpt = Excerpt(document.id, function.source, language="en", license=license_, is_code=True)
            found.setdefault(function.source, (excerpt, function))
        if len(found) >= n:
            break
    jobs = desk.jobs("reversal", (excerpt for excerpt, _ in found.values()), n)
    for job, (_, function) in zip(jobs, found.values(), strict=False):
        job.notes["function"] = function
        if MARKER.search(function.source):
            desk.drop(job, "marker_in_seed")
            continue
        seen = observe(function, function.source)
        job.notes["seen"] = seen
        if seen is None or not says_enough(seen):
            desk.drop(job, "original_says_too_little")
    for job, reply in desk.one(jobs, "instruct", lambda job: {"code": job.excerpt.text}):
        asked = sections(reply, "instruction")
        if asked is None:
            desk.drop(job, "off_format")
        elif _gives_away(asked["instruction"], job.notes["function"]):
            desk.drop(job, "holds_the_code")
        else:
            job.notes["instruction"] = asked["instruction"]
    written = desk.one(
        jobs, "implement", lambda job: {"instruction": job.notes["instruction"], "head": job.notes["function"].head}
    )
    for job, reply in written:
        function = job.notes["function"]
        again = observe(function, code(reply))
        if again is None:
            desk.drop(job, "does_not_run")
        elif not agree(job.notes["seen"], again):
            desk.drop(job, "behaves_differently")
        else:
            job.verdicts = {"fidelity": "same values", "probes": sum(one != "-" for one in job.notes["seen"])}
            yield desk.document(job, f"{job.notes['instruction']}\n\n{function.source}", "code")


def _gives_away(instruction: str, function: Function) -> bool:
    """Whether the instruction holds two lines of the body: then writing it anew would prove nothing."""
    lines = [line.strip() for line in function.source.splitlines()[1:] if len(line.strip()) > 8]
    return sum(line in instruction for line in lines) >= 2
