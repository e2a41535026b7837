"""A study: variants x seeds of a recipe, compared on numbers of their runs, against claims written beforehand.

A variant is overrides of the recipe (or a recipe of its own), or a function of the project by name. Each (variant,
seed) is a run directory of its own, so a study that was killed goes on where it stood. No stage is computed twice: one
that another arm has made from the same ingredients is linked, and `common` has all variants take a stage (such as the
tokenizer) from one of them. What a study claims is fixed by its first start: with other claims, variants or seeds the
same folder is refused.
"""

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from phidelity.config import UserError
from phidelity.pipeline.breakfix_study import toy
from phidelity.pipeline.manifest import Ingredients, Manifest, read_manifest
from phidelity.pipeline.pivotal_study import miniature
from phidelity.pipeline.recipe import STAGES, LoadedRecipe, Recipe, Stage, load_recipe
from phidelity.pipeline.run import run
from phidelity.pipeline.status import locked
from phidelity.pipeline.steps import Step, plan
from phidelity.pipeline.study_file import LoadedStudy, StudyConfig, VariantConfig
from phidelity.progress import SILENT, Progress
from phidelity.records import atomic, write_json

Scores = Mapping[str, float | Sequence[float]]
Function = Callable[..., Scores]
"""(seed=, out=, progress=, **options) -> named numbers; a sequence is the items whose mean the number is."""

FUNCTIONS: dict[str, Function] = {"breakfix": toy, "pivotal": miniature}
"""Functions of the project that a variant may name, for arms that are no recipe; a new one is an import and a line."""

REGISTERED, SCORES = "study.json", "scores.json"


class Arm(NamedTuple):
    """One variant with one seed."""

    variant: str
    seed: int
    folder: Path


def run_study(
    loaded: LoadedStudy,
    out: Path,
    *,
    environment: Mapping[str, str] | None = None,
    progress: Progress = SILENT,
    functions: Mapping[str, Function] = FUNCTIONS,
    cls: type[Recipe] = Recipe,
    stages: Sequence[Stage] = STAGES,
) -> Iterator[Arm]:
    """Do what is missing, seed by seed, and give each arm as it is done."""
    study = loaded.study
    recipes = _recipes(loaded, cls, stages)
    _check(study, recipes, functions, out, stages)
    out.mkdir(parents=True, exist_ok=True)
    with locked(out):
        _register(loaded, out)
        made: dict[str, Path] = {}
        for arm in arms(study, out):
            arm.folder.mkdir(parents=True, exist_ok=True)
            if function := study.variants[arm.variant].function:
                _call(functions[function], study.variants[arm.variant], arm, progress)
            else:
                road = _Road(study, recipes, out, made, stages, environment or {}, progress)
                _walk(road, arm)
            yield arm


def arms(study: StudyConfig, out: Path) -> list[Arm]:
    """All of them in the order of work: every variant of a seed before the next seed, so that what stands is paired."""
    providers = dict.fromkeys(study.common.values())
    order = [*providers, *(name for name in study.variants if name not in providers)]
    return [Arm(name, seed, out / name / f"seed-{seed}") for seed in study.seeds for name in order]


def is_done(study: StudyConfig, arm: Arm) -> bool:
    """Whether an arm has all its numbers."""
    found = scores(arm)
    return all(number in found for one in study.measures.values() for number in one.numbers)


def scores(arm: Arm) -> dict[str, float]:
    """The numbers of an arm: a function's own, or those of the summaries of a run's finished stages by `stage/key`."""
    if (arm.folder / SCORES).is_file():
        return json.loads((arm.folder / SCORES).read_text(encoding="utf-8"))["scores"]
    return {
        f"{manifest.stage}/{key}": value
        for manifest in _manifests(arm.folder)
        for key, value in _numbers(manifest.summary)
    }


def seconds(arm: Arm) -> float:
    """What an arm took, without the stages that others made for it."""
    own = [one for one in arm.folder.iterdir() if not one.is_symlink()] if arm.folder.is_dir() else []
    return sum(manifest.cost.seconds for one in own if (manifest := read_manifest(one)))


class _Road(NamedTuple):
    """What the arms of recipes share."""

    study: StudyConfig
    recipes: Mapping[str, LoadedRecipe]
    out: Path
    made: dict[str, Path]
    """Fingerprint -> folder of every stage that stands."""
    stages: Sequence[Stage]
    environment: Mapping[str, str]
    progress: Progress

    def run(self, arm: Arm, until: str | None, given: Mapping[str, Ingredients]) -> None:
        """Walk one arm's recipe; what others made is linked first."""
        recipe, text = self.recipes[arm.variant]
        seeded = _seeded(self.study, recipe, arm.seed, self.stages)
        steps = plan(seeded, arm.folder, self.stages, given)
        for step in steps:
            _link(self.made.get(step.ingredients.fingerprint), step)
        more = {"environment": self.environment, "progress": self.progress}
        run(seeded, arm.folder, text=text, stages=self.stages, until=until, given=given, **more)
        standing = [step for step in steps if step.folder.is_dir() and not step.folder.is_symlink()]
        self.made.update({step.ingredients.fingerprint: step.folder for step in standing})


def _walk(road: _Road, arm: Arm) -> None:
    given: dict[str, Ingredients] = {}
    for stage, provider in road.study.common.items():
        if provider != arm.variant:
            source = Arm(provider, arm.seed, road.out / provider / f"seed-{arm.seed}")
            manifest = read_manifest(source.folder / stage)
            assert manifest, f"{provider} comes first, and has made {stage}"
            given[stage] = manifest.ingredients
            road.made[manifest.fingerprint] = (source.folder / stage).resolve()
    road.run(arm, road.study.until or None, given)


def _link(target: Path | None, step: Step) -> None:
    if target and target != step.folder and not step.folder.exists():
        step.folder.unlink(missing_ok=True)
        step.folder.symlink_to(os.path.relpath(target.resolve(), step.folder.parent.resolve()))


def _call(function: Function, variant: VariantConfig, arm: Arm, progress: Progress) -> None:
    """Have a function of the project make the numbers of an arm, unless it has."""
    path, given = arm.folder / SCORES, {"function": variant.function, "options": variant.options, "seed": arm.seed}
    if path.is_file():
        return
    told = function(seed=arm.seed, out=arm.folder, progress=progress, **variant.options)
    items = {name: list(map(float, value)) for name, value in told.items() if not isinstance(value, int | float)}
    means = {name: sum(value) / len(value) for name, value in items.items()}
    numbers = {name: float(value) for name, value in told.items() if isinstance(value, int | float)}
    write_json(path, {**given, "scores": numbers | means, "items": items})


def _recipes(loaded: LoadedStudy, cls: type[Recipe], stages: Sequence[Stage]) -> dict[str, LoadedRecipe]:
    """Each variant's recipe with its overrides; all mistakes of one are told at once."""
    study, found = loaded.study, {}
    for name, variant in study.variants.items():
        if not variant.function:
            asked = variant.recipe or study.recipe
            beside = loaded.path.parent / asked
            recipe = str(beside) if beside.is_file() else asked
            try:
                found[name] = load_recipe(recipe, [*study.set, *variant.set], cls, stages)
            except UserError as error:
                raise UserError(f"Variant {name} of {loaded.path}: {error}") from None
    return found


def _seeded(study: StudyConfig, recipe: Recipe, seed: int, stages: Sequence[Stage]) -> Recipe:
    """The recipe with a seed of the study, from the stage on that the study says."""
    if not study.seeded_from:
        return recipe.model_copy(update={"seed": seed})
    names = [stage.name for stage in stages if getattr(recipe, stage.name) is not None]
    kept = names[: names.index(study.seeded_from)]
    seeds = {name: recipe.seeds.get(name, recipe.seed) for name in kept}
    return recipe.model_copy(update={"seed": seed, "seeds": recipe.seeds | seeds})


def _check(
    study: StudyConfig,
    recipes: Mapping[str, LoadedRecipe],
    functions: Mapping[str, Function],
    out: Path,
    stages: Sequence[Stage],
) -> None:
    """Refuse, before any work, stages and functions that are not there, and shared stages that differ."""
    for name, variant in study.variants.items():
        if variant.function and variant.function not in functions:
            known = ", ".join(sorted(functions)) or "none"
            raise UserError(f"Variant {name} names the function {variant.function!r}; expected one of: {known}.")
    planned: dict[str, dict[str, Step]] = {}
    for name, (recipe, _) in recipes.items():
        here = [stage.name for stage in stages if getattr(recipe, stage.name) is not None]
        named = [one for one in (study.seeded_from, study.until, *study.shared, *study.common) if one]
        if missing := [one for one in named if one not in here]:
            raise UserError(
                f"The study names the stage {missing[0]!r}, which the recipe of {name} lacks; expected some of: "
                f"{', '.join(here)}."
            )
        steps = plan(_seeded(study, recipe, study.seeds[0], stages), out, stages) if study.shared else []
        planned[name] = {step.name: step for step in steps}
    for stage in study.shared:
        first, *others = planned
        for other in others:
            if planned[other][stage].ingredients.fingerprint != planned[first][stage].ingredients.fingerprint:
                raise UserError(
                    f"{stage} is said to be shared, but {first} and {other} make it from different ingredients. Take "
                    "the override away that reaches it, or the stage from `shared`."
                )


def _register(loaded: LoadedStudy, out: Path) -> None:
    """Write what the study is, once; refuse to go on with other claims, variants or seeds than it began with."""
    path, told = out / REGISTERED, json.loads(loaded.study.model_dump_json(exclude={"title", "minutes"}))
    if path.is_file():
        before = json.loads(path.read_text(encoding="utf-8"))
        if changed := [key for key in told | before if told.get(key) != before.get(key)]:
            raise UserError(
                f"{out} was begun with another study: {', '.join(changed)} changed since. What is claimed, of what and "
                "over which seeds is fixed by the first start. Use another --out."
            )
        return
    write_json(path, told)
    with atomic(out / "study.toml", "w") as file:
        file.write(loaded.text)


def _manifests(folder: Path) -> Iterator[Manifest]:
    for path in sorted(folder.glob("*/manifest.json")):
        if manifest := read_manifest(path.parent):
            yield manifest


def _numbers(summary: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, float]]:
    """The numbers of a summary, those of inner tables by path."""
    for key, value in summary.items():
        if isinstance(value, Mapping):
            yield from _numbers(value, f"{before}{key}/")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield f"{before}{key}", float(value)
