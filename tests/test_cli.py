"""The command line as scripts see it: what is printed where, and with which exit status."""

import json
import signal
import time
from pathlib import Path

import pytest
from conftest import finish, phi_process, small

from phidelity.pipeline.manifest import ROAD

IN_MINUTE = [stage for stage in ROAD if stage != "rounds"]
"""Stages that recipe `minute` has."""


def test_help_lists_the_stages_in_order(phi):
    listed = phi("--help").stdout.split("Stages, in order:")[1].splitlines()
    assert [line.split()[0] for line in listed if line[2:3].strip()] == [*ROAD]


def test_help_and_status_load_no_torch(tmp_path):
    (tmp_path / "recipe.json").write_text('{"corpus": {}}')
    for arguments in (["--help"], ["status", tmp_path]):
        done = finish(phi_process(*arguments, env={"PYTHONPROFILEIMPORTTIME": "1"}))
        assert done.returncode == 0
        assert "click" in done.stderr
        assert "torch" not in done.stderr.split()


@pytest.mark.parametrize("stage", ROAD)
def test_every_stage_is_a_command(phi, stage):
    shown = phi(stage, "--help")
    assert shown.returncode == 0
    assert "RECIPE" in shown.stdout


def test_a_finished_run_does_nothing_in_seconds(small_run):
    before = times(small_run)
    start = time.monotonic()
    done = finish(phi_process("run", "minute", "--out", small_run, *small()))
    seconds = time.monotonic() - start
    assert done.returncode == 0, done.stderr
    assert seconds < 20  # five when nobody else works here
    assert done.stdout.count("done before") == len(IN_MINUTE)
    assert times(small_run) == before


def times(run: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in run.rglob("*") if path.name != ".lock"}


def test_a_run_leaves_a_card_and_a_report(small_run):
    first = (small_run / "MODEL_CARD.md").read_text().splitlines()
    assert any("not affiliated with Microsoft" in line for line in first[:5])
    assert (small_run / "report.html").read_text().lstrip().lower().startswith("<!doctype html>")


def test_status_shows_each_stage_and_its_time(phi, small_run):
    shown = phi("status", small_run).stdout
    assert [line.split()[0] for line in shown.splitlines()[:-1]] == IN_MINUTE
    assert "in all" in shown
    stages = json.loads(phi("status", small_run, "--json").stdout)["stages"]
    assert [stage["state"] for stage in stages] == ["done"] * len(IN_MINUTE)
    assert all(stage["peak_memory"] > 0 for stage in stages)


def test_one_stage_alone_needs_its_inputs(phi, tmp_path):
    done = phi("tokenizer", "minute", "--out", tmp_path, *small())
    assert done.returncode == 1
    assert "tokenizer reads corpus, which is not done" in done.stderr
    assert phi("benchmarks", "minute", "--out", tmp_path, *small()).returncode == 0
    assert (tmp_path / "benchmarks" / "manifest.json").is_file()


def test_generate_prints_the_answer_or_one_json_object(phi, small_run):
    plain = phi("generate", small_run, "--prompt", "2 + 2?", "--max-tokens", "5")
    assert plain.returncode == 0, plain.stderr
    told = phi("generate", small_run, "--prompt", "2 + 2?", "--max-tokens", "5", "--json")
    answer = json.loads(told.stdout)
    assert set(answer) == {"text", "tokens", "logprobs", "finish_reason", "usage"}
    assert answer["text"] + "\n" == plain.stdout
    assert len(answer["tokens"]) == len(answer["logprobs"]) <= 5
    raw = json.loads(phi("generate", small_run, "--prompt", "def", "--raw", "--max-tokens", "1", "--json").stdout)
    assert raw["usage"]["prompt_tokens"] < answer["usage"]["prompt_tokens"]


def test_generate_samples_by_its_seed(phi, small_run):
    def sample(seed: int) -> str:
        return phi("generate", small_run, "--prompt", "Tell", "--temperature", "1", "--seed", seed).stdout

    assert sample(1) == sample(1) != sample(2)


def test_a_file_of_prompts_becomes_a_file_of_answers(phi, small_run, tmp_path):
    chat = {"id": "b", "messages": [{"role": "user", "content": "2 + 2?"}]}
    (tmp_path / "in.jsonl").write_text(f'{{"prompt": "hi"}}\n{json.dumps(chat)}\n')
    asked = ("--input", tmp_path / "in.jsonl", "--out", tmp_path / "out.jsonl", "--max-tokens", "4")
    done = phi("generate", small_run, *asked, "--json")
    assert json.loads(done.stdout) == {"answers": 2, "out": str(tmp_path / "out.jsonl")}
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [row["id"] for row in rows] == ["0", "b"]
    alone = json.loads(phi("generate", small_run, "--prompt", "2 + 2?", "--max-tokens", "4", "--json").stdout)
    assert rows[1]["tokens"] == alone["tokens"]


def test_a_chat_streams_answers_until_the_input_ends(phi, small_run):
    done = phi("chat", small_run, "--max-tokens", "8", stdin="2 + 2?\n\n2 + 2?\n")
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.splitlines()
    assert "miniature trained by Phidelity; not phi-4" in done.stderr
    assert "context 512 tokens" in done.stderr
    assert first == second == phi("generate", small_run, "--prompt", "2 + 2?", "--max-tokens", "8").stdout.strip("\n")


def test_inspect_counts_parameters(phi, small_run):
    facts = json.loads(phi("inspect", small_run, "--json").stdout)
    assert facts["shape"]["n_layers"] == 1
    parts = dict(facts["parameters"])
    assert parts.pop("total") == sum(parts.values())
    assert "parameters" in phi("inspect", small_run / "pretrain").stdout


def test_plan_allocates_nothing_for_the_full_model(phi):
    facts = json.loads(phi("plan", "phi-4", "--gpus", "1920", "--gpu", "h100", "--json").stdout)
    assert facts["parameters"] == 14_659_507_200
    assert facts["days"] > 0


def test_look_counts_records_and_shows_some(phi, small_run):
    shown = phi("data", "look", small_run / "synthetic", "--n", "1").stdout
    assert "x Document" in shown
    assert "x Conversation" in shown
    assert "<|im_start|>user<|im_sep|>" in shown
    nothing = phi("data", "look", small_run / "tokenizer")
    assert nothing.returncode == 1
    assert "holds no records" in nothing.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["generate", "MODEL"],
        ["generate", "MODEL", "--prompt", "a", "--input", "b"],
        ["generate", "MODEL", "--input", "b"],
        ["run", "--no-such-option"],
        ["bake"],
        ["bench", "nothing"],
        ["generate", "MODEL", "--prompt", "a", "--temperature", "-1"],
    ],
)
def test_wrong_usage_ends_with_status_two(phi, arguments):
    assert phi(*arguments).returncode == 2


def test_ctrl_c_leaves_with_a_hint(tmp_path):
    process = phi_process("run", "minute", "--out", tmp_path / "run", *small())
    assert process.stdout
    assert "benchmarks: begins" in process.stdout.readline()
    process.send_signal(signal.SIGINT)
    done = finish(process)
    assert done.returncode == 1
    assert done.stderr.strip() == "phi: Stopped. Nothing is lost: the same command goes on where it stood."
