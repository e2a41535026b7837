"""Stage `sft`: supervised fine-tuning on chats, loss on what the assistant says and its end token (phi-4 report §4.1).

Ids and mask are written together by the chat renderer; a conversation may weigh its turns, and `turns` may leave all
but the last untrained. Conversations are packed whole, best fit first, and do not see each other. Those that do not
fit the context, in which nothing is trained, or that end with another's turn are dropped and counted. With
`[sft.known]` the model is asked facts first, and chats by the three rules of appendix A.1 are added.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from phidelity.checkpoint.open import open_checkpoint
from phidelity.completion import Completer
from phidelity.config import Config, UserError
from phidelity.data.batch import pack_rows
from phidelity.data.loader import epoch_order, epoch_sample
from phidelity.pipeline.known_limits import limit_chats_of
from phidelity.preference.limits import LimitsConfig
from phidelity.progress import SILENT, Progress
from phidelity.records import Conversation, read_records
from phidelity.tokenizer.bpe import Tokenizer
from phidelity.tokenizer.chat import Rendered, render
from phidelity.train.loop import Measure, last_loss, train
from phidelity.train.neftune import noisy
from phidelity.train.optim import OptimConfig
from phidelity.train.shards import save_whole
from phidelity.train.tokens import token_objective, validation_loss

MAX_DROPPED = 0.01


class SftConfig(Config):
    """Supervised fine-tuning."""

    epochs: float = Field(gt=0)
    """Passes over the conversations (not published; *ours*)."""
    batch_tokens: int = Field(gt=0)
    """Tokens a step."""
    context_len: int = Field(gt=1)
    """Tokens a packed row."""
    turns: Literal["all", "last"] = "all"
    """Which of the assistant's turns are trained, where a conversation gives no weights (not published; *ours*)."""
    neftune: float = Field(default=0.0, ge=0)
    """Strength of uniform noise on embeddings while training, such as 5; 0 for none. phi-4 names none."""
    held_out: float = Field(default=0.02, gt=0, lt=1)
    """Share of the conversations kept for the validation loss."""
    known: LimitsConfig | None = None
    """Chats on what the model knows and what not, from its own answers; none without the table."""
    optim: OptimConfig
    """Optimiser and schedule (phi-4: 1e-6 at 14B; a miniature wants far more)."""


def sft(
    config: SftConfig,
    *,
    synthetic: Path,
    model: Path,
    seed: int,
    out: Path,
    open_model: Callable[[Path], Completer] | None = None,
    teacher: Completer | None = None,
    progress: Progress = SILENT,
) -> dict[str, Any]:
    """Train `model` on the conversations of `synthetic`; writes model/, metrics.jsonl and training/.

    `open_model` answers with `model`, which `known` asks; without that table neither it nor `teacher` is needed.
    """
    weights, tokenizer, _ = open_checkpoint(model)
    if config.context_len > weights.config.context_len:
        found = f"sft.context_len {config.context_len} was found; the model holds {weights.config.context_len}"
        raise UserError(f"{found}. Lower it or midtrain to a longer context.")
    conversations = list(read_records(synthetic / "conversations.jsonl.zst", Conversation))
    known: dict[str, Any] = {}
    if config.known:
        if open_model is None:
            raise UserError("sft.known was found, but nothing that answers with the model: give open_model.")
        problems = synthetic / "problems.jsonl"
        asked = {"problems": problems, "base": open_model(model), "writer": teacher}
        chats, counts = limit_chats_of(config.known, **asked, seed=seed, out=out)
        conversations, known = conversations + chats, {"known": counts}
    rows, dropped = encode(conversations, tokenizer, config.context_len, last_only=config.turns == "last")
    order = epoch_order(seed, "held out", 0, len(rows))
    n_held_out = max(1, round(config.held_out * len(rows)))
    held_out = pack_rows([rows[i] for i in sorted(order[:n_held_out])], config.context_len)
    packed = pack_rows([rows[i] for i in sorted(order[n_held_out:])], config.context_len)
    n_rows = max(1, config.batch_tokens // config.context_len)
    steps = max(1, round(config.epochs * len(packed) / n_rows))
    history = train(
        weights,
        noisy(token_objective, config.neftune, seed) if config.neftune else token_objective,
        lambda step: [packed.select(epoch_sample(seed, "sft", step, n_rows, len(packed)))],
        steps=steps,
        optim=config.optim,
        out=out,
        name="sft",
        measures=[Measure(lambda model, _: validation_loss(model, [("chat", held_out)]), max(10, steps // 50 * 10))],
        progress=progress,
    )
    save_whole(out / "model", weights, tokenizer)
    return {
        "conversations": len(rows),
        "dropped": dropped,
        "trained_tokens": packed.n_targets,
        "steps": steps,
        "packing_waste": float((packed.doc_ids < 0).float().mean()),
        "loss": last_loss(history),
        "validation": history[-1]["validation"],
    } | known


def encode(
    conversations: list[Conversation], tokenizer: Tokenizer, context_len: int, *, last_only: bool = False
) -> tuple[list[Rendered], dict[str, int]]:
    """Ids and masks of the conversations that can be trained on, and how many cannot, by reason."""
    rows, dropped = [], {"too long": 0, "nothing trained": 0, "ends mid-turn": 0}
    for conversation in conversations:
        if [message.role for message in conversation.messages[-1:]] != ["assistant"]:
            dropped["ends mid-turn"] += 1
            continue
        rendered = render(conversation.messages, tokenizer, weights=_weights(conversation, last_only))
        if len(rendered.ids) - 1 > context_len:
            dropped["too long"] += 1
        elif not any(rendered.mask):
            dropped["nothing trained"] += 1
        else:
            rows.append(rendered)
    useless = dropped["nothing trained"] + dropped["ends mid-turn"]
    if not rows or useless > MAX_DROPPED * len(conversations):
        raise UserError(
            f"Of {len(conversations)} conversations {dropped['nothing trained']} train nothing, "
            f"{dropped['ends mid-turn']} end mid-turn and {dropped['too long']} exceed {context_len} tokens; expected "
            "chats that end with the assistant. Look at the data."
        )
    return rows, dropped


def _weights(conversation: Conversation, last_only: bool) -> tuple[int, ...]:
    """The conversation's own weights, else those that leave the last turn alone where that is asked for."""
    if conversation.weights or not last_only:
        return conversation.weights
    return (*(0 for _ in conversation.messages[1:]), 1)
