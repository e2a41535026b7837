"""A fine-tuning run that is decided and not begun: data read and looked at, settings chosen, a folder to work in."""

from pathlib import Path
from typing import Any, NamedTuple

from phidelity.checkpoint.adapter import base_digest, check_targets
from phidelity.checkpoint.open import open_weights
from phidelity.checkpoint.packed import PackedWeights
from phidelity.checkpoint.weights import Weights
from phidelity.config import UserError
from phidelity.data.examples import examples_sha256, read_examples
from phidelity.model.config import census
from phidelity.progress import SILENT, Progress
from phidelity.records import read_json, write_json
from phidelity.train.choices import BIG, Choice, FinetuneConfig, Method, choose
from phidelity.train.examples import Look, describe, prepare
from phidelity.train.optim import OptimConfig

STARTED = "started.json"


class Job(NamedTuple):
    """A run that is decided and not begun."""

    weights: Weights
    config: FinetuneConfig
    targets: tuple[str, ...]
    method: Method
    look: Look
    n_held_out: int
    choices: dict[str, Choice]
    started: dict[str, Any]
    """What a partial run must have begun with to be gone on with."""

    def of(self, name: str) -> Any:
        """A chosen value."""
        return self.choices[name].value

    @property
    def is_big(self) -> bool:
        """Whether memory is what counts."""
        return census(self.weights.config).total >= BIG

    def lines(self) -> list[str]:
        """The look at the data and all choices, as a person reads them."""
        return [*describe(self.look, self.method), "choices:", *(choice.line() for choice in self.choices.values())]


def decide(model: Path, data: Path, config: FinetuneConfig, *, progress: Progress = SILENT) -> Job:
    """Read the data and choose what is not given; the weights are not read."""
    examples = read_examples(data, config.method, split=config.split, drop_bad=config.drop_bad)
    weights = open_weights(model, progress)
    targets = check_targets(config.targets, weights.config)
    if config.all_parameters and isinstance(weights, PackedWeights):
        raise UserError(
            f"{model} is packed, so its weights cannot be trained; an adapter can. Leave out --all-parameters."
        )
    context = min(config.context_len or weights.config.context_len, weights.config.context_len)
    look = prepare(examples, weights.tokenizer, context, str(data))
    lengths = [one.n_tokens for one in look.kept]
    n_held_out = min(max(1, round(config.held_out * len(lengths))), 256)
    choices = choose(config, weights.config, lengths, method=examples.kind, n_held_out=n_held_out)
    started = {
        "base": base_digest(weights),
        "form": weights.form,
        "data": examples_sha256(data, config.split),
        "targets": list(targets),
        "config": config.model_dump(mode="json"),
        "choices": {name: choice.value for name, choice in choices.items()},
    }
    return Job(weights, config, targets, examples.kind, look, n_held_out, choices, started)


def begin(job: Job, out: Path) -> Path:
    """Where the work goes on; a folder that exists, or a partial one of another run, is refused."""
    if out.exists() or out.is_symlink():
        raise UserError(f"{out} exists; nothing is written over. Give another --out, or move it away.")
    work = out.with_name(f"{out.name}.partial")
    if work.exists():
        before = read_json(work / STARTED) if (work / STARTED).is_file() else {}
        if odd := [key for key, value in job.started.items() if before.get(key) != value]:
            raise UserError(
                f"{work} was begun with another {', '.join(odd)}. Give the same command to go on, another --out to "
                "begin anew, or remove it."
            )
    work.mkdir(parents=True, exist_ok=True)
    write_json(work / STARTED, job.started)
    return work


def optim_of(job: Job) -> OptimConfig:
    """AdamW for a few hundred steps: an adapter decays nothing, and no step is passed over."""
    decay = 0.1 if job.config.all_parameters else 0.0
    return OptimConfig(peak_lr=job.of("lr"), warmup=0.05, weight_decay=decay, betas=(0.9, 0.999), spike_sigma=0.0)
