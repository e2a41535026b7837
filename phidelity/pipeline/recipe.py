"""A recipe: its fields are the stages in order. `STAGES` is the literal table of what each one is and reads.

One name in four places: the table `[sft]`, this room's `sft.py`, the folder `sft/` of a run and the command
`phi sft`. A table left out is a stage skipped. A stage's keyword arguments say themselves where they come
from: the name of a stage is that stage's folder; `model` is the nearest earlier model; `models` all earlier
ones by stage; `architecture`, `judge` and `attacker` come from the recipe's own tables; `open_model` turns a
checkpoint into a Completer.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self

from pydantic import Field, model_validator

import phidelity.recipes
from phidelity.config import Config, UserError, override, parse, read_toml
from phidelity.model.config import ModelConfig

Summary = dict[str, Any]


class Stage(NamedTuple):
    """One stage of the road: a plain function and what it reads."""

    name: str
    function: Callable[..., Summary]
    reads: tuple[str, ...] = ()
    makes_model: bool = False
    """Whether it leaves a checkpoint in `model/`."""
    sources: Callable[[Any], dict[str, str]] | None = None
    """Content hashes of what the stage reads from outside the run, from its configuration."""


class CompleterConfig(Config):
    """Who answers: rules over the problems' own checkers, or a model behind an OpenAI-style endpoint."""

    kind: Literal["rules", "endpoint"] = "rules"
    """`rules` needs no model; cards and reports call it rules, not a model."""
    url: str = ""
    """Base address of the endpoint, such as http://localhost:8000/v1."""
    model: str = ""
    """Name of the model at the endpoint."""
    key_env: str = ""
    """Environment variable that holds the key; the key itself is never written anywhere."""
    allow_code: bool = False
    """Whether rules may run code from answers, in the sandbox."""

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.kind == "endpoint" and not (self.url and self.model):
            raise ValueError('kind = "endpoint" needs both url and model; give them')
        if self.kind == "rules" and (self.url or self.model or self.key_env):
            raise ValueError('kind = "rules" asks no endpoint; remove url, model and key_env, or set kind = "endpoint"')
        return self


class Recipe(Config):
    """A whole road, from raw documents to a model card."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")
    """Short name in lower case; the default run directory is runs/<name>."""
    title: str = ""
    """One line for cards and reports."""
    description: str = ""
    """What the recipe is for."""
    seed: int = Field(default=0, ge=0)
    """All that is random follows from it."""
    model: ModelConfig | None = None
    """The architecture that pretraining begins with."""
    judge: CompleterConfig | None = None
    """Who decides between two answers."""
    attacker: CompleterConfig | None = None
    """Who writes attacks for break-fix."""


STAGES: tuple[Stage, ...] = ()

TABLES = {"architecture": "model", "judge": "judge", "attacker": "attacker"}
"""Keywords of stage functions that a table of the recipe fills."""

Reads = dict[str, tuple[str, ...]]
"""Keyword -> the stages whose folders fill it."""


class LoadedRecipe(NamedTuple):
    """A recipe and its text as written."""

    recipe: Recipe
    text: str


def load_recipe(
    name: str, assignments: Sequence[str] = (), cls: type[Recipe] = Recipe, stages: Sequence[Stage] = STAGES
) -> LoadedRecipe:
    """Load a recipe by path or packaged name, apply `--set` assignments, and check it as a whole."""
    path = find_recipe(name)
    data = read_toml(path)
    recipe = parse(cls, override(data, assignments), str(path))
    if mistakes := check(recipe, stages):
        count = "1 mistake" if len(mistakes) == 1 else f"{len(mistakes)} mistakes"
        raise UserError(f"{path} has {count}:\n" + "\n".join(f"  {mistake}" for mistake in mistakes))
    return LoadedRecipe(recipe, path.read_text(encoding="utf-8"))


def find_recipe(name: str) -> Path:
    """A path as it is; a bare name among the packaged recipes."""
    path = Path(name)
    packaged = Path(phidelity.recipes.__path__[0]) / f"{name}.toml"
    if path.is_file() or path.suffix == ".toml" or not packaged.is_file():
        if path.is_file() or path.suffix == ".toml":
            return path
        known = ", ".join(sorted(entry.stem for entry in packaged.parent.glob("*.toml")))
        raise UserError(f"No recipe {name!r}. Give a path to a .toml file or one of: {known}.")
    return packaged


def present(recipe: Recipe, stages: Sequence[Stage]) -> list[Stage]:
    """The stages that the recipe has a table for, in order."""
    return [stage for stage in stages if getattr(recipe, stage.name) is not None]


def reads_of(stage: Stage, earlier: Sequence[Stage]) -> Reads:
    """Which of the `earlier` stages fill each of the stage's keywords; an empty tuple where none does."""
    names = [other.name for other in earlier]
    models = tuple(other.name for other in earlier if other.makes_model)
    filled: Reads = {}
    for keyword in stage.reads:
        if keyword == "model":
            filled[keyword] = models[-1:]
        elif keyword == "models":
            filled[keyword] = models
        elif keyword not in TABLES and keyword != "open_model":
            filled[keyword] = (keyword,) if keyword in names else ()
    return filled


def check(recipe: Recipe, stages: Sequence[Stage]) -> list[str]:
    """What does not fit together in a recipe whose tables are each valid."""
    mistakes = []
    here = present(recipe, stages)
    for index, stage in enumerate(here):
        for keyword, sources in reads_of(stage, here[:index]).items():
            if not sources:
                wanted = "an earlier stage that makes a model" if keyword in ("model", "models") else f"[{keyword}]"
                mistakes.append(
                    f"{stage.name}: reads {wanted}, which the recipe lacks. Add it or leave out [{stage.name}]."
                )
        for keyword in TABLES.keys() & set(stage.reads):
            if getattr(recipe, TABLES[keyword]) is None:
                mistakes.append(f"{stage.name}: needs the table [{TABLES[keyword]}], which the recipe lacks. Add it.")
    return sorted(mistakes)
