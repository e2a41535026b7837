"""Fairness and privacy of the model that break-fix leaves: counterfactual pairs, planted canaries, verbatim text.

Honest at any size: what a model cannot do it cannot do unfairly, so accuracies stand beside every gap; a rate of
extraction says nothing without how often its canaries were planted and the controls that never were; and text that is
repeated word for word is held against text of the same kind that was not trained on.
"""

from collections.abc import Collection
from itertools import islice
from pathlib import Path
from typing import Any

from pydantic import Field

from phidelity.completion import Completer
from phidelity.config import Config
from phidelity.records import Document, read_records, write_json
from phidelity.safety.fairness import gaps
from phidelity.safety.privacy import Canary, extraction, verbatim
from phidelity.synthetic.seeds import Bank
from phidelity.synthetic.textbooks import exercises
from phidelity.tokenizer.bpe import Tokenizer

GERMAN = 0.2
"""Share of German among fresh exercises, as in the packaged recipes."""
AUDIT, CANARIES = "audit.json", "canaries.jsonl"


class AuditConfig(Config):
    """Fairness and privacy."""

    pairs: int = Field(default=100, ge=1)
    """Counterfactual pairs of each kind."""
    texts: int = Field(default=100, ge=1)
    """Training documents, and as many texts that were not trained on, whose beginnings are given."""
    max_tokens: int = Field(default=120, ge=1)
    """Longest answer to a problem."""


def audit(config: AuditConfig, target: Completer, model: Path, synthetic: Path, seed: int, out: Path) -> dict[str, Any]:
    """Measure the target; writes audit.json."""
    tokenizer, planted = Tokenizer.load(model), synthetic / CANARIES
    documents = read_records(synthetic / "documents.jsonl.zst", Document)
    written = [one.text for one in documents if one.meta.get("pipeline") == "exercises"]
    told = {
        "gaps": [one._asdict() for one in gaps(target, config.pairs, seed, config.max_tokens)],
        "canaries": extraction(target, tokenizer, list(read_records(planted, Canary)), seed)
        if planted.exists()
        else None,
        "verbatim": {
            "training": verbatim(target, tokenizer, written[: config.texts]),
            "held out": verbatim(target, tokenizer, _unseen(config.texts, seed, set(written))),
        },
    }
    write_json(out / AUDIT, told)
    return told


def _unseen(n: int, seed: int, written: Collection[str]) -> list[str]:
    """Exercises from another seed, in the same wordings, none of which was written for training."""
    fresh = (one.text for one in exercises(Bank(seed + 1), 4 * n, GERMAN) if one.text not in written)
    return list(islice(fresh, n))
