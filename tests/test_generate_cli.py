"""`phi generate` and `phi chat` on a small model of random weights: what they print, take and refuse."""

import json
import signal
import time
from pathlib import Path

import pytest
import torch
from conftest import finish, phi_process

from phidelity.checkpoint.huggingface import save_checkpoint
from phidelity.cli.chat import chat
from phidelity.cli.model import generate
from phidelity.cli.serve import serve
from phidelity.model.config import ModelConfig
from phidelity.model.transformer import Transformer
from phidelity.tokenizer.bpe import train

CONFIG = ModelConfig(
    n_layers=2, d_model=64, n_heads=8, n_kv_heads=2, d_ff=224, vocab_size=416, context_len=160, rope_theta=1e4
)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    weights = Transformer(CONFIG).initialise(torch.Generator().manual_seed(1)).requires_grad_(False)
    for parameter in weights.parameters():
        if parameter.ndim == 2:
            parameter.mul_(3.0)
    save_checkpoint(folder, weights, train(["the cat sat on the mat and 12 cats sat there"] * 3, 400))
    return folder


def test_the_memory_plan_is_told_before_and_apart_from_the_answer(phi, model):
    done = phi("generate", model, "--prompt", "hi", "--max-tokens", 3, "--json")
    assert done.returncode == 0, done.stderr
    assert set(json.loads(done.stdout)) == {"text", "tokens", "logprobs", "finish_reason", "usage"}
    assert "context 160 tokens, up to 64 requests at once" in done.stderr
    assert "weights      " in done.stderr
    small = phi("generate", model, "--prompt", "hi", "--max-tokens", 3, "--json", "--memory", "440MB")
    assert "up to 64 requests" not in small.stderr
    assert small.stdout == done.stdout, "a smaller batch changes no bit"


def test_what_does_not_fit_or_is_no_size_is_refused(phi, model):
    for command in ("generate", "chat"):
        arguments = (command, model, *(("--prompt", "hi") if command == "generate" else ()))
        done = phi(*arguments, "--memory", "100MB")
        assert done.returncode == 1
        assert "--memory gives 100.0 MB" in done.stderr
        assert "it needs 43" in done.stderr
        assert "no size; expected" in phi(*arguments, "--memory", "much").stderr


def test_whatever_serves_a_model_takes_the_same_options_of_memory():
    for command in (generate, chat, serve):
        taken = {option for parameter in command.params for option in parameter.opts}
        assert {"--device", "--memory", "--cache", "--prefix-cache", "--prefix-cache-size"} <= taken, command.name


def test_a_device_that_is_not_there_is_refused_before_anything_is_read(phi, model):
    done = phi("generate", model, "--prompt", "hi", "--device", "tpu")
    assert (done.returncode, done.stdout) == (1, "")
    assert "The device is 'tpu'; expected cpu, cuda" in done.stderr
    if not torch.cuda.is_available():
        for command in ("generate", "chat"):
            done = phi(command, model, *(("--prompt", "hi") if command == "generate" else ()), "--device", "cuda")
            assert done.returncode == 1
            assert done.stderr.count("no GPU that torch can use was found") == 1
            assert "weights      " not in done.stderr


def test_how_to_sample_is_taken_and_checked(phi, model):
    def say(*how: str) -> str:
        done = phi("generate", model, "--prompt", "hi", "--max-tokens", "12", *how)
        assert done.returncode == 0, done.stderr
        return done.stdout

    greedy = say()
    warm = ("--temperature", "1.5", "--seed", "4")
    assert say(*warm) == say(*warm) != greedy
    for narrow in (("--top-k", "1"), ("--top-p", "1e-9"), ("--min-p", "1")):
        assert say(*warm, *narrow) == greedy
    cut = greedy[3:5]
    assert say("--stop", cut, "--stop", "never seen") == greedy[: greedy.index(cut)] + "\n"
    refused = phi("generate", model, "--prompt", "hi", "--top-p", "2")
    assert refused.returncode == 1
    assert "top_p is 2.0; expected above 0 and at most 1" in refused.stderr


def test_a_prompt_over_the_context_is_an_error_with_the_numbers_or_a_line_of_the_file(phi, model, tmp_path):
    long = "word " * 100
    done = phi("generate", model, "--prompt", long)
    assert done.returncode == 1
    assert "tokens; " in done.stderr
    assert "reads 160 here, the answer included" in done.stderr
    (tmp_path / "in.jsonl").write_text(json.dumps({"prompt": long}) + "\n" + json.dumps({"prompt": "hi"}) + "\n")
    asked = ("--input", tmp_path / "in.jsonl", "--out", tmp_path / "out.jsonl", "--max-tokens", "2")
    assert phi("generate", model, *asked).returncode == 0
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().split("\n") if line]
    assert [row["finish_reason"] for row in rows] == ["context_exceeded", "length"]


def test_bad_lines_are_told_before_the_model_is_opened(phi, tmp_path):
    (tmp_path / "in.jsonl").write_text('{"prompt": "a"}\n{"prompt": 3}\n')
    done = phi("generate", tmp_path / "no model", "--input", tmp_path / "in.jsonl", "--out", tmp_path / "out.jsonl")
    assert done.returncode == 1
    assert "line 2: found '{\"prompt\": 3}'" in done.stderr


def test_a_killed_run_goes_on_and_ends_in_the_bytes_of_an_unbroken_one(phi, model, tmp_path):
    rows = [{"prompt": f"the cat {n}", "params": {"seed": n % 2, "temperature": 1.0}} for n in range(300)]
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    def asked(name: str) -> tuple[str | Path, ...]:
        return ("generate", model, "--input", tmp_path / "in.jsonl", "--out", tmp_path / name, "--max-tokens", "60")

    assert phi(*asked("whole.jsonl")).returncode == 0
    partial = tmp_path / "killed.jsonl.partial"
    running = phi_process(*asked("killed.jsonl"))
    while running.poll() is None and not (partial.exists() and partial.stat().st_size > 2000):
        time.sleep(0.01)
    running.send_signal(signal.SIGKILL)
    finish(running)
    assert partial.exists(), "killed on the way"
    assert not (tmp_path / "killed.jsonl").exists()
    assert phi(*asked("killed.jsonl")).returncode == 0
    assert (tmp_path / "killed.jsonl").read_bytes() == (tmp_path / "whole.jsonl").read_bytes()
    assert not partial.exists()


def test_prompts_are_found_again_at_the_next_start_and_change_no_answer(phi, model, tmp_path):
    asked = ("generate", model, "--prompt", "the cat sat on the mat " * 3, "--raw", "--max-tokens", 5, "--json")
    plain = phi(*asked)
    kept = (*asked, "--prefix-cache", tmp_path / "kept")
    first, second = phi(*kept), phi(*kept)
    files = {path: path.stat().st_mtime_ns for path in (tmp_path / "kept").glob("*/*.kv")}
    assert first.stdout == second.stdout == plain.stdout
    assert files
    for path in files:
        path.write_bytes(b"damaged")
    third = phi(*kept, "--prefix-cache-size", "20kB")
    assert third.stdout == plain.stdout
    assert sum(path.stat().st_size for path in (tmp_path / "kept").glob("*/*.kv")) <= 20_000


def test_a_prefix_cache_that_cannot_be_is_refused_in_one_line(phi, model, tmp_path):
    (tmp_path / "file").write_text("")
    asked = ("generate", model, "--prompt", "a", "--max-tokens", 2)
    done = phi(*asked, "--prefix-cache", tmp_path / "file")
    assert done.returncode == 1
    assert "is no folder" in done.stderr
    assert "no size; expected" in phi(*asked, "--prefix-cache-size", "big").stderr
