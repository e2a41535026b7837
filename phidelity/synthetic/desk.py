"""The desk where a teacher's texts are made: jobs that are asked about, dropped for a counted reason, or written up.

The teacher is any Completer. A job keeps what was asked for its text, with template versions and tokens, so a document
says what it cost and who judged it. Nothing is random but by (seed, pipeline, number), so the same answers give
the same bytes whatever order they came in; `CachedCompleter` behind the desk pays for none twice.
"""

import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, NamedTuple

from phidelity.completion import Completer
from phidelity.records import Conversation, Document, Message
from phidelity.synthetic.replies import unusable
from phidelity.synthetic.seeds import SOURCE
from phidelity.synthetic.template import template


class Excerpt(NamedTuple):
    """A passage that texts are grown from, and where it is from."""

    document: str
    """Id of the organic document."""
    text: str
    lines: tuple[int, int] = (0, 0)
    """First and last line in the document, from 1."""
    language: str = "en"
    license: str = ""
    is_code: bool = False
    about: Mapping[str, Any] = MappingProxyType({})
    """What the teacher said of it: kind, description, marks, steps."""


NOWHERE = Excerpt("", "")
"""The seed of a text that needs none."""


@dataclass(slots=True)
class Job:
    """One text in the making."""

    pipeline: str
    index: int
    excerpt: Excerpt
    rng: random.Random
    templates: dict[str, int] = field(default_factory=dict)
    prompt_tokens: int = 0
    completion_tokens: int = 0
    scores: dict[str, Any] = field(default_factory=dict)
    verdicts: dict[str, Any] = field(default_factory=dict)
    notes: dict[str, Any] = field(default_factory=dict)
    """What a pipeline needs to remember between two questions."""
    dropped: str = ""


Values = Callable[[Job], dict[str, str | int]]


class Desk:
    """Asks `completer` on behalf of jobs; `funnel[pipeline]` counts jobs begun, dropped by reason, and kept."""

    def __init__(self, completer: Completer, seed: int, prices: tuple[float, float] = (0.0, 0.0)) -> None:
        self.completer, self.seed, self.prices = completer, seed, prices
        self.funnel: dict[str, Counter[str]] = defaultdict(Counter)

    def jobs(self, pipeline: str, excerpts: Iterable[Excerpt], n: int | None = None) -> list[Job]:
        """A job for each of the first `n` excerpts."""
        made = [
            Job(pipeline, index, excerpt, random.Random(f"{self.seed}/{pipeline}/{index}"))
            for index, excerpt in enumerate(excerpts)
            if n is None or index < n
        ]
        self.funnel[pipeline]["begun"] += len(made)
        return made

    def drop(self, job: Job, reason: str) -> None:
        """Give a job up, once, for a counted reason."""
        if not job.dropped:
            job.dropped = reason
            self.funnel[job.pipeline][f"dropped/{reason}"] += 1

    def restore(self, job: Job) -> None:
        """Take a drop back, for a job that has an earlier text to fall back on."""
        self.funnel[job.pipeline][f"dropped/{job.dropped}"] -= 1
        job.verdicts["lost"] = job.dropped
        job.dropped = ""

    def ask(self, jobs: Sequence[Job], name: str, values: Values, n: int = 1) -> Iterator[tuple[Job, list[str]]]:
        """For each job that lives the usable ones of `n` replies; without any it is dropped for the first's reason."""
        chosen = template(name)
        living = [job for job in jobs if not job.dropped]
        prompts = [self._prompt(chosen.render(values(job))) for job in living]
        params = chosen.params.model_copy(update={"seed": self.seed, "n": n})
        answers = self.completer.complete(prompts, params) if prompts else []
        for place, job in enumerate(living):
            job.templates[name] = chosen.version
            mine = answers[place * n : (place + 1) * n]
            job.prompt_tokens += sum(one.usage.prompt_tokens for one in mine)
            job.completion_tokens += sum(one.usage.completion_tokens for one in mine)
            faults = [unusable(one.text, chosen, one.finish_reason) for one in mine]
            if good := [one.text.strip() for one, fault in zip(mine, faults, strict=True) if not fault]:
                yield job, good
            else:
                self.drop(job, faults[0])

    def one(self, jobs: Sequence[Job], name: str, values: Values) -> Iterator[tuple[Job, str]]:
        """As `ask`, for one reply a job."""
        return ((job, replies[0]) for job, replies in self.ask(jobs, name, values))

    def document(self, job: Job, text: str, group: str, **meta: Any) -> Document:
        """The text of a job that came through, with all that is known of its making."""
        return Document(
            id=f"{job.pipeline}/{job.index}", text=text, source=SOURCE, meta=self._made(job) | {"group": group} | meta
        )

    def chat(self, job: Job, messages: Sequence[Message], **meta: Any) -> Conversation:
        """As `document`, for a conversation."""
        return Conversation(
            id=f"{job.pipeline}/{job.index}", messages=tuple(messages), source=SOURCE, meta=self._made(job) | meta
        )

    def _made(self, job: Job) -> dict[str, Any]:
        tokens = job.prompt_tokens, job.completion_tokens
        money = sum(n * price for n, price in zip(tokens, self.prices, strict=True)) / 1e6
        return {
            "pipeline": job.pipeline,
            "family": job.pipeline,
            "index": job.index,
            "seed": self.seed,
            "teacher": self.completer.name,
            "templates": dict(sorted(job.templates.items())),
            "seed_document": job.excerpt.document,
            "lines": list(job.excerpt.lines),
            "license": job.excerpt.license,
            "language": job.excerpt.language,
            "scores": job.scores,
            "verdicts": job.verdicts,
            "cost": {"prompt_tokens": tokens[0], "completion_tokens": tokens[1], "money": round(money, 9)},
        }

    def _prompt(self, text: str) -> Conversation:
        return Conversation(id="", messages=(Message(role="user", content=text),))
