"""A study as it is written down: variants, seeds, measures, and claims with the thresholds that decide them.

A variant is overrides of the recipe (or a recipe of its own), or a function of the project by name. Files are packaged
in `phidelity/studies` or given by path.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self

from pydantic import Field, model_validator

import phidelity.studies
from phidelity.config import Config, UserError, parse, read_toml


class MeasureConfig(Config):
    """A number that every arm is measured by."""

    title: str
    """What tables call it."""
    numbers: tuple[str, ...] = Field(min_length=1)
    """Names of numbers whose mean it is: `stage/key` as in the summary of a run's stage, or a function's own."""
    unit: str = ""
    better: Literal["higher", "lower"] = "higher"
    """Which way is good."""
    spread: float | None = Field(default=None, gt=0)
    """Standard deviation between seeds of the paired difference, from a rehearsal: what can be detected follows."""
    digits: int = Field(default=2, ge=0, le=6)
    """Decimals that tables show."""


class VariantConfig(Config):
    """One arm of the study."""

    title: str = ""
    """What it is, in a few words."""
    recipe: str = ""
    """A recipe of its own; "" for that of the study."""
    set: tuple[str, ...] = ()
    """Overrides of the recipe, as in `--set`."""
    function: str = ""
    """A function of the project instead of a recipe."""
    options: dict[str, Any] = Field(default_factory=dict)
    """What the function is given besides seed and folder."""

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if self.function and (self.recipe or self.set):
            raise ValueError("a variant is a function or overrides of a recipe; leave one out")
        return self


class ClaimConfig(Config):
    """What is expected, with the threshold that decides: the whole 95 % interval must lie beyond it."""

    says: str
    """The claim in words."""
    measure: str
    variant: str
    against: str = ""
    """The variant that is subtracted; "" for none."""
    above: float | None = None
    """It holds where the interval lies above this, and is refuted where it lies below."""
    below: float | None = None
    """The other way round."""

    @model_validator(mode="after")
    def _one_threshold(self) -> Self:
        if (self.above is None) == (self.below is None):
            raise ValueError("a claim has one threshold; give above or below")
        return self


class StudyConfig(Config):
    """Variants, seeds, measures and claims."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")
    """Short name in lower case; the default folder is runs/<name>."""
    title: str = ""
    question: str = ""
    """What the study is to decide, and how, in plain words."""
    registered: str
    """Where and when its claims were written down before its seeds were run."""
    recipe: str = ""
    """The recipe that variants override, by name, or by path from the study's file."""
    until: str = ""
    """The last stage to do; "" for all."""
    set: tuple[str, ...] = ()
    """Overrides that all variants share."""
    seeds: tuple[int, ...] = Field(min_length=1)
    """The seeds that every variant is run with."""
    seeded_from: str = ""
    """The first stage whose seed varies; those before it keep that of the recipe. "" varies all."""
    shared: tuple[str, ...] = ()
    """Stages that must be the same in all variants; a study in which they are not is refused."""
    common: dict[str, str] = Field(default_factory=dict)
    """Stages that all variants take from one of them, by its name."""
    minutes: float | None = Field(default=None, gt=0)
    """What one variant with one seed takes, from a rehearsal."""
    baseline: str
    """The variant that the others are compared with in the table."""
    variants: dict[str, VariantConfig] = Field(min_length=1)
    measures: dict[str, MeasureConfig] = Field(min_length=1)
    claims: tuple[ClaimConfig, ...] = ()

    @model_validator(mode="after")
    def _known(self) -> Self:
        asked = [("baseline", self.baseline)] + [(f"common.{stage}", name) for stage, name in self.common.items()]
        asked += [("claims", name) for one in self.claims for name in (one.variant, one.against) if name]
        unknown = [f"{key} names the variant {name!r}" for key, name in asked if name not in self.variants]
        unknown += [
            f"claims names the measure {one.measure!r}" for one in self.claims if one.measure not in self.measures
        ]
        if unknown:
            raise ValueError(f"{'; '.join(unknown)}, which is not there; give it a table or mend the name")
        if not self.recipe and any(not (one.function or one.recipe) for one in self.variants.values()):
            raise ValueError("variants override a recipe; name it with recipe")
        if len(set(self.seeds)) != len(self.seeds):
            raise ValueError("a seed occurs twice; give each once")
        return self


class LoadedStudy(NamedTuple):
    """A study, its text as written, and where its file lies."""

    study: StudyConfig
    text: str
    path: Path


def load_study(name: str, assignments: Sequence[str] = ()) -> LoadedStudy:
    """Load a study by path or packaged name; `--set` assignments are overrides of every variant's recipe."""
    path = Path(name)
    if not (path.is_file() or path.suffix == ".toml"):
        packaged = Path(phidelity.studies.__path__[0])
        path = packaged / f"{name}.toml"
        if not path.is_file():
            known = ", ".join(sorted(entry.stem for entry in packaged.glob("*.toml")))
            raise UserError(f"No study {name!r}. Give a path to a .toml file or one of: {known}.")
    study = parse(StudyConfig, read_toml(path), str(path))
    study = study.model_copy(update={"set": (*study.set, *assignments)})
    return LoadedStudy(study, path.read_text(encoding="utf-8"), path)
