"""Bad input: one clear line on standard error, exit status 1, no traceback, nothing lost."""

import json
import os
import resource
import shutil
from pathlib import Path

import pytest
from conftest import finish, phi_process, small, tree_hashes


@pytest.fixture
def refused(phi):
    """Run the command, see it refuse as it must, and return its one line."""

    def call(*arguments: str | Path) -> str:
        done = phi(*arguments)
        assert done.returncode == 1, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        assert done.stderr.startswith("phi: ")
        assert done.stderr.strip().count("\n") == 0, done.stderr
        return done.stderr

    return call


@pytest.fixture
def copied_run(small_run, tmp_path) -> Path:
    return Path(shutil.copytree(small_run, tmp_path / "run"))


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


@pytest.mark.parametrize(
    ("assignment", "found"),
    [
        ("sft.epoch=2", "sft.epoch: unknown key"),
        ("bake.minutes=2", "bake: unknown key"),
        ("pretrain.tokens='many'", "pretrain.tokens: found 'many'. Input should be a valid integer"),
        ("seed=1.5", "seed: found 1.5"),
        ("pretrain.tokens=-1", "pretrain.tokens: found -1. Input should be greater than 0"),
        ("model.n_heads=3", "does not divide into 3 heads"),
        ("model.n_kv_heads=3", "query heads do not divide over 3 KV heads"),
        ("midtrain.context_len=4096", "midtrain.context_len 4096 exceeds model.context_len 512"),
        ("pretrain.shares={web=2.0}", "Mixture shares sum to 2"),
    ],
)
def test_a_recipe_with_a_mistake_is_refused_before_anything_is_made(phi, tmp_path, assignment, found):
    done = phi("run", "minute", "--out", tmp_path / "run", "--set", assignment)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert found in done.stderr
    assert "minute.toml with --set " in done.stderr
    assert " has 1 mistake:" in done.stderr
    assert not (tmp_path / "run").exists()


def test_a_recipe_that_is_no_toml_is_refused(refused, tmp_path):
    (tmp_path / "torn.toml").write_text("[model\n")
    assert "torn.toml is not valid TOML" in refused("run", tmp_path / "torn.toml")
    assert "No recipe 'tyni'" in refused("run", "tyni")


def corpus(*sources: Path) -> list[str]:
    return [*small(f"corpus.sources={json.dumps([str(source) for source in sources])}"), "--until", "corpus"]


def test_a_missing_source_is_named(refused, tmp_path):
    message = refused("run", "minute", "--out", tmp_path / "run", *corpus(tmp_path / "nowhere"))
    assert f"{tmp_path}/nowhere" in message


def test_an_empty_source_is_named(refused, tmp_path):
    (tmp_path / "empty").mkdir()
    message = refused("run", "minute", "--out", tmp_path / "run", *corpus(tmp_path / "empty"))
    assert f"{tmp_path}/empty holds nothing" in message


def test_a_source_that_is_not_text_is_named(refused, tmp_path):
    (tmp_path / "books").mkdir()
    (tmp_path / "books" / "photo.txt").write_bytes(bytes(range(256)) * 50)
    message = refused("run", "minute", "--out", tmp_path / "run", *corpus(tmp_path / "books"))
    assert f"No document of {tmp_path}/books is left; read were 1, dropped 1 not_text." in message


def test_a_full_disk_is_told_with_sizes_and_nothing_is_lost(phi, small_run, tmp_path):
    def quota() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))

    arguments = ("run", "minute", "--out", tmp_path / "run", "--until", "benchmarks", *small())
    done = finish(phi_process(*arguments, preexec_fn=quota))
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert done.stderr.startswith(f"phi: No room to write in {tmp_path}/run")
    assert "free of" in done.stderr
    assert phi(*arguments).returncode == 0
    assert tree_hashes(tmp_path / "run")["benchmarks"] == tree_hashes(small_run)["benchmarks"]


def test_a_place_that_may_not_be_written_is_told(refused):
    assert "Cannot write to /sys/" in refused("run", "minute", "--out", "/sys/phidelity", *small())


def test_a_file_in_the_way_is_told(refused, tmp_path):
    (tmp_path / "run").write_text("mine")
    assert "Cannot write to" in refused("run", "minute", "--out", tmp_path / "run", *small())
    assert (tmp_path / "run").read_text() == "mine"


def test_a_recipe_changed_under_a_run_is_refused_and_nothing_is_lost(refused, small_run):
    before = tree_hashes(small_run)
    message = refused("run", "minute", "--out", small_run, *small("synthetic.lessons=61"))
    assert "synthetic was made in" in message
    assert "synthetic.lessons: 60 -> 61" in message
    assert "--out" in message
    assert "--force synthetic" in message
    assert tree_hashes(small_run) == before


def test_a_truncated_checkpoint_stops_the_run_that_reads_it(refused, copied_run):
    cut(copied_run / "midtrain" / "model" / "model.safetensors")
    message = refused("run", "minute", "--out", copied_run, *small())
    assert "midtrain/model/model.safetensors has" in message
    assert "--force midtrain" in message


def test_a_truncated_checkpoint_does_not_answer(refused, copied_run):
    cut(copied_run / "breakfix" / "model" / "model.safetensors")
    assert "model.safetensors is truncated or damaged" in refused("generate", copied_run, "--prompt", "hi")


def test_a_truncated_shard_stops_the_run_that_reads_it(refused, copied_run):
    shutil.rmtree(copied_run / "pretrain")
    cut(copied_run / "shards" / "web.bin")
    message = refused("pretrain", "minute", "--out", copied_run, *small())
    assert "shards/web.bin has" in message
    assert "--force shards" in message


def test_an_altered_shard_stops_the_run_that_reads_it(refused, copied_run):
    shutil.rmtree(copied_run / "pretrain")
    with open(copied_run / "shards" / "web.bin", "r+b") as file:
        file.write(b"\x01\x02\x03\x04")
    assert "shards/web.bin was altered" in refused("pretrain", "minute", "--out", copied_run, *small())


def test_a_model_that_is_none_is_refused(refused, tmp_path):
    assert "does not exist" in refused("generate", tmp_path / "nowhere", "--prompt", "hi")
    assert "holds no model" in refused("inspect", tmp_path)
    (tmp_path / "file").write_text("x")
    assert "is a file" in refused("chat", tmp_path / "file")


def test_a_prompt_longer_than_the_context_is_refused(phi, small_run):
    done = phi("generate", small_run, "--prompt", "seven apples " * 400)
    assert (done.returncode, done.stdout) == (1, "")
    *plan, message = done.stderr.splitlines()
    assert plan[0].startswith("memory: ")
    assert message.startswith("phi: ")
    assert "reads 512" in message


def test_a_line_that_is_no_prompt_is_named(refused, small_run, tmp_path):
    (tmp_path / "in.jsonl").write_text('{"prompt": "hi"}\n{"question": "hi"}\n')
    asked = ("--input", tmp_path / "in.jsonl", "--out", tmp_path / "out.jsonl")
    assert "in.jsonl, line 2: found" in refused("generate", small_run, *asked)
    (tmp_path / "in.jsonl").write_text("")
    assert "in.jsonl is empty" in refused("generate", small_run, *asked)
    (tmp_path / "in.jsonl").write_bytes(b"\xff\xfe\x00")
    assert "in.jsonl is not text" in refused("generate", small_run, *asked)
    assert not (tmp_path / "out.jsonl").exists()


def test_status_of_what_is_no_run_is_refused(refused, tmp_path):
    assert "is no run directory" in refused("status", tmp_path)


def test_a_key_that_is_not_set_is_asked_for_before_anything_is_made(refused, tmp_path):
    endpoint = '{kind="endpoint", url="http://127.0.0.1:9/v1", model="m", key_env="PHI_NO_SUCH_KEY"}'
    message = refused("run", "minute", "--out", tmp_path / "run", *small(f"judge={endpoint}"))
    assert "judge.key_env names the environment variable PHI_NO_SUCH_KEY, which is not set" in message
    assert not (tmp_path / "run" / "benchmarks").exists()
