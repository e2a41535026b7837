"""A recipe: its fields are the stages in order. `STAGES` is the literal table of what each one is and reads.

One name in four places: the table `[sft]`, this room's `sft.py`, the folder `sft/` of a run and the command
`phi sft`. A table left out is a stage skipped. A stage's keyword arguments say themselves where they come
from: the name of a stage is that stage's folder; `model` is the nearest earlier model; `models` all earlier
ones by stage; `architecture`, `judge` and `attacker` come from the recipe's own tables; `open_model` turns a
checkpoint into a Completer; `teacher`, which may be absent, too; `crew` says who does the shards of a stage that
is cut into some.
"""

import shlex
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self

from pydantic import Field, model_validator

import phidelity.recipes
from phidelity.config import Config, UserError, override, parse, read_toml
from phidelity.data.mixture import check_groups, check_shares
from phidelity.model.config import ModelConfig
from phidelity.pipeline.benchmarks import BenchmarksConfig, benchmarks
from phidelity.pipeline.breakfix import BreakfixConfig, breakfix
from phidelity.pipeline.corpus import corpus
from phidelity.pipeline.corpus_config import CorpusConfig, corpus_sources
from phidelity.pipeline.evaluate import LAST, EvaluateConfig, evaluate
from phidelity.pipeline.export import ExportConfig, export
from phidelity.pipeline.judged_dpo import JudgedDpoConfig, judged_dpo
from phidelity.pipeline.judged_pairs import JudgedPairsConfig, judged_pairs
from phidelity.pipeline.midtrain import MidtrainConfig, midtrain
from phidelity.pipeline.pivotal_dpo import PivotalDpoConfig, pivotal_dpo
from phidelity.pipeline.pivotal_pairs import PivotalPairsConfig, pivotal_pairs
from phidelity.pipeline.pretrain import PretrainConfig, pretrain
from phidelity.pipeline.rounds import RoundsConfig, rounds
from phidelity.pipeline.sft import SftConfig, sft
from phidelity.pipeline.shards import ShardsConfig, shards
from phidelity.pipeline.synthetic import SyntheticConfig, synthetic
from phidelity.pipeline.tokenizer import TokenizerConfig, tokenizer, tokenizer_sources
from phidelity.train.shards import ShardTrainingConfig

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
    optional: tuple[str, ...] = ()
    """Stages among `reads` that a recipe may lack: their keyword is None then."""


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
    parallel: int = Field(default=8, ge=1, le=1024)
    """Requests under way at the endpoint at a time."""
    prices: tuple[float, float] = (0.0, 0.0)
    """Per million tokens read and written, for the costs and the cap."""
    max_cost: float | None = Field(default=None, gt=0)
    """What may be spent in all, in the currency of the prices; a hard cap that holds over resumed runs."""
    max_tokens: int | None = Field(default=None, gt=0)
    """Tokens that may be read and written in all; a hard cap, too."""
    timeout: float = Field(default=600.0, gt=0)
    """Seconds that one try may take."""

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.kind == "endpoint" and not (self.url and self.model):
            raise ValueError('kind = "endpoint" needs both url and model; give them')
        if self.max_cost is not None and not any(self.prices):
            raise ValueError("max_cost needs prices, or nothing ever costs anything; give both")
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
    seed: int = Field(default=0, ge=0, lt=2**63)
    """All that is random follows from it."""
    seeds: dict[str, int] = Field(default_factory=dict)
    """Seeds of single stages by name, where they differ: a study keeps its data while it varies the training."""
    model: ModelConfig | None = None
    """The architecture that pretraining begins with."""
    judge: CompleterConfig | None = None
    """Who decides between two answers."""
    attacker: CompleterConfig | None = None
    """Who writes attacks for break-fix."""
    teacher: CompleterConfig | None = None
    """Who marks documents for the quality classifier (without it a proxy by kind of source does), who writes in the
    pipelines of [synthetic.taught], and who words bogus questions for [sft.known]."""

    benchmarks: BenchmarksConfig | None = None
    corpus: CorpusConfig | None = None
    synthetic: SyntheticConfig | None = None
    tokenizer: TokenizerConfig | None = None
    shards: ShardsConfig | None = None
    pretrain: PretrainConfig | None = None
    midtrain: MidtrainConfig | None = None
    sft: SftConfig | None = None
    pivotal_pairs: PivotalPairsConfig | None = None
    pivotal_dpo: PivotalDpoConfig | None = None
    judged_pairs: JudgedPairsConfig | None = None
    judged_dpo: JudgedDpoConfig | None = None
    rounds: RoundsConfig | None = None
    breakfix: BreakfixConfig | None = None
    evaluate: EvaluateConfig | None = None
    export: ExportConfig | None = None


STAGES: tuple[Stage, ...] = (
    Stage("benchmarks", benchmarks),
    Stage("corpus", corpus, ("benchmarks", "crew", "teacher"), sources=corpus_sources),
    Stage("synthetic", synthetic, ("corpus", "benchmarks", "teacher")),
    Stage("tokenizer", tokenizer, ("corpus", "synthetic"), sources=tokenizer_sources, optional=("synthetic",)),
    Stage("shards", shards, ("corpus", "synthetic", "tokenizer", "crew"), optional=("synthetic",)),
    Stage("pretrain", pretrain, ("architecture", "shards", "tokenizer"), makes_model=True),
    Stage("midtrain", midtrain, ("shards", "model"), makes_model=True),
    Stage("sft", sft, ("synthetic", "model", "open_model", "teacher"), makes_model=True),
    Stage("pivotal_pairs", pivotal_pairs, ("synthetic", "model", "open_model")),
    Stage("pivotal_dpo", pivotal_dpo, ("pivotal_pairs", "model"), makes_model=True),
    Stage("judged_pairs", judged_pairs, ("synthetic", "model", "models", "judge", "open_model")),
    Stage("judged_dpo", judged_dpo, ("judged_pairs", "model"), makes_model=True),
    Stage("rounds", rounds, ("synthetic", "model", "models", "judge", "open_model"), makes_model=True),
    Stage(
        "breakfix",
        breakfix,
        ("benchmarks", "synthetic", "judged_pairs", "model", "attacker", "judge", "open_model"),
        makes_model=True,
        optional=("judged_pairs",),
    ),
    Stage("evaluate", evaluate, ("benchmarks", "corpus", "models", "open_model"), optional=("corpus",)),
    Stage("export", export, ("model",)),
)

TABLES = {"architecture": "model", "judge": "judge", "attacker": "attacker", "teacher": "teacher"}
"""Keywords of stage functions that a table of the recipe fills."""

OPTIONAL = ("teacher",)
"""Those that are None where the recipe lacks the table."""

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
    told = f"{path} with {' '.join(f'--set {shlex.quote(one)}' for one in assignments)}" if assignments else str(path)
    recipe = parse(cls, override(read_toml(path), assignments), told)
    if mistakes := check(recipe, stages):
        count = "1 mistake" if len(mistakes) == 1 else f"{len(mistakes)} mistakes"
        raise UserError(f"{told} has {count}:\n" + "\n".join(f"  {mistake}" for mistake in mistakes))
    return LoadedRecipe(recipe, path.read_text(encoding="utf-8"))


def find_recipe(name: str) -> Path:
    """A path as it is; a bare name among the packaged recipes."""
    path, folder = Path(name), Path(phidelity.recipes.__path__[0])
    if path.is_file() or path.suffix == ".toml":
        return path
    known = {entry.stem: entry for entry in sorted(folder.glob("*.toml"))}
    if name in known:
        return known[name]
    hint = f" For a folder of documents: phi run corpus --set {shlex.quote(f'corpus.root={path}')}." * path.is_dir()
    raise UserError(f"No recipe {name!r}. Give a path to a .toml file or one of: {', '.join(known)}.{hint}")


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
        elif keyword not in TABLES and keyword not in ("open_model", "crew"):
            filled[keyword] = (keyword,) if keyword in names else ()
    return filled


def check(recipe: Recipe, stages: Sequence[Stage]) -> list[str]:
    """What does not fit together in a recipe whose tables are each valid."""
    here = present(recipe, stages)
    mistakes = [mistake for index, stage in enumerate(here) for mistake in _missing(recipe, stage, here[:index])]
    names = [stage.name for stage in here]
    mistakes += [
        f"seeds names {name!r}, which is no stage of the recipe; expected some of: {', '.join(names)}."
        for name in sorted(set(recipe.seeds) - set(names))
    ]
    return [
        *mistakes,
        *_training(recipe),
        *_mixtures(recipe),
        *_contexts(recipe),
        *_vocabulary(recipe),
        *_named(recipe, here),
    ]


def _missing(recipe: Recipe, stage: Stage, earlier: Sequence[Stage]) -> Iterator[str]:
    for keyword, sources in reads_of(stage, earlier).items():
        if not sources and keyword not in stage.optional:
            wanted = "a model of an earlier stage" if keyword in ("model", "models") else f"[{keyword}]"
            yield f"{stage.name} reads {wanted}, which the recipe lacks. Add it, or leave out [{stage.name}]."
    for keyword in stage.reads:
        if keyword in TABLES and keyword not in OPTIONAL and getattr(recipe, TABLES[keyword]) is None:
            yield f"{stage.name} needs the table [{TABLES[keyword]}], which the recipe lacks. Add it."


def _training(recipe: Recipe) -> Iterator[str]:
    """Steps must hold at least one row, and a budget at least one step."""
    for name, table in (("pretrain", recipe.pretrain), ("midtrain", recipe.midtrain), ("sft", recipe.sft)):
        if table and table.batch_tokens < table.context_len:
            yield f"{name}.batch_tokens {table.batch_tokens} holds no row of context_len {table.context_len}. Raise it."
        if table and isinstance(table, ShardTrainingConfig) and table.tokens < table.batch_tokens:
            yield f"{name}.tokens {table.tokens} makes no step of batch_tokens {table.batch_tokens}. Raise it."


def _mixtures(recipe: Recipe) -> Iterator[str]:
    """Shares are of groups that there are, and sum to 1."""
    tables = {"shards": recipe.shards, "pretrain": recipe.pretrain, "midtrain": recipe.midtrain}
    for name, table in tables.items():
        try:
            if table:
                check_groups(table.shares)
                check_shares(table.shares)
        except UserError as error:
            yield f"{name}.shares: {error}"


def _contexts(recipe: Recipe) -> Iterator[str]:
    """No stage reads further than the model that it gets, or than the architecture allows."""
    reached = 0
    for name, table in (("pretrain", recipe.pretrain), ("midtrain", recipe.midtrain)):
        if table and recipe.model and table.context_len > recipe.model.context_len:
            yield f"{name}.context_len {table.context_len} exceeds model.context_len {recipe.model.context_len}."
        if table and table.context_len < reached:
            yield f"{name}.context_len {table.context_len} is shorter than the {reached} of the stage before. Raise it."
        reached = table.context_len if table else reached
    if recipe.sft and reached and recipe.sft.context_len > reached:
        yield f"sft.context_len {recipe.sft.context_len} exceeds the {reached} that the model was trained to. Lower it."


def _vocabulary(recipe: Recipe) -> Iterator[str]:
    if recipe.tokenizer and recipe.model and recipe.tokenizer.vocab_size > recipe.model.vocab_size:
        yield (
            f"tokenizer.vocab_size {recipe.tokenizer.vocab_size} exceeds the {recipe.model.vocab_size} rows of "
            "model.vocab_size. Make them equal."
        )


def _named(recipe: Recipe, here: Sequence[Stage]) -> Iterator[str]:
    """Models that are asked for by the stage that makes them."""
    makers = [stage.name for stage in here if stage.makes_model]
    asked = [("evaluate.models", name) for name in (recipe.evaluate.models if recipe.evaluate else ()) if name != LAST]
    asked += [("judged_pairs.older", name) for name in (recipe.judged_pairs.older if recipe.judged_pairs else ())]
    asked += [("rounds.pairs.older", name) for name in (recipe.rounds.pairs.older if recipe.rounds else ())]
    for key, name in asked:
        if name not in makers:
            yield f"{key} names {name!r}, which makes no model in this recipe; expected some of: {', '.join(makers)}."
