"""A checkpoint as a GGUF file that llama.cpp runs: architecture `phi3`, with tokenizer, chat template and stop ids.

Written from any `Weights`, tensor by tensor in row blocks, so memory holds one block. Norms stay F32: they are a
millionth of the weights and scale every activation. In `q4_0` the embedding and the head stay Q8_0: rare tokens
live in single rows of the one, and errors of the other go straight into the logits. Matrices whose rows are no
multiple of 32 values stay F16. The sliding window is 0, by which llama.cpp tells phi-4 from older models of this
architecture (its converter's class for `Phi3ForCausalLM`).
"""

import math
import shutil
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from phidelity.checkpoint.blocks import BY_NAME, BlockFormat, encode
from phidelity.checkpoint.gguf import gguf_name
from phidelity.checkpoint.gguf_tokenizer import PRE_TOKENIZER, role_ids
from phidelity.checkpoint.weights import Weights, is_finite, stream
from phidelity.config import UserError
from phidelity.model.config import ModelConfig
from phidelity.progress import SILENT, Progress
from phidelity.records import atomic
from phidelity.tokenizer.bpe import Tokenizer
from phidelity.tokenizer.layout import CHAT_TEMPLATE, SPECIALS, spelt
from phidelity.tokenizer.writers import merges

GGUFType = Literal["f32", "f16", "bf16", "q8_0", "q4_0"]
FILE_TYPES: dict[GGUFType, int] = {"f32": 0, "f16": 1, "q4_0": 2, "q8_0": 7, "bf16": 32}
"""llama.cpp's numbers for what most of a file is stored as."""
ALIGNMENT = 32
_NORMAL, _CONTROL, _UNUSED = 1, 3, 5  # kinds of tokens
_U32, _I32, _F32, _BOOL, _STRING, _ARRAY = 4, 5, 6, 7, 8, 9  # kinds of values


class Entry(NamedTuple):
    """A tensor to be written."""

    name: str
    """Ours."""
    form: BlockFormat
    shape: tuple[int, ...]

    @property
    def n_bytes(self) -> int:
        """Bytes it takes, without padding."""
        return math.prod(self.shape) // self.form.values * self.form.bytes


class Described(Protocol):
    """What the header says of a model."""

    @property
    def config(self) -> ModelConfig:
        """Its shape."""
        ...

    @property
    def tokenizer(self) -> Tokenizer:
        """Its tokens."""
        ...


def write_gguf(weights: Weights, out: Path, type: GGUFType = "q8_0", progress: Progress = SILENT) -> int:
    """Write `weights` to the file `out`, under a temporary name until it is whole; returns its size in bytes."""
    entries = [Entry(name, _form(name, shape, type), shape) for name, shape in weights.shapes.items()]
    start = head(weights, out.stem, type, entries)
    size = len(start) + sum(padded(entry.n_bytes) for entry in entries)
    out.parent.mkdir(parents=True, exist_ok=True)
    if size > (free := shutil.disk_usage(out.parent).free):
        raise UserError(f"{out} needs {size:,} bytes; {free:,} are free there. Make room or choose another place.")
    total = sum(math.prod(entry.shape) for entry in entries)
    with atomic(out) as file, progress.task("write GGUF", total, "values") as task:
        file.write(start)
        for entry in entries:
            for _, block in stream(weights, entry.name):
                file.write(_encoded(weights, entry, block).numpy().data)
                task.advance(block.numel())
            file.write(bytes(padded(entry.n_bytes) - entry.n_bytes))
        assert file.tell() == size, "blocks and shapes disagree"
    return size


def _form(name: str, shape: tuple[int, ...], type: GGUFType) -> BlockFormat:
    if len(shape) == 1:
        return BY_NAME["F32"]
    is_outer = name in ("embed.weight", "head.weight")
    form = BY_NAME["Q8_0" if type == "q4_0" and is_outer else type.upper()]
    return BY_NAME["F16"] if shape[1] % form.values else form


def _encoded(weights: Weights, entry: Entry, block: Tensor) -> Tensor:
    raw = encode(entry.form, block.view(len(block), -1))
    if entry.form.name in ("F32", "BF16"):
        return raw
    halves = raw.view(-1, entry.form.bytes)[:, :2].contiguous().view(torch.float16)  # values, or scales of blocks
    if not is_finite(halves):
        largest = block.abs().max().item()
        found = f"{weights.label(entry.name)} holds {largest:.4g}, too large for {entry.form.name}"
        raise UserError(f"{found} (its half-precision numbers end at 65504). Use bf16 or f32.")
    return raw


def head(weights: Described, name: str, type: GGUFType, entries: list[Entry]) -> bytes:
    """Everything before the weights, padded."""
    pairs = _metadata(weights, name, type)
    directory, offset = [], 0
    for entry in entries:
        dimensions = b"".join(struct.pack("<Q", n) for n in reversed(entry.shape))
        directory.append(_text(gguf_name(entry.name)) + struct.pack("<I", len(entry.shape)) + dimensions)
        directory.append(struct.pack("<IQ", entry.form.code, offset))
        offset += padded(entry.n_bytes)
    counts = b"GGUF" + struct.pack("<IQQ", 3, len(entries), len(pairs))
    result = counts + b"".join(_text(key) + value for key, value in pairs.items()) + b"".join(directory)
    return result + bytes(padded(len(result)) - len(result))


def _metadata(weights: Described, name: str, type: GGUFType) -> dict[str, bytes]:
    config = weights.config
    return {
        "general.architecture": _string("phi3"),
        "general.type": _string("model"),
        "general.name": _string(name),
        "general.alignment": _u32(ALIGNMENT),
        "general.file_type": _u32(FILE_TYPES[type]),
        "general.quantization_version": _u32(2),
        "phi3.block_count": _u32(config.n_layers),
        "phi3.context_length": _u32(config.context_len),
        "phi3.embedding_length": _u32(config.d_model),
        "phi3.feed_forward_length": _u32(config.d_ff),
        "phi3.vocab_size": _u32(config.vocab_size),
        "phi3.attention.head_count": _u32(config.n_heads),
        "phi3.attention.head_count_kv": _u32(config.n_kv_heads),
        "phi3.attention.layer_norm_rms_epsilon": _f32(config.norm_eps),
        "phi3.attention.sliding_window": _u32(0),
        "phi3.rope.dimension_count": _u32(config.head_dim),
        "phi3.rope.freq_base": _f32(config.rope_theta),
        "phi3.rope.scaling.original_context_length": _u32(config.context_len),
        **_tokenizer(weights.tokenizer, config.vocab_size),
    }


def _tokenizer(tokenizer: Tokenizer, vocab_size: int) -> dict[str, bytes]:
    """Every row of the embedding gets a token: mergeable ones, specials, and names for rows of padding."""
    mergeable = [spelt(token) for token in sorted(tokenizer.ranks, key=tokenizer.ranks.__getitem__)]
    padding = [f"[PAD{n}]" for n in range(tokenizer.vocab_size, vocab_size)]
    kinds = [_NORMAL] * len(mergeable) + [_CONTROL] * len(SPECIALS) + [_UNUSED] * len(padding)
    fim = {"pre": "<|fim_prefix|>", "mid": "<|fim_middle|>", "suf": "<|fim_suffix|>"}
    roles = {**role_ids(tokenizer), "tokenizer.ggml.eot_token_id": tokenizer.im_end}
    roles |= {f"tokenizer.ggml.fim_{key}_token_id": tokenizer.special_ids[token] for key, token in fim.items()}
    return {
        "tokenizer.ggml.model": _string("gpt2"),
        "tokenizer.ggml.pre": _string(PRE_TOKENIZER),
        "tokenizer.ggml.tokens": _strings([*mergeable, *SPECIALS, *padding]),
        "tokenizer.ggml.token_type": struct.pack("<IIQ", _ARRAY, _I32, len(kinds)) + np.array(kinds, "<i4").tobytes(),
        "tokenizer.ggml.merges": _strings(f"{spelt(left)} {spelt(right)}" for left, right in merges(tokenizer.ranks)),
        **{key: _u32(token) for key, token in roles.items()},
        "tokenizer.ggml.add_bos_token": struct.pack("<I?", _BOOL, False),
        "tokenizer.ggml.add_eos_token": struct.pack("<I?", _BOOL, False),
        "tokenizer.chat_template": _string(CHAT_TEMPLATE),
    }


def padded(n: int) -> int:
    """Bytes up to where the next tensor may begin."""
    return -(-n // ALIGNMENT) * ALIGNMENT


def _text(text: str) -> bytes:
    raw = text.encode()
    return struct.pack("<Q", len(raw)) + raw


def _string(text: str) -> bytes:
    return struct.pack("<I", _STRING) + _text(text)


def _strings(texts: Iterable[str]) -> bytes:
    raw = [_text(text) for text in texts]
    return struct.pack("<IIQ", _ARRAY, _STRING, len(raw)) + b"".join(raw)


def _u32(value: int) -> bytes:
    return struct.pack("<II", _U32, value)


def _f32(value: float) -> bytes:
    return struct.pack("<If", _F32, value)
