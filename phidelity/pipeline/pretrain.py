"""Stage `pretrain`: next-token prediction over the mixture, linear warm-up and decay (phi-4 report §3).

The model is the recipe's `[model]`, freshly initialised from the seed.
"""

from pathlib import Path
from typing import Any

import torch

from phidelity.config import UserError
from phidelity.model.config import ModelConfig
from phidelity.model.transformer import Transformer
from phidelity.progress import SILENT, Progress
from phidelity.tokenizer.bpe import Tokenizer
from phidelity.train.shards import ShardTrainingConfig, train_on_shards


class PretrainConfig(ShardTrainingConfig):
    """Pretraining of the base model."""


def pretrain(
    config: PretrainConfig,
    *,
    architecture: ModelConfig,
    shards: Path,
    tokenizer: Path,
    seed: int,
    out: Path,
    progress: Progress = SILENT,
) -> dict[str, Any]:
    """Train a new model on the shards; writes what `train_on_shards` writes."""
    words = Tokenizer.load(tokenizer)
    if words.vocab_size > architecture.vocab_size:
        raise UserError(
            f"The tokenizer has {words.vocab_size} ids, [model] vocab_size only {architecture.vocab_size} rows. "
            "Make them equal."
        )
    shape = architecture.model_copy(update={"context_len": config.context_len})
    model = Transformer(shape).initialise(torch.Generator().manual_seed(seed))
    return train_on_shards(model, words, config, shards=shards, seed=seed, out=out, name="pretrain", progress=progress)
