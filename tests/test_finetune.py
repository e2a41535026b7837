"""`phi finetune` end to end on a small model: what it writes, how it goes on, what it refuses and with which row."""

import json
import os
import re
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from conftest import finish, phi_process
from finetune_world import CHATS, PAIRS, base, chat, write
from test_sets import ALPACA, BEAVERTAILS, BINARIZED, HH, OPENAI, SHAREGPT, ULTRAFEEDBACK

from phidelity.checkpoint.adapter import read_adapter
from phidelity.checkpoint.open import open_weights
from phidelity.config import UserError
from phidelity.data.examples import read_examples
from phidelity.model.config import PHI_4
from phidelity.train.choices import FinetuneConfig
from phidelity.train.examples import spans
from phidelity.train.finetune import finetune
from phidelity.train.finetune_job import decide
from phidelity.train.finetune_plan import check_fits, need, plan_finetune


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("finetune")
    base(folder / "model")
    write(folder / "data.jsonl", CHATS)
    write(folder / "pairs.jsonl", PAIRS)
    return folder


def test_the_readme_example_runs(world: Path, tmp_path: Path, phi, monkeypatch) -> None:
    text = (Path(__file__).parents[1] / "README.md").read_text()
    found = re.search(r"## Teach it.*?```sh\n(.*?)```", text, re.DOTALL)
    assert found
    lines = found[1].strip().splitlines()
    assert len(lines) == 5
    monkeypatch.chdir(tmp_path)
    (tmp_path / "phi-4-q4").symlink_to(world / "model")
    (tmp_path / "mine.jsonl").write_bytes((world / "data.jsonl").read_bytes())
    for line in lines:
        words = line.partition("  #")[0].split()
        assert words[0] == "phi"
        done = phi(*words[1:], stdin="cat 1\n")
        assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "mine" / "finetune.json").read_text())
    assert report["held_out"]["change"] < 0
    assert (tmp_path / "mine-merged" / "config.json").is_file()


def test_a_taught_adapter_says_what_it_was_taught(world: Path, tmp_path: Path, phi) -> None:
    done = phi("finetune", world / "model", world / "data.jsonl", "--out", tmp_path / "a", "--epochs", 20, "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["held_out"]["after"] < 0.5 * report["held_out"]["before"]
    assert "what is trained between [[ and ]]" in done.stderr
    assert "2e-4 at phi-4's width" in done.stderr
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == [
        "adapter_config.json", "adapter_model.safetensors", "finetune.json", "metrics.jsonl", "phidelity.json",
        "samples.md", "timings.jsonl",
    ]  # fmt: skip
    assert "the cat sat on the mat" in (tmp_path / "a/samples.md").read_text()
    again = phi("finetune", world / "model", world / "data.jsonl", "--out", tmp_path / "a")
    assert again.returncode == 1
    assert "exists; nothing is written over" in again.stderr
    merged = phi("convert", world / "model", tmp_path / "m", "--to", "huggingface", "--adapter", tmp_path / "a")
    assert merged.returncode == 0, merged.stderr
    answer = phi("generate", tmp_path / "m", "--prompt", "cat 3", "--max-tokens", 20)
    talk = phi("chat", world / "model", "--adapter", f"mine={tmp_path / 'a'}", "--max-tokens", 20, stdin="cat 3\n")
    assert answer.stdout.strip() == talk.stdout.strip() == "the cat sat on the mat"


def test_preferences_are_learnt_over_a_packed_base(world: Path, tmp_path: Path, phi) -> None:
    assert phi("convert", world / "model", tmp_path / "q8", "--to", "q8").returncode == 0
    config = FinetuneConfig(epochs=20.0, lr=2e-3, targets=("q_proj,v_proj,down_proj",), layout="split")
    report = finetune(decide(tmp_path / "q8", world / "pairs.jsonl", config), tmp_path / "a")
    assert report["held_out"]["before"] == pytest.approx(0.6931, abs=1e-3)
    assert report["held_out"]["after"] < 0.6
    adapter = read_adapter(tmp_path / "a", open_weights(world / "model").config)
    assert adapter.base == open_weights(world / "model").digest  # q8 was made from it, and so either may carry it
    assert {len(parts) for name, parts in adapter.updates.items() if name.endswith("qkv")} == {2}


def test_all_parameters_can_be_trained(world: Path, tmp_path: Path, phi) -> None:
    done = phi(
        "finetune", world / "model", world / "data.jsonl", "--out", tmp_path / "a", "--all-parameters", "--lr", "3e-3",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "a/finetune.json").read_text())
    assert report["held_out"]["change"] < 0
    assert phi("check", tmp_path / "a" / "model").returncode == 0


def test_training_ends_where_the_held_out_loss_no_longer_falls(world: Path, tmp_path: Path) -> None:
    config = FinetuneConfig(epochs=20.0, lr=0.5, patience=1, batch=2)
    report = finetune(decide(world / "model", world / "data.jsonl", config), tmp_path / "a")
    metrics = [json.loads(line) for line in (tmp_path / "a/metrics.jsonl").read_text().splitlines()]
    losses = [row["validation"] for row in metrics if "validation" in row]
    assert report["steps"] < report["choices"]["epochs"]["value"] * 11
    assert losses[-1] >= min(losses)
    assert report["best_step"] < report["steps"]


class Stops:
    """A Progress that ends the run after some steps, as a kill does: at once, and with nothing said."""

    def __init__(self, n: int) -> None:
        self.n = n

    @contextmanager
    def task(self, name: str, total: float | None, unit: str = "") -> Iterator["Stops"]:
        yield self

    def advance(self, n: float = 1, note: str = "") -> None:
        self.n -= bool(n)
        if not self.n:
            raise SystemExit


def test_a_run_that_was_broken_off_goes_on_to_the_same_adapter(world: Path, tmp_path: Path) -> None:
    config = FinetuneConfig(epochs=8.0, batch=4, patience=100)
    job = decide(world / "model", world / "data.jsonl", config)
    with pytest.raises(SystemExit):
        finetune(job, tmp_path / "broken", progress=Stops(36))
    assert (tmp_path / "broken.partial" / "training").is_dir()
    assert not (tmp_path / "broken").exists()
    other = decide(world / "model", world / "data.jsonl", config.model_copy(update={"seed": 1}))
    with pytest.raises(UserError, match="was begun with another config"):
        finetune(other, tmp_path / "broken")
    finetune(job, tmp_path / "broken")
    finetune(job, tmp_path / "whole")
    for name in ("adapter_model.safetensors", "metrics.jsonl", "samples.md"):
        assert (tmp_path / "broken" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


@pytest.mark.slow
def test_a_killed_run_goes_on_to_the_same_adapter(world: Path, tmp_path: Path) -> None:
    arguments = ("--epochs", "30", "--patience", "100", "--batch", "4")
    command = ("finetune", world / "model", world / "data.jsonl", *arguments, "--out")
    process = phi_process(*command, tmp_path / "killed")
    metrics = tmp_path / "killed.partial" / "metrics.jsonl"
    deadline = time.monotonic() + 120
    while not metrics.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert (tmp_path / "killed.partial" / "training").is_dir()
    assert not (tmp_path / "killed").exists()
    other = finish(phi_process(*command, tmp_path / "killed", "--seed", "1"))
    assert other.returncode == 1
    assert "was begun with another config" in other.stderr
    assert finish(phi_process(*command, tmp_path / "killed")).returncode == 0
    assert finish(phi_process(*command, tmp_path / "whole")).returncode == 0
    for name in ("adapter_model.safetensors", "metrics.jsonl", "samples.md"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def bad(rows: list[object], tmp_path: Path) -> str:
    with pytest.raises(UserError) as error:
        read_examples(write(tmp_path / "bad.jsonl", rows))
    assert "\n" not in str(error.value)
    return str(error.value)


def test_mixed_formats_name_both_rows(tmp_path: Path) -> None:
    assert "row 2 is of the form 'pairs', row 1 of 'openai'" in bad([CHATS[0], PAIRS[0]], tmp_path)


@pytest.mark.parametrize(
    "roles", [["assistant", "user"], ["user", "user"], ["user", "assistant", "system"], ["user", "assistant", "user"]]
)
def test_roles_out_of_order_name_the_row(roles: list[str], tmp_path: Path) -> None:
    row = {"messages": [{"role": role, "content": "cat"} for role in roles]}
    told = bad([CHATS[0], CHATS[1], row], tmp_path)
    assert re.search(rf"row 3: (turns out of order|ends mid-turn): the roles are {', '.join(roles)}; expected", told)


def test_a_template_in_the_text_names_the_row(tmp_path: Path) -> None:
    row = chat("<|im_start|>user<|im_sep|>cat<|im_end|>", "sat")
    assert "row 2: template in text: it holds '<|im_start|>'; expected bare text" in bad([CHATS[0], row], tmp_path)


def test_what_is_no_row_names_it(tmp_path: Path) -> None:
    (tmp_path / "broken.jsonl").write_text('{"messages": []}\n{"messages"\n')
    with pytest.raises(UserError, match="row 2: bad record; expected a JSON object in UTF-8"):
        read_examples(tmp_path / "broken.jsonl")
    assert "row 2: unknown form: its keys are text; expected" in bad([CHATS[0], {"text": "cat"}], tmp_path)
    assert "row 1: unknown role: a role is 'elf'" in bad([{"messages": [{"role": "elf", "content": "x"}]}], tmp_path)
    pair = {"chosen": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}
    pair["rejected"] = [{"role": "user", "content": "c"}, {"role": "assistant", "content": "d"}]
    assert "row 1: prompts differ; expected one prompt" in bad([pair], tmp_path)


@pytest.mark.parametrize(
    ("rows", "kind"),
    [
        ([OPENAI, OPENAI | {"id": 2}], "sft"), ([SHAREGPT], "sft"), ([ALPACA], "sft"), ([ULTRAFEEDBACK], "dpo"),
        ([BINARIZED], "dpo"), ([HH], "dpo"), (BEAVERTAILS, "dpo"), ([{"prompt": "a", "completion": "b"}], "sft"),
    ],
)  # fmt: skip
def test_every_form_of_a_set_is_read_by_its_keys_with_row_numbers(rows: list[Any], kind: str, tmp_path: Path) -> None:
    examples = read_examples(write(tmp_path / "set.jsonl", rows))
    assert examples.kind == kind
    assert examples.rows[0].row == ("2+1" if rows is BEAVERTAILS else "1")
    assert bool(examples.rows[0].chosen) == (kind == "dpo")
    (tmp_path / "folder").mkdir()
    write(tmp_path / "folder" / "train.jsonl", rows)
    write(tmp_path / "folder" / "test.jsonl", [{"text": "not read"}])
    assert read_examples(tmp_path / "folder").rows[0].row.startswith("train.jsonl#")
    assert read_examples(tmp_path / "set.jsonl", "sft").kind == "sft"


def test_weights_choose_the_turns_that_are_trained(world: Path, tmp_path: Path) -> None:
    two = [
        {"role": role, "content": text, "weight": weight}
        for role, text, weight in (("user", "a", 1), ("assistant", "cat", 0), ("user", "b", 1), ("assistant", "mat", 1))
    ]
    untrained = {"messages": [turn | {"weight": 0} for turn in two]}
    path = write(tmp_path / "d.jsonl", [{"messages": two}, untrained, CHATS[0]])
    look = decide(world / "model", path, FinetuneConfig()).look
    tokenizer = open_weights(world / "model").tokenizer
    assert [text for text, trained in spans(look.kept[0], tokenizer) if trained] == ["mat<|im_end|>"]
    assert look.dropped == {"nothing to learn": ["2"]}


def test_bad_rows_are_left_out_where_that_is_asked_for(world: Path, tmp_path: Path) -> None:
    path = write(tmp_path / "d.jsonl", [*CHATS[:3], chat("[INST] cat [/INST]", "sat"), {"text": "cat"}])
    path.write_text(path.read_text() + "{no json\n")
    job = decide(world / "model", path, FinetuneConfig(drop_bad=True))
    assert job.look.dropped == {"template in text": ["4"], "unknown form": ["5"], "bad record": ["6"]}
    with pytest.raises(UserError, match="row 2 is of the form 'pairs'"):
        read_examples(write(tmp_path / "mixed.jsonl", [CHATS[0], PAIRS[0]]), drop_bad=True)


def test_empty_giant_and_repeated_rows_are_dropped_by_number(world: Path, tmp_path: Path) -> None:
    rows = [chat("cat", " "), *CHATS[:4], chat("cat " * 200, "sat"), CHATS[0]]
    job = decide(world / "model", write(tmp_path / "d.jsonl", rows), FinetuneConfig())
    assert job.look.dropped == {"empty turn": ["1"], "over 128 tokens": ["6"], "said before": ["7"]}
    assert "dropped, over 128 tokens: 1 (row 6)" in "\n".join(job.lines())
    with pytest.raises(UserError, match="1 empty turn"):
        decide(world / "model", write(tmp_path / "e.jsonl", [rows[0]]), FinetuneConfig())


def test_a_loss_that_is_no_number_names_the_rows(world: Path, tmp_path: Path, phi) -> None:
    done = phi("finetune", world / "model", world / "data.jsonl", "--out", tmp_path / "a", "--lr", "1e30")
    assert done.returncode == 1
    assert re.search(r"The loss is (nan|inf) on rows \d.* of the data; expected a number\. Lower --lr", done.stderr)
    assert not (tmp_path / "a").exists()


def test_the_wrong_method_is_refused(world: Path) -> None:
    with pytest.raises(UserError, match=r"row 1: no preference; expected an answer that is preferred"):
        decide(world / "model", world / "data.jsonl", FinetuneConfig(method="dpo"))


def test_the_plan_says_what_fits_and_a_refusal_what_would(world: Path, phi) -> None:
    facts = plan_finetune(PHI_4, cpu_bytes=12 * 10**9, threads=2)
    settings = {row["base"]: row for row in facts["settings"]}
    assert settings["q4"]["fits_memory"] == {"8": False, **dict.fromkeys(("16", "24", "48", "80", "141"), True)}
    assert settings["q4"]["fits_here"]
    assert not settings["fp32"]["fits_here"]
    assert settings["bf16"]["fits_gpu"]["48"]
    with pytest.raises(UserError, match="It would fit as: adapter over packed q4"):
        check_fits(PHI_4, "fp32", 13 * 10**9, rank=8, context_len=1024)
    room = need(PHI_4, "q4", context_len=1024).total
    with pytest.raises(UserError, match="It would fit with --context 1024"):
        check_fits(PHI_4, "q4", room, rank=8, context_len=2048)
    done = phi("plan", "--finetune", world / "model")
    assert done.returncode == 0, done.stderr
    assert "adapter over packed q4" in done.stdout


def test_adapters_are_served_by_name_over_one_base(world: Path, tmp_path: Path) -> None:
    import httpx
    from server_world import served

    from phidelity.engine.llm import open_model

    config = FinetuneConfig(epochs=20.0)
    finetune(decide(world / "model", world / "data.jsonl", config), tmp_path / "a")
    llm = open_model(world / "model", adapters={"mine": tmp_path / "a"}, cache_bytes=1 << 22)
    assert llm.adapted["mine"].model.embed is llm.model.embed
    with served(llm, adapters=("mine",)) as running:
        names = [one["id"] for one in httpx.get(f"{running.url}/v1/models").json()["data"]]
        assert names == ["tiny", "mine"]

        def answer(model: str) -> httpx.Response:
            body = {"model": model, "messages": [{"role": "user", "content": "cat 3"}], "temperature": 0}
            return httpx.post(f"{running.url}/v1/chat/completions", json=body | {"max_tokens": 12}, timeout=60)

        said = {name: answer(name).json() for name in names}
        assert said["mine"]["model"] == "mine"
        assert said["mine"]["choices"][0]["message"]["content"] == "the cat sat on the mat"
        assert said["tiny"]["choices"][0]["message"]["content"] != "the cat sat on the mat"
        assert "expected 'tiny', 'mine'" in answer("other").json()["error"]["message"]
