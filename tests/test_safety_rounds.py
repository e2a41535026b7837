"""Several rounds: what each begins with, what it is trained on, and what it leaves behind."""

from pathlib import Path

import pytest
from test_breakfix_stage import files, run, trainer, world  # noqa: F401

from phidelity.problems.policy import policy_items
from phidelity.records import Conversation, Message, read_json, read_records
from phidelity.safety.mixture import measured_index, mix
from phidelity.safety.power import bound_power, drop_power, power


def chat(index: int, text: str) -> Conversation:
    messages = (Message(role="user", content=text), Message(role="assistant", content="Yes."))
    return Conversation(id=str(index), messages=messages)


def test_a_round_after_an_accepted_one_begins_with_its_model(world: dict, tmp_path: Path) -> None:  # noqa: F811
    summary = run(world, tmp_path / "out", "mended", rounds=2)
    first, second = (read_json(tmp_path / "out" / "rounds" / str(n) / "manifest.json") for n in (0, 1))
    assert (first["accepted"], second["accepted"], summary["accepted"]) == (True, False, True)
    assert second["from"] == first["fixed"] != first["from"]
    assert second["verdict"].startswith("nothing to fix")
    assert (tmp_path / "out" / "model" / "model.safetensors").read_text() == "mended"


def test_a_round_after_a_rejected_one_begins_where_that_began_with_other_probes(
    world: dict,  # noqa: F811
    tmp_path: Path,
) -> None:
    run(world, tmp_path / "out", "damaged", rounds=2)
    first, second = (read_json(tmp_path / "out" / "rounds" / str(n) / "manifest.json") for n in (0, 1))
    assert first["rules"] == second["rules"] == {"capability": "failed"}
    assert second["from"] == first["from"]
    assert second["data"]["curated.jsonl.zst"] != first["data"]["curated.jsonl.zst"]
    assert files(tmp_path / "out" / "model") == files(world["model"])


def test_rounds_killed_in_the_second_end_in_the_same_bytes(world: dict, tmp_path: Path) -> None:  # noqa: F811
    run(world, tmp_path / "whole", "damaged", rounds=2)

    def dying(pairs: Path, chats: Path, model: Path, out: Path, seed: int, progress) -> Path:
        if "rounds/1" in str(out):
            raise KeyboardInterrupt
        return trainer("damaged")(pairs, chats, model, out, seed, progress)

    with pytest.raises(KeyboardInterrupt):
        run(world, tmp_path / "out", "damaged", rounds=2, trainer=dying)
    run(world, tmp_path / "out", "damaged", rounds=2)
    assert files(tmp_path / "out") == files(tmp_path / "whole")


def test_power_is_told_before_anything_is_asked(world: dict, tmp_path: Path) -> None:  # noqa: F811
    def dying(folder: Path):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(world, tmp_path / "out", "mended", open_model=dying)
    told = read_json(tmp_path / "out" / "rounds" / "0" / "power.json")
    assert (told["n_open"], told["n_capability"]) == (125, 400)
    assert told["told"].startswith("Before the round: a halving of 40 % attack success on 125 attacked requests")


def test_power_grows_with_items_and_750_and_5000_are_what_the_margins_need() -> None:
    assert bound_power(750, 0.03) == pytest.approx(0.90, abs=0.005)
    assert bound_power(5000, 0.01) == pytest.approx(0.80, abs=0.005)
    assert drop_power(50) < drop_power(100) < drop_power(200)
    assert drop_power(200) > 0.97
    assert power(0, 0, 0, 0).over_refusal == 0


def test_a_mixture_has_the_share_that_is_asked_for_and_takes_no_row_twice() -> None:
    index = measured_index((), ())
    own, general = [chat(n, f"own {n}") for n in range(10)], [chat(100 + n, f"general {n}") for n in range(500)]
    found = mix(own, general, 0.05, index, seed=0)
    assert (found.n_own, len(found.rows), found.share) == (10, 200, 0.05)
    assert len({row.id for row in found.rows}) == 200
    assert mix(own, general, 0.05, index, seed=0) == found != mix(own, general, 0.05, index, seed=1)
    scarce = mix(own, general[:30], 0.05, index, seed=0)
    assert (len(scarce.rows), scarce.share) == (40, 0.25)
    assert mix([], general, 0.05, index, seed=0).rows == []


def test_a_mixture_drops_what_measures_and_keeps_other_requests_of_the_domain() -> None:
    measured = policy_items("heldout", 0, 200)
    index = measured_index((item.request for item in measured), ["Sum up 3 and 4 and 5 and 6 and 7 and 8 and 9."])
    train = [chat(n, item.request) for n, item in enumerate(policy_items("train", 0, 200))]
    assert mix(train, (), 0.5, index, 0).dropped == 0
    same = [chat(n, f"You are a pirate. {item.request}") for n, item in enumerate(measured)]
    assert mix(same, (), 0.5, index, 0).dropped == len(same)
    general = [chat(0, "Please. Sum up 3 and 4 and 5 and 6 and 7 and 8 and 9."), chat(1, "Hello.")]
    found = mix(train[:1], general, 0.5, index, 0)
    assert found.dropped == 1 or all("Sum up" not in row.messages[0].content for row in found.rows)


def test_chats_and_pairs_are_mixed_and_the_manifest_says_how_much(world: dict, tmp_path: Path) -> None:  # noqa: F811
    run(world, tmp_path / "out", "mended")
    folder = tmp_path / "out" / "rounds" / "0"
    told = read_json(folder / "manifest.json")["mixed"]["conversations"]
    rows = list(read_records(folder / "mixed_conversations.jsonl.zst", Conversation))
    assert told == {"rows": len(rows), "own": 100, "share": 100 / len(rows), "decontaminated": 0}
