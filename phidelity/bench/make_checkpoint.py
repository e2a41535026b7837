"""`phi bench make-checkpoint OUT`: a random checkpoint of phi-4's shape, or of any other, to try the tools for size on.

phi-4 itself is six bf16 shards of 29.3 GB. Values are slices of one pool of normal numbers at changing places, so that
making them costs less than writing them; the vocabulary is filled with tokens that no text has. It is written by the
same writer as every checkpoint, in row blocks.
"""

import json
import math
import shutil
import time
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor

from phidelity.checkpoint.weights import BLOCK_VALUES, expected_shapes
from phidelity.config import UserError
from phidelity.device import peak_memory, reset_peak_memory
from phidelity.export.huggingface import write_huggingface
from phidelity.model.config import PHI_4, ModelConfig, census
from phidelity.progress import SILENT, Progress
from phidelity.tokenizer.bpe import Tokenizer
from phidelity.tokenizer.layout import SPECIALS

POOL = BLOCK_VALUES + 99_991
"""Values drawn once; a prime more than a block takes, so that blocks begin at different places."""


class RandomWeights:
    """`Weights` of a shape that exist only while their rows are asked for."""

    source, form, digest = "random", "random weights", "0" * 16
    notes: tuple[str, ...] = ()

    def __init__(self, config: ModelConfig, seed: int = 0, dtype: torch.dtype = torch.bfloat16) -> None:
        self.config, self.dtype = config, dtype
        self.tokenizer = filled_tokenizer(config.vocab_size)
        self.shapes = expected_shapes(config)
        self._pool = (
            torch.empty(POOL).normal_(0, config.init_std, generator=torch.Generator().manual_seed(seed)).to(dtype)
        )
        self._starts = dict(zip(self.shapes, range(0, 7919 * len(self.shapes), 7919), strict=True))

    def dtype_of(self, name: str) -> torch.dtype:
        """The one dtype of all."""
        return self.dtype

    def label(self, name: str) -> str:
        """The parameter's name."""
        return name

    def rows(self, name: str, start: int, stop: int) -> Tensor:
        """Rows of a parameter: a slice of the pool, ones for norms."""
        shape = (stop - start, *self.shapes[name][1:])
        if len(shape) == 1:
            return torch.ones(shape, dtype=self.dtype)
        n = math.prod(shape)
        assert n <= BLOCK_VALUES, "ask for a block at most"
        at = (self._starts[name] + start * shape[1]) % (POOL - n + 1)
        return self._pool[at : at + n].view(shape).clone()


def filled_tokenizer(vocab_size: int) -> Tokenizer:
    """The 256 bytes, then tokens of bytes that are no text, then phi-4's special tokens."""
    n = vocab_size - len(SPECIALS)
    tokens = [bytes([byte]) for byte in range(256)]
    tokens += [b"\xff\xfe" + number.to_bytes(3, "big") for number in range(n - 256)]
    return Tokenizer({token: rank for rank, token in enumerate(tokens)})


def shape_of(text: str) -> ModelConfig:
    """`phi-4`, or what differs from it: `n_layers=4,vocab_size=1024`."""
    parts = [part.partition("=") for part in text.removeprefix("phi-4").strip(",").split(",") if part]
    try:
        config = ModelConfig.model_validate(PHI_4.model_dump() | {key: json.loads(number) for key, _, number in parts})
    except (ValidationError, json.JSONDecodeError) as error:
        detail = error.errors()[0]["msg"] if isinstance(error, ValidationError) else error
        raise UserError(f"--shape {text}: {detail}. Expected phi-4, or what differs: NAME=NUMBER,...") from None
    if config.vocab_size < 256 + len(SPECIALS):
        raise UserError(
            f"--shape {text}: vocab_size {config.vocab_size} is too small; the least is {256 + len(SPECIALS)}."
        )
    return config


def run(out: Path, shape: str = "phi-4", progress: Progress = SILENT) -> list[dict[str, Any]]:
    """Write the checkpoint at `out`; rows of the table: rate and peak memory."""
    config = shape_of(shape)
    size = 2 * census(config).total
    out.parent.mkdir(parents=True, exist_ok=True)
    if 1.01 * size > (free := shutil.disk_usage(out.parent).free):
        raise UserError(f"{out} needs {size:,} bytes; {free:,} are free there. Make room or choose another place.")
    weights = RandomWeights(config)
    reset_peak_memory()
    start = time.perf_counter()
    write_huggingface(weights, out, progress=progress)
    rate = size / (time.perf_counter() - start)
    return [figure("write bf16", rate / 1e6, "MB/s"), figure("write bf16 peak", peak_memory() / 1e9, "GB")]


def figure(what: str, ours: float, unit: str) -> dict[str, Any]:
    """A row of the table without a peer."""
    return {"what": what, "ours": round(ours, 3), "unit": unit, "peer": None, "theirs": None, "ratio": None}
