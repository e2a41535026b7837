"""Stage `judged_dpo`: DPO round 2, on judge-guided pairs (phi-4 report §4.2)."""

from pathlib import Path
from typing import Any

from phidelity.checkpoint.huggingface import save_checkpoint
from phidelity.checkpoint.open import open_checkpoint
from phidelity.progress import SILENT, Progress
from phidelity.records import PreferencePair, read_records
from phidelity.train.dpo import DpoConfig, train_dpo


class JudgedDpoConfig(DpoConfig):
    """DPO round 2."""


def judged_dpo(
    config: JudgedDpoConfig, *, judged_pairs: Path, model: Path, seed: int, out: Path, progress: Progress = SILENT
) -> dict[str, Any]:
    """Train `model` on the pairs of `judged_pairs`; writes model/, metrics.jsonl and training/."""
    weights, tokenizer, _ = open_checkpoint(model)
    pairs = list(read_records(judged_pairs / "pairs.jsonl.zst", PreferencePair))
    summary = train_dpo(weights, tokenizer, pairs, config, seed=seed, out=out, name="judged_dpo", progress=progress)
    save_checkpoint(out / "model", weights, tokenizer)
    return summary
