"""How a round of break-fix trains: first on the mixed conversations, if asked for, then on the mixed preference pairs.

The trainer that stage `breakfix` and its study hand to safety/rounds.py. The order is phi-4's, SFT before DPO (report
§4); passes and rates are *ours*.
"""

from pathlib import Path

from pydantic import Field

from phidelity.checkpoint.huggingface import save_checkpoint
from phidelity.checkpoint.open import open_checkpoint
from phidelity.data.batch import pack_rows
from phidelity.data.loader import epoch_sample
from phidelity.model.transformer import Transformer
from phidelity.pipeline.sft import encode
from phidelity.progress import Progress
from phidelity.records import Conversation, PreferencePair, read_records
from phidelity.safety.rounds import Trainer
from phidelity.tokenizer.bpe import Tokenizer
from phidelity.train.dpo import DpoConfig, train_dpo
from phidelity.train.loop import train
from phidelity.train.optim import OptimConfig
from phidelity.train.tokens import token_objective


class FixConfig(DpoConfig):
    """What a round is trained with: DPO, after supervised passes if there are any."""

    chat_epochs: float = Field(default=0.0, ge=0)
    """Passes over the mixed conversations before DPO; 0 for DPO alone."""
    chat_lr: float = Field(default=3e-4, gt=0)
    """Peak learning rate of those passes."""
    chat_rows: int = Field(default=8, ge=1)
    """Packed rows a step of those passes."""


def fixer(config: FixConfig, context_len: int) -> Trainer:
    """The trainer of a round."""

    def fix(pairs: Path, chats: Path, model: Path, out: Path, seed: int, progress: Progress) -> Path:
        weights, tokenizer, _ = open_checkpoint(model)
        if config.chat_epochs:
            fit(
                weights, tokenizer, list(read_records(chats, Conversation)), out / "chats", seed, progress,
                context_len=context_len, epochs=config.chat_epochs, peak_lr=config.chat_lr, n_rows=config.chat_rows,
            )  # fmt: skip
        records = list(read_records(pairs, PreferencePair))
        train_dpo(weights, tokenizer, records, config, seed=seed, out=out, name="breakfix", progress=progress)
        save_checkpoint(out / "model", weights, tokenizer)
        return out / "model"

    return fix


def fit(
    weights: Transformer,
    tokenizer: Tokenizer,
    chats: list[Conversation],
    out: Path,
    seed: int,
    progress: Progress,
    *,
    context_len: int,
    epochs: float,
    peak_lr: float,
    n_rows: int,
) -> None:
    """Train in place on the last turn of each chat, in packed rows."""
    rows, _ = encode(chats, tokenizer, context_len, last_only=True)
    packed = pack_rows(rows, context_len)
    n_rows = min(n_rows, len(packed))
    train(
        weights,
        token_objective,
        lambda step: [packed.select(epoch_sample(seed, "chats", step, n_rows, len(packed)))],
        steps=max(1, round(epochs * len(packed) / n_rows)),
        optim=OptimConfig(peak_lr=peak_lr, warmup=0.05),
        out=out,
        name="chats",
        progress=progress,
    )
