"""A model folder in the Hugging Face layout of the published release: the one form a checkpoint rests in.

config.json (`Phi3ForCausalLM`), model.safetensors with fused qkv and gate_up rows, generation_config.json and
the tokenizer's files. Foreign names live here and nowhere else. Reading checks every tensor's name, shape and
finiteness and never unpickles. Generation stops on both end tokens; padding is never one of them (facts: the
release's config.json and its January 2025 fixes).
"""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from phidelity.config import UserError
from phidelity.model.config import ModelConfig
from phidelity.model.transformer import Transformer
from phidelity.records import atomic, write_json
from phidelity.tokenizer.bpe import Tokenizer

WEIGHTS = "model.safetensors"

_OUTER = {"embed": "model.embed_tokens", "norm": "model.norm", "head": "lm_head"}
_INNER = {
    "attention_norm": "input_layernorm",
    "attention.qkv": "self_attn.qkv_proj",
    "attention.out": "self_attn.o_proj",
    "feed_forward_norm": "post_attention_layernorm",
    "feed_forward.gate_up": "mlp.gate_up_proj",
    "feed_forward.down": "mlp.down_proj",
}
_FIELDS = {
    "n_layers": "num_hidden_layers",
    "d_model": "hidden_size",
    "n_heads": "num_attention_heads",
    "n_kv_heads": "num_key_value_heads",
    "d_ff": "intermediate_size",
    "vocab_size": "vocab_size",
    "context_len": "max_position_embeddings",
    "rope_theta": "rope_theta",
    "norm_eps": "rms_norm_eps",
    "init_std": "initializer_range",
}


class Checkpoint(NamedTuple):
    """A model folder, opened."""

    model: Transformer
    tokenizer: Tokenizer
    digest: str
    """Hash of the weights file: what completions are cached and reported under."""


def foreign_name(name: str) -> str:
    """The published name of one of our parameters: `blocks.0.attention.qkv.weight` and so on."""
    if not name.startswith("blocks."):
        return f"{_OUTER[name.removesuffix('.weight')]}.weight"
    _, layer, part = name.removesuffix(".weight").split(".", 2)
    return f"model.layers.{layer}.{_INNER[part]}.weight"


def save_checkpoint(folder: Path, model: Transformer, tokenizer: Tokenizer) -> None:
    """Write a folder that `transformers` and we can open; the weights last, each file atomically."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(folder)
    write_json(folder / "config.json", foreign_config(model.config, tokenizer))
    ends = [tokenizer.im_end, tokenizer.endoftext]
    generation = {"bos_token_id": tokenizer.endoftext, "eos_token_id": ends, "pad_token_id": tokenizer.pad}
    write_json(folder / "generation_config.json", generation)
    tensors = {foreign_name(name): tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    with atomic(folder / WEIGHTS) as file:
        file.write(save(tensors, metadata={"format": "pt"}))


def open_checkpoint(folder: Path) -> Checkpoint:
    """Read a model folder onto the CPU in fp32, checking every tensor."""
    config = read_config(folder)
    tokenizer = Tokenizer.load(folder)
    if tokenizer.vocab_size > config.vocab_size:
        raise UserError(
            f"{folder}: the tokenizer has {tokenizer.vocab_size} ids, the model only {config.vocab_size} rows. "
            "They belong to different models; fetch both from one place."
        )
    with torch.device("meta"):
        model = Transformer(config)
    expected = {foreign_name(name): tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    found = dict(_tensors(folder / WEIGHTS, expected))
    model.load_state_dict({name: found[foreign_name(name)] for name in model.state_dict()}, assign=True)
    return Checkpoint(model.eval(), tokenizer, weights_digest(folder))


def weights_digest(folder: Path) -> str:
    """Hash of the weights file of a checkpoint folder."""
    with open(folder / WEIGHTS, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def read_config(folder: Path) -> ModelConfig:
    """The configuration of a checkpoint folder, in our names."""
    path = folder / "config.json"
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"No model at {folder}: config.json is missing. Give a folder with a checkpoint.") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not valid JSON ({error}). Fetch or make it again.") from None
    model_type = data.get("model_type") if isinstance(data, dict) else None
    if model_type != "phi3":
        raise UserError(f"{path}: model_type is {model_type!r}; expected 'phi3', phi-4's architecture.")
    try:
        values = {ours: data[theirs] for ours, theirs in _FIELDS.items()}
        return ModelConfig.model_validate(values)
    except KeyError as error:
        raise UserError(f"{path} lacks {error}. Expected the configuration of a Phi3ForCausalLM.") from None
    except ValidationError as error:
        raise UserError(f"{path}: {error.errors()[0]['msg']}. The configuration is damaged.") from None


def foreign_config(config: ModelConfig, tokenizer: Tokenizer) -> dict[str, Any]:
    """config.json of the release with this model's numbers."""
    return {theirs: getattr(config, ours) for ours, theirs in _FIELDS.items()} | {
        "architectures": ["Phi3ForCausalLM"],
        "model_type": "phi3",
        "attention_bias": False,
        "attention_dropout": 0.0,
        "bos_token_id": tokenizer.endoftext,
        "embd_pdrop": 0.0,
        "eos_token_id": tokenizer.im_end,
        "hidden_act": "silu",
        "original_max_position_embeddings": config.context_len,
        "pad_token_id": tokenizer.pad,
        "resid_pdrop": 0.0,
        "rope_scaling": None,
        "sliding_window": None,
        "tie_word_embeddings": False,
        "torch_dtype": "float32",
        "use_cache": True,
    }


def _tensors(path: Path, expected: dict[str, tuple[int, ...]]) -> Iterator[tuple[str, torch.Tensor]]:
    try:
        with safe_open(path, framework="pt") as file:
            names = set(file.keys())
            _compare(path, names, expected)
            for name in sorted(names):
                tensor = file.get_tensor(name).float()
                if tuple(tensor.shape) != expected[name]:
                    shapes = f"{tuple(tensor.shape)}; config.json makes it {expected[name]}"
                    raise UserError(f"{path}: {name} has shape {shapes}. Weights and config do not belong together.")
                if not torch.isfinite(tensor).all():
                    raise UserError(f"{path}: {name} holds values that are not finite. Fetch or make the file again.")
                yield name, tensor
    except FileNotFoundError:
        raise UserError(f"No weights at {path}; expected a safetensors file. Pickled weights are never read.") from None
    except SafetensorError as error:
        raise UserError(f"{path} is truncated or damaged ({error}). Fetch or make it again.") from None


def _compare(path: Path, names: set[str], expected: dict[str, tuple[int, ...]]) -> None:
    for kind, odd in (("missing", expected.keys() - names), ("unexpected", names - expected.keys())):
        if odd:
            listed = ", ".join(sorted(odd)[:3]) + (", ..." if len(odd) > 3 else "")
            raise UserError(f"{path}: {len(odd)} tensors are {kind}: {listed}. Expected a fused Phi3ForCausalLM.")
