"""Adapters as PEFT keeps them: a folder with adapter_config.json and adapter_model.safetensors, fused names or split.

Both layouts are read as updates of our fused matrices, whichever the base is stored in. Beside PEFT's two files lies
phidelity.json, which says by a hash which base the adapter was trained on; another base is refused. `MergedWeights` is
a base with the updates added, as one more `Weights`: so a merged model goes wherever a checkpoint goes.
"""

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from phidelity.checkpoint.naming import Layout, read_json
from phidelity.checkpoint.packed import PackedWeights
from phidelity.checkpoint.tensors import TensorFile, write_tensors
from phidelity.checkpoint.weights import Weights, file_digest, is_finite
from phidelity.config import UserError
from phidelity.model.config import ModelConfig
from phidelity.model.lora import Update, Updates
from phidelity.records import write_json

CONFIG, WEIGHTS, BASE = "adapter_config.json", "adapter_model.safetensors", "phidelity.json"
PREFIX = "base_model.model."
REFUSED: dict[str, tuple[Any, ...]] = {
    "peft_type": ("LORA",),
    "bias": ("none",),
    "fan_in_fan_out": (False,),
    "use_dora": (False,),
    "modules_to_save": (None, []),
    "alpha_pattern": (None, {}),
    "lora_bias": (False,),
    "trainable_token_indices": (None, []),
    "megatron_config": (None,),
}
"""What is asked of adapter_config.json; a key that is not there is as it should be."""


class Place(NamedTuple):
    """Where in our matrices a foreign module lies."""

    matrix: str
    """`attention.qkv` and so on, within a block."""
    start: int
    n_rows: int
    n_columns: int


class Adapter(NamedTuple):
    """An adapter, read."""

    source: str
    updates: dict[str, list[Update]]
    base: str | None
    """Hash of the base it was trained on; None where the folder does not say."""
    digest: str


def places(config: ModelConfig) -> dict[str, Place]:
    """Every module that an adapter may name, fused or split, by the last part of its name."""
    c, n_kv = config, config.n_kv_heads * config.head_dim
    qkv, gate_up = "attention.qkv", "feed_forward.gate_up"
    return {
        "qkv_proj": Place(qkv, 0, c.d_qkv, c.d_model),
        "q_proj": Place(qkv, 0, c.d_model, c.d_model),
        "k_proj": Place(qkv, c.d_model, n_kv, c.d_model),
        "v_proj": Place(qkv, c.d_model + n_kv, n_kv, c.d_model),
        "o_proj": Place("attention.out", 0, c.d_model, c.d_model),
        "gate_up_proj": Place(gate_up, 0, 2 * c.d_ff, c.d_model),
        "gate_proj": Place(gate_up, 0, c.d_ff, c.d_model),
        "up_proj": Place(gate_up, c.d_ff, c.d_ff, c.d_model),
        "down_proj": Place("feed_forward.down", 0, c.d_model, c.d_ff),
    }


FUSED = ("qkv_proj", "o_proj", "gate_up_proj", "down_proj")
SPLIT = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


def check_targets(names: Iterable[str], config: ModelConfig) -> tuple[str, ...]:
    """Modules to train as they were named; `all-linear` is all of them. None that is there is a `UserError`."""
    known, asked = places(config), [part.strip() for name in names for part in name.split(",") if part.strip()]
    if asked == ["all-linear"]:
        return FUSED
    if unknown := [name for name in asked if name not in known]:
        raise UserError(
            f"No module is called {unknown[0]!r}; expected of {', '.join(FUSED)} (fused) or "
            f"{', '.join(name for name in SPLIT if name not in FUSED)} (split), or all-linear."
        )
    if not asked:
        raise UserError(f"No target was named; expected some of {', '.join(known)}, or all-linear.")
    for fused, parts in (("qkv_proj", SPLIT[:3]), ("gate_up_proj", SPLIT[4:6])):
        if both := [name for name in parts if name in asked and fused in asked]:
            raise UserError(f"{fused} and {both[0]} were named, which is within it. Name one of the two.")
    return tuple(dict.fromkeys(asked))


def fresh_updates(
    config: ModelConfig, targets: Sequence[str], *, rank: int, alpha: float, seed: int
) -> dict[str, list[Update]]:
    """Updates as PEFT begins them: A uniform within 1 / sqrt(columns), B zero, so that nothing is changed yet."""
    generator = torch.Generator().manual_seed(seed)
    found: dict[str, list[Update]] = {}
    for layer in range(config.n_layers):
        for target in sorted(targets, key=list(places(config)).index):
            place = places(config)[target]
            a = torch.empty(rank, place.n_columns).uniform_(-1, 1, generator=generator).div_(math.sqrt(place.n_columns))
            update = Update(place.start, a, torch.zeros(place.n_rows, rank), alpha / rank)
            found.setdefault(f"blocks.{layer}.{place.matrix}", []).append(update)
    return found


def base_digest(weights: Weights) -> str:
    """The hash by which an adapter knows its base: that of what a packed model was made from, else its own."""
    if isinstance(weights, PackedWeights):
        made_from = weights.header.get("made_from")
        return str((made_from or {}).get("digest") or weights.digest)
    return weights.digest


def read_adapter(folder: Path, config: ModelConfig, base: str | None = None) -> Adapter:
    """An adapter for a model of this shape; with `base` one that says it is of another base is refused."""
    settings = read_json(folder / CONFIG)
    if settings is None:
        raise UserError(f"No adapter at {folder}: {CONFIG} is missing. Give a folder that PEFT or phi finetune wrote.")
    for key, allowed in REFUSED.items():
        if (value := settings.get(key, allowed[0])) not in allowed:
            raise UserError(f"{folder / CONFIG}: {key} is {value!r:.60}; expected {allowed[0]!r}. It cannot be served.")
    said = read_json(folder / BASE) or {}
    if base and said.get("base") and said["base"] != base:
        raise UserError(
            f"{folder} was trained on a base with hash {said['base']}; this one has {base}. Give that base, or remove "
            f"{folder / BASE} to use it here all the same."
        )
    path = folder / WEIGHTS
    if not path.is_file():
        raise UserError(f"{folder} has no {WEIGHTS}; pickled weights (.bin) are never read. Save it as safetensors.")
    updates = _updates(path, settings, config)
    return Adapter(str(folder), updates, said.get("base"), file_digest([path, folder / CONFIG]))


def write_adapter(
    folder: Path,
    updates: Updates,
    config: ModelConfig,
    *,
    base: str,
    base_name: str,
    layout: Layout,
    rank: int,
    alpha: float,
) -> None:
    """Write a PEFT folder into `folder`; the layout `split` takes fused updates apart, exactly."""
    tensors: dict[str, Tensor] = {}
    for name, parts in updates.items():
        _, layer, matrix = name.split(".", 2)
        for target, a, b in _named(matrix, parts, config, layout):
            stem = f"{PREFIX}model.layers.{layer}.{_parent(matrix)}.{target}"
            tensors |= {f"{stem}.lora_A.weight": a.float().cpu(), f"{stem}.lora_B.weight": b.float().cpu()}
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    folder.mkdir(parents=True, exist_ok=True)
    write_tensors(folder / WEIGHTS, shapes, torch.float32, lambda name: [tensors[name]])
    write_json(folder / BASE, {"base": base, "base_name": base_name, "layout": layout})
    settings = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base_name,
        "r": rank,
        "lora_alpha": alpha,
        "lora_dropout": 0.0,
        "target_modules": sorted({name.split(".")[-3] for name in tensors}),
        "bias": "none",
        "fan_in_fan_out": False,
        "inference_mode": True,
        "init_lora_weights": True,
        "use_rslora": False,
        "use_dora": False,
        "modules_to_save": None,
    }
    write_json(folder / CONFIG, settings)


class MergedWeights:
    """A base with an adapter's updates added: a `Weights` in float32 where there is one."""

    def __init__(self, base: Weights, adapter: Adapter) -> None:
        self._base, self._updates = base, adapter.updates
        self.source, self.config, self.tokenizer, self.shapes = base.source, base.config, base.tokenizer, base.shapes
        self.form = f"{base.form}, merged with the adapter {adapter.source}"
        self.notes = base.notes
        self._adapter = adapter

    @property
    def digest(self) -> str:
        """Hash of both hashes."""
        return hashlib.sha256(f"{self._base.digest} {self._adapter.digest}".encode()).hexdigest()[:16]

    def dtype_of(self, name: str) -> torch.dtype:
        """float32 for what was added to, so that nothing of it is rounded away."""
        return torch.float32 if name.removesuffix(".weight") in self._updates else self._base.dtype_of(name)

    def label(self, name: str) -> str:
        """The base's."""
        return self._base.label(name)

    def rows(self, name: str, start: int, stop: int) -> Tensor:
        """Rows of the base and of scale B A."""
        block = self._base.rows(name, start, stop)
        if not (parts := self._updates.get(name.removesuffix(".weight"))):
            return block
        block = block.float()
        for update in parts:
            low, high = max(start, update.start), min(stop, update.start + len(update.b))
            if low < high:
                b = update.b[low - update.start : high - update.start]
                block[low - start : high - start].addmm_(b, update.a, alpha=update.scale)
        return block


def _updates(path: Path, settings: Mapping[str, Any], config: ModelConfig) -> dict[str, list[Update]]:
    file, known = TensorFile(path), places(config)
    pairs: dict[tuple[int, str], dict[str, Tensor]] = {}
    for name, stored in file.tensors.items():
        parts = name.removesuffix(".weight").split(".")
        target = parts[-2] if len(parts) > 2 else ""
        after = parts[parts.index("layers") + 1] if "layers" in parts[:-1] else ""
        layer = int(after) if after.isdecimal() else -1
        if parts[-1] not in ("lora_A", "lora_B") or target not in known or not 0 <= layer < config.n_layers:
            raise UserError(
                f"{path}: {name} updates no module of this model; expected lora_A and lora_B of layers 0 to "
                f"{config.n_layers - 1} and of {', '.join(known)}."
            )
        tensor = file.rows(name, 0, stored.shape[0]).float()
        if not is_finite(tensor):
            raise UserError(f"{path}: {name} holds values that are not finite. Train or fetch it again.")
        pairs.setdefault((layer, target), {})[parts[-1]] = tensor
    if not pairs:
        raise UserError(f"{path} holds no update. Train or fetch it again.")
    found: dict[str, list[Update]] = {}
    for (layer, target), pair in sorted(pairs.items(), key=lambda item: (item[0][0], list(known).index(item[0][1]))):
        place = known[target]
        update = _update(path, layer, target, pair, place, settings)
        found.setdefault(f"blocks.{layer}.{place.matrix}", []).append(update)
    return found


def _update(
    path: Path, layer: int, target: str, pair: Mapping[str, Tensor], place: Place, settings: Mapping[str, Any]
) -> Update:
    a, b = pair.get("lora_A"), pair.get("lora_B")
    if a is None or b is None or a.ndim != 2 or b.ndim != 2 or len(a) != b.shape[1]:
        raise UserError(f"{path}: {target} of layer {layer} lacks one of lora_A and lora_B, or they do not fit.")
    if a.shape[1] != place.n_columns or len(b) != place.n_rows:
        found = f"{target} of layer {layer} is of a matrix {len(b)} x {a.shape[1]}"
        raise UserError(f"{path}: {found}; this model has {place.n_rows} x {place.n_columns}. It is of another base.")
    rank, alpha = len(a), float(settings.get("lora_alpha", 8))
    scale = alpha / math.sqrt(rank) if settings.get("use_rslora") else alpha / rank
    return Update(place.start, a, b, scale)


def _named(
    matrix: str, parts: Sequence[Update], config: ModelConfig, layout: Layout
) -> Iterable[tuple[str, Tensor, Tensor]]:
    """Updates of a matrix under foreign names."""
    of_matrix = {name: place for name, place in places(config).items() if place.matrix == matrix}
    for update in parts:
        exact = [n for n, p in of_matrix.items() if (p.start, p.n_rows) == (update.start, len(update.b))]
        if exact and (layout == "fused" or exact[0] in SPLIT):
            yield exact[0], update.a, update.b
            continue
        for name, place in of_matrix.items():
            if name in SPLIT:
                yield name, update.a, update.b[place.start : place.start + place.n_rows]


def _parent(matrix: str) -> str:
    return "self_attn" if matrix.startswith("attention") else "mlp"
