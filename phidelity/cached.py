"""A Completer that pays for nothing twice: answers are kept on disk under what was asked.

The key is (model name, prompt as far as a model reads it, parameters, repeat). The file is JSON lines, one answer a
line, only ever appended to; a line that a kill cut short is passed over and its answer asked for again. Threads may
share one: what one has asked for, another waits for. Answers that failed or were cancelled are not kept.
"""

import hashlib
import json
import logging
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

from phidelity.completion import (
    Asked,
    Capabilities,
    Completer,
    Completion,
    Prompt,
    SamplingParams,
    Usage,
    asked,
    check,
    what_is_read,
)

logger = logging.getLogger(__name__)

_PER_CALL = {"n", "first_repeat"}
"""Fields that say which repeats are wanted, not what an answer is like."""


class _Place(NamedTuple):
    """Where a line lies in the file."""

    start: int
    length: int


class CachedCompleter:
    """Asks `completer` for what `path` does not hold yet. One object per file and process; close it at the end."""

    def __init__(self, completer: Completer, path: Path) -> None:
        self.completer = completer
        self.path = path
        self.n_found, self.n_asked = 0, 0
        """Answers that were on disk or under way, and those that were paid for."""
        self._lock = threading.Lock()
        self._pending: dict[str, Future[None]] = {}
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = open(path, "a+b", buffering=0)  # noqa: SIM115 (open as long as the object lives)
        self._places = _index(self._file, path)

    def paid(self) -> Usage:
        """The tokens of all answers that the file holds, those of earlier runs included."""
        with self._lock:
            keys = list(self._places)
        used = [stored.get("usage") or {} for key in keys if isinstance(stored := self._read(key), dict)]
        prompt, written = (sum(one.get(name, 0) for one in used) for name in ("prompt_tokens", "completion_tokens"))
        return Usage(prompt_tokens=prompt, completion_tokens=written)

    @property
    def name(self) -> str:
        """That of the completer behind it."""
        return self.completer.name

    @property
    def capabilities(self) -> Capabilities:
        """Those of the completer behind it."""
        return self.completer.capabilities

    def close(self) -> None:
        """Close the file; what it holds stays."""
        self._file.close()

    def complete(
        self,
        prompts: Sequence[Prompt],
        params: SamplingParams,
        on_done: Callable[[int, Completion], None] | None = None,
    ) -> list[Completion]:
        """As the completer behind it; what is on disk comes first. Repeats in one call are asked for one by one."""
        check(params)
        asks = asked(prompts, params)
        keys = [self._key(what_is_read(one.prompt), params, one.repeat) for one in asks]
        results: dict[int, Completion] = {}

        def done(place: int, completion: Completion) -> None:
            results[place] = completion.model_copy(update={"index": asks[place].choice})
            if on_done:
                on_done(place, results[place])

        def ask(places: list[int]) -> None:
            for run, start in _runs(places, asks):
                part = params.model_copy(update={"n": 1, "first_repeat": start})

                def landed(index: int, completion: Completion, run: list[int] = run) -> None:
                    self._keep(keys[run[index]], completion)
                    done(run[index], completion)

                self.completer.complete([asks[place].prompt for place in run], part, landed)

        def found(place: int, stored: Any) -> None:
            done(place, Completion.model_validate(stored))

        self._settle(keys, ask, found, lambda place: place in results)
        return [results[place] for place in range(len(asks))]

    def logprobs(self, prompts: Sequence[tuple[int, ...]]) -> list[tuple[float, ...]]:
        """As the completer behind it; scores are kept, too."""
        keys = [_digest([self.name, "logprobs", list(prompt)]) for prompt in prompts]
        results: dict[int, tuple[float, ...]] = {}

        def ask(places: list[int]) -> None:
            for place, scores in zip(places, self.completer.logprobs([prompts[p] for p in places]), strict=True):
                self._append(keys[place], {"logprobs": list(scores)})
                results[place] = scores

        def found(place: int, stored: Any) -> None:
            results[place] = tuple(stored["logprobs"])

        self._settle(keys, ask, found, lambda place: place in results)
        return [results[place] for place in range(len(prompts))]

    def _key(self, prompt: str | tuple[int, ...], params: SamplingParams, repeat: int) -> str:
        how = params.model_dump(mode="json", exclude=_PER_CALL)
        return _digest([self.name, prompt, sorted(how.items()), repeat])

    def _settle(
        self,
        keys: Sequence[str],
        ask: Callable[[list[int]], None],
        found: Callable[[int, Any], None],
        is_settled: Callable[[int], bool],
    ) -> None:
        """Read what is there, ask for what nobody has asked for, wait for what others have; until all is there."""
        while open_places := [place for place in range(len(keys)) if not is_settled(place)]:
            mine, others = self._claim(keys, open_places)
            for place in sorted(set(open_places) - set(mine)):
                if (stored := self._read(keys[place])) is not None:
                    found(place, stored)
                    self.n_found += 1
            try:
                if mine:
                    ask(mine)
                    self.n_asked += len(mine)
            finally:
                with self._lock:
                    for key in {keys[place] for place in mine}:
                        self._pending.pop(key).set_result(None)
            for future in others:
                future.result()

    def _claim(self, keys: Sequence[str], places: Iterable[int]) -> tuple[list[int], list[Future[None]]]:
        """Places that this call is to ask for, and what others are asking for now."""
        mine, claimed, others = [], set(), []
        with self._lock:
            for place in places:
                key = keys[place]
                if key in self._places or key in claimed:
                    continue
                if key in self._pending:
                    others.append(self._pending[key])
                else:
                    self._pending[key] = Future()
                    claimed.add(key)
                    mine.append(place)
        return mine, others

    def _keep(self, key: str, completion: Completion) -> None:
        if completion.finish_reason not in ("error", "cancelled"):
            self._append(key, completion.model_dump(mode="json"))

    def _append(self, key: str, value: dict[str, Any]) -> None:
        line = json.dumps({"key": key, "value": value}, ensure_ascii=False).encode() + b"\n"
        with self._lock:
            n = 0
            while n < len(line):
                try:
                    n += self._file.write(line[n:])
                except OSError as error:
                    raise OSError(error.errno, error.strerror, str(self.path)) from None
            self._places[key] = _Place(self._file.tell() - len(line), len(line))

    def _read(self, key: str) -> Any:
        place = self._places.get(key)
        return place and json.loads(os.pread(self._file.fileno(), place.length, place.start))["value"]


def _runs(places: Sequence[int], asks: Sequence[Asked]) -> Iterator[tuple[list[int], int]]:
    """Places that can be asked for in one call, and its `first_repeat`: those of one prompt without a gap between."""
    by_prompt: dict[str | tuple[int, ...], list[int]] = {}
    for place in places:
        by_prompt.setdefault(what_is_read(asks[place].prompt), []).append(place)
    calls: dict[int, list[int]] = {}
    for group in by_prompt.values():
        for _, run in groupby(enumerate(group), key=lambda pair: asks[pair[1]].repeat - pair[0]):
            run_places = [place for _, place in run]
            calls.setdefault(asks[run_places[0]].repeat, []).extend(run_places)
    for start, members in sorted(calls.items()):
        yield sorted(members), start


def _index(file: Any, path: Path) -> dict[str, _Place]:
    """Where each answer lies; a torn last line is closed, so that it stays alone."""
    places: dict[str, _Place] = {}
    end, n_bad = 0, 0
    file.seek(0)
    with open(path, "rb") as lines:
        for line in lines:
            try:
                places[json.loads(line)["key"]] = _Place(end, len(line))
            except (ValueError, LookupError, TypeError):
                n_bad += 1
            end += len(line)
    if end and os.pread(file.fileno(), 1, end - 1) != b"\n":
        file.write(b"\n")
    if n_bad:
        logger.warning("%s: %d lines are cut short and passed over; their answers are asked for again.", path, n_bad)
    return places


def _digest(what: Any) -> str:
    return hashlib.sha256(json.dumps(what).encode()).hexdigest()[:32]
