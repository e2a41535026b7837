"""A tiny model with known probabilities, for the tests of preference pairs: exact, seeded, a real Completer."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from math import log
from pathlib import Path

from phidelity.completion import Completion, Prompt, SamplingParams, Usage
from phidelity.records import Problem, write_records
from phidelity.tokenizer.bpe import Tokenizer

TOKENIZER = Tokenizer({bytes([byte]): byte for byte in range(256)})

Distribution = dict[int, float]
NextToken = Callable[[str, str], Distribution]
"""Probabilities of the next token given question and answer so far."""


@dataclass
class TabularCompleter:
    """Samples from `next_token`; the stream is a function of (seed, prompt, occurrence) alone."""

    next_token: NextToken
    name: str = "tabular"
    calls: list[int] = field(default_factory=list)
    """How many prompts each call had."""
    fail_at_call: int | None = None

    def complete(
        self,
        prompts: Sequence[Prompt],
        params: SamplingParams,
        on_done: Callable[[int, Completion], None] | None = None,
    ) -> list[Completion]:
        if len(self.calls) == self.fail_at_call:
            raise KeyboardInterrupt
        self.calls.append(len(prompts))
        seen: dict[Prompt, int] = {}
        first = params.first_repeat - 1
        completions = []
        for index, prompt in enumerate(prompts):
            assert isinstance(prompt, tuple)
            seen[prompt] = seen.get(prompt, first) + 1
            rng = random.Random(f"{params.seed}/{prompt}/{seen[prompt]}")
            completions.append(self._continue(prompt, rng, params.max_tokens))
            if on_done:
                on_done(index, completions[-1])
        return completions

    def _continue(self, prompt: tuple[int, ...], rng: random.Random, max_tokens: int) -> Completion:
        question, so_far = split_prompt(prompt)
        tokens: list[int] = []
        logprobs: list[float] = []
        while len(tokens) < max_tokens and TOKENIZER.im_end not in tokens:
            p = self.next_token(question, so_far + TOKENIZER.decode(tokens))
            tokens += rng.choices(list(p), list(p.values()))
            logprobs.append(log(p[tokens[-1]]))
        ended = tokens[-1] == TOKENIZER.im_end
        return Completion(
            text=TOKENIZER.decode(tokens[:-1] if ended else tokens),
            tokens=tuple(tokens),
            logprobs=tuple(logprobs),
            finish_reason="stop" if ended else "length",
            usage=Usage(prompt_tokens=len(prompt), completion_tokens=len(tokens)),
        )

    def logprobs(self, prompts: Sequence[tuple[int, ...]]) -> list[tuple[float, ...]]:
        raise TypeError("this world scores no prompts")


def split_prompt(prompt: tuple[int, ...]) -> tuple[str, str]:
    """The user's question and the answer so far."""
    head, _, answer = TOKENIZER.decode(prompt).rpartition("<|im_sep|>")
    return head.split("<|im_sep|>")[1].split("<|im_end|>")[0], answer


def speaker(**choices: tuple[tuple[str, float], ...]) -> NextToken:
    """A model that says one of the given texts, chosen by the first word of the question."""
    return cache(lambda question, so_far: text_then(choices[question.split()[0]], so_far))


def text_then(choices: Sequence[tuple[str, float]], so_far: str) -> Distribution:
    """Next token of a model that says one of the texts `choices` and stops; shared beginnings share their mass."""
    mass: Distribution = {}
    for text, p in choices:
        if text.startswith(so_far):
            rest = text[len(so_far) :].encode()
            token = rest[0] if rest else TOKENIZER.im_end
            mass[token] = mass.get(token, 0.0) + p
    total = sum(mass.values())
    return {token: p / total for token, p in mass.items()}


def write_world(folder: Path, problems: Sequence[Problem]) -> tuple[Path, Path]:
    """Folders as the stages get them: synthetic with problems, model with a tokenizer."""
    synthetic, model = folder / "synthetic", folder / "model"
    write_records(synthetic / "problems.jsonl", problems)
    TOKENIZER.save(model)
    return synthetic, model


def files_of(folder: Path) -> dict[str, bytes]:
    """Every file below a folder with its bytes."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
