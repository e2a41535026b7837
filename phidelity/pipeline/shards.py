"""Stage `shards`: documents to token ids, one shard a mixture group, with a held-out split and the mixture's plan.

The groups are those of phi-4's Table 5 (report §3.2): web, web_rewrites, synthetic, code, acquired. Naturally long
documents are kept for midtraining as the group `long` (§3.3): those marked so when they were made, which nothing
else reads, and organic ones of enough tokens, which pretraining reads too, in windows; the longest of these are the
group `longer` as well, whose share weighs them up. Which documents are held out is decided by the hash of their id.
The shards that stage `corpus` left are tokenised by anyone (`data/scale.py`), then joined in their order.
"""

import logging
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from phidelity.config import Config
from phidelity.data.loader import pack_shard, save_rows
from phidelity.data.mixture import (
    PHI4_SHARES,
    check_epochs,
    check_shares,
    described,
    largest_budget,
    mixture,
    remarks,
    spread,
)
from phidelity.data.scale import ALONE, Crew, in_shards, leave_to_one, run_all, write_plan
from phidelity.data.shards import ShardWriter, groups, open_shard
from phidelity.pipeline.reading import DOCUMENTS, stretches
from phidelity.pipeline.tokens import HELD_OUT, KEPT, tokenise
from phidelity.progress import SILENT, Progress
from phidelity.records import write_json
from phidelity.tokenizer.bpe import Tokenizer

log = logging.getLogger(__name__)


class ShardsConfig(Config):
    """Tokenising, the held-out split, and the mixture to plan for."""

    validation_share: float = Field(default=0.01, ge=0, lt=1)
    """Share of documents held out for validation losses (ours)."""
    long_tokens: int = Field(default=0, ge=0)
    """Organic documents of at least so many tokens join the long ones of midtraining (phi-4: 8192); 0: none."""
    longer_tokens: int = Field(default=0, ge=0)
    """Those of at least so many are the group `longer` besides, to be weighed up (phi-4: 16384); 0: none."""
    shares: dict[str, float] = PHI4_SHARES
    """Shares of pretraining tokens by group (phi-4: Table 5)."""
    absent: Literal["refuse", "spread"] = "refuse"
    """Where a group with a share holds no token: refuse, or spread its share over the others in proportion."""
    expected: dict[str, int] = Field(default_factory=dict)
    """Unique tokens that groups are expected to hold, for `phi plan`; the stage counts its own."""
    tokens: int = Field(default=0, ge=0)
    """Pretraining tokens to plan for; 0 plans for as many as max_epochs allows."""
    context_len: int = Field(default=4096, gt=0)
    """Positions of the rows that documents are packed into beforehand (phi-4 §3: 4096 in pretraining)."""
    max_epochs: float = Field(default=20.0, gt=0)
    """Refuse to repeat a group more often than this (ours; phi-4 repeats synthetic data 13.8 times)."""


def shards(
    config: ShardsConfig,
    *,
    corpus: Path,
    synthetic: Path | None,
    tokenizer: Path,
    seed: int,
    out: Path,
    crew: Crew = ALONE,
    progress: Progress = SILENT,
) -> dict[str, Any]:
    """Write a shard for every group and its held-out part, its packed rows, and mixture.json."""
    check_shares(config.shares)
    digest = Tokenizer.load(tokenizer).digest

    def work(folder: Path) -> dict[str, Any]:
        write_plan(folder / "tokens", _parts(config, folder, tokenizer, corpus, synthetic))
        done = run_all(tokenise, folder / "tokens", crew, progress, what="tokenising")
        leave_to_one(crew)
        folders = [folder / "tokens" / name for name in done]
        unique = _merge(out, [one / KEPT for one in folders], digest)
        validation = _merge(out / "validation", [one / HELD_OUT for one in folders], digest)
        plan = _plan(config, unique, _foreign(done.values()))
        write_json(out / "mixture.json", plan)
        return {**plan, "validation": validation, "packing": _pack(out, config.context_len)}

    return in_shards(out, config.model_dump_json() + digest, work)


def expected_mixture(config: ShardsConfig) -> dict[str, Any]:
    """The mixture that `expected` makes, before anything was counted; of no tokens where it says too little."""
    known = all(config.expected.get(group) for group, share in config.shares.items() if share)
    tokens = config.tokens or (largest_budget(config.shares, config.expected, config.max_epochs) if known else 0)
    return described(config.shares, config.expected, tokens, config.max_epochs)


def _parts(config: ShardsConfig, work: Path, tokenizer: Path, corpus: Path, synthetic: Path | None) -> dict[str, Any]:
    """What is tokenised by itself: the shards that stage `corpus` joined, in order, then synthetic documents."""
    parts = [(corpus, offset, size) for offset, size in stretches(corpus)]
    parts += [(synthetic, offset, size) for offset, size in stretches(synthetic)] if synthetic else []
    return {
        f"{part:06d}": {
            "part": part,
            "path": os.path.relpath(folder / DOCUMENTS, work),
            "offset": offset,
            "size": size,
            "tokenizer": os.path.relpath(tokenizer, work),
            "validation_share": config.validation_share,
            "long_tokens": config.long_tokens if folder == corpus else 0,
            "longer_tokens": config.longer_tokens if folder == corpus else 0,
        }
        for part, (folder, offset, size) in enumerate(parts)
    }


def _merge(out: Path, folders: Sequence[Path], tokenizer: str) -> dict[str, int]:
    """One shard a group from those of all parts; gives the tokens of each."""
    found = {folder: groups(folder) for folder in folders if folder.is_dir()}
    tokens = {}
    for group in sorted({group for names in found.values() for group in names}):
        writer = ShardWriter(out, group)
        for folder, names in found.items():
            if group in names:
                writer.add_shard(folder)
        tokens[group] = writer.close(tokenizer)["tokens"]
    return tokens


def _pack(out: Path, context_len: int) -> dict[str, dict[str, float]]:
    """Lay the documents of each group in rows of the context; gives rows and waste by group."""
    told = {}
    for group in groups(out):
        packed = pack_shard(open_shard(out, group, verify=False), context_len)
        save_rows(out, packed)
        told[group] = {"context_len": context_len, "rows": len(packed.rows), "waste": round(1 - packed.fill, 6)}
    return told


def _foreign(commits: Iterable[dict[str, Any]]) -> dict[str, int]:
    """Tokens that are not English by group, over all parts."""
    total: Counter[str] = Counter()
    for commit in commits:
        named = {key: n for key, n in commit["counts"].items() if key.startswith("foreign/")}
        total.update({key.removeprefix("foreign/"): n for key, n in named.items()})
    return dict(sorted(total.items()))


def _plan(config: ShardsConfig, unique: dict[str, int], foreign: dict[str, int]) -> dict[str, Any]:
    shares = spread(config.shares, unique) if config.absent == "spread" else config.shares
    tokens = config.tokens or largest_budget(shares, unique, config.max_epochs)
    portions = mixture(shares, unique, tokens)
    if config.tokens:
        check_epochs(portions, config.max_epochs)
    told = described(shares, unique, tokens, config.max_epochs, foreign)
    told["absent"] = {group: share for group, share in config.shares.items() if share and group not in shares}
    told["unique_tokens"] = unique
    for remark in remarks(told):
        log.warning("shards: %s", remark)
    return {
        **told,
        "foreign_tokens": foreign,
        "shares": shares,
        "epochs": {row["group"]: row["epochs"] for row in told["groups"]},
    }
