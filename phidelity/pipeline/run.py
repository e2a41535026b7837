"""Run a recipe: skip what stands, resume what began, publish what is done.

A stage works in `<stage>.partial/`; when it returns, its outputs are hashed, the manifest is written and the
folder is renamed into place. So a folder with a manifest whose fingerprint fits is done, and after a kill at
any instant the same command goes on where it stood. Nothing finished is thrown away but by `--force`.
"""

import json
import logging
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from phidelity.cached import CachedCompleter
from phidelity.config import UserError
from phidelity.data.scale import ALONE, Crew, PartDone
from phidelity.device import describe_device, make_repeatable, peak_memory, reset_peak_memory
from phidelity.endpoint import HttpCompleter
from phidelity.engine.llm import open_model
from phidelity.pipeline.completers import completer
from phidelity.pipeline.manifest import (
    MANIFEST,
    PROGRESS,
    STARTED,
    STARTED_CODE,
    Cost,
    Manifest,
    hash_outputs,
    read_manifest,
    versions,
    write_manifest,
)
from phidelity.pipeline.plain_errors import plain_errors
from phidelity.pipeline.recipe import STAGES, TABLES, CompleterConfig, Recipe, Stage
from phidelity.pipeline.report import CARD, write_report
from phidelity.pipeline.status import RECIPE_JSON, Recorded, locked
from phidelity.pipeline.steps import (
    Step,
    check_names,
    check_standing,
    check_whole,
    choose,
    dependents,
    plan,
    read_started,
)
from phidelity.progress import SILENT, Progress, readable_size
from phidelity.records import atomic, write_json
from phidelity.train.parallel import World

log = logging.getLogger(__name__)

ANSWERS = Path("answers") / "teacher.jsonl"
"""What a teacher was asked and said, beside the stages: --force makes a stage again, and pays for nothing twice."""

REQUESTS = ANSWERS.with_name("requests.jsonl")
"""Each try of a request to the teacher: when, status, seconds, tokens; no prompt and no key."""
_PATIENCE = 60
"""Seconds that a task of an array waits for another that prepares the stage (ours)."""
RANKED = ("pretrain", "midtrain", "sft")
"""Stages whose training several ranks share, one asked for at a time."""


def run(
    recipe: Recipe,
    out: Path,
    *,
    text: str = "",
    stages: Sequence[Stage] = STAGES,
    until: str | None = None,
    only: str | None = None,
    force: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
    crew: Crew = ALONE,
    progress: Progress = SILENT,
    report: Callable[[Path], None] = write_report,
) -> list[Manifest]:
    """Bring the run at `out` to the end of the road, or `until` a stage, or do `only` one whose inputs stand.

    `force` redoes stages and all that depends on them; `text` is the recipe as written; `environment` holds the
    keys that the recipe names; `crew` does the shards of stages that are cut into some; `report` writes card and
    report, last. Returns the manifests of the stages asked for.
    """
    steps = plan(recipe, out, stages)
    check_names(steps, [name for name in (until, only, *force) if name])
    asked, forced = choose(steps, until, only), dependents(steps, force)
    ahead = [step for step in asked if step in forced or not read_manifest(step.folder)]
    tables = _tables(recipe, ahead, environment or {})
    world = World.current()
    if world.size > 1:
        _check_ranks(asked, world)
    if not world.is_first:
        return _follow(_Worker(recipe.seed, steps, tables, crew, SILENT), asked[0], world)
    with plain_errors(out):
        out.mkdir(parents=True, exist_ok=True)
        with locked(out):
            check_standing(steps, asked, forced)
            _discard(out, forced)
            _write_recipe(recipe, text, out)
            _tell_of_changed_code(asked)
            worker = _Worker(recipe.seed, steps, tables, crew, progress)
            manifests = [worker.stand(step) for step in asked]
            if not _is_fresh(out / CARD, [step.folder / MANIFEST for step in asked]):
                report(out)
            return manifests


def run_part(
    recipe: Recipe,
    out: Path,
    *,
    only: str,
    crew: Crew,
    stages: Sequence[Stage] = STAGES,
    environment: Mapping[str, str] | None = None,
    progress: Progress = SILENT,
) -> PartDone:
    """Do one part of a stage's shards, as a task of an array does: nothing is joined or published.

    Tasks may work at once, on machines that share a file system. The plain run, given when they have ended, does what
    is left and ends the stage.
    """
    steps = plan(recipe, out, stages)
    check_names(steps, [only])
    step = next(step for step in steps if step.name == only)
    if "crew" not in step.stage.reads:
        cut = ", ".join(stage.name for stage in stages if "crew" in stage.reads)
        raise UserError(f"{only} is not cut into shards; expected one of {cut}. Leave out --part.")
    check_standing(steps, [step], [])
    if read_manifest(step.folder):
        return PartDone("all", 0, 0)
    with plain_errors(out):
        _begin_together(step)
        worker = _Worker(recipe.seed, steps, _tables(recipe, [step], environment or {}), crew, progress)
        try:
            with worker.arguments(step) as arguments:
                step.stage.function(step.config, **arguments, seed=recipe.seed, out=step.partial, progress=progress)
        except PartDone as told:
            return told
    raise AssertionError(f"{only} went on to the end in one part of an array")


class _Worker:
    """What the stages of one run share while they work."""

    def __init__(
        self, seed: int, steps: Sequence[Step], tables: Mapping[str, Any], crew: Crew, progress: Progress
    ) -> None:
        self._seed, self._steps, self._tables, self._crew, self._progress = seed, steps, tables, crew, progress
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
        log.info("%s: %s", step.name, "goes on" if _open_partial(step) else "begins")
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
        with self.arguments(step) as arguments:
            summary = step.stage.function(
                step.config, **arguments, seed=self._seed, out=step.partial, progress=progress
            )
        World.current().wait()
        return summary

    @contextmanager
    def arguments(self, step: Step) -> Iterator[dict[str, Any]]:
        """The keyword arguments of the stage's function: folders, tables, and who answers; a teacher's are kept."""
        arguments = self._arguments(step)
        with ExitStack() as held:
            if teacher := arguments.get("teacher"):
                kept = held.enter_context(closing(CachedCompleter(teacher, step.folder.parent / ANSWERS)))
                arguments["teacher"] = _accounted(kept, step.folder.parent / REQUESTS)
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


def _check_ranks(asked: Sequence[Step], world: World) -> None:
    names = [step.name for step in asked]
    if len(names) != 1 or names[0] not in RANKED:
        raise UserError(
            f"{', '.join(names)} was asked of {world.size} ranks; expected one stage that ranks share: "
            f"{', '.join(RANKED)}. Do the others without torchrun: DPO's pairs and searches are few and not divided."
        )


def _follow(worker: _Worker, step: Step, world: World) -> list[Manifest]:
    """What a rank that is not the first does: the work, if the first says that there is any."""
    make_repeatable()
    if world.agree(None):
        worker.call(step, SILENT)
    return []


def _tables(recipe: Recipe, ahead: Sequence[Step], environment: Mapping[str, str]) -> dict[str, Any]:
    """What the recipe's own tables give to stages; made first, so that a missing key is told before any work."""
    tables = {}
    for keyword in TABLES:
        if any(keyword in step.stage.reads for step in ahead):
            table = getattr(recipe, TABLES[keyword])
            is_completer = isinstance(table, CompleterConfig)
            tables[keyword] = completer(keyword, table, environment) if is_completer else table
    return tables


def _open_partial(step: Step) -> bool:
    """Make the partial folder ready; True if it holds the beginning of this very step (checked before)."""
    resumed = read_started(step.partial) is not None
    code = step.partial / STARTED_CODE
    if not resumed:
        shutil.rmtree(step.partial, ignore_errors=True)
        step.partial.mkdir()
        code.write_text(versions()["code"], encoding="utf-8")
        write_json(step.partial / STARTED, step.ingredients.model_dump(mode="json"))
    elif code.exists() and code.read_text(encoding="utf-8") != versions()["code"]:
        log.info("%s: the code changed since it began; it goes on with the new. --force redoes it.", step.name)
    for half_written in step.partial.rglob("*.tmp"):
        half_written.unlink()
    return resumed


def _begin_together(step: Step) -> None:
    """Make the partial folder ready for several processes at once: the first to come does it."""
    until = time.monotonic() + _PATIENCE
    while read_started(step.partial) is None:
        try:
            with locked(step.folder.parent):
                _open_partial(step)
        except UserError:
            if time.monotonic() > until:
                raise
            time.sleep(0.2)


def _publish(step: Step) -> None:
    for name in (PROGRESS, STARTED_CODE, STARTED):
        (step.partial / name).unlink(missing_ok=True)
    os.rename(step.partial, step.folder)


def _discard(out: Path, forced: Sequence[Step]) -> None:
    """Unpublish the forced steps, the last first, so that no stage outlives what it was made from."""
    for step in reversed(forced):
        for folder in (step.folder, step.partial):
            if folder.exists():
                log.info("%s: discarded, as asked by --force", folder.name)
                doomed = folder.with_name(f"{folder.name}.discarded")
                shutil.rmtree(doomed, ignore_errors=True)
                os.rename(folder, doomed)
    for doomed in out.glob("*.discarded"):
        shutil.rmtree(doomed)


def _is_fresh(page: Path, manifests: Sequence[Path]) -> bool:
    """Whether a page was written after all that it tells of."""
    return page.is_file() and all(page.stat().st_mtime_ns >= path.stat().st_mtime_ns for path in manifests)


def _write_recipe(recipe: Recipe, text: str, out: Path) -> None:
    for name, content in (("recipe.toml", text), (RECIPE_JSON, recipe.model_dump_json(indent=2) + "\n")):
        path = out / name
        if content and not (path.is_file() and path.read_text(encoding="utf-8") == content):
            with atomic(path, "w") as file:
                file.write(content)


def _tell_of_changed_code(asked: Sequence[Step]) -> None:
    manifests = [manifest for step in asked if (manifest := read_manifest(step.folder))]
    older = [manifest.stage for manifest in manifests if manifest.versions["code"] != versions()["code"]]
    if older:
        log.info("The code changed since these were made: %s. They are kept; --force STAGE redoes.", ", ".join(older))


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
