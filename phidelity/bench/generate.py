"""`phi bench generate`: useful tokens a second of batched greedy generation against transformers' `generate`.

Same random weights, prompts and lengths on both sides, measured in turns; no token ends an answer. `batch64@D` is 64
prompts of 64 tokens continued by 64; `ragged256@D` is 256 prompts of 8 to 128 tokens continued by 8 to 128, where
transformers runs static batches of 64, padded on the left, each until its longest is done (ours is the engine itself,
without thread and texts). `overhead@1` is what a step of one greedy request of an LLM takes beyond the forward pass,
against a limit of one millisecond, ` sampled`, ` streamed` and ` all` (every cut and penalty) the same of others;
`restart@512` is the time to the first token with a prefix of 1,000 tokens found on disk by a new engine, against
computing it.
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
from phidelity.engine.llm import LLM, lay_out, open_model
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
    return [*(_row(name, d_model, load) for name, d_model, load in cases), *overhead_rows(), restart_row()]


def overhead_rows() -> list[dict[str, Any]]:
    """Milliseconds of a step of one request of an LLM outside of the network: the median, and how it is sampled.

    From one forward pass to the next: the draw, the text, the scheduler, and the worker are in it.
    """
    cuts = {"top_k": 50, "top_p": 0.95, "repetition_penalty": 1.1, "logprobs": 5}
    kinds = (("", {}, False), (" sampled", {"temperature": 1.0}, False), (" streamed", {"temperature": 1.0}, True),
             (" all", {"temperature": 1.0, **cuts}, False))  # fmt: skip
    return [_overhead_row(f"overhead@1{name}", how, is_streamed) for name, how, is_streamed in kinds]


def _overhead_row(what: str, how: dict[str, Any], is_streamed: bool) -> dict[str, Any]:
    timed: Any = _Timed(_model(128))
    llm = LLM(timed, train(["a"], VOCAB_SIZE), "overhead", n_running=1, context_len=512)
    llm.warm()
    timed.starts.clear()
    request = llm.submit((1,) * 64, SamplingParams(max_tokens=400, ignore_end=True, **how))
    for _ in request if is_streamed else ():
        pass
    request.result()
    llm.close()
    marks = np.array(timed.starts)
    outside = np.diff(marks[:, 0]) - np.diff(marks[:, 1])
    ours = 1000 * float(np.median(outside))
    return _figures(what, ours, "ms a step", "limit", 1.0, 1.0 / ours)


class _Timed(torch.nn.Module):
    """A network that notes when it begins, and adds up the time spent in it."""

    def __init__(self, model: Transformer) -> None:
        super().__init__()
        self.model, self.config, self.embed, self.blocks, self.norm = (
            model, model.config, model.embed, model.blocks, model.norm
        )  # fmt: skip
        self.seconds = 0.0
        self.starts: list[tuple[float, float]] = []

    def forward(self, *arguments: Any) -> torch.Tensor:
        self.starts.append((time.perf_counter(), self.seconds))
        return self._add(lambda: self.model(*arguments))

    def logits(self, x: torch.Tensor) -> torch.Tensor:
        return self._add(lambda: self.model.logits(x))

    def _add(self, work: Callable[[], torch.Tensor]) -> torch.Tensor:
        start = time.perf_counter()
        result = work()
        self.seconds += time.perf_counter() - start
        return result


def restart_row() -> dict[str, Any]:
    """Milliseconds to the first token of an answer to 1,010 tokens, of which a new engine finds 992 on disk."""
    model, tokenizer = _model(512, context_len=2048), train(["a"], VOCAB_SIZE)
    rng = np.random.default_rng(0)
    first = SamplingParams(max_tokens=1, ignore_end=True)
    computed, restored = [], []
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(ROUNDS):
            prefix = tuple(rng.integers(0, 3000, 1000).tolist())
            for seconds in (computed, restored):
                llm = LLM(model, tokenizer, "restart", spill=Path(folder), digest="restart")
                llm.warm()
                prompt = (*prefix, *rng.integers(0, 3000, 10).tolist())
                seconds.append(_seconds(lambda llm=llm, prompt=prompt: llm.submit(prompt, first).result()))
                llm.close()
    ours, theirs = 1000 * statistics.median(restored), 1000 * statistics.median(computed)
    return _figures("restart@512", ours, "ms to the first token", "computing it", theirs, theirs / ours)


def _figures(what: str, ours: float, unit: str, peer: str, theirs: float, ratio: float) -> dict[str, Any]:
    return {
        "what": what,
        "ours": round(ours, 3),
        "unit": unit,
        "peer": peer,
        "theirs": round(theirs, 3),
        "ratio": round(ratio, 3),
    }


def _model(d_model: int, context_len: int = 512) -> Transformer:
    """Random weights, laid out as an opened model's are."""
    config = _config(d_model).model_copy(update={"context_len": context_len})
    model = Transformer(config).initialise(torch.Generator().manual_seed(0)).requires_grad_(False)
    return lay_out(model.eval())


def _load(lengths: np.ndarray, limits: np.ndarray, rng: np.random.Generator) -> Load:
    return Load([rng.integers(0, 3000, n).tolist() for n in lengths], limits.tolist())


def _row(name: str, d_model: int, load: Load) -> dict[str, Any]:
    model = Transformer(_config(d_model)).initialise(torch.Generator().manual_seed(0)).requires_grad_(False)
    with tempfile.TemporaryDirectory() as name_of_folder:
        folder = Path(name_of_folder)
        save_checkpoint(folder, model, train(["a"], VOCAB_SIZE))
        ours, theirs = _in_turns(_our_side(folder, load), _their_side(folder, load))
    n = sum(load.limits)
    return _figures(f"{name}@{d_model}", n / ours, "tokens/s", "transformers", n / theirs, theirs / ours)


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


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
