"""Training on a mixture of shards: what pretraining and midtraining have in common.

Steps follow from budgets in tokens, batches are a function of (seed, step), validation is the held-out split of
every group, and at the end the model goes on from the openings of held-out documents for people to read.
"""

from pathlib import Path
from typing import Any

from pydantic import Field

from phidelity.checkpoint.huggingface import save_checkpoint
from phidelity.completion import SamplingParams
from phidelity.config import Config, UserError
from phidelity.data.batch import Batch
from phidelity.data.loader import Loader, validation_batches
from phidelity.data.mixture import check_epochs, mixture
from phidelity.engine.llm import LLM
from phidelity.model.config import census, flop_per_token
from phidelity.model.transformer import Transformer
from phidelity.progress import SILENT, Progress
from phidelity.records import atomic
from phidelity.tokenizer.bpe import Tokenizer
from phidelity.train.loop import Measure, Metrics, last_loss, train
from phidelity.train.optim import OptimConfig
from phidelity.train.parallel import World, whole
from phidelity.train.scale import ScaleConfig
from phidelity.train.tokens import token_objective, validation_loss


class ShardTrainingConfig(Config):
    """Next-token training over a mixture of shards."""

    tokens: int = Field(gt=0)
    """Training tokens (phi-4: 9.8T by the model card)."""
    context_len: int = Field(gt=1)
    """Tokens a row (phi-4: 4096)."""
    batch_tokens: int = Field(gt=0)
    """Tokens a step (phi-4: 5760 rows of 4096)."""
    shares: dict[str, float]
    """Share of training tokens by mixture group (phi-4: Table 5)."""
    max_epochs: float = Field(default=20.0, gt=0)
    """Refuse to repeat a group more often than this (phi-4 repeats synthetic data 13.8 times)."""
    micro_rows: int = Field(default=0, ge=0)
    """Rows a forward and backward pass; a step adds up as many as it needs. 0 takes the whole step at once."""
    save_every: int = Field(default=100, gt=0)
    """Steps between snapshots (*ours*)."""
    validation_rows: int = Field(default=16, gt=0)
    """Held-out rows of each group for the validation loss."""
    optim: OptimConfig
    """Optimiser and schedule."""
    scale: ScaleConfig = ScaleConfig()
    """Memory and speed of a big model."""
    events: bool = False
    """Write metrics for TensorBoard, too (the extra `tensorboard`)."""


def train_on_shards(
    model: Transformer,
    tokenizer: Tokenizer,
    config: ShardTrainingConfig,
    *,
    shards: Path,
    seed: int,
    out: Path,
    name: str,
    progress: Progress = SILENT,
) -> dict[str, Any]:
    """Train in place; writes model/, metrics.jsonl, training/, samples/ on the way and samples.md under `out`."""
    n_rows = config.batch_tokens // config.context_len
    steps = config.tokens // config.batch_tokens
    if not n_rows or not steps:
        raise UserError(
            f"{name}: {config.tokens} tokens in steps of {config.batch_tokens} and rows of {config.context_len} make "
            "no whole step. Expected tokens >= batch_tokens >= context_len."
        )
    loader = Loader(shards, config.shares, context_len=config.context_len, batch_rows=n_rows, seed=seed)
    _check_tokenizer(loader, tokenizer)
    unique = {group: packed.shard.n_tokens for group, packed in loader.groups.items()}
    portions = mixture(loader.shares, unique, config.tokens)
    check_epochs(portions, config.max_epochs)

    def measure(model: Transformer, _: int) -> Metrics:
        return held_out_loss(model, shards, config)

    def sample(model: Transformer, step: int) -> Metrics:
        name = "samples.md" if step == steps else f"samples/step-{step:06d}.md"
        if full := whole(model, World.current()):
            write_samples(out / name, full, tokenizer, shards, seed)
        return {}

    history = train(
        model,
        token_objective,
        lambda step: micro_batches(loader, step, config.micro_rows or n_rows),
        steps=steps,
        optim=config.optim,
        out=out,
        name=name,
        measures=[Measure(measure, max(10, steps // 80 * 10)), Measure(sample, max(10, steps // 40 * 10))],
        data=f"{loader.fingerprint} {n_rows}",
        scale=config.scale,
        save_every=config.save_every,
        events=config.events,
        progress=progress,
    )
    save_whole(out / "model", model, tokenizer)
    flop = flop_per_token(model.config, config.context_len)
    return {
        "parameters": census(model.config).total,
        "tokens": steps * n_rows * config.context_len,
        "steps": steps,
        "context_len": config.context_len,
        "loss": last_loss(history),
        "validation": {key.removeprefix("validation/"): v for key, v in history[-1].items() if "validation" in key},
        "training_flop": steps * n_rows * config.context_len * flop.causal,
        "mixture": [portion._asdict() for portion in portions],
        "packing_waste": loader.waste,
    }


def held_out_loss(model: Transformer, shards: Path, config: ShardTrainingConfig) -> Metrics:
    """The validation loss in rows of the training's length, by group."""
    rows = config.validation_rows
    held_out = validation_batches(shards, context_len=config.context_len, batch_rows=rows, max_rows=rows)
    return validation_loss(model, held_out)


def save_whole(folder: Path, model: Transformer, tokenizer: Tokenizer) -> None:
    """Write the trained model as a checkpoint; of several ranks, which all must call it, the first writes."""
    if full := whole(model, World.current()):
        save_checkpoint(folder, full, tokenizer)


def micro_batches(loader: Loader, step: int, micro_rows: int) -> list[Batch]:
    """The rows of one step in portions of at most `micro_rows`; their order does not depend on it."""
    first, n_rows = step * loader.batch_rows, loader.batch_rows
    return [loader.rows(first + at, min(micro_rows, n_rows - at)) for at in range(0, n_rows, micro_rows)]


def _check_tokenizer(loader: Loader, tokenizer: Tokenizer) -> None:
    for group, packed in loader.groups.items():
        if packed.shard.tokenizer != tokenizer.digest:
            found = f"Shard {group!r} was written with tokenizer {packed.shard.tokenizer}"
            raise UserError(f"{found}; the model has {tokenizer.digest}. Write the shards again with the model's.")


def write_samples(path: Path, model: Transformer, tokenizer: Tokenizer, shards: Path, seed: int) -> None:
    """Continuations of the openings of held-out documents, one of each group, as Markdown."""
    llm = LLM(model, tokenizer, name="samples")
    path.parent.mkdir(exist_ok=True)
    openings = {}
    for group, batch in validation_batches(shards, context_len=24, batch_rows=1, max_rows=1):
        openings.setdefault(group, tuple(batch.tokens[0, :12].tolist()))
    params = SamplingParams(temperature=0.7, max_tokens=80, seed=seed)
    completions = llm.complete(list(openings.values()), params)
    with atomic(path, "w") as file:
        for (group, opening), completion in zip(openings.items(), completions, strict=True):
            file.write(f"## {group}\n\nOpening:\n\n```\n{tokenizer.decode(opening)}\n```\n\n")
            file.write(f"What the model wrote:\n\n```\n{completion.text}\n```\n\n")
