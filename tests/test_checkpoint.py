"""Reading model folders: logits equal transformers', whatever the layout, the dtype and the number of shards."""

import json
from pathlib import Path

import pytest
import torch
from checkpoint_world import CONFIG, TOKENIZER, random_checkpoint, random_model
from safetensors.torch import load_file, save, save_file

from phidelity.checkpoint.huggingface import FolderWeights, save_checkpoint
from phidelity.checkpoint.open import open_checkpoint, open_weights
from phidelity.checkpoint.tensors import write_tensors
from phidelity.checkpoint.weights import load, load_part, rank_rows
from phidelity.config import UserError
from phidelity.export.huggingface import write_huggingface
from phidelity.model.attention import CausalAttend
from phidelity.model.config import ModelConfig
from phidelity.model.transformer import Transformer
from phidelity.tokenizer.bpe import Tokenizer


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return random_checkpoint(tmp_path / "model")


@torch.no_grad()
def logits(model: Transformer, tokens: torch.Tensor) -> torch.Tensor:
    positions = torch.arange(tokens.shape[1]).expand_as(tokens)
    return model.logits(model(tokens, positions, CausalAttend()))


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(0, CONFIG.vocab_size, shape, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def test_logits_equal_transformers_with_grouped_heads(folder: Path) -> None:
    from transformers import AutoModelForCausalLM

    theirs = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    ours = open_checkpoint(folder).model
    tokens = draw(3, 50)
    assert (logits(ours, tokens) - theirs(tokens).logits).abs().max() < 1e-4
    lengths = [50, 31, 7]
    mask = torch.arange(50) < torch.tensor(lengths)[:, None]
    padded = theirs(tokens * mask, attention_mask=mask.long()).logits
    for row, length in enumerate(lengths):
        alone = logits(ours, tokens[row : row + 1, :length])
        assert (alone - padded[row : row + 1, :length]).abs().max() < 1e-4, "ragged lengths"


@pytest.mark.parametrize(
    ("name", "first", "second"),
    [
        ("self_attn.qkv_proj", slice(0, 16), slice(64, 80)),
        ("self_attn.qkv_proj", slice(64, 80), slice(80, 96)),
        ("mlp.gate_up_proj", slice(0, 224), slice(224, 448)),
    ],
    ids=["queries and keys", "keys and values", "gate and up"],
)
@torch.no_grad()
def test_exchanging_blocks_of_fused_rows_shows(folder: Path, name: str, first: slice, second: slice) -> None:
    tokens = draw(1, 20)
    right = logits(open_checkpoint(folder).model, tokens)
    tensors = load_file(folder / "model.safetensors")
    matrix = tensors[f"model.layers.0.{name}.weight"]
    matrix[first], matrix[second] = matrix[second].clone(), matrix[first].clone()
    save_file(tensors, folder / "model.safetensors")
    wrong = logits(open_checkpoint(folder).model, tokens)
    assert (right - wrong).abs().max() > 1e-2


@torch.no_grad()
def test_all_positions_of_phi_4_equal_transformers_and_the_next_is_refused() -> None:
    from transformers import Phi3Config, Phi3ForCausalLM

    from phidelity.checkpoint.naming import foreign_config, foreign_name

    shape = {"n_layers": 1, "d_model": 64, "n_heads": 4, "n_kv_heads": 1, "d_ff": 64, "vocab_size": 400}
    config = ModelConfig(**shape, context_len=16_384, rope_theta=250_000.0)
    ours = random_model(config)
    theirs = Phi3ForCausalLM(Phi3Config(**foreign_config(config, TOKENIZER) | {"attn_implementation": "sdpa"})).eval()
    theirs.load_state_dict({foreign_name(name): tensor for name, tensor in ours.state_dict().items()})
    tokens = draw(1, 16_384)
    assert (logits(ours, tokens) - theirs(tokens).logits).abs().max() <= 1e-4
    with pytest.raises(UserError, match="16,385 tokens was given; this model reads at most 16,384"):
        logits(ours, draw(1, 16_385))


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


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_written_files_equal_the_safetensors_library(tmp_path: Path, dtype: torch.dtype) -> None:
    tensors = {
        name: torch.randn(shape).to(dtype) for name, shape in {"b": (3, 5), "a.weight": (7,), "Z": (2, 2)}.items()
    }
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    write_tensors(tmp_path / "x.safetensors", shapes, dtype, lambda name: tensors[name].split(2))
    assert (tmp_path / "x.safetensors").read_bytes() == save(tensors, metadata={"format": "pt"})


def test_shards_that_layers_straddle_are_read_as_one(folder: Path, tmp_path: Path) -> None:
    write_huggingface(open_weights(folder), tmp_path / "six", shard_bytes=180_000)
    weight_map = json.loads((tmp_path / "six" / "model.safetensors.index.json").read_text())["weight_map"]
    assert len(set(weight_map.values())) == 6
    assert len({weight_map[f"model.layers.1.{name}.weight"] for name in ("self_attn.o_proj", "mlp.down_proj")}) == 2
    assert same(open_checkpoint(tmp_path / "six").model, open_checkpoint(folder).model)


def same(one: Transformer, other: Transformer) -> bool:
    theirs = other.state_dict()
    return all(torch.equal(tensor, theirs[name]) for name, tensor in one.state_dict().items())


def test_split_copies_are_fused_again_bit_for_bit(folder: Path, tmp_path: Path) -> None:
    write_huggingface(open_weights(folder), tmp_path / "split", layout="split")
    assert len(load_file(tmp_path / "split" / "model.safetensors")) == 3 * 9 + 3
    assert json.loads((tmp_path / "split" / "config.json").read_text())["model_type"] == "llama"
    assert same(open_checkpoint(tmp_path / "split").model, open_checkpoint(folder).model)
    write_huggingface(open_weights(tmp_path / "split"), tmp_path / "fused")
    assert (tmp_path / "fused" / "model.safetensors").read_bytes() == (folder / "model.safetensors").read_bytes()


@torch.no_grad()
def test_transformers_opens_split_copies_as_llama(folder: Path, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM, LlamaForCausalLM

    write_huggingface(open_weights(folder), tmp_path / "split", layout="split", shard_bytes=200_000)
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path / "split", dtype=torch.float32).eval()
    assert isinstance(theirs, LlamaForCausalLM)
    tokens = draw(2, 40)
    assert (logits(open_checkpoint(folder).model, tokens) - theirs(tokens).logits).abs().max() < 1e-4


def test_what_transformers_saves_again_is_read(folder: Path, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    theirs = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16)
    theirs.save_pretrained(tmp_path / "again", max_shard_size="100KB")
    AutoTokenizer.from_pretrained(folder).save_pretrained(tmp_path / "again")
    weights = open_weights(tmp_path / "again")
    assert weights.config == CONFIG
    assert weights.dtype_of("embed.weight") == torch.bfloat16
    expected = open_checkpoint(folder).model.to(torch.bfloat16)
    assert same(load(weights, torch.bfloat16).model, expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_widened_exactly(folder: Path, tmp_path: Path, dtype: torch.dtype) -> None:
    write_huggingface(open_weights(folder), tmp_path / "half", dtype=dtype)
    weights = open_weights(tmp_path / "half")
    assert str(dtype).removeprefix("torch.") in weights.form
    assert same(load(weights).model, open_checkpoint(folder).model.to(dtype).float())


def test_a_rank_reads_its_rows_and_nothing_else(folder: Path, tmp_path: Path) -> None:
    write_huggingface(open_weights(folder), tmp_path / "split", layout="split")
    weights, read = open_weights(tmp_path / "split"), 0
    rows = weights.rows

    class Counting(FolderWeights):
        def rows(self, name: str, start: int, stop: int) -> torch.Tensor:
            nonlocal read
            block = rows(name, start, stop)
            read += block.numel()
            return block

    counting = Counting(tmp_path / "split")
    parts = [load_part(counting, rank=rank, world=3) for rank in range(3)]
    state = open_checkpoint(folder).model.state_dict()
    assert read == sum(tensor.numel() for tensor in state.values())
    for name, tensor in state.items():
        assert torch.equal(torch.cat([part[name] for part in parts]), tensor)


@pytest.mark.parametrize(("n_rows", "world"), [(10, 3), (2, 4), (7, 7), (9, 4)])
def test_ranks_hold_the_rows_that_fsdp_gives_them(n_rows: int, world: int) -> None:
    chunks = list(torch.arange(n_rows).chunk(world))
    for rank in range(world):
        start, stop = rank_rows(n_rows, rank, world)
        assert list(range(start, stop)) == (chunks[rank].tolist() if rank < len(chunks) else [])
