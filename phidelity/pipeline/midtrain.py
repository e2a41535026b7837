"""Stage `midtrain`: a longer context (phi-4 report §3.3).

The rotary base grows, the rate is a tenth, and 30 % of the tokens are naturally long documents while 70 % recall
the pretraining mixture; the report found natural length better than short samples glued together. The losses on
held-out documents in rows of the new length are told before and after, and so is what the model makes of problems
over a context of that length (`eval/long_answers.py`). A chat model talks about such by `phi eval longcontext-8k`.
"""

from pathlib import Path
from typing import Any

from pydantic import Field

from phidelity.checkpoint.open import open_checkpoint
from phidelity.device import training_device
from phidelity.eval.long_answers import LongAnswers, long_answers
from phidelity.model.transformer import Transformer
from phidelity.progress import SILENT, Progress
from phidelity.tokenizer.bpe import Tokenizer
from phidelity.train.loop import Metrics
from phidelity.train.parallel import World, whole
from phidelity.train.shards import ShardTrainingConfig, held_out_loss, train_on_shards


class MidtrainConfig(ShardTrainingConfig):
    """Midtraining to a longer context."""

    rope_theta: float = Field(gt=0)
    """Base of the rotary frequencies from here on (phi-4: 250,000)."""


def midtrain(
    config: MidtrainConfig, *, shards: Path, model: Path, seed: int, out: Path, progress: Progress = SILENT
) -> dict[str, Any]:
    """Go on from `model` with a longer context and a larger rotary base; writes what pretraining writes."""
    weights, words, _ = open_checkpoint(model)
    shape = weights.config.model_copy(update={"context_len": config.context_len, "rope_theta": config.rope_theta})
    longer = Transformer(shape)
    longer.load_state_dict(weights.state_dict())
    before, answered = _before(weights, words, shards, config)
    told = train_on_shards(longer, words, config, shards=shards, seed=seed, out=out, name="midtrain", progress=progress)
    full = whole(longer, World.current())
    after = long_answers(full.to(training_device()), words, config.context_len) if full else {}
    both = {
        kind: {"before": answered[kind]._asdict(), "after": found._asdict()} for kind, found in sorted(after.items())
    }
    return told | {"validation_before": before, "long_context": both}


def _before(
    weights: Transformer, words: Tokenizer, shards: Path, config: MidtrainConfig
) -> tuple[Metrics, dict[str, LongAnswers]]:
    """The model as it came, its own rotary base at positions it never saw: losses by group, and long contexts."""
    longer = Transformer(weights.config.model_copy(update={"context_len": config.context_len}))
    longer.load_state_dict(weights.state_dict())
    longer.to(training_device())
    losses = held_out_loss(longer, shards, config)
    answered = long_answers(longer, words, config.context_len) if World.current().is_first else {}
    return {key.removeprefix("validation/"): value for key, value in losses.items()}, answered
