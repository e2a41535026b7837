"""All pipelines that a teacher works in, in order: the seeds first, then what is grown from them.

What comes out is sieved with the code that organic data goes through: exact and near duplicates
(`data/dedup.py`) and whatever repeats an evaluation problem (`sieve.py` over `data/decontaminate.py`); both count
beside the pipelines' own reasons, so for each pipeline begun = dropped + kept.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import NamedTuple

from pydantic import Field

from phidelity.config import Config
from phidelity.data.dedup import duplicates
from phidelity.progress import SILENT, Progress
from phidelity.records import Conversation, Document
from phidelity.synthetic.desk import Desk, Excerpt
from phidelity.synthetic.dialogue import dialogues
from phidelity.synthetic.excerpts import excerpts, passages
from phidelity.synthetic.executed import programs, science
from phidelity.synthetic.extraction import extraction
from phidelity.synthetic.gaps import gaps
from phidelity.synthetic.plurality import question_seeds
from phidelity.synthetic.reversal import reversal
from phidelity.synthetic.revision import revision
from phidelity.synthetic.rewriting import rewriting
from phidelity.synthetic.sieve import Sieve
from phidelity.synthetic.trajectories import trajectories


class TaughtConfig(Config):
    """How many texts each pipeline with a teacher begins; many fall to its filters."""

    excerpts: int = Field(default=100, ge=0)
    """Passages that are scored as seeds for the pipelines below."""
    scored: bool = True
    """Whether the teacher scores them; without it every passage is a seed, as of documents that were graded before."""
    question_seeds: int = Field(default=40, ge=0)
    """Questions with the plurality filter."""
    extraction: int = Field(default=40, ge=0)
    """Deduction chains turned into problems."""
    rewriting: int = Field(default=40, ge=0)
    """Rewrites by audience and form."""
    revision: int = Field(default=20, ge=0)
    """Lessons that are criticised and revised."""
    reversal: int = Field(default=40, ge=0)
    """Instructions for code that exists."""
    programs: int = Field(default=20, ge=0)
    """Exercises in Python, run against their tests."""
    science: int = Field(default=20, ge=0)
    """Problems whose answer a calculation confirms."""
    dialogue: int = Field(default=20, ge=0)
    """Conversations of several turns."""
    gaps: int = Field(default=40, ge=0)
    """Gaps that reasoning fills."""
    trajectories: int = Field(default=10, ge=0)
    """Walks of an agent in a small text environment."""


class Taught(NamedTuple):
    """What a teacher's pipelines gave."""

    seeds: list[Excerpt]
    documents: list[Document]
    chats: list[Conversation]
    funnel: dict[str, dict[str, int]]
    """For each pipeline: begun, dropped by reason, kept."""


def taught(
    config: TaughtConfig, desk: Desk, organic: Sequence[Document], sieve: Sieve, progress: Progress = SILENT
) -> Taught:
    """Run every pipeline with the organic documents in mixed but repeatable order."""
    mixed = sorted(organic, key=lambda one: (hashlib.sha256(f"{desk.seed}/{one.id}".encode()).digest(), one.id))
    documents: list[Document] = []
    with progress.task("pipelines", 11, "pipelines") as task:
        drawn = islice(passages(mixed), config.excerpts)
        seeds = list(excerpts(desk, mixed, config.excerpts) if config.scored else drawn)
        task.advance(note=f"{len(seeds)} seeds")
        for pipeline in _pipelines(config, desk, seeds, mixed):
            made = list(pipeline())
            documents += made
            task.advance(note=f"{len(documents)} documents")
        chats = list(dialogues(desk, seeds, config.dialogue))
        task.advance(note=f"{len(chats)} chats")
    documents = list(_distinct(desk, documents, lambda one: one.text, sieve))
    chats = list(_distinct(desk, chats, said, sieve))
    return Taught(seeds, documents, chats, {name: dict(sorted(counts.items())) for name, counts in desk.funnel.items()})


def said(chat: Conversation) -> str:
    """All that is said in a chat."""
    return "\n".join(message.content for message in chat.messages)


def _pipelines(
    config: TaughtConfig, desk: Desk, seeds: Sequence[Excerpt], organic: Sequence[Document]
) -> tuple[Callable[[], Iterator[Document]], ...]:
    return (
        lambda: question_seeds(desk, seeds, config.question_seeds),
        lambda: extraction(desk, seeds, config.extraction),
        lambda: rewriting(desk, seeds, config.rewriting),
        lambda: revision(desk, seeds, config.revision),
        lambda: reversal(desk, organic, config.reversal),
        lambda: programs(desk, seeds, config.programs),
        lambda: science(desk, seeds, config.science),
        lambda: gaps(desk, seeds, config.gaps),
        lambda: trajectories(desk, config.trajectories),
    )


def _distinct(desk: Desk, made: Sequence, text: Callable, sieve: Sieve) -> Iterator:
    """What neither repeats another nor an evaluation problem; each pipeline's funnel tells of its own."""
    for one, copy in zip(made, duplicates([text(one) for one in made]), strict=True):
        counts = desk.funnel[one.meta["pipeline"]]
        reason = f"{copy.kind}_duplicate" if copy else sieve.reason(text(one))
        counts[f"dropped/{reason}" if reason else "kept"] += 1
        if not reason:
            yield one
