"""Model folders: logits equal transformers', and every way a folder can be broken is one clear line."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from phidelity.checkpoint.huggingface import save_checkpoint
from phidelity.checkpoint.open import open_checkpoint
from phidelity.config import UserError
from phidelity.model.attention import CausalAttend
from phidelity.model.config import ModelConfig
from phidelity.model.transformer import Transformer
from phidelity.tokenizer.bpe import Tokenizer, train

TOKENIZER = train(["the cat sat on the mat and 12 cats sat there"] * 3, 400)
CONFIG = ModelConfig(
    n_layers=3, d_model=64, n_heads=8, n_kv_heads=2, d_ff=224, vocab_size=400, context_len=64, rope_theta=10_000.0
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    model = Transformer(CONFIG).initialise(torch.Generator().manual_seed(1))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3.0) if parameter.ndim == 2 else parameter.uniform_(0.5, 1.5)
    save_checkpoint(tmp_path / "model", model, TOKENIZER)
    return tmp_path / "model"


def test_logits_equal_transformers_with_grouped_heads(folder: Path) -> None:
    from transformers import AutoModelForCausalLM

    theirs = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    ours = open_checkpoint(folder).model
    tokens = torch.randint(0, 400, (3, 50), generator=torch.Generator().manual_seed(0))
    positions = torch.arange(50).expand(3, 50)
    with torch.no_grad():
        difference = ours.logits(ours(tokens, positions, CausalAttend())) - theirs(tokens).logits
        assert difference.abs().max() < 1e-4
        q, k = slice(0, 64), slice(64, 80)
        swapped = ours.blocks[0].attention.qkv.weight  # type: ignore[union-attr]
        swapped[q.start : 16], swapped[k] = swapped[k].clone(), swapped[q.start : 16].clone()
        broken = ours.logits(ours(tokens, positions, CausalAttend())) - theirs(tokens).logits
    assert broken.abs().max() > 1e-2, "exchanging rows of queries and keys must show"


def test_transformers_tokenizes_and_renders_as_we_do(folder: Path) -> None:
    from transformers import AutoTokenizer

    from phidelity.records import Message
    from phidelity.tokenizer.chat import render

    theirs = AutoTokenizer.from_pretrained(folder)
    ours = Tokenizer.load(folder)
    for text in ("the cat 1234", "  spaces\n\n\nand ümläut 日本 \t'LL", "x=1;\r\n  y"):
        assert theirs.encode(text) == ours.encode(text)
    messages = [Message(role="system", content="the cat"), Message(role="user", content=" sat\n")]
    rendered = theirs.apply_chat_template([m.model_dump() for m in messages], add_generation_prompt=True)
    ids = rendered["input_ids"] if not isinstance(rendered, list) else rendered
    assert list(ids) == render(messages, ours, generation_prompt=True).ids


def test_saving_what_was_opened_gives_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    opened = open_checkpoint(folder)
    save_checkpoint(tmp_path / "again", opened.model, opened.tokenizer)
    for path in folder.iterdir():
        assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes(), path.name


def test_truncated_weights_are_named(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(UserError, match="truncated or damaged"):
        open_checkpoint(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("lm_head.weight"), "missing: lm_head"),
        (lambda t: t.update(extra=torch.ones(2)), "unexpected: extra"),
        (lambda t: t.update({"model.norm.weight": torch.ones(2)}), "has shape"),
        (lambda t: t["model.norm.weight"].fill_(float("nan")), "not finite"),
    ],
)
def test_wrong_tensors_are_named(folder: Path, change, message: str) -> None:
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(UserError, match=message):
        open_checkpoint(folder)


def test_another_architecture_is_refused(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text()) | {"model_type": "gemma2"}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match="expected 'phi3'"):
        open_checkpoint(folder)


def test_pickled_weights_are_never_read(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(UserError, match="never read"):
        open_checkpoint(folder)
