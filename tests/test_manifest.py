"""Manifests: what decides a fingerprint, and what verification finds."""

from pathlib import Path

import pytest

from phidelity.config import UserError
from phidelity.pipeline.manifest import (
    MANIFEST,
    Cost,
    Ingredients,
    Manifest,
    differences,
    hash_outputs,
    read_manifest,
    verify,
    versions,
    write_manifest,
)


def ingredients(**changes) -> Ingredients:
    fields = {
        "stage": "sft",
        "config": {"epochs": 2, "optim": {"peak_lr": 1e-6}},
        "tables": {"judge": {"kind": "rules"}},
        "seed": 0,
        "inputs": {"midtrain": "abc"},
        "sources": {},
    }
    return Ingredients(**(fields | changes))


def finished(folder: Path) -> Manifest:
    (folder / "model").mkdir(parents=True)
    (folder / "model" / "weights.bin").write_bytes(b"w" * 100)
    (folder / "metrics.jsonl").write_text('{"loss": 1.0}\n')
    manifest = Manifest(
        fingerprint=ingredients().fingerprint,
        ingredients=ingredients(),
        outputs=hash_outputs(folder),
        versions=versions(),
        device="a processor",
        cost=Cost(seconds=1.5, peak_memory=1000),
        summary={"loss": 1.0},
    )
    write_manifest(folder, manifest)
    return manifest


def test_a_manifest_reads_as_it_was_written(tmp_path):
    assert read_manifest(tmp_path / "sft") is None
    manifest = finished(tmp_path / "sft")
    assert read_manifest(tmp_path / "sft") == manifest
    assert manifest.stage == "sft"
    assert manifest.size == 100 + 14


@pytest.mark.parametrize(
    "change",
    [
        {"stage": "pretrain"},
        {"config": {"epochs": 3, "optim": {"peak_lr": 1e-6}}},
        {"tables": {"judge": {"kind": "endpoint"}}},
        {"seed": 1},
        {"schema_version": 2},
        {"inputs": {"midtrain": "abd"}},
        {"sources": {"/books": "hash"}},
    ],
)
def test_every_ingredient_decides_the_fingerprint(change):
    assert ingredients(**change).fingerprint != ingredients().fingerprint


def test_the_order_of_keys_does_not_decide_the_fingerprint():
    swapped = ingredients(config={"optim": {"peak_lr": 1e-6}, "epochs": 2})
    assert swapped.fingerprint == ingredients().fingerprint


def test_differences_are_named_by_their_keys():
    new = ingredients(config={"epochs": 3, "optim": {"peak_lr": 1e-6}}, inputs={"pretrain": "abc"}, seed=7)
    assert differences(ingredients(), new) == [
        "sft.epochs: 2 -> 3",
        "seed: 0 -> 7",
        "input midtrain gone",
        "input pretrain added",
    ]


def test_a_whole_folder_has_no_fault(tmp_path):
    finished(tmp_path)
    assert verify(tmp_path) == []


def test_a_truncated_file_is_found_by_its_size(tmp_path):
    finished(tmp_path)
    (tmp_path / "model" / "weights.bin").write_bytes(b"w" * 60)
    assert verify(tmp_path, contents=False) == [f"{tmp_path}/model/weights.bin has 60 bytes, expected 100"]


def test_a_missing_file_is_found(tmp_path):
    finished(tmp_path)
    (tmp_path / "metrics.jsonl").unlink()
    assert verify(tmp_path, contents=False) == [f"{tmp_path}/metrics.jsonl is missing"]


def test_an_altered_byte_is_found_by_its_hash(tmp_path):
    finished(tmp_path)
    (tmp_path / "model" / "weights.bin").write_bytes(b"w" * 99 + b"x")
    assert verify(tmp_path, contents=False) == []
    assert verify(tmp_path) == [f"{tmp_path}/model/weights.bin was altered after it was made"]


def test_clock_files_are_no_outputs(tmp_path):
    (tmp_path / "timings.jsonl").write_text("now\n")
    (tmp_path / "progress.json").write_text("{}")
    assert hash_outputs(tmp_path) == {}


def test_a_damaged_manifest_says_so(tmp_path):
    finished(tmp_path / "sft")
    (tmp_path / "sft" / MANIFEST).write_text('{"fingerprint": "ab')
    with pytest.raises(UserError, match=r"sft/manifest.json is damaged: .*--force sft"):
        read_manifest(tmp_path / "sft")


def test_versions_name_the_code_that_ran():
    assert set(versions()) == {"python", "torch", "numpy", "tokenizers", "phidelity", "code"}
    assert len(versions()["code"]) == 64
