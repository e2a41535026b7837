"""Training on preference pairs: the batches, the margins and the measurements of both DPO rounds.

A `token` pair costs one forward pass over its prefix and two rows of the head; `prefix` and `full` pairs cost one
pass over each continuation. Reference margins are those of the starting weights, computed once before the first
step, so rewards begin at zero and the loss at ln 2 (phi-4 report §4.2-4.3; beta and rates are not published).
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from pydantic import Field
from torch import Tensor

from phidelity.config import Config, UserError
from phidelity.data.loader import epoch_order, epoch_sample
from phidelity.model.attention import CausalAttend
from phidelity.model.transformer import Transformer
from phidelity.progress import SILENT, Progress
from phidelity.records import PreferencePair
from phidelity.tokenizer.bpe import Tokenizer
from phidelity.tokenizer.chat import render
from phidelity.train.loop import Loss, Measure, Metrics, last_loss, train
from phidelity.train.objectives import margin_loss, sequence_logprobs, token_pair_margin
from phidelity.train.optim import OptimConfig

log = logging.getLogger(__name__)


class DpoConfig(Config):
    """A round of direct preference optimisation."""

    epochs: float = Field(default=1.0, gt=0)
    """Passes over the pairs (not published; *ours*)."""
    batch_pairs: int = Field(default=32, gt=0)
    """Pairs a step (not published; *ours*)."""
    beta: float = Field(default=0.1, gt=0)
    """Strength of the pull towards the reference (not published; *ours*)."""
    label_smoothing: float = Field(default=0.0, ge=0, lt=0.5)
    """Share of labels held to be wrong (conservative DPO)."""
    held_out: float = Field(default=0.1, ge=0, lt=1)
    """Share of the pairs kept for measuring only."""
    optim: OptimConfig
    """Optimiser and schedule."""


@dataclass(slots=True)
class Row:
    """One pair as ids: what both continuations follow, and the two of them."""

    pair: PreferencePair
    context: list[int]
    reference: float = 0.0
    """Margin of the reference model."""


def train_dpo(
    model: Transformer,
    tokenizer: Tokenizer,
    pairs: Sequence[PreferencePair],
    config: DpoConfig,
    *,
    seed: int,
    out: Path,
    name: str = "dpo",
    progress: Progress = SILENT,
) -> Metrics:
    """Train `model` in place on `pairs`; returns what was measured on held-out pairs before and after.

    Without a pair the model stays as it is, and log and summary say so: a search may rightly find none.
    """
    rows = [encode(pair, tokenizer, model.config.context_len) for pair in pairs]
    if not rows:
        log.warning("%s: there are no preference pairs, so the model stays as it is; raise the budget of pairs", name)
        return {"pairs": 0, "steps": 0}
    with torch.no_grad():
        for chunk in _chunks(rows, 64):
            for row, margin in zip(chunk, margins(model, chunk).tolist(), strict=True):
                row.reference = margin
    n_held_out = int(config.held_out * len(rows))
    order = epoch_order(seed, "held out", 0, len(rows))
    held_out, kept = [rows[i] for i in order[:n_held_out]], [rows[i] for i in sorted(order[n_held_out:])]
    steps = max(1, round(config.epochs * len(kept) / config.batch_pairs))
    before = measure(model, held_out or kept)
    history = train(
        model,
        lambda model, batch: objective(model, batch, config),
        lambda step: [[kept[i] for i in epoch_sample(seed, "pairs", step, config.batch_pairs, len(kept))]],
        steps=steps,
        optim=config.optim,
        out=out,
        name=name,
        measures=[Measure(lambda model, _: measure(model, held_out or kept), every=max(10, steps // 50 * 10))],
        progress=progress,
    )
    after = {key: value for key, value in history[-1].items() if key.startswith("pairs/")}
    numbers = {"pairs": len(rows), "held_out_pairs": n_held_out, "steps": steps, "loss": last_loss(history)}
    return numbers | {f"{key}/before": value for key, value in before.items()} | after


def encode(pair: PreferencePair, tokenizer: Tokenizer, context_len: int) -> Row:
    """Check a pair and write down the ids that both its continuations follow."""
    if pair.tokenizer != tokenizer.digest:
        raise UserError(
            f"Pair {pair.id} was made with tokenizer {pair.tokenizer}; the model has {tokenizer.digest}. "
            "Make the pairs again with this model."
        )
    if pair.chosen == pair.rejected:
        raise UserError(f"Pair {pair.id}: chosen and rejected are equal; expected two different continuations.")
    context = render(pair.prompt, tokenizer, generation_prompt=True).ids + list(pair.prefix)
    longest = len(context) + max(len(pair.chosen), len(pair.rejected))
    if longest > context_len:
        raise UserError(f"Pair {pair.id} has {longest} tokens; the context holds {context_len}. Leave it out.")
    return Row(pair, context)


def objective(model: Transformer, rows: Sequence[Row], config: DpoConfig) -> Loss:
    """Sum of DPO losses over a batch of pairs."""
    reference = torch.tensor([row.reference for row in rows], device=model.head.weight.device)
    losses = margin_loss(margins(model, rows), reference, beta=config.beta, label_smoothing=config.label_smoothing)
    return Loss(losses.sum(), torch.full((), len(rows), device=losses.device))


def margins(model: Transformer, rows: Sequence[Row]) -> Tensor:
    """log pi(chosen) - log pi(rejected), one per row: [B]."""
    result = torch.zeros(len(rows), device=model.head.weight.device)
    for is_token, function in ((True, _token_margins), (False, _sequence_margins)):
        index = [i for i, row in enumerate(rows) if (row.pair.kind == "token") == is_token]
        if index:
            values = function(model, [rows[i] for i in index])
            result = result.index_put((torch.tensor(index, device=result.device),), values)
    return result


@torch.no_grad()
def measure(model: Transformer, rows: Sequence[Row]) -> Metrics:
    """Means over pairs: preference accuracy, reward margin without beta, and log-probability of either side.

    The change of the two log-probabilities shows displacement: a margin can grow while both fall.
    """
    sums = torch.zeros(4, dtype=torch.float64)
    for chunk in _chunks(rows, 64):
        gained = margins(model, chunk).cpu() - torch.tensor([row.reference for row in chunk])
        chosen, rejected = (_logprobs(model, chunk, side).cpu() for side in ("chosen", "rejected"))
        sums += torch.stack([(chosen > rejected).double().sum(), gained.double().sum(), chosen.sum(), rejected.sum()])
    names = ("accuracy", "margin_gained", "chosen_logprob", "rejected_logprob")
    return {f"pairs/{name}": float(value) / len(rows) for name, value in zip(names, sums, strict=True)}


def _token_margins(model: Transformer, rows: Sequence[Row]) -> Tensor:
    device = model.head.weight.device
    hidden = _hidden(model, _right_padded([row.context for row in rows]).to(device))
    ends = torch.tensor([len(row.context) - 1 for row in rows], device=device)
    last = hidden[torch.arange(len(rows), device=device), ends]  # [B, M]
    chosen = torch.tensor([row.pair.chosen[0] for row in rows], device=device)
    rejected = torch.tensor([row.pair.rejected[0] for row in rows], device=device)
    return token_pair_margin(last, model.head.weight, chosen, rejected)


def _sequence_margins(model: Transformer, rows: Sequence[Row]) -> Tensor:
    return _logprobs(model, rows, "chosen") - _logprobs(model, rows, "rejected")


def _logprobs(model: Transformer, rows: Sequence[Row], side: str) -> Tensor:
    """Sum of log-probabilities of one side's tokens after the context: [B]."""
    continuations = [list(getattr(row.pair, side)) for row in rows]
    device = model.head.weight.device
    ids = _right_padded([row.context + c for row, c in zip(rows, continuations, strict=True)]).to(device)
    tokens, targets = ids[:, :-1], ids[:, 1:]
    at = torch.arange(tokens.shape[1], device=device)
    start = torch.tensor([len(row.context) - 1 for row in rows], device=device)[:, None]
    length = torch.tensor([len(c) for c in continuations], device=device)[:, None]
    mask = (at >= start) & (at < start + length)  # [B, T]
    return sequence_logprobs(_hidden(model, tokens), model.head.weight, targets, mask)


def _hidden(model: Transformer, tokens: Tensor) -> Tensor:
    """Right padding is never looked at under a causal mask."""
    positions = torch.arange(tokens.shape[1], device=tokens.device).expand_as(tokens)
    return model(tokens, positions, CausalAttend())


def _right_padded(rows: Sequence[Sequence[int]]) -> Tensor:
    return torch.nn.utils.rnn.pad_sequence([torch.tensor(row) for row in rows], batch_first=True)


def _chunks(rows: Sequence[Row], size: int) -> list[Sequence[Row]]:
    return [rows[i : i + size] for i in range(0, len(rows), size)]
