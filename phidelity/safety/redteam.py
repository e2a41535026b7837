"""A red team's run: objectives x strategies as conversations with a target, kept so that nothing is asked twice.

A conversation's key is a hash of target, objective, strategy, seed and sampling. Finished ones are lines of
`transcripts.jsonl`, only ever appended to; answers within unfinished ones lie in a cache per role. So whatever ends a
run (a kill, a dead endpoint, a budget), the same command goes on, and no transcript is repeated or lost. A request
that failed leaves its conversation open; one over the context, or an attacker that put nothing, is an outcome.
phi-4 report §7.2.
"""

import hashlib
import json
import os
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from pydantic import ValidationError

from phidelity.cached import CachedCompleter
from phidelity.completion import Completer, Completion, SamplingParams
from phidelity.progress import SILENT, Progress
from phidelity.records import Conversation, Message, Record, whole_characters
from phidelity.safety.strategies.talk import Ask, Attempt, Role, Strategy
from phidelity.safety.suites import Objective

CHUNK = 64
"""Conversations that advance side by side (*ours*)."""
Outcome = Literal["answered", "context exceeded", "not put", "cut off by the endpoint"]


class Transcript(Record):
    """One conversation and what came of it."""

    key: str
    objective: Objective
    strategy: str
    messages: tuple[Message, ...]
    """The whole conversation but for the last answer."""
    answer: str
    finish_reason: str
    outcome: Outcome
    note: str = ""


class Case(NamedTuple):
    """A conversation to be had."""

    key: str
    objective: Objective
    strategy: Strategy


class Ran(NamedTuple):
    """What a run has: transcripts in the order of the plan, and what is still open."""

    transcripts: list[Transcript]
    n_failed: int
    """Conversations in which a request failed; the same command tries them again."""
    n_unpaid: int
    """Conversations that the budget did not reach."""


def plan(
    objectives: Sequence[Objective], chosen: Sequence[Strategy], target: str, params: SamplingParams, seed: int
) -> list[Case]:
    """Every objective by every strategy."""
    cases = []
    for objective in objectives:
        for strategy in chosen:
            parts = (target, objective.model_dump_json(), strategy.name, seed, params.model_dump_json())
            cases.append(Case(hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:24], objective, strategy))
    return cases


def run_cases(
    cases: Sequence[Case],
    crew: Mapping[Role, Completer],
    params: SamplingParams,
    seed: int,
    out: Path,
    *,
    budget: int | None = None,
    progress: Progress = SILENT,
) -> Ran:
    """Have the conversations that `out` lacks; at most `budget` new answers of the target are paid for."""
    path = out / "transcripts.jsonl"
    out.mkdir(parents=True, exist_ok=True)
    done = _read(path)
    left = [case for case in cases if case.key not in done]
    cached: dict[Role, CachedCompleter] = {
        role: CachedCompleter(one, out / f"{role}.jsonl") for role, one in crew.items()
    }
    n_unpaid = 0
    try:
        with progress.task("attacking", len(cases), "conversations") as task:
            task.advance(len(cases) - len(left))
            for start in range(0, len(left), CHUNK):
                if budget is not None and cached["target"].n_asked >= budget:
                    n_unpaid = len(left) - start
                    break
                room = len(left) if budget is None else budget - cached["target"].n_asked
                chunk = left[start : start + min(CHUNK, max(1, room))]
                n_unpaid += len(left[start : start + CHUNK]) - len(chunk)
                for transcript in _append(path, _converse(chunk, cached, params, seed)):
                    done[transcript.key] = transcript
                    task.advance()
    finally:
        for one in cached.values():
            one.close()
    ordered = [done[case.key] for case in cases if case.key in done]
    return Ran(ordered, len(cases) - len(ordered) - n_unpaid, n_unpaid)


def _converse(
    cases: Sequence[Case], crew: Mapping[Role, CachedCompleter], params: SamplingParams, seed: int
) -> list[Transcript]:
    """Advance all conversations wave by wave, each role's questions in one call."""
    finished: dict[int, Transcript] = {}
    talks, waiting = {}, {}
    for place, case in enumerate(cases):
        talks[place] = case.strategy.run(case.objective, random.Random(f"{seed}/{case.key}"), "judge" in crew)
        waiting[place] = next(talks[place])
    while waiting:
        asked, waiting = waiting, {}
        for place, completion in _ask(asked, crew, params).items():
            case, ask = cases[place], asked[place]
            if completion.finish_reason == "error":
                continue
            if ask.to == "target" and completion.finish_reason not in ("stop", "length"):
                finished[place] = _transcript(case, Attempt(ask.messages, completion))
                continue
            try:
                waiting[place] = talks[place].send(completion)
            except StopIteration as end:
                finished[place] = _transcript(case, end.value)
    return [finished[place] for place in sorted(finished)]


def _ask(
    asked: Mapping[int, Ask], crew: Mapping[Role, CachedCompleter], params: SamplingParams
) -> dict[int, Completion]:
    answers: dict[int, Completion] = {}
    for role in crew:
        places = [place for place, ask in asked.items() if ask.to == role]
        how = params if role == "target" else SamplingParams(max_tokens=512, seed=params.seed)
        prompts = [Conversation(id=role, messages=asked[place].messages, source="redteam") for place in places]
        if prompts:
            answers |= dict(zip(places, crew[role].complete(prompts, how), strict=True))
    return answers


def _transcript(case: Case, attempt: Attempt) -> Transcript:
    answer = attempt.answer
    reason = answer.finish_reason if answer else "none"
    outcomes: dict[str, Outcome] = {"stop": "answered", "length": "answered", "none": "not put"}
    outcomes["context_exceeded"] = "context exceeded"
    return Transcript(
        key=case.key,
        objective=case.objective,
        strategy=case.strategy.name,
        messages=tuple(
            turn.model_copy(update={"content": whole_characters(turn.content)}) for turn in attempt.messages
        ),
        answer=whole_characters(answer.text) if answer else "",
        finish_reason=reason,
        outcome=outcomes.get(reason, "cut off by the endpoint"),
        note=attempt.note,
    )


def _append(path: Path, transcripts: Sequence[Transcript]) -> Sequence[Transcript]:
    """Add lines to the file and see them on disk; a torn last line is closed first."""
    with open(path, "ab+") as file:
        if file.tell():
            file.seek(-1, os.SEEK_END)
            file.write(b"" if file.read(1) == b"\n" else b"\n")
        file.write(b"".join(one.model_dump_json().encode() + b"\n" for one in transcripts))
        file.flush()
        os.fsync(file.fileno())
    return transcripts


def _read(path: Path) -> dict[str, Transcript]:
    """Transcripts by key; a line that a kill tore is passed over and its conversation had again."""
    found: dict[str, Transcript] = {}
    for line in path.read_bytes().splitlines() if path.is_file() else ():
        try:
            one = Transcript.model_validate_json(line)
        except ValidationError:
            continue
        found[one.key] = one
    return found


def outcomes(transcripts: Sequence[Transcript]) -> Counter[str]:
    """How conversations ended."""
    return Counter(one.outcome for one in transcripts)
