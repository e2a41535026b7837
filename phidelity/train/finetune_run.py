"""The parts of a fine-tuning run: its batches and losses, held-out losses, samples of before and after."""

import logging
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from phidelity.checkpoint.adapter import fresh_updates, read_adapter, write_adapter
from phidelity.checkpoint.huggingface import save_checkpoint
from phidelity.checkpoint.open import open_weights
from phidelity.checkpoint.packed import PackedWeights
from phidelity.checkpoint.weights import Checkpoint, load
from phidelity.completion import SamplingParams
from phidelity.config import UserError
from phidelity.data.batch import assemble, pack
from phidelity.data.loader import epoch_order, epoch_sample
from phidelity.device import training_device
from phidelity.engine.llm import LLM
from phidelity.model.attention import CausalAttend
from phidelity.model.lora import adapt, placed, updates_of
from phidelity.model.thrifty import thrifty
from phidelity.model.transformer import Transformer
from phidelity.progress import Progress
from phidelity.records import atomic, read_json, write_json
from phidelity.train import dpo
from phidelity.train.examples import Kept
from phidelity.train.finetune_job import Job, optim_of
from phidelity.train.frozen import Lot, chat_objective, checked, pair_margins, pair_objective, token_losses
from phidelity.train.loop import Loss, Metrics
from phidelity.train.objectives import margin_loss
from phidelity.train.tokens import token_objective

logger = logging.getLogger(__name__)

BEFORE, BEST = "before.json", "best"
N_SAMPLES, SAMPLE_TOKENS = 3, 96


def open_base(job: Job, progress: Progress) -> Checkpoint:
    """The base where it is trained: packed on the CPU, else in fp32 there and in bf16 on a GPU."""
    device = training_device()
    if isinstance(job.weights, PackedWeights):
        if device.type != "cpu":
            raise UserError(
                f"{job.weights.source} is packed, which trains on the CPU; a GPU was found. Give an unpacked model, "
                "or hide the GPU: CUDA_VISIBLE_DEVICES= phi finetune ..."
            )
        return job.weights.load(progress)
    is_whole = job.config.all_parameters or device.type == "cpu"
    opened = load(job.weights, torch.float32 if is_whole else torch.bfloat16, progress)
    return opened._replace(model=opened.model.to(device))


class Run:
    """One job on one opened base."""

    def __init__(self, job: Job, base: Checkpoint, work: Path) -> None:
        self.job, self.base, self.work = job, base, work
        order = epoch_order(job.config.seed, "held out", 0, len(job.look.kept))
        self.apart = [job.look.kept[i] for i in sorted(order[: job.n_held_out])]
        self.kept = [job.look.kept[i] for i in sorted(order[job.n_held_out :])]

    def fresh(self) -> Transformer:
        """The base with updates that change nothing yet."""
        job = self.job
        updates = fresh_updates(
            self.base.model.config, job.targets, rank=job.of("rank"), alpha=job.of("alpha"), seed=job.config.seed
        )
        model = adapt(self.base.model, placed(updates, self._device), trains=True)
        return thrifty(model) if job.of("recompute") == "yes" else model

    def trained(self, folder: Path) -> Transformer:
        """The model as it was saved in `folder`."""
        if self.job.config.all_parameters:
            return load(open_weights(folder / "model")).model.to(training_device())
        return adapt(self.base.model, placed(read_adapter(folder, self.base.model.config).updates, self._device))

    @property
    def _device(self) -> torch.device:
        return self.base.model.embed.weight.device

    def objective(self) -> Callable[[Transformer, Any], Loss]:
        """What a micro-batch costs."""
        beta = self.job.config.beta
        if not self.job.config.all_parameters:
            return chat_objective if self.job.method == "sft" else lambda m, rows: pair_objective(m, rows, beta=beta)
        if self.job.method == "sft":
            return lambda model, lot: checked(token_objective(model, lot.batch), lot.rows)
        optim = optim_of(self.job)
        return lambda model, rows: dpo.objective(model, rows, dpo.DpoConfig(beta=beta, optim=optim))

    def batches(self) -> tuple[int, Callable[[int], list[Any]]]:
        """How many steps, and the micro-batches of each."""
        job, seed = self.job, self.job.config.seed
        if job.method == "dpo":
            pairs = [one.pair for one in self.kept]
            size, micro = job.of("batch"), 1 if job.is_big else 8
            steps = max(1, round(job.of("epochs") * len(pairs) / size))

            def of_step(step: int) -> list[Any]:
                chosen = [pairs[i] for i in epoch_sample(seed, "finetune", step, size, len(pairs))]
                return [chosen[at : at + micro] for at in range(0, len(chosen), micro)]

            self._refer([one.pair for one in (*self.kept, *self.apart) if one.pair])
            return steps, of_step
        lots = pack_lots(self.kept, job.of("context_len"))
        mean = sum(one.n_tokens for one in self.kept) / len(self.kept)
        n_rows = max(1, min(len(lots), round(job.of("batch") * mean / job.of("context_len"))))
        steps = max(1, round(job.of("epochs") * len(lots) / n_rows))
        return steps, lambda step: [lots[i] for i in epoch_sample(seed, "finetune", step, n_rows, len(lots))]

    def _refer(self, rows: Sequence[dpo.Row]) -> None:
        """Margins of the base, from which rewards are counted."""
        model = self._plain()
        with torch.no_grad():
            for row in rows:
                row.reference = float(pair_margins(model, [row]))

    def _plain(self) -> Transformer:
        """The base as it was, on blocks that need no second layout of its matrices."""
        return adapt(self.base.model, {})

    @torch.no_grad()
    def held_out(self, model: Transformer) -> list[float]:
        """Loss of each held-out example: nats a token of a chat, the DPO loss of a preference."""
        if self.job.method == "dpo":
            losses = []
            for one in self.apart:
                assert one.pair
                margin = pair_margins(model, [one.pair]).cpu()
                losses.append(float(margin_loss(margin, torch.tensor([one.pair.reference]), beta=self.job.config.beta)))
            return losses
        return [chat_loss(model, one) for one in self.apart]

    def before(self) -> dict[str, Any]:
        """Held-out losses and samples of the base; kept, so that a resumed run has them."""
        if (self.work / BEFORE).is_file():
            return read_json(self.work / BEFORE) or {}
        model = self._plain()
        if self.job.method == "dpo":
            self._refer([one.pair for one in self.apart if one.pair])
        found = {"losses": self.held_out(model), "samples": self.samples(model)}
        write_json(self.work / BEFORE, found)
        logger.info("finetune: held-out loss of the base %.4f", np.mean(found["losses"]))
        return found

    def measure(self, model: Transformer, step: int) -> Metrics:
        """The held-out loss; where it is the best so far the model is kept."""
        loss = float(np.mean(self.held_out(model)))
        folder = self.work / BEST
        best = read_json(folder / "best.json") if (folder / "best.json").is_file() else None
        if best is None or loss < best["loss"] or best["step"] == step:
            fresh = self.work / f"{BEST}.new"
            shutil.rmtree(fresh, ignore_errors=True)
            self._save(fresh, model)
            write_json(fresh / "best.json", {"step": step, "loss": loss})
            shutil.rmtree(folder, ignore_errors=True)
            os.replace(fresh, folder)
        logger.info("finetune: step %d, held-out loss %.4f", step, loss)
        return {"validation": loss}

    def _save(self, folder: Path, model: Transformer) -> None:
        job = self.job
        if job.config.all_parameters:
            save_checkpoint(folder / "model", model, self.base.tokenizer)
            return
        write_adapter(
            folder, updates_of(model), model.config, base=job.started["base"], base_name=job.weights.source,
            layout=job.config.layout, rank=job.of("rank"), alpha=job.of("alpha"),
        )  # fmt: skip

    def samples(self, model: Transformer) -> list[str]:
        """What a model answers to the first held-out prompts."""
        llm = LLM(model, self.base.tokenizer, "samples", n_running=N_SAMPLES, cache_bytes=0, speculate=False)
        prompts = [ids for one in self.apart[:N_SAMPLES] if (ids := _prompt(one))]
        room = min(SAMPLE_TOKENS, *(model.config.context_len - len(ids) for ids in prompts), SAMPLE_TOKENS)
        try:
            done = llm.complete(prompts, SamplingParams(max_tokens=max(1, room)))
        finally:
            llm.close()
        return [completion.text for completion in done]

    def write_samples(self, path: Path, before: Sequence[str], after: Sequence[str]) -> None:
        """Prompt, and what the base and the trained model answer, as Markdown."""
        with atomic(path, "w") as file:
            for one, old, new in zip(self.apart, before, after, strict=False):
                file.write(f"## Row {one.row}\n\n```\n{self.base.tokenizer.decode(_prompt(one))}\n```\n\n")
                file.write(f"Before:\n\n```\n{old}\n```\n\nAfter:\n\n```\n{new}\n```\n\n")


def pack_lots(kept: Sequence[Kept], context_len: int) -> list[Lot]:
    """Chats packed into rows, each with the numbers of the examples in it."""
    pieces = [(np.asarray(one.rendered.ids), np.asarray(one.rendered.mask[1:], dtype=np.float32)) for one in kept]
    rows = pack([len(ids) - 1 for ids, _ in pieces], context_len)
    longest = [sum(len(pieces[i][0]) - 1 for i in row) for row in rows]
    return [
        Lot(assemble([[pieces[i] for i in row]], length), tuple(kept[i].row for i in row))
        for row, length in zip(rows, longest, strict=True)
    ]


def chat_loss(model: Transformer, one: Kept) -> float:
    """Nats a trained token of one chat."""
    device = model.head.weight.device
    ids, mask = torch.tensor(one.rendered.ids, device=device), torch.tensor(one.rendered.mask[1:], device=device)
    positions = torch.arange(len(ids) - 1, device=device)[None]
    hidden = model(ids[None, :-1], positions, CausalAttend())[0]
    return float(token_losses(hidden[mask], model.head, ids[1:][mask]).mean())


def _prompt(one: Kept) -> tuple[int, ...]:
    """What comes before the first trained token."""
    return tuple(one.rendered.ids[: one.rendered.mask.index(True)])
