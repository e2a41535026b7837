"""Other people's programs against a running server: lm-evaluation-harness and schemathesis (`make parity`).

Both are found beside this Python or where PHI_PEERS (a folder of programs: `python`, `st`) says; else the tests are
skipped. They run as processes of their own, as their users run them. schemathesis wants Python 3.12 or newer: under
3.11 its hypothesis fails in the `ast` module ("AST constructor recursion depth mismatch"), which it counts as an error.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from server_world import NAME, Running, model, served, tokenizer

from phidelity.checkpoint.huggingface import save_checkpoint
from phidelity.completion import SamplingParams
from phidelity.eval.likelihood import continuation_logprobs
from phidelity.records import Conversation, Message

pytestmark = pytest.mark.parity

N = 200
CALLS = int(os.environ.get("PHI_SCHEMATHESIS_CALLS", "20000"))
ROWS = [
    {"question": f"{n} cats and {n * 7 % 13} dogs sat there.", "options": ["the mat", f"{n} dogs", "é"], "gold": n % 3}
    for n in range(N)
]
HARNESS = """
import json, sys, lm_eval
job = json.load(sys.stdin)
found = lm_eval.simple_evaluate(
    model=job["model"], model_args=job["arguments"], tasks=[job["task"]], bootstrap_iters=0,
    apply_chat_template=job["is_chat"],
)
rows = sorted(found["samples"][job["task"]["task"]], key=lambda row: row["doc_id"])
json.dump([row["resps"] for row in rows], open(job["out"], "w"))
"""


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    with served() as running:
        yield running
        assert running.is_at_rest()


def harness(tmp_path: Path, **job: Any) -> list[Any]:
    python = Path(os.environ.get("PHI_PEERS", "absent")) / "python"
    if not python.is_file():
        if not find_spec("lm_eval"):
            pytest.skip("lm-eval is not at hand (PHI_PEERS)")
        python = Path(sys.executable)
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    job["task"] |= {
        "dataset_path": "json", "dataset_kwargs": {"data_files": {"test": str(tmp_path / "rows.jsonl")}},
        "test_split": "test",
    }  # fmt: skip
    job["out"] = str(tmp_path / "out.json")
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OPENAI_API_KEY": "none"}
    environment.pop("PYTHONPATH", None)
    done = subprocess.run(
        [python, "-c", HARNESS], input=json.dumps(job), capture_output=True, text=True, env=environment, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads((tmp_path / "out.json").read_text())


def test_lm_evals_log_likelihoods_over_http_are_the_engines(server: Running, tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "model", model(), tokenizer())
    task = {
        "task": "made_up", "output_type": "multiple_choice", "doc_to_text": "Question: {{question}}\nAnswer:",
        "doc_to_choice": "{{options}}", "doc_to_target": "{{gold}}", "metric_list": [{"metric": "acc"}],
    }  # fmt: skip
    arguments = {
        "base_url": f"{server.url}/v1/completions", "model": NAME, "tokenizer": str(tmp_path / "model"),
        "tokenizer_backend": "huggingface", "num_concurrent": 8, "max_length": 1024, "batch_size": 4,
    }  # fmt: skip
    found = harness(tmp_path, model="local-completions", arguments=arguments, task=task, is_chat=False)
    pairs = [(f"Question: {row['question']}\nAnswer:", f" {option}") for row in ROWS for option in row["options"]]
    expected = continuation_logprobs(server.llm, tokenizer(), pairs)
    theirs = [float(one[0][0]) for row in found for one in row]
    assert len(theirs) == 3 * N
    assert theirs == pytest.approx(expected, abs=1e-4)


def test_lm_evals_chats_over_http_are_the_engines(server: Running, tmp_path: Path) -> None:
    task = {
        "task": "made_up_chat", "output_type": "generate_until", "doc_to_text": "{{question}}", "doc_to_target": "x",
        "generation_kwargs": {"until": ["."], "max_gen_toks": 16, "temperature": 0, "do_sample": False},
        "metric_list": [{"metric": "exact_match"}],
    }  # fmt: skip
    arguments = {
        "base_url": f"{server.url}/v1/chat/completions", "model": NAME, "num_concurrent": 8, "max_length": 1024,
    }  # fmt: skip
    found = harness(tmp_path, model="local-chat-completions", arguments=arguments, task=task, is_chat=True)
    asked = [Conversation(id="", messages=(Message(role="user", content=row["question"]),)) for row in ROWS]
    expected = [one.text for one in server.llm.complete(asked, SamplingParams(max_tokens=16, stop=(".",)))]
    assert [row[0][0] for row in found] == expected


def test_schemathesis_finds_no_fault_of_the_servers(tmp_path: Path) -> None:
    program = shutil.which("st", path=os.environ.get("PHI_PEERS")) or shutil.which("st")
    if not program:
        pytest.skip("schemathesis is not at hand (PHI_PEERS; under Python 3.12 or newer)")
    with served(queue=64) as running:
        command = [
            program, "run", f"{running.url}/openapi.json", "--checks", "not_a_server_error",
            "--phases", "coverage,fuzzing", "--continue-on-failure", "--suppress-health-check", "all",
            "--generation-unique-inputs",
            "--max-examples", str(CALLS // 5), "--workers", "2", "--request-timeout", "60", "--no-color",
        ]  # fmt: skip
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment)
        told = done.stdout[-4000:] + done.stderr[-2000:]
        assert running.is_at_rest(60)
        counts = re.findall(r"(\d[\d,]*) generated", done.stdout)
        n_calls = running.service.metrics.n_requests
        print(f"schemathesis: {n_calls} calls, {counts}")
        assert done.returncode == 0, told
        assert n_calls >= CALLS, told
