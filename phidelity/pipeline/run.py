"""Run a recipe: skip what stands, resume what began, publish what is done.

A stage works in `<stage>.partial/`; when it returns, its outputs are hashed, the manifest is written and the
folder is renamed into place. So a folder with a manifest whose fingerprint fits is done, and after a kill at
any instant the same command goes on where it stood. Nothing finished is thrown away but by `--force`.
"""

import logging
import os
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from phidelity.config import UserError
from phidelity.data.scale import ALONE, Crew, PartDone
from phidelity.device import make_repeatable
from phidelity.pipeline.manifest import (
    MANIFEST,
    Ingredients,
    Manifest,
    read_manifest,
    versions,
)
from phidelity.pipeline.plain_errors import plain_errors
from phidelity.pipeline.recipe import STAGES, Recipe, Stage
from phidelity.pipeline.report import CARD, write_report
from phidelity.pipeline.status import RECIPE_JSON, locked
from phidelity.pipeline.steps import (
    Step,
    check_names,
    check_standing,
    choose,
    dependents,
    plan,
    read_started,
)
from phidelity.pipeline.worker import Worker, open_partial, tables_of, unbound_if_refused
from phidelity.progress import SILENT, Progress
from phidelity.records import atomic
from phidelity.train.parallel import World

log = logging.getLogger(__name__)

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
    given: Mapping[str, Ingredients] | None = None,
    environment: Mapping[str, str] | None = None,
    crew: Crew = ALONE,
    progress: Progress = SILENT,
    report: Callable[[Path], None] = write_report,
) -> list[Manifest]:
    """Bring the run at `out` to the end of the road, or `until` a stage, or do `only` one whose inputs stand.

    `force` redoes stages and all that depends on them; `text` is the recipe as written; `given` says what stages that
    were made elsewhere were made of; `environment` holds the keys that the recipe names; `crew` does the shards of
    stages that are cut into some; `report` writes card and report, last. Returns the manifests of the stages asked for.
    """
    steps = plan(recipe, out, stages, given)
    check_names(steps, [name for name in (until, only, *force) if name])
    asked, forced = choose(steps, until, only), dependents(steps, force)
    ahead = [step for step in asked if step in forced or not read_manifest(step.folder)]
    tables = tables_of(recipe, ahead, environment or {})
    world = World.current()
    if world.size > 1:
        _check_ranks(asked, world)
    if not world.is_first:
        return _follow(Worker(steps, tables, crew, SILENT), asked[0], world)
    with plain_errors(out):
        out.mkdir(parents=True, exist_ok=True)
        with locked(out):
            check_standing(steps, asked, forced)
            _discard(out, forced)
            _write_recipe(recipe, text, out)
            _tell_of_changed_code(asked)
            worker = Worker(steps, tables, crew, progress)
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
        worker = Worker(steps, tables_of(recipe, [step], environment or {}), crew, progress)
        try:
            with unbound_if_refused(step), worker.arguments(step) as arguments:
                step.stage.function(
                    step.config, **arguments, seed=step.ingredients.seed, out=step.partial, progress=progress
                )
        except PartDone as told:
            return told
    raise AssertionError(f"{only} went on to the end in one part of an array")


def _check_ranks(asked: Sequence[Step], world: World) -> None:
    names = [step.name for step in asked]
    if len(names) != 1 or names[0] not in RANKED:
        raise UserError(
            f"{', '.join(names)} was asked of {world.size} ranks; expected one stage that ranks share: "
            f"{', '.join(RANKED)}. Do the others without torchrun: DPO's pairs and searches are few and not divided."
        )


def _follow(worker: Worker, step: Step, world: World) -> list[Manifest]:
    """What a rank that is not the first does: the work, if the first says that there is any."""
    make_repeatable()
    if world.agree(None):
        worker.call(step, SILENT)
    return []


def _begin_together(step: Step) -> None:
    """Make the partial folder ready for several processes at once: the first to come does it."""
    until = time.monotonic() + _PATIENCE
    while read_started(step.partial) is None:
        try:
            with locked(step.folder.parent):
                open_partial(step)
        except UserError:
            if time.monotonic() > until:
                raise
            time.sleep(0.2)


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
