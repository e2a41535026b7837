"""Small GGUF files for tests: a model held in memory as `Weights`, and files put together byte by byte."""

import struct
from typing import Any

import numpy as np
import torch
from checkpoint_world import TOKENIZER
from torch import Tensor

from phidelity.checkpoint.weights import expected_shapes
from phidelity.model.config import ModelConfig
from phidelity.tokenizer.bpe import Tokenizer
from phidelity.tokenizer.layout import SPECIALS, spelt
from phidelity.tokenizer.writers import merges

CONFIG = ModelConfig(
    n_layers=2, d_model=64, n_heads=4, n_kv_heads=1, d_ff=224, vocab_size=410, context_len=64, rope_theta=250_000.0
)


class HeldWeights:
    """`Weights` of random values in memory."""

    source, form, digest, notes = "memory", "held in memory", "0" * 16, ()

    def __init__(self, config: ModelConfig = CONFIG, dtype: torch.dtype = torch.float32, seed: int = 0) -> None:
        self.config, self.dtype = config, dtype
        self.tokenizer: Tokenizer = TOKENIZER
        self.shapes = expected_shapes(config)
        generator = torch.Generator().manual_seed(seed)
        self.state = {
            name: (torch.randn(shape, generator=generator) * 0.05).to(dtype) for name, shape in self.shapes.items()
        }

    def dtype_of(self, name: str) -> torch.dtype:
        return self.state[name].dtype

    def label(self, name: str) -> str:
        return f"memory: {name}"

    def rows(self, name: str, start: int, stop: int) -> Tensor:
        return self.state[name][start:stop].clone()


class Raw(bytes):
    """A metadata value given as its type and bytes."""


def metadata(architecture: str = "phi3", config: ModelConfig = CONFIG) -> dict[str, Any]:
    """What another tool writes for a model of this shape with the tests' tokenizer."""
    tokens = sorted(TOKENIZER.ranks, key=TOKENIZER.ranks.__getitem__)
    return {
        "general.architecture": architecture,
        f"{architecture}.block_count": config.n_layers,
        f"{architecture}.context_length": config.context_len,
        f"{architecture}.embedding_length": config.d_model,
        f"{architecture}.feed_forward_length": config.d_ff,
        f"{architecture}.attention.head_count": config.n_heads,
        f"{architecture}.attention.head_count_kv": config.n_kv_heads,
        f"{architecture}.attention.layer_norm_rms_epsilon": config.norm_eps,
        f"{architecture}.rope.freq_base": config.rope_theta,
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "dbrx",
        "tokenizer.ggml.tokens": [*map(spelt, tokens), *SPECIALS, *(f"[PAD{n}]" for n in range(400, 410))],
        "tokenizer.ggml.merges": [f"{spelt(left)} {spelt(right)}" for left, right in merges(TOKENIZER.ranks)],
    }


def gguf_bytes(
    pairs: dict[str, Any], tensors: dict[str, tuple[int, tuple[int, ...], bytes]], version: int = 3, alignment: int = 32
) -> bytes:
    """A file: metadata, and tensors as (type, shape, bytes)."""
    head = b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(pairs))
    head += b"".join(text(key) + value(entry) for key, entry in pairs.items())
    data = b""
    for name, (code, shape, raw) in tensors.items():
        dimensions = b"".join(struct.pack("<Q", n) for n in reversed(shape))
        head += text(name) + struct.pack("<I", len(shape)) + dimensions + struct.pack("<IQ", code, len(data))
        data += raw + bytes(-len(raw) % alignment)
    return head + bytes(-len(head) % alignment) + data


def f32(array: np.ndarray | Tensor) -> tuple[int, tuple[int, ...], bytes]:
    """A tensor stored as F32."""
    array = np.asarray(array, dtype="<f4")
    return 0, array.shape, array.tobytes()


def text(entry: str) -> bytes:
    return struct.pack("<Q", len(entry.encode())) + entry.encode()


def value(entry: Any) -> bytes:
    match entry:
        case Raw():
            return bytes(entry)
        case bool():
            return struct.pack("<I?", 7, entry)
        case int():
            return struct.pack("<II", 4, entry)
        case float():
            return struct.pack("<If", 6, entry)
        case str():
            return struct.pack("<I", 8) + text(entry)
    return struct.pack("<IIQ", 9, 8, len(entry)) + b"".join(map(text, entry))
