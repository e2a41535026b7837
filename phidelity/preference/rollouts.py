"""Sampled continuations of answers, graded once and kept on disk: nothing is sampled twice.

A request is "draws start to start + n of this purpose, continuing this question's answer after this prefix". A
draw is a function of the stage's seed, the purpose, the prefix and its number. So results depend neither on
what else is in a batch, nor on whether a search was interrupted, nor on the steps in which draws were asked for.
Requests are sampled in units of fixed size, each written whole before the next begins: a killed search goes on at the
unit it was in, and a search with other thresholds or steps pays only for draws that are not there yet.
"""

import hashlib
import json
import logging
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from phidelity.completion import Completer, Completion, SamplingParams
from phidelity.config import UserError
from phidelity.preference.questions import Question
from phidelity.progress import SILENT, Progress
from phidelity.records import Problem, Record, Score, read_records, write_json, write_records
from phidelity.tokenizer.bpe import Tokenizer
from phidelity.tokenizer.chat import stop_ids

log = logging.getLogger(__name__)

UNIT = 1024
"""Continuations per unit of the store (ours): what a kill can cost, and how many the engine gets at once."""

Oracle = Callable[[Problem, str], Score]


class Prefix(NamedTuple):
    """The beginning of an answer: which question, and a literal slice of sampled ids."""

    question: str
    tokens: tuple[int, ...] = ()


class Rollout(Record):
    """One continuation and whether the whole answer is right."""

    tokens: tuple[int, ...]
    logprobs: tuple[float, ...]
    finish_reason: str
    success: bool | None
    """None: the oracle could not tell."""


class Drawn(Record):
    """What one request gave: a line of the store."""

    question: str
    prefix: tuple[int, ...]
    purpose: str
    start: int
    """How many draws of this purpose came before at this prefix."""
    rollouts: tuple[Rollout, ...]


class Rollouts:
    """Draws continuations through a Completer, or takes them from `folder` where they already lie."""

    def __init__(
        self,
        folder: Path,
        *,
        questions: Mapping[str, Question],
        completer: Completer,
        params: SamplingParams,
        oracle: Oracle,
        tokenizer: Tokenizer,
        progress: Progress = SILENT,
        frozen: bool = False,
    ) -> None:
        """`frozen` draws nothing: a request gets what the folder holds of it."""
        self.frozen = frozen
        self.questions, self.completer, self.params = questions, completer, params
        self.oracle, self.tokenizer, self.progress = oracle, tokenizer, progress
        self.folder = folder
        self._stored: defaultdict[tuple[Prefix, str], list[Rollout]] = defaultdict(list)
        self._drawn: defaultdict[Prefix, dict[str, int]] = defaultdict(dict)
        self._by_question: defaultdict[str, dict[Prefix, None]] = defaultdict(dict)
        self._check_origin()
        self._units = 0
        for drawn in self._read():
            self._keep(drawn)

    def draw(self, prefixes: Sequence[Prefix], purpose: str, start: int, n: int) -> list[tuple[Rollout, ...]]:
        """Draws `start` to `start + n` of this purpose at each prefix; what is missing is sampled in few batches."""
        lacking: defaultdict[int, list[Prefix]] = defaultdict(list)
        for prefix in dict.fromkeys(prefixes):
            if (there := len(self._stored[prefix, purpose])) < start + n:
                lacking[there].append(prefix)
        for there, group in sorted(lacking.items() if not self.frozen else ()):
            self._fill(group, purpose, there, start + n - there)
        for prefix in prefixes:
            self._drawn[prefix][purpose] = max(start + n, self._drawn[prefix].get(purpose, 0))
            self._by_question[prefix.question][prefix] = None
        return [tuple(self._stored[prefix, purpose][start : start + n]) for prefix in prefixes]

    def passing(self, prefix: Prefix, purposes: Sequence[str], without: Sequence[Rollout] = ()) -> list[Rollout]:
        """Continuations drawn at shorter prefixes that happen to run through `prefix`, cut to what follows it.

        Each is a sample from `prefix` as good as one drawn there. `without` are those that chose the prefix.
        """
        found = []
        for earlier in self._by_question[prefix.question]:
            size = len(earlier.tokens)
            if size < len(prefix.tokens) and prefix.tokens[:size] == earlier.tokens:
                rest = prefix.tokens[size:]
                for rollout in self.of(earlier, purposes):
                    if rollout.tokens[: len(rest)] == rest and not any(rollout is one for one in without):
                        found.append(rollout.model_copy(update={"tokens": rollout.tokens[len(rest) :]}))
        return found

    def of(self, prefix: Prefix, purposes: Sequence[str]) -> list[Rollout]:
        """What was drawn at `prefix` so far for these purposes."""
        drawn = self._drawn.get(prefix, {})
        return [one for purpose in purposes for one in self._stored[prefix, purpose][: drawn.get(purpose, 0)]]

    def at(self, prefix: Prefix) -> list[Rollout]:
        """Every continuation drawn at `prefix` so far; what a killed run stored beyond that does not count."""
        return self.of(prefix, sorted(self._drawn.get(prefix, {})))

    def drawn_at(self) -> list[Prefix]:
        """Every prefix at which something was drawn, in the order of the first draws."""
        return [prefix for prefixes in self._by_question.values() for prefix in prefixes]

    def text(self, tokens: Sequence[int]) -> str:
        """An answer's text, without the token that ends it."""
        stop = stop_ids(self.tokenizer)
        return self.tokenizer.decode(token for token in tokens if token not in stop)

    def census(self) -> dict[str, int]:
        """How many continuations and tokens were drawn, and how many by reason ended otherwise than by themselves."""
        counts: Counter[str] = Counter()
        for rollout in (rollout for prefix in list(self._drawn) for rollout in self.at(prefix)):
            counts["rollouts"] += 1
            counts["tokens"] += len(rollout.tokens)
            counts[f"ended_by_{rollout.finish_reason}"] += 1
            counts["undetermined"] += rollout.success is None
        return dict(sorted(counts.items()))

    def _fill(self, prefixes: Sequence[Prefix], purpose: str, start: int, n: int) -> None:
        per_unit = max(1, UNIT // n)
        with self.progress.task(f"Sampling answers ({purpose})", len(prefixes) * n, "answers") as task:
            for first in range(0, len(prefixes), per_unit):
                unit = prefixes[first : first + per_unit]
                self._add(self._sample(unit, purpose, start, n, lambda *_: task.advance(1)))

    def _sample(
        self,
        unit: Sequence[Prefix],
        purpose: str,
        start: int,
        n: int,
        on_done: Callable[[int, Completion], None],
    ) -> list[Drawn]:
        prompts = [self.questions[prefix.question].prompt + prefix.tokens for prefix in unit for _ in range(n)]
        seed = derived_seed(self.params.seed, purpose)
        params = self.params.model_copy(update={"seed": seed, "first_repeat": start})
        completions = self.completer.complete(prompts, params, on_done)
        graded = [self._grade(unit[i // n], completion) for i, completion in enumerate(completions)]
        return [
            Drawn(
                question=prefix.question,
                prefix=prefix.tokens,
                purpose=purpose,
                start=start,
                rollouts=tuple(graded[i * n : (i + 1) * n]),
            )
            for i, prefix in enumerate(unit)
        ]

    def _grade(self, prefix: Prefix, completion: Completion) -> Rollout:
        if not completion.tokens and completion.finish_reason in ("stop", "length"):
            raise UserError(
                f"{self.completer.name} returned an answer without token ids; preference pairs need a model that "
                "gives them. Use a local checkpoint, or an endpoint that returns ids."
            )
        success = None
        if completion.finish_reason != "error":
            value = self.oracle(
                self.questions[prefix.question].problem, self.text(prefix.tokens + completion.tokens)
            ).value
            success = None if value is None else value >= 0.5
        return Rollout(
            tokens=completion.tokens,
            logprobs=tuple(round(logprob, 4) for logprob in completion.logprobs),
            finish_reason=completion.finish_reason,
            success=success,
        )

    def _add(self, unit: Sequence[Drawn]) -> None:
        write_records(self.folder / f"{self._units:05d}.jsonl.zst", unit)
        self._units += 1
        for drawn in unit:
            self._keep(drawn)

    def _keep(self, drawn: Drawn) -> None:
        stored = self._stored[Prefix(drawn.question, drawn.prefix), drawn.purpose]
        assert len(stored) == drawn.start, "draws are stored in their order"
        stored += drawn.rollouts

    def _read(self) -> Iterator[Drawn]:
        while (path := self.folder / f"{self._units:05d}.jsonl.zst").exists():
            yield from read_records(path, Drawn)
            self._units += 1
        if self._units:
            log.info("Going on with %d units of rollouts from %s", self._units, self.folder)

    def _check_origin(self) -> None:
        """A store belongs to one model and one way of sampling."""
        path = self.folder / "origin.json"
        origin = {"model": self.completer.name, "sampling": self.params.model_dump(mode="json")}
        if not path.exists():
            write_json(path, origin)
        elif json.loads(path.read_text(encoding="utf-8")) != origin:
            raise UserError(
                f"{self.folder} holds rollouts of another model or of other sampling settings than {origin}. "
                "Remove that folder to sample again, or restore the settings."
            )


def derived_seed(seed: int, *purpose: object) -> int:
    """A seed for one purpose: the same on every machine and in every process."""
    text = "/".join(map(str, (seed, *purpose)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:7], "big")
