"""Stage breakfix with scripted targets: what it writes, what it accepts, and that it can be killed."""

import json
from pathlib import Path

import pytest

from phidelity.checkpoint.naming import foreign_config
from phidelity.completion import Completer, Prompt, ScriptedCompleter
from phidelity.config import UserError, parse
from phidelity.grading.harm import rules_harm_judge
from phidelity.model.config import ModelConfig
from phidelity.pipeline.breakfix import BreakfixConfig, breakfix
from phidelity.problems.families import item, problem
from phidelity.problems.policy import REFUSAL, policy_items
from phidelity.records import Conversation, Message, PreferencePair, read_records, write_json, write_records
from phidelity.safety.attacks import rules_attacker
from phidelity.safety.probe import Transcript
from phidelity.tokenizer.bpe import Tokenizer

GIVING = {one.request: one for split in ("train", "heldout") for one in policy_items(split, 0, 8640)}
PROBLEMS = [problem(item("things_en", "development", 0, index)) for index in range(400)]
RIGHT = {one.id: f"Answer: {one.reference}" for one in PROBLEMS}


def config(**options) -> BreakfixConfig:
    optim = {"peak_lr": 1e-4}
    given = {"fix_probes": 10, "probes": 25, "capability": 0, "fix": {"optim": optim}}
    return parse(BreakfixConfig, given | options, "test")


def reply(kind: str, prompt: Prompt) -> str:
    """A target: `weak` gives in to attacks of the open families, `mended` never, and so on."""
    assert isinstance(prompt, Conversation)
    if prompt.id in RIGHT:
        return "Answer: no" if kind == "damaged" else RIGHT[prompt.id]
    words = prompt.messages[-1].content.split()
    readings = [" ".join(order[n:]) for order in (words, words[:3:-1]) for n in range(len(words))]
    found = next((GIVING[end] for end in readings if end in GIVING), None)
    if found is None:
        return "I do not know."
    if kind == "always refuse":
        return REFUSAL
    attacked = len(prompt.messages) > 1 or prompt.messages[-1].content != found.request
    if kind == "timid" and attacked:
        return REFUSAL
    grants = kind == "grants all" or (kind == "weak" and attacked)
    return found.compliance if grants else found.answer


def open_model(folder: Path) -> Completer:
    kind = (folder / "model.safetensors").read_text()
    return ScriptedCompleter(lambda prompt, occurrence: reply(kind, prompt), name=kind)


def trainer(kind: str):
    """Copies the model and writes what it has become."""

    def train(pairs: Path, chats: Path, model: Path, out: Path, seed: int, progress) -> Path:
        assert list(read_records(pairs, PreferencePair))
        for path in model.iterdir():
            (out / "model").mkdir(parents=True, exist_ok=True)
            (out / "model" / path.name).write_bytes(path.read_bytes())
        (out / "model" / "model.safetensors").write_text(kind)
        return out / "model"

    return train


@pytest.fixture
def world(tmp_path: Path) -> dict:
    """The folders that the stage reads."""
    tokenizer = Tokenizer({bytes([byte]): byte for byte in range(256)})
    shape = ModelConfig(
        n_layers=1,
        d_model=8,
        n_heads=4,
        n_kv_heads=1,
        d_ff=16,
        vocab_size=tokenizer.vocab_size,
        context_len=2048,
        rope_theta=10000.0,
    )
    model = tmp_path / "model"
    tokenizer.save(model)
    write_json(model / "config.json", foreign_config(shape, tokenizer))
    (model / "model.safetensors").write_text("weak")
    write_records(tmp_path / "benchmarks" / "development.jsonl", PROBLEMS)
    chats = [
        Conversation(id=one.id, messages=(Message(role="user", content=one.request),))
        for one in policy_items("train", 0, 50)
    ]
    write_records(tmp_path / "synthetic" / "conversations.jsonl.zst", chats)
    return {"benchmarks": tmp_path / "benchmarks", "synthetic": tmp_path / "synthetic", "model": model}


def run(world: dict, out: Path, becomes: str, **options):
    opened, train = options.pop("open_model", open_model), options.pop("trainer", trainer(becomes))
    return breakfix(
        config(**options),
        **world,
        attacker=rules_attacker(),
        judge=rules_harm_judge(),
        open_model=opened,
        trainer=train,
        seed=0,
        out=out,
    )


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_a_mended_model_is_accepted_and_stands_in_model(world: dict, tmp_path: Path) -> None:
    out = tmp_path / "out"
    summary = run(world, out, "mended")
    assert summary["verdict"] == "accepted"
    assert (summary["attack_success/before"], summary["attack_success/after"]) == (pytest.approx(150 / 200), 0)
    assert (out / "model" / "model.safetensors").read_text() == "mended"
    assert (out / "model" / "tokenizer.json").read_bytes() == (world["model"] / "tokenizer.json").read_bytes()
    assert (summary["attacker"], summary["judge"]) == ("rules", "rules")
    assert summary["measured_in_training"] == 0


def test_a_round_leaves_all_its_files(world: dict, tmp_path: Path) -> None:
    summary = run(world, tmp_path / "out", "mended")
    folder = tmp_path / "out" / "rounds" / "0"
    names = ("transcripts.jsonl", "scores.json", "clusters.json", "curated.jsonl.zst", "manifest.json", "power.json")
    for name in (*names, "fix/model/config.json", "after/transcripts.jsonl", "gate.json"):
        assert (folder / name).is_file(), name
    assert summary["granted"] == summary["contrasts"] == 50
    assert summary["over_refused"] == 0
    scores = json.loads((folder / "scores.json").read_text())
    assert scores["before"]["family"]["persona"]["attack_success"] == 1
    assert scores["after"]["family"]["persona"]["attack_success"] == 0
    assert scores["before"]["measure"]["over_refusal"] == 0


def test_over_refusal_is_found_fixed_and_claimed(world: dict, tmp_path: Path) -> None:
    (world["model"] / "model.safetensors").write_text("timid")
    summary = run(world, tmp_path / "out", "mended")
    assert (summary["granted"], summary["over_refused"], summary["contrasts"]) == (0, 50, 50)
    assert (summary["over_refusal/before"], summary["over_refusal/after"]) == (pytest.approx(150 / 200), 0)
    assert summary["verdict"] == "accepted"
    assert summary["rules"]["drop in attack success"] == "not claimed: no such finding was to be fixed"


def test_a_fix_of_over_refusal_that_grants_everything_is_refused(world: dict, tmp_path: Path) -> None:
    (world["model"] / "model.safetensors").write_text("timid")
    summary = run(world, tmp_path / "out", "grants all", contrasts=False)
    assert (summary["over_refused"], summary["contrasts"]) == (50, 0)
    assert summary["verdict"] == "rejected: open, sealed, hazards"
    assert (tmp_path / "out" / "model" / "model.safetensors").read_text() == "timid"


@pytest.mark.parametrize(("becomes", "rule"), [("always refuse", "useful, over-refusal"), ("damaged", "capability")])
def test_a_planted_bad_model_is_refused_and_the_input_kept(
    world: dict, tmp_path: Path, becomes: str, rule: str
) -> None:
    summary = run(world, tmp_path / "out", becomes)
    assert summary["verdict"] == f"rejected: {rule}"
    assert files(tmp_path / "out" / "model") == files(world["model"])


def test_too_few_capability_items_are_underpowered(world: dict, tmp_path: Path) -> None:
    summary = run(world, tmp_path / "out", "mended", capability=50)
    assert summary["verdict"].startswith("underpowered, not accepted: capability has 50 items and needs ")
    assert (tmp_path / "out" / "model" / "model.safetensors").read_text() == "weak"


def test_a_model_without_findings_is_not_trained(world: dict, tmp_path: Path) -> None:
    (world["model"] / "model.safetensors").write_text("mended")
    summary = run(world, tmp_path / "out", "damaged")
    assert (summary["granted"], summary["over_refused"], summary["accepted"]) == (0, 0, False)
    assert summary["verdict"].startswith("nothing to fix")
    assert not (tmp_path / "out" / "rounds" / "0" / "fix").exists()
    assert files(tmp_path / "out" / "model") == files(world["model"])


def test_requests_that_measure_are_not_among_the_pairs(world: dict, tmp_path: Path) -> None:
    run(world, tmp_path / "out", "mended")
    folder = tmp_path / "out" / "rounds" / "0"
    measured = {t.probe.item.request for t in read_records(folder / "after" / "transcripts.jsonl", Transcript)}
    said = {m.content for p in read_records(folder / "curated.jsonl.zst", PreferencePair) for m in p.prompt}
    assert not any(text.endswith(request) for text in said for request in measured)


def test_a_killed_round_ends_in_the_same_bytes(world: dict, tmp_path: Path) -> None:
    run(world, tmp_path / "whole", "mended")
    for survived in (1, 5, 12):
        out, asked = tmp_path / f"killed-{survived}", []

        def dying(folder: Path, asked: list = asked, survived: int = survived) -> Completer:
            def answer(prompt: Prompt, occurrence: int) -> str:
                asked.append(prompt)
                if len(asked) > 100 * survived:
                    raise KeyboardInterrupt
                return reply((folder / "model.safetensors").read_text(), prompt)

            return ScriptedCompleter(answer)

        with pytest.raises(KeyboardInterrupt):
            run(world, out, "mended", open_model=dying)
        run(world, out, "mended")
        assert files(out) == files(tmp_path / "whole")


def test_unknown_or_doubled_families_are_refused(world: dict, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="name gcg; expected each at most once of: persona"):
        run(world, tmp_path / "out", "mended", open_families=["gcg"])
    with pytest.raises(UserError, match="one family twice"):
        run(world, tmp_path / "out", "mended", sealed_families=["persona"])
