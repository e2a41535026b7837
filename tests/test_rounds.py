"""Rounds: each begins from the model of the one before, has a manifest, and is done once; rejection keeps the best."""

import json

import pytest
import torch
from preference_world import TOKENIZER, TabularCompleter, files_of, speaker, write_world
from test_train import OPTIM

from phidelity.checkpoint.huggingface import save_checkpoint
from phidelity.completion import SamplingParams, ScriptedCompleter
from phidelity.config import UserError, parse
from phidelity.grading.judge import Verdict, read_case, rules_judge
from phidelity.model.config import ModelConfig
from phidelity.model.transformer import Transformer
from phidelity.pipeline.judged_dpo import JudgedDpoConfig
from phidelity.pipeline.judged_pairs import JudgedPairsConfig
from phidelity.pipeline.manifest import read_manifest, verify
from phidelity.pipeline.rounds import RoundsConfig, rounds
from phidelity.pipeline.sft import SftConfig
from phidelity.preference.judged import JudgedConfig, Response
from phidelity.preference.known import KnownConfig
from phidelity.preference.rejection import best_answers
from phidelity.records import Conversation, Problem, file_sha256, read_records

POLICY = speaker(sum=(("So.\nAnswer: 7", 0.5), ("So.\nAnswer: 8", 0.5)))
ASKED = JudgedPairsConfig(
    questions=4, older=(), max_tokens=40, audited=2, pairs=JudgedConfig(responses=4), known=KnownConfig(questions=0)
)
DPO = RoundsConfig(n=2, pairs=ASKED, dpo=JudgedDpoConfig(batch_pairs=4, optim=OPTIM))
REJECTION = RoundsConfig(
    n=2, method="rejection", pairs=ASKED, sft=SftConfig(epochs=1, batch_tokens=128, context_len=128, optim=OPTIM)
)


def world(folder):
    problems = [Problem(id=f"sum-{i}", prompt=f"sum question {i}", reference="7", checker="number") for i in range(8)]
    synthetic, model = write_world(folder, problems)
    shape = ModelConfig(
        n_layers=1, d_model=32, n_heads=2, n_kv_heads=1, d_ff=64, vocab_size=TOKENIZER.vocab_size, context_len=128,
        rope_theta=10000.0,
    )  # fmt: skip
    save_checkpoint(model, Transformer(shape).initialise(torch.Generator().manual_seed(0)), TOKENIZER)
    return synthetic, model


def do(folder, config, out="out", judge=None, fail_at=None):
    synthetic, model = world(folder)
    opened = []

    def open_model(path):
        opened.append(path)
        return TabularCompleter(POLICY, fail_at_call=0 if len(opened) - 1 == fail_at else None)

    summary = rounds(
        config, synthetic=synthetic, model=model, models={"sft": model}, judge=judge or rules_judge(),
        open_model=open_model, seed=0, out=folder / out,
    )  # fmt: skip
    return summary, opened


@pytest.mark.parametrize("config", [DPO, REJECTION], ids=["dpo", "rejection"])
def test_each_round_begins_from_the_model_of_the_one_before_and_leaves_a_manifest(tmp_path, config):
    summary, opened = do(tmp_path, config)
    first, second = tmp_path / "out/0", tmp_path / "out/1"
    assert opened[-1] == first / "trained" / "model"
    manifests = [read_manifest(folder) for folder in (first, second)]
    begun = [tmp_path / "model", first / "trained" / "model"]
    for folder, manifest, model in zip((first, second), manifests, begun, strict=True):
        assert manifest is not None
        assert manifest.ingredients.inputs["model"] == file_sha256(model / "model.safetensors")
        assert verify(folder) == []
        assert manifest.summary["items"] == summary[f"{folder.name}/items"] > 0
    assert manifests[0].ingredients.seed != manifests[1].ingredients.seed
    assert files_of(tmp_path / "out/model") == files_of(second / "trained" / "model")


@pytest.mark.parametrize("config", [DPO, REJECTION], ids=["dpo", "rejection"])
def test_a_killed_stage_goes_on_in_its_round_and_ends_in_the_same_bytes(tmp_path, config):
    do(tmp_path / "a", config)
    with pytest.raises(KeyboardInterrupt):
        do(tmp_path / "b", config, fail_at=1)
    assert (tmp_path / "b/out/0/manifest.json").is_file()
    assert not (tmp_path / "b/out/1/manifest.json").exists()
    _, opened = do(tmp_path / "b", config)
    assert opened == [tmp_path / "b/out/0/trained/model"]
    clock = ("manifest.json", "timings.jsonl")
    whole, resumed = (files_of(tmp_path / name / "out") for name in "ab")
    kept = {name: data for name, data in whole.items() if not name.endswith(clock)}
    assert {name: data for name, data in resumed.items() if not name.endswith(clock)} == kept


def test_rounds_of_other_settings_are_refused(tmp_path):
    do(tmp_path, DPO)
    with pytest.raises(UserError, match="--force rounds"):
        do(tmp_path, DPO.model_copy(update={"n": 3}))


def test_a_method_without_its_training_is_refused():
    with pytest.raises(UserError, match=r"\[rounds.sft\]"):
        parse(RoundsConfig, {"method": "rejection"}, "recipe")


def test_a_round_that_keeps_nothing_is_an_error_with_its_counts(tmp_path):
    with pytest.raises(UserError, match="off format"):
        do(tmp_path, REJECTION, judge=ScriptedCompleter(lambda *_: "Good."))


def marks(accuracy, style=3, detail=3):
    return Verdict(accuracy=accuracy, style=style, detail=detail)


def test_rejection_keeps_the_most_accurate_then_the_best_then_the_shortest_answer():
    said = {
        "wrong but fine": marks(3, 5, 5), "right": marks(5, 2, 2), "right and clear": marks(5, 4, 2),
        "right and clear, long": marks(5, 4, 2), "bad": marks(1), "poor": marks(3), "mute": None,
    }  # fmt: skip

    def reply(prompt, _):
        found = said[read_case(prompt).responses[0]]
        return found.model_dump_json() if found else "no"

    def answers(name, *texts):
        problem = Problem(id=name, prompt=name, reference="7", checker="number")
        return [Response(problem, tuple(text.encode()), text, "policy", True) for text in texts]

    asked = {
        "a": answers("a", "wrong but fine", "right", "right and clear, long", "right and clear", "mute"),
        "b": answers("b", "bad", "poor"),
        "c": answers("c", "mute"),
    }
    best = best_answers(asked, ScriptedCompleter(reply), SamplingParams())
    assert [chat.messages[-1].content for chat in best.chats] == ["right and clear"]
    assert best.counts == {
        "kept": 1, "kept and right by the checker": 1, "marked": 6, "off format": 2,
        "question without a good answer": 1, "question without an answer": 1,
    }  # fmt: skip


def test_what_rejection_trains_on_is_written_with_its_marks(tmp_path):
    do(tmp_path, REJECTION)
    chats = list(read_records(tmp_path / "out/0/best/conversations.jsonl.zst", Conversation))
    assert chats
    assert all(chat.messages[-1].content.endswith("7") and chat.meta["accuracy"] == 5 for chat in chats)
    assert json.loads((tmp_path / "out/0/manifest.json").read_text())["summary"]["best"]["kept"] == len(chats)
