"""Training on preference pairs: the batches, the losses and the measurements of both DPO rounds.

A `token` pair costs one forward pass over its prefix and two rows of the head; `prefix` and `full` pairs cost one
pass over each continuation (train/pair_logprobs.py). References are those of the starting weights, computed once and
kept by key, so rewards begin at zero and the sigmoid loss at ln 2 (phi-4 report §4.2-4.3; beta, rates and variant are
not published).
"""

import hashlib
import logging
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from phidelity.config import Config, UserError
from phidelity.data.loader import epoch_order, epoch_sample
from phidelity.model.transformer import Transformer
from phidelity.progress import SILENT, Progress
from phidelity.records import PreferencePair
from phidelity.tokenizer.bpe import Tokenizer
from phidelity.tokenizer.chat import render
from phidelity.train.loop import Loss, Measure, Metrics, last_loss, train
from phidelity.train.objectives import apo_zero_loss, ipo_loss, margin_loss, nll_term
from phidelity.train.optim import OptimConfig
from phidelity.train.pair_logprobs import Row, sides
from phidelity.train.references import refer

log = logging.getLogger(__name__)

SIDES = ("chosen", "rejected")


class DpoConfig(Config):
    """A round of direct preference optimisation."""

    epochs: float = Field(default=1.0, gt=0)
    """Passes over the pairs (not published; *ours*)."""
    batch_pairs: int = Field(default=32, gt=0)
    """Pairs a step (not published; *ours*)."""
    beta: float = Field(default=0.1, gt=0)
    """Strength of the pull towards the reference (not published; *ours*)."""
    loss: Literal["sigmoid", "ipo", "apo-zero"] = "sigmoid"
    """DPO as its authors have it, identity preference optimisation, or both sides anchored (train/objectives.py)."""
    label_smoothing: float = Field(default=0.0, ge=0, lt=0.5)
    """Share of labels held to be wrong (conservative DPO); for `sigmoid` alone."""
    length_normalised: bool = False
    """Divide each side's log-probability by its tokens; beta then wants to be larger by about their number."""
    nll: float = Field(default=0.0, ge=0)
    """Weight of the chosen side's mean negative log-likelihood, against displacement."""
    held_out: float = Field(default=0.1, ge=0, lt=1)
    """Share of the pairs kept for measuring only."""
    patience: int = Field(default=0, ge=0)
    """Measurements without a larger held-out margin after which training ends; 0 for never (*ours*)."""
    enough_margin: float = Field(default=0.0, ge=0)
    """Held-out margin beta D at which training ends, before losses vanish; 0 for never (*ours*)."""
    optim: OptimConfig
    """Optimiser and schedule."""

    @property
    def exact(self) -> bool:
        """Whether the loss looks at each side alone, so that a token pair's normaliser matters."""
        return self.loss == "apo-zero" or self.nll > 0


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
) -> dict[str, Any]:
    """Train `model` in place on `pairs`; returns what was measured on held-out pairs before and after.

    Without a pair the model stays as it is, and log and summary say so: a search may rightly find none.
    """
    rows, dropped = encode_all(pairs, tokenizer, model.config.context_len)
    if not rows:
        log.warning("%s: there are no preference pairs, so the model stays as it is; raise the budget of pairs", name)
        return {"pairs": 0, "steps": 0}
    log.info("%s: references %s", name, refer(model, rows, out / "references.json", exact=config.exact))
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
        data=order_fingerprint(kept, config, seed),
        measures=[Measure(lambda model, _: measure(model, held_out or kept), every=max(10, steps // 50 * 10))],
        enough=lambda rows: is_enough(rows, config),
        progress=progress,
    )
    done = int(history[-1]["step"])
    after = {key: value for key, value in history[-1].items() if key.startswith("pairs/")}
    numbers = {"pairs": len(rows), "held_out_pairs": n_held_out, "steps": done, "loss": last_loss(history)}
    numbers |= {"dropped": dict(dropped)} if dropped else {}
    numbers |= {"stopped_early_of": steps} if done < steps else {}
    return numbers | {f"{key}/before": value for key, value in before.items()} | after


def order_fingerprint(kept: Sequence[Row], config: DpoConfig, seed: int) -> str:
    """SHA-256 of which pairs are trained on and in which order: a snapshot of another order is no beginning."""
    pairs = [(row.context, row.pair.kind, row.pair.chosen, row.pair.rejected) for row in kept]
    return hashlib.sha256(repr((pairs, config.batch_pairs, seed)).encode()).hexdigest()


def is_enough(rows: Sequence[Metrics], config: DpoConfig) -> bool:
    """Whether the held-out margin says that training should end: large enough, or no longer growing."""
    margins = [row["pairs/margin_gained"] for row in rows if "pairs/margin_gained" in row]
    if not margins:
        return False
    saturated = config.enough_margin > 0 and config.beta * margins[-1] >= config.enough_margin
    stale = config.patience > 0 and len(margins) - 1 - margins.index(max(margins)) >= config.patience
    return saturated or stale


def encode_all(
    pairs: Sequence[PreferencePair], tokenizer: Tokenizer, context_len: int
) -> tuple[list[Row], Counter[str]]:
    """All pairs that fit the context, and how many do not; a pair that is wrong in itself is a `UserError`."""
    rows = [encode(pair, tokenizer) for pair in pairs]
    fitting = [row for row in rows if _n_tokens(row) <= context_len]
    if rows and not fitting:
        shortest = min(map(_n_tokens, rows))
        raise UserError(f"The shortest of {len(rows)} pairs has {shortest} tokens; the context holds {context_len}.")
    return fitting, Counter({"too long": len(rows) - len(fitting)} if len(fitting) < len(rows) else {})


def encode(pair: PreferencePair, tokenizer: Tokenizer) -> Row:
    """Check a pair and write down the ids that both its continuations follow."""
    if pair.tokenizer != tokenizer.digest:
        raise UserError(
            f"Pair {pair.id} was made with tokenizer {pair.tokenizer}; the model has {tokenizer.digest}. "
            "Make the pairs again with this model."
        )
    if wrong := _wrong(pair, tokenizer):
        raise UserError(f"Pair {pair.id} (kind {pair.kind}): {wrong}. Make it again or leave it out.")
    return Row(pair, render(pair.prompt, tokenizer, generation_prompt=True).ids + list(pair.prefix))


def _wrong(pair: PreferencePair, tokenizer: Tokenizer) -> str:
    """What is wrong with a pair, "" for nothing."""
    unknown = [i for i in (*pair.prefix, *pair.chosen, *pair.rejected) if not 0 <= i < tokenizer.vocab_size]
    if unknown:
        return f"token id {unknown[0]} was found; the vocabulary has 0 to {tokenizer.vocab_size - 1}"
    if pair.chosen == pair.rejected:
        return "chosen and rejected are equal; expected two different continuations"
    if not (pair.chosen and pair.rejected):
        return "one side is empty; expected tokens on both"
    if pair.kind == "token" and not len(pair.chosen) == len(pair.rejected) == 1:
        return f"{len(pair.chosen)} and {len(pair.rejected)} tokens were found; expected one on either side"
    return ""


def _n_tokens(row: Row) -> int:
    return len(row.context) + max(len(row.pair.chosen), len(row.pair.rejected))


def objective(model: Transformer, rows: Sequence[Row], config: DpoConfig) -> Loss:
    """Sum of preference losses over a batch of pairs."""
    policy = sides(model, rows, exact=config.exact)
    device = policy.chosen.device
    reference = [torch.tensor([getattr(row, f"reference_{side}") for row in rows], device=device) for side in SIDES]
    lengths = [torch.tensor([len(getattr(row.pair, side)) for row in rows], device=device) for side in SIDES]
    losses = pair_losses((policy.chosen, policy.rejected), reference, lengths, config)
    return Loss(losses.sum(), torch.full((), len(rows), device=device))


def pair_losses(
    policy: Sequence[Tensor], reference: Sequence[Tensor], lengths: Sequence[Tensor], config: DpoConfig
) -> Tensor:
    """One loss per pair [B], of the sums of log-probabilities of its two sides and their numbers of tokens."""
    share = [1 / n if config.length_normalised else torch.ones_like(n) for n in lengths]
    (chosen, rejected), (ref_chosen, ref_rejected) = (
        [value * part for value, part in zip(pair, share, strict=True)] for pair in (policy, reference)
    )
    margins = chosen - rejected, ref_chosen - ref_rejected
    if config.loss == "apo-zero":
        losses = apo_zero_loss(chosen - ref_chosen, rejected - ref_rejected, beta=config.beta)
    elif config.loss == "ipo":
        losses = ipo_loss(*margins, beta=config.beta)
    else:
        losses = margin_loss(*margins, beta=config.beta, label_smoothing=config.label_smoothing)
    return losses + config.nll * nll_term(policy[0], lengths[0]) if config.nll else losses


def margins(model: Transformer, rows: Sequence[Row]) -> Tensor:
    """log pi(chosen) - log pi(rejected), one per row: [B]."""
    scored = sides(model, rows)
    return scored.chosen - scored.rejected


@torch.no_grad()
def measure(model: Transformer, rows: Sequence[Row]) -> Metrics:
    """Means over pairs: preference accuracy, reward margin without beta, and log-probability of either side.

    The change of the two log-probabilities shows displacement: a margin can grow while both fall. `neither` is the
    mass that the model puts on a third token where the two sides part.
    """
    sums = torch.zeros(5, dtype=torch.float64)
    for at in range(0, len(rows), 64):
        chunk = rows[at : at + 64]
        found = sides(model, chunk, exact=True)
        margin = (found.chosen - found.rejected).cpu()
        gained = margin - torch.tensor([row.reference for row in chunk])
        neither = 1 - found.parting_chosen.double().exp() - found.parting_rejected.double().exp()
        values = (margin > 0, gained, found.chosen, found.rejected, neither)
        sums += torch.stack([value.double().sum().cpu() for value in values])
    names = ("accuracy", "margin_gained", "chosen_logprob", "rejected_logprob", "neither")
    return {f"pairs/{name}": float(value) / len(rows) for name, value in zip(names, sums, strict=True)}
