"""Every way a model folder can be broken is one clear line that names what is wrong; no copy's bug passes unsaid."""

import json
import logging
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from checkpoint_world import CONFIG, TOKENIZER, random_checkpoint, random_model
from safetensors.torch import load_file, save_file

from phidelity.checkpoint.huggingface import save_checkpoint
from phidelity.checkpoint.open import open_checkpoint, open_weights
from phidelity.config import UserError
from phidelity.export.huggingface import write_huggingface
from phidelity.tokenizer.bpe import train


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return random_checkpoint(tmp_path / "model")


@pytest.fixture
def shards(folder: Path, tmp_path: Path) -> Path:
    write_huggingface(open_weights(folder), tmp_path / "shards", shard_bytes=170_000)
    return tmp_path / "shards"


def edit(path: Path, change: Callable[[dict], object]) -> None:
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("lm_head.weight"), "1 tensor is missing: lm_head"),
        (lambda t: t.update(extra=torch.ones(2)), "1 tensor is unexpected: extra"),
        (lambda t: t.update({"model.norm.weight": torch.ones(2)}), r"model.norm.weight has shape \(2,\)"),
        (lambda t: t["model.norm.weight"].fill_(float("nan")), "model.norm.weight: rows 0 to 63 hold values that are"),
        (lambda t: t["lm_head.weight"][7].fill_(float("inf")), "lm_head.weight: rows 0 to 399 hold values that are"),
        (lambda t: t.update({"model.norm.weight": torch.ones(64).long()}), "has dtype I64; expected F32, F16 or BF16"),
    ],
)
def test_wrong_tensors_are_named(folder: Path, change: Callable[[dict], object], message: str) -> None:
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(UserError, match=message):
        open_checkpoint(folder)


@pytest.mark.parametrize("n_bytes", [0, 4, 200, 50_000])
def test_truncated_weights_are_named(shards: Path, n_bytes: int) -> None:
    weights = sorted(shards.glob("*.safetensors"))[2]
    weights.write_bytes(weights.read_bytes()[:n_bytes])
    with pytest.raises(UserError, match=f"{weights.name} is (truncated or )?damaged"):
        open_weights(shards)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda entry: entry.update(data_offsets=[8, entry["data_offsets"][1] + 8]), "damaged"),
        (lambda entry: entry.update(data_offsets=[-4, 4]), "damaged"),
        (lambda entry: entry.update(shape=[1 << 40, 1 << 40]), "does not fill its bytes"),
        (lambda entry: entry.pop("dtype"), "its header is no list of tensors"),
    ],
)
def test_a_header_that_lies_is_refused(folder: Path, change: Callable[[dict], object], message: str) -> None:
    path = folder / "model.safetensors"
    content = path.read_bytes()
    n = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + n])
    change(header["model.norm.weight"])
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + content[8 + n :])
    with pytest.raises(UserError, match=message):
        open_weights(folder)


@pytest.mark.parametrize("name", ["../model.safetensors", "/etc/passwd.safetensors", "a\\b.safetensors", "weights.bin"])
def test_an_index_that_leads_elsewhere_is_refused(shards: Path, name: str) -> None:
    edit(shards / "model.safetensors.index.json", lambda index: index["weight_map"].update({"lm_head.weight": name}))
    with pytest.raises(UserError, match="expected a safetensors file beside it"):
        open_weights(shards)


def test_an_index_that_names_a_missing_file_or_the_wrong_one_is_refused(shards: Path) -> None:
    first, second, *_ = sorted(path.name for path in shards.glob("*.safetensors"))
    index = shards / "model.safetensors.index.json"
    edit(index, lambda index: index["weight_map"].update({"model.norm.weight": first}))
    with pytest.raises(UserError, match=f"says that model.norm.weight is in {first}; it is in "):
        open_weights(shards)
    (shards / second).unlink()
    with pytest.raises(UserError, match=f"names {second}, which is not there"):
        open_weights(shards)


def test_pickled_weights_are_never_read(folder: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple:
            return Path.touch, (folder / "opened",)

    (folder / "model.safetensors").write_bytes(pickle.dumps(Trap()))
    with pytest.raises(UserError, match="pickled data, which can run code and is never loaded"):
        open_weights(folder)
    torch.save(load_file(random_checkpoint(folder.parent / "b") / "model.safetensors"), folder / "model.safetensors")
    with pytest.raises(UserError, match="pickled data"):
        open_weights(folder)
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(UserError, match="never read"):
        open_weights(folder)
    assert not (folder / "opened").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": "gemma2"}, "model_type is 'gemma2'; expected 'phi3'"),
        ({"rope_scaling": {"type": "longrope"}}, "rope scaling is 'longrope'"),
        ({"sliding_window": 2047}, "sliding_window is 2047; phi-4 has None"),
        ({"partial_rotary_factor": 0.75}, "partial_rotary_factor is 0.75; phi-4 has 1.0"),
        ({"tie_word_embeddings": True}, "tie_word_embeddings is True"),
        ({"attention_bias": True}, "attention_bias is True"),
        ({"quantization_config": {"bits": 4}}, "quantization_config"),
        ({"head_dim": 16}, "head_dim is 16; expected hidden size over heads, 8"),
        ({"num_key_value_heads": 3}, "3 KV heads"),
        ({"num_hidden_layers": 4}, "missing: model.layers.3"),
    ],
)
def test_another_network_is_refused(folder: Path, change: dict, message: str) -> None:
    edit(folder / "config.json", lambda config: config.update(change))
    with pytest.raises(UserError, match=message):
        open_weights(folder)


def test_newer_transformers_moves_the_rotary_base_and_it_is_found(folder: Path) -> None:
    def move(config: dict) -> None:
        config["rope_parameters"] = {"rope_theta": config.pop("rope_theta"), "rope_type": "default"}
        config.pop("rope_scaling")

    edit(folder / "config.json", move)
    assert open_weights(folder).config == CONFIG


@pytest.mark.parametrize("n_ids", [380, 700])
def test_a_tokenizer_of_another_model_is_refused(folder: Path, n_ids: int) -> None:
    model = random_model(CONFIG.model_copy(update={"vocab_size": 700 if n_ids == 380 else 400}))
    save_checkpoint(folder, model, train(["abc"], n_ids))
    with pytest.raises(UserError, match=f"the tokenizer has {n_ids} ids, the model"):
        open_weights(folder)


RELEASED = {"bos_token_id": 305, "eos_token_id": 305, "pad_token_id": 305}
"""All ids `<|endoftext|>`, as in the release of December 2024."""


@pytest.mark.parametrize(
    ("file", "ids", "expected"),
    [
        (
            "config.json",
            RELEASED,
            [
                "config.json: eos_token_id is 305 (<|endoftext|>); 313 (<|im_end|>) is used.",
                "config.json: pad_token_id is 305 (<|endoftext|>); 397 (<|dummy_85|>) is used.",
            ],
        ),
        (
            "config.json",
            {"pad_token_id": 399},
            ["config.json: pad_token_id is 399 (<|dummy_87|>); 397 (<|dummy_85|>) is used."],
        ),
        ("generation_config.json", {"eos_token_id": [305, 313]}, []),
        (
            "generation_config.json",
            {"eos_token_id": 313},
            ["generation_config.json: generation stops on 305 (<|endoftext|>) as well."],
        ),
    ],
)
def test_the_known_bugs_of_the_release_are_normalised_and_told(
    folder: Path, file: str, ids: dict, expected: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    assert TOKENIZER.endoftext == 305
    edit(folder / file, lambda config: config.update(ids))
    with caplog.at_level(logging.INFO, logger="phidelity"):
        assert list(open_weights(folder).notes) == expected
    assert [record.getMessage() for record in caplog.records] == [f"{folder}: {note}" for note in expected]


def test_our_own_checkpoints_need_no_note(folder: Path) -> None:
    assert open_weights(folder).notes == ()


def test_a_file_nested_without_end_or_with_an_infinite_size_is_damage(folder: Path) -> None:
    weights, deep = folder / "model.safetensors", b"[" * 3_000_000
    endless = b'{"a":{"dtype":"F32","shape":[1e400],"data_offsets":[0,0]}}'
    for header in (deep, endless):
        weights.write_bytes(len(header).to_bytes(8, "little") + header)
        with pytest.raises(UserError, match="header is no list of tensors"):
            open_weights(folder)
    (folder / "config.json").write_bytes(deep)
    with pytest.raises(UserError, match=r"config\.json is not valid JSON"):
        open_weights(folder)


def test_a_wrong_value_is_named_with_its_field(folder: Path) -> None:
    edit(folder / "config.json", lambda data: data.update(hidden_size="256"))
    with pytest.raises(UserError, match="hidden_size is '256'"):
        open_weights(folder)
    (folder / "config.json").write_text("[]")
    with pytest.raises(UserError, match="expected a JSON object"):
        open_weights(folder)


def test_a_destination_that_is_a_link_or_below_a_file_is_refused(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    (tmp_path / "file").write_text("")
    for out, message in ((tmp_path / "link", "is there already"), (tmp_path / "file" / "x", "file is a file")):
        with pytest.raises(UserError, match=message):
            write_huggingface(open_weights(folder), out)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "link", "model"]
