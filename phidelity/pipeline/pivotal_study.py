"""The miniature experiment on pivotal tokens: one arm of the studies `pivotal` and `pivotal-planted`.

All arms of a seed begin with one model and one store of rollouts, in a folder of their own beside the arms: a small
model is taught the problems of problems/ways.py, its answers are searched, and what was drawn is the budget of all.
Arms are: none; pivotal pairs; as many pairs at random places with random labels; pairs of the n = 10 search at the same
number of rollouts; whole right over wrong answers; and further fine-tuning on right answers. Each trains on as many
items. Measured are 500 held-out problems, and p(success) at pivots in samples that no search saw. All *ours*.
"""

import random
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from pydantic import Field

from phidelity.checkpoint.huggingface import save_checkpoint
from phidelity.checkpoint.open import open_checkpoint
from phidelity.completion import SamplingParams
from phidelity.config import Config, UserError
from phidelity.data.batch import pack_rows
from phidelity.data.loader import epoch_sample
from phidelity.engine.llm import open_model
from phidelity.grading.check import check
from phidelity.model.config import ModelConfig
from phidelity.model.transformer import Transformer
from phidelity.preference.estimate import counting
from phidelity.preference.pairs import make_pair
from phidelity.preference.pivotal import N10, Found, SearchConfig, by_first_token, find_pivots, pair_at
from phidelity.preference.questions import Question, messages_of
from phidelity.preference.rollouts import Prefix, Rollouts, derived_seed
from phidelity.preference.screen import Screened, answers_of, reusing, screen
from phidelity.problems.item import Split
from phidelity.problems.ways import Task, draw, solution
from phidelity.progress import SILENT, Progress
from phidelity.records import Message, PreferencePair, Problem, write_json
from phidelity.tokenizer.bpe import Tokenizer
from phidelity.tokenizer.chat import render
from phidelity.train.dpo import DpoConfig, train_dpo
from phidelity.train.loop import train
from phidelity.train.optim import OptimConfig
from phidelity.train.tokens import token_objective

ARMS = ("sft", "pivotal", "random", "n10", "full", "rejection")
CONTEXT = 160


class MiniatureConfig(Config):
    """Sizes of the experiment; options of the study's variants."""

    task: Task
    arm: Literal["sft", "pivotal", "random", "n10", "full", "rejection"]
    taught: int = Field(default=22_000, ge=1)
    """Solutions that the starting model is taught once."""
    questions: int = Field(default=700, ge=1)
    """Questions screened."""
    searches: int = Field(default=400, ge=1)
    """Questions searched, at most; set from the measured rate of rollouts."""
    problems: int = Field(default=500, ge=1)
    """Held-out problems."""
    split: Split = "test"
    """Where the held-out problems come from; all choices were made on `development`."""
    pivots: int = Field(default=50, ge=1)
    """Pivots at which p(success) is measured before and after."""
    epochs: float = Field(default=2.0, gt=0)
    """Passes of an arm over its items."""
    peak_lr: float = Field(default=1e-4, gt=0)
    """Of every arm."""
    width: int = Field(default=128, ge=8)
    """d_model of the model."""


class Base(NamedTuple):
    """What the arms of a seed share."""

    model: Path
    rollouts: Rollouts
    screened: Screened
    found: Found
    pairs: list[PreferencePair]
    spent: int
    """Continuations drawn, screening and acceptance included."""


def miniature(*, seed: int, out: Path, progress: Progress = SILENT, **options: Any) -> dict[str, Any]:
    """Run one arm: `accuracy` and `sampled` (500 outcomes each), `pivot_p` (before and after), and what it cost."""
    config = MiniatureConfig.model_validate(options)
    base = shared(config, seed, out.parent.parent / "shared" / f"{config.task}-{seed}", progress)
    model = base.model
    items = 0
    if config.arm != "sft":
        model, items = _train_arm(config, base, seed, out, progress)
    return _measured(config, base, model, seed) | {"items": items, "rollouts": base.spent, "pairs": len(base.pairs)}


def shared(config: MiniatureConfig, seed: int, folder: Path, progress: Progress = SILENT) -> Base:
    """The starting model, its store of rollouts and what the search found; resumed or read where it stands."""
    model = folder / "base"
    if not (model / "config.json").is_file():
        _teach(config, seed, folder, model, progress)
    rollouts = _store(config, model, folder / "rollouts", seed, progress)
    screened = screen(list(rollouts.questions), rollouts, window=(0.2, 0.8), n=16)
    asked = list(screened.roots)[: config.searches]
    answers = [answer for question in asked for answer in answers_of(question, rollouts)]
    found = find_pivots(answers, screened.roots, counting(rollouts), SearchConfig(), reusing(answers, rollouts))
    pairs = _token_pairs(found, rollouts)
    spent = rollouts.census().get("rollouts", 0)
    write_json(folder / "found.json", {"in_window": len(screened.roots), "searched": len(asked), "spent": spent,
               "pivots": len(found.pivots), "pairs": len(pairs)})  # fmt: skip
    return Base(model, rollouts, screened, found, pairs, spent)


def random_pairs(base: Base, n: int, rng: random.Random) -> list[PreferencePair]:
    """Two tokens that were drawn at a prefix of the store, in an order that a coin decides."""
    places = [
        (prefix, sorted(tokens))
        for prefix in base.rollouts.drawn_at()
        if len(tokens := by_first_token(base.rollouts.at(prefix))) > 1
    ]
    pairs = []
    for _ in range(n):
        prefix, tokens = rng.choice(places)
        chosen, rejected = rng.sample(tokens, 2)
        pairs.append(_pair(base.rollouts, "token", prefix, (chosen,), (rejected,), "random"))
    return pairs


def n10_pairs(base: Base) -> list[PreferencePair]:
    """What a search with ten continuations a prefix finds for as many continuations as the search here took."""
    rollouts, pairs, spent = base.rollouts, [], 0
    before = len(base.screened.roots) * 16
    for question in base.screened.roots:
        answers = answers_of(question, rollouts)
        count = counting(rollouts)

        def counted(prefixes: Sequence[Prefix], purpose: str, start: int, n: int, count: Any = count) -> Any:
            nonlocal spent
            spent += n * len(prefixes)
            return count(prefixes, "ten", start, n)

        found = find_pivots(answers, base.screened.roots, counted, N10)
        pairs += _token_pairs(found, rollouts)
        if before + spent >= base.spent:
            break
    return pairs


def full_pairs(base: Base, n: int, rng: random.Random) -> list[PreferencePair]:
    """Whole right answers over whole wrong ones to the same question, made of the rollouts in the store."""
    right, wrong = _whole(base.rollouts, True), _whole(base.rollouts, False)
    both = sorted(right.keys() & wrong.keys())
    pairs = []
    for _ in range(n if both else 0):
        question = rng.choice(both)
        sides = rng.choice(right[question]), rng.choice(wrong[question])
        pairs.append(_pair(base.rollouts, "full", Prefix(question), *sides, "full"))
    return pairs


def _train_arm(config: MiniatureConfig, base: Base, seed: int, out: Path, progress: Progress) -> tuple[Path, int]:
    n, rng = len(base.pairs), random.Random(f"{seed}/{config.arm}")
    if n == 0:
        raise UserError(f"The search of {config.task} found no pair, so no arm has an item. Teach or search more.")
    optim = OptimConfig(peak_lr=config.peak_lr, warmup=0.1, weight_decay=0.0)
    weights, tokenizer, _ = open_checkpoint(base.model)
    if config.arm == "rejection":
        right = _whole(base.rollouts, True)
        answers = [(question, one) for question in sorted(right) for one in right[question]]
        items = [answers[i] for i in sorted(rng.sample(range(len(answers)), min(2 * n, len(answers))))]
        chats = [(base.rollouts.questions[question].problem, base.rollouts.text(one)) for question, one in items]
        _fit(weights, tokenizer, chats, optim, seed, out, epochs=config.epochs, progress=progress)
    else:
        pairs = {
            "pivotal": lambda: base.pairs,
            "random": lambda: random_pairs(base, n, rng),
            "n10": lambda: n10_pairs(base),
            "full": lambda: full_pairs(base, n, rng),
        }[config.arm]()
        items = pairs[:n]
        dpo = DpoConfig(epochs=config.epochs, batch_pairs=16, beta=0.1, optim=optim)
        train_dpo(weights, tokenizer, items, dpo, seed=seed, out=out / "training", name=config.arm, progress=progress)
    save_checkpoint(out / "model", weights, tokenizer)
    return out / "model", len(items)


def _measured(config: MiniatureConfig, base: Base, model: Path, seed: int) -> dict[str, Any]:
    problems = [draw(config.split, 0, index) for index in range(config.problems)]
    tokenizer = base.rollouts.tokenizer
    prompts = [tuple(render(messages_of(one), tokenizer, generation_prompt=True).ids) for one in problems]
    llm = open_model(model, n_running=128)
    told = {}
    for name, temperature in (("accuracy", 0.0), ("sampled", 1.0)):
        params = SamplingParams(temperature=temperature, max_tokens=96, seed=derived_seed(seed, "held out"))
        answers = llm.complete(prompts, params)
        told[name] = [check(one, said.text).value or 0.0 for one, said in zip(problems, answers, strict=True)]
    places = [one.candidate.before for one in base.found.pivots][: config.pivots]
    params = SamplingParams(temperature=1.0, max_tokens=96, seed=derived_seed(seed, "mechanism"), n=32)
    answers = llm.complete([base.rollouts.questions[one.question].prompt + one.tokens for one in places], params)
    llm.close()
    whole = [base.rollouts.text(places[i // 32].tokens + said.tokens) for i, said in enumerate(answers)]
    right = [
        check(base.rollouts.questions[places[i // 32].question].problem, said).value for i, said in enumerate(whole)
    ]
    told["pivot_p"] = sum(one or 0.0 for one in right) / max(1, len(right))
    return told


def _token_pairs(found: Found, rollouts: Rollouts) -> list[PreferencePair]:
    pairs: dict[str, PreferencePair] = {}
    for pivot in found.pivots:
        prefix = pivot.candidate.before
        if one := pair_at(pivot, rollouts.at(prefix), SearchConfig()):
            pair = _pair(rollouts, "token", prefix, (one.chosen,), (one.rejected,), "pivotal")
            pairs[pair.id] = pair
    return list(pairs.values())


def _pair(
    rollouts: Rollouts,
    kind: Literal["token", "full"],
    prefix: Prefix,
    chosen: Sequence[int],
    rejected: Sequence[int],
    source: str,
) -> PreferencePair:
    problem, digest = rollouts.questions[prefix.question].problem, rollouts.tokenizer.digest
    return make_pair(kind, problem, chosen, rejected, prefix=prefix.tokens, tokenizer=digest, source=source, meta={})


def _whole(rollouts: Rollouts, success: bool) -> dict[str, list[tuple[int, ...]]]:
    """Distinct answers of the store that ended by themselves, by question."""
    found: dict[str, dict[tuple[int, ...], None]] = {}
    for prefix in rollouts.drawn_at():
        for one in rollouts.at(prefix):
            if one.success is success and one.finish_reason == "stop":
                found.setdefault(prefix.question, {})[prefix.tokens + one.tokens] = None
    return {question: list(answers) for question, answers in found.items()}


def _store(config: MiniatureConfig, model: Path, folder: Path, seed: int, progress: Progress) -> Rollouts:
    tokenizer = Tokenizer.load(model)
    problems = [draw("train", seed + 1, index) for index in range(config.questions)]
    questions = {
        one.id: Question(one, tuple(render(messages_of(one), tokenizer, generation_prompt=True).ids))
        for one in problems
    }
    return Rollouts(
        folder,
        questions=questions,
        completer=open_model(model, n_running=128),
        params=SamplingParams(temperature=1.0, max_tokens=96, seed=derived_seed(seed, "pivotal study")),
        oracle=partial(check, allow_code=False),
        tokenizer=tokenizer,
        progress=progress,
    )


def _teach(config: MiniatureConfig, seed: int, folder: Path, model: Path, progress: Progress) -> None:
    tokenizer = Tokenizer({bytes([byte]): byte for byte in range(256)})
    shape = ModelConfig(
        n_layers=4, d_model=config.width, n_heads=4, n_kv_heads=1, d_ff=config.width * 7 // 2,
        vocab_size=tokenizer.vocab_size, context_len=CONTEXT, rope_theta=10_000.0, init_std=0.06,
    )  # fmt: skip
    weights = Transformer(shape).initialise(torch.Generator().manual_seed(seed))
    rng = random.Random(f"{seed}/taught")
    problems = [draw("train", 10_000 + seed, index) for index in range(config.taught)]
    chats = [(one, solution(one, config.task, rng)) for one in problems]
    optim = OptimConfig(peak_lr=3e-3, warmup=0.05)
    _fit(weights, tokenizer, chats, optim, seed, folder / "teaching", epochs=1.0, progress=progress)
    save_checkpoint(model, weights, tokenizer)


def _fit(
    weights: Transformer,
    tokenizer: Tokenizer,
    chats: Sequence[tuple[Problem, str]],
    optim: OptimConfig,
    seed: int,
    out: Path,
    *,
    epochs: float,
    progress: Progress,
) -> None:
    """Teach questions with their answers."""
    rendered = [
        render((*messages_of(problem), Message(role="assistant", content=text)), tokenizer) for problem, text in chats
    ]
    packed = pack_rows(rendered, CONTEXT)
    n_rows = min(4, len(packed))
    train(
        weights,
        token_objective,
        lambda step: [packed.select(epoch_sample(seed, "taught", step, n_rows, len(packed)))],
        steps=max(1, round(epochs * len(packed) / n_rows)),
        optim=optim,
        out=out / "training",
        name="taught",
        progress=progress,
    )
