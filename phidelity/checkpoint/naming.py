"""Foreign names: config.json and the tensors of `Phi3ForCausalLM` and of its re-expression as `LlamaForCausalLM`.

The release keeps queries, keys and values in one matrix (in this order of rows) and gate and up in another; copies
re-saved for Llama's class keep five matrices where the release has two, 363 tensors for 243. The numbers are the same,
and so the network is: a config is accepted by what it says of the network, never by its name.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import ValidationError

from phidelity.config import UserError
from phidelity.model.config import ModelConfig
from phidelity.tokenizer.bpe import Tokenizer

Layout = Literal["fused", "split"]

ARCHITECTURES: dict[Layout, tuple[str, str]] = {
    "fused": ("phi3", "Phi3ForCausalLM"),
    "split": ("llama", "LlamaForCausalLM"),
}

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
_ASSUMED: dict[str, tuple[Any, ...]] = {
    "hidden_act": ("silu",),
    "attention_bias": (False,),
    "mlp_bias": (False,),
    "tie_word_embeddings": (False,),
    "sliding_window": (None, 0),
    "partial_rotary_factor": (1.0,),
    "quantization_config": (None,),
    "rope scaling": ("default",),
}
"""What the network takes for granted; the first value stands where config.json says nothing."""


class Piece(NamedTuple):
    """A foreign tensor, or what of one of our parameters it holds."""

    name: str
    n_rows: int


def pieces(config: ModelConfig, shapes: Mapping[str, tuple[int, ...]], layout: Layout) -> dict[str, tuple[Piece, ...]]:
    """For each of our parameters, the foreign tensors that hold its rows, in the order of rows."""
    split = {"qkv_proj": _qkv(config), "gate_up_proj": _gate_up(config)} if layout == "split" else {}
    result = {}
    for name, shape in shapes.items():
        foreign = foreign_name(name)
        stem, _, last = foreign.removesuffix(".weight").rpartition(".")
        parts = split.get(last)
        whole = (Piece(foreign, shape[0]),)
        result[name] = tuple(Piece(f"{stem}.{part}.weight", n) for part, n in parts.items()) if parts else whole
    return result


def foreign_name(name: str) -> str:
    """The published name of one of our parameters: `blocks.0.attention.qkv.weight` and so on."""
    if not name.startswith("blocks."):
        return f"{_OUTER[name.removesuffix('.weight')]}.weight"
    _, layer, part = name.removesuffix(".weight").split(".", 2)
    return f"model.layers.{layer}.{_INNER[part]}.weight"


def read_config(folder: Path) -> ModelConfig:
    """The configuration of a checkpoint folder, in our names."""
    path = folder / "config.json"
    data = read_json(path)
    if data is None:
        raise UserError(f"No model at {folder}: config.json is missing. Give a folder with a checkpoint.")
    known = [model_type for model_type, _ in ARCHITECTURES.values()]
    if data.get("model_type") not in known:
        found = f"model_type is {data.get('model_type')!r}"
        raise UserError(f"{path}: {found}; expected 'phi3', phi-4's architecture, or 'llama' of a re-saved copy.")
    rope = data.get("rope_parameters") or {}
    data = {"rope_theta": rope.get("rope_theta"), "initializer_range": 0.02} | data
    _check_assumed(path, data, rope or data.get("rope_scaling") or {})
    try:
        config = ModelConfig.model_validate({ours: data[theirs] for ours, theirs in _FIELDS.items()})
    except KeyError as error:
        raise UserError(f"{path} lacks {error}. Expected the configuration of a Phi3ForCausalLM.") from None
    except ValidationError as error:
        detail = error.errors()[0]
        where = ", ".join(_FIELDS.get(str(part), str(part)) for part in detail["loc"]) or "shape"
        raise UserError(
            f"{path}: {where} is {detail['input']!r:.60}: {detail['msg']}. Fetch or make it again."
        ) from None
    if data.get("head_dim") not in (None, config.head_dim):
        raise UserError(f"{path}: head_dim is {data['head_dim']}; expected hidden size over heads, {config.head_dim}.")
    return config


def read_json(path: Path) -> dict[str, Any] | None:
    """A JSON object from a file; None where there is no file."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not valid JSON ({error}). Fetch or make it again.") from None
    if not isinstance(data, dict):
        raise UserError(f"{path} holds {str(data)!r:.40}; expected a JSON object. Fetch or make it again.")
    return data


def foreign_config(
    config: ModelConfig, tokenizer: Tokenizer, layout: Layout = "fused", dtype: str = "float32"
) -> dict[str, Any]:
    """config.json of the release (or of a Llama-style copy) with this model's numbers."""
    model_type, architecture = ARCHITECTURES[layout]
    specific = {"embd_pdrop": 0.0, "original_max_position_embeddings": config.context_len, "resid_pdrop": 0.0}
    return {theirs: getattr(config, ours) for ours, theirs in _FIELDS.items()} | {
        "architectures": [architecture],
        "model_type": model_type,
        "attention_bias": False,
        "attention_dropout": 0.0,
        "bos_token_id": tokenizer.endoftext,
        "eos_token_id": tokenizer.im_end,
        "hidden_act": "silu",
        "pad_token_id": tokenizer.pad,
        "rope_scaling": None,
        "tie_word_embeddings": False,
        "torch_dtype": dtype,
        "use_cache": True,
        **(specific | {"sliding_window": None} if layout == "fused" else {"head_dim": config.head_dim}),
    }


def generation_config(tokenizer: Tokenizer) -> dict[str, Any]:
    """generation_config.json: both ends of an answer, and a padding id that is neither."""
    ends = [tokenizer.im_end, tokenizer.endoftext]
    return {"bos_token_id": tokenizer.endoftext, "eos_token_id": ends, "pad_token_id": tokenizer.pad}


def _check_assumed(path: Path, data: Mapping[str, Any], rope: Mapping[str, Any]) -> None:
    """Newer transformers moves what concerns rotary positions into a table of its own, so that counts as well."""
    found = {"partial_rotary_factor": rope.get("partial_rotary_factor", 1.0), **data}
    found["rope scaling"] = rope.get("rope_type", rope.get("type", "default"))
    for key, allowed in _ASSUMED.items():
        value = found.get(key, allowed[0])
        if value not in allowed:
            raise UserError(f"{path}: {key} is {value!r}; phi-4 has {allowed[0]!r}. This is another network.")


def _qkv(config: ModelConfig) -> dict[str, int]:
    n_kv = config.n_kv_heads * config.head_dim
    return {"q_proj": config.d_model, "k_proj": n_kv, "v_proj": n_kv}


def _gate_up(config: ModelConfig) -> dict[str, int]:
    return {"gate_proj": config.d_ff, "up_proj": config.d_ff}
