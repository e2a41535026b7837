"""What a run consists of, and whether what stands in its folder fits: planned whole before any stage works.

Every fingerprint follows from the recipe and the outside sources alone, so a recipe that was changed under a
half-finished run is refused before anything is touched, with the keys that changed and the two ways out. A stage
that itself refused what it was given is no half-finished one: its folder binds nobody.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from phidelity.config import Config, UserError
from phidelity.pipeline.corpus_config import check_apart
from phidelity.pipeline.manifest import MANIFEST, REFUSED, STARTED, Ingredients, differences, read_manifest, verify
from phidelity.pipeline.recipe import STAGES, TABLES, Reads, Recipe, Stage, present, reads_of
from phidelity.pipeline.status import partial_folder


class Step(NamedTuple):
    """One stage of one run: what it is given, and where it works."""

    stage: Stage
    config: Config
    reads: Reads
    ingredients: Ingredients
    folder: Path
    partial: Path

    @property
    def name(self) -> str:
        """The stage's name."""
        return self.stage.name

    @property
    def inputs(self) -> list[str]:
        """The stages it reads."""
        return list(self.ingredients.inputs)


def plan(
    recipe: Recipe, out: Path, stages: Sequence[Stage] = STAGES, given: Mapping[str, Ingredients] | None = None
) -> list[Step]:
    """The steps of a run with their ingredients, known before any of them is done.

    `given` are the ingredients of stages that were made elsewhere, by another recipe, and stand in `out` as links.
    """
    if recipe.corpus:
        check_apart(recipe.corpus, out)
    here = present(recipe, stages)
    steps: list[Step] = []
    for index, stage in enumerate(here):
        reads = reads_of(stage, here[:index])
        fingerprints = {step.name: step.ingredients.fingerprint for step in steps}
        config = getattr(recipe, stage.name)
        ingredients = Ingredients(
            stage=stage.name,
            config=config.model_dump(mode="json"),
            tables={TABLES[key]: table.model_dump(mode="json") for key, table in _tables(recipe, stage).items()},
            seed=recipe.seeds.get(stage.name, recipe.seed),
            inputs={name: fingerprints[name] for names in reads.values() for name in names},
            sources=stage.sources(config) if stage.sources else {},
        )
        ingredients = (given or {}).get(stage.name, ingredients)
        steps.append(Step(stage, config, reads, ingredients, out / stage.name, partial_folder(out, stage.name)))
    return steps


def choose(steps: Sequence[Step], until: str | None, only: str | None) -> list[Step]:
    """The steps asked for: all, those up to `until`, or `only` one."""
    names = [step.name for step in steps]
    if only:
        return [step for step in steps if step.name == only]
    return list(steps[: names.index(until) + 1]) if until else list(steps)


def check_names(steps: Sequence[Step], names: Iterable[str]) -> None:
    """Refuse the names of stages that the recipe does not have."""
    known = [step.name for step in steps]
    for name in names:
        if name not in known:
            raise UserError(f"The recipe has no stage {name!r}; expected one of: {', '.join(known)}.")


def dependents(steps: Sequence[Step], names: Sequence[str]) -> list[Step]:
    """The steps named, and all that read them, directly or through others."""
    found = set(names)
    for step in steps:
        if found & set(step.inputs):
            found.add(step.name)
    return [step for step in steps if step.name in found]


def ancestors(steps: Sequence[Step], asked: Sequence[Step]) -> list[Step]:
    """The steps asked for, and all that they read, directly or through others."""
    found = {step.name for step in asked}
    for step in reversed(steps):
        if step.name in found:
            found.update(step.inputs)
    return [step for step in steps if step.name in found]


def check_standing(steps: Sequence[Step], asked: Sequence[Step], forced: Sequence[Step]) -> None:
    """Refuse, before anything is touched, to work in a run that does not fit the recipe or is damaged."""
    for step in ancestors(steps, asked):
        if step not in forced:
            _check_step(step)
    given = {step.name for step in asked}
    for step in asked:
        for name in step.inputs if step in forced or read_manifest(step.folder) is None else ():
            if name not in given and read_manifest(step.folder.with_name(name)) is None:
                raise UserError(
                    f"{step.name} reads {name}, which is not done in {step.folder.parent}. Do it first: phi {name}, "
                    f"or all the way with: phi run --until {step.name}"
                )


def check_whole(step: Step, contents: bool) -> None:
    """Refuse a finished step whose outputs are missing, truncated or (if `contents`) altered."""
    if faults := verify(step.folder, contents):
        more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
        raise UserError(f"{faults[0]}{more}. Bring it back, or make it again with --force {step.name}.")


def read_started(partial: Path) -> Ingredients | None:
    """What a partial folder was begun with; None where there is nothing to go on from."""
    try:
        return Ingredients.model_validate_json((partial / STARTED).read_bytes())
    except (OSError, ValueError):
        manifest = read_manifest(partial)  # killed between the last unlink and the rename
        return manifest.ingredients if manifest else None


def _check_step(step: Step) -> None:
    if manifest := read_manifest(step.folder):
        _check_unchanged(step, manifest.ingredients, "made")
        check_whole(step, contents=False)
    elif step.folder.exists():
        raise UserError(
            f"{step.folder} exists without a {MANIFEST}, so no finished stage left it. Move it away or use another "
            "--out."
        )
    elif (started := read_started(step.partial)) and not (step.partial / REFUSED).exists():
        _check_unchanged(step, started, "begun")


def _check_unchanged(step: Step, old: Ingredients, verb: str) -> None:
    if old.fingerprint != step.ingredients.fingerprint:
        raise UserError(
            f"{step.name} was {verb} in {step.folder.parent} with another recipe "
            f"({'; '.join(differences(old, step.ingredients))}). Use another --out to keep it, or --force {step.name} "
            "to redo it and what depends on it."
        )


def _tables(recipe: Recipe, stage: Stage) -> dict[str, Config]:
    """The recipe's tables that a stage is handed, those that may be absent where they are there."""
    found = {keyword: getattr(recipe, TABLES[keyword]) for keyword in stage.reads if keyword in TABLES}
    return {keyword: table for keyword, table in found.items() if table is not None}
