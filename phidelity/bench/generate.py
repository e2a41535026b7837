"""`phi bench generate`: useful tokens a second of batched greedy generation against transformers' `generate`.

Same random weights, prompts and lengths on both sides, measured in turns; no token ends an answer. `batch64@D` is 64
prompts of 64 tokens continued by 64; `ragged256@D` is 256 prompts of 8 to 128 tokens continued by 8 to 128, where
transformers runs static batches of 64, padded on the left, each until its longest is done.
"""

import statistics
import tempfile
import time
from collections import abc
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from phidelity.checkpoint.huggingface import save_checkpoint
from phidelity.completion import SamplingParams
from phidelity.engine.engine import Engine
from phidelity.engine.llm import open_model
from phidelity.engine.runner import Runner
from phidelity.engine.sequence import Sequence
from phidelity.model.config import ModelConfig
from phidelity.model.transformer import Transformer
from phidelity.tokenizer.bpe import train

VOCAB_SIZE = 4096
N_LAYERS = 4
BATCH = 64
ROUNDS = 3
"""Measurements of each side, taken in turns; medians are reported."""


class Load(NamedTuple):
    """Prompts and how many tokens each is continued by."""

    prompts: list[list[int]]
    limits: list[int]


def run(peers: dict[str, Path] | None = None) -> list[dict[str, Any]]:
    """Rows of the table: what, ours, unit, peer, theirs, ratio. transformers is taken as installed."""
    rng = np.random.default_rng(0)
    even = _load(np.full(BATCH, 64), np.full(BATCH, 64), rng)
    ragged = _load(rng.integers(8, 129, 4 * BATCH), rng.integers(8, 129, 4 * BATCH), rng)
    cases = (("batch64", 128, even), ("batch64", 512, even), ("ragged256", 128, ragged))
    return [_row(name, d_model, load) for name, d_model, load in cases]


def _load(lengths: np.ndarray, limits: np.ndarray, rng: np.random.Generator) -> Load:
    return Load([rng.integers(0, 3000, n).tolist() for n in lengths], limits.tolist())


def _row(name: str, d_model: int, load: Load) -> dict[str, Any]:
    model = Transformer(_config(d_model)).initialise(torch.Generator().manual_seed(0)).requires_grad_(False)
    with tempfile.TemporaryDirectory() as name_of_folder:
        folder = Path(name_of_folder)
        save_checkpoint(folder, model, train(["a"], VOCAB_SIZE))
        ours, theirs = _in_turns(_our_side(folder, load), _their_side(folder, load))
    n = sum(load.limits)
    return {
        "what": f"{name}@{d_model}",
        "ours": round(n / ours, 1),
        "unit": "tokens/s",
        "peer": "transformers",
        "theirs": round(n / theirs, 1),
        "ratio": round(theirs / ours, 3),
    }


def _config(d_model: int) -> ModelConfig:
    return ModelConfig(
        n_layers=N_LAYERS,
        d_model=d_model,
        n_heads=8,
        n_kv_heads=2,
        d_ff=d_model * 7 // 2,
        vocab_size=VOCAB_SIZE,
        context_len=512,
        rope_theta=10_000.0,
    )


def _our_side(folder: Path, load: Load) -> Callable[[], None]:
    model = open_model(folder).model
    context_len = model.config.context_len
    engine = Engine(Runner(model, n_rows=BATCH, cache_bytes=1 << 30, context_len=context_len), VOCAB_SIZE)

    def generate() -> None:
        engine.scheduler.blocks.forget_all()
        for prompt, limit in zip(load.prompts, load.limits, strict=True):
            engine.add(Sequence(tuple(prompt), SamplingParams(), key=0, limit=limit))
        while engine.is_busy:
            engine.step()

    return generate


def _their_side(folder: Path, load: Load) -> Callable[[], None]:
    from transformers import AutoModelForCausalLM
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    theirs = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    theirs.generation_config.eos_token_id = None

    def generate() -> None:
        for start in range(0, len(load.prompts), BATCH):
            tokens, mask = _left_padded(load.prompts[start : start + BATCH])
            longest = max(load.limits[start : start + BATCH])
            with torch.inference_mode():
                theirs.generate(  # pyright: ignore[reportAttributeAccessIssue]
                    tokens, attention_mask=mask, max_new_tokens=longest, do_sample=False
                )

    return generate


def _left_padded(prompts: abc.Sequence[abc.Sequence[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    longest = max(map(len, prompts))
    tokens = torch.zeros(len(prompts), longest, dtype=torch.int64)
    mask = torch.zeros_like(tokens)
    for row, prompt in enumerate(prompts):
        tokens[row, longest - len(prompt) :] = torch.tensor(prompt)
        mask[row, longest - len(prompt) :] = 1
    return tokens, mask


def _in_turns(ours: Callable[[], None], theirs: Callable[[], None]) -> tuple[float, float]:
    """Median seconds of each, after one unmeasured turn."""
    seconds = [(_seconds(ours), _seconds(theirs)) for _ in range(ROUNDS + 1)][1:]
    return statistics.median(pair[0] for pair in seconds), statistics.median(pair[1] for pair in seconds)


def _seconds(work: Callable[[], None]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
