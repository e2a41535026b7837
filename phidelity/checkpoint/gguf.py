"""A GGUF file as `Weights`: llama.cpp's form of a model, whole or quantised, under our names and in our fused layout.

Two architectures are phi-4: `phi3`, with fused matrices as the release has them, and `llama`, made from split copies.
For the latter llama.cpp's converter reorders the rows of queries and keys, since its rotation pairs neighbours where
the release pairs the halves of a head; here they are put back. What the network cannot express (a sliding window,
scaled rotary positions, tensors of other networks) is refused, never ignored.
"""

import math
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from pydantic import ValidationError
from torch import Tensor

from phidelity.checkpoint.gguf_file import Contents, StoredTensor, read_contents
from phidelity.checkpoint.gguf_tokenizer import read_tokenizer
from phidelity.checkpoint.weights import Weights, check_vocabulary, expected_shapes, file_digest
from phidelity.config import UserError
from phidelity.model.config import ModelConfig, census

ARCHITECTURES = ("phi3", "llama")

OUTER = {"embed": "token_embd", "norm": "output_norm", "head": "output"}
INNER = {
    "attention_norm": "attn_norm",
    "attention.qkv": "attn_qkv",
    "attention.out": "attn_output",
    "feed_forward_norm": "ffn_norm",
    "feed_forward.gate_up": "ffn_up",
    "feed_forward.down": "ffn_down",
}


def open_gguf(path: Path) -> Weights:
    """The weights of a GGUF file, nothing of them read yet."""
    return GGUFWeights(path)


def gguf_name(name: str) -> str:
    """llama.cpp's name of one of our parameters, in the fused layout of `phi3`."""
    if not name.startswith("blocks."):
        return f"{OUTER[name.removesuffix('.weight')]}.weight"
    _, layer, part = name.removesuffix(".weight").split(".", 2)
    return f"blk.{layer}.{INNER[part]}.weight"


class Piece(NamedTuple):
    """A stored tensor, or what of one of our parameters it holds."""

    name: str
    n_rows: int
    n_reordered: int = 0
    """Values of a head whose rows stand in llama.cpp's order for neighbouring pairs; 0 where rows stand in ours."""


class GGUFWeights:
    """The `Weights` of a GGUF file. `rows` gives float32 where the file is quantised."""

    def __init__(self, path: Path) -> None:
        self.source = str(path)
        self.path = path
        contents = read_contents(path)
        self.architecture = _architecture(path, contents.metadata)
        self.tensors = contents.tensors
        self.config = _config(path, contents, self.architecture)
        self.tokenizer, self.notes = read_tokenizer(path, contents.metadata)
        check_vocabulary(self.source, self.config, self.tokenizer)
        self.shapes: Mapping[str, tuple[int, ...]] = expected_shapes(self.config)
        is_split = self.architecture == "llama"
        self._pieces = {name: _pieces(self.config, name, shape, is_split) for name, shape in self.shapes.items()}
        self._check_tensors()

    @property
    def form(self) -> str:
        """For example `GGUF, phi3, 21 Q6_K, 101 Q4_K, 121 F32`."""
        names = [tensor.form.name for tensor in self.tensors.values()]
        counts = ", ".join(f"{names.count(name)} {name}" for name in sorted(set(names), key=names.count))
        return f"GGUF, {self.architecture}, {counts}"

    @property
    def digest(self) -> str:
        """Hash of the file."""
        return self._digest

    @cached_property
    def _digest(self) -> str:
        return file_digest([self.path])

    def dtype_of(self, name: str) -> torch.dtype:
        """The dtype that `rows` gives: as stored, float32 where that is quantised or mixed.

        Norms are F32 in every file; where all matrices are of one narrower dtype that holds them too, it is that.
        """
        if len(self.shapes[name]) == 1:
            return self._norm_dtype
        dtypes = {self.tensors[piece.name].form.dtype for piece in self._pieces[name]}
        return dtypes.pop() if len(dtypes) == 1 else torch.float32

    @cached_property
    def _norm_dtype(self) -> torch.dtype:
        norms = [self.tensors[gguf_name(name)] for name, shape in self.shapes.items() if len(shape) == 1]
        dtypes = {self.dtype_of(name) for name, shape in self.shapes.items() if len(shape) > 1}
        dtype = dtypes.pop() if len(dtypes) == 1 else torch.float32
        values = torch.cat([norm.rows(0, norm.shape[0]).float() for norm in norms])
        return dtype if torch.equal(values.to(dtype).float(), values) else torch.float32

    def label(self, name: str) -> str:
        """File and stored name of a parameter."""
        return f"{self.path}: {' and '.join(piece.name for piece in self._pieces[name])}"

    def rows(self, name: str, start: int, stop: int) -> Tensor:
        """Rows `start` to `stop` of a parameter, put together from the tensors that hold them."""
        parts, at = [], 0
        for piece in self._pieces[name]:
            low, high = max(start - at, 0), min(stop - at, piece.n_rows)
            if low < high:
                parts.append(_rows(self.tensors[piece.name], piece, low, high).to(self.dtype_of(name)))
            at += piece.n_rows
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def _check_tensors(self) -> None:
        expected = {piece.name for pieces in self._pieces.values() for piece in pieces}
        for kind, odd in (("missing", expected - self.tensors.keys()), ("unexpected", self.tensors.keys() - expected)):
            if odd:
                listed = ", ".join(sorted(odd)[:3]) + (", ..." if len(odd) > 3 else "")
                raise UserError(
                    f"{self.path}: {len(odd)} tensors are {kind}: {listed:.200}. Expected phi-4's {len(expected)} "
                    f"as {self.architecture!r} has them."
                )
        for name, pieces in self._pieces.items():
            for piece in pieces:
                tensor, shape = self.tensors[piece.name], (piece.n_rows, *self.shapes[name][1:])
                if tensor.shape != shape or (len(shape) == 1 and tensor.form.values > 1):
                    found = f"{piece.name} is {tensor.form.name} of shape {tensor.shape}"
                    raise UserError(f"{self.path}: {found}; its metadata makes it {shape}. Fetch or make it again.")


def _rows(tensor: StoredTensor, piece: Piece, start: int, stop: int) -> Tensor:
    if not piece.n_reordered:
        return tensor.rows(start, stop)
    d = piece.n_reordered
    first, last = start // d * d, -(-stop // d) * d
    heads = tensor.rows(first, last).unflatten(0, (-1, d // 2, 2))  # pairs of neighbours
    return heads.transpose(1, 2).flatten(0, 2)[start - first : stop - first].clone()


def _pieces(config: ModelConfig, name: str, shape: tuple[int, ...], is_split: bool) -> tuple[Piece, ...]:
    """The stored tensors that hold the rows of one of our parameters, in the order of rows."""
    whole = gguf_name(name)
    n_kv, d = config.n_kv_heads * config.head_dim, config.head_dim
    if is_split and whole.endswith("attn_qkv.weight"):
        q, k, v = (whole.replace("qkv", part) for part in "qkv")
        return Piece(q, config.d_model, d), Piece(k, n_kv, d), Piece(v, n_kv)
    if is_split and whole.endswith("ffn_up.weight"):
        return Piece(whole.replace("up", "gate"), config.d_ff), Piece(whole, config.d_ff)
    return (Piece(whole, shape[0]),)


def _architecture(path: Path, metadata: Mapping[str, Any]) -> str:
    found = metadata.get("general.architecture")
    if found not in ARCHITECTURES:
        raise UserError(f"{path}: architecture {found!r:.80}; expected phi-4's, 'phi3', or 'llama' of a split copy.")
    if (n := metadata.get("split.count", 1)) != 1:
        raise UserError(
            f"{path} is one of {n!r:.20} parts of a model; expected all of it. Merge them: llama-gguf-split."
        )
    return found


def _config(path: Path, contents: Contents, architecture: str) -> ModelConfig:
    """The model's shape from metadata; plain float32 numbers are read as the decimals they were written from."""
    values = {key.removeprefix(f"{architecture}."): value for key, value in contents.metadata.items()}
    embed = contents.tensors.get("token_embd.weight")
    try:
        config = ModelConfig(
            n_layers=values["block_count"],
            d_model=values["embedding_length"],
            n_heads=values["attention.head_count"],
            n_kv_heads=values.get("attention.head_count_kv", values["attention.head_count"]),
            d_ff=values["feed_forward_length"],
            vocab_size=embed.shape[0] if embed else values["vocab_size"],
            context_len=values["context_length"],
            rope_theta=_decimal(values.get("rope.freq_base", 10_000.0)),
            norm_eps=_decimal(values["attention.layer_norm_rms_epsilon"]),
        )
    except KeyError as error:
        raise UserError(f"{path}: metadata lacks {architecture}.{error.args[0]}. Fetch or make it again.") from None
    except ValidationError as error:
        detail = error.errors()[0]
        where = ".".join(map(str, detail["loc"])) or "shape"
        raise UserError(f"{path}: metadata makes {where} invalid: {detail['msg']}. Fetch or make it again.") from None
    stored = sum(math.prod(tensor.shape) for tensor in contents.tensors.values())
    if census(config).total > 2 * stored:  # before anything of that size is made; what is missing is named later
        found = f"metadata describes {census(config).total:,} parameters, the tensors hold {stored:,}"
        raise UserError(f"{path}: {found}. Fetch or make it again.")
    _check_network(path, values, config)
    return config


def _check_network(path: Path, values: Mapping[str, Any], config: ModelConfig) -> None:
    """Refuse what our network does not do."""
    window = values.get("attention.sliding_window", 0)
    facts = {
        "rope.dimension_count": (values.get("rope.dimension_count"), config.head_dim),
        "attention.key_length": (values.get("attention.key_length"), config.head_dim),
        "attention.value_length": (values.get("attention.value_length"), config.head_dim),
        "attention.sliding_window": (window or None, config.context_len),
        "rope.scaling.type": (values.get("rope.scaling.type"), "none"),
        "rope.scaling.factor": (values.get("rope.scaling.factor"), 1.0),
        "expert_count": (values.get("expert_count") or None, 0),
    }
    for key, (found, expected) in facts.items():
        if found not in (None, expected):
            raise UserError(
                f"{path}: {key} is {found!r:.40}; phi-4's network has {expected!r}. This is another network."
            )


def _decimal(value: Any) -> Any:
    return float(str(np.float32(value))) if isinstance(value, float) and math.isfinite(value) else None
