"""Do a stage of a run: hand it what it reads, let it work in `<stage>.partial/`, hash, write the manifest, publish.

What the stages of a run share stands here: which folders are verified, who answers, and what a teacher was paid.
"""

import json
import logging
import os
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from phidelity.cached import CachedCompleter
from phidelity.config import Interrupted, UserError
from phidelity.data.scale import Crew
from phidelity.device import describe_device, make_repeatable, peak_memory, reset_peak_memory
from phidelity.endpoint import HttpCompleter
from phidelity.engine.llm import open_model
from phidelity.pipeline.completers import completer
from phidelity.pipeline.manifest import (
    PROGRESS,
    REFUSED,
    STARTED,
    STARTED_CODE,
    Cost,
    Manifest,
    hash_outputs,
    read_manifest,
    versions,
    write_manifest,
)
from phidelity.pipeline.recipe import TABLES, CompleterConfig, Recipe
from phidelity.pipeline.status import Recorded
from phidelity.pipeline.steps import Step, check_whole, read_started
from phidelity.progress import Progress, readable_size
from phidelity.records import write_json
from phidelity.train.parallel import World

log = logging.getLogger(__name__)

ANSWERS = Path("answers")
"""What a teacher, or a judge behind an endpoint, was asked and said, beside the stages: --force makes a stage again and
pays for nothing twice."""
REQUESTS = {"teacher": "requests.jsonl", "judge": "judge_requests.jsonl"}
"""Each try of a request: when, status, seconds, tokens; no prompt and no key."""


class Worker:
    """What the stages of one run share while they work."""

    def __init__(self, steps: Sequence[Step], tables: Mapping[str, Any], crew: Crew, progress: Progress) -> None:
        self._steps, self._tables, self._crew, self._progress = steps, tables, crew, progress
        self._verified: set[str] = set()

    def stand(self, step: Step) -> Manifest:
        """The step's manifest, after doing the work if it is not done."""
        if manifest := read_manifest(step.folder):
            log.info("%s: done before (%.1f s)", step.name, manifest.cost.seconds)
            World.current().agree(False)
            return manifest
        for other in self._steps:
            if other.name in step.inputs and other.name not in self._verified:
                check_whole(other, contents=True)
                self._verified.add(other.name)
        manifest = read_manifest(step.partial)
        if manifest:
            World.current().agree(False)
        else:
            manifest = self._work(step)
        _publish(step)
        self._verified.add(step.name)
        log.info("%s: done in %.1f s, %s", step.name, manifest.cost.seconds, readable_size(manifest.size))
        return manifest

    def _work(self, step: Step) -> Manifest:
        log.info("%s: %s", step.name, "goes on" if open_partial(step) else "begins")
        make_repeatable()
        reset_peak_memory()
        recorder = Recorded(self._progress, step.partial)
        with _timed(step):
            World.current().agree(True)
            summary = self.call(step, recorder)
            outputs = hash_outputs(step.partial)
        manifest = Manifest(
            fingerprint=step.ingredients.fingerprint,
            ingredients=step.ingredients,
            outputs=outputs,
            versions=versions(),
            device=describe_device(),
            cost=Cost(seconds=round(recorder.seconds, 2), peak_memory=peak_memory()),
            summary=summary,
        )
        write_manifest(step.partial, manifest)
        return manifest

    def call(self, step: Step, progress: Progress) -> dict[str, Any]:
        """Do the work of a step in its partial folder; every rank does."""
        with unbound_if_refused(step), self.arguments(step) as arguments:
            summary = step.stage.function(
                step.config, **arguments, seed=step.ingredients.seed, out=step.partial, progress=progress
            )
        World.current().wait()
        return summary

    @contextmanager
    def arguments(self, step: Step) -> Iterator[dict[str, Any]]:
        """The keyword arguments of the stage's function: folders, tables, and who answers; what is paid for is kept."""
        arguments, answers = self._arguments(step), step.folder.parent / ANSWERS
        with ExitStack() as held:
            for role, log_file in REQUESTS.items():
                asked = arguments.get(role)
                if asked and (role == "teacher" or isinstance(asked, HttpCompleter)):
                    kept = held.enter_context(closing(CachedCompleter(asked, answers / f"{role}.jsonl")))
                    arguments[role] = _accounted(kept, answers / log_file)
            yield arguments

    def _arguments(self, step: Step) -> dict[str, Any]:
        root = step.folder.parent
        arguments: dict[str, Any] = {}
        for keyword in step.stage.reads:
            if keyword == "model":
                arguments[keyword] = root / step.reads[keyword][0] / "model"
            elif keyword == "models":
                arguments[keyword] = {name: root / name / "model" for name in step.reads[keyword]}
            elif keyword in TABLES:
                arguments[keyword] = self._tables[keyword]
            elif keyword == "open_model":
                arguments[keyword] = open_model
            elif keyword == "crew":
                arguments[keyword] = self._crew
            else:
                arguments[keyword] = root / keyword if step.reads[keyword] else None
        return arguments


def _accounted(kept: CachedCompleter, log_file: Path) -> CachedCompleter:
    """Give an endpoint its log, and count what earlier runs paid against its budget, once."""
    behind = kept.completer
    if isinstance(behind, HttpCompleter) and behind.log is None:
        behind.log = log_file
        paid = kept.paid()
        behind.totals.spend(paid.prompt_tokens, paid.completion_tokens, behind.prices)
    return kept


def tables_of(recipe: Recipe, ahead: Sequence[Step], environment: Mapping[str, str]) -> dict[str, Any]:
    """What the recipe's own tables give to stages; made first, so that a missing key is told before any work."""
    tables = {}
    for keyword in TABLES:
        if any(keyword in step.stage.reads for step in ahead):
            table = getattr(recipe, TABLES[keyword])
            is_completer = isinstance(table, CompleterConfig)
            tables[keyword] = completer(keyword, table, environment) if is_completer else table
    return tables


def open_partial(step: Step) -> bool:
    """Make the partial folder ready; True if it holds the beginning of this very step. Another's was refused."""
    started = read_started(step.partial)
    resumed = started is not None and started.fingerprint == step.ingredients.fingerprint
    code = step.partial / STARTED_CODE
    if not resumed:
        shutil.rmtree(step.partial, ignore_errors=True)
        step.partial.mkdir()
        code.write_text(versions()["code"], encoding="utf-8")
        write_json(step.partial / STARTED, step.ingredients.model_dump(mode="json"))
    elif code.exists() and code.read_text(encoding="utf-8") != versions()["code"]:
        log.info("%s: the code changed since it began; it goes on with the new. --force redoes it.", step.name)
    (step.partial / REFUSED).unlink(missing_ok=True)
    for half_written in step.partial.rglob("*.tmp"):
        half_written.unlink()
    return resumed


@contextmanager
def unbound_if_refused(step: Step) -> Iterator[None]:
    """Let a stage that refuses what it was given bind its folder to nothing.

    The same recipe would be refused again, and another can use nothing of the folder; so a corrected one begins anew.
    """
    try:
        yield
    except Interrupted:
        raise
    except UserError:
        (step.partial / REFUSED).touch()
        raise


def _publish(step: Step) -> None:
    for name in (PROGRESS, STARTED_CODE, STARTED):
        (step.partial / name).unlink(missing_ok=True)
    os.rename(step.partial, step.folder)


@contextmanager
def _timed(step: Step) -> Iterator[None]:
    """Append to the run's timings.jsonl how this try went."""
    began, start, outcome = datetime.now(UTC), time.monotonic(), "stopped"
    try:
        yield
        outcome = "done"
    except Exception:
        outcome = "failed"
        raise
    finally:
        seconds = round(time.monotonic() - start, 2)
        line = {
            "stage": step.name,
            "began": began.isoformat(timespec="seconds"),
            "seconds": seconds,
            "outcome": outcome,
        }
        with open(step.folder.parent / "timings.jsonl", "a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
