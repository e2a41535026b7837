"""`phi inspect`, `phi convert` and `phi check`, on every form that a model comes in."""

import json
import os
import shutil
from pathlib import Path

import pytest
from checkpoint_world import CONFIG, random_checkpoint, random_model
from safetensors.torch import load_file, save_file

from phidelity.checkpoint.check import announced_hashes, check_ids, check_stops
from phidelity.checkpoint.huggingface import save_checkpoint
from phidelity.model.config import PHI_4, memory_bytes
from phidelity.records import file_sha256
from phidelity.tokenizer.bpe import Tokenizer


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return random_checkpoint(tmp_path / "model")


def tokens(phi, model: Path) -> list[int]:
    done = phi("generate", model, "--prompt", "the cat", "--raw", "--max-tokens", "40", "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)["tokens"]


def test_every_form_generates_the_same_tokens(phi, folder: Path, tmp_path: Path) -> None:
    outs = {"huggingface": tmp_path / "hf", "split": tmp_path / "split", "gguf": tmp_path / "m.gguf"}
    expected = tokens(phi, folder)
    for form, out in outs.items():
        done = phi("convert", folder, out, "--to", form, "--json")
        assert done.returncode == 0, done.stderr
        facts = json.loads(done.stdout)
        assert (facts["to"], facts["type"]) == (form, "f32"), "numbers stay as they are stored"
        assert tokens(phi, out) == expected
    for form, source in outs.items():
        back = tmp_path / f"from {form}"
        assert phi("convert", source, back, "--to", "huggingface").returncode == 0
        assert (back / "model.safetensors").read_bytes() == (folder / "model.safetensors").read_bytes(), form


def test_a_quantised_file_is_read_and_converted(phi, folder: Path, tmp_path: Path) -> None:
    assert phi("convert", folder, tmp_path / "q.gguf", "--to", "gguf", "--type", "q8_0").returncode == 0
    assert phi("convert", tmp_path / "q.gguf", tmp_path / "wide", "--to", "split").returncode == 0
    assert tokens(phi, tmp_path / "q.gguf") == tokens(phi, tmp_path / "wide")
    assert phi("check", tmp_path / "q.gguf").returncode == 0


def test_convert_refuses_what_it_cannot_write(phi, folder: Path, tmp_path: Path) -> None:
    done = phi("convert", folder, tmp_path / "out", "--to", "huggingface", "--type", "q8_0")
    assert done.returncode == 2
    assert "--to huggingface takes --type f32, f16, bf16" in done.stderr
    (tmp_path / "m.gguf").touch()
    for form, out in (("gguf", tmp_path / "m.gguf"), ("split", folder)):
        done = phi("convert", folder, out, "--to", form)
        assert done.returncode == 1
        assert "is there already" in done.stderr


def test_a_conversion_that_fails_leaves_nothing(phi, folder: Path, tmp_path: Path) -> None:
    spoil(folder)
    for form in ("huggingface", "gguf"):
        done = phi("convert", folder, tmp_path / "out", "--to", form)
        assert done.returncode == 1
        assert "model.layers.2.mlp.down_proj.weight: rows 0 to 63 hold values that are not finite" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def spoil(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    tensors["model.layers.2.mlp.down_proj.weight"][3, 4] = float("nan")
    save_file(tensors, folder / "model.safetensors")


def test_inspect_tells_what_was_normalised_and_the_memory_it_takes(phi, folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text()) | {"eos_token_id": 305}
    (folder / "config.json").write_text(json.dumps(config))
    facts = json.loads(phi("inspect", folder, "--json").stdout)
    assert facts["form"] == "Hugging Face folder, fused, float32, 1 file"
    assert facts["normalised"] == ["config.json: eos_token_id is 305 (<|endoftext|>); 313 (<|im_end|>) is used."]
    assert facts["memory"]["bf16"] == {"64": memory_bytes(CONFIG, 16.0, 64)}
    shown = phi("inspect", folder).stdout
    assert "q4, context 64             275.6 kB" in shown
    assert "normalised                 config.json: eos_token_id" in shown


def test_inspect_reads_no_weights(phi, folder: Path) -> None:
    spoil(folder)
    assert phi("inspect", folder).returncode == 0


@pytest.mark.parametrize(
    ("form", "tokens", "gigabytes"),
    [(32.0, 4096, 59.5), (16.0, 4096, 30.2), (16.0, 16384, 32.7)],
)
def test_phi_4_takes_the_memory_that_arithmetic_gives(form: float, tokens: int, gigabytes: float) -> None:
    assert round(memory_bytes(PHI_4, form, tokens) / 1e9, 1) == gigabytes


def checks(phi, *arguments: str | Path) -> tuple[int, dict[str, dict]]:
    done = phi("check", *arguments, "--json")
    return done.returncode, {one["name"]: one for one in json.loads(done.stdout)["checks"]}


def test_a_whole_checkpoint_passes_and_every_question_has_its_line(phi, folder: Path, tmp_path: Path) -> None:
    rows = ["Question,A,B,C,D,Answer,Subject", *(f"What is {n}?,1,2,3,4,A,numbers" for n in range(5))]
    (tmp_path / "mmlu.csv").write_text("\n".join(rows) + "\n")
    (tmp_path / "text").write_text("the cat sat on the mat " * 20)
    status, found = checks(phi, folder, "--text", tmp_path / "text", "--mmlu", tmp_path / "mmlu.csv")
    assert status == 0
    assert {name: one["passed"] for name, one in found.items()} == {
        "hashes": None,
        "tensors": True,
        "finite": True,
        "ids": None,
        "template": True,
        "stops": True,
        "perplexity": None,
        "answer": None,
        "MMLU": None,
    }
    assert "of 5 items, 95 % interval" in found["MMLU"]["detail"]
    assert "published with 84.8" in found["MMLU"]["detail"]
    assert len(phi("check", folder).stdout.splitlines()) == 8


def test_a_broken_checkpoint_fails(phi, folder: Path) -> None:
    spoil(folder)
    status, found = checks(phi, folder)
    assert status == 1
    assert "model.layers.2.mlp.down_proj.weight" in found["finite"]["detail"]
    assert "perplexity" not in found, "a network with NaN in it is not run"
    (folder / "model.safetensors").write_bytes(b"")
    status, found = checks(phi, folder)
    assert (status, list(found)) == (1, ["opens"])


def test_files_are_held_against_the_hashes_that_were_announced(phi, folder: Path) -> None:
    weights = folder / "model.safetensors"
    (folder / "SHA256SUMS").write_text(f"{file_sha256(weights)}  model.safetensors\n")
    assert checks(phi, folder)[1]["hashes"]["detail"] == "1 of 1 weight files as announced"
    (folder / "SHA256SUMS").write_text(f"{'0' * 64} *model.safetensors\n")
    status, found = checks(phi, folder)
    assert status == 1
    assert f"announced is {'0' * 64}" in found["hashes"]["detail"]


def test_hashes_are_known_from_the_hubs_cache_and_its_download_notes(folder: Path) -> None:
    weights = folder / "model.safetensors"
    digest = file_sha256(weights)
    note = folder / ".cache" / "huggingface" / "download" / "model.safetensors.metadata"
    note.parent.mkdir(parents=True)
    note.write_text(f"commit\n{digest}\n123\n")
    assert announced_hashes([weights]) == {"model.safetensors": digest}
    note.unlink()
    assert announced_hashes([weights]) == {}
    weights.rename(folder / digest)
    weights.symlink_to(folder / digest)
    assert announced_hashes([weights]) == {"model.safetensors": digest}


def test_a_stage_of_a_run_is_held_against_its_manifest(phi, small_run: Path, tmp_path: Path) -> None:
    status, found = checks(phi, small_run / "sft")
    assert (status, found["hashes"]["passed"]) == (0, True)
    stage = shutil.copytree(small_run / "sft", tmp_path / "sft")
    with open(stage / "model" / "model.safetensors", "r+b") as file:
        file.seek(-4, os.SEEK_END)
        file.write(b"\0\0\0\0")
    status, found = checks(phi, stage)
    assert (status, found["hashes"]["passed"]) == (1, False)


def test_phi_4s_own_ids_are_verified(tmp_path: Path) -> None:
    data = Path(os.environ.get("PHI_TEST_DATA", "nowhere")) / "cl100k_base.tiktoken"
    if not data.is_file():
        pytest.skip("PHI_TEST_DATA holds no cl100k_base.tiktoken")
    tokenizer = Tokenizer.load(data)
    assert check_ids(tokenizer).detail == "9 published id vectors"
    assert check_ids(tokenizer).passed
    assert check_stops(tokenizer).detail == "on 100265 and 100257; padding is 100349"
    config = CONFIG.model_copy(update={"vocab_size": 100_352, "d_model": 16, "n_layers": 1, "d_ff": 16})
    save_checkpoint(tmp_path / "wide", random_model(config), tokenizer)
    assert check_ids(Tokenizer.load(tmp_path / "wide")).passed
