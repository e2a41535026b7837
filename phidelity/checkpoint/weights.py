"""The seam between those who read a checkpoint and those who take it somewhere: `Weights`.

Every format that is read (a Hugging Face folder, a GGUF file) is a `Weights`; everything that happens to a
checkpoint (loading it, converting it, checking it) is done by streaming its row blocks, under our parameter names
and in our fused layout. No file is mapped into memory: a block is read into anonymous memory, used and dropped, so the
peak is what is being made plus one block.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from phidelity.config import UserError
from phidelity.model.config import ModelConfig
from phidelity.model.transformer import Transformer
from phidelity.progress import SILENT, Progress
from phidelity.records import file_sha256
from phidelity.tokenizer.bpe import Tokenizer

BLOCK_VALUES = 1 << 24
"""Values in one block (*ours*): 64 MiB in fp32."""


class Weights(Protocol):
    """A checkpoint at rest: all that is known without reading the weights, and the weights by rows."""

    @property
    def source(self) -> str:
        """Where it is from: a path or a hub id, for messages."""
        ...

    @property
    def form(self) -> str:
        """What it is, in a few words: `Hugging Face folder, fused, bf16, 6 shards`."""
        ...

    @property
    def config(self) -> ModelConfig:
        """The model's shape."""
        ...

    @property
    def tokenizer(self) -> Tokenizer:
        """Its tokenizer."""
        ...

    @property
    def digest(self) -> str:
        """Hash of the weights, 16 hexadecimal digits; may read all of them the first time it is asked for."""
        ...

    @property
    def notes(self) -> tuple[str, ...]:
        """What differs from the release as it ought to be and was normalised, a line each."""
        ...

    @property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Our parameter names (`blocks.0.attention.qkv.weight`) in the order of the network, with their shapes."""
        ...

    def dtype_of(self, name: str) -> torch.dtype:
        """The dtype that `rows` gives: as stored, or float32 where the stored form is quantised."""
        ...

    def label(self, name: str) -> str:
        """What the source calls a parameter and in which file it lies, for messages."""
        ...

    def rows(self, name: str, start: int, stop: int) -> Tensor:
        """Rows `start` to `stop` of a parameter (values, where it has one dimension), in memory of their own."""
        ...


class Checkpoint(NamedTuple):
    """A model, opened."""

    model: Transformer
    tokenizer: Tokenizer
    digest: str
    """Hash of the weights: what completions are cached and reported under."""


def load(weights: Weights, dtype: torch.dtype = torch.float32, progress: Progress = SILENT) -> Checkpoint:
    """The whole model in `dtype` on the CPU; peak memory is the model plus one block."""
    state = load_part(weights, rank=0, world=1, dtype=dtype, progress=progress)
    with torch.device("meta"):
        model = Transformer(weights.config)
    model.load_state_dict(state, assign=True)
    return Checkpoint(model.eval(), weights.tokenizer, weights.digest)


def load_part(
    weights: Weights, *, rank: int, world: int, dtype: torch.dtype = torch.float32, progress: Progress = SILENT
) -> dict[str, Tensor]:
    """The rows of every parameter that `rank` of `world` holds; nothing else is read."""
    part: dict[str, Tensor] = {}
    bounds = {name: rank_rows(shape[0], rank, world) for name, shape in weights.shapes.items()}
    total = sum((stop - start) * _row_values(weights.shapes[name]) for name, (start, stop) in bounds.items())
    with progress.task("read weights", total, "values") as task:
        for name, (start, stop) in bounds.items():
            target = part[name] = torch.empty(stop - start, *weights.shapes[name][1:], dtype=dtype)
            for at, block in stream(weights, name, start, stop):
                target[at - start : at - start + len(block)] = block
                task.advance(block.numel())
    return part


def rank_rows(n_rows: int, rank: int, world: int) -> tuple[int, int]:
    """The rows that one rank holds when a parameter is sharded over its first dimension, as FSDP2 does it."""
    size = -(-n_rows // world)
    return min(rank * size, n_rows), min((rank + 1) * size, n_rows)


def stream(weights: Weights, name: str, start: int = 0, stop: int | None = None) -> Iterator[tuple[int, Tensor]]:
    """A parameter in blocks of rows: (first row, block), each checked to be finite."""
    shape = weights.shapes[name]
    step = max(BLOCK_VALUES // _row_values(shape), 1)
    end = shape[0] if stop is None else stop
    for at in range(start, end, step):
        block = weights.rows(name, at, min(at + step, end))
        if not is_finite(block):
            raise UserError(
                f"{weights.label(name)}: rows {at} to {at + len(block) - 1} hold values that are not finite. "
                "Fetch or make the file again."
            )
        yield at, block


def cast(block: Tensor, dtype: torch.dtype, label: str) -> Tensor:
    """A finite block in another dtype; a value that this dtype cannot hold is a `UserError`, never an infinity."""
    result = block.to(dtype)
    if not is_finite(result):
        largest = float(block.abs().max())
        narrow = str(dtype).removeprefix("torch.")
        raise UserError(f"{label} holds {largest:.4g}, which {narrow} cannot. Convert to bf16 or f32 instead.")
    return result


def is_finite(block: Tensor) -> bool:
    """Whether no value is NaN or infinite (extremes carry NaN along, so nothing of the block's size is made)."""
    low, high = block.aminmax()
    return bool(torch.isfinite(low) & torch.isfinite(high))


def file_digest(paths: Iterable[Path]) -> str:
    """Hash of weight files: of the one, or of the hashes of several in their order; 16 hexadecimal digits."""
    hashes = [file_sha256(path) for path in paths]
    return (hashes[0] if len(hashes) == 1 else hashlib.sha256("".join(hashes).encode()).hexdigest())[:16]


def expected_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Our parameter names and shapes for a configuration; allocates nothing."""
    with torch.device("meta"):
        return {name: tuple(tensor.shape) for name, tensor in Transformer(config).state_dict().items()}


def check_vocabulary(source: str, config: ModelConfig, tokenizer: Tokenizer) -> None:
    """Refuse a tokenizer and a model that cannot belong together; up to 127 rows of padding are in order (*ours*)."""
    if not tokenizer.vocab_size <= config.vocab_size < tokenizer.vocab_size + 128:
        raise UserError(
            f"{source}: the tokenizer has {tokenizer.vocab_size} ids, the model {config.vocab_size} rows. "
            "They belong to different models; fetch both from one place."
        )


def _row_values(shape: tuple[int, ...]) -> int:
    return shape[1] if len(shape) > 1 else 1
