"""Stage `pivotal_dpo`: DPO round 1, on pivotal tokens (phi-4 report §4.3)."""

from pathlib import Path
from typing import Any

from phidelity.checkpoint.huggingface import save_checkpoint
from phidelity.checkpoint.open import open_checkpoint
from phidelity.progress import SILENT, Progress
from phidelity.records import PreferencePair, read_records
from phidelity.train.dpo import DpoConfig, train_dpo


class PivotalDpoConfig(DpoConfig):
    """DPO round 1."""


def pivotal_dpo(
    config: PivotalDpoConfig, *, pivotal_pairs: Path, model: Path, seed: int, out: Path, progress: Progress = SILENT
) -> dict[str, Any]:
    """Train `model` on the pairs of `pivotal_pairs`; writes model/, metrics.jsonl and training/."""
    weights, tokenizer, _ = open_checkpoint(model)
    pairs = list(read_records(pivotal_pairs / "pairs.jsonl.zst", PreferencePair))
    summary = train_dpo(weights, tokenizer, pairs, config, seed=seed, out=out, name="pivotal_dpo", progress=progress)
    save_checkpoint(out / "model", weights, tokenizer)
    return summary
