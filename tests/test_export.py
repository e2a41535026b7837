"""Writing model folders: the shards of the release, nothing half-written, and no value that a dtype cannot hold."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from checkpoint_world import CONFIG, random_checkpoint
from safetensors.torch import load_file, save_file

from phidelity.checkpoint.open import open_weights
from phidelity.checkpoint.weights import expected_shapes
from phidelity.completion import SamplingParams
from phidelity.config import UserError
from phidelity.engine.llm import open_model
from phidelity.export.huggingface import plan_shards, write_huggingface
from phidelity.model.config import PHI_4
from phidelity.tokenizer.bpe import Tokenizer


def test_phi_4_in_bf16_gives_the_six_shards_of_the_release() -> None:
    weights = SimpleNamespace(config=PHI_4, shapes=expected_shapes(PHI_4))
    shards = plan_shards(weights, "fused", torch.bfloat16)  # type: ignore[arg-type]
    sizes = [sum(2 * torch.Size(part.shape).numel() for part in shard.values()) for shard in shards]
    assert [len(shard) for shard in shards] == [34, 45, 44, 42, 42, 36]
    assert [round(size / 1e9, 2) for size in sizes] == [4.93, 4.95, 4.90, 4.77, 4.77, 4.99]
    assert sum(sizes) == 29_319_014_400
    assert list(shards[0])[-1] == "model.layers.5.mlp.gate_up_proj.weight"
    split = plan_shards(weights, "split", torch.bfloat16)  # type: ignore[arg-type]
    assert sum(map(len, split)) == 363


def test_nothing_is_left_at_the_destination_when_the_source_is_broken(tmp_path: Path) -> None:
    folder = random_checkpoint(tmp_path / "model")
    tensors = load_file(folder / "model.safetensors")
    tensors["model.norm.weight"][3] = float("nan")
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(UserError, match="not finite"):
        write_huggingface(open_weights(folder), tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_what_stands_at_the_destination_is_never_written_over(tmp_path: Path) -> None:
    folder = random_checkpoint(tmp_path / "model")
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    with pytest.raises(UserError, match="is there already; expected a new folder"):
        write_huggingface(open_weights(folder), folder)
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == before


def test_values_beyond_half_precision_are_refused(tmp_path: Path) -> None:
    folder = random_checkpoint(tmp_path / "model")
    tensors = load_file(folder / "model.safetensors")
    tensors["model.norm.weight"][3] = 70_000.0
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(UserError, match=r"model.norm.weight holds 7e\+04, which float16 cannot"):
        write_huggingface(open_weights(folder), tmp_path / "out", dtype=torch.float16)
    write_huggingface(open_weights(folder), tmp_path / "out", dtype=torch.bfloat16)


def greedy(folder: Path, prompt: list[int], n_tokens: int) -> tuple[list[int], list[int]]:
    """What we and what transformers continue a prompt with, from one folder."""
    from transformers import AutoModelForCausalLM

    theirs = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    mask = torch.ones(1, len(prompt), dtype=torch.long)
    out = theirs.generate(torch.tensor([prompt]), attention_mask=mask, max_new_tokens=n_tokens, do_sample=False)
    params = SamplingParams(temperature=0.0, max_tokens=n_tokens)
    (completion,) = open_model(folder).complete([tuple(prompt)], params)
    return list(completion.tokens), out[0, len(prompt) :].tolist()


def test_transformers_continues_as_we_do(tmp_path: Path) -> None:
    folder = random_checkpoint(tmp_path / "model", CONFIG.model_copy(update={"context_len": 256}))
    write_huggingface(open_weights(folder), tmp_path / "out")
    ours, theirs = greedy(tmp_path / "out", [65, 66, 67], 200)
    assert ours == theirs
    assert len(ours) == 200


@pytest.mark.parity
def test_a_trained_model_says_the_same_in_transformers(phi, small_run: Path, tmp_path: Path) -> None:
    for form in ("huggingface", "split"):
        assert phi("convert", small_run, tmp_path / form, "--to", form).returncode == 0
        tokenizer = Tokenizer.load(tmp_path / form)
        lengths = []
        for prompt in ("The", "Seven apples and 3 more are", "def mean(values):\n"):
            ours, theirs = greedy(tmp_path / form, tokenizer.encode(prompt), 200)
            assert ours == theirs
            lengths.append(len(ours))
        assert max(lengths) == 200
