"""Before SFT: what the model knows of the facts, asked by examples in plain text since it knows no chat yet.

Its answers are sampled and graded; the rules that make chats of them are in preference/limits.py. The chats lie in the
stage's folder, so a stage that was killed is not asked again.
"""

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from phidelity.completion import Completer, SamplingParams
from phidelity.config import UserError
from phidelity.eval import few_shot
from phidelity.grading.simpleqa import grade
from phidelity.preference.limits import Bogus, LimitsConfig, limit_chats, write_bogus
from phidelity.preference.questions import FACTS
from phidelity.problems.prompts import UNKNOWN
from phidelity.records import Conversation, Problem, read_json, read_records, write_json, write_records
from phidelity.train.parallel import World

CHATS, COUNTS = "limits.jsonl.zst", "limits.json"
N_SHOWN = 4
"""Solved examples before each question (*ours*)."""


def limit_chats_of(
    config: LimitsConfig, *, problems: Path, base: Completer, writer: Completer | None, seed: int, out: Path
) -> tuple[list[Conversation], dict[str, Any]]:
    """The chats by the three rules for the model `base`, and the counts; read where they stand."""
    world = World.current()
    if world.is_first and not (out / COUNTS).is_file():
        _make(config, list(read_records(problems, Problem)), base, writer, seed, out)
    world.wait()
    return list(read_records(out / CHATS, Conversation)), read_json(out / COUNTS)


def _make(
    config: LimitsConfig, problems: list[Problem], base: Completer, writer: Completer | None, seed: int, out: Path
) -> None:
    facts = {one.prompt: one for one in problems if one.meta.get("benchmark") == FACTS}
    known = [one for one in facts.values() if one.reference != UNKNOWN]
    random.Random(f"{seed}/limits").shuffle(known)
    shown, asked = known[:N_SHOWN], known[N_SHOWN : N_SHOWN + config.questions]
    if not asked:
        raise UserError(
            f"sft.known asks fact questions, and {len(known)} are among the training problems; expected more than "
            f"{N_SHOWN}. Raise synthetic.problems."
        )
    grades = _grades(config, base, shown, asked, seed)
    told: dict[str, int] = {}
    refusals: list[str] = []
    bogus = [Bogus(one.prompt) for one in facts.values() if one.reference == UNKNOWN]
    if writer:
        bogus, refusals, counts = write_bogus(asked, writer, SamplingParams(temperature=0.7, max_tokens=512, seed=seed))
        told = {f"writer: {name}": n for name, n in counts.items()}
    made = limit_chats(asked, grades, bogus[: config.bogus], config, refusals)
    write_records(out / CHATS, made.chats)
    write_json(out / COUNTS, {"asked": len(asked), **dict(sorted(made.counts.items())), **told})


def _grades(
    config: LimitsConfig, base: Completer, shown: Sequence[Problem], asked: Sequence[Problem], seed: int
) -> list[list[str]]:
    """Each question's sampled answers: correct, not attempted, wrong."""
    prompts = [few_shot.render("bare", shown, one) for one in asked]
    params = SamplingParams(
        temperature=1.0, max_tokens=config.max_tokens, seed=seed, stop=(few_shot.STOP, "\n"), n=config.samples
    )
    answers = base.complete(prompts, params)
    found = [grade(answer.text.strip(), asked[i // config.samples].reference) for i, answer in enumerate(answers)]
    names = ["wrong" if one == "incorrect" else one for one in found]
    return [names[at : at + config.samples] for at in range(0, len(names), config.samples)]
