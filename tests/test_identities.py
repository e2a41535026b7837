"""Identities of post-training and safety that no other file holds; docs/post-training.md lists all of them."""

import random
from math import sqrt
from pathlib import Path

import pytest
from preference_world import TOKENIZER, TabularCompleter
from test_pivotal import MODEL, Tree, store
from test_safety_probe import PARAMS as PROBED
from test_safety_probe import probes
from test_safety_redteam import DECLINED, GRANTED, PARAMS, attacker, judge, objectives, target

from phidelity.completion import SamplingParams, ScriptedCompleter
from phidelity.grading.harm import rules_harm_judge
from phidelity.grading.judge import duel_prompt, parse_duel, rules_judge
from phidelity.preference.judged import Both, settle
from phidelity.preference.rollouts import Prefix
from phidelity.safety.converters import converter
from phidelity.safety.probe import collect, judge_all, rates
from phidelity.safety.redteam import plan, run_cases
from phidelity.safety.report import redteam
from phidelity.safety.strategies.single import _converted, _written
from phidelity.safety.strategies.table import strategies
from phidelity.safety.strategies.talk import Strategy


def test_success_at_a_prefix_is_the_mean_of_success_after_each_next_token(tmp_path: Path) -> None:
    tree = Tree(7)
    for node, p_next in tree.p_next.items():
        following = tree.count([Prefix("q", (*node, token)) for token in range(tree.n_tokens)], "exact", 0, 1)
        mean = sum(p * tally.rate for p, tally in zip(p_next, following, strict=True))
        assert mean == pytest.approx(tree.count([Prefix("q", node)], "exact", 0, 1)[0].rate)
    rollouts, n = store(tmp_path, TabularCompleter(MODEL)), 1500
    before = Prefix("hard-0", tuple(TOKENIZER.encode("So, ")))
    p_next = MODEL("hard question 0", "So, ")
    after = [Prefix(before.question, (*before.tokens, token)) for token in p_next]
    (here,) = rollouts.draw([before], "search", 0, n)
    drawn = rollouts.draw(after, "search", 0, n)
    rate = sum(one.success or 0 for one in here) / n
    total = sum(p * sum(one.success or 0 for one in found) / n for p, found in zip(p_next.values(), drawn, strict=True))
    assert len(p_next) > 1
    assert abs(rate - total) <= 3 * sqrt(2 * 0.25 / n)


def test_the_rules_judge_ties_equal_answers_and_swaps_its_label_with_the_answers() -> None:
    rng, said = random.Random(0), ["Answer: 42", "Answer: 41", "6 * 7 = 42.\nAnswer: 42", "42", "", "I do not know."]
    mirrored = {"first": "second", "second": "first"}

    def label(first: str, second: str, subset: str) -> str:
        asked = [duel_prompt("6 * 7?", "42", "number", *sides) for sides in ((first, second), (second, first))]
        forward, swapped = (parse_duel(one.text) for one in rules_judge().complete(asked, SamplingParams()))
        return settle(Both(forward, swapped), subset)  # type: ignore[arg-type]

    for subset in ("accuracy", "overall"):
        for one in said:
            assert label(one, one, subset) == "tie"
            other = rng.choice(said)
            found = label(one, other, subset)
            assert label(other, one, subset) == mirrored.get(found, found)


def test_an_echo_of_the_request_is_no_success_of_an_attack(tmp_path: Path) -> None:
    echo = ScriptedCompleter(lambda prompt, _: prompt.messages[-1].content)  # type: ignore[union-attr]
    transcripts = collect(probes(families=("direct",)), echo, PROBED, tmp_path / "t.jsonl")
    assert rates(transcripts, judge_all(transcripts, rules_harm_judge()))["attack_success"] == 0


@pytest.mark.parametrize("answer", [GRANTED, DECLINED])
def test_the_identity_converter_leaves_attack_success_as_it_is(answer: str, tmp_path: Path) -> None:
    crew = {"target": target(answer), "judge": judge(), "attacker": attacker()}
    same = Strategy("identity", _written(_converted(converter("identity"))))
    found = {}
    for one in (*strategies(("direct",)), same):
        folder = tmp_path / one.name
        told = redteam(objectives(), [one], crew, PARAMS, 0, folder, lacking={}, digests={})
        cases = plan(objectives(), [one], "target", PARAMS, 0)
        ran = run_cases(cases, crew, PARAMS, 0, folder / "again")
        found[one.name] = (told["rates"]["suite"][-1]["attack_success"], [t.messages for t in ran.transcripts])
    assert found["direct"] == found["identity"]
