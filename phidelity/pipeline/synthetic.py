"""Stage `synthetic`: lessons, exercises, reference works, rewrites, chats, and prompts for preference pairs.

phi-4's largest group of data is synthetic (§2.2, §3.2). Here everything is grown from procedural problems and from the
corpus by rules, without a teacher model; with [synthetic.taught] and a [teacher] the report's pipelines run, too.
Exact duplicates go, and whatever repeats an evaluation problem: by the n-gram rule of `data/decontaminate.py`, and
for questions too short for it, by equality. Of what a teacher wrote near duplicates go as well; what rules write from
problems is alike by design.
"""

import random
import re
from collections import Counter
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

from pydantic import Field

from phidelity.completion import Completer
from phidelity.config import Config, UserError
from phidelity.pipeline.evaluation_items import evaluation_items
from phidelity.problems.families import problem
from phidelity.progress import SILENT, Progress
from phidelity.records import Conversation, Document, Problem, read_records, write_json, write_records
from phidelity.safety.privacy import canaries, planted
from phidelity.synthetic.aspects import aspects
from phidelity.synthetic.conversations import conversations
from phidelity.synthetic.course import course
from phidelity.synthetic.desk import Desk
from phidelity.synthetic.documents import rewrites
from phidelity.synthetic.excerpts import seed_document
from phidelity.synthetic.gym import gym
from phidelity.synthetic.questions import almanac, question_sets, recall_lists
from phidelity.synthetic.seeds import Bank, word_family
from phidelity.synthetic.sieve import Sieve
from phidelity.synthetic.taught import TaughtConfig, said, taught
from phidelity.synthetic.textbooks import chapters, drills, exercises, functions, lessons, readings

Summary = dict[str, Any]
CANARIES = "canaries.jsonl"
TAUGHT = "taught.json"
"""Who taught, the funnel of each pipeline, and its first text."""


class SyntheticConfig(Config):
    """How much of each kind of synthetic text is written."""

    exercises: int = Field(default=14_000, ge=0)
    """Solved word problems."""
    drills: int = Field(default=6_000, ge=0)
    """Sheets of bare sums worked in columns, and tables of digits."""
    lessons: int = Field(default=600, ge=0)
    """The rule of an operation with an example."""
    readings: int = Field(default=3_000, ge=0)
    """Passages with a question."""
    functions: int = Field(default=1_500, ge=0)
    """Small Python functions."""
    editions: int = Field(default=40, ge=0)
    """Editions of the almanac: how often each fact is told."""
    question_sets: int = Field(default=4_000, ge=0)
    """Questions with answers, with options or without."""
    long_documents: int = Field(default=600, ge=0)
    """Chapters and recall lists, for midtraining."""
    rewrites: int = Field(default=3_000, ge=0)
    """Rewrites of organic documents."""
    conversations: int = Field(default=6_000, ge=1)
    """Chats for supervised fine-tuning."""
    course: int = Field(default=2_000, ge=0)
    """Textbook lessons of the course: explanation, example, exercises, answers."""
    multilingual: float = Field(default=0.08, ge=0, lt=1)
    """Share of the course's tokens that are not English; about 8 % of phi-4's data (model card)."""
    aspects: int = Field(default=1_000, ge=0)
    """Further chats for the card's four aspects: instructions, honesty, helpfulness, safety."""
    problems: int = Field(default=1_000, ge=1)
    """Prompts for preference pairs."""
    german: float = Field(default=0.2, ge=0, le=1)
    """Share of word problems in German."""
    gym: int = Field(default=0, ge=0)
    """Problems of reasoning-gym, which is an extra (`phidelity[gym]`); tasks made from evaluation sets are off."""
    canaries: int = Field(default=0, ge=0, le=28)
    """Sentences with a random number planted 1, 4, 16 and 64 times, so many of each; break-fix asks for them."""
    taught: TaughtConfig | None = None
    """Pipelines with a teacher; without the table none runs."""


def synthetic(
    config: SyntheticConfig,
    *,
    corpus: Path,
    benchmarks: Path,
    seed: int,
    out: Path,
    teacher: Completer | None = None,
    progress: Progress = SILENT,
) -> Summary:
    """Write documents, conversations and problems; the summary gives yields and what was dropped and why."""
    bank, sieve = Bank(seed), Sieve([item.text for item in evaluation_items(benchmarks)])
    with progress.task("synthetic", 3, "files") as task:
        documents = list(sieve.passed(_documents(config, bank, corpus), lambda one: one.text, "documents"))
        task.advance(note=f"{len(documents)} documents")
        asked = chain(conversations(bank, config.conversations, config.german), aspects(bank, config.aspects))
        chats = list(sieve.passed(asked, said, "conversations"))
        task.advance(note=f"{len(chats)} conversations")
        prompts = list(sieve.passed(_problems(config, bank), lambda one: one.prompt, "problems"))
        task.advance(note=f"{len(prompts)} problems")
    summary = _teach(config, teacher, corpus, seed, out, sieve, documents, chats, progress)
    if config.canaries:
        made = canaries(seed, config.canaries)
        write_records(out / CANARIES, made)
        documents += planted(made)
    write_records(out / "documents.jsonl.zst", documents)
    write_records(out / "conversations.jsonl.zst", chats)
    write_records(out / "problems.jsonl", prompts)
    return _summary(documents, chats, prompts, sieve.dropped) | summary


def _teach(
    config: SyntheticConfig,
    teacher: Completer | None,
    corpus: Path,
    seed: int,
    out: Path,
    sieve: Sieve,
    documents: list[Document],
    chats: list[Conversation],
    progress: Progress,
) -> Summary:
    """Add what the teacher's pipelines give, and write seeds and funnel with a sample of each."""
    if config.taught is None:
        return {}
    if teacher is None:
        raise UserError("[synthetic.taught] needs somebody to ask. Add a table [teacher], or leave it out.")
    desk = Desk(teacher, seed, getattr(getattr(teacher, "completer", teacher), "prices", (0.0, 0.0)))
    organic = list(read_records(corpus / "documents.jsonl.zst", Document))
    made = taught(config.taught, desk, organic, sieve, progress)
    documents += made.documents
    chats += made.chats
    write_records(out / "seeds.jsonl.zst", (seed_document(desk, one, n) for n, one in enumerate(made.seeds)))
    samples = {one.meta["pipeline"]: one.text for one in reversed(made.documents)}
    samples |= {one.meta["pipeline"]: said(one) for one in reversed(made.chats)}
    if made.seeds:
        samples["excerpts"] = made.seeds[0].text
    write_json(out / TAUGHT, {"teacher": teacher.name, "funnel": made.funnel, "samples": samples})
    return {
        "teacher": teacher.name,
        **{f"taught/{name}/{key}": n for name, counts in made.funnel.items() for key, n in counts.items()},
    }


def _documents(config: SyntheticConfig, bank: Bank, corpus: Path) -> Iterator[Document]:
    sources = read_records(corpus / "documents.jsonl.zst", Document)
    return chain(
        exercises(bank, config.exercises, config.german),
        drills(bank, config.drills, config.german),
        lessons(bank, config.lessons, config.german),
        readings(bank, config.readings),
        functions(bank, config.functions),
        almanac(bank, config.editions),
        question_sets(bank, config.question_sets),
        chapters(bank, config.long_documents // 2, config.german),
        recall_lists(bank, config.long_documents - config.long_documents // 2),
        rewrites(bank, sources, config.rewrites),
        course(bank, config.course, config.multilingual),
        gym(bank, config.gym),
    )


PROBLEM_SHARES: dict[str, float] = {
    "choice_sum": 0.06,
    "passage": 0.1,
    "function": 0.05,
    "fact": 0.06,
    "unknown": 0.05,
}
"""Shares of the prompts for preference pairs; the rest are word problems."""


def _problems(config: SyntheticConfig, bank: Bank) -> Iterator[Problem]:
    """Training problems that no document and no chat was given, in mixed order."""
    plan = [name for name, share in PROBLEM_SHARES.items() for _ in range(round(share * config.problems))]
    rng = random.Random(f"{bank.seed}/problems")
    plan += [word_family(rng, config.german) for _ in range(config.problems - len(plan))]
    rng.shuffle(plan)
    return (problem(bank.take(name)) for name in plan)


def _aspects(chats: list[Conversation]) -> Counter[str]:
    return Counter(chat.meta["aspect"] for chat in chats if "aspect" in chat.meta)


def _summary(
    documents: list[Document], chats: list[Conversation], prompts: list[Problem], dropped: Counter[str]
) -> Summary:
    by_pipeline = Counter(one.meta["pipeline"] for one in documents)
    characters: Counter[str] = Counter()
    languages: Counter[str] = Counter()
    for one in documents:
        characters[one.meta["group"]] += len(one.text)
        if one.meta["pipeline"] == "course":
            languages[one.meta["language"]] += len(one.text.encode())
    openings = Counter(" ".join(one.text.split()[:5]) for one in documents)
    lexicon = {
        word
        for one in documents
        if one.meta["pipeline"] == "exercises"
        for word in re.findall(r"[^\W\d]+", one.text.lower())
    }
    return {
        "documents": len(documents),
        "conversations": len(chats),
        "problems": len(prompts),
        "distinct_openings": len(openings),
        "commonest_opening_share": round(max(openings.values(), default=0) / max(1, len(documents)), 4),
        "exercise_lexicon": len(lexicon),
        **{f"documents/{name}": n for name, n in sorted(by_pipeline.items())},
        **{f"characters/{name}": n for name, n in sorted(characters.items())},
        **{f"course_bytes/{language}": n for language, n in sorted(languages.items())},
        **{f"aspects/{name}": n for name, n in sorted(_aspects(chats).items())},
        **{f"dropped/{reason}": n for reason, n in sorted(dropped.items())},
    }
