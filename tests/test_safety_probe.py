"""Probing, clustering and curating with scripted targets."""

from pathlib import Path

import pytest

from phidelity.completion import Completion, Prompt, SamplingParams, ScriptedCompleter, Usage
from phidelity.config import UserError
from phidelity.grading.harm import UNDETERMINED, rules_harm_judge
from phidelity.problems.policy import REFUSAL
from phidelity.records import Conversation
from phidelity.safety import probe as probing
from phidelity.safety.attacks import FAMILIES, OPEN, SEALED, rules_attacker
from phidelity.safety.clusters import clusters
from phidelity.safety.curate import Curated, curate
from phidelity.safety.probe import Probe, collect, judge_all, plan_probes, rates
from phidelity.tokenizer.bpe import Tokenizer

NAMES = tuple(family.name for family in FAMILIES)
PARAMS = SamplingParams(max_tokens=40)
TOKENIZER = Tokenizer({bytes([byte]): byte for byte in range(256)})


def probes(use="measure", families=NAMES, n: int = 6) -> list[Probe]:
    return plan_probes(use, families, n, rules_attacker(), 0)[0]


def target(planned: list[Probe], grants) -> ScriptedCompleter:
    """Gives what was asked where `grants(probe)`, else refuses."""
    by_id = {probe.id: probe for probe in planned}

    def reply(prompt: Prompt, occurrence: int) -> str:
        assert isinstance(prompt, Conversation)
        probe = by_id[prompt.id]
        return probe.item.compliance if grants(probe) else REFUSAL

    return ScriptedCompleter(reply)


def verdicts_of(planned: list[Probe], grants, path: Path):
    transcripts = collect(planned, target(planned, grants), PARAMS, path)
    return transcripts, judge_all(transcripts, rules_harm_judge())


def test_each_family_has_requests_of_its_own_and_each_request_its_twin() -> None:
    planned = probes(n=10)
    assert len({probe.item.request for probe in planned}) == len(planned) == 2 * 10 * len(NAMES)
    by_id = {probe.id: probe for probe in planned}
    assert all(by_id[probe.twin].item.restricted != probe.item.restricted for probe in planned)
    assert all(by_id[probe.twin].family == probe.family for probe in planned)


def test_more_probes_than_the_domain_has_are_refused() -> None:
    with pytest.raises(UserError, match="Lower probes to 90"):
        probes(n=91)


def test_always_refuse_gives_no_attack_success_and_full_over_refusal(tmp_path: Path) -> None:
    transcripts, verdicts = verdicts_of(probes(), lambda probe: False, tmp_path / "t.jsonl")
    measured = rates(transcripts, verdicts)
    assert (measured["attack_success"], measured["over_refusal"], measured["pair_rate"]) == (0, 1, 0)


def test_always_comply_gives_the_reverse(tmp_path: Path) -> None:
    transcripts, verdicts = verdicts_of(probes(), lambda probe: True, tmp_path / "t.jsonl")
    measured = rates(transcripts, verdicts)
    assert (measured["attack_success"], measured["over_refusal"], measured["pair_rate"]) == (1, 0, 0)


def test_a_good_model_has_a_full_pair_rate(tmp_path: Path) -> None:
    transcripts, verdicts = verdicts_of(probes(), lambda probe: not probe.item.restricted, tmp_path / "t.jsonl")
    measured = rates(transcripts, verdicts)
    assert (measured["attack_success"], measured["over_refusal"], measured["pair_rate"]) == (0, 0, 1)


def test_escalation_lets_the_target_answer_in_between(tmp_path: Path) -> None:
    transcripts, _ = verdicts_of(probes(families=("escalation",)), lambda probe: True, tmp_path / "t.jsonl")
    assert all([message.role for message in t.messages] == ["user", "assistant", "user"] for t in transcripts)
    assert all(t.turn == 2 for t in transcripts)


def test_killed_collection_goes_on_after_the_last_chunk_with_the_same_bytes(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(probing, "CHUNK", 16)
    planned = probes()
    whole = target(planned, lambda probe: True)
    collect(planned, whole, PARAMS, tmp_path / "whole.jsonl")

    class Dies(ScriptedCompleter):
        def complete(self, prompts, params, on_done=None):
            if self.calls >= 40:
                raise KeyboardInterrupt
            return ScriptedCompleter.complete(self, prompts, params, on_done)

    with pytest.raises(KeyboardInterrupt):
        collect(planned, Dies(whole.reply), PARAMS, tmp_path / "killed.jsonl")
    second = ScriptedCompleter(whole.reply)
    collect(planned, second, PARAMS, tmp_path / "killed.jsonl")
    assert (tmp_path / "killed.jsonl").read_bytes() == (tmp_path / "whole.jsonl").read_bytes()
    assert 0 < second.calls < whole.calls


def test_answers_that_never_came_are_undetermined(tmp_path: Path) -> None:
    planned = probes(families=("direct",))

    class Broken(ScriptedCompleter):
        def complete(self, prompts, params, on_done=None):
            usage = Usage(prompt_tokens=0, completion_tokens=0)
            return [Completion(text="I cannot", finish_reason="error", usage=usage) for _ in prompts]

    transcripts = collect(planned, Broken(lambda prompt, n: ""), PARAMS, tmp_path / "t.jsonl")
    measured = rates(transcripts, judge_all(transcripts, rules_harm_judge()))
    assert measured["undetermined"] == 1
    assert measured["attack_success"] is None


def test_clusters_hold_every_finding_once_the_largest_first(tmp_path: Path) -> None:
    planned = probes(n=12)
    transcripts, verdicts = verdicts_of(planned, lambda probe: probe.family == "persona", tmp_path / "t.jsonl")
    found = clusters(transcripts, verdicts)
    members = [member for cluster in found for member in cluster.members]
    failed = [probe.id for probe in planned if probe.item.restricted == (probe.family == "persona")]
    assert sorted(members) == sorted(failed)
    assert [cluster.n for cluster in found] == sorted((cluster.n for cluster in found), reverse=True)
    assert all(cluster.medoid in cluster.members for cluster in found)
    over_refusals = [cluster for cluster in found if cluster.category == "over-refusal"]
    assert {cluster.family for cluster in over_refusals} == set(NAMES) - {"persona"}
    assert {(cluster.hazard, cluster.n, cluster.n_tried) for cluster in over_refusals} == {("over-refusal", 12, 12)}


def test_what_was_answered_well_or_cannot_be_told_is_no_finding(tmp_path: Path) -> None:
    transcripts, verdicts = verdicts_of(probes(), lambda probe: not probe.item.restricted, tmp_path / "t.jsonl")
    assert not clusters(transcripts, verdicts)
    assert not clusters(transcripts, dict.fromkeys(verdicts, UNDETERMINED))


def curated(tmp_path: Path, use="fix", grants=lambda probe: True, **options):
    transcripts, verdicts = verdicts_of(probes(use), grants, tmp_path / "t.jsonl")
    given = {"sealed": SEALED, "max_failures": 1000, "context_len": 10_000} | options
    return transcripts, curate(transcripts, verdicts, TOKENIZER, **given)


def sides(made: Curated) -> list[tuple[str, str, str]]:
    """What each pair is made of, what it prefers, and to what."""
    return [
        (pair.meta["what"], TOKENIZER.decode(pair.chosen[:-1]), TOKENIZER.decode(pair.rejected[:-1]))
        for pair in made.pairs
    ]


def test_each_granted_request_gives_a_pair_and_its_twin_a_contrast(tmp_path: Path) -> None:
    transcripts, made = curated(tmp_path)
    granted = [t for t in transcripts if t.probe.item.restricted and t.probe.family not in SEALED]
    assert made.counts == {"attack success": len(granted), "contrast": len(granted)}
    assert made.findings == ("attack success",)
    assert {(what, chosen == REFUSAL, rejected == REFUSAL) for what, chosen, rejected in sides(made)} == {
        ("attack success", True, False),
        ("contrast", False, True),
    }
    for pair, chat in zip(made.pairs, made.conversations, strict=True):
        assert pair.meta["family"] not in SEALED
        assert pair.chosen[-1] == pair.rejected[-1] == TOKENIZER.im_end
        assert chat.messages == (*pair.prompt, chat.messages[-1])
        assert chat.messages[-1].content == TOKENIZER.decode(pair.chosen[:-1])


def test_each_refused_benign_request_gives_a_pair_and_its_restricted_twin_a_contrast(tmp_path: Path) -> None:
    transcripts, made = curated(tmp_path, grants=lambda probe: False)
    benign = [t for t in transcripts if not t.probe.item.restricted and t.probe.family not in SEALED]
    assert made.counts == {"over-refusal": len(benign), "contrast": len(benign)}
    assert made.findings == ("over-refusal",)
    giving = {t.probe.item.compliance for t in transcripts}
    for what, chosen, rejected in sides(made):
        assert (chosen, rejected)[what == "over-refusal"] == REFUSAL
        assert (rejected, chosen)[what == "over-refusal"] in giving


def test_twins_that_both_went_wrong_are_one_anothers_contrast(tmp_path: Path) -> None:
    transcripts, made = curated(tmp_path, grants=lambda probe: probe.item.restricted)
    assert made.counts["attack success"] == made.counts["over-refusal"] == len(made.pairs) / 2
    assert made.counts["contrast"] == 0
    said = {t.answer for t in transcripts}
    assert all(rejected in said for _, _, rejected in sides(made))


def test_the_cap_takes_granted_attacks_first_and_the_families_in_turn(tmp_path: Path) -> None:
    granted = {"reversed", "persona"}
    made = curated(tmp_path, grants=lambda probe: probe.family in granted, max_failures=14)[1]
    assert made.counts == {"attack success": 12, "over-refusal": 2, "contrast": 14}
    assert len({pair.meta["family"] for pair in made.pairs if pair.meta["what"] == "over-refusal"}) == 2


def test_nothing_that_measures_is_curated(tmp_path: Path) -> None:
    assert not curated(tmp_path, use="measure")[1].pairs


def test_pairs_beyond_the_context_are_left_out_and_counted(tmp_path: Path) -> None:
    transcripts, made = curated(tmp_path, context_len=60)
    assert not made.pairs
    assert made.counts["too long"] == sum(t.probe.item.restricted and t.probe.family not in SEALED for t in transcripts)


@pytest.mark.parametrize(("grants", "what"), [(True, "attack success"), (False, "over-refusal")])
def test_without_contrasts_only_findings_are_made(tmp_path: Path, grants: bool, what: str) -> None:
    made = curated(tmp_path, grants=lambda probe: grants, contrasts=False, max_failures=5)[1]
    assert (made.counts, len(made.pairs)) == ({what: 5}, 5)


def test_open_and_sealed_are_all_families_but_direct() -> None:
    assert {*OPEN, *SEALED, "direct"} == set(NAMES)
