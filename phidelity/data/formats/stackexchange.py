"""Stack Exchange's dumps: a document is a question with its answers, the accepted one first, then by score.

Read as a stream, since dumps are large; what is held are the posts' texts, and a dump whose texts go beyond the
limit is given up. The licence follows from the date of a post, as the network states it.
"""

from collections import defaultdict
from collections.abc import Iterator
from typing import Any, NamedTuple

from lxml import etree

from phidelity.data.formats.blob import BadFileError, Blob, Part, Reject, iso_date
from phidelity.data.formats.html import html_text

MAX_DUMP = 2 << 30
"""Bytes of posts to hold (ours)."""
_LICENSES = (("2011-04-08", "CC BY-SA 2.5"), ("2018-05-02", "CC BY-SA 3.0"), ("9999", "CC BY-SA 4.0"))
"""Until which day of writing which licence."""


class _Post(NamedTuple):
    body: str
    date: str
    """Of its last edit."""
    score: int
    accepted: str
    title: str
    id: str


def read_posts(blob: Blob) -> Iterator[Part | Reject]:
    """The questions of a Posts.xml in their order, each with its answers; answers without a question are counted."""
    questions: dict[str, _Post] = {}
    answers: dict[str, list[_Post]] = defaultdict(list)
    other = held = 0
    for row in _rows(blob):
        post = _post(row)
        held += len(post.body)
        if held > MAX_DUMP:
            raise BadFileError("too_large")
        if row.get("PostTypeId") == "1":
            questions[post.id] = post
        elif row.get("PostTypeId") == "2":
            answers[row.get("ParentId") or ""].append(post)
        else:
            other += 1
            yield Reject("no_question_or_answer", post.id, len(post.body))
    for id_, question in questions.items():
        yield _thread(question, answers.pop(id_, []))
    for parent, orphans in answers.items():
        yield from (Reject("answer_without_question", f"{parent}/{post.id}", len(post.body)) for post in orphans)


def _rows(blob: Blob) -> Iterator[Any]:
    try:
        for _, element in etree.iterparse(blob.stream, tag="row", resolve_entities=False, no_network=True):
            yield element
            element.clear()
            while element.getprevious() is not None:
                del element.getparent()[0]
    except etree.XMLSyntaxError:
        raise BadFileError("bad_xml") from None


def _post(row: Any) -> _Post:
    score = row.get("Score") or "0"
    return _Post(
        row.get("Body") or "",
        max(iso_date(row.get("CreationDate")), iso_date(row.get("LastEditDate"))),
        int(score) if score.lstrip("-").isdigit() else 0,
        row.get("AcceptedAnswerId") or "",
        row.get("Title") or "",
        row.get("Id") or "",
    )


def _thread(question: _Post, answers: list[_Post]) -> Part:
    ranked = sorted(answers, key=lambda answer: (answer.id != question.accepted, -answer.score, answer.date))
    bodies = [html_text(question.body), *(f"Answer:\n\n{html_text(answer.body)}" for answer in ranked)]
    newest = max([question.date, *(answer.date for answer in answers)])
    meta = {
        "title": question.title,
        "date": newest,
        "date_from": "newest post",
        "score": question.score,
        "answers": len(answers),
        "license": next(name for until, name in _LICENSES if newest < until),
    }
    return Part("\n\n".join([question.title, *bodies]), question.id, meta)
